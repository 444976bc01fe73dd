//! Prints the event hash of the real world of replication 0 at intervals, in the form of the files in `golden/`.
//!
//! It needs only the core, so that another processor or an older compiler can be checked:
//!
//! ```text
//!   golden-hash tests/scenarios/migrations.toml | diff golden/migrations.txt -
//!   golden-hash --interval 1 FILE      one line an event, to find the first one that differs
//! ```

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use numashock_accounting::Mechanisms;
use numashock_engine::Checkpoint;
use numashock_sim::scenario::Scenario;
use numashock_sim::{MODEL_VERSION, RunResult, Simulation};

/// Events between two lines of a golden file.
const INTERVAL: u64 = 1_000;
const USAGE: &str = "usage: golden-hash [--interval EVENTS] SCENARIO.toml...";
/// Costs as the preset has them.
const UNCHANGED: u64 = 1_000_000;

fn main() -> ExitCode {
    match print_all(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn print_all(arguments: &[String]) -> Result<(), String> {
    let (interval, files) = match arguments {
        [flag, events, files @ ..] if flag == "--interval" => match events.parse::<u64>() {
            Ok(interval) if interval > 0 => (interval, files),
            _ => return Err(format!("--interval {events}: expected a whole number above zero; {USAGE}")),
        },
        files => (INTERVAL, files),
    };
    if files.is_empty() || files.iter().any(|file| file.starts_with('-')) {
        return Err(USAGE.to_owned());
    }
    for file in files {
        let scenario = Scenario::read(Path::new(file), &[]).map_err(|error| error.to_string())?;
        let choices = scenario.choices(UNCHANGED).map_err(|error| error.to_string())?;
        let first = choices.first().expect("a scenario has at least one choice");
        // The real world of replication 0.
        let input = first.config.replication(0).input(Mechanisms::REAL, true, None, interval);
        let result = Simulation::new(&first.config, input).run();
        let text = golden(&scenario.name().map_err(|error| error.to_string())?, interval, &result);
        std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn golden(name: &str, interval: u64, result: &RunResult) -> String {
    let mut text = format!("scenario {name}\nmodel {MODEL_VERSION}\ninterval {interval}\n");
    let line = |point: &Checkpoint| format!("{} {} {:016x}\n", point.events, point.at, point.hash);
    text.extend(result.checkpoints.iter().map(line));
    text.push_str(&format!("end {}", line(&result.hash)));
    text
}
