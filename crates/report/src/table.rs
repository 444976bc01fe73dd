//! The table that ends a sweep in the terminal, at most 140 columns wide.

use std::fmt::Write;

use numashock_experiment::results::{ChoiceSummary, CostBp, Difference, Estimate, Metrics, Segment, Summary};

use crate::plot::shorten;

const WIDTH: usize = 140;
const NAME: usize = 26;
const SEGMENT: usize = 48;
/// A choice's name where it stands beside a segment's and much else.
const SHORT: usize = 14;
const MISSING: &str = "-";

/// The figures of a sweep as text: shortfall with intervals and paired differences, what it costs and what else
/// changed, then the costs that were assumed.
#[must_use]
pub fn table(summary: &Summary) -> String {
    let mut text = format!(
        "{}   model {}   seed {}   events {}\n\n",
        summary.scenario, summary.model_version, summary.seed, summary.event_hash
    );
    text += "Implementation shortfall, bp [95 % interval]; Δ is the paired difference to the baseline, * where its \
             interval excludes 0\n";
    text += &shortfall(&summary.choices);
    text += "\nCost of balancing, bp: overhead (C_numa), effect on placement (C_placement), net of both; and execution\n";
    text += &render(&operations(&summary.choices));
    text += &parts(&summary.choices);
    text += "\nDecision latency and desk metrics\n";
    text += &render(&latency_and_metrics(&summary.choices));
    text += &segments(&summary.choices);
    let _ = writeln!(text, "\nIntervals: {}", summary.interval);
    for note in notes(&summary.choices) {
        let _ = writeln!(text, "  {note}");
    }
    text += &recorded(summary);
    text += &assumed(summary);
    text
}

/// The widest number of decimals that fits.
fn shortfall(choices: &[ChoiceSummary]) -> String {
    let rendered = |decimals| render(&shortfall_rows(choices, decimals));
    let fits = |text: &String| text.lines().all(|line| line.chars().count() <= WIDTH);
    [2, 1].into_iter().map(rendered).find(fits).unwrap_or_else(|| rendered(0))
}

fn shortfall_rows(choices: &[ChoiceSummary], decimals: usize) -> Vec<Vec<String>> {
    let mut rows = vec![["choice", "q50", "q95", "q99", "Δq95", "Δq99"].map(str::to_owned).to_vec()];
    for choice in choices {
        let paired = |pick: fn(&ChoiceSummary) -> Option<&Difference>| {
            pick(choice).map_or_else(String::new, |figure| difference(figure, decimals))
        };
        rows.push(vec![
            shorten(&choice.name, NAME),
            estimate(&choice.is_bp.q50, decimals),
            estimate(&choice.is_bp.q95, decimals),
            estimate(&choice.is_bp.q99, decimals),
            paired(|choice| choice.paired.as_ref().map(|paired| &paired.q95)),
            paired(|choice| choice.paired.as_ref().map(|paired| &paired.q99)),
        ]);
    }
    rows
}

