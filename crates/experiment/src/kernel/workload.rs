//! The recorded workload as a machine: from the manifest and the row before the start, and nothing else.

use numashock_engine::{Nanos, Span};
use numashock_machine::{
    Activity, BackgroundConfig, Charges, Cost, Costs, CpuId, Disturbance, KernelModel, Knobs, MachineConfig,
    MapKind, Node, NodeId, NodeMask, Pattern, Placement, Policy, ProcessConfig, ProcessId, RegionConfig,
    RegionId, Rules, SchedulerClass, SchedulerConfig, SpaceStart, TaskStart, ThreadConfig, ThreadId,
    Topology, TouchConfig,
};

use super::trace::{FirstRow, Run};

/// Half of the 1 ms sleep (and 50 µs timer slack) with which a thread waits for the start: it runs that much later.
const WAKE_DELAY: Span = Span(525_000);
/// Each CPU ticks at an unknown phase; half a tick at HZ=250 is the least wrong guess.
const TICK_PHASE: Span = Span(2_000_000);
/// Pages of the process outside the region (measured: about 1 MiB, data README).
const OTHER_PAGES: u64 = 256;
/// A poll loop of the workload around one touch, seen where missed touches are caught up (measured: `s_size256`).
const TOUCH_COST: Span = Span(250);
/// A wake-up of a sleeping worker (measured: the second thread of `k61_shared_rand` slept some 1,230 times before the start
/// and used 12.9 ms).
const WAKE_COST: Span = Span(10_500);
/// The emulated CPUs of a socket, that is of a node, share one last-level cache (the emulator's default).
const CACHES_PER_NODE: u32 = 1;
const TIMER_SLACK: Span = Span(50_000);
const NEVER_ARMED_MS: i64 = -1_000_000_000;

/// A run ready to execute.
pub(super) struct Setup {
    pub(super) config: MachineConfig,
    /// The first threads are the workload's.
    pub(super) workers: usize,
    /// The workload's time zero, in machine time.
    pub(super) start: Nanos,
    pub(super) length: Span,
    /// Time between rows.
    pub(super) row: Span,
}

/// Why a run has no setup.
pub(super) enum NoSetup {
    /// The machine lacks something.
    NotModelled(String),
    /// A key of the manifest has a value that is not known.
    Value { key: String, value: String, expected: String },
}

type Result<T> = core::result::Result<T, NoSetup>;

/// The arguments of the workload, with its defaults.
struct Args<'a>(&'a Run);

impl Args<'_> {
    fn text(&self, key: &str, default: &str) -> String {
        match self.0.spec.args.get(key) {
            None => default.to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    fn number(&self, key: &str, default: i64) -> Result<i64> {
        let text = self.text(key, &default.to_string());
        text.parse().map_err(|_| bad(&format!("spec.args.{key}"), &text, "a whole number"))
    }

    fn positive(&self, key: &str, default: i64) -> Result<u64> {
        let value = self.number(key, default)?;
        u64::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| bad(&format!("spec.args.{key}"), &value.to_string(), "a number above zero"))
    }

    fn list(&self, key: &str, default: &str) -> Result<Vec<i64>> {
        let text = self.text(key, default);
        text.split(',')
            .map(|part| part.trim().parse())
            .collect::<core::result::Result<_, _>>()
            .map_err(|_| bad(&format!("spec.args.{key}"), &text, "numbers separated by commas"))
    }

    fn one_of(&self, key: &str, default: &str, allowed: &[&str]) -> Result<String> {
        let text = self.text(key, default);
        if allowed.contains(&text.as_str()) {
            return Ok(text);
        }
        Err(bad(&format!("spec.args.{key}"), &text, &format!("one of {}", allowed.join(", "))))
    }
}

fn bad(key: &str, value: &str, expected: &str) -> NoSetup {
    NoSetup::Value { key: key.to_owned(), value: value.to_owned(), expected: expected.to_owned() }
}

fn not_modelled<T>(what: impl Into<String>) -> Result<T> {
    Err(NoSetup::NotModelled(what.into()))
}

