//! What all runs of one choice and seed have in common: the seed, the order flow and the parents.

use std::sync::Arc;

use numashock_accounting::Mechanisms;
use numashock_book::flow::Exogenous;
use numashock_controller::{Actions, Regime};
use numashock_engine::{Nanos, Seed, Span};
use numashock_execution::{ParentOrder, generate};

use crate::RunInput;
use crate::injector::Injected;
use crate::scenario::config::{Market, Parents, RunConfig};

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
    exogenous: Arc<Exogenous>,
    parents: Arc<Vec<ParentOrder>>,
    disturbances: Arc<Vec<Injected>>,
}

impl Replication {
    fn new(config: &RunConfig, index: u32) -> Replication {
        let seed = config.seed.replication(u64::from(index));
        let start = Nanos::ZERO + config.warmup;
        let until = Nanos::ZERO + config.end();
        let exogenous = match &config.market {
            Market::Poisson(poisson) => Exogenous::poisson(poisson, seed, until)
                .expect("the flow was checked when the scenario was lowered"),
            Market::Recorded { recording, from, step } => {
                Exogenous::recorded(Arc::clone(recording), *from + *step * u64::from(index), Span::ZERO)
            }
        };
        let parents = match &config.parents {
            Parents::Generated(parents) => generate(parents, seed, start, config.duration),
            Parents::Listed(parents) => parents
                .iter()
                .map(|parent| ParentOrder { arrival: parent.arrival + config.warmup, ..*parent })
                .collect(),
        };
        let disturbances = config.injector.schedule(index, seed, until);
        Replication {
            seed,
            exogenous: Arc::new(exogenous),
            parents: Arc::new(parents),
            disturbances: Arc::new(disturbances),
        }
    }

    /// The mirrored market: the same events on the other side each, prices reflected around the initial mid, parents that
    /// bought sell. Every parent's shortfall is the same there, in every world.
    #[must_use]
    pub fn mirrored(&self) -> Replication {
        let turned = |parent: &ParentOrder| ParentOrder { side: !parent.side, ..*parent };
        Replication {
            exogenous: Arc::new(self.exogenous.mirrored()),
            parents: Arc::new(self.parents.iter().map(turned).collect()),
            ..self.clone()
        }
    }

    /// Bid plus ask at the start: a price and its reflection sum to it.
    #[must_use]
    pub fn reflection(&self) -> i64 {
        self.exogenous.reflection()
    }

    /// The input of one run. A counterfactual gets the regimes and actions of the real run to impose.
    #[must_use]
    pub fn input(
        &self,
        mechanisms: Mechanisms,
        balancing: bool,
        imposed: Option<Arc<Vec<(Regime, Actions)>>>,
        hash_interval: u64,
    ) -> RunInput {
        RunInput {
            seed: self.seed,
            exogenous: Arc::clone(&self.exogenous),
            parents: Arc::clone(&self.parents),
            disturbances: Arc::clone(&self.disturbances),
            mechanisms,
            balancing,
            imposed,
            hash_interval,
        }
    }
}
