//! What a kernel event costs: a constant, or a law that is drawn from.
//!
//! Invariant: a draw is a function of the seed and of the event it belongs to, never of how many draws came before. So
//! worlds that differ in what is charged draw the same cost for the same event; and a constant draws nothing.

use numashock_engine::{Seed, Span, Stream, sample};

/// A log-normal draw is at most this many medians: with the largest spread allowed, fewer than one in 10¹¹ is cut.
const MOST_MEDIANS: u64 = 1_000;

/// A law of whole numbers, in the unit of the cost that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Always the same.
    Constant(u64),
    /// Each value between two bounds is as likely as the others.
    Uniform {
        /// The least value.
        least: u64,
        /// The greatest.
        most: u64,
    },
    /// `median × exp(sigma × Z)`, Z standard normal.
    LogNormal {
        /// Half of the values lie below.
        median: u64,
        /// Standard deviation of the logarithm, in parts per million.
        sigma_ppm: u32,
    },
}

impl Law {
    fn draw(self, stream: &mut Stream) -> u64 {
        match self {
            Law::Constant(value) => value,
            Law::Uniform { least, most } => least + stream.below(most - least + 1),
            Law::LogNormal { median, sigma_ppm } => {
                sample::log_normal(stream, Span(median), sigma_ppm).0.min(median.saturating_mul(MOST_MEDIANS))
            }
        }
    }

    fn mean(self) -> u64 {
        match self {
            Law::Constant(value) => value,
            Law::Uniform { least, most } => least + (most - least) / 2,
            Law::LogNormal { median, sigma_ppm } => sample::log_normal_mean(Span(median), sigma_ppm).0,
        }
    }
}

/// A cost: one law, or mostly one and sometimes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// One law.
    One(Law),
    /// Two: caches that are warm or cold, say.
    Mixture {
        /// The law of most events.
        usual: Law,
        /// The law of the others.
        rare: Law,
        /// How many those are, in parts per million.
        rare_ppm: u32,
    },
}

impl Cost {
    /// Always the same, in whole units.
    #[must_use]
    pub const fn constant(value: u64) -> Cost {
        Cost::One(Law::Constant(value))
    }

    /// The expected value, rounded to whole units.
    #[must_use]
    pub fn mean(self) -> u64 {
        match self {
            Cost::One(law) => law.mean(),
            Cost::Mixture { usual, rare, rare_ppm } => {
                let weighted = |law: Law, ppm: u64| u128::from(law.mean()) * u128::from(ppm);
                let rare_ppm = u64::from(rare_ppm);
                let sum = weighted(usual, 1_000_000 - rare_ppm) + weighted(rare, rare_ppm);
                u64::try_from((sum + 500_000) / 1_000_000).expect("a mean lies between its parts")
            }
        }
    }

    /// Its laws.
    pub(crate) fn laws(self) -> impl Iterator<Item = Law> {
        let (first, second) = match self {
            Cost::One(law) => (law, None),
            Cost::Mixture { usual, rare, .. } => (usual, Some(rare)),
        };
        core::iter::once(first).chain(second)
    }

    fn draw(self, stream: &mut Stream) -> u64 {
        match self {
            Cost::One(law) => law.draw(stream),
            Cost::Mixture { usual, rare, rare_ppm } => {
                if stream.chance_ppm(rare_ppm) {
                    rare.draw(stream)
                } else {
                    usual.draw(stream)
                }
            }
        }
    }
}

impl From<Span> for Cost {
    fn from(span: Span) -> Cost {
        Cost::constant(span.0)
    }
}

/// What is drawn for an event: the same event may cost several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    PassBase,
    Mark,
    MarkHuge,
    ShootdownBase,
    ShootdownPerCpu,
    Interrupt,
    HintFault,
    Placement,
    Migration,
    Refusal,
    WriteFault,
    Wake,
    Hold,
    Search,
    Stopper,
    /// Whether a thread that sleeps now and then is running.
    Running,
    /// The same when a fault asks who is on a CPU.
    Current,
}

/// The draws of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    stream: Stream,
}

impl Draws {
    pub(crate) fn new(seed: Seed) -> Draws {
        Draws { stream: seed.stream("machine.cost", 0) }
    }