/// Costs on the emulated machine of the traces: instruction counts, never hardware times (spec: 8 F12).
///
/// Per page: measured from the length of passes. Faults: the touch histograms' `sum_touch_ns` of several runs, less
/// 10 ns for each touch that did not fault, solved for the two kinds of fault (a migrating write on 6.12 counts its second
/// fault). 6.12: `e_local_mt` and `s_pmin100` give 1,995 ns a local fault, `a_seq_st` and `w_sparse` then 17,850 ns a
/// migrating one; 6.1: `k61_local_mt` 1,613 ns, `k61_seq_mt` 12,840 ns. How much of that the second fault takes is
/// assumed, as are the shootdown costs; no rule depends on either.
#[must_use]
pub fn lab_costs(kernel: KernelModel, nodes: usize) -> Costs {
    let old = kernel == KernelModel::V6_1;
    let pick = |on_6_1: u64, on_6_12: u64| if old { on_6_1 } else { on_6_12 };
    Costs {
        pass_base: Cost::constant(10_000),
        mark_per_pte_ps: Cost::constant(pick(247_000, 293_000)),
        // Assumed: far below a tick for any region.
        mark_huge_ps: Cost::constant(1_000_000),
        skip_per_pte_ps: pick(30_000, 30_000),
        local_skip_per_pte_ps: pick(91_000, 120_000),
        shootdown_base: Cost::constant(1_000),
        shootdown_per_cpu: Cost::constant(1_000),
        interrupt: Cost::constant(2_000),
        interrupt_few_pages: Cost::constant(2_000),
        hint_fault: Cost::constant(pick(1_603, 1_985)),
        placement: Cost::constant(5_000),
        migrate_page: Cost::constant(pick(11_227, 14_855)),
        // Measured, spec: 8 F12.
        migrate_huge: Cost::constant(pick(2_950_000, 4_450_000)),
        refused_migration: Cost::constant(500),
        write_fault: Cost::constant(1_000),
        migration_wake: Cost::constant(5_000),
        task_migrate_scan: Cost::constant(5_000),
        stopper: Cost::constant(5_000),
        latency_ps: vec![vec![10_000; nodes]; nodes],
        interconnect_mbps: 10_000,
        memory_mbps: 10_000,
        loaded_latency: Vec::new(),
    }
}

/// Instructions of reading numa_maps, per page (spec: 8 F12), and of one row otherwise (measured: gaps of 0.2 ms).
fn sampler_costs(kernel: KernelModel) -> (u64, Span) {
    (if kernel == KernelModel::V6_1 { 168 } else { 122 }, Span(200_000))
}

/// How much longer a pass takes for each further busy thread that shares the emulated clock, in percent (spec: 8 F12);
/// without the yielding `pause` each would take an equal share.
fn sharing_percent(kernel: KernelModel, yields: bool) -> u64 {
    match (yields, kernel) {
        (false, _) => 100,
        (true, KernelModel::V6_1) => 11,
        (true, _) => 16,
    }
}

/// Builds the machine of a run.
pub(super) fn setup(run: &Run, first: &FirstRow) -> Result<Setup> {
    let args = Args(run);
    let kernel = kernel_of(run)?;
    if args.number("aux_bind", 1)? == 0 {
        return not_modelled(
            "mappings of the process other than the region that can be scanned (aux_bind=0)",
        );
    }
    let cpus = args.list("cpus", "2")?;
    if cpus.len() != first.threads.len() {
        return Err(bad(
            "spec.args.cpus",
            &args.text("cpus", "2"),
            &format!("{} CPUs, one a recorded thread", first.threads.len()),
        ));
    }
    let topology = topology(run)?;
    let start = Span((-first.time_ms * 1e6).max(0.0) as u64);
    let length = Span::from_millis(args.positive("secs", 30)? * 1000);
    let pages = args.positive("size_mb", 128)? * 256;
    let sleeps = args.one_of("mode", "spin", &["spin", "sleep"])? == "sleep";
    let mut costs = lab_costs(kernel, topology.nodes.len());
    if !sleeps {
        let others = busy_cpus(&cpus, &topology) - 1;
        let alone = costs.mark_per_pte_ps.mean();
        let more = alone * others * sharing_percent(kernel, args.number("pause", 0)? != 0) / 100;
        costs.mark_per_pte_ps = Cost::constant(alone + more);
    }
    let setup_cpu = setup_cpu(&args)?;
    let mut threads = threads(&args, run, first, Nanos(start.0), pages, &topology)?;
    let regions = regions(&args, pages, setup_cpu, topology.nodes.len())?;
    let workers = threads.len();
    let cpu = CpuId(args.number("sampler_cpu", 1)?.max(0) as u16);
    threads.extend(monitor(&args, kernel, cpu, Nanos(start.0), pages)?);
    let mut disturbances = moves(&args, Nanos(start.0), length, cpus.len())?;
    disturbances.extend(sampler(&args, kernel, Nanos(start.0), length, pages)?);
    disturbances.sort_by_key(|(at, _)| *at);
    Ok(Setup {
        config: MachineConfig {
            knobs: knobs(run)?,
            topology,
            kernel,
            rules: Rules::KERNEL,
            preempt_rt: false,
            hz: 250,
            tick_phase: TICK_PHASE,
            costs,
            scheduler: SchedulerConfig::KERNEL_DEFAULTS,
            processes: vec![process(&args, run, first)?, monitor_process()],
            regions,
            threads,
            works: Vec::new(),
            disturbances,
            charges: Charges::ALL,
        },
        workers,
        start: Nanos(start.0),
        length,
        row: Span::from_millis(args.positive("period_ms", 100)?),
    })
}

