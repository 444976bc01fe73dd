//! JUnit XML as the two schemas in wide use have it, Ant's and Jenkins's: a document must satisfy both.
//!
//! Neither is part of a standard, so both are written here as tables, in own words: for each element the attributes with
//! their types, and the children in the order that Ant's schema asks for. What either forbids is not in the tables.

use roxmltree::{Document, Node};

/// How a value is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any text.
    Text,
    /// Something that can be read.
    Name,
    /// A whole number of cases.
    Count,
    /// Seconds, with up to three decimals.
    Seconds,
    /// `YYYY-MM-DDTHH:MM:SS`.
    Moment,
}

impl Kind {
    fn holds(self, value: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Kind::Text => true,
            Kind::Name => {
                // A token: no blanks around it, none in a row, none but spaces.
                !value.is_empty()
                    && value.trim() == value
                    && !value.contains("  ")
                    && !value.contains(['\t', '\n', '\r'])
            }
            Kind::Count => digits(value) && value.parse::<i32>().is_ok(),
            Kind::Seconds => {
                let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
                digits(whole) && whole.len() <= 3 && digits(fraction) && fraction.len() <= 3
            }
            Kind::Moment => {
                let shape: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                shape == "0000-00-00T00:00:00"
            }
        }
    }
}

/// An element: its name, attributes (required or not), children with the least and largest number, and whether it holds text.
struct Rule {
    name: &'static str,
    attributes: &'static [(&'static str, bool, Kind)],
    children: &'static [(&'static str, usize, usize)],
    text: bool,
}

const MANY: usize = usize::MAX;
const PROBLEM: &[(&str, bool, Kind)] = &[("type", true, Kind::Text), ("message", false, Kind::Text)];
const RULES: [Rule; 10] = [
    // Jenkins allows totals here and Ant does not.
    Rule { name: "testsuites", attributes: &[], children: &[("testsuite", 0, MANY)], text: false },
    Rule {
        name: "testsuite",
        attributes: &[
            ("id", true, Kind::Count),
            ("name", true, Kind::Name),
            ("package", true, Kind::Name),
            ("tests", true, Kind::Count),
            ("failures", true, Kind::Count),
            ("errors", true, Kind::Count),
            ("skipped", false, Kind::Count),
            ("time", true, Kind::Seconds),
            ("timestamp", true, Kind::Moment),
            ("hostname", true, Kind::Name),
        ],
        children: &[("properties", 1, 1), ("testcase", 0, MANY), ("system-out", 1, 1), ("system-err", 1, 1)],
        text: false,
    },
    Rule { name: "properties", attributes: &[], children: &[("property", 0, MANY)], text: false },
    Rule {
        name: "property",
        attributes: &[("name", true, Kind::Name), ("value", true, Kind::Text)],
        children: &[],
        text: false,
    },
    Rule {
        name: "testcase",
        attributes: &[
            ("name", true, Kind::Name),
            ("classname", true, Kind::Name),
            ("time", true, Kind::Seconds),
        ],
        // One of them at most, which is checked apart.
        children: &[("skipped", 0, 1), ("error", 0, 1), ("failure", 0, 1)],
        text: false,
    },
    Rule { name: "skipped", attributes: &[("message", false, Kind::Text)], children: &[], text: false },
    Rule { name: "error", attributes: PROBLEM, children: &[], text: true },
    Rule { name: "failure", attributes: PROBLEM, children: &[], text: true },
    Rule { name: "system-out", attributes: &[], children: &[], text: true },
    Rule { name: "system-err", attributes: &[], children: &[], text: true },
];

/// What a document counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) tests: usize,
    pub(crate) failures: usize,
    pub(crate) errors: usize,
}

