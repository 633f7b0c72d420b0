//! What a plan will cost on a stack on AWS, about. The counts follow from how a lane is worked off (`deliver::drive`, `deliver::log`); the
//! constants are fitted to metered runs, and a test of `tests/tests/all/charge.rs` holds both beside each other within a factor of two.
//!
//! It must not be used for a decision: prices change, and answers take their time.

use super::rate;
use crate::model::limit::RateLimit;

/// Limits by the minute, hour and day go in spreads of so many seconds on a stack, unless their definition says otherwise: a wake-up costs
/// what 0.9 s of waiting do.
pub const SPREAD_SECONDS: u32 = 10;

/// USD, us-east-1, November 2026, without a free tier, as `backend_aws::meter` has them: a write request unit, a read request unit, a
/// PUT and a GET of S3, a request of SQS, a call of a function and a GB-second on arm64.
pub const PRICES: Prices =
    Prices { write: 0.625e-6, read: 0.125e-6, put: 5e-6, get: 0.4e-6, message: 0.40e-6, call: 0.20e-6, gb_second: 0.0000133334 };

/// A request is answered after so many seconds: nobody knows before it is sent.
const ANSWER_SECONDS: f64 = 0.2;
/// A request for several rows takes longer.
const BATCH_ANSWER_SECONDS: f64 = 0.4;
/// GB of `deliver` and of `plan`, as the template has them.
const DELIVER_GB: f64 = 0.5;
const PLAN_GB: f64 = 2.0;
/// A function that is there works so long before its time is over, and is called again.
const CALL_SECONDS: f64 = 865.0;
/// It leaves where nothing can be sent for so long (`deliver::drive::Thrift`).
const LINGER_SECONDS: f64 = 0.9;
/// What a call of `deliver` takes beside the sending: the lease taken and given back, definitions, backlog and log read.
const WAKE_SECONDS: f64 = 0.15;
/// Write units of the same, and requests of SQS for its ticket: sent, received, deleted.
const WAKE_WRITES: f64 = 4.0;
const WAKE_MESSAGES: f64 = 3.0;
/// Its read units; more for each parcel that it opens, of which there are at most so many, and for each in the backlog, which it reads twice.
const WAKE_READS: f64 = 12.0;
const OPEN_PARCELS: f64 = 8.0;
const OPEN_PARCEL_READS: f64 = 1.5;
const BACKLOG_PARCEL_READS: f64 = 0.06;
/// While it is busy it records this often at least, and at so many attempts (`deliver::log`).
const RECORD_SECONDS: f64 = 2.0;
const RECORD_ATTEMPTS: f64 = 1000.0;
/// Segments of a recording, where spans of time or parcels meet, and write units of each beside its body: the begun KB, three index entries.
const BUSY_SEGMENTS: f64 = 2.0;
const SEGMENT_WRITES: f64 = 4.0;
/// Bytes of an attempt in a segment; in its page, beside what its rows have, compressed and not; and of the longest page that lies within.
const ATTEMPT_BYTES: f64 = 2.0;
const PAGE_BYTES: f64 = 300.0;
const INLINE_BYTES: f64 = 32.0 * 1024.0;
/// A heartbeat, and a look at the bell.
const BEAT_SECONDS: f64 = 10.0;
const EAR_SECONDS: f64 = 1.0;
/// A parcel: put into the backlog, its bit set, deleted there; its segments looked for twice, its progress read.
const PARCEL_WRITES: f64 = 3.0;
const PARCEL_READS: f64 = 3.0;
/// A run, whatever it holds: its documents, the export's state, progress, bell and holds.
const RUN_WRITES: f64 = 32.0;
const RUN_READS: f64 = 15.0;
const RUN_PUTS: f64 = 2.0;
const RUN_MESSAGES: f64 = 6.0;
const RUN_CALLS: f64 = 2.0;
const RUN_PLAN_SECONDS: f64 = 0.35;
/// Rows that `plan` reads, compares and cuts in a second, and as many again that it finishes.
const PLAN_ROWS_A_SECOND: f64 = 250_000.0;
/// Files go up in parts of so many bytes; the delta is about as long as the plan.
const PART_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
/// Tickets of a plan, how late the last may be received, and how many of those that can be received at once make a call (`ticket::announce`).
const MOST_TICKETS: f64 = 100.0;
const LAST_TICKET_SECONDS: f64 = 900.0;
const TICKETS_A_CALL: f64 = 10.0;

