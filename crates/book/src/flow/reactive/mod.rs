//! The queue-reactive flow (market: 3.1).
//!
//! All worlds share candidates: a Poisson process at the greatest rate that anything can have, each candidate with a
//! queue, a kind and two words. A world accepts a candidate with the chance that its own queues give it, so the same
//! arrivals meet different books and only their consequences differ (attribution: A9).

mod invariant;
mod law;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use numashock_engine::{Nanos, Seed, Stream};

use super::poisson::Column;
use super::{Happened, Kind};
use crate::{Book, Fill, HalfTicks, Lots, OrderId, Side, Stamp, Ticks};
use law::KINDS;

pub(super) use law::ReactiveLaw;
pub use law::{
    Intensities, LEVELS_MAX, QueueLaw, QueueModel, QueueReactiveConfig, STATES_MAX, SizeClass, StartBook,
};

/// Something that may happen, as it is in every world.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u64,
    at: Nanos,
    /// The side of the queue.
    side: Side,
    /// Queue and kind.
    column: usize,
    /// Accepted if below rate / greatest rate, in parts of 2⁶⁴.
    level: u64,
    /// Which of the queue's orders a cancellation takes.
    pick: u64,
}

#[derive(Clone, Debug)]
struct Tape {
    stream: Stream,
    /// The last candidate, in ns × 2²⁰.
    clock: u128,
    count: u64,
    until: Nanos,
}

impl Tape {
    fn next(&mut self, law: &ReactiveLaw) -> Option<Candidate> {
        let at = law.gap.pass(&mut self.clock, &mut self.stream);
        if at >= self.until {
            return None;
        }
        let (drawn, column) = Column::pick(&law.columns, self.stream.next_u64());
        let side = law.side(drawn);
        let (level, pick) = (self.stream.next_u64(), self.stream.next_u64());
        self.count += 1;
        Some(Candidate { number: self.count, at, side, column, level, pick })
    }
}

/// A change that follows a move of the reference price.
#[derive(Clone, Copy, Debug)]
enum Change {
    Withdraw(OrderId),
    Place { side: Side, price: Ticks, lots: Lots },
}

/// One world.
#[derive(Clone, Debug)]
pub(super) struct ReactiveFlow {
    tape: Tape,
    /// Candidates that have been drawn and are not over.
    waiting: VecDeque<Candidate>,
    /// Which of them is the first that this world accepts as it stands.
    accepted: Option<usize>,
    /// By side, then by column.
    rates: [Vec<u64>; 2],
    /// The number of the last candidate that is over, and how often own orders have moved the mid since.
    last: u64,
    own_moves: u64,
    /// The price of the first bid queue.
    anchor: Ticks,
    mid: Option<HalfTicks>,
    /// What is still to be done after a move of the reference price, all at `changes_at`.
    changes: VecDeque<Change>,
    changes_at: Nanos,
    /// What moves of the reference price draw, found by candidate.
    moving: Stream,
    moves: u64,
    redraws: u64,
    next_id: u64,
}

impl ReactiveFlow {
    pub(super) fn new(law: &ReactiveLaw, seed: Seed, until: Nanos, book: &mut Book) -> ReactiveFlow {
        let mut flow = ReactiveFlow {
            tape: Tape { stream: seed.stream("flow", 0), clock: 0, count: 0, until },
            waiting: VecDeque::new(),
            accepted: None,
            rates: [vec![0; law.greatest.len()], vec![0; law.greatest.len()]],
            last: 0,
            own_moves: 0,
            anchor: law.bid,
            mid: None,
            changes: VecDeque::new(),
            changes_at: Nanos::ZERO,
            moving: seed.stream("flow", 2),
            moves: 0,
            redraws: 0,
            next_id: 0,
        };
        let start = law.start(&mut seed.stream("flow", 1));
        for (index, orders) in start.into_iter().enumerate() {
            for drawn in Side::BOTH {
                let side = law.side(drawn);
                for _ in 0..orders[drawn.index()] {
                    let (id, price) = (flow.new_id(), flow.price(side, index));
                    let rests = book.post_only(id, side, price, law.queues[index].lots, Stamp(0));
                    assert!(rests, "the initial book does not trade");
                }
            }
        }
        flow.mid = book.mid();
        flow.look(law, book);
        flow
    }

    #[inline]
    pub(super) fn next_at(&self) -> Nanos {
        if self.changes.is_empty() {
            self.accepted.map_or(Nanos::NEVER, |index| self.waiting[index].at)
        } else {
            self.changes_at
        }
    }

    /// How often the reference price has moved, and how often the book was redrawn then.
    pub(super) fn moves(&self) -> (u64, u64) {
        (self.moves, self.redraws)
    }

