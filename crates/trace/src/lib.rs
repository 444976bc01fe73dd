//! One run in one file: what it was, what happened, what the controller saw and decided.
//!
//! ```text
//!   Header ─┐
//!   Events  ├──► blocks with lengths and checksums ──► one file, readable up to the last whole block
//!   Decided │
//!   End ────┘
//! ```
//!
//! Invariant: what is read is not trusted: nothing allocates before its length was checked against a limit.

mod blocks;
mod codec;
mod columns;
mod difference;
mod error;
mod format;
mod frame;
mod index;
mod reader;
mod schema;
mod writer;

pub use difference::{Difference, first_difference};
pub use error::{Cut, Limits, TraceError};
pub use frame::{Decided, End, Header, InputFile};
pub use reader::{Block, Items, Reader, Trace};
pub use writer::{Options, Stats, Writer};