fn operations(choices: &[ChoiceSummary]) -> Vec<Vec<String>> {
    let header = [
        "choice",
        "parents",
        "seeds",
        "C_numa mean",
        "C_numa q95",
        "C_numa q99",
        "C_placement mean",
        "net mean",
        "completion",
        "deadline missed",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mean = |cost: &CostBp| optional(cost.mean, |bp| fixed(bp, 3));
    for choice in choices {
        let net = choice.c_numa_bp.mean.zip(choice.c_placement_bp.mean).map(|(numa, placed)| numa + placed);
        rows.push(vec![
            shorten(&choice.name, NAME),
            choice.parents.to_string(),
            choice.seeds.to_string(),
            mean(&choice.c_numa_bp),
            optional(choice.c_numa_bp.q95, |bp| fixed(bp, 2)),
            optional(choice.c_numa_bp.q99, |bp| fixed(bp, 2)),
            mean(&choice.c_placement_bp),
            optional(net, |bp| fixed(bp, 3)),
            optional(choice.completion, |share| percent(share, 2)),
            optional(choice.deadline_miss_rate, |share| percent(share, 2)),
        ]);
    }
    rows
}

/// Where C_numa comes from, for the choices that were attributed.
fn parts(choices: &[ChoiceSummary]) -> String {
    let header = ["choice", "C_numa", "hint fault", "migration copy", "dispatch jitter", "queue decay"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut ranges = vec![
        [
            "choice",
            "hint fault",
            "migration copy",
            "dispatch jitter",
            "queue decay",
            "queue decay by H / M / D",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for choice in choices {
        let Some(attribution) = &choice.attribution else { continue };
        let mean = &attribution.mean_bp;
        let decay = [
            &mean.queue_decay_hint_fault,
            &mean.queue_decay_migration_copy,
            &mean.queue_decay_dispatch_jitter,
        ];
        let name = shorten(&choice.name, NAME);
        rows.push(vec![
            name.clone(),
            optional(mean.c_numa.value, |bp| fixed(bp, 4)),
            estimate(&mean.hint_fault, 4),
            estimate(&mean.migration_copy, 4),
            estimate(&mean.dispatch_jitter, 4),
            estimate(&mean.queue_decay, 4),
        ]);
        let decay = decay.map(|part| optional(part.value, |bp| fixed(bp, 4))).join(" / ");
        let range = &attribution.order_range_bp;
        let ends = [range.hint_fault, range.migration_copy, range.dispatch_jitter, range.queue_decay];
        let ends = ends.map(|[least, most]| format!("{} to {}", fixed(least, 4), fixed(most, 4)));
        ranges.push([name].into_iter().chain(ends).chain([decay]).collect());
    }
    if rows.len() == 1 {
        return String::new();
    }
    format!(
        "\nWhere C_numa comes from, bp, mean over parents [95 % interval by seed]; the parts sum to it exactly, parent by parent\n\
         {}\nThe same when the four are added one by one: least and most over the 24 orders; which cause lost the places\n{}",
        render(&rows),
        render(&ranges)
    )
}

fn latency_and_metrics(choices: &[ChoiceSummary]) -> Vec<Vec<String>> {
    let header = ["choice", "latency q50", "to baseline", "latency q99"].into_iter().chain(METRICS);
    let mut rows = vec![header.map(str::to_owned).collect()];
    for choice in choices {
        let latency = choice.decision_latency_ns;
        let base = choices[0].decision_latency_ns.q50;
        let mut row = vec![
            shorten(&choice.name, NAME),
            optional(latency.q50, duration),
            optional(latency.q50.zip(base), change),
            optional(latency.q99, duration),
        ];
        row.extend(desk_metrics(&choice.metrics));
        rows.push(row);
    }
    rows
}

const METRICS: [&str; 8] = ["RHF", "faults/s", "MCR MiB/s", "of link", "DCJ", "Fano", "QDL", "NTU bp"];

/// The desk metrics under the headings of [`METRICS`].
fn desk_metrics(metrics: &Metrics) -> [String; 8] {
    [
        optional(metrics.rhf, |share| percent(share, 1)),
        optional(metrics.rhf_rate, |rate| fixed(rate, 0)),
        optional(metrics.mcr, |rate| fixed(rate, 2)),
        optional(metrics.mcr_share, |share| percent(share, 2)),
        optional(metrics.dcj, |ratio| fixed(ratio, 2)),
        optional(metrics.fano, |factor| fixed(factor, 2)),
        optional(metrics.qdl, |share| percent(share, 2)),
        optional(metrics.ntu, |bp| fixed(bp, 2)),
    ]
}

/// Where the shortfall lies, if there are several segments.
fn segments(choices: &[ChoiceSummary]) -> String {
    let header = ["segment", "choice", "parents", "missed", "q50", "q95", "q99", "C_numa mean"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let header = ["segment", "choice"].into_iter().chain(METRICS);
    let mut metrics = vec![header.map(str::to_owned).collect::<Vec<String>>()];
    for choice in choices {
        for of in &choice.segments {
            let Segment { host, strategy, symbol_liquidity, session_phase } = &of.segment;
            let name = format!("{host} · {strategy} · {symbol_liquidity} · {session_phase}");
            let mut row = vec![shorten(&name, SEGMENT), shorten(&choice.name, SHORT)];
            row.extend(desk_metrics(&of.metrics));
            metrics.push(row);
            // Where there is no interval the figure rests on few parents, and a mark says so.
            let level = |figure: &Estimate| {
                optional(figure.value, |value| fixed(value, 2) + if figure.lo.is_some() { " " } else { "?" })
            };
            rows.push(vec![
                shorten(&name, SEGMENT),
                shorten(&choice.name, NAME),
                of.parents.to_string(),
                optional(of.deadline_miss_rate, |share| percent(share, 1)),
                level(&of.is_bp.q50),
                level(&of.is_bp.q95),
                level(&of.is_bp.q99),
                optional(of.c_numa_bp.mean, |bp| fixed(bp, 3)),
            ]);
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    let title = "\nBy segment: host · strategy · liquidity · phase, bp; ? where the sample is too small for an interval\n";
    let second = "\nDesk metrics by segment; a bucket belongs to the phase in which it begins\n";
    title.to_owned() + &render(&rows) + second + &render(&metrics)
}

/// Each reason for a missing interval, once.
fn notes(choices: &[ChoiceSummary]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for choice in choices {
        let levels = [&choice.is_bp.q50, &choice.is_bp.q95, &choice.is_bp.q99].map(|level| &level.note);
        let paired = choice.paired.iter().flat_map(|paired| [&paired.q50, &paired.q95, &paired.q99]);
        let names = ["q50", "q95", "q99"];
        for (name, note) in
            names.iter().zip(levels).chain(names.iter().zip(paired.map(|figure| &figure.note)))
        {
            if let Some(note) = note {
                let line = format!("{name}: {note}");
                if !notes.contains(&line) {
                    notes.push(line);
                }
            }
        }
    }
    notes
}

fn recorded(summary: &Summary) -> String {
    summary.recorded_flow.map_or_else(String::new, |flow| {
        format!(
            "\nRecorded flow: {} rows, of which {} name orders from before the recording\n",
            flow.rows, flow.unknown_rows
        )
    })
}

fn assumed(summary: &Summary) -> String {
    if summary.assumed_costs.is_empty() {
        return "\nNo cost was assumed: all are measured or cited.\n".to_owned();
    }
    let mut text = "\nAssumed costs (neither measured nor cited)\n".to_owned();
    let width = summary.assumed_costs.iter().map(|cost| cost.name.chars().count()).max().unwrap_or(0);
    for cost in &summary.assumed_costs {
        let _ = writeln!(text, "  {:width$}  {:>10}  {}", cost.name, cost.value, cost.source);
    }
    text
}

/// Columns as wide as their widest cell, two blanks apart: names to the left, figures to the right.
fn render(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
        if index == 0 {
            text += &"─".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1));
            text.push('\n');
        }
    }
    text
}

fn estimate(figure: &Estimate, decimals: usize) -> String {
    optional(figure.value, |value| {
        let mut text = fixed(value, decimals);
        interval(&mut text, figure.lo.zip(figure.hi), decimals);
        text
    })
}

/// A blank stands where other rows have their mark, so that the figures stay in line.
fn difference(figure: &Difference, decimals: usize) -> String {
    optional(figure.diff, |diff| {
        let mut text = signed(diff, decimals);
        interval(&mut text, figure.lo.zip(figure.hi), decimals);
        text + if figure.excludes_zero() { "*" } else { " " }
    })
}

fn interval(text: &mut String, ends: Option<(f64, f64)>, decimals: usize) {
    if let Some((lo, hi)) = ends {
        let _ = write!(text, " [{}, {}]", fixed(lo, decimals), fixed(hi, decimals));
    }
}

fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), show)
}

/// A decimal number without a negative zero.
fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let zero = text.chars().all(|digit| matches!(digit, '-' | '0' | '.'));
    if zero { text.trim_start_matches('-').to_owned() } else { text }
}

fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let zero = text.chars().all(|digit| matches!(digit, '0' | '.'));
    if zero || text.starts_with('-') { text } else { format!("+{text}") }
}

fn percent(share: f64, decimals: usize) -> String {
    format!("{} %", fixed(share * 100.0, decimals))
}

fn change((value, base): (u64, u64)) -> String {
    if base == 0 {
        return MISSING.to_owned();
    }
    format!("{} %", signed((value as f64 - base as f64) / base as f64 * 100.0, 1))
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.2} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn numbers_have_no_negative_zero() {
        assert_eq!([fixed(-0.001, 2), fixed(-0.5, 0), fixed(-1.25, 1)], ["0.00", "0", "-1.2"]);
        assert_eq!([signed(0.0, 2), signed(0.125, 1), signed(-0.25, 2)], ["0.00", "+0.1", "-0.25"]);
        assert_eq!([duration(999), duration(4_210), duration(25_000_000)], ["999 ns", "4.21 µs", "25.00 ms"]);
        assert_eq!([change((110, 100)), change((1, 0))], ["+10.0 %", "-"]);
    }

    #[test]
    fn the_table_fits_and_marks_what_differs() {
        let results = sample::results(9, 25, 60);
        let text = table(&results.summary);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("pinned, balancing off").ends_with('*'), "{text}");
        assert!(!line("baseline").contains('*'));
        assert!(text.contains("machine.cost.stopper_wait") && text.contains("25us"));
    }

    #[test]
    fn large_figures_give_up_decimals_to_fit() {
        let mut summary = sample::results(2, 25, 60).summary;
        for choice in &mut summary.choices {
            for level in [&mut choice.is_bp.q50, &mut choice.is_bp.q95, &mut choice.is_bp.q99] {
                *level = Estimate {
                    value: Some(12_345.67),
                    lo: Some(-12_345.67),
                    hi: Some(23_456.78),
                    note: None,
                };
            }
        }
        let text = table(&summary);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(
            text.contains("12345.7 [-12345.7, 23456.8]") || text.contains("12346 [-12346, 23457]"),
            "{text}"
        );
    }

    #[test]
    fn missing_figures_and_intervals_are_said_once() {
        let text = table(&sample::results(3, 2, 4).summary);
        assert_eq!(text.matches("q50: no interval: 2 seeds, at least 20 are needed").count(), 1, "{text}");
        assert_eq!(text.matches("q99: no interval: 8 parents, at least 368 are needed").count(), 1, "{text}");
        assert!(table(&sample::results(1, 0, 0).summary).contains('-'));
    }
}
