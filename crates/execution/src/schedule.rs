//! Schedules: how much of a parent should have been released by when.
//!
//! The only float arithmetic of this crate: + − × ÷, square roots and `libm`, which give the same bits everywhere;
//! integers out. Cumulative sums are rounded, never single slices, so the last slice reaches the quantity exactly.
#![allow(clippy::float_arithmetic, reason = "design.md 5 names this module: libm in, integers out")]

use numashock_book::Lots;
use numashock_engine::{Nanos, Span};

use crate::ParentOrder;

/// When how much of a parent leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Slices of a parent. Each becomes one child.
    pub slices: u32,
    /// How the quantity is spread over them.
    pub shape: Shape,
}

/// How a quantity is spread over the slices.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Equal slices at equal times.
    Twap,
    /// In proportion to the volume that is expected.
    Vwap(Profile),
    /// A share of the volume that is traded.
    Pov {
        /// The share, parts per million.
        rate_ppm: u32,
    },
    /// The least expected cost plus risk under linear impact.
    AlmgrenChriss(Impact),
    /// What remains falls as sinh((T − t)/h)/sinh(T/h): the same family, with its urgency given as a time.
    ImplementationShortfall {
        /// h: a short one loads the front, one far longer than the horizon gives a TWAP.
        half_life: Span,
    },
}

/// The volume expected over time, as weights that count relative to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Weights of equal parts of the parent's horizon.
    Horizon(Vec<u32>),
    /// Weights over the run: each holds from its time to the next one's, the first also before.
    Run(Vec<(Nanos, u32)>),
}

/// Linear impact and the price of risk (market: 4.3). Prices in ticks, time in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impact {
    /// σ: standard deviation of the price after a second.
    pub volatility: f64,
    /// η: ticks per lot a second, paid by the slice itself.
    pub temporary: f64,
    /// γ: ticks per lot, paid by all that follows.
    pub permanent: f64,
    /// ε: ticks paid by each lot.
    pub fixed: f64,
    /// λ: cost that is as bad as a unit of variance.
    pub risk_aversion: f64,
}

/// A quantity to be sold in `slices` equal steps over a horizon, under linear impact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlmgrenChriss {
    /// X.
    pub quantity: f64,
    /// T.
    pub horizon: f64,
    /// N.
    pub slices: u32,
    /// σ, η, γ, ε and λ, in the units of X and T.
    pub impact: Impact,
}

/// The optimal trajectory of Almgren and Chriss.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// κ, exact for the number of slices; 0 without risk aversion.
    pub kappa: f64,
    /// 1/κ: the time in which what remains falls to about 1/e.
    pub half_life: f64,
    /// What remains after each step, from X to 0: N + 1 numbers.
    pub holdings: Vec<f64>,
    /// What each step trades: N numbers.
    pub trades: Vec<f64>,
    /// Expected cost, in closed form.
    pub expected_cost: f64,
    /// Variance of the cost, in closed form.
    pub variance: f64,
}

/// Why a schedule cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There must be something to spread over.
    #[error("a schedule has at least {0} slices")]
    TooFewSlices(u32),
    /// A weight above zero is needed.
    #[error("a volume profile has at least one weight above zero, and its times ascend")]
    EmptyProfile,
    /// A number is negative, not finite or zero where it divides.
    #[error("{0} must be a finite number, not negative; temporary impact, quantity and horizon above zero")]
    NotANumber(&'static str),
    /// η̃ = η − γτ/2 would not be positive: the model has no optimum.
    #[error("temporary impact must be larger than permanent impact × horizon / slices / 2")]
    PermanentTooLarge,
    /// It would hold everything until the deadline.
    #[error("a half-life is longer than zero")]
    NoHalfLife,
    /// A share above the whole, or none.
    #[error("a participation rate lies above 0 % and is at most 100 %")]
    NoRate,
}

impl Schedule {
    /// Checks that every parent up to this horizon can be scheduled.
    ///
    /// # Errors
    /// Names what is out of range.
    pub fn validate(&self, longest: Span) -> Result<(), ScheduleError> {
        let least = if matches!(self.shape, Shape::Pov { .. }) { 2 } else { 1 };
        if self.slices < least {
            return Err(ScheduleError::TooFewSlices(least));
        }
        match &self.shape {
            Shape::Twap => Ok(()),
            Shape::Vwap(profile) => profile.validate(),
            Shape::Pov { rate_ppm } if *rate_ppm == 0 || *rate_ppm > 1_000_000 => Err(ScheduleError::NoRate),
            Shape::Pov { .. } => Ok(()),
            Shape::AlmgrenChriss(impact) => self.problem(Lots(1), longest, *impact).validate(),
            Shape::ImplementationShortfall { half_life } if *half_life == Span::ZERO => {
                Err(ScheduleError::NoHalfLife)
            }
            Shape::ImplementationShortfall { .. } => Ok(()),
        }
    }

