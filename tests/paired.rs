//! Worlds and choices that must be equal, exactly (attribution: A1, A4, A7, A10).

use std::sync::atomic::AtomicU64;

use numashock_accounting::Mechanisms;
use numashock_experiment::attribution::{AttributionRow, Diverged, PathCosts};
use numashock_experiment::results::{ParentRow, SweepResults};
use numashock_experiment::sweep::{SweepOptions, run_once, runs, sweep};
use numashock_sim::RunResult;
use numashock_sim::scenario::{Choice, Scenario};

use crate::scenario_file;

/// Parts per million by which assumed costs are multiplied: as they are, and so dear that every parent feels them.
const UNCHANGED: u64 = 1_000_000;
const DEAR: u64 = 10_000_000;

/// Choices of a test scenario with `[[choice]]` tables added to its end and settings applied.
fn choices(name: &str, added: &str, settings: &[&str]) -> Vec<Choice> {
    priced(name, added, settings, UNCHANGED)
}

/// The same with the assumed costs multiplied.
fn priced(name: &str, added: &str, settings: &[&str], assumed_ppm: u64) -> Vec<Choice> {
    let file = scenario_file(name);
    let text = std::fs::read_to_string(&file).unwrap() + added;
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Scenario::parse(&file, &text, &settings).unwrap().choices(assumed_ppm).unwrap()
}

fn swept(choices: &[Choice]) -> SweepResults {
    swept_with(choices, false)
}

/// The same, with all fifteen worlds and the children.
fn attributed(choices: &[Choice]) -> SweepResults {
    swept_with(choices, true)
}

fn swept_with(choices: &[Choice], all: bool) -> SweepResults {
    let done = AtomicU64::new(0);
    let options = SweepOptions { scenario: "paired", jobs: 0, done: &done, attribution: all, children: all };
    let results = sweep(choices, options);
    assert_eq!(done.into_inner(), runs(choices, all), "every run is counted");
    results
}

fn parts(row: &ParentRow) -> &AttributionRow {
    row.attribution.as_ref().expect("the sweep was attributed")
}

fn worlds(choice: &Choice, seed: u32) -> [RunResult; 3] {
    [(Mechanisms::REAL, true), (Mechanisms::FREE, true), (Mechanisms::FREE, false)]
        .map(|(mechanisms, balancing)| run_once(&choice.config, seed, mechanisms, balancing, 0))
}

/// The same work as the test scenarios', without touches.
const UNTOUCHED: [&str; 3] = ["work.quote.touches=[]", "work.report.touches=[]", "work.timer.touches=[]"];

/// Costs that are drawn, and calls that wait for passes.
const SPREAD: [&str; 2] = [
    "machine.preset=\"../../scenarios/presets/ice-lake-spread.toml\"",
    "thread.dispatch.mmap={ rate = \"200/s\", hold = { uniform = [\"10us\", \"40us\"] }, unmap = true }",
];

#[test]
fn a_null_experiment_gives_exactly_zero() {
    for more in [&[][..], &SPREAD] {
        null_experiment(more);
    }
}

fn null_experiment(more: &[&str]) {
    let null = "\n[[choice]]\nname = \"one\"\nrung = \"\"\nset = {}\n[[choice]]\nname = \"two\"\nrung = \"\"\nset = {}\n";
    // Enough seeds and parents for intervals of all three quantiles.
    let mut settings =
        vec!["run.seeds=24", "parents.count=16", "run.duration=\"4s\"", "parents.horizon=[\"1s\", \"2s\"]"];
    settings.extend(more);
    let results = swept(&priced("migrations.toml", null, &settings, DEAR));
    let [one, two] = [0, 1].map(|choice| -> Vec<ParentRow> {
        let rows = results.parents.iter().filter(|row| row.choice == choice);
        rows.map(|row| ParentRow { choice: 0, ..row.clone() }).collect()
    });
    assert_eq!(one.len(), 24 * 16);
    assert_eq!(one, two, "every parent's row is the same");
    let paired = results.summary.choices[1].paired.as_ref().expect("the second choice is paired");
    for (quantile, difference) in [("q50", &paired.q50), ("q95", &paired.q95), ("q99", &paired.q99)] {
        let all = [difference.diff, difference.lo, difference.hi];
        assert_eq!(all, [Some(0.0); 3], "{quantile}: {difference:?}");
    }
    assert!(one.iter().any(|row| row.is != 0 && row.c_numa != 0), "the rows are not all zero");
}

#[test]
fn with_balancing_off_all_worlds_are_the_same() {
    for more in [&[][..], &SPREAD] {
        all_worlds_are_the_same(more);
    }
}

