//! The best quotes of the Cont–Stoikov–Talreja market: which way the mid moves, and what an own order there is worth
//! (market: 1.2, propositions 3, 5 and 6).
//!
//! A path ends when the mid moves. What follows a state is independent of what led to it, so a path is a sample for every
//! state of the table that it meets, counted at the first meeting.

use std::sync::Arc;

use numashock_book::flow::{self, Exogenous, Flow, FlowError, InitialBook, Kind, PoissonConfig, Sizes};
use numashock_book::{Book, Fill, HalfTicks, Lots, OrderId, Side, Stamp, Ticks};
use numashock_engine::{Nanos, Seed};
use numashock_sim::scenario::units::Rate;
use serde::Deserialize;

use super::chain::{Ends, Pair};
use super::limits::{self, Demand};
use super::{Case, Effort, Quantity, Wrong, pieces};

pub(super) const UP_ABOUT: &str = "P(the mid moves up first) from each pair of best queues (proposition 3)";
pub(super) const FILL_ABOUT: &str = "P(an own bid that never cancels fills before the mid moves); bid counts the own order, which is last (proposition 5)";
pub(super) const SPREAD_ABOUT: &str = "P(an own bid and an own ask, each last in its queue, both fill before the mid moves) (proposition 6); \
     bid b ask a stands for its mirror image too";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("samples", "paths, spread over the table; each counts for every pair of queues that it meets"),
    (
        "limit",
        "list of rates of limit orders at 1, 2, ... ticks from the opposite best; as long as the spread at least",
    ),
    ("market", "rate of market orders of a side"),
    ("cancel", "list of rates at which each order cancels, by distance; the last holds beyond the list"),
    ("spread", "ticks from bid to ask"),
    ("bid", "list of numbers of orders at the best bid"),
    ("ask", "list of numbers of orders at the best ask"),
];

const QUEUE_MAX: u32 = 200;
const PIECE: u64 = 2_000;
pub(super) const BID: Ticks = Ticks(0);

/// The market and the table of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Best {
    pub(super) samples: u64,
    pub(super) limit: Vec<Rate>,
    pub(super) market: Rate,
    pub(super) cancel: Vec<Rate>,
    pub(super) spread: u32,
    pub(super) bid: Vec<u32>,
    pub(super) ask: Vec<u32>,
}

impl Best {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if self.spread == 0 || self.limit.len() < self.spread as usize {
            return Err(Wrong::new(
                "limit",
                "expected a rate for every distance up to the spread, which is at least 1",
            ));
        }
        if self.cancel.is_empty() {
            return Err(Wrong::new("cancel", "expected at least one rate"));
        }
        for (key, list) in [("bid", &self.bid), ("ask", &self.ask)] {
            let good = |orders: &u32| (1..=QUEUE_MAX).contains(orders);
            limits::some_entries(key, list, format!("numbers, each 1 to {QUEUE_MAX}"), good)?;
        }
        let pair = self.pair();
        let ends = pair.market > 0.0 || pair.cancel > 0.0;
        let longest = self.bid.iter().chain(&self.ask).max().copied().unwrap_or(1) as usize;
        if !ends || pair.cut(longest).is_none() {
            let problem = "expected rates under which queues stay below 600 orders: raise market or cancel, or lower limit";
            return Err(Wrong::new("market", problem));
        }
        Ok(())
    }

    /// What paths ask for that end when the mid moves.
    pub(super) fn demand(&self, least: u64) -> Demand {
        let longest = self.bid.iter().chain(&self.ask).max().copied().unwrap_or(1) as usize;
        let each = self.pair().events(longest);
        Demand {
            samples: Some(self.samples),
            least,
            events: self.samples as f64 * each,
            each,
            seconds: self.pair().seconds(longest),
            key: "market",
        }
    }

    /// The fewest paths over a table.
    fn least(&self) -> u64 {
        10 * (self.bid.len() * self.ask.len()) as u64
    }

    fn cancel_at(&self, distance: usize) -> Rate {
        self.cancel[(distance - 1).min(self.cancel.len() - 1)]
    }

    pub(super) fn pair(&self) -> Pair {
        let per_second = |rate: Rate| rate.0 as f64 / 1e9;
        let spread = self.spread as usize;
        Pair {
            join: per_second(self.limit[spread - 1]),
            market: per_second(self.market),
            cancel: per_second(self.cancel_at(spread)),
            inside: self.limit[..spread - 1].iter().map(|rate| per_second(*rate)).sum(),
        }
    }

    pub(super) fn cut(&self) -> usize {
        let longest = self.bid.iter().chain(&self.ask).max().copied().unwrap_or(1) as usize;
        self.pair().cut(longest).expect("checked when read")
    }

    /// The market around its best quotes. Orders further away than the spread rest behind them and cannot reach them before
    /// the mid has moved, so they are left out.
    fn config(&self, bid: u32, ask: u32) -> PoissonConfig {
        let rate = |rate: Rate| flow::Rate { per_gigasecond: rate.0 };
        let spread = self.spread as usize;
        PoissonConfig {
            limit: self.limit[..spread].iter().copied().map(rate).collect(),
            cancel: (1..=spread).map(|distance| rate(self.cancel_at(distance))).collect(),
            market: rate(self.market),
            sizes: Sizes::Fixed(Lots(1)),
            initial: InitialBook {
                bid: BID,
                spread: self.spread,
                bid_orders: vec![bid.max(1)],
                ask_orders: vec![ask.max(1)],
            },
        }
    }

    /// The pairs of the table, row by row.
    fn cells(&self) -> Vec<(u32, u32)> {
        self.bid.iter().flat_map(|bid| self.ask.iter().map(move |ask| (*bid, *ask))).collect()
    }
}

