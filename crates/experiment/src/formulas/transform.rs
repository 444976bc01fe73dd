//! Laplace transforms and their inversion: P(X > t) from E e^{−sX} (Abate and Whitt's Euler summation).

use core::ops::{Add, Div, Mul, Neg, Sub};

/// A complex number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    pub(super) const ONE: Complex = Complex { re: 1.0, im: 0.0 };

    pub(super) fn real(re: f64) -> Complex {
        Complex { re, im: 0.0 }
    }

    pub(super) fn exp(self) -> Complex {
        let size = libm::exp(self.re);
        Complex { re: size * libm::cos(self.im), im: size * libm::sin(self.im) }
    }

    pub(super) fn power(self, exponent: u32) -> Complex {
        (0..exponent).fold(Complex::ONE, |product, _| product * self)
    }

    /// |self|².
    pub(super) fn norm(self) -> f64 {
        self.re * self.re + self.im * self.im
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Neg for Complex {
    type Output = Complex;
    fn neg(self) -> Complex {
        Complex { re: -self.re, im: -self.im }
    }
}

impl Sub for Complex {
    type Output = Complex;
    fn sub(self, other: Complex) -> Complex {
        Complex { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

impl Mul<f64> for Complex {
    type Output = Complex;
    fn mul(self, factor: f64) -> Complex {
        Complex { re: self.re * factor, im: self.im * factor }
    }
}

impl Div for Complex {
    type Output = Complex;
    fn div(self, other: Complex) -> Complex {
        let conjugate = Complex { re: other.re, im: -other.im };
        self * conjugate * (1.0 / other.norm())
    }
}

/// Terms of the alternating series that are smoothed by binomial weights.
const SMOOTHED: u32 = 14;
/// e^{−A} bounds the discretisation error of a probability.
const A: f64 = 20.0;

/// P(X > t) for t > 0 and its numerical error, from X's transform E e^{−sX}.
///
/// The error is the largest difference between sums of different length: small for a smooth law, and seen where a law has
/// jumps.
pub(super) fn tail(transform: impl Fn(Complex) -> Complex, t: f64) -> (f64, f64) {
    let lengths = [1_000, 1_517, 2_000];
    let values = lengths.map(|length| euler(&transform, t, length));
    let error = values.iter().map(|value| (value - values[2]).abs()).fold(0.0, f64::max);
    (values[2], error)
}

fn euler(transform: &impl Fn(Complex) -> Complex, t: f64, length: u32) -> f64 {
    let term = |index: u32| {
        let s = Complex { re: A / (2.0 * t), im: f64::from(index) * core::f64::consts::PI / t };
        let value = ((Complex::ONE - transform(s)) / s).re;
        if index % 2 == 0 { value } else { -value }
    };
    let mut sum = term(0) / 2.0;
    (1..=length).for_each(|index| sum += term(index));
    let (mut smoothed, mut weight) = (0.0, libm::exp2(-f64::from(SMOOTHED)));
    for index in 0..=SMOOTHED {
        smoothed += weight * sum;
        weight *= f64::from(SMOOTHED - index) / f64::from(index + 1);
        sum += term(length + index + 1);
    }
    smoothed * libm::exp(A / 2.0) / t
}

/// The t at which P(X > t) is `chance`.
pub(super) fn quantile(transform: impl Fn(Complex) -> Complex, chance: f64, scale: f64) -> f64 {
    let (mut low, mut high) = (0.0, scale);
    while euler(&transform, high, 400) > chance && high < 1e9 * scale {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if euler(&transform, middle, 400) > chance { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_of_known_laws_come_back() {
        // Exponential, Erlang of 3 stages, and the sum of a constant and an exponential.
        let exponential = |s: Complex| Complex::ONE / (Complex::ONE + s * 2.0);
        let erlang = |s: Complex| exponential(s).power(3);
        let shifted = |s: Complex| exponential(s) * (-s * 0.5).exp();
        for t in [0.01, 0.4, 3.0, 20.0] {
            let x = t / 2.0;
            let close = |(found, error): (f64, f64), expected: f64| {
                assert!((found - expected).abs() < 1e-7 + 2.0 * error, "{t}: {found} against {expected}");
            };
            close(tail(exponential, t), libm::exp(-x));
            close(tail(erlang, t), libm::exp(-x) * (1.0 + x + x * x / 2.0));
            close(tail(shifted, t), libm::exp(-(x - 0.25).max(0.0)));
        }
        assert!((quantile(exponential, 0.05, 1.0) - 2.0 * libm::log(20.0)).abs() < 1e-6);
    }
}
