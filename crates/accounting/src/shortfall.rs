//! Identity (B) of implementation shortfall (market: 4.1), exact in half-tick-lots.

use numashock_book::{HalfTicks, Lots};

use crate::tape::{End, ParentTape};

/// At what the unfinished lots are valued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Taken from the book at the deadline: the primary figure, independent of a mark convention.
    Swept,
    /// At the mid of the deadline: Perold's opportunity cost.
    Mid,
}

/// One parent's shortfall and its parts, in half-tick-lots; positive is a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The mark of the unfinished lots.
    pub mark: Mark,
    /// Paper portfolio less real portfolio, fees included.
    pub is: i128,
    /// The whole quantity × the move from the decision mid to the mid at the first arrival.
    pub delay: i128,
    /// Fills against the mid at the first arrival.
    pub impact: i128,
    /// Unfinished lots at their mark against the mid at the first arrival.
    pub miss: i128,
    /// Fees.
    pub fees: i128,
}

/// A parent's shortfall under both marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfalls {
    /// The primary figure: the unfinished lots are taken from the book at the deadline.
    pub swept: Shortfall,
    /// Beside it: the unfinished lots at the mid of the deadline.
    pub marked: Shortfall,
}

impl Shortfalls {
    pub(crate) fn of(tape: &ParentTape, end: End) -> Shortfalls {
        let rest = i128::from(tape.unfinished().0);
        assert!(rest > 0 || end.cleanup_cost == 0, "only unfinished lots are cleaned up");
        Shortfalls {
            swept: Shortfall::of(tape, Mark::Swept, end.cleanup_cost),
            marked: Shortfall::of(tape, Mark::Mid, rest * i128::from(end.mid.0)),
        }
    }
}

impl Shortfall {
    /// `rest_value` is Σ price × lots of the unfinished lots under `mark`.
    fn of(tape: &ParentTape, mark: Mark, rest_value: i128) -> Shortfall {
        let sign = i128::from(tape.side.sign());
        let quantity = i128::from(tape.quantity.0);
        let filled = i128::from(tape.filled.0);
        let decision = i128::from(tape.decision_mid.0);
        // With no child in the market the desk never met a price but the decision's, so the whole move is missed, not delayed.
        let arrival = i128::from(tape.first_arrival_mid.unwrap_or(tape.decision_mid).0);

        let shortfall = Shortfall {
            mark,
            is: sign * (tape.paid + rest_value - quantity * decision) + tape.fees,
            delay: sign * quantity * (arrival - decision),
            impact: sign * (tape.paid - filled * arrival),
            miss: sign * (rest_value - (quantity - filled) * arrival),
            fees: tape.fees,
        };
        assert!(shortfall.is == shortfall.sum_of_parts(), "the parts sum to the shortfall: {shortfall:?}");
        shortfall
    }

    /// delay + impact + miss + fees.
    #[must_use]
    pub fn sum_of_parts(&self) -> i128 {
        self.delay + self.impact + self.miss + self.fees
    }
}

/// `cost` (half-tick-lots) in millionths of a basis point of `quantity × decision_mid`, rounded half away from zero.
///
/// `None` where the decision mid is not positive or the order is empty, so that there is no notional to compare with.
///
/// # Panics
/// If |cost| is above 10²⁸ half-tick-lots.
#[must_use]
pub fn micro_basis_points(cost: i128, quantity: Lots, decision_mid: HalfTicks) -> Option<i128> {
    // 10⁴ basis points × 10⁶.
    const SCALE: i128 = 10_000_000_000;
    if decision_mid.0 <= 0 || quantity.0 == 0 {
        return None;
    }
    let notional = i128::from(quantity.0) * i128::from(decision_mid.0);
    let scaled = cost.checked_mul(SCALE).expect("a cost stays far below 10^28 half-tick-lots");
    let (whole, rest) = (scaled / notional, scaled % notional);
    let away = if rest.abs() >= notional - rest.abs() { scaled.signum() } else { 0 };
    Some(whole + away)
}
