//! The report as text.

use std::fmt::Write;

use super::Origin;
use super::case::CaseFile;
use super::judge::{CaseReport, FormulaReport, Judged, Verdict};

/// The report for a reader: a table a case.
#[must_use]
pub fn table(report: &FormulaReport) -> String {
    let mut text = String::new();
    for case in &report.cases {
        text += &one(case);
    }
    let failed: Vec<&str> =
        report.cases.iter().filter(|case| !case.passed).map(|case| case.name.as_str()).collect();
    let share = report.sample_ppm as f64 / 10_000.0;
    let _ = writeln!(
        text,
        "{} cases, {} figures compared, largest |z| {}, {share} % of the sample, seed {}",
        report.cases.len(),
        report.compared,
        report.largest_z.map_or("-".to_owned(), |z| format!("{z:.2}")),
        report.seed
    );
    let _ = match failed.as_slice() {
        [] => writeln!(text, "all agree"),
        names => writeln!(text, "{} deviate: {}", names.len(), names.join(", ")),
    };
    text
}

fn one(case: &CaseReport) -> String {
    let width =
        case.quantities.iter().map(|judged| judged.quantity.name.chars().count()).max().unwrap_or(0).max(8);
    let mut text = format!("{} ({})\n", case.name, case.kind);
    if let (Some(asked), Some(drawn)) = (case.asked, case.drawn) {
        let _ = writeln!(text, "  {drawn} of {asked} samples drawn");
    }
    let _ = writeln!(
        text,
        "  {:<width$}  {:>12}  {:>12}  {:>10}  {:>6}  {:>10}  verdict",
        "quantity", "reference", "simulated", "s.e.", "z", "samples"
    );
    for Judged { quantity, z, verdict } in &case.quantities {
        let reference = quantity.reference.map_or("-".to_owned(), number);
        let _ = writeln!(
            text,
            "  {:<width$}  {reference:>12}  {:>12}  {:>10}  {:>6}  {:>10}  {}{}",
            quantity.name,
            number(quantity.simulated),
            number(quantity.standard_error),
            z.map_or("-".to_owned(), |z| format!("{z:.2}")),
            quantity.samples,
            words(*verdict),
            if quantity.origin == Origin::Given { " (given)" } else { "" }
        );
    }
    let compared = case.quantities.iter().filter(|judged| judged.z.is_some()).count();
    let _ = match case.largest_z {
        Some(z) => writeln!(text, "  largest |z| of {compared}: {z:.2}, at most {}\n", case.z_max),
        None => writeln!(text),
    };
    text
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Deviates => "DEVIATES",
        Verdict::OutOfTolerance => "OUT OF TOLERANCE",
        Verdict::Imprecise => "IMPRECISE",
        Verdict::Reported => "reported",
    }
}

/// Six significant digits.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        format!("{value}")
    } else if !(1e-4..1e7).contains(&size) {
        format!("{value:.3e}")
    } else {
        let before = libm::floor(libm::log10(size)) as i64;
        let decimals = usize::try_from(5 - before).unwrap_or(0);
        format!("{value:.decimals$}")
    }
}

/// The cases of a file, one a line.
#[must_use]
pub fn list(file: &CaseFile) -> String {
    let lines = file.cases.iter().map(|ready| format!("{:<20} {}\n", ready.common.kind, ready.common.name));
    lines.collect()
}
