//! The flows against formulas, against a naive twin, and world against world.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::recorded;
use crate::{HalfTicks, Quote, Stamp};

const MINUTE: u64 = 60_000_000_000;

fn world(config: &PoissonConfig, seed: Seed, until: Nanos) -> (Flow, Book) {
    let exogenous = Exogenous::poisson(config, seed, until).unwrap();
    let mut book = Book::new();
    (Flow::new(Arc::new(exogenous), &mut book), book)
}

fn sky_perfect(bid_orders: u32, ask_orders: u32) -> PoissonConfig {
    let mut initial = InitialBook::even(Ticks(1_000), 5, 5);
    initial.bid_orders[0] = bid_orders;
    initial.ask_orders[0] = ask_orders;
    PoissonConfig::sky_perfect(5, initial)
}

/// Runs until the mid leaves its start; true if it went up.
fn mid_goes_up(config: &PoissonConfig, seed: Seed) -> bool {
    let (mut flow, mut book) = world(config, seed, Nanos::NEVER);
    let start = book.mid().unwrap();
    let mut fills = Vec::new();
    loop {
        flow.step(&mut book, &mut fills);
        match book.mid() {
            Some(mid) if mid == start => {}
            Some(mid) => return mid > start,
            None => return book.best(Side::Sell).is_none(),
        }
    }
}

/// market: 1.3, P(mid up) for a spread of one tick, at the table's printed parameters.
#[test]
fn the_mid_moves_up_as_often_as_the_formula_says() {
    let cells = [(1, 1, 0.5), (1, 2, 0.3352), (2, 1, 0.6648), (3, 1, 0.7410), (2, 5, 0.3072), (5, 4, 0.5477)];
    const RUNS: u64 = 40_000;
    for (bid, ask, expected) in cells {
        let config = sky_perfect(bid, ask);
        let ups = (0..RUNS).filter(|run| mid_goes_up(&config, Seed(bid.into()).replication(*run))).count();
        let share = ups as f64 / RUNS as f64;
        assert!((share - expected).abs() < 0.01, "({bid}, {ask}): {share} for {expected}");
    }
}

/// market: 1.2, proposition 3 at a spread of two ticks, by relaxation on the chain of the two best queues.
fn up_at_spread_two(bid: usize, ask: usize) -> f64 {
    const N: usize = 40;
    let (join, inside, market, cancel) = (1.51, 1.85, 0.94, 0.81);
    let mut up = vec![vec![0.5; N + 2]; N + 2];
    for _ in 0..2_000 {
        for b in 1..=N {
            for a in 1..=N {
                let left = |queue: usize| market + cancel * queue as f64;
                let after_bid = if b == 1 { 0.0 } else { up[b - 1][a] };
                let after_ask = if a == 1 { 1.0 } else { up[b][a - 1] };
                let flow = join * (up[(b + 1).min(N)][a] + up[b][(a + 1).min(N)]) + inside;
                let total = 2.0 * join + 2.0 * inside + left(b) + left(a);
                up[b][a] = (flow + left(b) * after_bid + left(a) * after_ask) / total;
            }
        }
    }
    up[bid][ask]
}

#[test]
fn the_mid_moves_as_the_formula_says_at_a_wider_spread() {
    const RUNS: u64 = 40_000;
    for (bid, ask) in [(1, 3), (4, 2)] {
        let mut config = sky_perfect(bid, ask);
        config.initial.spread = 2;
        let ups = (0..RUNS).filter(|run| mid_goes_up(&config, Seed(9).replication(*run))).count();
        let (share, expected) = (ups as f64 / RUNS as f64, up_at_spread_two(bid as usize, ask as usize));
        assert!((share - expected).abs() < 0.01, "({bid}, {ask}): {share} for {expected}");
    }
}

/// market: 2, time to fill behind q orders: set LT, one queue that is hit at 14 and cancels at 1 per second.
#[test]
fn the_time_to_fill_has_its_mean_and_spread() {
    const RUNS: u64 = 10_000;
    for (ahead, mean, deviation) in [(1, 0.1381, 0.0977), (5, 0.3676, 0.1509), (20, 0.9381, 0.2123)] {
        let initial =
            InitialBook { bid: Ticks(0), spread: 1, bid_orders: vec![ahead], ask_orders: vec![200] };
        let config = PoissonConfig {
            limit: vec![Rate::per_second(20)],
            cancel: vec![Rate::per_second(1)],
            market: Rate::per_second(14),
            sizes: Sizes::Fixed(Lots(1)),
            initial,
        };
        let (mut sum, mut squares) = (0.0, 0.0);
        for run in 0..RUNS {
            let (mut flow, mut book) = world(&config, Seed(ahead.into()).replication(run), Nanos::NEVER);
            let (mut fills, mut now) = (Vec::new(), Nanos::ZERO);
            assert!(book.post_only(OrderId::own(0), Side::Buy, Ticks(0), Lots(1), Stamp(0)));
            flow.own_order_changed(Nanos::ZERO, &book);
            while book.rests(OrderId::own(0)) {
                now = flow.next_at();
                flow.step(&mut book, &mut fills);
            }
            let seconds = now.0 as f64 / 1e9;
            sum += seconds;
            squares += seconds * seconds;
        }
        let found = sum / RUNS as f64;
        let spread = libm::sqrt(squares / RUNS as f64 - found * found);
        assert!((found - mean).abs() < 4.0 * deviation / 100.0, "{ahead}: {found} for {mean}");
        assert!((spread / deviation - 1.0).abs() < 0.04, "{ahead}: {spread} for {deviation}");
    }
}

