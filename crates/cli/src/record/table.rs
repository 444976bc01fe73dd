//! The rows of a recording, in the columns of the recorded kernel traces.

use std::collections::BTreeMap;

use super::text::{COUNTERS, Counters, LEVEL, NodeFaults, Sched};

/// What only a workload of one's own can say, and what only the kernel's memory holds: empty in a live recording.
const NOT_GIVEN_BEFORE: [&str; 4] = ["touches", "max_touch_ns", "max_gap_ns", "max_lag_ns"];
const NOT_GIVEN_PERIODS: [&str; 3] = ["node_stamp_ms", "scan_period_ms", "scan_period_max_ms"];
const NOT_GIVEN_LOCALITY: [&str; 3] = ["locality_remote", "locality_local", "locality_failed"];

/// Everything that is read at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Nanoseconds since the first row.
    pub(super) at: u64,
    pub(super) counters: Counters,
    /// Pages by node; on the rows that have it.
    pub(super) placement: Option<BTreeMap<u32, u64>>,
    /// One for each recorded thread, `None` once it has ended.
    pub(super) threads: Vec<Option<Sched>>,
}

/// Turns samples into lines.
pub(super) struct Table {
    nodes: Vec<u32>,
    threads: usize,
    /// Counters of the first row, which all others count from.
    origin: Counters,
}

impl Table {
    /// For these nodes and so many threads, with counters as differences from `origin`.
    pub(super) fn new(nodes: Vec<u32>, threads: usize, origin: Counters) -> Table {
        Table { nodes, threads, origin }
    }

    /// The line of column names.
    pub(super) fn header(&self) -> String {
        let mut columns: Vec<String> = vec!["time_ms".to_owned()];
        columns.extend(COUNTERS.map(str::to_owned));
        let mm = ["mm_numa_scan_seq", "mm_numa_scan_offset_mb", "mm_next_scan_in_ms"];
        columns.extend(mm.map(str::to_owned));
        columns.extend(self.nodes.iter().map(|node| format!("place_n{node}")));
        for thread in 0..self.threads {
            let mut names: Vec<String> = NOT_GIVEN_BEFORE.map(str::to_owned).to_vec();
            names.push("runtime_ms".to_owned());
            names.extend(NOT_GIVEN_PERIODS.map(str::to_owned));
            names.extend(["preferred_nid", "total_numa_faults", "pages_migrated"].map(str::to_owned));
            names.extend(NOT_GIVEN_LOCALITY.map(str::to_owned));
            for node in &self.nodes {
                names.extend([format!("faults_n{node}_shared"), format!("faults_n{node}_priv")]);
            }
            columns.extend(names.into_iter().map(|name| format!("t{thread}_{name}")));
        }
        line(&columns)
    }

    /// The line of one sample.
    pub(super) fn row(&self, sample: &Sample) -> String {
        let mut cells = vec![millis(sample.at)];
        for (place, name) in COUNTERS.into_iter().enumerate() {
            cells.push(match (sample.counters[place], self.origin[place]) {
                (Some(now), _) if name == LEVEL => now.to_string(),
                // A counter that fell is shown as it is; whoever reads the file can tell.
                (Some(now), Some(first)) => (i128::from(now) - i128::from(first)).to_string(),
                _ => String::new(),
            });
        }
        // All threads have the memory map in common.
        cells.push(shown(sample.threads.iter().flatten().find_map(|thread| thread.scan_seq)));
        cells.extend([String::new(), String::new()]);
        for node in &self.nodes {
            let pages = sample.placement.as_ref().map(|pages| pages.get(node).copied().unwrap_or(0));
            cells.push(shown(pages));
        }
        for thread in 0..self.threads {
            self.thread(sample.threads.get(thread).and_then(Option::as_ref), &mut cells);
        }
        line(&cells)
    }

    fn thread(&self, sched: Option<&Sched>, cells: &mut Vec<String>) {
        let empty = |columns: &[&str]| vec![String::new(); columns.len()];
        cells.extend(empty(&NOT_GIVEN_BEFORE));
        cells.push(sched.and_then(|sched| sched.runtime).map(millis).unwrap_or_default());
        cells.extend(empty(&NOT_GIVEN_PERIODS));
        cells.push(shown(sched.and_then(|sched| sched.preferred_nid)));
        cells.push(shown(sched.and_then(|sched| sched.total_faults)));
        cells.push(shown(sched.and_then(|sched| sched.pages_migrated)));
        cells.extend(empty(&NOT_GIVEN_LOCALITY));
        for node in &self.nodes {
            let faults = sched.and_then(|sched| sched.faults.get(node).copied());
            let NodeFaults { shared, private } = faults.unwrap_or_default();
            cells.extend([shown(shared), shown(private)]);
        }
    }
}

