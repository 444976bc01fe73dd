//! What differs between two runs, in words.

use std::collections::BTreeMap;

use numashock_controller::{Amount, Evidence, Regime, Unit};
use numashock_engine::{Nanos, Recorded};
use numashock_sim::golden::{Golden, GoldenBucket, GoldenHost, differences, host_name};
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::file::ControllerName;
use numashock_sim::{BUCKET, semantic};

use super::locate::Parting;
use crate::decisions::{Cause, Deciders, Row, Verdict, built_in};

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first difference, in one line.
    pub first: String,
    /// All that is known of it, line by line.
    pub details: Vec<String>,
}

/// What agrees, and what else is to be said.
pub(super) fn agreement(kept: &Golden, now: &Golden) -> String {
    let buckets: usize = kept.hosts.iter().map(|host| host.buckets.len()).sum();
    let mut words = format!("{} events, {buckets} buckets", kept.end.events);
    let changed: Vec<String> =
        kept.hosts.iter().zip(&now.hosts).flat_map(|(kept, now)| changed_limits(kept, now)).collect();
    if !changed.is_empty() {
        words += &format!("; other limits decide the same: {}", changed.join("; "));
    }
    words
}

/// The differences of two runs; `events` says where their events part.
///
/// `config` is the scenario, with whose limits the built-in controller stands beside one that has rules of its own.
pub(super) fn difference(
    kept: &[GoldenHost],
    now: &[GoldenHost],
    config: &RunConfig,
    events: Option<Parting>,
) -> Option<Difference> {
    let saw = first_bucket(kept, now, |kept, now| kept.seen != now.seen);
    let decided = first_bucket(kept, now, |kept, now| kept.decision() != now.decision());
    let mut details = Vec::new();
    let mut found: Vec<(u64, u8, String)> = Vec::new();
    if let Some(place) = decided {
        let (line, more) = decision(kept, now, config, place);
        // With the same observations so far it is the decision that is another, and all else follows.
        let caused = saw.is_some_and(|saw| (saw.bucket, saw.host) <= (place.bucket, place.host));
        found.push((place.ends(), if caused { 2 } else { 0 }, line.clone()));
        details.push(line);
        details.extend(more);
    }
    if let Some(place) = saw {
        let line = observation(kept, now, place);
        found.push((place.ends(), 1, line.clone()));
        details.push(line);
    }
    if let Some(events) = events {
        found.push((events.at, 1, events.first));
        details.extend(events.details);
    }
    let first = found.into_iter().min()?.2;
    for (kept, now) in kept.iter().zip(now) {
        details.extend(changed_limits(kept, now));
    }
    Some(Difference { first, details })
}

/// A bucket of a host.
#[derive(Clone, Copy, Debug)]
struct Place {
    bucket: usize,
    host: usize,
}

impl Place {
    fn ends(self) -> u64 {
        (self.bucket as u64 + 1) * BUCKET.0
    }
}

fn first_bucket(
    kept: &[GoldenHost],
    now: &[GoldenHost],
    differs: impl Fn(&GoldenBucket, &GoldenBucket) -> bool,
) -> Option<Place> {
    let buckets = kept.iter().chain(now).map(|host| host.buckets.len()).max().unwrap_or(0);
    let hosts = kept.len().max(now.len());
    let bucket_of = |side: &[GoldenHost], place: Place| bucket_at(side, place);
    for bucket in 0..buckets {
        for host in 0..hosts {
            let place = Place { bucket, host };
            match (bucket_of(kept, place), bucket_of(now, place)) {
                (Some(kept), Some(now)) if !differs(&kept, &now) => {}
                (None, None) => {}
                _ => return Some(place),
            }
        }
    }
    None
}

fn bucket_at(side: &[GoldenHost], place: Place) -> Option<GoldenBucket> {
    side.get(place.host)?.buckets.get(place.bucket).copied()
}

/// `host 0, bucket 4 (up to 5.000000000s)`
fn place_words(kept: &[GoldenHost], now: &[GoldenHost], place: Place) -> String {
    let name = kept.get(place.host).or(now.get(place.host)).map_or("", |host| host.name.as_str());
    let number = HostId(u16::try_from(place.host).expect("few hosts"));
    format!("{}, bucket {} (up to {})", host_name(number, name), place.bucket, Nanos(place.ends()))
}

