//! Cost presets: every number with its source and a mark.

use numashock_engine::Span;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::spread::{Spread, Unit, show};
use super::units::{Bandwidth, PerPage, Share, Time};

/// How a number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Measured by this project.
    Measured,
    /// Taken from a published source.
    Cited,
    /// Nobody has published it; composed or guessed from neighbours.
    Assumed,
}

/// A number with its origin.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Known<T> {
    /// The number.
    pub value: T,
    /// How it is known.
    pub mark: Mark,
    /// From where.
    pub source: String,
}

/// The costs of one machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Which machine.
    pub name: String,
    /// Fixed part of a marking pass.
    pub pass_base: Known<Spread<Time>>,
    /// Marking one PTE; one draw a pass.
    pub mark_per_pte: Known<Spread<PerPage>>,
    /// Marking one huge page; one draw a pass.
    pub mark_huge: Known<Spread<PerPage>>,
    /// Passing over a PTE that is marked already.
    pub skip_per_pte: Known<PerPage>,
    /// Passing over a local page of a single-threaded process.
    pub local_skip_per_pte: Known<PerPage>,
    /// Starting a shootdown.
    pub shootdown_base: Known<Spread<Time>>,
    /// Each CPU that must answer it, on the thread that waits.
    pub shootdown_per_cpu: Known<Spread<Time>>,
    /// The interrupt and TLB refill on each CPU that answers.
    pub interrupt: Known<Spread<Time>>,
    /// The same for at most 33 pages, which are flushed one by one.
    pub interrupt_few_pages: Known<Spread<Time>>,
    /// A hinting fault without migration.
    pub hint_fault: Known<Spread<Time>>,
    /// Placement work on a new scan sequence.
    pub placement: Known<Spread<Time>>,
    /// Migrating one page inside its fault.
    pub migrate_page: Known<Spread<Time>>,
    /// Migrating one huge page inside its fault.
    pub migrate_huge: Known<Spread<Time>>,
    /// A migration that is refused.
    pub refused_migration: Known<Spread<Time>>,
    /// The write-protect fault after a migration.
    pub write_fault: Known<Spread<Time>>,
    /// Waking after sleeping on a page under migration.
    pub migration_wake: Known<Spread<Time>>,
    /// Looking through one node for a CPU to move a task to; free if absent.
    pub task_migrate_scan: Option<Known<Spread<Time>>>,
    /// Waiting for the stopper that moves a task; free if absent.
    pub stopper: Option<Known<Spread<Time>>>,
    /// Idle latency to memory of the own node.
    pub local_latency: Known<Time>,
    /// Idle latency to memory of another node.
    pub remote_latency: Known<Time>,
    /// Read bandwidth between two nodes, per direction.
    pub interconnect: Known<Bandwidth>,
    /// Read bandwidth of a node's memory.
    pub memory: Known<Bandwidth>,
    /// Latency multiplier by utilisation: rising pairs of `[utilisation, multiplier]`.
    pub loaded_latency: Known<Vec<[Share; 2]>>,
}

/// A cost as the results list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostLine {
    /// Its key in the preset.
    pub name: &'static str,
    /// Its value as written.
    pub value: String,
    /// How it is known.
    pub mark: Mark,
    /// From where.
    pub source: String,
}

impl Preset {
    /// Multiplies every time marked assumed by `ppm` parts per million: each part of a spread, not its shape.
    pub fn scale_assumed(&mut self, ppm: u64) {
        fn scaled<U: Unit>(value: U, ppm: u64) -> U {
            U::of(Span(value.whole()).scaled(ppm, 1_000_000).0)
        }
        for (_, known) in self.times_mut() {
            if known.mark == Mark::Assumed {
                known.value = known.value.map(|value| scaled(value, ppm));
            }
        }
        for (_, known) in self.per_page_mut() {
            if known.mark == Mark::Assumed {
                known.value = known.value.map(|value| scaled(value, ppm));
            }
        }
        for known in [&mut self.local_latency, &mut self.remote_latency] {
            if known.mark == Mark::Assumed {
                known.value = scaled(known.value, ppm);
            }
        }
        for known in [&mut self.skip_per_pte, &mut self.local_skip_per_pte] {
            if known.mark == Mark::Assumed {
                known.value = scaled(known.value, ppm);
            }
        }
    }

