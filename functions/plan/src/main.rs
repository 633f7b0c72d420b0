//! Export planning into SQS batches: an EventBridge schedule each minute; parcels sent by `SendMessageBatch`, ten a call, delayed to
//! their turn; finishing runs.
//!
//! This file wires; `handler` translates, `look` finds what there is to do, `task` does one piece of it, `remote` brings rows from S3 and
//! Athena.

mod handler;
mod look;
mod remote;
mod task;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use stack::Stack;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let stack = Arc::new(Stack::from_environment()?);
    stack.warm();
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| handler::handle(&stack, event))).await
}
