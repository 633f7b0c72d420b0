//! `penstock serve`: the API, schedules and delivery in one process that a team can leave running. It wires; what happens is decided
//! in `engine`.
//!
//! Three kinds of threads: the main one answers HTTP and goes by the clock, one delivers, two plan and finish. They share documents
//! and tell each other to look.

mod clockwork;
mod first;
mod house;
mod lanes;
mod log;
mod metrics;
mod office;
mod planner;
mod traces;
mod watch;

use crate::args::{Global, ServeArgs};
use crate::failure::Failure;
use crate::site;
use backend_embedded::DataDir;
use house::House;
use lanes::Lanes;
pub use log::Level;
use log::Log;
use metrics::Metrics;
use office::ServeOffice;
use planner::Planner;
use process::{Definitions, SystemClock};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch as flag;
use traces::Traces;

/// Serves until it is told to stop.
pub async fn serve(global: &Global, args: &ServeArgs) -> Result<u8, Failure> {
    let ranges = site::allowed_ranges(global)?;
    let file =
        std::path::absolute(&global.project).map_err(|e| Failure::new(format!("{} cannot be found: {e}", global.project.display())))?;
    let folder = file.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let path = global.data_dir.clone().unwrap_or_else(|| folder.join(".penstock"));
    let data = DataDir::open(&path)?;
    let _lock = site::lock(&data)?;
    let (store, objects) = (data.store()?, data.objects()?);
    let secrets = crate::key::secrets(&data)?;
    let (lanes, orders) = Lanes::new();
    let house = Arc::new(House {
        data,
        store,
        objects,
        secrets,
        clock: SystemClock::new(),
        folder,
        allow_private: global.allow_private,
        ranges,
        log: Arc::new(Log::start(args.log)),
        metrics: Arc::new(Metrics::new()),
        traces: Traces::from_environment().map_err(Failure::usage)?.map(Arc::new),
        definitions: Definitions::default(),
        planner: Arc::new(Planner::new()),
        lanes,
    });
    let listener = tokio::net::TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|e| Failure::new(format!("cannot listen on {}: {e}", args.listen)))?;
    let address = listener.local_addr().map_err(|e| Failure::new(format!("cannot listen on {}: {e}", args.listen)))?;
    let begun = first::begin(&house, global).await?;
    begun.show(global, address, house.data.path());

    let (leave, leaving) = flag::channel(false);
    planner::start(&house).map_err(Failure::new)?;
    let delivering = delivery_thread(&house, orders, leaving.clone())?;
    let wake = Arc::new(tokio::sync::Notify::new());
    let (desk, jobs) = api::Desk::new();
    let office = Rc::new(ServeOffice::new(Arc::clone(&house), Arc::clone(&wake)));
    let router = api::router(desk);
    let local = tokio::task::LocalSet::new();
    local.spawn_local(api::clerk(jobs, office));
    local.spawn_local(clockwork::run(Arc::clone(&house), wake));
    let mut hears = leaving.clone();
    let served = local.run_until(async move {
        let stop = async move { drop(hears.wait_for(|leaving| *leaving).await) };
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
        let asked = async {
            let signal = asked_to_stop().await;
            eprintln!("{signal}: taking no more calls, waiting for the requests on their way; once more to leave at once");
            leave.send_replace(true);
            asked_to_stop().await;
            eprintln!("left at once; the next start goes on where this one was");
            std::process::exit(130);
        };
        tokio::select! {
            served = async { serving.await } => served,
            () = asked => Ok(()),
        }
    });
    served.await.map_err(|e| Failure::new(format!("the listener failed: {e}")))?;
    // What is on its way is waited for and recorded.
    delivering.join().map_err(|_| Failure::new("the delivery thread failed; what was recorded counts"))?;
    if let Some(traces) = &house.traces {
        traces.end();
    }
    Ok(0)
}

fn delivery_thread(
    house: &Arc<House>,
    orders: lanes::Orders,
    leaving: flag::Receiver<bool>,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(format!("the delivery thread cannot start: {e}")))?;
    let house = Arc::clone(house);
    let spawned = std::thread::Builder::new().name("delivery".to_string()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, lanes::work(house, orders, leaving));
    });
    spawned.map_err(|e| Failure::new(format!("the delivery thread cannot start: {e}")))
}

/// The name of the signal that asked for the end.
#[cfg(unix)]
async fn asked_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "asked to terminate",
        },
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() -> &'static str {
    match tokio::signal::ctrl_c().await {
        Ok(()) => "interrupted",
        Err(_) => std::future::pending().await,
    }
}
