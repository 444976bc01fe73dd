//! From the machine to money: markets in the mirror, stalls and the lateness they make, and what a place is worth.

use std::sync::atomic::AtomicU64;

use numashock_accounting::Mechanisms;
use numashock_book::{HalfTicks, Lots, OrderId, Side, Ticks};
use numashock_engine::{Nanos, Span};
use numashock_execution::{ParentOrder, Placement, StrategyId, SymbolId};
use numashock_experiment::link::{measure, table};
use numashock_experiment::swarm;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{Parents, RunConfig};
use numashock_sim::{Bucket, ChildResult, ParentResult, Replication, RunResult, Simulation, Step};

use crate::{root, scenario_file};

fn run(config: &RunConfig, replication: &Replication, mechanisms: Mechanisms, balancing: bool) -> RunResult {
    Simulation::new(config, replication.input(mechanisms, balancing, None, 0)).run()
}

/// A parent of the mirrored market as it would be in the other.
fn turned(parent: &ParentResult, reflection: i64) -> ParentResult {
    ParentResult {
        order: ParentOrder { side: !parent.order.side, ..parent.order },
        decision_mid: HalfTicks(2 * reflection - parent.decision_mid.0),
        ..*parent
    }
}

fn assert_mirrored(config: &RunConfig, seed: u32, mechanisms: Mechanisms, balancing: bool) -> (usize, usize) {
    let replication = config.replication(seed);
    let plain = run(config, &replication, mechanisms, balancing);
    let mirrored = run(config, &replication.mirrored(), mechanisms, balancing);
    let reflection = replication.reflection(numashock_execution::SymbolId(0));
    for (own, other) in plain.parents.iter().zip(&mirrored.parents) {
        assert_eq!(*own, turned(other, reflection), "{mechanisms}");
    }
    let mid = |step: Step| Step { mid: HalfTicks(2 * reflection - step.mid.0), ..step };
    let child = |child: &ChildResult| ChildResult {
        decided: mid(child.decided),
        dispatched: mid(child.dispatched),
        arrived: mid(child.arrived),
        price: Ticks(reflection - child.price.0),
        ..*child
    };
    assert_eq!(plain.children, mirrored.children.iter().map(child).collect::<Vec<_>>());
    let turned =
        |bucket: &Bucket| Bucket { mid_half_ticks: 2 * reflection - bucket.mid_half_ticks, ..bucket.clone() };
    let (own, other) = (&plain.hosts[0], &mirrored.hosts[0]);
    assert_eq!(own.seconds, other.seconds.iter().map(turned).collect::<Vec<_>>());
    assert_eq!((&own.latencies_ns, &own.gaps), (&other.latencies_ns, &other.gaps));
    assert_eq!((own.stalls, own.lateness), (other.stalls, other.lateness));
    assert_eq!((plain.symbols[0].flow, own.counters), (mirrored.symbols[0].flow, other.counters));
    assert_eq!(plain.hash.events, mirrored.hash.events);
    let traded = plain.parents.iter().filter(|parent| parent.shortfalls.swept.is != 0);
    let stalled = plain.parents.iter().filter(|parent| parent.stalls.hint_fault.0 > 0);
    (traded.count(), stalled.count())
}

#[test]
fn buys_and_sells_fare_the_same_on_a_mirrored_market() {
    let (mut traded, mut stalled) = (0, 0);
    for seed in 0..24 {
        let scenario = Scenario::parse(&scenario_file("swarm.toml"), &swarm::scenario(seed), &[]).unwrap();
        let config = scenario.choices(1_000_000).unwrap().remove(0).config;
        let world = if seed % 2 == 0 { 14 } else { usize::try_from(seed / 2 % 15).unwrap() };
        let (of_traded, of_stalled) =
            assert_mirrored(&config, 0, Mechanisms::from_index(world), seed % 7 != 3);
        (traded, stalled) = (traded + of_traded, stalled + of_stalled);
    }
    assert!(traded > 40 && stalled > 10, "{traded} parents traded, {stalled} were stalled");
}

