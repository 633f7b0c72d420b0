//! Runs: started, listed, canceled, approved.

use crate::answer::Answer;
use crate::call::Call;
use crate::definitions::{Page, catalog, lane};
use crate::document;
use crate::example;
use crate::members::Members;
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Link, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use crate::view::{RunView, run_of_plan};
use engine::catalog::Kind;
use engine::keys::LaneName;
use engine::lookback::{LookError, Lookback, RunFilter};
use engine::model::name::Name;
use engine::model::project::Problem as Found;
use engine::plan::requests::directory;
use engine::run::document::{Run, Status, Trigger, Wish};
use engine::run::request::{self, Ask, Refused};
use engine::token::Scope;
use std::collections::BTreeSet;
use std::rc::Rc;
use utoipa::ToSchema;

/// How a run is to be done. All of it may be left away.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct NewRun {
    /// Go past a guard that would hold it.
    #[schema(required = false)]
    approve: Option<bool>,
    /// Take the rows as delivered already; sends nothing.
    #[schema(required = false)]
    adopt: Option<bool>,
    /// Send all rows that are there again.
    #[schema(required = false)]
    full: Option<bool>,
    /// Execute this plan, as it is, instead of planning anew; goes with none of the others.
    #[schema(required = false, pattern = "^plan_[0-9a-z_]+$")]
    plan: Option<String>,
}

/// What can be done with a run that an answer shows.
const OF_RUN: &[Link] = &[
    Link { name: "getRun", operation: "getRun", parameters: &[("id", "$response.body#/id")] },
    Link { name: "cancelRun", operation: "cancelRun", parameters: &[("id", "$response.body#/id")] },
    Link { name: "approveRun", operation: "approveRun", parameters: &[("id", "$response.body#/id")] },
    Link { name: "listDeliveries", operation: "listDeliveries", parameters: &[("run", "$response.body#/id")] },
    Link { name: "getPlan", operation: "getPlan", parameters: &[("id", "$response.body#/plan")] },
];

pub(crate) static START: Operation = Operation {
    id: "startRun",
    summary: "Start a run",
    about: "Answers at once; the run goes on by itself. Two runs of one export never overlap.",
    scope: Some(Scope::Send),
    parameters: &[&p::EXPORT, &p::IDEMPOTENCY_KEY],
    body: Some(Body { content: Content::Json(of::<NewRun>), required: false, about: "How it is to be done.", example: "{}" }),
    good: &[Good { headers: &[("Location", "The run.")], links: OF_RUN, ..Good::json(202, "The run.", of::<RunView>, example::RUN) }],
    codes: &[Code::ExportBusy, Code::LaterRun, Code::RunEnded],
    ..Operation::new(Verb::Post, "/v1/exports/{id}/runs", Chapter::Runs)
};

pub(crate) async fn start<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let mut members = Members::of(call.json()?, &["approve", "adopt", "full", "plan"])?;
    let (approve, adopt, full) = (members.flag("approve"), members.flag("adopt"), members.flag("full"));
    let plan = members.text("plan", 100);
    let [approve, adopt, full] = [approve, adopt, full].map(|flag| flag.unwrap_or(false));
    if plan.is_some() && (approve || adopt || full) {
        members.wrong("plan", "a plan is executed as it is: leave away approve, adopt and full");
    }
    if adopt && full {
        members.wrong("adopt", "contradicts full: one takes all rows as delivered, the other sends all of them");
    }
    members.done()?;
    let export = call.name("export")?;
    let run = match plan {
        Some(plan) => execute(&*office, &call, &export, &plan).await?,
        None => {
            let wish = Wish { approve, adopt, full, plan_only: false, trigger: Trigger::Api };
            ask(&*office, &call, &export, wish).await?
        }
    };
    office.wake();
    Ok(Answer::json(202, &RunView::of(&run)).header("location", format!("/v1/runs/{}", run.id)))
}

