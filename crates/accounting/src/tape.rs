//! What the auditor sees of one parent order.

use numashock_book::{HalfTicks, Lots, Side};

use crate::shortfall::Shortfalls;

/// One parent's tape: sums only, so that its size does not grow with the number of fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentTape {
    pub(crate) side: Side,
    pub(crate) quantity: Lots,
    pub(crate) decision_mid: HalfTicks,
    pub(crate) first_arrival_mid: Option<HalfTicks>,
    pub(crate) paid: i128,
    pub(crate) filled: Lots,
    pub(crate) fees: i128,
}

/// The market at the parent's deadline, after its last fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The mid.
    pub mid: HalfTicks,
    /// Σ price × lots of taking the unfinished lots from the book at once, in half-tick-lots; 0 if nothing is unfinished.
    /// Where the book holds less than that, the caller prices the remainder and says how.
    pub cleanup_cost: i128,
}

impl ParentTape {
    /// An order of `quantity` lots decided at the mid `decision_mid` (the mid, not the touch and not the last trade).
    ///
    /// # Panics
    /// If `quantity` is zero.
    #[must_use]
    pub fn new(side: Side, quantity: Lots, decision_mid: HalfTicks) -> ParentTape {
        assert!(quantity > Lots::ZERO, "a parent order has a quantity");
        ParentTape {
            side,
            quantity,
            decision_mid,
            first_arrival_mid: None,
            paid: 0,
            filled: Lots::ZERO,
            fees: 0,
        }
    }

    /// A child reached the market while the mid was `mid`. Only the first one's mid is kept.
    pub fn record_arrival(&mut self, mid: HalfTicks) {
        self.first_arrival_mid.get_or_insert(mid);
    }

    /// `lots` were filled at `price`.
    ///
    /// # Panics
    /// If `lots` is zero, no child has arrived, or more is filled than was ordered.
    pub fn record_fill(&mut self, price: HalfTicks, lots: Lots) {
        assert!(lots > Lots::ZERO, "a fill has lots");
        assert!(self.first_arrival_mid.is_some(), "a fill follows an arrival");
        assert!(lots <= self.unfinished(), "fills stay within the order");
        self.paid += price.times(lots);
        self.filled += lots;
    }

    /// A fee in half-tick-lots; a rebate is negative.
    pub fn record_fee(&mut self, fee: i128) {
        self.fees += fee;
    }

    /// The side.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The ordered lots.
    #[must_use]
    pub fn quantity(&self) -> Lots {
        self.quantity
    }

    /// The mid at the decision.
    #[must_use]
    pub fn decision_mid(&self) -> HalfTicks {
        self.decision_mid
    }

    /// The lots filled so far.
    #[must_use]
    pub fn filled(&self) -> Lots {
        self.filled
    }

    /// Σ s·(price − decision mid)·lots over the fills, in half-tick-lots.
    #[must_use]
    pub fn cost_of_fills(&self) -> i128 {
        i128::from(self.side.sign()) * (self.paid - self.decision_mid.times(self.filled))
    }

    /// The lots still to fill.
    #[must_use]
    pub fn unfinished(&self) -> Lots {
        self.quantity - self.filled
    }

    /// The shortfall under both marks of the unfinished lots.
    ///
    /// # Panics
    /// If a clean-up cost is given although nothing is unfinished, or the identity does not hold.
    #[must_use]
    pub fn close(&self, end: End) -> Shortfalls {
        Shortfalls::of(self, end)
    }
}
