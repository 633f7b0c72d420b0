//! The backend on AWS where things go wrong on the way: answers lost, work left undone, throttling. moto is AWS here, and a proxy stands in front
//! of it. What holds without faults is in the contract.

mod charge;
mod objects;
mod queue;
mod secrets;
mod store;

use backend_aws::Aws;
use tests::aws::{Proxy, Stack, moto};

/// A stack behind a proxy.
struct Behind {
    stack: Stack,
    proxy: Proxy,
    aws: Aws,
}

impl Behind {
    /// `None`, loudly, if moto is not here.
    fn new() -> Option<Behind> {
        let moto = moto()?;
        let stack = Stack::new(moto);
        let proxy = Proxy::start(moto.address());
        let aws = stack.aws_by(proxy.address());
        Some(Behind { stack, proxy, aws })
    }
}
