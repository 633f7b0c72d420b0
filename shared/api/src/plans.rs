//! Plans: what a run would do. A plan that was made to be looked at is kept and can be executed as it is.

use crate::answer::{Answer, Content as Answered};
use crate::call::Call;
use crate::definitions::catalog;
use crate::example;
use crate::members::Members;
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Link, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use crate::runs::{ask, read};
use crate::view::{PlanView, plan_id, run_of_plan};
use bytes::Bytes;
use engine::catalog::Kind;
use engine::deliver::attach::Attachments;
use engine::plan::requests::PlannedRequests;
use engine::run::document::{Run, Status, Trigger, Wish};
use engine::token::Scope;
use futures_util::StreamExt;
use std::rc::Rc;
use utoipa::ToSchema;

/// How a plan is to be made. All of it may be left away.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct NewPlan {
    /// As if all rows that are there were sent again.
    #[schema(required = false)]
    full: Option<bool>,
    /// As if the rows were taken as delivered.
    #[schema(required = false)]
    adopt: Option<bool>,
}

/// A request of a plan: a line of the download.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; the engine writes the lines")]
pub(crate) struct PlannedRequest {
    /// The delivery's id, which is its idempotency key.
    delivery: String,
    /// Its action.
    action: crate::view::ActionWord,
    /// How many rows it carries.
    rows: u64,
    /// Their keys.
    row_keys: Vec<String>,
    /// As it would go over the wire, secrets redacted; null if none of its rows can be rendered.
    request: Option<crate::view::RequestView>,
}

const OF_PLAN: &[Link] = &[
    Link { name: "getPlan", operation: "getPlan", parameters: &[("id", "$response.body#/id")] },
    Link { name: "getPlannedRequests", operation: "getPlannedRequests", parameters: &[("id", "$response.body#/id")] },
    Link { name: "approveRun", operation: "approveRun", parameters: &[("id", "$response.body#/run")] },
];

pub(crate) static MAKE: Operation = Operation {
    id: "makePlan",
    summary: "Make a plan",
    about: "Answers at once; the plan is made by itself. Sends nothing, and does not keep the export from running. The plan is kept and can \
            be executed as long as the export has not run since.",
    scope: Some(Scope::Send),
    parameters: &[&p::EXPORT, &p::IDEMPOTENCY_KEY],
    body: Some(Body { content: Content::Json(of::<NewPlan>), required: false, about: "How it is to be made.", example: "{}" }),
    good: &[Good { headers: &[("Location", "The plan.")], links: OF_PLAN, ..Good::json(202, "The plan.", of::<PlanView>, example::PLAN) }],
    codes: &[Code::ExportBusy, Code::RunEnded, Code::LaterRun],
    ..Operation::new(Verb::Post, "/v1/exports/{id}/plan", Chapter::Plans)
};

pub(crate) async fn make<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let mut members = Members::of(call.json()?, &["full", "adopt"])?;
    let (full, adopt) = (members.flag("full").unwrap_or(false), members.flag("adopt").unwrap_or(false));
    if adopt && full {
        members.wrong("adopt", "contradicts full: one takes all rows as delivered, the other sends all of them");
    }
    members.done()?;
    let export = call.name("export")?;
    let wish = Wish { approve: false, adopt, full, plan_only: true, trigger: Trigger::Api };
    let run = ask(&*office, &call, &export, wish).await?;
    office.wake();
    Ok(Answer::json(202, &PlanView::of(&run)).header("location", format!("/v1/plans/{}", plan_id(&run.id))))
}

pub(crate) static GET: Operation = Operation {
    id: "getPlan",
    summary: "Read a plan",
    about: "Every run has one: its id with `plan_` in the place of `run_`.",
    scope: Some(Scope::Read),
    parameters: &[&p::PLAN],
    good: &[Good { links: OF_PLAN, ..Good::json(200, "The plan.", of::<PlanView>, example::PLAN) }],
    ..Operation::new(Verb::Get, "/v1/plans/{id}", Chapter::Plans)
};

async fn found<O: Office>(office: &O, call: &Call) -> Result<Run, Problem> {
    let id = call.id("id");
    let missing = || Problem::missing("plan", id);
    let run = run_of_plan(id).ok_or_else(missing)?;
    read(office, call, &run).await?.ok_or_else(missing)
}

pub(crate) async fn get<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    Ok(Answer::json(200, &PlanView::of(&found(&*office, &call).await?)))
}

pub(crate) static REQUESTS: Operation = Operation {
    id: "getPlannedRequests",
    summary: "Download a plan's requests",
    about: "In the order of sending, as they would go over the wire; secrets are put on when they are sent.",
    scope: Some(Scope::Read),
    parameters: &[&p::PLAN],
    good: &[Good {
        status: 200,
        about: "A request a line. An answer that breaks off is not whole.",
        content: Some(Content::Lines(of::<PlannedRequest>)),
        example: "",
        headers: &[("Content-Disposition", "A name for the file.")],
        links: &[],
    }],
    codes: &[Code::PlanNotReady],
    ..Operation::new(Verb::Get, "/v1/plans/{id}/requests", Chapter::Plans)
};

pub(crate) async fn requests<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let run = found(&*office, &call).await?;
    let name = plan_id(&run.id);
    if run.status == Status::Planning {
        return Err(
            Problem::new(Code::PlanNotReady, format!("{name} is still being made: ask again after a moment")).header("retry-after", "1")
        );
    }
    let organization = call.organization()?;
    let now = office.now().wall / 1_000_000;
    let pieces = match run.parcels {
        // Nothing was kept of a plan that sends nothing.
        0 => futures_util::stream::empty().boxed_local(),
        _ => {
            // Secrets are not in a plan. Values that stand in for one by chance are found with those of the destination as it is now.
            let attachments = match catalog(&*office, &call)?.get(Kind::Destination, &run.destination).await? {
                Some(_) => crate::destinations::project(&*office, &call).await?.destinations.get(&run.destination).map(Attachments::of),
                None => None,
            };
            let planned = PlannedRequests::open(office.store(), office.objects(), organization, &run, attachments, now).await?;
            lines(planned).boxed_local()
        }
    };
    let content = Answered::Pieces("application/x-ndjson", pieces);
    let answer = Answer { status: 200, headers: Vec::new(), content };
    Ok(answer.header("content-disposition", format!("attachment; filename=\"{name}.ndjson\"")))
}

/// A piece a parcel.
fn lines(planned: PlannedRequests) -> impl futures_util::Stream<Item = Result<Bytes, Problem>> {
    futures_util::stream::unfold(Some(planned), |state| async move {
        let mut planned = state?;
        match planned.next_lines() {
            Ok(None) => None,
            Ok(Some(lines)) => Some((Ok(Bytes::from(lines)), Some(planned))),
            Err(error) => Some((Err(error.into()), None)),
        }
    })
}
