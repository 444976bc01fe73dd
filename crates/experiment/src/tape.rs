//! One run told as it goes, in pieces that a trace holds, and run again from what a trace says of it.
//!
//! ```text
//!   Scenario, choice, replication ──► Header ──► reopen() ──► RunConfig
//!   RunConfig ──► follow(): the loop, step by step ──► Piece, Piece, ... ──► a file, or the comparison with one
//! ```
//!
//! Invariant: what is told of a run does not change it, and the pieces of a run are the same whoever listens.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use numashock_accounting::Mechanisms;
use numashock_engine::{Checkpoint, EventHash, Keep, Nanos, Recorded};
use numashock_sim::event::kind;
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::document::ScenarioError;
use numashock_sim::scenario::{Input, Scenario};
use numashock_sim::{BUCKET, MODEL_VERSION, RunResult, Simulation, Steering, SteeringError};
use numashock_trace::{Decided, End, Header, InputFile, Options, Stats, TraceError, Writer};

/// Semantic events between two states of the hash in a trace, as in golden files.
pub const INTERVAL: u64 = 1_000;

/// Costs as the preset has them.
const UNCHANGED: u64 = 1_000_000;

/// One thing that a trace holds, in the order of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A semantic event. Order flow is not among them: the seed and the own orders give it again.
    Event(Recorded),
    /// The state of the hash, order flow included.
    Checkpoint(Checkpoint),
    /// What a host's controller saw of a bucket and decided.
    Decided(Decided),
}

impl Piece {
    /// When; a decision falls at the end of its bucket.
    #[must_use]
    pub fn at(&self) -> Nanos {
        match self {
            Piece::Event(event) => event.at,
            Piece::Checkpoint(point) => point.at,
            Piece::Decided(decided) => decided_at(decided),
        }
    }
}

/// The end of a decision's bucket, at which it fell.
#[must_use]
pub fn decided_at(decided: &Decided) -> Nanos {
    Nanos((u64::from(decided.bucket) + 1) * BUCKET.0)
}

/// Why a run was not followed to its end.
#[derive(Debug)]
pub enum Stopped<E> {
    /// No decision could be had.
    Steering(SteeringError),
    /// The listener wanted no more.
    Listener(E),
}

impl<E> From<SteeringError> for Stopped<E> {
    fn from(error: SteeringError) -> Stopped<E> {
        Stopped::Steering(error)
    }
}

/// Runs the real world of a replication and tells each piece to a listener as it happens.
///
/// # Errors
/// If a decision cannot be had, or the listener gives an error; the run ends there.
///
/// # Panics
/// If an invariant of the run breaks.
pub fn follow<E>(
    config: &RunConfig,
    replication: u32,
    interval: u64,
    steering: &mut dyn Steering,
    mut listen: impl FnMut(Piece) -> Result<(), E>,
) -> Result<RunResult, Stopped<E>> {
    let input = config.replication(replication).input(Mechanisms::REAL, true, None, interval);
    let mut simulation = Simulation::new(config, input);
    assert!(simulation.hash().events == 0, "nothing happens before it is kept");
    simulation.keep(Keep::Events);
    let (mut kept, mut events, mut points) = (Vec::new(), 0, 0);
    let mut decisions = vec![0; config.hosts.len()];
    loop {
        let goes_on = simulation.step_with(steering)?.is_some();
        simulation.take_kept(&mut kept);
        for event in kept.drain(..) {
            events += 1;
            if event.kind != kind::FLOW {
                listen(Piece::Event(event)).map_err(Stopped::Listener)?;
            }
            if let Some(point) = simulation.checkpoints().get(points).filter(|point| point.events == events) {
                points += 1;
                listen(Piece::Checkpoint(*point)).map_err(Stopped::Listener)?;
            }
        }
        for (number, told) in (0..).zip(&mut decisions) {
            let decided = simulation.decided(HostId(number));
            for (bucket, (seen, (regime, actions))) in decided.enumerate().skip(*told) {
                *told = bucket + 1;
                let bucket = u32::try_from(bucket).expect("fewer than 2^32 seconds");
                let decided =
                    Decided { host: number, bucket, seen: *seen, regime: *regime, actions: *actions };
                listen(Piece::Decided(decided)).map_err(Stopped::Listener)?;
            }
        }
        if !goes_on {
            steering.end()?;
            return Ok(simulation.finish());
        }
    }
}