#[test]
fn every_world_of_a_mirrored_market_is_the_mirror_of_its_own() {
    let scenario = Scenario::read(&scenario_file("migrations.toml"), &[]).unwrap();
    let config = scenario.choices(1_000_000).unwrap().remove(0).config;
    for world in Mechanisms::worlds() {
        assert_mirrored(&config, 1, world, true);
    }
    assert_mirrored(&config, 1, Mechanisms::FREE, false);
}

#[test]
fn a_recorded_market_has_a_mirror() {
    let scenario = Scenario::read(&scenario_file("recorded-flow.toml"), &[]).unwrap();
    let config = scenario.choices(1_000_000).unwrap().remove(0).config;
    let mut traded = 0;
    for seed in 0..config.seeds {
        let replication = config.replication(seed);
        let sides: Vec<Side> = run(&config, &replication.mirrored(), Mechanisms::REAL, true)
            .parents
            .iter()
            .map(|parent| parent.order.side)
            .collect();
        let real = run(&config, &replication, Mechanisms::REAL, true);
        assert!(real.parents.iter().zip(sides).all(|(parent, side)| parent.order.side == !side));
        traded += assert_mirrored(&config, seed, Mechanisms::REAL, true).0;
    }
    assert!(traded > 0);
}

/// The link's scenario with settings.
fn link_scenario(settings: &[&str]) -> RunConfig {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let scenario = Scenario::read(&root().join("scenarios/link.toml"), &settings).unwrap();
    scenario.choices(1_000_000).unwrap().remove(0).config
}

/// market: 2. Seeds and sizes are fixed; what is noticed is stated beside what passes.
#[test]
fn the_cost_of_lost_places_is_slope_times_rate_times_the_second_moment_of_stalls() {
    let report = measure(&link_scenario(&["run.seeds=90"]), &AtomicU64::new(0)).unwrap();
    let text = table(&report);
    // Thin load, short stalls, deep queues.
    assert!(report.stalled_share < 0.06 && report.tight_share > 0.95 && report.mean_queue > 5.0, "{text}");
    assert!((report.lateness.ratio() - 1.0).abs() < 0.03, "{text}");
    assert!(report.lateness.z().abs() < 4.0, "{text}");
    // First order: of the orders that came ahead some have gone again, and some prices have moved.
    assert!((0.9..1.0).contains(&report.places.ratio()), "{text}");
    assert!(report.cost.z().abs() < 4.0, "{text}");
    // Twice the second moment would be noticed, and so would the square of the mean in its place.
    assert!(report.cost.z_of(2.0) < -4.0, "{text}");
    assert!(report.cost.measured > 3.0 * report.cost.standard_error, "{text}");
    let square_of_mean = report.mean_stall_ms / report.met_stall_ms;
    assert!(report.cost.z_of(square_of_mean) > 3.0, "{text}");
}

