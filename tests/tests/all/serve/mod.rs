//! `penstock serve` as a process: the API over loopback, schedules, several exports at once, kills. What is proven for `penstock run`
//! is not proven again here.

mod apply;
mod canceling;
mod events;
mod fairness;
mod fuzzing;
mod observing;
mod pushing;
mod schedules;
mod secrets;
pub(crate) mod server;
mod starting;
