//! Execution telemetry and host counters in buckets on the run's own clock (playbook: 4).

use std::collections::VecDeque;

use numashock_controller::{Actions, Observation, Regime, Telemetry as Freshness};
use numashock_engine::{Nanos, Span};
use numashock_machine::Counters;

use crate::desk_log::{DeskLog, DeskWhat};
use crate::injector::DeskClock;
use crate::metrics::{
    BucketMetrics, CounterDeltas, DCJ_BUCKET, HostBucket, HostMeter, MeterConfig, SegmentId, quantile,
};

/// The short bucket.
pub const BUCKET: Span = Span::SECOND;
/// The bucket of finer telemetry.
pub const SAMPLE: Span = Span(100_000_000);
/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// One bucket, of one second or of five, or of a tenth of a second where finer telemetry was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// What the counters grew by, whether or not the desk could read them: where it could not, RHF and MCR are missing.
    pub counters: Counters,
    /// The desk metrics.
    pub metrics: BucketMetrics,
    /// Those of each of the host's segments, in the order of
    /// [`RunConfig::segments_of`](crate::scenario::config::RunConfig::segments_of).
    pub segments: Vec<BucketMetrics>,
    /// Units of work that sent something.
    pub decisions: u32,
    /// Own requests that reached the exchange.
    pub arrivals: u32,
    /// Own fills.
    pub fills: u32,
    /// Median decision latency.
    pub latency_q50_ns: Option<u64>,
    /// Its 99th percentile.
    pub latency_q99_ns: Option<u64>,
    /// The regime in force during the bucket.
    pub regime: Regime,
    /// The actions decided for the bucket; with a delay they are in force that much later.
    pub actions: Actions,
    /// Mid at its end, in half-ticks.
    pub mid_half_ticks: i64,
}

/// Collects buckets of one second and of five, and finer ones while they are asked for.
///
/// Execution telemetry bears the stamps of the desk's clock and is joined to the bucket that its stamp falls into. What is
/// stamped ahead waits for its bucket; what is stamped in a bucket that has been closed comes too late and is not joined.
/// The collector keeps stamps in order: while a clock that was set back catches up, releases bear the last stamp.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    short: Collector,
    long: Collector,
    fine: Option<Collector>,
    /// When the next fine bucket ends or the first one begins.
    fine_due: Option<Nanos>,
    /// Fine buckets of earlier times.
    fine_before: Vec<Bucket>,
    interconnect_mbps: u64,
    segments: usize,
    /// The desk's clock.
    pub(crate) clock: DeskClock,
    /// How many telemetry gaps are open: the counters cannot be read.
    pub(crate) gaps_open: u32,
    /// Latency of each decision of the run, ready to departure, by the desk's clock.
    pub(crate) latencies: Vec<u64>,
    /// Stamp and gap of each release.
    pub(crate) gaps: Vec<(Nanos, Span)>,
    last_release: Option<Nanos>,
    /// What the desk exports of its execution path, if asked.
    pub(crate) log: DeskLog,
}

#[derive(Clone, Debug)]
struct Collector {
    meter: HostMeter,
    /// Stamps of releases that lie beyond the bucket.
    ahead: VecDeque<(SegmentId, Nanos)>,
    seen: Counters,
    /// Whether the counters could be read at the start of the bucket.
    seen_at_start: bool,
    latencies: Vec<u64>,
    fills: u32,
    arrivals: u32,
    buckets: Vec<Bucket>,
}

impl Collector {
    fn new(from: Nanos, length: Span, interconnect_mbps: u64, segments: usize) -> Collector {
        let config = MeterConfig {
            length,
            page_bytes: PAGE_BYTES,
            interconnect_bytes_per_s: interconnect_mbps.saturating_mul(1_000_000),
        };
        Collector {
            meter: HostMeter::new(config, from, segments),
            ahead: VecDeque::new(),
            seen: Counters::default(),
            seen_at_start: true,
            latencies: Vec::new(),
            fills: 0,
            arrivals: 0,
            buckets: Vec::new(),
        }
    }

