//! The order book: price levels of intrusive first-in-first-out lists over one slab of orders.
//!
//! market: 2 needs the exact number of orders and lots ahead of an own order at any moment. The book keeps both for
//! each own order: what leaves a level is noted there, and a few departures at a time are taken off the positions of
//! the own orders behind. Whether a level has own orders, how many, and which of them stand behind is chance to the
//! processor; a note branches on none of it, so that cancels need not wait for each other's cold memory. A book
//! without own orders notes nothing.

use crate::ids::Ids;
use crate::ladder::{Ladder, NONE, Slot, Toward};
use crate::{Ahead, Fill, HalfTicks, Lots, OrderId, Quote, Side, Stamp, Ticks};

/// Which own orders a recorded execution hits before anything else (attribution: A9).
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnFirst {
    /// Those that come before this order in price-time priority.
    Before(OrderId),
    /// Those at this price or better.
    DownTo(Ticks),
}

/// A price-time priority order book.
#[derive(Clone, Debug)]
pub struct Book {
    ladder: Ladder,
    levels: Vec<Level>,
    /// What left each level and is not yet taken off the positions of its own orders; empty before the first of them.
    departures: Vec<[Departure; DEPARTURES]>,
    orders: Vec<Order>,
    /// The first free entry of `orders`, chained by `next`, and how many there are.
    spare_order: u32,
    spare_orders: usize,
    watched: Vec<Watched>,
    spare_watched: Vec<u32>,
    /// How many own orders rest.
    own_orders: u32,
    /// Slots by id, exogenous orders first, own orders second.
    ids: [Ids; 2],
    best: [Best; 2],
    arrivals: u64,
}

