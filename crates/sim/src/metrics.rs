//! The desk metrics of a bucket, in integers until display (playbook: 5).
//!
//! ```text
//!   releases, passive children, ended parents ──► Meter ──close(counters)──► BucketMetrics      one per bucket
//! ```
//!
//! A metric that cannot be told is `None`: missing, never calm. Divisions truncate; a quantile is an order statistic.

use numashock_engine::{Nanos, Span};

/// The width of the windows in which releases are counted for the Fano factor.
pub const FANO_WINDOW: Span = Span(10_000_000);
/// The length of the bucket over which DCJ is defined.
pub const DCJ_BUCKET: Span = Span(5_000_000_000);
/// Fewer gaps than this say nothing about their quantiles.
pub const DCJ_MIN_GAPS: usize = 20;
/// A median gap under this is a burst, not a cadence.
pub const DCJ_MIN_MEDIAN: Span = Span(1_000);

const PPM: u128 = 1_000_000;
const MEDIAN_PPM: u32 = 500_000;
const TAIL_PPM: u32 = 950_000;

/// What the host's counters grew by over a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterDeltas {
    /// `numa_pte_updates`.
    pub pte_updates: u64,
    /// `numa_hint_faults`.
    pub hint_faults: u64,
    /// `numa_hint_faults_local`.
    pub hint_faults_local: u64,
    /// `numa_pages_migrated`.
    pub pages_migrated: u64,
}

/// RHF: the share of hinting faults that were remote, parts per million; 0 where there were none.
///
/// The kernel sums its counters over the CPUs without a lock, so that a bucket may show more local faults than faults:
/// then none was remote.
#[must_use]
pub fn remote_hint_fault_ratio_ppm(counters: &CounterDeltas) -> u32 {
    let remote = counters.hint_faults.saturating_sub(counters.hint_faults_local);
    let ratio = (u128::from(remote) * PPM).checked_div(u128::from(counters.hint_faults)).unwrap_or(0);
    u32::try_from(ratio).expect("a share is at most a million parts")
}

/// Hinting faults per thousand seconds.
#[must_use]
pub fn hint_fault_rate_milli_hz(counters: &CounterDeltas, length: Span) -> u64 {
    saturated(u128::from(counters.hint_faults) * 1_000 * u128::from(Span::SECOND.0) / u128::from(length.0))
}

/// MCR: migrated pages × page size over the bucket, KiB per second.
#[must_use]
pub fn migration_copy_rate_kib_per_s(pages_migrated: u64, page_bytes: u64, length: Span) -> u64 {
    let bytes = u128::from(pages_migrated) * u128::from(page_bytes);
    // A page has fewer than 2^40 bytes, so bytes × 10⁹ fits 128 bits whatever the count.
    saturated(bytes * u128::from(Span::SECOND.0) / 1_024 / u128::from(length.0))
}

/// A copy rate as a share of the interconnect's bandwidth, parts per million; `None` without a bandwidth.
#[must_use]
pub fn interconnect_share_ppm(kib_per_s: u64, bandwidth_bytes_per_s: u64) -> Option<u64> {
    let bandwidth = u128::from(bandwidth_bytes_per_s);
    (u128::from(kib_per_s) * 1_024 * PPM).checked_div(bandwidth).map(saturated)
}

/// The order statistic of rank ⌈p·n⌉ (counted from 1) of sorted values; `None` of no values.
///
/// # Panics
/// If `ppm` is not within 1 to 1 000 000.
#[must_use]
pub fn quantile<T: Copy + Ord>(sorted: &[T], ppm: u32) -> Option<T> {
    assert!((1..=1_000_000).contains(&ppm), "a quantile lies within the sample");
    debug_assert!(sorted.is_sorted(), "quantiles are read from sorted values");
    let rank = (sorted.len() as u128 * u128::from(ppm)).div_ceil(PPM);
    sorted.get(usize::try_from(rank).expect("a rank is within the sample").checked_sub(1)?).copied()
}

/// Gaps between child releases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GapStats {
    gaps: Vec<Span>,
}

impl GapStats {
    /// One more gap.
    pub fn record(&mut self, gap: Span) {
        self.gaps.push(gap);
    }

