//! One run: the closed loop that carries plain data between parts that do not know each other.

use std::sync::Arc;

use numashock_accounting::Mechanisms;
use numashock_book::flow::{Exogenous, Flow, FlowStats, Kind};
use numashock_book::{Book, Fill, HalfTicks, Lots, Side, Ticks};
use numashock_controller::{Actions, Regime};
use numashock_engine::{Checkpoint, EventHash, EventQueue, Nanos, Seed, Span};
use numashock_execution::{Dispatcher, Execution, Message, ParentId, ParentOrder, StallMoments, SymbolId};
use numashock_machine::Counters;

use crate::desk::{OpenParent, ParentResult};
use crate::dispatch::{DispatchPath, Lateness};
use crate::event::{Event, kind};
use crate::host::RunningHost;
use crate::injector::{Injected, Injecting};
use crate::journal::Journal;
use crate::metrics::ClusterSizes;
use crate::paths::{Paths, SecondPaths};
use crate::regime;
use crate::scenario::config::RunConfig;
use crate::telemetry::{BUCKET, Bucket, Telemetry};
use crate::trail::{ChildResult, MidHistory, Trails};

/// Releases closer than this belong to one micro-cluster.
const CLUSTER_GAP: Span = Span(100_000);

/// What one run is made of, beside its configuration.
#[derive(Clone, Debug)]
pub struct RunInput {
    /// Seed of the replication.
    pub seed: Seed,
    /// Exogenous flow of the replication, shared by all its runs.
    pub exogenous: Arc<Exogenous>,
    /// Parents of the replication.
    pub parents: Arc<Vec<ParentOrder>>,
    /// What is done to the run from outside, in order of time.
    pub disturbances: Arc<Vec<Injected>>,
    /// Which mechanisms cost time.
    pub mechanisms: Mechanisms,
    /// False: `numa_balancing=0` from before the start.
    pub balancing: bool,
    /// The regimes and actions of the real run, bucket by bucket, imposed on a counterfactual one (attribution: A2).
    pub imposed: Option<Arc<Vec<(Regime, Actions)>>>,
    /// A checkpoint of the event hash each so many events; 0 keeps only the last.
    pub hash_interval: u64,
}

/// What a run gives.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// Every parent, in order of arrival.
    pub parents: Vec<ParentResult>,
    /// Every child that reached the exchange, in order of its number.
    pub children: Vec<ChildResult>,
    /// What happened in each second, as hashes.
    pub paths: Vec<SecondPaths>,
    /// Buckets of one second.
    pub seconds: Vec<Bucket>,
    /// Buckets of five seconds.
    pub fives: Vec<Bucket>,
    /// The controller's regime and actions after each second.
    pub steered: Vec<(Regime, Actions)>,
    /// Latency of each decision, in order of departure.
    pub latencies_ns: Vec<u64>,
    /// Time and gap of each release.
    pub gaps: Vec<(Nanos, Span)>,
    /// Micro-clusters of releases.
    pub clusters: ClusterSizes,
    /// State of the event hash at the end.
    pub hash: Checkpoint,
    /// Its checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// Final counters of the host.
    pub counters: Counters,
    /// The dispatch thread's stalls after the warm-up, as its server saw them in this world.
    pub stalls: StallMoments,
    /// How late passive children were.
    pub lateness: Lateness,
    /// What the flow counted.
    pub flow: FlowStats,
    /// The disturbances that happened, in order of time.
    pub disturbances: Vec<Injected>,
}

