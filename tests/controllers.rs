//! Controllers that are brought along: limits in a file, a process, recorded decisions; and everything a process can do wrong.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::cli::{assert_explained, stderr};
use crate::golden::{SCENARIOS, golden_scenario};
use crate::program::{self, Scratch};
use crate::{root, scenario_file, schema};

/// Standard output of a command that must succeed.
fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs one seed of a scenario with these further arguments.
fn run(folder: &Path, scenario: &Path, more: &[&str]) -> Output {
    let scenario = scenario.to_str().unwrap();
    program::run(folder, ["run", scenario, "--seeds", "1", "--jobs", "1"].iter().chain(more))
}

/// The command that starts the example in Python.
fn example() -> String {
    let python = Command::new("python3").arg("--version").output();
    assert!(
        python.is_ok_and(|python| python.status.success()),
        "python3 is missing: the example controller cannot be tried. Install it, or leave these tests out with \
         `cargo test --workspace -- --skip in_python`"
    );
    format!("python3 '{}'", root().join("scenarios/controllers/four_state.py").display())
}

/// Limits under which every golden scenario leaves STABLE, and most come back, through all levels.
const LIVELY: [&str; 12] = [
    "--set",
    "controller.limits.rhf=[\"88%\", \"86%\", \"90%\", \"88%\"]",
    "--set",
    "controller.limits.mcr_kib_per_s=[7000, 6900, 8000, 7000]",
    "--set",
    "controller.limits.dcj=[\"90000%\", \"80000%\", \"99000%\", \"95000%\"]",
    "--set",
    "controller.limits.dwell=1",
    "--set",
    "controller.limits.shock_limit=1",
    "--set",
    "controller.limits.release=1",
];

/// Runs a golden scenario under a built-in controller and under the example; they must decide the same. The stream's text.
fn assert_python_decides_alike(scratch: &Scratch, name: &str, kind: &str, limits: &[&str]) -> String {
    let scenario = golden_scenario(name);
    let decide = |whose: &str, more: &[&str]| {
        let (out, stream) = (format!("{name}-{kind}-{whose}"), format!("{name}-{kind}-{whose}.jsonl"));
        let all = [&["--out", &out, "--decisions", &stream], more, limits].concat();
        told(&run(scratch.path(), &scenario, &all));
        let read = |path: &str| std::fs::read_to_string(scratch.path().join(path)).unwrap();
        (read(&stream), read(&format!("{out}/summary.json")), stream)
    };
    let (own, own_summary, stream) = decide("own", &["--controller", kind]);
    let python = format!("{} {kind}", example());
    let (theirs, their_summary, _) = decide("python", &["--controller-command", &python]);
    let differs = own.lines().zip(theirs.lines()).skip(1).find(|(own, theirs)| own != theirs);
    assert_eq!(differs, None, "{name}, {kind}");
    assert_eq!(own.lines().count(), theirs.lines().count(), "{name}, {kind}");
    let own_name = format!("{kind} with the scenario's limits");
    let renamed = their_summary.replace("external: the example in Python", &own_name);
    assert_eq!(own_summary, renamed, "{name}, {kind}: nothing differs but who decided");
    assert_ne!(own_summary, their_summary, "{name}, {kind}: the summary says who decided");
    // The loop closes: what was written agrees with the built-in controller, and can be imposed.
    let checked = told(&program::run(scratch.path(), ["controller", "check", &stream]));
    assert!(checked.contains("no decision differs"), "{name}, {kind}: {checked}");
    let (again, _, _) = decide("again", &["--controller", &stream]);
    assert!(again.lines().skip(1).eq(own.lines().skip(1)), "{name}, {kind}");
    own
}

