//! What an order loses that reaches the market late (market: 2).
//!
//! A prompt and a late order meet the same flow, path by path. Most paths are the same for both from the late arrival on, which
//! is seen in the two books at that moment, and are not followed further: they add nothing to the loss.

use numashock_book::Side;
use numashock_book::flow::FlowError;
use numashock_engine::{Nanos, Seed};
use numashock_sim::scenario::units::{Rate, Time};
use serde::Deserialize;

use super::chain::{EVENTS_MAX, Ends, Pair, evolve};
use super::cst::{BID, Best, World};
use super::fill::{self, Queue, Waiting};
use super::limits::{self, Demand};
use super::{Case, Effort, Moments, Origin, Quantity, Wrong, pieces};

pub(super) const QUEUES_ABOUT: &str = "what an own bid loses by joining the best queue late: it fills before the mid moves less often. \
     P(fill), the loss against a prompt order, P(up first), P(down before arrival)";
pub(super) const QUEUES_KEYS: &[(&str, &str)] = &[
    ("samples", "paths for each pair of queues; every eighth is followed to its end whatever happens"),
    (
        "limit",
        "list of rates of limit orders at 1, 2, ... ticks from the opposite best; as long as the spread at least",
    ),
    ("market", "rate of market orders of a side"),
    ("cancel", "list of rates at which each order cancels, by distance; the last holds beyond the list"),
    ("spread", "ticks from bid to ask"),
    ("queues", "list of [orders at the bid, orders at the ask] that the own order meets if it is prompt"),
    ("delays", "list of times by which it is late"),
];
pub(super) const HAZARD_ABOUT: &str = "the same in one queue whose price moves at a constant hazard; the hazard's chance is worked out path by path";
pub(super) const HAZARD_KEYS: &[(&str, &str)] = &[
    ("samples", "paths for each queue; every eighth is followed to its end whatever happens"),
    ("limit", "rate of limit orders that join the own price"),
    ("market", "rate of market orders against it, above zero"),
    ("cancel", "rate at which each order ahead cancels, may be \"0/s\""),
    ("hazard", "rate at which the price moves away"),
    ("ahead", "list of numbers of orders ahead of a prompt order"),
    ("delays", "list of times by which it is late"),
];

/// Every so many paths one is followed to its end, which gives the chances themselves.
const WHOLE: u64 = 8;
const PIECE: u64 = 2_000;

fn check_delays(delays: &[Time], pair: &Pair, cut: usize) -> Result<(), Wrong> {
    if delays.iter().any(|delay| pair.pace(cut) * delay.0 as f64 / 1e9 > EVENTS_MAX) {
        let problem = "expected delays in which a queue has at most 20000 events: shorten them";
        return Err(Wrong::new("delays", problem));
    }
    limits::some_entries("delays", delays, "times above zero", |delay| delay.0 > 0)?;
    let good = delays.windows(2).all(|pair| pair[0] < pair[1]);
    if !good {
        return Err(Wrong::new("delays", "expected each time to be longer than the one before"));
    }
    Ok(())
}

/// A loss: the mean of differences most of which are zero. One more difference than was seen is never a surprise.
fn loss(name: String, moments: &Moments, largest: f64, reference: f64) -> Quantity {
    let mut figure = Quantity::mean(name, moments, Some(reference));
    let count = moments.count as f64;
    let one = largest / count;
    figure.standard_error = (figure.standard_error * figure.standard_error + one * one).sqrt();
    figure
}

/// A formula's figure that is shown beside what was simulated.
fn shown(name: String, value: f64) -> Quantity {
    let known = Quantity::mean(name, &Moments::default(), None);
    Quantity { simulated: value, standard_error: 0.0, origin: Origin::None, ..known }
}

/// Two best queues.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueDecay {
    samples: u64,
    limit: Vec<Rate>,
    market: Rate,
    cancel: Vec<Rate>,
    spread: u32,
    queues: Vec<[u32; 2]>,
    delays: Vec<Time>,
}

