//! One host: its clock, its gaps, its meters.

use std::collections::BTreeMap;

use numashock_engine::{Nanos, Span};
use numashock_sim::counters::{Clock, CounterBucket, Gap, NAMES, Series};
use numashock_sim::metrics::{
    BucketMetrics, CounterDeltas, HostMeter, MeterConfig, SegmentId, is_exposed, quantile,
};
use numashock_sim::observed;

use super::clock::{Known, offset};
use super::columns::{Passive, Row, Telemetry, What, place};
use super::{
    Bucket, GAP_REPORTED, HostCounters, HostImport, ImportError, Options, ParentEnd, Path, SECOND,
    SegmentUplift, Uplift,
};
use crate::results::{Matchable, Side, over_segments, uplift_among};

/// λ̂·delay is a fraction of a lot: it is computed in millionths.
const MICRO: u128 = 1_000_000;

/// More than eleven days at once are refused, so that a damaged time cannot ask for unbounded memory.
const LONGEST: i64 = 1_000_000 * SECOND;

/// Joins one host.
pub(super) fn host(
    host: HostCounters,
    telemetry: Option<&Telemetry>,
    rows: &[Row],
    options: &Options,
) -> Result<HostImport, ImportError> {
    let HostCounters { name, series, knobs } = host;
    let falls = falls(&series, options)?;
    let readings = series.readings();
    not_too_long(&series, [readings[0].at, readings[readings.len() - 1].at])?;
    let counter_gaps = gaps(series.gaps(reported(options)), series.file(), options, "--max-gap")?;
    let mut imported = HostImport {
        name,
        counters_file: series.file().to_owned(),
        knobs,
        counters: series.present().into_iter().map(|place| NAMES[place]).collect(),
        spacing_ns: series.spacing(),
        clock: series.clock(),
        offset: None,
        counter_gaps,
        telemetry_gaps: Vec::new(),
        falls,
        segments: Vec::new(),
        seconds: Vec::new(),
        fives: Vec::new(),
        observations: Vec::new(),
        parents: Vec::new(),
        uplift: Uplift::default(),
        rows: [rows.len(), 0],
        notes: Vec::new(),
    };
    let (mut moved, mut shift) = (Vec::new(), 0);
    if let Some(telemetry) = telemetry.filter(|_| !rows.is_empty()) {
        (moved, shift) = on_one_clock(telemetry, rows, &series, options, &mut imported)?;
        overlap(&telemetry.file, &moved, &series)?;
        gaps_of_both(telemetry, &moved, &series, options, &mut imported)?;
        for row in &mut moved {
            let in_segment = matches!(row.what, What::Send | What::Ack { .. } | What::Parent(_));
            row.segment = if in_segment {
                place(&mut imported.segments, telemetry.segments[row.segment].clone())
            } else {
                0
            };
        }
    }
    let phases = telemetry.map_or(&[][..], |telemetry| &telemetry.phases);
    let base = measure(&mut imported, &series, &moved, phases, options)?;
    imported.parents = parents(&moved, phases, &imported.seconds, (base, shift), options);
    imported.uplift = uplift(&imported.parents, &imported.segments);
    notes(&mut imported, &series);
    Ok(imported)
}

fn falls(series: &Series, options: &Options) -> Result<Vec<String>, ImportError> {
    let words = |fall: &numashock_sim::counters::Fall| {
        let reading = series.readings()[fall.reading];
        let name = NAMES[fall.counter];
        (reading.line, format!("{name} fell from {} to {} at {}", fall.before, fall.now, when(reading.at)))
    };
    let falls: Vec<(usize, String)> = series.falls().iter().map(words).collect();
    if falls.len() > options.max_falls {
        let (line, words) = &falls[options.max_falls];
        let problem = format!(
            "{words}; expected counters that only grow ({} fell in all); split the file where the host rebooted, or \
             allow it with --max-falls {}: the buckets around it are then missing",
            falls.len(),
            falls.len()
        );
        return Err(ImportError::new(series.file(), *line, "", &problem));
    }
    Ok(falls.into_iter().map(|(line, words)| format!("{words} (line {line})")).collect())
}

