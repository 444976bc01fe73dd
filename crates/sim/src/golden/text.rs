//! The text of a golden file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use numashock_controller::{Actions, Level};
use numashock_engine::{Checkpoint, Nanos};
use serde::Serialize;

use super::flat::{flat, nested};
use super::{Golden, GoldenBucket, GoldenHost, Head};

const FIRST_LINE: &str = "numashock golden 1";

/// Why a text is no golden file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl fmt::Display for GoldenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for GoldenError {}

impl fmt::Display for Golden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.head;
        writeln!(f, "{FIRST_LINE}\nmodel {}\nscenario {}", head.model, head.scenario)?;
        writeln!(f, "choice {}\nreplication {}", head.choice, head.replication)?;
        writeln!(f, "controller {}", if head.other_controller { "another" } else { "the scenario's" })?;
        writeln!(f, "interval {}", head.interval)?;
        for point in &self.checkpoints {
            writeln!(f, "{}", checkpoint(point))?;
        }
        writeln!(f, "end {}", checkpoint(&self.end))?;
        for (number, host) in self.hosts.iter().enumerate() {
            write_host(f, number, host)?;
        }
        Ok(())
    }
}

pub(super) fn checkpoint(point: &Checkpoint) -> String {
    format!("{} {} {:016x}", point.events, point.at, point.hash)
}

fn write_host(f: &mut fmt::Formatter<'_>, number: usize, host: &GoldenHost) -> fmt::Result {
    writeln!(f, "{}", format!("host {number} {}", host.name).trim_end())?;
    writeln!(f, "policy {}", host.controller)?;
    for (name, value) in &host.limits {
        writeln!(f, "limit {name} {value}")?;
    }
    let mut before = (Level::Stable, Actions::NORMAL);
    for (number, bucket) in host.buckets.iter().enumerate() {
        write!(f, "bucket {number} {}", words(flat(&bucket.seen).into_iter()))?;
        if bucket.decision() != before {
            let normal = flat(&Actions::NORMAL);
            let changed = flat(&bucket.actions).into_iter();
            let changed = changed.filter(|(name, value)| normal.get(name) != Some(value));
            write!(f, "{}", format!(" -> {} {}", bucket.level.name(), words(changed)).trim_end())?;
            before = bucket.decision();
        }
        writeln!(f)?;
    }
    Ok(())
}

fn words(values: impl Iterator<Item = (String, String)>) -> String {
    let words: Vec<String> = values.map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}

impl FromStr for Golden {
    type Err = GoldenError;

    fn from_str(text: &str) -> Result<Golden, GoldenError> {
        let mut lines = Lines { lines: text.lines().collect(), at: 0 };
        if lines.take() != Some(FIRST_LINE) {
            return Err(lines.wrong(format!(
                "expected \"{FIRST_LINE}\": this is no golden file of this version; `numashock golden bless` makes one"
            )));
        }
        let head = Head {
            model: lines.number("model")?,
            scenario: lines.value("scenario")?.to_owned(),
            choice: lines.value("choice")?.to_owned(),
            replication: lines.number("replication")?,
            other_controller: match lines.value("controller")? {
                "the scenario's" => false,
                "another" => true,
                _ => return Err(lines.wrong("expected \"the scenario's\" or \"another\"")),
            },
            interval: lines.number("interval")?,
        };
        if head.interval == 0 {
            return Err(lines.wrong("expected an interval of one event or more"));
        }
        let (checkpoints, end) = lines.checkpoints(head.interval)?;
        let mut hosts = Vec::new();
        while lines.peek().is_some() {
            let host = lines.host(hosts.len())?;
            hosts.push(host);
        }
        if hosts.is_empty() {
            return Err(lines.wrong("expected a line \"host 0\""));
        }
        Ok(Golden { head, checkpoints, end, hosts })
    }
}

struct Lines<'t> {
    lines: Vec<&'t str>,
    /// Lines that were taken.
    at: usize,
}

