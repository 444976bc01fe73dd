//! The recorded flow in a world with own orders (attribution: A9).

use std::sync::Arc;

use numashock_engine::{Nanos, Span};

use super::{FlowStats, Happened, Kind};
use crate::book::OwnFirst;
use crate::recorded::{Recorded, Recording, RowKind, UNKNOWN};
use crate::{Book, Fill, Lots, OrderId, Side, Stamp, Ticks};

/// A recording from some time on.
#[derive(Clone, Debug)]
pub(super) struct Excerpt {
    pub(super) recording: Arc<Recording>,
    /// Where the excerpt starts, after the first row.
    pub(super) from: Span,
    /// Simulated time of that start.
    pub(super) offset: Span,
    /// The sum of a price and its reflection, if sides and prices are mirrored.
    pub(super) mirror: Option<i64>,
}

impl Excerpt {
    /// A row as this excerpt has it.
    fn row(&self, index: usize) -> Option<Recorded> {
        let row = *self.recording.get(index)?;
        Some(match self.mirror {
            None => row,
            Some(sum) => Recorded { side: !row.side, price: Ticks(sum - row.price.0), ..row },
        })
    }

    pub(super) fn mirror(&mut self) {
        self.mirror = match self.mirror {
            None => Some(self.reflection()),
            Some(_) => None,
        };
    }

    /// Bid plus ask of the opening book; where a side is empty, twice the first price.
    pub(super) fn reflection(&self) -> i64 {
        let mut book = Book::new();
        ReplayFlow::new(self, &mut book);
        match Side::BOTH.map(|side| book.best(side)) {
            [Some(bid), Some(ask)] => bid.price.0 + ask.price.0,
            _ => 2 * self.row(0).map_or(0, |row| row.price.0),
        }
    }
}

/// One world.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayFlow {
    next: usize,
}

impl ReplayFlow {
    /// The recording's opening book and the rows before the excerpt's start make the world's.
    pub(super) fn new(excerpt: &Excerpt, book: &mut Book) -> ReplayFlow {
        let mut flow = ReplayFlow::default();
        let (mut fills, mut stats) = (Vec::new(), FlowStats::default());
        let recording = &*excerpt.recording;
        let opening = |flow: &ReplayFlow| flow.next < recording.opening();
        while recording.get(flow.next).is_some_and(|row| opening(&flow) || row.since < excerpt.from) {
            flow.step(excerpt, book, &mut fills, &mut stats);
            fills.clear();
        }
        flow
    }

    #[inline]
    pub(super) fn next_at(&self, excerpt: &Excerpt) -> Nanos {
        excerpt.recording.get(self.next).map_or(Nanos::NEVER, |row| {
            let since = row.since.saturating_sub(excerpt.from);
            Nanos(excerpt.offset.0.saturating_add(since.0))
        })
    }

    /// Applies the next row.
    pub(super) fn step(
        &mut self,
        excerpt: &Excerpt,
        book: &mut Book,
        fills: &mut Vec<Fill>,
        stats: &mut FlowStats,
    ) -> Happened {
        let at = self.next_at(excerpt);
        let recording = &*excerpt.recording;
        let row = excerpt.row(self.next).expect("the flow has not ended");
        let taker = OrderId(recording.orders() + self.next as u64);
        self.next += 1;
        let Recorded { side, lots, price, .. } = row;
        let id = OrderId(u64::from(row.order));
        let happened = |kind, clipped| Happened { at, kind, id, side, price, lots, clipped };
        match row.kind {
            RowKind::Limit => {
                let place = excerpt.offset.0.saturating_add(row.place.saturating_sub(excerpt.from).0);
                book.limit(id, side, price, lots, Stamp(place), fills);
                happened(Kind::Limit, Lots::ZERO)
            }
            RowKind::Execute => {
                let (kind, clipped) = execute(&row, taker, book, fills, stats);
                Happened { id: taker, side: !side, ..happened(kind, clipped) }
            }
            RowKind::Reduce | RowKind::Delete if row.order == UNKNOWN => {
                stats.unknown_rows += 1;
                happened(Kind::Unseen, Lots::ZERO)
            }
            RowKind::Reduce => {
                let resting = book.order(id).map_or(Lots::ZERO, |(_, _, lots)| lots);
                book.reduce(id, lots.min(resting));
                happened(Kind::Reduce, lots.saturating_sub(resting))
            }
            RowKind::Delete => {
                let resting = book.cancel(id).unwrap_or(Lots::ZERO);
                happened(Kind::Cancel, lots.saturating_sub(resting))
            }
            RowKind::Hidden | RowKind::Auction | RowKind::Halt => {
                match row.kind {
                    RowKind::Hidden => stats.hidden_rows += 1,
                    RowKind::Auction => stats.auction_rows += 1,
                    _ => stats.halt_rows += 1,
                }
                happened(Kind::Unseen, Lots::ZERO)
            }
            RowKind::Cancel | RowKind::Modify | RowKind::Clear => {
                unreachable!("a recording has what becomes of them")
            }
        }
    }
}

/// An execution hits own orders that come before the order that the row names, and then that order. What neither has
/// is clipped. Where the row names an order from before the recording, only own orders at better prices come before it.
fn execute(
    row: &Recorded,
    taker: OrderId,
    book: &mut Book,
    fills: &mut Vec<Fill>,
    stats: &mut FlowStats,
) -> (Kind, Lots) {
    let victim = OrderId(u64::from(row.order));
    let taker_side = !row.side;
    let first = if book.rests(victim) {
        OwnFirst::Before(victim)
    } else if row.order == UNKNOWN {
        OwnFirst::DownTo(row.price.behind(row.side, -1))
    } else {
        OwnFirst::DownTo(row.price)
    };
    let left = book.take_own(taker, taker_side, row.lots, first, fills);
    stats.own_lots += row.lots - left;
    if row.order == UNKNOWN {
        stats.unknown_rows += 1;
        let kind = if left < row.lots { Kind::Market } else { Kind::Unseen };
        return (kind, Lots::ZERO);
    }
    (Kind::Market, book.take_named(taker, victim, left, fills))
}
