//! Tuning choices × paired seeds: every run of a sweep, in the three worlds, on as many threads as asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use numashock_accounting::{Attribution, Mechanisms, micro_basis_points};
use numashock_controller::Level;
use numashock_engine::{EventHash, Nanos};
use numashock_execution::ParentOrder;
use numashock_sim::injector::LogLine;
use numashock_sim::metrics::{ExposureThresholds, is_exposed, quantile};
use numashock_sim::scenario::Choice;
use numashock_sim::scenario::config::{HostId, Market, RunConfig, TradingHost};
use numashock_sim::scenario::preset::Mark;
use numashock_sim::{
    Bucket, HostResult, MODEL_VERSION, Own, Replication, RunResult, Simulation, Steering, SteeringError,
};
use numashock_trace::Decided;
use rayon::prelude::*;

use crate::attribution::{AttributionRow, ChildRow, Diverged, PathCosts};
use crate::results::{
    AssumedCost, BucketRow, ChoiceHeader, Counters, DecisionRow, LatencyNs, MicroClusters, ParentRow,
    RecordedFlow, Regime, ReleaseGap, Side, SweepHeader, SweepResults, Timeline, Window, summarise, uplifts,
};
use crate::segments::{self, Segments};
use crate::stats;
use crate::worlds::{self, Worlds};

/// What a sweep is told beside its choices.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions<'a> {
    /// The scenario's name.
    pub scenario: &'a str,
    /// Threads; 0 takes one per processor. The result does not depend on it.
    pub jobs: usize,
    /// Counts finished runs, for whoever shows progress.
    pub done: &'a AtomicU64,
    /// Run all fifteen worlds and take C_numa apart, parent by parent.
    pub attribution: bool,
    /// Keep a row for each child of the real runs.
    pub children: bool,
}

/// How many runs a sweep has: choices × seeds × three worlds, with the attribution seventeen.
#[must_use]
pub fn runs(choices: &[Choice], attribution: bool) -> u64 {
    let worlds = 3 + if attribution { worlds::MORE_RUNS } else { 0 };
    choices.iter().map(|choice| u64::from(choice.config.seeds) * worlds).sum()
}

/// Gives each real run somebody who decides; the other worlds get the same decisions imposed.
pub trait Steers: Sync {
    /// For the run of one seed, from its first bucket to its last.
    ///
    /// # Errors
    /// If nobody is there to decide.
    fn begin(&self, config: &RunConfig, seed: u32) -> Result<Box<dyn Steering>, SteeringError>;
}

/// The scenario's own controllers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnControllers;

impl Steers for OwnControllers {
    fn begin(&self, _config: &RunConfig, _seed: u32) -> Result<Box<dyn Steering>, SteeringError> {
        Ok(Box::new(Own))
    }
}

/// Runs every choice for every seed in the worlds N, ∅ and off, and in all others if asked, and summarises.
///
/// # Panics
/// If the threads cannot be started, or an invariant of a run breaks.
#[must_use]
pub fn sweep(choices: &[Choice], options: SweepOptions<'_>) -> SweepResults {
    sweep_with(choices, options, &OwnControllers).expect("a scenario's own controllers always decide")
}

/// As [`sweep`], with decisions from elsewhere.
///
/// # Errors
/// That of the first seed for which no decision could be had. Seeds after it are not begun any more.
///
/// # Panics
/// As [`sweep`].
pub fn sweep_with(
    choices: &[Choice],
    options: SweepOptions<'_>,
    steers: &dyn Steers,
) -> Result<SweepResults, SteeringError> {
    let seeds = choices.first().map_or(0, |choice| choice.config.seeds);
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(options.jobs).build().expect("threads can be started");
    // Seeds before a failed one go on, so that the error reported is the same for any number of threads.
    let failed = AtomicU32::new(u32::MAX);
    let run = |seed| {
        if seed > failed.load(Ordering::Relaxed) {
            return None;
        }
        let outcomes = replicate(choices, seed, options, steers);
        if outcomes.is_err() {
            failed.fetch_min(seed, Ordering::Relaxed);
        }
        Some(outcomes)
    };
    let runs: Vec<_> = pool.install(|| (0..seeds).into_par_iter().map(run).collect());
    let outcomes: Result<Vec<Vec<Outcome>>, SteeringError> = runs.into_iter().flatten().collect();
    Ok(collect(choices, options.scenario, outcomes?))
}

