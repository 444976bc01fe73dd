//! The machine against real kernels: each recorded run is simulated from its start and compared counter by counter.
//!
//! ```text
//!   manifest, first row ──► workload::setup ──► Machine ──► model's rows ─┐
//!   later rows ───────────────────────────────────────────────────────────┴─► RunReport
//! ```
//!
//! Invariant: the model is built by a function that receives the manifest's inputs and the row before the start only.

mod trace;
mod workload;

use std::path::Path;

use numashock_engine::{EventHash, EventQueue, Nanos, Seed, Span};
use numashock_machine::{Counters, Effects, Machine, ProcessId, ThreadId};
use serde::Serialize;

pub use trace::KernelError;
pub use workload::lab_costs;

use trace::{FirstRow, Recording, Row, Run};
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
/// Deviations are relative to the kernel's final value, or to this where that is smaller.
const LEAST_SCALE: f64 = 2000.0;
/// Bounds of the verdict "within bounds", by counter; local faults may be few, so only the exact verdict looks at them.
const BOUNDS: [f64; 5] = [0.02, 0.02, 0.03, f64::INFINITY, 0.01];
/// The same for recordings on the host's clock, which do not repeat themselves better (data README): one thread, more threads.
const HOST_CLOCK_BOUNDS: [[f64; 5]; 2] = [[0.03; 5], [0.1; 5]];
/// What the best agreement means: finals and whole series.
const EXACT_FINAL: [f64; 5] = [0.01; 5];
const EXACT_SERIES: [f64; 5] = [0.02; 5];
/// Rows are read this long after their time.
const READ_DELAY: Span = Span(100_000);

/// Model against kernel for each run of a folder.
#[derive(Clone, Debug, Serialize)]
pub struct KernelReport {
    /// One entry a run, in the order of the manifest.
    pub runs: Vec<RunReport>,
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

    fn all_within(&self, bounds: [f64; 5]) -> bool {
        let found = [
            self.numa_pte_updates,
            self.numa_huge_pte_updates,
            self.numa_hint_faults,
            self.numa_hint_faults_local,
            self.numa_pages_migrated,
        ];
        found.iter().zip(bounds).all(|(found, bound)| *found <= bound)
    }
}

/// Model against kernel for one run. The five counters without prefix are the model's final values.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunReport {
    /// Name of the run.
    pub name: String,
    /// Whether the machine models this run.
    pub modelled: bool,
    /// If not, what is missing.
    pub why_not: Option<String>,
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
    /// The largest such deviation over time, where a row may be compared with its neighbours.
    pub deviation_over_time: Deviations,
    /// Final sequence number.
    pub numa_scan_seq: u64,
    /// The kernel's.
    pub kernel_numa_scan_seq: u64,
    /// Rows in which pages were marked.
    pub marking_rows: u64,
    /// The kernel's.
    pub kernel_marking_rows: u64,
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
    /// Time of the rows by which 50, 90 and 99 % of the model's final migrations were done.
    pub moved_ms: [Option<f64>; 3],
    /// The kernel's.
    pub kernel_moved_ms: [Option<f64>; 3],
    /// "exact", "within bounds", "deviates" or "not modelled yet".
    pub verdict: String,
}

/// Simulates every run of a folder of traces and compares.
///
/// # Errors
/// If the folder, its manifest or a recording cannot be used.
pub fn validate(folder: &Path) -> Result<KernelReport, KernelError> {
    let runs = trace::read_manifest(folder)?;
    let mut reports = Vec::with_capacity(runs.len());
    for run in &runs {
        let recording = trace::read_recording(folder, run)?;
        reports.push(compare(folder, run, &recording)?);
    }
    Ok(KernelReport { runs: reports })
}