fn all_worlds_are_the_same(more: &[&str]) {
    let settings = [&["machine.balancing.enabled=false"], more].concat();
    let off = priced("migrations.toml", "", &settings, DEAR);
    for seed in 0..2 {
        let [real, free, never] = worlds(&off[0], seed);
        assert_eq!((real.hash, free.hash), (free.hash, never.hash));
        assert_eq!(real.hosts[0].counters, numashock_machine::Counters::default());
        assert!(real.parents.iter().any(|parent| parent.shortfalls.swept.is != 0));
    }
    // What the attribution relies on when it runs none of the worlds.
    let hashes = Mechanisms::worlds().map(|world| run_once(&off[0].config, 0, world, true, 0).hash);
    assert!(hashes.collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1]));
    let results = attributed(&off);
    assert_eq!(results.parents.len(), 36);
    for row in &results.parents {
        assert_eq!((row.c_numa, row.c_placement, row.c_net), (0, 0, 0), "{row:?}");
        assert_eq!((parts(row).parts.four(), parts(row).most.four()), ([0; 4], [0; 4]), "{row:?}");
        assert!(parts(row).values.iter().all(|value| *value == row.is));
        let stalls = [row.stall_hint_fault_ns, row.stall_migration_copy_ns, row.stall_dispatch_jitter_ns];
        assert_eq!(stalls, [0; 3], "{row:?}");
        assert_eq!(row.diverged, Diverged::default(), "{row:?}");
    }
}

/// The controller acts in the real world alone; its own regimes must not make equal worlds look different.
#[test]
fn with_balancing_off_a_controller_leaves_every_cost_at_zero() {
    let results = swept(&choices("controller.toml", "", &["machine.balancing.enabled=false", "run.seeds=2"]));
    for row in &results.parents {
        assert_eq!((row.c_numa, row.c_placement), (0, 0), "{row:?}");
    }
}

#[test]
fn a_path_without_touches_never_faults_while_the_host_does() {
    let mut settings = UNTOUCHED.to_vec();
    settings.push("run.seeds=2");
    let results = swept(&choices("migrations.toml", "", &settings));
    for row in &results.parents {
        assert_eq!(row.stall_hint_fault_ns, 0, "{row:?}");
    }
    let faults: u64 = results.buckets.iter().map(|bucket| bucket.counters.numa_hint_faults).sum();
    assert!(faults > 0, "another thread of the process faults");
    let touched = swept(&choices("migrations.toml", "", &["run.seeds=1"]));
    assert!(touched.parents.iter().any(|row| row.stall_hint_fault_ns > 0), "with touches the path faults");
}

#[test]
fn queue_decay_alone_is_the_free_world() {
    let alone = Mechanisms { queue_decay: true, ..Mechanisms::FREE };
    let plain: &[&str] = &[];
    for (name, settings) in [
        ("migrations.toml", plain),
        ("migrations.toml", &SPREAD),
        ("thread-move.toml", plain),
        ("recorded-host.toml", plain),
        ("controller.toml", plain),
    ] {
        let choice = choices(name, "", settings).remove(0);
        for seed in 0..2 {
            let free = run_once(&choice.config, seed, Mechanisms::FREE, true, 0);
            let decay = run_once(&choice.config, seed, alone, true, 0);
            assert_eq!(free.hash, decay.hash, "{name} {seed}");
            let real = run_once(&choice.config, seed, Mechanisms::REAL, true, 0);
            assert_ne!(free.hash, real.hash, "{name} {seed}: what is switched off costs something");
        }
    }
}

/// A mechanism that is off charges nothing, and one that is on charges its owner (attribution: A3, A5).
#[test]
fn a_mechanism_charges_its_owner_alone() {
    for settings in [&[][..], &SPREAD] {
        charges_alone(settings);
    }
}

fn charges_alone(settings: &[&str]) {
    let choice = choices("migrations.toml", "", settings).remove(0);
    for mechanisms in Mechanisms::worlds() {
        let run = run_once(&choice.config, 0, mechanisms, true, 0);
        let sum = |owner: fn(&numashock_sim::StallTotals) -> u64| -> u64 {
            run.parents.iter().map(|parent| owner(&parent.stalls)).sum()
        };
        let charged = [
            (mechanisms.hint_fault, sum(|stalls| stalls.hint_fault.0)),
            (mechanisms.migration_copy, sum(|stalls| stalls.migration_copy.0)),
            (mechanisms.dispatch_jitter, sum(|stalls| stalls.dispatch_jitter.0)),
        ];
        for (on, total) in charged {
            assert_eq!(on, total > 0, "{mechanisms}: {charged:?}");
        }
    }
}

