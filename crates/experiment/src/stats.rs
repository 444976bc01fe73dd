//! Quantiles and their intervals: order statistics, exact binomial ranks, and a bootstrap by seed.
//!
//! Parents of one seed share their market and machine, so a seed is the unit that is resampled; children or parents
//! alone never are (market: 6.2). Values are integers; a result is the same bits on every platform.

use core::fmt;

use numashock_engine::Seed;

/// Bootstrap resamples unless the caller has a reason for another number.
pub const RESAMPLES: u32 = 2_000;

/// Fewest seeds for which a bootstrap by seed says anything about the spread between seeds.
pub const MINIMUM_SEEDS: usize = 20;

/// Chance left out on each side of an interval, in parts per million: 95 % with equal tails.
const TAIL_PPM: u64 = 25_000;

const MILLION: u64 = 1_000_000;

/// A quantile that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// The median.
    Q50,
    /// The 95th percentile.
    Q95,
    /// The 99th percentile.
    Q99,
}

impl Quantile {
    /// All of them, lowest first.
    pub const ALL: [Quantile; 3] = [Quantile::Q50, Quantile::Q95, Quantile::Q99];

    /// Its probability in parts per million.
    #[must_use]
    pub fn ppm(self) -> u64 {
        match self {
            Quantile::Q50 => 500_000,
            Quantile::Q95 => 950_000,
            Quantile::Q99 => 990_000,
        }
    }

    /// The rank (from 1) of the order statistic that estimates it among `count` values: ⌈p·n⌉.
    #[must_use]
    pub fn rank(self, count: u64) -> u64 {
        rank(self.ppm(), count)
    }

    /// Fewest values for which a two-sided 95 % interval with equal tails exists (market: 6.1).
    #[must_use]
    pub fn minimum_count(self) -> usize {
        match self {
            Quantile::Q50 => 6,
            Quantile::Q95 => 72,
            Quantile::Q99 => 368,
        }
    }
}

/// A two-sided interval; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Lower end.
    pub lo: i64,
    /// Upper end.
    pub hi: i64,
}

/// Why the data do not support an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Too few values for this quantile.
    Values {
        /// How many there are.
        found: usize,
        /// How many it takes.
        needed: usize,
    },
    /// Too few seeds.
    Seeds {
        /// How many there are.
        found: usize,
        /// How many it takes.
        needed: usize,
    },
    /// The two arms did not run the same seeds.
    Unpaired,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsupported::Values { found, needed } => {
                write!(f, "no interval: {found} parents, at least {needed} are needed for this quantile")
            }
            Unsupported::Seeds { found, needed } => {
                write!(f, "no interval: {found} seeds, at least {needed} are needed")
            }
            Unsupported::Unpaired => {
                f.write_str("no interval: the choice and the baseline must have the same seeds")
            }
        }
    }
}

/// The order statistic of rank ⌈p·n⌉, or none of nothing. Reorders `values`.
#[must_use]
pub fn quantile(values: &mut [i64], quantile: Quantile) -> Option<i64> {
    quantile_ppm(values, quantile.ppm())
}

/// The order statistic of rank ⌈p·n⌉ (at least 1) for any probability in parts per million. Reorders `values`.
///
/// # Panics
/// If `ppm` exceeds a million.
#[must_use]
pub fn quantile_ppm(values: &mut [i64], ppm: u64) -> Option<i64> {
    assert!(ppm <= MILLION, "a probability is at most 1");
    if values.is_empty() {
        return None;
    }
    let index = rank(ppm, values.len() as u64) - 1;
    let index = usize::try_from(index).expect("a rank is at most the length");
    Some(*values.select_nth_unstable(index).1)
}

fn rank(ppm: u64, count: u64) -> u64 {
    let wide = (u128::from(ppm) * u128::from(count)).div_ceil(u128::from(MILLION));
    u64::try_from(wide).expect("a rank is at most the count").max(1)
}

/// Ranks (from 1) of the exact 95 % interval with equal tails: the quantile lies between the order statistics of
/// these ranks with a chance of at least 95 % for independent values; ties only widen it (market: 6.1).
///
/// None where `count` is below [`Quantile::minimum_count`].
#[must_use]
pub fn binomial_ranks(count: u64, quantile: Quantile) -> Option<(u64, u64)> {
    let chance = quantile.ppm() as f64 / 1e6;
    let below = binomial_tail(count, chance)?;
    // At least u successes is at most n − u failures.
    let above = binomial_tail(count, 1.0 - chance)?;
    Some((below + 1, count - above))
}

