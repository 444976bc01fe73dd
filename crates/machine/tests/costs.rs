//! Costs that are drawn, and who waits for the mmap lock and for shootdowns.

mod common;

use common::{Host, background, machine, region, thread, touch};
use numashock_engine::{Nanos, Span};
use numashock_machine::{
    Activity, Charges, Cost, Costs, Disturbance, KernelModel, Law, MachineConfig, MachineError, MapKind,
    MmapConfig, NodeId, Owner, Pattern, RegionId, SchedulerClass, Stall, ThreadId, UnitCost, WorkConfig,
    WorkId,
};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const GIB: u64 = 1 << 18;

fn uniform(least: u64, most: u64) -> Cost {
    Cost::One(Law::Uniform { least, most })
}

fn log_normal(median: u64, sigma_ppm: u32) -> Cost {
    Cost::One(Law::LogNormal { median, sigma_ppm })
}

/// Every cost that can be drawn is.
fn spread(costs: Costs) -> Costs {
    Costs {
        pass_base: uniform(10_000, 40_000),
        mark_per_pte_ps: log_normal(61_000, 500_000),
        mark_huge_ps: uniform(232_000, 272_000),
        shootdown_base: uniform(500, 2_000),
        shootdown_per_cpu: uniform(100, 300),
        interrupt: uniform(500, 1_500),
        interrupt_few_pages: uniform(400, 1_000),
        hint_fault: uniform(500, 1_000),
        placement: uniform(1_000, 5_000),
        migrate_page: log_normal(3_000, 300_000),
        migrate_huge: uniform(186_000, 201_000),
        refused_migration: uniform(300, 700),
        write_fault: Cost::Mixture {
            usual: Law::Constant(1_000),
            rare: Law::Constant(1_200),
            rare_ppm: 100_000,
        },
        migration_wake: uniform(2_000, 10_000),
        ..costs
    }
}

/// One thread on node 1 that writes memory of node 0, page by page.
fn sequential(charges: Charges) -> MachineConfig {
    let writes = vec![background(50_000, Pattern::Sequential { start: 0 })];
    let mut config = machine(KernelModel::V6_12_95, vec![region(10_000, 0)], vec![thread(2, writes)]);
    config.costs = spread(config.costs);
    config.charges = charges;
    config
}

fn total(stalls: &[(Nanos, Stall)], owner: Owner) -> u64 {
    stalls.iter().filter(|(_, stall)| stall.owner == owner).map(|(_, stall)| stall.span.0).sum()
}

#[test]
fn worlds_that_charge_differently_draw_the_same_costs() {
    let run = |charges: Charges| {
        let mut config = sequential(charges);
        // It falls on whichever fault comes first.
        config.costs.placement = Cost::constant(0);
        let mut host = Host::new(config, 7);
        host.run(Nanos(3 * SECOND));
        let of = |owner: Owner| -> Vec<Span> {
            let own = host.stalls.iter().filter(|(_, stall)| stall.owner == owner);
            let mut spans: Vec<Span> = own.map(|(_, stall)| stall.span).collect();
            // A thread that nothing stalls begins with other pages.
            spans.sort_unstable();
            spans
        };
        let stalls = [Owner::HintFault, Owner::MigrationCopy, Owner::DispatchJitter].map(of);
        (stalls, host.machine.counters())
    };
    let all = run(Charges::ALL);
    assert_eq!(all.1.numa_hint_faults, 10_000, "{:?}", all.1);
    let mut values = all.0[0].clone();
    values.dedup();
    assert!(values.len() > 400, "the faults' costs are spread: {}", values.len());
    for charges in [
        Charges::NONE,
        Charges { hint_fault: false, ..Charges::ALL },
        Charges { migration_copy: false, ..Charges::ALL },
        Charges { dispatch_jitter: false, ..Charges::ALL },
    ] {
        assert!(run(charges) == all, "{charges:?}");
    }
}

