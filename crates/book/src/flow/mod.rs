//! The exogenous flows: Poisson (market: 1.1), Hawkes (market: 3.3), queue-reactive (market: 3.1) and recorded.
//!
//! ```text
//!   Exogenous (times and marks of a seed, or a recording; shared by all worlds)
//!        │
//!        ▼
//!   Flow (one world) ──step──► Book
//!        ▲                       │
//!        └── own_order_changed ◄─┘
//! ```
//!
//! attribution: A9. Event times and marks (type, side, distance, size, lifetime) never depend on the book; only their
//! consequences do. Two worlds over the same [`Exogenous`] therefore see the same arrivals whatever own orders do. What
//! a queue-reactive flow accepts of the arrivals it shares is such a consequence; what excites a Hawkes flow is the tape
//! and never an own trade.
#![allow(clippy::float_arithmetic, reason = "design.md 5 names this module: libm in, integers out")]

mod hawkes;
mod hazards;
mod phases;
mod poisson;
mod race;
mod reactive;
mod replay;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use numashock_engine::{Nanos, Seed, Span};

use crate::recorded::Recording;
use crate::{Book, Fill, Lots, OrderId, Side, Ticks};
use phases::TimeChange;
use poisson::{Law, PoissonFlow};
use reactive::{ReactiveFlow, ReactiveLaw};
use replay::{Excerpt, ReplayFlow};

pub use hawkes::{Excitation, HawkesTape};
pub use phases::{Phase, Phases};
pub use reactive::{
    Intensities, LEVELS_MAX, QueueLaw, QueueModel, QueueReactiveConfig, STATES_MAX, SizeClass, StartBook,
};

/// Events per 10⁹ seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Events per 10⁹ seconds: 20 a second are 20 × 10⁹, 1.85 a minute are 30,833,333.
    pub per_gigasecond: u64,
}

impl Rate {
    /// Whole events per second.
    #[must_use]
    pub fn per_second(events: u64) -> Rate {
        Rate { per_gigasecond: events * 1_000_000_000 }
    }

    /// Hundredths of an event per minute.
    #[must_use]
    pub fn per_minute_hundredths(hundredths: u64) -> Rate {
        Rate { per_gigasecond: hundredths * 1_000_000_000 / 6_000 }
    }
}

/// The law of order sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Every order has this size.
    Fixed(Lots),
    /// 1, 2, 3… with this mean, each lot followed by a further one with the same chance.
    Geometric {
        /// The mean size.
        mean: Lots,
    },
}

/// The book at the start. The ask lies `spread` ticks above `bid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialBook {
    /// The best bid.
    pub bid: Ticks,
    /// Ticks from the best bid to the best ask, at least one.
    pub spread: u32,
    /// Orders at the best bid, one tick below it, and so on.
    pub bid_orders: Vec<u32>,
    /// Orders at the best ask, one tick above it, and so on.
    pub ask_orders: Vec<u32>,
}

impl InitialBook {
    /// `orders` orders at each of `levels` prices a side, with a spread of one tick.
    #[must_use]
    pub fn even(bid: Ticks, levels: usize, orders: u32) -> InitialBook {
        InitialBook { bid, spread: 1, bid_orders: vec![orders; levels], ask_orders: vec![orders; levels] }
    }
}

/// The Cont–Stoikov–Talreja flow (market: 1.1), the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoissonConfig {
    /// Limit orders of a side at 1, 2, … ticks from the opposite best. The list's length is the greatest distance.
    pub limit: Vec<Rate>,
    /// Cancellation of each resting order at 1, 2, … ticks from the opposite best; the last one holds beyond the list.
    pub cancel: Vec<Rate>,
    /// Market orders of a side.
    pub market: Rate,
    /// The sizes of all orders.
    pub sizes: Sizes,
    /// The book at the start.
    pub initial: InitialBook,
}

impl PoissonConfig {
    /// The published parameters for Sky Perfect Communications, unit sizes: market: 1.1, table 2, with the power law
    /// for the arrivals beyond five ticks.
    #[must_use]
    pub fn sky_perfect(distances: u32, initial: InitialBook) -> PoissonConfig {
        let printed = [185, 151, 109, 88, 77];
        let power = |distance: u32| 192.0 * libm::pow(f64::from(distance), -0.52);
        let limit = (1..=distances).map(|distance| match printed.get(distance as usize - 1) {
            Some(hundredths) => Rate::per_minute_hundredths(*hundredths),
            None => Rate { per_gigasecond: libm::round(power(distance) * 1e9 / 6_000.0) as u64 },
        });
        PoissonConfig {
            limit: limit.collect(),
            cancel: [71, 81, 68, 56, 47].map(Rate::per_minute_hundredths).to_vec(),
            market: Rate::per_minute_hundredths(94),
            sizes: Sizes::Fixed(Lots(1)),
            initial,
        }
    }
}

