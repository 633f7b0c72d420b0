//! Deliveries: looked back at with every attempt, and sent again.

use crate::answer::Answer;
use crate::call::Call;
use crate::definitions::{Page, catalog, lane};
use crate::document;
use crate::example;
use crate::office::Office;
use crate::operation::{Chapter, Good, Link, Operation, Parameter, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use crate::runs::{lookback, looked, read, time};
use crate::view::{CredentialName, DeliveryView};
use engine::catalog::Kind;
use engine::deliver::order::{delivery_id, parse_delivery_id};
use engine::event::again as errand_again;
use engine::event::errand::is_errand;
use engine::judge::Class;
use engine::lane::pause;
use engine::lookback::{DeliveryStatus, Filter};
use engine::model::name::Name;
use engine::model::project::Problem as Found;
use engine::plan::requests::directory;
use engine::run::redeliver::{self, Refused};
use engine::token::Scope;
use serde::Serialize;
use std::collections::BTreeMap;
use std::rc::Rc;
use utoipa::ToSchema;

/// So many deliveries are sent again by one call.
const MOST_AGAIN: usize = 100_000;
/// Read at once while they are counted.
const PAGE: usize = 500;

const FILTERS: [&Parameter; 10] = [
    &p::OF_RUN,
    &p::OF_EXPORT,
    &p::OF_DESTINATION,
    &p::OF_RULE,
    &p::OF_EVENT,
    &p::OF_CLASS,
    &p::OF_STATUS,
    &p::SINCE,
    &p::UNTIL,
    &p::OF_ROW,
];

fn filter(call: &Call) -> Result<Filter, Problem> {
    let filter = Filter {
        run: call.parameter("run").map(str::to_string),
        export: call.named("export"),
        destination: call.named("destination"),
        rule: call.named("rule"),
        event: call.parameter("event").map(str::to_string),
        class: call.parameter("class").and_then(Class::parse),
        status: call
            .parameter("status")
            .and_then(|word| DeliveryStatus::WORDS.iter().find(|(own, _)| *own == word))
            .map(|(_, status)| *status),
        since_ms: time(call, "since"),
        until_ms: time(call, "until"),
        // Composite keys are joined by U+001F inside, and shown with a bar.
        row: call.parameter("row").map(|row| row.replace('|', "\u{1f}")),
    };
    if filter.row.is_some() && filter.run.is_none() && filter.export.is_none() && filter.destination.is_none() {
        let message = "goes only together with `run`, `export` or `destination`".to_string();
        let detail = "`row` goes only together with `run`, `export` or `destination`";
        return Err(Problem::listed(Code::InvalidParameter, detail, vec![Found { path: "row".to_string(), message }]));
    }
    Ok(filter)
}

pub(crate) static LIST: Operation = Operation {
    id: "listDeliveries",
    summary: "List deliveries",
    about: "The newest first. All filters that are given must hold. A page may be shorter than `limit`, even empty, although more follows: \
            `next` tells.",
    scope: Some(Scope::Read),
    parameters: &[
        FILTERS[0],
        FILTERS[1],
        FILTERS[2],
        FILTERS[3],
        FILTERS[4],
        FILTERS[5],
        FILTERS[6],
        FILTERS[7],
        FILTERS[8],
        FILTERS[9],
        &p::LIMIT,
        &p::AFTER,
    ],
    good: &[Good {
        links: &[
            Link { name: "getDelivery", operation: "getDelivery", parameters: &[("id", "$response.body#/items/0/id")] },
            Link { name: "redeliver", operation: "redeliverOne", parameters: &[("id", "$response.body#/items/0/id")] },
        ],
        ..Good::json(
            200,
            "The deliveries, without requests and responses.",
            |schemas| document::page_of(of::<DeliveryView>, schemas),
            example::DELIVERIES,
        )
    }],
    ..Operation::new(Verb::Get, "/v1/deliveries", Chapter::Deliveries)
};

pub(crate) async fn list<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let filter = filter(&call)?;
    let limit = call.number("limit", p::ITEMS) as usize;
    let paused = pause::list(office.store(), call.organization()?, office.now().wall / 1_000_000).await?;
    let page = lookback(&*office, &call, &paused)?.deliveries(&filter, call.parameter("after"), limit).await.map_err(looked)?;
    Ok(Answer::json(200, &Page { items: page.items.into_iter().map(DeliveryView::of).collect(), next: page.next }))
}

pub(crate) static GET: Operation = Operation {
    id: "getDelivery",
    summary: "Read a delivery",
    about: "With the request as rendered and every attempt with its response; secrets are redacted.",
    scope: Some(Scope::Read),
    parameters: &[&p::DELIVERY],
    good: &[Good::json(200, "The delivery.", of::<DeliveryView>, example::DELIVERY)],
    ..Operation::new(Verb::Get, "/v1/deliveries/{id}", Chapter::Deliveries)
};

