//! Decision streams: JSON Lines with what a controller saw of each bucket and decided, written by a run or by a controller in
//! production.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use numashock_controller::{Actions, Observation, Regime};
use numashock_experiment::results::SweepResults;
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::{Asked, BUCKET, Steering, SteeringError};
use serde_json::Value;

use super::wire::{
    self, ActionsLine, Counters, LINE_MAX, RegimeLine, STREAM, SeenLine, StreamHeader, StreamHost, StreamLine,
};
use super::{Controller, host_name, written};

/// Whose decisions follow each other: the run's number and the host's name.
pub(crate) type Whose = (u32, String);

/// A decision of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamDecision {
    /// Where it stands, from 1.
    pub(crate) line: usize,
    pub(crate) bucket: u32,
    pub(crate) seen: Observation,
    pub(crate) said: RegimeLine,
    /// With what was not said as nought.
    pub(crate) regime: Regime,
    pub(crate) actions: Option<Actions>,
}

/// A decision stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Who decided, by host, if the stream says so.
    pub(crate) header: Option<std::sync::Arc<StreamHeader>>,
    /// Decisions in order of bucket; bucket numbers rise, but may leave gaps.
    pub(crate) decisions: BTreeMap<Whose, Vec<StreamDecision>>,
}

impl Stream {
    /// # Errors
    /// If the file cannot be read, a line is none, or buckets do not rise; with file and line.
    pub(crate) fn read(path: &Path) -> Result<Stream, String> {
        let file =
            File::open(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        Stream::parse(BufReader::new(file)).map_err(|problem| format!("{}{problem}", path.display()))
    }

    fn parse(mut from: impl BufRead) -> Result<Stream, String> {
        let mut stream = Stream { header: None, decisions: BTreeMap::new() };
        for number in 1.. {
            let at = |problem: String| format!(":{number}: {problem}");
            let mut line = String::new();
            let read = (&mut from).take(LINE_MAX as u64 + 1).read_line(&mut line);
            read.map_err(|error| at(format!("cannot be read: {error}")))?;
            if line.is_empty() {
                break;
            }
            if line.len() > LINE_MAX {
                return Err(at(format!("the line is longer than {LINE_MAX} bytes")));
            }
            if line.trim().is_empty() {
                continue;
            }
            if number == 1 && is_header(&line) {
                stream.header = Some(std::sync::Arc::new(header(&line).map_err(at)?));
            } else {
                stream.add(number, &line).map_err(at)?;
            }
        }
        if stream.decisions.is_empty() {
            return Err(": expected a line a bucket and host, and found none".to_owned());
        }
        Ok(stream)
    }

    /// The counters that every line says.
    pub(super) fn said(&self) -> Counters {
        let all = self.decisions.values().flatten();
        all.fold(Counters::ALL, |counters, decision| counters.and_of(decision.said))
    }

    fn add(&mut self, number: usize, line: &str) -> Result<(), String> {
        let line: StreamLine = wire::read(line)?;
        let bucket = line.bucket;
        let decision = StreamDecision {
            line: number,
            bucket,
            seen: line.seen.observation()?,
            said: line.regime,
            regime: line.regime.regime(bucket)?,
            actions: line.actions.map(ActionsLine::actions).transpose()?,
        };
        let decisions = self.decisions.entry((line.run, line.host)).or_default();
        if let Some(last) = decisions.last().filter(|last| last.bucket >= bucket) {
            let (before, at) = (last.bucket, last.line);
            return Err(format!(
                "bucket {bucket}: expected one after bucket {before} of line {at}, a line each in order of time"
            ));
        }
        decisions.push(decision);
        Ok(())
    }
}

/// Whether a line says the version of a stream, as no decision does.
fn is_header(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|value| value.get("stream").is_some())
}

fn header(line: &str) -> Result<StreamHeader, String> {
    let header: StreamHeader = wire::read(line)?;
    if header.stream != STREAM {
        return Err(format!("stream = {}: expected {STREAM}, the version that is known here", header.stream));
    }
    if header.bucket_ns == 0 {
        return Err("bucket_ns = 0: expected the length of a bucket in nanoseconds".to_owned());
    }
    Ok(header)
}

/// Decisions as they were recorded, one run's.
pub(super) struct Recorded {
    stream: Stream,
    run: u32,
    names: Vec<String>,
}

