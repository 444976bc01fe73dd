//! A recording of /proc/vmstat counters that drives the stalls of the dispatch path (in place of the modelled machine).
//!
//! ```text
//!   CSV ──Recording::parse()──► rows of counter differences ──RecordedHost::new(costs, dispatch share, seed)──► stalls
//!   hinting faults → H, migrated pages → M, PTE updates → D (attribution: A5)
//! ```
//!
//! The dispatch path bears a stated share of the host's events. Shares are rounded on the running total, so that no event
//! is lost or doubled however the recording is cut into rows.

use numashock_engine::{Nanos, Seed, Span, Stream};

use crate::counters::csv::{self, Wanted};
use crate::counters::{NAMES, Reading};
pub use crate::counters::{RecordingError, RecordingProblem};

/// The counters between two rows of a recording. The recording's first row is time zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// When the counters started to grow by the row's counts.
    pub from: Nanos,
    /// When they were read: later than `from`.
    pub until: Nanos,
    /// `numa_pte_updates`.
    pub pte_updates: u64,
    /// `numa_hint_faults`.
    pub hint_faults: u64,
    /// `numa_hint_faults_local`.
    pub hint_faults_local: u64,
    /// `numa_pages_migrated`.
    pub pages_migrated: u64,
    line: usize,
}

/// A recording, at least one row long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    file: String,
    rows: Vec<Row>,
}

/// Which mechanism owns a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordedOwner {
    /// H: a hinting fault.
    HintFault,
    /// M: a page's migration.
    MigrationCopy,
    /// D: a scan pass.
    DispatchJitter,
}

/// One stall of the dispatch path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordedStall {
    /// When it begins.
    pub at: Nanos,
    /// Who owns it.
    pub owner: RecordedOwner,
    /// How long it is.
    pub span: Span,
}

/// What one event of each kind costs the thread that bears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedCosts {
    /// One hinting fault.
    pub hint_fault: Span,
    /// One migrated page.
    pub migration_copy: Span,
    /// One PTE marked by a scan pass.
    pub pte_update: Span,
    /// The most PTEs that one pass marks: `numa_balancing_scan_size_mb` over the page size.
    pub scan_size: u64,
}

/// Stalls of a whole recording, row by row.
#[derive(Clone, Debug)]
pub struct RecordedHost {
    recording: Recording,
    costs: RecordedCosts,
    seed: Seed,
    /// Events on the dispatch path before each row, and after the last: one entry more than rows.
    borne: Vec<Borne>,
}

/// Running totals of the events that the dispatch path bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Borne {
    hint_faults: u64,
    pages_migrated: u64,
    pte_updates: u64,
}

/// More stalls than this in a row are refused, so that a damaged counter cannot ask for unbounded memory.
pub const MAX_STALLS_PER_ROW: u64 = 1 << 20;

/// The counters without which no stall can be told.
pub(crate) const NEEDED: [&str; 4] =
    ["numa_pte_updates", "numa_hint_faults", "numa_hint_faults_local", "numa_pages_migrated"];
pub(crate) const WHOLE_PPM: u32 = 1_000_000;

impl Recording {
    /// Reads a CSV with the columns `time_ms` (milliseconds, up to six decimals), `numa_pte_updates`, `numa_hint_faults`,
    /// `numa_hint_faults_local` and `numa_pages_migrated` (cumulative, from any origin). Other columns are ignored.
    /// `file` is only named in errors.
    ///
    /// # Errors
    /// The first line that cannot be read, or that goes back in time or count.
    pub fn parse(file: &str, text: &str) -> Result<Recording, RecordingError> {
        let readings = csv::read(file, text, Wanted::These(&NEEDED))?;
        let mut rows: Vec<Row> = Vec::with_capacity(readings.len() - 1);
        for pair in readings.windows(2) {
            let from = rows.last().map_or(Nanos::ZERO, |row| row.until);
            rows.push(difference(file, &pair[0], &pair[1], from)?);
        }
        Ok(Recording { file: file.to_owned(), rows })
    }

