//! Rows as Parquet: a list of columns for each table, written without Arrow.

use std::io::Write;
use std::sync::Arc;

use numashock_experiment::attribution::{AttributionRow, ChildRow};
use numashock_experiment::results::{
    BucketRow, MetricRow, ParentRow, Regime, Segment, Side, SweepResults, UpliftRow, Window,
};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use crate::stored::MISSING;

/// Rows of a row group: part of the format, since it decides the bytes.
const ROW_GROUP: usize = 65_536;

const ZSTD_LEVEL: i32 = 3;

/// Writes the parents of a sweep, one row each. Units stand in the file's key-value metadata, `unit.<column>`.
///
/// # Errors
/// If `sink` refuses.
pub fn parents_parquet(results: &SweepResults, sink: impl Write + Send) -> Result<(), ParquetError> {
    write_table("parents", &parent_columns(results), &results.parents, sink)
}

/// Writes the children of a sweep, one row each. Units stand in the file's key-value metadata, `unit.<column>`.
///
/// # Errors
/// If `sink` refuses.
pub fn children_parquet(results: &SweepResults, sink: impl Write + Send) -> Result<(), ParquetError> {
    write_table("children", &child_columns(results), &results.children, sink)
}

/// Writes the buckets of a sweep, one row each. Units stand in the file's key-value metadata, `unit.<column>`.
///
/// # Errors
/// If `sink` refuses.
pub fn buckets_parquet(results: &SweepResults, sink: impl Write + Send) -> Result<(), ParquetError> {
    write_table("buckets", &bucket_columns(results), &results.buckets, sink)
}

/// Writes the desk metrics of a sweep, a row per choice, seed, bucket and segment. Units stand in the file's key-value
/// metadata, `unit.<column>`.
///
/// # Errors
/// If `sink` refuses.
pub fn metrics_parquet(results: &SweepResults, sink: impl Write + Send) -> Result<(), ParquetError> {
    write_table("metrics", &metric_columns(results), &results.metrics, sink)
}

/// Writes the tail uplift of a sweep, a row per choice and segment and for each seed of it. Units stand in the file's
/// key-value metadata, `unit.<column>`.
///
/// # Errors
/// If `sink` refuses.
pub fn uplift_parquet(results: &SweepResults, sink: impl Write + Send) -> Result<(), ParquetError> {
    write_table("uplift", &uplift_columns(results), &results.uplifts, sink)
}

struct Column<R> {
    name: &'static str,
    unit: &'static str,
    cells: Cells<R>,
}

/// How to read a column's cell from a row.
enum Cells<R> {
    Bool(fn(&R) -> bool),
    OptionalBool(fn(&R) -> Option<bool>),
    Int64(fn(&R) -> i64),
    OptionalInt64(fn(&R) -> Option<i64>),
    OptionalUInt64(fn(&R) -> Option<u64>),
    UInt32(fn(&R) -> u32),
    UInt64(fn(&R) -> u64),
    /// One of a few labels.
    Label(Vec<ByteArray>, fn(&R) -> usize),
}

fn column<R>(name: &'static str, unit: &'static str, cells: Cells<R>) -> Column<R> {
    Column { name, unit, cells }
}

fn labels<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<ByteArray> {
    names.into_iter().map(ByteArray::from).collect()
}

fn choice_labels(results: &SweepResults) -> Vec<ByteArray> {
    labels(results.summary.choices.iter().map(|choice| choice.name.as_str()))
}

/// The four parts of a segment's name.
fn segment_columns<R>(results: &SweepResults, of: fn(&R) -> usize) -> [Column<R>; 4] {
    let part = |name, part: fn(&Segment) -> &String| {
        let names = labels(results.segments.iter().map(|row| part(row).as_str()));
        column(name, "name", Cells::Label(names, of))
    };
    [
        part("host", |segment| &segment.host),
        part("strategy", |segment| &segment.strategy),
        part("symbol_liquidity", |segment| &segment.symbol_liquidity),
        part("session_phase", |segment| &segment.session_phase),
    ]
}

fn parent_columns(results: &SweepResults) -> Vec<Column<ParentRow>> {
    use Cells::{Label, UInt32, UInt64};
    let mut columns: Vec<Column<ParentRow>> = vec![
        column("choice", "name", Label(choice_labels(results), |row| row.choice as usize)),
        column("choice_index", "index", UInt32(|row| row.choice)),
        column("seed", "replication", UInt64(|row| row.seed)),
        column("parent", "index", UInt32(|row| row.parent)),
    ];
    columns.extend(segment_columns(results, |row: &ParentRow| row.segment as usize));
    columns.extend(parent_order_columns());
    columns.extend(parent_cost_columns());
    columns.extend(attribution_columns());
    columns
}