/// The best level of a side.
#[derive(Clone, Copy, Debug)]
struct Best {
    level: Slot,
    /// The worst price there is while the side is empty.
    price: Ticks,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    lots: u64,
    head: u32,
    tail: u32,
    orders: u32,
    /// The first own order, in [`Book::watched`].
    own: u32,
    /// How many of its [`Book::departures`] are in use, always fewer than there are.
    departed: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Order {
    id: OrderId,
    lots: u64,
    priority: Priority,
    level: Slot,
    prev: u32,
    next: u32,
    /// The entry of an own order in [`Book::watched`].
    watched: u32,
    /// What stood before it when it took its place: orders and their lots.
    placed_orders: u32,
    placed_lots: u64,
}

impl Order {
    fn placed(&self) -> Ahead {
        Ahead { orders: u64::from(self.placed_orders), lots: Lots(self.placed_lots) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    stamp: Stamp,
    arrival: u64,
}

impl Priority {
    /// Orders as the priority does. Arrivals are counted and never reach 2^63, so that the top bit stays clear and the
    /// sign of a difference tells the order.
    #[inline]
    fn key(self) -> u128 {
        u128::from(self.stamp.0) << 63 | u128::from(self.arrival)
    }
}

/// An own order's queue position, before the level's departures.
#[derive(Clone, Copy, Debug)]
struct Watched {
    order: u32,
    /// The next own order at the price, in priority.
    next: u32,
    /// Its priority's, so that a correction reads nothing else.
    key: u128,
    orders: u64,
    lots: u64,
}

impl Watched {
    /// Adds what has come or gone if it stood before the order. Whether it did is a mask made of a sign: a comparison
    /// would become a branch that is chance to the processor.
    #[inline]
    fn correct(&mut self, change: &Departure) {
        let behind = (change.key.wrapping_sub(self.key) as i128 >> 127) as u64;
        self.orders = self.orders.wrapping_add(change.orders & behind);
        self.lots = self.lots.wrapping_add(change.lots & behind);
    }
}

/// What left a level at once, as what is to be added to the positions behind it: two's complements.
#[derive(Clone, Copy, Debug)]
struct Departure {
    /// Its priority's.
    key: u128,
    orders: u64,
    lots: u64,
}

/// Departures that a level notes before its own orders' positions are brought up to date.
const DEPARTURES: usize = 16;

const EMPTY: Level = Level { lots: 0, head: NONE, tail: NONE, orders: 0, own: NONE, departed: 0 };
const NO_DEPARTURE: Departure = Departure { key: 0, orders: 0, lots: 0 };

impl Default for Book {
    fn default() -> Self {
        Book::new()
    }
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new() -> Book {
        Book {
            ladder: Ladder::new(),
            levels: Vec::new(),
            departures: Vec::new(),
            orders: Vec::new(),
            spare_order: NONE,
            spare_orders: 0,
            watched: Vec::new(),
            spare_watched: Vec::new(),
            own_orders: 0,
            ids: [Ids::default(), Ids::default()],
            best: Side::BOTH.map(nothing),
            arrivals: 0,
        }
    }

    /// The best price of a side and the lots there.
    #[must_use]
    #[inline]
    pub fn best(&self, side: Side) -> Option<Quote> {
        let best = self.best[side.index()];
        (best.level != NONE)
            .then(|| Quote { price: best.price, lots: Lots(self.levels[best.level as usize].lots) })
    }

    /// The mid, while both sides have orders.
    #[must_use]
    pub fn mid(&self) -> Option<HalfTicks> {
        let (bid, ask) = (self.best(Side::Buy)?, self.best(Side::Sell)?);
        Some(HalfTicks(bid.price.0 + ask.price.0))
    }

    /// The lots of a side at a price.
    #[must_use]
    pub fn lots_at(&self, side: Side, price: Ticks) -> Lots {
        self.level(side, price).map_or(Lots::ZERO, |level| Lots(level.lots))
    }

    /// The number of orders of a side at a price.
    #[must_use]
    pub fn orders_at(&self, side: Side, price: Ticks) -> u64 {
        self.level(side, price).map_or(0, |level| u64::from(level.orders))
    }

    /// The occupied prices of a side, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = Quote> {
        core::iter::successors(self.best_level(side), move |level| self.ladder.next(*level, away(side))).map(
            |level| Quote { price: self.ladder.price(level), lots: Lots(self.levels[level as usize].lots) },
        )
    }

    /// The orders of a side at a price with their lots, in priority.
    pub fn queue(&self, side: Side, price: Ticks) -> impl Iterator<Item = (OrderId, Lots)> {
        let head = self.level(side, price).map_or(NONE, |level| level.head);
        self.chain(head).map(|order| (order.id, Lots(order.lots)))
    }

    /// Whether an order rests.
    #[must_use]
    #[inline]
    pub fn rests(&self, id: OrderId) -> bool {
        self.slot(id).is_some()
    }

    /// The side, price and remaining lots of a resting order.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<(Side, Ticks, Lots)> {
        let order = self.orders[self.slot(id)? as usize];
        let price = self.ladder.price(order.level);
        Some((self.side_of(price), price, Lots(order.lots)))
    }

    /// What stands before a resting order at its price. Immediate for an own order; for another the queue is walked.
    #[must_use]
    pub fn ahead(&self, id: OrderId) -> Option<Ahead> {
        self.slot(id).map(|slot| self.ahead_of(slot))
    }

    /// The lots of a side at a price whose stamp is not later than `stamp`.
    #[must_use]
    pub fn ahead_of_stamp(&self, side: Side, price: Ticks, stamp: Stamp) -> Lots {
        let Some(level) = self.level(side, price) else { return Lots::ZERO };
        let mut lots = level.lots;
        let mut slot = level.tail;
        while slot != NONE && self.orders[slot as usize].priority.stamp > stamp {
            lots -= self.orders[slot as usize].lots;
            slot = self.orders[slot as usize].prev;
        }
        Lots(lots)
    }

    /// What a taker of `lots` would pay or get for the other side's resting orders, in half-tick-lots, and the lots
    /// that the book does not cover. Nothing is executed.
    #[must_use]
    pub fn sweep(&self, taker: Side, lots: Lots) -> (i128, Lots) {
        let mut left = lots;
        let mut value = 0;
        for quote in self.levels(!taker) {
            let part = left.min(quote.lots);
            value += quote.price.half_ticks().times(part);
            left -= part;
            if left == Lots::ZERO {
                break;
            }
        }
        (value, left)
    }