    /// When slice `index` of a parent is due, with a deadline window of length `window`.
    ///
    /// Slices begin equal parts of the horizon. POV looks at the volume at equal steps up to the deadline window: the
    /// first step begins to count, the last one releases what remains.
    #[must_use]
    pub fn due(&self, order: &ParentOrder, index: u32, window: Span) -> Nanos {
        match self.shape {
            Shape::Pov { .. } => {
                let counted = Span(order.horizon.0.saturating_sub(window.0));
                let steps = u64::from(self.slices.max(2) - 1);
                order.arrival + counted.scaled(u64::from(index).min(steps), steps)
            }
            _ => order.arrival + order.horizon.scaled(u64::from(index), u64::from(self.slices)),
        }
    }

    /// Lots released after each number of slices, from none to all; `None` if that is decided as the market trades.
    ///
    /// # Panics
    /// If the schedule is not valid for the parent's horizon.
    #[must_use]
    pub fn released(&self, order: &ParentOrder) -> Option<Vec<Lots>> {
        let slices = self.slices;
        let quantity = order.quantity;
        let twap = || (0..=slices).map(|k| twap_released(quantity, k, slices)).collect();
        match &self.shape {
            Shape::Pov { .. } => None,
            Shape::Twap => Some(twap()),
            Shape::Vwap(profile) => Some(profile.released(order, slices)),
            // Without risk aversion the answer is the TWAP, and is computed as one.
            Shape::AlmgrenChriss(impact) if impact.risk_aversion == 0.0 => Some(twap()),
            Shape::AlmgrenChriss(impact) => {
                let optimum = almgren_chriss(&self.problem(quantity, order.horizon, *impact))
                    .expect("the schedule was validated for every horizon");
                Some(optimum.released(quantity))
            }
            Shape::ImplementationShortfall { half_life } => {
                let urgency = seconds(order.horizon) / seconds(*half_life);
                let left =
                    (0..=slices).map(|k| sinh_share(f64::from(slices - k) / f64::from(slices), urgency));
                Some(released_of(quantity, left))
            }
        }
    }

    /// The share of the traded volume that this schedule follows, if it follows it.
    pub(crate) fn participation(&self) -> Option<u32> {
        match self.shape {
            Shape::Pov { rate_ppm } => Some(rate_ppm),
            _ => None,
        }
    }

    fn problem(&self, quantity: Lots, horizon: Span, impact: Impact) -> AlmgrenChriss {
        AlmgrenChriss { quantity: quantity.0 as f64, horizon: seconds(horizon), slices: self.slices, impact }
    }
}

impl Profile {
    fn validate(&self) -> Result<(), ScheduleError> {
        let sound = match self {
            Profile::Horizon(weights) => weights.iter().any(|weight| *weight > 0),
            Profile::Run(steps) => {
                steps.iter().any(|(_, weight)| *weight > 0)
                    && steps.windows(2).all(|pair| pair[0].0 < pair[1].0)
            }
        };
        if sound { Ok(()) } else { Err(ScheduleError::EmptyProfile) }
    }

    /// Cumulative lots in proportion to the weight up to the end of each slice; a TWAP where no weight falls into the
    /// horizon.
    fn released(&self, order: &ParentOrder, slices: u32) -> Vec<Lots> {
        let weights: Vec<u128> = (0..=slices).map(|k| self.until(order, k, slices)).collect();
        let (least, most) = (weights[0], weights[slices as usize]);
        if least == most {
            return (0..=slices).map(|k| twap_released(order.quantity, k, slices)).collect();
        }
        let part = |weight: u128| u128::from(order.quantity.0) * (weight - least) / (most - least);
        let part = |weight| Lots(u64::try_from(part(weight)).expect("a part is no larger than the whole"));
        weights.into_iter().map(part).collect()
    }