fn gaps(found: Vec<Gap>, file: &str, options: &Options, option: &str) -> Result<Vec<Gap>, ImportError> {
    let longest = found.iter().max_by_key(|gap| gap.until - gap.from);
    if let Some(gap) = longest.filter(|gap| gap.until - gap.from > options.max_gap_ns) {
        let problem = format!(
            "nothing between {} and {}, {} s; more than {option} {} s; cut the file there, or allow a longer gap",
            when(gap.from),
            when(gap.until),
            seconds(gap.until - gap.from),
            seconds(options.max_gap_ns)
        );
        return Err(ImportError::new(file, 0, "", &problem));
    }
    Ok(found)
}

/// From which length a gap is one: none may pass the limit because it is not even reported.
fn reported(options: &Options) -> i64 {
    GAP_REPORTED.min(options.max_gap_ns)
}

/// Times without a row, and what one file has before the other begins or after it ends.
fn gaps_of_both(
    telemetry: &Telemetry,
    rows: &[Row],
    series: &Series,
    options: &Options,
    imported: &mut HostImport,
) -> Result<(), ImportError> {
    let readings = series.readings();
    let read = [readings[0].at, readings[readings.len() - 1].at];
    let told = [rows[0].at, rows[rows.len() - 1].at];
    let mut times: Vec<i64> = rows.iter().map(|row| row.at).collect();
    times.insert(0, read[0].min(told[0]));
    times.push(read[1].max(told[1]));
    let apart = times.windows(2).filter(|pair| pair[1] - pair[0] > reported(options));
    let found = apart.map(|pair| Gap { from: pair[0], until: pair[1] }).collect();
    imported.telemetry_gaps = gaps(found, &telemetry.file, options, "--max-gap")?;
    let edges = [Gap { from: told[0], until: read[0] }, Gap { from: read[1], until: told[1] }];
    let long = |edge: &Gap| edge.until - edge.from > reported(options);
    let found = gaps(edges.into_iter().filter(long).collect(), series.file(), options, "--max-gap")?;
    imported.counter_gaps.extend(found);
    imported.counter_gaps.sort_unstable_by_key(|gap| gap.from);
    Ok(())
}

/// The rows by the counters' clock.
fn on_one_clock(
    telemetry: &Telemetry,
    rows: &[Row],
    series: &Series,
    options: &Options,
    imported: &mut HostImport,
) -> Result<(Vec<Row>, i64), ImportError> {
    let refuse = |problem: String| Err(ImportError::new(&telemetry.file, rows[0].line, "--offset", &problem));
    let shifted = |by: i64| {
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(|row| row.at = moved_by(row.at, by));
        rows
    };
    let mut moved = shifted(options.offset_ns);
    let found = offset(&moved, series, options.max_offset_ns);
    imported.offset = Some(found);
    let total = found.ns.saturating_add(options.offset_ns);
    if let Known::Heartbeats { spread_ns, count } = found.known {
        if spread_ns > options.max_offset_ns {
            return refuse(format!(
                "the clocks of {count} heartbeats drift or jump by {} s; more than --max-offset {} s; split the file \
                 where the clock was set, or allow more",
                seconds(spread_ns),
                seconds(options.max_offset_ns)
            ));
        }
    }
    if found.ns.unsigned_abs() > options.max_offset_ns.unsigned_abs() {
        let how = match found.known {
            Known::Heartbeats { count, .. } => format!("by {count} heartbeats"),
            Known::Bursts { correlation, otherwise } => format!(
                "an estimate: slow decisions and bursts of faults correlate by {correlation:.2} there, and by \
                 {otherwise:.2} within the limit"
            ),
            Known::Assumed => "assumed".to_owned(),
        };
        let way_out = match found.known {
            Known::Bursts { .. } => "add heartbeats, which tell, or allow more".to_owned(),
            _ => format!("if this is right, give --offset={total}ns; if not, allow more"),
        };
        return refuse(format!(
            "the desk's clock is {} s from the counters' clock ({how}); more than --max-offset {} s; {way_out}",
            seconds(found.ns),
            seconds(options.max_offset_ns)
        ));
    }
    let clock = if moved[0].at >= 100_000_000 * SECOND { Clock::Unix } else { Clock::Own };
    if clock != series.clock() && found.known == Known::Assumed {
        let of = |clock| if clock == Clock::Unix { "since 1970" } else { "from an origin of its own" };
        return refuse(format!(
            "it counts time {}, and {} counts it {}; give --offset with what is to be added to its times, or heartbeats",
            of(clock),
            series.file(),
            of(series.clock())
        ));
    }
    if matches!(found.known, Known::Heartbeats { .. }) {
        moved = shifted(total);
        return Ok((moved, total));
    }
    Ok((moved, options.offset_ns))
}

