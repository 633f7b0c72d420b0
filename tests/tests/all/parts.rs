//! Planning in parts, in one process and in memory: what is joined is the plan that one planner would have made, cut elsewhere.

use crate::journey::stage::{People, one_by_one, project};
use engine::keys::{self, ALL_PARTS, run_partition};
use engine::model::action::ActionName;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::plan::block;
use engine::plan::layout::{self, Directory, Head};
use engine::plan::rows_by_key::{Chunk, ROW_BYTES, candidates, hash};
use engine::port::{Clock, Expect, Objects, Store};
use engine::run::claim;
use engine::run::document::{self, Run, Status, Wish};
use engine::run::request::{Ask, Refused, cancel, start};
use engine::run::work::{self, Part, Step};
use futures_util::FutureExt;
use planning::{AskedRun, NoRemote, Shop, Taken};
use process::{SystemClock, chance};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use tests::memory::{MemoryObjects, MemoryStore};

/// A folder with rows, and memory instead of a backend.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    scratch: tempfile::TempDir,
    pub(crate) store: MemoryStore,
    pub(crate) objects: MemoryObjects,
    pub(crate) clock: SystemClock,
    pub(crate) project: Project,
    pub(crate) organization: Name,
}

impl Place {
    pub(crate) fn new(people: &People) -> Place {
        let mut project = project("http://127.0.0.1:9");
        one_by_one(&mut project);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("people.csv"), people.csv()).unwrap();
        Place {
            folder,
            scratch: tempfile::tempdir().unwrap(),
            store: MemoryStore::new(),
            objects: MemoryObjects::new(),
            clock: SystemClock::new(),
            project: engine::configure::parse(&project).unwrap_or_else(|problems| panic!("{problems:?}")),
            organization: Name::new("default").unwrap(),
        }
    }

    /// A planner that may hold so many keys.
    fn shop(&self, most_keys: usize) -> Shop<'_, MemoryStore, MemoryObjects> {
        self.shop_with(&self.store, self.scratch.path(), most_keys)
    }

    /// The same, with this store and this folder for its files.
    pub(crate) fn shop_with<'a, S>(&'a self, store: &'a S, scratch: &'a Path, most_keys: usize) -> Shop<'a, S, MemoryObjects> {
        let folder = self.folder.path();
        Shop { folder, remote: &NoRemote, scratch, store, objects: &self.objects, clock: &self.clock, most_keys }
    }

    pub(crate) fn rows(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("people.csv")).unwrap()
    }

    pub(crate) fn write_rows(&self, csv: &str) {
        std::fs::write(self.folder.path().join("people.csv"), csv).unwrap();
    }

    pub(crate) fn export(&self) -> Name {
        Name::new("news").unwrap()
    }

    pub(crate) fn destination(&self) -> Name {
        Name::new("crm").unwrap()
    }

    /// Where a run's parcels lie.
    pub(crate) async fn directory(&self, run: &str) -> Directory {
        let (run, _) = document::read(&self.store, &self.organization, run, 0).await.unwrap().unwrap();
        layout::read_directory(&mut Cursor::new(self.objects.get(&run.object, None).await.unwrap())).unwrap()
    }

    pub(crate) async fn ask(&self) -> String {
        self.try_to_ask().await.unwrap()
    }

    pub(crate) async fn try_to_ask(&self) -> Result<String, Refused> {
        let (export, destination) = (self.export(), self.destination());
        let (run, wall) = (chance::fresh_name("run", self.clock.now().wall), self.clock.now().wall);
        let ask = Ask {
            organization: &self.organization,
            export: &export,
            destination: &destination,
            run: &run,
            wish: Wish::default(),
            hash_seed: 5,
        };
        Ok(start(&self.store, ask, wall).await.unwrap()?.run.id)
    }

    async fn begin(&self, run: &str, most_keys: usize) -> Taken {
        let asked = AskedRun { organization: &self.organization, export: &Name::new("news").unwrap(), run };
        planning::begin_run(self.shop(most_keys), asked, Ok(&self.project), &|_| Ok(())).await.unwrap()
    }

    async fn part(&self, run: &str, part: Part, most_keys: usize) -> Taken {
        planning::make_part(self.shop(most_keys), &self.organization, run, part, Ok(&self.project), &|_| Ok(())).await.unwrap()
    }

    async fn under_way(&self) -> Vec<(String, Step)> {
        let wall = self.clock.now().wall;
        let mut steps = Vec::new();
        for work in work::list(&self.store, wall / 1_000_000).await.unwrap() {
            steps.push((work.name(), work::step(&self.store, &work, wall).await.unwrap()));
        }
        steps
    }

    /// Makes these parts and joins them; gives how many rows are added.
    async fn finish(&self, run: &str, parts: &[Part]) -> usize {
        for part in parts {
            self.part(run, *part, 400).await;
        }
        let Taken::Delivering(run, _) = self.begin(run, 400).await else { panic!("all parts are there") };
        read_back(self, &run).await[&(ActionName::Add as u8)].len()
    }

    /// Makes all parts, in rounds until they are fine enough, and joins them.
    async fn all(&self, run: &str, most_keys: usize) -> (Run, Directory) {
        let mut taken = self.begin(run, most_keys).await;
        loop {
            taken = match taken {
                Taken::Delivering(run, directory) => return (run, directory),
                Taken::Split(_, parts) => {
                    let mut last = Taken::Nothing;
                    for part in parts {
                        last = self.part(run, part, most_keys).await;
                        if matches!(last, Taken::Split(..)) {
                            break;
                        }
                    }
                    last
                }
                Taken::Parted(_) => self.begin(run, most_keys).await,
                other => panic!("{other:?}"),
            };
        }
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The keys of all deliveries, by action, in the order of sending; each is found where the lists of keys say.
async fn read_back(place: &Place, run: &Run) -> BTreeMap<u8, Vec<String>> {
    let bytes = place.objects.get(&run.object, None).await.unwrap();
    let mut file = Cursor::new(bytes.clone());
    let directory = layout::read_directory(&mut file).unwrap();
    let head = Head::parse(&bytes).unwrap();
    let table = head.chunk_table();
    let chunks = Chunk::parse_all(&bytes[table.start as usize..table.end as usize]);
    assert!(directory.parcels.iter().zip(0..).all(|(place, number)| place.number == number), "{directory:?}");
    assert!(directory.parcels.is_sorted_by_key(|place| place.action as u8), "{directory:?}");
    let mut keys: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for place in &directory.parcels {
        let deliveries = block::unpack(&block::read_block(&mut file, place.offset, place.length).unwrap()).unwrap();
        assert_eq!(deliveries.len(), place.deliveries as usize);
        for (rows, index) in deliveries.iter().zip(0..) {
            for row in rows {
                let found = chunks.iter().flat_map(|chunk| {
                    let list = &bytes[chunk.offset as usize..(chunk.offset + chunk.rows * ROW_BYTES) as usize];
                    candidates(list, hash(&row.key)).collect::<Vec<_>>()
                });
                let places: Vec<(u32, u32)> = found.map(|found| (head.first_of(found.action) + found.parcel, found.index)).collect();
                assert_eq!(places, [(place.number, index)], "{}", row.key);
                keys.entry(place.action as u8).or_default().push(row.key.clone());
            }
        }
    }
    keys
}

#[test]
fn a_plan_that_is_joined_has_every_row_once_and_finds_it_by_its_key() {
    now(async {
        let people = People::new(3000);
        let place = Place::new(&people);
        let run = place.ask().await;
        let (run, directory) = place.all(&run, 900).await;
        // Four parts of some 750 keys.
        assert_eq!(run.split.as_ref().map(|split| (split.round, split.of)), Some((1, 4)));
        assert_eq!((run.totals.added, run.totals.deliveries, run.parcels as usize), (3000, 3000, directory.parcels.len()));
        let keys = read_back(&place, &run).await;
        let mut added = keys[&(ActionName::Add as u8)].clone();
        added.sort();
        let mut wanted: Vec<String> = people.0.keys().map(u32::to_string).collect();
        wanted.sort();
        assert_eq!((added, keys.len()), (wanted, 1));
        // Nothing of the parts is left, and nothing but the delivery is under way.
        assert_eq!(place.objects.list(&keys::part_objects(&place.organization, &run.id)).await.unwrap(), Vec::<String>::new());
        let steps = place.under_way().await;
        assert!(matches!(&steps[..], [(name, Step::Deliver(_))] if *name == run.id), "{steps:?}");
    });
}

#[test]
fn parts_that_are_too_coarse_are_made_anew_and_finer() {
    now(async {
        let place = Place::new(&People::new(2000));
        let run = place.ask().await;
        let (run, _) = place.all(&run, 200).await;
        assert_eq!(run.split.as_ref().map(|split| (split.round, split.of)), Some((2, 16)));
        assert_eq!(read_back(&place, &run).await[&(ActionName::Add as u8)].len(), 2000);
        // The next plan knows.
        let state = engine::run::state::read(&place.store, &place.organization, &run.export, 0).await.unwrap().state;
        assert_eq!(state.parts, Some(16));
    });
}

/// What there is to do stands in the store alone: whoever split the plan may have died at once.
#[test]
fn parts_are_found_by_whoever_looks() {
    now(async {
        let place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let Taken::Split(_, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        let steps = place.under_way().await;
        let wanted = steps.iter().filter(|(_, step)| matches!(step, Step::Part(_))).count();
        assert_eq!((steps.len(), wanted, parts.len()), (5, 4, 4), "{steps:?}");
        for part in &parts[..3] {
            assert!(matches!(place.part(&run, *part, 400).await, Taken::Nothing));
        }
        // Asking again for all names what is missing, and nothing is sent of a plan that is not whole.
        let Taken::Split(_, missing) = place.begin(&run, 400).await else { panic!("one part is missing") };
        assert_eq!(missing, parts[3..]);
        assert!(matches!(place.part(&run, parts[3], 400).await, Taken::Parted(_)));
        // A part that is there is not made again, whoever asks for it.
        let objects = place.objects.list("plans/").await.unwrap();
        assert!(matches!(place.part(&run, parts[0], 400).await, Taken::Parted(_)));
        assert_eq!((objects.len(), place.objects.list("plans/").await.unwrap()), (4, objects));
        let Taken::Delivering(run, _) = place.begin(&run, 400).await else { panic!("all parts are there") };
        assert_eq!(run.totals.added, 1000);
        assert!(matches!(place.part(&run.id, parts[1], 400).await, Taken::Nothing), "it comes too late");
    });
}

#[test]
fn a_definition_that_changes_between_two_parts_has_all_of_them_made_anew() {
    now(async {
        let mut place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let Taken::Split(_, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        assert!(matches!(place.part(&run, parts[0], 400).await, Taken::Nothing));
        let mut changed = project("http://127.0.0.1:9/v2");
        one_by_one(&mut changed);
        place.project = engine::configure::parse(&changed).unwrap();
        let Taken::Split(split, parts) = place.part(&run, parts[1], 400).await else { panic!("it is of another shape") };
        assert_eq!(split.split.map(|split| (split.round, split.of)), Some((2, 4)));
        assert_eq!(place.finish(&run, &parts).await, 1000);
    });
}

#[test]
fn a_run_whose_parts_are_canceled_or_cannot_be_read_ends_with_the_reason() {
    now(async {
        let place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let Taken::Split(_, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        assert!(matches!(place.part(&run, parts[0], 400).await, Taken::Nothing));
        cancel(&place.store, &place.organization, &run, place.clock.now().wall).await.unwrap().unwrap();
        assert!(matches!(place.part(&run, parts[1], 400).await, Taken::Parted(_)));
        let Taken::Ended(ended) = place.begin(&run, 400).await else { panic!("it was canceled") };
        assert_eq!(ended.status, Status::Canceled);

        let run = place.ask().await;
        let Taken::Split(_, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        std::fs::remove_file(place.folder.path().join("people.csv")).unwrap();
        let Taken::Ended(ended) = place.part(&run, parts[2], 400).await else { panic!("there are no rows") };
        assert_eq!(ended.status, Status::Failed);
        assert!(ended.reason.unwrap().contains("people.csv"));
        // A part that others still make ends nothing that has ended.
        assert!(matches!(place.part(&run, parts[3], 400).await, Taken::Nothing));
        let there = document::read(&place.store, &place.organization, &run, 0).await.unwrap().unwrap().0;
        assert_eq!(there.status, Status::Failed);
        assert!(place.objects.list("plans/").await.unwrap().is_empty());
    });
}

#[test]
fn a_model_that_no_number_of_parts_holds_fails_with_what_to_do() {
    now(async {
        let place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let mut taken = place.begin(&run, 1).await;
        for _ in 0..5 {
            if let Taken::Split(_, parts) = &taken {
                taken = place.part(&run, parts[0], 1).await;
            }
        }
        let Taken::Ended(ended) = taken else { panic!("{taken:?}") };
        assert_eq!(ended.status, Status::Failed);
        assert!(ended.reason.unwrap().contains("give the functions more memory"));
    });
}

/// Definitions that change when all parts are there: they are not joined under what they were not made of.
#[test]
fn parts_are_never_joined_under_other_definitions_than_theirs() {
    now(async {
        let mut place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let Taken::Split(_, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        for part in &parts {
            place.part(&run, *part, 400).await;
        }
        let mut changed = project("http://127.0.0.1:9");
        one_by_one(&mut changed);
        changed["destinations"]["crm"]["actions"]["add"]["url"] = serde_json::json!("/others");
        place.project = engine::configure::parse(&changed).unwrap();
        let Taken::Split(split, parts) = place.begin(&run, 400).await else { panic!("they are of another shape") };
        assert_eq!(split.split.map(|split| (split.round, split.of)), Some((2, 4)));
        assert_eq!(place.finish(&run, &parts).await, 1000);
    });
}

/// All parts of a round read the rows as they were folded for it; a round of other definitions reads them anew.
#[test]
fn pushed_rows_are_folded_once_a_round() {
    now(async {
        let mut place = Place::new(&People::default());
        let mut pushed = project("http://127.0.0.1:9");
        one_by_one(&mut pushed);
        pushed["models"]["people"]["source"] = serde_json::json!({"type": "push"});
        place.project = engine::configure::parse(&pushed).unwrap();
        let push = |place: &Place, people: &People, name: &'static str| {
            let rows = people.members();
            let lines: String = rows.values().map(|row| format!("{}\n", serde_json::json!({"upsert": row}))).collect();
            let model = place.project.models[&Name::new("people").unwrap()].clone();
            let (store, objects, organization) = (place.store.clone(), place.objects.clone(), place.organization.clone());
            let seconds = place.clock.seconds();
            async move {
                engine::push::changes(&store, &objects, &organization, &model, lines.as_bytes(), name, seconds).await.unwrap().unwrap()
            }
        };
        push(&place, &People::new(1000), "first").await;
        let run = place.ask().await;
        let Taken::Split(before, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        assert!(matches!(place.part(&run, parts[0], 400).await, Taken::Nothing));
        let mut one_more = People::default();
        one_more.put(1001, 0);
        push(&place, &one_more, "second").await;
        pushed["destinations"]["crm"]["actions"]["add"]["url"] = serde_json::json!("/others");
        place.project = engine::configure::parse(&pushed).unwrap();
        let Taken::Split(after, parts) = place.part(&run, parts[1], 400).await else { panic!("it is of another shape") };
        let staged = |run: Run| run.split.and_then(|split| split.staged).expect("pushed rows are staged");
        assert_ne!(staged(before), staged(after));
        assert_eq!(place.finish(&run, &parts).await, 1001);
    });
}

/// A part that was under way while its run came to an end leaves nothing behind.
#[test]
fn a_part_that_comes_too_late_removes_what_it_made() {
    now(async {
        let place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let Taken::Split(_, parts) = place.begin(&run, 400).await else { panic!("a thousand keys are too many") };
        let end = || async {
            let (there, _) = document::read(&place.store, &place.organization, &run, 0).await.unwrap().unwrap();
            let ended = Run { status: Status::Canceled, ..there };
            document::write(&place.store, &place.organization, &ended, Expect::Any, 0).await.unwrap();
        };
        // It is asked whether it may read after it has read what is wanted; memory answers at once.
        let may_read = |_: &_| {
            end().now_or_never().expect("memory answers at once");
            Ok(())
        };
        let taken = planning::make_part(place.shop(400), &place.organization, &run, parts[0], Ok(&place.project), &may_read).await.unwrap();
        assert!(matches!(taken, Taken::Nothing), "{taken:?}");
        assert_eq!(place.objects.list("plans/").await.unwrap(), Vec::<String>::new());
        let left = place.store.list(&run_partition(&place.organization, &run), ALL_PARTS.0..ALL_PARTS.1, 10, 0).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    });
}

/// The number of parts follows the keys, up and down.
#[test]
fn a_model_that_has_become_small_is_planned_at_once_again() {
    now(async {
        let place = Place::new(&People::new(1000));
        let run = place.ask().await;
        let (run, _) = place.all(&run, 400).await;
        let state = |place: &Place| {
            let (store, organization, export) = (place.store.clone(), place.organization.clone(), run.export.clone());
            async move { engine::run::state::read(&store, &organization, &export, 0).await.unwrap().state }
        };
        assert_eq!(state(&place).await.parts, Some(4));
        claim::unclaim(&place.store, &place.organization, &run.export, &run.id, 0).await.unwrap();
        std::fs::write(place.folder.path().join("people.csv"), People::new(200).csv()).unwrap();
        for (parts, next) in [(Some(4), None), (None, None)] {
            let asked = place.ask().await;
            let (planned, _) = place.all(&asked, 400).await;
            assert_eq!((planned.split.map(|split| split.of), planned.totals.added), (parts, 200));
            assert_eq!(state(&place).await.parts, next);
            claim::unclaim(&place.store, &place.organization, &planned.export, &planned.id, 0).await.unwrap();
        }
    });
}

/// Whoever dies with a run in hand has tried; whoever takes it further has not failed at it.
#[test]
fn a_run_that_is_taken_in_hand_again_and_again_is_counted() {
    now(async {
        let place = Place::new(&People::new(10));
        let run = place.ask().await;
        let hold = |name: &'static str, wall: u64| {
            let (store, organization, run) = (place.store.clone(), place.organization.clone(), run.clone());
            async move { work::hold(&store, &organization, &run, name, wall, 30_000_000).await.unwrap() }
        };
        let wall = place.clock.now().wall;
        assert_eq!(hold("one", wall).await, Some(1));
        assert_eq!(hold("one", wall + 10_000_000).await, Some(1), "it goes on holding it");
        assert_eq!(hold("two", wall + 20_000_000).await, None, "it is in other hands");
        assert_eq!(hold("two", wall + 60_000_000).await, Some(2), "the first has died");
        work::let_go(&place.store, &place.organization, &run, "two", false, wall / 1_000_000).await.unwrap();
        assert_eq!(hold("three", wall + 60_000_000).await, Some(3), "the second has failed");
        work::let_go(&place.store, &place.organization, &run, "three", true, wall / 1_000_000).await.unwrap();
        assert_eq!(hold("four", wall + 60_000_000).await, Some(1));
        let given_up = planning::give_up(place.shop(400), &place.organization, &run, "it did not come to an end").await.unwrap();
        let Taken::Ended(ended) = given_up else { panic!("{given_up:?}") };
        assert_eq!((ended.status, ended.reason.as_deref()), (Status::Failed, Some("it did not come to an end")));
        let again = planning::give_up(place.shop(400), &place.organization, &run, "once more").await.unwrap();
        assert!(matches!(again, Taken::Nothing), "{again:?}");
    });
}
