//! From a batch of tickets to lanes that are worked off side by side, and back to a partial answer. It must not decide what is sent.

use crate::lane::{self, Told};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use engine::keys::LaneName;
use engine::port::Clock;
use engine::ticket::{Task, Ticket};
use lambda_runtime::{Error, LambdaEvent};
use stack::Stack;
use std::collections::BTreeMap;
use tokio::sync::mpsc::unbounded_channel;

/// A function has 1,024 file descriptors; AWS and the log need some.
const SOCKETS: u32 = 800;

/// Works off the lanes that a batch names. Only what cannot be read, or whose lane could not be worked on at all, is to come again.
pub async fn handle(stack: &Stack, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    stack.objects.release();
    let mut failures = Vec::new();
    let mut lanes: BTreeMap<LaneName, Vec<String>> = BTreeMap::new();
    for record in event.payload.records {
        let id = record.message_id.unwrap_or_default();
        match Ticket::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(ticket) => lanes.entry(ticket.lane).or_default().push(id),
            Err(error) => {
                stack::trouble(
                    "a ticket cannot be read; after some tries it goes to the dead-letter queue",
                    &[("message", &id), ("error", &error)],
                );
                failures.push(id);
            }
        }
    }
    let deadline = deadline(stack, event.context.deadline);
    let sockets = (SOCKETS / lanes.len().max(1) as u32).max(1);
    let (tell, mut told) = unbounded_channel();
    let told_of = async {
        while let Some(Told { lane, run }) = told.recv().await {
            stack.ask(&[Task::Finish { organization: lane.organization, destination: lane.destination, run }]).await;
        }
    };
    let working = async {
        let works = lanes.iter().map(|(lane, ids)| {
            let tell = tell.clone();
            async move { (ids, lane, lane::work_off(stack, lane, sockets, deadline, tell).await) }
        });
        let ended = futures_util::future::join_all(works).await;
        drop(tell);
        ended
    };
    let (ended, ()) = futures_util::future::join(working, told_of).await;
    for (ids, lane, result) in ended {
        if let Err(error) = result {
            stack::trouble("the work on a lane stopped; its tickets come again", &[("lane", &lane.partition()), ("error", &error)]);
            failures.extend(ids.iter().cloned());
        }
    }
    Ok(stack::answer(failures))
}

/// The monotonic time at which the function is ended, from the Unix milliseconds that Lambda gives.
fn deadline(stack: &Stack, millis: u64) -> u64 {
    let now = stack.clock.now();
    now.mono + (millis * 1000).saturating_sub(now.wall)
}
