//! `penstock plan`: counts, the estimate and the first requests; sends nothing.

use crate::args::Global;
use crate::failure::{Failure, HELD};
use crate::plan_file::{self, Header};
use crate::progress::Progress;
use crate::site::Site;
use crate::summary::{count, duration, quantity};
use engine::deliver::attach::Attachments;
use engine::plan::estimate::{self, Load, OnStack};
use engine::port::Clock;
use engine::run::document::{Run, Status, Wish};
use engine::run::state;
use planning::{self, Planned};
use process::chance;
use serde_json::{Value, json};
use std::path::Path;

/// So many requests of each action are shown.
const SHOWN: usize = 2;

/// Plans an export and shows the plan; with `out`, writes it whole.
pub async fn plan(global: &Global, name: &str, out: Option<&Path>, full: bool) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let export = site.export(name)?;
    let destination = site.destination_of(export);
    // The hashes of a plan must be those of the run that executes it.
    let seeded = state::change(&site.store, site.organization(), &export.id, site.clock.seconds(), |state| {
        state.hash_seed.get_or_insert_with(chance::random);
        Ok::<(), ()>(())
    });
    let state = seeded.await?.unwrap_or_default();
    let unfinished = state.current.clone();
    let wall = site.clock.now().wall;
    let wish = Wish { full, ..Wish::default() };
    let asked = Run::asked(&chance::fresh_name("run", wall), site.organization(), &export.id, &destination.id, wish, wall);
    let progress = Progress::new(!global.quiet && !global.json);
    let scratch = site.scratch()?;
    let planned = planning::plan(site.ground(&scratch), export, &state, asked, &progress.reading(export.model.as_str())).await?;
    progress.done();
    let attachments = Attachments::of(destination);
    let result = show(global, &site, &planned, &attachments, unfinished.as_deref(), destination, out, full);
    let _ = std::fs::remove_file(&planned.file);
    result?;
    Ok(if planned.run.status == Status::Held { HELD } else { 0 })
}

#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
fn show(
    global: &Global,
    site: &Site,
    planned: &Planned,
    attachments: &Attachments,
    unfinished: Option<&str>,
    destination: &engine::model::destination::Destination,
    out: Option<&Path>,
    full: bool,
) -> Result<(), Failure> {
    let header = Header::of(planned, full);
    if let Some(path) = out {
        plan_file::write(path, &header, planned, attachments)?;
    }
    let totals = planned.totals();
    let seconds = estimate::seconds(totals.deliveries, &destination.rate_limits);
    let stack = on_stack(planned, destination);
    let mut shown: Vec<Value> = Vec::new();
    let mut of_action = [0usize; 3];
    let actions = of_action.len().min([totals.added, totals.changed, totals.removed].iter().filter(|rows| **rows > 0).count());
    plan_file::each_request(planned, attachments, |action, line| {
        of_action[action as usize] += 1;
        if of_action[action as usize] <= SHOWN {
            shown.push(line);
        }
        Ok(of_action.iter().filter(|count| **count >= SHOWN).count() < actions.max(1))
    })?;
    let run = &planned.run;
    if global.json {
        let result = json!({
            "plan": header.plan, "export": run.export, "held": run.reason,
            "changes": {"added": totals.added, "changed": totals.changed, "removed": totals.removed},
            "rows": planned.rows, "invalid": run.invalid_rows, "invalid_rows": run.invalid, "settled": totals.settled, "left": totals.left,
            "unread": planned.unread, "removals_wait": planned.removals_wait, "unfinished_run": unfinished,
            "estimate": {
                "requests": totals.deliveries, "seconds": seconds,
                "stack": {
                    "usd": stack.usd, "deliver_seconds": stack.deliver_seconds, "gb_seconds": stack.gb_seconds, "function_calls": stack.calls,
                    "write_units": stack.writes, "read_units": stack.reads, "s3_puts": stack.puts, "s3_gets": stack.gets,
                    "sqs_requests": stack.messages,
                },
            },
            "requests": shown,
        });
        say!("{result}");
        return Ok(());
    }
    say!("{} → {}", run.export, site.loaded.project.destinations[&run.destination].name);
    say!("  changes     {} added · {} changed · {} removed", count(totals.added), count(totals.changed), count(totals.removed));
    if planned.unread {
        say!("  rows        as they were when the last run delivered them all; not read");
    } else {
        say!("  rows        {} read, {} invalid", count(planned.rows), count(run.invalid_rows));
    }
    if totals.settled > 0 {
        say!("  settled     {} taken as they are, not sent", quantity(totals.settled, "row"));
    }
    if totals.left > 0 {
        say!("  left        {} that the limits leave no time for within a day; the next run finds them", quantity(totals.left, "row"));
    }
    say!("  estimate    {}, {} at the limits", quantity(totals.deliveries, "request"), duration(seconds));
    if totals.deliveries > 0 {
        say!(
            "  on a stack  about {} (deliver {}, {})",
            dollars(stack.usd),
            duration(stack.deliver_seconds),
            quantity(stack.writes.round() as u64, "write unit")
        );
    }
    if let Some(unfinished) = unfinished {
        say!("  unfinished  {unfinished} goes first when the export runs");
    }
    for row in run.invalid.iter().take(10) {
        say!("  invalid     {}: {}", row.place, row.reason);
    }
    for line in &shown {
        say!("");
        print_request(line);
    }
    if let Some(why) = &run.reason {
        say!("\nheld: {why}");
    }
    if let Some(path) = out {
        say!("\nwritten to {}: `penstock run {} --plan {}` executes it", path.display(), run.export, path.display());
    }
    Ok(())
}

