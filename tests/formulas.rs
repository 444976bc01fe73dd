//! `validate formulas` as a user meets it.

use crate::cli::{assert_explained, stderr};
use crate::program::{self, Scratch};

const CASE: &str = r#"
[[case]]
name = "mid up"
kind = "cst-mid-up"
samples = 20_000
limit = ["1.85/min"]
market = "0.94/min"
cancel = ["0.71/min"]
spread = 1
bid = [1]
ask = [2]

[case.expected]
"P(up), bid 1 ask 2" = 0.3352
"#;

/// A published value agrees at its own rates, a wrong rate ends with code 1, a wrong file with 2.
#[test]
fn the_code_says_whether_all_figures_agree() {
    let scratch = Scratch::new();
    scratch.write("right.toml", CASE);
    scratch.write("wrong.toml", CASE.replace("0.94/min", "4/min"));
    scratch.write("typo.toml", CASE.replace("spread", "spraed"));
    let validate = |file: &str| program::run(scratch.path(), ["validate", "formulas", file, "--jobs", "1"]);
    let right = validate("right.toml");
    let text = String::from_utf8_lossy(&right.stdout).into_owned();
    assert_eq!(right.status.code(), Some(0), "{text}{}", stderr(&right));
    for part in ["P(up), bid 1 ask 2", "0.335173", "agrees (given)", "all agree"] {
        assert!(text.contains(part), "\"{part}\" is missing in: {text}");
    }
    let wrong = validate("wrong.toml");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("DEVIATES (given)"));
    let typo = validate("typo.toml");
    assert_eq!(typo.status.code(), Some(2));
    assert_explained(&typo, &["typo.toml:9: case[0].spraed", "unknown field"]);
}

#[test]
fn cases_and_keys_are_printed_and_read_back() {
    let scratch = Scratch::new();
    let run =
        |arguments: &[&str]| program::run(scratch.path(), [&["validate", "formulas"], arguments].concat());
    let printed = run(&["--print-cases"]);
    scratch.write("shipped.toml", &printed.stdout);
    let (own, read) = (run(&["--list"]), run(&["shipped.toml", "--list"]));
    assert!(!own.stdout.is_empty());
    assert_eq!(
        String::from_utf8_lossy(&own.stdout),
        String::from_utf8_lossy(&read.stdout),
        "{}",
        stderr(&read)
    );
    assert!(String::from_utf8_lossy(&run(&["--keys"]).stdout).contains("max_standard_error"));
    assert_explained(&run(&["--only", "nothing"]), &["--only \"nothing\"", "whole book"]);
    assert_explained(&run(&["--sample", "200%"]), &["at most 100%"]);
}
