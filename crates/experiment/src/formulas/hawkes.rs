//! Counts of the market orders of a Hawkes flow (market: 3.3), from the flow's own tape.

use numashock_book::Side;
use numashock_book::flow::{Excitation, HawkesTape};
use numashock_engine::Seed;
use numashock_sim::scenario::units::{Rate, Time};
use rayon::prelude::*;
use serde::Deserialize;

use super::limits::{self, Demand};
use super::replications::Replications;
use super::{Case, Effort, Quantity, RARE, Wrong};

pub(super) const ABOUT: &str = "market orders of the Hawkes flow: rate, variance over mean of counts (Fano), covariance of neighbouring \
    windows, and the sum and difference of buys and sells, by window";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("samples", "market orders of both sides, over 64 runs"),
    ("mu", "rate of each side on its own"),
    ("self", "what an order adds to its own side's rate"),
    ("cross", "what it adds to the other side's, may be \"0/s\""),
    ("beta", "rate at which both decay; self + cross must be smaller"),
    ("windows", "list of windows in which orders are counted"),
    ("unit", "the time in which rates and windows are printed, such as \"1s\""),
];

const RUNS: u64 = 64;
/// The fewest market orders of a sample.
const SAMPLES_LEAST: u64 = 20_000;
/// Windows of a run, at least.
const WINDOWS_LEAST: u64 = 4;

/// The clustered market orders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hawkes {
    samples: u64,
    mu: Rate,
    #[serde(rename = "self")]
    own: Rate,
    cross: Rate,
    beta: Rate,
    windows: Vec<Time>,
    unit: Time,
}

impl Case for Hawkes {
    fn check(&self) -> Result<(), Wrong> {
        if self.unit.0 == 0 {
            return Err(Wrong::new("unit", "expected a time above zero"));
        }
        limits::some_entries("windows", &self.windows, "times above zero", |window| window.0 > 0)?;
        HawkesTape::new(&self.excitation(), Seed(0)).map_err(|error| Wrong::new("", error.to_string()))?;
        let theory = self.theory();
        for (index, window) in self.windows.iter().enumerate() {
            let length = window.0 as f64;
            let key = format!("windows[{index}]");
            let windows = RUNS as f64 * self.horizon(self.samples.max(SAMPLES_LEAST)) / length;
            if 2.0 * RUNS as f64 * theory.rate * length * WINDOWS_LEAST as f64 > limits::EVENTS_MAX {
                return Err(Wrong::new(
                    &key,
                    "expected a shorter time: four windows of each run have too many orders",
                ));
            }
            if windows * self.windows.len() as f64 > limits::EVENTS_MAX {
                let problem = format!("expected a longer time: the sample has {windows:.1e} such windows");
                return Err(Wrong::new(&key, problem));
            }
            // A window with orders of both of two neighbours, or of both sides, must be no rare thing.
            let [sum, difference] = theory.variances(length);
            let square = theory.rate * theory.rate * length * length;
            let both = (sum - difference) / 4.0 + square;
            let rarest = f64::min(theory.neighbours(length) + square, both);
            if windows * rarest < 10.0 * RARE {
                let problem = format!(
                    "expected a longer time or more samples: about {:.1e} neighbouring windows both have orders",
                    windows * rarest
                );
                return Err(Wrong::new(&key, problem));
            }
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        let seconds = self.horizon(self.samples) / 1e9;
        let events = RUNS as f64 * seconds * 2e9 * self.theory().rate;
        Demand { samples: Some(self.samples), least: SAMPLES_LEAST, events, each: 0.0, seconds, key: "mu" }
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let theory = self.theory();
        let samples = effort.samples(self.samples, SAMPLES_LEAST);
        let horizon = self.horizon(samples) as u64;
        let runs: Vec<Vec<f64>> = (0..RUNS)
            .into_par_iter()
            .map(|run| self.count(horizon, seed.replication(run)))
            .collect::<Result<_, Wrong>>()?;
        let runs = Replications::new(runs, Vec::new());
        let unit = self.unit.0 as f64;
        let mut quantities =
            vec![runs.quantity("rate of a side", |means| means[0] * unit, Some(theory.rate * unit), samples)];
        for (index, window) in self.windows.iter().enumerate() {
            let first = 1 + FIGURES * index;
            quantities.extend(self.figures(&theory, &runs, first, *window, samples));
        }
        Ok(quantities)
    }
}

/// What a run gives for each window: the means of n, n², n n′ of a side, n′ the next window's, and of b s.
const FIGURES: usize = 4;

impl Hawkes {
    fn excitation(&self) -> Excitation {
        let rate = |rate: Rate| numashock_book::flow::Rate { per_gigasecond: rate.0 };
        Excitation {
            mu: rate(self.mu),
            self_excitation: rate(self.own),
            cross_excitation: rate(self.cross),
            beta: rate(self.beta),
        }
    }

