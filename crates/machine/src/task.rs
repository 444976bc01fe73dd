//! A task's balancing state: period bounds, fault statistics, placement and period adaptation (spec: 1.9, 3).

use crate::{Knobs, NodeId, Rules};

/// Kinds of fault arrays (spec: 3.1).
const MEM: usize = 0;
const CPU: usize = 1;
const MEM_BUFFER: usize = 2;
const CPU_BUFFER: usize = 3;
/// `LOAD_AVG_MAX`: the PELT sum of a task that always runs (spec: 3.3).
pub(crate) const LOAD_AVG_MAX: u64 = 47_742;
const SLOTS: u32 = 10;
const THRESHOLD: u32 = 7;
/// `MAX_SCAN_WINDOW` in MB (spec: 1.9).
const MAX_SCAN_WINDOW: u32 = 2560;
pub(crate) const ACTIVE_NODE_FRACTION: i64 = 3;

/// Bit of a thread in a VMA's bitmap of active threads (spec: 1.6).
pub(crate) fn pid_bit(pid: u32) -> u32 {
    pid.wrapping_mul(0x61C8_8647) >> 26
}

/// How many passes sweep the resident set.
///
/// The kernel rounds up with a mask, which equals a ceiling where `scan_size_mb` is a power of two.
pub(crate) fn scan_windows(knobs: &Knobs, resident_pages: u64) -> u32 {
    let size = u64::from(knobs.scan_size_mb.max(1)) << 8;
    let resident = if resident_pages == 0 { size } else { resident_pages };
    ((((resident - 1) | (size - 1)) + 1) / size) as u32
}

/// The bounds of the scan period in ms (spec: 1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: u32,
    pub(crate) start: u32,
    pub(crate) max: u32,
}

/// The group's share of the formula: reference count and decayed shared and private memory faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupScale {
    pub(crate) refs: u64,
    pub(crate) shared: i64,
    pub(crate) private: i64,
}

impl GroupScale {
    fn scaled(self, period: u32) -> u32 {
        let shared = self.shared.max(0) as u64;
        let private = self.private.max(0) as u64;
        let scaled =
            u64::from(period).wrapping_mul(self.refs).wrapping_mul(shared + 1) / (private + shared + 1);
        scaled as u32
    }
}

pub(crate) fn bounds(knobs: &Knobs, rules: &Rules, resident_pages: u64, group: Option<GroupScale>) -> Bounds {
    let windows = if rules.resident_set_windows { scan_windows(knobs, resident_pages).max(1) } else { 1 };
    let size = knobs.scan_size_mb;
    let lowest = 1000 / if size < MAX_SCAN_WINDOW { MAX_SCAN_WINDOW / size.max(1) } else { 1 };
    let floor = if rules.period_floor { lowest } else { 1 };
    let min = floor.max(knobs.scan_period_min_ms / windows);
    let start = group.map_or(min, |group| min.max(group.scaled(min)));
    let ceiling = knobs.scan_period_max_ms / windows;
    let max = group.map_or(ceiling, |group| ceiling.max(group.scaled(ceiling))).max(min);
    Bounds { min, start, max }
}

/// What the period adaptation looks at (spec: 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Adaptation {
    pub(crate) private: u64,
    pub(crate) shared: u64,
    pub(crate) period_max: u32,
    pub(crate) bounds: Bounds,
    /// Whether there is a back-off path, and whether it keeps the locality counters.
    pub(crate) back_off: bool,
    pub(crate) sticky: bool,
}

/// A period change: the new period, and whether it was the back-off, which also delays the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewPeriod {
    pub(crate) period: u32,
    pub(crate) backed_off: bool,
}

/// The new period (spec: 3.5), clearing `locality` (remote, local, failed) where the kernel does.
pub(crate) fn adapt(period: u32, locality: &mut [u64; 3], seen: &Adaptation) -> NewPeriod {
    let [remote, local, failed] = *locality;
    if seen.back_off && (local + seen.shared == 0 || failed > 0) {
        if !seen.sticky {
            *locality = [0; 3];
        }
        return NewPeriod { period: seen.period_max.min(period << 1), backed_off: true };
    }
    let slot = period.div_ceil(SLOTS);
    let ratio = |part: u64, rest: u64| (part * u64::from(SLOTS)).checked_div(part + rest).unwrap_or(0) as u32;
    let near = ratio(local, remote);
    let private = ratio(seen.private, seen.shared);
    let above = |ratio: u32| (ratio - THRESHOLD).max(1) * slot;
    let moved = if private >= THRESHOLD {
        period.wrapping_add(above(private))
    } else if near >= THRESHOLD {
        period.wrapping_add(above(near))
    } else {
        // Unsigned arithmetic: below about 14 ms it wraps, and then clamps to the maximum.
        period.wrapping_sub((THRESHOLD - near.max(private)) * slot)
    };
    *locality = [0; 3];
    NewPeriod { period: moved.min(seen.bounds.max).max(seen.bounds.min), backed_off: false }
}

