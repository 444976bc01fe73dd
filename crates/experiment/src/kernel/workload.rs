//! The recorded workload as a machine: from the manifest, the row before the start, and the second row's time and CPU times, which
//! tell the phase of the ticks. Nothing else of a recording is read.

use numashock_engine::{Nanos, Span};
use numashock_machine::{
    Activity, Charges, Cost, Costs, CpuId, Disturbance, KernelModel, Knobs, MachineConfig, Node, NodeId,
    NodeMask, Policy, ProcessConfig, ProcessId, Rules, SchedulerClass, SchedulerConfig, SpaceStart,
    TaskStart, ThreadConfig, ThreadId, Topology,
};

use super::arguments::{Args, check_known};
use super::judge::Context;
use super::layout::Layout;
use super::memory::usable_pages;
use super::trace::{FirstRow, FirstThread, Run};

/// The sleep (1 ms and 50 µs timer slack) with which a thread waits for the start: it runs up to that much later.
const WAKE_DELAY_MOST: u64 = 1_050_000;
/// A tick at HZ=250.
const TICK: u64 = 4_000_000;
/// The guess where the phase of the ticks cannot be seen: the least wrong one.
const TICK_PHASE: Span = Span(TICK / 2);
/// Pages of the process outside the region (measured: about 1 MiB, data README).
const OTHER_PAGES: u64 = 256;
/// A poll loop of the workload around one touch, seen where missed touches are caught up (measured: `s_size256`).
pub(super) const TOUCH_COST: Span = Span(250);
/// A touch of a sleeping worker's batch. Measured on 6.12 where the rows show every batch to be alike: 85.58 µs for 567.9
/// touches (`sl_1ms`), 153.32 µs for 1,040.75 (`sl_5ms`) and 7.85 µs for 21.1 (`sl_slow`). The slope of the first two is 143 ns;
/// what is left for the wake-up is 4.4, 4.5 and 4.8 µs.
pub(super) const BATCH_TOUCH: Span = Span(143);
/// The generator of random pages takes that much more (measured: `sl_two` of 6.12, 56.4 µs for 331.9 touches).
pub(super) const GENERATOR: Span = Span(14);
/// Nanoseconds of touches a second above which a worker hardly ever comes to sleep.
pub(super) const MOST_LOAD: u64 = 950_000_000;
/// Timer slack of a task.
const TIMER_SLACK: Span = Span(50_000);
/// See [`sharing_percent`].
const PERCENT_PER_CPU_OF_A_SPINNER: u64 = 2;
/// The emulated CPUs of a socket, that is of a node, share one last-level cache (the emulator's default).
const CACHES_PER_NODE: u32 = 1;
const NEVER_ARMED_MS: i64 = -1_000_000_000;
/// Bounds that keep sums inside 64 bits and a wrong number from running for ever.
const MOST_SECONDS: u64 = 86_400;
const MOST_ROWS: u64 = 1_000_000;
const MOST_MOVES: u64 = 1_000_000;
const MOST_SHIFT: u32 = 10;
pub(super) const MOST_MB: u64 = 1 << 22;
pub(super) const MOST_RATE: u64 = 1_000_000_000;
const MOST_IDLE: u64 = 10_000;
/// Nodes that a recording has columns for.
const MOST_NODES: usize = 8;

/// Stable releases of 6.12 that were seen not to clear the locality counters on back-off, and to clear them (spec: 8 F2).
const LAST_KEEPING_LOCALITY: u32 = 115;
const FIRST_CLEARING_LOCALITY: u32 = 117;

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
    /// What the comparison has to know.
    pub(super) context: Context,
}

impl Setup {
    /// Rows of the whole run, with the one before the start.
    pub(super) fn rows(&self) -> u64 {
        self.length.0 / self.row.0 + 1
    }
}

/// Why a run has no setup.
pub(super) enum NoSetup {
    /// The machine lacks something.
    NotModelled(String),
    /// A key of the manifest has a value that is not known.
    Value { key: String, value: String, expected: String },
}