/// One run of a choice in the real world, for looking at it closely.
///
/// # Panics
/// If an invariant of the run breaks.
#[must_use]
pub fn run_once(
    config: &RunConfig,
    seed: u32,
    mechanisms: Mechanisms,
    balancing: bool,
    interval: u64,
) -> RunResult {
    let replication = config.replication(seed);
    Simulation::new(config, replication.input(mechanisms, balancing, None, interval)).run()
}

/// One seed of a configuration in the real world, with what its desk would export of its execution path.
///
/// # Errors
/// If a decision cannot be had.
///
/// # Panics
/// If an invariant of the run breaks.
pub fn run_with_telemetry(
    config: &RunConfig,
    seed: u32,
    steers: &dyn Steers,
) -> Result<RunResult, SteeringError> {
    let input = config.replication(seed).input(Mechanisms::REAL, true, None, 0);
    let mut simulation = Simulation::new(config, input);
    simulation.keep_telemetry();
    simulation.run_with(&mut *steers.begin(config, seed)?)
}

/// The same for the checkers, which want to step it themselves.
#[must_use]
pub fn simulation(config: &RunConfig, seed: u32, mechanisms: Mechanisms, balancing: bool) -> Simulation<'_> {
    let replication = config.replication(seed);
    Simulation::new(config, replication.input(mechanisms, balancing, None, 0))
}

/// One choice and seed in all worlds.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// The parents, each with its C_numa taken apart.
    pub parents: Vec<ParentRow>,
    /// The children of the real run.
    pub children: Vec<ChildRow>,
    /// The fifteen worlds.
    pub worlds: Worlds,
    /// Runs that this took.
    pub runs: u64,
}

/// Runs one seed of a configuration in all worlds.
///
/// # Panics
/// If an invariant of a run breaks.
#[must_use]
pub fn attributed(config: &RunConfig, seed: u32) -> Attributed {
    attributed_with(config, seed, &OwnControllers).expect("a scenario's own controllers always decide")
}

/// As [`attributed`], with decisions from elsewhere.
///
/// # Errors
/// If a decision cannot be had.
///
/// # Panics
/// If an invariant of a run breaks.
pub fn attributed_with(
    config: &RunConfig,
    seed: u32,
    steers: &dyn Steers,
) -> Result<Attributed, SteeringError> {
    let done = AtomicU64::new(0);
    let mut steering = steers.begin(config, seed)?;
    let (real, free, replication) = with_balancing(config, seed, &mut *steering, &done)?;
    let worlds = Worlds::run(config, &replication, (&real, &free), &done);
    let steered = Some(Arc::new(real.steered.clone()));
    let off = Simulation::new(config, replication.input(Mechanisms::FREE, false, steered, 0)).run();
    let outcome = Outcome { real, free, off: Arc::new(off), worlds: Some(worlds) };
    let rows = (0, u64::from(seed));
    let segments = Segments::of("", [(config, &outcome.real)].into_iter());
    let parents = parent_rows(config, rows, &outcome, &segments).collect();
    let children = child_rows(rows, &outcome.real).collect();
    let worlds = outcome.worlds.expect("all worlds were run");
    Ok(Attributed { parents, children, worlds, runs: done.into_inner() + 1 })
}

/// The three worlds of one choice and seed.
struct Outcome {
    real: RunResult,
    free: Arc<RunResult>,
    off: Arc<RunResult>,
    /// All fifteen, if asked for.
    worlds: Option<Worlds>,
}

