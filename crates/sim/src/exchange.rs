//! The exchange's side: own requests arrive, fill and expire, and reports go back.

use numashock_accounting::End;
use numashock_book::{Fill, HalfTicks, Lots, Side, Stamp, Ticks};
use numashock_engine::Nanos;
use numashock_execution::{ChildId, Message, ParentId, Request};

use crate::desk_log::DeskWhat;
use crate::dispatch::InFlight;
use crate::event::{Event, kind};
use crate::notes::{OwnFill, Queued, note_fill, note_gone, note_queued};
use crate::scenario::config::HostId;
use crate::simulation::Simulation;
use crate::trail::{QueueAhead, Step};
use crate::venue::{child_of, own};

impl Simulation<'_> {
    /// A host's request reaches the exchange.
    pub(crate) fn arrive(&mut self, now: Nanos, host: HostId, slot: u32) {
        let InFlight { request, journey } = self.hosts[host.index()].dispatch.take_in_flight(slot);
        let (child, on_time) = (request.child(), journey.on_time);
        let id = self.parent_of(child);
        let (parent, symbol) = (id.0 as usize, self.venue_of(id));
        let stamp = if self.mechanisms.queue_decay { now } else { on_time };
        self.hash.record(
            now,
            kind::ARRIVAL,
            [u64::from(child.0), stamp.0 ^ u64::from(matches!(request, Request::Replace { .. }))],
        );
        if self.parents[parent].is_over(now) {
            self.report(now, host, Message::Cancelled { child });
            return;
        }
        self.hosts[host.index()].telemetry.arrival();
        let arrived = Step { at: now, mid: self.venues[symbol].last_mid };
        self.parents[parent].tape().record_arrival(arrived.mid);
        match request {
            Request::New { side, price, lots, time_in_force, .. } => {
                self.parents[parent].children += 1;
                self.trails.placed((child, id), journey, arrived, price, lots);
                let queue = self.queue_when_on_time(now, on_time, (symbol, side, price));
                let venue = &mut self.venues[symbol];
                let left = venue.enter(child, (side, price, lots), time_in_force, Stamp::from(stamp));
                let Some(left) = left else {
                    self.own_orders_changed(now, symbol);
                    self.report(now, host, Message::Cancelled { child });
                    return;
                };
                venue.journal.added(now, side, price, left);
                self.after_placed(now, child, (side, price, left), queue, on_time);
            }
            Request::Cancel { .. } => {
                // An order that is gone was filled or expired, and the report of that is on its way.
                let venue = &mut self.venues[symbol];
                let Some((side, price, lots)) = venue.book.order(own(child)) else { return };
                venue.book.cancel(own(child));
                venue.journal.removed(now, side, price, lots);
                self.report(now, host, Message::Cancelled { child });
            }
            Request::Replace { price, time_in_force, .. } => {
                // An order that is gone was filled or expired, and the report of that is on its way.
                let Some((side, old_price, lots)) = self.venues[symbol].book.order(own(child)) else {
                    return;
                };
                let queue = self.queue_when_on_time(now, on_time, (symbol, side, price));
                if old_price != price {
                    self.trails.placed((child, id), journey, arrived, price, lots);
                }
                let venue = &mut self.venues[symbol];
                let left = venue.move_to(child, (price, lots), time_in_force, Stamp::from(stamp));
                venue.journal.removed(now, side, old_price, lots);
                let Some(left) = left else {
                    self.own_orders_changed(now, symbol);
                    self.report(now, host, Message::Cancelled { child });
                    return;
                };
                venue.journal.added(now, side, price, left);
                if old_price == price {
                    self.report(now, host, Message::Accepted { child, price });
                } else {
                    self.after_placed(now, child, (side, price, left), queue, on_time);
                }
            }
        }
        self.own_orders_changed(now, symbol);
    }

    /// The parent of a child; every host numbers all children alike.
    pub(crate) fn parent_of(&self, child: ChildId) -> ParentId {
        self.hosts[0].execution.parent_of(child)
    }

    /// A parent's deadline: its children leave the book, and the rest is marked both ways (market: 4.1).
    pub(crate) fn expire(&mut self, now: Nanos, parent: ParentId) {
        let (host, symbol) = (self.host_of(parent), self.venue_of(parent));
        for child in self.hosts[host.index()].execution.children_of(parent) {
            let venue = &mut self.venues[symbol];
            if let Some((side, price, lots)) = venue.book.order(own(child)) {
                venue.book.cancel(own(child));
                venue.journal.removed(now, side, price, lots);
                self.report(now, host, Message::Cancelled { child });
            }
        }
        self.own_orders_changed(now, symbol);
        let totals = self.hosts[host.index()].host.totals();
        let venue = &self.venues[symbol];
        let tape = *self.parents[parent.0 as usize].tape();
        let (mut cleanup_cost, uncovered) = venue.book.sweep(tape.side(), tape.unfinished());
        if uncovered > Lots(0) {
            cleanup_cost += venue.beyond_the_book(!tape.side()).times(uncovered);
        }
        self.hash.record(now, kind::EXPIRY, [u64::from(parent.0), tape.filled().0]);
        let end = End { mid: venue.last_mid, cleanup_cost };
        let missed = self.parents[parent.0 as usize].close(end, totals);
        let segment = self.parents[parent.0 as usize].segment;
        let telemetry = &mut self.hosts[host.index()].telemetry;
        telemetry.parent_ended(segment, missed);
        telemetry.log.add(now, DeskWhat::ParentEnd { segment, parent, missed });
    }

    /// Books the own side of a fill. Two own parents may meet each other: then both sides are booked.
    pub(crate) fn book_own_fill(&mut self, now: Nanos, fill: &Fill) {
        for (id, makes) in [(fill.maker, true), (fill.taker, false)] {
            if !id.is_own() {
                continue;
            }
            let child = child_of(id);
            let parent = self.parent_of(child).0 as usize;
            let strategy = self.config.strategy_of(self.parents[parent].order());
            let fee = if makes { strategy.make_fee } else { strategy.take_fee };
            let tape = self.parents[parent].tape();
            let price = HalfTicks::from(fill.price);
            tape.record_fill(price, fill.lots);
            tape.record_fee(i128::from(fee) * i128::from(fill.lots.0));
            let decision = (tape.side(), tape.decision_mid());
            let path = self.trails.filled(child, decision, price, fill.lots);
            self.parents[parent].path += path;
            let (parent, lots) = (self.parent_of(child), fill.lots);
            let telemetry = &mut self.hosts[strategy.host.index()].telemetry;
            telemetry.fill();
            telemetry.log.add(now, DeskWhat::Fill { parent, child, lots: lots.0 });
            note_fill(&mut self.hash, now, &OwnFill { child, parent, price, lots, makes });
            self.report(now, strategy.host, Message::Filled { child, lots });
        }
    }

    fn report(&mut self, now: Nanos, host: HostId, message: Message) {
        if let Message::Cancelled { child } = message {
            note_gone(&mut self.hash, now, child);
        }
        let at = self.hosts[host.index()].dispatch.report_arrives(now);
        self.queue.push(at, Event::Ready(host, message));
    }

    fn own_orders_changed(&mut self, now: Nanos, symbol: usize) {
        self.after_book_changed(now, symbol);
        let venue = &mut self.venues[symbol];
        venue.flow.own_order_changed(now, &venue.book);
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
        let parent = self.parent_of(child);
        let (host, symbol) = (self.host_of(parent), self.venue_of(parent));
        let rests_passively = self.venues[symbol].fills.iter().all(|fill| fill.taker != own(child));
        if rests_passively {
            let ahead = self.venues[symbol].book.ahead(own(child)).map_or(Lots(0), |ahead| ahead.lots);
            let ahead_on_time = self.ahead_had_it_been_on_time(now, on_time, symbol, (side, price, left))
                + self.siblings_that_were_late_too(on_time, symbol, (side, price, child));
            self.trails.queued(child, QueueAhead { lots: ahead, on_time: ahead_on_time });
            note_queued(&mut self.hash, now, &Queued { child, price, lots: left, ahead, ahead_on_time });
            let hosted = &mut self.hosts[host.index()];
            let lost = i64::try_from(ahead.0).unwrap_or(i64::MAX)
                - i64::try_from(ahead_on_time.0).unwrap_or(i64::MAX);
            hosted.dispatch.placed(child, now, on_time, lost);
            let id = parent;
            let parent = &mut self.parents[parent.0 as usize];
            parent.decay.record(lost, queue_on_time.0);
            let segment = parent.segment;
            hosted.telemetry.passive_child(segment, lost, queue_on_time.0);
            let (ahead, on_time) = (ahead.0, queue_on_time.0);
            let joined = DeskWhat::Ack { segment, parent: id, child, ahead, lost, on_time };
            hosted.telemetry.log.add(now, joined);
        }
        self.report(now, host, Message::Accepted { child, price });
    }

    /// Lots that would stand before the child now, had it arrived on time: those with an earlier or equal stamp.
    fn ahead_had_it_been_on_time(
        &self,
        now: Nanos,
        on_time: Nanos,
        symbol: usize,
        (side, price, left): (Side, Ticks, Lots),
    ) -> Lots {
        let earlier = self.venues[symbol].book.ahead_of_stamp(side, price, Stamp::from(on_time));
        // The child's own stamp is its arrival, or with a phantom place its on-time arrival.
        let own_counts = on_time >= now || !self.mechanisms.queue_decay;
        if own_counts { earlier.saturating_sub(left) } else { earlier }
    }

    /// Lots of own orders that stand ahead with a later stamp only because the same stalls delayed them: on time they
    /// would have stood ahead as well.
    fn siblings_that_were_late_too(
        &self,
        on_time: Nanos,
        symbol: usize,
        (side, price, child): (Side, Ticks, ChildId),
    ) -> Lots {
        let ahead = self.venues[symbol].book.queue(side, price).take_while(|(id, _)| *id != own(child));
        let late = ahead.filter(|(id, _)| {
            let placed = id.is_own().then(|| self.placed_at(child_of(*id))).flatten();
            placed.is_some_and(|(arrived, due)| arrived > on_time && due <= on_time)
        });
        Lots(late.map(|(_, lots)| lots.0).sum())
    }

    fn placed_at(&self, child: ChildId) -> Option<(Nanos, Nanos)> {
        let host = self.host_of(self.parent_of(child));
        self.hosts[host.index()].dispatch.placed_at(child)
    }

    /// Lots at the child's price at its on-time arrival.
    fn queue_when_on_time(
        &self,
        now: Nanos,
        on_time: Nanos,
        (symbol, side, price): (usize, Side, Ticks),
    ) -> Lots {
        let venue = &self.venues[symbol];
        let here = venue.book.lots_at(side, price);
        if on_time >= now { here } else { venue.journal.lots_then(on_time, side, price, here) }
    }
}