    /// How long a run is, in ns.
    fn horizon(&self, samples: u64) -> f64 {
        let wanted = samples as f64 / RUNS as f64 / (2.0 * self.theory().rate);
        let longest = self.windows.iter().map(|window| window.0).max().unwrap_or(0);
        wanted.max(longest as f64 * WINDOWS_LEAST as f64)
    }

    fn theory(&self) -> Theory {
        let per_ns = |rate: Rate| rate.0 as f64 / 1e18;
        let (own, cross, beta) = (per_ns(self.own), per_ns(self.cross), per_ns(self.beta));
        Theory {
            rate: per_ns(self.mu) / (1.0 - (own + cross) / beta),
            beta,
            modes: [(own + cross) / beta, (own - cross) / beta],
        }
    }

    fn count(&self, horizon: u64, seed: Seed) -> Result<Vec<f64>, Wrong> {
        let tape =
            HawkesTape::new(&self.excitation(), seed).map_err(|error| Wrong::new("", error.to_string()))?;
        let mut counters: Vec<Counter> =
            self.windows.iter().map(|window| Counter::new(window.0, horizon / window.0)).collect();
        let mut total = 0.0;
        for (at, side) in tape.take_while(|(at, _)| at.0 < horizon) {
            total += 1.0;
            counters.iter_mut().for_each(|counter| counter.see(at.0, side));
        }
        let mut row = vec![total / (2.0 * horizon as f64)];
        for mut counter in counters {
            row.extend(counter.finish());
        }
        Ok(row)
    }

    fn figures(
        &self,
        theory: &Theory,
        runs: &Replications,
        first: usize,
        window: Time,
        samples: u64,
    ) -> Vec<Quantity> {
        let length = window.0 as f64;
        let [sum, difference] = theory.variances(length);
        let one = (sum + difference) / 4.0;
        let about = |what: &str| format!("{what}, window {}", length / self.unit.0 as f64);
        let variance = |means: &[f64]| means[first + 1] - means[first] * means[first];
        let both = |means: &[f64]| means[first + 3] - means[first] * means[first];
        let mut quantities = vec![
            runs.quantity(
                about("Fano"),
                |means| variance(means) / means[first],
                Some(one / (theory.rate * length)),
                samples,
            ),
            runs.quantity(
                about("Cov of neighbours"),
                |means| means[first + 2] - means[first] * means[first],
                Some(theory.neighbours(length)),
                samples,
            ),
            runs.quantity(
                about("Var(buys + sells)"),
                |means| 2.0 * (variance(means) + both(means)),
                Some(sum),
                samples,
            ),
            runs.quantity(
                about("Var(buys - sells)"),
                |means| 2.0 * (variance(means) - both(means)),
                Some(difference),
                samples,
            ),
        ];
        if self.cross.0 > 0 {
            let reference = Some((sum - difference) / 4.0);
            quantities.push(runs.quantity(about("Cov(buys, sells)"), both, reference, samples));
        }
        quantities
    }
}

/// Counts of both sides in windows that follow each other.
struct Counter {
    window: u64,
    /// The windows that lie within the horizon.
    windows: u64,
    /// The number of the present one.
    index: u64,
    counts: [f64; 2],
    /// Of the window before, if there is one.
    before: Option<[f64; 2]>,
    sums: [f64; FIGURES],
}

impl Counter {
    fn new(window: u64, windows: u64) -> Counter {
        Counter { window, windows, index: 0, counts: [0.0; 2], before: None, sums: [0.0; FIGURES] }
    }

    fn see(&mut self, at: u64, side: Side) {
        while at >= (self.index + 1).saturating_mul(self.window) {
            self.close();
        }
        self.counts[side.index()] += 1.0;
    }

    fn close(&mut self) {
        if self.index < self.windows {
            let [buys, sells] = self.counts;
            self.sums[0] += (buys + sells) / 2.0;
            self.sums[1] += (buys * buys + sells * sells) / 2.0;
            self.sums[3] += buys * sells;
            if let Some([buys_before, sells_before]) = self.before {
                self.sums[2] += (buys * buys_before + sells * sells_before) / 2.0;
            }
            self.before = Some(self.counts);
        }
        self.counts = [0.0; 2];
        self.index += 1;
    }

