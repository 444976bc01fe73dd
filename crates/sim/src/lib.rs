//! One run: the scenario, the closed event loop and its telemetry.
//!
//! ```text
//!   scenario.toml ──► RunConfig ──► Simulation: host, dispatch path, exchange, controller ──► RunResult
//! ```
//!
//! Invariant: this is the only crate that knows machine, market and desk; parts give plain data back and the
//! simulation carries it.
#![deny(clippy::float_arithmetic)]

mod desk;
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
mod paths;
pub mod recorded_host;
mod regime;
mod replication;
pub mod scenario;
pub mod semantic;
mod simulation;
mod steering;
mod telemetry;
mod trail;
mod venue;

pub use desk::{ParentResult, StallTotals};
pub use dispatch::Lateness;
pub use host_run::{HostRun, Seen};
pub use hosted::{HostResult, Steered};
pub use paths::SecondPaths;
pub use replication::Replication;
pub use simulation::{RunInput, RunResult, Simulation};
pub use steering::{Asked, Own, Steering, SteeringError};
pub use telemetry::{BUCKET, Bucket, Fine, SAMPLE};
pub use trail::{ChildResult, QueueAhead, Step};
pub use venue::SymbolResult;

/// The version of the model: it changes whenever a golden file does.
pub const MODEL_VERSION: u32 = 1;
