//! The whole Cont–Stoikov–Talreja book in its steady state (market: 1.4).
//!
//! Replications that share nothing stand for batches: each warms up, then is measured for its share of the events, and the
//! spread between them gives the standard errors.

use std::sync::Arc;

use numashock_book::flow::{self, Exogenous, Flow, FlowError, InitialBook, Kind, PoissonConfig, Sizes};
use numashock_book::{Book, Lots, Side, Ticks};
use numashock_engine::{Nanos, Seed};
use numashock_sim::scenario::units::Rate;
use serde::Deserialize;

use super::limits::Demand;
use super::{Case, Effort, Moments, Quantity, Wrong, pieces};

pub(super) const ABOUT: &str = "the whole book in its steady state: time by spread, orders by distance, mid moves, event mix, realised volatility, \
     and how often the next event of a level is an order that joins it";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("samples", "events, warm-up apart, spread over 40 replications"),
    (
        "limit",
        "list of rates of limit orders at 1, 2, ... ticks from the opposite best; none arrive further away",
    ),
    ("market", "rate of market orders of a side"),
    ("cancel", "list of rates at which each order cancels, by distance; the last holds beyond the list"),
    ("orders", "orders at each of as many levels when a replication begins"),
    ("warm_up", "events of each replication that are not measured"),
    ("spreads", "report the share of time at 1 to this many ticks of spread"),
    ("distances", "report the orders at 1 to this many ticks from the opposite best"),
    (
        "level_distances",
        "compare P(join) of levels at 1 to this many ticks from the opposite best; 0 for none",
    ),
    ("level_orders", "compare P(join) of levels of 1 to this many orders; 0 for none"),
    ("price_ticks", "the mid when a window of the realised volatility begins, in ticks"),
    ("trades", "market orders in such a window"),
];

const REPLICATIONS: u64 = 40;
const BID: Ticks = Ticks(0);

/// The steady state of a book.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WholeBook {
    samples: u64,
    limit: Vec<Rate>,
    market: Rate,
    cancel: Vec<Rate>,
    orders: u32,
    warm_up: u64,
    spreads: usize,
    distances: usize,
    level_distances: usize,
    level_orders: usize,
    price_ticks: u32,
    trades: u64,
}

/// One replication, running.
struct World {
    flow: Flow,
    book: Book,
    now: Nanos,
    /// Orders by distance and side, as they stand; index 0 is distance 1.
    depth: [Vec<u32>; 2],
    spread: usize,
}

/// What one replication has measured.
struct Measured {
    minutes: f64,
    spread_time: Vec<f64>,
    order_time: Vec<f64>,
    /// Limit orders, cancels, market orders.
    mix: [u64; 3],
    moves: u64,
    /// Sum of squares of mid moves, in ticks².
    variation: f64,
    /// Joins and departures by distance and orders.
    levels: Vec<[u64; 2]>,
    /// Realised volatilities of whole windows: at each change of the mid, and from trade to trade.
    windows: [Moments; 2],
}

/// A window of the realised volatility.
#[derive(Clone, Copy, Default)]
struct Window {
    trades: u64,
    /// Half-ticks since the window began: now, and at the last trade.
    mid: i64,
    traded: i64,
    squares: [f64; 2],
}

impl World {
    fn new(config: &PoissonConfig, distances: usize, seed: Seed) -> Result<World, FlowError> {
        let exogenous = Exogenous::poisson(config, seed, Nanos::NEVER)?;
        let mut book = Book::new();
        let flow = Flow::new(Arc::new(exogenous), &mut book);
        Ok(World { flow, book, now: Nanos::ZERO, depth: [vec![0; distances], vec![0; distances]], spread: 1 })
    }

    /// Counts the orders at each distance from the opposite best; false while a side is empty.
    fn look(&mut self) -> bool {
        let (Some(bid), Some(ask)) = (self.book.best(Side::Buy), self.book.best(Side::Sell)) else {
            return false;
        };
        self.spread = usize::try_from(ask.price - bid.price).expect("a book is not crossed");
        for side in Side::BOTH {
            let opposite = if side == Side::Buy { ask.price } else { bid.price };
            let depth = &mut self.depth[side.index()];
            depth.fill(0);
            for level in self.book.levels(side) {
                let distance = usize::try_from(side.sign() * (opposite - level.price)).expect("not crossed");
                let Some(orders) = depth.get_mut(distance - 1) else { break };
                *orders = u32::try_from(level.lots.0).expect("queues are short");
            }
        }
        true
    }
}

