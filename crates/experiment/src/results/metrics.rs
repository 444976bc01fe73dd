//! The desk metrics of a whole choice or segment, from the buckets of its measured windows (playbook: 5).
//!
//! Counts are added up before anything is divided: RHF is all remote faults over all faults, MCR all bytes over all the
//! time that was seen, QDL the mean over all children. DCJ and the Fano factor are medians over buckets.

use numashock_sim::BUCKET;
use numashock_sim::metrics::DCJ_BUCKET;
use serde::{Deserialize, Serialize};

use super::{BucketRow, ratio};
use crate::stats::{self, Quantile};

/// The desk metrics of one bucket of a segment, with what they are made of. What was not seen is `None`.
///
/// The segment's phase is the one in which the bucket begins. The counters, RHF and MCR are the host's: they stand alike in
/// the rows of all segments of a host and must not be added over them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Tuning choice.
    pub choice: u32,
    /// Replication index.
    pub seed: u64,
    /// Index into [`SweepResults::segments`](super::SweepResults::segments).
    pub segment: u32,
    /// Start.
    pub bucket_start_ns: u64,
    /// Length, 1 s or 5 s.
    pub bucket_length_ns: u64,
    /// Whether it lies after the warm-up as a whole.
    pub measured: bool,
    /// Pages marked.
    pub numa_pte_updates: Option<u64>,
    /// Hinting faults.
    pub numa_hint_faults: Option<u64>,
    /// Of these, on the page's own node.
    pub numa_hint_faults_local: Option<u64>,
    /// Pages migrated by balancing.
    pub numa_pages_migrated: Option<u64>,
    /// Remote hint-fault ratio.
    pub rhf_ppm: Option<u64>,
    /// Hinting faults per thousand seconds.
    pub hint_fault_rate_milli_hz: Option<u64>,
    /// Migration-copy rate.
    pub mcr_kib_per_s: Option<u64>,
    /// The same as a share of the interconnect's bandwidth.
    pub interconnect_share_ppm: Option<u64>,
    /// Requests for children that left the dispatch thread.
    pub releases: u64,
    /// The squares of their counts per 10 ms, summed.
    pub release_squares: u64,
    /// Fano factor of releases per 10 ms: with n windows (n·squares − releases²) / (n·releases).
    pub fano_ppm: Option<u64>,
    /// Gaps between releases of the segment.
    pub gaps: u64,
    /// Median gap, in buckets of 5 s.
    pub gap_q50_ns: Option<u64>,
    /// 95th percentile of the gaps, in buckets of 5 s.
    pub gap_q95_ns: Option<u64>,
    /// Dispatch-cadence jitter: (q95 − q50) / q50.
    pub dcj_ppm: Option<u64>,
    /// Passive children that joined a queue and would have found one on time.
    pub passive_children: u64,
    /// Passive children that would have been the first at their price: they have no ratio.
    pub passive_unqueued: u64,
    /// The ratios of the children, summed, each truncated towards zero to a part per million.
    pub qdl_sum_ppm: i64,
    /// Queue-decay loss, their mean.
    pub qdl_ppm: Option<i64>,
    /// Parents that ended.
    pub parents_ended: u64,
    /// Of these, those that missed their deadline.
    pub deadlines_missed: u64,
}

/// The desk metrics over the measured windows of a choice or a segment (playbook: 5); null where missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct Metrics {
    /// Remote hint-fault ratio: remote faults over faults of all seconds that were seen.
    pub rhf: Option<f64>,
    /// Hinting faults per second, in the same seconds.
    pub rhf_rate: Option<f64>,
    /// Migration-copy rate in MiB/s: bytes over time, in the same seconds.
    pub mcr: Option<f64>,
    /// The same as a share of the interconnect's bandwidth, mean of the seconds.
    pub mcr_share: Option<f64>,
    /// Dispatch-cadence jitter, median of the buckets of five seconds that have one.
    pub dcj: Option<f64>,
    /// Fano factor of releases per 10 ms, median of the buckets of five seconds that have one.
    pub fano: Option<f64>,
    /// Queue-decay loss, mean of the passive children that have one.
    pub qdl: Option<f64>,
    /// NUMA tail uplift in basis points: q95 of exposed parents less q95 of matched calm ones. Over several segments, the mean
    /// weighted by matched exposed parents.
    pub ntu: Option<f64>,
}

/// Sums from which metrics are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    faults: i128,
    remote: i128,
    pages: i128,
    seen_ns: i128,
    shares: Vec<i64>,
    jitters: Vec<i64>,
    fanos: Vec<i64>,
    decay_ppm: i128,
    children: i128,
}

