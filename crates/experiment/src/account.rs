//! The exact account over random scenarios: every parent in all fifteen worlds, checked against its own identities.
//!
//! ```text
//!   seed, number ──► scenario (market, machine, desk, disturbances, sometimes a mechanism that cannot act)
//!                        └──► 17 runs ──► rows ──► identity, parts, steps of children, null mechanisms ──► report
//! ```

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use numashock_engine::{Seed, Stream};
use numashock_sim::scenario::{Choice, Scenario};
use rayon::prelude::*;
use serde::Serialize;

use crate::attribution::{AttributionRow, ChildRow};
use crate::results::ParentRow;
use crate::swarm;
use crate::sweep::{self, Attributed};

/// Parents of one random scenario.
pub const PARENTS_EACH: u64 = 80;

/// Limit orders a second by distance.
const QUIET: &str = "[\"60/s\", \"40/s\", \"30/s\"]";
const BUSY: &str = "[\"900/s\", \"600/s\", \"300/s\"]";

/// Costs of the random scenarios that are marked assumed are multiplied by one of these, in parts per million.
const FACTORS_PPM: [u64; 3] = [1_000_000, 3_000_000, 10_000_000];

/// The presets, with their names: a random scenario carries its costs within, so that it needs no file.
const PRESETS: [(&str, &str); 4] = [
    ("cascade-lake", include_str!("../../../scenarios/presets/cascade-lake.toml")),
    ("skylake-sp", include_str!("../../../scenarios/presets/skylake-sp.toml")),
    ("ice-lake", include_str!("../../../scenarios/presets/ice-lake.toml")),
    ("ice-lake-spread", include_str!("../../../scenarios/presets/ice-lake-spread.toml")),
];

/// What is to be checked.
#[derive(Clone, Copy, Debug)]
pub struct AccountOptions<'a> {
    /// At least so many parents, in whole scenarios.
    pub parents: u64,
    /// Seed of the scenarios.
    pub seed: u64,
    /// Number of the first scenario.
    pub first: u64,
    /// Threads; 0 takes one per processor. The result does not depend on it.
    pub jobs: usize,
    /// Counts finished scenarios.
    pub done: &'a AtomicU64,
}

impl AccountOptions<'_> {
    /// How many scenarios hold that many parents.
    #[must_use]
    pub fn scenarios(&self) -> u64 {
        self.parents.div_ceil(PARENTS_EACH)
    }
}

/// A mechanism that a scenario keeps from acting, so that its part must be exactly 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// Everything acts.
    None,
    /// The dispatch thread touches no memory: nothing of H (attribution: A10).
    Untouched,
    /// All memory and all threads are on one node: no page can migrate, nothing of M.
    Unmovable,
    /// No own order rests: nothing of Q.
    Crossing,
    /// Balancing is off from before the start: nothing at all (attribution: A3).
    Off,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountReport {
    /// Seed of the scenarios.
    pub seed: u64,
    /// Number of the first scenario.
    pub first: u64,
    /// Scenarios that ran.
    pub scenarios: u64,
    /// Runs they took.
    pub runs: u64,
    /// Parents, each in all worlds.
    pub parents: u64,
    /// Children of the real runs.
    pub children: u64,
    /// How often each check was made.
    pub checks: BTreeMap<&'static str, u64>,
    /// How many parents have a figure that is not 0.
    pub felt: BTreeMap<&'static str, u64>,
    /// For how many parents a mechanism could not act and had a part of exactly 0.
    pub nulls: BTreeMap<&'static str, u64>,
    /// What does not hold: scenario, and what was found.
    pub failures: Vec<Failure>,
}

/// A scenario in which something does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its number.
    pub scenario: u64,
    /// What was found.
    pub found: String,
}

/// A random scenario of the exact account, as a text that needs no other file, with the factor of its assumed costs.
#[must_use]
pub fn scenario(seed: u64, number: u64) -> (String, Vec<String>, u64, Null) {
    let mut draw = Seed(seed).stream("account", number);
    let text = swarm::scenario(draw.below(1 << 40));
    let (_, preset) = PRESETS[index(&mut draw, PRESETS.len())];
    let null = match draw.below(10) {
        0 => Null::Untouched,
        1 => Null::Unmovable,
        2 => Null::Crossing,
        3 => Null::Off,
        _ => Null::None,
    };
    // Settings add to tables and take nothing away.
    let text = match null {
        Null::Untouched => without(&text, "[thread.dispatch.touches."),
        Null::Unmovable => without(&text, "[disturbance."),
        Null::None | Null::Crossing | Null::Off => text,
    };
    let text = text.lines().filter(|line| !line.starts_with("preset = "));
    let text = text.map(|line| line.to_owned() + "\n").collect::<String>() + &inlined(preset);
    let settings = settings(&mut draw, null);
    let factor = FACTORS_PPM[index(&mut draw, FACTORS_PPM.len())];
    (text, settings, factor, null)
}

