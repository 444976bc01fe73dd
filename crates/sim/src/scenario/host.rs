//! The machine and its trading process, from the scenario's tables.

use std::collections::BTreeMap;

use numashock_engine::{Nanos, Seed, Span};
use numashock_machine::{
    Activity, BackgroundConfig, Charges, Cost, Costs, CpuId, Effects, KernelModel, Knobs, Machine,
    MachineConfig, MapKind, MmapConfig, Node, NodeId, NodeMask, Pattern, Placement, Policy, ProcessConfig,
    ProcessId, RegionConfig, RegionId, Rules, SchedulerClass, SchedulerConfig, TaskStart, ThreadConfig,
    ThreadId, Topology, TouchConfig, WorkConfig, WorkId,
};

use super::config::{Host, ModelHost, RecordedSource};
use super::document::ScenarioError;
use super::file::{
    BalancingTable, ClassName, MachineTable, MapName, MmapTable, PatternTable, PolicyName, RecordingTable,
    RegionTable, ScenarioFile, Start, ThreadTable, TouchTable, WorkTable,
};
use super::lower::{Origin, preset, saturate};
use super::policy::{mask, policy};
use super::preset::{Known, Preset};
use super::spread::Spread;
use super::units::Time;
use crate::recorded_host::{RecordedCosts, RecordedHost, Recording};

/// Below the kernel's own bound, the largest int.
const MOST_PROMOTED_MBPS: u32 = 2_000_000_000;
/// Most threads, and most regions.
const MOST_ENTRIES: usize = 1 << 16;
/// The thread that serves the messages.
const DISPATCH: &str = "dispatch";
/// The least and the greatest `sleep`, in ns.
const LEAST_SLEEP: u64 = 1_000;
const MOST_SLEEP: u64 = 3_600_000_000_000;
/// CPU time of a wake-up in ns, unless the scenario says otherwise (assumed: a timer interrupt and two context switches).
const WAKE_COST: u64 = 3_000;
/// `timerslack_ns` that a fair thread begins with; timers of the other classes have none.
const TIMER_SLACK: u64 = 50_000;
/// The trading process is the only one that is simulated page by page.
const PROCESS: ProcessId = ProcessId(0);

/// The tables that describe a machine and its process, wherever they stand.
#[derive(Clone, Debug)]
pub(super) struct HostTables {
    /// `[region.NAME]`
    pub(super) region: BTreeMap<String, RegionTable>,
    /// `[thread.NAME]`
    pub(super) thread: BTreeMap<String, ThreadTable>,
    /// `run.start`
    pub(super) start: Start,
    /// Report the stalls of every thread, not only of the one that serves messages.
    pub(super) reports_all: bool,
}

impl HostTables {
    fn of(file: &ScenarioFile) -> HostTables {
        let (region, thread) = (file.region.clone(), file.thread.clone());
        HostTables { region, thread, start: file.run.start, reports_all: false }
    }
}

/// Lowers whichever host the scenario describes; also gives the preset it uses.
pub(super) fn lower(
    file: &ScenarioFile,
    origin: Origin<'_>,
    assumed_ppm: u64,
) -> Result<(Host, Preset), ScenarioError> {
    match (&file.machine, &file.recording) {
        (Some(machine), None) => {
            let preset = preset(&machine.preset, "machine.preset", origin, assumed_ppm)?;
            let model = model(file, &HostTables::of(file), machine, &preset, origin)?;
            Ok((Host::Model(Box::new(model)), preset))
        }
        (None, Some(recording)) => {
            let preset = preset(&recording.preset, "recording.preset", origin, assumed_ppm)?;
            let recorded = recorded(file, recording, &preset, origin)?;
            Ok((Host::Recorded(Box::new(recorded)), preset))
        }
        _ => {
            Err(origin
                .error("machine", "expected exactly one of [machine] and [recording]; remove or add one"))
        }
    }
}

fn recorded(
    file: &ScenarioFile,
    table: &RecordingTable,
    preset: &Preset,
    origin: Origin<'_>,
) -> Result<RecordedSource, ScenarioError> {
    let key = "recording.file";
    let path = origin.path(&table.file);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| origin.error(key, format!("{} cannot be read: {error}", path.display())))?;
    let recording = Recording::parse(&path.display().to_string(), &text)
        .map_err(|error| origin.error(key, error.to_string()))?;
    let needed = file.run.warmup.span() + file.run.duration.span();
    if recording.covers() < needed {
        let problem = format!(
            "the recording covers {} of the {} that warm-up and duration need; shorten the run or record for longer",
            recording.covers(),
            needed
        );
        return Err(origin.error(key, problem));
    }
    let costs = RecordedCosts {
        // A row's events share what they cost together, so that what matters of a spread is its mean.
        hint_fault: Span(preset.hint_fault.value.cost().mean()),
        migration_copy: Span(preset.migrate_page.value.cost().mean()),
        pte_update: Span(preset.mark_per_pte.value.cost().mean().div_ceil(1_000)),
        scan_size: table.scan_size.pages(),
    };
    let dispatch_share_ppm = share(table.dispatch_share.0, "recording.dispatch_share", origin)?;
    RecordedHost::new(recording.clone(), costs, dispatch_share_ppm, Seed(0))
        .map_err(|error| origin.error(key, error.to_string()))?;
    let base = |work: &WorkTable| {
        let misses: u64 =
            work.touches.iter().map(|touch| u64::from(touch.count) * touch.miss.0).sum::<u64>() / 1_000_000;
        work.compute.span() + preset.local_latency.value.span() * misses
    };
    let base = [base(&file.work.quote), base(&file.work.report), base(&file.work.timer)];
    Ok(RecordedSource { recording, costs, dispatch_share_ppm, base })
}

