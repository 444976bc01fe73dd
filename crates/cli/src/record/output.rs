//! The two files of a recording: rows as CSV, and what the host is as JSON.
//!
//! Both grow under partial names and get their own when they are whole. A row is written in one piece, so that a
//! recording that is killed leaves whole lines under the partial name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The files while they grow.
pub(super) struct Output {
    csv: PathBuf,
    json: PathBuf,
    rows: File,
}

impl Output {
    /// Takes the places of both files.
    ///
    /// # Errors
    /// If one of them exists, is left from another run or cannot be written.
    pub(super) fn claim(csv: &Path) -> Result<Output, String> {
        let is_csv = csv.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if !is_csv || csv.file_stem().is_none() {
            return Err(format!(
                "--out {}: expected a name that ends in .csv; the host's description goes beside it as .json",
                csv.display()
            ));
        }
        let json = csv.with_extension("json");
        for path in [csv, &json] {
            if path.symlink_metadata().is_ok() {
                return Err(format!("{}: exists already; choose another name with --out", path.display()));
            }
        }
        let rows = create(csv)?;
        Ok(Output { csv: csv.to_owned(), json, rows })
    }

    /// Where the rows are until the recording is whole.
    pub(super) fn partial(&self) -> PathBuf {
        partial_name(&self.csv)
    }

    /// Appends one line, which ends with a line end.
    pub(super) fn append(&mut self, line: &str) -> Result<(), String> {
        assert!(line.ends_with('\n'), "lines are written whole");
        self.rows.write_all(line.as_bytes()).map_err(|error| unwritable(&self.csv, &error))
    }

    /// Writes the description under its partial name, in the place of an earlier one.
    pub(super) fn describe(&self, description: &Value) -> Result<(), String> {
        let text = format!("{description:#}\n");
        fs::write(partial_name(&self.json), text).map_err(|error| unwritable(&self.json, &error))
    }

    /// Gives both files their names, the rows last: where they are, the description is too.
    pub(super) fn finish(self) -> Result<(), String> {
        self.rows.sync_all().map_err(|error| unwritable(&self.csv, &error))?;
        for path in [&self.json, &self.csv] {
            if path.symlink_metadata().is_ok() {
                return Err(format!(
                    "{}: has come to be while this was recorded; rename {} yourself",
                    path.display(),
                    partial_name(path).display()
                ));
            }
        }
        for path in [&self.json, &self.csv] {
            fs::rename(partial_name(path), path).map_err(|error| unwritable(path, &error))?;
        }
        Ok(())
    }

    /// Removes what holds no row.
    pub(super) fn abandon(self) {
        for path in [&self.csv, &self.json] {
            let _ = fs::remove_file(partial_name(path));
        }
    }
}

fn create(path: &Path) -> Result<File, String> {
    let partial = partial_name(path);
    File::create_new(&partial).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{}: is left from another run, or one is under way; rename it to keep its rows, or remove it",
            partial.display()
        ),
        _ => unwritable(path, &error),
    })
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot be written: {error}; choose another place with --out", path.display())
}

fn partial_name(path: &Path) -> PathBuf {
    let name = path.file_name().expect("a path with a stem has a name").to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}
