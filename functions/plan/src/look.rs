//! The look around: schedules that are due, runs that are under way, lanes whose bells are due, and what is too old. Everything it finds
//! stands in the store, so a message that was lost delays work by a minute and loses nothing.

use crate::task;
use engine::deliver::ear;
use engine::lane::bell;
use engine::model::name::Name;
use engine::model::source::Source;
use engine::port::{Clock, PortError, Queue};
use engine::push;
use engine::run::work::{self, Step};
use engine::run::{claim, retention};
use engine::schedule::{self, Fired};
use engine::ticket::{Task, Ticket};
use process::chance;
use stack::Stack;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Firings and bells taken at once from each part of the index.
const MOST_DUE: usize = 200;
/// What is too old is deleted in every so many minutes' look.
const RETENTION_MINUTES: u64 = 10;
/// So many tasks the minute's look does itself: it has one call of a function for all of them.
const HANDS: usize = 1;
/// So many parts of plans are asked for again in one look.
const MOST_PARTS: usize = 10;
/// Documents and objects deleted at once, and pieces of an organization in one look.
const PIECE: u64 = 500;
const MOST_PIECES: usize = 20;

/// The minute's look: what it finds to do it does itself, as far as it has hands, so that work comes to its end whatever becomes of
/// messages.
///
/// # Errors
/// The store failed; the next minute looks again.
pub async fn minute(stack: &Arc<Stack>) -> Result<(), String> {
    let mut tasks = look(stack).await?;
    let others = tasks.split_off(tasks.len().min(HANDS));
    stack.ask(&others).await;
    let wall = stack.clock.now().wall;
    if (wall / 60_000_000).is_multiple_of(RETENTION_MINUTES) {
        forget_old(stack).await?;
    }
    for task in tasks {
        task::run(stack, &task).await?;
    }
    Ok(())
}

/// A look that was asked for: what it finds to do it hands on.
///
/// # Errors
/// The store failed; the next minute looks again.
pub async fn asked(stack: &Stack) -> Result<(), String> {
    let tasks = look(stack).await?;
    stack.ask(&tasks).await;
    Ok(())
}

/// Looks around once, and gives what there is to plan and to finish.
async fn look(stack: &Stack) -> Result<Vec<Task>, String> {
    let wall = stack.clock.now().wall;
    let mut tasks = fire(stack, wall).await?;
    let fired = tasks.clone();
    tasks.extend(under_way(stack, wall).await.map_err(text)?.into_iter().filter(|task| !fired.contains(task)));
    ring(stack, wall).await.map_err(text)?;
    Ok(tasks)
}

fn text(error: PortError) -> String {
    error.to_string()
}

/// Asks for the runs of exports that are due.
async fn fire(stack: &Stack, wall: u64) -> Result<Vec<Task>, String> {
    let mut tasks = Vec::new();
    for due in schedule::due(&stack.store, wall, MOST_DUE).await.map_err(text)? {
        let name = format!("{}/{}", due.organization, due.export);
        let fired = match stack.project(&due.organization).await {
            Ok(project) => {
                let run = chance::fresh_name("run", wall);
                schedule::fire(&stack.store, &due, project.exports.get(&due.export), &run, chance::random(), wall).await.map_err(text)
            }
            Err(error) => Err(error),
        };
        match fired {
            Ok(Fired::Started(work)) => tasks.push(plan(work)),
            Ok(Fired::Busy(run)) => {
                stack::note("a scheduled run was left out, since the one before is not finished", &[("export", &name), ("run", &run)]);
            }
            Ok(Fired::Gone) => {}
            Err(error) => stack::trouble("a scheduled run could not be started", &[("export", &name), ("error", &error)]),
        }
        schedule::fired(&stack.store, &due, wall).await.map_err(text)?;
    }
    Ok(tasks)
}

fn plan(work: work::Work) -> Task {
    Task::Plan { organization: work.organization, export: work.export, run: work.run, asked_at: work.asked_at }
}

/// What the runs that are under way need next, those that someone has in hand aside.
async fn under_way(stack: &Stack, wall: u64) -> Result<Vec<Task>, PortError> {
    let mut tasks = Vec::new();
    let all = work::list(&stack.store, wall / 1_000_000).await?;
    let in_parts: BTreeSet<String> = all.iter().filter(|work| work.part.is_some()).map(|work| work.run.clone()).collect();
    let mut parts = 0;
    for work in all {
        if work.is_held(wall) {
            continue;
        }
        let finish = |lane: engine::keys::LaneName, run: &str| Task::Finish {
            organization: lane.organization,
            destination: lane.destination,
            run: run.to_string(),
        };
        match work::step(&stack.store, &work, wall).await? {
            // Whoever makes the last part has the parts joined; where that was lost, none is under way any more.
            Step::Plan if in_parts.contains(&work.run) => {}
            Step::Plan => tasks.push(plan(work)),
            // The others have been asked for, and are asked for again when these are done.
            Step::Part(_) if parts == MOST_PARTS => {}
            Step::Part(part) => {
                parts += 1;
                tasks.push(Task::Part { organization: work.organization, run: work.run, part });
            }
            Step::Finish(lane) => tasks.push(finish(lane, &work.run)),
            // Whoever works on the lane says when nothing of it is on its way; where nobody does, nothing is.
            Step::Halt(lane) if ear::is_free(&stack.store, &lane, wall).await? => tasks.push(finish(lane, &work.run)),
            Step::Over => claim::clear(&stack.store, &work, wall / 1_000_000).await?,
            Step::Ring(lane) => drop(bell::ring(&stack.store, &lane, wall, wall / 1_000_000).await?),
            // The bell of its lane is up until it is delivered.
            Step::Deliver(_) | Step::Halt(_) | Step::Wait => {}
        }
    }
    Ok(tasks)
}

/// Sends a ticket for every bell that is due.
async fn ring(stack: &Stack, wall: u64) -> Result<(), PortError> {
    let lanes = bell::sweep(&stack.store, wall, MOST_DUE).await?;
    match lanes.is_empty() {
        true => Ok(()),
        false => stack.deliver_queue.send(lanes.iter().map(|lane| Ticket::of(lane).message(0)).collect()).await,
    }
}

/// Deletes what is older than it may be, of every organization, so much that the look stays short.
async fn forget_old(stack: &Stack) -> Result<(), String> {
    for organization in retention::organizations(&stack.store, stack.clock.seconds()).await.map_err(text)? {
        if let Err(error) = forget_old_of(stack, &organization).await {
            // The others have nothing to do with it.
            stack::trouble("what is too old stays", &[("organization", organization.as_str()), ("error", &error)]);
        }
    }
    Ok(())
}

async fn forget_old_of(stack: &Stack, organization: &Name) -> Result<(), String> {
    let (store, objects) = (&stack.store, &stack.objects);
    let keep = stack.retention_seconds(organization).await.map_err(text)?;
    // Definitions that do not fit together keep nothing else.
    if let Ok(project) = stack.read_project(organization).await.map_err(text)? {
        for model in project.models.values().filter(|model| model.source == Source::Push) {
            push::sweep(store, objects, organization, &model.id, stack.clock.seconds()).await.map_err(text)?;
        }
    }
    for _ in 0..MOST_PIECES {
        if !retention::sweep(store, objects, organization, keep, stack.clock.seconds(), PIECE).await.map_err(text)?.more {
            break;
        }
    }
    Ok(())
}
