//! What a queue-reactive flow is made of, checked and ready to draw from.

use numashock_engine::{Seed, Stream};

use super::super::poisson::{Column, Gap, RATE_MAX, alias};
use super::super::{FlowError, Rate, SIZE_MAX};
use super::invariant::Invariant;
use crate::{Lots, Side, Ticks};

/// The greatest number of queues a side: what a move of the reference price draws has its place in a stream.
pub const LEVELS_MAX: usize = 15;
/// The longest list of intensities, and the longest queue that the invariant law gives weight to.
pub const STATES_MAX: usize = 10_000;

/// What a queue depends on (market: 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueModel {
    /// I: on its own size.
    Independent,
    /// IIa: the second queue also on whether the first is empty.
    TwoSets,
    /// IIb: the same, and the first queue on the size class of the opposite first one.
    Opposite,
}

/// Intensities by the size of the queue, 0 units, 1, 2, …; the last entry of a list holds beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intensities {
    /// Limit orders.
    pub limit: Vec<Rate>,
    /// Cancellations; zero for an empty queue.
    pub cancel: Vec<Rate>,
    /// Market orders that consume the queue; zero for an empty queue.
    pub market: Vec<Rate>,
}

/// Intensities that hold while the opposite first queue is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeClass {
    /// The largest size of the class, in units.
    pub up_to: u64,
    /// What holds in it.
    pub intensities: Intensities,
}

/// A queue at a distance from the reference price, the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLaw {
    /// The unit in which its size is counted, and the size of each order.
    pub lots: Lots,
    /// What holds unless something below says otherwise.
    pub intensities: Intensities,
    /// Of the second queue, for [`QueueModel::TwoSets`] and [`QueueModel::Opposite`]: what holds while the first is
    /// empty.
    pub when_empty: Option<Intensities>,
    /// Of the first queue, for [`QueueModel::Opposite`]: what holds for each size class of the opposite one; its
    /// `intensities` hold beyond the last class.
    pub opposite: Vec<SizeClass>,
}

/// The book at the start of a queue-reactive flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartBook {
    /// Drawn from the invariant law of the queues. A side that would be empty gets one order at its best.
    Invariant,
    /// Orders in each queue of both sides, the nearest first.
    Given(Vec<u32>),
}

/// The flow of Huang, Lehalle and Rosenbaum (market: 3.1): queues at fixed distances from a reference price, whose
/// intensities depend on their size, and a reference price that follows the mid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReactiveConfig {
    /// What a queue depends on.
    pub model: QueueModel,
    /// The queues from the reference price outwards. Market orders come to the first, and to the second while the first
    /// is empty.
    pub queues: Vec<QueueLaw>,
    /// The chance that the reference price moves by a tick when the mid has moved, in parts per million.
    pub theta_ppm: u32,
    /// The chance that the book is then redrawn from the invariant law, in parts per million.
    pub theta_reinit_ppm: u32,
    /// The price of the first bid queue at the start; the reference price lies half a tick above it.
    pub bid: Ticks,
    /// The book at the start.
    pub start: StartBook,
}

/// What can happen to a queue, in the order of the columns.
pub(super) const KINDS: usize = 3;

/// The rates of one table: by kind, then by size.
#[derive(Clone, Debug)]
pub(super) struct Table {
    rates: [Vec<u64>; KINDS],
}

impl Table {
    fn new(intensities: &Intensities) -> Table {
        let Intensities { limit, cancel, market } = intensities;
        Table {
            rates: [limit, cancel, market]
                .map(|list| list.iter().map(|rate| rate.per_gigasecond).collect::<Vec<u64>>()),
        }
    }

    /// The rate of a kind at a size.
    #[inline]
    pub(super) fn rate(&self, kind: usize, size: u64) -> u64 {
        let list = &self.rates[kind];
        list[usize::try_from(size).map_or(list.len() - 1, |size| size.min(list.len() - 1))]
    }

