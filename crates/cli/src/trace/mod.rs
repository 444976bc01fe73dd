//! `trace`: what a trace holds, in words, and where two of them part.

mod diff;
mod dump;
pub(crate) mod record;

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use numashock_engine::Nanos;
use numashock_experiment::tape::Piece;
use numashock_sim::BUCKET;
use numashock_sim::scenario::units::Time;
use numashock_sim::semantic;
use numashock_trace::{Limits, Reader};

use crate::args::parse_time;
use crate::output::say;
use crate::steering::wire::{self, ActionsLine, SeenLine};

#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Say what run a trace is of, and how far it goes.
    #[command(after_help = "Example: numashock trace info baseline.trace")]
    Info(InfoArgs),
    /// Write a trace as JSON Lines: an object an event, decision and state of the hash.
    #[command(after_help = DUMP_HELP)]
    Dump(DumpArgs),
    /// Name the first event in which two traces differ.
    #[command(after_help = DIFF_HELP)]
    Diff(DiffArgs),
}

const DUMP_HELP: &str = "Example: numashock trace dump baseline.trace --from 3s --until 3500ms --kind fault --kind regime

Every line has at_ns and kind; the rest is the kind's: fields of an event with their units, what a controller saw and decided
(kind decided), the state of the event hash (checkpoint), the end of the run (end). Order flow is not stored: a replay draws
it again. A trace that was cut is written as far as it is whole, and that is said.";

const DIFF_HELP: &str = "Example: numashock trace diff before.trace after.trace --context 5

What the traces are of is compared first (scenario, choice, replication, model version), then events, decisions and states of
the event hash; the first in time that differs is named. Where states of the hash differ and no event does, the difference
lies in the order flow, which is not stored. A trace that was cut is refused; with --allow-cut it is compared as far as it goes.

Exit codes: 0 the same, 1 different, 2 one of them cannot be read, is damaged or cut, or nothing could be compared.";

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The trace.
    pub(crate) trace: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The trace.
    pub(crate) trace: PathBuf,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    /// Only this kind; may be repeated. Kinds are those of events, decided, checkpoint and end.
    #[arg(long, value_name = "NAME")]
    pub(crate) kind: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The one trace.
    pub(crate) left: PathBuf,
    /// The other.
    pub(crate) right: PathBuf,
    /// Events to show before and behind the first difference.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(..=1000))]
    pub(crate) context: u16,
    /// Compare a trace that was cut as far as it goes.
    #[arg(long)]
    pub(crate) allow_cut: bool,
}

/// A part of the run's time.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WindowArgs {
    /// Nothing before this time of the run.
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = parse_time)]
    pub(crate) from: Time,
    /// Nothing at this time or behind it.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) until: Option<Time>,
}

impl WindowArgs {
    /// As the first time and the one at which it ends.
    ///
    /// # Errors
    /// If it holds nothing.
    pub(crate) fn bounds(&self) -> Result<(Nanos, Nanos), String> {
        let until = self.until.map_or(u64::MAX, |until| until.0);
        if self.from.0 >= until {
            return Err(
                "--from, --until: nothing lies between them; name a later time with --until".to_owned()
            );
        }
        Ok((Nanos(self.from.0), Nanos(until)))
    }
}

/// A trace that can be read from several places at once.
pub(crate) struct TraceFile {
    path: PathBuf,
}

/// How a trace is read.
pub(crate) type FileReader = Reader<BufReader<File>>;

impl TraceFile {
    pub(crate) fn new(path: &Path) -> TraceFile {
        TraceFile { path: path.to_owned() }
    }

