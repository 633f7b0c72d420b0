//! One task: a run is planned or finished while this function says, again and again, that it has it in hand. Two functions never do the
//! same at once, and what a dead one had in hand is free half a minute later.

use crate::look;
use crate::remote::AwsRemote;
use backend_aws::{AwsObjects, AwsStore};
use engine::keys::LaneName;
use engine::model::name::Name;
use engine::model::source::{Model, Source};
use engine::port::{Clock, Queue};
use engine::run::work;
use engine::ticket::{Task, announce};
use planning::{AskedRun, Shop, Taken};
use process::chance;
use stack::Stack;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A run is held for so long, microseconds, and held anew so often.
const HOLD: u64 = 30_000_000;
const HOLDS_AGAIN: Duration = Duration::from_secs(10);
/// So often a run, or a part of its plan, is taken in hand without coming a step further; then the run has failed.
const MOST_TRIES: u32 = 6;

/// Does a task. One that is done already, or that someone else does, is done.
///
/// # Errors
/// The store or the objects failed.
pub async fn run(stack: &Arc<Stack>, task: &Task) -> Result<(), String> {
    let (organization, id) = match task {
        Task::Look => return look::asked(stack).await,
        Task::Plan { organization, run, .. } | Task::Finish { organization, run, .. } => (organization, work::name(run, None)),
        Task::Part { organization, run, part } => (organization, work::name(run, Some(*part))),
    };
    let name = chance::fresh_name("fn", stack.clock.now().wall);
    let hold = || work::hold(&stack.store, organization, &id, &name, stack.clock.now().wall, HOLD);
    let Some(tries) = hold().await.map_err(|e| e.to_string())? else { return Ok(()) };
    let planned = match task {
        Task::Plan { run, .. } | Task::Part { run, .. } => Some(run),
        Task::Look | Task::Finish { .. } => None,
    };
    if let Some(run) = planned.filter(|_| tries > MOST_TRIES) {
        let reason =
            format!("its planning was begun {MOST_TRIES} times and came to no end: see the log of plan, and give it more memory or disk");
        return end(stack, organization, run, &reason).await;
    }
    let mut working = working(stack, task)?;
    let taken = loop {
        tokio::select! {
            taken = &mut working => break taken.map_err(|_| "the planner broke off".to_string())?,
            () = tokio::time::sleep(HOLDS_AGAIN) => drop(hold().await),
        }
    };
    let done = match taken {
        Ok(taken) => follow(stack, organization, taken).await,
        Err(error) => match planned.filter(|_| tries == MOST_TRIES) {
            Some(run) => end(stack, organization, run, &error).await,
            None => Err(error),
        },
    };
    let let_go = work::let_go(&stack.store, organization, &id, &name, done.is_ok(), stack.clock.seconds());
    let_go.await.map_err(|e| e.to_string())?;
    done
}

/// Ends a run that nobody has been able to plan.
async fn end(stack: &Stack, organization: &Name, run: &str, reason: &str) -> Result<(), String> {
    let remote = AwsRemote::new(stack);
    let taken = planning::give_up(shop(stack, &remote), organization, run, reason).await.map_err(|e| e.to_string())?;
    follow(stack, organization, taken).await
}

fn shop<'s>(stack: &'s Stack, remote: &'s AwsRemote<'s>) -> Shop<'s, AwsStore, AwsObjects> {
    let Stack { scratch, store, objects, clock, most_keys, .. } = stack;
    Shop { folder: scratch, remote, scratch, store, objects, clock, most_keys: *most_keys }
}

/// Reading rows keeps a processor busy, so it has a thread, and connections, of its own.
fn working(stack: &Arc<Stack>, task: &Task) -> Result<oneshot::Receiver<Result<Taken, String>>, String> {
    let (done, working) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (stack, task) = (Arc::clone(stack), task.clone());
    let spawned = std::thread::Builder::new().name("planner".to_string()).spawn(move || {
        let taken = runtime.block_on(async {
            let own = stack.for_a_thread()?;
            let taken = take(&own, &task).await;
            drop(stack);
            taken
        });
        // Whoever waited has gone with the function.
        let _ = done.send(taken);
    });
    spawned.map_err(|e| format!("the planner cannot start: {e}"))?;
    Ok(working)
}