/// What is known of a parent as an order.
fn parent_order_columns() -> [Column<ParentRow>; 9] {
    use Cells::{Bool, Label, OptionalBool, UInt64};
    [
        column(
            "window",
            "name",
            Label(labels([Window::Transient, Window::Steady].map(Window::name)), |row| row.window as usize),
        ),
        column("exposed", "truth; null where counters are missing", OptionalBool(|row| row.exposed)),
        column("arrival_ns", "ns", UInt64(|row| row.arrival_ns)),
        column(
            "side",
            "name",
            Label(labels([Side::Buy, Side::Sell].map(Side::name)), |row| row.side as usize),
        ),
        column("quantity_lots", "lots", UInt64(|row| row.quantity_lots)),
        column("horizon_ns", "ns", UInt64(|row| row.horizon_ns)),
        column("filled_lots", "lots", UInt64(|row| row.filled_lots)),
        column("completed", "truth", Bool(|row| row.completed)),
        column("deadline_missed", "truth", Bool(|row| row.deadline_missed)),
    ]
}

/// The cells of a parent beside its names and place, as text: column, whether it belongs to the attribution, value.
pub(crate) fn parent_cells(row: &ParentRow) -> Vec<(&'static str, bool, String)> {
    let plain = parent_order_columns().into_iter().chain(parent_cost_columns());
    let plain = plain.map(|column| (column.name, false, column.cells.shown(row)));
    let attributed = attribution_columns().into_iter();
    plain.chain(attributed.map(|column| (column.name, true, column.cells.shown(row)))).collect()
}

impl<R> Cells<R> {
    /// A cell as text.
    fn shown(&self, row: &R) -> String {
        fn or_missing<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| MISSING.to_owned(), |value| value.to_string())
        }
        match self {
            Cells::Bool(cell) => cell(row).to_string(),
            Cells::OptionalBool(cell) => or_missing(cell(row)),
            Cells::Int64(cell) => cell(row).to_string(),
            Cells::OptionalInt64(cell) => or_missing(cell(row)),
            Cells::OptionalUInt64(cell) => or_missing(cell(row)),
            Cells::UInt32(cell) => cell(row).to_string(),
            Cells::UInt64(cell) => cell(row).to_string(),
            Cells::Label(labels, index) => String::from_utf8_lossy(labels[index(row)].data()).into_owned(),
        }
    }
}

const COST: &str = "half-tick-lots";
const SIXTHS: &str = "sixths of a half-tick-lot; null without the attribution";