/// Two best queues of the real book under the real flow, with own orders at their ends.
#[derive(Clone)]
pub(super) struct World {
    pub(super) flow: Flow,
    book: Book,
    fills: Vec<Fill>,
    mid: HalfTicks,
}

impl World {
    /// Queues of `bid` and `ask` orders, the last of them an own one on the sides in `own`.
    pub(super) fn new(
        best: &Best,
        (bid, ask): (u32, u32),
        own: &[Side],
        seed: Seed,
    ) -> Result<World, FlowError> {
        let others = |side: Side, orders: u32| orders - u32::from(own.contains(&side));
        let (bids, asks) = (others(Side::Buy, bid), others(Side::Sell, ask));
        let exogenous = Exogenous::poisson(&best.config(bids, asks), seed, Nanos::NEVER)?;
        let mut book = Book::new();
        let mut flow = Flow::new(Arc::new(exogenous), &mut book);
        // A flow begins with an order on each side; where an own one stands alone, that one makes room.
        if bids == 0 {
            book.cancel(OrderId(0));
        }
        if asks == 0 {
            book.cancel(OrderId(bids.max(1).into()));
        }
        for side in own {
            let price = if *side == Side::Buy { BID } else { Ticks(BID.0 + i64::from(best.spread)) };
            let id = OrderId::own(side.index() as u64);
            assert!(book.post_only(id, *side, price, Lots(1), Stamp(0)), "the quotes do not cross");
        }
        if !own.is_empty() {
            flow.own_order_changed(Nanos::ZERO, &book);
        }
        let mid = HalfTicks(2 * BID.0 + i64::from(best.spread));
        Ok(World { flow, book, fills: Vec::new(), mid })
    }

    /// Sends an own bid to the end of the queue.
    pub(super) fn join(&mut self, now: Nanos) {
        let id = OrderId::own(Side::Buy.index() as u64);
        assert!(self.book.post_only(id, Side::Buy, BID, Lots(1), now.into()), "the quotes have not moved");
        self.flow.own_order_changed(now, &self.book);
    }

    /// Applies the next event; true if it was a bid that joined the book.
    pub(super) fn step(&mut self) -> bool {
        let happened = self.flow.step(&mut self.book, &mut self.fills);
        self.fills.clear();
        happened.kind == Kind::Limit && happened.side == Side::Buy
    }

