//! What the product does, with time, ids and chance as arguments. It must not know a runtime, a socket, a database or a clock.

pub mod model;
pub mod port;
