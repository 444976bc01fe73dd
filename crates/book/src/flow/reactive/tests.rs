//! The queue-reactive flow against its invariant law, against small chains, and world against world.

use std::sync::Arc;

use super::*;
use crate::flow::{Exogenous, Flow, FlowError, Rate};

const SECOND: u64 = 1_000_000_000;

fn rates(list: &[f64]) -> Vec<Rate> {
    list.iter().map(|rate| Rate { per_gigasecond: libm::round(rate * 1e9) as u64 }).collect()
}

fn intensities(limit: &[f64], cancel: &[f64], market: &[f64]) -> Intensities {
    Intensities { limit: rates(limit), cancel: rates(cancel), market: rates(market) }
}

fn plain(intensities: Intensities) -> QueueLaw {
    QueueLaw { lots: Lots(1), intensities, when_empty: None, opposite: Vec::new() }
}

fn best() -> Intensities {
    intensities(&[12.0, 9.0, 8.0, 7.0], &[0.0, 1.0, 2.0, 2.5, 3.0, 3.2], &[0.0, 9.0, 8.0, 7.0, 6.0])
}

fn second() -> Intensities {
    intensities(&[8.0, 7.0, 6.0], &[0.0, 1.5, 3.0, 4.5, 6.0, 7.5], &[0.0])
}

fn config(queues: Vec<QueueLaw>, start: &[u32]) -> QueueReactiveConfig {
    QueueReactiveConfig {
        model: QueueModel::Independent,
        queues,
        theta_ppm: 0,
        theta_reinit_ppm: 0,
        bid: Ticks(1_000),
        start: StartBook::Given(start.to_vec()),
    }
}

/// Models II on the same rates.
fn dependent(model: QueueModel) -> QueueReactiveConfig {
    let mut config = config(vec![plain(best()), plain(second())], &[3, 3]);
    config.model = model;
    config.queues[1].when_empty = Some(intensities(&[9.0, 5.0, 3.0], &[0.0, 1.0, 2.0], &[0.0, 4.0, 3.0]));
    if model == QueueModel::Opposite {
        let small = intensities(&[14.0, 6.0], &[0.0, 2.0, 3.0], &[0.0, 12.0, 9.0]);
        config.queues[0].opposite = vec![SizeClass { up_to: 2, intensities: small }];
    }
    config
}

fn world(config: &QueueReactiveConfig, seed: Seed, until: Nanos) -> (Flow, Book) {
    let exogenous = Exogenous::queue_reactive(config, seed, until).unwrap();
    let mut book = Book::new();
    (Flow::new(Arc::new(exogenous), &mut book), book)
}

/// Shares of time at each size, by side and queue, of a book whose reference price stands still.
fn occupation(config: &QueueReactiveConfig, seed: u64, seconds: u64) -> [Vec<Vec<f64>>; 2] {
    let (mut flow, mut book) = world(config, Seed(seed), Nanos(seconds * SECOND));
    let mut shares = [(); 2].map(|()| vec![vec![0.0; 200]; config.queues.len()]);
    let (mut now, mut fills) = (Nanos::ZERO, Vec::new());
    loop {
        let next = flow.next_at().min(Nanos(seconds * SECOND));
        let wait = (next - now).0 as f64 / (seconds * SECOND) as f64;
        for side in Side::BOTH {
            for (index, share) in shares[side.index()].iter_mut().enumerate() {
                let price = [Ticks(1_000), Ticks(1_001)][side.index()].behind(side, index as i64);
                let lots = book.lots_at(side, price).0.div_ceil(config.queues[index].lots.0);
                share[lots as usize] += wait;
            }
        }
        now = next;
        if flow.next_at() == Nanos::NEVER {
            return shares;
        }
        fills.clear();
        flow.step(&mut book, &mut fills);
    }
}

fn z(values: &[f64], expected: f64) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0);
    (mean - expected) / libm::sqrt(variance / count)
}

