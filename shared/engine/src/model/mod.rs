//! The nouns, a file each.

pub mod action;
pub mod change;
pub mod credential;
pub mod destination;
pub mod event_type;
pub mod export;
pub mod limit;
pub mod name;
pub mod project;
pub mod request;
pub mod retry;
pub mod rule;
pub mod source;
pub mod status;
