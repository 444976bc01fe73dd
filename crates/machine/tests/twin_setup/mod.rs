//! The random small machines on which the machine and its naive twin are compared.

use numashock_engine::Span;
use numashock_machine::{
    CpuId, KernelModel, MapKind, NodeMask, Pattern, Policy, RegionId, Rules, SchedulerClass, ThreadId,
    TouchConfig, WorkConfig,
};
use proptest::prelude::*;

use crate::common::{Host, machine, region, thread};
use tier::{HOT_MS, LIMIT_MBPS};

pub(crate) mod tier;

/// One of them, and what is touched.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) kernel: KernelModel,
    pub(crate) size_mb: u32,
    pub(crate) delay_ms: u32,
    pub(crate) min_ms: u32,
    pub(crate) max_ms: u32,
    pub(crate) regions: Vec<(u64, usize, usize, usize)>,
    pub(crate) pids: [u32; 2],
    pub(crate) cpus: [u16; 2],
    pub(crate) fair: bool,
    pub(crate) threads: u32,
    pub(crate) idle: u32,
    pub(crate) after: bool,
    pub(crate) writes: bool,
    pub(crate) rules: Rules,
    /// Of the first region.
    pub(crate) pinned: bool,
    pub(crate) elsewhere: bool,
    pub(crate) locked: bool,
    pub(crate) mems: Option<NodeMask>,
    /// The second node is slow and has no CPUs: the modes' bits, normal and tiering.
    pub(crate) slow: Option<(bool, bool)>,
}

/// What a region can map; twice what is common.
pub(crate) const KINDS: [MapKind; 12] = [
    MapKind::Anonymous,
    MapKind::Anonymous,
    MapKind::Anonymous,
    MapKind::Anonymous,
    MapKind::TmpfsShared,
    MapKind::FileReadOnly,
    MapKind::TmpfsPrivate,
    MapKind::SharedAnonymous,
    MapKind::FileShared { dirty: false },
    MapKind::FilePrivate,
    MapKind::FileCopyOnWrite,
    MapKind::Special,
];
pub(crate) const POLICIES: [Policy; 6] = [
    Policy::Default,
    Policy::Default,
    Policy::Default,
    Policy::BindBalancing(NodeMask(2)),
    Policy::Bind(NodeMask(3)),
    Policy::Local,
];

/// The kernel's rules, or a few of them switched off.
fn rules() -> impl Strategy<Value = Rules> {
    let off = prop::collection::vec(prop::sample::select(Rules::NAMES), 0..4);
    (any::<bool>(), off).prop_map(|(counterfactual, off)| {
        off.into_iter()
            .filter(|_| counterfactual)
            .fold(Rules::KERNEL, |rules, name| rules.with(name, false).expect("the names are the switches'"))
    })
}

pub(crate) fn setups() -> impl Strategy<Value = Setup> {
    let kernel = prop::sample::select(KernelModel::ALL.to_vec());
    let regions = prop::collection::vec((1u64..1200, 0usize..2, 0..KINDS.len(), 0..POLICIES.len()), 1..4);
    let knobs = (1u32..4, 1u32..40, 1u32..200, 1u32..4000);
    // Thread ids that share their low byte, or end in 0xFF.
    let pids = prop::sample::select(vec![[300, 301], [0x1FF, 0x2FF], [300, 300 + 256], [77, 0x3FF]]);
    let cpus = prop::sample::select(vec![[0, 2], [1, 2], [2, 3], [0, 1]]);
    let mems = prop::sample::select(vec![None, None, Some(NodeMask(1)), Some(NodeMask(3))]);
    let flags = (any::<[bool; 3]>(), prop::sample::select(vec![0u8, 0, 0, 0, 1, 2, 4]));
    let mode = |slow| prop::sample::select(vec![(true, false), (false, true), (true, true)]).prop_map(slow);
    let slow = prop_oneof![Just(None), mode(Some)];
    let machine = (kernel, mems, rules(), slow);
    (machine, regions, knobs, pids, cpus, flags, (1u32..3, 0u32..2)).prop_map(
        |((kernel, mems, rules, slow), regions, knobs, pids, cpus, (flags, special), users)| Setup {
            kernel,
            size_mb: 1 << (knobs.0 - 1),
            delay_ms: knobs.1,
            min_ms: knobs.2,
            max_ms: knobs.3,
            regions,
            pids,
            cpus,
            fair: flags[0],
            threads: users.0,
            idle: users.1,
            after: flags[1],
            writes: flags[2],
            rules,
            pinned: special == 1,
            elsewhere: special == 2,
            locked: special == 4,
            mems,
            slow,
        },
    )
}

/// The machine of a setup.
pub(crate) fn host_of(setup: &Setup) -> Host {
    let regions = setup.regions.iter().enumerate().map(|(index, (pages, node, kind, policy))| {
        let mut region = region(*pages, *node as u8);
        region.dma_pinned = index == 0 && setup.pinned;
        region.mapped_elsewhere = index == 0 && setup.elsewhere;
        region.locked = index == 0 && setup.locked;
        region.kind = KINDS[*kind];
        region.policy = POLICIES[*policy];
        region.first_touch = Some(CpuId(0));
        region
    });
    let threads = (0..setup.threads as usize).map(|index| {
        let mut thread = thread(setup.cpus[index], Vec::new());
        thread.pid = setup.pids[index];
        thread.class = if index == 0 || setup.fair { SchedulerClass::Fair } else { SchedulerClass::Fifo };
        thread
    });
    let mut config = machine(setup.kernel, regions.collect(), threads.collect());
    config.knobs.scan_size_mb = setup.size_mb;
    config.knobs.scan_delay_ms = setup.delay_ms;
    config.knobs.scan_period_min_ms = setup.min_ms;
    config.knobs.scan_period_max_ms = setup.max_ms;
    if let Some((normal, tiering)) = setup.slow {
        config.topology.nodes[0].cpus = (0..4).map(CpuId).collect();
        config.topology.nodes[1].cpus.clear();
        config.topology.nodes[1].slow = true;
        (config.knobs.balancing, config.knobs.tiering) = (normal, tiering);
        (config.knobs.hot_threshold_ms, config.knobs.promote_rate_limit_mbps) = (HOT_MS, LIMIT_MBPS);
    }
    config.rules = setup.rules;
    config.processes[0].mems_allowed = setup.mems;
    config.processes[0].idle_threads = setup.idle;
    config.processes[0].mappings_after = setup.after;
    config.costs.pass_base = Span(10_000).into();
    for thread in 0..setup.threads as u16 {
        for region in 0..setup.regions.len() as u16 {
            let touch = TouchConfig {
                region: RegionId(region),
                count: 40,
                pattern: Pattern::Xorshift { state: 1 + u64::from(thread) },
                write_ppm: if setup.writes { 1_000_000 } else { 0 },
                miss_ppm: 0,
            };
            let work = WorkConfig {
                name: String::new(),
                thread: ThreadId(thread),
                compute: Span::ZERO,
                touches: vec![touch],
            };
            config.works.push(work);
        }
    }
    Host::new(config, 1)
}
