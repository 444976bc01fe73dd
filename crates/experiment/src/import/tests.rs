//! Imports of made-up telemetry, from its files to its buckets.

use std::fmt::Write as _;

use numashock_engine::Seed;

use super::*;

const MS: i64 = 1_000_000;

const OPTIONS: Options = Options {
    slack: Slack::DEFAULT,
    offset_ns: 0,
    max_offset_ns: 100 * MS,
    max_gap_ns: 60 * SECOND,
    max_falls: 0,
    page_bytes: 4_096,
    interconnect_bytes_per_s: 0,
    queue_rate_milli: None,
    exposure: ExposureThresholds { rhf_ppm: 200_000, mcr_kib_per_s: 1_024 },
};

/// Counters each 100 ms from 0 to `until` ms: so many faults, all remote, all migrated, in each row.
fn counters(until: i64, faults: impl Fn(i64) -> u64) -> HostCounters {
    let mut text =
        "time_ms,numa_pte_updates,numa_hint_faults,numa_hint_faults_local,numa_pages_migrated\n0,0,0,0,0\n"
            .to_owned();
    let mut sum = 0;
    for at in (1..=until / 100).map(|row| row * 100) {
        sum += faults(at);
        writeln!(text, "{at},0,{sum},0,{sum}").unwrap();
    }
    HostCounters { name: String::new(), series: Series::parse("c", &text).unwrap(), knobs: BTreeMap::new() }
}

fn telemetry(text: &str) -> Telemetry {
    Telemetry::parse("t", text).unwrap()
}

