//! `explain`: the chain of parents of a results folder, and a trace of the run for the Perfetto viewer.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use numashock_experiment::explain::{self, Chain, Explained, Names, Watcher};
use numashock_experiment::sweep::{OwnControllers, Steers};
use numashock_report::{CounterSecond, Perfetto, Shown, StoredParent, Window, read_parents, read_summary};
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::units::Time;
use numashock_sim::scenario::{Choice, Scenario};
use numashock_sim::{MODEL_VERSION, RunResult, SteeringError};

use crate::args::parse_time;
use crate::output::say;
use crate::progress;
use crate::steering::{self, Controller};

pub(crate) const HELP: &str = "Examples:
  numashock explain results/ladder --parent baseline/0/17
  numashock explain results/ladder --worst 10 --choice baseline
  numashock explain results/ladder --parent baseline/0/17 --perfetto order.json

The run is done again from the folder's own scenario, and where another controller steered it from its decisions.jsonl, once
with notes and in all fifteen worlds, and the order's row must come out as parents.parquet has it. Stalls are nanoseconds of one run and costs are differences between runs: both are
exact, and no money is pinned on a single event. Open the trace at https://ui.perfetto.dev or in chrome://tracing.

Exit codes: 0 if the chains were printed, 2 if the folder, the order or the file is wrong.";

const UNCHANGED: u64 = 1_000_000;
/// Lines of a list.
const LINES: usize = 8;
/// A trace of one order shows so much before and after its life.
const MARGIN_NS: u64 = 100_000_000;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A folder that `run` or `sweep` wrote.
    pub(crate) results: PathBuf,
    /// The order: CHOICE/SEED/NUMBER, SEED/NUMBER or NUMBER, as the columns choice, seed and parent have it.
    #[arg(long, value_name = "ID", required_unless_present = "worst", conflicts_with = "worst")]
    pub(crate) parent: Option<String>,
    /// Instead of one order: so many, the worst first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) worst: Option<u16>,
    /// By which figure they are the worst.
    #[arg(long, value_enum, default_value_t = By::CNuma, requires = "worst")]
    pub(crate) by: By,
    /// The tuning choice by name. Default: the one in the ID, else the first.
    #[arg(long)]
    pub(crate) choice: Option<String>,
    /// The replication, if the ID does not name it.
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<u32>,
    /// Also write what the dispatch thread, the scanner and the orders did, as JSON trace events; the file must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) perfetto: Option<PathBuf>,
    /// Begin of the trace, in the run's time. Default: shortly before the order comes.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "perfetto")]
    pub(crate) from: Option<Time>,
    /// End of the trace. Default: shortly after the order's deadline.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "perfetto")]
    pub(crate) until: Option<Time>,
    /// Trace the whole run.
    #[arg(long, requires = "perfetto", conflicts_with_all = ["from", "until"])]
    pub(crate) whole: bool,
    /// Print every line of every list.
    #[arg(long, conflicts_with = "json")]
    pub(crate) all: bool,
    /// Print the chains as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads; the output is the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) jobs: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// What balancing cost them, in basis points of their value.
    CNuma,
    /// Their implementation shortfall, in basis points of their value.
    Is,
}

pub(crate) fn run(arguments: &ExplainArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = &arguments.results;
    let summary = read_summary(folder)?;
    if summary.model_version != MODEL_VERSION.to_string() {
        let (theirs, own) = (&summary.model_version, MODEL_VERSION);
        let path = folder.display();
        return Err(format!("{path}: model version {theirs} wrote it and this is {own}: run it again").into());
    }
    let scenario = Scenario::read(&folder.join("scenario.toml"), &[])?;
    let mut choices = scenario.choices(UNCHANGED)?;
    let controller = summary.controller.is_some().then(|| Controller::of_folder(folder)).transpose()?;
    let limits = folder.join("controller.toml");
    if controller.is_some() && limits.exists() {
        let file = ControllerConfig::read(&limits)?;
        choices.iter_mut().for_each(|choice| steering::delay(&file, &mut choice.config));
    }
    let steers: &dyn Steers = controller.as_ref().map_or(&OwnControllers, |controller| controller);
    let stored = read_parents(folder)?;
    let wanted = wanted(arguments, &stored)?;
    let trace = arguments.perfetto.as_deref();
    if trace.is_some() && wanted.len() > 1 {
        return Err("--perfetto: a trace shows one order: name it with --parent, or ask for --worst 1".into());
    }
    let trace = trace.map(|path| create(path).map(|file| (path, file))).transpose()?;
    let name = scenario.name()?;
    let rerun = Rerun { arguments, scenario: &name, steers };
    let outcome = explained(&rerun, &choices, &wanted, trace);
    if let (Err(_), Some(path)) = (&outcome, arguments.perfetto.as_deref()) {
        // What was begun looks whole to nobody, and the first error is the one to show.
        let _ = std::fs::remove_file(path);
    }
    print(arguments, &outcome?)?;
    Ok(ExitCode::SUCCESS)
}

