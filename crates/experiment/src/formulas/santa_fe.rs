//! The spread of the Santa Fe zero-intelligence market (market: 3.2), through the real flow and book.
//!
//! One market order of a side each second and orders of one lot, so that p_c = μ/α = 1: limit orders arrive at `tick` per
//! second and price, within `reach` p_c of the opposite best, and each cancels at ε per second.

use std::sync::Arc;

use numashock_book::flow::{Exogenous, Flow, InitialBook, PoissonConfig, Rate, Sizes};
use numashock_book::{Book, Lots, Side, Ticks};
use numashock_engine::{Nanos, Seed};
use rayon::prelude::*;
use serde::Deserialize;

use super::limits::{self, Demand};
use super::replications::Replications;
use super::{Case, Effort, Origin, Quantity, Wrong};

pub(super) const ABOUT: &str = "the mean spread of the zero-intelligence market in units of p_c = mu/alpha, by epsilon = delta sigma/mu \
    (mu and alpha of one side) and the tick; there is no formula: give references as expected";
pub(super) const KEYS: &[(&str, &str)] = &[
    (
        "samples",
        "events of each point, over 8 runs; what comes before the book has forgotten its start is not counted",
    ),
    ("point", "list of { epsilon = 0.01, tick = 0.01, reach = 5 }: tick and reach in p_c"),
    (
        "fit",
        "optional { constant = 0.431, slope = 1.172, exponent = 0.75 }: reports the largest relative distance from \
        constant + slope epsilon^exponent, and the exponent that fits best",
    ),
];

const RUNS: u64 = 8;
/// The fewest events of a point.
const SAMPLES_LEAST: u64 = 200_000;
/// Batches of a run, each counted as an independent value.
const BATCHES: u64 = 6;
/// Lifetimes of an order until the book has forgotten its start.
const WARM: f64 = 5.0;
const LEVELS_MAX: f64 = 20_000.0;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    epsilon: f64,
    tick: f64,
    reach: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fit {
    constant: f64,
    slope: f64,
    exponent: f64,
}

impl Fit {
    fn at(self, epsilon: f64) -> f64 {
        self.constant + self.slope * libm::pow(epsilon, self.exponent)
    }
}

/// The spread by point.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SantaFe {
    samples: u64,
    point: Vec<Point>,
    fit: Option<Fit>,
}

