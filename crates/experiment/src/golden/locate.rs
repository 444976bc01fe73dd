//! The first event in which a run differs from the one that was kept.

use std::collections::VecDeque;
use std::path::Path;

use numashock_engine::Recorded;
use numashock_sim::Own;
use numashock_sim::golden::{Events, Golden, Interval, MARK_CHANCE, Marks};
use numashock_sim::scenario::config::RunConfig;

use super::compare::event_words;
use super::{Candidate, steering};

/// Events shown before the one that differs.
const BEFORE: usize = 3;

/// The run that was kept, as it would be now, and the one that differs.
#[derive(Clone, Copy)]
pub(super) struct Runs<'a> {
    /// Under the scenario's controller.
    pub(super) own: &'a RunConfig,
    /// Under the candidate, if there is one.
    pub(super) now: &'a RunConfig,
    /// Who decides in the latter.
    pub(super) candidate: Option<&'a Candidate<'a>>,
}

/// Where two runs part, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parting {
    /// When: the earlier of both sides.
    pub(super) at: u64,
    /// In one line.
    pub(super) first: String,
    /// The rest.
    pub(super) details: Vec<String>,
}

/// Names the interval, and the event in it.
///
/// Under another controller the run that was kept is run beside it, which gives both events. Otherwise the marks say where
/// the runs part, and the event is that of the run as it is now.
pub(super) fn locate(
    file: &Path,
    kept: &Golden,
    runs: Runs<'_>,
    interval: Interval,
) -> Result<Parting, String> {
    let (from, until) = (interval.from.map_or(0, |from| from.events), interval.kept.map(|kept| kept.events));
    let mut details = vec![interval_words(&interval)];
    let beside = match runs.candidate {
        Some(_) if !kept.head.other_controller => side_by_side(kept, runs)?,
        _ => None,
    };
    let found = match beside {
        Some(found) => Some(found),
        None => by_marks(file, kept, runs, (from, until), &mut details)?,
    };
    let Some(found) = found else {
        let at = interval.from.map_or(0, |from| from.at.0);
        return Ok(Parting { at, first: interval_words(&interval), details });
    };
    details.extend(
        found.before.iter().map(|(number, event)| format!("  event {number}: {}", event_words(event))),
    );
    let say = |event: Option<&Recorded>| event.map_or("the run is over".to_owned(), event_words);
    let (number, now) = (found.number, say(found.now.as_ref()));
    let first = match &found.kept {
        Some(was) => {
            details.push(format!("  event {number} kept: {}", say(was.as_ref())));
            format!("event {number}: {}, now {now}", say(was.as_ref()))
        }
        None => format!("event {number}: now {now}"),
    };
    details.push(format!("  event {number} now:  {now}"));
    let at = [found.now.as_ref(), found.kept.as_ref().and_then(Option::as_ref)];
    let at = at.into_iter().flatten().map(|event| event.at.0).min().unwrap_or(kept.end.at.0);
    Ok(Parting { at, first, details })
}

/// An event that differs.
struct Found {
    number: u64,
    before: VecDeque<(u64, Recorded)>,
    /// What was kept, if it is known; `None` within: the run was over.
    kept: Option<Option<Recorded>>,
    now: Option<Recorded>,
}

pub(super) fn interval_words(interval: &Interval) -> String {
    let from =
        interval.from.map_or("the start".to_owned(), |from| format!("event {} ({})", from.events, from.at));
    let ends = |end: Option<numashock_engine::Checkpoint>| {
        end.map_or("nothing more".to_owned(), |end| {
            format!("event {} at {} ({:016x})", end.events, end.at, end.hash)
        })
    };
    format!("events agree up to {from}; then kept: {}, now: {}", ends(interval.kept), ends(interval.now))
}

/// The scenario's controller and the candidate in step; `None` if the former does not give what was kept.
fn side_by_side(kept: &Golden, runs: Runs<'_>) -> Result<Option<Found>, String> {
    let (mut own, mut other) = (Own, steering(runs.candidate, runs.now, kept.head.replication)?);
    let replication = kept.head.replication;
    let (mut kept_run, mut now_run) =
        (Events::new(runs.own, replication, &mut own), Events::new(runs.now, replication, &mut *other));
    let mut points = kept.checkpoints.iter().chain([&kept.end]).peekable();
    let mut found: Option<Found> = None;
    let mut before = VecDeque::new();
    let mut number = 0;
    loop {
        number += 1;
        let was = kept_run.next().map_err(|error| error.to_string())?;
        if found.is_none() {
            let now = now_run.next().map_err(|error| error.to_string())?.map(|(event, _)| event);
            match (was, now) {
                (Some((was, _)), Some(now)) if was == now => remember(&mut before, number, now),
                (was, now) => {
                    let kept = Some(was.map(|(event, _)| event));
                    found = Some(Found { number, before: std::mem::take(&mut before), kept, now });
                }
            }
        }
        // What was kept must be met up to the end of the interval in which they part.
        match (was, points.peek()) {
            (Some((_, state)), Some(point)) if point.events == state.events => {
                if **point != state {
                    return Ok(None);
                }
                points.next();
                if found.is_some() {
                    return Ok(found);
                }
            }
            (None, _) => return Ok(found),
            _ => {}
        }
    }
}

fn remember(before: &mut VecDeque<(u64, Recorded)>, number: u64, event: Recorded) {
    if before.len() == BEFORE {
        before.pop_front();
    }
    before.push_back((number, event));
}

fn by_marks(
    file: &Path,
    kept: &Golden,
    runs: Runs<'_>,
    (from, until): (u64, Option<u64>),
    details: &mut Vec<String>,
) -> Result<Option<Found>, String> {
    let place = file.with_extension("marks");
    let marks = match std::fs::read_to_string(&place).map_err(|error| error.to_string()) {
        Ok(text) => Marks::parse(&text, kept.end).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let marks = match marks {
        Ok(marks) => marks,
        Err(why) => {
            details.push(format!("  which event it is cannot be told: {}: {why}", place.display()));
            return Ok(None);
        }
    };
    let mut steering = steering(runs.candidate, runs.now, kept.head.replication)?;
    let mut events = Events::new(runs.now, kept.head.replication, &mut *steering);
    let mut before = VecDeque::new();
    let mut number = 0;
    while let Some((event, state)) = events.next().map_err(|error| error.to_string())? {
        number = state.events;
        if number > from {
            match marks.differs(state) {
                Some(true) => {
                    details.push(format!(
                        "  (by its mark; with a chance of 1 in {MARK_CHANCE} it is the event before)"
                    ));
                    return Ok(Some(Found { number, before, kept: None, now: Some(event) }));
                }
                Some(false) => {}
                None => return Ok(Some(Found { number, before, kept: Some(None), now: Some(event) })),
            }
        }
        if until.is_some_and(|until| number > until) {
            return Ok(None);
        }
        remember(&mut before, number, event);
    }
    Ok(Some(Found { number: number + 1, before, kept: None, now: None }))
}
