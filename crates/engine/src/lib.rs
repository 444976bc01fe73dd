//! Clock, event queue, named random streams and the running hash of semantic events.
//!
//! ```text
//!   push(at, event) ──► EventQueue ──► pop() in (time, arrival number) order
//!   Seed ──► stream("component", entity) ──► integers, spans
//!   semantic events ──► EventHash ──► one u64, with checkpoints
//! ```
//!
//! Invariant: nothing here knows what an event means, reads a wall clock or draws without a seed.
#![deny(clippy::float_arithmetic)]

mod hash;
mod queue;
mod rng;
pub mod sample;
mod time;

pub use hash::{Checkpoint, EventHash, Keep, NOTE_GOES_ON, NOTES, Recorded, SOURCES};
pub use queue::EventQueue;
pub use rng::{Seed, Stream};
pub use time::{Nanos, Span};
