//! Reading a folder of recorded traces: the manifest, and a CSV file a run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

pub(super) const MANIFEST: &str = "manifest.json";
/// Most bytes of a file, after decompression: a recording of an hour has some 20 MB.
const MOST_BYTES: u64 = 256 << 20;
/// The kernel's counter of passes is an `int`.
const MOST_SCAN_SEQ: u64 = i32::MAX as u64;

/// Why a folder of traces, or one run of it, cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The folder or a file in it cannot be read.
    #[error(
        "{path}: cannot be read: {source}. Give a folder that holds manifest.json and, for each run, its CSV file or that with .gz"
    )]
    Unreadable {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The manifest lists no run.
    #[error("{path}: no run is listed; expected an array with one object a run, as lab.py writes it")]
    Empty {
        /// The manifest.
        path: PathBuf,
    },
    /// The manifest is not the JSON that is expected.
    #[error(
        "{path}, line {line}, column {column}: {message}. Expected an array of objects with name, csv, kernel, info, sysctls, nodes and spec"
    )]
    Json {
        /// The manifest.
        path: PathBuf,
        /// Line in it.
        line: usize,
        /// Column in that line.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// An entry of the manifest is not what lab.py writes.
    #[error("{path}, run {run}: {key}: {message}. Correct the manifest or remove the run from it")]
    Entry {
        /// The manifest.
        path: PathBuf,
        /// Which run: its name, or its number from 1.
        run: String,
        /// Where in the entry.
        key: String,
        /// What is wrong there.
        message: String,
    },
    /// A key of a run is missing or has a value that is not known.
    #[error(
        "{path}, run {run}: {key} is {value}; expected {expected}. Correct the manifest or remove the run from it"
    )]
    Value {
        /// The manifest.
        path: PathBuf,
        /// Which run.
        run: String,
        /// Which key, with its path.
        key: String,
        /// Its value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A CSV file lacks a column.
    #[error(
        "{path}, line 1: column {column} is missing; the header has {found} columns. Record the run again, or restore the file"
    )]
    Column {
        /// The CSV file.
        path: PathBuf,
        /// The column.
        column: String,
        /// How many there are.
        found: usize,
    },
    /// A row of a CSV file is cut short, out of order or holds no number.
    #[error("{path}, line {line}: {message}; expected {expected}. Record the run again, or restore the file")]
    Row {
        /// The CSV file.
        path: PathBuf,
        /// Line in it.
        line: usize,
        /// What is wrong.
        message: String,
        /// What would be right.
        expected: String,
    },
}

/// What the manifest says about a run, without anything measured after its start.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Run {
    pub(super) name: String,
    csv: Option<String>,
    pub(super) kernel: String,
    #[serde(default)]
    pub(super) info: Vec<String>,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) nodes: BTreeMap<String, NodeInfo>,
    pub(super) spec: Spec,
    /// Lines of `/proc/PID/maps` and `/proc/PID/numa_maps` before the start, each after the file's name.
    #[serde(default)]
    pub(super) mappings: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct NodeInfo {
    pub(super) cpus: String,
    pub(super) distance: String,
    pub(super) memtotal_kb: Option<String>,
    pub(super) memfree_kb: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) accel: String,
    /// Instructions are 2 to the power of this many nanoseconds.
    #[serde(default)]
    pub(super) shift: u32,
    #[serde(default)]
    pub(super) env: BTreeMap<String, Value>,
    pub(super) args: BTreeMap<String, Value>,
}

/// An entry of the manifest, usable or not.
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) run: Result<Run, KernelError>,
}

/// The kernel's state just before the start, and time and CPU times of the second row: all that the model may know of a CSV file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FirstRow {
    pub(super) time_ms: f64,
    pub(super) next_scan_in_ms: i64,
    pub(super) scan_seq: u32,
    pub(super) scan_offset_mb: f64,
    /// Time from this row to the next.
    pub(super) next_row_in_ms: f64,
    pub(super) threads: Vec<FirstThread>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FirstThread {
    pub(super) runtime_ms: f64,
    pub(super) node_stamp_ms: f64,
    pub(super) scan_period_ms: u32,
    pub(super) scan_period_max_ms: u32,
    pub(super) preferred: i64,
    /// CPU time from this row to the next.
    pub(super) runtime_to_next_ms: f64,
    /// The CPU it was seen on, where that is recorded.
    pub(super) cpu: Option<u16>,
}

