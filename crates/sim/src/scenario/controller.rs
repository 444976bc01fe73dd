//! A controller in a file of its own: what a scenario's `[controller]` table holds, to be tried in its place.

use std::path::Path;

use numashock_controller::{Limits, Policy};

use super::config::ActionDelay;
use super::document::{Document, ScenarioError};
use super::file::{ControllerName, ControllerTable};
use super::lower::{Origin, delay, limits};
use crate::regime;

/// A controller: who decides, and with which limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    /// Who decides.
    pub kind: ControllerName,
    /// With which limits.
    pub limits: Limits,
    /// How much later its actions are in force, if it says so.
    pub delay: Option<ActionDelay>,
}

impl ControllerConfig {
    /// Reads a TOML file with the keys of `[controller]`.
    ///
    /// # Errors
    /// If it cannot be read, a key is unknown or missing, or the limits cannot work; with file, line and key.
    pub fn read(file: &Path) -> Result<ControllerConfig, ScenarioError> {
        ControllerConfig::from_document(&Document::read(file)?)
    }

    /// As [`read`](Self::read), from a text.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(file: &Path, text: &str) -> Result<ControllerConfig, ScenarioError> {
        ControllerConfig::from_document(&Document::parse(file, text)?)
    }

    fn from_document(document: &Document) -> Result<ControllerConfig, ScenarioError> {
        let table: ControllerTable = document.deserialize(document.table().clone(), None)?;
        let origin = Origin { document, overlay: None };
        let limits = limits(&table, "limits", origin)?;
        Ok(ControllerConfig { kind: table.kind, limits, delay: delay(&table, "delay", origin)? })
    }

    /// The step function.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.kind.policy()
    }
}

impl ControllerName {
    /// The step function that it names.
    #[must_use]
    pub fn policy(self) -> Policy {
        regime::policy(self)
    }
}
