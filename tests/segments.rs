//! The desk metrics of every bucket and segment of a run, against a recomputation from the run's whole list of events.

use std::sync::atomic::AtomicU64;

use numashock_accounting::Mechanisms;
use numashock_engine::Nanos;
use numashock_experiment::results::SweepResults;
use numashock_experiment::sweep::{SweepOptions, simulation, sweep};
use numashock_sim::metrics::{BucketMetrics, SegmentId};
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::{Bucket, DeskWhat, HostResult, PAGE_BYTES, RunResult};

use crate::scenario_file;

fn scenario(name: &str, from: &str, to: &str) -> Scenario {
    let text = std::fs::read_to_string(scenario_file(name)).unwrap();
    assert!(text.contains(from), "{from}");
    Scenario::parse(&scenario_file(name), &text.replace(from, to), &[]).unwrap()
}

fn config(name: &str, from: &str, to: &str) -> RunConfig {
    scenario(name, from, to).choices(1_000_000).unwrap().remove(0).config
}

/// The real run with everything its hosts' desks could export.
fn told(config: &RunConfig) -> RunResult {
    let mut run = simulation(config, 0, Mechanisms::REAL, true);
    run.keep_telemetry();
    run.run()
}

/// What a segment, or the whole host, was told: times of releases, ratios of passive children, ends of parents.
#[derive(Default)]
struct Events {
    releases: Vec<u64>,
    passive: Vec<(u64, i64, u64)>,
    ended: Vec<(u64, bool)>,
}

fn events(result: &HostResult, wanted: Option<SegmentId>) -> Events {
    let mut events = Events::default();
    let is_wanted = |of: SegmentId| wanted.is_none_or(|wanted| wanted == of);
    for event in &result.telemetry {
        match event.what {
            DeskWhat::Send { segment, .. } if is_wanted(segment) => events.releases.push(event.at.0),
            DeskWhat::Ack { segment, lost, on_time, .. } if is_wanted(segment) => {
                events.passive.push((event.at.0, lost, on_time));
            }
            DeskWhat::ParentEnd { segment, missed, .. } if is_wanted(segment) => {
                events.ended.push((event.at.0, missed));
            }
            _ => {}
        }
    }
    events
}

/// Checks a bucket's metrics against those of the list.
fn check(events: &Events, bucket: &Bucket, found: &BucketMetrics) {
    let (start, end) = (found.start.0, (found.start + found.length).0);
    let inside = |at: u64| (start..end).contains(&at);
    let times: Vec<u64> = events.releases.iter().copied().filter(|at| inside(*at)).collect();
    let mut counts = vec![0u128; (found.length.0 / 10_000_000) as usize];
    times.iter().for_each(|at| counts[((at - start) / 10_000_000) as usize] += 1);
    let (windows, sum) = (counts.len() as u128, times.len() as u128);
    let squares: u128 = counts.iter().map(|count| count * count).sum();
    let fano = (sum > 0).then(|| ((windows * squares - sum * sum) * 1_000_000 / (windows * sum)) as u64);
    assert_eq!((found.releases, found.release_squares, found.fano_ppm), (sum as u64, squares, fano));

    let pairs = events.releases.windows(2).filter(|two| inside(two[1]));
    let mut gaps: Vec<u64> = pairs.map(|two| two[1] - two[0]).collect();
    gaps.sort_unstable();
    assert_eq!(found.gaps, gaps.len() as u64);
    let rank = |percent: usize| gaps[(gaps.len() * percent).div_ceil(100) - 1];
    let has_cadence = found.length.0 == 5_000_000_000 && gaps.len() >= 20 && rank(50) >= 1_000;
    let jitter = has_cadence.then(|| (rank(95) - rank(50)) * 1_000_000 / rank(50));
    assert_eq!(found.dcj_ppm, jitter);

    let passive = || events.passive.iter().filter(|(at, ..)| inside(*at));
    let ratios: Vec<i128> = passive()
        .filter(|(.., queue)| *queue > 0)
        .map(|(_, lost, queue)| i128::from(*lost) * 1_000_000 / i128::from(*queue))
        .collect();
    let mean = (!ratios.is_empty()).then(|| (ratios.iter().sum::<i128>() / ratios.len() as i128) as i64);
    assert_eq!((found.qdl_ppm, found.passive_children), (mean, ratios.len() as u64));
    assert_eq!(found.passive_unqueued, (passive().count() - ratios.len()) as u64);

    let ended: Vec<bool> =
        events.ended.iter().filter(|(at, _)| inside(*at)).map(|(_, missed)| *missed).collect();
    let missed = ended.iter().filter(|missed| **missed).count() as u64;
    assert_eq!((found.parents_ended, found.deadlines_missed), (ended.len() as u64, missed));

    // No gap of the telemetry here: what the desk sees is what the counters grew by.
    let grown = &bucket.counters;
    let remote = grown.numa_hint_faults - grown.numa_hint_faults_local;
    let ratio = (remote * 1_000_000).checked_div(grown.numa_hint_faults).unwrap_or(0);
    assert_eq!(found.rhf_ppm.map(u64::from), Some(ratio));
    let rate = grown.numa_pages_migrated * PAGE_BYTES / 1_024 * 1_000_000_000 / found.length.0;
    assert_eq!(found.mcr_kib_per_s, Some(rate));
    assert_eq!(
        found.hint_fault_rate_milli_hz,
        Some(grown.numa_hint_faults * 1_000 * 1_000_000_000 / found.length.0)
    );
}

