//! Prints golden files as this program computes them.
//!
//! It needs only the core, so that another processor or an older compiler can be checked:
//!
//! ```text
//!   golden-hash golden/migrations.txt | diff golden/migrations.txt -     the run that a golden file names
//!   golden-hash SCENARIO.toml                                            the first choice of a scenario
//!   golden-hash --interval 1 FILE        one line an event, to find the first one that differs
//! ```

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use numashock_sim::golden::{Golden, Head, INTERVAL};
use numashock_sim::scenario::Scenario;
use numashock_sim::{MODEL_VERSION, Own};

const USAGE: &str = "usage: golden-hash [--interval EVENTS] FILE..., golden files or scenarios (.toml)";
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
            Ok(interval) if interval > 0 => (Some(interval), files),
            _ => return Err(format!("--interval {events}: expected a whole number above zero; {USAGE}")),
        },
        files => (None, files),
    };
    if files.is_empty() || files.iter().any(|file| file.starts_with('-')) {
        return Err(USAGE.to_owned());
    }
    for file in files {
        let text = again(Path::new(file), interval).map_err(|error| error.to_string())?;
        std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn again(file: &Path, interval: Option<u64>) -> Result<String, Box<dyn std::error::Error>> {
    let is_scenario = file.extension().is_some_and(|extension| extension == "toml");
    let (mut head, scenario) = if is_scenario {
        let scenario = Scenario::read(file, &[])?;
        let choice = scenario.choices(UNCHANGED)?.swap_remove(0).name;
        let shown = file.to_str().ok_or("the file's name is no text")?.to_owned();
        let head = Head {
            model: MODEL_VERSION,
            scenario: shown,
            choice,
            replication: 0,
            other_controller: false,
            interval: INTERVAL,
        };
        (head, scenario)
    } else {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let golden: Golden = text.parse().map_err(|error| format!("{}: {error}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let scenario = Scenario::read(&folder.join(&golden.head.scenario), &[])?;
        (golden.head, scenario)
    };
    head.interval = interval.unwrap_or(head.interval);
    let choice = scenario.choices(UNCHANGED)?.into_iter().find(|choice| choice.name == head.choice);
    let choice = choice.ok_or_else(|| format!("{}: no choice \"{}\"", file.display(), head.choice))?;
    Ok(Golden::run(&choice.config, &head, &mut Own, &mut |_| ())?.to_string())
}
