//! The opening book: rules one by one, a naive twin, and recordings cut out of known ones.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;

use super::opening::{Birth, births};
use super::rows::{Row, RowKind, Rows};
use super::{Opening, Options, Recording, parse};
use crate::{Book, Lots, OrderId, Side, Stamp, Ticks};

fn rows(text: &str) -> Vec<Row> {
    let mut lines = Rows::new(text.as_bytes());
    std::iter::from_fn(|| lines.next().unwrap()).collect()
}

/// (before, id, lots) of each recovered order.
fn born(text: &str) -> Vec<(usize, u64, u64)> {
    births(&rows(text)).iter().map(|birth| (birth.before, birth.id, birth.lots.0)).collect()
}

#[test]
fn an_unknown_order_rested_from_the_start_with_all_that_its_rows_take() {
    let text = "1,1,50,5,100,1\n2,4,7,3,99,1\n3,2,7,1,99,1\n4,3,7,2,99,1\n5,4,8,4,105,-1\n6,2,9,4,106,-1\n";
    // A partial cancel leaves at least one lot.
    assert_eq!(born(text), [(0, 7, 6), (0, 8, 4), (0, 9, 5)]);
    assert_eq!(born("1,1,7,5,100,1\n2,3,7,5,100,1\n3,3,7,5,100,1\n"), []);
    assert_eq!(born("1,3,7,5,100,1\n2,1,7,4,100,1\n3,3,7,4,100,1\n"), [(0, 7, 5)]);
}

#[test]
fn an_id_given_later_was_born_later() {
    let text = "1,1,50,5,100,1\n2,1,60,5,98,1\n3,1,70,5,97,1\n4,3,65,2,90,1\n5,3,64,1,91,1\n6,3,900,1,92,1\n";
    assert_eq!(born(text), [(2, 64, 1), (2, 65, 2), (3, 900, 1)]);
    // Where ids do not grow they say nothing.
    let falling = "1,1,50,5,100,1\n2,1,40,5,98,1\n3,1,30,5,97,1\n4,3,65,2,90,1\n";
    assert_eq!(born(falling), [(0, 65, 2)]);
}

#[test]
fn an_order_did_not_rest_where_another_row_would_have_met_it() {
    // An ask at or below the bid; an execution of a worse bid; each ends before the unknown order's first row.
    for (proof, before) in [
        ("2,1,60,5,99,-1", 2),
        ("2,1,60,5,98,-1", 2),
        ("2,1,60,5,100,-1", 0),
        ("2,3,12,5,99,-1", 2),
        ("2,4,12,5,98,1", 2),
        ("2,4,12,5,99,1", 0),
        ("2,3,12,5,98,1", 0),
        ("2,5,0,5,98,1", 0),
    ] {
        let text = format!("1,1,50,5,90,1\n{proof}\n3,3,7,5,99,1\n4,1,61,5,99,-1\n");
        let found = born(&text).into_iter().find(|(_, id, _)| *id == 7);
        assert_eq!(found, Some((before, 7, 5)), "{proof}");
    }
}

#[test]
fn recovered_orders_stand_by_id_and_are_named_at_the_head() {
    let text = "1,1,50,5,90,1\n2,4,8,3,99,1\n3,4,7,1,99,1\n4,4,50,5,90,1\n";
    let recording = parse(text.as_bytes(), "day.csv", 1).unwrap();
    let report = recording.report();
    assert_eq!((report.opening_orders, report.recovered_rows, report.unknown_rows), (2, 2, 2));
    // Of the two at 99 the one with the smaller id stands first.
    assert_eq!((report.executions_at_head, report.executions_not_at_head), (2, 1));
    assert_eq!(recording.opening(), 2);
    let empty = Options { opening: Opening::Empty, ..Options::from(1) };
    let report = *parse(text.as_bytes(), "day.csv", empty).unwrap().report();
    assert_eq!((report.opening_orders, report.recovered_rows, report.unknown_rows), (0, 0, 2));
}

#[test]
fn an_order_that_waited_with_an_older_id_keeps_the_place_of_its_id_if_executions_say_so() {
    let mut text = String::new();
    for id in 100..120 {
        writeln!(text, "1,1,{id},5,90,1").unwrap();
    }
    text += "2,1,200,5,99,1\n3,1,7,5,99,1\n";
    let waited = format!("{text}4,4,7,5,99,1\n");
    let recording = parse(waited.as_bytes(), "day.csv", 1).unwrap();
    assert_eq!((recording.report().executions_at_head, recording.report().executions_not_at_head), (1, 0));
    let not = format!("{text}4,4,200,5,99,1\n");
    let recording = parse(not.as_bytes(), "day.csv", 1).unwrap();
    assert_eq!((recording.report().executions_at_head, recording.report().executions_not_at_head), (1, 0));
}