/// All choices of one seed. Choices that are the same run once balancing is off share that run.
fn replicate(
    choices: &[Choice],
    seed: u32,
    options: SweepOptions<'_>,
    steers: &dyn Steers,
) -> Result<Vec<Outcome>, SteeringError> {
    let done = options.done;
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(choices.len());
    for choice in choices {
        let mut steering = steers.begin(&choice.config, seed)?;
        let (mut real, free, replication) = with_balancing(&choice.config, seed, &mut *steering, done)?;
        if seed > 0 {
            // Only the first seed's time line is drawn.
            real.hosts.iter_mut().for_each(|host| host.gaps = Vec::new());
        }
        let worlds =
            options.attribution.then(|| Worlds::run(&choice.config, &replication, (&real, &free), done));
        if !options.children {
            real.children = Vec::new();
        }
        let twin = choices.iter().zip(&outcomes).find(|(other, outcome)| {
            outcome.real.steered == real.steered && choice.config.same_without_balancing(&other.config)
        });
        let off = match twin {
            Some((_, outcome)) => Arc::clone(&outcome.off),
            // Off from the start, the worlds ∅ and off are one run.
            None if !choice.config.balances() => Arc::clone(&free),
            None => {
                let steered = Some(Arc::new(real.steered.clone()));
                let input = replication.input(Mechanisms::FREE, false, steered, 0);
                Arc::new(trimmed(Simulation::new(&choice.config, input).run()))
            }
        };
        done.fetch_add(1, Ordering::Relaxed);
        outcomes.push(Outcome { real, free, off, worlds });
    }
    Ok(outcomes)
}

/// The worlds N and ∅.
fn with_balancing(
    config: &RunConfig,
    seed: u32,
    steering: &mut dyn Steering,
    done: &AtomicU64,
) -> Result<(RunResult, Arc<RunResult>, Replication), SteeringError> {
    let replication = config.replication(seed);
    let run = |mechanisms, imposed, steering: &mut dyn Steering| {
        let simulation = Simulation::new(config, replication.input(mechanisms, true, imposed, 0));
        let result = simulation.run_with(steering)?;
        done.fetch_add(1, Ordering::Relaxed);
        Ok(result)
    };
    let real = run(Mechanisms::REAL, None, steering)?;
    let free = run(Mechanisms::FREE, Some(Arc::new(real.steered.clone())), &mut Own)?;
    Ok((real, Arc::new(trimmed(free)), replication))
}

/// A counterfactual without what only the real world is asked for.
fn trimmed(mut result: RunResult) -> RunResult {
    for host in &mut result.hosts {
        (host.latencies_ns, host.gaps) = (Vec::new(), Vec::new());
        (host.fives, host.fine) = (Vec::new(), Vec::new());
        host.seconds.iter_mut().for_each(|bucket| bucket.segments = Vec::new());
    }
    (result.disturbances, result.children) = (Vec::new(), Vec::new());
    result
}

fn collect(choices: &[Choice], scenario: &str, outcomes: Vec<Vec<Outcome>>) -> SweepResults {
    let mut hash = EventHash::new(0);
    let (mut parents, mut buckets, mut timelines, mut headers) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut disturbances, mut children, mut worlds_hashes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut decisions, mut metrics) = (Vec::new(), Vec::new());
    let runs = outcomes.iter().flat_map(|of_seed| choices.iter().zip(of_seed));
    let segments = Segments::of(scenario, runs.map(|(choice, outcome)| (&choice.config, &outcome.real)));
    let mut hosts: Vec<String> = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        let number = u32::try_from(index).expect("few choices");
        let mut worlds_hash = EventHash::new(0);
        for (seed, outcome) in
            outcomes.iter().enumerate().map(|(seed, of_seed)| (seed as u64, &of_seed[index]))
        {
            for world in [&outcome.real, &*outcome.free, &*outcome.off] {
                hash.record(Nanos::ZERO, 0, [world.hash.hash, world.hash.events]);
            }
            if let Some(worlds) = &outcome.worlds {
                worlds_hash.record(Nanos::ZERO, 0, [seed, worlds.hash()]);
            }
            parents.extend(parent_rows(&choice.config, (number, seed), outcome, &segments));
            children.extend(child_rows((number, seed), &outcome.real));
            let mut rows = Vec::new();
            for (id, result) in (0..).map(HostId).zip(&outcome.real.hosts) {
                let host = place_of(&mut hosts, segments::host_name(scenario, &choice.config, id));
                rows.extend(bucket_rows((number, seed), host, &choice.config, result));
            }
            metrics.extend(segments.metric_rows(&choice.config, (number, seed), &outcome.real));
            disturbances.extend(log_lines(choice, seed, &outcome.real));
            decisions.extend(decision_rows((number, seed), &outcome.real));
            if seed == 0 {
                timelines.push(timeline((number, seed), &rows, &outcome.real));
            }
            buckets.extend(rows);
        }
        worlds_hashes.push(worlds_hash.checkpoint().hash);
        headers.push(choice_header(choice, outcomes.iter().map(|of_seed| &of_seed[index].real)));
    }
    let header = sweep_header(choices, scenario, hash.checkpoint().hash, headers, &segments);
    let mut summary = summarise(header, &parents, &buckets, &metrics);
    for (choice, hash) in summary.choices.iter_mut().zip(worlds_hashes) {
        if let Some(attribution) = &mut choice.attribution {
            attribution.event_hash = format!("{hash:016x}");
        }
    }
    SweepResults {
        summary,
        segments: segments.into_list(),
        hosts,
        uplifts: uplifts(&parents),
        parents,
        children,
        buckets,
        metrics,
        timelines,
        disturbances,
        decisions,
    }
}

