//! Execution telemetry and host counters in buckets on the run's own clock (playbook: 4).

use numashock_controller::{Actions, Observation, Regime, Telemetry as Freshness};
use numashock_engine::{Nanos, Span};
use numashock_machine::Counters;

use crate::metrics::{BucketMetrics, CounterDeltas, DCJ_BUCKET, Meter, MeterConfig, quantile};

/// The short bucket.
pub const BUCKET: Span = Span::SECOND;
/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;

/// One bucket, of one second or of five.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// What the counters grew by.
    pub counters: Counters,
    /// The desk metrics.
    pub metrics: BucketMetrics,
    /// Units of work that sent something.
    pub decisions: u32,
    /// Own fills.
    pub fills: u32,
    /// Median decision latency.
    pub latency_q50_ns: Option<u64>,
    /// Its 99th percentile.
    pub latency_q99_ns: Option<u64>,
    /// The regime in force during the bucket.
    pub regime: Regime,
    /// The actions in force during the bucket.
    pub actions: Actions,
    /// Mid at its end, in half-ticks.
    pub mid_half_ticks: i64,
}

/// Collects both widths of bucket.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    short: Collector,
    long: Collector,
    /// Latency of each decision of the run, ready to departure.
    pub(crate) latencies: Vec<u64>,
    /// Time and gap of each release.
    pub(crate) gaps: Vec<(Nanos, Span)>,
    last_release: Option<Nanos>,
}

#[derive(Clone, Debug)]
struct Collector {
    meter: Meter,
    seen: Counters,
    latencies: Vec<u64>,
    fills: u32,
    buckets: Vec<Bucket>,
}

impl Collector {
    fn new(length: Span, interconnect_mbps: u64) -> Collector {
        let config = MeterConfig {
            length,
            page_bytes: PAGE_BYTES,
            interconnect_bytes_per_s: interconnect_mbps.saturating_mul(1_000_000),
        };
        Collector {
            meter: Meter::new(config, Nanos::ZERO),
            seen: Counters::default(),
            latencies: Vec::new(),
            fills: 0,
            buckets: Vec::new(),
        }
    }

    fn close(&mut self, counters: Counters, regime: Regime, actions: Actions, mid_half_ticks: i64) {
        let grown = counters.since(&self.seen);
        self.seen = counters;
        self.latencies.sort_unstable();
        let metrics = self.meter.close(Some(&CounterDeltas {
            pte_updates: grown.numa_pte_updates,
            hint_faults: grown.numa_hint_faults,
            hint_faults_local: grown.numa_hint_faults_local,
            pages_migrated: grown.numa_pages_migrated,
        }));
        self.buckets.push(Bucket {
            counters: grown,
            metrics,
            decisions: u32::try_from(self.latencies.len()).expect("fewer than 2^32 decisions a bucket"),
            fills: self.fills,
            latency_q50_ns: quantile(&self.latencies, 500_000),
            latency_q99_ns: quantile(&self.latencies, 990_000),
            regime,
            actions,
            mid_half_ticks,
        });
        self.latencies.clear();
        self.fills = 0;
    }
}

impl Telemetry {
    pub(crate) fn new(interconnect_mbps: u64) -> Telemetry {
        Telemetry {
            short: Collector::new(BUCKET, interconnect_mbps),
            long: Collector::new(DCJ_BUCKET, interconnect_mbps),
            latencies: Vec::new(),
            gaps: Vec::new(),
            last_release: None,
        }
    }

    pub(crate) fn decision(&mut self, latency: Span) {
        self.latencies.push(latency.0);
        self.short.latencies.push(latency.0);
        self.long.latencies.push(latency.0);
    }

    pub(crate) fn release(&mut self, at: Nanos) {
        if let Some(last) = self.last_release {
            self.gaps.push((at, at - last));
        }
        self.last_release = Some(at);
        self.short.meter.record_release(at);
        self.long.meter.record_release(at);
    }

    pub(crate) fn passive_child(&mut self, lost: i64, queue: u64) {
        self.short.meter.record_passive(lost, queue);
        self.long.meter.record_passive(lost, queue);
    }

    pub(crate) fn parent_ended(&mut self, missed: bool) {
        self.short.meter.record_parent(missed);
        self.long.meter.record_parent(missed);
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
        (regime, actions): (Regime, Actions),
        mid_half_ticks: i64,
    ) -> Observation {
        self.short.close(counters, regime, actions, mid_half_ticks);
        if now.0 % DCJ_BUCKET.0 == 0 {
            self.long.close(counters, regime, actions, mid_half_ticks);
        }
        let short = &self.short.buckets.last().expect("one was closed just now").metrics;
        Observation {
            telemetry: Freshness::Fresh,
            rhf_ppm: short.rhf_ppm,
            mcr_kib_per_s: short.mcr_kib_per_s,
            dcj_ppm: self.long.buckets.last().and_then(|bucket| bucket.metrics.dcj_ppm),
            qdl_ppm: short.qdl_ppm.map(|ppm| u64::try_from(ppm).unwrap_or(0)),
            deadline_miss_ppm: short.deadline_miss_ppm,
        }
    }

    pub(crate) fn into_buckets(self) -> (Vec<Bucket>, Vec<Bucket>) {
        (self.short.buckets, self.long.buckets)
    }
}
