//! Who has an export, at every moment: whoever sees a run at rest may start the next one, and nothing that died keeps an export.

use crate::api::work::work_off;
use crate::catalog::stepped::{Pace, Stepped};
use crate::journey::stage::People;
use crate::parts::Place;
use engine::keys::LaneName;
use engine::lane::backlog;
use engine::port::{Clock, Exchange, Outgoing, PortError, Response, Transport};
use engine::run::document::{self, Status};
use engine::run::finish::{Because, finish};
use engine::run::request::{Refused, approve};
use engine::run::work::{self, Step};
use engine::run::{begin, claim, progress, redeliver, state};
use futures_util::FutureExt;
use planning::{AskedRun, Taken};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A little more than a minute, microseconds.
const MINUTE: u64 = 61_000_000;

/// How a run comes to rest without anything being sent.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// A guard holds it.
    Held,
    /// Its rows cannot be read.
    Failed,
}

impl Rest {
    fn place(self) -> Place {
        let place = Place::new(&People::new(20));
        let csv = place.rows();
        match self {
            // Half of the rows have no key.
            Rest::Held => place.write_rows(&format!("{csv}{}", ",nobody@example.com,x\n".repeat(20))),
            Rest::Failed => place.write_rows("this is\"no\nCSV"),
        }
        place
    }

