//! What reaches the dispatch thread and what it answers.

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::Nanos;

/// A parent order, by its place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParentId(pub u32);

/// A symbol, by its place in the run. Each has a book and a flow of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SymbolId(pub u16);

/// A strategy, by its place in the run: a schedule and a tactic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrategyId(pub u16);

/// A child order. They are numbered slice by slice through all parents of the run, so that worlds name the same child
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildId(pub u32);

/// A message that waits for the dispatch thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The deadline window of a parent has begun.
    CatchUp {
        /// Whose.
        parent: ParentId,
    },
    /// What was left of a child is no longer in the book: it was cancelled, refused or has expired.
    Cancelled {
        /// Which.
        child: ChildId,
    },
    /// A child's request was accepted; the child now rests at this price.
    Accepted {
        /// Which.
        child: ChildId,
        /// Where it rests.
        price: Ticks,
    },
    /// A child was filled in part or whole.
    Filled {
        /// Which.
        child: ChildId,
        /// How much.
        lots: Lots,
    },
    /// A child's lifetime is over.
    Patience {
        /// Which.
        child: ChildId,
    },
    /// The best prices changed.
    Quote {
        /// Of which symbol.
        symbol: SymbolId,
        /// Best bid.
        bid: Option<Ticks>,
        /// Best ask.
        ask: Option<Ticks>,
        /// Lots traded since the start of the run, whoever traded them.
        volume: Lots,
    },
    /// A slice of a parent is due.
    Slice {
        /// Whose.
        parent: ParentId,
        /// Which, from 0.
        index: u32,
    },
}

/// The kinds of work a message can be, each with its own cost on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKind {
    /// Market data.
    Quote,
    /// An execution report or acknowledgement.
    Report,
    /// A timer of the schedule.
    Timer,
}

impl Message {
    /// The kind of work this message causes.
    #[must_use]
    pub fn work(self) -> WorkKind {
        match self {
            Message::Quote { .. } => WorkKind::Quote,
            Message::Accepted { .. } | Message::Cancelled { .. } | Message::Filled { .. } => WorkKind::Report,
            Message::CatchUp { .. } | Message::Patience { .. } | Message::Slice { .. } => WorkKind::Timer,
        }
    }
}

/// How long an order stands and whether it may take liquidity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeInForce {
    /// Takes what its limit reaches; the rest stands until it is filled or cancelled.
    #[default]
    Day,
    /// Takes what its limit reaches; the rest is cancelled.
    ImmediateOrCancel,
    /// Refused if it would take liquidity; otherwise it stands.
    PostOnly,
}

/// A request to the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Enter a limit order.
    New {
        /// Its name.
        child: ChildId,
        /// Buy or sell.
        side: Side,
        /// Limit.
        price: Ticks,
        /// Size.
        lots: Lots,
        /// What it may do.
        time_in_force: TimeInForce,
    },
    /// Take an order out of the book.
    Cancel {
        /// Which.
        child: ChildId,
    },
    /// Move an order to another price; it loses its place.
    Replace {
        /// Which.
        child: ChildId,
        /// The new limit.
        price: Ticks,
        /// What it may do there. What may not stand there is cancelled.
        time_in_force: TimeInForce,
    },
}

impl Request {
    /// The child the request is about.
    #[must_use]
    pub fn child(self) -> ChildId {
        match self {
            Request::New { child, .. } | Request::Replace { child, .. } | Request::Cancel { child } => child,
        }
    }
}

/// What a decision asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send to the exchange when the unit of work is done.
    Send(Request),
    /// Deliver a message to the dispatch thread at a time.
    Timer(Nanos, Message),
}