fn create(path: &Path) -> Result<File, String> {
    File::create_new(path).map_err(|error| {
        format!("--perfetto {}: {error}; name a file that does not exist yet", path.display())
    })
}

/// How a folder is run again.
struct Rerun<'a> {
    arguments: &'a ExplainArgs,
    scenario: &'a str,
    steers: &'a dyn Steers,
}

/// The chains, in the order in which the parents were asked for.
fn explained(
    rerun: &Rerun<'_>,
    choices: &[Choice],
    wanted: &[&StoredParent],
    mut trace: Option<(&Path, File)>,
) -> Result<Vec<Chain>, Box<dyn Error>> {
    let mut replications: BTreeMap<(&str, u64), Vec<u32>> = BTreeMap::new();
    for parent in wanted {
        replications.entry((&parent.choice, parent.seed)).or_default().push(parent.parent);
    }
    let mut chains: Vec<Chain> = Vec::new();
    let total = replications.len() as u64;
    progress::show(total, "replications", |done| -> Result<(), Box<dyn Error>> {
        for ((name, seed), parents) in replications {
            let choice = choices.iter().find(|choice| choice.name == name);
            let choice = choice
                .ok_or_else(|| format!("scenario.toml has no choice \"{name}\", parents.parquet has"))?;
            let seed = u32::try_from(seed)
                .map_err(|_| format!("seed {seed}: the scenario has no such replication"))?;
            let found = match trace.take() {
                None => computed(rerun, (choice, seed), &parents, &mut ())?,
                Some((path, file)) => {
                    let order = wanted.first().expect("one order was asked for");
                    traced(rerun, (choice, seed), (order, &parents), (path, file))?
                }
            };
            check(wanted, name, &found)?;
            chains.extend(found.chains);
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let place = |chain: &Chain| {
        let order = &chain.order;
        wanted.iter().position(|parent| {
            parent.choice == order.choice
                && parent.seed == u64::from(order.seed)
                && parent.parent == order.number
        })
    };
    chains.sort_by_key(place);
    Ok(chains)
}

fn computed(
    rerun: &Rerun<'_>,
    (choice, seed): (&Choice, u32),
    parents: &[u32],
    watcher: &mut (dyn Watcher + Send),
) -> Result<Explained, SteeringError> {
    explain::on_threads(usize::from(rerun.arguments.jobs), || {
        explain::explain_with(rerun.scenario, (choice, seed), parents, watcher, rerun.steers)
    })
}

/// The same, with a trace of the run.
fn traced(
    rerun: &Rerun<'_>,
    (choice, seed): (&Choice, u32),
    (order, parents): (&StoredParent, &[u32]),
    (path, file): (&Path, File),
) -> Result<Explained, Box<dyn Error>> {
    let &Rerun { arguments, scenario, .. } = rerun;
    let config = &choice.config;
    let end = config.end().0;
    let life = order
        .life()
        .ok_or("parents.parquet: no arrival_ns and horizon_ns; another version has written it")?;
    let window = match (arguments.whole, life) {
        (true, _) => Window { from_ns: 0, until_ns: end + 1 },
        (false, (arrival, deadline)) => Window {
            from_ns: arguments.from.map_or(arrival.saturating_sub(MARGIN_NS), |time| time.0),
            until_ns: arguments.until.map_or(deadline + MARGIN_NS, |time| time.0),
        },
    };
    if window.from_ns >= window.until_ns {
        return Err("--from: expected a time before that of --until".into());
    }
    if window.from_ns > end {
        return Err(
            format!("--from: nothing happens from then on, the run ends at {end} ns; begin before").into()
        );
    }
    let hosts = (0..).map(HostId).zip(&config.hosts);
    let hosts =
        hosts.map(|(number, _)| (explain::host_name(scenario, config, number), Names::of(config, number)));
    let mut perfetto = Perfetto::new(BufWriter::new(file), window, hosts.collect());
    let found = computed(rerun, (choice, seed), parents, &mut perfetto)?;
    perfetto.finish(end, &counters(config, &found.run)).map_err(|error| {
        format!("--perfetto {}: {error}; free space or name another place", path.display())
    })?;
    Ok(found)
}

/// The hosts' counters, second by second.
fn counters(config: &RunConfig, run: &RunResult) -> Vec<Vec<CounterSecond>> {
    assert!(run.hosts.len() == config.hosts.len(), "a run has the hosts of its configuration");
    let seconds = |host: &numashock_sim::HostResult| {
        let second = |bucket: &numashock_sim::Bucket| CounterSecond {
            start_ns: bucket.metrics.start.0,
            growth: [
                ("numa_pte_updates", bucket.counters.numa_pte_updates),
                ("numa_hint_faults", bucket.counters.numa_hint_faults),
                ("numa_hint_faults_local", bucket.counters.numa_hint_faults_local),
                ("numa_pages_migrated", bucket.counters.numa_pages_migrated),
            ],
        };
        host.seconds.iter().map(second).collect()
    };
    run.hosts.iter().map(seconds).collect()
}

/// The rows must be those of the folder.
fn check(wanted: &[&StoredParent], choice: &str, found: &Explained) -> Result<(), String> {
    for row in &found.rows {
        let stored = wanted
            .iter()
            .find(|parent| parent.choice == choice && parent.seed == row.seed && parent.parent == row.parent)
            .expect("only parents that were asked for are computed");
        if let Some(first) = stored.differences(row).first() {
            return Err(format!(
                "{choice}/{}/{}: parents.parquet has {} = {} and this version computes {}: the folder was changed or another \
                 version wrote it; run it again",
                row.seed, row.parent, first.column, first.stored, first.computed
            ));
        }
    }
    Ok(())
}

/// The parents that were asked for.
fn wanted<'a>(arguments: &ExplainArgs, stored: &'a [StoredParent]) -> Result<Vec<&'a StoredParent>, String> {
    let first = stored.first().ok_or("parents.parquet has no rows: nothing to explain")?;
    if let Some(id) = &arguments.parent {
        return one(arguments, stored, id).map(|parent| vec![parent]);
    }
    let choice = arguments.choice.as_ref().unwrap_or(&first.choice);
    let seed = |parent: &&StoredParent| arguments.seed.is_none_or(|seed| parent.seed == u64::from(seed));
    let mut list: Vec<&StoredParent> =
        stored.iter().filter(|parent| parent.choice == *choice).filter(seed).collect();
    if list.is_empty() {
        return Err(format!("--choice \"{choice}\": no such rows; {}", what_there_is(stored)));
    }
    list.sort_by_key(|parent| {
        let figure = match arguments.by {
            By::CNuma => parent.c_numa_micro_bp,
            By::Is => parent.is_micro_bp,
        };
        (std::cmp::Reverse(figure), parent.seed, parent.parent)
    });
    list.truncate(usize::from(arguments.worst.expect("one of both was asked for")));
    Ok(list)
}

/// The parent of an ID: CHOICE/SEED/NUMBER with the first parts left out where options or defaults give them.
fn one<'a>(
    arguments: &ExplainArgs,
    stored: &'a [StoredParent],
    id: &str,
) -> Result<&'a StoredParent, String> {
    let wrong = || format!("--parent {id}: expected CHOICE/SEED/NUMBER, such as {}", example(stored));
    let text = id.trim().trim_matches(['"', '\'']);
    let mut parts = text.rsplitn(3, '/').map(|part| part.trim().trim_matches(['"', '\'']));
    let number: u32 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
    let seed = match parts.next() {
        Some(part) => part.parse().map_err(|_| wrong())?,
        None => u64::from(arguments.seed.unwrap_or(0)),
    };
    let choice = parts.next().or(arguments.choice.as_deref()).unwrap_or(&stored[0].choice);
    stored
        .iter()
        .find(|parent| parent.choice == choice && parent.seed == seed && parent.parent == number)
        .ok_or_else(|| format!("--parent {id}: no such row; {}", what_there_is(stored)))
}