    fn finish(&mut self) -> [f64; FIGURES] {
        while self.index < self.windows {
            self.close();
        }
        let windows = self.windows as f64;
        let [first, second, neighbours, both] = self.sums;
        [first / windows, second / windows, neighbours / (windows - 1.0), both / windows]
    }
}

/// The formulas, in ns and 1/ns.
struct Theory {
    /// Λ of a side.
    rate: f64,
    beta: f64,
    /// n₊ = (self + cross)/β of the sum and n₋ = (self − cross)/β of the difference.
    modes: [f64; 2],
}

impl Theory {
    /// Var of buys + sells and of buys − sells in a window: 2Λ[t/(1−n)² + (1 − 1/(1−n)²)(1 − e^{−κt})/κ].
    fn variances(&self, t: f64) -> [f64; 2] {
        self.modes.map(|mode| {
            let (kappa, long) = (self.beta * (1.0 - mode), 1.0 / ((1.0 - mode) * (1.0 - mode)));
            2.0 * self.rate * (t * long + (1.0 - long) * -libm::expm1(-kappa * t) / kappa)
        })
    }

    /// Cov of one side's counts in two windows that touch: half of Var(2t) − 2 Var(t).
    fn neighbours(&self, t: f64) -> f64 {
        let modes = self.modes.map(|mode| {
            let (kappa, long) = (self.beta * (1.0 - mode), 1.0 / ((1.0 - mode) * (1.0 - mode)));
            let gone = -libm::expm1(-kappa * t);
            self.rate * (long - 1.0) * gone * gone / kappa
        });
        (modes[0] + modes[1]) / 4.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(mu: f64, own: f64, cross: f64, beta: f64) -> Hawkes {
        let rate = |value: f64| Rate(libm::round(value * 1e9) as u64);
        Hawkes {
            samples: 400_000,
            mu: rate(mu),
            own: rate(own),
            cross: rate(cross),
            beta: rate(beta),
            windows: vec![Time(500_000_000), Time(5_000_000_000)],
            unit: Time(1_000_000_000),
        }
    }

    /// market: 3.3.
    #[test]
    fn the_formulas_give_the_tables() {
        for (mu, n, beta, window, fano, neighbours) in [
            (1.0, 0.3, 2.0, 0.1, 1.0696, 0.0091),
            (0.5, 0.8, 10.0, 1.0, 14.6240, 11.2147),
            (2.0, 0.9, 50.0, 10.0, 98.0200, 198.0),
            (0.2, 0.95, 20.0, 1.0, 147.7839, 318.8620),
        ] {
            let theory = case(mu, n * beta, 0.0, beta).theory();
            let [sum, difference] = theory.variances(window * 1e9);
            let found = (sum + difference) / 4.0 / (theory.rate * window * 1e9);
            assert!((found - fano).abs() < 6e-5, "{found} {fano}");
            assert!((theory.neighbours(window * 1e9) - neighbours).abs() < 6e-5);
        }
        for (mu, own, cross, beta, window, sum, difference) in [
            (1.0, 0.4, 0.2, 4.0, 0.5, 1.411, 1.247),
            (1.0, 2.0, 1.5, 5.0, 5.0, 325.457, 40.805),
            (0.5, 1.0, 3.0, 5.0, 0.5, 15.284, 1.615),
        ] {
            let found = case(mu, own, cross, beta).theory().variances(window * 1e9);
            assert!((found[0] - sum).abs() < 6e-4 && (found[1] - difference).abs() < 6e-4, "{found:?}");
        }
    }

    #[test]
    fn the_tape_has_these_counts_and_another_excitation_does_not() {
        let effort = Effort { sample_ppm: 1_000_000, seed: 0 };
        let right = case(1.0, 1.0, 0.5, 5.0);
        let figures = right.run(effort, Seed(1)).unwrap();
        assert_eq!(figures.len(), 11);
        assert!(figures.iter().all(|figure| figure.z().unwrap().abs() < 4.0), "{figures:#?}");
        // The same rate, but buys call for sells.
        let wrong = case(1.0, 0.5, 1.0, 5.0).run(effort, Seed(1)).unwrap();
        let distance = (wrong[4].simulated - figures[4].reference.unwrap()) / wrong[4].standard_error;
        assert!(distance.abs() > 10.0, "{distance}");
    }
}
