//! One run: the closed loop that carries plain data between parts that do not know each other.

use std::sync::Arc;

use numashock_accounting::Mechanisms;
use numashock_book::flow::{Exogenous, Kind};
use numashock_book::{Book, Lots};
use numashock_controller::{Actions, Observation, Regime};
use numashock_engine::{Checkpoint, EventHash, EventQueue, Keep, Nanos, Recorded, Seed, Span};
use numashock_execution::{ParentId, ParentOrder, SymbolId};

use crate::desk::{OpenParent, ParentResult};
use crate::event::{Event, Reach, kind};
use crate::hosted::{HostResult, Hosted, Steered};
use crate::injector::{Injected, Injecting};
use crate::notes::{note_mid, note_ready};
use crate::scenario::config::{ActionDelay, HostId, RunConfig};
use crate::steering::{Own, Steering, SteeringError};
use crate::telemetry::BUCKET;
use crate::trail::{ChildResult, Trails};
use crate::venue::{SymbolResult, Venue};

/// What one run is made of, beside its configuration.
#[derive(Clone, Debug)]
pub struct RunInput {
    /// Seed of the replication.
    pub seed: Seed,
    /// Seed of each host.
    pub host_seeds: Vec<Seed>,
    /// Exogenous flow of the replication by symbol, shared by all its runs.
    pub exogenous: Vec<Arc<Exogenous>>,
    /// Parents of the replication.
    pub parents: Arc<Vec<ParentOrder>>,
    /// What is done to the run from outside, in order of time.
    pub disturbances: Arc<Vec<Injected>>,
    /// Which mechanisms cost time.
    pub mechanisms: Mechanisms,
    /// False: `numa_balancing=0` from before the start.
    pub balancing: bool,
    /// The regimes and actions of the real run, by host and bucket, imposed on a counterfactual one (attribution: A2).
    pub imposed: Option<Arc<Steered>>,
    /// A checkpoint of the event hash each so many events; 0 keeps only the last.
    pub hash_interval: u64,
}

/// What a run gives.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// Every parent: by strategy, then in order of arrival.
    pub parents: Vec<ParentResult>,
    /// Every child that reached the exchange, in order of its number.
    pub children: Vec<ChildResult>,
    /// What each host measured.
    pub hosts: Vec<HostResult>,
    /// The controllers' regimes and actions after each second, by host.
    pub steered: Steered,
    /// State of the event hash at the end.
    pub hash: Checkpoint,
    /// Its checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// What each symbol saw.
    pub symbols: Vec<SymbolResult>,
    /// The disturbances that happened, in order of time.
    pub disturbances: Vec<Injected>,
}

/// Hosts, markets and a desk in one loop.
#[derive(Debug)]
pub struct Simulation<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) mechanisms: Mechanisms,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) hash: EventHash,
    pub(crate) hosts: Vec<Hosted<'a>>,
    pub(crate) venues: Vec<Venue>,
    pub(crate) parents: Vec<OpenParent>,
    pub(crate) trails: Trails,
    pub(crate) injecting: Injecting,
    imposed: Option<Arc<Steered>>,
    next_bucket: Nanos,
}

