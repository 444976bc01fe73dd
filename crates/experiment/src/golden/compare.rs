//! What differs between two runs, in words.

use numashock_controller::Limits;
use numashock_engine::{Nanos, Recorded};
use numashock_sim::BUCKET;
use numashock_sim::golden::{Golden, GoldenBucket, GoldenHost, differences, flat, host_name};
use numashock_sim::scenario::config::HostId;

use super::locate::Parting;

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
/// `limits` are those of another controller.
pub(super) fn difference(
    kept: &[GoldenHost],
    now: &[GoldenHost],
    limits: Option<&Limits>,
    events: Option<Parting>,
) -> Option<Difference> {
    let saw = first_bucket(kept, now, |kept, now| kept.seen != now.seen);
    let decided = first_bucket(kept, now, |kept, now| kept.decision() != now.decision());
    let mut details = Vec::new();
    let mut found: Vec<(u64, u8, String)> = Vec::new();
    if let Some(place) = decided {
        let (line, more) = decision(kept, now, limits, place);
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

/// The line, and what decided.
fn decision(
    kept: &[GoldenHost],
    now: &[GoldenHost],
    limits: Option<&Limits>,
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
    let (old, new) = (&kept[place.host].limits, &now[place.host].limits);
    let new = limits.map_or_else(|| new.clone(), flat);
    let mut more = Vec::new();
    let mut deciding = Vec::new();
    for (metric, value) in flat(&is.seen) {
        let Ok(value) = value.parse::<u64>() else { continue };
        more.push(format!("  {metric} {value}"));
        for (limit, bound) in old.iter().filter(|(limit, _)| limit.split('.').any(|part| part == metric)) {
            let (kept, now) = (stands(value, limit, Some(bound)), stands(value, limit, new.get(limit)));
            more.push(format!(
                "    {limit}: {kept}{}",
                if kept == now { String::new() } else { format!(", now {now}") }
            ));
            if kept != now && kept.split(' ').next() != now.split(' ').next() {
                deciding.push(format!("{metric} {value} is {kept} {limit}, now {now}"));
            }
        }
    }
    for (limit, bound) in old {
        let bound_now = new.get(limit).map_or("missing", String::as_str);
        if bound_now != bound && !deciding.iter().any(|line: &String| line.contains(limit.as_str())) {
            deciding.push(format!("{limit} {bound}, now {bound_now}"));
        }
    }
    let why = if deciding.is_empty() { String::new() } else { format!(": {}", deciding.join("; ")) };
    (format!("{at}: decided {words}{why}"), more)
}

/// `over 980000`: how a value stands to a limit.
fn stands(value: u64, limit: &str, bound: Option<&String>) -> String {
    let Some(number) = bound.and_then(|bound| bound.parse::<u64>().ok()) else {
        return "without bound".to_owned();
    };
    let met = if limit.ends_with(".exit") { value < number } else { value > number };
    let word = if limit.ends_with(".exit") { "under" } else { "over" };
    format!("{}{word} {number}", if met { "" } else { "not-" })
}

fn changed_limits(kept: &GoldenHost, now: &GoldenHost) -> Vec<String> {
    let mut changed = Vec::new();
    if kept.controller != now.controller {
        changed.push(format!("controller {}, now {}", kept.controller, now.controller));
    }
    for (name, value) in &kept.limits {
        let other = now.limits.get(name).map_or("missing", String::as_str);
        if other != value {
            changed.push(format!("limit {name} {value}, now {other}"));
        }
    }
    let new = now.limits.iter().filter(|(name, _)| !kept.limits.contains_key(*name));
    changed.extend(new.map(|(name, value)| format!("limit {name} missing, now {value}")));
    changed
}

/// An event in words.
pub(super) fn event_words(event: &Recorded) -> String {
    let [first, second] = event.payload;
    format!("{} kind {:#x} of {} with {first:#x} {second:#x}", event.at, event.kind, event.source)
}
