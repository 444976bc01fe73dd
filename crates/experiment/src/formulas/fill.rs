//! One queue: how long an own order waits, and whether it fills before the price moves (market: 2).
//!
//! Every path runs the real flow and book from the longest queue asked for; each shorter one is met on the way, and what
//! follows is then independent of what came before, so that one path serves all of them.

use std::sync::Arc;

use numashock_book::flow::{self, Exogenous, Flow, FlowError, InitialBook, Kind, PoissonConfig, Sizes};
use numashock_book::{Book, Fill, Lots, OrderId, Side, Ticks};
use numashock_engine::{Nanos, Seed};
use numashock_sim::scenario::units::{Rate, Time};
use serde::Deserialize;

use super::chain::Pair;
use super::cst;
use super::limits::{self, Demand};
use super::{Case, Effort, Moments, Origin, Quantity, RARE, Wrong, pieces};

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

pub(super) const CHANCE_ABOUT: &str = "P(fill) before a price move at a constant hazard, what one more order ahead costs, and P(fill) by a deadline. The hazard's \
     chance is worked out path by path, and once more simulated as orders that arrive inside a spread of two ticks";
pub(super) const CHANCE_KEYS: &[(&str, &str)] = &[
    ("samples", "paths; each serves every queue length"),
    ("limit", "rate of limit orders that join the own price"),
    ("market", "rate of market orders against it, above zero"),
    ("cancel", "rate at which each order ahead cancels, may be \"0/s\""),
    ("hazard", "rate at which the price moves away"),
    ("ahead", "list of numbers of orders ahead"),
    ("deadline", "optional time for P(fill by it)"),
];

/// Longest queue that a case may ask for.
const AHEAD_MAX: u32 = 10_000;
const PIECE: u64 = 1_000;
/// The fewest paths of a sample.
const PATHS_LEAST: u64 = 100;
/// Times that a case keeps.
const KEPT_MAX: f64 = 1e8;

/// The rates of one queue, in events per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    market: f64,
    cancel: f64,
}

impl Queue {
    pub(super) fn new(market: Rate, cancel: Rate) -> Queue {
        Queue { market: per_second(market), cancel: per_second(cancel) }
    }

