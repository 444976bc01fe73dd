//! Host scenarios: a machine without a market, variants of it, and what is expected of each.

use std::path::Path;

use numashock_engine::{Seed, Span};
use numashock_machine::{MachineConfig, ThreadId, WorkId};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Table, Value};

use super::config::{Host, ModelHost};
use super::disturbances::{DisturbanceTable, plans};
use super::document::{Document, ScenarioError, overlay};
use super::expect::{ExpectTable, Target, targets};
use super::file::{MachineTable, RegionTable, Start, ThreadTable};
use super::host::{HostTables, machine};
use super::lower::{Origin, preset};
use super::preset::CostLine;
use super::units::Time;
use super::{Setting, blame, parse_setting};
use crate::injector::{Disturbance, Plan, Source};

/// The name of the file itself among its variants.
pub const BASE: &str = "base";
/// Most threads that one `count` may stand for.
const MOST_COUNT: i64 = 1_024;
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// A host scenario without its variants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// A name for reports.
    pub name: String,
    /// What the scenario is about, for a reader.
    pub description: String,
    /// How long, from which seed.
    pub run: HostRunTable,
    /// The machine.
    pub machine: MachineTable,
    /// Memory regions of the process, by name.
    pub region: BTreeMap<String, RegionTable>,
    /// Threads of the process, by name. Beside the keys of a thread, `count = N` makes N of them, called `NAME.0` and so
    /// on; their `cpu` is then a list such as `"0-3,8"`, of which each takes the next. A `count` of 0 leaves them out.
    pub thread: BTreeMap<String, ThreadTable>,
    /// What happens to the machine, by name.
    #[serde(default)]
    pub disturbance: BTreeMap<String, DisturbanceTable>,
    /// Targets.
    #[serde(default)]
    pub expect: ExpectTable,
}

/// `[run]` of a host scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRunTable {
    /// Seed of the touches.
    pub seed: u64,
    /// Time that is simulated and not measured.
    pub warmup: Time,
    /// Time that is measured, in whole seconds.
    pub duration: Time,
    /// Whether scan periods stand at their start (`cold`) or at their maximum (`warm`). Pages lie where regions put them.
    pub start: Start,
}

/// One entry of `[[variant]]`: the same host with something changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantTable {
    /// A name for reports and `--variant`.
    pub name: String,
    /// What differs, in words.
    pub description: String,
    /// What differs: tables merge, anything else replaces.
    pub set: Table,
    /// Its own targets; those of the base do not hold here.
    #[serde(default)]
    pub expect: ExpectTable,
}

/// A host scenario that has been read.
#[derive(Clone, Debug)]
pub struct HostScenario {
    document: Document,
    base: Table,
    variants: Vec<VariantTable>,
    settings: Vec<Setting>,
}

/// The base or a variant, ready to run.
#[derive(Clone, Debug)]
pub struct HostVariant {
    /// Its name; [`BASE`] for the file itself.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// What runs.
    pub config: HostConfig,
}

/// A machine to be measured.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Seed of the touches.
    pub seed: Seed,
    /// Not measured.
    pub warmup: Span,
    /// Measured; whole seconds.
    pub duration: Span,
    /// The machine with its process; every thread's stalls are reported.
    pub machine: MachineConfig,
    /// What is done to it from outside.
    pub injector: Source,
    /// What is expected.
    pub targets: Vec<Target>,
    /// Every cost of the machine with its origin.
    pub costs: Vec<CostLine>,
}

impl HostScenario {
    /// Reads a host scenario; `settings` are `key=value` overrides of the base and so of every variant.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, is a scenario with a market, or a setting is malformed.
    pub fn read(file: &Path, settings: &[String]) -> Result<HostScenario, ScenarioError> {
        HostScenario::from_document(Document::read(file)?, settings)
    }

