//! Two controllers over one run: their decisions side by side, and what made the first ones differ.
//!
//! ```text
//!   recorded ─────────────────────────► old ─┐
//!   observations ──► new controller ──► new ─┴──► Row by bucket and host ──► the first that differs ──► Cause
//! ```
//!
//! Invariant: whoever compares decides nothing; every decision is a controller's own.

use numashock_accounting::micro_basis_points;
use numashock_controller::{
    Actions, Bound, Evidence, Level, Observation, Regime, Standing, Subject, evidence, reasons,
};
use numashock_engine::Nanos;
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::file::ControllerName;
use numashock_sim::{Asked, BUCKET, RunResult, Steering, SteeringError};
use numashock_trace::Decided;

use crate::stats::quantile_ppm;

/// What one controller made of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its regime during the bucket.
    pub before: Regime,
    /// What it saw.
    pub seen: Observation,
    /// The regime that followed.
    pub regime: Regime,
    /// The actions that followed.
    pub actions: Actions,
}

/// Both controllers at the end of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the host.
    pub host: u16,
    /// Number of the bucket of one second, from 0.
    pub bucket: u32,
    /// The recorded one's.
    pub old: Verdict,
    /// The other one's.
    pub new: Verdict,
}

impl Row {
    /// The end of the bucket.
    #[must_use]
    pub fn at(&self) -> Nanos {
        Nanos((u64::from(self.bucket) + 1) * BUCKET.0)
    }

    /// Whether both lead to the same level with the same actions.
    #[must_use]
    pub fn decides_alike(&self) -> bool {
        self.old.regime.level() == self.new.regime.level() && self.old.actions == self.new.actions
    }

    /// Whether both remember the same, and so will decide alike on like observations if they are the same controller.
    #[must_use]
    pub fn remembers_alike(&self) -> bool {
        self.old.regime == self.new.regime
    }

    /// The names of the actions that differ, with both values.
    #[must_use]
    pub fn actions_that_differ(&self) -> Vec<(String, serde_json::Value, serde_json::Value)> {
        let [old, new] = [self.old.actions, self.new.actions]
            .map(|actions| serde_json::to_value(actions).expect("actions are plain data"));
        let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
            unreachable!("actions are named")
        };
        let pairs = old.iter().map(|(name, value)| (name.clone(), value.clone(), new[name].clone()));
        pairs.filter(|(_, old, new)| old != new).collect()
    }
}

/// What one controller was told of a value, and what the other; their standings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The recorded one's; `None` if it did not look at it in its regime.
    pub old: Option<Evidence>,
    /// The other one's.
    pub new: Option<Evidence>,
}

/// Whose limits decide, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deciders {
    /// The recorded controller.
    pub old: ControllerConfig,
    /// The other one.
    pub new: ControllerConfig,
    /// Whether each decided by rules of its own, a process or a stream: the one above is then what it is compared with, and
    /// what moved it is not known.
    pub foreign: [bool; 2],
}

impl Deciders {
    /// What stands on other sides of its limit for the two controllers, in the order in which a step looks at it; nothing if
    /// one of them looks at none.
    #[must_use]
    pub fn causes(&self, row: &Row) -> Vec<Cause> {
        if self.foreign != [false; 2] || ![self.old.kind, self.new.kind].into_iter().all(looks) {
            return Vec::new();
        }
        let old = looked_at(&self.old, &row.old);
        let new = looked_at(&self.new, &row.new);
        let same =
            |one: &&Evidence, other: &Evidence| (one.subject, one.level) == (other.subject, other.level);
        let mut causes = Vec::new();
        for one in &old {
            let other = new.iter().find(|other| same(other, one));
            if other.is_none_or(|other| other.standing != one.standing) {
                causes.push(Cause { old: Some(*one), new: other.copied() });
            }
        }
        let more = new.iter().filter(|one| !old.iter().any(|other| same(one, other)));
        causes.extend(more.map(|one| Cause { old: None, new: Some(*one) }));
        causes
    }