/// What makes a swarm dense in parents and rich in balancing.
fn settings(draw: &mut Stream, null: Null) -> Vec<String> {
    let mut one_of = |values: &[&str]| values[index(draw, values.len())].to_owned();
    let mut settings = vec![
        format!("run.warmup=\"{}\"", one_of(&["0s", "0s", "1s"])),
        "run.duration=\"3s\"".to_owned(),
        format!("parents.count={PARENTS_EACH}"),
        format!("parents.quantity=[1, {}]", one_of(&["20", "60", "200"])),
        format!("parents.horizon=[\"{}\", \"1500ms\"]", one_of(&["20ms", "300ms"])),
        format!("tactic.slices={}", one_of(&["2", "5", "8"])),
        format!("tactic.patience=\"{}\"", one_of(&["200ms", "800ms", "10s"])),
        format!("tactic.make_fee={}", one_of(&["-3", "0", "2"])),
        format!("tactic.take_fee={}", one_of(&["-1", "0", "4"])),
        format!("machine.balancing.scan_delay=\"{}\"", one_of(&["1ms", "100ms"])),
        format!("machine.balancing.scan_period_min=\"{}\"", one_of(&["100ms", "400ms"])),
        format!("machine.balancing.scan_size=\"{}\"", one_of(&["1MiB", "4MiB", "16MiB"])),
        format!("machine.balancing.enabled={}", null != Null::Off),
        format!("region.state.size=\"{}\"", one_of(&["4MiB", "16MiB"])),
        "region.state.policy=\"default\"".to_owned(),
        format!("market.poisson.limit={}", one_of(&[QUIET, BUSY, BUSY])),
        format!("market.poisson.market=\"{}\"", one_of(&["20/s", "150/s", "600/s"])),
        format!("market.poisson.cancel=[\"{}/s\"]", one_of(&["1", "5"])),
        format!("market.feed_latency=\"{}\"", one_of(&["0ns", "5us", "1ms"])),
        format!("controller.kind=\"{}\"", one_of(&["do-nothing", "do-nothing", "do-nothing", "four-state"])),
        // Dear enough that many parents feel it.
        format!("machine.preset.hint_fault.value=\"{}\"", one_of(&["2us", "50us", "400us"])),
        format!("machine.preset.migrate_page.value=\"{}\"", one_of(&["6us", "100us", "1ms"])),
        format!("machine.preset.mark_per_pte.value=\"{}\"", one_of(&["61ns", "300ns", "1us"])),
        format!("machine.preset.interrupt.value=\"{}\"", one_of(&["2us", "300us"])),
        format!("thread.dispatch.cpu={}", one_of(&["2", "3", "3"])),
    ];
    for kind in ["quote", "report", "timer"] {
        let count = one_of(&["20", "60", "400"]);
        settings.push(format!(
            "work.{kind}.touches=[{{ region = \"state\", count = {count}, pattern = \"uniform\", write = \"20%\", miss = \"50%\" }}]"
        ));
        settings.push(format!("work.{kind}.compute=\"{}\"", one_of(&["1us", "10us", "30us"])));
    }
    match null {
        Null::None | Null::Off => {}
        Null::Untouched => {
            settings.extend(["quote", "report", "timer"].map(|kind| format!("work.{kind}.touches=[]")));
        }
        Null::Unmovable => {
            // A CPU each: the load balancer moves a thread off a crowded one.
            settings.extend(
                [("dispatch", 0), ("feed", 1)].map(|(thread, cpu)| format!("thread.{thread}.cpu={cpu}")),
            );
        }
        Null::Crossing => {
            settings.push("tactic.catch_up=\"10s\"".to_owned());
            settings.push("tactic.cross_through=9999".to_owned());
        }
    }
    settings
}

fn index(draw: &mut Stream, length: usize) -> usize {
    usize::try_from(draw.below(length as u64)).expect("an index fits")
}

/// A text without the tables whose heads begin so.
fn without(text: &str, head: &str) -> String {
    let mut kept = true;
    let lines = text.lines().filter(|line| {
        if line.starts_with('[') {
            kept = !line.starts_with(head);
        }
        kept
    });
    lines.map(|line| line.to_owned() + "\n").collect()
}

