//! Counters and telemetry from files: text, plain or compressed with gzip; what lies beside a recording; tables of results.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use numashock_sim::counters::{Grown, NAMES, Series};
use serde_json::Value;

use super::{HostCounters, ImportError, SECOND};

/// Most bytes of a file, after decompression.
const MOST_BYTES: u64 = 1 << 30;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The text of a file; one that is compressed with gzip is recognised by its first bytes.
///
/// # Errors
/// If it cannot be read, is no UTF-8 or too large.
pub fn read_text(path: &Path) -> Result<String, ImportError> {
    let refuse = |problem: String| ImportError::new(&path.display().to_string(), 0, "", &problem);
    let unreadable =
        |error: std::io::Error| refuse(format!("cannot be read: {error}; check the path and the file"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&bytes[..]).take(MOST_BYTES + 1).read_to_end(&mut plain).map_err(unreadable)?;
        bytes = plain;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(refuse(format!("holds more than {} MiB; split it", MOST_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| refuse("is no text; expected UTF-8, plain or gzip".to_owned()))
}

/// Reads the counters of a host from a CSV or from snapshots of /proc/vmstat.
///
/// What `numashock record` has written beside its CSV gives the knobs, and when the recording began: its times are then
/// counted since 1970.
///
/// # Errors
/// If the file cannot be read, or the first line of it that cannot.
pub fn counters(name: &str, path: &Path) -> Result<HostCounters, ImportError> {
    let file = path.display().to_string();
    let series = Series::parse(&file, &read_text(path)?).map_err(|error| ImportError {
        file: error.file,
        line: error.line,
        column: error.column,
        problem: error.problem.to_string(),
    })?;
    let about = about(path);
    let knobs = about.as_ref().and_then(|about| about.get("sysctls")).map(pairs).unwrap_or_default();
    let began = about.and_then(|about| about.get("outcome")?.get("started_unix_ns")?.as_i64());
    let series = match began {
        Some(began) if series.clock() == numashock_sim::counters::Clock::Own => series.moved(began),
        _ => series,
    };
    Ok(HostCounters { name: name.to_owned(), series, knobs })
}

/// The JSON beside a recording `NAME.csv` or `NAME.csv.gz`, if it is there and is one.
fn about(path: &Path) -> Option<Value> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".csv")?;
    let text = std::fs::read_to_string(path.with_file_name(format!("{stem}.json"))).ok()?;
    serde_json::from_str(&text).ok().filter(|about: &Value| about.get("csv").is_some())
}

fn pairs(table: &Value) -> BTreeMap<String, String> {
    let entries = table.as_object().into_iter().flatten();
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    entries.map(|(key, value)| (key.clone(), shown(value))).collect()
}

/// The columns of a table of buckets that are looked at, beside the counters.
pub const BUCKET_COLUMNS: [&str; 7] =
    ["choice", "choice_index", "seed", "host", "bucket_start_ns", "bucket_length_ns", "rhf_ppm"];

/// The counters of every host in a table of buckets, as a run leaves it: of one choice (the first, unless it is named) and
/// one replication. A second whose RHF is missing is one in which nobody could read the counters.
///
/// # Errors
/// If a column is missing, a cell is no number, or there is no such choice and replication.
pub fn counters_of_buckets(
    file: &str,
    columns: &[String],
    rows: &[Vec<String>],
    choice: Option<&str>,
    replication: u64,
) -> Result<Vec<HostCounters>, ImportError> {
    let column = |name: &str| {
        columns.iter().position(|column| column == name).ok_or_else(|| {
            ImportError::new(file, 0, name, "is no column; expected the buckets.parquet of a results folder")
        })
    };
    let [choices, seeds, hosts, starts, lengths, seen] =
        ["choice", "seed", "host", "bucket_start_ns", "bucket_length_ns", "rhf_ppm"].map(column);
    let (choices, seeds, hosts) = (choices?, seeds?, hosts?);
    let (starts, lengths, seen) = (starts?, lengths?, seen?);
    let number = |line: usize, place: usize, row: &[String]| {
        row[place].parse::<i64>().map_err(|_| {
            let problem = format!("found `{}`; expected a whole number", row[place]);
            ImportError::new(file, line, &columns[place], &problem)
        })
    };
    let wanted = choice.map(str::to_owned).or_else(|| rows.first().map(|row| row[choices].clone()));
    let mut spans: BTreeMap<&str, Vec<Grown>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let line = index + 1;
        let ours = wanted.as_ref() == Some(&row[choices]) && row[seeds].parse() == Ok(replication);
        if !ours || number(line, lengths, row)? != SECOND {
            continue;
        }
        let mut counters = [None; NAMES.len()];
        for (value, name) in counters.iter_mut().zip(NAMES) {
            if let Some(place) = columns.iter().position(|column| column == name) {
                *value = Some(i128::from(number(line, place, row)?));
            }
        }
        let from = number(line, starts, row)?;
        let span = Grown { from, until: from + SECOND, line, seen: !row[seen].is_empty(), counters };
        spans.entry(&row[hosts]).or_default().push(span);
    }
    if spans.is_empty() {
        let mut names: Vec<&str> = rows.iter().map(|row| row[choices].as_str()).collect();
        names.dedup();
        let problem = format!(
            "there is no bucket of choice `{}`, replication {replication}; it has {}",
            wanted.unwrap_or_default(),
            names.join(", ")
        );
        return Err(ImportError::new(file, 0, "--choice", &problem));
    }
    let host = |(name, spans): (&str, Vec<Grown>)| {
        let series = Series::from_growth(file, &spans).map_err(|error| {
            ImportError::new(&error.file, error.line, &error.column, &error.problem.to_string())
        })?;
        Ok(HostCounters { name: name.to_owned(), series, knobs: BTreeMap::new() })
    };
    spans.into_iter().map(host).collect()
}

/// The knobs of balancing in a resolved scenario, as a results folder has it, by their keys.
#[must_use]
pub fn knobs_of_scenario(text: &str) -> BTreeMap<String, String> {
    let table: Option<toml::Table> = text.parse().ok();
    let balancing = table.as_ref().and_then(|table| table.get("machine")?.get("balancing")?.as_table());
    let shown = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let plain = |value: &toml::Value| !value.is_table() && !value.is_array();
    let entries = balancing.into_iter().flatten().filter(|(_, value)| plain(value));
    entries.map(|(key, value)| (key.clone(), shown(value))).collect()
}
