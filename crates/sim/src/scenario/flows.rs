//! The clustered and the queue-reactive order flow, and the phases of a session: their tables and their lowering.

use numashock_book::flow::{
    Excitation, Exogenous, FlowError, HawkesConfig, InitialBook, Intensities, Phase, Phases, QueueLaw,
    QueueModel, QueueReactiveConfig, SizeClass, Sizes, StartBook,
};
use numashock_book::{Lots, Ticks};
use numashock_engine::{Nanos, Seed, Span};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::document::ScenarioError;
use super::lower::Origin;
use super::market::{check_bid, check_levels};
use super::units::{Rate, Share, Time};

/// Lots of an order: `10`, or `{ mean = 10, law = "geometric" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LotsTable {
    /// The same for every order.
    Fixed(u64),
    /// Drawn for each order.
    Drawn(DrawnLots),
}

/// Lots that are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnLots {
    /// Their mean.
    pub mean: u64,
    /// Their law.
    pub law: LotsLaw,
}

/// The laws of order sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LotsLaw {
    /// 1, 2, 3… lots, each followed by a further one with the same chance.
    Geometric,
}

impl<'de> Deserialize<'de> for LotsTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = LotsTable;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a number of lots, or a table such as { mean = 10, law = \"geometric\" }")
            }
            fn visit_i64<E: de::Error>(self, lots: i64) -> Result<LotsTable, E> {
                let lots = u64::try_from(lots)
                    .map_err(|_| E::custom(format!("{lots} is negative: expected 1 to 10⁹ lots")))?;
                Ok(LotsTable::Fixed(lots))
            }
            fn visit_u64<E: de::Error>(self, lots: u64) -> Result<LotsTable, E> {
                Ok(LotsTable::Fixed(lots))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<LotsTable, A::Error> {
                DrawnLots::deserialize(de::value::MapAccessDeserializer::new(map)).map(LotsTable::Drawn)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl LotsTable {
    /// As the flow wants it; `key` is where it stands.
    pub(super) fn lower(self, key: &str, origin: Origin<'_>) -> Result<Sizes, ScenarioError> {
        let (lots, sizes) = match self {
            LotsTable::Fixed(lots) => (lots, Sizes::Fixed(Lots(lots))),
            LotsTable::Drawn(DrawnLots { mean, law: LotsLaw::Geometric }) => {
                (mean, Sizes::Geometric { mean: Lots(mean) })
            }
        };
        if lots == 0 || lots > numashock_book::flow::SIZE_MAX {
            return Err(origin.error(key, "expected 1 to 10⁹"));
        }
        Ok(sizes)
    }
}

/// `[market.hawkes]`: limit orders and cancellations as in `[market.poisson]`, market orders in clusters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HawkesTable {
    /// Limit orders per side at 1, 2, ... ticks from the opposite best.
    pub limit: Vec<Rate>,
    /// Cancellation of each resting order at 1, 2, ... ticks from the opposite best; the last one holds beyond.
    pub cancel: Vec<Rate>,
    /// Market orders per side that nothing causes.
    pub mu: Rate,
    /// What a market order adds to the rate of its own side.
    #[serde(rename = "self")]
    pub self_excitation: Rate,
    /// What it adds to the rate of the other side.
    #[serde(rename = "cross")]
    pub cross_excitation: Rate,
    /// How fast both decay; more than `self` and `cross` together.
    pub beta: Rate,
    /// Lots of an order.
    pub lots: LotsTable,
    /// Best bid at the start, in ticks; the ask lies one above.
    pub bid_ticks: i64,
    /// Orders at each level of the starting book, from the best outwards.
    pub book: Vec<u32>,
}

/// `[market.queue-reactive]`: queues around a reference price, whose intensities depend on their size.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueueReactiveTable {
    /// What a queue depends on.
    pub model: QueueModelName,
    /// The chance that the reference price moves by a tick when the mid has moved.
    pub theta: Share,
    /// The chance that the book is then redrawn from the queues' invariant law.
    pub theta_reinit: Share,
    /// Price of the first bid queue at the start, in ticks; the reference price lies half a tick above.
    pub bid_ticks: i64,
    /// `"invariant"`, or orders in each queue of both sides.
    pub book: StartBookTable,
    /// The queues of a side from the reference price outwards.
    pub queue: Vec<QueueTable>,
}

/// The queue-reactive models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueModelName {
    /// Each queue by its own size.
    Independent,
    /// The second queue also by whether the first is empty.
    TwoSets,
    /// The same, and the first queue by the size class of the opposite first one.
    Opposite,
}

/// `"invariant"` or `[5, 8, 8]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum StartBookTable {
    /// Drawn.
    Drawn(DrawnBook),
    /// Orders in each queue.
    Given(Vec<u32>),
}