/// How an order's path ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Filled,
    Up,
    DownBefore,
    DownAfter,
}

/// Sums for one delay.
#[derive(Clone, Debug, Default)]
struct Late {
    /// Prompt less late, 1 for a fill.
    lost: Moments,
    down_before: u64,
    /// Of the paths that were followed to their end.
    fills: u64,
    ups: u64,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    paths: u64,
    whole: u64,
    prompt_fills: u64,
    late: Vec<Late>,
}

impl Sums {
    fn merge(&mut self, other: &Sums) {
        self.paths += other.paths;
        self.whole += other.whole;
        self.prompt_fills += other.prompt_fills;
        for (total, late) in self.late.iter_mut().zip(&other.late) {
            total.lost.merge(&late.lost);
            total.down_before += late.down_before;
            total.fills += late.fills;
            total.ups += late.ups;
        }
    }
}

impl QueueDecay {
    fn best(&self) -> Best {
        Best {
            samples: self.samples,
            limit: self.limit.clone(),
            market: self.market,
            cancel: self.cancel.clone(),
            spread: self.spread,
            bid: self.longest(),
            ask: self.longest(),
        }
    }

    fn longest(&self) -> Vec<u32> {
        self.queues.iter().flatten().max().copied().into_iter().collect()
    }

    fn path(
        &self,
        best: &Best,
        [bid, ask]: [u32; 2],
        seed: Seed,
        (sums, whole): (&mut Sums, bool),
    ) -> Result<(), FlowError> {
        let mut without = World::new(best, (bid, ask), &[], seed)?;
        // Only a bid that joins, or a level that empties, can part the two: most paths have neither and need no second world.
        let mut prompt: Option<World> = None;
        let begin = || World::new(best, (bid + 1, ask), &[Side::Buy], seed);
        let mut joined = false;
        let mut ends: Vec<Option<End>> = Vec::with_capacity(self.delays.len());
        for delay in &self.delays {
            let now = Nanos(delay.0);
            while without.flow.next_at() <= now && without.moved().is_none() {
                joined |= without.step();
            }
            ends.push(match without.moved() {
                Some(Side::Buy) => Some(End::Up),
                Some(Side::Sell) => Some(End::DownBefore),
                None if !joined => None,
                None => {
                    let mut known = prompt.take().map_or_else(begin, Ok)?;
                    while known.flow.next_at() <= now && end(&known).is_none() {
                        known.step();
                    }
                    let ahead = known.rank(Side::Buy).map(|rank| rank - 1);
                    let same = end(&known).is_none() && ahead == Some(without.orders(Side::Buy, BID));
                    prompt = Some(known);
                    (!same).then(|| {
                        let mut late = without.clone();
                        late.join(now);
                        follow(&mut late)
                    })
                }
            });
        }
        let prompt_end = if whole || ends.iter().any(Option::is_some) {
            let mut known = prompt.map_or_else(begin, Ok)?;
            Some(follow(&mut known))
        } else {
            None
        };
        let filled = |end: Option<End>| if end == Some(End::Filled) { 1.0 } else { 0.0 };
        sums.paths += 1;
        sums.whole += u64::from(whole);
        sums.prompt_fills += u64::from(whole && prompt_end == Some(End::Filled));
        for (late, end) in sums.late.iter_mut().zip(ends) {
            let own = end.or(prompt_end);
            late.lost.add(if end.is_some() { filled(prompt_end) - filled(own) } else { 0.0 });
            late.down_before += u64::from(own == Some(End::DownBefore));
            late.fills += u64::from(whole && own == Some(End::Filled));
            late.ups += u64::from(whole && own == Some(End::Up));
        }
        Ok(())
    }
}

fn end(world: &World) -> Option<End> {
    match (world.rank(Side::Buy), world.moved()) {
        (None, _) => Some(End::Filled),
        (_, Some(Side::Buy)) => Some(End::Up),
        (_, Some(Side::Sell)) => Some(End::DownAfter),
        _ => None,
    }
}