    /// What each decision rested on: the recorded one's and the other one's; nothing of one that decides by rules of its own.
    #[must_use]
    pub fn reasons(&self, row: &Row) -> [Vec<Evidence>; 2] {
        let sides = [(&self.old, &row.old, self.foreign[0]), (&self.new, &row.new, self.foreign[1])];
        sides.map(|(config, verdict, foreign)| if foreign { Vec::new() } else { rests_on(config, verdict) })
    }

    /// [`reasons`](Self::reasons) in words; also that a controller looks at nothing.
    #[must_use]
    pub fn reason_words(&self, row: &Row) -> [Vec<String>; 2] {
        let kinds = [self.old.kind, self.new.kind];
        let mut sides = self.reasons(row).map(|reasons| reasons.iter().map(Evidence::to_string).collect());
        for ((words, kind), foreign) in sides.iter_mut().zip(kinds).zip(self.foreign) {
            if !foreign && !looks(kind) {
                *words = vec!["nothing it saw: it always decides the same".to_owned()];
            }
        }
        sides
    }

    /// What the built-in controller would have decided in the place of one with rules of its own, from the same regime and
    /// on the same observation; for each side that is such a one.
    #[must_use]
    pub fn instead(&self, row: &Row) -> [Option<Instead>; 2] {
        let sides = [(&self.old, &row.old, self.foreign[0]), (&self.new, &row.new, self.foreign[1])];
        sides.map(|(config, verdict, foreign)| foreign.then(|| Instead::of(config, verdict)))
    }
}

/// A decision that nobody took: the built-in controller's, beside that of one with rules of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instead {
    /// The level it would have led to.
    pub level: Level,
    /// What it would have rested on.
    pub reasons: Vec<Evidence>,
}

impl Instead {
    fn of(config: &ControllerConfig, verdict: &Verdict) -> Instead {
        let (regime, actions) = config.policy()(&config.limits, verdict.before, &verdict.seen);
        let own = Verdict { regime, actions, ..*verdict };
        Instead { level: regime.level(), reasons: rests_on(config, &own) }
    }
}

impl std::fmt::Display for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the built-in controller would have decided {}", self.level.name())?;
        let reasons: Vec<String> = self.reasons.iter().map(Evidence::to_string).collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, ": {}", reasons.join("; ")) }
    }
}

/// Everything that a controller that looks at its limits looked at in a bucket.
fn looked_at(config: &ControllerConfig, verdict: &Verdict) -> Vec<Evidence> {
    let all = evidence(&config.limits, verdict.before, &verdict.seen);
    if config.kind != ControllerName::ThresholdWithoutHysteresis {
        return all.collect();
    }
    // It has no memory and no exits: one blind bucket is enough, and a metric is over its enter threshold or is not.
    let blind = verdict.seen.is_blind();
    let mut own = Vec::new();
    for one in all {
        if one.subject == Subject::Blind {
            let standing = if blind { Standing::Over } else { Standing::Under };
            let enter = Bound { key: "its fixed limit", value: 1 };
            own.push(Evidence { value: Some(blind.into()), enter, standing, ..one });
        } else if one.exit.is_some() && !blind {
            let standing = if one.standing == Standing::Between { Standing::Under } else { one.standing };
            own.push(Evidence { exit: None, standing, ..one });
        }
    }
    own
}

/// Whether a built-in controller looks at its limits.
fn looks(kind: ControllerName) -> bool {
    matches!(kind, ControllerName::FourState | ControllerName::ThresholdWithoutHysteresis)
}

/// What a built-in controller's decision rested on; nothing moves one that does not look.
#[must_use]
pub fn rests_on(config: &ControllerConfig, verdict: &Verdict) -> Vec<Evidence> {
    match config.kind {
        ControllerName::FourState => reasons(&config.limits, verdict.before, &verdict.seen).collect(),
        ControllerName::ThresholdWithoutHysteresis => {
            let (before, level) = (verdict.before.level(), verdict.regime.level());
            // What is over, and on the way down or at rest what is no longer over.
            let left = if before == Level::Stable { Level::Watch } else { before };
            let counts = |one: &Evidence| match one.standing {
                Standing::Over => one.level == level,
                _ => one.subject != Subject::Blind && one.level > level && one.level <= left,
            };
            looked_at(config, verdict).into_iter().filter(counts).collect()
        }
        _ => Vec::new(),
    }
}