/// The same kernel events cost the same in worlds that charge them differently: with everything free, the kernel does what it
/// does with everything charged.
#[test]
fn drawn_costs_leave_the_kernel_as_it_is() {
    let choice = choices("migrations.toml", "", &SPREAD).remove(0);
    let run = |mechanisms| run_once(&choice.config, 0, mechanisms, true, 0);
    let (real, free) = (run(Mechanisms::REAL), run(Mechanisms::FREE));
    let (real, free) = (real.hosts[0].counters, free.hosts[0].counters);
    assert!(real.numa_pages_migrated > 10_000);
    // A touch that a stall puts off may fall on the other side of a marking.
    for (real, free) in [
        (real.numa_pte_updates, free.numa_pte_updates),
        (real.numa_hint_faults, free.numa_hint_faults),
        (real.numa_pages_migrated, free.numa_pages_migrated),
    ] {
        assert!(real.abs_diff(free) * 1_000 < real, "{real} {free}");
    }
}

#[test]
fn the_identity_holds_in_every_row() {
    let mut burdened = 0;
    for (name, settings) in
        [("migrations.toml", vec!["run.seeds=3"]), ("thread-move.toml", vec!["run.seeds=2"])]
    {
        let choice = priced(name, "", &settings, DEAR);
        let results = swept(&choice);
        for row in &results.parents {
            let parts = row.c_delay + row.c_impact + row.c_miss + row.fees + row.c_numa;
            assert_eq!(row.is, parts, "{name}: {row:?}");
            assert!(row.filled_lots <= row.quantity_lots);
            assert_eq!(row.completed, row.filled_lots == row.quantity_lots);
            burdened += usize::from(row.c_numa != 0);
        }
        // The same from three separate runs, without the sweep's bookkeeping.
        for seed in 0..2 {
            let [real, free, off] = worlds(&choice[0], seed);
            let rows = results.parents.iter().filter(|row| row.seed == u64::from(seed));
            let parents = real.parents.iter().zip(&free.parents).zip(&off.parents);
            let mut compared = 0;
            for (row, ((real, free), off)) in rows.zip(parents) {
                let [real, free, off] = [real, free, off].map(|parent| parent.shortfalls.swept.is);
                assert_eq!(i128::from(row.is), real);
                assert_eq!(i128::from(row.c_numa), real - free);
                assert_eq!(i128::from(row.c_placement), free - off);
                compared += 1;
            }
            assert_eq!(compared, real.parents.len());
        }
    }
    assert!(burdened > 0, "in some rows balancing costs something");
}

/// Parents and flow are the same for every choice and world: only the host differs.
#[test]
fn choices_share_their_parents() {
    let two = "\n[[choice]]\nname = \"base\"\nrung = \"\"\nset = {}\n[[choice]]\nname = \"bound\"\nrung = \"\"\n\
               set.region.state = { node = 1, policy = \"bind\" }\n";
    let results = swept(&priced("migrations.toml", two, &[], DEAR));
    let [base, bound] = [0, 1].map(|choice| -> Vec<_> {
        let rows = results.parents.iter().filter(|row| row.choice == choice);
        rows.map(|row| (row.seed, row.parent, row.arrival_ns, row.side, row.quantity_lots, row.horizon_ns))
            .collect()
    });
    assert_eq!(base, bound);
    let cost = |choice: u32| results.parents.iter().filter(move |row| row.choice == choice).map(|row| row.is);
    assert!(!cost(0).eq(cost(1)), "where the memory lies makes a difference");
}