fn follow(world: &mut World) -> End {
    loop {
        if let Some(end) = end(world) {
            return end;
        }
        world.step();
    }
}

impl Case for QueueDecay {
    fn check(&self) -> Result<(), Wrong> {
        let good = |queues: &[u32; 2]| queues.iter().all(|orders| *orders > 0);
        limits::some_entries("queues", &self.queues, "pairs above zero such as [5, 5]", good)?;
        self.best().check().map_err(|wrong| match wrong.key.as_str() {
            "bid[0]" | "ask[0]" => Wrong { key: "queues".to_owned(), ..wrong },
            _ => wrong,
        })?;
        check_delays(&self.delays, &self.best().pair(), self.best().cut())
    }

    fn demand(&self) -> Demand {
        // Up to three worlds, of each pair of queues.
        let one = self.best().demand(8 * WHOLE);
        Demand { events: one.events * (3 * self.queues.len()) as f64, ..one }
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let best = self.best();
        let samples = effort.samples(self.samples, 8 * WHOLE);
        let mut figures = Vec::new();
        for (index, queues) in self.queues.iter().enumerate() {
            let seed = seed.replication(index as u64);
            let empty = Sums { late: vec![Late::default(); self.delays.len()], ..Sums::default() };
            let piece = |range: core::ops::Range<u64>| {
                let mut sums = empty.clone();
                for path in range {
                    self.path(&best, *queues, seed.replication(path), (&mut sums, path % WHOLE == 0))?;
                }
                Ok(sums)
            };
            let mut total = empty.clone();
            let mut outcome = Ok(());
            pieces(samples, PIECE, piece, |sums: Result<Sums, FlowError>| match sums {
                Ok(sums) => total.merge(&sums),
                Err(error) => outcome = Err(Wrong::new("", error.to_string())),
            });
            outcome?;
            figures.extend(self.figures(&best, *queues, &total));
        }
        Ok(figures)
    }
}

impl QueueDecay {
    fn figures(&self, best: &Best, [bid, ask]: [u32; 2], sums: &Sums) -> Vec<Quantity> {
        let curve = Curve::new(&best.pair(), (bid as usize, ask as usize), best.cut());
        let at = format!("bid {bid} ask {ask}");
        let mut figures = vec![Quantity::share(
            format!("P(fill), {at}, prompt"),
            sums.prompt_fills,
            sums.whole,
            Some(curve.prompt()),
        )];
        for (delay, late) in self.delays.iter().zip(&sums.late) {
            let seconds = delay.0 as f64 / 1e9;
            let known = curve.at(seconds);
            let at = format!("{at}, delay {}", fill::shown(*delay));
            figures.push(Quantity::share(format!("P(fill), {at}"), late.fills, sums.whole, Some(known.fill)));
            figures.push(loss(format!("loss, {at}"), &late.lost, 1.0, curve.prompt() - known.fill));
            figures.push(shown(format!("loss to first order (formula), {at}"), curve.slope() * seconds));
            figures.push(Quantity::share(format!("P(up first), {at}"), late.ups, sums.whole, Some(known.up)));
            let down = format!("P(down before arrival), {at}");
            figures.push(Quantity::share(down, late.down_before, sums.paths, Some(known.down_before)));
        }
        figures
    }
}

/// The formulas for an own bid that finds these queues, prompt or late.
struct Curve {
    pair: Pair,
    queues: (usize, usize),
    cut: usize,
    fills: Vec<Vec<f64>>,
    ups: Vec<Vec<f64>>,
}

struct LateChances {
    fill: f64,
    up: f64,
    down_before: f64,
}

impl Curve {
    fn new(pair: &Pair, queues: (usize, usize), cut: usize) -> Curve {
        let fills = pair.bid(Ends { fills: 1.0, up: 0.0, down: 0.0 }, cut + 1, cut);
        let ups = pair.bid(Ends { fills: 0.0, up: 1.0, down: 0.0 }, cut + 1, cut);
        Curve { pair: *pair, queues, cut, fills, ups }
    }

