//! From an event to tasks, and back to a partial answer: the minute's event is a look, a message says what it is. It must not decide
//! anything.

use crate::{look, task};
use aws_lambda_events::event::sqs::SqsEvent;
use engine::ticket::Task;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use stack::Stack;
use std::sync::Arc;

/// Handles a message of the queue, or the minute's event.
pub async fn handle(stack: &Arc<Stack>, event: LambdaEvent<Value>) -> Result<Value, Error> {
    stack.objects.release();
    if event.payload.get("Records").is_none() {
        look::minute(stack).await?;
        return Ok(json!({}));
    }
    let event: SqsEvent = serde_json::from_value(event.payload)?;
    let mut failures = Vec::new();
    for record in event.records {
        let done = match Task::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(task) => task::run(stack, &task).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            let id = record.message_id.unwrap_or_default();
            stack::trouble(
                "a task failed; it comes again, and after some tries goes to the dead-letter queue",
                &[("message", &id), ("error", &error)],
            );
            failures.push(id);
        }
    }
    Ok(serde_json::to_value(stack::answer(failures))?)
}