/// π(n) by the product formula of market: 3.1, in plain floats.
fn product(intensities: &Intensities, states: usize) -> Vec<f64> {
    let at = |list: &[Rate], n: usize| list[n.min(list.len() - 1)].per_gigasecond as f64;
    let mut law = vec![1.0];
    for n in 1..states {
        let leave = at(&intensities.cancel, n) + at(&intensities.market, n);
        law.push(law[n - 1] * at(&intensities.limit, n - 1) / leave);
    }
    let total: f64 = law.iter().sum();
    law.iter().map(|weight| weight / total).collect()
}

#[test]
fn each_queue_has_its_invariant_law() {
    let mut config = config(vec![plain(best()), plain(second())], &[3, 2]);
    config.queues[1].lots = Lots(7);
    let runs: Vec<_> = (0..16).map(|seed| occupation(&config, seed, 400)).collect();
    for side in 0..2 {
        for (index, table) in [best(), second()].iter().enumerate() {
            let law = product(table, 60);
            for (size, expected) in law.iter().enumerate().filter(|(_, share)| **share > 0.01) {
                let shares: Vec<f64> = runs.iter().map(|run| run[side][index][size]).collect();
                let z = z(&shares, *expected);
                assert!(z.abs() < 4.0, "queue {index} size {size}: z {z} for {expected}");
            }
        }
    }
}

/// The chance that the ask empties before the bid, one queue a side, by relaxation on the chain of their sizes.
fn ask_empties_first(config: &QueueReactiveConfig, bid: usize, ask: usize) -> f64 {
    const N: usize = 30;
    let law = ReactiveLaw::new(config, Seed(0)).unwrap();
    let rate = |kind, own: usize, other: usize| {
        let table = law.queues[0].table(own as u64, other as u64);
        table.rate(kind, own as u64) as f64
    };
    let mut up = vec![vec![0.5; N + 2]; N + 2];
    for _ in 0..600 {
        for b in 1..=N {
            for a in 1..=N {
                let grow = [rate(0, b, a), rate(0, a, b)];
                let leave = [rate(1, b, a) + rate(2, b, a), rate(1, a, b) + rate(2, a, b)];
                let after_bid = if b == 1 { 0.0 } else { up[b - 1][a] };
                let after_ask = if a == 1 { 1.0 } else { up[b][a - 1] };
                let sum = grow[0] * up[(b + 1).min(N)][a]
                    + grow[1] * up[b][(a + 1).min(N)]
                    + leave[0] * after_bid
                    + leave[1] * after_ask;
                up[b][a] = sum / (grow[0] + grow[1] + leave[0] + leave[1]);
            }
        }
    }
    up[bid][ask]
}

#[test]
fn the_ask_empties_first_as_often_as_the_chain_says() {
    const RUNS: u64 = 4_000;
    for (model, bid, ask) in
        [(QueueModel::Independent, 4, 2), (QueueModel::Opposite, 1, 3), (QueueModel::Opposite, 5, 3)]
    {
        let mut config = dependent(model);
        if model == QueueModel::Independent {
            config.queues[1].when_empty = None;
        }
        let expected = ask_empties_first(&config, bid, ask);
        let law = ReactiveLaw::new(&config, Seed(5)).unwrap();
        let mut ups = 0;
        for run in 0..RUNS {
            // The law of redraws, which costs most of a start, is not used here: all runs share it.
            let (law, seed) = (Box::new(law.clone()), Seed(5).replication(run));
            let source = crate::flow::Source::Reactive { law, seed, until: Nanos::NEVER };
            let mut book = Book::new();
            let mut flow = Flow::new(Arc::new(Exogenous::from(source)), &mut book);
            // The given book is the same on both sides: a taker makes the difference.
            for (side, want) in [(Side::Buy, bid), (Side::Sell, ask)] {
                let first = [Ticks(1_000), Ticks(1_001)][side.index()];
                while book.lots_at(side, first) > Lots(want as u64) {
                    book.take(OrderId::own(0), !side, Lots(1), None, &mut Vec::new());
                }
                for extra in book.lots_at(side, first).0..want as u64 {
                    let id = OrderId(1_000_000 + extra * 2 + side.index() as u64);
                    assert!(book.post_only(id, side, first, Lots(1), Stamp(0)));
                }
            }
            flow.own_order_changed(Nanos::ZERO, &book);
            let empty = |book: &Book, side, price| book.lots_at(side, Ticks(price)) == Lots::ZERO;
            while !empty(&book, Side::Buy, 1_000) && !empty(&book, Side::Sell, 1_001) {
                flow.step(&mut book, &mut Vec::new());
            }
            ups += u64::from(empty(&book, Side::Sell, 1_001));
        }
        let (share, runs) = (ups as f64 / RUNS as f64, RUNS as f64);
        let error = libm::sqrt(expected * (1.0 - expected) / runs);
        assert!((share - expected).abs() < 4.0 * error, "{model:?} ({bid}, {ask}): {share} for {expected}");
    }
}