    fn prompt(&self) -> f64 {
        self.fills[self.queues.0][self.queues.1 - 1]
    }

    /// Loss by second of delay at none: the generator of the two queues, in which the own order is not yet, on P(fill). While
    /// the level cannot empty only orders that join it matter: all else cancels, as P solves the backward equation.
    fn slope(&self) -> f64 {
        let (bid, ask) = self.queues;
        let here = self.prompt();
        let fewer_bids = if bid == 1 { 0.0 } else { self.fills[bid - 1][ask - 1] };
        let fewer_asks = if ask == 1 { 0.0 } else { self.fills[bid][ask - 2] };
        let (pair, leave) = (&self.pair, |orders: usize| self.pair.market + orders as f64 * self.pair.cancel);
        pair.join * (here - self.fills[bid + 1][ask - 1])
            + leave(bid) * (here - fewer_bids)
            + pair.join * (here - self.fills[bid][ask])
            + leave(ask) * (here - fewer_asks)
            + 2.0 * pair.inside * here
    }

    fn at(&self, seconds: f64) -> LateChances {
        let (pair, cut) = (&self.pair, self.cut);
        let leave = pair.market + pair.cancel;
        // Simpson's rule over the moment at which the mid moves before the arrival, in steps shorter than an event takes.
        let halves = libm::ceil((2.0 * pair.pace(cut) * seconds).max(100.0)) as usize;
        let step = seconds / (2 * halves) as f64;
        let alive = |law: &[f64]| law[1..].iter().sum::<f64>();
        let (mut bids, mut asks) = (Pair::certain(self.queues.0, cut), Pair::certain(self.queues.1, cut));
        let (mut up, mut down) = (0.0, 0.0);
        for index in 0..=2 * halves {
            let quiet = libm::exp(-2.0 * pair.inside * step * index as f64);
            let weight = match index {
                first_or_last if first_or_last % (2 * halves) == 0 => 1.0,
                odd if odd % 2 == 1 => 4.0,
                _ => 2.0,
            };
            let both = alive(&bids) * alive(&asks) * pair.inside;
            up += weight * quiet * (leave * asks[1] * alive(&bids) + both);
            down += weight * quiet * (leave * bids[1] * alive(&asks) + both);
            if index < 2 * halves {
                bids = evolve(pair, bids, step, true);
                asks = evolve(pair, asks, step, true);
            }
        }
        let (up, down) = (up * step / 3.0, down * step / 3.0);
        let quiet = libm::exp(-2.0 * pair.inside * seconds);
        let over = |values: &[Vec<f64>]| {
            let rows = (1..=cut).map(|bid| {
                let row = (1..=cut).map(|ask| asks[ask] * values[bid][ask - 1]);
                bids[bid] * row.sum::<f64>()
            });
            quiet * rows.sum::<f64>()
        };
        LateChances { fill: over(&self.fills), up: up + over(&self.ups), down_before: down }
    }
}

/// One queue and a hazard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HazardDecay {
    samples: u64,
    limit: Rate,
    market: Rate,
    cancel: Rate,
    hazard: Rate,
    ahead: Vec<u32>,
    delays: Vec<Time>,
}

/// Sums of one queue: the prompt order's chance, and for each delay the late one's and their difference.
type HazardSums = (Moments, Vec<[Moments; 2]>);