    /// The weight up to the end of slice `k` of `slices`, in a unit of the profile's own.
    fn until(&self, order: &ParentOrder, k: u32, slices: u32) -> u128 {
        let (k, slices) = (u128::from(k), u128::from(slices));
        match self {
            Profile::Horizon(weights) => {
                let place = k * weights.len() as u128;
                let (whole, rest) = ((place / slices) as usize, place % slices);
                let full: u128 = weights[..whole].iter().map(|weight| u128::from(*weight)).sum();
                full * slices + weights.get(whole).map_or(0, |weight| u128::from(*weight) * rest)
            }
            Profile::Run(steps) => {
                let at = order.arrival + order.horizon.scaled(k as u64, slices as u64);
                let mut weight = 0;
                for (index, (from, height)) in steps.iter().enumerate() {
                    let from = if index == 0 { Nanos::ZERO } else { *from };
                    let until = steps.get(index + 1).map_or(Nanos::NEVER, |next| next.0);
                    weight += u128::from(at.min(until).saturating_since(from).0) * u128::from(*height);
                }
                weight
            }
        }
    }
}

impl AlmgrenChriss {
    fn validate(&self) -> Result<(), ScheduleError> {
        let Impact { volatility, temporary, permanent, fixed, risk_aversion } = self.impact;
        let numbers = [
            ("volatility", volatility),
            ("permanent impact", permanent),
            ("fixed cost", fixed),
            ("risk aversion", risk_aversion),
            ("temporary impact", temporary),
            ("quantity", self.quantity),
            ("horizon", self.horizon),
        ];
        for (index, (name, value)) in numbers.into_iter().enumerate() {
            if !value.is_finite() || value < 0.0 || (index >= 4 && value == 0.0) {
                return Err(ScheduleError::NotANumber(name));
            }
        }
        if self.slices == 0 {
            return Err(ScheduleError::TooFewSlices(1));
        }
        if self.corrected_temporary() <= 0.0 {
            return Err(ScheduleError::PermanentTooLarge);
        }
        if self.kappa().is_finite() {
            Ok(())
        } else {
            Err(ScheduleError::NotANumber("risk aversion × variance"))
        }
    }

    fn step(&self) -> f64 {
        self.horizon / f64::from(self.slices)
    }

    /// η̃ = η − γτ/2.
    fn corrected_temporary(&self) -> f64 {
        self.impact.temporary - self.impact.permanent * self.step() / 2.0
    }

    /// κ = acosh(1 + κ̃²τ²/2)/τ, in the form 2 asinh(κ̃τ/2)/τ that stays exact where κ̃τ is small.
    fn kappa(&self) -> f64 {
        let Impact { volatility, risk_aversion, .. } = self.impact;
        let continuous = libm::sqrt(risk_aversion * volatility * volatility / self.corrected_temporary());
        2.0 * libm::asinh(continuous * self.step() / 2.0) / self.step()
    }

    /// Cost of trading `trades` one after the other while the price itself stands still: the direct sum that the
    /// closed form must equal. Each trade pays ε, its own temporary impact and the permanent impact of those before.
    #[must_use]
    pub fn path_cost(&self, trades: &[f64]) -> f64 {
        let Impact { temporary, permanent, fixed, .. } = self.impact;
        let (mut cost, mut before) = (0.0, 0.0);
        for trade in trades {
            cost += trade * (permanent * before + fixed + temporary * trade / self.step());
            before += trade;
        }
        cost
    }

    /// Variance of the cost as a direct sum over what remains after each step.
    #[must_use]
    pub fn path_variance(&self, holdings: &[f64]) -> f64 {
        let squares: f64 = holdings.iter().skip(1).map(|left| left * left).sum();
        self.impact.volatility * self.impact.volatility * self.step() * squares
    }

    /// E (market: 4.3).
    fn expected_cost(&self, kappa: f64) -> f64 {
        let Impact { permanent, fixed, .. } = self.impact;
        let (x, t, step) = (self.quantity, self.horizon, self.step());
        let lasting = permanent * x * x / 2.0 + fixed * x;
        if kappa == 0.0 {
            return lasting + self.corrected_temporary() * x * x / t;
        }
        let spread = 2.0 * step / libm::tanh(kappa * t)
            + 2.0 * t * sinh_share(step / t, kappa * t) / libm::sinh(kappa * t);
        let shape = libm::tanh(kappa * step / 2.0) * spread / (2.0 * step * step);
        lasting + self.corrected_temporary() * x * x * shape
    }

