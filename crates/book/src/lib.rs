//! A price-time order book with exact queue position, and the exogenous flows that drive it.
//!
//! ```text
//!   own orders ──────────────┐
//!                            ▼
//!   Exogenous ──► Flow ──► Book ──► fills, quotes, queue position
//!   (Poisson or recorded)    │
//!        ▲                   │
//!        └── best quotes ────┘
//! ```
//!
//! ```
//! use numashock_book::{Book, Lots, OrderId, Side, Stamp, Ticks};
//!
//! let (mut book, mut fills) = (Book::new(), Vec::new());
//! book.limit(OrderId(0), Side::Buy, Ticks(100), Lots(7), Stamp(1), &mut fills);
//! book.limit(OrderId::own(0), Side::Buy, Ticks(100), Lots(5), Stamp(2), &mut fills);
//! assert_eq!(book.ahead(OrderId::own(0)).map(|ahead| ahead.lots), Some(Lots(7)));
//!
//! book.take(OrderId(1), Side::Sell, Lots(9), None, &mut fills);
//! assert_eq!(fills[1].maker, OrderId::own(0));
//! assert_eq!(fills[1].maker_left, Lots(3));
//! ```
//!
//! Invariants: the book is never crossed; orders of one price trade in order of (stamp, arrival); the same calls
//! give the same fills whatever the host.
#![deny(clippy::float_arithmetic)]

mod book;
mod entry;
pub mod flow;
mod ids;
mod ladder;
#[cfg(test)]
mod naive;
pub mod recorded;
mod types;
#[cfg(test)]
mod zi;

pub use book::Book;
pub use entry::{BookError, Entered, LEVEL_LOTS_MAX, NewOrder, ORDER_LOTS_MAX, OrderKind, PRICE_MAX};
pub use types::{Ahead, Fill, HalfTicks, Lots, OrderId, Quote, Side, Stamp, Ticks};