/// From which law a book is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrawnBook {
    /// The invariant law of the queues.
    Invariant,
}

/// `[[market.queue-reactive.queue]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueueTable {
    /// Lots of every order, and the unit in which the queue's size is counted.
    pub lots: u64,
    /// Limit orders by the queue's size: 0 units, 1, 2, ...; the last entry holds beyond.
    pub limit: Vec<Rate>,
    /// Cancellations of the whole queue by its size; the first entry, of an empty queue, is zero.
    pub cancel: Vec<Rate>,
    /// Market orders by the queue's size; the first entry, of an empty queue, is zero.
    pub market: Vec<Rate>,
    /// Of the second queue, unless the model is `independent`: what holds while the first is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_empty: Option<IntensityTable>,
    /// Of the first queue, if the model is `opposite`: what holds by the size of the opposite first queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opposite: Vec<SizeClassTable>,
}

/// Intensities by a queue's size.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IntensityTable {
    /// Limit orders.
    pub limit: Vec<Rate>,
    /// Cancellations.
    pub cancel: Vec<Rate>,
    /// Market orders.
    pub market: Vec<Rate>,
}

/// A size class of the opposite first queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SizeClassTable {
    /// Its largest size, in units of the first queue.
    pub up_to: u64,
    /// Limit orders.
    pub limit: Vec<Rate>,
    /// Cancellations.
    pub cancel: Vec<Rate>,
    /// Market orders.
    pub market: Vec<Rate>,
}

/// `[session]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTable {
    /// Its phases, one after another from the end of warm-up on; the first one holds during warm-up too.
    pub phase: Vec<PhaseTable>,
}

/// `[[session.phase]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseTable {
    /// What it is called in results.
    pub name: String,
    /// How long it lasts; the last one holds to the end and needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<Time>,
    /// All rates of the flow are multiplied by this.
    pub intensity: Share,
}

pub(super) fn rates(list: &[Rate]) -> Vec<numashock_book::flow::Rate> {
    list.iter().copied().map(rate).collect()
}

pub(super) fn rate(rate: Rate) -> numashock_book::flow::Rate {
    numashock_book::flow::Rate { per_gigasecond: rate.0 }
}

pub(super) fn hawkes(table: &HawkesTable, origin: Origin<'_>) -> Result<HawkesConfig, ScenarioError> {
    check_levels("market.hawkes", (&table.limit, &table.cancel, &table.book), origin)?;
    check_bid("market.hawkes.bid_ticks", table.bid_ticks, origin)?;
    let config = HawkesConfig {
        limit: rates(&table.limit),
        cancel: rates(&table.cancel),
        market: Excitation {
            mu: rate(table.mu),
            self_excitation: rate(table.self_excitation),
            cross_excitation: rate(table.cross_excitation),
            beta: rate(table.beta),
        },
        sizes: table.lots.lower("market.hawkes.lots", origin)?,
        initial: InitialBook {
            bid: Ticks(table.bid_ticks),
            spread: 1,
            bid_orders: table.book.clone(),
            ask_orders: table.book.clone(),
        },
    };
    let key = |error: &FlowError| match error {
        FlowError::NoBaseRate => "market.hawkes.mu",
        FlowError::Explosive { .. } | FlowError::NearCritical { .. } => "market.hawkes.beta",
        _ => "market.hawkes",
    };
    Exogenous::hawkes(&config, Seed(0), Nanos::ZERO)
        .map_err(|error| origin.error(key(&error), error.to_string()))?;
    Ok(config)
}

pub(super) fn queue_reactive(
    table: &QueueReactiveTable,
    origin: Origin<'_>,
) -> Result<QueueReactiveConfig, ScenarioError> {
    check_bid("market.queue-reactive.bid_ticks", table.bid_ticks, origin)?;
    let config = QueueReactiveConfig {
        model: match table.model {
            QueueModelName::Independent => QueueModel::Independent,
            QueueModelName::TwoSets => QueueModel::TwoSets,
            QueueModelName::Opposite => QueueModel::Opposite,
        },
        queues: table.queue.iter().map(queue).collect(),
        theta_ppm: table.theta.ppm(),
        theta_reinit_ppm: table.theta_reinit.ppm(),
        bid: Ticks(table.bid_ticks),
        start: match &table.book {
            StartBookTable::Drawn(DrawnBook::Invariant) => StartBook::Invariant,
            StartBookTable::Given(orders) => StartBook::Given(orders.clone()),
        },
    };
    Exogenous::queue_reactive(&config, Seed(0), Nanos::ZERO).map_err(|error| match error {
        FlowError::Queue { queue, problem } if queue > 0 => {
            origin.error(&format!("market.queue-reactive.queue[{}]", queue - 1), problem)
        }
        FlowError::Queue { problem, .. } => origin.error("market.queue-reactive", problem),
        other => origin.error("market.queue-reactive", other.to_string()),
    })?;
    Ok(config)
}