    /// Which way the mid has moved: a side that emptied moved it away.
    pub(super) fn moved(&self) -> Option<Side> {
        match self.book.mid() {
            Some(mid) if mid == self.mid => None,
            Some(mid) => Some(if mid > self.mid { Side::Buy } else { Side::Sell }),
            None if self.book.best(Side::Sell).is_none() => Some(Side::Buy),
            None => Some(Side::Sell),
        }
    }

    pub(super) fn orders(&self, side: Side, price: Ticks) -> u32 {
        u32::try_from(self.book.orders_at(side, price)).expect("queues are short")
    }

    /// An own order's rank, the first being 1; none once it has filled.
    pub(super) fn rank(&self, side: Side) -> Option<u32> {
        let ahead = self.book.ahead(OrderId::own(side.index() as u64))?;
        Some(u32::try_from(ahead.orders).expect("queues are short") + 1)
    }
}

/// Trials and successes by cell.
#[derive(Clone)]
struct Tally {
    /// Where a pair of queues stands in the table.
    place: Vec<Option<u32>>,
    width: usize,
    /// Trials and successes by place.
    counts: Vec<[u64; 2]>,
    /// Places met by the current path, in the order in which they were met.
    met: Vec<u32>,
}

impl Tally {
    fn new(cells: &[(u32, u32)]) -> Tally {
        let width = cells.iter().flat_map(|(bid, ask)| [*bid, *ask]).max().unwrap_or(0) as usize + 1;
        let mut place = vec![None; width * width];
        for (index, (bid, ask)) in cells.iter().enumerate() {
            place[*bid as usize * width + *ask as usize] = Some(index as u32);
        }
        Tally { place, width, counts: vec![[0; 2]; cells.len()], met: Vec::new() }
    }

    fn meet(&mut self, bid: u32, ask: u32) {
        if bid as usize >= self.width || ask as usize >= self.width {
            return;
        }
        if let Some(place) = self.place[bid as usize * self.width + ask as usize] {
            if !self.met.contains(&place) {
                self.met.push(place);
            }
        }
    }

    fn end(&mut self, success: bool) {
        for place in self.met.drain(..) {
            let [trials, hits] = &mut self.counts[place as usize];
            *trials += 1;
            *hits += u64::from(success);
        }
    }
}

/// Runs paths and adds up what they met.
fn tables(
    best: &Best,
    cells: &[(u32, u32)],
    (effort, seed): (Effort, Seed),
    path: impl Fn((u32, u32), Seed, &mut Tally) -> Result<(), FlowError> + Sync,
) -> Result<Vec<[u64; 2]>, Wrong> {
    let samples = effort.samples(best.samples, 10 * cells.len() as u64);
    let empty = Tally::new(cells);
    let piece = |range: core::ops::Range<u64>| {
        let mut tally = empty.clone();
        for index in range {
            // A path begins where least is known so far, which depends on what came before it and on nothing that follows.
            let least = tally.counts.iter().enumerate().min_by_key(|(_, [trials, _])| *trials);
            let start = cells[least.expect("a table has cells").0];
            path(start, seed.replication(index), &mut tally)?;
        }
        Ok(tally.counts)
    };
    let mut sums = vec![[0; 2]; cells.len()];
    let mut outcome = Ok(());
    pieces(samples, PIECE, piece, |counts: Result<Vec<[u64; 2]>, FlowError>| match counts {
        Ok(counts) => add(&mut sums, &counts),
        Err(error) => outcome = Err(Wrong::new("", error.to_string())),
    });
    outcome.map(|()| sums)
}

/// Adds trials and successes, place by place.
pub(super) fn add(sums: &mut [[u64; 2]], counts: &[[u64; 2]]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        sum[0] += count[0];
        sum[1] += count[1];
    }
}

fn shares(
    cells: &[(u32, u32)],
    counts: &[[u64; 2]],
    name: &str,
    reference: impl Fn(usize, usize) -> f64,
) -> Vec<Quantity> {
    let each = cells.iter().zip(counts);
    each.map(|((bid, ask), [trials, hits])| {
        let known = reference(*bid as usize - 1, *ask as usize - 1);
        Quantity::share(format!("{name}, bid {bid} ask {ask}"), *hits, *trials, Some(known))
    })
    .collect()
}