impl<'a> Simulation<'a> {
    /// A run at time zero.
    #[must_use]
    pub fn new(config: &'a RunConfig, input: RunInput) -> Simulation<'a> {
        let mut queue = EventQueue::default();
        let injecting = Injecting::new(Arc::clone(&input.disturbances), input.host_seeds.clone());
        injecting.begins().for_each(|(at, event)| queue.push(at, event));
        let mut hosts = Vec::with_capacity(config.hosts.len());
        for (number, seed) in (0..).zip(&input.host_seeds) {
            hosts.push(Hosted::new(HostId(number), config, &input, *seed, &mut queue));
        }
        let late = input.mechanisms != Mechanisms::FREE && input.balancing;
        let venue = |((number, symbol), exogenous): ((u16, _), &Arc<Exogenous>)| {
            let listens = |hosted: &&Hosted<'_>| hosted.symbols.contains(&SymbolId(number));
            let listeners = hosts.iter().filter(listens).map(|hosted| hosted.number).collect();
            Venue::new((SymbolId(number), symbol), Arc::clone(exogenous), listeners, late)
        };
        let venues = (0..).zip(&config.symbols).zip(&input.exogenous).map(venue).collect();
        let mut simulation = Simulation {
            mechanisms: input.mechanisms,
            hash: EventHash::new(input.hash_interval),
            hosts,
            venues,
            parents: input
                .parents
                .iter()
                .map(|order| {
                    let segment = config.segment_id(order.strategy, order.symbol);
                    OpenParent::new(*order, config.host_of(order), segment)
                })
                .collect(),
            trails: Trails::default(),
            queue,
            injecting,
            imposed: input.imposed,
            next_bucket: Nanos::ZERO + BUCKET,
            config,
        };
        simulation.schedule_parents();
        for number in 0..simulation.venues.len() {
            simulation.publish(Nanos::ZERO, number);
        }
        simulation
    }

    /// Runs to the end and closes every account.
    #[must_use]
    pub fn run(self) -> RunResult {
        self.run_with(&mut Own).expect("the scenario's own controller always decides")
    }

    /// As [`run`](Self::run), with decisions from elsewhere; those that are imposed stay imposed.
    ///
    /// # Errors
    /// If a decision cannot be had.
    pub fn run_with(mut self, steering: &mut dyn Steering) -> Result<RunResult, SteeringError> {
        while self.step_with(steering)?.is_some() {}
        steering.end()?;
        Ok(self.finish())
    }

    /// Handles the next event and gives its time; `None` at the end of the run.
    pub fn step(&mut self) -> Option<Nanos> {
        self.step_with(&mut Own).expect("the scenario's own controller always decides")
    }

    /// As [`step`](Self::step), with decisions from elsewhere.
    ///
    /// Of things due at the same time the order is: end of a bucket, order flow by number of symbol, everything else by
    /// arrival number.
    ///
    /// # Errors
    /// If a decision cannot be had. The run cannot go on then.
    pub fn step_with(&mut self, steering: &mut dyn Steering) -> Result<Option<Nanos>, SteeringError> {
        let end = Nanos::ZERO + self.config.end();
        let (flow_at, symbol) = self.next_flow();
        let queue_at = self.queue.next_at();
        let now = flow_at.min(queue_at).min(self.next_bucket);
        if now > end {
            return Ok(None);
        }
        if self.next_bucket == now {
            self.close_bucket(now, steering)?;
        } else if flow_at == now {
            self.advance_flow(now, symbol);
        } else {
            let (_, event) = self.queue.pop().expect("an event is due");
            self.handle(now, event);
        }
        Ok(Some(now))
    }

    /// Keeps semantic events, and notes beside them if asked, from now on; [`take_kept`](Self::take_kept) moves them out.
    pub fn keep(&mut self, keep: Keep) {
        self.hash.keep(keep);
    }

    /// Keeps what a desk would export of its execution path, from now on, for [`HostResult::telemetry`].
    pub fn keep_telemetry(&mut self) {
        for hosted in &mut self.hosts {
            hosted.telemetry.log.keep();
        }
    }

    /// Moves the events kept since the last call to the end of `into`.
    pub fn take_kept(&mut self, into: &mut Vec<Recorded>) {
        self.hash.take_kept(into);
    }

    /// The state of the event hash.
    #[must_use]
    pub fn hash(&self) -> Checkpoint {
        self.hash.checkpoint()
    }

    /// The states that the hash had at its interval so far, oldest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[Checkpoint] {
        self.hash.checkpoints()
    }

    /// What a host's controller saw of each second that is over, and the regime and actions that followed it.
    pub fn decided(&self, host: HostId) -> impl ExactSizeIterator<Item = (&Observation, &(Regime, Actions))> {
        let hosted = &self.hosts[host.index()];
        hosted.observations.iter().zip(&hosted.steered)
    }

    /// Ends a run whose last event has been handled.
    ///
    /// # Panics
    /// If a parent is still open: its deadline lies within the run by construction.
    #[must_use]
    pub fn finish(self) -> RunResult {
        let end = Nanos::ZERO + self.config.end();
        let (hosts, steered) = self.hosts.into_iter().map(|hosted| hosted.into_result(end)).unzip();
        RunResult {
            parents: self.parents.into_iter().map(OpenParent::into_result).collect(),
            children: self.trails.into_results(),
            hosts,
            steered,
            hash: self.hash.checkpoint(),
            checkpoints: self.hash.checkpoints().to_vec(),
            symbols: self.venues.into_iter().map(Venue::into_result).collect(),
            disturbances: self.injecting.happened().to_vec(),
        }
    }

    /// The books, by symbol, for checkers.
    pub fn books(&self) -> impl Iterator<Item = &Book> {
        self.venues.iter().map(|venue| &venue.book)
    }

    /// The machine of a host, if it is simulated, for checkers.
    #[must_use]
    pub fn machine(&self, host: HostId) -> Option<&numashock_machine::Machine> {
        self.hosts[host.index()].host.machine()
    }

