//! Same scenario and seed, same bytes: whatever the number of threads, and whoever looks.

use std::collections::BTreeMap;
use std::path::Path;

use numashock_accounting::Mechanisms;
use numashock_experiment::sweep::{run_once, simulation};
use numashock_sim::scenario::Scenario;

use crate::program::{self, Scratch};
use crate::scenario_file;

/// Sweeps a scenario into `out` and gives every file of the results folder, by name.
fn swept(folder: &Path, scenario: &Path, out: &str, more: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut arguments = vec!["sweep", scenario.to_str().unwrap(), "--out", out];
    arguments.extend(more);
    let output = program::run(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = folder.join(out);
    program::names(&out)
        .into_iter()
        .map(|name| (name.clone(), std::fs::read(out.join(name)).unwrap()))
        .collect()
}

/// Fails with the name of the first file that differs, not with its bytes.
fn assert_same(left: &BTreeMap<String, Vec<u8>>, right: &BTreeMap<String, Vec<u8>>) {
    assert!(left.keys().eq(right.keys()), "{:?} {:?}", left.keys(), right.keys());
    for (name, content) in left {
        assert!(!content.is_empty(), "{name} is empty");
        assert!(*content == right[name], "{name} differs");
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let scratch = Scratch::new();
    for name in ["migrations.toml", "recorded-host.toml"] {
        let file = scenario_file(name);
        let one = swept(scratch.path(), &file, &format!("{name}-one"), &["--jobs", "1"]);
        let two = swept(scratch.path(), &file, &format!("{name}-two"), &["--jobs", "2"]);
        let again = swept(scratch.path(), &file, &format!("{name}-again"), &["--jobs", "2"]);
        assert!(one.contains_key("parents.parquet") && one.contains_key("summary.json"), "{:?}", one.keys());
        assert_same(&one, &two);
        assert_same(&two, &again);
    }
}

#[test]
fn the_seed_changes_the_results() {
    let scratch = Scratch::new();
    let file = scenario_file("migrations.toml");
    let one = swept(scratch.path(), &file, "one", &["--seeds", "1", "--seed", "1"]);
    let two = swept(scratch.path(), &file, "two", &["--seeds", "1", "--seed", "2"]);
    for name in ["parents.parquet", "buckets.parquet", "metrics.parquet", "summary.json"] {
        assert!(one[name] != two[name], "{name} does not depend on the seed");
    }
}

#[test]
fn a_replication_does_not_depend_on_how_many_there_are() {
    let file = scenario_file("migrations.toml");
    let hash = |seeds: u32| {
        let scenario = Scenario::read(&file, &[format!("run.seeds={seeds}")]).unwrap();
        let config = scenario.choices(1_000_000).unwrap().remove(0).config;
        run_once(&config, 1, Mechanisms::REAL, true, 0).hash
    };
    assert_eq!(hash(2), hash(9));
}

#[test]
fn the_resolved_scenario_gives_the_same_results() {
    let scratch = Scratch::new();
    let first = swept(scratch.path(), &scenario_file("controller.toml"), "first", &["--seeds", "2"]);
    let resolved = scratch.path().join("first/scenario.toml");
    let second = swept(scratch.path(), &resolved, "second", &[]);
    assert_same(&first, &second);
}

/// Files that a scenario names are relative to it, and its resolved form lies elsewhere.
#[test]
fn the_resolved_scenario_finds_its_files() {
    let scratch = Scratch::new();
    for name in ["thread-move", "recorded-host"] {
        let file = scenario_file(&format!("{name}.toml"));
        let first = swept(scratch.path(), &file, name, &["--seeds", "1"]);
        let resolved = scratch.path().join(name).join("scenario.toml");
        let second = swept(scratch.path(), &resolved, &format!("{name}-again"), &[]);
        for table in ["parents.parquet", "buckets.parquet", "summary.json"] {
            assert!(first[table] == second[table], "{name}: {table} differs");
        }
    }
}

#[test]
fn checkpoints_and_steps_do_not_change_the_hash() {
    for name in ["migrations.toml", "controller.toml", "recorded-host.toml"] {
        let scenario = Scenario::read(&scenario_file(name), &[]).unwrap();
        let config = scenario.choices(1_000_000).unwrap().remove(0).config;
        let plain = run_once(&config, 0, Mechanisms::REAL, true, 0);
        assert!(plain.checkpoints.is_empty() && plain.hash.events > 0);
        for interval in [1, 7, 1_000_000_000] {
            let watched = run_once(&config, 0, Mechanisms::REAL, true, interval);
            assert_eq!(watched.hash, plain.hash, "{name} {interval}");
            assert_eq!(watched.checkpoints.len() as u64, plain.hash.events / interval);
        }
        let mut stepped = simulation(&config, 0, Mechanisms::REAL, true);
        while stepped.step().is_some() {}
        assert_eq!(stepped.finish().hash, plain.hash, "{name}");
    }
}
