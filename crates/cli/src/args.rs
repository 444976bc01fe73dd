//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use numashock_sim::scenario::units::{Share, Time};

use crate::controller::{self, ControllerCommand};
use crate::replay::ReplayArgs;
use crate::steering::ControllerArgs;
use crate::trace::TraceCommand;
use crate::trace::record::TraceArgs;

/// A deterministic replay simulator of trading on a NUMA machine.
#[derive(Debug, Parser)]
#[command(name = "numashock", version, about, arg_required_else_help = true)]
pub(crate) struct Parsed {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Parsed {
    /// Parses the command line; a wrong one is explained and ends the process with code 2.
    pub(crate) fn parse_or_exit() -> Parsed {
        Parsed::parse()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one tuning choice of a scenario in all three worlds.
    #[command(after_help = "Example: numashock run scenarios/ladder.toml --choice baseline --seeds 3")]
    Run(RunArgs),
    /// Run every tuning choice for every seed and compare them.
    #[command(after_help = "Example: numashock sweep scenarios/ladder.toml --jobs 2 --out results/ladder")]
    Sweep(SweepArgs),
    /// Say what happened to a parent order of a results folder: passes, faults, copies, dispatch, children, costs.
    #[command(after_help = crate::explain::HELP)]
    Explain(crate::explain::ExplainArgs),
    /// Simulate a host alone and measure what balancing does to it: passes, faults, stalls, counters.
    #[command(after_help = "Example: numashock host scenarios/hosts/deep-ep.toml --seconds 60")]
    Host(HostArgs),
    /// Keep what runs do in files, and check that they still do it.
    Golden {
        #[command(subcommand)]
        what: crate::golden::Golden,
    },
    /// Join counters of real hosts with a desk's execution telemetry, and measure both as a run is measured.
    #[command(after_help = crate::import::HELP)]
    Import(crate::import::ImportArgs),
    /// Compare the model with what is known to be true.
    Validate {
        #[command(subcommand)]
        what: Validate,
    },
    /// Write a commented scenario to start from.
    #[command(after_help = "Example: numashock new my-host.toml && numashock sweep my-host.toml")]
    New(NewArgs),
    /// Bring a controller of your own: what it is told and answers, and whether recorded decisions agree.
    #[command(after_help = controller::HELP)]
    Controller {
        #[command(subcommand)]
        what: ControllerCommand,
    },
    /// Record the balancing counters of the host this runs on, in the columns of the kernel traces.
    #[command(after_help = "Example: numashock record --pid 4711 --for 5min --out desk.csv\n\n\
        Every line holds /proc/vmstat as differences from the first, and with --pid what the process's threads say of\n\
        their fault statistics. What the host does not give stays empty; OUT.json says what the host is and what it\n\
        did not give. A scenario replays OUT.csv with [recording] file = \"OUT.csv\".")]
    Record(RecordArgs),
    /// Run a trace again and check it, or try another controller on it.
    #[command(after_help = crate::replay::HELP)]
    Replay(ReplayArgs),
    /// Read traces: what they hold, and where two of them part.
    Trace {
        #[command(subcommand)]
        what: TraceCommand,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The scenario file.
    pub(crate) scenario: PathBuf,
    /// Threads; the results are the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) jobs: u16,
    /// Seed of the experiment, instead of the scenario's.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Replications, instead of the scenario's.
    #[arg(long)]
    pub(crate) seeds: Option<u32>,
    /// Results folder; it must not exist or be empty. Default: results/NAME.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Override a key of the scenario, values in TOML: --set run.seeds=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Run all fifteen worlds of every choice and seed and split each parent's C_numa into its four parts; writes
    /// children.parquet too. Takes about six times as long.
    #[arg(long)]
    pub(crate) attribution: bool,
    /// Write children.parquet: a row for each child order, with its way to the market and its place in the queue.
    #[arg(long)]
    pub(crate) children: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The tuning choice by name. Default: the first.
    #[arg(long)]
    pub(crate) choice: Option<String>,
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    #[command(flatten)]
    pub(crate) tracing: TraceArgs,
    /// Write what the controller saw of each bucket and decided, as a decision stream; the file must not exist.
    #[arg(long, value_name = "OUT.jsonl")]
    pub(crate) decisions: Option<PathBuf>,
    /// Write the execution telemetry of the first seed in the columns of numashock import; the file must not exist.
    #[arg(long, value_name = "OUT.csv")]
    pub(crate) telemetry: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Repeat the sweep with every assumed cost multiplied, such as x0.5,x2, and say which verdicts flip.
    #[arg(long, value_name = "xFACTOR,...", value_delimiter = ',', value_parser = parse_factor)]
    pub(crate) assumed: Vec<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// The host scenario.
    pub(crate) scenario: PathBuf,
    /// Only this variant; "base" is the file itself. Default: the file and all its variants.
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// Seconds to measure, instead of the scenario's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: Option<u32>,
    /// Seed, instead of the scenario's.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Print the reports as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a row a second, with the counters under their names in /proc/vmstat; needs --variant.
    #[arg(long, value_name = "OUT.csv", requires = "variant")]
    pub(crate) csv: Option<PathBuf>,
    /// Override a key of the scenario, values in TOML: --set machine.kernel='"6.1"'
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Validate {
    /// Check the account of every parent of random scenarios: identity, parts of C_numa, null mechanisms, children.
    #[command(after_help = ACCOUNT_HELP)]
    Account(AccountArgs),
    /// Replay recorded messages and write every change of the best quotes.
    #[command(after_help = FLOW_HELP)]
    Flow(FlowArgs),
    /// Run known formulas and tables of the field through the simulator's own flow, book, dispatch and schedule.
    #[command(after_help = FORMULAS_HELP)]
    Formulas(FormulasArgs),
    /// Run the machine on the workloads of recorded kernel traces and compare counter by counter.
    #[command(after_help = KERNEL_HELP)]
    Kernel(KernelArgs),
    /// Predict what the stalls of a run cost in queue position, and measure it.
    #[command(after_help = LINK_HELP)]
    Link(LinkArgs),
}

const ACCOUNT_HELP: &str = "Example: numashock validate account --parents 100000 --jobs 2

Exit codes: 0 if everything holds, 1 if something does not; the report names the scenario and how to run it again.";

#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// At least so many parents, in whole scenarios.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) parents: u64,
    /// Seed of the scenarios.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: u64,
    /// Number of the first scenario.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) first: u64,
    /// Threads; the report is the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) jobs: u16,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const FLOW_HELP: &str = "Example: numashock validate flow messages.csv --quotes quotes.csv

Reads LOBSTER messages (plain or gzip) and Databento market by order (.dbn, .dbn.zst). A file starts in the middle of a
session: orders that rows name without having added them are recovered and rest from when they can have come.";

#[derive(Debug, Args)]
pub(crate) struct FlowArgs {
    /// A LOBSTER message file, plain or compressed with gzip, or a Databento MBO file.
    pub(crate) file: PathBuf,
    /// Where to write `time,bid,bid_size,ask,ask_size`, in the file's own units.
    #[arg(long, value_name = "OUT.csv")]
    pub(crate) quotes: PathBuf,
    /// What rests before the first message.
    #[arg(long, value_enum, default_value_t = OpeningChoice::Recovered)]
    pub(crate) opening: OpeningChoice,
    /// Which instrument of a Databento file that has several.
    #[arg(long, value_name = "ID")]
    pub(crate) instrument: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OpeningChoice {
    /// The orders that later messages name without an earlier one having added them.
    Recovered,
    /// Nothing; what names such an order is counted and skipped.
    Empty,
}

const FORMULAS_HELP: &str = "Example: numashock validate formulas --sample 10% --jobs 2

Each figure is printed as reference, simulated value, standard error and z. A case passes if every |z| is at most its z_max
(4), and, with the whole sample, if its tolerance and largest standard error are met.

Exit codes: 0 if every case passes, 1 if one does not, 2 if a case file is wrong.";

#[derive(Debug, Args)]
pub(crate) struct FormulasArgs {
    /// A TOML file of cases (see --keys). Default: the cases that come with numashock.
    pub(crate) cases: Option<PathBuf>,
    /// Draw only this share of every sample.
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = parse_share)]
    pub(crate) sample: Share,
    /// Threads; the results are the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) jobs: u16,
    /// Seed of all cases.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: u64,
    /// Only cases of this name or kind; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print kind and name of each case and run none.
    #[arg(long)]
    pub(crate) list: bool,
    /// Print the cases that come with numashock, to start from.
    #[arg(long)]
    pub(crate) print_cases: bool,
    /// Print every kind of case with its keys.
    #[arg(long)]
    pub(crate) keys: bool,
}

const LINK_HELP: &str = "Example: numashock validate link scenarios/link.toml --seeds 100

The stalls of the dispatch thread that a run measures should make children late by nu_c sum(D^2)/2, lateness should lose
places at the rate at which orders take them, and a place lost has its price: each is printed beside what was measured, with
the standard error of the difference by seed. The law is first order in the length of a stall and asks for unit orders of the
Poisson flow and a tactic that joins and, once left behind, crosses.

Exit codes: 0 if C_queue_decay agrees within four standard errors, 1 if not, 2 if the scenario is wrong.";

#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The scenario; of several choices the first is taken.
    pub(crate) scenario: PathBuf,
    /// Threads; the results are the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) jobs: u16,
    /// Seed of the experiment, instead of the scenario's.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Replications, instead of the scenario's.
    #[arg(long)]
    pub(crate) seeds: Option<u32>,
    /// Override a key of the scenario, values in TOML: --set run.seeds=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const KERNEL_HELP: &str = "Example: numashock validate kernel traces/ --details --plot traces.svg

Exit codes: 0 if every run that is modelled agrees, 1 if one deviates or no run could be compared, 2 if one of several
cannot be read.";

#[derive(Debug, Args)]
pub(crate) struct KernelArgs {
    /// A folder with manifest.json and one CSV (or .csv.gz) a run.
    pub(crate) folder: PathBuf,
    /// Print the comparison as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print every requirement and every marking pass below its run.
    #[arg(long, conflicts_with = "json")]
    pub(crate) details: bool,
    /// Draw model over kernel: one picture of all runs if OUT ends in .svg, else a folder with a picture a run.
    #[arg(long, value_name = "OUT")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The file to write; it must not exist.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Record this process's threads too: CPU time, preferred node and NUMA fault statistics.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// How many of its threads: those that have used the most CPU time, in order of their number.
    #[arg(long, default_value_t = 4, requires = "pid", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Count the process's pages by node each whole second. Reading them walks all its page tables.
    #[arg(long)]
    pub(crate) placement: bool,
    /// From the first row to the last.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub(crate) length: Time,
    /// From row to row.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_time)]
    pub(crate) every: Time,
    /// The file to write; it must not exist, nor may the .json beside it.
    #[arg(long, value_name = "OUT.csv")]
    pub(crate) out: PathBuf,
    /// Where /proc and /sys are found.
    #[arg(long, hide = true, default_value = "/")]
    pub(crate) root: PathBuf,
}

/// `100ms` to nanoseconds, written as scenarios write it.
pub(crate) fn parse_time(text: &str) -> Result<Time, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// `10%` to parts per million, above nothing and at most everything.
fn parse_share(text: &str) -> Result<Share, String> {
    let share: Share = serde_json::from_value(text.into()).map_err(|error| error.to_string())?;
    if share.0 == 0 || share.0 > 1_000_000 {
        return Err("expected a share above 0% and at most 100%".to_owned());
    }
    Ok(share)
}

/// `x0.5` to parts per million.
fn parse_factor(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\": expected a factor such as x0.5 or x2");
    let digits = text.trim().strip_prefix('x').ok_or_else(wrong)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 6 || digits.is_empty() {
        return Err(wrong());
    }
    let ppm = format!("{whole}{fraction:0<6}").parse::<u64>().map_err(|_| wrong())?;
    if ppm == 0 || ppm > 1_000_000_000 {
        return Err(format!("\"{text}\": expected a factor above 0 and at most x1000"));
    }
    Ok(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_become_parts_per_million() {
        assert_eq!(parse_factor("x0.5"), Ok(500_000));
        assert_eq!(parse_factor("x2"), Ok(2_000_000));
        assert_eq!(parse_factor("x1.25"), Ok(1_250_000));
        for wrong in ["2", "x", "x-1", "x0", "xtwo", "x0.1234567"] {
            assert!(parse_factor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_written_as_in_scenarios() {
        assert_eq!(parse_time("100ms"), Ok(Time(100_000_000)));
        assert_eq!(parse_time("1.5s"), Ok(Time(1_500_000_000)));
        for wrong in ["100", "", "-1s", "1parsec"] {
            let error = parse_time(wrong).unwrap_err();
            assert!(error.contains("expected a time"), "{error}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Parsed::command().debug_assert();
    }
}
