//! What the product does, with time, ids and chance as arguments. It must not know a runtime, a socket, a database or a clock.

pub mod catalog;
pub mod configure;
pub mod deliver;
pub mod event;
pub mod idempotency;
pub mod judge;
pub mod keys;
pub mod lane;
pub mod lookback;
pub mod model;
pub mod object_name;
pub mod plan;
pub mod port;
pub mod push;
pub mod record;
pub mod run;
pub mod sample;
pub mod schedule;
pub mod shape;
pub mod success_path;
pub mod template;
pub mod ticket;
pub mod time;
pub mod token;
