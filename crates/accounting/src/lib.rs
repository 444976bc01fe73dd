//! The auditor of money: implementation shortfall from a tape, exact in integers, and the cost of NUMA balancing split off.
//!
//! ```text
//!   arrivals, fills, fees ──► ParentTape ──close()──► Shortfalls { swept, marked }     identity (B), market: 4.1
//!   shortfalls of three worlds ──► Attribution      IS = delay + impact + miss + fees + C_numa    (attribution: A1, A4)
//!   shortfalls of fifteen worlds ──► Shapley        C_numa × 6 = H + M + D + Q                     (attribution: A8)
//! ```
//!
//! Costs are integers in half-tick-lots, positive is bad. Nothing is averaged before display.
//!
//! Invariant: nothing here sees the execution or the machine; everything follows from what was recorded on the tape.
#![deny(clippy::float_arithmetic)]

mod attribution;
mod child;
mod shapley;
mod shortfall;
mod tape;
mod world;

#[cfg(test)]
mod tests;

pub use attribution::Attribution;
pub use child::{ChildMids, ChildPath};
pub use shapley::{Causes, OrderRange, Parts, Shapley, WorldValues};
pub use shortfall::{Mark, Shortfall, Shortfalls, micro_basis_points};
pub use tape::{End, ParentTape};
pub use world::{Mechanisms, World};
