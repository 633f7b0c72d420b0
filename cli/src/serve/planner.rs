//! The planning threads: runs that were asked for are planned, runs that are done are finished. Reading rows keeps a processor busy,
//! so neither happens where requests are sent.

use super::house::House;
use crate::planning::{self, Begun, Deltas};
use crate::site;
use engine::keys::LaneName;
use engine::model::name::Name;
use engine::port::Clock;
use engine::run::document::{self, Run, Status};
use engine::run::finish::{Because, finish};
use engine::run::work::{self, Work};
use engine::run::{begin, request, state};
use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// So many plans and finishes go on at once.
const THREADS: usize = 2;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Plan(Name, Name, String),
    Finish(LaneName, String),
}

/// Who plans and finishes, as the other threads see it.
pub struct Planner {
    tasks: Mutex<Sender<Task>>,
    waiting: Mutex<Option<Receiver<Task>>>,
    /// What is asked for and not done: asking twice is asking once.
    in_hand: Mutex<HashSet<Task>>,
}

impl Planner {
    /// Nothing is done before `start`.
    pub fn new() -> Planner {
        let (tasks, waiting) = channel();
        Planner { tasks: Mutex::new(tasks), waiting: Mutex::new(Some(waiting)), in_hand: Mutex::default() }
    }

    /// A run that was asked for is to be planned.
    pub fn plan(&self, work: &Work) {
        self.ask(Task::Plan(work.organization.clone(), work.export.clone(), work.run.clone()));
    }

    /// Nothing of a run is left to send.
    pub fn finish(&self, lane: &LaneName, run: &str) {
        self.ask(Task::Finish(lane.clone(), run.to_string()));
    }

    /// Whether a run is being planned or finished.
    pub fn has(&self, run: &str) -> bool {
        let in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        in_hand.iter().any(|task| matches!(task, Task::Plan(_, _, id) | Task::Finish(_, id) if id == run))
    }

    fn ask(&self, task: Task) {
        if self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).insert(task.clone()) {
            // Nobody takes tasks while the process ends; the next one finds the work again.
            let _ = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).send(task);
        }
    }

    fn done(&self, task: &Task) {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
    }
}

/// Starts the threads. They end with the process: what they leave undone is found again.
pub fn start(house: &Arc<House>) -> Result<Vec<JoinHandle<()>>, String> {
    let waiting = house.planner.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let waiting = Arc::new(Mutex::new(waiting.ok_or("the planner was started before")?));
    (0..THREADS)
        .map(|number| {
            let (house, waiting) = (Arc::clone(house), Arc::clone(&waiting));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| format!("the planner cannot start: {e}"))?;
            let thread = std::thread::Builder::new().name(format!("planner-{number}"));
            let spawned = thread.spawn(move || {
                while let Some(task) = next(&waiting) {
                    runtime.block_on(take(&house, &task));
                }
            });
            spawned.map_err(|e| format!("the planner cannot start: {e}"))
        })
        .collect()
}

fn next(waiting: &Mutex<Receiver<Task>>) -> Option<Task> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

async fn take(house: &Arc<House>, task: &Task) {
    let (run, result) = match task {
        Task::Plan(organization, export, run) => (run, plan(house, organization, export, run).await),
        Task::Finish(lane, run) => (run, finish_run(house, lane, run).await),
    };
    house.planner.done(task);
    if let Err(error) = result {
        // It is found again within a minute.
        house.log.trouble("a run could not be taken further", &[("run", run), ("error", &error)]);
    }
}

async fn plan(house: &Arc<House>, organization: &Name, export: &Name, id: &str) -> Result<(), String> {
    let text = |error: engine::port::PortError| error.to_string();
    let store = &house.store;
    let now = house.clock.seconds();
    let Some((run, version)) = document::read(store, organization, id, now).await.map_err(text)? else {
        // It was cut short before it had a document.
        begin::unclaim(store, organization, export, id, now).await.map_err(text)?;
        return work::done(store, organization, id, now).await.map_err(text);
    };
    if run.status != Status::Planning {
        return Ok(());
    }
    let lane = site::lane(organization, &run.destination);
    if run.cancel_asked {
        return end(house, organization, run, Status::Canceled, "canceled while it was planned; nothing was sent".to_string()).await;
    }
    if run.parcels > 0 {
        // An earlier process was killed while it put the parcels into the backlog.
        begin::withdraw(store, &lane, id, now).await.map_err(text)?;
    }
    let planned = plan_asked(house, organization, run.clone(), version).await;
    match planned {
        Ok(Some(Begun::Held(run))) => {
            house.log.run(&run, organization);
            Ok(())
        }
        Ok(Some(Begun::Delivering(run))) => {
            house.log.run(&run, organization);
            match run.parcels {
                0 => house.planner.finish(&lane, id),
                _ => house.lanes.look(&lane),
            }
            Ok(())
        }
        Ok(None) => {
            begin::withdraw(store, &lane, id, house.clock.seconds()).await.map_err(text)?;
            end(house, organization, run, Status::Canceled, "canceled while it was planned; nothing was sent".to_string()).await
        }
        Err(error) => end(house, organization, run, Status::Failed, error).await,
    }
}

async fn plan_asked(house: &House, organization: &Name, run: Run, version: u64) -> Result<Option<Begun>, String> {
    let project = house.project(organization).await?;
    let export = project.exports.get(&run.export).ok_or_else(|| format!("export {} is gone", run.export))?;
    house.may_read(&project.models[&export.model])?;
    let ground = house.ground(&project);
    let read = state::read(&house.store, organization, &export.id, house.clock.seconds()).await.map_err(|e| e.to_string())?;
    // A plan alone leaves the snapshot's files as they are: a run may be reading them.
    let state = match run.wish.plan_only {
        true => read.state,
        false => planning::compact(ground, export, read.state).await.map_err(|e| e.message)?,
    };
    let planned = planning::plan(ground, export, &state, run, &|_, _| {}).await.map_err(|e| e.message)?;
    planning::carry_out(ground, version, planned).await.map_err(|e| e.message)
}

async fn end(house: &House, organization: &Name, run: Run, status: Status, reason: String) -> Result<(), String> {
    let ended = request::end(&house.store, organization, run, status, reason, house.clock.now().wall).await;
    let ended = ended.map_err(|error| error.to_string())?;
    house.ended(&ended, organization);
    Ok(())
}

async fn finish_run(house: &House, lane: &LaneName, id: &str) -> Result<(), String> {
    let text = |error: engine::port::PortError| error.to_string();
    let (store, organization, now) = (&house.store, &lane.organization, house.clock.seconds());
    let Some((run, _)) = document::read(store, organization, id, now).await.map_err(text)? else { return Ok(()) };
    if run.status != Status::Delivering {
        return Ok(());
    }
    if run.cancel_asked {
        begin::withdraw(store, lane, id, now).await.map_err(text)?;
    }
    let scratch = site::scratch(&house.data).map_err(|failure| failure.message)?;
    let deltas = Deltas { file: scratch.join(format!("{id}.delta.parquet")), scratch };
    let run = finish(store, &house.objects, lane, id, Because::Done, &deltas, house.clock.now().wall).await.map_err(text)?;
    house.ended(&run, organization);
    Ok(())
}
