//! Runs the cases of a file and says which agree.

use numashock_sim::scenario::document::ScenarioError;
use rayon::prelude::*;
use serde::Serialize;

use super::case::{CaseFile, Common, Ready, locate};
use super::{Effort, Origin, Quantity, Wrong};

/// What a figure is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It agrees with its reference.
    Agrees,
    /// It lies too many standard errors away.
    Deviates,
    /// It lies further away than the tolerance.
    OutOfTolerance,
    /// Its standard error is larger than the case allows.
    Imprecise,
    /// There is nothing to compare it with.
    Reported,
}

impl Verdict {
    /// Whether a case with this figure can pass.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Verdict::Agrees | Verdict::Reported)
    }
}

/// A figure and its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The figure.
    #[serde(flatten)]
    pub quantity: Quantity,
    /// Its distance from the reference in standard errors.
    pub z: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// A case that has run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Samples that the case asks for; none where nothing is drawn.
    pub asked: Option<u64>,
    /// Samples that were to be drawn: a share of those, but as many as standard errors need.
    pub drawn: Option<u64>,
    /// Whether every figure passes.
    pub passed: bool,
    /// The largest |z| of its figures.
    pub largest_z: Option<f64>,
    /// The largest |z| that would have passed.
    pub z_max: f64,
    /// Its figures.
    pub quantities: Vec<Judged>,
}

/// All cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormulaReport {
    /// Parts per million of each sample that were drawn.
    pub sample_ppm: u64,
    /// The seed.
    pub seed: u64,
    /// Whether every case passes.
    pub passed: bool,
    /// Figures that have a reference.
    pub compared: usize,
    /// The largest |z| of all.
    pub largest_z: Option<f64>,
    /// The cases, in the file's order.
    pub cases: Vec<CaseReport>,
}

/// Runs the cases of some files, on as many threads as the caller's pool has.
///
/// # Errors
/// If a case turns out to make no sense.
pub fn validate(files: &[CaseFile], effort: Effort) -> Result<FormulaReport, ScenarioError> {
    let cases: Vec<(&CaseFile, &Ready)> =
        files.iter().flat_map(|file| file.cases.iter().map(move |ready| (file, ready))).collect();
    refuse_nothing(&cases, |ready| ready.case.compares() || !ready.common.expected.is_empty())?;
    let outcomes: Vec<Result<CaseReport, ScenarioError>> = cases
        .into_par_iter()
        .map(|(file, ready)| {
            let located = |wrong: Wrong| locate(&file.document, &ready.at, &wrong);
            let quantities = ready.case.run(effort, ready.common.seed(effort.seed)).map_err(located)?;
            let demand = ready.case.demand();
            let report =
                report(&ready.common, quantities, effort.sample_ppm >= 1_000_000).map_err(located)?;
            let drawn = demand.samples.map(|samples| effort.samples(samples, demand.least));
            Ok(CaseReport { asked: demand.samples, drawn, ..report })
        })
        .collect();
    let cases = outcomes.into_iter().collect::<Result<Vec<CaseReport>, ScenarioError>>()?;
    let judged = || cases.iter().flat_map(|case| &case.quantities);
    Ok(FormulaReport {
        sample_ppm: effort.sample_ppm,
        seed: effort.seed,
        passed: cases.iter().all(|case| case.passed),
        compared: judged().filter(|judged| judged.z.is_some()).count(),
        largest_z: largest(judged().filter_map(|judged| judged.z)),
        cases,
    })
}

/// A run in which nothing has a reference would pass without having shown anything.
fn refuse_nothing(
    cases: &[(&CaseFile, &Ready)],
    compares: impl Fn(&Ready) -> bool,
) -> Result<(), ScenarioError> {
    match cases.first() {
        Some((file, ready)) if !cases.iter().any(|(_, ready)| compares(ready)) => Err(file.document.error(
            &format!("{}.expected", ready.at),
            "no figure of these cases has a reference, so that there is nothing to compare: give [case.expected], or run \
            them beside cases of a kind with formulas",
        )),
        _ => Ok(()),
    }
}

fn largest(z: impl Iterator<Item = f64>) -> Option<f64> {
    z.map(f64::abs).reduce(f64::max)
}

fn report(common: &Common, mut quantities: Vec<Quantity>, whole: bool) -> Result<CaseReport, Wrong> {
    for (index, quantity) in quantities.iter().enumerate() {
        let numbers = [
            quantity.reference.unwrap_or(0.0),
            quantity.reference_error,
            quantity.simulated,
            quantity.standard_error,
        ];
        if numbers.iter().any(|number| !number.is_finite()) {
            let problem = format!(
                "\"{}\" cannot be told: reference {:?}, simulated {}, standard error {}; draw more samples, or ask for less \
                extreme values",
                quantity.name, quantity.reference, quantity.simulated, quantity.standard_error
            );
            return Err(Wrong::new("", problem));
        }
        if quantities[..index].iter().any(|other| other.name == quantity.name) {
            let problem = format!("two figures are called \"{}\": ask for one of them", quantity.name);
            return Err(Wrong::new("", problem));
        }
    }
    for (name, given) in &common.expected {
        let Some(place) = quantities.iter().position(|quantity| quantity.name == *name) else {
            let known: Vec<&str> = quantities.iter().map(|quantity| quantity.name.as_str()).collect();
            let problem = format!("the case has no quantity \"{name}\"; it has \"{}\"", known.join("\", \""));
            return Err(Wrong::new("expected", problem));
        };
        let own = Quantity {
            origin: Origin::Given,
            reference: Some(given.value),
            reference_error: given.standard_error,
            ..quantities[place].clone()
        };
        // A reference of one's own takes the place of none and stands beside a formula.
        let beside = usize::from(quantities[place].reference.is_some());
        quantities.splice(place + beside..place + 1, [own]);
    }
    let quantities: Vec<Judged> = quantities
        .into_iter()
        .map(|quantity| Judged { z: quantity.z(), verdict: verdict(common, &quantity, whole), quantity })
        .collect();
    Ok(CaseReport {
        name: common.name.clone(),
        kind: common.kind.clone(),
        asked: None,
        drawn: None,
        passed: quantities.iter().all(|judged| judged.verdict.passes()),
        largest_z: largest(quantities.iter().filter_map(|judged| judged.z)),
        z_max: common.z_max,
        quantities,
    })
}

fn verdict(common: &Common, quantity: &Quantity, whole: bool) -> Verdict {
    let (Some(reference), Some(z)) = (quantity.reference, quantity.z()) else {
        return if quantity.simulated.is_finite() { Verdict::Reported } else { Verdict::Deviates };
    };
    let exceeds = |bound: &super::case::Bound, value: f64| whole && value > bound.at(reference);
    if z.is_nan() || z.abs() > common.z_max {
        Verdict::Deviates
    } else if common.tolerance.is_some_and(|bound| exceeds(&bound, (quantity.simulated - reference).abs())) {
        Verdict::OutOfTolerance
    } else if common.max_standard_error.is_some_and(|bound| exceeds(&bound, quantity.standard_error)) {
        Verdict::Imprecise
    } else {
        Verdict::Agrees
    }
}
