//! `validate link`.

use std::error::Error;
use std::process::ExitCode;

use numashock_experiment::{formulas, link};
use numashock_sim::scenario::Scenario;

use crate::args::LinkArgs;
use crate::output::say;
use crate::progress;

/// The largest distance in standard errors that passes.
const Z_MAX: f64 = 4.0;

/// Compares what measured stalls should cost in queue position with what they did: 0 if they agree, 1 if not.
pub(crate) fn run(arguments: &LinkArgs) -> Result<ExitCode, Box<dyn Error>> {
    let mut settings = arguments.settings.clone();
    settings.extend(arguments.seed.map(|seed| format!("run.seed={seed}")));
    settings.extend(arguments.seeds.map(|seeds| format!("run.seeds={seeds}")));
    let scenario = Scenario::read(&arguments.scenario, &settings)?;
    let choice = scenario.choices(1_000_000)?.swap_remove(0);
    let report = progress::show(link::runs(&choice.config), "runs", |done| {
        formulas::on_threads(usize::from(arguments.jobs), || link::measure(&choice.config, done))
    })
    .map_err(|wrong| format!("{}: {wrong}", arguments.scenario.display()))?;
    if arguments.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&link::table(&report))?;
    }
    Ok(if report.cost.z().abs() <= Z_MAX { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
