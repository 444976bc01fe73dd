//! What must hold for the whole program, in one binary.
//!
//! ```text
//!   golden       golden files, the repository's and a user's; UPDATE_GOLDEN=1 rewrites golden/
//!   junit        the schemas of JUnit XML
//!   determinism  same bytes for any number of threads
//!   disturbances what the injector does, scenario by scenario, and that its log replays
//!   paired       worlds and choices that must be equal, exactly
//!   account      exact accounts of parents of random scenarios
//!   checkers     invariants after every event, in scenarios that a seed chooses
//!   cli          what a user can do wrong
//!   controllers  controllers that are brought along, and all that a process can do wrong
//!   schema       the lines between numashock and a controller
//!   replay       runs written as traces, read again and repeated
//!   record       recordings of the host that the tests run on
//!   kernel_lab   the lab's workload and the model of it
//!   import       a desk's counters and telemetry: recorded kernels by hand, a run there and back, a host
//!   hosts        machines without a market against their targets
//!   link         from the machine's stalls to money: mirrored markets, stalls and lateness, what a place is worth
//!   formulas     the exit codes of cases with known answers
//!   segments     desk metrics by bucket and segment against the whole list of events
//!   tidy         what the source may not contain
//!   trace        what a trace of a whole scenario takes
//! ```

#[cfg(test)]
mod account;
#[cfg(test)]
mod checkers;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod controllers;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod disturbances;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod formulas;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod import;
#[cfg(test)]
mod junit;
#[cfg(test)]
mod kernel_lab;
#[cfg(test)]
mod link;
#[cfg(test)]
mod paired;
#[cfg(test)]
mod program;
#[cfg(test)]
mod record;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod trace;

#[cfg(test)]
use std::path::PathBuf;

/// The repository's root.
#[cfg(test)]
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// A file of `tests/scenarios`.
#[cfg(test)]
fn scenario_file(name: &str) -> PathBuf {
    root().join("tests/scenarios").join(name)
}
