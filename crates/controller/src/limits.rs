//! Thresholds, dwell times and action parameters, and the rules they must keep.

use core::fmt;

use crate::actions::ScannerRequest;
use crate::amount::{Amount, Unit};

/// The keys of limits as a scenario writes them below its table of limits. Bands are lists: of RHF, MCR and DCJ
/// `[watch enter, watch exit, shock enter, shock exit]`, of the others `[enter, exit]`.
pub(crate) mod key {
    pub(crate) const RHF_WATCH: [&str; 2] = ["rhf[0]", "rhf[1]"];
    pub(crate) const RHF_SHOCK: [&str; 2] = ["rhf[2]", "rhf[3]"];
    pub(crate) const MCR_WATCH: [&str; 2] = ["mcr_kib_per_s[0]", "mcr_kib_per_s[1]"];
    pub(crate) const MCR_SHOCK: [&str; 2] = ["mcr_kib_per_s[2]", "mcr_kib_per_s[3]"];
    pub(crate) const DCJ_WATCH: [&str; 2] = ["dcj[0]", "dcj[1]"];
    pub(crate) const DCJ_SHOCK: [&str; 2] = ["dcj[2]", "dcj[3]"];
    pub(crate) const QDL: [&str; 2] = ["qdl[0]", "qdl[1]"];
    pub(crate) const DEADLINE_MISS: [&str; 2] = ["deadline_miss[0]", "deadline_miss[1]"];
    pub(crate) const DWELL: &str = "dwell";
    pub(crate) const SHOCK_LIMIT: &str = "shock_limit";
    pub(crate) const RELEASE: &str = "release";
    pub(crate) const STALE_LIMIT: &str = "stale_limit";
    pub(crate) const CHILD_SPACING: &str = "child_spacing";
    pub(crate) const PARTICIPATION_CAP: &str = "participation_cap";
    pub(crate) const SCAN_SIZE: &str = "scan_size";
}

/// A metric's hysteresis: strictly over `enter` is over, strictly under `exit` is calm, between them is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Band {
    /// Over this the metric presses upwards. Unit of the metric.
    pub enter: u64,
    /// Under this the metric is calm. Unit of the metric.
    pub exit: u64,
}

impl Band {
    pub(crate) fn is_over(self, value: u64) -> bool {
        value > self.enter
    }

    pub(crate) fn is_under(self, value: u64) -> bool {
        value < self.exit
    }
}

/// The bands of the three metrics that WATCH and SHOCK look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Thresholds {
    /// Remote hint-fault ratio, parts per million.
    pub rhf_ppm: Band,
    /// Migration-copy rate, KiB per second.
    pub mcr_kib_per_s: Band,
    /// Dispatch-cadence jitter, parts per million.
    pub dcj_ppm: Band,
}

impl Thresholds {
    /// RHF, MCR and DCJ, in the order of [`crate::Observation::pressures`].
    pub(crate) fn bands(&self) -> [Band; 3] {
        [self.rhf_ppm, self.mcr_kib_per_s, self.dcj_ppm]
    }
}

/// What the states ask for when they act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct ActionLimits {
    /// WATCH and up: tolerance of the spacing between children, parts per million of the normal one, 1 000 000 or more.
    pub child_spacing_ppm: u32,
    /// WATCH and up: shortest time between two reprices of a passive child, nanoseconds.
    pub min_reprice_interval_ns: u64,
    /// SHOCK and up: ceiling of the share of the market's volume, 1 to 1 000 000 parts per million.
    pub participation_cap_ppm: u32,
    /// SHOCK and up: how far the host is asked to slow the scanner.
    pub scanner: ScannerRequest,
    /// SAFE: whether the host permits balancing off for the dispatch process.
    pub balancing_off_permitted: bool,
}