    /// Executes what crosses and rests the remainder, which is returned. The stamp places the remainder before resting
    /// orders with a later stamp; it gives no fill in retrospect (attribution: A7).
    ///
    /// # Panics
    /// If `lots` is zero or the id rests already.
    pub fn limit(
        &mut self,
        id: OrderId,
        side: Side,
        price: Ticks,
        lots: Lots,
        stamp: Stamp,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        assert!(lots > Lots::ZERO, "an order has a size");
        let mut left = lots;
        if side.reaches(price, self.best[(!side).index()].price) {
            left = self.take(id, side, lots, Some(price), fills);
        }
        if left > Lots::ZERO {
            self.rest(id, side, price, left, stamp);
        }
        left
    }

    /// Rests the order, unless some of it would execute: then nothing happens and the answer is false.
    ///
    /// # Panics
    /// As [`Book::limit`].
    #[must_use]
    pub fn post_only(&mut self, id: OrderId, side: Side, price: Ticks, lots: Lots, stamp: Stamp) -> bool {
        assert!(lots > Lots::ZERO, "an order has a size");
        let rests = !side.reaches(price, self.best[(!side).index()].price);
        if rests {
            self.rest(id, side, price, lots, stamp);
        }
        rests
    }

    /// Executes against the other side, no worse than `limit`, and returns what is left: an immediate-or-cancel order,
    /// or without a limit a market order.
    pub fn take(
        &mut self,
        taker: OrderId,
        side: Side,
        lots: Lots,
        limit: Option<Ticks>,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        let maker_side = !side;
        let mut left = lots;
        while left > Lots::ZERO {
            let Best { level, price } = self.best[maker_side.index()];
            if level == NONE || limit.is_some_and(|limit| !side.reaches(limit, price)) {
                break;
            }
            left = self.consume(level, taker, (maker_side, price), left, fills);
        }
        left
    }

    /// Executes up to `lots` against the named resting order, whatever stands before it, and returns what is left.
    /// A recording names the order that was hit.
    pub(crate) fn take_named(
        &mut self,
        taker: OrderId,
        victim: OrderId,
        lots: Lots,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        let Some(slot) = self.slot(victim) else { return lots };
        self.hit(slot, taker, lots, fills)
    }

    /// Executes up to `lots` against own orders of the other side only and returns what is left.
    pub(crate) fn take_own(
        &mut self,
        taker: OrderId,
        side: Side,
        lots: Lots,
        first: OwnFirst,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        let (limit, victim) = match first {
            OwnFirst::DownTo(limit) => (limit, None),
            OwnFirst::Before(id) => {
                let Some(slot) = self.slot(id) else { return lots };
                let order = self.orders[slot as usize];
                (self.ladder.price(order.level), Some(order))
            }
        };
        let mut left = lots;
        while left > Lots::ZERO {
            let Some(slot) = self.first_own(!side, limit) else { break };
            let own = self.orders[slot as usize];
            if victim.is_some_and(|victim| victim.level == own.level && victim.priority <= own.priority) {
                break;
            }
            left = self.hit(slot, taker, left, fills);
        }
        left
    }

    /// Removes an order and returns what it had left.
    pub fn cancel(&mut self, id: OrderId) -> Option<Lots> {
        let slot = self.ids[usize::from(id.is_own())].take(id.number())?;
        let lots = self.orders[slot as usize].lots;
        self.unlink(slot);
        Some(Lots(lots))
    }

    /// Takes lots off an order, which keeps its place, and returns what it has left; with nothing left it is removed.
    pub fn reduce(&mut self, id: OrderId, by: Lots) -> Option<Lots> {
        let slot = self.slot(id)?;
        let order = &mut self.orders[slot as usize];
        let left = order.lots.saturating_sub(by.0);
        if left == 0 {
            self.remove(slot);
        } else {
            order.lots = left;
            let Order { level, priority, .. } = *order;
            self.shrink(level, priority, by.0);
        }
        Some(Lots(left))
    }

