//! Fail-stop: after a failed sync or a damaged file nothing this process writes can be trusted, so it stops writing.
//!
//! A failed sync may have thrown the unwritten pages away, and a second sync would then succeed without them. So the first such
//! failure is kept, and every later write of this process is answered with it. Only a new process, which reads back what is on
//! the disk, can go on. It must not decide what is grave: that is said where the failure is met.

use std::sync::OnceLock;

use engine::port::PortError;

/// The first grave failure of this process on one data directory, if there was one.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failure: OnceLock<String>,
}

impl Health {
    /// `Failed` if a grave failure was met before.
    pub(crate) fn check(&self) -> Result<(), PortError> {
        match self.failure.get() {
            None => Ok(()),
            Some(first) => {
                Err(PortError::Failed(format!("nothing more is written since this failed: {first}; check the disk, then start again")))
            }
        }
    }

    /// Stops all later writes, and answers with the failure.
    pub(crate) fn stop(&self, message: String) -> PortError {
        let first = self.failure.get_or_init(|| message.clone());
        if *first == message {
            PortError::Failed(format!("{message}; this process writes nothing more: check the disk, then start again"))
        } else {
            PortError::Failed(message)
        }
    }
}
