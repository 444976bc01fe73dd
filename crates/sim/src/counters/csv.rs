//! Counters as a table: recorded kernels, recorded hosts, and what a simulated host or run wrote.

use super::error::{RecordingError, RecordingProblem};
use super::{Counters, NAMES, Reading};

/// Milliseconds of the recording's own clock.
pub(crate) const TIME: &str = "time_ms";
/// Nanoseconds since 1970, or of the recording's own clock.
const TIME_NS: &str = "time_ns";
/// Whole seconds; the row holds what the second before it brought.
const SECOND: &str = "second";
/// The columns of which one says when counters were read.
pub(crate) const TIME_COLUMNS: [&str; 3] = [TIME, TIME_NS, SECOND];
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Which cells of a row are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// Those of these counters, and each must be there.
    These(&'a [&'static str]),
    /// Those of every counter that the table has; an empty cell is a missing value.
    All,
}

/// Whether a text is a table with a header that names a time.
pub(super) fn is_table(text: &str) -> bool {
    let first = without_mark(text).lines().next().unwrap_or_default();
    let named = |name: &str| first.split(',').any(|cell| cell.trim() == name);
    TIME_COLUMNS.into_iter().any(named) || NAMES.into_iter().any(named)
}

/// Reads every row.
///
/// # Errors
/// The first line that cannot be read.
pub(crate) fn read(file: &str, text: &str, wanted: Wanted<'_>) -> Result<Vec<Reading>, RecordingError> {
    let text = without_mark(text);
    let reader = Reader::new(file, text, wanted)?;
    let mut readings: Vec<Reading> = Vec::new();
    for (index, line) in text.trim_end_matches(['\n', '\r']).lines().enumerate().skip(1) {
        let reading = reader.reading(index + 1, line)?;
        reader.push(&mut readings, reading)?;
    }
    if readings.len() < 2 {
        let line = readings.first().map_or(1, |only| only.line);
        return Err(reader.error(line, "", RecordingProblem::TooShort));
    }
    Ok(readings)
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Knows the file, its width and where the wanted columns are.
struct Reader<'a> {
    file: &'a str,
    width: usize,
    last_line: usize,
    ends_in_newline: bool,
    time_column: &'static str,
    time: usize,
    /// Place in [`NAMES`] and column of each counter.
    counters: Vec<(usize, usize)>,
    needed: bool,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, text: &str, wanted: Wanted<'_>) -> Result<Reader<'a>, RecordingError> {
        let text_ends = text.trim_end_matches(['\n', '\r']);
        let header: Vec<&str> =
            text_ends.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        let mut reader = Reader {
            file,
            width: header.len(),
            last_line: text_ends.lines().count(),
            ends_in_newline: text.ends_with('\n'),
            time_column: TIME,
            time: 0,
            counters: Vec::new(),
            needed: wanted != Wanted::All,
        };
        if text.trim().is_empty() {
            return Err(reader.error(1, "", RecordingProblem::Empty));
        }
        if wanted == Wanted::All {
            let named = |name: &&str| header.contains(name);
            let column = TIME_COLUMNS.into_iter().find(|name| named(name));
            reader.time_column = column.ok_or_else(|| reader.error(1, "", RecordingProblem::NoTime))?;
        }
        reader.time = reader.find(&header, reader.time_column)?;
        for (place, name) in NAMES.into_iter().enumerate() {
            let looked_at = match wanted {
                Wanted::These(names) => names.contains(&name),
                Wanted::All => header.contains(&name),
            };
            if looked_at {
                reader.counters.push((place, reader.find(&header, name)?));
            }
        }
        if reader.counters.is_empty() {
            return Err(reader.error(1, "", RecordingProblem::NoCounters));
        }
        Ok(reader)
    }

    fn find(&self, header: &[&str], name: &str) -> Result<usize, RecordingError> {
        let mut places = (0..header.len()).filter(|&place| header[place] == name);
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            (None, _) => Err(self.error(1, name, RecordingProblem::MissingColumn)),
            (Some(_), Some(_)) => Err(self.error(1, name, RecordingProblem::RepeatedColumn)),
        }
    }

    fn reading(&self, line: usize, text: &str) -> Result<Reading, RecordingError> {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        self.check_width(line, cells.len())?;
        let mut counters: Counters = [None; NAMES.len()];
        for &(place, column) in &self.counters {
            let name = NAMES[place];
            let cell = cells[column];
            if self.needed {
                let cell = self.needed(line, name, cell)?;
                let value: u64 = cell.parse().map_err(|_| self.not_a_number(line, name, cell))?;
                counters[place] = Some(i128::from(value));
            } else if !cell.is_empty() {
                // A recording shows a counter that fell as a difference below zero.
                let value: i64 = cell.parse().map_err(|_| self.not_a_number(line, name, cell))?;
                counters[place] = Some(i128::from(value));
            }
        }
        let cell = self.needed(line, self.time_column, cells[self.time])?;
        let time = match self.time_column {
            TIME => millis_to_nanos(cell),
            SECOND => cell.parse::<i64>().ok().and_then(|second| second.checked_mul(1_000_000_000)),
            _ => cell.parse().ok(),
        };
        // Half the range, so that the distance of two times fits 64 bits with a sign.
        let time = time.filter(|time| time.unsigned_abs() <= i64::MAX.unsigned_abs() / 2);
        let at = time.ok_or_else(|| self.not_a_number(line, self.time_column, cell))?;
        Ok(Reading { at, line, counters })
    }

    /// Adds a row; one that holds the growth of its second becomes the sum until then.
    fn push(&self, readings: &mut Vec<Reading>, mut reading: Reading) -> Result<(), RecordingError> {
        if self.time_column == SECOND {
            if readings.is_empty() {
                let zero = reading.counters.map(|value| value.map(|_| 0));
                readings.push(Reading { at: reading.at - 1_000_000_000, line: 1, counters: zero });
            }
            let before = readings.last().expect("the beginning is there");
            if reading.at - before.at != 1_000_000_000 {
                return Err(self.error(reading.line, SECOND, RecordingProblem::RowsApart));
            }
            for (value, before) in reading.counters.iter_mut().zip(&before.counters) {
                *value = value.zip(*before).map(|(grown, before)| before + grown);
            }
        }
        if readings.last().is_some_and(|before| reading.at <= before.at) {
            return Err(self.error(reading.line, self.time_column, RecordingProblem::TimeNotLater));
        }
        readings.push(reading);
        Ok(())
    }

    /// A last line that was cut short has fewer cells, or ends without a newline inside a cell that is looked at: then
    /// nothing tells whether the cell's last digits are missing.
    fn check_width(&self, line: usize, cells: usize) -> Result<(), RecordingError> {
        let columns = self.width;
        let last = line == self.last_line;
        let looked_at = |place: usize| self.counters.iter().any(|(_, column)| *column == place);
        let ends_in_needed = self.time + 1 == columns || looked_at(columns - 1);
        let cut = cells < columns || (ends_in_needed && !self.ends_in_newline);
        if last && cells <= columns && cut {
            return Err(self.error(line, "", RecordingProblem::TruncatedRow { cells, columns }));
        }
        if cells != columns {
            return Err(self.error(line, "", RecordingProblem::WrongWidth { cells, columns }));
        }
        Ok(())
    }

    fn needed<'c>(&self, line: usize, column: &str, cell: &'c str) -> Result<&'c str, RecordingError> {
        if cell.is_empty() { Err(self.error(line, column, RecordingProblem::EmptyCell)) } else { Ok(cell) }
    }

    fn not_a_number(&self, line: usize, column: &str, cell: &str) -> RecordingError {
        self.error(line, column, RecordingProblem::NotANumber { found: cell.chars().take(40).collect() })
    }

    fn error(&self, line: usize, column: &str, problem: RecordingProblem) -> RecordingError {
        RecordingError { file: self.file.to_owned(), line, column: column.to_owned(), problem }
    }
}

/// Milliseconds with up to six decimals as whole nanoseconds, without a float in between.
fn millis_to_nanos(cell: &str) -> Option<i64> {
    super::decimal(cell, 6)
}
