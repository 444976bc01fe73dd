//! Threads that share CPUs, are balanced, and follow their memory.

mod common;

use common::{Host, background, machine, region, thread, touch};
use numashock_engine::{Nanos, Span};
use numashock_machine::{
    Activity, CpuId, Disturbance, KernelModel, MachineConfig, MachineError, NodeId, NodeMask, Owner, Pattern,
    Policy, ProcessConfig, ProcessId, RegionConfig, RegionId, SchedulerClass, SchedulerConfig, TaskMoves,
    ThreadConfig, ThreadId, WorkConfig, WorkId,
};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

/// Memory that stays on its node, but is marked and faults: threads can only go to it.
fn bound(pages: u64, node: u8) -> RegionConfig {
    let mut region = region(pages, node);
    region.policy = Policy::BindBalancing(NodeMask::only(NodeId(node)));
    region
}

fn free(cpu: u16, touches: u64) -> ThreadConfig {
    let mut thread = thread(cpu, vec![background(touches, Pattern::Uniform)]);
    thread.affinity = (0..4).map(CpuId).collect();
    thread
}

fn on_region(mut thread: ThreadConfig, region: u16) -> ThreadConfig {
    thread.background[0].touch.region = RegionId(region);
    thread
}

fn cpus(host: &Host) -> Vec<u16> {
    (0..host.machine.threads()).map(|thread| host.machine.thread(ThreadId(thread as u16)).cpu.0).collect()
}

fn ran(config: MachineConfig, seconds: u64) -> Host {
    let mut host = Host::new(config, 1);
    host.run(Nanos(seconds * SECOND));
    host
}

#[test]
fn a_task_follows_memory_that_cannot_follow_it() {
    let config = |kernel| machine(kernel, vec![bound(2_000, 0)], vec![free(2, 20_000)]);
    for kernel in KernelModel::ALL {
        let host = ran(config(kernel), 6);
        // The first idle CPU of the node.
        assert_eq!(cpus(&host), [0]);
        assert_eq!(
            host.machine.task_moves(),
            TaskMoves { numa_task_migrated: 1, ..TaskMoves::default() },
            "once is enough"
        );
        assert_eq!(host.machine.counters().numa_pages_migrated, 0);
        assert_eq!(host.machine.thread(ThreadId(0)).preferred, Some(NodeId(0)));
        let stopper: Vec<_> = host.stalls.iter().filter(|(_, stall)| stall.span == Span(15_000)).collect();
        assert_eq!((stopper.len(), stopper[0].1.owner), (1, Owner::DispatchJitter));
    }
    let mut off = config(KernelModel::V6_12_95);
    off.scheduler.numa_task_migration = false;
    let host = ran(off, 6);
    assert_eq!((cpus(&host), host.machine.task_moves()), (vec![2], TaskMoves::default()));
}

#[test]
fn the_search_is_paid_by_the_fault_and_the_stopper_apart() {
    // One unit touches everything just after the second pass: the first fault of the new sequence searches and moves.
    let mut config = machine(KernelModel::V6_12_95, vec![bound(100, 0)], vec![free(2, 1)]);
    config.threads[0].background.clear();
    let mut uniform = touch(Pattern::Sequential { start: 0 });
    uniform.count = 100;
    config.works.push(WorkConfig {
        name: "message".to_owned(),
        thread: ThreadId(0),
        compute: Span(700),
        touches: vec![uniform],
    });
    let mut host = Host::new(config, 1);
    let mut run = |at: u64| {
        host.run(Nanos(at));
        let cost =
            host.machine.run_unit(Nanos(at), ThreadId(0), WorkId(0), &mut host.hash, &mut host.effects);
        let stopped: Vec<_> = host.effects.stalls.drain(..).map(|stall| (stall.owner, stall.span)).collect();
        (cost.hint_fault, stopped, host.machine.thread(ThreadId(0)).cpu)
    };
    // The first sequence has no faults to place by.
    assert_eq!(run(1_500 * MILLI).0, Span(100 * 800 + 2_000));
    let (faults, stopped, cpu) = run(9 * SECOND);
    // 100 faults, a placement, a look at one node.
    assert_eq!((faults, cpu), (Span(100 * 800 + 2_000 + 10_000), CpuId(0)));
    assert_eq!(stopped, [(Owner::DispatchJitter, Span(15_000))]);
}