/// Why a run was not written down.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No decision could be had.
    #[error("{0}")]
    Steering(#[from] SteeringError),
    /// The trace cannot be written.
    #[error("{0}")]
    Trace(#[from] TraceError),
}

/// Runs what a header says and writes it as a trace while it goes.
///
/// # Errors
/// If a decision cannot be had, or the trace cannot be written.
///
/// # Panics
/// If an invariant of the run breaks.
pub fn record(
    (config, header): (&RunConfig, &Header),
    steering: &mut dyn Steering,
    out: impl Write,
    options: Options,
) -> Result<(RunResult, Stats), RecordError> {
    let mut writer = Writer::new(out, header, options)?;
    let told = follow(config, header.replication, header.interval, steering, |piece| match piece {
        Piece::Event(event) => writer.event(&event),
        Piece::Checkpoint(point) => writer.checkpoint(&point),
        Piece::Decided(decided) => writer.decided(&decided),
    });
    let result = told.map_err(|stopped| match stopped {
        Stopped::Steering(error) => RecordError::Steering(error),
        Stopped::Listener(error) => RecordError::Trace(error),
    })?;
    let stats = writer.finish(&end(&result))?;
    Ok((result, stats))
}

/// How a run ended, as a trace says it.
#[must_use]
pub fn end(result: &RunResult) -> End {
    End { events: result.hash.events, at: result.hash.at.0, hash: result.hash.hash }
}

/// Why a run cannot be described by a trace, or not be run again from one.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The scenario is wrong.
    #[error("{0}")]
    Scenario(#[from] ScenarioError),
    /// A choice that the scenario does not have.
    #[error("choice \"{name}\": the scenario has {known}")]
    Choice {
        /// The name.
        name: String,
        /// Those it has.
        known: String,
    },
    /// A replication that the scenario does not have.
    #[error("replication {replication}: the scenario has {seeds}, numbered from 0; raise run.seeds for more")]
    Replication {
        /// The number.
        replication: u32,
        /// How many there are.
        seeds: u32,
    },
    /// An input file cannot be read.
    #[error("input file {}: cannot be read: {source}; {remedy}", path.display())]
    Input {
        /// Where it should lie.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// An input file is another one than it was.
    #[error(
        "input file {}: {bytes} bytes with hash {hash:016x}; the trace was written with {} bytes with hash {:016x}: \
         name the folder of the original with --inputs DIR",
        path.display(), expected.bytes, expected.hash
    )]
    Changed {
        /// Where it lies.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The hash of its bytes.
        hash: u64,
        /// What it was.
        expected: InputFile,
    },
    /// The trace was written by another version of the model.
    #[error(
        "the trace was written by version {found} of the model, and this is version {MODEL_VERSION}: run it with the \
         program that wrote it, write it anew, or compare in spite of it with --any-version"
    )]
    Version {
        /// The trace's version.
        found: u32,
    },
}

/// What a trace says of a run before it begins.
///
/// # Errors
/// If the scenario is wrong, has no such choice or replication, or names a file that cannot be read.
pub fn header(scenario: &Scenario, choice: &str, replication: u32) -> Result<Header, TapeError> {
    let config = chosen(scenario, choice)?;
    if replication >= config.seeds {
        return Err(TapeError::Replication { replication, seeds: config.seeds });
    }
    let (text, inputs) = scenario.resolved()?;
    let described = |input: &Input| {
        let remedy = "the scenario names it";
        let (bytes, hash) = fingerprint(&input.path).map_err(|source| TapeError::Input {
            path: input.path.clone(),
            source,
            remedy,
        })?;
        let path = std::path::absolute(&input.path).unwrap_or_else(|_| input.path.clone());
        Ok(InputFile { name: input.name.clone(), path: path.to_string_lossy().into_owned(), bytes, hash })
    };
    Ok(Header {
        model_version: MODEL_VERSION,
        name: scenario.name()?,
        scenario: text,
        inputs: inputs.iter().map(described).collect::<Result<_, TapeError>>()?,
        choice: choice.to_owned(),
        replication,
        hosts: config.hosts.iter().map(|host| host.name.clone()).collect(),
        interval: INTERVAL,
    })
}

