//! `[tactic]`: a schedule and a tactic.

use numashock_book::flow::Phases;
use numashock_engine::{Nanos, Span};
use numashock_execution::schedule::{Impact, Profile, Schedule, Shape};
use numashock_execution::{LeftBehind, OnExpiry, Placement, Strategy, Tactic};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::document::ScenarioError;
use super::lower::Origin;
use super::units::{Share, Time};

/// `[tactic]`. What a schedule needs may stand there although another schedule is chosen, so that choices can differ in
/// the schedule alone.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TacticTable {
    /// When how much leaves.
    pub schedule: ScheduleName,
    /// Slices of a parent.
    pub slices: u32,
    /// `vwap`: the volume that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_profile: Option<VolumeProfile>,
    /// `pov`: the share of the traded volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participation_rate: Option<Share>,
    /// `implementation-shortfall`: the time in which what remains falls to about 1/e.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<Time>,
    /// `almgren-chriss`: linear impact and the price of risk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impact: Option<ImpactTable>,
    /// Where a child is placed; absent: `join`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementName>,
    /// Whether children that are to rest may only rest; absent: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_only: Option<bool>,
    /// Whether what is left of a crossing child is cancelled at once and sent again; absent: no, it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immediate_or_cancel: Option<bool>,
    /// What happens to a child that the best price has left behind; absent: `follow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_left_behind: Option<LeftBehindName>,
    /// How many ticks behind the best a child may fall before that happens.
    pub reprice_ticks: u64,
    /// How long a child rests.
    pub patience: Time,
    /// What happens then; absent: `cross`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<ExpiryName>,
    /// Length of the window before the deadline in which everything crosses.
    pub catch_up: Time,
    /// How far beyond the opposite best a crossing child's limit lies, in ticks.
    pub cross_through: u64,
    /// Two new children leave at least this far apart; the controller may widen it.
    pub child_spacing: Time,
    /// Greatest share of the traded volume that a parent may take outside the deadline window; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participation_cap: Option<Share>,
    /// Fee in half-tick-lots per lot that takes.
    pub take_fee: i64,
    /// Fee in half-tick-lots per lot that makes; negative is a rebate.
    pub make_fee: i64,
}

/// `tactic.volume_profile`
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum VolumeProfile {
    /// Weights of equal parts of the horizon, relative to each other.
    Horizon(Vec<u32>),
    /// `"session"`: the intensities of the phases that the parent lives through.
    Session(String),
}

impl<'de> Deserialize<'de> for VolumeProfile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = VolumeProfile;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(
                    "a list of weights such as [3, 1, 2], or \"session\" for those of the session's phases",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<VolumeProfile, E> {
                if text == "session" {
                    return Ok(VolumeProfile::Session(text.to_owned()));
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<VolumeProfile, A::Error> {
                let list = de::value::SeqAccessDeserializer::new(list);
                Vec::deserialize(list).map(VolumeProfile::Horizon)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `tactic.impact`: prices in ticks, time in seconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImpactTable {
    /// σ: standard deviation of the price after a second.
    pub volatility: f64,
    /// η: ticks per lot a second.
    pub temporary: f64,
    /// γ: ticks per lot.
    pub permanent: f64,
    /// ε: ticks for each lot.
    pub fixed: f64,
    /// λ: cost that is as bad as a unit of variance.
    pub risk_aversion: f64,
}

/// The schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// Equal slices at equal times.
    Twap,
    /// In proportion to the volume that is expected.
    Vwap,
    /// A share of the volume that is traded.
    Pov,
    /// The least expected cost plus risk under linear impact.
    AlmgrenChriss,
    /// Loaded to the front by a half-life.
    ImplementationShortfall,
}

/// The placements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementName {
    /// At the best price of its own side.
    Join,
    /// A tick better, if the spread leaves room.
    Improve,
    /// At the opposite best price.
    Cross,
}

/// What becomes of a child that is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftBehindName {
    /// It is moved to where a new child would be placed.
    Follow,
    /// It crosses.
    Cross,
    /// It stays.
    Stay,
}

/// What becomes of a child whose lifetime is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiryName {
    /// It crosses.
    Cross,
    /// It is cancelled, and its lots leave with the next slice.
    Return,
}

/// Lowers a tactic table for parents of horizons up to `longest`, in a session of these phases.
pub(super) fn lower(
    table: &TacticTable,
    longest: Span,
    session: &Phases,
    origin: Origin<'_>,
) -> Result<Strategy, ScenarioError> {
    check(table, origin)?;
    let schedule = Schedule { slices: table.slices, shape: shape(table, session, origin)? };
    schedule.validate(longest).map_err(|error| origin.error(key_of(table.schedule), error.to_string()))?;
    let tactic = Tactic {
        placement: match table.placement {
            None | Some(PlacementName::Join) => Placement::Join,
            Some(PlacementName::Improve) => Placement::Improve,
            Some(PlacementName::Cross) => Placement::Cross,
        },
        post_only: table.post_only == Some(true),
        immediate_or_cancel: table.immediate_or_cancel == Some(true),
        on_left_behind: match table.on_left_behind {
            None | Some(LeftBehindName::Follow) => LeftBehind::Follow,
            Some(LeftBehindName::Cross) => LeftBehind::Cross,
            Some(LeftBehindName::Stay) => LeftBehind::Stay,
        },
        reprice_ticks: table.reprice_ticks,
        patience: table.patience.span(),
        on_expiry: match table.on_expiry {
            None | Some(ExpiryName::Cross) => OnExpiry::Cross,
            Some(ExpiryName::Return) => OnExpiry::Return,
        },
        catch_up: table.catch_up.span(),
        cross_through: table.cross_through,
        child_spacing: table.child_spacing.span(),
        participation_cap_ppm: table.participation_cap.map(Share::ppm),
    };
    Ok(Strategy { schedule, tactic })
}