fn observation(kept: &[GoldenHost], now: &[GoldenHost], place: Place) -> String {
    let words = match (bucket_at(kept, place), bucket_at(now, place)) {
        (Some(kept), Some(now)) => differences(&kept.seen, &now.seen).join("; "),
        (Some(_), None) => "seen then, and not now".to_owned(),
        (None, _) => "seen now, and not then".to_owned(),
    };
    format!("{}: saw {words}", place_words(kept, now, place))
}

/// The line, and what it rested on.
fn decision(
    kept: &[GoldenHost],
    now: &[GoldenHost],
    config: &RunConfig,
    place: Place,
) -> (String, Vec<String>) {
    let at = place_words(kept, now, place);
    let (Some(was), Some(is)) = (bucket_at(kept, place), bucket_at(now, place)) else {
        return (format!("{at}: one of the runs has no such bucket"), Vec::new());
    };
    let words = if was.level == is.level {
        format!("{} with {}", was.level.name(), differences(&was.actions, &is.actions).join("; "))
    } else {
        format!("{}, now {}", was.level.name(), is.level.name())
    };
    let line = format!("{at}: decided {words}");
    let deciders = [&kept[place.host], &now[place.host]].map(|host| decider(host, config, place));
    let [Some((old, old_is_foreign)), Some((new, new_is_foreign))] = deciders else {
        return (line, vec!["  the limits that were kept are not those of this version".to_owned()]);
    };
    let deciders = Deciders { old, new, foreign: [old_is_foreign, new_is_foreign] };
    let row = row((&kept[place.host], &now[place.host]), &deciders, place, (was, is));
    let causes: Vec<String> = deciders.causes(&row).iter().map(cause_words).collect();
    let mut more = Vec::new();
    let sides = ["kept", "now"].into_iter().zip(deciders.reason_words(&row)).zip(deciders.instead(&row));
    for ((side, reasons), instead) in sides {
        more.extend(reasons.iter().map(|reason| format!("  {side} rested on: {reason}")));
        more.extend(instead.iter().map(|instead| format!("  {side}: {instead}")));
    }
    let why = if causes.is_empty() { String::new() } else { format!(": {}", causes.join("; ")) };
    (line + &why, more)
}

/// The built-in controller that decided for a host, or the one beside it and that it is only this; `None` if this version
/// has no such limits.
fn decider(host: &GoldenHost, config: &RunConfig, place: Place) -> Option<(ControllerConfig, bool)> {
    if host.limits.is_empty() {
        let number = u16::try_from(place.host).expect("few hosts");
        return Some((
            ControllerConfig { kind: ControllerName::FourState, ..built_in(config, number) },
            true,
        ));
    }
    let kind = serde_json::from_value(host.controller.clone().into()).ok()?;
    Some((ControllerConfig { kind, limits: host.limits()?, delay: None }, false))
}

