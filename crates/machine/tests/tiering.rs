//! Memory tiering in a machine with a node of CPUs and fast memory, and a slow node without CPUs (spec: 2.6).

mod common;

use common::{Host, background, machine, region, thread};
use numashock_engine::{Nanos, Seed};
use numashock_machine::{
    CpuId, Disturbance, Effects, KernelModel, Knobs, Machine, MachineConfig, MachineError, MapKind, NodeId,
    Pattern, RegionId, ThreadId,
};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const FAST: NodeId = NodeId(0);
const HEAP: RegionId = RegionId(0);

/// A region on the slow node and a thread that touches it. All CPUs are on the fast node, which has 16 GiB.
fn tiered(kernel: KernelModel, pages: u64, rate: u64, pattern: Pattern) -> MachineConfig {
    let mut config =
        machine(kernel, vec![region(pages, 1)], vec![thread(0, vec![background(rate, pattern)])]);
    let nodes = &mut config.topology.nodes;
    nodes[0].cpus = [0, 1, 2, 3].map(CpuId).to_vec();
    nodes[0].memory_pages = 1 << 22;
    nodes[1].cpus.clear();
    nodes[1].slow = true;
    config.knobs.balancing = false;
    config.knobs.tiering = true;
    config
}

/// The same with so little of the fast node free that pages are looked at.
fn short_of_memory(kernel: KernelModel, pages: u64, rate: u64, pattern: Pattern) -> MachineConfig {
    let mut config = tiered(kernel, pages, rate, pattern);
    leave_free(&mut config, 200_000);
    config
}

fn leave_free(config: &mut MachineConfig, pages: u64) {
    let taken = config.topology.nodes[0].memory_pages - pages;
    config.disturbances.push((Nanos::ZERO, Disturbance::MemoryPressure { node: FAST, pages: taken }));
}

fn run(config: MachineConfig, until: u64) -> Host {
    let mut host = Host::new(config, 7);
    host.run(Nanos(until));
    host
}

fn promoted(host: &Host) -> u64 {
    host.machine.pages_on(HEAP, FAST)
}

/// One pass marks everything; a page is promoted if its next touch, an exponential time later, comes before the threshold.
#[test]
fn the_share_promoted_follows_from_the_rate_of_touches() {
    for (threshold, per_mille) in [(250, 221), (500, 393), (1000, 632), (2000, 865)] {
        let mut config = short_of_memory(KernelModel::V6_12_95, 20_000, 20_000, Pattern::Uniform);
        config.knobs.scan_period_min_ms = 60_000;
        config.knobs.scan_delay_ms = 60_000;
        config.knobs.hot_threshold_ms = threshold;
        config.rules.threshold_adaptation = false;
        let host = run(config, 100 * SECOND);
        assert_eq!(host.machine.counters().numa_pte_updates, 20_000);
        let share = promoted(&host) / 20;
        assert!(share.abs_diff(per_mille) <= 12, "{threshold} ms: {share} for {per_mille} in a thousand");
    }
}

#[test]
fn hot_pages_move_and_cold_ones_stay() {
    for kind in [MapKind::Anonymous, MapKind::AnonymousHuge, MapKind::AnonymousLarge { order: 4 }] {
        let unit = kind.unit();
        let pages = 1_000 * unit.min(64);
        let pattern = Pattern::HotCold { hot_pages_ppm: 200_000, hot_touches_ppm: 999_000 };
        let mut config =
            short_of_memory(KernelModel::V6_12_95, pages.next_multiple_of(unit), 10_000, pattern);
        config.regions[0].kind = kind;
        let units = config.regions[0].pages / unit;
        // Touches of a cold page are three minutes apart.
        let rate = units * 8 / 10 * 1_000 / 200;
        config.threads[0].background[0].rate_per_s = rate;
        let host = run(config, 40 * SECOND);
        let on = |from: u64, to: u64| {
            (from..to).filter(|page| host.machine.node_of(HEAP, page * unit) == FAST).count() as u64
        };
        let hot = units / 5;
        assert_eq!(on(0, hot), hot, "{kind:?}");
        assert!(on(hot, units) * 10 < units, "{kind:?}: {} of {units}", on(hot, units));
        let counters = host.machine.counters();
        assert_eq!(counters.pgpromote_success, promoted(&host), "{kind:?}");
        assert_eq!(counters.numa_pages_migrated, promoted(&host), "{kind:?}");
        // All that is hot found its place.
        assert_eq!(counters.pgpromote_candidate, promoted(&host), "{kind:?}");
    }
}