impl Measured {
    fn new(case: &WholeBook) -> Measured {
        Measured {
            minutes: 0.0,
            spread_time: vec![0.0; case.spreads],
            order_time: vec![0.0; case.distances],
            mix: [0; 3],
            moves: 0,
            variation: 0.0,
            levels: vec![[0; 2]; case.level_distances * case.level_orders],
            windows: [Moments::default(); 2],
        }
    }

    /// The time for which the book has stood as it does.
    fn stand(&mut self, world: &World, minutes: f64) {
        self.minutes += minutes;
        if let Some(time) = self.spread_time.get_mut(world.spread - 1) {
            *time += minutes;
        }
        let [bids, asks] = &world.depth;
        for ((time, bids), asks) in self.order_time.iter_mut().zip(bids).zip(asks) {
            *time += f64::from(bids + asks) / 2.0 * minutes;
        }
    }

    /// An order joins or leaves a level that has `orders` before. Only the best one, at a distance of the spread, meets market
    /// orders; it is counted at a spread of one tick.
    fn level(&mut self, case: &WholeBook, (distance, orders): (usize, u32), joins: bool, spread: usize) {
        let counted =
            (distance > spread || (distance == 1 && spread == 1)) && distance <= case.level_distances;
        let orders = orders as usize;
        if counted && (1..=case.level_orders).contains(&orders) {
            self.levels[(distance - 1) * case.level_orders + orders - 1][usize::from(!joins)] += 1;
        }
    }
}

impl WholeBook {
    /// Limit orders of a side per second, at all distances.
    fn arrivals(&self) -> f64 {
        self.limit.iter().map(|rate| rate.0 as f64 / 1e9).sum()
    }

    /// The fewest events of a replication: three windows of trades, where every limit order leaves in an event of its own.
    fn least(&self) -> u64 {
        let share = self.market.0 as f64 / 1e9 / (2.0 * self.arrivals());
        (3.0 * self.trades as f64 / share).max(1_000.0) as u64
    }

    fn config(&self) -> PoissonConfig {
        let rate = |rate: &Rate| flow::Rate { per_gigasecond: rate.0 };
        PoissonConfig {
            limit: self.limit.iter().map(rate).collect(),
            cancel: self.cancel.iter().map(rate).collect(),
            market: rate(&self.market),
            sizes: Sizes::Fixed(Lots(1)),
            initial: InitialBook::even(BID, self.limit.len(), self.orders),
        }
    }

    fn replicate(&self, config: &PoissonConfig, events: u64, seed: Seed) -> Result<Measured, FlowError> {
        let mut world = World::new(config, self.limit.len(), seed)?;
        let mut fills = Vec::new();
        for _ in 0..self.warm_up {
            world.now = world.flow.step(&mut world.book, &mut fills).at;
            fills.clear();
        }
        let mut measured = Measured::new(self);
        let mut known = world.look();
        let mut mid = world.book.mid().map_or(0, |mid| mid.0);
        let mut window = Window::default();
        for _ in 0..events {
            let happened = world.flow.step(&mut world.book, &mut fills);
            fills.clear();
            if known {
                measured.stand(&world, (happened.at - world.now).0 as f64 / 60e9);
                self.event(&mut measured, &world, &happened);
            }
            world.now = happened.at;
            measured.mix[match happened.kind {
                Kind::Limit => 0,
                Kind::Market => 2,
                _ => 1,
            }] += 1;
            known = world.look();
            // A side that has emptied for a moment keeps the mid where it was.
            let after = world.book.mid().map_or(mid, |mid| mid.0);
            self.mid(&mut measured, &mut window, after - mid, happened.kind == Kind::Market);
            mid = after;
        }
        Ok(measured)
    }