    /// As [`read`](Self::read), from a text.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(file: &Path, text: &str, settings: &[String]) -> Result<HostScenario, ScenarioError> {
        HostScenario::from_document(Document::parse(file, text)?, settings)
    }

    fn from_document(document: Document, settings: &[String]) -> Result<HostScenario, ScenarioError> {
        let mut base = document.table().clone();
        for key in ["market", "gateway", "parents", "tactic", "controller", "work", "recording", "choice"] {
            if base.contains_key(key) {
                let problem = "a host scenario is a machine without a market; remove the table, or run the file \
                               with `numashock sweep`";
                return Err(document.error(key, problem));
            }
        }
        let variants = match base.remove("variant") {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries
                .into_iter()
                .enumerate()
                .map(|(index, entry)| variant_table(&document, index, entry))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(document.error("variant", "expected [[variant]] tables")),
        };
        let mut parsed = Vec::new();
        for setting in settings {
            overlay(&mut base, &parse_setting(&document, setting)?);
            let key = setting.split('=').next().unwrap_or_default().trim().to_owned();
            parsed.push(Setting { text: setting.clone(), key });
        }
        Ok(HostScenario { document, base, variants, settings: parsed })
    }

    /// The scenario's name.
    ///
    /// # Errors
    /// If it has none.
    pub fn name(&self) -> Result<String, ScenarioError> {
        let name = self.base.get("name").and_then(Value::as_str);
        name.map(str::to_owned)
            .ok_or_else(|| self.document.error("name", "missing: give the scenario a name"))
    }

    /// The base and every variant, lowered.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and key.
    pub fn variants(&self) -> Result<Vec<HostVariant>, ScenarioError> {
        self.lower_all().map_err(|error| blame(&self.settings, error))
    }

    fn lower_all(&self) -> Result<Vec<HostVariant>, ScenarioError> {
        let file = self.file(self.base.clone(), None)?;
        let expected = file.expect.clone();
        let config = self.lower(&file, &expected, None, "expect")?;
        let description = file.description;
        let mut all = vec![HostVariant { name: BASE.to_owned(), description, config }];
        for (index, variant) in self.variants.iter().enumerate() {
            if all.iter().any(|other| other.name == variant.name) {
                let key = format!("variant[{index}].name");
                let problem =
                    format!("\"{}\" is the name of an earlier variant or of the file itself", variant.name);
                return Err(self.document.error(&key, problem));
            }
            let mut table = self.base.clone();
            overlay(&mut table, &variant.set);
            let prefix = format!("variant[{index}].set");
            let file = self.file(table, Some(&prefix))?;
            let expect_key = format!("variant[{index}].expect");
            let config = self.lower(&file, &variant.expect, Some(&prefix), &expect_key)?;
            let (name, description) = (variant.name.clone(), variant.description.clone());
            all.push(HostVariant { name, description, config });
        }
        Ok(all)
    }

    fn file(&self, mut table: Table, prefix: Option<&str>) -> Result<HostFile, ScenarioError> {
        expand_threads(&mut table, Origin { document: &self.document, overlay: prefix })?;
        self.document.deserialize(table, prefix)
    }

    fn lower(
        &self,
        file: &HostFile,
        expected: &ExpectTable,
        prefix: Option<&str>,
        expect_key: &str,
    ) -> Result<HostConfig, ScenarioError> {
        let origin = Origin { document: &self.document, overlay: prefix };
        let (warmup, duration) = (file.run.warmup, file.run.duration);
        if duration.0 == 0 || duration.0 % SECOND != 0 {
            return Err(origin.error("run.duration", "expected whole seconds, such as \"60s\""));
        }
        for (key, time) in [("run.warmup", warmup), ("run.duration", duration)] {
            if time.0 > 720 * HOUR {
                return Err(origin.error(key, "is too large: expected at most 720h"));
            }
        }
        let preset = preset(&file.machine.preset, "machine.preset", origin, 1_000_000)?;
        let tables = HostTables {
            region: file.region.clone(),
            thread: file.thread.clone(),
            start: file.run.start,
            reports_all: true,
        };
        let machine = machine(&tables, &file.machine, &preset, Vec::new(), origin)?;
        let plans = disturbances(file, &machine, origin)?;
        let targets = targets(expected, &machine, expect_key, origin)?;
        Ok(HostConfig {
            seed: Seed(file.run.seed),
            warmup: warmup.span(),
            duration: duration.span(),
            machine,
            injector: Source::Plans(plans),
            targets,
            costs: preset.lines(),
        })
    }
}

/// What is done to the machine; what is done to a market or a desk has no place here.
fn disturbances(
    file: &HostFile,
    machine: &MachineConfig,
    origin: Origin<'_>,
) -> Result<Vec<Plan>, ScenarioError> {
    let end = file.run.warmup.0.saturating_add(file.run.duration.0);
    let model = ModelHost { machine: machine.clone(), dispatch: ThreadId(0), works: [WorkId(0); 3] };
    let host = Host::Model(Box::new(model));
    let plans = plans(&file.disturbance, end, &[("", &host)], origin)?;
    for plan in &plans {
        let place = format!("disturbance.{}.{}", plan.name, plan.disturbance.kind());
        match plan.disturbance {
            Disturbance::ClockStep { .. }
            | Disturbance::TelemetryGap {}
            | Disturbance::GatewayDisconnect {}
            | Disturbance::GatewayThrottle { .. }
            | Disturbance::MarketDataBurst { .. } => {
                let problem = "happens to a desk or a market, and a host scenario has none; remove it";
                return Err(origin.error(&place, problem));
            }
            _ => {}
        }
    }
    Ok(plans)
}

