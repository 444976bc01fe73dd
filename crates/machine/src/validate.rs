//! What a configuration can have wrong.

use thiserror::Error;

use crate::{
    Cost, Costs, Disturbance, Law, MachineConfig, MapKind, Pattern, Placement, Policy, RegionId, ThreadId,
    TouchConfig,
};

/// A configuration that describes no machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MachineError {
    /// A list that must not be empty is.
    #[error("the machine has no {0}: at least one is needed")]
    Empty(&'static str),
    /// An id points outside its list.
    #[error("{holder} names {what} {id}, but there are only {count}")]
    Unknown {
        /// Who names it.
        holder: String,
        /// What is named.
        what: &'static str,
        /// The id.
        id: u64,
        /// How many exist.
        count: u64,
    },
    /// A value outside its range.
    #[error("{holder}: {what} is {value}, expected {expected}")]
    OutOfRange {
        /// Where.
        holder: String,
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
        /// What is allowed.
        expected: String,
    },
    /// A matrix or list whose size does not fit the nodes.
    #[error("{what} has {rows} rows or columns, expected one for each of {nodes} nodes")]
    Shape {
        /// Which matrix.
        what: &'static str,
        /// Its size.
        rows: usize,
        /// Number of nodes.
        nodes: usize,
    },
    /// A distance that the firmware table it stands for cannot hold.
    #[error(
        "distance from node {from} to node {to} is {value}, expected {expected}: copy the distances of `numactl \
         --hardware`"
    )]
    Distance {
        /// The row.
        from: usize,
        /// The column.
        to: usize,
        /// The value.
        value: u8,
        /// What is allowed.
        expected: &'static str,
    },
    /// The same CPU in two places.
    #[error("CPU {0} belongs to two nodes")]
    DuplicateCpu(u16),
    /// Something that the kernel itself refuses.
    #[error("{holder}: kernel {kernel} refuses {what}")]
    KernelRefuses {
        /// Where.
        holder: String,
        /// Which kernel.
        kernel: &'static str,
        /// What.
        what: &'static str,
    },
    /// A thread begins where it may not run.
    #[error(
        "{holder} starts on CPU {cpu}, which its affinity leaves out: add that CPU, or start it on one of the list"
    )]
    Affinity {
        /// Which thread.
        holder: String,
        /// Where it starts.
        cpu: u16,
    },
    /// A combination that the machine does not model.
    #[error("{holder}: not modelled: {what}")]
    NotModelled {
        /// Where.
        holder: String,
        /// What.
        what: &'static str,
    },
}

/// Distance of a node to itself; others are further (ACPI: SLIT, whose values 0 to 9 are reserved).
pub(crate) const LOCAL_DISTANCE: u8 = 10;

/// Bounds that keep sums of latencies inside 64 bits: 10 µs idle, 100 times that under load.
const MOST_LATENCY_PS: u64 = 10_000_000;
const MOST_LOADED_PPM: u64 = 100_000_000;

/// Bounds of medians and greatest values that keep a pass over any machine's memory inside 64 bits.
const MOST_COST_NS: u64 = 1_000_000_000;
/// A thread that hardly sleeps would be asked about in every microsecond.
const LEAST_SLEEP_NS: u64 = 1_000;
/// One that touches for longer hardly ever catches up: it spins.
const MOST_LOAD_NS: u64 = 950_000_000;
const MOST_PER_PAGE_PS: u64 = 10_000_000;
const MOST_PER_HUGE_PS: u64 = 1_000_000_000;

type Checked = Result<(), MachineError>;