/// These golden scenarios, under the four states with limits that make each leave STABLE.
fn assert_python_decides_alike_and_leaves_stable<'a>(goldens: impl Iterator<Item = &'a &'a str>) {
    let (scratch, mut back) = (Scratch::new(), 0);
    for name in goldens {
        let stream = assert_python_decides_alike(&scratch, name, "four-state", &LIVELY);
        let levels: Vec<&str> = stream
            .lines()
            .filter_map(|line| Some(line.split_once("\"level\":\"")?.1.split_once('"')?.0))
            .collect();
        let left = levels.iter().position(|level| *level != "NUMA_STABLE");
        let left = left.unwrap_or_else(|| panic!("{name} never leaves STABLE: {levels:?}"));
        back += usize::from(levels[left..].contains(&"NUMA_STABLE"));
    }
    assert!(back > 2, "a way down is shown as well");
}

#[test]
fn the_example_in_python_decides_like_the_built_in_one_on_half_of_the_goldens() {
    assert_python_decides_alike_and_leaves_stable(SCENARIOS.iter().step_by(2));
}

#[test]
fn the_example_in_python_decides_like_the_built_in_one_on_the_other_half() {
    assert_python_decides_alike_and_leaves_stable(SCENARIOS.iter().skip(1).step_by(2));
}

#[test]
fn each_kind_of_the_example_in_python_decides_like_the_built_in_one() {
    let scratch = Scratch::new();
    for kind in ["do-nothing", "static-pinning", "threshold-without-hysteresis"] {
        assert_python_decides_alike(&scratch, "controller", kind, &[]);
    }
    for name in SCENARIOS {
        assert_python_decides_alike(&scratch, name, "four-state", &[]);
    }
}

/// As a user types it: each scenario's own controller in Python, in either loop, without a difference.
#[test]
fn the_example_in_python_gives_no_difference_on_any_golden() {
    example();
    let command = "python3 scenarios/controllers/four_state.py";
    let output = program::run(&root(), ["golden", "check", "golden", "--controller-command", command]);
    let said = told(&output);
    for name in SCENARIOS {
        for part in ["open loop", "closed loop"] {
            assert!(said.contains(&format!("golden/{name}.txt, {part}: agrees (")), "{name}, {part}: {said}");
        }
    }
    assert!(said.ends_with("20 agree, 0 differ, 0 cannot be checked\n"), "{said}");
}

/// The example with a memory of its own.
const LEVELS_ONLY: &str = r#"
import sys
sys.path.insert(0, "FOLDER")
import four_state as own
memory = own.at(own.STABLE)
def remember(limits, _regime, seen):
    global memory
    memory, actions = own_step(limits, memory, seen)
    return {"level": memory["level"]}, actions
own_step = own.KINDS["four-state"]
own.KINDS["four-state"] = remember
own.main()
"#;

/// What a process does not say is not in the stream either, and its decisions are not held against what nobody said.
#[test]
fn a_process_that_says_only_levels_agrees_with_the_built_in_one_in_python() {
    let scratch = Scratch::new();
    example();
    let folder = root().join("scenarios/controllers");
    scratch.write("own.py", LEVELS_ONLY.replace("FOLDER", folder.to_str().unwrap()));
    let more = ["--controller-command", "python3 -B own.py", "--out", "out", "--decisions", "out.jsonl"];
    told(&run(scratch.path(), &scenario_file("controller.toml"), &more));
    let text = std::fs::read_to_string(scratch.path().join("out.jsonl")).unwrap();
    assert!(text.contains("\"regime\":{\"level\":\"SAFE_NUMA_CONSERVATIVE\"}"), "{text}");
    assert!(!text.contains("held\":"), "{text}");
    for stream in ["out.jsonl", "out/decisions.jsonl"] {
        let checked = told(&program::run(scratch.path(), ["controller", "check", stream]));
        assert!(checked.contains("no decision differs"), "{checked}");
    }
    let imposed = ["--controller", "out.jsonl", "--out", "again", "--decisions", "again.jsonl"];
    told(&run(scratch.path(), &scenario_file("controller.toml"), &imposed));
    assert_eq!(std::fs::read_to_string(scratch.path().join("again.jsonl")).unwrap(), text);
}

const HELLO: &str = r#"{"type":"hello","protocol":1,"name":"a test"}"#;

