//! The link between the machine and money: what the stalls that were measured should cost in queue position, and what they
//! did (market: 2).
//!
//! ```text
//!   stalls ──ν_c ΣD²/2──► lateness ──rate of orders that take the place──► places lost ──value of a place──► money
//! ```
//!
//! Each arrow is first order in the length of a stall, and each stage is measured beside its prediction. The money is
//! C_queue_decay, v(HMDQ) − v(HMD), summed over parents.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use numashock_accounting::Mechanisms;
use numashock_book::flow::{PoissonConfig, Sizes};
use numashock_book::{Book, Lots, Quote, Side};
use numashock_engine::{Nanos, Span};
use numashock_execution::{LeftBehind, Placement, StallMoments, Tactic};
use numashock_sim::scenario::config::{Market, RunConfig, TradingStrategy};
use numashock_sim::{Lateness, RunResult, Simulation};
use rayon::prelude::*;
use serde::Serialize;

/// Half-ticks that a child pays above its own price when it crosses after the best price has left it behind by a tick:
/// the opposite best is then two ticks away.
const LEFT_BEHIND: f64 = 4.0;
/// Below this the error over seeds is itself not known.
const SEEDS_LEAST: u32 = 30;
/// Orders of a queue that the chain tells apart.
const LONGEST: usize = 160;
/// Looks at the book in a run, at equal distances.
const LOOKS: u64 = 16_384;
/// Events between two counts of own orders.
const EVENTS_BETWEEN_COUNTS: u64 = 61;

/// Why a scenario has no link that could be predicted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct LinkError {
    /// The scenario's key.
    pub key: &'static str,
    /// What was expected.
    pub problem: &'static str,
}

/// What places in a queue are worth in a Cont-Stoikov-Talreja book of unit orders to a child that joins the best price,
/// stays, and crosses at once when the best price has left it behind.
///
/// The chain has the orders ahead of the child and those at the opposite best. When the opposite best empties the spread is
/// two ticks until an order comes into it: on the other side it restores the queue, on the child's own it leaves it behind. That
/// a spread widens further before is left out.
#[derive(Clone, Debug)]
pub struct PlaceValue {
    joins: [f64; 2],
    /// Expected cost at a spread of one tick by orders ahead and orders at the opposite best.
    tight: Vec<Vec<f64>>,
    /// The same at a spread of two ticks, by orders ahead.
    wide: Vec<f64>,
}

impl PlaceValue {
    /// The values in this flow, where of the orders in a queue `mortal` of 1 cancel: own ones do not.
    #[must_use]
    pub fn of(flow: &PoissonConfig, mortal: f64) -> PlaceValue {
        let per_second = |rates: &[numashock_book::flow::Rate], at: usize| {
            rates.get(at).or(rates.last()).map_or(0.0, |rate| rate.per_gigasecond as f64 * 1e-9)
        };
        let joins = [0, 1].map(|at| flow.limit.get(at).map_or(0.0, |_| per_second(&flow.limit, at)));
        let cancels = [0, 1].map(|at| mortal * per_second(&flow.cancel, at));
        let market = per_second(&[flow.market], 0);
        let mut value = PlaceValue { joins, tight: Vec::new(), wide: Vec::new() };
        let mut nearer = vec![0.0; LONGEST + 1];
        for ahead in 0..=LONGEST {
            nearer = costs(&nearer, ahead as f64, (joins[0], market, cancels));
            value.wide.push(nearer[0]);
            value.tight.push(nearer.clone());
        }
        value
    }

    /// Expected half-ticks a lot above its own price of a child with `ahead` orders before it and `opposite` at the opposite
    /// best, a tick away.
    #[must_use]
    pub fn cost(&self, ahead: usize, opposite: usize) -> f64 {
        self.tight[ahead.min(LONGEST)][opposite.clamp(1, LONGEST)]
    }

