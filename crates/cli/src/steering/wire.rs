//! What a controller is asked and answers, as JSON: the words of the protocol and of decision streams.

use numashock_controller::{
    Actions, CancelReplace, CatchUp, Level, Limits, Observation, Regime, ScannerRequest, Telemetry,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The version of the protocol that is spoken with processes.
pub(crate) const PROTOCOL: u32 = 1;
/// The version of decision streams.
pub(crate) const STREAM: u32 = 1;
/// The longest line that is read, bytes.
pub(crate) const LINE_MAX: usize = 64 * 1024;

/// A line to a controller.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum ToController<'a> {
    Hello { protocol: u32, numashock: &'a str, model: u32, run: u32, bucket_ns: u64, hosts: Vec<HostLine> },
    Bucket { host: u16, bucket: u32, end_ns: u64, regime: RegimeLine, seen: SeenLine },
    Bye {},
}

/// A host that a process is told of.
#[derive(Debug, Serialize)]
pub(super) struct HostLine {
    pub(super) host: u16,
    pub(super) name: String,
    pub(super) controller: String,
    #[serde(with = "exact_limits")]
    pub(super) limits: Limits,
}

/// A process's first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HelloAnswer {
    #[serde(rename = "type")]
    pub(super) _kind: HelloTag,
    pub(super) protocol: u32,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HelloTag {
    Hello,
}

/// A process's answer to a bucket.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionAnswer {
    #[serde(rename = "type")]
    pub(super) _kind: DecisionTag,
    pub(super) host: u16,
    pub(super) bucket: u32,
    pub(super) regime: RegimeLine,
    pub(super) actions: Option<ActionsLine>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DecisionTag {
    Decision,
}

/// The first line of a decision stream: whose limits decided.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamHeader {
    pub(crate) stream: u32,
    pub(crate) bucket_ns: u64,
    pub(crate) hosts: Vec<StreamHost>,
}

/// A host of a decision stream, and who decided there.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamHost {
    pub(crate) host: String,
    pub(crate) controller: String,
    #[serde(with = "exact_limits")]
    pub(crate) limits: Limits,
}

/// Any other line of a decision stream.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamLine {
    #[serde(default)]
    pub(crate) run: u32,
    pub(crate) host: String,
    pub(crate) bucket: u32,
    pub(crate) seen: SeenLine,
    pub(crate) regime: RegimeLine,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actions: Option<ActionsLine>,
}

/// A regime; counters that are not said are `None`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegimeLine {
    #[serde(with = "level")]
    pub(crate) level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blind: Option<u32>,
}

/// Which counters of the regime a controller says, each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    held: bool,
    calm: bool,
    blind: bool,
}

impl Counters {
    pub(crate) const ALL: Counters = Counters { held: true, calm: true, blind: true };

    /// Those that a line says as well.
    pub(crate) fn and_of(self, line: RegimeLine) -> Counters {
        Counters {
            held: self.held && line.held.is_some(),
            calm: self.calm && line.calm.is_some(),
            blind: self.blind && line.blind.is_some(),
        }
    }
}

impl RegimeLine {
    /// With all its counters.
    pub(crate) fn of(regime: Regime) -> RegimeLine {
        RegimeLine {
            level: regime.level(),
            held: Some(regime.held()),
            calm: Some(regime.calm()),
            blind: Some(regime.blind()),
        }
    }

    /// With these counters alone.
    pub(crate) fn only(self, counters: Counters) -> RegimeLine {
        RegimeLine {
            level: self.level,
            held: self.held.filter(|_| counters.held),
            calm: self.calm.filter(|_| counters.calm),
            blind: self.blind.filter(|_| counters.blind),
        }
    }

    /// The regime after `bucket`; what is not said is nought.
    ///
    /// # Errors
    /// If no bucket-by-bucket count could have come to these counters.
    pub(crate) fn regime(self, bucket: u32) -> Result<Regime, String> {
        let [held, calm, blind] = [self.held, self.calm, self.blind].map(Option::unwrap_or_default);
        let most = u64::from(bucket) + 1;
        for (key, value) in [("held", held), ("blind", blind)] {
            if u64::from(value) > most {
                return Err(format!(
                    "regime.{key} = {value}: expected at most {most}, the buckets seen so far"
                ));
            }
        }
        Regime::counted(self.level, held, calm, blind).ok_or_else(|| {
            format!("regime.calm = {calm}: expected at most regime.held = {held}, calm buckets are counted within a level")
        })
    }