/// The largest k with P(Bin(count, chance) ≤ k) within one tail.
fn binomial_tail(count: u64, chance: f64) -> Option<u64> {
    let tail = TAIL_PPM as f64 / 1e6;
    let (n, odds) = (count as f64, chance / (1.0 - chance));
    // Twelve deviations below the mean lies less than 1e-12; starting there keeps the first term above underflow.
    let start = libm::floor(n * chance - 12.0 * libm::sqrt(n * chance * (1.0 - chance))).max(0.0);
    let mut term = libm::exp(
        libm::lgamma(n + 1.0) - libm::lgamma(start + 1.0) - libm::lgamma(n - start + 1.0)
            + start * libm::log(chance)
            + (n - start) * libm::log(1.0 - chance),
    );
    let (mut sum, mut k) = (0.0, start);
    while sum + term <= tail {
        sum += term;
        term *= (n - k) / (k + 1.0) * odds;
        k += 1.0;
    }
    // A start above zero is far inside the tail, so the loop then ran at least once.
    (k > 0.0).then(|| k as u64 - 1)
}

/// Values by seed, sorted, with the counts that make a resample's quantile quick to find.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Distinct seeds in ascending order; a cluster is an index into them.
    seeds: Vec<u64>,
    /// All values in ascending order.
    values: Vec<i64>,
    /// The cluster of each value.
    clusters: Vec<u32>,
    /// Row b: how many of the first b × block values each cluster has; a last row holds the totals.
    prefix: Vec<u64>,
    block: usize,
}

impl Sample {
    /// Takes (seed, value) pairs in any order.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (u64, i64)>) -> Sample {
        let pairs: Vec<(u64, i64)> = pairs.into_iter().collect();
        let mut seeds: Vec<u64> = pairs.iter().map(|(seed, _)| *seed).collect();
        seeds.dedup();
        seeds.sort_unstable();
        seeds.dedup();
        let mut last = 0;
        let mut sorted: Vec<(i64, u32)> = Vec::with_capacity(pairs.len());
        for (seed, value) in pairs {
            if seeds[last] != seed {
                last = seeds.binary_search(&seed).expect("each seed is listed");
            }
            sorted.push((value, u32::try_from(last).expect("fewer than 2^32 seeds")));
        }
        sorted.sort_unstable();
        let values = sorted.iter().map(|(value, _)| *value).collect();
        let clusters: Vec<u32> = sorted.into_iter().map(|(_, cluster)| cluster).collect();
        // A lookup costs clusters × log(blocks) + block; a block this long keeps the table as small as the sample.
        let block = seeds.len().max(256);
        let prefix = prefix_counts(&clusters, seeds.len(), block);
        Sample { seeds, values, clusters, prefix, block }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// How many seeds they come from.
    #[must_use]
    pub fn clusters(&self) -> usize {
        self.seeds.len()
    }

    /// All values in ascending order.
    #[must_use]
    pub fn sorted(&self) -> &[i64] {
        &self.values
    }

    /// The order statistic of rank ⌈p·n⌉, or none of nothing.
    #[must_use]
    pub fn quantile(&self, quantile: Quantile) -> Option<i64> {
        let index = quantile.rank(self.len() as u64) - 1;
        self.values.get(usize::try_from(index).ok()?).copied()
    }

    /// The quantiles of `resamples` resamples of whole seeds.
    ///
    /// Resample r of every sample with as many seeds draws the same seeds: that is what pairs two arms.
    #[must_use]
    pub fn replicates(&self, seed: Seed, resamples: u32) -> Replicates {
        let mut quantiles = [const { Vec::new() }; 3];
        if !self.is_empty() {
            let mut weights = vec![0u64; self.clusters()];
            for resample in 0..resamples {
                draw_weights(seed, resample, &mut weights);
                let total = dot(self.prefix_row(self.blocks() + 1), &weights);
                for (quantile, values) in Quantile::ALL.into_iter().zip(&mut quantiles) {
                    values.push(self.weighted(&weights, quantile.rank(total)));
                }
            }
        }
        Replicates { quantiles }
    }