/// Feeds recorded observations to another controller, which remembers its own regimes.
///
/// # Errors
/// If it gives no decision.
///
/// # Panics
/// If a decision is of a host that the scenario does not have.
pub fn open_loop(
    config: &RunConfig,
    decided: &[Decided],
    steering: &mut dyn Steering,
) -> Result<Vec<Row>, SteeringError> {
    let mut regimes = vec![[Regime::STABLE; 2]; config.hosts.len()];
    let mut rows = Vec::with_capacity(decided.len());
    for one in decided {
        let host = &config.hosts[usize::from(one.host)];
        let own = built_in(config, one.host);
        let [old, new] = regimes[usize::from(one.host)];
        let (regime, actions) = steering.steer(&Asked {
            host: HostId(one.host),
            bucket: one.bucket,
            policy: own.policy(),
            limits: &host.limits,
            regime: new,
            seen: &one.seen,
        })?;
        regimes[usize::from(one.host)] = [one.regime, regime];
        let old = Verdict { before: old, seen: one.seen, regime: one.regime, actions: one.actions };
        let new = Verdict { before: new, seen: one.seen, regime, actions };
        rows.push(Row { host: one.host, bucket: one.bucket, old, new });
    }
    steering.end()?;
    Ok(rows)
}

/// The decisions of two runs side by side, as far as both go.
///
/// # Panics
/// If the runs do not have the same hosts.
#[must_use]
pub fn side_by_side(hosts: usize, old: &[Decided], new: &[Decided]) -> Vec<Row> {
    let mut regimes = vec![[Regime::STABLE; 2]; hosts];
    let mut row = |(old, new): (&Decided, &Decided)| {
        assert!((old.host, old.bucket) == (new.host, new.bucket), "both runs have these hosts and buckets");
        let before = std::mem::replace(&mut regimes[usize::from(old.host)], [old.regime, new.regime]);
        let verdict = |before, one: &Decided| Verdict {
            before,
            seen: one.seen,
            regime: one.regime,
            actions: one.actions,
        };
        let [old_before, new_before] = before;
        let (old_verdict, new_verdict) = (verdict(old_before, old), verdict(new_before, new));
        Row { host: old.host, bucket: old.bucket, old: old_verdict, new: new_verdict }
    };
    old.iter().zip(new).map(&mut row).collect()
}

/// The controller that a scenario gives a host.
///
/// # Panics
/// If there is no such host.
#[must_use]
pub fn built_in(config: &RunConfig, host: u16) -> ControllerConfig {
    let host = &config.hosts[usize::from(host)];
    ControllerConfig { kind: host.controller, limits: host.limits, delay: Some(host.delay) }
}

/// Implementation shortfall of a run's parents, millionths of a basis point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// How many parents have one.
    pub parents: u64,
    /// Their mean, each parent counting the same.
    pub mean: i64,
    /// Their 95th percentile.
    pub q95: i64,
}

/// The shortfall of a run's parents; `None` where there are none.
#[must_use]
pub fn shortfall(result: &RunResult) -> Option<Shortfall> {
    let one = |parent: &numashock_sim::ParentResult| {
        let is = parent.shortfalls.swept.is;
        let value = micro_basis_points(is, parent.order.quantity, parent.decision_mid)?;
        Some(i64::try_from(value).expect("a shortfall of less than 2^63 millionths of a basis point"))
    };
    let mut values: Vec<i64> = result.parents.iter().filter_map(one).collect();
    let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
    let parents = values.len() as u64;
    let mean = i64::try_from(sum.checked_div(i128::from(parents))?).expect("a mean lies among its values");
    Some(Shortfall { parents, mean, q95: quantile_ppm(&mut values, 950_000)? })
}
