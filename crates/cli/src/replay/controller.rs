//! Another controller on a recorded run.

use std::error::Error;
use std::process::ExitCode;

use numashock_controller::Evidence;
use numashock_engine::Nanos;
use numashock_experiment::decisions::{
    self, Cause, Deciders, Instead, Row, Shortfall, built_in, open_loop, shortfall, side_by_side,
};
use numashock_experiment::sweep::Steers;
use numashock_experiment::tape::{self, Piece, Stopped};
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::{Own, RunResult, Steering, SteeringError};
use numashock_trace::{Decided, Header, TraceError};
use serde_json::{Value, json};

use super::ReplayArgs;
use crate::output::say;
use crate::steering::Controller;
use crate::trace::{FileReader, TraceFile, host_name, run_of};

/// Decisions of both, and what the new ones are worth if they were tried.
struct Outcome {
    rows: Vec<Row>,
    shortfalls: Option<[Option<Shortfall>; 2]>,
}

pub(super) fn run(
    arguments: &ReplayArgs,
    (file, reader): (&TraceFile, &FileReader),
    config: RunConfig,
    by: &Controller,
) -> Result<ExitCode, Box<dyn Error>> {
    let (from, until) = arguments.window.bounds()?;
    let header = reader.header();
    let decided: Result<Vec<Decided>, TraceError> = file.open()?.decided(Nanos::ZERO).collect();
    let decided = decided.map_err(|error| file.blame(error))?;
    fits(&decided, &config).map_err(|problem| file.blame(problem))?;
    let mut outcome = if arguments.closed_loop {
        closed(header, &config, by, &decided)?
    } else {
        let mut steering = by.begin(&config, header.replication)?;
        Outcome { rows: open_loop(&config, &decided, &mut *steering)?, shortfalls: None }
    };
    outcome.rows.retain(|row| from <= row.at() && row.at() < until);
    let report = Report { header, config: &config, by, outcome, closed: arguments.closed_loop };
    if arguments.json {
        say(&format!("{}\n", report.json()))?;
    } else {
        say(&report.text(arguments.lines))?;
    }
    Ok(ExitCode::from(u8::from(report.differing() > 0)))
}

/// Whether decisions can be those of a run of this scenario.
fn fits(decided: &[Decided], config: &RunConfig) -> Result<(), String> {
    let hosts = config.hosts.len();
    for (place, one) in decided.iter().enumerate() {
        let (bucket, host) = (place / hosts, place % hosts);
        if (one.bucket as usize, usize::from(one.host)) != (bucket, host) {
            return Err(format!(
                "decision {place} is of host {} and bucket {}: expected host {host} and bucket {bucket}, for the {hosts} \
                 hosts of its scenario; write the trace anew",
                one.host, one.bucket
            ));
        }
    }
    if decided.is_empty() {
        return Err("holds no decision: it was cut before the first bucket ended".to_owned());
    }
    Ok(())
}

/// Simulates the run anew with the new decisions, and once more as it was.
fn closed(
    header: &Header,
    config: &RunConfig,
    by: &Controller,
    decided: &[Decided],
) -> Result<Outcome, Box<dyn Error>> {
    let (old_result, old) = simulate(config, header, &mut Own)?;
    if let Some(place) = decided.iter().zip(&old).position(|(stored, now)| stored != now) {
        return Err(format!(
            "bucket {} of host {}: the run does not decide as its trace says; numashock replay without a controller names \
             the first difference",
            decided[place].bucket, decided[place].host
        )
        .into());
    }
    let mut new_config = config.clone();
    for (number, host) in (0..).zip(&mut new_config.hosts) {
        let delay = by.built_in(built_in(config, number)).delay;
        host.delay = delay.unwrap_or(host.delay);
    }
    let mut steering = by.begin(config, header.replication)?;
    let (new_result, new) = simulate(&new_config, header, &mut *steering)?;
    let rows = side_by_side(config.hosts.len(), decided, &new);
    let shortfalls = Some([shortfall(&old_result), shortfall(&new_result)]);
    Ok(Outcome { rows, shortfalls })
}