/// market: 4.1, sanity law: without a signal the mid moves up as often as down while the host holds a child.
#[test]
fn crossing_children_lose_nothing_to_the_delay_of_the_host_on_average() {
    let mut config =
        link_scenario(&["machine.balancing.scan_size=\"256MiB\"", "run.seeds=8", "parents.count=4000"]);
    for strategy in &mut config.strategies {
        strategy.method.tactic.placement = Placement::Cross;
    }
    let (mut means, mut moved, mut children) = (Vec::new(), 0, 0);
    for seed in 0..config.seeds {
        let replication = config.replication(seed);
        let real = run(&config, &replication, Mechanisms::REAL, true);
        let free = run(&config, &replication, Mechanisms::FREE, true);
        let host: i128 = real.children.iter().map(|child| child.path.host).sum();
        moved += real.children.iter().filter(|child| child.path.host != 0).count();
        children += real.children.len();
        let delayed: i128 = real
            .parents
            .iter()
            .zip(&free.parents)
            .map(|(real, free)| real.shortfalls.swept.is - free.shortfalls.swept.is)
            .sum();
        means.push([host, delayed].map(|sum| sum as f64 / real.children.len() as f64));
    }
    assert!(moved > 100, "{moved} of {children} children saw the mid move while the host held them");
    for (which, name) in ["mids while the host held the child", "C_numa"].iter().enumerate() {
        let values: Vec<f64> = means.iter().map(|pair| pair[which]).collect();
        let (mean, error) = mean_and_error(&values);
        // Crossing costs a half-tick and more: the interval is some percent of it.
        assert!(error < 0.02, "{name}: {mean} ± {error}");
        assert!(mean.abs() < 4.0 * error, "{name}: {mean} ± {error}");
    }
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

/// The large-tick set of market: 2, per second: joins, hits and cancels at a best price.
const JOIN: f64 = 20.0;
const HIT: f64 = 14.0;
const CANCEL: f64 = 1.0;
const QUEUE: usize = 6;
const DEEPEST: usize = 90;

/// Chance that a child with `ahead` orders before it is filled before the mid moves, by orders at the opposite best.
fn fill_before_move(ahead: usize) -> Vec<f64> {
    let mut nearer = vec![1.0; DEEPEST + 1];
    for place in 0..=ahead {
        let advance = HIT + place as f64 * CANCEL;
        let mut now = vec![0.0; DEEPEST + 1];
        // Sweeps to the fixed point.
        for _ in 0..4_000 {
            for opposite in 1..=DEEPEST {
                let join = if opposite < DEEPEST { JOIN } else { 0.0 };
                let death = HIT + opposite as f64 * CANCEL;
                let above = if opposite < DEEPEST { now[opposite + 1] } else { 0.0 };
                let won = advance * nearer[opposite] + join * above + death * now[opposite - 1];
                now[opposite] = won / (advance + join + death);
            }
        }
        now[0] = 0.0;
        nearer = now;
    }
    nearer
}

/// The law of a queue after a delay, over sizes at which it has not emptied: small steps of the forward equation.
fn queue_after(delay: f64) -> Vec<f64> {
    const STEPS: u32 = 4_000;
    let step = delay / f64::from(STEPS);
    let mut law = vec![0.0; DEEPEST + 1];
    law[QUEUE] = 1.0;
    for _ in 0..STEPS {
        let mut next = law.clone();
        for size in 1..DEEPEST {
            let (up, down) = (JOIN * step * law[size], (HIT + size as f64 * CANCEL) * step * law[size]);
            next[size] -= up + down;
            next[size + 1] += up;
            next[size - 1] += down;
        }
        next[0] = 0.0;
        law = next;
    }
    law
}

/// Whether a child that reaches the book of two queues of six after `delay` is filled before the mid moves.
fn filled_before_move(config: &RunConfig, replication: &Replication) -> bool {
    let mut simulation = Simulation::new(config, replication.input(Mechanisms::FREE, false, None, 0));
    let child = OrderId::own(0);
    let mid = simulation.books().next().unwrap().mid();
    let mut rested = false;
    loop {
        simulation.step().expect("one or the other happens long before the end");
        let book = simulation.books().next().unwrap();
        let rests = book.rests(child);
        if rested && !rests {
            return true;
        }
        rested = rests;
        if book.mid() != mid {
            return false;
        }
    }
}

/// market: 2, the decay curve of two queues, with the whole path between the decision and the book.
#[test]
fn passive_children_lose_to_the_same_delay_along_the_decay_curve() {
    let mut config = link_scenario(&[
        "machine.balancing.enabled=false",
        "market.poisson.limit=[\"20/s\", \"2/s\"]",
        "market.poisson.cancel=[\"1/s\", \"0.1/s\"]",
        "market.poisson.market=\"14/s\"",
        "market.poisson.book=[6, 20, 20]",
        "market.feed_latency=\"0s\"",
        "work.quote={ compute = \"0s\", touches = [] }",
        "work.timer={ compute = \"0s\", touches = [] }",
        "region.history.size=\"8KiB\"",
        "region.state.size=\"8KiB\"",
        "thread.dispatch.touches.state.rate=\"1/s\"",
        "thread.feed.touches.state.rate=\"1/s\"",
        "run.warmup=\"0s\"",
    ]);
    config.strategies[0].parents = Parents::Listed(vec![ParentOrder {
        arrival: Nanos(1),
        side: Side::Buy,
        quantity: Lots(1),
        horizon: Span(config.duration.0 - 2),
        symbol: SymbolId::default(),
        strategy: StrategyId::default(),
    }]);
    let by_place: Vec<Vec<f64>> = (0..40).map(fill_before_move).collect();
    let chance = |delay: f64| -> f64 {
        let law = queue_after(delay);
        let of_place = |place: usize| -> f64 {
            (1..=DEEPEST).map(|opposite| law[opposite] * by_place[place][opposite]).sum()
        };
        (1..40).map(|own| law[own] * of_place(own)).sum()
    };
    // The tables of market: 2.
    for (delay, known) in [(0.0, 0.90869), (0.001, 0.90838), (0.005, 0.90717), (0.05, 0.89348)] {
        assert!((chance(delay) - known).abs() < 2e-5, "{delay}: {} {known}", chance(delay));
    }
    const SEEDS: u32 = 6_000;
    let delays = [0.0, 0.05, 0.1, 0.2];
    let seen: Vec<Vec<f64>> = delays
        .iter()
        .map(|delay| {
            config.hosts[0].gateway.latency = Span((delay * 1e9) as u64);
            (0..SEEDS)
                .map(|seed| f64::from(u8::from(filled_before_move(&config, &config.replication(seed)))))
                .collect()
        })
        .collect();
    for (delay, outcomes) in delays.iter().zip(&seen).skip(1) {
        let lost: Vec<f64> = seen[0].iter().zip(outcomes).map(|(prompt, late)| prompt - late).collect();
        let ((loss, error), exact) = (mean_and_error(&lost), chance(0.0) - chance(*delay));
        assert!((loss - exact).abs() < 4.0 * error, "{delay}: {loss} ± {error}, exact {exact}");
        assert!(exact > 4.0 * error, "{delay}: {exact} ± {error} is told from nothing");
    }
    let (prompt, error) = mean_and_error(&seen[0]);
    assert!((prompt - chance(0.0)).abs() < 4.0 * error, "{prompt} ± {error}");
}

/// What waits for the session is not late: both clocks wait by the same rule.
#[test]
fn a_rate_limit_spaces_requests_and_makes_nobody_late() {
    let limited = "gateway.rate_limit={ requests = 2, per = \"50ms\" }";
    let short = ["run.warmup=\"1s\"", "run.duration=\"9s\"", "parents.count=180"];
    let waits = |result: &RunResult| -> Vec<u64> {
        let mut arrived: Vec<u64> = result.children.iter().map(|child| child.arrived.at.0).collect();
        arrived.sort_unstable();
        arrived.windows(3).map(|three| three[2] - three[0]).collect()
    };
    let config = link_scenario(&[&short[..], &[limited]].concat());
    let replication = config.replication(0);
    let free = run(&config, &replication, Mechanisms::FREE, true);
    assert_eq!(free.hosts[0].lateness.late, Span::ZERO);
    assert!(free.hosts[0].lateness.children > 100);
    let window = 50_000_000;
    assert!(waits(&free).iter().all(|wait| *wait >= window), "no three requests in a window");
    assert!(waits(&free).iter().filter(|wait| **wait == window).count() > 10, "the limit binds");
    let real = run(&config, &replication, Mechanisms::REAL, true);
    assert!(waits(&real).iter().all(|wait| *wait >= window));
    let alone = Mechanisms { queue_decay: true, ..Mechanisms::FREE };
    assert_eq!(run(&config, &replication, alone, true).hash, free.hash);
    let open = link_scenario(&short);
    let unlimited = run(&open, &open.replication(0), Mechanisms::FREE, true);
    assert!(waits(&unlimited).iter().any(|wait| *wait < window), "without it they come closer");
}
