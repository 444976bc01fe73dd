//! The frames of a trace, as plain data.

use numashock_controller::{Actions, Observation, Regime};
use serde::{Deserialize, Serialize};

/// What a run was: enough to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Header {
    /// The model's version.
    pub model_version: u32,
    /// The scenario's name.
    pub name: String,
    /// The resolved scenario, TOML.
    pub scenario: String,
    /// Files that it names: the name in the resolved scenario, where it lay, its length in bytes and the hash of its bytes.
    pub inputs: Vec<InputFile>,
    /// Which tuning choice.
    pub choice: String,
    /// Which replication.
    pub replication: u32,
    /// Names of the hosts, in order of number.
    pub hosts: Vec<String>,
    /// Events between two states of the hash in the trace.
    pub interval: u64,
}

/// A file that a scenario names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct InputFile {
    /// Its name in the resolved scenario.
    pub name: String,
    /// Where it lay when the trace was written.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// A hash of its bytes.
    pub hash: u64,
}

/// What a host's controller saw of a bucket, and what followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Decided {
    /// Number of the host.
    pub host: u16,
    /// Number of the bucket of one second, from 0.
    pub bucket: u32,
    /// What was seen.
    pub seen: Observation,
    /// The regime from the end of the bucket on.
    pub regime: Regime,
    /// The actions from then on.
    pub actions: Actions,
}

/// How a run ended; a trace without it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct End {
    /// Semantic events, of all kinds.
    pub events: u64,
    /// Time of the last one, nanoseconds.
    pub at: u64,
    /// The event hash.
    pub hash: u64,
}
