//! What a sweep produces: plain rows, time lines and the summary, ready to be written.
//!
//! Money is integer half-tick-lots and micro-basis-points, time integer nanoseconds; floats appear only in the
//! [`Summary`], each the correctly rounded quotient of integers.

use numashock_engine::Seed;
use numashock_sim::injector::LogLine;
use numashock_trace::Decided;
use serde::{Deserialize, Serialize};

use crate::attribution::{self, AttributionRow, AttributionSummary, ChildRow, Diverged, PathCosts};
use crate::stats::{self, Interval, Quantile, Sample};

mod metrics;
mod uplift;

use metrics::Totals;
pub use metrics::{MetricRow, Metrics};
pub(crate) use uplift::{Matchable, over_segments, uplift_among};
pub use uplift::{UPLIFT_MINIMUM, UpliftRow, uplifts};

/// Which way a parent trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Buys.
    Buy,
    /// Sells.
    Sell,
}

impl Side {
    /// The name used in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }
}

/// Which part of a run a parent lived in (design: the two are reported apart).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The scan period is still adapting.
    Transient,
    /// After that.
    Steady,
}

impl Window {
    /// The name used in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Window::Transient => "transient",
            Window::Steady => "steady",
        }
    }
}

/// The controller's state over a bucket (playbook: 6), by increasing caution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Regime {
    /// Normal tactics.
    NumaStable,
    /// Finer telemetry, no close reprices.
    NumaWatch,
    /// Participation cap, cancel/replace suppressed.
    NumaShock,
    /// The simplest schedule.
    SafeNumaConservative,
}

impl Regime {
    /// All four, calmest first.
    pub const ALL: [Regime; 4] =
        [Regime::NumaStable, Regime::NumaWatch, Regime::NumaShock, Regime::SafeNumaConservative];

    /// The name used in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Regime::NumaStable => "NUMA_STABLE",
            Regime::NumaWatch => "NUMA_WATCH",
            Regime::NumaShock => "NUMA_SHOCK",
            Regime::SafeNumaConservative => "SAFE_NUMA_CONSERVATIVE",
        }
    }
}

/// What the desk metrics are segmented by (playbook: 5). Rows hold an index into a list of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Segment {
    /// Host.
    pub host: String,
    /// Execution strategy.
    pub strategy: String,
    /// Liquidity bucket of the symbol.
    pub symbol_liquidity: String,
    /// Phase of the session.
    pub session_phase: String,
}