/// Fault arrays of a task: 4 kinds × nodes × {shared, private} (spec: 3.1).
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    counts: Vec<i64>,
    nodes: usize,
}

impl Faults {
    pub(crate) fn new(nodes: usize) -> Faults {
        Faults { counts: vec![0; nodes * 8], nodes }
    }

    fn at(&self, kind: usize, node: usize, private: usize) -> usize {
        (kind * self.nodes + node) * 2 + private
    }

    pub(crate) fn memory(&self, node: NodeId) -> [i64; 2] {
        [self.counts[self.at(MEM, node.index(), 0)], self.counts[self.at(MEM, node.index(), 1)]]
    }

    pub(crate) fn note(&mut self, memory: NodeId, cpu: NodeId, private: bool, pages: u64) {
        let index = self.at(MEM_BUFFER, memory.index(), usize::from(private));
        self.counts[index] += pages as i64;
        let index = self.at(CPU_BUFFER, cpu.index(), usize::from(private));
        self.counts[index] += pages as i64;
    }

    /// The part that groups share: decayed memory and CPU faults.
    pub(crate) fn decayed(&self) -> &[i64] {
        &self.counts[..self.nodes * 4]
    }
}

/// Growth of the arrays in one placement, for the group's copy.
#[derive(Clone, Debug)]
pub(crate) struct Decay {
    /// Added to MEM and CPU, laid out as [`Faults::decayed`].
    pub(crate) deltas: Vec<i64>,
    pub(crate) total: i64,
    /// Faults of the window: shared, private.
    pub(crate) window: [u64; 2],
}

/// Folds the window into the decayed arrays (spec: 3.3 step 4). `weight` = runtime × 65536 / (wall + 1), `total` = locality remote + local.
pub(crate) fn decay(faults: &mut Faults, weight: u64, total: u64) -> Decay {
    let mut result = Decay { deltas: vec![0; faults.nodes * 4], total: 0, window: [0; 2] };
    for node in 0..faults.nodes {
        for private in 0..2 {
            let memory = faults.at(MEM, node, private);
            let buffer = faults.at(MEM_BUFFER, node, private);
            let delta = faults.counts[buffer] - faults.counts[memory] / 2;
            result.window[private] += faults.counts[buffer] as u64;
            faults.counts[buffer] = 0;
            faults.counts[memory] += delta;
            result.deltas[memory] = delta;
            result.total += delta;
            let cpu = faults.at(CPU, node, private);
            let buffer = faults.at(CPU_BUFFER, node, private);
            let weighted = weight.wrapping_mul(faults.counts[buffer] as u64) / (total + 1);
            let delta = weighted as i64 - faults.counts[cpu] / 2;
            faults.counts[buffer] = 0;
            faults.counts[cpu] += delta;
            result.deltas[cpu] = delta;
        }
    }
    result
}

/// A numa_group (spec: 3.6).
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) refs: u64,
    pub(crate) tasks: u32,
    pub(crate) active_nodes: u32,
    pub(crate) max_faults_cpu: i64,
    pub(crate) total: i64,
    counts: Vec<i64>,
    nodes: usize,
}

impl Group {
    pub(crate) fn of(faults: &Faults, total: i64) -> Group {
        Group {
            refs: 1,
            tasks: 1,
            active_nodes: 1,
            max_faults_cpu: 0,
            total,
            counts: faults.decayed().to_vec(),
            nodes: faults.nodes,
        }
    }

    fn sum(&self, kind: usize, node: NodeId) -> i64 {
        let index = (kind * self.nodes + node.index()) * 2;
        self.counts[index] + self.counts[index + 1]
    }

    pub(crate) fn memory(&self, node: NodeId) -> i64 {
        self.sum(MEM, node)
    }

    pub(crate) fn cpu(&self, node: NodeId) -> i64 {
        self.sum(CPU, node)
    }

    pub(crate) fn scale(&self) -> GroupScale {
        let sum = |private: usize| (0..self.nodes).map(|node| self.counts[node * 2 + private]).sum();
        GroupScale { refs: self.refs, shared: sum(0), private: sum(1) }
    }

    pub(crate) fn add(&mut self, deltas: &[i64], total: i64) {
        for (count, delta) in self.counts.iter_mut().zip(deltas) {
            *count += delta;
        }
        self.total += total;
    }

    pub(crate) fn subtract(&mut self, deltas: &[i64], total: i64) {
        for (count, delta) in self.counts.iter_mut().zip(deltas) {
            *count -= delta;
        }
        self.total -= total;
    }

    /// Recounts the active nodes among those with CPUs (spec: 3.7).
    pub(crate) fn count_active(&mut self, with_cpus: &[NodeId]) {
        let faults: Vec<i64> = with_cpus.iter().map(|node| self.cpu(*node)).collect();
        let max = faults.iter().copied().max().unwrap_or(0).max(0);
        self.active_nodes = faults.iter().filter(|count| **count * ACTIVE_NODE_FRACTION > max).count() as u32;
        self.max_faults_cpu = max;
    }