    /// The rows, in order of time, each beginning where the one before ends.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How long the recording is. It does not repeat: a run that is longer is for the caller to refuse.
    #[must_use]
    pub fn covers(&self) -> Span {
        self.rows.last().expect("a recording has a row").until.saturating_since(Nanos::ZERO)
    }
}

impl RecordedHost {
    /// Prices a recording. `dispatch_share_ppm` is the share of the host's events that the dispatch path bears.
    ///
    /// # Errors
    /// If the share is above the whole, a pass marks nothing, or a row asks for too many or too long stalls.
    pub fn new(
        recording: Recording,
        costs: RecordedCosts,
        dispatch_share_ppm: u32,
        seed: Seed,
    ) -> Result<RecordedHost, RecordingError> {
        let refuse = |line: usize, problem: RecordingProblem| RecordingError {
            file: recording.file.clone(),
            line,
            column: String::new(),
            problem,
        };
        if dispatch_share_ppm > WHOLE_PPM {
            return Err(refuse(0, RecordingProblem::ShareAboveWhole { ppm: dispatch_share_ppm }));
        }
        if costs.scan_size == 0 {
            return Err(refuse(0, RecordingProblem::NoScanSize));
        }
        let mut borne = vec![Borne::default()];
        let mut host = Borne::default();
        for row in &recording.rows {
            // Counters only grow, so the sum of their differences fits what the last of them fits.
            host.add(row);
            let total = host.share(dispatch_share_ppm);
            let before = *borne.last().expect("the first entry is there from the start");
            check_row(&costs, before, total).map_err(|problem| refuse(row.line, problem))?;
            borne.push(total);
        }
        Ok(RecordedHost { recording, costs, seed, borne })
    }

    /// The recording.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The stalls of one row, sorted by time. They depend on the row and the seed, not on what was asked before.
    ///
    /// A migrated page takes the time of a fault of its row, because the fault that finds the page copies it.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn stalls_in(&self, row: usize) -> Vec<RecordedStall> {
        let Row { from, until, .. } = self.recording.rows[row];
        let here = self.borne[row + 1].since(self.borne[row]);
        let length = until - from;
        let times =
            |component: &str| KeyedTimes { from, length, draws: self.seed.stream(component, row as u64) };
        let mut stalls = Vec::new();
        let kinds = [
            (RecordedOwner::HintFault, here.hint_faults, self.costs.hint_fault),
            (RecordedOwner::MigrationCopy, here.pages_migrated, self.costs.migration_copy),
        ];
        for (owner, count, span) in kinds {
            let mut times = times("recorded-host/fault");
            stalls.extend((0..count).map(|_| RecordedStall { at: times.next(), owner, span }));
        }
        let mut times = times("recorded-host/pass");
        let mut left = here.pte_updates;
        while left > 0 {
            let pass = left.min(self.costs.scan_size);
            let owner = RecordedOwner::DispatchJitter;
            stalls.push(RecordedStall { at: times.next(), owner, span: self.costs.pte_update * pass });
            left -= pass;
        }
        let sum: u128 = stalls.iter().map(|stall| u128::from(stall.span.0)).sum();
        assert!(sum == here.cost(&self.costs), "a row's stalls cost what its events cost");
        stalls.sort_unstable();
        stalls
    }

    /// All stalls, sorted by time, one row in memory at a time.
    pub fn stalls(&self) -> impl Iterator<Item = RecordedStall> + '_ {
        (0..self.recording.rows.len()).flat_map(|row| self.stalls_in(row))
    }

    /// How much stalled time an owner has over the whole recording: the truncated share of its events × their cost.
    #[must_use]
    pub fn total(&self, owner: RecordedOwner) -> u128 {
        let borne = self.borne.last().expect("a recording has a row");
        let (count, cost) = match owner {
            RecordedOwner::HintFault => (borne.hint_faults, self.costs.hint_fault),
            RecordedOwner::MigrationCopy => (borne.pages_migrated, self.costs.migration_copy),
            RecordedOwner::DispatchJitter => (borne.pte_updates, self.costs.pte_update),
        };
        u128::from(count) * u128::from(cost.0)
    }
}

