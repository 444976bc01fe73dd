//! Who decides instead of the scenario's own controller: another one with other limits, decisions that were recorded, or
//! another process.

mod external;
mod process;
pub(crate) mod stream;
pub(crate) mod wire;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use numashock_controller::{Actions, Limits, Regime};
use numashock_experiment::sweep::Steers;
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::file::ControllerName;
use numashock_sim::scenario::units::Time;
use numashock_sim::{Asked, Steering, SteeringError};

use crate::args::parse_time;
use external::ExternalCommand;
use stream::Stream;
use wire::StreamHost;

/// Who decides, as it is typed.
#[derive(Clone, Debug, Args)]
pub(crate) struct ControllerArgs {
    /// Who decides instead of the scenario's controller: a TOML file with the keys of the controller table; the kind of a built-in
    /// one, such as do-nothing or four-state, with the scenario's limits; or a stream of recorded decisions.
    #[arg(long, value_name = "FILE.toml|KIND|STREAM.jsonl", conflicts_with = "controller_command")]
    pub(crate) controller: Option<String>,
    /// A command whose process decides, in JSON Lines on its standard input and output; each run starts one. Words are
    /// split as a shell would, but no shell is started. See: numashock controller --help
    #[arg(long, value_name = "COMMAND")]
    pub(crate) controller_command: Option<String>,
    /// How long the process may take to start, and for each answer.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    pub(crate) controller_timeout: Time,
}

/// A time-out, above nothing and at most an hour.
fn parse_timeout(text: &str) -> Result<Time, String> {
    let time = parse_time(text)?;
    let hour = 3_600_000_000_000;
    if time.0 == 0 || time.0 > hour {
        return Err("expected a time above 0s and at most 1h".to_owned());
    }
    Ok(time)
}

impl ControllerArgs {
    /// Who was chosen; `None` leaves the scenario its own.
    ///
    /// # Errors
    /// If a file cannot be read or holds what cannot work, or nobody has the name.
    pub(crate) fn choose(&self) -> Result<Option<Controller>, Box<dyn Error>> {
        if let Some(command) = &self.controller_command {
            let timeout = Duration::from_nanos(self.controller_timeout.0);
            return Ok(Some(Controller(Who::Process(ExternalCommand::new(command, timeout)?))));
        }
        let Some(what) = &self.controller else { return Ok(None) };
        let path = Path::new(what);
        let who = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Who::File(ControllerConfig::read(path)?, path.to_path_buf()),
            Some("jsonl") => Who::Stream(Stream::read(path)?),
            _ => Who::Named(named(what)?),
        };
        Ok(Some(Controller(who)))
    }
}

/// A built-in controller by the name that scenarios use.
///
/// # Errors
/// If there is none.
pub(crate) fn named(name: &str) -> Result<ControllerName, String> {
    serde_json::from_value(name.into())
        .map_err(|error| format!("--controller \"{name}\": {error}; or a file that ends in .toml or .jsonl"))
}

/// Whoever decides instead of the scenario's own controller. Each run gets one of its own.
#[derive(Debug)]
pub(crate) struct Controller(Who);

#[derive(Debug)]
enum Who {
    /// With its own limits, from this file.
    File(ControllerConfig, PathBuf),
    /// With the scenario's limits.
    Named(ControllerName),
    /// As it was recorded.
    Stream(Stream),
    /// Another process.
    Process(ExternalCommand),
}

impl Controller {
    /// The decisions of a results folder that another controller steered.
    ///
    /// # Errors
    /// If they are not there or cannot be read.
    pub(crate) fn of_folder(folder: &Path) -> Result<Controller, String> {
        Ok(Controller(Who::Stream(Stream::read(&folder.join("decisions.jsonl"))?)))
    }