fn parent_cost_columns() -> [Column<ParentRow>; 36] {
    use Cells::{Int64, OptionalInt64, OptionalUInt64, UInt32, UInt64};
    const SPREAD: &str = "ticks; null while a side of the book was empty";
    const VARIATION: &str = "squared half-ticks over the last whole second; null in the first one";
    const LIFE: &str = "ppm of the seconds of its life";
    const MICRO_BP: &str = "1e-6 basis points of quantity x decision mid";
    [
        column("decision_mid_half_ticks", "half-ticks", Int64(|row| row.decision_mid_half_ticks)),
        column("decision_spread_ticks", SPREAD, OptionalUInt64(|row| row.decision_spread_ticks)),
        column("decision_variation", VARIATION, OptionalUInt64(|row| row.decision_variation)),
        column("is", COST, Int64(|row| row.is)),
        column("is_mid_mark", COST, Int64(|row| row.is_mid_mark)),
        column("c_delay", COST, Int64(|row| row.c_delay)),
        column("c_impact", COST, Int64(|row| row.c_impact)),
        column("c_miss", COST, Int64(|row| row.c_miss)),
        column("fees", COST, Int64(|row| row.fees)),
        column("c_numa", COST, Int64(|row| row.c_numa)),
        column("c_placement", COST, Int64(|row| row.c_placement)),
        column("c_net", COST, Int64(|row| row.c_net)),
        column("c_numa_mid_mark", COST, Int64(|row| row.c_numa_mid_mark)),
        column("c_placement_mid_mark", COST, Int64(|row| row.c_placement_mid_mark)),
        column("observed_delay", COST, Int64(|row| row.observed_delay)),
        column("observed_impact", COST, Int64(|row| row.observed_impact)),
        column("observed_miss", COST, Int64(|row| row.observed_miss)),
        column("observed_fees", COST, Int64(|row| row.observed_fees)),
        column("path_schedule", COST, Int64(|row| row.path.schedule)),
        column("path_host", COST, Int64(|row| row.path.host)),
        column("path_wire", COST, Int64(|row| row.path.wire)),
        column("path_spread_and_impact", COST, Int64(|row| row.path.spread_and_impact)),
        column("is_micro_bp", MICRO_BP, Int64(|row| row.is_micro_bp)),
        column("c_numa_micro_bp", MICRO_BP, Int64(|row| row.c_numa_micro_bp)),
        column("c_placement_micro_bp", MICRO_BP, Int64(|row| row.c_placement_micro_bp)),
        column("stall_hint_fault_ns", "ns", UInt64(|row| row.stall_hint_fault_ns)),
        column("stall_migration_copy_ns", "ns", UInt64(|row| row.stall_migration_copy_ns)),
        column("stall_dispatch_jitter_ns", "ns", UInt64(|row| row.stall_dispatch_jitter_ns)),
        column("queue_wait_ns", "ns", UInt64(|row| row.queue_wait_ns)),
        column("children", "count", UInt32(|row| row.children)),
        column("releases", "count", UInt32(|row| row.releases)),
        column("reprices", "count", UInt32(|row| row.reprices)),
        column("qdl_ppm", "ppm of lots at the price", OptionalInt64(|row| row.qdl_ppm)),
        column("market_diverged_ppm", LIFE, UInt32(|row| row.diverged.market_ppm)),
        column("flow_diverged_ppm", LIFE, UInt32(|row| row.diverged.flow_ppm)),
        column("host_diverged_ppm", LIFE, UInt32(|row| row.diverged.host_ppm)),
    ]
}

/// C_numa by cause and channel; every cell is null where it was not asked for.
fn attribution_columns() -> Vec<Column<ParentRow>> {
    const WHOLE: &str = "half-tick-lots; null without the attribution";
    macro_rules! of {
        ($name:literal, $unit:expr, $row:ident => $cell:expr) => {
            column(
                $name,
                $unit,
                Cells::OptionalInt64(|row: &ParentRow| {
                    row.attribution.as_ref().map(|$row: &AttributionRow| $cell)
                }),
            )
        };
    }
    vec![
        of!("c_hint_fault_sixths", SIXTHS, row => row.parts.hint_fault),
        of!("c_migration_copy_sixths", SIXTHS, row => row.parts.migration_copy),
        of!("c_dispatch_jitter_sixths", SIXTHS, row => row.parts.dispatch_jitter),
        of!("c_queue_decay_sixths", SIXTHS, row => row.parts.queue_decay),
        of!("queue_decay_hint_fault_sixths", SIXTHS, row => row.parts.queue_decay_hint_fault),
        of!("queue_decay_migration_copy_sixths", SIXTHS, row => row.parts.queue_decay_migration_copy),
        of!("queue_decay_dispatch_jitter_sixths", SIXTHS, row => row.parts.queue_decay_dispatch_jitter),
        of!("c_hint_fault_mid_mark_sixths", SIXTHS, row => row.parts_mid_mark.hint_fault),
        of!("c_migration_copy_mid_mark_sixths", SIXTHS, row => row.parts_mid_mark.migration_copy),
        of!("c_dispatch_jitter_mid_mark_sixths", SIXTHS, row => row.parts_mid_mark.dispatch_jitter),
        of!("c_queue_decay_mid_mark_sixths", SIXTHS, row => row.parts_mid_mark.queue_decay),
        of!("hint_fault_least", WHOLE, row => row.least.hint_fault),
        of!("hint_fault_most", WHOLE, row => row.most.hint_fault),
        of!("migration_copy_least", WHOLE, row => row.least.migration_copy),
        of!("migration_copy_most", WHOLE, row => row.most.migration_copy),
        of!("dispatch_jitter_least", WHOLE, row => row.least.dispatch_jitter),
        of!("dispatch_jitter_most", WHOLE, row => row.most.dispatch_jitter),
        of!("queue_decay_least", WHOLE, row => row.least.queue_decay),
        of!("queue_decay_most", WHOLE, row => row.most.queue_decay),
        of!("is_free", WHOLE, row => row.values[0]),
        of!("is_H", WHOLE, row => row.values[1]),
        of!("is_M", WHOLE, row => row.values[2]),
        of!("is_HM", WHOLE, row => row.values[3]),
        of!("is_D", WHOLE, row => row.values[4]),
        of!("is_HD", WHOLE, row => row.values[5]),
        of!("is_MD", WHOLE, row => row.values[6]),
        of!("is_HMD", WHOLE, row => row.values[7]),
        of!("is_HQ", WHOLE, row => row.values[8]),
        of!("is_MQ", WHOLE, row => row.values[9]),
        of!("is_HMQ", WHOLE, row => row.values[10]),
        of!("is_DQ", WHOLE, row => row.values[11]),
        of!("is_HDQ", WHOLE, row => row.values[12]),
        of!("is_MDQ", WHOLE, row => row.values[13]),
        of!("is_HMDQ", WHOLE, row => row.values[14]),
    ]
}