/// market: 1.3, proposition 5: the own order that stands last of `rank` at the bid fills before the mid moves.
#[test]
fn an_own_order_fills_before_the_mid_moves_as_often_as_the_formula_says() {
    const RUNS: u64 = 40_000;
    for (rank, ask, expected) in [(1, 1, 0.5025), (2, 1, 0.3589), (3, 2, 0.4654), (2, 4, 0.7372)] {
        let mut filled = 0;
        for run in 0..RUNS {
            let config = sky_perfect(rank.max(2) - 1, ask);
            let (mut flow, mut book) = world(&config, Seed(77).replication(run), Nanos::NEVER);
            let mut fills = Vec::new();
            let (own, price) = (OrderId::own(0), Ticks(1_000));
            assert!(book.post_only(own, Side::Buy, price, Lots(1), Stamp(0)));
            if rank == 1 {
                // The initial book has at least one order: it leaves before the start.
                book.take(OrderId(1 << 20), Side::Sell, Lots(1), None, &mut fills);
                fills.clear();
            }
            flow.own_order_changed(Nanos::ZERO, &book);
            assert_eq!(book.ahead(own).unwrap().orders, u64::from(rank) - 1);
            while book.best(Side::Sell).is_some_and(|ask| ask.price == Ticks(1_001))
                && book.order(own).is_some()
            {
                flow.step(&mut book, &mut fills);
            }
            filled += u64::from(book.order(own).is_none());
        }
        let share = filled as f64 / RUNS as f64;
        assert!((share - expected).abs() < 0.01, "({rank}, {ask}): {share} for {expected}");
    }
}

/// With cancels only, the number left after t has the mean n·exp(−θt); later lifetimes are drawn alike.
#[test]
fn orders_of_one_price_cancel_exponentially() {
    let config = PoissonConfig {
        limit: vec![],
        cancel: vec![Rate::per_second(2)],
        market: Rate { per_gigasecond: 1 },
        sizes: Sizes::Fixed(Lots(3)),
        initial: InitialBook::even(Ticks(0), 1, 100_000),
    };
    let (mut flow, mut book) = world(&config, Seed(3), Nanos(3_000_000_000));
    let mut fills = Vec::new();
    let mut check_at = [250_000_000, 500_000_000, 1_000_000_000].into_iter().peekable();
    while flow.next_at() < Nanos::NEVER {
        if let Some(at) = check_at.next_if(|at| flow.next_at() > Nanos(*at)) {
            let expected = 100_000.0 * libm::exp(-2.0 * at as f64 / 1e9);
            let left = book.orders_at(Side::Buy, Ticks(0)) as f64;
            assert!((left - expected).abs() < 4.0 * libm::sqrt(expected), "{left} for {expected}");
        }
        let happened = flow.step(&mut book, &mut fills);
        assert!(matches!(happened.kind, Kind::Cancel | Kind::Market));
        assert_eq!(happened.lots, Lots(3));
    }
    assert_eq!(check_at.next(), None);
}

/// One world, with each order's own hazard integrated event by event: the literal reading of attribution: A9.
struct Literal {
    law: Law,
    flow: Flow,
    book: Book,
    now: Nanos,
    reference: [Ticks; 2],
    consumed: BTreeMap<OrderId, u128>,
    own: Vec<OrderId>,
}

impl Literal {
    fn pass(&mut self, until: Nanos) {
        let wait = u128::from((until - self.now).0);
        self.now = until;
        for side in Side::BOTH {
            for quote in self.book.levels(side) {
                let distance = side.sign() * (self.reference[(!side).index()] - quote.price);
                for (id, _) in self.book.queue(side, quote.price).filter(|(id, _)| !id.is_own()) {
                    *self.consumed.entry(id).or_default() +=
                        u128::from(self.law.cancel_rate(distance)) * wait;
                }
            }
        }
    }

    fn measure(&mut self) {
        for side in Side::BOTH {
            let last = self.reference[side.index()];
            self.reference[side.index()] = self.book.best(side).map_or(last, |best| best.price);
        }
        self.book.check();
    }

