//! `penstock runs`, `deliveries` and `attempts`: what was done, and why it came out so.

use crate::args::{Global, LookArgs};
use crate::failure::Failure;
use crate::plan::shorten;
use crate::site::Site;
use crate::summary::{self, bold, count, dim};
use backend_embedded::{EmbeddedObjects, EmbeddedStore};
use engine::judge::Class;
use engine::lane::pause;
use engine::lookback::{Delivery, DeliveryStatus, Filter, Lookback, PageOf, RunFilter};
use engine::model::name::Name;
use engine::port::Clock;
use engine::run::document::Run;
use serde_json::json;
use std::collections::BTreeSet;

/// So many are asked for at once.
const PAGE: usize = 500;

/// Destinations that are paused now.
pub async fn paused(site: &Site) -> Result<BTreeSet<Name>, Failure> {
    Ok(pause::list(&site.store, site.organization(), site.clock.seconds()).await?)
}

/// Reads this site's log.
pub fn lookback<'a>(site: &'a Site, paused: &'a BTreeSet<Name>) -> Lookback<'a, EmbeddedStore, EmbeddedObjects> {
    Lookback { store: &site.store, objects: &site.objects, organization: site.organization(), paused, now: site.clock.seconds() }
}

/// `penstock runs [ID]`
pub async fn runs(global: &Global, id: Option<&str>, export: Option<&str>, limit: usize) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let paused = paused(&site).await?;
    let look = lookback(&site, &paused);
    if let Some(id) = id {
        let run = look.run(id).await?.ok_or_else(|| Failure::usage(format!("there is no run `{id}`: `penstock runs` lists them")))?;
        summary::print(global, &site, &run, None, first_error(&site, &run).await?.as_deref());
        if !global.json {
            for row in run.invalid.iter().skip(10) {
                say!("                {}: {}", row.place, row.reason);
            }
        }
        return Ok(0);
    }
    let filter = RunFilter { export: export.map(|name| site.export(name).map(|e| e.id.clone())).transpose()?, ..RunFilter::default() };
    let mut runs = Vec::new();
    let mut after = None;
    while runs.len() < limit {
        let PageOf { items, next } = look.runs(&filter, after.as_deref(), PAGE.min(limit - runs.len())).await?;
        runs.extend(items);
        after = next;
        if after.is_none() {
            break;
        }
    }
    if global.json {
        let list: Vec<_> = runs.iter().map(|run| summary::to_json(run, None, None)).collect();
        say!("{}", json!({"runs": list}));
        return Ok(0);
    }
    if runs.is_empty() {
        say!("no runs yet");
    }
    for run in runs {
        let totals = &run.totals;
        say!(
            "{}  {}  {:<22} {:<16} +{} ~{} -{}  {} delivered{}",
            run.id,
            run.started_at_text().get(..19).unwrap_or_default(),
            run.status.as_str(),
            run.export.as_str(),
            count(totals.added),
            count(totals.changed),
            count(totals.removed),
            count(run.rows.delivered),
            run.reason.as_deref().map(|reason| format!("  {}", shorten(reason, 60))).unwrap_or_default(),
        );
    }
    Ok(0)
}

/// `penstock deliveries [ID]`
pub async fn deliveries(global: &Global, args: &LookArgs) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    if let Some(id) = &args.id {
        let delivery = one(&site, id).await?;
        show(global, &delivery);
        return Ok(0);
    }
    let found = many(&site, args).await?;
    if global.json {
        say!("{}", json!({"deliveries": found}));
        return Ok(0);
    }
    if found.is_empty() {
        say!("no deliveries");
    }
    for delivery in &found {
        let last = delivery.attempts.last();
        say!(
            "{}  {:<10} {:<7} {:>5} rows  {:>2} attempts  {}{}",
            delivery.id,
            delivery.status.as_str(),
            delivery.action.as_str(),
            delivery.rows,
            delivery.attempts.len(),
            last.map_or("", |attempt| attempt.class.as_str()),
            last.and_then(|attempt| attempt.status_code).map(|status| format!(" {status}")).unwrap_or_default(),
        );
    }
    Ok(0)
}

