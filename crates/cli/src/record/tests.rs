//! A whole recording of a host that is a folder of files, in time that a test moves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use numashock_sim::recorded_host::Recording;
use numashock_sim::scenario::units::Time;
use serde_json::Value;

use super::clock::Clock;
use super::record;
use crate::args::RecordArgs;

const MILLI: u64 = 1_000_000;
const PID: u32 = 4711;

/// A host with two nodes and a process of three threads, below a folder of the test's own, and a place for results.
struct Fixture(PathBuf);

impl Fixture {
    fn new() -> Fixture {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("numashock-record-{}-{number}", std::process::id()));
        let fixture = Fixture(folder);
        fs::create_dir_all(fixture.0.join("out")).unwrap();
        fixture.vmstat(1_000, 500, 30);
        for (name, value) in [("ostype", "Linux"), ("osrelease", "6.12.95"), ("version", "#1 SMP")] {
            fixture.write(&format!("proc/sys/kernel/{name}"), &format!("{value}\n"));
        }
        fixture.write("boot/config-6.12.95", "CONFIG_HZ_250=y\nCONFIG_HZ=250\n");
        fixture.write("proc/sys/kernel/numa_balancing", "1\n");
        fixture.write("sys/kernel/debug/sched/numa_balancing/scan_size_mb", "256\n");
        fixture.write("sys/devices/system/node/online", "0-1\n");
        for (node, distance) in [(0, "10 20"), (1, "20 10")] {
            let folder = format!("sys/devices/system/node/node{node}");
            fixture.write(&format!("{folder}/cpulist"), &format!("{}-{}\n", 2 * node, 2 * node + 1));
            fixture.write(&format!("{folder}/distance"), &format!("{distance}\n"));
            let meminfo = format!("Node {node} MemTotal: 1508336 kB\nNode {node} MemFree: 1480336 kB\n");
            fixture.write(&format!("{folder}/meminfo"), &meminfo);
        }
        fixture.stat('S', 777);
        for (tid, runtime) in [(4711, 10), (4712, 5), (4713, 900)] {
            fixture.thread(tid, runtime);
        }
        fixture.write("proc/4711/numa_maps", "7f00 default anon=9 N0=7 N1=2 kernelpagesize_kB=4\n");
        fixture
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.0.join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    fn vmstat(&self, pte_updates: u64, hint_faults: u64, migrated: u64) {
        let text = format!(
            "nr_free_pages 9\nnuma_hit 12\nnuma_pte_updates {pte_updates}\nnuma_hint_faults {hint_faults}\n\
             numa_hint_faults_local {migrated}\nnuma_pages_migrated {migrated}\npgfault 70\nnr_isolated_anon 3\n"
        );
        self.write("proc/vmstat", &text);
    }

    fn stat(&self, state: char, start: u64) {
        let fields = format!("{state} 1 10 10 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 {start} 1000 20");
        self.write("proc/4711/stat", &format!("4711 (desk) {fields}\n"));
    }

    fn thread(&self, tid: u32, runtime_ms: u64) {
        let text = format!(
            "desk ({tid}, #threads: 3)\n---\nse.sum_exec_runtime : {runtime_ms}.000000\nmm->numa_scan_seq : 6\n\
             numa_preferred_nid : 1\nnuma_faults node=1 task_private=63488 task_shared=4\n"
        );
        self.write(&format!("proc/{PID}/task/{tid}/sched"), &text);
        self.write(&format!("proc/{PID}/task/{tid}/comm"), &format!("worker-{tid}\n"));
    }

    fn arguments(&self) -> RecordArgs {
        RecordArgs {
            pid: None,
            threads: 2,
            placement: false,
            length: Time(1_000 * MILLI),
            every: Time(100 * MILLI),
            out: self.0.join("out/host.csv"),
            root: self.0.clone(),
        }
    }

    fn of_process(&self) -> RecordArgs {
        RecordArgs { pid: Some(PID), ..self.arguments() }
    }

    /// Records; `tick` is called each time that the recording has waited, and says how much later it wakes.
    fn record(&self, arguments: &RecordArgs, tick: impl FnMut(u64) -> u64) -> Result<Said, String> {
        let mut before = String::new();
        // A clock's origin is its own.
        let mut clock = FakeClock { now: 55, tick };
        let outcome = record(arguments, &mut clock, &mut |text| {
            before += text;
            Ok(())
        });
        outcome.map(|after| Said { before, after }).map_err(|error| error.to_string())
    }