    /// How many gaps there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.gaps.len()
    }

    /// Forgets every gap and keeps the memory.
    pub fn clear(&mut self) {
        self.gaps.clear();
    }

    /// DCJ: (q95 − q50) / q50 in parts per million, or `None` below [`DCJ_MIN_GAPS`] gaps or [`DCJ_MIN_MEDIAN`].
    #[must_use]
    pub fn jitter_ppm(&mut self) -> Option<u64> {
        if self.gaps.len() < DCJ_MIN_GAPS {
            return None;
        }
        self.gaps.sort_unstable();
        let median = quantile(&self.gaps, MEDIAN_PPM)?;
        let tail = quantile(&self.gaps, TAIL_PPM)?;
        if median < DCJ_MIN_MEDIAN {
            return None;
        }
        Some(saturated(u128::from((tail - median).0) * PPM / u128::from(median.0)))
    }
}

/// Counts of releases per window, for the Fano factor of a bucket: 1 for a Poisson stream, 0 for a regular one, above 1 for
/// micro-clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    window: u64,
    in_window: u64,
    sum: u64,
    squares: u128,
}

impl WindowCounts {
    /// A release `since_start` after the bucket's start; releases come in order of time.
    pub fn record(&mut self, since_start: Span) {
        let window = since_start.0 / FANO_WINDOW.0;
        assert!(window >= self.window, "releases come in order of time");
        if window > self.window {
            self.close_window();
            self.window = window;
        }
        self.in_window += 1;
    }

    /// Variance over mean of the counts in the bucket's `windows` windows, empty ones included, in parts per million of 1.
    /// The variance is the population's. `None` without a release.
    #[must_use]
    pub fn fano_ppm(mut self, windows: u64) -> Option<u64> {
        self.close_window();
        assert!(self.sum == 0 || windows > self.window, "every release lies in the bucket");
        let (windows, sum) = (u128::from(windows), u128::from(self.sum));
        // (Σx²/n − (Σx/n)²) / (Σx/n) = (n·Σx² − (Σx)²) / (n·Σx), never negative.
        ((windows * self.squares - sum * sum) * PPM).checked_div(windows * sum).map(saturated)
    }

    fn close_window(&mut self) {
        self.sum += self.in_window;
        self.squares += u128::from(self.in_window) * u128::from(self.in_window);
        self.in_window = 0;
    }
}

/// Sizes of the micro-clusters: runs of releases with no gap above a threshold. A lone release is a cluster of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSizes {
    threshold: Span,
    open: u64,
    counts: [u64; ClusterSizes::BINS],
    largest: u64,
}

impl ClusterSizes {
    /// How many sizes are told apart; the last bin holds every larger cluster.
    pub const BINS: usize = 64;

    /// Releases with a gap of at most `threshold` belong together.
    #[must_use]
    pub fn new(threshold: Span) -> ClusterSizes {
        ClusterSizes { threshold, open: 0, counts: [0; ClusterSizes::BINS], largest: 0 }
    }

    /// A release, with the gap to the one before it, if there was one.
    pub fn record(&mut self, gap: Option<Span>) {
        if gap.is_none_or(|gap| gap > self.threshold) {
            self.close();
        }
        self.open += 1;
    }

    /// Ends the cluster that is still growing: at the end of a run.
    pub fn close(&mut self) {
        if self.open > 0 {
            let bin = usize::try_from(self.open).unwrap_or(usize::MAX).min(ClusterSizes::BINS);
            self.counts[bin - 1] += 1;
            self.largest = self.largest.max(self.open);
            self.open = 0;
        }
    }

    /// How many closed clusters have 1, 2, … releases; the last entry counts [`ClusterSizes::BINS`] or more.
    #[must_use]
    pub fn counts(&self) -> &[u64; ClusterSizes::BINS] {
        &self.counts
    }

    /// The size of the largest closed cluster.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }
}

/// Queue-decay loss over passive children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDecay {
    sum_ppm: i128,
    children: u64,
    unqueued: u64,
}