/// `penstock attempts [ID]`
pub async fn attempts(global: &Global, args: &LookArgs) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let found = match &args.id {
        Some(id) => vec![one(&site, id).await?],
        None => many(&site, args).await?,
    };
    let class = parse_class(args)?;
    if global.json {
        let list: Vec<_> = found
            .iter()
            .flat_map(|delivery| delivery.attempts.iter().map(move |attempt| (delivery, attempt)))
            .filter(|(_, attempt)| class.is_none_or(|class| class == attempt.class))
            .map(|(delivery, attempt)| {
                let mut object = json!(attempt);
                object["delivery"] = json!(delivery.id);
                object
            })
            .collect();
        say!("{}", json!({"attempts": list}));
        return Ok(0);
    }
    let mut none = true;
    for delivery in &found {
        for attempt in delivery.attempts.iter().filter(|attempt| class.is_none_or(|class| class == attempt.class)) {
            none = false;
            say!(
                "{}  {}  {:<24} {:>4}  {:>6} ms  {}",
                attempt.id,
                attempt.started_at.get(..23).unwrap_or(&attempt.started_at),
                attempt.class.as_str(),
                attempt.status_code.map(|status| status.to_string()).unwrap_or_default(),
                attempt.duration_ms,
                attempt.error.as_deref().unwrap_or_default(),
            );
            if args.id.is_some() {
                show_response(attempt.response.as_ref());
            }
        }
    }
    if none {
        say!("no attempts");
    }
    Ok(0)
}

/// Why the first delivery of a run that was not accepted failed.
pub async fn first_error(site: &Site, run: &Run) -> Result<Option<String>, Failure> {
    if run.deliveries.failed == 0 {
        return Ok(None);
    }
    let paused = paused(site).await?;
    let look = lookback(site, &paused);
    for status in [DeliveryStatus::Exhausted, DeliveryStatus::Failed, DeliveryStatus::Canceled] {
        let filter = Filter { run: Some(run.id.clone()), status: Some(status), ..Filter::default() };
        let Some(found) = list(&look, &filter, 1).await?.into_iter().find(|delivery| !delivery.attempts.is_empty()) else {
            continue;
        };
        let detailed = look.delivery(&found.id).await?;
        let last = detailed.as_ref().and_then(|delivery| delivery.attempts.last());
        return Ok(last.map(|attempt| format!("{}: {}", attempt.class.as_str(), attempt.error.as_deref().unwrap_or("no more is known"))));
    }
    Ok(None)
}

async fn one(site: &Site, id: &str) -> Result<Delivery, Failure> {
    let paused = paused(site).await?;
    let found = lookback(site, &paused).delivery(id).await?;
    found.ok_or_else(|| Failure::usage(format!("there is no delivery `{id}`: `penstock deliveries` lists them")))
}

/// The deliveries that the filters let through, the newest first.
async fn many(site: &Site, args: &LookArgs) -> Result<Vec<Delivery>, Failure> {
    let paused = paused(site).await?;
    list(&lookback(site, &paused), &filter(site, args)?, args.limit).await
}

/// At most `limit` deliveries, however many pages they take.
async fn list(look: &Lookback<'_, EmbeddedStore, EmbeddedObjects>, filter: &Filter, limit: usize) -> Result<Vec<Delivery>, Failure> {
    let mut found = Vec::new();
    let mut after = None;
    while found.len() < limit {
        let PageOf { items, next } = look.deliveries(filter, after.as_deref(), PAGE.min(limit - found.len())).await?;
        found.extend(items);
        after = next;
        if after.is_none() {
            break;
        }
    }
    Ok(found)
}

