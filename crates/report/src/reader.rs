//! Parquet tables back as plain rows of text, whoever wrote them.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

/// More cells than this are refused, so that a damaged file cannot ask for unbounded memory.
const MOST_CELLS: u64 = 1 << 30;
/// A header longer than this is.
const MOST_COLUMNS: usize = 1 << 12;

/// A table of texts: empty where there is no value, 1 and 0 for truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainTable {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, each as wide as the columns.
    pub rows: Vec<Vec<String>>,
}

/// Why a Parquet file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is no Parquet file, or a damaged one, or compressed in a way that is not built in.
    #[error("{}: {source}; expected Parquet, uncompressed or with zstd; write it again so, or as CSV", path.display())]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: ParquetError,
    },
    /// It is too large, or has columns within columns.
    #[error("{}: {problem}", path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// Reads a table, or only some of its columns; those that it does not have are left out.
///
/// # Errors
/// If the file cannot be read, or is no plain table.
pub fn read_table(path: &Path, only: Option<&[&str]>) -> Result<PlainTable, ReadError> {
    let file =
        File::open(path).map_err(|source| ReadError::Unreadable { path: path.to_path_buf(), source })?;
    let not_parquet = |source| ReadError::NotParquet { path: path.to_path_buf(), source };
    let not_plain = |problem: String| ReadError::NotPlain { path: path.to_path_buf(), problem };
    let reader = SerializedFileReader::new(file).map_err(not_parquet)?;
    let metadata = reader.metadata().file_metadata();
    let fields = metadata.schema_descr().root_schema().get_fields();
    if let Some(field) = fields.iter().find(|field| !field.is_primitive()) {
        let name = field.name();
        return Err(not_plain(format!(
            "column {name} holds columns of its own; expected plain values; flatten it"
        )));
    }
    let columns: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
    let wanted: Vec<usize> = (0..columns.len())
        .filter(|&place| only.is_none_or(|only| only.contains(&columns[place].as_str())))
        .collect();
    let count = u64::try_from(metadata.num_rows()).unwrap_or(u64::MAX);
    if columns.len() > MOST_COLUMNS || count.saturating_mul(wanted.len() as u64) > MOST_CELLS {
        return Err(not_plain(format!(
            "{count} rows of {} columns are too many; split the file",
            columns.len()
        )));
    }
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).map_err(not_parquet)? {
        let row = row.map_err(not_parquet)?;
        let cells: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        rows.push(wanted.iter().map(|&place| shown(cells[place])).collect());
    }
    Ok(PlainTable { columns: wanted.into_iter().map(|place| columns[place].clone()).collect(), rows })
}

fn shown(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Bool(value) => u8::from(*value).to_string(),
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        // Whole nanoseconds since 1970.
        Field::TimestampMillis(millis) => (i128::from(*millis) * 1_000_000).to_string(),
        Field::TimestampMicros(micros) => (i128::from(*micros) * 1_000).to_string(),
        Field::Float(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{buckets_parquet, parents_parquet, sample};

    fn written(name: &str, write: impl FnOnce(&mut File)) -> PathBuf {
        let path = std::env::temp_dir().join(format!("numashock-{}-{name}.parquet", std::process::id()));
        write(&mut File::create(&path).unwrap());
        path
    }

    #[test]
    fn what_was_written_is_read_back_as_text() {
        let results = sample::results(2, 3, 4);
        let path = written("buckets", |file| buckets_parquet(&results, file).unwrap());
        let table = read_table(&path, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(table.rows.len(), results.buckets.len());
        let column = |name: &str| table.columns.iter().position(|column| column == name).unwrap();
        for (row, bucket) in table.rows.iter().zip(&results.buckets) {
            assert_eq!(row[column("bucket_start_ns")], bucket.bucket_start_ns.to_string());
            assert_eq!(row[column("numa_hint_faults")], bucket.counters.numa_hint_faults.to_string());
            assert_eq!(row[column("rhf_ppm")], bucket.rhf_ppm.map(|ppm| ppm.to_string()).unwrap_or_default());
            assert_eq!(row[column("choice")], results.summary.choices[bucket.choice as usize].name);
        }
    }

    #[test]
    fn only_the_columns_that_are_asked_for_are_kept() {
        let results = sample::results(1, 2, 1);
        let path = written("parents", |file| parents_parquet(&results, file).unwrap());
        let table = read_table(&path, Some(&["side", "completed", "no_such_column"])).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(table.columns, ["side", "completed"]);
        let parent = &results.parents[0];
        assert_eq!(table.rows[0], [parent.side.name().to_owned(), u8::from(parent.completed).to_string()]);
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_name() {
        let path =
            written("broken", |file| std::io::Write::write_all(file, b"PAR1 but not really PAR1").unwrap());
        let error = read_table(&path, None).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("broken") && error.contains("expected Parquet"), "{error}");
        assert!(matches!(read_table(&path, None), Err(ReadError::Unreadable { .. })));
    }
}
