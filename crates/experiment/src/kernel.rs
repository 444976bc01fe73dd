//! The machine against real kernels: each recorded run is simulated from its start and compared counter by counter.
//!
//! ```text
//!   manifest, FirstRow ──► workload::setup ──► Machine ──► model's rows ─┐
//!   recorded rows ───────────────────────────────────────────────────────┴─► RunReport
//! ```
//!
//! Invariant: the model is built by a function that receives the manifest's inputs and `FirstRow` only: the row before the start,
//! and of the second row its time and the CPU time of each thread. Those two tell the phase of the ticks and what CPU time the
//! threads begin with; the recordings' README allows the CPU time of the second row. No counter, scan period or `node_stamp` of
//! it, and nothing of any row after it, reaches the model.

mod arguments;
mod judge;
mod layout;
mod memory;
mod text;
mod trace;
mod workload;

use std::path::Path;

use numashock_engine::{EventHash, EventQueue, Nanos, Seed, Span};
use numashock_machine::{Counters, Effects, Machine, MachineError, ProcessId, ThreadId};
use serde::Serialize;

pub use judge::{Item, PassReport};
pub use text::{details, table};
pub use trace::{KernelError, Row};
pub use workload::lab_costs;

use trace::{Listed, Recording, Run};
use workload::{NoSetup, Setup};

/// The counters that are compared, by their names in `/proc/vmstat`.
pub const COUNTERS: [&str; 5] = [
    "numa_pte_updates",
    "numa_huge_pte_updates",
    "numa_hint_faults",
    "numa_hint_faults_local",
    "numa_pages_migrated",
];
const PTE: usize = 0;
const MIGRATED: usize = 4;
/// Rows are read this long after their time.
const READ_DELAY: Span = Span(100_000);

/// Model against kernel for each run of a folder.
///
/// As JSON: `{"runs": [RunReport...], "summary": {"agree": n, "deviate": n, "not_modelled": n, "unreadable": n}}`.
#[derive(Clone, Debug, Serialize)]
pub struct KernelReport {
    /// One entry a run, in the order of the manifest.
    pub runs: Vec<RunReport>,
    /// How many runs came out how.
    pub summary: Summary,
}

/// How many runs came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Within every tolerance.
    pub agree: usize,
    /// Outside of at least one.
    pub deviate: usize,
    /// The machine lacks a mechanism.
    pub not_modelled: usize,
    /// Manifest entry or recording cannot be used.
    pub unreadable: usize,
}

impl Summary {
    /// How many runs were compared at all.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.agree + self.deviate
    }
}

/// Deviations by the names of the counters.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Deviations {
    /// Pages marked.
    pub numa_pte_updates: f64,
    /// Huge pages marked.
    pub numa_huge_pte_updates: f64,
    /// Hinting faults.
    pub numa_hint_faults: f64,
    /// Those on local pages.
    pub numa_hint_faults_local: f64,
    /// Pages migrated.
    pub numa_pages_migrated: f64,
}

impl Deviations {
    fn of(by_counter: impl Fn(usize) -> f64) -> Deviations {
        Deviations {
            numa_pte_updates: by_counter(0),
            numa_huge_pte_updates: by_counter(1),
            numa_hint_faults: by_counter(2),
            numa_hint_faults_local: by_counter(3),
            numa_pages_migrated: by_counter(4),
        }
    }

    fn in_order(&self) -> [f64; 5] {
        [
            self.numa_pte_updates,
            self.numa_huge_pte_updates,
            self.numa_hint_faults,
            self.numa_hint_faults_local,
            self.numa_pages_migrated,
        ]
    }
}

