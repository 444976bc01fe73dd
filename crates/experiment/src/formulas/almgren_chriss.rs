//! The Almgren–Chriss schedule of the execution crate (market: 4.3) against the problem it solves: the first-order conditions
//! as a linear system, and the cost of a path whose price has no noise, trade by trade.

use numashock_book::Lots;
use numashock_engine::Seed;
use numashock_execution::schedule::{AlmgrenChriss as Problem, Impact, Trajectory, almgren_chriss};
use serde::Deserialize;

use super::limits::{self, Demand};
use super::{Case, Effort, Origin, Quantity, Wrong};

pub(super) const ABOUT: &str = "cost, variance, kappa and schedule of Almgren and Chriss: the execution crate's closed forms against the \
    first-order conditions solved as a linear system and the cost of a path without noise, to 1e-9";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("quantity", "X"),
    ("horizon", "T, in any unit of time"),
    ("volatility", "sigma per square root of that unit"),
    ("temporary", "eta"),
    ("permanent", "gamma"),
    ("fixed", "epsilon, the cost of each unit traded"),
    ("risk_aversion", "list of lambda; 0 is a TWAP"),
    ("slices", "list of N"),
    ("lots", "what the schedule in whole lots sums to"),
];

/// The trajectory of each risk aversion and number of slices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlmgrenChriss {
    quantity: f64,
    horizon: f64,
    volatility: f64,
    temporary: f64,
    permanent: f64,
    fixed: f64,
    risk_aversion: Vec<f64>,
    slices: Vec<u32>,
    lots: u64,
}

const SLICES_MAX: u32 = 1_000;
const TRAJECTORIES_MAX: usize = 1_000;
/// κT between which both sides of the comparison are good to 10⁻⁹.
const URGENCY_MIN: f64 = 1e-3;
const URGENCY_MAX: f64 = 100.0;

/// Schedules up to this long are compared slice by slice, longer ones at this many places.
const SHOWN: usize = 5;

impl Case for AlmgrenChriss {
    fn check(&self) -> Result<(), Wrong> {
        let wanted = format!("numbers from 1 to {SLICES_MAX}: the linear system of more is not good to 1e-9");
        limits::some_entries("slices", &self.slices, wanted, |slices| (1..=SLICES_MAX).contains(slices))?;
        let good = |lambda: &f64| lambda.is_finite() && *lambda >= 0.0;
        limits::some_entries("risk_aversion", &self.risk_aversion, "finite numbers, none negative", good)?;
        if self.lots > 1_000_000_000_000 {
            return Err(Wrong::new("lots", "expected at most 10^12"));
        }
        if self.slices.len() * self.risk_aversion.len() > TRAJECTORIES_MAX {
            let problem = format!(
                "expected at most {TRAJECTORIES_MAX} pairs of a risk aversion and a number of slices"
            );
            return Err(Wrong::new("slices", problem));
        }
        for (index, risk_aversion) in self.risk_aversion.iter().enumerate() {
            for slices in &self.slices {
                let problem = self.problem(*risk_aversion, *slices);
                let found = almgren_chriss(&problem).map_err(|error| Wrong::new("", error.to_string()))?;
                let urgency = found.kappa * self.horizon;
                if urgency != 0.0 && !(URGENCY_MIN..=URGENCY_MAX).contains(&urgency) {
                    let problem = format!(
                        "kappa T is {urgency:.1e} with {slices} slices; expected {URGENCY_MIN:.0e} to {URGENCY_MAX}, where \
                        the comparison is good to 1e-9, or a risk aversion of 0"
                    );
                    return Err(Wrong::new(&format!("risk_aversion[{index}]"), problem));
                }
            }
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        Demand { samples: None, least: 0, events: 0.0, each: 0.0, seconds: 0.0, key: "slices" }
    }

    fn run(&self, _: Effort, _: Seed) -> Result<Vec<Quantity>, Wrong> {
        let mut quantities = Vec::new();
        for risk_aversion in &self.risk_aversion {
            for slices in &self.slices {
                let problem = self.problem(*risk_aversion, *slices);
                let found = almgren_chriss(&problem).map_err(|error| Wrong::new("", error.to_string()))?;
                quantities.extend(self.figures(&problem, &found));
            }
        }
        Ok(quantities)
    }
}

impl AlmgrenChriss {
    fn problem(&self, risk_aversion: f64, slices: u32) -> Problem {
        let impact = Impact {
            volatility: self.volatility,
            temporary: self.temporary,
            permanent: self.permanent,
            fixed: self.fixed,
            risk_aversion,
        };
        Problem { quantity: self.quantity, horizon: self.horizon, slices, impact }
    }

