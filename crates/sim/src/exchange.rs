//! The exchange's side: own requests arrive, fill and expire, and reports go back.

use numashock_accounting::End;
use numashock_book::{Fill, HalfTicks, Lots, OrderId, Side, Stamp, Ticks};
use numashock_engine::Nanos;
use numashock_execution::{ChildId, Message, ParentId, Request, TimeInForce};

use crate::dispatch::InFlight;
use crate::event::{Event, kind};
use crate::simulation::Simulation;
use crate::trail::{QueueAhead, Step};

impl Simulation<'_> {
    /// A request reaches the exchange.
    pub(crate) fn arrive(&mut self, now: Nanos, slot: u32) {
        let InFlight { request, journey } = self.dispatch.take_in_flight(slot);
        let (child, on_time) = (request.child(), journey.on_time);
        let id = self.execution.parent_of(child);
        let parent = self.execution.parent_of(child).0 as usize;
        let stamp = if self.mechanisms.queue_decay { now } else { on_time };
        self.hash.record(
            now,
            kind::ARRIVAL,
            [u64::from(child.0), stamp.0 ^ u64::from(matches!(request, Request::Replace { .. }))],
        );
        if self.parents[parent].is_over(now) {
            self.report(now, Message::Cancelled { child });
            return;
        }
        self.telemetry.arrival();
        self.parents[parent].tape().record_arrival(self.last_mid);
        let arrived = Step { at: now, mid: self.last_mid };
        match request {
            Request::New { side, price, lots, time_in_force, .. } => {
                self.parents[parent].children += 1;
                self.trails.placed((child, id), journey, arrived, price, lots);
                let queue = self.queue_when_on_time(now, on_time, side, price);
                let left = self.enter(child, (side, price, lots), time_in_force, Stamp::from(stamp));
                let Some(left) = left else {
                    self.own_orders_changed(now);
                    self.report(now, Message::Cancelled { child });
                    return;
                };
                self.journal.added(now, side, price, left);
                self.after_placed(now, child, (side, price, left), queue, on_time);
            }
            Request::Cancel { .. } => {
                // An order that is gone was filled or expired, and the report of that is on its way.
                let Some((side, price, lots)) = self.book.order(own(child)) else { return };
                self.book.cancel(own(child));
                self.journal.removed(now, side, price, lots);
                self.report(now, Message::Cancelled { child });
            }
            Request::Replace { price, time_in_force, .. } => {
                // An order that is gone was filled or expired, and the report of that is on its way.
                let Some((side, old_price, lots)) = self.book.order(own(child)) else { return };
                let queue = self.queue_when_on_time(now, on_time, side, price);
                if old_price != price {
                    self.trails.placed((child, id), journey, arrived, price, lots);
                }
                let left = self.move_to(child, (price, lots), time_in_force, Stamp::from(stamp));
                self.journal.removed(now, side, old_price, lots);
                let Some(left) = left else {
                    self.own_orders_changed(now);
                    self.report(now, Message::Cancelled { child });
                    return;
                };
                self.journal.added(now, side, price, left);
                if old_price == price {
                    self.report(now, Message::Accepted { child, price });
                } else {
                    self.after_placed(now, child, (side, price, left), queue, on_time);
                }
            }
        }
        self.own_orders_changed(now);
    }

    /// Moves an order and gives what rests of it; `None` if the rest is cancelled or the whole refused.
    fn move_to(
        &mut self,
        child: ChildId,
        (price, lots): (Ticks, Lots),
        time_in_force: TimeInForce,
        stamp: Stamp,
    ) -> Option<Lots> {
        let id = own(child);
        if time_in_force == TimeInForce::Day {
            return Some(self.book.replace(id, price, lots, stamp, &mut self.fills).unwrap_or(Lots(0)));
        }
        let (side, ..) = self.book.order(id)?;
        self.book.cancel(id);
        self.enter(child, (side, price, lots), time_in_force, stamp)
    }

    /// Enters a new order and gives what rests of it; `None` if the rest is cancelled or the whole refused.
    fn enter(
        &mut self,
        child: ChildId,
        (side, price, lots): (Side, Ticks, Lots),
        time_in_force: TimeInForce,
        stamp: Stamp,
    ) -> Option<Lots> {
        let id = own(child);
        match time_in_force {
            TimeInForce::Day => Some(self.book.limit(id, side, price, lots, stamp, &mut self.fills)),
            TimeInForce::ImmediateOrCancel => {
                let left = self.book.take(id, side, lots, Some(price), &mut self.fills);
                (left == Lots::ZERO).then_some(left)
            }
            TimeInForce::PostOnly => self.book.post_only(id, side, price, lots, stamp).then_some(lots),
        }
    }

    /// A parent's deadline: its children leave the book, and the rest is marked both ways (market: 4.1).
    pub(crate) fn expire(&mut self, now: Nanos, parent: ParentId) {
        for child in self.execution.children_of(parent) {
            if let Some((side, price, lots)) = self.book.order(own(child)) {
                self.book.cancel(own(child));
                self.journal.removed(now, side, price, lots);
                self.report(now, Message::Cancelled { child });
            }
        }
        self.own_orders_changed(now);
        let totals = self.host.totals();
        let tape = *self.parents[parent.0 as usize].tape();
        let (mut cleanup_cost, uncovered) = self.book.sweep(tape.side(), tape.unfinished());
        if uncovered > Lots(0) {
            cleanup_cost += self.beyond_the_book(!tape.side()).times(uncovered);
        }
        self.hash.record(now, kind::EXPIRY, [u64::from(parent.0), tape.filled().0]);
        let end = End { mid: self.last_mid, cleanup_cost };
        let missed = self.parents[parent.0 as usize].close(end, totals);
        self.telemetry.parent_ended(missed);
    }

    /// Books the own side of a fill. Two own parents may meet each other: then both sides are booked.
    pub(crate) fn book_own_fill(&mut self, now: Nanos, fill: &Fill) {
        for (id, fee) in [(fill.maker, self.config.make_fee), (fill.taker, self.config.take_fee)] {
            if !id.is_own() {
                continue;
            }
            let child = child_of(id);
            let parent = self.execution.parent_of(child).0 as usize;
            let tape = self.parents[parent].tape();
            let price = HalfTicks::from(fill.price);
            tape.record_fill(price, fill.lots);
            tape.record_fee(i128::from(fee) * i128::from(fill.lots.0));
            let decision = (tape.side(), tape.decision_mid());
            let path = self.trails.filled(child, decision, price, fill.lots);
            self.parents[parent].path += path;
            self.telemetry.fill();
            self.report(now, Message::Filled { child, lots: fill.lots });
        }
    }

    fn report(&mut self, now: Nanos, message: Message) {
        self.queue.push(self.dispatch.report_arrives(now), Event::Ready(message));
    }

    fn own_orders_changed(&mut self, now: Nanos) {
        self.after_book_changed(now);
        self.flow.own_order_changed(now, &self.book);
    }

    /// Measures what lateness cost in queue position and confirms what rests.
    fn after_placed(
        &mut self,
        now: Nanos,
        child: ChildId,
        (side, price, left): (Side, Ticks, Lots),
        queue_on_time: Lots,
        on_time: Nanos,
    ) {
        if left == Lots(0) {
            return;
        }
        let rests_passively = self.fills.iter().all(|fill| fill.taker != own(child));
        if rests_passively {
            let ahead = self.book.ahead(own(child)).map_or(Lots(0), |ahead| ahead.lots);
            let ahead_on_time = self.ahead_had_it_been_on_time(now, on_time, (side, price, left))
                + self.siblings_that_were_late_too(on_time, side, price, child);
            self.trails.queued(child, QueueAhead { lots: ahead, on_time: ahead_on_time });
            let lost = i64::try_from(ahead.0).unwrap_or(i64::MAX)
                - i64::try_from(ahead_on_time.0).unwrap_or(i64::MAX);
            self.dispatch.placed(child, now, on_time, lost);
            let parent = self.execution.parent_of(child).0 as usize;
            self.parents[parent].decay.record(lost, queue_on_time.0);
            self.telemetry.passive_child(lost, queue_on_time.0);
        }
        self.report(now, Message::Accepted { child, price });
    }

    /// Lots that would stand before the child now, had it arrived on time: those with an earlier or equal stamp.
    fn ahead_had_it_been_on_time(
        &self,
        now: Nanos,
        on_time: Nanos,
        (side, price, left): (Side, Ticks, Lots),
    ) -> Lots {
        let earlier = self.book.ahead_of_stamp(side, price, Stamp::from(on_time));
        // The child's own stamp is its arrival, or with a phantom place its on-time arrival.
        let own_counts = on_time >= now || !self.mechanisms.queue_decay;
        if own_counts { earlier.saturating_sub(left) } else { earlier }
    }

    /// Lots of own orders that stand ahead with a later stamp only because the same stalls delayed them: on time they
    /// would have stood ahead as well.
    fn siblings_that_were_late_too(&self, on_time: Nanos, side: Side, price: Ticks, child: ChildId) -> Lots {
        let ahead = self.book.queue(side, price).take_while(|(id, _)| *id != own(child));
        let late = ahead.filter(|(id, _)| {
            let placed = id.is_own().then(|| self.dispatch.placed_at(child_of(*id))).flatten();
            placed.is_some_and(|(arrived, due)| arrived > on_time && due <= on_time)
        });
        Lots(late.map(|(_, lots)| lots.0).sum())
    }

    /// Lots at the child's price at its on-time arrival.
    fn queue_when_on_time(&self, now: Nanos, on_time: Nanos, side: Side, price: Ticks) -> Lots {
        let here = self.book.lots_at(side, price);
        if on_time >= now { here } else { self.journal.lots_then(on_time, side, price, here) }
    }

    /// Where the book ends the rest is priced a tick beyond its last price.
    fn beyond_the_book(&self, side: Side) -> HalfTicks {
        match self.book.levels(side).last() {
            Some(quote) => HalfTicks::from(quote.price.behind(side, 1)),
            None => self.last_mid,
        }
    }
}

fn own(child: ChildId) -> OrderId {
    OrderId::own(u64::from(child.0))
}

fn child_of(id: OrderId) -> ChildId {
    ChildId(u32::try_from(id.number()).expect("own orders are numbered by child"))
}