#[test]
fn spread_costs_change_no_rule_with_their_charges() {
    let outcome = |charges: Charges| {
        let mut config = machine(KernelModel::V6_12_95, vec![region(20_000, 0)], vec![thread(2, Vec::new())]);
        let mut random = touch(Pattern::Uniform);
        random.count = 300;
        random.write_ppm = 500_000;
        let (name, compute) = ("message".to_owned(), Span(700));
        config.works.push(WorkConfig { name, thread: ThreadId(0), compute, touches: vec![random] });
        config.costs = spread(config.costs);
        config.charges = charges;
        let mut host = Host::new(config, 5);
        let mut costs: Vec<UnitCost> = Vec::new();
        for unit in 0..4_000 {
            let now = Nanos(unit * 2 * MILLISECOND + 7);
            host.run(now);
            costs.push(host.machine.run_unit(now, ThreadId(0), WorkId(0), &mut host.hash, &mut host.effects));
        }
        (host.hash.checkpoint(), host.machine.counters(), costs)
    };
    let all = outcome(Charges::ALL);
    assert!(all.1.numa_pages_migrated > 10_000);
    assert_eq!(all, outcome(Charges::NONE));
}

/// Whether owners' sums are what their events cost: nothing is counted twice, nothing is lost.
#[test]
fn every_owner_gets_what_its_events_cost() {
    let mut config = sequential(Charges::ALL);
    let costs = config.costs.clone();
    config.costs.hint_fault = Cost::constant(costs.hint_fault.mean());
    config.costs.placement = Cost::constant(0);
    config.costs.write_fault = Cost::constant(1_000);
    let mut host = Host::new(config, 7);
    host.run(Nanos(3 * SECOND));
    let counters = host.machine.counters();
    assert_eq!(total(&host.stalls, Owner::HintFault), counters.numa_hint_faults * 750);
    let copies = total(&host.stalls, Owner::MigrationCopy) - counters.numa_pages_migrated * 1_000;
    // Mean 3 µs × exp(0.045); standard error 0.31 % of it for 10,000 copies.
    let mean = copies / counters.numa_pages_migrated;
    assert!(mean.abs_diff(3_138) < 40, "{mean}");
}

#[test]
fn a_pass_takes_what_it_draws_and_its_charge_follows() {
    let mut config = machine(KernelModel::V6_1, vec![region(GIB, 0)], vec![thread(2, Vec::new())]);
    config.costs.mark_per_pte_ps = uniform(40_000, 200_000);
    let mut host = Host::new(config.clone(), 1);
    host.run(Nanos(8 * SECOND));
    let passes: Vec<u64> = host.stalls.iter().map(|(_, stall)| stall.span.0).collect();
    let full: Vec<u64> = passes.into_iter().filter(|length| *length > 2_000_000).collect();
    assert_eq!(full.len(), 4, "{full:?}");
    for length in &full {
        // 20 µs, 65,536 pages and a shootdown without targets.
        let per_page = (length - 21_000) * 1_000 / 65_536;
        assert!((39_999..=200_000).contains(&per_page), "{per_page}");
    }
    assert!(full.windows(2).any(|pair| pair[0] != pair[1]), "each pass draws anew: {full:?}");
    // spec: 8 F7: what is drawn is what the scanner is charged for.
    let outcome = |cost: Cost| {
        let mut config = config.clone();
        config.costs.mark_per_pte_ps = cost;
        let mut host = Host::new(config, 1);
        host.run(Nanos(8 * SECOND));
        (host.hash.checkpoint(), host.machine.thread(ThreadId(0)))
    };
    assert_eq!(outcome(uniform(150_000, 150_000)), outcome(Cost::constant(150_000)));
    assert_ne!(outcome(Cost::constant(150_000)), outcome(Cost::constant(40_000)));
}

