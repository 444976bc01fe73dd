//! Runs written as traces, read again and repeated, and other controllers tried on them.

use std::collections::BTreeSet;
use std::io::Cursor;

use numashock_controller::{Actions, Evidence, Observation, Regime, Telemetry};
use numashock_engine::Nanos;
use numashock_experiment::decisions::{Deciders, Row, built_in, open_loop};
use numashock_experiment::replay::{Checked, Stored, Window, check};
use numashock_experiment::tape::{self, Piece};
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::{Asked, Own, Steering, SteeringError, semantic};
use numashock_trace::{Decided, Header, Limits, Options, Trace};

use crate::cli::assert_explained;
use crate::golden::{SCENARIOS, golden_scenario};
use crate::program::{self, Scratch};
use crate::scenario_file;

const FEW: Options = Options { zstd: false, block_events: 1_000 };

/// The trace of the first choice of a golden scenario, as bytes.
fn written(name: &str) -> (RunConfig, Vec<u8>) {
    let scenario = Scenario::read(&golden_scenario(name), &[]).unwrap();
    let choice = scenario.choices(1_000_000).unwrap().remove(0);
    let header = tape::header(&scenario, &choice.name, 0).unwrap();
    let mut bytes = Vec::new();
    tape::record((&choice.config, &header), &mut Own, &mut bytes, FEW).unwrap();
    (choice.config, bytes)
}

fn read(bytes: &[u8]) -> Trace {
    Trace::read(Cursor::new(bytes), Limits::USUAL).unwrap()
}

/// A run of this configuration against a trace in memory.
fn checked(config: &RunConfig, trace: &Trace, window: Window) -> Checked {
    let from = window.from;
    let stored = Stored {
        events: Box::new(trace.events.iter().filter(move |one| one.at >= from).map(|one| Ok(*one))),
        decided: Box::new(
            trace.decided.iter().filter(move |one| tape::decided_at(one) >= from).map(|one| Ok(*one)),
        ),
        checkpoints: Box::new(trace.checkpoints.iter().filter(move |one| one.at >= from).map(|one| Ok(*one))),
        end: trace.end,
    };
    check((config, &trace.header), &mut Own, stored, window, 2).unwrap()
}

#[test]
fn golden_scenarios_are_repeated_from_their_traces_alone() {
    let mut kinds = BTreeSet::new();
    for name in SCENARIOS {
        let (_, bytes) = written(name);
        let trace = read(&bytes);
        kinds.extend(trace.events.iter().map(|event| event.kind));
        let config = tape::reopen("a.trace".as_ref(), &trace.header, &tape::Reopen::default()).unwrap();
        let found = checked(&config, &trace, Window::WHOLE);
        assert_eq!(found.mismatch, None, "{name}");
        assert!(found.ended && found.events == trace.events.len() as u64, "{name}: {found:?}");
        assert_eq!(found.decisions, trace.decided.len() as u64);
        assert_eq!(found.checkpoints, trace.checkpoints.len() as u64);
        assert!(found.checkpoints >= 8 && found.decisions >= 8, "{name}: {found:?}");
        let rows = open_loop(&config, &trace.decided, &mut Own).unwrap();
        assert!(rows.iter().all(|row| row.decides_alike() && row.remembers_alike()), "{name}");
    }
    for kind in &kinds {
        assert!(semantic::name(*kind).is_some(), "kind {kind:#x} has no name");
    }
    assert!(kinds.len() >= 12, "{kinds:x?}");
}