    /// Changes an order's price and size and returns what rests. A smaller size at the same price keeps the place;
    /// a new price or a larger size gives it up and executes what crosses. `None` if the order no longer rests.
    ///
    /// # Panics
    /// If `lots` is zero.
    pub fn replace(
        &mut self,
        id: OrderId,
        price: Ticks,
        lots: Lots,
        stamp: Stamp,
        fills: &mut Vec<Fill>,
    ) -> Option<Lots> {
        assert!(lots > Lots::ZERO, "an order has a size");
        let (side, old_price, old_lots) = self.order(id)?;
        if price == old_price && lots <= old_lots {
            return self.reduce(id, old_lots - lots);
        }
        self.cancel(id);
        Some(self.limit(id, side, price, lots, stamp, fills))
    }
}

fn nothing(side: Side) -> Best {
    let price = match side {
        Side::Buy => Ticks(i64::MIN),
        Side::Sell => Ticks(i64::MAX),
    };
    Best { level: NONE, price }
}

/// From the best price of a side to the worse ones.
fn away(side: Side) -> Toward {
    match side {
        Side::Buy => Toward::Lower,
        Side::Sell => Toward::Higher,
    }
}

impl Book {
    #[inline]
    fn slot(&self, id: OrderId) -> Option<u32> {
        self.ids[usize::from(id.is_own())].get(id.number())
    }

    fn best_level(&self, side: Side) -> Option<Slot> {
        let level = self.best[side.index()].level;
        (level != NONE).then_some(level)
    }

    /// The side that rests at an occupied price: the book is never crossed.
    #[inline]
    fn side_of(&self, price: Ticks) -> Side {
        if price <= self.best[Side::Buy.index()].price { Side::Buy } else { Side::Sell }
    }

    fn level(&self, side: Side, price: Ticks) -> Option<&Level> {
        let slot = self.ladder.find(price)?;
        (self.side_of(price) == side).then(|| &self.levels[slot as usize])
    }

    fn chain(&self, head: u32) -> impl Iterator<Item = &Order> {
        let at = |slot: u32| self.orders.get(slot as usize);
        core::iter::successors(at(head), move |order| at(order.next))
    }

    fn ahead_of(&self, slot: u32) -> Ahead {
        let order = &self.orders[slot as usize];
        if order.watched != NONE {
            let mut watched = self.watched[order.watched as usize];
            for departure in self.departures_of(order.level) {
                watched.correct(departure);
            }
            return Ahead { orders: watched.orders, lots: Lots(watched.lots) };
        }
        let mut ahead = Ahead::default();
        let mut slot = order.prev;
        while slot != NONE {
            ahead.orders += 1;
            ahead.lots += Lots(self.orders[slot as usize].lots);
            slot = self.orders[slot as usize].prev;
        }
        ahead
    }

    #[inline]
    fn rest(&mut self, id: OrderId, side: Side, price: Ticks, lots: Lots, stamp: Stamp) {
        let level = self.ladder.insert(price);
        if level as usize >= self.levels.len() {
            self.grow_levels();
        }
        let slot = self.spare_slot();
        let priority = Priority { stamp, arrival: self.arrivals };
        self.arrivals += 1;
        let entry = &mut self.levels[level as usize];
        let (mut placed_orders, mut placed_lots) = (entry.orders, entry.lots);
        entry.lots += lots.0;
        entry.orders += 1;
        let tail = entry.tail;
        let (prev, next) = if tail == NONE {
            (entry.head, entry.tail) = (slot, slot);
            if side.prefers(price, self.best[side.index()].price) {
                self.best[side.index()] = Best { level, price };
            }
            (NONE, NONE)
        } else if self.orders[tail as usize].priority.stamp <= stamp {
            entry.tail = slot;
            self.orders[tail as usize].next = slot;
            (tail, NONE)
        } else {
            let (neighbours, behind) = self.squeeze(slot, level, priority, lots.0);
            placed_orders -= behind.0;
            placed_lots -= behind.1;
            neighbours
        };
        let lots = lots.0;
        self.orders[slot as usize] =
            Order { id, lots, priority, level, prev, next, watched: NONE, placed_orders, placed_lots };
        self.ids[usize::from(id.is_own())].insert(id.number(), slot);
        if id.is_own() {
            self.watch(slot);
        }
    }

