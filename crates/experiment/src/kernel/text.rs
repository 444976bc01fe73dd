//! The comparison as text: a line a run, what differs below it, and every pass and period on request.

use super::{COUNTERS, KernelReport, RunReport};

const HEAD: [&str; 14] = [
    "run",
    "verdict",
    "first marking s",
    "PTE updates",
    "huge",
    "hint faults",
    "local faults",
    "migrated",
    "scan seq",
    "passes",
    "50% moved s",
    "90% moved s",
    "99% moved s",
    "scan periods (ms@s)",
];

/// A line a run, each cell `model/kernel deviation`; below it what deviates, what was left out and why; at the end the sums.
#[must_use]
pub fn table(report: &KernelReport) -> String {
    render(report, false)
}

/// The same, with every item, pass and period change below its run.
#[must_use]
pub fn details(report: &KernelReport) -> String {
    render(report, true)
}

fn render(report: &KernelReport, with_details: bool) -> String {
    let lines: Vec<Vec<String>> =
        std::iter::once(HEAD.map(str::to_owned).to_vec()).chain(report.runs.iter().map(cells)).collect();
    // The last cell of a line may run on: periods, or why there is nothing to compare.
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            let cells = lines.iter().filter(|line| line.len() > column + 1);
            cells.map(|line| line[column].chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (column, cell) in cells.iter().enumerate() {
            let width = if column + 1 < cells.len() { widths[column] } else { 0 };
            text += &if column < 2 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    line(&lines[0]);
    for (run, cells) in report.runs.iter().zip(&lines[1..]) {
        line(cells);
        let below = notes(run).into_iter().chain(if with_details { detail(run) } else { Vec::new() });
        below.for_each(|note| line(&[String::new(), note]));
    }
    let sums = &report.summary;
    text += &format!(
        "{} runs: {} agree, {} deviate, {} not modelled, {} unreadable. Cells: model/kernel, and how far apart\n",
        report.runs.len(),
        sums.agree,
        sums.deviate,
        sums.not_modelled,
        sums.unreadable
    );
    text
}

fn cells(run: &RunReport) -> Vec<String> {
    if !run.modelled {
        return vec![run.name.clone(), run.verdict.clone()];
    }
    let word = run.verdict.split(':').next().unwrap_or_default();
    let count =
        |model: u64, kernel: u64, deviation: f64| format!("{model}/{kernel} {:.2}%", deviation * 100.0);
    let unequal = run.passes.iter().filter(|pass| !pass.agrees).count();
    let matched = if unequal == 0 { "agree".to_owned() } else { format!("{unequal} differ") };
    let mut cells = vec![
        run.name.clone(),
        if word == "deviates" { "DEVIATES".to_owned() } else { word.to_owned() },
        seconds(run.first_marking_ms, run.kernel_first_marking_ms),
        count(run.numa_pte_updates, run.kernel_numa_pte_updates, run.deviation.numa_pte_updates),
        count(
            run.numa_huge_pte_updates,
            run.kernel_numa_huge_pte_updates,
            run.deviation.numa_huge_pte_updates,
        ),
        count(run.numa_hint_faults, run.kernel_numa_hint_faults, run.deviation.numa_hint_faults),
        count(
            run.numa_hint_faults_local,
            run.kernel_numa_hint_faults_local,
            run.deviation.numa_hint_faults_local,
        ),
        count(run.numa_pages_migrated, run.kernel_numa_pages_migrated, run.deviation.numa_pages_migrated),
        format!(
            "{}/{} {:+}",
            run.numa_scan_seq,
            run.kernel_numa_scan_seq,
            run.numa_scan_seq as i64 - run.kernel_numa_scan_seq as i64
        ),
        format!("{}/{} {matched}", run.marking_rows, run.kernel_marking_rows),
    ];
    cells.extend(
        run.moved_ms.iter().zip(&run.kernel_moved_ms).map(|(model, kernel)| seconds(*model, *kernel)),
    );
    cells.push(periods(run));
    cells
}

fn seconds(model: Option<f64>, kernel: Option<f64>) -> String {
    let shown = |at: Option<f64>| at.map_or("-".to_owned(), |at| format!("{:.1}", at / 1000.0));
    let apart = model.zip(kernel).map_or(String::new(), |(model, kernel)| {
        // No minus before a zero: rows of the same slot differ by microseconds.
        format!(" {:+.1}", ((model - kernel) / 100.0).round() / 10.0 + 0.0)
    });
    format!("{}/{}{apart}", shown(model), shown(kernel))
}

/// The series of each thread, the model's beside the kernel's where they differ.
fn periods(run: &RunReport) -> String {
    let series = |changes: &[(f64, u64)]| {
        let words: Vec<String> =
            changes.iter().map(|(at, period)| format!("{period}@{:.1}", at.max(0.0) / 1000.0)).collect();
        words.join(" ")
    };
    if run.scan_periods_agree {
        let all: Vec<String> = run
            .kernel_scan_periods
            .iter()
            .enumerate()
            .map(|(t, kernel)| format!("t{t} {}", series(kernel)))
            .collect();
        return format!("agree: {}", all.join(" | "));
    }
    let all: Vec<String> = run
        .scan_periods
        .iter()
        .zip(&run.kernel_scan_periods)
        .enumerate()
        .map(|(t, (model, kernel))| format!("t{t} model {} kernel {}", series(model), series(kernel)))
        .collect();
    format!("differ: {}", all.join(" | "))
}

fn notes(run: &RunReport) -> Vec<String> {
    let failed = run.items.iter().filter(|item| !item.passed).map(|item| format!("deviates: {}", item.why));
    let excluded = run.exclusions.iter().map(|why| format!("excluded: {why}"));
    let warned = run.warnings.iter().map(|why| format!("warning: {why}"));
    failed.chain(excluded).chain(warned).collect()
}

fn detail(run: &RunReport) -> Vec<String> {
    let at = |at: Option<f64>| at.map_or("none".to_owned(), |at| format!("{:.1} s", at / 1000.0));
    let items = run.items.iter().map(|item| {
        let verdict = if item.passed { "PASS" } else { "FAIL" };
        if item.bound > 0.0 {
            format!("{verdict} {}: {:.3} %, at most {} %", item.name, item.found * 100.0, item.bound * 100.0)
        } else {
            format!("{verdict} {}: {} differ", item.name, item.found)
        }
    });
    let passes = run.passes.iter().map(|pass| {
        format!(
            "pass model {} {} pages in {} rows, kernel {} {} pages in {} rows, {:.2} %{}",
            at(pass.model_ms),
            pass.model_pages,
            pass.model_rows,
            at(pass.kernel_ms),
            pass.kernel_pages,
            pass.kernel_rows,
            pass.deviation * 100.0,
            if pass.agrees { "" } else { " DIFFERS" }
        )
    });
    let over_time = run.modelled.then(|| {
        let deviations = run.deviation_over_time.in_order();
        let words: Vec<String> = COUNTERS
            .iter()
            .zip(deviations)
            .map(|(name, share)| format!("{name} {:.2} %", share * 100.0))
            .collect();
        format!("largest deviation over time: {}", words.join(", "))
    });
    items.chain(over_time).chain(passes).collect()
}