#[test]
fn an_isolated_task_is_never_moved_but_its_pages_are() {
    let mut config = machine(KernelModel::V6_12_95, vec![region(2_000, 0)], vec![free(2, 20_000)]);
    config.topology.isolated = vec![CpuId(2)];
    let host = ran(config, 6);
    assert_eq!((cpus(&host), host.machine.task_moves()), (vec![2], TaskMoves::default()));
    assert_eq!(host.machine.pages_on(RegionId(0), NodeId(1)), 2_000);

    let mut config = machine(KernelModel::V6_12_95, vec![bound(2_000, 0)], vec![free(2, 20_000)]);
    config.topology.isolated = vec![CpuId(2)];
    let host = ran(config, 6);
    assert_eq!((cpus(&host), host.machine.task_moves()), (vec![2], TaskMoves::default()));
    // Without a domain above it the task settles for where it is (spec: 3.8 step 1).
    assert_eq!(host.machine.thread(ThreadId(0)).preferred, Some(NodeId(1)));
}

/// All four CPUs busy; the memory of the threads on CPU 1 and CPU 2 lies crosswise.
fn crossed() -> MachineConfig {
    let regions = vec![bound(2_000, 0), bound(2_000, 1)];
    let threads = vec![
        on_region(free(0, 5_000), 0),
        on_region(free(1, 5_000), 1),
        on_region(free(2, 5_000), 0),
        on_region(free(3, 5_000), 1),
    ];
    machine(KernelModel::V6_12_95, regions, threads)
}

#[test]
fn tasks_with_crossed_memories_change_places() {
    let host = ran(crossed(), 20);
    let moves = host.machine.task_moves();
    // Whoever looks first may meet a task without statistics and change places with the wrong one; the next swap mends it.
    assert!((2..=4).contains(&moves.numa_task_swapped) && moves.numa_task_migrated == 0, "{moves:?}");
    let nodes: Vec<u16> = cpus(&host).iter().map(|cpu| cpu / 2).collect();
    assert_eq!(nodes, [0, 1, 0, 1]);

    let mut alone = crossed();
    alone.scheduler.numa_task_swap = false;
    let host = ran(alone, 20);
    let moves = host.machine.task_moves();
    assert_eq!((moves.numa_task_swapped, moves.numa_task_migrated, cpus(&host)), (0, 0, vec![0, 1, 2, 3]));
    assert!(moves.numa_task_stuck > 0);
}

#[test]
fn nobody_changes_places_with_a_pinned_task() {
    let mut config = crossed();
    config.threads[1].affinity = vec![CpuId(1)];
    config.threads[0].affinity = vec![CpuId(0)];
    let host = ran(config, 20);
    assert_eq!(cpus(&host), [0, 1, 2, 3]);
}

#[test]
fn a_group_gathers_at_its_memory() {
    // Two threads of two nodes write the same bound pages, so that they form a group; both end at the memory.
    let mut regions = vec![bound(500, 0)];
    regions[0].policy = Policy::BindBalancing(NodeMask::only(NodeId(0)));
    let mut config = machine(KernelModel::V6_1, regions, vec![free(0, 20_000), free(2, 20_000)]);
    config.topology.caches_per_node = 2;
    let host = ran(config, 20);
    assert_eq!(cpus(&host), [0, 1]);
    assert_eq!(host.machine.task_moves().numa_task_migrated, 1);
}

#[test]
fn a_second_task_stays_away_where_the_imbalance_is_not_tolerated() {
    // As above with one cache a node: two running tasks are more than 1 (2 CPUs / 8, at least 1), spec: 3.8 step 4.
    let mut config = machine(KernelModel::V6_1, vec![bound(500, 0)], vec![free(0, 20_000), free(2, 20_000)]);
    config.topology.caches_per_node = 1;
    let host = ran(config, 20);
    assert_eq!((cpus(&host), host.machine.task_moves().numa_task_migrated), (vec![0, 2], 0));
    assert!(host.machine.task_moves().numa_task_stuck > 0);
}