    #[cold]
    fn grow_levels(&mut self) {
        self.levels.resize(self.ladder.slots(), EMPTY);
        if !self.departures.is_empty() {
            self.departures.resize(self.levels.len(), [NO_DEPARTURE; DEPARTURES]);
        }
    }

    /// An entry of `orders` that is free to write.
    #[inline]
    fn spare_slot(&mut self) -> u32 {
        let slot = self.spare_order;
        if slot != NONE {
            self.spare_order = self.orders[slot as usize].next;
            self.spare_orders -= 1;
            return slot;
        }
        let priority = Priority { stamp: Stamp(0), arrival: 0 };
        self.orders.push(Order {
            id: OrderId(0),
            lots: 0,
            priority,
            level: NONE,
            prev: NONE,
            next: NONE,
            watched: NONE,
            placed_orders: 0,
            placed_lots: 0,
        });
        let slot = u32::try_from(self.orders.len() - 1).ok().filter(|slot| *slot != NONE);
        slot.expect("fewer than 2^32 orders rest at once")
    }

    /// Makes room in a queue for an order that comes before its tail, and returns its neighbours and the orders and
    /// lots that come to stand behind it.
    #[cold]
    fn squeeze(&mut self, slot: u32, level: Slot, priority: Priority, lots: u64) -> ((u32, u32), (u32, u64)) {
        let mut next = self.levels[level as usize].tail;
        let mut prev = self.orders[next as usize].prev;
        let mut behind = (1, self.orders[next as usize].lots);
        while prev != NONE && self.orders[prev as usize].priority > priority {
            behind = (behind.0 + 1, behind.1 + self.orders[prev as usize].lots);
            (prev, next) = (self.orders[prev as usize].prev, prev);
        }
        self.orders[next as usize].prev = slot;
        match prev {
            NONE => self.levels[level as usize].head = slot,
            _ => self.orders[prev as usize].next = slot,
        }
        self.correct(level, &Departure { key: priority.key(), orders: 1, lots });
        ((prev, next), behind)
    }

    /// Starts keeping an own order's queue position.
    fn watch(&mut self, slot: u32) {
        let order = self.orders[slot as usize];
        if self.departures.is_empty() {
            self.departures.resize(self.levels.len(), [NO_DEPARTURE; DEPARTURES]);
        }
        // What has left by now is not in this order's position.
        self.settle(order.level);
        self.own_orders += 1;
        let key = order.priority.key();
        let mut place = (NONE, self.levels[order.level as usize].own);
        while place.1 != NONE && self.watched[place.1 as usize].key < key {
            place = (place.1, self.watched[place.1 as usize].next);
        }
        let Ahead { orders, lots } = order.placed();
        let watched = Watched { order: slot, next: place.1, key, orders, lots: lots.0 };
        let index = match self.spare_watched.pop() {
            Some(index) => {
                self.watched[index as usize] = watched;
                index
            }
            None => {
                self.watched.push(watched);
                self.watched.len() as u32 - 1
            }
        };
        *self.watch_link(order.level, place.0) = index;
        self.orders[slot as usize].watched = index;
    }

    fn unwatch(&mut self, level: Slot, index: u32) {
        let mut place = (NONE, self.levels[level as usize].own);
        while place.1 != index {
            place = (place.1, self.watched[place.1 as usize].next);
        }
        *self.watch_link(level, place.0) = self.watched[index as usize].next;
        self.spare_watched.push(index);
        self.own_orders -= 1;
    }

    fn watch_link(&mut self, level: Slot, before: u32) -> &mut u32 {
        match before {
            NONE => &mut self.levels[level as usize].own,
            _ => &mut self.watched[before as usize].next,
        }
    }