pub(super) type Result<T> = core::result::Result<T, NoSetup>;

pub(super) fn bad(key: &str, value: &str, expected: &str) -> NoSetup {
    NoSetup::Value { key: key.to_owned(), value: value.to_owned(), expected: expected.to_owned() }
}

pub(super) fn not_modelled<T>(what: impl Into<String>) -> Result<T> {
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
        // Zeroing the new page: 2.14 ms of a huge one, half of its first touch (measured, `first_touch_ms`), which zeroes it twice.
        // The turns of the emulated CPUs are longer than the fault on a base page: nobody else runs meanwhile.
        page_allocation_ppm: 0,
        huge_allocation_ppm: if old { 725_000 } else { 480_000 },
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

/// How much longer the kernel's work takes for each further CPU that spins, in percent.
///
/// The emulator lets its CPUs run in turn; one that yields with `pause` gives up each turn after a round of its poll loop, which
/// is long compared with the turns near the next timer event. The more CPUs, the shorter the turns. Measured as what passes
/// last beyond the single-threaded 293 ns (6.12) or 247 ns (6.1) a page while the others take no migrating faults: 7 to 9 %
/// with a second spinner on four CPUs, 17 % with a third, 18 % with a second on eight. Without `pause` each takes an equal share.
fn sharing_percent(cpus: u64, yields: bool) -> u64 {
    if yields { cpus * PERCENT_PER_CPU_OF_A_SPINNER } else { 100 }
}

/// Builds the machine of a run.
pub(super) fn setup(run: &Run, first: &FirstRow) -> Result<Setup> {
    let args = Args(run);
    let kernel = kernel_of(run)?;
    check_known(run)?;
    check_emulator(run)?;
    let mut topology = topology(run)?;
    check_first_row(run, first)?;
    let cpus = args.cpus()?;
    if cpus.len() != first.threads.len() {
        return Err(bad(
            "spec.args.cpus",
            &args.text("cpus", "2"),
            &format!("{} CPUs, one a recorded thread", first.threads.len()),
        ));
    }
    let start = Nanos((-first.time_ms * 1e6).max(0.0) as u64);
    let (length, row) = rows(&args)?;
    let pages = args.within("size_mb", 128, 1..=MOST_MB)? * 256;
    let clock = Clock::of(&args, run, first);
    let layout = Layout::of(&args, run, pages)?;
    for (number, node) in topology.nodes.iter_mut().enumerate() {
        node.memory_pages = room_of(run, number, layout.pages_on(NodeId(number as u8)))?;
    }
    let mut threads = threads(&args, run, first, start, &layout, &clock)?;
    let workers = threads.len();
    threads.extend(monitor(&args, kernel, start, pages)?);
    let mut disturbances = moves(&args, start, length, cpus.len())?;
    disturbances.extend(sampler(&args, kernel, start, length, pages)?);
    disturbances.sort_by_key(|(at, _)| *at);
    let costs = costs(&args, run, kernel, &topology)?;
    let context = context(&args, run, pages, cpus.len(), &costs)?;
    Ok(Setup {
        config: MachineConfig {
            knobs: knobs(run)?,
            topology,
            kernel,
            rules: Rules::KERNEL,
            preempt_rt: false,
            hz: 250,
            tick_phase: clock.tick_phase,
            costs,
            scheduler: SchedulerConfig::KERNEL_DEFAULTS,
            processes: vec![process(&args, run, first, layout.mappings_after)?, monitor_process()],
            regions: layout.regions,
            threads,
            works: Vec::new(),
            disturbances,
            charges: Charges::ALL,
        },
        start,
        workers,
        length,
        row,
        context,
    })
}

/// How long the workload runs, and the time between rows.
fn rows(args: &Args<'_>) -> Result<(Span, Span)> {
    let length = Span::from_millis(args.within("secs", 30, 1..=MOST_SECONDS)? * 1000);
    let row = Span::from_millis(args.within("period_ms", 100, 1..=60_000)?);
    if length.0 / row.0 > MOST_ROWS {
        let found = format!("{} for {} s", args.text("period_ms", "100"), args.text("secs", "30"));
        return Err(bad("spec.args.period_ms", &found, &format!("no more than {MOST_ROWS} rows")));
    }
    if row > length {
        let found = format!("{} for {} s", args.text("period_ms", "100"), args.text("secs", "30"));
        return Err(bad("spec.args.period_ms", &found, "at least one row after the start"));
    }
    Ok((length, row))
}

fn context(args: &Args<'_>, run: &Run, pages: u64, threads: usize, costs: &Costs) -> Result<Context> {
    let (per_page, _) = sampler_costs(kernel_of(run)?);
    Ok(Context {
        host_clock: run.spec.accel == "mttcg",
        single_threaded: threads == 1 && args.within("idle_threads", 0, 0..=MOST_IDLE)? == 0,
        rows_per_placement: rows_per_placement(args)? as usize,
        pages_marked_while_read: per_page * 1000 * pages / costs.mark_per_pte_ps.mean().max(1),
        row_ms: args.within("period_ms", 100, 1..=60_000)? as f64,
        pages,
        unit: if args.on("thp", 0)? { 512 } else { 1 },
    })
}

/// Costs of this run: threads that share the emulated clock slow each other down, and an instruction lasts 2^shift ns.
fn costs(args: &Args<'_>, run: &Run, kernel: KernelModel, topology: &Topology) -> Result<Costs> {
    let mut costs = lab_costs(kernel, topology.nodes.len());
    if run.spec.accel == "mttcg" {
        return Ok(costs);
    }
    let sleeps = args.text("mode", "spin") == "sleep";
    let others = busy_cpus(&args.cpus()?, topology) - 1;
    let cpus = topology.nodes.iter().map(|node| node.cpus.len() as u64).sum();
    // Sleepers are awake too rarely to count as spinners.
    let faults = if sleeps { 100 } else { 100 + others * sharing_percent(cpus, args.on("pause", 0)?) };
    let passes = if sleeps { 100 } else { faults };
    let scaled = |cost: u64, percent: u64| (cost << run.spec.shift) * percent / 100;
    for cost in [&mut costs.mark_per_pte_ps, &mut costs.mark_huge_ps] {
        *cost = Cost::constant(scaled(cost.mean(), passes));
    }
    for cost in
        [&mut costs.hint_fault, &mut costs.migrate_page, &mut costs.migrate_huge, &mut costs.write_fault]
    {
        *cost = Cost::constant(scaled(cost.mean(), faults));
    }
    for cost in [&mut costs.skip_per_pte_ps, &mut costs.local_skip_per_pte_ps] {
        *cost = scaled(*cost, passes);
    }
    Ok(costs)
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
pub(super) fn setup_cpu(args: &Args<'_>) -> Result<i64> {
    let first = args.cpus()?[0];
    args.cpu("setup_cpu", if first >= 0 { first } else { 2 })
}

/// When the ticks come, and what CPU time the threads have at time zero so that they have the recorded one at a tick; for
/// threads that sleep, what they have in the second row.
///
/// CPU time is brought up to date at ticks. A thread that spins from up to 1.05 ms after the first row on therefore shows, in the
/// second row, the time of the last tick less its delay: so the phase of the ticks is known to a millisecond, and the CPU time
/// at every tick exactly.
struct Clock {
    tick_phase: Span,
    runtime: Vec<Span>,
}

impl Clock {
    fn of(args: &Args<'_>, run: &Run, first: &FirstRow) -> Clock {
        let before: Vec<u64> = first.threads.iter().map(|thread| (thread.runtime_ms * 1e6) as u64).collect();
        if args.text("mode", "spin") == "sleep" {
            // A sleeper's CPU time is up to date in every row.
            let next =
                |thread: &FirstThread| Span(((thread.runtime_ms + thread.runtime_to_next_ms) * 1e6) as u64);
            return Clock { tick_phase: TICK_PHASE, runtime: first.threads.iter().map(next).collect() };
        }
        let row = (first.next_row_in_ms * 1e6) as i64;
        let (tick, most) = (TICK as i64, WAKE_DELAY_MOST as i64);
        let spun: Vec<i64> =
            first.threads.iter().map(|thread| (thread.runtime_to_next_ms * 1e6) as i64).collect();
        let all_spin = spun.iter().all(|spun| (row - tick - most..=row).contains(spun));
        if !all_spin || run.spec.accel == "mttcg" {
            let guess = |before: &u64| Span(before.saturating_sub(WAKE_DELAY_MOST / 2));
            return Clock { tick_phase: TICK_PHASE, runtime: before.iter().map(guess).collect() };
        }
        // Each thread allows the ticks a window as long as its delay can be; they lie in the middle of what all allow.
        let base = spun[0];
        let later = |spun: &i64| (spun - base + tick / 2).rem_euclid(tick) - tick / 2;
        let (from, to) =
            spun.iter().map(later).fold((i64::MIN, i64::MAX), |(from, to), at| (from.max(at), to.min(at)));
        let last_tick = base + (from + to + most) / 2;
        let runtime = |(before, spun): (&u64, &i64)| {
            // The tick at which this thread was last seen: the nearest one.
            let at = last_tick + ((spun + most / 2 - last_tick) as f64 / tick as f64).round() as i64 * tick;
            Span((*before as i64 + spun - at).max(0) as u64)
        };
        Clock {
            tick_phase: Span(last_tick.rem_euclid(tick) as u64),
            runtime: before.iter().zip(&spun).map(runtime).collect(),
        }
    }
}

/// The emulator's settings that costs depend on.
fn check_emulator(run: &Run) -> Result<()> {
    match run.spec.accel.as_str() {
        "icount" | "mttcg" => {}
        "" => return not_modelled("a run without spec.accel; there are icount, mttcg"),
        other => return not_modelled(format!("spec.accel={other}; there are icount, mttcg")),
    }
    if run.spec.shift > MOST_SHIFT {
        let expected = format!("a whole number from 0 to {MOST_SHIFT}");
        return Err(bad("spec.shift", &run.spec.shift.to_string(), &expected));
    }
    Ok(())
}

/// What the machine could not start from.
fn check_first_row(run: &Run, first: &FirstRow) -> Result<()> {
    if run.info.iter().any(|line| line == "kcore_or_btf_unavailable") {
        return Err(bad(
            "info",
            "kcore_or_btf_unavailable",
            "a recording that could read the kernel's memory, as the state before the start is needed",
        ));
    }
    let in_row = |row: &str, what: &str, value: f64, range: core::ops::RangeInclusive<f64>| {
        if range.contains(&value) {
            return Ok(());
        }
        let expected = format!("{} to {} in the {row}", range.start(), range.end());
        Err(bad(&format!("{}.csv, {what}", run.name), &value.to_string(), &expected))
    };
    let in_range = |what: &str, value, range| in_row("row before the start", what, value, range);
    let in_second = |what: &str, value, range| in_row("second row", what, value, range);
    in_range("time_ms", first.time_ms, -60_000.0..=0.0)?;
    in_second("time_ms", first.time_ms + first.next_row_in_ms, -60_000.0..=120_000.0)?;
    in_range("mm_next_scan_in_ms", first.next_scan_in_ms as f64, -1e15..=2e9)?;
    in_range("mm_numa_scan_offset_mb", first.scan_offset_mb, -2e8..=2e8)?;
    for (index, thread) in first.threads.iter().enumerate() {
        in_range(&format!("t{index}_runtime_ms"), thread.runtime_ms, 0.0..=1e9)?;
        in_second(&format!("t{index}_runtime_ms"), thread.runtime_ms + thread.runtime_to_next_ms, 0.0..=1e9)?;
        in_range(&format!("t{index}_node_stamp_ms"), thread.node_stamp_ms, 0.0..=1e10)?;
        in_range(&format!("t{index}_scan_period_ms"), f64::from(thread.scan_period_ms), 0.0..=1e9)?;
        in_range(&format!("t{index}_scan_period_max_ms"), f64::from(thread.scan_period_max_ms), 0.0..=1e9)?;
        in_range(
            &format!("t{index}_preferred_nid"),
            thread.preferred as f64,
            -1.0..=run.nodes.len() as f64 - 1.0,
        )?;
    }
    Ok(())
}

/// The model of a kernel release such as `Linux 6.12.95+deb12-amd64 ...` (spec: 0.2).
///
/// Assumed: every release of a series follows the one tree of it that was read, whatever was backported before or after; only
/// for 6.12 are two of its trees told apart. A series of which no tree was read is not guessed from its neighbours, but 6.5
/// follows 6.4.
fn kernel_of(run: &Run) -> Result<KernelModel> {
    let release = run.kernel.split_whitespace().nth(1).unwrap_or("");
    let numbers: Vec<u32> = release.split(['.', '+', '-']).map_while(|part| part.parse().ok()).collect();
    let name = match numbers[..] {
        [6, 1, ..] => "6.1",
        [6, 4 | 5, ..] => "6.4",
        [6, 6, ..] => "6.6",
        [6, 8, ..] => "6.8",
        [6, 12, patch, ..] if patch <= LAST_KEEPING_LOCALITY => "6.12.95",
        [6, 12, patch, ..] if patch >= FIRST_CLEARING_LOCALITY => "6.12.117",
        [6, 12, _, ..] => {
            return not_modelled(format!(
                "kernel {release}: whether it clears the locality counters on back-off (6.12.{LAST_KEEPING_LOCALITY} does not, \
                 6.12.{FIRST_CLEARING_LOCALITY} does)"
            ));
        }
        [6, 14, ..] => "6.14",
        [6, 19, ..] => "6.19",
        [_, _, ..] => "",
        _ => return Err(bad("kernel", &run.kernel, "a line as uname -srv prints it")),
    };
    let known = || KernelModel::ALL.map(KernelModel::name).join(", ");
    KernelModel::parse(name).map_or_else(
        || not_modelled(format!("the rules of kernel {release} (there are those of {})", known())),
        Ok,
    )
}

fn topology(run: &Run) -> Result<Topology> {
    let count = run.nodes.len();
    if !(1..=MOST_NODES).contains(&count) {
        return Err(bad("nodes", &format!("a list of {count}"), &format!("1 to {MOST_NODES} nodes")));
    }
    let mut nodes = Vec::new();
    let mut distance: Vec<Vec<u8>> = Vec::new();
    for number in 0..count {
        let key = format!("nodes.node{number}");
        let Some(info) = run.nodes.get(&format!("node{number}")) else {
            return Err(bad(&key, "missing", "nodes numbered from 0"));
        };
        nodes.push(Node {
            cpus: cpu_list(&format!("{key}.cpus"), &info.cpus)?,
            memory_pages: 0,
            slow: false,
        });
        let row: Vec<u8> = info
            .distance
            .split(',')
            .map(str::parse)
            .collect::<core::result::Result<_, _>>()
            .ok()
            .filter(|row: &Vec<u8>| row.len() == count)
            .ok_or_else(|| {
                let expected = format!("{count} distances separated by commas, one to each node");
                bad(&format!("{key}.distance"), &info.distance, &expected)
            })?;
        distance.push(row);
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
    let read = |key: &str, range: core::ops::RangeInclusive<u32>| {
        let text = run.sysctls.get(key).map_or("missing", String::as_str);
        text.parse::<u32>().ok().filter(|value| range.contains(value)).ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            bad(&format!("sysctls.{key}"), text, &expected)
        })
    };
    // Of four, which is accepted and has neither bit, only the missing first one shows where no node is slow.
    let mode = read("numa_balancing", 0..=4)?;
    Ok(Knobs {
        balancing: mode & 1 == 1,
        tiering: mode & 6 != 0,
        scan_delay_ms: read("scan_delay_ms", 0..=1_000_000_000)?,
        scan_period_min_ms: read("scan_period_min_ms", 0..=1_000_000_000)?,
        scan_period_max_ms: read("scan_period_max_ms", 0..=1_000_000_000)?,
        scan_size_mb: read("scan_size_mb", 1..=1 << 20)?,
        // Of no effect, as the lab's nodes have CPUs and are of the top tier.
        ..Knobs::KERNEL_DEFAULTS
    })
}

pub(super) fn all_nodes(nodes: usize) -> NodeMask {
    NodeMask((1 << nodes) - 1)
}

/// Memory of a node, which must be enough for what the process has there at the start.
fn room_of(run: &Run, node: usize, used: u64) -> Result<u64> {
    let usable = usable_pages(run, node, used)?;
    if used > usable {
        let size = Args(run).text("size_mb", "128");
        let expected = format!("no more than the {} MiB that node {node} has left", usable >> 8);
        return Err(bad("spec.args.size_mb", &size, &expected));
    }
    Ok(usable)
}

fn process(args: &Args<'_>, run: &Run, first: &FirstRow, mappings_after: bool) -> Result<ProcessConfig> {
    let task_policy = args.text("policy", "default") == "task_bind_nb";
    let offset = (first.scan_offset_mb * 256.0).max(0.0) as u64;
    Ok(ProcessConfig {
        name: "worker".to_owned(),
        idle_threads: args.within("idle_threads", 0, 0..=MOST_IDLE)? as u32,
        other_resident_pages: OTHER_PAGES,
        mappings_after,
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

fn threads(
    args: &Args<'_>,
    run: &Run,
    first: &FirstRow,
    start: Nanos,
    layout: &Layout,
    clock: &Clock,
) -> Result<Vec<ThreadConfig>> {
    let setup_cpu = setup_cpu(args)?;
    let cpus = args.cpus()?;
    let all_cpus: Vec<CpuId> = topology(run)?.nodes.into_iter().flat_map(|node| node.cpus).collect();
    let pid = run.info.iter().find_map(|line| line.strip_prefix("worker pid=")?.parse::<u32>().ok());
    let Some(pid) = pid.filter(|pid| (1..=1 << 22).contains(pid)) else {
        return Err(bad(
            "info",
            "without \"worker pid=\"",
            "the line with the process id that the worker prints",
        ));
    };
    let idle = args.within("idle_threads", 0, 0..=MOST_IDLE)? as u32;
    let sleeps = args.one_of("mode", "spin", &["spin", "sleep"])? == "sleep";
    let mut threads = Vec::new();
    for (index, (cpu, seen)) in cpus.iter().zip(&first.threads).enumerate() {
        let used = if *cpu < 0 { seen.cpu.map_or(setup_cpu, i64::from) } else { *cpu };
        let mut thread = ThreadConfig {
            name: format!("t{index}"),
            process: ProcessId(0),
            // The main thread has the process's id; the sleeping helpers come before the other workers.
            pid: if index == 0 { pid } else { pid + idle + index as u32 },
            cpu: CpuId(used as u16),
            affinity: if *cpu >= 0 { vec![CpuId(used as u16)] } else { all_cpus.clone() },
            activity: if sleeps { sleeping(args, kernel_of(run)?)? } else { Activity::Spins },
            class: SchedulerClass::Fair,
            background: layout.background(args, index as u64, cpus.len() as u64, start)?,
            mmap: None,
            reported: false,
            start: Some(TaskStart {
                runtime: clock.runtime[index],
                node_stamp: Span((seen.node_stamp_ms * 1e6) as u64),
                scan_period_ms: seen.scan_period_ms,
                scan_period_max_ms: seen.scan_period_max_ms,
                preferred: u8::try_from(seen.preferred).ok().map(NodeId),
                // The first thread keeps the sequence of its start, the others begin with the address space's (spec: 1.2).
                scan_seq: if index == 0 { 0 } else { first.scan_seq },
            }),
        };
        let load =
            thread.background.iter().map(|touches| touches.rate_per_s * touches.touch_cost.0).sum::<u64>();
        if sleeps && load > MOST_LOAD {
            thread.activity = Activity::Spins;
        }
        if sleeps {
            // Known for the second row: less what its loop has used by then.
            let looped = Span((first.next_row_in_ms * 1e6) as u64).saturating_sub(start - Nanos::ZERO);
            let used = looped.scaled(thread.duty_ppm(), 1_000_000);
            if let Some(at) = &mut thread.start {
                at.runtime = at.runtime.saturating_sub(used);
            }
        }
        threads.push(thread);
    }
    Ok(threads)
}

/// A worker that sleeps between batches of touches. The wake-up is measured as its touches are; on 6.1 85.18 µs for 567.6
/// touches (`k61_sl_1ms`).
fn sleeping(args: &Args<'_>, kernel: KernelModel) -> Result<Activity> {
    let sleep = Span(args.within("sleep_us", 1000, 0..=999_999)? * 1000);
    let wake = Span(if kernel == KernelModel::V6_1 { 4_000 } else { 4_600 });
    Ok(Activity::Sleeps { sleep, slack: TIMER_SLACK, wake })
}

/// `sched_setaffinity` calls of the workers: round the list of CPUs, from its second entry on.
fn moves(args: &Args<'_>, start: Nanos, length: Span, threads: usize) -> Result<Vec<(Nanos, Disturbance)>> {
    let every = args.within("move_ms", 0, 0..=MOST_SECONDS * 1000)?;
    let mut moves = Vec::new();
    if every == 0 {
        return Ok(moves);
    }
    let cpus = args.move_cpus()?;
    let turns = length.0 / (every * 1_000_000);
    if turns * threads as u64 > MOST_MOVES {
        let expected = format!("no more than {MOST_MOVES} moves in the whole run");
        return Err(bad("spec.args.move_ms", &every.to_string(), &expected));
    }
    for turn in 1..=turns {
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

/// numa_maps is read with every so many rows: each second, or with every row where those are further apart.
fn rows_per_placement(args: &Args<'_>) -> Result<u64> {
    let every = args.within("period_ms", 100, 1..=60_000)?;
    let default = every.max(1000) as i64;
    Ok(args.within("place_every_ms", default, every..=MOST_SECONDS * 1000)? / every)
}

/// The sampler as a task on its CPU: nobody moves to a CPU that it runs on (measured: `up_swap`, whose first attempt to
/// move falls on a reading of numa_maps).
fn monitor(args: &Args<'_>, kernel: KernelModel, start: Nanos, pages: u64) -> Result<Vec<ThreadConfig>> {
    let (per_page, row) = sampler_costs(kernel);
    let cpu = CpuId(args.cpu("sampler_cpu", 1)? as u16);
    let every = Span::from_millis(args.within("period_ms", 100, 1..=60_000)?);
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
        background: Vec::new(),
        mmap: None,
        reported: false,
        start: None,
    };
    Ok(vec![
        task("rows", 1, start, every, row),
        task("numa_maps", 2, start + row, every * rows_per_placement(args)?, maps),
    ])
}

fn monitor_process() -> ProcessConfig {
    ProcessConfig {
        name: "sampler".to_owned(),
        idle_threads: 0,
        other_resident_pages: OTHER_PAGES,
        mappings_after: true,
        policy: Policy::Default,
        mems_allowed: None,
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
    let every = args.within("period_ms", 100, 1..=60_000)?;
    let placements = rows_per_placement(args)?;
    let rows = length.0 / (every * 1_000_000);
    let steal = |index: u64| {
        let maps = if index % placements == 0 { Span(per_page * pages) } else { Span::ZERO };
        let at = if index == 0 { Nanos::ZERO } else { start + Span::from_millis(index * every) };
        (at, Disturbance::Steal { length: (row + maps) * 2, share_ppm: 500_000 })
    };
    Ok((0..=rows).map(steal).collect())
}
