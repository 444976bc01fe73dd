//! Counter files in every form, read back and refused.

use std::fmt::Write as _;

use numashock_engine::Seed;

use super::*;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

fn place(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).unwrap()
}

fn parsed(text: &str) -> Series {
    Series::parse("c", text).unwrap()
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Series::parse("c", text).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

/// Times in ms and faults as a CSV.
fn csv(rows: &[(i64, i64)]) -> String {
    let mut text = "time_ms,numa_hint_faults\n".to_owned();
    rows.iter().for_each(|(at, faults)| writeln!(text, "{at},{faults}").unwrap());
    text
}

fn faults(series: &Series, slack: Slack) -> Vec<(i64, Option<u64>)> {
    let buckets = series.buckets(SECOND, slack);
    buckets.iter().map(|bucket| (bucket.start / SECOND, bucket.of("numa_hint_faults"))).collect()
}

const SNAPSHOTS: &str = "1773739800.250000000\nnr_free_pages 7\nnuma_hit 100\nnuma_hint_faults 10\n\
    1773739801.25\nnr_free_pages 9\nnuma_hit 150\nnuma_hint_faults 30\n";

#[test]
fn every_form_gives_the_same_readings() {
    let first = 1_773_739_800 * SECOND + 250 * MS;
    let expected = |series: &Series| {
        let reading = |at: usize| series.readings()[at];
        assert_eq!([reading(0).at, reading(1).at], [first, first + SECOND]);
        assert_eq!(series.growth(0, 1, place("numa_hit")), Some(50));
        assert_eq!(series.growth(0, 1, place("numa_hint_faults")), Some(20));
        assert_eq!(series.growth(0, 1, place("numa_foreign")), None, "missing is not 0");
        assert_eq!((series.readings().len(), series.clock(), series.cut_short()), (2, Clock::Unix, 0));
    };
    expected(&parsed(SNAPSHOTS));
    let times = [
        ["2026-03-17T09:30:00.25Z", "2026-03-17T09:30:01,250000000+00:00"],
        ["2026-03-17T10:30:00.250+01:00", "2026-03-17T07:00:01.25-0230"],
        ["timestamp_ns 1773739800250000000", "timestamp_ns: 1773739801250000000"],
        ["1773739800250000000", "# 1773739801.25"],
        ["timestamp 1773739800.25", "time: 2026-03-17T09:30:01.25Z"],
        ["# desk\n---\n1773739800.25", "#\n=== \n1773739801.25"],
    ];
    for [one, two] in times {
        let text = SNAPSHOTS.replace("1773739800.250000000", one).replace("1773739801.25", two);
        expected(&parsed(&text));
        expected(&parsed(&text.replace('\n', "\r\n")));
        expected(&parsed(&text.replace("hit ", "hit\t")));
    }
    let rows =
        "time_ns,numa_hit,numa_hint_faults,x\n1773739800250000000,100,10,\n1773739801250000000,150,30,\n";
    expected(&parsed(rows));
    let shifted = rows.replace("1773739800250000000", "0.000").replace("1773739801250000000", "1000.0");
    let own = parsed(&shifted.replace("time_ns", "time_ms"));
    assert_eq!(own.clock(), Clock::Own);
    expected(&own.moved(first));
}

#[test]
fn seconds_of_a_host_hold_growth_and_not_levels() {
    let series = parsed("second,numa_hint_faults,passes\n1,5,1\n2,7,1\n3,0,1\n");
    assert_eq!(faults(&series, Slack::DEFAULT), [(0, Some(5)), (1, Some(7)), (2, Some(0))]);
    refused(
        "second,numa_hint_faults\n1,5\n3,7\n",
        "c:3: column second: does not begin where the row before ends",
    );
}

#[test]
fn a_bucket_takes_the_growth_between_the_readings_nearest_to_its_ends() {
    let rows = [(-5, 0), (900, 10), (1_000, 12), (1_090, 15), (1_950, 20), (2_049, 29), (3_100, 40)];
    let expected = [(0, Some(12)), (1, Some(17)), (2, Some(11))];
    assert_eq!(faults(&parsed(&csv(&rows)), Slack::DEFAULT), expected);
}

#[test]
fn a_bucket_without_a_reading_near_both_ends_is_missing() {
    let series = parsed(&csv(&[(0, 0), (1_000, 1), (2_101, 5), (3_000, 9), (4_000, 10)]));
    assert_eq!(faults(&series, Slack::DEFAULT), [(0, Some(1)), (1, None), (2, None), (3, Some(1))]);
    assert_eq!(faults(&series, Slack(200_000))[1..3], [(1, Some(4)), (2, Some(4))]);
    let five = series.buckets(2 * SECOND, Slack::DEFAULT);
    assert_eq!(
        five.iter().map(|bucket| bucket.of("numa_hint_faults")).collect::<Vec<_>>(),
        [Some(5), Some(5)]
    );
}

#[test]
fn buckets_begin_at_whole_multiples_of_their_length_on_any_clock() {
    let rows = [(700, 0), (1_700, 4), (2_700, 5)];
    assert_eq!(faults(&parsed(&csv(&rows)), Slack::MOST), [(1, Some(4)), (2, Some(1))]);
    let unix = parsed(SNAPSHOTS).moved(-250 * MS);
    let starts: Vec<i64> = unix.buckets(SECOND, Slack::DEFAULT).iter().map(|bucket| bucket.start).collect();
    assert_eq!(starts, [1_773_739_800 * SECOND]);
    let before = parsed(&csv(&[(-2_000, 0), (-1_000, 4), (0, 5)]));
    assert_eq!(faults(&before, Slack::DEFAULT), [(-2, Some(4)), (-1, Some(1))]);
}

/// Buckets of any length over any readings, against the sum over every row on its own.
#[test]
fn growth_is_neither_lost_nor_counted_twice() {
    let mut draws = Seed(9).stream("counters-test", 0);
    for _ in 0..200 {
        let (mut at, mut count) = (draws.below(500) as i64, 0);
        let rows: Vec<(i64, i64)> = (0..60)
            .map(|_| {
                at += 1 + draws.below(180) as i64;
                count += draws.below(9) as i64;
                (at, count)
            })
            .collect();
        let series = parsed(&csv(&rows));
        for length in [SECOND, 2 * SECOND] {
            let buckets = series.buckets(length, Slack::DEFAULT);
            let known: u64 = buckets.iter().filter_map(|bucket| bucket.of("numa_hint_faults")).sum();
            let mut expected = 0;
            for bucket in buckets.iter().filter(|bucket| bucket.readings.is_some()) {
                let [from, until] = bucket.readings.unwrap();
                let inside = |pair: &&[(i64, i64)]| pair[0].0 * MS >= from && pair[1].0 * MS <= until;
                expected += rows.windows(2).filter(inside).map(|pair| pair[1].1 - pair[0].1).sum::<i64>();
            }
            assert_eq!(known, expected as u64);
            let joined = buckets.windows(2).all(|pair| match (pair[0].readings, pair[1].readings) {
                (Some([_, end]), Some([begin, _])) => end == begin,
                _ => true,
            });
            assert!(joined, "{rows:?}");
        }
    }
}

#[test]
fn a_counter_that_falls_is_found_and_its_bucket_is_missing() {
    let rows = [(0, 50), (1_000, 60), (1_500, 3), (2_000, 9), (3_000, 10)];
    let series = parsed(&csv(&rows));
    let fall = Fall { reading: 2, counter: place("numa_hint_faults"), before: 60, now: 3 };
    assert_eq!(series.falls(), [fall]);
    assert_eq!(faults(&series, Slack::DEFAULT), [(0, Some(10)), (1, None), (2, Some(1))]);
    // `record` counts from its first row, so that a fall can go below zero.
    let recorded = parsed(&csv(&[(0, 0), (1_000, -4), (2_000, 1)]));
    assert_eq!(recorded.falls().len(), 1);
    assert_eq!(faults(&recorded, Slack::DEFAULT), [(0, None), (1, Some(5))]);
}

#[test]
fn gaps_are_found_with_their_ends() {
    let series = parsed(&csv(&[(0, 0), (100, 0), (200, 0), (5_300, 1), (5_400, 1)]));
    assert_eq!(series.gaps(SECOND), [Gap { from: 200 * MS, until: 5_300 * MS }]);
    assert_eq!(series.gaps(5_100 * MS), []);
    let valueless = parsed("time_ns,numa_hit\n-3000000000,\n0,1\n1000000000,2\n9000000000,\n");
    let ends = [Gap { from: -3 * SECOND, until: 0 }, Gap { from: SECOND, until: 9 * SECOND }];
    assert_eq!(valueless.gaps(2 * SECOND), ends, "what nobody read at either end is a gap");
    assert_eq!(series.spacing(), 100 * MS);
}

#[test]
fn spans_of_growth_know_where_nobody_could_read() {
    let grown = |index: i64, seen, faults| {
        let mut counters = [None; NAMES.len()];
        counters[place("numa_hint_faults")] = Some(faults);
        Grown { from: index * SECOND, until: (index + 1) * SECOND, line: 1, seen, counters }
    };
    let spans = [grown(0, true, 1), grown(1, false, 2), grown(2, false, 3), grown(3, true, 4)];
    let series = Series::from_growth("c", &spans).unwrap();
    assert_eq!(faults(&series, Slack::DEFAULT), [(0, Some(1)), (1, None), (2, None), (3, Some(4))]);
    assert_eq!(series.buckets(4 * SECOND, Slack::DEFAULT)[0].of("numa_hint_faults"), Some(10));
    assert_eq!(series.gaps(SECOND), [Gap { from: SECOND, until: 3 * SECOND }]);
    let error = Series::from_growth("c", &[spans[0], spans[2]]).unwrap_err();
    assert_eq!(error.problem, RecordingProblem::RowsApart);
    assert!(Series::from_growth("c", &[]).is_err());
}

#[test]
fn a_snapshot_that_was_cut_short_is_left_out() {
    for cut in ["1773739802.25\nnuma_hit 190", "1773739802.25\nnuma_hit 190\n", "1773739802.25", "17737398"] {
        let series = parsed(&format!("{SNAPSHOTS}{cut}"));
        assert_eq!(series.readings().len(), 2, "{cut}");
        assert_eq!(series.cut_short(), usize::from(cut.contains('\n')), "{cut}");
    }
    let kept =
        parsed(&format!("{SNAPSHOTS}1773739802.25\nnuma_hit 190\nnuma_hint_faults 31\nnr_free_pages 1"));
    assert_eq!(kept.readings().len(), 3);
}

#[test]
fn snapshots_that_cannot_be_read_are_refused_with_their_line() {
    let with = |from: &str, to: &str| SNAPSHOTS.replacen(from, to, 1);
    refused(&with("1773739801.25\n", ""), "c:6: column numa_hit: twice in one snapshot");
    refused(&with("1773739800.250000000\n", ""), "c:2: column numa_hit: a counter before the first time");
    refused(&with("1773739801.25", "1773739800.25"), "c:5: not later than the row before");
    refused(&with("numa_hit 100", "numa_hit -1"), "c:3: column numa_hit: found `-1`");
    refused(&with("nr_free_pages 7", "cat: /proc/vmstat: denied"), "c:2: found `cat: /proc/vmstat: denied`");
    refused(&with("nr_free_pages 7", "2026-13-17T09:30:00Z"), "c:2: found `2026-13-17T09:30:00Z`");
    for wrong in ["timestamp_ns 6000000000000000000", "timestamp x", "time 6000000000.0", "time_ns -6e9"] {
        refused(&with("1773739800.250000000", wrong), &format!("c:1: found `{wrong}`"));
    }
    refused(SNAPSHOTS.split_at(62).0, "c:1: expected two rows or more");
    refused("1\nnr_free_pages 7\n2\nnr_free_pages 7\n", "c:1: no counter of NUMA balancing");
    refused("nr_free_pages 7\n", "c:1: nothing says when the counters were read");
    refused("numa_hint_faults,x\n1,2\n", "c:1: nothing says when the counters were read");
    refused("time_ms,x\n1,2\n", "c:1: no counter of NUMA balancing");
    refused("time_ms,numa_hit\n1,2\n2,x\n", "c:3: column numa_hit: found `x`");
    refused("", "c:1: the file is empty");
}

#[test]
fn dates_are_counted_by_the_calendar() {
    let seconds = |text: &str| vmstat::rfc_3339(text).map(|nanos| nanos / SECOND);
    assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
    assert_eq!(seconds("2024-03-01T00:00:00Z"), Some(1_709_251_200));
    assert_eq!(seconds("2026-11-23T22:08:37+00:00"), Some(1_795_471_717));
    assert_eq!(seconds("2024-02-29T14:00:00+14:00"), Some(1_709_164_800));
    for wrong in ["2026-02-31", "2026-02-29", "2026-04-31", "2026-01-32", "2026-01-00", "1900-02-29"] {
        assert_eq!(seconds(&format!("{wrong}T00:00:00Z")), None, "{wrong}");
    }
    for zone in ["+9999", "+1500", "-0260", "+1:00"] {
        assert_eq!(seconds(&format!("2026-01-01T00:00:00{zone}")), None, "{zone}");
    }
    for wrong in ["2026-11-23", "2026-11-23T22:08:37", "2026-11-23T24:00:00Z", "1-2-3T4:5:6Zx", "T", ""] {
        assert_eq!(seconds(wrong), None, "{wrong}");
    }
}
