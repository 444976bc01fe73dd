//! When resting orders cancel: one hazard clock per price.
//!
//! An order consumes its unit-exponential lifetime at the cancel rate of its current distance (attribution: A9). All
//! orders of a price have the same distance, so the price integrates that rate over time and an order cancels when
//! the integral reaches the value at its arrival plus its lifetime. A move of the opposite best changes the rate of
//! the few prices near it and of nothing else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use numashock_engine::Nanos;

use super::race::{Entry, Race};
use crate::ladder::{Ladder, Slot, Toward};
use crate::{Book, OrderId, Side, Ticks};

/// Lifetimes are drawn in units of 2⁻⁴⁰; hazard counts (events per 10⁹ s) × ns, so one is 10¹⁸.
const ONE: u128 = 1_000_000_000_000_000_000;

/// The clocks of all resting exogenous orders.
#[derive(Clone, Debug)]
pub(super) struct Hazards {
    ladder: Ladder,
    clocks: Vec<Clock>,
    race: Race,
}

#[derive(Clone, Debug)]
struct Clock {
    side: Side,
    rate: u64,
    /// The integral of the rate up to `since`.
    hazard: u128,
    since: u64,
    /// (threshold, order id), with orders that have gone since.
    waiting: BinaryHeap<Reverse<(u128, u64)>>,
    /// Once so many wait, those that have gone are dropped.
    sweep_at: usize,
}

const SWEEP: usize = 16;

impl Clock {
    fn idle() -> Clock {
        Clock { side: Side::Buy, rate: 0, hazard: 0, since: 0, waiting: BinaryHeap::new(), sweep_at: SWEEP }
    }

    #[inline]
    fn advance(&mut self, now: u64) {
        self.hazard += u128::from(self.rate) * u128::from(now - self.since);
        self.since = now;
    }

    /// When its first order cancels, as the race wants it.
    #[inline]
    fn entry(&self, slot: Slot) -> Entry {
        let Some(Reverse((threshold, id))) = self.waiting.peek() else { return Entry::NEVER };
        let left = threshold.saturating_sub(self.hazard);
        if left == 0 {
            return Entry::new(self.since, *id, slot);
        }
        if self.rate == 0 {
            return Entry::NEVER;
        }
        // Nearly always both fit 64 bits, where division is several times faster.
        let wait = match u64::try_from(left) {
            Ok(left) => left.div_ceil(self.rate),
            Err(_) => u64::try_from(left.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX),
        };
        self.since.checked_add(wait).map_or(Entry::NEVER, |at| Entry::new(at, *id, slot))
    }
}

/// A resting order whose clock starts.
pub(super) struct Mortal {
    pub(super) id: OrderId,
    pub(super) side: Side,
    pub(super) price: Ticks,
    /// In units of 2⁻⁴⁰ of the mean.
    pub(super) lifetime: u64,
}

impl Hazards {
    pub(super) fn new() -> Hazards {
        Hazards { ladder: Ladder::new(), clocks: Vec::new(), race: Race::new() }
    }

    /// When the next order cancels. Only after [`Hazards::settle`] does that order surely rest.
    #[inline]
    pub(super) fn next_at(&self) -> Nanos {
        Nanos(self.race.first().at())
    }

    /// Takes the order that cancels next.
    pub(super) fn pop(&mut self) -> OrderId {
        let entry = self.race.first();
        self.clocks[entry.clock() as usize].advance(entry.at());
        self.drop_first(entry.clock());
        OrderId(entry.id())
    }

    /// Starts an order's clock at the cancel rate of its distance.
    pub(super) fn add(&mut self, now: Nanos, order: &Mortal, rate: u64, book: &Book) {
        let slot = self.ladder.insert(order.price);
        if slot as usize >= self.clocks.len() {
            self.clocks.resize(self.ladder.slots(), Clock::idle());
        }
        let clock = &mut self.clocks[slot as usize];
        if clock.side != order.side || clock.waiting.is_empty() {
            // The other side's orders at this price have all gone: the book is never crossed.
            clock.waiting.clear();
            clock.side = order.side;
            clock.hazard = 0;
            clock.since = now.0;
            clock.rate = rate;
        }
        clock.advance(now.0);
        assert!(clock.rate == rate, "a clock runs at the rate of its distance");
        let threshold = clock.hazard + ((u128::from(order.lifetime) * ONE) >> 40);
        clock.waiting.push(Reverse((threshold, order.id.0)));
        if clock.waiting.len() >= clock.sweep_at {
            clock.waiting.retain(|Reverse((_, id))| book.rests(OrderId(*id)));
            clock.sweep_at = SWEEP.max(clock.waiting.len() * 2);
        }
        let entry = clock.entry(slot);
        self.race.set(slot, entry);
    }

    /// Changes the rates of one side's prices after the opposite best has moved between `from` and `to`. Rates are the
    /// same from `reach` ticks on.
    pub(super) fn rerate(
        &mut self,
        now: Nanos,
        side: Side,
        (from, to): (Ticks, Ticks),
        reach: i64,
        rate_at: impl Fn(i64) -> u64,
    ) {
        let (near, far, toward) = match side {
            Side::Buy => (from.max(to), from.min(to), Toward::Lower),
            Side::Sell => (from.min(to), from.max(to), Toward::Higher),
        };
        let mut at = self.ladder.at_or_beyond(near, toward);
        while let Some(slot) = at {
            let price = self.ladder.price(slot);
            if side.sign() * (far - price) >= reach {
                break;
            }
            at = self.ladder.next(slot, toward);
            let clock = &mut self.clocks[slot as usize];
            if clock.side != side {
                continue;
            }
            let distance = side.sign() * (to - price);
            if distance < 1 {
                // Behind the opposite best nothing of this side rests.
                self.retire(slot);
                continue;
            }
            let rate = rate_at(distance);
            if rate != clock.rate {
                clock.advance(now.0);
                clock.rate = rate;
                let entry = clock.entry(slot);
                self.race.set(slot, entry);
            }
        }
    }

    /// Drops orders that have gone until the first one rests.
    pub(super) fn settle(&mut self, book: &Book) {
        loop {
            let entry = self.race.first();
            if entry == Entry::NEVER || book.rests(OrderId(entry.id())) {
                break;
            }
            self.drop_first(entry.clock());
        }
    }

    fn drop_first(&mut self, slot: Slot) {
        let clock = &mut self.clocks[slot as usize];
        clock.waiting.pop();
        let entry = clock.entry(slot);
        if clock.waiting.is_empty() {
            self.ladder.remove(slot);
        }
        self.race.set(slot, entry);
    }

    fn retire(&mut self, slot: Slot) {
        self.clocks[slot as usize].waiting.clear();
        self.ladder.remove(slot);
        self.race.set(slot, Entry::NEVER);
    }
}