    /// V (market: 4.3).
    fn variance(&self, kappa: f64) -> f64 {
        if self.slices == 1 {
            // Nothing is held after the first and only trade; the closed form would leave its rounding.
            return 0.0;
        }
        let (x, t, step, n) = (self.quantity, self.horizon, self.step(), f64::from(self.slices));
        let scale = self.impact.volatility * self.impact.volatility * x * x;
        if kappa == 0.0 {
            return scale * t * (1.0 - 1.0 / n) * (1.0 - 1.0 / (2.0 * n)) / 3.0;
        }
        let (sinh, step_sinh) = (libm::sinh(kappa * t), libm::sinh(kappa * step));
        if kappa * t < 1.0 {
            // The two terms agree in their leading digits: 2 sinh a cosh b = sinh(a + b) + sinh(a − b) makes of them
            // sinh mu − m sinh u, with m = 2N − 1 and u = κτ, whose series has no cancellation.
            let (m, u) = (2.0 * n - 1.0, kappa * step);
            let (mut of_m, mut of_one, mut difference) = (m * u, u, 0.0);
            for k in 1..16 {
                let divisor = f64::from(2 * k * (2 * k + 1));
                of_m *= m * u * m * u / divisor;
                of_one *= u * u / divisor;
                difference += of_m - m * of_one;
            }
            return scale * step * difference / (4.0 * sinh * sinh * step_sinh);
        }
        // cosh κ(T − τ)/sinh κT, with the growth of both taken out.
        let falling = libm::exp(-kappa * step) * (1.0 + libm::exp(-2.0 * kappa * (t - step)))
            / (-libm::expm1(-2.0 * kappa * t));
        scale * (step * falling / step_sinh - t / (sinh * sinh)) / 2.0
    }
}

/// The optimal trajectory (market: 4.3), with κ exact for the number of slices.
///
/// # Errors
/// If a number is out of range or permanent impact leaves no optimum.
pub fn almgren_chriss(problem: &AlmgrenChriss) -> Result<Trajectory, ScheduleError> {
    problem.validate()?;
    let n = problem.slices;
    let kappa = problem.kappa();
    let whole = kappa * problem.horizon;
    let holdings: Vec<f64> =
        (0..=n).map(|j| problem.quantity * sinh_share(f64::from(n - j) / f64::from(n), whole)).collect();
    let trades = holdings.windows(2).map(|pair| pair[0] - pair[1]).collect();
    Ok(Trajectory {
        kappa,
        half_life: 1.0 / kappa,
        holdings,
        trades,
        expected_cost: problem.expected_cost(kappa),
        variance: problem.variance(kappa),
    })
}

impl Trajectory {
    /// The same trajectory for whole lots: what has been released after each step, rounded to the nearest lot.
    #[must_use]
    pub fn released(&self, quantity: Lots) -> Vec<Lots> {
        let all = self.holdings[0];
        released_of(quantity, self.holdings.iter().map(|left| left / all))
    }