/// A preset's text as tables of the scenario.
fn inlined(preset: &str) -> String {
    let lines = preset.lines().map(|line| match line.strip_prefix('[') {
        Some(rest) => format!("[machine.preset.{rest}\n"),
        None => format!("{line}\n"),
    });
    format!("\n[machine.preset]\n{}", lines.collect::<String>())
}

/// The scenario as a single choice.
///
/// # Panics
/// If the scenario is refused, which a generator must never cause.
#[must_use]
pub fn choice(seed: u64, number: u64) -> (Choice, Null) {
    let (text, settings, factor, null) = scenario(seed, number);
    let file = format!("account-{seed}-{number}.toml");
    let lowered = Scenario::parse(Path::new(&file), &text, &settings)
        .and_then(|scenario| scenario.choices(factor))
        .unwrap_or_else(|error| panic!("a random scenario is valid: {error}"));
    let choice = lowered.into_iter().next().expect("a scenario has a choice");
    // A disturbance may switch balancing on.
    let null = if null == Null::Off && choice.config.balances() { Null::None } else { null };
    (choice, null)
}

/// Runs random scenarios in all worlds and checks every parent.
///
/// # Panics
/// If the threads cannot be started.
#[must_use]
pub fn validate(options: AccountOptions<'_>) -> AccountReport {
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(options.jobs).build().expect("threads can be started");
    let numbers = options.first..options.first + options.scenarios();
    let found: Vec<AccountReport> = pool.install(|| {
        numbers
            .into_par_iter()
            .map(|number| {
                let found = checked(options.seed, number);
                options.done.fetch_add(1, Ordering::Relaxed);
                found
            })
            .collect()
    });
    let mut report = AccountReport { seed: options.seed, first: options.first, ..AccountReport::default() };
    for one in found {
        report.add(one);
    }
    report
}