/// Refuses a row that would give the dispatch path too much.
fn check_row(costs: &RecordedCosts, before: Borne, total: Borne) -> Result<(), RecordingProblem> {
    let here = total.since(before);
    let passes = here.pte_updates.div_ceil(costs.scan_size);
    let stalls = here.hint_faults.saturating_add(here.pages_migrated).saturating_add(passes);
    if stalls > MAX_STALLS_PER_ROW {
        return Err(RecordingProblem::TooManyStalls { stalls });
    }
    if here.cost(costs) > u128::from(u64::MAX) { Err(RecordingProblem::StallTooLong) } else { Ok(()) }
}

/// What happened between two readings.
fn difference(file: &str, before: &Reading, now: &Reading, from: Nanos) -> Result<Row, RecordingError> {
    let mut grown = [0; 4];
    for (grown, name) in grown.iter_mut().zip(NEEDED) {
        let place = NAMES.iter().position(|known| *known == name).expect("each is a counter");
        let value = |reading: &Reading| reading.counters[place].expect("an empty cell was refused");
        let [before, now_value] = [before, now]
            .map(|reading| u64::try_from(value(reading)).expect("numbers below zero were refused"));
        *grown = now_value.checked_sub(before).ok_or_else(|| RecordingError {
            file: file.to_owned(),
            line: now.line,
            column: name.to_owned(),
            problem: RecordingProblem::CounterWentBack { before, now: now_value },
        })?;
    }
    let [pte_updates, hint_faults, hint_faults_local, pages_migrated] = grown;
    Ok(Row {
        from,
        until: from + Span(now.at.abs_diff(before.at)),
        pte_updates,
        hint_faults,
        hint_faults_local,
        pages_migrated,
        line: now.line,
    })
}

/// Keyed times inside a row.
struct KeyedTimes {
    from: Nanos,
    length: Span,
    draws: Stream,
}

impl KeyedTimes {
    fn next(&mut self) -> Nanos {
        self.from + Span(self.draws.below(self.length.0))
    }
}

impl Borne {
    fn add(&mut self, row: &Row) {
        self.hint_faults += row.hint_faults;
        self.pages_migrated += row.pages_migrated;
        self.pte_updates += row.pte_updates;
    }

    fn share(self, ppm: u32) -> Borne {
        let share = |count: u64| {
            let part = u128::from(count) * u128::from(ppm) / u128::from(WHOLE_PPM);
            u64::try_from(part).expect("a share is at most the whole")
        };
        Borne {
            hint_faults: share(self.hint_faults),
            pages_migrated: share(self.pages_migrated),
            pte_updates: share(self.pte_updates),
        }
    }

    fn since(self, before: Borne) -> Borne {
        Borne {
            hint_faults: self.hint_faults - before.hint_faults,
            pages_migrated: self.pages_migrated - before.pages_migrated,
            pte_updates: self.pte_updates - before.pte_updates,
        }
    }

