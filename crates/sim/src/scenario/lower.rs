//! From the file's words to the core's types, with every check that needs more than one key.

use std::path::Path;

use numashock_book::Lots;
use numashock_controller::{ActionLimits, Band, Limits, ScannerRequest, Thresholds};
use numashock_engine::{Nanos, Seed, Span};
use numashock_execution::ParentsConfig;
use toml::Table;

use super::config::{ActionDelay, Gateway, Parents, RateLimit, RunConfig, TradingHost};
use super::document::{Document, ScenarioError};
use super::file::{ControllerTable, DelayTable, GatewayTable, LimitsTable, ParentsTable, ScenarioFile};
use super::preset::{Preset, PresetRef};
use super::several::{self, Read};
use super::{disturbances, flows, host, listed};

/// The place in a document where a table was written, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// The scenario's text.
    pub(super) document: &'a Document,
    /// `choice[k].set` for an overlay.
    pub(super) overlay: Option<&'a str>,
}

impl Origin<'_> {
    /// An error at a key, found in the overlay if it was written there.
    pub(super) fn error(&self, key: &str, problem: impl Into<String>) -> ScenarioError {
        self.document.error_in(self.overlay, key, problem)
    }

    /// A path of the scenario, relative to the folder it lies in.
    pub(super) fn path(&self, file: &str) -> std::path::PathBuf {
        self.document.folder().join(file)
    }
}

/// Lowers a scenario as tuning choice `choice`; `assumed_ppm` multiplies every cost that is marked assumed.
pub(super) fn lower(
    (file, table): (&ScenarioFile, &Table),
    choice: &str,
    origin: Origin<'_>,
    assumed_ppm: u64,
) -> Result<RunConfig, ScenarioError> {
    let run = &file.run;
    if run.duration.0 == 0 {
        return Err(origin.error("run.duration", "must be longer than zero, such as \"60s\""));
    }
    if run.seeds == 0 {
        return Err(origin.error("run.seeds", "must be at least 1"));
    }
    check_bounds(file, origin)?;
    if run.duration < run.transient {
        return Err(origin.error("run.transient", "is longer than run.duration; shorten it"));
    }
    if (run.warmup.0 + run.duration.0) % 1_000_000_000 != 0 {
        return Err(origin.error(
            "run.duration",
            "warmup + duration must be whole seconds, the length of a telemetry bucket",
        ));
    }
    let read = Read { file, table, origin };
    let hosts = several::hosts(read, assumed_ppm)?;
    let symbols = several::symbols(read)?;
    let recorded = several::any_recorded(&symbols);
    let phases = flows::phases(file.session.as_ref(), run.warmup.span(), recorded, origin)?;
    let strategies = several::strategies(read, &hosts, &symbols, &phases)?;
    Ok(RunConfig {
        seed: Seed(run.seed),
        seeds: run.seeds,
        warmup: run.warmup.span(),
        duration: run.duration.span(),
        transient: run.transient.span(),
        injector: disturbances::lower(file, choice, &hosts, origin)?,
        hosts,
        symbols,
        phases,
        strategies,
    })
}

/// The host that a scenario describes.
pub(super) fn trading_host(
    file: &ScenarioFile,
    origin: Origin<'_>,
    assumed_ppm: u64,
) -> Result<TradingHost, ScenarioError> {
    let (host, preset) = host::lower(file, origin, assumed_ppm)?;
    Ok(TradingHost {
        name: String::new(),
        host,
        gateway: Gateway {
            latency: file.gateway.latency.span(),
            sigma_ppm: file.gateway.sigma.ppm(),
            report_latency: file.gateway.report_latency.span(),
            rate_limit: rate_limit(&file.gateway, origin)?,
        },
        controller: file.controller.kind,
        limits: limits(&file.controller, "controller.limits", origin)?,
        delay: delay(&file.controller, "controller.delay", origin)?.unwrap_or_default(),
        interconnect_mbps: preset.interconnect.value.0,
        costs: preset.lines(),
    })
}

