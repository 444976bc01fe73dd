//! One run: the scenario, the closed event loop and its telemetry.
//!
//! ```text
//!   scenario.toml ──► RunConfig ──► Simulation: host, dispatch path, exchange, controller ──► RunResult
//! ```
//!
//! Invariant: this is the only crate that knows machine, market and desk; parts give plain data back and the
//! simulation carries it.
#![deny(clippy::float_arithmetic)]

pub mod counters;
mod desk;
mod desk_log;
mod dispatch;
pub mod event;
mod exchange;
pub mod golden;
mod host;
mod host_run;
mod hosted;
pub mod injector;
mod journal;
pub mod metrics;
pub mod notes;
mod paths;
pub mod recorded_host;
mod regime;
mod replication;
pub mod scenario;
mod segments;
pub mod semantic;
mod simulation;
mod steering;
mod telemetry;
mod trail;
mod venue;

pub use desk::{Conditions, ParentResult, StallTotals};
pub use desk_log::{DeskEvent, DeskWhat, RequestKind};
pub use dispatch::Lateness;
pub use host_run::{HostRun, Seen};
pub use hosted::{CLUSTER_GAP, HostResult, Steered};
pub use paths::SecondPaths;
pub use replication::Replication;
pub use segments::HostSegment;
pub use simulation::{RunInput, RunResult, Simulation};
pub use steering::{Asked, By, Own, Steering, SteeringError};
pub use telemetry::{BUCKET, Bucket, PAGE_BYTES, SAMPLE, observed};
pub use trail::{ChildResult, QueueAhead, Step};
pub use venue::SymbolResult;

/// The version of the model: it changes whenever a golden file does.
pub const MODEL_VERSION: u32 = 1;
