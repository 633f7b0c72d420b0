//! What is counted, for Prometheus. Labels name organizations, destinations, exports and classes, never rows.

use engine::deliver::{Attempted, Pulse};
use engine::judge::Class;
use engine::keys::LaneName;
use engine::lane::pump::Waiting;
use engine::model::name::Name;
use engine::run::document::Run;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LaneLabels {
    organization: String,
    destination: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabels {
    organization: String,
    destination: String,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RunLabels {
    organization: String,
    export: String,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RowLabels {
    organization: String,
    export: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExportLabels {
    organization: String,
    export: String,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    attempts: Family<ClassLabels, Counter>,
    durations: Family<LaneLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<LaneLabels, Gauge>,
    permits: Family<LaneLabels, Gauge>,
    queue: Family<LaneLabels, Gauge>,
    waiting: Family<LaneLabels, Gauge>,
    rows: Family<RowLabels, Counter>,
    runs: Family<RunLabels, Counter>,
    finished: Family<ExportLabels, Gauge>,
    lag: Family<ExportLabels, Gauge>,
    lost_lines: Gauge,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("penstock");
        let attempts = Family::default();
        registry.register("attempts", "Requests by outcome class", attempts.clone());
        let durations: Family<LaneLabels, Histogram, fn() -> Histogram> = Family::new_with_constructor(seconds);
        registry.register_with_unit("attempt_duration", "From the first byte to the end of the answer", Unit::Seconds, durations.clone());
        let in_flight = Family::default();
        registry.register("requests_in_flight", "Requests on their way", in_flight.clone());
        let permits = Family::default();
        registry.register("permits_free", "Rate-limit tokens that could be taken now, of the limit that has the fewest", permits.clone());
        let queue = Family::default();
        registry.register("queue_depth", "Deliveries that are owed: those of parcels in the backlog, and retries", queue.clone());
        let waiting = Family::default();
        registry.register_with_unit(
            "destination_wait",
            "What a destination is waited for: it is down, or asked for it",
            Unit::Seconds,
            waiting.clone(),
        );
        let rows = Family::default();
        registry.register("rows", "Rows of finished runs by what became of them", rows.clone());
        let runs = Family::default();
        registry.register("runs", "Finished runs by status", runs.clone());
        let finished = Family::default();
        registry.register_with_unit("run_finished_timestamp", "When a run last ended well", Unit::Seconds, finished.clone());
        let lag = Family::default();
        registry.register_with_unit("run_lag", "From the start of the last run to its end", Unit::Seconds, lag.clone());
        let lost_lines = Gauge::default();
        registry.register("log_lines_lost", "Log lines that nobody read fast enough", lost_lines.clone());
        Metrics { registry, attempts, durations, in_flight, permits, queue, waiting, rows, runs, finished, lag, lost_lines }
    }

    /// What one lane counts.
    pub fn lane(&self, lane: &LaneName) -> LaneMetrics {
        let labels = LaneLabels { organization: lane.organization.to_string(), destination: lane.destination.to_string() };
        LaneMetrics {
            attempts: self.attempts.clone(),
            duration: self.durations.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            permits: self.permits.get_or_create_owned(&labels),
            queue: self.queue.get_or_create_owned(&labels),
            waiting: self.waiting.get_or_create_owned(&labels),
            labels,
        }
    }

    /// A run has ended.
    pub fn run(&self, run: &Run, organization: &Name) {
        let (organization, export) = (organization.to_string(), run.export.to_string());
        let status = run.status.as_str();
        self.runs.get_or_create(&RunLabels { organization: organization.clone(), export: export.clone(), status }).inc();
        let counts = [
            ("delivered", run.rows.delivered),
            ("rejected", run.rows.rejected),
            ("invalid", run.rows.invalid),
            ("pending", run.rows.pending),
            ("given_up", run.rows.given_up),
        ];
        for (outcome, count) in counts {
            let labels = RowLabels { organization: organization.clone(), export: export.clone(), outcome };
            self.rows.get_or_create(&labels).inc_by(count);
        }
        let labels = ExportLabels { organization, export };
        if let Some(finished) = run.finished_at {
            self.lag.get_or_create(&labels).set((finished.saturating_sub(run.started_at) / 1_000_000) as i64);
            if run.status == engine::run::document::Status::Succeeded {
                self.finished.get_or_create(&labels).set((finished / 1_000_000) as i64);
            }
        }
    }

    /// All of it, in the OpenMetrics text format.
    pub fn text(&self, lost_lines: u64) -> String {
        self.lost_lines.set(lost_lines as i64);
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// What one lane counts.
pub struct LaneMetrics {
    labels: LaneLabels,
    attempts: Family<ClassLabels, Counter>,
    duration: Histogram,
    in_flight: Gauge,
    permits: Gauge,
    queue: Gauge,
    waiting: Gauge,
}

impl LaneMetrics {
    /// An attempt has ended.
    pub fn attempted(&self, attempted: &Attempted<'_>) {
        let LaneLabels { organization, destination } = self.labels.clone();
        self.attempts.get_or_create(&ClassLabels { organization, destination, class: attempted.class.as_str() }).inc();
        if attempted.class != Class::RenderError {
            self.duration.observe(attempted.duration_ms as f64 / 1000.0);
        }
    }

    /// What the destination is waited for.
    pub fn waits(&self, waiting: Option<Waiting>) {
        let left = match waiting {
            Some(Waiting::Down(left) | Waiting::RetryAfter(left)) => left.div_ceil(1_000_000),
            None => 0,
        };
        self.waiting.set(left as i64);
    }

    /// How the lane stands.
    pub fn pulse(&self, pulse: Pulse) {
        self.in_flight.set(i64::from(pulse.in_flight));
        self.queue.set(pulse.owed as i64);
        if let Some(permits) = pulse.permits {
            self.permits.set(i64::from(permits));
        }
    }
}