    /// The least value whose weight, with that of all values before it, reaches `target`.
    fn weighted(&self, weights: &[u64], target: u64) -> i64 {
        // Row 0 weighs nothing, and the totals reach any target: the block lies between.
        let (mut below, mut reached) = (0, self.blocks() + 1);
        while reached - below > 1 {
            let middle = below.midpoint(reached);
            if dot(self.prefix_row(middle), weights) < target {
                below = middle;
            } else {
                reached = middle;
            }
        }
        let mut weight = dot(self.prefix_row(below), weights);
        let start = below * self.block;
        for (value, cluster) in self.values[start..].iter().zip(&self.clusters[start..]) {
            weight += weights[*cluster as usize];
            if weight >= target {
                return *value;
            }
        }
        unreachable!("the weights of all values reach the target")
    }

    /// Whole blocks.
    fn blocks(&self) -> usize {
        self.values.len() / self.block
    }

    fn prefix_row(&self, row: usize) -> &[u64] {
        &self.prefix[row * self.clusters()..][..self.clusters()]
    }
}

fn prefix_counts(clusters: &[u32], width: usize, block: usize) -> Vec<u64> {
    let mut counts = vec![0u64; width];
    let mut prefix = counts.clone();
    for (index, cluster) in clusters.iter().enumerate() {
        counts[*cluster as usize] += 1;
        if (index + 1) % block == 0 {
            prefix.extend_from_slice(&counts);
        }
    }
    prefix.extend_from_slice(&counts);
    prefix
}

/// How often each cluster is drawn in a resample: as many draws as clusters, with replacement.
fn draw_weights(seed: Seed, resample: u32, weights: &mut [u64]) {
    let mut stream = seed.stream("bootstrap", u64::from(resample));
    weights.fill(0);
    for _ in 0..weights.len() {
        let cluster = stream.below(weights.len() as u64);
        weights[usize::try_from(cluster).expect("a draw is below the number of clusters")] += 1;
    }
}

fn dot(counts: &[u64], weights: &[u64]) -> u64 {
    counts.iter().zip(weights).map(|(count, weight)| count * weight).sum()
}

/// The quantiles of each resample, in order of resample; empty for an empty sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicates {
    quantiles: [Vec<i64>; 3],
}

impl Replicates {
    /// The quantile of each resample.
    #[must_use]
    pub fn of(&self, quantile: Quantile) -> &[i64] {
        &self.quantiles[quantile as usize]
    }
}

/// The 95 % interval of a level: exact binomial ranks where each seed has one value, else the bootstrap by seed.
///
/// # Errors
/// Says what is needed where the sample cannot support an interval.
pub fn level_interval(
    sample: &Sample,
    replicates: &Replicates,
    quantile: Quantile,
) -> Result<Interval, Unsupported> {
    enough_values(sample, quantile)?;
    if sample.clusters() == sample.len() {
        let (lower, upper) = binomial_ranks(sample.len() as u64, quantile)
            .expect("a sample of the minimum count has both ranks");
        let value = |rank: u64| sample.values[usize::try_from(rank).expect("a rank is an index") - 1];
        return Ok(Interval { lo: value(lower), hi: value(upper) });
    }
    enough_seeds(sample)?;
    Ok(percentile_interval(replicates.of(quantile).to_vec()))
}

/// The 95 % interval of a difference of quantiles, the first arm less the second, seed by seed the same resamples.
///
/// # Errors
/// Says what is needed where the samples cannot support an interval.
pub fn paired_interval(
    (sample, replicates): (&Sample, &Replicates),
    (baseline, baseline_replicates): (&Sample, &Replicates),
    quantile: Quantile,
) -> Result<Interval, Unsupported> {
    for arm in [sample, baseline] {
        enough_values(arm, quantile)?;
        enough_seeds(arm)?;
    }
    if sample.seeds != baseline.seeds {
        return Err(Unsupported::Unpaired);
    }
    let pairs = replicates.of(quantile).iter().zip(baseline_replicates.of(quantile));
    Ok(percentile_interval(pairs.map(|(value, base)| value - base).collect()))
}