    /// A release with a stamp that is no earlier than the last one's.
    fn release(&mut self, segment: SegmentId, stamp: Nanos) {
        if stamp >= self.meter.end() {
            self.ahead.push_back((segment, stamp));
        } else if stamp >= self.meter.start() {
            self.meter.record_release(segment, stamp);
        }
    }

    /// Ends the bucket. `read` says whether the counters can be read now; growth needs a reading at both ends.
    fn close(&mut self, counters: Counters, read: bool, (regime, actions): (Regime, Actions), mid: i64) {
        let known = core::mem::replace(&mut self.seen_at_start, read) && read;
        let grown = counters.since(&self.seen);
        self.seen = counters;
        self.latencies.sort_unstable();
        let deltas = CounterDeltas {
            pte_updates: grown.numa_pte_updates,
            hint_faults: grown.numa_hint_faults,
            hint_faults_local: grown.numa_hint_faults_local,
            pages_migrated: grown.numa_pages_migrated,
        };
        let HostBucket { all, segments } = self.meter.close(known.then_some(&deltas));
        let end = self.meter.end();
        while let Some((segment, stamp)) = self.ahead.front().copied().filter(|(_, at)| *at < end) {
            self.ahead.pop_front();
            self.meter.record_release(segment, stamp);
        }
        self.buckets.push(Bucket {
            counters: grown,
            metrics: all,
            segments,
            decisions: u32::try_from(self.latencies.len()).expect("fewer than 2^32 decisions a bucket"),
            arrivals: self.arrivals,
            fills: self.fills,
            latency_q50_ns: quantile(&self.latencies, 500_000),
            latency_q99_ns: quantile(&self.latencies, 990_000),
            regime,
            actions,
            mid_half_ticks: mid,
        });
        self.latencies.clear();
        (self.fills, self.arrivals) = (0, 0);
    }
}

impl Telemetry {
    /// The telemetry of a host with so many segments.
    pub(crate) fn new(interconnect_mbps: u64, segments: usize) -> Telemetry {
        Telemetry {
            short: Collector::new(Nanos::ZERO, BUCKET, interconnect_mbps, segments),
            long: Collector::new(Nanos::ZERO, DCJ_BUCKET, interconnect_mbps, segments),
            fine: None,
            fine_due: None,
            fine_before: Vec::new(),
            interconnect_mbps,
            segments,
            clock: DeskClock::default(),
            gaps_open: 0,
            latencies: Vec::new(),
            gaps: Vec::new(),
            last_release: None,
            log: DeskLog::default(),
        }
    }

    /// A unit of work that was ready at `ready` sends something, now.
    pub(crate) fn decision(&mut self, ready: Nanos, now: Nanos) {
        let latency = self.clock.between(ready, now);
        self.log.add(self.clock.read(now), DeskWhat::Decision { latency });
        self.latencies.push(latency.0);
        self.collectors().for_each(|one| one.latencies.push(latency.0));
    }

    /// A request leaves the dispatch thread, now; gives its stamp.
    pub(crate) fn release(&mut self, segment: SegmentId, now: Nanos) -> Nanos {
        let mut stamp = self.clock.read(now);
        if let Some(last) = self.last_release {
            stamp = stamp.max(last);
            self.gaps.push((stamp, stamp - last));
        }
        self.last_release = Some(stamp);
        self.collectors().for_each(|one| one.release(segment, stamp));
        stamp
    }

    pub(crate) fn arrival(&mut self) {
        self.collectors().for_each(|one| one.arrivals += 1);
    }

    pub(crate) fn passive_child(&mut self, segment: SegmentId, lost: i64, queue: u64) {
        self.collectors().for_each(|one| one.meter.record_passive(segment, lost, queue));
    }