fn variant_table(document: &Document, index: usize, entry: Value) -> Result<VariantTable, ScenarioError> {
    let prefix = format!("variant[{index}]");
    match entry {
        Value::Table(table) => document.deserialize(table, Some(&prefix)),
        _ => Err(document.error(&prefix, "expected a table with name, description, set and expect")),
    }
}

/// Replaces each thread with a `count` by that many threads; `main` holds for the first of them.
fn expand_threads(table: &mut Table, origin: Origin<'_>) -> Result<(), ScenarioError> {
    let Some(Value::Table(threads)) = table.get_mut("thread") else { return Ok(()) };
    let mut expanded = Table::new();
    for (name, thread) in std::mem::take(threads) {
        let key = format!("thread.{name}");
        let Value::Table(mut thread) = thread else {
            expanded.insert(name, thread);
            continue;
        };
        let Some(count) = thread.remove("count") else {
            expanded.insert(name, Value::Table(thread));
            continue;
        };
        let Some(count) = count.as_integer().filter(|count| (0..=MOST_COUNT).contains(count)) else {
            let problem = format!("expected a whole number of threads from 0 to {MOST_COUNT}");
            return Err(origin.error(&format!("{key}.count"), problem));
        };
        let cpus = thread.get("cpu").and_then(Value::as_str).and_then(cpu_list);
        let Some(cpus) = cpus else {
            let problem = "with count, expected a list of CPUs in quotes such as \"0-3,8\"";
            return Err(origin.error(&format!("{key}.cpu"), problem));
        };
        let main = thread.get("main").cloned();
        for number in 0..usize::try_from(count).expect("0 to 1024") {
            let mut one = thread.clone();
            one.insert("cpu".to_owned(), Value::Integer(i64::from(cpus[number % cpus.len()])));
            if let Some(main) = main.as_ref().filter(|_| number == 0) {
                one.insert("main".to_owned(), main.clone());
            } else {
                one.insert("main".to_owned(), Value::Boolean(false));
            }
            expanded.insert(format!("{name}.{number}"), Value::Table(one));
        }
    }
    *threads = expanded;
    Ok(())
}

/// `"0-3,8"` as CPU numbers; `None` if it is no such list.
fn cpu_list(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?);
        if from > to || to - from >= 4_096 {
            return None;
        }
        cpus.extend(from..=to);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpu_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpu_list("7"), Some(vec![7]));
        for wrong in ["", "3-1", "a", "1-", "0-70000", "1,,2"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_count_makes_threads_in_turn_on_the_list() {
        let text = "[thread.vcpu]\ncount = 3\ncpu = \"4-5\"\nmain = true\n";
        let document = Document::parse(Path::new("h.toml"), text).unwrap();
        let mut table = document.table().clone();
        expand_threads(&mut table, Origin { document: &document, overlay: None }).unwrap();
        let threads = table["thread"].as_table().unwrap();
        let seen: Vec<(&str, i64, bool)> = threads
            .iter()
            .map(|(name, thread)| {
                (name.as_str(), thread["cpu"].as_integer().unwrap(), thread["main"].as_bool().unwrap())
            })
            .collect();
        assert_eq!(seen, [("vcpu.0", 4, true), ("vcpu.1", 5, false), ("vcpu.2", 4, false)]);
    }

    #[test]
    fn a_scenario_with_a_market_is_sent_to_sweep() {
        let error = HostScenario::parse(Path::new("h.toml"), "name = \"x\"\n[market]\n", &[])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("h.toml:2: market: "), "{error}");
        assert!(error.contains("numashock sweep"), "{error}");
    }

    #[test]
    fn counts_beyond_what_ids_can_name_are_refused() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/hosts/cfs-engine-16g.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for crowd in 0..64 {
            text += &format!("[thread.crowd{crowd}]\ncount = 1024\ncpu = \"0-3\"\nmain = false\n");
            text += "busy_poll = false\nduty = \"1%\"\n[thread.crowd";
            text += &format!("{crowd}.touches]\n");
        }
        let error = HostScenario::parse(&file, &text, &[]).unwrap().variants().unwrap_err().to_string();
        assert!(error.contains("thread: stands for 65544 of them, expected at most 65536"), "{error}");
    }

    #[test]
    fn a_wrong_count_names_its_line() {
        for (line, problem) in [("count = -1\ncpu = \"1\"", "0 to 1024"), ("count = 2\ncpu = 5", "in quotes")]
        {
            let text = format!("name = \"x\"\n[thread.vcpu]\n{line}\n");
            let scenario = HostScenario::parse(Path::new("h.toml"), &text, &[]).unwrap();
            let error = scenario.variants().unwrap_err().to_string();
            assert!(error.starts_with("h.toml:") && error.contains(problem), "{error}");
        }
    }
}