pub(crate) fn check(config: &MachineConfig) -> Checked {
    check_counts(config)?;
    check_topology(config)?;
    check_knobs(config)?;
    for (index, region) in config.regions.iter().enumerate() {
        check_region(config, region)?;
        check_part(&config.regions[..index], region)?;
    }
    for thread in &config.threads {
        check_thread(config, thread)?;
    }
    for work in &config.works {
        let holder = format!("work {}", work.name);
        known(&holder, "thread", u64::from(work.thread.0), config.threads.len())?;
        for touch in &work.touches {
            check_touch(config, &holder, work.thread, touch)?;
        }
    }
    for process in &config.processes {
        let holder = format!("process {}", process.name);
        check_policy(config, &holder, process.policy)?;
        if let Some(allowed) = process.mems_allowed {
            let all = u64::MAX >> (64 - config.topology.nodes.len());
            within(&holder, "mems_allowed as a mask of nodes", allowed.0, 1, all)?;
        }
    }
    for (_, disturbance) in &config.disturbances {
        check_disturbance(config, disturbance)?;
    }
    check_cpus_in_use(config)
}

/// Ids have 16 bits.
fn check_counts(config: &MachineConfig) -> Checked {
    let background = config.threads.iter().map(|thread| thread.background.len());
    let units = config.works.iter().map(|work| work.touches.len());
    for (what, count) in [
        ("number of processes", config.processes.len()),
        ("number of regions", config.regions.len()),
        ("number of threads", config.threads.len()),
        ("number of works", config.works.len()),
        ("number of touches that threads and works list", background.chain(units).sum()),
    ] {
        within("machine", what, count as u64, 0, 1 << 16)?;
    }
    Ok(())
}

/// A page remembers the CPU of its last access in eight bits (spec: 2.3).
fn check_cpus_in_use(config: &MachineConfig) -> Checked {
    let mut used: Vec<u16> =
        config.regions.iter().filter_map(|region| region.first_touch).map(|cpu| cpu.0).collect();
    used.extend(config.threads.iter().flat_map(|thread| &thread.affinity).map(|cpu| cpu.0));
    used.extend(config.disturbances.iter().filter_map(|(_, disturbance)| match disturbance {
        Disturbance::MoveThread { cpu, .. } => Some(cpu.0),
        _ => None,
    }));
    used.sort_unstable();
    used.dedup();
    if used.len() > 255 {
        return Err(MachineError::NotModelled {
            holder: "threads".to_owned(),
            what: "more than 255 CPUs in use",
        });
    }
    Ok(())
}

fn known(holder: &str, what: &'static str, id: u64, count: usize) -> Checked {
    let count = count as u64;
    if id < count {
        Ok(())
    } else {
        Err(MachineError::Unknown { holder: holder.to_owned(), what, id, count })
    }
}

fn within(holder: &str, what: &'static str, value: u64, from: u64, to: u64) -> Checked {
    if (from..=to).contains(&value) {
        return Ok(());
    }
    Err(MachineError::OutOfRange {
        holder: holder.to_owned(),
        what,
        value,
        expected: format!("{from} to {to}"),
    })
}

fn check_topology(config: &MachineConfig) -> Checked {
    let nodes = config.topology.nodes.len();
    if nodes == 0 {
        return Err(MachineError::Empty("node"));
    }
    within("topology", "number of nodes", nodes as u64, 1, 31)?;
    let square = |what, matrix: &[usize]| {
        let rows = matrix.len();
        if rows != nodes {
            return Err(MachineError::Shape { what, rows, nodes });
        }
        match matrix.iter().find(|width| **width != nodes) {
            Some(rows) => Err(MachineError::Shape { what, rows: *rows, nodes }),
            None => Ok(()),
        }
    };
    square("distance", &config.topology.distance.iter().map(Vec::len).collect::<Vec<_>>())?;
    square("latency_ps", &config.costs.latency_ps.iter().map(Vec::len).collect::<Vec<_>>())?;
    check_distances(&config.topology.distance)?;
    let mut cpus: Vec<u16> =
        config.topology.nodes.iter().flat_map(|node| node.cpus.iter().map(|cpu| cpu.0)).collect();
    if cpus.is_empty() {
        return Err(MachineError::Empty("CPU"));
    }
    for cpu in config.topology.isolated.iter().chain(&config.topology.nohz_full) {
        check_cpu(config, "topology", cpu.0)?;
    }
    within("topology", "caches_per_node", u64::from(config.topology.caches_per_node), 1, 1024)?;
    if let Some(at) = config.topology.nodes.iter().position(|node| node.slow && !node.cpus.is_empty()) {
        return Err(MachineError::NotModelled {
            holder: format!("node {at}"),
            what: "a slow node with CPUs: a node with CPUs is of the top tier, so take away one of the two",
        });
    }
    cpus.sort_unstable();
    match cpus.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MachineError::DuplicateCpu(pair[0])),
        None => Ok(()),
    }
}

