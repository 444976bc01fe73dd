//! A controller on what a real or simulated one recorded: decision streams, and observations without decisions.
//!
//! ```text
//!   observations ──► old controller, or the decisions that were recorded ─┐
//!                └─► new controller, with its own memory ─────────────────┴─► side by side
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use numashock_controller::{Actions, Observation, Regime};
use numashock_experiment::decisions::{Row, Verdict};
use numashock_sim::scenario::config::HostId;
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::{Asked, BUCKET, Own, Steering, SteeringError};
use serde::Deserialize;

use super::report::{Found, Report, Series};
use super::{ReplayArgs, anything};
use crate::controller::of_stream;
use crate::steering::stream::{Stream, StreamDecision, Whose};
use crate::steering::wire::{self, LINE_MAX, SeenLine, StreamHost};
use crate::steering::{Controller, ControllerArgs, written};

/// What a bucket showed, and what was decided if that was recorded.
struct Bucket {
    line: usize,
    bucket: u32,
    seen: Observation,
    decision: Option<StreamDecision>,
}

/// What was recorded of a host in one run.
struct Record {
    whose: Whose,
    /// Whose limits the file says, or else a controller's file.
    own: ControllerConfig,
    /// Whether it was the recorded file that said so.
    known: bool,
    /// Where both controllers begin.
    start: Regime,
    buckets: Vec<Bucket>,
}

/// A line of `observations.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservationLine {
    host: String,
    bucket: u32,
    #[serde(rename = "start_ns")]
    _start: Option<u64>,
    seen: SeenLine,
}

pub(super) fn run(arguments: &ReplayArgs) -> Result<Found, Box<dyn Error>> {
    if arguments.closed_loop {
        return Err(
            "--closed-loop: expected a trace; a stream holds no scenario, so there is nothing to simulate"
                .into(),
        );
    }
    let (from, until) = arguments.window.bounds()?;
    let path = &arguments.trace;
    let new = arguments.controller.choose()?;
    let named = ControllerArgs {
        controller: arguments.old.clone(),
        controller_command: None,
        controller_timeout: arguments.controller.controller_timeout,
    };
    let old = named.choose().map_err(|error| format!("--old: {error}"))?;
    let file = Lines::read(path)?;
    let holds_decisions = file.decides;
    let records = file.records(arguments, [old.as_ref(), new.as_ref()])?;
    if new.is_none() && !records.iter().all(|one| one.known) {
        return Err("expected a controller; name one with --controller or --controller-command".into());
    }
    if !holds_decisions && old.is_none() {
        return Err(format!(
            "{}: holds observations and no decisions; name the controller to compare with, --old OLD.toml",
            path.display()
        )
        .into());
    }
    let recorded = holds_decisions && old.is_none();
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    let runs: BTreeSet<u32> = records.iter().map(|one| one.whose.0).collect();
    for run in &runs {
        let records: Vec<&Record> = records.iter().filter(|one| one.whose.0 == *run).collect();
        let news = decide(new.as_ref(), *run, &records)?;
        let olds = if recorded {
            records.iter().zip(&news).map(|(one, news)| as_recorded(one, news)).collect()
        } else {
            decide(old.as_ref(), *run, &records)?
        };
        for (one, (olds, news)) in records.iter().zip(olds.into_iter().zip(news)) {
            let host = u16::try_from(series.len()).map_err(|_| "more than 65536 hosts and runs")?;
            let rows_of = one.buckets.iter().zip(olds.into_iter().zip(news));
            rows.extend(rows_of.map(|(bucket, (old, new))| Row { host, bucket: bucket.bucket, old, new }));
            series.push(one.series(runs.len() > 1, recorded, [old.as_ref(), new.as_ref()]));
        }
    }
    rows.retain(|row| from <= row.at() && row.at() < until);
    rows.sort_by_key(|row| (row.bucket, row.host));
    anything(rows.len() as u64)?;
    let named =
        |by: Option<&Controller>| by.map_or_else(|| "as the first line says".to_owned(), Controller::name);
    let report = Report {
        title: path.display().to_string(),
        old: if recorded { "as recorded".to_owned() } else { named(old.as_ref()) },
        new: named(new.as_ref()),
        closed: false,
        series,
        rows,
        shortfalls: None,
    };
    Ok(report.found(arguments))
}

