//! What holds after every event, whatever the kernel, the knobs, the switches, the mappings and the disturbances (spec: 4.2).

mod common;

use common::{Host, background, machine, region, thread};
use numashock_engine::{Nanos, Span};
use numashock_machine::{
    Activity, Counters, CpuId, Disturbance, KernelModel, MachineConfig, MapKind, NodeId, NodeMask, Pattern,
    Placement, Policy, RegionId, Rules, SchedulerClass, ThreadId,
};
use proptest::prelude::*;

const MILLI: u64 = 1_000_000;

fn kind(number: u8) -> MapKind {
    match number {
        0 => MapKind::AnonymousHuge,
        1 => MapKind::AnonymousLarge { order: 4 },
        2 => MapKind::TmpfsPrivate,
        3 => MapKind::SharedAnonymous,
        4 => MapKind::FileShared { dirty: false },
        5 => MapKind::FilePrivate,
        6 => MapKind::FileCopyOnWrite,
        7 => MapKind::Special,
        _ => MapKind::Anonymous,
    }
}

fn policy(number: u8) -> Policy {
    match number {
        0 => Policy::BindBalancing(NodeMask(2)),
        1 => Policy::BindBalancing(NodeMask(3)),
        2 => Policy::WeightedInterleave(NodeMask(3)),
        _ => Policy::Default,
    }
}

/// Kernel, switches off, knobs and a process.
fn machines() -> impl Strategy<Value = MachineConfig> {
    let kernel = prop::sample::select(KernelModel::ALL.to_vec());
    let off = prop::collection::vec(prop::sample::select(Rules::NAMES), 0..6);
    // Powers of two: of others the kernel rounds the windows with a mask that does not fit them.
    let size = prop::sample::select(vec![0u32, 1, 2, 4]);
    let knobs = (size, 1u32..60, 1u32..100, 1u32..3_000);
    let regions = prop::collection::vec((1u64..5, 1u64..512, 0u8..14, 0u8..8, any::<[bool; 4]>()), 1..4);
    let threads = prop::collection::vec((0u16..4, 0u8..5, 0u8..4, 0u32..3, 1_000u64..200_000), 1..4);
    let rest = (0u32..2, prop::option::of(1u64..4), any::<bool>(), 0u8..7);
    (kernel, off, knobs, regions, threads, rest).prop_map(|(kernel, off, knobs, regions, threads, rest)| {
        let regions = regions.into_iter().map(|(blocks, odd, number, own, flags)| {
            let kind = kind(number);
            let odd = if kind.unit() == 1 { odd } else { 0 };
            let mut region = region(blocks * 512 + odd, 0);
            region.placement = Placement::Interleave(vec![NodeId(0), NodeId(u8::from(flags[0]))]);
            region.kind = kind;
            region.policy = policy(own);
            region.dma_pinned = flags[1] && flags[2];
            region.mapped_elsewhere = flags[1] && flags[3];
            region.first_touch = flags[2].then_some(CpuId(0));
            region
        });
        let regions: Vec<_> = regions.collect();
        let mut used: Vec<u16> = Vec::new();
        let mut all = Vec::new();
        for (index, (cpu, class, pattern, writes, rate)) in threads.into_iter().enumerate() {
            if used.contains(&cpu) {
                continue;
            }
            used.push(cpu);
            let pattern = match pattern {
                0 => Pattern::Uniform,
                1 => Pattern::Sequential { start: 77 },
                2 => Pattern::HotCold { hot_pages_ppm: 200_000, hot_touches_ppm: 900_000 },
                _ => Pattern::Xorshift { state: rate },
            };
            let mut touches = background(rate, pattern);
            touches.touch.region = RegionId((index % regions.len()) as u16);
            touches.touch.write_ppm = writes * 500_000;
            // A hot and a cold part need two pages.
            let pages = regions[index % regions.len()].pages / regions[index % regions.len()].kind.unit();
            if pages < 2 {
                touches.touch.pattern = Pattern::Uniform;
            }
            let mut thread = thread(cpu, vec![touches]);
            if class == 0 && index > 0 {
                thread.class = SchedulerClass::Deadline;
            }
            if class == 1 {
                thread.activity = Activity::Duty(300_000);
            }
            if class == 2 {
                let (sleep, slack) = (Span(500_000 + rate), Span(50_000));
                thread.activity = Activity::Sleeps { sleep, slack, wake: Span(3_000) };
            }
            all.push(thread);
        }
        let mut config = machine(kernel, regions, all);
        let on = |rules: Rules, name: &str| rules.with(name, false).expect("the names are the switches'");
        config.rules = off.into_iter().fold(Rules::KERNEL, on);
        config.knobs.scan_size_mb = knobs.0;
        config.knobs.scan_delay_ms = knobs.1;
        config.knobs.scan_period_min_ms = knobs.2;
        config.knobs.scan_period_max_ms = knobs.3;
        config.processes[0].idle_threads = rest.0;
        config.processes[0].mems_allowed = rest.1.map(NodeMask);
        config.processes[0].mappings_after = rest.2;
        if rest.3 < 4 {
            make_slow(&mut config, rest.3);
        }
        config
    })
}