pub(super) fn written(kind: ControllerName) -> String {
    serde_json::to_value(kind).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Both decisions about a bucket, with what each controller remembered.
fn row(
    (kept, now): (&GoldenHost, &GoldenHost),
    deciders: &Deciders,
    place: Place,
    (was, is): (GoldenBucket, GoldenBucket),
) -> Row {
    let verdict = |host: &GoldenHost, config: &ControllerConfig, bucket: GoldenBucket| Verdict {
        before: remembered(host, config, place.bucket),
        seen: bucket.seen,
        regime: remembered(host, config, place.bucket + 1),
        actions: bucket.actions,
    };
    Row {
        host: u16::try_from(place.host).expect("few hosts"),
        bucket: u32::try_from(place.bucket).expect("fewer than 2^32 seconds"),
        old: verdict(kept, &deciders.old, was),
        new: verdict(now, &deciders.new, is),
    }
}

/// The regime after so many buckets. A golden file keeps levels; the counters follow from what was seen, unless another
/// decided than the built-in controller.
fn remembered(host: &GoldenHost, config: &ControllerConfig, buckets: usize) -> Regime {
    let mut regime = Regime::STABLE;
    for bucket in &host.buckets[..buckets] {
        regime = config.policy()(&config.limits, regime, &bucket.seen).0;
        if regime.level() != bucket.level {
            regime = Regime::at(bucket.level);
        }
    }
    regime
}

/// Whether both saw the same value of a metric, and it is over the enter threshold of one of them alone.
fn crossed(cause: &Cause) -> bool {
    let (Some(old), Some(new)) = (cause.old, cause.new) else { return false };
    old.exit.is_some() && old.value == new.value && old.is_met() != new.is_met()
}

fn cause_words(cause: &Cause) -> String {
    match (cause.old, cause.new) {
        // Both enter thresholds, and not the exit that the value stands at on the other side.
        (Some(old), Some(new)) if crossed(cause) => {
            let stands = |one: &Evidence| {
                let word = if one.is_met() { "over" } else { "not over" };
                format!("{word} {} = {}", one.enter.key, one.amount(one.enter.value))
            };
            let value = old.value.map_or("missing".to_owned(), |value| old.amount(value).to_string());
            format!("{} {value} {}, now {}", old.subject.name(), stands(&old), stands(&new))
        }
        (Some(old), Some(new)) => format!("{old}, now {new}"),
        (Some(old), None) => format!("{old}, now not looked at"),
        (None, Some(new)) => format!("now {new}"),
        (None, None) => String::new(),
    }
}

fn changed_limits(kept: &GoldenHost, now: &GoldenHost) -> Vec<String> {
    let mut changed = Vec::new();
    if kept.controller != now.controller {
        changed.push(format!("controller {}, now {}", kept.controller, now.controller));
    }
    // One without limits has rules of its own, and each limit of the other would be listed.
    if !kept.limits.is_empty() && !now.limits.is_empty() {
        changed.extend(self::changed(&kept.limits, &now.limits));
    }
    changed
}

fn changed(kept: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let mut changed = Vec::new();
    for (name, value) in kept {
        let other = now.get(name);
        if other != Some(value) {
            let other = other.map_or("missing".to_owned(), |other| amount(name, other));
            changed.push(format!("limit {} {}, now {other}", toml_key(name), amount(name, value)));
        }
    }
    let new = now.iter().filter(|(name, _)| !kept.contains_key(*name));
    changed.extend(
        new.map(|(name, value)| format!("limit {} missing, now {}", toml_key(name), amount(name, value))),
    );
    changed
}

/// A limit's key as a scenario writes it: `rhf[2]` for `shock.rhf_ppm.enter`.
fn toml_key(name: &str) -> String {
    let (levels, name) = match name.split_once('.') {
        Some(("watch", rest)) => (0, rest),
        Some(("shock", rest)) => (2, rest),
        Some(("actions", rest)) => (0, rest.strip_prefix("scanner.").unwrap_or(rest)),
        _ => (0, name),
    };
    let (name, place) = match name.rsplit_once('.') {
        Some((name, "enter")) => (name, Some(levels)),
        Some((name, "exit")) => (name, Some(levels + 1)),
        _ => (name, None),
    };
    let units = ["_ppm", "_ns", "_ms", "_mb"];
    let key = units.into_iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    place.map_or(key.to_owned(), |place| format!("{key}[{place}]"))
}

/// A limit's value with its unit, which its name in a golden file says.
fn amount(name: &str, value: &str) -> String {
    let name = name.trim_end_matches(".enter").trim_end_matches(".exit");
    match (value.parse(), name.rsplit_once('_').map(|(_, unit)| unit)) {
        (Ok(value), Some("ppm")) => Amount { value, unit: Unit::Ppm }.to_string(),
        (Ok(value), Some("mb")) => Amount { value, unit: Unit::Mib }.to_string(),
        (Ok(_), Some(unit @ ("ns" | "ms"))) => format!("{value} {unit}"),
        _ => value.to_owned(),
    }
}

/// An event in words.
pub(super) fn event_words(event: &Recorded) -> String {
    format!("{} {}", event.at, semantic::words(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_as_a_scenario_writes_them() {
        for (name, value, expected) in [
            ("deadline_miss_ppm.enter", "990000", "deadline_miss[0] 99%"),
            ("qdl_ppm.exit", "100000", "qdl[1] 10%"),
            ("watch.rhf_ppm.exit", "970000", "rhf[1] 97%"),
            ("shock.mcr_kib_per_s.enter", "16384", "mcr_kib_per_s[2] 16384"),
            ("shock.dcj_ppm.exit", "40000000", "dcj[3] 4000%"),
            ("actions.child_spacing_ppm", "2000000", "child_spacing 200%"),
            ("actions.min_reprice_interval_ns", "50000000", "min_reprice_interval 50000000 ns"),
            ("actions.scanner.scan_delay_ms", "5000", "scan_delay 5000 ms"),
            ("actions.scanner.scan_size_mb", "64", "scan_size 64 MiB"),
            ("actions.balancing_off_permitted", "true", "balancing_off_permitted true"),
            ("shock_limit", "2", "shock_limit 2"),
        ] {
            assert_eq!(format!("{} {}", toml_key(name), amount(name, value)), expected);
        }
    }
}