    fn results(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("out")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn result(&self, name: &str) -> String {
        fs::read_to_string(self.0.join("out").join(name)).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.result("host.json")).unwrap()
    }

    /// The cells of a column, top to bottom.
    fn column(&self, name: &str) -> Vec<String> {
        let text = self.result("host.csv");
        let mut lines = text.lines();
        let place = lines.next().unwrap().split(',').position(|column| column == name);
        let place = place.unwrap_or_else(|| panic!("no column {name}"));
        lines.map(|line| line.split(',').nth(place).unwrap().to_owned()).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the command prints before and after the rows.
struct Said {
    before: String,
    after: String,
}

struct FakeClock<F> {
    now: u64,
    tick: F,
}

impl<F: FnMut(u64) -> u64> Clock for FakeClock<F> {
    fn now(&mut self) -> u64 {
        self.now
    }

    fn wait_until(&mut self, at: u64) {
        self.now = self.now.max(at);
        self.now += (self.tick)(self.now - 55);
    }
}

#[track_caller]
fn assert_holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "\"{part}\" is missing in: {text}");
    }
}

#[test]
fn a_recording_is_what_a_scenario_reads() {
    let host = Fixture::new();
    let said = host
        .record(&host.arguments(), |now| {
            let slot = now / (100 * MILLI);
            host.vmstat(1_000 + 512 * slot, 500 + 7 * slot, 30 + 3 * slot);
            // Wakes up late by less than an interval; the next row is in time again.
            slot * 1_234
        })
        .unwrap();
    assert_holds(
        &said.after,
        &["host.csv: 11 rows in 1.0 s", "numa_hint_faults +70", "Next: [recording] file"],
    );
    assert!(!said.before.contains("Note"), "{}", said.before);
    assert_eq!(host.results(), ["host.csv", "host.json"]);
    let recording = Recording::parse("host.csv", &host.result("host.csv")).unwrap();
    assert_eq!(recording.rows().len(), 10);
    for (index, row) in recording.rows().iter().enumerate() {
        let late = (index as u64 + 1) * 1_234;
        assert_eq!(row.until.0, (index as u64 + 1) * 100 * MILLI + late / 1_000 * 1_000, "no drift");
        let counts = (row.pte_updates, row.hint_faults, row.hint_faults_local, row.pages_migrated);
        assert_eq!(counts, (512, 7, 3, 3));
    }
    assert!(recording.covers().0 >= 1_000 * MILLI);
    assert_eq!(host.column("nr_isolated_anon"), ["3"; 11]);
    assert_eq!(host.column("mm_numa_scan_seq"), [""; 11]);
}

#[test]
fn the_description_says_what_the_host_is() {
    let host = Fixture::new();
    host.record(&host.of_process(), |_| 0).unwrap();
    let json = host.json();
    assert_eq!(json["kernel"], "Linux 6.12.95 #1 SMP");
    assert_eq!(json["hz"], 250);
    assert_eq!(json["single_node"], false);
    assert_eq!(json["nodes"]["node1"]["cpus"], "2-3");
    assert_eq!(json["nodes"]["node1"]["distance"], "20,10");
    assert_eq!(json["nodes"]["node0"]["memfree_kb"], "1480336");
    assert_eq!(json["sysctls"]["numa_balancing"], "1");
    assert_eq!(json["sysctls"]["scan_size_mb"], "256");
    let unread = json["sysctls_unread"]["scan_delay_ms"].as_str().unwrap();
    assert_holds(unread, &["scan_delay_ms: cannot be read", "debugfs"]);
    assert!(json["counters_absent"].as_array().unwrap().contains(&"numa_miss".into()));
    assert_eq!(json["process"]["thread_count"], 3);
    assert_eq!(json["process"]["threads"][1]["name"], "worker-4713");
    assert_eq!(json["outcome"]["rows"], 11);
    assert_eq!(json["outcome"]["ended"], "as asked");
}

#[test]
fn older_kernels_have_the_knobs_of_the_scan_among_the_sysctls() {
    let host = Fixture::new();
    host.remove("sys/kernel/debug");
    host.write("proc/sys/kernel/numa_balancing_scan_size_mb", "64\n");
    host.record(&host.arguments(), |_| 0).unwrap();
    assert_eq!(host.json()["sysctls"]["scan_size_mb"], "64");
}