/// The four parts are exact for every parent, under both marks, and the first three worlds are what they are without them.
#[test]
fn the_parts_of_c_numa_sum_to_it_exactly() {
    for (name, settings) in [
        ("migrations.toml", &["run.seeds=2"][..]),
        ("controller.toml", &["run.seeds=1"]),
        ("recorded-host.toml", &["run.seeds=1"]),
    ] {
        let choices = priced(name, "", settings, DEAR);
        let (results, plain) = (attributed(&choices), swept(&choices));
        assert_eq!(results.summary.event_hash, plain.summary.event_hash);
        assert!(plain.children.is_empty());
        let mut burdened = [0; 4];
        for (row, plain) in results.parents.iter().zip(&plain.parents) {
            assert_eq!(ParentRow { attribution: None, ..row.clone() }, *plain);
            let found = parts(row);
            assert_eq!(found.parts.four().iter().sum::<i64>(), 6 * row.c_numa, "{row:?}");
            assert_eq!(found.parts.of_queue_decay().iter().sum::<i64>(), found.parts.queue_decay);
            assert_eq!(found.parts_mid_mark.four().iter().sum::<i64>(), 6 * row.c_numa_mid_mark, "{row:?}");
            assert_eq!((found.values[0], found.values[14]), (row.is - row.c_numa, row.is));
            for ((part, least), most) in
                found.parts.four()[..3].iter().zip(found.least.four()).zip(found.most.four())
            {
                assert!(6 * least <= *part && *part <= 6 * most, "{row:?}");
            }
            burdened
                .iter_mut()
                .zip(found.parts.four())
                .for_each(|(seen, part)| *seen += i32::from(part != 0));
        }
        let felt = burdened.iter().all(|seen| *seen > 0);
        assert!(felt || name != "migrations.toml", "each part is felt by some parent: {burdened:?}");
    }
}

/// Rebates and fees of either sign enter the shortfall by what was made and taken, and change nothing else.
#[test]
fn fees_and_rebates_are_what_was_made_and_taken() {
    let parents = |make: i64, take: i64| {
        let fees = [format!("tactic.make_fee={make}"), format!("tactic.take_fee={take}")];
        let settings = ["run.seeds=1", &fees[0], &fees[1]];
        swept(&priced("migrations.toml", "", &settings, DEAR)).parents
    };
    let [without, made, taken, both] =
        [(0, 0), (-3, 0), (0, 5), (-3, 5)].map(|(make, take)| parents(make, take));
    assert!(made.iter().any(|row| row.observed_fees < 0) && taken.iter().any(|row| row.observed_fees > 0));
    for (((row, made), taken), both) in without.iter().zip(&made).zip(&taken).zip(&both) {
        assert_eq!((row.fees, row.observed_fees), (0, 0));
        assert_eq!((made.observed_fees % 3, taken.observed_fees % 5), (0, 0));
        // Every lot was either made or taken.
        let lots = made.observed_fees / -3 + taken.observed_fees / 5;
        assert_eq!(u64::try_from(lots), Ok(row.filled_lots), "{row:?}");
        for charged in [made, taken, both] {
            assert_eq!(charged.is, row.is + charged.observed_fees);
            let observed = charged.observed_delay + charged.observed_impact + charged.observed_miss;
            assert_eq!(charged.is, observed + charged.observed_fees);
        }
        assert_eq!(both.observed_fees, made.observed_fees + taken.observed_fees);
        assert_eq!(both.c_numa - row.c_numa, both.observed_fees - both.fees, "{row:?}");
    }
}

/// The steps of the children sum to what the fills cost, child by child and parent by parent.
#[test]
fn the_ways_of_the_children_sum_to_the_cost_of_their_fills() {
    let results = attributed(&priced("migrations.toml", "", &["run.seeds=2"], DEAR));
    let mut stalled = 0;
    for row in &results.parents {
        let own =
            results.children.iter().filter(|child| (child.seed, child.parent) == (row.seed, row.parent));
        let own: Vec<_> = own.collect();
        assert_eq!(own.len(), row.children as usize);
        assert_eq!(own.iter().map(|child| child.filled_lots).sum::<u64>(), row.filled_lots);
        let steps: [fn(&PathCosts) -> i64; 4] =
            [|path| path.schedule, |path| path.host, |path| path.wire, |path| path.spread_and_impact];
        for step in steps {
            assert_eq!(own.iter().map(|child| step(&child.path)).sum::<i64>(), step(&row.path));
        }
        let path = row.path.schedule + row.path.host + row.path.wire + row.path.spread_and_impact;
        if row.completed {
            assert_eq!(path + row.observed_fees, row.is, "{row:?}");
        }
        for child in own {
            assert!(child.decided_ns < child.dispatched_ns && child.dispatched_ns < child.arrived_ns);
            assert!(child.decided_ns < child.on_time_ns && child.on_time_ns <= child.arrived_ns);
            stalled += usize::from(child.on_time_ns < child.arrived_ns);
        }
    }
    assert!(stalled > 0 && stalled < results.children.len(), "some children are late: {stalled}");
    let shares: [fn(&ParentRow) -> u32; 2] = [|row| row.diverged.market_ppm, |row| row.diverged.flow_ppm];
    for share in shares {
        let all: Vec<u32> = results.parents.iter().map(share).collect();
        assert!(all.iter().any(|ppm| *ppm > 0) && all.contains(&0), "{all:?}");
    }
}
