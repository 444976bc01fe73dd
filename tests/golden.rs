//! Golden files: those of the repository, and what a user sees of `golden check` and `golden bless`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p numashock-tests` makes the repository's again, and nothing else does. Change
//! `MODEL_VERSION` with them.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::AtomicU64;

use numashock_accounting::Mechanisms;
use numashock_controller::Level;
use numashock_engine::Span;
use numashock_experiment::golden::{self, Options};
use numashock_experiment::sweep::run_once;
use numashock_sim::MODEL_VERSION;
use numashock_sim::golden::Golden;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{Host, RunConfig};

use crate::cli::{assert_explained, movable, stderr};
use crate::junit;
use crate::program::{self, Scratch};
use crate::{root, scenario_file};

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
pub(crate) fn golden_scenario(name: &str) -> PathBuf {
    let file = scenario_file(&format!("{name}.toml"));
    if file.exists() { file } else { root().join(format!("scenarios/flows/{name}.toml")) }
}

pub(crate) fn config(name: &str) -> RunConfig {
    let scenario = Scenario::read(&golden_scenario(name), &[]).unwrap();
    scenario.choices(1_000_000).unwrap().remove(0).config
}

fn golden_file(name: &str) -> PathBuf {
    root().join("golden").join(format!("{name}.txt"))
}

#[test]
fn runs_are_as_the_golden_files_keep_them() {
    let (folder, done) = (root().join("golden"), AtomicU64::new(0));
    let options = Options { jobs: 0, controller: None, replace: false, done: &done };
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        golden::bless(&folder, &[], &options).unwrap();
    }
    let report = golden::check(&folder, &options).unwrap();
    let names: Vec<&str> = report.files.iter().map(|file| file.name.as_str()).collect();
    let mut expected = SCENARIOS;
    expected.sort_unstable();
    assert_eq!(names, expected, "every golden file is checked, and none is missing");
    assert_eq!(
        report.exit_code(),
        0,
        "{report:#?}\nIf the model was meant to change: raise MODEL_VERSION and run with UPDATE_GOLDEN=1."
    );
}

#[test]
fn golden_hash_prints_the_same_from_the_core_alone() {
    for name in SCENARIOS {
        let kept = std::fs::read_to_string(golden_file(name)).unwrap();
        assert_eq!(program::golden_hash(&[golden_file(name)]), kept, "{name}");
        let golden: Golden = kept.parse().unwrap();
        assert_eq!(golden.to_string(), kept, "{name}: what is read is what was written");
        assert_eq!(golden.head.model, MODEL_VERSION);
        assert!(golden.checkpoints.len() > 8, "{name}: too few checkpoints to name an interval");
    }
}

/// A golden file of a scenario in which nothing happens would hold anything.
#[test]
fn the_golden_scenarios_show_what_they_are_for() {
    let real = |name: &str| run_once(&config(name), 0, Mechanisms::REAL, true, 0);
    let runs = SCENARIOS.map(|name| (name, real(name)));
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

/// What a command printed, and its exit code.
fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(output))
}

fn golden<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> (Option<i32>, String) {
    let arguments = ["golden"].into_iter().chain(arguments);
    outcome(&program::run(folder, arguments))
}

/// A user's folder, with these scenarios and a golden file of each.
fn blessed(names: &[&str]) -> Scratch {
    let scratch = Scratch::new();
    for input in ["parents.csv", "messages.csv"] {
        std::fs::copy(scenario_file(input), scratch.path().join(input)).unwrap();
    }
    let mut arguments = vec!["bless".to_owned(), "kept".to_owned()];
    for name in names {
        scratch.write(&format!("{name}.toml"), movable(&format!("{name}.toml")));
        arguments.push(format!("{name}.toml"));
    }
    let (code, said) = golden(scratch.path(), arguments.iter().map(String::as_str));
    assert_eq!(code, Some(0), "{said}");
    scratch
}

/// Replaces a text that stands once in a file of the folder.
fn edit(scratch: &Scratch, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(scratch.path().join(file)).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
    scratch.write(file, text.replace(from, to));
}

