//! From rows as a file has them to rows that a book can replay without surprise.
//!
//! What a file leaves out is made explicit here, once for every reader: recovered orders appear as new orders, orders
//! that must have left without a row are deleted, a cleared book is a deletion of each of its orders, a modification
//! that loses its place a deletion and a new order.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use numashock_engine::{Nanos, Span};

use super::opening::{self, Birth};
use super::report::ReplayReport;
use super::rows::{Row, RowKind};
use super::source::Tape;
use super::{Opening, Options, Problem, Recorded, Recording, UNKNOWN};
use crate::{Book, Lots, OrderId, Side, Stamp, Ticks};

/// An order that rows can name.
#[derive(Clone, Copy)]
struct Known {
    id: u64,
    recovered: bool,
}

struct Build<'a> {
    rows: &'a [Row],
    /// Each id with the rows that name it, sorted; made when first asked for.
    named: Option<Vec<(u64, usize)>>,
    tick: i64,
    start: Nanos,
    /// The recorded orders alone, by dense number.
    book: Book,
    orders: Vec<Known>,
    live: BTreeMap<u64, u32>,
    births: Peekable<IntoIter<Birth>>,
    out: Vec<Recorded>,
    report: ReplayReport,
    halted: bool,
    /// If orders stand by id: ids that exceed all before, with the time of their rows.
    records: Option<Vec<(u64, Span)>>,
}

/// Makes the recording, or says which row cannot be.
///
/// An order that enters with an older id than one seen before may have waited for the open and keep the place of its
/// id, or not. The executions tell: whichever finds more of them at the head of their queue is taken.
pub(super) fn build(tape: &Tape, options: &Options) -> Result<Recording, (u32, Problem)> {
    let recording = pass(tape, options, None)?;
    let aged = opening::growing_ids(&tape.rows).filter(|records| {
        (records.len() as u64) < recording.report.limits && recording.report.modifications == 0
    });
    let Some(records) = aged else { return Ok(recording) };
    let by_id = pass(tape, options, Some(records))?;
    let better = by_id.report.executions_at_head > recording.report.executions_at_head;
    Ok(if better { by_id } else { recording })
}

/// With `records`, the new orders whose id exceeds all before, orders of a price stand in the order of their ids.
fn pass(
    tape: &Tape,
    options: &Options,
    records: Option<Vec<(u64, usize)>>,
) -> Result<Recording, (u32, Problem)> {
    let births = match options.opening {
        Opening::Recovered => opening::births(&tape.rows),
        Opening::Empty => Vec::new(),
    };
    let start = tape.rows.first().map_or(Nanos::ZERO, |row| row.at);
    let since = |(id, row): (u64, usize)| (id, tape.rows[row].at - start);
    let records = records.map(|records| records.into_iter().map(since).collect());
    let mut build = Build {
        rows: &tape.rows,
        named: None,
        tick: i64::try_from(options.tick).unwrap_or(i64::MAX),
        start,
        book: Book::new(),
        orders: Vec::new(),
        live: BTreeMap::new(),
        births: births.into_iter().peekable(),
        out: Vec::with_capacity(tape.rows.len()),
        report: tape.report,
        halted: false,
        records,
    };
    let (mut opening, mut leading, mut at) = (0, true, start);
    for (index, row) in tape.rows.iter().enumerate() {
        build.bear(index, at);
        if index == 0 {
            opening = build.out.len();
        }
        at = row.at;
        build.row(index, row).map_err(|problem| (row.line, problem))?;
        leading &= row.snapshot;
        if leading {
            opening = build.out.len();
        }
    }
    let orders = u32::try_from(build.orders.len()).map_err(|_| (0, Problem::TooManyRows))?;
    Ok(Recording { rows: build.out, opening, orders, start, report: build.report })
}