    fn status(self) -> Status {
        match self {
            Rest::Held => Status::Held,
            Rest::Failed => Status::Failed,
        }
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Plans a run with a store of this pace, as a process of its own.
async fn plan(place: &Place, store: &Stepped, run: &str) -> Result<Taken, PortError> {
    let export = place.export();
    let asked = AskedRun { organization: &place.organization, export: &export, run };
    let scratch = tempfile::tempdir().unwrap();
    planning::begin_run(place.shop_with(store, scratch.path(), usize::MAX), asked, Ok(&place.project), &|_| Ok(())).await
}

async fn status(place: &Place, run: &str) -> Status {
    document::read(&place.store, &place.organization, run, 0).await.unwrap().expect("it was asked for").0.status
}

/// How many calls of the store planning a run takes.
async fn calls(rest: Rest) -> usize {
    let place = rest.place();
    let run = place.ask().await;
    let store = alive(&place);
    plan(&place, &store, &run).await.unwrap();
    assert_eq!(status(&place, &run).await, rest.status());
    store.calls.get()
}

#[test]
fn the_next_run_starts_as_soon_as_the_one_before_is_seen_at_rest() {
    now(async {
        for rest in [Rest::Held, Rest::Failed] {
            let mut at_rest_and_not_done = 0;
            for at in 0..calls(rest).await {
                let place = rest.place();
                let first = place.ask().await;
                let store = Stepped::new(&place.store, Pace::StopAt(at));
                let mut planning = Box::pin(plan(&place, &store, &first));
                assert!((&mut planning).now_or_never().is_none(), "{rest:?}: stopped before call {at}");
                let second = place.try_to_ask().await;
                if status(&place, &first).await == Status::Planning {
                    assert_eq!(second, Err(Refused::Busy(first.clone())), "{rest:?} {at}");
                    continue;
                }
                at_rest_and_not_done += 1;
                let second = second.unwrap_or_else(|refused| panic!("{rest:?} {at}: {refused:?}"));
                // The first one lets go of nothing that is not its own.
                planning.await.unwrap();
                assert_eq!(place.state().await.current, Some(second), "{rest:?} {at}");
            }
            assert!(at_rest_and_not_done > 0, "{rest:?}");
        }
    });
}

#[test]
fn a_plan_that_is_approved_as_soon_as_it_is_seen_held_keeps_its_export() {
    now(async {
        let mut approved = 0;
        for at in 0..calls(Rest::Held).await {
            let place = Rest::Held.place();
            let run = place.ask().await;
            let store = Stepped::new(&place.store, Pace::StopAt(at));
            let mut planning = Box::pin(plan(&place, &store, &run));
            assert!((&mut planning).now_or_never().is_none(), "stopped before call {at}");
            if status(&place, &run).await != Status::Held {
                continue;
            }
            approved += 1;
            let directory = place.directory(&run).await;
            let lane = place.lane();
            let wall = place.clock.now().wall;
            assert!(approve(&place.store, &lane, &run, &directory, wall).await.unwrap().is_ok(), "{at}");
            planning.await.unwrap();
            assert_eq!(status(&place, &run).await, Status::Delivering);
            assert_eq!(place.state().await.current, Some(run.clone()), "{at}");
            assert_eq!(place.try_to_ask().await, Err(Refused::Busy(run.clone())), "{at}");
            assert_eq!(place.steps_in(0).await, [Step::Deliver(place.lane())], "{at}: whoever finishes it finds it");
        }
        assert!(approved > 0);
    });
}

#[test]
fn nothing_that_died_while_it_let_go_keeps_an_export_or_is_under_way_for_ever() {
    now(async {
        for rest in [Rest::Held, Rest::Failed] {
            for at in 0..calls(rest).await {
                let place = rest.place();
                let run = place.ask().await;
                plan(&place, &Stepped::new(&place.store, Pace::DieAt(at)), &run).await.expect_err("it died");
                if status(&place, &run).await != rest.status() {
                    // Whoever looks plans it anew.
                    assert_eq!(place.steps_in(0).await, [Step::Plan], "{rest:?} {at}");
                    plan(&place, &alive(&place), &run).await.unwrap();
                    assert_eq!(status(&place, &run).await, rest.status(), "{rest:?} {at}");
                }
                // Within a minute the run may just be beginning again.
                assert!(place.steps_in(0).await.iter().all(|step| *step == Step::Wait), "{rest:?} {at}");
                place.clear(place.clock.now().wall + MINUTE).await;
                assert_eq!((place.state().await.current, place.steps_in(0).await), (None, vec![]), "{rest:?} {at}");
            }
        }
    });
}

#[test]
fn a_held_plan_is_refused_once_another_is_held_whenever_its_planner_died() {
    now(async {
        for at in 0..calls(Rest::Held).await {
            let place = Rest::Held.place();
            let first = place.ask().await;
            plan(&place, &alive(&place), &first).await.unwrap();
            let second = place.try_to_ask().await.unwrap();
            // It dies at this call; the next one to look plans it again.
            let _ = plan(&place, &Stepped::new(&place.store, Pace::DieAt(at)), &second).await;
            plan(&place, &alive(&place), &second).await.unwrap();
            assert_eq!(status(&place, &second).await, Status::Held);
            let directory = place.directory(&second).await;
            let lane = place.lane();
            let wall = place.clock.now().wall;
            let refused = approve(&place.store, &lane, &first, &directory, wall).await.unwrap();
            assert!(matches!(refused, Err(Refused::Not(Status::Canceled) | Refused::MovedOn)), "{at}: {refused:?}");
            assert!(approve(&place.store, &lane, &second, &directory, wall).await.unwrap().is_ok(), "{at}");
        }
    });
}

/// Takes every request and answers 200.
struct Seen(RefCell<Vec<String>>);

impl Transport for Seen {
    async fn send(&self, request: Outgoing) -> Exchange {
        self.0.borrow_mut().push(String::from_utf8(request.body.expect("each has a body")).expect("JSON"));
        Exchange::Response(Response { status: 200, headers: vec![], body: b"{}".to_vec(), truncated: false })
    }
}

/// What a planner that was taken for dead still does comes to nothing, wherever both stood still, though the other one read other rows.
#[test]
fn two_that_plan_the_same_run_come_to_one_plan() {
    now(async {
        let alone = Place::new(&People::new(30));
        let store = Stepped::new(&alone.store, Pace::DieAt(usize::MAX));
        plan(&alone, &store, &alone.ask().await).await.unwrap();
        let calls = store.calls.get();
        assert!(calls > 8, "{calls}");
        let mut plans = BTreeSet::new();
        // The other one takes up what the slow one left, which is a few calls more.
        for (slow_at, quick_at) in (0..calls).flat_map(|slow| (0..calls + 6).map(move |quick| (slow, quick))) {
            let place = Place::new(&People::new(30));
            let run = place.ask().await;
            let (slow, quick) = (Stepped::new(&place.store, Pace::StopAt(slow_at)), Stepped::new(&place.store, Pace::StopAt(quick_at)));
            let mut slow = Box::pin(plan(&place, &slow, &run));
            assert!((&mut slow).now_or_never().is_none(), "stopped before call {slow_at}");
            place.write_rows(&People::new(50).csv());
            let mut quick = Box::pin(plan(&place, &quick, &run));
            let begun = (&mut quick).now_or_never();
            let mut taken = vec![slow.await];
            taken.push(match begun {
                Some(begun) => begun,
                None => quick.await,
            });
            for taken in taken {
                assert!(
                    matches!(taken, Ok(Taken::Delivering(..) | Taken::Nothing) | Err(PortError::Conflict)),
                    "{slow_at} {quick_at}: {taken:?}"
                );
            }
            if status(&place, &run).await == Status::Planning {
                // Each came in the other's way: whoever looks next plans it anew.
                plan(&place, &alive(&place), &run).await.unwrap();
            }
            plans.insert(place.delivered_once(&run).await);
        }
        assert_eq!(plans, BTreeSet::from([30, 50]), "rows of the one or of the other");
    });
}

/// The same where a guard holds what one of them has planned.
#[test]
fn a_plan_that_a_guard_holds_and_one_that_it_lets_go_do_not_come_in_each_others_way() {
    now(async {
        let held = Rest::Held.place().rows();
        let mut ends = BTreeSet::new();
        for (slow_at, quick_at, slow_is_held) in
            (0..16).flat_map(|slow| (0..22).flat_map(move |quick| [false, true].map(|held| (slow, quick, held))))
        {
            let place = Place::new(&People::new(30));
            let fine = place.rows();
            let run = place.ask().await;
            let (slow, quick) = (Stepped::new(&place.store, Pace::StopAt(slow_at)), Stepped::new(&place.store, Pace::StopAt(quick_at)));
            place.write_rows(if slow_is_held { &held } else { &fine });
            let mut slow = Box::pin(plan(&place, &slow, &run));
            let slow_begun = (&mut slow).now_or_never();
            place.write_rows(if slow_is_held { &fine } else { &held });
            let mut quick = Box::pin(plan(&place, &quick, &run));
            let quick_begun = (&mut quick).now_or_never();
            for taken in [(slow_begun, slow), (quick_begun, quick)].map(|(begun, planning)| async {
                match begun {
                    Some(begun) => begun,
                    None => planning.await,
                }
            }) {
                let taken = taken.await;
                let is_fine = matches!(taken, Ok(Taken::Delivering(..) | Taken::Held(_) | Taken::Nothing) | Err(PortError::Conflict));
                assert!(is_fine, "{slow_at} {quick_at}: {taken:?}");
            }
            if status(&place, &run).await == Status::Planning {
                plan(&place, &alive(&place), &run).await.unwrap();
            }
            let end = status(&place, &run).await;
            if end == Status::Held {
                assert_eq!(place.state().await.current, None, "{slow_at} {quick_at}");
                let (directory, wall) = (place.directory(&run).await, place.clock.now().wall);
                let approved = approve(&place.store, &place.lane(), &run, &directory, wall).await.unwrap();
                assert!(approved.is_ok(), "{slow_at} {quick_at}: {approved:?}");
            }
            ends.insert((end.as_str(), place.delivered_once(&run).await));
        }
        assert_eq!(ends, BTreeSet::from([("delivering", 30), ("held", 20)]));
    });
}

/// Marks of what is done are not lost to who comes too late.
#[test]
fn a_planner_that_comes_too_late_changes_nothing_of_what_was_delivered() {
    now(async {
        let mut late = 0;
        for at in 0.. {
            let place = Place::new(&People::new(30));
            let run = place.ask().await;
            let store = Stepped::new(&place.store, Pace::StopAt(at));
            let mut slow = Box::pin(plan(&place, &store, &run));
            if (&mut slow).now_or_never().is_some() {
                break;
            }
            let quick = plan(&place, &alive(&place), &run).await.unwrap();
            if !matches!(quick, Taken::Delivering(..)) {
                continue;
            }
            late += 1;
            let seen = place.work_off().await;
            drop(slow.await);
            assert!(place.is_complete(&run).await, "{at}");
            assert_eq!((seen.len(), place.work_off().await.len()), (30, 0), "{at}");
        }
        assert!(late > 4, "{late}");
    });
}

#[test]
fn two_that_approve_the_same_plan_send_it_once() {
    now(async {
        let (place, run) = held().await;
        let lane = place.lane();
        let (directory, wall) = (place.directory(&run).await, place.clock.now().wall);
        let store = alive(&place);
        approve(&store, &lane, &run, &directory, wall).await.unwrap().unwrap();
        for at in 0..store.calls.get() {
            let (place, run) = held().await;
            let wall = place.clock.now().wall;
            let store = Stepped::new(&place.store, Pace::StopAt(at));
            let mut slow = Box::pin(approve(&store, &lane, &run, &directory, wall));
            assert!((&mut slow).now_or_never().is_none(), "stopped before call {at}");
            let quick = approve(&place.store, &lane, &run, &directory, wall + 1).await;
            let slow = slow.await;
            assert!([&slow, &quick].into_iter().any(|answer| matches!(answer, Ok(Ok(_)))), "{at}: {slow:?} {quick:?}");
            assert_eq!(place.delivered_once(&run).await, 20, "{at}");
        }
    });
}

/// Whoever approves a plan may die at any moment, and whoever clears away may come in between: it can be approved again, and is sent once.
#[test]
fn a_plan_whose_approval_died_is_held_again() {
    now(async {
        let lane = Rest::Held.place().lane();
        for at in 0.. {
            let (place, run) = held().await;
            let (directory, wall) = (place.directory(&run).await, place.clock.now().wall);
            let dying = Stepped::new(&place.store, Pace::DieAt(at));
            if approve(&dying, &lane, &run, &directory, wall).await.is_ok() {
                assert!(at > 4, "{at}");
                break;
            }
            if status(&place, &run).await == Status::Held {
                place.clear(wall + MINUTE).await;
                assert_eq!((place.state().await.current, place.steps_in(0).await), (None, vec![]), "{at}");
                assert_eq!(backlog::read(&place.store, &lane, 0).await.unwrap(), [], "{at}");
                approve(&place.store, &lane, &run, &directory, wall + MINUTE)
                    .await
                    .unwrap()
                    .unwrap_or_else(|refused| panic!("{at}: {refused:?}"));
            } else {
                // It is delivered, whether its lane was told or not.
                assert!(matches!(place.steps_in(0).await[..], [Step::Ring(_) | Step::Deliver(_)]), "{at}");
            }
            assert_eq!(place.delivered_once(&run).await, 20, "{at}");
        }
    });
}

#[test]
fn clearing_away_takes_nothing_from_whoever_begins_at_that_moment() {
    now(async {
        let lane = Rest::Held.place().lane();
        for (dies_at, stops_at) in (0..8).flat_map(|dies| (0..12).map(move |stops| (dies, stops))) {
            let (place, run) = held().await;
            let (directory, wall) = (place.directory(&run).await, place.clock.now().wall);
            let dying = Stepped::new(&place.store, Pace::DieAt(dies_at));
            if approve(&dying, &lane, &run, &directory, wall).await.is_ok() || status(&place, &run).await != Status::Held {
                continue;
            }
            let stepped = Stepped::new(&place.store, Pace::StopAt(stops_at));
            let mut notes = work::list(&place.store, 0).await.unwrap();
            let Some(note) = notes.pop() else { continue };
            let mut clearing = Box::pin(claim::clear(&stepped, &note, 0));
            let cleared = (&mut clearing).now_or_never();
            let approved = approve(&place.store, &lane, &run, &directory, wall + MINUTE).await.unwrap();
            if cleared.is_none() {
                clearing.await.unwrap();
            }
            assert!(approved.is_ok(), "{dies_at} {stops_at}: {approved:?}");
            assert_eq!(place.state().await.current, Some(run.clone()), "{dies_at} {stops_at}");
            assert_eq!(place.steps_in(0).await, [Step::Deliver(lane.clone())], "{dies_at} {stops_at}");
            assert_eq!(place.delivered_once(&run).await, 20, "{dies_at} {stops_at}");
        }
    });
}

/// Who stands still for longer than a minute while he approves is taken for dead, and comes too late if he is not.
#[test]
fn an_approval_that_was_cleared_away_does_not_go_on() {
    now(async {
        let mut cleared = 0;
        for at in 0.. {
            let (place, run) = held().await;
            let (lane, directory, wall) = (place.lane(), place.directory(&run).await, place.clock.now().wall);
            let slow = Stepped::new(&place.store, Pace::StopAt(at));
            let mut approving = Box::pin(approve(&slow, &lane, &run, &directory, wall));
            if (&mut approving).now_or_never().is_some() {
                break;
            }
            place.clear(wall + MINUTE).await;
            let late = approving.await.unwrap();
            if status(&place, &run).await == Status::Held {
                cleared += 1;
                assert!(late.is_err(), "{at}: {late:?}");
                place.clear(wall + 2 * MINUTE).await;
                assert_eq!(place.state().await.current, None, "{at}");
                approve(&place.store, &lane, &run, &directory, wall + 2 * MINUTE).await.unwrap().unwrap();
            }
            assert_eq!(place.state().await.current, Some(run.clone()), "{at}");
            assert!(matches!(place.steps_in(0).await[..], [Step::Deliver(_)]), "{at}");
            assert_eq!(place.delivered_once(&run).await, 20, "{at}");
        }
        assert!(cleared > 3, "{cleared}");
    });
}

/// A late one that finishes a run changes nothing of what a person asked for since; a redelivery may die at any moment.
#[test]
fn deliveries_are_sent_again_whoever_finishes_late_or_dies() {
    now(async {
        for at in 0.. {
            let (place, run) = begun().await;
            let slow = Stepped::new(&place.store, Pace::StopAt(at));
            let mut late = Box::pin(finished(&place, &slow, &run));
            if (&mut late).now_or_never().is_some() {
                assert!(at > 5, "{at}");
                break;
            }
            finished(&place, &alive(&place), &run).await.unwrap();
            let (ended, _) = document::read(&place.store, &place.organization, &run, 0).await.unwrap().unwrap();
            assert_eq!(ended.status, Status::Succeeded, "{at}");
            let snapshot = place.state().await.snapshot;
            let (directory, wall) = (place.directory(&run).await, place.clock.now().wall);
            let again = redeliver::again(&place.store, &place.lane(), &ended, &directory, &[(0, 3), (0, 4)], wall).await.unwrap();
            // One that has written the end and has not yet gone is no hindrance.
            assert_eq!(again, Ok(()), "{at}");
            drop(late.await);
            assert_eq!(status(&place, &run).await, Status::Delivering, "{at}");
            assert_eq!((place.state().await.current, place.state().await.snapshot), (Some(run.clone()), snapshot), "{at}");
            assert_eq!(place.steps_in(0).await, [Step::Deliver(place.lane())], "{at}");
            assert_eq!(place.work_off().await.len(), 2, "{at}");
            finished(&place, &alive(&place), &run).await.unwrap();
            assert_eq!((status(&place, &run).await, place.steps_in(0).await), (Status::Succeeded, vec![]), "{at}");
        }
        for at in 0.. {
            let (place, run) = begun().await;
            finished(&place, &alive(&place), &run).await.unwrap();
            let (ended, _) = document::read(&place.store, &place.organization, &run, 0).await.unwrap().unwrap();
            let (directory, wall) = (place.directory(&run).await, place.clock.now().wall);
            let dying = Stepped::new(&place.store, Pace::DieAt(at));
            let dead = redeliver::again(&dying, &place.lane(), &ended, &directory, &[(0, 3), (0, 4)], wall).await;
            if dead.is_ok() {
                assert!(at > 6, "{at}");
                break;
            }
            if status(&place, &run).await == Status::Succeeded {
                place.clear(wall + MINUTE).await;
                assert_eq!((place.state().await.current, place.steps_in(0).await), (None, vec![]), "{at}");
                let again = redeliver::again(&place.store, &place.lane(), &ended, &directory, &[(0, 5)], wall + MINUTE).await.unwrap();
                assert_eq!((again, place.work_off().await.len()), (Ok(()), 1), "{at}");
            } else {
                assert!(matches!(place.steps_in(0).await[..], [Step::Ring(_) | Step::Deliver(_)]), "{at}");
                assert_eq!(place.work_off().await.len(), 2, "{at}");
            }
            assert!(place.is_complete(&run).await, "{at}");
            finished(&place, &alive(&place), &run).await.unwrap();
            assert_eq!((status(&place, &run).await, place.steps_in(0).await), (Status::Succeeded, vec![]), "{at}");
        }
    });
}

/// Two who ask for the same at once, of whom one may die: it is asked for once, and whoever finishes it finds it.
#[test]
fn two_who_ask_for_deliveries_again_are_served_once() {
    now(async {
        for (at, dies) in (0..20).flat_map(|at| [(at, false), (at, true)]) {
            let (place, run) = begun().await;
            finished(&place, &alive(&place), &run).await.unwrap();
            let (ended, _) = document::read(&place.store, &place.organization, &run, 0).await.unwrap().unwrap();
            let (lane, directory, wall) = (place.lane(), place.directory(&run).await, place.clock.now().wall);
            let wanted = [(0, 3), (0, 4)];
            let slow = Stepped::new(&place.store, if dies { Pace::DieAt(at) } else { Pace::StopAt(at) });
            let mut asking = Box::pin(redeliver::again(&slow, &lane, &ended, &directory, &wanted, wall));
            let begun = (&mut asking).now_or_never();
            let quick = redeliver::again(&place.store, &lane, &ended, &directory, &wanted, wall + 1).await.unwrap();
            let slow = match begun {
                Some(answer) => answer,
                None => asking.await,
            };
            if status(&place, &run).await == Status::Succeeded {
                assert!(dies && quick == Err(redeliver::Refused::Unfinished), "{at}: {quick:?}");
                place.clear(wall + MINUTE).await;
                assert_eq!((place.state().await.current, place.steps_in(0).await), (None, vec![]), "{at}");
                let again = redeliver::again(&place.store, &lane, &ended, &directory, &wanted, wall + MINUTE).await.unwrap();
                assert_eq!(again, Ok(()), "{at}");
            }
            assert!(slow.is_ok() || dies, "{at}: {slow:?}");
            assert!(matches!(place.steps_in(0).await[..], [Step::Ring(_) | Step::Deliver(_)]), "{at} {dies}");
            assert_eq!(place.work_off().await.len(), 2, "{at} {dies}");
            finished(&place, &alive(&place), &run).await.unwrap();
            place.clear(wall + MINUTE).await;
            assert_eq!((status(&place, &run).await, place.steps_in(0).await), (Status::Succeeded, vec![]), "{at} {dies}");
            assert_eq!(place.state().await.current, None, "{at} {dies}");
        }
    });
}

/// Who approves a plan that was approved, delivered and is just being finished takes nothing from it: what was delivered is remembered.
#[test]
fn what_was_delivered_is_remembered_whoever_approves_it_once_more() {
    now(async {
        for (late_at, finish_at) in (0..10).flat_map(|late| (0..10).map(move |finish| (late, finish))) {
            let (place, run) = held().await;
            let (lane, directory, wall) = (place.lane(), place.directory(&run).await, place.clock.now().wall);
            let late = Stepped::new(&place.store, Pace::StopAt(late_at));
            let mut late = Box::pin(approve(&late, &lane, &run, &directory, wall));
            let begun = (&mut late).now_or_never();
            // Where the late one has the run, nobody else gets it.
            let _ = approve(&place.store, &lane, &run, &directory, wall + 1).await.unwrap();
            place.work_off().await;
            let stepped = Stepped::new(&place.store, Pace::StopAt(finish_at));
            let mut finishing = Box::pin(finished(&place, &stepped, &run));
            let ended = (&mut finishing).now_or_never();
            if begun.is_none() {
                drop(late.await);
            }
            if ended.is_none() {
                finishing.await.unwrap();
            }
            place.work_off().await;
            finished(&place, &alive(&place), &run).await.unwrap();
            place.clear(wall + MINUTE).await;
            let (ended, _) = document::read(&place.store, &place.organization, &run, 0).await.unwrap().unwrap();
            assert_eq!((ended.status, ended.rows.delivered), (Status::CompletedWithErrors, 20), "{late_at} {finish_at}");
            let state = place.state().await;
            assert_eq!((state.current, state.snapshot.map(|files| files.len())), (None, Some(1)), "{late_at} {finish_at}");
            assert_eq!(place.steps_in(0).await, [], "{late_at} {finish_at}");
        }
    });
}

/// On one machine the lane's owner knows that nothing is left, whatever the marks say: parcels of a run that was stopped are withdrawn.
#[test]
fn a_run_that_was_stopped_ends_though_its_process_died_before_it_said_so() {
    now(async {
        let place = Place::new(&People::new(30));
        let run = place.ask().await;
        plan(&place, &alive(&place), &run).await.unwrap();
        begin::withdraw(&place.store, &place.lane(), &run, u64::MAX, 0).await.unwrap();
        finished(&place, &alive(&place), &run).await.unwrap();
        assert_eq!(status(&place, &run).await, Status::Delivering, "who is only told looks at the marks");
        let scratch = tempfile::tempdir().unwrap();
        let deltas = planning::Deltas { file: scratch.path().join("delta"), scratch: scratch.path().to_path_buf() };
        let of = (&place.export(), run.as_str());
        let ended = finish(&place.store, &place.objects, &place.lane(), of, Because::Done, &deltas, 0).await.unwrap();
        assert_eq!((ended.status, ended.rows.pending), (Status::CompletedWithErrors, 30));
        assert_eq!(place.state().await.current, None);
    });
}

fn alive(place: &Place) -> Stepped {
    Stepped::new(&place.store, Pace::DieAt(usize::MAX))
}

/// A run of thirty rows that are delivered.
async fn begun() -> (Place, String) {
    let place = Place::new(&People::new(30));
    let run = place.ask().await;
    plan(&place, &alive(&place), &run).await.unwrap();
    assert_eq!(place.work_off().await.len(), 30);
    (place, run)
}

/// Finishes a run, as a process of its own.
async fn finished(place: &Place, store: &Stepped, run: &str) -> Result<Taken, PortError> {
    let scratch = tempfile::tempdir().unwrap();
    planning::finish_run(place.shop_with(store, scratch.path(), usize::MAX), &place.lane(), run).await
}

/// A run that a guard holds.
async fn held() -> (Place, String) {
    let place = Rest::Held.place();
    let run = place.ask().await;
    plan(&place, &alive(&place), &run).await.unwrap();
    (place, run)
}

impl Place {
    fn lane(&self) -> LaneName {
        LaneName::first(&self.organization, &self.destination())
    }

    /// Works off the lane; gives the bodies of what was sent.
    async fn work_off(&self) -> Vec<String> {
        let seen = Seen(RefCell::default());
        work_off(&self.store, &self.objects, &self.project, &self.lane(), &seen, self.clock.now().wall).await;
        seen.0.into_inner()
    }

    /// Whether each parcel of a run is marked as done.
    async fn is_complete(&self, run: &str) -> bool {
        progress::read(&self.store, &self.lane(), run, 0).await.unwrap().expect("it has begun").0.is_complete()
    }

    /// Works off what a run owes: every row of its plan is sent once, and nothing else. Gives their number.
    async fn delivered_once(&self, run: &str) -> usize {
        let (planned, _) = document::read(&self.store, &self.organization, run, 0).await.unwrap().unwrap();
        assert_eq!(planned.status, Status::Delivering);
        let mut sent = self.work_off().await;
        assert!(self.is_complete(run).await);
        assert_eq!(sent.len() as u64, planned.totals.added);
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len() as u64, planned.totals.added, "each once");
        assert_eq!(backlog::read(&self.store, &self.lane(), 0).await.unwrap(), []);
        sent.len()
    }

    async fn state(&self) -> state::State {
        state::read(&self.store, &self.organization, &self.export(), 0).await.unwrap().state
    }

    /// Clears away what is over at that time, as whoever looks around does.
    async fn clear(&self, wall: u64) {
        for work in work::list(&self.store, 0).await.unwrap() {
            if work::step(&self.store, &work, wall).await.unwrap() == Step::Over {
                claim::clear(&self.store, &work, 0).await.unwrap();
            }
        }
    }

    /// What is under way needs this, so many microseconds from now.
    async fn steps_in(&self, later: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        for work in work::list(&self.store, 0).await.unwrap() {
            steps.push(work::step(&self.store, &work, self.clock.now().wall + later).await.unwrap());
        }
        steps
    }
}
