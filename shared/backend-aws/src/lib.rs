//! The store, the objects, the sealing and the queue of a stack on AWS: DynamoDB, S3, KMS and SQS; and rows that lie in S3
//! or that Athena puts there.
//!
//! Implements [`engine::port::Store`], [`engine::port::Objects`], [`engine::port::Secrets`] and [`engine::port::Queue`], and counts what AWS will
//! charge for it. It must not know what a document means: leases, attempts and permits are pure functions on documents in the engine.
//! It must not make tables, buckets, queues or keys, nor read the environment but for where AWS is and who calls (`environment`). It must
//! not import another backend.
//!
//! ```text
//! table    pk (S), sk (S)          the document's key
//!          b (B), v (N), x (N)     body, version, Unix second after which nobody sees it (the table's TTL attribute)
//!          i1p, i1s, i1m (S)       entry of the first index: partition, sort key, summary; i2… and i3… likewise
//! indexes  first, second, third    keys (i1p, i1s) and so on, sparse; they hold the table's keys, the summary and x
//! bucket   NAME                    one S3 object an object
//! ```

mod athena;
mod aws;
mod environment;
mod failure;
mod files;
mod http;
pub mod meter;
mod objects;
mod queue;
mod secrets;
mod store;

pub use athena::{AwsAthena, Query};
pub use aws::{Aws, Names};
pub use environment::Environment;
pub use files::AwsFiles;
pub use objects::AwsObjects;
pub use queue::AwsQueue;
pub use secrets::AwsSecrets;
pub use store::AwsStore;