#[test]
fn every_bucket_of_every_segment_is_what_its_events_say() {
    let config = config("desk.toml", "duration = \"5s\"", "duration = \"9s\"");
    let run = told(&config);
    let mut segments = 0;
    for result in &run.hosts {
        let whole = events(result, None);
        let buckets = || result.seconds.iter().chain(&result.fives);
        assert_eq!((result.seconds.len(), result.fives.len()), (10, 2));
        buckets().for_each(|bucket| check(&whole, bucket, &bucket.metrics));
        let own = result.seconds[0].segments.len();
        for number in 0..own {
            let id = SegmentId(u32::try_from(number).unwrap());
            let events = events(result, Some(id));
            assert!(!events.releases.is_empty() && !events.passive.is_empty(), "segment {number}");
            buckets().for_each(|bucket| check(&events, bucket, &bucket.segments[number]));
        }
        for bucket in buckets() {
            let sum = |of: fn(&BucketMetrics) -> u64| bucket.segments.iter().map(of).sum::<u64>();
            for of in [
                (|one| one.releases) as fn(&BucketMetrics) -> u64,
                |one| one.passive_children,
                |one| one.passive_unqueued,
                |one| one.parents_ended,
                |one| one.deadlines_missed,
            ] {
                assert_eq!(sum(of), of(&bucket.metrics));
            }
        }
        segments += own;
    }
    assert_eq!(segments, 4, "two strategies, each in deep and thin symbols");
    let jitters = run.hosts.iter().flat_map(|host| &host.fives).flat_map(|bucket| &bucket.segments);
    assert!(jitters.filter(|one| one.dcj_ppm.is_some()).count() > 1, "a segment has a cadence");
    let releases = run.parents.iter().map(|parent| u64::from(parent.releases)).sum::<u64>();
    let seconds = run.hosts.iter().flat_map(|host| &host.seconds);
    assert_eq!(seconds.map(|bucket| bucket.metrics.releases).sum::<u64>(), releases);
}

#[test]
fn the_only_segment_of_a_host_is_the_host() {
    let run = told(&config("migrations.toml", "", ""));
    let [host] = &run.hosts[..] else { panic!("one host") };
    for bucket in host.seconds.iter().chain(&host.fives) {
        assert_eq!(bucket.segments, [bucket.metrics]);
    }
    assert!(host.seconds.iter().any(|bucket| bucket.metrics.releases > 0));
}

