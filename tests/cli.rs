//! What a user can do wrong: each mistake ends with a code that is not zero, says where it is and what would be right,
//! and leaves nothing behind.

use std::path::Path;
use std::process::Output;

use crate::program::{self, Scratch};
use crate::{root, scenario_file};

/// The text of a test scenario that can lie in any folder.
pub(crate) fn movable(name: &str) -> String {
    let text = std::fs::read_to_string(scenario_file(name)).unwrap();
    let text = text.replace("../../scenarios", root().join("scenarios").to_str().unwrap());
    // A mistake is found before anything runs; what is right must not take long either.
    text.replace("seeds = 3", "seeds = 1")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that the command failed in good form and that its message holds every part.
pub(crate) fn assert_explained(output: &Output, parts: &[&str]) {
    let message = stderr(output);
    assert!(
        output.status.code().is_some_and(|code| code != 0 && code != 101),
        "{:?} {message}",
        output.status
    );
    assert!(!message.contains("panicked"), "{message}");
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is missing in: {message}");
    }
}

/// Sweeps a scenario of this text in a folder of its own; it must fail, explain itself and leave nothing.
fn assert_refused(text: &str, parts: &[&str]) {
    let scratch = Scratch::new();
    scratch.write("wrong.toml", text);
    std::fs::copy(scenario_file("parents.csv"), scratch.path().join("parents.csv")).unwrap();
    std::fs::copy(scenario_file("messages.csv"), scratch.path().join("messages.csv")).unwrap();
    for command in ["sweep", "run"] {
        let output = program::run(scratch.path(), [command, "wrong.toml", "--out", "out"]);
        assert_explained(&output, &["wrong.toml"]);
        assert_explained(&output, parts);
        assert_eq!(scratch.names(), ["messages.csv", "parents.csv", "wrong.toml"], "nothing is left behind");
    }
}

/// The line on which `needle` first stands, counted from 1.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).unwrap_or_else(|| panic!("no {needle}")) + 1
}

/// Replaces one line of a scenario; the message must name that line and hold every part.
fn assert_line_refused(name: &str, line: &str, wrong: &str, parts: &[&str]) {
    let text = movable(name);
    let at = line_of(&text, line);
    let changed = text.replacen(line, wrong, 1);
    assert_ne!(text, changed);
    let place = format!("wrong.toml:{at}: ");
    let mut all = vec![place.as_str()];
    all.extend(parts);
    assert_refused(&changed, &all);
}

#[test]
fn wrong_values_name_line_key_and_remedy() {
    let base = "migrations.toml";
    let cases: [(&str, &str, &[&str]); 23] = [
        ("hz = 250", "hertz = 250", &["machine.hertz", "unknown field", "remove the key"]),
        (
            "scan_period_min = \"1s\"",
            "scan_period_min = \"1parsec\"",
            &["machine.balancing.scan_period_min", "unknown unit \"parsec\"", "\"250ms\""],
        ),
        ("size = \"64MiB\"", "size = \"-64MiB\"", &["region.state.size", "negative", "\"256MiB\""]),
        ("size = \"64MiB\"", "size = 64", &["region.state.size", "unit in quotes"]),
        ("size = \"64MiB\"", "size = \"0B\"", &["region.state.size", "larger than zero"]),
        ("node = 0", "node = 7", &["region.state.node", "node 7 does not exist", "nodes 0 to 1"]),
        ("cpu = 2", "cpu = 64", &["thread.dispatch.cpu", "CPU 64 does not exist", "0 1 2 3"]),
        (
            "distance = [10, 21]",
            "distance = [10]",
            &["machine.node[0].distance", "one distance to each node"],
        ),
        ("kernel = \"6.12.95\"", "kernel = \"2.4\"", &["machine.kernel", "\"2.4\"", "6.12.95"]),
        (
            "kernel = \"6.12.95\"",
            "rules = { three_stage_filter = false }\nkernel = \"6.12.95\"",
            &["machine.rules.three_stage_filter", "two_stage_filter"],
        ),
        (
            "kernel = \"6.12.95\"",
            "mems_allowed = [0, 2]\nkernel = \"6.12.95\"",
            &["machine.mems_allowed", "node 2 does not exist", "nodes 0 to 1"],
        ),
        (
            "size = \"64MiB\"",
            "size = \"65MiB\"\nmap = \"huge\"",
            &["region.state.size", "multiple of 2048 KiB"],
        ),
        (
            "policy = \"default\"",
            "map = \"gpu\"\npolicy = \"default\"",
            &["region.state.map", "`shared-file`"],
        ),
        ("policy = \"default\"", "policy = \"interleaved\"", &["region.state.policy", "`bind`"]),
        (
            "policy = \"default\"",
            "nodes = []\npolicy = \"bind\"",
            &["region.state.nodes", "at least one node", "leave the key out"],
        ),
        (
            "policy = \"default\"",
            "nodes = [0, 2]\npolicy = \"interleave\"",
            &["region.state.nodes", "node 2 does not exist", "nodes 0 to 1"],
        ),
        (
            "policy = \"default\"",
            "nodes = [0]\npolicy = \"default\"",
            &["region.state.nodes", "takes no mask"],
        ),
        ("duration = \"7s\"", "duration = \"0s\"", &["run.duration", "longer than zero"]),
        ("seeds = 1", "seeds = 0", &["run.seeds", "at least 1"]),
        ("quantity = [50, 400]", "quantity = [400, 50]", &["parents.quantity", "least ≤ greatest"]),
        ("slices = 10", "slices = 0", &["tactic.slices", "1 to 100000"]),
        ("kind = \"do-nothing\"", "kind = \"magic\"", &["controller.kind", "`four-state`"]),
        ("cpus = [2, 3]", "cpus = [1, 3]", &["machine.node[1].cpus", "CPU 1", "two places"]),
    ];
    for (line, wrong, parts) in cases {
        assert_line_refused(base, line, wrong, parts);
    }
}

