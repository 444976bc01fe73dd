//! What a step looked at: each value beside the limits it was held against, by the key under which they are written.

use core::fmt;

use crate::amount::{Amount, Unit};
use crate::limits::{Limits, key};
use crate::observation::Observation;
use crate::regime::{Level, Regime};
use crate::step::{decide, is_calm, release_or_dwell};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Subject {
    /// Consecutive blind buckets, this one included.
    Blind,
    /// Buckets of SHOCK, this one included.
    Held,
    /// Deadline misses.
    DeadlineMisses,
    /// Queue-decay loss.
    Qdl,
    /// Remote hint-fault ratio.
    Rhf,
    /// Migration-copy rate.
    Mcr,
    /// Dispatch-cadence jitter.
    Dcj,
    /// Consecutive calm buckets since the level was entered, this one included.
    Calm,
}

impl Subject {
    /// A name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Subject::Blind => "blind buckets",
            Subject::Held => "buckets of shock",
            Subject::DeadlineMisses => "deadline misses",
            Subject::Qdl => "QDL",
            Subject::Rhf => "RHF",
            Subject::Mcr => "MCR",
            Subject::Dcj => "DCJ",
            Subject::Calm => "calm buckets",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Subject::Blind | Subject::Held | Subject::Calm => Unit::Buckets,
            Subject::Mcr => Unit::KibPerSecond,
            Subject::DeadlineMisses | Subject::Qdl | Subject::Rhf | Subject::Dcj => Unit::Ppm,
        }
    }
}

/// Where a value stands among its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Standing {
    /// A metric over its enter threshold, or a counter that has reached its limit: the condition is met.
    Over,
    /// A metric that is neither over its enter threshold nor under its exit: it blocks the way down and does no more.
    Between,
    /// A metric under its exit threshold, or a counter short of its limit.
    Under,
    /// A metric that is not there.
    Missing,
}

/// A limit: the key below the table of limits, as a scenario writes it, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Bound {
    /// Such as `rhf[2]`.
    pub key: &'static str,
    /// In the unit of the value.
    pub value: u64,
}

/// One value and what it was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Evidence {
    /// What was looked at.
    pub subject: Subject,
    /// Where it leads if it is over: the level above, or for [`Subject::Calm`] the one below.
    pub level: Level,
    /// What was seen; `None` if it is missing.
    pub value: Option<u64>,
    /// A metric over this presses upwards; a counter that reaches it (SHOCK: passes it) moves the level.
    pub enter: Bound,
    /// A metric under this is calm; a counter has none.
    pub exit: Option<Bound>,
    /// Where the value stands.
    pub standing: Standing,
}

impl Evidence {
    /// Whether the condition is met: a metric over its threshold, or a counter that has reached its limit.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.standing == Standing::Over
    }

    /// The limit that decided the standing: the exit threshold for a metric that is not over the enter threshold.
    #[must_use]
    pub fn bound(&self) -> Bound {
        match (self.standing, self.exit) {
            (Standing::Under | Standing::Between, Some(exit)) => exit,
            _ => self.enter,
        }
    }

    /// A value of this metric, or a limit of it, to be shown with its unit.
    #[must_use]
    pub fn amount(&self, value: u64) -> Amount {
        Amount { value, unit: self.subject.unit() }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.subject.name();
        let Bound { key, value: bound } = self.bound();
        let bound = self.amount(bound);
        let Some(value) = self.value else {
            return write!(f, "{name} missing, {key} = {bound}");
        };
        let value = self.amount(value);
        let is_metric = self.subject.unit() != Unit::Buckets;
        let words = match (self.standing, self.exit) {
            // A metric without an exit, and the one counter whose limit is passed and not reached.
            (Standing::Over, None) if is_metric || self.subject == Subject::Held => "over",
            (Standing::Over, None) => "reached",
            (_, None) if is_metric => "not over",
            (_, None) => "short of",
            (Standing::Over, Some(_)) => "over",
            (Standing::Under, Some(_)) => "under",
            (_, Some(_)) => "not under",
        };
        write!(f, "{name} {value} {words} {key} = {bound}")
    }
}