    /// Half-ticks a lot that a second of lateness costs a child that joins `ahead` orders: the rate at which orders take its
    /// place × what that costs. An order into a wide spread makes a new best price, where the child is second instead of first.
    #[must_use]
    pub fn slope(&self, spread: i64, ahead: usize, opposite: usize) -> f64 {
        let ahead = ahead.min(LONGEST - 1);
        let opposite = opposite.min(LONGEST);
        if spread <= 1 {
            return self.joins[0] * (self.cost(ahead + 1, opposite) - self.cost(ahead, opposite));
        }
        self.joins[1] * (self.wide[ahead + 1] - self.wide[ahead])
            + self.joins[0] * (self.cost(1, opposite) - self.cost(0, opposite))
    }

    /// Orders a second that take the place of a late child.
    #[must_use]
    pub fn takers(&self, spread: i64) -> f64 {
        if spread <= 1 { self.joins[0] } else { self.joins[0] + self.joins[1] }
    }
}

/// The costs with one more order ahead: a tridiagonal system over the opposite queue, place 0 being the wide spread.
fn costs(nearer: &[f64], ahead: f64, (join, market, cancels): (f64, f64, [f64; 2])) -> Vec<f64> {
    let size = nearer.len();
    let (mut diagonal, mut right, mut above) = (vec![0.0; size], vec![0.0; size], vec![0.0; size]);
    for opposite in 0..size {
        let advance = market + ahead * cancels[usize::from(opposite == 0)];
        // A child at the head that is hit has its price: it costs nothing.
        let advanced = if ahead > 0.0 { advance * nearer[opposite] } else { 0.0 };
        let (birth, death, lost) = if opposite == 0 {
            (join, 0.0, join)
        } else {
            let birth = if opposite + 1 < size { join } else { 0.0 };
            (birth, market + opposite as f64 * cancels[0], 0.0)
        };
        diagonal[opposite] = birth + death + lost + advance;
        above[opposite] = -birth;
        right[opposite] = advanced + lost * LEFT_BEHIND;
        if opposite > 0 {
            let factor = -death / diagonal[opposite - 1];
            diagonal[opposite] -= factor * above[opposite - 1];
            right[opposite] -= factor * right[opposite - 1];
        }
    }
    let mut solved = vec![0.0; size];
    for opposite in (0..size).rev() {
        let beyond = if opposite + 1 < size { above[opposite] * solved[opposite + 1] } else { 0.0 };
        solved[opposite] = (right[opposite] - beyond) / diagonal[opposite];
    }
    solved
}

/// A figure that is predicted from the stage before it and measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// The sum over seeds of what was predicted.
    pub predicted: f64,
    /// The sum over seeds of what was measured.
    pub measured: f64,
    /// Standard error of their difference, by seed.
    pub standard_error: f64,
}

impl Stage {
    fn of(
        seeds: &[SeedLink],
        predicted: impl Fn(&SeedLink) -> f64,
        measured: impl Fn(&SeedLink) -> f64,
    ) -> Stage {
        let count = seeds.len() as f64;
        let sum = |of: &dyn Fn(&SeedLink) -> f64| seeds.iter().map(of).sum::<f64>();
        let mean = sum(&|seed| measured(seed) - predicted(seed)) / count;
        let squares = sum(&|seed| {
            let off = measured(seed) - predicted(seed) - mean;
            off * off
        });
        let standard_error = (squares / (count - 1.0) * count).sqrt();
        Stage { predicted: sum(&predicted), measured: sum(&measured), standard_error }
    }

    /// Measured over predicted.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.measured / self.predicted
    }

    /// Their difference in standard errors.
    #[must_use]
    pub fn z(&self) -> f64 {
        self.z_of(1.0)
    }

    /// The same with the prediction multiplied, to see what would be noticed.
    #[must_use]
    pub fn z_of(&self, factor: f64) -> f64 {
        (self.measured - factor * self.predicted) / self.standard_error
    }
}