impl HazardDecay {
    fn path(&self, ahead: u32, seed: Seed, (sums, whole): (&mut HazardSums, bool)) -> Result<(), FlowError> {
        let config = fill::market(self.limit, self.market, self.cancel, ahead);
        let mut prompt = Waiting::new(&config, ahead, seed)?;
        let mut without = Waiting::empty(&config, ahead, seed)?;
        let mut filled = None;
        let late: Vec<Option<Nanos>> = self
            .delays
            .iter()
            .map(|delay| {
                let now = Nanos(delay.0);
                while filled.is_none() && prompt.next_at() <= now {
                    filled = prompt.fill();
                }
                while without.next_at() <= now {
                    without.fill();
                }
                let same = filled.is_none() && prompt.ahead() == Some(without.bids());
                (!same).then(|| {
                    let mut late = without.clone();
                    late.join(now);
                    late.wait()
                })
            })
            .collect();
        if !whole && late.iter().all(Option::is_none) {
            for moments in &mut sums.1 {
                moments[1].add(0.0);
            }
            return Ok(());
        }
        let prompt_at = filled.unwrap_or_else(|| prompt.wait());
        let chance = |at: Nanos| libm::exp(-(self.hazard.0 as f64) * 1e-18 * at.0 as f64);
        if whole {
            sums.0.add(chance(prompt_at));
        }
        for (moments, late) in sums.1.iter_mut().zip(late) {
            let late = chance(late.unwrap_or(prompt_at));
            if whole {
                moments[0].add(late);
            }
            moments[1].add(chance(prompt_at) - late);
        }
        Ok(())
    }
}

impl Case for HazardDecay {
    fn check(&self) -> Result<(), Wrong> {
        fill::check_queue(self.market, &self.ahead)?;
        let queue = fill::chain(self.limit, self.market, self.cancel);
        let longest = self.ahead.iter().max().copied().unwrap_or(0) as usize;
        let Some(cut) = queue.cut(longest) else {
            let problem = "expected rates under which queues stay below 600 orders: raise market or cancel, or lower limit";
            return Err(Wrong::new("limit", problem));
        };
        check_delays(&self.delays, &queue, cut)
    }

    fn demand(&self) -> Demand {
        let demand =
            fill::demand((self.limit, self.market, self.cancel), &self.ahead, self.samples, 8 * WHOLE);
        let late = self.delays.iter().map(|delay| delay.0).max().unwrap_or(0) as f64 / 1e9;
        let meanwhile = late * 4.0 * (self.limit.0 + self.market.0) as f64 / 1e9;
        let each = 3.0 * demand.each + meanwhile;
        Demand { events: self.samples as f64 * each * self.ahead.len() as f64, each, ..demand }
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let samples = effort.samples(self.samples, 8 * WHOLE);
        let mut figures = Vec::new();
        for (index, ahead) in self.ahead.iter().enumerate() {
            let seed = seed.replication(index as u64);
            let empty: HazardSums = (Moments::default(), vec![[Moments::default(); 2]; self.delays.len()]);
            let piece = |range: core::ops::Range<u64>| {
                let mut sums = empty.clone();
                for path in range {
                    self.path(*ahead, seed.replication(path), (&mut sums, path % WHOLE == 0))?;
                }
                Ok(sums)
            };
            let mut total = empty.clone();
            let mut outcome = Ok(());
            pieces(samples, PIECE, piece, |sums: Result<HazardSums, FlowError>| match sums {
                Ok(sums) => {
                    total.0.merge(&sums.0);
                    for (total, sums) in total.1.iter_mut().flatten().zip(sums.1.iter().flatten()) {
                        total.merge(sums);
                    }
                }
                Err(error) => outcome = Err(Wrong::new("", error.to_string())),
            });
            outcome?;
            figures.extend(self.figures(*ahead, &total));
        }
        Ok(figures)
    }
}

