//! The way of each child to the market: when it took which step, at which mid, and what its fills cost (market: 4.1).

use std::collections::VecDeque;

use numashock_accounting::{ChildMids, ChildPath};
use numashock_book::{HalfTicks, Lots, Side, Ticks};
use numashock_engine::Nanos;
use numashock_execution::{ChildId, ParentId};

/// A step of a child's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Nanos,
    /// The mid then.
    pub mid: HalfTicks,
}

/// What a request went through before it reached the exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journey {
    /// The message that led to it became ready for the dispatch thread.
    pub(crate) decided: Step,
    /// It left the thread.
    pub(crate) dispatched: Step,
    /// It would have arrived, had nothing stalled.
    pub(crate) on_time: Nanos,
}

/// Lots that stood ahead of a child when it took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAhead {
    /// Really.
    pub lots: Lots,
    /// Had it been on time.
    pub on_time: Lots,
}

/// A child order that reached the exchange.
///
/// Its steps are those of the latest request that set its place: the new order, or the last replacement that moved it. A
/// replacement that finds it gone, or at that price already, sets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildResult {
    /// Its number.
    pub child: ChildId,
    /// Whose it is.
    pub parent: ParentId,
    /// When the message that led to the request became ready for the dispatch thread.
    pub decided: Step,
    /// When the request left the dispatch thread.
    pub dispatched: Step,
    /// When it reached the exchange; the mid is that before it had any effect.
    pub arrived: Step,
    /// When it would have arrived had nothing stalled (attribution: A7).
    pub on_time: Nanos,
    /// Requests that set its place, the first one included.
    pub placements: u32,
    /// The limit of the latest.
    pub price: Ticks,
    /// The size it was sent with.
    pub lots: Lots,
    /// Lots filled, at any of its places.
    pub filled: Lots,
    /// The queue it joined at its latest place; `None` if it took liquidity there or was refused.
    pub queue: Option<QueueAhead>,
    /// Whether it joined a queue at any of its places.
    pub ever_rested: bool,
    /// What its fills cost against the parent's decision mid, step by step.
    pub path: ChildPath,
}

/// All children of a run, a record each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trails(Vec<Option<ChildResult>>);

impl Trails {
    /// A request takes a place, or is about to try.
    pub(crate) fn placed(
        &mut self,
        (child, parent): (ChildId, ParentId),
        journey: Journey,
        arrived: Step,
        price: Ticks,
        lots: Lots,
    ) {
        let index = child.0 as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        let Journey { decided, dispatched, on_time } = journey;
        assert!(decided.at <= dispatched.at && dispatched.at <= arrived.at, "a child's steps are in order");
        let before = self.0[index];
        self.0[index] = Some(ChildResult {
            child,
            parent,
            decided,
            dispatched,
            arrived,
            on_time,
            placements: before.map_or(0, |trail| trail.placements) + 1,
            price,
            lots: before.map_or(lots, |trail| trail.lots),
            filled: before.map_or(Lots::ZERO, |trail| trail.filled),
            queue: None,
            ever_rested: before.is_some_and(|trail| trail.ever_rested),
            path: before.map_or(ChildPath::default(), |trail| trail.path),
        });
    }

    /// The child has joined a queue.
    pub(crate) fn queued(&mut self, child: ChildId, queue: QueueAhead) {
        let trail = self.trail(child);
        (trail.queue, trail.ever_rested) = (Some(queue), true);
    }

    /// The child was filled. Gives what that cost, step by step.
    pub(crate) fn filled(
        &mut self,
        child: ChildId,
        (side, decision): (Side, HalfTicks),
        price: HalfTicks,
        lots: Lots,
    ) -> ChildPath {
        let trail = self.trail(child);
        let mids = ChildMids {
            decision,
            decide: trail.decided.mid,
            dispatch: trail.dispatched.mid,
            arrive: trail.arrived.mid,
        };
        let path = ChildPath::of(side, mids, price, lots);
        trail.path += path;
        trail.filled += lots;
        path
    }

    pub(crate) fn into_results(self) -> Vec<ChildResult> {
        self.0.into_iter().flatten().collect()
    }

    fn trail(&mut self, child: ChildId) -> &mut ChildResult {
        let trail = self.0.get_mut(child.0 as usize).and_then(Option::as_mut);
        trail.expect("a child arrives before it rests or trades")
    }
}

/// The mid of the recent past: as far back as any message waits.
#[derive(Clone, Debug)]
pub(crate) struct MidHistory {
    changes: VecDeque<Step>,
}

impl MidHistory {
    pub(crate) fn new(mid: HalfTicks) -> MidHistory {
        MidHistory { changes: VecDeque::from([Step { at: Nanos::ZERO, mid }]) }
    }

    /// The mid is `mid` from `now` on. What was before `oldest` is not asked for again.
    pub(crate) fn record(&mut self, now: Nanos, mid: HalfTicks, oldest: Nanos) {
        if self.now() != mid {
            self.changes.push_back(Step { at: now, mid });
            while self.changes.get(1).is_some_and(|second| second.at <= oldest) {
                self.changes.pop_front();
            }
        }
    }

    /// The mid after the last change.
    pub(crate) fn now(&self) -> HalfTicks {
        self.changes.back().expect("there is always a mid").mid
    }

    /// The mid at the end of the nanosecond `at`.
    pub(crate) fn then(&self, at: Nanos) -> Step {
        let later = self.changes.partition_point(|change| change.at <= at);
        Step { at, mid: self.changes[later.saturating_sub(1)].mid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_kept_as_long_as_it_is_asked_for() {
        let mut mids = MidHistory::new(HalfTicks(10));
        for (at, mid, oldest) in [(5, 11, 0), (7, 11, 0), (9, 12, 4), (9, 13, 4), (20, 14, 9)] {
            mids.record(Nanos(at), HalfTicks(mid), Nanos(oldest));
        }
        let then = |at: u64| mids.then(Nanos(at)).mid.0;
        assert_eq!([then(9), then(19), then(20), then(99)], [13, 13, 14, 14]);
        assert_eq!(mids.changes.len(), 2, "the rest was let go");
        assert_eq!(mids.now(), HalfTicks(14));
    }

    #[test]
    fn a_replacement_begins_a_new_way_and_keeps_what_was_filled() {
        let step = |at, mid| Step { at: Nanos(at), mid: HalfTicks(mid) };
        let names = (ChildId(3), ParentId(0));
        let journey = |at, mid| Journey {
            decided: step(at, mid),
            dispatched: step(at + 1, mid + 2),
            on_time: Nanos(at + 1),
        };
        let mut trails = Trails::default();
        trails.placed(names, journey(10, 100), step(12, 103), Ticks(50), Lots(9));
        trails.queued(names.0, QueueAhead { lots: Lots(4), on_time: Lots(1) });
        let first = trails.filled(names.0, (Side::Buy, HalfTicks(99)), HalfTicks(100), Lots(2));
        assert_eq!(first, ChildPath { schedule: 2, host: 4, wire: 2, spread_and_impact: -6 });
        trails.placed(names, journey(20, 110), step(25, 112), Ticks(56), Lots(7));
        trails.filled(names.0, (Side::Buy, HalfTicks(99)), HalfTicks(112), Lots(1));
        let [trail] = trails.into_results().try_into().expect("one child");
        assert_eq!((trail.placements, trail.lots, trail.filled, trail.queue), (2, Lots(9), Lots(3), None));
        assert_eq!(trail.path, ChildPath { schedule: 13, host: 6, wire: 2, spread_and_impact: -6 });
        assert_eq!(trail.arrived, step(25, 112));
    }
}