/// The whole chain in a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkReport {
    /// Replications.
    pub seeds: u32,
    /// Passive children.
    pub children: u64,
    /// Those that were late.
    pub late_children: u64,
    /// r: stalls a second.
    pub stalls_per_second: f64,
    /// E\[D\], in ms.
    pub mean_stall_ms: f64,
    /// E\[D²\]/E\[D\], in ms: the length of the stall that a random moment in a stall falls into.
    pub met_stall_ms: f64,
    /// Share of the time in which the dispatch thread was stalled.
    pub stalled_share: f64,
    /// ν_c: passive children a second.
    pub children_per_second: f64,
    /// Half-ticks a lot and second of lateness, over the books that were met.
    pub slope: f64,
    /// Share of the time in which the spread was one tick.
    pub tight_share: f64,
    /// Orders at a best price, in the mean.
    pub mean_queue: f64,
    /// Share of them that are own ones, which do not cancel.
    pub own_share: f64,
    /// Seconds: ν_c ΣD²/2.
    pub lateness: Stage,
    /// Lots: the predicted lateness × the rate of orders that take the place.
    pub places: Stage,
    /// Half-tick-lots: the predicted lateness × the slope. C_queue_decay.
    pub cost: Stage,
}

/// What one seed gives.
#[derive(Clone, Debug, Default)]
struct SeedLink {
    stalls: StallMoments,
    lateness: Lateness,
    met: Met,
    cost: f64,
}

impl SeedLink {
    /// ν_c ΣD²/2, in seconds: the stalls cover Σ D of the time, and who arrives in a stall of length D waits D/2.
    fn predicted_lateness(&self) -> f64 {
        let rate = self.lateness.children as f64 / self.stalls.time.0 as f64;
        rate * self.stalls.squares as f64 / 2.0 * 1e-9
    }
}

/// The books met at equal distances of time.
#[derive(Clone, Debug, Default)]
struct Met {
    /// Looks by spread in ticks and orders at the bid and at the ask.
    looks: BTreeMap<(i64, usize, usize), u64>,
    /// Orders at the best prices, all and own, at some of the events.
    resting: [u64; 2],
}

impl Met {
    fn look(&mut self, quotes: [Option<Quote>; 2], looks: u64) {
        let [Some(bid), Some(ask)] = quotes else { return };
        let [bids, asks] = [bid, ask].map(|quote| usize::try_from(quote.lots.0).unwrap_or(usize::MAX));
        *self.looks.entry((ask.price - bid.price, bids, asks)).or_default() += looks;
    }

    fn count_orders(&mut self, book: &Book) {
        for side in Side::BOTH {
            let Some(best) = book.best(side) else { continue };
            for (id, _) in book.queue(side, best.price) {
                self.resting[0] += 1;
                self.resting[1] += u64::from(id.is_own());
            }
        }
    }

    fn add(&mut self, other: &Met) {
        for (state, looks) in &other.looks {
            *self.looks.entry(*state).or_default() += looks;
        }
        for (sum, more) in self.resting.iter_mut().zip(other.resting) {
            *sum += more;
        }
    }

    /// The mean over looks and sides: children buy and sell.
    fn mean(&self, of: impl Fn(i64, usize, usize) -> f64) -> f64 {
        let all: u64 = self.looks.values().sum();
        let sum: f64 = self
            .looks
            .iter()
            .map(|((spread, bids, asks), looks)| {
                *looks as f64 * (of(*spread, *bids, *asks) + of(*spread, *asks, *bids)) / 2.0
            })
            .sum();
        sum / all as f64
    }
}

