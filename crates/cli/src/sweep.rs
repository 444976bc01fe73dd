//! `run` and `sweep`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use numashock_experiment::import::telemetry_csv;
use numashock_experiment::results::{ChoiceSummary, Difference, Summary, SweepResults};
use numashock_experiment::sweep::{
    OwnControllers, Steers, SweepOptions, run_with_telemetry, runs, sweep_with,
};
use numashock_report::{ResultsFolder, table};
use numashock_sim::scenario::{Choice, Scenario};

use crate::args::{Common, RunArgs, SweepArgs};
use crate::output::say;
use crate::progress;
use crate::steering::{Controller, stream};
use crate::trace;

const UNCHANGED: u64 = 1_000_000;

/// Runs one choice.
pub(crate) fn run_one(arguments: &RunArgs) -> Result<ExitCode, Box<dyn Error>> {
    let scenario = read(&arguments.common)?;
    let mut choices = scenario.choices(UNCHANGED)?;
    let wanted = match &arguments.choice {
        None => 0,
        Some(name) => choices.iter().position(|choice| choice.name == *name).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|choice| format!("\"{}\"", choice.name)).collect();
            format!("--choice \"{name}\": the scenario has {}", names.join(", "))
        })?,
    };
    if let Some(path) = &arguments.tracing.trace {
        return trace::record::run(&scenario, &choices[wanted].name, path, &arguments.tracing);
    }
    let mut chosen = vec![choices.swap_remove(wanted)];
    let controller = arguments.controller.choose()?;
    if let Some(controller) = &controller {
        controller.prepare(&mut chosen[0].config);
    }
    let place = arguments.decisions.as_deref().map(stream::Place::take).transpose()?;
    let exported = arguments.telemetry.as_deref().map(stream::Place::take).transpose()?;
    let folder = ResultsFolder::create(out(&arguments.common, &scenario)?)?;
    let mut results = match &controller {
        Some(controller) => compute(&chosen, &arguments.common, &scenario, controller)?,
        None => compute(&chosen, &arguments.common, &scenario, &OwnControllers)?,
    };
    results.summary.controller = controller.as_ref().map(Controller::name);
    let decisions = || stream::export(&chosen[0].config, controller.as_ref(), &results);
    if controller.is_some() {
        // The scenario alone would decide otherwise; with these the results can be computed again.
        folder.add("decisions.jsonl", decisions().as_bytes())?;
    }
    if let Some(file) = controller.as_ref().and_then(Controller::file) {
        let bytes =
            std::fs::read(file).map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
        folder.add("controller.toml", &bytes)?;
    }
    if let Some(place) = place {
        place.write(&decisions())?;
    }
    if let Some(exported) = exported {
        let steers: &dyn Steers = controller.as_ref().map_or(&OwnControllers, |controller| controller);
        let run = run_with_telemetry(&chosen[0].config, 0, steers)?;
        exported.write(&telemetry_csv(&scenario.name()?, &chosen[0].config, &run))?;
    }
    finish(folder, &scenario, &results)
}

/// Runs all choices, and again for every factor of the assumed costs.
pub(crate) fn run(arguments: &SweepArgs) -> Result<ExitCode, Box<dyn Error>> {
    let scenario = read(&arguments.common)?;
    let choices = scenario.choices(UNCHANGED)?;
    let folder = ResultsFolder::create(out(&arguments.common, &scenario)?)?;
    let results = compute(&choices, &arguments.common, &scenario, &OwnControllers)?;
    let mut flips = String::new();
    for factor in &arguments.assumed {
        let scaled = compute(&scenario.choices(*factor)?, &arguments.common, &scenario, &OwnControllers)?;
        flips.push_str(&compare(&results.summary, &scaled.summary, *factor));
    }
    if !flips.is_empty() {
        folder.add("assumed.txt", flips.as_bytes())?;
    }
    let code = finish(folder, &scenario, &results)?;
    say(&flips)?;
    Ok(code)
}

fn read(common: &Common) -> Result<Scenario, Box<dyn Error>> {
    let mut settings = common.settings.clone();
    settings.extend(common.seed.map(|seed| format!("run.seed={seed}")));
    settings.extend(common.seeds.map(|seeds| format!("run.seeds={seeds}")));
    Ok(Scenario::read(&common.scenario, &settings)?)
}

fn out(common: &Common, scenario: &Scenario) -> Result<PathBuf, Box<dyn Error>> {
    Ok(match &common.out {
        Some(out) => out.clone(),
        None => PathBuf::from("results").join(scenario.name()?.replace(['/', '\\', ' '], "-")),
    })
}

fn compute(
    choices: &[Choice],
    common: &Common,
    scenario: &Scenario,
    steers: &dyn Steers,
) -> Result<SweepResults, Box<dyn Error>> {
    let name = scenario.name()?;
    let attribution = common.attribution;
    Ok(progress::show(runs(choices, attribution), "runs", |done| {
        let children = common.children || attribution;
        let jobs = usize::from(common.jobs);
        sweep_with(choices, SweepOptions { scenario: &name, jobs, done, attribution, children }, steers)
    })?)
}

fn finish(
    folder: ResultsFolder,
    scenario: &Scenario,
    results: &SweepResults,
) -> Result<ExitCode, Box<dyn Error>> {
    let (resolved, inputs) = scenario.resolved()?;
    for input in inputs {
        let bytes = std::fs::read(&input.path)
            .map_err(|error| format!("{}: cannot be read: {error}", input.path.display()))?;
        folder.add(&input.name, &bytes)?;
    }
    let path = folder.write(&resolved, results)?;
    say(&format!("{}\nResults: {}\n", table(&results.summary), path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Says for each choice and quantile whether the verdict against the baseline is another one.
fn compare(base: &Summary, scaled: &Summary, factor_ppm: u64) -> String {
    let factor = format!("x{}.{:06}", factor_ppm / 1_000_000, factor_ppm % 1_000_000);
    let factor = factor.trim_end_matches('0').trim_end_matches('.');
    let mut text = format!("\nAssumed costs {factor}: verdicts against the baseline\n");
    for (base, scaled) in base.choices.iter().zip(&scaled.choices).skip(1) {
        for (quantile, before, after) in verdicts(base, scaled) {
            let flip = if before == after { "holds" } else { "FLIPS" };
            text.push_str(&format!("  {:<28} {quantile}  {flip}  {before} -> {after}\n", base.name));
        }
    }
    text
}

fn verdicts(base: &ChoiceSummary, scaled: &ChoiceSummary) -> Vec<(&'static str, &'static str, &'static str)> {
    let (Some(base), Some(scaled)) = (&base.paired, &scaled.paired) else { return Vec::new() };
    vec![("q95", verdict(&base.q95), verdict(&scaled.q95)), ("q99", verdict(&base.q99), verdict(&scaled.q99))]
}

fn verdict(difference: &Difference) -> &'static str {
    match (difference.excludes_zero(), difference.diff) {
        (true, Some(diff)) if diff < 0.0 => "better",
        (true, Some(_)) => "worse",
        _ => "cannot be told",
    }
}