fn model(
    file: &ScenarioFile,
    tables: &HostTables,
    table: &MachineTable,
    preset: &Preset,
    origin: Origin<'_>,
) -> Result<ModelHost, ScenarioError> {
    check_counts(tables, origin)?;
    let dispatch = tables.thread.keys().position(|name| name == DISPATCH);
    let Some(dispatch) = dispatch.map(|at| ThreadId(number(at))) else {
        return Err(origin.error("thread", "no [thread.dispatch]: it serves the messages, so add it"));
    };
    let works = [("quote", &file.work.quote), ("report", &file.work.report), ("timer", &file.work.timer)]
        .into_iter()
        .map(|(name, work)| self::work(tables, name, work, dispatch, origin))
        .collect::<Result<Vec<_>, _>>()?;
    let machine = machine(tables, table, preset, works, origin)?;
    Ok(ModelHost { machine, dispatch, works: [WorkId(0), WorkId(1), WorkId(2)] })
}

/// The machine and its process; `works` are the units of work that threads do beside their own touches.
pub(super) fn machine(
    file: &HostTables,
    table: &MachineTable,
    preset: &Preset,
    works: Vec<WorkConfig>,
    origin: Origin<'_>,
) -> Result<MachineConfig, ScenarioError> {
    check_counts(file, origin)?;
    let Some(kernel) = KernelModel::parse(&table.kernel) else {
        let names: Vec<&str> = KernelModel::ALL.iter().map(|model| model.name()).collect();
        return Err(origin.error(
            "machine.kernel",
            format!("unknown model \"{}\": one of {}", table.kernel, names.join(" ")),
        ));
    };
    if table.hz < 100 || table.hz > 1_000 {
        return Err(origin
            .error("machine.hz", "expected 100 to 1000 ticks a second; kernels use 100, 250, 300 or 1000"));
    }
    let topology = topology(table, origin)?;
    let machine = MachineConfig {
        costs: costs(preset, topology.nodes.len()),
        scheduler: table.scheduler.map_or(SchedulerConfig::KERNEL_DEFAULTS, |table| SchedulerConfig {
            load_balancing: table.load_balancing,
            numa_task_migration: table.numa_task_migration,
            numa_task_swap: table.numa_task_swap,
        }),
        kernel,
        rules: rules(table, origin)?,
        preempt_rt: table.preempt_rt,
        hz: table.hz,
        knobs: knobs(&table.balancing, origin)?,
        tick_phase: Span::ZERO,
        processes: vec![ProcessConfig {
            name: "trading".to_owned(),
            idle_threads: 0,
            other_resident_pages: 0,
            mappings_after: false,
            policy: Policy::Default,
            mems_allowed: mems_allowed(table, &topology, origin)?,
            start: None,
        }],
        regions: regions(file, &topology, origin)?,
        threads: threads(file, table, &topology, origin)?,
        works,
        // The injector brings them.
        disturbances: Vec::new(),
        charges: Charges::ALL,
        topology,
    };
    // The machine has rules of its own; a trial creation asks them here, where the user can be told.
    Machine::new(machine.clone(), Seed(0), &mut Effects::default())
        .map_err(|error| origin.error("machine", error.to_string()))?;
    Ok(machine)
}

/// Threads and regions have ids of 16 bits.
fn check_counts(file: &HostTables, origin: Origin<'_>) -> Result<(), ScenarioError> {
    for (key, count) in [("thread", file.thread.len()), ("region", file.region.len())] {
        if count > MOST_ENTRIES {
            let problem = format!(
                "stands for {count} of them, expected at most {MOST_ENTRIES}; lower a count, or leave some out"
            );
            return Err(origin.error(key, problem));
        }
    }
    Ok(())
}