/// Limit orders and cancellations as in [`PoissonConfig`], market orders by a Hawkes process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HawkesConfig {
    /// Limit orders of a side at 1, 2, … ticks from the opposite best. The list's length is the greatest distance.
    pub limit: Vec<Rate>,
    /// Cancellation of each resting order at 1, 2, … ticks from the opposite best; the last one holds beyond the list.
    pub cancel: Vec<Rate>,
    /// Market orders of both sides.
    pub market: Excitation,
    /// The sizes of all orders.
    pub sizes: Sizes,
    /// The book at the start.
    pub initial: InitialBook,
}

/// The greatest mean order size of a Poisson flow, in lots.
pub const SIZE_MAX: u64 = 1_000_000_000;
/// The largest initial book of a Poisson flow, in orders.
pub const ORDERS_MAX: u64 = 10_000_000;

/// Why a flow cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// Nothing ever arrives.
    #[error("every arrival rate is zero: give a limit or market rate above zero")]
    Silent,
    /// A sum of rates leaves the range.
    #[error(
        "the arrival rates of a side, or a cancellation rate, exceed 10^18 per 10^9 seconds, one a nanosecond"
    )]
    TooFast,
    /// No cancellation rate.
    #[error("the list of cancellation rates is empty: give at least one, zero if orders never cancel")]
    NoCancelRate,
    /// A size law without lots, or an absurd one.
    #[error("the order size is {0} lots: give 1 to {SIZE_MAX}")]
    Size(Lots),
    /// The initial book is crossed or locked.
    #[error("the initial spread is zero: give at least one tick")]
    ZeroSpread,
    /// A side of the initial book has no order.
    #[error("the initial book has no {0} order: give its best level at least one")]
    EmptySide(Side),
    /// The initial book is absurdly large.
    #[error("the initial book has {0} orders: give at most {ORDERS_MAX}")]
    Orders(u64),
    /// The initial price is absurd.
    #[error("the initial bid of {} ticks lies outside ±2^40", .0.0)]
    Price(Ticks),
    /// A Hawkes process without a base rate.
    #[error("mu is zero, so no market order ever comes: give a rate above zero")]
    NoBaseRate,
    /// A Hawkes process whose events cause one further event or more on average.
    #[error(
        "self + cross must be below beta, or activity grows without end: they are {excitation} and {beta} per 10^9 \
         seconds"
    )]
    Explosive {
        /// Self and cross excitation, events per 10⁹ seconds.
        excitation: u64,
        /// The decay, per 10⁹ seconds.
        beta: u64,
    },
    /// A Hawkes process that takes too long to forget its start.
    #[error(
        "self + cross is so near to beta that the process takes more than 10000000 events to settle: they are \
         {excitation} and {beta} per 10^9 seconds; lower self or cross"
    )]
    NearCritical {
        /// Self and cross excitation, events per 10⁹ seconds.
        excitation: u64,
        /// The decay, per 10⁹ seconds.
        beta: u64,
    },
    /// A queue-reactive table that makes no sense.
    #[error("queue {queue}: {problem}")]
    Queue {
        /// The queue, 1 the nearest to the reference price; 0 if it is about all of them.
        queue: usize,
        /// What is wrong with it, and what would be right.
        problem: &'static str,
    },
    /// No phase.
    #[error("the session has no phase: give at least one")]
    NoPhase,
    /// A phase that is over at once.
    #[error("a phase before the last one has no length: give it one above zero")]
    EmptyPhase,
}

/// The exogenous tape: what arrives and when, whatever the own orders do. Generated on the fly from its seed, so that
/// its memory does not grow with simulated time.
#[derive(Clone, Debug)]
pub struct Exogenous {
    source: Source,
    /// Absent: operational time is the run's time.
    change: Option<TimeChange>,
}

#[derive(Clone, Debug)]
enum Source {
    Poisson { law: Law, seed: Seed, until: Nanos, markets: Option<Box<HawkesTape>> },
    Reactive { law: Box<ReactiveLaw>, seed: Seed, until: Nanos },
    Recorded(Excerpt),
}

impl Exogenous {
    /// Poisson arrivals before `until`. Each symbol has a seed of its own (see [`Seed::replication`]).
    ///
    /// # Errors
    /// If a rate, size or initial book makes no sense.
    pub fn poisson(config: &PoissonConfig, seed: Seed, until: Nanos) -> Result<Exogenous, FlowError> {
        Ok(Exogenous::from(Source::Poisson { law: Law::new(config)?, seed, until, markets: None }))
    }

