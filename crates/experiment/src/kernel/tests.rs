//! A small folder of traces made here, and the recorded ones where they are at hand.

use std::path::PathBuf;

use super::*;

const HEADER: &str = "time_ms,numa_pte_updates,numa_huge_pte_updates,numa_hint_faults,numa_hint_faults_local,\
numa_pages_migrated,mm_numa_scan_seq,mm_numa_scan_offset_mb,mm_next_scan_in_ms,t0_touches,t0_runtime_ms,\
t0_node_stamp_ms,t0_scan_period_ms,t0_scan_period_max_ms,t0_preferred_nid";

/// A folder of its own for one test.
fn folder(name: &str, manifest: &str, csv: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("numashock-kernel-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("manifest.json"), manifest).unwrap();
    std::fs::write(path.join("small.csv"), csv).unwrap();
    path
}

fn manifest(args: &str) -> String {
    format!(
        r#"[{{"name": "small", "csv": "small.csv", "kernel": "Linux 6.12.95+deb12-amd64 #1 SMP",
        "info": ["worker pid=195"],
        "sysctls": {{"scan_delay_ms": "1000", "scan_period_max_ms": "60000", "scan_period_min_ms": "1000",
                     "scan_size_mb": "256", "numa_balancing": "1"}},
        "nodes": {{"node0": {{"cpus": "0-1", "distance": "10,20", "memfree_kb": "1480336"}},
                   "node1": {{"cpus": "2-3", "distance": "20,10", "memfree_kb": "1455360"}}}},
        "spec": {{"accel": "icount", "args": {args}}}}}]"#
    )
}

/// Rows each 100 ms of a run in which the kernel marked `pages` at 700 ms and took a fault a touch from then on.
fn csv(seconds: u64, pages: u64) -> String {
    let mut text = format!("{HEADER}\n-5.0,0,0,0,0,0,0,0.000,-200,0,337.1,0.000,1000,0,-1\n");
    for row in 1..=seconds * 10 {
        let time = row * 100;
        let (marked, faults) = if time < 700 { (0, 0) } else { (pages, (time - 672) * 2) };
        let faults = faults.min(pages);
        let period = if time < 700 { 1000 } else { 2000 };
        text += &format!(
            "{time}.1,{marked},0,{faults},0,{faults},{},0,0,0,0,0,{period},0,-1\n",
            u64::from(time >= 700)
        );
    }
    text
}

const ARGS: &str =
    r#"{"pattern": "seq", "size_mb": 8, "cpus": "2", "rate": 2000, "secs": 2, "idle_threads": 1}"#;

#[test]
fn a_small_run_agrees_and_its_json_has_the_counters_on_top() {
    let path = folder("agrees", &manifest(ARGS), &csv(2, 2048));
    let report = validate(&path).unwrap();
    let run = &report.runs[0];
    assert_eq!((run.modelled, run.verdict.as_str()), (true, "agrees"), "{run:?}");
    assert_eq!((run.numa_pte_updates, run.scan_periods.len()), (2048, 1));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["runs"][0]["numa_pte_updates"], 2048);
    assert!(json["runs"][0]["numa_pages_migrated"].is_u64());
    assert_eq!(json["runs"][0]["kernel_numa_pte_updates"], 2048);
    assert_eq!(json["runs"][0]["passes"][0]["kernel_pages"], 2048);
    assert_eq!(json["runs"][0]["items"].as_array().unwrap().len(), 12);
    assert_eq!(json["summary"]["agree"], 1);
    let line = table(&report).lines().nth(1).unwrap().to_owned();
    for part in ["agrees", "0.7/0.7 +0.0", "2048/2048 0.00%", "1/1 agree", "t0 1000@0.0 2000@0.7"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(details(&report).contains("PASS over time numa_hint_faults"));
}