    /// Notes that orders and lots, given as two's complements, have left a level from the place `priority`.
    #[inline]
    fn depart(&mut self, level: Slot, priority: Priority, orders: u64, lots: u64) {
        if self.own_orders == 0 {
            return;
        }
        let entry = &mut self.levels[level as usize];
        let place = entry.departed as usize;
        entry.departed += 1;
        self.departures[level as usize][place] = Departure { key: priority.key(), orders, lots };
        if place == DEPARTURES - 1 {
            self.settle(level);
        }
    }

    /// Takes a level's departures off its own orders' positions.
    fn settle(&mut self, level: Slot) {
        let entry = &mut self.levels[level as usize];
        let departures = &self.departures[level as usize][..entry.departed as usize];
        let mut index = entry.own;
        while index != NONE {
            let watched = &mut self.watched[index as usize];
            for departure in departures {
                watched.correct(departure);
            }
            index = watched.next;
        }
        entry.departed = 0;
    }

    fn departures_of(&self, level: Slot) -> &[Departure] {
        let departures = self.departures.get(level as usize);
        departures.map_or(&[], |departures| &departures[..self.levels[level as usize].departed as usize])
    }

    /// Applies an arrival or a departure to the positions of a level's own orders at once.
    fn correct(&mut self, level: Slot, change: &Departure) {
        let mut index = self.levels[level as usize].own;
        while index != NONE {
            let watched = &mut self.watched[index as usize];
            watched.correct(change);
            index = watched.next;
        }
    }

    /// Books `lots` less at a level after an order with `priority` has lost them.
    #[inline]
    fn shrink(&mut self, level: Slot, priority: Priority, lots: u64) {
        self.levels[level as usize].lots -= lots;
        self.depart(level, priority, 0, lots.wrapping_neg());
    }

    #[inline]
    fn remove(&mut self, slot: u32) {
        let id = self.orders[slot as usize].id;
        self.ids[usize::from(id.is_own())].take(id.number());
        self.unlink(slot);
    }

    /// Removes an order whose id has been forgotten.
    #[inline]
    fn unlink(&mut self, slot: u32) {
        let order = &mut self.orders[slot as usize];
        let Order { lots, priority, level, prev, next, watched, .. } = *order;
        order.next = self.spare_order;
        self.spare_order = slot;
        self.spare_orders += 1;
        let entry = &mut self.levels[level as usize];
        entry.lots -= lots;
        entry.orders -= 1;
        match prev {
            NONE => entry.head = next,
            _ => self.orders[prev as usize].next = next,
        }
        match next {
            NONE => entry.tail = prev,
            _ => self.orders[next as usize].prev = prev,
        }
        if watched != NONE {
            self.unwatch(level, watched);
        }
        self.depart(level, priority, u64::MAX, lots.wrapping_neg());
        if self.levels[level as usize].orders == 0 {
            self.vacate(level);
        }
    }

    /// Frees an emptied level and finds the next best one if it was the best.
    fn vacate(&mut self, level: Slot) {
        for side in Side::BOTH {
            if self.best[side.index()].level == level {
                self.best[side.index()] = match self.ladder.next(level, away(side)) {
                    Some(level) => Best { level, price: self.ladder.price(level) },
                    None => nothing(side),
                };
            }
        }
        self.ladder.remove(level);
    }

    /// Executes against a level from its head.
    #[inline]
    fn consume(
        &mut self,
        level: Slot,
        taker: OrderId,
        (maker_side, price): (Side, Ticks),
        lots: Lots,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        let mut left = lots.0;
        let mut ahead_at_fill = Ahead::default();
        while left > 0 {
            let slot = self.levels[level as usize].head;
            let order = &mut self.orders[slot as usize];
            let part = left.min(order.lots);
            let maker_left = Lots(order.lots - part);
            let (maker, lots, ahead_at_arrival) = (order.id, Lots(part), order.placed());
            let fill =
                Fill { maker, taker, maker_side, price, lots, maker_left, ahead_at_arrival, ahead_at_fill };
            fills.push(fill);
            ahead_at_fill.orders += 1;
            ahead_at_fill.lots += lots;
            left -= part;
            if maker_left > Lots::ZERO {
                order.lots -= part;
                let priority = order.priority;
                self.shrink(level, priority, part);
                break;
            }
            let last = order.next == NONE;
            self.remove(slot);
            if last {
                break;
            }
        }
        Lots(left)
    }

