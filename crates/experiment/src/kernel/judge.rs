//! Model against kernel: what is compared, how closely, and what is left out for a named reason.
//!
//! | item | recordings under `icount` | recordings on the host's clock |
//! |---|---|---|
//! | `scan_periods` | same values, each change within one row | not judged |
//! | `passes` | same passes, each within one row, its pages within 0.5 % | not judged |
//! | `final <counter>` | within 1 % | within 5 % |
//! | `over time <counter>` | within 2 % at every row | not judged |
//!
//! Relative to the kernel's final value or 2,000, whichever is larger; over time the smallest difference within 100 ms counts,
//! and one huge page more or less is none.
//!
//! A single-threaded run that deviates as a whole is compared up to a reading of numa_maps that made a pass mark more, if that
//! part agrees and is at least half of its rows; the verdict then says until when it agrees.

use serde::Serialize;

use super::trace::Row;
use super::{COUNTERS, Deviations, MIGRATED, PTE, RunReport};

/// Deviations are relative to the kernel's final value, or to this where that is smaller.
const LEAST_SCALE: f64 = 2000.0;
const FINAL_BOUND: f64 = 0.01;
/// Recordings on the host's clock do not repeat themselves: no series of theirs is judged.
const FINAL_BOUND_HOST_CLOCK: f64 = 0.05;
const OVER_TIME_BOUND: f64 = 0.02;
const PASS_BOUND: f64 = 0.005;
/// A row of one and the same workload, recorded twice, differs by up to this many pages (data README).
const REPEATABLE_PAGES: f64 = 14.0;
/// What a tick more of a pass adds to `node_stamp` at HZ=250 (spec: 8 F7), and how far charges differ that are the same.
const CHARGE_OF_A_TICK_MS: f64 = 128.0;
const CHARGE_NOISE_MS: f64 = 2.0;
/// How far apart in time two states may be that are compared over time, in ms.
const SHIFT_MS: f64 = 100.0;

/// One requirement on a run.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// `scan_periods`, `passes`, `final <counter>` or `over time <counter>`.
    pub name: String,
    /// What was found: a share (0.01 is 1 %), or the number of passes or period changes that have no equal.
    pub found: f64,
    /// The most that agrees.
    pub bound: f64,
    /// Whether it agrees.
    pub passed: bool,
    /// What differs first, in words; empty if it agrees.
    pub why: String,
}

/// A marking pass as the recording shows it: a row in which `numa_pte_updates` grew.
///
/// Where passes come so fast that they share rows or follow row upon row and do not match one by one, they are compared as a
/// group: the same pages in all, begin and end within one row, and in between every page within one row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PassReport {
    /// Time of the (first) row in the model, in ms; `null` if it has no such pass.
    pub model_ms: Option<f64>,
    /// The same in the kernel.
    pub kernel_ms: Option<f64>,
    /// Rows with marks in the model: more than one in a group.
    pub model_rows: usize,
    /// The same in the kernel.
    pub kernel_rows: usize,
    /// PTE updates of the model.
    pub model_pages: u64,
    /// Those of the kernel.
    pub kernel_pages: u64,
    /// |model − kernel| ÷ kernel.
    pub deviation: f64,
    /// Whether it agrees.
    pub agrees: bool,
}

/// What the judge has to know about a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// Recorded on the host's clock (`mttcg`).
    pub(super) host_clock: bool,
    /// One thread, and no idle one: only then does a second user of the address space change what is marked.
    pub(super) single_threaded: bool,
    /// Rows from one reading of numa_maps to the next.
    pub(super) rows_per_placement: usize,
    /// Most pages that a pass can mark while numa_maps is read.
    pub(super) pages_marked_while_read: u64,
    /// Time between rows.
    pub(super) row_ms: f64,
    /// Pages of the region.
    pub(super) pages: u64,
    /// Pages that are marked together: 512 where the region has huge pages.
    pub(super) unit: u64,
}

impl Context {
    /// Rows within 100 ms, at least one.
    fn shift_rows(&self) -> usize {
        ((SHIFT_MS / self.row_ms) as usize).max(1)
    }

