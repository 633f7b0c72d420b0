//! What a stack's work costs, metered: see `tests::charge`.

use tests::charge::{Measured, Workload, measure};

fn show(name: &str, measured: &Measured, scale: f64) {
    eprintln!("{name}: {} requests, {:.1} s, ${:.5}, scaled ${:.5}", measured.requests, measured.seconds, measured.usd(), measured.usd() * scale);
    for ((service, operation), count) in &measured.charge.calls {
        eprintln!("  {service:10} {operation:20} {count}");
    }
    for price in backend_aws::meter::PRICES {
        let count = (price.count)(&measured.charge.units);
        eprintln!("  {:50} {count:14.1} ${:.6}", price.of, count * price.usd * scale);
    }
}

#[test]
fn a_million_single_requests_cost_at_most_four_cents() {
    let measured = measure(&Workload::single(100_000));
    show("single", &measured, 10.0);
}

#[test]
fn a_million_rows_in_batches_of_a_hundred_cost_at_most_a_quarter_of_a_cent() {
    let measured = measure(&Workload::batched(1_000_000));
    show("batched", &measured, 1.0);
}
