//! Machines for the tests: two nodes of two CPUs, costs of a plausible server.
#![allow(dead_code, reason = "each test binary uses a part")]

use numashock_engine::{EventHash, EventQueue, Nanos, Seed, Span};
use numashock_machine::{
    Activity, BackgroundConfig, Charges, Cost, Costs, CpuId, Effects, Event, KernelModel, Knobs, Machine,
    MachineConfig, MapKind, Node, NodeId, Pattern, Placement, Policy, ProcessConfig, ProcessId, RegionConfig,
    RegionId, Rules, SchedulerClass, SchedulerConfig, Stall, ThreadConfig, Topology, TouchConfig,
};

/// Costs in the middle of the ranges of spec 5.
pub(crate) fn costs() -> Costs {
    Costs {
        pass_base: Cost::constant(20_000),
        mark_per_pte_ps: Cost::constant(60_000),
        mark_huge_ps: Cost::constant(250_000),
        skip_per_pte_ps: 3_000,
        local_skip_per_pte_ps: 20_000,
        shootdown_base: Cost::constant(1_000),
        shootdown_per_cpu: Cost::constant(200),
        interrupt: Cost::constant(1_000),
        interrupt_few_pages: Cost::constant(700),
        hint_fault: Cost::constant(800),
        placement: Cost::constant(2_000),
        migrate_page: Cost::constant(2_500),
        migrate_huge: Cost::constant(195_000),
        page_allocation_ppm: 0,
        huge_allocation_ppm: 0,
        refused_migration: Cost::constant(200),
        write_fault: Cost::constant(1_000),
        migration_wake: Cost::constant(5_000),
        task_migrate_scan: Cost::constant(10_000),
        stopper: Cost::constant(15_000),
        latency_ps: vec![vec![80_000, 140_000], vec![140_000, 80_000]],
        interconnect_mbps: 34_000,
        memory_mbps: 110_000,
        loaded_latency: vec![(500_000, 1_000_000), (750_000, 1_500_000), (1_000_000, 3_000_000)],
    }
}

pub(crate) fn region(pages: u64, node: u8) -> RegionConfig {
    RegionConfig {
        name: "heap".to_owned(),
        process: ProcessId(0),
        pages,
        placement: Placement::Node(NodeId(node)),
        policy: Policy::Default,
        kind: MapKind::Anonymous,
        continues: false,
        dma_pinned: false,
        locked: false,
        mapped_elsewhere: false,
        first_touch: None,
    }
}

pub(crate) fn touch(pattern: Pattern) -> TouchConfig {
    TouchConfig { region: RegionId(0), count: 0, pattern, write_ppm: 1_000_000, miss_ppm: 0 }
}

pub(crate) fn background(rate_per_s: u64, pattern: Pattern) -> BackgroundConfig {
    let (touch_cost, touch) = (Span(100), touch(pattern));
    BackgroundConfig { rate_per_s, start: Nanos::ZERO, touch_cost, touch, part: None }
}

pub(crate) fn thread(cpu: u16, background: Vec<BackgroundConfig>) -> ThreadConfig {
    ThreadConfig {
        name: format!("on {cpu}"),
        process: ProcessId(0),
        pid: 1000 + u32::from(cpu),
        cpu: CpuId(cpu),
        affinity: vec![CpuId(cpu)],
        activity: Activity::Spins,
        class: SchedulerClass::Fair,
        background,
        mmap: None,
        reported: true,
        start: None,
    }
}

pub(crate) fn machine(
    kernel: KernelModel,
    regions: Vec<RegionConfig>,
    threads: Vec<ThreadConfig>,
) -> MachineConfig {
    MachineConfig {
        topology: Topology {
            nodes: vec![
                Node { cpus: vec![CpuId(0), CpuId(1)], memory_pages: 1 << 30, slow: false },
                Node { cpus: vec![CpuId(2), CpuId(3)], memory_pages: 1 << 30, slow: false },
            ],
            distance: vec![vec![10, 20], vec![20, 10]],
            isolated: Vec::new(),
            nohz_full: Vec::new(),
            caches_per_node: 1,
        },
        kernel,
        rules: Rules::KERNEL,
        preempt_rt: false,
        hz: 250,
        tick_phase: Span(1_000_000),
        knobs: Knobs::KERNEL_DEFAULTS,
        costs: costs(),
        scheduler: SchedulerConfig::KERNEL_DEFAULTS,
        processes: vec![ProcessConfig {
            name: "engine".to_owned(),
            idle_threads: 1,
            other_resident_pages: 0,
            mappings_after: true,
            policy: Policy::Default,
            mems_allowed: None,
            start: None,
        }],
        regions,
        threads,
        works: Vec::new(),
        disturbances: Vec::new(),
        charges: Charges::ALL,
    }
}

/// A machine with its queue.
pub(crate) struct Host {
    pub(crate) machine: Machine,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) effects: Effects,
    pub(crate) hash: EventHash,
    pub(crate) stalls: Vec<(Nanos, Stall)>,
    pub(crate) handled: u64,
}

impl Host {
    pub(crate) fn new(config: MachineConfig, seed: u64) -> Host {
        let mut effects = Effects::default();
        let machine = Machine::new(config, Seed(seed), &mut effects).expect("the configuration is sound");
        Host {
            machine,
            queue: EventQueue::default(),
            effects,
            hash: EventHash::new(0),
            stalls: Vec::new(),
            handled: 0,
        }
    }

    /// Lets everything happen that is due by `until`.
    pub(crate) fn run(&mut self, until: Nanos) {
        let mut now = Nanos::ZERO;
        loop {
            for (at, event) in self.effects.schedule.drain(..) {
                self.queue.push(at, event);
            }
            self.stalls.extend(self.effects.stalls.drain(..).map(|stall| (now, stall)));
            if self.queue.next_at() > until {
                return;
            }
            let (at, event) = self.queue.pop().expect("an event is due");
            now = at;
            self.handled += 1;
            self.machine.handle(at, event, &mut self.hash, &mut self.effects);
        }
    }
}
