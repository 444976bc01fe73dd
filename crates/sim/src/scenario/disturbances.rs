//! `[disturbance.NAME]` tables and the injector's log, as what the injector does.

use std::collections::BTreeMap;
use std::io::BufReader;

use numashock_engine::Nanos;
use serde::{Deserialize, Serialize};

use super::config::{Host, HostId, TradingHost};
use super::document::ScenarioError;
use super::file::ScenarioFile;
use super::lower::{Origin, saturate};
use super::units::{Bandwidth, Rate, Share, Size, Time};
use crate::injector::{Disturbance, Injected, KnobChange, Plan, Source, Timing, check, read_log};

/// `[disturbance.NAME]`: one of `at`, `every` and `rate` says when, exactly one of the kinds says what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DisturbanceTable {
    /// `false` leaves it out.
    pub enabled: Option<bool>,
    /// The host it befalls; left out in a scenario of one host.
    pub host: Option<String>,
    /// Once, this long after the start of the run.
    pub at: Option<Time>,
    /// Again and again: the first one period after `from`.
    pub every: Option<Time>,
    /// At random, as a Poisson process of this rate.
    pub rate: Option<Rate>,
    /// Where `every` and `rate` begin; without it, at the start of the run.
    pub from: Option<Time>,
    /// Where they end; without it, at the end of the run.
    pub until: Option<Time>,
    /// How long each lasts; without it, it stays.
    pub length: Option<Time>,
    /// A thread is moved to another CPU.
    pub move_thread: Option<MoveThreadTable>,
    /// Knobs of balancing are changed: short periods and large scans are a scanner storm.
    pub set_knobs: Option<SetKnobsTable>,
    /// A neighbour streams memory: a bandwidth hog.
    pub batch_load: Option<BatchLoadTable>,
    /// A batch job allocates memory and streams it.
    pub batch_job: Option<BatchJobTable>,
    /// Others occupy memory.
    pub memory_pressure: Option<MemoryPressureTable>,
    /// Others take a share of every CPU.
    pub steal: Option<StealTable>,
    /// Interrupts hit a CPU.
    pub irq_storm: Option<IrqStormTable>,
    /// The clock of the desk's telemetry jumps.
    pub clock_step: Option<ClockStepTable>,
    /// The host's counters cannot be read.
    pub telemetry_gap: Option<NoTable>,
    /// The session to the exchange is down.
    pub gateway_disconnect: Option<NoTable>,
    /// The gateway limits the rate of requests.
    pub gateway_throttle: Option<GatewayThrottleTable>,
    /// Market data repeats itself.
    pub market_data_burst: Option<MarketDataBurstTable>,
}

/// `[disturbance.NAME] move_thread`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MoveThreadTable {
    /// Which thread.
    pub thread: String,
    /// Where to.
    pub cpu: u16,
}

/// `[disturbance.NAME] set_knobs`; what is not named stays as it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetKnobsTable {
    /// `numa_balancing`: false is its 0, which ends tiering too; true adds the normal mode to what is on.
    pub enabled: Option<bool>,
    /// `scan_delay_ms`.
    pub scan_delay: Option<Time>,
    /// `scan_period_min_ms`.
    pub scan_period_min: Option<Time>,
    /// `scan_period_max_ms`.
    pub scan_period_max: Option<Time>,
    /// `scan_size_mb`.
    pub scan_size: Option<Size>,
}

/// `[disturbance.NAME] batch_load`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatchLoadTable {
    /// Node its threads run on.
    pub cpu_node: u8,
    /// Node its memory lies on.
    pub memory_node: u8,
    /// How much it streams; zero ends it.
    pub bandwidth: Bandwidth,
}

/// `[disturbance.NAME] batch_job`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatchJobTable {
    /// Node its threads run on.
    pub cpu_node: u8,
    /// Node its memory lies on.
    pub memory_node: u8,
    /// How much it allocates there.
    pub size: Size,
    /// How much it streams.
    pub bandwidth: Bandwidth,
}