    /// An own order inside the spread or behind the touch, a cancel, or a taker.
    fn act(&mut self, random: &mut numashock_engine::Stream) {
        let mut fills = Vec::new();
        let side = Side::BOTH[random.below(2) as usize];
        let id = OrderId::own(self.own.len() as u64);
        match random.below(3) {
            0 => {
                let price = self.reference[(!side).index()].behind(side, random.below(6) as i64);
                self.book.limit(id, side, price, Lots(2), Stamp(self.now.0), &mut fills);
            }
            1 => {
                let last = self.own.iter().rev().find(|id| self.book.rests(**id)).copied();
                last.map(|id| self.book.cancel(id));
            }
            _ => {
                self.book.take(id, side, Lots(1 + random.below(12)), None, &mut fills);
            }
        }
        self.own.push(id);
        self.flow.own_order_changed(self.now, &self.book);
        self.measure();
    }
}

#[test]
fn each_order_cancels_when_its_own_integral_reaches_its_lifetime() {
    let initial = InitialBook::even(Ticks(50), 6, 3);
    let config =
        PoissonConfig { sizes: Sizes::Geometric { mean: Lots(3) }, ..PoissonConfig::sky_perfect(8, initial) };
    for seed in 0..40 {
        let (flow, book) = world(&config, Seed(seed), Nanos(60 * MINUTE));
        let Source::Poisson { law, .. } = flow.exogenous.source.clone() else { unreachable!() };
        let (now, reference) = (Nanos::ZERO, [Ticks(50), Ticks(51)]);
        let lifetimes = flow_lifetimes(&law, Seed(seed));
        let mut world =
            Literal { law, flow, book, now, reference, consumed: BTreeMap::new(), own: Vec::new() };
        let mut random = Seed(seed).stream("own", 0);
        let mut cancelled = 0;
        while world.flow.next_at() < Nanos::NEVER {
            let next = world.flow.next_at();
            // Half of the worlds have own orders, each at a moment between two events.
            if seed % 2 == 1 && random.below(4) == 0 {
                world.pass(Nanos((world.now.0 + next.0) / 2));
                world.act(&mut random);
                continue;
            }
            world.pass(next);
            let happened = world.flow.step(&mut world.book, &mut Vec::new());
            assert_eq!(happened.at, next);
            world.measure();
            if happened.kind == Kind::Cancel {
                cancelled += 1;
                let over = world.consumed[&happened.id] - lifetimes[&happened.id];
                // A cancel falls on the first nanosecond at which the integral has reached the lifetime.
                assert!(over < u128::from(Rate::per_second(1).per_gigasecond), "{seed}: {happened:?}");
            }
        }
        assert!(cancelled > 200, "{seed}: {cancelled}");
        for (id, consumed) in world.consumed.iter().filter(|(id, _)| world.book.rests(**id)) {
            assert!(*consumed < lifetimes[id], "{seed}: {id:?} outlives its lifetime");
        }
    }
}

/// The lifetimes that the tape gives each order, in the clock's unit.
fn flow_lifetimes(law: &Law, seed: Seed) -> BTreeMap<OrderId, u128> {
    poisson::lifetimes(law, seed, Nanos(60 * MINUTE))
        .into_iter()
        .map(|(id, lifetime)| (id, (u128::from(lifetime) * 1_000_000_000_000_000_000) >> 40))
        .collect()
}

fn events(config: &PoissonConfig, own: Option<(Side, Ticks)>) -> Vec<Happened> {
    let (mut flow, mut book) = world(config, Seed(5), Nanos(200 * MINUTE));
    if let Some((side, price)) = own {
        assert!(book.post_only(OrderId::own(0), side, price, Lots(1), Stamp(0)));
        flow.own_order_changed(Nanos::ZERO, &book);
    }
    let mut seen = Vec::new();
    while flow.next_at() < Nanos::NEVER {
        seen.push(flow.step(&mut book, &mut Vec::new()));
    }
    seen
}

#[test]
fn worlds_without_own_orders_are_identical_and_a_far_own_order_changes_nothing() {
    let config = PoissonConfig::sky_perfect(10, InitialBook::even(Ticks(0), 10, 3));
    let bare = events(&config, None);
    assert!(bare.len() > 5_000);
    assert_eq!(bare, events(&config, None));
    assert_eq!(bare, events(&config, Some((Side::Buy, Ticks(-5_000)))));
    assert_eq!(bare, events(&config, Some((Side::Sell, Ticks(9_000)))));
}

/// attribution: A9. An own order that improves the bid moves what follows from distances, never the tape itself.
#[test]
fn an_own_order_at_the_touch_keeps_times_and_marks_of_the_arrivals() {
    let mut config = PoissonConfig::sky_perfect(10, InitialBook::even(Ticks(0), 10, 3));
    config.initial.spread = 3;
    let arrivals = |own| -> Vec<_> {
        let events = events(&config, own).into_iter();
        let arrivals = events.filter(|event| matches!(event.kind, Kind::Limit | Kind::Market));
        arrivals.map(|event| (event.at, event.kind, event.id, event.side, event.lots)).collect()
    };
    let (bare, moved) = (arrivals(None), arrivals(Some((Side::Buy, Ticks(2)))));
    assert_eq!(bare, moved);
    assert_ne!(events(&config, None), events(&config, Some((Side::Buy, Ticks(2)))));
}

