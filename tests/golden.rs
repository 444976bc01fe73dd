//! Golden files: the event hash of the real world of replication 0, at intervals.
//!
//! `UPDATE_GOLDEN=1 cargo test -p numashock-tests` writes them, and nothing else does. Change `MODEL_VERSION` with them.

use std::path::PathBuf;

use numashock_accounting::Mechanisms;
use numashock_controller::Level;
use numashock_engine::{Checkpoint, Span};
use numashock_experiment::sweep::run_once;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{Host, Parents, RunConfig};
use numashock_sim::{MODEL_VERSION, RunResult};

use crate::program;
use crate::{root, scenario_file};

const INTERVAL: u64 = 1_000;
pub(crate) const SCENARIOS: [&str; 10] = [
    "migrations",
    "thread-move",
    "controller",
    "recorded-host",
    "recorded-flow",
    "strategies",
    "hawkes",
    "queue-reactive",
    "phases",
    "desk",
];

/// Where a golden scenario lies: with the tests, or among those that ship.
fn golden_scenario(name: &str) -> PathBuf {
    let file = scenario_file(&format!("{name}.toml"));
    if file.exists() { file } else { root().join(format!("scenarios/flows/{name}.toml")) }
}

pub(crate) fn config(name: &str) -> RunConfig {
    let scenario = Scenario::read(&golden_scenario(name), &[]).unwrap();
    scenario.choices(1_000_000).unwrap().remove(0).config
}

fn real(config: &RunConfig, interval: u64) -> RunResult {
    run_once(config, 0, Mechanisms::REAL, true, interval)
}

fn golden_file(name: &str) -> PathBuf {
    root().join("golden").join(format!("{name}.txt"))
}

fn render(name: &str, result: &RunResult) -> String {
    let mut text = format!("scenario {name}\nmodel {MODEL_VERSION}\ninterval {INTERVAL}\n");
    for point in &result.checkpoints {
        text.push_str(&format!("{} {} {:016x}\n", point.events, point.at, point.hash));
    }
    let end = result.hash;
    text.push_str(&format!("end {} {} {:016x}\n", end.events, end.at, end.hash));
    text
}

/// Where two golden texts part: the last line that agrees and the first that does not.
fn first_difference(kept: &str, now: &str) -> Option<String> {
    let (mut kept_lines, mut now_lines) = (kept.lines(), now.lines());
    let mut agreed = "the start";
    loop {
        match (kept_lines.next(), now_lines.next()) {
            (None, None) => return None,
            (kept, now) if kept == now => agreed = kept.unwrap_or(agreed),
            (kept, now) => {
                let [kept, now] = [kept, now].map(|line| line.unwrap_or("nothing"));
                return Some(format!("after \"{agreed}\": kept \"{kept}\", now \"{now}\""));
            }
        }
    }
}

/// The first event in which two runs differ, on either side. `None` in the second place: that run has ended.
///
/// Checkpoints name the interval; inside it both runs are repeated with a checkpoint an event.
fn first_differing_event(left: &RunConfig, right: &RunConfig) -> Option<(Checkpoint, Option<Checkpoint>)> {
    let [coarse_left, coarse_right] = [left, right].map(|config| real(config, INTERVAL));
    if coarse_left.hash == coarse_right.hash {
        return None;
    }
    let pairs = coarse_left.checkpoints.iter().zip(&coarse_right.checkpoints);
    let agreed = pairs.take_while(|(left, right)| left == right).count() as u64 * INTERVAL;
    let [fine_left, fine_right] = [left, right].map(|config| real(config, 1).checkpoints);
    let inside = fine_left.iter().skip(usize::try_from(agreed).unwrap());
    for left in inside {
        assert!(left.events <= agreed + INTERVAL, "the difference lies in the interval that was named");
        let right = fine_right.get(usize::try_from(left.events - 1).unwrap());
        if right != Some(left) {
            return Some((*left, right.copied()));
        }
    }
    None
}

#[test]
fn event_hashes_match_the_golden_files() {
    let mut problems = Vec::new();
    for name in SCENARIOS {
        let now = render(name, &real(&config(name), INTERVAL));
        let file = golden_file(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::write(&file, &now).unwrap();
            continue;
        }
        let kept = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}; write it with UPDATE_GOLDEN=1", file.display()));
        if let Some(difference) = first_difference(&kept, &now) {
            problems.push(format!("golden/{name}.txt {difference}"));
        }
    }
    assert!(
        problems.is_empty(),
        "{}\nIf the model was meant to change: raise MODEL_VERSION and run with UPDATE_GOLDEN=1. If not: compare \
         `golden-hash --interval 1` of both versions to find the event.",
        problems.join("\n")
    );
}

#[test]
fn golden_files_belong_to_scenarios_and_to_this_model() {
    let mut names: Vec<String> = std::fs::read_dir(root().join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".txt").map(str::to_owned))
        .collect();
    names.sort();
    let mut expected = SCENARIOS;
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in SCENARIOS {
        let text = std::fs::read_to_string(golden_file(name)).unwrap();
        assert!(text.starts_with(&format!("scenario {name}\nmodel {MODEL_VERSION}\n")), "{name}");
        assert!(text.lines().count() > 8, "{name}: too few checkpoints to name an interval");
    }
}