fn child_columns(results: &SweepResults) -> Vec<Column<ChildRow>> {
    use Cells::{Int64, Label, OptionalUInt64, UInt32, UInt64};
    vec![
        column("choice", "name", Label(choice_labels(results), |row| row.choice as usize)),
        column("choice_index", "index", UInt32(|row| row.choice)),
        column("seed", "replication", UInt64(|row| row.seed)),
        column("parent", "index", UInt32(|row| row.parent)),
        column("child", "index", UInt32(|row| row.child)),
        column(
            "side",
            "name",
            Label(labels([Side::Buy, Side::Sell].map(Side::name)), |row| row.side as usize),
        ),
        column("placements", "count", UInt32(|row| row.placements)),
        column("decided_ns", "ns", UInt64(|row| row.decided_ns)),
        column("dispatched_ns", "ns", UInt64(|row| row.dispatched_ns)),
        column("arrived_ns", "ns", UInt64(|row| row.arrived_ns)),
        column("on_time_ns", "ns", UInt64(|row| row.on_time_ns)),
        column("decided_mid_half_ticks", "half-ticks", Int64(|row| row.decided_mid_half_ticks)),
        column("dispatched_mid_half_ticks", "half-ticks", Int64(|row| row.dispatched_mid_half_ticks)),
        column("arrived_mid_half_ticks", "half-ticks", Int64(|row| row.arrived_mid_half_ticks)),
        column("limit_ticks", "ticks", Int64(|row| row.limit_ticks)),
        column("lots", "lots", UInt64(|row| row.lots)),
        column("filled_lots", "lots", UInt64(|row| row.filled_lots)),
        column("ahead_lots", "lots", OptionalUInt64(|row| row.ahead_lots)),
        column("ahead_on_time_lots", "lots", OptionalUInt64(|row| row.ahead_on_time_lots)),
        column("path_schedule", COST, Int64(|row| row.path.schedule)),
        column("path_host", COST, Int64(|row| row.path.host)),
        column("path_wire", COST, Int64(|row| row.path.wire)),
        column("path_spread_and_impact", COST, Int64(|row| row.path.spread_and_impact)),
    ]
}

const RATE: &str = "faults per 1000 s";
const LINK: &str = "ppm of the interconnect's bandwidth";