    /// # Errors
    /// If it cannot be opened or is no trace.
    pub(crate) fn open(&self) -> Result<FileReader, Box<dyn Error>> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        let file = File::open(&self.path).map_err(|error| format!("{}; name a trace", wrong(&error)))?;
        Reader::open(BufReader::new(file), Limits::USUAL).map_err(|error| wrong(&error).into())
    }

    /// As an error of this file.
    pub(crate) fn blame(&self, error: impl std::fmt::Display) -> Box<dyn Error> {
        format!("{}: {error}", self.path.display()).into()
    }

    /// That it is cut, if it is, as a line to be said.
    pub(crate) fn cut(&self, reader: &FileReader) -> Option<String> {
        reader.cut().map(|cut| format!("{}: {cut}", self.path.display()))
    }

    /// As [`cut`](Self::cut), where that is allowed.
    ///
    /// # Errors
    /// If the trace is cut and may not be.
    pub(crate) fn cut_allowed(&self, reader: &FileReader, allowed: bool) -> Result<Option<String>, String> {
        match self.cut(reader) {
            Some(cut) if !allowed => {
                Err(format!("{cut}; --allow-cut compares it as far as it goes, or write the trace anew"))
            }
            cut => Ok(cut.map(|cut| format!("{cut}; compared as far as it goes"))),
        }
    }

    /// Reads every block, whatever will be looked at.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub(crate) fn verify(&self) -> Result<(), Box<dyn Error>> {
        let mut reader = self.open()?;
        while reader.next_block().map_err(|error| self.blame(error))?.is_some() {}
        Ok(())
    }
}

/// `trace`.
pub(crate) fn run(command: &TraceCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        TraceCommand::Info(arguments) => info(arguments),
        TraceCommand::Dump(arguments) => dump::run(arguments),
        TraceCommand::Diff(arguments) => diff::run(arguments),
    }
}

fn info(arguments: &InfoArgs) -> Result<ExitCode, Box<dyn Error>> {
    let file = TraceFile::new(&arguments.trace);
    let reader = file.open()?;
    file.verify()?;
    let header = reader.header();
    let mut text = format!("{}\nmodel version {}\n", run_of(header), header.model_version);
    let hosts: Vec<String> = (0..header.hosts.len()).map(|host| host_name(&header.hosts, host)).collect();
    text += &format!("hosts: {}\n", hosts.join(", "));
    for input in &header.inputs {
        text += &format!("input {}: {} bytes, hash {:016x}\n", input.path, input.bytes, input.hash);
    }
    text += &match (reader.end(), file.cut(&reader)) {
        (Some(end), _) => {
            let at = Nanos(end.at);
            format!("whole: {} semantic events up to {at}, event hash {:016x}\n", end.events, end.hash)
        }
        (None, Some(cut)) => format!("{cut}\n"),
        (None, None) => "no end: the run was not finished\n".to_owned(),
    };
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What run a trace is of.
pub(crate) fn run_of(header: &numashock_trace::Header) -> String {
    format!("{}: choice \"{}\", replication {}", header.name, header.choice, header.replication)
}

/// A host's name; the only one of a scenario without names is `host`.
pub(crate) fn host_name(hosts: &[String], host: usize) -> String {
    match hosts.get(host).map(String::as_str) {
        None => format!("host {host}"),
        Some("") => "host".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// A piece of a run as a line for readers.
pub(crate) fn line(piece: &Piece) -> String {
    let at = piece.at();
    match piece {
        Piece::Event(event) => format!("{at}  {}", semantic::words(event)),
        Piece::Checkpoint(point) => format!("{at}  hash {:016x} after {} events", point.hash, point.events),
        Piece::Decided(one) => {
            let (regime, seen) = (one.regime, &one.seen);
            let bucket = u64::from(one.bucket);
            format!(
                "{at}  decided host={} bucket={bucket} ({}s to {}s): {} (held {}, calm {}, blind {}), actions {}, seen {}",
                one.host,
                bucket * BUCKET.0 / 1_000_000_000,
                (bucket + 1) * BUCKET.0 / 1_000_000_000,
                regime.name(),
                regime.held(),
                regime.calm(),
                regime.blind(),
                wire::line(&ActionsLine::of(&one.actions)),
                wire::line(&SeenLine::of(seen)),
            )
        }
    }
}