impl HazardDecay {
    fn figures(&self, ahead: u32, (prompt, late): &HazardSums) -> Vec<Quantity> {
        let (queue, hazard) = (Queue::new(self.market, self.cancel), self.hazard.0 as f64 / 1e9);
        let chain = fill::chain(self.limit, self.market, self.cancel);
        let cut = chain.cut(ahead as usize).expect("checked when read");
        let fills: Vec<f64> = (0..=cut as u32).map(|ahead| queue.before(ahead, hazard)).collect();
        let known = fills[ahead as usize];
        let mut figures =
            vec![queue.weighed(format!("P(fill), {ahead} ahead, prompt"), prompt, (ahead, hazard))];
        // A queue of nobody also misses the market orders that come meanwhile.
        let missed = if ahead == 0 { queue.market_rate() * (1.0 - known) } else { 0.0 };
        let slope = chain.join * (known - fills[ahead as usize + 1]) + missed;
        for (delay, moments) in self.delays.iter().zip(late) {
            let seconds = delay.0 as f64 / 1e9;
            let law = evolve(&chain, Pair::certain(ahead as usize, cut), seconds, false);
            let chance = law.iter().zip(&fills).map(|(chance, fill)| chance * fill).sum::<f64>();
            let chance = libm::exp(-hazard * seconds) * chance;
            let at = format!("{ahead} ahead, delay {}", fill::shown(*delay));
            let squares =
                law.iter().zip(0u32..).map(|(chance, ahead)| chance * queue.before(ahead, 2.0 * hazard));
            let square = libm::exp(-2.0 * hazard * seconds) * squares.sum::<f64>();
            let figure = Quantity::mean(format!("P(fill), {at}"), &moments[0], Some(chance));
            figures.push(queue.rarely(figure, square));
            figures.push(loss(format!("loss, {at}"), &moments[1], 1.0, known - chance));
            figures.push(shown(format!("loss to first order (formula), {at}"), slope * seconds));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CST: Pair = Pair { join: 1.85, market: 0.94, cancel: 0.71, inside: 0.0 };
    const LARGE_TICK: Pair = Pair { join: 20.0, market: 14.0, cancel: 1.0, inside: 0.0 };

    /// market: 2, the decay curve of two queues: P(fill), loss, loss to first order, P(up first), P(down before arrival).
    #[test]
    fn the_decay_curve_is_the_published_one() {
        for (pair, queues, seconds, known) in [
            (CST, (2, 2), 0.02 / 1.85, [0.46415, 0.00128, 0.00112, 0.53563, 0.00022]),
            (CST, (2, 2), 0.1 / 1.85, [0.45639, 0.00904, 0.00562, 0.53865, 0.00496]),
            (CST, (5, 5), 0.1 / 1.85, [0.56482, 0.00331, 0.00327, 0.43518, 0.0]),
            (LARGE_TICK, (10, 4), 0.001, [0.72079, 0.00027, 0.00027, 0.27921, 0.0]),
            (LARGE_TICK, (4, 10), 0.005, [0.99103, 0.00042, 0.00042, 0.00897, 0.0]),
        ] {
            let curve = Curve::new(&pair, queues, pair.cut(10).unwrap());
            let late = curve.at(seconds);
            let found =
                [late.fill, curve.prompt() - late.fill, curve.slope() * seconds, late.up, late.down_before];
            for (found, known) in found.into_iter().zip(known) {
                assert!((found - known).abs() < 0.51e-5, "{queues:?}: {found} for {known}");
            }
            assert!((late.fill + late.up + late.down_before - 1.0).abs() < 1e-9);
        }
    }

    /// market: 2, one queue and a hazard.
    #[test]
    fn the_loss_in_one_queue_is_the_published_one() {
        let queue = Queue::new(Rate(14_000_000_000), Rate(1_000_000_000));
        let cut = LARGE_TICK.cut(10).unwrap();
        let fills: Vec<f64> = (0..=cut as u32).map(|ahead| queue.before(ahead, 1.0)).collect();
        for (ahead, seconds, known) in [(5, 0.005, 0.00333), (5, 0.25, 0.15223), (10, 0.1, 0.04202)] {
            let law = evolve(&LARGE_TICK, Pair::certain(ahead, cut), seconds, false);
            let late: f64 = law.iter().zip(&fills).map(|(chance, fill)| chance * fill).sum();
            let loss = fills[ahead] - libm::exp(-seconds) * late;
            assert!((loss - known).abs() < 0.51e-5, "{ahead}: {loss} for {known}");
        }
    }
}
