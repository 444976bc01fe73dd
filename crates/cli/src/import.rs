//! `import`: counters of real or simulated hosts and the execution telemetry of a desk, joined and measured.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use numashock_controller::Regime;
use numashock_experiment::import::{
    self, BUCKET_COLUMNS, HostCounters, HostImport, ImportError, Options, Telemetry,
};
use numashock_report::{ResultsFolder, read_table};
use numashock_sim::BUCKET;
use numashock_sim::counters::{NAMES, Slack};
use numashock_sim::metrics::ExposureThresholds;
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::scenario::units::{Share, Time};
use serde_json::json;

use crate::args::parse_time;
use crate::output::say;
use crate::steering::wire::{
    self, ActionsLine, RegimeLine, STREAM, SeenLine, StreamHeader, StreamHost, StreamLine,
};

pub(crate) const HELP: &str = "Example: numashock import --counters desk.csv --telemetry orders.csv --out imported\n\n\
    Counters are what numashock record, host --csv or the kernel lab wrote, the buckets.parquet of a results folder, or\n\
    snapshots of /proc/vmstat, each after a line with its time, plain or gzip:\n\n  \
    while sleep 0.1; do date +%s.%N; grep -E '^(numa|pgmigrate|pgpromote)_' /proc/vmstat; done > desk.txt\n\n\
    A bucket takes the growth between the readings nearest to its two ends. Execution telemetry is a row an event; --columns\n\
    lists what it may hold. Clocks that differ, gaps and counters that fell are reported, and refused past a limit.\n\n\
    OUT holds buckets.csv, segments.csv, observations.jsonl (what a controller would have seen), summary.json and, with\n\
    --controller, decisions.jsonl (what it would have decided).";

/// What to import, and what to refuse.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Counters of a host: a file or a results folder. Several hosts have names; repeat it.
    #[arg(long, value_name = "[HOST=]FILE", required_unless_present = "columns")]
    counters: Vec<String>,
    /// Execution telemetry: CSV (plain or gzip) or Parquet.
    #[arg(long, value_name = "T.csv|T.parquet")]
    telemetry: Option<PathBuf>,
    /// Folder for what comes out; it must not exist or be empty. Default: only print.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Of a results folder, this tuning choice. Default: the first.
    #[arg(long)]
    choice: Option<String>,
    /// Of a results folder, this replication.
    #[arg(long, default_value_t = 0)]
    replication: u64,
    /// What is to be added to the desk's times to give the counters', such as 1.5s or -37s.
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true, value_parser = parse_offset)]
    offset: i64,
    /// Refuse clocks that differ by more, after --offset.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_time)]
    max_offset: Time,
    /// Refuse a time without a reading, or without a row of telemetry, that is longer.
    #[arg(long, value_name = "TIME", default_value = "1min", value_parser = parse_time)]
    max_gap: Time,
    /// Refuse more counters that fell (a reboot, a counter that wrapped); a bucket in which one fell is missing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_falls: usize,
    /// How far from the end of a bucket its reading may lie, as a share of its length, at most 50%.
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = parse_slack)]
    slack: Slack,
    /// Bytes of a page.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    page_bytes: u64,
    /// Bandwidth of the interconnect in MB/s, for MCR as a share of it.
    #[arg(long, value_name = "MB/S", default_value_t = 0, hide_default_value = true)]
    interconnect: u64,
    /// Lots a second that join a queue, to estimate QDL from the delay of acknowledged children.
    #[arg(long, value_name = "LOTS/S", value_parser = parse_rate)]
    queue_rate: Option<u64>,
    /// For NTU: a parent is exposed if a second of its life has a higher RHF.
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = parse_share)]
    exposed_rhf: Share,
    /// Or a higher MCR, KiB/s.
    #[arg(long, value_name = "KIB/S", default_value_t = 1_024)]
    exposed_mcr: u64,
    /// A TOML file with the keys of the controller table: write what it would have decided.
    #[arg(long, value_name = "FILE.toml", requires = "out")]
    controller: Option<PathBuf>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Print the columns of execution telemetry and import nothing.
    #[arg(long)]
    columns: bool,
}