/// Everything that [`step`](crate::step) looks at in one bucket, in the order in which it looks: the counters as they stand
/// after the bucket, then the metrics from the highest level to the lowest, then the way down.
///
/// `regime` is the one before the bucket. Two sets of limits give the same entries in the same order for the same regime
/// and observation, so the first entry whose standing differs names the limit that made two decisions differ.
pub fn evidence(
    limits: &Limits,
    regime: Regime,
    seen: &Observation,
) -> impl Iterator<Item = Evidence> + Clone + use<> {
    let calm = is_calm(limits, regime.level(), seen);
    let after = regime.after(calm, seen.is_blind());
    let blind = counter(Subject::Blind, Level::Safe, after.blind(), key::STALE_LIMIT, limits.stale_limit);
    let held = counter(Subject::Held, Level::Safe, after.held(), key::SHOCK_LIMIT, limits.shock_limit);
    // The one limit that is passed and not reached.
    let held = Evidence {
        standing: if after.held() > limits.shock_limit { Standing::Over } else { Standing::Under },
        ..held
    };
    let misses = seen.deadline_miss_ppm.map(u64::from);
    let [rhf, mcr, dcj] = seen.pressures();
    let (shock, watch) = (&limits.shock, &limits.watch);
    let metric = |subject, level, value, keys: [&'static str; 2], band: crate::Band| {
        let bound = |at: usize, value| Bound { key: keys[at], value };
        let standing = match value {
            None => Standing::Missing,
            Some(value) if band.is_over(value) => Standing::Over,
            Some(value) if band.is_under(value) => Standing::Under,
            Some(_) => Standing::Between,
        };
        let (enter, exit) = (bound(0, band.enter), Some(bound(1, band.exit)));
        Some(Evidence { subject, level, value, enter, exit, standing })
    };
    let down = regime.level().below().map(|below| {
        let (key, needed) = release_or_dwell(limits, regime.level());
        counter(Subject::Calm, below, after.calm(), key, needed)
    });
    let entries = [
        Some(blind),
        (regime.level() == Level::Shock).then_some(held),
        metric(Subject::DeadlineMisses, Level::Safe, misses, key::DEADLINE_MISS, limits.deadline_miss_ppm),
        metric(Subject::Qdl, Level::Shock, seen.qdl_ppm, key::QDL, limits.qdl_ppm),
        metric(Subject::Rhf, Level::Shock, rhf, key::RHF_SHOCK, shock.rhf_ppm),
        metric(Subject::Mcr, Level::Shock, mcr, key::MCR_SHOCK, shock.mcr_kib_per_s),
        metric(Subject::Dcj, Level::Shock, dcj, key::DCJ_SHOCK, shock.dcj_ppm),
        metric(Subject::Rhf, Level::Watch, rhf, key::RHF_WATCH, watch.rhf_ppm),
        metric(Subject::Mcr, Level::Watch, mcr, key::MCR_WATCH, watch.mcr_kib_per_s),
        metric(Subject::Dcj, Level::Watch, dcj, key::DCJ_WATCH, watch.dcj_ppm),
        down,
    ];
    entries.into_iter().flatten()
}

/// The part of [`evidence`] that the decision rests on.
///
/// After an escalation these are the entries that are met and lead to the level that follows; after a de-escalation the calm
/// run that reached its limit; with no change, what keeps the level: metrics that are missing or not under the exits that
/// bind it, and a calm run that is short.
pub fn reasons(
    limits: &Limits,
    regime: Regime,
    seen: &Observation,
) -> impl Iterator<Item = Evidence> + Clone + use<> {
    let before = regime.level();
    let now = decide(limits, regime, seen).regime.level();
    // SHOCK is left under its own exits, the other levels under those of WATCH.
    let exits = if before == Level::Shock { Level::Shock } else { Level::Watch };
    evidence(limits, regime, seen).filter(move |one| {
        let counts = matches!(one.subject, Subject::Blind | Subject::Held | Subject::Calm);
        if now > before {
            one.is_met() && one.level == now && one.subject != Subject::Calm
        } else if now < before {
            one.subject == Subject::Calm
        } else if counts {
            one.subject == Subject::Calm || (one.subject == Subject::Blind && one.value != Some(0))
        } else {
            let binds = one.level == exits || matches!(one.subject, Subject::DeadlineMisses | Subject::Qdl);
            let needed = matches!(one.subject, Subject::Rhf | Subject::Mcr);
            let blocks = match one.standing {
                Standing::Over | Standing::Between => true,
                Standing::Missing => needed,
                Standing::Under => false,
            };
            binds && blocks
        }
    })
}

fn counter(subject: Subject, level: Level, count: u32, key: &'static str, limit: u32) -> Evidence {
    Evidence {
        subject,
        level,
        value: Some(count.into()),
        enter: Bound { key, value: limit.into() },
        exit: None,
        standing: if count >= limit { Standing::Over } else { Standing::Under },
    }
}