fn example(stored: &[StoredParent]) -> String {
    stored
        .first()
        .map_or_else(String::new, |parent| format!("\"{}/{}/{}\"", parent.choice, parent.seed, parent.parent))
}

fn what_there_is(stored: &[StoredParent]) -> String {
    let mut choices: Vec<String> = Vec::new();
    for parent in stored {
        let name = format!("\"{}\"", parent.choice);
        if !choices.contains(&name) {
            choices.push(name);
        }
    }
    let seeds = stored.iter().map(|parent| parent.seed).max().unwrap_or(0);
    let most = stored.iter().map(|parent| parent.parent).max().unwrap_or(0);
    format!("the folder has the choices {}, seeds 0 to {seeds} and parents 0 to {most}", choices.join(", "))
}

fn print(arguments: &ExplainArgs, chains: &[Chain]) -> Result<(), Box<dyn Error>> {
    if arguments.json {
        say(&(serde_json::to_string_pretty(chains)? + "\n"))?;
        return Ok(());
    }
    let shown = if arguments.all { Shown::All } else { Shown::Longest(LINES) };
    for (place, chain) in chains.iter().enumerate() {
        if place > 0 {
            say(&format!("\n{}\n\n", "-".repeat(100)))?;
        }
        say(&numashock_report::chain(chain, shown))?;
    }
    if let Some(path) = &arguments.perfetto {
        say(&format!("\nTrace: {}\n", path.display()))?;
    }
    Ok(())
}