/// Model against kernel for one run. Keys without prefix are the model's, those with `kernel_` the recording's.
///
/// Times are in ms from the start of the workload and always those of a row. Finals and `deviation*` are of the whole run; `items`
/// judge the part that `exclusions` leave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunReport {
    /// Name of the run.
    pub name: String,
    /// "agrees", "agrees until T s of L s: ..." where more than the last row was left out, "deviates: ...", "not modelled: ..." or "unreadable: ...".
    pub verdict: String,
    /// Whether the machine models this run.
    pub modelled: bool,
    /// If not, what is missing.
    pub why_not: Option<String>,
    /// What makes the run unreadable: file, line or key, what was found, what was expected.
    pub unreadable: Option<String>,
    /// The requirements, each with what was found; empty if nothing was compared.
    pub items: Vec<Item>,
    /// What was left out of the comparison, and the reason.
    pub exclusions: Vec<String>,
    /// What could make the workload another one than the model's.
    pub warnings: Vec<String>,
    /// Time of the last row that was compared.
    pub compared_until_ms: Option<f64>,
    /// Pages marked.
    pub numa_pte_updates: u64,
    /// Huge pages marked.
    pub numa_huge_pte_updates: u64,
    /// Hinting faults.
    pub numa_hint_faults: u64,
    /// Those on local pages.
    pub numa_hint_faults_local: u64,
    /// Pages migrated.
    pub numa_pages_migrated: u64,
    /// The kernel's final values.
    pub kernel_numa_pte_updates: u64,
    /// The same.
    pub kernel_numa_huge_pte_updates: u64,
    /// The same.
    pub kernel_numa_hint_faults: u64,
    /// The same.
    pub kernel_numa_hint_faults_local: u64,
    /// The same.
    pub kernel_numa_pages_migrated: u64,
    /// |model − kernel| ÷ max(kernel, 2000), final, by counter.
    pub deviation: Deviations,
    /// The largest such deviation over time: at each row the smallest difference within 100 ms, ÷ max(final, 2000).
    pub deviation_over_time: Deviations,
    /// Final sequence number.
    pub numa_scan_seq: u64,
    /// The kernel's.
    pub kernel_numa_scan_seq: u64,
    /// Rows in which pages were marked.
    pub marking_rows: u64,
    /// The kernel's.
    pub kernel_marking_rows: u64,
    /// The marking passes of both, matched by order.
    pub passes: Vec<PassReport>,
    /// Time of the first row with marked pages.
    pub first_marking_ms: Option<f64>,
    /// The kernel's.
    pub kernel_first_marking_ms: Option<f64>,
    /// Scan period of each thread: (ms of the row, new value in ms).
    pub scan_periods: Vec<Vec<(f64, u64)>>,
    /// The kernel's.
    pub kernel_scan_periods: Vec<Vec<(f64, u64)>>,
    /// Whether values agree, each within one row.
    pub scan_periods_agree: bool,
    /// Time of the rows by which 50, 90 and 99 % of as many pages as the region has were migrated.
    pub moved_ms: [Option<f64>; 3],
    /// The kernel's.
    pub kernel_moved_ms: [Option<f64>; 3],
    /// The model's rows; not in the JSON.
    #[serde(skip)]
    pub model_rows: Vec<Row>,
    /// The kernel's rows at the same times; not in the JSON.
    #[serde(skip)]
    pub kernel_rows: Vec<Row>,
}

/// Simulates every run of a folder of traces and compares. A run that cannot be read is said to be so; the others are compared.
///
/// # Errors
/// If the folder or its manifest cannot be used at all.
pub fn validate(folder: &Path) -> Result<KernelReport, KernelError> {
    let mut report = KernelReport { runs: Vec::new(), summary: Summary::default() };
    for listed in trace::read_manifest(folder)? {
        let run = one(folder, listed);
        let summary = &mut report.summary;
        let count = if run.unreadable.is_some() {
            &mut summary.unreadable
        } else if !run.modelled {
            &mut summary.not_modelled
        } else if run.items.iter().all(|item| item.passed) {
            &mut summary.agree
        } else {
            &mut summary.deviate
        };
        *count += 1;
        report.runs.push(run);
    }
    Ok(report)
}

fn one(folder: &Path, listed: Listed) -> RunReport {
    let compared = listed.run.and_then(|run| {
        let recording = trace::read_recording(folder, &run)?;
        compare(folder, &run, recording)
    });
    compared.unwrap_or_else(|error| RunReport {
        name: listed.name,
        verdict: format!("unreadable: {error}"),
        unreadable: Some(error.to_string()),
        ..RunReport::default()
    })
}

