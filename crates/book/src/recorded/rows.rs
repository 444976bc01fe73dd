//! The rows of a recording as a file has them, and those of a LOBSTER message file, one after another.

use std::io::{BufRead, BufReader, Read};

use numashock_engine::Nanos;

use super::Problem;
use crate::{Lots, Side};

/// The longest line accepted, so that a file without line ends is not read into memory.
pub(super) const LINE_MAX: usize = 256;
const LOTS_MAX: u64 = 1_000_000_000;
const PRICE_MAX: i64 = 1 << 40;
const SECONDS_MAX: u64 = 1_000_000_000;
const DECIMALS_MAX: usize = 15;
/// Some programs begin a text file so.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "dbn"), allow(dead_code, reason = "some kinds come from Databento files alone"))]
pub(crate) enum RowKind {
    Limit = 1,
    Reduce,
    Delete,
    Execute,
    Hidden,
    Auction,
    Halt,
    /// Takes off some of an order or all of it (Databento); a [`super::Recording`] has a reduction or a deletion.
    Cancel,
    /// Gives an order a price and a size (Databento); a recording has what becomes of it.
    Modify,
    /// Removes every order (Databento); a recording has the deletions.
    Clear,
}

impl RowKind {
    /// Whether it concerns an order that rests in the visible book.
    pub(crate) fn is_visible(self) -> bool {
        self == RowKind::Limit || self == RowKind::Modify || self.takes_lots()
    }

    /// Whether it takes lots from a resting order.
    pub(crate) fn takes_lots(self) -> bool {
        matches!(self, RowKind::Reduce | RowKind::Delete | RowKind::Execute | RowKind::Cancel)
    }
}

/// A row as the file has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Time after midnight.
    pub(crate) at: Nanos,
    pub(crate) kind: RowKind,
    pub(crate) id: u64,
    pub(crate) lots: Lots,
    /// In the file's units; of a halt what LOBSTER says there: -1 halted, 0 quoting, 1 trading again.
    pub(crate) price: i64,
    pub(crate) side: Side,
    /// The line or record, from 1.
    pub(crate) line: u32,
    /// Whether the venue's event ends here.
    pub(crate) last: bool,
    /// Whether it is part of a snapshot of the book.
    pub(crate) snapshot: bool,
}

/// The lines of a LOBSTER file.
pub(super) struct Rows<R> {
    reader: BufReader<R>,
    line: u32,
    headers: u64,
    text: Vec<u8>,
    last: Nanos,
}

impl<R: Read> Rows<R> {
    pub(super) fn new(reader: R) -> Rows<R> {
        let reader = BufReader::with_capacity(1 << 16, reader);
        Rows { reader, line: 0, headers: 0, text: Vec::new(), last: Nanos::ZERO }
    }

    /// The last line read, from 1.
    pub(super) fn line(&self) -> u32 {
        self.line.max(1)
    }

    /// How many lines of column names there were.
    pub(super) fn headers(&self) -> u64 {
        self.headers
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>, Problem> {
        self.text.clear();
        let limit = LINE_MAX as u64 + 2;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.text);
        self.line += 1;
        if read.map_err(Problem::Read)? == 0 {
            return if self.last_was_row() { Ok(None) } else { Err(Problem::Empty) };
        }
        let whole = self.text.ends_with(b"\n");
        let end = if self.text.ends_with(b"\r\n") { 2 } else { usize::from(whole) };
        let mark =
            if self.line == 1 && self.text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = &self.text[mark..self.text.len() - end];
        if text.len() > LINE_MAX {
            return Err(Problem::LineTooLong);
        }
        if self.line == 1 && is_header(text) {
            self.headers += 1;
            return self.next();
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(Problem::Blank);
        }
        let row = parse_row(text, self.line).map_err(|problem| match problem {
            Problem::Columns { found: ..6 } | Problem::Column { column: "direction", .. } if !whole => {
                Problem::Truncated
            }
            other => other,
        })?;
        if row.at < self.last {
            return Err(Problem::TimeOrder { before: self.last, now: row.at });
        }
        self.last = row.at;
        Ok(Some(row))
    }

