//! Market orders that come in clusters: a bivariate Hawkes process with an exponential kernel (market: 3.3).

use numashock_engine::{Nanos, Seed, Stream, sample};

use super::{FlowError, Rate};
use crate::Side;

/// The process of market buys and sells, the same on both sides: each event raises the intensity of its own side by
/// `self_excitation` and of the other by `cross_excitation`, and both rises decay at the rate `beta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excitation {
    /// The intensity of each side on its own, mu.
    pub mu: Rate,
    /// What an event adds to its own side's intensity.
    pub self_excitation: Rate,
    /// What an event adds to the other side's intensity.
    pub cross_excitation: Rate,
    /// How fast both decay.
    pub beta: Rate,
}

/// The slowest mode decays by e⁻³⁰ before time zero.
const RELAXATIONS: f64 = 30.0;
/// So many events may come before time zero: at most a second of work.
const WARM_MAX: f64 = 10_000_000.0;
/// One event a nanosecond.
const RATE_MAX: u64 = 1_000_000_000_000_000_000;
/// The clock counts parts of a nanosecond, so that roundings of gaps do not add up.
const FRACTION_BITS: u32 = 20;

impl Excitation {
    fn check(&self) -> Result<(), FlowError> {
        let rates = [self.mu, self.self_excitation, self.cross_excitation, self.beta];
        if rates.iter().any(|rate| rate.per_gigasecond > RATE_MAX) {
            return Err(FlowError::TooFast);
        }
        if self.mu == Rate::default() {
            return Err(FlowError::NoBaseRate);
        }
        let excitation = self.self_excitation.per_gigasecond + self.cross_excitation.per_gigasecond;
        if excitation >= self.beta.per_gigasecond {
            return Err(FlowError::Explosive { excitation, beta: self.beta.per_gigasecond });
        }
        if self.warm_events() > WARM_MAX {
            return Err(FlowError::NearCritical { excitation, beta: self.beta.per_gigasecond });
        }
        Ok(())
    }

    /// The branching ratio n₊: how many events an event causes on average, directly.
    fn branching(&self) -> f64 {
        let excitation = per_nanosecond(self.self_excitation) + per_nanosecond(self.cross_excitation);
        excitation / per_nanosecond(self.beta)
    }

    /// How long the process runs before time zero, in nanoseconds.
    fn warm(&self) -> f64 {
        RELAXATIONS / (per_nanosecond(self.beta) * (1.0 - self.branching()))
    }

    fn warm_events(&self) -> f64 {
        2.0 * per_nanosecond(self.mu) / (1.0 - self.branching()) * self.warm()
    }
}

fn per_nanosecond(rate: Rate) -> f64 {
    rate.per_gigasecond as f64 / 1e18
}

/// The times and sides of market orders, one after another for ever: an iterator in constant memory that is the same
/// wherever it runs. It is at its stationary law at time zero: it starts from its mean intensity so long before that
/// the slowest mode has decayed by e⁻³⁰.
#[derive(Clone, Debug)]
pub struct HawkesTape {
    stream: Stream,
    /// The last event, in ns × 2²⁰.
    clock: u128,
    /// The intensities above `mu` after the last event, per ns, buys first.
    excited: [f64; 2],
    mu: f64,
    jump: [f64; 2],
    beta: f64,
    /// The first event after time zero, while it waits.
    first: Option<(Nanos, Side)>,
}

impl HawkesTape {
    /// The tape of a seed.
    ///
    /// # Errors
    /// If the process is not stationary, has no base rate, or is so near to critical that it cannot be warmed up.
    pub fn new(config: &Excitation, seed: Seed) -> Result<HawkesTape, FlowError> {
        config.check()?;
        let mu = per_nanosecond(config.mu);
        let branching = config.branching();
        let mut tape = HawkesTape {
            stream: seed.stream("flow", 2),
            clock: 0,
            excited: [mu * branching / (1.0 - branching); 2],
            mu,
            jump: [per_nanosecond(config.self_excitation), per_nanosecond(config.cross_excitation)],
            beta: per_nanosecond(config.beta),
            first: None,
        };
        let zero = fixed_point(config.warm());
        loop {
            let side = tape.advance();
            if tape.clock >= zero {
                tape.clock -= zero;
                tape.first = tape.now().map(|at| (at, side));
                return Ok(tape);
            }
        }
    }