/// What the desk saw; a null is missing, never calm.
fn metric_columns(results: &SweepResults) -> Vec<Column<MetricRow>> {
    use Cells::{Bool, Int64, Label, OptionalInt64, OptionalUInt64, UInt32, UInt64};
    const PAGES: &str = "pages in the bucket on the host; null where it was not seen";
    const FAULTS: &str = "faults in the bucket on the host; null where it was not seen";
    const GAP: &str = "ns, in buckets of 5 s";
    let mut columns: Vec<Column<MetricRow>> = vec![
        column("choice", "name", Label(choice_labels(results), |row| row.choice as usize)),
        column("choice_index", "index", UInt32(|row| row.choice)),
        column("seed", "replication", UInt64(|row| row.seed)),
    ];
    columns.extend(segment_columns(results, |row: &MetricRow| row.segment as usize));
    let more: Vec<Column<MetricRow>> = vec![
        column("bucket_start_ns", "ns", UInt64(|row| row.bucket_start_ns)),
        column("bucket_length_ns", "ns", UInt64(|row| row.bucket_length_ns)),
        column("measured", "truth: after the warm-up", Bool(|row| row.measured)),
        column("numa_pte_updates", PAGES, OptionalUInt64(|row| row.numa_pte_updates)),
        column("numa_hint_faults", FAULTS, OptionalUInt64(|row| row.numa_hint_faults)),
        column("numa_hint_faults_local", FAULTS, OptionalUInt64(|row| row.numa_hint_faults_local)),
        column("numa_pages_migrated", PAGES, OptionalUInt64(|row| row.numa_pages_migrated)),
        column("rhf_ppm", "ppm of faults", OptionalUInt64(|row| row.rhf_ppm)),
        column("hint_fault_rate_milli_hz", RATE, OptionalUInt64(|row| row.hint_fault_rate_milli_hz)),
        column("mcr_kib_per_s", "KiB/s", OptionalUInt64(|row| row.mcr_kib_per_s)),
        column("interconnect_share_ppm", LINK, OptionalUInt64(|row| row.interconnect_share_ppm)),
        column("releases", "count", UInt64(|row| row.releases)),
        column("release_squares", "sum of squared counts per 10 ms", UInt64(|row| row.release_squares)),
        column("fano_ppm", "ppm of 1", OptionalUInt64(|row| row.fano_ppm)),
        column("gaps", "count", UInt64(|row| row.gaps)),
        column("gap_q50_ns", GAP, OptionalUInt64(|row| row.gap_q50_ns)),
        column("gap_q95_ns", GAP, OptionalUInt64(|row| row.gap_q95_ns)),
        column("dcj_ppm", "ppm of the median gap", OptionalUInt64(|row| row.dcj_ppm)),
        column("passive_children", "count of those with a ratio", UInt64(|row| row.passive_children)),
        column("passive_unqueued", "count of those without a queue", UInt64(|row| row.passive_unqueued)),
        column("qdl_sum_ppm", "ppm of lots at the price, summed", Int64(|row| row.qdl_sum_ppm)),
        column("qdl_ppm", "ppm of lots at the price", OptionalInt64(|row| row.qdl_ppm)),
        column("parents_ended", "count", UInt64(|row| row.parents_ended)),
        column("deadlines_missed", "count", UInt64(|row| row.deadlines_missed)),
    ];
    columns.extend(more);
    columns
}

fn uplift_columns(results: &SweepResults) -> Vec<Column<UpliftRow>> {
    use Cells::{Label, OptionalInt64, OptionalUInt64, UInt32};
    const MICRO_BP: &str = "1e-6 basis points";
    let mut columns: Vec<Column<UpliftRow>> = vec![
        column("choice", "name", Label(choice_labels(results), |row| row.choice as usize)),
        column("choice_index", "index", UInt32(|row| row.choice)),
        column("seed", "replication; null: all of them", OptionalUInt64(|row| row.seed)),
    ];
    columns.extend(segment_columns(results, |row: &UpliftRow| row.segment as usize));
    let more: Vec<Column<UpliftRow>> = vec![
        column("exposed", "parents", UInt32(|row| row.exposed)),
        column("calm", "parents", UInt32(|row| row.calm)),
        column("unknown", "parents", UInt32(|row| row.unknown)),
        column("matched_exposed", "parents", UInt32(|row| row.matched_exposed)),
        column("matched_calm", "parents", UInt32(|row| row.matched_calm)),
        column("exposed_q95_micro_bp", MICRO_BP, OptionalInt64(|row| row.exposed_q95_micro_bp)),
        column("calm_q95_micro_bp", MICRO_BP, OptionalInt64(|row| row.calm_q95_micro_bp)),
        column("ntu_micro_bp", MICRO_BP, OptionalInt64(|row| row.ntu_micro_bp)),
    ];
    columns.extend(more);
    columns
}

