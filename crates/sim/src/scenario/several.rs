//! Several hosts, symbols and strategies in one scenario: named tables, each laid over what all of them share.

use std::collections::BTreeMap;

use numashock_book::flow::Phases;
use numashock_engine::SOURCES;
use numashock_execution::{StrategyId, SymbolId};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::config::{HostId, Market, Parents, Symbol, TradingHost, TradingStrategy};
use super::document::{ScenarioError, overlay};
use super::file::{ParentsTable, ScenarioFile};
use super::lower::{Origin, check_bounds, parents, trading_host};
use super::{market, tactic};

/// What a host may differ in.
const OF_A_HOST: [&str; 7] = ["machine", "recording", "region", "thread", "work", "gateway", "controller"];

/// `[strategy.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyTable {
    /// The host it runs on; left out in a scenario of one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The symbols it trades; each order is in one of them, drawn from the seed. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Vec<String>>,
    /// Its orders: what differs from `[parents]`, or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parents: Option<Value>,
    /// What differs from `[tactic]`.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub tactic: Table,
}

/// A scenario and the table it was read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) file: &'a ScenarioFile,
    pub(super) table: &'a Table,
    pub(super) origin: Origin<'a>,
}

impl Read<'_> {
    /// The scenario with tables laid over it; an error is at `prefix` if its key was written there.
    fn with(&self, over: &Table, prefix: &str) -> Result<ScenarioFile, ScenarioError> {
        let mut table = self.table.clone();
        for several in ["host", "symbol", "strategy"] {
            table.remove(several);
        }
        overlay(&mut table, over);
        self.origin.document.deserialize(table, Some(prefix))
    }
}

/// The hosts in order of name; without `[host.NAME]`, the scenario is the one host.
pub(super) fn hosts(read: Read<'_>, assumed_ppm: u64) -> Result<Vec<TradingHost>, ScenarioError> {
    let Read { file, origin, .. } = read;
    if file.host.is_empty() {
        return Ok(vec![trading_host(file, origin, assumed_ppm)?]);
    }
    check_count("host", file.host.len(), origin)?;
    let mut hosts = Vec::with_capacity(file.host.len());
    for (name, over) in &file.host {
        let prefix = format!("host.{name}");
        if let Some(key) = over.keys().find(|key| !OF_A_HOST.contains(&key.as_str())) {
            let problem = format!("is not a host's own: a host may differ in {}", OF_A_HOST.join(", "));
            return Err(origin.error(&format!("{prefix}.{key}"), problem));
        }
        let own = read.with(over, &prefix)?;
        let origin = Origin { document: origin.document, overlay: Some(&prefix) };
        check_bounds(&own, origin)?;
        hosts.push(TradingHost { name: name.clone(), ..trading_host(&own, origin, assumed_ppm)? });
    }
    Ok(hosts)
}

/// The symbols in order of name; without `[symbol.NAME]`, the scenario's market is the one symbol.
pub(super) fn symbols(read: Read<'_>) -> Result<Vec<Symbol>, ScenarioError> {
    let Read { file, origin, .. } = read;
    if file.symbol.is_empty() {
        return Ok(vec![symbol(file, "", String::new(), origin)?]);
    }
    check_count("symbol", file.symbol.len(), origin)?;
    let mut symbols = Vec::with_capacity(file.symbol.len());
    for (name, over) in &file.symbol {
        let prefix = format!("symbol.{name}");
        let mut over = over.clone();
        let liquidity = match over.remove("liquidity") {
            None => String::new(),
            Some(Value::String(bucket)) if !bucket.is_empty() => bucket,
            Some(_) => {
                let problem = "expected the name of a liquidity bucket, such as \"large-tick\"";
                return Err(origin.error(&format!("{prefix}.liquidity"), problem));
            }
        };
        // A symbol with a flow of its own does not also have the shared one.
        let mut shared = read.table.clone();
        let flows = ["poisson", "hawkes", "queue-reactive", "recorded"];
        if let Some(own) = flows.iter().find(|flow| over.contains_key(**flow)) {
            if let Some(Value::Table(market)) = shared.get_mut("market") {
                flows.iter().filter(|flow| *flow != own).for_each(|flow| drop(market.remove(*flow)));
            }
        }
        let over = Table::from_iter([("market".to_owned(), Value::Table(over))]);
        let read = Read { table: &shared, ..read };
        let lowered = read.with(&over, &prefix).and_then(|own| {
            check_bounds(&own, origin)?;
            symbol(&own, name, liquidity, origin)
        });
        symbols.push(lowered.map_err(|error| written_in(&prefix, "market", error, origin))?);
    }
    Ok(symbols)
}