/// One scenario. A broken invariant within a run is a failure like any other.
fn checked(seed: u64, number: u64) -> AccountReport {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let (choice, null) = choice(seed, number);
        check(number, null, &sweep::attributed(&choice.config, 0))
    }));
    outcome.unwrap_or_else(|panic| AccountReport {
        scenarios: 1,
        failures: vec![Failure { scenario: number, found: message(&*panic) }],
        ..AccountReport::default()
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a run ended with an invariant broken".to_owned())
}

/// Collects what holds and what does not.
struct Checking {
    report: AccountReport,
    number: u64,
}

impl Checking {
    fn hold(&mut self, what: &'static str, holds: bool, found: impl FnOnce() -> String) {
        *self.report.checks.entry(what).or_default() += 1;
        if !holds {
            let found = format!("{what}: {}", found());
            self.report.failures.push(Failure { scenario: self.number, found });
        }
    }

    /// A mechanism that could not act.
    fn null(&mut self, what: &'static str, parts: &[i64], row: &ParentRow) {
        self.hold(
            "a mechanism that cannot act has a part of exactly 0",
            parts.iter().all(|part| *part == 0),
            || format!("{what}: {row:?}"),
        );
        *self.report.nulls.entry(what).or_default() += 1;
    }

    fn felt(&mut self, what: &'static str, figure: i64) {
        *self.report.felt.entry(what).or_default() += u64::from(figure != 0);
    }
}

fn check(number: u64, null: Null, found: &Attributed) -> AccountReport {
    let report = AccountReport {
        scenarios: 1,
        runs: found.runs,
        parents: found.parents.len() as u64,
        children: found.children.len() as u64,
        ..AccountReport::default()
    };
    let mut checking = Checking { report, number };
    // {Q} is compared with the free world where it runs; an unequal hash ends the scenario there.
    checking.hold("the world {Q} has the event hash of the free world", true, String::new);
    let outcomes = found.worlds.outcomes();
    let rested = outcomes.iter().any(|world| world.rested);
    if null == Null::Unmovable {
        let moved = outcomes
            .iter()
            .flat_map(|world| &world.counters)
            .map(|of| of.pgmigrate_success + of.pgmigrate_fail);
        let moved: u64 = moved.sum();
        checking.hold("no page migrates where all is on one node", moved == 0, || moved.to_string());
    }
    for row in &found.parents {
        let Some(parts) = &row.attribution else { continue };
        check_identity(&mut checking, row);
        check_parts(&mut checking, row, parts);
        check_children(&mut checking, row, found.children.iter().filter(|child| child.parent == row.parent));
        let of = &parts.parts;
        if null == Null::Untouched {
            checking.null(
                "nothing touched by the dispatch thread: H",
                &[of.hint_fault, of.queue_decay_hint_fault],
                row,
            );
        }
        if null == Null::Unmovable {
            checking.null(
                "memory and threads on one node: M",
                &[of.migration_copy, of.queue_decay_migration_copy],
                row,
            );
        }
        if !rested {
            checking.null("no own order rests in any world: Q", &[of.queue_decay], row);
        }
        if null == Null::Off {
            let all = [of.four(), parts.least.four(), parts.most.four()].concat();
            checking.null("balancing off: all", &[&all[..], &[row.c_numa, row.c_placement]].concat(), row);
        }
    }
    checking.report
}

/// Identity A1, beside it the real run's own, and the mark.
fn check_identity(checking: &mut Checking, row: &ParentRow) {
    let reference = row.c_delay + row.c_impact + row.c_miss + row.fees;
    checking.hold("IS = delay + impact + miss + fees + C_numa", row.is == reference + row.c_numa, || {
        format!("{row:?}")
    });
    let observed = row.observed_delay + row.observed_impact + row.observed_miss + row.observed_fees;
    checking.hold("IS = its own delay + impact + miss + fees", row.is == observed, || format!("{row:?}"));
    let net = row.c_numa + row.c_placement;
    checking.hold("net effect = C_numa + C_placement", row.c_net == net, || format!("{row:?}"));
    let unmarked = !row.completed || row.is == row.is_mid_mark;
    checking.hold("a finished order does not depend on the mark", unmarked, || format!("{row:?}"));
    for (name, figure) in [
        ("C_numa", row.c_numa),
        ("C_placement", row.c_placement),
        ("fees", row.observed_fees),
        ("unfinished lots", i64::from(row.deadline_missed)),
    ] {
        checking.felt(name, figure);
    }
}

/// The parts against C_numa and against the values of the worlds, under both marks.
fn check_parts(checking: &mut Checking, row: &ParentRow, found: &AttributionRow) {
    let (parts, values) = (&found.parts, &found.values);
    let sum: i64 = parts.four().iter().sum();
    checking.hold("the parts sum to 6 C_numa", sum == 6 * row.c_numa, || format!("{row:?}"));
    let marked: i64 = found.parts_mid_mark.four().iter().sum();
    let holds = marked == 6 * row.c_numa_mid_mark;
    checking.hold("the parts sum to 6 C_numa under the mid mark", holds, || format!("{row:?}"));
    let holds = parts.of_queue_decay().iter().sum::<i64>() == parts.queue_decay
        && parts.queue_decay == 6 * (values[14] - values[7]);
    checking.hold("queue decay is what Q adds last, and its shares sum to it", holds, || format!("{row:?}"));
    let least = found.least.four().iter().zip(found.most.four()).all(|(least, most)| *least <= most);
    let within = least
        && parts.four()[..3].iter().zip(found.least.four()).all(|(part, least)| 6 * least <= *part)
        && parts.four()[..3].iter().zip(found.most.four()).all(|(part, most)| *part <= 6 * most);
    checking.hold("a part lies within its range over the orders", within, || format!("{row:?}"));
    let names = ["part H", "part M", "part D", "part Q"];
    names.into_iter().zip(parts.four()).for_each(|(name, part)| checking.felt(name, part));
    let names = ["queue decay by H", "queue decay by M", "queue decay by D"];
    names.into_iter().zip(parts.of_queue_decay()).for_each(|(name, part)| checking.felt(name, part));
}

/// The steps of the children against what the parent's fills cost.
fn check_children<'a>(checking: &mut Checking, row: &ParentRow, own: impl Iterator<Item = &'a ChildRow>) {
    let (mut sums, mut filled, mut ordered) = ([0i64; 4], 0u64, true);
    for child in own {
        let path = child.path;
        for (sum, step) in sums.iter_mut().zip([path.schedule, path.host, path.wire, path.spread_and_impact])
        {
            *sum += step;
        }
        filled += child.filled_lots;
        ordered &= child.decided_ns <= child.dispatched_ns
            && child.dispatched_ns <= child.arrived_ns
            && child.on_time_ns <= child.arrived_ns
            && child.filled_lots <= child.lots;
    }
    let path = row.path;
    let steps = [path.schedule, path.host, path.wire, path.spread_and_impact];
    let holds = sums == steps && filled == row.filled_lots && ordered;
    checking.hold("the steps of the children sum to those of the parent", holds, || {
        format!("{sums:?} {filled} {row:?}")
    });
    // What is unfinished is missed at the end against the first arrival: with the delay of the whole it completes the identity.
    let total: i64 = steps.iter().sum();
    let holds = !row.completed || total + row.observed_fees == row.is;
    checking.hold("schedule + host + wire + spread = what the fills cost", holds, || format!("{row:?}"));
    checking.felt("host step", path.host);
    checking.felt("wire step", path.wire);
}

