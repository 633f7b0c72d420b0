//! The tables of docs/cost.md, from what was measured. It must not measure.

use super::workload::Measured;
use backend_aws::meter::{Charge, PRICES, Units, price};
use std::fmt::Write;

/// What a million requests cost by way of EventBridge (an event and a call of an API destination each), USD.
pub const EVENTBRIDGE_USD: f64 = 1.20;
/// What a million single requests cost in the design that comes first to mind: a message, a call and three writes of 1 KB for each, 128 MB
/// that wait for each answer. USD.
pub const NAIVE_SINGLE_USD: f64 = 3.61;
/// The same for a million rows in batches of a hundred, where each of the three writes holds the 12 kB body. USD.
pub const NAIVE_BATCHED_USD: f64 = 0.264;

/// So often as much.
pub fn scaled(charge: &Charge, by: u64) -> Charge {
    let units = charge.units;
    let units = Units {
        sqs_requests: units.sqs_requests * by,
        dynamodb_writes: units.dynamodb_writes * by,
        dynamodb_half_reads: units.dynamodb_half_reads * by,
        s3_puts: units.s3_puts * by,
        s3_gets: units.s3_gets * by,
        kms_requests: units.kms_requests * by,
        function_calls: units.function_calls * by,
        function_mb_milliseconds: units.function_mb_milliseconds * by,
        api_requests: units.api_requests * by,
    };
    Charge { calls: charge.calls.iter().map(|(call, count)| (call.clone(), count * by)).collect(), units }
}

/// What is billed and what was called, line by line.
pub fn table(charge: &Charge) -> String {
    let mut out = String::from("| billed | units | USD |\n|---|---:|---:|\n");
    for price in PRICES {
        let count = (price.count)(&charge.units);
        if count > 0.0 {
            writeln!(out, "| {} | {} | {:.6} |", price.of, number(count), count * price.usd).expect("memory does not fail");
        }
    }
    writeln!(out, "| **all** | | **{:.6}** |\n", price(&charge.units)).expect("memory does not fail");
    out.push_str("| call | how often |\n|---|---:|\n");
    for ((service, operation), count) in &charge.calls {
        writeln!(out, "| {service} {operation} | {} |", number(*count as f64)).expect("memory does not fail");
    }
    out
}

/// A scenario, as a line of the table of scenarios.
pub fn line(name: &str, charge: &Charge, requests: u64) -> String {
    let Units { sqs_requests, dynamodb_writes, dynamodb_half_reads, s3_puts, function_calls, function_mb_milliseconds, .. } = charge.units;
    let seconds = function_mb_milliseconds as f64 / 1024.0 / 1000.0;
    let usd = price(&charge.units);
    let million = if requests > 0 { format!("{:.2}", usd * 1e6 / requests as f64) } else { String::new() };
    let counts = [requests, dynamodb_writes, dynamodb_half_reads.div_ceil(2), s3_puts, sqs_requests, function_calls];
    let counts: Vec<String> = counts.iter().map(|count| number(*count as f64)).collect();
    format!("| {name} | {} | {} | {usd:.5} | {million} |\n", counts.join(" | "), number(seconds.ceil()))
}

/// The head of the table of scenarios.
pub const HEAD: &str =
    "| scenario | requests | DynamoDB writes | reads | S3 PUT | SQS | calls of functions | GB-s | USD | USD a million requests |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

/// A minute's look around at nothing, for a month of 30 days, and what Lambda's pollers ask of two queues meanwhile.
pub fn idle_month(minute: &Measured) -> (Charge, Charge) {
    // Five at once for each queue, 20 s long each: what AWS begins with, and holds on to where nothing comes.
    let polls = 2 * 5 * 3 * 60 * 24 * 30;
    let units = Units { sqs_requests: polls, ..Units::default() };
    let calls = [(("SQS".to_string(), "ReceiveMessage".to_string()), polls)].into();
    (scaled(&minute.charge, 60 * 24 * 30), Charge { calls, units })
}

fn number(count: f64) -> String {
    if count.fract() > 0.0 && count < 100.0 {
        return format!("{count:.1}");
    }
    let digits = format!("{count:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
