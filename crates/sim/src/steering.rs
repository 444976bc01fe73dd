//! Who decides on the regime: the scenario's own controller, or whoever is asked instead.

use std::fmt;

use numashock_controller::{Actions, Limits, Observation, Policy, Regime};

use crate::scenario::config::HostId;

/// What a controller is asked at the end of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose regime it is.
    pub host: HostId,
    /// Number of the bucket of one second that is over, from 0.
    pub bucket: u32,
    /// The step function that the scenario names.
    pub policy: Policy,
    /// The host's limits.
    pub limits: &'a Limits,
    /// The regime during the bucket.
    pub regime: Regime,
    /// What was seen of the bucket.
    pub seen: &'a Observation,
}

/// Decides, host by host and bucket by bucket.
pub trait Steering {
    /// The regime and the actions that follow.
    ///
    /// # Errors
    /// If no decision can be had. The run ends there, and gives no result.
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError>;

    /// The run is over, and nothing more will be asked.
    ///
    /// # Errors
    /// If whoever decided does not end well. The run gives no result then either.
    fn end(&mut self) -> Result<(), SteeringError> {
        Ok(())
    }
}

/// Why a controller gave no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringError {
    /// The host that it was asked for.
    pub host: HostId,
    /// The bucket that it was asked about.
    pub bucket: u32,
    /// What went wrong, what was expected and what to do.
    pub problem: String,
}

impl fmt::Display for SteeringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "controller of host {}, bucket {}: {}", self.host.0, self.bucket, self.problem)
    }
}

impl std::error::Error for SteeringError {}

/// The scenario's own controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own;

impl Steering for Own {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        Ok((asked.policy)(asked.limits, asked.regime, asked.seen))
    }
}