/// What the arguments ask for.
pub fn filter(site: &Site, args: &LookArgs) -> Result<Filter, Failure> {
    if args.row.is_some() && args.run.is_none() && args.export.is_none() && args.destination.is_none() {
        return Err(Failure::usage("--row needs --run, --export or --destination"));
    }
    let status = match &args.status {
        None => None,
        Some(word) => Some(DeliveryStatus::WORDS.iter().find(|(known, _)| known == word).map(|(_, status)| *status).ok_or_else(|| {
            let known: Vec<&str> = DeliveryStatus::WORDS.iter().map(|(word, _)| *word).collect();
            Failure::usage(format!("there is no status `{word}`: use one of {}", known.join(", ")))
        })?),
    };
    Ok(Filter {
        run: args.run.clone(),
        export: args.export.as_deref().map(|name| site.export(name).map(|export| export.id.clone())).transpose()?,
        destination: args.destination.as_deref().map(|name| site.destination(name).map(|d| d.id.clone())).transpose()?,
        rule: args.rule.as_deref().map(|name| Name::new(name).map_err(Failure::usage)).transpose()?,
        event: args.event.clone(),
        class: parse_class(args)?,
        status,
        since_ms: args.since.as_deref().map(|text| parse_time(site, text)).transpose()?,
        until_ms: args.until.as_deref().map(|text| parse_time(site, text)).transpose()?,
        row: args.row.as_ref().map(|key| key.replace('|', "\u{1f}")),
    })
}

fn parse_class(args: &LookArgs) -> Result<Option<Class>, Failure> {
    let Some(word) = &args.class else { return Ok(None) };
    let known: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    Class::parse(word).map(Some).ok_or_else(|| Failure::usage(format!("there is no class `{word}`: use one of {}", known.join(", "))))
}

/// A time, or how long ago: Unix milliseconds.
fn parse_time(site: &Site, text: &str) -> Result<u64, Failure> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp.as_millisecond().max(0) as u64);
    }
    let unit = match text.chars().last() {
        Some('s') => Some(1),
        Some('m') => Some(60),
        Some('h') => Some(3600),
        Some('d') => Some(86_400),
        _ => None,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|digits| digits.parse::<u64>().ok());
    match (number, unit) {
        (Some(number), Some(unit)) => Ok((site.clock.now().wall / 1000).saturating_sub(number.saturating_mul(unit * 1000))),
        _ => Err(Failure::usage(format!("`{text}` is not a time: write 2026-01-31T12:00:00Z, or how long ago as 90m, 24h or 7d"))),
    }
}

fn show(global: &Global, delivery: &Delivery) {
    if global.json {
        say!("{}", json!(delivery));
        return;
    }
    say!("{}  {}", bold(&delivery.id), delivery.status.as_str());
    match (&delivery.run, &delivery.export, &delivery.event, &delivery.rule) {
        (Some(run), Some(export), ..) => say!("  run         {run} of export {export} to {}", delivery.destination),
        (_, _, Some(event), Some(rule)) => say!("  event       {event}, by rule {rule}, to {}", delivery.destination),
        _ => say!("  to          {}", delivery.destination),
    }
    let keys = delivery.row_keys.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    let more = if delivery.row_keys.len() > 10 { ", …" } else { "" };
    say!("  rows        {} ({}): {keys}{more}", count(delivery.rows), delivery.action.as_str());
    say!("  key         {}", delivery.idempotency_key);
    match &delivery.request {
        Some(request) => {
            say!("\n{} {}", request["method"].as_str().unwrap_or_default(), request["url"].as_str().unwrap_or_default());
            show_headers(&request["headers"]);
            if let Some(body) = request["body"].as_str() {
                say!("\n{}", shorten(body, 4000));
            }
        }
        None => say!("\nnot sent yet"),
    }
    for attempt in &delivery.attempts {
        let status = attempt.status_code.map(|status| format!(" {status}")).unwrap_or_default();
        say!(
            "\nattempt {}  {}{status}  {} ms  {}  {}",
            attempt.number,
            bold(attempt.class.as_str()),
            attempt.duration_ms,
            attempt.completed_at,
            dim(&attempt.id)
        );
        if let Some(error) = &attempt.error {
            say!("  {error}");
        }
        show_response(attempt.response.as_ref());
    }
}

fn show_response(response: Option<&serde_json::Value>) {
    let Some(response) = response else { return };
    show_headers(&response["headers"]);
    let body = response["body"].as_str().unwrap_or_default();
    if !body.is_empty() {
        say!("\n{}", shorten(body, 4000));
    }
}

fn show_headers(headers: &serde_json::Value) {
    for header in headers.as_array().into_iter().flatten() {
        say!("{}: {}", header[0].as_str().unwrap_or_default(), header[1].as_str().unwrap_or_default());
    }
}
