//! What a user meets: the executable `penstock` as processes, with files on a disk, requests over loopback and kills at bad moments.
//!
//! Each test has a project folder and a receiver of its own, and compares what the receiver got with what the model holds. How the
//! executable is found stands in [`executable`]. Nothing here may know how anything is stored.

pub(crate) mod executable;
mod faults;
mod full_disk;
mod guards;
mod kills;
mod limits;
mod looking_back;
mod names;
mod on_stack;
mod plain;
mod plans;
pub(crate) mod secrets;
mod settling;
pub(crate) mod stage;
mod tokens;
mod wrong_input;
mod wrong_rows;
