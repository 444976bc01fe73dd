//! Each metric against figures computed by hand, and the streaming ones against the whole list of events.

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

/// Everything that a host's meters are told, kept.
#[derive(Default)]
struct Told {
    releases: Vec<(u32, u64)>,
    passive: Vec<(u32, u64, i64, u64)>,
    parents: Vec<(u32, u64, bool)>,
}

/// The metrics of a bucket from the whole lists: of one segment, or of the host.
fn naive(told: &Told, segment: Option<u32>, start: u64, seen: Option<CounterDeltas>) -> BucketMetrics {
    let end = start + LENGTH.0;
    let wanted = |of: u32, at: u64| segment.is_none_or(|segment| segment == of) && (start..end).contains(&at);
    let times: Vec<u64> = told
        .releases
        .iter()
        .filter(|(of, _)| segment.is_none_or(|own| own == *of))
        .map(|(_, at)| *at)
        .collect();
    let mut gaps: Vec<u64> =
        times.windows(2).filter(|two| (start..end).contains(&two[1])).map(|two| two[1] - two[0]).collect();
    gaps.sort_unstable();
    let at_rank = |percent: usize| gaps[(gaps.len() * percent).div_ceil(100) - 1];
    let quantiles = (!gaps.is_empty()).then(|| [at_rank(50), at_rank(95)]);
    let inside: Vec<u64> = times.into_iter().filter(|at| (start..end).contains(at)).collect();
    let mut counts = [0u128; 500];
    inside.iter().for_each(|at| counts[((at - start) / 10_000_000) as usize] += 1);
    let sum = inside.len() as u128;
    let squares: u128 = counts.iter().map(|count| count * count).sum();
    let ratios: Vec<i128> = told
        .passive
        .iter()
        .filter(|(of, at, _, queue)| wanted(*of, *at) && *queue > 0)
        .map(|(_, _, lost, queue)| i128::from(*lost) * 1_000_000 / i128::from(*queue))
        .collect();
    let unqueued = told.passive.iter().filter(|(of, at, _, queue)| wanted(*of, *at) && *queue == 0).count();
    let ended: Vec<bool> =
        told.parents.iter().filter(|(of, at, _)| wanted(*of, *at)).map(|(_, _, missed)| *missed).collect();
    let missed = ended.iter().filter(|missed| **missed).count() as u64;
    let seconds = 5;
    BucketMetrics {
        start: Nanos(start),
        length: LENGTH,
        counters: seen,
        rhf_ppm: seen.map(|seen| match seen.hint_faults {
            0 => 0,
            all => ((all - seen.hint_faults_local) * 1_000_000 / all) as u32,
        }),
        hint_fault_rate_milli_hz: seen.map(|seen| seen.hint_faults * 1_000 / seconds),
        mcr_kib_per_s: seen.map(|seen| seen.pages_migrated * 4 / seconds),
        interconnect_share_ppm: seen
            .map(|seen| ((seen.pages_migrated * 4 / seconds) as u128 * 1_024_000_000 / (1 << 30)) as u64),
        gaps: gaps.len() as u64,
        gap_q50: quantiles.map(|[median, _]| Span(median)),
        gap_q95: quantiles.map(|[_, tail]| Span(tail)),
        dcj_ppm: quantiles
            .filter(|[median, _]| gaps.len() >= 20 && *median >= 1_000)
            .map(|[median, tail]| ((tail - median) as u128 * 1_000_000 / median as u128) as u64),
        fano_ppm: (sum > 0).then(|| ((500 * squares - sum * sum) * 1_000_000 / (500 * sum)) as u64),
        releases: sum as u64,
        release_squares: squares,
        qdl_ppm: (!ratios.is_empty()).then(|| (ratios.iter().sum::<i128>() / ratios.len() as i128) as i64),
        qdl_sum_ppm: ratios.iter().sum(),
        passive_children: ratios.len() as u64,
        passive_unqueued: unqueued as u64,
        parents_ended: ended.len() as u64,
        deadlines_missed: missed,
        deadline_miss_ppm: (!ended.is_empty()).then(|| (missed * 1_000_000 / ended.len() as u64) as u32),
    }
}