/// A process that introduces itself and answers buckets up to `good`; then it reads a line and does something else.
fn misbehaving(scratch: &Scratch, good: u32, then: &str) -> &'static str {
    let script = format!(
        "read -r line; echo '{HELLO}'; n=0\n\
         while [ $n -lt {good} ]; do\n\
         read -r line; echo '{{\"type\":\"decision\",\"host\":0,\"bucket\":'$n',\"regime\":{{\"level\":\"NUMA_STABLE\"}}}}'\n\
         n=$((n+1)); done\nread -r line\n{then}\n"
    );
    scratch.write("own.sh", script);
    "sh own.sh"
}

/// The run must fail, say these things, and leave nothing that looks like results.
fn assert_no_results(scratch: &Scratch, command: &str, timeout: &str, parts: &[&str]) {
    assert_no_results_of("controller", scratch, (command, timeout), parts);
}

fn assert_no_results_of(scenario: &str, scratch: &Scratch, (command, timeout): (&str, &str), parts: &[&str]) {
    let before = scratch.names();
    let arguments = ["--controller-command", command, "--controller-timeout", timeout];
    let outputs = ["--out", "out", "--decisions", "out.jsonl"];
    let output = run(scratch.path(), &golden_scenario(scenario), &[&arguments[..], &outputs].concat());
    assert_explained(&output, parts);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let left: Vec<String> = scratch.names().into_iter().filter(|name| !before.contains(name)).collect();
    assert!(left.iter().all(|name| name == "pid"), "{left:?}");
}

#[test]
fn a_process_that_goes_wrong_ends_the_run_with_host_and_bucket() {
    let long = "head -c 70000 /dev/zero | tr '\\0' x; read -r line";
    let other = |host: u32, bucket: u32| {
        format!(
            r#"echo '{{"type":"decision","host":{host},"bucket":{bucket},"regime":{{"level":"NUMA_STABLE"}}}}'; read -r line"#
        )
    };
    let (early, elsewhere) = (other(0, 2), other(1, 3));
    let cases: [(&str, &[&str]); 10] = [
        ("exit 7", &["ended (exit status: 7) before it answered"]),
        ("kill -9 $$", &["ended (signal: 9", "before it answered"]),
        (
            "echo 'no such limit' >&2; exit 1",
            &["controller: no such limit\n", "last words: \"no such limit\""],
        ),
        ("echo nonsense; read -r line", &["its answer is no decision", "expected ident", "\"nonsense\""]),
        ("printf '{\"type\":'", &["its output ended within a line", "{\\\"type\\\":"]),
        ("printf '\\377\\n'; read -r line", &["not UTF-8"]),
        ("exec >&-; read -r line; sleep 1", &["closed its standard output before it answered"]),
        (&early, &["answered for host 0, bucket 2: expected host 0, bucket 3"]),
        (&elsewhere, &["answered for host 1, bucket 3: expected host 0, bucket 3"]),
        (long, &["longer than 65536 bytes"]),
    ];
    for (then, parts) in cases {
        let scratch = Scratch::new();
        let command = misbehaving(&scratch, 3, then);
        let place = ["controller of host 0, bucket 3: `sh own.sh`, asked in run 0 for host \"host\": "];
        assert_no_results(&scratch, command, "5s", &[&place[..], parts].concat());
    }
}

#[test]
fn of_several_hosts_the_one_that_was_asked_for_is_named() {
    let scratch = Scratch::new();
    let command = misbehaving(&scratch, 1, "exit 7");
    let place = ["controller of host 1, bucket 0: ", "for host \"tuned\"", "exit status: 7"];
    assert_no_results_of("desk", &scratch, (command, "5s"), &place);
}

/// Whether there is still a process of this number after a moment. One whose parent is gone may wait to be collected.
fn is_running(pid: &str) -> bool {
    let runs = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    (0..20).all(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        runs()
    })
}