fn rules(table: &MachineTable, origin: Origin<'_>) -> Result<Rules, ScenarioError> {
    let mut rules = Rules::KERNEL;
    for (name, on) in &table.rules {
        rules = rules.with(name, *on).ok_or_else(|| {
            let problem = format!("no mechanism \"{name}\": one of {}", Rules::NAMES.join(" "));
            origin.error(&format!("machine.rules.{name}"), problem)
        })?;
    }
    Ok(rules)
}

fn mems_allowed(
    table: &MachineTable,
    topology: &Topology,
    origin: Origin<'_>,
) -> Result<Option<NodeMask>, ScenarioError> {
    let Some(nodes) = &table.mems_allowed else { return Ok(None) };
    let key = "machine.mems_allowed";
    if nodes.is_empty() {
        return Err(origin.error(key, "expected at least one node; leave the key out for no cpuset"));
    }
    let mut mask = 0;
    for node in nodes {
        if usize::from(*node) >= topology.nodes.len() {
            let last = topology.nodes.len() - 1;
            let problem = format!("node {node} does not exist: the machine has nodes 0 to {last}");
            return Err(origin.error(key, problem));
        }
        mask |= 1 << node;
    }
    Ok(Some(NodeMask(mask)))
}

fn topology(table: &MachineTable, origin: Origin<'_>) -> Result<Topology, ScenarioError> {
    let count = table.node.len();
    if count == 0 || count > 8 {
        return Err(origin.error("machine.node", "expected 1 to 8 nodes"));
    }
    let mut seen: Vec<u16> = Vec::new();
    for (index, node) in table.node.iter().enumerate() {
        let key = format!("machine.node[{index}]");
        if node.distance.len() != count {
            let problem = format!(
                "has {} entries for {count} nodes; give one distance to each node",
                node.distance.len()
            );
            return Err(origin.error(&format!("{key}.distance"), problem));
        }
        for cpu in &node.cpus {
            if seen.contains(cpu) {
                return Err(origin.error(&format!("{key}.cpus"), format!("CPU {cpu} stands in two places")));
            }
            seen.push(*cpu);
        }
        if node.slow && !node.cpus.is_empty() {
            let problem = "a node with CPUs is of the top tier; remove slow, or empty cpus";
            return Err(origin.error(&format!("{key}.slow"), problem));
        }
    }
    let nodes = table.node.iter().map(|node| Node {
        cpus: node.cpus.iter().map(|cpu| CpuId(*cpu)).collect(),
        memory_pages: node.memory.pages(),
        slow: node.slow,
    });
    let topology = Topology {
        nodes: nodes.collect(),
        distance: table.node.iter().map(|node| node.distance.clone()).collect(),
        isolated: cpus(table.isolated.as_deref()),
        nohz_full: cpus(table.nohz_full.as_deref()),
        caches_per_node: table.caches_per_node.unwrap_or(1),
    };
    for (key, listed) in
        [("machine.isolated", &topology.isolated), ("machine.nohz_full", &topology.nohz_full)]
    {
        all_exist(listed, &topology, key, origin)?;
    }
    if !(1..=1024).contains(&topology.caches_per_node) {
        return Err(origin.error("machine.caches_per_node", "expected 1 to 1024 last-level caches a node"));
    }
    Ok(topology)
}

fn cpus(listed: Option<&[u16]>) -> Vec<CpuId> {
    listed.unwrap_or(&[]).iter().map(|cpu| CpuId(*cpu)).collect()
}

fn all_exist(
    listed: &[CpuId],
    topology: &Topology,
    key: &str,
    origin: Origin<'_>,
) -> Result<(), ScenarioError> {
    match listed.iter().find(|cpu| node_of_cpu(topology, Some(cpu.0)).is_none()) {
        Some(cpu) => Err(origin.error(key, no_cpu(cpu.0, topology))),
        None => Ok(()),
    }
}

/// The CPUs a thread may run on: the one it starts on, unless the scenario lists more.
fn affinity(
    thread: &ThreadTable,
    topology: &Topology,
    key: &str,
    origin: Origin<'_>,
) -> Result<Vec<CpuId>, ScenarioError> {
    let Some(listed) = &thread.affinity else { return Ok(vec![CpuId(thread.cpu)]) };
    let key = format!("{key}.affinity");
    let affinity = cpus(Some(listed));
    all_exist(&affinity, topology, &key, origin)?;
    if !listed.contains(&thread.cpu) {
        let problem =
            format!("leaves out CPU {}, on which the thread starts; add it, or start elsewhere", thread.cpu);
        return Err(origin.error(&key, problem));
    }
    Ok(affinity)
}