/// The naive twin: every row before the order's first is asked.
fn naive_absence(rows: &[Row], birth: &Birth) -> usize {
    let first = rows.iter().position(|row| row.id == birth.id && row.kind.takes_lots()).unwrap();
    let proves = |row: &Row| match row.kind {
        _ if !row.kind.is_visible() => false,
        _ if row.side != birth.side => birth.side.reaches(Ticks(birth.price), Ticks(row.price)),
        RowKind::Execute => birth.side.prefers(Ticks(birth.price), Ticks(row.price)),
        _ => false,
    };
    rows[..first].iter().rposition(proves).map_or(0, |row| row + 1)
}

fn any_rows() -> impl Strategy<Value = String> {
    let row = (1u8..7, 0u64..40, 1u64..9, 95i64..105, any::<bool>());
    prop::collection::vec(row, 1..60).prop_map(|rows| {
        let line = |(kind, id, lots, price, buy): (u8, u64, u64, i64, bool)| {
            format!("1,{kind},{id},{lots},{price},{}\n", if buy { 1 } else { -1 })
        };
        rows.into_iter().map(line).collect()
    })
}

/// A market of its own: rows of everything that happens within `view` levels of a side, ids growing.
#[derive(Debug)]
struct Market {
    book: Book,
    view: usize,
    text: Vec<String>,
    quotes: Vec<String>,
    next: u64,
    taker: u64,
}

impl Market {
    fn new(view: usize) -> Market {
        Market { book: Book::new(), view, text: Vec::new(), quotes: Vec::new(), next: 0, taker: 0 }
    }

    fn row(&mut self, kind: u8, id: u64, lots: Lots, price: Ticks, side: Side) {
        self.text.push(format!("{}.5,{kind},{id},{lots},{price},{}\n", self.text.len(), side.sign()));
        let quote = |side, none| {
            self.book.best(side).map_or(format!("{none},0"), |best| format!("{},{}", best.price, best.lots))
        };
        let (bid, ask) = (quote(Side::Buy, "-9999999999"), quote(Side::Sell, "9999999999"));
        self.quotes.push(format!("{bid},{ask}"));
    }

    fn sees(&self, side: Side, price: Ticks) -> bool {
        self.book.levels(side).take(self.view).any(|quote| quote.price == price)
    }

    fn add(&mut self, side: Side, away: i64, lots: Lots) {
        let limit = self.book.best(!side).map_or(Ticks(1_000), |best| best.price);
        let price = limit.behind(side, 1 + away);
        let id = self.next;
        self.next += 1;
        assert!(self.book.post_only(OrderId(id), side, price, lots, Stamp(id)));
        if self.sees(side, price) {
            self.row(1, id, lots, price, side);
        }
    }

    /// Something happens to one of the orders in view.
    fn touch(&mut self, side: Side, which: usize, lots: Lots) {
        let levels = self.book.levels(side).take(self.view);
        let seen: Vec<_> = levels.flat_map(|quote| self.book.queue(side, quote.price)).collect();
        let Some((id, resting)) = seen.get(which % seen.len().max(1)).copied() else { return };
        let (_, price, _) = self.book.order(id).unwrap();
        if lots < resting {
            self.book.reduce(id, lots);
            self.row(2, id.0, lots, price, side);
        } else {
            self.book.cancel(id);
            self.row(3, id.0, resting, price, side);
        }
    }

    fn take(&mut self, side: Side, lots: Lots) {
        let mut fills = Vec::new();
        self.taker += 1;
        let mut left = lots;
        // A row an execution, so that the quotes after each are known.
        while left > Lots::ZERO {
            let Some(best) = self.book.best(!side) else { break };
            let head = self.book.queue(!side, best.price).next().unwrap();
            let taken = head.1.min(left);
            left -= taken;
            self.book.take(OrderId((1 << 30) + self.taker), side, taken, Some(best.price), &mut fills);
            let fill = fills.pop().unwrap();
            self.row(4, fill.maker.0, fill.lots, fill.price, fill.maker_side);
        }
    }

