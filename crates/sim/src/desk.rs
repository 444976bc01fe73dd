//! What the desk writes down about each parent while it is worked.

use numashock_accounting::{ChildPath, End, ParentTape, Shortfalls};
use numashock_book::{HalfTicks, Lots};
use numashock_engine::{Nanos, Span};
use numashock_execution::ParentOrder;

use crate::metrics::SegmentId;
use crate::scenario::config::HostId;

/// Nanoseconds by owner (attribution: A5), as charged to the dispatch thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallTotals {
    /// H.
    pub hint_fault: Span,
    /// M.
    pub migration_copy: Span,
    /// D, without its transmission through the queue.
    pub dispatch_jitter: Span,
    /// Time messages waited in the dispatch queue.
    pub queue_wait: Span,
}

impl StallTotals {
    pub(crate) fn since(&self, earlier: &StallTotals) -> StallTotals {
        StallTotals {
            hint_fault: self.hint_fault - earlier.hint_fault,
            migration_copy: self.migration_copy - earlier.migration_copy,
            dispatch_jitter: self.dispatch_jitter - earlier.dispatch_jitter,
            queue_wait: self.queue_wait - earlier.queue_wait,
        }
    }
}

/// The market at a decision: what parents are matched by when their shortfalls are compared (playbook: 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Best ask less best bid, ticks. `None` while a side of the book is empty.
    pub spread_ticks: Option<u64>,
    /// The squared changes of the mid over the last whole second, summed, in half-ticks². `None` in the first second.
    pub variation: Option<u64>,
}

/// A parent's life, closed at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentResult {
    /// The order.
    pub order: ParentOrder,
    /// The host it was worked on.
    pub host: HostId,
    /// Mid at the decision.
    pub decision_mid: HalfTicks,
    /// The market at the decision.
    pub conditions: Conditions,
    /// Lots filled by the deadline.
    pub filled: Lots,
    /// The shortfall under both marks.
    pub shortfalls: Shortfalls,
    /// Orders that reached the exchange; a child that came back and entered again counts again.
    pub children: u32,
    /// Requests that left the dispatch thread.
    pub releases: u32,
    /// Cancel/replace requests among them.
    pub reprices: u32,
    /// QDL: mean over its passive children of the lots lost to lateness per million lots of queue.
    pub queue_decay_ppm: Option<i64>,
    /// Stalls of the dispatch thread during its life.
    pub stalls: StallTotals,
    /// What its fills cost, by the steps of its children: the sum is Σ s·(price − decision mid)·lots.
    pub path: ChildPath,
}

/// A parent that is being worked.
#[derive(Clone, Debug)]
pub(crate) struct OpenParent {
    order: ParentOrder,
    pub(crate) host: HostId,
    /// Its place among the host's segments.
    pub(crate) segment: SegmentId,
    conditions: Conditions,
    tape: Option<ParentTape>,
    began_with: StallTotals,
    pub(crate) children: u32,
    pub(crate) releases: u32,
    pub(crate) reprices: u32,
    pub(crate) decay: crate::metrics::QueueDecay,
    pub(crate) path: ChildPath,
    result: Option<ParentResult>,
}

impl OpenParent {
    pub(crate) fn new(order: ParentOrder, host: HostId, segment: SegmentId) -> OpenParent {
        OpenParent {
            order,
            host,
            segment,
            conditions: Conditions::default(),
            tape: None,
            began_with: StallTotals::default(),
            children: 0,
            releases: 0,
            reprices: 0,
            decay: crate::metrics::QueueDecay::default(),
            path: ChildPath::default(),
            result: None,
        }
    }

    pub(crate) fn begin(&mut self, mid: HalfTicks, conditions: Conditions, totals: StallTotals) {
        self.conditions = conditions;
        self.tape = Some(ParentTape::new(self.order.side, self.order.quantity, mid));
        self.began_with = totals;
    }

    pub(crate) fn order(&self) -> &ParentOrder {
        &self.order
    }

    pub(crate) fn is_over(&self, now: Nanos) -> bool {
        self.order.deadline() <= now
    }

    pub(crate) fn tape(&mut self) -> &mut ParentTape {
        self.tape.as_mut().expect("a parent begins before its children arrive")
    }

    /// Closes the account at the deadline. The identity is asserted within.
    pub(crate) fn close(&mut self, end: End, totals: StallTotals) -> bool {
        let tape = *self.tape();
        assert!(self.result.is_none(), "a parent ends once");
        assert!(
            self.path.total() == tape.cost_of_fills(),
            "the steps of the children sum to what the fills cost"
        );
        assert!(tape.filled().0 + tape.unfinished().0 == self.order.quantity.0, "lots are conserved");
        self.result = Some(ParentResult {
            order: self.order,
            host: self.host,
            decision_mid: tape.decision_mid(),
            conditions: self.conditions,
            filled: tape.filled(),
            shortfalls: tape.close(end),
            children: self.children,
            releases: self.releases,
            reprices: self.reprices,
            queue_decay_ppm: self.decay.mean_ppm(),
            stalls: totals.since(&self.began_with),
            path: self.path,
        });
        tape.unfinished() > Lots(0)
    }

    pub(crate) fn into_result(self) -> ParentResult {
        self.result.expect("every parent ends within the run")
    }
}
