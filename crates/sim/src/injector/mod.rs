//! The injector: what is done to a run from outside, decided before the run and written down by it.
//!
//! ```text
//!   [disturbance.NAME] ─► Plan ─┐ seed
//!                               ├─────► Vec<Injected>, by time ─► the loop: machine, gateway, telemetry, feed
//!   injector_log = FILE ────────┘                             └─► RunResult::disturbances ─► disturbances.jsonl
//! ```
//!
//! Invariant: times depend on the seed and on the disturbance's own name alone, so that all worlds, and all choices that
//! share a disturbance, have it at the same nanosecond.

mod check;
mod clock;
mod gateway;
mod log;
mod run;

use numashock_engine::{Nanos, Seed, Span, sample};
use serde::{Deserialize, Serialize};

use crate::scenario::config::HostId;

pub(crate) use check::check;
pub(crate) use clock::DeskClock;
pub(crate) use gateway::{Gate, Line};
pub use log::{LogError, LogLine, read_log};
pub(crate) use run::Injecting;

/// Everything that can be done to a run from outside, in one closed list (plain data; units are in the names).
///
/// With a length it ends by itself; without, it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "parameters", rename_all = "snake_case", deny_unknown_fields)]
pub enum Disturbance {
    /// A thread is moved, as by `sched_setaffinity`; at the end it goes back to the CPU it came from.
    MoveThread {
        /// Its name.
        thread: String,
        /// Where to.
        cpu: u16,
    },
    /// Knobs of balancing change; at the end what the change covered comes to light again. A scanner storm is one with short
    /// periods and large scans.
    SetKnobs(KnobChange),
    /// A neighbour streams memory: a bandwidth hog.
    BatchLoad {
        /// Node of its CPUs.
        cpu_node: u8,
        /// Node of its memory.
        memory_node: u8,
        /// Megabytes a second. Without a length it replaces the pair's standing traffic, with one it comes on top.
        mbps: u64,
    },
    /// A batch job starts: it allocates pages and streams them.
    BatchJob {
        /// Node of its CPUs.
        cpu_node: u8,
        /// Node of its memory.
        memory_node: u8,
        /// Megabytes a second.
        mbps: u64,
        /// 4 KiB pages it occupies.
        pages: u64,
    },
    /// Others occupy memory of a node; migrations to a full node are refused.
    MemoryPressure {
        /// The node.
        node: u8,
        /// 4 KiB pages occupied.
        pages: u64,
    },
    /// Others take a share of every CPU: units of work and kernel work begun meanwhile last longer.
    Steal {
        /// The share, in parts per million.
        share_ppm: u32,
    },
    /// Interrupts hit a CPU at a fixed rate: what runs there waits for each.
    IrqStorm {
        /// The CPU.
        cpu: u16,
        /// From one interrupt to the next.
        period_ns: u64,
        /// How long each takes.
        busy_ns: u64,
    },
    /// The clock that stamps the desk's telemetry jumps.
    ClockStep {
        /// By how much; negative is back.
        step_ns: i64,
    },
    /// The host's counters cannot be read.
    TelemetryGap {},
    /// The session to the exchange is down: requests and reports wait for it.
    GatewayDisconnect {},
    /// The gateway lets requests through no faster than this.
    GatewayThrottle {
        /// From one request to the next.
        spacing_ns: u64,
    },
    /// Market data repeats itself: so many more quotes reach the dispatch thread within the length.
    MarketDataBurst {
        /// How many.
        messages: u32,
    },
}

/// A change of some knobs of balancing; `None` leaves a knob alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnobChange {
    /// `numa_balancing`: false is its 0, which ends tiering too; true adds the normal mode to what is on.
    pub balancing: Option<bool>,
    /// `scan_delay_ms`.
    pub scan_delay_ms: Option<u32>,
    /// `scan_period_min_ms`.
    pub scan_period_min_ms: Option<u32>,
    /// `scan_period_max_ms`.
    pub scan_period_max_ms: Option<u32>,
    /// `scan_size_mb`.
    pub scan_size_mb: Option<u32>,
}