#[test]
fn arrivals_come_at_their_rates_and_geometric_sizes_have_their_mean() {
    let config = PoissonConfig {
        limit: vec![Rate::per_second(20), Rate::per_second(10), Rate::per_second(0), Rate::per_second(5)],
        cancel: vec![Rate::per_second(1)],
        market: Rate::per_second(14),
        sizes: Sizes::Geometric { mean: Lots(4) },
        initial: InitialBook::even(Ticks(0), 5, 20),
    };
    let seconds = 2_000;
    let (mut flow, mut book) = world(&config, Seed(11), Nanos(seconds * 1_000_000_000));
    let (mut counts, mut lots, mut fills) = (BTreeMap::new(), 0, Vec::new());
    let mut best = [0, 1];
    while flow.next_at() < Nanos::NEVER {
        for side in Side::BOTH {
            best[side.index()] = book.best(side).map_or(best[side.index()], |best| best.price.0);
        }
        let happened = flow.step(&mut book, &mut fills);
        let distance = happened.side.sign() * (best[(!happened.side).index()] - happened.price.0);
        if happened.kind != Kind::Cancel {
            *counts.entry((happened.kind, happened.side, distance)).or_insert(0u64) += 1;
            lots += happened.lots.0;
        }
    }
    for side in Side::BOTH {
        for (kind, distance, rate) in
            [(Kind::Limit, 1, 20), (Kind::Limit, 2, 10), (Kind::Limit, 4, 5), (Kind::Market, 0, 14)]
        {
            let (count, expected) = (counts[&(kind, side, distance)] as f64, (rate * seconds) as f64);
            assert!((count - expected).abs() < 5.0 * libm::sqrt(expected), "{kind:?} {distance}: {count}");
        }
    }
    assert_eq!(counts.len(), 8);
    let arrivals: u64 = counts.values().sum();
    assert!((lots as f64 / arrivals as f64 - 4.0).abs() < 0.1);
    assert_eq!(flow.stats().limits + flow.stats().markets, arrivals);
}

/// market: 1.4. In the long run orders stand densest two ticks from the opposite best.
#[test]
fn the_book_has_its_hump_at_two_ticks() {
    let config = PoissonConfig::sky_perfect(30, InitialBook::even(Ticks(0), 20, 2));
    let (mut flow, mut book) = world(&config, Seed(1), Nanos(20_000 * MINUTE));
    let (mut now, mut fills, mut held) = (Nanos::ZERO, Vec::new(), [0.0; 6]);
    while flow.next_at() < Nanos::NEVER {
        let wait = (flow.next_at() - now).0 as f64;
        now = flow.next_at();
        if let (Some(_), Some(ask)) = (book.mid(), book.best(Side::Sell)) {
            for distance in 1..=5i64 {
                let orders = book.orders_at(Side::Buy, Ticks(ask.price.0 - distance));
                held[distance as usize] += wait * orders as f64;
            }
        }
        fills.clear();
        flow.step(&mut book, &mut fills);
    }
    book.check();
    let densest = (1..=5).max_by(|a, b| held[*a].total_cmp(&held[*b])).unwrap();
    assert_eq!(densest, 2, "{held:?}");
}

#[test]
fn a_side_that_empties_keeps_its_last_best() {
    let config = PoissonConfig {
        limit: vec![Rate::per_second(1)],
        cancel: vec![Rate::per_second(1)],
        market: Rate::per_second(50),
        sizes: Sizes::Fixed(Lots(1)),
        initial: InitialBook { bid: Ticks(0), spread: 2, bid_orders: vec![1], ask_orders: vec![1] },
    };
    let (mut flow, mut book) = world(&config, Seed(2), Nanos(400_000_000_000));
    let mut last = [Ticks(0), Ticks(2)];
    let mut empty = 0;
    while flow.next_at() < Nanos::NEVER {
        let happened = flow.step(&mut book, &mut Vec::new());
        empty += u64::from(book.mid().is_none());
        if happened.kind == Kind::Limit {
            assert_eq!(happened.price, last[(!happened.side).index()].behind(happened.side, 1));
        }
        for side in Side::BOTH {
            last[side.index()] = book.best(side).map_or(last[side.index()], |best| best.price);
        }
        book.check();
    }
    assert!(empty > 1_000);
    assert!(flow.stats().clipped_lots > Lots(1_000));
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let good = sky_perfect(1, 1);
    let error = |change: fn(&mut PoissonConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Exogenous::poisson(&config, Seed(1), Nanos(1)).map(|_| ()).unwrap_err()
    };
    assert_eq!(error(|config| config.cancel.clear()), FlowError::NoCancelRate);
    assert_eq!(error(|config| config.sizes = Sizes::Fixed(Lots::ZERO)), FlowError::Size(Lots::ZERO));
    assert!(matches!(
        error(|config| config.sizes = Sizes::Geometric { mean: Lots(u64::MAX) }),
        FlowError::Size(_)
    ));
    assert_eq!(error(|config| config.cancel[0].per_gigasecond = u64::MAX), FlowError::TooFast);
    assert!(matches!(error(|config| config.initial.bid_orders = vec![u32::MAX; 9]), FlowError::Orders(_)));
    assert_eq!(error(|config| config.initial.spread = 0), FlowError::ZeroSpread);
    assert_eq!(error(|config| config.initial.ask_orders.clear()), FlowError::EmptySide(Side::Sell));
    assert_eq!(error(|config| config.initial.bid = Ticks(i64::MAX)), FlowError::Price(Ticks(i64::MAX)));
    assert_eq!(error(|config| config.market.per_gigasecond = u64::MAX), FlowError::TooFast);
    let silent = |config: &mut PoissonConfig| {
        config.limit.clear();
        config.market = Rate::default();
    };
    assert_eq!(error(silent), FlowError::Silent);
}