fn swept() -> SweepResults {
    let scenario = scenario("desk.toml", "seeds = 3", "seeds = 2");
    let done = AtomicU64::new(0);
    let options =
        SweepOptions { scenario: "desk", jobs: 1, done: &done, attribution: false, children: false };
    sweep(&scenario.choices(1_000_000).unwrap(), options)
}

/// The phase of a bucket is the one in which it begins, that of a parent the one in which it arrives.
#[test]
fn rows_have_the_segment_of_their_host_and_phase() {
    let results = swept();
    let config = config("desk.toml", "", "");
    let phase = |at: u64| config.phases.list()[config.phases.at(Nanos(at))].name.clone();
    for row in &results.metrics {
        assert_eq!(results.segments[row.segment as usize].session_phase, phase(row.bucket_start_ns));
        assert_eq!(row.measured, row.bucket_start_ns >= config.warmup.0);
    }
    for row in &results.parents {
        assert_eq!(results.segments[row.segment as usize].session_phase, phase(row.arrival_ns));
    }
    // A row per bucket and segment of the host: two of each of two hosts.
    assert_eq!(results.metrics.len(), results.buckets.len() * 2);
    let name = |row: u32| &results.segments[row as usize].host;
    for bucket in &results.buckets {
        let host = &results.hosts[bucket.host as usize];
        let own = results.metrics.iter().filter(|row| {
            (row.seed, row.bucket_start_ns, row.bucket_length_ns)
                == (bucket.seed, bucket.bucket_start_ns, bucket.bucket_length_ns)
                && name(row.segment) == host
        });
        let rows: Vec<_> = own.collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.iter().map(|row| row.releases).sum::<u64>(), u64::from(bucket.releases));
        for row in rows {
            assert_eq!(row.numa_hint_faults, Some(bucket.counters.numa_hint_faults));
            assert_eq!(row.rhf_ppm.map(u64::cast_signed), bucket.rhf_ppm);
        }
    }
}

/// The figures of the summary are those of the measured window, added up from its rows.
#[test]
fn the_summary_adds_up_the_rows_of_the_measured_window() {
    let results = swept();
    let choice = &results.summary.choices[0];
    let second = |length: u64| length == 1_000_000_000;
    let of_choice = |row: &&numashock_experiment::results::BucketRow| {
        row.choice == 0 && row.measured && second(row.bucket_length_ns)
    };
    let buckets: Vec<_> = results.buckets.iter().filter(of_choice).collect();
    assert!(results.buckets.iter().any(|row| !row.measured && row.counters.numa_pte_updates == 0));
    let faults: u64 = buckets.iter().map(|row| row.counters.numa_hint_faults).sum();
    let local: u64 = buckets.iter().map(|row| row.counters.numa_hint_faults_local).sum();
    let pages: u64 = buckets.iter().map(|row| row.counters.numa_pages_migrated).sum();
    assert!(pages > 0 && faults > local);
    assert_eq!(choice.metrics.rhf, Some((faults - local) as f64 / faults as f64));
    assert_eq!(choice.metrics.rhf_rate, Some(faults as f64 / buckets.len() as f64));
    assert_eq!(choice.metrics.mcr, Some(pages as f64 / 256.0 / buckets.len() as f64));
    let rows =
        results.metrics.iter().filter(|row| row.choice == 0 && row.measured && second(row.bucket_length_ns));
    let (sum, children) =
        rows.fold((0, 0), |(sum, children), row| (sum + row.qdl_sum_ppm, children + row.passive_children));
    assert!(children > 0);
    assert_eq!(choice.metrics.qdl, Some(sum as f64 / children as f64 / 1e6));
    assert_eq!(choice.segments.iter().map(|of| of.parents).sum::<u64>(), choice.parents);
    assert!(choice.segments.iter().all(|of| of.metrics.rhf.is_some()), "each has seconds of its own phase");
}
