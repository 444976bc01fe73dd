//! Simulated time: integer nanoseconds, with only the arithmetic that means something.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, Mul, Sub};

/// An instant, in nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Nanos {
    /// The start of the run.
    pub const ZERO: Nanos = Nanos(0);
    /// Later than anything that happens.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Nanos) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// One microsecond.
    pub const MICROSECOND: Span = Span(1_000);
    /// One millisecond.
    pub const MILLISECOND: Span = Span(1_000_000);
    /// One second.
    pub const SECOND: Span = Span(1_000_000_000);

    /// A span of whole milliseconds.
    #[must_use]
    pub fn from_millis(millis: u64) -> Span {
        Span(millis * 1_000_000)
    }

    /// `self` less `other`, or zero.
    #[must_use]
    pub fn saturating_sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }

    /// `self × numerator / denominator`, truncated; the product may exceed 64 bits.
    ///
    /// # Panics
    /// If the result does not fit 64 bits or `denominator` is zero.
    #[must_use]
    pub fn scaled(self, numerator: u64, denominator: u64) -> Span {
        let wide = u128::from(self.0) * u128::from(numerator) / u128::from(denominator);
        Span(u64::try_from(wide).expect("a span fits 64 bits"))
    }
}

impl Add<Span> for Nanos {
    type Output = Nanos;
    fn add(self, span: Span) -> Nanos {
        Nanos(self.0 + span.0)
    }
}

impl AddAssign<Span> for Nanos {
    fn add_assign(&mut self, span: Span) {
        self.0 += span.0;
    }
}

impl Sub<Span> for Nanos {
    type Output = Nanos;
    fn sub(self, span: Span) -> Nanos {
        assert!(span.0 <= self.0, "an instant lies after the start of the run");
        Nanos(self.0 - span.0)
    }
}

impl Sub for Nanos {
    type Output = Span;
    fn sub(self, earlier: Nanos) -> Span {
        assert!(earlier <= self, "time runs forward: {earlier} to {self}");
        Span(self.0 - earlier.0)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0 + other.0)
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        self.0 += other.0;
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        assert!(other <= self, "a span is not negative");
        Span(self.0 - other.0)
    }
}

impl Mul<u64> for Span {
    type Output = Span;
    fn mul(self, times: u64) -> Span {
        Span(self.0 * times)
    }
}

impl Div<u64> for Span {
    type Output = Span;
    fn div(self, parts: u64) -> Span {
        Span(self.0 / parts)
    }
}

impl Sum for Span {
    fn sum<I: Iterator<Item = Span>>(spans: I) -> Span {
        spans.fold(Span::ZERO, Add::add)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_survives_products_beyond_64_bits() {
        assert_eq!(Span(u64::MAX / 2).scaled(4, 8), Span(u64::MAX / 4));
        assert_eq!(Span(10).scaled(1, 3), Span(3));
    }

    #[test]
    #[should_panic(expected = "time runs forward")]
    fn time_never_runs_back() {
        let _ = Nanos(1) - Nanos(2);
    }
}
