//! The files, the verdicts, and small samples of each kind.

use std::path::Path;

use super::*;

const MID_UP: &str = r#"
[[case]]
name = "mid up"
kind = "cst-mid-up"
samples = 20_000
limit = ["1.85/min"]
market = "0.94/min"
cancel = ["0.71/min"]
spread = 1
bid = [1, 2]
ask = [2]
"#;

fn parse(text: &str) -> CaseFile {
    CaseFile::parse(Path::new("cases.toml"), text).unwrap()
}

fn run(text: &str, sample_ppm: u64) -> FormulaReport {
    validate(&[parse(text)], Effort { sample_ppm, seed: 1 }).unwrap()
}

/// Asserts that the file is refused with a message that holds every part.
fn refused(text: &str, parts: &[&str]) {
    let message = match CaseFile::parse(Path::new("cases.toml"), text) {
        Err(error) => error.to_string(),
        Ok(file) => match validate(&[file], Effort { sample_ppm: 10_000, seed: 1 }) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted: {text}"),
        },
    };
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is missing in: {message}");
    }
}

#[test]
fn wrong_files_name_line_key_and_remedy() {
    refused("", &["cases.toml", "at least one [[case]]"]);
    refused("speed = 1\n", &["cases.toml:1: speed", "[[case]] tables"]);
    refused(
        &MID_UP.replace("market", "mraket"),
        &["cases.toml:7: case[0].mraket", "unknown field", "market"],
    );
    refused(
        &MID_UP.replace("market = \"0.94/min\"", ""),
        &["cases.toml:2: case[0]", "missing field `market`"],
    );
    refused(&MID_UP.replace("cst-mid-up", "cst"), &["cases.toml:4: case[0].kind", "cst-mid-up, cst-fill"]);
    refused(&MID_UP.replace("spread = 1", "spread = 2"), &["case[0].limit", "every distance"]);
    refused(&MID_UP.replace("bid = [1, 2]", "bid = [0]"), &["cases.toml:10: case[0].bid", "each 1 to 200"]);
    refused(&MID_UP.replace("1.85/min", "1.85"), &["cases.toml:6: case[0].limit[0]", "no unit"]);
    refused(&MID_UP.replace("0.71/min", "0/min"), &["case[0].market", "stay below 600 orders"]);
    refused(&format!("{MID_UP}{MID_UP}"), &["cases.toml:14: case[1].name", "name of an earlier case"]);
    refused(&format!("{MID_UP}z_max = -1.0\n"), &["cases.toml:12: case[0].z_max", "above 0"]);
    refused(&format!("{MID_UP}tolerance = \"wide\"\n"), &["cases.toml:12: case[0].tolerance", "\"1%\""]);
    refused(
        &format!("{MID_UP}[case.expected]\nup = 0.5\n"),
        &["case[0].expected", "no quantity \"up\"", "P(up), bid 1 ask 2"],
    );
}

/// A rate that is not the one that the references stand for makes the case fail, and the right one does not.
#[test]
fn a_wrong_rate_fails() {
    let known = format!("{MID_UP}[case.expected]\n\"P(up), bid 1 ask 2\" = 0.3352\n");
    let right = run(&known, 1_000_000);
    assert!(right.passed, "{}", table(&right));
    assert_eq!(right.compared, 3, "the formula's two and the given one");
    let wrong = run(&known.replace("0.94/min", "4/min"), 1_000_000);
    assert!(!wrong.passed && wrong.largest_z.is_some_and(|z| z > 4.0));
    let verdicts: Vec<Verdict> = wrong.cases[0].quantities.iter().map(|judged| judged.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Agrees, Verdict::Deviates, Verdict::Agrees],
        "the formula follows the rate"
    );
    assert!(table(&wrong).contains("DEVIATES (given)"));
}

/// What a case asks of its precision counts for the whole sample only.
#[test]
fn tolerance_and_precision_are_asked_of_the_whole_sample() {
    for (line, verdict) in [
        ("tolerance = 1e-9", Verdict::OutOfTolerance),
        ("tolerance = [\"0.0001%\", 0.5]", Verdict::Agrees),
        ("max_standard_error = \"0.1%\"", Verdict::Imprecise),
        ("max_standard_error = [\"0.1%\", 0.1]", Verdict::Agrees),
    ] {
        let text = format!("{MID_UP}{line}\n");
        let (whole, part) = (run(&text, 1_000_000), run(&text, 500_000));
        assert!(whole.cases[0].quantities.iter().all(|judged| judged.verdict == verdict), "{line}");
        assert!(part.passed, "{line}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let file = [parse(Shipped::ALL.iter().find(|shipped| shipped.name == "queue.toml").unwrap().text)];
    let effort = Effort { sample_ppm: 1_000, seed: 5 };
    let [one, three] = [1, 3].map(|threads| on_threads(threads, || validate(&file, effort)).unwrap());
    assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&three).unwrap());
}

#[test]
fn another_seed_or_name_draws_anew_and_the_place_in_the_file_does_not() {
    let simulated = |text: &str| run(text, 100_000).cases.last().unwrap().quantities[0].quantity.simulated;
    let first = simulated(MID_UP);
    assert_ne!(first, simulated(&MID_UP.replace("\"mid up\"", "\"other\"")));
    assert_ne!(first, simulated(&format!("{MID_UP}seed = 2\n")));
    let later = format!("{}{MID_UP}", MID_UP.replace("\"mid up\"", "\"other\""));
    assert_eq!(first, simulated(&later));
}

/// Every shipped file parses, its cases have names of their own, and each kind is among them and documented.
#[test]
fn every_kind_is_shipped_and_documented() {
    let files: Vec<CaseFile> = Shipped::ALL
        .iter()
        .map(|shipped| CaseFile::parse(Path::new(shipped.name), shipped.text).unwrap())
        .collect();
    let listed: String = files.iter().map(list).collect();
    let mut names: Vec<&str> = listed.lines().map(|line| line.split_at(20).1).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for kind in case::KINDS {
        assert!(listed.lines().any(|line| line.split(' ').next() == Some(kind.name)), "{}", kind.name);
        assert!(keys().contains(&format!("\n{}: ", kind.name)));
    }
}

/// A share of none, where next to none was to be expected, is no contradiction.
#[test]
fn chances_too_small_to_be_seen_agree() {
    let unseen = Quantity::share("rare", 0, 1_000, Some(1e-9));
    assert!(unseen.z().unwrap().abs() < 0.01);
    assert!(Quantity::share("rare", 1, 1_000, Some(1e-9)).z().unwrap() < 4.0);
    assert!(Quantity::share("rare", 5, 1_000, Some(1e-9)).z().unwrap() > 4.0);
}