pub(crate) async fn get<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let id = call.id("id");
    let paused = pause::list(office.store(), call.organization()?, office.now().wall / 1_000_000).await?;
    let delivery = lookback(&*office, &call, &paused)?.delivery(id).await?;
    let delivery = delivery.ok_or_else(|| Problem::missing("delivery", id))?;
    let credential = credential(&*office, &call, &delivery.destination).await?;
    Ok(Answer::json(200, &DeliveryView::of(delivery).with_credential(credential)))
}

/// The credential of a destination as both are now: requests carry the current one, not the one of when their run began.
async fn credential<O: Office>(office: &O, call: &Call, destination: &str) -> Result<Option<CredentialName>, Problem> {
    let catalog = catalog(office, call)?;
    let Ok(destination) = Name::new(destination) else { return Ok(None) };
    let Some(destination) = catalog.get(Kind::Destination, &destination).await? else { return Ok(None) };
    let Some(Ok(id)) = destination.body["credential"].as_str().map(Name::new) else { return Ok(None) };
    let Some(credential) = catalog.get(Kind::Credential, &id).await? else { return Ok(None) };
    let kind = credential.body["type"].as_str().unwrap_or_default().to_string();
    Ok(Some(CredentialName { id: id.to_string(), kind }))
}

/// What is sent again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Redelivery {
    /// How many deliveries.
    deliveries: u64,
    /// Whether they are sent now; false: they were only counted.
    sent: bool,
    /// The runs that go on with them.
    runs: Vec<String>,
    /// Runs whose deliveries are not sent again, or deliveries of events, and why.
    refused: Vec<RefusedRun>,
}

/// A run, or an event's delivery, that is not sent again.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedRun {
    /// The run, or an event's delivery.
    run: String,
    /// How many of its deliveries were asked for.
    deliveries: u64,
    /// Why not.
    reason: String,
}

pub(crate) static REDELIVER_ONE: Operation = Operation {
    id: "redeliverOne",
    summary: "Send a delivery again",
    about: "Another attempt of the same delivery, under the same key, whatever it came to before. A row's only while no later run of its \
            export was planned; an event's only while no newer event of the same key was delivered there.",
    scope: Some(Scope::Send),
    parameters: &[&p::DELIVERY, &p::IDEMPOTENCY_KEY],
    good: &[Good::json(202, "It is sent as soon as the destination's limit allows.", of::<Redelivery>, example::REDELIVERY)],
    codes: &[Code::LaterRun, Code::NewerEvent, Code::RunNotFinished],
    ..Operation::new(Verb::Post, "/v1/deliveries/{id}/redeliver", Chapter::Deliveries)
};

/// Puts an event's delivery back into the backlog.
async fn errand_again<O: Office>(office: &O, call: &Call, id: &str) -> Result<Result<u64, errand_again::Refused>, Problem> {
    let again = errand_again::again(office.store(), call.organization()?, id, office.now().wall).await?;
    Ok(match again {
        Ok(None) => Ok(0),
        Ok(Some(lane)) => {
            office.look(&lane);
            Ok(1)
        }
        Err(refused) => Err(refused),
    })
}

fn why_not(refused: &errand_again::Refused) -> (Code, String) {
    match refused {
        errand_again::Refused::Newer(event) => {
            (Code::NewerEvent, format!("event `{event}` of the same key came after it and was delivered"))
        }
        errand_again::Refused::Unfinished => (Code::RunNotFinished, "it has not ended: wait for its end".to_string()),
    }
}

/// Places of deliveries in their plan: parcel and index.
type Places = Vec<(u32, u32)>;

async fn again<O: Office>(office: &O, call: &Call, run: &str, places: &Places) -> Result<Result<u64, Refused>, Problem> {
    let organization = call.organization()?;
    let found = read(office, call, run).await?.filter(|run| run.parcels > 0);
    let Some(run) = found else { return Ok(Ok(0)) };
    let directory = directory(office.objects(), &run).await?;
    let known = |place: &&(u32, u32)| directory.parcels.get(place.0 as usize).is_some_and(|parcel| place.1 < parcel.deliveries);
    let places: Places = places.iter().filter(known).copied().collect();
    if places.is_empty() {
        return Ok(Ok(0));
    }
    let lane = lane(organization, &run.destination);
    let done = redeliver::again(office.store(), &lane, &run, &directory, &places, office.now().wall).await?;
    Ok(done.map(|()| places.len() as u64))
}

fn why(refused: &Refused) -> (Code, String) {
    match refused {
        Refused::LaterRun(later) => {
            (Code::LaterRun, format!("{later} was planned after it: run the export, which finds what is still owed"))
        }
        Refused::Unfinished => (Code::RunNotFinished, "it has not ended: wait for its end, or cancel it".to_string()),
        Refused::Unsent => (Code::LaterRun, "nothing of it was ever sent: run the export, which finds what is owed".to_string()),
        Refused::Gone => (Code::LaterRun, "its deliveries are no longer kept: run the export, which finds what is still owed".to_string()),
    }
}

