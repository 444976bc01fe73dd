//! `replay`: a trace run again and checked, or another controller tried on it or on what a real one recorded.

mod controller;
mod recorded;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use numashock_engine::{Nanos, Recorded};
use numashock_experiment::replay::{self, Checked, Mismatch, ReplayError, Stored, Window};
use numashock_experiment::tape::{self, Piece, Reopen};
use numashock_sim::Own;
use numashock_sim::scenario::config::RunConfig;
use report::{Found, Part};

use crate::output::say;
use crate::steering::ControllerArgs;
use crate::trace::{TraceFile, WindowArgs, line, run_of};

pub(crate) const HELP: &str = "Examples: numashock replay baseline.trace
          numashock replay baseline.trace --controller new.toml
          numashock replay baseline.trace --controller new.toml --closed-loop
          numashock replay decisions.jsonl --controller new.toml --junit replay.xml
          numashock replay observations.jsonl --old old.toml --controller new.toml

Without a controller the run is repeated from what the trace says of it, and every stored event, decision and state of the event
hash is compared; the first difference is named. A run is the same from nought only, so it always begins there; --from and
--until bound what is compared.

With a controller its decisions are held against the recorded ones, and from the first that differs on both are printed,
with the metric values and the limits that decided. Open loop, which is the default, it sees what was recorded; in closed loop the
run is simulated anew with its decisions.

A decision stream (run --decisions, import --controller, or a desk's own) is replayed open loop: the new controller gets each
observation with its own memory, from the start. Without a controller the one that the stream's first line names is tried. The
observations.jsonl of an import holds no decisions: name the old controller with --old.

Exit codes: 0 nothing differs, 1 something does, 2 the replay is not possible: a file is damaged or cut (--allow-cut compares it as far
as it goes), buckets are missing, or nothing was compared.";

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The trace; or a decision stream or observations, JSON Lines.
    #[arg(value_name = "TRACE|STREAM.jsonl")]
    pub(crate) trace: PathBuf,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    /// On a stream or observations: compare with this controller instead of the recorded decisions; as --controller.
    #[arg(long, value_name = "FILE.toml|KIND|STREAM.jsonl")]
    pub(crate) old: Option<String>,
    /// Simulate the run anew with the controller's decisions.
    #[arg(long)]
    pub(crate) closed_loop: bool,
    /// Compare a trace that was cut, or a stream up to its first missing bucket, as far as it goes.
    #[arg(long)]
    pub(crate) allow_cut: bool,
    /// Where the scenario's input files lie, if not where they lay.
    #[arg(long, value_name = "DIR")]
    pub(crate) inputs: Option<PathBuf>,
    /// Compare even if another version of the model wrote the trace.
    #[arg(long)]
    pub(crate) any_version: bool,
    /// Events to show before and behind the first difference.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(..=1000))]
    pub(crate) context: u16,
    /// Print at most so many decisions; 0 prints all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,
    /// From the first difference on, print only decisions that differ.
    #[arg(long)]
    pub(crate) only_different: bool,
    /// Print the comparison as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the verdict as JUnit XML.
    #[arg(long, value_name = "FILE.xml")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a summary for a merge request.
    #[arg(long, value_name = "FILE.md")]
    pub(crate) markdown: Option<PathBuf>,
}

/// `replay`.
pub(crate) fn run(arguments: &ReplayArgs) -> Result<ExitCode, Box<dyn Error>> {
    let found = replay(arguments).map_err(|error| error.to_string());
    report::write(arguments, &found)?;
    let found = found?;
    if arguments.json {
        say(&format!("{}\n", found.json))?;
    } else {
        say(&found.text)?;
    }
    Ok(ExitCode::from(u8::from(found.differs())))
}

fn replay(arguments: &ReplayArgs) -> Result<Found, Box<dyn Error>> {
    if is_lines(&arguments.trace) {
        return recorded::run(arguments);
    }
    if arguments.old.is_some() {
        return Err(
            "--old: expected a stream or observations (.jsonl); a trace holds the old decisions".into()
        );
    }
    let file = TraceFile::new(&arguments.trace);
    let reader = file.open()?;
    file.verify()?;
    let cut = file.cut_allowed(&reader, arguments.allow_cut)?;
    cut.iter().for_each(|cut| eprintln!("note: {cut}"));
    let reopen = Reopen { inputs: arguments.inputs.clone(), any_version: arguments.any_version };
    let config = tape::reopen(&arguments.trace, reader.header(), &reopen).map_err(|error| match error {
        tape::TapeError::Version { .. } | tape::TapeError::Choice { .. } => file.blame(error),
        error => error.into(),
    })?;
    let by = arguments.controller.choose()?;
    match by {
        Some(by) => controller::run(arguments, (&file, &reader), config, &by),
        None if arguments.closed_loop => {
            Err("--closed-loop: expected a controller; name one with --controller or --controller-command"
                .into())
        }
        None => check(arguments, &file, &config),
    }
}

