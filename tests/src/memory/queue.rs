//! A queue in memory, on which no time passes. It must pass the whole contract.

use engine::port::{Message, PortError, Queue};
use std::cell::RefCell;
use std::rc::Rc;

/// Messages in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryQueue {
    sent: Rc<RefCell<Vec<Message>>>,
}

impl MemoryQueue {
    /// Nothing sent yet.
    pub fn new() -> MemoryQueue {
        MemoryQueue::default()
    }

    /// Takes the bodies of messages whose delay is over after so many seconds, in the order sent.
    pub fn take(&self, seconds: u32) -> Vec<String> {
        let mut sent = self.sent.borrow_mut();
        let due = sent.extract_if(.., |message| message.delay_seconds <= seconds);
        due.map(|message| message.body).collect()
    }
}

impl Queue for MemoryQueue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), PortError> {
        for Message { body, .. } in &messages {
            let allowed = |letter: char| matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
            if body.is_empty() || body.len() > 200_000 || !body.chars().all(allowed) {
                return Err(PortError::Failed("a message is empty, longer than 200,000 bytes or holds control characters".to_owned()));
            }
        }
        let capped = |message: Message| Message { delay_seconds: message.delay_seconds.min(900), ..message };
        self.sent.borrow_mut().extend(messages.into_iter().map(capped));
        Ok(())
    }
}
