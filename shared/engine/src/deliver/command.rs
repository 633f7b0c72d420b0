//! What a person or the process asks of the work on a lane while it goes on.

use crate::port::Exchange;
use crate::shape::Rendered;
use futures_util::stream::{Stream, StreamExt};
use std::future::Future;

/// One wish; it is heard between two steps of the loop.
pub enum Command {
    /// End: start nothing more, wait for what is on its way, record it, leave.
    Stop,
    /// Work was added to the backlog.
    Look,
    /// A run was canceled: nothing more of it starts. `halted` is called once that holds; [`super::Watch::completed`] follows when
    /// what was on its way is recorded.
    Withdraw {
        /// The run.
        run: String,
        /// Called once.
        halted: Box<dyn FnOnce()>,
    },
    /// Send this beside the deliveries: a test of the destination. It takes a permit like every other request.
    Probe(Probe),
}

/// A request outside of any run.
pub struct Probe {
    /// The request, without its secrets.
    pub rendered: Rendered,
    /// Called with what became of it and how long that took, microseconds. Dropped without a call: the loop ended before.
    pub done: Box<dyn FnOnce(Exchange, u64)>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Stop => "Stop",
            Command::Look => "Look",
            Command::Withdraw { .. } => "Withdraw",
            Command::Probe(_) => "Probe",
        })
    }
}

/// The one command of a process that can only be told to stop.
pub fn stop_when(asked: impl Future<Output = ()>) -> impl Stream<Item = Command> {
    futures_util::stream::once(asked).map(|()| Command::Stop)
}