#[test]
fn a_process_that_hangs_is_ended() {
    // The last one leaves the waiting to a process of its own.
    for then in
        ["exec sleep 60", "printf '{\"type\":'; exec sleep 60", "sleep 60 & echo $! > pid; wait; exit 1"]
    {
        let scratch = Scratch::new();
        let command = misbehaving(&scratch, 1, &format!("echo $$ > pid; {then}"));
        let parts = ["bucket 1: ", "no whole line within 300ms, so it was ended", "--controller-timeout"];
        assert_no_results(&scratch, command, "300ms", &parts);
        let pid = std::fs::read_to_string(scratch.path().join("pid")).unwrap();
        assert!(!is_running(pid.trim()), "{then}: process {pid} is still there");
    }
}

#[test]
fn a_process_that_begins_or_ends_badly_gives_no_results() {
    let begins: [(&str, &[&str]); 8] = [
        ("no-such-program", &["`no-such-program`", "cannot be started", "No such file"]),
        ("sh -c 'exit 3'", &["ended (exit status: 3) before it answered"]),
        ("echo '{\"type\":\"hello\",\"protocol\":2,\"name\":\"x\"}'", &["speaks protocol 2: expected 1"]),
        ("echo '{\"type\":\"hello\",\"protocol\":1,\"name\":\"\"}'", &["its name is \"\""]),
        (
            "echo '{\"type\":\"hello\",\"protocol\":1}'",
            &["its first line is no hello", "missing field `name`"],
        ),
        ("cat", &["its first line is no hello", "unknown field"]),
        ("sh -c 'exit 3", &["a quote ' has no end"]),
        ("  ", &["names no program"]),
    ];
    for (command, parts) in begins {
        assert_no_results(&Scratch::new(), command, "5s", parts);
    }
    let ends: [(&str, &[&str]); 3] = [
        ("exit 4", &["bucket 11: ", "ended with exit status: 4 after \"bye\""]),
        ("echo more", &["bucket 11: ", "said more than it was asked: \"more\""]),
        ("exec sleep 60", &["bucket 11: ", "did not end within 300ms after \"bye\""]),
    ];
    for (then, parts) in ends {
        let scratch = Scratch::new();
        let command = misbehaving(&scratch, 12, then);
        assert_no_results(&scratch, command, "300ms", parts);
    }
}

#[test]
fn the_error_is_that_of_the_first_run_for_any_number_of_threads() {
    let scratch = Scratch::new();
    let script = format!(
        "read -r line\ncase \"$line\" in *'\"run\":0,'*) echo '{HELLO}'; read -r line; sleep 0.2; echo nonsense;; *) exit 5;; esac"
    );
    scratch.write("own.sh", script);
    let scenario = scenario_file("controller.toml");
    let of = |jobs: &str| {
        let arguments = ["run", scenario.to_str().unwrap(), "--seeds", "3", "--jobs", jobs, "--out", "out"];
        let output =
            program::run(scratch.path(), arguments.iter().chain(&["--controller-command", "sh own.sh"]));
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    let error = of("1");
    assert!(error.contains("asked in run 0") && error.contains("nonsense"), "{error}");
    assert_eq!(of("3"), error);
}

/// What the program says to a decision for bucket 0, and whether the schema has it.
#[test]
fn wrong_answers_are_refused_by_the_program_and_by_the_schema() {
    let schema: Value =
        serde_json::from_str(&told(&program::run(&root(), ["controller", "schema"]))).unwrap();
    let right = r#"{"type":"decision","host":0,"bucket":0,"regime":{"level":"NUMA_WATCH","held":0,"calm":0,"blind":1},
        "actions":{"participation_cap_ppm":500000,"child_spacing_ppm":1500000,"min_reprice_interval_ns":1,
        "cancel_replace":"suppressed","catch_up":"paced","cross_only_at_deadline":true,"simplest_schedule":true,
        "scanner":{"scan_delay_ms":5000,"scan_size_mb":64},"balancing_off":true,"pin_dispatch":false,"finer_telemetry":false}}"#;
    let right = right.replace('\n', " ");
    let fits = |line: &str| schema::check(&schema, "from_controller", &serde_json::from_str(line).unwrap());
    fits(&right).unwrap();
    let cases: [(&str, &str, &str, bool); 14] = [
        ("\"decision\"", "\"hello\"", "unknown variant `hello`", true),
        ("\"NUMA_WATCH\"", "\"WATCH\"", "unknown level \\\"WATCH\\\"", true),
        ("\"host\":0", "\"host\":0,\"why\":\"so\"", "unknown field `why`", true),
        ("\"held\":0", "\"helt\":0", "unknown field `helt`", true),
        ("\"held\":0", "\"held\":-1", "expected u32", true),
        ("\"calm\":0", "\"calm\":1", "regime.calm = 1: expected at most regime.held = 0", false),
        ("\"held\":0", "\"held\":2", "regime.held = 2: expected at most 1", false),
        ("\"blind\":1", "\"blind\":9", "regime.blind = 9: expected at most 1", false),
        ("500000", "0", "participation_cap_ppm = 0: expected 1 to 1000000", true),
        ("500000", "1000001", "participation_cap_ppm = 1000001", true),
        ("1500000", "999999", "child_spacing_ppm = 999999: expected at least 1000000", true),
        ("\"suppressed\"", "\"off\"", "unknown variant `off`", true),
        ("\"scan_size_mb\":64", "\"scan_size_mb\":0", "scan_size_mb = 0: expected at least 1", true),
        ("\"balancing_off\":true,", "", "missing field `balancing_off`", true),
    ];
    for (key, wrong, says, by_schema) in cases {
        let line = right.replacen(key, wrong, 1);
        assert_ne!(line, right);
        assert_eq!(fits(&line).is_err(), by_schema, "{line}: {:?}", fits(&line));
        let scratch = Scratch::new();
        scratch.write("answer.json", line + "\n");
        let command = misbehaving(&scratch, 0, "cat answer.json; read -r line");
        let says = says.replace("\\\"", "\"");
        assert_no_results(&scratch, command, "5s", &["host 0, bucket 0: ", &says]);
    }
}

