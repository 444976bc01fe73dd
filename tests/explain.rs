//! The chain of each parent: every nanosecond and every cost accounted for.

use std::collections::{BTreeMap, BTreeSet};

use numashock_accounting::Mechanisms;
use numashock_engine::Keep;
use numashock_experiment::explain::{Cause, Chain, Explained, Owner, explain};
use numashock_experiment::sweep::run_once;
use numashock_sim::Simulation;
use numashock_sim::scenario::{Choice, Scenario};
use serde_json::Value;

use crate::cli::{assert_explained, movable, stderr};
use crate::program::{self, Scratch};
use crate::scenario_file;

fn choice(name: &str, settings: &[&str]) -> Choice {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let scenario = Scenario::read(&scenario_file(name), &settings).unwrap();
    scenario.choices(1_000_000).unwrap().swap_remove(0)
}

fn all_parents(choice: &Choice) -> Explained {
    let parents = run_once(&choice.config, 0, Mechanisms::REAL, true, 0).parents.len();
    let numbers: Vec<u32> = (0..u32::try_from(parents).unwrap()).collect();
    explain("test", choice, 0, &numbers, &mut ())
}

/// What holds for each chain, said here once more and independently of the code that sums.
fn check(chain: &Chain, explained: &Explained) {
    let number = chain.order.number as usize;
    let (row, parent) = (&explained.rows[number], &explained.run.parents[number]);
    let sum = |owner| -> u64 {
        chain.stalls.iter().filter(|stall| stall.owner == owner).map(|stall| stall.ns).sum()
    };
    assert_eq!(sum(Owner::HintFault), row.stall_hint_fault_ns);
    assert_eq!(sum(Owner::MigrationCopy), row.stall_migration_copy_ns);
    assert_eq!(sum(Owner::DispatchJitter), row.stall_dispatch_jitter_ns);
    assert_eq!(chain.dispatch.queue_wait_ns, row.queue_wait_ns);
    let parts = &chain.costs.parts_sixths;
    let four = parts.hint_fault + parts.migration_copy + parts.dispatch_jitter + parts.queue_decay;
    assert_eq!(four, 6 * row.c_numa);
    assert_eq!(chain.dispatch.own_releases.len() as u32, row.releases);
    let fills: u64 = chain.children.iter().flat_map(|child| &child.fills).map(|fill| fill.lots).sum();
    assert_eq!(fills, parent.filled.0);
    for stall in &chain.stalls {
        assert!(stall.ns > 0);
        if let Some(page) = stall.page {
            let pass = &chain.passes[stall.pass.expect("a page that faults was marked by a pass")];
            assert!(pass.begun_ns <= stall.at_ns, "page {page}");
        }
        // What is the order's began in its life, or the unit did that met it.
        let life = chain.order.arrival_ns..=chain.order.deadline_ns;
        assert!(life.contains(&stall.unit_ns.unwrap_or(stall.at_ns)), "{stall:?}, {life:?}");
        assert!(stall.unit_ns.is_none_or(|unit| unit <= stall.at_ns), "{stall:?}");
    }
    // No two parts of a unit's touches are at the same time.
    let mut met: Vec<_> = chain.stalls.iter().filter(|stall| stall.page.is_some()).collect();
    met.sort_by_key(|stall| stall.at_ns);
    for pair in met.windows(2) {
        assert!(pair[0].at_ns + pair[0].ns <= pair[1].at_ns, "{pair:?}");
    }
    for child in &chain.children {
        for request in &child.requests {
            assert!(
                request.decided_ns <= request.dispatched_ns && request.dispatched_ns <= request.arrived_ns
            );
            assert!(request.on_time_ns <= request.arrived_ns);
        }
    }
}

#[test]
fn every_parents_stalls_and_costs_add_up() {
    for (name, settings) in [("migrations.toml", &[][..]), ("strategies.toml", &[][..])] {
        let explained = all_parents(&choice(name, settings));
        let mut causes = BTreeSet::new();
        for chain in &explained.chains {
            check(chain, &explained);
            causes.extend(chain.stalls.iter().map(|stall| stall.cause));
        }
        assert!(causes.contains(&Cause::HintingFaultMoved) && causes.contains(&Cause::Copy), "{causes:?}");
    }
}

#[test]
fn notes_cost_nothing_and_change_nothing() {
    let choice = choice("migrations.toml", &[]);
    let replication = choice.config.replication(0);
    let run = |keep| {
        let input = replication.input(Mechanisms::REAL, true, None, 100);
        let mut simulation = Simulation::new(&choice.config, input);
        simulation.keep(keep);
        let mut kept = Vec::new();
        while simulation.step().is_some() {}
        simulation.take_kept(&mut kept);
        (kept, simulation.finish())
    };
    let (nothing, plain) = run(Keep::Nothing);
    let (events, kept) = run(Keep::Events);
    let (all, noted) = run(Keep::EventsAndNotes);
    assert!(nothing.is_empty());
    for result in [&kept, &noted] {
        assert_eq!((result.hash, &result.checkpoints), (plain.hash, &plain.checkpoints));
        assert_eq!(result.parents, plain.parents);
        assert_eq!(result.children, plain.children);
    }
    assert!(all.len() > events.len());
    assert!(all.into_iter().filter(|record| !record.is_note()).eq(events), "notes stand between the events");
}