/// `[disturbance.NAME] memory_pressure`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPressureTable {
    /// The node.
    pub node: u8,
    /// How much of it is occupied; all that is installed leaves no page free.
    pub size: Size,
}

/// `[disturbance.NAME] steal`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StealTable {
    /// Share of every CPU.
    pub share: Share,
}

/// `[disturbance.NAME] irq_storm`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IrqStormTable {
    /// Which CPU.
    pub cpu: u16,
    /// Interrupts a second.
    pub rate: Rate,
    /// How long each keeps the CPU.
    pub busy: Time,
}

/// `[disturbance.NAME] clock_step`: one of the two.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClockStepTable {
    /// It jumps ahead by this.
    pub forward: Option<Time>,
    /// It is set back by this.
    pub backward: Option<Time>,
}

/// A kind that is told nothing more: `{}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NoTable {}

/// `[disturbance.NAME] gateway_throttle`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayThrottleTable {
    /// Requests a second at most, evenly.
    pub rate: Rate,
}

/// `[disturbance.NAME] market_data_burst`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MarketDataBurstTable {
    /// Quotes that the dispatch thread gets on top, spread over the length.
    pub messages: u32,
}

/// Nanoseconds in 10⁹ seconds.
const GIGASECOND: u64 = 1_000_000_000_000_000_000;
/// The longest run.
const LONGEST: u64 = 720 * 3_600_000_000_000;
/// Disturbances of one name in one run, as expected.
const MOST: u64 = 100_000;

/// The disturbances of one tuning choice.
pub(super) fn lower(
    file: &ScenarioFile,
    choice: &str,
    hosts: &[TradingHost],
    origin: Origin<'_>,
) -> Result<Source, ScenarioError> {
    let end = file.run.warmup.0.saturating_add(file.run.duration.0);
    let hosts: Vec<Named<'_>> = hosts.iter().map(|host| (host.name.as_str(), &host.host)).collect();
    let plans = plans(&file.disturbance, end, &hosts, origin)?;
    match &file.injector_log {
        None => Ok(Source::Plans(plans)),
        Some(log) => replayed(log, choice, &hosts, origin).map(Source::Log),
    }
}

/// A host under its name; the only one of a scenario has none.
pub(super) type Named<'a> = (&'a str, &'a Host);

/// The host that a name means.
fn named<'a>(name: Option<&str>, hosts: &[Named<'a>]) -> Result<(HostId, &'a Host), String> {
    let all = || hosts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    let found = match (name, hosts) {
        (None, [(_, only)]) => Some((0, *only)),
        (None, _) => return Err(format!("missing: say which host it befalls, one of {}", all())),
        (Some(_), [("", _)]) => {
            return Err("the scenario is the one host; remove the key, or add [host.NAME] tables".to_owned());
        }
        (Some(name), _) => {
            (0..).zip(hosts).find(|(_, (own, _))| *own == name).map(|(at, (_, host))| (at, *host))
        }
    };
    match found {
        Some((number, host)) => Ok((HostId(number), host)),
        None => Err(format!("no host \"{}\": one of {}", name.unwrap_or_default(), all())),
    }
}

