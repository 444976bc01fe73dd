//! Counters of /proc/vmstat over time, whatever file they come from (playbook: 4).
//!
//! ```text
//!   recorded kernel, `record`, `host --csv` ──csv──┐
//!   snapshots of /proc/vmstat with times ──vmstat──┼──► Series: readings ──buckets()──► growth per bucket
//!   buckets of a results folder ──from_growth()────┘
//! ```
//!
//! A reading holds what the counters stood at, from any origin. A value that is not there is missing, never 0.

mod buckets;
pub(crate) mod csv;
mod error;
mod vmstat;

pub use buckets::{CounterBucket, Slack};
pub use error::{RecordingError, RecordingProblem};
pub use vmstat::{instant, values as vmstat_values};

use csv::Wanted;

/// The counters, by their names in /proc/vmstat.
pub const NAMES: [&str; 20] = [
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
    "pgpromote_candidate_nrl",
    "numa_hit",
    "numa_miss",
    "numa_foreign",
    "numa_interleave",
    "numa_local",
    "numa_other",
    "numa_task_migrated",
    "numa_task_swapped",
    "pgfault",
];

/// A value for each of [`NAMES`]; `None` where it is missing. Recordings that count from their first row can hold a value
/// below zero, where the counter fell.
pub type Counters = [Option<i128>; NAMES.len()];

/// The counters at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When, in nanoseconds of the series' clock.
    pub at: i64,
    /// The line it stands on, or begins on.
    pub line: usize,
    /// What they stood at.
    pub counters: Counters,
}

/// What the growth over one span of time is known to be, for [`Series::from_growth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its beginning.
    pub from: i64,
    /// Its end.
    pub until: i64,
    /// Its row.
    pub line: usize,
    /// Whether anybody could read the counters at both ends.
    pub seen: bool,
    /// The growth.
    pub counters: Counters,
}

/// A counter that stood lower than before: the host rebooted, or the counter wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fall {
    /// The first reading after it, as a place in the series.
    pub reading: usize,
    /// Which counter, as a place in [`NAMES`].
    pub counter: usize,
    /// What it stood at before.
    pub before: i128,
    /// What it stood at then.
    pub now: i128,
}

/// Two readings that lie far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last reading before it.
    pub from: i64,
    /// The first one after it.
    pub until: i64,
}

/// Which clock the times of a series are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    Unix,
    /// From an origin of its own: the start of a recording or of a run.
    Own,
}

/// Times after this many nanoseconds (1973-03-03) can only have been counted from 1970.
const UNIX_FROM: i64 = 100_000_000_000_000_000;

/// Counters over time, at least two readings, each later than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    file: String,
    readings: Vec<Reading>,
    falls: Vec<Fall>,
    /// Snapshots at the end that were left out, because they were cut short.
    cut: usize,
}

impl Series {
    /// Reads a CSV or snapshots of /proc/vmstat; which of them, the first line tells. `file` is only named in errors.
    ///
    /// A CSV has a column `time_ms` (milliseconds, up to six decimals) or `time_ns` and counters from any origin, or a
    /// column `second` and the growth of each second until then. Other columns are ignored.
    ///
    /// Snapshots are lines `name value`, each snapshot after a line with its time: seconds with up to nine decimals
    /// (`date +%s.%N`), nanoseconds (`date +%s%N`), RFC 3339 (`date -Ins`), any of them after `timestamp`, or
    /// `timestamp_ns N`. Names that are not in [`NAMES`] are ignored, and so is what follows a `#` and is no time.
    ///
    /// # Errors
    /// The first line that cannot be read, or that is not later than the one before.
    pub fn parse(file: &str, text: &str) -> Result<Series, RecordingError> {
        if csv::is_table(text) || text.trim().is_empty() {
            return Ok(Series::new(file, csv::read(file, text, Wanted::All)?, 0));
        }
        let (readings, cut) = vmstat::read(file, text)?;
        Ok(Series::new(file, readings, cut))
    }