/// The 95 % interval of a mean: the bootstrap by seed, from each seed's sum and count. Means of one sweep draw the same seeds.
///
/// # Errors
/// Says what is needed where there are too few seeds.
pub fn mean_interval(
    clusters: &[(i128, u64)],
    seed: Seed,
    resamples: u32,
) -> Result<(f64, f64), Unsupported> {
    if clusters.len() < MINIMUM_SEEDS {
        return Err(Unsupported::Seeds { found: clusters.len(), needed: MINIMUM_SEEDS });
    }
    let mut weights = vec![0u64; clusters.len()];
    let mut means: Vec<f64> = Vec::new();
    for resample in 0..resamples {
        draw_weights(seed, resample, &mut weights);
        let drawn = || clusters.iter().zip(&weights);
        let sum: i128 = drawn().map(|((sum, _), weight)| sum * i128::from(*weight)).sum();
        let count: u64 = drawn().map(|((_, count), weight)| count * weight).sum();
        means.push(sum as f64 / count.max(1) as f64);
    }
    means.sort_unstable_by(f64::total_cmp);
    let tail = usize::try_from(rank(TAIL_PPM, means.len() as u64)).expect("a rank is an index");
    Ok((means[tail - 1], means[means.len() - tail]))
}

fn enough_values(sample: &Sample, quantile: Quantile) -> Result<(), Unsupported> {
    let (found, needed) = (sample.len(), quantile.minimum_count());
    if found < needed { Err(Unsupported::Values { found, needed }) } else { Ok(()) }
}

fn enough_seeds(sample: &Sample) -> Result<(), Unsupported> {
    let (found, needed) = (sample.clusters(), MINIMUM_SEEDS);
    if found < needed { Err(Unsupported::Seeds { found, needed }) } else { Ok(()) }
}