    /// The cost of the event that `event` names among those with a `draw`.
    pub(crate) fn cost(&mut self, cost: Cost, draw: Draw, event: [u64; 2]) -> u64 {
        if let Cost::One(Law::Constant(value)) = cost {
            return value;
        }
        self.find(draw, event);
        cost.draw(&mut self.stream)
    }

    /// True with a chance of `ppm` parts per million; certainties draw nothing.
    pub(crate) fn chance(&mut self, ppm: u64, draw: Draw, event: [u64; 2]) -> bool {
        match ppm {
            0 => false,
            1_000_000 => true,
            _ => {
                self.find(draw, event);
                self.stream.below(1_000_000) < ppm
            }
        }
    }

    /// Moves to the words of an event: a place among 2⁶⁴ of the stream, so that two events rarely share theirs.
    fn find(&mut self, draw: Draw, event: [u64; 2]) {
        let [first, second] = event;
        let place = mix(mix(mix(draw as u64) ^ first) ^ second);
        self.stream.seek(place);
    }
}

/// A bijection of 64-bit words that leaves no pattern.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 200_000;

    fn drawn(cost: Cost) -> Vec<u64> {
        let mut draws = Draws::new(Seed(3));
        let mut values: Vec<u64> =
            (0..COUNT).map(|event| draws.cost(cost, Draw::HintFault, [event, 0])).collect();
        values.sort_unstable();
        values
    }

    fn mean(values: &[u64]) -> u64 {
        values.iter().sum::<u64>() / COUNT
    }

    #[test]
    fn uniform_costs_have_their_bounds_and_their_mean() {
        let cost = Cost::One(Law::Uniform { least: 500, most: 1_000 });
        let values = drawn(cost);
        assert_eq!((values[0], values[values.len() - 1], cost.mean()), (500, 1_000, 750));
        // Standard error of the mean: 501 / √12 / √200,000 = 0.32.
        assert!(mean(&values).abs_diff(750) <= 2, "{}", mean(&values));
    }

    #[test]
    fn log_normal_costs_have_their_median_and_their_mean() {
        let cost = Cost::One(Law::LogNormal { median: 61_000, sigma_ppm: 500_000 });
        let values = drawn(cost);
        // Standard error of the median: 1.2533 × 0.5 / √200,000 = 0.14 %.
        assert!(values[values.len() / 2].abs_diff(61_000) <= 61_000 / 200);
        // exp(0.125) × 61,000; standard error 0.12 %.
        assert_eq!(cost.mean(), 69_122);
        assert!(mean(&values).abs_diff(69_122) <= 69_122 / 200, "{}", mean(&values));
    }

    #[test]
    fn a_mixture_takes_each_part_as_often_as_it_says() {
        let rare = Law::Uniform { least: 1_000, most: 1_200 };
        let cost = Cost::Mixture { usual: Law::Constant(100), rare, rare_ppm: 250_000 };
        let values = drawn(cost);
        let count = values.iter().filter(|value| **value >= 1_000).count() as u64;
        // Standard error of the count: √(200,000 × 0.25 × 0.75) = 194.
        assert!(count.abs_diff(COUNT / 4) <= 800, "{count}");
        assert!(values.iter().all(|value| *value == 100 || (1_000..=1_200).contains(value)));
        assert_eq!(cost.mean(), (3 * 100 + 1_100) / 4);
    }

    #[test]
    fn a_draw_depends_on_its_event_alone() {
        let cost = Cost::One(Law::Uniform { least: 0, most: u64::MAX - 1 });
        let mut draws = Draws::new(Seed(1));
        let first = draws.cost(cost, Draw::Migration, [4, 5]);
        for other in [
            draws.cost(cost, Draw::Migration, [5, 4]),
            draws.cost(cost, Draw::Migration, [4, 6]),
            draws.cost(cost, Draw::HintFault, [4, 5]),
            Draws::new(Seed(2)).cost(cost, Draw::Migration, [4, 5]),
        ] {
            assert_ne!(first, other);
        }
        assert_eq!(draws.cost(cost, Draw::Migration, [4, 5]), first);
    }
}
