//! A host with its part of the desk: machine, dispatch path, decisions, telemetry and controller.

use std::sync::Arc;

use numashock_book::Lots;
use numashock_controller::{Actions, Observation, Regime};
use numashock_engine::{EventHash, EventQueue, Nanos, Seed, Span};
use numashock_execution::{Dispatcher, Execution, StallMoments, SymbolId};
use numashock_machine::Counters;

use crate::desk_log::DeskEvent;
use crate::dispatch::{DispatchPath, Lateness};
use crate::event::Event;
use crate::host::RunningHost;
use crate::metrics::ClusterSizes;
use crate::regime;
use crate::scenario::config::{HostId, RunConfig, TradingHost};
use crate::simulation::RunInput;
use crate::steering::{Asked, Steering, SteeringError};
use crate::telemetry::{BUCKET, Bucket, Telemetry};

/// Releases closer than this belong to one micro-cluster.
pub const CLUSTER_GAP: Span = Span(100_000);

/// Regime and actions after each second, by host.
pub type Steered = Vec<Vec<(Regime, Actions)>>;

/// What a run gives of one host.
#[derive(Clone, Debug)]
pub struct HostResult {
    /// Buckets of one second.
    pub seconds: Vec<Bucket>,
    /// Buckets of five seconds.
    pub fives: Vec<Bucket>,
    /// Latency of each decision, in order of departure.
    pub latencies_ns: Vec<u64>,
    /// Time and gap of each release.
    pub gaps: Vec<(Nanos, Span)>,
    /// Micro-clusters of releases.
    pub clusters: ClusterSizes,
    /// Where memory and threads are at the end of each second, as one number.
    pub placements: Vec<u64>,
    /// Final counters.
    pub counters: Counters,
    /// The dispatch thread's stalls after the warm-up, as its server saw them in this world.
    pub stalls: StallMoments,
    /// How late passive children were.
    pub lateness: Lateness,
    /// What the controller saw of each second.
    pub observations: Vec<Observation>,
    /// Buckets of a tenth of a second, of the time in which finer telemetry was in force.
    pub fine: Vec<Bucket>,
    /// What the desk would export of its execution path, in order of happening; nothing unless it was asked for.
    pub telemetry: Vec<DeskEvent>,
}

/// A host that is running, and what runs on it.
#[derive(Debug)]
pub(crate) struct Hosted<'a> {
    pub(crate) number: HostId,
    pub(crate) config: &'a TradingHost,
    pub(crate) host: RunningHost,
    pub(crate) execution: Execution,
    pub(crate) dispatch: DispatchPath,
    pub(crate) telemetry: Telemetry,
    /// The symbols that its strategies trade, in order of number.
    pub(crate) symbols: Vec<SymbolId>,
    placements: Vec<u64>,
    pub(crate) regime: Regime,
    pub(crate) actions: Actions,
    /// The actions whose gates are in force in the execution.
    gating: Actions,
    /// What the market of each symbol traded in the last bucket.
    market_lots: Vec<Lots>,
    /// Regime and actions after each second.
    pub(crate) steered: Vec<(Regime, Actions)>,
    /// What the controller saw of each second.
    pub(crate) observations: Vec<Observation>,
}

