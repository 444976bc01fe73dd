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

/// A function that decides in the scenario's place, with the scenario's limits.
///
/// ```
/// use std::path::Path;
///
/// use numashock_accounting::Mechanisms;
/// use numashock_controller::{Actions, Level, Limits, Observation, Regime};
/// use numashock_sim::scenario::Scenario;
/// use numashock_sim::{By, Simulation};
///
/// /// WATCH whenever a page fault went to another node, and nothing else.
/// fn cautious(limits: &Limits, _regime: Regime, seen: &Observation) -> (Regime, Actions) {
///     let level = if seen.rhf_ppm.is_some_and(|remote| remote > 0) { Level::Watch } else { Level::Stable };
///     (Regime::at(level), Actions::of(limits, level))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/controller.toml");
/// let config = Scenario::read(&file, &[])?.choices(1_000_000)?.remove(0).config;
/// let input = config.replication(0).input(Mechanisms::REAL, true, None, 0);
/// let result = Simulation::new(&config, input).run_with(&mut By(cautious))?;
/// let levels: Vec<Level> = result.steered[0].iter().map(|(regime, _)| regime.level()).collect();
/// assert_eq!(levels.len(), 12);
/// assert!(levels.contains(&Level::Watch) && !levels.contains(&Level::Shock));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct By(pub Policy);

impl Steering for By {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        Ok((self.0)(asked.limits, asked.regime, asked.seen))
    }
}