#[test]
fn a_real_exchange_with_the_example_in_python_keeps_to_the_schema() {
    let schema: Value =
        serde_json::from_str(&told(&program::run(&root(), ["controller", "schema"]))).unwrap();
    let scratch = Scratch::new();
    scratch.write("own.sh", format!("tee to | {} | tee from\n", example()));
    for name in ["controller", "desk"] {
        let more =
            ["--controller-command", "sh own.sh", "--out", name, "--decisions", &format!("{name}.jsonl")];
        told(&run(scratch.path(), &golden_scenario(name), &more));
        let mut lines = 0;
        for (file, definition) in
            [("to", "to_controller"), ("from", "from_controller"), (&*format!("{name}.jsonl"), "stream")]
        {
            let text = std::fs::read_to_string(scratch.path().join(file)).unwrap();
            for line in text.lines() {
                let fits = schema::check(&schema, definition, &serde_json::from_str(line).unwrap());
                assert_eq!(fits, Ok(()), "{name}, {file}: {line}");
                lines += 1;
            }
        }
        // Hello, a line a bucket and bye; hello and a line a bucket; a header and a line a bucket.
        assert_eq!(lines, 3 * 12 + 4, "{name}");
    }
}

/// The decisions of the golden scenario that goes through all regimes, and a scratch folder with them.
fn recorded() -> (Scratch, Vec<String>) {
    let scratch = Scratch::new();
    let more = ["--out", "out", "--decisions", "own.jsonl"];
    told(&run(scratch.path(), &scenario_file("controller.toml"), &more));
    let text = std::fs::read_to_string(scratch.path().join("own.jsonl")).unwrap();
    (scratch, text.lines().map(str::to_owned).collect())
}

fn check(scratch: &Scratch, lines: &[String], more: &[&str]) -> (Option<i32>, String) {
    scratch.write("s.jsonl", lines.join("\n") + "\n");
    let output = program::run(scratch.path(), ["controller", "check", "s.jsonl"].iter().chain(more));
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap() + &stderr(&output))
}