/// One parent order of one run. Costs in half-tick-lots unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRow {
    /// Tuning choice, an index into [`Summary::choices`]; 0 is the baseline.
    pub choice: u32,
    /// Replication index, shared by the paired choices.
    pub seed: u64,
    /// Parent within the run.
    pub parent: u32,
    /// Index into [`SweepResults::segments`].
    pub segment: u32,
    /// Part of the run it lived in.
    pub window: Window,
    /// Whether a bucket of its life was over the RHF or MCR threshold; `None` where missing counters leave that open.
    pub exposed: Option<bool>,
    /// Time of arrival.
    pub arrival_ns: u64,
    /// Side.
    pub side: Side,
    /// Size in lots.
    pub quantity_lots: u64,
    /// Time from arrival to deadline.
    pub horizon_ns: u64,
    /// Lots filled, the closing sweep not counted.
    pub filled_lots: u64,
    /// Whether all lots were filled.
    pub completed: bool,
    /// Whether the deadline passed with lots left.
    pub deadline_missed: bool,
    /// Mid at the decision, in half-ticks.
    pub decision_mid_half_ticks: i64,
    /// Spread at the decision; none while a side of the book was empty.
    pub decision_spread_ticks: Option<u64>,
    /// Squared changes of the mid over the last whole second before the decision, in half-ticks²; none in the first second.
    pub decision_variation: Option<u64>,
    /// Implementation shortfall, the unfinished part swept at the deadline.
    pub is: i64,
    /// The same with the unfinished part marked at the mid.
    pub is_mid_mark: i64,
    /// Delay term in the reference world (attribution: A1).
    pub c_delay: i64,
    /// Impact term in the reference world.
    pub c_impact: i64,
    /// Missed-quantity term in the reference world.
    pub c_miss: i64,
    /// Fees in the reference world.
    pub fees: i64,
    /// Overhead of balancing: real run less reference world.
    pub c_numa: i64,
    /// What balancing does to placement: reference world less balancing off (attribution: A4).
    pub c_placement: i64,
    /// The net effect of balancing, `c_numa` + `c_placement`: real run less balancing off; negative helps.
    pub c_net: i64,
    /// `c_numa` with the unfinished part marked at the mid.
    pub c_numa_mid_mark: i64,
    /// `c_placement` with the unfinished part marked at the mid.
    pub c_placement_mid_mark: i64,
    /// Delay term of the real run.
    pub observed_delay: i64,
    /// Impact term of the real run.
    pub observed_impact: i64,
    /// Missed-quantity term of the real run.
    pub observed_miss: i64,
    /// Fees of the real run; rebates are negative.
    pub observed_fees: i64,
    /// What the fills of the real run cost, by the steps of the children.
    pub path: PathCosts,
    /// C_numa by cause and channel, where it was asked for.
    pub attribution: Option<AttributionRow>,
    /// `is` in millionths of a basis point of quantity × decision mid.
    pub is_micro_bp: i64,
    /// `c_numa` in the same unit.
    pub c_numa_micro_bp: i64,
    /// `c_placement` in the same unit.
    pub c_placement_micro_bp: i64,
    /// Stall time owned by hinting faults (attribution: A5).
    pub stall_hint_fault_ns: u64,
    /// Stall time owned by migration copies.
    pub stall_migration_copy_ns: u64,
    /// Stall time owned by dispatch jitter.
    pub stall_dispatch_jitter_ns: u64,
    /// Time its messages waited in the dispatch queue.
    pub queue_wait_ns: u64,
    /// Child orders.
    pub children: u32,
    /// Messages released.
    pub releases: u32,
    /// Reprices.
    pub reprices: u32,
    /// Queue-decay loss in parts per million; none without passive children.
    pub qdl_ppm: Option<i64>,
    /// Share of its life in which the reference world was another one (attribution: A9).
    pub diverged: Diverged,
}

/// Deltas of the host's `/proc/vmstat` counters over a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Pages marked.
    pub numa_pte_updates: u64,
    /// Huge pages marked.
    pub numa_huge_pte_updates: u64,
    /// Hinting faults.
    pub numa_hint_faults: u64,
    /// Of these, on the page's own node.
    pub numa_hint_faults_local: u64,
    /// Pages migrated by balancing.
    pub numa_pages_migrated: u64,
    /// Pages migrated for any reason.
    pub pgmigrate_success: u64,
    /// Pages that could not be migrated.
    pub pgmigrate_fail: u64,
}

/// One bucket of the joined telemetry of one run. A missing metric is missing, never calm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRow {
    /// Tuning choice.
    pub choice: u32,
    /// Replication index.
    pub seed: u64,
    /// Host, an index into [`SweepResults::hosts`].
    pub host: u32,
    /// Start.
    pub bucket_start_ns: u64,
    /// Length: 1 s, 5 s, or 0.1 s where the controller asked for finer telemetry.
    pub bucket_length_ns: u64,
    /// Whether it lies after the warm-up as a whole.
    pub measured: bool,
    /// Counter deltas, whether or not the desk could read them.
    pub counters: Counters,
    /// Remote hint-fault ratio.
    pub rhf_ppm: Option<i64>,
    /// Hinting faults per thousand seconds.
    pub hint_fault_rate_milli_hz: Option<i64>,
    /// Migration-copy rate.
    pub mcr_kib_per_s: Option<i64>,
    /// The same as a share of the interconnect's bandwidth.
    pub interconnect_share_ppm: Option<i64>,
    /// Dispatch-cadence jitter.
    pub dcj_ppm: Option<i64>,
    /// Fano factor of releases per 10 ms.
    pub fano_ppm: Option<i64>,
    /// Queue-decay loss.
    pub qdl_ppm: Option<i64>,
    /// Decisions.
    pub decisions: u32,
    /// Messages released.
    pub releases: u32,
    /// Fills.
    pub fills: u32,
    /// Median decision latency.
    pub latency_q50_ns: Option<u64>,
    /// 99th percentile of the decision latency.
    pub latency_q99_ns: Option<u64>,
    /// The controller's state.
    pub regime: Regime,
    /// The cap on participation in force.
    pub participation_cap_ppm: u32,
}

