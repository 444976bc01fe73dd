//! Each disturbance has its scenario, does what the scenario's header says, and does it in every world alike.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use numashock_accounting::Mechanisms;
use numashock_controller::Level;
use numashock_experiment::results::SweepResults;
use numashock_experiment::sweep::{SweepOptions, run_once, simulation, sweep};
use numashock_machine::{NodeId, RegionId, ThreadId};
use numashock_sim::scenario::config::{Host, HostId};
use numashock_sim::scenario::{Choice, Scenario};
use numashock_sim::{Bucket, RunResult};

use crate::program::{self, Scratch};
use crate::root;

/// Every scenario of `scenarios/disturbances`.
const NAMES: [&str; 12] = [
    "bandwidth-hog",
    "batch-job",
    "clock-step",
    "gateway-disconnect",
    "gateway-throttle",
    "irq-storm",
    "market-data-burst",
    "memory-pressure",
    "scanner-storm",
    "steal",
    "telemetry-gap",
    "thread-move",
];
const SEEDS: u32 = 2;
const SECOND: u64 = 1_000_000_000;

fn file(name: &str) -> std::path::PathBuf {
    root().join("scenarios/disturbances").join(format!("{name}.toml"))
}

fn choices(name: &str, settings: &[&str]) -> Vec<Choice> {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Scenario::read(&file(name), &settings).unwrap().choices(1_000_000).unwrap()
}

fn real(choice: &Choice, seed: u32) -> RunResult {
    run_once(&choice.config, seed, Mechanisms::REAL, true, 0)
}

/// The real runs of each choice, by seed.
fn runs(name: &str) -> Vec<Vec<RunResult>> {
    choices(name, &[]).iter().map(|choice| (0..SEEDS).map(|seed| real(choice, seed)).collect()).collect()
}

/// The baseline and one choice, pair by pair.
fn pairs(runs: &[Vec<RunResult>], choice: usize) -> impl Iterator<Item = (&RunResult, &RunResult)> {
    runs[0].iter().zip(&runs[choice])
}

fn sum(run: &RunResult, seconds: Range<usize>, part: impl Fn(&Bucket) -> u64) -> u64 {
    run.hosts[0].seconds[seconds].iter().map(part).sum()
}

/// The median of the seconds' median decision latencies.
fn latency(run: &RunResult, seconds: Range<usize>) -> u64 {
    let mut medians: Vec<u64> =
        run.hosts[0].seconds[seconds].iter().filter_map(|bucket| bucket.latency_q50_ns).collect();
    medians.sort_unstable();
    medians[medians.len() / 2]
}

fn migrated(bucket: &Bucket) -> u64 {
    bucket.counters.numa_pages_migrated
}

fn faults(bucket: &Bucket) -> u64 {
    bucket.counters.numa_hint_faults
}

fn swept(choices: &[Choice]) -> SweepResults {
    let done = AtomicU64::new(0);
    sweep(
        choices,
        SweepOptions { scenario: "disturbances", jobs: 2, done: &done, attribution: false, children: false },
    )
}