/// A host, a market and a desk in one loop.
#[derive(Debug)]
pub struct Simulation<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) mechanisms: Mechanisms,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) hash: EventHash,
    pub(crate) host: RunningHost,
    pub(crate) book: Book,
    pub(crate) flow: Flow,
    pub(crate) fills: Vec<Fill>,
    pub(crate) execution: Execution,
    pub(crate) dispatch: DispatchPath,
    pub(crate) parents: Vec<OpenParent>,
    pub(crate) telemetry: Telemetry,
    pub(crate) last_mid: HalfTicks,
    pub(crate) mids: MidHistory,
    pub(crate) trails: Trails,
    paths: Paths,
    public: Quote,
    pub(crate) journal: Journal,
    pub(crate) injecting: Injecting,
    quote: Quote,
    regime: Regime,
    actions: Actions,
    steered: Vec<(Regime, Actions)>,
    imposed: Option<Arc<Vec<(Regime, Actions)>>>,
    market_lots: Lots,
    volume: Lots,
    next_bucket: Nanos,
}

/// The best prices and sizes that were last published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quote {
    price: [Option<Ticks>; 2],
    lots: [Lots; 2],
}

impl<'a> Simulation<'a> {
    /// A run at time zero.
    #[must_use]
    pub fn new(config: &'a RunConfig, input: RunInput) -> Simulation<'a> {
        let mut book = Book::new();
        let flow = Flow::new(input.exogenous, &mut book);
        let mut queue = EventQueue::default();
        let injecting = Injecting::new(Arc::clone(&input.disturbances), input.seed);
        injecting.begins().for_each(|(at, event)| queue.push(at, event));
        let host = RunningHost::new(config, input.seed, input.mechanisms, input.balancing, &mut queue);
        let execution = Execution::new(config.strategies.clone(), input.parents.to_vec(), BUCKET);
        let mut simulation = Simulation {
            mechanisms: input.mechanisms,
            hash: EventHash::new(input.hash_interval),
            host,
            last_mid: book.mid().unwrap_or_default(),
            mids: MidHistory::new(book.mid().unwrap_or_default()),
            trails: Trails::default(),
            paths: Paths::new(),
            public: Quote::default(),
            book,
            flow,
            fills: Vec::new(),
            dispatch: DispatchPath::new(
                Dispatcher::new(input.mechanisms.dispatch_jitter).measuring_from(Nanos::ZERO + config.warmup),
                config,
                input.seed,
                &input.disturbances,
            ),
            parents: input.parents.iter().map(|order| OpenParent::new(*order)).collect(),
            telemetry: Telemetry::new(config.interconnect_mbps),
            execution,
            queue,
            journal: Journal::new(input.mechanisms != Mechanisms::FREE && input.balancing),
            injecting,
            quote: Quote::default(),
            regime: Regime::STABLE,
            actions: Actions::NORMAL,
            steered: Vec::new(),
            imposed: input.imposed,
            market_lots: Lots(0),
            volume: Lots(0),
            next_bucket: Nanos::ZERO + BUCKET,
            config,
        };
        simulation.schedule_parents();
        simulation.publish(Nanos::ZERO);
        simulation
    }

    /// Runs to the end and closes every account.
    #[must_use]
    pub fn run(mut self) -> RunResult {
        while self.step().is_some() {}
        self.finish()
    }

    /// Handles the next event and gives its time; `None` at the end of the run.
    ///
    /// Of things due at the same time the order is: end of a bucket, order flow, everything else by arrival number.
    pub fn step(&mut self) -> Option<Nanos> {
        let end = Nanos::ZERO + self.config.end();
        let (flow_at, queue_at) = (self.flow.next_at(), self.queue.next_at());
        let now = flow_at.min(queue_at).min(self.next_bucket);
        if now > end {
            return None;
        }
        if self.next_bucket == now {
            self.close_bucket(now);
        } else if flow_at == now {
            self.advance_flow(now);
        } else {
            let (_, event) = self.queue.pop().expect("an event is due");
            self.handle(now, event);
        }
        Some(now)
    }

    /// Ends a run whose last event has been handled.
    ///
    /// # Panics
    /// If a parent is still open: its deadline lies within the run by construction.
    #[must_use]
    pub fn finish(self) -> RunResult {
        let mut clusters = ClusterSizes::new(CLUSTER_GAP);
        if !self.telemetry.gaps.is_empty() {
            clusters.record(None);
        }
        self.telemetry.gaps.iter().for_each(|(_, gap)| clusters.record(Some(*gap)));
        clusters.close();
        let mut telemetry = self.telemetry;
        let (latencies_ns, gaps) =
            (std::mem::take(&mut telemetry.latencies), std::mem::take(&mut telemetry.gaps));
        let (seconds, fives) = telemetry.into_buckets();
        RunResult {
            parents: self.parents.into_iter().map(OpenParent::into_result).collect(),
            children: self.trails.into_results(),
            paths: self.paths.into_seconds(),
            seconds,
            fives,
            steered: self.steered,
            latencies_ns,
            gaps,
            clusters,
            hash: self.hash.checkpoint(),
            checkpoints: self.hash.checkpoints().to_vec(),
            counters: self.host.counters(),
            stalls: self.dispatch.server.stalls(Nanos::ZERO + self.config.end()),
            lateness: self.dispatch.lateness(),
            flow: self.flow.stats(),
            disturbances: self.injecting.happened().to_vec(),
        }
    }

    /// The book, for checkers.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The machine, if the host is simulated, for checkers.
    #[must_use]
    pub fn machine(&self) -> Option<&numashock_machine::Machine> {
        self.host.machine()
    }

    fn handle(&mut self, now: Nanos, event: Event) {
        match event {
            Event::Arrive(slot) => self.arrive(now, slot),
            Event::Burst { number, message } => self.burst(now, number, message),
            Event::Begin(parent) => self.begin_parent(now, parent),
            Event::Depart(slot) => self.depart(now, slot),
            Event::Expire(parent) => self.expire(now, parent),
            Event::Inject(number) => self.inject(now, number),
            Event::Machine(event) => {
                self.host.handle(now, event, &mut self.hash);
                self.apply_host_effects(now);
            }
            Event::Ready(message) => {
                self.dispatch.server.enqueue(now, message);
                self.wake(now);
            }
            Event::Relieve(number) => self.relieve(now, number),
            Event::Stall(number) => {
                self.host.recorded_stall(number, &mut self.queue);
                self.apply_host_effects(now);
            }
            Event::Wake => {
                if self.dispatch.is_due(now) {
                    self.wake(now);
                }
            }
        }
    }

    fn schedule_parents(&mut self) {
        for (number, parent) in self.parents.iter().enumerate() {
            let id = ParentId(u32::try_from(number).expect("fewer than 2^32 parents"));
            self.queue.push(parent.order().arrival, Event::Begin(id));
            self.queue.push(parent.order().deadline(), Event::Expire(id));
        }
        for (at, message) in self.execution.timers(|_| true) {
            self.queue.push(at, Event::Ready(message));
        }
    }

    fn begin_parent(&mut self, now: Nanos, parent: ParentId) {
        self.hash.record(now, kind::DECISION, [u64::from(parent.0), word(self.last_mid.0)]);
        self.parents[parent.0 as usize].begin(self.last_mid, self.host.totals());
    }

    fn advance_flow(&mut self, now: Nanos) {
        let happened = self.flow.step(&mut self.book, &mut self.fills);
        assert!(happened.at == now, "the flow is on time");
        let what = (happened.kind as u64) << 56 | (happened.side as u64) << 55 | happened.lots.0;
        let what = [happened.id.0, what ^ word(happened.price.0).rotate_left(20)];
        self.hash.record(now, kind::FLOW, what);
        self.paths.flowed(now, [what[0], what[1] ^ happened.clipped.0.rotate_left(40)]);
        match happened.kind {
            Kind::Limit => {
                let taken = self.fills.iter().filter(|fill| fill.taker == happened.id);
                let taken: u64 = taken.map(|fill| fill.lots.0).sum();
                self.journal.added(now, happened.side, happened.price, Lots(happened.lots.0 - taken));
            }
            Kind::Cancel | Kind::Reduce => {
                let gone = Lots(happened.lots.0 - happened.clipped.0);
                self.journal.removed(now, happened.side, happened.price, gone);
            }
            Kind::Market | Kind::Unseen => {}
        }
        self.after_book_changed(now);
    }

    /// Books the fills, keeps the mid and publishes the quotes.
    pub(crate) fn after_book_changed(&mut self, now: Nanos) {
        self.book_fills(now);
        if let Some(mid) = self.book.mid() {
            self.last_mid = mid;
            let oldest = self.dispatch.server.oldest_ready().unwrap_or(now);
            self.mids.record(now, mid, oldest);
        }
        self.publish(now);
    }

    fn book_fills(&mut self, now: Nanos) {
        let mut fills = std::mem::take(&mut self.fills);
        for fill in fills.drain(..) {
            self.market_lots += fill.lots;
            self.volume += fill.lots;
            self.hash.record(now, kind::FILL, [fill.maker.0 ^ fill.taker.0.rotate_left(32), fill.lots.0]);
            self.journal.removed(now, fill.maker_side, fill.price, fill.lots);
            self.book_own_fill(now, &fill);
        }
        self.fills = fills;
    }

    /// The best prices that were last published.
    pub(crate) fn quoted(&self) -> [Option<Ticks>; 2] {
        self.quote.price
    }

    fn publish(&mut self, now: Nanos) {
        let best = Side::BOTH.map(|side| self.book.best(side));
        let quote = Quote {
            price: best.map(|level| level.map(|level| level.price)),
            lots: best.map(|level| level.map_or(Lots(0), |level| level.lots)),
        };
        if quote != self.public {
            for side in Side::BOTH {
                let (price, lots) = (quote.price[side.index()], quote.lots[side.index()]);
                if (price, lots) != (self.public.price[side.index()], self.public.lots[side.index()]) {
                    let price = price.map_or(u64::MAX, |price| word(price.0));
                    self.paths.quoted(now, side.index() as u16, [price, lots.0]);
                }
            }
            self.public = quote;
        }
        let told = match self.config.feed {
            crate::scenario::file::FeedName::BestPrice => quote.price != self.quote.price,
            crate::scenario::file::FeedName::BestQuote => quote != self.quote,
        };
        if told {
            self.quote = quote;
            let [bid, ask] = quote.price;
            self.queue.push(now + self.config.feed_latency, Event::Ready(self.quote_message(bid, ask)));
        }
    }

    /// The news of the best prices.
    pub(crate) fn quote_message(&self, bid: Option<Ticks>, ask: Option<Ticks>) -> Message {
        Message::Quote { symbol: SymbolId::default(), bid, ask, volume: self.volume }
    }

    fn close_bucket(&mut self, now: Nanos) {
        let state = (self.regime, self.actions);
        let seen = self.telemetry.close(now, self.host.read_counters(now), state, self.last_mid.0);
        self.paths.close(self.host.placement());
        let second = self.steered.len();
        let (regime, actions) = match &self.imposed {
            Some(steered) => steered[second],
            None => regime::policy(self.config.controller)(&self.config.limits, self.regime, &seen),
        };
        if regime.level() != self.regime.level() {
            self.hash.record(now, kind::REGIME, [regime.level() as u64, self.regime.level() as u64]);
        }
        if actions != self.actions {
            self.host.apply_actions(now, &actions, &mut self.hash);
            self.apply_host_effects(now);
        }
        self.execution.set_policy(regime::gates(&actions), &[self.market_lots]);
        (self.regime, self.actions) = (regime, actions);
        self.steered.push((regime, actions));
        self.market_lots = Lots(0);
        self.next_bucket = now + BUCKET;
    }
}

/// A signed number's bits, for the hash.
fn word(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}