fn sweep_header(
    choices: &[Choice],
    scenario: &str,
    event_hash: u64,
    headers: Vec<ChoiceHeader>,
    segments: &Segments,
) -> SweepHeader {
    let config = choices.first().map(|choice| &choice.config);
    SweepHeader {
        model_version: MODEL_VERSION.to_string(),
        seed: config.map_or(0, |config| config.seed.0),
        event_hash,
        scenario: scenario.to_owned(),
        assumed_costs: config.map(assumed_costs).unwrap_or_default(),
        recorded_flow: config.and_then(recorded_flow),
        choices: headers,
        resamples: stats::RESAMPLES,
        segments: segments.clone().into_list(),
    }
}

/// Latencies and clusters of a choice over its real runs. Nothing is sent before the first parent arrives, so none of them
/// lies in the warm-up.
fn choice_header<'a>(choice: &Choice, runs: impl Iterator<Item = &'a RunResult>) -> ChoiceHeader {
    let mut latencies: Vec<u64> = Vec::new();
    let mut clusters = MicroClusters::default();
    for host in runs.flat_map(|run| &run.hosts) {
        latencies.extend(&host.latencies_ns);
        clusters.add(&host.clusters);
    }
    latencies.sort_unstable();
    ChoiceHeader {
        name: choice.name.clone(),
        micro_clusters: clusters,
        decision_latency_ns: LatencyNs {
            q50: quantile(&latencies, 500_000),
            q99: quantile(&latencies, 990_000),
        },
    }
}

/// The place of a name in a list, to whose end it comes if it is new.
fn place_of(names: &mut Vec<String>, name: String) -> u32 {
    let place = names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    u32::try_from(place).expect("few hosts")
}

fn recorded_flow(config: &RunConfig) -> Option<RecordedFlow> {
    match &config.symbols[0].market {
        Market::Recorded { recording, .. } => {
            Some(RecordedFlow { rows: recording.rows() as u64, unknown_rows: recording.unknown_rows() })
        }
        _ => None,
    }
}

fn assumed_costs(config: &RunConfig) -> Vec<AssumedCost> {
    let costs = config.hosts.iter().flat_map(|host| &host.costs);
    let mut listed: Vec<AssumedCost> = Vec::new();
    for cost in costs.filter(|cost| cost.mark == Mark::Assumed) {
        let (name, value, source) = (cost.name.to_owned(), cost.value.clone(), cost.source.clone());
        let line = AssumedCost { name, value, source };
        // Hosts of one preset share theirs.
        if !listed.contains(&line) {
            listed.push(line);
        }
    }
    listed
}

/// Whether an order was exposed to a host's balancing during its life; `None` where no metric says so.
fn exposure((result, host): (&HostResult, &TradingHost)) -> impl Fn(&ParentOrder) -> Option<bool> + use<> {
    let metrics: Vec<_> = result.seconds.iter().map(|bucket| bucket.metrics).collect();
    let thresholds = thresholds(host);
    move |order| is_exposed(&metrics, order.arrival, order.deadline(), thresholds)
}