    /// A name for results and messages, without a path; a process's is known once one has run.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            Who::File(config, path) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                format!("{} with the limits of {file}", written(config.kind))
            }
            Who::Named(name) => format!("{} with the scenario's limits", written(*name)),
            Who::Stream(_) => "a decision stream".to_owned(),
            Who::Process(command) => format!("external: {}", command.name()),
        }
    }

    /// The counters of the regime that it says; a process's are known once its runs are over.
    fn said(&self) -> wire::Counters {
        match &self.0 {
            Who::File(..) | Who::Named(_) => wire::Counters::ALL,
            Who::Stream(stream) => stream.said(),
            Who::Process(command) => command.said(),
        }
    }

    /// The file that holds its limits, if it comes from one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.0 {
            Who::File(_, path) => Some(path),
            _ => None,
        }
    }

    /// The kind and limits of its file, if it comes from one.
    pub(crate) fn limits(&self) -> Option<ControllerConfig> {
        match &self.0 {
            Who::File(config, _) => Some(*config),
            _ => None,
        }
    }

    /// Lets what a controller's file says beside its limits hold in a run: how much later its actions are in force.
    pub(crate) fn prepare(&self, config: &mut RunConfig) {
        if let Who::File(file, _) = &self.0 {
            delay(file, config);
        }
    }

    /// Whether it decides by rules of its own, so that nothing can be said of what moved it.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.0, Who::Stream(_) | Who::Process(_))
    }

    /// The built-in controller that it is, or to compare the decisions with, where a host's own is `own`.
    pub(crate) fn built_in(&self, own: ControllerConfig) -> ControllerConfig {
        match &self.0 {
            Who::File(config, _) => *config,
            Who::Named(kind) => ControllerConfig { kind: *kind, ..own },
            Who::Stream(_) | Who::Process(_) => ControllerConfig { kind: ControllerName::FourState, ..own },
        }
    }
}

impl Steers for Controller {
    fn begin(&self, config: &RunConfig, seed: u32) -> Result<Box<dyn Steering>, SteeringError> {
        let hosts = (0..).zip(&config.hosts).map(|(number, host)| StreamHost {
            host: host_name(config, HostId(number)).to_owned(),
            controller: written(host.controller),
            limits: host.limits,
        });
        self.begin_on(&hosts.collect::<Vec<_>>(), seed)
    }
}

impl Controller {
    /// As [`Steers::begin`], for hosts of which no more is known than who decides there.
    ///
    /// # Errors
    /// If it cannot begin.
    pub(crate) fn begin_on(
        &self,
        hosts: &[StreamHost],
        run: u32,
    ) -> Result<Box<dyn Steering>, SteeringError> {
        Ok(match &self.0 {
            Who::File(config, _) => Box::new(BuiltIn { kind: config.kind, limits: Some(config.limits) }),
            Who::Named(kind) => Box::new(BuiltIn { kind: *kind, limits: None }),
            Who::Stream(stream) => Box::new(stream::Recorded::new(stream, hosts, run)?),
            Who::Process(command) => Box::new(command.begin(hosts, run)?),
        })
    }
}

/// Lets the delay of a controller's file hold in a run, if it says one.
pub(crate) fn delay(file: &ControllerConfig, config: &mut RunConfig) {
    if let Some(delay) = file.delay {
        config.hosts.iter_mut().for_each(|host| host.delay = delay);
    }
}

/// A host's name towards controllers: its own, or `host` if the scenario is the one host.
pub(crate) fn host_name(config: &RunConfig, host: HostId) -> &str {
    match config.hosts[host.index()].name.as_str() {
        "" => "host",
        name => name,
    }
}

/// A controller's name as scenarios write it.
pub(crate) fn written(name: ControllerName) -> String {
    match serde_json::to_value(name) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a controller's name is a text: {other:?}"),
    }
}

/// A controller of numashock's own, with its limits or else the scenario's.
struct BuiltIn {
    kind: ControllerName,
    limits: Option<Limits>,
}

impl Steering for BuiltIn {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        let limits = self.limits.as_ref().unwrap_or(asked.limits);
        Ok(self.kind.policy()(limits, asked.regime, asked.seen))
    }
}
