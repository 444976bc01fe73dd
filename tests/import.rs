//! Counters and execution telemetry of a desk: recorded kernels by hand, a run's own telemetry there and back, and a host.

use std::path::{Path, PathBuf};

use numashock_accounting::Mechanisms;
use numashock_experiment::import::{self, HostCounters, HostImport, Options, Telemetry};
use numashock_experiment::sweep::{OwnControllers, run_once, run_with_telemetry};
use numashock_sim::RunResult;
use numashock_sim::counters::{Grown, NAMES, Series, Slack};
use numashock_sim::metrics::ExposureThresholds;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::RunConfig;

use crate::cli::{assert_explained, stderr};
use crate::program::{self, Scratch};
use crate::{golden, root};

const SECOND: i64 = 1_000_000_000;

const OPTIONS: Options = Options {
    slack: Slack::DEFAULT,
    offset_ns: 0,
    max_offset_ns: SECOND / 10,
    max_gap_ns: 60 * SECOND,
    max_falls: 0,
    page_bytes: 4_096,
    interconnect_bytes_per_s: 0,
    queue_rate_milli: None,
    exposure: ExposureThresholds { rhf_ppm: 200_000, mcr_kib_per_s: 1_024 },
};

fn traces() -> Vec<PathBuf> {
    let folder = root().join("tests/kernel-traces");
    let names = program::names(&folder).into_iter().filter(|name| name.ends_with(".csv.gz"));
    names.map(|name| folder.join(name)).collect()
}

fn imported(path: &Path) -> HostImport {
    let host = import::counters("", path).unwrap();
    import::import(vec![host], None, &OPTIONS).unwrap().remove(0)
}

/// RHF in ppm and MCR in KiB/s of each second, and of the first five seconds.
type ByHand<'a> = (&'a [(u32, u64)], (u32, u64));

/// The rows at -5.0, 1000.1, 2000.1, ... ms of each file, subtracted by hand: faults, local ones and pages migrated are
/// (6759, 0, 6759), (20000, 0, 20000), (7488, 1479, 6009), (20000, 20000, 0), (11289, 11289, 0), (0, 0, 0), (0, 0, 0),
/// (16129, 0, 16126), (20001, 3359, 16639), (19990, 19989, 0) in the first, and (8394, 4191, 4203), (17216, 8675, 8541),
/// (4976, 2508, 2468), (22883, 11296, 6192), (7071, 3506, 1846) in the second.
const BY_HAND: [(&str, ByHand<'static>); 2] = [
    (
        "f_move5",
        (
            &[
                (1_000_000, 27_036),
                (1_000_000, 80_000),
                (802_483, 24_036),
                (0, 0),
                (0, 0),
                (0, 0),
                (0, 0),
                (1_000_000, 64_504),
                (832_058, 66_556),
                (50, 0),
            ],
            (500_000, 26_214),
        ),
    ),
    (
        "k61_shared_rand",
        (
            &[(500_714, 16_812), (496_108, 34_164), (495_980, 9_872), (506_358, 24_768), (504_171, 7_384)],
            (501_552, 18_600),
        ),
    ),
];

#[test]
fn recorded_kernels_give_the_rhf_and_mcr_that_are_computed_by_hand() {
    for (name, (seconds, five)) in BY_HAND {
        let host = imported(&root().join(format!("tests/kernel-traces/{name}.csv.gz")));
        let of = |bucket: &import::Bucket| {
            (bucket.metrics.rhf_ppm.unwrap(), bucket.metrics.mcr_kib_per_s.unwrap())
        };
        let found: Vec<(u32, u64)> = host.seconds.iter().take(seconds.len()).map(of).collect();
        assert_eq!(found, seconds, "{name}");
        assert_eq!(of(&host.fives[0]), five, "{name}");
        assert_eq!((host.seconds[0].start, host.seconds.len() / 5), (0, host.fives.len()), "{name}");
        let seen = &host.observations[0];
        assert_eq!((seen.rhf_ppm, seen.mcr_kib_per_s), (Some(seconds[0].0), Some(seconds[0].1)));
    }
}

/// Every recorded kernel, against a reading of its rows that shares nothing with the product's.
#[test]
fn every_recorded_kernel_gives_what_its_rows_say() {
    let mut compared = 0;
    for path in traces() {
        let text = import::read_text(&path).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
        let names = ["numa_hint_faults", "numa_hint_faults_local", "numa_pages_migrated"].map(column);
        let rows: Vec<(f64, [i64; 3])> = lines
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                (cells[0].parse().unwrap(), names.map(|place| cells[place].parse().unwrap()))
            })
            .collect();
        let near = |ms: f64| {
            let far = |row: &&(f64, [i64; 3])| ((row.0 - ms).abs() * 1e3) as i64;
            rows.iter().min_by_key(far).filter(|row| (row.0 - ms).abs() <= 100.0).map(|row| row.1)
        };
        let host = imported(&path);
        let last = rows.last().unwrap().0;
        assert_eq!(host.seconds.len(), ((last + 100.0) / 1e3) as usize, "{}", path.display());
        for (index, bucket) in host.seconds.iter().enumerate() {
            let Some((from, until)) = near(index as f64 * 1e3).zip(near((index + 1) as f64 * 1e3)) else {
                assert_eq!(bucket.metrics.rhf_ppm, None);
                continue;
            };
            let [faults, local, migrated] = [0, 1, 2].map(|place| until[place] - from[place]);
            let share = if faults == 0 { 0 } else { (faults - local).max(0) * 1_000_000 / faults };
            assert_eq!(bucket.metrics.rhf_ppm.map(i64::from), Some(share), "{} {index}", path.display());
            assert_eq!(bucket.metrics.mcr_kib_per_s, Some(migrated as u64 * 4), "{} {index}", path.display());
            compared += 1;
        }
    }
    assert!(compared >= 1_000, "only {compared} buckets were compared");
}

