//! The four-state regime controller: a pure step from limits, regime and observation to the next regime and its actions.
//!
//! ```text
//!   Limits ─────┐
//!   Regime ─────┼──► step() ──► (Regime, Actions)        no clock, no input or output, no memory but the Regime
//!   Observation ┘
//!
//!   NUMA_STABLE ◄──► NUMA_WATCH ◄──► NUMA_SHOCK ◄──► SAFE_NUMA_CONSERVATIVE
//!   up: at once, any number of levels          down: one level, after the dwell (playbook: 6)
//! ```
//!
//! Invariant: nothing here knows the machine, the market or the execution that is being controlled.
#![cfg_attr(not(test), no_std)]
#![deny(clippy::float_arithmetic)]

mod actions;
mod amount;
mod evidence;
mod limits;
mod observation;
mod regime;
mod step;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use actions::{Actions, CancelReplace, CatchUp, ScannerRequest};
pub use amount::{Amount, Unit};
pub use evidence::{Bound, Evidence, Standing, Subject, evidence, reasons};
pub use limits::{ActionLimits, Band, Limits, LimitsError, Thresholds};
pub use observation::{Observation, Telemetry};
pub use regime::{Level, Regime};
pub use step::{
    Cause, Decision, Policy, decide, do_nothing, static_pinning, step, threshold_without_hysteresis,
};
