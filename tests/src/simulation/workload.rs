//! Workloads: what is to be delivered within which limits, and what goes wrong meanwhile.

use super::chance::Chance;
use super::world::SECOND;
use engine::deliver::drive::Thrift;
use engine::lane::permits::Canary;
use serde_json::{Value, json};

/// What is to be delivered, and what goes wrong. Times are microseconds, probabilities 0..1.
#[derive(Clone, Debug)]
pub struct Workload {
    /// `rate_limit` as in a project file.
    pub limits: Value,
    /// Requests at once.
    pub concurrency: u32,
    /// Of a request.
    pub timeout_seconds: u64,
    /// `retry.max_attempts`
    pub max_attempts: u32,
    /// So many exports share the lane; each is a run in every round.
    pub exports: usize,
    /// Rows of an export, at most, when it begins.
    pub rows: usize,
    /// Contacts that each have an event in every round, beside the runs.
    pub events: usize,
    /// Rows of a request; 1: a request a row.
    pub batch: usize,
    /// Plan, deliver, finish: so often. Nothing goes wrong in the last round.
    pub rounds: u32,
    /// Processes that compete for the lane.
    pub hosts: usize,
    /// One process at a time, and a lock that proves the one before dead: nobody waits for a lease to run out.
    pub alone: bool,
    /// How a session spends time.
    pub thrift: Thrift,
    /// How long a session lives before it is told to stop; `None`: until nothing is left.
    pub life: Option<(u64, u64)>,
    /// How long a host waits after a session that ended well.
    pub gap: (u64, u64),
    /// Half of the runs of a round begin right after the one before, the others up to this much later.
    pub begins_within: u64,
    /// What a call of a port mostly takes.
    pub call_time: u64,
    /// The faults.
    pub faults: Faults,
    /// How long they strike in each round.
    pub faults_last: u64,
    /// Look no further than this; `None`: until all is delivered.
    pub ends_at: Option<u64>,
    /// A planted bug.
    pub canary: Option<Canary>,
    /// Die once, exactly here.
    pub crash_at: Option<CrashAt>,
}

/// A place to die at, counted from 1 over all hosts.
#[derive(Clone, Copy, Debug)]
pub enum CrashAt {
    /// When a future of a host is polled.
    Poll(u64),
    /// At a call of a port.
    Call {
        /// Which one.
        call: u64,
        /// Whether what it asked for is still done.
        done: bool,
    },
}

/// What goes wrong between hosts, store and receiver.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A host dies, on average after this long.
    pub dies_every: Option<u64>,
    /// A host freezes for 5 to 120 s, on average after this long.
    pub freezes_every: Option<u64>,
    /// Wall clocks are off by at most this much.
    pub clock_offset: u64,
    /// Clocks are set to another offset between sessions.
    pub clock_steps: bool,
    /// Monotonic clocks go too fast or slow by at most this, parts per million.
    pub drift_ppm: u64,
    /// A call is not done.
    pub refused_calls: f64,
    /// A call is done (or some of its writes are) and not answered.
    pub unheard_calls: f64,
    /// A call takes up to 8 s longer.
    pub slow_calls: f64,
    /// Bursts in which most calls are refused.
    pub throttles: bool,
    /// A request or an answer takes 0.3 to 2 s longer.
    pub wire_stalls: f64,
    /// A request or an answer never arrives.
    pub lost_packets: f64,
    /// No connection comes about.
    pub refused_connections: f64,
    /// What the receiver does.
    pub receiver: ReceiverFaults,
}

/// What the receiver does other than well.
#[derive(Clone, Debug, Default)]
pub struct ReceiverFaults {
    /// Answers 500, having done it or not.
    pub server_error: f64,
    /// Answers 429, mostly with Retry-After.
    pub too_many: f64,
    /// Of up to so many seconds.
    pub longest_retry_after: u64,
    /// Answers 422.
    pub rejects: f64,
    /// Resets the connection, having done it or not.
    pub resets: f64,
    /// Does not answer, having done it or not.
    pub silence: f64,
    /// Is down for a while, now and then.
    pub outages: bool,
    /// Answers 422 to a delivery that it has done before: "exists already".
    pub refuses_repeats: bool,
}

