//! What a check of golden files found, for a terminal, a merge request and a CI system.

use numashock_experiment::golden::{Checked, Report, Verdict};

use crate::junit::{Case, CaseOutcome, Suite, junit};

/// For the terminal.
#[must_use]
pub fn golden_text(report: &Report) -> String {
    let mut text = String::new();
    for (file, part, verdict) in each(report) {
        let place = format!("{}/{}.txt", report.folder, file.name);
        let place = if file.parts.len() > 1 { format!("{place}, {part}") } else { place };
        match verdict {
            Verdict::Agrees(what) => text += &format!("{place}: agrees ({what})\n"),
            Verdict::Differs(difference) => {
                text += &format!("{place}: DIFFERS\n  first: {}\n", difference.first);
                difference.details.iter().for_each(|line| text += &format!("    {line}\n"));
            }
            Verdict::NotChecked(why) => text += &format!("{place}: CANNOT BE CHECKED: {why}\n"),
        }
    }
    text + &format!("{}\n", total(report))
}

/// For a merge request: a table, and everything else folded away.
#[must_use]
pub fn golden_markdown(report: &Report) -> String {
    let mut text = format!("## Golden files: {}\n\n", total(report));
    if let Some(controller) = &report.controller {
        text += &format!("Controller: {}\n\n", cell(controller));
    }
    text += "| golden file | check | verdict | first difference |\n| --- | --- | --- | --- |\n";
    for (file, part, verdict) in each(report) {
        let (word, first) = match verdict {
            Verdict::Agrees(what) => ("agrees", what.clone()),
            Verdict::Differs(difference) => ("**differs**", difference.first.clone()),
            Verdict::NotChecked(why) => ("**cannot be checked**", why.clone()),
        };
        text += &format!("| {} | {part} | {word} | {} |\n", cell(&file.name), cell(&first));
    }
    for (file, part, verdict) in each(report) {
        let Verdict::Differs(difference) = verdict else { continue };
        let lines = difference.details.join("\n");
        let fence = "`".repeat(longest_run(&lines, '`').max(2) + 1);
        text += &format!(
            "\n<details><summary>{}, {part}</summary>\n\n{fence}text\n{lines}\n{fence}\n\n</details>\n",
            html(&file.name)
        );
    }
    text
}

/// For a CI system.
#[must_use]
pub fn golden_junit(report: &Report) -> String {
    let mut properties = vec![("folder".to_owned(), report.folder.clone())];
    properties.extend(report.controller.iter().map(|name| ("controller".to_owned(), name.clone())));
    let case = |(file, part, verdict): (&Checked, &str, &Verdict)| Case {
        class: format!("golden.{}", file.name),
        name: part.to_owned(),
        outcome: match verdict {
            Verdict::Agrees(_) => CaseOutcome::Passed,
            Verdict::Differs(difference) => {
                let all = format!("{}\n{}", difference.first, difference.details.join("\n"));
                CaseOutcome::Failed("differs", difference.first.clone(), all)
            }
            Verdict::NotChecked(why) => CaseOutcome::Error("cannot be checked", why.clone(), why.clone()),
        },
    };
    junit(&[Suite { name: "golden".to_owned(), properties, cases: each(report).map(case).collect() }])
}

fn each(report: &Report) -> impl Iterator<Item = (&Checked, &str, &Verdict)> {
    report.files.iter().flat_map(|file| file.parts.iter().map(move |(part, verdict)| (file, *part, verdict)))
}

fn total(report: &Report) -> String {
    let [agree, differ, not] = report.counts();
    format!("{agree} agree, {differ} differ, {not} cannot be checked")
}

/// A text that stays within its cell.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '&' => {
                safe.push('\\');
                safe.push(c);
            }
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A text within HTML, where Markdown's escapes are not read.
fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use numashock_experiment::golden::Difference;

    use super::*;

    fn report() -> Report {
        let difference =
            Difference { first: "a|b".to_owned(), details: vec!["```".to_owned(), "x<y".to_owned()] };
        let file = |name: &str, verdict| Checked { name: name.to_owned(), parts: vec![("run", verdict)] };
        Report {
            folder: "golden".to_owned(),
            controller: None,
            files: vec![
                file("one", Verdict::Agrees("5 events".to_owned())),
                file("two", Verdict::Differs(difference)),
                file("three", Verdict::NotChecked("line 1: no".to_owned())),
            ],
        }
    }

    #[test]
    fn a_merge_request_shows_a_table_and_folds_the_rest() {
        let text = golden_markdown(&report());
        assert!(text.starts_with("## Golden files: 1 agree, 1 differ, 1 cannot be checked\n"), "{text}");
        assert!(text.contains("| two | run | **differs** | a\\|b |\n"), "{text}");
        let folded = "<details><summary>two, run</summary>\n\n````text\n```\nx<y\n````\n\n</details>";
        assert!(text.contains(folded), "{text}");
        assert_eq!(text.matches("<details>").count(), 1, "{text}");
    }

    #[test]
    fn a_name_is_escaped_for_where_it_stands() {
        let mut report = report();
        report.files[1].name = "my_desk<x>&".to_owned();
        let text = golden_markdown(&report);
        assert!(text.contains("| my\\_desk\\<x\\>\\& | run |"), "{text}");
        assert!(text.contains("<summary>my_desk&lt;x&gt;&amp;, run</summary>"), "{text}");
    }

    #[test]
    fn a_difference_is_a_failure_and_what_cannot_be_checked_an_error() {
        let text = golden_junit(&report());
        assert!(text.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{text}");
        assert!(text.contains("<testcase classname=\"golden.one\" name=\"run\" time=\"0\"/>"), "{text}");
        assert!(
            text.contains("<failure type=\"differs\" message=\"a|b\">a|b\n```\nx&lt;y</failure>"),
            "{text}"
        );
        assert!(text.contains("<error type=\"cannot be checked\" message=\"line 1: no\">"), "{text}");
    }
}
