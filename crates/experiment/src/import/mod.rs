//! A real desk's counters and execution telemetry on one clock, measured as a run is (playbook: 4 and 5).
//!
//! ```text
//!   counters of each host ──► Series ──┐
//!                                      ├─ clock, gaps, overlap ─► HostMeter, 1 s and 5 s ─► buckets, segments, observations
//!   execution telemetry ──► rows ──────┘
//! ```
//!
//! Invariant: metrics come from `sim::metrics` alone. Invariant: what does not fit together is refused; nothing is guessed
//! and then used.

mod clock;
mod columns;
mod export;
mod files;
mod join;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use numashock_controller::Observation;
use numashock_sim::counters::{Clock, Gap, NAMES, Series, Slack};
use numashock_sim::metrics::{BucketMetrics, ExposureThresholds};

use crate::results::UpliftRow;
pub use clock::{Known, Offset};
pub use columns::{COLUMNS, Ended, Passive, Row, Telemetry, What, milli};
pub use export::telemetry_csv;
pub use files::{BUCKET_COLUMNS, counters, counters_of_buckets, knobs_of_scenario, read_text};
pub use text::{buckets_csv, columns_text, report, segments_csv, summary_json};

const SECOND: i64 = 1_000_000_000;

/// Why counters and telemetry cannot be joined: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// The file, as the caller named it; empty where none is at fault.
    pub file: String,
    /// The line, counted from 1; 0 where the file as a whole is at fault.
    pub line: usize,
    /// The column, or the option; empty where no single one is at fault.
    pub column: String,
    /// What is wrong, what was expected and what to do.
    pub problem: String,
}

impl ImportError {
    pub(crate) fn new(file: &str, line: usize, column: &str, problem: &str) -> ImportError {
        ImportError { file: file.to_owned(), line, column: column.to_owned(), problem: problem.to_owned() }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.file.is_empty() {
            f.write_str(": ")?;
        }
        if !self.column.is_empty() {
            write!(f, "{}: ", self.column)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ImportError {}

/// The counters of a host.
#[derive(Clone, Debug)]
pub struct HostCounters {
    /// Its name; empty where nobody has named it.
    pub name: String,
    /// The counters.
    pub series: Series,
    /// Knobs of NUMA balancing and of its scan, where they are known.
    pub knobs: BTreeMap<String, String>,
}

/// How to join, and what to refuse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How far from the end of a bucket its reading may lie.
    pub slack: Slack,
    /// Nanoseconds to add to the desk's times.
    pub offset_ns: i64,
    /// Clocks that differ by more than this, nanoseconds, are refused.
    pub max_offset_ns: i64,
    /// A time without a row that is longer than this, nanoseconds, is refused.
    pub max_gap_ns: i64,
    /// More counters that fell than this are refused.
    pub max_falls: usize,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Bandwidth of the interconnect, bytes per second; 0 if unknown.
    pub interconnect_bytes_per_s: u64,
    /// λ̂: thousandths of a lot a second that join a queue, for rows that do not say it.
    pub queue_rate_milli: Option<u64>,
    /// Over either of these a parent is exposed.
    pub exposure: ExposureThresholds,
}

/// A gap longer than this is reported, and one that is longer than the limit, if that is less.
const GAP_REPORTED: i64 = 2 * SECOND;

/// One bucket of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its beginning, nanoseconds of the counters' clock.
    pub start: i64,
    /// Its length, nanoseconds.
    pub length: i64,
    /// The phase of the session in which it begins; empty where none is known.
    pub phase: String,
    /// The growth of each of [`NAMES`].
    pub grown: [Option<u64>; NAMES.len()],
    /// The desk metrics of the host.
    pub metrics: BucketMetrics,
    /// And of each of [`HostImport::segments`].
    pub segments: Vec<BucketMetrics>,
    /// Whether QDL is λ̂·delay, in any of its children.
    pub qdl_is_estimate: bool,
    /// Execution telemetry that is counted or timed.
    pub path: Path,
}

/// What is counted and timed of the execution path in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Decisions.
    pub decisions: u64,
    /// Acknowledgements.
    pub acks: u64,
    /// Fills.
    pub fills: u64,
    /// Median and 99th percentile of decision latency, ns.
    pub latency_ns: Option<[u64; 2]>,
    /// Median and 99th percentile of the wait in the dispatch queue, ns.
    pub queue_wait_ns: Option<[u64; 2]>,
    /// Median and 99th percentile of the round trip, ns.
    pub round_trip_ns: Option<[u64; 2]>,
    /// Mean markout of fills, weighted by lots, 1e-6 basis points.
    pub markout_micro_bp: Option<i64>,
}