    /// Poisson limit orders and Hawkes market orders before `until`.
    ///
    /// # Errors
    /// If a rate, size or initial book makes no sense, or the Hawkes process is not stationary.
    pub fn hawkes(config: &HawkesConfig, seed: Seed, until: Nanos) -> Result<Exogenous, FlowError> {
        let HawkesConfig { limit, cancel, market, sizes, initial } = config.clone();
        let markets = Some(Box::new(HawkesTape::new(&market, seed)?));
        let config = PoissonConfig { limit, cancel, market: Rate::default(), sizes, initial };
        Ok(Exogenous::from(Source::Poisson { law: Law::new(&config)?, seed, until, markets }))
    }

    /// Queue-reactive arrivals before `until`.
    ///
    /// # Errors
    /// If an intensity, size or starting book makes no sense.
    pub fn queue_reactive(
        config: &QueueReactiveConfig,
        seed: Seed,
        until: Nanos,
    ) -> Result<Exogenous, FlowError> {
        let law = Box::new(ReactiveLaw::new(config, seed)?);
        Ok(Exogenous::from(Source::Reactive { law, seed, until }))
    }

    /// The same arrivals with all intensities as the phases say: an exact change of time.
    ///
    /// # Panics
    /// If a recording would have to change its times.
    #[must_use]
    pub fn in_phases(mut self, phases: &Phases) -> Exogenous {
        if phases.are_even() {
            return self;
        }
        let change = TimeChange::new(phases);
        match &mut self.source {
            Source::Poisson { until, .. } | Source::Reactive { until, .. } => *until = change.end(*until),
            Source::Recorded(_) => panic!("a recording keeps its times"),
        }
        Exogenous { source: self.source, change: Some(change) }
    }

    /// A recording from `from` after its first row on, which happens at `offset`. What came before makes the opening
    /// book.
    #[must_use]
    pub fn recorded(recording: Arc<Recording>, from: Span, offset: Span) -> Exogenous {
        Exogenous::from(Source::Recorded(Excerpt { recording, from, offset, mirror: None }))
    }

    /// The same events on the other side each, at prices reflected around the initial mid: a bid at `p` becomes an ask at
    /// bid + ask − p of the opening book. Whoever trades the other side there fares the same.
    #[must_use]
    pub fn mirrored(&self) -> Exogenous {
        let mut mirrored = self.clone();
        match &mut mirrored.source {
            Source::Poisson { law, .. } => law.mirror(),
            Source::Reactive { law, .. } => law.mirror(),
            Source::Recorded(excerpt) => excerpt.mirror(),
        }
        mirrored
    }

    /// Bid plus ask of the opening book, around which [`mirrored`](Self::mirrored) reflects prices; of a queue-reactive
    /// flow, of its first queues; of a recording without an opening book, twice its first price.
    #[must_use]
    pub fn reflection(&self) -> i64 {
        match &self.source {
            Source::Poisson { law, .. } => law.reflection(),
            Source::Reactive { law, .. } => law.reflection(),
            Source::Recorded(excerpt) => excerpt.reflection(),
        }
    }
}

impl From<Source> for Exogenous {
    fn from(source: Source) -> Exogenous {
        Exogenous { source, change: None }
    }
}

/// What kind of event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A limit order arrived.
    Limit,
    /// A resting order was cancelled.
    Cancel,
    /// A resting order was reduced and kept its place.
    Reduce,
    /// A market order, or a recorded execution, arrived.
    Market,
    /// A recorded row that the visible book does not see: a hidden execution, an auction, a halt or an order from
    /// before the recording.
    Unseen,
}

/// One event of the flow, as it turned out in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Nanos,
    /// What.
    pub kind: Kind,
    /// The order that arrived, or the one cancelled or reduced.
    pub id: OrderId,
    /// Its side.
    pub side: Side,
    /// Its price; for a market order the opposite best (for a recorded one, its limit).
    pub price: Ticks,
    /// The quantity asked for.
    pub lots: Lots,
    /// The part of it that this world no longer had.
    pub clipped: Lots,
}

/// Counts of one world's flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Events applied.
    pub events: u64,
    /// Limit orders.
    pub limits: u64,
    /// Cancels.
    pub cancels: u64,
    /// Partial cancels.
    pub reductions: u64,
    /// Market orders and recorded executions.
    pub markets: u64,
    /// Lots that a market order, execution or cancel asked for and did not find.
    pub clipped_lots: Lots,
    /// Events with clipped lots.
    pub clipped_events: u64,
    /// Lots of recorded executions that own orders took before the order that the row names.
    pub own_lots: Lots,
    /// Recorded rows that name an order from before the recording.
    pub unknown_rows: u64,
    /// Recorded hidden executions.
    pub hidden_rows: u64,
    /// Recorded auction trades.
    pub auction_rows: u64,
    /// Recorded halts and resumptions.
    pub halt_rows: u64,
    /// Moves of a queue-reactive flow's reference price.
    pub reference_moves: u64,
    /// Those after which the book was redrawn.
    pub redraws: u64,
}

