//! What all runs of one choice and seed have in common: the seed, the order flow and the parents.

use std::sync::Arc;

use numashock_accounting::Mechanisms;
use numashock_book::flow::Exogenous;
use numashock_engine::{Nanos, Seed};
use numashock_execution::{ParentOrder, StrategyId, SymbolId, generate};

use crate::RunInput;
use crate::hosted::Steered;
use crate::injector::Injected;
use crate::scenario::config::{Parents, RunConfig};

impl RunConfig {
    /// What the runs of replication `index` share.
    ///
    /// # Panics
    /// If the configuration was not lowered from a scenario, which checks the flow.
    #[must_use]
    pub fn replication(&self, index: u32) -> Replication {
        Replication::new(self, index)
    }
}

/// What all worlds of a choice and seed share.
#[derive(Clone, Debug)]
pub struct Replication {
    seed: Seed,
    host_seeds: Vec<Seed>,
    exogenous: Vec<Arc<Exogenous>>,
    parents: Arc<Vec<ParentOrder>>,
    disturbances: Arc<Vec<Injected>>,
}

impl Replication {
    fn new(config: &RunConfig, index: u32) -> Replication {
        let seed = config.seed.replication(u64::from(index));
        let until = Nanos::ZERO + config.end();
        let symbols = keyed(seed, "symbol", config.symbols.iter().map(|symbol| symbol.name.as_str()));
        let exogenous = config.symbols.iter().zip(symbols);
        let exogenous = exogenous
            .map(|(symbol, seed)| Arc::new(symbol.market.exogenous(seed, index, until, &config.phases)));
        let hosts = config.hosts.iter().map(|host| host.name.as_str());
        Replication {
            seed,
            host_seeds: keyed(seed, "host", hosts),
            exogenous: exogenous.collect(),
            parents: Arc::new(parents(config, seed)),
            disturbances: Arc::new(config.injector.schedule(index, seed, until)),
        }
    }

    /// The mirrored market: the same events on the other side each, prices reflected around the initial mid, parents that
    /// bought sell. Every parent's shortfall is the same there, in every world.
    #[must_use]
    pub fn mirrored(&self) -> Replication {
        let turned = |parent: &ParentOrder| ParentOrder { side: !parent.side, ..*parent };
        Replication {
            exogenous: self.exogenous.iter().map(|symbol| Arc::new(symbol.mirrored())).collect(),
            parents: Arc::new(self.parents.iter().map(turned).collect()),
            ..self.clone()
        }
    }

    /// Bid plus ask of a symbol at the start: a price and its reflection sum to it.
    #[must_use]
    pub fn reflection(&self, symbol: SymbolId) -> i64 {
        self.exogenous[usize::from(symbol.0)].reflection()
    }

    /// The input of one run. A counterfactual gets the regimes and actions of the real run to impose.
    #[must_use]
    pub fn input(
        &self,
        mechanisms: Mechanisms,
        balancing: bool,
        imposed: Option<Arc<Steered>>,
        hash_interval: u64,
    ) -> RunInput {
        RunInput {
            seed: self.seed,
            host_seeds: self.host_seeds.clone(),
            exogenous: self.exogenous.clone(),
            parents: Arc::clone(&self.parents),
            disturbances: Arc::clone(&self.disturbances),
            mechanisms,
            balancing,
            imposed,
            hash_interval,
        }
    }
}

/// The seed of each entity: the first has the run's own, the others one of their name, so that what comes beside them
/// changes nothing.
fn keyed<'a>(seed: Seed, what: &str, names: impl Iterator<Item = &'a str>) -> Vec<Seed> {
    let of = |(number, name): (usize, &str)| match number {
        0 => seed,
        _ => Seed(seed.stream(&format!("{what}.{name}"), 0).next_u64()),
    };
    names.enumerate().map(of).collect()
}

/// The parents of all strategies, in order of arrival, then of strategy.
fn parents(config: &RunConfig, seed: Seed) -> Vec<ParentOrder> {
    let start = Nanos::ZERO + config.warmup;
    let seeds = keyed(seed, "strategy", config.strategies.iter().map(|strategy| strategy.name.as_str()));
    let mut parents = Vec::new();
    for (number, (strategy, seed)) in (0..).zip(config.strategies.iter().zip(seeds)) {
        match &strategy.parents {
            Parents::Generated(own) => parents.extend(generate(
                own,
                seed,
                (start, config.duration),
                (StrategyId(number), &strategy.symbols),
            )),
            Parents::Listed(own) => parents.extend(
                own.iter().map(|parent| ParentOrder { arrival: parent.arrival + config.warmup, ..*parent }),
            ),
        }
    }
    parents.sort_by_key(|parent| parent.arrival);
    parents
}