/// Within half the range, so that any two times can be subtracted.
fn moved_by(at: i64, by: i64) -> i64 {
    at.saturating_add(by).clamp(-(i64::MAX / 2), i64::MAX / 2)
}

/// Refuses what has not a bucket in common.
fn overlap(file: &str, rows: &[Row], series: &Series) -> Result<(), ImportError> {
    let readings = series.readings();
    let counters = [readings[0].at, readings[readings.len() - 1].at];
    let rows = [rows[0].at, rows[rows.len() - 1].at];
    if counters[1].min(rows[1]) - counters[0].max(rows[0]) < SECOND {
        let problem = format!(
            "its rows are from {} to {}, and the counters of {} from {} to {}; expected at least a second in common; \
             check both clocks, or give --offset",
            when(rows[0]),
            when(rows[1]),
            series.file(),
            when(counters[0]),
            when(counters[1])
        );
        return Err(ImportError::new(file, 0, "", &problem));
    }
    Ok(())
}

/// Collects the buckets of one length.
struct Collector<'a> {
    length: i64,
    base: i64,
    segments: usize,
    meter: HostMeter,
    counters: &'a [CounterBucket],
    path: PathCollector,
    estimated: bool,
    phase: String,
    buckets: Vec<Bucket>,
}

#[derive(Default)]
struct PathCollector {
    path: Path,
    latencies: Vec<u64>,
    waits: Vec<u64>,
    trips: Vec<u64>,
    markout: i128,
    marked_lots: u128,
}

impl PathCollector {
    fn close(&mut self) -> Path {
        let mut path = std::mem::take(&mut self.path);
        let two = |values: &mut Vec<u64>| {
            values.sort_unstable();
            let pair = quantile(values, 500_000).zip(quantile(values, 990_000)).map(<[u64; 2]>::from);
            values.clear();
            pair
        };
        path.latency_ns = two(&mut self.latencies);
        path.queue_wait_ns = two(&mut self.waits);
        path.round_trip_ns = two(&mut self.trips);
        let (markout, lots) = (std::mem::take(&mut self.markout), std::mem::take(&mut self.marked_lots));
        let mean = markout.checked_div(i128::try_from(lots).unwrap_or(i128::MAX));
        path.markout_micro_bp = mean.map(|mean| i64::try_from(mean).unwrap_or(i64::MAX));
        path
    }
}