/// Whatever number a user types: it runs, or it is explained.
#[test]
fn no_number_makes_it_panic() {
    let scratch = Scratch::new();
    scratch.write("s.toml", movable("migrations.toml"));
    let mut panics = Vec::new();
    for (number, setting) in [
        "machine.hz=7",
        "thread.feed.touches.state.rate=\"0.5/s\"",
        "thread.feed.touches.state.rate=\"9000000000/s\"",
        "region.state.size=\"16000000GiB\"",
        "market.poisson.book=[4000000000]",
        "gateway.latency=\"5000000h\"",
        "gateway.sigma=\"4000000000%\"",
        "tactic.take_fee=-9223372036854775808",
        "disturbance.x={at=\"1s\",batch_load={cpu_node=0,memory_node=1,bandwidth=\"9000000000000GB/s\"}}",
        "market.feed_latency=\"5000000h\"",
        "work.quote.compute=\"5000000h\"",
        "tactic.patience=\"5000000h\"",
        "tactic.child_spacing=\"5000000h\"",
        "parents.quantity=[1000000000, 1000000000]",
        "tactic={schedule=\"vwap\", volume_profile=[4294967295, 0, 1], participation_cap=\"0.0001%\"}",
        "tactic={schedule=\"pov\", participation_rate=\"100%\", catch_up=\"0s\", on_expiry=\"return\", patience=\"0s\"}",
        "tactic={schedule=\"implementation-shortfall\", half_life=\"1ns\"}",
        "tactic={schedule=\"almgren-chriss\", impact={volatility=1e300, temporary=1e-300, permanent=0.0, fixed=0.0, \
         risk_aversion=1e300}}",
        "tactic={schedule=\"almgren-chriss\", impact={volatility=1e150, temporary=1.0, permanent=0.0, fixed=0.0, \
         risk_aversion=1e5}}",
        "tactic={schedule=\"almgren-chriss\", impact={volatility=nan, temporary=inf, permanent=0.0, fixed=0.0, \
         risk_aversion=1.0}}",
        "tactic={placement=\"cross\", immediate_or_cancel=true, cross_through=1000000}",
        "run.seed=9223372036854775807",
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out-{number}");
        let output = program::run(scratch.path(), ["sweep", "s.toml", "--set", setting, "--out", &out]);
        if output.status.code().is_none_or(|code| code == 101) {
            panics.push(format!("--set {setting}: {}", stderr(&output)));
        }
    }
    assert!(panics.is_empty(), "{}", panics.join("\n"));
}

#[test]
fn what_a_touch_or_a_disturbance_names_must_exist() {
    let touch = "region = \"state\", count = 60";
    assert_line_refused(
        "migrations.toml",
        touch,
        "region = \"stat\", count = 60",
        &["work.quote.touches[0].region", "no region \"stat\"", "history state"],
    );
    let moved = "move_thread = { thread = \"dispatch\", cpu = 2 }";
    assert_line_refused(
        "thread-move.toml",
        moved,
        "move_thread = { thread = \"dispatch\", cpu = 99 }",
        &["disturbance.moved.move_thread.cpu", "CPU 99 does not exist"],
    );
    assert_line_refused(
        "thread-move.toml",
        moved,
        "move_thread = { thread = \"pricer\", cpu = 2 }",
        &["disturbance.moved.move_thread.thread", "no thread \"pricer\""],
    );
}

