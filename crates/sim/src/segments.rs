//! What the desk metrics of a host are told apart by, beside the phase: strategy and liquidity bucket of the symbol
//! (playbook: 5).

use numashock_execution::{StrategyId, SymbolId};

use crate::metrics::SegmentId;
use crate::scenario::config::{HostId, RunConfig, Symbol};

/// A strategy on a host with one liquidity bucket of its symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSegment {
    /// The strategy.
    pub strategy: StrategyId,
    /// The first of its symbols in that bucket.
    pub symbol: SymbolId,
}

impl Symbol {
    /// The liquidity bucket it is reported in; the kind of its flow if the scenario names none.
    #[must_use]
    pub fn liquidity_bucket(&self) -> &str {
        if self.liquidity.is_empty() { self.market.kind() } else { &self.liquidity }
    }
}

impl RunConfig {
    /// The segments of a host, by strategy and then in the order of the strategy's symbols. A [`SegmentId`] is a place in
    /// this list.
    #[must_use]
    pub fn segments_of(&self, host: HostId) -> Vec<HostSegment> {
        let mut segments: Vec<HostSegment> = Vec::new();
        for (number, strategy) in (0..).zip(&self.strategies).filter(|(_, strategy)| strategy.host == host) {
            for symbol in &strategy.symbols {
                let segment = HostSegment { strategy: StrategyId(number), symbol: *symbol };
                if !segments.iter().any(|known| self.is_same_segment(known, &segment)) {
                    segments.push(segment);
                }
            }
        }
        segments
    }

    /// The segment of an order of a strategy in a symbol, among those of the strategy's host.
    ///
    /// # Panics
    /// If the strategy does not trade the symbol.
    #[must_use]
    pub fn segment_id(&self, strategy: StrategyId, symbol: SymbolId) -> SegmentId {
        let all = self.segments_of(self.strategies[usize::from(strategy.0)].host);
        let own = HostSegment { strategy, symbol };
        let place = all.iter().position(|known| self.is_same_segment(known, &own));
        let place = place.expect("a strategy trades its own symbols only");
        SegmentId(u32::try_from(place).expect("fewer than 2^32 segments"))
    }

    fn is_same_segment(&self, left: &HostSegment, right: &HostSegment) -> bool {
        let bucket = |segment: &HostSegment| self.symbols[usize::from(segment.symbol.0)].liquidity_bucket();
        left.strategy == right.strategy && bucket(left) == bucket(right)
    }
}
