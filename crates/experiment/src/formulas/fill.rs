//! One queue: how long an own order waits, and whether it fills before the price moves (market: 2).
//!
//! Every path runs the real flow and book from the longest queue asked for; each shorter one is met on the way, and what
//! follows is then independent of what came before, so that one path serves all of them.

use std::sync::Arc;

use numashock_book::flow::{Exogenous, Flow, FlowError, InitialBook, PoissonConfig, Sizes};
use numashock_book::{Book, Fill, Lots, OrderId, Side, Stamp, Ticks};
use numashock_engine::{Nanos, Seed};
use numashock_sim::scenario::units::{Rate, Time};
use serde::Deserialize;

use super::{Case, Effort, Moments, Origin, Quantity, Wrong, pieces};

pub(super) const TIME_ABOUT: &str = "the time until an own order fills that never cancels: Beta law of exp(-theta T), Erlang without cancellation";
pub(super) const TIME_KEYS: &[(&str, &str)] = &[
    ("samples", "paths; each serves every queue length"),
    ("limit", "rate of limit orders that join the own price"),
    ("market", "rate of market orders against it, above zero"),
    ("cancel", "rate at which each order ahead cancels, may be \"0/s\""),
    ("ahead", "list of numbers of orders ahead"),
    ("unit", "the time in which figures are printed, such as \"1s\" or \"1min\""),
    ("quantiles", "list of chances such as 0.95; may be empty"),
    ("times", "list of times at which P(T <= t) is compared; may be empty"),
];

/// Longest queue that a case may ask for.
const AHEAD_MAX: u32 = 10_000;
const PIECE: u64 = 1_000;

/// The rates of one queue, in events per second.
#[derive(Clone, Copy, Debug)]
struct Queue {
    market: f64,
    cancel: f64,
}

impl Queue {
    fn new(market: Rate, cancel: Rate) -> Queue {
        Queue { market: per_second(market), cancel: per_second(cancel) }
    }

    /// P(T ≤ t) behind `ahead` orders: 1 − I(e^{−θt}; μ/θ, ahead + 1). I is a sum of ahead + 1 terms, and its complement the
    /// sum of the terms that follow; whichever is small is summed itself. Erlang's law is the case θ = 0.
    fn chance(self, ahead: u32, seconds: f64) -> f64 {
        let (market, cancel) = self.until(seconds);
        let mut term = libm::exp(-self.market * seconds);
        let mut waits = 0.0;
        for index in 0..=ahead {
            waits += term;
            term *= (market + f64::from(index) * cancel) / f64::from(index + 1);
        }
        if waits < 0.9 {
            return 1.0 - waits;
        }
        let (mut fills, mut index) = (0.0, ahead + 1);
        while term > 1e-17 * fills && index < ahead + 1_000_000 {
            fills += term;
            term *= (market + f64::from(index) * cancel) / f64::from(index + 1);
            index += 1;
        }
        fills
    }

    /// The density of T.
    fn density(self, ahead: u32, seconds: f64) -> f64 {
        let (market, cancel) = self.until(seconds);
        let terms = (1..=ahead).map(|index| (market + f64::from(index) * cancel) / f64::from(index));
        terms.fold(self.market * libm::exp(-self.market * seconds), |product, term| product * term)
    }

    /// μ(1−e^{−θt})/θ, which is μt without cancellation, and 1−e^{−θt}.
    fn until(self, seconds: f64) -> (f64, f64) {
        let left = -libm::expm1(-self.cancel * seconds);
        if self.cancel > 0.0 {
            (self.market * left / self.cancel, left)
        } else {
            (self.market * seconds, 0.0)
        }
    }