/// The line with a table's keys, and the `[controller]` table of a scenario as a file of its own.
fn own_controller(scratch: &Scratch, change: (&str, &str)) -> &'static str {
    let text = std::fs::read_to_string(scenario_file("controller.toml")).unwrap();
    let table = text.split_once("[controller]\n").unwrap().1.replace("[controller.limits]", "[limits]");
    let changed = table.replacen(change.0, change.1, 1);
    assert_ne!(table, changed);
    scratch.write("limits.toml", changed);
    "limits.toml"
}

#[test]
fn the_first_recorded_decision_that_differs_is_named_with_its_evidence() {
    let (scratch, lines) = recorded();
    let (code, text) = check(&scratch, &lines, &[]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "s.jsonl: 12 decisions of 1 host; 12 held against four-state\nno decision differs\n")
    );
    // One decision changed.
    let at = lines.iter().position(|line| line.contains("NUMA_SHOCK")).unwrap();
    let mut changed = lines.clone();
    changed[at] = changed[at].replace("NUMA_SHOCK", "NUMA_WATCH");
    let (code, text) = check(&scratch, &changed, &[]);
    let place = format!("first difference: run 0, host \"host\", bucket {}, line {}\n", at - 1, at + 1);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        place.as_str(),
        "stream       NUMA_WATCH (held 0",
        "four-state   NUMA_SHOCK (held 0",
        "because RHF 100% over rhf[2] = 99%",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // An action changed.
    let mut changed = lines.clone();
    changed[at] = changed[at].replace("\"scan_size_mb\":64", "\"scan_size_mb\":32");
    let (code, text) = check(&scratch, &changed, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(&place)
            && text.contains("actions.scanner: stream {")
            && text.contains("1 of 12 decisions differ"),
        "{text}"
    );
    // A limit changed: the decisions that hang on it, and no other.
    let own = own_controller(&scratch, ("shock_limit = 2", "shock_limit = 1"));
    let (code, text) = check(&scratch, &lines, &["--limits", own]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("because buckets of shock 2 over shock_limit = 1"), "{text}");
}

#[test]
fn streams_of_production_may_say_less_and_gaps_are_named() {
    let (scratch, lines) = recorded();
    let own = own_controller(&scratch, ("dwell = 1", "dwell = 1 # as it was"));
    // No header, no counters, no actions.
    let lesser: Vec<String> = lines[1..]
        .iter()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let level = line["regime"]["level"].clone();
            line["regime"] = serde_json::json!({ "level": level });
            line.as_object_mut().unwrap().remove("actions");
            line.as_object_mut().unwrap().remove("run");
            line.to_string()
        })
        .collect();
    assert_eq!(check(&scratch, &lesser, &["--limits", own]).0, Some(0));
    let (code, text) = check(&scratch, &lesser, &[]);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("s.jsonl: its first line holds no limits for host \"host\"")
            && text.contains("--limits"),
        "{text}"
    );
    // A host may have any name.
    let named: Vec<String> =
        lesser.iter().map(|line| line.replace("\"host\":\"host\"", "\"host\":\"stream\"")).collect();
    assert_eq!(check(&scratch, &named, &["--limits", own]).0, Some(0));
    // Wherever it begins: counters that nobody said are not made up, and a wrong decision is found all the same.
    for begin in 1..lesser.len() {
        let (code, text) = check(&scratch, &lesser[begin..], &["--limits", own]);
        assert_eq!(code, Some(0), "from bucket {begin}: {text}");
        let mut wrong = lesser[begin..].to_vec();
        let last = wrong.pop().unwrap().replace("NUMA_STABLE", "NUMA_SHOCK");
        wrong.push(last);
        let (code, text) = check(&scratch, &wrong, &["--limits", own]);
        assert_eq!(code, Some(i32::from(wrong.len() > 1)), "from bucket {begin}: {text}");
    }
    // Two buckets are missing; what follows is known again after one.
    let mut cut = lines.clone();
    cut.drain(5..7);
    let (code, text) = check(&scratch, &cut, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("run 0, host \"host\": buckets 4 to 5 are missing before line 6\nno decision differs"),
        "{text}"
    );
    assert!(text.contains("10 decisions of 1 host; 9 held against four-state, 1 taken as given"), "{text}");
    // A stream may begin anywhere.
    let mut late = lines.clone();
    late.drain(1..4);
    assert_eq!(check(&scratch, &late, &[]).0, Some(0));
    let output =
        run(scratch.path(), &scenario_file("controller.toml"), &["--controller", "s.jsonl", "--out", "late"]);
    assert_explained(&output, &["host 0, bucket 0: ", "no decision of run 0, host \"host\" for this bucket"]);
    assert!(!scratch.path().join("late").exists());
}

