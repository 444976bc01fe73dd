//! A TOML text that remembers where each key stands, and the overlay of a tuning choice on it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// What is wrong with a scenario, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, if one can be named.
    pub line: Option<usize>,
    /// The key, such as `region.books.node`.
    pub key: String,
    /// What is wrong, what was expected and what to do.
    pub problem: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ScenarioError {}

/// A parsed TOML file.
#[derive(Clone, Debug)]
pub struct Document {
    file: PathBuf,
    text: String,
    table: Table,
}

impl Document {
    /// Parses a text that came from `file`.
    ///
    /// # Errors
    /// If the text is not TOML.
    pub fn parse(file: &Path, text: &str) -> Result<Document, ScenarioError> {
        let table = text.parse::<Table>().map_err(|error| ScenarioError {
            file: file.to_owned(),
            line: error.span().map(|span| line_at(text, span.start)),
            key: String::new(),
            problem: format!("not valid TOML: {}", error.message().trim_end()),
        })?;
        Ok(Document { file: file.to_owned(), text: text.to_owned(), table })
    }

    /// Reads and parses a file.
    ///
    /// # Errors
    /// If it cannot be read or is not TOML.
    pub fn read(file: &Path) -> Result<Document, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|error| ScenarioError {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            problem: format!("cannot be read: {error}"),
        })?;
        Document::parse(file, &text)
    }

    /// The whole table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The folder that relative paths in the document start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// An error at a key of this document.
    ///
    /// The key may go through an array by index (`choice[2].set.host`); if it is not in the text, the line of the
    /// longest part that is serves.
    #[must_use]
    pub fn error(&self, key: &str, problem: impl Into<String>) -> ScenarioError {
        ScenarioError {
            file: self.file.clone(),
            line: self.line_of(key),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// As [`error`](Self::error), at the overlay's own line if the key was written there.
    #[must_use]
    pub fn error_in(&self, overlay: Option<&str>, key: &str, problem: impl Into<String>) -> ScenarioError {
        let written = overlay.map(|prefix| join(prefix, key)).filter(|path| self.has(path));
        self.error(written.as_deref().unwrap_or(key), problem)
    }

    /// Deserializes a table that stems from this document.
    ///
    /// `origin` says where its keys were written: an overlay's prefix is tried first, then the document itself.
    ///
    /// # Errors
    /// If a key is unknown or missing or a value does not fit.
    pub fn deserialize<T: DeserializeOwned>(
        &self,
        table: Table,
        overlay: Option<&str>,
    ) -> Result<T, ScenarioError> {
        serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
            let mut key = error.path().to_string();
            if key == "." {
                key.clear();
            }
            let inner = error.inner().message().trim_end().to_owned();
            if let Some(unknown) =
                inner.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            {
                if !key.ends_with(unknown) {
                    key = join(&key, unknown);
                }
            }
            self.error_in(overlay, &key, explain(&inner))
        })
    }

    fn has(&self, key: &str) -> bool {
        let mut value = &Value::Table(self.table.clone());
        for step in steps(key) {
            let next = match step.parse::<usize>() {
                Ok(index) if value.is_array() => value.get(index),
                _ => value.get(step),
            };
            match next {
                Some(next) => value = next,
                None => return false,
            }
        }
        true
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut line = None;
        let mut place: &DeValue<'_> = &DeValue::Table(table.into_inner());
        for step in steps(key) {
            match place {
                DeValue::Table(entries) => {
                    let Some((name, value)) = entries.iter().find(|(name, _)| name.get_ref() == step) else {
                        break;
                    };
                    line = Some(line_at(&self.text, name.span().start));
                    place = value.get_ref();
                }
                DeValue::Array(items) => {
                    let item: Option<&Spanned<DeValue<'_>>> =
                        step.parse::<usize>().ok().and_then(|at| items.get(at));
                    let Some(item) = item else { break };
                    line = Some(line_at(&self.text, item.span().start));
                    place = item.get_ref();
                }
                _ => break,
            }
        }
        line
    }
}

/// Lays `over` on `base`: tables merge key by key, anything else replaces.
pub fn overlay(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(changes)) => overlay(inner, changes),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn steps(key: &str) -> impl Iterator<Item = &str> {
    key.split(['.', '[', ']']).filter(|step| !step.is_empty())
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() || key.is_empty() { format!("{prefix}{key}") } else { format!("{prefix}.{key}") }
}

fn line_at(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// serde's words, with the way out where they name only the problem.
fn explain(message: &str) -> String {
    if message.starts_with("unknown field") {
        format!("{message}; check the spelling, or remove the key")
    } else if message.starts_with("missing field") {
        format!("{message}: nothing that changes a result has a default, so add it")
    } else {
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the errors matter here")]
    struct Sample {
        run: Run,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the errors matter here")]
    struct Run {
        warmup: super::super::units::Time,
    }

    fn error(text: &str) -> ScenarioError {
        let document = Document::parse(Path::new("s.toml"), text).unwrap();
        document.deserialize::<Sample>(document.table().clone(), None).unwrap_err()
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let wrong_unit = error("# comment\n[run]\nwarmup = \"1parsec\"\n").to_string();
        assert!(wrong_unit.starts_with("s.toml:3: run.warmup: unknown unit \"parsec\""), "{wrong_unit}");
        let unknown = error("[run]\nwarmup = \"1s\"\nwarm_up = \"1s\"\n").to_string();
        assert!(unknown.starts_with("s.toml:3: run.warm_up: unknown field"), "{unknown}");
        let missing = error("\n[run]\n").to_string();
        assert!(missing.starts_with("s.toml:2: run: missing field `warmup`"), "{missing}");
        let number = error("[run]\nwarmup = 5\n").to_string();
        assert!(number.starts_with("s.toml:2: run.warmup: invalid type: integer `5`"), "{number}");
    }

    #[test]
    fn broken_toml_names_its_line() {
        let broken = Document::parse(Path::new("s.toml"), "a = 1\nb = [\n").unwrap_err();
        assert!(broken.line.is_some_and(|line| line >= 2), "{broken}");
    }

    #[test]
    fn an_overlay_merges_tables_and_replaces_the_rest() {
        let mut base: Table = "a = 1\n[t]\nx = 1\ny = [1, 2]\n".parse().unwrap();
        overlay(&mut base, &"[t]\ny = [3]\nz = 4\n".parse().unwrap());
        assert_eq!(base, "a = 1\n[t]\nx = 1\ny = [3]\nz = 4\n".parse::<Table>().unwrap());
    }
}