/// One row of counters, deltas from the row before the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Milliseconds from the start of the workload.
    pub time_ms: f64,
    /// In the order of [`super::COUNTERS`].
    pub counters: [u64; 5],
    /// Sequence number of the address space.
    pub scan_seq: u64,
    /// Scan period of each thread in ms.
    pub periods: Vec<u64>,
    /// `node_stamp` of each thread in ms.
    pub node_stamps: Vec<f64>,
}

/// A whole recording: what the model may know of it apart from the rows, so that it is given only the former.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) first: FirstRow,
    pub(super) rows: Vec<Row>,
}

/// The runs that a manifest lists.
pub(super) fn read_manifest(folder: &Path) -> Result<Vec<Listed>, KernelError> {
    let path = folder.join(MANIFEST);
    let text = read(if folder.is_dir() { &path } else { folder })?;
    let entries: Vec<Value> = serde_json::from_str(&text).map_err(|error| KernelError::Json {
        path: path.clone(),
        line: error.line(),
        column: error.column(),
        message: error.to_string(),
    })?;
    if entries.is_empty() {
        return Err(KernelError::Empty { path });
    }
    let listed = |(index, entry): (usize, Value)| {
        let name =
            entry.get("name").and_then(Value::as_str).map_or(format!("entry {}", index + 1), str::to_owned);
        let run = serde_path_to_error::deserialize(entry).map_err(|error| KernelError::Entry {
            path: path.clone(),
            run: name.clone(),
            key: error.path().to_string(),
            message: error.into_inner().to_string(),
        });
        Listed { name, run }
    };
    Ok(entries.into_iter().enumerate().map(listed).collect())
}

fn read(path: &Path) -> Result<String, KernelError> {
    let unreadable = |source| KernelError::Unreadable { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(unreadable)?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let text = if packed { text_of(MultiGzDecoder::new(file)) } else { text_of(file) };
    text.map_err(unreadable)
}

fn text_of(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    if from.take(MOST_BYTES + 1).read_to_string(&mut text)? as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it holds more than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(text)
}

/// The recording of a run: the CSV file, or where there is none the compressed one.
fn csv_path(folder: &Path, run: &Run) -> PathBuf {
    let plain = folder.join(run.csv.clone().unwrap_or_else(|| format!("{}.csv", run.name)));
    let mut packed = plain.clone().into_os_string();
    packed.push(".gz");
    let packed = PathBuf::from(packed);
    if !plain.exists() && packed.exists() { packed } else { plain }
}

/// The error of a recording that ends before its workload does.
pub(super) fn cut_short(folder: &Path, run: &Run, rows: usize, expected: usize) -> KernelError {
    KernelError::Row {
        path: csv_path(folder, run),
        line: rows + 2,
        message: format!("the file ends after {rows} rows"),
        expected: format!("{expected} rows, one before the start and one each period_ms of secs"),
    }
}

pub(super) fn read_recording(folder: &Path, run: &Run) -> Result<Recording, KernelError> {
    let path = csv_path(folder, run);
    let text = read(&path)?;
    let mut lines = text.lines();
    let table = Table { columns: lines.next().unwrap_or("").split(',').map(str::to_owned).collect(), path };
    let threads =
        (0..).take_while(|thread| table.columns.iter().any(|c| *c == format!("t{thread}_touches"))).count();
    let mut first: Option<FirstRow> = None;
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in lines.enumerate() {
        let cells = table.cells(index + 2, line)?;
        match &mut first {
            None => first = Some(table.first_row(&cells, threads)?),
            Some(first) if rows.len() == 1 => table.second_row(&cells, first)?,
            Some(_) => {}
        }
        let row = table.row(&cells, threads)?;
        if let Some(last) = rows.last() {
            table.follows(cells.line, last, &row)?;
        }
        rows.push(row);
    }
    match first {
        Some(first) if rows.len() > 1 => Ok(Recording { first, rows }),
        _ => Err(table.bad(
            rows.len() + 2,
            "the file ends here".to_owned(),
            "a row before the start and at least one after it",
        )),
    }
}

struct Table {
    columns: Vec<String>,
    path: PathBuf,
}

struct Cells<'a> {
    line: usize,
    values: Vec<&'a str>,
}

impl Table {
    fn bad(&self, line: usize, message: String, expected: &str) -> KernelError {
        KernelError::Row { path: self.path.clone(), line, message, expected: expected.to_owned() }
    }