fn check_distances(distance: &[Vec<u8>]) -> Checked {
    for (from, row) in distance.iter().enumerate() {
        for (to, value) in row.iter().copied().enumerate() {
            let (sound, expected) = if from == to {
                (value == LOCAL_DISTANCE, "10, as to every node from itself")
            } else {
                (value > LOCAL_DISTANCE, "11 to 255, as between any two nodes")
            };
            if !sound {
                return Err(MachineError::Distance { from, to, value, expected });
            }
        }
    }
    Ok(())
}

fn check_knobs(config: &MachineConfig) -> Checked {
    within("machine", "hz", u64::from(config.hz), 100, 1000)?;
    within("machine", "tick_phase", config.tick_phase.0, 0, config.tick().0 - 1)?;
    check_knob_values("knobs", &config.knobs)?;
    check_costs(&config.costs)?;
    within("costs", "interconnect_mbps", config.costs.interconnect_mbps, 1, u64::from(u32::MAX))?;
    within("costs", "memory_mbps", config.costs.memory_mbps, 1, u64::from(u32::MAX))?;
    for row in &config.costs.latency_ps {
        for latency in row {
            within("costs", "latency_ps", *latency, 0, MOST_LATENCY_PS)?;
        }
    }
    let curve = &config.costs.loaded_latency;
    for point in curve {
        within("costs", "loaded_latency multiplier in ppm", u64::from(point.1), 0, MOST_LOADED_PPM)?;
    }
    match curve.windows(2).find(|pair| pair[1].0 <= pair[0].0 || pair[1].1 < pair[0].1) {
        None => Ok(()),
        Some(pair) => Err(MachineError::OutOfRange {
            holder: "costs".to_owned(),
            what: "loaded_latency",
            value: u64::from(pair[1].0),
            expected: format!("points that rise, after utilisation {} ppm", pair[0].0),
        }),
    }
}

fn check_costs(costs: &Costs) -> Checked {
    let spans = [
        ("pass_base", costs.pass_base),
        ("shootdown_base", costs.shootdown_base),
        ("shootdown_per_cpu", costs.shootdown_per_cpu),
        ("interrupt", costs.interrupt),
        ("interrupt_few_pages", costs.interrupt_few_pages),
        ("hint_fault", costs.hint_fault),
        ("placement", costs.placement),
        ("migrate_page", costs.migrate_page),
        ("migrate_huge", costs.migrate_huge),
        ("refused_migration", costs.refused_migration),
        ("write_fault", costs.write_fault),
        ("migration_wake", costs.migration_wake),
        ("task_migrate_scan", costs.task_migrate_scan),
        ("stopper", costs.stopper),
    ];
    for (what, cost) in spans {
        check_cost(what, cost, MOST_COST_NS)?;
    }
    for (what, share) in [
        ("page_allocation_ppm", costs.page_allocation_ppm),
        ("huge_allocation_ppm", costs.huge_allocation_ppm),
    ] {
        within("costs", what, u64::from(share), 0, 1_000_000)?;
    }
    check_cost("mark_per_pte_ps", costs.mark_per_pte_ps, MOST_PER_PAGE_PS)?;
    check_cost("mark_huge_ps", costs.mark_huge_ps, MOST_PER_HUGE_PS)?;
    within("costs", "skip_per_pte_ps", costs.skip_per_pte_ps, 0, MOST_PER_PAGE_PS)?;
    within("costs", "local_skip_per_pte_ps", costs.local_skip_per_pte_ps, 0, MOST_PER_PAGE_PS)
}