#[test]
fn the_busiest_threads_of_a_process_fill_their_columns() {
    let host = Fixture::new();
    let said = host
        .record(&host.of_process(), |now| {
            host.thread(4713, 900 + now / MILLI);
            0
        })
        .unwrap();
    assert_holds(
        &said.before,
        &["process 4711 has 3 threads", "the 2 with the most CPU time", "--threads 3"],
    );
    assert_eq!(host.column("t0_runtime_ms"), ["10.000"; 11]);
    let runtime = host.column("t1_runtime_ms");
    assert_eq!((runtime[0].as_str(), runtime[10].as_str()), ("900.000", "1900.000"));
    assert_eq!(host.column("t1_preferred_nid"), ["1"; 11]);
    assert_eq!(host.column("t1_faults_n1_priv"), ["63488"; 11]);
    assert_eq!(host.column("t1_faults_n1_shared"), ["4"; 11]);
    assert_eq!(host.column("t1_faults_n0_priv"), [""; 11]);
    assert_eq!(host.column("t1_scan_period_ms"), [""; 11]);
    assert_eq!(host.column("mm_numa_scan_seq"), ["6"; 11]);
    assert!(!host.result("host.csv").contains("t2_"));
}

#[test]
fn pages_are_placed_once_in_each_whole_second() {
    let host = Fixture::new();
    let arguments = RecordArgs {
        placement: true,
        every: Time(400 * MILLI),
        length: Time(2_000 * MILLI),
        ..host.of_process()
    };
    host.record(&arguments, |_| 0).unwrap();
    assert_eq!(host.column("time_ms"), ["0.000", "400.000", "800.000", "1200.000", "1600.000", "2000.000"]);
    assert_eq!(host.column("place_n0"), ["7", "", "", "7", "", "7"]);
    assert_eq!(host.column("place_n1"), ["2", "", "", "2", "", "2"]);
}

#[test]
fn a_placement_that_cannot_be_read_is_refused_and_leaves_nothing() {
    let host = Fixture::new();
    host.remove("proc/4711/numa_maps");
    let arguments = RecordArgs { placement: true, ..host.of_process() };
    let error = host.record(&arguments, |_| 0).err().unwrap();
    assert_holds(&error, &["/proc/4711/numa_maps", "leave --placement out"]);
    assert_eq!(host.results(), [""; 0]);
}

#[test]
fn what_is_late_by_an_interval_is_left_out_and_counted() {
    let host = Fixture::new();
    let said =
        host.record(&host.arguments(), |now| if now == 300 * MILLI { 270 * MILLI } else { 0 }).unwrap();
    let expected =
        ["0.000", "100.000", "200.000", "570.000", "600.000", "700.000", "800.000", "900.000", "1000.000"];
    assert_eq!(host.column("time_ms"), expected);
    assert_holds(&said.after, &["9 rows", "2 rows were missed"]);
    assert_eq!(host.json()["outcome"]["rows_missed"], 2);
}

#[test]
fn a_host_that_sleeps_past_the_end_still_gets_a_last_row() {
    let host = Fixture::new();
    host.record(&host.arguments(), |now| if now == 300 * MILLI { 5_000 * MILLI } else { 0 }).unwrap();
    assert_eq!(host.column("time_ms"), ["0.000", "100.000", "200.000", "5300.000", "5300.010"]);
    assert!(Recording::parse("host.csv", &host.result("host.csv")).is_ok());
}

#[test]
fn a_process_that_ends_ends_its_recording() {
    let ends: [fn(&Fixture); 3] = [
        |host| host.remove("proc/4711"),
        // Another process has the number now.
        |host| host.stat('S', 778),
        |host| {
            host.stat('Z', 777);
            host.remove("proc/4711/task/4712");
            host.remove("proc/4711/task/4713");
        },
    ];
    for end in ends {
        let host = Fixture::new();
        let said = host
            .record(&host.of_process(), |now| {
                if now == 400 * MILLI {
                    end(&host);
                }
                0
            })
            .unwrap();
        assert_holds(&said.after, &["The process ended after 0.3 s", "4 rows in 0.3 s"]);
        assert_eq!(host.column("time_ms").len(), 4);
        assert_eq!(host.json()["outcome"]["ended"], "the process ended");
        assert_eq!(host.results(), ["host.csv", "host.json"]);
    }
}

#[test]
fn a_leader_that_has_exited_is_no_end_while_threads_run() {
    let host = Fixture::new();
    host.record(&host.of_process(), |now| {
        if now == 400 * MILLI {
            host.stat('Z', 777);
            host.write("proc/4711/numa_maps", "");
        }
        0
    })
    .unwrap();
    assert_eq!(host.column("time_ms").len(), 11);
}

