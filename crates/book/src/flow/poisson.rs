//! The Cont–Stoikov–Talreja flow (market: 1.1).

use numashock_engine::{Nanos, Seed, Stream, sample};

use super::hazards::{Hazards, Mortal};
use super::{FlowError, Happened, HawkesTape, InitialBook, Kind, ORDERS_MAX, PoissonConfig, SIZE_MAX, Sizes};
use crate::{Book, Fill, Lots, OrderId, Side, Stamp, Ticks};

/// One event a nanosecond, in events per 10⁹ s.
pub(super) const RATE_MAX: u64 = 1_000_000_000_000_000_000;

/// The configuration, ready to draw from.
#[derive(Clone, Debug)]
pub(super) struct Law {
    /// Columns 0.. are limit orders at distances 1.., the last one is market orders.
    columns: Vec<Column>,
    gap: Gap,
    cancel: Vec<u64>,
    sizes: Sizes,
    initial: InitialBook,
    /// Every draw means the other side.
    mirrored: bool,
}

/// A column of an alias table: below `own` out of 2⁶⁴ the draw is the column itself, otherwise `other`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    own: u64,
    other: u32,
}

impl Column {
    /// A side and a column from one word: its top part picks both, what remains decides within the column. A rate is off
    /// by less than the number of columns in 2⁶⁴.
    #[inline]
    pub(super) fn pick(columns: &[Column], word: u64) -> (Side, usize) {
        let wide = u128::from(word) * (2 * columns.len() as u128);
        let (pick, rest) = ((wide >> 64) as usize, wide as u64);
        let column = columns[pick / 2];
        let index = if rest < column.own { pick / 2 } else { column.other as usize };
        (Side::BOTH[pick % 2], index)
    }
}

/// The mean gap between arrivals of both sides, in ns × 2²⁰.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap(u128);

impl Gap {
    /// For a rate of each side above zero.
    pub(super) fn of(rate: u64) -> Gap {
        Gap((u128::from(RATE_MAX) << 20) / (u128::from(rate) * 2))
    }

    /// Moves a clock, in ns × 2²⁰, to the next arrival.
    #[inline]
    pub(super) fn pass(self, clock: &mut u128, stream: &mut Stream) -> Nanos {
        *clock += (u128::from(sample::unit_exponential(stream)) * self.0) >> 40;
        u64::try_from(*clock >> 20).map_or(Nanos::NEVER, Nanos)
    }
}

impl Law {
    pub(super) fn new(config: &PoissonConfig) -> Result<Law, FlowError> {
        let weights: Vec<u64> =
            config.limit.iter().chain([&config.market]).map(|rate| rate.per_gigasecond).collect();
        let total = weights.iter().try_fold(0u64, |sum, weight| sum.checked_add(*weight));
        let total = total.filter(|total| *total <= RATE_MAX).ok_or(FlowError::TooFast)?;
        if total == 0 {
            return Err(FlowError::Silent);
        }
        if config.cancel.is_empty() {
            return Err(FlowError::NoCancelRate);
        }
        if config.cancel.iter().any(|rate| rate.per_gigasecond > RATE_MAX) {
            return Err(FlowError::TooFast);
        }
        let (Sizes::Fixed(size) | Sizes::Geometric { mean: size }) = config.sizes;
        if size == Lots::ZERO || size > Lots(SIZE_MAX) {
            return Err(FlowError::Size(size));
        }
        check(&config.initial)?;
        Ok(Law {
            columns: alias(&weights, total),
            gap: Gap::of(total),
            cancel: config.cancel.iter().map(|rate| rate.per_gigasecond).collect(),
            sizes: config.sizes,
            initial: config.initial.clone(),
            mirrored: false,
        })
    }

    /// The same draws for the other side each: the initial book is reflected around its mid.
    pub(super) fn mirror(&mut self) {
        self.mirrored = !self.mirrored;
        let InitialBook { bid_orders, ask_orders, .. } = &mut self.initial;
        std::mem::swap(bid_orders, ask_orders);
    }

    /// Bid plus ask at the start.
    pub(super) fn reflection(&self) -> i64 {
        2 * self.initial.bid.0 + i64::from(self.initial.spread)
    }

    /// The side that a draw means.
    #[inline]
    fn side(&self, drawn: Side) -> Side {
        if self.mirrored { !drawn } else { drawn }
    }

    #[inline]
    pub(super) fn cancel_rate(&self, distance: i64) -> u64 {
        let index =
            usize::try_from(distance - 1).expect("orders rest at least one tick from the opposite best");
        self.cancel[index.min(self.cancel.len() - 1)]
    }

    #[inline]
    fn size(&self, stream: &mut Stream) -> Lots {
        match self.sizes {
            Sizes::Fixed(lots) => lots,
            Sizes::Geometric { mean } => Lots(1 + sample::failures_before_success(stream, 1, mean.0)),
        }
    }
}

