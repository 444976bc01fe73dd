//! What a case may ask for: more than any comparison needs, and so little that every case ends.

use core::fmt::Display;

use super::Wrong;

/// Samples of a case.
pub(super) const SAMPLES_MAX: u64 = 100_000_000_000;
/// Events of a case, or other steps that take as long.
pub(super) const EVENTS_MAX: f64 = 1e11;
/// Events of one sample: a path's queues are held in memory.
const SAMPLE_EVENTS_MAX: f64 = 1e6;
/// Simulated seconds of one run: a clock of nanoseconds ends at 1.8e10.
const SECONDS_MAX: f64 = 1e8;
/// Entries of a list.
const ENTRIES_MAX: usize = 10_000;

/// What the whole sample of a case asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    /// The key `samples`; none if nothing is drawn.
    pub(super) samples: Option<u64>,
    /// The fewest from which standard errors can be told.
    pub(super) least: u64,
    /// Events of all samples together, about.
    pub(super) events: f64,
    /// Events of one sample, about, where it is held in memory; otherwise 0.
    pub(super) each: f64,
    /// Simulated seconds of one run, about.
    pub(super) seconds: f64,
    /// The key that decides how many events a sample has.
    pub(super) key: &'static str,
}

impl Demand {
    /// The check that every kind shares.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if let Some(samples) = self.samples {
            if samples < self.least.max(1) {
                let problem = format!(
                    "expected at least {}, from which standard errors can be told, found {samples}",
                    self.least.max(1)
                );
                return Err(Wrong::new("samples", problem));
            }
            if samples > SAMPLES_MAX {
                let problem = format!(
                    "expected at most {SAMPLES_MAX}, found {samples}: ask for a tolerance that fewer can show"
                );
                return Err(Wrong::new("samples", problem));
            }
        }
        // What is not a number is too much as well.
        let over = |value: f64, most: f64| value.is_nan() || value > most;
        if over(self.seconds, SECONDS_MAX) {
            let problem = format!(
                "a run takes about {:.1e} simulated seconds, expected at most {SECONDS_MAX:.0e}: write the case in a shorter unit of time",
                self.seconds
            );
            return Err(Wrong::new(self.key, problem));
        }
        if over(self.each, SAMPLE_EVENTS_MAX) {
            let problem = format!(
                "a single sample takes about {:.1e} events, expected at most {SAMPLE_EVENTS_MAX:.0e}: change the rates or shorten the list so that it ends earlier",
                self.each
            );
            return Err(Wrong::new(self.key, problem));
        }
        if over(self.events, EVENTS_MAX) {
            let problem = format!(
                "the case takes about {:.1e} events, expected at most {EVENTS_MAX:.0e}: lower samples or what a sample takes ({})",
                self.events, self.key
            );
            return Err(Wrong::new("samples", problem));
        }
        Ok(())
    }
}

/// Refuses a list with too many entries, one that is not `good`, or one that stands twice.
pub(super) fn entries<T: PartialEq>(
    key: &str,
    list: &[T],
    wanted: impl Display,
    good: impl Fn(&T) -> bool,
) -> Result<(), Wrong> {
    if list.len() > ENTRIES_MAX {
        return Err(Wrong::new(key, format!("expected at most {ENTRIES_MAX} entries, found {}", list.len())));
    }
    for (index, entry) in list.iter().enumerate() {
        let at = format!("{key}[{index}]");
        if !good(entry) {
            return Err(Wrong::new(&at, format!("expected {wanted}")));
        }
        if list[..index].contains(entry) {
            return Err(Wrong::new(&at, format!("stands twice in {key}: delete one of the two")));
        }
    }
    Ok(())
}

/// The same for a list that says what is compared: it cannot be empty.
pub(super) fn some_entries<T: PartialEq>(
    key: &str,
    list: &[T],
    wanted: impl Display,
    good: impl Fn(&T) -> bool,
) -> Result<(), Wrong> {
    if list.is_empty() {
        return Err(Wrong::new(key, format!("expected at least one entry, {wanted}")));
    }
    entries(key, list, wanted, good)
}