fn regions(
    file: &HostTables,
    topology: &Topology,
    origin: Origin<'_>,
) -> Result<Vec<RegionConfig>, ScenarioError> {
    let nodes = topology.nodes.len();
    let settled = match file.start {
        Start::Cold => None,
        Start::Warm => node_of_cpu(topology, file.thread.get(DISPATCH).map(|thread| thread.cpu)),
    };
    let mut regions = Vec::new();
    for (name, region) in &file.region {
        let key = format!("region.{name}");
        if usize::from(region.node) >= nodes {
            let problem =
                format!("node {} does not exist: the machine has nodes 0 to {}", region.node, nodes - 1);
            return Err(origin.error(&format!("{key}.node"), problem));
        }
        let installed = topology.nodes[usize::from(region.node)].memory_pages;
        if region.size.0 == 0 {
            return Err(origin.error(&format!("{key}.size"), "must be larger than zero, such as \"1GiB\""));
        }
        if region.size.pages() > installed {
            let problem = format!(
                "is larger than the {} MiB of node {}; give it more memory",
                installed / 256,
                region.node
            );
            return Err(origin.error(&format!("{key}.size"), problem));
        }
        let node = match (region.policy, settled) {
            (PolicyName::Default, Some(node)) => node,
            _ => NodeId(region.node),
        };
        let kind = kind(region.map);
        if region.size.pages() % kind.unit() != 0 {
            let problem = format!("expected a multiple of {} KiB, the size of its folios", kind.unit() * 4);
            return Err(origin.error(&format!("{key}.size"), problem));
        }
        let interleaved = matches!(region.policy, PolicyName::Interleave | PolicyName::WeightedInterleave);
        let mask = mask(region, nodes, &key, origin)?;
        let all = NodeMask((1 << nodes) - 1);
        regions.push(RegionConfig {
            name: name.clone(),
            process: PROCESS,
            pages: region.size.pages(),
            placement: if interleaved {
                let over = mask.unwrap_or(all);
                Placement::Interleave(
                    (0..nodes as u8).map(NodeId).filter(|node| over.contains(*node)).collect(),
                )
            } else {
                Placement::Node(node)
            },
            policy: policy(region.policy, node, mask, all),
            kind,
            continues: false,
            dma_pinned: region.pinned,
            locked: region.locked,
            mapped_elsewhere: region.mapped_elsewhere,
            first_touch: None,
        });
    }
    if regions.is_empty() {
        return Err(
            origin.error("region", "no region: give the trading process memory, such as [region.heap]")
        );
    }
    Ok(regions)
}

/// 64 KiB.
const LARGE_ORDER: u8 = 4;

fn kind(map: MapName) -> MapKind {
    match map {
        MapName::Anonymous => MapKind::Anonymous,
        MapName::Huge => MapKind::AnonymousHuge,
        MapName::Large => MapKind::AnonymousLarge { order: LARGE_ORDER },
        MapName::Hugetlb => MapKind::HugeTlb,
        MapName::ReadOnlyFile => MapKind::FileReadOnly,
        MapName::SharedFile => MapKind::FileShared { dirty: false },
        MapName::SharedDirtyFile => MapKind::FileShared { dirty: true },
        MapName::PrivateFile => MapKind::FilePrivate,
        MapName::PrivateDirtyFile => MapKind::FileCopyOnWrite,
        MapName::TmpfsPrivate => MapKind::TmpfsPrivate,
        MapName::TmpfsShared => MapKind::TmpfsShared,
        MapName::SharedAnonymous => MapKind::SharedAnonymous,
        MapName::Special => MapKind::Special,
        MapName::NoAccess => MapKind::NoAccess,
    }
}

fn class(name: ClassName) -> SchedulerClass {
    match name {
        ClassName::Fair => SchedulerClass::Fair,
        ClassName::Fifo => SchedulerClass::Fifo,
        ClassName::RoundRobin => SchedulerClass::RoundRobin,
        ClassName::Deadline => SchedulerClass::Deadline,
        ClassName::Ext => SchedulerClass::Ext,
    }
}

fn node_of_cpu(topology: &Topology, cpu: Option<u16>) -> Option<NodeId> {
    let at = topology.nodes.iter().position(|node| node.cpus.iter().any(|own| Some(own.0) == cpu))?;
    Some(NodeId(u8::try_from(at).expect("at most 8 nodes")))
}