/// Imports, prints and writes.
pub(crate) fn run(arguments: &ImportArgs) -> Result<ExitCode, Box<dyn Error>> {
    if arguments.columns {
        say(&import::columns_text())?;
        return Ok(ExitCode::SUCCESS);
    }
    let controller = arguments.controller.as_deref().map(ControllerConfig::read).transpose()?;
    let folder = arguments.out.as_ref().map(ResultsFolder::create).transpose()?;
    let mut hosts = Vec::new();
    for given in &arguments.counters {
        hosts.extend(counters(given, arguments)?);
    }
    check_names(&hosts)?;
    let telemetry = arguments.telemetry.as_deref().map(telemetry).transpose()?;
    let imported = import::import(hosts, telemetry.as_ref(), &options(arguments, controller.as_ref()))?;
    let summary = import::summary_json(&imported);
    if let Some(folder) = folder {
        folder.add("buckets.csv", import::buckets_csv(&imported).as_bytes())?;
        folder.add("segments.csv", import::segments_csv(&imported).as_bytes())?;
        folder.add("observations.jsonl", observations(&imported).as_bytes())?;
        folder.add("summary.json", format!("{}\n", serde_json::to_string_pretty(&summary)?).as_bytes())?;
        if let Some(controller) = &controller {
            folder.add("decisions.jsonl", decisions(&imported, controller)?.as_bytes())?;
        }
        folder.publish()?;
    }
    if arguments.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    } else {
        say(&import::report(&imported))?;
        if let Some(out) = &arguments.out {
            say(&format!("Imported: {}\n", out.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &ImportArgs, controller: Option<&ControllerConfig>) -> Options {
    let watch = controller.map(|controller| controller.limits.watch);
    let exposure = ExposureThresholds {
        rhf_ppm: u32::try_from(watch.map_or(arguments.exposed_rhf.0, |watch| watch.rhf_ppm.enter))
            .unwrap_or(u32::MAX),
        mcr_kib_per_s: watch.map_or(arguments.exposed_mcr, |watch| watch.mcr_kib_per_s.enter),
    };
    let signed = |time: Time| i64::try_from(time.0).unwrap_or(i64::MAX);
    Options {
        slack: arguments.slack,
        offset_ns: arguments.offset,
        max_offset_ns: signed(arguments.max_offset),
        max_gap_ns: signed(arguments.max_gap),
        max_falls: arguments.max_falls,
        page_bytes: arguments.page_bytes,
        interconnect_bytes_per_s: arguments.interconnect.saturating_mul(1_000_000),
        queue_rate_milli: arguments.queue_rate,
        exposure,
    }
}

/// The counters of `[HOST=]FILE`, of which a results folder may hold several hosts.
fn counters(given: &str, arguments: &ImportArgs) -> Result<Vec<HostCounters>, Box<dyn Error>> {
    let whole = Path::new(given);
    let (name, path) = match given.split_once('=') {
        Some((name, path)) if !whole.exists() => (name, Path::new(path)),
        _ => ("", whole),
    };
    let table = if path.is_dir() { path.join("buckets.parquet") } else { path.to_path_buf() };
    if !is_parquet(&table) {
        return Ok(vec![import::counters(name, &table)?]);
    }
    let wanted: Vec<&str> = BUCKET_COLUMNS.into_iter().chain(NAMES).collect();
    let rows = read_table(&table, Some(&wanted))?;
    let file = table.display().to_string();
    let choice = arguments.choice.as_deref();
    let mut hosts =
        import::counters_of_buckets(&file, &rows.columns, &rows.rows, choice, arguments.replication)?;
    let scenario = std::fs::read_to_string(table.with_file_name("scenario.toml")).unwrap_or_default();
    for host in &mut hosts {
        host.knobs = import::knobs_of_scenario(&scenario);
    }
    if !name.is_empty() {
        hosts.retain(|host| host.name == name);
        if hosts.is_empty() {
            return Err(format!("--counters {given}: {file} has no host of that name").into());
        }
    }
    Ok(hosts)
}

fn check_names(hosts: &[HostCounters]) -> Result<(), Box<dyn Error>> {
    let mut names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let problem = if pair[0].is_empty() {
            "several hosts: give each a name, --counters NAME=FILE".to_owned()
        } else {
            format!("--counters {}=...: twice; give each host once", pair[0])
        };
        return Err(problem.into());
    }
    Ok(())
}

fn telemetry(path: &Path) -> Result<Telemetry, Box<dyn Error>> {
    let file = path.display().to_string();
    if !is_parquet(path) {
        return Ok(Telemetry::parse(&file, &import::read_text(path)?)?);
    }
    let known: Vec<&str> = import::COLUMNS.iter().map(|(name, _)| *name).chain(["time"]).collect();
    let table = read_table(path, Some(&known))?;
    let rows =
        table.rows.into_iter().enumerate().map(|(index, cells)| Ok::<_, ImportError>((index + 1, cells)));
    Ok(Telemetry::from_rows(&file, &table.columns, rows)?)
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

/// A line a second and host: what a controller would have seen.
fn observations(hosts: &[HostImport]) -> String {
    let mut text = String::new();
    for host in hosts {
        for (bucket, (seen, second)) in host.observations.iter().zip(&host.seconds).enumerate() {
            let line = json!({
                "host": host.name, "bucket": bucket, "start_ns": second.start, "seen": SeenLine::of(seen),
            });
            text += &format!("{line}\n");
        }
    }
    text
}

/// What a built-in controller would have decided, as a stream of decisions.
fn decisions(hosts: &[HostImport], controller: &ControllerConfig) -> Result<String, Box<dyn Error>> {
    let written = serde_json::to_value(controller.kind)?.as_str().unwrap_or_default().to_owned();
    let stream_host = |host: &HostImport| StreamHost {
        host: host.name.clone(),
        controller: written.clone(),
        limits: controller.limits,
    };
    let header =
        StreamHeader { stream: STREAM, bucket_ns: BUCKET.0, hosts: hosts.iter().map(stream_host).collect() };
    let mut text = wire::line(&header) + "\n";
    let policy = controller.policy();
    for host in hosts {
        let mut regime = Regime::STABLE;
        for (bucket, seen) in (0..).zip(&host.observations) {
            let (next, actions) = policy(&controller.limits, regime, seen);
            regime = next;
            text += &wire::line(&StreamLine {
                run: 0,
                host: host.name.clone(),
                bucket,
                seen: SeenLine::of(seen),
                regime: RegimeLine::of(regime),
                actions: Some(ActionsLine::of(&actions)),
            });
            text.push('\n');
        }
    }
    Ok(text)
}

/// A time that may be negative.
fn parse_offset(text: &str) -> Result<i64, String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let nanos =
        i64::try_from(parse_time(digits)?.0).map_err(|_| "expected less than 292 years".to_owned())?;
    Ok(if negative { -nanos } else { nanos })
}

fn parse_share(text: &str) -> Result<Share, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn parse_slack(text: &str) -> Result<Slack, String> {
    let share = u32::try_from(parse_share(text)?.0).unwrap_or(u32::MAX);
    if share > Slack::MOST.0 {
        return Err("expected at most 50%, half a bucket".to_owned());
    }
    Ok(Slack(share))
}

fn parse_rate(text: &str) -> Result<u64, String> {
    import::milli(text)
        .ok_or_else(|| "expected lots a second with at most three decimals, such as 12.5".to_owned())
}