/// The output of a command that succeeds.
fn output_of<const N: usize>(scratch: &Scratch, arguments: [&str; N]) -> String {
    let output = program::run(scratch.path(), arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A results folder `out` of a scenario in which the controller goes through its regimes.
fn results() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("s.toml", movable("controller.toml"));
    output_of(&scratch, ["run", "s.toml", "--out", "out"]);
    scratch
}

#[test]
fn the_worst_orders_of_a_folder_are_explained() {
    let scratch = results();
    let text = output_of(&scratch, ["explain", "out", "--worst", "3"]);
    for part in [
        "\n1  Scan passes",
        "\n2  Hinting faults",
        "\n3  Migration copies",
        "\n4  Dispatch",
        "\n5  Children",
        "as parents.parquet has them",
        "C_queue_decay",
        "none belongs to a single fault",
    ] {
        assert_eq!(text.matches(part).count(), 3, "{part} in {text}");
    }
    let json = output_of(&scratch, ["explain", "out", "--worst", "3", "--json"]);
    let chains: Vec<Value> = serde_json::from_str(&json).unwrap();
    let costs: Vec<i64> =
        chains.iter().map(|chain| chain["costs"]["c_numa_micro_bp"].as_i64().unwrap()).collect();
    assert!(costs.is_sorted_by(|one, next| one >= next) && costs.len() == 3, "{costs:?}");
    for chain in &chains {
        let sum: u64 =
            chain["stalls"].as_array().unwrap().iter().map(|stall| stall["ns"].as_u64().unwrap()).sum();
        let stalled =
            chain["stalled"].as_object().unwrap().values().map(|ns| ns.as_u64().unwrap()).sum::<u64>();
        assert!(sum == stalled && sum > 0, "{sum} {stalled}");
        let parts = &chain["costs"]["parts_sixths"];
        let four = ["hint_fault", "migration_copy", "dispatch_jitter", "queue_decay"];
        let four: i64 = four.iter().map(|part| parts[part].as_i64().unwrap()).sum();
        assert_eq!(four, 6 * chain["costs"]["c_numa"].as_i64().unwrap());
    }
    let order = &chains[0]["order"];
    let id = format!("\"{}\"/{}/{}", order["choice"].as_str().unwrap(), order["seed"], order["number"]);
    let one = output_of(&scratch, ["explain", "out", "--parent", &id, "--jobs", "1"]);
    assert!(text.starts_with(&one), "the same order, asked for by its name, on another number of threads");
}

/// Of a folder that another controller steered, the rerun is steered by its decisions, late as its file says.
#[test]
fn a_folder_that_another_controller_steered_is_explained() {
    let scratch = Scratch::new();
    let scenario = movable("controller.toml");
    let (_, limits) = scenario.split_once("[controller.limits]").unwrap();
    let head = "kind = \"threshold-without-hysteresis\"\ndelay = { execution = \"300ms\", host = \"300ms\" }";
    scratch.write("late.toml", format!("{head}\n[limits]{limits}"));
    scratch.write("s.toml", &scenario);
    output_of(&scratch, ["run", "s.toml", "--controller", "late.toml", "--out", "out"]);
    let json = output_of(&scratch, ["explain", "out", "--worst", "12", "--json"]);
    let chains: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(chains.len(), 12);
    output_of(&scratch, ["run", "s.toml", "--controller", "do-nothing", "--out", "idle"]);
    let idle = output_of(&scratch, ["explain", "idle", "--worst", "12", "--json"]);
    assert_ne!(idle, json);
    std::fs::remove_file(scratch.path().join("idle/decisions.jsonl")).unwrap();
    let output = program::run(scratch.path(), ["explain", "idle", "--worst", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert_explained(&output, &["decisions.jsonl", "cannot be read"]);
}

#[test]
fn what_is_not_in_the_folder_is_refused() {
    let scratch = results();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let output = program::run(scratch.path(), arguments);
        assert_eq!(output.status.code(), Some(2));
        assert_explained(&output, parts);
    };
    refused(&["explain", "out", "--parent", "controller/0/99"], &["controller/0/99", "parents 0 to 11"]);
    refused(&["explain", "out", "--parent", "other/0/1"], &["no such row", "\"controller\""]);
    refused(&["explain", "out", "--parent", "x"], &["CHOICE/SEED/NUMBER", "\"controller/0/0\""]);
    refused(&["explain", "none", "--worst", "1"], &["summary.json", "numashock sweep"]);
    refused(&["explain", "out", "--worst", "2", "--perfetto", "t.json"], &["one order"]);
    refused(
        &["explain", "out", "--worst", "1", "--perfetto", "t.json", "--from", "100h", "--until", "200h"],
        &["--from", "nothing happens", "the run ends at"],
    );
    assert_eq!(scratch.names(), ["out", "s.toml"], "nothing is left behind");
    let path = scratch.path().join("out/scenario.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("miss = \"50%\"", "miss = \"49%\"")).unwrap();
    refused(
        &["explain", "out", "--worst", "1"],
        &["parents.parquet has", "this version computes", "run it again"],
    );
    let path = scratch.path().join("out/summary.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"model_version\": \"1\"", "\"model_version\": \"0\"")).unwrap();
    refused(&["explain", "out", "--worst", "1"], &["model version 0", "run it again"]);
}

