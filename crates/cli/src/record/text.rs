//! What the kernel's text files say, as pure functions over their text. Whatever is missing or no number is `None`.

use std::collections::BTreeMap;

use numashock_sim::counters::vmstat_values;

/// The counters of `/proc/vmstat` that a recording holds, in the order of its columns (spec: 4.2).
pub(super) const COUNTERS: [&str; 19] = [
    "numa_pte_updates",
    "numa_huge_pte_updates",
    "numa_hint_faults",
    "numa_hint_faults_local",
    "numa_pages_migrated",
    "pgmigrate_success",
    "pgmigrate_fail",
    "thp_migration_success",
    "pgpromote_success",
    "pgpromote_candidate",
    "numa_hit",
    "numa_miss",
    "numa_foreign",
    "numa_interleave",
    "numa_local",
    "numa_other",
    "numa_task_migrated",
    "pgfault",
    "nr_isolated_anon",
];
/// The one column that is a level and not a counter.
pub(super) const LEVEL: &str = "nr_isolated_anon";
/// Above the kernel's own limit of nodes, so that a damaged list cannot ask for unbounded memory.
const NODES_MAX: u32 = 1 << 12;
/// The page that counts are given in.
const PAGE_KB: u64 = 4;

/// One reading of `/proc/vmstat`, in the order of [`COUNTERS`].
pub(super) type Counters = [Option<u64>; COUNTERS.len()];

/// Reads `/proc/vmstat`.
pub(super) fn vmstat(text: &str) -> Counters {
    vmstat_values(text, &COUNTERS)
}

/// What `/proc/PID/task/TID/sched` says about one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sched {
    /// `se.sum_exec_runtime`, in nanoseconds.
    pub(super) runtime: Option<u64>,
    /// `mm->numa_scan_seq`.
    pub(super) scan_seq: Option<u64>,
    /// `numa_preferred_nid`; −1 is none.
    pub(super) preferred_nid: Option<i64>,
    /// `total_numa_faults`.
    pub(super) total_faults: Option<u64>,
    /// `numa_pages_migrated`.
    pub(super) pages_migrated: Option<u64>,
    /// By node.
    pub(super) faults: BTreeMap<u32, NodeFaults>,
}

/// A thread's decaying fault statistics on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeFaults {
    /// `task_shared`.
    pub(super) shared: Option<u64>,
    /// `task_private`.
    pub(super) private: Option<u64>,
}

/// Reads a thread's `sched` file. Its first line holds the thread's name, which may look like anything.
pub(super) fn sched(text: &str) -> Sched {
    let mut found = Sched::default();
    for line in text.lines().skip(1) {
        if let Some(faults) = line.strip_prefix("numa_faults ") {
            node_faults(faults, &mut found.faults);
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.trim() {
            "se.sum_exec_runtime" => found.runtime = millis_to_nanos(value),
            "mm->numa_scan_seq" => found.scan_seq = value.parse().ok(),
            "numa_preferred_nid" => found.preferred_nid = value.parse().ok(),
            "total_numa_faults" => found.total_faults = value.parse().ok(),
            "numa_pages_migrated" => found.pages_migrated = value.parse().ok(),
            _ => {}
        }
    }
    found
}

/// `node=1 task_private=63488 task_shared=0 ...`
fn node_faults(text: &str, faults: &mut BTreeMap<u32, NodeFaults>) {
    let pairs = || text.split_whitespace().filter_map(|pair| pair.split_once('='));
    let value = |wanted: &str| pairs().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let Some(node) = value("node").and_then(|node| node.parse().ok()).filter(|node| *node < NODES_MAX) else {
        return;
    };
    let count = |name| value(name).and_then(|count| count.parse().ok());
    faults.insert(node, NodeFaults { shared: count("task_shared"), private: count("task_private") });
}

/// Milliseconds with up to six decimals, to nanoseconds.
fn millis_to_nanos(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 6 || !digits(whole) || !digits(decimals) {
        return None;
    }
    let part: u64 = format!("{decimals:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// Reads the CPU time, in nanoseconds, from `schedstat`: its first number.
pub(super) fn schedstat_runtime(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// What `/proc/PID/stat` says about a process that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// One letter; `Z` and `X` are ended processes.
    pub(super) state: char,
    /// When it started, in ticks since boot: tells a process from a later one with the same number.
    pub(super) start: u64,
}

/// Reads `/proc/PID/stat`. The name in it may hold blanks and parentheses, so fields count from the last parenthesis.
pub(super) fn stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // State is field 3, the start time field 22.
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start })
}