fn threads(
    file: &HostTables,
    table: &MachineTable,
    topology: &Topology,
    origin: Origin<'_>,
) -> Result<Vec<ThreadConfig>, ScenarioError> {
    let mut threads = Vec::new();
    for (index, (name, thread)) in file.thread.iter().enumerate() {
        let key = format!("thread.{name}");
        if node_of_cpu(topology, Some(thread.cpu)).is_none() {
            return Err(origin.error(&format!("{key}.cpu"), no_cpu(thread.cpu, topology)));
        }
        let activity = activity(thread, &key, origin)?;
        let mut background = Vec::new();
        for (region, touches) in &thread.touches {
            let key = format!("{key}.touches.{region}");
            if touches.rate.0 % 1_000_000_000 != 0
                || !(1..=100_000_000).contains(&(touches.rate.0 / 1_000_000_000))
            {
                return Err(origin.error(
                    &format!("{key}.rate"),
                    "expected whole touches from \"1/s\" to \"100000000/s\"",
                ));
            }
            background.push(BackgroundConfig {
                rate_per_s: touches.rate.0 / 1_000_000_000,
                start: Nanos::ZERO,
                touch_cost: touches.cost.map_or(Span::ZERO, |cost| Span(cost.0)),
                touch: TouchConfig {
                    region: region_id(file, region, &key, origin)?,
                    count: 1,
                    pattern: pattern(file, region, touches.pattern, &format!("{key}.pattern"), origin)?,
                    write_ppm: share(touches.write.0, &format!("{key}.write"), origin)?,
                    miss_ppm: 0,
                },
                part: None,
            });
        }
        threads.push(ThreadConfig {
            name: name.clone(),
            process: PROCESS,
            // Thread ids follow one another from an arbitrary one: the kernel keeps only their low bits.
            pid: 1_000 + u32::from(number(index)),
            cpu: CpuId(thread.cpu),
            affinity: affinity(thread, topology, &key, origin)?,
            activity,
            class: class(thread.class),
            background,
            mmap: thread
                .mmap
                .as_ref()
                .map(|table| mmap(table, &format!("{key}.mmap"), origin))
                .transpose()?,
            reported: file.reports_all || name == DISPATCH,
            start: task_start(file, table, thread.main),
        });
    }
    if file.thread.values().filter(|thread| thread.main).count() != 1 {
        return Err(
            origin.error("thread", "expected exactly one thread with main = true: the process's first one")
        );
    }
    Ok(threads)
}

/// How a thread uses its CPU.
fn activity(thread: &ThreadTable, key: &str, origin: Origin<'_>) -> Result<Activity, ScenarioError> {
    let problem = |name: &str, problem: &str| Err(origin.error(&format!("{key}.{name}"), problem));
    if let Some(sleep) = thread.sleep {
        if thread.busy_poll {
            return problem("sleep", "a thread with busy_poll = true never sleeps; leave out one of the two");
        }
        if thread.duty.is_some() {
            return problem(
                "sleep",
                "stands in place of duty, which follows from it; leave out one of the two",
            );
        }
        if !(LEAST_SLEEP..=MOST_SLEEP).contains(&sleep.0) {
            return problem("sleep", "expected \"1us\" to \"1h\"");
        }
        let wake = thread.wake.map_or(WAKE_COST, |wake| wake.0);
        if wake > sleep.0 {
            return problem("wake", "is longer than the sleep that it ends");
        }
        let slack = if thread.class == ClassName::Fair { TIMER_SLACK } else { 0 };
        return Ok(Activity::Sleeps { sleep: Span(sleep.0), slack: Span(slack), wake: Span(wake) });
    }
    if thread.wake.is_some() {
        return problem("wake", "is of a thread with sleep; add that, or leave it out");
    }
    let Some(duty) = thread.duty else {
        return problem(
            "duty",
            "missing: say what share of the time it runs, or give it a sleep between touches",
        );
    };
    if duty.0 > 1_000_000 {
        return problem("duty", "is more than 100%");
    }
    Ok(if thread.busy_poll { Activity::Spins } else { Activity::Duty(duty.ppm()) })
}

fn mmap(table: &MmapTable, key: &str, origin: Origin<'_>) -> Result<MmapConfig, ScenarioError> {
    let hold = table.hold.cost();
    // Rates are per 10⁹ seconds.
    let gap = 1_000_000_000_000_000_000u64.checked_div(table.rate.0).unwrap_or(u64::MAX);
    if gap > 1_000_000_000_000_000 {
        return Err(
            origin.error(&format!("{key}.rate"), "expected \"1/h\" or more; without calls, remove mmap")
        );
    }
    if table.hold.greatest() > 1_000_000_000 || gap <= 2 * hold.mean() {
        let problem = "keeps the lock for half of the time or longer; shorten it, or lower the rate";
        return Err(origin.error(&format!("{key}.hold"), problem));
    }
    Ok(MmapConfig { mean_gap: Span(gap), hold, unmaps: table.unmap })
}

/// How a thread's scan clock stands at the start; `None` is a fresh thread that the first one created (spec: 1.2).
fn task_start(file: &HostTables, table: &MachineTable, main: bool) -> Option<TaskStart> {
    match (file.start, main) {
        (Start::Warm, _) => Some(settled_task(file, table)),
        (Start::Cold, true) => Some(TaskStart {
            runtime: Span::ZERO,
            node_stamp: Span::ZERO,
            scan_period_ms: saturate(table.balancing.scan_delay.0 / 1_000_000),
            scan_period_max_ms: 0,
            preferred: None,
            scan_seq: 0,
        }),
        (Start::Cold, false) => None,
    }
}

