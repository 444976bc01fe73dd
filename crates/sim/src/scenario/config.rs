//! What a run needs, as plain data in the core's own types: the scenario after lowering.

use std::sync::Arc;

use numashock_book::flow::{HawkesConfig, Phases, PoissonConfig, QueueReactiveConfig};
use numashock_book::recorded;
use numashock_controller::Limits;
use numashock_engine::{Seed, Span};
use numashock_execution::{ParentOrder, ParentsConfig, Strategy, SymbolId};
use numashock_machine::{MachineConfig, ThreadId, WorkId};

use super::file::{ControllerName, FeedName};
use super::preset::CostLine;
use crate::injector::Source;
use crate::recorded_host::{RecordedCosts, Recording};

/// A host, by its place in the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub u16);

impl HostId {
    /// Its place in a list of all hosts.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One tuning choice, ready to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Seed of the experiment; a run adds its replication.
    pub seed: Seed,
    /// Replications.
    pub seeds: u32,
    /// Time before parents arrive.
    pub warmup: Span,
    /// Time in which parents arrive and end.
    pub duration: Span,
    /// First part of `duration` that counts as transient.
    pub transient: Span,
    /// The hosts, at least one, each with one dispatch thread.
    pub hosts: Vec<TradingHost>,
    /// What is done to the run from outside.
    pub injector: Source,
    /// The symbols, at least one, each with a book and a flow of its own.
    pub symbols: Vec<Symbol>,
    /// Phases of the session, from time zero on.
    pub phases: Phases,
    /// The strategies, at least one.
    pub strategies: Vec<TradingStrategy>,
}

/// A host and what watches it.
#[derive(Clone, Debug)]
pub struct TradingHost {
    /// Its name in tables; empty if the scenario is the one host.
    pub name: String,
    /// Where stalls come from.
    pub host: Host,
    /// The way to the exchange and back.
    pub gateway: Gateway,
    /// Who decides on the regime.
    pub controller: ControllerName,
    /// With which limits.
    pub limits: Limits,
    /// How much later its actions are in force.
    pub delay: ActionDelay,
    /// Read bandwidth between two nodes, MB/s, for the migration-copy rate's share.
    pub interconnect_mbps: u64,
    /// Every cost of the machine with its origin.
    pub costs: Vec<CostLine>,
}

/// How much later than a decision its actions are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionDelay {
    /// In the execution.
    pub execution: Span,
    /// On the host.
    pub host: Span,
}

/// A symbol and its market.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// Its name; empty if the scenario is the one symbol.
    pub name: String,
    /// The liquidity bucket that segments know it by; empty if it has none.
    pub liquidity: String,
    /// Order flow.
    pub market: Market,
    /// From the exchange to the dispatch thread.
    pub feed_latency: Span,
    /// Which changes of the book reach the dispatch thread.
    pub feed: FeedName,
}

/// A schedule and a tactic on a host, with the orders it works.
#[derive(Clone, Debug, PartialEq)]
pub struct TradingStrategy {
    /// Its name; empty if the scenario is the one strategy.
    pub name: String,
    /// The host it runs on.
    pub host: HostId,
    /// The symbols it trades, at least one.
    pub symbols: Vec<SymbolId>,
    /// Orders to be worked.
    pub parents: Parents,
    /// How they are worked.
    pub method: Strategy,
    /// Half-tick-lots per lot that takes liquidity.
    pub take_fee: i64,
    /// Half-tick-lots per lot that makes liquidity.
    pub make_fee: i64,
}

impl RunConfig {
    /// When the run ends.
    #[must_use]
    pub fn end(&self) -> Span {
        self.warmup + self.duration
    }

    /// The strategy that works an order.
    #[must_use]
    pub fn strategy_of(&self, order: &ParentOrder) -> &TradingStrategy {
        &self.strategies[usize::from(order.strategy.0)]
    }

    /// The host that an order is worked on.
    #[must_use]
    pub fn host_of(&self, order: &ParentOrder) -> HostId {
        self.strategy_of(order).host
    }

    /// Whether balancing is on at some time on some host, or a host is a recording of one where it was.
    #[must_use]
    pub fn balances(&self) -> bool {
        (0..).zip(&self.hosts).any(|(number, host)| match &host.host {
            Host::Model(model) => {
                let on = model.machine.knobs.is_on() || self.injector.switches_balancing_on(HostId(number));
                on && !model.machine.preempt_rt
            }
            Host::Recorded(_) => true,
        })
    }

