//! What the controller sees of one bucket: the desk metrics as plain integers (playbook: 5).

/// Whether the host's counters for the bucket arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum Telemetry {
    /// The counters of this bucket are there.
    Fresh,
    /// The counters are absent or belong to an earlier bucket, or the execution's telemetry is known to be dead.
    #[default]
    Stale,
}

/// One bucket of telemetry.
///
/// A metric is `None` when it is missing. No missing metric speaks for calm (playbook: 5); which one it is decides what it
/// blocks:
/// - RHF and MCR come from counters alone, so with fresh counters they always exist. Without either of them, or with
///   [`Telemetry::Stale`], the bucket is **blind**: it blocks de-escalation, and a run of blind buckets leads to SAFE.
/// - DCJ, QDL and deadline misses need events (20 gaps, a passive child, a finished parent) and are normally missing in a
///   quiet bucket. Missing, they neither escalate nor speak for calm: the calm evidence is then RHF and MCR, which must
///   both be present and under their exit thresholds. If they blocked, SHOCK could latch itself: its participation cap
///   leaves too few releases to measure DCJ, and the regime would run into its limit with nothing wrong.
///   The limit: execution telemetry that is dead looks like one without events, and never leads to SAFE by itself. Whoever
///   knows it to be dead must mark the bucket [`Telemetry::Stale`].
///
/// A value that is present counts towards escalation even in a stale bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Observation {
    /// Whether the counters arrived.
    pub telemetry: Telemetry,
    /// Remote hint-fault ratio, parts per million; `Some(0)` where there were no faults.
    pub rhf_ppm: Option<u32>,
    /// Migration-copy rate, KiB per second.
    pub mcr_kib_per_s: Option<u64>,
    /// Dispatch-cadence jitter, parts per million of the median gap.
    pub dcj_ppm: Option<u64>,
    /// Queue-decay loss, parts per million of the queue at the price.
    pub qdl_ppm: Option<u64>,
    /// Parents that missed their deadline, parts per million of those that ended in the bucket.
    pub deadline_miss_ppm: Option<u32>,
}

impl Observation {
    /// RHF, MCR and DCJ, in that order.
    pub(crate) fn pressures(&self) -> [Option<u64>; 3] {
        [self.rhf_ppm.map(u64::from), self.mcr_kib_per_s, self.dcj_ppm]
    }

    /// Whether the host could not be seen in this bucket.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.telemetry == Telemetry::Stale || self.rhf_ppm.is_none() || self.mcr_kib_per_s.is_none()
    }

    /// Whether this bucket presses at least as much as `other`: the order in which a step is monotone. From the same regime
    /// it never leads to a calmer level than `other` does, for any valid limits.
    ///
    /// It does if both hold:
    /// - no metric is smaller, where one that is missing counts as zero;
    /// - it is blind if `other` is.
    ///
    /// So a stale bucket presses at least as much as the same bucket fresh, a metric that is there as much as the same bucket
    /// without it where that one is no less seen, and a missing RHF or MCR as much as a calm one (zero), but not more than
    /// a high one: which of the two is worse depends on the limits, as a high value leads up at once and a run of missing
    /// ones leads to SAFE. DCJ, QDL and deadline misses that are missing press exactly as much as zero.
    #[must_use]
    pub fn presses_at_least_as(&self, other: &Observation) -> bool {
        let metrics = |seen: &Observation| {
            let [rhf, mcr, dcj] = seen.pressures();
            [rhf, mcr, dcj, seen.qdl_ppm, seen.deadline_miss_ppm.map(u64::from)]
                .map(Option::unwrap_or_default)
        };
        let no_smaller = metrics(self).into_iter().zip(metrics(other)).all(|(own, theirs)| own >= theirs);
        no_smaller && (self.is_blind() || !other.is_blind())
    }
}