fn phases(list: &[(u64, u32)]) -> Phases {
    let phase = |(seconds, intensity_ppm): &(u64, u32)| Phase {
        name: String::new(),
        length: Span(*seconds * 1_000_000_000),
        intensity_ppm: *intensity_ppm,
    };
    Phases::new(list.iter().map(phase).collect()).unwrap()
}

fn hawkes(limit: u64) -> HawkesConfig {
    HawkesConfig {
        limit: vec![Rate::per_second(limit), Rate::per_second(20)],
        cancel: vec![Rate::per_second(1)],
        market: Excitation {
            mu: Rate::per_second(5),
            self_excitation: Rate::per_second(4),
            cross_excitation: Rate::per_second(2),
            beta: Rate::per_second(10),
        },
        sizes: Sizes::Fixed(Lots(2)),
        initial: InitialBook::even(Ticks(0), 5, 20),
    }
}

/// One of each synthetic flow.
fn synthetic(seed: Seed, until: Nanos) -> [Exogenous; 3] {
    let queue = |market| QueueLaw {
        lots: Lots(3),
        intensities: Intensities {
            limit: vec![Rate::per_second(20)],
            cancel: vec![Rate::default(), Rate::per_second(4), Rate::per_second(8), Rate::per_second(25)],
            market: vec![Rate::default(), Rate::per_second(market)],
        },
        when_empty: None,
        opposite: Vec::new(),
    };
    let reactive = QueueReactiveConfig {
        model: QueueModel::Independent,
        queues: vec![queue(12), queue(0)],
        theta_ppm: 600_000,
        theta_reinit_ppm: 500_000,
        bid: Ticks(0),
        start: StartBook::Given(vec![3, 2]),
    };
    [
        Exogenous::poisson(&PoissonConfig::sky_perfect(10, InitialBook::even(Ticks(0), 10, 3)), seed, until)
            .unwrap(),
        Exogenous::hawkes(&hawkes(30), seed, until).unwrap(),
        Exogenous::queue_reactive(&reactive, seed, until).unwrap(),
    ]
}

/// What happens with own orders now and then, which take, rest and leave.
fn with_own_orders(exogenous: Exogenous, every: u64) -> (Vec<Happened>, Vec<Fill>) {
    with_turned_orders(exogenous, every, |side| side)
}

fn with_turned_orders(
    exogenous: Exogenous,
    every: u64,
    turn: impl Fn(Side) -> Side,
) -> (Vec<Happened>, Vec<Fill>) {
    let mut book = Book::new();
    let mut flow = Flow::new(Arc::new(exogenous), &mut book);
    let (mut seen, mut fills, mut number, mut now) = (Vec::new(), Vec::new(), 0, Nanos(every));
    while flow.next_at() < Nanos::NEVER {
        if flow.next_at() > now {
            let side = turn(Side::BOTH[number as usize % 2]);
            match number % 5 {
                0 => {
                    book.take(OrderId::own(number), side, Lots(3), None, &mut fills);
                }
                4 => {
                    book.cancel(OrderId::own(number - 2));
                }
                _ => {
                    if let Some(best) = book.best(side) {
                        book.limit(OrderId::own(number), side, best.price, Lots(2), now.into(), &mut fills);
                    }
                }
            }
            flow.own_order_changed(now, &book);
            assert!(flow.next_at() >= now, "nothing falls before what has happened");
            number += 1;
            now.0 += every;
            continue;
        }
        let happened = flow.step(&mut book, &mut fills);
        assert!(seen.last().is_none_or(|last: &Happened| last.at <= happened.at));
        seen.push(happened);
    }
    book.check();
    (seen, fills)
}