    /// The time by which the order is filled with this chance.
    fn quantile(self, ahead: u32, chance: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0 / self.market);
        while self.chance(ahead, high) < chance {
            high *= 2.0;
        }
        for _ in 0..200 {
            let middle = (low + high) / 2.0;
            if self.chance(ahead, middle) < chance { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    }

    /// Each stage of T is exponential with one of these rates.
    fn stages(self, ahead: u32) -> impl Iterator<Item = f64> {
        (0..=ahead).map(move |index| self.market + f64::from(index) * self.cancel)
    }

    fn mean(self, ahead: u32) -> f64 {
        self.stages(ahead).map(|rate| 1.0 / rate).sum()
    }

    fn deviation(self, ahead: u32) -> f64 {
        self.stages(ahead).map(|rate| 1.0 / (rate * rate)).sum::<f64>().sqrt()
    }
}

/// Where the queues of a case stand: one level a side, a spread of one tick, one lot an order.
fn market(limit: Rate, market: Rate, cancel: Rate, bids: u32) -> PoissonConfig {
    let rate = |rate: Rate| numashock_book::flow::Rate { per_gigasecond: rate.0 };
    PoissonConfig {
        limit: vec![rate(limit)],
        cancel: vec![rate(cancel)],
        market: rate(market),
        sizes: Sizes::Fixed(Lots(1)),
        initial: InitialBook { bid: Ticks(0), spread: 1, bid_orders: vec![bids.max(1)], ask_orders: vec![1] },
    }
}

/// One own order at the bid, behind `ahead` others.
struct Waiting {
    flow: Flow,
    book: Book,
    fills: Vec<Fill>,
}

impl Waiting {
    fn new(config: &PoissonConfig, ahead: u32, seed: Seed) -> Result<Waiting, FlowError> {
        let exogenous = Exogenous::poisson(config, seed, Nanos::NEVER)?;
        let (mut book, fills) = (Book::new(), Vec::new());
        let mut flow = Flow::new(Arc::new(exogenous), &mut book);
        if ahead == 0 {
            // A flow begins with an order on each side; this one makes room.
            book.cancel(OrderId(0));
        }
        assert!(book.post_only(own(), Side::Buy, Ticks(0), Lots(1), Stamp(0)), "a bid below the ask rests");
        flow.own_order_changed(Nanos::ZERO, &book);
        Ok(Waiting { flow, book, fills })
    }

    /// Applies the next event and says when it happened and how many orders then stand ahead; none once filled.
    fn step(&mut self) -> (Nanos, Option<u64>) {
        let at = self.flow.next_at();
        self.flow.step(&mut self.book, &mut self.fills);
        self.fills.clear();
        (at, self.book.ahead(own()).map(|ahead| ahead.orders))
    }
}

/// The time until the fill from each number of orders ahead, longest queue last.
fn waits(config: &PoissonConfig, longest: u32, seed: Seed) -> Result<Vec<u64>, FlowError> {
    let mut world = Waiting::new(config, longest, seed)?;
    let mut reached = vec![Nanos::ZERO; longest as usize + 1];
    let mut ahead = u64::from(longest);
    loop {
        let (at, now) = world.step();
        match now {
            None => return Ok(reached.into_iter().map(|since| (at - since).0).collect()),
            Some(now) if now < ahead => {
                assert!(now + 1 == ahead, "orders of one lot leave one by one");
                ahead = now;
                reached[now as usize] = at;
            }
            Some(_) => {}
        }
    }
}

/// Paths of [`waits`], in order of their number.
fn paths<T: Send>(
    config: &PoissonConfig,
    longest: u32,
    (samples, seed): (u64, Seed),
    fold: impl Fn(&mut T, Vec<u64>) + Sync,
    empty: impl Fn() -> T + Sync,
) -> Result<Vec<T>, Wrong> {
    let piece = |range: core::ops::Range<u64>| {
        let mut sums = empty();
        for path in range {
            fold(&mut sums, waits(config, longest, seed.replication(path))?);
        }
        Ok(sums)
    };
    let pieces: Result<Vec<T>, FlowError> = pieces(samples, PIECE, piece).into_iter().collect();
    pieces.map_err(|error| Wrong::new("", error.to_string()))
}

fn check_queue(market: Rate, ahead: &[u32], samples: u64) -> Result<(), Wrong> {
    if samples < 2 {
        return Err(Wrong::new("samples", "expected at least 2"));
    }
    if market.0 == 0 {
        return Err(Wrong::new("market", "expected a rate above zero: nothing else fills an order"));
    }
    if ahead.is_empty() || ahead.iter().any(|ahead| *ahead > AHEAD_MAX) {
        return Err(Wrong::new("ahead", format!("expected at least one number, each at most {AHEAD_MAX}")));
    }
    Ok(())
}

/// The law of the time to a fill.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FillTime {
    samples: u64,
    limit: Rate,
    market: Rate,
    cancel: Rate,
    ahead: Vec<u32>,
    unit: Time,
    quantiles: Vec<f64>,
    times: Vec<Time>,
}