    /// When the next event of order flow is due, and in which symbol; of several the one with the least number.
    fn next_flow(&self) -> (Nanos, usize) {
        let mut next = (self.venues[0].flow.next_at(), 0);
        for (number, venue) in self.venues.iter().enumerate().skip(1) {
            let at = venue.flow.next_at();
            if at < next.0 {
                next = (at, number);
            }
        }
        next
    }

    /// The host that a parent is worked on.
    pub(crate) fn host_of(&self, parent: ParentId) -> HostId {
        self.parents[parent.0 as usize].host
    }

    /// The symbol that a parent is worked in, as a place among the venues.
    pub(crate) fn venue_of(&self, parent: ParentId) -> usize {
        usize::from(self.parents[parent.0 as usize].order().symbol.0)
    }

    fn handle(&mut self, now: Nanos, event: Event) {
        let host = self.host_concerned(event);
        self.hash.set_source(host.0);
        match event {
            Event::Arrive(_, slot) => self.arrive(now, host, slot),
            Event::Burst { number, message } => self.burst(now, number, message),
            Event::Begin(parent) => self.begin_parent(now, parent),
            Event::Depart(_, slot) => self.depart(now, host, slot),
            Event::Expire(parent) => self.expire(now, parent),
            Event::Inject(number) => self.inject(now, number),
            Event::Machine(_, event) => {
                self.hosts[host.index()].host.handle(now, event, &mut self.hash);
                self.apply_host_effects(now, host);
            }
            Event::Ready(_, message) => {
                note_ready(&mut self.hash, now, message);
                self.hosts[host.index()].dispatch.server.enqueue(now, message);
                self.wake(now, host);
            }
            Event::Relieve(number) => self.relieve(now, number),
            Event::Stall(_, number) => {
                self.hosts[host.index()].host.recorded_stall(number, &mut self.queue);
                self.apply_host_effects(now, host);
            }
            Event::Act { bucket, reach, .. } => self.act(now, (host, bucket, reach)),
            Event::Sample(_) => {
                // At the end of a second it has been closed before the controller decided.
                let hosted = &mut self.hosts[host.index()];
                hosted.close_fine(now, self.venues[0].last_mid.0);
                if let Some(next) = hosted.telemetry.fine_due() {
                    self.queue.push(next, Event::Sample(host));
                }
            }
            Event::Wake(_) => {
                if self.hosts[host.index()].dispatch.is_due(now) {
                    self.wake(now, host);
                }
            }
        }
    }

    fn host_concerned(&self, event: Event) -> HostId {
        match event {
            Event::Act { host, .. }
            | Event::Arrive(host, _)
            | Event::Sample(host)
            | Event::Depart(host, _)
            | Event::Machine(host, _)
            | Event::Ready(host, _)
            | Event::Stall(host, _)
            | Event::Wake(host) => host,
            Event::Begin(parent) | Event::Expire(parent) => self.host_of(parent),
            Event::Burst { number, .. } | Event::Inject(number) | Event::Relieve(number) => {
                self.injecting.host(number)
            }
        }
    }

    fn schedule_parents(&mut self) {
        for (number, parent) in self.parents.iter().enumerate() {
            let id = ParentId(u32::try_from(number).expect("fewer than 2^32 parents"));
            self.queue.push(parent.order().arrival, Event::Begin(id));
            self.queue.push(parent.order().deadline(), Event::Expire(id));
        }
        for hosted in &self.hosts {
            for (at, message) in hosted.execution.timers(|id| self.host_of(id) == hosted.number) {
                self.queue.push(at, Event::Ready(hosted.number, message));
            }
        }
    }

    fn begin_parent(&mut self, now: Nanos, parent: ParentId) {
        let venue = &self.venues[self.venue_of(parent)];
        let (mid, conditions) = (venue.last_mid, venue.conditions());
        let totals = self.hosts[self.host_of(parent).index()].host.totals();
        self.hash.record(now, kind::DECISION, [u64::from(parent.0), word(mid.0)]);
        self.parents[parent.0 as usize].begin(mid, conditions, totals);
    }

    fn advance_flow(&mut self, now: Nanos, symbol: usize) {
        let venue = &mut self.venues[symbol];
        let happened = venue.flow.step(&mut venue.book, &mut venue.fills);
        assert!(happened.at == now, "the flow is on time");
        let what = (happened.kind as u64) << 56 | (happened.side as u64) << 55 | happened.lots.0;
        self.hash.set_source(venue.symbol.0);
        let what = [happened.id.0, what ^ word(happened.price.0).rotate_left(20)];
        self.hash.record(now, kind::FLOW, what);
        venue.paths.flowed(now, [what[0], what[1] ^ happened.clipped.0.rotate_left(40)]);
        match happened.kind {
            Kind::Limit => {
                let taken = venue.fills.iter().filter(|fill| fill.taker == happened.id);
                let taken: u64 = taken.map(|fill| fill.lots.0).sum();
                venue.journal.added(now, happened.side, happened.price, Lots(happened.lots.0 - taken));
            }
            Kind::Cancel | Kind::Reduce => {
                let gone = Lots(happened.lots.0 - happened.clipped.0);
                venue.journal.removed(now, happened.side, happened.price, gone);
            }
            Kind::Market | Kind::Unseen => {}
        }
        self.after_book_changed(now, symbol);
    }