    /// Everything leaves, from the best on: so every order has been named.
    fn close(&mut self) {
        for side in Side::BOTH {
            while self.book.best(side).is_some() {
                self.touch(side, 0, Lots(u64::MAX));
            }
        }
    }
}

fn market() -> impl Strategy<Value = Market> {
    let step = (0u8..8, any::<bool>(), 0i64..12, 1u64..9, any::<usize>());
    (prop::sample::select(vec![2, 4, usize::MAX]), prop::collection::vec(step, 1..200)).prop_map(
        |(view, steps)| {
            let mut market = Market::new(view);
            for (what, buy, away, lots, which) in steps {
                let side = if buy { Side::Buy } else { Side::Sell };
                match what {
                    0..5 => market.add(side, away, Lots(lots)),
                    5 | 6 => market.touch(side, which, Lots(lots)),
                    _ => market.take(side, Lots(2 * lots)),
                }
            }
            market.close();
            market
        },
    )
}

/// The quotes after each row.
fn quotes(recording: &Recording) -> Vec<String> {
    let mut text = Vec::new();
    recording.write_quotes(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let changes: BTreeMap<_, _> = text.lines().skip(1).filter_map(|line| line.split_once(',')).collect();
    let mut last = "-9999999999,0,9999999999,0".to_owned();
    let mut after = Vec::new();
    for row in recording.rows.iter().filter(|row| row.last) {
        let at = recording.start + row.since;
        let (seconds, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
        if let Some(change) = changes.get(format!("{seconds}.{nanos:09}").as_str()) {
            (*change).clone_into(&mut last);
        }
        after.push(last.clone());
    }
    after
}

proptest! {
    #[test]
    fn absence_is_what_a_search_finds(text in any_rows()) {
        let rows = rows(&text);
        let grow = super::opening::growing_ids(&rows).is_some();
        for birth in births(&rows) {
            let absent = naive_absence(&rows, &birth);
            prop_assert!(birth.before == absent || (grow && birth.before > absent));
        }
    }

    /// A recording cut out of a longer one shows the quotes of the whole.
    #[test]
    fn a_cut_recording_shows_the_quotes_of_the_whole(market in market(), cut in any::<prop::sample::Index>()) {
        prop_assume!(!market.text.is_empty());
        let cut = cut.index(market.text.len());
        let recording = parse(market.text[cut..].concat().as_bytes(), "cut", 1).unwrap();
        prop_assert_eq!(quotes(&recording), &market.quotes[cut..]);
        let report = recording.report();
        prop_assert_eq!((report.executions_not_at_head, report.contradicted_orders), (0, 0));
        prop_assert_eq!((report.oversized_rows, report.dropped_orders, report.crossed_rows), (0, 0, 0));
        prop_assert_eq!(report.unknown_rows, report.recovered_rows);
    }
}

/// The public sample: the book after the first row is the one that the exchange's data shows, and the executions hit
/// the head of their queue but for a few.
#[test]
fn the_sample_opens_with_the_exchanges_book() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/lobster");
    let file = format!("{folder}/AAPL_2012-06-21_34200000_37800000_message_50.csv");
    let Ok(text) = std::fs::read(&file) else {
        eprintln!("skipped: no LOBSTER sample in {folder}");
        return;
    };
    let recording = parse(&text[..], "sample", 100).unwrap();
    let mut book = Book::new();
    for row in &recording.rows[..=recording.opening()] {
        assert!(book.post_only(OrderId(row.order.into()), row.side, row.price, row.lots, Stamp(0)));
    }
    let levels = Side::BOTH.map(|side| {
        book.levels(side).take(2).map(|quote| (quote.price.0 * 100, quote.lots.0)).collect::<Vec<_>>()
    });
    assert_eq!(levels, [vec![(5_853_300, 18), (5_853_000, 150)], vec![(5_859_400, 200), (5_859_800, 200)]]);
    let report = recording.report();
    assert_eq!((report.recovered_rows, report.contradicted_orders), (report.unknown_rows, 0));
    assert!(report.executions_not_at_head * 100 < report.executions, "{report}");
    let empty = Options { opening: Opening::Empty, ..Options::from(100) };
    let before = *parse(&text[..], "sample", empty).unwrap().report();
    assert_eq!(before.executions_at_head + before.executions_not_at_head + 12, report.executions);
}