/// Models II: the states that the law of a redraw holds are met as often as the flow meets them.
#[test]
fn dependent_queues_are_redrawn_as_they_are_met() {
    for model in [QueueModel::TwoSets, QueueModel::Opposite] {
        let config = dependent(model);
        let runs: Vec<_> = (0..12).map(|seed| occupation(&config, seed, 300)).collect();
        for index in 0..2 {
            for size in 0..6 {
                let drawn: Vec<f64> = (0..12)
                    .map(|seed| {
                        let law = ReactiveLaw::new(&config, Seed(900 + seed)).unwrap();
                        let mut stream = Seed(seed).stream("test", 0);
                        let hits = (0..2_000)
                            .filter(|_| law.invariant.draw(|| stream.next_u64())[index][0] as usize == size);
                        hits.count() as f64 / 2_000.0
                    })
                    .collect();
                let met: Vec<f64> = runs.iter().map(|run| run[0][index][size]).collect();
                let differences: Vec<f64> = drawn.iter().zip(&met).map(|(drawn, met)| drawn - met).collect();
                let z = z(&differences, 0.0);
                assert!(z.abs() < 4.0, "{model:?} queue {index} size {size}: z {z}");
            }
        }
    }
}

#[test]
fn a_book_drawn_from_the_invariant_law_has_it() {
    let mut config = config(vec![plain(best()), plain(second())], &[0, 0]);
    config.start = StartBook::Invariant;
    let law = product(&best(), 60);
    let (runs, mut counts) = (4_000u64, [0.0; 60]);
    for run in 0..runs {
        let (_, book) = world(&config, Seed(1).replication(run), Nanos(1));
        counts[book.orders_at(Side::Sell, Ticks(1_001)) as usize] += 1.0 / runs as f64;
        assert!(book.mid().is_some());
    }
    // Sizes 0 and 1 share what an empty side was given.
    for size in 2..6 {
        let error = libm::sqrt(law[size] * (1.0 - law[size]) / runs as f64);
        assert!((counts[size] - law[size]).abs() < 4.0 * error, "{size}: {} for {}", counts[size], law[size]);
    }
}

/// What a move leaves: after a redraw the drawn queues, otherwise the window shifted by one.
#[test]
fn the_reference_price_follows_the_mid_and_the_book_is_redrawn() {
    for (theta, reinit) in [(1_000_000, 0), (700_000, 850_000), (0, 0)] {
        let mut config = config(vec![plain(best()), plain(second()), plain(second())], &[3, 2, 2]);
        (config.theta_ppm, config.theta_reinit_ppm) = (theta, reinit);
        let (mut flow, mut book) = world(&config, Seed(3), Nanos(400 * SECOND));
        let (mut fills, mut last) = (Vec::new(), Nanos::ZERO);
        let mut mids = std::collections::BTreeSet::new();
        while flow.next_at() < Nanos::NEVER {
            let State { anchor, moves, .. } = state(&flow);
            fills.clear();
            let happened = flow.step(&mut book, &mut fills);
            assert!(happened.at >= last);
            last = happened.at;
            book.check();
            let after = state(&flow);
            assert_eq!((after.anchor - anchor).unsigned_abs(), after.moves - moves, "a tick a move");
            mids.extend(book.mid());
            if after.settled {
                for side in Side::BOTH {
                    let bounds = [after.anchor - 2..=after.anchor, after.anchor + 1..=after.anchor + 3];
                    let outside = |level: &crate::Quote| !bounds[side.index()].contains(&level.price.0);
                    assert_eq!(book.levels(side).find(outside), None, "nothing rests outside the window");
                }
            }
        }
        let stats = flow.stats();
        if theta == 0 {
            assert_eq!((stats.reference_moves, stats.redraws), (0, 0));
        } else {
            assert!(stats.reference_moves > 100, "{stats:?}");
            let share = stats.redraws as f64 / stats.reference_moves as f64;
            assert!((share - f64::from(reinit) / 1e6).abs() < 0.1, "{stats:?}");
            assert!(mids.len() > 8, "the price moves: {}", mids.len());
        }
    }
}

