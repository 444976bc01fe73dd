//! Recorded order flow: LOBSTER message files, plain or compressed with gzip, and Databento's market by order (feature
//! `dbn`).
//!
//! A LOBSTER row has six columns: time (seconds after midnight, in nanoseconds), type, order id, size, price, direction
//! of the resting order (1 buy, −1 sell). Types: 1 new limit order, 2 partial cancel, 3 deletion, 4 execution of a
//! visible order, 5 execution of a hidden order, 6 auction trade, 7 halt. A row of type 4 names the order that was hit.
//! A first line of column names is skipped.
//!
//! What is exact and what is counted: the recorded orders, their sizes, places and executions are replayed as they
//! stand; where the file leaves something out or contradicts itself, [`ReplayReport`] counts what was done about it.
//! Orders from before the file are recovered from the rows that name them ([`Opening`]); orders that a later row
//! shows to have left without a row are dropped. An order from before the file that no row names, and a change beyond
//! the levels that a file holds, stay unseen: both lie away from the touch for as long as nothing names them.

mod build;
#[cfg(feature = "dbn")]
mod databento;
#[cfg(not(feature = "dbn"))]
mod databento {
    //! Databento files are refused without the feature that reads them.

    use std::io::Read;

    use super::source::Tape;
    use super::{Options, Problem};

    pub(super) fn read(_: impl Read, _: bool, _: &Options) -> Result<Tape, (u32, Problem)> {
        Err((1, Problem::NotBuilt))
    }
}
mod opening;
#[cfg(test)]
mod opening_tests;
mod quotes;
mod report;
mod rows;
mod source;

use std::io::Read;

use numashock_engine::{Nanos, Span};

use crate::{Lots, Side, Ticks};
pub use quotes::quotes;
pub use report::ReplayReport;
pub(crate) use rows::RowKind;

/// Rows that [`parse`] takes at most; while it works they need some 100 bytes each, and then 40.
pub const ROWS_MAX: usize = 100_000_000;

/// What rests before the first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// The orders that later rows name without having been added.
    #[default]
    Recovered,
    /// Nothing: rows that name such orders are counted and skipped.
    Empty,
}

/// How a recording is read. From a number: that tick, and the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file's price units per tick: of LOBSTER's 100 for a cent, of Databento's 10,000,000.
    pub tick: u64,
    /// What rests before the first row.
    pub opening: Opening,
    /// Which instrument of a Databento file; needed if it has several.
    pub instrument: Option<u32>,
}

impl From<u64> for Options {
    fn from(tick: u64) -> Options {
        Options { tick, opening: Opening::default(), instrument: None }
    }
}

/// What is wrong with a recorded file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct RecordedError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, of a binary file the record, from 1.
    pub line: u64,
    /// What is wrong and what would be right.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a row, what was expected and what would help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// The quotes cannot be written.
    #[error("the quotes cannot be written: {0}")]
    Write(std::io::Error),
    /// No row at all.
    #[error("the file is empty: expected LOBSTER message rows `time,type,id,size,price,direction`")]
    Empty,
    /// A compressed file that cannot be unpacked.
    #[error("the {kind} stream is damaged or cut short ({error}): fetch the file again")]
    Compressed {
        /// What it is compressed with.
        kind: &'static str,
        /// What the decoder says.
        error: std::io::Error,
    },
    /// A Databento file, and this program cannot read them.
    #[error("this is a Databento or zstd file: build with the feature `dbn`, or give a LOBSTER file")]
    NotBuilt,
    /// A Databento file that is not what it should be.
    #[error("{0}")]
    Databento(String),
    /// An instrument was chosen where there is no choice.
    #[error("a LOBSTER file has one instrument: leave out which")]
    OneInstrument,
    /// The instrument is not chosen, or not there.
    #[error("{chosen}; the file has {}: choose one with --instrument or market.recorded.instrument", listed(.found))]
    Instrument {
        /// What was asked for.
        chosen: String,
        /// The first instruments of the file.
        found: Vec<u32>,
    },
    /// Another number of columns.
    #[error(
        "expected 6 columns `time,type,id,size,price,direction`, found {found}: \
         give a LOBSTER message file, not an order book file"
    )]
    Columns {
        /// Columns found.
        found: usize,
    },
    /// A line without a row.
    #[error("the line is blank: delete it, every line is a row `time,type,id,size,price,direction`")]
    Blank,
    /// The last row stops in the middle.
    #[error("the last row is cut short: fetch the file again, or delete this row")]
    Truncated,
    /// Longer than any row.
    #[error("the line is longer than {} bytes, no LOBSTER row is: is this a text file?", rows::LINE_MAX)]
    LineTooLong,
    /// A column that is not what it should be.
    #[error("column {column} is `{found}`, expected {expected}")]
    Column {
        /// The column's name.
        column: &'static str,
        /// Its text.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Time runs back.
    #[error("time runs back from {before} to {now}: sort the rows by time, keeping the order of equal times")]
    TimeOrder {
        /// The row before.
        before: Nanos,
        /// This row.
        now: Nanos,
    },
    /// A new order with the id of one that rests.
    #[error(
        "a new order has the id {0}, which still rests: ids are unique within a file; are two files joined?"
    )]
    Duplicate(u64),
    /// A visible price between two ticks.
    #[error("price {price} is no multiple of the tick of {tick}: set the tick to a divisor of every price")]
    OffGrid {
        /// The price, in the file's units.
        price: i64,
        /// The tick, in the file's units.
        tick: u64,
    },
    /// A tick of zero.
    #[error("the tick is zero: give the file's price units per tick, 100 for a cent in a LOBSTER file")]
    ZeroTick,
    /// Too many rows.
    #[error("more than {ROWS_MAX} rows: split the file by time")]
    TooManyRows,
}

