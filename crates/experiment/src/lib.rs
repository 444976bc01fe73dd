//! Many runs: tuning choices, paired seeds, worlds, statistics and validation.
//!
//! ```text
//!   scenario ──► choices × seeds × {N, ∅, off} ──► parent and bucket rows ──► quantiles, intervals, paired differences
//! ```
//!
//! Invariant: a row never depends on which thread finished first.

pub mod account;
pub mod attribution;
pub mod decisions;
pub mod explain;
pub mod formulas;
pub mod golden;
pub mod host;
pub mod import;
pub mod kernel;
pub mod link;
pub mod replay;
pub mod results;
mod segments;
pub mod stats;
pub mod swarm;
pub mod sweep;
pub mod tape;
pub mod worlds;