#[test]
fn plenty_of_free_memory_promotes_all_that_is_touched() {
    let late = |config: &mut MachineConfig| config.knobs.hot_threshold_ms = 1;
    let mut config = tiered(KernelModel::V6_12_95, 10_000, 5_000, Pattern::Sequential { start: 0 });
    late(&mut config);
    let host = run(config.clone(), 5 * SECOND);
    assert_eq!((promoted(&host), host.machine.counters().pgpromote_candidate), (10_000, 0));
    // Plenty is 1 GiB, and more than a sixteenth of the node.
    for (node, free, all) in
        [(1 << 22, 1 << 18, false), (1 << 22, (1 << 18) + 10_001, true), (1 << 24, 1 << 20, false)]
    {
        let mut config = config.clone();
        config.topology.nodes[0].memory_pages = node;
        leave_free(&mut config, free);
        let host = run(config, 5 * SECOND);
        assert_eq!(promoted(&host) == 10_000, all, "{free} of {node}");
    }
}

#[test]
fn a_full_node_refuses_and_nothing_is_demoted() {
    let mut config = tiered(KernelModel::V6_12_95, 1_000, 5_000, Pattern::Sequential { start: 0 });
    leave_free(&mut config, 100);
    let host = run(config, 20 * SECOND);
    let (counters, view) = (host.machine.counters(), host.machine.thread(ThreadId(0)));
    assert_eq!((promoted(&host), counters.pgpromote_success), (100, 100));
    assert!(counters.pgpromote_candidate > 1_000 && counters.pgmigrate_fail == 0, "{counters:?}");
    // The refusals are faults on a slow node, and statistics leave those out.
    assert_eq!(view.locality[2], 0);
}

#[test]
fn a_window_lets_no_more_through_than_the_rate_limit() {
    let pattern = Pattern::Sequential { start: 0 };
    let mut config = short_of_memory(KernelModel::V6_12_95, 60_000, 60_000, pattern);
    config.knobs.promote_rate_limit_mbps = 8;
    config.knobs.scan_period_min_ms = 100;
    config.rules.period_adaptation = false;
    let limit = 8 * 256;
    let mut host = Host::new(config, 7);
    let mut windows: Vec<(u64, u64)> = Vec::new();
    let mut before = 0;
    for tick in 0..5_000 {
        let millis = tick * 4;
        host.run(Nanos(millis * MILLI));
        let new = host.machine.counters().pgpromote_success - before;
        before += new;
        if new == 0 {
            continue;
        }
        match windows.last_mut() {
            // A row shows what happened in the 4 ms before it, so that a window seems up to that much shorter.
            Some((since, count)) if millis - *since <= 1_000 => *count += new,
            _ => windows.push((millis, new)),
        }
    }
    assert!(windows.len() >= 15, "{windows:?}");
    assert!(windows.iter().all(|(_, count)| *count <= limit), "{windows:?}");
    assert!(windows[..15].iter().all(|(_, count)| *count == limit), "{windows:?}");
    let counters = host.machine.counters();
    assert!(counters.pgpromote_candidate > counters.pgpromote_success);
}

