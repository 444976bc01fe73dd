//! The injector's log as JSON Lines: written from a run, and read back to repeat it.

use std::fmt;
use std::io::BufRead;

use numashock_engine::{Nanos, Span};
use serde::{Deserialize, Serialize};

use super::{Disturbance, Injected};
use crate::scenario::config::HostId;

/// Bytes of a log that are read at most, and lines.
const MOST_BYTES: u64 = 1 << 28;
const MOST_LINES: usize = 1_000_000;

/// One line: a disturbance of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Name of the tuning choice.
    pub choice: String,
    /// Replication.
    pub seed: u32,
    /// When, in nanoseconds from the start of the run.
    pub time_ns: u64,
    /// Its name in the scenario.
    pub name: String,
    /// How long; `null`: it stayed, or was over at once.
    pub length_ns: Option<u64>,
    /// The host it befell; absent in a scenario of one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What: `kind` and `parameters`.
    #[serde(flatten)]
    pub disturbance: Disturbance,
}

impl LogLine {
    /// The line of a disturbance that happened to a host; one without a name is the only one.
    #[must_use]
    pub fn new(choice: &str, seed: u32, host: &str, injected: &Injected) -> LogLine {
        LogLine {
            choice: choice.to_owned(),
            seed,
            time_ns: injected.at.0,
            name: injected.name.clone(),
            length_ns: injected.length.map(|length| length.0),
            host: (!host.is_empty()).then(|| host.to_owned()),
            disturbance: injected.disturbance.clone(),
        }
    }

    /// As text, without a line break.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a log line has string keys and whole numbers")
    }

    /// What happened, to the host of that number.
    #[must_use]
    pub fn injected(self, host: HostId) -> Injected {
        Injected {
            at: Nanos(self.time_ns),
            name: self.name,
            length: self.length_ns.map(Span),
            disturbance: self.disturbance,
            host,
        }
    }
}

/// What is wrong with a log, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for LogError {}

/// Reads a log: its lines with their numbers, from 1. Empty lines are passed over.
///
/// # Errors
/// If a line is not one of a log, or the log is larger than 256 MiB or a million lines.
pub fn read_log(reader: impl BufRead) -> Result<Vec<(usize, LogLine)>, LogError> {
    let mut lines = Vec::new();
    for (index, text) in reader.take(MOST_BYTES).lines().enumerate() {
        let line = index + 1;
        let wrong = |problem: String| LogError { line, problem };
        let text = text.map_err(|error| wrong(format!("cannot be read: {error}")))?;
        if text.trim().is_empty() {
            continue;
        }
        if lines.len() == MOST_LINES {
            return Err(wrong(format!("more than {MOST_LINES} disturbances; split the log")));
        }
        let parsed = serde_json::from_str(&text).map_err(|error| {
            wrong(format!(
                "{error}; expected a line of a disturbances.jsonl, and no more than 256 MiB of them"
            ))
        })?;
        lines.push((line, parsed));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::KnobChange;
    use super::*;

    fn every_kind() -> Vec<Disturbance> {
        let change = KnobChange { balancing: Some(false), scan_size_mb: Some(7), ..KnobChange::default() };
        vec![
            Disturbance::MoveThread { thread: "dispatch \"1\"".to_owned(), cpu: 3 },
            Disturbance::SetKnobs(change),
            Disturbance::BatchLoad { cpu_node: 1, memory_node: 0, mbps: 5 },
            Disturbance::BatchJob { cpu_node: 1, memory_node: 0, mbps: 5, pages: 1 << 40 },
            Disturbance::MemoryPressure { node: 1, pages: 9 },
            Disturbance::Steal { share_ppm: 1 },
            Disturbance::IrqStorm { cpu: 2, period_ns: 3, busy_ns: 1 },
            Disturbance::ClockStep { step_ns: i64::MIN },
            Disturbance::TelemetryGap {},
            Disturbance::GatewayDisconnect {},
            Disturbance::GatewayThrottle { spacing_ns: u64::MAX },
            Disturbance::MarketDataBurst { messages: 12 },
        ]
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let lines: Vec<LogLine> = every_kind()
            .into_iter()
            .enumerate()
            .map(|(index, disturbance)| LogLine {
                choice: "a \n choice".to_owned(),
                seed: index as u32,
                time_ns: u64::MAX,
                name: "x".to_owned(),
                length_ns: (index % 2 == 0).then_some(7),
                host: (index % 3 == 0).then(|| "b".to_owned()),
                disturbance,
            })
            .collect();
        let text: String = lines.iter().map(|line| line.to_json() + "\n").collect();
        let read = read_log(text.as_bytes()).unwrap();
        assert_eq!(read.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
        assert_eq!(read.into_iter().map(|(_, line)| line).collect::<Vec<_>>(), lines);
    }

    #[test]
    fn the_kind_in_the_log_is_the_kind_in_the_scenario() {
        for disturbance in every_kind() {
            let value = serde_json::to_value(&disturbance).unwrap();
            assert_eq!(value["kind"].as_str(), Some(disturbance.kind()));
            assert!(value["parameters"].is_object(), "{value}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_log_is_named_with_its_place() {
        let good = LogLine::new(
            "c",
            0,
            "",
            &Injected {
                at: Nanos(1),
                name: "n".to_owned(),
                length: None,
                disturbance: Disturbance::TelemetryGap {},
                host: HostId(0),
            },
        );
        for (bad, problem) in [
            ("{", "EOF"),
            (
                r#"{"choice":"c","seed":0,"time_ns":1,"name":"n","length_ns":null,"kind":"flood","parameters":{}}"#,
                "flood",
            ),
            (
                r#"{"choice":"c","seed":-1,"time_ns":1,"name":"n","length_ns":null,"kind":"telemetry_gap","parameters":{}}"#,
                "-1",
            ),
        ] {
            let text = format!("{}\n\n{bad}\n", good.to_json());
            let error = read_log(text.as_bytes()).unwrap_err();
            assert_eq!(error.line, 3, "{error}");
            assert!(error.problem.contains(problem), "{error}");
        }
    }
}