    /// P(T ≤ t) behind `ahead` orders: 1 − I(e^{−θt}; μ/θ, ahead + 1). I is a sum of ahead + 1 terms, and its complement the
    /// sum of the terms that follow; whichever is small is summed itself. Erlang's law is the case θ = 0.
    fn chance(self, ahead: u32, seconds: f64) -> f64 {
        let (market, cancel) = self.until(seconds);
        let (mut term, mut held) = begin(self.market * seconds);
        let mut waits = 0.0;
        for index in 0..=ahead {
            waits += term;
            term *= (market + f64::from(index) * cancel) / f64::from(index + 1);
            while held > 0.0 && term > 1.0 {
                let (factor, left) = begin(held);
                (term, waits, held) = (term * factor, waits * factor, left);
            }
        }
        waits *= libm::exp(-held);
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
        let (mut product, mut held) = begin(self.market * seconds);
        product *= self.market;
        for index in 1..=ahead {
            product *= (market + f64::from(index) * cancel) / f64::from(index);
            while held > 0.0 && product > 1.0 {
                let (factor, left) = begin(held);
                (product, held) = (product * factor, left);
            }
        }
        product * libm::exp(-held)
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

    /// μ.
    pub(super) fn market_rate(self) -> f64 {
        self.market
    }

    /// P(fill before a price move at this hazard): each stage ends before the move.
    pub(super) fn before(self, ahead: u32, hazard: f64) -> f64 {
        self.stages(ahead).map(|rate| rate / (rate + hazard)).product()
    }

    /// The same, and by this time: the law of T under the hazard is that of a queue whose market orders are as much faster.
    fn before_by(self, ahead: u32, hazard: f64, seconds: f64) -> f64 {
        let faster = Queue { market: self.market + hazard, cancel: self.cancel };
        self.before(ahead, hazard) * faster.chance(ahead, seconds)
    }

    /// The mean of e^{−hazard T} over paths.
    pub(super) fn weighed(self, name: String, paths: &Moments, (ahead, hazard): (u32, f64)) -> Quantity {
        let figure = Quantity::mean(name, paths, Some(self.before(ahead, hazard)));
        self.rarely(figure, self.before(ahead, 2.0 * hazard))
    }

    /// A mean of weights up to 1 whose squares have this mean: as many events as equal weights with these moments would be.
    pub(super) fn rarely(self, figure: Quantity, square: f64) -> Quantity {
        let (count, reference) = (figure.samples as f64, figure.reference.unwrap_or(0.0));
        let events = if square > 0.0 { count * reference * reference / square } else { 0.0 };
        let variance = (square - reference * reference).max(0.0) / count;
        figure.rarely(events, variance, 1.0 / count)
    }

    /// E (e^{−hazard T} − e^{−hazard T′})², T′ behind one order more, whose stage is independent of the others.
    fn place_square(self, ahead: u32, hazard: f64) -> f64 {
        let rate = self.market + f64::from(ahead + 1) * self.cancel;
        let stage = 1.0 - 2.0 * rate / (rate + hazard) + rate / (rate + 2.0 * hazard);
        self.before(ahead, 2.0 * hazard) * stage
    }

    fn deviation(self, ahead: u32) -> f64 {
        self.stages(ahead).map(|rate| 1.0 / (rate * rate)).sum::<f64>().sqrt()
    }
}

/// e^{−exponent} as far as a number can hold it, and the exponent that is left.
fn begin(exponent: f64) -> (f64, f64) {
    let now = exponent.min(600.0);
    (libm::exp(-now), exponent - now)
}

/// Where the queues of a case stand: one level a side, a spread of one tick, one lot an order.
pub(super) fn market(limit: Rate, market: Rate, cancel: Rate, bids: u32) -> PoissonConfig {
    let rate = |rate: Rate| flow::Rate { per_gigasecond: rate.0 };
    PoissonConfig {
        limit: vec![rate(limit)],
        cancel: vec![rate(cancel)],
        market: rate(market),
        sizes: Sizes::Fixed(Lots(1)),
        initial: InitialBook { bid: Ticks(0), spread: 1, bid_orders: vec![bids.max(1)], ask_orders: vec![1] },
    }
}

/// One queue at the bid, with an own order in it or without.
#[derive(Clone)]
pub(super) struct Waiting {
    flow: Flow,
    book: Book,
    fills: Vec<Fill>,
}

impl Waiting {
    /// `ahead` orders and none of one's own.
    pub(super) fn empty(config: &PoissonConfig, ahead: u32, seed: Seed) -> Result<Waiting, FlowError> {
        let exogenous = Exogenous::poisson(config, seed, Nanos::NEVER)?;
        let mut book = Book::new();
        let mut flow = Flow::new(Arc::new(exogenous), &mut book);
        if ahead == 0 {
            // A flow begins with an order on each side; this one makes room.
            book.cancel(OrderId(0));
            flow.own_order_changed(Nanos::ZERO, &book);
        }
        Ok(Waiting { flow, book, fills: Vec::new() })
    }

    /// An own order behind `ahead` others.
    pub(super) fn new(config: &PoissonConfig, ahead: u32, seed: Seed) -> Result<Waiting, FlowError> {
        let mut world = Waiting::empty(config, ahead, seed)?;
        world.join(Nanos::ZERO);
        Ok(world)
    }

    /// The own order joins the end of the queue.
    pub(super) fn join(&mut self, now: Nanos) {
        assert!(self.book.post_only(own(), Side::Buy, BID, Lots(1), now.into()), "a bid below the ask rests");
        self.flow.own_order_changed(now, &self.book);
    }

    pub(super) fn next_at(&self) -> Nanos {
        self.flow.next_at()
    }

    /// Orders before the own one, while it rests.
    pub(super) fn ahead(&self) -> Option<u64> {
        self.book.ahead(own()).map(|ahead| ahead.orders)
    }

    /// Orders in the queue.
    pub(super) fn bids(&self) -> u64 {
        self.book.orders_at(Side::Buy, BID)
    }

    /// Applies the next event and says when it happened.
    fn step(&mut self) -> (Nanos, Kind) {
        let happened = self.flow.step(&mut self.book, &mut self.fills);
        (happened.at, happened.kind)
    }

    /// Applies the next event and says when it happened if the own order filled in it.
    pub(super) fn fill(&mut self) -> Option<Nanos> {
        let (at, _) = self.step();
        let filled = self.fills.drain(..).any(|fill| fill.maker.is_own());
        filled.then_some(at)
    }

