//! Another controller on a recorded run.

use std::error::Error;

use numashock_engine::Nanos;
use numashock_experiment::decisions::{Row, Shortfall, built_in, open_loop, shortfall, side_by_side};
use numashock_experiment::sweep::Steers;
use numashock_experiment::tape::{self, Piece, Stopped};
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::{Own, RunResult, Steering, SteeringError};
use numashock_trace::{Decided, Header, TraceError};

use super::report::{Found, Report, Series};
use super::{ReplayArgs, anything};
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
) -> Result<Found, Box<dyn Error>> {
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
    anything(outcome.rows.len() as u64)?;
    let series = (0..).zip(&config.hosts).map(|(host, _)| {
        let old = built_in(&config, host);
        let name = host_name(&header.hosts, usize::from(host));
        Series { name, old: Some(old), new: Some(by.built_in(old)) }
    });
    let report = Report {
        title: run_of(header),
        old: "as recorded".to_owned(),
        new: by.name(),
        closed: arguments.closed_loop,
        series: series.collect(),
        rows: outcome.rows,
        shortfalls: outcome.shortfalls,
    };
    Ok(report.found(arguments))
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