#[test]
fn the_first_thing_that_differs_from_a_trace_is_named() {
    let (config, bytes) = written("controller");
    let whole = read(&bytes);
    let place = whole.events.len() / 2;
    let event = whole.events[place];
    let parted = |trace: &Trace| checked(&config, trace, Window::WHOLE).mismatch.expect("they differ");

    let mut changed = whole.clone();
    changed.events[place].payload[0] ^= 1 << 8;
    let found = parted(&changed);
    assert_eq!(found.stored, Some(Piece::Event(changed.events[place])));
    assert_eq!(found.now, Some(Piece::Event(event)));
    assert_eq!(found.before, whole.events[place - 2..place]);
    assert_eq!(found.now_after, whole.events[place + 1..place + 3]);
    assert_eq!(found.stored_after, found.now_after);

    let mut shorter = whole.clone();
    shorter.events.remove(place);
    assert_eq!(parted(&shorter).now, Some(Piece::Event(event)));

    let mut decided = whole.clone();
    decided.decided[4].actions.balancing_off ^= true;
    let found = parted(&decided);
    assert_eq!(found.stored, Some(Piece::Decided(decided.decided[4])));
    assert_eq!(found.now, Some(Piece::Decided(whole.decided[4])));

    let mut hash = whole.clone();
    hash.checkpoints[9].hash ^= 1;
    assert_eq!(parted(&hash).stored, Some(Piece::Checkpoint(hash.checkpoints[9])));

    let mut longer = whole.clone();
    longer.events.push(event);
    assert_eq!(parted(&longer).stored, Some(Piece::Event(event)));

    let mut end = whole.clone();
    end.end = end.end.map(|mut end| {
        end.hash ^= 1;
        end
    });
    assert_eq!(parted(&end).ends.map(|ends| ends[0]), end.end);

    // A difference outside of the window is not looked at.
    let until = Window { from: Nanos::ZERO, until: event.at };
    let before = checked(&config, &changed, until);
    assert!(before.mismatch.is_none() && before.events > 1_000 && !before.ended);
    let from = Window { from: event.at + numashock_engine::Span(1), until: Nanos::NEVER };
    let behind = checked(&config, &changed, from);
    assert!(behind.mismatch.is_none() && behind.events > 1_000 && behind.ended);
    assert!(behind.events + before.events < whole.events.len() as u64);
}

#[test]
fn a_cut_trace_is_compared_as_far_as_it_goes() {
    let (config, bytes) = written("controller");
    let whole = read(&bytes);
    for share in [3, 5, 8] {
        let cut = read(&bytes[..bytes.len() * share / 10]);
        assert!(cut.end.is_none() && cut.cut.is_some());
        let found = checked(&config, &cut, Window::WHOLE);
        assert!(found.mismatch.is_none() && !found.ended);
        assert_eq!(found.events, cut.events.len() as u64);
        assert!(0 < found.events && found.events < whole.events.len() as u64);
    }
}

/// A controller of numashock's own, with limits of its own.
struct With(ControllerConfig);

impl Steering for With {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        Ok(self.0.policy()(&self.0.limits, asked.regime, asked.seen))
    }
}

/// The `[controller]` table of the golden scenario as a file of its own.
fn controller_table() -> String {
    let text = std::fs::read_to_string(scenario_file("controller.toml")).unwrap();
    let (_, table) = text.split_once("[controller]\n").unwrap();
    table.replace("[controller.limits]", "[limits]")
}

fn controller(text: &str) -> ControllerConfig {
    ControllerConfig::parse("new.toml".as_ref(), text).unwrap()
}

/// A bucket with nothing to see.
const CALM: Observation = Observation {
    telemetry: Telemetry::Fresh,
    rhf_ppm: Some(0),
    mcr_kib_per_s: Some(0),
    dcj_ppm: None,
    qdl_ppm: None,
    deadline_miss_ppm: None,
};

fn rhf(ppm: u32) -> Observation {
    Observation { rhf_ppm: Some(ppm), ..CALM }
}

fn mcr(kib: u64) -> Observation {
    Observation { mcr_kib_per_s: Some(kib), ..CALM }
}

fn dcj(ppm: u64) -> Observation {
    Observation { dcj_ppm: Some(ppm), ..CALM }
}

fn qdl(ppm: u64) -> Observation {
    Observation { qdl_ppm: Some(ppm), ..CALM }
}