#[test]
fn a_wrong_stream_is_refused_with_its_line() {
    let (scratch, lines) = recorded();
    let change = |at: usize, from: &str, to: &str| {
        let mut changed = lines.clone();
        changed[at] = changed[at].replacen(from, to, 1);
        assert_ne!(changed, lines);
        changed
    };
    let mut twice = lines.clone();
    twice.insert(4, lines[3].clone());
    let cases: [(Vec<String>, &str); 8] = [
        (change(3, "\"bucket\"", "\"buckets\""), "s.jsonl:4: unknown field `buckets`"),
        (change(3, "\"fresh\"", "\"late\""), "s.jsonl:4: unknown variant `late`"),
        (
            change(3, "\"rhf_ppm\":1000000", "\"rhf_ppm\":1000001"),
            "s.jsonl:4: seen.rhf_ppm = 1000001: expected at most 1000000",
        ),
        (change(3, "{", ""), "s.jsonl:4: "),
        (change(0, "\"stream\":1", "\"stream\":2"), "s.jsonl:1: stream = 2: expected 1"),
        (change(0, "\"dwell\":1", "\"dwell\":0"), "s.jsonl:1: dwell = 0"),
        (change(0, "\"dwell\":1", "\"dwell\":1,\"more\":1"), "s.jsonl:1: a key of the limits is unknown"),
        (twice, "s.jsonl:5: bucket 2: expected one after bucket 2 of line 4"),
    ];
    for (changed, says) in cases {
        let (code, text) = check(&scratch, &changed, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    }
    assert_eq!(check(&scratch, &lines[..1], &[]).0, Some(2), "a header alone is no stream");
}

#[test]
fn a_controller_from_a_file_decides_and_stays_with_the_results() {
    let (scratch, _) = recorded();
    let summary =
        |folder: &str| std::fs::read_to_string(scratch.path().join(folder).join("summary.json")).unwrap();
    let scenario = scenario_file("controller.toml");
    let same = own_controller(&scratch, ("dwell = 1", "dwell = 1 # as it was"));
    told(&run(scratch.path(), &scenario, &["--controller", same, "--out", "same"]));
    let renamed =
        summary("same").replace("  \"controller\": \"four-state with the limits of limits.toml\",\n", "");
    assert_eq!(renamed, summary("out"), "the same limits decide the same");
    let other = own_controller(&scratch, ("shock_limit = 2", "shock_limit = 1"));
    told(&run(scratch.path(), &scenario, &["--controller", other, "--out", "other"]));
    assert_ne!(
        summary("other").lines().nth(3),
        summary("out").lines().nth(3),
        "other decisions, other events"
    );
    // The folder holds what it takes to compute the results again.
    let folder = scratch.path().join("other");
    told(&run(
        &folder,
        Path::new("scenario.toml"),
        &["--controller", "controller.toml", "--out", "../again"],
    ));
    assert_eq!(summary("again").replace("of controller.toml", "of limits.toml"), summary("other"));
    told(&run(
        &folder,
        Path::new("scenario.toml"),
        &["--controller", "decisions.jsonl", "--out", "../imposed"],
    ));
    let imposed =
        summary("imposed").replace("\"a decision stream\"", "\"four-state with the limits of limits.toml\"");
    assert_eq!(imposed, summary("other"));
    let refused = run(scratch.path(), &scenario, &["--controller", "nobody", "--out", "none"]);
    assert_explained(&refused, &["--controller \"nobody\"", "four-state", "ends in .toml or .jsonl"]);
}
