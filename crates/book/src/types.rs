//! The vocabulary of the market: sides, prices, sizes, ids, with only the arithmetic that means something.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Not, Sub, SubAssign};

use numashock_engine::Nanos;

/// A side of the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Bids.
    Buy,
    /// Asks.
    Sell,
}

impl Side {
    /// Both sides, bids first.
    pub const BOTH: [Side; 2] = [Side::Buy, Side::Sell];

    /// +1 for a buy, −1 for a sell.
    #[must_use]
    pub fn sign(self) -> i64 {
        match self {
            Side::Buy => 1,
            Side::Sell => -1,
        }
    }

    /// 0 for a buy, 1 for a sell.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether a resting order of this side at `price` comes before one at `other`.
    #[must_use]
    pub fn prefers(self, price: Ticks, other: Ticks) -> bool {
        (price != other) & ((price > other) == (self == Side::Buy))
    }

    /// Whether an order of this side with the limit `limit` trades at `price`.
    #[must_use]
    pub fn reaches(self, limit: Ticks, price: Ticks) -> bool {
        // Sides alternate by chance, so nothing branches on them.
        (price == limit) | ((price < limit) == (self == Side::Buy))
    }
}

impl Not for Side {
    type Output = Side;
    fn not(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        })
    }
}

/// A price in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub i64);

impl Ticks {
    /// The price that lies `ticks` on the passive side of `self` for an order of `side`: below for a buy, above for a sell.
    #[must_use]
    pub fn behind(self, side: Side, ticks: i64) -> Ticks {
        Ticks(self.0 - side.sign() * ticks)
    }

    /// `self` in half-ticks.
    #[must_use]
    pub fn half_ticks(self) -> HalfTicks {
        HalfTicks(self.0 * 2)
    }
}

impl Sub for Ticks {
    type Output = i64;
    fn sub(self, other: Ticks) -> i64 {
        self.0 - other.0
    }
}

impl From<Ticks> for HalfTicks {
    fn from(price: Ticks) -> HalfTicks {
        price.half_ticks()
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A price in half-ticks, so that every mid is an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HalfTicks(pub i64);

impl HalfTicks {
    /// The value of `lots` at this price, in half-tick-lots.
    #[must_use]
    pub fn times(self, lots: Lots) -> i128 {
        i128::from(self.0) * i128::from(lots.0)
    }
}

impl Sub for HalfTicks {
    type Output = i64;
    fn sub(self, other: HalfTicks) -> i64 {
        self.0 - other.0
    }
}

impl fmt::Display for HalfTicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/2", self.0)
    }
}

/// A quantity in lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lots(pub u64);

impl Lots {
    /// Nothing.
    pub const ZERO: Lots = Lots(0);

    /// `self` less `other`, or zero.
    #[must_use]
    pub fn saturating_sub(self, other: Lots) -> Lots {
        Lots(self.0.saturating_sub(other.0))
    }
}

impl Add for Lots {
    type Output = Lots;
    fn add(self, other: Lots) -> Lots {
        Lots(self.0 + other.0)
    }
}

impl AddAssign for Lots {
    fn add_assign(&mut self, other: Lots) {
        self.0 += other.0;
    }
}

impl Sub for Lots {
    type Output = Lots;
    fn sub(self, other: Lots) -> Lots {
        assert!(other <= self, "a quantity is not negative: {} - {}", self.0, other.0);
        Lots(self.0 - other.0)
    }
}

impl SubAssign for Lots {
    fn sub_assign(&mut self, other: Lots) {
        *self = *self - other;
    }
}

impl Sum for Lots {
    fn sum<I: Iterator<Item = Lots>>(lots: I) -> Lots {
        lots.fold(Lots::ZERO, Add::add)
    }
}

impl fmt::Display for Lots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An order's id, chosen by whoever sends it. Own and exogenous orders number densely from zero, each on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

impl OrderId {
    const OWN: u64 = 1 << 63;

    /// Own order number `number`: the book keeps its queue position ready.
    #[must_use]
    pub fn own(number: u64) -> OrderId {
        assert!(number < Self::OWN, "an own order's number leaves the top bit free");
        OrderId(Self::OWN | number)
    }

    /// Whether the order is an own one.
    #[must_use]
    pub fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }

    /// The number among the orders of its kind, own or exogenous.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0 & !Self::OWN
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = if self.is_own() { "own " } else { "" };
        write!(f, "{own}{}", self.number())
    }
}

/// A priority stamp in nanoseconds: among orders at one price the earlier stamp trades first, ties by arrival.
/// It is the arrival time, unless a counterfactual asks for the place that a prompt arrival had (attribution: A7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl From<Nanos> for Stamp {
    fn from(at: Nanos) -> Stamp {
        Stamp(at.0)
    }
}

/// What stands before an order at its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Orders with priority.
    pub orders: u64,
    /// Their lots.
    pub lots: Lots,
}

/// An execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The resting order.
    pub maker: OrderId,
    /// The order that took it.
    pub taker: OrderId,
    /// The resting order's side.
    pub maker_side: Side,
    /// The resting order's price.
    pub price: Ticks,
    /// The quantity executed.
    pub lots: Lots,
    /// What the resting order has left.
    pub maker_left: Lots,
    /// What stood before the resting order when it took its place in the queue.
    pub ahead_at_arrival: Ahead,
    /// What stood before the resting order when the taker arrived; the taker took it first, unless a recording names
    /// an order that is not the first.
    pub ahead_at_fill: Ahead,
}

/// A price and the quantity that rests there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quote {
    /// The price.
    pub price: Ticks,
    /// The quantity, never zero.
    pub lots: Lots,
}