    /// Applies the next event. An order that comes to rest gets `stamp`.
    pub(super) fn step(
        &mut self,
        law: &ReactiveLaw,
        stamp: Stamp,
        book: &mut Book,
        fills: &mut Vec<Fill>,
    ) -> Happened {
        if let Some(change) = self.changes.pop_front() {
            let happened = self.change(change, stamp, book, fills);
            self.mid = book.mid().or(self.mid);
            self.look(law, book);
            return happened;
        }
        let index = self.accepted.expect("the flow has not ended");
        let candidate = self.waiting[index];
        self.waiting.drain(..=index);
        (self.last, self.own_moves) = (candidate.number, 0);
        let happened = self.happen(law, candidate, stamp, book, fills);
        self.follow(law, candidate.at, candidate.number * 16, book);
        self.look(law, book);
        happened
    }

    /// Own orders have acted: other candidates may be accepted, and the mid may have moved.
    pub(super) fn refresh(&mut self, law: &ReactiveLaw, now: Nanos, book: &Book) {
        // What was due by now and still waits has been rejected.
        while let Some(candidate) = self.waiting.front().filter(|candidate| candidate.at <= now) {
            (self.last, self.own_moves) = (candidate.number, 0);
            self.waiting.pop_front();
        }
        if self.changes.is_empty() && book.mid() != self.mid {
            self.own_moves += 1;
            // Sixteen places a candidate: more moves by own orders between two candidates repeat their draws.
            self.follow(law, now, self.last * 16 + self.own_moves.min(15), book);
        }
        self.look(law, book);
    }

    fn price(&self, side: Side, index: usize) -> Ticks {
        price(self.anchor, side, index)
    }

    fn new_id(&mut self) -> OrderId {
        self.next_id += 1;
        OrderId(self.next_id - 1)
    }

    /// Finds the next candidate that this world accepts while nothing changes.
    fn look(&mut self, law: &ReactiveLaw, book: &Book) {
        while let Some(Change::Withdraw(id)) = self.changes.front() {
            if book.rests(*id) {
                break;
            }
            self.changes.pop_front();
        }
        self.accepted = None;
        if !self.changes.is_empty() || !self.measure(law, book) {
            return;
        }
        let mut index = 0;
        loop {
            if index == self.waiting.len() {
                let Some(candidate) = self.tape.next(law) else { return };
                self.waiting.push_back(candidate);
            }
            let Candidate { side, column, level, .. } = self.waiting[index];
            let threshold = (u128::from(level) * u128::from(law.greatest[column])) >> 64;
            if (threshold as u64) < self.rates[side.index()][column] {
                self.accepted = Some(index);
                return;
            }
            index += 1;
        }
    }

    /// Takes the rates from the book; whether anything can happen.
    fn measure(&mut self, law: &ReactiveLaw, book: &Book) -> bool {
        let anchor = self.anchor;
        let size = |side: Side, index: usize| {
            book.lots_at(side, price(anchor, side, index)).0.div_ceil(law.queues[index].lots.0)
        };
        let first = Side::BOTH.map(|side| size(side, 0));
        let mut any = false;
        for side in Side::BOTH {
            for (index, queue) in law.queues.iter().enumerate() {
                let size = if index == 0 { first[side.index()] } else { size(side, index) };
                let table = queue.table(first[side.index()], first[(!side).index()]);
                let mut rates = [0, 1, 2].map(|kind| table.rate(kind, size));
                if rates[1] > 0 && exogenous(book, side, self.price(side, index)).next().is_none() {
                    // Nobody else's order can be cancelled.
                    rates[1] = 0;
                }
                any |= rates.iter().any(|rate| *rate > 0);
                self.rates[side.index()][index * KINDS..][..KINDS].copy_from_slice(&rates);
            }
        }
        any
    }

    fn happen(
        &mut self,
        law: &ReactiveLaw,
        candidate: Candidate,
        stamp: Stamp,
        book: &mut Book,
        fills: &mut Vec<Fill>,
    ) -> Happened {
        let Candidate { at, side, column, pick, .. } = candidate;
        let (index, clipped) = (column / KINDS, Lots::ZERO);
        let (price, lots) = (self.price(side, index), law.queues[index].lots);
        match column % KINDS {
            0 => {
                let id = self.new_id();
                book.limit(id, side, price, lots, stamp, fills);
                Happened { at, kind: Kind::Limit, id, side, price, lots, clipped }
            }
            1 => {
                let count = exogenous(book, side, price).count();
                let place = ((u128::from(pick) * count as u128) >> 64) as usize;
                let id = exogenous(book, side, price).nth(place).expect("a cancellation finds an order");
                let lots = book.cancel(id).expect("it rests");
                Happened { at, kind: Kind::Cancel, id, side, price, lots, clipped }
            }
            _ => {
                let id = self.new_id();
                let price = book.best(side).map_or(price, |best| best.price);
                let clipped = book.take(id, !side, lots, None, fills);
                Happened { at, kind: Kind::Market, id, side: !side, price, lots, clipped }
            }
        }
    }