    /// Whether what is said agrees with a regime.
    pub(crate) fn agrees(self, regime: Regime) -> bool {
        let same = |said: Option<u32>, counter| said.is_none_or(|said| said == counter);
        self.level == regime.level()
            && same(self.held, regime.held())
            && same(self.calm, regime.calm())
            && same(self.blind, regime.blind())
    }
}

/// An observation; a metric that is `null` or not said is missing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeenLine {
    telemetry: TelemetryWord,
    rhf_ppm: Option<u32>,
    mcr_kib_per_s: Option<u64>,
    dcj_ppm: Option<u64>,
    qdl_ppm: Option<u64>,
    deadline_miss_ppm: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum TelemetryWord {
    Fresh,
    Stale,
}

impl SeenLine {
    pub(crate) fn of(seen: &Observation) -> SeenLine {
        SeenLine {
            telemetry: match seen.telemetry {
                Telemetry::Fresh => TelemetryWord::Fresh,
                Telemetry::Stale => TelemetryWord::Stale,
            },
            rhf_ppm: seen.rhf_ppm,
            mcr_kib_per_s: seen.mcr_kib_per_s,
            dcj_ppm: seen.dcj_ppm,
            qdl_ppm: seen.qdl_ppm,
            deadline_miss_ppm: seen.deadline_miss_ppm,
        }
    }

    /// # Errors
    /// If a share is above the whole.
    pub(crate) fn observation(self) -> Result<Observation, String> {
        for (key, share) in [("rhf_ppm", self.rhf_ppm), ("deadline_miss_ppm", self.deadline_miss_ppm)] {
            if let Some(share) = share.filter(|share| *share > 1_000_000) {
                return Err(format!("seen.{key} = {share}: expected at most 1000000, the whole"));
            }
        }
        Ok(Observation {
            telemetry: match self.telemetry {
                TelemetryWord::Fresh => Telemetry::Fresh,
                TelemetryWord::Stale => Telemetry::Stale,
            },
            rhf_ppm: self.rhf_ppm,
            mcr_kib_per_s: self.mcr_kib_per_s,
            dcj_ppm: self.dcj_ppm,
            qdl_ppm: self.qdl_ppm,
            deadline_miss_ppm: self.deadline_miss_ppm,
        })
    }
}