fn config(name: &str) -> RunConfig {
    let disturbance = root().join(format!("scenarios/disturbances/{name}.toml"));
    if !disturbance.exists() {
        return golden::config(name);
    }
    Scenario::read(&disturbance, &[]).unwrap().choices(1_000_000).unwrap().remove(1).config
}

/// The counters of each host as a recorder would have them, which sees nothing while telemetry is missing.
fn counters(run: &RunResult, names: &[String]) -> Vec<HostCounters> {
    let host = |(host, name): (&numashock_sim::HostResult, &String)| {
        let spans: Vec<Grown> = host
            .seconds
            .iter()
            .map(|bucket| {
                let mut counters = [None; NAMES.len()];
                let grown = [
                    ("numa_pte_updates", bucket.counters.numa_pte_updates),
                    ("numa_hint_faults", bucket.counters.numa_hint_faults),
                    ("numa_hint_faults_local", bucket.counters.numa_hint_faults_local),
                    ("numa_pages_migrated", bucket.counters.numa_pages_migrated),
                ];
                for (name, value) in grown {
                    counters[NAMES.iter().position(|known| *known == name).unwrap()] =
                        Some(i128::from(value));
                }
                let from = bucket.metrics.start.0 as i64;
                let seen = bucket.metrics.counters.is_some();
                Grown { from, until: from + SECOND, line: 1, seen, counters }
            })
            .collect();
        HostCounters {
            name: name.clone(),
            series: Series::from_growth("buckets", &spans).unwrap(),
            knobs: Default::default(),
        }
    };
    run.hosts.iter().zip(names).map(host).collect()
}