/// Where to look for what a trace names, and what to overlook.
#[derive(Clone, Debug, Default)]
pub struct Reopen {
    /// A folder in which the input files lie by their names in the resolved scenario or by their own; otherwise they lie
    /// where they lay.
    pub inputs: Option<PathBuf>,
    /// Take the trace of another version of the model.
    pub any_version: bool,
}

/// The configuration that a trace was written from.
///
/// # Errors
/// If the version of the model is another one, an input file is missing or has other bytes, or the scenario in the header is
/// wrong.
pub fn reopen(file: &Path, header: &Header, options: &Reopen) -> Result<RunConfig, TapeError> {
    if header.model_version != MODEL_VERSION && !options.any_version {
        return Err(TapeError::Version { found: header.model_version });
    }
    let inputs = header.inputs.iter().map(|input| found(input, options.inputs.as_deref()));
    let inputs = inputs.collect::<Result<Vec<Input>, TapeError>>()?;
    let scenario = Scenario::parse(file, &header.scenario, &[])?.with_inputs(&inputs)?;
    let config = chosen(&scenario, &header.choice)?;
    if header.replication >= config.seeds {
        return Err(TapeError::Replication { replication: header.replication, seeds: config.seeds });
    }
    Ok(config)
}

/// Finds an input file and makes sure that it is the one.
fn found(input: &InputFile, folder: Option<&Path>) -> Result<Input, TapeError> {
    let was = Path::new(&input.path);
    let path = match folder {
        None => was.to_owned(),
        Some(folder) => {
            let resolved = folder.join(&input.name);
            match was.file_name() {
                Some(own) if !resolved.exists() => folder.join(own),
                _ => resolved,
            }
        }
    };
    let remedy = "name the folder it lies in with --inputs DIR";
    let (bytes, hash) = match fingerprint(&path) {
        Ok(fingerprint) => fingerprint,
        Err(source) => return Err(TapeError::Input { path, source, remedy }),
    };
    if (bytes, hash) != (input.bytes, input.hash) {
        return Err(TapeError::Changed { path, bytes, hash, expected: input.clone() });
    }
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(Input { name: input.name.clone(), path })
}

/// The configuration of a choice.
///
/// # Errors
/// If the scenario is wrong or has no such choice.
pub fn chosen(scenario: &Scenario, name: &str) -> Result<RunConfig, TapeError> {
    let mut choices = scenario.choices(UNCHANGED)?;
    match choices.iter().position(|choice| choice.name == name) {
        Some(place) => Ok(choices.swap_remove(place).config),
        None => {
            let known: Vec<String> = choices.iter().map(|choice| format!("\"{}\"", choice.name)).collect();
            Err(TapeError::Choice { name: name.to_owned(), known: known.join(", ") })
        }
    }
}

/// Length and hash of a file's bytes.
fn fingerprint(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (EventHash::new(0), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            // The length tells a file that ends in zeros from a shorter one.
            hash.record(Nanos::ZERO, 1, [bytes, 0]);
            return Ok((bytes, hash.checkpoint().hash));
        }
        bytes += filled as u64;
        for words in buffer[..filled].chunks(16) {
            let mut pair = [0; 16];
            pair[..words.len()].copy_from_slice(words);
            let (first, second) = pair.split_at(8);
            let word = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of sixteen bytes"));
            hash.record(Nanos::ZERO, 0, [word(first), word(second)]);
        }
    }
}
