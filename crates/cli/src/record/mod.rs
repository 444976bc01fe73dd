//! `record`: the counters of a live host, in the columns of the recorded kernel traces.
//!
//! ```text
//!   /proc, /sys ──host──► text ──► session: a sample each interval ──table──► rows ──output──► OUT.csv, OUT.json
//! ```
//!
//! This is the only part of the workspace that reads a wall clock or the host it runs on. A scenario replays what it
//! writes with `[recording]`.

mod clock;
mod describe;
mod host;
mod output;
mod process;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::error::Error;
use std::process::ExitCode;

use crate::args::RecordArgs;
use crate::output::say;
use clock::{Clock, HostClock};
use describe::About;
use host::Host;
use output::Output;
use process::Process;
use session::{Plan, Subject};

/// The shortest interval: below it the sampling itself is most of what happens.
const EVERY_MIN: u64 = 1_000_000;
/// Longer recordings are refused as typing errors.
const LENGTH_MAX: u64 = 1_000 * 3_600 * 1_000_000_000;

/// Records the host that this runs on.
pub(crate) fn run(arguments: &RecordArgs) -> Result<ExitCode, Box<dyn Error>> {
    let farewell = record(arguments, &mut HostClock::start(), &mut |text| say(text))?;
    say(&farewell)?;
    Ok(ExitCode::SUCCESS)
}

/// Records by `clock`, prints what must be known beforehand with `say`, and gives back what is to be said at the end.
fn record(
    arguments: &RecordArgs,
    clock: &mut dyn Clock,
    say: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Result<String, Box<dyn Error>> {
    let plan = plan(arguments)?;
    let host = Host::at(arguments.root.clone());
    let vmstat = host.read("/proc/vmstat").map_err(|why| format!("{why}; is this a Linux host?"))?;
    let process =
        arguments.pid.map(|pid| Process::find(&host, pid, usize::from(arguments.threads))).transpose()?;
    let description = host.describe();
    let about = About {
        host: &description,
        process: process.as_ref(),
        plan: &plan,
        counters: &text::vmstat(&vmstat),
        no_statistics: process.as_ref().and_then(|process| process.missing_statistics(&host)),
    };
    let csv = &arguments.out;
    let mut output = Output::claim(csv)?;
    let mut announce = || -> Result<(), Box<dyn Error>> {
        output.describe(&about.to_json(csv, None))?;
        for note in about.notes() {
            say(&format!("Note: {note}\n"))?;
        }
        say(&format!(
            "Recording; rows grow in {} until they are whole. If it is interrupted, every line there is good.\n",
            output.partial().display()
        ))?;
        Ok(())
    };
    if let Err(error) = announce() {
        output.abandon();
        return Err(error);
    }
    let subject = Subject {
        host: &host,
        nodes: description.nodes.iter().map(|node| node.id).collect(),
        process: process.as_ref(),
    };
    let mut lines = 0;
    let outcome = session::record(&subject, &plan, clock, &mut |line| {
        lines += 1;
        output.append(line)
    });
    // One line is the header.
    let any_row = lines > 1;
    match outcome {
        Err(error) if any_row => {
            let kept = output.partial();
            Err(format!("{error}. The rows until then are in {}: rename it to use it", kept.display()).into())
        }
        Err(error) => {
            output.abandon();
            Err(error.into())
        }
        Ok(_) if !any_row => {
            output.abandon();
            Err("the process ended before the first row; start it again and record it sooner".into())
        }
        Ok(outcome) => {
            output.describe(&about.to_json(csv, Some(&outcome)))?;
            output.finish()?;
            Ok(about.farewell(csv, &outcome))
        }
    }
}

fn plan(arguments: &RecordArgs) -> Result<Plan, String> {
    let plan = Plan { every: arguments.every.0, length: arguments.length.0, placement: arguments.placement };
    if plan.every < EVERY_MIN {
        return Err("--every: expected 1ms or longer, since each sample takes time of its own".to_owned());
    }
    if plan.length < plan.every {
        return Err("--for is shorter than --every: expected at least one interval; record for longer, or \
                    sample more often"
            .to_owned());
    }
    if plan.length > LENGTH_MAX {
        return Err("--for: expected 1000h at most; record a shorter time".to_owned());
    }
    if plan.placement && arguments.pid.is_none() {
        return Err("--placement counts the pages of a process: give its number with --pid".to_owned());
    }
    Ok(plan)
}