#[test]
fn a_run_that_is_exported_and_imported_measures_what_it_measured() {
    let (mut releases, mut passive, mut fives, mut blind) = (0, 0, 0, 0);
    for name in ["migrations", "controller", "desk", "strategies", "telemetry-gap"] {
        let config = config(name);
        let run = run_with_telemetry(&config, 0, &OwnControllers).unwrap();
        let text = import::telemetry_csv(name, &config, &run);
        let telemetry = Telemetry::parse("t.csv", &text).unwrap();
        let hosts = counters(&run, &telemetry.hosts);
        for (number, (host, counters)) in run.hosts.iter().zip(hosts).enumerate() {
            let speed = config.hosts[number].interconnect_mbps * 1_000_000;
            let options = Options { interconnect_bytes_per_s: speed, ..OPTIONS };
            let own = Telemetry {
                hosts: vec![counters.name.clone()],
                rows: telemetry
                    .rows
                    .iter()
                    .filter(|row| row.host == number)
                    .map(|row| import::Row { host: 0, ..*row })
                    .collect(),
                ..telemetry.clone()
            };
            let back = import::import(vec![counters], Some(&own), &options).unwrap().remove(0);
            assert_eq!(back.seconds.len(), host.seconds.len(), "{name}");
            assert_eq!(back.fives.len(), host.fives.len(), "{name}");
            let pairs = || back.seconds.iter().zip(&host.seconds).chain(back.fives.iter().zip(&host.fives));
            for (imported, bucket) in pairs() {
                assert_eq!(imported.metrics, bucket.metrics, "{name}");
                let counted = (imported.path.decisions, imported.path.fills);
                assert_eq!(counted, (u64::from(bucket.decisions), u64::from(bucket.fills)), "{name}");
                let latency = bucket.latency_q50_ns.zip(bucket.latency_q99_ns).map(<[u64; 2]>::from);
                assert_eq!(imported.path.latency_ns, latency, "{name}");
                blind += usize::from(bucket.metrics.counters.is_none());
            }
            assert_eq!(back.observations, host.observations, "{name}");
            releases += pairs().map(|(bucket, _)| bucket.metrics.releases).sum::<u64>();
            passive += pairs().map(|(bucket, _)| bucket.metrics.passive_children).sum::<u64>();
            fives += back.fives.iter().filter(|bucket| bucket.metrics.dcj_ppm.is_some()).count();
        }
    }
    assert!(releases > 100 && passive > 50 && fives > 2 && blind > 1, "{releases} {passive} {fives} {blind}");
}

#[test]
fn exporting_leaves_a_run_as_it_is() {
    let config = golden::config("migrations");
    let exported = run_with_telemetry(&config, 0, &OwnControllers).unwrap();
    let plain = run_once(&config, 0, Mechanisms::REAL, true, 0);
    assert_eq!(exported.hash, plain.hash);
    assert!(plain.hosts.iter().all(|host| host.telemetry.is_empty()));
}

#[test]
fn a_clock_that_was_set_in_the_middle_is_refused() {
    let config = config("clock-step");
    let run = run_with_telemetry(&config, 0, &OwnControllers).unwrap();
    let text = import::telemetry_csv("clock-step", &config, &run);
    let refused = Telemetry::parse("t.csv", &text).map(|telemetry| {
        import::import(counters(&run, &telemetry.hosts), Some(&telemetry), &OPTIONS).unwrap_err()
    });
    let error = refused.unwrap_or_else(|error| error).to_string();
    assert!(error.contains("the clocks of") || error.contains("earlier than line"), "{error}");
}