/// USD for one of each.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is named by what it is the price of")]
pub struct Prices {
    pub write: f64,
    pub read: f64,
    pub put: f64,
    pub get: f64,
    pub message: f64,
    pub call: f64,
    pub gb_second: f64,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Requests.
    pub deliveries: u64,
    /// Parcels that hold them.
    pub parcels: u64,
    /// Rows that they carry.
    pub rows: u64,
    /// Bytes of the parcels' blocks, compressed as they are.
    pub bytes: u64,
    /// The destination's limits.
    pub limits: &'a [RateLimit],
    /// Requests at once.
    pub concurrency: u32,
}

/// What it comes to, about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OnStack {
    /// All of it, USD.
    pub usd: f64,
    /// Seconds that calls of `deliver` last, all together.
    pub deliver_seconds: f64,
    /// Calls of functions.
    pub calls: f64,
    /// GB-seconds of functions.
    pub gb_seconds: f64,
    /// DynamoDB write request units.
    pub writes: f64,
    /// DynamoDB read request units.
    pub reads: f64,
    /// PUT requests of S3.
    pub puts: f64,
    /// GET requests of S3.
    pub gets: f64,
    /// Requests of SQS.
    pub messages: f64,
}

/// How often a function is called to send at the limits, and how much it sends each time; `None`: it is there until all is sent.
fn wakes(load: &Load<'_>, answer: f64) -> Option<f64> {
    let slowest = load.limits.iter().min_by(|one, two| {
        let rate = |limit: &RateLimit| f64::from(limit.requests) / f64::from(limit.window_seconds);
        rate(one).total_cmp(&rate(two))
    })?;
    let mut limit = slowest.clone();
    if limit.window_seconds >= 60 {
        limit.spread_seconds.get_or_insert(SPREAD_SECONDS);
    }
    let spacing = f64::from(limit.window_seconds) / f64::from(limit.requests);
    let (seconds, each) = match (limit.spread(), limit.spread_seconds) {
        (Some(each), Some(seconds)) => (f64::from(seconds), f64::from(each)),
        _ => (spacing, 1.0),
    };
    let waits = seconds - answer > LINGER_SECONDS;
    let at_once = f64::from(limit.burst()).max(each);
    waits.then(|| 1.0 + ((load.deliveries as f64 - at_once) / each).ceil().max(0.0))
}