#[test]
fn a_sleeper_is_interrupted_as_often_as_it_runs() {
    let mut config = machine(
        KernelModel::V6_12_95,
        vec![region(64 * GIB, 0)],
        vec![thread(2, Vec::new()), thread(3, Vec::new())],
    );
    config.threads[1].activity = Activity::Duty(250_000);
    config.threads[1].class = SchedulerClass::Fifo;
    let mut host = Host::new(config, 1);
    host.run(Nanos(200 * SECOND));
    let of = |thread: u16| host.stalls.iter().filter(move |(_, stall)| stall.thread == ThreadId(thread));
    let passes: Vec<u64> =
        of(0).map(|(_, stall)| stall.span.0).filter(|length| *length > 2_000_000).collect();
    let interrupts = of(1).count();
    // The initiator waits for one CPU exactly when it interrupts it.
    let dear =
        passes.iter().filter(|length| **length % 1_000 != 0 && (**length - 200) % 1_000 == 160).count();
    assert_eq!(passes.len(), 256, "a sweep of the region");
    // Standard deviation of the count: √(256 × 0.25 × 0.75) = 7.
    assert!(interrupts.abs_diff(64) < 25, "{interrupts}");
    assert_eq!(dear, interrupts, "{:?}", &passes[..4]);
}

#[test]
fn a_small_range_is_flushed_page_by_page() {
    for (pages, cost) in [(33, 700), (34, 1_000)] {
        let threads = vec![thread(2, Vec::new()), thread(3, Vec::new())];
        let mut config = machine(KernelModel::V6_12_95, vec![region(pages, 0)], threads);
        config.threads[1].class = SchedulerClass::Fifo;
        let mut host = Host::new(config, 1);
        host.run(Nanos(4 * SECOND));
        let interrupts: Vec<u64> = host
            .stalls
            .iter()
            .filter(|(_, stall)| stall.thread == ThreadId(1))
            .map(|(_, stall)| stall.span.0)
            .collect();
        assert_eq!(interrupts, [cost], "{pages} pages");
    }
}

fn with_calls(kernel: KernelModel, mean_gap: u64, hold: u64) -> MachineConfig {
    let mut config =
        machine(kernel, vec![region(GIB, 0)], vec![thread(2, Vec::new()), thread(3, Vec::new())]);
    config.threads[1].class = SchedulerClass::Fifo;
    config.threads[1].mmap =
        Some(MmapConfig { mean_gap: Span(mean_gap), hold: Cost::constant(hold), unmaps: true });
    config
}

#[test]
fn a_call_waits_for_the_pass_and_for_nothing_else() {
    let mut config = with_calls(KernelModel::V6_12_95, MILLISECOND / 2, 1_000);
    config.costs.interrupt = Cost::constant(0);
    let mut host = Host::new(config, 3);
    host.run(Nanos(6 * SECOND));
    let passes: Vec<(u64, u64)> = host
        .stalls
        .iter()
        .filter(|(_, stall)| stall.thread == ThreadId(0))
        .map(|(at, stall)| (at.0, at.0 + stall.span.0))
        .collect();
    let waits: Vec<(u64, u64)> = host
        .stalls
        .iter()
        .filter(|(_, stall)| stall.thread == ThreadId(1))
        .map(|(at, stall)| (at.0, at.0 + stall.span.0))
        .collect();
    assert!(passes.len() > 3 && waits.len() > 10, "{} {}", passes.len(), waits.len());
    for (from, until) in waits {
        // A call that comes after others have queued has only the pass's part of its wait charged.
        let pass = passes.iter().find(|(begin, end)| *begin <= from && until <= *end + 1_000_000);
        let (begin, end) = *pass.expect("who waits, waits for a pass");
        assert!(begin <= from && until >= from && until <= end.max(from) + (end - begin));
    }
}

