//! `penstock redeliver`: deliveries of a run that has ended, once more, under the same keys. Says how many first.

use crate::args::{Global, LookArgs};
use crate::event;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::look;
use crate::progress::Progress;
use crate::run::{Runner, exit_status};
use crate::site::{self, Site};
use crate::summary::{self, quantity};
use engine::deliver::order::{delivery_id, parse_delivery_id};
use engine::event::again as errand_again;
use engine::event::errand::is_errand;
use engine::lookback::PageOf;
use engine::plan::layout;
use engine::port::{Clock, Objects};
use engine::run::redeliver::{Refused, again};
use serde_json::json;
use std::collections::BTreeMap;

/// So many are asked for at once.
const PAGE: usize = 500;

/// Sends deliveries again: one by its id, or those that the filters let through and that did not succeed.
pub async fn redeliver(global: &Global, args: &LookArgs, yes: bool) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let filtered = args.rule.is_some()
        || args.event.is_some()
        || args.run.is_some()
        || args.export.is_some()
        || args.destination.is_some()
        || args.class.is_some()
        || args.status.is_some();
    let mut wanted: BTreeMap<String, Vec<(u32, u32)>> = BTreeMap::new();
    let mut count = 0;
    match &args.id {
        Some(id) => {
            let (run, parcel, index) = parse_delivery_id(id).ok_or_else(|| Failure::usage(format!("`{id}` is not a delivery's id")))?;
            wanted.entry(run).or_default().push((parcel, index));
            count = 1;
        }
        None if filtered => {
            let paused = look::paused(&site).await?;
            let look = look::lookback(&site, &paused);
            for filter in look::filter(&site, args)?.to_send_again() {
                let mut after = None;
                loop {
                    let PageOf { items, next } = look.deliveries(&filter, after.as_deref(), PAGE).await?;
                    for (run, parcel, index) in items.iter().filter_map(|delivery| parse_delivery_id(&delivery.id)) {
                        wanted.entry(run).or_default().push((parcel, index));
                        count += 1;
                    }
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        None => return Err(Failure::usage("say which deliveries: an id, or filters like --run or --status exhausted")),
    }
    if !yes || count == 0 {
        match global.json {
            true => say!("{}", json!({"deliveries": count, "sent": false})),
            false if count == 0 => say!("no deliveries to send again"),
            false => say!("{} would be sent again; --yes sends", quantity(count, "delivery")),
        }
        return Ok(0);
    }
    site::allowed_ranges(global)?;
    let _lock = site.lock()?;
    let paused = look::paused(&site).await?;
    let look = look::lookback(&site, &paused);
    let mut runs = Vec::new();
    let (errands, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(id, _)| is_errand(id));
    for (id, _) in &errands {
        put_errand_back(&site, id).await?;
    }
    for (id, places) in wanted {
        let run = look.run(&id).await?.ok_or_else(|| Failure::usage(format!("there is no run `{id}`")))?;
        let path = site.objects.local(&run.object).await?;
        let mut file = std::fs::File::open(path).map_err(|e| Failure::new(format!("the plan of {id} cannot be opened: {e}")))?;
        let directory = layout::read_directory(&mut file).map_err(Failure::new)?;
        let known = |place: &&(u32, u32)| directory.parcels.get(place.0 as usize).is_some_and(|parcel| place.1 < parcel.deliveries);
        let places: Vec<(u32, u32)> = places.iter().filter(known).copied().collect();
        if places.is_empty() {
            return Err(Failure::usage(format!("run {id} has no such delivery")));
        }
        let lane = site.lane(&run.destination);
        match again(&site.store, &lane, &run, &directory, &places, site.clock.now().wall).await? {
            Ok(()) => runs.push(run),
            Err(Refused::LaterRun(later)) => {
                return Err(Failure::new(format!(
                    "{id} cannot be sent again since {later} was planned after it: run the export, which finds what is still owed"
                )));
            }
            Err(Refused::Unfinished) => {
                return Err(Failure::new(format!("{id} has not ended: run the export, which finishes it")));
            }
            Err(Refused::Unsent) => {
                return Err(Failure::new(format!("nothing of {id} was ever sent: run the export, which finds what is owed")));
            }
            Err(Refused::Gone) => {
                return Err(Failure::new(format!(
                    "the deliveries of {id} are no longer kept: run the export, which finds what is still owed"
                )));
            }
        }
    }
    let progress = Progress::new(!global.quiet && !global.json);
    let interrupt = Interrupt::listen().map_err(Failure::new)?;
    let mut status = 0;
    if !errands.is_empty() {
        let delivered = event::deliver(global, &site, &progress, &interrupt, errands.len() as u64).await?;
        status = delivered.status();
        match global.json {
            true => say!("{}", json!({"deliveries": delivered.to_json()})),
            false => say!("{}", delivered.sentence()),
        }
    }
    if runs.is_empty() {
        return Ok(status);
    }
    let runner = Runner { global, site: &site, progress: &progress, interrupt: &interrupt };
    let ended = runner.deliver(runs).await?;
    progress.done();
    for run in &ended.runs {
        summary::print(global, &site, run, None, look::first_error(&site, run).await?.as_deref());
        status = status.max(exit_status(run));
    }
    Ok(status)
}

async fn put_errand_back(site: &Site, id: &str) -> Result<(), Failure> {
    let delivery = delivery_id(id, 0, 0);
    match errand_again::again(&site.store, site.organization(), id, site.clock.now().wall).await? {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::usage(format!("there is no delivery `{delivery}`"))),
        Err(errand_again::Refused::Newer(event)) => Err(Failure::new(format!(
            "{delivery} cannot be sent again since event `{event}` of the same key came after it and was delivered"
        ))),
        Err(errand_again::Refused::Unfinished) => Err(Failure::new(format!("{delivery} has not ended: `penstock event` goes on with it"))),
    }
}