/// Everything the controller is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Limits {
    /// Any one metric over its band leads to WATCH.
    pub watch: Thresholds,
    /// Any two metrics over their bands lead to SHOCK.
    pub shock: Thresholds,
    /// Queue-decay loss, parts per million: over its band leads to SHOCK.
    pub qdl_ppm: Band,
    /// Deadline misses, parts per million: over their band lead to SAFE.
    pub deadline_miss_ppm: Band,
    /// Calm buckets before WATCH or SHOCK is left downwards.
    pub dwell: u32,
    /// SHOCK that lasts longer than this many buckets leads to SAFE.
    pub shock_limit: u32,
    /// The release rule: buckets with fresh telemetry and every metric under its watch exit before SAFE is left.
    pub release: u32,
    /// This many blind buckets in a row lead to SAFE.
    pub stale_limit: u32,
    /// Parameters of the actions.
    pub actions: ActionLimits,
}

/// A limit that could not work, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsError {
    /// The key below the table of limits, as a scenario writes it, such as `rhf[1]`.
    pub key: &'static str,
    /// Which of the thresholds of a band it is, such as `watch exit`; empty for what is no band.
    pub which: &'static str,
    /// The value found there.
    pub found: Amount,
    /// What would be right, such as `below`.
    pub expected: &'static str,
    /// The value `expected` refers to.
    pub bound: Amount,
    /// The key of the limit that this value stands at, if it is one.
    pub bound_key: Option<&'static str>,
    /// Why.
    pub reason: &'static str,
}

impl LimitsError {
    /// The error without its key, for whoever names the key with its place.
    #[must_use]
    pub fn problem(&self) -> impl fmt::Display + use<> {
        Problem(*self)
    }
}

struct Problem(LimitsError);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitsError { key: _, which, found, expected, bound, bound_key, reason } = &self.0;
        match *which {
            "" => write!(f, "{found} cannot work")?,
            which => write!(f, "{found} ({which}) cannot work")?,
        }
        match bound_key {
            Some(key) => write!(f, ": expected {expected} {key} = {bound}")?,
            None => write!(f, ": expected {expected} {bound}")?,
        }
        write!(f, ", because {reason}")
    }
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.problem())
    }
}

impl core::error::Error for LimitsError {}

/// A limit with its key, as far as checks need to know it.
#[derive(Clone, Copy)]
struct Written {
    key: &'static str,
    which: &'static str,
    amount: Amount,
}

/// A band with the keys of its two thresholds.
struct WrittenBand {
    enter: Written,
    exit: Written,
    /// The largest value that there can be.
    ceiling: u64,
}

impl WrittenBand {
    fn new(band: Band, keys: [&'static str; 2], which: [&'static str; 2], unit: Unit) -> WrittenBand {
        let written =
            |at: usize, value| Written { key: keys[at], which: which[at], amount: Amount { value, unit } };
        WrittenBand { enter: written(0, band.enter), exit: written(1, band.exit), ceiling: u64::MAX }
    }

    fn at_most_the_whole(self) -> WrittenBand {
        WrittenBand { ceiling: 1_000_000, ..self }
    }
}

const ENTER_EXIT: [&str; 2] = ["enter", "exit"];
const WATCH: [&str; 2] = ["watch enter", "watch exit"];
const SHOCK: [&str; 2] = ["shock enter", "shock exit"];