    /// Whether two choices are the same run once balancing is off and the same actions are imposed: only what is part of
    /// balancing and the controller may differ.
    #[must_use]
    pub fn same_without_balancing(&self, other: &RunConfig) -> bool {
        (self.hosts.len(), self.symbols.len()) == (other.hosts.len(), other.symbols.len())
            && self.hosts.iter().zip(&other.hosts).all(|(own, theirs)| own.same_without_balancing(theirs))
            && self.symbols.iter().zip(&other.symbols).all(|(own, theirs)| own.same_market(theirs))
            && self.phases == other.phases
            && self.injector == other.injector
            && (self.seed, self.warmup, self.duration) == (other.seed, other.warmup, other.duration)
            && self.strategies == other.strategies
    }
}

impl TradingHost {
    fn same_without_balancing(&self, other: &TradingHost) -> bool {
        let machines = match (&self.host, &other.host) {
            (Host::Model(own), Host::Model(theirs)) => {
                let MachineConfig { knobs, rules, preempt_rt, .. } = own.machine;
                let machine = MachineConfig { knobs, rules, preempt_rt, ..theirs.machine.clone() };
                own.machine == machine && own.dispatch == theirs.dispatch && own.works == theirs.works
            }
            _ => false,
        };
        machines && (self.gateway, self.delay) == (other.gateway, other.delay)
    }
}

impl Symbol {
    fn same_market(&self, other: &Symbol) -> bool {
        self.market.is_same(&other.market)
            && (self.feed, self.feed_latency) == (other.feed, other.feed_latency)
    }
}

/// Where the dispatch thread's stalls come from.
#[derive(Clone, Debug)]
pub enum Host {
    /// The simulated machine.
    Model(Box<ModelHost>),
    /// A recording of counters.
    Recorded(Box<RecordedSource>),
}

/// A simulated machine and the work of its dispatch thread.
#[derive(Clone, Debug)]
pub struct ModelHost {
    /// The machine with the trading process on it.
    pub machine: MachineConfig,
    /// The thread that serves the messages.
    pub dispatch: ThreadId,
    /// Its units of work by [`WorkKind`](numashock_execution::WorkKind): quote, report, timer.
    pub works: [WorkId; 3],
}

/// A recording and how it becomes stalls. Each replication draws its own keyed times.
#[derive(Clone, Debug)]
pub struct RecordedSource {
    /// The parsed recording.
    pub recording: Recording,
    /// Nanoseconds of each count.
    pub costs: RecordedCosts,
    /// Share on the dispatch thread.
    pub dispatch_share_ppm: u32,
    /// Base service by kind of work: quote, report, timer.
    pub base: [Span; 3],
}

/// Order flow.
#[derive(Clone, Debug)]
pub enum Market {
    /// Cont-Stoikov-Talreja.
    Poisson(PoissonConfig),
    /// The same with market orders in clusters.
    Hawkes(HawkesConfig),
    /// Huang-Lehalle-Rosenbaum.
    QueueReactive(QueueReactiveConfig),
    /// A recording; replication `k` begins at `from + k × step`.
    Recorded {
        /// The messages.
        recording: Arc<recorded::Recording>,
        /// Start of the first replication.
        from: Span,
        /// How much later each further one starts.
        step: Span,
    },
}

/// The way to the exchange and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Median latency of a request.
    pub latency: Span,
    /// Standard deviation of its logarithm, parts per million.
    pub sigma_ppm: u32,
    /// Latency of a report.
    pub report_latency: Span,
    /// How many requests the session takes in a time, if it has a limit.
    pub rate_limit: Option<RateLimit>,
}

/// At most so many requests pass the gateway in any window of a length; the next one waits there, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many, at least one.
    pub requests: u32,
    /// The length of the window.
    pub per: Span,
}

/// Orders to be worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parents {
    /// Drawn from the seed.
    Generated(ParentsConfig),
    /// Given; arrivals count from the end of warm-up.
    Listed(Vec<ParentOrder>),
}

impl Parents {
    /// The longest horizon there may be.
    #[must_use]
    pub fn longest(&self) -> Span {
        match self {
            Parents::Generated(parents) => parents.horizon.1,
            Parents::Listed(parents) => {
                parents.iter().map(|parent| parent.horizon).max().unwrap_or(Span::ZERO)
            }
        }
    }
}