/// Upper limits that keep every sum within its integers and every run within reason.
pub(super) fn check_bounds(file: &ScenarioFile, origin: Origin<'_>) -> Result<(), ScenarioError> {
    const HOUR: u64 = 3_600_000_000_000;
    let gateway = &file.gateway;
    let tactic = &file.tactic;
    let times = [
        ("run.warmup", file.run.warmup.0, 720 * HOUR, "720h"),
        ("run.duration", file.run.duration.0, 720 * HOUR, "720h"),
        ("gateway.latency", gateway.latency.0, HOUR, "1h"),
        ("gateway.report_latency", gateway.report_latency.0, HOUR, "1h"),
        ("gateway.sigma", gateway.sigma.0, 3_000_000, "300%"),
        ("market.feed_latency", file.market.feed_latency.0, HOUR, "1h"),
        ("tactic.patience", tactic.patience.0, 720 * HOUR, "720h"),
        ("tactic.catch_up", tactic.catch_up.0, 720 * HOUR, "720h"),
        ("tactic.child_spacing", tactic.child_spacing.0, HOUR, "1h"),
        ("work.quote.compute", file.work.quote.compute.0, HOUR, "1h"),
        ("work.report.compute", file.work.report.compute.0, HOUR, "1h"),
        ("work.timer.compute", file.work.timer.compute.0, HOUR, "1h"),
        ("run.seeds", u64::from(file.run.seeds), 1_000_000, "1000000"),
    ];
    for (key, value, most, text) in times {
        if value > most {
            return Err(origin.error(key, format!("is too large: expected at most {text}")));
        }
    }
    Ok(())
}

fn rate_limit(gateway: &GatewayTable, origin: Origin<'_>) -> Result<Option<RateLimit>, ScenarioError> {
    let Some(limit) = &gateway.rate_limit else { return Ok(None) };
    if limit.requests == 0 || limit.requests > 1_000_000 {
        let problem = "expected 1 to 1000000 requests; leave rate_limit out if there is no limit";
        return Err(origin.error("gateway.rate_limit.requests", problem));
    }
    if limit.per.0 == 0 || limit.per.0 > 3_600_000_000_000 {
        return Err(origin.error("gateway.rate_limit.per", "expected above zero and at most \"1h\""));
    }
    Ok(Some(RateLimit { requests: limit.requests, per: limit.per.span() }))
}

/// Reads the preset that the scenario holds or names at `key`, and scales what is assumed.
pub(super) fn preset(
    reference: &PresetRef,
    key: &str,
    origin: Origin<'_>,
    assumed_ppm: u64,
) -> Result<Preset, ScenarioError> {
    let (document, mut preset) = match reference {
        PresetRef::Inline(preset) => (None, (**preset).clone()),
        PresetRef::File(file) => {
            let (document, preset) = read_preset(&origin.path(file))?;
            (Some(document), preset)
        }
    };
    preset.scale_assumed(assumed_ppm);
    match preset.problem() {
        None => Ok(preset),
        Some((at, problem)) => Err(match document {
            Some(document) => document.error(&at, problem),
            None => origin.error(&format!("{key}.{at}"), problem),
        }),
    }
}

/// Reads a preset file.
pub(super) fn read_preset(path: &Path) -> Result<(Document, Preset), ScenarioError> {
    let document = Document::read(path)?;
    let preset = document.deserialize(document.table().clone(), None)?;
    Ok((document, preset))
}

/// The orders of a strategy.
pub(super) fn parents(file: &ScenarioFile, origin: Origin<'_>) -> Result<Parents, ScenarioError> {
    let parents = read_parents(file, origin)?;
    let count = match &parents {
        Parents::Generated(parents) => u64::from(parents.count),
        Parents::Listed(parents) => parents.len() as u64,
    };
    if count * u64::from(file.tactic.slices) > 10_000_000 {
        let problem =
            format!("{count} parents of so many slices are more than 10000000 children; lower one of them");
        return Err(origin.error("tactic.slices", problem));
    }
    Ok(parents)
}