fn compare(folder: &Path, run: &Run, recording: Recording) -> Result<RunReport, KernelError> {
    let kernel = recording.rows;
    let last = kernel.last().expect("a recording has rows");
    let [pte, huge, hint, local, migrated] = last.counters;
    let mut report = RunReport {
        name: run.name.clone(),
        warnings: arguments::warnings(run),
        kernel_numa_pte_updates: pte,
        kernel_numa_huge_pte_updates: huge,
        kernel_numa_hint_faults: hint,
        kernel_numa_hint_faults_local: local,
        kernel_numa_pages_migrated: migrated,
        kernel_numa_scan_seq: last.scan_seq,
        kernel_marking_rows: judge::marks(&kernel).len() as u64,
        kernel_first_marking_ms: judge::first_at(&kernel, PTE, 1),
        kernel_scan_periods: judge::periods(&kernel),
        ..RunReport::default()
    };
    let not_modelled = |report: RunReport, why: String| RunReport {
        verdict: format!("not modelled: {why}"),
        why_not: Some(why),
        ..report
    };
    let setup = workload::setup(run, &recording.first).and_then(|setup| {
        let short = (kernel.len() as u64) < setup.rows();
        Ok((if short { Vec::new() } else { simulate(&setup)? }, setup))
    });
    match setup {
        Ok((model, setup)) => {
            let expected = setup.rows() as usize;
            if kernel.len() < expected {
                return Err(trace::cut_short(folder, run, kernel.len(), expected));
            }
            report.kernel_moved_ms = judge::moved(&kernel, setup.context.pages);
            let mut kernel = kernel;
            kernel.truncate(expected);
            Ok(judge::judge(report, model, kernel, &setup.context))
        }
        Err(NoSetup::NotModelled(why)) => Ok(not_modelled(report, why)),
        Err(NoSetup::Value { key, value, expected }) => {
            let path = folder.join(trace::MANIFEST);
            Err(KernelError::Value { path, run: run.name.clone(), key, value, expected })
        }
    }
}

/// Runs the machine and samples it as the recorder did.
fn simulate(setup: &Setup) -> Result<Vec<Row>, NoSetup> {
    let mut queue = EventQueue::default();
    let mut effects = Effects::default();
    let mut hash = EventHash::new(0);
    let mut machine = Machine::new(setup.config.clone(), Seed(0), &mut effects).map_err(refused)?;
    let end = setup.start + setup.length;
    let mut samples = vec![sample(&machine, Nanos::ZERO, setup)];
    for index in 1..setup.rows() {
        let at = (setup.start + setup.row * index + READ_DELAY).min(end);
        loop {
            for (due, event) in effects.schedule.drain(..) {
                queue.push(due, event);
            }
            if queue.next_at() > at {
                break;
            }
            let (now, event) = queue.pop().expect("an event is due");
            machine.handle(now, event, &mut hash, &mut effects);
        }
        samples.push(sample(&machine, at, setup));
    }
    Ok(samples)
}

fn refused(error: MachineError) -> NoSetup {
    match error {
        MachineError::NotModelled { .. } => NoSetup::NotModelled(error.to_string()),
        _ => NoSetup::Value {
            key: "spec".to_owned(),
            value: "no machine".to_owned(),
            expected: format!("a workload that a machine can run ({error})"),
        },
    }
}

fn sample(machine: &Machine, at: Nanos, setup: &Setup) -> Row {
    let threads = || (0..setup.workers).map(|thread| machine.thread(ThreadId(thread as u16)));
    Row {
        time_ms: (at.0 as f64 - setup.start.0 as f64) / 1e6,
        counters: in_order(machine.counters()),
        scan_seq: u64::from(machine.address_space(ProcessId(0)).scan_seq),
        periods: threads().map(|thread| u64::from(thread.scan_period_ms)).collect(),
        node_stamps: threads().map(|thread| thread.node_stamp.0 as f64 / 1e6).collect(),
    }
}

fn in_order(counters: Counters) -> [u64; 5] {
    [
        counters.numa_pte_updates,
        counters.numa_huge_pte_updates,
        counters.numa_hint_faults,
        counters.numa_hint_faults_local,
        counters.numa_pages_migrated,
    ]
}

#[cfg(test)]
mod tests;