/// A file of JSON Lines.
struct Lines {
    file: String,
    stream: Stream,
    /// Whether each line holds a decision.
    decides: bool,
    observed: BTreeMap<Whose, Vec<Bucket>>,
}

impl Lines {
    fn read(path: &Path) -> Result<Lines, String> {
        let file = path.display().to_string();
        if has_decisions(path)? {
            let mut stream = Stream::read(path)?;
            let decisions = std::mem::take(&mut stream.decisions).into_iter().map(|(whose, decisions)| {
                let bucket = |one: StreamDecision| Bucket {
                    line: one.line,
                    bucket: one.bucket,
                    seen: one.seen,
                    decision: Some(one),
                };
                (whose, decisions.into_iter().map(bucket).collect())
            });
            let observed = decisions.collect();
            return Ok(Lines { file, stream, decides: true, observed });
        }
        let mut observed: BTreeMap<Whose, Vec<Bucket>> = BTreeMap::new();
        for_lines(path, |number, line| {
            let line: ObservationLine = wire::read(line)?;
            let (seen, bucket) = (line.seen.observation()?, line.bucket);
            let buckets = observed.entry((0, line.host)).or_default();
            if let Some(last) = buckets.last().filter(|last| last.bucket >= bucket) {
                return Err(format!(
                    "bucket {bucket}: expected one after bucket {} of line {}",
                    last.bucket, last.line
                ));
            }
            buckets.push(Bucket { line: number, bucket, seen, decision: None });
            Ok(true)
        })?;
        if observed.is_empty() {
            return Err(format!("{file}: expected a line a bucket and host, and found none"));
        }
        let stream = Stream { header: None, decisions: BTreeMap::new() };
        Ok(Lines { file, stream, decides: false, observed })
    }

    fn records(self, arguments: &ReplayArgs, by: [Option<&Controller>; 2]) -> Result<Vec<Record>, String> {
        let Lines { file, stream, observed, .. } = self;
        if let Some(header) = stream.header.as_ref().filter(|header| header.bucket_ns != BUCKET.0) {
            return Err(format!("{file}: its buckets last {} ns: expected {}", header.bucket_ns, BUCKET.0));
        }
        let mut records = Vec::new();
        for (whose, buckets) in observed {
            let header = of_stream(&stream, &whose.1);
            let known = header.is_ok();
            let of_file = by.into_iter().flatten().find_map(Controller::limits);
            let own = header.ok().or(of_file).ok_or_else(|| {
                format!(
                    "{file}: says no limits for host {:?} in its first line; name some with --controller FILE.toml or --old \
                     FILE.toml",
                    whose.1
                )
            })?;
            let mut record = Record { whose, own, known, start: Regime::STABLE, buckets };
            if let Some(gap) = record.begin() {
                if !arguments.allow_cut {
                    return Err(format!("{file}: {gap}; --allow-cut compares what lies before"));
                }
                eprintln!("note: {file}: {gap}; compared as far as that");
            }
            records.push(record);
        }
        Ok(records)
    }
}

impl Record {
    /// Takes the first decision as given if nothing is known from before it, and leaves out what is behind a gap, which is said.
    fn begin(&mut self) -> Option<String> {
        let first = self.buckets.first()?;
        if let Some(decision) = first.decision.filter(|_| first.bucket > 0) {
            self.start = decision.regime;
            self.buckets.remove(0);
        }
        let gap = self.buckets.windows(2).position(|pair| pair[0].bucket + 1 != pair[1].bucket)?;
        let (before, behind) = (&self.buckets[gap], &self.buckets[gap + 1]);
        let (run, host) = &self.whose;
        let said = format!(
            "run {run}, host {host:?}: buckets after {} and before {} are missing before line {}",
            before.bucket, behind.bucket, behind.line
        );
        self.buckets.truncate(gap + 1);
        Some(said)
    }