/// A thread that has run for so long that its scan period stands at its maximum (spec: 1.9).
fn settled_task(file: &HostTables, table: &MachineTable) -> TaskStart {
    let resident: u64 = file.region.values().map(|region| region.size.pages()).sum();
    let windows = resident.div_ceil((table.balancing.scan_size.0 >> 12).max(1)).max(1);
    let period = saturate((table.balancing.scan_period_max.0 / 1_000_000 / windows).max(100));
    TaskStart {
        runtime: Span::ZERO,
        node_stamp: Span(1),
        scan_period_ms: period,
        scan_period_max_ms: period,
        preferred: None,
        scan_seq: 0,
    }
}

fn no_cpu(cpu: u16, topology: &Topology) -> String {
    let all: Vec<String> =
        topology.nodes.iter().flat_map(|node| &node.cpus).map(|cpu| cpu.0.to_string()).collect();
    format!("CPU {cpu} does not exist: the machine has {}", all.join(" "))
}

fn work(
    file: &HostTables,
    name: &str,
    work: &WorkTable,
    thread: ThreadId,
    origin: Origin<'_>,
) -> Result<WorkConfig, ScenarioError> {
    let touches = work.touches.iter().enumerate().map(|(index, touch)| {
        let key = format!("work.{name}.touches[{index}]");
        touch_config(file, touch, &key, origin)
    });
    Ok(WorkConfig {
        name: name.to_owned(),
        thread,
        compute: work.compute.span(),
        touches: touches.collect::<Result<Vec<_>, _>>()?,
    })
}

fn touch_config(
    file: &HostTables,
    touch: &TouchTable,
    key: &str,
    origin: Origin<'_>,
) -> Result<TouchConfig, ScenarioError> {
    Ok(TouchConfig {
        region: region_id(file, &touch.region, &format!("{key}.region"), origin)?,
        count: touch.count,
        pattern: pattern(file, &touch.region, touch.pattern, &format!("{key}.pattern"), origin)?,
        write_ppm: share(touch.write.0, &format!("{key}.write"), origin)?,
        miss_ppm: share(touch.miss.0, &format!("{key}.miss"), origin)?,
    })
}

fn region_id(
    file: &HostTables,
    name: &str,
    key: &str,
    origin: Origin<'_>,
) -> Result<RegionId, ScenarioError> {
    match file.region.keys().position(|region| region == name) {
        Some(at) => Ok(RegionId(number(at))),
        None => {
            let names: Vec<&str> = file.region.keys().map(String::as_str).collect();
            Err(origin.error(key, format!("no region \"{name}\": one of {}", names.join(" "))))
        }
    }
}

fn pattern(
    file: &HostTables,
    region: &str,
    table: PatternTable,
    key: &str,
    origin: Origin<'_>,
) -> Result<Pattern, ScenarioError> {
    Ok(match table {
        PatternTable::Sequential => Pattern::Sequential { start: 0 },
        PatternTable::Uniform => Pattern::Uniform,
        PatternTable::HotCold { pages, touches } => {
            let between = |share: u64| 0 < share && share < 1_000_000;
            if !between(pages.0) || !between(touches.0) {
                return Err(origin.error(key, "expected shares between 0% and 100% for pages and touches"));
            }
            if file.region.get(region).is_some_and(|region| region.size.pages() < 2) {
                let problem =
                    "a hot and a cold part need a region of two pages or more; take another pattern";
                return Err(origin.error(key, problem));
            }
            Pattern::HotCold { hot_pages_ppm: pages.ppm(), hot_touches_ppm: touches.ppm() }
        }
    })
}

fn share(ppm: u64, key: &str, origin: Origin<'_>) -> Result<u32, ScenarioError> {
    if ppm > 1_000_000 {
        return Err(origin.error(key, "is more than 100%"));
    }
    Ok(u32::try_from(ppm).expect("at most a million"))
}

