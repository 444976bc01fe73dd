//! Whole runs: machine, dispatch, book and own orders that move it, with telemetry.

use std::path::Path;

use numashock_accounting::Mechanisms;
use numashock_benches::{Delays, Reference, compare, timed};
use numashock_experiment::sweep::run_once;
use numashock_sim::RunResult;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::RunConfig;

fn main() {
    let delays = Delays::new();
    let mut reference = Reference::new(&delays);
    for (name, file) in
        [("run of workload.toml", "workload.toml"), ("run of ladder, baseline", "../scenarios/ladder.toml")]
    {
        let config = first_choice(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let first = run(&config);
        let simulated = config.end().0 as f64 / 1e9;
        let rate = compare(name, "messages/s", &mut reference, || {
            timed(|| {
                let result = run(&config);
                assert_eq!(result.hash, first.hash, "a run gives the same events each time");
                messages(&result)
            })
        });
        println!(
            "  {:.2} runs/s of {simulated} s; a run has {} messages, {} hinting faults, {} pages moved, event hash {:016x}",
            rate / messages(&first) as f64,
            messages(&first),
            first.hosts[0].counters.numa_hint_faults,
            first.hosts[0].counters.numa_pages_migrated,
            first.hash.hash,
        );
    }
}

/// The real world of the first replication, from the drawing of its orders to its accounts.
fn run(config: &RunConfig) -> RunResult {
    run_once(config, 0, Mechanisms::REAL, true, 0)
}

/// Exogenous events that reached the book, and own requests.
fn messages(result: &RunResult) -> u64 {
    let own: u64 = result.parents.iter().map(|parent| u64::from(parent.releases)).sum();
    result.symbols[0].flow.events + own
}

fn first_choice(file: &Path) -> RunConfig {
    let scenario = Scenario::read(file, &[]).unwrap_or_else(|error| panic!("{error}"));
    let choices = scenario.choices(1_000_000).unwrap_or_else(|error| panic!("{error}"));
    choices.into_iter().next().expect("a scenario has a choice").config
}