/// A parent's end as it was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentEnd {
    /// Place in [`HostImport::segments`].
    pub segment: usize,
    /// Phase of the session.
    pub phase: String,
    /// When its life began, nanoseconds of the counters' clock.
    pub arrival: Option<i64>,
    /// When it ended.
    pub at: i64,
    /// Whether a bucket of its life was over a threshold; `None` where that cannot be told.
    pub exposed: Option<bool>,
    /// The row.
    pub ended: Ended,
}

/// NTU of one segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentUplift {
    /// Strategy and liquidity bucket.
    pub segment: [String; 2],
    /// Phase of the session.
    pub phase: String,
    /// Exposed parents, calm ones, and of each those that have a counterpart.
    pub row: UpliftRow,
}

/// NTU of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uplift {
    /// Over all segments, basis points.
    pub total: Option<f64>,
    /// By segment.
    pub segments: Vec<SegmentUplift>,
}

/// One host, imported.
#[derive(Clone, Debug, PartialEq)]
pub struct HostImport {
    /// Its name; empty where nobody has named it.
    pub name: String,
    /// The file of its counters.
    pub counters_file: String,
    /// Knobs, where they are known.
    pub knobs: BTreeMap<String, String>,
    /// Which counters there are.
    pub counters: Vec<&'static str>,
    /// Median distance of two readings, nanoseconds.
    pub spacing_ns: i64,
    /// Whose time it is.
    pub clock: Clock,
    /// What was found of the desk's clock; `None` without telemetry.
    pub offset: Option<Offset>,
    /// Times without a reading.
    pub counter_gaps: Vec<Gap>,
    /// Times without a row of telemetry.
    pub telemetry_gaps: Vec<Gap>,
    /// Counters that fell, in words.
    pub falls: Vec<String>,
    /// Strategy and liquidity bucket.
    pub segments: Vec<[String; 2]>,
    /// Buckets of one second.
    pub seconds: Vec<Bucket>,
    /// Buckets of five seconds.
    pub fives: Vec<Bucket>,
    /// What a controller would have seen of each second.
    pub observations: Vec<Observation>,
    /// Parents that ended.
    pub parents: Vec<ParentEnd>,
    /// NTU of their segments, and of all together.
    pub uplift: Uplift,
    /// Rows of telemetry, and those outside all buckets.
    pub rows: [usize; 2],
    /// What whoever reads the figures must know.
    pub notes: Vec<String>,
}

/// Joins the counters of hosts with execution telemetry, if there is any.
///
/// # Errors
/// If anything does not fit together, or passes a limit of `options`.
pub fn import(
    hosts: Vec<HostCounters>,
    telemetry: Option<&Telemetry>,
    options: &Options,
) -> Result<Vec<HostImport>, ImportError> {
    let named = named(hosts, telemetry)?;
    named.into_iter().map(|(host, rows)| join::host(host, telemetry, &rows, options)).collect()
}

/// Each host with its rows.
fn named(
    mut hosts: Vec<HostCounters>,
    telemetry: Option<&Telemetry>,
) -> Result<Vec<(HostCounters, Vec<Row>)>, ImportError> {
    let Some(telemetry) = telemetry else {
        return Ok(hosts.into_iter().map(|host| (host, Vec::new())).collect());
    };
    if let ([host], [name]) = (&mut hosts[..], &telemetry.hosts[..]) {
        // The only host needs no name.
        if host.name.is_empty() || name.is_empty() {
            host.name = if host.name.is_empty() { name.clone() } else { host.name.clone() };
            let host = hosts.remove(0);
            return Ok(vec![(host, telemetry.rows.clone())]);
        }
    }
    for (place, name) in telemetry.hosts.iter().enumerate() {
        if !hosts.iter().any(|host| host.name == *name) {
            let row = telemetry.rows.iter().find(|row| row.host == place).expect("each host has a row");
            let known: Vec<String> = hosts.iter().map(|host| format!("`{}`", host.name)).collect();
            let problem = format!(
                "`{name}` has no counters; they are there for {}; give --counters {name}=FILE",
                known.join(", ")
            );
            return Err(ImportError::new(&telemetry.file, row.line, "host", &problem));
        }
    }
    let rows_of = |name: &str| {
        let place = telemetry.hosts.iter().position(|known| known == name);
        telemetry.rows.iter().filter(|row| Some(row.host) == place).copied().collect()
    };
    let with_rows = |host: HostCounters| {
        let rows = rows_of(&host.name);
        (host, rows)
    };
    Ok(hosts.into_iter().map(with_rows).collect())
}