    /// The size from which on nothing changes.
    pub(super) fn reach(&self) -> usize {
        self.rates.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// The tables of one queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) lots: Lots,
    usual: Table,
    when_empty: Option<Table>,
    opposite: Vec<(u64, Table)>,
}

impl Queue {
    /// The table that holds, by the sizes of the first queue of its side and of the opposite side.
    #[inline]
    pub(super) fn table(&self, first: u64, opposite: u64) -> &Table {
        match &self.when_empty {
            Some(table) if first == 0 => table,
            _ => {
                let class = self.opposite.iter().find(|(up_to, _)| opposite <= *up_to);
                class.map_or(&self.usual, |(_, table)| table)
            }
        }
    }

    /// The sum of the greatest rates.
    pub(super) fn bound(&self) -> u128 {
        greatest_rates(self).iter().map(|rate| u128::from(*rate)).sum()
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.usual].into_iter().chain(&self.when_empty).chain(self.opposite.iter().map(|(_, table)| table))
    }
}

/// The configuration, ready to draw from.
#[derive(Clone, Debug)]
pub(in super::super) struct ReactiveLaw {
    pub(super) queues: Vec<Queue>,
    /// Columns by queue and kind, weighted by the greatest rate each can have.
    pub(super) columns: Vec<Column>,
    /// Those rates.
    pub(super) greatest: Vec<u64>,
    pub(super) gap: Gap,
    pub(super) theta_ppm: u32,
    pub(super) reinit_ppm: u32,
    pub(super) bid: Ticks,
    pub(super) start: StartBook,
    pub(super) invariant: Invariant,
    /// Every draw means the other side.
    mirrored: bool,
}

impl ReactiveLaw {
    pub(in super::super) fn new(config: &QueueReactiveConfig, seed: Seed) -> Result<ReactiveLaw, FlowError> {
        check(config)?;
        let queues: Vec<Queue> = config.queues.iter().map(queue).collect();
        for (number, queue) in (1..).zip(&queues) {
            queue.tables().try_for_each(|table| check_stability(number, table))?;
        }
        let greatest: Vec<u64> = queues.iter().flat_map(greatest_rates).collect();
        let total = greatest.iter().try_fold(0u64, |sum, rate| sum.checked_add(*rate));
        let total = total.filter(|total| *total <= RATE_MAX).ok_or(FlowError::TooFast)?;
        if total == 0 {
            return Err(FlowError::Silent);
        }
        let invariant = Invariant::new(&queues, config.model, seed)?;
        Ok(ReactiveLaw {
            columns: alias(&greatest, total),
            greatest,
            gap: Gap::of(total),
            theta_ppm: config.theta_ppm,
            reinit_ppm: config.theta_reinit_ppm,
            bid: config.bid,
            start: config.start.clone(),
            invariant,
            mirrored: false,
            queues,
        })
    }

    /// The same draws for the other side each: the prices of the first queues change places.
    pub(in super::super) fn mirror(&mut self) {
        self.mirrored = !self.mirrored;
    }

    /// Bid plus ask of the first queues.
    pub(in super::super) fn reflection(&self) -> i64 {
        2 * self.bid.0 + 1
    }

    /// The side that a draw means.
    #[inline]
    pub(super) fn side(&self, drawn: Side) -> Side {
        if self.mirrored { !drawn } else { drawn }
    }

    /// Orders of each queue and drawn side at the start.
    pub(super) fn start(&self, stream: &mut Stream) -> Vec<[u32; 2]> {
        let mut orders = match &self.start {
            StartBook::Invariant => self.invariant.draw(|| stream.next_u64()),
            StartBook::Given(orders) => orders.iter().map(|orders| [*orders; 2]).collect(),
        };
        for side in 0..2 {
            if orders.iter().all(|queue| queue[side] == 0) {
                orders[0][side] = 1;
            }
        }
        orders
    }
}

fn queue(law: &QueueLaw) -> Queue {
    Queue {
        lots: law.lots,
        usual: Table::new(&law.intensities),
        when_empty: law.when_empty.as_ref().map(Table::new),
        opposite: law.opposite.iter().map(|class| (class.up_to, Table::new(&class.intensities))).collect(),
    }
}

fn greatest_rates(queue: &Queue) -> [u64; KINDS] {
    [0, 1, 2].map(|kind| {
        let lists = queue.tables().flat_map(|table| &table.rates[kind]);
        lists.copied().max().unwrap_or(0)
    })
}