fn misses(ppm: u32) -> Observation {
    Observation { deadline_miss_ppm: Some(ppm), ..CALM }
}

/// RHF, MCR and DCJ that two shock thresholds can be passed with.
fn pressed(rhf: u32, mcr: u64, dcj: u64) -> Observation {
    let dcj_ppm = (dcj > 0).then_some(dcj);
    Observation { rhf_ppm: Some(rhf), mcr_kib_per_s: Some(mcr), dcj_ppm, ..CALM }
}

/// What the golden scenario's controller decides on observations, beside one with a line of its table changed.
fn side_by_side(config: &RunConfig, seen: &[Observation], old: &str, new: &str) -> (Vec<Row>, Deciders) {
    let table = controller_table();
    assert_eq!(table.matches(old).count(), 1, "{old}");
    let deciders =
        Deciders { old: built_in(config, 0), new: controller(&table.replace(old, new)), foreign: [false; 2] };
    let (mut regime, mut decided) = (Regime::STABLE, Vec::new());
    for (bucket, seen) in (0..).zip(seen) {
        let (next, actions) = deciders.old.policy()(&deciders.old.limits, regime, seen);
        decided.push(Decided { host: 0, bucket, seen: *seen, regime: next, actions });
        regime = next;
    }
    (open_loop(config, &decided, &mut With(deciders.new)).unwrap(), deciders)
}

#[test]
fn a_changed_limit_is_named_with_the_bucket_in_which_it_counts() {
    let config = crate::golden::config("controller");
    let shock = pressed(1_000_000, 20_000, 0);
    let stale = Observation::default();
    let cases: [(&str, &str, &str, &[Observation], usize); 20] = [
        ("rhf[0]", "rhf = [\"98%\"", "rhf = [\"98.5%\"", &[CALM, rhf(983_000)], 1),
        ("rhf[1]", "\"97%\", \"99%\"", "\"96%\", \"99%\"", &[rhf(985_000), rhf(965_000)], 1),
        ("rhf[2]", "\"97%\", \"99%\"", "\"97%\", \"99.5%\"", &[pressed(993_000, 20_000, 0)], 0),
        ("rhf[3]", "\"99%\", \"98%\"]", "\"99%\", \"97.5%\"]", &[shock, rhf(977_000)], 1),
        ("mcr_kib_per_s[0]", "[10240", "[11000", &[CALM, CALM, mcr(10_500)], 2),
        ("mcr_kib_per_s[1]", "8192", "8000", &[mcr(12_000), mcr(8_100)], 1),
        ("mcr_kib_per_s[2]", "16384", "17000", &[pressed(1_000_000, 16_500, 0)], 0),
        ("mcr_kib_per_s[3]", "12288", "9000", &[shock, mcr(10_000)], 1),
        ("dcj[0]", "2000%", "2500%", &[dcj(22_000_000)], 0),
        ("dcj[1]", "1500%", "1400%", &[dcj(25_000_000), dcj(14_500_000)], 1),
        ("dcj[2]", "6000%", "7000%", &[pressed(1_000_000, 0, 65_000_000)], 0),
        ("dcj[3]", "4000%", "1800%", &[pressed(1_000_000, 0, 65_000_000), dcj(19_000_000)], 1),
        ("qdl[0]", "\"20%\"", "\"30%\"", &[CALM, qdl(250_000)], 1),
        ("qdl[1]", "\"10%\"", "\"5%\"", &[qdl(250_000), qdl(70_000)], 1),
        ("deadline_miss[0]", "= [\"99%\"", "= [\"99.5%\"", &[misses(993_000)], 0),
        ("deadline_miss[1]", "\"95%\"", "\"90%\"", &[misses(1_000_000), misses(920_000), CALM], 2),
        ("dwell", "dwell = 1", "dwell = 2", &[rhf(985_000), CALM], 1),
        ("shock_limit", "shock_limit = 2", "shock_limit = 3", &[shock, shock, shock, shock], 3),
        ("release", "release = 2", "release = 3", &[misses(1_000_000), CALM, CALM], 2),
        ("stale_limit", "stale_limit = 3", "stale_limit = 4", &[stale, stale, stale], 2),
    ];
    for (key, old, new, seen, bucket) in cases {
        let (rows, deciders) = side_by_side(&config, seen, old, new);
        let first = rows.iter().position(|row| !row.decides_alike()).unwrap_or_else(|| panic!("{key}"));
        assert_eq!(first, bucket, "{key}");
        // A threshold for the way down counts as soon as a calm bucket is counted or not.
        let remembered = rows.iter().position(|row| !row.remembers_alike()).unwrap();
        let causes = deciders.causes(&rows[remembered]);
        let bounds =
            |one: Option<Evidence>| one.map(|one| [Some(one.enter.key), one.exit.map(|bound| bound.key)]);
        let metric = causes.first().unwrap_or_else(|| panic!("{key}: nothing is named"));
        let [before, now] = [bounds(metric.old).unwrap(), bounds(metric.new).unwrap()];
        assert!(before == now && before.contains(&Some(key)), "{key}: {metric:?}");
        let (before, now) = (metric.old.unwrap(), metric.new.unwrap());
        let is_key = |one: &Evidence| one.bound().key == key;
        assert!(is_key(&before) || is_key(&now), "{key}: {before} | {now}");
        assert_ne!(before.standing, now.standing, "{key}");
        // What follows from it may be named too: a calm run that is shorter. No other metric is.
        assert!(
            causes[1..].iter().all(|cause| cause.old.is_some_and(|one| one.exit.is_none())),
            "{key}: {causes:?}"
        );
    }
}

