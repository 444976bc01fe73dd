//! The opening book: a recording starts in the middle of a session, and its rows tell what rested before.
//!
//! An order that is reduced, deleted or executed without having been added rested at the row's price and side with at
//! least the sizes that its rows take. It is *recovered*: it takes its place before the first row, or later if that
//! cannot have been so, because a file holds only levels near the touch and an order placed beyond them comes into
//! sight without a row. Two facts bound the birth from below:
//!
//! * ids. Where new orders have growing ids, an unknown id was given after the last new order with a smaller one.
//!   Orders that enter with an older id than one seen before (queued orders released at the open) say nothing.
//! * absence. Before a row that names an order of the other side which it would have crossed, or an execution of its
//!   own side at a worse price, it cannot have rested.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Row, RowKind};
use crate::{Lots, Side};

/// Ids grow if at least this share of the new orders, in percent, has a larger id than all before: most, so that the
/// few that enter with an older id do not hide the rule, and far more than chance would give.
const GROWING_PERCENT: usize = 90;

/// A recovered order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    /// It takes its place before the row with this index.
    pub(super) before: usize,
    /// The file's id.
    pub(super) id: u64,
    pub(super) side: Side,
    pub(super) price: i64,
    pub(super) lots: Lots,
}

/// The recovered orders, in order of their birth and, at the same place, of their priority.
pub(super) fn births(rows: &[Row]) -> Vec<Birth> {
    let mut unknown = unknown_orders(rows);
    if unknown.is_empty() {
        return Vec::new();
    }
    let records = growing_ids(rows);
    let absent = absences(rows, &unknown);
    for (order, absent) in unknown.iter_mut().zip(absent) {
        let known = records.as_ref().map_or(0, |records| {
            let smaller = records.partition_point(|(id, _)| *id < order.birth.id);
            smaller.checked_sub(1).map_or(0, |last| records[last].1 + 1)
        });
        order.birth.before = absent.max(known).min(order.first_row);
    }
    let rank = |order: &Unknown| if records.is_some() { order.birth.id } else { order.first_row as u64 };
    unknown.sort_by_key(|order| (order.birth.before, rank(order)));
    unknown.into_iter().map(|order| order.birth).collect()
}

struct Unknown {
    birth: Birth,
    first_row: usize,
    /// No later row can be its own.
    gone: bool,
    /// Its last row leaves at least one lot.
    rests_on: bool,
}

/// The orders that rows name and none has added before, in order of their first row.
fn unknown_orders(rows: &[Row]) -> Vec<Unknown> {
    let mut added = BTreeSet::new();
    let mut found: BTreeMap<u64, usize> = BTreeMap::new();
    let mut unknown: Vec<Unknown> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match row.kind {
            // A modification says what rests from now on.
            RowKind::Limit | RowKind::Modify => {
                added.insert(row.id);
            }
            RowKind::Clear => unknown.iter_mut().for_each(|order| order.gone = true),
            kind if kind.takes_lots() && !added.contains(&row.id) => {
                let Row { id, side, price, lots, .. } = *row;
                let place = *found.entry(id).or_insert_with(|| {
                    let birth = Birth { before: 0, id, side, price, lots: Lots::ZERO };
                    unknown.push(Unknown { birth, first_row: index, gone: false, rests_on: false });
                    unknown.len() - 1
                });
                let order = &mut unknown[place];
                if !order.gone && (order.birth.side, order.birth.price) == (side, price) {
                    order.birth.lots += lots;
                    order.gone = kind == RowKind::Delete;
                    order.rests_on = kind == RowKind::Reduce;
                }
            }
            _ => {}
        }
    }
    for order in unknown.iter_mut().filter(|order| order.rests_on) {
        order.birth.lots += Lots(1);
    }
    unknown
}

/// The new orders whose id exceeds all before them, with their rows, if ids grow in this file.
pub(super) fn growing_ids(rows: &[Row]) -> Option<Vec<(u64, usize)>> {
    let mut records: Vec<(u64, usize)> = Vec::new();
    let mut orders = 0;
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind == RowKind::Limit) {
        orders += 1;
        if records.last().is_none_or(|(largest, _)| row.id > *largest) {
            records.push((row.id, index));
        }
    }
    (records.len() * 100 >= orders * GROWING_PERCENT).then_some(records)
}

/// For each unknown order the row after the last one before its first that proves its absence.
fn absences(rows: &[Row], unknown: &[Unknown]) -> Vec<usize> {
    let mut proofs = Side::BOTH.map(|side| {
        let of_side = unknown.iter().filter(|order| order.birth.side == side);
        Proofs::new(of_side.map(|order| merit(side, order.birth.price)).collect())
    });
    let mut cleared = 0;
    let mut next = unknown.iter().peekable();
    let mut absent = Vec::with_capacity(unknown.len());
    for (index, row) in rows.iter().enumerate() {
        if let Some(order) = next.next_if(|order| order.first_row == index) {
            let Birth { side, price, .. } = order.birth;
            absent.push(proofs[side.index()].last(merit(side, price)).max(cleared));
        }
        match row.kind {
            RowKind::Clear => cleared = index + 1,
            kind if kind.is_visible() => {
                let other = !row.side;
                proofs[other.index()].add(merit(other, row.price), index + 1);
                if kind == RowKind::Execute {
                    proofs[row.side.index()].add(merit(row.side, row.price) + 1, index + 1);
                }
            }
            _ => {}
        }
    }
    absent
}

/// The greater, the better a price is for a side: an order of the other side at `merit` crosses all from there up.
fn merit(side: Side, price: i64) -> i64 {
    side.sign() * price
}

/// The last proof at or below a merit: a Fenwick tree of maxima, as proofs come in order of their rows.
struct Proofs {
    merits: Vec<i64>,
    tree: Vec<usize>,
}

impl Proofs {
    fn new(mut merits: Vec<i64>) -> Proofs {
        merits.sort_unstable();
        merits.dedup();
        let tree = vec![0; merits.len() + 1];
        Proofs { merits, tree }
    }

    fn add(&mut self, merit: i64, row: usize) {
        let mut place = self.merits.partition_point(|known| *known < merit) + 1;
        while place < self.tree.len() {
            self.tree[place] = row;
            place += place & place.wrapping_neg();
        }
    }

    fn last(&self, merit: i64) -> usize {
        let mut place = self.merits.partition_point(|known| *known <= merit);
        let mut last = 0;
        while place > 0 {
            last = last.max(self.tree[place]);
            place &= place - 1;
        }
        last
    }
}