    /// Counts what happens to a level, as it stood before.
    fn event(&self, measured: &mut Measured, world: &World, happened: &flow::Happened) {
        let (level_side, joins) = match happened.kind {
            Kind::Limit => (happened.side, true),
            Kind::Market => (!happened.side, false),
            _ => (happened.side, false),
        };
        let distance = match happened.kind {
            Kind::Market => Some(world.spread),
            _ => self.distance(world, happened),
        };
        let Some(distance) = distance.filter(|distance| (1..=self.level_distances).contains(distance)) else {
            return;
        };
        let orders = world.depth[level_side.index()][distance - 1];
        measured.level(self, (distance, orders), joins, world.spread);
    }

    /// How far from the opposite best an order that came or went stood. The opposite best is not moved by such an event.
    fn distance(&self, world: &World, happened: &flow::Happened) -> Option<usize> {
        let opposite = world.book.best(!happened.side)?.price;
        usize::try_from(happened.side.sign() * (opposite - happened.price)).ok()
    }

    fn mid(&self, measured: &mut Measured, window: &mut Window, change: i64, trade: bool) {
        let log = |half_ticks: i64| libm::log(2.0 * f64::from(self.price_ticks) + half_ticks as f64);
        if change != 0 {
            measured.moves += 1;
            measured.variation += (change * change) as f64 / 4.0;
            let step = log(window.mid + change) - log(window.mid);
            window.squares[0] += step * step;
            window.mid += change;
        }
        if trade {
            let step = log(window.mid) - log(window.traded);
            window.squares[1] += step * step;
            window.traded = window.mid;
            window.trades += 1;
            if window.trades == self.trades {
                for (moments, squares) in measured.windows.iter_mut().zip(window.squares) {
                    moments.add(squares.sqrt());
                }
                *window = Window::default();
            }
        }
    }
}

impl Case for WholeBook {
    fn check(&self) -> Result<(), Wrong> {
        for (key, good, wanted) in [
            ("limit", (1..=1_000).contains(&self.limit.len()), "1 to 1000 rates"),
            (
                "cancel",
                (1..=1_000).contains(&self.cancel.len()) && self.cancel.iter().all(|rate| rate.0 > 0),
                "1 to 1000 rates above zero: without cancellation the book grows without end",
            ),
            (
                "market",
                self.market.0 > 0 && (self.market.0 as f64) < 1e9 * self.arrivals(),
                "a rate above zero, below the sum of limit: more market orders than limit orders leave the book empty",
            ),
            ("orders", self.orders > 0 && self.orders <= 1_000, "1 to 1000"),
            ("warm_up", self.warm_up <= 1_000_000_000, "at most 1000000000"),
            (
                "distances",
                (1..=self.limit.len()).contains(&self.distances),
                "1 to as many as limit has rates",
            ),
            (
                "level_distances",
                self.level_distances <= self.limit.len(),
                "at most as many as limit has rates",
            ),
            ("spreads", (1..=1_000).contains(&self.spreads), "1 to 1000"),
            ("level_orders", self.level_orders <= 1_000, "at most 1000"),
            ("trades", (1..=1_000_000).contains(&self.trades), "1 to 1000000"),
            (
                "price_ticks",
                u64::from(self.price_ticks) >= self.trades.max(100),
                "at least 100, and as many as trades: the mid must stay above zero",
            ),
        ] {
            if !good {
                return Err(Wrong::new(key, format!("expected {wanted}")));
            }
        }
        if self.samples / REPLICATIONS < self.least() {
            let problem = format!(
                "expected at least {}, so that each of the 40 replications has some windows of `trades` market orders: \
                raise samples or lower trades",
                self.least().saturating_mul(REPLICATIONS)
            );
            return Err(Wrong::new("samples", problem));
        }
        Ok(())
    }

    fn demand(&self) -> Demand {
        let each = self.samples as f64 / REPLICATIONS as f64 + self.warm_up as f64;
        // A look at the book is as much work as there are levels.
        let events = REPLICATIONS as f64 * each * (1.0 + self.limit.len() as f64 / 30.0);
        let cancel = |index: usize| self.cancel[index.min(self.cancel.len() - 1)].0 as f64;
        let resting: f64 =
            self.limit.iter().enumerate().map(|(index, rate)| 2.0 * rate.0 as f64 / cancel(index)).sum();
        let seconds = each / (2.0 * self.arrivals());
        Demand {
            samples: Some(self.samples),
            least: REPLICATIONS,
            events,
            each: resting,
            seconds,
            key: "limit",
        }
    }