impl<'t> Lines<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.lines.get(self.at).copied()
    }

    fn take(&mut self) -> Option<&'t str> {
        let line = self.peek();
        self.at += 1;
        line
    }

    /// An error at the line that was taken last.
    fn wrong(&self, problem: impl Into<String>) -> GoldenError {
        GoldenError { line: self.at, problem: problem.into() }
    }

    fn value(&mut self, key: &str) -> Result<&'t str, GoldenError> {
        let line = self.take();
        let value = line.and_then(|line| line.strip_prefix(key)).and_then(|rest| rest.strip_prefix(' '));
        value.filter(|value| !value.is_empty()).ok_or_else(|| {
            let found = line.map_or_else(|| "the end".to_owned(), |line| format!("\"{line}\""));
            self.wrong(format!("expected \"{key}\" and a value, found {found}"))
        })
    }

    fn number<T: FromStr>(&mut self, key: &str) -> Result<T, GoldenError> {
        let value = self.value(key)?;
        value.parse().map_err(|_| self.wrong(format!("expected a whole number after \"{key}\"")))
    }

    fn checkpoints(&mut self, interval: u64) -> Result<(Vec<Checkpoint>, Checkpoint), GoldenError> {
        let mut points: Vec<Checkpoint> = Vec::new();
        loop {
            let line = self.take().ok_or_else(|| self.wrong("expected a line that begins with \"end\""))?;
            let (ends, rest) = line.strip_prefix("end ").map_or((false, line), |rest| (true, rest));
            let point = read_checkpoint(rest)
                .ok_or_else(|| self.wrong(format!("expected EVENTS TIMEs HASH, found \"{line}\"")))?;
            if ends {
                return Ok((points, point));
            }
            let expected = interval.checked_mul(points.len() as u64 + 1);
            if Some(point.events) != expected {
                let expected = expected.map_or("no more".to_owned(), |events| events.to_string());
                return Err(self.wrong(format!("expected the state after {expected} events")));
            }
            points.push(point);
        }
    }

    fn host(&mut self, number: usize) -> Result<GoldenHost, GoldenError> {
        let line = self.take().unwrap_or_default();
        let name = line.strip_prefix(&format!("host {number}"));
        let name = name.filter(|name| name.is_empty() || name.starts_with(' '));
        let name = name.ok_or_else(|| {
            self.wrong(format!("expected \"host {number}\" or another bucket, found \"{line}\""))
        })?;
        let mut host = GoldenHost {
            name: name.trim_start().to_owned(),
            controller: self.value("policy")?.to_owned(),
            limits: BTreeMap::new(),
            buckets: Vec::new(),
        };
        while self.peek().is_some_and(|line| line.starts_with("limit ")) {
            let value = self.value("limit")?;
            let (name, value) =
                value.split_once(' ').ok_or_else(|| self.wrong("expected a name and a value"))?;
            host.limits.insert(name.to_owned(), value.to_owned());
        }
        let mut before = (Level::Stable, Actions::NORMAL);
        while self.peek().is_some_and(|line| line.starts_with("bucket ")) {
            let bucket = self.bucket(host.buckets.len(), before)?;
            before = bucket.decision();
            host.buckets.push(bucket);
        }
        Ok(host)
    }

    fn bucket(&mut self, number: usize, before: (Level, Actions)) -> Result<GoldenBucket, GoldenError> {
        let value = self.value(&format!("bucket {number}"))?;
        let (seen, decided) = value.split_once(" -> ").map_or((value, None), |(a, b)| (a, Some(b)));
        let bad = |error: String| self.wrong(error);
        let seen = pairs(seen).and_then(|pairs| nested(&pairs).map_err(|error| error.to_string()));
        let seen = seen.map_err(bad)?;
        let Some(decided) = decided else {
            return Ok(GoldenBucket { seen, level: before.0, actions: before.1 });
        };
        let (name, actions) = decided.split_once(' ').unwrap_or((decided, ""));
        let level = Level::ALL.into_iter().find(|level| level.name() == name);
        let level = level.ok_or_else(|| self.wrong(format!("\"{name}\" is no level")))?;
        let mut all = flat(&Actions::NORMAL);
        all.extend(pairs(actions).map_err(bad)?);
        let actions = nested(&all).map_err(|error| bad(error.to_string()))?;
        Ok(GoldenBucket { seen, level, actions })
    }
}

fn pairs(words: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |word: &str| {
        let (name, value) =
            word.split_once('=').ok_or_else(|| format!("expected name=value, found \"{word}\""))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    words.split_whitespace().map(pair).collect()
}

fn read_checkpoint(text: &str) -> Option<Checkpoint> {
    let mut words = text.split(' ');
    let (events, at, hash) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (seconds, nanos) = at.strip_suffix('s')?.split_once('.')?;
    if words.next().is_some() || nanos.len() != 9 || hash.len() != 16 {
        return None;
    }
    let at = seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)?;
    Some(Checkpoint { events, at: Nanos(at), hash: u64::from_str_radix(hash, 16).ok()? })
}

/// What differs between two pieces of plain data, in words: `rhf_ppm 981000, now 970000`.
#[must_use]
pub fn differences(kept: &impl Serialize, now: &impl Serialize) -> Vec<String> {
    let (kept, now) = (flat(kept), flat(now));
    let names: std::collections::BTreeSet<&String> = kept.keys().chain(now.keys()).collect();
    let or_missing = |value: Option<&String>| value.map_or("missing".to_owned(), Clone::clone);
    names
        .into_iter()
        .filter(|name| kept.get(*name) != now.get(*name))
        .map(|name| format!("{name} {}, now {}", or_missing(kept.get(name)), or_missing(now.get(name))))
        .collect()
}