impl Workload {
    /// A workload drawn from a seed: each fault is in it or not, so that they meet in every combination.
    pub fn drawn(seed: u64) -> Workload {
        let mut chance = Chance::new(seed ^ 0x5eed);
        let alone = chance.happens(0.1);
        let (exports, rows) = *chance.pick(&[(1, 3), (1, 100), (2, 20), (2, 60), (3, 20), (3, 60), (8, 3), (8, 10)]);
        // Of a stream of its own, so that earlier seeds keep their other properties.
        let thrifty = !alone && Chance::new(seed ^ 0x7a17).happens(0.4);
        let hosts = if alone { 1 } else { chance.between(1, 3) as usize };
        Workload {
            limits: limits(&mut chance),
            concurrency: *chance.pick(&[1, 2, 5, 20, 100]),
            timeout_seconds: *chance.pick(&[3, 10, 30]),
            max_attempts: chance.between(2, 6) as u32,
            exports,
            rows,
            events: 0,
            batch: *chance.pick(&[1, 1, 1, 4, 25]),
            rounds: chance.between(2, 3) as u32,
            hosts,
            alone,
            thrift: if thrifty { Thrift::STACK } else { Thrift::MACHINE },
            life: if chance.happens(0.4) { Some((8 * SECOND, 12 * SECOND)) } else { None },
            gap: (SECOND / 50, SECOND),
            begins_within: *chance.pick(&[SECOND, 40 * SECOND]),
            call_time: *chance.pick(&[3_000, 3_000, 40_000]),
            faults: Faults::drawn(&mut chance),
            faults_last: chance.between(30, 400) * SECOND,
            ends_at: None,
            canary: None,
            crash_at: None,
        }
    }

    /// A few requests, one host after the other, and nothing that goes wrong: to die at each call of it in turn.
    pub fn small() -> Workload {
        Workload {
            limits: json!([{"requests": 5, "per": "second"}, {"requests": 40, "per": "minute"}]),
            concurrency: 3,
            timeout_seconds: 5,
            max_attempts: 3,
            exports: 2,
            rows: 5,
            events: 0,
            batch: 1,
            rounds: 2,
            hosts: 2,
            alone: false,
            thrift: Thrift::MACHINE,
            life: None,
            gap: (SECOND / 50, SECOND),
            begins_within: 40 * SECOND,
            call_time: 3_000,
            faults: Faults { clock_offset: 2 * SECOND / 5, ..Faults::default() },
            faults_last: 60 * SECOND,
            ends_at: None,
            canary: None,
            crash_at: None,
        }
    }

    /// Many small runs, two by two: the second may begin while the lane is about to be left after the first. The store takes its time.
    pub fn ringing() -> Workload {
        Workload {
            limits: json!("unlimited"),
            exports: 2,
            rows: 1,
            rounds: 30,
            hosts: 1,
            begins_within: 3 * SECOND,
            call_time: 100_000,
            ..Workload::small()
        }
    }

    /// Hosts that die while the receiver keeps their requests open.
    pub fn orphaning() -> Workload {
        let receiver = ReceiverFaults { silence: 0.2, ..ReceiverFaults::default() };
        let small = Workload::small();
        Workload {
            limits: json!("unlimited"),
            timeout_seconds: 30,
            rows: 40,
            hosts: 3,
            faults: Faults { dies_every: Some(20 * SECOND), receiver, ..small.faults },
            faults_last: 600 * SECOND,
            ..small
        }
    }