    fn series(&self, says_run: bool, recorded: bool, [old, new]: [Option<&Controller>; 2]) -> Series {
        let (run, host) = &self.whose;
        let name = if says_run { format!("{host}, run {run}") } else { host.clone() };
        let of = |by: Option<&Controller>| by.map_or(self.own, |by| by.built_in(self.own));
        let old = if recorded { self.known.then_some(self.own) } else { Some(of(old)) };
        Series { name, old, new: Some(of(new)) }
    }
}

/// Lets a controller decide a run, in the order in which a run would ask it; `None` is whom the file names.
fn decide(
    by: Option<&Controller>,
    run: u32,
    records: &[&Record],
) -> Result<Vec<Vec<Verdict>>, SteeringError> {
    let hosts = records.iter().map(|one| StreamHost {
        host: one.whose.1.clone(),
        controller: written(one.own.kind),
        limits: one.own.limits,
    });
    let mut steering: Box<dyn Steering> = match by {
        Some(by) => by.begin_on(&hosts.collect::<Vec<_>>(), run)?,
        None => Box::new(Own),
    };
    let mut order: Vec<(u32, u16, usize)> = Vec::new();
    for (host, one) in (0..).zip(records) {
        order.extend(one.buckets.iter().enumerate().map(|(place, bucket)| (bucket.bucket, host, place)));
    }
    order.sort_unstable();
    let mut regimes: Vec<Regime> = records.iter().map(|one| one.start).collect();
    let mut verdicts: Vec<Vec<Verdict>> = records.iter().map(|_| Vec::new()).collect();
    for (bucket, host, place) in order {
        let number = usize::from(host);
        let (one, before) = (records[number], regimes[number]);
        let seen = one.buckets[place].seen;
        let (regime, actions) = steering.steer(&Asked {
            host: HostId(host),
            bucket,
            policy: one.own.policy(),
            limits: &one.own.limits,
            regime: before,
            seen: &seen,
        })?;
        regimes[number] = regime;
        verdicts[number].push(Verdict { before, seen, regime, actions });
    }
    steering.end()?;
    Ok(verdicts)
}

/// What was recorded, with what it leaves unsaid as the new controller has it.
fn as_recorded(one: &Record, news: &[Verdict]) -> Vec<Verdict> {
    let mut before = one.start;
    let verdict = |(bucket, new): (&Bucket, &Verdict)| {
        let decision = bucket.decision.expect("a stream's line holds a decision");
        let agrees = decision.said.agrees(new.regime);
        let regime = if agrees { new.regime } else { decision.regime };
        let unsaid = if agrees { new.actions } else { Actions::of(&one.own.limits, regime.level()) };
        let actions = decision.actions.unwrap_or(unsaid);
        let before = std::mem::replace(&mut before, regime);
        Verdict { before, seen: bucket.seen, regime, actions }
    };
    one.buckets.iter().zip(news).map(verdict).collect()
}

/// Whether the first line of a bucket holds a decision, or a first line says that such lines follow.
fn has_decisions(path: &Path) -> Result<bool, String> {
    let mut found = false;
    for_lines(path, |_, line| {
        let value: serde_json::Value = wire::read(line)?;
        found = value.get("regime").is_some() || value.get("stream").is_some();
        Ok(false)
    })?;
    Ok(found)
}

/// Hands over lines with their numbers, as long as more are asked for.
fn for_lines(path: &Path, mut take: impl FnMut(usize, &str) -> Result<bool, String>) -> Result<(), String> {
    let wrong = |problem: String| format!("{}{problem}", path.display());
    let file = File::open(path).map_err(|error| wrong(format!(": cannot be read: {error}")))?;
    let mut from = BufReader::new(file);
    for number in 1.. {
        let at = |problem: String| wrong(format!(":{number}: {problem}"));
        let mut line = String::new();
        let read = (&mut from).take(LINE_MAX as u64 + 1).read_line(&mut line);
        read.map_err(|error| at(format!("cannot be read: {error}")))?;
        if line.len() > LINE_MAX {
            return Err(at(format!("the line is longer than {LINE_MAX} bytes")));
        }
        let is_blank = line.trim().is_empty();
        if line.is_empty() || (!is_blank && !take(number, &line).map_err(at)?) {
            break;
        }
    }
    Ok(())
}