    /// Books the fills, keeps the mid and publishes the quotes.
    pub(crate) fn after_book_changed(&mut self, now: Nanos, symbol: usize) {
        self.book_fills(now, symbol);
        let oldest = self.oldest_ready(now, symbol);
        let before = self.venues[symbol].last_mid;
        self.venues[symbol].keep_mid(now, oldest);
        let venue = &self.venues[symbol];
        if venue.last_mid != before {
            note_mid(&mut self.hash, now, venue.symbol, venue.last_mid);
        }
        self.publish(now, symbol);
    }

    /// When the oldest message that waits on a host that trades the symbol became ready.
    fn oldest_ready(&self, now: Nanos, symbol: usize) -> Nanos {
        let listeners = &self.venues[symbol].listeners;
        let waits = |host: &HostId| self.hosts[host.index()].dispatch.server.oldest_ready();
        listeners.iter().filter_map(waits).min().unwrap_or(now)
    }

    fn book_fills(&mut self, now: Nanos, symbol: usize) {
        let mut fills = std::mem::take(&mut self.venues[symbol].fills);
        for fill in fills.drain(..) {
            let venue = &mut self.venues[symbol];
            venue.market_lots += fill.lots;
            venue.volume += fill.lots;
            self.hash.record(now, kind::FILL, [fill.maker.0 ^ fill.taker.0.rotate_left(32), fill.lots.0]);
            venue.journal.removed(now, fill.maker_side, fill.price, fill.lots);
            self.book_own_fill(now, &fill);
        }
        self.venues[symbol].fills = fills;
    }

    fn publish(&mut self, now: Nanos, symbol: usize) {
        let venue = &mut self.venues[symbol];
        if let Some(message) = venue.news(now) {
            for host in &venue.listeners {
                self.queue.push(now + venue.feed_latency, Event::Ready(*host, message));
            }
        }
    }

    fn close_bucket(&mut self, now: Nanos, steering: &mut dyn Steering) -> Result<(), SteeringError> {
        let traded: Vec<Lots> = self.venues.iter().map(|venue| venue.market_lots).collect();
        for number in 0..self.hosts.len() {
            let hosted = &mut self.hosts[number];
            let host = hosted.number;
            self.hash.set_source(host.0);
            let before = (hosted.regime, hosted.actions);
            let mid = self.venues[0].last_mid.0;
            let (regime, actions) = hosted.close_second(now, mid, self.imposed.as_ref(), steering)?;
            if regime.level() != before.0.level() {
                self.hash.record(now, kind::REGIME, [regime.level() as u64, before.0.level() as u64]);
            }
            hosted.renew_gates(&traded);
            let bucket = hosted.decided((regime, actions));
            if actions != before.1 {
                let ActionDelay { execution, host: own } = hosted.config.delay;
                self.act_after(now, own, (host, bucket, Reach::Host));
                self.act_after(now, execution, (host, bucket, Reach::Execution));
            }
        }
        self.venues.iter_mut().for_each(Venue::close_second);
        self.next_bucket = now + BUCKET;
        Ok(())
    }
}

impl Simulation<'_> {
    /// What a controller decided on a bucket is in force after `delay`; without one it is now.
    fn act_after(&mut self, now: Nanos, delay: Span, (host, bucket, reach): (HostId, u32, Reach)) {
        if delay == Span::ZERO {
            self.act(now, (host, bucket, reach));
        } else {
            self.queue.push(now + delay, Event::Act { host, bucket, reach });
        }
    }

    /// What a controller decided on a bucket is in force. Delays are constant, so decisions arrive in their order.
    fn act(&mut self, now: Nanos, (host, bucket, reach): (HostId, u32, Reach)) {
        let hosted = &mut self.hosts[host.index()];
        let mid = self.venues[0].last_mid.0;
        match reach {
            Reach::Execution => hosted.reach_execution(bucket),
            Reach::Host => {
                if let Some(next) = hosted.reach_host(now, bucket, mid, &mut self.hash) {
                    self.queue.push(next, Event::Sample(host));
                }
                self.apply_host_effects(now, host);
            }
        }
    }
}

/// A signed number's bits, for the hash.
fn word(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}