    fn change(&mut self, change: Change, stamp: Stamp, book: &mut Book, fills: &mut Vec<Fill>) -> Happened {
        let (at, clipped) = (self.changes_at, Lots::ZERO);
        match change {
            Change::Withdraw(id) => {
                let (side, price, lots) = book.order(id).expect("an order that is withdrawn rests");
                book.cancel(id);
                Happened { at, kind: Kind::Cancel, id, side, price, lots, clipped }
            }
            Change::Place { side, price, lots } => {
                let id = self.new_id();
                book.limit(id, side, price, lots, stamp, fills);
                Happened { at, kind: Kind::Limit, id, side, price, lots, clipped }
            }
        }
    }

    /// If the mid has moved and the first queue on that side is empty, the reference price may follow by a tick, and the
    /// book may be redrawn (model III). `place` says which words decide.
    fn follow(&mut self, law: &ReactiveLaw, now: Nanos, place: u64, book: &Book) {
        let Some(mid) = book.mid() else { return };
        let Some(before) = self.mid.replace(mid).filter(|before| *before != mid) else { return };
        let direction = if mid > before { Side::Sell } else { Side::Buy };
        // The new first queue of the other side takes this one's place.
        let first = self.price(direction, 0);
        let blocked = book
            .best(direction)
            .is_none_or(|best| best.price == first || direction.prefers(best.price, first));
        if law.theta_ppm == 0 || blocked {
            return;
        }
        self.moving.seek(place * 4);
        if !chance(self.moving.next_u64(), law.theta_ppm) {
            return;
        }
        self.anchor.0 -= direction.sign();
        self.moves += 1;
        let redraw = chance(self.moving.next_u64(), law.reinit_ppm);
        self.redraws += u64::from(redraw);
        let moving = &mut self.moving;
        let state = law.invariant.draw(|| moving.next_u64());
        self.changes_at = now;
        self.plan(law, direction, redraw.then_some(&state[..]), state[state.len() - 1], book);
    }

    /// What must change so that the book is as drawn; without a redraw only the queue that enters the window is new.
    /// Orders that can stay keep their places, and what leaves the window is withdrawn.
    fn plan(
        &mut self,
        law: &ReactiveLaw,
        entering: Side,
        redrawn: Option<&[[u32; 2]]>,
        last: [u32; 2],
        book: &Book,
    ) {
        let end = law.queues.len() - 1;
        let mut placed = Vec::new();
        for drawn in Side::BOTH {
            let side = law.side(drawn);
            let outermost = self.price(side, end);
            let beyond = book.levels(side).filter(|level| side.prefers(outermost, level.price));
            let mut withdrawn: Vec<OrderId> =
                beyond.flat_map(|level| exogenous(book, side, level.price)).collect();
            for index in (0..=end).rev() {
                let wanted = match redrawn {
                    Some(state) => state[index][drawn.index()],
                    None if index == end && side == entering => last[drawn.index()],
                    None => continue,
                };
                let price = self.price(side, index);
                let resting: Vec<OrderId> = exogenous(book, side, price).collect();
                withdrawn.extend(resting.iter().skip(wanted as usize).rev());
                let lots = law.queues[index].lots;
                let missing = (wanted as usize).saturating_sub(resting.len());
                placed.extend((0..missing).map(|_| (index, Change::Place { side, price, lots })));
            }
            self.changes.extend(withdrawn.into_iter().map(Change::Withdraw));
        }
        // The nearest first, so that the best prices change as seldom as can be.
        placed.sort_by_key(|(index, _)| *index);
        self.changes.extend(placed.into_iter().map(|(_, change)| change));
    }
}

/// The price of a queue, by that of the first bid queue.
fn price(anchor: Ticks, side: Side, index: usize) -> Ticks {
    let first = match side {
        Side::Buy => anchor,
        Side::Sell => Ticks(anchor.0 + 1),
    };
    first.behind(side, index as i64)
}

/// The orders at a price that are not own ones, in priority.
fn exogenous(book: &Book, side: Side, price: Ticks) -> impl Iterator<Item = OrderId> {
    book.queue(side, price).map(|(id, _)| id).filter(|id| !id.is_own())
}

fn chance(word: u64, ppm: u32) -> bool {
    ((u128::from(word) * 1_000_000) >> 64) < u128::from(ppm)
}