/// A line a run: model, kernel, deviation, verdict.
#[must_use]
pub fn table(report: &KernelReport) -> String {
    let mut text = format!(
        "{:<20} {:>28} {:>28} {:>28} {:>9}  {}\n",
        "run", "pte updates", "hinting faults", "migrated", "periods", "verdict"
    );
    for run in &report.runs {
        if let Some(why) = &run.why_not {
            text += &format!("{:<20} not modelled yet: {why}\n", run.name);
            continue;
        }
        let cell =
            |model: u64, kernel: u64, deviation: f64| format!("{model}/{kernel} {:.2}%", deviation * 100.0);
        let periods = if run.scan_periods_agree { "agree" } else { "differ" };
        text += &format!(
            "{:<20} {:>28} {:>28} {:>28} {periods:>9}  {}\n",
            run.name,
            cell(run.numa_pte_updates, run.kernel_numa_pte_updates, run.deviation.numa_pte_updates),
            cell(run.numa_hint_faults, run.kernel_numa_hint_faults, run.deviation.numa_hint_faults),
            cell(run.numa_pages_migrated, run.kernel_numa_pages_migrated, run.deviation.numa_pages_migrated),
            run.verdict
        );
    }
    text
}

fn compare(folder: &Path, run: &Run, recording: &Recording) -> Result<RunReport, KernelError> {
    let kernel = Series::of(&recording.rows);
    let [pte, huge, hint, local, migrated] = kernel.last();
    let named = RunReport {
        name: run.name.clone(),
        kernel_numa_pte_updates: pte,
        kernel_numa_huge_pte_updates: huge,
        kernel_numa_hint_faults: hint,
        kernel_numa_hint_faults_local: local,
        kernel_numa_pages_migrated: migrated,
        kernel_numa_scan_seq: recording.rows.last().map_or(0, |row| row.scan_seq),
        verdict: "not modelled yet".to_owned(),
        ..RunReport::default()
    };
    let setup = match workload::setup(run, &recording.first) {
        Ok(setup) => setup,
        Err(NoSetup::NotModelled(why)) => return Ok(RunReport { why_not: Some(why), ..named }),
        Err(NoSetup::Value { key, value, expected }) => {
            let path = folder.join("manifest.json");
            return Err(KernelError::Value { path, run: run.name.clone(), key, value, expected });
        }
    };
    let expected = (setup.length.0 / setup.row.0) as usize + 1;
    if recording.rows.len() < expected {
        return Err(trace::cut_short(folder, run, recording.rows.len(), expected));
    }
    match simulate(&setup) {
        Ok(rows) => Ok(judge(named, &Series::of(&rows), &kernel, bounds(run, &recording.first))),
        Err(why) => Ok(RunReport { why_not: Some(why), ..named }),
    }
}