#[test]
fn the_first_call_in_a_pass_waits_to_its_end_exactly() {
    let mut config = with_calls(KernelModel::V6_12_95, 20 * MILLISECOND, 1_000);
    config.costs.interrupt = Cost::constant(0);
    let mut host = Host::new(config, 3);
    host.run(Nanos(60 * SECOND));
    let stalls = |thread: u16| host.stalls.iter().filter(move |(_, stall)| stall.thread == ThreadId(thread));
    let mut seen = 0;
    let mut last_end = 0;
    for (at, stall) in stalls(1) {
        let pass = stalls(0).find(|(begin, pass)| *begin <= *at && *at <= *begin + pass.span);
        let Some((begin, pass)) = pass else { continue };
        let end = (*begin + pass.span).0;
        if end != last_end {
            assert_eq!(at.0 + stall.span.0, end);
            seen += 1;
        }
        last_end = end;
    }
    assert!(seen > 2, "{seen}");
}

#[test]
fn a_pass_that_finds_the_lock_taken_loses_its_slot() {
    let marked = |hold: u64| {
        let mut host = Host::new(with_calls(KernelModel::V6_12_95, 400 * MILLISECOND, hold), 3);
        host.run(Nanos(30 * SECOND));
        host.machine.counters().numa_pte_updates
    };
    // The region is marked once and its pages are never touched; a lost slot delays the four passes.
    let by = |hold: u64, seconds: u64| {
        let mut host = Host::new(with_calls(KernelModel::V6_12_95, 400 * MILLISECOND, hold), 3);
        (0..seconds * 10).find(|tenth| {
            host.run(Nanos(tenth * SECOND / 10));
            host.machine.counters().numa_pte_updates == GIB
        })
    };
    assert_eq!(marked(0), GIB);
    let (free, taken) = (by(0, 60).unwrap(), by(150 * MILLISECOND, 60).unwrap());
    assert!(taken > free, "{taken} tenths of a second, {free} without");
}

#[test]
fn faults_wait_for_writers_where_they_need_the_mmap_lock() {
    let waited = |kernel: KernelModel| {
        let mut config = with_calls(kernel, 5 * MILLISECOND, MILLISECOND);
        config.costs.interrupt = Cost::constant(0);
        config.threads[0].background = vec![background(1_000, Pattern::Sequential { start: 0 })];
        config.threads[0].class = SchedulerClass::Fifo;
        config.threads[1].class = SchedulerClass::Fair;
        let mut host = Host::new(config, 3);
        host.run(Nanos(5 * SECOND));
        let own: Vec<_> =
            host.stalls.iter().filter(|(_, stall)| stall.thread == ThreadId(0)).copied().collect();
        assert!(total(&own, Owner::HintFault) > 0);
        total(&own, Owner::DispatchJitter)
    };
    assert!(waited(KernelModel::V6_1) > MILLISECOND);
    assert_eq!(waited(KernelModel::V6_12_95), 0);
}

#[test]
fn unmapping_releases_the_batch_of_its_cpu() {
    let refused = |unmaps: bool| {
        let mut config = with_calls(KernelModel::V6_12_95, 50 * MILLISECOND, 1_000);
        config.threads[1].mmap.as_mut().unwrap().unmaps = unmaps;
        // 1,000 pages leave 8 in the batch of CPU 3, where thread 1 runs.
        config.regions = vec![region(1_000, 0)];
        config.regions[0].first_touch = Some(config.threads[1].cpu);
        config.threads[0].background = vec![background(10_000, Pattern::Sequential { start: 0 })];
        let mut host = Host::new(config, 3);
        host.run(Nanos(2 * SECOND));
        1_000 - host.machine.pages_on(RegionId(0), NodeId(1))
    };
    assert_eq!((refused(true), refused(false)), (0, 8));
}

#[test]
fn calls_come_at_their_rate_and_at_the_same_times_in_every_world() {
    let calls = |charges: Charges| {
        let mut config = with_calls(KernelModel::V6_12_95, 2 * MILLISECOND, 1_000);
        config.knobs.balancing = false;
        config.charges = charges;
        let mut host = Host::new(config, 3);
        host.run(Nanos(20 * SECOND));
        assert!(host.stalls.is_empty(), "without balancing nobody waits");
        host.hash.checkpoint()
    };
    let all = calls(Charges::ALL);
    // Standard deviation of the count: √10,000 = 100.
    assert!(all.events.abs_diff(10_000) < 400, "{}", all.events);
    assert_eq!(all, calls(Charges::NONE));
}

