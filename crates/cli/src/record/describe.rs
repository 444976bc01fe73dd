//! What a recording says about itself: the JSON file beside its rows, and the sentences that are printed.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::host::Description;
use super::process::Process;
use super::session::{End, Outcome, Plan};
use super::text::{COUNTERS, Counters};

/// The columns without which a scenario cannot use a recording.
const NEEDED: [&str; 4] =
    ["numa_pte_updates", "numa_hint_faults", "numa_hint_faults_local", "numa_pages_migrated"];

/// A recording before its first row: everything that is known then.
pub(super) struct About<'a> {
    pub(super) host: &'a Description,
    pub(super) process: Option<&'a Process>,
    pub(super) plan: &'a Plan,
    /// The counters that `/proc/vmstat` gave before the start.
    pub(super) counters: &'a Counters,
    /// Why the process gives no statistics, if so.
    pub(super) no_statistics: Option<String>,
}

impl About<'_> {
    /// Whether balancing has nowhere to move a page to.
    fn single_node(&self) -> bool {
        self.host.nodes.len() <= 1
    }

    fn absent(&self) -> Vec<&'static str> {
        let pairs = COUNTERS.into_iter().zip(self.counters);
        pairs.filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect()
    }

    fn absent_needed(&self) -> Vec<&'static str> {
        self.absent().into_iter().filter(|name| NEEDED.contains(name)).collect()
    }

    /// What whoever reads the rows must know, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let balancing = self.host.knobs.iter().find(|(name, _)| name == "numa_balancing");
        let balancing = balancing.map(|(_, value)| value.as_str());
        let off = balancing.is_none_or(|value| value == "0");
        let mut notes = Vec::new();
        match (self.single_node(), off) {
            (true, true) => notes
                .push("this host has one NUMA node: balancing is off and the counters stay 0".to_owned()),
            (true, false) => notes.push(
                "this host has one NUMA node: kernel.numa_balancing is on, so pages may be marked, but none can move"
                    .to_owned(),
            ),
            (false, true) if balancing == Some("0") => notes.push(
                "kernel.numa_balancing is 0: the counters stay as they are; `sysctl kernel.numa_balancing=1` turns \
                 balancing on"
                    .to_owned(),
            ),
            _ => {}
        }
        let absent = self.absent_needed();
        if !absent.is_empty() {
            notes.push(format!(
                "/proc/vmstat has no {}: the kernel is built without NUMA_BALANCING; these columns stay empty, and no \
                 scenario can use the recording",
                absent.join(", ")
            ));
        } else if let Some((_, why)) = self.host.unread.iter().find(|(name, _)| name == "scan_size_mb") {
            notes.push(format!("the knobs of the scan are not recorded: {why}"));
        }
        if let Some(process) = self.process {
            let (recorded, all) = (process.threads.len(), process.thread_count);
            if recorded < all {
                notes.push(format!(
                    "process {} has {all} threads; the {recorded} with the most CPU time are recorded; --threads \
                     {all} takes all",
                    process.pid
                ));
            }
        }
        notes.extend(self.no_statistics.clone());
        notes
    }

    /// The file beside the rows. Keys that a recorded trace's manifest has too mean the same.
    pub(super) fn to_json(&self, csv: &Path, outcome: Option<&Outcome>) -> Value {
        let named = |name: Option<&std::ffi::OsStr>| name.map(|name| name.to_string_lossy().into_owned());
        let pairs = |list: &[(String, String)]| -> Map<String, Value> {
            list.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
        };
        let nodes: Map<String, Value> = self
            .host
            .nodes
            .iter()
            .map(|node| {
                let kilobytes = |value: Option<u64>| value.map(|value| value.to_string());
                let about = json!({
                    "cpus": node.cpus,
                    "distance": node.distance,
                    "memtotal_kb": kilobytes(node.total_kb),
                    "memfree_kb": kilobytes(node.free_kb),
                });
                (format!("node{}", node.id), about)
            })
            .collect();
        json!({
            "name": named(csv.file_stem()),
            "csv": named(csv.file_name()),
            "kind": "live host; the workload is unknown, so this is no validation run",
            "kernel": self.host.kernel,
            "hz": self.host.hz,
            "single_node": self.single_node(),
            "nodes": nodes,
            "sysctls": pairs(&self.host.knobs),
            "sysctls_unread": pairs(&self.host.unread),
            "counters_absent": self.absent(),
            "process": self.process.map(process_json),
            "sampling": {
                "every_ms": millis(self.plan.every),
                "for_ms": millis(self.plan.length),
                "placement": self.plan.placement,
            },
            "notes": self.notes(),
            "outcome": outcome.map(outcome_json),
        })
    }

    /// What is printed when the recording is whole.
    pub(super) fn farewell(&self, csv: &Path, outcome: &Outcome) -> String {
        let name = csv.display();
        let mut text = String::new();
        if outcome.end == End::ProcessEnded {
            text += &format!(
                "The process ended after {} s; the recording ends with it.\n",
                seconds(outcome.last)
            );
        }
        text += &format!("Wrote {name}: {} rows in {} s", outcome.rows, seconds(outcome.last));
        if outcome.missed > 0 {
            text += &format!(
                "; {} rows were missed because a sample took longer than --every, or the host was busy",
                outcome.missed
            );
        }
        text.push('\n');
        let growth = |name: &'static str| outcome.growth(name).map(|grown| format!("{name} {grown:+}"));
        let grown: Vec<String> = NEEDED.into_iter().filter_map(growth).collect();
        if !grown.is_empty() {
            text += &format!("Over the recording: {}\n", grown.join(", "));
        }
        if outcome.rows < 2 {
            text += "One row gives no difference, so no scenario can use the recording; record for longer.\n";
        } else if !grown.is_empty() && NEEDED.into_iter().all(|name| outcome.growth(name).unwrap_or(0) == 0) {
            text += "Balancing did nothing meanwhile: a scenario that replays this has no stalls.\n";
        } else if self.absent_needed().is_empty() {
            text += &format!("Next: [recording] file = \"{name}\" in a scenario\n");
        }
        text
    }
}

fn process_json(process: &Process) -> Value {
    let threads: Vec<Value> = process
        .threads
        .iter()
        .enumerate()
        .map(|(index, thread)| json!({ "columns": format!("t{index}"), "tid": thread.tid, "name": thread.name }))
        .collect();
    json!({ "pid": process.pid, "thread_count": process.thread_count, "threads": threads })
}

fn outcome_json(outcome: &Outcome) -> Value {
    let ended = match outcome.end {
        End::Whole => "as asked",
        End::ProcessEnded => "the process ended",
    };
    let threads: Vec<String> = outcome.threads_ended.iter().map(|index| format!("t{index}")).collect();
    json!({
        "ended": ended,
        "rows": outcome.rows,
        "rows_missed": outcome.missed,
        "duration_ms": millis(outcome.last),
        "started_unix_ns": outcome.began,
        "threads_ended": threads,
    })
}

fn millis(nanos: u64) -> f64 {
    (nanos / 1_000) as f64 / 1_000.0
}

fn seconds(nanos: u64) -> String {
    let tenths = (nanos + 50_000_000) / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
