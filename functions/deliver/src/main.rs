//! Delivery with DynamoDB-tracked attempts: SQS-triggered, batches of ten with partial answers; a segment item holds every attempt's
//! number, class, status, start and duration; S3 holds only bodies. Before a byte leaves, its rate-limit token is reserved in the `tokens`
//! item of its lane.
//!
//! This file wires; `handler` translates, `lane` works one lane off.

mod handler;
mod lane;

use aws_lambda_events::event::sqs::SqsEvent;
use engine::port::{Clock, Key, Store};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use stack::Stack;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let stack = Stack::from_environment()?;
    let stack = &stack;
    // The connection to the table is opened beside the first poll, not before it.
    let warm = async {
        let key = Key::new("warm", "warm");
        let _ = stack.store.get(&key, stack.clock.now().wall / 1_000_000).await;
    };
    let serve = lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| handler::handle(stack, event)));
    futures_util::future::join(serve, warm).await.0
}