fn line(cells: &[String]) -> String {
    let mut line = cells.join(",");
    line.push('\n');
    line
}

fn shown(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Nanoseconds as milliseconds with three decimals, truncated.
fn millis(nanos: u64) -> String {
    let micros = nanos / 1_000;
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::text;

    /// The header of a recorded trace of one thread on two nodes.
    const TRACE: &str = include_str!("../../../../scenarios/recordings/a_seq_mt.csv");

    fn counters(text: &str) -> Counters {
        text::vmstat(text)
    }

    #[test]
    fn columns_are_those_of_the_recorded_traces() {
        let table = Table::new(vec![0, 1], 1, counters(""));
        assert_eq!(table.header().trim_end(), TRACE.lines().next().unwrap());
    }

    #[test]
    fn a_row_has_a_cell_for_each_column_and_nothing_where_nothing_is_given() {
        for (nodes, threads) in [(vec![], 0), (vec![0], 0), (vec![0, 1, 8], 3)] {
            let table = Table::new(nodes, threads, counters(""));
            let sample =
                Sample { at: 0, counters: counters(""), placement: None, threads: vec![None; threads] };
            let row = table.row(&sample);
            assert_eq!(row.matches(',').count(), table.header().matches(',').count());
            assert_eq!(row.trim_end().trim_end_matches(','), "0.000");
        }
    }

    #[test]
    fn counters_count_from_the_first_row_and_levels_do_not() {
        let table =
            Table::new(vec![], 0, counters("pgfault 100\nnr_isolated_anon 7\nnuma_hit 9\nnuma_miss 5\n"));
        let now = counters("pgfault 150\nnr_isolated_anon 3\nnuma_hit 8\nnuma_foreign 5\n");
        let row = table.row(&Sample { at: 100_123_999, counters: now, placement: None, threads: vec![] });
        let header = table.header();
        let cell = |name: &str| {
            let place = header.trim_end().split(',').position(|column| column == name).unwrap();
            row.trim_end().split(',').nth(place).unwrap().to_owned()
        };
        assert_eq!(cell("time_ms"), "100.123");
        assert_eq!(cell("pgfault"), "50");
        assert_eq!(cell("nr_isolated_anon"), "3");
        assert_eq!(cell("numa_hit"), "-1");
        assert_eq!(cell("numa_miss"), "");
        assert_eq!(cell("numa_foreign"), "", "a counter without a first reading has no difference");
    }

    #[test]
    fn a_threads_cells_stand_under_its_columns() {
        let table = Table::new(vec![0, 1], 2, counters(""));
        let sched = text::sched(
            "x\nse.sum_exec_runtime : 337.105000\nmm->numa_scan_seq : 6\nnuma_preferred_nid : -1\n\
             total_numa_faults : 12\nnuma_pages_migrated : 5\nnuma_faults node=1 task_private=7 task_shared=5\n",
        );
        let sample = Sample {
            at: 0,
            counters: counters(""),
            placement: Some(BTreeMap::from([(1, 40)])),
            threads: vec![None, Some(sched)],
        };
        let (header, row) = (table.header(), table.row(&sample));
        let pairs: Vec<(&str, &str)> = header
            .trim_end()
            .split(',')
            .zip(row.trim_end().split(','))
            .filter(|(_, cell)| !cell.is_empty())
            .collect();
        let expected = [
            ("time_ms", "0.000"),
            ("mm_numa_scan_seq", "6"),
            ("place_n0", "0"),
            ("place_n1", "40"),
            ("t1_runtime_ms", "337.105"),
            ("t1_preferred_nid", "-1"),
            ("t1_total_numa_faults", "12"),
            ("t1_pages_migrated", "5"),
            ("t1_faults_n1_shared", "5"),
            ("t1_faults_n1_priv", "7"),
        ];
        assert_eq!(pairs, expected);
    }
}
