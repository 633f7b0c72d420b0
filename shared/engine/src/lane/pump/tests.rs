//! The pump, step by step.

use super::*;
use crate::lane::SECOND;
use crate::lane::permits::Inheritance;
use crate::model::action::ActionName;

fn at(micros: u64) -> Now {
    Now { wall: 1_000_000 * SECOND + micros, mono: micros }
}

fn settings() -> Settings {
    Settings { concurrency: 3, timeout: 30 * SECOND, retry: RetryPolicy::default(), ends_when_dead: true }
}

fn pump(settings: Settings) -> Pump {
    let how = Inheritance { margin: 0, ill_until: None, dead_since: None, canary: None };
    let permits = Permits::inherit(&[], &[], how, at(0));
    Pump::new(Lease::new("owner", 1, at(0), None), permits, settings, 0, Standing::default(), at(0))
}

fn parcel(run: &str, number: u32, deliveries: u32) -> Parcel {
    Parcel {
        run: run.into(),
        number,
        action: ActionName::Add,
        deliveries,
        rows: u64::from(deliveries),
        due: 0,
        again: None,
        holds: Holds::Rows { object: "plans/x".into(), offset: 0, length: 1 },
    }
}

fn open(pump: &mut Pump, run: &str, number: u32, deliveries: u32) -> Slot {
    let slot = pump.add(Key::new("lane", format!("due#{run}#{number}")), parcel(run, number, deliveries), &[], at(0));
    pump.loaded(slot);
    slot
}

fn start(pump: &mut Pump, now: Now) -> Grant {
    match pump.next(now) {
        Next::Send(candidate) => pump.start(candidate, now),
        other => panic!("nothing to send but {other:?}"),
    }
}

fn verdict(class: Class) -> Verdict {
    let failed = class != Class::Success;
    Verdict {
        class,
        status: Some(if failed { 503 } else { 200 }),
        succeeded: u64::from(!failed),
        uncertain: failed,
        retryable: failed,
        destination_down: failed,
        retry_after_seconds: None,
        error: None,
    }
}

/// HT-37
#[test]
fn no_more_are_in_flight_than_the_concurrency_allows() {
    let mut pump = pump(settings());
    open(&mut pump, "a", 0, 10);
    let grants: Vec<Grant> = (0..3).map(|_| start(&mut pump, at(0))).collect();
    assert_eq!(pump.next(at(0)), Next::Until(HEARTBEAT), "nothing before an answer, but for the heartbeat");
    let answered = pump.answered(grants.into_iter().next().unwrap(), &verdict(Class::Success), 1, at(1), 0.5);
    assert!(answered.last);
    assert!(matches!(pump.next(at(1)), Next::Send(_)));
}

#[test]
fn runs_take_turns_one_delivery_at_a_time() {
    let mut pump = pump(Settings { concurrency: 100, ..settings() });
    let slots = [open(&mut pump, "a", 0, 4), open(&mut pump, "b", 0, 2)];
    let order: Vec<Slot> = (0..6).map(|_| start(&mut pump, at(0)).candidate.slot).collect();
    let [a, b] = slots;
    assert_eq!(order, [a, b, a, b, a, a]);
    assert_eq!(pump.fresh_parcels(), 1, "the last one is noticed when the next is asked for");
}

/// GL-20, HT-50: a failed delivery waits for its turn, keeps its place among the attempts, and ends when they are used up.
#[test]
fn a_failed_delivery_is_tried_again_until_its_attempts_are_used_up() {
    let retry = RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() };
    let mut pump = pump(Settings { retry, ..settings() });
    open(&mut pump, "a", 0, 1);
    let mut now = 0;
    for (number, delay) in [(1, SECOND), (2, 2 * SECOND)] {
        let grant = start(&mut pump, at(now));
        assert_eq!(grant.number, number);
        let record = pump.answered(grant, &verdict(Class::ServerError), 1, at(now), 1.0);
        assert!(!record.last);
        assert_eq!(pump.next(at(now)), Next::Until(now + delay));
        now += delay;
    }
    let grant = start(&mut pump, at(now));
    let record = pump.answered(grant, &verdict(Class::ServerError), 1, at(now), 1.0);
    assert!(record.last && record.number == 3);
    assert_eq!(pump.next(at(now)), Next::Empty);
}