impl Disturbance {
    /// Its name in scenarios, logs and messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Disturbance::MoveThread { .. } => "move_thread",
            Disturbance::SetKnobs(_) => "set_knobs",
            Disturbance::BatchLoad { .. } => "batch_load",
            Disturbance::BatchJob { .. } => "batch_job",
            Disturbance::MemoryPressure { .. } => "memory_pressure",
            Disturbance::Steal { .. } => "steal",
            Disturbance::IrqStorm { .. } => "irq_storm",
            Disturbance::ClockStep { .. } => "clock_step",
            Disturbance::TelemetryGap {} => "telemetry_gap",
            Disturbance::GatewayDisconnect {} => "gateway_disconnect",
            Disturbance::GatewayThrottle { .. } => "gateway_throttle",
            Disturbance::MarketDataBurst { .. } => "market_data_burst",
        }
    }
}

/// When a disturbance happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Once.
    At(Nanos),
    /// At `from + every`, `from + 2 × every` and so on, before `until`.
    Every {
        /// The period.
        every: Span,
        /// Where it counts from.
        from: Nanos,
        /// Where it ends; excluded.
        until: Nanos,
    },
    /// A Poisson process on `from..until`.
    Poisson {
        /// Events per 10⁹ seconds, at least one.
        per_gigasecond: u64,
        /// Where it begins.
        from: Nanos,
        /// Where it ends; excluded.
        until: Nanos,
    },
}

/// A disturbance of a scenario: what, how long and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name; it also names its random stream.
    pub name: String,
    /// When.
    pub timing: Timing,
    /// How long; `None`: it stays, or is over at once.
    pub length: Option<Span>,
    /// What.
    pub disturbance: Disturbance,
    /// Whom it befalls.
    pub host: HostId,
}

/// One disturbance of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// When.
    pub at: Nanos,
    /// Its name in the scenario.
    pub name: String,
    /// How long.
    pub length: Option<Span>,
    /// What.
    pub disturbance: Disturbance,
    /// Whom it befalls.
    pub host: HostId,
}

impl Injected {
    /// When it ends, if it does.
    pub(crate) fn until(&self) -> Option<Nanos> {
        self.length.map(|length| self.at + length)
    }
}

/// Where a run's disturbances come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The scenario's tables, by name.
    Plans(Vec<Plan>),
    /// The log of an earlier run: replication and disturbance, in order of time.
    Log(Vec<(u32, Injected)>),
}

impl Source {
    /// The disturbances of replication `index`, whose seed is `seed`, up to the end of the run, in order of time and name.
    #[must_use]
    pub fn schedule(&self, index: u32, seed: Seed, end: Nanos) -> Vec<Injected> {
        let mut list: Vec<Injected> = match self {
            Source::Log(lines) => {
                lines.iter().filter(|(of, _)| *of == index).map(|(_, line)| line.clone()).collect()
            }
            Source::Plans(plans) => plans.iter().flat_map(|plan| occurrences(plan, seed, end)).collect(),
        };
        list.retain(|injected| injected.at <= end);
        // Stable, so that equal times keep the order of names.
        list.sort_by_key(|injected| injected.at);
        list
    }

    /// Whether balancing is switched on at some time on a host.
    pub(crate) fn switches_balancing_on(&self, there: HostId) -> bool {
        let on = |host: HostId, disturbance: &Disturbance| {
            let on = matches!(disturbance, Disturbance::SetKnobs(KnobChange { balancing: Some(true), .. }));
            on && host == there
        };
        match self {
            Source::Plans(plans) => plans.iter().any(|plan| on(plan.host, &plan.disturbance)),
            Source::Log(lines) => lines.iter().any(|(_, line)| on(line.host, &line.disturbance)),
        }
    }
}