fn check(initial: &InitialBook) -> Result<(), FlowError> {
    if initial.spread == 0 {
        return Err(FlowError::ZeroSpread);
    }
    if initial.bid.0.unsigned_abs() > 1 << 40 {
        return Err(FlowError::Price(initial.bid));
    }
    let orders = initial.bid_orders.iter().chain(&initial.ask_orders).map(|orders| u64::from(*orders)).sum();
    if orders > ORDERS_MAX {
        return Err(FlowError::Orders(orders));
    }
    for (side, orders) in [(Side::Buy, &initial.bid_orders), (Side::Sell, &initial.ask_orders)] {
        if orders.first().is_none_or(|best| *best == 0) {
            return Err(FlowError::EmptySide(side));
        }
    }
    Ok(())
}

/// Vose's alias table over integer weights: every column holds `total`.
pub(super) fn alias(weights: &[u64], total: u64) -> Vec<Column> {
    let full = u128::from(total);
    let mut left: Vec<u128> =
        weights.iter().map(|weight| u128::from(*weight) * weights.len() as u128).collect();
    let mut columns: Vec<Column> = (0..weights.len() as u32).map(|other| Column { own: 0, other }).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|index| left[*index] < full);
    while let (Some(under), Some(over)) = (small.pop(), large.last().copied()) {
        columns[under] = Column { own: ((left[under] << 64) / full) as u64, other: over as u32 };
        left[over] -= full - left[under];
        if left[over] < full {
            large.pop();
            small.push(over);
        }
    }
    columns
}

/// An arrival, as it is in every world.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Nanos,
    side: Side,
    lots: Lots,
    kind: ArrivalKind,
}

#[derive(Clone, Copy, Debug)]
enum ArrivalKind {
    Limit { distance: i64, lifetime: u64 },
    Market,
}

/// The tape of arrivals, drawn one after another from a stream that nothing else uses.
#[derive(Clone, Debug)]
struct Tape {
    stream: Stream,
    /// The last arrival, in ns × 2²⁰.
    clock: u128,
    until: Nanos,
    /// Market orders, if they come from a tape of their own.
    markets: Option<Box<Markets>>,
}

/// Market orders beside the tape.
#[derive(Clone, Debug)]
struct Markets {
    tape: HawkesTape,
    sizes: Stream,
    next: Option<(Nanos, Side)>,
    /// The tape's next arrival, which waits for its turn.
    limit: Option<Arrival>,
}

impl Tape {
    fn new(law: &Law, seed: Seed, until: Nanos, markets: Option<Box<HawkesTape>>) -> Tape {
        let mut tape = Tape { stream: seed.stream("flow", 0), clock: 0, until, markets: None };
        tape.markets = markets.map(|mut markets| {
            let (next, limit) = (markets.next(), tape.draw(law));
            Box::new(Markets { tape: *markets, sizes: seed.stream("flow", 3), next, limit })
        });
        tape
    }

    #[inline]
    fn next(&mut self, law: &Law) -> Option<Arrival> {
        if self.markets.is_some() { self.next_of_both(law) } else { self.draw(law) }
    }

    /// The earlier of a limit order and a market order; at the same nanosecond the limit order.
    fn next_of_both(&mut self, law: &Law) -> Option<Arrival> {
        let mut markets = self.markets.take()?;
        let until = self.until;
        let market = markets.next.filter(|(at, _)| *at < until);
        let next = match (markets.limit, market) {
            (Some(limit), market) if market.is_none_or(|(at, _)| limit.at <= at) => {
                markets.limit = self.draw(law);
                Some(limit)
            }
            (_, Some((at, side))) => {
                markets.next = markets.tape.next();
                let side = law.side(side);
                Some(Arrival { at, side, lots: law.size(&mut markets.sizes), kind: ArrivalKind::Market })
            }
            _ => None,
        };
        self.markets = Some(markets);
        next
    }

    #[inline]
    fn draw(&mut self, law: &Law) -> Option<Arrival> {
        let at = law.gap.pass(&mut self.clock, &mut self.stream);
        if at >= self.until {
            return None;
        }
        let (drawn, column) = Column::pick(&law.columns, self.stream.next_u64());
        let side = law.side(drawn);
        let lots = law.size(&mut self.stream);
        let kind = if column + 1 == law.columns.len() {
            ArrivalKind::Market
        } else {
            let lifetime = sample::unit_exponential(&mut self.stream);
            ArrivalKind::Limit { distance: column as i64 + 1, lifetime }
        };
        Some(Arrival { at, side, lots, kind })
    }
}

/// One world.
#[derive(Clone, Debug)]
pub(super) struct PoissonFlow {
    tape: Tape,
    pending: Option<Arrival>,
    /// The best bid and ask from which distances are measured. A side that empties keeps its last best.
    reference: [Ticks; 2],
    hazards: Hazards,
    /// Ids count arrivals, so that an order has the same one in every world.
    next_id: u64,
}