    fn cells<'a>(&self, line: usize, text: &'a str) -> Result<Cells<'a>, KernelError> {
        let values: Vec<&str> = text.split(',').collect();
        if values.len() != self.columns.len() {
            let expected = format!("{} values, as in the header", self.columns.len());
            return Err(self.bad(line, format!("{} values", values.len()), &expected));
        }
        Ok(Cells { line, values })
    }

    fn number(&self, cells: &Cells<'_>, column: &str) -> Result<f64, KernelError> {
        let Some(index) = self.columns.iter().position(|name| name == column) else {
            return Err(KernelError::Column {
                path: self.path.clone(),
                column: column.to_owned(),
                found: self.columns.len(),
            });
        };
        let value = cells.values[index];
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.bad(cells.line, format!("{column} is {value:?}"), "a number")),
        }
    }

    fn count(&self, cells: &Cells<'_>, column: &str) -> Result<u64, KernelError> {
        let number = self.number(cells, column)?;
        if number < 0.0 {
            return Err(self.bad(cells.line, format!("{column} is {number}"), "a count of zero or more"));
        }
        Ok(number as u64)
    }

    fn scan_seq(&self, cells: &Cells<'_>) -> Result<u32, KernelError> {
        let count = self.count(cells, "mm_numa_scan_seq")?;
        if count > MOST_SCAN_SEQ {
            let message = format!("mm_numa_scan_seq is {count}");
            return Err(self.bad(cells.line, message, &format!("a count from 0 to {MOST_SCAN_SEQ}")));
        }
        Ok(count as u32)
    }

    fn last_cpu(&self, cells: &Cells<'_>, thread: usize) -> Result<Option<u16>, KernelError> {
        let column = format!("t{thread}_cpu");
        if !self.columns.contains(&column) {
            return Ok(None);
        }
        Ok(u16::try_from(self.number(cells, &column)? as i64).ok())
    }

    fn first_row(&self, cells: &Cells<'_>, threads: usize) -> Result<FirstRow, KernelError> {
        let thread = |index: usize| {
            let number = |name: &str| self.number(cells, &format!("t{index}_{name}"));
            Ok(FirstThread {
                runtime_ms: number("runtime_ms")?,
                node_stamp_ms: number("node_stamp_ms")?,
                scan_period_ms: number("scan_period_ms")? as u32,
                scan_period_max_ms: number("scan_period_max_ms")? as u32,
                preferred: number("preferred_nid")? as i64,
                runtime_to_next_ms: 0.0,
                cpu: self.last_cpu(cells, index)?,
            })
        };
        Ok(FirstRow {
            time_ms: self.number(cells, "time_ms")?,
            next_scan_in_ms: self.number(cells, "mm_next_scan_in_ms")? as i64,
            scan_seq: self.scan_seq(cells)?,
            scan_offset_mb: self.number(cells, "mm_numa_scan_offset_mb")?,
            next_row_in_ms: 0.0,
            threads: (0..threads).map(thread).collect::<Result<_, _>>()?,
        })
    }

    /// Adds the second row's time and CPU times, and nothing else of it.
    fn second_row(&self, cells: &Cells<'_>, first: &mut FirstRow) -> Result<(), KernelError> {
        first.next_row_in_ms = self.number(cells, "time_ms")? - first.time_ms;
        for (index, thread) in first.threads.iter_mut().enumerate() {
            thread.runtime_to_next_ms =
                self.number(cells, &format!("t{index}_runtime_ms"))? - thread.runtime_ms;
        }
        Ok(())
    }

    /// Whether a row can come after another: later, and no counter smaller.
    fn follows(&self, line: usize, last: &Row, row: &Row) -> Result<(), KernelError> {
        if last.time_ms >= row.time_ms {
            let message = format!("time_ms {} does not follow the row before", row.time_ms);
            return Err(self.bad(line, message, "rows in order of time"));
        }
        for ((name, before), now) in super::COUNTERS.iter().zip(last.counters).zip(row.counters) {
            if now < before {
                let message = format!("{name} falls from {before} to {now}");
                return Err(self.bad(line, message, "counters that only grow"));
            }
        }
        Ok(())
    }

    fn row(&self, cells: &Cells<'_>, threads: usize) -> Result<Row, KernelError> {
        let mut counters = [0; 5];
        for (counter, name) in counters.iter_mut().zip(super::COUNTERS) {
            *counter = self.count(cells, name)?;
        }
        Ok(Row {
            time_ms: self.number(cells, "time_ms")?,
            counters,
            scan_seq: self.count(cells, "mm_numa_scan_seq")?,
            periods: (0..threads)
                .map(|thread| self.count(cells, &format!("t{thread}_scan_period_ms")))
                .collect::<Result<_, _>>()?,
            node_stamps: (0..threads)
                .map(|thread| self.number(cells, &format!("t{thread}_node_stamp_ms")))
                .collect::<Result<_, _>>()?,
        })
    }
}