/// On how many CPUs the workers spin: the CPUs of the pinned ones, and one for each of the others while there are any.
fn busy_cpus(cpus: &[i64], topology: &Topology) -> u64 {
    let mut pinned: Vec<i64> = cpus.iter().copied().filter(|cpu| *cpu >= 0).collect();
    let free = cpus.len() - pinned.len();
    pinned.sort_unstable();
    pinned.dedup();
    let all = topology.nodes.iter().map(|node| node.cpus.len()).sum();
    (pinned.len() + free).min(all) as u64
}

/// The CPU that first touches the region; an unpinned first thread starts there.
fn setup_cpu(args: &Args<'_>) -> Result<i64> {
    let first = args.list("cpus", "2")?[0];
    args.number("setup_cpu", if first >= 0 { first } else { 2 })
}

/// The model of a kernel release such as `Linux 6.12.95+deb12-amd64 ...`.
fn kernel_of(run: &Run) -> Result<KernelModel> {
    let release = run.kernel.split_whitespace().nth(1).unwrap_or("");
    let numbers: Vec<u32> = release.split(['.', '+', '-']).map_while(|part| part.parse().ok()).collect();
    match numbers[..] {
        [6, 1, ..] => Ok(KernelModel::V6_1),
        [6, 12, patch, ..] if patch <= 95 => Ok(KernelModel::V6_12_95),
        [6, 12, patch, ..] if patch >= 117 => Ok(KernelModel::V6_12_117),
        [_, _, ..] => not_modelled(format!("kernel {release}")),
        _ => Err(bad("kernel", &run.kernel, "a line as uname -srv prints it")),
    }
}

fn topology(run: &Run) -> Result<Topology> {
    let mut nodes = Vec::new();
    let mut distance = Vec::new();
    for number in 0..run.nodes.len() {
        let key = format!("nodes.node{number}");
        let Some(info) = run.nodes.get(&format!("node{number}")) else {
            return Err(bad(&key, "missing", "nodes numbered from 0"));
        };
        let free: u64 =
            info.memfree_kb.parse().map_err(|_| bad(&key, &info.memfree_kb, "memfree_kb in kilobytes"))?;
        // Others need some of it, and the watermarks keep some free.
        nodes.push(Node { cpus: cpu_list(&key, &info.cpus)?, memory_pages: free / 4 * 98 / 100 });
        let row = info.distance.split(',').map(str::parse).collect::<core::result::Result<Vec<u8>, _>>();
        distance.push(row.map_err(|_| bad(&key, &info.distance, "distances separated by commas"))?);
    }
    Ok(Topology {
        nodes,
        distance,
        isolated: Vec::new(),
        nohz_full: Vec::new(),
        caches_per_node: CACHES_PER_NODE,
    })
}

/// A list as the kernel prints it: `0-1,4`.
fn cpu_list(key: &str, text: &str) -> Result<Vec<CpuId>> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        match (from.parse::<u16>(), to.parse::<u16>()) {
            (Ok(from), Ok(to)) if from <= to => cpus.extend((from..=to).map(CpuId)),
            _ => return Err(bad(key, text, "a CPU list such as 0-1")),
        }
    }
    Ok(cpus)
}