#[test]
fn retry_after_holds_the_whole_destination() {
    let mut pump = pump(settings());
    open(&mut pump, "a", 0, 5);
    let grant = start(&mut pump, at(0));
    let asked = Verdict { retry_after_seconds: Some(7.0), destination_down: false, ..verdict(Class::TooManyRequestsError) };
    pump.answered(grant, &asked, 1, at(0), 0.0);
    assert_eq!(pump.next(at(0)), Next::Until(7 * SECOND));
    assert_eq!(pump.waits_for(at(0)), Some(Waiting::RetryAfter(7 * SECOND)));
    assert!(matches!(pump.next(at(7 * SECOND)), Next::Send(_)));
}

#[test]
fn a_dead_destination_is_probed_with_one_delivery_and_then_given_up() {
    let retry = RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() };
    let mut pump = pump(Settings { retry, concurrency: 100, ..settings() });
    open(&mut pump, "a", 0, 50);
    let grants: Vec<Grant> = (0..10).map(|_| start(&mut pump, at(0))).collect();
    for grant in grants {
        pump.answered(grant, &verdict(Class::NetworkError), 1, at(0), 0.0);
    }
    assert_eq!(pump.waits_for(at(0)), Some(Waiting::Down(30 * SECOND)));
    let mut now = 0;
    for wait in [30, 60] {
        for beat in (now..now + wait * SECOND).step_by(HEARTBEAT as usize) {
            assert!(!matches!(pump.next(at(beat)), Next::Send(_)), "a request although the circuit is open");
            pump.beaten(at(beat));
        }
        now += wait * SECOND;
        pump.beaten(at(now));
        let probe = start(&mut pump, at(now));
        assert!(!matches!(pump.next(at(now)), Next::Send(_)), "a second probe");
        pump.answered(probe, &verdict(Class::NetworkError), 1, at(now), 0.0);
    }
    assert_eq!(pump.next(at(now)), Next::Dead);
}

#[test]
fn what_the_log_says_is_done_is_not_sent_again_and_what_failed_waits_its_turn() {
    let mut pump = pump(settings());
    let record = |index, number, last| AttemptRecord {
        index,
        number,
        status: Some(if last { 200 } else { 503 }),
        started_ms: at(0).wall / 1000,
        duration_ms: 0,
        last,
        uncertain: false,
        by_hand: false,
        succeeded: None,
    };
    let history = [(Class::Success, record(0, 1, true)), (Class::ServerError, record(1, 1, false))];
    let slot = pump.add(Key::new("lane", "due#a"), parcel("a", 0, 3), &history, at(0));
    pump.loaded(slot);
    let fresh = start(&mut pump, at(0));
    assert_eq!((fresh.candidate.index, fresh.number), (2, 1));
    assert_eq!(pump.next(at(0)), Next::Until(SECOND), "the failed one waits for as long as it might have");
    let retried = start(&mut pump, at(SECOND));
    assert_eq!((retried.candidate.index, retried.number), (1, 2));
}

#[test]
fn a_lost_lease_sends_nothing() {
    let mut pump = pump(settings());
    open(&mut pump, "a", 0, 5);
    assert_eq!(pump.next(at(29 * SECOND)), Next::Lost);
}

#[test]
fn after_a_stop_nothing_starts_and_what_is_on_its_way_is_waited_for() {
    let mut pump = pump(settings());
    open(&mut pump, "a", 0, 5);
    let grant = start(&mut pump, at(0));
    pump.stop();
    assert_eq!(pump.next(at(0)), Next::Until(HEARTBEAT));
    pump.answered(grant, &verdict(Class::Success), 1, at(1), 0.0);
    assert_eq!(pump.next(at(1)), Next::Empty);
}

fn event(pump: &mut Pump, id: &str, rule: &str, key: Option<&str>) -> Slot {
    let holds = Holds::Event { rule: crate::model::name::Name::new(rule).unwrap(), key: key.map(str::to_string) };
    pump.add(Key::new("lane", format!("due#{id}")), Parcel { holds, ..parcel(id, 0, 1) }, &[], at(0))
}

