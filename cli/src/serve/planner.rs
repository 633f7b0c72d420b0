//! The planning threads: runs that were asked for are planned, runs that are done are finished. Reading rows keeps a processor busy,
//! so neither happens where requests are sent.

use super::house::House;
use crate::site;
use engine::keys::LaneName;
use engine::model::name::Name;
use engine::run::work::Work;
use planning::{AskedRun, Taken};
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
    let scratch = site::scratch(&house.data).map_err(|failure| failure.message)?;
    let project = house.read_project(organization).await.map_err(|e| e.to_string())?;
    let asked = AskedRun { organization, export, run: id };
    let project = project.as_deref().map_err(Clone::clone);
    let taken = planning::begin_run(house.shop(&scratch), asked, project, &|model| house.may_read(model)).await;
    match taken.map_err(|e| e.to_string())? {
        Taken::Nothing | Taken::Split(..) | Taken::Parted(_) => {}
        Taken::Held(run) => house.log.run(&run, organization),
        Taken::Ended(run) => house.ended(&run, organization),
        Taken::Delivering(run, _) => {
            house.log.run(&run, organization);
            let lane = LaneName::first(organization, &run.destination);
            match run.parcels {
                0 => house.planner.finish(&lane, id),
                _ => house.lanes.look(&lane),
            }
        }
    }
    Ok(())
}

async fn finish_run(house: &House, lane: &LaneName, id: &str) -> Result<(), String> {
    let scratch = site::scratch(&house.data).map_err(|failure| failure.message)?;
    if let Taken::Ended(run) = planning::finish_run(house.shop(&scratch), lane, id).await.map_err(|e| e.to_string())? {
        house.ended(&run, &lane.organization);
    }
    Ok(())
}
