//! Recent changes of the book's levels, so that a late order can be told what stood at its price when it was due.

use std::collections::VecDeque;

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::{Nanos, Span};

/// How far back the journal reaches. A request that is later than this is judged by the oldest state known.
const REACH: Span = Span(10_000_000_000);

#[derive(Clone, Copy, Debug)]
struct Change {
    at: Nanos,
    side: Side,
    price: Ticks,
    lots: i64,
}

/// Signed changes of level sizes, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    kept: bool,
    changes: VecDeque<Change>,
}

impl Journal {
    /// A world in which nothing is ever late needs none.
    pub(crate) fn new(kept: bool) -> Journal {
        Journal { kept, changes: VecDeque::new() }
    }

    pub(crate) fn added(&mut self, at: Nanos, side: Side, price: Ticks, lots: Lots) {
        self.record(at, side, price, i64::try_from(lots.0).unwrap_or(i64::MAX));
    }

    pub(crate) fn removed(&mut self, at: Nanos, side: Side, price: Ticks, lots: Lots) {
        self.record(at, side, price, -i64::try_from(lots.0).unwrap_or(i64::MAX));
    }

    fn record(&mut self, at: Nanos, side: Side, price: Ticks, lots: i64) {
        if !self.kept || lots == 0 {
            return;
        }
        while self.changes.front().is_some_and(|change| change.at + REACH < at) {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { at, side, price, lots });
    }

    /// Lots at a price at an earlier time, given what stands there now.
    pub(crate) fn lots_then(&self, then: Nanos, side: Side, price: Ticks, lots_now: Lots) -> Lots {
        let since = self.changes.iter().rev().take_while(|change| change.at > then);
        let grown: i64 = since.filter(|c| c.side == side && c.price == price).map(|change| change.lots).sum();
        let lots = i64::try_from(lots_now.0).unwrap_or(i64::MAX) - grown;
        Lots(u64::try_from(lots).expect("a level never had fewer than no lots"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_the_present_less_what_happened_since() {
        let mut journal = Journal::new(true);
        let (side, price) = (Side::Buy, Ticks(10));
        journal.added(Nanos(1), side, price, Lots(5));
        journal.added(Nanos(2), Side::Sell, price, Lots(50));
        journal.removed(Nanos(3), side, price, Lots(2));
        journal.added(Nanos(4), side, Ticks(11), Lots(9));
        let then = |at: u64| journal.lots_then(Nanos(at), side, price, Lots(3)).0;
        assert_eq!([then(0), then(1), then(2), then(3), then(4)], [0, 5, 5, 3, 3]);
    }
}
