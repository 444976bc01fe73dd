//! Scenarios: one TOML file that says everything, and its tuning choices as overlays on it.

pub mod config;
pub mod controller;
pub mod disturbances;
pub mod document;
pub mod expect;
pub mod file;
pub mod flows;
mod host;
pub mod hosts;
mod listed;
mod lower;
mod market;
mod policy;
pub mod preset;
pub mod several;
pub mod spread;
pub mod tactic;
pub mod units;

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use config::RunConfig;
use document::{Document, ScenarioError, overlay};
use file::{ChoiceTable, ScenarioFile};
use lower::Origin;
use preset::PresetRef;

/// A scenario file that has been read: its base and its tuning choices.
#[derive(Clone, Debug)]
pub struct Scenario {
    document: Document,
    base: Table,
    choices: Vec<ChoiceTable>,
    settings: Vec<Setting>,
}

/// A `key=value` from the command line.
#[derive(Clone, Debug)]
struct Setting {
    text: String,
    key: String,
}

/// A file that a scenario names, under the name that the resolved scenario knows it by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Its name beside the resolved scenario.
    pub name: String,
    /// Where it lies now.
    pub path: PathBuf,
}

/// One tuning choice, ready to run.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its name.
    pub name: String,
    /// Which rung of the ladder it is.
    pub rung: String,
    /// What runs.
    pub config: RunConfig,
}

impl Scenario {
    /// Reads a scenario; `settings` are `key=value` overrides of the base, values in TOML.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, or a setting is malformed.
    pub fn read(file: &Path, settings: &[String]) -> Result<Scenario, ScenarioError> {
        Scenario::from_document(Document::read(file)?, settings)
    }

    /// As [`read`](Self::read), from a text.
    ///
    /// # Errors
    /// If the text is not TOML or a setting is malformed.
    pub fn parse(file: &Path, text: &str, settings: &[String]) -> Result<Scenario, ScenarioError> {
        Scenario::from_document(Document::parse(file, text)?, settings)
    }

    fn from_document(document: Document, settings: &[String]) -> Result<Scenario, ScenarioError> {
        let mut base = document.table().clone();
        let choices = match base.remove("choice") {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries
                .into_iter()
                .enumerate()
                .map(|(index, entry)| choice_table(&document, index, entry))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(document.error("choice", "expected [[choice]] tables")),
        };
        let mut parsed = Vec::new();
        for setting in settings {
            overlay(&mut base, &parse_setting(&document, setting)?);
            let key = setting.split('=').next().unwrap_or_default().trim().to_owned();
            parsed.push(Setting { text: setting.clone(), key });
        }
        Ok(Scenario { document, base, choices, settings: parsed })
    }

    /// Every tuning choice, lowered. A scenario without choices is its own single choice.
    ///
    /// `assumed_ppm` multiplies every cost that is marked assumed; 1,000,000 leaves them.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and key.
    pub fn choices(&self, assumed_ppm: u64) -> Result<Vec<Choice>, ScenarioError> {
        self.lower_all(assumed_ppm).map_err(|error| blame(&self.settings, error))
    }