/// The second node loses its CPUs to the first and becomes slow; the first is short of memory in half of the modes.
fn make_slow(config: &mut MachineConfig, mode: u8) {
    let nodes = &mut config.topology.nodes;
    nodes[0].cpus = (0..4).map(CpuId).collect();
    nodes[1].cpus.clear();
    nodes[1].slow = true;
    config.knobs.balancing = mode != 2;
    config.knobs.tiering = mode >= 1;
    config.knobs.hot_threshold_ms = 40;
    config.knobs.promote_rate_limit_mbps = 2;
    if mode >= 2 {
        let pressure = Disturbance::MemoryPressure { node: NodeId(0), pages: (1 << 30) - 100_000 };
        config.disturbances.push((Nanos::ZERO, pressure));
    }
}

fn grows(before: &Counters, now: &Counters) -> bool {
    before.numa_pte_updates <= now.numa_pte_updates
        && before.numa_huge_pte_updates <= now.numa_huge_pte_updates
        && before.numa_hint_faults <= now.numa_hint_faults
        && before.numa_hint_faults_local <= now.numa_hint_faults_local
        && before.numa_pages_migrated <= now.numa_pages_migrated
        && before.pgmigrate_success <= now.pgmigrate_success
        && before.pgmigrate_fail <= now.pgmigrate_fail
        && before.pgpromote_success <= now.pgpromote_success
        && before.pgpromote_candidate <= now.pgpromote_candidate
}

/// The bounds of the period without a group, by the formulas of spec 1.9.
fn bounds(config: &MachineConfig) -> (u32, u32) {
    let (knobs, rules) = (&config.knobs, &config.rules);
    let size = knobs.scan_size_mb.max(1);
    let resident: u64 = config.regions.iter().map(|region| region.pages).sum();
    let windows =
        if rules.resident_set_windows { resident.div_ceil(u64::from(size) * 256) as u32 } else { 1 };
    let floor = if rules.period_floor { 1000 / (2560 / size) } else { 1 };
    let min = floor.max(knobs.scan_period_min_ms / windows);
    (min, min.max(knobs.scan_period_max_ms / windows))
}

/// Pages whose next touch faults, in base pages.
fn waiting(host: &Host, config: &MachineConfig) -> u64 {
    let regions = config.regions.iter().enumerate();
    regions
        .map(|(index, region)| {
            (0..region.pages).filter(|page| host.machine.is_marked(RegionId(index as u16), *page)).count()
                as u64
        })
        .sum()
}

