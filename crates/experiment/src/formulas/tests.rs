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

/// The text of a shipped case of this kind, without what it expects.
fn shipped(kind: &str) -> String {
    let all: Vec<toml::Table> =
        Shipped::ALL.iter().map(|shipped| shipped.text.parse::<toml::Table>().unwrap()).collect();
    let cases = all.iter().flat_map(|table| table["case"].as_array().unwrap());
    let mut case = cases.into_iter().find(|case| case["kind"].as_str() == Some(kind)).unwrap().clone();
    case.as_table_mut().unwrap().retain(|key, _| key != "expected" && key != "max_standard_error");
    toml::to_string(&toml::Table::from_iter([("case".to_owned(), toml::Value::Array(vec![case]))])).unwrap()
}

/// A shipped case of this kind with some of its keys set to other values.
fn with(kind: &str, keys: &[(&str, &str)]) -> String {
    let mut table: toml::Table = shipped(kind).parse().unwrap();
    let case = table["case"].as_array_mut().unwrap()[0].as_table_mut().unwrap();
    for (key, value) in keys {
        let parsed: toml::Table = format!("{key} = {value}").parse().unwrap();
        case.extend(parsed);
    }
    toml::to_string(&table).unwrap()
}

/// Files that a reader of the keys can write: each is refused before anything runs, at its key.
#[test]
fn cases_without_an_answer_are_refused_at_their_key() {
    let mut wrong = Vec::new();
    for (kind, keys, at) in [
        ("cst-mid-up", &[("samples", "1_000_000_000_000_000")][..], "samples: expected at most 100000000000"),
        ("cst-mid-up", &[("samples", "0")], "samples: expected at least"),
        ("cst-mid-up", &[("bid", "[1, 1]")], "bid[1]: stands twice"),
        ("cst-mid-up", &[("limit", "[\"90/min\"]"), ("cancel", "[\"1/min\"]")], "market: a "),
        ("cst-fill", &[("ask", "[]")], "ask: expected at least one"),
        ("queue-decay", &[("queues", "[[2, 2], [2, 2]]")], "queues[1]: stands twice"),
        ("queue-decay", &[("delays", "[\"1ms\", \"1000h\"]")], "delays: "),
        ("hazard-decay", &[("delays", "[\"1ms\", \"1000h\"]")], "delays: "),
        ("fill-time", &[("limit", "\"100000/s\"")], "limit: a single sample takes"),
        ("fill-time", &[("quantiles", "[1e-300]")], "quantiles[0]: expected chances"),
        ("fill-time", &[("market", "\"0.000000001/s\""), ("cancel", "\"0/s\"")], "simulated seconds"),
        ("hawkes", &[("windows", "[\"5000000h\"]")], "windows[0]: expected a shorter time"),
        ("hawkes", &[("windows", "[\"100000h\"]")], "windows[0]: expected a shorter time"),
        ("hawkes", &[("windows", "[\"1ns\"]")], "windows[0]: expected a longer time"),
        ("hawkes", &[("mu", "\"0.000000001/s\"")], "windows[0]: expected a longer time"),
        ("hawkes", &[("samples", "0")], "samples: expected at least 20000"),
        ("queue-reactive", &[("samples", "0")], "samples: expected at least 64000"),
        ("queue-reactive", &[("sizes", "[1, 1]")], "sizes[1]: stands twice"),
        (
            "queue-reactive",
            &[("queue", "[{ limit = [\"0/s\"], cancel = [\"0/s\", \"1/s\"], market = [\"0/s\", \"6/s\"] }]")],
            "queue[0].limit[0]: expected a rate above zero",
        ),
        (
            "queue-reactive",
            &[("queue", "[{ limit = [\"1/s\"], cancel = [\"0/s\", \"0/s\", \"2/s\"], market = [\"0/s\"] }]")],
            "queue[0].cancel: expected a rate above zero at 1",
        ),
        ("almgren-chriss", &[("risk_aversion", "[]")], "risk_aversion: expected at least one"),
        ("almgren-chriss", &[("slices", "[]")], "slices: expected at least one"),
        ("almgren-chriss", &[("slices", "[100000]")], "slices[0]: expected numbers from 1 to 1000"),
        ("almgren-chriss", &[("risk_aversion", "[1e300]")], "risk_aversion[0]: kappa T"),
        ("quantile-interval", &[("quantiles", "[]")], "quantiles: expected at least one"),
        ("quantile-interval", &[("samples", "0")], "samples: expected at least 100"),
        ("quantile-interval", &[("counts", "[9_000_000_000_000_000_000]")], "counts: expected at most"),
        ("dispatch", &[("samples", "0")], "samples: expected at least 100000"),
        ("dispatch", &[("arrival", "\"0.000000001/s\"")], "arrival: the sample has about"),
        ("dispatch", &[("quantiles", "[0.999999999999]")], "quantiles[0]: expected chances"),
        ("dispatch", &[("times", "[\"1us\", \"1us\"]")], "times[1]: stands twice"),
        ("cst-book", &[("market", "\"0/min\"")], "market: expected a rate above zero"),
        ("cst-book", &[("market", "\"1000/min\"")], "market: expected a rate above zero, below"),
        ("cst-book", &[("trades", "1_000_000"), ("price_ticks", "1_000_000")], "samples: expected at least"),
        ("cst-book", &[("cancel", "[\"0/min\"]")], "cancel: expected"),
        ("santa-fe", &[], "expected: no figure of these cases has a reference"),
    ] {
        // What is refused only after having run is refused too late.
        let error = match CaseFile::parse(Path::new("cases.toml"), &with(kind, keys)) {
            Err(error) => error,
            Ok(file) if kind == "santa-fe" => {
                validate(&[file], Effort { sample_ppm: 10_000, seed: 1 }).unwrap_err()
            }
            Ok(_) => {
                wrong.push(format!("{kind} {keys:?}: accepted"));
                continue;
            }
        };
        let message = error.to_string();
        if !message.starts_with("cases.toml:") || !message.contains("case[0].") || !message.contains(at) {
            wrong.push(format!("{kind} {keys:?}: {at} is missing in {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where an event is too rare to be seen, that it has not been seen is no deviation.
#[test]
fn extreme_but_legal_cases_agree() {
    for (kind, keys) in [
        ("fill-probability", &[("samples", "2_000"), ("hazard", "\"1000000/s\"")][..]),
        (
            "fill-time",
            &[
                ("samples", "1_000"),
                ("quantiles", "[0.5, 0.9]"),
                ("cancel", "\"0/s\""),
                ("limit", "\"0.1/s\""),
                ("market", "\"10/s\""),
                ("ahead", "[900]"),
            ],
        ),
        ("dispatch", &[("samples", "200_000"), ("times", "[\"0us\", \"100us\", \"1ms\", \"100h\"]")]),
        ("almgren-chriss", &[("slices", "[1, 1000]"), ("lots", "5")]),
        ("queue-reactive", &[("samples", "64_000"), ("sizes", "[0, 30, 60, 1000]")]),
    ] {
        let report = run(&with(kind, keys), 1_000_000);
        assert!(report.passed && report.compared > 0, "{}", table(&report));
    }
}

/// A stall at dispatch is not prolonged by others: none begins during a stall.
#[test]
fn stalls_of_both_origins_have_the_known_waits() {
    let both = [
        ("samples", "400_000"),
        ("arrival", "\"100000/s\""),
        ("service", "{ law = \"erlang\", stages = 3, mean = \"3us\" }"),
        ("stall", "{ rate = \"2000/s\", law = \"erlang\", stages = 2, mean = \"40us\" }"),
        ("hit", "{ chance = 0.05, law = \"exponential\", mean = \"10us\" }"),
        ("semantics", "[\"service-only\", \"alternating\", \"priority\"]"),
        ("control", "true"),
    ];
    let report = run(&with("dispatch", &both), 1_000_000);
    assert!(report.passed, "{}", table(&report));
}

/// The keys that are printed are the ones that a kind reads.
#[test]
fn the_keys_listed_are_the_keys_read() {
    for kind in case::KINDS {
        let text = with(kind.name, &[("no_such_key", "1")]);
        let Err(error) = CaseFile::parse(Path::new("cases.toml"), &text) else {
            panic!("{} takes any key", kind.name)
        };
        let message = error.to_string();
        let known = message.split("expected").last().unwrap();
        let mut read: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let mut listed: Vec<&str> = kind.keys().filter(|key| !key.is_empty()).collect();
        read.sort_unstable();
        listed.sort_unstable();
        assert_eq!(read, listed, "{}: {message}", kind.name);
    }
}

/// Less than what standard errors need is never drawn, and the report says what was.
#[test]
fn the_report_says_what_was_drawn() {
    let report = run(MID_UP, 1);
    assert_eq!((report.cases[0].asked, report.cases[0].drawn), (Some(20_000), Some(20)));
    assert!(table(&report).contains("20 of 20000 samples drawn"), "{}", table(&report));
}