/// The time between one dispatch release and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseGap {
    /// Time of the release.
    pub at_ns: u64,
    /// Time since the one before.
    pub gap_ns: u64,
}

/// One seed of one choice over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Tuning choice.
    pub choice: u32,
    /// Replication index.
    pub seed: u64,
    /// Buckets of one length, in order of time.
    pub buckets: Vec<BucketRow>,
    /// Gaps of dispatch releases, in order of time (all of them or a sample).
    pub gaps: Vec<ReleaseGap>,
}

/// Everything a sweep leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepResults {
    /// The figures.
    pub summary: Summary,
    /// Segments that parents refer to.
    pub segments: Vec<Segment>,
    /// Names of the hosts that buckets refer to.
    pub hosts: Vec<String>,
    /// Parents, ordered by choice, seed, parent.
    pub parents: Vec<ParentRow>,
    /// Children of the real runs, ordered by choice, seed, child; none unless asked for.
    pub children: Vec<ChildRow>,
    /// Buckets, ordered by choice, seed, length, start.
    pub buckets: Vec<BucketRow>,
    /// The desk metrics by segment, ordered by choice, seed, host, length, start, segment.
    pub metrics: Vec<MetricRow>,
    /// The tail uplift by segment, ordered by choice, segment, seed.
    pub uplifts: Vec<UpliftRow>,
    /// One time line a choice.
    pub timelines: Vec<Timeline>,
    /// The injector's log: what was done to each run, ordered by choice, seed, time.
    pub disturbances: Vec<LogLine>,
    /// What the controllers of the real runs saw and decided, ordered by choice, seed, host, bucket.
    pub decisions: Vec<DecisionRow>,
}

/// What a controller of a real run saw of a bucket and decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Place of the choice.
    pub choice: u32,
    /// The replication.
    pub seed: u64,
    /// What was seen and decided.
    pub decided: Decided,
}

/// A cost of the machine preset that was assumed, not measured or cited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssumedCost {
    /// Key in the scenario.
    pub name: String,
    /// Value with its unit.
    pub value: String,
    /// Why this value.
    pub source: String,
}

/// One figure for each of the three quantiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles<T> {
    /// Median.
    pub q50: T,
    /// 95th percentile.
    pub q95: T,
    /// 99th percentile.
    pub q99: T,
}

impl<T> Quantiles<T> {
    fn of(mut figure: impl FnMut(Quantile) -> T) -> Quantiles<T> {
        Quantiles { q50: figure(Quantile::Q50), q95: figure(Quantile::Q95), q99: figure(Quantile::Q99) }
    }
}

/// A level with its 95 % interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure; none without data.
    pub value: Option<f64>,
    /// Lower end, where the data support one.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// Why there is no interval, and what is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A paired difference, choice less baseline, with its 95 % interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The difference; none without data.
    pub diff: Option<f64>,
    /// Lower end, where the data support one.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// Why there is no interval, and what is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Difference {
    /// Whether the interval exists and leaves out 0.
    #[must_use]
    pub fn excludes_zero(&self) -> bool {
        matches!((self.lo, self.hi), (Some(lo), Some(hi)) if lo > 0.0 || hi < 0.0)
    }
}

/// Mean and tail of a cost, in basis points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostBp {
    /// Mean over parents.
    pub mean: Option<f64>,
    /// 95th percentile over parents.
    pub q95: Option<f64>,
    /// 99th percentile over parents.
    pub q99: Option<f64>,
}

/// Median and tail of the decision latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyNs {
    /// Median.
    pub q50: Option<u64>,
    /// 99th percentile.
    pub q99: Option<u64>,
}

/// The shortfall of one part of the runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowSummary {
    /// Which part.
    pub window: Window,
    /// Parents in it.
    pub parents: u64,
    /// Implementation shortfall.
    pub is_bp: Quantiles<Estimate>,
    /// Overhead of balancing.
    pub c_numa_bp: CostBp,
}