fn symbol(
    file: &ScenarioFile,
    name: &str,
    liquidity: String,
    origin: Origin<'_>,
) -> Result<Symbol, ScenarioError> {
    let span = file.run.warmup.span() + file.run.duration.span();
    Ok(Symbol {
        name: name.to_owned(),
        liquidity,
        market: market::lower(&file.market, span, file.run.seeds, origin)?,
        feed_latency: file.market.feed_latency.span(),
        feed: file.market.feed,
    })
}

/// A key of a shared table is the named one's if it was written there.
fn written_in(prefix: &str, shared: &str, error: ScenarioError, origin: Origin<'_>) -> ScenarioError {
    let own = error.key.strip_prefix(shared).and_then(|rest| rest.strip_prefix('.'));
    match own {
        Some(key) => origin.document.error_in(Some(prefix), key, error.problem),
        None => error,
    }
}

/// The strategies in order of name; without `[strategy.NAME]`, parents and tactic are the one strategy's.
pub(super) fn strategies(
    read: Read<'_>,
    hosts: &[TradingHost],
    symbols: &[Symbol],
    phases: &Phases,
) -> Result<Vec<TradingStrategy>, ScenarioError> {
    let Read { file, origin, .. } = read;
    let all: Vec<SymbolId> = (0..).map(SymbolId).take(symbols.len()).collect();
    if file.strategy.is_empty() {
        if hosts.len() > 1 {
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            let problem = format!(
                "there are several hosts and nothing says which orders are worked where: add [strategy.NAME] tables \
                 with host = one of {}",
                names.join(" ")
            );
            return Err(origin.error("host", problem));
        }
        return Ok(vec![strategy(file, "", HostId(0), all, phases, origin)?]);
    }
    check_count("strategy", file.strategy.len(), origin)?;
    let mut strategies = Vec::with_capacity(file.strategy.len());
    for (number, (name, table)) in (0..).zip(&file.strategy) {
        let prefix = format!("strategy.{name}");
        let host = host_of(table, hosts, &prefix, origin)?;
        let traded = match &table.symbols {
            None => all.clone(),
            Some(names) => traded(names, symbols, &prefix, origin)?,
        };
        let mut over = Table::new();
        over.extend(table.parents.clone().map(|parents| ("parents".to_owned(), parents)));
        over.insert("tactic".to_owned(), Value::Table(table.tactic.clone()));
        let own = read.with(&over, &prefix)?;
        let shares_file = table.parents.is_none() && matches!(own.parents, ParentsTable::File(_));
        if shares_file && file.strategy.len() > 1 {
            let problem = "missing: with several strategies each needs a file of its own orders";
            return Err(origin.error(&format!("{prefix}.parents"), problem));
        }
        let origin = Origin { document: origin.document, overlay: Some(&prefix) };
        check_bounds(&own, origin)?;
        let mut lowered = strategy(&own, name, host, traded, phases, origin)?;
        if let Parents::Listed(orders) = &mut lowered.parents {
            orders.iter_mut().for_each(|order| order.strategy = StrategyId(number));
        }
        strategies.push(lowered);
    }
    if let Some(idle) = (0..)
        .map(HostId)
        .zip(hosts)
        .find(|(id, _)| hosts.len() > 1 && strategies.iter().all(|strategy| strategy.host != *id))
    {
        let name = &idle.1.name;
        let problem = format!("no strategy runs on it: give one host = \"{name}\", or remove the host");
        return Err(origin.error(&format!("host.{name}"), problem));
    }
    Ok(strategies)
}