    /// Draws the next event: three words, whatever comes of them.
    ///
    /// What is above `mu` decays without events, so the gap is the lesser of two: an exponential at the rate 2·mu, and
    /// the excited part's, whose integrated hazard E/β·(1 − e^(−βt)) is inverted. No draw is rejected.
    fn advance(&mut self) -> Side {
        let base = unit(&mut self.stream) / (2.0 * self.mu);
        let threshold = unit(&mut self.stream);
        let word = self.stream.next_u64();
        let excited = self.excited[0] + self.excited[1];
        // Of the excited part's hazard so much is left in all.
        let reserve = excited / self.beta;
        let caused =
            if threshold < reserve { -libm::log1p(-threshold / reserve) / self.beta } else { f64::INFINITY };
        let (gap, side) = if base <= caused {
            (base, Side::BOTH[(word >> 63) as usize])
        } else {
            let share = (word >> 11) as f64 / 9_007_199_254_740_992.0;
            (caused, Side::BOTH[usize::from(share * excited >= self.excited[0])])
        };
        self.clock += fixed_point(gap);
        let decay = libm::exp(-self.beta * gap);
        self.excited = self.excited.map(|excited| excited * decay);
        self.excited[side.index()] += self.jump[0];
        self.excited[(!side).index()] += self.jump[1];
        side
    }

    fn now(&self) -> Option<Nanos> {
        u64::try_from(self.clock >> FRACTION_BITS).ok().map(Nanos).filter(|at| *at < Nanos::NEVER)
    }
}

impl Iterator for HawkesTape {
    type Item = (Nanos, Side);

    #[inline]
    fn next(&mut self) -> Option<(Nanos, Side)> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let side = self.advance();
        self.now().map(|at| (at, side))
    }
}

fn unit(stream: &mut Stream) -> f64 {
    sample::unit_exponential(stream) as f64 / 1_099_511_627_776.0
}