    /// What no machine can have: the key, and what is expected there.
    pub(super) fn problem(&mut self) -> Option<(String, String)> {
        let expected = |most: &str| format!("is too large for a cost: expected at most \"{most}\"");
        for (key, known) in self.times_mut() {
            if known.value.greatest() > 1_000_000_000 {
                return Some((format!("{key}.value"), expected("1s")));
            }
        }
        for (key, known) in self.per_page_mut() {
            let (most, text) =
                if key == "mark_huge" { (1_000_000_000, "1000us") } else { (10_000_000, "10us") };
            if known.value.greatest() > most {
                return Some((format!("{key}.value"), expected(text)));
            }
        }
        for (key, known) in
            [("skip_per_pte", &self.skip_per_pte), ("local_skip_per_pte", &self.local_skip_per_pte)]
        {
            if known.value.0 > 10_000_000 {
                return Some((format!("{key}.value"), expected("10us")));
            }
        }
        let curve = &self.loaded_latency.value;
        let rises = curve.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]);
        if curve.is_empty() || !rises || curve[0][1].0 < 1_000_000 {
            let expected =
                "must rise from at least [\"0%\", \"100%\"], one [utilisation, multiplier] after the other";
            return Some(("loaded_latency.value".to_owned(), expected.to_owned()));
        }
        None
    }

    /// Every cost with its origin, in the order of the file.
    #[must_use]
    pub fn lines(&self) -> Vec<CostLine> {
        let mut lines = Vec::new();
        let value = toml::Value::try_from(self).expect("a preset is plain data");
        for name in NAMES {
            let Some(known) = value.get(name) else { continue };
            let text = |key: &str| known.get(key).and_then(toml::Value::as_str).map(str::to_owned);
            lines.push(CostLine {
                name,
                value: known.get("value").map(show).unwrap_or_default(),
                mark: match text("mark").as_deref() {
                    Some("measured") => Mark::Measured,
                    Some("cited") => Mark::Cited,
                    _ => Mark::Assumed,
                },
                source: text("source").unwrap_or_default(),
            });
        }
        lines
    }

    fn times_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Known<Spread<Time>>)> {
        let required = [
            ("pass_base", &mut self.pass_base),
            ("shootdown_base", &mut self.shootdown_base),
            ("shootdown_per_cpu", &mut self.shootdown_per_cpu),
            ("interrupt", &mut self.interrupt),
            ("interrupt_few_pages", &mut self.interrupt_few_pages),
            ("hint_fault", &mut self.hint_fault),
            ("placement", &mut self.placement),
            ("migrate_page", &mut self.migrate_page),
            ("migrate_huge", &mut self.migrate_huge),
            ("refused_migration", &mut self.refused_migration),
            ("write_fault", &mut self.write_fault),
            ("migration_wake", &mut self.migration_wake),
        ];
        let optional =
            [("task_migrate_scan", self.task_migrate_scan.as_mut()), ("stopper", self.stopper.as_mut())];
        let optional = optional.into_iter().filter_map(|(name, known)| Some((name, known?)));
        required.into_iter().chain(optional)
    }

    fn per_page_mut(&mut self) -> [(&'static str, &mut Known<Spread<PerPage>>); 2] {
        [("mark_per_pte", &mut self.mark_per_pte), ("mark_huge", &mut self.mark_huge)]
    }
}

const NAMES: [&str; 23] = [
    "pass_base",
    "mark_per_pte",
    "mark_huge",
    "skip_per_pte",
    "local_skip_per_pte",
    "shootdown_base",
    "shootdown_per_cpu",
    "interrupt",
    "interrupt_few_pages",
    "hint_fault",
    "placement",
    "migrate_page",
    "migrate_huge",
    "refused_migration",
    "write_fault",
    "migration_wake",
    "task_migrate_scan",
    "stopper",
    "local_latency",
    "remote_latency",
    "interconnect",
    "memory",
    "loaded_latency",
];

/// A preset by file name, or spelled out.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum PresetRef {
    /// A file, relative to the scenario.
    File(String),
    /// The preset itself, as resolved scenarios have it.
    Inline(Box<Preset>),
}

