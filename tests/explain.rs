//! The chain of each parent: every nanosecond and every cost accounted for.

use std::collections::BTreeSet;

use numashock_accounting::Mechanisms;
use numashock_engine::Keep;
use numashock_experiment::explain::{Cause, Chain, Explained, Owner, explain};
use numashock_experiment::sweep::run_once;
use numashock_sim::Simulation;
use numashock_sim::scenario::{Choice, Scenario};

use crate::scenario_file;

fn choice(name: &str, settings: &[&str]) -> Choice {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let scenario = Scenario::read(&scenario_file(name), &settings).unwrap();
    scenario.choices(1_000_000).unwrap().swap_remove(0)
}

fn all_parents(choice: &Choice) -> Explained {
    let parents = run_once(&choice.config, 0, Mechanisms::REAL, true, 0).parents.len();
    let numbers: Vec<u32> = (0..u32::try_from(parents).unwrap()).collect();
    explain("test", choice, 0, &numbers, &mut ())
}

/// What holds for each chain, said here once more and independently of the code that sums.
fn check(chain: &Chain, explained: &Explained) {
    let number = chain.order.number as usize;
    let (row, parent) = (&explained.rows[number], &explained.run.parents[number]);
    let sum = |owner| -> u64 {
        chain.stalls.iter().filter(|stall| stall.owner == owner).map(|stall| stall.ns).sum()
    };
    assert_eq!(sum(Owner::HintFault), row.stall_hint_fault_ns);
    assert_eq!(sum(Owner::MigrationCopy), row.stall_migration_copy_ns);
    assert_eq!(sum(Owner::DispatchJitter), row.stall_dispatch_jitter_ns);
    assert_eq!(chain.dispatch.queue_wait_ns, row.queue_wait_ns);
    let parts = &chain.costs.parts_sixths;
    let four = parts.hint_fault + parts.migration_copy + parts.dispatch_jitter + parts.queue_decay;
    assert_eq!(four, 6 * row.c_numa);
    assert_eq!(chain.dispatch.own_releases.len() as u32, row.releases);
    let fills: u64 = chain.children.iter().flat_map(|child| &child.fills).map(|fill| fill.lots).sum();
    assert_eq!(fills, parent.filled.0);
    for stall in &chain.stalls {
        assert!(stall.ns > 0);
        if let Some(page) = stall.page {
            let pass = &chain.passes[stall.pass.expect("a page that faults was marked by a pass")];
            assert!(pass.begun_ns <= stall.at_ns, "page {page}");
        }
    }
    for child in &chain.children {
        for request in &child.requests {
            assert!(
                request.decided_ns <= request.dispatched_ns && request.dispatched_ns <= request.arrived_ns
            );
            assert!(request.on_time_ns <= request.arrived_ns);
        }
    }
}

#[test]
fn every_parents_stalls_and_costs_add_up() {
    for (name, settings) in [("migrations.toml", &[][..]), ("strategies.toml", &[][..])] {
        let explained = all_parents(&choice(name, settings));
        let mut causes = BTreeSet::new();
        for chain in &explained.chains {
            check(chain, &explained);
            causes.extend(chain.stalls.iter().map(|stall| stall.cause));
        }
        println!("{name}: {causes:?}");
        assert!(causes.contains(&Cause::HintingFaultMoved) && causes.contains(&Cause::Copy), "{causes:?}");
    }
}

#[test]
fn notes_cost_nothing_and_change_nothing() {
    let choice = choice("migrations.toml", &[]);
    let replication = choice.config.replication(0);
    let run = |keep| {
        let input = replication.input(Mechanisms::REAL, true, None, 100);
        let mut simulation = Simulation::new(&choice.config, input);
        simulation.keep(keep);
        let mut kept = Vec::new();
        while simulation.step().is_some() {}
        simulation.take_kept(&mut kept);
        (kept, simulation.finish())
    };
    let (nothing, plain) = run(Keep::Nothing);
    let (events, kept) = run(Keep::Events);
    let (all, noted) = run(Keep::EventsAndNotes);
    assert!(nothing.is_empty());
    for result in [&kept, &noted] {
        assert_eq!((result.hash, &result.checkpoints), (plain.hash, &plain.checkpoints));
        assert_eq!(result.parents, plain.parents);
        assert_eq!(result.children, plain.children);
    }
    assert!(all.len() > events.len());
    assert!(all.into_iter().filter(|record| !record.is_note()).eq(events), "notes stand between the events");
}