fn bucket_columns(results: &SweepResults) -> Vec<Column<BucketRow>> {
    use Cells::{Bool, Label, OptionalInt64, OptionalUInt64, UInt32, UInt64};
    const PAGES: &str = "pages in the bucket";
    const FAULTS: &str = "faults in the bucket";
    vec![
        column("choice", "name", Label(choice_labels(results), |row| row.choice as usize)),
        column("choice_index", "index", UInt32(|row| row.choice)),
        column("seed", "replication", UInt64(|row| row.seed)),
        column(
            "host",
            "name",
            Label(labels(results.hosts.iter().map(String::as_str)), |row| row.host as usize),
        ),
        column("bucket_start_ns", "ns", UInt64(|row| row.bucket_start_ns)),
        column("bucket_length_ns", "ns", UInt64(|row| row.bucket_length_ns)),
        column("measured", "truth: after the warm-up", Bool(|row| row.measured)),
        column("numa_pte_updates", PAGES, UInt64(|row| row.counters.numa_pte_updates)),
        column(
            "numa_huge_pte_updates",
            "huge pages in the bucket",
            UInt64(|row| row.counters.numa_huge_pte_updates),
        ),
        column("numa_hint_faults", FAULTS, UInt64(|row| row.counters.numa_hint_faults)),
        column("numa_hint_faults_local", FAULTS, UInt64(|row| row.counters.numa_hint_faults_local)),
        column("numa_pages_migrated", PAGES, UInt64(|row| row.counters.numa_pages_migrated)),
        column("pgmigrate_success", PAGES, UInt64(|row| row.counters.pgmigrate_success)),
        column("pgmigrate_fail", PAGES, UInt64(|row| row.counters.pgmigrate_fail)),
        column("rhf_ppm", "ppm of faults", OptionalInt64(|row| row.rhf_ppm)),
        column("hint_fault_rate_milli_hz", RATE, OptionalInt64(|row| row.hint_fault_rate_milli_hz)),
        column("mcr_kib_per_s", "KiB/s", OptionalInt64(|row| row.mcr_kib_per_s)),
        column("interconnect_share_ppm", LINK, OptionalInt64(|row| row.interconnect_share_ppm)),
        column("dcj_ppm", "ppm of the median gap", OptionalInt64(|row| row.dcj_ppm)),
        column("fano_ppm", "ppm", OptionalInt64(|row| row.fano_ppm)),
        column("qdl_ppm", "ppm of lots at the price", OptionalInt64(|row| row.qdl_ppm)),
        column("decisions", "count", UInt32(|row| row.decisions)),
        column("releases", "count", UInt32(|row| row.releases)),
        column("fills", "count", UInt32(|row| row.fills)),
        column("latency_q50_ns", "ns", OptionalUInt64(|row| row.latency_q50_ns)),
        column("latency_q99_ns", "ns", OptionalUInt64(|row| row.latency_q99_ns)),
        column("regime", "name", Label(labels(Regime::ALL.map(Regime::name)), |row| row.regime as usize)),
        column(
            "participation_cap_ppm",
            "ppm of the market's volume",
            UInt32(|row| row.participation_cap_ppm),
        ),
    ]
}