#[test]
fn the_threshold_falls_while_too_much_is_hot_and_rises_while_too_little_is() {
    let mut config = short_of_memory(KernelModel::V6_12_95, 20_000, 40_000, Pattern::Sequential { start: 0 });
    config.knobs.promote_rate_limit_mbps = 1;
    config.knobs.scan_period_min_ms = 100;
    config.knobs.scan_period_max_ms = 1_000;
    let mut host = Host::new(config, 7);
    host.run(Nanos(900 * MILLI));
    assert_eq!(host.machine.hot_threshold_ms(FAST), 1_000);
    let mut seen = vec![1_000];
    for millis in 900..20_000 {
        host.run(Nanos(millis * MILLI));
        let threshold = host.machine.hot_threshold_ms(FAST);
        if seen.last() != Some(&threshold) {
            seen.push(threshold);
        }
    }
    // The first period begins before anything is marked: too little. Then far too much, in steps of an eighth.
    let falls: Vec<u64> = (1..=9).rev().map(|eighths| eighths * 125).collect();
    assert_eq!((&seen[..2], &seen[2..]), (&[1_000, 1_125][..], &falls[1..]));

    // Each page is touched every 20 s. With a limit that nothing reaches, the threshold rises to twice the default, and
    // free memory makes it the default again.
    let mut config = short_of_memory(KernelModel::V6_12_95, 20_000, 1_000, Pattern::Sequential { start: 0 });
    config.knobs.scan_period_max_ms = 1_000;
    let mut host = Host::new(config, 7);
    host.run(Nanos(15 * SECOND));
    assert_eq!(host.machine.hot_threshold_ms(FAST), 2_000);
    assert!(promoted(&host) < 5_000, "most are cold: {}", promoted(&host));
    let freed = Disturbance::MemoryPressure { node: FAST, pages: 0 };
    host.machine.disturb(Nanos(15 * SECOND), freed, &mut host.hash, &mut host.effects);
    host.run(Nanos(40 * SECOND));
    assert_eq!((host.machine.hot_threshold_ms(FAST), promoted(&host)), (1_000, 20_000));
    // So does switching the mode on.
    let mut config = short_of_memory(KernelModel::V6_12_95, 20_000, 1_000, Pattern::Sequential { start: 0 });
    config.knobs.scan_period_max_ms = 1_000;
    let knobs = config.knobs;
    let mut host = Host::new(config, 7);
    host.run(Nanos(15 * SECOND));
    for tiering in [false, true] {
        let knobs = Knobs { balancing: true, tiering, ..knobs };
        host.machine.set_knobs(Nanos(15 * SECOND), knobs, &mut host.hash, &mut host.effects);
        assert_eq!(host.machine.hot_threshold_ms(FAST), if tiering { 1_000 } else { 2_000 });
    }
}

/// The heap is on the slow node, a second region on the fast one.
fn two_regions(balancing: bool, tiering: bool) -> MachineConfig {
    let mut config = tiered(KernelModel::V6_12_95, 1_000, 5_000, Pattern::Sequential { start: 0 });
    config.regions.push(region(3_000, 0));
    let mut local = background(5_000, Pattern::Sequential { start: 0 });
    local.touch.region = RegionId(1);
    config.threads[0].background.push(local);
    config.knobs.balancing = balancing;
    config.knobs.tiering = tiering;
    config
}

#[test]
fn without_the_normal_mode_pages_of_the_top_tier_are_not_marked() {
    let [off, normal, tiering, both] = [(false, false), (true, false), (false, true), (true, true)]
        .map(|(balancing, tiering)| run(two_regions(balancing, tiering), 20 * SECOND));
    let faults = |host: &Host| host.machine.counters().numa_hint_faults;
    assert_eq!((faults(&off), promoted(&off)), (0, 0));
    // Each page once, at its promotion.
    assert_eq!((faults(&tiering), promoted(&tiering)), (1_000, 1_000));
    assert_eq!(tiering.machine.counters().numa_pte_updates, 1_000);
    for host in [&normal, &both] {
        let counters = host.machine.counters();
        assert!(counters.numa_hint_faults_local > 3_000, "{counters:?}");
        assert_eq!(promoted(host), 1_000);
    }
    // A promotion counts in tiering mode only, from 6.12 on.
    let counted = |host: &Host| host.machine.counters().pgpromote_success;
    assert_eq!([counted(&normal), counted(&tiering), counted(&both)], [0, 1_000, 1_000]);
    let mut old = two_regions(true, false);
    old.kernel = KernelModel::V6_1;
    assert_eq!(counted(&run(old, 20 * SECOND)), 1_000);
}