/// The figures of one segment of a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentSummary {
    /// Which.
    #[serde(flatten)]
    pub segment: Segment,
    /// Parents in it.
    pub parents: u64,
    /// Share of them that missed their deadline.
    pub deadline_miss_rate: Option<f64>,
    /// Implementation shortfall; a quantile whose sample is too small has no interval and says so.
    pub is_bp: Quantiles<Estimate>,
    /// Overhead of balancing.
    pub c_numa_bp: CostBp,
    /// Desk metrics of the buckets that begin in the phase; the uplift is that of the parents that arrive in it.
    pub metrics: Metrics,
}

/// The figures of one tuning choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceSummary {
    /// Its name in the scenario.
    pub name: String,
    /// Parents over all seeds.
    pub parents: u64,
    /// Seeds.
    pub seeds: u64,
    /// Lots filled before the deadline over lots asked for.
    pub completion: Option<f64>,
    /// Share of parents that missed their deadline.
    pub deadline_miss_rate: Option<f64>,
    /// Decision latency.
    pub decision_latency_ns: LatencyNs,
    /// Micro-clusters of releases.
    pub micro_clusters: MicroClusters,
    /// Implementation shortfall.
    pub is_bp: Quantiles<Estimate>,
    /// Overhead of balancing.
    pub c_numa_bp: CostBp,
    /// Effect of balancing on placement.
    pub c_placement_bp: CostBp,
    /// Where C_numa comes from, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<AttributionSummary>,
    /// Desk metrics.
    pub metrics: Metrics,
    /// Differences to the baseline; null for the baseline.
    pub paired: Option<Quantiles<Difference>>,
    /// The transient and the steady part apart, those that have parents.
    pub windows: Vec<WindowSummary>,
    /// The segments apart, if there are several: those that have parents or buckets of the measured window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentSummary>,
}

/// Names of the methods behind the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Methods {
    /// The quantile estimator.
    pub quantile: String,
    /// The interval of a level where each seed has one parent.
    pub interval_one_parent_per_seed: String,
    /// The interval of a difference.
    pub paired_interval: String,
}

/// The content of `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of the model that ran.
    pub model_version: String,
    /// Seed of the experiment.
    pub seed: u64,
    /// Hash over the semantic events of all runs, in hexadecimal.
    pub event_hash: String,
    /// Name of the scenario.
    pub scenario: String,
    /// How the intervals are made.
    pub interval: String,
    /// The other methods.
    pub methods: Methods,
    /// Who decided instead of the scenario's own controller, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// Costs that were assumed.
    pub assumed_costs: Vec<AssumedCost>,
    /// Of recorded order flow: its rows, and those that name orders from before the recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_flow: Option<RecordedFlow>,
    /// The tuning choices; the first is the baseline.
    pub choices: Vec<ChoiceSummary>,
}

/// What a recorded order flow holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFlow {
    /// Rows of the file.
    pub rows: u64,
    /// Rows that name an order that no row has added; most are recovered from these rows.
    pub unknown_rows: u64,
}

/// Runs of releases that left the dispatch thread with no gap above 100 µs between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicroClusters {
    /// Lone releases.
    pub lone: u64,
    /// Clusters of two releases or more.
    pub clusters: u64,
    /// Releases of the largest.
    pub largest: u64,
}

impl MicroClusters {
    /// Adds a run's clusters.
    pub fn add(&mut self, sizes: &numashock_sim::metrics::ClusterSizes) {
        let [lone, larger @ ..] = sizes.counts();
        self.lone += lone;
        self.clusters += larger.iter().sum::<u64>();
        self.largest = self.largest.max(sizes.largest());
    }
}

/// What a summary says about a choice and rows do not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceHeader {
    /// Its name in the scenario.
    pub name: String,
    /// Decision latency over all seeds.
    pub decision_latency_ns: LatencyNs,
    /// Micro-clusters over all seeds.
    pub micro_clusters: MicroClusters,
}