#[test]
fn a_changed_parameter_of_an_action_is_named() {
    let config = crate::golden::config("controller");
    let shock = pressed(1_000_000, 20_000, 0);
    let cases: [(&str, &str, &str, &[Observation]); 6] = [
        ("child_spacing_ppm", "child_spacing = \"200%\"", "child_spacing = \"300%\"", &[CALM, rhf(985_000)]),
        ("min_reprice_interval_ns", "\"50ms\"", "\"60ms\"", &[CALM, rhf(985_000)]),
        ("participation_cap_ppm", "\"100%\"", "\"50%\"", &[CALM, shock]),
        ("scanner", "scan_delay = \"5s\"", "scan_delay = \"6s\"", &[CALM, shock]),
        ("scanner", "\"64MiB\"", "\"32MiB\"", &[CALM, shock]),
        ("balancing_off", "permitted = true", "permitted = false", &[CALM, misses(1_000_000)]),
    ];
    for (action, old, new, seen) in cases {
        let (rows, deciders) = side_by_side(&config, seen, old, new);
        assert!(rows[0].decides_alike() && !rows[1].decides_alike(), "{new}");
        let differing = rows[1].actions_that_differ();
        assert_eq!(differing.len(), 1, "{new}: {differing:?}");
        assert_eq!(differing[0].0, action);
        assert_eq!(deciders.causes(&rows[1]), [], "{new}: the level is decided alike");
    }
}

