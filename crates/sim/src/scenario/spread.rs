//! Costs as people write them: a constant, a spread, or two of them in a mixture.

use core::fmt;
use core::marker::PhantomData;

use numashock_machine::{Cost, Law};
use serde::de::{self, Deserializer};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::units::{PerPage, Share, Time};

const EXPECTED: &str = "a cost: \"61ns\", { uniform = [\"40ns\", \"90ns\"] }, { lognormal = \"61ns\", sigma = \"30%\" } \
                        or { mixture = [usual, rare], rare = \"5%\" }";
/// Beyond this, the tail of a log-normal law is longer than any event of a kernel.
const MOST_SIGMA: u64 = 1_000_000;

/// A quantity that a cost can be written in.
pub trait Unit: Copy + Serialize + de::DeserializeOwned {
    /// From whole smallest units.
    fn of(whole: u64) -> Self;
    /// In whole smallest units.
    fn whole(self) -> u64;
}

macro_rules! unit {
    ($name:ident) => {
        impl Unit for $name {
            fn of(whole: u64) -> $name {
                $name(whole)
            }
            fn whole(self) -> u64 {
                self.0
            }
        }
    };
}

unit!(Time);
unit!(PerPage);

/// A law of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<U> {
    /// Always the same.
    Constant(U),
    /// Uniform between two bounds.
    Uniform([U; 2]),
    /// Log-normal: median, and standard deviation of the logarithm.
    LogNormal(U, Share),
}

/// A cost: one law, or two in a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread<U> {
    /// One law.
    One(Part<U>),
    /// The usual law, the rare one, and the share of the rare one.
    Mixture([Part<U>; 2], Share),
}

impl<U: Unit> Part<U> {
    fn law(self) -> Law {
        match self {
            Part::Constant(value) => Law::Constant(value.whole()),
            Part::Uniform([least, most]) => Law::Uniform { least: least.whole(), most: most.whole() },
            Part::LogNormal(median, sigma) => {
                Law::LogNormal { median: median.whole(), sigma_ppm: sigma.ppm() }
            }
        }
    }

    fn map(self, each: impl Fn(U) -> U) -> Part<U> {
        match self {
            Part::Constant(value) => Part::Constant(each(value)),
            Part::Uniform(bounds) => Part::Uniform(bounds.map(each)),
            Part::LogNormal(median, sigma) => Part::LogNormal(each(median), sigma),
        }
    }

    /// Its greatest bound, or its median.
    fn greatest(self) -> u64 {
        match self {
            Part::Constant(value) | Part::Uniform([_, value]) | Part::LogNormal(value, _) => value.whole(),
        }
    }
}

impl<U: Unit> Spread<U> {
    /// As the core wants it.
    #[must_use]
    pub fn cost(self) -> Cost {
        match self {
            Spread::One(part) => Cost::One(part.law()),
            Spread::Mixture([usual, rare], share) => {
                Cost::Mixture { usual: usual.law(), rare: rare.law(), rare_ppm: share.ppm() }
            }
        }
    }

    /// With every value of every part changed; spreads and shares stay.
    #[must_use]
    pub fn map(self, each: impl Fn(U) -> U + Copy) -> Spread<U> {
        match self {
            Spread::One(part) => Spread::One(part.map(each)),
            Spread::Mixture(parts, share) => Spread::Mixture(parts.map(|part| part.map(each)), share),
        }
    }

    /// The greatest number written in it.
    pub(super) fn greatest(self) -> u64 {
        match self {
            Spread::One(part) => part.greatest(),
            Spread::Mixture(parts, _) => parts.map(Part::greatest).into_iter().max().expect("two parts"),
        }
    }
}

/// The keys of every kind of table; which belong together is checked afterwards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "U: Unit")]
struct Keys<U> {
    uniform: Option<[U; 2]>,
    lognormal: Option<U>,
    sigma: Option<Share>,
    mixture: Option<[Part<U>; 2]>,
    rare: Option<Share>,
}

impl<U: Unit> Keys<U> {
    fn spread(self) -> Result<Spread<U>, String> {
        match self {
            Keys {
                uniform: Some([least, most]),
                lognormal: None,
                sigma: None,
                mixture: None,
                rare: None,
            } => {
                if least.whole() > most.whole() {
                    return Err("uniform: expected [least, greatest] in that order".to_owned());
                }
                Ok(Spread::One(Part::Uniform([least, most])))
            }
            Keys {
                uniform: None,
                lognormal: Some(median),
                sigma: Some(sigma),
                mixture: None,
                rare: None,
            } => {
                if sigma.0 > MOST_SIGMA {
                    return Err("sigma: expected at most \"100%\"".to_owned());
                }
                Ok(Spread::One(Part::LogNormal(median, sigma)))
            }
            Keys { uniform: None, lognormal: None, sigma: None, mixture: Some(parts), rare: Some(share) } => {
                if share.0 > 1_000_000 {
                    return Err("rare: expected at most \"100%\"".to_owned());
                }
                Ok(Spread::Mixture(parts, share))
            }
            _ => Err(format!("these keys do not make a cost: expected {EXPECTED}")),
        }
    }
}

