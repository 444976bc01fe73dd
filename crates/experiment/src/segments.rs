//! Which segment a parent belongs to: host, strategy, liquidity bucket of its symbol, session phase at its arrival.

use std::collections::BTreeSet;

use numashock_execution::schedule::Shape;
use numashock_execution::{Placement, Strategy};
use numashock_sim::ParentResult;
use numashock_sim::scenario::config::{Host, HostId, RunConfig};

use crate::results::Segment;

/// The segments that occur in a sweep, in order of host, strategy, liquidity and phase.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    scenario: String,
    all: Vec<Segment>,
}

impl Segments {
    /// Those of the parents of a sweep, each with the choice it belongs to.
    pub(crate) fn of<'a>(
        scenario: &str,
        parents: impl Iterator<Item = (&'a RunConfig, &'a ParentResult)>,
    ) -> Segments {
        let all: BTreeSet<Segment> =
            parents.map(|(config, parent)| segment(scenario, config, parent)).collect();
        Segments { scenario: scenario.to_owned(), all: all.into_iter().collect() }
    }

    /// The place of a parent's segment in the list.
    pub(crate) fn place(&self, config: &RunConfig, parent: &ParentResult) -> u32 {
        let place = self.all.binary_search(&segment(&self.scenario, config, parent));
        u32::try_from(place.expect("every parent was looked at")).expect("few segments")
    }

    pub(crate) fn into_list(self) -> Vec<Segment> {
        self.all
    }
}

fn segment(scenario: &str, config: &RunConfig, parent: &ParentResult) -> Segment {
    let strategy = config.strategy_of(&parent.order);
    let symbol = &config.symbols[usize::from(parent.order.symbol.0)];
    let phases = config.phases.list();
    let phase = phases.get(config.phases.at(parent.order.arrival)).map_or("", |phase| phase.name.as_str());
    let named = |name: &str, otherwise: &str| if name.is_empty() { otherwise } else { name }.to_owned();
    Segment {
        host: host_name(scenario, config, parent.host),
        strategy: named(&strategy.name, &method_name(&strategy.method)),
        symbol_liquidity: named(&symbol.liquidity, symbol.market.kind()),
        session_phase: named(phase, "continuous"),
    }
}

/// What a host is called in tables.
#[must_use]
pub fn host_name(scenario: &str, config: &RunConfig, host: HostId) -> String {
    let host = &config.hosts[host.index()];
    match (&host.name, &host.host) {
        (name, _) if !name.is_empty() => name.clone(),
        (_, Host::Model(_)) => format!("{scenario} (model)"),
        (_, Host::Recorded(_)) => format!("{scenario} (recorded)"),
    }
}

/// What a strategy without a name is called: its schedule and where it places its children.
fn method_name(strategy: &Strategy) -> String {
    let schedule = match strategy.schedule.shape {
        Shape::Twap => "twap",
        Shape::Vwap(_) => "vwap",
        Shape::Pov { .. } => "pov",
        Shape::AlmgrenChriss(_) => "almgren-chriss",
        Shape::ImplementationShortfall { .. } => "implementation-shortfall",
    };
    let placement = match strategy.tactic.placement {
        Placement::Join => "join",
        Placement::Improve => "improve",
        Placement::Cross => "cross",
    };
    format!("{schedule} {placement}")
}