/// What the loop does with an event: it is made ready, then it may go.
fn start_event(pump: &mut Pump, now: Now) -> Grant {
    loop {
        match pump.next(now) {
            Next::Prepare(candidate) => {
                pump.preparing(candidate);
                pump.prepared(candidate);
            }
            Next::Send(candidate) => return pump.start(candidate, now),
            other => panic!("nothing to send but {other:?}"),
        }
    }
}

/// semantics.md 14, faults.md H4: events get at least half of the turns, and rules take turns among themselves.
#[test]
fn events_get_every_other_turn_beside_any_number_of_runs() {
    let mut pump = pump(Settings { concurrency: 100, ..settings() });
    for run in ["a", "b", "c"] {
        open(&mut pump, run, 0, 10);
    }
    for n in 0..3 {
        event(&mut pump, &format!("x{n}"), "x", None);
        event(&mut pump, &format!("y{n}"), "y", None);
    }
    let order: Vec<String> = (0..12)
        .map(|_| {
            let slot = start_event(&mut pump, at(0)).candidate.slot;
            pump.parcel(slot).run.clone()
        })
        .collect();
    assert_eq!(order.iter().filter(|run| run.len() == 2).count(), 6, "{order:?}");
    assert!(order.chunks(2).all(|pair| pair.iter().filter(|run| run.len() == 2).count() == 1), "{order:?}");
    let rules: Vec<&str> = order.iter().filter(|run| run.len() == 2).map(|run| &run[..1]).collect();
    assert!(rules.windows(2).all(|pair| pair[0] != pair[1]), "{rules:?}");
}

/// `per_key`: the second event of a key waits for the first, through its retries, and goes once that is done, whatever it came to.
#[test]
fn an_event_waits_for_the_one_before_it_of_the_same_key_alone() {
    let mut pump = pump(Settings { concurrency: 100, ..settings() });
    let first = event(&mut pump, "1", "x", Some("k"));
    event(&mut pump, "2", "y", Some("k"));
    let free = event(&mut pump, "3", "x", Some("other"));
    assert_eq!(pump.fresh_events(), 2);
    let grant = start_event(&mut pump, at(0));
    assert_eq!(grant.candidate.slot, first);
    assert_eq!(start_event(&mut pump, at(0)).candidate.slot, free);
    let mut failed = verdict(Class::ServerError);
    failed.destination_down = false;
    assert!(!pump.answered(grant, &failed, 1, at(1), 1.0).last);
    assert!(!matches!(pump.next(at(1)), Next::Prepare(_) | Next::Send(_)), "the key waits for its retry");
    let later = at(2 * SECOND);
    let grant = start_event(&mut pump, later);
    assert_eq!((grant.candidate.slot, grant.number), (first, 2));
    let refused = Verdict { retryable: false, ..failed };
    assert!(pump.answered(grant, &refused, 1, later, 1.0).last);
    let grant = start_event(&mut pump, later);
    assert_eq!(pump.parcel(grant.candidate.slot).run, "2");
}

/// A fetch takes no permit and says nothing of the destination; what fails in it is an attempt all the same.
#[test]
fn a_failed_fetch_is_an_attempt_that_is_tried_again_and_opens_no_circuit() {
    let mut pump = pump(settings());
    let slot = event(&mut pump, "1", "x", Some("k"));
    let candidate = Candidate { slot, index: 0 };
    for number in 1..=8 {
        let now = at(u64::from(number) * 1000 * SECOND / 50);
        assert_eq!(pump.next(now), Next::Beat, "the heartbeat comes between");
        pump.beaten(now);
        assert_eq!(pump.next(now), Next::Prepare(candidate));
        pump.preparing(candidate);
        let failed = Verdict { destination_down: false, uncertain: false, ..verdict(Class::ServerError) };
        let record = pump.fetch_failed(candidate, &failed, now, now, 0.0);
        assert_eq!((record.number, record.last), (number, number == 8));
        assert!(pump.waits_for(now).is_none());
    }
    assert!(pump.is_done(slot));
}