/// Actions with all their parameters.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionsLine {
    participation_cap_ppm: Option<u32>,
    child_spacing_ppm: u32,
    min_reprice_interval_ns: Option<u64>,
    cancel_replace: CancelReplaceWord,
    catch_up: CatchUpWord,
    cross_only_at_deadline: bool,
    simplest_schedule: bool,
    scanner: Option<ScannerLine>,
    balancing_off: bool,
    pin_dispatch: bool,
    finer_telemetry: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum CancelReplaceWord {
    Normal,
    OnlyIfPriceMoved,
    Suppressed,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum CatchUpWord {
    Burst,
    Paced,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ScannerLine {
    scan_delay_ms: u32,
    scan_size_mb: u32,
}

impl ActionsLine {
    pub(crate) fn of(actions: &Actions) -> ActionsLine {
        ActionsLine {
            participation_cap_ppm: actions.participation_cap_ppm,
            child_spacing_ppm: actions.child_spacing_ppm,
            min_reprice_interval_ns: actions.min_reprice_interval_ns,
            cancel_replace: match actions.cancel_replace {
                CancelReplace::Normal => CancelReplaceWord::Normal,
                CancelReplace::OnlyIfPriceMoved => CancelReplaceWord::OnlyIfPriceMoved,
                CancelReplace::Suppressed => CancelReplaceWord::Suppressed,
            },
            catch_up: match actions.catch_up {
                CatchUp::Burst => CatchUpWord::Burst,
                CatchUp::Paced => CatchUpWord::Paced,
            },
            cross_only_at_deadline: actions.cross_only_at_deadline,
            simplest_schedule: actions.simplest_schedule,
            scanner: actions.scanner.map(|asked| ScannerLine {
                scan_delay_ms: asked.scan_delay_ms,
                scan_size_mb: asked.scan_size_mb,
            }),
            balancing_off: actions.balancing_off,
            pin_dispatch: actions.pin_dispatch,
            finer_telemetry: actions.finer_telemetry,
        }
    }

    /// # Errors
    /// If a parameter is out of its range, which is that of the limits.
    pub(crate) fn actions(self) -> Result<Actions, String> {
        if let Some(cap) = self.participation_cap_ppm.filter(|cap| !(1..=1_000_000).contains(cap)) {
            return Err(format!(
                "actions.participation_cap_ppm = {cap}: expected 1 to 1000000, or null for none"
            ));
        }
        if self.child_spacing_ppm < 1_000_000 {
            let spacing = self.child_spacing_ppm;
            return Err(format!(
                "actions.child_spacing_ppm = {spacing}: expected at least 1000000, the normal one"
            ));
        }
        if self.scanner.is_some_and(|asked| asked.scan_size_mb == 0) {
            return Err("actions.scanner.scan_size_mb = 0: expected at least 1, the kernel takes no empty scan window"
                .to_owned());
        }
        Ok(Actions {
            participation_cap_ppm: self.participation_cap_ppm,
            child_spacing_ppm: self.child_spacing_ppm,
            min_reprice_interval_ns: self.min_reprice_interval_ns,
            cancel_replace: match self.cancel_replace {
                CancelReplaceWord::Normal => CancelReplace::Normal,
                CancelReplaceWord::OnlyIfPriceMoved => CancelReplace::OnlyIfPriceMoved,
                CancelReplaceWord::Suppressed => CancelReplace::Suppressed,
            },
            catch_up: match self.catch_up {
                CatchUpWord::Burst => CatchUp::Burst,
                CatchUpWord::Paced => CatchUp::Paced,
            },
            cross_only_at_deadline: self.cross_only_at_deadline,
            simplest_schedule: self.simplest_schedule,
            scanner: self.scanner.map(|asked| ScannerRequest {
                scan_delay_ms: asked.scan_delay_ms,
                scan_size_mb: asked.scan_size_mb,
            }),
            balancing_off: self.balancing_off,
            pin_dispatch: self.pin_dispatch,
            finer_telemetry: self.finer_telemetry,
        })
    }
}

/// A regime in words: the level, and the counters that are said.
pub(crate) fn said(regime: RegimeLine) -> String {
    let counters = [("held", regime.held), ("calm", regime.calm), ("blind", regime.blind)];
    let counters = counters.iter().filter_map(|(key, value)| value.map(|value| format!("{key} {value}")));
    let counters: Vec<String> = counters.collect();
    let counters = if counters.is_empty() { String::new() } else { format!(" ({})", counters.join(", ")) };
    format!("{}{counters}", regime.level.name())
}

/// The actions that two sets of them do not share: the key, and the values as JSON.
pub(crate) fn differing(left: &Actions, right: &Actions) -> Vec<(String, Value, Value)> {
    let [left, right] = [left, right].map(|actions| {
        let value = serde_json::to_value(ActionsLine::of(actions)).expect("plain data has string keys");
        value.as_object().cloned().expect("actions are an object")
    });
    let pairs = left.into_iter().map(|(key, left)| {
        let right = right.get(&key).cloned().unwrap_or_default();
        (key, left, right)
    });
    pairs.filter(|(_, left, right)| left != right).collect()
}

/// A value as one line, without its end.
pub(crate) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data has string keys")
}

/// Reads one line.
///
/// # Errors
/// What was expected, with the beginning of the line.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {}", shown(text)))
}

/// The beginning of what somebody else wrote, fit for a message.
pub(crate) fn shown(text: &str) -> String {
    let begin: String = text.chars().take(120).collect();
    let more = if begin.len() < text.len() { "..." } else { "" };
    format!("{:?}{more}", begin.trim_end())
}

mod level {
    use super::{Deserialize, Deserializer, Level, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(level: &Level, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(level.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
        let name = String::deserialize(from)?;
        Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
            let names = Level::ALL.map(Level::name).join(", ");
            D::Error::custom(format!("unknown level {name:?}, expected one of {names}"))
        })
    }
}

/// Limits under the names of their fields, of which none may be left out or added.
mod exact_limits {
    use super::{Deserialize, Deserializer, Limits, Serialize, Serializer, Value};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(limits: &Limits, to: S) -> Result<S::Ok, S::Error> {
        limits.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Limits, D::Error> {
        let value = Value::deserialize(from)?;
        let limits: Limits = serde_json::from_value(value.clone()).map_err(D::Error::custom)?;
        if serde_json::to_value(limits).ok() != Some(value) {
            return Err(D::Error::custom("a key of the limits is unknown"));
        }
        limits.validate().map_err(D::Error::custom)?;
        Ok(limits)
    }
}