/// Whether a file is of JSON Lines.
fn is_lines(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

/// Whether anything at all was compared.
///
/// # Errors
/// If not.
fn anything(compared: u64) -> Result<(), String> {
    match compared {
        0 => Err("nothing was compared: expected an event or a decision between --from and --until; name a time of the run"
            .to_owned()),
        _ => Ok(()),
    }
}

fn check(arguments: &ReplayArgs, file: &TraceFile, config: &RunConfig) -> Result<Found, Box<dyn Error>> {
    let (from, until) = arguments.window.bounds()?;
    let (mut first, mut second, mut third) = (file.open()?, file.open()?, file.open()?);
    let header = first.header().clone();
    let stored = Stored {
        end: first.end().copied(),
        events: Box::new(first.events(from)),
        decided: Box::new(second.decided(from)),
        checkpoints: Box::new(third.checkpoints(from)),
    };
    let around = usize::from(arguments.context);
    let checked = replay::check((config, &header), &mut Own, stored, Window { from, until }, around);
    let checked = checked.map_err(|error| match error {
        ReplayError::Trace(error) => file.blame(error),
        ReplayError::Steering(error) => error.into(),
    })?;
    if checked.mismatch.is_none() {
        anything(checked.events + checked.decisions + checked.checkpoints)?;
    }
    let told = text(&checked, (from, until));
    let different = checked.mismatch.is_some().then(|| {
        let at = json("", &checked)["first_difference"]["at_ns"].as_u64();
        let first =
            at.map_or_else(|| "it ends otherwise".to_owned(), |at| format!("differs at {}", Nanos(at)));
        [first, told.clone()]
    });
    Ok(Found {
        text: format!("{}\n{told}", run_of(&header)),
        json: json(&run_of(&header), &checked),
        parts: vec![Part { name: run_of(&header), different }],
    })
}

fn text(checked: &Checked, (from, until): (Nanos, Nanos)) -> String {
    let mut text = String::new();
    if from > Nanos::ZERO || until < Nanos::NEVER {
        let end = if until == Nanos::NEVER { "the end".to_owned() } else { until.to_string() };
        text += &format!("run from nought, compared from {from} to {end}\n");
    }
    let Checked { events, decisions, checkpoints, reached, ended, .. } = *checked;
    let end = if ended && checked.mismatch.is_none() { ", and the end" } else { "" };
    let same = format!(
        "{events} stored events, {decisions} decisions and {checkpoints} states of the hash up to {reached}{end}"
    );
    let Some(mismatch) = &checked.mismatch else { return text + &format!("the same: {same}\n") };
    text += &format!("DIFFERENT after {same} that are the same\n");
    text + &parted(mismatch)
}

/// Where a run and its trace part: `-` is the trace, `+` the run.
fn parted(mismatch: &Mismatch) -> String {
    let mut text = String::new();
    let mut all = |mark: &str, events: &[Recorded]| {
        events.iter().for_each(|event| text += &format!("{mark} {}\n", line(&Piece::Event(*event))));
    };
    all(" ", &mismatch.before);
    if let Some([stored, now]) = mismatch.ends {
        return text
            + &format!(
                "- the trace ends after {} events, hash {:016x}\n+ the run ends after {} events, hash {:016x}\n",
                stored.events, stored.hash, now.events, now.hash
            );
    }
    if matches!(mismatch.stored.or(mismatch.now), Some(Piece::Checkpoint(_))) {
        text += "  no stored event differs up to here: the order flow, which is not stored, does\n";
    }
    for (mark, piece, after) in
        [("-", &mismatch.stored, &mismatch.stored_after), ("+", &mismatch.now, &mismatch.now_after)]
    {
        match piece {
            Some(piece) => text += &format!("{mark} {}\n", line(piece)),
            None => text += &format!("{mark} nothing of this\n"),
        }
        for event in after {
            text += &format!("{mark} {}\n", line(&Piece::Event(*event)));
        }
    }
    text
}

fn json(run: &str, checked: &Checked) -> serde_json::Value {
    let shown = |piece: &Option<Piece>| piece.as_ref().map(line);
    let mismatch = checked.mismatch.as_ref().map(|mismatch| {
        let at = mismatch.stored.iter().chain(&mismatch.now).map(|piece| piece.at().0).min();
        serde_json::json!({
            "at_ns": at,
            "trace": shown(&mismatch.stored),
            "run": shown(&mismatch.now),
            "ends": mismatch.ends.map(|ends| ends.map(|end| format!("{:016x} after {} events", end.hash, end.events))),
        })
    });
    serde_json::json!({
        "run": run,
        "events": checked.events,
        "decisions": checked.decisions,
        "checkpoints": checked.checkpoints,
        "reached_ns": checked.reached.0,
        "ended": checked.ended,
        "different": checked.mismatch.is_some(),
        "first_difference": mismatch,
    })
}