/// The order statistics of ranks k = ⌈0.025·R⌉ and R + 1 − k: exchanging the arms of a difference exactly mirrors it.
fn percentile_interval(mut replicates: Vec<i64>) -> Interval {
    assert!(!replicates.is_empty(), "a bootstrap has at least one resample");
    replicates.sort_unstable();
    let tail = usize::try_from(rank(TAIL_PPM, replicates.len() as u64)).expect("a rank is an index");
    Interval { lo: replicates[tail - 1], hi: replicates[replicates.len() - tail] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numashock_engine::{Span, Stream, sample};

    /// market: 6.1, the whole table: n, quantile, lower rank, upper rank, coverage × 10⁴.
    const TABLE: [(u64, Quantile, u64, u64, u64); 17] = [
        (100, Quantile::Q50, 40, 61, 9648),
        (100, Quantile::Q95, 90, 100, 9826),
        (500, Quantile::Q50, 228, 273, 9559),
        (500, Quantile::Q95, 465, 485, 9605),
        (500, Quantile::Q99, 490, 500, 9802),
        (1000, Quantile::Q50, 469, 532, 9537),
        (1000, Quantile::Q95, 936, 964, 9581),
        (1000, Quantile::Q99, 983, 997, 9761),
        (2000, Quantile::Q50, 956, 1045, 9534),
        (2000, Quantile::Q95, 1880, 1920, 9600),
        (2000, Quantile::Q99, 1971, 1989, 9578),
        (10000, Quantile::Q50, 4902, 5099, 9512),
        (10000, Quantile::Q95, 9457, 9543, 9515),
        (10000, Quantile::Q99, 9880, 9920, 9558),
        (100_000, Quantile::Q50, 49690, 50311, 9504),
        (100_000, Quantile::Q95, 94864, 95136, 9515),
        (100_000, Quantile::Q99, 98938, 99062, 9512),
    ];

    #[test]
    fn binomial_ranks_are_those_of_the_table() {
        for (count, quantile, lower, upper, _) in TABLE {
            assert_eq!(binomial_ranks(count, quantile), Some((lower, upper)), "{count} {quantile:?}");
        }
    }

    /// The naive twin: the whole distribution, one product of ratios at a time in logarithms.
    #[test]
    fn the_ranks_cover_what_the_table_says() {
        for (count, quantile, lower, upper, coverage) in TABLE {
            let chance = quantile.ppm() as f64 / 1e6;
            let (mut log_term, mut inside) = (count as f64 * libm::log(1.0 - chance), 0.0);
            for k in 0..upper {
                if k >= lower {
                    inside += libm::exp(log_term);
                }
                log_term += libm::log((count - k) as f64 / (k + 1) as f64 * chance / (1.0 - chance));
            }
            assert!((inside * 1e4 - coverage as f64).abs() < 0.6, "{count} {quantile:?}: {inside}");
        }
    }

    #[test]
    fn the_minimum_counts_are_the_first_with_both_ranks() {
        for quantile in Quantile::ALL {
            let first = (1..).find(|count| binomial_ranks(*count, quantile).is_some());
            assert_eq!(first, Some(quantile.minimum_count() as u64));
        }
    }

    #[test]
    fn order_statistics_take_the_rank_rounded_up() {
        let mut values: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut values, Quantile::Q50), Some(50));
        assert_eq!(quantile(&mut values, Quantile::Q95), Some(95));
        assert_eq!(quantile(&mut values[..], Quantile::Q99), Some(99));
        assert_eq!(quantile(&mut [7, 3, 5], Quantile::Q50), Some(5));
        assert_eq!(quantile_ppm(&mut [7, 3, 5], 0), Some(3));
        assert_eq!(quantile(&mut [], Quantile::Q50), None);
    }

    /// Clusters that differ in level and in size, with ties.
    fn clustered(seeds: u64, per_seed: u64, stream: &mut Stream) -> Vec<(u64, i64)> {
        let mut pairs = Vec::new();
        for seed in 0..seeds {
            let level = stream.below(40) as i64;
            for _ in 0..=stream.below(per_seed) {
                pairs.push((seed * 3 + 1, level + stream.below(60) as i64));
            }
        }
        pairs
    }

    /// The naive twin: write each drawn seed's values out, sort, index.
    #[test]
    fn replicates_agree_with_written_out_resamples() {
        let mut stream = Seed(5).stream("test", 0);
        for (seeds, per_seed) in [(1, 1), (2, 700), (30, 4), (24, 90), (300, 3)] {
            let pairs = clustered(seeds, per_seed, &mut stream);
            let sample = Sample::new(pairs.iter().copied());
            let replicates = sample.replicates(Seed(11), 40);
            let mut weights = vec![0; sample.clusters()];
            for resample in 0..40 {
                draw_weights(Seed(11), resample, &mut weights);
                assert_eq!(weights.iter().sum::<u64>(), seeds);
                let mut written: Vec<i64> = Vec::new();
                for (seed, value) in &pairs {
                    let cluster = sample.seeds.binary_search(seed).unwrap();
                    written.extend((0..weights[cluster]).map(|_| *value));
                }
                for q in Quantile::ALL {
                    assert_eq!(Some(replicates.of(q)[resample as usize]), quantile(&mut written, q));
                }
            }
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let pairs = clustered(25, 30, &mut Seed(6).stream("test", 0));
        let forward = Sample::new(pairs.iter().copied()).replicates(Seed(1), 50);
        let backward = Sample::new(pairs.iter().rev().copied()).replicates(Seed(1), 50);
        assert_eq!(forward, backward);
    }

    #[test]
    fn exchanging_the_arms_mirrors_the_interval_and_equal_arms_give_zero() {
        let pairs = clustered(40, 60, &mut Seed(8).stream("test", 0));
        let base = Sample::new(pairs.iter().copied());
        let other = Sample::new(pairs.iter().map(|(seed, value)| (*seed, value * value % 97)));
        let [base_replicates, other_replicates] =
            [&base, &other].map(|sample| sample.replicates(Seed(2), 300));
        let (base, other) = ((&base, &base_replicates), (&other, &other_replicates));
        for quantile in Quantile::ALL {
            let there = paired_interval(other, base, quantile).unwrap();
            let back = paired_interval(base, other, quantile).unwrap();
            assert_eq!((there.lo, there.hi), (-back.hi, -back.lo));
            assert_eq!(paired_interval(base, base, quantile), Ok(Interval { lo: 0, hi: 0 }));
        }
    }

    #[test]
    fn intervals_need_values_seeds_and_pairs() {
        let make = |seeds: u64, per_seed: u64, first: u64| {
            let pairs = (0..seeds * per_seed).map(move |index| (first + index % seeds, index as i64));
            let sample = Sample::new(pairs);
            let replicates = sample.replicates(Seed(1), 100);
            (sample, replicates)
        };
        let level = |(sample, replicates): &(Sample, Replicates), q| level_interval(sample, replicates, q);
        assert_eq!(
            level(&make(20, 10, 0), Quantile::Q99),
            Err(Unsupported::Values { found: 200, needed: 368 })
        );
        assert_eq!(level(&make(19, 99, 0), Quantile::Q95), Err(Unsupported::Seeds { found: 19, needed: 20 }));
        assert!(level(&make(20, 10, 0), Quantile::Q95).is_ok());
        // One value a seed: exact ranks, and no bootstrap minimum.
        assert_eq!(level(&make(6, 1, 0), Quantile::Q50), Ok(Interval { lo: 0, hi: 5 }));
        assert_eq!(level(&make(100, 1, 0), Quantile::Q95), Ok(Interval { lo: 89, hi: 99 }));
        assert_eq!(level(&make(0, 0, 0), Quantile::Q50), Err(Unsupported::Values { found: 0, needed: 6 }));
        let (here, there) = (make(20, 10, 0), make(20, 10, 1));
        let paired = paired_interval((&here.0, &here.1), (&there.0, &there.1), Quantile::Q50);
        assert_eq!(paired, Err(Unsupported::Unpaired));
    }

    /// Equal clusters whose means are 0 and 1: a resample's mean is the share of ones drawn.
    #[test]
    fn the_interval_of_a_mean_is_that_of_the_means_of_seeds() {
        let clusters: Vec<(i128, u64)> = (0..100).map(|seed| (seed % 2 * 7, 7)).collect();
        let (lo, hi) = mean_interval(&clusters, Seed(4), 2_000).unwrap();
        // 1.96 standard deviations of a mean of 100 coins: 0.098.
        assert!((lo - 0.402).abs() < 0.021 && (hi - 0.598).abs() < 0.021, "{lo} {hi}");
        assert_eq!(mean_interval(&[(5, 1); 20], Seed(4), 50), Ok((5.0, 5.0)));
        assert_eq!(
            mean_interval(&clusters[..19], Seed(4), 50),
            Err(Unsupported::Seeds { found: 19, needed: 20 })
        );
    }

    /// Level + noise by seed: the interval of the bootstrap holds the true quantile about as often as it says.
    #[test]
    fn the_bootstrap_covers_clustered_quantiles() {
        let draw = |seeds: u64, entity: u64| {
            let mut stream = Seed(21).stream("coverage", entity);
            let mut pairs = Vec::new();
            for seed in 0..seeds {
                let level = sample::log_normal(&mut stream, Span(1_000_000), 300_000);
                for _ in 0..20 {
                    pairs.push((seed, sample::log_normal(&mut stream, level, 500_000).0 as i64));
                }
            }
            Sample::new(pairs)
        };
        let truth = draw(20_000, u64::MAX);
        let mut covered = [0u32; 3];
        for entity in 0..400 {
            let sample = draw(60, entity);
            let replicates = sample.replicates(Seed(entity), 400);
            for (quantile, covered) in Quantile::ALL.into_iter().zip(&mut covered) {
                let interval = level_interval(&sample, &replicates, quantile).unwrap();
                let value = truth.quantile(quantile).unwrap();
                *covered += u32::from(interval.lo <= value && value <= interval.hi);
            }
        }
        // Of 400: 95 % is 380. The percentile bootstrap falls short in the tail (market: 6.1).
        assert!(covered.iter().all(|count| (345..=395).contains(count)), "{covered:?}");
    }

    /// The interval of the bootstrap grows with the spread between seeds, which one by parent would not see.
    #[test]
    fn spread_between_seeds_widens_the_interval() {
        let width = |pairs: Vec<(u64, i64)>| {
            let sample = Sample::new(pairs);
            let interval = level_interval(&sample, &sample.replicates(Seed(3), 500), Quantile::Q50).unwrap();
            interval.hi - interval.lo
        };
        // The same 2,500 values, scattered over 50 seeds or one seed a run of 50 neighbours.
        let scattered = width((0..2_500).map(|index| (index % 50, index as i64)).collect());
        let together = width((0..2_500).map(|index| (index / 50, index as i64)).collect());
        assert!(together > 4 * scattered, "{together} against {scattered}");
    }
}