fn check_cost(what: &'static str, cost: Cost, most: u64) -> Checked {
    if let Cost::Mixture { rare_ppm, .. } = cost {
        within(what, "share of the rare part in ppm", u64::from(rare_ppm), 0, 1_000_000)?;
    }
    for law in cost.laws() {
        match law {
            Law::Constant(value) => within("costs", what, value, 0, most)?,
            Law::Uniform { least, most: greatest } => {
                within("costs", what, greatest, 0, most)?;
                within(what, "least value of a uniform law", least, 0, greatest)?;
            }
            Law::LogNormal { median, sigma_ppm } => {
                within("costs", what, median, 0, most)?;
                within(what, "sigma of a log-normal law in ppm", u64::from(sigma_ppm), 0, 1_000_000)?;
            }
        }
    }
    Ok(())
}

fn check_knob_values(holder: &str, knobs: &crate::Knobs) -> Checked {
    within(holder, "scan_size_mb", u64::from(knobs.scan_size_mb), 0, 1 << 20)?;
    within(holder, "scan_delay_ms", u64::from(knobs.scan_delay_ms), 0, 1_000_000_000)?;
    within(holder, "scan_period_min_ms", u64::from(knobs.scan_period_min_ms), 0, 1_000_000_000)?;
    within(holder, "scan_period_max_ms", u64::from(knobs.scan_period_max_ms), 0, 1_000_000_000)?;
    within(holder, "hot_threshold_ms", u64::from(knobs.hot_threshold_ms), 0, 1_000_000_000)?;
    let most = i32::MAX.unsigned_abs();
    within(holder, "promote_rate_limit_mbps", u64::from(knobs.promote_rate_limit_mbps), 0, u64::from(most))
}

fn check_region(config: &MachineConfig, region: &crate::RegionConfig) -> Checked {
    let holder = format!("region {}", region.name);
    let nodes = config.topology.nodes.len();
    known(&holder, "process", u64::from(region.process.0), config.processes.len())?;
    within(&holder, "pages", region.pages, 1, 1 << 34)?;
    if let MapKind::AnonymousLarge { order } = region.kind {
        within(&holder, "order of a large folio", u64::from(order), 1, 9)?;
    }
    if region.pages % region.kind.unit() != 0 {
        return Err(MachineError::OutOfRange {
            holder,
            what: "pages",
            value: region.pages,
            expected: format!(
                "a multiple of {} pages, as the mapping is of folios of that size",
                region.kind.unit()
            ),
        });
    }
    match &region.placement {
        Placement::Node(node) => known(&holder, "node", u64::from(node.0), nodes)?,
        Placement::Interleave(list) => {
            if list.is_empty() {
                return Err(MachineError::Empty("node to interleave over"));
            }
            for node in list {
                known(&holder, "node", u64::from(node.0), nodes)?;
            }
        }
    }
    if let Some(cpu) = region.first_touch {
        check_cpu(config, &holder, cpu.0)?;
    }
    check_policy(config, &holder, region.policy)
}

/// A part of a mapping needs one to be a part of, and all parts are looked at with one policy and one kind of pages.
fn check_part(before: &[crate::RegionConfig], region: &crate::RegionConfig) -> Checked {
    if !region.continues {
        return Ok(());
    }
    let refused = |what| Err(MachineError::NotModelled { holder: format!("region {}", region.name), what });
    let Some(last) = before.iter().rev().find(|other| other.process == region.process) else {
        return refused("a first region that continues a mapping");
    };
    let anonymous = |kind: MapKind| {
        matches!(kind, MapKind::Anonymous | MapKind::AnonymousHuge | MapKind::AnonymousLarge { .. })
    };
    if last.policy != region.policy {
        return refused("a mapping with two policies, which the kernel splits");
    }
    if last.kind != region.kind && !(anonymous(last.kind) && anonymous(region.kind)) {
        return refused("a mapping of two kinds");
    }
    if last.pages % 512 != 0 {
        return refused("a part of a mapping that begins inside 2 MiB");
    }
    Ok(())
}

