//! Snapshots of /proc/vmstat, each after a line with its time.

use super::error::{RecordingError, RecordingProblem};
use super::{Counters, NAMES, Reading, decimal};

/// The values of these counters in one text of /proc/vmstat. What is missing, or no number, is `None`.
#[must_use]
pub fn values<const N: usize>(text: &str, names: &[&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if let Some(place) = names.iter().position(|counter| *counter == name) {
            found[place] = value.trim().parse().ok();
        }
    }
    found
}

/// Reads every snapshot, and says how many were left out at the end because they were cut short.
///
/// # Errors
/// The first line that cannot be read.
pub(super) fn read(file: &str, text: &str) -> Result<(Vec<Reading>, usize), RecordingError> {
    let refuse = |line: usize, column: &str, problem| RecordingError {
        file: file.to_owned(),
        line,
        column: column.to_owned(),
        problem,
    };
    let mut readings: Vec<Reading> = Vec::new();
    let ends_in_newline = text.ends_with('\n');
    let count = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim().trim_start_matches('\u{feff}'));
        if line.is_empty() {
            continue;
        }
        if number == count && !ends_in_newline {
            // Its last digits may be missing, so it counts as absent.
            continue;
        }
        let not_a_line = || RecordingProblem::NotASnapshotLine { found: line.chars().take(40).collect() };
        if let Some(at) = time(line).map_err(|_| refuse(number, "", not_a_line()))? {
            if readings.last().is_some_and(|before| at <= before.at) {
                return Err(refuse(number, "", RecordingProblem::TimeNotLater));
            }
            readings.push(Reading { at, line: number, counters: [None; NAMES.len()] });
            continue;
        }
        if line.starts_with('#') || line.chars().all(|c| c == '-' || c == '=') {
            continue;
        }
        let (name, value) = line.split_once([' ', '\t']).ok_or_else(|| refuse(number, "", not_a_line()))?;
        let value = value.trim();
        if name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            return Err(refuse(number, "", not_a_line()));
        }
        let Some(place) = NAMES.iter().position(|counter| *counter == name) else { continue };
        let count: u64 = value.parse().map_err(|_| {
            refuse(number, name, RecordingProblem::NotANumber { found: value.chars().take(40).collect() })
        })?;
        let reading = readings.last_mut();
        let reading = reading.ok_or_else(|| refuse(number, name, RecordingProblem::CounterBeforeTime))?;
        if reading.counters[place].replace(i128::from(count)).is_some() {
            return Err(refuse(number, name, RecordingProblem::RepeatedCounter));
        }
    }
    let mut cut = 0;
    if readings.len() > 1 && is_cut(&readings[readings.len() - 2].counters, &readings[readings.len() - 1]) {
        readings.pop();
        cut = 1;
    }
    let Some(first) = readings.first() else {
        return Err(refuse(1, "", RecordingProblem::NoTime));
    };
    if readings.iter().all(|reading| reading.counters.iter().all(Option::is_none)) {
        return Err(refuse(first.line, "", RecordingProblem::NoCounters));
    }
    if readings.len() < 2 {
        return Err(refuse(first.line, "", RecordingProblem::TooShort));
    }
    Ok((readings, cut))
}

/// Whether a snapshot lacks what the one before it has.
fn is_cut(before: &Counters, last: &Reading) -> bool {
    before.iter().zip(&last.counters).any(|(before, last)| before.is_some() && last.is_none())
}

/// A line that begins as a time does, and is none.
struct NoTime;

/// Nanoseconds, if the line is a time. It may follow a `#`.
fn time(line: &str) -> Result<Option<i64>, NoTime> {
    let text = line.trim_start_matches(['#', ' ', '\t']);
    let end = text.find([' ', '\t', ':', '=']).unwrap_or(text.len());
    let value = text[end..].trim_matches([' ', '\t', ':', '=']);
    let nanos = |text: &str| text.parse().ok().filter(|nanos| in_range(*nanos));
    match &text[..end] {
        "timestamp_ns" | "time_ns" => nanos(value).map(Some).ok_or(NoTime),
        "timestamp" | "time" => instant_or_nanos(value).map(Some).ok_or(NoTime),
        _ => Ok(instant_or_nanos(text)),
    }
}

/// As [`instant`], or what `date +%s%N` prints.
fn instant_or_nanos(text: &str) -> Option<i64> {
    let nanos = text.len() == 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    if nanos { text.parse().ok().filter(|nanos| in_range(*nanos)) } else { instant(text) }
}

/// A time as nanoseconds: seconds with at most nine decimals, or RFC 3339.
#[must_use]
pub fn instant(text: &str) -> Option<i64> {
    decimal(text, 9).or_else(|| rfc_3339(text)).filter(|nanos| in_range(*nanos))
}

/// Half the range, so that the distance of two times fits 64 bits with a sign.
fn in_range(nanos: i64) -> bool {
    nanos.unsigned_abs() <= i64::MAX.unsigned_abs() / 2
}

/// `2026-03-17T09:30:00.25+01:00` or `...Z` as nanoseconds since 1970.
pub(crate) fn rfc_3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = parts(date, '-')?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    // `date -Ins` writes a comma.
    let (whole, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, "0"));
    let [hour, minute, second] = parts(whole, ':')?;
    let valid = (1970..=2200).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let digits = zone[1..].replace(':', "");
            let number: i64 = Some(&digits).filter(|digits| digits.len() == 4)?.parse().ok()?;
            if number / 100 > 14 || number % 100 > 59 {
                return None;
            }
            let seconds = (number / 100) * 3_600 + (number % 100) * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    decimal(&format!("0.{fraction}"), 9).map(|part| seconds * 1_000_000_000 + part)
}

fn parts(text: &str, by: char) -> Option<[i64; 3]> {
    let mut numbers = text.split(by);
    let mut next = || -> Option<i64> {
        let part = numbers.next()?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let three = [next()?, next()?, next()?];
    numbers.next().is_none().then_some(three)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let years = year - 1;
    let leap_days = years / 4 - years / 100 + years / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let month_start = BEFORE[usize::try_from(month - 1).expect("a month from 1 to 12")];
    (year - 1970) * 365 + leap_days + month_start + i64::from(is_leap(year) && month > 2) + day - 1
}
