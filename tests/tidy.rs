//! What the source may not contain, and who may see whom.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::root;

/// Each crate with the crates of the workspace that it may depend on; all else is an arrow that the architecture forbids.
const ARROWS: [(&str, &[&str]); 11] = [
    ("engine", &[]),
    ("machine", &["engine"]),
    ("book", &["engine"]),
    ("controller", &[]),
    ("execution", &["engine", "book"]),
    ("accounting", &["book"]),
    ("sim", &["engine", "machine", "book", "execution", "accounting", "controller"]),
    ("trace", &["engine", "controller"]),
    ("experiment", &["engine", "machine", "book", "execution", "accounting", "controller", "sim", "trace"]),
    ("report", &["experiment"]),
    ("cli", &["engine", "experiment", "report", "sim", "book", "controller", "trace"]),
];
/// Crates that compute in integers, apart from the modules below.
const CORE: [&str; 7] = ["engine", "machine", "book", "execution", "accounting", "controller", "sim"];
/// Where formulas need floats.
const FLOATS: [&str; 3] =
    ["crates/engine/src/sample.rs", "crates/book/src/flow/", "crates/execution/src/schedule.rs"];
/// Where the time of the host may be read.
const CLOCKS: [&str; 2] = ["crates/cli/src/progress.rs", "crates/cli/src/record/clock.rs"];
const LINES_MAX: usize = 900;