struct State {
    anchor: i64,
    moves: u64,
    settled: bool,
}

fn state(flow: &Flow) -> State {
    let crate::flow::State::Reactive(flow) = &flow.state else { unreachable!() };
    State { anchor: flow.anchor.0, moves: flow.moves, settled: flow.changes.is_empty() }
}

fn moving() -> QueueReactiveConfig {
    let mut config = config(vec![plain(best()), plain(second()), plain(second())], &[3, 2, 2]);
    (config.theta_ppm, config.theta_reinit_ppm) = (700_000, 850_000);
    config
}

fn events(own: impl Fn(&mut Flow, &mut Book)) -> Vec<Happened> {
    let (mut flow, mut book) = world(&moving(), Seed(8), Nanos(300 * SECOND));
    own(&mut flow, &mut book);
    let mut seen = Vec::new();
    while flow.next_at() < Nanos::NEVER {
        seen.push(flow.step(&mut book, &mut Vec::new()));
        book.check();
    }
    seen
}

/// attribution: A9. Worlds share the candidates: what one own order changes is what follows from the queues it meets.
#[test]
fn worlds_share_their_candidates() {
    let bare = events(|_, _| {});
    assert!(bare.len() > 5_000);
    assert_eq!(bare, events(|_, _| {}));
    let far = events(|flow, book| {
        assert!(book.post_only(OrderId::own(0), Side::Buy, Ticks(100), Lots(5), Stamp(0)));
        flow.own_order_changed(Nanos::ZERO, book);
    });
    assert_eq!(bare, far, "an order outside the window changes nothing");
    let near = events(|flow, book| {
        assert!(book.post_only(OrderId::own(0), Side::Buy, Ticks(1_000), Lots(1), Stamp(0)));
        flow.own_order_changed(Nanos::ZERO, book);
    });
    assert_ne!(bare, near);
    let times: std::collections::BTreeSet<u64> = bare.iter().map(|event| event.at.0).collect();
    let shared = near.iter().filter(|event| times.contains(&event.at.0)).count();
    assert!(shared * 10 > near.len() * 9, "{shared} of {} events fall on the same nanosecond", near.len());
}

