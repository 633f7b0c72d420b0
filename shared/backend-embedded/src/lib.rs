//! The store, the objects and the sealing of one machine: one SQLite file, one folder and a few files of keys under one data directory.
//!
//! Implements [`engine::port::Store`], [`engine::port::Objects`] and [`engine::port::Secrets`]. It must not know what a document means: leases, attempts
//! and permits are pure functions on documents in the engine. It must not import another backend.
//!
//! ```text
//! DIR/format               one line: which layout this directory has
//! DIR/deliver.lock         held by the one process that delivers, and names it
//! DIR/users.lock           held, shared, by every process that has the directory open
//! DIR/store.turn           whose turn it is to write (so that a busy process cannot starve the others)
//! DIR/store.db             documents and index entries, SQLite in WAL mode, every commit synced
//! DIR/secret.key           the master key, for its owner alone; none where a passphrase makes it
//! DIR/keyring              the data keys, wrapped by the master key
//! DIR/secret.lock          whose turn it is to change those two
//! DIR/objects/NAME         one file an object
//! DIR/objects/~partial/    files that are not objects yet (`~` cannot stand in a name)
//! ```

mod data_dir;
mod health;
mod objects;
mod secrets;
mod store;
#[cfg(test)]
mod tests;

pub use data_dir::{DataDir, DeliveryLock, Held, LockError};
pub use objects::EmbeddedObjects;
pub use secrets::{EmbeddedSecrets, Passphrase, Unlock};
pub use store::EmbeddedStore;