fn check_policy(config: &MachineConfig, holder: &str, policy: Policy) -> Checked {
    let all = u64::MAX >> (64 - config.topology.nodes.len());
    match policy {
        Policy::Bind(mask)
        | Policy::BindBalancing(mask)
        | Policy::PreferredMany(mask)
        | Policy::Interleave(mask)
        | Policy::WeightedInterleave(mask) => within(holder, "mask of nodes of a policy", mask.0, 1, all),
        Policy::Preferred(node) => known(holder, "node", u64::from(node.0), config.topology.nodes.len()),
        Policy::PreferredManyBalancing(_) if !config.kernel.balances_preferred_many() => {
            Err(MachineError::KernelRefuses {
                holder: holder.to_owned(),
                kernel: config.kernel.name(),
                what: "MPOL_PREFERRED_MANY with MPOL_F_NUMA_BALANCING; 6.12 has it",
            })
        }
        Policy::PreferredManyBalancing(mask) => within(holder, "mask of nodes of a policy", mask.0, 1, all),
        Policy::Default | Policy::Local => Ok(()),
    }
}

fn check_cpu(config: &MachineConfig, holder: &str, cpu: u16) -> Checked {
    if config.topology.nodes.iter().any(|node| node.cpus.iter().any(|other| other.0 == cpu)) {
        return Ok(());
    }
    let count = config.topology.nodes.iter().map(|node| node.cpus.len() as u64).sum();
    Err(MachineError::Unknown { holder: holder.to_owned(), what: "CPU", id: u64::from(cpu), count })
}

fn check_thread(config: &MachineConfig, thread: &crate::ThreadConfig) -> Checked {
    let holder = format!("thread {}", thread.name);
    known(&holder, "process", u64::from(thread.process.0), config.processes.len())?;
    check_cpu(config, &holder, thread.cpu.0)?;
    for cpu in &thread.affinity {
        check_cpu(config, &holder, cpu.0)?;
    }
    if !thread.affinity.contains(&thread.cpu) {
        return Err(MachineError::Affinity { holder, cpu: thread.cpu.0 });
    }
    within(&holder, "pid", u64::from(thread.pid), 1, 1 << 22)?;
    if let crate::Activity::Duty(ppm) = thread.activity {
        within(&holder, "duty", u64::from(ppm), 0, 1_000_000)?;
    }
    if let Some(mmap) = thread.mmap {
        check_cost("hold of the mmap lock", mmap.hold, MOST_COST_NS)?;
        // With the lock taken for longer than calls are apart it would never be free.
        within(
            &holder,
            "mean time between mmap calls in ns",
            mmap.mean_gap.0,
            2 * mmap.hold.mean() + 1,
            1 << 62,
        )?;
    }
    if let crate::Activity::Bursts { every, length, .. } = thread.activity {
        within(&holder, "time between bursts", every.0, 1, u64::MAX)?;
        within(&holder, "length of a burst", length.0, 0, every.0)?;
    }
    if let crate::Activity::Sleeps { sleep, slack, wake } = thread.activity {
        within(
            &holder,
            "sleep and timer slack in ns",
            sleep.0.saturating_add(slack.0),
            LEAST_SLEEP_NS,
            1 << 62,
        )?;
        within(&holder, "time of a wake-up in ns", wake.0, 0, MOST_COST_NS)?;
        let load = u64::try_from(thread.touch_load()).unwrap_or(u64::MAX);
        within(&holder, "time of a second's touches in ns, between which it sleeps,", load, 0, MOST_LOAD_NS)?;
    }
    let process = thread.process;
    for background in &thread.background {
        within(&holder, "time of a touch in ns", background.touch_cost.0, 0, MOST_COST_NS)?;
        within(&holder, "rate_per_s", background.rate_per_s, 1, 1_000_000_000)?;
        let pages = match background.part {
            Some(_) if matches!(thread.activity, crate::Activity::Sleeps { .. }) => {
                let what = "a sleeping thread whose touches go over several regions, or part of one";
                return Err(MachineError::NotModelled { holder, what });
            }
            Some(part) => {
                check_touched_part(&holder, background.touch.pattern, part)?;
                Some(part.pages)
            }
            None => None,
        };
        touch_of(config, &holder, process, &background.touch, pages)?;
    }
    Ok(())
}