#[test]
fn a_phase_of_full_intensity_changes_nothing() {
    let until = Nanos(90_000_000_000);
    for index in 0..3 {
        let plain = || synthetic(Seed(4), until)[index].clone();
        let bare = with_own_orders(plain(), 500_000_003);
        assert!(bare.0.len() > 30);
        assert_eq!(bare, with_own_orders(plain().in_phases(&Phases::default()), 500_000_003));
        // The map itself, which even phases are spared.
        let change = TimeChange::new(&phases(&[(20, 1_000_000), (1, 1_000_000)]));
        let mapped = Exogenous { change: Some(change), ..plain() };
        assert_eq!(bare, with_own_orders(mapped, 500_000_003));
    }
}

/// Without own orders a flow in phases is the plain one with its times moved: what happens, and in which order, stays.
#[test]
fn phases_move_times_and_nothing_else() {
    let phases = phases(&[(10, 2_500_000), (5, 0), (20, 333_333), (1, 1_000_000)]);
    let until = Nanos(80_000_000_000);
    let change = TimeChange::new(&phases);
    for index in 0..3 {
        let run = |exogenous: Exogenous| {
            let mut book = Book::new();
            let mut flow = Flow::new(Arc::new(exogenous), &mut book);
            finish(&mut flow, &mut book);
            flow.stats()
        };
        let plain = run(synthetic(Seed(4), change.end(until))[index].clone());
        assert!(plain.events > 30);
        assert_eq!(plain, run(synthetic(Seed(4), until)[index].clone().in_phases(&phases)));
        let (seen, _) =
            with_own_orders(synthetic(Seed(4), until)[index].clone().in_phases(&phases), 70_000_001);
        let paused = |event: &&Happened| (11_000_000_000..15_000_000_000).contains(&event.at.0);
        let during: Vec<_> = seen.iter().filter(paused).collect();
        // Own orders may still move a reference price; nothing arrives by itself.
        assert!(index == 2 || during.is_empty(), "{during:?}");
    }
}

#[test]
fn counts_of_arrivals_follow_the_phases() {
    let list = [(400, 2_000_000), (600, 500_000), (200, 1_000_000), (1, 1_500_000)];
    let end = 1_500;
    let mut config = PoissonConfig::sky_perfect(5, InitialBook::even(Ticks(0), 10, 3));
    config.limit = vec![Rate::per_second(10)];
    config.market = Rate::per_second(10);
    let exogenous = Exogenous::poisson(&config, Seed(2), Nanos(end * 1_000_000_000)).unwrap();
    let phases = phases(&list);
    let mut book = Book::new();
    let mut flow = Flow::new(Arc::new(exogenous.in_phases(&phases)), &mut book);
    let mut counts = [0.0; 4];
    while flow.next_at() < Nanos::NEVER {
        let happened = flow.step(&mut book, &mut Vec::new());
        if happened.kind != Kind::Cancel {
            counts[phases.at(happened.at)] += 1.0;
        }
    }
    for (index, (seconds, ppm)) in list.into_iter().enumerate() {
        let seconds = if index == 3 { 300 } else { seconds };
        let expected = 40.0 * seconds as f64 * f64::from(ppm) / 1e6;
        assert!((counts[index] - expected).abs() < 4.0 * libm::sqrt(expected), "{index}: {}", counts[index]);
    }
}

#[test]
fn a_mirrored_flow_is_the_same_on_the_other_side() {
    for index in 0..3 {
        let exogenous = synthetic(Seed(9), Nanos(90_000_000_000))[index].clone();
        let (mirrored, sum) = (exogenous.mirrored(), exogenous.reflection());
        let (seen, fills) = with_own_orders(exogenous, 400_000_001);
        let (turned, turned_fills) = with_turned_orders(mirrored, 400_000_001, |side| !side);
        let turn =
            |event: &Happened| Happened { side: !event.side, price: Ticks(sum - event.price.0), ..*event };
        assert_eq!(seen, turned.iter().map(turn).collect::<Vec<_>>(), "flow {index}");
        let turn =
            |fill: &Fill| Fill { maker_side: !fill.maker_side, price: Ticks(sum - fill.price.0), ..*fill };
        assert_eq!(fills, turned_fills.iter().map(turn).collect::<Vec<_>>(), "flow {index}");
    }
}

/// attribution: A9. The tape excites itself and own trades do not: market orders are the tape's, at any time, on any side.
#[test]
fn hawkes_market_orders_are_those_of_the_tape_in_every_world() {
    let until = Nanos(60_000_000_000);
    let tape = HawkesTape::new(&hawkes(30).market, Seed(6)).unwrap();
    let tape: Vec<_> = tape.take_while(|(at, _)| *at < until).collect();
    assert!(tape.len() > 500);
    let markets = |events: &[Happened]| -> Vec<_> {
        let markets = events.iter().filter(|event| event.kind == Kind::Market);
        markets.map(|event| (event.at, event.side)).collect()
    };
    for every in [u64::MAX, 50_000_000] {
        let exogenous = Exogenous::hawkes(&hawkes(30), Seed(6), until).unwrap();
        let (seen, _) = with_own_orders(exogenous, every);
        assert_eq!(markets(&seen), tape);
        let limits = seen.iter().filter(|event| event.kind == Kind::Limit).count() as f64;
        let expected = 2.0 * 50.0 * 60.0;
        assert!((limits - expected).abs() < 4.0 * libm::sqrt(expected), "{limits}");
    }
    let mut silent = hawkes(0);
    silent.limit = vec![Rate::default()];
    assert_eq!(Exogenous::hawkes(&silent, Seed(1), until).unwrap_err(), FlowError::Silent);
}