/// What the plan would cost on AWS.
fn on_stack(planned: &Planned, destination: &engine::model::destination::Destination) -> OnStack {
    let totals = planned.totals();
    estimate::on_stack(&Load {
        deliveries: totals.deliveries,
        parcels: planned.directory.parcels.len() as u64,
        rows: totals.rows(),
        bytes: planned.directory.parcels.iter().map(|place| place.length).sum(),
        limits: &destination.rate_limits,
        concurrency: destination.concurrency,
    })
}

/// Two digits that say something: most plans cost a fraction of a cent.
fn dollars(usd: f64) -> String {
    let decimals = if usd >= 1.0 { 2 } else { (1.0 - usd.max(1e-7).log10().floor()) as usize };
    format!("${usd:.decimals$}")
}

/// A request of a plan, as a person reads it.
fn print_request(line: &Value) {
    let request = &line["request"];
    let action = line["action"].as_str().unwrap_or_default();
    match request.as_object() {
        Some(_) => {
            say!("  {action}  {} {}", request["method"].as_str().unwrap_or_default(), request["url"].as_str().unwrap_or_default());
            for header in request["headers"].as_array().into_iter().flatten() {
                say!("    {}: {}", header[0].as_str().unwrap_or_default(), header[1].as_str().unwrap_or_default());
            }
            if let Some(body) = request["body"].as_str() {
                say!("    {}", shorten(body, 600));
            }
        }
        None => say!("  {action}  nothing of it can be sent"),
    }
    for invalid in line["invalid"].as_array().into_iter().flatten() {
        say!("    invalid: row {}: {}", invalid["key"], invalid["reason"].as_str().unwrap_or_default());
    }
}

/// At most so many characters of a text.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::dollars;

    #[test]
    fn a_price_has_two_digits_that_say_something() {
        for (usd, text) in
            [(0.000_044, "$0.000044"), (0.000_3, "$0.00030"), (0.0291, "$0.029"), (0.5, "$0.50"), (12.344, "$12.34"), (0.0, "$0.00000000")]
        {
            assert_eq!(dollars(usd), text);
        }
    }
}