fn knobs(table: &BalancingTable, origin: Origin<'_>) -> Result<Knobs, ScenarioError> {
    let own = Knobs::KERNEL_DEFAULTS;
    let knobs = Knobs {
        balancing: table.enabled,
        tiering: table.tiering,
        hot_threshold_ms: table
            .hot_threshold
            .map_or(own.hot_threshold_ms, |time| saturate(time.0 / 1_000_000)),
        promote_rate_limit_mbps: table
            .promote_rate_limit
            .map_or(own.promote_rate_limit_mbps, |rate| saturate(rate.0)),
        scan_delay_ms: saturate(table.scan_delay.0 / 1_000_000),
        scan_period_min_ms: saturate(table.scan_period_min.0 / 1_000_000),
        scan_period_max_ms: saturate(table.scan_period_max.0 / 1_000_000),
        scan_size_mb: saturate(table.scan_size.0 >> 20),
    };
    for (key, value) in [
        ("scan_delay", knobs.scan_delay_ms),
        ("scan_period_min", knobs.scan_period_min_ms),
        ("scan_period_max", knobs.scan_period_max_ms),
    ] {
        if value == 0 || value > 3_600_000 {
            return Err(origin.error(&format!("machine.balancing.{key}"), "expected 1ms to 1h"));
        }
    }
    if knobs.hot_threshold_ms > 3_600_000 {
        return Err(origin.error("machine.balancing.hot_threshold", "expected at most 1h"));
    }
    if knobs.promote_rate_limit_mbps > MOST_PROMOTED_MBPS {
        let problem = "expected at most \"2000000GB/s\"";
        return Err(origin.error("machine.balancing.promote_rate_limit", problem));
    }
    if knobs.scan_size_mb == 0 || knobs.scan_size_mb > 65_536 {
        return Err(origin.error("machine.balancing.scan_size", "expected 1MiB to 64GiB"));
    }
    if knobs.scan_period_max_ms < knobs.scan_period_min_ms {
        return Err(origin.error("machine.balancing.scan_period_max", "is shorter than scan_period_min"));
    }
    Ok(knobs)
}

fn costs(preset: &Preset, nodes: usize) -> Costs {
    // What a preset leaves out costs nothing.
    let optional =
        |known: Option<&Known<Spread<Time>>>| known.map_or(Cost::constant(0), |known| known.value.cost());
    let latency_ps = |from: usize, to: usize| -> u64 {
        let known = if from == to { &preset.local_latency } else { &preset.remote_latency };
        known.value.0 * 1_000
    };
    Costs {
        pass_base: preset.pass_base.value.cost(),
        mark_per_pte_ps: preset.mark_per_pte.value.cost(),
        mark_huge_ps: preset.mark_huge.value.cost(),
        skip_per_pte_ps: preset.skip_per_pte.value.0,
        local_skip_per_pte_ps: preset.local_skip_per_pte.value.0,
        shootdown_base: preset.shootdown_base.value.cost(),
        shootdown_per_cpu: preset.shootdown_per_cpu.value.cost(),
        interrupt: preset.interrupt.value.cost(),
        interrupt_few_pages: preset.interrupt_few_pages.value.cost(),
        hint_fault: preset.hint_fault.value.cost(),
        placement: preset.placement.value.cost(),
        migrate_page: preset.migrate_page.value.cost(),
        migrate_huge: preset.migrate_huge.value.cost(),
        // Nobody has measured when within a migration the page is unmapped: at its begin.
        page_allocation_ppm: 0,
        huge_allocation_ppm: 0,
        refused_migration: preset.refused_migration.value.cost(),
        write_fault: preset.write_fault.value.cost(),
        migration_wake: preset.migration_wake.value.cost(),
        task_migrate_scan: optional(preset.task_migrate_scan.as_ref()),
        stopper: optional(preset.stopper.as_ref()),
        latency_ps: (0..nodes).map(|from| (0..nodes).map(|to| latency_ps(from, to)).collect()).collect(),
        interconnect_mbps: preset.interconnect.value.0,
        memory_mbps: preset.memory.value.0,
        loaded_latency: preset
            .loaded_latency
            .value
            .iter()
            .map(|[at, times]| (at.ppm(), times.ppm()))
            .collect(),
    }
}