fn knobs(run: &Run) -> Result<Knobs> {
    let read = |key: &str| {
        let text = run.sysctls.get(key).map_or("missing", String::as_str);
        text.parse::<u32>().map_err(|_| bad(&format!("sysctls.{key}"), text, "a whole number"))
    };
    let mode = read("numa_balancing")?;
    if mode & 2 != 0 {
        return not_modelled("memory tiering (numa_balancing=2)");
    }
    Ok(Knobs {
        balancing: mode & 1 == 1,
        scan_delay_ms: read("scan_delay_ms")?,
        scan_period_min_ms: read("scan_period_min_ms")?,
        scan_period_max_ms: read("scan_period_max_ms")?,
        scan_size_mb: read("scan_size_mb")?,
    })
}

fn all_nodes(nodes: usize) -> NodeMask {
    NodeMask((1 << nodes) - 1)
}

fn process(args: &Args<'_>, run: &Run, first: &FirstRow) -> Result<ProcessConfig> {
    let task_policy = args.text("policy", "default") == "task_bind_nb";
    let offset = (first.scan_offset_mb * 256.0).max(0.0) as u64;
    Ok(ProcessConfig {
        name: "worker".to_owned(),
        idle_threads: args.number("idle_threads", 0)?.max(0) as u32,
        other_resident_pages: OTHER_PAGES,
        mappings_after: true,
        policy: if task_policy { Policy::BindBalancing(all_nodes(run.nodes.len())) } else { Policy::Default },
        mems_allowed: None,
        start: Some(SpaceStart {
            // The kernel's zero shows as the distance to the jiffies' far-off start.
            next_scan_ms: (first.next_scan_in_ms > NEVER_ARMED_MS).then_some(first.next_scan_in_ms),
            scan_seq: first.scan_seq,
            scan_offset_pages: offset,
        }),
    })
}

/// The mappings: one, or two where the halves are bound to the nodes that they were first touched on.
fn regions(args: &Args<'_>, pages: u64, setup_cpu: i64, nodes: usize) -> Result<Vec<RegionConfig>> {
    let whole = region(args, pages, setup_cpu, nodes)?;
    let slices = args.number("slice", 0)? != 0;
    let Ok(second) = u8::try_from(args.number("alloc_half", -1)?) else {
        return if slices {
            not_modelled("threads that touch parts of one mapping")
        } else {
            Ok(vec![whole])
        };
    };
    let threads = args.list("cpus", "2")?.len();
    if args.text("policy", "default") != "bind_nb_home" || !slices || threads != 2 || pages % 1024 != 0 {
        return not_modelled(
            "a mapping that begins on two nodes, unless its halves are bound and each has its thread",
        );
    }
    let half = |node: NodeId| RegionConfig {
        pages: pages / 2,
        placement: Placement::Node(node),
        policy: Policy::BindBalancing(NodeMask::only(node)),
        ..whole.clone()
    };
    Ok(vec![half(NodeId(args.number("alloc_node", 0)? as u8)), half(NodeId(second))])
}

fn region(args: &Args<'_>, pages: u64, setup_cpu: i64, nodes: usize) -> Result<RegionConfig> {
    let node = NodeId(args.number("alloc_node", 0)? as u8);
    let map = args.one_of("map", "anon", &["anon", "file_ro", "file_rw_private", "file_rw_shared"])?;
    let on_ramfs = args.text("file", "/tmp/region.bin").starts_with("/ram/");
    let policies = ["default", "bind", "bind_all", "bind_nb", "bind_nb_home", "preferred", "task_bind_nb"];
    let policy = match args.one_of("policy", "default", &policies)?.as_str() {
        "bind" => Policy::Bind(NodeMask::only(node)),
        "bind_all" => Policy::Bind(all_nodes(nodes)),
        "bind_nb" => Policy::BindBalancing(all_nodes(nodes)),
        "bind_nb_home" => Policy::BindBalancing(NodeMask::only(node)),
        "preferred" => Policy::Preferred(node),
        _ => Policy::Default,
    };
    let huge = args.number("thp", 0)? != 0;
    if huge && pages % 512 != 0 {
        return not_modelled("a region of huge pages that ends in base pages");
    }
    let kind = match (map.as_str(), on_ramfs) {
        ("anon", _) if huge => MapKind::AnonymousHuge,
        ("anon", _) => MapKind::Anonymous,
        ("file_ro", _) => MapKind::FileReadOnly,
        ("file_rw_private", true) => MapKind::FileCopyOnWrite,
        ("file_rw_private", false) => MapKind::TmpfsPrivate,
        // The file was just written, and nothing writes it back.
        (_, true) => MapKind::FileShared { dirty: true },
        (_, false) => MapKind::TmpfsShared,
    };
    Ok(RegionConfig {
        name: "region".to_owned(),
        process: ProcessId(0),
        pages,
        placement: Placement::Node(node),
        policy,
        kind,
        dma_pinned: false,
        locked: false,
        mapped_elsewhere: false,
        first_touch: (map == "anon").then_some(CpuId(setup_cpu as u16)),
    })
}

