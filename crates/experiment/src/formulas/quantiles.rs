//! How often the product's own intervals hold the quantile that they are for (market: 6.1).

use numashock_engine::{Seed, Span, Stream, sample};
use serde::Deserialize;

use super::cst;
use super::limits::{self, Demand};
use super::{Case, Effort, Origin, Quantity, Wrong, pieces};
use crate::stats::{Quantile, Sample, binomial_ranks, level_interval, paired_interval};

pub(super) const ABOUT: &str = "how often the 95 % intervals of quantiles hold the true value: exact binomial ranks (independent values: \
    the coverage has a formula) or the bootstrap by seed (clustered values: it has none and is reported)";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("samples", "data sets of each figure"),
    (
        "data",
        "{ law = \"exponential\" }, { law = \"log-normal\", sigma = 1.0 }, { law = \"pareto\", alpha = 3.0 }, or by seed: \
        { law = \"clustered\", per_seed = 20, between = 0.3, within = 0.5, resamples = 1000, effect = 1.05 }: log-normal \
        levels of seeds times log-normal values; effect is the second arm's factor in a paired difference",
    ),
    ("counts", "list of numbers of values, or of seeds where the data are clustered"),
    ("quantiles", "list of 0.5, 0.95 and 0.99"),
];

const PIECE: u64 = 20;
/// The fewest data sets of a sample.
const SETS_LEAST: u64 = 100;
/// Integers stand for the values: so many are 1.
const UNIT: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "law", rename_all = "kebab-case", deny_unknown_fields)]
enum Data {
    Exponential,
    LogNormal { sigma: f64 },
    Pareto { alpha: f64 },
    Clustered { per_seed: u64, between: f64, within: f64, resamples: u32, effect: f64 },
}

/// The coverage of intervals.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuantileInterval {
    samples: u64,
    data: Data,
    counts: Vec<u64>,
    quantiles: Vec<f64>,
}

impl Case for QuantileInterval {
    fn check(&self) -> Result<(), Wrong> {
        let positive = |key: &str, value: f64, most: f64| {
            if value > 0.0 && value <= most {
                Ok(())
            } else {
                Err(Wrong::new(key, format!("expected a number above 0, at most {most}")))
            }
        };
        match self.data {
            Data::Exponential => {}
            Data::LogNormal { sigma } => positive("data.sigma", sigma, 3.0)?,
            Data::Pareto { alpha } => {
                positive("data.alpha", alpha, 100.0)?;
                if alpha < 1.0 {
                    return Err(Wrong::new("data.alpha", "expected at least 1"));
                }
            }
            Data::Clustered { per_seed, between, within, resamples, effect } => {
                positive("data.between", between, 3.0)?;
                positive("data.within", within, 3.0)?;
                positive("data.effect", effect, 10.0)?;
                positive("data.per_seed", per_seed as f64, 1e6)?;
                if !(100..=100_000).contains(&resamples) {
                    return Err(Wrong::new("data.resamples", "expected 100 to 100000"));
                }
            }
        }
        limits::some_entries("counts", &self.counts, "numbers above zero", |count| *count > 0)?;
        limits::some_entries("quantiles", &self.quantiles, "0.5, 0.95 or 0.99", |chance| chance.is_finite())?;
        let known: Result<Vec<Quantile>, Wrong> = self.quantiles().collect();
        for quantile in known? {
            let least =
                self.counts.iter().map(|count| count.saturating_mul(self.per_seed())).min().unwrap_or(0);
            if least < quantile.minimum_count() as u64 {
                let problem =
                    format!("expected at least {} values for {quantile:?}", quantile.minimum_count());
                return Err(Wrong::new("counts", problem));
            }
        }
        if self.counts.iter().any(|count| count.saturating_mul(self.per_seed()) > 10_000_000) {
            return Err(Wrong::new("counts", "expected at most 10000000 values"));
        }
        if matches!(self.data, Data::Clustered { .. }) && self.counts.iter().any(|count| *count < 20) {
            return Err(Wrong::new("counts", "expected at least 20 seeds"));
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        let values = self.counts.iter().map(|count| *count as f64 * self.per_seed() as f64).sum::<f64>();
        let times = match self.data {
            Data::Clustered { resamples, .. } => 2.0 * f64::from(resamples),
            _ => 1.0,
        };
        let events = self.samples as f64 * values * times;
        Demand {
            samples: Some(self.samples),
            least: SETS_LEAST,
            events,
            each: 0.0,
            seconds: 0.0,
            key: "counts",
        }
    }

    fn compares(&self) -> bool {
        !matches!(self.data, Data::Clustered { .. })
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let quantiles: Vec<Quantile> = self.quantiles().collect::<Result<_, Wrong>>()?;
        let sets = effort.samples(self.samples, SETS_LEAST);
        let mut figures = Vec::new();
        for count in &self.counts {
            figures.extend(match self.data {
                Data::Clustered { .. } => self.bootstrap(*count, &quantiles, sets, seed),
                _ => self.ranks(*count, &quantiles, sets, seed),
            });
        }
        Ok(figures)
    }
}

impl QuantileInterval {
    fn quantiles(&self) -> impl Iterator<Item = Result<Quantile, Wrong>> {
        self.quantiles.iter().map(|chance| {
            let known = Quantile::ALL
                .into_iter()
                .find(|quantile| (quantile.ppm() as f64 / 1e6 - chance).abs() < 1e-9);
            known.ok_or_else(|| Wrong::new("quantiles", "expected 0.5, 0.95 or 0.99"))
        })
    }

