//! Case files: what they may hold, and where they are wrong.

use std::collections::BTreeMap;
use std::path::Path;

use numashock_engine::Seed;
use numashock_sim::scenario::document::{Document, ScenarioError};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::{
    Case, Wrong, almgren_chriss, book, cst, decay, fill, hawkes, quantiles, queue_reactive, queueing,
    santa_fe,
};

/// A kind of case: its name, what it is, and the keys that it asks for.
pub(super) struct Kind {
    pub(super) name: &'static str,
    about: &'static str,
    /// Each key with what it means.
    keys: &'static [(&'static str, &'static str)],
    read: Reader,
}

#[cfg(test)]
impl Kind {
    /// The keys that are printed.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|(key, _)| *key)
    }
}

/// Reads the keys of a case that stands at a place of the document.
type Reader = fn(&Document, Table, &str) -> Result<Box<dyn Case>, ScenarioError>;

/// Every kind.
pub(super) const KINDS: &[Kind] = &[
    Kind { name: "cst-mid-up", about: cst::UP_ABOUT, keys: cst::KEYS, read: read::<cst::MidUp> },
    Kind { name: "cst-fill", about: cst::FILL_ABOUT, keys: cst::KEYS, read: read::<cst::BidFill> },
    Kind {
        name: "cst-make-spread",
        about: cst::SPREAD_ABOUT,
        keys: cst::KEYS,
        read: read::<cst::MakeSpread>,
    },
    Kind { name: "cst-book", about: book::ABOUT, keys: book::KEYS, read: read::<book::WholeBook> },
    Kind { name: "fill-time", about: fill::TIME_ABOUT, keys: fill::TIME_KEYS, read: read::<fill::FillTime> },
    Kind {
        name: "fill-probability",
        about: fill::CHANCE_ABOUT,
        keys: fill::CHANCE_KEYS,
        read: read::<fill::FillProbability>,
    },
    Kind {
        name: "queue-decay",
        about: decay::QUEUES_ABOUT,
        keys: decay::QUEUES_KEYS,
        read: read::<decay::QueueDecay>,
    },
    Kind {
        name: "hazard-decay",
        about: decay::HAZARD_ABOUT,
        keys: decay::HAZARD_KEYS,
        read: read::<decay::HazardDecay>,
    },
    Kind { name: "dispatch", about: queueing::ABOUT, keys: queueing::KEYS, read: read::<queueing::Dispatch> },
    Kind { name: "santa-fe", about: santa_fe::ABOUT, keys: santa_fe::KEYS, read: read::<santa_fe::SantaFe> },
    Kind { name: "hawkes", about: hawkes::ABOUT, keys: hawkes::KEYS, read: read::<hawkes::Hawkes> },
    Kind {
        name: "queue-reactive",
        about: queue_reactive::ABOUT,
        keys: queue_reactive::KEYS,
        read: read::<queue_reactive::QueueReactive>,
    },
    Kind {
        name: "almgren-chriss",
        about: almgren_chriss::ABOUT,
        keys: almgren_chriss::KEYS,
        read: read::<almgren_chriss::AlmgrenChriss>,
    },
    Kind {
        name: "quantile-interval",
        about: quantiles::ABOUT,
        keys: quantiles::KEYS,
        read: read::<quantiles::QuantileInterval>,
    },
];

/// Keys that a case of any kind may have.
const COMMON: &[(&str, &str)] = &[
    ("name", "what the case is called; no two have the same"),
    ("kind", "one of the kinds below"),
    ("samples", "how many independent samples (of what, the kind says); --sample 10% takes a tenth of it"),
    ("seed", "optional, 0: another draw of the same case"),
    ("z_max", "optional, 4: the largest |z| that passes"),
    (
        "tolerance",
        "optional: the largest distance from the reference, absolute (0.002), relative (\"1%\") or both ([\"1%\", 0.0001]: \
        the wider counts); asked only of the whole sample",
    ),
    (
        "max_standard_error",
        "optional: the largest standard error, written in the same way; asked only of the whole sample",
    ),
    (
        "expected",
        "optional table from a quantity's name to a reference of your own, a number or { value = 1.0, standard_error = 0.1 }, \
        to be compared beside the formula",
    ),
];