/// Reads a document that must be valid.
pub(crate) fn read(text: &str) -> Totals {
    check(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

fn check(text: &str) -> Result<Totals, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("testsuites") {
        return Err("the root is <testsuites>".to_owned());
    }
    element(root)?;
    let mut totals = Totals::default();
    for (number, suite) in root.children().filter(Node::is_element).enumerate() {
        let cases: Vec<Node> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        let with = |name: &str| {
            let has = |case: &&Node| case.children().any(|node| node.has_tag_name(name));
            cases.iter().filter(has).count()
        };
        let counted = [cases.len(), with("failure"), with("error"), with("skipped"), number];
        for (name, counted) in ["tests", "failures", "errors", "skipped", "id"].into_iter().zip(counted) {
            if suite.attribute(name).is_some_and(|value| value != counted.to_string()) {
                return Err(format!("{name} is not {counted}"));
            }
        }
        totals.tests += counted[0];
        totals.failures += counted[1];
        totals.errors += counted[2];
    }
    Ok(totals)
}

fn element(node: Node<'_, '_>) -> Result<(), String> {
    let name = node.tag_name().name();
    let rule = RULES.iter().find(|rule| rule.name == name).ok_or(format!("<{name}> is unknown"))?;
    for attribute in node.attributes() {
        let known = rule.attributes.iter().find(|(known, ..)| *known == attribute.name());
        let (_, _, kind) = known.ok_or(format!("<{name}> has no {}", attribute.name()))?;
        if !kind.holds(attribute.value()) {
            return Err(format!("<{name}> {}: {:?} is no {kind:?}", attribute.name(), attribute.value()));
        }
    }
    let missing = rule.attributes.iter().find(|(name, required, _)| *required && !node.has_attribute(*name));
    if let Some((attribute, ..)) = missing {
        return Err(format!("<{name}> lacks {attribute}"));
    }
    let own_text =
        node.children().filter(Node::is_text).any(|node| !node.text().unwrap_or_default().trim().is_empty());
    if own_text && !rule.text {
        return Err(format!("<{name}> holds no text"));
    }
    let children: Vec<Node> = node.children().filter(Node::is_element).collect();
    let mut next = children.iter().peekable();
    for (child, least, most) in rule.children {
        let mut count = 0;
        while next.next_if(|node| node.has_tag_name(*child)).is_some() {
            count += 1;
        }
        if count < *least || count > *most {
            return Err(format!("<{name}> has {count} <{child}> in its place"));
        }
    }
    if let Some(other) = next.next() {
        return Err(format!("<{name}>: <{}> is not in its place", other.tag_name().name()));
    }
    if name == "testcase" && children.len() > 1 {
        return Err("a <testcase> has one outcome".to_owned());
    }
    children.into_iter().try_for_each(element)
}

#[test]
fn the_schemas_refuse_what_they_forbid() {
    let suite = |attributes: &str, within: &str| {
        let text = format!(
            "<testsuites><testsuite id=\"0\" name=\"a\" package=\"p\" failures=\"0\" errors=\"0\" time=\"0\" \
             timestamp=\"1970-01-01T00:00:00\" hostname=\"localhost\" {attributes}><properties/>{within}\
             <system-out/><system-err/></testsuite></testsuites>"
        );
        check(&text)
    };
    let case = "<testcase classname=\"a\" name=\"b\" time=\"0.25\"/>";
    assert_eq!(suite("tests=\"1\"", case), Ok(Totals { tests: 1, ..Totals::default() }));
    let wrong = [
        (suite("", case), "lacks tests"),
        (suite("tests=\"2\"", case), "tests is not 1"),
        (suite("tests=\"one\"", case), "is no Count"),
        (suite("tests=\"1\" colour=\"red\"", case), "has no colour"),
        (suite("tests=\"0\"", "words"), "holds no text"),
        (suite("tests=\"1\"", "<testcase name=\"b\" time=\"0\"/>"), "lacks classname"),
        (suite("tests=\"1\"", "<testcase classname=\"a\" name=\"b\" time=\"0s\"/>"), "is no Seconds"),
        (suite("tests=\"0\"", "<system-err/>"), "has 0 <system-out>"),
        (suite("tests=\"0\"", "<property/>"), "has 0 <system-out>"),
        (suite("tests=\"0\"", "&bad;"), "unknown entity"),
    ];
    for (result, problem) in wrong {
        let found = result.expect_err(problem);
        assert!(found.contains(problem), "{problem}: {found}");
    }
    let two = "<testcase classname=\"a\" name=\"b\" time=\"0\"><skipped/><failure type=\"t\"/></testcase>";
    assert!(suite("tests=\"1\"", two).is_err());
}
