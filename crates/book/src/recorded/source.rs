//! A recording's file, whatever form it has: text, text compressed with gzip, or Databento's binary encoding. The
//! first bytes tell, not the name.

use std::io::{BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::report::ReplayReport;
use super::rows::{Row, Rows};
use super::{Options, Problem, ROWS_MAX};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const DBN: [u8; 3] = *b"DBN";

/// All rows of a file, and what was counted while reading.
pub(super) struct Tape {
    pub(super) rows: Vec<Row>,
    pub(super) report: ReplayReport,
}

/// Reads a whole file, or gives the line (of a binary file: the record) and the problem.
pub(super) fn read(mut reader: impl Read, options: &Options) -> Result<Tape, (u32, Problem)> {
    let mut head = Vec::with_capacity(ZSTD.len());
    reader
        .by_ref()
        .take(ZSTD.len() as u64)
        .read_to_end(&mut head)
        .map_err(|error| (1, Problem::Read(error)))?;
    let (gzip, zstd) = (head.starts_with(&GZIP), head.starts_with(&ZSTD));
    let databento = zstd || head.starts_with(&DBN);
    let whole = Cursor::new(head).chain(reader);
    if databento {
        return super::databento::read(whole, zstd, options);
    }
    if options.instrument.is_some() {
        return Err((1, Problem::OneInstrument));
    }
    if gzip {
        let unpacked = MultiGzDecoder::new(BufReader::new(whole));
        return text(unpacked, options).map_err(|(line, problem)| match problem {
            Problem::Read(error) => (line, Problem::Compressed { kind: "gzip", error }),
            other => (line, other),
        });
    }
    text(whole, options)
}

fn text(reader: impl Read, options: &Options) -> Result<Tape, (u32, Problem)> {
    let mut lines = Rows::new(reader);
    let mut rows = Vec::new();
    while let Some(row) = lines.next().map_err(|problem| (lines.line(), problem))? {
        check(&row, rows.len(), options).map_err(|problem| (lines.line(), problem))?;
        rows.push(row);
    }
    let report =
        ReplayReport { rows: rows.len() as u64, headers: lines.headers(), ..ReplayReport::default() };
    Ok(Tape { rows, report })
}

/// What holds for the rows of every kind of file.
pub(super) fn check(row: &Row, rows: usize, options: &Options) -> Result<(), Problem> {
    if rows == ROWS_MAX {
        return Err(Problem::TooManyRows);
    }
    let on_grid = i64::try_from(options.tick).is_ok_and(|tick| row.price % tick == 0);
    if row.kind.is_visible() && !on_grid {
        return Err(Problem::OffGrid { price: row.price, tick: options.tick });
    }
    Ok(())
}
