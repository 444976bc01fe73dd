//! Parent orders, their schedule and tactic, and the dispatch thread that carries every message.
//!
//! ```text
//!   timers, quotes, reports ──► Dispatcher (one server, first in first out) ──► Execution::decide
//!                                     │ stalls delay what stands behind            │
//!                                     └──────────── departures ◄── requests ◄──────┘
//! ```
//!
//! Invariant: no part here touches the book or the machine; a decision sees only the messages processed so far.
#![deny(clippy::float_arithmetic)]

#[cfg(test)]
mod conservation;
mod dispatcher;
mod execution;
mod ledger;
mod message;
mod parent;
mod policy;
pub mod schedule;
mod stalls;
mod tactic;
#[cfg(test)]
mod tests;

pub use dispatcher::{Departure, Dispatcher, StallSemantics};
pub use execution::Execution;
pub use ledger::Tally;
pub use message::{
    ChildId, Command, Message, ParentId, Request, StrategyId, SymbolId, TimeInForce, WorkKind,
};
pub use parent::{ParentOrder, ParentsConfig, generate};
pub use policy::{CancelReplace, CatchUp, Policy};
pub use stalls::StallMoments;
pub use tactic::{LeftBehind, OnExpiry, Placement, Strategy, Tactic};
