//! What an import leaves behind, as text.

use std::fmt::Write as _;

use numashock_sim::counters::{Clock, Gap, NAMES};
use numashock_sim::metrics::BucketMetrics;
use serde_json::{Value, json};

use super::clock::{Known, Offset};
use super::columns::COLUMNS;
use super::join::{seconds, when};
use super::{Bucket, HostImport};

/// The columns of execution telemetry with what they hold, to be printed.
#[must_use]
pub fn columns_text() -> String {
    let mut text = "Execution telemetry of a desk: CSV or Parquet, a row an event, in order of time for each host.\n\
                    Mandatory are time_ns (or time: RFC 3339, or seconds) and event; what a desk does not have stays \
                    empty,\nand what is computed from it is then missing. Other columns are ignored.\n\n"
        .to_owned();
    for (name, about) in COLUMNS {
        writeln!(text, "{name:<22} {about}").expect("a text takes what is written");
    }
    text += "\nRHF and MCR come from the counters; DCJ and the Fano factor from send; QDL from ack; deadline misses and \
             NTU from\nparent; the clocks are compared by heartbeat.\n";
    text
}

/// A row for each bucket of a host; an empty cell is a missing value.
#[must_use]
pub fn buckets_csv(hosts: &[HostImport]) -> String {
    let mut text = String::from("host,session_phase,bucket_start_ns,bucket_length_ns");
    NAMES.iter().for_each(|name| text.extend([",", name]));
    text += METRICS;
    text += ",qdl_source,decisions,acks,fills,latency_q50_ns,latency_q99_ns,queue_wait_q50_ns,queue_wait_q99_ns,\
             round_trip_q50_ns,round_trip_q99_ns,markout_micro_bp\n";
    for (host, bucket) in each(hosts) {
        let mut cells = vec![
            quoted(&host.name),
            quoted(&bucket.phase),
            bucket.start.to_string(),
            bucket.length.to_string(),
        ];
        cells.extend(bucket.grown.iter().copied().map(cell));
        cells.extend(metrics(&bucket.metrics));
        let source = if bucket.qdl_is_estimate { "estimate" } else { "measured" };
        cells.push(bucket.metrics.qdl_ppm.map_or(String::new(), |_| source.to_owned()));
        let path = &bucket.path;
        cells.extend([path.decisions, path.acks, path.fills].map(|count| count.to_string()));
        for pair in [path.latency_ns, path.queue_wait_ns, path.round_trip_ns] {
            cells.extend([cell(pair.map(|pair| pair[0])), cell(pair.map(|pair| pair[1]))]);
        }
        cells.push(cell(path.markout_micro_bp));
        text += &cells.join(",");
        text.push('\n');
    }
    text
}

/// A row for each bucket and segment.
#[must_use]
pub fn segments_csv(hosts: &[HostImport]) -> String {
    let mut text =
        format!("host,strategy,symbol_liquidity,session_phase,bucket_start_ns,bucket_length_ns{METRICS}\n");
    for (host, bucket) in each(hosts) {
        for ([strategy, liquidity], of_segment) in host.segments.iter().zip(&bucket.segments) {
            let mut cells =
                [&host.name, strategy, liquidity, &bucket.phase].map(|name| quoted(name)).to_vec();
            cells.extend([bucket.start.to_string(), bucket.length.to_string()]);
            cells.extend(metrics(of_segment));
            text += &cells.join(",");
            text.push('\n');
        }
    }
    text
}

const METRICS: &str = ",rhf_ppm,hint_fault_rate_milli_hz,mcr_kib_per_s,interconnect_share_ppm,dcj_ppm,fano_ppm,qdl_ppm,\
    passive_children,releases,parents_ended,deadline_miss_ppm";

fn metrics(of: &BucketMetrics) -> Vec<String> {
    vec![
        cell(of.rhf_ppm),
        cell(of.hint_fault_rate_milli_hz),
        cell(of.mcr_kib_per_s),
        cell(of.interconnect_share_ppm),
        cell(of.dcj_ppm),
        cell(of.fano_ppm),
        cell(of.qdl_ppm),
        of.passive_children.to_string(),
        of.releases.to_string(),
        of.parents_ended.to_string(),
        cell(of.deadline_miss_ppm),
    ]
}