impl AccountReport {
    /// Whether all that was checked holds and something was.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.parents > 0
    }

    fn add(&mut self, other: AccountReport) {
        self.scenarios += other.scenarios;
        self.runs += other.runs;
        self.parents += other.parents;
        self.children += other.children;
        for (mine, theirs) in
            [(&mut self.checks, other.checks), (&mut self.felt, other.felt), (&mut self.nulls, other.nulls)]
        {
            theirs.into_iter().for_each(|(name, count)| *mine.entry(name).or_default() += count);
        }
        self.failures.extend(other.failures);
    }
}

/// The report as a text.
#[must_use]
pub fn table(report: &AccountReport) -> String {
    let mut text = format!(
        "{} parents and {} children of {} random scenarios (seed {}, from number {}) in {} runs\n",
        report.parents, report.children, report.scenarios, report.seed, report.first, report.runs
    );
    text += "\nChecked exactly\n";
    for (name, count) in &report.checks {
        let _ = writeln!(text, "  {count:>9}  {name}");
    }
    text += "\nParents with a part of exactly 0 because a mechanism cannot act\n";
    for (name, count) in &report.nulls {
        let _ = writeln!(text, "  {count:>9}  {name}");
    }
    text += "\nParents with a figure that is not 0\n";
    for (name, count) in &report.felt {
        let share = 100.0 * *count as f64 / report.parents.max(1) as f64;
        let _ = writeln!(text, "  {count:>9}  {share:5.1} %  {name}");
    }
    if report.failures.is_empty() {
        text += "\nEverything holds.\n";
    } else {
        let _ = writeln!(text, "\n{} failures, the first ten:", report.failures.len());
        for failure in report.failures.iter().take(10) {
            let again = format!("--seed {} --first {} --parents 1", report.seed, failure.scenario);
            let _ = writeln!(text, "  scenario {} ({again}): {}", failure.scenario, failure.found);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks see a cost that is one sixth off, a child that is lost, and a mechanism that acts where it cannot.
    #[test]
    fn what_does_not_hold_is_found() {
        let number = (0..).find(|number| choice(1, *number).1 == Null::Off).expect("one in ten");
        let found = sweep::attributed(&choice(1, number).0.config, 0);
        assert_eq!(check(number, Null::Off, &found).failures, []);
        assert_eq!(found.parents.len() as u64, PARENTS_EACH);
        let row =
            found.parents.iter().position(|row| row.children > 0 && row.completed).expect("some are filled");
        let tampered = |with: fn(&mut ParentRow)| {
            let mut wrong = found.clone();
            with(&mut wrong.parents[row]);
            let failures = check(number, Null::Off, &wrong).failures;
            failures.into_iter().map(|failure| failure.found).collect::<Vec<_>>().join("\n")
        };
        assert!(tampered(|row| row.c_numa += 1).contains("IS = delay + impact + miss + fees + C_numa"));
        assert!(tampered(|row| row.observed_fees -= 1).contains("IS = its own delay"));
        assert!(tampered(|row| row.c_net += 1).contains("net effect"));
        assert!(tampered(|row| row.path.wire += 1).contains("the steps of the children"));
        let part = tampered(|row| row.attribution.as_mut().expect("attributed").parts.hint_fault += 1);
        assert!(part.contains("the parts sum to 6 C_numa") && part.contains("balancing off: all"), "{part}");
        let mut wrong = found.clone();
        wrong.children.pop();
        assert_eq!(check(number, Null::Off, &wrong).failures.len(), 1);
    }

    #[test]
    fn scenarios_depend_on_seed_and_number_alone() {
        assert_eq!(scenario(3, 7), scenario(3, 7));
        assert_ne!(scenario(3, 7).0, scenario(3, 8).0);
        assert_ne!(scenario(3, 7).0, scenario(4, 7).0);
    }

    /// Whatever the number of threads, and whether numbers are run at once or apart.
    #[test]
    fn the_report_is_the_same_for_any_number_of_threads() {
        let done = AtomicU64::new(0);
        let run =
            |first, parents, jobs| validate(AccountOptions { parents, seed: 5, first, jobs, done: &done });
        let whole = run(0, 160, 1);
        assert!(whole.passed(), "{:?}", whole.failures);
        assert_eq!(whole, run(0, 160, 2));
        let mut halves = run(0, 80, 1);
        halves.add(run(1, 80, 1));
        assert_eq!(whole, halves);
    }
}