    /// Whether two times, each of a row, are at most one row apart; rows come some milliseconds late.
    fn within_a_row(&self, a: f64, b: f64) -> bool {
        (a - b).abs() < self.row_ms * 1.5
    }
}

/// Compares two series of rows that are sampled at the same times.
pub(super) fn judge(named: RunReport, model: Vec<Row>, kernel: Vec<Row>, context: &Context) -> RunReport {
    let whole = Pair { model: &model, kernel: &kernel, unit: context.unit };
    let [pte, huge, hint, local, migrated] = last(&model).counters;
    let mut report = RunReport {
        modelled: true,
        numa_pte_updates: pte,
        numa_huge_pte_updates: huge,
        numa_hint_faults: hint,
        numa_hint_faults_local: local,
        numa_pages_migrated: migrated,
        deviation: Deviations::of(|counter| whole.final_deviation(counter)),
        deviation_over_time: Deviations::of(|counter| whole.over_time(counter, context)),
        numa_scan_seq: last(&model).scan_seq,
        marking_rows: marks(&model).len() as u64,
        first_marking_ms: first_at(&model, PTE, 1),
        scan_periods: periods(&model),
        moved_ms: moved(&model, context.pages),
        ..named
    };
    let (judged, cut) = whole.judged(context);
    report.warnings.extend(whole.slowed_pass(context).filter(|_| judged.failed()));
    report.compared_until_ms = Some(kernel[judged.rows - 1].time_ms);
    report.scan_periods_agree = judged.periods_agree;
    report.passes = judged.passes;
    report.exclusions = judged.exclusions;
    let failed: Vec<&str> =
        judged.items.iter().filter(|item| !item.passed).map(|item| item.why.as_str()).collect();
    let seconds = |row: &Row| row.time_ms / 1000.0;
    report.verdict = match cut {
        _ if !failed.is_empty() => format!("deviates: {}", failed.join("; ")),
        Some(reason) => {
            let (until, end) = (seconds(&kernel[judged.rows - 1]), seconds(last(&kernel)));
            format!("agrees until {until:.1} s of {end:.1} s: {reason}")
        }
        None => "agrees".to_owned(),
    };
    report.items = judged.items;
    report.model_rows = model;
    report.kernel_rows = kernel;
    report
}

/// What came out of comparing the first rows.
struct Judged {
    rows: usize,
    items: Vec<Item>,
    passes: Vec<PassReport>,
    periods_agree: bool,
    exclusions: Vec<String>,
}

impl Judged {
    fn failed(&self) -> bool {
        self.items.iter().any(|item| !item.passed)
    }
}

fn finals(pair: &Pair<'_>, bound: f64) -> Vec<Item> {
    let item = |counter: usize| {
        share_item(format!("final {}", COUNTERS[counter]), pair.final_deviation(counter), bound)
    };
    (0..COUNTERS.len()).map(item).collect()
}

fn share_item(name: String, found: f64, bound: f64) -> Item {
    let passed = found <= bound;
    let why = if passed {
        String::new()
    } else {
        format!("{name} {:.2} %, at most {} %", found * 100.0, bound * 100.0)
    };
    Item { name, found, bound, passed, why }
}

fn judge_passes(passes: &[PassReport]) -> Item {
    let wrong: Vec<&PassReport> = passes.iter().filter(|pass| !pass.agrees).collect();
    let why = wrong.first().map_or_else(String::new, |pass| {
        let side = |at: Option<f64>, pages: u64| {
            at.map_or("none".to_owned(), |at| format!("{pages} pages at {:.1} s", at / 1000.0))
        };
        format!(
            "passes: {} of {} differ, the first by model {}, kernel {}",
            wrong.len(),
            passes.len(),
            side(pass.model_ms, pass.model_pages),
            side(pass.kernel_ms, pass.kernel_pages)
        )
    });
    Item { name: "passes".to_owned(), found: wrong.len() as f64, bound: 0.0, passed: wrong.is_empty(), why }
}