fn read_parents(file: &ScenarioFile, origin: Origin<'_>) -> Result<Parents, ScenarioError> {
    let duration = file.run.duration.span();
    match &file.parents {
        ParentsTable::Generated(table) => {
            let [least, most] = table.quantity;
            if least == 0 || most < least || most > 1_000_000_000 {
                return Err(origin.error(
                    "parents.quantity",
                    "expected [least, greatest] with 1 ≤ least ≤ greatest ≤ 10⁹",
                ));
            }
            let [shortest, longest] = table.horizon.map(super::units::Time::span);
            if shortest == Span::ZERO || longest < shortest || duration < longest {
                let problem = "expected [shortest, longest] with 0 < shortest ≤ longest ≤ run.duration";
                return Err(origin.error("parents.horizon", problem));
            }
            if table.count == 0 || table.count > 100_000 {
                return Err(origin.error("parents.count", "expected 1 to 100000"));
            }
            Ok(Parents::Generated(ParentsConfig {
                count: table.count,
                quantity: (Lots(least), Lots(most)),
                horizon: (shortest, longest),
            }))
        }
        ParentsTable::File(name) => {
            let path = origin.path(name);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                origin.error("parents", format!("{} cannot be read: {error}", path.display()))
            })?;
            listed::parse(&path, &text, Nanos::ZERO + duration).map(Parents::Listed)
        }
    }
}

/// The limits of a controller's table, which stand below `key`.
pub(super) fn limits(
    table: &ControllerTable,
    key: &str,
    origin: Origin<'_>,
) -> Result<Limits, ScenarioError> {
    let LimitsTable { scan_delay, scan_size, .. } = table.limits;
    if scan_delay.0 % 1_000_000 != 0 || !(1..=3_600_000).contains(&(scan_delay.0 / 1_000_000)) {
        let problem = "expected whole milliseconds from 1ms to 1h, as the kernel's knob has them";
        return Err(origin.error(&format!("{key}.scan_delay"), problem));
    }
    if scan_size.0 % (1 << 20) != 0 || !(1..=65_536).contains(&(scan_size.0 >> 20)) {
        let problem = "expected whole mebibytes from 1MiB to 64GiB, as the kernel's knob has them";
        return Err(origin.error(&format!("{key}.scan_size"), problem));
    }
    let limits = to_limits(&table.limits);
    limits
        .validate()
        .map_err(|error| origin.error(&format!("{key}.{}", error.key), error.problem().to_string()))?;
    Ok(limits)
}

/// The delay of a controller's table, which stands below `key`, if it says one.
pub(super) fn delay(
    table: &ControllerTable,
    key: &str,
    origin: Origin<'_>,
) -> Result<Option<ActionDelay>, ScenarioError> {
    let Some(DelayTable { execution, host }) = table.delay else { return Ok(None) };
    for (name, time) in [("execution", execution), ("host", host)] {
        if time.0 > 3_600_000_000_000 {
            let problem = "is too large: expected at most \"1h\"";
            return Err(origin.error(&format!("{key}.{name}"), problem));
        }
    }
    Ok(Some(ActionDelay { execution: execution.span(), host: host.span() }))
}

fn to_limits(table: &LimitsTable) -> Limits {
    let band = |enter: u64, exit: u64| Band { enter, exit };
    let thresholds = |at: usize| Thresholds {
        rhf_ppm: band(table.rhf[at].0, table.rhf[at + 1].0),
        mcr_kib_per_s: band(table.mcr_kib_per_s[at], table.mcr_kib_per_s[at + 1]),
        dcj_ppm: band(table.dcj[at].0, table.dcj[at + 1].0),
    };
    Limits {
        watch: thresholds(0),
        shock: thresholds(2),
        qdl_ppm: band(table.qdl[0].0, table.qdl[1].0),
        deadline_miss_ppm: band(table.deadline_miss[0].0, table.deadline_miss[1].0),
        dwell: table.dwell,
        shock_limit: table.shock_limit,
        release: table.release,
        stale_limit: table.stale_limit,
        actions: ActionLimits {
            child_spacing_ppm: table.child_spacing.ppm(),
            min_reprice_interval_ns: table.min_reprice_interval.0,
            participation_cap_ppm: table.participation_cap.ppm(),
            scanner: ScannerRequest {
                scan_delay_ms: saturate(table.scan_delay.0 / 1_000_000),
                scan_size_mb: saturate(table.scan_size.0 >> 20),
            },
            balancing_off_permitted: table.balancing_off_permitted,
        },
    }
}

/// A number that the kernel keeps in 32 bits.
pub(super) fn saturate(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