fn listed(instruments: &[u32]) -> String {
    let names: Vec<_> = instruments.iter().map(u32::to_string).collect();
    format!("instruments {}", names.join(", "))
}

/// A parsed recording: ids renumbered densely, prices in ticks, sizes in lots of one share.
#[derive(Clone, Debug)]
pub struct Recording {
    rows: Vec<Recorded>,
    /// How many of the rows make the opening book.
    opening: usize,
    orders: u32,
    start: Nanos,
    report: ReplayReport,
}

/// A row, ready for replay. Reductions and deletions name an order that rests, or [`UNKNOWN`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// Time since the first row.
    pub(crate) since: Span,
    /// Of a new order, since when it has its place: earlier than its row if it kept the place of an older id.
    pub(crate) place: Span,
    pub(crate) kind: RowKind,
    pub(crate) side: Side,
    /// Whether the venue's event ends here.
    pub(crate) last: bool,
    /// The order's dense number, or [`UNKNOWN`].
    pub(crate) order: u32,
    pub(crate) lots: Lots,
    pub(crate) price: Ticks,
}

/// An order from before the recording, of which nothing is known.
pub(crate) const UNKNOWN: u32 = u32::MAX;

impl Recording {
    /// The number of messages in the file.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.report.rows as usize
    }

    /// The number of orders that the recording introduces, recovered ones included.
    #[must_use]
    pub fn orders(&self) -> u64 {
        u64::from(self.orders)
    }

    /// The number of messages that name an order that none has added, recovered or not.
    #[must_use]
    pub fn unknown_rows(&self) -> u64 {
        self.report.unknown_rows
    }

    /// What was counted. The changes of the quotes are not: [`quotes`] counts them.
    #[must_use]
    pub fn report(&self) -> &ReplayReport {
        &self.report
    }

    /// Time from the first message to the last.
    #[must_use]
    pub fn span(&self) -> Span {
        self.rows.last().map_or(Span::ZERO, |row| row.since)
    }

    /// How many of the first rows make the opening book.
    pub(crate) fn opening(&self) -> usize {
        self.opening
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Recorded> {
        self.rows.get(index)
    }
}