/// Proposition 3.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct MidUp(Best);

impl Case for MidUp {
    fn check(&self) -> Result<(), Wrong> {
        self.0.check()
    }

    fn demand(&self) -> Demand {
        self.0.demand(self.0.least())
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let (best, cells) = (&self.0, self.0.cells());
        let ask = Ticks(BID.0 + i64::from(best.spread));
        let counts = tables(best, &cells, (effort, seed), |start, seed, tally| {
            let mut world = World::new(best, start, &[], seed)?;
            loop {
                tally.meet(world.orders(Side::Buy, BID), world.orders(Side::Sell, ask));
                world.step();
                if let Some(side) = world.moved() {
                    tally.end(side == Side::Buy);
                    return Ok(());
                }
            }
        })?;
        let up = best.pair().mid_up(best.cut());
        Ok(shares(&cells, &counts, "P(up)", |bid, ask| up[bid][ask]))
    }
}

/// Proposition 5.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct BidFill(Best);

impl Case for BidFill {
    fn check(&self) -> Result<(), Wrong> {
        self.0.check()
    }

    fn demand(&self) -> Demand {
        self.0.demand(self.0.least())
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let (best, cells) = (&self.0, self.0.cells());
        let ask = Ticks(BID.0 + i64::from(best.spread));
        let counts = tables(best, &cells, (effort, seed), |start, seed, tally| {
            let mut world = World::new(best, start, &[Side::Buy], seed)?;
            while let (Some(rank), None) = (world.rank(Side::Buy), world.moved()) {
                tally.meet(rank, world.orders(Side::Sell, ask));
                world.step();
            }
            tally.end(world.rank(Side::Buy).is_none());
            Ok(())
        })?;
        let ranks = best.bid.iter().max().copied().unwrap_or(1) as usize;
        let fills = best.pair().bid(Ends { fills: 1.0, up: 0.0, down: 0.0 }, ranks, best.cut());
        Ok(shares(&cells, &counts, "P(fill)", |bid, ask| fills[bid][ask]))
    }
}

/// Proposition 6.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct MakeSpread(Best);

impl Case for MakeSpread {
    fn check(&self) -> Result<(), Wrong> {
        self.0.check()?;
        if self.0.market.0 == 0 {
            return Err(Wrong::new("market", "expected a rate above zero: nothing else fills own orders"));
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        self.0.demand(self.0.least())
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let best = &self.0;
        let ask = Ticks(BID.0 + i64::from(best.spread));
        // The law is the same with the sides exchanged, so mirror images are one cell, begun from both.
        let all = best.cells();
        let twice = |cell: &&(u32, u32)| cell.0 > cell.1 && all.contains(&(cell.1, cell.0));
        let cells: Vec<(u32, u32)> = all.iter().filter(|cell| !twice(cell)).copied().collect();
        let both = [Side::Buy, Side::Sell];
        let counts = tables(best, &cells, (effort, seed), |start, seed, tally| {
            let turned = seed.0 % 2 == 1;
            let turn = |(bid, ask)| if turned { (ask, bid) } else { (bid, ask) };
            let mut world = World::new(best, turn(start), &both, seed)?;
            let mut ranks = both.map(|side| world.rank(side));
            while ranks != [None; 2] && world.moved().is_none() {
                if let [Some(bid_rank), Some(ask_rank)] = ranks {
                    // With nobody behind the own orders it is the beginning of a path.
                    if bid_rank == world.orders(Side::Buy, BID) && ask_rank == world.orders(Side::Sell, ask) {
                        let (bid, ask) = turn((bid_rank, ask_rank));
                        tally.meet(bid, ask);
                    }
                }
                world.step();
                ranks = both.map(|side| world.rank(side));
            }
            tally.end(ranks == [None; 2]);
            Ok(())
        })?;
        let longest = best.bid.iter().chain(&best.ask).max().copied().unwrap_or(1) as usize;
        let values = best.pair().both(longest, best.cut());
        Ok(shares(&cells, &counts, "P(both fill)", |bid, ask| values[bid][ask]))
    }
}