fn write_table<R>(
    table: &str,
    columns: &[Column<R>],
    rows: &[R],
    sink: impl Write + Send,
) -> Result<(), ParquetError> {
    let mut writer = SerializedFileWriter::new(sink, schema(table, columns)?, properties(columns)?)?;
    for rows in rows.chunks(ROW_GROUP) {
        let mut group = writer.next_row_group()?;
        for column in columns {
            let mut cells = group.next_column()?.expect("the schema has each column of the list");
            write_cells(&column.cells, rows, &mut cells)?;
            cells.close()?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn schema<R>(table: &str, columns: &[Column<R>]) -> Result<TypePtr, ParquetError> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let (physical, logical, repetition) = match column.cells {
            Cells::Bool(_) => (PhysicalType::BOOLEAN, None, Repetition::REQUIRED),
            Cells::OptionalBool(_) => (PhysicalType::BOOLEAN, None, Repetition::OPTIONAL),
            Cells::Int64(_) => (PhysicalType::INT64, None, Repetition::REQUIRED),
            Cells::OptionalInt64(_) => (PhysicalType::INT64, None, Repetition::OPTIONAL),
            Cells::OptionalUInt64(_) => (PhysicalType::INT64, unsigned(64), Repetition::OPTIONAL),
            Cells::UInt32(_) => (PhysicalType::INT32, unsigned(32), Repetition::REQUIRED),
            Cells::UInt64(_) => (PhysicalType::INT64, unsigned(64), Repetition::REQUIRED),
            Cells::Label(..) => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
        };
        let field = Type::primitive_type_builder(column.name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()?;
        fields.push(Arc::new(field));
    }
    Ok(Arc::new(Type::group_type_builder(table).with_fields(fields).build()?))
}

fn unsigned(bits: i8) -> Option<LogicalType> {
    Some(LogicalType::integer(bits, false))
}

fn properties<R>(columns: &[Column<R>]) -> Result<WriterPropertiesPtr, ParquetError> {
    let units = columns
        .iter()
        .map(|column| KeyValue::new(format!("unit.{}", column.name), column.unit.to_owned()))
        .collect();
    let mut properties = WriterProperties::builder()
        .set_created_by("numashock".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_key_value_metadata(Some(units));
    for column in columns {
        let path = ColumnPath::from(column.name);
        properties = match column.cells {
            Cells::Label(..) => properties.set_column_dictionary_enabled(path, true),
            Cells::Bool(_) | Cells::OptionalBool(_) => properties.set_column_dictionary_enabled(path, false),
            _ => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Ok(Arc::new(properties.build()))
}

fn write_cells<R>(
    cells: &Cells<R>,
    rows: &[R],
    writer: &mut SerializedColumnWriter<'_>,
) -> Result<(), ParquetError> {
    match cells {
        Cells::Bool(cell) => write_all::<BoolType, R>(writer, rows, cell),
        Cells::Int64(cell) => write_all::<Int64Type, R>(writer, rows, cell),
        Cells::OptionalBool(cell) => write_present::<BoolType, R>(writer, rows, cell),
        Cells::OptionalInt64(cell) => write_present::<Int64Type, R>(writer, rows, cell),
        // Parquet keeps unsigned numbers as the signed ones of the same bits.
        Cells::OptionalUInt64(cell) => {
            write_present::<Int64Type, R>(writer, rows, |row| cell(row).map(u64::cast_signed))
        }
        Cells::UInt32(cell) => write_all::<Int32Type, R>(writer, rows, |row| cell(row).cast_signed()),
        Cells::UInt64(cell) => write_all::<Int64Type, R>(writer, rows, |row| cell(row).cast_signed()),
        Cells::Label(labels, index) => {
            write_all::<ByteArrayType, R>(writer, rows, |row| labels[index(row)].clone())
        }
    }
}

fn write_all<T: DataType, R>(
    writer: &mut SerializedColumnWriter<'_>,
    rows: &[R],
    cell: impl Fn(&R) -> T::T,
) -> Result<(), ParquetError> {
    let values: Vec<T::T> = rows.iter().map(cell).collect();
    writer.typed::<T>().write_batch(&values, None, None)?;
    Ok(())
}

fn write_present<T: DataType, R>(
    writer: &mut SerializedColumnWriter<'_>,
    rows: &[R],
    cell: impl Fn(&R) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let cells: Vec<Option<T::T>> = rows.iter().map(cell).collect();
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    writer.typed::<T>().write_batch(&values, Some(&levels), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};
    use std::fs::File;

    fn written(
        name: &str,
        write: impl FnOnce(&File) -> Result<(), ParquetError>,
    ) -> SerializedFileReader<File> {
        let path = std::env::temp_dir().join(format!("numashock-{}-{name}.parquet", std::process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        write(&file).unwrap();
        SerializedFileReader::new(file).unwrap()
    }

    fn field(row: &Row, name: &str) -> Field {
        row.get_column_iter().find(|(column, _)| *column == name).unwrap().1.clone()
    }

    #[test]
    fn parents_read_back_as_written() {
        let results = sample::results(2, 5, 30);
        let reader = written("parents", |buffer| parents_parquet(&results, buffer));
        let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), results.parents.len());
        for (row, parent) in rows.iter().zip(&results.parents) {
            let choice = &results.summary.choices[parent.choice as usize].name;
            assert_eq!(field(row, "choice"), Field::Str(choice.clone()));
            assert_eq!(field(row, "seed"), Field::ULong(parent.seed));
            assert_eq!(field(row, "parent"), Field::UInt(parent.parent));
            assert_eq!(field(row, "is"), Field::Long(parent.is));
            assert_eq!(field(row, "side"), Field::Str(parent.side.name().to_owned()));
            assert_eq!(field(row, "window"), Field::Str(parent.window.name().to_owned()));
            assert_eq!(field(row, "exposed"), parent.exposed.map_or(Field::Null, Field::Bool));
            assert_eq!(field(row, "deadline_missed"), Field::Bool(parent.deadline_missed));
            assert_eq!(field(row, "qdl_ppm"), parent.qdl_ppm.map_or(Field::Null, Field::Long));
            let segment = &results.segments[parent.segment as usize];
            assert_eq!(field(row, "session_phase"), Field::Str(segment.session_phase.clone()));
        }
    }

    #[test]
    fn buckets_read_back_as_written() {
        let results = sample::results(2, 3, 10);
        let reader = written("buckets", |buffer| buckets_parquet(&results, buffer));
        let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), results.buckets.len());
        for (row, bucket) in rows.iter().zip(&results.buckets) {
            assert_eq!(field(row, "numa_hint_faults"), Field::ULong(bucket.counters.numa_hint_faults));
            assert_eq!(field(row, "regime"), Field::Str(bucket.regime.name().to_owned()));
            assert_eq!(field(row, "dcj_ppm"), bucket.dcj_ppm.map_or(Field::Null, Field::Long));
            assert_eq!(field(row, "latency_q50_ns"), bucket.latency_q50_ns.map_or(Field::Null, Field::ULong));
        }
    }

    #[test]
    fn metrics_and_uplifts_read_back_as_written() {
        let results = sample::results(2, 3, 30);
        let reader = written("metrics", |buffer| metrics_parquet(&results, buffer));
        let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), results.metrics.len());
        for (row, metrics) in rows.iter().zip(&results.metrics) {
            let segment = &results.segments[metrics.segment as usize];
            assert_eq!(field(row, "session_phase"), Field::Str(segment.session_phase.clone()));
            let faults = metrics.numa_hint_faults.map_or(Field::Null, Field::ULong);
            assert_eq!(field(row, "numa_hint_faults"), faults);
            assert_eq!(field(row, "qdl_sum_ppm"), Field::Long(metrics.qdl_sum_ppm));
        }
        assert!(results.metrics.iter().any(|row| row.rhf_ppm.is_none()), "a missing one is null");
        let reader = written("uplift", |buffer| uplift_parquet(&results, buffer));
        let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2 * 3 * (1 + 3), "choices, segments, all seeds and each");
        for (row, uplift) in rows.iter().zip(&results.uplifts) {
            assert_eq!(field(row, "seed"), uplift.seed.map_or(Field::Null, Field::ULong));
            assert_eq!(field(row, "ntu_micro_bp"), uplift.ntu_micro_bp.map_or(Field::Null, Field::Long));
        }
    }

    /// The columns are, in order, exactly the fields of the rows (with names for what rows hold as an index).
    #[test]
    fn no_field_of_a_row_is_left_out() {
        let results = sample::results(1, 1, 1);
        let fields = |value: serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let names: Vec<&str> = parent_columns(&results).iter().map(|column| column.name).collect();
        for field in fields(serde_json::to_value(&results.parents[0]).unwrap()) {
            let taken_apart = ["segment", "path", "diverged", "attribution"].contains(&field.as_str());
            assert!(names.contains(&field.as_str()) || taken_apart, "{field}");
        }
        let names: Vec<&str> = child_columns(&results).iter().map(|column| column.name).collect();
        for field in fields(serde_json::to_value(&results.children[0]).unwrap()) {
            assert!(names.contains(&field.as_str()) || field == "path", "{field}");
        }
        let names: Vec<&str> = bucket_columns(&results).iter().map(|column| column.name).collect();
        let mut bucket = fields(serde_json::to_value(&results.buckets[0]).unwrap());
        bucket.extend(fields(serde_json::to_value(results.buckets[0].counters).unwrap()));
        for field in bucket {
            assert!(names.contains(&field.as_str()) || field == "counters", "{field}");
        }
        let names: Vec<&str> = metric_columns(&results).iter().map(|column| column.name).collect();
        for field in fields(serde_json::to_value(&results.metrics[0]).unwrap()) {
            assert!(names.contains(&field.as_str()) || field == "segment", "{field}");
        }
        let names: Vec<&str> = uplift_columns(&results).iter().map(|column| column.name).collect();
        for field in fields(serde_json::to_value(&results.uplifts[0]).unwrap()) {
            assert!(names.contains(&field.as_str()) || field == "segment", "{field}");
        }
    }

    #[test]
    fn the_file_says_units_and_writer_and_splits_at_fixed_rows() {
        let results = sample::results(1, 2, ROW_GROUP / 2 + 1);
        let reader = written("units", |buffer| parents_parquet(&results, buffer));
        let metadata = reader.metadata();
        assert_eq!(metadata.file_metadata().created_by(), Some("numashock"));
        let sizes: Vec<i64> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(sizes, [ROW_GROUP as i64, 2]);
        let units = metadata.file_metadata().key_value_metadata().unwrap();
        assert_eq!(units.len(), metadata.file_metadata().schema().get_fields().len());
        let unit = units.iter().find(|unit| unit.key == "unit.is").unwrap();
        assert_eq!(unit.value.as_deref(), Some("half-tick-lots"));
    }
}
