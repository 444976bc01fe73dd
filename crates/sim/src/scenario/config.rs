//! What a run needs, as plain data in the core's own types: the scenario after lowering.

use std::sync::Arc;

use numashock_book::flow::PoissonConfig;
use numashock_book::recorded;
use numashock_controller::Limits;
use numashock_engine::{Seed, Span};
use numashock_execution::{ParentOrder, ParentsConfig, Strategy};
use numashock_machine::{MachineConfig, ThreadId, WorkId};

use super::file::{ControllerName, FeedName};
use super::preset::CostLine;
use crate::injector::Source;
use crate::recorded_host::{RecordedCosts, Recording};

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
    /// Where stalls come from.
    pub host: Host,
    /// What is done to the run from outside.
    pub injector: Source,
    /// Order flow.
    pub market: Market,
    /// From the exchange to the dispatch thread.
    pub feed_latency: Span,
    /// Which changes of the book reach the dispatch thread.
    pub feed: FeedName,
    /// The way to the exchange and back.
    pub gateway: Gateway,
    /// Orders to be worked.
    pub parents: Parents,
    /// How they are worked, by [`StrategyId`](numashock_execution::StrategyId).
    pub strategies: Vec<Strategy>,
    /// Half-tick-lots per lot that takes liquidity.
    pub take_fee: i64,
    /// Half-tick-lots per lot that makes liquidity.
    pub make_fee: i64,
    /// Who decides on the regime.
    pub controller: ControllerName,
    /// With which limits.
    pub limits: Limits,
    /// Read bandwidth between two nodes, MB/s, for the migration-copy rate's share.
    pub interconnect_mbps: u64,
    /// Every cost of the machine with its origin.
    pub costs: Vec<CostLine>,
}

impl RunConfig {
    /// When the run ends.
    #[must_use]
    pub fn end(&self) -> Span {
        self.warmup + self.duration
    }
}

impl RunConfig {
    /// Whether balancing is on at some time, or the host is a recording of one where it was.
    #[must_use]
    pub fn balances(&self) -> bool {
        match &self.host {
            Host::Model(host) => {
                let on = host.machine.knobs.is_on() || self.injector.switches_balancing_on();
                on && !host.machine.preempt_rt
            }
            Host::Recorded(_) => true,
        }
    }

    /// Whether two choices are the same run once balancing is off and the same actions are imposed: only what is part of
    /// balancing and the controller may differ.
    #[must_use]
    pub fn same_without_balancing(&self, other: &RunConfig) -> bool {
        let hosts = match (&self.host, &other.host) {
            (Host::Model(own), Host::Model(theirs)) => {
                let MachineConfig { knobs, rules, preempt_rt, .. } = own.machine;
                let machine = MachineConfig { knobs, rules, preempt_rt, ..theirs.machine.clone() };
                own.machine == machine && own.dispatch == theirs.dispatch && own.works == theirs.works
            }
            _ => false,
        };
        let markets = match (&self.market, &other.market) {
            (Market::Poisson(own), Market::Poisson(theirs)) => own == theirs,
            _ => false,
        };
        hosts
            && markets
            && self.injector == other.injector
            && (self.seed, self.warmup, self.duration) == (other.seed, other.warmup, other.duration)
            && (self.feed, self.feed_latency) == (other.feed, other.feed_latency)
            && self.gateway == other.gateway
            && self.parents == other.parents
            && self.strategies == other.strategies
            && (self.take_fee, self.make_fee) == (other.take_fee, other.make_fee)
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