pub(crate) async fn redeliver_one<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let id = call.id("id");
    let missing = || Problem::missing("delivery", id);
    let (run, parcel, index) = parse_delivery_id(id).ok_or_else(missing)?;
    if is_errand(&run) {
        return match errand_again(&*office, &call, &run).await? {
            Ok(0) => Err(missing()),
            Ok(deliveries) => Ok(Answer::json(202, &Redelivery { deliveries, sent: true, runs: Vec::new(), refused: Vec::new() })),
            Err(refused) => {
                let (code, why) = why_not(&refused);
                Err(Problem::new(code, why))
            }
        };
    }
    match again(&*office, &call, &run, &vec![(parcel, index)]).await? {
        Ok(0) => Err(missing()),
        Ok(deliveries) => {
            office.wake();
            Ok(Answer::json(202, &Redelivery { deliveries, sent: true, runs: vec![run], refused: Vec::new() }))
        }
        Err(refused) => {
            let (code, why) = why(&refused);
            Err(Problem::new(code, format!("{run}: {why}")))
        }
    }
}

pub(crate) static REDELIVER: Operation = Operation {
    id: "redeliver",
    summary: "Send deliveries again",
    about: "Those that the filters let through; without `status` the ones that failed, were exhausted or canceled. Says how many it would \
            be, unless `dry_run=false`. At most 100,000 at once; at least one filter is needed.",
    scope: Some(Scope::Send),
    parameters: &[
        FILTERS[0],
        FILTERS[1],
        FILTERS[2],
        FILTERS[3],
        FILTERS[4],
        FILTERS[5],
        FILTERS[6],
        FILTERS[7],
        FILTERS[8],
        FILTERS[9],
        &p::DRY_RUN,
        &p::IDEMPOTENCY_KEY,
    ],
    good: &[
        Good::json(
            200,
            "How many it would be; nothing is sent.",
            of::<Redelivery>,
            r#"{"deliveries": 12, "sent": false, "runs": ["run_06c1m2k3n4p5q6r7"], "refused": []}"#,
        ),
        Good::json(202, "They are sent as soon as the destinations' limits allow.", of::<Redelivery>, example::REDELIVERY),
    ],
    ..Operation::new(Verb::Post, "/v1/deliveries/redeliver", Chapter::Deliveries)
};

pub(crate) async fn redeliver<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    if !FILTERS.iter().any(|filter| call.parameter(filter.name).is_some()) {
        let message =
            "at least one of run, export, destination, rule, event, class, status, since, until and row is needed: say which deliveries";
        let problems = vec![Found { path: "run".to_string(), message: message.to_string() }];
        return Err(Problem::listed(Code::InvalidParameter, message, problems));
    }
    let filter = filter(&call)?;
    let (wanted, count) = wanted(&*office, &call, &filter).await?;
    if call.flag("dry_run", true) {
        let runs = wanted.into_keys().filter(|run| !is_errand(run)).collect();
        return Ok(Answer::json(200, &Redelivery { deliveries: count as u64, sent: false, runs, refused: Vec::new() }));
    }
    let mut answer = Redelivery { deliveries: 0, sent: true, runs: Vec::new(), refused: Vec::new() };
    for (run, places) in wanted {
        if is_errand(&run) {
            match errand_again(&*office, &call, &run).await? {
                Ok(deliveries) => answer.deliveries += deliveries,
                Err(refused) => {
                    let run = delivery_id(&run, 0, 0);
                    answer.refused.push(RefusedRun { run, deliveries: 1, reason: why_not(&refused).1 });
                }
            }
            continue;
        }
        match again(&*office, &call, &run, &places).await? {
            Ok(0) => {}
            Ok(deliveries) => {
                answer.deliveries += deliveries;
                answer.runs.push(run);
            }
            Err(refused) => {
                let (_, reason) = why(&refused);
                answer.refused.push(RefusedRun { run, deliveries: places.len() as u64, reason });
            }
        }
    }
    office.wake();
    Ok(Answer::json(202, &answer))
}

/// Which deliveries the filters let through, by run.
async fn wanted<O: Office>(office: &O, call: &Call, filter: &Filter) -> Result<(BTreeMap<String, Places>, usize), Problem> {
    let paused = pause::list(office.store(), call.organization()?, office.now().wall / 1_000_000).await?;
    let look = lookback(office, call, &paused)?;
    let mut wanted: BTreeMap<String, Places> = BTreeMap::new();
    let mut count = 0;
    for filter in filter.to_send_again() {
        let mut after = None;
        loop {
            let page = look.deliveries(&filter, after.as_deref(), PAGE).await.map_err(looked)?;
            for (run, parcel, index) in page.items.iter().filter_map(|delivery| parse_delivery_id(&delivery.id)) {
                wanted.entry(run).or_default().push((parcel, index));
                count += 1;
            }
            if count > MOST_AGAIN {
                let message = format!("more than {MOST_AGAIN} deliveries: narrow the filters, by `run` or by `since` and `until`");
                let problems = vec![Found { path: "run".to_string(), message: message.clone() }];
                return Err(Problem::listed(Code::InvalidParameter, message, problems));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok((wanted, count))
}