/// Asks for a run, or a plan, of an export.
pub(crate) async fn ask<O: Office>(office: &O, call: &Call, export: &Name, wish: Wish) -> Result<Run, Problem> {
    let organization = call.organization()?;
    let definition = catalog(office, call)?.get(Kind::Export, export).await?;
    let definition = definition.ok_or_else(|| Problem::missing("export", export.as_str()))?;
    let destination = definition.body["destination"].as_str().and_then(|text| Name::new(text).ok());
    let destination = destination.ok_or_else(|| Problem::internal(format!("export {export} is stored without a destination")))?;
    let run = office.fresh_name("run");
    let random = office.random();
    let hash_seed = u64::from_le_bytes([random[0], random[1], random[2], random[3], random[4], random[5], random[6], random[7]]);
    let ask = Ask { organization, export, destination: &destination, run: &run, wish, hash_seed };
    match request::start(office.store(), ask, office.now().wall).await? {
        Ok(asked) => Ok(asked.run),
        Err(refused) => Err(self::refused(refused, &run, export)),
    }
}

async fn execute<O: Office>(office: &O, call: &Call, export: &Name, plan: &str) -> Result<Run, Problem> {
    let unknown = || {
        let message = format!("there is no plan `{plan}` of export `{export}`");
        Problem::invalid(vec![Found { path: "plan".to_string(), message }])
    };
    if catalog(office, call)?.get(Kind::Export, export).await?.is_none() {
        return Err(Problem::missing("export", export.as_str()));
    }
    let run = run_of_plan(plan).ok_or_else(unknown)?;
    let found = read(office, call, &run).await?.filter(|run| run.export == *export).ok_or_else(unknown)?;
    put_to_work(office, call, &found).await
}

/// Executes a kept plan.
async fn put_to_work<O: Office>(office: &O, call: &Call, run: &Run) -> Result<Run, Problem> {
    if run.status != Status::Held {
        return Err(refused(Refused::Not(run.status), &run.id, &run.export));
    }
    let organization = call.organization()?;
    let directory = directory(office.objects(), run).await?;
    let lane: LaneName = lane(organization, &run.destination);
    let approved = request::approve(office.store(), &lane, &run.id, &directory, office.now().wall).await?;
    approved.map_err(|refused| self::refused(refused, &run.id, &run.export))
}

fn refused(refused: Refused, run: &str, export: &Name) -> Problem {
    match refused {
        Refused::Busy(other) => {
            Problem::new(Code::ExportBusy, format!("{other} of export `{export}` has not ended: wait for its end, or cancel it"))
        }
        Refused::Missing => Problem::missing("run", run),
        Refused::Not(Status::Planning | Status::Delivering) => {
            Problem::new(Code::RunNotHeld, format!("{run} goes on already: there is nothing to approve"))
        }
        Refused::Not(Status::Held) => Problem::new(Code::RunNotFinished, format!("{run} is held: approve it, or cancel it")),
        Refused::Not(status) => Problem::new(Code::RunEnded, format!("{run} has ended: {}", status.as_str().replace('_', " "))),
        Refused::MovedOn => Problem::new(
            Code::LaterRun,
            format!("export `{export}` has run, or was planned anew, since {run} was planned: start a new run"),
        ),
    }
}

/// Looks into the caller's organization. `paused`: destinations whose deliveries show as held.
pub(crate) fn lookback<'a, O: Office>(
    office: &'a O,
    call: &'a Call,
    paused: &'a BTreeSet<Name>,
) -> Result<Lookback<'a, O::Store, O::Objects>, Problem> {
    let now = office.now().wall / 1_000_000;
    Ok(Lookback { store: office.store(), objects: office.objects(), organization: call.organization()?, paused, now })
}

/// A run of the caller's organization.
pub(crate) async fn read<O: Office>(office: &O, call: &Call, run: &str) -> Result<Option<Run>, Problem> {
    Ok(lookback(office, call, &BTreeSet::new())?.run(run).await?)
}

/// What looking back refuses is a cursor that it did not give for this list.
pub(crate) fn looked(error: LookError) -> Problem {
    match error {
        LookError::Port(error) => error.into(),
        LookError::Refused(message) => {
            let problems = vec![Found { path: "after".to_string(), message: message.clone() }];
            Problem::listed(Code::InvalidParameter, message, problems)
        }
    }
}