#[test]
fn a_run_that_differs_is_called_so() {
    let path = folder("differs", &manifest(ARGS), &csv(2, 1000));
    let report = validate(&path).unwrap();
    let verdict = &report.runs[0].verdict;
    assert!(verdict.starts_with("deviates: passes: 1 of 1 differ"), "{verdict}");
    assert!(verdict.contains("final numa_pte_updates 52.40 %, at most 1 %"), "{verdict}");
    assert_eq!(report.summary, Summary { deviate: 1, ..Summary::default() });
    assert!(table(&report).contains("DEVIATES"));
}

#[test]
fn what_is_not_modelled_is_said_and_not_faked() {
    let cases = [
        (r#""aux_bind": 0"#, "the region that can be scanned (aux_bind=0) without `mappings`"),
        (r#""aux_bind": 0, "cpus": "2,3""#, "aux_bind=0) with several busy threads"),
        (r#""flavour": "sour""#, "spec.args.flavour=sour"),
        (r#""policy": "interleave""#, "spec.args.policy=interleave; there are default, bind"),
        (r#""mode": "nap""#, "spec.args.mode=nap"),
        (r#""map": "hugetlb""#, "spec.args.map=hugetlb; there are anon"),
        (r#""pattern": "zigzag""#, "spec.args.pattern=zigzag"),
    ];
    for (number, (key, why)) in cases.into_iter().enumerate() {
        let args = if key.contains("cpus") {
            format!(r#"{{"size_mb": 8, "secs": 2, {key}}}"#)
        } else {
            format!(r#"{{"size_mb": 8, "cpus": "2", "secs": 2, {key}}}"#)
        };
        let rows = if key.contains("cpus") { two_threads(&csv(2, 2048)) } else { csv(2, 2048) };
        let report = validate(&folder(&format!("others{number}"), &manifest(&args), &rows)).unwrap();
        let run = &report.runs[0];
        assert!(!run.modelled && run.numa_pte_updates == 0, "{}", run.verdict);
        assert!(run.why_not.as_deref().is_some_and(|reason| reason.contains(why)), "{key}: {}", run.verdict);
        assert_eq!(report.summary.not_modelled, 1);
        assert!(table(&report).contains("not modelled: "));
    }
    // What only adds to the recording is no other workload.
    let args = ARGS.replace('{', r#"{"maps": 1, "cpu_sample": 0, "sched_text": 0, "#);
    let report = validate(&folder("recording", &manifest(&args), &csv(2, 2048))).unwrap();
    assert_eq!(report.runs[0].verdict, "agrees");
}

#[test]
fn an_emulator_that_is_not_known_is_not_modelled() {
    for (accel, why) in [
        ("\"accel\": \"kvm\",", "spec.accel=kvm; there are icount, mttcg"),
        ("\"accel\": \"\",", "a run without spec.accel"),
        ("", "a run without spec.accel"),
    ] {
        let other = manifest(ARGS).replace("\"accel\": \"icount\",", accel);
        let verdict = said("emulator", &other, &csv(2, 2048));
        assert!(verdict.starts_with("not modelled: ") && verdict.contains(why), "{accel}: {verdict}");
    }
}

/// Rows further apart than a second need no word about how often numa_maps is read.
#[test]
fn rows_two_seconds_apart_are_compared() {
    let args = ARGS.replace("\"secs\": 2", "\"secs\": 2, \"period_ms\": 2000");
    let rows: Vec<String> = csv(2, 2048)
        .lines()
        .filter(|line| ["time_ms", "-5.0", "2000.1"].iter().any(|at| line.starts_with(at)))
        .map(str::to_owned)
        .collect();
    assert_eq!(said("far-apart", &manifest(&args), &rows.join("\n")), "agrees");
}

/// The same rows with a second thread that does what the first does.
fn two_threads(text: &str) -> String {
    let columns = HEADER.split(',').position(|column| column == "t0_touches").unwrap();
    let twice = |line: &str| {
        let second: Vec<&str> = line.split(',').skip(columns).collect();
        format!("{line},{}\n", second.join(",").replace("t0_", "t1_"))
    };
    text.lines().map(twice).collect()
}

#[test]
fn later_rows_never_reach_the_model() {
    let (full, cut) = (csv(2, 2048), csv(2, 7));
    let model = |name, text: &str| {
        let run = validate(&folder(name, &manifest(ARGS), text)).unwrap().runs.remove(0);
        (run.numa_pte_updates, run.numa_hint_faults, run.scan_periods)
    };
    assert_eq!(model("later-a", &full), model("later-b", &cut));
}

/// What is said about the only run of a folder.
fn said(name: &str, manifest: &str, csv: &str) -> String {
    match validate(&folder(name, manifest, csv)) {
        Err(error) => error.to_string(),
        Ok(report) => report.runs[0].verdict.clone(),
    }
}

#[test]
fn errors_name_the_file_the_line_and_what_was_expected() {
    let good = manifest(ARGS);
    let rows = csv(2, 2048);
    let cases: [(&str, String, String, &[&str]); 12] = [
        ("empty", "[]".to_owned(), rows.clone(), &["no run is listed"]),
        ("json", "[{]".to_owned(), rows.clone(), &["line 1, column 3"]),
        (
            "kernel",
            good.replace("\"kernel\"", "\"colonel\""),
            rows.clone(),
            &["unreadable", "run small", "missing field `kernel`"],
        ),
        (
            "type",
            good.replace("\"256\"", "256"),
            rows.clone(),
            &["sysctls.scan_size_mb", "invalid type: integer `256`, expected a string"],
        ),
        (
            "column",
            good.clone(),
            rows.replace("numa_hint_faults_local", "other"),
            &["unreadable", "small.csv, line 1: column numa_hint_faults_local is missing"],
        ),
        ("cut", good.clone(), rows[..rows.len() - 20].to_owned(), &["line 22", "expected 15 values"]),
        (
            "order",
            good.clone(),
            rows.replace("\n300.1", "\n150.1"),
            &["line 5: time_ms 150.1 does not follow"],
        ),
        (
            "falls",
            good.clone(),
            rows.replace("\n900.1,2048", "\n900.1,2000"),
            &["line 11: numa_pte_updates falls from 2048 to 2000"],
        ),
        (
            "number",
            good.clone(),
            rows.replace("700.1,2048", "700.1,many"),
            &["line 9: numa_pte_updates is \"many\"", "a number"],
        ),
        ("late", good.clone(), rows.replace("-5.0,", "-1e18,"), &["time_ms", "-60000 to 0"]),
        (
            "memory",
            good.replace("worker pid=195", "kcore_or_btf_unavailable"),
            rows.clone(),
            &["info is kcore_or_btf_unavailable", "state before the start"],
        ),
        (
            "short",
            good.clone(),
            rows.lines().take(12).collect::<Vec<_>>().join("\n"),
            &["ends after 11 rows", "expected 21 rows"],
        ),
    ];
    for (name, manifest, csv, parts) in cases {
        let found = said(name, &manifest, &csv);
        for part in parts {
            assert!(found.contains(part), "{name}: \"{part}\" is missing in: {found}");
        }
    }
    let missing = validate(std::path::Path::new("/nonexistent/traces")).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/traces") && missing.contains("cannot be read"), "{missing}");
}

/// Each manifest makes its run unreadable, with these parts in what is said.
fn assert_each_unreadable(name: &str, cases: &[(String, &str, &str)]) {
    for (number, (manifest, found, expected)) in cases.iter().enumerate() {
        let verdict = said(&format!("{name}-{number}"), manifest, &csv(2, 2048));
        assert!(verdict.starts_with("unreadable: "), "{found}: {verdict}");
        for part in [*found, *expected, "run small", "Correct the manifest"] {
            assert!(verdict.contains(part), "\"{part}\" is missing in: {verdict}");
        }
    }
}

#[test]
fn every_argument_out_of_range_is_named_with_what_was_expected() {
    let good = manifest(ARGS);
    let arg = |pair: &str| good.replace("\"secs\": 2,", &format!("\"secs\": 2, {pair},"));
    let cases = [
        (good.replace("2000,", "\"fast\","), "spec.args.rate is fast", "a whole number"),
        (good.replace("2000,", "0,"), "spec.args.rate is 0", "from 1 to"),
        (good.replace("\"secs\": 2", "\"secs\": 0"), "spec.args.secs is 0", "from 1 to"),
        (good.replace("\"secs\": 2", "\"secs\": 9999999999"), "spec.args.secs is 9999999999", "from 1 to"),
        (good.replace("\"size_mb\": 8", "\"size_mb\": -8"), "spec.args.size_mb is -8", "from 1 to"),
        (
            good.replace("\"size_mb\": 8", "\"size_mb\": 4000"),
            "spec.args.size_mb is 4000",
            "MiB that node 0 has left",
        ),
        (
            good.replace("\"idle_threads\": 1", "\"idle_threads\": -1"),
            "spec.args.idle_threads is -1",
            "from 0 to",
        ),
        (arg("\"alloc_node\": 2"), "spec.args.alloc_node is 2", "from 0 to 1"),
        (arg("\"alloc_half\": 2"), "spec.args.alloc_half is 2", "from 0 to 1, or -1"),
        (arg("\"alloc_half\": -7"), "spec.args.alloc_half is -7", "from 0 to 1, or -1"),
        (
            arg("\"hot_pages_pct\": 100, \"pattern\": \"hotcold\""),
            "spec.args.hot_pages_pct is 100",
            "from 0 to 99",
        ),
        (
            arg("\"mode\": \"sleep\", \"sleep_us\": 1000000"),
            "spec.args.sleep_us is 1000000",
            "from 0 to 999999",
        ),
        (
            arg("\"move_ms\": 500, \"move_cpus\": \"2,9\""),
            "spec.args.move_cpus is 2,9",
            "CPUs that a node has: 0-1,2-3",
        ),
        (arg("\"period_ms\": 0"), "spec.args.period_ms is 0", "from 1 to"),
        (
            arg("\"period_ms\": 2000, \"place_every_ms\": 1000"),
            "spec.args.place_every_ms is 1000",
            "from 2000 to",
        ),
        (arg("\"place_every_ms\": 50"), "spec.args.place_every_ms is 50", "from 100 to"),
    ];
    assert_each_unreadable("argument", &cases);
}

#[test]
fn every_setting_and_machine_out_of_range_is_named_with_what_was_expected() {
    let good = manifest(ARGS);
    let cases = [
        (
            good.replace("\"cpus\": \"2\"", "\"cpus\": \"7\""),
            "spec.args.cpus is 7",
            "CPUs that a node has: 0-1,2-3",
        ),
        (
            good.replace("\"cpus\": \"2\"", "\"cpus\": \"0,2\""),
            "spec.args.cpus is 0,2",
            "1 CPUs, one a recorded thread",
        ),
        (
            good.replace("\"scan_size_mb\": \"256\"", "\"scan_size_mb\": \"0\""),
            "sysctls.scan_size_mb is 0",
            "from 1 to",
        ),
        (
            good.replace("\"scan_period_max_ms\": \"60000\"", "\"scan_period_max_ms\": \"-1\""),
            "sysctls.scan_period_max_ms is -1",
            "from 0 to 1000000000",
        ),
        (
            good.replace("\"scan_period_min_ms\": \"1000\"", "\"scan_period_min_ms\": \"99999999999\""),
            "sysctls.scan_period_min_ms is 99999999999",
            "from 0 to 1000000000",
        ),
        (
            good.replace("\"numa_balancing\": \"1\"", "\"numa_balancing\": \"7\""),
            "sysctls.numa_balancing is 7",
            "from 0 to 4",
        ),
        (good.replace("\"10,20\"", "\"10\""), "nodes.node0.distance is 10", "2 distances"),
        (good.replace("\"node1\": {", "\"node5\": {"), "nodes.node1 is missing", "numbered from 0"),
        (good.replace("Linux 6.12.95+deb12-amd64", "unknown"), "kernel is unknown", "uname -srv"),
    ];
    assert_each_unreadable("setting", &cases);
}

/// Numbers that would overflow or run for ever are refused, and only their run is.
#[test]
fn numbers_beyond_every_machine_are_refused() {
    let (good, rows) = (manifest(ARGS), csv(2, 2048));
    let with_shift = |shift: &str| good.replace("\"accel\"", &format!("\"shift\": {shift}, \"accel\""));
    let long = |args: &str| good.replace("\"secs\": 2", args);
    let second = |line: &str| rows.replace("100.1,0,0,0,0,0,0,0,0,0,0,", line);
    let cases = [
        (with_shift("40"), rows.clone(), ["spec.shift is 40", "from 0 to 10"]),
        (with_shift("4294967295"), rows.clone(), ["spec.shift is 4294967295", "from 0 to 10"]),
        (
            good.clone(),
            rows.replace("-5.0,0,0,0,0,0,0,", "-5.0,0,0,0,0,0,4294967295,"),
            ["small.csv, line 2: mm_numa_scan_seq is 4294967295", "from 0 to 2147483647"],
        ),
        (
            good.clone(),
            rows.lines()
                .take(2)
                .chain(["1e18,0,0,0,0,0,0,0,0,0,0,0,1000,0,-1\n"])
                .collect::<Vec<_>>()
                .join("\n"),
            ["small.csv, time_ms is 1000000000000000000", "-60000 to 120000 in the second row"],
        ),
        (
            good.clone(),
            second("100.1,0,0,0,0,0,0,0,0,0,1e18,"),
            ["small.csv, t0_runtime_ms is 1000000000000000000", "0 to 1000000000 in the second row"],
        ),
        (
            long("\"secs\": 86400, \"period_ms\": 1"),
            rows.clone(),
            ["spec.args.period_ms is 1 for 86400 s", "no more than 1000000 rows"],
        ),
        (
            long("\"secs\": 86400, \"move_ms\": 1, \"move_cpus\": \"2,0\""),
            rows.clone(),
            ["spec.args.move_ms is 1", "no more than 1000000 moves"],
        ),
        // A day, and a recording of two seconds: said at once, not after the day.
        (long("\"secs\": 86400"), rows.clone(), ["ends after 21 rows", "expected 864001 rows"]),
    ];
    for (number, (manifest, csv, parts)) in cases.iter().enumerate() {
        let verdict = said(&format!("beyond-{number}"), manifest, csv);
        assert!(verdict.starts_with("unreadable: "), "{parts:?}: {verdict}");
        for part in parts {
            assert!(verdict.contains(part), "\"{part}\" is missing in: {verdict}");
        }
    }
    for seq in ["2147483647", "2147483000"] {
        let high = rows.replace("-5.0,0,0,0,0,0,0,", &format!("-5.0,0,0,0,0,0,{seq},"));
        assert!(!said(&format!("seq-{seq}"), &good, &high).starts_with("unreadable"));
    }
}

#[test]
fn what_the_workload_might_have_done_else_is_warned_of() {
    let reclaims =
        manifest(ARGS).replace("\"scan_delay_ms\"", "\"zone_reclaim_mode\": \"1\", \"scan_delay_ms\"");
    let report = validate(&folder("warned", &reclaims, &csv(2, 2048))).unwrap();
    let run = &report.runs[0];
    assert_eq!(run.warnings.len(), 1);
    assert!(run.warnings[0].contains("sysctls.zone_reclaim_mode"), "{:?}", run.warnings);
    assert_eq!(run.verdict, "agrees");
    assert!(table(&report).contains("warning: sysctls.zone_reclaim_mode"));
}

#[test]
fn kernels_between_known_ones_are_not_guessed() {
    for (release, part) in
        [("6.12.116", "6.12.117 does"), ("6.10.3", "the rules of kernel 6.10.3"), ("5.10.0", "6.1")]
    {
        let verdict =
            said(&format!("release-{release}"), &manifest(ARGS).replace("6.12.95", release), &csv(2, 2048));
        assert!(verdict.starts_with("not modelled: ") && verdict.contains(part), "{verdict}");
    }
}

#[test]
fn one_bad_recording_does_not_keep_the_others_from_being_compared() {
    let one = manifest(ARGS);
    let entry = one.trim().trim_start_matches('[').trim_end_matches(']');
    let other = entry.replace("\"small\"", "\"broken\"").replace("small.csv", "broken.csv");
    let path = folder("mixed", &format!("[{other}, {entry}, 7]"), &csv(2, 2048));
    let report = validate(&path).unwrap();
    assert_eq!(report.summary, Summary { agree: 1, unreadable: 2, ..Summary::default() });
    assert!(report.runs[0].verdict.contains("broken.csv: cannot be read"), "{}", report.runs[0].verdict);
    assert_eq!(report.runs[1].verdict, "agrees");
    assert!(report.runs[2].verdict.contains("run entry 3"), "{}", report.runs[2].verdict);
}

#[test]
fn compressed_recordings_are_read_and_broken_ones_refused() {
    let path = folder("packed", &manifest(ARGS), "");
    std::fs::remove_file(path.join("small.csv")).unwrap();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, csv(2, 2048).as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    std::fs::write(path.join("small.csv.gz"), &packed).unwrap();
    assert_eq!(validate(&path).unwrap().runs[0].verdict, "agrees");
    std::fs::write(path.join("small.csv.gz"), &packed[..packed.len() / 2]).unwrap();
    let verdict = validate(&path).unwrap().runs[0].verdict.clone();
    assert!(verdict.contains("small.csv.gz: cannot be read"), "{verdict}");
}

/// The recordings that the model does not follow, each with the reason. The list may only shrink: who makes a run agree
/// takes it out.
const LACKING: [(&str, &str); 5] = [
    (
        "k612_move_two",
        "two threads that touch the same page at the same moment fault on one marking (spec: 8 F10)",
    ),
    ("k612_sl_1ms", "which ticks hit a sleeping worker, and its catching up without sleep"),
    ("k612_sl_two", "the same"),
    ("s_size256", "turns of the emulator's CPUs: a pass that ends near a tick while numa_maps is read"),
    ("k612_up_swap4", "which of four waking threads the load balancer takes off a crowded CPU"),
];

/// The recorded kernels: every run agrees, but for those that are named.
#[test]
fn the_recorded_kernels_agree() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut left: Vec<&str> = LACKING.iter().map(|(name, _)| *name).collect();
    let mut runs = 0;
    for folder in ["tests/kernel-traces", "tests/kernel-traces/extended"] {
        let report = validate(&root.join(folder)).unwrap();
        print!("{}", table(&report));
        runs += report.runs.len();
        for run in &report.runs {
            let listed = left.iter().position(|name| *name == run.name).map(|place| left.remove(place));
            assert_eq!(run.verdict.starts_with("agrees"), listed.is_none(), "{}: {}", run.name, run.verdict);
            let in_part = run.verdict.starts_with("agrees until ");
            assert_eq!(in_part, run.name == "a_seq_st", "{}: {}", run.name, run.verdict);
        }
    }
    assert!(left.is_empty(), "no such recordings: {left:?}");
    assert!(runs >= 50, "only {runs} recordings");
}

/// The charge of a pass that ends near a tick, with numa_maps being read meanwhile or not, depends on how much of the emulated clock
/// the other spinning threads take; that of `k61_up_home_busy` besides on which of two threads due at one tick comes first.
#[test]
fn passes_last_as_long_as_those_of_the_emulator_beside_spinning_threads() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/kernel-traces");
    let runs = [root.clone(), root.join("extended")].map(|path| validate(&path).unwrap().runs);
    for name in ["p117_shared_phase", "k612_up_swap", "k612_up_home_busy", "k61_up_home_busy"] {
        let run = runs.iter().flatten().find(|run| run.name == name).expect("it is recorded");
        assert_eq!((run.verdict.as_str(), &run.exclusions[..]), ("agrees", &[][..]), "{name}");
    }
}
