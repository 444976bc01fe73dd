//! Several hosts, symbols and strategies in one run.

use std::sync::atomic::AtomicU64;

use numashock_accounting::Mechanisms;
use numashock_experiment::results::SweepResults;
use numashock_experiment::sweep::{SweepOptions, run_once, sweep};
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::scenario::{Choice, Scenario};
use numashock_sim::{ParentResult, RunResult};

use crate::scenario_file;

fn text(name: &str) -> String {
    std::fs::read_to_string(scenario_file(name)).unwrap()
}

fn choices(text: &str) -> Result<Vec<Choice>, String> {
    let scenario = Scenario::parse(&scenario_file("desk.toml"), text, &[]);
    scenario.and_then(|scenario| scenario.choices(1_000_000)).map_err(|error| error.to_string())
}

fn config(text: &str) -> RunConfig {
    choices(text).unwrap_or_else(|error| panic!("{error}")).remove(0).config
}

fn real(config: &RunConfig) -> RunResult {
    run_once(config, 0, Mechanisms::REAL, true, 0)
}

fn swept(choices: &[Choice], jobs: usize) -> SweepResults {
    let done = AtomicU64::new(0);
    sweep(choices, SweepOptions { scenario: "desk", jobs, done: &done, attribution: true, children: true })
}

#[test]
fn every_host_symbol_and_strategy_has_its_part() {
    let config = config(&text("desk.toml"));
    let run = real(&config);
    assert_eq!((run.hosts.len(), run.symbols.len(), run.parents.len()), (2, 3, 14));
    let traded = |of: fn(&ParentResult) -> u16, number: u16| {
        run.parents.iter().filter(|parent| of(parent) == number && parent.filled.0 > 0).count()
    };
    for host in 0..2 {
        assert!(traded(|parent| parent.host.0, host) > 0, "host {host}");
    }
    for symbol in 0..3 {
        assert!(traded(|parent| parent.order.symbol.0, symbol) > 0, "symbol {symbol}");
        assert!(run.symbols[usize::from(symbol)].flow.events > 100);
    }
    for parent in &run.parents {
        let strategy = config.strategy_of(&parent.order);
        assert_eq!(parent.host, strategy.host);
        assert!(strategy.symbols.contains(&parent.order.symbol));
    }
    let [default, tuned] = &run.hosts[..] else { panic!("two hosts") };
    assert!(default.counters.numa_pages_migrated > 0);
    assert_eq!(tuned.counters.numa_pages_migrated, 0, "all its memory is bound");
    let stalled = |host: u16| -> u64 {
        run.parents
            .iter()
            .filter(|parent| parent.host.0 == host)
            .map(|parent| parent.stalls.hint_fault.0)
            .sum()
    };
    assert!(stalled(0) > 0);
    assert_eq!(stalled(1), 0, "bound memory does not fault");
}

#[test]
fn one_named_host_symbol_and_strategy_are_the_scenario_itself() {
    let plain = text("migrations.toml");
    let named = plain.clone() + "\n[host.a]\n[symbol.b]\n[strategy.c]\n";
    assert_eq!(real(&config(&plain)).hash, real(&config(&named)).hash);
}

/// A second symbol or host on which nothing of the first trades.
#[test]
fn what_stands_beside_changes_nothing() {
    let one = "\n[host.a]\n[symbol.b]\n[strategy.c]\nhost = \"a\"\nsymbols = [\"b\"]\n".to_owned();
    let more = one.clone()
        + "[host.other]\n[symbol.other]\n[strategy.other]\nhost = \"other\"\nsymbols = [\"other\"]\n\
           tactic = { slices = 3 }\n";
    let [alone, beside] = [one, more].map(|more| real(&config(&(text("migrations.toml") + &more))));
    let own: Vec<&ParentResult> =
        beside.parents.iter().filter(|parent| parent.order.strategy.0 == 0).collect();
    assert_eq!(own.len(), 12);
    assert_eq!(beside.parents.len(), 24);
    assert!(alone.parents.iter().eq(own), "the parents fare alike");
    assert_eq!(alone.hosts[0].seconds, beside.hosts[0].seconds);
    assert_eq!(alone.symbols[0].paths, beside.symbols[0].paths);
    assert_ne!(beside.symbols[0].paths, beside.symbols[1].paths, "another symbol, other draws");
    assert_ne!(beside.hosts[0].counters, beside.hosts[1].counters, "another host, other draws");
}

#[test]
fn the_number_of_threads_does_not_reach_a_desk() {
    let choices = choices(&text("desk.toml").replace("seeds = 3", "seeds = 2")).unwrap();
    let [one, two] = [1, 2].map(|jobs| swept(&choices, jobs));
    assert_eq!(one, two);
    assert!(one.parents.iter().any(|row| row.c_numa != 0), "balancing costs something");
}

#[test]
fn a_resolved_desk_is_the_same_desk() {
    let scenario = Scenario::read(&scenario_file("desk.toml"), &[]).unwrap();
    let (resolved, inputs) = scenario.resolved().unwrap();
    assert!(inputs.is_empty());
    assert_eq!(real(&config(&resolved)).hash, real(&config(&text("desk.toml"))).hash);
}

#[test]
fn wrong_names_are_refused_with_key_and_way_out() {
    let desk = text("desk.toml");
    for (from, to, expected) in [
        ("host = \"default\"", "host = \"defualt\"", &["strategy.patient.host", "default tuned"][..]),
        ("host = \"default\"\n", "", &["strategy.patient.host", "missing", "default tuned"]),
        ("[\"acorn\", \"birch\"]", "[\"acron\"]", &["strategy.patient.symbols", "acorn birch cedar"]),
        ("[\"acorn\", \"birch\"]", "[\"birch\", \"birch\"]", &["strategy.patient.symbols", "twice"]),
        ("[\"acorn\", \"birch\"]", "[]", &["strategy.patient.symbols", "at least one"]),
        ("host = \"tuned\"", "host = \"default\"", &["host.tuned", "no strategy runs on it"]),
        ("[host.default]", "[host.default.run]\nseed = 2", &["host.default.run", "not a host's own"]),
        ("[host.default]", "[host.tuned]", &["desk.toml:", "not valid TOML"]),
        ("liquidity = \"thin\"", "liquidity = 3", &["symbol.birch.liquidity", "large-tick"]),
        ("book = [4,", "book = [0,", &["symbol.birch.poisson.book", "not zero"]),
        ("slices = 4", "slices = 0", &["strategy.urgent.tactic.slices", "1 to 100000"]),
        ("count = 6,", "count = 0,", &["strategy.urgent.parents.count", "1 to 100000"]),
        ("state = { node = 1,", "state = { node = 7,", &["host.tuned.region.state"]),
    ] {
        assert!(desk.contains(from), "{from}");
        let error = choices(&desk.replacen(from, to, 1)).map(|_| ()).expect_err(to);
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(error.contains("desk.toml:"), "{error}");
    }
    let gap = "[disturbance.gap]\nat = \"1s\"\nlength = \"1s\"\ntelemetry_gap = {}\n";
    let error = choices(&(desk.clone() + gap)).map(|_| ()).unwrap_err();
    assert!(error.contains("disturbance.gap.host") && error.contains("default tuned"), "{error}");
    let named = config(&(desk + gap + "host = \"tuned\"\n"));
    let run = real(&named);
    let blind =
        |host: usize| run.hosts[host].seconds.iter().filter(|one| one.metrics.rhf_ppm.is_none()).count();
    assert_eq!((blind(0), blind(1)), (0, 2), "the gap is the tuned host's alone");
}