impl QueueDecay {
    /// A passive child that found `lost` more lots ahead than it would have found on time, where `queue` lots would have
    /// stood at that price on time. With no queue there is no ratio: the child is counted apart.
    pub fn record(&mut self, lost: i64, queue: u64) {
        match (i128::from(lost) * PPM as i128).checked_div(i128::from(queue)) {
            Some(ratio) => {
                self.sum_ppm += ratio;
                self.children += 1;
            }
            None => self.unqueued += 1,
        }
    }

    /// QDL: the mean ratio in parts per million, negative where late children found fewer lots; `None` without a child.
    #[must_use]
    pub fn mean_ppm(&self) -> Option<i64> {
        let mean = self.sum_ppm.checked_div(i128::from(self.children))?;
        Some(i64::try_from(mean).unwrap_or(if mean < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Children with a ratio.
    #[must_use]
    pub fn children(&self) -> u64 {
        self.children
    }

    /// Children left out, because no lots would have stood at their price.
    #[must_use]
    pub fn unqueued(&self) -> u64 {
        self.unqueued
    }
}

/// The desk metrics of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketMetrics {
    /// The bucket's start.
    pub start: Nanos,
    /// The bucket's length.
    pub length: Span,
    /// RHF, parts per million. `None` without counters.
    pub rhf_ppm: Option<u32>,
    /// Hinting faults per thousand seconds. `None` without counters.
    pub hint_fault_rate_milli_hz: Option<u64>,
    /// MCR, KiB per second. `None` without counters.
    pub mcr_kib_per_s: Option<u64>,
    /// MCR as a share of the interconnect, parts per million. `None` without counters or bandwidth.
    pub interconnect_share_ppm: Option<u64>,
    /// DCJ, parts per million. `None` unless the bucket is [`DCJ_BUCKET`] long and has gaps enough.
    pub dcj_ppm: Option<u64>,
    /// Fano factor of releases per [`FANO_WINDOW`], parts per million of 1. `None` without a release.
    pub fano_ppm: Option<u64>,
    /// Children released.
    pub releases: u64,
    /// QDL, parts per million. `None` without a passive child.
    pub qdl_ppm: Option<i64>,
    /// Passive children that arrived and had a ratio.
    pub passive_children: u64,
    /// Parents that missed their deadline, parts per million of those that ended. `None` if none ended.
    pub deadline_miss_ppm: Option<u32>,
}

/// What a meter is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterConfig {
    /// Length of a bucket: a whole number of [`FANO_WINDOW`]s.
    pub length: Span,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Bandwidth of the interconnect, bytes per second; 0 if unknown.
    pub interconnect_bytes_per_s: u64,
}

/// Collects one bucket after the other. Memory is bounded by the releases of one bucket.
///
/// A gap that reaches across a boundary belongs to the bucket of the later release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    config: MeterConfig,
    start: Nanos,
    last_release: Option<Nanos>,
    releases: u64,
    gaps: GapStats,
    windows: WindowCounts,
    decay: QueueDecay,
    ended: u64,
    missed: u64,
}

impl Meter {
    /// A meter whose first bucket begins at `start`.
    ///
    /// # Panics
    /// If the length is not a whole number of Fano windows.
    #[must_use]
    pub fn new(config: MeterConfig, start: Nanos) -> Meter {
        assert!(config.length > Span::ZERO, "a bucket has a length");
        assert!(config.length.0 % FANO_WINDOW.0 == 0, "a bucket is a whole number of windows");
        Meter {
            config,
            start,
            last_release: None,
            releases: 0,
            gaps: GapStats::default(),
            windows: WindowCounts::default(),
            decay: QueueDecay::default(),
            ended: 0,
            missed: 0,
        }
    }

