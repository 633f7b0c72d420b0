//! What a run came to, for people and for programs.

use crate::args::Global;
use crate::site::Site;
use engine::run::document::{Run, Status};
use engine::time::rfc3339;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// So many invalid rows are printed; `penstock runs ID` lists more.
const SHOWN_INVALID: usize = 10;

/// The object that `run --json` ends with (contract.md).
pub fn to_json(run: &Run, resumed: Option<&str>, why: Option<&str>) -> Value {
    let finished = run.finished_at.unwrap_or(run.started_at);
    let mut object = json!({
        "run": run.id, "export": run.export, "status": run.status, "resumed": resumed,
        "changes": {"added": run.totals.added, "changed": run.totals.changed, "removed": run.totals.removed},
        "rows": {"delivered": run.rows.delivered, "rejected": run.rows.rejected, "invalid": run.rows.invalid, "pending": run.rows.pending, "given_up": run.rows.given_up},
        "deliveries": {"succeeded": run.deliveries.succeeded, "failed": run.deliveries.failed}, "attempts": run.attempts,
        "duration_ms": finished.saturating_sub(run.started_at) / 1000,
        "started_at": rfc3339(run.started_at), "finished_at": rfc3339(finished),
    });
    if !run.invalid.is_empty() {
        object["invalid_rows"] = json!(run.invalid);
    }
    if run.totals.settled > 0 {
        object["settled"] = json!(run.totals.settled);
    }
    if let Some(reason) = &run.reason {
        object["reason"] = json!(reason);
    }
    if let Some(why) = why {
        object["first_error"] = json!(why);
    }
    object
}

/// Prints what a run came to, and `why` the first of its failed deliveries failed.
pub fn print(global: &Global, site: &Site, run: &Run, resumed: Option<&str>, why: Option<&str>) {
    if global.json {
        say!("{}", to_json(run, resumed, why));
        return;
    }
    let label = site.loaded.project.destinations.get(&run.destination).map_or(run.destination.as_str(), |d| d.name.as_str());
    say!("{} → {label}  {}", run.export, dim(&run.id));
    if let Some(resumed) = resumed {
        say!("  resumed     {resumed} was finished first");
    }
    let totals = &run.totals;
    say!("  changes     {} added · {} changed · {} removed", count(totals.added), count(totals.changed), count(totals.removed));
    let rows = &run.rows;
    if totals.rows() > 0 && run.status != Status::Held {
        say!(
            "  delivered   {} in {}, {}",
            quantity(rows.delivered, "row"),
            quantity(run.deliveries.succeeded, "request"),
            quantity(run.attempts, "attempt")
        );
    }
    for (label, number, note) in [
        ("rejected", rows.rejected, "refused by the destination"),
        ("pending", rows.pending, "not delivered; the next run finds them again"),
        ("given up", rows.given_up, "not sent again until they change"),
        ("invalid", rows.invalid, "not sent"),
        ("settled", totals.settled, "taken as they are, not sent"),
    ] {
        if number > 0 {
            say!("  {label:<12}{}, {note}", quantity(number, "row"));
        }
    }
    for row in run.invalid.iter().take(SHOWN_INVALID) {
        say!("                {}: {}", row.place, row.reason);
    }
    let listed = run.invalid.len().min(SHOWN_INVALID) as u64;
    if rows.invalid > listed && listed > 0 {
        say!("                and {} more; `penstock runs {}` lists them", count(rows.invalid - listed), run.id);
    }
    let seconds = run.finished_at.unwrap_or(run.started_at).saturating_sub(run.started_at) as f64 / 1e6;
    let word = run.status.as_str().replace('_', " ");
    match (&run.reason, run.status) {
        (Some(reason), Status::Held | Status::Failed | Status::Canceled) => say!("  {}: {reason}", bold(&word)),
        _ => say!("  {} in {}", bold(&word), duration(seconds)),
    }
    if rows.rejected + rows.pending + rows.given_up > 0 {
        if let Some(why) = why {
            say!("  first error {why}");
        }
        say!("  see         penstock deliveries --run {}", run.id);
    }
}

/// 1234567 as 1,234,567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of things: `1 row`, `2,400 rows`.
pub fn quantity(number: u64, thing: &str) -> String {
    let plural = match thing.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{thing}s"),
    };
    format!("{} {}", count(number), if number == 1 { thing } else { &plural })
}

/// Seconds as a person says them.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.0005 => "no time".to_string(),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Bold on a terminal that shows colours.
pub fn bold(text: &str) -> String {
    styled(text, "1")
}

/// Dim on a terminal that shows colours.
pub fn dim(text: &str) -> String {
    styled(text, "2")
}

fn styled(text: &str, code: &str) -> String {
    if std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stdout().is_terminal() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([quantity(1, "row"), quantity(2, "delivery"), quantity(0, "attempt")], ["1 row", "2 deliveries", "0 attempts"]);
        assert_eq!(
            [0.0, 0.25, 3.21, 75.0, 3700.0, 200_000.0].map(duration),
            ["no time", "250 ms", "3.2 s", "1 min 15 s", "1 h 1 min", "2 d 7 h"]
        );
    }
}