    /// Waits until the own order is filled.
    pub(super) fn wait(&mut self) -> Nanos {
        loop {
            if let Some(at) = self.fill() {
                return at;
            }
        }
    }
}

const BID: Ticks = Ticks(0);

fn own() -> OrderId {
    OrderId::own(0)
}

/// The time until the fill from each number of orders ahead, longest queue last.
fn waits(config: &PoissonConfig, longest: u32, seed: Seed) -> Result<Vec<u64>, FlowError> {
    let mut world = Waiting::new(config, longest, seed)?;
    let mut reached = vec![Nanos::ZERO; longest as usize + 1];
    let mut ahead = u64::from(longest);
    loop {
        let (at, _) = world.step();
        world.fills.clear();
        match world.ahead() {
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
    mut take: impl FnMut(T),
) -> Result<(), Wrong> {
    let piece = |range: core::ops::Range<u64>| {
        let mut sums = empty();
        for path in range {
            fold(&mut sums, waits(config, longest, seed.replication(path))?);
        }
        Ok(sums)
    };
    let mut outcome = Ok(());
    pieces(samples, PIECE, piece, |sums: Result<T, FlowError>| match sums {
        Ok(sums) => take(sums),
        Err(error) => outcome = Err(Wrong::new("", error.to_string())),
    });
    outcome
}

/// What paths ask for that end when an own order behind the longest queue has filled. Both sides have the same rates, and an
/// order that has come leaves once.
pub(super) fn demand(
    (limit, market, cancel): (Rate, Rate, Rate),
    ahead: &[u32],
    samples: u64,
    least: u64,
) -> Demand {
    let longest = ahead.iter().copied().max().unwrap_or(0);
    let seconds = Queue::new(market, cancel).mean(longest);
    let each = f64::from(longest) + seconds * (4.0 * per_second(limit) + 2.0 * per_second(market));
    let events = samples as f64 * each;
    Demand { samples: Some(samples), least, events, each, seconds, key: "limit" }
}

pub(super) fn check_queue(market: Rate, ahead: &[u32]) -> Result<(), Wrong> {
    if market.0 == 0 {
        return Err(Wrong::new("market", "expected a rate above zero: nothing else fills an order"));
    }
    let wanted = format!("numbers, each at most {AHEAD_MAX}");
    limits::some_entries("ahead", ahead, wanted, |ahead| *ahead <= AHEAD_MAX)
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
        check_queue(self.market, &self.ahead)?;
        if self.unit.0 == 0 {
            return Err(Wrong::new("unit", "expected a time above zero"));
        }
        let few = RARE / self.samples.max(PATHS_LEAST) as f64;
        let wanted = format!("chances from {few:.1e} to one less that, so that some samples lie beyond each");
        let good = |chance: &f64| *chance >= few && 1.0 - *chance >= few;
        limits::entries("quantiles", &self.quantiles, wanted, good)?;
        limits::entries("times", &self.times, "times above zero", |time| time.0 > 0)?;
        if self.samples as f64 * self.ahead.len() as f64 > KEPT_MAX {
            let problem =
                format!("expected at most {KEPT_MAX:.0e} samples times numbers ahead: all times are kept");
            return Err(Wrong::new("samples", problem));
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        demand((self.limit, self.market, self.cancel), &self.ahead, self.samples, PATHS_LEAST)
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let longest = self.ahead.iter().copied().max().unwrap_or(0);
        let config = market(self.limit, self.market, self.cancel, longest);
        let samples = effort.samples(self.samples, PATHS_LEAST);
        let empty = || self.ahead.iter().map(|_| Vec::new()).collect::<Vec<Vec<u64>>>();
        let keep = |kept: &mut Vec<Vec<u64>>, waits: Vec<u64>| {
            for (kept, ahead) in kept.iter_mut().zip(&self.ahead) {
                kept.push(waits[*ahead as usize]);
            }
        };
        let mut kept = empty();
        paths(&config, longest, (samples, seed), keep, empty, |piece| {
            for (kept, piece) in kept.iter_mut().zip(piece) {
                kept.extend(piece);
            }
        })?;
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
            let name = format!("P(T <= {}), {ahead} ahead", shown(*time));
            figures.push(Quantity::share(name, hits, times.len() as u64, Some(reference)));
        }
        figures
    }
}

/// The chance of a fill before the price moves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FillProbability {
    samples: u64,
    limit: Rate,
    market: Rate,
    cancel: Rate,
    hazard: Rate,
    ahead: Vec<u32>,
    deadline: Option<Time>,
}

impl Case for FillProbability {
    fn check(&self) -> Result<(), Wrong> {
        check_queue(self.market, &self.ahead)?;
        if self.deadline.is_some_and(|deadline| deadline.0 == 0) {
            return Err(Wrong::new("deadline", "expected a time above zero, or no deadline"));
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        let rates = (self.limit, self.market, self.cancel);
        let one = demand(rates, &self.ahead, self.samples, PATHS_LEAST.max(10 * self.ahead.len() as u64));
        Demand { events: 2.0 * one.events, ..one }
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let longest = self.ahead.iter().copied().max().unwrap_or(0);
        let samples = effort.samples(self.samples, PATHS_LEAST.max(10 * self.ahead.len() as u64));
        // One order more than asked for: what its first stage costs is the value of a place.
        let config = market(self.limit, self.market, self.cancel, longest + 1);
        let chance = |wait: u64| libm::exp(-(self.hazard.0 as f64) * 1e-18 * wait as f64);
        let empty = || vec![[Moments::default(); 3]; self.ahead.len()];
        let add = |sums: &mut Vec<[Moments; 3]>, waits: Vec<u64>| {
            for ([fills, place, in_time], ahead) in sums.iter_mut().zip(&self.ahead) {
                let wait = waits[*ahead as usize];
                let here = chance(wait);
                fills.add(here);
                place.add(here - chance(waits[*ahead as usize + 1]));
                in_time.add(if self.deadline.is_some_and(|deadline| wait <= deadline.0) {
                    here
                } else {
                    0.0
                });
            }
        };
        let mut sums = empty();
        paths(&config, longest + 1, (samples, seed), add, empty, |piece| {
            for (sums, piece) in sums.iter_mut().flatten().zip(piece.iter().flatten()) {
                sums.merge(piece);
            }
        })?;
        let races = self.races(samples, seed.replication(u64::MAX))?;
        let each = self.ahead.iter().zip(&sums).zip(races);
        Ok(each.flat_map(|((ahead, sums), race)| self.figures(*ahead, sums, race)).collect())
    }
}

impl FillProbability {
    /// The same with a price move that arrives: orders inside a spread of two ticks, from both sides at half the hazard. A
    /// path from the longest queue counts for each shorter one that it reaches. Fills and trials by queue.
    fn races(&self, samples: u64, seed: Seed) -> Result<Vec<[u64; 2]>, Wrong> {
        let rate = |rate: u64| flow::Rate { per_gigasecond: rate };
        let config = |ahead: u32| PoissonConfig {
            limit: vec![rate(self.hazard.0 / 2), rate(self.limit.0)],
            cancel: vec![rate(self.cancel.0)],
            initial: InitialBook { spread: 2, ..market(self.limit, self.market, self.cancel, ahead).initial },
            ..market(self.limit, self.market, self.cancel, ahead)
        };
        let inside = Ticks(BID.0 + 1);
        let race = |start: u32, seed: Seed, counts: &mut Vec<[u64; 2]>| {
            let mut world = Waiting::new(&config(start), start, seed)?;
            let mut reached = start;
            let filled = loop {
                let happened = world.flow.step(&mut world.book, &mut world.fills);
                if happened.kind == Kind::Limit && happened.price == inside {
                    break false;
                }
                match world.ahead() {
                    Some(ahead) => reached = reached.min(u32::try_from(ahead).expect("queues are short")),
                    None => break true,
                }
            };
            for (count, ahead) in counts.iter_mut().zip(&self.ahead) {
                if (reached..=start).contains(ahead) {
                    count[0] += u64::from(filled);
                    count[1] += 1;
                }
            }
            Ok(())
        };
        let piece = |range: core::ops::Range<u64>| {
            let mut counts = vec![[0; 2]; self.ahead.len()];
            for path in range {
                let start = self.ahead[(path % self.ahead.len() as u64) as usize];
                race(start, seed.replication(path), &mut counts)?;
            }
            Ok(counts)
        };
        let mut sums = vec![[0; 2]; self.ahead.len()];
        let mut outcome = Ok(());
        pieces(samples, PIECE, piece, |counts: Result<Vec<[u64; 2]>, FlowError>| match counts {
            Ok(counts) => cst::add(&mut sums, &counts),
            Err(error) => outcome = Err(Wrong::new("", error.to_string())),
        });
        outcome.map(|()| sums)
    }