    /// The end of the bucket being collected, which is the start of the next.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.start + self.config.length
    }

    /// A child left the dispatch thread.
    ///
    /// # Panics
    /// If `at` lies outside the bucket or before the last release.
    pub fn record_release(&mut self, at: Nanos) {
        assert!(at >= self.start && at < self.end(), "a release lies in the bucket being collected");
        if let Some(last) = self.last_release {
            self.gaps.record(at - last);
        }
        self.last_release = Some(at);
        self.releases += 1;
        self.windows.record(at - self.start);
    }

    /// A passive child arrived; arguments as for [`QueueDecay::record`].
    pub fn record_passive(&mut self, lost: i64, queue: u64) {
        self.decay.record(lost, queue);
    }

    /// A parent ended.
    pub fn record_parent(&mut self, missed_deadline: bool) {
        self.ended += 1;
        self.missed += u64::from(missed_deadline);
    }

    /// Ends the bucket and begins the next. `counters` is `None` where the host's telemetry is missing.
    pub fn close(&mut self, counters: Option<&CounterDeltas>) -> BucketMetrics {
        let MeterConfig { length, page_bytes, interconnect_bytes_per_s } = self.config;
        let rate =
            counters.map(|seen| migration_copy_rate_kib_per_s(seen.pages_migrated, page_bytes, length));
        let missed = (u128::from(self.missed) * PPM).checked_div(u128::from(self.ended));
        let metrics = BucketMetrics {
            start: self.start,
            length,
            rhf_ppm: counters.map(remote_hint_fault_ratio_ppm),
            hint_fault_rate_milli_hz: counters.map(|seen| hint_fault_rate_milli_hz(seen, length)),
            mcr_kib_per_s: rate,
            interconnect_share_ppm: rate
                .and_then(|rate| interconnect_share_ppm(rate, interconnect_bytes_per_s)),
            dcj_ppm: if length == DCJ_BUCKET { self.gaps.jitter_ppm() } else { None },
            fano_ppm: self.windows.fano_ppm(length.0 / FANO_WINDOW.0),
            releases: self.releases,
            qdl_ppm: self.decay.mean_ppm(),
            passive_children: self.decay.children(),
            deadline_miss_ppm: missed.map(|ppm| u32::try_from(ppm).expect("missed parents have ended")),
        };
        self.start = self.end();
        self.releases = 0;
        self.gaps.clear();
        self.windows = WindowCounts::default();
        self.decay = QueueDecay::default();
        (self.ended, self.missed) = (0, 0);
        metrics
    }
}

/// Over either of these a bucket exposes the parents that live through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposureThresholds {
    /// RHF, parts per million.
    pub rhf_ppm: u32,
    /// MCR, KiB per second.
    pub mcr_kib_per_s: u64,
}

/// Whether any bucket that a parent's life `from..until` touches is over a threshold.
///
/// `None` where no bucket is over but part of the life has no counters: such a parent is neither exposed nor calm.
/// The buckets are in order of time and do not overlap.
#[must_use]
pub fn is_exposed(
    buckets: &[BucketMetrics],
    from: Nanos,
    until: Nanos,
    thresholds: ExposureThresholds,
) -> Option<bool> {
    let mut seen_until = from;
    for bucket in buckets {
        let end = bucket.start + bucket.length;
        if end <= from || bucket.start >= until {
            continue;
        }
        let (Some(rhf), Some(mcr)) = (bucket.rhf_ppm, bucket.mcr_kib_per_s) else { continue };
        if rhf > thresholds.rhf_ppm || mcr > thresholds.mcr_kib_per_s {
            return Some(true);
        }
        if bucket.start <= seen_until {
            seen_until = end;
        }
    }
    (seen_until >= until).then_some(false)
}