impl Limits {
    /// Checks that the thresholds have hysteresis, the levels are ordered and the times can be met.
    ///
    /// # Errors
    /// The first limit that breaks a rule.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let watch = self.watch.written([key::RHF_WATCH, key::MCR_WATCH, key::DCJ_WATCH], WATCH);
        let shock = self.shock.written([key::RHF_SHOCK, key::MCR_SHOCK, key::DCJ_SHOCK], SHOCK);
        watch.iter().zip(&shock).try_for_each(|(watch, shock)| {
            validate_band(watch)?;
            validate_band(shock)?;
            let reason = "a level may not be harder to reach, or to hold, than the level above it";
            at_most(watch.enter, shock.enter, reason)?;
            at_most(watch.exit, shock.exit, reason)
        })?;
        validate_band(&WrittenBand::new(self.qdl_ppm, key::QDL, ENTER_EXIT, Unit::Ppm))?;
        let misses = WrittenBand::new(self.deadline_miss_ppm, key::DEADLINE_MISS, ENTER_EXIT, Unit::Ppm);
        validate_band(&misses.at_most_the_whole())?;
        self.validate_times()?;
        self.validate_actions()
    }

    fn validate_times(&self) -> Result<(), LimitsError> {
        let dwell = plain(key::DWELL, self.dwell, Unit::Buckets);
        at_least(dwell, 1, "without a minimum dwell the regime flips at every bucket")?;
        let shock_limit = plain(key::SHOCK_LIMIT, self.shock_limit, Unit::Buckets);
        let reason = "SHOCK that ends in SAFE before the dwell is over could never be left downwards";
        at_least_as(shock_limit, dwell, reason)?;
        let release = plain(key::RELEASE, self.release, Unit::Buckets);
        at_least_as(release, dwell, "the dwell binds every way down, the release included")?;
        let stale_limit = plain(key::STALE_LIMIT, self.stale_limit, Unit::Buckets);
        at_least(stale_limit, 1, "fresh telemetry is no reason for SAFE")
    }

    fn validate_actions(&self) -> Result<(), LimitsError> {
        let actions = &self.actions;
        let spacing = plain(key::CHILD_SPACING, actions.child_spacing_ppm, Unit::Ppm);
        at_least(spacing, 1_000_000, "WATCH widens the tolerance of the spacing and never narrows it")?;
        let cap = plain(key::PARTICIPATION_CAP, actions.participation_cap_ppm, Unit::Ppm);
        at_least(cap, 1, "a cap of nothing stops the parent for good")?;
        let whole = Amount { value: 1_000_000, unit: Unit::Ppm };
        keep(
            cap.amount.value <= whole.value,
            cap,
            "at most",
            (whole, None),
            "no share is over the whole volume",
        )?;
        let size = plain(key::SCAN_SIZE, actions.scanner.scan_size_mb, Unit::Mib);
        at_least(size, 1, "the kernel takes no empty scan window")
    }
}

impl Thresholds {
    fn written(&self, [rhf, mcr, dcj]: [[&'static str; 2]; 3], which: [&'static str; 2]) -> [WrittenBand; 3] {
        [
            WrittenBand::new(self.rhf_ppm, rhf, which, Unit::Ppm).at_most_the_whole(),
            WrittenBand::new(self.mcr_kib_per_s, mcr, which, Unit::KibPerSecond),
            WrittenBand::new(self.dcj_ppm, dcj, which, Unit::Ppm),
        ]
    }
}

fn validate_band(band: &WrittenBand) -> Result<(), LimitsError> {
    let WrittenBand { enter, exit, ceiling } = *band;
    at_least(exit, 1, "no metric is under zero, so the level could never be left")?;
    let reason = "without hysteresis the regime flips at every bucket";
    below(exit, (enter.amount, Some(enter.key)), reason)?;
    let ceiling = Amount { value: ceiling, ..enter.amount };
    below(enter, (ceiling, None), "no metric of this unit can be over it")
}

fn plain(key: &'static str, value: u32, unit: Unit) -> Written {
    Written { key, which: "", amount: Amount { value: value.into(), unit } }
}

type BoundOf = (Amount, Option<&'static str>);

fn below(found: Written, bound: BoundOf, reason: &'static str) -> Result<(), LimitsError> {
    keep(found.amount.value < bound.0.value, found, "a value below", bound, reason)
}

fn at_most(found: Written, bound: Written, reason: &'static str) -> Result<(), LimitsError> {
    keep(found.amount.value <= bound.amount.value, found, "at most", (bound.amount, Some(bound.key)), reason)
}

fn at_least(found: Written, bound: u64, reason: &'static str) -> Result<(), LimitsError> {
    let bound = Amount { value: bound, ..found.amount };
    keep(found.amount.value >= bound.value, found, "at least", (bound, None), reason)
}

fn at_least_as(found: Written, bound: Written, reason: &'static str) -> Result<(), LimitsError> {
    keep(found.amount.value >= bound.amount.value, found, "at least", (bound.amount, Some(bound.key)), reason)
}

fn keep(
    kept: bool,
    found: Written,
    expected: &'static str,
    (bound, bound_key): BoundOf,
    reason: &'static str,
) -> Result<(), LimitsError> {
    let Written { key, which, amount: found } = found;
    if kept { Ok(()) } else { Err(LimitsError { key, which, found, expected, bound, bound_key, reason }) }
}
