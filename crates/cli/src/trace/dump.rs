//! A trace as JSON Lines.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::iter::Peekable;
use std::process::ExitCode;

use numashock_engine::{Checkpoint, Nanos, Recorded};
use numashock_experiment::tape::{self, Piece};
use numashock_sim::semantic::{self, Value};
use numashock_trace::{Decided, End, TraceError};

use super::{DumpArgs, TraceFile};
use crate::steering::wire::{self, ActionsLine, RegimeLine, SeenLine};

/// Kinds that are no events.
const OTHER_KINDS: [&str; 3] = ["checkpoint", "decided", "end"];

pub(super) fn run(arguments: &DumpArgs) -> Result<ExitCode, Box<dyn Error>> {
    let (from, until) = arguments.window.bounds()?;
    let wanted = Kinds::named(&arguments.kind)?;
    let file = TraceFile::new(&arguments.trace);
    let (mut first, mut second, mut third) = (file.open()?, file.open()?, file.open()?);
    let (end, cut) = (first.end().copied(), file.cut(&first));
    let pieces = Merged {
        events: first.events(from).peekable(),
        checkpoints: second.checkpoints(from).peekable(),
        decided: third.decided(from).peekable(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    for piece in pieces {
        let piece = piece.map_err(|error| file.blame(error))?;
        if piece.at() >= until {
            break;
        }
        if wanted.has(&piece) && !write(&mut out, &object(&piece))? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let end = end.filter(|end| wanted.has_name("end") && Nanos(end.at) < until);
    if let Some(End { events, at, hash }) = end {
        let line =
            format!("{{\"at_ns\":{at},\"kind\":\"end\",\"events\":{events},\"hash\":\"{hash:016x}\"}}\n");
        write(&mut out, &line)?;
    }
    write(&mut out, "")?;
    if let Some(cut) = cut {
        eprintln!("note: {cut}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether anybody reads on.
fn write(out: &mut impl Write, text: &str) -> io::Result<bool> {
    let written = if text.is_empty() { out.flush() } else { out.write_all(text.as_bytes()) };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// Which kinds are wanted; none named: all.
struct Kinds<'a>(&'a [String]);

impl Kinds<'_> {
    fn named(names: &[String]) -> Result<Kinds<'_>, String> {
        let known = |name: &str| semantic::kind_named(name).is_some() || OTHER_KINDS.contains(&name);
        let known = |name: &&String| !known(name) && !["note", "unknown"].contains(&name.as_str());
        if let Some(wrong) = names.iter().find(known) {
            let kinds = semantic::NAMES.iter().map(|(_, name)| *name).chain(OTHER_KINDS);
            let kinds: Vec<&str> = kinds.collect();
            return Err(format!("--kind \"{wrong}\": expected one of {}", kinds.join(", ")));
        }
        Ok(Kinds(names))
    }

    fn has_name(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| wanted == name)
    }

    fn has(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Event(event) => {
                let unnamed = if event.is_note() { "note" } else { "unknown" };
                self.has_name(semantic::name(event.kind).unwrap_or(unnamed))
            }
            Piece::Checkpoint(_) => self.has_name("checkpoint"),
            Piece::Decided(_) => self.has_name("decided"),
        }
    }
}

/// Three streams as one, by time; at one time events come first and decisions last.
struct Merged<E: Iterator, C: Iterator, D: Iterator> {
    events: Peekable<E>,
    checkpoints: Peekable<C>,
    decided: Peekable<D>,
}

impl<E, C, D> Iterator for Merged<E, C, D>
where
    E: Iterator<Item = Result<Recorded, TraceError>>,
    C: Iterator<Item = Result<Checkpoint, TraceError>>,
    D: Iterator<Item = Result<Decided, TraceError>>,
{
    type Item = Result<Piece, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        // An error comes at once.
        let at = [
            self.events.peek().map(|next| next.as_ref().map_or(Nanos::ZERO, |event| event.at)),
            self.checkpoints.peek().map(|next| next.as_ref().map_or(Nanos::ZERO, |point| point.at)),
            self.decided.peek().map(|next| next.as_ref().map_or(Nanos::ZERO, tape::decided_at)),
        ];
        let (_, first) = (0..3).filter_map(|place| at[place].map(|at| (at, place))).min()?;
        match first {
            0 => self.events.next().map(|event| event.map(Piece::Event)),
            1 => self.checkpoints.next().map(|point| point.map(Piece::Checkpoint)),
            _ => self.decided.next().map(|decided| decided.map(Piece::Decided)),
        }
    }
}

/// A piece as one line of JSON.
fn object(piece: &Piece) -> String {
    let mut text = format!("{{\"at_ns\":{},", piece.at().0);
    match piece {
        Piece::Event(event) => {
            let words = semantic::words(event);
            text += &format!("\"kind\":\"{}\"", words.name);
            for (name, value) in words.fields {
                let value = match value {
                    Value::Number(number) => number.to_string(),
                    Value::Signed(number) => number.to_string(),
                    Value::Flag(flag) => flag.to_string(),
                    other => format!("\"{other}\""),
                };
                // A kind without a name says its number.
                let name = if name == "kind" { "number" } else { name };
                let _ = write!(text, ",\"{name}\":{value}");
            }
        }
        Piece::Checkpoint(point) => {
            text += &format!(
                "\"kind\":\"checkpoint\",\"events\":{},\"hash\":\"{:016x}\"",
                point.events, point.hash
            );
        }
        Piece::Decided(one) => {
            text += &format!(
                "\"kind\":\"decided\",\"host\":{},\"bucket\":{},\"seen\":{},\"regime\":{},\"actions\":{}",
                one.host,
                one.bucket,
                wire::line(&SeenLine::of(&one.seen)),
                wire::line(&RegimeLine::of(one.regime)),
                wire::line(&ActionsLine::of(&one.actions)),
            );
        }
    }
    text + "}\n"
}