    fn per_seed(&self) -> u64 {
        match self.data {
            Data::Clustered { per_seed, .. } => per_seed,
            _ => 1,
        }
    }

    /// Exact ranks of independent values.
    fn ranks(&self, count: u64, quantiles: &[Quantile], sets: u64, seed: Seed) -> Vec<Quantity> {
        let truths: Vec<f64> =
            quantiles.iter().map(|quantile| self.data.quantile(chance(*quantile))).collect();
        let mut all_hits = vec![0u64; quantiles.len()];
        let run = |range: core::ops::Range<u64>| {
            let mut hits = vec![0u64; quantiles.len()];
            for set in range {
                let mut stream = seed.stream("data", set);
                let sample = Sample::new((0..count).map(|index| (index, self.data.draw(&mut stream))));
                let replicates = sample.replicates(seed, 1);
                for ((quantile, truth), hits) in quantiles.iter().zip(&truths).zip(&mut hits) {
                    let interval =
                        level_interval(&sample, &replicates, *quantile).expect("the count was checked");
                    *hits += u64::from(interval.lo as f64 <= *truth && *truth <= interval.hi as f64);
                }
            }
            hits
        };
        pieces(sets, PIECE, run, |hits| {
            all_hits.iter_mut().zip(hits).for_each(|(all, hits)| *all += hits);
        });
        let mut figures = Vec::new();
        for (index, quantile) in quantiles.iter().enumerate() {
            let found = binomial_ranks(count, *quantile).expect("the count was checked");
            let (ranks, coverage) = exact(count, chance(*quantile));
            let name = |what: &str| format!("{what}, {quantile:?} of {count}");
            let sure = |what: &str, simulated: f64, reference: f64| Quantity {
                name: name(what),
                origin: Origin::Formula,
                reference: Some(reference),
                reference_error: 0.0,
                simulated,
                standard_error: 0.0,
                samples: 1,
            };
            figures.push(sure("lower rank", found.0 as f64, ranks.0 as f64));
            figures.push(sure("upper rank", found.1 as f64, ranks.1 as f64));
            figures.push(Quantity::share(name("coverage"), all_hits[index], sets, Some(coverage)));
        }
        figures
    }

