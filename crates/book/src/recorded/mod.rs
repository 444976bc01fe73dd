//! Recorded order flow: LOBSTER message files.
//!
//! Six columns, no header: time (seconds after midnight, in nanoseconds), type, order id, size, price, direction
//! of the resting order (1 buy, −1 sell). Types: 1 new limit order, 2 partial cancel, 3 deletion, 4 execution of a
//! visible order, 5 execution of a hidden order, 6 auction trade, 7 halt. A row of type 4 names the order that was hit.

mod quotes;
mod rows;

use std::collections::BTreeMap;
use std::io::Read;

use numashock_engine::{Nanos, Span};

use crate::{Lots, Side, Ticks};
pub use quotes::{ReplayReport, quotes};
use rows::Rows;
pub(crate) use rows::{Row, RowKind};

/// Rows that [`parse`] keeps at most, 48 bytes each.
pub const ROWS_MAX: usize = 100_000_000;

/// What is wrong with a recorded file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct RecordedError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
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
    /// The first line is not a row.
    #[error("this is a header line, expected a row of numbers: delete the header, LOBSTER files have none")]
    Header,
    /// Another number of columns.
    #[error(
        "expected 6 columns `time,type,id,size,price,direction`, found {found}: \
         give a LOBSTER message file, not an order book file"
    )]
    Columns {
        /// Columns found.
        found: usize,
    },
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
    #[error("the tick is zero: give the file's price units per tick, 100 for a cent")]
    ZeroTick,
    /// Too many rows.
    #[error("more than {ROWS_MAX} rows: split the file by time")]
    TooManyRows,
}

/// A parsed recording: ids renumbered densely, prices in ticks, sizes in lots of one share.
#[derive(Clone, Debug)]
pub struct Recording {
    rows: Vec<Recorded>,
    orders: u32,
    unknown: u64,
}

/// A row, ready for replay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// Time since the first row.
    pub(crate) since: Span,
    pub(crate) kind: RowKind,
    pub(crate) side: Side,
    /// The order's dense number, or [`UNKNOWN`].
    pub(crate) order: u32,
    pub(crate) lots: Lots,
    pub(crate) price: Ticks,
}

/// An order from before the recording.
pub(crate) const UNKNOWN: u32 = u32::MAX;

impl Recording {
    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of orders that the recording introduces.
    #[must_use]
    pub fn orders(&self) -> u64 {
        u64::from(self.orders)
    }

    /// The number of rows that name an order from before the recording.
    #[must_use]
    pub fn unknown_rows(&self) -> u64 {
        self.unknown
    }

    /// Time from the first row to the last.
    #[must_use]
    pub fn span(&self) -> Span {
        self.rows.last().map_or(Span::ZERO, |row| row.since)
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Recorded> {
        self.rows.get(index)
    }
}

/// Reads a LOBSTER message file. `tick` is the file's price units per tick (100 for a cent).
///
/// # Errors
/// If the file is not what it should be; the error names the line.
pub fn parse(reader: impl Read, file_name: &str, tick: u64) -> Result<Recording, RecordedError> {
    let mut rows = Rows::new(reader, file_name);
    if tick == 0 {
        return Err(rows.wrong(Problem::ZeroTick));
    }
    let mut recording = Recording { rows: Vec::new(), orders: 0, unknown: 0 };
    let mut live: BTreeMap<u64, (u32, Lots)> = BTreeMap::new();
    let mut start = None;
    while let Some(row) = rows.next()? {
        if recording.rows.len() == ROWS_MAX {
            return Err(rows.wrong(Problem::TooManyRows));
        }
        let order = match row.kind {
            RowKind::Limit => {
                if live.insert(row.id, (recording.orders, row.lots)).is_some() {
                    return Err(rows.wrong(Problem::Duplicate(row.id)));
                }
                recording.orders += 1;
                recording.orders - 1
            }
            RowKind::Reduce | RowKind::Delete | RowKind::Execute => {
                let order = consume(&mut live, &row);
                recording.unknown += u64::from(order == UNKNOWN);
                order
            }
            RowKind::Hidden | RowKind::Auction | RowKind::Halt => UNKNOWN,
        };
        let price = if row.kind.is_visible() {
            let ticks =
                i64::try_from(tick).ok().filter(|tick| row.price % tick == 0).map(|tick| row.price / tick);
            ticks.ok_or_else(|| rows.wrong(Problem::OffGrid { price: row.price, tick }))?
        } else {
            0
        };
        let since = row.at - *start.get_or_insert(row.at);
        let Row { kind, side, lots, .. } = row;
        recording.rows.push(Recorded { since, kind, side, order, lots, price: Ticks(price) });
    }
    Ok(recording)
}

/// Finds the order that a row names, and forgets it with its last lot.
fn consume(live: &mut BTreeMap<u64, (u32, Lots)>, row: &Row) -> u32 {
    let Some((order, left)) = live.get_mut(&row.id) else { return UNKNOWN };
    let order = *order;
    *left = left.saturating_sub(row.lots);
    if *left == Lots::ZERO || row.kind == RowKind::Delete {
        live.remove(&row.id);
    }
    order
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
            ("Time,Type,Order ID,Size,Price,Direction\n", 1, "header"),
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
            ("\n", "found 1"),
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