fn joined(counters: HostCounters, text: &str, options: &Options) -> Result<HostImport, String> {
    import(vec![counters], Some(&telemetry(text)), options)
        .map(|mut hosts| hosts.remove(0))
        .map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Telemetry::parse("t", text).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

/// Sends each 100 ms, late by what `late` says, with heartbeats that give this offset if any.
fn sends(until: i64, offset: Option<i64>, late: impl Fn(i64) -> i64) -> String {
    let mut text = "time_ns,event,latency_ns,host_time_ns\n".to_owned();
    for at in (0..until / 100).map(|row| row * 100 * MS) {
        if let Some(offset) = offset {
            writeln!(text, "{at},heartbeat,,{}", at + offset).unwrap();
        }
        writeln!(text, "{},decision,{},\n{},send,,", at + 50 * MS, late(at / MS), at + 50 * MS).unwrap();
    }
    text
}

#[test]
fn cadence_and_queue_decay_are_those_of_a_calculation_by_hand() {
    let mut text = "time_ns,event,lost_lots,on_time_lots,deadline_missed,strategy\n".to_owned();
    // 25 sends: 24 gaps of 100 ms and one of 400 ms. q50 is 100 ms; q95, the 23rd of 24, is 100 ms: no jitter.
    let mut times: Vec<i64> =
        (0..25).map(|index| index * 100 * MS + i64::from(index > 20) * 300 * MS).collect();
    times.extend([3_000 * MS, 3_500 * MS]);
    for at in times {
        writeln!(text, "{at},send,,,,a").unwrap();
    }
    text += "4000000000,ack,3,12,,a\n4000000000,ack,0,4,,a\n4100000000,ack,1,0,,a\n4500000000,parent,,,1,a\n\
             5000000000,parent,,,0,a\n";
    let host = joined(counters(5_000, |_| 2), &text, &OPTIONS).unwrap();
    let five = &host.fives[0];
    // 26 gaps: 23 of 100 ms, 300, 400 and 500 ms. Rank ⌈0.95 × 26⌉ = 25 is 400 ms, so DCJ is 300 %.
    assert_eq!((five.metrics.gaps, five.metrics.dcj_ppm), (26, Some(3_000_000)));
    // Two with a queue: 25 % and 0.
    assert_eq!((five.metrics.qdl_ppm, five.metrics.passive_children), (Some(125_000), 2));
    assert_eq!((five.metrics.passive_unqueued, five.metrics.deadline_miss_ppm), (1, Some(1_000_000)));
    assert_eq!((five.metrics.rhf_ppm, five.metrics.mcr_kib_per_s), (Some(1_000_000), Some(80)));
    assert!(!five.qdl_is_estimate);
    assert_eq!(host.segments, [["a".to_owned(), String::new()]]);
    assert_eq!(five.segments[0].dcj_ppm, five.metrics.dcj_ppm);
    // What stands at the end of the last bucket belongs to none.
    assert_eq!(host.rows, [32, 1]);
    assert_eq!(host.observations[4].dcj_ppm, Some(3_000_000));
}

#[test]
fn queue_decay_of_a_real_desk_is_an_estimate_by_rate_and_delay() {
    let text = "time_ns,event,ahead_lots,delay_ns,queue_rate_lots_per_s\n0,send,,,\n500000000,ack,10,20000000,100\n\
                600000000,ack,10,0,100\n1500000000,ack,10,20000000,\n2600000000,ack,1,9000000000,100\n3000000000,send,,,\n";
    let host = joined(counters(3_000, |_| 0), text, &OPTIONS).unwrap();
    let seen = |index: usize| (host.seconds[index].metrics.qdl_ppm, host.seconds[index].qdl_is_estimate);
    // 100 lots/s × 20 ms = 2 lots joined of the 10 ahead: 2/8; the other was not late: 0.
    assert_eq!(seen(0), (Some(125_000), true));
    assert_eq!(seen(1), (None, false), "without a rate there is no estimate");
    // More than are ahead cannot have joined, and none would have stood there: no ratio.
    assert_eq!(seen(2), (None, true));
    assert!(host.notes.iter().any(|note| note.contains("estimate")), "{:?}", host.notes);
    let rate = Options { queue_rate_milli: milli("50"), ..OPTIONS };
    let host = joined(counters(3_000, |_| 0), text, &rate).unwrap();
    assert_eq!(host.seconds[1].metrics.qdl_ppm, Some(111_111), "1 of 10, so 1/9");
}

#[test]
fn heartbeats_tell_the_offset_and_it_is_added() {
    let text = sends(5_000, Some(60 * MS), |_| 1);
    let host = joined(counters(6_000, |_| 1), &text, &OPTIONS).unwrap();
    let offset = host.offset.unwrap();
    assert_eq!((offset.ns, offset.known), (60 * MS, Known::Heartbeats { count: 50, spread_ns: 0 }));
    // The send of 950 ms is at 1 010 ms by the counters' clock.
    assert_eq!(host.seconds[0].metrics.releases, 9);
    let far = sends(5_000, Some(37 * SECOND), |_| 1);
    let error = joined(counters(60_000, |_| 1), &far, &OPTIONS).unwrap_err();
    assert!(
        error.contains("is 37 s from the counters' clock") && error.contains("--offset=37000000000ns"),
        "{error}"
    );
    let told = Options { offset_ns: 37 * SECOND, ..OPTIONS };
    let host = joined(counters(60_000, |_| 1), &far, &told).unwrap();
    assert_eq!((host.offset.unwrap().ns, host.seconds[37].metrics.releases), (0, 10));
    let mut drifts = sends(5_000, Some(0), |_| 1);
    drifts += "5000000000,heartbeat,,5200000000\n";
    let error = joined(counters(6_000, |_| 1), &drifts, &OPTIONS).unwrap_err();
    assert!(error.contains("drift or jump by 0.2 s"), "{error}");
}

#[test]
fn bursts_show_an_offset_that_is_refused_past_the_limit_and_never_added() {
    let mut draws = Seed(4).stream("import-test", 0);
    let busy: Vec<bool> = (0..400).map(|_| draws.below(6) == 0).collect();
    let faults = |at: i64| if busy[(at / 100 - 1) as usize] { 500 } else { 0 };
    let slow = |shift: i64| {
        let busy = busy.clone();
        move |at: i64| {
            let row = at / 100 + shift;
            let busy = usize::try_from(row).ok().and_then(|row| busy.get(row)).is_some_and(|busy| *busy);
            if busy { 5_000_000 } else { 2_000 }
        }
    };
    let host = joined(counters(40_000, faults), &sends(40_000, None, slow(0)), &OPTIONS).unwrap();
    let Offset { ns: 0, known: Known::Bursts { correlation, .. } } = host.offset.unwrap() else {
        panic!("{:?}", host.offset)
    };
    assert!(correlation > 0.95, "{correlation}");
    let error = joined(counters(40_000, faults), &sends(40_000, None, slow(7)), &OPTIONS).unwrap_err();
    assert!(error.contains("is 0.7 s from") && error.contains("an estimate"), "{error}");
    let told = Options { offset_ns: 700 * MS, ..OPTIONS };
    assert_eq!(
        joined(counters(40_000, faults), &sends(40_000, None, slow(7)), &told).unwrap().offset.unwrap().ns,
        0
    );
    let allowed = Options { max_offset_ns: SECOND, ..OPTIONS };
    let host = joined(counters(40_000, faults), &sends(40_000, None, slow(7)), &allowed).unwrap();
    assert_eq!(host.offset.unwrap().ns, 700 * MS);
    assert_eq!(host.seconds[0].metrics.releases, 10, "an estimate is not added");
    // What has nothing to do with the faults shows nothing.
    let host = joined(counters(40_000, faults), &sends(40_000, None, |_| 1_000), &OPTIONS).unwrap();
    assert_eq!(host.offset.unwrap(), Offset { ns: 0, known: Known::Assumed });
}

#[test]
fn bins_that_are_few_or_wide_show_no_offset_and_all_lags_are_looked_at() {
    let mut draws = Seed(4).stream("import-test", 0);
    let busy: Vec<bool> = (0..400).map(|_| draws.below(3) == 0).collect();
    let at = |bin: i64| usize::try_from(bin).is_ok_and(|bin| busy.get(bin).is_some_and(|busy| *busy));
    // Bins of `width` ms, and slow decisions `shift` bins early.
    let tried = |width: i64, bins: i64, shift: i64| {
        let mut series =
            "time_ms,numa_hint_faults,numa_hint_faults_local,numa_pages_migrated\n0,0,0,0\n".to_owned();
        let (mut text, mut sum) = ("time_ns,event,latency_ns\n".to_owned(), 0);
        for bin in 0..bins {
            sum += if at(bin) { 500 } else { 0 };
            writeln!(series, "{},{sum},0,{sum}", (bin + 1) * width).unwrap();
            let latency = if at(bin + shift) { 5_000_000 } else { 2_000 };
            writeln!(text, "{},decision,{latency}", (bin * width + width / 2) * MS).unwrap();
        }
        let counters = HostCounters { series: Series::parse("c", &series).unwrap(), ..counters(100, |_| 0) };
        joined(counters, &text, &OPTIONS)
    };
    let assumed = Offset { ns: 0, known: Known::Assumed };
    assert_eq!(tried(1_000, 60, 5).unwrap().offset, Some(assumed), "60 bins cannot tell");
    let offset = tried(1_000, 400, 1).unwrap().offset.unwrap();
    assert!(offset.ns == 0 && matches!(offset.known, Known::Bursts { .. }), "{offset:?}");
    let error = tried(100, 400, 100).unwrap_err();
    assert!(error.contains("is 10 s from") && !error.contains("--offset="), "{error}");
}

#[test]
fn metrics_need_no_counters_but_their_own() {
    let of = |header: &str, row: &str| {
        let text =
            format!("time_ms,{header}\n0,{}\n1000,{row}\n", row.replace(|c: char| c.is_ascii_digit(), "0"));
        let host = HostCounters { series: Series::parse("c", &text).unwrap(), ..counters(100, |_| 0) };
        let host = import(vec![host], None, &OPTIONS).unwrap().remove(0);
        let metrics = host.seconds[0].metrics;
        let known = (metrics.rhf_ppm, metrics.hint_fault_rate_milli_hz, metrics.mcr_kib_per_s);
        (known, host.notes, host.observations[0].telemetry)
    };
    let (known, notes, fresh) = of("numa_hint_faults,numa_hint_faults_local,numa_pages_migrated", "8,6,5");
    assert_eq!(known, (Some(250_000), Some(8_000), Some(20)));
    assert_eq!(
        (notes, fresh),
        (
            vec!["numa_pte_updates is not among the counters: no metric needs it".to_owned()],
            numashock_controller::Telemetry::Fresh
        )
    );
    let (known, notes, _) = of("numa_pte_updates,numa_hint_faults,numa_pages_migrated", "9,8,5");
    assert_eq!(known, (None, Some(8_000), Some(20)));
    assert_eq!(notes, ["numa_hint_faults_local is not among the counters: RHF is missing"]);
    assert_eq!(of("numa_pages_migrated", "5").0, (None, None, Some(20)));
}

#[test]
fn a_bucket_has_the_phase_of_its_first_row() {
    let text = "time_ns,event,session_phase\n100000000,send,open\n1900000000,send,open\n2100000000,send,core\n\
                3500000000,send,core\n3600000000,send,close\n";
    let host = joined(counters(4_000, |_| 0), text, &OPTIONS).unwrap();
    let phases: Vec<&str> = host.seconds.iter().map(|bucket| bucket.phase.as_str()).collect();
    assert_eq!(phases, ["open", "open", "core", "core"]);
}

#[test]
fn gaps_are_reported_with_their_times_and_refused_past_a_limit() {
    let text = "time_ns,event\n0,send\n1000000000,send\n9000000000,send\n10000000000,send\n";
    let host = joined(counters(10_000, |_| 0), text, &OPTIONS).unwrap();
    assert_eq!(host.telemetry_gaps, [Gap { from: SECOND, until: 9 * SECOND }]);
    let strict = Options { max_gap_ns: 5 * SECOND, ..OPTIONS };
    let error = joined(counters(10_000, |_| 0), text, &strict).unwrap_err();
    assert!(error.starts_with("t: nothing between 1 s and 9 s, 8 s; more than --max-gap 5 s"), "{error}");
    let holed = HostCounters {
        series: Series::parse("c", "time_ms,numa_hit\n0,1\n1000,2\n9000,3\n10000,3\n").unwrap(),
        ..counters(100, |_| 0)
    };
    let error = import(vec![holed.clone()], None, &strict).unwrap_err().to_string();
    assert!(error.starts_with("c: nothing between 1 s and 9 s"), "{error}");
    let host = import(vec![holed], None, &OPTIONS).unwrap().remove(0);
    assert_eq!(host.counter_gaps, [Gap { from: SECOND, until: 9 * SECOND }]);
    assert_eq!(host.seconds.iter().filter(|bucket| bucket.grown.iter().any(Option::is_some)).count(), 2);
}

#[test]
fn what_one_file_has_beyond_the_other_is_a_gap_too() {
    let strict = |seconds| Options { max_gap_ns: seconds * SECOND, ..OPTIONS };
    // Telemetry of 60 s and counters of 40; telemetry of 5 s in counters of 40.
    let long = sends(60_000, None, |_| 1);
    let host = joined(counters(40_000, |_| 0), &long, &OPTIONS).unwrap();
    assert_eq!(host.counter_gaps, [Gap { from: 40 * SECOND, until: 59_950 * MS }]);
    let error = joined(counters(40_000, |_| 0), &long, &strict(5)).unwrap_err();
    assert!(error.starts_with("c: nothing between 40 s and 59.95 s"), "{error}");
    let short = sends(5_000, None, |_| 1);
    let host = joined(counters(40_000, |_| 0), &short, &OPTIONS).unwrap();
    assert_eq!(host.telemetry_gaps, [Gap { from: 4_950 * MS, until: 40 * SECOND }]);
    let error = joined(counters(40_000, |_| 0), &short, &strict(5)).unwrap_err();
    assert!(error.starts_with("t: nothing between 4.95 s and 40 s"), "{error}");
    // A limit under what is reported anyway is kept, down to nothing.
    let text = "time_ns,event\n0,send\n1500000000,send\n2000000000,send\n";
    for max_gap_ns in [500 * MS, 0] {
        let tight = Options { max_gap_ns, ..OPTIONS };
        let dense = HostCounters {
            series: Series::parse("c", "time_ms,numa_hit\n0,1\n2000,3\n").unwrap(),
            ..counters(100, |_| 0)
        };
        assert!(import(vec![dense], None, &tight).unwrap_err().to_string().contains("--max-gap"));
        assert!(joined(counters(2_000, |_| 0), text, &tight).unwrap_err().contains("--max-gap"));
    }
}

#[test]
fn times_too_far_apart_are_refused_before_anything_is_made_of_them() {
    let series = |last: &str| {
        let text = format!("time_ns,numa_hint_faults\n0,1\n1000000000,2\n3000000000,3\n{last}\n");
        HostCounters { series: Series::parse("c", &text).unwrap(), ..counters(100, |_| 0) }
    };
    let wide = Options { max_gap_ns: i64::MAX, max_offset_ns: i64::MAX, ..OPTIONS };
    let text = sends(3_000, None, |_| 1);
    for last in ["4000000000000000000,", "4000000000000000000,9"] {
        let error = joined(series(last), &text, &wide).unwrap_err();
        assert!(error.starts_with("c: from 0 s to 4000000000 s: longer than"), "{error}");
    }
    // Nobody could read the counters for eight days.
    let error = joined(series("700000000000000,"), &text, &OPTIONS).unwrap_err();
    assert!(error.starts_with("c: nothing between 3 s and 700000 s"), "{error}");
    let extremes = "time_ns,event,arrival_ns,is_micro_bp\n0,send,,\n1,parent,-4611686018427387903,5\n3000000000,send,,\n";
    for offset_ns in [i64::MIN, i64::MAX] {
        let far = Options { offset_ns, ..wide };
        assert!(joined(counters(3_000, |_| 1), extremes, &far).is_err());
    }
    assert_eq!(joined(counters(3_000, |_| 1), extremes, &OPTIONS).unwrap().parents.len(), 1);
}

#[test]
fn parents_are_exposed_by_their_hosts_buckets_and_compared_by_segment() {
    let mut text = "time_ns,event,parent,arrival_ns,is_micro_bp,side,strategy\n0,send,,,,,a\n".to_owned();
    let mut rows: Vec<(i64, String)> = Vec::new();
    for number in 0..50 {
        let (at, slow) = (if number % 2 == 0 { 900 } else { 2_900 }, number % 2 == 1);
        let cost = if slow { 5_000_000 } else { 1_000_000 } + number;
        rows.push((at, format!("{},parent,p{number},{},{cost},buy,a\n", at * MS, (at - 500) * MS)));
    }
    rows.sort();
    rows.iter().for_each(|(_, row)| text += row);
    text += "4000000000,send,,,,,a\n";
    let host = joined(counters(4_000, |at| if at > 2_000 { 30 } else { 0 }), &text, &OPTIONS).unwrap();
    assert_eq!(host.parents.iter().filter(|parent| parent.exposed == Some(true)).count(), 25);
    assert_eq!(host.uplift.segments[0].row.matched_calm, 25);
    // q95 of 25 is the 24th: 5 000 047 against 1 000 046.
    assert_eq!(host.uplift.segments[0].row.ntu_micro_bp, Some(4_000_001));
    assert_eq!(host.uplift.total, Some(4.000_001));
}

#[test]
fn rows_that_cannot_be_read_are_refused_with_line_and_column() {
    refused("", "t:1: the file is empty");
    refused("event\nsend\n", "t:1: time_ns: not in the header");
    refused("time_ns\n1\n", "t:1: event: not in the header");
    refused("time_ns,event,event\n", "t:1: event: twice in the header");
    refused("time_ns,event\n", "t:1: there is no row");
    refused("time_ns,event\n1,send\n2,sold\n", "t:3: event: found `sold`; expected decision");
    refused("time_ns,event\n1,send\nx,send\n", "t:3: time_ns: found `x`");
    refused("time_ns,event\n2,send\n1,send\n", "t:3: 1 ns earlier than line 2 of the same host");
    refused("time_ns,event\n1,send,2\n", "t:2: 3 cells; expected 2");
    refused("time_ns,event\n1,send\n2,send", "t:3: the last line has no end");
    refused("time_ns,event,id\n1,send,a\n2,send,a\n", "t:3: id: `a` stands on line 2 already");
    refused("time_ns,event,parent\n1,parent,p\n2,parent,p\n", "t:3: parent: `p` ended on line 2 already");
    refused(
        "time_ns,event,latency_ns\n1,decision,-4\n",
        "t:2: latency_ns: found `-4`; expected a whole number from 0",
    );
    refused(
        "time_ns,event,lost_lots\n1,ack,4\n",
        "t:2: lost_lots: lost_lots and on_time_lots belong together",
    );
    refused("time_ns,event\n1,heartbeat\n", "t:2: host_time_ns: empty");
    refused("time_ns,event,host\n1,send,\"a\n", "t:2: a quote is not closed");
    refused("time_ns,event,side\n1,parent,up\n", "t:2: side: found `up`");
    let huge = u64::MAX;
    refused(
        &format!("time_ns,event,lots\n1,fill,{huge}\n"),
        &format!("t:2: lots: found `{huge}`; expected a number"),
    );
    for column in ["is_micro_bp", "arrival_ns"] {
        let text = format!("time_ns,event,{column}\n1,parent,{}\n", i64::MIN);
        refused(&text, &format!("t:2: {column}: found `-9223372036854775808`; expected a number of at most"));
    }
    let markout = "time_ns,event,markout_micro_bp\n1,fill,9223372036854775807\n";
    refused(markout, "t:2: markout_micro_bp: found `9223372036854775807`; expected a number of at most");
    refused(
        "time_ns,event,queue_rate_lots_per_s,ahead_lots,delay_ns\n1,ack,1.2345,1,1\n",
        "t:2: queue_rate_lots_per_s",
    );
}

#[test]
fn cells_may_be_quoted_times_may_be_text_and_hosts_may_interleave() {
    let text = "\u{feff}time,event,host,\"x, y\"\r\n2026-03-17T09:30:00.25Z,send,\"a, \"\"b\"\"\",\r\n\
                1773739800.125,send,c,\"1,2\"\r\n2026-03-17T10:30:01+01:00,send,c,\r\n";
    let telemetry = telemetry(text);
    assert_eq!(telemetry.hosts, ["a, \"b\"", "c"]);
    let times: Vec<i64> = telemetry.rows.iter().map(|row| row.at - 1_773_739_800 * SECOND).collect();
    assert_eq!(times, [250 * MS, 125 * MS, SECOND]);
    let error = import(
        vec![HostCounters { name: "c".to_owned(), ..counters(1_000, |_| 0) }],
        Some(&telemetry),
        &OPTIONS,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("t:2: host: `a, \"b\"` has no counters; they are there for `c`"), "{error}");
}

#[test]
fn buckets_of_results_are_read_by_choice_and_replication() {
    let columns: Vec<String> =
        BUCKET_COLUMNS.into_iter().chain(["numa_hint_faults"]).map(str::to_owned).collect();
    let row = |choice: &str, seed: i64, start: i64, length: i64, rhf: &str, faults: i64| -> Vec<String> {
        let cells = [choice, "0", &seed.to_string(), "h", &(start * SECOND).to_string()].map(str::to_owned);
        let more = [(length * SECOND).to_string(), rhf.to_owned(), faults.to_string()];
        cells.into_iter().chain(more).collect()
    };
    let rows = [
        row("a", 0, 0, 1, "5", 3),
        row("a", 0, 1, 1, "", 4),
        row("a", 0, 2, 1, "", 5),
        row("a", 0, 3, 1, "0", 6),
        row("a", 0, 0, 5, "0", 99),
        row("a", 1, 0, 1, "0", 7),
        row("b", 0, 0, 1, "0", 8),
    ];
    let of = |choice, replication| {
        counters_of_buckets("f", &columns, &rows, choice, replication).map(|hosts| {
            assert_eq!((hosts.len(), hosts[0].name.as_str()), (1, "h"));
            let buckets = hosts[0].series.buckets(SECOND, Slack::DEFAULT);
            buckets.iter().map(|bucket| bucket.of("numa_hint_faults")).collect::<Vec<_>>()
        })
    };
    assert_eq!(of(None, 0).unwrap(), [Some(3), None, None, Some(6)]);
    assert_eq!(of(Some("a"), 1).unwrap(), [Some(7)]);
    assert_eq!(of(Some("b"), 0).unwrap(), [Some(8)]);
    let error = of(Some("c"), 0).unwrap_err().to_string();
    assert!(error.contains("no bucket of choice `c`, replication 0; it has a, b"), "{error}");
    let error = counters_of_buckets("f", &columns[1..], &rows, None, 0).unwrap_err().to_string();
    assert!(error.starts_with("f: choice: is no column"), "{error}");
}
