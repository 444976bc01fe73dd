//! Results as tables in the terminal, Parquet, JSON and SVG.
//!
//! ```text
//!   SweepResults ──► table()                                        String
//!               └──► ResultsFolder::create(path) ──► .write(..)     scenario.toml summary.json
//!                         (.<name>.partial, renamed at the end)     parents.parquet buckets.parquet children.parquet
//!                                                                   is_cdf.svg timeline.svg c_numa.svg
//! ```
//!
//! Invariant: the same results give the same bytes; no date, host name or path enters a file.

mod cdf;
mod columns;
mod explain;
mod folder;
mod golden;
pub mod junit;
mod kernel;
mod parts;
mod perfetto;
mod plot;
mod reader;
mod stored;
mod table;
mod timeline;

pub use cdf::is_cdf;
pub use columns::{buckets_parquet, children_parquet, metrics_parquet, parents_parquet, uplift_parquet};
pub use explain::{Shown, chain};
pub use folder::{ResultsError, ResultsFolder};
pub use golden::{golden_junit, golden_markdown, golden_text};
pub use kernel::{kernel_run, kernel_runs};
pub use parts::c_numa_parts;
pub use perfetto::{CounterSecond, Perfetto, Window};
pub use plot::PictureError;
pub use reader::{PlainTable, ReadError, read_table};
pub use stored::{Difference, StoredError, StoredParent, read_parents, read_summary};
pub use table::table;
pub use timeline::timeline;

#[cfg(test)]
mod sample;