/// What the controllers of a real run saw and decided, host by host.
fn decision_rows((choice, seed): (u32, u64), real: &RunResult) -> impl Iterator<Item = DecisionRow> + '_ {
    let hosts = (0..).zip(&real.hosts).zip(&real.steered);
    hosts.flat_map(move |((host, result), steered)| {
        (0..).zip(&result.observations).zip(steered).map(move |((bucket, seen), (regime, actions))| {
            let decided = Decided { host, bucket, seen: *seen, regime: *regime, actions: *actions };
            DecisionRow { choice, seed, decided }
        })
    })
}

/// What was done to a run from outside.
fn log_lines(choice: &Choice, seed: u64, result: &RunResult) -> impl Iterator<Item = LogLine> {
    let replication = u32::try_from(seed).expect("seeds are counted in 32 bits");
    result.disturbances.iter().map(move |one| {
        let host = &choice.config.hosts[one.host.index()].name;
        LogLine::new(&choice.name, replication, host, one)
    })
}

fn parent_rows<'a>(
    config: &'a RunConfig,
    (choice, seed): (u32, u64),
    outcome: &'a Outcome,
    segments: &'a Segments,
) -> impl Iterator<Item = ParentRow> + 'a {
    let exposed: Vec<_> = outcome.real.hosts.iter().zip(&config.hosts).map(exposure).collect();
    let worlds = outcome.real.parents.iter().zip(&outcome.free.parents).zip(&outcome.off.parents);
    worlds.zip(0..).map(move |(((real, free), off), parent)| {
        let order = &real.order;
        let attribution =
            Attribution::from_worlds(&real.shortfalls.swept, &free.shortfalls.swept, &off.shortfalls.swept);
        let [real_mark, free_mark, off_mark] = [real, free, off].map(|parent| &parent.shortfalls.marked);
        let marked = Attribution::from_worlds(real_mark, free_mark, off_mark);
        let parts = outcome.worlds.as_ref().map(|worlds| taken_apart(worlds, parent, &attribution, &marked));
        let micro_bp = |cost: i128| {
            let value = micro_basis_points(cost, order.quantity, real.decision_mid).unwrap_or(0);
            money(value)
        };
        let steady_from = config.warmup + config.transient;
        let reference = &attribution.reference;
        let observed = &attribution.observed;
        ParentRow {
            choice,
            seed,
            parent,
            segment: segments.place(config, real),
            window: if order.arrival.0 < steady_from.0 { Window::Transient } else { Window::Steady },
            exposed: exposed[real.host.index()](order),
            arrival_ns: order.arrival.0,
            side: side(order.side),
            quantity_lots: order.quantity.0,
            horizon_ns: order.horizon.0,
            filled_lots: real.filled.0,
            completed: real.filled == order.quantity,
            deadline_missed: real.filled < order.quantity,
            decision_mid_half_ticks: real.decision_mid.0,
            decision_spread_ticks: real.conditions.spread_ticks,
            decision_variation: real.conditions.variation,
            is: money(observed.is),
            is_mid_mark: money(real.shortfalls.marked.is),
            c_delay: money(reference.delay),
            c_impact: money(reference.impact),
            c_miss: money(reference.miss),
            fees: money(reference.fees),
            c_numa: money(attribution.c_numa),
            c_placement: money(attribution.c_placement),
            c_net: money(attribution.net),
            c_numa_mid_mark: money(marked.c_numa),
            c_placement_mid_mark: money(marked.c_placement),
            observed_delay: money(observed.delay),
            observed_impact: money(observed.impact),
            observed_miss: money(observed.miss),
            observed_fees: money(observed.fees),
            path: PathCosts::from(real.path),
            attribution: parts,
            is_micro_bp: micro_bp(observed.is),
            c_numa_micro_bp: micro_bp(attribution.c_numa),
            c_placement_micro_bp: micro_bp(attribution.c_placement),
            stall_hint_fault_ns: real.stalls.hint_fault.0,
            stall_migration_copy_ns: real.stalls.migration_copy.0,
            stall_dispatch_jitter_ns: real.stalls.dispatch_jitter.0,
            queue_wait_ns: real.stalls.queue_wait.0,
            children: real.children,
            releases: real.releases,
            reprices: real.reprices,
            qdl_ppm: real.queue_decay_ppm,
            diverged: Diverged::between(real, &outcome.real, &outcome.free),
        }
    })
}