fn recorded_world(text: &str) -> (Flow, Book) {
    let recording = recorded::parse(text.as_bytes(), "day.csv", 1).unwrap();
    let mut book = Book::new();
    (Flow::new(Arc::new(Exogenous::recorded(Arc::new(recording), Span::ZERO, Span(1_000))), &mut book), book)
}

fn finish(flow: &mut Flow, book: &mut Book) -> Vec<Fill> {
    let mut fills = Vec::new();
    while flow.next_at() < Nanos::NEVER {
        flow.step(book, &mut fills);
        book.check();
    }
    fills
}

/// attribution: A9: the own order is hit first if it is ahead, the named one keeps the remainder.
#[test]
fn a_recorded_execution_hits_the_own_order_first_if_it_is_ahead() {
    let text =
        "1,1,10,5,100,1\n2,1,11,5,100,1\n3,4,10,5,100,1\n4,4,11,4,100,1\n5,3,11,1,100,1\n6,1,12,1,100,-1\n";
    let (mut flow, mut book) = recorded_world(text);
    let mut fills = Vec::new();
    assert_eq!(flow.next_at(), Nanos(1_000));
    flow.step(&mut book, &mut fills);
    // Between the two recorded orders: behind the first, ahead of the second.
    assert!(book.post_only(OrderId::own(0), Side::Buy, Ticks(100), Lots(3), Stamp(1_001)));
    flow.own_order_changed(Nanos(1_001), &book);
    assert_eq!(flow.next_at(), Nanos(1_000_001_000));
    let fills = finish(&mut flow, &mut book);
    let makers: Vec<_> = fills.iter().map(|fill| (fill.maker, fill.lots.0)).collect();
    // The second recorded order keeps 5 - 1 = 4 lots; the deletion takes them all, and the last row rests.
    assert_eq!(makers, [(OrderId(0), 5), (OrderId::own(0), 3), (OrderId(1), 1)]);
    assert_eq!(flow.stats().own_lots, Lots(3));
    assert_eq!(flow.stats().clipped_lots, Lots::ZERO);
    assert_eq!(book.best(Side::Buy), None);
    assert_eq!(book.mid(), None);
}

#[test]
fn rows_about_consumed_quantity_are_clipped_and_counted() {
    let text = "1,1,10,5,100,1\n2,2,10,1,100,1\n3,4,10,2,100,1\n4,3,10,2,100,1\n4,3,10,2,100,1\n4,5,0,3,100,1\n4,7,0,0,-1,-1\n";
    let (mut flow, mut book) = recorded_world(text);
    let mut fills = Vec::new();
    flow.step(&mut book, &mut fills);
    book.take(OrderId::own(0), Side::Sell, Lots(4), None, &mut fills);
    let fills = finish(&mut flow, &mut book);
    assert!(fills.is_empty(), "the partial cancel took the last lot");
    let stats = flow.stats();
    assert_eq!((stats.clipped_lots, stats.clipped_events), (Lots(4), 2));
    assert_eq!((stats.unknown_rows, stats.hidden_rows, stats.halt_rows), (1, 1, 1));
    assert_eq!((stats.limits, stats.reductions, stats.markets, stats.cancels), (1, 1, 1, 1));
}

#[test]
fn a_recorded_order_that_crosses_an_own_one_trades_with_it() {
    let (mut flow, mut book) = recorded_world("1,1,10,5,100,1\n2,1,11,5,103,-1\n3,1,12,5,102,-1\n");
    let mut fills = Vec::new();
    flow.step(&mut book, &mut fills);
    flow.step(&mut book, &mut fills);
    book.limit(OrderId::own(0), Side::Buy, Ticks(102), Lots(2), Stamp(0), &mut fills);
    assert!(fills.is_empty());
    let fills = finish(&mut flow, &mut book);
    assert_eq!(fills.len(), 1);
    assert_eq!((fills[0].maker, fills[0].lots), (OrderId::own(0), Lots(2)));
    assert_eq!(book.mid(), Some(HalfTicks(202)));
}

