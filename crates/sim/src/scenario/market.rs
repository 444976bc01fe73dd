//! The order flow, from the scenario's tables.

use std::sync::Arc;

use numashock_book::flow::{Exogenous, InitialBook, PoissonConfig, Rate, Sizes};
use numashock_book::{Lots, Ticks, recorded};
use numashock_engine::{Nanos, Seed, Span};

use super::config::Market;
use super::document::ScenarioError;
use super::file::{MarketTable, PoissonTable, RecordedFlowTable};
use super::lower::Origin;

/// Lowers whichever flow the scenario describes; a recording must last for `run` in each of `seeds` replications.
pub(super) fn lower(
    table: &MarketTable,
    run: Span,
    seeds: u32,
    origin: Origin<'_>,
) -> Result<Market, ScenarioError> {
    match (&table.poisson, &table.recorded) {
        (Some(poisson), None) => self::poisson(poisson, origin).map(Market::Poisson),
        (None, Some(recording)) => self::recorded(recording, run, seeds, origin),
        _ => Err(origin.error("market", "expected exactly one of [market.poisson] and [market.recorded]")),
    }
}

fn poisson(table: &PoissonTable, origin: Origin<'_>) -> Result<PoissonConfig, ScenarioError> {
    for (key, empty) in [
        ("market.poisson.limit", table.limit.is_empty() || table.limit.iter().all(|rate| rate.0 == 0)),
        ("market.poisson.cancel", table.cancel.is_empty()),
        ("market.poisson.book", table.book.first().is_none_or(|orders| *orders == 0)),
    ] {
        if empty {
            return Err(origin.error(key, "expected at least one entry that is not zero"));
        }
    }
    if table.lots == 0 || table.lots > 1_000_000_000 {
        return Err(origin.error("market.poisson.lots", "expected 1 to 10⁹"));
    }
    if table.bid_ticks < 1_000 || table.bid_ticks > 1_000_000_000 {
        return Err(
            origin.error("market.poisson.bid_ticks", "expected 1000 to 10⁹, far enough from zero to move")
        );
    }
    let fastest = table.limit.iter().chain(&table.cancel).chain([&table.market]).map(|rate| rate.0).max();
    if fastest.is_some_and(|rate| rate > 1_000_000_000_000_000) {
        return Err(origin.error("market.poisson", "a rate is too large: expected at most \"1000000/s\""));
    }
    if table.book.iter().any(|orders| *orders > 100_000) {
        return Err(origin.error("market.poisson.book", "expected at most 100000 orders at a level"));
    }
    let config = PoissonConfig {
        limit: table.limit.iter().map(|rate| Rate { per_gigasecond: rate.0 }).collect(),
        cancel: table.cancel.iter().map(|rate| Rate { per_gigasecond: rate.0 }).collect(),
        market: Rate { per_gigasecond: table.market.0 },
        sizes: Sizes::Fixed(Lots(table.lots)),
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
    let recording = recorded::parse(std::io::BufReader::new(file), &path.display().to_string(), table.tick)
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
