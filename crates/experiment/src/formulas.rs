//! Formulas and tables of the field against the engine: each case runs the product's own flow, book, dispatch or schedule
//! code and compares what came out with what is known.
//!
//! ```text
//!   cases.toml ──► Case ──run──► quantities (reference, simulated, standard error) ──► z, verdict
//! ```

use serde::{Deserialize, Serialize};

/// How much of a case's sample is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Parts per million of the sample that the case asks for; 1,000,000 is all of it.
    pub sample_ppm: u64,
    /// Added to the seed of every case.
    pub seed: u64,
}

impl Effort {
    /// The share of `samples` to draw, at least `least`.
    #[must_use]
    pub fn samples(&self, samples: u64, least: u64) -> u64 {
        let wide = u128::from(samples) * u128::from(self.sample_ppm) / 1_000_000;
        u64::try_from(wide).unwrap_or(u64::MAX).max(least)
    }
}

/// Where a reference value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Computed from the case's parameters.
    Formula,
    /// Given in the case file.
    Given,
    /// There is none: the figure is reported.
    None,
}

/// One figure of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantity {
    /// What it is, with the parameters that vary within the case, such as `P(mid up) bid 1 ask 2`.
    pub name: String,
    /// Where `reference` comes from.
    pub origin: Origin,
    /// What it should be.
    pub reference: Option<f64>,
    /// Known error of the reference, 0 for an exact formula.
    pub reference_error: f64,
    /// What the engine gave.
    pub simulated: f64,
    /// Standard error of `simulated`; 0 if nothing is random.
    pub standard_error: f64,
    /// Independent samples behind it.
    pub samples: u64,
}

impl Quantity {
    /// Distance from the reference in standard errors, the reference's own included. A figure without randomness is 0 where it
    /// is within 10⁻⁹ of the reference, otherwise infinite.
    #[must_use]
    pub fn z(&self) -> Option<f64> {
        let distance = self.simulated - self.reference?;
        let square = |value: f64| value * value;
        let error = (square(self.standard_error) + square(self.reference_error)).sqrt();
        if error > 0.0 {
            return Some(distance / error);
        }
        let scale = self.reference.map_or(1.0, |reference| reference.abs().max(1e-300));
        Some(if distance.abs() <= 1e-9 * scale { 0.0 } else { f64::INFINITY.copysign(distance) })
    }
}