impl Recorded {
    /// # Errors
    /// If the stream's buckets are not as long as a run's.
    pub(super) fn new(stream: &Stream, hosts: &[StreamHost], run: u32) -> Result<Recorded, SteeringError> {
        if let Some(header) = stream.header.as_ref().filter(|header| header.bucket_ns != BUCKET.0) {
            let problem = format!("its buckets last {} ns: expected {}", header.bucket_ns, BUCKET.0);
            return Err(SteeringError { host: HostId(0), bucket: 0, problem });
        }
        let names = hosts.iter().map(|host| host.host.clone()).collect();
        Ok(Recorded { stream: stream.clone(), run, names })
    }
}

impl Steering for Recorded {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        let whose = (self.run, self.names[asked.host.index()].clone());
        let decisions = self.stream.decisions.get(&whose).map_or(&[][..], Vec::as_slice);
        let Ok(place) = decisions.binary_search_by_key(&asked.bucket, |decision| decision.bucket) else {
            let (run, host) = whose;
            let problem =
                format!("the decision stream holds no decision of run {run}, host {host:?} for this bucket");
            return Err(SteeringError { host: asked.host, bucket: asked.bucket, problem });
        };
        let StreamDecision { regime, actions, .. } = decisions[place];
        Ok((regime, actions.unwrap_or_else(|| Actions::of(asked.limits, regime.level()))))
    }
}

/// The decisions of a choice as a stream: on which limits they are to be judged, and then a line a run, host and bucket.
/// Counters that whoever decided does not say are left out.
pub(crate) fn export(config: &RunConfig, controller: Option<&Controller>, results: &SweepResults) -> String {
    let names: Vec<&str> =
        (0..).zip(&config.hosts).map(|(host, _)| host_name(config, HostId(host))).collect();
    let hosts = config.hosts.iter().zip(&names).map(|(host, name)| {
        let own = ControllerConfig { kind: host.controller, limits: host.limits, delay: None };
        let ControllerConfig { kind, limits, .. } =
            controller.map_or(own, |controller| controller.built_in(own));
        StreamHost { host: (*name).to_owned(), controller: written(kind), limits }
    });
    let header = StreamHeader { stream: STREAM, bucket_ns: BUCKET.0, hosts: hosts.collect() };
    let mut text = wire::line(&header) + "\n";
    let said = controller.map_or(Counters::ALL, Controller::said);
    for row in &results.decisions {
        let decided = &row.decided;
        text += &wire::line(&StreamLine {
            run: u32::try_from(row.seed).expect("seeds are counted in 32 bits"),
            host: names[usize::from(decided.host)].to_owned(),
            bucket: decided.bucket,
            seen: SeenLine::of(&decided.seen),
            regime: RegimeLine::of(decided.regime).only(said),
            actions: Some(ActionsLine::of(&decided.actions)),
        });
        text.push('\n');
    }
    text
}

/// A place for a file, taken before the work; the file appears under its name when it is whole.
pub(crate) struct Place<'a> {
    path: &'a Path,
    partial: Option<std::path::PathBuf>,
    file: File,
}

impl<'a> Place<'a> {
    /// # Errors
    /// If something is there, or nothing can be.
    pub(crate) fn take(path: &'a Path) -> Result<Place<'a>, String> {
        let name = path.file_name().map_or_else(|| "decisions".into(), |name| name.to_string_lossy());
        let partial = path.with_file_name(format!(".{name}.partial"));
        if path.exists() {
            return Err(format!("{}: exists; remove it, or choose another name", path.display()));
        }
        let file = File::create_new(&partial)
            .map_err(|error| format!("{}: {error}; choose another place", partial.display()))?;
        Ok(Place { path, partial: Some(partial), file })
    }

    /// # Errors
    /// If the content cannot be written; nothing is left then.
    pub(crate) fn write(mut self, content: &str) -> Result<(), String> {
        let refused =
            |error| format!("{}: cannot be written: {error}; choose another place", self.path.display());
        self.file.write_all(content.as_bytes()).and_then(|()| self.file.sync_all()).map_err(refused)?;
        if let Some(partial) = &self.partial {
            std::fs::rename(partial, self.path).map_err(refused)?;
        }
        self.partial = None;
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = std::fs::remove_file(partial);
        }
    }
}
