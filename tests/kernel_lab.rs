//! The lab's workload and the validator's model of it may not drift apart.

use std::collections::BTreeSet;

use crate::root;

const SOURCES: [&str; 3] = ["nblab.c", "worker.c", "kcore.c"];
/// Parameters that change nothing that is compared, each with the reason.
const IRRELEVANT: [(&str, &str); 8] = [
    ("cpu_sample", "adds a column"),
    ("cpupids", "read after the end"),
    ("fd", "between the lab's two processes"),
    ("maps", "adds to the manifest"),
    ("sched_text", "read after the end"),
    ("spin", "the length of a poll, during which nothing happens"),
    ("sampler_cpu", "every run of the list leaves it at its default"),
    ("start_jitter_us", "over before the row in which the model begins"),
];

/// The first argument of every call of the functions that read a parameter.
fn parameters(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in ["par(\"", "parl(\"", "par_list(\""] {
        for (at, _) in source.match_indices(call) {
            let before = source[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &source[at + call.len()..];
            found.insert(rest[..rest.find('"').unwrap()].to_owned());
        }
    }
    found
}

fn lab_parameters() -> BTreeSet<String> {
    let folder = root().join("tests/kernel-lab");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    SOURCES.iter().flat_map(|name| parameters(&read(name))).collect()
}

#[test]
fn every_parameter_of_the_lab_is_known_to_the_validator() {
    let folder = root().join("crates/experiment/src/kernel");
    let source = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let model = source("workload.rs") + &source("arguments.rs");
    let all = lab_parameters();
    assert!(all.len() > 20 && all.contains("size_mb") && all.contains("cpus"), "{all:?}");
    let unknown: Vec<&String> = all
        .iter()
        .filter(|key| !model.contains(&format!("\"{key}\"")))
        .filter(|key| !IRRELEVANT.iter().any(|(known, _)| known == key))
        .collect();
    assert!(unknown.is_empty(), "crates/experiment/src/kernel/ does not read {unknown:?}");
}

#[test]
fn the_lists_name_parameters_that_exist() {
    let all = lab_parameters();
    let listed = IRRELEVANT.iter().map(|(key, _)| *key);
    let gone: Vec<&str> = listed.filter(|key| !all.contains(*key)).collect();
    assert!(gone.is_empty(), "no longer read by the lab: {gone:?}");
}

#[test]
fn every_parameter_of_the_lab_is_documented() {
    let page = std::fs::read_to_string(root().join("tests/kernel-lab/README.md")).unwrap();
    let missing: Vec<String> = lab_parameters()
        .into_iter()
        .filter(|key| key != "fd" && !page.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "tests/kernel-lab/README.md does not explain {missing:?}");
}