/// Both series, row by row at the same times.
#[derive(Clone, Copy)]
struct Pair<'a> {
    model: &'a [Row],
    kernel: &'a [Row],
    unit: u64,
}

impl<'a> Pair<'a> {
    fn until(&self, rows: usize) -> Pair<'a> {
        Pair { model: &self.model[..rows], kernel: &self.kernel[..rows], unit: self.unit }
    }

    /// The comparison, and if it leaves out more than the last row, why.
    fn judged(&self, context: &Context) -> (Judged, Option<String>) {
        let mut exclusions = Vec::new();
        let end = self.comparable_rows(&mut exclusions);
        let judged = self.until(end).items(context, exclusions);
        if !judged.failed() {
            return (judged, None);
        }
        let Some((row, pages)) = self.sampler_marks(context, end) else { return (judged, None) };
        let reason = format!(
            "the sampler read numa_maps while a pass ran, and so raised mm_users of a single-threaded process: {pages} pages \
             marked that one user alone would have skipped as local"
        );
        let excluded = format!("everything from {:.1} s on: {reason}", self.kernel[row].time_ms / 1000.0);
        let before = self.until(row).items(context, vec![excluded]);
        // What leaving out does not explain is judged as it is.
        if before.failed() { (judged, None) } else { (before, Some(reason)) }
    }

    fn items(&self, context: &Context, mut exclusions: Vec<String>) -> Judged {
        let passes = self.passes();
        let mut near_end = Vec::new();
        let periods = self.judge_periods(context, &mut near_end);
        let periods_agree = periods.passed;
        let items = if context.host_clock {
            exclusions.push(
                "scan_periods, passes and everything over time: recorded on the host's clock (mttcg), which does not repeat itself"
                    .to_owned(),
            );
            finals(self, FINAL_BOUND_HOST_CLOCK)
        } else {
            exclusions.append(&mut near_end);
            let mut items = vec![periods, judge_passes(&passes)];
            items.extend(finals(self, FINAL_BOUND));
            items.extend((0..COUNTERS.len()).map(|counter| {
                let found = self.over_time(counter, context);
                share_item(format!("over time {}", COUNTERS[counter]), found, OVER_TIME_BOUND)
            }));
            items
        };
        Judged { rows: self.kernel.len(), items, passes, periods_agree, exclusions }
    }

    /// What is missing where a reading of numa_maps slowed a pass down and both sides charged it differently, by less than a
    /// tick's worth: its thread's clock, and with it every later pass, then differs by that much. It excuses nothing.
    ///
    /// The charge is 32 times what CPU time has grown by at the last tick, or at whatever else brought it up to date (spec: 8
    /// F7); how far into the pass the sampler's half of the emulated clock reaches decides on which side of a tick it ends.
    fn slowed_pass(&self, context: &Context) -> Option<String> {
        let rows = self.model.len().min(self.kernel.len());
        let every = context.rows_per_placement.max(1);
        (every..rows.saturating_sub(1)).step_by(every).find_map(|row| {
            let marked =
                |series: &[Row]| series[row + 1].counters[PTE] > series[row - 1].counters[PTE];
            if !marked(self.model) || !marked(self.kernel) {
                return None;
            }
            let charged = |series: &[Row], thread: usize| {
                series[row + 1].node_stamps[thread] - series[row - 1].node_stamps[thread]
            };
            (0..self.model[row].node_stamps.len()).find_map(|thread| {
                let (model, kernel) = (charged(self.model, thread), charged(self.kernel, thread));
                let apart = (model - kernel).abs();
                (apart > CHARGE_NOISE_MS && apart <= CHARGE_OF_A_TICK_MS + CHARGE_NOISE_MS).then(|| {
                    let at = self.kernel[row].time_ms / 1000.0;
                    format!(
                        "the sampler read numa_maps at {at:.1} s during a pass of t{thread}, which moved its node_stamp by \
                         {kernel:.1} ms in the kernel and {model:.1} ms in the model; less than a tick (32 x 4 ms) decides, and \
                         all later passes follow from it: how the emulator lets its CPUs take turns is not modelled"
                    )
                })
            })
        })
    }

    fn scale(&self, counter: usize) -> f64 {
        (last(self.kernel).counters[counter] as f64).max(LEAST_SCALE)
    }

    fn final_deviation(&self, counter: usize) -> f64 {
        let (model, kernel) = (last(self.model).counters[counter], last(self.kernel).counters[counter]);
        model.abs_diff(kernel) as f64 / self.scale(counter)
    }

    /// The largest deviation over time, when each row may also be compared with those up to 100 ms before and after.
    fn over_time(&self, counter: usize, context: &Context) -> f64 {
        let shift = context.shift_rows();
        let least = |(index, row): (usize, &Row)| {
            let near = self.kernel.iter().take(index + shift + 1).skip(index.saturating_sub(shift));
            near.map(|other| row.counters[counter].abs_diff(other.counters[counter])).min().unwrap_or(0)
        };
        let worst = self.model.iter().enumerate().map(least).max().unwrap_or(0);
        // Pages that are counted 512 at a time may be one count apart.
        let one = if matches!(counter, PTE | MIGRATED) && self.unit > 1 { self.unit } else { 0 };
        if worst <= one { 0.0 } else { worst as f64 / self.scale(counter) }
    }

    /// How many rows can be compared, and why not the last one.
    fn comparable_rows(&self, exclusions: &mut Vec<String>) -> usize {
        let rows = self.model.len().min(self.kernel.len());
        let final_marks = |rows: &[Row]| {
            let end = rows.len();
            end >= 2 && rows[end - 1].counters[PTE] > rows[end - 2].counters[PTE]
        };
        let (model, kernel) = (&self.model[..rows], &self.kernel[..rows]);
        let before = |other: &[Row]| rows >= 3 && final_marks(&other[..rows - 1]);
        let beyond = |one: &[Row], other: &[Row]| final_marks(one) && !final_marks(other) && !before(other);
        if rows > 2 && (beyond(model, kernel) || beyond(kernel, model)) {
            exclusions.push(format!(
                "the last row, {:.1} s: a pass so close to the end of the recording may fall on either side of it",
                self.kernel[rows - 1].time_ms / 1000.0
            ));
            return rows - 1;
        }
        rows
    }

    /// The first row of the later half in which a single-threaded kernel marked pages beyond the model's during a reading of
    /// numa_maps: row and excess. The sampler reads numa_maps after the counters of every `rows_per_placement`-th row, so such
    /// marks show in the row after it; and they are no more than a pass can mark during the reading.
    fn sampler_marks(&self, context: &Context, rows: usize) -> Option<(usize, u64)> {
        if !context.single_threaded || context.host_clock {
            return None;
        }
        let marked = |series: &[Row], from: usize, to: usize| {
            series[to.min(rows - 1)].counters[PTE].saturating_sub(series[from.min(rows - 1)].counters[PTE])
        };
        let readings = (1..rows).step_by(context.rows_per_placement.max(1));
        readings.skip_while(|row| row * 2 < rows).find_map(|row| {
            let found = marked(self.kernel, row - 1, row);
            let explained = marked(self.model, row.saturating_sub(2), row + 1);
            let excess = found.saturating_sub(explained);
            (excess > 0 && excess <= context.pages_marked_while_read).then_some((row, excess))
        })
    }

    /// Every pass of either side, matched by order.
    fn passes(&self) -> Vec<PassReport> {
        let (model, kernel) = (marks(self.model), marks(self.kernel));
        let mut passes = Vec::new();
        let (mut m, mut k) = (0, 0);
        while m < model.len() || k < kernel.len() {
            let (m_from, k_from) = (m, k);
            let next = |m: usize, k: usize| {
                let rows =
                    model.get(m).map(|mark| mark.0).into_iter().chain(kernel.get(k).map(|mark| mark.0));
                rows.min()
            };
            // A group ends where neither side marks in the next row.
            let mut reach = next(m, k);
            while let (Some(row), Some(end)) = (next(m, k), reach) {
                if row > end + 1 {
                    break;
                }
                m += usize::from(model.get(m).is_some_and(|mark| mark.0 == row));
                k += usize::from(kernel.get(k).is_some_and(|mark| mark.0 == row));
                reach = Some(row);
            }
            self.group(&model[m_from..m], &kernel[k_from..k], &mut passes);
        }
        passes
    }

    /// The passes of a group one by one if they match so, else the group as a whole.
    fn group(&self, model: &[(usize, u64)], kernel: &[(usize, u64)], passes: &mut Vec<PassReport>) {
        let one_by_one: Vec<PassReport> = model
            .iter()
            .zip(kernel)
            .map(|(model, kernel)| self.pass(std::slice::from_ref(model), std::slice::from_ref(kernel)))
            .collect();
        let lone = model.len().max(kernel.len()) == 1;
        if model.len() == kernel.len() && (lone || one_by_one.iter().all(|pass| pass.agrees)) {
            passes.extend(one_by_one);
            return;
        }
        let mut whole = self.pass(model, kernel);
        if let (Some(last_model), Some(last_kernel)) = (model.last(), kernel.last()) {
            let rows = model[0].0.min(kernel[0].0)..last_model.0.max(last_kernel.0) + 1;
            whole.agrees &=
                last_model.0.abs_diff(last_kernel.0) <= 1 && self.side_by_side(rows, whole.kernel_pages);
        }
        passes.push(whole);
    }

    /// Whether the marks of these rows follow each other within one row on both sides.
    fn side_by_side(&self, rows: std::ops::Range<usize>, pages: u64) -> bool {
        let room = allowance(pages, self.unit);
        let grown = |series: &[Row], row: usize| {
            let row = row.min(series.len() - 1);
            series[row].counters[PTE].saturating_sub(series[rows.start - 1].counters[PTE]) as f64
        };
        rows.clone().all(|row| {
            let model = grown(self.model, row);
            (grown(self.kernel, row - 1) - room..=grown(self.kernel, row + 1) + room).contains(&model)
        })
    }

    fn pass(&self, model: &[(usize, u64)], kernel: &[(usize, u64)]) -> PassReport {
        let pages = |marks: &[(usize, u64)]| marks.iter().map(|mark| mark.1).sum::<u64>();
        let at = |rows: &[Row], marks: &[(usize, u64)]| marks.first().map(|mark| rows[mark.0].time_ms);
        let (model_pages, kernel_pages) = (pages(model), pages(kernel));
        let apart = model_pages.abs_diff(kernel_pages) as f64;
        let near =
            model.first().zip(kernel.first()).is_some_and(|(model, kernel)| model.0.abs_diff(kernel.0) <= 1);
        PassReport {
            model_ms: at(self.model, model),
            kernel_ms: at(self.kernel, kernel),
            model_rows: model.len(),
            kernel_rows: kernel.len(),
            model_pages,
            kernel_pages,
            deviation: apart / (kernel_pages as f64).max(1.0),
            agrees: near && apart <= allowance(kernel_pages, self.unit),
        }
    }
}