fn report(flow: &PoissonConfig, seeds: &[SeedLink]) -> LinkReport {
    let mut met = Met::default();
    seeds.iter().for_each(|seed| met.add(&seed.met));
    let own_share = met.resting[1] as f64 / met.resting[0] as f64;
    let value = PlaceValue::of(flow, 1.0 - own_share);
    let sum = |of: &dyn Fn(&SeedLink) -> f64| seeds.iter().map(of).sum::<f64>();
    let seconds = sum(&|seed| seed.stalls.time.0 as f64) * 1e-9;
    let (count, stalled) =
        (sum(&|seed| seed.stalls.count as f64), sum(&|seed| seed.stalls.sum.0 as f64) * 1e-9);
    let squares = sum(&|seed| seed.stalls.squares as f64) * 1e-18;
    let children: u64 = seeds.iter().map(|seed| seed.lateness.children).sum();
    let slope = met.mean(|spread, own, opposite| value.slope(spread, own, opposite));
    let takers = met.mean(|spread, _, _| value.takers(spread));
    LinkReport {
        seeds: u32::try_from(seeds.len()).expect("seeds are counted in 32 bits"),
        children,
        late_children: seeds.iter().map(|seed| seed.lateness.late_children).sum(),
        stalls_per_second: count / seconds,
        mean_stall_ms: stalled / count * 1e3,
        met_stall_ms: squares / stalled * 1e3,
        stalled_share: stalled / seconds,
        children_per_second: children as f64 / seconds,
        slope,
        tight_share: met.mean(|spread, _, _| f64::from(u8::from(spread <= 1))),
        mean_queue: met.mean(|_, own, _| own as f64),
        own_share,
        lateness: Stage::of(seeds, SeedLink::predicted_lateness, |seed| seed.lateness.late.0 as f64 * 1e-9),
        places: Stage::of(
            seeds,
            |seed| takers * seed.predicted_lateness(),
            |seed| seed.lateness.lost_lots as f64,
        ),
        cost: Stage::of(seeds, |seed| slope * seed.predicted_lateness(), |seed| seed.cost),
    }
}

fn shortfall(result: &RunResult) -> i128 {
    result.parents.iter().map(|parent| parent.shortfalls.swept.is).sum()
}

/// The report for a reader.
#[must_use]
pub fn table(report: &LinkReport) -> String {
    let mut text = format!(
        "{} seeds, {} passive children, {} of them late\n\
         stalls     {:.2} a second, mean {:.3} ms, met {:.3} ms, {:.2} % of the time\n\
         market     {:.2} orders at a best price, {:.1} % of them own, spread one tick {:.1} % of the time\n\
         slope      {:.3} half-ticks a lot and second of lateness\n\n\
         {:<26} {:>11} {:>11} {:>9} {:>6} {:>6}\n",
        report.seeds,
        report.children,
        report.late_children,
        report.stalls_per_second,
        report.mean_stall_ms,
        report.met_stall_ms,
        report.stalled_share * 100.0,
        report.mean_queue,
        report.own_share * 100.0,
        report.tight_share * 100.0,
        report.slope,
        "",
        "predicted",
        "measured",
        "s.e.",
        "ratio",
        "z"
    );
    for (name, stage) in [
        ("lateness, s", &report.lateness),
        ("places lost, lots", &report.places),
        ("C_queue_decay, half-ticks", &report.cost),
    ] {
        let _ = writeln!(
            text,
            "{name:<26} {:>11.3} {:>11.3} {:>9.3} {:>6.3} {:>6.2}",
            stage.predicted,
            stage.measured,
            stage.standard_error,
            stage.ratio(),
            stage.z()
        );
    }
    text
}

/// How many runs a link has: two worlds a seed.
#[must_use]
pub fn runs(config: &RunConfig) -> u64 {
    u64::from(config.seeds) * 2
}