    pub(crate) fn parent_ended(&mut self, segment: SegmentId, missed: bool) {
        self.collectors().for_each(|one| one.meter.record_parent(segment, missed));
    }

    pub(crate) fn fill(&mut self) {
        self.collectors().for_each(|one| one.fills += 1);
    }

    /// Ends the second that is over now, and the five seconds if they are; gives what the controller sees of it.
    pub(crate) fn close(
        &mut self,
        now: Nanos,
        counters: Counters,
        state: (Regime, Actions),
        mid_half_ticks: i64,
    ) -> Observation {
        let read = self.gaps_open == 0;
        self.short.close(counters, read, state, mid_half_ticks);
        if now.0 % DCJ_BUCKET.0 == 0 {
            self.long.close(counters, read, state, mid_half_ticks);
        }
        self.log.add(self.clock.read(now), DeskWhat::Heartbeat { host: now });
        let short = &self.short.buckets.last().expect("one was closed just now").metrics;
        observed(short, self.long.buckets.last().and_then(|bucket| bucket.metrics.dcj_ppm))
    }

    fn collectors(&mut self) -> impl Iterator<Item = &mut Collector> {
        [&mut self.short, &mut self.long].into_iter().chain(&mut self.fine)
    }

    /// While finer telemetry is in force: when the next fine bucket ends, or the first one begins.
    pub(crate) fn fine_due(&self) -> Option<Nanos> {
        self.fine_due
    }

    /// Finer telemetry is in force from now on; its first bucket is the first whole one. Gives when that is to be looked at.
    pub(crate) fn begin_fine(&mut self, now: Nanos, counters: Counters) -> Nanos {
        let next = Nanos((now.0 / SAMPLE.0 + 1) * SAMPLE.0);
        if now.0 % SAMPLE.0 == 0 {
            self.start_fine(now, counters);
        }
        self.fine_due = Some(next);
        next
    }

    fn start_fine(&mut self, now: Nanos, counters: Counters) {
        let read = self.gaps_open == 0;
        self.fine = Some(Collector {
            seen: counters,
            seen_at_start: read,
            ..Collector::new(now, SAMPLE, self.interconnect_mbps, self.segments)
        });
    }

    /// Ends the fine bucket that is over now.
    pub(crate) fn close_fine(
        &mut self,
        now: Nanos,
        counters: Counters,
        state: (Regime, Actions),
        mid_half_ticks: i64,
    ) {
        let read = self.gaps_open == 0;
        match &mut self.fine {
            Some(fine) => fine.close(counters, read, state, mid_half_ticks),
            None => self.start_fine(now, counters),
        }
        self.fine_due = Some(now + SAMPLE);
    }

    /// Finer telemetry is no longer in force; a bucket that is not over is lost.
    pub(crate) fn end_fine(&mut self) {
        self.fine_due = None;
        self.fine_before.extend(self.fine.take().into_iter().flat_map(|fine| fine.buckets));
    }

    /// The buckets of one second, of five, and the fine ones.
    pub(crate) fn into_buckets(mut self) -> [Vec<Bucket>; 3] {
        self.end_fine();
        [self.short.buckets, self.long.buckets, self.fine_before]
    }
}

/// What a controller sees of a second: its own metrics, and DCJ as the last whole five seconds had it.
#[must_use]
pub fn observed(second: &BucketMetrics, dcj_ppm: Option<u64>) -> Observation {
    Observation {
        telemetry: if second.rhf_ppm.is_some() { Freshness::Fresh } else { Freshness::Stale },
        rhf_ppm: second.rhf_ppm,
        mcr_kib_per_s: second.mcr_kib_per_s,
        dcj_ppm,
        qdl_ppm: second.qdl_ppm.map(|ppm| u64::try_from(ppm).unwrap_or(0)),
        deadline_miss_ppm: second.deadline_miss_ppm,
    }
}