    /// As many requests as a limit allows for a while, in leases that are handed over every few seconds, or that end with a death.
    /// Nothing but the permits holds them back: the whole limit may go at once.
    pub fn pressed(requests: u32, per: &str, seconds: u64) -> Workload {
        let window = match per {
            "second" => 1,
            "minute" => 60,
            _ => 3600,
        };
        Workload {
            limits: json!([{"requests": requests, "per": per, "burst": requests}]),
            concurrency: 500,
            timeout_seconds: 5,
            max_attempts: 3,
            exports: 1,
            rows: requests as usize * (seconds.div_ceil(window) as usize + 1),
            events: 0,
            batch: 1,
            rounds: 1,
            hosts: 3,
            alone: false,
            thrift: Thrift::MACHINE,
            life: Some((8 * SECOND, 12 * SECOND)),
            gap: (SECOND / 50, SECOND / 2),
            begins_within: 40 * SECOND,
            call_time: 3_000,
            faults: Faults { clock_offset: 2 * SECOND / 5, wire_stalls: 0.001, ..Faults::default() },
            faults_last: seconds * SECOND,
            ends_at: Some(seconds * SECOND),
            canary: None,
            crash_at: None,
        }
    }
}

fn limits(chance: &mut Chance) -> Value {
    let (n, m) = (chance.between(2, 30), chance.between(20, 90));
    let burst = if chance.happens(0.5) { json!(n) } else { Value::Null };
    match chance.below(9) {
        0 => json!([{"requests": n, "per": "second", "burst": burst}]),
        1 => json!([{"requests": m, "per": "minute", "burst": chance.between(1, m)}]),
        2 => json!([{"requests": n, "per": "second", "burst": burst}, {"requests": m, "per": "minute", "burst": m}]),
        3 => json!([{"requests": n, "per": "second"}, {"requests": m, "per": "minute"}, {"requests": m * 5, "per": "hour", "burst": m}]),
        4 => json!([{"requests": 100, "per": "second"}]),
        5 => json!([{"requests": 600, "per": "minute", "burst": 100}]),
        6 => json!([{"requests": 3600, "per": "hour", "burst": 20}]),
        7 => json!([{"requests": 100, "per": "second"}, {"requests": 600, "per": "minute"}, {"requests": 3600, "per": "hour"}]),
        _ => json!([{"requests": 60, "per": "minute"}, {"requests": m * 10, "per": "hour"}]),
    }
}

impl Faults {
    fn drawn(chance: &mut Chance) -> Faults {
        let mut often = |choices: &[f64]| if chance.happens(0.5) { *chance.pick(choices) } else { 0.0 };
        let receiver = ReceiverFaults {
            server_error: often(&[0.01, 0.1, 0.3]),
            too_many: often(&[0.01, 0.1]),
            longest_retry_after: 8,
            rejects: often(&[0.01, 0.1]),
            resets: often(&[0.01, 0.1]),
            silence: often(&[0.005, 0.05]),
            outages: often(&[1.0]) > 0.0,
            refuses_repeats: often(&[1.0]) > 0.0,
        };
        let faults = Faults {
            refused_calls: often(&[0.005, 0.05, 0.2]),
            unheard_calls: often(&[0.005, 0.05, 0.2]),
            slow_calls: often(&[0.002, 0.02, 0.1]),
            throttles: often(&[1.0]) > 0.0,
            wire_stalls: often(&[0.002, 0.02]),
            lost_packets: often(&[0.002, 0.02]),
            refused_connections: often(&[0.01, 0.1]),
            clock_steps: often(&[1.0]) > 0.0,
            clock_offset: 2 * SECOND / 5,
            drift_ppm: 20,
            receiver,
            ..Faults::default()
        };
        let dies_every = chance.happens(0.6).then(|| *chance.pick(&[2, 10, 40, 120]) * SECOND);
        let freezes_every = chance.happens(0.5).then(|| *chance.pick(&[5, 30, 120]) * SECOND);
        Faults { dies_every, freezes_every, ..faults }
    }
}