fn each(hosts: &[HostImport]) -> impl Iterator<Item = (&HostImport, &Bucket)> {
    hosts.iter().flat_map(|host| host.seconds.iter().chain(&host.fives).map(move |bucket| (host, bucket)))
}

fn cell(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
}

/// What was found, and the figures over all.
#[must_use]
pub fn summary_json(hosts: &[HostImport]) -> Value {
    let gaps = |gaps: &[Gap]| -> Vec<Value> {
        gaps.iter().map(|gap| json!({ "from_ns": gap.from, "until_ns": gap.until })).collect()
    };
    let of = |host: &HostImport| {
        let whole = Whole::of(host);
        json!({
            "host": host.name,
            "counters_file": host.counters_file,
            "clock": if host.clock == Clock::Unix { "unix" } else { "own" },
            "counters": host.counters,
            "knobs": host.knobs,
            "reading_every_ns": host.spacing_ns,
            "start_ns": host.seconds.first().map(|bucket| bucket.start),
            "seconds": host.seconds.len(),
            "fives": host.fives.len(),
            "offset": host.offset.map(offset_json),
            "counter_gaps": gaps(&host.counter_gaps),
            "telemetry_gaps": gaps(&host.telemetry_gaps),
            "falls": host.falls,
            "telemetry_rows": host.rows[0],
            "telemetry_rows_outside": host.rows[1],
            "parents": host.parents.len(),
            "parents_exposed": host.parents.iter().filter(|parent| parent.exposed == Some(true)).count(),
            "RHF": whole.rhf,
            "MCR_mib_per_s": whole.mcr,
            "DCJ": whole.dcj,
            "QDL": whole.qdl,
            "QDL_source": whole.qdl.map(|_| if whole.estimate { "estimate" } else { "measured" }),
            "fano": whole.fano,
            "NTU_bp": host.uplift.total,
            "NTU_by_segment": host.uplift.segments.iter().map(|row| json!({
                "strategy": row.segment[0], "symbol_liquidity": row.segment[1], "session_phase": row.phase,
                "exposed": row.row.exposed, "calm": row.row.calm, "unknown": row.row.unknown,
                "matched_exposed": row.row.matched_exposed, "matched_calm": row.row.matched_calm,
                "NTU_bp": row.row.ntu_micro_bp.map(|micro| micro as f64 / 1e6),
            })).collect::<Vec<_>>(),
            "notes": host.notes,
        })
    };
    json!({ "hosts": hosts.iter().map(of).collect::<Vec<_>>() })
}

fn offset_json(offset: Offset) -> Value {
    match offset.known {
        Known::Heartbeats { count, spread_ns } => {
            json!({ "ns": offset.ns, "known": "heartbeats", "heartbeats": count, "spread_ns": spread_ns })
        }
        Known::Bursts { correlation, otherwise } => json!({
            "ns": offset.ns, "known": "estimate from bursts; not applied", "correlation": correlation,
            "correlation_within_limit": otherwise,
        }),
        Known::Assumed => json!({ "ns": 0, "known": "assumed" }),
    }
}

/// The metrics of a host over all its buckets.
struct Whole {
    rhf: Option<f64>,
    mcr: Option<f64>,
    dcj: Option<f64>,
    fano: Option<f64>,
    qdl: Option<f64>,
    estimate: bool,
}