#[test]
fn a_results_folder_is_imported_with_the_telemetry_of_its_run() {
    let scratch = Scratch::new();
    let scenario = crate::scenario_file("desk.toml");
    let arguments = ["run", scenario.to_str().unwrap(), "--seeds", "1", "--out", "r", "--telemetry", "t.csv"];
    let output = program::run(scratch.path(), arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let arguments = ["import", "--counters", "r", "--telemetry", "t.csv", "--out", "i", "--json"];
    let output = program::run(scratch.path(), arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let files = ["buckets.csv", "observations.jsonl", "segments.csv", "summary.json"];
    assert_eq!(program::names(&scratch.path().join("i")), files);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let host = &summary["hosts"][0];
    assert_eq!(host["offset"]["known"], "heartbeats");
    assert_eq!((&host["offset"]["ns"], &host["offset"]["spread_ns"]), (&0.into(), &0.into()));
    assert!(host["knobs"].as_object().is_some_and(|knobs| !knobs.is_empty()), "{host}");
    let mut rows = numashock_report::read_table(&scratch.path().join("r/buckets.parquet"), None).unwrap();
    let length = rows.columns.iter().position(|column| column == "bucket_length_ns").unwrap();
    rows.rows.retain(|row| row[length].parse::<i64>().unwrap() >= SECOND);
    let text = std::fs::read_to_string(scratch.path().join("i/buckets.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let back: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(back.len(), rows.rows.len());
    let shared =
        ["host", "bucket_start_ns", "bucket_length_ns", "numa_hint_faults", "rhf_ppm", "mcr_kib_per_s"];
    let more = ["dcj_ppm", "fano_ppm", "qdl_ppm", "releases", "decisions", "fills", "latency_q99_ns"];
    for name in shared.into_iter().chain(more) {
        let place = |columns: &[&str]| columns.iter().position(|column| *column == name).unwrap();
        let names: Vec<&str> = rows.columns.iter().map(String::as_str).collect();
        let of = |rows: Vec<(&str, &str, &str, String)>| {
            let mut rows = rows;
            rows.sort();
            rows.into_iter().map(|row| row.3).collect::<Vec<_>>()
        };
        let key = ["host", "bucket_length_ns", "bucket_start_ns"];
        let theirs = rows.rows.iter().map(|row| {
            let [host, length, start] =
                key.map(|name| row[names.iter().position(|n| *n == name).unwrap()].as_str());
            (host, length, start, row[place(&names)].clone())
        });
        let ours = back.iter().map(|row| {
            let [host, length, start] = key.map(|name| row[header.iter().position(|n| *n == name).unwrap()]);
            (host, length, start, row[place(&header)].to_owned())
        });
        assert_eq!(of(ours.collect()), of(theirs.collect()), "{name}");
    }
}

/// A host of the test's own: its counters grow between readings.
#[test]
#[cfg(target_os = "linux")]
fn a_host_is_recorded_imported_and_measured() {
    let scratch = Scratch::new();
    let proc = scratch.path().join("proc");
    std::fs::create_dir(&proc).unwrap();
    let write = |count: u64| {
        let text = format!(
            "nr_free_pages 7\nnuma_pte_updates {count}\nnuma_hint_faults {}\nnuma_hint_faults_local {}\n\
             numa_pages_migrated {}\nnuma_hit 5\n",
            4 * count,
            3 * count,
            2 * count
        );
        // Readers see one file or the other.
        std::fs::write(proc.join("vmstat.next"), text).unwrap();
        std::fs::rename(proc.join("vmstat.next"), proc.join("vmstat")).unwrap();
    };
    write(100);
    let mut recording = std::process::Command::new(program::numashock())
        .args(["record", "--for", "2200ms", "--every", "50ms", "--out", "host.csv", "--root", "."])
        .current_dir(scratch.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut count = 100;
    while recording.try_wait().unwrap().is_none() {
        count += 1;
        write(count);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(recording.wait().unwrap().success());
    let output =
        program::run(scratch.path(), ["import", "--counters", "host.csv", "--out", "i", "--slack", "50%"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("RHF 25.00 %") && said.contains("counters since 1970"), "{said}");
    let text = std::fs::read_to_string(scratch.path().join("i/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(summary["hosts"][0]["start_ns"].as_i64().unwrap() > 1_700_000_000 * SECOND, "{summary}");
    assert!(summary["hosts"][0]["MCR_mib_per_s"].as_f64().unwrap() > 0.0, "{summary}");
    let lines = std::fs::read_to_string(scratch.path().join("i/observations.jsonl")).unwrap();
    assert!(lines.lines().count() >= 1 && lines.contains("\"rhf_ppm\":250000"), "{lines}");
}

#[test]
fn what_does_not_fit_together_is_refused_with_a_way_out() {
    let scratch = Scratch::new();
    scratch.write("c.csv", "time_ms,numa_hint_faults\n0,0\n1000,5\n2000,3\n");
    scratch.write("t.csv", "time_ns,event\n1773739800000000000,send\n1773739801000000000,send\n");
    scratch.write("far.csv", "time_ns,event\n9000000000,send\n10500000000,send\n");
    let cases: [(&[&str], &[&str]); 7] = [
        (&[], &["--counters"]),
        (&["--counters", "nowhere.csv"], &["nowhere.csv", "cannot be read"]),
        (&["--counters", "c.csv"], &["c.csv:4", "numa_hint_faults fell from 5 to 3", "--max-falls 1"]),
        (
            &["--counters", "c.csv", "--max-falls", "1", "--telemetry", "t.csv"],
            &["t.csv", "since 1970", "--offset"],
        ),
        (
            &["--counters", "c.csv", "--max-falls", "1", "--telemetry", "far.csv"],
            &["far.csv", "a second in common"],
        ),
        (&["--counters", "c.csv", "--counters", "c.csv"], &["--counters NAME=FILE"]),
        (&["--counters", "c.csv", "--slack", "60%"], &["--slack", "at most 50%"]),
    ];
    for (arguments, parts) in cases {
        let output = program::run(scratch.path(), ["import"].iter().chain(arguments));
        assert_explained(&output, parts);
    }
    let output = program::run(scratch.path(), ["import", "--columns"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("time_ns "), "{}", stderr(&output));
    assert_eq!(scratch.names(), ["c.csv", "far.csv", "t.csv"]);
}
