//! `golden check` and `golden bless`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use numashock_experiment::golden::{self, Ask, Candidate, Options};
use numashock_report::{golden_junit, golden_markdown, golden_text};

use crate::output::say;
use crate::progress;
use crate::steering::{Controller, ControllerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum Golden {
    /// Run what the golden files of a folder name, and say where it differs from what they keep.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Make the golden files of scenarios, or all of a folder again.
    #[command(after_help = BLESS_HELP)]
    Bless(BlessArgs),
}

const CHECK_HELP: &str = "Example: numashock golden check golden --junit golden.xml --markdown golden.md

For each file the first difference is named: the observation or the decision of a bucket, and the event. With another
controller (--controller) two checks are made of each file: open loop, its decisions on the observations that were kept, and
closed loop, the run again under it.

Exit codes: 0 if all agree, 1 if something differs, 2 if something cannot be checked (a broken file, another model version).";

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The folder.
    #[arg(default_value = "golden")]
    folder: PathBuf,
    /// Write the verdicts as JUnit XML.
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
    /// Write a summary for a merge request.
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
    /// Threads; the report is the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    jobs: u16,
    #[command(flatten)]
    controller: ControllerArgs,
}

const BLESS_HELP: &str = "Example: numashock golden bless golden my-host.toml --choice baseline

Beside NAME.txt, which is for reading, lies NAME.marks with a character an event: with it a check names the event, not only
the interval. Keep both under version control. Nothing is written unless every run finishes.

Exit codes: 0 if all are written, 2 if not.";

#[derive(Debug, Args)]
pub(crate) struct BlessArgs {
    /// The folder (golden), then scenarios (.toml). Without scenarios every golden file of the folder is made again.
    #[arg(value_name = "DIR|SCENARIO.toml")]
    paths: Vec<PathBuf>,
    /// The tuning choice of the scenarios; may be repeated for a golden file each. Default: the first of each scenario.
    #[arg(long)]
    choice: Vec<String>,
    /// Which replication.
    #[arg(long, default_value_t = 0)]
    replication: u32,
    /// Events between two lines. Default: 1000, or more for a long run.
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    interval: Option<u64>,
    /// Let a scenario take over a golden file of another scenario with the same name.
    #[arg(long)]
    replace: bool,
    /// Threads; the files are the same for any number. Default: one per processor.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=1024))]
    jobs: u16,
    #[command(flatten)]
    controller: ControllerArgs,
}

pub(crate) fn run(what: &Golden) -> Result<ExitCode, Box<dyn Error>> {
    match what {
        Golden::Check(arguments) => check(arguments),
        Golden::Bless(arguments) => bless(arguments),
    }
}

fn check(arguments: &CheckArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = &arguments.folder;
    let controller = arguments.controller.choose()?;
    let report = progress::show(golden::count(folder), "golden files", |done| {
        with(controller.as_ref(), |controller| {
            golden::check(folder, &Options { jobs: arguments.jobs.into(), controller, replace: false, done })
        })
    })?;
    let write = |file: &Option<PathBuf>, text: String| {
        let file = file.as_ref().map(|file| (file, std::fs::write(file, text)));
        file.map_or(Ok(()), |(file, written)| {
            written.map_err(|error| format!("cannot write {}: {error}", file.display()))
        })
    };
    say(&golden_text(&report))?;
    write(&arguments.junit, golden_junit(&report))?;
    write(&arguments.markdown, golden_markdown(&report))?;
    Ok(ExitCode::from(report.exit_code()))
}

fn bless(arguments: &BlessArgs) -> Result<ExitCode, Box<dyn Error>> {
    let (folder, asks) = asks(arguments)?;
    let controller = arguments.controller.choose()?;
    let runs = if asks.is_empty() { golden::count(&folder) } else { asks.len() as u64 };
    let blessed = progress::show(runs, "golden files", |done| {
        with(controller.as_ref(), |controller| {
            let (jobs, replace) = (arguments.jobs.into(), arguments.replace);
            golden::bless(&folder, &asks, &Options { jobs, controller, replace, done })
        })
    });
    for made in blessed.map_err(|problems| problems.join("\n"))? {
        say(&format!("{}/{}.txt: {}\n", folder.display(), made.name, made.change))?;
        for line in &made.details {
            say(&format!("    {line}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands over whoever decides in the place of the scenarios' own controllers.
fn with<T>(chosen: Option<&Controller>, work: impl FnOnce(Option<Candidate<'_>>) -> T) -> T {
    let Some(chosen) = chosen else { return work(None) };
    let (name, built_in) = (|| chosen.name(), |own| chosen.built_in(own));
    work(Some(Candidate { name: &name, built_in: &built_in, foreign: chosen.is_foreign(), steers: chosen }))
}

/// The folder, and what is to be made in it.
fn asks(arguments: &BlessArgs) -> Result<(PathBuf, Vec<Ask>), String> {
    let is_scenario = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let (scenarios, folders): (Vec<&PathBuf>, Vec<&PathBuf>) = arguments.paths.iter().partition(is_scenario);
    let folder = match folders[..] {
        [] => Path::new("golden").to_owned(),
        [folder] => folder.clone(),
        _ => return Err("expected one folder and then scenarios (.toml)".to_owned()),
    };
    if scenarios.is_empty()
        && (!arguments.choice.is_empty() || arguments.replication > 0 || arguments.interval.is_some())
    {
        return Err(
            "--choice, --replication and --interval are for new golden files: name a scenario".to_owned()
        );
    }
    let choices: Vec<Option<String>> = match &arguments.choice[..] {
        [] => vec![None],
        choices => choices.iter().cloned().map(Some).collect(),
    };
    let mut asks = Vec::new();
    for scenario in scenarios {
        for choice in &choices {
            asks.push(Ask {
                scenario: scenario.clone(),
                choice: choice.clone(),
                replication: arguments.replication,
                interval: arguments.interval.unwrap_or(0),
            });
        }
    }
    Ok((folder, asks))
}