fn check_touched_part(holder: &str, pattern: Pattern, part: crate::Part) -> Checked {
    within(holder, "pages of a pattern over several regions", part.pages, 1, 1 << 34)?;
    within(holder, "offset of a region in such a pattern", part.offset.unsigned_abs(), 0, 1 << 34)?;
    match pattern {
        Pattern::Sequential { .. } | Pattern::Xorshift { .. } | Pattern::XorshiftHotCold { .. } => Ok(()),
        Pattern::Uniform | Pattern::HotCold { .. } => Err(MachineError::NotModelled {
            holder: holder.to_owned(),
            what: "a pattern by law over several regions",
        }),
    }
}

fn check_touch(config: &MachineConfig, holder: &str, thread: ThreadId, touch: &TouchConfig) -> Checked {
    touch_of(config, holder, config.threads[thread.index()].process, touch, None)
}

/// `pages`: what the pattern goes over, where that is not the region.
fn touch_of(
    config: &MachineConfig,
    holder: &str,
    process: crate::ProcessId,
    touch: &TouchConfig,
    pages: Option<u64>,
) -> Checked {
    let RegionId(region) = touch.region;
    known(holder, "region", u64::from(region), config.regions.len())?;
    let region = &config.regions[usize::from(region)];
    if region.process != process {
        return Err(MachineError::NotModelled {
            holder: format!("{holder} and region {}", region.name),
            what: "a thread that touches another process's memory",
        });
    }
    if region.kind == MapKind::NoAccess {
        return Err(MachineError::NotModelled {
            holder: format!("{holder} and region {}", region.name),
            what: "a touch of memory without access, which would end the process",
        });
    }
    within(holder, "write_ppm", u64::from(touch.write_ppm), 0, 1_000_000)?;
    within(holder, "miss_ppm", u64::from(touch.miss_ppm), 0, 1_000_000)?;
    match touch.pattern {
        Pattern::Sequential { .. } | Pattern::Uniform => Ok(()),
        Pattern::HotCold { hot_pages_ppm, hot_touches_ppm } => {
            let pages = region.pages / region.kind.unit();
            within(holder, "pages of a region with a hot and a cold part", pages, 2, u64::MAX)?;
            within(holder, "hot_pages_ppm", u64::from(hot_pages_ppm), 0, 1_000_000)?;
            within(holder, "hot_touches_ppm", u64::from(hot_touches_ppm), 0, 1_000_000)
        }
        Pattern::Xorshift { state } => within(holder, "generator state", state, 1, u64::MAX),
        Pattern::XorshiftHotCold { state, hot_pages, hot_percent } => {
            within(holder, "generator state", state, 1, u64::MAX)?;
            within(holder, "hot_percent", u64::from(hot_percent), 0, 100)?;
            within(holder, "hot pages", hot_pages, 1, pages.unwrap_or(region.pages) - 1)
        }
    }
}

fn check_disturbance(config: &MachineConfig, disturbance: &Disturbance) -> Checked {
    let holder = "disturbance";
    let nodes = config.topology.nodes.len();
    match disturbance {
        Disturbance::MoveThread { thread, cpu } => {
            known(holder, "thread", u64::from(thread.0), config.threads.len())?;
            check_cpu(config, holder, cpu.0)
        }
        Disturbance::SetKnobs(knobs) => check_knob_values(holder, knobs),
        Disturbance::BatchLoad { from, to, .. } => {
            known(holder, "node", u64::from(from.0), nodes)?;
            known(holder, "node", u64::from(to.0), nodes)
        }
        Disturbance::MemoryPressure { node, .. } => known(holder, "node", u64::from(node.0), nodes),
        Disturbance::Steal { share_ppm, .. } => {
            within(holder, "share_ppm", u64::from(*share_ppm), 0, 999_999)
        }
        Disturbance::InterruptStorm { cpu, period, busy, .. } => {
            check_cpu(config, holder, cpu.0)?;
            within(holder, "period of interrupts", period.0, 2, u64::MAX)?;
            within(holder, "length of an interrupt", busy.0, 1, period.0 - 1)
        }
    }
}