fn code(output: &std::process::Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_commands_say_what_differs_by_their_exit_codes() {
    let scratch = Scratch::new();
    let scenario = scenario_file("controller.toml");
    let run = |arguments: &[&str]| program::run(scratch.path(), arguments);
    let record = |out: &str, more: &[&str]| {
        let mut arguments = vec!["run", scenario.to_str().unwrap(), "--trace", out];
        arguments.extend(more);
        let output = run(&arguments);
        assert_eq!(code(&output), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    record("a.trace", &[]);
    record("b.trace", &["--zstd"]);
    record("c.trace", &["--seed-number", "1"]);
    assert_eq!(scratch.names(), ["a.trace", "b.trace", "c.trace"], "nothing partial is left");
    assert_explained(
        &run(&["run", scenario.to_str().unwrap(), "--trace", "a.trace"]),
        &["a.trace", "exists"],
    );
    scratch.write(".d.trace.partial", "");
    let taken = run(&["run", scenario.to_str().unwrap(), "--trace", "d.trace"]);
    assert_explained(&taken, &["d.trace.partial", "killed", "another name"]);
    assert!(scratch.path().join(".d.trace.partial").exists(), "what a killed run left is not touched");
    let beyond = run(&["run", scenario.to_str().unwrap(), "--trace", "d.trace", "--seed-number", "3"]);
    assert_explained(&beyond, &["replication 3", "has 3", "numbered from 0"]);

    let same = run(&["trace", "diff", "a.trace", "b.trace"]);
    assert_eq!(code(&same), Some(0), "{}", stdout(&same));
    let other = run(&["trace", "diff", "a.trace", "c.trace"]);
    assert_eq!(code(&other), Some(1));
    assert!(stdout(&other).contains("replication 0 | 1") && stdout(&other).contains("first difference at "));
    assert_eq!(code(&run(&["trace", "diff", "a.trace", "none.trace"])), Some(2));

    let again = run(&["replay", "a.trace"]);
    assert_eq!(code(&again), Some(0), "{}", stdout(&again));
    assert!(stdout(&again).contains("and the end"), "{}", stdout(&again));

    let dump = run(&["trace", "dump", "a.trace", "--kind", "regime", "--from", "3s"]);
    let lines: Vec<serde_json::Value> =
        stdout(&dump).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty());
    for line in &lines {
        assert!(line["kind"] == "regime" && line["at_ns"].as_u64() >= Some(3_000_000_000), "{line}");
        assert!(line["to"].as_str().is_some_and(|level| level.contains("NUMA_")), "{line}");
    }
    assert_explained(&run(&["trace", "dump", "a.trace", "--kind", "flood"]), &["flood", "migration"]);

    scratch.write("same.toml", controller_table());
    scratch.write("other.toml", controller_table().replace("dwell = 1", "dwell = 2"));
    assert_eq!(code(&run(&["replay", "a.trace", "--controller", "same.toml"])), Some(0));
    assert_eq!(code(&run(&["replay", "a.trace", "--controller", "same.toml", "--closed-loop"])), Some(0));
    let other = run(&["replay", "a.trace", "--controller", "other.toml", "--json"]);
    assert_eq!(code(&other), Some(1));
    let report: serde_json::Value = serde_json::from_str(&stdout(&other)).unwrap();
    assert_eq!(report["first_difference"]["bucket"], 7, "{report}");
    assert_eq!(report["rows"][0]["causes"][0]["new"]["limit"], "dwell", "{report}");
    let closed = run(&["replay", "a.trace", "--controller", "other.toml", "--closed-loop"]);
    assert_eq!(code(&closed), Some(1));
    assert!(stdout(&closed).contains("calm buckets 1 short of dwell = 2"), "{}", stdout(&closed));
    assert!(stdout(&closed).contains("shortfall of 12 parents, bp: mean "), "{}", stdout(&closed));
    let before = run(&["replay", "a.trace", "--controller", "other.toml", "--until", "8s"]);
    assert_eq!(code(&before), Some(0), "the first difference falls at 8s: {}", stdout(&before));
}

#[test]
fn damage_cuts_and_nothing_to_compare_are_no_success() {
    let scratch = Scratch::new();
    let (_, bytes) = written("controller");
    let write = |name: &str, bytes: &[u8]| std::fs::write(scratch.path().join(name), bytes).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() * 2 / 3] ^= 1;
    write("a.trace", &bytes);
    write("f.trace", &flipped);
    write("cut.trace", &bytes[..bytes.len() * 6 / 10]);
    let run = |arguments: &[&str]| program::run(scratch.path(), arguments);
    for more in [&[][..], &["--controller", "four-state"], &["--until", "2s"]] {
        let mut arguments = vec!["replay", "f.trace"];
        arguments.extend(more);
        assert_explained(&run(&arguments), &["f.trace", "damaged", "checksum"]);
    }
    assert_explained(&run(&["trace", "info", "f.trace"]), &["f.trace", "checksum"]);
    let cuts = [
        &["replay", "cut.trace"][..],
        &["replay", "cut.trace", "--controller", "four-state"],
        &["trace", "diff", "a.trace", "cut.trace"],
    ];
    for arguments in cuts {
        let mut allowed = arguments.to_vec();
        allowed.push("--allow-cut");
        assert_explained(&run(arguments), &["cut.trace", "--allow-cut"]);
        assert_eq!(code(&run(&allowed)), Some(0), "{arguments:?}");
    }
    let nothing = [
        &["replay", "a.trace", "--from", "100s"][..],
        &["replay", "a.trace", "--from", "100s", "--controller", "do-nothing"],
        &["replay", "a.trace", "--until", "500ms", "--controller", "do-nothing"],
    ];
    for arguments in nothing {
        assert_explained(&run(arguments), &["nothing was compared"]);
    }
}

#[test]
fn every_decision_from_the_first_difference_on_is_printed_in_the_words_of_streams() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("a.trace"), written("controller").1).unwrap();
    scratch.write("other.toml", controller_table().replace("dwell = 1", "dwell = 2"));
    let replay = |more: &[&str]| {
        let mut arguments = vec!["replay", "a.trace", "--controller", "other.toml"];
        arguments.extend(more);
        stdout(&program::run(scratch.path(), &arguments))
    };
    let all = replay(&[]);
    assert_eq!(all.matches("\nDIFFERENT: ").count(), 2, "{all}");
    assert_eq!(all.matches("\nthe same: bucket 1").count(), 2, "{all}");
    let fewer = replay(&["--only-different"]);
    assert!(!fewer.contains("the same: ") && fewer.contains("\nDIFFERENT: bucket 9"), "{fewer}");
    let report: serde_json::Value = serde_json::from_str(&replay(&["--json"])).unwrap();
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(5), "buckets 7 to 11");
    assert_eq!(report["rows"][0]["new"]["seen"]["telemetry"], "fresh");
    assert_eq!(report["rows"][0]["new"]["actions"]["cancel_replace"], "only-if-price-moved");
    let dump = stdout(&program::run(scratch.path(), ["trace", "dump", "a.trace", "--kind", "decided"]));
    let first: serde_json::Value = serde_json::from_str(dump.lines().next().unwrap()).unwrap();
    assert_eq!(first["seen"]["telemetry"], "fresh");
    assert!(dump.contains("\"cancel_replace\":\"only-if-price-moved\""), "{dump}");
}