/// What a meter is told in one bucket: events in order of time.
fn tell(meter: &mut HostMeter, told: &mut Told, draws: &mut numashock_engine::Stream) {
    let (start, segments) = (meter.start().0, 3);
    let mut times: Vec<u64> = (0..draws.below(150)).map(|_| start + draws.below(LENGTH.0)).collect();
    // Bursts, which a median may not be made of.
    times.extend((0..draws.below(80)).map(|at| start + at * draws.below(2_000)));
    times.sort_unstable();
    for at in times {
        let segment = draws.below(segments) as u32;
        meter.record_release(SegmentId(segment), Nanos(at));
        told.releases.push((segment, at));
        if draws.below(3) == 0 {
            let (lost, queue) = (draws.below(200) as i64 - 50, draws.below(90));
            meter.record_passive(SegmentId(segment), lost, queue);
            told.passive.push((segment, at, lost, queue));
        }
        if draws.below(9) == 0 {
            let missed = draws.below(2) == 0;
            meter.record_parent(SegmentId(segment), missed);
            told.parents.push((segment, at, missed));
        }
    }
}

#[test]
fn the_meters_of_a_host_equal_a_recomputation_from_everything_they_were_told() {
    let config = MeterConfig { length: LENGTH, page_bytes: 4_096, interconnect_bytes_per_s: 1 << 30 };
    for round in 0..40 {
        let mut draws = Seed(11).stream("host-meter", round);
        let mut meter = HostMeter::new(config, Nanos::ZERO, 3);
        let (mut told, mut closed) = (Told::default(), Vec::new());
        for _ in 0..6 {
            tell(&mut meter, &mut told, &mut draws);
            let faults = draws.below(1_000);
            let seen = (draws.below(5) > 0).then(|| counters(faults, faults / 3, draws.below(1 << 20)));
            closed.push((seen, meter.close(seen.as_ref())));
        }
        for (start, (seen, bucket)) in (0..).map(|number| number * LENGTH.0).zip(&closed) {
            assert_eq!(bucket.all, naive(&told, None, start, *seen));
            for (segment, metrics) in (0..).zip(&bucket.segments) {
                assert_eq!(*metrics, naive(&told, Some(segment), start, *seen), "segment {segment}");
            }
            assert_sums(bucket);
        }
        let cadences = closed.iter().filter(|(_, bucket)| bucket.all.dcj_ppm.is_some()).count();
        assert!(cadences > 0, "a twin that compares nothing");
    }
}

/// What is counted once on the host is counted once among its segments.
fn assert_sums(bucket: &HostBucket) {
    let sum = |of: fn(&BucketMetrics) -> i128| bucket.segments.iter().map(of).sum::<i128>();
    for of in [
        (|metrics| metrics.releases.into()) as fn(&BucketMetrics) -> i128,
        |metrics| metrics.passive_children.into(),
        |metrics| metrics.passive_unqueued.into(),
        |metrics| metrics.qdl_sum_ppm,
        |metrics| metrics.parents_ended.into(),
        |metrics| metrics.deadlines_missed.into(),
    ] {
        assert_eq!(sum(of), of(&bucket.all));
    }
}

#[test]
fn the_only_segment_is_the_host() {
    let config = MeterConfig { length: LENGTH, page_bytes: 4_096, interconnect_bytes_per_s: 0 };
    let mut draws = Seed(12).stream("host-meter", 0);
    let mut meter = HostMeter::new(config, Nanos(3), 1);
    for _ in 0..5 {
        let start = meter.start().0;
        let mut times: Vec<u64> = (0..draws.below(200)).map(|_| start + draws.below(LENGTH.0)).collect();
        times.sort_unstable();
        for at in times {
            meter.record_release(SegmentId(0), Nanos(at));
            meter.record_passive(SegmentId(0), draws.below(9) as i64, draws.below(9));
            meter.record_parent(SegmentId(0), draws.below(2) == 0);
        }
        let bucket = meter.close(Some(&counters(draws.below(9), 0, draws.below(9))));
        assert_eq!(bucket.segments, [bucket.all]);
    }
}

#[test]
fn a_segment_that_turns_up_late_begins_with_its_bucket() {
    let config = MeterConfig { length: LENGTH, page_bytes: 4_096, interconnect_bytes_per_s: 0 };
    let mut meter = HostMeter::new(config, Nanos::ZERO, 0);
    assert!(meter.close(None).segments.is_empty());
    meter.record_release(SegmentId(1), meter.start());
    let bucket = meter.close(None);
    assert_eq!((bucket.segments[0].start, bucket.segments[0].releases), (Nanos::ZERO + LENGTH, 0));
    assert_eq!((bucket.segments[1].start, bucket.segments[1].releases), (Nanos::ZERO + LENGTH, 1));
}