struct SpreadVisitor<U>(PhantomData<U>);

impl<'de, U: Unit> de::Visitor<'de> for SpreadVisitor<U> {
    type Value = Spread<U>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Spread<U>, E> {
        U::deserialize(de::value::StrDeserializer::new(text)).map(|value| Spread::One(Part::Constant(value)))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Spread<U>, A::Error> {
        let keys = Keys::<U>::deserialize(de::value::MapAccessDeserializer::new(map))?;
        keys.spread().map_err(de::Error::custom)
    }
}

impl<'de, U: Unit> Deserialize<'de> for Spread<U> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpreadVisitor(PhantomData))
    }
}

impl<'de, U: Unit> Deserialize<'de> for Part<U> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Spread::deserialize(deserializer)? {
            Spread::One(part) => Ok(part),
            Spread::Mixture(..) => Err(de::Error::custom("a mixture has no mixtures in it")),
        }
    }
}

impl<U: Unit> Serialize for Part<U> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Part::Constant(value) => value.serialize(serializer),
            Part::Uniform(bounds) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("uniform", bounds)?;
                map.end()
            }
            Part::LogNormal(median, sigma) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("lognormal", median)?;
                map.serialize_entry("sigma", sigma)?;
                map.end()
            }
        }
    }
}

impl<U: Unit> Serialize for Spread<U> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Spread::One(part) => part.serialize(serializer),
            Spread::Mixture(parts, share) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("mixture", parts)?;
                map.serialize_entry("rare", share)?;
                map.end()
            }
        }
    }
}

/// A cost in one line, from its value as it stands in a preset.
pub(super) fn show(value: &toml::Value) -> String {
    let part = |key: &str| value.get(key).map(show).unwrap_or_default();
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(parts) if parts.iter().all(|part| !part.is_array()) => {
            parts.iter().map(show).collect::<Vec<_>>().join(" to ")
        }
        toml::Value::Table(keys) if keys.contains_key("uniform") => part("uniform"),
        toml::Value::Table(keys) if keys.contains_key("lognormal") => {
            format!("log-normal, median {}, sigma {}", part("lognormal"), part("sigma"))
        }
        toml::Value::Table(keys) => {
            let parts = keys.get("mixture").and_then(toml::Value::as_array);
            let text: Vec<String> = parts.into_iter().flatten().map(show).collect();
            format!("{}, rarely ({}) {}", text[0], part("rare"), text[1])
        }
        _ => "curve".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Spread<Time>, String> {
        let table = format!("value = {value}").parse::<toml::Table>().unwrap();
        table["value"].clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn costs_are_read_written_and_shown() {
        for (text, cost, shown) in [
            ("\"61ns\"", Cost::constant(61), "61ns"),
            (
                "{ uniform = [\"0.5us\", \"1us\"] }",
                Cost::One(Law::Uniform { least: 500, most: 1_000 }),
                "500ns to 1us",
            ),
            (
                "{ lognormal = \"3us\", sigma = \"30%\" }",
                Cost::One(Law::LogNormal { median: 3_000, sigma_ppm: 300_000 }),
                "log-normal, median 3us, sigma 30%",
            ),
            (
                "{ mixture = [\"1us\", { uniform = [\"2us\", \"9us\"] }], rare = \"5%\" }",
                Cost::Mixture {
                    usual: Law::Constant(1_000),
                    rare: Law::Uniform { least: 2_000, most: 9_000 },
                    rare_ppm: 50_000,
                },
                "1us, rarely (5%) 2us to 9us",
            ),
        ] {
            let spread = read(text).unwrap();
            assert_eq!(spread.cost(), cost, "{text}");
            let written = toml::Value::try_from(spread).unwrap();
            assert_eq!(show(&written), shown);
            assert_eq!(written.try_into::<Spread<Time>>().unwrap(), spread, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_cost_is_named() {
        for (text, problem) in [
            ("\"5 parsec\"", "unknown unit \"parsec\""),
            ("5", "invalid type: integer `5`, expected a cost: \"61ns\""),
            ("{ uniform = [\"2us\", \"1us\"] }", "expected [least, greatest]"),
            ("{ uniform = [\"2us\"] }", "array of length 2"),
            ("{ lognormal = \"2us\" }", "these keys do not make a cost"),
            ("{ uniform = [\"1us\", \"2us\"], sigma = \"3%\" }", "these keys do not make a cost"),
            ("{ lognormal = \"2us\", sigma = \"101%\" }", "at most \"100%\""),
            ("{ normal = \"2us\" }", "unknown field `normal`"),
            ("{ mixture = [\"1us\", \"2us\"], rare = \"101%\" }", "at most \"100%\""),
            (
                "{ mixture = [\"1us\", { mixture = [\"1us\", \"2us\"], rare = \"1%\" }], rare = \"1%\" }",
                "has no mixtures in it",
            ),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(problem), "{text}: {message}");
        }
    }
}
