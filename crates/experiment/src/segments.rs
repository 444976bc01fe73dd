//! Which segment what belongs to: host, strategy, liquidity bucket of the symbol, and the session phase: of a parent the one in
//! which it arrives, of a bucket the one in which it begins.

use std::collections::BTreeSet;

use numashock_engine::Nanos;
use numashock_execution::schedule::Shape;
use numashock_execution::{Placement, Strategy, StrategyId, SymbolId};
use numashock_sim::metrics::BucketMetrics;
use numashock_sim::scenario::config::{Host, HostId, RunConfig};
use numashock_sim::{Bucket, HostSegment, ParentResult, RunResult};

use crate::results::{MetricRow, Segment};

/// The segments that occur in a sweep, in order of host, strategy, liquidity and phase.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    scenario: String,
    all: Vec<Segment>,
}

impl Segments {
    /// Those of the parents and buckets of the real runs of a sweep, each with the choice it belongs to.
    pub(crate) fn of<'a>(
        scenario: &str,
        runs: impl Iterator<Item = (&'a RunConfig, &'a RunResult)>,
    ) -> Segments {
        let mut all: BTreeSet<Segment> = BTreeSet::new();
        for (config, run) in runs {
            all.extend(run.parents.iter().map(|parent| segment(scenario, config, parent)));
            for (host, result) in (0..).map(HostId).zip(&run.hosts) {
                let mut phases: Vec<usize> =
                    buckets(result).map(|bucket| config.phases.at(bucket.metrics.start)).collect();
                phases.dedup();
                let segments = config.segments_of(host);
                let named = |phase| {
                    segments
                        .iter()
                        .map(move |own| segment_at(scenario, config, (own.strategy, own.symbol), phase))
                };
                all.extend(phases.into_iter().flat_map(named));
            }
        }
        Segments { scenario: scenario.to_owned(), all: all.into_iter().collect() }
    }

    /// The rows of a real run's buckets, segment by segment.
    pub(crate) fn metric_rows<'a>(
        &'a self,
        config: &'a RunConfig,
        id: (u32, u64),
        run: &'a RunResult,
    ) -> impl Iterator<Item = MetricRow> + 'a {
        (0..).map(HostId).zip(&run.hosts).flat_map(move |(host, result)| {
            let segments = config.segments_of(host);
            buckets(result).flat_map(move |bucket| {
                let phase = config.phases.at(bucket.metrics.start);
                assert!(bucket.segments.len() == segments.len(), "a bucket has all segments of its host");
                let place = |own: &HostSegment| {
                    self.find(&segment_at(&self.scenario, config, (own.strategy, own.symbol), phase))
                };
                let numbers: Vec<u32> = segments.iter().map(place).collect();
                let row = move |(segment, metrics)| metric_row(id, segment, config, metrics);
                numbers.into_iter().zip(&bucket.segments).map(row)
            })
        })
    }

    /// The place of a parent's segment in the list.
    pub(crate) fn place(&self, config: &RunConfig, parent: &ParentResult) -> u32 {
        self.find(&segment(&self.scenario, config, parent))
    }

    fn find(&self, segment: &Segment) -> u32 {
        let place = self.all.binary_search(segment).expect("every parent and bucket was looked at");
        u32::try_from(place).expect("few segments")
    }

    pub(crate) fn into_list(self) -> Vec<Segment> {
        self.all
    }
}

/// The buckets of a host, seconds first.
fn buckets(result: &numashock_sim::HostResult) -> impl Iterator<Item = &Bucket> {
    result.seconds.iter().chain(&result.fives)
}

fn metric_row(
    (choice, seed): (u32, u64),
    segment: u32,
    config: &RunConfig,
    metrics: &BucketMetrics,
) -> MetricRow {
    let seen = metrics.counters;
    MetricRow {
        choice,
        seed,
        segment,
        bucket_start_ns: metrics.start.0,
        bucket_length_ns: metrics.length.0,
        measured: metrics.start >= Nanos::ZERO + config.warmup,
        numa_pte_updates: seen.map(|seen| seen.pte_updates),
        numa_hint_faults: seen.map(|seen| seen.hint_faults),
        numa_hint_faults_local: seen.map(|seen| seen.hint_faults_local),
        numa_pages_migrated: seen.map(|seen| seen.pages_migrated),
        rhf_ppm: metrics.rhf_ppm.map(u64::from),
        hint_fault_rate_milli_hz: metrics.hint_fault_rate_milli_hz,
        mcr_kib_per_s: metrics.mcr_kib_per_s,
        interconnect_share_ppm: metrics.interconnect_share_ppm,
        releases: metrics.releases,
        release_squares: u64::try_from(metrics.release_squares).unwrap_or(u64::MAX),
        fano_ppm: metrics.fano_ppm,
        gaps: metrics.gaps,
        gap_q50_ns: metrics.gap_q50.map(|gap| gap.0),
        gap_q95_ns: metrics.gap_q95.map(|gap| gap.0),
        dcj_ppm: metrics.dcj_ppm,
        passive_children: metrics.passive_children,
        passive_unqueued: metrics.passive_unqueued,
        qdl_sum_ppm: i64::try_from(metrics.qdl_sum_ppm)
            .expect("the ratios of a bucket's children fit 64 bits"),
        qdl_ppm: metrics.qdl_ppm,
        parents_ended: metrics.parents_ended,
        deadlines_missed: metrics.deadlines_missed,
    }
}

pub(crate) fn segment(scenario: &str, config: &RunConfig, parent: &ParentResult) -> Segment {
    let (order, phase) = (&parent.order, config.phases.at(parent.order.arrival));
    segment_at(scenario, config, (order.strategy, order.symbol), phase)
}

pub(crate) fn segment_at(
    scenario: &str,
    config: &RunConfig,
    (strategy, symbol): (StrategyId, SymbolId),
    phase: usize,
) -> Segment {
    let strategy = &config.strategies[usize::from(strategy.0)];
    let symbol = &config.symbols[usize::from(symbol.0)];
    let phase = config.phases.list().get(phase).map_or("", |phase| phase.name.as_str());
    let named = |name: &str, otherwise: &str| if name.is_empty() { otherwise } else { name }.to_owned();
    Segment {
        host: host_name(scenario, config, strategy.host),
        strategy: named(&strategy.name, &method_name(&strategy.method)),
        symbol_liquidity: symbol.liquidity_bucket().to_owned(),
        session_phase: named(phase, "continuous"),
    }
}

/// What a host is called in tables.
#[must_use]
pub fn host_name(scenario: &str, config: &RunConfig, host: HostId) -> String {
    let host = &config.hosts[host.index()];
    match (&host.name, &host.host) {
        (name, _) if !name.is_empty() => name.clone(),
        (_, Host::Model(_)) => format!("{scenario} (model)"),
        (_, Host::Recorded(_)) => format!("{scenario} (recorded)"),
    }
}

/// What a strategy without a name is called: its schedule and where it places its children.
fn method_name(strategy: &Strategy) -> String {
    let schedule = match strategy.schedule.shape {
        Shape::Twap => "twap",
        Shape::Vwap(_) => "vwap",
        Shape::Pov { .. } => "pov",
        Shape::AlmgrenChriss(_) => "almgren-chriss",
        Shape::ImplementationShortfall { .. } => "implementation-shortfall",
    };
    let placement = match strategy.tactic.placement {
        Placement::Join => "join",
        Placement::Improve => "improve",
        Placement::Cross => "cross",
    };
    format!("{schedule} {placement}")
}
