//! The pure replay: the best quotes after each message, in the file's own units.

use std::io::{Read, Write};

use numashock_engine::Nanos;

use super::rows::RowKind;
use super::{Problem, Recorded, RecordedError, Recording, ReplayReport, UNKNOWN, parse};
use crate::{Book, Lots, OrderId, Quote, Side, Stamp, Ticks};

/// LOBSTER's prices for a side without orders.
const NO_BID: i64 = -9_999_999_999;
const NO_ASK: i64 = 9_999_999_999;

impl Recording {
    /// Replays the recording without own orders and writes `time,bid,bid_size,ask,ask_size` after each message (of a
    /// Databento file: after each event of the venue) that changes a best price or its size, prices in ticks: with a
    /// tick of 1 in the file's own units. A side without orders has LOBSTER's price ∓9999999999 and size 0.
    ///
    /// # Errors
    /// If `writer` fails.
    pub fn write_quotes(&self, mut writer: impl Write) -> std::io::Result<ReplayReport> {
        let mut report = *self.report();
        let mut book = Book::new();
        let mut last = Side::BOTH.map(|side| book.best(side));
        writer.write_all(b"time,bid,bid_size,ask,ask_size\n")?;
        for row in &self.rows {
            apply(&mut book, row);
            let best = Side::BOTH.map(|side| book.best(side));
            if row.last && best != last {
                last = best;
                report.quote_changes += 1;
                write_row(&mut writer, self.start + row.since, best)?;
            }
        }
        writer.flush()?;
        Ok(report)
    }
}

/// Reads recorded messages and writes their best quotes in the file's own units: [`parse`] with a tick of 1 and
/// [`Recording::write_quotes`].
///
/// # Errors
/// If the file is not what it should be, or `writer` fails.
pub fn quotes(reader: impl Read, file_name: &str, writer: impl Write) -> Result<ReplayReport, RecordedError> {
    let failed =
        |error| RecordedError { file: file_name.to_owned(), line: 1, problem: Problem::Write(error) };
    parse(reader, file_name, 1)?.write_quotes(writer).map_err(failed)
}

fn apply(book: &mut Book, row: &Recorded) {
    let id = OrderId(u64::from(row.order));
    match row.kind {
        _ if row.order == UNKNOWN => {}
        RowKind::Limit => {
            let rests = book.post_only(id, row.side, row.price, row.lots, Stamp(row.place.0));
            assert!(rests, "a recording crosses no order that it has not deleted");
        }
        RowKind::Delete => {
            book.cancel(id);
        }
        _ => {
            let (_, _, resting) = book.order(id).expect("a recording names orders that rest");
            book.reduce(id, row.lots.min(resting));
        }
    }
}

fn write_row(writer: &mut impl Write, at: Nanos, best: [Option<Quote>; 2]) -> std::io::Result<()> {
    let none = [NO_BID, NO_ASK].map(|price| Quote { price: Ticks(price), lots: Lots::ZERO });
    let [bid, ask] = [best[0].unwrap_or(none[0]), best[1].unwrap_or(none[1])];
    let (seconds, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
    writeln!(writer, "{seconds}.{nanos:09},{},{},{},{}", bid.price, bid.lots, ask.price, ask.lots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(text: &str) -> (String, ReplayReport) {
        let mut out = Vec::new();
        let report = quotes(text.as_bytes(), "day.csv", &mut out).unwrap();
        (String::from_utf8(out).unwrap(), report)
    }

    #[test]
    fn a_row_follows_each_change_of_a_best_price_or_size() {
        let text = "1,1,10,5,1000050,1\n1.25,1,11,7,1000150,-1\n1.5,1,12,3,1000050,1\n2,1,13,3,999950,1\n\
                    3,4,10,5,1000050,1\n3,2,12,1,1000050,1\n4,5,0,9,1000077,1\n5,3,12,2,1000050,1\n\
                    6,3,99,2,1000050,1\n7,4,13,3,999950,1\n8,7,0,0,-1,-1\n";
        let (out, report) = replayed(text);
        let expected = "time,bid,bid_size,ask,ask_size\n\
            1.000000000,1000050,5,9999999999,0\n\
            1.250000000,1000050,5,1000150,7\n\
            1.500000000,1000050,8,1000150,7\n\
            3.000000000,1000050,5,1000150,7\n\
            3.000000000,1000050,4,1000150,7\n\
            5.000000000,1000050,2,1000150,7\n\
            6.000000000,999950,3,1000150,7\n\
            7.000000000,-9999999999,0,1000150,7\n";
        assert_eq!(out, expected);
        let counts = ReplayReport {
            rows: 11,
            limits: 4,
            reductions: 1,
            deletions: 2,
            executions: 2,
            hidden: 1,
            halts: 1,
            unknown_rows: 1,
            recovered_rows: 1,
            later_orders: 1,
            executions_at_head: 2,
            quote_changes: 8,
            ..ReplayReport::default()
        };
        assert_eq!(report, counts);
        assert!(report.to_string().contains("rows that name an unknown order                     1"));
    }

    #[test]
    fn a_new_order_drops_what_it_crosses_and_an_execution_may_name_another_than_the_first() {
        let text = "1,1,10,5,100,-1\n2,1,11,5,100,-1\n3,4,11,2,100,-1\n4,1,12,5,101,1\n5,3,10,5,100,-1\n";
        let (out, report) = replayed(text);
        assert!(out.ends_with("4.000000000,101,5,9999999999,0\n"), "{out}");
        assert_eq!((report.crossed_rows, report.executions_not_at_head, report.unknown_rows), (1, 1, 1));
    }

    #[test]
    fn an_execution_beyond_a_better_price_drops_what_has_left_and_keeps_what_is_named_again() {
        let text = "1,1,10,5,101,1\n2,1,11,5,102,1\n3,1,12,5,100,1\n4,4,12,2,100,1\n5,3,10,5,101,1\n";
        let (out, report) = replayed(text);
        assert!(out.ends_with("4.000000000,101,5,9999999999,0\n5.000000000,100,3,9999999999,0\n"), "{out}");
        assert_eq!(
            (report.passed_over_rows, report.dropped_orders, report.executions_not_at_head),
            (1, 1, 1)
        );
    }

    #[test]
    fn a_row_that_takes_too_much_leaves_nothing() {
        let (_, report) = replayed("1,1,10,5,100,-1\n2,4,10,9,100,-1\n3,2,10,1,100,-1\n");
        assert_eq!((report.oversized_rows, report.unknown_rows), (1, 1));
    }

    #[test]
    fn a_live_id_is_not_given_again() {
        let error = quotes(&b"1,1,10,5,100,-1\n2,1,10,5,100,-1\n"[..], "day.csv", Vec::new()).unwrap_err();
        assert_eq!(error.line, 2);
    }
}
