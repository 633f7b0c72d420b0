//! Lists of deliveries and of runs beside what a look at everything says, and paging through them.

use engine::lookback::{Delivery, Filter, LookError, Lookback, PageOf, RunFilter};
use engine::model::name::Name;
use engine::port::{Objects, Store};
use engine::run::document::{Run, Status};
use futures_util::FutureExt;
use std::collections::BTreeSet;
use tests::history::random::{self, Past, START_MS, name};
use tests::history::{Plan, put_run, row, run};
use tests::memory::{MemoryObjects, MemoryStore};

fn done<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("what lies in memory is there at once")
}

struct World {
    store: MemoryStore,
    objects: MemoryObjects,
    past: Past,
}

impl World {
    fn new(seed: u64, runs: usize, most_deliveries: u64) -> World {
        let (store, objects) = (MemoryStore::new(), MemoryObjects::new());
        let past = done(random::write(&store, &objects, seed, runs, most_deliveries));
        World { store, objects, past }
    }

    fn look(&self) -> Lookback<'_, MemoryStore, MemoryObjects> {
        let Past { organization, paused, .. } = &self.past;
        Lookback { store: &self.store, objects: &self.objects, organization, paused, now: 0 }
    }
}

/// All pages of a list. Whatever their lengths, there is an end.
fn all<S: Store, O: Objects>(look: Lookback<'_, S, O>, filter: &Filter, limit: usize) -> Vec<Delivery> {
    let mut found = Vec::new();
    let mut after = None;
    for _ in 0..10_000 {
        let PageOf { items, next } = done(look.deliveries(filter, after.as_deref(), limit)).unwrap();
        assert!(items.len() <= limit, "{} of {limit}", items.len());
        found.extend(items);
        after = next;
        if after.is_none() {
            return found;
        }
    }
    panic!("the list of {filter:?} has no end");
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.id.clone()).collect()
}

/// VX-16, and each filter of the list by itself and with others, in random histories.
#[test]
fn every_filter_finds_what_a_look_at_everything_finds_however_it_is_paged() {
    let mut matches = 0;
    for seed in 0..12 {
        let world = World::new(seed, 30, 9);
        for number in 0..150 {
            let filter = world.past.any_filter(seed * 1000 + number);
            let expected = world.past.expected(&filter);
            matches += expected.len();
            let limit = [1, 2, 3, 7, 50, 1000][number as usize % 6];
            let found = all(world.look(), &filter, limit);
            assert_eq!(ids(&found), expected, "seed {seed}, {filter:?}, pages of {limit}");
        }
    }
    assert!(matches > 10_000, "{matches}");
}

/// What a list shows of a delivery is what happened to it, and the delivery alone says the same.
#[test]
fn a_listed_delivery_has_its_keys_its_status_and_all_its_attempts() {
    let world = World::new(77, 12, 9);
    for owed in &world.past.deliveries {
        let run = &world.past.runs[owed.run];
        let delivery = done(world.look().delivery(&owed.id)).unwrap().unwrap();
        assert_eq!((delivery.status, &delivery.row_keys, delivery.run.as_ref()), (owed.status, &owed.keys, Some(&run.id)));
        let attempts: Vec<_> = delivery.attempts.iter().map(|attempt| (attempt.class, attempt.number, attempt.started_ms())).collect();
        let expected: Vec<_> = owed.attempts.iter().map(|(class, record)| (*class, record.number, record.started_ms)).collect();
        assert_eq!(attempts, expected);
        assert_eq!(delivery.request.is_some(), !owed.attempts.is_empty());
    }
    let filter = Filter { run: Some(world.past.runs[3].id.clone()), ..Filter::default() };
    for delivery in all(world.look(), &filter, 1000) {
        let alone = done(world.look().delivery(&delivery.id)).unwrap().unwrap();
        assert_eq!((&alone.row_keys, alone.status, alone.attempts.len()), (&delivery.row_keys, delivery.status, delivery.attempts.len()));
    }
    assert!(done(world.look().delivery("dlv_000003_0_99")).unwrap().is_none());
    assert!(done(world.look().delivery("dlv_000003_99_0")).unwrap().is_none());
    assert!(done(world.look().delivery("dlv_nothing_0_0")).unwrap().is_none());
}

/// A page does a bounded piece of work: it may be short, but pages together have everything.
#[test]
fn rare_deliveries_among_many_are_found_over_short_pages() {
    let world = World::new(5, 60, 60);
    let filter = |row: &str| Filter { destination: Some(name("crm")), row: Some(row.into()), ..Filter::default() };
    for row in ["k7", "k59", "k60"] {
        assert_eq!(ids(&all(world.look(), &filter(row), 5)), world.past.expected(&filter(row)));
    }
    let everything = Filter::default();
    assert_eq!(ids(&all(world.look(), &everything, 1000)), world.past.expected(&everything));
}