fn threads(
    args: &Args<'_>,
    run: &Run,
    first: &FirstRow,
    start: Nanos,
    pages: u64,
    topology: &Topology,
) -> Result<Vec<ThreadConfig>> {
    let setup_cpu = setup_cpu(args)?;
    let cpus = args.list("cpus", "2")?;
    let all_cpus: Vec<CpuId> = topology.nodes.iter().flat_map(|node| node.cpus.iter().copied()).collect();
    let pid = run.info.iter().find_map(|line| line.strip_prefix("worker pid=")?.parse::<u32>().ok());
    let Some(pid) = pid else {
        return Err(bad("info", "without \"worker pid=\"", "the line the worker prints"));
    };
    let idle = args.number("idle_threads", 0)?.max(0) as u32;
    let sleeps = args.text("mode", "spin") == "sleep";
    let mut threads = Vec::new();
    for (index, (cpu, seen)) in cpus.iter().zip(&first.threads).enumerate() {
        let used = if *cpu < 0 { seen.cpu.map_or(setup_cpu, i64::from) } else { *cpu };
        let runtime = Span((seen.runtime_ms * 1e6) as u64);
        threads.push(ThreadConfig {
            name: format!("t{index}"),
            process: ProcessId(0),
            // The main thread has the process's id; the sleeping helpers come before the other workers.
            pid: if index == 0 { pid } else { pid + idle + index as u32 },
            cpu: CpuId(used as u16),
            affinity: if *cpu >= 0 { vec![CpuId(used as u16)] } else { all_cpus.clone() },
            activity: if sleeps { Activity::Duty(duty(args)?) } else { Activity::Spins },
            class: SchedulerClass::Fair,
            background: background(args, index as u64, cpus.len() as u64, start, pages)?,
            mmap: None,
            reported: false,
            start: Some(TaskStart {
                runtime: if sleeps { runtime } else { runtime.saturating_sub(WAKE_DELAY) },
                node_stamp: Span((seen.node_stamp_ms * 1e6) as u64),
                scan_period_ms: seen.scan_period_ms,
                scan_period_max_ms: seen.scan_period_max_ms,
                preferred: u8::try_from(seen.preferred).ok().map(NodeId),
                // The first thread keeps the sequence of its start, the others begin with the address space's (spec: 1.2).
                scan_seq: if index == 0 { 0 } else { first.scan_seq },
            }),
        });
    }
    Ok(threads)
}

/// CPU share of a worker that sleeps between batches of touches.
fn duty(args: &Args<'_>) -> Result<u32> {
    let sleep = Span(args.positive("sleep_us", 1000)? * 1000) + TIMER_SLACK;
    let touches = args.positive("rate", 10_000)? * sleep.0 / 1_000_000_000;
    let busy = WAKE_COST + TOUCH_COST * touches;
    Ok((busy.0 * 1_000_000 / (busy + sleep).0) as u32)
}

fn background(
    args: &Args<'_>,
    index: u64,
    threads: u64,
    start: Nanos,
    pages: u64,
) -> Result<Vec<BackgroundConfig>> {
    let slices = args.number("slice", 0)? != 0;
    let pages = if slices { pages / threads } else { pages };
    let seed = args.number("seed", 1)? as u64;
    let state = 88_172_645_463_325_252 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (index << 32);
    let percent = args.number("hot_pages_pct", 10)?.clamp(0, 100) as u64;
    let pattern = match args.one_of("pattern", "seq", &["seq", "rand", "hotcold", "none"])?.as_str() {
        "seq" => Pattern::Sequential { start: args.number("phase_pages", 0)?.max(0) as u64 * index % pages },
        "rand" => Pattern::Xorshift { state },
        "hotcold" => Pattern::XorshiftHotCold {
            state,
            hot_pages: (pages * percent / 100).max(1),
            hot_percent: args.number("hot_touch_pct", 90)?.clamp(0, 100) as u32,
        },
        _ => return Ok(Vec::new()),
    };
    let write = args.number("write", 1)? != 0;
    let touch = TouchConfig {
        region: RegionId(if slices { index as u16 } else { 0 }),
        count: 0,
        pattern,
        write_ppm: if write { 1_000_000 } else { 0 },
        miss_ppm: 0,
    };
    Ok(vec![BackgroundConfig {
        rate_per_s: args.positive("rate", 10_000)?,
        start,
        touch_cost: TOUCH_COST,
        touch,
    }])
}