/// Rows that need not make sense together: unknown ids, ids that return, crossing prices, executions too large.
fn rows() -> impl Strategy<Value = String> {
    let row = (1u8..7, 0u64..12, 1u64..9, 95i64..105, any::<bool>(), 0u64..3);
    prop::collection::vec(row, 1..80).prop_map(|rows| {
        let mut at = 0;
        let line = |(kind, id, lots, price, buy, wait)| {
            at += wait;
            format!("{at},{kind},{id},{lots},{price},{}\n", if buy { 1 } else { -1 })
        };
        rows.into_iter().map(line).collect()
    })
}

proptest! {
    #[test]
    fn any_rows_replay_or_are_refused(text in rows(), own in prop::collection::vec((any::<bool>(), 95i64..105), 80)) {
        if let Ok(report) = recorded::quotes(text.as_bytes(), "rows", Vec::new()) {
            prop_assert_eq!(report.rows, text.lines().count() as u64);
        }
        if let Ok(recording) = recorded::parse(text.as_bytes(), "rows", 1) {
            let mut book = Book::new();
            let mut flow = Flow::new(Arc::new(Exogenous::recorded(Arc::new(recording), Span::ZERO, Span::ZERO)), &mut book);
            let mut fills = Vec::new();
            for (number, (buy, price)) in own.into_iter().enumerate() {
                if flow.next_at() == Nanos::NEVER {
                    break;
                }
                let at = flow.next_at();
                let side = if buy { Side::Buy } else { Side::Sell };
                book.limit(OrderId::own(number as u64), side, Ticks(price), Lots(1), at.into(), &mut fills);
                flow.own_order_changed(at, &book);
                flow.step(&mut book, &mut fills);
                book.check();
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop::sample::select(&b"0123456789,.-\r\n a\xff"[..]), 0..400)) {
        let parsed = recorded::parse(&bytes[..], "bytes", 100).is_ok();
        let quoted = recorded::quotes(&bytes[..], "bytes", Vec::new()).is_ok();
        // What has ticks has rows.
        prop_assert!(!parsed || quoted);
    }
}

/// Without own orders the flow and the pure replay agree after every row of the public sample.
#[test]
fn the_sample_replays_as_a_flow_and_as_quotes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/lobster");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let Some(file) = files.filter(|path| path.extension().is_some_and(|end| end == "csv")).min() else {
        eprintln!("skipped: no LOBSTER sample in {folder}");
        return;
    };
    let text = std::fs::read(&file).unwrap();
    let mut quotes = Vec::new();
    let report = recorded::quotes(&text[..], "sample", &mut quotes).unwrap();
    eprintln!("{report}");
    assert!(report.rows > 0 && report.unknown_rows < report.rows / 100);
    assert_eq!((report.crossed_rows, report.oversized_rows), (0, 0));
    assert!(report.executions_not_at_head * 50 < report.executions);
    let recording = recorded::parse(&text[..], "sample", 100).unwrap();
    assert_eq!(recording.rows() as u64, report.rows);
    let mut book = Book::new();
    let mut flow =
        Flow::new(Arc::new(Exogenous::recorded(Arc::new(recording), Span::ZERO, Span::ZERO)), &mut book);
    let quotes = String::from_utf8(quotes).unwrap();
    let mut rows = quotes.lines().skip(1);
    let (mut last, mut fills) = ([None, None], Vec::new());
    while flow.next_at() < Nanos::NEVER {
        flow.step(&mut book, &mut fills);
        let best = Side::BOTH.map(|side| book.best(side));
        if best != last {
            last = best;
            let text = |quote: Option<Quote>, none: i64| {
                quote.map_or(format!("{none},0"), |quote| format!("{},{}", quote.price.0 * 100, quote.lots))
            };
            let expected = format!(",{},{}", text(best[0], -9_999_999_999), text(best[1], 9_999_999_999));
            assert!(rows.next().is_some_and(|row| row.ends_with(&expected)), "{expected}");
        }
    }
    book.check();
    assert_eq!(rows.next(), None);
    let stats = flow.stats();
    assert_eq!(stats.clipped_lots, Lots::ZERO);
    assert_eq!(stats.unknown_rows, report.unknown_rows - report.recovered_rows);
    let executed: u64 = fills.iter().map(|fill| fill.lots.0).sum();
    assert!(executed > 0 && fills.len() as u64 == stats.markets);
}

#[test]
fn an_excerpt_opens_with_the_book_that_the_rows_before_it_left() {
    let text = "1.0,1,10,5,1000,1\n1.5,1,11,7,1200,-1\n2.0,2,10,2,1000,1\n3.0,1,12,4,1000,1\n";
    let recording = Arc::new(crate::recorded::parse(text.as_bytes(), "excerpt", 100).unwrap());
    let mut book = Book::new();
    let from = Span(1_200_000_000);
    let flow = Flow::new(Arc::new(Exogenous::recorded(recording, from, Span::ZERO)), &mut book);
    assert_eq!(book.lots_at(Side::Buy, Ticks(10)), Lots(3));
    assert_eq!(book.lots_at(Side::Sell, Ticks(12)), Lots(7));
    assert_eq!(flow.next_at(), Nanos(800_000_000));
}