#[test]
fn threads_on_one_cpu_halve_their_time_and_leave_when_they_may() {
    let config = |free_to_go: bool| {
        let mut threads = vec![thread(2, Vec::new()), thread(2, Vec::new())];
        threads[1].pid = 77;
        if free_to_go {
            threads[1].affinity = vec![CpuId(1), CpuId(2)];
        }
        machine(KernelModel::V6_12_95, vec![region(500, 1)], threads)
    };
    let host = ran(config(false), 4);
    let times = [0, 1].map(|thread| host.machine.thread_at(Nanos(4 * SECOND), ThreadId(thread)).runtime);
    assert_eq!((times, cpus(&host)), ([Span(2 * SECOND); 2], vec![2, 2]));
    // Half of the CPU time, so the first pass comes after two seconds.
    let mut early = Host::new(config(false), 1);
    early.run(Nanos(2 * SECOND));
    assert_eq!(early.machine.counters().numa_pte_updates, 0);
    early.run(Nanos(2 * SECOND + 20 * MILLI));
    assert_eq!(early.machine.counters().numa_pte_updates, 500);

    let host = ran(config(true), 4);
    assert_eq!((cpus(&host), host.machine.task_moves().load_balanced), (vec![2, 1], 1));
    let mut stays = config(true);
    stays.scheduler.load_balancing = false;
    assert_eq!(cpus(&ran(stays, 4)), [2, 2]);
}

#[test]
fn the_balancer_looks_on_the_node_first_and_evens_out() {
    let free_on_2 = |count: usize| {
        let thread = |index| ThreadConfig { pid: 100 + index as u32, background: Vec::new(), ..free(2, 1) };
        machine(KernelModel::V6_12_95, vec![region(10, 1)], (0..count).map(thread).collect())
    };
    let placed = |count| {
        let mut cpus = cpus(&ran(free_on_2(count), 2));
        cpus.sort_unstable();
        cpus
    };
    assert_eq!(placed(2), [2, 3]);
    assert_eq!(placed(3), [0, 2, 3]);
    assert_eq!(placed(4), [0, 1, 2, 3]);
    // More threads than CPUs: no CPU gets a third one.
    let mut count = [0; 4];
    placed(6).iter().for_each(|cpu| count[usize::from(*cpu)] += 1);
    assert!(count.iter().all(|threads| (1..=2).contains(threads)), "{count:?}");
}

#[test]
fn a_sleeper_gets_its_duty_beside_a_busy_thread() {
    let mut threads = vec![thread(2, Vec::new()), thread(2, Vec::new())];
    threads[1].activity = Activity::Duty(200_000);
    let host = ran(machine(KernelModel::V6_12_95, vec![region(10, 1)], threads), 1);
    let times = [0, 1].map(|thread| host.machine.thread_at(Nanos(SECOND), ThreadId(thread)).runtime);
    assert_eq!(times, [Span(800 * MILLI), Span(200 * MILLI)]);
}

#[test]
fn a_crowded_cpu_halves_the_speed_of_units_and_catching_up() {
    let config = |both: bool| {
        let mut threads = vec![thread(2, Vec::new())];
        if both {
            threads.push(ThreadConfig { pid: 9, ..thread(2, Vec::new()) });
        }
        let mut config = machine(KernelModel::V6_12_95, vec![region(100, 0)], threads);
        config.processes[0].idle_threads = 1;
        config.works.push(WorkConfig {
            name: "message".to_owned(),
            thread: ThreadId(0),
            compute: Span(700),
            touches: Vec::new(),
        });
        config
    };
    let base = |both| {
        let mut host = Host::new(config(both), 1);
        host.machine.run_unit(Nanos(10), ThreadId(0), WorkId(0), &mut host.hash, &mut host.effects).base
    };
    assert_eq!((base(false), base(true)), (Span(700), Span(1_400)));
}

#[test]
fn every_rate_of_ticks_that_kernels_have_keeps_the_periods() {
    for (hz, tick) in [(100, 10_000_000), (250, 4_000_000), (300, 3_333_333), (1000, 1_000_000)] {
        let touches = vec![background(1_000, Pattern::Sequential { start: 0 })];
        let mut config = machine(KernelModel::V6_12_95, vec![region(100, 0)], vec![thread(0, touches)]);
        config.hz = hz;
        config.tick_phase = Span(0);
        // The period stays where it starts.
        config.rules.period_adaptation = false;
        let mut host = Host::new(config, 1);
        host.run(Nanos(10_500_000_000));
        let begun: Vec<u64> = host.effects.passes.iter().map(|pass| pass.begun.0).collect();
        assert!(begun.iter().all(|at| at % tick == 0), "{hz}: passes begin on ticks");
        let apart: Vec<u64> = begun.windows(2).map(|pair| (pair[1] - pair[0]) / tick).collect();
        // A second and the two ticks that the winner of a pass stays behind, and one until the CPU time is beyond.
        let expected = u64::from(hz) + 2;
        assert!(apart.len() >= 8, "{hz}: {apart:?}");
        assert!(apart.iter().all(|ticks| (expected..=expected + 1).contains(ticks)), "{hz}: {apart:?}");
    }
}