/// The normal mode treats the slow node as any other, but for what nobody is known to have used (spec: 2.4 S2).
#[test]
fn the_normal_mode_waits_for_a_known_user() {
    let mut config = tiered(KernelModel::V6_12_95, 1_000, 5_000, Pattern::Sequential { start: 0 });
    (config.knobs.balancing, config.knobs.tiering) = (true, false);
    let host = run(config.clone(), 1_900 * MILLI);
    let (counters, view) = (host.machine.counters(), host.machine.thread(ThreadId(0)));
    assert_eq!((counters.numa_hint_faults, promoted(&host)), (1_000, 0));
    assert_eq!(view.locality, [0; 3], "no statistics");
    let host = run(config, 20 * SECOND);
    assert_eq!((promoted(&host), host.machine.counters().numa_hint_faults_local > 0), (1_000, true));
}

#[test]
fn statistics_know_promoted_pages_only() {
    let mut config = short_of_memory(KernelModel::V6_12_95, 1_000, 500, Pattern::Sequential { start: 0 });
    config.knobs.scan_delay_ms = 60_000;
    let host = run(config, 70 * SECOND);
    let (moved, view) = (promoted(&host), host.machine.thread(ThreadId(0)));
    // Pages are touched in two seconds: half of them too late.
    assert!((400..600).contains(&moved), "{moved}");
    assert_eq!(host.machine.counters().numa_hint_faults, 1_000);
    assert_eq!(view.locality, [moved, 0, 0], "as any that has migrated: remote");
}

/// Times that tiering mode leaves behind are nobody's ids.
#[test]
fn what_tiering_has_written_is_no_user_in_the_normal_mode() {
    let mut config = short_of_memory(KernelModel::V6_12_95, 2_000, 5_000, Pattern::Uniform);
    config.knobs.hot_threshold_ms = 0;
    // Times of 70 s and more name CPUs beyond those in use.
    let normal = Knobs { balancing: true, tiering: false, ..config.knobs };
    config.disturbances.push((Nanos(80 * SECOND), Disturbance::SetKnobs(normal)));
    let mut host = run(config, 80 * SECOND - 1);
    let before = host.machine.counters();
    assert!(before.numa_hint_faults > 5_000 && promoted(&host) == 0);
    host.run(Nanos(82 * SECOND));
    let now = host.machine.counters().since(&before);
    assert!(now.numa_hint_faults > 0);
    host.run(Nanos(120 * SECOND));
    assert_eq!(promoted(&host), 2_000);
    let migrated = host.machine.counters().since(&before);
    assert!(migrated.numa_hint_faults >= 2 * 2_000, "each page faults twice before it moves: {migrated:?}");
}

#[test]
fn two_runs_are_the_same() {
    let config = || {
        let pattern = Pattern::HotCold { hot_pages_ppm: 300_000, hot_touches_ppm: 900_000 };
        let mut config = short_of_memory(KernelModel::V6_19, 30_000, 30_000, pattern);
        config.knobs.balancing = true;
        config.knobs.promote_rate_limit_mbps = 20;
        config.threads.push(thread(1, vec![background(10_000, Pattern::Uniform)]));
        config
    };
    let [one, other] = [config(), config()].map(|config| run(config, 15 * SECOND));
    assert_eq!(one.hash.checkpoint(), other.hash.checkpoint());
    assert!(promoted(&one) > 0 && promoted(&one) < 30_000);
}

#[test]
fn a_slow_node_has_no_cpus() {
    let mut config = tiered(KernelModel::V6_12_95, 10, 10, Pattern::Uniform);
    config.topology.nodes[0].slow = true;
    let error = Machine::new(config, Seed(1), &mut Effects::default()).expect_err("the fast node has CPUs");
    assert!(matches!(error, MachineError::NotModelled { .. }), "{error}");
    assert!(error.to_string().starts_with("node 0: not modelled: a slow node with CPUs"), "{error}");
    let mut config = tiered(KernelModel::V6_12_95, 10, 10, Pattern::Uniform);
    config.knobs.promote_rate_limit_mbps = u32::MAX;
    let error = Machine::new(config, Seed(1), &mut Effects::default()).expect_err("too much");
    assert!(error.to_string().contains("promote_rate_limit_mbps is 4294967295"), "{error}");
}