async fn take(stack: &Stack, task: &Task) -> Result<Taken, String> {
    let remote = AwsRemote::new(stack);
    let shop = shop(stack, &remote);
    match task {
        Task::Look => Ok(Taken::Nothing),
        Task::Plan { organization, export, run, .. } => {
            let project = stack.read_project(organization).await.map_err(|e| e.to_string())?;
            let asked = AskedRun { organization, export, run };
            let taken = planning::begin_run(shop, asked, project.as_deref().map_err(Clone::clone), &may_read).await;
            taken.map_err(|e| e.to_string())
        }
        Task::Part { organization, run, part } => {
            let project = stack.read_project(organization).await.map_err(|e| e.to_string())?;
            let project = project.as_deref().map_err(Clone::clone);
            planning::make_part(shop, organization, run, *part, project, &may_read).await.map_err(|e| e.to_string())
        }
        Task::Finish { organization, destination, run } => {
            let lane = LaneName::first(organization, destination);
            planning::finish_run(shop, &lane, run).await.map_err(|e| e.to_string())
        }
    }
}

/// A function has no files of the user's.
fn may_read(model: &Model) -> Result<(), String> {
    match &model.source {
        Source::S3 { .. } | Source::Athena { .. } | Source::Push => Ok(()),
        Source::Postgres { dsn, .. } if rows::names_socket(dsn.reveal()) => {
            Err(format!("model {}: its dsn names a socket; a stack reads over TCP, so name a host", model.id))
        }
        Source::Postgres { .. } => Ok(()),
        Source::File { path, .. } => {
            Err(format!("model {}: `{path}` lies on a disk; a stack reads `s3://…`, a query, or rows that are pushed", model.id))
        }
    }
}

/// What follows from what a run came to: tickets for its parcels, or its end.
async fn follow(stack: &Stack, organization: &Name, taken: Taken) -> Result<(), String> {
    let (run, what) = match &taken {
        Taken::Nothing => return Ok(()),
        Taken::Held(run) => (run, "held"),
        Taken::Ended(run) => (run, "ended"),
        Taken::Delivering(run, _) => (run, "delivering"),
        Taken::Split(run, _) => (run, "split"),
        Taken::Parted(run) => (run, "parted"),
    };
    stack::note(
        "a run was taken a step further",
        &[("run", &run.id), ("export", run.export.as_str()), ("came_to", what), ("status", run.status.as_str())],
    );
    let (run, directory) = match &taken {
        Taken::Nothing | Taken::Held(_) | Taken::Ended(_) => return Ok(()),
        Taken::Delivering(run, directory) => (run, directory),
        Taken::Split(run, parts) => {
            let part = |part: &work::Part| Task::Part { organization: organization.clone(), run: run.id.clone(), part: *part };
            stack.ask(&parts.iter().map(part).collect::<Vec<_>>()).await;
            return Ok(());
        }
        Taken::Parted(run) => {
            let (organization, export) = (organization.clone(), run.export.clone());
            stack.ask(&[Task::Plan { organization, export, run: run.id.clone(), asked_at: run.started_at }]).await;
            return Ok(());
        }
    };
    let lane = LaneName::first(organization, &run.destination);
    if run.parcels == 0 {
        stack.ask(&[Task::Finish { organization: organization.clone(), destination: lane.destination, run: run.id.clone() }]).await;
        return Ok(());
    }
    let project = stack.project(organization).await?;
    let limits = project.destinations.get(&run.destination).map(|destination| destination.rate_limits.as_slice()).unwrap_or_default();
    let tickets = announce(&lane, &run.id, directory, limits);
    // The run is under way whether they arrive or not: its lane's bell is rung.
    if let Err(error) = stack.deliver_queue.send(tickets).await {
        stack::trouble("tickets could not be sent; the bell finds the work", &[("run", &run.id), ("error", &error.to_string())]);
    }
    Ok(())
}