/// What a summary says about a sweep and rows do not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepHeader {
    /// Version of the model that ran.
    pub model_version: String,
    /// Seed of the experiment; the bootstrap draws from it too.
    pub seed: u64,
    /// Hash over the semantic events of all runs.
    pub event_hash: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// Costs that were assumed.
    pub assumed_costs: Vec<AssumedCost>,
    /// Of recorded order flow.
    pub recorded_flow: Option<RecordedFlow>,
    /// The tuning choices, baseline first.
    pub choices: Vec<ChoiceHeader>,
    /// Bootstrap resamples; [`stats::RESAMPLES`] unless there is a reason.
    pub resamples: u32,
    /// Segments that parents refer to.
    pub segments: Vec<Segment>,
}

/// Computes the figures of a sweep from its rows.
///
/// # Panics
/// If a row names a choice that the header does not have.
#[must_use]
pub fn summarise(
    header: SweepHeader,
    parents: &[ParentRow],
    buckets: &[BucketRow],
    metrics: &[MetricRow],
) -> Summary {
    let seed = Seed(header.seed);
    let uplifts = uplifts(parents);
    let mut baseline = None;
    let mut choices = Vec::with_capacity(header.choices.len());
    for (choice, ChoiceHeader { name, decision_latency_ns, micro_clusters }) in
        header.choices.into_iter().enumerate()
    {
        let parents: Vec<&ParentRow> = parents.iter().filter(|row| row.choice as usize == choice).collect();
        let buckets: Vec<&BucketRow> = buckets.iter().filter(|row| row.choice as usize == choice).collect();
        let rows: Vec<&MetricRow> = metrics.iter().filter(|row| row.choice as usize == choice).collect();
        let uplifts = || uplifts.iter().filter(|row| row.choice as usize == choice);
        let shortfall = Shortfall::new(&parents, seed, header.resamples);
        choices.push(ChoiceSummary {
            name,
            parents: parents.len() as u64,
            seeds: shortfall.sample.clusters() as u64,
            completion: ratio(
                parents.iter().map(|row| i128::from(row.filled_lots)).sum(),
                parents.iter().map(|row| i128::from(row.quantity_lots)).sum(),
            ),
            deadline_miss_rate: missed(&parents),
            decision_latency_ns,
            micro_clusters,
            is_bp: shortfall.levels(),
            c_numa_bp: cost_bp(parents.iter().map(|row| row.c_numa_micro_bp)),
            c_placement_bp: cost_bp(parents.iter().map(|row| row.c_placement_micro_bp)),
            attribution: attribution::summarise(&parents, seed, header.resamples),
            metrics: Totals::of_choice(&buckets, &rows).metrics(uplift::over_segments(uplifts())),
            paired: baseline.as_ref().map(|baseline| shortfall.less(baseline)),
            windows: windows(&parents, seed, header.resamples),
            segments: by_segment((&parents, &rows), &header.segments, uplifts, (seed, header.resamples)),
        });
        baseline.get_or_insert(shortfall);
    }
    let counted: u64 = choices.iter().map(|choice| choice.parents).sum();
    assert!(counted == parents.len() as u64, "each parent belongs to a choice of the header");
    Summary {
        model_version: header.model_version,
        seed: header.seed,
        event_hash: format!("{:016x}", header.event_hash),
        scenario: header.scenario,
        controller: None,
        interval: format!("bootstrap by seed, {} resamples, percentile 95 %", header.resamples),
        methods: Methods {
            quantile: "order statistic of rank ceil(p n)".to_owned(),
            interval_one_parent_per_seed: "binomial order statistics, exact, equal tails, 95 %".to_owned(),
            paired_interval: "choice less baseline, the same seeds resampled in both, percentile 95 %"
                .to_owned(),
        },
        assumed_costs: header.assumed_costs,
        recorded_flow: header.recorded_flow,
        choices,
    }
}

/// A choice's shortfall with its bootstrap.
struct Shortfall {
    sample: Sample,
    replicates: stats::Replicates,
}

impl Shortfall {
    fn new(parents: &[&ParentRow], seed: Seed, resamples: u32) -> Shortfall {
        let sample = Sample::new(parents.iter().map(|row| (row.seed, row.is_micro_bp)));
        let replicates = sample.replicates(seed, resamples);
        Shortfall { sample, replicates }
    }