fn manifest(path: &Path) -> toml::Table {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Every file below a folder, build folders apart.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            let built = name == "target" || name == "results" || name == ".git" || name.ends_with(".partial");
            if !built {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's path from the root, with forward slashes.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let all = files(&root().join(folder)).into_iter();
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (shown(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The lines of a source file outside its tests and comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let until_tests = text.lines().take_while(|line| line.trim() != "mod tests {").enumerate();
    until_tests.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// Every line of code of the crates in which a word stands, except in files that test.
fn uses(word: &str) -> Vec<String> {
    let mut places = Vec::new();
    for (file, text) in sources("crates") {
        if !file.contains("/src/") || file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let lines = code(&text).filter(|(_, line)| has_word(line, word));
        places.extend(lines.map(|(number, line)| format!("{file}:{number}: {}", line.trim())));
    }
    places
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.chars().next_back().is_some_and(part) && !after.chars().next().is_some_and(part)
    })
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let folders: BTreeSet<String> = crate::program::names(&root().join("crates")).into_iter().collect();
    assert_eq!(folders, ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect());
    for (name, allowed) in ARROWS {
        let manifest = manifest(&root().join("crates").join(name).join("Cargo.toml"));
        let package = manifest["package"]["name"].as_str().unwrap();
        assert_eq!(package, if name == "cli" { "numashock".to_owned() } else { format!("numashock-{name}") });
        for table in ["dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else { continue };
            let own = dependencies.keys().filter_map(|key| key.strip_prefix("numashock-"));
            let seen: BTreeSet<&str> = own.collect();
            let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
            let forbidden: Vec<_> = seen.difference(&allowed).collect();
            assert!(forbidden.is_empty(), "crates/{name} may not depend on {forbidden:?}");
        }
    }
}

#[test]
fn the_controller_runs_on_observations_alone() {
    let manifest = manifest(&root().join("crates/controller/Cargo.toml"));
    let dependencies = manifest["dependencies"].as_table().unwrap();
    assert!(dependencies.keys().eq(["serde"]), "{dependencies:?}");
    assert_eq!(dependencies["serde"]["optional"].as_bool(), Some(true), "only for files and processes");
}

#[test]
fn every_package_takes_the_workspace_lints_and_the_workspace_versions() {
    let root_manifest = manifest(&root().join("Cargo.toml"));
    assert_eq!(root_manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let crates = ARROWS.iter().map(|(name, _)| format!("crates/{name}"));
    for folder in crates.chain(["tests".to_owned(), "benches".to_owned()]) {
        let manifest = manifest(&root().join(&folder).join("Cargo.toml"));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{folder}");
        for table in ["dependencies", "dev-dependencies"] {
            let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else { continue };
            for (name, value) in dependencies {
                let shared = value.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(shared, Some(true), "{folder}: {name} takes its version from the workspace");
            }
        }
    }
}

#[test]
fn core_crates_compute_in_integers_and_build_with_the_oldest_compiler() {
    let root_manifest = manifest(&root().join("Cargo.toml"));
    assert_eq!(root_manifest["workspace"]["package"]["rust-version"].as_str(), Some("1.85"));
    for name in CORE {
        let library = std::fs::read_to_string(root().join(format!("crates/{name}/src/lib.rs"))).unwrap();
        let manifest = manifest(&root().join(format!("crates/{name}/Cargo.toml")));
        let version = manifest["package"].get("rust-version").and_then(|version| version.get("workspace"));
        assert_eq!(version.and_then(toml::Value::as_bool), Some(true), "crates/{name}: rust-version");
        let denies = library.contains("#![deny(clippy::float_arithmetic)]");
        assert!(denies, "crates/{name}/src/lib.rs denies clippy::float_arithmetic");
    }
    for (file, text) in sources("crates") {
        let core = CORE.iter().any(|name| file.starts_with(&format!("crates/{name}/src/")));
        let named = FLOATS.iter().any(|place| file.starts_with(place));
        let allows = text.contains("allow(clippy::float_arithmetic")
            || text.contains("expect(clippy::float_arithmetic");
        assert!(!core || named || !allows, "{file} computes with floats");
    }
}

#[test]
fn the_engine_computes_in_integers_too() {
    let library = std::fs::read_to_string(root().join("crates/engine/src/lib.rs")).unwrap();
    assert!(library.contains("#![deny(clippy::float_arithmetic)]"), "crates/engine/src/lib.rs");
}

#[test]
fn no_source_holds_what_breaks_determinism_or_safety() {
    for word in ["unsafe", "todo!", "unimplemented!", "HashMap", "HashSet", "thread_rng", "from_os_rng"] {
        let word = word.trim_end_matches('!');
        let places: Vec<String> =
            uses(word).into_iter().filter(|line| !line.contains("unsafe_code")).collect();
        assert!(places.is_empty(), "{word}:\n{}", places.join("\n"));
    }
    for word in ["Instant", "SystemTime"] {
        let waits = |line: &str| CLOCKS.iter().any(|file| line.starts_with(file));
        let places: Vec<String> = uses(word).into_iter().filter(|line| !waits(line)).collect();
        assert!(places.is_empty(), "{word}:\n{}", places.join("\n"));
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    let long: Vec<String> = ["crates", "tests", "benches"]
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines, split at a seam:\n{}", long.join("\n"));
}

#[test]
fn every_library_opens_with_what_it_is_for() {
    for (file, text) in sources("crates") {
        if file.contains("/src/") && !file.contains("/tests/") {
            assert!(text.starts_with("//!"), "{file} opens with a module comment");
        }
    }
}

#[test]
fn the_text_is_about_the_product() {
    // Written in parts, so that this file does not hold them.
    let words = [
        ["crates", ".io"],
        ["static.", "rust-lang"],
        ["github", ".com/rust-lang"],
        ["the is", "sue"],
        ["sub", "agent"],
        ["pull re", "quest"],
        ["/work/", "shared"],
        ["/ro", "ot/"],
        ["spec", "/attribution.md"],
        ["TO", "DO:"],
        ["FIX", "ME"],
        ["X", "XX "],
    ]
    .map(|parts| parts.concat());
    let mut places = Vec::new();
    for path in files(&root()) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if shown(&path) == "Cargo.lock" {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            places.extend(
                words
                    .iter()
                    .filter(|word| line.contains(word.as_str()))
                    .map(|word| format!("{}:{}: {word}", shown(&path), index + 1)),
            );
        }
    }
    assert!(places.is_empty(), "{}", places.join("\n"));
}
