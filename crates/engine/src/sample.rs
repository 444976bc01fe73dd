//! Samplers: random integers and spans from a stream.
//!
//! The only float arithmetic of this crate: + − × ÷ and `libm`, which give the same bits everywhere; integers out.
#![allow(clippy::float_arithmetic, reason = "design.md 5 names this module: libm in, integers out")]

use crate::{Span, Stream};

const TWO_53: f64 = 9_007_199_254_740_992.0;

/// A uniform number in (0, 1], never zero, so that its logarithm is finite.
fn open_unit(stream: &mut Stream) -> f64 {
    ((stream.next_u64() >> 11) + 1) as f64 / TWO_53
}

fn to_integer(value: f64) -> u64 {
    // Saturating: a float above the range becomes the largest integer.
    libm::round(value) as u64
}

/// A unit exponential in units of 2⁻⁴⁰.
pub fn unit_exponential(stream: &mut Stream) -> u64 {
    to_integer(-libm::log(open_unit(stream)) * 1_099_511_627_776.0)
}

/// An exponential span with the given mean, in nanoseconds (which may be fractional).
pub fn exponential(stream: &mut Stream, mean_ns: f64) -> Span {
    Span(to_integer(-libm::log(open_unit(stream)) * mean_ns))
}

/// A log-normal span: `median × exp(sigma × Z)`, with sigma in parts per million.
pub fn log_normal(stream: &mut Stream, median: Span, sigma_ppm: u32) -> Span {
    if sigma_ppm == 0 {
        return median;
    }
    let sigma = f64::from(sigma_ppm) / 1e6;
    Span(to_integer(median.0 as f64 * libm::exp(sigma * standard_normal(stream))))
}

/// The mean of such spans: `median × exp(sigma² / 2)`.
#[must_use]
pub fn log_normal_mean(median: Span, sigma_ppm: u32) -> Span {
    let sigma = f64::from(sigma_ppm) / 1e6;
    Span(to_integer(median.0 as f64 * libm::exp(sigma * sigma / 2.0)))
}

/// A standard normal by Box and Muller; one of the pair is dropped, so that each call takes two words.
fn standard_normal(stream: &mut Stream) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(open_unit(stream)));
    radius * libm::cos(core::f64::consts::TAU * open_unit(stream))
}

/// How many failures come before the first success, each trial succeeding with chance `hits / total`.
///
/// # Panics
/// If `hits` is zero or exceeds `total`.
pub fn failures_before_success(stream: &mut Stream, hits: u64, total: u64) -> u64 {
    assert!(0 < hits && hits <= total, "a success is possible");
    if hits == total {
        return 0;
    }
    let chance = hits as f64 / total as f64;
    libm::floor(libm::log(open_unit(stream)) / libm::log1p(-chance)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    fn mean(mut draw: impl FnMut(&mut Stream) -> u64) -> f64 {
        let mut stream = Seed(9).stream("sample", 0);
        (0..200_000).map(|_| draw(&mut stream) as f64).sum::<f64>() / 200_000.0
    }

    #[test]
    fn exponentials_have_their_mean() {
        assert!((mean(|s| exponential(s, 1e6).0) / 1e6 - 1.0).abs() < 0.01);
        assert!((mean(unit_exponential) / 1_099_511_627_776.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn log_normals_have_their_mean_and_no_spread_without_sigma() {
        // The mean of exp(0.5 Z) is exp(0.125).
        let expected = 1e6 * libm::exp(0.125);
        assert!((mean(|s| log_normal(s, Span(1_000_000), 500_000).0) / expected - 1.0).abs() < 0.01);
        assert_eq!(log_normal_mean(Span(1_000_000), 500_000), Span(1_133_148));
        assert_eq!(log_normal(&mut Seed(1).stream("sample", 0), Span(70), 0), Span(70));
        assert_eq!(log_normal_mean(Span(70), 0), Span(70));
    }

    #[test]
    fn geometric_gaps_have_their_mean() {
        // Failures before success at 1/50: mean 49.
        assert!((mean(|s| failures_before_success(s, 2, 100)) / 49.0 - 1.0).abs() < 0.02);
        assert_eq!(failures_before_success(&mut Seed(1).stream("sample", 0), 5, 5), 0);
    }
}