/// Runs the machine and samples it as the recorder did.
fn simulate(setup: &Setup) -> Result<Vec<Row>, String> {
    let mut queue = EventQueue::default();
    let mut effects = Effects::default();
    let mut hash = EventHash::new(0);
    let mut machine =
        Machine::new(setup.config.clone(), Seed(0), &mut effects).map_err(|error| error.to_string())?;
    let rows = setup.length.0 / setup.row.0;
    let end = setup.start + setup.length;
    let mut samples = vec![sample(&machine, Nanos::ZERO, setup)];
    for index in 1..=rows {
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

fn sample(machine: &Machine, at: Nanos, setup: &Setup) -> Row {
    let threads = 0..setup.workers;
    Row {
        time_ms: (at.0 as f64 - setup.start.0 as f64) / 1e6,
        counters: in_order(machine.counters()),
        scan_seq: u64::from(machine.address_space(ProcessId(0)).scan_seq),
        periods: threads
            .map(|thread| u64::from(machine.thread(ThreadId(thread as u16)).scan_period_ms))
            .collect(),
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

/// Rows seen as series.
struct Series<'a> {
    rows: &'a [Row],
}

impl<'a> Series<'a> {
    fn of(rows: &'a [Row]) -> Series<'a> {
        Series { rows }
    }

    fn last(&self) -> [u64; 5] {
        self.rows.last().map_or([0; 5], |row| row.counters)
    }

    fn marking_rows(&self) -> u64 {
        self.rows.windows(2).filter(|pair| pair[1].counters[PTE] > pair[0].counters[PTE]).count() as u64
    }

    fn first_at(&self, counter: usize, value: u64) -> Option<f64> {
        self.rows.iter().find(|row| value > 0 && row.counters[counter] >= value).map(|row| row.time_ms)
    }

    fn moved(&self) -> [Option<f64>; 3] {
        let total = self.last()[MIGRATED];
        [50, 90, 99].map(|percent| self.first_at(MIGRATED, (total * percent).div_ceil(100)))
    }

    fn periods(&self) -> Vec<Vec<(f64, u64)>> {
        let threads = self.rows.first().map_or(0, |row| row.periods.len());
        let series = |thread: usize| {
            let mut series: Vec<(f64, u64)> = Vec::new();
            for row in self.rows {
                if series.last().is_none_or(|last| last.1 != row.periods[thread]) {
                    series.push((row.time_ms, row.periods[thread]));
                }
            }
            series
        };
        (0..threads).map(series).collect()
    }
}

fn judge(named: RunReport, model: &Series<'_>, kernel: &Series<'_>, bounds: [f64; 5]) -> RunReport {
    let counters = model.last();
    let mut report = RunReport {
        modelled: true,
        numa_pte_updates: counters[0],
        numa_huge_pte_updates: counters[1],
        numa_hint_faults: counters[2],
        numa_hint_faults_local: counters[3],
        numa_pages_migrated: counters[4],
        deviation: Deviations::of(|counter| {
            deviation(counters[counter], kernel.last()[counter], kernel, counter)
        }),
        deviation_over_time: Deviations::of(|counter| over_time(model, kernel, counter)),
        numa_scan_seq: model.rows.last().map_or(0, |row| row.scan_seq),
        marking_rows: model.marking_rows(),
        kernel_marking_rows: kernel.marking_rows(),
        first_marking_ms: model.first_at(PTE, 1),
        kernel_first_marking_ms: kernel.first_at(PTE, 1),
        scan_periods: model.periods(),
        kernel_scan_periods: kernel.periods(),
        moved_ms: model.moved(),
        kernel_moved_ms: kernel.moved(),
        ..named
    };
    report.scan_periods_agree = agree(&report.scan_periods, &report.kernel_scan_periods);
    report.verdict = verdict(&report, bounds).to_owned();
    report
}

fn deviation(model: u64, value: u64, kernel: &Series<'_>, counter: usize) -> f64 {
    model.abs_diff(value) as f64 / (kernel.last()[counter] as f64).max(LEAST_SCALE)
}

/// The largest deviation over time, when each row may also be compared with the one before and the one after.
fn over_time(model: &Series<'_>, kernel: &Series<'_>, counter: usize) -> f64 {
    let mut worst = 0f64;
    for (index, row) in model.rows.iter().enumerate() {
        let near = kernel.rows.iter().take(index + 2).skip(index.saturating_sub(1));
        let least =
            near.map(|other| deviation(row.counters[counter], other.counters[counter], kernel, counter));
        worst = worst.max(least.fold(f64::INFINITY, f64::min));
    }
    worst
}

/// Whether the same values follow each other, each within one row of 100 ms.
fn agree(model: &[Vec<(f64, u64)>], kernel: &[Vec<(f64, u64)>]) -> bool {
    let same = |a: &(f64, u64), b: &(f64, u64)| a.1 == b.1 && (a.0 - b.0).abs() < 150.0;
    model.len() == kernel.len()
        && model
            .iter()
            .zip(kernel)
            .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)))
}

/// What can be asked of a run: recordings under `icount` repeat themselves, the others do not.
fn bounds(run: &Run, first: &FirstRow) -> [f64; 5] {
    if run.spec.accel == "mttcg" { HOST_CLOCK_BOUNDS[usize::from(first.threads.len() > 1)] } else { BOUNDS }
}

fn verdict(report: &RunReport, bounds: [f64; 5]) -> &'static str {
    let whole =
        report.deviation.all_within(EXACT_FINAL) && report.deviation_over_time.all_within(EXACT_SERIES);
    if whole && report.scan_periods_agree && report.marking_rows == report.kernel_marking_rows {
        "exact"
    } else if report.deviation.all_within(bounds) {
        "within bounds"
    } else {
        "deviates"
    }
}

#[cfg(test)]
mod tests;
