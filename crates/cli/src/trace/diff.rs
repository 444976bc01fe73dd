//! Where two traces part.

use std::error::Error;
use std::process::ExitCode;

use numashock_engine::{Nanos, Recorded};
use numashock_experiment::tape::Piece;
use numashock_trace::{Header, TraceError, first_difference};

use super::{DiffArgs, FileReader, TraceFile, line};
use crate::output::say;

pub(super) fn run(arguments: &DiffArgs) -> Result<ExitCode, Box<dyn Error>> {
    let files = [TraceFile::new(&arguments.left), TraceFile::new(&arguments.right)];
    let mut text = String::new();
    let mut different = false;
    {
        let readers = [files[0].open()?, files[1].open()?];
        for difference in headers(readers[0].header(), readers[1].header()) {
            different = true;
            text += &format!("header: {difference}\n");
        }
        for (file, reader) in files.iter().zip(&readers) {
            if let Some(cut) = file.cut_allowed(reader, arguments.allow_cut)? {
                text += &format!("note: {cut}\n");
            }
        }
    }
    let mut parted = vec![events(&files, usize::from(arguments.context))?];
    parted.push(pieces(&files, |reader, from| boxed(reader.decided(from), Piece::Decided))?);
    parted.push(pieces(&files, |reader, from| boxed(reader.checkpoints(from), Piece::Checkpoint))?);
    let shared = parted[0].shared;
    if !different && parted.iter().all(|one| one.shared == 0 && one.text.is_none()) {
        return Err("nothing could be compared: the traces share no whole block; write them anew".into());
    }
    // Of what parts at one time, an event says more than a decision, and this more than a hash.
    match parted.into_iter().filter(|one| one.text.is_some()).min_by_key(|one| one.at) {
        Some(Parted { text: Some(first), at, .. }) => {
            different = true;
            text +=
                &format!("first difference at {at}, after {shared} stored events that are the same\n{first}");
        }
        _ if different => {
            text += &format!("{shared} stored events are the same, and all else that was compared\n")
        }
        _ => text += &format!("the same: {shared} stored events, all decisions and states of the hash\n"),
    }
    say(&text)?;
    Ok(ExitCode::from(u8::from(different)))
}

/// Where one kind of item parts.
struct Parted {
    at: Nanos,
    shared: u64,
    text: Option<String>,
}

fn events(files: &[TraceFile; 2], around: usize) -> Result<Parted, Box<dyn Error>> {
    let (mut left, mut right) = (files[0].open()?, files[1].open()?);
    let is_cut = [left.end().is_none(), right.end().is_none()];
    let [from_left, from_right] = [(&mut left, 0), (&mut right, 1)].map(|(reader, number)| {
        let items = reader.events(Nanos::ZERO).filter(|event| !event.as_ref().is_ok_and(Recorded::is_note));
        items.map(move |event| event.map_err(|error| (number, error)))
    });
    // Of a difference of hashes it must be said how many events are the same all the same.
    let mut shared = 0;
    let counted = from_left.inspect(|_| shared += 1);
    let difference = first_difference(counted, from_right, around)
        .map_err(|(number, error): (usize, TraceError)| files[number].blame(error))?;
    let Some(difference) = difference else { return Ok(Parted { at: Nanos::NEVER, shared, text: None }) };
    let shared = difference.shared;
    let first = [difference.left.first(), difference.right.first()];
    let cut_off = first.iter().zip(is_cut).any(|(first, is_cut)| first.is_none() && is_cut);
    if cut_off {
        return Ok(Parted { at: Nanos::NEVER, shared, text: None });
    }
    let mut text = String::new();
    let mut all = |mark: &str, events: &[Recorded]| {
        events.iter().for_each(|event| text += &format!("{mark} {}\n", line(&Piece::Event(*event))));
    };
    all(" ", &difference.before);
    all("-", &difference.left);
    all("+", &difference.right);
    for (mark, first) in ["-", "+"].iter().zip(first) {
        if first.is_none() {
            text += &format!("{mark} no more events\n");
        }
    }
    let at = first.into_iter().flatten().map(|event| event.at).min().unwrap_or(Nanos::NEVER);
    Ok(Parted { at, shared, text: Some(text) })
}

type Pieces<'a> = Box<dyn Iterator<Item = Result<Piece, TraceError>> + 'a>;

fn boxed<'a, T: 'a>(
    items: impl Iterator<Item = Result<T, TraceError>> + 'a,
    piece: fn(T) -> Piece,
) -> Pieces<'a> {
    Box::new(items.map(move |item| item.map(piece)))
}

/// Where decisions or states of the hash part.
fn pieces(
    files: &[TraceFile; 2],
    of: impl Fn(&mut FileReader, Nanos) -> Pieces<'_>,
) -> Result<Parted, Box<dyn Error>> {
    let (mut left, mut right) = (files[0].open()?, files[1].open()?);
    let is_cut = [left.end().is_none(), right.end().is_none()];
    let (mut left, mut right) = (of(&mut left, Nanos::ZERO), of(&mut right, Nanos::ZERO));
    let (mut shared, mut agreed) = (0, Nanos::ZERO);
    loop {
        let one = left.next().transpose().map_err(|error| files[0].blame(error))?;
        let other = right.next().transpose().map_err(|error| files[1].blame(error))?;
        let none = Parted { at: Nanos::NEVER, shared, text: None };
        match (&one, &other) {
            (None, None) => return Ok(none),
            (None, _) if is_cut[0] => return Ok(none),
            (_, None) if is_cut[1] => return Ok(none),
            _ => {}
        }
        if one != other {
            let mut text = String::new();
            if matches!(one.or(other), Some(Piece::Checkpoint(_))) {
                text += &format!(
                    "  the event hash is the same up to {agreed}; no stored event differs before it parts: the order flow, which is \
                     not stored, does\n"
                );
            }
            for (mark, piece) in [("-", &one), ("+", &other)] {
                let shown = piece.as_ref().map_or_else(|| "no more".to_owned(), line);
                text += &format!("{mark} {shown}\n");
            }
            let at = [one, other].iter().flatten().map(Piece::at).min().unwrap_or(Nanos::NEVER);
            return Ok(Parted { at, shared, text: Some(text) });
        }
        shared += 1;
        agreed = one.map_or(agreed, |piece| piece.at());
    }
}

/// What differs between two headers, in words.
fn headers(left: &Header, right: &Header) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, left: String, right: String| {
        if left != right {
            found.push(format!("{what} {left} | {right}"));
        }
    };
    compare("model version", left.model_version.to_string(), right.model_version.to_string());
    compare("name", left.name.clone(), right.name.clone());
    compare("choice", left.choice.clone(), right.choice.clone());
    compare("replication", left.replication.to_string(), right.replication.to_string());
    compare("hosts", left.hosts.join(", "), right.hosts.join(", "));
    compare("events between states of the hash", left.interval.to_string(), right.interval.to_string());
    let inputs = |header: &Header| {
        let all = header.inputs.iter().map(|input| format!("{} ({:016x})", input.name, input.hash));
        all.collect::<Vec<_>>().join(", ")
    };
    compare("inputs", inputs(left), inputs(right));
    if left.scenario != right.scenario {
        let (mut one, mut other) = (left.scenario.lines(), right.scenario.lines());
        let mut number = 0;
        loop {
            number += 1;
            let (one, other) = (one.next(), other.next());
            if one != other || one.is_none() {
                let [one, other] = [one, other].map(|line| line.unwrap_or("nothing more").trim().to_owned());
                found.push(format!("scenario, from line {number} of the resolved text: {one} | {other}"));
                break;
            }
        }
    }
    found
}