/// Measures the chain over all seeds of a scenario, on the caller's pool of threads.
///
/// # Errors
/// If the scenario is not one whose link the law predicts.
pub fn measure(config: &RunConfig, done: &AtomicU64) -> Result<LinkReport, LinkError> {
    let ([symbol], [_]) = (&config.symbols[..], &config.hosts[..]) else {
        return Err(LinkError { key: "symbol", problem: "expected one symbol and one host" });
    };
    let Market::Poisson(flow) = &symbol.market else {
        return Err(LinkError {
            key: "market",
            problem: "expected [market.poisson]: the law is that flow's",
        });
    };
    let joins = |strategy: &TradingStrategy| {
        let Tactic { placement, on_left_behind, reprice_ticks, .. } = strategy.method.tactic;
        (placement, on_left_behind, reprice_ticks) == (Placement::Join, LeftBehind::Cross, 1)
    };
    if !config.strategies.iter().all(joins) {
        let problem = "expected a tactic that joins, with reprice_ticks = 1 and on_left_behind = \"cross\"";
        return Err(LinkError { key: "tactic", problem });
    }
    if config.seeds < SEEDS_LEAST {
        return Err(LinkError {
            key: "run.seeds",
            problem: "expected at least 30: the error is taken over seeds, and few of them lose a place that matters",
        });
    }
    if flow.sizes != Sizes::Fixed(Lots(1)) {
        return Err(LinkError { key: "market.poisson.lots", problem: "expected 1: the law counts orders" });
    }
    let seeds: Vec<SeedLink> =
        (0..config.seeds).into_par_iter().map(|seed| one(config, seed, done)).collect();
    Ok(report(flow, &seeds))
}

/// The real world, looked at, and the same without the loss of places.
fn one(config: &RunConfig, seed: u32, done: &AtomicU64) -> SeedLink {
    let replication = config.replication(seed);
    let mut met = Met::default();
    let mut simulation = Simulation::new(config, replication.input(Mechanisms::REAL, true, None, 0));
    let every = Span((config.duration.0 / LOOKS).max(1));
    let mut next = Nanos::ZERO + config.warmup;
    for event in 0u64.. {
        if event % EVENTS_BETWEEN_COUNTS == 0 {
            simulation.books().for_each(|book| met.count_orders(book));
        }
        // What the next event finds stood there at every look since the last one.
        let book = simulation.books().next().expect("there is one symbol");
        let stood = Side::BOTH.map(|side| book.best(side));
        let Some(now) = simulation.step() else { break };
        if next < now {
            let looks = (now - next).0.div_ceil(every.0);
            met.look(stood, looks);
            next += every * looks;
        }
    }
    let real = simulation.finish();
    done.fetch_add(1, Ordering::Relaxed);
    let kept = Mechanisms { queue_decay: false, ..Mechanisms::REAL };
    let steered = Some(std::sync::Arc::new(real.steered.clone()));
    let placed = Simulation::new(config, replication.input(kept, true, steered, 0)).run();
    done.fetch_add(1, Ordering::Relaxed);
    let cost = shortfall(&real) - shortfall(&placed);
    let host = &real.hosts[0];
    SeedLink { stalls: host.stalls, lateness: host.lateness, met, cost: cost as f64 }
}

#[cfg(test)]
mod tests {
    use numashock_book::Ticks;
    use numashock_book::flow::{InitialBook, Rate};

    use super::*;

    fn flow(limit: &[u64], cancel: &[u64], market: u64) -> PoissonConfig {
        PoissonConfig {
            limit: limit.iter().map(|rate| Rate::per_second(*rate)).collect(),
            cancel: cancel.iter().map(|rate| Rate::per_second(*rate)).collect(),
            market: Rate::per_second(market),
            sizes: Sizes::Fixed(Lots(1)),
            initial: InitialBook::even(Ticks(1_000), 3, 5),
        }
    }

