//! The pure replay: the best quotes after each message, in the file's own units.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};

use numashock_engine::Nanos;

use super::rows::{Row, RowKind, Rows};
use super::{Problem, RecordedError};
use crate::{Book, Lots, OrderId, Quote, Side, Stamp, Ticks};

/// LOBSTER's prices for a side without orders.
const NO_BID: i64 = -9_999_999_999;
const NO_ASK: i64 = 9_999_999_999;

/// What a replay saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Rows read.
    pub rows: u64,
    /// Rows of type 1, new limit orders.
    pub limits: u64,
    /// Rows of type 2, partial cancels.
    pub reductions: u64,
    /// Rows of type 3, deletions.
    pub deletions: u64,
    /// Rows of type 4, executions of visible orders.
    pub executions: u64,
    /// Rows of type 5, executions of hidden orders: no effect on the visible book.
    pub hidden: u64,
    /// Rows of type 6, auction trades: no effect on the visible book.
    pub auctions: u64,
    /// Rows of type 7, halts and resumptions.
    pub halts: u64,
    /// Rows of types 2 to 4 that name an order from before the file: skipped.
    pub unknown_rows: u64,
    /// Executions of the first order at the best price.
    pub executions_at_head: u64,
    /// Executions of another order.
    pub executions_not_at_head: u64,
    /// Rows that take more than the named order has left.
    pub oversized_rows: u64,
    /// New orders that cross resting ones. What they cross has left the market without a row and is dropped.
    pub crossed_rows: u64,
    /// Rows written: changes of a best price or its size.
    pub quote_changes: u64,
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("rows", self.rows),
            ("new limit orders", self.limits),
            ("partial cancels", self.reductions),
            ("deletions", self.deletions),
            ("visible executions", self.executions),
            ("  of the first order at the best price", self.executions_at_head),
            ("  of another order", self.executions_not_at_head),
            ("hidden executions", self.hidden),
            ("auction trades", self.auctions),
            ("halts", self.halts),
            ("rows that name an unknown order", self.unknown_rows),
            ("rows that take more than is left", self.oversized_rows),
            ("new orders that cross", self.crossed_rows),
            ("changes of the best quotes", self.quote_changes),
        ] {
            writeln!(f, "{what:<40} {count:>12}")?;
        }
        Ok(())
    }
}

/// Replays a LOBSTER message file without own orders and writes `time,bid,bid_size,ask,ask_size` after each message
/// that changes a best price or its size, in the file's own units, prices not rounded. The book starts empty; a side
/// without orders has LOBSTER's price ∓9999999999 and size 0.
///
/// # Errors
/// If the file is not what it should be, or `writer` fails.
pub fn quotes(
    reader: impl Read,
    file_name: &str,
    mut writer: impl Write,
) -> Result<ReplayReport, RecordedError> {
    let mut rows = Rows::new(reader, file_name);
    let mut replay =
        Replay { book: Book::new(), ids: BTreeMap::new(), next: 0, report: ReplayReport::default() };
    let mut last = Side::BOTH.map(|side| replay.book.best(side));
    let written = writer.write_all(b"time,bid,bid_size,ask,ask_size\n");
    written.map_err(|error| rows.wrong(Problem::Write(error)))?;
    while let Some(row) = rows.next()? {
        replay.apply(&row).map_err(|problem| rows.wrong(problem))?;
        let best = Side::BOTH.map(|side| replay.book.best(side));
        if best != last {
            last = best;
            replay.report.quote_changes += 1;
            write_row(&mut writer, row.at, best).map_err(|error| rows.wrong(Problem::Write(error)))?;
        }
    }
    writer.flush().map_err(|error| rows.wrong(Problem::Write(error)))?;
    Ok(replay.report)
}

fn write_row(writer: &mut impl Write, at: Nanos, best: [Option<Quote>; 2]) -> std::io::Result<()> {
    let none = [NO_BID, NO_ASK].map(|price| Quote { price: Ticks(price), lots: Lots::ZERO });
    let [bid, ask] = [best[0].unwrap_or(none[0]), best[1].unwrap_or(none[1])];
    let (seconds, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
    writeln!(writer, "{seconds}.{nanos:09},{},{},{},{}", bid.price, bid.lots, ask.price, ask.lots)
}

/// The book with one tick to a price unit.
struct Replay {
    book: Book,
    /// From the file's ids to the book's.
    ids: BTreeMap<u64, OrderId>,
    next: u64,
    report: ReplayReport,
}

impl Replay {
    fn apply(&mut self, row: &Row) -> Result<(), Problem> {
        let report = &mut self.report;
        report.rows += 1;
        match row.kind {
            RowKind::Limit => {
                report.limits += 1;
                return self.add(row);
            }
            RowKind::Reduce => report.reductions += 1,
            RowKind::Delete => report.deletions += 1,
            RowKind::Execute => report.executions += 1,
            RowKind::Hidden => report.hidden += 1,
            RowKind::Auction => report.auctions += 1,
            RowKind::Halt => report.halts += 1,
        }
        if row.kind.is_visible() {
            self.take_off(row);
        }
        Ok(())
    }

    fn add(&mut self, row: &Row) -> Result<(), Problem> {
        if self.ids.get(&row.id).is_some_and(|id| self.book.order(*id).is_some()) {
            return Err(Problem::Duplicate(row.id));
        }
        let price = Ticks(row.price);
        let crosses = |book: &Book| book.best(!row.side).filter(|best| row.side.reaches(price, best.price));
        if let Some(first) = crosses(&self.book) {
            self.report.crossed_rows += 1;
            let mut stale = Some(first);
            while let Some(quote) = stale {
                let gone: Vec<_> = self.book.queue(!row.side, quote.price).map(|(id, _)| id).collect();
                for id in gone {
                    self.book.cancel(id);
                }
                stale = crosses(&self.book);
            }
        }
        let id = OrderId(self.next);
        self.next += 1;
        self.ids.insert(row.id, id);
        let rests = self.book.post_only(id, row.side, price, row.lots, Stamp::from(row.at));
        assert!(rests, "what the order crosses has been dropped");
        Ok(())
    }

    fn take_off(&mut self, row: &Row) {
        let known = self.ids.get(&row.id).and_then(|id| Some((*id, self.book.order(*id)?)));
        let Some((id, (side, price, resting))) = known else {
            self.report.unknown_rows += 1;
            self.ids.remove(&row.id);
            return;
        };
        if row.kind == RowKind::Execute {
            let best = self.book.best(side).expect("the order rests").price;
            let first = best == price && self.book.ahead(id).is_some_and(|ahead| ahead.orders == 0);
            self.report.executions_at_head += u64::from(first);
            self.report.executions_not_at_head += u64::from(!first);
        }
        self.report.oversized_rows += u64::from(row.lots > resting);
        let by = if row.kind == RowKind::Delete { resting } else { row.lots.min(resting) };
        if self.book.reduce(id, by) == Some(Lots::ZERO) {
            self.ids.remove(&row.id);
        }
    }
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
            3.000000000,1000050,3,1000150,7\n\
            3.000000000,1000050,2,1000150,7\n\
            5.000000000,999950,3,1000150,7\n\
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
            executions_at_head: 2,
            quote_changes: 7,
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