#[test]
fn a_thread_that_ends_leaves_its_cells_empty() {
    let host = Fixture::new();
    host.record(&host.of_process(), |now| {
        if now == 400 * MILLI {
            host.remove("proc/4711/task/4713");
        }
        0
    })
    .unwrap();
    let runtime = host.column("t1_runtime_ms");
    assert_eq!((runtime[3].as_str(), runtime[4].as_str()), ("900.000", ""));
    assert_eq!(host.column("t0_runtime_ms"), ["10.000"; 11]);
    assert_eq!(host.json()["outcome"]["threads_ended"], serde_json::json!(["t1"]));
}

#[test]
fn a_process_that_is_over_before_the_first_row_leaves_nothing() {
    let host = Fixture::new();
    let error = host
        .record(&host.of_process(), |_| {
            host.remove("proc/4711");
            0
        })
        .err()
        .unwrap();
    assert_holds(&error, &["before the first row"]);
    assert_eq!(host.results(), [""; 0]);
    let error = host.record(&host.of_process(), |_| 0).err().unwrap();
    assert_holds(&error, &["--pid 4711", "no such process"]);
    host.stat('Z', 777);
    assert_holds(&host.record(&host.of_process(), |_| 0).err().unwrap(), &["has ended"]);
    host.write("proc/4711/stat", "noise");
    assert_holds(&host.record(&host.of_process(), |_| 0).err().unwrap(), &["/proc/4711/stat", "expected"]);
}

#[test]
fn one_row_is_said_to_be_too_few() {
    let host = Fixture::new();
    let said = host
        .record(&host.of_process(), |now| {
            if now > 0 {
                host.remove("proc/4711");
            }
            0
        })
        .unwrap();
    assert_holds(&said.after, &["1 rows", "record for longer"]);
}

#[test]
fn counters_that_vanish_leave_their_rows_under_the_partial_name() {
    let host = Fixture::new();
    let error = host
        .record(&host.arguments(), |now| {
            if now == 400 * MILLI {
                host.remove("proc/vmstat");
            }
            0
        })
        .err()
        .unwrap();
    assert_holds(&error, &["/proc/vmstat: cannot be read", ".host.csv.partial", "rename it"]);
    assert_eq!(host.results(), [".host.csv.partial", ".host.json.partial"]);
    let rows = host.result(".host.csv.partial");
    assert_eq!(Recording::parse("host.csv", &rows).unwrap().rows().len(), 3);
    host.vmstat(0, 0, 0);
    let error = host.record(&host.arguments(), |_| 0).err().unwrap();
    assert_holds(&error, &[".host.csv.partial", "left from another run", "remove it"]);
    assert_eq!(host.result(".host.csv.partial"), rows);
}

#[test]
fn nothing_that_exists_is_overwritten() {
    for name in ["host.csv", "host.json"] {
        let host = Fixture::new();
        host.write(&format!("out/{name}"), "mine");
        let error = host.record(&host.arguments(), |_| 0).err().unwrap();
        assert_holds(&error, &[name, "exists already", "--out"]);
        assert_eq!(host.result(name), "mine");
        assert_eq!(host.results(), [name]);
    }
    // It appears while the rows are taken.
    let host = Fixture::new();
    let error = host
        .record(&host.arguments(), |_| {
            host.write("out/host.csv", "mine");
            0
        })
        .err()
        .unwrap();
    assert_holds(&error, &["host.csv", ".host.csv.partial"]);
    assert_eq!(host.result("host.csv"), "mine");
    assert_eq!(host.results(), [".host.csv.partial", ".host.json.partial", "host.csv"]);
}

#[test]
fn a_host_with_one_node_is_recorded_and_said_to_be_one() {
    let one = "this host has one NUMA node";
    let host = Fixture::new();
    host.write("sys/devices/system/node/online", "0\n");
    host.write("proc/sys/kernel/numa_balancing", "0\n");
    let said = host.record(&host.arguments(), |_| 0).unwrap();
    assert_holds(&said.before, &[one, "balancing is off and the counters stay 0"]);
    assert_holds(&said.after, &["no stalls"]);
    assert_eq!(host.json()["single_node"], true);
    assert!(!host.result("host.csv").contains("place_n1"));
    assert_eq!(Recording::parse("host.csv", &host.result("host.csv")).unwrap().rows().len(), 10);

    let host = Fixture::new();
    host.write("sys/devices/system/node/online", "0\n");
    let said = host.record(&host.arguments(), |_| 0).unwrap();
    assert_holds(&said.before, &[one, "none can move"]);

    // A kernel without NUMA tells of no node at all.
    let host = Fixture::new();
    host.remove("sys/devices");
    host.remove("proc/sys");
    host.write("proc/vmstat", "nr_free_pages 9\npgfault 5\n");
    let said = host.record(&host.arguments(), |_| 0).unwrap();
    assert_holds(&said.before, &[one, "no numa_pte_updates", "built without NUMA_BALANCING"]);
    assert_eq!(host.json()["single_node"], true);
    assert_eq!(host.json()["kernel"], Value::Null);
    assert_eq!(host.column("numa_pte_updates"), [""; 11]);
    assert_eq!(host.column("pgfault"), ["0"; 11]);
    let refused = Recording::parse("host.csv", &host.result("host.csv")).unwrap_err().to_string();
    assert_holds(&refused, &["the cell is empty"]);
}