/// Nanoseconds as the clock counts them; a gap beyond all times ends the tape.
fn fixed_point(nanoseconds: f64) -> u128 {
    let scaled = libm::round(nanoseconds * (1u64 << FRACTION_BITS) as f64);
    // Saturates; half of the range leaves room for the sum.
    (scaled as u128).min(u128::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(rate: f64) -> Rate {
        Rate { per_gigasecond: libm::round(rate * 1e9) as u64 }
    }

    fn excitation(mu: f64, own: f64, cross: f64, beta: f64) -> Excitation {
        Excitation {
            mu: per_second(mu),
            self_excitation: per_second(own),
            cross_excitation: per_second(cross),
            beta: per_second(beta),
        }
    }

    /// Counts of buys and sells in `windows` windows of `seconds`.
    fn counts(config: &Excitation, seed: u64, seconds: f64, windows: usize) -> Vec<[f64; 2]> {
        let mut counts = vec![[0.0; 2]; windows];
        for (at, side) in HawkesTape::new(config, Seed(seed)).unwrap() {
            let window = (at.0 as f64 / 1e9 / seconds) as usize;
            if window >= windows {
                break;
            }
            counts[window][side.index()] += 1.0;
        }
        counts
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        sum / count
    }

    /// A statistic of each seed against its formula, in standard errors of their mean.
    fn z(values: &[f64], expected: f64) -> f64 {
        let found = mean(values.iter().copied());
        let variance = mean(values.iter().map(|value| (value - found) * (value - found)));
        (found - expected) / libm::sqrt(variance / (values.len() - 1) as f64)
    }

    /// market: 3.3: the variance of a count over `t` of a process with total base rate `mu`, ratio `n` and decay `beta`.
    fn variance(rate: f64, n: f64, beta: f64, t: f64) -> f64 {
        let (fano, kappa) = (1.0 / ((1.0 - n) * (1.0 - n)), beta * (1.0 - n));
        rate * (t * fano + (1.0 - fano) * (1.0 - libm::exp(-kappa * t)) / kappa)
    }

    /// market: 3.3, both tables' kinds of figure: rates, variances of sum and difference, adjacent covariance of the sum.
    #[test]
    fn counts_have_their_rate_variances_and_covariance() {
        const SEEDS: u64 = 48;
        const WINDOWS: usize = 1_000;
        for (mu, own, cross, beta, t) in
            [(1.0, 0.4, 0.2, 4.0, 0.5), (1.0, 2.0, 1.5, 5.0, 1.0), (0.5, 1.0, 3.0, 5.0, 0.5)]
        {
            let config = excitation(mu, own, cross, beta);
            let (n, m) = ((own + cross) / beta, (own - cross) / beta);
            let rate = mu / (1.0 - n);
            let mut found = vec![Vec::new(); 5];
            for seed in 0..SEEDS {
                let counts = counts(&config, seed, t, WINDOWS);
                let of = |index: usize| mean(counts.iter().map(|count| count[index]));
                let (buys, sells) = (of(0), of(1));
                let sum = |count: &[f64; 2]| count[0] + count[1] - 2.0 * rate * t;
                let difference = |count: &[f64; 2]| count[0] - count[1];
                found[0].push(buys / t);
                found[1].push(sells / t);
                found[2].push(mean(counts.iter().map(|count| sum(count) * sum(count))));
                found[3].push(mean(counts.iter().map(|count| difference(count) * difference(count))));
                found[4].push(mean(counts.windows(2).map(|pair| sum(&pair[0]) * sum(&pair[1]))));
            }
            let (kappa, alpha) = (beta * (1.0 - n), own + cross);
            let once = 1.0 - libm::exp(-kappa * t);
            let covariance =
                2.0 * rate * alpha * (2.0 * beta - alpha) / (2.0 * kappa * kappa * kappa) * once * once;
            let expected =
                [rate, rate, variance(2.0 * rate, n, beta, t), variance(2.0 * rate, m, beta, t), covariance];
            for (index, expected) in expected.into_iter().enumerate() {
                let z = z(&found[index], expected);
                assert!(z.abs() < 4.0, "{own} {cross} {beta} figure {index}: z {z} for {expected}");
            }
        }
    }

    /// The start is at stationarity: the first window after time zero counts as much as any other.
    #[test]
    fn time_zero_is_like_any_other_time() {
        let config = excitation(0.5, 3.0, 1.5, 5.0);
        let firsts: Vec<f64> =
            (0..4_000).map(|seed| counts(&config, seed, 0.2, 1)[0].iter().sum::<f64>()).collect();
        let expected = 2.0 * 0.5 / (1.0 - 0.9) * 0.2;
        assert!(z(&firsts, expected).abs() < 4.0);
        let squares: Vec<f64> = firsts.iter().map(|count| (count - expected) * (count - expected)).collect();
        assert!(z(&squares, variance(10.0, 0.9, 5.0, 0.2)).abs() < 4.0);
    }

    /// The naive twin: Ogata's thinning with every past event in the sum.
    #[test]
    fn gaps_are_as_those_of_thinning_over_all_events() {
        let (mu, own, cross, beta) = (1.0, 2.0, 1.0, 6.0);
        let mut stream = Seed(3).stream("thinning", 0);
        let mut past: Vec<(f64, usize)> = Vec::new();
        let mut now = 0.0;
        let intensity = |past: &[(f64, usize)], side: usize, now: f64| -> f64 {
            let kernel = |(at, from): &(f64, usize)| {
                (if *from == side { own } else { cross }) * libm::exp(-beta * (now - at))
            };
            mu + past.iter().rev().take(60).map(kernel).sum::<f64>()
        };
        let mut same = (0.0, 0.0);
        while past.len() < 40_000 {
            let bound = intensity(&past, 0, now) + intensity(&past, 1, now);
            now += unit(&mut stream) / bound;
            let level = (stream.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0 * bound;
            let (buy, sell) = (intensity(&past, 0, now), intensity(&past, 1, now));
            if level < buy + sell {
                let side = usize::from(level >= buy);
                same =
                    past.last().map_or(same, |(_, last)| (same.0 + f64::from(*last == side), same.1 + 1.0));
                past.push((now, side));
            }
        }
        let short = |times: &mut dyn Iterator<Item = f64>| {
            let times: Vec<f64> = times.collect();
            times.windows(2).filter(|pair| pair[1] - pair[0] < 0.1).count() as f64 / times.len() as f64
        };
        let naive = short(&mut past.iter().map(|(at, _)| *at));
        let events: Vec<_> =
            HawkesTape::new(&excitation(mu, own, cross, beta), Seed(1)).unwrap().take(40_000).collect();
        let found = short(&mut events.iter().map(|(at, _)| at.0 as f64 / 1e9));
        assert!((naive - found).abs() < 0.02, "{naive} {found}");
        let alike = events.windows(2).filter(|pair| pair[0].1 == pair[1].1).count() as f64 / 40_000.0;
        assert!((same.0 / same.1 - alike).abs() < 0.02, "{} {alike}", same.0 / same.1);
    }

    #[test]
    fn a_process_that_grows_without_end_is_refused() {
        let refused = |config: Excitation| HawkesTape::new(&config, Seed(0)).map(|_| ()).unwrap_err();
        assert!(matches!(refused(excitation(1.0, 3.0, 2.0, 5.0)), FlowError::Explosive { .. }));
        assert!(matches!(refused(excitation(1.0, 0.0, 0.0, 0.0)), FlowError::Explosive { .. }));
        assert!(matches!(refused(excitation(1.0, 4.999, 0.0, 5.0)), FlowError::NearCritical { .. }));
        assert_eq!(refused(excitation(0.0, 1.0, 1.0, 5.0)), FlowError::NoBaseRate);
        assert_eq!(refused(excitation(2e9, 1.0, 1.0, 5.0)), FlowError::TooFast);
    }

    #[test]
    fn known_times_stay_the_same_on_every_platform() {
        let tape = HawkesTape::new(&excitation(1.0, 2.0, 1.5, 5.0), Seed(42)).unwrap();
        let last = tape.take(20_000).last().unwrap();
        assert_eq!(last, (Nanos(KNOWN), Side::Buy));
    }

    const KNOWN: u64 = 3_038_808_645_802;
}