fn simulate(
    config: &RunConfig,
    header: &Header,
    steering: &mut dyn Steering,
) -> Result<(RunResult, Vec<Decided>), SteeringError> {
    let mut decided = Vec::new();
    let told = tape::follow(config, header.replication, 0, steering, |piece| {
        if let Piece::Decided(one) = piece {
            decided.push(one);
        }
        Ok::<(), std::convert::Infallible>(())
    });
    match told {
        Ok(result) => Ok((result, decided)),
        Err(Stopped::Steering(error)) => Err(error),
        Err(Stopped::Listener(never)) => match never {},
    }
}

struct Report<'a> {
    header: &'a Header,
    config: &'a RunConfig,
    by: &'a Controller,
    outcome: Outcome,
    closed: bool,
}

impl Report<'_> {
    fn differing(&self) -> usize {
        self.outcome.rows.iter().filter(|row| !row.decides_alike()).count()
    }

    fn deciders(&self, row: &Row) -> Deciders {
        let old = built_in(self.config, row.host);
        Deciders { old, new: self.by.built_in(old), foreign: [false, self.by.is_foreign()] }
    }

    /// Rows from the first difference on: those of decisions, and the first of memories if it comes before.
    fn shown(&self) -> Vec<&Row> {
        let rows = &self.outcome.rows;
        let Some(first) = rows.iter().position(|row| !row.decides_alike()) else { return Vec::new() };
        let memory = rows[..first].iter().position(|row| !row.remembers_alike());
        let differing = rows[first..].iter().filter(|row| !row.decides_alike());
        memory.map(|place| &rows[place]).into_iter().chain(differing).collect()
    }

    fn text(&self, most: usize) -> String {
        let how = if self.closed { "closed loop: the run was simulated anew" } else { "open loop" };
        let rows = &self.outcome.rows;
        let mut text = format!("{}\nnew: {}, {how}\n", run_of(self.header), self.by.name());
        text += &format!("{} of {} decisions differ\n", self.differing(), rows.len());
        let shown = self.shown();
        let most = if most == 0 { shown.len() } else { most };
        for (place, row) in shown.iter().take(most).enumerate() {
            let first = match (row.decides_alike(), place) {
                (true, _) => "remembers otherwise from here on: ",
                (false, 0) => "first difference: ",
                (false, 1) if shown[0].decides_alike() => "first difference: ",
                _ => "",
            };
            text += &format!("\n{first}{}\n{}", self.place(row), self.row(row));
        }
        if shown.len() > most {
            let more = shown.len() - most;
            text += &format!("\n... and {more} more that differ; --lines 0 prints all\n");
        }
        if let Some([old, new]) = &self.outcome.shortfalls {
            text += &format!("\n{}\n", worth(*old, *new));
        }
        text
    }

    fn place(&self, row: &Row) -> String {
        let (bucket, host) = (u64::from(row.bucket), host_name(&self.header.hosts, usize::from(row.host)));
        format!("bucket {bucket} ({bucket}s to {}s), {host}", bucket + 1)
    }

    fn row(&self, row: &Row) -> String {
        let deciders = self.deciders(row);
        let [old, new] = deciders.reason_words(row);
        let [old_instead, new_instead] = deciders.instead(row);
        let mut text = String::new();
        for (who, verdict, reasons, instead) in
            [("old", &row.old, &old, &old_instead), ("new", &row.new, &new, &new_instead)]
        {
            let regime = verdict.regime;
            let counts = format!("held {}, calm {}, blind {}", regime.held(), regime.calm(), regime.blind());
            let reasons = reasons.join("; ");
            let from = verdict.before.name();
            let line = format!("  {who}  {from} -> {} ({counts})  {reasons}", regime.name());
            text += &format!("{}\n", line.trim_end());
            if let Some(instead) = instead {
                text += &format!("       {instead}\n");
            }
        }
        for cause in deciders.causes(row) {
            text += &format!("  {}\n", told(&cause));
        }
        for (name, old, new) in row.actions_that_differ() {
            text += &format!("  action {name}: {old} | {new}\n");
        }
        text
    }

    fn json(&self) -> Value {
        let shortfall = |one: Option<Shortfall>| {
            one.map(|one| json!({"parents": one.parents, "mean_micro_bp": one.mean, "q95_micro_bp": one.q95}))
        };
        let rows: Vec<Value> = self.shown().into_iter().map(|row| self.row_json(row)).collect();
        let first = self.outcome.rows.iter().find(|row| !row.decides_alike());
        json!({
            "run": run_of(self.header),
            "controller": self.by.name(),
            "closed_loop": self.closed,
            "decisions": self.outcome.rows.len(),
            "differing": self.differing(),
            "first_difference": first.map(|row| json!({"bucket": row.bucket, "host": self.host(row)})),
            "rows": rows,
            "shortfall": self.outcome.shortfalls.map(|[old, new]| json!({"old": shortfall(old), "new": shortfall(new)})),
        })
    }

    fn host(&self, row: &Row) -> String {
        host_name(&self.header.hosts, usize::from(row.host))
    }

    fn row_json(&self, row: &Row) -> Value {
        let deciders = self.deciders(row);
        let [old_instead, new_instead] = deciders.instead(row);
        let side = |verdict: &decisions::Verdict, reasons: &[Evidence], instead: Option<Instead>| {
            let regime = verdict.regime;
            json!({
                "from": verdict.before.name(),
                "level": regime.name(),
                "held": regime.held(),
                "calm": regime.calm(),
                "blind": regime.blind(),
                "seen": verdict.seen,
                "actions": verdict.actions,
                "reasons": reasons.iter().map(evidence).collect::<Vec<_>>(),
                "built_in_instead": instead.map(|one| json!({
                    "level": one.level.name(),
                    "reasons": one.reasons.iter().map(evidence).collect::<Vec<_>>(),
                })),
            })
        };
        let [old, new] = deciders.reasons(row);
        let causes: Vec<Value> = deciders
            .causes(row)
            .iter()
            .map(|cause| {
                json!({
                    "old": cause.old.as_ref().map(evidence),
                    "new": cause.new.as_ref().map(evidence),
                })
            })
            .collect();
        json!({
            "bucket": row.bucket,
            "end_ns": row.at().0,
            "host": self.host(row),
            "decides_alike": row.decides_alike(),
            "old": side(&row.old, &old, old_instead),
            "new": side(&row.new, &new, new_instead),
            "causes": causes,
            "actions_that_differ": row.actions_that_differ().iter().map(|(name, _, _)| name.clone()).collect::<Vec<_>>(),
        })
    }
}