impl Case for SantaFe {
    fn check(&self) -> Result<(), Wrong> {
        let epsilons: Vec<f64> = self.point.iter().map(|point| point.epsilon).collect();
        limits::some_entries("point", &epsilons, "points, each with an epsilon of its own", |_| true)?;
        for (index, point) in self.point.iter().enumerate() {
            let key = |key: &str| format!("point[{index}].{key}");
            if !(1e-4..=10.0).contains(&point.epsilon) {
                return Err(Wrong::new(&key("epsilon"), "expected a number from 0.0001 to 10"));
            }
            if !(1e-4..=1.0).contains(&point.tick) {
                return Err(Wrong::new(&key("tick"), "expected a number from 0.0001 to 1"));
            }
            if !(2.0..=LEVELS_MAX).contains(&(point.reach / point.tick)) {
                return Err(Wrong::new(&key("reach"), format!("expected 2 to {LEVELS_MAX} ticks")));
            }
            if point.reach <= 1.0 + point.epsilon {
                return Err(Wrong::new(
                    &key("reach"),
                    "expected more than 1 + epsilon: fewer limit than market orders leave the book empty",
                ));
            }
        }
        if self.fit.is_some() && self.point.len() < 4 {
            return Err(Wrong::new("fit", "expected at least four points"));
        }
        let good =
            |fit: Fit| epsilons.iter().all(|epsilon| fit.at(*epsilon).is_finite() && fit.at(*epsilon) > 0.0);
        if !self.fit.is_none_or(good) {
            return Err(Wrong::new(
                "fit",
                "expected finite numbers that give a spread above zero at every epsilon",
            ));
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        // An order that has come leaves once.
        let rate = |point: &Point| 4.0 * point.reach + 2.0;
        let warm = |point: &Point| RUNS as f64 * WARM / point.epsilon * rate(point);
        let events = self.point.iter().map(|point| self.samples as f64 + warm(point)).sum();
        let slowest = self.point.iter().map(|point| WARM / point.epsilon).fold(0.0, f64::max);
        let seconds = slowest + self.samples as f64 / RUNS as f64;
        Demand { samples: Some(self.samples), least: SAMPLES_LEAST, events, each: 0.0, seconds, key: "point" }
    }

    fn compares(&self) -> bool {
        false
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let batch = (effort.samples(self.samples, SAMPLES_LEAST) / RUNS / BATCHES).max(1);
        let tasks: Vec<(usize, u64)> =
            (0..self.point.len()).flat_map(|point| (0..RUNS).map(move |run| (point, run))).collect();
        let spreads: Vec<Vec<f64>> = tasks
            .into_par_iter()
            .map(|(point, run)| self.point[point].run(batch, seed.replication(run)))
            .collect::<Result<_, Wrong>>()?;
        let rows: Vec<Replications> = spreads
            .chunks(RUNS as usize)
            .map(|runs| {
                Replications::new(runs.iter().flatten().map(|spread| vec![*spread]).collect(), Vec::new())
            })
            .collect();
        let mut quantities: Vec<Quantity> = self
            .point
            .iter()
            .zip(&rows)
            .map(|(point, row)| {
                let name = format!("spread / p_c, epsilon {}", point.epsilon);
                row.quantity(name, |means| means[0], None, batch * RUNS * BATCHES)
            })
            .collect();
        if let Some(fit) = self.fit {
            let trend = self.trend(fit, &quantities);
            quantities.extend(trend);
        }
        Ok(quantities)
    }
}

impl SantaFe {
    fn trend(&self, fit: Fit, spreads: &[Quantity]) -> [Quantity; 2] {
        let values: Vec<f64> = spreads.iter().map(|spread| spread.simulated).collect();
        let distances =
            self.point.iter().zip(&values).map(|(point, value)| (value / fit.at(point.epsilon) - 1.0).abs());
        let epsilons: Vec<f64> = self.point.iter().map(|point| point.epsilon).collect();
        let exponent = best_exponent(&epsilons, &values);
        // Each spread moved by its own standard error moves the exponent by so much.
        let moved = (0..values.len()).map(|index| {
            let mut values = values.clone();
            values[index] += spreads[index].standard_error;
            best_exponent(&epsilons, &values) - exponent
        });
        let error = moved.map(|moved| moved * moved).sum::<f64>().sqrt();
        let figure = |name: &str, simulated: f64, standard_error: f64| Quantity {
            name: name.to_owned(),
            origin: Origin::None,
            reference: None,
            reference_error: 0.0,
            simulated,
            standard_error,
            samples: spreads.iter().map(|spread| spread.samples).sum(),
        };
        let largest = distances.fold(0.0, f64::max);
        let relative =
            spreads.iter().map(|spread| spread.standard_error / spread.simulated).fold(0.0, f64::max);
        [
            figure("largest distance from the fit", largest, relative),
            figure("exponent that fits best", exponent, error),
        ]
    }
}

impl Point {
    fn config(self) -> PoissonConfig {
        let levels = libm::round(self.reach / self.tick) as usize;
        let rate = |per_second: f64| Rate { per_gigasecond: libm::round(per_second * 1e9) as u64 };
        // Far from the spread a price holds as many orders as arrive in a lifetime.
        let density = self.tick / self.epsilon;
        let orders = |depth: usize| {
            let below = libm::floor(depth as f64 * density);
            (libm::floor((depth + 1) as f64 * density) - below) as u32
        };
        let mut side: Vec<u32> = (0..levels).map(orders).collect();
        side[0] = side[0].max(1);
        PoissonConfig {
            limit: vec![rate(self.tick); levels],
            cancel: vec![rate(self.epsilon)],
            market: rate(1.0),
            sizes: Sizes::Fixed(Lots(1)),
            initial: InitialBook { bid: Ticks(0), spread: 1, bid_orders: side.clone(), ask_orders: side },
        }
    }

