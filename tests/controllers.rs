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

/// The golden scenarios from one place of their list to another, decided by the built-in controller and by the example.
fn assert_python_decides_alike(goldens: impl Iterator<Item = &'static &'static str>) {
    let (scratch, python) = (Scratch::new(), example());
    let mut levels = 0;
    for name in goldens {
        let scenario = golden_scenario(name);
        let decide = |whose: &str, more: &[&str]| {
            let (out, stream) = (format!("{name}-{whose}"), format!("{name}-{whose}.jsonl"));
            let mut all = vec!["--out", &out, "--decisions", &stream];
            all.extend(more);
            told(&run(scratch.path(), &scenario, &all));
            let read = |path: &str| std::fs::read_to_string(scratch.path().join(path)).unwrap();
            (read(&stream), read(&format!("{out}/summary.json")), stream)
        };
        let (own, own_summary, stream) = decide("own", &["--controller", "four-state"]);
        let (theirs, their_summary, _) = decide("python", &["--controller-command", &python]);
        let differs = own.lines().zip(theirs.lines()).find(|(own, theirs)| own != theirs);
        assert_eq!(differs, None, "{name}");
        assert_eq!(own.len(), theirs.len(), "{name}");
        let renamed =
            their_summary.replace("external: four-state in Python", "four-state with the scenario's limits");
        assert_eq!(own_summary, renamed, "{name}: nothing differs but who decided");
        assert_ne!(own_summary, their_summary, "{name}: the summary says who decided");
        // The loop closes: what was written agrees with the built-in controller, and can be imposed.
        let checked = told(&program::run(scratch.path(), ["controller", "check", &stream]));
        assert!(checked.contains("no decision differs"), "{name}: {checked}");
        let (again, _, _) = decide("again", &["--controller", &stream]);
        assert_eq!(again, own, "{name}");
        levels = levels.max(theirs.matches("NUMA_SHOCK").count());
    }
    assert!(levels > 0, "a controller that never acts shows nothing");
}

#[test]
fn the_example_in_python_decides_like_the_built_in_one_on_half_of_the_goldens() {
    assert_python_decides_alike(SCENARIOS.iter().step_by(2));
}

#[test]
fn the_example_in_python_decides_like_the_built_in_one_on_the_other_half() {
    assert_python_decides_alike(SCENARIOS.iter().skip(1).step_by(2));
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
    let before = scratch.names();
    let arguments = ["--controller-command", command, "--controller-timeout", timeout];
    let outputs = ["--out", "out", "--decisions", "out.jsonl"];
    let output = run(scratch.path(), &scenario_file("controller.toml"), &[&arguments[..], &outputs].concat());
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
fn a_process_that_hangs_is_ended() {
    for then in ["exec sleep 60", "printf '{\"type\":'; exec sleep 60"] {
        let scratch = Scratch::new();
        let command = misbehaving(&scratch, 1, &format!("echo $$ > pid; {then}"));
        let parts = ["bucket 1: ", "no whole line within 300ms, so it was ended", "--controller-timeout"];
        assert_no_results(&scratch, command, "300ms", &parts);
        let pid = std::fs::read_to_string(scratch.path().join("pid")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "{then}: process {pid} is still there");
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
        "scanner":{"scan_delay_ms":5000,"scan_size_mb":64},"balancing_off":true,"finer_telemetry":false}}"#;
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