impl FlowStats {
    fn record(&mut self, happened: &Happened) {
        self.events += 1;
        match happened.kind {
            Kind::Limit => self.limits += 1,
            Kind::Cancel => self.cancels += 1,
            Kind::Reduce => self.reductions += 1,
            Kind::Market => self.markets += 1,
            Kind::Unseen => {}
        }
        self.clipped_lots += happened.clipped;
        self.clipped_events += u64::from(happened.clipped > Lots::ZERO);
    }
}

/// One world's flow.
///
/// The caller applies every event due with [`Flow::step`] before it lets own orders act at a later time, and then
/// calls [`Flow::own_order_changed`].
#[derive(Clone, Debug)]
pub struct Flow {
    exogenous: Arc<Exogenous>,
    state: State,
    stats: FlowStats,
    /// The time of the last event or own action.
    now: Nanos,
    /// When the next event is due, in the run's time.
    due: Nanos,
}

#[derive(Clone, Debug)]
enum State {
    Poisson(Box<PoissonFlow>),
    Reactive(Box<ReactiveFlow>),
    Replay(ReplayFlow),
}

impl Flow {
    /// A world at its start; the initial orders go into `book`.
    ///
    /// # Panics
    /// If the initial orders would trade with what rests in `book`.
    #[must_use]
    pub fn new(exogenous: Arc<Exogenous>, book: &mut Book) -> Flow {
        let state = match &exogenous.source {
            Source::Poisson { law, seed, until, markets } => {
                State::Poisson(Box::new(PoissonFlow::new(law, *seed, *until, markets.clone(), book)))
            }
            Source::Reactive { law, seed, until } => {
                State::Reactive(Box::new(ReactiveFlow::new(law, *seed, *until, book)))
            }
            Source::Recorded(excerpt) => State::Replay(ReplayFlow::new(excerpt, book)),
        };
        let stats = FlowStats::default();
        let mut flow = Flow { exogenous, state, stats, now: Nanos::ZERO, due: Nanos::NEVER };
        flow.look();
        flow
    }

    /// When the next event of this world is due, or [`Nanos::NEVER`] at the end.
    #[must_use]
    #[inline]
    pub fn next_at(&self) -> Nanos {
        self.due
    }

    /// Applies the one event due at [`Flow::next_at`]. Its fills are appended to `fills`.
    ///
    /// # Panics
    /// At the end.
    pub fn step(&mut self, book: &mut Book, fills: &mut Vec<Fill>) -> Happened {
        let now = self.due;
        let mut happened = match (&mut self.state, &self.exogenous.source) {
            (State::Poisson(flow), Source::Poisson { law, .. }) => flow.step(law, now.into(), book, fills),
            (State::Reactive(flow), Source::Reactive { law, .. }) => flow.step(law, now.into(), book, fills),
            (State::Replay(flow), Source::Recorded(excerpt)) => {
                flow.step(excerpt, book, fills, &mut self.stats)
            }
            _ => unreachable!("a world keeps the kind of its source"),
        };
        happened.at = now;
        self.now = now;
        self.stats.record(&happened);
        self.look();
        happened
    }

    /// Tells the flow that own orders have acted at `now`: they may have moved the best quotes, from which distances
    /// are measured, changed the size of a queue, or taken exogenous orders.
    pub fn own_order_changed(&mut self, now: Nanos, book: &Book) {
        self.now = now;
        let operational = self.exogenous.change.as_ref().map_or(now, |change| change.to_operational(now));
        match (&mut self.state, &self.exogenous.source) {
            (State::Poisson(flow), Source::Poisson { law, .. }) => flow.refresh(law, operational, book),
            (State::Reactive(flow), Source::Reactive { law, .. }) => flow.refresh(law, operational, book),
            _ => return,
        }
        self.look();
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> FlowStats {
        match &self.state {
            State::Reactive(flow) => {
                let (reference_moves, redraws) = flow.moves();
                FlowStats { reference_moves, redraws, ..self.stats }
            }
            _ => self.stats,
        }
    }

    /// Finds the next event, which is never in the past: an own action may fall between the time at which an event would
    /// have been due and the first nanosecond that stands for it in the run's time.
    #[inline]
    fn look(&mut self) {
        let next = match (&self.state, &self.exogenous.source) {
            (State::Poisson(flow), _) => flow.next_at(),
            (State::Reactive(flow), _) => flow.next_at(),
            (State::Replay(flow), Source::Recorded(excerpt)) => flow.next_at(excerpt),
            _ => unreachable!("a world keeps the kind of its source"),
        };
        self.due = match &self.exogenous.change {
            None => next,
            Some(change) => change.to_run(next).max(self.now),
        };
    }
}
