//! Runs: one execution of an export, from its plan to the snapshot that remembers it.

pub mod begin;
pub mod claim;
pub mod document;
pub mod finish;
pub mod outcome;
pub mod parts;
pub mod progress;
pub mod redeliver;
pub mod request;
pub mod retention;
pub mod state;
pub mod work;