impl<'a> Hosted<'a> {
    /// A host at time zero; `seed` is its own.
    pub(crate) fn new(
        number: HostId,
        config: &'a RunConfig,
        input: &RunInput,
        seed: Seed,
        queue: &mut EventQueue<Event>,
    ) -> Hosted<'a> {
        let own = &config.hosts[number.index()];
        let host = RunningHost::new((number, &own.host), seed, input.mechanisms, input.balancing, queue);
        let strategies = config.strategies.iter().map(|strategy| strategy.method.clone()).collect();
        let execution = Execution::new(strategies, input.parents.to_vec(), BUCKET);
        let server = Dispatcher::new(input.mechanisms.dispatch_jitter);
        let server = server.measuring_from(Nanos::ZERO + config.warmup);
        // Latencies of the way out are keyed by child, wherever it is worked.
        let dispatch = DispatchPath::new(server, (number, own), input.seed, &input.disturbances);
        Hosted {
            number,
            config: own,
            host,
            execution,
            dispatch,
            telemetry: Telemetry::new(own.interconnect_mbps, config.segments_of(number).len()),
            symbols: symbols(config, number),
            placements: Vec::new(),
            regime: Regime::STABLE,
            actions: Actions::NORMAL,
            gating: Actions::NORMAL,
            market_lots: Vec::new(),
            steered: Vec::new(),
            observations: Vec::new(),
        }
    }

    /// Ends the second that is over now; gives the regime and actions that follow, imposed or decided.
    pub(crate) fn close_second(
        &mut self,
        now: Nanos,
        mid_half_ticks: i64,
        imposed: Option<&Arc<Steered>>,
        steering: &mut dyn Steering,
    ) -> Result<(Regime, Actions), SteeringError> {
        let state = (self.regime, self.actions);
        self.close_fine(now, mid_half_ticks);
        let seen = self.telemetry.close(now, self.host.read_counters(now), state, mid_half_ticks);
        self.placements.push(self.host.placement());
        self.observations.push(seen);
        match imposed {
            Some(steered) => Ok(steered[self.number.index()][self.steered.len()]),
            None => steering.steer(&Asked {
                host: self.number,
                bucket: self.bucket(),
                policy: regime::policy(self.config.controller),
                limits: &self.config.limits,
                regime: self.regime,
                seen: &seen,
            }),
        }
    }

    /// Notes the decision on the bucket that is over; gives the bucket's number.
    pub(crate) fn decided(&mut self, state: (Regime, Actions)) -> u32 {
        (self.regime, self.actions) = state;
        self.steered.push(state);
        self.bucket() - 1
    }

    /// The number of the bucket that is not over.
    fn bucket(&self) -> u32 {
        u32::try_from(self.steered.len()).expect("fewer than 2^32 seconds")
    }

    /// Gives the gates in force what each symbol traded in the second that is over.
    pub(crate) fn renew_gates(&mut self, market_lots: &[Lots]) {
        self.market_lots.clear();
        self.market_lots.extend_from_slice(market_lots);
        self.execution.set_policy(regime::gates(&self.gating), market_lots);
    }

    /// The decision on a bucket reaches the execution.
    pub(crate) fn reach_execution(&mut self, bucket: u32) {
        self.gating = self.steered[bucket as usize].1;
        self.execution.change_policy(regime::gates(&self.gating), &self.market_lots);
    }

    /// The decision on a bucket reaches the host. Gives when a fine bucket is to be looked at, if one is.
    pub(crate) fn reach_host(
        &mut self,
        now: Nanos,
        bucket: u32,
        mid_half_ticks: i64,
        hash: &mut EventHash,
    ) -> Option<Nanos> {
        let actions = self.steered[bucket as usize].1;
        self.host.apply_actions(now, &actions, hash);
        if actions.finer_telemetry == self.telemetry.fine_due().is_some() {
            return None;
        }
        if actions.finer_telemetry {
            let counters = self.host.read_counters(now);
            return Some(self.telemetry.begin_fine(now, counters));
        }
        self.close_fine(now, mid_half_ticks);
        self.telemetry.end_fine();
        None
    }

    /// Ends a fine bucket if it is over now.
    pub(crate) fn close_fine(&mut self, now: Nanos, mid_half_ticks: i64) {
        if self.telemetry.fine_due() == Some(now) {
            let counters = self.host.read_counters(now);
            let state = (self.regime, self.actions);
            self.telemetry.close_fine(now, counters, state, mid_half_ticks);
        }
    }

    /// What is left at the end, with what the controller did.
    pub(crate) fn into_result(mut self, end: Nanos) -> (HostResult, Vec<(Regime, Actions)>) {
        let mut clusters = ClusterSizes::new(CLUSTER_GAP);
        if !self.telemetry.gaps.is_empty() {
            clusters.record(None);
        }
        self.telemetry.gaps.iter().for_each(|(_, gap)| clusters.record(Some(*gap)));
        clusters.close();
        let latencies_ns = std::mem::take(&mut self.telemetry.latencies);
        let gaps = std::mem::take(&mut self.telemetry.gaps);
        let telemetry = std::mem::take(&mut self.telemetry.log).into_events();
        let [seconds, fives, fine] = self.telemetry.into_buckets();
        let result = HostResult {
            seconds,
            fives,
            latencies_ns,
            gaps,
            clusters,
            placements: self.placements,
            counters: self.host.counters(),
            stalls: self.dispatch.server.stalls(end),
            lateness: self.dispatch.lateness(),
            observations: self.observations,
            fine,
            telemetry,
        };
        (result, self.steered)
    }
}

/// The symbols that strategies on a host trade, in order of number.
fn symbols(config: &RunConfig, host: HostId) -> Vec<SymbolId> {
    let mut symbols: Vec<SymbolId> = config
        .strategies
        .iter()
        .filter(|strategy| strategy.host == host)
        .flat_map(|strategy| strategy.symbols.iter().copied())
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}