    /// The mean spread of each batch of a run.
    fn run(self, batch: u64, seed: Seed) -> Result<Vec<f64>, Wrong> {
        let exogenous = Exogenous::poisson(&self.config(), seed, Nanos::NEVER)
            .map_err(|error| Wrong::new("point", error.to_string()))?;
        let (mut book, mut fills) = (Book::new(), Vec::new());
        let mut flow = Flow::new(Arc::new(exogenous), &mut book);
        let warm = libm::round(WARM / self.epsilon * 1e9) as u64;
        while flow.next_at().0 < warm {
            flow.step(&mut book, &mut fills);
            fills.clear();
        }
        let mut last = flow.next_at();
        let mut means = Vec::new();
        for _ in 0..BATCHES {
            let (mut area, mut time) = (0.0, 0.0);
            for _ in 0..batch {
                let at = flow.next_at();
                // A side without orders has no spread; its time does not count.
                if let (Some(bid), Some(ask)) = (book.best(Side::Buy), book.best(Side::Sell)) {
                    let passed = (at - last).0 as f64;
                    area += (ask.price - bid.price) as f64 * passed;
                    time += passed;
                }
                last = at;
                flow.step(&mut book, &mut fills);
                fills.clear();
            }
            means.push(area / time * self.tick);
        }
        Ok(means)
    }
}

/// The exponent c for which a + b ε^c comes nearest to the values, in relative distance.
fn best_exponent(epsilons: &[f64], values: &[f64]) -> f64 {
    let (mut low, mut high) = (0.3, 1.5);
    let ratio = (5.0f64.sqrt() - 1.0) / 2.0;
    // The golden section: one minimum lies between.
    for _ in 0..60 {
        let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
        if misfit(epsilons, values, left) < misfit(epsilons, values, right) {
            high = right;
        } else {
            low = left;
        }
    }
    (low + high) / 2.0
}

/// Relative squares left over by the best a + b ε^c for a given c.
fn misfit(epsilons: &[f64], values: &[f64], exponent: f64) -> f64 {
    // Divided by the value, the model is a u + b v ≈ 1.
    let (mut uu, mut uv, mut vv, mut u1, mut v1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let rows = || {
        epsilons
            .iter()
            .zip(values)
            .map(move |(epsilon, value)| (1.0 / value, libm::pow(*epsilon, exponent) / value))
    };
    for (u, v) in rows() {
        uu += u * u;
        uv += u * v;
        vv += v * v;
        u1 += u;
        v1 += v;
    }
    let determinant = uu * vv - uv * uv;
    let (a, b) = ((u1 * vv - v1 * uv) / determinant, (v1 * uu - u1 * uv) / determinant);
    rows().map(|(u, v)| (a * u + b * v - 1.0) * (a * u + b * v - 1.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_law_is_found() {
        let epsilons = [0.002, 0.01, 0.05, 0.2, 1.0];
        for exponent in [0.5, 0.75, 1.0] {
            let values = epsilons.map(|epsilon| 0.4 + 1.1 * libm::pow(epsilon, exponent));
            assert!((best_exponent(&epsilons, &values) - exponent).abs() < 1e-5, "{exponent}");
        }
    }

    /// market: 3.2, at one point, and twice the cancellations do not pass for it.
    #[test]
    fn a_short_run_has_the_known_spread() {
        let point = Point { epsilon: 0.2, tick: 0.05, reach: 12.0 };
        let spread = |point: Point| {
            let batches = point.run(5_000, Seed(1)).unwrap();
            batches.iter().sum::<f64>() / batches.len() as f64
        };
        assert!((spread(point) / 0.767 - 1.0).abs() < 0.06, "{}", spread(point));
        let wrong = Point { epsilon: 0.4, ..point };
        assert!(spread(wrong) > 0.9, "{}", spread(wrong));
    }
}