    fn last_was_row(&self) -> bool {
        u64::from(self.line) > self.headers + 1
    }
}

/// Column names: six of them, as many as a row has, and none a number.
fn is_header(text: &[u8]) -> bool {
    let named = |column: &[u8]| column.iter().any(u8::is_ascii_alphabetic);
    text.split(|byte| *byte == b',').count() == 6 && text.split(|byte| *byte == b',').all(named)
}

fn parse_row(text: &[u8], line: u32) -> Result<Row, Problem> {
    let mut columns = [&text[..0]; 6];
    let mut found = 0;
    for column in text.split(|byte| *byte == b',') {
        if let Some(place) = columns.get_mut(found) {
            *place = column;
        }
        found += 1;
    }
    if found != 6 {
        return Err(Problem::Columns { found });
    }
    let wrong = |index: usize, expected| Problem::Column {
        column: ["time", "type", "id", "size", "price", "direction"][index],
        found: String::from_utf8_lossy(columns[index]).into_owned(),
        expected,
    };
    let at = time(columns[0]).ok_or_else(|| wrong(0, "seconds after midnight with up to 15 decimals"))?;
    let kind = kind(columns[1]).ok_or_else(|| wrong(1, "1 to 7"))?;
    let side = match columns[5] {
        b"1" => Side::Buy,
        b"-1" => Side::Sell,
        _ => return Err(wrong(5, "1 for a buy or -1 for a sell order")),
    };
    let visible = kind.is_visible();
    let id = integer(columns[2]).ok_or_else(|| wrong(2, "a whole number"))?;
    let id = u64::try_from(id).ok().or_else(|| (!visible).then_some(0));
    let id = id.ok_or_else(|| wrong(2, "a number that is not negative"))?;
    let lots = integer(columns[3]).ok_or_else(|| wrong(3, "a whole number of shares"))?;
    let lots = u64::try_from(lots).unwrap_or(0).min(LOTS_MAX + 1);
    // Auctions and halts carry no size of a resting order.
    if (lots == 0 && (visible || kind == RowKind::Hidden)) || lots > LOTS_MAX {
        return Err(wrong(3, "1 to 1,000,000,000 shares"));
    }
    let price = integer(columns[4]).ok_or_else(|| wrong(4, "a whole number of price units"))?;
    let price = i64::try_from(price).unwrap_or(i64::MAX);
    if visible && !(1..=PRICE_MAX).contains(&price) {
        return Err(wrong(4, "a positive price in units of $/10,000"));
    }
    if kind == RowKind::Halt && !(-1..=1).contains(&price) {
        return Err(wrong(4, "for a halt -1 (halted), 0 (quoting) or 1 (trading)"));
    }
    Ok(Row { at, kind, id, lots: Lots(lots), price, side, line, last: true, snapshot: false })
}

fn kind(text: &[u8]) -> Option<RowKind> {
    Some(match text {
        b"1" => RowKind::Limit,
        b"2" => RowKind::Reduce,
        b"3" => RowKind::Delete,
        b"4" => RowKind::Execute,
        b"5" => RowKind::Hidden,
        b"6" => RowKind::Auction,
        b"7" => RowKind::Halt,
        _ => return None,
    })
}

/// Digits with an optional sign, below 2^64 in size.
fn integer(text: &[u8]) -> Option<i128> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(sign * digits.iter().fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0')))
}

/// Seconds, rounded to nanoseconds: some files carry the noise of a binary fraction behind the ninth decimal.
fn time(text: &[u8]) -> Option<Nanos> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (seconds, decimals) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b"0"[..]),
    };
    if decimals.len() > DECIMALS_MAX || seconds.first() == Some(&b'-') || decimals.first() == Some(&b'-') {
        return None;
    }
    let seconds = u64::try_from(integer(seconds)?).ok().filter(|seconds| *seconds <= SECONDS_MAX)?;
    let mut fraction = u64::try_from(integer(decimals)?).ok()?;
    for _ in decimals.len()..DECIMALS_MAX {
        fraction *= 10;
    }
    let nanos = (fraction + 500_000) / 1_000_000;
    Some(Nanos(seconds * 1_000_000_000 + nanos))
}