fn shape(table: &TacticTable, session: &Phases, origin: Origin<'_>) -> Result<Shape, ScenarioError> {
    let needed = |example: &str| {
        let key = key_of(table.schedule);
        origin.error(key, format!("is missing: this schedule needs it; add a line such as {example}"))
    };
    Ok(match table.schedule {
        ScheduleName::Twap => Shape::Twap,
        ScheduleName::Vwap => {
            let profile =
                table.volume_profile.as_ref().ok_or_else(|| needed("volume_profile = [3, 1, 1, 2]"))?;
            Shape::Vwap(match profile {
                VolumeProfile::Horizon(weights) => Profile::Horizon(weights.clone()),
                VolumeProfile::Session(_) => Profile::Run(intensities(session)),
            })
        }
        ScheduleName::Pov => {
            let rate = table.participation_rate.ok_or_else(|| needed("participation_rate = \"10%\""))?;
            Shape::Pov { rate_ppm: rate.ppm() }
        }
        ScheduleName::AlmgrenChriss => {
            let example = "impact = { volatility = 2.0, temporary = 0.05, permanent = 0.0005, fixed = 0.5, \
                           risk_aversion = 0.01 }";
            let ImpactTable { volatility, temporary, permanent, fixed, risk_aversion } =
                table.impact.ok_or_else(|| needed(example))?;
            Shape::AlmgrenChriss(Impact { volatility, temporary, permanent, fixed, risk_aversion })
        }
        ScheduleName::ImplementationShortfall => {
            let half_life = table.half_life.ok_or_else(|| needed("half_life = \"2s\""))?;
            Shape::ImplementationShortfall { half_life: half_life.span() }
        }
    })
}

/// From when on the session has which intensity.
fn intensities(session: &Phases) -> Vec<(Nanos, u32)> {
    let mut from = Nanos::ZERO;
    let mut steps = Vec::new();
    for phase in session.list() {
        steps.push((from, phase.intensity_ppm));
        from = Nanos(from.0.saturating_add(phase.length.0));
    }
    steps
}

/// The key that a schedule depends on.
fn key_of(schedule: ScheduleName) -> &'static str {
    match schedule {
        ScheduleName::Twap => "tactic.slices",
        ScheduleName::Vwap => "tactic.volume_profile",
        ScheduleName::Pov => "tactic.participation_rate",
        ScheduleName::AlmgrenChriss => "tactic.impact",
        ScheduleName::ImplementationShortfall => "tactic.half_life",
    }
}

fn check(table: &TacticTable, origin: Origin<'_>) -> Result<(), ScenarioError> {
    let least = if table.schedule == ScheduleName::Pov { 2 } else { 1 };
    if table.slices < least || table.slices > 100_000 {
        return Err(origin.error("tactic.slices", format!("expected {least} to 100000")));
    }
    for (key, ticks) in
        [("tactic.reprice_ticks", table.reprice_ticks), ("tactic.cross_through", table.cross_through)]
    {
        if ticks > 1_000_000 {
            return Err(origin.error(key, "expected at most 1000000 ticks"));
        }
    }
    if table.reprice_ticks == 0 {
        return Err(origin
            .error("tactic.reprice_ticks", "must be at least 1: a child at the best price is not moved"));
    }
    for (key, share) in [
        ("tactic.participation_rate", table.participation_rate),
        ("tactic.participation_cap", table.participation_cap),
    ] {
        if share.is_some_and(|share| share.0 == 0 || share.0 > 1_000_000) {
            return Err(origin.error(key, "expected more than 0% and at most 100%"));
        }
    }
    if matches!(&table.volume_profile, Some(VolumeProfile::Horizon(weights)) if weights.len() > 100_000) {
        return Err(origin.error("tactic.volume_profile", "expected at most 100000 weights"));
    }
    if table.half_life.is_some_and(|time| time.span() > Span::SECOND * (720 * 3_600)) {
        return Err(origin.error("tactic.half_life", "is too large: expected at most 720h"));
    }
    for (key, fee) in [("tactic.take_fee", table.take_fee), ("tactic.make_fee", table.make_fee)] {
        if fee.unsigned_abs() > 1_000_000 {
            return Err(origin.error(key, "expected at most 1000000 half-ticks a lot"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use numashock_book::flow::Phase;

    #[test]
    fn a_session_gives_its_intensities_from_their_times_on() {
        let phase = |name: &str, seconds: u64, intensity_ppm: u32| Phase {
            name: name.to_owned(),
            length: Span::SECOND * seconds,
            intensity_ppm,
        };
        let phases =
            vec![phase("open", 3, 2_000_000), phase("mid", 10, 500_000), phase("close", 0, 3_000_000)];
        let steps = intensities(&Phases::new(phases).unwrap());
        let second = Span::SECOND.0;
        assert_eq!(
            steps,
            [(0, 2_000_000), (3 * second, 500_000), (13 * second, 3_000_000)]
                .map(|(at, ppm)| (Nanos(at), ppm))
        );
        assert!(
            Schedule { slices: 4, shape: Shape::Vwap(Profile::Run(steps)) }.validate(Span::SECOND).is_ok()
        );
    }
}
