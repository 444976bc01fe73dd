//! The order flow, from the scenario's tables.

use std::sync::Arc;

use numashock_book::flow::{Exogenous, InitialBook, Phases, PoissonConfig};
use numashock_book::{Ticks, recorded};
use numashock_engine::{Nanos, Seed, Span};

use super::config::Market;
use super::document::ScenarioError;
use super::file::{MarketTable, OpeningName, PoissonTable, RecordedFlowTable};
use super::flows::{self, rate, rates};
use super::lower::Origin;
use super::units::Rate;

impl Market {
    /// The arrivals of replication `index` before `until`, from the replication's seed for this market.
    ///
    /// # Panics
    /// If the market is none that a scenario was lowered to.
    #[must_use]
    pub fn exogenous(&self, seed: Seed, index: u32, until: Nanos, phases: &Phases) -> Exogenous {
        const CHECKED: &str = "the flow was checked when the scenario was lowered";
        let plain = match self {
            Market::Poisson(config) => Exogenous::poisson(config, seed, until).expect(CHECKED),
            Market::Hawkes(config) => Exogenous::hawkes(config, seed, until).expect(CHECKED),
            Market::QueueReactive(config) => Exogenous::queue_reactive(config, seed, until).expect(CHECKED),
            Market::Recorded { recording, from, step } => {
                Exogenous::recorded(Arc::clone(recording), *from + *step * u64::from(index), Span::ZERO)
            }
        };
        plain.in_phases(phases)
    }

    /// What the flow is called in tables and in scenarios.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Market::Poisson(_) => "poisson",
            Market::Hawkes(_) => "hawkes",
            Market::QueueReactive(_) => "queue-reactive",
            Market::Recorded { .. } => "recorded",
        }
    }

    /// Whether two markets surely have the same arrivals; recordings are not compared.
    #[must_use]
    pub fn is_same(&self, other: &Market) -> bool {
        match (self, other) {
            (Market::Poisson(own), Market::Poisson(theirs)) => own == theirs,
            (Market::Hawkes(own), Market::Hawkes(theirs)) => own == theirs,
            (Market::QueueReactive(own), Market::QueueReactive(theirs)) => own == theirs,
            _ => false,
        }
    }
}

/// Lowers whichever flow the scenario describes; a recording must last for `run` in each of `seeds` replications.
pub(super) fn lower(
    table: &MarketTable,
    run: Span,
    seeds: u32,
    origin: Origin<'_>,
) -> Result<Market, ScenarioError> {
    match (&table.poisson, &table.hawkes, &table.queue_reactive, &table.recorded) {
        (Some(poisson), None, None, None) => self::poisson(poisson, origin).map(Market::Poisson),
        (None, Some(hawkes), None, None) => flows::hawkes(hawkes, origin).map(Market::Hawkes),
        (None, None, Some(queues), None) => flows::queue_reactive(queues, origin).map(Market::QueueReactive),
        (None, None, None, Some(recording)) => self::recorded(recording, run, seeds, origin),
        _ => {
            let problem = "expected exactly one of [market.poisson], [market.hawkes], [market.queue-reactive] and \
                           [market.recorded]";
            Err(origin.error("market", problem))
        }
    }
}

/// What limit orders, cancellations and the starting book need, whatever market orders do.
pub(super) fn check_levels(
    table: &str,
    (limit, cancel, book): (&[Rate], &[Rate], &[u32]),
    origin: Origin<'_>,
) -> Result<(), ScenarioError> {
    for (key, empty) in [
        ("limit", limit.is_empty() || limit.iter().all(|rate| rate.0 == 0)),
        ("cancel", cancel.is_empty()),
        ("book", book.first().is_none_or(|orders| *orders == 0)),
    ] {
        if empty {
            let problem = "expected at least one entry that is not zero";
            return Err(origin.error(&format!("{table}.{key}"), problem));
        }
    }
    let fastest = limit.iter().chain(cancel).map(|rate| rate.0).max();
    if fastest.is_some_and(|rate| rate > RATE_MAX) {
        return Err(origin.error(table, TOO_FAST));
    }
    if book.iter().any(|orders| *orders > 100_000) {
        return Err(origin.error(&format!("{table}.book"), "expected at most 100000 orders at a level"));
    }
    Ok(())
}

const RATE_MAX: u64 = 1_000_000_000_000_000;
const TOO_FAST: &str = "a rate is too large: expected at most \"1000000/s\"";

pub(super) fn check_bid(key: &str, bid_ticks: i64, origin: Origin<'_>) -> Result<(), ScenarioError> {
    if !(1_000..=1_000_000_000).contains(&bid_ticks) {
        return Err(origin.error(key, "expected 1000 to 10⁹, far enough from zero to move"));
    }
    Ok(())
}

fn poisson(table: &PoissonTable, origin: Origin<'_>) -> Result<PoissonConfig, ScenarioError> {
    check_levels("market.poisson", (&table.limit, &table.cancel, &table.book), origin)?;
    let sizes = table.lots.lower("market.poisson.lots", origin)?;
    check_bid("market.poisson.bid_ticks", table.bid_ticks, origin)?;
    if table.market.0 > RATE_MAX {
        return Err(origin.error("market.poisson", TOO_FAST));
    }
    let config = PoissonConfig {
        limit: rates(&table.limit),
        cancel: rates(&table.cancel),
        market: rate(table.market),
        sizes,
        initial: InitialBook {
            bid: Ticks(table.bid_ticks),
            spread: 1,
            bid_orders: table.book.clone(),
            ask_orders: table.book.clone(),
        },
    };
    Exogenous::poisson(&config, Seed(0), Nanos::ZERO)
        .map_err(|error| origin.error("market.poisson", error.to_string()))?;
    Ok(config)
}

fn recorded(
    table: &RecordedFlowTable,
    run: Span,
    seeds: u32,
    origin: Origin<'_>,
) -> Result<Market, ScenarioError> {
    let key = "market.recorded.file";
    let path = origin.path(&table.file);
    let file = std::fs::File::open(&path)
        .map_err(|error| origin.error(key, format!("{} cannot be read: {error}", path.display())))?;
    let opening = match table.opening {
        None | Some(OpeningName::Recovered) => recorded::Opening::Recovered,
        Some(OpeningName::Empty) => recorded::Opening::Empty,
    };
    let options = recorded::Options { tick: table.tick, opening, instrument: table.instrument };
    let recording = recorded::parse(std::io::BufReader::new(file), &path.display().to_string(), options)
        .map_err(|error| origin.error(key, error.to_string()))?;
    let needed = table.from.span() + table.step.span() * u64::from(seeds - 1) + run;
    if recording.span() < needed {
        let problem = format!(
            "the recording covers {} but {seeds} replications need {needed}; lower run.seeds, from or step",
            recording.span()
        );
        return Err(origin.error(key, problem));
    }
    Ok(Market::Recorded { recording: Arc::new(recording), from: table.from.span(), step: table.step.span() })
}
