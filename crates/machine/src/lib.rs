//! The machine: Linux automatic NUMA balancing as an integer state machine.
//!
//! ```text
//!   tick ─► trigger ─► pass marks pages ─► a touch of a marked page faults ─► migrate? ─► account ─► new period
//!   the machine never owns the queue: wake-ups leave as Effects::schedule and come back through Machine::handle
//! ```
//!
//! Invariant: a charge switch changes nanoseconds of the machine's own threads, never a rule; with no touches nothing
//! faults, with balancing off from the start nothing happens.
#![deny(clippy::float_arithmetic)]

mod bandwidth;
mod build;
mod config;
mod cost;
mod effects;
mod fault;
mod follow;
mod ids;
mod machine;
mod mmap;
mod model;
pub mod notes;
mod pages;
mod rules;
mod scan;
mod sched;
mod sleep;
mod slot;
mod storm;
mod task;
mod tiering;
mod touch;
mod validate;

pub use config::*;
pub use cost::{Cost, Law};
pub use effects::{
    Cause, Counters, Effects, Event, Owner, Pass, SpaceView, Stall, TaskMoves, ThreadView, UnitCost,
};
pub use ids::{CpuId, NodeId, NodeMask, ProcessId, RegionId, ThreadId, WorkId};
pub use machine::{Machine, kinds};
pub use model::{CowSkip, KernelModel};
pub use rules::Rules;
pub use validate::MachineError;
