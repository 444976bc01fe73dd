//! What can be wrong with counters in a file.

use std::fmt;

use super::csv::{TIME, TIME_COLUMNS};
use crate::recorded_host::{MAX_STALLS_PER_ROW, NEEDED, WHOLE_PPM};

const NO_TIME: &str = "nothing says when the counters were read; expected a column";
const NO_COUNTERS: &str = "no counter of NUMA balancing; expected names of /proc/vmstat such as numa_hint_faults; record the \
                           host with a kernel that is built with NUMA_BALANCING";
const BEFORE_TIME: &str = "a counter before the first time; expected a line with a time before each snapshot; add it, or \
                           delete the lines before the first time";
const REPEATED: &str =
    "twice in one snapshot; expected a line with a time before each snapshot; add the missing time";
const SNAPSHOT_LINE: &str = "expected a time (seconds with a fraction, nanoseconds, RFC 3339, or `timestamp_ns N`) or a counter `name \
                             value`; delete the line";
const APART: &str = "does not begin where the row before ends; expected rows without a hole and of one run, host and length; \
                     choose them, or restore the file";

/// What is wrong with a recording, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from 1; 0 where the recording as a whole, or what it is priced with, is at fault.
    pub line: usize,
    /// The column's name, empty where no single column is at fault.
    pub column: String,
    /// What is wrong.
    pub problem: RecordingProblem,
}

/// The kinds of fault in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingProblem {
    /// There is no header.
    Empty,
    /// A column that is needed is not in the header.
    MissingColumn,
    /// The header names a column that is needed twice.
    RepeatedColumn,
    /// Fewer than two rows: no difference can be formed.
    TooShort,
    /// The last row ends before its last cell does.
    TruncatedRow {
        /// Cells found.
        cells: usize,
        /// Cells of the header.
        columns: usize,
    },
    /// A row has another number of cells than the header.
    WrongWidth {
        /// Cells found.
        cells: usize,
        /// Cells of the header.
        columns: usize,
    },
    /// No column, or no line, says when the counters were read.
    NoTime,
    /// None of the counters of balancing is there.
    NoCounters,
    /// A counter stands before the first time.
    CounterBeforeTime,
    /// A counter stands twice at one time.
    RepeatedCounter,
    /// A line of snapshots is neither a time nor a counter.
    NotASnapshotLine {
        /// The start of what was found.
        found: String,
    },
    /// The rows do not follow on each other although each holds what happened since the last.
    RowsApart,
    /// A cell that is needed is empty.
    EmptyCell,
    /// A cell that is needed is not a number of the kind expected.
    NotANumber {
        /// The start of what was found.
        found: String,
    },
    /// A row is not later than the row before it.
    TimeNotLater,
    /// A counter is lower than in the row before it.
    CounterWentBack {
        /// The row before.
        before: u64,
        /// This row.
        now: u64,
    },
    /// A row would give the dispatch path more stalls than [`MAX_STALLS_PER_ROW`].
    TooManyStalls {
        /// How many.
        stalls: u64,
    },
    /// The stalls of a row are longer than can be told in nanoseconds.
    StallTooLong,
    /// A scan pass that marks nothing.
    NoScanSize,
    /// The dispatch share is above the whole.
    ShareAboveWhole {
        /// Parts per million.
        ppm: u32,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.column.is_empty() {
            write!(f, "column {}: ", self.column)?;
        }
        self.problem.fmt(f)
    }
}

impl fmt::Display for RecordingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(
                f,
                "the file is empty; expected a header with {TIME}, {}; record the host again",
                NEEDED.join(", ")
            ),
            Self::MissingColumn => {
                f.write_str("not in the header; record this counter too, or rename the column that holds it")
            }
            Self::RepeatedColumn => f.write_str("twice in the header; expected once; remove or rename one"),
            Self::TooShort => {
                f.write_str("expected two rows or more, since counters are read as differences")
            }
            Self::TruncatedRow { cells, columns } => write!(
                f,
                "the last row is cut short after {cells} of {columns} cells or has no line end; delete or complete it"
            ),
            Self::WrongWidth { cells, columns } => {
                write!(f, "{cells} cells; expected {columns} as in the header; correct or delete the row")
            }
            Self::NoTime => {
                write!(
                    f,
                    "{NO_TIME}, {}; or snapshots of /proc/vmstat, each after a line with its time",
                    TIME_COLUMNS.join(", ")
                )
            }
            Self::NoCounters => f.write_str(NO_COUNTERS),
            Self::CounterBeforeTime => f.write_str(BEFORE_TIME),
            Self::RepeatedCounter => f.write_str(REPEATED),
            Self::NotASnapshotLine { found } => write!(f, "found `{found}`; {SNAPSHOT_LINE}"),
            Self::RowsApart => f.write_str(APART),
            Self::EmptyCell => f.write_str("the cell is empty; expected a number; fill it or delete the row"),
            Self::NotANumber { found } => write!(
                f,
                "found `{found}`; expected a whole number from 0 (or, for {TIME}, milliseconds with at most six \
                 decimals); correct the cell"
            ),
            Self::TimeNotLater => f.write_str(
                "not later than the row before; expected rows in order of time; sort them, or split the \
                             file where the clock was set back",
            ),
            Self::CounterWentBack { before, now } => write!(
                f,
                "fell from {before} to {now}; expected a counter that only grows; split the file where the host rebooted"
            ),
            Self::TooManyStalls { stalls } => write!(
                f,
                "{stalls} stalls of the dispatch path in one row; expected at most {MAX_STALLS_PER_ROW}; check the \
                 counters, lower dispatch_share, or record shorter rows"
            ),
            Self::StallTooLong => f.write_str(
                "the row's stalls do not fit 64 bits of nanoseconds; check the counters and the costs",
            ),
            Self::NoScanSize => f.write_str("scan_size is 0 PTEs; expected 1 or more"),
            Self::ShareAboveWhole { ppm } => {
                write!(f, "dispatch_share is {ppm} parts per million; expected at most {WHOLE_PPM}")
            }
        }
    }
}

impl std::error::Error for RecordingError {}