#[test]
fn a_foreign_decision_gets_no_reason_of_the_built_in_controller() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("a.trace"), written("controller").1).unwrap();
    let scenario = scenario_file("controller.toml");
    let scenario = scenario.to_str().unwrap();
    let made = program::run(scratch.path(), ["run", scenario, "--decisions", "d.jsonl", "--out", "r"]);
    assert_eq!(code(&made), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    // Somebody who stays calm whatever happens.
    let lines = std::fs::read_to_string(scratch.path().join("d.jsonl")).unwrap();
    let calm = lines.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line.get("regime").is_some() {
            line["regime"] = serde_json::json!({"level": "NUMA_STABLE"});
            line.as_object_mut().unwrap().remove("actions");
        }
        format!("{line}\n")
    });
    scratch.write("calm.jsonl", calm.collect::<String>());
    let output = program::run(scratch.path(), ["replay", "a.trace", "--controller", "calm.jsonl"]);
    let said = stdout(&output);
    assert_eq!(code(&output), Some(1), "{said}");
    let (_, first) = said.split_once("first difference: ").unwrap();
    let new = first.lines().find(|line| line.starts_with("  new ")).unwrap();
    assert!(new.ends_with("NUMA_STABLE -> NUMA_STABLE (held 0, calm 0, blind 0)"), "{said}");
    assert!(said.contains("the built-in four-state would decide NUMA_SHOCK here, because RHF "), "{said}");
}