#[test]
fn what_others_steal_delays_the_writers_too() {
    let waits = |share_ppm: u32| {
        let mut config = with_calls(KernelModel::V6_12_95, 3 * MILLISECOND, 1_000);
        config.costs.interrupt = Cost::constant(0);
        config.disturbances = (0..3_000)
            .map(|at| (Nanos(at * MILLISECOND), Disturbance::Steal { length: Span(MILLISECOND), share_ppm }))
            .collect();
        let mut host = Host::new(config, 3);
        host.run(Nanos(3 * SECOND));
        let of = |thread: u16| {
            let own: Vec<_> =
                host.stalls.iter().filter(|(_, stall)| stall.thread == ThreadId(thread)).copied().collect();
            total(&own, Owner::DispatchJitter)
        };
        (of(0), of(1))
    };
    let (alone, stolen) = (waits(0), waits(500_000));
    assert!(stolen.0 > alone.0 && stolen.1 > alone.1, "{alone:?} {stolen:?}");
}

#[test]
fn wrong_laws_are_refused() {
    let refused = |change: &dyn Fn(&mut MachineConfig)| {
        let mut config = sequential(Charges::ALL);
        change(&mut config);
        let mut effects = numashock_machine::Effects::default();
        numashock_machine::Machine::new(config, numashock_engine::Seed(1), &mut effects).err()
    };
    assert_eq!(refused(&|_| {}), None);
    let out = |error: Option<MachineError>| matches!(error, Some(MachineError::OutOfRange { .. }));
    assert!(out(refused(&|config| config.costs.hint_fault = uniform(2, 1))));
    assert!(out(refused(&|config| config.costs.migrate_page = log_normal(1, 1_000_001))));
    assert!(out(refused(&|config| config.costs.mark_per_pte_ps = Cost::constant(10_000_001))));
    assert!(out(refused(&|config| {
        let law = Law::Constant(1);
        config.costs.placement = Cost::Mixture { usual: law, rare: law, rare_ppm: 1_000_001 };
    })));
    assert!(out(refused(&|config| {
        config.threads[0].mmap =
            Some(MmapConfig { mean_gap: Span(10), hold: Cost::constant(5), unmaps: false });
    })));
}

/// Two threads on node 1 write the same memory of node 0, huge pages or base pages.
fn shared(kind: MapKind, pages: u64, rate: u64) -> MachineConfig {
    let writes = |cpu: u16| thread(cpu, vec![background(rate, Pattern::Uniform)]);
    let mut config = machine(KernelModel::V6_12_95, vec![region(pages, 0)], vec![writes(2), writes(3)]);
    config.regions[0].kind = kind;
    config.costs.interrupt = Cost::constant(0);
    config.costs.placement = Cost::constant(0);
    config
}

#[test]
fn who_touches_a_huge_page_under_migration_sleeps_until_it_lands() {
    let config = shared(MapKind::AnonymousHuge, 64 * 512, 200_000);
    let (fault, copy, second, wake) = (800, 195_000, 1_000, 5_000);
    let mut host = Host::new(config, 1);
    host.run(Nanos(3 * SECOND));
    assert_eq!(host.machine.counters().numa_pages_migrated, 64 * 512);
    let stalls = host.stalls.iter().filter(|(_, stall)| stall.owner == Owner::MigrationCopy);
    let (copies, sleeps): (Vec<_>, Vec<_>) = stalls.partition(|(_, stall)| stall.span.0 == copy + second);
    for (at, stall) in &sleeps {
        // The page lands when its fault and its copy are done, before the second fault of who moved it.
        let lands = at.0 + stall.span.0 - wake;
        assert!(copies.iter().any(|(begun, _)| begun.0 + fault + copy == lands), "{at} {stall:?}");
    }
    assert!(copies.len() == 64 && sleeps.len() > 2, "{} copies, {} sleeps", copies.len(), sleeps.len());
}
