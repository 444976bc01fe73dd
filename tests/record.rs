//! `record` on the host that the tests run on, whatever it has: with balancing or without, one node or many.

use std::process::{Command, Stdio};

use numashock_sim::recorded_host::Recording;

use crate::cli::{assert_explained, movable, stderr};
use crate::program::{self, Scratch};
use crate::root;

/// The columns of counters, as the recorded traces of kernels have them.
fn counter_columns() -> Vec<String> {
    let trace = std::fs::read_to_string(root().join("scenarios/recordings/a_seq_mt.csv")).unwrap();
    let header = trace.lines().next().unwrap();
    let columns: Vec<String> = header.split(',').map(str::to_owned).collect();
    let end = columns.iter().position(|column| column == "mm_numa_scan_seq").unwrap();
    columns[..end].to_vec()
}

/// Whether this host's kernel counts what a scenario needs.
fn host_counts() -> bool {
    let vmstat = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    vmstat.lines().any(|line| line.starts_with("numa_pte_updates "))
}

fn json(scratch: &Scratch, name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(scratch.path().join(name)).unwrap()).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_live_host_is_recorded_and_can_be_replayed() {
    let scratch = Scratch::new();
    let output = program::run(scratch.path(), ["record", "--for", "1s", "--out", "host.csv"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(scratch.names(), ["host.csv", "host.json"]);
    let text = std::fs::read_to_string(scratch.path().join("host.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let counters = counter_columns();
    assert_eq!(rows[0][..counters.len()], counters);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
    let times: Vec<f64> = rows[1..].iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(times[0], 0.0);
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    assert!(*times.last().unwrap() >= 1000.0, "{times:?}");
    let about = json(&scratch, "host.json");
    let missed = about["outcome"]["rows_missed"].as_u64().unwrap();
    assert_eq!(times.len() as u64 + missed, 11, "{times:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let nodes = about["nodes"].as_object().unwrap().len();
    assert_eq!(about["single_node"], nodes <= 1);
    assert_eq!(said.contains("this host has one NUMA node"), nodes <= 1, "{said}");

    if !host_counts() {
        assert!(said.contains("built without NUMA_BALANCING"), "{said}");
        assert!(Recording::parse("host.csv", &text).is_err());
        return;
    }
    assert_eq!(Recording::parse("host.csv", &text).unwrap().rows().len(), times.len() - 1);
    let trace = root().join("scenarios/recordings/a_seq_mt.csv");
    let scenario = movable("recorded-host.toml").replace(trace.to_str().unwrap(), "host.csv");
    scratch.write("s.toml", scenario);
    scratch.write("parents.csv", "arrival_s,side,quantity,horizon_s\n0.1,buy,50,0.5\n");
    let short = ["run.warmup=\"200ms\"", "run.duration=\"800ms\"", "run.transient=\"0s\""];
    let short = short.into_iter().flat_map(|setting| ["--set", setting]);
    let fixed = ["run", "s.toml", "--seeds", "1", "--out", "out"];
    let output = program::run(scratch.path(), fixed.into_iter().chain(short));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_is_recorded_until_it_ends() {
    let scratch = Scratch::new();
    let mut child = Command::new("sleep").arg("1").stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id().to_string();
    let arguments = ["record", "--pid", &pid, "--every", "50ms", "--for", "60s", "--out", "sleep.csv"];
    let output = program::run(scratch.path(), arguments);
    child.wait().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("The process ended after"));
    let about = json(&scratch, "sleep.json");
    assert_eq!(about["outcome"]["ended"], "the process ended");
    assert_eq!(about["process"]["threads"][0]["name"], "sleep");
    let text = std::fs::read_to_string(scratch.path().join("sleep.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let runtime = header.iter().position(|column| *column == "t0_runtime_ms").unwrap();
    let last: Vec<&str> = lines.next_back().unwrap().split(',').collect();
    assert!(last[0].parse::<f64>().unwrap() < 5_000.0, "{text}");
    // Where the kernel tells of the thread at all, the thread has run.
    assert!(last[runtime].is_empty() || last[runtime].parse::<f64>().unwrap() > 0.0, "{text}");
}

#[test]
fn what_cannot_be_recorded_is_explained_and_leaves_nothing() {
    let scratch = Scratch::new();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--pid", "4194999"], &["--pid 4194999", "no such process"]),
        (&["--every", "0s"], &["--every", "1ms or longer"]),
        (&["--for", "50ms"], &["--for is shorter than --every"]),
        (&["--for", "5"], &["--for", "expected a time", "\"250ms\""]),
        (&["--placement"], &["--placement", "--pid"]),
        (&["--threads", "0", "--pid", "1"], &["--threads", "1..=1024"]),
        (&["--pid", "x"], &["--pid", "invalid digit"]),
        (&["--root", "/nowhere"], &["/proc/vmstat", "Linux host"]),
    ];
    for (arguments, parts) in cases {
        let fixed = ["record", "--out", "host.csv"];
        let output = program::run(scratch.path(), fixed.iter().chain(arguments));
        assert_explained(&output, parts);
        assert_eq!(scratch.names(), [""; 0], "{arguments:?}");
    }
    scratch.write("host.csv", "mine");
    let output = program::run(scratch.path(), ["record", "--out", "host.csv"]);
    assert_explained(&output, &["host.csv", "exists already", "--out"]);
    assert_eq!(std::fs::read_to_string(scratch.path().join("host.csv")).unwrap(), "mine");
    let output = program::run(scratch.path(), ["record", "--out", "nowhere/host.csv"]);
    assert_explained(&output, &["nowhere/host.csv", "cannot be written"]);
    assert_eq!(scratch.names(), ["host.csv"]);
}

/// A recording that is killed leaves whole lines, under a name that says that it is not whole.
#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_recording_keeps_its_rows_under_the_partial_name() {
    let scratch = Scratch::new();
    let mut child = Command::new(program::numashock())
        .args(["record", "--for", "60s", "--every", "20ms", "--out", "host.csv"])
        .current_dir(scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let partial = scratch.path().join(".host.csv.partial");
    let rows = || std::fs::read_to_string(&partial).map_or(0, |text| text.lines().count());
    while rows() < 5 {
        assert!(child.try_wait().unwrap().is_none(), "it runs until it is ended");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(scratch.names(), [".host.csv.partial", ".host.json.partial"]);
    let text = std::fs::read_to_string(&partial).unwrap();
    assert!(text.ends_with('\n'));
    assert_eq!(Recording::parse("host.csv", &text).is_ok(), host_counts());
    assert_eq!(json(&scratch, ".host.json.partial")["outcome"], serde_json::Value::Null);
    let output = program::run(scratch.path(), ["record", "--out", "host.csv"]);
    assert_explained(&output, &[".host.csv.partial", "rename it to keep its rows"]);
}