    pub(crate) fn is_active(&self, node: NodeId) -> bool {
        self.cpu(node) * ACTIVE_NODE_FRACTION > self.max_faults_cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_bits_are_the_kernels() {
        // spec: 1.6, examples.
        for (pid, bit) in
            [(1, 24), (2, 48), (100, 12), (1000, 61), (1234, 22), (4096, 34), (31_337, 42), (65_535, 9)]
        {
            assert_eq!(pid_bit(pid), bit, "pid {pid}");
        }
    }

    #[test]
    fn bounds_follow_the_resident_set() {
        // spec: 1.9, table: GiB × 4, windows, scan_min, scan_max.
        let gib = 1 << 18;
        for (pages, windows, min, max) in [
            (gib / 4, 1, 1000, 60_000),
            (gib, 4, 250, 15_000),
            (gib * 5 / 2, 10, 100, 6000),
            (4 * gib, 16, 100, 3750),
            (16 * gib, 64, 100, 937),
            (64 * gib, 256, 100, 234),
            (128 * gib, 512, 100, 117),
            (150 * gib, 600, 100, 100),
        ] {
            assert_eq!(scan_windows(&Knobs::KERNEL_DEFAULTS, pages), windows);
            assert_eq!(
                bounds(&Knobs::KERNEL_DEFAULTS, &Rules::KERNEL, pages, None),
                Bounds { min, start: min, max }
            );
        }
        assert_eq!(scan_windows(&Knobs::KERNEL_DEFAULTS, 0), 1);
        let tiny = Knobs { scan_size_mb: 16, scan_period_min_ms: 0, ..Knobs::KERNEL_DEFAULTS };
        assert_eq!(bounds(&tiny, &Rules::KERNEL, gib, None).min, 6, "a small scan_size lowers the floor");
        let small = Knobs { scan_size_mb: 16, ..Knobs::KERNEL_DEFAULTS };
        assert_eq!(
            bounds(&small, &Rules::KERNEL, 131_072 + 256, None),
            Bounds { min: 30, start: 30, max: 1818 }
        );
    }

    #[test]
    fn a_group_raises_the_ceiling() {
        // spec: 1.9: 32 members with 90 % shared faults multiply the ceiling by about 29.
        let group = GroupScale { refs: 32, shared: 9000, private: 1000 };
        let raised = bounds(&Knobs::KERNEL_DEFAULTS, &Rules::KERNEL, 64 << 18, Some(group));
        assert_eq!((raised.min, raised.max / 234), (100, 28));
    }

    #[test]
    fn periods_adapt_as_in_the_golden_vectors() {
        // spec: 3.5: (period, local, remote, private, shared, failed) -> period.
        let bounds = Bounds { min: 100, start: 100, max: 60_000 };
        for ((period, local, remote, private, shared, failed), expected, backed_off) in [
            ((1000, 900, 100, 1000, 0, 0), 1300, false),
            ((1000, 0, 1000, 1000, 0, 0), 2000, true),
            ((1000, 0, 1000, 0, 1000, 0), 300, false),
            ((1000, 500, 500, 500, 500, 0), 800, false),
            ((1000, 800, 200, 300, 700, 0), 1100, false),
            ((1000, 900, 100, 1000, 0, 1), 2000, true),
            ((1000, 300, 700, 690, 310, 0), 900, false),
            ((101, 0, 1000, 100, 900, 0), 100, false),
        ] {
            for sticky in [true, false] {
                let mut locality = [remote, local, failed];
                let seen = Adaptation { private, shared, period_max: 60_000, bounds, back_off: true, sticky };
                assert_eq!(adapt(period, &mut locality, &seen), NewPeriod { period: expected, backed_off });
                let kept = backed_off && sticky;
                assert_eq!(locality, if kept { [remote, local, failed] } else { [0; 3] });
            }
        }
    }

    #[test]
    fn one_shared_fault_truncates_the_private_ratio() {
        // spec: 8 F11.
        let bounds = Bounds { min: 100, start: 100, max: 60_000 };
        let seen =
            Adaptation { private: 9999, shared: 1, period_max: 60_000, bounds, back_off: true, sticky: true };
        assert_eq!(adapt(1000, &mut [0, 10_000, 0], &seen).period, 1200);
    }

    #[test]
    fn decayed_faults_follow_the_recursion() {
        // spec: 3.3, example.
        let mut faults = Faults::new(2);
        let mut series = Vec::new();
        for input in [1000, 1000, 1000, 0, 0, 0] {
            faults.note(NodeId(1), NodeId(0), true, input);
            let result = decay(&mut faults, 65_536, input);
            assert_eq!(result.window, [0, input]);
            series.push(faults.memory(NodeId(1))[1]);
        }
        assert_eq!(series, [1000, 1500, 1750, 875, 438, 219]);
    }
}