impl<'a> Collector<'a> {
    fn new(
        length: i64,
        (base, segments): (i64, usize),
        counters: &'a [CounterBucket],
        options: &Options,
    ) -> Collector<'a> {
        let config = MeterConfig {
            length: Span(u64::try_from(length).expect("a length")),
            page_bytes: options.page_bytes,
            interconnect_bytes_per_s: options.interconnect_bytes_per_s,
        };
        Collector {
            length,
            base,
            segments,
            meter: HostMeter::new(config, Nanos::ZERO, segments),
            counters,
            path: PathCollector::default(),
            estimated: false,
            phase: String::new(),
            buckets: Vec::new(),
        }
    }

    /// Takes every row into its bucket.
    fn run(&mut self, rows: &[Row], phases: &[String], queue_rate_milli: Option<u64>) {
        // A parent bears the phase in which it began, and some rows none.
        let named = |row: &Row| !phases[row.phase].is_empty() && !matches!(row.what, What::Parent(_));
        let first = rows.iter().find(|row| named(row));
        let mut phase = first.map(|row| phases[row.phase].clone()).unwrap_or_default();
        self.phase.clone_from(&phase);
        let mut untold = true;
        for row in rows {
            while row.at >= self.end() {
                self.close();
                self.phase.clone_from(&phase);
                untold = true;
            }
            if named(row) {
                phase.clone_from(&phases[row.phase]);
                // No row of the phase before lies in the bucket: it may as well have ended before.
                if std::mem::take(&mut untold) {
                    self.phase.clone_from(&phase);
                }
            }
            self.take(row, queue_rate_milli);
        }
    }

    /// Every bucket that is whole: what was cut off at either end is none.
    fn into_buckets(mut self, [first, last]: [i64; 2], slack: i64) -> Vec<Bucket> {
        while self.end() <= last + slack {
            let phase = self.phase.clone();
            self.close();
            self.phase = phase;
        }
        let whole =
            |bucket: &Bucket| bucket.start >= first - slack && bucket.start + bucket.length <= last + slack;
        self.buckets.retain(whole);
        self.buckets
    }

    fn end(&self) -> i64 {
        self.base + i64::try_from(self.meter.end().0).expect("times fit 63 bits")
    }

    /// The time as the meters have it.
    fn relative(&self, at: i64) -> Nanos {
        Nanos(at.abs_diff(self.base))
    }

    fn close(&mut self) {
        let start = self.end() - self.length;
        let place = self.counters.first().map(|first| (start - first.start).div_euclid(self.length));
        let bucket = place
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| self.counters.get(place))
            .filter(|bucket| bucket.start == start);
        let grown = bucket.map_or([None; NAMES.len()], |bucket| bucket.grown);
        let deltas = bucket.filter(|bucket| bucket.readings.is_some()).map(deltas);
        let mut closed = self.meter.close(deltas.as_ref());
        std::iter::once(&mut closed.all).chain(&mut closed.segments).for_each(|all| keep_known(all, &grown));
        let mut of_segments = closed.segments;
        of_segments.truncate(self.segments);
        self.buckets.push(Bucket {
            start,
            length: self.length,
            phase: self.phase.clone(),
            grown,
            metrics: closed.all,
            segments: of_segments,
            qdl_is_estimate: std::mem::take(&mut self.estimated),
            path: self.path.close(),
        });
    }

    fn take(&mut self, row: &Row, queue_rate_milli: Option<u64>) {
        let segment = SegmentId(u32::try_from(row.segment).expect("few segments"));
        let path = &mut self.path;
        match row.what {
            What::Decision { latency_ns, queue_wait_ns } => {
                path.path.decisions += 1;
                path.latencies.extend(latency_ns);
                path.waits.extend(queue_wait_ns);
            }
            What::Send => {
                let at = self.relative(row.at);
                self.meter.record_release(segment, at);
            }
            What::Ack { round_trip_ns, passive } => {
                path.path.acks += 1;
                path.trips.extend(round_trip_ns);
                if let Some((lost, queue)) = passive.and_then(|passive| lost(passive, queue_rate_milli)) {
                    self.estimated |= matches!(passive, Some(Passive::Estimated { .. }));
                    self.meter.record_passive(segment, lost, queue);
                }
            }
            What::Fill { lots, markout_micro_bp } => {
                path.path.fills += 1;
                if let Some(markout) = markout_micro_bp {
                    let lots = lots.unwrap_or(1);
                    path.markout += i128::from(markout) * i128::from(lots);
                    path.marked_lots += u128::from(lots);
                }
            }
            What::Parent(ended) => {
                if let Some(missed) = ended.missed {
                    self.meter.record_parent(segment, missed);
                }
            }
            What::Heartbeat { .. } => {}
        }
    }
}

/// Lots lost and lots at the price on time, in lots or both in millionths of a lot.
fn lost(passive: Passive, queue_rate_milli: Option<u64>) -> Option<(i64, u64)> {
    match passive {
        Passive::Measured { lost, queue } => Some((lost, queue)),
        Passive::Estimated { ahead, delay_ns, rate_milli } => {
            let rate = u128::from(rate_milli.or(queue_rate_milli)?);
            let ahead = u128::from(ahead) * MICRO;
            // Thousandths of a lot a second × nanoseconds are 10⁻¹² lots. No more can have joined than are ahead.
            let joined = (rate * u128::from(delay_ns) / MICRO).min(ahead);
            Some((i64::try_from(joined).ok()?, u64::try_from(ahead - joined).ok()?))
        }
    }
}