fn check_pages(host: &Host, config: &MachineConfig) -> Result<(), TestCaseError> {
    let mut on_node = [0; 2];
    for (index, region) in config.regions.iter().enumerate() {
        let counts = [0, 1].map(|node| host.machine.pages_on(RegionId(index as u16), NodeId(node)));
        prop_assert_eq!(counts.iter().sum::<u64>(), region.pages, "each page is on one node");
        let one = (0..region.pages)
            .filter(|page| host.machine.node_of(RegionId(index as u16), *page) == NodeId(1))
            .count() as u64;
        prop_assert_eq!(counts[1], one, "the counts are those of the pages");
        on_node[0] += counts[0];
        on_node[1] += counts[1];
    }
    for (node, pages) in on_node.into_iter().enumerate() {
        prop_assert_eq!(host.machine.used_pages(NodeId(node as u8)), pages, "the node holds its pages");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn invariants_hold_after_every_event(
        config in machines(),
        disturbances in prop::collection::vec((0u64..1_500, 0u8..5, 0u16..3), 0..6),
        seed in any::<u64>(),
    ) {
        let mut config = config;
        for (at, what, number) in disturbances {
            let disturbance = match what {
                0 => Disturbance::MoveThread { thread: ThreadId(0), cpu: CpuId(number) },
                1 => Disturbance::Steal { length: Span(20 * MILLI), share_ppm: 700_000 },
                2 => Disturbance::MemoryPressure { node: NodeId(1), pages: (u64::from(number) % 2) << 30 },
                3 => Disturbance::SetKnobs(numashock_machine::Knobs { balancing: number > 0, ..config.knobs }),
                _ => Disturbance::BatchLoad { from: NodeId(0), to: NodeId(1), mbps: 30_000 },
            };
            config.disturbances.push((Nanos(at * MILLI), disturbance));
        }
        let grouped = config.rules.groups;
        let in_ranges = config.threads.len() as u64 * (u64::from(config.knobs.scan_size_mb) * 256 + 512);
        let (min, max) = bounds(&config);
        let mut host = Host::new(config.clone(), seed);
        host.run(Nanos::ZERO);
        let mut before = host.machine.counters();
        let mut used = vec![0; config.threads.len()];
        let mut periods: Vec<u32> =
            (0..config.threads.len()).map(|at| host.machine.thread(ThreadId(at as u16)).scan_period_ms).collect();
        while host.queue.next_at() < Nanos(1_500 * MILLI) {
            let clock = host.queue.next_at();
            host.run(clock);
            let now = host.machine.counters();
            prop_assert!(grows(&before, &now), "{before:?} {now:?}");
            prop_assert!(now.numa_hint_faults_local <= now.numa_hint_faults);
            prop_assert!(now.numa_pages_migrated <= now.pgmigrate_success);
            prop_assert!(now.pgpromote_success <= now.numa_pages_migrated);
            // Marks are counted at the end of their range; others may fault on the first of them before.
            prop_assert!(now.numa_hint_faults <= now.numa_pte_updates + in_ranges, "{now:?}");
            for (at, period) in periods.iter_mut().enumerate() {
                let view = host.machine.thread(ThreadId(at as u16));
                if view.scan_period_ms != *period {
                    // A back-off doubles a period that may have started below the least.
                    let least = min.min(2 * *period);
                    // A group scales a bound by at most its references.
                    let most = if grouped { max * config.threads.len() as u32 } else { max };
                    prop_assert!((least..=most).contains(&view.scan_period_ms), "{least} {view:?} {most}");
                    *period = view.scan_period_ms;
                }
            }
            for (at, used) in used.iter_mut().enumerate() {
                let runtime = host.machine.thread(ThreadId(at as u16)).runtime.0;
                let clock = clock.0;
                prop_assert!(*used <= runtime && runtime <= clock, "thread {at} at {clock}: {used} {runtime}");
                *used = runtime;
            }
            before = now;
        }
        check_pages(&host, &config)?;
    }

    /// Where all pages are of base size and no range is under way, what is marked has been counted and has not faulted.
    #[test]
    fn what_is_marked_has_not_faulted(config in machines(), seed in any::<u64>()) {
        let base_pages = config.regions.iter().all(|region| region.kind.unit() == 1);
        prop_assume!(base_pages);
        let mut host = Host::new(config.clone(), seed);
        for millis in [200u64, 700, 1_300] {
            // Between ticks, when short passes have ended.
            host.run(Nanos(millis * MILLI + 3_500_000));
            let now = host.machine.counters();
            prop_assert_eq!(now.numa_pte_updates - now.numa_hint_faults, waiting(&host, &config));
            check_pages(&host, &config)?;
        }
    }
}