impl Case for FillTime {
    fn check(&self) -> Result<(), Wrong> {
        check_queue(self.market, &self.ahead, self.samples)?;
        if self.unit.0 == 0 {
            return Err(Wrong::new("unit", "expected a time above zero"));
        }
        if self.quantiles.iter().any(|chance| !(*chance > 0.0 && *chance < 1.0)) {
            return Err(Wrong::new("quantiles", "expected chances between 0 and 1"));
        }
        Ok(())
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let longest = self.ahead.iter().copied().max().unwrap_or(0);
        let config = market(self.limit, self.market, self.cancel, longest);
        let samples = effort.samples(self.samples, 100);
        let empty = || self.ahead.iter().map(|_| Vec::new()).collect::<Vec<Vec<u64>>>();
        let keep = |kept: &mut Vec<Vec<u64>>, waits: Vec<u64>| {
            for (kept, ahead) in kept.iter_mut().zip(&self.ahead) {
                kept.push(waits[*ahead as usize]);
            }
        };
        let mut kept = empty();
        for piece in paths(&config, longest, (samples, seed), keep, empty)? {
            for (kept, piece) in kept.iter_mut().zip(piece) {
                kept.extend(piece);
            }
        }
        let figures = self.ahead.iter().zip(kept).flat_map(|(ahead, times)| self.figures(*ahead, times));
        Ok(figures.collect())
    }
}

impl FillTime {
    fn figures(&self, ahead: u32, mut times: Vec<u64>) -> Vec<Quantity> {
        let (queue, unit) = (Queue::new(self.market, self.cancel), self.unit.0 as f64);
        let seconds = unit / 1e9;
        let mut moments = Moments::default();
        for time in &times {
            moments.add(*time as f64 / unit);
        }
        let mut figures =
            vec![Quantity::mean(format!("mean, {ahead} ahead"), &moments, Some(queue.mean(ahead) / seconds))];
        let fourth = times.iter().map(|time| {
            let square = (*time as f64 / unit - moments.mean()) * (*time as f64 / unit - moments.mean());
            square * square
        });
        let (count, deviation) = (times.len() as f64, moments.variance().sqrt());
        let spread = fourth.sum::<f64>() / count - deviation * deviation * deviation * deviation;
        let own = |name: String, simulated: f64, standard_error: f64, reference: f64| Quantity {
            name,
            origin: Origin::Formula,
            reference: Some(reference),
            reference_error: 0.0,
            simulated,
            standard_error,
            samples: moments.count,
        };
        let error = (spread.max(0.0) / count).sqrt() / (2.0 * deviation);
        figures.push(own(format!("sd, {ahead} ahead"), deviation, error, queue.deviation(ahead) / seconds));
        times.sort_unstable();
        for chance in &self.quantiles {
            let rank = (libm::ceil(chance * count) as usize).clamp(1, times.len());
            let reference = queue.quantile(ahead, *chance);
            let error = (chance * (1.0 - chance) / count).sqrt() / queue.density(ahead, reference);
            let simulated = times[rank - 1] as f64 / unit;
            let name = format!("q{}, {ahead} ahead", 100.0 * chance);
            figures.push(own(name, simulated, error / seconds, reference / seconds));
        }
        for time in &self.times {
            let hits = times.partition_point(|wait| *wait <= time.0) as u64;
            let reference = queue.chance(ahead, time.0 as f64 / 1e9);
            let name = format!("P(T <= {}), {ahead} ahead", time.0 as f64 / unit);
            figures.push(Quantity::share(name, hits, times.len() as u64, Some(reference)));
        }
        figures
    }
}

fn per_second(rate: Rate) -> f64 {
    rate.0 as f64 / 1e9
}

fn own() -> OrderId {
    OrderId::own(0)
}
