//! Who decides instead of the scenario's own controller: another one with other limits, decisions that were recorded, or
//! another process.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use numashock_controller::{Actions, Regime};
use numashock_experiment::sweep::Steers;
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::file::ControllerName;
use numashock_sim::{Asked, Steering, SteeringError};

/// Who decides, as it is typed.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ControllerArgs {
    /// Who decides instead of the scenario's controller: a TOML file with the keys of [controller], or the name of a
    /// built-in one with the scenario's limits: do-nothing, four-state, threshold-without-hysteresis.
    #[arg(long, value_name = "FILE.toml|NAME")]
    pub(crate) controller: Option<String>,
}

impl ControllerArgs {
    /// Who was chosen; `None` leaves the scenario its own.
    ///
    /// # Errors
    /// If a file cannot be read or holds what cannot work, or nobody has the name.
    pub(crate) fn choose(&self) -> Result<Option<Controller>, Box<dyn Error>> {
        let Some(what) = &self.controller else { return Ok(None) };
        let path = Path::new(what);
        let who = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Who::File(ControllerConfig::read(path)?, path.to_path_buf()),
            _ => Who::Named(named(what)?),
        };
        Ok(Some(Controller(who)))
    }
}

/// A built-in controller by the name that scenarios use.
fn named(name: &str) -> Result<ControllerName, String> {
    serde_json::from_value(name.into())
        .map_err(|error| format!("--controller \"{name}\": {error}; or name a file that ends in .toml"))
}

/// Whoever decides instead of the scenario's own controller.
#[derive(Clone, Debug)]
pub(crate) struct Controller(Who);

#[derive(Clone, Debug)]
enum Who {
    /// With its own limits, from this file.
    File(ControllerConfig, PathBuf),
    /// With the scenario's limits.
    Named(ControllerName),
}

impl Controller {
    /// A name for results and messages, without a path.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            Who::File(config, path) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                format!("{} with the limits of {file}", written(config.kind))
            }
            Who::Named(name) => format!("{} with the scenario's limits", written(*name)),
        }
    }
}

impl Steers for Controller {
    fn begin(&self, _config: &RunConfig, _seed: u32) -> Result<Box<dyn Steering>, SteeringError> {
        Ok(Box::new(match &self.0 {
            Who::File(config, _) => BuiltIn::With(*config),
            Who::Named(name) => BuiltIn::Named(*name),
        }))
    }
}

/// A controller's name as scenarios write it.
fn written(name: ControllerName) -> String {
    match serde_json::to_value(name) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a controller's name is a text: {other:?}"),
    }
}

/// A controller of numashock's own.
enum BuiltIn {
    With(ControllerConfig),
    Named(ControllerName),
}

impl Steering for BuiltIn {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        let config = match self {
            BuiltIn::With(config) => *config,
            BuiltIn::Named(kind) => ControllerConfig { kind: *kind, limits: *asked.limits },
        };
        Ok(config.policy()(&config.limits, asked.regime, asked.seen))
    }
}
