//! Thresholds, dwell times and action parameters, and the rules they must keep.

use core::fmt;

use crate::actions::ScannerRequest;

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
    /// The key within the controller's table, such as `watch.rhf_ppm.exit`.
    pub key: &'static str,
    /// The value found there.
    pub found: u64,
    /// What would be right, such as `below`.
    pub expected: &'static str,
    /// The value `expected` refers to.
    pub bound: u64,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitsError { key, found, expected, bound, reason } = self;
        write!(f, "{key} = {found}: expected {expected} {bound}, because {reason}")
    }
}

impl core::error::Error for LimitsError {}

impl Limits {
    /// Checks that the thresholds have hysteresis, the levels are ordered and the times can be met.
    ///
    /// # Errors
    /// The first limit that breaks a rule.
    pub fn validate(&self) -> Result<(), LimitsError> {
        self.validate_bands()?;
        self.validate_order()?;
        self.validate_times()?;
        self.validate_actions()
    }

    fn validate_bands(&self) -> Result<(), LimitsError> {
        let share = 1_000_000;
        let bands = [
            ("watch.rhf_ppm.enter", "watch.rhf_ppm.exit", self.watch.rhf_ppm, share),
            ("watch.mcr_kib_per_s.enter", "watch.mcr_kib_per_s.exit", self.watch.mcr_kib_per_s, u64::MAX),
            ("watch.dcj_ppm.enter", "watch.dcj_ppm.exit", self.watch.dcj_ppm, u64::MAX),
            ("shock.rhf_ppm.enter", "shock.rhf_ppm.exit", self.shock.rhf_ppm, share),
            ("shock.mcr_kib_per_s.enter", "shock.mcr_kib_per_s.exit", self.shock.mcr_kib_per_s, u64::MAX),
            ("shock.dcj_ppm.enter", "shock.dcj_ppm.exit", self.shock.dcj_ppm, u64::MAX),
            ("qdl_ppm.enter", "qdl_ppm.exit", self.qdl_ppm, u64::MAX),
            ("deadline_miss_ppm.enter", "deadline_miss_ppm.exit", self.deadline_miss_ppm, share),
        ];
        for (enter, exit, band, ceiling) in bands {
            at_least(exit, band.exit, 1, "no metric is under zero, so the level could never be left")?;
            below(exit, band.exit, band.enter, "without hysteresis the regime flips at every bucket")?;
            below(enter, band.enter, ceiling, "no metric of this unit can be over it")?;
        }
        Ok(())
    }

    fn validate_order(&self) -> Result<(), LimitsError> {
        let reason = "a level may not be harder to reach, or to hold, than the level above it";
        let keys = [
            ("watch.rhf_ppm.enter", "watch.rhf_ppm.exit"),
            ("watch.mcr_kib_per_s.enter", "watch.mcr_kib_per_s.exit"),
            ("watch.dcj_ppm.enter", "watch.dcj_ppm.exit"),
        ];
        for ((enter, exit), (watch, shock)) in
            keys.into_iter().zip(self.watch.bands().into_iter().zip(self.shock.bands()))
        {
            at_most(enter, watch.enter, shock.enter, reason)?;
            at_most(exit, watch.exit, shock.exit, reason)?;
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), LimitsError> {
        let dwell = u64::from(self.dwell);
        at_least("dwell", dwell, 1, "without a minimum dwell the regime flips at every bucket")?;
        let reason = "SHOCK that ends in SAFE before the dwell is over could never be left downwards";
        at_least("shock_limit", self.shock_limit.into(), dwell, reason)?;
        at_least(
            "release",
            self.release.into(),
            dwell,
            "the dwell binds every way down, the release included",
        )?;
        at_least("stale_limit", self.stale_limit.into(), 1, "fresh telemetry is no reason for SAFE")
    }

    fn validate_actions(&self) -> Result<(), LimitsError> {
        let actions = &self.actions;
        let spacing = u64::from(actions.child_spacing_ppm);
        let cap = u64::from(actions.participation_cap_ppm);
        let reason = "WATCH widens the tolerance of the spacing and never narrows it";
        at_least("actions.child_spacing_ppm", spacing, 1_000_000, reason)?;
        at_least("actions.participation_cap_ppm", cap, 1, "a cap of nothing stops the parent for good")?;
        at_most("actions.participation_cap_ppm", cap, 1_000_000, "no share is over the whole volume")?;
        let size = u64::from(actions.scanner.scan_size_mb);
        at_least("actions.scanner.scan_size_mb", size, 1, "the kernel takes no empty scan window")
    }
}

fn below(key: &'static str, found: u64, bound: u64, reason: &'static str) -> Result<(), LimitsError> {
    keep(found < bound, LimitsError { key, found, expected: "a value below", bound, reason })
}

fn at_most(key: &'static str, found: u64, bound: u64, reason: &'static str) -> Result<(), LimitsError> {
    keep(found <= bound, LimitsError { key, found, expected: "at most", bound, reason })
}

fn at_least(key: &'static str, found: u64, bound: u64, reason: &'static str) -> Result<(), LimitsError> {
    keep(found >= bound, LimitsError { key, found, expected: "at least", bound, reason })
}

fn keep(kept: bool, error: LimitsError) -> Result<(), LimitsError> {
    if kept { Ok(()) } else { Err(error) }
}
