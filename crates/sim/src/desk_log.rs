//! What a desk would export of its own execution path, event by event (playbook: 4.3). Kept on request.

use numashock_engine::{Nanos, Span};
use numashock_execution::{ChildId, ParentId, Request};

use crate::metrics::SegmentId;

/// One line of a desk's own telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskEvent {
    /// When: decisions, sends and heartbeats by the desk's clock, the others by the exchange's, which is the run's.
    pub at: Nanos,
    /// What happened.
    pub what: DeskWhat,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeskWhat {
    /// A unit of work that sends something has ended.
    Decision {
        /// From when its message was ready until now.
        latency: Span,
    },
    /// A request left the dispatch thread.
    Send {
        /// Its segment on this host.
        segment: SegmentId,
        /// Whose child it is about.
        parent: ParentId,
        /// The child.
        child: ChildId,
        /// What it asks for.
        request: RequestKind,
    },
    /// A child has joined a queue at the exchange.
    Ack {
        /// Its segment on this host.
        segment: SegmentId,
        /// Whose child it is.
        parent: ParentId,
        /// The child.
        child: ChildId,
        /// Lots ahead of it.
        ahead: u64,
        /// Of these, how many more than if it had been on time.
        lost: i64,
        /// Lots that would have stood at its price, had it been on time.
        on_time: u64,
    },
    /// A child was filled.
    Fill {
        /// Whose child it is.
        parent: ParentId,
        /// The child.
        child: ChildId,
        /// Lots.
        lots: u64,
    },
    /// A parent has reached its deadline.
    ParentEnd {
        /// Its segment on this host.
        segment: SegmentId,
        /// The parent.
        parent: ParentId,
        /// Whether lots were left.
        missed: bool,
    },
    /// Both clocks were read: the desk's gave `at`.
    Heartbeat {
        /// And the host's this.
        host: Nanos,
    },
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A new order.
    New,
    /// Another price or size.
    Replace,
    /// The end of an order.
    Cancel,
}

impl RequestKind {
    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RequestKind::New => "new",
            RequestKind::Replace => "replace",
            RequestKind::Cancel => "cancel",
        }
    }

    pub(crate) fn of(request: &Request) -> RequestKind {
        match request {
            Request::New { .. } => RequestKind::New,
            Request::Replace { .. } => RequestKind::Replace,
            Request::Cancel { .. } => RequestKind::Cancel,
        }
    }
}

/// The log of a host; does nothing unless it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeskLog(Option<Vec<DeskEvent>>);

impl DeskLog {
    /// Keeps what follows.
    pub(crate) fn keep(&mut self) {
        self.0.get_or_insert_default();
    }

    pub(crate) fn add(&mut self, at: Nanos, what: DeskWhat) {
        if let Some(events) = &mut self.0 {
            events.push(DeskEvent { at, what });
        }
    }

    pub(crate) fn into_events(self) -> Vec<DeskEvent> {
        self.0.unwrap_or_default()
    }
}