impl PoissonFlow {
    pub(super) fn new(
        law: &Law,
        seed: Seed,
        until: Nanos,
        markets: Option<Box<HawkesTape>>,
        book: &mut Book,
    ) -> PoissonFlow {
        let initial = &law.initial;
        let best = [initial.bid, Ticks(initial.bid.0 + i64::from(initial.spread))];
        let tape = Tape::new(law, seed, until, markets);
        let mut flow =
            PoissonFlow { tape, pending: None, reference: best, hazards: Hazards::new(), next_id: 0 };
        let mut stream = seed.stream("flow", 1);
        for drawn in Side::BOTH {
            let side = law.side(drawn);
            let orders = [&initial.bid_orders, &initial.ask_orders][side.index()];
            for (depth, count) in orders.iter().enumerate() {
                for _ in 0..*count {
                    let price = best[side.index()].behind(side, depth as i64);
                    let order = flow.mortal(side, price, sample::unit_exponential(&mut stream));
                    let lots = law.size(&mut stream);
                    let rests = book.post_only(order.id, side, price, lots, Stamp(0));
                    assert!(rests, "the initial book does not trade");
                    let distance = side.sign() * (best[(!side).index()] - price);
                    flow.hazards.add(Nanos::ZERO, &order, law.cancel_rate(distance), book);
                }
            }
        }
        flow.pending = flow.tape.next(law);
        flow.refresh(law, Nanos::ZERO, book);
        flow
    }

    #[inline]
    pub(super) fn next_at(&self) -> Nanos {
        let arrival = self.pending.map_or(Nanos::NEVER, |arrival| arrival.at);
        let next = arrival.min(self.hazards.next_at());
        if next < self.tape.until { next } else { Nanos::NEVER }
    }

    /// Applies the next event; at the same nanosecond a cancel comes before an arrival. An order that comes to rest gets
    /// `stamp`.
    pub(super) fn step(
        &mut self,
        law: &Law,
        stamp: Stamp,
        book: &mut Book,
        fills: &mut Vec<Fill>,
    ) -> Happened {
        let now = self.next_at();
        assert!(now < Nanos::NEVER, "the flow has not ended");
        let happened = if self.hazards.next_at() == now {
            let id = self.hazards.pop();
            let (side, price, lots) = book.order(id).expect("the first order to cancel rests");
            book.cancel(id);
            Happened { at: now, kind: Kind::Cancel, id, side, price, lots, clipped: Lots::ZERO }
        } else {
            let arrival = self.pending.take().expect("an arrival is due");
            self.pending = self.tape.next(law);
            self.arrive(law, (arrival, stamp), book, fills)
        };
        self.refresh(law, now, book);
        happened
    }

    fn arrive(
        &mut self,
        law: &Law,
        (arrival, stamp): (Arrival, Stamp),
        book: &mut Book,
        fills: &mut Vec<Fill>,
    ) -> Happened {
        let Arrival { at, side, lots, kind } = arrival;
        let opposite = self.reference[(!side).index()];
        match kind {
            ArrivalKind::Limit { distance, lifetime } => {
                let price = opposite.behind(side, distance);
                let order = self.mortal(side, price, lifetime);
                let rests = book.post_only(order.id, side, price, lots, stamp);
                assert!(rests, "a limit order keeps its distance from the opposite best");
                self.hazards.add(at, &order, law.cancel_rate(distance), book);
                Happened { at, kind: Kind::Limit, id: order.id, side, price, lots, clipped: Lots::ZERO }
            }
            ArrivalKind::Market => {
                let id = OrderId(self.next_id);
                self.next_id += 1;
                let clipped = book.take(id, side, lots, None, fills);
                Happened { at, kind: Kind::Market, id, side, price: opposite, lots, clipped }
            }
        }
    }

    /// Takes over the book's best quotes and drops orders that have gone.
    pub(super) fn refresh(&mut self, law: &Law, now: Nanos, book: &Book) {
        for side in Side::BOTH {
            let before = self.reference[side.index()];
            let Some(best) = book.best(side) else { continue };
            if best.price != before {
                self.reference[side.index()] = best.price;
                let reach = law.cancel.len() as i64;
                let rate_at = |distance| law.cancel_rate(distance);
                self.hazards.rerate(now, !side, (before, best.price), reach, rate_at);
            }
        }
        self.hazards.settle(book);
    }

    fn mortal(&mut self, side: Side, price: Ticks, lifetime: u64) -> Mortal {
        self.next_id += 1;
        Mortal { id: OrderId(self.next_id - 1), side, price, lifetime }
    }
}

/// Every order's lifetime, as the tape gives it.
#[cfg(test)]
pub(super) fn lifetimes(law: &Law, seed: Seed, until: Nanos) -> Vec<(OrderId, u64)> {
    let mut all = Vec::new();
    let mut stream = seed.stream("flow", 1);
    let initial: u32 = law.initial.bid_orders.iter().chain(&law.initial.ask_orders).sum();
    for _ in 0..initial {
        all.push((OrderId(all.len() as u64), sample::unit_exponential(&mut stream)));
        law.size(&mut stream);
    }
    let mut tape = Tape::new(law, seed, until, None);
    let mut next_id = all.len() as u64;
    while let Some(arrival) = tape.next(law) {
        if let ArrivalKind::Limit { lifetime, .. } = arrival.kind {
            all.push((OrderId(next_id), lifetime));
        }
        next_id += 1;
    }
    all
}
