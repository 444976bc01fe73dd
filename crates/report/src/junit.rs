//! Verdicts as JUnit XML, the format in which CI systems take test results.
//!
//! There are two schemas in wide use, Ant's and Jenkins's; what is written here satisfies both. Ant's asks for a time stamp, a
//! host and durations: they are constants, so that the same results give the same bytes, and a simulated second is no
//! duration of a test.

use std::fmt::Write;

/// Test cases under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suite {
    /// What was tested.
    pub name: String,
    /// Names with values that say under which conditions.
    pub properties: Vec<(String, String)>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// A test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The group that it belongs to, with dots as in a class name.
    pub class: String,
    /// Its name in the group.
    pub name: String,
    /// What came out.
    pub outcome: CaseOutcome,
}

/// What came out of a test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// It passed.
    Passed,
    /// It did not: kind of failure, one line, all of it.
    Failed(&'static str, String, String),
    /// It could not be run: kind of error, one line, all of it.
    Error(&'static str, String, String),
    /// It was left out.
    Skipped,
}

/// The document.
#[must_use]
pub fn junit(suites: &[Suite]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (number, suite) in suites.iter().enumerate() {
        write_suite(&mut text, number, suite);
    }
    text.push_str("</testsuites>\n");
    text
}

fn write_suite(text: &mut String, number: usize, suite: &Suite) {
    let count = |is: fn(&CaseOutcome) -> bool| suite.cases.iter().filter(|case| is(&case.outcome)).count();
    let failures = count(|outcome| matches!(outcome, CaseOutcome::Failed(..)));
    let errors = count(|outcome| matches!(outcome, CaseOutcome::Error(..)));
    let skipped = count(|outcome| matches!(outcome, CaseOutcome::Skipped));
    let name = named(&suite.name);
    put(
        text,
        format_args!(
            "  <testsuite id=\"{number}\" name=\"{name}\" package=\"numashock\" tests=\"{}\" failures=\"{failures}\" \
         errors=\"{errors}\" skipped=\"{skipped}\" time=\"0\" timestamp=\"1970-01-01T00:00:00\" hostname=\"localhost\">\n",
            suite.cases.len()
        ),
    );
    text.push_str("    <properties>\n");
    for (name, value) in &suite.properties {
        let (name, value) = (named(name), escaped(value));
        put(text, format_args!("      <property name=\"{name}\" value=\"{value}\"/>\n"));
    }
    text.push_str("    </properties>\n");
    for case in &suite.cases {
        write_case(text, case);
    }
    text.push_str("    <system-out></system-out>\n    <system-err></system-err>\n  </testsuite>\n");
}

fn write_case(text: &mut String, case: &Case) {
    let (class, name) = (named(&case.class), named(&case.name));
    put(text, format_args!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\""));
    let (element, (kind, first, all)) = match &case.outcome {
        CaseOutcome::Passed => return text.push_str("/>\n"),
        CaseOutcome::Skipped => return text.push_str(">\n      <skipped/>\n    </testcase>\n"),
        CaseOutcome::Failed(kind, first, all) => ("failure", (kind, first, all)),
        CaseOutcome::Error(kind, first, all) => ("error", (kind, first, all)),
    };
    // Within an element a line may end as it is.
    let (kind, first, all) = (escaped(kind), escaped(first), escaped(all).replace("&#10;", "\n"));
    put(
        text,
        format_args!(
            ">\n      <{element} type=\"{kind}\" message=\"{first}\">{all}</{element}>\n    </testcase>\n"
        ),
    );
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a text takes what is written to it");
}

/// A name may not be empty, nor of blanks alone.
fn named(name: &str) -> String {
    if name.trim().is_empty() { "unnamed".to_owned() } else { escaped(name) }
}

/// A text that may stand in an attribute or an element. What XML 1.0 cannot hold at all, even escaped, becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            // As they are, a parser would turn them into blanks in an attribute.
            '\t' => safe.push_str("&#9;"),
            '\n' => safe.push_str("&#10;"),
            '\r' => safe.push_str("&#13;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_can_stand_in_a_message() {
        assert_eq!(escaped("a<b>&\"c'\t\n\r"), "a&lt;b&gt;&amp;&quot;c&apos;&#9;&#10;&#13;");
        assert_eq!(escaped("\u{0}\u{1b}[0m\u{ffff}é"), "\u{fffd}\u{fffd}[0m\u{fffd}é");
        assert_eq!(named(" \t"), "unnamed");
    }

    #[test]
    fn a_suite_counts_its_cases() {
        let case = |outcome| Case { class: "a".to_owned(), name: "b".to_owned(), outcome };
        let said = |text: &str| text.to_owned();
        let cases = vec![
            case(CaseOutcome::Passed),
            case(CaseOutcome::Skipped),
            case(CaseOutcome::Failed("differs", said("one"), said("one\ntwo"))),
            case(CaseOutcome::Failed("differs", said("three"), said("three"))),
            case(CaseOutcome::Error("broken", said("four"), said("four"))),
        ];
        let suite = Suite { name: "s".to_owned(), properties: Vec::new(), cases };
        let text = junit(&[suite.clone(), suite]);
        assert_eq!(
            text.matches("tests=\"5\" failures=\"2\" errors=\"1\" skipped=\"1\"").count(),
            2,
            "{text}"
        );
        assert!(text.contains("<testsuite id=\"1\""), "{text}");
        assert!(text.contains("<failure type=\"differs\" message=\"one\">one\ntwo</failure>"), "{text}");
    }
}