    /// The bootstrap by seed: a level, and a difference of two arms that share their seeds.
    fn bootstrap(&self, seeds: u64, quantiles: &[Quantile], sets: u64, seed: Seed) -> Vec<Quantity> {
        let Data::Clustered { per_seed, resamples, effect, .. } = self.data else {
            unreachable!("only clustered data are bootstrapped")
        };
        let truths: Vec<f64> =
            quantiles.iter().map(|quantile| self.data.quantile(chance(*quantile))).collect();
        let mut all_hits = vec![[0u64; 2]; quantiles.len()];
        let run = |range: core::ops::Range<u64>| {
            let mut hits = vec![[0u64; 2]; quantiles.len()];
            for set in range {
                let arms = self.data.arms(seeds, &mut seed.stream("data", set)).map(|pairs| {
                    let sample = Sample::new(pairs);
                    let replicates = sample.replicates(seed.replication(set), resamples);
                    (sample, replicates)
                });
                let [first, second] = [0, 1].map(|arm: usize| (&arms[arm].0, &arms[arm].1));
                for ((quantile, truth), hits) in quantiles.iter().zip(&truths).zip(&mut hits) {
                    let level = level_interval(first.0, first.1, *quantile).expect("the counts were checked");
                    let paired = paired_interval(second, first, *quantile).expect("the counts were checked");
                    for ((interval, truth), hits) in
                        [(level, *truth), (paired, (effect - 1.0) * truth)].into_iter().zip(hits)
                    {
                        *hits += u64::from(interval.lo as f64 <= truth && truth <= interval.hi as f64);
                    }
                }
            }
            hits
        };
        pieces(sets, 1, run, |hits| cst::add(&mut all_hits, &hits));
        let mut figures = Vec::new();
        for (index, quantile) in quantiles.iter().enumerate() {
            for (arm, what) in ["bootstrap coverage", "paired bootstrap coverage"].into_iter().enumerate() {
                let hits = all_hits[index][arm];
                let name = format!("{what}, {quantile:?} of {seeds} seeds x {per_seed}");
                figures.push(Quantity::share(name, hits, sets, None));
            }
        }
        figures
    }
}

fn chance(quantile: Quantile) -> f64 {
    quantile.ppm() as f64 / 1e6
}

impl Data {
    /// A value of independent data.
    fn draw(self, stream: &mut Stream) -> i64 {
        let whole = |span: Span| i64::try_from(span.0).unwrap_or(i64::MAX);
        match self {
            Data::Exponential => whole(sample::exponential(stream, UNIT as f64)),
            Data::LogNormal { sigma } => whole(log_normal(stream, Span(UNIT), sigma)),
            Data::Pareto { alpha } => {
                let exponential = sample::unit_exponential(stream) as f64 / 1_099_511_627_776.0;
                libm::round(libm::exp(exponential / alpha) * UNIT as f64) as i64
            }
            Data::Clustered { .. } => unreachable!("clustered data come by seed"),
        }
    }

    /// (seed, value) of two arms whose seeds have the same level; within it the values are independent.
    fn arms(self, seeds: u64, stream: &mut Stream) -> [Vec<(u64, i64)>; 2] {
        let Data::Clustered { per_seed, between, within, effect, .. } = self else {
            unreachable!("independent data have no seeds")
        };
        let mut arms = [Vec::new(), Vec::new()];
        for seed in 0..seeds {
            let level = log_normal(stream, Span(UNIT), between);
            for _ in 0..per_seed {
                let value = log_normal(stream, level, within).0 as f64;
                let other = log_normal(stream, level, within).0 as f64 * effect;
                arms[0].push((seed, value as i64));
                arms[1].push((seed, libm::round(other) as i64));
            }
        }
        arms
    }

