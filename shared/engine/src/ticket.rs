//! Tickets and tasks: the messages between processes. A ticket says that a lane has work, a task that a run is to be taken a step
//! further. Each carries nothing but where to look: a message may come twice, late or never, and what is in the store decides.

use crate::keys::LaneName;
use crate::model::limit::RateLimit;
use crate::model::name::Name;
use crate::plan::estimate;
use crate::plan::layout::Directory;
use crate::port::Message;
use crate::run::work::Part;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of messages; a newer one is left to newer processes.
const VERSION: u64 = 1;
/// So many tickets a lane and plan; the work behind them is found by whoever works these off.
const MOST_TICKETS: usize = 100;
/// No queue delays longer (SQS, DelaySeconds); what has its turn later is rung by the bell.
pub const LONGEST_DELAY_SECONDS: u64 = 900;

/// A lane has work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The lane.
    pub lane: LaneName,
    /// The parcel that it was sent for: its run and its number.
    pub parcel: Option<(String, u32)>,
}

impl Ticket {
    /// A ticket for whatever a lane has.
    pub fn of(lane: &LaneName) -> Ticket {
        Ticket { lane: lane.clone(), parcel: None }
    }

    /// The message, to be received after a delay.
    pub fn message(&self, delay_seconds: u64) -> Message {
        let wire = TicketWire { v: VERSION, lane: self.lane.partition(), parcel: self.parcel.clone() };
        message(&wire, delay_seconds)
    }

    /// Reads a message. Members that are not known are left aside.
    ///
    /// # Errors
    /// It is no ticket, or of a newer form: a fragment that says so.
    pub fn parse(body: &str) -> Result<Ticket, String> {
        let wire: TicketWire = read(body)?;
        let lane = LaneName::parse(&wire.lane).ok_or_else(|| format!("`{}` names no lane", wire.lane))?;
        Ok(Ticket { lane, parcel: wire.parcel })
    }
}

#[derive(Serialize, Deserialize)]
struct TicketWire {
    v: u64,
    lane: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parcel: Option<(String, u32)>,
}

/// The tickets of a plan: one a parcel, each delayed to the parcel's turn at the lane's rate.
pub fn announce(lane: &LaneName, run: &str, directory: &Directory, limits: &[RateLimit]) -> Vec<Message> {
    let rate = estimate::rate(limits);
    let mut before = 0u64;
    let mut messages = Vec::new();
    for place in directory.parcels.iter().take(MOST_TICKETS) {
        let turn = rate.map_or(0, |rate| (before as f64 / rate) as u64);
        if turn > LONGEST_DELAY_SECONDS {
            break;
        }
        messages.push(Ticket { lane: lane.clone(), parcel: Some((run.to_string(), place.number)) }.message(turn));
        before += u64::from(place.deliveries);
    }
    messages
}

/// What whoever plans is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Look at schedules, at all that is under way, and at bells.
    Look,
    /// Plan a run that was asked for.
    Plan {
        /// Whose.
        organization: Name,
        /// Its export.
        export: Name,
        /// Its id.
        run: String,
        /// When it was asked for, Unix microseconds.
        asked_at: u64,
    },
    /// Make a part of a run's plan.
    Part {
        /// Whose.
        organization: Name,
        /// Its id.
        run: String,
        /// Which part.
        part: Part,
    },
    /// Finish a run of which nothing is left to send.
    Finish {
        /// Whose.
        organization: Name,
        /// Its destination.
        destination: Name,
        /// Its id.
        run: String,
    },
}

impl Task {
    /// The message.
    pub fn message(&self) -> Message {
        message(&TaskWire { v: VERSION, task: self.clone() }, 0)
    }

    /// Reads a message. Members that are not known are left aside.
    ///
    /// # Errors
    /// It is no task, or of a newer form: a fragment that says so.
    pub fn parse(body: &str) -> Result<Task, String> {
        read::<TaskWire>(body).map(|wire| wire.task)
    }
}

#[derive(Serialize, Deserialize)]
struct TaskWire {
    v: u64,
    #[serde(flatten)]
    task: Task,
}

fn message(wire: &impl Serialize, delay_seconds: u64) -> Message {
    let body = serde_json::to_string(wire).expect("plain data always serializes");
    Message { body, delay_seconds: delay_seconds.min(LONGEST_DELAY_SECONDS) as u32 }
}

fn read<T: for<'de> Deserialize<'de>>(body: &str) -> Result<T, String> {
    let value: Value = serde_json::from_str(body).map_err(|_| "the message is not JSON".to_string())?;
    match value["v"].as_u64() {
        Some(VERSION) => serde_json::from_value(value).map_err(|e| format!("the message cannot be read: {e}")),
        Some(version) => Err(format!("the message has form {version}, and this process knows {VERSION}")),
        None => Err("the message has no form `v`".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::action::ActionName;
    use crate::model::limit::LimitMode;
    use crate::plan::layout::Place;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_ticket_is_read_back_and_unknown_members_do_not_matter() {
        let ticket = Ticket { lane: LaneName::first(&name("acme"), &name("crm")), parcel: Some(("run_1".into(), 7)) };
        let body = ticket.message(3).body;
        assert_eq!(Ticket::parse(&body), Ok(ticket.clone()));
        assert_eq!(Ticket::parse(&body.replacen('{', r#"{"later": [1], "#, 1)), Ok(ticket));
    }

    #[test]
    fn an_task_is_read_back() {
        let finish = Task::Finish { organization: name("acme"), destination: name("crm"), run: "run_1".into() };
        let part = Task::Part { organization: name("acme"), run: "run_1".into(), part: Part { round: 1, number: 3 } };
        for task in [Task::Look, finish, part] {
            assert_eq!(Task::parse(&task.message().body), Ok(task));
        }
    }

    /// C15
    #[test]
    fn what_is_no_message_of_ours_is_refused_with_the_reason() {
        for (body, says) in [
            ("", "not JSON"),
            ("[]", "no form"),
            (r#"{"lane": "acme#lane#crm#0"}"#, "no form"),
            (r#"{"v": 2, "lane": "acme#lane#crm#0"}"#, "form 2"),
            (r#"{"v": 1, "lane": "acme"}"#, "names no lane"),
            (r#"{"v": 1}"#, "cannot be read"),
        ] {
            let refused = Ticket::parse(body).unwrap_err();
            assert!(refused.contains(says), "{body}: {refused}");
        }
        assert!(Task::parse(r#"{"v": 1, "task": "dance"}"#).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn parcels_are_announced_at_their_turns_and_no_more_than_a_queue_can_delay() {
        let lane = LaneName::first(&name("acme"), &name("crm"));
        let place = |number| Place { number, action: ActionName::Add, offset: 0, length: 0, deliveries: 600, rows: 600 };
        let directory = Directory { parcels: (0..200).map(place).collect(), ..Directory::default() };
        let limit =
            |requests, window_seconds| [RateLimit { requests, window_seconds, mode: LimitMode::Strict, burst: None, spread_seconds: None }];
        let fast = announce(&lane, "run_1", &directory, &limit(600, 1));
        assert_eq!(fast.len(), 100);
        assert_eq!(fast.iter().take(3).map(|message| message.delay_seconds).collect::<Vec<_>>(), [0, 1, 2]);
        let slow = announce(&lane, "run_1", &directory, &limit(600, 600));
        assert_eq!(slow.iter().map(|message| message.delay_seconds).collect::<Vec<_>>(), [0, 600]);
    }
}