/// What differs between two decision streams, bucket by bucket: level or actions.
fn lines_that_differ(old: &str, new: &str) -> usize {
    let read = |text: &str| -> Vec<serde_json::Value> {
        text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let decided = |line: &serde_json::Value| (line["regime"]["level"].clone(), line["actions"].clone());
    read(old).iter().zip(&read(new)).filter(|(old, new)| decided(old) != decided(new)).count()
}

#[test]
fn a_recording_is_replayed_through_a_changed_controller() {
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| program::run(scratch.path(), arguments);
    scratch.write("old.toml", controller_table());
    scratch.write("new.toml", controller_table().replace("dwell = 1", "dwell = 2"));
    let counters = crate::root().join("tests/kernel-traces/f_move5.csv.gz");
    let counters = format!("gw={}", counters.display());
    for name in ["old", "new"] {
        let limits = format!("{name}.toml");
        let output = run(&["import", "--counters", &counters, "--controller", &limits, "--out", name]);
        assert_eq!(code(&output), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = |path: &str| std::fs::read_to_string(scratch.path().join(path)).unwrap();
    let expected = lines_that_differ(&text("old/decisions.jsonl"), &text("new/decisions.jsonl"));
    assert!(expected > 0, "the changed limit counts");
    let report = |arguments: &[&str]| {
        let mut all = vec!["replay"];
        all.extend(arguments);
        all.extend(["--json", "--junit", "r.xml", "--markdown", "r.md"]);
        let output = run(&all);
        assert_eq!(code(&output), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(report["differing"], expected, "{report}");
        report
    };
    let one = report(&["old/decisions.jsonl", "--controller", "new.toml"]);
    let two = report(&["old/observations.jsonl", "--old", "old.toml", "--controller", "new.toml"]);
    assert_eq!(one["rows"], two["rows"], "the recorded decisions are the old controller's");
    let xml = text("r.xml");
    let totals = crate::junit::read(&xml);
    assert!(totals.tests == 1 && totals.failures == 1 && xml.contains("short of dwell = 2"), "{xml}");
    assert!(text("r.md").starts_with("## numashock replay: different\n"), "{}", text("r.md"));
    let same = [
        &["replay", "old/decisions.jsonl"][..],
        &["replay", "old/decisions.jsonl", "--controller", "old.toml"],
        &["replay", "old/decisions.jsonl", "--controller", "new/decisions.jsonl", "--old", "new.toml"],
        &["replay", "old/observations.jsonl", "--old", "old.toml", "--controller", "old/decisions.jsonl"],
    ];
    for arguments in same {
        let output = run(arguments);
        assert_eq!(code(&output), Some(0), "{arguments:?}: {}", stdout(&output));
        assert!(stdout(&output).contains("\n0 of 40 decisions differ"), "{}", stdout(&output));
    }
}

#[test]
fn a_stream_is_compared_in_what_it_says_or_refused() {
    let scratch = Scratch::new();
    let line = |bucket: u32, rhf: u32, level: &str| {
        format!(
            "{{\"host\":\"gw\",\"bucket\":{bucket},\"seen\":{{\"telemetry\":\"fresh\",\"rhf_ppm\":{rhf},\"mcr_kib_per_s\":0}},\
             \"regime\":{{\"level\":\"NUMA_{level}\"}}}}\n"
        )
    };
    scratch.write("limits.toml", controller_table());
    let told = line(0, 985_000, "WATCH") + &line(1, 0, "STABLE") + &line(2, 0, "STABLE");
    scratch.write("levels.jsonl", &told);
    scratch.write("gap.jsonl", format!("{told}{}", line(5, 985_000, "WATCH")));
    // From bucket 4 on: the first level is taken as given.
    scratch.write("late.jsonl", line(4, 985_000, "WATCH") + &line(5, 0, "STABLE"));
    scratch.write("one.jsonl", line(4, 985_000, "WATCH"));
    let replay = |name: &str, more: &[&str]| {
        let mut arguments = vec!["replay", name, "--controller", "limits.toml"];
        arguments.extend(more);
        program::run(scratch.path(), &arguments)
    };
    for (name, decisions) in [("levels.jsonl", 3), ("late.jsonl", 1)] {
        let output = replay(name, &[]);
        assert_eq!(code(&output), Some(0), "{}", stdout(&output));
        assert!(
            stdout(&output).contains(&format!("\n0 of {decisions} decisions differ")),
            "{}",
            stdout(&output)
        );
    }
    assert_explained(
        &replay("gap.jsonl", &["--junit", "r.xml"]),
        &["gap.jsonl", "missing before line 4", "--allow-cut"],
    );
    let xml = std::fs::read_to_string(scratch.path().join("r.xml")).unwrap();
    assert_eq!(crate::junit::read(&xml).errors, 1, "{xml}");
    assert_eq!(code(&replay("gap.jsonl", &["--allow-cut"])), Some(0));
    assert_explained(&replay("one.jsonl", &[]), &["nothing was compared"]);
    assert_explained(&replay("levels.jsonl", &["--closed-loop"]), &["--closed-loop", "nothing to simulate"]);
    assert_explained(&program::run(scratch.path(), ["replay", "levels.jsonl"]), &["limits for host \"gw\""]);
}

#[test]
fn a_trace_finds_its_input_files_and_refuses_others() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("moved");
    std::fs::create_dir(&folder).unwrap();
    for name in ["recorded-flow.toml", "messages.csv", "parents.csv"] {
        std::fs::copy(scenario_file(name), scratch.path().join(name)).unwrap();
    }
    let text = std::fs::read_to_string(scratch.path().join("recorded-flow.toml")).unwrap();
    let presets = crate::root().join("scenarios");
    scratch.write("recorded-flow.toml", text.replace("../../scenarios", presets.to_str().unwrap()));
    let run = |arguments: &[&str]| program::run(scratch.path(), arguments);
    let output = run(&["run", "recorded-flow.toml", "--trace", "flow.trace"]);
    assert_eq!(code(&output), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(scratch.path().join("flow.trace"), folder.join("flow.trace")).unwrap();
    assert_eq!(code(&run(&["replay", "moved/flow.trace"])), Some(0));
    std::fs::rename(scratch.path().join("messages.csv"), folder.join("messages.csv")).unwrap();
    let lost = run(&["replay", "moved/flow.trace"]);
    assert_explained(&lost, &["messages.csv", "--inputs DIR"]);
    assert_eq!(code(&lost), Some(2));
    if scratch.path().join("parents.csv").exists() {
        std::fs::copy(scratch.path().join("parents.csv"), folder.join("parents.csv")).unwrap();
    }
    let found = run(&["replay", "moved/flow.trace", "--inputs", "moved"]);
    assert_eq!(code(&found), Some(0), "{}", String::from_utf8_lossy(&found.stderr));
    let mut bytes = std::fs::read(folder.join("messages.csv")).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(folder.join("messages.csv"), bytes).unwrap();
    let other = run(&["replay", "moved/flow.trace", "--inputs", "moved"]);
    assert_explained(&other, &["messages.csv", "with hash", "--inputs DIR"]);
}

#[test]
fn another_version_of_the_model_is_refused_with_a_way_out() {
    let (_, bytes) = written("recorded-host");
    let header = Header { model_version: 77, ..read(&bytes).header };
    let error = tape::reopen("a.trace".as_ref(), &header, &tape::Reopen::default()).unwrap_err();
    assert!(matches!(error, tape::TapeError::Version { found: 77 }));
    assert!(error.to_string().contains("--any-version"), "{error}");
    let anyway = tape::Reopen { any_version: true, ..tape::Reopen::default() };
    assert!(tape::reopen("a.trace".as_ref(), &header, &anyway).is_ok());
}