    /// The value that holds with this chance.
    fn quantile(self, chance: f64) -> f64 {
        let log_normal = |sigma: f64| libm::exp(sigma * normal_quantile(chance));
        let value = match self {
            Data::Exponential => -libm::log1p(-chance),
            Data::LogNormal { sigma } => log_normal(sigma),
            Data::Pareto { alpha } => libm::pow(1.0 - chance, -1.0 / alpha),
            Data::Clustered { between, within, .. } => {
                log_normal((between * between + within * within).sqrt())
            }
        };
        value * UNIT as f64
    }
}

fn log_normal(stream: &mut Stream, median: Span, sigma: f64) -> Span {
    sample::log_normal(stream, median, libm::round(sigma * 1e6) as u32)
}

/// The standard normal's quantile, by bisection.
fn normal_quantile(chance: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        let below = libm::erfc(-middle * core::f64::consts::FRAC_1_SQRT_2) / 2.0;
        if below < chance { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The ranks with at most 2.5 % on either side, and the chance between them, from the whole binomial law: term by term from
/// its mode, in plain ratios.
fn exact(count: u64, chance: f64) -> ((u64, u64), f64) {
    let mode = (libm::floor((count + 1) as f64 * chance) as usize).min(count as usize);
    let mut terms = vec![0.0; count as usize + 1];
    terms[mode] = 1.0;
    let odds = chance / (1.0 - chance);
    for k in mode..count as usize {
        terms[k + 1] = terms[k] * (count as f64 - k as f64) / (k as f64 + 1.0) * odds;
    }
    for k in (0..mode).rev() {
        terms[k] = terms[k + 1] * (k as f64 + 1.0) / (count as f64 - k as f64) / odds;
    }
    let total: f64 = terms.iter().sum();
    let tail = 0.025 * total;
    // P(Bin ≤ l − 1) and P(Bin ≥ u) stay within a tail.
    let (mut below, mut lower) = (0.0, 0);
    while below + terms[lower] <= tail {
        below += terms[lower];
        lower += 1;
    }
    let (mut above, mut upper) = (0.0, count as usize + 1);
    while above + terms[upper - 1] <= tail {
        above += terms[upper - 1];
        upper -= 1;
    }
    ((lower as u64, upper as u64), (total - below - above) / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// market: 6.1.
    #[test]
    fn the_reference_is_the_table() {
        for (count, chance, ranks, coverage) in [
            (100, 0.5, (40, 61), 0.9648),
            (500, 0.99, (490, 500), 0.9802),
            (2_000, 0.99, (1_971, 1_989), 0.9578),
            (100_000, 0.95, (94_864, 95_136), 0.9515),
        ] {
            let (found, exact) = exact(count, chance);
            assert_eq!(found, ranks);
            assert!((exact - coverage).abs() < 6e-5, "{count} {chance}: {exact}");
        }
        assert!((normal_quantile(0.975) - 1.959_963_985).abs() < 1e-8);
    }

    #[test]
    fn intervals_of_heavy_tails_cover_as_often_as_they_say() {
        let case =
            |data| QuantileInterval { samples: 400, data, counts: vec![500], quantiles: vec![0.5, 0.99] };
        let effort = Effort { sample_ppm: 1_000_000, seed: 0 };
        for data in [Data::Exponential, Data::LogNormal { sigma: 2.0 }, Data::Pareto { alpha: 1.5 }] {
            let figures = case(data).run(effort, Seed(1)).unwrap();
            assert_eq!(figures.len(), 6);
            assert!(figures.iter().all(|figure| figure.z().unwrap().abs() < 4.0), "{figures:?}");
        }
        // The true quantile of other data is not covered.
        let mut wrong = case(Data::Pareto { alpha: 1.5 });
        wrong.data = Data::Exponential;
        let count = |range: core::ops::Range<u64>| {
            range
                .filter(|set| {
                    let mut stream = Seed(1).stream("data", *set);
                    let draw = Data::Pareto { alpha: 1.5 };
                    let sample = Sample::new((0..500).map(|index| (index, draw.draw(&mut stream))));
                    let interval =
                        level_interval(&sample, &sample.replicates(Seed(1), 1), Quantile::Q50).unwrap();
                    interval.hi as f64 >= wrong.data.quantile(0.5)
                        && interval.lo as f64 <= wrong.data.quantile(0.5)
                })
                .count()
        };
        let mut hits = 0;
        pieces(50, PIECE, count, |some| hits += some);
        assert_eq!(hits, 0);
    }
}