fn read<T: Case + DeserializeOwned + 'static>(
    document: &Document,
    table: Table,
    at: &str,
) -> Result<Box<dyn Case>, ScenarioError> {
    let case: T = document.deserialize(table, Some(at))?;
    case.check().and_then(|()| case.demand().check()).map_err(|wrong| locate(document, at, &wrong))?;
    Ok(Box::new(case))
}

/// A case's error, at its line.
pub(super) fn locate(document: &Document, at: &str, wrong: &Wrong) -> ScenarioError {
    let key = if wrong.key.is_empty() { at.to_owned() } else { format!("{at}.{}", wrong.key) };
    document.error(&key, wrong.problem.clone())
}

/// A largest distance, absolute or relative; of both the wider counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bound {
    absolute: f64,
    relative: f64,
}

impl Bound {
    /// The bound for a value of this size.
    pub(super) fn at(self, value: f64) -> f64 {
        self.absolute.max(self.relative * value.abs())
    }

    fn part(value: &Value) -> Option<Bound> {
        let good = |number: &f64| number.is_finite() && *number > 0.0;
        match value {
            Value::Float(number) => {
                Some(*number).filter(good).map(|absolute| Bound { absolute, relative: 0.0 })
            }
            Value::Integer(number) if *number > 0 => Some(Bound { absolute: *number as f64, relative: 0.0 }),
            Value::String(text) => {
                let percent = text.trim().strip_suffix('%')?.trim().parse::<f64>().ok().filter(good)?;
                Some(Bound { absolute: 0.0, relative: percent / 100.0 })
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bound, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let parts = match &value {
            Value::Array(parts) if !parts.is_empty() => parts.iter().map(Bound::part).collect(),
            single => Bound::part(single).map(|bound| vec![bound]),
        };
        let parts: Vec<Bound> = parts.ok_or_else(|| {
            de::Error::custom(
                "expected a number above 0 such as 0.002, a share such as \"1%\", or a list of both",
            )
        })?;
        let wider = |bound: Bound, part: &Bound| Bound {
            absolute: bound.absolute.max(part.absolute),
            relative: bound.relative.max(part.relative),
        };
        Ok(parts.iter().fold(Bound::default(), wider))
    }
}

/// A reference that the file gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) value: f64,
    pub(super) standard_error: f64,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Given, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            value: f64,
            #[serde(default)]
            standard_error: f64,
        }
        let given = match Value::deserialize(deserializer)? {
            Value::Float(value) => Given { value, standard_error: 0.0 },
            Value::Integer(value) => Given { value: value as f64, standard_error: 0.0 },
            other => {
                let parts: Parts = other.try_into().map_err(|error: toml::de::Error| {
                    de::Error::custom(format!(
                        "expected a number or {{ value = 1.0, standard_error = 0.1 }}: {}",
                        error.message().trim_end()
                    ))
                })?;
                Given { value: parts.value, standard_error: parts.standard_error }
            }
        };
        if given.value.is_finite() && given.standard_error.is_finite() && given.standard_error >= 0.0 {
            Ok(given)
        } else {
            Err(de::Error::custom("expected finite numbers, and a standard error that is not negative"))
        }
    }
}

/// The keys that every kind shares.
#[derive(Debug, Deserialize)]
pub(super) struct Common {
    pub(super) name: String,
    pub(super) kind: String,
    #[serde(default)]
    seed: u64,
    #[serde(default = "four")]
    pub(super) z_max: f64,
    pub(super) tolerance: Option<Bound>,
    pub(super) max_standard_error: Option<Bound>,
    #[serde(default)]
    pub(super) expected: BTreeMap<String, Given>,
}

fn four() -> f64 {
    4.0
}

impl Common {
    /// The case's seed: found by its name, so that neither its place in the file nor other cases matter.
    pub(super) fn seed(&self, base: u64) -> Seed {
        Seed(Seed(base).stream(&self.name, self.seed).next_u64())
    }
}

/// A case, ready to run.
pub(super) struct Ready {
    pub(super) common: Common,
    pub(super) case: Box<dyn Case>,
    /// Its place in the document.
    pub(super) at: String,
}

/// A file of cases.
pub struct CaseFile {
    pub(super) document: Document,
    pub(super) cases: Vec<Ready>,
}

/// The cases that come with the product.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// The file's name.
    pub name: &'static str,
    /// What stands in it.
    pub text: &'static str,
}

