//! Parent orders and their keyed generation.

use numashock_book::{Lots, Side};
use numashock_engine::{Nanos, Seed, Span};

use crate::{StrategyId, SymbolId};

/// An order of the desk that is worked over a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentOrder {
    /// When the decision falls.
    pub arrival: Nanos,
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub quantity: Lots,
    /// How long it may take.
    pub horizon: Span,
    /// In which symbol.
    pub symbol: SymbolId,
    /// By which strategy.
    pub strategy: StrategyId,
}

impl ParentOrder {
    /// When it must be done.
    #[must_use]
    pub fn deadline(&self) -> Nanos {
        self.arrival + self.horizon
    }
}

/// How parents are generated: ranges are inclusive and drawn uniformly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentsConfig {
    /// How many in a run.
    pub count: u32,
    /// Least and greatest quantity.
    pub quantity: (Lots, Lots),
    /// Shortest and longest horizon.
    pub horizon: (Span, Span),
}

/// Parents that arrive within `window` after `start`, each early enough to end inside it, in order of arrival.
///
/// Parent `i`'s draws depend on the seed and on `i` alone. It is in one of `symbols`, each with the same chance.
///
/// # Panics
/// If the longest horizon does not fit the window, or there is no symbol.
#[must_use]
pub fn generate(
    config: &ParentsConfig,
    seed: Seed,
    (start, window): (Nanos, Span),
    (strategy, symbols): (StrategyId, &[SymbolId]),
) -> Vec<ParentOrder> {
    assert!(config.horizon.1 <= window, "the longest horizon fits the window");
    let mut parents: Vec<ParentOrder> = (0..config.count)
        .map(|entity| {
            let mut stream = seed.stream("parents", u64::from(entity));
            let horizon = Span(between(&mut stream, config.horizon.0.0, config.horizon.1.0));
            let room = window - horizon;
            let side = if stream.below(2) == 0 { Side::Buy } else { Side::Sell };
            let quantity = Lots(between(&mut stream, config.quantity.0.0, config.quantity.1.0));
            let arrival = start + Span(stream.below(room.0 + 1));
            let symbol = match symbols {
                [only] => *only,
                several => several[stream.below(several.len() as u64) as usize],
            };
            ParentOrder { arrival, side, quantity, horizon, symbol, strategy }
        })
        .collect();
    parents.sort_by_key(|parent| parent.arrival);
    parents
}

fn between(stream: &mut numashock_engine::Stream, least: u64, most: u64) -> u64 {
    least + stream.below(most - least + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_fit_their_window_and_depend_on_seed_and_number_alone() {
        let mut config = ParentsConfig {
            count: 50,
            quantity: (Lots(5), Lots(9)),
            horizon: (Span::SECOND, Span::SECOND * 3),
        };
        let (start, window) = (Nanos(7), Span::SECOND * 10);
        let parents =
            generate(&config, Seed(3), (start, window), (StrategyId(0), &[SymbolId(0), SymbolId(1)]));
        assert!(parents.iter().all(|p| start <= p.arrival && p.deadline() <= start + window));
        assert!(parents.iter().all(|p| (5..=9).contains(&p.quantity.0)));
        assert!(parents.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
        config.count = 10;
        let fewer = generate(&config, Seed(3), (start, window), (StrategyId(0), &[SymbolId(0), SymbolId(1)]));
        assert!(fewer.iter().all(|parent| parents.contains(parent)));
    }
}