    fn compares(&self) -> bool {
        self.level_distances > 0 && self.level_orders > 0
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let events = effort.samples(self.samples, self.least() * REPLICATIONS) / REPLICATIONS;
        let config = self.config();
        let mut all = Vec::new();
        let run =
            |range: core::ops::Range<u64>| self.replicate(&config, events, seed.replication(range.start));
        pieces(REPLICATIONS, 1, run, |measured| all.push(measured));
        let all: Result<Vec<Measured>, FlowError> = all.into_iter().collect();
        let all = all.map_err(|error| Wrong::new("", error.to_string()))?;
        Ok(self.figures(&all))
    }
}

impl WholeBook {
    fn figures(&self, all: &[Measured]) -> Vec<Quantity> {
        let over = |name: String, of: &dyn Fn(&Measured) -> f64| {
            let mut moments = Moments::default();
            for measured in all {
                moments.add(of(measured));
            }
            Quantity::mean(name, &moments, None)
        };
        let mut figures: Vec<Quantity> = (1..=self.spreads)
            .map(|spread| {
                over(format!("time at spread {spread}"), &|measured| {
                    measured.spread_time[spread - 1] / measured.minutes
                })
            })
            .collect();
        let orders: Vec<Quantity> = (1..=self.distances)
            .map(|distance| {
                let name = format!("orders at distance {distance}");
                over(name, &|measured| measured.order_time[distance - 1] / measured.minutes)
            })
            .collect();
        let most = orders.iter().enumerate().max_by(|a, b| a.1.simulated.total_cmp(&b.1.simulated));
        let hump = most.map_or(0, |(index, _)| index + 1);
        let certain =
            Quantity { simulated: hump as f64, standard_error: 0.0, ..over(String::new(), &|_| 0.0) };
        figures.extend(orders);
        figures.push(Quantity { name: "distance with most orders".to_owned(), ..certain });
        figures.push(over("mid moves per minute".to_owned(), &|measured| {
            measured.moves as f64 / measured.minutes
        }));
        let variation = "variance of the mid per minute, ticks^2";
        figures.push(over(variation.to_owned(), &|measured| measured.variation / measured.minutes));
        let total = |measured: &Measured| measured.mix.iter().sum::<u64>() as f64;
        for (index, kind) in ["limit orders", "cancels", "market orders"].into_iter().enumerate() {
            figures.push(over(format!("share of {kind}"), &|measured| {
                measured.mix[index] as f64 / total(measured)
            }));
        }
        for (index, how) in ["at each move of the mid", "from trade to trade"].into_iter().enumerate() {
            let mut moments = Moments::default();
            for measured in all {
                moments.merge(&measured.windows[index]);
            }
            figures.push(Quantity::mean(format!("realised volatility {how}"), &moments, None));
        }
        figures.extend(self.joins(all));
        figures
    }

    /// P(join): arrivals against departures at the rates of the level as it stood.
    fn joins(&self, all: &[Measured]) -> Vec<Quantity> {
        let mut figures = Vec::new();
        for distance in 1..=self.level_distances {
            for orders in 1..=self.level_orders {
                let place = (distance - 1) * self.level_orders + orders - 1;
                let sum =
                    |index: usize| all.iter().map(|measured| measured.levels[place][index]).sum::<u64>();
                let (joins, leaves) = (sum(0), sum(1));
                if joins + leaves == 0 {
                    continue;
                }
                let cancel = self.cancel[(distance - 1).min(self.cancel.len() - 1)].0 as f64 * orders as f64;
                let market = if distance == 1 { self.market.0 as f64 } else { 0.0 };
                let join = self.limit[distance - 1].0 as f64;
                let known = join / (join + market + cancel);
                let name = format!("P(join), distance {distance}, {orders} orders");
                figures.push(Quantity::share(name, joins, joins + leaves, Some(known)));
            }
        }
        figures
    }
}