/// What a plan will cost on a stack, were every request answered well and at once.
pub fn on_stack(load: &Load<'_>) -> OnStack {
    if load.deliveries == 0 {
        return OnStack::default();
    }
    let (deliveries, parcels, rows, bytes) = (load.deliveries as f64, load.parcels as f64, load.rows as f64, load.bytes as f64);
    let answer = if load.rows > load.deliveries { BATCH_ANSWER_SECONDS } else { ANSWER_SECONDS };
    let most = f64::from(load.concurrency.max(1)) / answer;
    let limit = rate(load.limits);
    let (calls, sending, recordings, segments) = match wakes(load, answer) {
        Some(wakes) => (wakes, wakes * answer, wakes, 1.0),
        None => {
            let sending = (deliveries / limit.map_or(most, |rate| rate.min(most))).max(answer);
            let recordings = (sending / RECORD_SECONDS).max(deliveries / RECORD_ATTEMPTS).max(1.0);
            ((sending / CALL_SECONDS).ceil(), sending, recordings, if recordings > 1.0 { BUSY_SEGMENTS } else { 1.0 })
        }
    };
    let attempts = deliveries / recordings;
    let is_inline = attempts * (2.0 * bytes / deliveries + PAGE_BYTES) <= INLINE_BYTES;
    let attempt_bytes = if is_inline { bytes / deliveries + PAGE_BYTES } else { ATTEMPT_BYTES };
    let body = attempts * attempt_bytes / 1024.0;
    // Tickets that find the lane in other hands: each by itself where they come at their turns, else ten a call.
    let idle_calls = match limit {
        Some(rate) => parcels.min(MOST_TICKETS).min(1.0 + LAST_TICKET_SECONDS * rate * parcels / deliveries) - 1.0,
        None => (parcels.min(MOST_TICKETS) / TICKETS_A_CALL).ceil() - 1.0,
    };
    let looks = calls + idle_calls / 2.0;
    let deliver_seconds = sending + looks * WAKE_SECONDS;
    let plan_seconds = RUN_PLAN_SECONDS + 2.0 * rows / PLAN_ROWS_A_SECOND;
    let wake_reads = WAKE_READS + OPEN_PARCEL_READS * parcels.min(OPEN_PARCELS) + BACKLOG_PARCEL_READS * parcels;
    let gets = RUN_CALLS + parcels.max(calls);
    let counted = OnStack {
        usd: 0.0,
        deliver_seconds,
        calls: RUN_CALLS + calls + idle_calls,
        gb_seconds: deliver_seconds * DELIVER_GB + plan_seconds * PLAN_GB,
        writes: RUN_WRITES
            + parcels * PARCEL_WRITES
            + recordings * (segments * SEGMENT_WRITES + body)
            + calls * WAKE_WRITES
            + sending / BEAT_SECONDS,
        // What was recorded is read once more when the run is finished, 4 KB a unit.
        reads: RUN_READS + parcels * PARCEL_READS + looks * wake_reads + sending / EAR_SECONDS + recordings * body / 4.0,
        puts: RUN_PUTS + if is_inline { 0.0 } else { recordings } + 2.0 * (bytes / PART_BYTES).floor(),
        gets,
        messages: RUN_MESSAGES + (calls + idle_calls) * WAKE_MESSAGES,
    };
    OnStack { usd: priced(&counted), ..counted }
}

fn priced(counted: &OnStack) -> f64 {
    let Prices { write, read, put, get, message, call, gb_second } = PRICES;
    let functions = counted.calls * call + counted.gb_seconds * gb_second;
    let store = counted.writes * write + counted.reads * read + counted.puts * put + counted.gets * get;
    functions + store + counted.messages * message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limit::LimitMode;

    fn load(deliveries: u64, limits: &[RateLimit]) -> Load<'_> {
        Load { deliveries, parcels: deliveries.div_ceil(1000), rows: deliveries, bytes: deliveries * 300, limits, concurrency: 100 }
    }

    fn limit(requests: u32, window_seconds: u32) -> [RateLimit; 1] {
        [RateLimit { requests, window_seconds, mode: LimitMode::Strict, burst: None, spread_seconds: None }]
    }

    #[test]
    fn nothing_to_send_costs_nothing_and_more_costs_more() {
        assert_eq!(on_stack(&load(0, &[])), OnStack::default());
        let costs: Vec<f64> = [1, 10, 1000, 100_000, 1_000_000].iter().map(|count| on_stack(&load(*count, &[])).usd).collect();
        assert!(costs.is_sorted() && costs[0] > 0.0, "{costs:?}");
    }

    #[test]
    fn a_function_is_there_all_the_time_at_ten_a_second_and_wakes_up_for_spreads_at_one_a_second() {
        let (fast, slow) = (limit(10, 1), limit(3600, 3600));
        assert!((on_stack(&load(3600, &fast)).deliver_seconds - 360.0).abs() < 10.0);
        assert!((100.0..200.0).contains(&on_stack(&load(3600, &slow)).deliver_seconds));
    }
}