    /// The lots of each step: the differences of [`released`](Self::released).
    #[must_use]
    pub fn integer_schedule(&self, quantity: Lots) -> Vec<Lots> {
        self.released(quantity).windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// Lots that a TWAP of `slices` equal steps has released after `released` of them, by cumulative rounding, so that
/// the last step reaches `quantity` exactly.
///
/// # Panics
/// If `slices` is zero or less than `released`.
#[must_use]
pub fn twap_released(quantity: Lots, released: u32, slices: u32) -> Lots {
    assert!(0 < slices && released <= slices, "slice {released} of {slices}");
    let wide = u128::from(quantity.0) * u128::from(released) / u128::from(slices);
    Lots(u64::try_from(wide).expect("a part is no larger than the whole"))
}

/// Released lots from the shares that remain, which fall from 1 to 0.
fn released_of(quantity: Lots, left: impl Iterator<Item = f64>) -> Vec<Lots> {
    let all = quantity.0 as f64;
    let mut most = 0;
    left.map(|share| {
        most = quantity.0.min(libm::round(all * (1.0 - share)) as u64).max(most);
        Lots(most)
    })
    .collect()
}

/// sinh(share × whole)/sinh(whole) for a share up to 1, where `whole` may be too large for a sinh or vanish.
fn sinh_share(share: f64, whole: f64) -> f64 {
    if whole < 1e-150 {
        return share;
    }
    libm::exp(-whole * (1.0 - share)) * libm::expm1(-2.0 * whole * share) / libm::expm1(-2.0 * whole)
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use numashock_book::Side;
    use proptest::prelude::*;

    use super::*;
    use crate::{StrategyId, SymbolId};

    /// λ with N, κ, half-life, E, √V, holdings and the schedule of 1,000 lots (market: 4.3; digits as given there).
    type Row = (f64, u32, f64, f64, f64, f64, &'static [f64], &'static [u64]);
    const TABLE: [Row; 12] = [
        (0.0, 5, 0.0, f64::INFINITY, 662_500.0, 1.04e6, &[8e5, 6e5, 4e5, 2e5], &[200; 5]),
        (0.0, 50, 0.0, f64::INFINITY, 685_000.0, 1.21e6, &[], &[]),
        (1e-7, 5, 0.1946, 5.1380, 670057.46, 961622.9023, &HOLDINGS[0], &[242, 213, 193, 179, 173]),
        (1e-7, 50, 0.1905, 5.2501, 692710.0141, 1.14e6, &[], &[]),
        (5e-7, 5, 0.4325, 2.3121, 768132.8122, 750597.4765, &HOLDINGS[1], &[363, 242, 167, 124, 104]),
        (5e-7, 50, 0.4259, 2.3480, 797949.2928, 956134.7904, &[], &[]),
        (1e-6, 5, 0.6071, 1.6472, 911226.9863, 603430.6688, &HOLDINGS[2], &[458, 252, 142, 86, 62]),
        (1e-6, 50, 0.6022, 1.6604, 961939.5348, 828685.9863, &[], &[]),
        (2e-6, 5, 0.8463, 1.1816, 1.14e6, 449367.6525, &HOLDINGS[3], &[571, 246, 107, 48, 28]),
        (2e-6, 50, 0.8516, 1.1743, 1.25e6, 696029.2941, &[], &[]),
        (1e-5, 5, 1.7267, 0.5791, 1.85e6, 171712.4057, &HOLDINGS[4], &[822, 146, 26, 5, 1]),
        (1e-5, 50, 1.9019, 0.5258, 2.55e6, 441578.5079, &[], &[]),
    ];
    const HOLDINGS: [[f64; 4]; 5] = [
        [757_882.0, 544_564.0, 351_940.0, 172_689.0],
        [636_913.0, 394_840.0, 227_786.0, 104_012.0],
        [541_956.0, 289_854.0, 147_897.0, 62_142.0],
        [428_599.0, 182_933.0, 76_296.0, 27_643.0],
        [177_868.0, 31_636.0, 5_622.0, 969.0],
    ];

    fn problem(risk_aversion: f64, slices: u32) -> AlmgrenChriss {
        let impact =
            Impact { volatility: 0.95, temporary: 2.5e-6, permanent: 2.5e-7, fixed: 0.0625, risk_aversion };
        AlmgrenChriss { quantity: 1e6, horizon: 5.0, slices, impact }
    }

    /// Agreement to the digits that a table gives: four decimals, or three leading digits of what it rounds to them.
    fn agrees(value: f64, table: f64) -> bool {
        let coarse = table >= 1e6;
        value == table || (value - table).abs() <= if coarse { 5.1e3 } else { 5.1e-5 }
    }

    fn close(left: f64, right: f64, relative: f64) -> bool {
        (left - right).abs() <= relative * right.abs().max(1e-300)
    }

    #[test]
    fn almgren_and_chriss_as_tabled() {
        for (lambda, slices, kappa, half_life, cost, deviation, holdings, lots) in TABLE {
            let problem = problem(lambda, slices);
            let optimum = almgren_chriss(&problem).unwrap();
            assert!(agrees(optimum.kappa, kappa), "κ {} of λ {lambda}, N {slices}", optimum.kappa);
            assert!(agrees(optimum.half_life, half_life), "1/κ {}", optimum.half_life);
            assert!(agrees(optimum.expected_cost, cost), "E {} of λ {lambda}", optimum.expected_cost);
            let root = libm::sqrt(optimum.variance);
            assert!(agrees(root, deviation), "√V {root} of λ {lambda}, N {slices}");
            for (left, table) in optimum.holdings[1..].iter().zip(holdings) {
                assert!((left - table).abs() <= 0.5, "holdings {left} of λ {lambda}");
            }
            if slices == 5 {
                let schedule: Vec<u64> =
                    optimum.integer_schedule(Lots(1_000)).iter().map(|lots| lots.0).collect();
                assert_eq!(schedule, lots, "λ {lambda}");
            }
        }
    }

    fn order(quantity: u64, horizon: u64) -> ParentOrder {
        ParentOrder {
            arrival: Nanos(3_000_000_000),
            side: Side::Sell,
            quantity: Lots(quantity),
            horizon: Span(horizon),
            symbol: SymbolId::default(),
            strategy: StrategyId::default(),
        }
    }

    fn lots(shape: Shape, slices: u32, order: &ParentOrder) -> Vec<u64> {
        let schedule = Schedule { slices, shape };
        schedule.validate(order.horizon).unwrap();
        let released = schedule.released(order).unwrap();
        assert_eq!((released[0], released.len()), (Lots(0), slices as usize + 1));
        released.windows(2).map(|pair| (pair[1] - pair[0]).0).collect()
    }

    fn impact(risk_aversion: f64) -> Impact {
        Impact { volatility: 2.0, temporary: 0.5, permanent: 1e-4, fixed: 1.0, risk_aversion }
    }

    #[test]
    fn a_profile_gives_each_slice_its_weight() {
        let order = order(120, 4_000_000_000);
        let horizon = |weights: &[u32]| Shape::Vwap(Profile::Horizon(weights.to_vec()));
        assert_eq!(lots(horizon(&[3, 1, 1, 5]), 4, &order), [36, 12, 12, 60]);
        // Half of the first weight, and so on, where there are more slices than weights; their sums where there are fewer.
        assert_eq!(lots(horizon(&[2, 1]), 4, &order), [40, 40, 20, 20]);
        assert_eq!(lots(horizon(&[2, 1, 0, 9]), 2, &order), [30, 90]);
        // The parent lives from 3 s to 7 s; the weight changes at 4 s and 6 s.
        let run = |steps: &[(u64, u32)]| {
            Shape::Vwap(Profile::Run(
                steps.iter().map(|(at, weight)| (Nanos(at * 1_000_000_000), *weight)).collect(),
            ))
        };
        assert_eq!(lots(run(&[(0, 3), (4, 1), (6, 5)]), 4, &order), [36, 12, 12, 60]);
        assert_eq!(lots(run(&[(4, 7)]), 4, &order), [30; 4], "the first weight holds before its time, too");
        assert_eq!(lots(run(&[(0, 5), (1, 0), (9, 1)]), 4, &order), [30; 4], "no volume expected: a TWAP");
    }

    #[test]
    fn urgency_loads_the_front() {
        let order = order(1_000, 5_000_000_000);
        let shortfall = |half_life| Shape::ImplementationShortfall { half_life: Span(half_life) };
        assert_eq!(lots(shortfall(1_000_000_000_000_000), 5, &order), [200; 5]);
        // κ = 0.6071 a second, as in the table for λ = 10⁻⁶.
        assert_eq!(lots(shortfall(1_647_200_000), 5, &order), [458, 252, 142, 86, 62]);
        assert_eq!(lots(shortfall(1), 5, &order), [1_000, 0, 0, 0, 0]);
    }

    #[test]
    fn participation_is_looked_at_between_arrival_and_window() {
        let order = order(10, 1_000);
        let schedule = Schedule { slices: 5, shape: Shape::Pov { rate_ppm: 100_000 } };
        assert_eq!(schedule.released(&order), None);
        let due: Vec<u64> = (0..5).map(|k| (schedule.due(&order, k, Span(200)) - order.arrival).0).collect();
        assert_eq!(due, [0, 200, 400, 600, 800]);
    }

    #[test]
    fn what_cannot_be_scheduled_is_refused() {
        let refused = |slices, shape| Schedule { slices, shape }.validate(Span::SECOND).unwrap_err();
        assert_eq!(refused(0, Shape::Twap), ScheduleError::TooFewSlices(1));
        assert_eq!(refused(1, Shape::Pov { rate_ppm: 1 }), ScheduleError::TooFewSlices(2));
        assert_eq!(refused(2, Shape::Pov { rate_ppm: 0 }), ScheduleError::NoRate);
        assert_eq!(refused(2, Shape::Vwap(Profile::Horizon(vec![0, 0]))), ScheduleError::EmptyProfile);
        let backwards = Profile::Run(vec![(Nanos(2), 1), (Nanos(1), 1)]);
        assert_eq!(refused(2, Shape::Vwap(backwards)), ScheduleError::EmptyProfile);
        let none = Shape::ImplementationShortfall { half_life: Span::ZERO };
        assert_eq!(refused(2, none), ScheduleError::NoHalfLife);
        for (wrong, problem) in [
            (Impact { permanent: 2.0, ..impact(1.0) }, ScheduleError::PermanentTooLarge),
            (Impact { temporary: 0.0, ..impact(1.0) }, ScheduleError::NotANumber("temporary impact")),
            (Impact { volatility: -1.0, ..impact(1.0) }, ScheduleError::NotANumber("volatility")),
            (impact(f64::NAN), ScheduleError::NotANumber("risk aversion")),
        ] {
            assert_eq!(refused(2, Shape::AlmgrenChriss(wrong)), problem);
        }
    }

    proptest! {
        /// Wherever the digits of the closed forms could cancel or overflow, they equal the direct sums.
        #[test]
        fn closed_forms_equal_direct_sums(exponent in -16.0..4.0f64, slices in 1u32..200) {
            let problem = problem(libm::pow(10.0, exponent), slices);
            let optimum = almgren_chriss(&problem).unwrap();
            let (cost, variance) = (problem.path_cost(&optimum.trades), problem.path_variance(&optimum.holdings));
            prop_assert!(close(optimum.expected_cost, cost, 1e-9), "{} {}", optimum.expected_cost, cost);
            prop_assert!(close(optimum.variance, variance, 1e-9), "{} {}", optimum.variance, variance);
            prop_assert!(close(optimum.trades.iter().sum(), problem.quantity, 1e-12));
        }

        /// Nothing else at the same risk aversion costs less.
        #[test]
        fn the_trajectory_is_the_optimum(
            exponent in -8.0..-4.0f64,
            slices in 3u32..30,
            at in 1usize..29,
            change in prop_oneof![-1e4..-1e2f64, 1e2..1e4f64],
        ) {
            let problem = problem(libm::pow(10.0, exponent), slices);
            let optimum = almgren_chriss(&problem).unwrap();
            let value = |holdings: &[f64]| {
                let trades: Vec<f64> = holdings.windows(2).map(|pair| pair[0] - pair[1]).collect();
                problem.path_cost(&trades) + problem.impact.risk_aversion * problem.path_variance(holdings)
            };
            let mut other = optimum.holdings.clone();
            other[1 + at % (slices as usize - 1)] += change;
            prop_assert!(value(&optimum.holdings) < value(&other));
        }

        #[test]
        fn every_schedule_sums_to_its_parent(
            quantity in 0u64..1_000_000_000,
            slices in 1u32..60,
            horizon in 1u64..10_000_000_000,
            exponent in -12.0..6.0f64,
            half_life in 1u64..20_000_000_000,
            weights in prop::collection::vec(0u32..5, 1..9),
        ) {
            let order = order(quantity, horizon);
            let mut shapes = vec![
                Shape::Twap,
                Shape::AlmgrenChriss(impact(libm::pow(10.0, exponent))),
                Shape::ImplementationShortfall { half_life: Span(half_life) },
            ];
            if weights.iter().any(|weight| *weight > 0) {
                shapes.push(Shape::Vwap(Profile::Horizon(weights.clone())));
                let step = |(k, weight): (u64, &u32)| (Nanos(k * 1_000_000_000), *weight);
                shapes.push(Shape::Vwap(Profile::Run((0..).zip(&weights).map(step).collect())));
            }
            for shape in shapes {
                prop_assert_eq!(lots(shape, slices, &order).iter().sum::<u64>(), quantity);
            }
            prop_assert_eq!(
                lots(Shape::AlmgrenChriss(impact(0.0)), slices, &order),
                lots(Shape::Twap, slices, &order)
            );
            let even = Shape::Vwap(Profile::Horizon(vec![3; weights.len()]));
            prop_assert_eq!(lots(even, slices, &order), lots(Shape::Twap, slices, &order));
        }
    }

    #[test]
    fn slices_differ_by_at_most_one_lot_and_sum_to_the_parent() {
        for (quantity, slices) in [(10, 4), (3, 7), (1_000, 3), (0, 5)] {
            let released: Vec<u64> =
                (0..=slices).map(|k| twap_released(Lots(quantity), k, slices).0).collect();
            assert_eq!((released[0], released[slices as usize]), (0, quantity));
            let sizes: Vec<u64> = released.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{quantity} in {slices}: {sizes:?}");
        }
    }
}