    fn figures(
        &self,
        ahead: u32,
        [fills, place, in_time]: &[Moments; 3],
        [hits, trials]: [u64; 2],
    ) -> Vec<Quantity> {
        let (queue, hazard) = (Queue::new(self.market, self.cancel), per_second(self.hazard));
        let (here, next) = (queue.before(ahead, hazard), queue.before(ahead + 1, hazard));
        let mut figures = vec![
            queue.weighed(format!("P(fill), {ahead} ahead"), fills, (ahead, hazard)),
            queue.rarely(
                Quantity::mean(format!("P(fill) less one place, {ahead} ahead"), place, Some(here - next)),
                queue.place_square(ahead, hazard),
            ),
        ];
        if let Some(deadline) = self.deadline {
            let known = queue.before_by(ahead, hazard, deadline.0 as f64 / 1e9);
            let mut figure = Quantity::mean(
                format!("P(fill by {}), {ahead} ahead", shown(deadline)),
                in_time,
                Some(known),
            );
            // One path more that is in time is never a surprise.
            let one = 1.0 / in_time.count as f64;
            figure.standard_error = (figure.standard_error * figure.standard_error + one * one).sqrt();
            figures.push(figure);
        }
        figures.push(Quantity::share(
            format!("P(fill) as moves arrive, {ahead} ahead"),
            hits,
            trials,
            Some(here),
        ));
        figures
    }
}

/// The queue as a chain, without the own order.
pub(super) fn chain(limit: Rate, market: Rate, cancel: Rate) -> Pair {
    Pair { join: per_second(limit), market: per_second(market), cancel: per_second(cancel), inside: 0.0 }
}

/// A time in its largest unit that is not longer.
pub(super) fn shown(time: Time) -> String {
    const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
    let (unit, size) = UNITS.into_iter().find(|(_, size)| time.0 >= *size).unwrap_or(("ns", 1));
    let decimals = size.ilog10() as usize;
    let text = format!("{}.{:0decimals$}", time.0 / size, time.0 % size);
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn per_second(rate: Rate) -> f64 {
    rate.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const CST: Queue = Queue { market: 0.94, cancel: 0.71 };
    const LARGE_TICK: Queue = Queue { market: 14.0, cancel: 1.0 };

    /// market: 2, the time to a fill.
    #[test]
    fn the_time_to_a_fill_has_the_published_law() {
        for (queue, ahead, known) in [
            (CST, 0, [1.0638, 1.0638, 0.7374, 3.1869, 4.8991]),
            (CST, 5, [2.9066, 1.3800, 2.6600, 5.5067, 7.2621]),
            (CST, 50, [5.7609, 1.4684, 5.5427, 8.4765, 10.2408]),
            (LARGE_TICK, 10, [0.5958, 0.1823, 0.5769, 0.9244, 1.1021]),
            (LARGE_TICK, 50, [1.5638, 0.2419, 1.5490, 1.9851, 2.1925]),
        ] {
            let quantiles = [0.5, 0.95, 0.99].map(|chance| queue.quantile(ahead, chance));
            let found = [&[queue.mean(ahead), queue.deviation(ahead)], quantiles.as_slice()].concat();
            for (found, known) in found.iter().zip(known) {
                assert!((found - known).abs() < 0.5001e-4, "{ahead}: {found} for {known}");
            }
        }
    }

    /// The law's density is its slope, with cancellation, with little and without.
    #[test]
    fn the_density_is_the_slope_of_the_law() {
        for cancel in [0.71, 1e-7, 0.0] {
            let queue = Queue { market: 0.94, cancel };
            for ahead in [0, 3, 20] {
                let (at, step) = (queue.quantile(ahead, 0.3), 1e-5);
                let slope = (queue.chance(ahead, at + step) - queue.chance(ahead, at - step)) / (2.0 * step);
                assert!((slope / queue.density(ahead, at) - 1.0).abs() < 1e-6, "{cancel} {ahead}");
            }
        }
        let erlang = Queue { market: 2.0, cancel: 0.0 };
        assert!((erlang.chance(1, 1.0) - (1.0 - 3.0 * libm::exp(-2.0))).abs() < 1e-14);
    }

    /// market: 2, the chance of a fill: of all, of one place, and in time, down to what is far below rounding.
    #[test]
    fn the_chance_of_a_fill_is_the_published_one() {
        for (queue, hazard, ahead, known) in [
            (CST, 0.5, 0, [0.6528, 0.1518, 0.4981]),
            (CST, 0.5, 5, [0.2825, 0.0248, 0.0198]),
            (LARGE_TICK, 1.0, 20, [0.4000, 0.0111, 0.2875]),
            (LARGE_TICK, 1.0, 50, [0.2154, 0.0033, 0.0013]),
        ] {
            let here = queue.before(ahead, hazard);
            let found = [here, here - queue.before(ahead + 1, hazard), queue.before_by(ahead, hazard, 1.0)];
            for (found, known) in found.iter().zip(known) {
                assert!((found - known).abs() < 0.5001e-4, "{ahead}: {found} for {known}");
            }
        }
        assert!((CST.before_by(20, 0.5, 1.0) / 1.03e-6 - 1.0).abs() < 0.005);
        assert!((CST.before_by(50, 0.5, 1.0) / 2.04e-15 - 1.0).abs() < 0.005);
    }
}