/// A golden file of a scenario in which nothing happens would hold anything.
#[test]
fn the_golden_scenarios_show_what_they_are_for() {
    let runs = SCENARIOS.map(|name| (name, real(&config(name), 0)));
    for (name, run) in &runs {
        assert!(run.parents.iter().any(|parent| parent.filled.0 > 0), "{name}: own orders trade");
        assert!(run.hosts[0].counters.numa_hint_faults > 0, "{name}: pages fault");
        assert!(run.parents.iter().any(|parent| parent.stalls.dispatch_jitter > Span::ZERO), "{name}: D");
    }
    let [migrations, moved, controller, recorded, flow, strategies, hawkes, queues, phases, _] =
        runs.map(|(_, run)| run);
    assert!(migrations.hosts[0].counters.numa_pages_migrated > 1_000);
    let migrated_by = |second: usize| -> u64 {
        moved.hosts[0].seconds[..second].iter().map(|bucket| bucket.counters.numa_pages_migrated).sum()
    };
    assert_eq!(migrated_by(4), 0, "all is local before the move");
    assert!(migrated_by(10) > 1_000, "the memory follows the thread");
    let levels: Vec<Level> = controller.hosts[0].seconds.iter().map(|bucket| bucket.regime.level()).collect();
    for level in [Level::Stable, Level::Watch, Level::Shock, Level::Safe] {
        assert!(levels.contains(&level), "{level:?} is missing: {levels:?}");
    }
    assert!(matches!(config("recorded-host").hosts[0].host, Host::Recorded(_)));
    assert!(recorded.parents.iter().any(|parent| parent.stalls.hint_fault > Span::ZERO));
    assert!(flow.parents.iter().all(|parent| parent.children > 0));
    assert!(
        strategies.parents.iter().any(|parent| parent.children > 12),
        "children come back and enter again"
    );
    let [hawkes, queues, phases] = [hawkes, queues, phases].map(|run| run.symbols[0].flow);
    assert!(hawkes.markets > 1_000 && hawkes.limits > 5_000, "{hawkes:?}");
    assert!(queues.reference_moves > 20 && queues.redraws > 4, "{queues:?}");
    assert!(phases.events > 5_000, "{phases:?}");
}

#[test]
fn a_changed_checkpoint_is_named_with_its_interval() {
    let kept = render("migrations", &real(&config("migrations"), INTERVAL));
    assert_eq!(first_difference(&kept, &kept), None);
    let line = kept.lines().find(|line| line.starts_with("3000 ")).unwrap();
    let digit = line.chars().next_back().unwrap();
    let changed = line[..line.len() - 1].to_owned() + if digit == '0' { "1" } else { "0" };
    let difference = first_difference(&kept, &kept.replace(line, &changed)).unwrap();
    assert!(difference.starts_with("after \"2000 "), "{difference}");
    assert!(difference.contains("kept \"3000 ") && difference.contains("now \"3000 "), "{difference}");
    let cut = kept.rsplit_once("end ").unwrap().0;
    assert!(first_difference(&kept, cut).unwrap().contains("now \"nothing\""));
}

#[test]
fn a_disturbance_one_nanosecond_later_is_located() {
    let planted = config("thread-move");
    let text = std::fs::read_to_string(scenario_file("thread-move.toml")).unwrap();
    let late = text.replace("at = \"4001ms\"", "at = \"4001.000001ms\"");
    assert_ne!(text, late);
    let late = Scenario::parse(&scenario_file("thread-move.toml"), &late, &[]).unwrap();
    let late = late.choices(1_000_000).unwrap().remove(0).config;
    let (before, after) = first_differing_event(&planted, &late).expect("the runs differ");
    let after = after.expect("the later run goes on");
    assert_eq!((before.at.0, after.at.0), (4_001_000_000, 4_001_000_001), "{before:?} {after:?}");
    assert_eq!(before.events, after.events, "it is the same event, a nanosecond later");
}

#[test]
fn a_parent_of_another_size_is_located() {
    let planted = config("recorded-host");
    let mut larger = planted.clone();
    let Parents::Listed(parents) = &mut larger.strategies[0].parents else {
        panic!("the scenario lists its parents")
    };
    let changed = 4;
    parents[changed].quantity.0 *= 50;
    let (from, until) = {
        let parent = parents[changed];
        (parent.arrival + planted.warmup, parent.deadline() + planted.warmup)
    };
    let (before, after) = first_differing_event(&planted, &larger).expect("the runs differ");
    assert!(from <= before.at && before.at <= until, "{before:?} lies in the parent's life");
    assert!(after.is_some_and(|after| from <= after.at), "{after:?} lies in the parent's life");
}

#[test]
fn no_difference_is_found_between_equal_runs() {
    assert_eq!(first_differing_event(&config("recorded-host"), &config("recorded-host")), None);
}

#[test]
fn golden_hash_prints_the_same_from_the_core_alone() {
    for name in SCENARIOS {
        let output = program::golden_hash(&[golden_scenario(name)]);
        let expected = render(name, &real(&config(name), INTERVAL));
        assert_eq!(first_difference(&expected, &output), None, "{name}");
    }
}