fn occurrences(plan: &Plan, seed: Seed, end: Nanos) -> Vec<Injected> {
    let times = match plan.timing {
        Timing::At(at) => vec![at],
        Timing::Every { every, from, until } => {
            let times = std::iter::successors(Some(from + every), |at| Some(*at + every));
            times.take_while(|at| *at < until && *at <= end).collect()
        }
        Timing::Poisson { per_gigasecond, from, until } => {
            poisson(&plan.name, seed, per_gigasecond, from, until.min(end))
        }
    };
    let injected = |at| Injected {
        at,
        name: plan.name.clone(),
        length: plan.length,
        disturbance: plan.disturbance.clone(),
        host: plan.host,
    };
    times.into_iter().map(injected).collect()
}

/// Times of a Poisson process. The stream bears the disturbance's name, so that other disturbances change nothing.
fn poisson(name: &str, seed: Seed, per_gigasecond: u64, from: Nanos, until: Nanos) -> Vec<Nanos> {
    /// Nanoseconds in 10⁹ seconds.
    const GIGASECOND: u128 = 1_000_000_000_000_000_000;
    let mut stream = seed.stream(&format!("injector.{name}"), 0);
    let mut times = Vec::new();
    let mut at = from;
    loop {
        // A unit exponential has 40 binary places and is below 2⁴⁶, so the product fits 128 bits.
        let unit = u128::from(sample::unit_exponential(&mut stream));
        let gap = (unit * (GIGASECOND / u128::from(per_gigasecond))) >> 40;
        let next = u64::try_from(gap).ok().and_then(|gap| at.0.checked_add(gap));
        match next {
            Some(next) if next < until.0 => at = Nanos(next),
            _ => return times,
        }
        times.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, timing: Timing) -> Plan {
        let disturbance = Disturbance::TelemetryGap {};
        Plan { name: name.to_owned(), timing, length: Some(Span::SECOND), disturbance, host: HostId(0) }
    }

    fn times(plans: Vec<Plan>, seed: u64) -> Vec<(u64, String)> {
        let end = Nanos(100_000_000_000);
        let list = Source::Plans(plans).schedule(0, Seed(seed), end);
        list.into_iter().map(|injected| (injected.at.0, injected.name)).collect()
    }

    const POISSON: Timing = Timing::Poisson {
        per_gigasecond: 2_000_000_000,
        from: Nanos(5_000_000_000),
        until: Nanos(95_000_000_000),
    };

    #[test]
    fn periods_count_from_their_start_and_stop_before_their_end() {
        let every = Timing::Every { every: Span(30), from: Nanos(10), until: Nanos(100) };
        let seen: Vec<u64> = times(vec![plan("a", every)], 1).into_iter().map(|(at, _)| at).collect();
        assert_eq!(seen, [40, 70]);
    }

    #[test]
    fn equal_times_are_in_order_of_name() {
        let at = Timing::At(Nanos(7));
        let earlier = Timing::At(Nanos(3));
        let seen = times(vec![plan("a", at), plan("b", at), plan("c", earlier)], 1);
        let names: Vec<&str> = seen.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
    }

    #[test]
    fn poisson_times_have_their_rate_and_stay_in_their_window() {
        let counts: Vec<usize> = (0..200).map(|seed| times(vec![plan("a", POISSON)], seed).len()).collect();
        let mean = counts.iter().sum::<usize>() / counts.len();
        // 2/s over 90 s: 180, with a standard error of about 1.
        assert!((176..=184).contains(&mean), "{mean}");
        let seen = times(vec![plan("a", POISSON)], 3);
        assert!(seen.iter().all(|(at, _)| (5_000_000_000..95_000_000_000).contains(at)), "{seen:?}");
        assert!(seen.is_sorted());
    }

    #[test]
    fn poisson_times_depend_on_seed_and_name_and_not_on_other_disturbances() {
        let alone = times(vec![plan("b", POISSON)], 1);
        assert_ne!(alone, times(vec![plan("b", POISSON)], 2));
        let mut beside = times(vec![plan("a", POISSON), plan("b", POISSON)], 1);
        let a: Vec<u64> = beside.iter().filter(|(_, name)| name == "a").map(|(at, _)| *at).collect();
        beside.retain(|(_, name)| name == "b");
        assert_eq!(beside, alone);
        assert!(!a.iter().eq(alone.iter().map(|(at, _)| at)), "another name, other times");
    }
}
