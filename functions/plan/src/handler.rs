//! From an event to errands, and back to a partial answer: the minute's event is a look, a message says what it is. It must not decide
//! anything.

use crate::{errand, look};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use engine::ticket::Errand;
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
    let mut answer = SqsBatchResponse::default();
    for record in event.records {
        let done = match Errand::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(errand) => errand::run(stack, &errand).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            let id = record.message_id.unwrap_or_default();
            stack::trouble(
                "an errand failed; it comes again, and after some tries goes to the dead-letter queue",
                &[("message", &id), ("error", &error)],
            );
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            answer.batch_item_failures.push(failure);
        }
    }
    Ok(serde_json::to_value(answer)?)
}