    fn cost(self, costs: &RecordedCosts) -> u128 {
        let cost = |count: u64, span: Span| u128::from(count).saturating_mul(u128::from(span.0));
        cost(self.hint_faults, costs.hint_fault)
            .saturating_add(cost(self.pages_migrated, costs.migration_copy))
            .saturating_add(cost(self.pte_updates, costs.pte_update))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    const HEADER: &str = "time_ms,numa_pte_updates,numa_huge_pte_updates,numa_hint_faults,numa_hint_faults_local,numa_pages_migrated,x";

    fn csv(rows: &[&str]) -> String {
        let mut text = format!("{HEADER}\n");
        rows.iter().for_each(|row| text += &format!("{row}\n"));
        text
    }

    fn parsed(rows: &[&str]) -> Result<Recording, RecordingError> {
        Recording::parse("host.csv", &csv(rows))
    }

    const COSTS: RecordedCosts = RecordedCosts {
        hint_fault: Span(1_500),
        migration_copy: Span(7_000),
        pte_update: Span(40),
        scan_size: 512,
    };

    fn host(rows: &[&str], share: u32) -> RecordedHost {
        RecordedHost::new(parsed(rows).unwrap(), COSTS, share, Seed(11)).unwrap()
    }

    const THREE: [&str; 4] =
        ["-5.0,0,0,0,0,0,", "100.1,1200,0,7,3,2,1", "200.1,1200,0,7,3,2,", "300.125,3000,0,1007,500,400,"];

    fn sum(stalls: impl IntoIterator<Item = RecordedStall>, owner: RecordedOwner) -> u128 {
        stalls.into_iter().filter(|stall| stall.owner == owner).map(|stall| u128::from(stall.span.0)).sum()
    }

    const OWNERS: [RecordedOwner; 3] =
        [RecordedOwner::HintFault, RecordedOwner::MigrationCopy, RecordedOwner::DispatchJitter];

    #[test]
    fn rows_are_differences_and_time_starts_at_the_first_row() {
        let recording = parsed(&THREE).unwrap();
        let row = recording.rows()[2];
        assert_eq!(recording.rows()[0].from, Nanos::ZERO);
        assert_eq!((row.from, row.until), (Nanos(205_100_000), Nanos(305_125_000)));
        assert_eq!(
            (row.pte_updates, row.hint_faults, row.hint_faults_local, row.pages_migrated),
            (1_800, 1_000, 497, 398)
        );
        assert_eq!(recording.covers(), Span(305_125_000));
    }

    #[test]
    fn absolute_counters_and_windows_line_ends_read_the_same() {
        let shifted = "1000.0,5,,70,30,20,\r\n1105.1,1205,,77,33,22,";
        let recording = Recording::parse("host.csv", &format!("\u{feff}{HEADER}\r\n{shifted}")).unwrap();
        let first = Row { line: 3, ..parsed(&THREE).unwrap().rows()[0] };
        assert_eq!(recording.rows(), [first]);
    }

    #[test]
    fn the_whole_share_gives_every_event_one_stall_inside_its_row() {
        let host = host(&THREE, 1_000_000);
        let first = host.stalls_in(0);
        let count = |owner| first.iter().filter(|stall| stall.owner == owner).count();
        assert_eq!(OWNERS.map(count), [7, 2, 3]);
        let mut passes: Vec<u64> =
            first.iter().filter(|stall| stall.owner == OWNERS[2]).map(|stall| stall.span.0 / 40).collect();
        passes.sort_unstable();
        assert_eq!(passes, [176, 512, 512]);
        assert_eq!(host.stalls_in(1), []);
        for (index, row) in host.recording().rows().iter().enumerate() {
            let stalls = host.stalls_in(index);
            assert!(stalls.iter().all(|stall| row.from <= stall.at && stall.at < row.until));
            assert!(stalls.is_sorted());
        }
        assert!(host.stalls().collect::<Vec<_>>().is_sorted());
    }

    #[test]
    fn a_page_migrates_within_a_fault() {
        let stalls = host(&THREE, 1_000_000).stalls_in(2);
        let at = |owner| stalls.iter().filter(move |stall| stall.owner == owner).map(|stall| stall.at);
        let faults: Vec<Nanos> = at(RecordedOwner::HintFault).collect();
        assert_eq!(at(RecordedOwner::MigrationCopy).count(), 398);
        assert!(at(RecordedOwner::MigrationCopy).all(|at| faults.contains(&at)));
    }

    #[test]
    fn shares_are_conserved_over_rows_whatever_they_are() {
        let mut draws = Seed(5).stream("recorded-host-test", 0);
        for case in 0..100 {
            let mut counters = [0u64; 4];
            let rows: Vec<String> = (0..20)
                .map(|index| {
                    counters.iter_mut().for_each(|counter| *counter += draws.below(50));
                    let [pte, faults, local, migrated] = counters;
                    format!("{},{pte},0,{faults},{local},{migrated},", index * 100)
                })
                .collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let recording = parsed(&rows).unwrap();
            let grown = recording.rows().iter().fold([0u64; 3], |sum, row| {
                [sum[0] + row.hint_faults, sum[1] + row.pages_migrated, sum[2] + row.pte_updates]
            });
            let share = draws.below(1_000_001) as u32;
            let host = RecordedHost::new(recording, COSTS, share, Seed(case)).unwrap();
            for ((owner, count), cost) in OWNERS.into_iter().zip(grown).zip([1_500, 7_000, 40]) {
                let expected = u128::from(count) * u128::from(share) / 1_000_000 * cost;
                assert_eq!(sum(host.stalls(), owner), expected);
                assert_eq!(host.total(owner), expected);
            }
        }
    }

    #[test]
    fn a_share_of_nothing_gives_no_stall() {
        assert_eq!(host(&THREE, 0).stalls().count(), 0);
    }

    #[test]
    fn stalls_depend_on_row_and_seed_only() {
        let host = host(&THREE, 700_000);
        let later = host.stalls_in(2);
        let all: Vec<RecordedStall> = host.stalls().collect();
        assert_eq!(all[all.len() - later.len()..], later);
        let other = RecordedHost::new(host.recording().clone(), COSTS, 700_000, Seed(12)).unwrap();
        assert_ne!(other.stalls_in(2), later);
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(Recording::parse("host.csv", text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_file_without_content_or_rows_is_refused() {
        let empty = "host.csv:1: the file is empty; expected a header with time_ms, numa_pte_updates, numa_hint_faults, \
                     numa_hint_faults_local, numa_pages_migrated; record the host again";
        refused("", empty);
        refused("\n\n", empty);
        let short = "expected two rows or more, since counters are read as differences";
        refused(&csv(&[]), &format!("host.csv:1: {short}"));
        refused(&csv(&["0,0,0,0,0,0,"]), &format!("host.csv:2: {short}"));
    }

    #[test]
    fn a_header_without_a_needed_column_is_refused_with_its_name() {
        let text = csv(&THREE).replace("numa_hint_faults_local", "numa_local");
        refused(
            &text,
            "host.csv:1: column numa_hint_faults_local: not in the header; record this counter too, or rename the \
             column that holds it",
        );
        let text = csv(&THREE).replace(",x", ",time_ms");
        refused(
            &text,
            "host.csv:1: column time_ms: twice in the header; expected once; remove or rename one",
        );
    }

    #[test]
    fn a_last_row_cut_short_is_told_from_a_row_of_the_wrong_width() {
        let cut = |cells, problem: &str| format!("host.csv:3: {cells}{problem}");
        let truncated =
            "the last row is cut short after 3 of 7 cells or has no line end; delete or complete it";
        refused(&csv(&["0,0,0,0,0,0,", "1,0,0"]), &cut("", truncated));
        refused(csv(&["0,0,0,0,0,0,", "1,0,0"]).trim_end(), &cut("", truncated));
        let wide = "8 cells; expected 7 as in the header; correct or delete the row";
        refused(&csv(&["0,0,0,0,0,0,", "1,0,0,0,0,0,,"]), &cut("", wide));
        let narrow = "1 cells; expected 7 as in the header; correct or delete the row";
        refused(&csv(&["0,0,0,0,0,0,", "", "1,0,0,0,0,0,"]), &cut("", narrow));
    }

    #[test]
    fn a_needed_last_cell_without_a_line_end_may_lack_digits() {
        let header = "time_ms,numa_pte_updates,numa_hint_faults,numa_hint_faults_local,numa_pages_migrated";
        let text = format!("{header}\n0,0,0,0,0\n1,0,0,0,12");
        let error = Recording::parse("host.csv", &text).unwrap_err();
        assert_eq!(error.problem, RecordingProblem::TruncatedRow { cells: 5, columns: 5 });
        assert!(Recording::parse("host.csv", &format!("{text}\n")).is_ok());
        // The last column of `csv` is ignored, so that nothing that matters can be missing.
        assert!(Recording::parse("host.csv", csv(&THREE).trim_end()).is_ok());
    }

    #[test]
    fn cells_that_are_no_numbers_are_refused_only_where_they_are_needed() {
        let problem = |row: &str| {
            let error = parsed(&["0,0,0,0,0,0,", row]).unwrap_err();
            (error.line, error.column, error.problem)
        };
        let not_a_number = |found: &str| RecordingProblem::NotANumber { found: found.to_owned() };
        let faults = || "numa_hint_faults".to_owned();
        assert_eq!(problem("1,0,0,,0,0,"), (3, faults(), RecordingProblem::EmptyCell));
        assert_eq!(problem("1,0,0,-1,0,0,"), (3, faults(), not_a_number("-1")));
        assert_eq!(problem("1,0,0,1.5,0,0,"), (3, faults(), not_a_number("1.5")));
        for time in ["1e3", "1.", ".5", "1.1234567", "nan", "--1", "+-1", "99999999999999999999"] {
            assert_eq!(problem(&format!("{time},0,0,0,0,0,")), (3, "time_ms".to_owned(), not_a_number(time)));
        }
        assert!(parsed(&["0,0,huge,0,0,0,?", "1,0,,0,0,0,"]).is_ok());
    }

    #[test]
    fn time_and_counters_never_go_back() {
        let times = parsed(&["0,0,0,0,0,0,", "1,0,0,0,0,0,", "1.0,0,0,0,0,0,"]).unwrap_err();
        assert_eq!((times.line, times.problem), (4, RecordingProblem::TimeNotLater));
        let counters = parsed(&["0,9,0,0,0,0,", "1,8,0,0,0,0,"]).unwrap_err();
        assert_eq!(
            counters.to_string(),
            "host.csv:3: column numa_pte_updates: fell from 9 to 8; expected a counter that only grows; split the file \
             where the host rebooted"
        );
    }

    #[test]
    fn a_damaged_counter_cannot_ask_for_unbounded_stalls() {
        let huge = parsed(&["0,0,0,0,0,0,", "1,0,0,18446744073709551615,0,18446744073709551615,"]).unwrap();
        let new = |recording: &Recording, share| RecordedHost::new(recording.clone(), COSTS, share, Seed(1));
        let error = new(&huge, 1_000_000).unwrap_err();
        assert_eq!((error.line, error.problem), (3, RecordingProblem::TooManyStalls { stalls: u64::MAX }));
        let passes = parsed(&["0,0,0,0,0,0,", "1,18446744073709551615,0,0,0,0,"]).unwrap();
        assert!(matches!(new(&passes, 1).unwrap_err().problem, RecordingProblem::TooManyStalls { .. }));
        let endless = RecordedCosts { scan_size: u64::MAX, ..COSTS };
        let error = RecordedHost::new(passes, endless, 1_000_000, Seed(1)).unwrap_err();
        assert_eq!(error.problem, RecordingProblem::StallTooLong);
    }

    #[test]
    fn shares_and_passes_that_make_no_sense_are_refused() {
        let recording = parsed(&THREE).unwrap();
        let above = RecordedHost::new(recording.clone(), COSTS, 1_000_001, Seed(1)).unwrap_err();
        assert_eq!(
            above.to_string(),
            "host.csv: dispatch_share is 1000001 parts per million; expected at most 1000000"
        );
        let no_pass =
            RecordedHost::new(recording, RecordedCosts { scan_size: 0, ..COSTS }, 1, Seed(1)).unwrap_err();
        assert_eq!(no_pass.problem, RecordingProblem::NoScanSize);
    }
}
