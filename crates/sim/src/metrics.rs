//! The desk metrics of a bucket, in integers until display (playbook: 5).
//!
//! ```text
//!   releases, passive children, ended parents ──► Meter ──close(counters)──► BucketMetrics      one per bucket
//!        the same, each with its segment ──► HostMeter ──close(counters)──► HostBucket          host and segments
//! ```
//!
//! A metric that cannot be told is `None`: missing. A quantile is an order statistic. Divisions truncate, and
//! what was divided stays beside the quotient, so that buckets can be added up without a rounding; the one exception is
//! QDL, a mean of fractions, whose terms are truncated towards zero to a part per million each.

use numashock_engine::{Nanos, Span};

mod host;

pub use host::{HostBucket, HostMeter, SegmentId};

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

/// Gaps between child releases. A release is a request for a child that leaves the dispatch thread: the new order, and each
/// replacement or cancellation of it.
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

    /// q50 and q95, whatever the number of gaps; `None` without one.
    #[must_use]
    pub fn quantiles(&mut self) -> Option<[Span; 2]> {
        self.gaps.sort_unstable();
        quantile(&self.gaps, MEDIAN_PPM).zip(quantile(&self.gaps, TAIL_PPM)).map(<[Span; 2]>::from)
    }

    /// DCJ: (q95 − q50) / q50 in parts per million, or `None` below [`DCJ_MIN_GAPS`] gaps or [`DCJ_MIN_MEDIAN`].
    #[must_use]
    pub fn jitter_ppm(&mut self) -> Option<u64> {
        if self.gaps.len() < DCJ_MIN_GAPS {
            return None;
        }
        let [median, tail] = self.quantiles()?;
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

    /// The sum of the squares of the counts.
    #[must_use]
    pub fn squares(mut self) -> u128 {
        self.close_window();
        self.squares
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

    /// The sum of the ratios in parts per million, each truncated towards zero.
    #[must_use]
    pub fn sum_ppm(&self) -> i128 {
        self.sum_ppm
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

/// The desk metrics of one bucket, with what they were made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketMetrics {
    /// The bucket's start.
    pub start: Nanos,
    /// The bucket's length.
    pub length: Span,
    /// What the host's counters grew by; `None` where that was not seen.
    pub counters: Option<CounterDeltas>,
    /// RHF, parts per million. `None` without counters.
    pub rhf_ppm: Option<u32>,
    /// Hinting faults per thousand seconds. `None` without counters.
    pub hint_fault_rate_milli_hz: Option<u64>,
    /// MCR, KiB per second. `None` without counters.
    pub mcr_kib_per_s: Option<u64>,
    /// MCR as a share of the interconnect, parts per million. `None` without counters or bandwidth.
    pub interconnect_share_ppm: Option<u64>,
    /// Gaps between releases whose later one lies in the bucket.
    pub gaps: u64,
    /// Their median. `None` without a gap, or unless the bucket is [`DCJ_BUCKET`] long.
    pub gap_q50: Option<Span>,
    /// Their 95th percentile, under the same conditions.
    pub gap_q95: Option<Span>,
    /// DCJ, parts per million. `None` unless the bucket is [`DCJ_BUCKET`] long and has gaps enough.
    pub dcj_ppm: Option<u64>,
    /// Fano factor of releases per [`FANO_WINDOW`], parts per million of 1. `None` without a release.
    pub fano_ppm: Option<u64>,
    /// Children released.
    pub releases: u64,
    /// The squares of the releases of each [`FANO_WINDOW`], summed.
    pub release_squares: u128,
    /// QDL, parts per million. `None` without a passive child that had a queue to lose.
    pub qdl_ppm: Option<i64>,
    /// The sum of which QDL is the mean.
    pub qdl_sum_ppm: i128,
    /// Passive children that arrived and had a ratio.
    pub passive_children: u64,
    /// Passive children that have none, because no lots would have stood at their price had they been on time.
    pub passive_unqueued: u64,
    /// Parents that ended.
    pub parents_ended: u64,
    /// Of these, those that missed their deadline.
    pub deadlines_missed: u64,
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

    /// The start of the bucket being collected.
    #[must_use]
    pub fn start(&self) -> Nanos {
        self.start
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
        let has_cadence = length == DCJ_BUCKET;
        let quantiles = if has_cadence { self.gaps.quantiles() } else { None };
        let metrics = BucketMetrics {
            start: self.start,
            length,
            counters: counters.copied(),
            rhf_ppm: counters.map(remote_hint_fault_ratio_ppm),
            hint_fault_rate_milli_hz: counters.map(|seen| hint_fault_rate_milli_hz(seen, length)),
            mcr_kib_per_s: rate,
            interconnect_share_ppm: rate
                .and_then(|rate| interconnect_share_ppm(rate, interconnect_bytes_per_s)),
            gaps: self.gaps.count() as u64,
            gap_q50: quantiles.map(|[median, _]| median),
            gap_q95: quantiles.map(|[_, tail]| tail),
            dcj_ppm: if has_cadence { self.gaps.jitter_ppm() } else { None },
            fano_ppm: self.windows.fano_ppm(length.0 / FANO_WINDOW.0),
            releases: self.releases,
            release_squares: self.windows.squares(),
            qdl_ppm: self.decay.mean_ppm(),
            qdl_sum_ppm: self.decay.sum_ppm(),
            passive_children: self.decay.children(),
            passive_unqueued: self.decay.unqueued(),
            parents_ended: self.ended,
            deadlines_missed: self.missed,
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
mod tests;