impl Pair<'_> {
    /// The scan periods of every thread: the same values, each change within one row.
    fn judge_periods(&self, context: &Context, exclusions: &mut Vec<String>) -> Item {
        let (model, kernel) = (periods(self.model), periods(self.kernel));
        let end = last(self.kernel).time_ms;
        let mut differ = 0;
        let mut why = String::new();
        for (thread, (model, kernel)) in model.iter().zip(&kernel).enumerate() {
            let equal = model
                .iter()
                .zip(kernel)
                .take_while(|(a, b)| a.1 == b.1 && context.within_a_row(a.0, b.0))
                .count();
            let rest = (model.len() - equal, kernel.len() - equal);
            let next = model.get(equal).or(kernel.get(equal));
            match (rest, next) {
                ((0, 0), _) => {}
                ((1, 0) | (0, 1), Some(change)) if change.0 >= end => exclusions.push(format!(
                    "the change of t{thread}'s scan period to {} ms in the last row, {:.1} s: so close to the end of the \
                     recording it may fall on either side of it",
                    change.1,
                    change.0 / 1000.0
                )),
                _ => {
                    differ += rest.0.max(rest.1);
                    if why.is_empty() {
                        why = format!(
                            "scan_periods: change {} of t{thread} is {} in the model, {} in the kernel",
                            equal,
                            change_words(model.get(equal)),
                            change_words(kernel.get(equal))
                        );
                    }
                }
            }
        }
        Item { name: "scan_periods".to_owned(), found: differ as f64, bound: 0.0, passed: differ == 0, why }
    }
}