#[test]
fn a_schedule_says_what_it_needs() {
    for (schedule, parts) in [
        ("\"vwap\"", ["tactic.volume_profile", "is missing"]),
        ("\"vwap\"\nvolume_profile = [0, 0]", ["tactic.volume_profile", "one weight above zero"]),
        ("\"pov\"", ["tactic.participation_rate", "\"10%\""]),
        ("\"pov\"\nparticipation_rate = \"0%\"", ["tactic.participation_rate", "more than 0%"]),
        ("\"implementation-shortfall\"", ["tactic.half_life", "\"2s\""]),
        ("\"implementation-shortfall\"\nhalf_life = \"0s\"", ["tactic.half_life", "longer than zero"]),
        ("\"almgren-chriss\"", ["tactic.impact", "risk_aversion"]),
        (
            "\"almgren-chriss\"\nimpact = { volatility = 1.0, temporary = 0.1, permanent = 9.0, fixed = 0.0, \
             risk_aversion = 1.0 }",
            ["tactic.impact", "larger than permanent impact"],
        ),
        ("\"vwop\"", ["tactic.schedule", "implementation-shortfall"]),
    ] {
        let text =
            movable("migrations.toml").replacen("schedule = \"twap\"", &format!("schedule = {schedule}"), 1);
        assert_refused(&text, &parts);
    }
}

#[test]
fn a_pattern_that_does_not_fit_its_region_is_explained() {
    let text = movable("migrations.toml").replacen("size = \"64MiB\"", "size = \"4KiB\"", 1);
    let hot = "pattern = { hot-cold = { pages = \"10%\", touches = \"90%\" } }";
    assert_refused(&text.replace("pattern = \"uniform\"", hot), &["pattern", "hot"]);
}

#[test]
fn a_missing_key_and_a_broken_file_are_explained() {
    let text = movable("migrations.toml");
    assert_refused(&text.replace("hz = 250\n", ""), &["machine", "missing field `hz`", "add it"]);
    assert_refused(
        &(text.clone() + "\n[oops"),
        &["not valid TOML", &format!(":{}", text.lines().count() + 2)],
    );
    assert_refused("", &["missing field"]);
    let choice = "\n[[choice]]\nname = \"one\"\nrung = \"\"\nset.machine.balancing.scan_sise = \"1MiB\"\n";
    let line = text.lines().count() + 5;
    assert_refused(
        &(text.clone() + choice),
        &[&format!("wrong.toml:{line}: "), "scan_sise", "unknown field"],
    );
    let twice = "\n[[choice]]\nname = \"one\"\nrung = \"\"\nset = {}\n".repeat(2);
    assert_refused(&(text + &twice), &["choice[1].name", "earlier choice"]);
    let scratch = Scratch::new();
    let output = program::run(scratch.path(), ["sweep", "nowhere.toml"]);
    assert_explained(&output, &["nowhere.toml", "cannot be read"]);
    scratch.write("noise.toml", [0xff, 0xfe, 0x00, 0x80]);
    assert_explained(
        &program::run(scratch.path(), ["sweep", "noise.toml"]),
        &["noise.toml", "cannot be read"],
    );
    assert_eq!(scratch.names(), ["noise.toml"]);
}

/// Sweeps a test scenario with one of its files replaced; it must fail, explain itself and leave nothing.
fn assert_file_refused(scenario: &str, file: &str, content: impl AsRef<[u8]>, parts: &[&str]) {
    let scratch = Scratch::new();
    let recording = root().join("scenarios/recordings/a_seq_mt.csv");
    let text = movable(scenario).replace(recording.to_str().unwrap(), "recording.csv");
    scratch.write("s.toml", text);
    for (from, to) in [
        (scenario_file("parents.csv"), "parents.csv"),
        (scenario_file("messages.csv"), "messages.csv"),
        (recording, "recording.csv"),
    ] {
        std::fs::copy(from, scratch.path().join(to)).unwrap();
    }
    scratch.write(file, content);
    let output = program::run(scratch.path(), ["sweep", "s.toml", "--out", "out"]);
    assert_explained(&output, parts);
    assert_eq!(scratch.names(), ["messages.csv", "parents.csv", "recording.csv", "s.toml"]);
}

const GARBAGE: [u8; 12] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0xff, 0xfe, 0x00, 0x01];