impl<'de> Deserialize<'de> for PresetRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = PresetRef;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("the name of a preset file, or a table with every cost")
            }
            fn visit_str<E: de::Error>(self, file: &str) -> Result<PresetRef, E> {
                Ok(PresetRef::File(file.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PresetRef, A::Error> {
                Preset::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(Box::new)
                    .map(PresetRef::Inline)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::document::Document;
    use super::super::lower::{Origin, preset, read_preset};
    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/presets")
    }

    fn read(name: &str) -> Preset {
        read_preset(&folder().join(format!("{name}.toml"))).expect("the preset is sound").1
    }

    /// The error of a scenario whose preset is Ice Lake's with some text replaced.
    fn error(from: &str, to: &str) -> String {
        let text = std::fs::read_to_string(folder().join("ice-lake.toml")).expect("the preset is there");
        assert!(text.contains(from), "{from}");
        let file = std::env::temp_dir().join(format!("numashock-preset-{}.toml", std::process::id()));
        std::fs::write(&file, text.replacen(from, to, 1)).expect("the folder can be written");
        let scenario = Document::parse(Path::new("s.toml"), "").expect("it is empty");
        let origin = Origin { document: &scenario, overlay: None };
        let reference = PresetRef::File(file.display().to_string());
        let message = preset(&reference, "machine.preset", origin, 1_000_000).unwrap_err().to_string();
        std::fs::remove_file(&file).expect("it was written");
        message.replace(&file.display().to_string(), "preset.toml")
    }

    #[test]
    fn every_preset_is_sound_and_says_where_its_numbers_come_from() {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder()).expect("the presets are there") {
            let path = entry.expect("it can be listed").path();
            let (_, mut preset) = read_preset(&path).expect("it can be read");
            assert_eq!(preset.problem(), None, "{}", path.display());
            assert_eq!(Some(preset.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
            for line in preset.lines() {
                assert!(line.source.len() > 10 && !line.value.is_empty(), "{line:?}");
            }
            names.push(preset.name);
        }
        names.sort_unstable();
        let expected = [
            "cascade-lake",
            "genoa",
            "gpu-server",
            "ice-lake",
            "ice-lake-spread",
            "pmbench-host",
            "skylake-sp",
            "slow-walk",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_spread_has_the_middle_of_the_constant_it_stands_for() {
        let (constant, spread) = (read("ice-lake"), read("ice-lake-spread"));
        let means = |preset: &Preset| {
            [&preset.interrupt, &preset.hint_fault, &preset.placement, &preset.refused_migration]
                .map(|known| known.value.cost().mean())
        };
        assert_eq!(means(&constant), means(&spread));
        for (constant, spread) in [
            (constant.migrate_page.value, spread.migrate_page.value),
            (constant.write_fault.value, spread.write_fault.value),
        ] {
            assert_eq!(constant.greatest(), spread.greatest(), "the median");
        }
    }

    #[test]
    fn what_is_assumed_is_scaled_in_every_part() {
        let mut preset = read("ice-lake-spread");
        let shown = |preset: &Preset, name: &str| -> String {
            preset.lines().into_iter().find(|line| line.name == name).expect("it is listed").value
        };
        preset.scale_assumed(2_000_000);
        assert_eq!(shown(&preset, "hint_fault"), "1us to 2us");
        assert_eq!(shown(&preset, "migrate_page"), "log-normal, median 6us, sigma 30%");
        assert_eq!(shown(&preset, "migrate_huge"), "190us to 193us", "cited");
        assert_eq!(shown(&preset, "skip_per_pte"), "7ns");
        assert_eq!(shown(&preset, "loaded_latency"), "curve");
        let text = toml::to_string(&preset).expect("a preset is plain data");
        let again: Preset = toml::from_str(&text).expect("what was written can be read");
        assert_eq!(again.lines(), preset.lines());
    }

    #[test]
    fn errors_name_the_preset_its_line_and_the_whole_key() {
        for (from, to, expected) in [
            ("\"61ns\"", "\"61parsec\"", "preset.toml:11: mark_per_pte.value: unknown unit \"parsec\""),
            (
                "\"61ns\"",
                "\"61us\"",
                "preset.toml:11: mark_per_pte.value: is too large for a cost: expected at most",
            ),
            (
                "\"3us\"\nmark = \"assumed\"\nsource = \"composed",
                "{ uniform = [\"1us\", \"2\"] }\nmark = \"assumed\"\nsource = \"composed",
                "migrate_page.value.uniform[1]: \"2\" has no unit",
            ),
            (
                "\"3us\"\nmark = \"assumed\"\nsource = \"composed",
                "{ uniform = [\"2us\", \"1us\"] }\nmark = \"assumed\"\nsource = \"composed",
                "migrate_page.value: uniform: expected [least, greatest]",
            ),
            (
                "\"3us\"\nmark = \"assumed\"\nsource = \"composed",
                "{ lognormal = \"2us\", sgma = \"1%\" }\nmark = \"assumed\"\nsource = \"composed",
                "migrate_page.value.sgma: unknown field `sgma`",
            ),
            ("[[\"0%\", \"100%\"]", "[[\"0%\", \"90%\"]", "loaded_latency.value: must rise from at least"),
        ] {
            let message = error(from, to);
            assert!(message.contains(expected), "{message}");
            assert!(message.starts_with("preset.toml:"), "{message}");
        }
    }

    #[test]
    fn errors_of_a_preset_in_the_scenario_name_its_place_there() {
        let mut bad = read("ice-lake");
        bad.loaded_latency.value.clear();
        let text = "[machine.preset]\nname = \"x\"\n\n[machine.preset.loaded_latency]\nvalue = []\n";
        let scenario = Document::parse(Path::new("s.toml"), text).expect("it is TOML");
        let origin = Origin { document: &scenario, overlay: None };
        let error =
            preset(&PresetRef::Inline(Box::new(bad)), "machine.preset", origin, 1_000_000).unwrap_err();
        assert!(
            error.to_string().starts_with("s.toml:5: machine.preset.loaded_latency.value: must rise"),
            "{error}"
        );
    }
}