fn strategy(
    file: &ScenarioFile,
    name: &str,
    host: HostId,
    symbols: Vec<SymbolId>,
    phases: &Phases,
    origin: Origin<'_>,
) -> Result<TradingStrategy, ScenarioError> {
    let mut parents = parents(file, origin)?;
    if let Parents::Listed(orders) = &mut parents {
        if symbols.len() > 1 {
            let problem =
                "orders from a file are in one symbol: give each symbol a strategy with a file of its own";
            return Err(origin.error("parents", problem));
        }
        orders.iter_mut().for_each(|order| order.symbol = symbols[0]);
    }
    Ok(TradingStrategy {
        name: name.to_owned(),
        host,
        symbols,
        method: tactic::lower(&file.tactic, parents.longest(), phases, origin)?,
        parents,
        take_fee: file.tactic.take_fee,
        make_fee: file.tactic.make_fee,
    })
}

fn host_of(
    table: &StrategyTable,
    hosts: &[TradingHost],
    prefix: &str,
    origin: Origin<'_>,
) -> Result<HostId, ScenarioError> {
    let key = format!("{prefix}.host");
    let names = || hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(" ");
    match (&table.host, hosts) {
        (None, [_]) => Ok(HostId(0)),
        (None, _) => {
            Err(origin.error(&key, format!("missing: say where the strategy runs, one of {}", names())))
        }
        (Some(_), [only]) if only.name.is_empty() => {
            Err(origin.error(&key, "the scenario is the one host; remove the key, or add [host.NAME] tables"))
        }
        (Some(name), _) => {
            let found = (0..).map(HostId).zip(hosts).find(|(_, host)| host.name == *name);
            found
                .map(|(id, _)| id)
                .ok_or_else(|| origin.error(&key, format!("no host \"{name}\": one of {}", names())))
        }
    }
}

fn traded(
    names: &[String],
    symbols: &[Symbol],
    prefix: &str,
    origin: Origin<'_>,
) -> Result<Vec<SymbolId>, ScenarioError> {
    let key = format!("{prefix}.symbols");
    let mut traded = Vec::with_capacity(names.len());
    for name in names {
        let found = (0..).map(SymbolId).zip(symbols).find(|(_, symbol)| symbol.name == *name);
        let Some((id, _)) = found else {
            let all: Vec<&str> = symbols.iter().map(|symbol| symbol.name.as_str()).collect();
            let problem = format!(
                "no symbol \"{name}\": one of {}; each is a [symbol.NAME] table",
                if file_has_none(symbols) { "none".to_owned() } else { all.join(" ") }
            );
            return Err(origin.error(&key, problem));
        };
        if traded.contains(&id) {
            return Err(origin.error(&key, format!("\"{name}\" stands there twice; remove one")));
        }
        traded.push(id);
    }
    if traded.is_empty() {
        return Err(origin.error(&key, "expected at least one symbol; leave the key out for all"));
    }
    Ok(traded)
}

fn file_has_none(symbols: &[Symbol]) -> bool {
    symbols.iter().all(|symbol| symbol.name.is_empty())
}

/// The event hash tells this many apart.
fn check_count(key: &str, count: usize, origin: Origin<'_>) -> Result<(), ScenarioError> {
    if count > usize::from(SOURCES) {
        return Err(origin.error(key, format!("{count} of them, expected at most {SOURCES}")));
    }
    Ok(())
}

/// Whether a recorded flow is among the symbols.
pub(super) fn any_recorded(symbols: &[Symbol]) -> bool {
    symbols.iter().any(|symbol| matches!(symbol.market, Market::Recorded { .. }))
}

/// Tables by name, as they were written.
pub type NamedTables = BTreeMap<String, Table>;