impl Whole {
    fn of(host: &HostImport) -> Whole {
        let seen = || host.seconds.iter().filter(|bucket| bucket.metrics.rhf_ppm.is_some());
        let sum = |name: &str| {
            let place = NAMES.iter().position(|known| *known == name).expect("a counter");
            seen().filter_map(|bucket| bucket.grown[place]).map(u128::from).sum::<u128>()
        };
        let faults = sum("numa_hint_faults");
        let remote = faults.saturating_sub(sum("numa_hint_faults_local"));
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let rates: Vec<f64> = host
            .seconds
            .iter()
            .filter_map(|bucket| bucket.metrics.mcr_kib_per_s)
            .map(|rate| rate as f64)
            .collect();
        let children: u64 = host.seconds.iter().map(|bucket| bucket.metrics.passive_children).sum();
        let lost: i128 = host.seconds.iter().map(|bucket| bucket.metrics.qdl_sum_ppm).sum();
        let median = |values: Vec<Option<u64>>| {
            let mut values: Vec<u64> = values.into_iter().flatten().collect();
            values.sort_unstable();
            numashock_sim::metrics::quantile(&values, 500_000).map(|ppm| ppm as f64 / 1e6)
        };
        Whole {
            rhf: seen().next().is_some().then(|| share(remote as f64, faults as f64)),
            mcr: (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64 / 1024.0),
            dcj: median(host.fives.iter().map(|bucket| bucket.metrics.dcj_ppm).collect()),
            fano: median(host.seconds.iter().map(|bucket| bucket.metrics.fano_ppm).collect()),
            qdl: (children > 0).then(|| lost as f64 / children as f64 / 1e6),
            estimate: host.seconds.iter().any(|bucket| bucket.qdl_is_estimate),
        }
    }
}

/// What is printed about an import.
#[must_use]
pub fn report(hosts: &[HostImport]) -> String {
    let mut text = String::new();
    for host in hosts {
        let name = if host.name.is_empty() { "host" } else { &host.name };
        let mut say = |line: String| {
            text += &line;
            text.push('\n');
        };
        say(format!(
            "{name}: {} buckets of 1 s and {} of 5 s, a reading each {} s, counters {}",
            host.seconds.len(),
            host.fives.len(),
            seconds(host.spacing_ns),
            if host.clock == Clock::Unix { "since 1970" } else { "by a clock of their own" }
        ));
        let whole = Whole::of(host);
        let shown = |value: Option<f64>, decimals: usize, unit: &str| {
            value.map_or("missing".to_owned(), |value| format!("{value:.decimals$}{unit}"))
        };
        say(format!(
            "  RHF {}   MCR {}   DCJ {}   Fano {}   QDL {}{}   NTU {}",
            shown(whole.rhf.map(|rhf| rhf * 100.0), 2, " %"),
            shown(whole.mcr, 3, " MiB/s"),
            shown(whole.dcj.map(|dcj| dcj * 100.0), 0, " %"),
            shown(whole.fano, 2, ""),
            shown(whole.qdl.map(|qdl| qdl * 100.0), 2, " %"),
            if whole.estimate { " (estimate)" } else { "" },
            shown(host.uplift.total, 2, " bp")
        ));
        if let Some(offset) = host.offset {
            say(format!("  desk's clock: {}", offset_text(offset)));
            say(format!("  telemetry: {} rows, {} outside all buckets", host.rows[0], host.rows[1]));
        }
        for (what, gaps) in [("reading", &host.counter_gaps), ("row of telemetry", &host.telemetry_gaps)] {
            for gap in gaps {
                say(format!("  gap: no {what} from {} to {}", when(gap.from), when(gap.until)));
            }
        }
        host.falls.iter().for_each(|fall| say(format!("  fell: {fall}")));
        host.notes.iter().for_each(|note| say(format!("  note: {note}")));
    }
    text
}

fn offset_text(offset: Offset) -> String {
    match offset.known {
        Known::Heartbeats { count, spread_ns } => format!(
            "{} s behind the counters' by {count} heartbeats, which differ by {} s; added",
            seconds(offset.ns),
            seconds(spread_ns)
        ),
        Known::Bursts { correlation, .. } => format!(
            "an estimate by bursts (correlation {correlation:.2}) is {} s behind the counters'; not added",
            seconds(offset.ns)
        ),
        Known::Assumed => "taken to be the counters'".to_owned(),
    }
}
