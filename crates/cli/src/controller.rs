//! `controller`: what a controller of one's own needs, and whether one in production decides as the built-in one would.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use numashock_controller::{Actions, Limits, Observation, Regime};
use numashock_experiment::decisions::{Verdict, rests_on};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::file::ControllerName;

use crate::output::say;
use crate::steering::stream::{Stream, StreamDecision, Whose};
use crate::steering::wire::StreamHost;
use crate::steering::{named, wire, written};

/// Every line between numashock and a controller, and of a decision stream.
pub(crate) const SCHEMA: &str = include_str!("controller.schema.json");

pub(crate) const HELP: &str = "A controller can be four things:
  a TOML file of limits       run --controller my.toml; its keys are those of [controller] in a scenario
  a Rust function             numashock_controller::Policy, in numashock_sim::By, given to Simulation::run_with
  a process in any language   run --controller-command \"python3 my.py\"; to start from: scenarios/controllers/four_state.py
  recorded decisions          run --controller decisions.jsonl, or controller check

A process is asked in lock step on its standard input and answers on its standard output, one JSON object a line:
  <- {\"type\":\"hello\",\"protocol\":1,...,\"hosts\":[{\"host\":0,\"name\":\"host\",\"limits\":{...},...}]}
  -> {\"type\":\"hello\",\"protocol\":1,\"name\":\"mine\"}
  <- {\"type\":\"bucket\",\"host\":0,\"bucket\":0,\"end_ns\":1000000000,\"regime\":{...},\"seen\":{...}}
  -> {\"type\":\"decision\",\"host\":0,\"bucket\":0,\"regime\":{\"level\":\"NUMA_WATCH\",\"held\":0,\"calm\":0,\"blind\":0}}
  <- {\"type\":\"bye\"}
Output must be flushed after each line. What it writes to its standard error is passed on. Each run starts a process. If it
ends early, hangs, or says what is not expected, the run ends with exit code 2 and leaves no results.";

const CHECK_HELP: &str = "Example: numashock controller check decisions.jsonl --limits my.toml

A line a host and bucket: {\"host\":\"gw1\",\"bucket\":0,\"seen\":{\"telemetry\":\"fresh\",\"rhf_ppm\":1200,\"mcr_kib_per_s\":0,
\"dcj_ppm\":null},\"regime\":{\"level\":\"NUMA_STABLE\"}}. Counters of the regime and actions are compared where the stream
holds them. Without --limits, the stream's first line must hold them, as run --decisions writes it.

The built-in controller gets each observation with the stream's own regime before it, as far as the stream says it. After a
gap, and at the start of a stream that does not start with bucket 0, that is not known: the first decision is taken as given,
and so are counters that are not said, until the level changes: a decision differs then if no counters would lead to it.

Exit codes: 0 if every decision agrees, 1 if one differs or buckets are missing, 2 if the stream cannot be read.";

#[derive(Debug, Subcommand)]
pub(crate) enum ControllerCommand {
    /// Hold a stream of recorded decisions against the built-in controller, and name the first that differs.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Print the JSON Schema of the lines between numashock and a controller, and of decision streams.
    #[command(after_help = "Example: numashock controller schema > controller.schema.json")]
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The decision stream, JSON Lines.
    pub(crate) stream: PathBuf,
    /// The built-in controller's kind and limits for every host, instead of the stream's: a TOML file with the keys of
    /// the controller table.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) limits: Option<PathBuf>,
}

pub(crate) fn run(what: &ControllerCommand) -> Result<ExitCode, Box<dyn Error>> {
    match what {
        ControllerCommand::Check(arguments) => check(arguments),
        ControllerCommand::Schema => {
            say(SCHEMA)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(arguments: &CheckArgs) -> Result<ExitCode, Box<dyn Error>> {
    let stream = Stream::read(&arguments.stream)?;
    let limits = arguments.limits.as_deref().map(ControllerConfig::read).transpose()?;
    let mut report = Report::default();
    for (whose, decisions) in &stream.decisions {
        let config = match limits {
            Some(config) => config,
            None => of_stream(&stream, &whose.1)
                .map_err(|problem| format!("{}: {problem}", arguments.stream.display()))?,
        };
        report.hold(whose, decisions, &config);
    }
    say(&report.text(&arguments.stream.display().to_string()))?;
    Ok(ExitCode::from(u8::from(!report.agrees())))
}

/// The built-in controller that a stream's header names for a host.
pub(crate) fn of_stream(stream: &Stream, host: &str) -> Result<ControllerConfig, String> {
    let hosts = stream.header.as_ref().map_or(&[][..], |header| &header.hosts);
    let Some(StreamHost { controller, limits, .. }) = hosts.iter().find(|own| own.host == host) else {
        return Err(format!(
            "its first line holds no limits for host {host:?}; give them with --limits FILE.toml"
        ));
    };
    Ok(ControllerConfig { kind: named(controller)?, limits: *limits, delay: None })
}

/// What was found in a stream.
#[derive(Debug, Default)]
struct Report {
    held_against: Vec<ControllerName>,
    hosts: BTreeSet<String>,
    runs: BTreeSet<u32>,
    decisions: usize,
    /// Decisions that were taken as given.
    given: usize,
    gaps: Vec<String>,
    different: usize,
    first: Option<Difference>,
}

/// A decision that differs.
#[derive(Debug)]
struct Difference {
    whose: Whose,
    config: ControllerConfig,
    before: Known,
    decision: StreamDecision,
    built_in: (Regime, Actions),
}

impl Report {
    /// Holds the decisions of one run and host against a controller.
    fn hold(&mut self, whose: &Whose, decisions: &[StreamDecision], config: &ControllerConfig) {
        self.runs.insert(whose.0);
        self.hosts.insert(whose.1.clone());
        self.decisions += decisions.len();
        if !self.held_against.contains(&config.kind) {
            self.held_against.push(config.kind);
        }
        let mut next = decisions.first().map_or(0, |first| first.bucket);
        let mut before = (next == 0).then_some(Known(wire::RegimeLine::of(Regime::STABLE)));
        for decision in decisions {
            if decision.bucket != next {
                self.gaps.push(gap(whose, next, decision));
                before = None;
            }
            next = decision.bucket.saturating_add(1);
            let Some(known) = before else {
                self.given += 1;
                before = Some(Known(decision.said));
                continue;
            };
            let outcomes = known.outcomes(config, &decision.seen);
            let agreeing: Vec<Regime> = outcomes
                .iter()
                .filter(|outcome| known.agrees(decision, outcome))
                .map(|outcome| outcome.0)
                .collect();
            before = Some(known.after(decision.said, &agreeing));
            if agreeing.is_empty() {
                self.different += 1;
                let found = Difference {
                    whose: whose.clone(),
                    config: *config,
                    before: known,
                    decision: *decision,
                    built_in: outcomes[0],
                };
                if self.first.as_ref().is_none_or(|first| found.place() < first.place()) {
                    self.first = Some(found);
                }
            }
        }
    }

    fn agrees(&self) -> bool {
        self.different == 0 && self.gaps.is_empty()
    }

    fn text(&self, stream: &str) -> String {
        let kinds: Vec<String> = self.held_against.iter().map(|kind| written(*kind)).collect();
        let checked = self.decisions - self.given;
        let decisions = count(self.decisions, "decision", "decisions");
        let hosts = count(self.hosts.len(), "host", "hosts");
        let mut text = format!("{stream}: {decisions} of {hosts}");
        if self.runs.len() > 1 {
            text += &format!(" in {} runs", self.runs.len());
        }
        text += &format!("; {checked} held against {}", kinds.join(", "));
        if self.given > 0 {
            text += &format!(", {} taken as given because nothing is known from before", self.given);
        }
        text.push('\n');
        for gap in &self.gaps {
            text += gap;
        }
        match &self.first {
            None => text += "no decision differs\n",
            Some(first) => {
                text += &first.text();
                text += &format!("{} of {checked} decisions differ\n", self.different);
            }
        }
        text
    }
}

/// A regime as far as it is known: a level, and the counters that were said or follow from what was.
#[derive(Clone, Copy, Debug)]
struct Known(wire::RegimeLine);

impl Known {
    /// The regimes that it may be, as far as a controller can tell them apart: each unknown counter is nought, or as high as any
    /// limit asks. The first has the least counters.
    fn candidates(self, limits: &Limits) -> Vec<Regime> {
        let wire::RegimeLine { level, held, calm, blind } = self.0;
        let either = |known: Option<u32>, high: u32| known.map_or(vec![0, high], |known| vec![known]);
        let mut found = Vec::new();
        for blind in either(blind, limits.stale_limit) {
            for calm in either(calm, limits.dwell.max(limits.release).min(held.unwrap_or(u32::MAX))) {
                for held in either(held, limits.shock_limit) {
                    found.extend(Regime::counted(level, held.max(calm), calm, blind));
                }
            }
        }
        found
    }

    /// What the controller may decide.
    fn outcomes(self, config: &ControllerConfig, seen: &Observation) -> Vec<(Regime, Actions)> {
        let candidates = self.candidates(&config.limits);
        candidates.iter().map(|before| config.policy()(&config.limits, *before, seen)).collect()
    }

    /// A regime, or what is said of it, with the counters that were known before.
    fn comparable(self, regime: wire::RegimeLine) -> wire::RegimeLine {
        regime.only(wire::Counters::ALL.and_of(self.0))
    }

    /// Whether what a stream says of a decision is this outcome.
    fn agrees(self, decision: &StreamDecision, (regime, actions): &(Regime, Actions)) -> bool {
        self.comparable(decision.said).agrees(*regime) && decision.actions.is_none_or(|said| said == *actions)
    }

    /// What is known after a decision, where these outcomes agree with it. A counter that was not known is known again once it
    /// is nought from wherever it came.
    fn after(self, said: wire::RegimeLine, agreeing: &[Regime]) -> Known {
        let follow = |known: Option<u32>, said: Option<u32>, counter: fn(Regime) -> u32| {
            let outcome = agreeing.first().map(|first| counter(*first));
            let anew = agreeing.iter().all(|regime| counter(*regime) == 0);
            said.or(outcome.filter(|_| known.is_some() || anew))
        };
        let changed = (said.level != self.0.level).then_some(0);
        Known(wire::RegimeLine {
            level: said.level,
            held: follow(self.0.held, said.held.or(changed), Regime::held),
            calm: follow(self.0.calm, said.calm.or(changed), Regime::calm),
            blind: follow(self.0.blind, said.blind, Regime::blind),
        })
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn gap((run, host): &Whose, from: u32, next: &StreamDecision) -> String {
    let last = next.bucket - 1;
    let missing =
        if from == last { format!("bucket {from} is") } else { format!("buckets {from} to {last} are") };
    format!("run {run}, host {host:?}: {missing} missing before line {}\n", next.line)
}

impl Difference {
    /// What is first: by run, then by time.
    fn place(&self) -> (u32, u32, &str) {
        (self.whose.0, self.decision.bucket, &self.whose.1)
    }

    fn text(&self) -> String {
        let Difference { whose: (run, host), config, before, decision, built_in: (regime, actions) } = self;
        let kind = written(config.kind);
        let mut text = format!(
            "first difference: run {run}, host {host:?}, bucket {}, line {}\n",
            decision.bucket, decision.line
        );
        text += &format!("  before       {}\n", wire::said(before.0));
        text += &format!("  stream       {}\n", wire::said(decision.said));
        let own = before.comparable(wire::RegimeLine::of(*regime));
        text += &format!("  {kind:<12} {}\n", wire::said(own));
        if let Some(said) = decision.actions {
            for (key, said, own) in wire::differing(&said, actions) {
                text += &format!("  actions.{key}: stream {said}, {kind} {own}\n");
            }
        }
        let least = before.candidates(&config.limits)[0];
        let verdict = Verdict { before: least, seen: decision.seen, regime: *regime, actions: *actions };
        let because = rests_on(config, &verdict);
        for one in because {
            text += &format!("  because {one}\n");
        }
        text
    }
}