    fn lower_all(&self, assumed_ppm: u64) -> Result<Vec<Choice>, ScenarioError> {
        if self.choices.is_empty() {
            // That the name is missing is said after what is wrong with the rest.
            let name = self.name().unwrap_or_default();
            let config = self.lower(self.base.clone(), &name, None, assumed_ppm)?;
            return Ok(vec![Choice { name: self.name()?, rung: "the scenario itself".to_owned(), config }]);
        }
        let mut lowered: Vec<Choice> = Vec::new();
        for (index, choice) in self.choices.iter().enumerate() {
            if lowered.iter().any(|other| other.name == choice.name) {
                let key = format!("choice[{index}].name");
                return Err(self
                    .document
                    .error(&key, format!("\"{}\" is the name of an earlier choice", choice.name)));
            }
            let mut table = self.base.clone();
            overlay(&mut table, &choice.set);
            let prefix = format!("choice[{index}].set");
            let config = self.lower(table, &choice.name, Some(&prefix), assumed_ppm)?;
            let first = lowered.first().map_or(&config, |first: &Choice| &first.config);
            if first.seed != config.seed || first.seeds != config.seeds || first.end() != config.end() {
                let key = format!("choice[{index}].set.run");
                let problem = "a choice may not change seed, seeds, warmup or duration: its runs are paired with the baseline's";
                return Err(self.document.error(&key, problem));
            }
            lowered.push(Choice { name: choice.name.clone(), rung: choice.rung.clone(), config });
        }
        Ok(lowered)
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

    /// The scenario with presets spelled out, settings applied and its input files named as [`Input`]s beside it: a
    /// TOML text that can be run again wherever it lies.
    ///
    /// # Errors
    /// As [`choices`](Self::choices).
    pub fn resolved(&self) -> Result<(String, Vec<Input>), ScenarioError> {
        let file: ScenarioFile = self.document.deserialize(self.base.clone(), None)?;
        let mut table = Table::try_from(&file).expect("a scenario is plain data");
        let mut inputs = Vec::new();
        self.spell_out_preset(&mut table)?;
        self.gather_inputs(&mut table, &mut inputs);
        let mut choices = Vec::new();
        for choice in &self.choices {
            let mut entry = Table::try_from(choice).expect("a choice is plain data");
            if let Some(Value::Table(set)) = entry.get_mut("set") {
                self.spell_out_preset(set)?;
                self.gather_inputs(set, &mut inputs);
            }
            choices.push(Value::Table(entry));
        }
        if !choices.is_empty() {
            table.insert("choice".to_owned(), Value::Array(choices));
        }
        Ok((toml::to_string(&table).expect("a table can be written"), inputs))
    }

    /// Renames the files that a table names to how they will be called beside it.
    fn gather_inputs(&self, table: &mut Table, inputs: &mut Vec<Input>) {
        for place in input_places(table) {
            let Some(path) = place.as_str().map(|name| self.document.folder().join(name)) else { continue };
            let known = inputs.iter().position(|input| input.path == path);
            let index = known.unwrap_or_else(|| {
                let file_name =
                    path.file_name().map_or_else(|| "input".into(), |name| name.to_string_lossy());
                inputs
                    .push(Input { name: format!("input-{}-{file_name}", inputs.len()), path: path.clone() });
                inputs.len() - 1
            });
            *place = Value::String(inputs[index].name.clone());
        }
    }

    /// The scenario with its input files where they lie now: the way back from [`resolved`](Self::resolved), for a text
    /// that no longer lies beside them.
    ///
    /// # Errors
    /// If a path cannot be written as text.
    pub fn with_inputs(mut self, inputs: &[Input]) -> Result<Scenario, ScenarioError> {
        let tables = std::iter::once(&mut self.base).chain(self.choices.iter_mut().map(|own| &mut own.set));
        for place in tables.flat_map(input_places) {
            let Some(input) = inputs.iter().find(|input| Some(input.name.as_str()) == place.as_str()) else {
                continue;
            };
            let path = input.path.to_str().ok_or_else(|| {
                self.document
                    .error("", format!("{}: not a path that can be written as text", input.path.display()))
            })?;
            *place = Value::String(path.to_owned());
        }
        Ok(self)
    }

    fn spell_out_preset(&self, table: &mut Table) -> Result<(), ScenarioError> {
        for (_, own) in table.get_mut("host").and_then(Value::as_table_mut).into_iter().flatten() {
            own.as_table_mut().map_or(Ok(()), |own| self.spell_out_preset(own))?;
        }
        for host in ["machine", "recording"] {
            let Some(Value::Table(host)) = table.get_mut(host) else { continue };
            let Some(Value::String(name)) = host.get("preset") else { continue };
            let (_, preset) = lower::read_preset(&self.document.folder().join(name))?;
            let inline = PresetRef::Inline(Box::new(preset));
            host.insert("preset".to_owned(), Value::try_from(&inline).expect("a preset is plain data"));
        }
        Ok(())
    }

    fn lower(
        &self,
        table: Table,
        choice: &str,
        prefix: Option<&str>,
        assumed_ppm: u64,
    ) -> Result<RunConfig, ScenarioError> {
        let file: ScenarioFile = self.document.deserialize(table.clone(), prefix)?;
        lower::lower(
            (&file, &table),
            choice,
            Origin { document: &self.document, overlay: prefix },
            assumed_ppm,
        )
    }
}

/// Where a table names files.
fn input_places(table: &mut Table) -> Vec<&mut Value> {
    let mut places: Vec<&mut Value> = Vec::new();
    for (key, value) in table.iter_mut() {
        match (key.as_str(), value) {
            ("parents" | "injector_log", value @ Value::String(_)) => places.push(value),
            ("host", Value::Table(hosts)) => hosts.iter_mut().for_each(|(_, own)| {
                places.extend(own.get_mut("recording").and_then(|own| own.get_mut("file")));
            }),
            ("symbol", Value::Table(symbols)) => symbols.iter_mut().for_each(|(_, own)| {
                places.extend(own.get_mut("recorded").and_then(|own| own.get_mut("file")));
            }),
            ("strategy", Value::Table(strategies)) => strategies.iter_mut().for_each(|(_, own)| {
                places.extend(own.get_mut("parents").filter(|own| own.is_str()));
            }),
            ("recording", Value::Table(recording)) => places.extend(recording.get_mut("file")),
            ("market", Value::Table(market)) => {
                let recorded = market.get_mut("recorded").and_then(Value::as_table_mut);
                places.extend(recorded.and_then(|recorded| recorded.get_mut("file")));
            }
            _ => {}
        }
    }
    places
}

fn choice_table(document: &Document, index: usize, entry: Value) -> Result<ChoiceTable, ScenarioError> {
    let prefix = format!("choice[{index}]");
    match entry {
        Value::Table(table) => document.deserialize(table, Some(&prefix)),
        _ => Err(document.error(&prefix, "expected a table with name, rung and set")),
    }
}

/// An error at a key that the command line set is the command line's.
fn blame(settings: &[Setting], error: ScenarioError) -> ScenarioError {
    let within = |setting: &&Setting| {
        !setting.key.is_empty()
            && (error.key == setting.key || error.key.starts_with(&format!("{}.", setting.key)))
    };
    match settings.iter().rev().find(within) {
        Some(setting) => {
            ScenarioError { file: PathBuf::from(format!("--set {}", setting.text)), line: None, ..error }
        }
        None => error,
    }
}

fn parse_setting(document: &Document, setting: &str) -> Result<Table, ScenarioError> {
    let problem = || {
        let text = format!(
            "--set {setting}: expected key=value in TOML, such as --set run.seeds=5 or --set 'machine.kernel=\"6.1\"'"
        );
        document.error("", text)
    };
    let (key, value) = setting.split_once('=').ok_or_else(problem)?;
    let parsed = format!("{} = {}", key.trim(), value.trim()).parse::<Table>();
    parsed.or_else(|_| format!("{} = {:?}", key.trim(), value.trim()).parse::<Table>()).map_err(|_| problem())
}