    fn hit(&mut self, slot: u32, taker: OrderId, lots: Lots, fills: &mut Vec<Fill>) -> Lots {
        let order = self.orders[slot as usize];
        let price = self.ladder.price(order.level);
        let part = Lots(lots.0.min(order.lots));
        if part > Lots::ZERO {
            let (maker_side, maker_left) = (self.side_of(price), Lots(order.lots) - part);
            let mut ahead_at_fill = self.ahead_of(slot);
            for taken in fills.iter().rev().take_while(|fill| fill.taker == taker && fill.price == price) {
                ahead_at_fill.orders += u64::from(taken.maker_left == Lots::ZERO);
                ahead_at_fill.lots += taken.lots;
            }
            let (maker, lots, ahead_at_arrival) = (order.id, part, order.placed());
            let fill =
                Fill { maker, taker, maker_side, price, lots, maker_left, ahead_at_arrival, ahead_at_fill };
            fills.push(fill);
            self.reduce(maker, part);
        }
        lots - part
    }

    /// The own order of a side that is first in priority, no worse than `limit`.
    fn first_own(&self, side: Side, limit: Ticks) -> Option<u32> {
        if self.own_orders == 0 {
            return None;
        }
        let mut level = self.best_level(side)?;
        while side.sign() * (self.ladder.price(level) - limit) >= 0 {
            let own = self.levels[level as usize].own;
            if own != NONE {
                return Some(self.watched[own as usize].order);
            }
            level = self.ladder.next(level, away(side))?;
        }
        None
    }

    /// Checks every invariant from scratch.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        let [bid, ask] = self.best.map(|best| best.price);
        assert!(bid < ask, "the book is not crossed");
        let mut orders = 0;
        for side in Side::BOTH {
            let mut last = None;
            for quote in self.levels(side) {
                assert!(
                    last.is_none_or(|last| side.prefers(last, quote.price)),
                    "levels go away from the best"
                );
                assert_eq!(self.side_of(quote.price), side);
                last = Some(quote.price);
                orders += self.check_level(side, quote);
            }
        }
        assert_eq!(orders, self.orders.len() - self.spare_orders, "every order rests at a level");
        let own = Side::BOTH
            .map(|side| self.levels(side).map(|quote| self.own_at(side, quote.price)).sum::<usize>());
        assert_eq!(own[0] + own[1], self.watched.len() - self.spare_watched.len());
        assert_eq!(own[0] + own[1], self.own_orders as usize);
    }

    fn own_at(&self, side: Side, price: Ticks) -> usize {
        self.queue(side, price).filter(|(id, _)| id.is_own()).count()
    }

    /// Checks one level and returns the number of its orders.
    fn check_level(&self, side: Side, quote: Quote) -> usize {
        let level = self.level(side, quote.price).expect("a listed level exists");
        let mut own = level.own;
        let mut ahead = Ahead::default();
        let mut last: Option<&Order> = None;
        for order in self.chain(level.head) {
            assert!(order.lots > 0, "a resting order has a size");
            assert!(last.is_none_or(|last| last.priority < order.priority), "orders stand in priority");
            let slot = self.slot(order.id).expect("a resting order has its id");
            assert_eq!(self.orders[slot as usize].priority, order.priority);
            assert_eq!(last.and_then(|last| self.slot(last.id)).unwrap_or(NONE), order.prev);
            if order.id.is_own() {
                assert_eq!(own, order.watched, "own orders are listed in priority");
                let watched = self.watched[own as usize];
                assert_eq!(self.ahead_of(slot), ahead);
                own = watched.next;
            }
            ahead.orders += 1;
            ahead.lots += Lots(order.lots);
            last = Some(order);
        }
        assert_eq!(own, NONE, "no own order is listed twice");
        assert_eq!(ahead, Ahead { orders: u64::from(level.orders), lots: quote.lots });
        assert_eq!(last.and_then(|last| self.slot(last.id)).unwrap_or(NONE), level.tail);
        ahead.orders as usize
    }
}
