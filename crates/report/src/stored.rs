//! Parents read back from a results folder, and compared with rows that were computed anew.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use numashock_experiment::results::{ParentRow, Summary};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use crate::columns::parent_cells;

/// Why a results folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// A file of it cannot be opened.
    #[error("{}: cannot be read: {source}; name a folder that `numashock run` or `numashock sweep` wrote", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The summary is not one.
    #[error("{}: {source}; expected a summary as `numashock run` or `numashock sweep` writes it", path.display())]
    Summary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The table is not Parquet, or broken.
    #[error("{}: {source}; run the sweep again to write it anew", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ParquetError,
    },
    /// A column is missing or of another type.
    #[error("{}: row {row}: no column \"{column}\" of the expected type; another version has written it", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The column.
        column: &'static str,
    },
}

/// A row of `parents.parquet`.
#[derive(Clone, Debug)]
pub struct StoredParent {
    /// Name of the tuning choice.
    pub choice: String,
    /// Replication.
    pub seed: u64,
    /// Its number in the run.
    pub parent: u32,
    /// Implementation shortfall, in millionths of a basis point.
    pub is_micro_bp: i64,
    /// C_numa, in the same unit.
    pub c_numa_micro_bp: i64,
    row: Row,
}

/// A cell that is another one than the row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The column.
    pub column: &'static str,
    /// What the file says.
    pub stored: String,
    /// What was computed.
    pub computed: String,
}

/// Reads `summary.json` of a results folder.
///
/// # Errors
/// If it cannot be read or is no summary.
pub fn read_summary(folder: &Path) -> Result<Summary, StoredError> {
    let path = folder.join("summary.json");
    let text =
        std::fs::read_to_string(&path).map_err(|source| StoredError::Open { path: path.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| StoredError::Summary { path, source })
}

/// Reads `parents.parquet` of a results folder.
///
/// # Errors
/// If it cannot be read, or a column is missing.
pub fn read_parents(folder: &Path) -> Result<Vec<StoredParent>, StoredError> {
    let path = folder.join("parents.parquet");
    let file = File::open(&path).map_err(|source| StoredError::Open { path: path.clone(), source })?;
    let broken = |source| StoredError::Table { path: path.clone(), source };
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let mut parents = Vec::new();
    for (number, row) in reader.get_row_iter(None).map_err(broken)?.enumerate() {
        let row = row.map_err(broken)?;
        let missing = |column| StoredError::Column { path: path.clone(), row: number, column };
        parents.push(stored(row).map_err(missing)?);
    }
    Ok(parents)
}

fn stored(row: Row) -> Result<StoredParent, &'static str> {
    let find = |column: &'static str| {
        let found = row.get_column_iter().find(|(name, _)| *name == column);
        found.map(|(_, field)| field.clone()).ok_or(column)
    };
    let money = |column| match find(column)? {
        Field::Long(value) => Ok(value),
        _ => Err(column),
    };
    let Field::Str(choice) = find("choice")? else { return Err("choice") };
    let Field::ULong(seed) = find("seed")? else { return Err("seed") };
    let Field::UInt(parent) = find("parent")? else { return Err("parent") };
    let (is_micro_bp, c_numa_micro_bp) = (money("is_micro_bp")?, money("c_numa_micro_bp")?);
    Ok(StoredParent { choice, seed, parent, is_micro_bp, c_numa_micro_bp, row })
}

impl StoredParent {
    /// Arrival and deadline, in nanoseconds, if the columns are there.
    #[must_use]
    pub fn life(&self) -> Option<(u64, u64)> {
        let find = |column| {
            let found = self.row.get_column_iter().find(|(name, _)| *name == column);
            match found?.1 {
                Field::ULong(value) => Some(*value),
                _ => None,
            }
        };
        let arrival = find("arrival_ns")?;
        Some((arrival, arrival.checked_add(find("horizon_ns")?)?))
    }

    /// Where the row is another one than `computed`. Names of choice and segment are not compared, nor is an attribution that
    /// the file does not have.
    #[must_use]
    pub fn differences(&self, computed: &ParentRow) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (column, attributed, cell) in parent_cells(computed) {
            let found = self.row.get_column_iter().find(|(name, _)| *name == column);
            let stored = found.map_or("no such column".to_owned(), |(_, field)| shown(field));
            let absent = attributed && stored == MISSING;
            if stored != cell && !absent {
                differences.push(Difference { column, stored, computed: cell });
            }
        }
        differences
    }
}

/// What stands for a cell that has no value.
pub(crate) const MISSING: &str = "null";

fn shown(field: &Field) -> String {
    match field {
        Field::Null => MISSING.to_owned(),
        Field::Bool(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::Str(value) => value.clone(),
        other => other.to_string(),
    }
}