/// Adds up the pages of `/proc/PID/numa_maps` by node, in pages of 4 KiB.
pub(super) fn numa_maps(text: &str) -> BTreeMap<u32, u64> {
    let mut pages = BTreeMap::new();
    for line in text.lines() {
        let tokens = || line.split_whitespace().skip(1).filter_map(|token| token.split_once('='));
        let size = tokens().find(|(name, _)| *name == "kernelpagesize_kB");
        let unit = size.and_then(|(_, size)| size.parse::<u64>().ok()).map_or(1, |size| size / PAGE_KB);
        for (name, count) in tokens() {
            let node = name.strip_prefix('N').and_then(|node| node.parse::<u32>().ok());
            if let (Some(node), Ok(count)) = (node.filter(|node| *node < NODES_MAX), count.parse::<u64>()) {
                let total: &mut u64 = pages.entry(node).or_default();
                *total = total.saturating_add(count.saturating_mul(unit));
            }
        }
    }
    pages
}

/// Reads a list such as `0-1,8`.
pub(super) fn id_list(text: &str) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if last >= NODES_MAX || first > last {
            return None;
        }
        ids.extend(first..=last);
    }
    Some(ids)
}

/// The kilobytes that a node's `meminfo` gives for `key`, such as `MemTotal`.
pub(super) fn node_kilobytes(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (before, value) = line.split_once(':')?;
        if before.split_whitespace().last() != Some(key) {
            return None;
        }
        value.split_whitespace().next()?.parse().ok()
    })
}