/// Reads recorded messages: a LOBSTER file, plain or compressed with gzip, or a Databento file.
///
/// # Errors
/// If the file is not what it should be; the error names the line.
pub fn parse(
    reader: impl Read,
    file_name: &str,
    options: impl Into<Options>,
) -> Result<Recording, RecordedError> {
    let options = options.into();
    let checked = if options.tick == 0 { Err((1, Problem::ZeroTick)) } else { Ok(()) };
    let recording =
        checked.and_then(|()| source::read(reader, &options)).and_then(|tape| build::build(&tape, &options));
    recording.map_err(|(line, problem)| RecordedError {
        file: file_name.to_owned(),
        line: u64::from(line),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> (u64, String) {
        let error = parse(text.as_bytes(), "day.csv", 100).unwrap_err();
        assert!(error.to_string().starts_with("day.csv:"), "{error}");
        (error.line, error.problem.to_string())
    }

    const ROW: &str = "34200.5,1,7,10,5850000,1\n";

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("", 1, "the file is empty"),
            ("Time,Type,Order ID,Size,Price,Direction\n", 2, "the file is empty"),
            ("Time,Type,Size,Price,Direction\n", 1, "expected 6 columns"),
            ("34200.5,7,0,0,5,1\n", 1, "for a halt -1"),
            ("34200.5,1,7,10,5850000\n", 1, "expected 6 columns"),
            ("34200.5,1,7,10,5850000,1,0\n", 1, "found 7"),
            ("34200.5,1,7,0,5850000,1\n", 1, "column size is `0`"),
            ("34200.5,1,7,-3,5850000,1\n", 1, "column size is `-3`"),
            ("34200.5,1,7,9999999999999,5850000,1\n", 1, "column size"),
            ("34200.5,8,7,10,5850000,1\n", 1, "column type is `8`"),
            ("34200.5,0,7,10,5850000,1\n", 1, "column type is `0`"),
            ("34200.5,1,x,10,5850000,1\n", 1, "column id is `x`"),
            ("34200.5,1,7,10,5850000,0\n", 1, "column direction is `0`"),
            ("34200.5,1,7,10,-5850000,1\n", 1, "column price"),
            ("34200.5,1,7,10,5850050,1\n", 1, "no multiple of the tick of 100"),
            ("34200.1234567890123456,1,7,10,5850000,1\n", 1, "column time"),
            ("-1,1,7,10,5850000,1\n", 1, "column time"),
            ("1.,1,7,10,5850000,1\n", 1, "column time"),
            ("\u{0}\u{1}\n", 1, "expected 6 columns"),
            ("34200.5,1,7,10,5850000,\u{e9}\n", 1, "column direction"),
        ];
        for (text, line, expected) in cases {
            let (at, problem) = problem(text);
            assert_eq!(at, line, "{text:?}");
            assert!(problem.contains(expected), "{text:?}: {problem}");
        }
    }

    #[test]
    fn later_lines_are_counted() {
        let cases = [
            ("34200.4,1,8,10,5850000,1\n", "time runs back from 34200.500000000s to 34200.400000000s"),
            ("34200.6,1,8,10,5850000", "cut short"),
            ("34200.6,1,8,10,5850000,-", "cut short"),
            ("34200.6,1,8", "cut short"),
            ("34200.6,1,7,10,5850000,1\n", "id 7, which still rests"),
            ("\n", "the line is blank: delete it"),
            ("Time,Type\n", "found 2"),
        ];
        for (second, expected) in cases {
            let (at, problem) = problem(&format!("{ROW}{second}"));
            assert_eq!(at, 2, "{second:?}");
            assert!(problem.contains(expected), "{second:?}: {problem}");
        }
        let long = format!("{ROW}{}", "1".repeat(10_000));
        assert!(problem(&long).1.contains("longer than"));
        assert!(parse(ROW.as_bytes(), "day.csv", 0).is_err());
    }

    #[test]
    fn both_line_endings_and_a_missing_last_one_are_read() {
        let text = "34200.499999999998,1,7,10,5850000,1\r\n34200.5,1,8,10,5850100,1\n34201,7,0,0,-1,-1\r\n34202,3,7,10,5850000,1";
        let recording = parse(text.as_bytes(), "day.csv", 100).unwrap();
        assert_eq!((recording.rows(), recording.orders(), recording.unknown_rows()), (4, 2, 0));
        assert_eq!(recording.span(), Span(1_500_000_000));
        assert_eq!(recording.rows[1].price, Ticks(58_501));
        assert_eq!(recording.rows[3].order, 0);
    }

    #[test]
    fn an_id_may_return_after_its_order_has_gone() {
        let text = format!(
            "{ROW}34200.6,4,7,10,5850000,1\n34200.7,1,7,5,5850000,1\n34200.8,3,7,5,5850000,1\n34200.9,3,7,5,5850000,1\n"
        );
        let recording = parse(text.as_bytes(), "day.csv", 100).unwrap();
        let orders: Vec<_> = recording.rows.iter().map(|row| row.order).collect();
        assert_eq!(orders, [0, 0, 1, 1, UNKNOWN]);
        assert_eq!(recording.unknown_rows(), 1);
    }
}
