//! Measures the transport alone: `loop URL [REQUESTS] [IN_FLIGHT] [BODY_BYTES]`, POSTs on one thread.
//!
//! Prints requests a second and the processor time that this process spent for each. Pin it to one core and its receiver to
//! another (`taskset`) to compare figures.

use std::time::{Duration, Instant};

use engine::port::{Exchange, Method, Outgoing, Transport};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use transport::{AddressPolicy, HttpTransport, TransportOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url: url::Url = arguments.next().ok_or("usage: loop URL [REQUESTS] [IN_FLIGHT] [BODY_BYTES]")?.parse()?;
    let mut number = |otherwise: usize| arguments.next().map_or(Ok(otherwise), |text| text.parse());
    let (requests, in_flight, bytes) = (number(500_000)?, number(64)?, number(500)?);
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    let ca_pem = std::env::var_os("LOOP_CA_PEM").map(std::fs::read).transpose()?;
    let tls = transport::TlsIdentity { ca_pem, ..Default::default() };
    let transport = HttpTransport::new(TransportOptions { policy, tls, ..TransportOptions::default() })?;
    let outgoing = || Outgoing {
        method: Method::Post,
        url: url.clone(),
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("authorization".into(), "Bearer 0123456789abcdef0123456789abcdef".into()),
            ("idempotency-key".into(), "dlv_01HZX0000000000000000000".into()),
        ],
        body: Some(vec![b'a'; bytes]),
        timeout: 30_000_000,
        keep_limit: 64 * 1024,
        read_limit: 1024 * 1024,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (start, busy) = (Instant::now(), processor_time());
    let failed = runtime.block_on(async {
        let mut running = FuturesUnordered::new();
        let (mut sent, mut failed) = (0, 0);
        loop {
            while sent < requests && running.len() < in_flight {
                running.push(transport.send(outgoing()));
                sent += 1;
            }
            match running.next().await {
                None => return failed,
                Some(Exchange::Response(response)) if response.status < 300 => {}
                Some(other) => {
                    if failed == 0 {
                        eprintln!("{other:?}");
                    }
                    failed += 1;
                }
            }
        }
    });
    let (wall, busy) = (start.elapsed(), processor_time().zip(busy).map(|(after, before)| after - before));
    let each = busy.map(|busy| format!("{:.2} us of processor time each", busy.as_secs_f64() * 1e6 / requests as f64));
    println!("{:.0} requests/s, {}, {failed} failed", requests as f64 / wall.as_secs_f64(), each.unwrap_or_default());
    Ok(())
}

/// User and system time of this process, where `/proc` tells it.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}