impl Build<'_> {
    /// Lets the recovered orders rest that are born before this row.
    fn bear(&mut self, index: usize, at: Nanos) {
        while let Some(birth) = self.births.next_if(|birth| birth.before <= index) {
            let Birth { before, id, side, price, lots } = birth;
            let price = Ticks(price / self.tick);
            let crosses = self.book.best(!side).is_some_and(|best| side.reaches(price, best.price));
            // An id that is in use by now, or a price that cannot be: the rows contradict each other.
            if crosses || self.live.contains_key(&id) {
                self.report.contradicted_orders += 1;
                continue;
            }
            match before {
                0 => self.report.opening_orders += 1,
                _ => self.report.later_orders += 1,
            }
            let known = Known { id, recovered: true };
            self.rest(known, (side, price, lots), at);
        }
    }

    fn row(&mut self, index: usize, row: &Row) -> Result<(), Problem> {
        match row.kind {
            RowKind::Limit => {
                self.report.limits += 1;
                if self.live.contains_key(&row.id) {
                    return Err(Problem::Duplicate(row.id));
                }
                self.add(row);
            }
            RowKind::Reduce | RowKind::Delete | RowKind::Cancel | RowKind::Execute => {
                self.take_off(index, row)
            }
            RowKind::Modify => self.modify(row),
            RowKind::Clear => self.clear(row),
            RowKind::Hidden | RowKind::Auction | RowKind::Halt => {
                match (row.kind, row.price) {
                    (RowKind::Hidden, _) => self.report.hidden += 1,
                    (RowKind::Auction, _) => self.report.auctions += 1,
                    (_, -1) => self.report.halts += 1,
                    (_, 0) => self.report.quoting_resumed += 1,
                    _ => self.report.trading_resumed += 1,
                }
                if row.kind == RowKind::Halt {
                    self.halted = row.price != 1;
                }
                self.report.executions_in_halt += u64::from(self.halted && row.kind == RowKind::Hidden);
                self.push(row.kind, row, (UNKNOWN, Ticks(0), row.lots));
            }
        }
        // What a modification or a cleared book has turned into ends with its row.
        if let Some(last) = self.out.last_mut() {
            last.last |= row.last;
        }
        Ok(())
    }

    fn push(&mut self, kind: RowKind, row: &Row, (order, price, lots): (u32, Ticks, Lots)) {
        self.out.push(recorded(kind, row.at - self.start, (order, row.side, price, lots)));
    }

    /// A new order. What it crosses has left the market without a row.
    fn add(&mut self, row: &Row) {
        let price = Ticks(row.price / self.tick);
        let crosses = |best: Ticks| row.side.reaches(price, best);
        let mut crossed = false;
        while let Some(best) = self.book.best(!row.side).filter(|best| crosses(best.price)) {
            let queue: Vec<_> = self.book.queue(!row.side, best.price).collect();
            queue.into_iter().for_each(|(order, _)| self.drop_gone(order.number() as u32, row.at));
            crossed = true;
        }
        self.report.crossed_rows += u64::from(crossed);
        let known = Known { id: row.id, recovered: false };
        self.rest(known, (row.side, price, row.lots), row.at);
    }

    fn rest(&mut self, known: Known, (side, price, lots): (Side, Ticks, Lots), at: Nanos) {
        let order = self.orders.len() as u32;
        self.orders.push(known);
        self.live.insert(known.id, order);
        let stamp = if self.records.is_some() { Stamp(known.id) } else { Stamp::from(at) };
        let rests = self.book.post_only(id(order), side, price, lots, stamp);
        assert!(rests, "what the order crosses has been dropped");
        let since = at - self.start;
        let place = self.place(known.id).unwrap_or(since).min(since);
        self.out.push(Recorded { place, ..recorded(RowKind::Limit, since, (order, side, price, lots)) });
    }

    /// When an id was new, if orders stand by id.
    fn place(&self, id: u64) -> Option<Span> {
        let records = self.records.as_ref()?;
        let known = records.partition_point(|(record, _)| *record <= id);
        Some(known.checked_sub(1).map_or(Span::ZERO, |last| records[last].1))
    }

    /// An execution at `price` has passed over better prices: what rests there and is never named again had left.
    /// Whether there was any better price.
    fn drop_passed_over(&mut self, index: usize, side: Side, price: Ticks, at: Nanos) -> bool {
        let better = self.book.levels(side).take_while(|quote| side.prefers(quote.price, price));
        let passed: Vec<_> = better.flat_map(|quote| self.book.queue(side, quote.price)).collect();
        for (order, _) in &passed {
            let order = order.number() as u32;
            if !self.named_after(index, self.orders[order as usize].id) {
                self.drop_gone(order, at);
            }
        }
        !passed.is_empty()
    }

    fn named_after(&mut self, index: usize, id: u64) -> bool {
        let rows = self.rows;
        let named = self.named.get_or_insert_with(|| {
            let rows = rows.iter().enumerate().filter(|(_, row)| row.kind.is_visible());
            let mut named: Vec<_> = rows.map(|(index, row)| (row.id, index)).collect();
            named.sort_unstable();
            named
        });
        let next = named.partition_point(|(other, row)| (*other, *row) <= (id, index));
        named.get(next).is_some_and(|(other, _)| *other == id)
    }

    fn drop_gone(&mut self, order: u32, at: Nanos) {
        self.report.dropped_orders += 1;
        self.delete(order, at);
    }

    /// Deletes a resting order without a row of its own.
    fn delete(&mut self, order: u32, at: Nanos) {
        let (side, price, lots) = self.book.order(id(order)).expect("the order rests");
        self.out.push(recorded(RowKind::Delete, at - self.start, (order, side, price, lots)));
        self.forget(order);
    }

    fn forget(&mut self, order: u32) {
        self.book.cancel(id(order));
        self.live.remove(&self.orders[order as usize].id);
    }

    fn take_off(&mut self, index: usize, row: &Row) {
        match row.kind {
            RowKind::Reduce => self.report.reductions += 1,
            RowKind::Delete => self.report.deletions += 1,
            RowKind::Execute => self.report.executions += 1,
            _ => {}
        }
        let price = Ticks(row.price / self.tick);
        self.report.executions_in_halt += u64::from(self.halted && row.kind == RowKind::Execute);
        let Some(order) = self.live.get(&row.id).copied() else {
            self.report.unknown_rows += 1;
            let kind = if row.kind == RowKind::Cancel { RowKind::Reduce } else { row.kind };
            self.push(kind, row, (UNKNOWN, price, row.lots));
            return;
        };
        let recovered = self.orders[order as usize].recovered;
        self.report.unknown_rows += u64::from(recovered);
        self.report.recovered_rows += u64::from(recovered);
        let (side, resting_price, resting) = self.book.order(id(order)).expect("a live order rests");
        self.report.disagreeing_rows += u64::from((side, resting_price) != (row.side, price));
        if row.kind == RowKind::Execute {
            let passed_over = self.drop_passed_over(index, side, resting_price, row.at);
            self.report.passed_over_rows += u64::from(passed_over);
            let first = self.book.ahead(id(order)).is_some_and(|ahead| ahead.orders == 0);
            let at_head = first && !passed_over;
            self.report.executions_at_head += u64::from(at_head);
            self.report.executions_not_at_head += u64::from(!at_head);
        }
        self.report.oversized_rows += u64::from(row.lots > resting);
        let kind = match row.kind {
            RowKind::Cancel if row.lots < resting => RowKind::Reduce,
            RowKind::Cancel => RowKind::Delete,
            kind => kind,
        };
        match (row.kind, kind) {
            (RowKind::Cancel, RowKind::Reduce) => self.report.reductions += 1,
            (RowKind::Cancel, _) => self.report.deletions += 1,
            _ => {}
        }
        self.out.push(recorded(kind, row.at - self.start, (order, side, resting_price, row.lots)));
        if kind == RowKind::Delete || row.lots >= resting {
            self.forget(order);
        } else {
            self.book.reduce(id(order), row.lots);
        }
    }

    /// A smaller size at the same price keeps the place; what is unknown rests from now on.
    fn modify(&mut self, row: &Row) {
        self.report.modifications += 1;
        let Some(order) = self.live.get(&row.id).copied() else {
            self.report.unknown_rows += 1;
            return self.add(row);
        };
        let price = Ticks(row.price / self.tick);
        let (side, old_price, resting) = self.book.order(id(order)).expect("a live order rests");
        if (side, price) == (row.side, old_price) && row.lots <= resting {
            let less = resting - row.lots;
            if less > Lots::ZERO {
                self.push(RowKind::Reduce, row, (order, price, less));
                self.book.reduce(id(order), less);
            }
            return;
        }
        self.delete(order, row.at);
        self.add(row);
    }

    fn clear(&mut self, row: &Row) {
        self.report.clears += 1;
        let live: Vec<u32> = self.live.values().copied().collect();
        for order in live {
            self.delete(order, row.at);
        }
    }
}

fn recorded(kind: RowKind, since: Span, (order, side, price, lots): (u32, Side, Ticks, Lots)) -> Recorded {
    Recorded { since, place: since, kind, side, last: false, order, lots, price }
}

fn id(order: u32) -> OrderId {
    OrderId(u64::from(order))
}