pub(crate) static LIST: Operation = Operation {
    id: "listRuns",
    summary: "List runs",
    about: "The newest first.",
    scope: Some(Scope::Read),
    parameters: &[&p::OF_EXPORT, &p::OF_DESTINATION, &p::RUN_STATUS, &p::SINCE, &p::UNTIL, &p::LIMIT, &p::AFTER],
    good: &[Good::json(200, "The runs.", |schemas| document::page_of(of::<RunView>, schemas), "")],
    ..Operation::new(Verb::Get, "/v1/runs", Chapter::Runs)
};

/// A point in time of a checked parameter, Unix milliseconds.
pub(crate) fn time(call: &Call, name: &str) -> Option<u64> {
    call.parameter(name).and_then(engine::time::parse_rfc3339).map(|micros| micros / 1000)
}

pub(crate) async fn list<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let filter = RunFilter {
        export: call.named("export"),
        destination: call.named("destination"),
        status: call.parameter("status").and_then(Status::parse),
        since_ms: time(&call, "since"),
        until_ms: time(&call, "until"),
    };
    let limit = call.number("limit", p::ITEMS) as usize;
    let none = BTreeSet::new();
    let page = lookback(&*office, &call, &none)?.runs(&filter, call.parameter("after"), limit).await.map_err(looked)?;
    Ok(Answer::json(200, &Page { items: page.items.iter().map(RunView::of).collect(), next: page.next }))
}

pub(crate) static GET: Operation = Operation {
    id: "getRun",
    summary: "Read a run",
    scope: Some(Scope::Read),
    parameters: &[&p::RUN],
    good: &[Good { links: OF_RUN, ..Good::json(200, "The run.", of::<RunView>, example::RUN) }],
    ..Operation::new(Verb::Get, "/v1/runs/{id}", Chapter::Runs)
};

async fn found<O: Office>(office: &O, call: &Call) -> Result<Run, Problem> {
    let id = call.id("id");
    read(office, call, id).await?.ok_or_else(|| Problem::missing("run", id))
}

pub(crate) async fn get<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    Ok(Answer::json(200, &RunView::of(&found(&*office, &call).await?)))
}

pub(crate) static CANCEL: Operation = Operation {
    id: "cancelRun",
    summary: "Cancel a run",
    about: "Once this answers nothing of the run starts any more; what is on its way is recorded, and what was delivered counts. \
            Canceling again changes nothing.",
    scope: Some(Scope::Send),
    parameters: &[&p::RUN, &p::IDEMPOTENCY_KEY],
    good: &[Good::json(202, "The run, which ends as soon as what is on its way is recorded.", of::<RunView>, example::RUN)],
    codes: &[Code::RunEnded],
    ..Operation::new(Verb::Post, "/v1/runs/{id}/cancel", Chapter::Runs)
};

pub(crate) async fn cancel<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let run = found(&*office, &call).await?;
    let organization = call.organization()?;
    let canceled = request::cancel(office.store(), organization, &run.id, office.now().wall).await?;
    let canceled = canceled.map_err(|refused| self::refused(refused, &run.id, &run.export))?;
    office.halt(organization, &run.id).await?;
    office.wake();
    Ok(Answer::json(202, &RunView::of(&canceled)))
}

pub(crate) static APPROVE: Operation = Operation {
    id: "approveRun",
    summary: "Approve a held run",
    about: "Executes the plan that a guard holds, as it is. `GET /v1/plans/{id}/requests` shows it.",
    scope: Some(Scope::Send),
    parameters: &[&p::RUN, &p::IDEMPOTENCY_KEY],
    good: &[Good::json(202, "The run.", of::<RunView>, example::RUN)],
    codes: &[Code::ExportBusy, Code::RunNotHeld, Code::RunEnded, Code::LaterRun],
    ..Operation::new(Verb::Post, "/v1/runs/{id}/approve", Chapter::Runs)
};

pub(crate) async fn approve<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let run = found(&*office, &call).await?;
    let approved = put_to_work(&*office, &call, &run).await?;
    office.wake();
    Ok(Answer::json(202, &RunView::of(&approved)))
}