#[test]
fn a_users_folder_is_blessed_checked_and_blessed_again() {
    let scratch = blessed(&["thread-move", "controller"]);
    let kept = scratch.path().join("kept");
    assert_eq!(
        program::names(&kept),
        ["controller.marks", "controller.txt", "thread-move.marks", "thread-move.txt"]
    );
    let text = std::fs::read_to_string(kept.join("controller.txt")).unwrap();
    assert!(text.contains("\nscenario ../controller.toml\n"), "{text}");
    let (code, said) = golden(scratch.path(), ["check", "kept"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("2 agree, 0 differ, 0 cannot be checked\n"), "{said}");
    let (code, said) = golden(scratch.path(), ["bless", "kept"]);
    assert_eq!((code, said.matches(": unchanged: ").count()), (Some(0), 2), "{said}");
    edit(&scratch, "thread-move.toml", "at = \"4001ms\"", "at = \"5001ms\"");
    let (code, said) = golden(scratch.path(), ["bless", "kept"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("kept/thread-move.txt: changed: "), "{said}");
    assert!(said.contains("events agree up to event 19000"), "{said}");
    assert!(said.contains("kept/controller.txt: unchanged: "), "{said}");
    assert_eq!(golden(scratch.path(), ["check", "kept"]).0, Some(0));
}

#[test]
fn a_disturbance_one_nanosecond_later_is_located_and_reported_alike_by_any_number_of_threads() {
    let scratch = blessed(&["controller", "thread-move"]);
    edit(&scratch, "thread-move.toml", "at = \"4001ms\"", "at = \"4001.000001ms\"");
    let reports = ["1", "2"].map(|jobs| {
        let arguments = ["check", "kept", "--jobs", jobs, "--junit", "out.xml", "--markdown", "out.md"];
        let (code, said) = golden(scratch.path(), arguments);
        assert_eq!(code, Some(1), "{said}");
        let [xml, markdown] =
            ["out.xml", "out.md"].map(|file| std::fs::read_to_string(scratch.path().join(file)).unwrap());
        (said, xml, markdown)
    });
    assert_eq!(reports[0], reports[1]);
    let (said, xml, markdown) = &reports[0];
    assert!(said.contains("kept/controller.txt: agrees (53027 events, 12 buckets)"), "{said}");
    assert!(said.contains("events agree up to event 19000 (3.850109122s)"), "{said}");
    assert!(said.contains("first: event 19869: now 4.001000001s move "), "{said}");
    let results = junit::read(xml);
    assert_eq!((results.tests, results.failures, results.errors), (2, 1, 0));
    assert!(xml.contains("4.001000001s move "), "{xml}");
    assert!(markdown.contains("| thread-move | run | **differs** |"), "{markdown}");
    // With the marks of another run, or none, only the interval is known, and why is said.
    let marks = scratch.path().join("kept/thread-move.marks");
    std::fs::copy(scratch.path().join("kept/controller.marks"), &marks).unwrap();
    let (_, other) = golden(scratch.path(), ["check", "kept"]);
    std::fs::remove_file(&marks).unwrap();
    let (code, said) = golden(scratch.path(), ["check", "kept"]);
    assert_eq!(code, Some(1));
    assert!(other.contains("these marks belong to another run"), "{other}");
    for said in [said, other] {
        assert!(said.contains("first: events agree up to event 19000"), "{said}");
        assert!(said.contains("which event it is cannot be told: "), "{said}");
    }
}

#[test]
fn a_parent_of_another_size_is_located_within_its_life() {
    let scratch = blessed(&["thread-move"]);
    let parents = std::fs::read_to_string(scratch.path().join("parents.csv")).unwrap();
    let (head, rows) = parents.split_once('\n').unwrap();
    let place = head.split(',').position(|column| column == "quantity").unwrap();
    let mut rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
    rows[4][place] = "5000";
    let rows: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
    scratch.write("parents.csv", format!("{head}\n{}\n", rows.join("\n")));
    let config = config("thread-move");
    let parent = config.replication(0).input(Mechanisms::REAL, true, None, 0).parents[4];
    let (code, said) = golden(scratch.path(), ["check", "kept"]);
    assert_eq!(code, Some(1), "{said}");
    let first = said.lines().find_map(|line| line.trim().strip_prefix("first: event ")).unwrap();
    let at = first.split_once("now ").unwrap().1.split_once('s').unwrap().0.replace('.', "");
    let at: u64 = at.parse().unwrap();
    assert!(parent.arrival.0 <= at && at <= parent.deadline().0, "{first}: {parent:?}");
}

#[test]
fn the_scenarios_own_controllers_give_no_difference_in_either_loop() {
    for name in ["controller", "strategies"] {
        assert!(config(name).hosts.iter().all(|host| format!("{:?}", host.controller) == "FourState"));
    }
    let scratch = blessed(&["controller", "strategies"]);
    let (code, said) = golden(scratch.path(), ["check", "kept", "--controller", "four-state"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("kept/controller.txt, open loop: agrees (12 buckets)"), "{said}");
    assert!(said.contains("kept/controller.txt, closed loop: agrees (53027 events, 12 buckets)"), "{said}");
    let (code, said) = golden(scratch.path(), ["check", "kept", "--controller", "do-nothing"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("controller four-state, now do-nothing"), "{said}");
}

/// The controller of the scenario with one limit changed, as a file of its own.
fn changed_controller(scratch: &Scratch, from: &str, to: &str) {
    let text = movable("controller.toml");
    let (_, table) = text.split_once("[controller]\n").unwrap();
    let table = table.replace("[controller.limits]", "[limits]");
    assert_eq!(table.matches(from).count(), 1);
    scratch.write("changed.toml", table.replace(from, to));
}

#[test]
fn a_controller_with_one_limit_changed_is_named_with_bucket_and_metric() {
    let scratch = blessed(&["controller"]);
    let rhf = "rhf = [\"98%\", \"97%\", \"99%\", \"98%\"]";
    // Nothing changed: the same controller in a file.
    changed_controller(&scratch, rhf, rhf);
    let (code, said) = golden(scratch.path(), ["check", "kept", "--controller", "changed.toml"]);
    assert_eq!(code, Some(0), "{said}");
    changed_controller(&scratch, "[10240, 8192, 16384, 12288]", "[10240, 8192, 18000, 12288]");
    let arguments = ["check", "kept", "--controller", "changed.toml", "--junit", "out.xml"];
    let (code, said) = golden(scratch.path(), arguments);
    assert_eq!(code, Some(0), "bucket 1 has 20420, bucket 2 is in SHOCK already: {said}");
    changed_controller(&scratch, "[10240, 8192, 16384, 12288]", "[10240, 8192, 21000, 12288]");
    let (code, said) = golden(scratch.path(), arguments);
    assert_eq!(code, Some(1), "{said}");
    let first = "host 0, bucket 1 (up to 2.000000000s): decided NUMA_SHOCK, now NUMA_WATCH: MCR 20420";
    for part in ["open loop", "closed loop"] {
        let (_, rest) = said.split_once(&format!("controller.txt, {part}: DIFFERS\n  first: ")).unwrap();
        assert!(rest.starts_with(first), "{part}: {rest}");
        assert!(rest.lines().next().unwrap().contains("mcr_kib_per_s[2] = 16384"), "{part}: {rest}");
        assert!(rest.lines().next().unwrap().contains("= 21000"), "{part}: {rest}");
    }
    // Both runs are known then, so both events are.
    assert!(said.contains(" kept: 2.000000000s regime "), "{said}");
    assert!(said.contains(" now:  2.000000000s regime "), "{said}");
    let results = junit::read(&std::fs::read_to_string(scratch.path().join("out.xml")).unwrap());
    assert_eq!((results.tests, results.failures, results.errors), (2, 2, 0));
    // What a file says of delays holds in the run: the decision of bucket 1 stays, and its actions come later.
    changed_controller(&scratch, rhf, rhf);
    let text = std::fs::read_to_string(scratch.path().join("changed.toml")).unwrap();
    scratch.write("changed.toml", text + "\n[delay]\nexecution = \"0s\"\nhost = \"50ms\"\n");
    let (code, said) = golden(scratch.path(), ["check", "kept", "--controller", "changed.toml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("controller.txt, open loop: agrees"), "{said}");
    assert!(said.contains("first: event ") && said.contains(" kept: 2.000000000s knobs "), "{said}");
    // The same change in the scenario is found without another controller.
    edit(&scratch, "controller.toml", "[10240, 8192, 16384, 12288]", "[10240, 8192, 21000, 12288]");
    let (code, said) = golden(scratch.path(), ["check", "kept"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("first: {first}")), "{said}");
    assert!(said.contains("limit mcr_kib_per_s[2] 16384, now 21000"), "{said}");
}

#[test]
fn what_another_controller_decided_is_kept_with_its_own_limits() {
    let scratch = blessed(&["controller"]);
    let arguments = ["bless", "lim", "controller.toml", "--controller", "changed.toml"];
    changed_controller(&scratch, "shock_limit = 2", "shock_limit = 3");
    assert_eq!(golden(scratch.path(), arguments).0, Some(0));
    let text = std::fs::read_to_string(scratch.path().join("lim/controller.txt")).unwrap();
    assert!(text.contains("\nlimit shock_limit 3\n"), "{text}");
    let (code, said) = golden(scratch.path(), ["check", "lim", "--controller", "changed.toml"]);
    assert!(code == Some(0) && !said.contains("limit"), "{said}");
    changed_controller(&scratch, "shock_limit = 2", "shock_limit = 2");
    let (code, said) = golden(scratch.path(), ["check", "lim", "--controller", "changed.toml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(
            "buckets of shock 3 short of shock_limit = 3, now buckets of shock 3 over shock_limit = 2"
        ),
        "{said}"
    );
    assert!(said.contains("limit shock_limit 3, now 2"), "{said}");
}

#[test]
fn no_reason_is_invented_for_a_process_or_a_baseline() {
    let scratch = blessed(&["controller"]);
    let script = r#"
import json, sys
print(json.dumps({"type": "hello", "protocol": 1, "name": "always stable"}), flush=True)
for line in sys.stdin:
    said = json.loads(line)
    if said["type"] == "bucket":
        answer = {"type": "decision", "host": said["host"], "bucket": said["bucket"], "regime": {"level": "NUMA_STABLE"}}
        print(json.dumps(answer), flush=True)
"#;
    scratch.write("stable.py", script);
    let by = ["--controller-command", "python3 stable.py"];
    let (code, said) = golden(scratch.path(), ["check", "kept", by[0], by[1]]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("decided NUMA_SHOCK, now NUMA_STABLE\n"), "{said}");
    assert!(said.contains("kept rested on: RHF 100% over rhf[2] = 99%"), "{said}");
    assert!(!said.contains("now rested on"), "{said}");
    let instead = "now: the built-in controller would have decided NUMA_SHOCK: RHF 100% over rhf[2] = 99%";
    assert!(said.contains(instead), "{said}");
    assert!(said.contains("controller four-state, now external: always stable"), "{said}");
    // Its own golden file names it, has no limits, and agrees with it.
    let (code, said) = golden(scratch.path(), ["bless", "own", "controller.toml", by[0], by[1]]);
    assert_eq!(code, Some(0), "{said}");
    let text = std::fs::read_to_string(scratch.path().join("own/controller.txt")).unwrap();
    assert!(text.contains("\npolicy external: always stable\nbucket 0 "), "{text}");
    assert_eq!(golden(scratch.path(), ["check", "own", by[0], by[1]]).0, Some(0));
    let (code, said) = golden(scratch.path(), ["check", "own", "--controller", "do-nothing"]);
    assert_eq!(code, Some(0), "both do nothing: {said}");
    // A baseline rests on what it looks at.
    let (_, said) = golden(scratch.path(), ["check", "kept", "--controller", "do-nothing"]);
    assert!(said.contains("now rested on: nothing it saw: it always decides the same"), "{said}");
    let (code, said) =
        golden(scratch.path(), ["check", "kept", "--controller", "threshold-without-hysteresis"]);
    assert_eq!(code, Some(1), "{said}");
    let reasons: Vec<&str> = said.lines().filter(|line| line.contains("now rested on")).collect();
    assert!(!reasons.is_empty(), "{said}");
    assert!(reasons.iter().all(|line| line.contains(" over ") || line.contains(" missing, ")), "{said}");
    assert!(reasons.iter().any(|line| line.contains(" over ") && !line.contains(" not over ")), "{said}");
    assert!(reasons.iter().any(|line| line.contains(" not over ")), "{said}");
}

#[test]
fn a_golden_file_does_not_change_hands_unasked() {
    let scratch = blessed(&["controller"]);
    let before = std::fs::read(scratch.path().join("kept/controller.txt")).unwrap();
    std::fs::create_dir(scratch.path().join("other")).unwrap();
    for input in ["parents.csv", "messages.csv"] {
        std::fs::copy(scenario_file(input), scratch.path().join("other").join(input)).unwrap();
    }
    scratch.write("other/controller.toml", movable("controller.toml"));
    let output = program::run(scratch.path(), ["golden", "bless", "kept", "other/controller.toml"]);
    assert_explained(&output, &["controller.txt", "../controller.toml", "--replace"]);
    assert_eq!(std::fs::read(scratch.path().join("kept/controller.txt")).unwrap(), before);
    let arguments = ["bless", "kept", "other/controller.toml", "--replace"];
    assert_eq!(golden(scratch.path(), arguments).0, Some(0));
    let text = std::fs::read_to_string(scratch.path().join("kept/controller.txt")).unwrap();
    assert!(text.contains("\nscenario ../other/controller.toml\n"), "{text}");
}

#[test]
fn what_cannot_be_checked_is_said_and_the_rest_is_checked() {
    let scratch = blessed(&["controller", "thread-move"]);
    let text = std::fs::read_to_string(scratch.path().join("kept/controller.txt")).unwrap();
    let bucket = text.lines().find(|line| line.starts_with("bucket 4 ")).unwrap();
    let number = text.lines().position(|line| line == bucket).unwrap() + 1;
    let broken = [
        (
            text.replace("model 1\n", "model 7\n"),
            "made by model version 7, and this program is version 1".to_owned(),
        ),
        (text.replace("../controller.toml", "../gone.toml"), "gone.toml".to_owned()),
        (
            text.replace("choice controller\n", "choice other\n"),
            "no choice \"other\": expected one of controller".to_owned(),
        ),
        (text.replace("\n2000 ", "\n2001 "), "line 9: expected the state after 2000 events".to_owned()),
        (
            text.replace("SAFE_NUMA", "SAVE_NUMA"),
            format!("line {number}: \"SAVE_NUMA_CONSERVATIVE\" is no level"),
        ),
        (text.replace("end ", "ends "), "expected EVENTS TIMEs HASH".to_owned()),
        (
            text.replace("controller the scenario's", "controller another"),
            "name it with --controller".to_owned(),
        ),
        ("hello\n".to_owned(), "line 1: expected \"numashock golden 1\"".to_owned()),
        (String::new(), "line 1: expected \"numashock golden 1\"".to_owned()),
    ];
    for (content, problem) in broken {
        scratch.write("kept/broken.txt", &content);
        let (code, said) = golden(scratch.path(), ["check", "kept", "--junit", "out.xml"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("kept/broken.txt: CANNOT BE CHECKED: "), "{said}");
        assert!(said.contains(&problem), "{problem}: {said}");
        assert!(said.ends_with("2 agree, 0 differ, 1 cannot be checked\n"), "{said}");
        let results = junit::read(&std::fs::read_to_string(scratch.path().join("out.xml")).unwrap());
        assert_eq!((results.tests, results.failures, results.errors), (3, 0, 1));
    }
    scratch.write("kept/broken.txt", [0xff, 0xfe]);
    assert_eq!(golden(scratch.path(), ["check", "kept"]).0, Some(2));
    let output = program::run(scratch.path(), ["golden", "check", "nowhere"]);
    assert_explained(&output, &["nowhere", "golden bless"]);
    std::fs::create_dir(scratch.path().join("empty")).unwrap();
    let output = program::run(scratch.path(), ["golden", "check", "empty"]);
    assert_explained(&output, &["empty: no golden files", "golden bless empty SCENARIO.toml"]);
}

#[test]
fn a_run_that_does_not_finish_is_not_blessed() {
    let scratch = blessed(&["controller"]);
    let before = std::fs::read(scratch.path().join("kept/controller.txt")).unwrap();
    scratch.write("wrong.toml", movable("controller.toml").replace("dwell = 1", "dwell = 0"));
    let cases: [&[&str]; 3] = [
        &["bless", "new", "wrong.toml", "controller.toml"],
        &["bless", "new", "controller.toml", "--controller-command", "false"],
        &["bless", "kept", "--controller-command", "false"],
    ];
    for arguments in cases {
        let (code, said) = golden(scratch.path(), arguments.iter().copied());
        assert_eq!(code, Some(2), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(!scratch.path().join("new").exists(), "{said}");
    }
    assert_eq!(std::fs::read(scratch.path().join("kept/controller.txt")).unwrap(), before);
    assert_eq!(program::names(&scratch.path().join("kept")), ["controller.marks", "controller.txt"]);
}

#[test]
fn the_example_for_ci_checks_and_keeps_both_reports() {
    let script = root().join("scenarios/ci/golden-check.sh");
    for (name, lines) in [
        ("github.yml", ["scenarios/ci/golden-check.sh", "golden.xml", "golden.md"]),
        ("gitlab.yml", ["scenarios/ci/golden-check.sh", "junit: golden.xml", "golden.md"]),
    ] {
        let text = std::fs::read_to_string(root().join("scenarios/ci").join(name)).unwrap();
        for line in lines {
            assert!(text.contains(line), "{name}: {line}");
        }
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start_matches(' ').len();
            assert!(
                indent % 2 == 0 && !line.contains('\t') && line.trim_end() == line,
                "{name}:{}",
                number + 1
            );
        }
    }
    let scratch = blessed(&["controller"]);
    let run = |folder: &str| {
        let mut command = std::process::Command::new("sh");
        command.arg(&script).arg(folder).current_dir(scratch.path()).env("NUMASHOCK", program::numashock());
        outcome(&command.output().unwrap())
    };
    let (code, said) = run("kept");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 agree, 0 differ"), "{said}");
    edit(&scratch, "controller.toml", "dwell = 1", "dwell = 2");
    let (code, said) = run("kept");
    assert_eq!(code, Some(1), "{said}");
    let results = junit::read(&std::fs::read_to_string(scratch.path().join("golden.xml")).unwrap());
    assert_eq!((results.tests, results.failures), (1, 1));
    assert!(std::fs::read_to_string(scratch.path().join("golden.md")).unwrap().contains("**differs**"));
    assert_eq!(run("nowhere").0, Some(2));
    // A command that cannot be built or run is no difference, and leaves no report of an earlier run.
    for (name, value) in [("CARGO", ""), ("NUMASHOCK", "./no-such-command")] {
        for report in ["golden.xml", "golden.md"] {
            scratch.write(report, "old");
        }
        scratch.write("cargo", "#!/bin/sh\nexit 101\n");
        let made =
            std::process::Command::new("chmod").args(["+x", "cargo"]).current_dir(scratch.path()).status();
        assert!(made.unwrap().success());
        let path = std::env::var("PATH").unwrap();
        let mut command = std::process::Command::new("sh");
        command.arg(&script).arg("kept").current_dir(scratch.path()).env_remove("NUMASHOCK");
        command.env("PATH", format!("{}:{path}", scratch.path().display())).env(name, value);
        let (code, said) = outcome(&command.output().unwrap());
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(!scratch.path().join("golden.xml").exists() && !scratch.path().join("golden.md").exists());
    }
}
