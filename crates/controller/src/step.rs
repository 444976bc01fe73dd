//! The step itself, and three baselines of the same type (playbook: 6).

use crate::actions::Actions;
use crate::limits::{Band, Limits, Thresholds, key};
use crate::observation::Observation;
use crate::regime::{Level, Regime};

/// A controller: any function of this type can drive a run.
pub type Policy = fn(&Limits, Regime, &Observation) -> (Regime, Actions);

/// Why the level changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum Cause {
    /// One of RHF, MCR and DCJ is over its watch threshold.
    MetricOverWatch,
    /// Two of RHF, MCR and DCJ are over their shock thresholds.
    TwoMetricsOverShock,
    /// Queue-decay loss is over its threshold.
    QueueDecay,
    /// SHOCK lasted longer than its limit.
    ShockTooLong,
    /// Deadline misses are over their threshold.
    DeadlineMisses,
    /// The host could not be seen for too long.
    Blind,
    /// Calm for the dwell time.
    Calm,
    /// SAFE's release rule was met.
    Released,
}

impl Cause {
    /// A name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::MetricOverWatch => "metric over its watch threshold",
            Cause::TwoMetricsOverShock => "two metrics over their shock thresholds",
            Cause::QueueDecay => "queue-decay loss over its threshold",
            Cause::ShockTooLong => "shock longer than its limit",
            Cause::DeadlineMisses => "deadline misses over their threshold",
            Cause::Blind => "telemetry stale",
            Cause::Calm => "calm for the dwell time",
            Cause::Released => "release rule met",
        }
    }
}

/// The outcome of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Decision {
    /// The regime from now on.
    pub regime: Regime,
    /// Why the level changed, if it did.
    pub cause: Option<Cause>,
}

/// One bucket: the regime that follows and the actions it asks for. `limits` must be valid ([`Limits::validate`]).
#[must_use]
pub fn step(limits: &Limits, regime: Regime, seen: &Observation) -> (Regime, Actions) {
    let next = decide(limits, regime, seen).regime;
    (next, Actions::of(limits, next.level()))
}

/// As [`step`], with the cause of a change instead of the actions.
///
/// Escalation is looked at first: it is immediate and may jump levels. De-escalation needs a run of calm buckets that
/// began after the level was entered, so two changes with the second downwards are at least the dwell apart.
#[must_use]
pub fn decide(limits: &Limits, regime: Regime, seen: &Observation) -> Decision {
    let regime = regime.after(is_calm(limits, regime.level(), seen), seen.is_blind());
    let (level, cause) = pressure(limits, regime, seen);
    if level > regime.level() {
        return Decision { regime: regime.transition_to(level), cause };
    }
    match relief(limits, regime) {
        Some((level, cause)) => Decision { regime: regime.transition_to(level), cause: Some(cause) },
        None => Decision { regime, cause: None },
    }
}

/// A baseline that never acts.
#[must_use]
pub fn do_nothing(_limits: &Limits, _regime: Regime, _seen: &Observation) -> (Regime, Actions) {
    (Regime::STABLE, Actions::NORMAL)
}

/// A baseline that is set once: the dispatch thread stays on the CPU where the first bucket ended, balancing is off for its
/// process where the host permits it, and no observation changes anything (playbook: 7, rung 1).
#[must_use]
pub fn static_pinning(limits: &Limits, _regime: Regime, _seen: &Observation) -> (Regime, Actions) {
    let balancing_off = limits.actions.balancing_off_permitted;
    (Regime::STABLE, Actions { pin_dispatch: true, balancing_off, ..Actions::NORMAL })
}

/// A baseline that reads the enter thresholds of this bucket alone: no hysteresis, no dwell, no memory (playbook: 9, item 8).
#[must_use]
pub fn threshold_without_hysteresis(
    limits: &Limits,
    _regime: Regime,
    seen: &Observation,
) -> (Regime, Actions) {
    let (level, _) = if seen.is_blind() { (Level::Safe, None) } else { metric_pressure(limits, seen) };
    (Regime::at(level), Actions::of(limits, level))
}

/// The highest level that this bucket and the regime's counters call for.
fn pressure(limits: &Limits, regime: Regime, seen: &Observation) -> (Level, Option<Cause>) {
    if regime.blind() >= limits.stale_limit {
        return (Level::Safe, Some(Cause::Blind));
    }
    if regime.level() == Level::Shock && regime.held() > limits.shock_limit {
        return (Level::Safe, Some(Cause::ShockTooLong));
    }
    metric_pressure(limits, seen)
}

/// The highest level that this bucket's metrics call for.
fn metric_pressure(limits: &Limits, seen: &Observation) -> (Level, Option<Cause>) {
    let is_over = |band: Band, value: Option<u64>| value.is_some_and(|value| band.is_over(value));
    let count_over = |thresholds: &Thresholds| {
        thresholds
            .bands()
            .into_iter()
            .zip(seen.pressures())
            .filter(|&(band, value)| is_over(band, value))
            .count()
    };
    if is_over(limits.deadline_miss_ppm, seen.deadline_miss_ppm.map(u64::from)) {
        (Level::Safe, Some(Cause::DeadlineMisses))
    } else if is_over(limits.qdl_ppm, seen.qdl_ppm) {
        (Level::Shock, Some(Cause::QueueDecay))
    } else if count_over(&limits.shock) >= 2 {
        (Level::Shock, Some(Cause::TwoMetricsOverShock))
    } else if count_over(&limits.watch) >= 1 {
        (Level::Watch, Some(Cause::MetricOverWatch))
    } else {
        (Level::Stable, None)
    }
}

/// The level below, if the calm run is long enough to leave this one.
fn relief(limits: &Limits, regime: Regime) -> Option<(Level, Cause)> {
    let below = regime.level().below()?;
    let (_, needed) = release_or_dwell(limits, regime.level());
    let cause = if regime.level() == Level::Safe { Cause::Released } else { Cause::Calm };
    (regime.calm() >= needed).then_some((below, cause))
}

/// How many calm buckets it takes to leave a level downwards, and the key of that limit.
pub(crate) fn release_or_dwell(limits: &Limits, level: Level) -> (&'static str, u32) {
    match level {
        Level::Safe => (key::RELEASE, limits.release),
        Level::Shock | Level::Watch | Level::Stable => (key::DWELL, limits.dwell),
    }
}

/// Whether the bucket speaks for leaving `level` downwards: the host is seen, and whatever is present is under its exit.
///
/// SHOCK is left under the shock exits, WATCH and SAFE only under the lower watch exits.
pub(crate) fn is_calm(limits: &Limits, level: Level, seen: &Observation) -> bool {
    let thresholds = if level == Level::Shock { &limits.shock } else { &limits.watch };
    let is_under = |band: Band, value: Option<u64>| value.is_none_or(|value| band.is_under(value));
    !seen.is_blind()
        && thresholds.bands().into_iter().zip(seen.pressures()).all(|(band, value)| is_under(band, value))
        && is_under(limits.qdl_ppm, seen.qdl_ppm)
        && is_under(limits.deadline_miss_ppm, seen.deadline_miss_ppm.map(u64::from))
}
