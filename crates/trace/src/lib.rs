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

mod frame;

pub use frame::{Decided, End, Header, InputFile};