/// What the counters grew by, 0 where that is missing: [`keep_known`] takes away what was made of it.
fn deltas(bucket: &CounterBucket) -> CounterDeltas {
    let [pte_updates, hint_faults, hint_faults_local, pages_migrated] =
        USED.map(|(name, _)| bucket.of(name).unwrap_or(0));
    CounterDeltas { pte_updates, hint_faults, hint_faults_local, pages_migrated }
}

/// The counters that metrics are made of, and which.
const USED: [(&str, &str); 4] = [
    ("numa_pte_updates", "no metric needs it"),
    ("numa_hint_faults", "RHF and the rate of hinting faults are missing"),
    ("numa_hint_faults_local", "RHF is missing"),
    ("numa_pages_migrated", "MCR is missing"),
];

/// Each metric of the host needs its own counters, and no others.
fn keep_known(metrics: &mut BucketMetrics, grown: &[Option<u64>; NAMES.len()]) {
    let known = USED.map(|(name, _)| {
        NAMES.iter().position(|known| *known == name).is_some_and(|place| grown[place].is_some())
    });
    let [_, faults, local, migrated] = known;
    metrics.counters = metrics.counters.filter(|_| !known.contains(&false));
    metrics.rhf_ppm = metrics.rhf_ppm.filter(|_| faults && local);
    metrics.hint_fault_rate_milli_hz = metrics.hint_fault_rate_milli_hz.filter(|_| faults);
    metrics.mcr_kib_per_s = metrics.mcr_kib_per_s.filter(|_| migrated);
    metrics.interconnect_share_ppm = metrics.interconnect_share_ppm.filter(|_| migrated);
}

fn not_too_long(series: &Series, [first, last]: [i64; 2]) -> Result<(), ImportError> {
    if last.saturating_sub(first) > LONGEST {
        let problem =
            format!("from {} to {}: longer than {} s; split it", when(first), when(last), seconds(LONGEST));
        return Err(ImportError::new(series.file(), 0, "", &problem));
    }
    Ok(())
}

fn measure(
    imported: &mut HostImport,
    series: &Series,
    rows: &[Row],
    phases: &[String],
    options: &Options,
) -> Result<i64, ImportError> {
    let readings = series.readings();
    let mut first = readings[0].at;
    let mut last = readings[readings.len() - 1].at;
    if let (Some(begin), Some(end)) = (rows.first(), rows.last()) {
        (first, last) = (first.min(begin.at), last.max(end.at));
    }
    not_too_long(series, [first, last])?;
    let [one, five] = [SECOND, 5 * SECOND].map(|length| series.buckets(length, options.slack));
    let base = first.div_euclid(5 * SECOND) * 5 * SECOND;
    let segments = imported.segments.len();
    let collect = |length, counters| {
        let mut collector = Collector::new(length, (base, segments), counters, options);
        collector.run(rows, phases, options.queue_rate_milli);
        collector.into_buckets([first, last], options.slack.of(length))
    };
    let (one, five) = (collect(SECOND, &one[..]), collect(5 * SECOND, &five[..]));
    if one.is_empty() {
        let problem = "shorter than a bucket of a second, or its readings lie too far from whole seconds; record for \
                       longer and more often, or allow --slack 50%";
        return Err(ImportError::new(series.file(), 0, "", problem));
    }
    let inside = |row: &&Row| {
        one.first().is_some_and(|bucket| bucket.start <= row.at)
            && one.last().is_some_and(|bucket| row.at < bucket.start + bucket.length)
    };
    imported.rows[1] = rows.len() - rows.iter().filter(inside).count();
    imported.observations = observations(&one, &five);
    (imported.seconds, imported.fives) = (one, five);
    Ok(base)
}

/// What a controller would have seen of each second: DCJ is that of the last whole five seconds.
fn observations(seconds: &[Bucket], fives: &[Bucket]) -> Vec<numashock_controller::Observation> {
    let mut long = fives.iter().peekable();
    let mut dcj = None;
    let see = |second: &Bucket| {
        let end = second.start + second.length;
        while let Some(five) = long.next_if(|five| five.start + five.length <= end) {
            dcj = five.metrics.dcj_ppm;
        }
        observed(&second.metrics, dcj)
    };
    seconds.iter().map(see).collect()
}

