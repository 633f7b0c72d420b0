//! Watches the work on a lane: each attempt is counted and logged, a run of which nothing is left goes to the planner to be finished.

use super::house::House;
use super::log::Log;
use super::metrics::LaneMetrics;
use super::planner::Planner;
use super::traces::Traces;
use engine::deliver::{Attempted, Pulse, Watch};
use engine::keys::LaneName;
use engine::lane::pump::Waiting;
use std::sync::Arc;

/// Watches one lane.
pub struct LaneWatch {
    log: Arc<Log>,
    metrics: LaneMetrics,
    traces: Option<Arc<Traces>>,
    planner: Arc<Planner>,
}

impl LaneWatch {
    /// Of a lane.
    pub fn new(house: &House, lane: &LaneName) -> LaneWatch {
        LaneWatch {
            log: Arc::clone(&house.log),
            metrics: house.metrics.lane(lane),
            traces: house.traces.clone(),
            planner: Arc::clone(&house.planner),
        }
    }
}

impl Watch for LaneWatch {
    fn attempted(&self, attempted: &Attempted<'_>) {
        self.metrics.attempted(attempted);
        self.log.attempt(attempted);
        if let Some(traces) = &self.traces {
            traces.attempt(attempted);
        }
    }

    fn waits(&self, _lane: &LaneName, waiting: Option<Waiting>) {
        self.metrics.waits(waiting);
    }

    fn pulse(&self, pulse: Pulse) {
        self.metrics.pulse(pulse);
    }

    fn completed(&self, lane: &LaneName, run: &str) {
        self.planner.finish(lane, run);
    }
}