#[test]
fn wrong_parents_files_are_refused() {
    let header = "arrival_s,side,quantity,horizon_s\n";
    let cases: [(String, &[&str]); 9] = [
        (String::new(), &["parents.csv:1", "header"]),
        (header.to_owned(), &["parents.csv:2", "no parent orders", "add rows"]),
        (format!("{header}1,buy,50,1\n2,buy,5"), &["parents.csv:3", "4", "truncated"]),
        (format!("{header}1,buy,50,1\n0.5,buy,50,1\n"), &["parents.csv:3", "arrival_s", "sort the file"]),
        (format!("{header}1,long,50,1\n"), &["parents.csv:2", "side", "\"buy\" or \"sell\""]),
        (format!("{header}1,buy,-50,1\n"), &["parents.csv:2", "quantity", "whole lots"]),
        (format!("{header}-1,buy,50,1\n"), &["parents.csv:2", "arrival_s", "number of seconds"]),
        (format!("{header}1,buy,50,1000\n"), &["parents.csv:2", "horizon_s", "lengthen the run"]),
        (format!("{header}99999999999999999999,buy,50,1\n"), &["parents.csv:2", "arrival_s"]),
    ];
    for (content, parts) in cases {
        assert_file_refused("thread-move.toml", "parents.csv", content, parts);
    }
    assert_file_refused(
        "thread-move.toml",
        "parents.csv",
        GARBAGE,
        &["s.toml:", "parents.csv", "cannot be read"],
    );
}

#[test]
fn wrong_recorded_flows_are_refused() {
    let good = "34200.1,1,1,100,1000000,1\n34200.2,1,2,100,1000100,-1\n";
    let cases: [(String, &[&str]); 8] = [
        (String::new(), &["messages.csv:1", "empty", "time,type,id,size,price,direction"]),
        (format!("{good}34200.3,1,3,10"), &["messages.csv:3", "cut short", "fetch the file again"]),
        (format!("{good}34200.15,1,3,100,1000000,1\n"), &["messages.csv:3", "time runs back", "sort"]),
        (format!("time,type,id\n{good}"), &["messages.csv:1", "expected 6 columns", "found 3"]),
        (format!("{good}34200.3,1,3,100,1000050,1\n"), &["messages.csv:3", "1000050", "tick"]),
        (format!("{good}34200.3,1,1,100,1000000,1\n"), &["messages.csv:3", "unique"]),
        (format!("{good}34200.3,9,3,100,1000000,1\n"), &["messages.csv:3", "type", "expected"]),
        (good.to_owned(), &["s.toml:", "market.recorded.file", "lower run.seeds"]),
    ];
    for (content, parts) in cases {
        assert_file_refused("recorded-flow.toml", "messages.csv", content, parts);
    }
    assert_file_refused("recorded-flow.toml", "messages.csv", GARBAGE, &["messages.csv:1"]);
}

