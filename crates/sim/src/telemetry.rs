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
/// How often the counters are read while the controller asks for finer telemetry.
pub const SAMPLE: Span = Span(100_000_000);
/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// One bucket, of one second or of five.
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

/// What the counters grew by in one [`SAMPLE`] of finer telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fine {
    /// Its end, a whole number of samples since time zero.
    pub until: Nanos,
    /// The growth; `None` where the counters could not be read at both ends.
    pub counters: Option<Counters>,
}

/// Readings of the counters between the ends of buckets, while the controller asks for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampling {
    /// When the next reading is due, and what the last one was, if there has been one.
    due: Option<(Nanos, Option<Last>)>,
    pub(crate) samples: Vec<Fine>,
}

/// A reading; nothing where the counters could not be read.
type Last = Option<Counters>;

impl Sampling {
    /// Begins; the first sample is the first whole one. Gives when to read next.
    pub(crate) fn begin(&mut self, now: Nanos, reading: Last) -> Nanos {
        let is_whole = now.0 % SAMPLE.0 == 0;
        let next = Nanos((now.0 / SAMPLE.0 + 1) * SAMPLE.0);
        self.due = Some((next, is_whole.then_some(reading)));
        next
    }

    /// Whether a reading is due now.
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        self.due.is_some_and(|(at, _)| at == now)
    }

    /// Takes the reading that is due now. Gives when to read next.
    pub(crate) fn sample(&mut self, now: Nanos, reading: Last) -> Nanos {
        let (at, last) = self.due.expect("a reading is due");
        assert!(at == now, "a reading is taken when it is due");
        if let Some(last) = last {
            let counters = reading.zip(last).map(|(reading, last)| reading.since(&last));
            self.samples.push(Fine { until: now, counters });
        }
        self.due = Some((now + SAMPLE, Some(reading)));
        now + SAMPLE
    }

    /// Ends; a sample that is not over is lost.
    pub(crate) fn end(&mut self) {
        self.due = None;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.due.is_some()
    }
}

/// Collects both widths of bucket.
///
/// Execution telemetry bears the stamps of the desk's clock and is joined to the bucket that its stamp falls into. What is
/// stamped ahead waits for its bucket; what is stamped in a bucket that has been closed comes too late and is not joined.
/// The collector keeps stamps in order: while a clock that was set back catches up, releases bear the last stamp.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    short: Collector,
    long: Collector,
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
    fn new(length: Span, interconnect_mbps: u64, segments: usize) -> Collector {
        let config = MeterConfig {
            length,
            page_bytes: PAGE_BYTES,
            interconnect_bytes_per_s: interconnect_mbps.saturating_mul(1_000_000),
        };
        Collector {
            meter: HostMeter::new(config, Nanos::ZERO, segments),
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
            short: Collector::new(BUCKET, interconnect_mbps, segments),
            long: Collector::new(DCJ_BUCKET, interconnect_mbps, segments),
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
        self.short.latencies.push(latency.0);
        self.long.latencies.push(latency.0);
    }

    /// A request leaves the dispatch thread, now; gives its stamp.
    pub(crate) fn release(&mut self, segment: SegmentId, now: Nanos) -> Nanos {
        let mut stamp = self.clock.read(now);
        if let Some(last) = self.last_release {
            stamp = stamp.max(last);
            self.gaps.push((stamp, stamp - last));
        }
        self.last_release = Some(stamp);
        self.short.release(segment, stamp);
        self.long.release(segment, stamp);
        stamp
    }

    pub(crate) fn arrival(&mut self) {
        self.short.arrivals += 1;
        self.long.arrivals += 1;
    }

    pub(crate) fn passive_child(&mut self, segment: SegmentId, lost: i64, queue: u64) {
        self.short.meter.record_passive(segment, lost, queue);
        self.long.meter.record_passive(segment, lost, queue);
    }

    pub(crate) fn parent_ended(&mut self, segment: SegmentId, missed: bool) {
        self.short.meter.record_parent(segment, missed);
        self.long.meter.record_parent(segment, missed);
    }

    pub(crate) fn fill(&mut self) {
        self.short.fills += 1;
        self.long.fills += 1;
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

    pub(crate) fn into_buckets(self) -> (Vec<Bucket>, Vec<Bucket>) {
        (self.short.buckets, self.long.buckets)
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
