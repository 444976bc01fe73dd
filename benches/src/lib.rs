//! What the benches share: the reference that every figure is divided by, and how the two are timed.
//!
//! ```text
//!   round: reference, subject ──► ratio        median of the rounds' ratios ──► one line
//! ```
//!
//! Machines are noisy and differ, so a rate alone says little. Each round times the reference just before the
//! subject, in the same process, and the ratio of the two is what can be compared between machines and days.
#![allow(clippy::disallowed_types, reason = "a bench measures the wall clock")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

/// Rounds of a measurement; the median is printed.
pub const ROUNDS: usize = 5;
/// Events that wait in the reference.
pub const REFERENCE_EVENTS: usize = 10_000;
/// Steps of the reference that are timed in each round.
const REFERENCE_STEPS: usize = 2_000_000;

/// The delays of the hold model: 2^20 exponential draws with a mean of 10^9.
#[derive(Clone, Debug)]
pub struct Delays(Vec<u64>);

impl Default for Delays {
    fn default() -> Self {
        Delays::new()
    }
}

impl Delays {
    const COUNT: usize = 1 << 20;

    /// Always the same delays.
    #[must_use]
    pub fn new() -> Delays {
        let mut random = SplitMix(42);
        let delay = |_| {
            let uniform = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
            libm::round(-libm::log(1.0 - uniform) * 1e9).max(1.0) as u64
        };
        Delays((0..Delays::COUNT).map(delay).collect())
    }

    /// Delay number `index`, round and round.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        self.0[index % Delays::COUNT]
    }
}

/// The generator of the benches' definitions.
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// 64 bits.
    #[expect(clippy::should_implement_trait, reason = "an endless generator, not an iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An integer below `bound`: the high 64 bits of the product.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A queue in the hold model: pop the earliest, push it again after the next delay.
pub trait Hold {
    /// Adds event `id`.
    fn push(&mut self, at: u64, id: u64);
    /// Takes the earliest.
    fn pop(&mut self) -> (u64, u64);
}

impl Hold for BinaryHeap<Reverse<(u64, u64)>> {
    #[inline]
    fn push(&mut self, at: u64, id: u64) {
        BinaryHeap::push(self, Reverse((at, id)));
    }

    #[inline]
    fn pop(&mut self) -> (u64, u64) {
        let Reverse(first) = BinaryHeap::pop(self).expect("as many are pushed as popped");
        first
    }
}

/// A hold model that has been warmed up.
#[derive(Clone, Debug)]
pub struct Holding<'a, Q> {
    queue: Q,
    delays: &'a Delays,
    next: usize,
}

impl<'a, Q: Hold> Holding<'a, Q> {
    /// `events` events, stepped until their times have spread out.
    #[must_use]
    pub fn new(mut queue: Q, events: usize, delays: &'a Delays) -> Holding<'a, Q> {
        for id in 0..events {
            queue.push(delays.get(id), id as u64);
        }
        let mut holding = Holding { queue, delays, next: events };
        holding.steps((3 * events).clamp(1_000_000, 5_000_000));
        holding
    }

    /// Steps; gives a number that depends on every time popped, the same for every queue that is right.
    pub fn steps(&mut self, count: usize) -> u64 {
        let mut seen = 0u64;
        for _ in 0..count {
            let (at, id) = self.queue.pop();
            seen = seen.rotate_left(1) ^ at;
            self.queue.push(at + self.delays.get(self.next), id);
            self.next += 1;
        }
        black_box(seen)
    }
}

/// The reference: `BinaryHeap<Reverse<(u64, u64)>>` in the hold model.
#[derive(Clone, Debug)]
pub struct Reference<'a>(Holding<'a, BinaryHeap<Reverse<(u64, u64)>>>);

impl<'a> Reference<'a> {
    /// Warmed up, with [`REFERENCE_EVENTS`] events.
    #[must_use]
    pub fn new(delays: &'a Delays) -> Reference<'a> {
        Reference(Holding::new(BinaryHeap::new(), REFERENCE_EVENTS, delays))
    }

    /// Steps a second, measured now.
    pub fn rate(&mut self) -> f64 {
        timed(|| {
            self.0.steps(REFERENCE_STEPS);
            REFERENCE_STEPS as u64
        })
    }
}

/// Runs `work`, which gives how many units it did, and gives units a second.
pub fn timed(work: impl FnOnce() -> u64) -> f64 {
    let start = Instant::now();
    let units = work();
    units as f64 / start.elapsed().as_secs_f64()
}

/// Times the reference and `subject` in turn and prints a line: medians of both rates and of their ratio. Gives the
/// subject's rate.
///
/// `subject` measures itself with [`timed`], so that what it must prepare is not counted.
pub fn compare(
    name: &str,
    unit: &str,
    reference: &mut Reference<'_>,
    mut subject: impl FnMut() -> f64,
) -> f64 {
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (reference.rate(), subject())).collect();
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    let rate = median(|(_, subject)| *subject);
    println!(
        "{name:<26} {:>20}   reference {:.2} M steps/s   ratio {:.3}",
        format!("{} {unit}", grouped(rate)),
        median(|(reference, _)| *reference) / 1e6,
        median(|(reference, subject)| subject / reference),
    );
    rate
}

/// Three significant digits with a unit.
fn grouped(rate: f64) -> String {
    let (value, unit) = match rate {
        rate if rate >= 1e6 => (rate / 1e6, " M"),
        rate if rate >= 1e3 => (rate / 1e3, " k"),
        rate => (rate, ""),
    };
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delays_are_exponential() {
        let delays = Delays::new();
        let mean = (0..Delays::COUNT).map(|index| u128::from(delays.get(index))).sum::<u128>() >> 20;
        assert!((995_000_000..1_005_000_000).contains(&mean), "{mean}");
        assert_eq!(delays.get(3), delays.get(Delays::COUNT + 3));
    }

    #[test]
    fn the_reference_pops_in_order_of_time_and_id() {
        let mut heap = BinaryHeap::new();
        for (at, id) in [(5, 2), (1, 9), (5, 1)] {
            Hold::push(&mut heap, at, id);
        }
        assert_eq!(
            [Hold::pop(&mut heap), Hold::pop(&mut heap), Hold::pop(&mut heap)],
            [(1, 9), (5, 1), (5, 2)]
        );
    }

    #[test]
    fn rates_are_readable() {
        assert_eq!([grouped(16_230_000.0), grouped(4_560.0), grouped(7.0)], ["16.2 M", "4.56 k", "7.00"]);
    }
}