fn number(index: usize) -> u16 {
    u16::try_from(index).expect("the entries of the tables were counted")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Scenario;

    fn lowered(mmap: &str) -> Result<Option<MmapConfig>, String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/migrations.toml");
        let scenario = Scenario::read(&file, &[format!("thread.dispatch.mmap={mmap}")]);
        let choices = scenario.and_then(|scenario| scenario.choices(1_000_000));
        let config = choices.map_err(|error| error.to_string())?.remove(0).config;
        let Host::Model(host) = config.hosts[0].host.clone() else { return Err("not a model".to_owned()) };
        Ok(host.machine.threads[host.dispatch.index()].mmap)
    }

    fn machine(settings: &[&str]) -> Result<MachineConfig, String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/migrations.toml");
        let settings: Vec<String> = settings.iter().map(|set| format!("machine.{set}")).collect();
        let scenario = Scenario::read(&file, &settings);
        let choices = scenario.and_then(|scenario| scenario.choices(1_000_000));
        let config = choices.map_err(|error| error.to_string())?.remove(0).config;
        let Host::Model(host) = config.hosts[0].host.clone() else { return Err("not a model".to_owned()) };
        Ok(host.machine)
    }

    #[test]
    fn tiers_are_read() {
        let fast = "{ cpus = [0, 1, 2, 3], memory = \"8GiB\", distance = [10, 30] }";
        let slow = "{ cpus = [], memory = \"8GiB\", distance = [30, 10], slow = true }";
        let nodes = format!("node=[{fast}, {slow}]");
        let tiers = ["balancing.enabled=false", "balancing.tiering=true", nodes.as_str()];
        let read = machine(&tiers).unwrap();
        assert_eq!(read.knobs, Knobs { balancing: false, tiering: true, ..Knobs::KERNEL_DEFAULTS });
        assert_eq!(read.topology.nodes.iter().map(|node| node.slow).collect::<Vec<_>>(), [false, true]);
        let knobs = ["balancing.hot_threshold=\"250ms\"", "balancing.promote_rate_limit=\"2GB/s\""];
        let read = machine(&knobs).unwrap().knobs;
        assert_eq!((read.hot_threshold_ms, read.promote_rate_limit_mbps, read.tiering), (250, 2_000, false));
        let wrong = nodes.replace("cpus = [], ", "cpus = [4], ");
        for (set, problem) in [
            (wrong.as_str(), "machine.node[1].slow: a node with CPUs is of the top tier"),
            ("balancing.hot_threshold=\"2h\"", "machine.balancing.hot_threshold: expected at most 1h"),
            (
                "balancing.promote_rate_limit=\"3000000GB/s\"",
                "machine.balancing.promote_rate_limit: expected at most",
            ),
        ] {
            let message = machine(&[set]).unwrap_err();
            assert!(message.contains(problem), "{set}: {message}");
        }
    }

    #[test]
    fn a_thread_sleeps_or_has_a_duty() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/migrations.toml");
        let read = |settings: &[&str]| {
            let settings: Vec<String> =
                settings.iter().map(|setting| format!("thread.helper.{setting}")).collect();
            let scenario = Scenario::read(&file, &settings);
            let choices = scenario.and_then(|scenario| scenario.choices(1_000_000));
            let config = choices.map_err(|error| error.to_string())?.remove(0).config;
            let Host::Model(host) = config.hosts[0].host.clone() else {
                return Err("not a model".to_owned());
            };
            let helper = host.machine.threads.iter().find(|thread| thread.name == "helper");
            Ok(helper.expect("the settings made it").activity)
        };
        let thread = ["main=false", "cpu=0", "touches={}"];
        let with = |more: &[&'static str]| read(&[&thread[..], more].concat());
        let sleeps = |wake: u64, slack: u64| Activity::Sleeps {
            sleep: Span(2_000_000),
            slack: Span(slack),
            wake: Span(wake),
        };
        assert_eq!(with(&["busy_poll=false", "sleep=\"2ms\""]), Ok(sleeps(WAKE_COST, TIMER_SLACK)));
        assert_eq!(
            with(&["busy_poll=false", "sleep=\"2ms\"", "wake=\"7us\"", "class=\"fifo\""]),
            Ok(sleeps(7_000, 0))
        );
        assert_eq!(with(&["busy_poll=false", "duty=\"30%\""]), Ok(Activity::Duty(300_000)));
        for (settings, problem) in [
            (
                &["busy_poll=false", "duty=\"30%\"", "sleep=\"2ms\""][..],
                "helper.sleep: stands in place of duty",
            ),
            (&["busy_poll=true", "sleep=\"2ms\""], "helper.sleep: a thread with busy_poll"),
            (&["busy_poll=false"], "helper.duty: missing"),
            (&["busy_poll=false", "duty=\"130%\""], "helper.duty: is more than 100%"),
            (&["busy_poll=false", "sleep=\"2h\""], "helper.sleep: expected"),
            (&["busy_poll=false", "sleep=\"2us\"", "wake=\"3us\""], "helper.wake: is longer"),
            (&["busy_poll=false", "duty=\"3%\"", "wake=\"3us\""], "helper.wake: is of a thread with sleep"),
        ] {
            let message = with(settings).unwrap_err();
            assert!(message.contains(problem), "{settings:?}: {message}");
        }
    }

    #[test]
    fn calls_that_change_the_address_space_are_read() {
        let hold = numashock_machine::Cost::constant(20_000);
        assert_eq!(
            lowered("{ rate = \"10/s\", hold = \"20us\", unmap = true }"),
            Ok(Some(MmapConfig { mean_gap: Span(100_000_000), hold, unmaps: true }))
        );
        for (text, problem) in [
            ("{ rate = \"10/s\", hold = \"20us\" }", "thread.dispatch.mmap: missing field `unmap`"),
            (
                "{ rate = \"0/s\", hold = \"20us\", unmap = true }",
                "thread.dispatch.mmap.rate: expected \"1/h\"",
            ),
            (
                "{ rate = \"10/s\", hold = \"50ms\", unmap = true }",
                "thread.dispatch.mmap.hold: keeps the lock for",
            ),
            (
                "{ rate = \"10/s\", hold = \"50\", unmap = true }",
                "thread.dispatch.mmap.hold: \"50\" has no unit",
            ),
        ] {
            let message = lowered(text).unwrap_err();
            assert!(message.contains(problem), "{text}: {message}");
        }
    }
}