fn evidence(one: &Evidence) -> Value {
    let bound = one.bound();
    json!({
        "metric": one.subject.name(),
        "value": one.value,
        "limit": bound.key,
        "bound": bound.value,
        "standing": format!("{:?}", one.standing).to_lowercase(),
        "text": one.to_string(),
    })
}

/// What stood on other sides of its limit: once if the limit is the same, else with both.
fn told(cause: &Cause) -> String {
    let shown = |one: Option<Evidence>| one.map_or_else(|| "not looked at".to_owned(), |one| one.to_string());
    format!("because  old: {}  |  new: {}", shown(cause.old), shown(cause.new))
}

/// How the shortfall of the parents differs.
fn worth(old: Option<Shortfall>, new: Option<Shortfall>) -> String {
    let (Some(old), Some(new)) = (old, new) else {
        return "shortfall: no parent has one in both runs".to_owned();
    };
    let change = |old: i64, new: i64| {
        let sign = if new >= old { "+" } else { "" };
        format!("{} -> {} ({sign}{})", points(old), points(new), points(new - old))
    };
    let parents = new.parents;
    format!(
        "shortfall of {parents} parents, bp: mean {}, q95 {}",
        change(old.mean, new.mean),
        change(old.q95, new.q95)
    )
}

/// Millionths of a basis point as basis points.
fn points(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    let size = micro.unsigned_abs();
    format!("{sign}{}.{:04}", size / 1_000_000, size % 1_000_000 / 100)
}
