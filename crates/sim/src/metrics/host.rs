//! The meters of one host over the same buckets: one for all its orders, one for each segment of them.

use numashock_engine::Nanos;

use super::{BucketMetrics, CounterDeltas, Meter, MeterConfig};

/// A segment of a host's orders, as a small number: the caller's own, counted from zero.
///
/// Who asks for figures by strategy and liquidity bucket numbers the pairs. The phase needs no number: a bucket belongs as
/// a whole to the phase in which it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// One bucket of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBucket {
    /// All orders of the host together.
    pub all: BucketMetrics,
    /// Each segment by its number. The counters, RHF and MCR are the host's in every one.
    pub segments: Vec<BucketMetrics>,
}

/// Collects one bucket after the other. Memory is bounded by the releases of one bucket.
///
/// The cadence of the host is not made of those of its segments: a gap reaches to the release before it in the same
/// segment there, and to the one before it on the host here.
///
/// ```
/// use numashock_engine::{Nanos, Span};
/// use numashock_sim::metrics::{CounterDeltas, HostMeter, MeterConfig, SegmentId};
///
/// let config = MeterConfig { length: Span::SECOND, page_bytes: 4096, interconnect_bytes_per_s: 0 };
/// let mut meter = HostMeter::new(config, Nanos::ZERO, 2);
/// meter.record_release(SegmentId(0), Nanos(7));
/// meter.record_release(SegmentId(1), Nanos(9));
/// let counters = CounterDeltas { hint_faults: 4, hint_faults_local: 3, ..CounterDeltas::default() };
/// let bucket = meter.close(Some(&counters));
/// assert_eq!((bucket.all.releases, bucket.segments[1].releases), (2, 1));
/// assert_eq!(bucket.segments[1].rhf_ppm, Some(250_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMeter {
    config: MeterConfig,
    all: Meter,
    segments: Vec<Meter>,
}

impl HostMeter {
    /// A meter whose first bucket begins at `start`, with as many segments as are known. One with a number beyond is added,
    /// with all before it, in the bucket in which it is first named.
    ///
    /// # Panics
    /// As [`Meter::new`].
    #[must_use]
    pub fn new(config: MeterConfig, start: Nanos, segments: usize) -> HostMeter {
        let all = Meter::new(config, start);
        HostMeter { config, segments: vec![all.clone(); segments], all }
    }

    /// The start of the bucket being collected.
    #[must_use]
    pub fn start(&self) -> Nanos {
        self.all.start()
    }

    /// Its end, which is the start of the next.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.all.end()
    }

    /// A child left the dispatch thread.
    ///
    /// # Panics
    /// If `at` lies outside the bucket or before the host's last release.
    pub fn record_release(&mut self, segment: SegmentId, at: Nanos) {
        self.all.record_release(at);
        self.segment(segment).record_release(at);
    }

    /// A passive child arrived; arguments as for [`QueueDecay::record`](super::QueueDecay::record).
    pub fn record_passive(&mut self, segment: SegmentId, lost: i64, queue: u64) {
        self.all.record_passive(lost, queue);
        self.segment(segment).record_passive(lost, queue);
    }

    /// A parent ended.
    pub fn record_parent(&mut self, segment: SegmentId, missed_deadline: bool) {
        self.all.record_parent(missed_deadline);
        self.segment(segment).record_parent(missed_deadline);
    }

    /// Ends the bucket and begins the next. `counters` is `None` where the host's telemetry is missing.
    pub fn close(&mut self, counters: Option<&CounterDeltas>) -> HostBucket {
        HostBucket {
            all: self.all.close(counters),
            segments: self.segments.iter_mut().map(|meter| meter.close(counters)).collect(),
        }
    }

    fn segment(&mut self, SegmentId(number): SegmentId) -> &mut Meter {
        let place = number as usize;
        if place >= self.segments.len() {
            self.segments.resize(place + 1, Meter::new(self.config, self.all.start()));
        }
        &mut self.segments[place]
    }
}