/// While a list is paged through, new attempts come in at its top: what was there at first is given once, in its order.
#[test]
fn paging_goes_on_behind_its_place_while_more_is_recorded() {
    let world = World::new(11, 20, 9);
    let before = world.past.expected(&Filter::default());
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    let mut number = 0;
    loop {
        let PageOf { items, next } = done(world.look().deliveries(&Filter::default(), after.as_deref(), 4)).unwrap();
        found.extend(ids(&items));
        after = next;
        if after.is_none() {
            break;
        }
        number += 1;
        let newest = done(random::write_another(&world.store, &world.objects, &world.past, number));
        assert!(newest > START_MS);
    }
    assert_eq!(found, before);
    assert!(all(world.look(), &Filter::default(), 1000).len() > before.len());
}

/// A large plan has several lists of keys, each too long to be read at once.
#[test]
fn a_row_is_found_in_a_plan_of_many_lists_of_keys() {
    let (store, objects, organization) = (MemoryStore::new(), MemoryObjects::new(), name("acme"));
    let mut plan = Plan::new();
    for parcel in 0..30 {
        let keys = |delivery: u32| [parcel * 600 + delivery * 2, parcel * 600 + delivery * 2 + 1].map(|key| row(&key.to_string()));
        plan.add(&(0..300).map(|delivery| keys(delivery).to_vec()).collect::<Vec<_>>());
        if parcel % 10 == 9 {
            plan.end_list();
        }
    }
    // One of its keys is there twice.
    plan.add(&[vec![row("4711")]]);
    let times = (START_MS * 1000, Some(START_MS * 1000 + 1));
    let mut run = run(&organization, "run_1", &name("news"), &name("crm"), Status::Canceled, times);
    done(put_run(&store, &objects, &organization, &mut run, plan, |_| false)).unwrap();
    let paused = BTreeSet::new();
    let look = Lookback { store: &store, objects: &objects, organization: &organization, paused: &paused, now: 0 };
    let find = |key: u32| ids(&all(look, &Filter { export: Some(name("news")), row: Some(key.to_string()), ..Filter::default() }, 10));
    for key in (0..18_000).step_by(97) {
        assert_eq!(find(key), [format!("dlv_1_{}_{}", key / 600, key % 600 / 2)], "{key}");
    }
    assert_eq!(find(4711), ["dlv_1_7_255", "dlv_1_30_0"]);
    assert_eq!((find(18_000), find(99_999)), (vec![], vec![]));
}

#[test]
fn a_cursor_of_another_list_and_one_that_is_broken_are_refused() {
    let world = World::new(2, 10, 9);
    let next = done(world.look().deliveries(&Filter::default(), None, 1)).unwrap().next.unwrap();
    let filter = Filter { export: Some(name("news")), ..Filter::default() };
    for (filter, after) in [(&filter, next.as_str()), (&Filter::default(), "x"), (&Filter::default(), ""), (&Filter::default(), &next[1..])]
    {
        let refused = done(world.look().deliveries(filter, Some(after), 1));
        assert!(matches!(refused, Err(LookError::Refused(_))), "{after}");
        assert!(matches!(done(world.look().runs(&RunFilter::default(), Some(after), 1)), Err(LookError::Refused(_))));
    }
    let row = Filter { row: Some("k1".into()), ..Filter::default() };
    assert!(matches!(done(world.look().deliveries(&row, None, 1)), Err(LookError::Refused(_))));
}

/// GL-72
#[test]
fn runs_are_listed_by_export_destination_status_and_time_the_newest_first() {
    let world = World::new(3, 40, 3);
    let runs = &world.past.runs;
    let middle = runs[20].started_at / 1000;
    let filters = [
        RunFilter::default(),
        RunFilter { export: Some(name("news")), ..RunFilter::default() },
        RunFilter { destination: Some(name("erp")), ..RunFilter::default() },
        RunFilter { export: Some(name("leads")), destination: Some(name("erp")), ..RunFilter::default() },
        RunFilter { status: Some(Status::Canceled), ..RunFilter::default() },
        RunFilter { since_ms: Some(middle), ..RunFilter::default() },
        RunFilter { until_ms: Some(middle), destination: Some(name("crm")), ..RunFilter::default() },
        RunFilter { since_ms: Some(middle + 1), until_ms: Some(middle), ..RunFilter::default() },
        RunFilter { export: Some(name("unknown")), ..RunFilter::default() },
    ];
    for filter in filters {
        let fits = |run: &&Run| {
            let is = |wanted: &Option<Name>, name: &Name| wanted.as_ref().is_none_or(|wanted| wanted == name);
            is(&filter.export, &run.export)
                && is(&filter.destination, &run.destination)
                && filter.status.is_none_or(|status| status == run.status)
                && filter.since_ms.is_none_or(|since| run.started_at >= since * 1000)
                && filter.until_ms.is_none_or(|until| run.started_at < until * 1000)
        };
        let mut expected: Vec<(u64, &str)> = runs.iter().filter(fits).map(|run| (run.started_at, run.id.as_str())).collect();
        expected.sort();
        expected.reverse();
        for limit in [1, 3, 100] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let PageOf { items, next } = done(world.look().runs(&filter, after.as_deref(), limit)).unwrap();
                assert!(items.len() <= limit);
                found.extend(items);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            let found: Vec<(u64, &str)> = found.iter().map(|run| (run.started_at, run.id.as_str())).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }
    let ids: BTreeSet<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids.len(), 40);
}