    /// From growths that follow on each other, each from the end of the one before.
    ///
    /// A time at which neither the span before nor the one after was seen has a reading without values.
    ///
    /// # Errors
    /// If there is none, or one does not begin where the one before ends.
    pub fn from_growth(file: &str, spans: &[Grown]) -> Result<Series, RecordingError> {
        let refuse =
            |line, problem| RecordingError { file: file.to_owned(), line, column: String::new(), problem };
        let first = spans.first().ok_or_else(|| refuse(1, RecordingProblem::TooShort))?;
        let mut sums = first.counters.map(|value| value.map(|_| 0));
        let mut readings = Vec::with_capacity(spans.len() + 1);
        for (index, span) in spans.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| &spans[before]);
            if before.is_some_and(|before| before.until != span.from) || span.until <= span.from {
                return Err(refuse(span.line, RecordingProblem::RowsApart));
            }
            let seen = span.seen || before.is_some_and(|before| before.seen);
            let counters = if seen { sums } else { [None; NAMES.len()] };
            readings.push(Reading { at: span.from, line: span.line, counters });
            for (sum, grown) in sums.iter_mut().zip(&span.counters) {
                *sum = sum.zip(*grown).map(|(sum, grown)| sum + grown);
            }
        }
        let last = spans.last().expect("there is one");
        let counters = if last.seen { sums } else { [None; NAMES.len()] };
        readings.push(Reading { at: last.until, line: last.line, counters });
        Ok(Series::new(file, readings, 0))
    }

    fn new(file: &str, readings: Vec<Reading>, cut: usize) -> Series {
        let mut falls = Vec::new();
        let mut before: Counters = [None; NAMES.len()];
        for (place, reading) in readings.iter().enumerate() {
            for counter in 0..NAMES.len() {
                let Some(now) = reading.counters[counter] else { continue };
                if let Some(before) = before[counter].filter(|before| now < *before) {
                    falls.push(Fall { reading: place, counter, before, now });
                }
                before[counter] = Some(now);
            }
        }
        Series { file: file.to_owned(), readings, falls, cut }
    }

    /// The file it was read from, as the caller named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The readings, in order of time.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Snapshots at the end that were left out, because they were cut short.
    #[must_use]
    pub fn cut_short(&self) -> usize {
        self.cut
    }

    /// Every counter that fell, in order of time.
    #[must_use]
    pub fn falls(&self) -> &[Fall] {
        &self.falls
    }

    /// Whose time it is: a time of this century is counted from 1970.
    #[must_use]
    pub fn clock(&self) -> Clock {
        if self.readings[0].at >= UNIX_FROM { Clock::Unix } else { Clock::Own }
    }

    /// The same readings `by` nanoseconds later.
    #[must_use]
    pub fn moved(mut self, by: i64) -> Series {
        for reading in &mut self.readings {
            // Within half the range, any two times can be subtracted.
            reading.at = reading.at.saturating_add(by).clamp(-(i64::MAX / 2), i64::MAX / 2);
        }
        self
    }

    /// The counters that have a value anywhere, as places in [`NAMES`].
    #[must_use]
    pub fn present(&self) -> Vec<usize> {
        let has = |place: &usize| self.readings.iter().any(|reading| reading.counters[*place].is_some());
        (0..NAMES.len()).filter(has).collect()
    }

    /// Readings that lie more than `longest` nanoseconds apart. A reading without any value is none, but the series
    /// reaches from the first to the last of whatever kind.
    #[must_use]
    pub fn gaps(&self, longest: i64) -> Vec<Gap> {
        let told = self.readings.iter().filter(|reading| reading.counters.iter().any(Option::is_some));
        let ends = [self.readings.first(), self.readings.last()].map(|end| end.map(|reading| reading.at));
        let times = told.map(|reading| reading.at);
        let times: Vec<i64> = ends[0].into_iter().chain(times).chain(ends[1]).collect();
        let apart = times.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) > longest);
        apart.map(|pair| Gap { from: pair[0], until: pair[1] }).collect()
    }

    /// The median distance of two readings, nanoseconds.
    #[must_use]
    pub fn spacing(&self) -> i64 {
        let mut apart: Vec<i64> = self.readings.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        apart.sort_unstable();
        apart[apart.len() / 2]
    }

    /// What a counter grew by between two readings; `None` where it is missing at either, or fell between.
    #[must_use]
    pub fn growth(&self, from: usize, until: usize, counter: usize) -> Option<u64> {
        let fell = |fall: &Fall| fall.counter == counter && from < fall.reading && fall.reading <= until;
        let first = self.falls.partition_point(|fall| fall.reading <= from);
        if self.falls[first..].iter().take_while(|fall| fall.reading <= until).any(fell) {
            return None;
        }
        let [before, now] = [from, until].map(|place| self.readings[place].counters[counter]);
        u64::try_from(now? - before?).ok()
    }
}

/// A decimal number times ten to the power of `places`, exactly; `None` if it has more decimals or is none.
pub(crate) fn decimal(text: &str, places: usize) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(decimals) || decimals.len() > places {
        return None;
    }
    let part: i64 = format!("{decimals:0<places$}").parse().ok()?;
    let unit = 10i64.checked_pow(u32::try_from(places).ok()?)?;
    let value = whole.parse::<i64>().ok()?.checked_mul(unit)?.checked_add(part)?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests;
