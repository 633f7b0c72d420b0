//! What every process of ours brings along, whatever it does: the clock of its machine, chance, fresh names, and the definitions of
//! organizations kept between two pieces of work. It must not know a backend, and decides nothing.

pub mod chance;
mod clock;
mod definitions;

pub use clock::SystemClock;
pub use definitions::Definitions;