fn queue(table: &QueueTable) -> QueueLaw {
    let class = |class: &SizeClassTable| SizeClass {
        up_to: class.up_to,
        intensities: intensities(&class.limit, &class.cancel, &class.market),
    };
    QueueLaw {
        lots: Lots(table.lots),
        intensities: intensities(&table.limit, &table.cancel, &table.market),
        when_empty: table.when_empty.as_ref().map(|own| intensities(&own.limit, &own.cancel, &own.market)),
        opposite: table.opposite.iter().map(class).collect(),
    }
}

fn intensities(limit: &[Rate], cancel: &[Rate], market: &[Rate]) -> Intensities {
    Intensities { limit: rates(limit), cancel: rates(cancel), market: rates(market) }
}

/// Lowers the session; absent it is one phase. `recorded` says that a flow is a recording, which keeps its times.
pub(super) fn phases(
    table: Option<&SessionTable>,
    warmup: Span,
    recorded: bool,
    origin: Origin<'_>,
) -> Result<Phases, ScenarioError> {
    let Some(SessionTable { phase: tables }) = table else { return Ok(Phases::default()) };
    let mut phases: Vec<Phase> = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let refuse =
            |key: &str, problem: String| Err(origin.error(&format!("session.phase[{index}].{key}"), problem));
        if table.name.is_empty() || phases.iter().any(|phase| phase.name == table.name) {
            return refuse("name", format!("\"{}\": give each phase a name of its own", table.name));
        }
        let last = index + 1 == tables.len();
        let length = match table.length {
            None if last => Span::ZERO,
            None => return refuse("length", "missing: only the last phase holds to the end".to_owned()),
            Some(Time(length)) if length == 0 && !last => {
                return refuse("length", "must be longer than zero".to_owned());
            }
            Some(Time(length)) if length > 2_592_000_000_000_000 => {
                return refuse("length", "is too large: expected at most 720h".to_owned());
            }
            Some(length) => length.span(),
        };
        if recorded && table.intensity != Share(1_000_000) {
            let problem = "a recording keeps its times: give \"100%\" in every phase, which then only names times, or a \
                           synthetic flow";
            return refuse("intensity", problem.to_owned());
        }
        if table.intensity > Share(1_000_000_000) {
            return refuse("intensity", "is too large: expected at most \"100000%\"".to_owned());
        }
        let warm = if index == 0 { warmup } else { Span::ZERO };
        phases.push(Phase {
            name: table.name.clone(),
            length: warm + length,
            intensity_ppm: table.intensity.ppm(),
        });
    }
    Phases::new(phases).map_err(|error| {
        let problem = match error {
            FlowError::Silent => {
                "every phase has intensity 0%, so nothing ever happens: raise one".to_owned()
            }
            other => other.to_string(),
        };
        origin.error("session.phase", problem)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use numashock_engine::Nanos;

    use crate::scenario::Scenario;
    use crate::scenario::config::{Market, RunConfig};

    /// A scenario of `scenarios/flows` with `from` replaced by `to`.
    fn read(name: &str, from: &str, to: &str) -> Result<RunConfig, String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../scenarios/flows/{name}.toml"));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        let scenario = Scenario::parse(&file, &text.replacen(from, to, 1), &[]);
        let choices = scenario.and_then(|scenario| scenario.choices(1_000_000));
        choices.map(|mut choices| choices.remove(0).config).map_err(|error| error.to_string())
    }

    fn refused(name: &str, from: &str, to: &str, parts: &[&str]) {
        let error = read(name, from, to).map(|_| ()).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in {error:?}");
        }
    }

    const NONE: (&str, &str) = ("seed = 11", "seed = 11");

    #[test]
    fn scenarios_of_each_flow_are_lowered_and_written_back() {
        for (name, kind) in
            [("hawkes", "hawkes"), ("queue-reactive", "queue-reactive"), ("phases", "poisson")]
        {
            let config = read(name, NONE.0, NONE.1).unwrap();
            assert_eq!(market(&config).kind(), kind);
            let file =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../scenarios/flows/{name}.toml"));
            let (resolved, _) = Scenario::read(&file, &[]).unwrap().resolved().unwrap();
            let again =
                Scenario::parse(&file, &resolved, &[]).unwrap().choices(1_000_000).unwrap().remove(0).config;
            assert!(market(&again).is_same(market(&config)), "{name}");
            assert_eq!(again.phases, config.phases);
            assert!(config.same_without_balancing(&again));
        }
    }

    fn market(config: &RunConfig) -> &Market {
        &config.symbols[0].market
    }

    #[test]
    fn phases_count_from_the_end_of_warm_up() {
        let phases = read("phases", NONE.0, NONE.1).unwrap().phases;
        let at = |milliseconds: u64| phases.list()[phases.at(Nanos(milliseconds * 1_000_000))].name.clone();
        let found = [0, 999, 1_000, 2_999, 3_000, 5_999, 6_000, 8_000].map(at);
        assert_eq!(found, ["open", "open", "open", "open", "mid", "mid", "close", "close"]);
        let plain = read("hawkes", NONE.0, NONE.1).unwrap().phases;
        assert!(plain.are_even() && plain.list().len() == 1);
    }

    #[test]
    fn what_is_wrong_with_a_flow_is_named_by_its_key() {
        let lots = "lots = { mean = 10, law = \"geometric\" }";
        refused("hawkes", "beta = \"200/s\"", "beta = \"120/s\"", &["market.hawkes.beta", "below beta"]);
        refused("hawkes", "beta = \"200/s\"", "beta = \"120.0001/s\"", &["market.hawkes.beta", "lower self"]);
        refused("hawkes", "mu = \"64/s\"", "mu = \"0/s\"", &["market.hawkes.mu", "above zero"]);
        refused("hawkes", "mu = \"64/s\"\n", "", &["market.hawkes", "mu"]);
        refused("hawkes", "cancel = [\"4/s\"]", "cancel = []", &["market.hawkes.cancel", "at least one"]);
        refused("hawkes", lots, "lots = 0", &["market.hawkes.lots", "1 to 10"]);
        refused("hawkes", lots, "lots = -3", &["market.hawkes.lots", "negative"]);
        refused("hawkes", lots, "lots = { mean = 10 }", &["market.hawkes.lots", "law"]);
        refused("hawkes", lots, "lots = { mean = 10, law = \"even\" }", &["market.hawkes.lots", "geometric"]);
        refused("hawkes", lots, "lots = \"10\"", &["market.hawkes.lots", "number of lots"]);
        let both = "[market.poisson]\nlimit = [\"1/s\"]\ncancel = [\"1/s\"]\nmarket = \"1/s\"\nlots = 1\n\
                    bid_ticks = 5000\nbook = [1]\n\n[market.hawkes]";
        refused("hawkes", "[market.hawkes]", both, &["market", "exactly one of"]);
    }

    #[test]
    fn what_is_wrong_with_a_queue_is_named_by_its_place() {
        let name = "queue-reactive";
        refused(name, "theta = \"60%\"", "theta = \"160%\"", &["market.queue-reactive", "at most 100%"]);
        refused(name, "\"invariant\"", "[5, 5]", &["market.queue-reactive", "one number of orders for each"]);
        refused(name, "\"invariant\"", "\"deep\"", &["market.queue-reactive.book"]);
        refused(name, "\"two-sets\"", "\"independent\"", &["market.queue-reactive.queue[1]", "when_empty"]);
        refused(name, "\"two-sets\"", "\"opposite\"", &["market.queue-reactive.queue[0]", "size classes"]);
        refused(
            name,
            "limit = [\"120/s\"]",
            "limit = [\"140/s\"]",
            &["market.queue-reactive.queue[2]", "without end"],
        );
        refused(
            name,
            "[\"0/s\", \"20/s\"",
            "[\"9/s\", \"20/s\"",
            &["market.queue-reactive.queue[0]", "must be zero"],
        );
    }

    #[test]
    fn what_is_wrong_with_a_phase_is_named_by_its_place() {
        refused("phases", "length = \"2s\"\n", "", &["session.phase[0].length", "last phase"]);
        refused(
            "phases",
            "length = \"3s\"",
            "length = \"0s\"",
            &["session.phase[1].length", "longer than zero"],
        );
        refused("phases", "name = \"close\"", "name = \"open\"", &["session.phase[2].name", "of its own"]);
        refused(
            "phases",
            "intensity = \"60%\"",
            "intensity = \"60\"",
            &["session.phase[1].intensity", "no unit"],
        );
        let text = |intensity: &str| format!("intensity = \"{intensity}\"");
        refused("phases", &text("220%"), &text("900000%"), &["session.phase[0].intensity", "too large"]);
    }

    #[test]
    fn a_recording_keeps_its_times() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/recorded-flow.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let with = |intensity: &str| {
            let text = format!("{text}\n[[session.phase]]\nname = \"day\"\nintensity = \"{intensity}\"\n");
            Scenario::parse(&file, &text, &[]).unwrap().choices(1_000_000).map(|_| ())
        };
        assert_eq!(with("100%").map_err(|error| error.to_string()), Ok(()));
        let error = with("150%").unwrap_err().to_string();
        assert!(error.contains("session.phase[0].intensity") && error.contains("recording"), "{error}");
    }
}