/// Nanoseconds of a time in microseconds, from its digits.
fn nanos(value: &Value) -> u64 {
    let text = value.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, "0"));
    whole.parse::<u64>().unwrap() * 1_000 + format!("{part:0<3}").parse::<u64>().unwrap()
}

fn events(scratch: &Scratch, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(scratch.path().join(file)).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    trace["traceEvents"].as_array().unwrap().clone()
}

/// Complete events of a track follow each other or lie within each other, and asynchronous ones end as often as they begin.
fn assert_nested(events: &[Value]) {
    let mut tracks: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for event in events {
        match event["ph"].as_str().unwrap() {
            "X" => {
                let (begin, length) = (nanos(&event["ts"]), nanos(&event["dur"]));
                let track = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
                tracks.entry(track).or_default().push((begin, begin + length));
            }
            phase @ ("b" | "e") => {
                *open.entry(event["id"].to_string()).or_default() += if phase == "b" { 1 } else { -1 };
            }
            "n" | "C" | "i" | "M" => {}
            other => panic!("{other}"),
        }
    }
    assert!(open.values().all(|balance| *balance == 0), "{open:?}");
    for (track, mut slices) in tracks {
        slices.sort_unstable();
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "track {track:?}: {pair:?}");
        }
    }
}

#[test]
fn the_trace_holds_what_it_promises() {
    let scratch = results();
    output_of(&scratch, ["explain", "out", "--parent", "0", "--perfetto", "whole.json", "--whole"]);
    let all = events(&scratch, "whole.json");
    assert_nested(&all);
    let with = |key: &str, value: &str| all.iter().filter(|event| event[key] == value).collect::<Vec<_>>();
    let named: Vec<String> =
        with("ph", "M").iter().map(|event| event["args"]["name"].as_str().unwrap().to_owned()).collect();
    for name in [
        "orders",
        "dispatch thread: units",
        "dispatch thread: stalls",
        "dispatch thread: hinting faults",
        "regime",
    ] {
        assert!(named.iter().any(|known| known == name), "{name} in {named:?}");
    }
    assert!(named.iter().any(|name| name.starts_with("scan passes: ")), "{named:?}");
    for category in ["unit", "stall", "scan", "fault", "regime", "parent", "child", "fill"] {
        assert!(!with("cat", category).is_empty(), "{category}");
    }
    for counter in ["dispatch queue", "regime", "numa_hint_faults", "numa_pages_migrated", "numa_pte_updates"]
    {
        assert!(!with("name", counter).is_empty(), "{counter}");
    }
    let levels: BTreeSet<&str> =
        with("cat", "regime").iter().filter_map(|event| event["name"].as_str()).collect();
    assert!(levels.contains("NUMA_STABLE") && levels.contains("NUMA_SHOCK"), "{levels:?}");
    // The stalls of the whole run, by owner, are those of its parents' tables: here the run says it itself.
    let explained = all_parents(&choice("controller.toml", &[]));
    let life = &explained.run.parents[0];
    let (from, until) = (life.order.arrival.0, life.order.deadline().0);
    let faults = with("cat", "fault");
    let within = faults.iter().filter(|event| (from..until).contains(&nanos(&event["ts"])));
    let sum: u64 = within.map(|event| event["args"]["hint_fault_ns"].as_u64().unwrap()).sum();
    assert_eq!(sum, life.stalls.hint_fault.0, "the faults of the first order's life");
    let fills: u64 = with("cat", "fill").iter().map(|event| event["args"]["lots"].as_u64().unwrap()).sum();
    assert_eq!(fills, explained.run.parents.iter().map(|parent| parent.filled.0).sum::<u64>());
    let parents = with("cat", "parent").iter().filter(|event| event["ph"] == "b").count();
    assert_eq!(parents, explained.run.parents.len());

    output_of(&scratch, ["explain", "out", "--parent", "0", "--perfetto", "part.json"]);
    let part = events(&scratch, "part.json");
    assert_nested(&part);
    assert!(part.len() < all.len() && part.iter().any(|event| event["cat"] == "child"));
}
