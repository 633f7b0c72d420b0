//! One lane, from its ticket until nothing can be sent, someone else has it, or the function's time is over. What is sent and when is
//! decided in `engine::deliver`.

use engine::catalog;
use engine::deliver::attach::Attachments;
use engine::deliver::command::stop_when;
use engine::deliver::drive::{End, Job, Thrift, drive};
use engine::deliver::ear::{self, Known};
use engine::deliver::{Attempted, Ports, Watch};
use engine::keys::LaneName;
use engine::lane::bell;
use engine::lane::lease::Predecessor;
use engine::lane::pump::Waiting;
use engine::plan::estimate::SPREAD_SECONDS;
use engine::port::Clock;
use engine::ticket::LONGEST_DELAY_SECONDS;
use futures_util::stream;
use process::chance::{self, Chance};
use stack::Stack;
use tokio::sync::mpsc::UnboundedSender;

/// A lane is worked on for so long, microseconds; then its ticket stands behind those of others. Handing over costs some ten calls.
const TURN: u64 = 60_000_000;
/// Sending stops so long before the last request could still be answered in time: what is on its way is recorded in it.
const MARGIN: u64 = 5_000_000;

/// Nothing of a run is left on a lane.
pub struct Told {
    /// The lane.
    pub lane: LaneName,
    /// The run.
    pub run: String,
}

/// Works a lane off with at most so many connections, until the monotonic time `deadline` at the latest.
///
/// # Errors
/// The store failed, or the definitions cannot be read.
pub async fn work_off(stack: &Stack, lane: &LaneName, sockets: u32, deadline: u64, tell: UnboundedSender<Told>) -> Result<(), String> {
    let (store, clock) = (&stack.store, &stack.clock);
    let watch = Lines { tell, all: stack.tells_attempts() };
    let mut again = false;
    let turn = clock.now().mono + TURN;
    loop {
        let wall = clock.now().wall;
        let count = bell::hear(store, lane, wall / 1_000_000).await.map_err(|e| e.to_string())?.bell.count;
        let changes = catalog::changes(store, &lane.organization, wall / 1_000_000).await.map_err(|e| e.to_string())?;
        let project = stack.project(&lane.organization).await?;
        if again {
            // Whatever was changed before the bell was heard holds from here on.
            ear::answer(store, lane, count, clock.now().wall).await.map_err(|e| e.to_string())?;
        }
        let Some(destination) = project.destinations.get(&lane.destination) else {
            // Its parcels cannot be worked on without it; whoever puts it back rings.
            return Ok(());
        };
        let mut destination = destination.clone();
        destination.concurrency = destination.concurrency.min(sockets);
        for limit in destination.rate_limits.iter_mut().filter(|limit| limit.window_seconds >= 60) {
            limit.spread_seconds.get_or_insert(SPREAD_SECONDS);
        }
        destination.timeout_seconds = destination.timeout_seconds.min(longest_request(clock.now().mono, deadline));
        let last = deadline.saturating_sub(Attachments::of(&destination).timeout() + MARGIN).min(turn);
        if clock.now().mono >= last {
            stack.ticket(lane, 0).await;
            return Ok(());
        }
        let transport = stack.transport(&destination)?;
        let owner = chance::fresh_name("own", wall);
        let job = Job {
            lane,
            destination: &destination,
            owner: &owner,
            predecessor: Predecessor::Unknown,
            thrift: Thrift::STACK,
            ends_when_dead: false,
            canary: None,
        };
        let ports = Ports { store, objects: &stack.objects, transport: &transport, clock };
        let commands = stream::select(ear::listen(store, clock, lane, Known { count, changes }), stop_when(clock.sleep_until(last)));
        let mut chance = Chance::new();
        match drive(ports, job, &watch, &mut || chance.draw(), commands).await.map_err(|e| e.to_string())? {
            End::Stopped => again = true,
            End::Resting { due } => {
                let wait = due.saturating_sub(clock.now().wall).div_ceil(1_000_000);
                if wait <= LONGEST_DELAY_SECONDS {
                    stack.ticket(lane, wait).await;
                }
                return Ok(());
            }
            // Whoever has the lane has its parcels in the backlog, too.
            End::Held { .. } | End::Lost | End::Empty | End::Paused | End::Dead => return Ok(()),
        }
    }
}

/// No request of a stack may take longer; where a function lives shorter, no more than half of what is left.
fn longest_request(now: u64, deadline: u64) -> f64 {
    (deadline.saturating_sub(now) as f64 / 2e6).min(300.0)
}

/// A line for each failure, and where that is asked for for each attempt; what went well is in the segments.
struct Lines {
    tell: UnboundedSender<Told>,
    all: bool,
}

impl Watch for Lines {
    fn attempted(&self, attempted: &Attempted<'_>) {
        if attempted.error.is_none() && !self.all {
            return;
        }
        let error = attempted.error.unwrap_or_default();
        let number = attempted.number.to_string();
        let status = attempted.status.map(|status| status.to_string()).unwrap_or_default();
        let fields = [
            ("delivery", attempted.delivery),
            ("export", attempted.export),
            ("attempt", &number),
            ("class", attempted.class.as_str()),
            ("status", &status),
            ("last", if attempted.last { "true" } else { "false" }),
            ("error", error),
        ];
        stack::note(if error.is_empty() { "an attempt succeeded" } else { "an attempt failed" }, &fields);
    }

    fn waits(&self, _: &LaneName, _: Option<Waiting>) {}

    fn completed(&self, lane: &LaneName, run: &str) {
        // Nobody listens once the function leaves; the next minute finds what is finished.
        let _ = self.tell.send(Told { lane: lane.clone(), run: run.to_string() });
    }
}