/// `sched_setaffinity` calls of the workers: round the list of CPUs, from its second entry on.
fn moves(args: &Args<'_>, start: Nanos, length: Span, threads: usize) -> Result<Vec<(Nanos, Disturbance)>> {
    let every = args.number("move_ms", 0)?.max(0) as u64;
    let mut moves = Vec::new();
    if every == 0 {
        return Ok(moves);
    }
    let cpus = args.list("move_cpus", "2,0")?;
    for turn in 1..=length.0 / (every * 1_000_000) {
        let at = start + Span::from_millis(turn * every);
        let cpu = CpuId(cpus[(turn % cpus.len() as u64) as usize] as u16);
        if at < start + length {
            moves.extend(
                (0..threads)
                    .map(|thread| (at, Disturbance::MoveThread { thread: ThreadId(thread as u16), cpu })),
            );
        }
    }
    Ok(moves)
}

/// Between two readings of numa_maps, in rows.
fn rows_between_placements(args: &Args<'_>) -> Result<u64> {
    let every = args.positive("period_ms", 100)?;
    Ok((args.positive("place_every_ms", 1000)? / every).max(1))
}

/// The sampler as a task on its CPU: nobody moves to a CPU that it runs on (measured: `up_swap`, whose first attempt to
/// move falls on a reading of numa_maps).
fn monitor(
    args: &Args<'_>,
    kernel: KernelModel,
    cpu: CpuId,
    start: Nanos,
    pages: u64,
) -> Result<Vec<ThreadConfig>> {
    let (per_page, row) = sampler_costs(kernel);
    let every = Span::from_millis(args.positive("period_ms", 100)?);
    // The emulated clock runs for the others too, so that its work takes twice as long.
    let row = row * 2;
    let maps = Span(per_page * pages) * 2;
    let task = |name: &str, pid: u32, start: Nanos, every: Span, length: Span| ThreadConfig {
        name: name.to_owned(),
        process: ProcessId(1),
        pid,
        cpu,
        affinity: vec![cpu],
        activity: Activity::Bursts { start, every, length: length.min(every) },
        class: SchedulerClass::Fair,
        mmap: None,
        background: Vec::new(),
        reported: false,
        start: None,
    };
    Ok(vec![
        task("rows", 1, start, every, row),
        task("numa_maps", 2, start + row, every * rows_between_placements(args)?, maps),
    ])
}

fn monitor_process() -> ProcessConfig {
    ProcessConfig {
        name: "sampler".to_owned(),
        idle_threads: 0,
        other_resident_pages: OTHER_PAGES,
        mappings_after: true,
        mems_allowed: None,
        policy: Policy::Default,
        start: None,
    }
}

/// The sampler shares the emulated clock: reading a row, and numa_maps each second, halves everybody's speed meanwhile.
fn sampler(
    args: &Args<'_>,
    kernel: KernelModel,
    start: Nanos,
    length: Span,
    pages: u64,
) -> Result<Vec<(Nanos, Disturbance)>> {
    let (per_page, row) = sampler_costs(kernel);
    let every = args.positive("period_ms", 100)?;
    let placements = rows_between_placements(args)?;
    let rows = length.0 / (every * 1_000_000);
    let steal = |index: u64| {
        let maps = if index % placements == 0 { Span(per_page * pages) } else { Span::ZERO };
        let at = if index == 0 { Nanos::ZERO } else { start + Span::from_millis(index * every) };
        (at, Disturbance::Steal { length: (row + maps) * 2, share_ppm: 500_000 })
    };
    Ok((0..=rows).map(steal).collect())
}