#[test]
fn a_lone_thread_on_a_nohz_full_cpu_triggers_once_a_second_and_is_interrupted_for_it() {
    let config = |nohz: bool, crowd: bool| {
        let mut threads = vec![thread(2, Vec::new())];
        if crowd {
            threads.push(ThreadConfig {
                pid: 9,
                class: SchedulerClass::Fifo,
                activity: Activity::Duty(1),
                ..thread(2, Vec::new())
            });
        }
        let mut config = machine(KernelModel::V6_12_95, vec![region(100_000, 0)], threads);
        config.knobs.scan_period_min_ms = 100;
        config.knobs.scan_size_mb = 16;
        if nohz {
            config.topology.nohz_full = vec![CpuId(2)];
        }
        config
    };
    let passes = |config| {
        let host = ran(config, 10);
        let kicks = host.stalls.iter().filter(|(_, stall)| stall.span == Span(1_000)).count();
        (host.machine.counters().numa_pte_updates / 4096, kicks)
    };
    let (ticking, none) = passes(config(false, false));
    let (remote, kicks) = passes(config(true, false));
    assert!(ticking > 20 && none == 0, "{ticking} {none}");
    assert!((8..=10).contains(&remote) && kicks as u64 >= remote, "{remote} {kicks}");
    // Two tasks need the tick.
    assert!(passes(config(true, true)).0 > 20);
}

#[test]
fn setting_the_affinity_moves_and_pins() {
    let mut config = machine(KernelModel::V6_12_95, vec![bound(2_000, 0)], vec![free(0, 20_000)]);
    config.disturbances =
        vec![(Nanos(MILLI), Disturbance::MoveThread { thread: ThreadId(0), cpu: CpuId(3) })];
    let host = ran(config, 10);
    assert_eq!((cpus(&host), host.machine.task_moves().numa_task_migrated), (vec![3], 0));
    assert!(host.machine.task_moves().numa_task_stuck > 0);
}

#[test]
fn a_thread_must_begin_within_its_affinity() {
    let refused = |affinity: &[u16]| {
        let mut config = machine(KernelModel::V6_12_95, vec![region(10, 0)], vec![thread(2, Vec::new())]);
        config.threads[0].affinity = affinity.iter().map(|cpu| CpuId(*cpu)).collect();
        numashock_machine::Machine::new(config, numashock_engine::Seed(1), &mut Default::default()).err()
    };
    assert_eq!(refused(&[2, 3]), None);
    assert!(matches!(refused(&[]), Some(MachineError::Affinity { .. })));
    assert!(matches!(refused(&[0, 1]), Some(MachineError::Affinity { .. })));
    assert!(matches!(refused(&[2, 9]), Some(MachineError::Unknown { .. })));
}

#[derive(Clone, Debug)]
struct Load {
    cpu: u16,
    affinity: u8,
    kind: u8,
    rate: u64,
    region: u16,
}

fn loads() -> impl Strategy<Value = Vec<Load>> {
    let load = (0u16..4, any::<u8>(), 0u8..5, 1u64..50_000, 0u16..3)
        .prop_map(|(cpu, affinity, kind, rate, region)| Load { cpu, affinity, kind, rate, region });
    prop::collection::vec(load, 1..9)
}