#[test]
fn every_kind_has_a_scenario_that_is_tested_here() {
    let names = program::names(&root().join("scenarios/disturbances"));
    assert_eq!(names, NAMES.map(|name| format!("{name}.toml")));
    let mut kinds: Vec<&str> = Vec::new();
    for name in NAMES {
        for run in runs_of_disturbed(name) {
            assert!(!run.disturbances.is_empty(), "{name}: something happens");
            kinds.extend(run.disturbances.iter().map(|one| one.disturbance.kind()));
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let all = "batch_job batch_load clock_step gateway_disconnect gateway_throttle irq_storm market_data_burst \
               memory_pressure move_thread set_knobs steal telemetry_gap";
    assert_eq!(kinds.join(" "), all);
}

fn runs_of_disturbed(name: &str) -> Vec<RunResult> {
    choices(name, &["run.seeds=1"]).iter().skip(1).map(|choice| real(choice, 0)).collect()
}

/// What is no NUMA balancing happens in every world alike (attribution: A3 to A5, A7).
#[test]
fn a_disturbance_is_the_same_in_every_world() {
    let queue_decay = Mechanisms { queue_decay: true, ..Mechanisms::FREE };
    for name in NAMES {
        let undisturbed = real(&choices(name, &[])[0], 0).hash;
        for choice in &choices(name, &["machine.balancing.enabled=true"])[1..] {
            let free = run_once(&choice.config, 0, Mechanisms::FREE, true, 0);
            let decay = run_once(&choice.config, 0, queue_decay, true, 0);
            assert_eq!(free.hash, decay.hash, "{name}: queue decay alone is the free world");
            let real = real(choice, 0);
            assert_eq!(real.disturbances, free.disturbances, "{name}: the same things happen");
            assert_ne!(real.hash, undisturbed, "{name}: the disturbance is in the hash");
        }
        let off = ["machine.balancing.enabled=false", "controller.kind=\"do-nothing\""];
        for choice in &choices(name, &off)[1..] {
            let [real, free, never] =
                [(Mechanisms::REAL, true), (Mechanisms::FREE, true), (Mechanisms::FREE, false)]
                    .map(|(mechanisms, balancing)| run_once(&choice.config, 0, mechanisms, balancing, 0));
            if choice.config.balances() {
                continue;
            }
            assert_eq!((real.hash, free.hash), (free.hash, never.hash), "{name}: without balancing");
            assert!(real.parents.iter().any(|parent| parent.shortfalls.swept.is != 0), "{name}");
        }
    }
}

#[test]
fn a_null_experiment_under_each_disturbance_gives_exactly_zero() {
    for name in NAMES {
        let disturbed = choices(name, &["run.seeds=1", "controller.kind=\"do-nothing\""]).remove(1);
        let again = Choice { name: "again".to_owned(), ..disturbed.clone() };
        let results = swept(&[disturbed, again]);
        let rows = |choice: u32| results.parents.iter().filter(move |row| row.choice == choice);
        assert!(rows(0).count() > 0);
        for (one, two) in rows(0).zip(rows(1)) {
            let cost = |row: &numashock_experiment::results::ParentRow| (row.is, row.c_numa, row.c_placement);
            assert_eq!(cost(one), cost(two), "{name}");
        }
    }
}

/// A run whose disturbances come from the log instead of the tables is the run that wrote the log.
#[test]
fn the_log_replays() {
    let scratch = Scratch::new();
    for name in NAMES {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let settings = ["run.seeds=2".to_owned()];
        let wrote =
            swept(&Scenario::parse(&file(name), &text, &settings).unwrap().choices(1_000_000).unwrap());
        let log: String = wrote.disturbances.iter().map(|line| line.to_json() + "\n").collect();
        let tables = text.lines().filter(|line| line.starts_with("set.disturbance."));
        assert!(tables.count() > 0, "{name}");
        let bare: String = text
            .lines()
            .map(|line| {
                if line.starts_with("set.disturbance.") {
                    "set = {}\n".to_owned()
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let replayed = |log: &str| {
            let path = scratch.write(&format!("{name}.jsonl"), log);
            let bare = format!("injector_log = {:?}\n{bare}", path.to_str().unwrap());
            swept(&Scenario::parse(&file(name), &bare, &settings).unwrap().choices(1_000_000).unwrap())
        };
        let again = replayed(&log);
        assert_eq!(again.summary.event_hash, wrote.summary.event_hash, "{name}");
        assert_eq!(again.parents, wrote.parents, "{name}");
        assert_eq!(again.disturbances, wrote.disturbances, "{name}: the replay writes the same log");
        let without_last: String = log.lines().rev().skip(1).map(|line| format!("{line}\n")).collect();
        let other: String = without_last.lines().rev().map(|line| format!("{line}\n")).collect();
        assert_ne!(replayed(&other).summary.event_hash, wrote.summary.event_hash, "{name}: a line less");
    }
}

#[test]
fn a_results_folder_holds_the_log_and_can_be_replayed() {
    let scratch = Scratch::new();
    let scenario = file("irq-storm");
    let sweep = |out: &str, more: &[&str]| {
        let mut arguments = vec!["sweep", scenario.to_str().unwrap(), "--seeds", "2", "--out", out];
        arguments.extend(more);
        let output = program::run(scratch.path(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| std::fs::read(scratch.path().join(out).join(name)).unwrap();
        [read("disturbances.jsonl"), read("parents.parquet"), read("summary.json")]
    };
    let first = sweep("first", &[]);
    let log = scratch.path().join("first/disturbances.jsonl");
    let second = sweep("second", &["--set", &format!("injector_log={:?}", log.to_str().unwrap())]);
    assert!(first == second, "the same bytes");
    assert!(scratch.path().join("second/input-0-disturbances.jsonl").exists(), "the input goes along");
}

#[test]
fn a_batch_job_fills_the_node_and_slows_the_work() {
    for (calm, job) in pairs(&runs("batch-job"), 1) {
        assert!(sum(calm, 4..8, migrated) > 0, "the history comes over");
        assert_eq!(sum(job, 4..8, migrated), 0, "not to a full node");
        assert!(sum(job, 8..12, migrated) > 0, "afterwards it does");
        let q50 = |run: &RunResult, second: usize| run.hosts[0].seconds[second].latency_q50_ns.unwrap();
        assert!(
            (4..8).all(|second| q50(job, second) > q50(calm, second) + 2_000),
            "misses wait for the stream"
        );
        assert!(latency(job, 9..12) * 10 < latency(calm, 9..12) * 11, "and no longer than it");
    }
}

#[test]
fn a_bandwidth_hog_slows_the_work_and_moves_nothing() {
    for (calm, hog) in pairs(&runs("bandwidth-hog"), 1) {
        assert_eq!(latency(calm, 2..5), latency(hog, 2..5));
        assert!(latency(hog, 5..9) * 10 > latency(calm, 5..9) * 12, "misses wait for the stream");
        assert!(latency(hog, 9..12) * 10 < latency(calm, 9..12) * 11, "and no longer than it");
        assert_eq!(hog.hosts[0].counters.numa_pages_migrated, calm.hosts[0].counters.numa_pages_migrated);
    }
}

#[test]
fn a_moved_thread_faults_remotely_until_its_pages_have_followed() {
    let remote = |bucket: &Bucket| bucket.counters.numa_hint_faults - bucket.counters.numa_hint_faults_local;
    for (calm, moved) in pairs(&runs("thread-move"), 1) {
        assert_eq!(sum(calm, 0..16, remote) + sum(moved, 0..5, remote), 0, "all is local");
        assert!(sum(moved, 5..9, remote) > 1_000 && sum(moved, 5..9, migrated) > 1_000);
        assert!(sum(moved, 9..16, migrated) > 0, "and back");
    }
    let choice = &choices("thread-move", &[])[1];
    let mut stepped = simulation(&choice.config, 0, Mechanisms::REAL, true);
    let mut seen = Vec::new();
    while stepped.step().is_some() {
        let cpu = stepped.machine(HostId(0)).unwrap().thread(ThreadId(0)).cpu.0;
        if seen.last() != Some(&cpu) {
            seen.push(cpu);
        }
    }
    assert_eq!(seen, [0, 2, 0], "it goes back to where it was");
}

#[test]
fn a_full_node_refuses_migrations_and_the_failure_sticks() {
    for (calm, full) in pairs(&runs("memory-pressure"), 1) {
        assert!(sum(calm, 3..7, migrated) > 0);
        assert_eq!(sum(full, 3..7, migrated), 0);
        assert!(sum(full, 3..7, faults) > 0, "pages fault all the same");
    }
    // The feed handler's failed migrations, and what they do to its scan period.
    let [calm, full] = [0, 1].map(|choice| {
        let choice = &choices("memory-pressure", &[])[choice];
        let mut stepped = simulation(&choice.config, 0, Mechanisms::REAL, true);
        let mut failed = 0;
        while stepped.step().is_some_and(|now| now.0 < 7 * SECOND) {
            failed = failed.max(stepped.machine(HostId(0)).unwrap().thread(ThreadId(1)).locality[2]);
        }
        let period = stepped.machine(HostId(0)).unwrap().thread(ThreadId(1)).scan_period_ms;
        (failed, period)
    });
    assert_eq!(calm.0, 0);
    assert!(full.0 > 0, "refusals are noted");
    assert!(full.1 > calm.1, "and slow the scanner: {full:?} {calm:?}");
}

#[test]
fn a_scanner_storm_marks_more_and_leaves_the_knobs_as_they_were() {
    let marked = |bucket: &Bucket| bucket.counters.numa_pte_updates;
    for (calm, storm) in pairs(&runs("scanner-storm"), 1) {
        assert_eq!(sum(calm, 0..5, marked), sum(storm, 0..5, marked));
        let [quiet, loud] = [calm, storm].map(|run| sum(run, 5..9, marked));
        assert!(loud > 2 * quiet, "{loud} marked in the storm, {quiet} without");
        assert!(sum(storm, 5..9, faults) > sum(calm, 5..9, faults));
        let stalls = |run: &RunResult| -> u64 {
            run.parents
                .iter()
                .map(|parent| parent.stalls.dispatch_jitter.0 + parent.stalls.hint_fault.0)
                .sum()
        };
        assert!(stalls(storm) > stalls(calm), "the dispatch thread feels it");
    }
    let choice = &choices("scanner-storm", &[])[1];
    let Host::Model(host) = &choice.config.hosts[0].host else { panic!("the host is simulated") };
    let mut stepped = simulation(&choice.config, 0, Mechanisms::REAL, true);
    while stepped.step().is_some_and(|now| now.0 < 6 * SECOND) {}
    assert_eq!(stepped.machine(HostId(0)).unwrap().knobs().scan_period_min_ms, 100);
    while stepped.step().is_some() {}
    assert_eq!(stepped.machine(HostId(0)).unwrap().knobs(), host.machine.knobs);
}

#[test]
fn an_interrupt_storm_is_base_time_and_no_cost_of_balancing() {
    for (calm, storm) in pairs(&runs("irq-storm"), 1) {
        assert_eq!(latency(calm, 2..5), latency(storm, 2..5));
        // Two fifths of the CPU are gone: at least 1.4 times as long, and no more than one interrupt beyond 5/3.
        let [quiet, loud] = [calm, storm].map(|run| latency(run, 5..9));
        assert!(loud * 10 > quiet * 14 && loud < quiet * 5 / 3 + 20_000, "{quiet} {loud}");
        assert!(latency(storm, 9..12) * 10 < latency(calm, 9..12) * 11);
    }
    let results = swept(&choices("irq-storm", &["run.seeds=2"]));
    for row in &results.parents {
        assert_eq!((row.c_numa, row.c_placement, row.stall_dispatch_jitter_ns), (0, 0, 0), "{row:?}");
    }
    let storms = |seed: u32| {
        let of_seed = results.disturbances.iter().filter(move |line| line.seed == seed);
        let random = of_seed.filter(|line| line.choice == "random storms");
        random.map(|line| line.time_ns).collect::<Vec<_>>()
    };
    assert!(storms(0) != storms(1) && !storms(0).is_empty(), "random storms depend on the seed");
}

#[test]
fn stolen_time_makes_everything_take_longer() {
    for (calm, stolen) in pairs(&runs("steal"), 1) {
        assert_eq!(latency(calm, 2..5), latency(stolen, 2..5));
        let [quiet, loud] = [calm, stolen].map(|run| latency(run, 5..9));
        assert!(loud * 10 > quiet * 18 && loud * 10 < quiet * 25, "twice as long: {quiet} {loud}");
        assert!(latency(stolen, 9..12) * 10 < latency(calm, 9..12) * 11);
    }
}

#[test]
fn a_clock_step_changes_what_the_desk_believes_and_nothing_else() {
    let runs = runs("clock-step");
    for choice in [1, 2] {
        for (calm, stepped) in pairs(&runs, choice) {
            assert_eq!(calm.parents, stepped.parents, "the orders fare alike");
            assert_eq!(calm.hosts[0].counters, stepped.hosts[0].counters);
            let releases = |run: &RunResult| sum(run, 0..12, |bucket| bucket.metrics.releases);
            let shown: Vec<_> =
                stepped.hosts[0].seconds.iter().map(|bucket| bucket.metrics.releases).collect();
            let true_ones: Vec<_> =
                calm.hosts[0].seconds.iter().map(|bucket| bucket.metrics.releases).collect();
            assert_eq!(shown[..5], true_ones[..5]);
            assert_ne!(shown, true_ones, "releases are joined to other buckets");
            assert!(choice == 1 || releases(stepped) < releases(calm), "or to none");
            let longer = |run: &RunResult| run.hosts[0].gaps.iter().map(|(_, gap)| gap.0).sum::<u64>();
            assert!(choice == 2 || longer(stepped) >= longer(calm), "a gap that never was");
        }
    }
    let jumps = |run: &RunResult| run.hosts[0].gaps.windows(2).filter(|two| two[1].0 == two[0].0).count();
    assert!(pairs(&runs, 2).any(|(calm, back)| jumps(back) > jumps(calm)), "stamps stand still");
}

#[test]
fn a_telemetry_gap_leads_to_the_safe_side_and_is_left_again() {
    for (calm, gap) in pairs(&runs("telemetry-gap"), 1) {
        let level = |run: &RunResult, second: usize| run.steered[0][second].0.level();
        assert!((0..18).all(|second| level(calm, second) != Level::Safe), "{:?}", calm.steered[0]);
        // Readings at 5 to 9 s are missing, so buckets 4 to 9 are blind; the third of them is over at 7 s.
        let blind: Vec<usize> =
            (0..18).filter(|second| gap.hosts[0].seconds[*second].metrics.rhf_ppm.is_none()).collect();
        assert_eq!(blind, [4, 5, 6, 7, 8, 9]);
        assert!(gap.hosts[0].seconds[5].metrics.mcr_kib_per_s.is_none());
        assert!((0..6).all(|second| level(gap, second) != Level::Safe));
        assert!((6..10).all(|second| level(gap, second) == Level::Safe));
        assert_ne!(level(gap, 17), Level::Safe, "the release rule: {:?}", gap.steered[0]);
    }
    let results = swept(&choices("telemetry-gap", &["run.seeds=1"]));
    let open = |choice: u32| {
        let rows = results.parents.iter().filter(move |row| row.choice == choice);
        rows.filter(|row| row.exposed.is_none()).count()
    };
    assert_eq!(open(0), 0);
    assert!(open(1) > 0, "a missing metric is never calm");
}

#[test]
fn requests_wait_for_the_session_and_leave_together() {
    let arrivals = |bucket: &Bucket| u64::from(bucket.arrivals);
    for (calm, down) in pairs(&runs("gateway-disconnect"), 1) {
        assert!(sum(calm, 5..6, arrivals) > 5);
        assert_eq!(sum(down, 5..6, arrivals), 0, "nothing gets through");
        assert!(sum(down, 6..7, arrivals) > sum(calm, 6..7, arrivals), "what waited comes on top");
        let lost: i64 = down.parents.iter().filter_map(|parent| parent.queue_decay_ppm).sum();
        let calm_lost: i64 = calm.parents.iter().filter_map(|parent| parent.queue_decay_ppm).sum();
        assert!((lost - calm_lost).abs() < 1_000_000, "waiting here is no lateness: {lost} {calm_lost}");
    }
}

#[test]
fn a_throttle_caps_the_requests_a_second() {
    let runs = runs("gateway-throttle");
    for (calm, limited) in pairs(&runs, 1) {
        assert!(
            calm.hosts[0].seconds[4..8].iter().any(|bucket| bucket.arrivals > 21),
            "there is something to limit"
        );
        assert!(limited.hosts[0].seconds[4..8].iter().all(|bucket| bucket.arrivals <= 21));
        let released = sum(limited, 4..8, |bucket| bucket.metrics.releases);
        assert!(released > sum(limited, 4..8, |bucket| u64::from(bucket.arrivals)), "the thread goes on");
    }
    for (_, again) in pairs(&runs, 2) {
        let begins: Vec<u64> = again.disturbances.iter().map(|one| one.at.0 / SECOND).collect();
        assert_eq!(begins, [4, 6, 8], "one period after its start, and before its end");
    }
}

#[test]
fn a_burst_of_market_data_fills_the_dispatch_queue() {
    for (calm, burst) in pairs(&runs("market-data-burst"), 1) {
        assert_eq!(calm.hosts[0].seconds[..5], burst.hosts[0].seconds[..5]);
        let tail = |run: &RunResult| run.hosts[0].seconds[5].latency_q99_ns.unwrap();
        assert!(tail(burst) > 100 * tail(calm), "{} {}", tail(burst), tail(calm));
        assert!(latency(burst, 7..12) * 10 < latency(calm, 7..12) * 11, "the queue empties");
    }
}

#[test]
fn what_is_wrong_with_a_disturbance_is_named() {
    let gap = "telemetry_gap = {}";
    for (table, expected) in [
        (format!("length = \"1s\", {gap}"), "disturbance.x: expected exactly one of at"),
        (format!("at = \"1s\", rate = \"1/s\", length = \"1s\", {gap}"), "expected exactly one of at"),
        (format!("at = \"1s\", from = \"1s\", length = \"1s\", {gap}"), "x.from: belongs to every and rate"),
        (format!("every = \"0s\", length = \"1s\", {gap}"), "x.every: must be longer than zero"),
        (format!("rate = \"0/s\", length = \"1s\", {gap}"), "x.rate: must be more than zero"),
        (format!("rate = \"1000000/s\", length = \"1s\", {gap}"), "would happen about 12000000 times"),
        (
            format!("every = \"1s\", from = \"5s\", until = \"5s\", length = \"1s\", {gap}"),
            "x.until: expected a time",
        ),
        (format!("at = \"1s\", {gap}"), "x.length: missing"),
        (format!("at = \"1s\", length = \"0s\", {gap}"), "x.length: must be longer than zero"),
        ("at = \"1s\"".to_owned(), "expected exactly one of move_thread, set_knobs"),
        (
            format!("at = \"1s\", length = \"1s\", {gap}, gateway_disconnect = {{}}"),
            "expected exactly one of move_thread",
        ),
        (
            "at = \"1s\", move_thread = { thread = \"who\", cpu = 0 }".to_owned(),
            "no thread \"who\": one of dispatch feed",
        ),
        (
            "at = \"1s\", move_thread = { thread = \"feed\", cpu = 9 }".to_owned(),
            "move_thread.cpu: CPU 9 does not exist",
        ),
        (
            "at = \"1s\", memory_pressure = { node = 2, size = \"1GiB\" }".to_owned(),
            "memory_pressure.node: node 2 does not",
        ),
        (
            "at = \"1s\", memory_pressure = { node = 1, size = \"9GiB\" }".to_owned(),
            "at most the 8192 MiB of node 1",
        ),
        ("at = \"1s\", set_knobs = {}".to_owned(), "set_knobs: changes nothing"),
        ("at = \"1s\", set_knobs = { scan_period_max = \"2ms\" }".to_owned(), "scan_period_max is shorter"),
        ("at = \"1s\", clock_step = {}".to_owned(), "exactly one of forward and backward"),
        (
            "at = \"1s\", clock_step = { forward = \"1s\", backward = \"2s\" }".to_owned(),
            "exactly one of forward",
        ),
        (
            "at = \"1s\", length = \"1s\", steal = { share = \"95%\" }".to_owned(),
            "steal.share: expected more than 0%",
        ),
        (
            "at = \"1s\", length = \"1s\", irq_storm = { cpu = 0, rate = \"20000/s\", busy = \"50us\" }"
                .to_owned(),
            "irq_storm.busy: expected 1ns to 45000ns",
        ),
        (
            "at = \"1s\", length = \"1s\", gateway_throttle = { rate = \"0/s\" }".to_owned(),
            "gateway_throttle.rate: expected \"1/h\"",
        ),
        (
            "at = \"1s\", length = \"1us\", market_data_burst = { messages = 2 }".to_owned(),
            "market_data_burst.messages: expected 1 to 1",
        ),
    ] {
        let text = std::fs::read_to_string(file("steal")).unwrap().replacen(
            "[[choice]]",
            &format!("[disturbance]\nx = {{ {table} }}\n\n[[choice]]"),
            1,
        );
        let error = Scenario::parse(&file("steal"), &text, &[]).unwrap().choices(1_000_000).unwrap_err();
        assert!(error.to_string().contains(expected), "{table}\n{error}");
        assert!(error.line.is_some(), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_log_is_named() {
    let scratch = Scratch::new();
    let line = |more: &str| {
        format!(
            "{{\"choice\":\"baseline\",\"seed\":0,\"time_ns\":5,\"name\":\"x\",\"length_ns\":null,{more}}}\n"
        )
    };
    let moved = line("\"kind\":\"move_thread\",\"parameters\":{\"thread\":\"who\",\"cpu\":0}");
    let gap = line("\"kind\":\"telemetry_gap\",\"parameters\":{}");
    let ahead = moved.replace("who", "feed").replace(":5,", ":9,");
    let back = moved.replace("who", "feed");
    for (log, expected) in [
        ("nonsense\n".to_owned(), "log.jsonl:1: expected"),
        (format!("\n{moved}"), "log.jsonl:2: move_thread thread: no thread \"who\""),
        (gap, "telemetry_gap length: missing"),
        (format!("{ahead}{back}"), "log.jsonl:2: lies before the line above"),
    ] {
        let path = scratch.write("log.jsonl", &log);
        let setting = format!("injector_log={:?}", path.to_str().unwrap());
        let error = Scenario::read(&file("steal"), &[setting]).unwrap().choices(1_000_000).unwrap_err();
        assert!(error.to_string().contains(expected), "{log}{error}");
    }
    let missing = "injector_log=\"nowhere.jsonl\"".to_owned();
    let error = Scenario::read(&file("steal"), &[missing]).unwrap().choices(1_000_000).unwrap_err();
    assert!(error.to_string().contains("injector_log") && error.to_string().contains("cannot be read"));
}

#[test]
fn a_disturbance_can_be_switched_off() {
    let name = "thread-move";
    let [on, off] = ["true", "false"].map(|enabled| {
        let setting = format!("disturbance.x={{ enabled = {enabled}, at = \"3s\", move_thread = {{ thread = \"dispatch\", cpu = 2 }} }}");
        real(&choices(name, &[&setting])[0], 0)
    });
    assert_eq!(off.hash, real(&choices(name, &[])[0], 0).hash);
    assert_ne!(on.hash, off.hash);
    assert!(off.disturbances.is_empty());
}

/// Memory that is free again is found again: what others occupied does not stay occupied.
#[test]
fn overlapping_pressures_end_one_by_one() {
    let pressure = |name: &str, at: u64, length: u64| {
        format!(
            "disturbance.{name}={{ at = \"{at}s\", length = \"{length}s\", memory_pressure = {{ node = 0, size = \"8GiB\" }} }}"
        )
    };
    let choice = &choices("memory-pressure", &[&pressure("a", 2, 3), &pressure("b", 3, 4)])[0];
    let run = real(choice, 0);
    assert_eq!(sum(&run, 2..7, migrated), 0, "the first's end leaves the second in force");
    assert!(sum(&run, 7..16, migrated) > 0);
    let mut stepped = simulation(&choice.config, 0, Mechanisms::REAL, true);
    while stepped.step().is_some() {}
    assert!(stepped.machine(HostId(0)).unwrap().pages_on(RegionId(0), NodeId(0)) > 0);
}

/// A host that boots with balancing off has a cost of balancing once it is switched on.
#[test]
fn balancing_can_be_switched_on_in_the_middle() {
    let on = "disturbance.on={ at = \"4s\", set_knobs = { enabled = true } }";
    let choice = &choices("thread-move", &["machine.balancing.enabled=false", on])[1];
    assert!(choice.config.balances());
    let run = real(choice, 0);
    assert_eq!(sum(&run, 0..4, faults), 0);
    assert!(sum(&run, 4..16, faults) > 0);
    let never = run_once(&choice.config, 0, Mechanisms::FREE, false, 0);
    assert_eq!(
        never.hosts[0].counters,
        numashock_machine::Counters::default(),
        "not in the world without balancing"
    );
}