impl Shipped {
    /// All of them.
    pub const ALL: &'static [Shipped] = &[
        Shipped { name: "cst.toml", text: include_str!("../../cases/cst.toml") },
        Shipped { name: "book.toml", text: include_str!("../../cases/book.toml") },
        Shipped { name: "queue.toml", text: include_str!("../../cases/queue.toml") },
        Shipped { name: "dispatch.toml", text: include_str!("../../cases/dispatch.toml") },
        Shipped { name: "santa-fe.toml", text: include_str!("../../cases/santa-fe.toml") },
        Shipped { name: "hawkes.toml", text: include_str!("../../cases/hawkes.toml") },
        Shipped { name: "almgren-chriss.toml", text: include_str!("../../cases/almgren-chriss.toml") },
        Shipped { name: "quantiles.toml", text: include_str!("../../cases/quantiles.toml") },
    ];
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or as [`CaseFile::parse`].
    pub fn read(file: &Path) -> Result<CaseFile, ScenarioError> {
        CaseFile::new(Document::read(file)?)
    }

    /// Parses a text that came from `file`.
    ///
    /// # Errors
    /// If it is no TOML, a key is unknown or missing, or a value makes no sense.
    pub fn parse(file: &Path, text: &str) -> Result<CaseFile, ScenarioError> {
        CaseFile::new(Document::parse(file, text)?)
    }

    fn new(document: Document) -> Result<CaseFile, ScenarioError> {
        if let Some(key) = document.table().keys().find(|key| *key != "case") {
            return Err(
                document.error(key, "unknown key; a case file holds [[case]] tables and nothing else")
            );
        }
        let Some(Value::Array(tables)) = document.table().get("case") else {
            return Err(document.error("case", "expected at least one [[case]] table"));
        };
        let mut cases: Vec<Ready> = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let at = format!("case[{index}]");
            let ready = case(&document, table, at)?;
            if cases.iter().any(|other| other.common.name == ready.common.name) {
                let problem =
                    format!("\"{}\" is the name of an earlier case; choose another", ready.common.name);
                return Err(document.error(&format!("{}.name", ready.at), problem));
            }
            cases.push(ready);
        }
        Ok(CaseFile { document, cases })
    }

    /// Keeps the cases whose name or kind is among `names` and says how many they are.
    pub fn keep(&mut self, names: &[String]) -> usize {
        self.cases.retain(|ready| {
            names.iter().any(|name| *name == ready.common.name || *name == ready.common.kind)
        });
        self.cases.len()
    }
}

fn case(document: &Document, table: &Value, at: String) -> Result<Ready, ScenarioError> {
    let Value::Table(table) = table else {
        return Err(document.error(&at, "expected a table: write [[case]]"));
    };
    let (mut shared, mut own) = (Table::new(), Table::new());
    for (key, value) in table {
        // Every kind counts its samples itself.
        let common = key != "samples" && COMMON.iter().any(|(name, _)| name == key);
        if common { &mut shared } else { &mut own }.insert(key.clone(), value.clone());
    }
    let common: Common = document.deserialize(shared, Some(&at))?;
    if common.name.is_empty() {
        return Err(document.error(&format!("{at}.name"), "expected a name that is not empty"));
    }
    if !common.z_max.is_finite() || common.z_max <= 0.0 {
        return Err(document.error(&format!("{at}.z_max"), "expected a number above 0 such as 4"));
    }
    let Some(kind) = KINDS.iter().find(|kind| kind.name == common.kind) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let problem = format!("unknown kind \"{}\": expected one of {}", common.kind, known.join(", "));
        return Err(document.error(&format!("{at}.kind"), problem));
    };
    let case = (kind.read)(document, own, &at)?;
    Ok(Ready { common, case, at })
}

/// Every kind with its keys, for a reader.
#[must_use]
pub fn keys() -> String {
    let mut text = String::from("A case file holds [[case]] tables. Every case has these keys:\n\n");
    let list = |text: &mut String, keys: &[(&str, &str)]| {
        for (key, what) in keys {
            *text += &format!("  {key:<20} {what}\n");
        }
    };
    list(&mut text, COMMON);
    text += "\nTimes are written \"250ms\" (ns us ms s min h), rates \"1.85/min\" (/s /min /h).\n";
    for kind in KINDS {
        text += &format!("\n{}: {}\n\n", kind.name, kind.about);
        list(&mut text, kind.keys);
    }
    text
}