    fn figures(&self, problem: &Problem, found: &Trajectory) -> Vec<Quantity> {
        let reference = Reference::solve(problem);
        let about = format!("lambda {}, N {}", problem.impact.risk_aversion, problem.slices);
        let exact = |what: &str, simulated: f64, reference: f64| Quantity {
            name: format!("{what}, {about}"),
            origin: Origin::Formula,
            reference: Some(reference),
            reference_error: 0.0,
            simulated,
            standard_error: 0.0,
            samples: 1,
        };
        let mut quantities = vec![exact("kappa", found.kappa, reference.kappa)];
        if reference.kappa > 0.0 {
            quantities.push(exact("half-life", found.half_life, 1.0 / reference.kappa));
        }
        let best = reference.cost(&reference.holdings);
        quantities.push(exact("E", found.expected_cost, best));
        let deviation = reference.variance(&reference.holdings).sqrt();
        quantities.push(exact("sd", found.variance.sqrt(), deviation));
        quantities.push(exact("path cost", reference.cost(&found.holdings), best));
        let slices = problem.slices as usize;
        let shown = |index: usize| slices <= SHOWN || index % slices.div_ceil(SHOWN) == 0;
        for index in (1..slices).filter(|index| shown(*index)) {
            let (own, other) = (found.holdings[index], reference.holdings[index]);
            quantities.push(exact(&format!("holding after {index}"), own, other));
        }
        let lots = found.integer_schedule(Lots(self.lots));
        let released = |index: usize| self.lots as f64 * (1.0 - reference.holdings[index] / problem.quantity);
        let rounded = |index: usize| libm::round(released(index));
        // Next to a half either lot is right.
        let even = |index: usize| {
            let part = released(index) - libm::floor(released(index));
            (part - 0.5).abs() < 1e-9 * self.lots as f64
        };
        for index in (1..=slices).filter(|index| shown(*index)) {
            let expected = rounded(index) - rounded(index - 1);
            let reference_error = f64::from(u8::from(even(index))) + f64::from(u8::from(even(index - 1)));
            let figure = exact(&format!("lots {index}"), lots[index - 1].0 as f64, expected);
            quantities.push(Quantity { reference_error, ..figure });
        }
        let sum: u64 = lots.iter().map(|lots| lots.0).sum();
        quantities.push(exact("lots in all", sum as f64, self.lots as f64));
        quantities
    }
}

/// The same problem without a closed form.
struct Reference<'a> {
    problem: &'a Problem,
    step: f64,
    kappa: f64,
    holdings: Vec<f64>,
}

impl Reference<'_> {
    fn solve(problem: &Problem) -> Reference<'_> {
        let Impact { volatility, temporary, permanent, risk_aversion, .. } = problem.impact;
        let step = problem.horizon / f64::from(problem.slices);
        let corrected = temporary - permanent * step / 2.0;
        // Each inner holding: x(j−1) − (2 + c) x(j) + x(j+1) = 0.
        let curvature = risk_aversion * volatility * volatility * step * step / corrected;
        let inner = problem.slices as usize - 1;
        // Thomas's algorithm from the end, where the holding is zero: x(j) = ratio(j) x(j−1).
        let mut ratios = vec![0.0; inner + 2];
        for index in (1..=inner).rev() {
            ratios[index] = 1.0 / (2.0 + curvature - ratios[index + 1]);
        }
        let mut holdings = vec![problem.quantity];
        for ratio in &ratios[1..=inner] {
            holdings.push(holdings[holdings.len() - 1] * ratio);
        }
        holdings.push(0.0);
        // e^{κτ} is the larger root of z² − (2 + c) z + 1.
        let above_one = curvature / 2.0 + (curvature + curvature * curvature / 4.0).sqrt();
        Reference { problem, step, kappa: libm::log1p(above_one) / step, holdings }
    }

    /// What it costs to trade along these holdings while nothing but the own trades moves the price.
    fn cost(&self, holdings: &[f64]) -> f64 {
        let Impact { temporary, permanent, fixed, .. } = self.problem.impact;
        let (mut price, mut cost) = (0.0, 0.0);
        for pair in holdings.windows(2) {
            let traded = pair[0] - pair[1];
            let received = price - fixed - temporary * traded / self.step;
            cost -= traded * received;
            price -= permanent * traded;
        }
        cost
    }

    /// The variance of that cost: what is held over each step bears its noise.
    fn variance(&self, holdings: &[f64]) -> f64 {
        let volatility = self.problem.impact.volatility;
        holdings[1..].iter().map(|held| held * held).sum::<f64>() * volatility * volatility * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> AlmgrenChriss {
        AlmgrenChriss {
            quantity: 1e6,
            horizon: 5.0,
            volatility: 0.95,
            temporary: 2.5e-6,
            permanent: 2.5e-7,
            fixed: 0.0625,
            risk_aversion: vec![0.0, 1e-6, 1e-5],
            slices: vec![1, 5, 50],
            lots: 1_000,
        }
    }

    #[test]
    fn closed_forms_agree_and_another_trajectory_costs_more() {
        let effort = Effort { sample_ppm: 1_000_000, seed: 0 };
        let figures = case().run(effort, Seed(0)).unwrap();
        let wrong: Vec<&Quantity> =
            figures.iter().filter(|figure| figure.z().is_none_or(|z| z.abs() > 2.0)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let problem = case().problem(1e-6, 5);
        let reference = Reference::solve(&problem);
        // market: 4.3.
        assert!((reference.kappa - 0.6071).abs() < 5e-5);
        assert!((reference.cost(&reference.holdings) - 911_226.986_3).abs() < 1e-3);
        assert!((reference.variance(&reference.holdings).sqrt() - 603_430.668_8).abs() < 1e-3);
        let objective = |holdings: &[f64]| {
            reference.cost(holdings) + problem.impact.risk_aversion * reference.variance(holdings)
        };
        for index in 1..5 {
            for shift in [-1_000.0, 1_000.0] {
                let mut other = reference.holdings.clone();
                other[index] += shift;
                assert!(objective(&other) > objective(&reference.holdings));
            }
        }
    }
}
