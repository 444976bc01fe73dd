//! Golden files: what a run did, as a text that can be reviewed, compared and made again.
//!
//! ```text
//!   head        scenario (as seen from the golden file), choice, replication, model version, interval
//!   events      the event hash each so many semantic events
//!   host N      its controller with every limit; then a line a bucket: what was seen, and after an arrow the level and the
//!               actions that followed, where either changed
//! ```
//!
//! An observation that differs is thus told from a decision that differs. [`Marks`] is the companion that tells the event.

mod events;
mod flat;
mod marks;
mod text;

use std::collections::BTreeMap;

use numashock_accounting::Mechanisms;
use numashock_controller::{Actions, Level, Limits, Observation};
use numashock_engine::Checkpoint;

pub use events::Events;
pub use flat::flat;
pub use marks::{MARK_CHANCE, Marks};
pub use text::{GoldenError, differences};

use crate::scenario::config::{HostId, RunConfig};
use crate::steering::{Steering, SteeringError};
use crate::{MODEL_VERSION, RunResult, Simulation};

/// Events between two lines of a golden file, unless there would be too many lines.
pub const INTERVAL: u64 = 1_000;
/// A longer file gets a wider interval, of the next power of ten.
const LINES_MAX: usize = 250;

/// What a golden file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// Which run it is.
    pub head: Head,
    /// The event hash at intervals.
    pub checkpoints: Vec<Checkpoint>,
    /// The event hash at the end.
    pub end: Checkpoint,
    /// The hosts, in order of number.
    pub hosts: Vec<GoldenHost>,
}

/// Which run a golden file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of the model that made it.
    pub model: u32,
    /// The scenario's file, as seen from the folder of the golden file, with forward slashes.
    pub scenario: String,
    /// The tuning choice.
    pub choice: String,
    /// The replication.
    pub replication: u32,
    /// Whether another controller than the scenario's decided.
    pub other_controller: bool,
    /// Events between two checkpoints.
    pub interval: u64,
}

/// What a golden file says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenHost {
    /// Its name; empty if the scenario is the one host.
    pub name: String,
    /// Who decided: a built-in controller, or the name of another.
    pub controller: String,
    /// Its limits by name, such as `watch.rhf_ppm.enter`; none of one with rules of its own.
    pub limits: BTreeMap<String, String>,
    /// What was seen of each second, and what was decided.
    pub buckets: Vec<GoldenBucket>,
}

/// A bucket of one second of a golden file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoldenBucket {
    /// What the controller saw.
    pub seen: Observation,
    /// The level from the end of the bucket on.
    pub level: Level,
    /// The actions from then on.
    pub actions: Actions,
}

impl GoldenBucket {
    /// What was decided. The regime's counters are the controller's own affair.
    #[must_use]
    pub fn decision(&self) -> (Level, Actions) {
        (self.level, self.actions)
    }
}

impl GoldenHost {
    /// The limits as the controller takes them, if this version of it has the same ones.
    #[must_use]
    pub fn limits(&self) -> Option<Limits> {
        flat::nested(&self.limits).ok()
    }
}

impl Golden {
    /// Runs the real world of a replication and keeps what a golden file says of it.
    ///
    /// `each` sees the hash after every event. `interval` 0 takes one that suits the length.
    ///
    /// # Errors
    /// If a decision cannot be had.
    pub fn run(
        config: &RunConfig,
        head: &Head,
        steering: &mut dyn Steering,
        each: &mut dyn FnMut(Checkpoint),
    ) -> Result<Golden, SteeringError> {
        let interval = if head.interval == 0 { INTERVAL } else { head.interval };
        let mut events = Events::new(config, head.replication, steering);
        let mut checkpoints = Vec::new();
        while let Some((_, state)) = events.next()? {
            each(state);
            if state.events % interval == 0 {
                checkpoints.push(state);
            }
        }
        let result = events.finish();
        let mut golden = Golden {
            head: Head { model: MODEL_VERSION, interval, ..head.clone() },
            checkpoints,
            end: result.hash,
            hosts: hosts(config, &result),
        };
        while head.interval == 0 && golden.checkpoints.len() > LINES_MAX {
            let wider = golden.head.interval * 10;
            golden.checkpoints.retain(|point| point.events % wider == 0);
            golden.head.interval = wider;
        }
        Ok(golden)
    }

    /// Events up to the last checkpoint that both have, and the first that differs; `None` if the whole run agrees.
    ///
    /// # Panics
    /// If the intervals differ.
    #[must_use]
    pub fn first_differing_interval(&self, now: &Golden) -> Option<Interval> {
        assert!(self.head.interval == now.head.interval, "checkpoints of one interval are compared");
        let ends = |golden: &Golden| {
            let mut points = golden.checkpoints.clone();
            points.push(golden.end);
            points
        };
        let (kept, now) = (ends(self), ends(now));
        let agreed = kept.iter().zip(&now).take_while(|(kept, now)| kept == now).count();
        if agreed == kept.len() && agreed == now.len() {
            return None;
        }
        let from = if agreed == 0 { None } else { kept.get(agreed - 1).copied() };
        Some(Interval { from, kept: kept.get(agreed).copied(), now: now.get(agreed).copied() })
    }
}

/// Where two runs part, as coarse as their checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The last checkpoint that agrees; `None` is the start.
    pub from: Option<Checkpoint>,
    /// The next one of the golden file.
    pub kept: Option<Checkpoint>,
    /// The next one of the run.
    pub now: Option<Checkpoint>,
}

/// The real world of a replication, at its beginning.
pub(crate) fn real(config: &RunConfig, replication: u32, interval: u64) -> Simulation<'_> {
    let input = config.replication(replication).input(Mechanisms::REAL, true, None, interval);
    Simulation::new(config, input)
}

fn hosts(config: &RunConfig, result: &RunResult) -> Vec<GoldenHost> {
    let name = |controller| match serde_json::to_value(controller) {
        Ok(serde_json::Value::String(name)) => name,
        _ => unreachable!("a controller's name is a word"),
    };
    let mut hosts = Vec::new();
    for ((own, measured), steered) in config.hosts.iter().zip(&result.hosts).zip(&result.steered) {
        let bucket = |(seen, state): (&Observation, &(numashock_controller::Regime, Actions))| GoldenBucket {
            seen: *seen,
            level: state.0.level(),
            actions: state.1,
        };
        hosts.push(GoldenHost {
            name: own.name.clone(),
            controller: name(own.controller),
            limits: flat(&own.limits),
            buckets: measured.observations.iter().zip(steered).map(bucket).collect(),
        });
    }
    hosts
}

/// The name of a host in words.
#[must_use]
pub fn host_name(number: HostId, name: &str) -> String {
    if name.is_empty() { format!("host {}", number.0) } else { format!("host {} ({name})", number.0) }
}