fn parents(
    rows: &[Row],
    phases: &[String],
    seconds: &[Bucket],
    (base, shift): (i64, i64),
    options: &Options,
) -> Vec<ParentEnd> {
    let metrics: Vec<_> = seconds.iter().map(|bucket| bucket.metrics).collect();
    let relative = |at: i64| Nanos(u64::try_from(at - base).unwrap_or(0));
    let ends = rows.iter().filter_map(|row| match row.what {
        What::Parent(ended) => Some((row, ended)),
        _ => None,
    });
    ends.map(|(row, ended)| {
        let arrival = ended.arrival.map(|at| moved_by(at, shift));
        let life = arrival.filter(|arrival| *arrival >= base && *arrival < row.at);
        let exposed =
            life.and_then(|from| is_exposed(&metrics, relative(from), relative(row.at), options.exposure));
        let phase = phases[row.phase].clone();
        ParentEnd { segment: row.segment, phase, arrival, at: row.at, exposed, ended }
    })
    .collect()
}

impl Matchable for ParentEnd {
    fn exposed(&self) -> Option<bool> {
        self.exposed
    }

    fn is_micro_bp(&self) -> i64 {
        self.ended.is_micro_bp.expect("only parents with a shortfall are compared")
    }

    fn side(&self) -> Option<Side> {
        self.ended.side
    }

    fn features(&self) -> [Option<i64>; 4] {
        let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        [
            signed(self.ended.quantity_lots),
            self.arrival.map(|arrival| self.at - arrival),
            signed(self.ended.spread_ticks),
            signed(self.ended.variation),
        ]
    }
}

fn uplift(parents: &[ParentEnd], segments: &[[String; 2]]) -> Uplift {
    let mut groups: BTreeMap<(usize, &str), Vec<&ParentEnd>> = BTreeMap::new();
    for parent in parents.iter().filter(|parent| parent.ended.is_micro_bp.is_some()) {
        groups.entry((parent.segment, parent.phase.as_str())).or_default().push(parent);
    }
    let of = |((segment, phase), inside): ((usize, &str), Vec<&ParentEnd>)| SegmentUplift {
        segment: segments[segment].clone(),
        phase: phase.to_owned(),
        row: uplift_among(&inside),
    };
    let segments: Vec<SegmentUplift> = groups.into_iter().map(of).collect();
    Uplift { total: over_segments(segments.iter().map(|segment| &segment.row)), segments }
}

fn notes(imported: &mut HostImport, series: &Series) {
    let missing =
        |buckets: &[Bucket]| buckets.iter().filter(|bucket| bucket.grown.iter().all(Option::is_none)).count();
    for (name, lost) in USED.iter().filter(|(name, _)| !imported.counters.contains(name)) {
        imported.notes.push(format!("{name} is not among the counters: {lost}"));
    }
    let (one, five) = (missing(&imported.seconds), missing(&imported.fives));
    if one > 0 {
        imported.notes.push(format!(
            "{one} of {} buckets of 1 s and {five} of {} of 5 s have no counters: they need a reading near both ends, \
             and the readings are {} s apart; record every 100 ms, or allow a larger --slack",
            imported.seconds.len(),
            imported.fives.len(),
            seconds(imported.spacing_ns)
        ));
    }
    if series.cut_short() > 0 {
        imported.notes.push("the last snapshot was cut short and is left out".to_owned());
    }
    if imported.seconds.iter().any(|bucket| bucket.qdl_is_estimate) {
        imported.notes.push(
            "QDL is an estimate, the rate at which lots join the queue times the delay: only a simulator knows what \
             stood ahead on time"
                .to_owned(),
        );
    }
    if let Some(offset) = imported.offset {
        if offset.known == Known::Assumed {
            imported.notes.push(
                "nothing shows how far the desk's clock is from the counters': they are taken as one; heartbeats would \
                 tell"
                    .to_owned(),
            );
        }
    }
}

/// A time for people: seconds of its clock.
pub(super) fn when(at: i64) -> String {
    format!("{} s", seconds(at))
}

/// Nanoseconds as seconds, as many decimals as they have.
pub(super) fn seconds(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
