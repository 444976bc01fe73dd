//! The semantic events of a run, one by one.

use numashock_engine::{Checkpoint, EventHash, Keep, Recorded};

use super::real;
use crate::scenario::config::RunConfig;
use crate::steering::{Steering, SteeringError};
use crate::{RunResult, Simulation};

/// A run that hands over its semantic events, each with the hash after it. It holds only those of one step.
#[derive(Debug)]
pub struct Events<'a, 's> {
    simulation: Simulation<'a>,
    steering: Steered<'s>,
    kept: Vec<Recorded>,
    next: usize,
    over: bool,
    hash: EventHash,
}

struct Steered<'s>(&'s mut dyn Steering);

impl std::fmt::Debug for Steered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steered")
    }
}

impl<'a, 's> Events<'a, 's> {
    /// The real world of a replication, before its first event.
    #[must_use]
    pub fn new(config: &'a RunConfig, replication: u32, steering: &'s mut dyn Steering) -> Events<'a, 's> {
        let mut simulation = real(config, replication, 0);
        simulation.keep(Keep::Events);
        Events {
            simulation,
            steering: Steered(steering),
            kept: Vec::new(),
            next: 0,
            over: false,
            hash: EventHash::new(0),
        }
    }

    /// The next event and the state of the hash after it; `None` at the end of the run.
    ///
    /// # Errors
    /// If a decision cannot be had.
    #[allow(clippy::should_implement_trait)] // It can fail, and an iterator over results could be polled on.
    pub fn next(&mut self) -> Result<Option<(Recorded, Checkpoint)>, SteeringError> {
        while self.next == self.kept.len() {
            self.kept.clear();
            self.next = 0;
            if !self.over && self.simulation.step_with(self.steering.0)?.is_none() {
                self.over = true;
                self.steering.0.end()?;
            }
            if self.over {
                return Ok(None);
            }
            self.simulation.take_kept(&mut self.kept);
        }
        let event = self.kept[self.next];
        self.next += 1;
        self.hash.set_source(event.source);
        self.hash.record(event.at, event.kind, event.payload);
        Ok(Some((event, self.hash.checkpoint())))
    }

    /// What a run gives whose last event was handed over.
    ///
    /// # Panics
    /// If events are left, or one was not handed over.
    #[must_use]
    pub fn finish(self) -> RunResult {
        let result = self.simulation.finish();
        assert!(result.hash == self.hash.checkpoint(), "every event was handed over");
        result
    }
}
