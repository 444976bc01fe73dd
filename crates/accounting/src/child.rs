//! Where along its way a child's price moved (market: 4.1, per child).

use numashock_book::{HalfTicks, Lots, Side};

/// The mid at each step of a child's way to the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildMids {
    /// At the parent's decision.
    pub decision: HalfTicks,
    /// When the reason to send the child arose, before the host took any time over it.
    pub decide: HalfTicks,
    /// When it left the dispatch thread.
    pub dispatch: HalfTicks,
    /// When it reached the market.
    pub arrive: HalfTicks,
}

/// The cost of one fill against the parent's decision mid, step by step, in half-tick-lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildPath {
    /// The move before the child was decided.
    pub schedule: i128,
    /// The move while the host held it.
    pub host: i128,
    /// The move on the wire.
    pub wire: i128,
    /// The fill against the mid on arrival.
    pub spread_and_impact: i128,
}

impl core::ops::AddAssign for ChildPath {
    fn add_assign(&mut self, other: ChildPath) {
        self.schedule += other.schedule;
        self.host += other.host;
        self.wire += other.wire;
        self.spread_and_impact += other.spread_and_impact;
    }
}

impl ChildPath {
    /// The path of `lots` filled at `price`.
    #[must_use]
    pub fn of(side: Side, mids: ChildMids, price: HalfTicks, lots: Lots) -> ChildPath {
        let cost = |from: HalfTicks, to: HalfTicks| {
            i128::from(side.sign()) * (i128::from(to.0) - i128::from(from.0)) * i128::from(lots.0)
        };
        let path = ChildPath {
            schedule: cost(mids.decision, mids.decide),
            host: cost(mids.decide, mids.dispatch),
            wire: cost(mids.dispatch, mids.arrive),
            spread_and_impact: cost(mids.arrive, price),
        };
        assert!(path.total() == cost(mids.decision, price), "the steps sum to the whole way: {path:?}");
        path
    }

    /// The sum of the steps.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.schedule + self.host + self.wire + self.spread_and_impact
    }
}
