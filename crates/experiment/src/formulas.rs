//! Formulas and tables of the field against the engine: each case runs the product's own flow, book, dispatch or schedule
//! code and compares what came out with what is known.
//!
//! ```text
//!   cases.toml ──► Case ──run──► quantities (reference, simulated, standard error) ──► z, verdict
//! ```

mod almgren_chriss;
mod book;
mod case;
mod chain;
mod cst;
mod decay;
mod fill;
mod hawkes;
mod judge;
mod limits;
mod quantiles;
mod queue_reactive;
mod queueing;
mod replications;
mod santa_fe;
#[cfg(test)]
mod tests;
mod text;
mod transform;

use limits::Demand;
use numashock_engine::Seed;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use case::{CaseFile, Shipped, keys};
pub use judge::{CaseReport, FormulaReport, Judged, Verdict, validate};
pub use text::{list, table};

/// What a case of some kind does: it has read its keys, runs and says what it found.
trait Case: Send + Sync {
    /// Refuses what single keys cannot know, such as two that contradict each other.
    fn check(&self) -> Result<(), Wrong> {
        Ok(())
    }

    /// What the whole sample asks for, once the keys have been checked.
    fn demand(&self) -> Demand;

    /// Whether a figure has a reference that the case file need not give.
    fn compares(&self) -> bool {
        true
    }

    /// Draws the sample. The same effort and seed give the same bits for any number of threads.
    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong>;
}

/// What is wrong with a case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wrong {
    /// The key within the case, empty for the case itself.
    key: String,
    /// What was expected and what to do.
    problem: String,
}

impl Wrong {
    fn new(key: &str, problem: impl Into<String>) -> Wrong {
        Wrong { key: key.to_owned(), problem: problem.into() }
    }
}

/// Runs `work` on `threads` threads, 0 for one a processor.
///
/// # Panics
/// If the system has no thread to give.
pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads can be started")
        .install(work)
}

/// Cuts `0..total` into pieces of `piece`, runs each, on all threads, and hands over the answers in order of their piece, so
/// that folding them is the same for any number of threads. Few answers are held at a time, however many there are.
fn pieces<T: Send>(
    total: u64,
    piece: u64,
    run: impl Fn(core::ops::Range<u64>) -> T + Sync,
    mut take: impl FnMut(T),
) {
    let count = total.div_ceil(piece);
    let range = |index: u64| index * piece..total.min((index + 1) * piece);
    for first in (0..count).step_by(HELD) {
        let some: Vec<T> =
            (first..count.min(first + HELD as u64)).into_par_iter().map(|index| run(range(index))).collect();
        some.into_iter().for_each(&mut take);
    }
}

/// Answers of pieces that are held at a time.
const HELD: usize = 256;

/// Sums for a mean and its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    count: u64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The unbiased variance of a value.
    fn variance(&self) -> f64 {
        let count = self.count as f64;
        ((self.squares - self.sum * self.sum / count) / (count - 1.0)).max(0.0)
    }

    fn standard_error(&self) -> f64 {
        (self.variance() / self.count as f64).sqrt()
    }
}

/// Events from which on a sample tells its own standard error.
const RARE: f64 = 30.0;

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
    /// A mean of independent values.
    fn mean(name: impl Into<String>, moments: &Moments, reference: Option<f64>) -> Quantity {
        Quantity {
            name: name.into(),
            origin: if reference.is_some() { Origin::Formula } else { Origin::None },
            reference,
            reference_error: 0.0,
            simulated: moments.mean(),
            standard_error: moments.standard_error(),
            samples: moments.count,
        }
    }

    /// A share of independent trials. The standard error is the one that the reference implies, where there is one, and as if
    /// one trial more or less were never a surprise: a chance that is too small to be seen is no contradiction.
    fn share(name: impl Into<String>, hits: u64, trials: u64, reference: Option<f64>) -> Quantity {
        let count = trials as f64;
        let simulated = hits as f64 / count;
        let chance = reference.unwrap_or(simulated);
        let standard_error = (chance * (1.0 - chance) / count + 1.0 / (count * count)).sqrt();
        let moments = Moments { count: trials, ..Moments::default() };
        Quantity { simulated, standard_error, ..Quantity::mean(name, &moments, reference) }
    }

    /// Where fewer than so many events are to be expected, the sample's own standard error knows nothing of those that it has
    /// not seen: the variance that the reference implies for the mean counts if it is larger, and one event more or less is
    /// never a surprise.
    fn rarely(self, expected_events: f64, variance: f64, one: f64) -> Quantity {
        if expected_events >= RARE {
            return self;
        }
        let square = (self.standard_error * self.standard_error).max(variance) + one * one;
        Quantity { standard_error: square.sqrt(), ..self }
    }

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