fn change_words(change: Option<&(f64, u64)>) -> String {
    change.map_or("none".to_owned(), |(at, period)| format!("{period} ms at {:.1} s", at / 1000.0))
}

/// How far the pages of a pass may differ: with huge pages, one of them is the least difference there is.
fn allowance(kernel_pages: u64, unit: u64) -> f64 {
    (kernel_pages as f64 * PASS_BOUND).max(REPEATABLE_PAGES).max(if unit > 1 { unit as f64 } else { 0.0 })
}

fn last(rows: &[Row]) -> &Row {
    rows.last().expect("every series has the row before the start")
}

/// Rows in which pages were marked, and how many.
pub(super) fn marks(rows: &[Row]) -> Vec<(usize, u64)> {
    let grown = rows.windows(2).map(|pair| pair[1].counters[PTE].saturating_sub(pair[0].counters[PTE]));
    grown.enumerate().filter(|(_, pages)| *pages > 0).map(|(index, pages)| (index + 1, pages)).collect()
}

pub(super) fn first_at(rows: &[Row], counter: usize, value: u64) -> Option<f64> {
    rows.iter().find(|row| value > 0 && row.counters[counter] >= value).map(|row| row.time_ms)
}

/// When so many percent of the region's pages had moved, counted with repetition: 50, 90, 99.
pub(super) fn moved(rows: &[Row], pages: u64) -> [Option<f64>; 3] {
    [50, 90, 99].map(|percent| first_at(rows, MIGRATED, (pages * percent).div_ceil(100)))
}

