//! From the machine to money: markets in the mirror, stalls and the lateness they make, and what a place is worth.

use numashock_accounting::Mechanisms;
use numashock_book::{HalfTicks, Side};
use numashock_execution::ParentOrder;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::{Bucket, ParentResult, Replication, RunResult, Simulation};

use crate::scenario_file;
use numashock_experiment::swarm;

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
    let reflection = replication.reflection();
    for (own, other) in plain.parents.iter().zip(&mirrored.parents) {
        assert_eq!(*own, turned(other, reflection), "{mechanisms}");
    }
    let turned =
        |bucket: &Bucket| Bucket { mid_half_ticks: 2 * reflection - bucket.mid_half_ticks, ..bucket.clone() };
    assert_eq!(plain.seconds, mirrored.seconds.iter().map(turned).collect::<Vec<_>>());
    assert_eq!((plain.latencies_ns, plain.gaps), (mirrored.latencies_ns, mirrored.gaps));
    assert_eq!((plain.stalls, plain.lateness), (mirrored.stalls, mirrored.lateness));
    assert_eq!((plain.flow, plain.counters), (mirrored.flow, mirrored.counters));
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
