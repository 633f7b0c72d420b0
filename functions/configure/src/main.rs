//! Config CRUD: API Gateway; definitions as DynamoDB items with versions; runs, deliveries, console.
//!
//! This file wires; `handler` translates, `office` is what the API asks of this process, `first` makes the first token.

mod first;
mod handler;
mod office;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use office::StackOffice;
use serde_json::Value;
use stack::Stack;
use std::rc::Rc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let stack = Stack::from_environment()?;
    stack.warm();
    let office = Rc::new(StackOffice::new(stack));
    let (desk, jobs) = api::Desk::new();
    let router = api::router::<StackOffice>(desk);
    let serve = lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| handler::handle(&office, &router, event.payload)));
    let local = tokio::task::LocalSet::new();
    local.spawn_local(api::clerk(jobs, Rc::clone(&office)));
    local.run_until(serve).await
}