    fn levels(&self) -> Quantiles<Estimate> {
        Quantiles::of(|quantile| {
            let (lo, hi, note) = ends(stats::level_interval(&self.sample, &self.replicates, quantile));
            Estimate { value: self.sample.quantile(quantile).map(basis_points), lo, hi, note }
        })
    }

    fn less(&self, baseline: &Shortfall) -> Quantiles<Difference> {
        Quantiles::of(|quantile| {
            let interval = stats::paired_interval(
                (&self.sample, &self.replicates),
                (&baseline.sample, &baseline.replicates),
                quantile,
            );
            let (lo, hi, note) = ends(interval);
            let values = self.sample.quantile(quantile).zip(baseline.sample.quantile(quantile));
            Difference { diff: values.map(|(value, base)| basis_points(value - base)), lo, hi, note }
        })
    }
}

fn ends(interval: Result<Interval, stats::Unsupported>) -> (Option<f64>, Option<f64>, Option<String>) {
    match interval {
        Ok(Interval { lo, hi }) => (Some(basis_points(lo)), Some(basis_points(hi)), None),
        Err(unsupported) => (None, None, Some(unsupported.to_string())),
    }
}

fn windows(parents: &[&ParentRow], seed: Seed, resamples: u32) -> Vec<WindowSummary> {
    let mut summaries = Vec::new();
    for window in [Window::Transient, Window::Steady] {
        let inside: Vec<&ParentRow> = parents.iter().copied().filter(|row| row.window == window).collect();
        if !inside.is_empty() {
            summaries.push(WindowSummary {
                window,
                parents: inside.len() as u64,
                is_bp: Shortfall::new(&inside, seed, resamples).levels(),
                c_numa_bp: cost_bp(inside.iter().map(|row| row.c_numa_micro_bp)),
            });
        }
    }
    summaries
}

fn by_segment<'a, Uplifts: Iterator<Item = &'a UpliftRow>>(
    (parents, rows): (&[&ParentRow], &[&MetricRow]),
    all: &[Segment],
    uplifts: impl Fn() -> Uplifts,
    (seed, resamples): (Seed, u32),
) -> Vec<SegmentSummary> {
    if all.len() < 2 {
        return Vec::new();
    }
    let of = |(number, segment): (u32, &Segment)| {
        let inside: Vec<&ParentRow> = parents.iter().copied().filter(|row| row.segment == number).collect();
        let rows: Vec<&MetricRow> = rows.iter().copied().filter(|row| row.segment == number).collect();
        let uplift = uplift::over_segments(uplifts().filter(|row| row.segment == number));
        (!inside.is_empty() || rows.iter().any(|row| row.measured)).then(|| SegmentSummary {
            segment: segment.clone(),
            parents: inside.len() as u64,
            deadline_miss_rate: missed(&inside),
            is_bp: Shortfall::new(&inside, seed, resamples).levels(),
            c_numa_bp: cost_bp(inside.iter().map(|row| row.c_numa_micro_bp)),
            metrics: Totals::of_segment(&rows).metrics(uplift),
        })
    };
    (0..).zip(all).filter_map(of).collect()
}

/// The share of parents that missed their deadline.
fn missed(parents: &[&ParentRow]) -> Option<f64> {
    ratio(parents.iter().filter(|row| row.deadline_missed).count() as i128, parents.len() as i128)
}

fn cost_bp(micro: impl Iterator<Item = i64>) -> CostBp {
    let mut values: Vec<i64> = micro.collect();
    CostBp {
        mean: mean(&values).map(|micro| micro / 1e6),
        q95: stats::quantile(&mut values, Quantile::Q95).map(basis_points),
        q99: stats::quantile(&mut values, Quantile::Q99).map(basis_points),
    }
}

fn mean(values: &[i64]) -> Option<f64> {
    ratio(values.iter().map(|value| i128::from(*value)).sum(), values.len() as i128)
}

fn ratio(part: i128, whole: i128) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

fn basis_points(micro: i64) -> f64 {
    micro as f64 / 1e6
}

#[cfg(test)]
mod tests;
