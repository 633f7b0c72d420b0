//! Delivery with DynamoDB-tracked attempts: SQS-triggered, batches of ten with partial answers; a segment item holds every attempt's
//! number, class, status, start and duration; S3 holds only bodies. Before a byte leaves, its rate-limit token is reserved in the `tokens`
//! item of its lane.
//!
//! This file wires; `handler` translates, `lane` works one lane off.

mod handler;
mod lane;

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use stack::Stack;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let stack = Stack::from_environment()?;
    stack.warm();
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| handler::handle(&stack, event))).await
}