fn child_rows(row: (u32, u64), real: &RunResult) -> impl Iterator<Item = ChildRow> + '_ {
    real.children.iter().map(move |child| {
        let parent = &real.parents[child.parent.0 as usize];
        ChildRow::of(row, side(parent.order.side), child)
    })
}

fn thresholds(host: &TradingHost) -> ExposureThresholds {
    ExposureThresholds {
        rhf_ppm: u32::try_from(host.limits.watch.rhf_ppm.enter).unwrap_or(u32::MAX),
        mcr_kib_per_s: host.limits.watch.mcr_kib_per_s.enter,
    }
}

fn taken_apart(worlds: &Worlds, parent: u32, swept: &Attribution, marked: &Attribution) -> AttributionRow {
    let values = worlds.parent(parent as usize);
    assert!(
        values.swept.c_numa() == swept.c_numa && values.marked.c_numa() == marked.c_numa,
        "the fifteen worlds hold the first two"
    );
    AttributionRow::of(&values)
}

fn side(side: numashock_book::Side) -> Side {
    match side {
        numashock_book::Side::Buy => Side::Buy,
        numashock_book::Side::Sell => Side::Sell,
    }
}

fn bucket_rows(
    (choice, seed): (u32, u64),
    host: u32,
    config: &RunConfig,
    result: &HostResult,
) -> Vec<BucketRow> {
    let row = |bucket: &Bucket| BucketRow {
        choice,
        seed,
        host,
        bucket_start_ns: bucket.metrics.start.0,
        bucket_length_ns: bucket.metrics.length.0,
        measured: bucket.metrics.start >= Nanos::ZERO + config.warmup,
        counters: Counters {
            numa_pte_updates: bucket.counters.numa_pte_updates,
            numa_huge_pte_updates: bucket.counters.numa_huge_pte_updates,
            numa_hint_faults: bucket.counters.numa_hint_faults,
            numa_hint_faults_local: bucket.counters.numa_hint_faults_local,
            numa_pages_migrated: bucket.counters.numa_pages_migrated,
            pgmigrate_success: bucket.counters.pgmigrate_success,
            pgmigrate_fail: bucket.counters.pgmigrate_fail,
        },
        rhf_ppm: bucket.metrics.rhf_ppm.map(i64::from),
        hint_fault_rate_milli_hz: bucket.metrics.hint_fault_rate_milli_hz.map(signed),
        mcr_kib_per_s: bucket.metrics.mcr_kib_per_s.map(signed),
        interconnect_share_ppm: bucket.metrics.interconnect_share_ppm.map(signed),
        dcj_ppm: bucket.metrics.dcj_ppm.map(signed),
        fano_ppm: bucket.metrics.fano_ppm.map(signed),
        qdl_ppm: bucket.metrics.qdl_ppm,
        decisions: bucket.decisions,
        releases: u32::try_from(bucket.metrics.releases).unwrap_or(u32::MAX),
        fills: bucket.fills,
        latency_q50_ns: bucket.latency_q50_ns,
        latency_q99_ns: bucket.latency_q99_ns,
        regime: match bucket.regime.level() {
            Level::Stable => Regime::NumaStable,
            Level::Watch => Regime::NumaWatch,
            Level::Shock => Regime::NumaShock,
            Level::Safe => Regime::SafeNumaConservative,
        },
        participation_cap_ppm: bucket.actions.participation_cap_ppm.unwrap_or(1_000_000),
    };
    result.seconds.iter().chain(&result.fives).chain(&result.fine).map(row).collect()
}

fn timeline((choice, seed): (u32, u64), rows: &[BucketRow], result: &RunResult) -> Timeline {
    let second = numashock_sim::BUCKET.0;
    Timeline {
        choice,
        seed,
        // The first host is drawn.
        buckets: rows
            .iter()
            .filter(|row| row.bucket_length_ns == second && row.host == rows[0].host)
            .cloned()
            .collect(),
        gaps: result.hosts[0]
            .gaps
            .iter()
            .map(|(at, gap)| ReleaseGap { at_ns: at.0, gap_ns: gap.0 })
            .collect(),
    }
}

fn money(value: i128) -> i64 {
    i64::try_from(value).expect("a parent's cost fits 64 bits")
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