/// The tick rate in the text of a kernel's build configuration.
pub(super) fn tick_rate(config: &str) -> Option<u32> {
    config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")).and_then(|hz| hz.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHED: &str = "\
pricer (4711, #threads: 3)
-------------------------------------------------------------------
se.exec_start                                :      11365804.255492
se.sum_exec_runtime                          :         30335.466827
se.nr_migrations                             :                    1
policy                                       :                    0
mm->numa_scan_seq                            :                    6
numa_pages_migrated                          :                32768
numa_preferred_nid                           :                    1
total_numa_faults                            :                63488
current_node=1, numa_group_id=0
numa_faults node=0 task_private=0 task_shared=7 group_private=0 group_shared=0
numa_faults node=1 task_private=63488 task_shared=0 group_private=0 group_shared=0
";

    fn counter(counters: &Counters, name: &str) -> Option<u64> {
        counters[COUNTERS.iter().position(|counter| *counter == name).unwrap()]
    }

    #[test]
    fn vmstat_gives_the_counters_that_are_there() {
        let counters = vmstat(
            "nr_free_pages 2319\nnuma_hit 178135628\nnuma_hint_faults 0\nnuma_hint_faults_local 9\npgfault 12\n",
        );
        assert_eq!(counter(&counters, "numa_hit"), Some(178_135_628));
        assert_eq!(counter(&counters, "numa_hint_faults"), Some(0));
        assert_eq!(counter(&counters, "numa_hint_faults_local"), Some(9));
        assert_eq!(counter(&counters, "numa_pte_updates"), None);
        assert_eq!(counters.iter().flatten().count(), 4);
    }

    #[test]
    fn vmstat_values_that_are_no_counts_are_absent() {
        let text = "numa_hit -1\nnuma_miss 18446744073709551615\nnuma_foreign 18446744073709551616\nnuma_local\n\
                    numa_other x\n\npgfault  5 \n numa_interleave 5\nnuma_pte_updates_extra 3\n";
        let counters = vmstat(text);
        for name in ["numa_hit", "numa_foreign", "numa_local", "numa_other", "numa_interleave"] {
            assert_eq!(counter(&counters, name), None, "{name}");
        }
        assert_eq!(counter(&counters, "numa_pte_updates"), None);
        assert_eq!(counter(&counters, "numa_miss"), Some(u64::MAX));
        assert_eq!(counter(&counters, "pgfault"), Some(5));
        assert_eq!(vmstat(""), [None; COUNTERS.len()]);
    }

    #[test]
    fn a_sched_file_gives_runtime_and_fault_statistics() {
        let found = sched(SCHED);
        assert_eq!(found.runtime, Some(30_335_466_827));
        assert_eq!(found.scan_seq, Some(6));
        assert_eq!(found.preferred_nid, Some(1));
        assert_eq!(found.total_faults, Some(63_488));
        assert_eq!(found.pages_migrated, Some(32_768));
        assert_eq!(found.faults[&0], NodeFaults { shared: Some(7), private: Some(0) });
        assert_eq!(found.faults[&1], NodeFaults { shared: Some(0), private: Some(63_488) });
    }

    #[test]
    fn a_sched_file_without_numa_lines_or_with_odd_ones_gives_what_it_can() {
        let bare = sched("cat (1, #threads: 1)\n---\nse.sum_exec_runtime : 0.449405\n");
        assert_eq!(bare, Sched { runtime: Some(449_405), ..Sched::default() });
        let none = sched("x (1, #threads: 1)\nnuma_preferred_nid : -1\ntotal_numa_faults : -4\n");
        assert_eq!((none.preferred_nid, none.total_faults), (Some(-1), None));
        let named = sched("total_numa_faults : 9 (1, #threads: 1)\n");
        assert_eq!(named, Sched::default());
        let odd = sched(
            "x\nnuma_faults node=4294967295 task_private=1\nnuma_faults task_private=1\nnuma_faults node=2 task_shared=99999999999999999999\n",
        );
        assert_eq!(odd.faults, BTreeMap::from([(2, NodeFaults::default())]));
        assert_eq!(sched(""), Sched::default());
    }

    #[test]
    fn milliseconds_are_read_exactly_or_not_at_all() {
        assert_eq!(millis_to_nanos("0.449405"), Some(449_405));
        assert_eq!(millis_to_nanos("12"), Some(12_000_000));
        assert_eq!(millis_to_nanos("12.5"), Some(12_500_000));
        for wrong in ["", "-1.0", ".5", "1.1234567", "1e3", "18446744073709551615"] {
            assert_eq!(millis_to_nanos(wrong), None, "{wrong}");
        }
        assert_eq!(schedstat_runtime("449405 0 1\n"), Some(449_405));
        assert_eq!(schedstat_runtime(""), None);
    }

    #[test]
    fn a_name_cannot_shift_the_fields_of_stat() {
        let fields = "S 1 10 10 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 20";
        for name in ["cat", "a) Z 1 1", "((", "x y"] {
            let found = stat(&format!("10 ({name}) {fields}\n"));
            assert_eq!(found, Some(Stat { state: 'S', start: 987_654 }), "{name}");
        }
        for wrong in ["", "10 (cat)", "10 (cat) S 1 2", "10 cat S"] {
            assert_eq!(stat(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pages_of_every_mapping_are_summed_by_node() {
        let text = "\
7f0000000000 default anon=32768 dirty=32768 active=0 N0=25849 N1=6919 kernelpagesize_kB=4
7f1000000000 bind:0-1 file=/tmp/N1\\0405 huge dirty=2 N0=2 kernelpagesize_kB=2048
7f2000000000 default stack anon=3 dirty=3 N1=3
7f3000000000 default file=/usr/lib/x.so N9=-4 N4294967295=1 Nx=1 N=1
";
        assert_eq!(numa_maps(text), BTreeMap::from([(0, 25_849 + 1_024), (1, 6_922)]));
        assert_eq!(numa_maps(""), BTreeMap::new());
        let huge = numa_maps("0 default N0=18446744073709551615 kernelpagesize_kB=1048576\n");
        assert_eq!(huge, BTreeMap::from([(0, u64::MAX)]));
    }

    #[test]
    fn lists_of_nodes_are_read_whole_or_not_at_all() {
        assert_eq!(id_list("0\n"), Some(vec![0]));
        assert_eq!(id_list("0-1,8\n"), Some(vec![0, 1, 8]));
        for wrong in ["", "0-", "1-0", "-1", "0-4294967295", "a"] {
            assert_eq!(id_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_nodes_memory_is_read_by_its_whole_name() {
        let text = "Node 0 MemTotal:       10053848 kB\nNode 0 MemFree:         7318256 kB\n";
        assert_eq!(node_kilobytes(text, "MemFree"), Some(7_318_256));
        assert_eq!(node_kilobytes(text, "MemTotal"), Some(10_053_848));
        assert_eq!(node_kilobytes(text, "Total"), None);
        assert_eq!(node_kilobytes("Node 0 MemFree: lots", "MemFree"), None);
    }

    #[test]
    fn the_tick_rate_is_the_number_and_not_the_choice() {
        assert_eq!(tick_rate("CONFIG_HZ_250=y\nCONFIG_HZ=250\n"), Some(250));
        assert_eq!(tick_rate("CONFIG_HZ_250=y\n"), None);
    }
}