/// Scan period of each thread: (time of the row in ms, new value in ms), the value before the start first.
pub(super) fn periods(rows: &[Row]) -> Vec<Vec<(f64, u64)>> {
    let threads = rows.first().map_or(0, |row| row.periods.len());
    let series = |thread: usize| {
        let mut series: Vec<(f64, u64)> = Vec::new();
        for row in rows {
            if series.last().is_none_or(|last| last.1 != row.periods[thread]) {
                series.push((row.time_ms, row.periods[thread]));
            }
        }
        series
    };
    (0..threads).map(series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows each 100 ms with so many pages marked in each, and the scan period of one thread.
    fn rows(marked: &[u64], periods: &[u64]) -> Vec<Row> {
        let mut sum = 0;
        let row = |(index, pages): (usize, &u64)| {
            sum += pages;
            Row {
                time_ms: index as f64 * 100.0,
                counters: [sum, 0, 0, 0, 0],
                scan_seq: 0,
                periods: vec![periods.get(index).copied().unwrap_or(1000)],
                node_stamps: vec![0.0],
            }
        };
        marked.iter().enumerate().map(row).collect()
    }

    const CONTEXT: Context = Context {
        host_clock: false,
        single_threaded: false,
        rows_per_placement: 10,
        pages_marked_while_read: 5_000,
        row_ms: 100.0,
        pages: 32_768,
        unit: 1,
    };

    fn compared(model: &[Row], kernel: &[Row], context: &Context) -> RunReport {
        judge(RunReport::default(), model.to_vec(), kernel.to_vec(), context)
    }

    fn failed(report: &RunReport) -> Vec<&str> {
        report.items.iter().filter(|item| !item.passed).map(|item| item.name.as_str()).collect()
    }

    /// Rows of zeroes with marks at some of them.
    fn marked(length: usize, marks: &[(usize, u64)]) -> Vec<Row> {
        let mut pages = vec![0; length];
        for (row, count) in marks {
            pages[*row] += count;
        }
        rows(&pages, &[])
    }

    #[test]
    fn passes_agree_within_a_row_and_half_a_percent() {
        let kernel = marked(60, &[(7, 32_768), (30, 30_000), (50, 100)]);
        let near = marked(60, &[(8, 32_768), (29, 30_149), (50, 114)]);
        let report = compared(&near, &kernel, &CONTEXT);
        assert_eq!((failed(&report), report.passes.len()), (vec![], 3));
        for wrong in [
            &[(9, 32_768), (30, 30_000), (50, 100)][..],
            &[(7, 32_768), (30, 30_151), (50, 100)],
            &[(7, 32_768), (30, 30_000), (50, 115)],
            &[(7, 32_768), (30, 30_000)],
            &[(7, 32_768), (20, 50), (30, 30_000), (50, 100)],
        ] {
            let report = compared(&marked(60, wrong), &kernel, &CONTEXT);
            assert!(failed(&report).contains(&"passes"), "{wrong:?}");
        }
    }

    #[test]
    fn passes_that_share_rows_agree_as_a_group() {
        let kernel = marked(30, &[(5, 12_288), (6, 12_288), (7, 8_192), (8, 12_288), (20, 4_096)]);
        let other_split = marked(30, &[(5, 12_288), (6, 8_192), (7, 12_288), (8, 12_288), (20, 4_096)]);
        let report = compared(&other_split, &kernel, &CONTEXT);
        assert!(!failed(&report).contains(&"passes"), "{:?}", report.passes);
        assert_eq!((report.passes.len(), report.passes[0].kernel_rows), (2, 4));
        // The same pages, but most of them two rows late.
        let late = marked(30, &[(5, 1_000), (6, 1_000), (7, 20_000), (8, 23_056), (20, 4_096)]);
        assert!(failed(&compared(&late, &kernel, &CONTEXT)).contains(&"passes"));
    }

    #[test]
    fn scan_periods_need_the_same_values_within_a_row() {
        let periods = |at: usize, value: u64| -> Vec<u64> {
            (0..40).map(|row| if row < at { 1000 } else { value }).collect()
        };
        let kernel = rows(&[0; 40], &periods(20, 2000));
        let judged =
            |at, value| failed(&compared(&rows(&[0; 40], &periods(at, value)), &kernel, &CONTEXT)).join(" ");
        assert_eq!(judged(21, 2000), "");
        assert_eq!(judged(22, 2000), "scan_periods");
        assert_eq!(judged(20, 2001), "scan_periods");
        assert_eq!(judged(99, 0), "scan_periods");
    }

    #[test]
    fn what_happens_in_the_last_row_may_fall_outside() {
        let period =
            |at: usize| -> Vec<u64> { (0..40).map(|row| if row < at { 1000 } else { 2000 }).collect() };
        let without = rows(&[0; 40], &[]);
        let report = compared(&without, &rows(&[0; 40], &period(39)), &CONTEXT);
        assert_eq!((failed(&report), report.exclusions.len()), (vec![], 1));
        assert_eq!(failed(&compared(&without, &rows(&[0; 40], &period(38)), &CONTEXT)), ["scan_periods"]);
        let report = compared(&without, &marked(40, &[(39, 9_000)]), &CONTEXT);
        assert_eq!((failed(&report), report.exclusions.len()), (vec![], 1));
        let report = compared(&without, &marked(40, &[(38, 9_000)]), &CONTEXT);
        assert!(failed(&report).contains(&"passes") && report.exclusions.is_empty());
    }

    #[test]
    fn only_a_single_threaded_process_is_excused_by_the_sampler() {
        let model = marked(60, &[(7, 32_768)]);
        let kernel = marked(60, &[(7, 32_768), (31, 512)]);
        let alone = Context { single_threaded: true, ..CONTEXT };
        let report = compared(&model, &kernel, &alone);
        assert_eq!((failed(&report), report.compared_until_ms), (vec![], Some(3000.0)));
        assert!(report.exclusions[0].contains("512 pages"), "{:?}", report.exclusions);
        assert!(report.verdict.starts_with("agrees until 3.0 s of 5.9 s: the sampler"), "{}", report.verdict);
        assert!(failed(&compared(&model, &kernel, &CONTEXT)).contains(&"passes"));
        // Not after a reading of numa_maps, or more than a pass can mark during one.
        for marks in [[(7, 32_768), (35, 512)], [(7, 32_768), (31, 6_000)]] {
            assert!(failed(&compared(&model, &marked(60, &marks), &alone)).contains(&"passes"));
        }
    }

    #[test]
    fn the_sampler_excuses_neither_the_first_half_nor_what_needs_no_excuse() {
        let alone = Context { single_threaded: true, ..CONTEXT };
        let model = marked(60, &[(7, 32_768), (45, 100)]);
        // In the first half; and later, but what came before deviates too.
        for marks in [&[(1, 512), (7, 32_768), (45, 100)][..], &[(5, 32_768), (31, 512), (45, 100)]] {
            let report = compared(&model, &marked(60, marks), &alone);
            assert!(report.verdict.starts_with("deviates: "), "{marks:?}: {}", report.verdict);
            assert_eq!((report.exclusions.len(), report.compared_until_ms), (0, Some(5900.0)));
        }
        // Within every tolerance.
        let kernel = marked(60, &[(7, 32_768), (31, 9), (45, 100)]);
        let with_few = marked(60, &[(7, 32_768), (31, 4), (45, 100)]);
        let report = compared(&with_few, &kernel, &alone);
        assert_eq!((report.verdict.as_str(), report.exclusions.len()), ("agrees", 0));
        assert_eq!(report.compared_until_ms, Some(5900.0));
        // On the host's clock there are no readings to tell.
        let mttcg = Context { host_clock: true, ..alone };
        let report = compared(&model, &marked(60, &[(7, 32_768), (31, 4_000), (45, 100)]), &mttcg);
        assert!(report.verdict.starts_with("deviates: final numa_pte_updates"), "{}", report.verdict);
    }

    /// A pass at the second reading of numa_maps, charged so many ms, and a later one at this row.
    fn slowed(charge_ms: f64, later: usize) -> Vec<Row> {
        let mut rows = marked(60, &[(21, 32_768), (later, 32_768)]);
        rows[21..].iter_mut().for_each(|row| row.node_stamps[0] = charge_ms);
        rows
    }

    #[test]
    fn a_pass_that_the_sampler_slowed_is_named_and_excuses_nothing() {
        let kernel = slowed(896.0, 40);
        let report = compared(&slowed(927.6, 43), &kernel, &CONTEXT);
        assert!(failed(&report).contains(&"passes") && report.exclusions.is_empty(), "{}", report.verdict);
        assert!(report.warnings[0].contains("896.0 ms in the kernel and 927.6 ms in the model"));
        // Nothing is said where everything agrees, where the charge is the same, or where it is off by more than a tick.
        assert!(compared(&slowed(927.6, 41), &kernel, &CONTEXT).warnings.is_empty());
        for charge in [896.0, 1_152.0] {
            let report = compared(&slowed(charge, 43), &kernel, &CONTEXT);
            assert!(failed(&report).contains(&"passes") && report.warnings.is_empty());
        }
    }

    #[test]
    fn passes_over_huge_pages_may_differ_by_one() {
        let huge = Context { unit: 512, ..CONTEXT };
        let kernel = marked(60, &[(7, 51_200)]);
        let judged = |pages, context| {
            failed(&compared(&marked(60, &[(7, pages)]), &kernel, context)).contains(&"passes")
        };
        assert_eq!(
            (judged(50_688, &huge), judged(50_176, &huge), judged(50_688, &CONTEXT)),
            (false, true, true)
        );
    }

    #[test]
    fn recordings_on_the_hosts_clock_are_judged_by_their_ends() {
        let context = Context { host_clock: true, ..CONTEXT };
        let kernel = marked(60, &[(7, 32_768), (31, 10_000)]);
        assert_eq!(failed(&compared(&marked(60, &[(20, 41_000)]), &kernel, &context)), [""; 0]);
        assert_eq!(
            failed(&compared(&marked(60, &[(20, 39_000)]), &kernel, &context)),
            ["final numa_pte_updates"]
        );
    }
}