fn check(config: &QueueReactiveConfig) -> Result<(), FlowError> {
    let refuse = |queue, problem| Err(FlowError::Queue { queue, problem });
    if config.queues.is_empty() || config.queues.len() > LEVELS_MAX {
        return refuse(0, "expected 1 to 15 queues a side");
    }
    if config.bid.0.unsigned_abs() > 1 << 40 {
        return Err(FlowError::Price(config.bid));
    }
    if config.theta_ppm > 1_000_000 || config.theta_reinit_ppm > 1_000_000 {
        return refuse(0, "theta and theta_reinit are chances: expected at most 100%");
    }
    let (second, first) = (config.model != QueueModel::Independent, config.model == QueueModel::Opposite);
    for (number, queue) in (1..).zip(&config.queues) {
        if queue.lots == Lots::ZERO || queue.lots > Lots(SIZE_MAX) {
            return Err(FlowError::Size(queue.lots));
        }
        match (queue.when_empty.is_some(), second && number == 2) {
            (true, false) => {
                return refuse(number, "when_empty belongs to the second queue of two-sets or opposite");
            }
            (false, true) => return refuse(number, "this model needs when_empty at the second queue"),
            _ => {}
        }
        match (!queue.opposite.is_empty(), first && number == 1) {
            (true, false) => {
                return refuse(number, "opposite belongs to the first queue of the opposite model");
            }
            (false, true) => {
                return refuse(number, "this model needs size classes (opposite) at the first queue");
            }
            _ => {}
        }
        if !queue.opposite.windows(2).all(|pair| pair[0].up_to < pair[1].up_to) {
            return refuse(number, "the size classes must grow: each up_to above the one before");
        }
        check_lists(number, queue)?;
    }
    if let StartBook::Given(orders) = &config.start {
        if orders.len() != config.queues.len() {
            return refuse(0, "the starting book needs one number of orders for each queue");
        }
        let total: u64 = orders.iter().map(|orders| u64::from(*orders) * 2).sum();
        if total > super::super::ORDERS_MAX {
            return Err(FlowError::Orders(total));
        }
    }
    Ok(())
}

/// Every list of a queue by itself.
fn check_lists(number: usize, queue: &QueueLaw) -> Result<(), FlowError> {
    let refuse = |problem| Err(FlowError::Queue { queue: number, problem });
    let reached = |list: &[Rate]| list.iter().any(|rate| *rate > Rate::default());
    let classes = queue.opposite.iter().map(|class| &class.intensities);
    for (of_empty, table) in [(false, &queue.intensities)]
        .into_iter()
        .chain(queue.when_empty.iter().map(|table| (true, table)))
        .chain(classes.map(|table| (false, table)))
    {
        let lists = [&table.limit, &table.cancel, &table.market];
        if lists.iter().any(|list| list.is_empty() || list.len() > STATES_MAX) {
            return refuse("limit, cancel and market need 1 to 10000 entries each, for 0, 1, 2… units");
        }
        if lists.iter().flat_map(|list| list.iter()).any(|rate| rate.per_gigasecond > RATE_MAX) {
            return Err(FlowError::TooFast);
        }
        if reached(&table.cancel[..1]) || reached(&table.market[..1]) {
            return refuse(
                "the first entries of cancel and market are for an empty queue: they must be zero",
            );
        }
        if reached(&table.market) && !(number == 1 || number == 2 && of_empty) {
            return refuse(
                "market orders reach the first queue, and the second while the first is empty (when_empty): set \
                 market = [\"0/s\"]",
            );
        }
    }
    Ok(())
}

/// A queue must be able to shrink at every size, and faster than it grows from some size on.
fn check_stability(number: usize, table: &Table) -> Result<(), FlowError> {
    let refuse = |problem| Err(FlowError::Queue { queue: number, problem });
    let leave = |size| u128::from(table.rate(1, size)) + u128::from(table.rate(2, size));
    let reach = table.reach() as u64;
    if (1..=reach).any(|size| leave(size) == 0) {
        return refuse("orders must be able to leave at every size: give a cancel or market rate above zero");
    }
    if u128::from(table.rate(0, reach)) >= leave(reach) {
        return refuse(
            "it grows without end: the last cancel and market rates together must exceed the last limit rate",
        );
    }
    Ok(())
}