/// Own actions between events, however they fall: the book stays whole and time never runs back; what is rejected is
/// drawn again against the new book, as in the naive twin that asks every candidate in turn.
#[test]
fn candidates_are_judged_by_the_book_they_meet() {
    for seed in 0..12 {
        let config = moving();
        let (mut flow, mut book) = world(&config, Seed(seed), Nanos(60 * SECOND));
        let law = ReactiveLaw::new(&config, Seed(seed)).unwrap();
        let mut twin =
            Tape { stream: Seed(seed).stream("flow", 0), clock: 0, count: 0, until: Nanos(60 * SECOND) };
        let mut random = Seed(seed).stream("own", 0);
        let mut acts: Vec<Nanos> = (0..200).map(|_| Nanos(random.below(60 * SECOND))).collect();
        acts.sort_unstable();
        let mut acts = acts.into_iter().enumerate().peekable();
        while let Some(candidate) = twin.next(&law) {
            while let Some((number, at)) = acts.next_if(|(_, at)| *at < candidate.at) {
                let side = Side::BOTH[random.below(2) as usize];
                let price = Ticks(state(&flow).anchor - 2 + random.below(5) as i64);
                book.limit(
                    OrderId::own(number as u64),
                    side,
                    price,
                    Lots(1 + random.below(3)),
                    at.into(),
                    &mut Vec::new(),
                );
                flow.own_order_changed(at, &book);
                while flow.next_at() == at {
                    flow.step(&mut book, &mut Vec::new());
                }
            }
            let crate::flow::State::Reactive(inner) = &flow.state else { unreachable!() };
            let mut inner = inner.clone();
            inner.measure(&law, &book);
            let rate = inner.rates[candidate.side.index()][candidate.column];
            let level = u128::from(candidate.level) * u128::from(law.greatest[candidate.column]);
            let accepted = ((level >> 64) as u64) < rate;
            assert_eq!(flow.next_at() == candidate.at, accepted, "{seed}: {candidate:?}");
            while flow.next_at() == candidate.at {
                flow.step(&mut book, &mut Vec::new());
            }
            book.check();
        }
        assert_eq!(flow.next_at(), Nanos::NEVER);
    }
}

#[test]
fn cancellations_take_nobodys_own_order() {
    let config = config(vec![plain(intensities(&[0.0], &[0.0, 50.0], &[0.0]))], &[3]);
    let (mut flow, mut book) = world(&config, Seed(1), Nanos(100 * SECOND));
    assert!(book.post_only(OrderId::own(0), Side::Buy, Ticks(1_000), Lots(2), Stamp(0)));
    flow.own_order_changed(Nanos::ZERO, &book);
    while flow.next_at() < Nanos::NEVER {
        assert_eq!(flow.step(&mut book, &mut Vec::new()).kind, Kind::Cancel);
    }
    assert_eq!(book.best(Side::Buy).map(|best| best.lots), Some(Lots(2)));
    assert_eq!(book.best(Side::Sell), None);
}

#[test]
fn tables_that_make_no_sense_are_refused() {
    let good = dependent(QueueModel::Opposite);
    assert!(Exogenous::queue_reactive(&good, Seed(1), Nanos(1)).is_ok());
    let error = |change: fn(&mut QueueReactiveConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Exogenous::queue_reactive(&config, Seed(1), Nanos(1)).map(|_| ()).unwrap_err()
    };
    let at = |error| match error {
        FlowError::Queue { queue, .. } => queue,
        other => panic!("{other}"),
    };
    assert_eq!(at(error(|config| config.queues.clear())), 0);
    assert_eq!(at(error(|config| config.theta_ppm = 1_000_001)), 0);
    assert_eq!(at(error(|config| config.queues[1].when_empty = None)), 2);
    assert_eq!(at(error(|config| config.queues[0].when_empty = Some(Intensities::default()))), 1);
    assert_eq!(at(error(|config| config.queues[0].opposite.clear())), 1);
    assert_eq!(at(error(|config| config.queues[0].opposite[0].intensities.limit.clear())), 1);
    assert_eq!(at(error(|config| config.queues[0].intensities.cancel = rates(&[1.0]))), 1);
    assert_eq!(at(error(|config| config.queues[1].intensities.market = rates(&[0.0, 1.0]))), 2);
    assert_eq!(at(error(|config| config.queues[1].intensities.limit = rates(&[8.0]))), 2);
    assert_eq!(at(error(|config| config.queues[1].intensities.cancel = rates(&[0.0, 0.0, 9.0]))), 2);
    assert_eq!(at(error(|config| config.start = StartBook::Given(vec![1]))), 0);
    assert_eq!(error(|config| config.queues[0].lots = Lots::ZERO), FlowError::Size(Lots::ZERO));
    assert_eq!(error(|config| config.queues[0].intensities.limit = rates(&[2e9])), FlowError::TooFast);
    assert_eq!(error(|config| config.bid = Ticks(i64::MAX)), FlowError::Price(Ticks(i64::MAX)));
}