fn mixed(loads: &[Load]) -> MachineConfig {
    let regions = vec![bound(700, 0), bound(700, 1), region(700, 0)];
    let threads = loads.iter().enumerate().map(|(index, load)| {
        let mut thread = on_region(free(load.cpu, load.rate), load.region);
        thread.pid = 50 + index as u32;
        thread.affinity.retain(|cpu| cpu.0 == load.cpu || load.affinity >> cpu.0 & 1 == 1);
        thread.class = if load.kind == 4 { SchedulerClass::Fifo } else { SchedulerClass::Fair };
        thread.activity = match load.kind {
            0 | 4 => Activity::Spins,
            1 => Activity::Duty(300_000),
            2 => Activity::Duty(950_000),
            _ => Activity::Bursts { start: Nanos(5), every: Span(50 * MILLI), length: Span(9 * MILLI) },
        };
        thread
    });
    let threads = threads.collect();
    let mut config = machine(KernelModel::V6_12_95, regions, threads);
    config.knobs.scan_delay_ms = 40;
    config.knobs.scan_period_min_ms = 40;
    config.knobs.scan_period_max_ms = 400;
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever runs where: a thread stays within its affinity, a CPU gives out no more than the wall clock, runtime never
    /// runs ahead of it, and the same seed gives the same events.
    #[test]
    fn shares_and_affinities_hold(
        loads in loads(),
        isolated in any::<u8>(),
        pinning in prop::collection::vec((0u64..3_000, 0usize..8, 0u16..4), 0..4),
        seed in any::<u64>(),
    ) {
        let mut config = mixed(&loads);
        config.topology.isolated = (0..4).filter(|cpu| isolated & 0x11 << cpu == 0x11 << cpu).map(CpuId).collect();
        config.topology.nohz_full = vec![CpuId(isolated as u16 % 4)];
        config.disturbances = pinning
            .iter()
            .filter(|(_, thread, _)| *thread < loads.len())
            .map(|(at, thread, cpu)| {
                (Nanos(at * MILLI), Disturbance::MoveThread { thread: ThreadId(*thread as u16), cpu: CpuId(*cpu) })
            })
            .collect();
        let pinned = |thread: usize, now: u64| {
            let done = pinning.iter().filter(|(at, other, _)| *other == thread && *at <= now);
            done.max_by_key(|(at, _, _)| *at).map(|_| ())
        };
        let mut host = Host::new(config.clone(), seed);
        let mut again = Host::new(config.clone(), seed);
        let mut before = vec![Span::ZERO; loads.len()];
        for step in 1..=60u64 {
            let now = Nanos(step * 50 * MILLI + step);
            host.run(now);
            let mut on_cpu = [0u64; 4];
            for (thread, before) in before.iter_mut().enumerate() {
                let view = host.machine.thread_at(now, ThreadId(thread as u16));
                if pinned(thread, step * 50).is_none() {
                    prop_assert!(config.threads[thread].affinity.contains(&view.cpu));
                    if config.topology.isolated.contains(&config.threads[thread].cpu) {
                        prop_assert_eq!(view.cpu, config.threads[thread].cpu);
                    }
                }
                prop_assert!(view.runtime.0 <= now.0, "{} at {}", view.runtime, now);
                prop_assert!(view.runtime >= *before);
                *before = view.runtime;
                let share = host.machine.cpu_share(ThreadId(thread as u16));
                on_cpu[usize::from(view.cpu.0)] += share;
            }
            prop_assert!(on_cpu.iter().all(|share| *share <= 1_000_000), "{:?}", on_cpu);
        }
        again.run(Nanos(60 * 50 * MILLI + 60));
        prop_assert_eq!(host.hash.checkpoint(), again.hash.checkpoint());
    }

    /// With every switch off no thread moves by itself.
    #[test]
    fn switched_off_nothing_moves(loads in loads()) {
        let mut config = mixed(&loads);
        config.scheduler =
            SchedulerConfig { load_balancing: false, numa_task_migration: false, numa_task_swap: false };
        let host = ran(config, 3);
        prop_assert_eq!(host.machine.task_moves(), TaskMoves::default());
        let starts: Vec<u16> = loads.iter().map(|load| load.cpu).collect();
        prop_assert_eq!(cpus(&host), starts);
    }
}

/// Another process's threads count as load like one's own.
#[test]
fn a_node_filled_by_another_process_is_left_alone() {
    let filled = |busy: bool| {
        let mut threads = vec![free(2, 20_000)];
        let mut config = machine(KernelModel::V6_12_95, vec![bound(2_000, 0)], Vec::new());
        config.processes.push(ProcessConfig { name: "batch".to_owned(), ..config.processes[0].clone() });
        for cpu in 0..2 {
            let mut other = thread(cpu, Vec::new());
            other.process = ProcessId(1);
            if !busy {
                other.activity = Activity::Duty(0);
            }
            threads.push(other);
        }
        config.threads = threads;
        ran(config, 10)
    };
    assert_eq!(cpus(&filled(false)), [0, 0, 1]);
    assert_eq!(cpus(&filled(true)), [2, 0, 1]);
}
