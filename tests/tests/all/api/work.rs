//! What a process does behind the API, done by hand: a run that was asked for is planned from rows that the test gives, delivered to
//! answers that it gives, and finished.

use super::stage::Stage;
use engine::catalog::Catalog;
use engine::deliver::drive::{Job, Thrift, drive};
use engine::deliver::{Ports, Unwatched};
use engine::keys::LaneName;
use engine::lane::lease::Predecessor;
use engine::model::change::{Change, ChangeKind, DeltaRow};
use engine::model::name::Name;
use engine::model::project::Project;
use engine::plan::cut::{Cutter, Options};
use engine::port::{Clock, Exchange, Now, Outgoing, PortError, Response, Transport};
use engine::run::begin::{begin, hold, keep};
use engine::run::document::{self, Status};
use engine::run::finish::{Because, WriteDelta, finish};
use engine::run::state;
use engine::shape::{Compiled, Shape};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::io::Cursor;
use std::path::PathBuf;
use tests::memory::{MemoryObjects, MemoryStore};

/// Answers requests in order; the last answer stands for all that follow.
struct Answers(RefCell<Vec<u16>>);

impl Transport for Answers {
    async fn send(&self, _: Outgoing) -> Exchange {
        let mut answers = self.0.borrow_mut();
        let status = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        Exchange::Response(Response {
            status,
            headers: vec![("x-seen".into(), "yes".into())],
            body: b"{\"ok\": true}".to_vec(),
            truncated: false,
        })
    }
}

/// A clock that goes on when somebody waits for it.
struct Jumping(Cell<u64>);

impl Clock for Jumping {
    fn now(&self) -> Now {
        Now { wall: self.0.get(), mono: self.0.get() }
    }

    async fn sleep_until(&self, mono: u64) {
        // What is ready goes first.
        tokio::task::yield_now().await;
        self.0.set(self.0.get().max(mono));
    }
}

struct Nowhere;

impl WriteDelta for Nowhere {
    fn write(&self, rows: &mut dyn Iterator<Item = Result<DeltaRow, PortError>>, _: &[String]) -> Result<Option<PathBuf>, PortError> {
        for row in rows {
            row?;
        }
        Ok(None)
    }
}

/// The only lane of `crm`.
fn lane(organization: &Name) -> LaneName {
    LaneName { organization: organization.clone(), destination: Name::new("crm").expect("a name"), share: 0 }
}

async fn project(stage: &Stage, organization: &Name) -> Project {
    let office = &stage.office;
    let catalog = Catalog { store: &office.store, secrets: &office.secrets, organization, now: office.wall.get() };
    catalog.project().await.expect("memory does not fail").expect("what is stored is sound")
}

/// Plans a run of `newsletter` that was asked for: these ids were added. With `held` a guard holds it.
pub async fn plan(stage: &Stage, organization: &str, run: &str, ids: &[&str], held: bool) {
    let (office, organization) = (&stage.office, &Name::new(organization).expect("a name"));
    let (wall, now) = (office.wall.get(), office.wall.get() / 1_000_000);
    let project = project(stage, organization).await;
    let shape = Shape::of(&project, &project.exports[&Name::new("newsletter").expect("a name")]);
    let compiled = Compiled::new(shape.clone()).expect("templates of a stored definition compile");
    let (mut run, version) = document::read(&office.store, organization, run, now).await.expect("memory").expect("it was asked for");
    let names = vec!["id".to_string()];
    run.shape_version = shape.version();
    run.mapping_version = shape.mapping_version();
    run.field_names.clone_from(&names);
    let started_at = run.started_at_text();
    let id = run.id.clone();
    let options = Options { run: &id, started_at: &started_at, rate: None, parts: 1, settle_all: false };
    let mut cutter = Cutter::new(&compiled, &names, options, Cursor::new(Vec::new()));
    for (hash, id) in ids.iter().enumerate() {
        let (key_hash, row_hash) = (hash as u128 + 1, hash as u128 + 1);
        let change = Change { kind: ChangeKind::Added, key: id.to_string(), key_hash, row_hash, fields: vec![json!(id)], before: None };
        cutter.push(change).expect("writing to memory cannot fail");
    }
    let (bytes, directory, totals) = cutter.finish().expect("writing to memory cannot fail");
    run.parcels = directory.parcels.len() as u32;
    run.totals = totals;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("plan");
    std::fs::write(&file, bytes.into_inner()).expect("a plan fits into the temporary folder");
    if held || run.wish.plan_only {
        run.status = Status::Held;
        run.reason = held.then(|| "a guard holds it".to_string());
        if held {
            let claims = state::read(&office.store, organization, &run.export, now).await.expect("memory").state.claims;
            hold(&office.store, &office.objects, organization, &run, claims, now).await.expect("it has the export");
        }
        keep(&office.store, &office.objects, organization, &run, version, &shape, &file, now).await.expect("it can be kept");
    } else {
        begin(&office.store, &office.objects, &lane(organization), &mut run, version, &shape, &directory, &file, wall)
            .await
            .expect("it can begin");
    }
}

/// Delivers what is in the backlog of `crm`, to answers with these statuses, and finishes the run.
pub async fn deliver(stage: &Stage, organization: &str, run: &str, answers: &[u16]) {
    let (office, organization) = (&stage.office, &Name::new(organization).expect("a name"));
    let project = project(stage, organization).await;
    let transport = Answers(RefCell::new(answers.to_vec()));
    let lane = lane(organization);
    let wall = work_off(&office.store, &office.objects, &project, &lane, &transport, office.wall.get()).await;
    let export = Name::new("newsletter").expect("a name");
    finish(&office.store, &office.objects, &lane, (&export, run), Because::Done, &Nowhere, wall).await.expect("it can be finished");
    office.wall.set(wall);
}

/// Works off a lane; gives the wall-clock time then.
pub async fn work_off(
    store: &MemoryStore,
    objects: &MemoryObjects,
    project: &Project,
    lane: &LaneName,
    transport: &impl Transport,
    wall: u64,
) -> u64 {
    let clock = Jumping(Cell::new(wall));
    let ports = Ports { store, objects, transport, clock: &clock };
    let job = Job {
        lane,
        destination: &project.destinations[&lane.destination],
        owner: "test",
        predecessor: Predecessor::Dead,
        thrift: Thrift::MACHINE,
        ends_when_dead: true,
        canary: None,
    };
    drive(ports, job, &Unwatched, &mut || 0.5, futures_util::stream::pending()).await.expect("memory does not fail");
    clock.0.get()
}