/// The plans that tables make for a run of `end` nanoseconds.
pub(super) fn plans(
    tables: &BTreeMap<String, DisturbanceTable>,
    end: u64,
    hosts: &[Named<'_>],
    origin: Origin<'_>,
) -> Result<Vec<Plan>, ScenarioError> {
    let mut plans = Vec::new();
    for (name, table) in tables {
        let key = format!("disturbance.{name}");
        let (kind, disturbance) = kind(table, &key, origin)?;
        let length = table.length.map(Time::span);
        let (number, host) = named(table.host.as_deref(), hosts)
            .map_err(|problem| origin.error(&format!("{key}.host"), problem))?;
        check(&disturbance, length, host).map_err(|(part, problem)| {
            let place = match part {
                "" => format!("{key}.{kind}"),
                "length" => format!("{key}.length"),
                part => format!("{key}.{kind}.{part}"),
            };
            origin.error(&place, problem)
        })?;
        let timing = timing(table, end, &key, origin)?;
        if table.enabled != Some(false) {
            plans.push(Plan { name: name.clone(), timing, length, disturbance, host: number });
        }
    }
    Ok(plans)
}

/// What the log says of this choice. Of a choice that the log does not name, nothing happened to it.
fn replayed(
    log: &str,
    choice: &str,
    hosts: &[Named<'_>],
    origin: Origin<'_>,
) -> Result<Vec<(u32, Injected)>, ScenarioError> {
    let path = origin.path(log);
    let opened = std::fs::File::open(&path).map_err(|error| {
        origin.error("injector_log", format!("{} cannot be read: {error}", path.display()))
    })?;
    let at = |line: usize, problem: String| ScenarioError {
        file: path.clone(),
        line: Some(line),
        key: String::new(),
        problem,
    };
    let lines = read_log(BufReader::new(opened)).map_err(|error| at(error.line, error.problem))?;
    let mut list: Vec<(u32, Injected)> = Vec::new();
    for (number, line) in lines.into_iter().filter(|(_, line)| line.choice == choice) {
        if line.time_ns > LONGEST {
            return Err(at(number, "time_ns is beyond the longest run of 720h".to_owned()));
        }
        let seed = line.seed;
        let (host_number, host) =
            named(line.host.as_deref(), hosts).map_err(|problem| at(number, format!("host: {problem}")))?;
        let injected = line.injected(host_number);
        check(&injected.disturbance, injected.length, host).map_err(|(part, problem)| {
            let what = injected.disturbance.kind();
            let part = if part.is_empty() { String::new() } else { format!(" {part}") };
            at(number, format!("{what}{part}: {problem}"))
        })?;
        if list.last().is_some_and(|(of, last)| *of == seed && injected.at < last.at) {
            return Err(at(
                number,
                "lies before the line above; a run's lines are in order of time".to_owned(),
            ));
        }
        list.push((seed, injected));
    }
    Ok(list)
}

fn timing(
    table: &DisturbanceTable,
    end: u64,
    key: &str,
    origin: Origin<'_>,
) -> Result<Timing, ScenarioError> {
    let (from, until) = (table.from.map_or(0, |from| from.0), table.until.map_or(end, |until| until.0));
    let expected = match (table.at, table.every, table.rate) {
        (Some(at), None, None) => {
            let window = [("from", table.from), ("until", table.until)];
            if let Some((part, _)) = window.into_iter().find(|(_, given)| given.is_some()) {
                let problem = "belongs to every and rate: what happens at a time happens once";
                return Err(origin.error(&format!("{key}.{part}"), problem));
            }
            if at.0 > LONGEST {
                return Err(origin.error(&format!("{key}.at"), "is too late: expected at most 720h"));
            }
            return Ok(Timing::At(Nanos(at.0)));
        }
        (None, Some(every), None) => {
            if every.0 == 0 {
                return Err(
                    origin.error(&format!("{key}.every"), "must be longer than zero, such as \"10s\"")
                );
            }
            until.saturating_sub(from) / every.0
        }
        (None, None, Some(rate)) => {
            if rate.0 == 0 {
                return Err(origin.error(&format!("{key}.rate"), "must be more than zero, such as \"0.2/s\""));
            }
            let wide = u128::from(until.saturating_sub(from)) * u128::from(rate.0) / u128::from(GIGASECOND);
            u64::try_from(wide).unwrap_or(u64::MAX)
        }
        _ => {
            let problem = "expected exactly one of at (such as \"5s\"), every (\"10s\") and rate (\"0.2/s\", at random)";
            return Err(origin.error(key, problem));
        }
    };
    if until <= from || until > LONGEST {
        return Err(origin.error(&format!("{key}.until"), "expected a time after from, and at most 720h"));
    }
    if expected > MOST {
        let problem = format!("would happen about {expected} times in a run: expected at most {MOST}");
        return Err(origin.error(key, problem));
    }
    let (from, until) = (Nanos(from), Nanos(until));
    Ok(match (table.every, table.rate) {
        (Some(every), _) => Timing::Every { every: every.span(), from, until },
        (None, rate) => Timing::Poisson { per_gigasecond: rate.expect("matched above").0, from, until },
    })
}

/// The one kind that a table has.
fn kind(
    table: &DisturbanceTable,
    key: &str,
    origin: Origin<'_>,
) -> Result<(&'static str, Disturbance), ScenarioError> {
    let mut kinds: Vec<Disturbance> = machine_kinds(table).into_iter().flatten().collect();
    kinds.extend(other_kinds(table).into_iter().flatten());
    if let ([_], Some(ClockStepTable { forward: Some(_), backward: Some(_) })) =
        (kinds.as_slice(), &table.clock_step)
    {
        let problem = "expected exactly one of forward and backward";
        return Err(origin.error(&format!("{key}.clock_step"), problem));
    }
    match <[Disturbance; 1]>::try_from(kinds) {
        Ok([only]) => Ok((only.kind(), only)),
        Err(_) => {
            let problem = "expected exactly one of move_thread, set_knobs, batch_load, batch_job, memory_pressure, \
                           steal, irq_storm, clock_step, telemetry_gap, gateway_disconnect, gateway_throttle and \
                           market_data_burst";
            Err(origin.error(key, problem))
        }
    }
}

fn machine_kinds(table: &DisturbanceTable) -> [Option<Disturbance>; 7] {
    let millis = |time: Option<Time>| time.map(|time| saturate(time.0 / 1_000_000));
    [
        table
            .move_thread
            .as_ref()
            .map(|moved| Disturbance::MoveThread { thread: moved.thread.clone(), cpu: moved.cpu }),
        table.set_knobs.as_ref().map(|knobs| {
            Disturbance::SetKnobs(KnobChange {
                balancing: knobs.enabled,
                scan_delay_ms: millis(knobs.scan_delay),
                scan_period_min_ms: millis(knobs.scan_period_min),
                scan_period_max_ms: millis(knobs.scan_period_max),
                scan_size_mb: knobs.scan_size.map(|size| saturate(size.0 >> 20)),
            })
        }),
        table.batch_load.as_ref().map(|load| Disturbance::BatchLoad {
            cpu_node: load.cpu_node,
            memory_node: load.memory_node,
            mbps: load.bandwidth.0,
        }),
        table.batch_job.as_ref().map(|job| Disturbance::BatchJob {
            cpu_node: job.cpu_node,
            memory_node: job.memory_node,
            mbps: job.bandwidth.0,
            pages: job.size.pages(),
        }),
        table.memory_pressure.as_ref().map(|pressure| Disturbance::MemoryPressure {
            node: pressure.node,
            pages: pressure.size.pages(),
        }),
        table.steal.as_ref().map(|steal| Disturbance::Steal { share_ppm: steal.share.ppm() }),
        table.irq_storm.as_ref().map(|storm| Disturbance::IrqStorm {
            cpu: storm.cpu,
            period_ns: GIGASECOND.checked_div(storm.rate.0).unwrap_or(u64::MAX),
            busy_ns: storm.busy.0,
        }),
    ]
}

fn other_kinds(table: &DisturbanceTable) -> [Option<Disturbance>; 5] {
    let signed = |time: Option<Time>| i64::try_from(time.map_or(0, |time| time.0)).unwrap_or(i64::MAX);
    [
        table
            .clock_step
            .as_ref()
            .map(|step| Disturbance::ClockStep { step_ns: signed(step.forward) - signed(step.backward) }),
        table.telemetry_gap.as_ref().map(|_| Disturbance::TelemetryGap {}),
        table.gateway_disconnect.as_ref().map(|_| Disturbance::GatewayDisconnect {}),
        table.gateway_throttle.as_ref().map(|throttle| Disturbance::GatewayThrottle {
            spacing_ns: GIGASECOND.checked_div(throttle.rate.0).unwrap_or(u64::MAX),
        }),
        table
            .market_data_burst
            .as_ref()
            .map(|burst| Disturbance::MarketDataBurst { messages: burst.messages }),
    ]
}
