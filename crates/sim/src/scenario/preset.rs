//! Cost presets: every number with its source and a mark.

use numashock_engine::Span;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

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
    pub pass_base: Known<Time>,
    /// Marking one PTE.
    pub mark_per_pte: Known<PerPage>,
    /// Passing over a PTE that is marked already.
    pub skip_per_pte: Known<PerPage>,
    /// Passing over a local page of a single-threaded process.
    pub local_skip_per_pte: Known<PerPage>,
    /// Starting a shootdown.
    pub shootdown_base: Known<Time>,
    /// Each CPU that must answer it, on the thread that waits.
    pub shootdown_per_cpu: Known<Time>,
    /// The interrupt and TLB refill on each CPU that answers.
    pub interrupt: Known<Time>,
    /// A hinting fault without migration.
    pub hint_fault: Known<Time>,
    /// Placement work on a new scan sequence.
    pub placement: Known<Time>,
    /// Migrating one page inside its fault.
    pub migrate_page: Known<Time>,
    /// A migration that is refused.
    pub refused_migration: Known<Time>,
    /// The write-protect fault after a migration.
    pub write_fault: Known<Time>,
    /// Waking after sleeping on a page under migration.
    pub migration_wake: Known<Time>,
    /// Looking through one node for a CPU to move a task to; free if absent.
    pub task_migrate_scan: Option<Known<Time>>,
    /// Waiting for the stopper that moves a task; free if absent.
    pub stopper: Option<Known<Time>>,
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
    /// Multiplies every time marked assumed by `ppm` parts per million.
    pub fn scale_assumed(&mut self, ppm: u64) {
        for known in self.times_mut() {
            if known.mark == Mark::Assumed {
                known.value = Time(Span(known.value.0).scaled(ppm, 1_000_000).0);
            }
        }
        for known in [&mut self.mark_per_pte, &mut self.skip_per_pte, &mut self.local_skip_per_pte] {
            if known.mark == Mark::Assumed {
                known.value = PerPage(Span(known.value.0).scaled(ppm, 1_000_000).0);
            }
        }
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
                value: text("value").unwrap_or_else(|| "curve".to_owned()),
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

    fn times_mut(&mut self) -> impl Iterator<Item = &mut Known<Time>> {
        let required = [
            &mut self.pass_base,
            &mut self.shootdown_base,
            &mut self.shootdown_per_cpu,
            &mut self.interrupt,
            &mut self.hint_fault,
            &mut self.placement,
            &mut self.migrate_page,
            &mut self.refused_migration,
            &mut self.write_fault,
            &mut self.migration_wake,
            &mut self.local_latency,
            &mut self.remote_latency,
        ];
        required.into_iter().chain(&mut self.task_migrate_scan).chain(&mut self.stopper)
    }
}

const NAMES: [&str; 20] = [
    "pass_base",
    "mark_per_pte",
    "skip_per_pte",
    "local_skip_per_pte",
    "shootdown_base",
    "shootdown_per_cpu",
    "interrupt",
    "hint_fault",
    "placement",
    "migrate_page",
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
