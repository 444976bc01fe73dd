//! Quantities as people write them, parsed to integers: `"250ms"`, `"256MiB"`, `"20/s"`, `"1.5%"`, `"34GB/s"`.

use numashock_engine::Span;
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// What a quantity looks like, for messages.
struct Form {
    what: &'static str,
    example: &'static str,
    /// Each unit with how many of the smallest whole units it is, as a fraction.
    units: &'static [(&'static str, u64, u64)],
}

const TIME: Form = Form {
    what: "a time",
    example: "\"250ms\"",
    units: &[
        ("ns", 1, 1),
        ("us", 1_000, 1),
        ("ms", 1_000_000, 1),
        ("s", 1_000_000_000, 1),
        ("min", 60_000_000_000, 1),
        ("h", 3_600_000_000_000, 1),
    ],
};
const SIZE: Form = Form {
    what: "a size",
    example: "\"256MiB\"",
    units: &[("B", 1, 1), ("KiB", 1 << 10, 1), ("MiB", 1 << 20, 1), ("GiB", 1 << 30, 1)],
};
const RATE: Form = Form {
    what: "a rate",
    example: "\"20/s\"",
    units: &[("/s", 1_000_000_000, 1), ("/min", 1_000_000_000, 60), ("/h", 1_000_000_000, 3600)],
};
const SHARE: Form = Form { what: "a share", example: "\"12.5%\"", units: &[("%", 10_000, 1)] };
const BANDWIDTH: Form =
    Form { what: "a bandwidth", example: "\"34GB/s\"", units: &[("MB/s", 1, 1), ("GB/s", 1_000, 1)] };
const PICOSECONDS: Form = Form {
    what: "a time per page",
    example: "\"61.5ns\"",
    units: &[("ps", 1, 1), ("ns", 1_000, 1), ("us", 1_000_000, 1)],
};

/// Reads `text` as a number and a unit of `form`, rounded to the nearest whole smallest unit.
fn parse(text: &str, form: &Form) -> Result<u64, String> {
    let expected = || {
        let units: Vec<&str> = form.units.iter().map(|(unit, ..)| *unit).collect();
        format!("expected {} such as {} (units: {})", form.what, form.example, units.join(" "))
    };
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_' || c == '-' || c == '+'));
    let Some(split) = split else { return Err(format!("\"{text}\" has no unit: {}", expected())) };
    let (number, unit) = (text[..split].replace('_', ""), text[split..].trim());
    if number.starts_with('-') {
        return Err(format!("\"{text}\" is negative: {}", expected()));
    }
    let Some((_, numerator, denominator)) = form.units.iter().find(|(name, ..)| *name == unit) else {
        return Err(format!("unknown unit \"{unit}\": {}", expected()));
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || digits.len() > 27 {
        return Err(format!("\"{text}\" does not begin with a number: {}", expected()));
    }
    let mantissa: u128 = digits.parse().map_err(|_| expected())?;
    let scale =
        10u128.pow(u32::try_from(fraction.len()).expect("fewer than 28 digits")) * u128::from(*denominator);
    let wide = mantissa.checked_mul(u128::from(*numerator)).map(|product| (product + scale / 2) / scale);
    wide.and_then(|wide| u64::try_from(wide).ok())
        .ok_or_else(|| format!("\"{text}\" is too large: {}", expected()))
}

/// Reads a bare number of seconds, as CSV columns have it, to nanoseconds.
pub(super) fn parse_seconds(text: &str) -> Result<u64, String> {
    parse(&format!("{text}s"), &TIME)
        .map_err(|_| format!("\"{text}\": expected a number of seconds such as 1.5"))
}

/// Writes a whole number of smallest units with the largest unit that divides it.
fn show(value: u64, form: &Form) -> String {
    let whole = form
        .units
        .iter()
        .filter(|(_, numerator, denominator)| {
            *denominator == 1 && value % *numerator == 0 && (value > 0 || *numerator == 1)
        })
        .max_by_key(|(_, numerator, _)| *numerator);
    match whole {
        Some((unit, numerator, _)) => format!("{}{unit}", value / numerator),
        None => {
            // A fraction of the unit with the fewest smallest units, in exact decimals.
            let (unit, numerator, _) = form.units[0];
            let decimals = numerator.ilog10() as usize;
            let text = format!("{}.{:0decimals$}", value / numerator, value % numerator);
            format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $form:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Text::deserialize(deserializer)?;
                parse(&text.0, &$form).map($name).map_err(de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&show(self.0, &$form))
            }
        }
    };
}

quantity!(
    /// A time in nanoseconds.
    Time, TIME
);
quantity!(
    /// A size in bytes.
    Size, SIZE
);
quantity!(
    /// A rate in events per 10⁹ seconds.
    Rate, RATE
);
quantity!(
    /// A share in parts per million.
    Share, SHARE
);
quantity!(
    /// A bandwidth in MB/s (10⁶ bytes).
    Bandwidth, BANDWIDTH
);
quantity!(
    /// A cost per page in picoseconds.
    PerPage, PICOSECONDS
);

impl Time {
    /// As the core wants it.
    #[must_use]
    pub fn span(self) -> Span {
        Span(self.0)
    }
}

impl Size {
    /// Whole 4 KiB pages, rounded up.
    #[must_use]
    pub fn pages(self) -> u64 {
        self.0.div_ceil(4096)
    }
}

impl Share {
    /// Parts per million, at most `u32::MAX`.
    #[must_use]
    pub fn ppm(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

/// A quantity must be a string: a bare number has no unit, and saying so beats serde's "invalid type".
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(
                    "a number with its unit in quotes, such as \"250ms\", \"256MiB\", \"20/s\" or \"50%\"",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_parse_to_integers() {
        for (text, form, value) in [
            ("250ms", &TIME, 250_000_000),
            ("1.5us", &TIME, 1_500),
            ("1 min", &TIME, 60_000_000_000),
            ("256MiB", &SIZE, 268_435_456),
            ("1.85/min", &RATE, 30_833_333),
            ("20/s", &RATE, 20_000_000_000),
            ("12.5%", &SHARE, 125_000),
            ("34.3GB/s", &BANDWIDTH, 34_300),
            ("61.5ns", &PICOSECONDS, 61_500),
        ] {
            assert_eq!(parse(text, form), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_shown_parses_back_to_the_same_number() {
        for form in [&TIME, &SIZE, &RATE, &SHARE, &BANDWIDTH, &PICOSECONDS] {
            for value in [0, 1, 999, 1_500, 30_833_333, 125_000, 268_435_456, 60_000_000_000] {
                assert_eq!(
                    parse(&show(value, form), form),
                    Ok(value),
                    "{}: {}",
                    form.what,
                    show(value, form)
                );
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, problem) in [
            ("1parsec", "unknown unit \"parsec\""),
            ("-4ms", "is negative"),
            ("5", "has no unit"),
            ("ms", "does not begin with a number"),
            ("1.2.3ms", "does not begin with a number"),
            ("99999999999999999999h", "too large"),
        ] {
            let message = parse(text, &TIME).unwrap_err();
            assert!(message.contains(problem), "{text}: {message}");
            assert!(message.contains("250ms"), "{text}: {message}");
        }
    }
}