#[test]
fn balancing_that_is_off_on_many_nodes_is_said_with_the_way_on() {
    let host = Fixture::new();
    host.write("proc/sys/kernel/numa_balancing", "0\n");
    let said = host.record(&host.arguments(), |_| 0).unwrap();
    assert_holds(&said.before, &["sysctl kernel.numa_balancing=1"]);
}

#[test]
fn a_kernel_that_tells_less_of_threads_is_recorded_with_what_it_tells() {
    let host = Fixture::new();
    for tid in [4711, 4712, 4713] {
        host.remove(&format!("proc/4711/task/{tid}/sched"));
        host.write(&format!("proc/4711/task/{tid}/schedstat"), &format!("{tid}000000 0 1\n"));
    }
    let said = host.record(&host.of_process(), |_| 0).unwrap();
    assert_holds(&said.before, &["/proc/4711/task/4712/sched: cannot be read", "SCHED_DEBUG"]);
    assert_eq!(host.column("t1_runtime_ms"), ["4713.000"; 11]);
    assert_eq!(host.column("t1_total_numa_faults"), [""; 11]);
}

#[test]
fn wrong_times_and_names_are_refused_with_a_way_out() {
    let host = Fixture::new();
    let refused = |change: &dyn Fn(&mut RecordArgs), parts: &[&str]| {
        let mut arguments = host.arguments();
        change(&mut arguments);
        assert_holds(&host.record(&arguments, |_| 0).err().unwrap(), parts);
        assert_eq!(host.results(), [""; 0]);
    };
    refused(&|arguments| arguments.every = Time(0), &["--every", "1ms or longer"]);
    refused(&|arguments| arguments.every = Time(MILLI - 1), &["--every", "1ms or longer"]);
    refused(&|arguments| arguments.length = Time(50 * MILLI), &["--for is shorter than --every"]);
    refused(&|arguments| arguments.length = Time(u64::MAX), &["--for", "1000h"]);
    refused(&|arguments| arguments.placement = true, &["--placement", "--pid"]);
    let places: [(&str, &[&str]); 3] = [
        ("out/host.json", &["--out", "ends in .csv"]),
        ("out/host", &["--out", "ends in .csv"]),
        ("nowhere/host.csv", &["nowhere", "cannot be written", "--out"]),
    ];
    for (place, parts) in places {
        refused(&|arguments| arguments.out = host.0.join(place), parts);
    }
    refused(&|arguments| arguments.root = Path::new("/nowhere").into(), &["/proc/vmstat", "Linux host"]);
}

/// Whatever a file of the host holds, a row comes out or an error does.
#[test]
fn no_file_of_the_host_makes_it_panic() {
    let files = [
        "proc/vmstat",
        "proc/4711/stat",
        "proc/4711/task/4713/sched",
        "proc/4711/numa_maps",
        "sys/devices/system/node/online",
        "sys/devices/system/node/node0/meminfo",
    ];
    for file in files {
        let host = Fixture::new();
        let path = host.0.join(file);
        let whole = fs::read(&path).unwrap();
        let arguments = RecordArgs { placement: true, length: Time(100 * MILLI), ..host.of_process() };
        let noise: [&[u8]; 5] = [b"", b"\xff\xfe\0", b"-", b"99999999999999999999999", b"\n\n=:,-\n"];
        let cut = (0..whole.len()).step_by(7).map(|end| whole[..end].to_vec());
        for content in cut.chain(noise.iter().map(|noise| noise.to_vec())) {
            fs::write(&path, content).unwrap();
            let _ = host.record(&arguments, |_| 0);
            for name in host.results() {
                host.remove(&format!("out/{name}"));
            }
        }
    }
}