    /// The same chain, jump by jump.
    fn walked(limit: &[u64], cancel: &[u64], market: u64, (ahead, opposite): (u64, u64), paths: u32) -> f64 {
        let mut draws = numashock_engine::Seed(3).stream("walk", ahead << 8 | opposite);
        let mut sum = 0.0;
        for _ in 0..paths {
            let (mut ahead, mut opposite) = (ahead, opposite);
            sum += loop {
                let advance = market + ahead * cancel[usize::from(opposite == 0)];
                let death = if opposite > 0 { market + opposite * cancel[0] } else { 0 };
                let lost = if opposite > 0 { 0 } else { limit[0] };
                let drawn = draws.below(advance + death + lost + limit[0]);
                if drawn < advance {
                    if ahead == 0 {
                        break 0.0;
                    }
                    ahead -= 1;
                } else if drawn < advance + death {
                    opposite -= 1;
                } else if drawn < advance + death + lost {
                    break LEFT_BEHIND;
                } else {
                    opposite += 1;
                }
            };
        }
        sum / f64::from(paths)
    }

    #[test]
    fn the_value_of_a_place_agrees_with_walks_through_the_chain() {
        let (limit, cancel, market) = ([20, 8], [2, 1], 14);
        let value = PlaceValue::of(&flow(&limit, &cancel, market), 1.0);
        for (ahead, opposite) in [(0, 1), (2, 1), (5, 3), (1, 6)] {
            let paths = 40_000;
            let seen = walked(&limit, &cancel, market, (ahead, opposite), paths);
            let cost = value.cost(ahead as usize, opposite as usize);
            let deviation = (cost * (LEFT_BEHIND - cost) / f64::from(paths)).sqrt();
            assert!((seen - cost).abs() < 4.0 * deviation, "{ahead} {opposite}: {cost} {seen} {deviation}");
        }
    }

    #[test]
    fn a_place_further_back_and_a_thinner_opposite_queue_cost_more() {
        let value = PlaceValue::of(&flow(&[20, 8], &[2, 1], 14), 1.0);
        for ahead in 0..30 {
            for opposite in 1..30 {
                assert!(value.cost(ahead, opposite) < value.cost(ahead + 1, opposite));
                assert!(value.cost(ahead, opposite + 1) < value.cost(ahead, opposite));
                assert!(value.slope(1, ahead, opposite) > 0.0);
            }
        }
        // A queue that nothing hits is never filled.
        let dead = PlaceValue::of(&flow(&[20, 8], &[2, 1], 0), 1.0);
        assert!((dead.cost(0, 3) - LEFT_BEHIND).abs() < 1e-9, "{}", dead.cost(0, 3));
    }

    #[test]
    fn orders_that_do_not_cancel_count_as_such() {
        let config = flow(&[20, 8], &[2, 2], 14);
        let half = PlaceValue::of(&config, 0.5);
        let slower = PlaceValue::of(&flow(&[20, 8], &[1, 1], 14), 1.0);
        assert!((half.cost(3, 4) - slower.cost(3, 4)).abs() < 1e-12);
        assert!(half.cost(0, 8) < PlaceValue::of(&config, 1.0).cost(0, 8), "the opposite queue lasts longer");
    }

    #[test]
    fn looks_average_over_time_and_sides() {
        let mut met = Met::default();
        let quote = |price, lots| Some(Quote { price: Ticks(price), lots: Lots(lots) });
        met.look([quote(10, 3), quote(11, 5)], 3);
        met.look([quote(10, 1), quote(12, 1)], 1);
        met.look([None, quote(12, 1)], 7);
        assert!((met.mean(|spread, _, _| spread as f64) - 1.25).abs() < 1e-12);
        assert!((met.mean(|_, own, _| own as f64) - 3.25).abs() < 1e-12);
    }

    #[test]
    fn a_stage_has_the_error_of_its_seeds() {
        let seed = |cost| SeedLink { cost, ..SeedLink::default() };
        let stage = Stage::of(&[seed(1.0), seed(3.0), seed(5.0)], |_| 2.0, |seed| seed.cost);
        assert_eq!((stage.predicted, stage.measured), (6.0, 9.0));
        // Differences −1, 1, 3: variance 4, so the sum of three has √12.
        assert!((stage.standard_error - 12.0f64.sqrt()).abs() < 1e-12);
        assert!((stage.z_of(2.0) + 3.0 / 12.0f64.sqrt()).abs() < 1e-12);
    }
}