fn saturated(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use numashock_engine::Seed;

    use super::*;

    const LENGTH: Span = DCJ_BUCKET;

    fn meter() -> Meter {
        let config = MeterConfig { length: LENGTH, page_bytes: 4_096, interconnect_bytes_per_s: 1 << 30 };
        Meter::new(config, Nanos(7))
    }

    fn counters(hint_faults: u64, hint_faults_local: u64, pages_migrated: u64) -> CounterDeltas {
        CounterDeltas { pte_updates: 0, hint_faults, hint_faults_local, pages_migrated }
    }

    #[test]
    fn the_remote_share_is_zero_without_faults_and_never_negative() {
        assert_eq!(remote_hint_fault_ratio_ppm(&counters(0, 0, 0)), 0);
        assert_eq!(remote_hint_fault_ratio_ppm(&counters(3, 1, 0)), 666_666);
        assert_eq!(remote_hint_fault_ratio_ppm(&counters(3, 4, 0)), 0);
        assert_eq!(remote_hint_fault_ratio_ppm(&counters(u64::MAX, 0, 0)), 1_000_000);
    }

    #[test]
    fn rates_are_per_second_whatever_the_length() {
        assert_eq!(hint_fault_rate_milli_hz(&counters(1, 0, 0), LENGTH), 200);
        // 1 280 pages of 4 KiB in 5 s = 1 MiB/s, of 1 GiB/s.
        assert_eq!(migration_copy_rate_kib_per_s(1_280, 4_096, LENGTH), 1_024);
        assert_eq!(interconnect_share_ppm(1_024, 1 << 30), Some(976));
        assert_eq!(interconnect_share_ppm(1_024, 0), None);
        assert_eq!(migration_copy_rate_kib_per_s(u64::MAX, 1 << 34, Span(1)), u64::MAX);
    }

    #[test]
    fn a_quantile_is_the_order_statistic_of_rank_ceil_pn() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&values, 500_000), Some(50));
        assert_eq!(quantile(&values, 950_000), Some(95));
        assert_eq!(quantile(&values, 950_001), Some(96));
        assert_eq!(quantile(&values, 1), Some(1));
        assert_eq!(quantile(&values, 1_000_000), Some(100));
        assert_eq!(quantile(&values[..3], 500_000), Some(2));
        assert_eq!(quantile::<u32>(&[], 500_000), None);
    }

    #[test]
    fn jitter_is_the_tail_over_the_median() {
        let mut gaps = GapStats::default();
        for gap in (1..=20).rev() {
            assert_eq!(gaps.jitter_ppm(), None, "{} gaps", gaps.count());
            gaps.record(Span::MICROSECOND * gap);
        }
        // q50 is the 10th gap, q95 the 19th.
        assert_eq!(gaps.jitter_ppm(), Some(900_000));
        let mut burst = GapStats::default();
        (0..100).for_each(|_| burst.record(Span(999)));
        assert_eq!(burst.jitter_ppm(), None);
        burst.clear();
        (0..100).for_each(|_| burst.record(Span(1_000)));
        assert_eq!(burst.jitter_ppm(), Some(0));
    }

    #[test]
    fn the_fano_factor_tells_regular_from_clustered_releases() {
        let fano = |times: &[u64], windows| {
            let mut counts = WindowCounts::default();
            times.iter().for_each(|&ms| counts.record(Span::from_millis(ms)));
            counts.fano_ppm(windows)
        };
        assert_eq!(fano(&[0, 10, 20, 30], 4), Some(0));
        // Counts 4, 0, 0, 0: mean 1, variance 3.
        assert_eq!(fano(&[1, 2, 3, 9], 4), Some(3_000_000));
        // Counts 2, 0, 1: mean 1, variance 2/3.
        assert_eq!(fano(&[0, 5, 25], 3), Some(666_666));
        assert_eq!(fano(&[], 4), None);
    }

    #[test]
    fn the_streaming_fano_factor_equals_the_one_over_all_counts() {
        let mut draws = Seed(3).stream("metrics-test", 0);
        for _ in 0..200 {
            let mut times: Vec<u64> = (0..draws.below(60)).map(|_| draws.below(1_000_000_000)).collect();
            times.sort_unstable();
            let mut counts = [0u128; 100];
            let mut streaming = WindowCounts::default();
            for time in times.iter().copied() {
                counts[(time / 10_000_000) as usize] += 1;
                streaming.record(Span(time));
            }
            let sum: u128 = counts.iter().sum();
            let spread: u128 = counts.iter().map(|count| (100 * count).abs_diff(sum).pow(2)).sum();
            // Σ(x − m)²/n / m with everything times n: Σ(nx − Σ)² / (n²·Σ).
            let expected = (sum > 0).then(|| (spread * 1_000_000 / (100 * 100 * sum)) as u64);
            assert_eq!(streaming.fano_ppm(100), expected);
        }
    }

    #[test]
    fn clusters_are_runs_of_short_gaps() {
        let mut sizes = ClusterSizes::new(Span(10));
        for gap in [None, Some(10), Some(0), Some(11), Some(12), Some(10)] {
            sizes.record(gap.map(Span));
        }
        assert_eq!((sizes.counts()[0], sizes.counts()[1], sizes.counts()[2]), (1, 0, 1));
        sizes.close();
        sizes.close();
        assert_eq!((sizes.counts()[0], sizes.counts()[1], sizes.counts()[2]), (1, 1, 1));
        assert_eq!(sizes.largest(), 3);
    }

    #[test]
    fn a_cluster_beyond_the_last_bin_keeps_its_size_as_the_largest() {
        let mut sizes = ClusterSizes::new(Span(10));
        (0..100).for_each(|_| sizes.record(Some(Span(1))));
        sizes.close();
        assert_eq!((sizes.counts()[ClusterSizes::BINS - 1], sizes.largest()), (1, 100));
    }

    #[test]
    fn queue_decay_is_a_mean_of_ratios_and_shows_its_sign() {
        let mut decay = QueueDecay::default();
        assert_eq!(decay.mean_ppm(), None);
        decay.record(5, 0);
        assert_eq!((decay.mean_ppm(), decay.unqueued()), (None, 1));
        decay.record(50, 100);
        decay.record(-100, 1_000);
        assert_eq!((decay.mean_ppm(), decay.children()), (Some(200_000), 2));
    }

    #[test]
    fn a_bucket_starts_afresh_but_knows_the_gap_across_its_boundary() {
        let mut meter = meter();
        for index in 0..20 {
            meter.record_release(Nanos(7) + Span::MILLISECOND * (index * 250));
        }
        meter.record_parent(true);
        meter.record_parent(false);
        meter.record_passive(1, 4);
        let first = meter.close(Some(&counters(10, 5, 1_280)));
        assert_eq!((first.start, first.releases, first.dcj_ppm), (Nanos(7), 20, None));
        assert_eq!(
            (first.rhf_ppm, first.mcr_kib_per_s, first.qdl_ppm),
            (Some(500_000), Some(1_024), Some(250_000))
        );
        assert_eq!((first.deadline_miss_ppm, first.interconnect_share_ppm), (Some(500_000), Some(976)));
        assert_eq!(first.fano_ppm, Some(960_000));

        // The gap of 250 ms across the boundary is the 20th: 19 inside and one from before.
        for index in 20..40 {
            meter.record_release(Nanos(7) + Span::MILLISECOND * (index * 250));
        }
        let second = meter.close(None);
        assert_eq!((second.start, second.dcj_ppm), (first.start + LENGTH, Some(0)));
        assert_eq!((second.rhf_ppm, second.mcr_kib_per_s, second.qdl_ppm), (None, None, None));
        assert_eq!(second.deadline_miss_ppm, None);
    }

    #[test]
    fn cadence_jitter_is_told_for_buckets_of_five_seconds_only() {
        let config = MeterConfig { length: Span::SECOND, page_bytes: 4_096, interconnect_bytes_per_s: 0 };
        let mut meter = Meter::new(config, Nanos::ZERO);
        (0..100).for_each(|index| meter.record_release(Nanos(index * 1_000_000)));
        let metrics = meter.close(None);
        assert_eq!((metrics.dcj_ppm, metrics.releases), (None, 100));
    }

    #[test]
    fn a_parent_is_exposed_by_any_bucket_and_calm_only_if_all_are_seen() {
        let mut meter = meter();
        let buckets: Vec<BucketMetrics> =
            [Some(counters(10, 10, 0)), Some(counters(10, 0, 0)), None, Some(counters(0, 0, 0))]
                .iter()
                .map(|seen| meter.close(seen.as_ref()))
                .collect();
        let thresholds = ExposureThresholds { rhf_ppm: 100_000, mcr_kib_per_s: 10 };
        let exposed = |from: u64, until: u64| {
            is_exposed(&buckets, Nanos(7) + Span::SECOND * from, Nanos(7) + Span::SECOND * until, thresholds)
        };
        assert_eq!(exposed(1, 5), Some(false));
        assert_eq!(exposed(1, 6), Some(true));
        assert_eq!(exposed(11, 14), None);
        assert_eq!(exposed(11, 16), None);
        assert_eq!(exposed(15, 20), Some(false));
        assert_eq!(exposed(15, 21), None);
        assert_eq!(exposed(9, 12), Some(true));
    }
}