#[test]
fn wrong_recordings_are_refused() {
    let whole = std::fs::read_to_string(root().join("scenarios/recordings/a_seq_mt.csv")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let (header, rows) = (lines[0], &lines[1..]);
    let cut = &whole[..whole.len() / 2];
    let cut_at = format!("recording.csv:{}", cut.lines().count());
    let swapped = [header, rows[1], rows[0], rows[2]].join("\n");
    let missing = whole.replace("numa_hint_faults,", "numa_faults,");
    let cases: [(String, &[&str]); 6] = [
        (String::new(), &["recording.csv"]),
        (format!("{header}\n"), &["recording.csv"]),
        (cut.to_owned(), &[&cut_at]),
        (swapped + "\n", &["recording.csv:3", "time_ms"]),
        (missing, &["recording.csv:1", "numa_hint_faults"]),
        (lines[..4].join("\n") + "\n", &["recording.file", "shorten the run"]),
    ];
    for (content, parts) in cases {
        assert_file_refused("recorded-host.toml", "recording.csv", content, parts);
    }
    assert_file_refused(
        "recorded-host.toml",
        "recording.csv",
        GARBAGE,
        &["s.toml:", "recording.csv", "cannot be read"],
    );
    let letters = whole.replacen("\n700.1,32768,", "\n700.1,many,", 1);
    let at = format!("recording.csv:{}", line_of(&letters, ",many,"));
    assert_file_refused("recorded-host.toml", "recording.csv", letters, &[&at, "numa_pte_updates"]);
}

#[test]
fn wrong_arguments_are_explained() {
    let scratch = Scratch::new();
    scratch.write("s.toml", movable("migrations.toml"));
    let cases: [(&[&str], &[&str]); 12] = [
        (&["run", "s.toml", "--choice", "nobody"], &["--choice \"nobody\"", "\"migrations\""]),
        (&["sweep", "s.toml", "--set", "run.seeds"], &["--set run.seeds", "key=value", "--set run.seeds=5"]),
        (&["sweep", "s.toml", "--set", "run.sedes=5"], &["run.sedes", "unknown field"]),
        (&["sweep", "s.toml", "--set", "run.seeds=many"], &["run.seeds", "invalid type"]),
        (
            &["sweep", "s.toml", "--set", "region.state.size=1GB"],
            &["region.state.size", "unknown unit \"GB\"", "GiB"],
        ),
        (&["sweep", "s.toml", "--set", "=5"], &["--set =5", "key=value"]),
        (&["sweep", "s.toml", "--assumed", "2"], &["--assumed", "x0.5"]),
        (&["sweep", "s.toml", "--assumed", "x0"], &["--assumed", "above 0"]),
        (&["sweep", "s.toml", "--assumed", "x1,x-2"], &["--assumed", "x0.5"]),
        (&["sweep", "s.toml", "--seeds=-1"], &["--seeds"]),
        (&["sweep", "s.toml", "--jobs", "some"], &["--jobs"]),
        (&["sweep"], &["<SCENARIO>", "--help"]),
    ];
    for (arguments, parts) in cases {
        let output = program::run(scratch.path(), arguments.iter().copied());
        assert_explained(&output, parts);
        assert_eq!(scratch.names(), ["s.toml"], "{arguments:?} leaves nothing behind");
    }
}

#[test]
fn assumed_costs_are_scaled_and_verdicts_told() {
    let scratch = Scratch::new();
    let off = "\n[[choice]]\nname = \"base\"\nrung = \"\"\nset = {}\n[[choice]]\nname = \"off\"\nrung = \"\"\n\
               set.machine.balancing.enabled = false\n";
    scratch.write("s.toml", movable("migrations.toml") + off);
    let output = program::run(scratch.path(), ["sweep", "s.toml", "--assumed", "x0.5,x2", "--out", "out"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(scratch.path().join("out/assumed.txt")).unwrap();
    for part in ["Assumed costs x0.5", "Assumed costs x2", "off", "q95", "q99", "holds"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_place_that_is_taken_or_cannot_be_written_is_refused_and_left_as_it_was() {
    let scratch = Scratch::new();
    scratch.write("s.toml", movable("migrations.toml"));
    std::fs::create_dir(scratch.path().join("full")).unwrap();
    scratch.write("full/summary.json", "mine");
    scratch.write("file", "mine");
    let sweep = |out: &str| program::run(scratch.path(), ["sweep", "s.toml", "--out", out]);
    assert_explained(&sweep("full"), &["full already holds files", "name another folder"]);
    assert_explained(&sweep("file"), &["file is a file", "name a folder"]);
    assert_explained(&sweep("file/below"), &["a part of the path is a file"]);
    assert_explained(&sweep("/proc/results"), &["/proc/"]);
    assert_eq!(scratch.names(), ["file", "full", "s.toml"]);
    assert_eq!(program::names(&scratch.path().join("full")), ["summary.json"]);
    for kept in ["file", "full/summary.json"] {
        assert_eq!(std::fs::read_to_string(scratch.path().join(kept)).unwrap(), "mine");
    }
    assert!(sweep("results/deep/new").status.success());
    assert_explained(&sweep("results/deep/new"), &["already holds files"]);
}

#[cfg(unix)]
#[test]
fn a_folder_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    scratch.write("s.toml", movable("migrations.toml"));
    let locked = scratch.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    let allow = |mode| std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    if std::fs::create_dir(locked.join("probe")).is_ok() {
        eprintln!("skipped: this user may write anywhere");
    } else {
        let output = program::run(scratch.path(), ["sweep", "s.toml", "--out", "locked/out"]);
        assert_explained(&output, &["locked", "name a folder that you may write to"]);
    }
    allow(0o755);
    assert!(program::names(&locked).iter().all(|name| name == "probe"));
}

/// A small file system in memory that is unmounted at the end.
#[cfg(target_os = "linux")]
struct SmallDisk<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).output();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_that_looks_whole() {
    let scratch = Scratch::new();
    let scenario = scratch.write("s.toml", movable("migrations.toml"));
    let disk = scratch.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=16k", "tmpfs"];
    let mounted = std::process::Command::new("mount").args(mount).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no small file system can be mounted here");
        return;
    }
    let _unmount = SmallDisk(&disk);
    let output = program::run(&disk, ["sweep", scenario.to_str().unwrap(), "--out", "out"]);
    assert_explained(&output, &["cannot write", "free space"]);
    assert_eq!(program::names(&disk), [""; 0]);
}

#[test]
fn a_new_scenario_sweeps_and_is_never_overwritten() {
    let scratch = Scratch::new();
    let output = program::run(scratch.path(), ["new", "mine.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("numashock sweep mine.toml"));
    let written = std::fs::read_to_string(scratch.path().join("mine.toml")).unwrap();
    assert!(written.lines().filter(|line| line.trim_start().starts_with('#')).count() > 5, "it is commented");
    let output = program::run(scratch.path(), ["sweep", "mine.toml", "--seeds", "1", "--out", "out"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let names = program::names(&scratch.path().join("out"));
    for name in ["scenario.toml", "summary.json", "parents.parquet", "buckets.parquet", "metrics.parquet"] {
        assert!(names.iter().any(|found| found == name), "{name} is missing: {names:?}");
    }
    let again = program::run(scratch.path(), ["new", "mine.toml"]);
    assert_explained(&again, &["mine.toml", "exists already", "choose another name"]);
    assert_eq!(std::fs::read_to_string(scratch.path().join("mine.toml")).unwrap(), written);
}

#[test]
fn run_takes_one_choice() {
    let scratch = Scratch::new();
    let two = "\n[[choice]]\nname = \"base\"\nrung = \"\"\nset = {}\n[[choice]]\nname = \"other\"\nrung = \"\"\n\
               set.region.state = { node = 1, policy = \"bind\" }\n";
    scratch.write("s.toml", movable("migrations.toml") + two);
    let output = program::run(scratch.path(), ["run", "s.toml", "--choice", "other", "--out", "out"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = std::fs::read(scratch.path().join("out/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let names: Vec<_> = summary["choices"].as_array().unwrap().iter().map(|choice| &choice["name"]).collect();
    assert_eq!(names, ["other"]);
}

#[test]
fn validating_a_flow_writes_the_best_quotes() {
    let scratch = Scratch::new();
    // A bid, an ask, a better bid, part of it cancelled, the ask executed in two parts, the better bid deleted.
    let messages = "10.5,1,1,100,999900,1\n10.6,1,2,50,1000100,-1\n10.7,1,3,30,1000000,1\n10.8,2,3,10,1000000,1\n\
                    10.9,4,2,20,1000100,-1\n11,1,4,70,1000200,-1\n11.25,4,2,30,1000100,-1\n11.5,3,3,20,1000000,1\n";
    scratch.write("messages.csv", messages);
    let output = program::run(scratch.path(), ["validate", "flow", "messages.csv", "--quotes", "quotes.csv"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let quotes = std::fs::read_to_string(scratch.path().join("quotes.csv")).unwrap();
    let rows: Vec<&str> = quotes.lines().collect();
    assert_eq!(rows[0], "time,bid,bid_size,ask,ask_size");
    let cells: Vec<Vec<f64>> =
        rows[1..].iter().map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
    let expected = [
        [10.5, 999_900.0, 100.0, 9_999_999_999.0, 0.0],
        [10.6, 999_900.0, 100.0, 1_000_100.0, 50.0],
        [10.7, 1_000_000.0, 30.0, 1_000_100.0, 50.0],
        [10.8, 1_000_000.0, 20.0, 1_000_100.0, 50.0],
        [10.9, 1_000_000.0, 20.0, 1_000_100.0, 30.0],
        [11.25, 1_000_000.0, 20.0, 1_000_200.0, 70.0],
        [11.5, 999_900.0, 100.0, 1_000_200.0, 70.0],
    ];
    assert_eq!(cells, expected, "{quotes}");
    for part in ["rows", "8", "7"] {
        assert!(report.contains(part), "{report}");
    }
    assert_eq!(scratch.names(), ["messages.csv", "quotes.csv"]);
}

/// Whatever wraps the rows, the quotes are the same.
#[test]
fn a_flow_may_be_compressed_have_a_header_and_other_line_ends() {
    let scratch = Scratch::new();
    let rows =
        "10.5,1,5,100,999900,1\n10.6,7,0,0,-1,-1\n10.7,7,0,0,0,-1\n10.8,7,0,0,1,-1\n10.9,3,4,50,1000100,-1\n";
    let header = format!("Time,Type,OrderID,Size,Price,Direction\n{rows}");
    let crlf = header.replace('\n', "\r\n");
    scratch.write("plain.csv", rows);
    scratch.write("header.csv", &header);
    scratch.write("crlf.csv", &crlf);
    scratch.write("packed.csv", gzip(crlf.as_bytes()));
    for (file, header) in [("plain.csv", "0"), ("header.csv", "1"), ("crlf.csv", "1"), ("packed.csv", "1")] {
        let output = program::run(scratch.path(), ["validate", "flow", file, "--quotes", "quotes.csv"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = |what: &str| {
            let line = report.lines().find(|line| line.starts_with(what));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or("0")
        };
        assert_eq!(count("header lines"), header, "{report}");
        assert_eq!((count("halts"), count("quoting resumed"), count("trading resumed")), ("1", "1", "1"));
        assert_eq!(count("orders recovered at the opening"), "1");
        let quotes = std::fs::read_to_string(scratch.path().join("quotes.csv")).unwrap();
        let expected = "time,bid,bid_size,ask,ask_size\n10.500000000,999900,100,1000100,50\n10.900000000,999900,100,9999999999,0\n";
        assert_eq!(quotes, expected);
    }
    let output = program::run(
        scratch.path(),
        ["validate", "flow", "plain.csv", "--quotes", "quotes.csv", "--opening", "empty"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let quotes = std::fs::read_to_string(scratch.path().join("quotes.csv")).unwrap();
    assert_eq!(quotes, "time,bid,bid_size,ask,ask_size\n10.500000000,999900,100,9999999999,0\n");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_flow_that_is_wrong_leaves_no_quotes() {
    let scratch = Scratch::new();
    scratch.write("back.csv", "10.5,1,1,100,999900,1\n10.4,1,2,50,1000100,-1\n");
    scratch.write("empty.csv", "");
    let validate = |file: &str, quotes: &str| {
        program::run(scratch.path(), ["validate", "flow", file, "--quotes", quotes])
    };
    assert_explained(&validate("back.csv", "quotes.csv"), &["back.csv:2", "time runs back", "sort"]);
    assert_explained(&validate("empty.csv", "quotes.csv"), &["empty.csv:1", "empty"]);
    for (row, parts) in [
        ("10.5,1,2,0,1000100,-1", &["bad.csv:2", "column size", "1 to 1,000,000,000"][..]),
        ("10.5,1,2,18446744073709551616,1000100,-1", &["bad.csv:2", "column size"]),
        ("10.5,1,2,5,-1000100,-1", &["bad.csv:2", "column price", "positive"]),
        ("10.5,1,1,5,999900,1", &["bad.csv:2", "id 1", "two files"]),
        ("10.5,7,0,0,17,-1", &["bad.csv:2", "halt", "-1 (halted)"]),
        ("10.5,1,2,50,10001", &["bad.csv:2", "cut short", "fetch"]),
    ] {
        scratch.write("bad.csv", format!("10.5,1,1,100,999900,1\n{row}"));
        assert_explained(&validate("bad.csv", "quotes.csv"), parts);
    }
    std::fs::remove_file(scratch.path().join("bad.csv")).unwrap();
    scratch.write("cut.csv.gz", &gzip(b"10.5,1,1,100,999900,1\n")[..20]);
    assert_explained(&validate("cut.csv.gz", "quotes.csv"), &["cut.csv.gz:1", "gzip", "cut short"]);
    std::fs::remove_file(scratch.path().join("cut.csv.gz")).unwrap();
    assert_explained(&validate("none.csv", "quotes.csv"), &["none.csv", "cannot be read"]);
    assert_explained(
        &validate("back.csv", "none/quotes.csv"),
        &["quotes.csv", "cannot be written", "--quotes"],
    );
    assert_eq!(scratch.names(), ["back.csv", "empty.csv"]);
}

#[test]
fn help_of_every_subcommand_has_an_example() {
    for subcommand in
        [&["run"][..], &["sweep"], &["new"], &["record"], &["validate", "flow"], &["validate", "kernel"]]
    {
        let output = program::run(&root(), subcommand.iter().copied().chain(["--help"]));
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Example: numashock"), "{subcommand:?}: {text}");
    }
}

/// A folder with the recording of one run in which balancing is off: nothing happens, and the model says so too.
fn traces(scratch: &Scratch, args: &str) {
    let run = format!(
        r#"{{"name": "quiet", "csv": "quiet.csv", "kernel": "Linux 6.12.95+deb12-amd64 #1", "info": ["worker pid=195"],
        "sysctls": {{"scan_delay_ms": "1000", "scan_period_max_ms": "60000", "scan_period_min_ms": "1000",
                     "scan_size_mb": "256", "numa_balancing": "0"}},
        "nodes": {{"node0": {{"cpus": "0-1", "distance": "10,20", "memfree_kb": "1480336"}},
                   "node1": {{"cpus": "2-3", "distance": "20,10", "memfree_kb": "1455360"}}}},
        "spec": {{"accel": "icount", "args": {args}}}}}"#
    );
    let missing = run.replace("quiet", "missing");
    scratch.write("manifest.json", format!("[{run}]"));
    scratch.write("two.json", format!("[{missing}, {run}]"));
    let mut csv = "time_ms,numa_pte_updates,numa_huge_pte_updates,numa_hint_faults,numa_hint_faults_local,numa_pages_migrated,\
                   mm_numa_scan_seq,mm_numa_scan_offset_mb,mm_next_scan_in_ms,t0_touches,t0_runtime_ms,t0_node_stamp_ms,\
                   t0_scan_period_ms,t0_scan_period_max_ms,t0_preferred_nid\n-5.0,0,0,0,0,0,0,0,-200,0,337,0,1000,0,-1\n"
        .to_owned();
    for row in 1..=10 {
        csv += &format!("{}.1,0,0,0,0,0,0,0,0,0,{},0,1000,0,-1\n", row * 100, 340 + row * 100);
    }
    scratch.write("quiet.csv", csv);
}

#[test]
fn validating_kernels_says_by_its_code_whether_they_agree() {
    let scratch = Scratch::new();
    let args = r#"{"size_mb": 8, "cpus": "2", "rate": 2000, "secs": 1, "idle_threads": 1}"#;
    traces(&scratch, args);
    let validate =
        |more: &[&str]| program::run(scratch.path(), ["validate", "kernel", "."].iter().chain(more));
    let output = validate(&["--plot", "all.svg"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 runs: 1 agree"), "{text}");
    let svg = std::fs::read_to_string(scratch.path().join("all.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("quiet: agrees"));
    assert_eq!(validate(&["--plot", "pictures"]).status.code(), Some(0));
    assert_eq!(program::names(&scratch.path().join("pictures")), ["quiet.svg"]);
    assert_explained(
        &validate(&["--plot", "none/all.svg"]),
        &["none/all.svg", "cannot be written", "--plot"],
    );

    // Marks that the model does not make.
    let csv = std::fs::read_to_string(scratch.path().join("quiet.csv")).unwrap();
    scratch.write("quiet.csv", csv.replace(".1,0,0,", ".1,4096,0,"));
    let output = validate(&["--details"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("DEVIATES") && text.contains("FAIL final numa_pte_updates"), "{text}");

    // A recording that is missing does not keep the other from being compared.
    scratch.write("quiet.csv", csv);
    std::fs::rename(scratch.path().join("two.json"), scratch.path().join("manifest.json")).unwrap();
    let output = validate(&["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["runs"][0]["verdict"].as_str().unwrap().contains("missing.csv: cannot be read"));
    assert_eq!(report["runs"][1]["verdict"], "agrees");
    assert_eq!(
        report["summary"],
        serde_json::json!({"agree": 1, "deviate": 0, "not_modelled": 0, "unreadable": 1})
    );
}

#[test]
fn a_folder_in_which_nothing_could_be_compared_is_no_success() {
    let scratch = Scratch::new();
    let validate = |more: &[&str]| {
        let output = program::run(scratch.path(), ["validate", "kernel", "."].iter().chain(more));
        (output.status.code(), stderr(&output), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    traces(&scratch, r#"{"size_mb": 8, "cpus": "2", "secs": 1, "flavour": "sour"}"#);
    let (code, error, table) = validate(&[]);
    assert_eq!(code, Some(1), "{table}");
    assert!(error.contains("no run could be compared: 1 not modelled, 0 unreadable"), "{error}");
    assert!(table.contains("spec.args.flavour=sour"), "{table}");
    std::fs::remove_file(scratch.path().join("quiet.csv")).unwrap();
    let (code, error, json) = validate(&["--json"]);
    assert_eq!(code, Some(2), "{json}");
    assert!(error.contains("no run could be compared: 0 not modelled, 1 unreadable"), "{error}");
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
}

#[test]
fn a_folder_without_usable_manifest_is_explained() {
    let scratch = Scratch::new();
    let validate = || program::run(scratch.path(), ["validate", "kernel", "."]);
    assert_explained(&validate(), &["manifest.json", "cannot be read"]);
    scratch.write("manifest.json", "{}");
    assert_explained(&validate(), &["manifest.json, line 1", "Expected an array of objects"]);
    scratch.write("manifest.json", "[]");
    assert_explained(&validate(), &["no run is listed"]);
}