/// What the summary needs of a bucket's host side.
struct HostSide {
    length_ns: u64,
    counters: Option<[u64; 3]>,
    share_ppm: Option<u64>,
    dcj_ppm: Option<u64>,
    fano_ppm: Option<u64>,
}

impl Totals {
    /// Those of the hosts' buckets of a choice, and the children of its segments.
    pub(super) fn of_choice(buckets: &[&BucketRow], rows: &[&MetricRow]) -> Totals {
        let mut totals = Totals::default();
        // Finer telemetry repeats a part of what the seconds hold.
        let measured = || buckets.iter().filter(|row| row.measured && row.bucket_length_ns >= BUCKET.0);
        let finest = measured().map(|row| row.bucket_length_ns).min();
        for row in measured() {
            let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
            let counters = [
                row.counters.numa_hint_faults,
                row.counters.numa_hint_faults_local,
                row.counters.numa_pages_migrated,
            ];
            let side = HostSide {
                length_ns: row.bucket_length_ns,
                // What the desk could not read is missing, though the simulator knows it.
                counters: row.rhf_ppm.map(|_| counters),
                share_ppm: unsigned(row.interconnect_share_ppm),
                dcj_ppm: unsigned(row.dcj_ppm),
                fano_ppm: unsigned(row.fano_ppm),
            };
            totals.add_host(&side, finest);
        }
        totals.add_children(rows);
        totals
    }

    /// Those of the buckets of one segment.
    pub(super) fn of_segment(rows: &[&MetricRow]) -> Totals {
        let mut totals = Totals::default();
        let measured = || rows.iter().filter(|row| row.measured);
        let finest = measured().map(|row| row.bucket_length_ns).min();
        for row in measured() {
            let pair = row.numa_hint_faults.zip(row.numa_hint_faults_local);
            let side = HostSide {
                length_ns: row.bucket_length_ns,
                counters: pair.zip(row.numa_pages_migrated).map(|((all, local), pages)| [all, local, pages]),
                share_ppm: row.interconnect_share_ppm,
                dcj_ppm: row.dcj_ppm,
                fano_ppm: row.fano_ppm,
            };
            totals.add_host(&side, finest);
        }
        totals.add_children(rows);
        totals
    }

    /// Lengths overlap in time: counters are summed over the finest one only, and a cadence is one of five seconds.
    fn add_host(&mut self, side: &HostSide, finest: Option<u64>) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if side.length_ns == DCJ_BUCKET.0 {
            self.jitters.extend(side.dcj_ppm.map(whole));
            self.fanos.extend(side.fano_ppm.map(whole));
        }
        let Some([faults, local, pages]) = side.counters.filter(|_| Some(side.length_ns) == finest) else {
            return;
        };
        self.faults += i128::from(faults);
        self.remote += i128::from(faults.saturating_sub(local));
        self.pages += i128::from(pages);
        self.seen_ns += i128::from(side.length_ns);
        self.shares.extend(side.share_ppm.map(whole));
    }

    fn add_children(&mut self, rows: &[&MetricRow]) {
        let measured = || rows.iter().filter(|row| row.measured);
        let finest = measured().map(|row| row.bucket_length_ns).min();
        for row in measured().filter(|row| Some(row.bucket_length_ns) == finest) {
            self.decay_ppm += i128::from(row.qdl_sum_ppm);
            self.children += i128::from(row.passive_children);
        }
    }

    pub(super) fn metrics(mut self, ntu: Option<f64>) -> Metrics {
        const SECOND: i128 = 1_000_000_000;
        let bytes = self.pages * i128::from(numashock_sim::PAGE_BYTES);
        let median =
            |values: &mut Vec<i64>| stats::quantile(values, Quantile::Q50).map(|ppm| ppm as f64 / 1e6);
        Metrics {
            rhf: match (self.seen_ns, self.faults) {
                (0, _) => None,
                (_, 0) => Some(0.0),
                _ => ratio(self.remote, self.faults),
            },
            rhf_rate: ratio(self.faults * SECOND, self.seen_ns),
            mcr: ratio(bytes * SECOND, self.seen_ns << 20),
            mcr_share: super::mean(&self.shares).map(|ppm| ppm / 1e6),
            dcj: median(&mut self.jitters),
            fano: median(&mut self.fanos),
            qdl: ratio(self.decay_ppm, self.children).map(|ppm| ppm / 1e6),
            ntu,
        }
    }
}
