//! The scenario file as it is written: public fields, no defaults, unknown keys refused.

use std::collections::BTreeMap;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

pub use super::disturbances::DisturbanceTable;
pub use super::flows::{HawkesTable, LotsTable, QueueReactiveTable, SessionTable};
use super::preset::PresetRef;
use super::several::{NamedTables, StrategyTable};
use super::spread::Spread;
pub use super::tactic::TacticTable;
use super::units::{Bandwidth, Rate, Share, Size, Time};

/// A scenario without its tuning choices: everything that one run needs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// A name for tables and pictures.
    pub name: String,
    /// What the scenario is about, for a reader.
    pub description: String,
    /// How long, how often, from which seed.
    pub run: RunTable,
    /// The simulated machine; exactly one of `machine` and `recording` is given.
    pub machine: Option<MachineTable>,
    /// A recording of a machine's counters, instead of the machine.
    pub recording: Option<RecordingTable>,
    /// Memory regions of the trading process, by name.
    #[serde(default)]
    pub region: BTreeMap<String, RegionTable>,
    /// Threads of the trading process, by name; the one called `dispatch` serves the messages.
    #[serde(default)]
    pub thread: BTreeMap<String, ThreadTable>,
    /// What is done to the run from outside, by name.
    #[serde(default)]
    pub disturbance: BTreeMap<String, DisturbanceTable>,
    /// The `disturbances.jsonl` of an earlier run, relative to the scenario: what it did is done again, run by run, instead
    /// of what the tables say.
    pub injector_log: Option<String>,
    /// Units of work of the dispatch thread.
    pub work: WorkTables,
    /// The order flow.
    pub market: MarketTable,
    /// Phases of the session, which scale a synthetic flow; absent: one phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionTable>,
    /// The way to the exchange and back.
    pub gateway: GatewayTable,
    /// The orders to be worked.
    pub parents: ParentsTable,
    /// How they are worked.
    pub tactic: TacticTable,
    /// What watches and intervenes.
    pub controller: ControllerTable,
    /// Hosts by name: what each differs in from the tables above. Absent: the scenario is the one host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host: NamedTables,
    /// Symbols by name: what each differs in from `[market]`, and its `liquidity` bucket. Absent: one symbol.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub symbol: NamedTables,
    /// Strategies by name. Absent: `[parents]` and `[tactic]` are the one strategy's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strategy: BTreeMap<String, StrategyTable>,
}

/// `[run]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RunTable {
    /// Seed of the whole experiment.
    pub seed: u64,
    /// Replications; each has its own flow, parents and touches.
    pub seeds: u32,
    /// Time before the first parent may arrive.
    pub warmup: Time,
    /// Time in which parents arrive and end.
    pub duration: Time,
    /// How much of `duration` counts as the transient window; parents that arrive in it are reported apart.
    pub transient: Time,
    /// Whether the process is fresh or has settled.
    pub start: Start,
}

/// The state in which the trading process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Just started: memory where the scenario puts it, scan periods at their start.
    Cold,
    /// Long running: scan periods at their maximum, and pages under the default policy on the dispatch thread's node.
    Warm,
}

/// `[machine]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MachineTable {
    /// Costs of the machine.
    pub preset: PresetRef,
    /// Kernel model, such as `"6.12.95"`.
    pub kernel: String,
    /// Whether the kernel is built with PREEMPT_RT, which leaves balancing out; absent: no.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub preempt_rt: bool,
    /// Nodes that the trading process's cpuset allows memory on (`cpuset.mems`); absent: no cpuset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems_allowed: Option<Vec<u8>>,
    /// Mechanisms switched off for a counterfactual, such as `two_stage_filter = false`: the fields of
    /// [`numashock_machine::Rules`]. Absent: as the kernel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, bool>,
    /// Scheduler ticks per second.
    pub hz: u32,
    /// The knobs of automatic NUMA balancing.
    pub balancing: BalancingTable,
    /// NUMA nodes in order of their number.
    pub node: Vec<NodeTable>,
    /// CPUs of `isolcpus`; none if absent.
    pub isolated: Option<Vec<u16>>,
    /// CPUs of `nohz_full`; none if absent.
    pub nohz_full: Option<Vec<u16>>,
    /// Last-level caches of each node; one if absent.
    pub caches_per_node: Option<u32>,
    /// Which moves of threads the kernel makes; all if absent.
    pub scheduler: Option<SchedulerTable>,
}

/// `[machine.scheduler]`: which moves of threads the kernel makes on its own.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerTable {
    /// The load balancer takes threads off crowded CPUs.
    pub load_balancing: bool,
    /// Threads follow their memory.
    pub numa_task_migration: bool,
    /// They may change places with others for it.
    pub numa_task_swap: bool,
}

/// `[recording]`: a recording of /proc/vmstat counters drives the stalls of the dispatch thread.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingTable {
    /// Costs of the machine.
    pub preset: PresetRef,
    /// The recording, a CSV relative to the scenario.
    pub file: String,
    /// Share of the recorded activity that falls on the dispatch thread.
    pub dispatch_share: Share,
    /// Memory that a marking pass covers at most (`scan_size_mb`).
    pub scan_size: Size,
}

/// `[machine.balancing]`: the knobs of /proc/sys/kernel/numa_balancing and debugfs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BalancingTable {
    /// `numa_balancing`, bit 1: the normal mode.
    pub enabled: bool,
    /// `numa_balancing`, bit 2: memory tiering, which promotes hot pages of slow nodes; absent: off.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub tiering: bool,
    /// `hot_threshold_ms`; the kernel's second if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_threshold: Option<Time>,
    /// `numa_balancing_promote_rate_limit_MBps`, to each node; the kernel's 65536 if absent. Its megabytes are of 2²⁰ bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promote_rate_limit: Option<Bandwidth>,
    /// `scan_delay_ms`.
    pub scan_delay: Time,
    /// `scan_period_min_ms`.
    pub scan_period_min: Time,
    /// `scan_period_max_ms`.
    pub scan_period_max: Time,
    /// `scan_size_mb`.
    pub scan_size: Size,
}

/// `[[machine.node]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTable {
    /// CPU numbers; none for a node of memory only.
    pub cpus: Vec<u16>,
    /// Installed memory.
    pub memory: Size,
    /// SLIT distance to each node.
    pub distance: Vec<u8>,
    /// Whether it is slow memory below the top tier, which has no CPUs; absent: no.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub slow: bool,
}

/// `[region.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegionTable {
    /// Resident size.
    pub size: Size,
    /// Node its pages lie on at the start.
    pub node: u8,
    /// Memory policy.
    pub policy: PolicyName,
    /// The nodes of a policy that takes a mask; absent: `node` alone for `bind`, all nodes for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<u8>>,
    /// What it maps; absent: private anonymous memory of base pages.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub map: MapName,
    /// Whether its pages are pinned for DMA, as registered memory is; absent: no.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub pinned: bool,
    /// Whether it is locked by `mlock`; absent: no.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub locked: bool,
    /// Whether another process maps the same pages; absent: no.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub mapped_elsewhere: bool,
}

/// Whether an optional key holds what its absence means.
fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a region maps: the kinds that the kernel's scan tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapName {
    /// Private anonymous memory of base pages.
    #[default]
    Anonymous,
    /// Private anonymous memory of transparent huge pages; the size is a multiple of 2 MiB.
    Huge,
    /// Private anonymous memory of 64 KiB folios that are mapped page by page; the size is a multiple of 64 KiB.
    Large,
    /// hugetlbfs: never scanned.
    Hugetlb,
    /// Text and shared libraries: never scanned.
    ReadOnlyFile,
    /// A writable shared mapping of a clean file: scanned where clean.
    SharedFile,
    /// A writable shared mapping of a file just written: never scanned, as it stays dirty.
    SharedDirtyFile,
    /// A writable private mapping of a clean file: copied on write.
    PrivateFile,
    /// A writable private mapping of a file just written: copied on write, scanned where copied.
    PrivateDirtyFile,
    /// A private mapping of a tmpfs file: scanned only under a balanced policy of its own.
    TmpfsPrivate,
    /// A shared mapping of a tmpfs file: the same.
    TmpfsShared,
    /// Shared anonymous memory, a memfd, SysV shared memory or the shared memory of a guest: the same.
    SharedAnonymous,
    /// Device memory: never scanned.
    Special,
    /// Memory without access: never scanned, and nothing may touch it.
    NoAccess,
}

/// A memory policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// No policy: the region can be scanned and its pages moved.
    Default,
    /// MPOL_BIND to `nodes`, or to the node the pages lie on: never scanned.
    Bind,
    /// MPOL_BIND with MPOL_F_NUMA_BALANCING to `nodes`, or to all: scanned and moved.
    BindBalancing,
    /// MPOL_PREFERRED: never scanned.
    Preferred,
    /// MPOL_PREFERRED_MANY of `nodes`, or of all: never scanned.
    PreferredMany,
    /// MPOL_PREFERRED_MANY with MPOL_F_NUMA_BALANCING to `nodes`, or to all: scanned and moved, from 6.12 on.
    PreferredManyBalancing,
    /// MPOL_INTERLEAVE over `nodes`, or over all, whatever `node` says: never scanned.
    Interleave,
    /// MPOL_WEIGHTED_INTERLEAVE over `nodes`, or over all, with equal weights: never scanned.
    WeightedInterleave,
    /// MPOL_LOCAL, set explicitly: never scanned.
    Local,
}

/// `[thread.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadTable {
    /// Whether it is the process's first thread; the others were created by it. The kernel starts their scan clocks
    /// differently (spec: 1.2).
    pub main: bool,
    /// CPU it runs on at the start.
    pub cpu: u16,
    /// CPUs it may run on, `cpu` among them; that one alone if absent.
    pub affinity: Option<Vec<u16>>,
    /// Whether it spins, so that its CPU time runs with the clock.
    pub busy_poll: bool,
    /// Share of the time it runs if it does not spin; only a thread with `sleep` goes without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duty: Option<Share>,
    /// In place of `duty`: how long it sleeps between batches of its own touches. It wakes up with the timer slack of its
    /// scheduler class, makes all that are due, and sleeps again; its CPU time is what wake-ups, touches and stalls take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Time>,
    /// CPU time of a wake-up; absent: 3 us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake: Option<Time>,
    /// Its scheduler class: only fair threads scan; absent: fair.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub class: ClassName,
    /// Touches it makes on its own account, by region.
    pub touches: BTreeMap<String, BackgroundTable>,
    /// Calls that change its address space; without them, none.
    pub mmap: Option<MmapTable>,
}

/// `[thread.NAME] mmap`: mmap, munmap, brk or mprotect. Each waits for a scan pass of the process that is under way, and a pass
/// that would begin meanwhile loses its turn.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MmapTable {
    /// How often, on average; the calls come at random.
    pub rate: Rate,
    /// How long a call holds the mmap lock.
    pub hold: Spread<Time>,
    /// Whether the calls are munmap, which also releases the CPU's batch of new pages to the kernel's lists.
    pub unmap: bool,
}

/// A scheduler class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassName {
    /// CFS or EEVDF.
    #[default]
    Fair,
    /// SCHED_FIFO.
    Fifo,
    /// SCHED_RR.
    RoundRobin,
    /// SCHED_DEADLINE.
    Deadline,
    /// A BPF scheduler.
    Ext,
}

/// `[thread.NAME.touches.REGION]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackgroundTable {
    /// Pages touched a second.
    pub rate: Rate,
    /// Time of one touch without stalls: CPU time of a thread with `sleep`, and for every thread the least time between
    /// touches that it catches up with. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Time>,
    /// Which pages.
    pub pattern: PatternTable,
    /// Share of writes.
    pub write: Share,
}

/// How touches choose their pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PatternTable {
    /// One after the other, round and round.
    Sequential,
    /// Uniformly at random.
    Uniform,
    /// A hot part of the region gets most of the touches.
    HotCold {
        /// Share of the pages that is hot.
        pages: Share,
        /// Share of the touches it gets.
        touches: Share,
    },
}

/// `[work]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkTables {
    /// Handling a change of the quotes.
    pub quote: WorkTable,
    /// Handling an acknowledgement, a fill or a cancel.
    pub report: WorkTable,
    /// Handling a timer of the schedule.
    pub timer: WorkTable,
}

/// `[work.KIND]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkTable {
    /// Time that does not depend on where memory lies.
    pub compute: Time,
    /// Touches in order, each to a region.
    pub touches: Vec<TouchTable>,
}

/// One entry of `[work.KIND] touches`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TouchTable {
    /// Which region.
    pub region: String,
    /// How many pages.
    pub count: u32,
    /// Which pages.
    pub pattern: PatternTable,
    /// Share of writes.
    pub write: Share,
    /// Share that misses the caches and pays the memory's latency.
    pub miss: Share,
}

/// `[market]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MarketTable {
    /// From the exchange to the dispatch thread.
    pub feed_latency: Time,
    /// Which changes of the book reach the dispatch thread.
    pub feed: FeedName,
    /// Cont-Stoikov-Talreja flow; exactly one flow is given.
    pub poisson: Option<PoissonTable>,
    /// The same with market orders in clusters.
    pub hawkes: Option<HawkesTable>,
    /// Queues whose intensities depend on their size.
    #[serde(rename = "queue-reactive")]
    pub queue_reactive: Option<QueueReactiveTable>,
    /// A recorded message file.
    pub recorded: Option<RecordedFlowTable>,
}

/// `[market.poisson]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PoissonTable {
    /// Limit orders per side at 1, 2, ... ticks from the opposite best.
    pub limit: Vec<Rate>,
    /// Cancellation of each resting order at 1, 2, ... ticks from the opposite best; the last one holds beyond.
    pub cancel: Vec<Rate>,
    /// Market orders per side.
    pub market: Rate,
    /// Lots of an order.
    pub lots: LotsTable,
    /// Best bid at the start, in ticks; the ask lies one above.
    pub bid_ticks: i64,
    /// Orders at each level of the starting book, from the best outwards.
    pub book: Vec<u32>,
}

/// `[market.recorded]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFlowTable {
    /// The message file, relative to the scenario.
    pub file: String,
    /// One tick in the file's price units.
    pub tick: u64,
    /// How far into the recording the first replication begins.
    pub from: Time,
    /// How much later each further replication begins.
    pub step: Time,
    /// What rests before the first message; without it the orders that later messages name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<OpeningName>,
    /// Which instrument of a Databento file that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<u32>,
}

/// What rests before the first message of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpeningName {
    /// The orders that later messages name without an earlier one having added them.
    Recovered,
    /// Nothing.
    Empty,
}

/// Which changes of the book the dispatch thread hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedName {
    /// Changes of a best price.
    BestPrice,
    /// Changes of a best price or its size.
    BestQuote,
}

/// `[gateway]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayTable {
    /// Median from the dispatch thread to the exchange.
    pub latency: Time,
    /// Its log-normal spread: the standard deviation of the logarithm.
    pub sigma: Share,
    /// From the exchange back.
    pub report_latency: Time,
    /// At most so many requests in any window of a length, such as `{ requests = 50, per = "1s" }`; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitTable>,
}

/// `gateway.rate_limit`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitTable {
    /// How many requests.
    pub requests: u32,
    /// In which time.
    pub per: Time,
}

/// `parents = "file.csv"` or `[parents]`
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ParentsTable {
    /// Drawn from the seed.
    Generated(GeneratedParents),
    /// A CSV, relative to the scenario, with the columns `arrival_s,side,quantity,horizon_s`; arrivals count from the
    /// end of warm-up.
    File(String),
}

impl<'de> Deserialize<'de> for ParentsTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ParentsTable;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("the name of a CSV file, or a table with count, quantity and horizon")
            }
            fn visit_str<E: de::Error>(self, file: &str) -> Result<ParentsTable, E> {
                Ok(ParentsTable::File(file.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ParentsTable, A::Error> {
                let table = de::value::MapAccessDeserializer::new(map);
                GeneratedParents::deserialize(table).map(ParentsTable::Generated)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `[parents]` drawn from the seed; ranges are inclusive.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedParents {
    /// Parents of a run.
    pub count: u32,
    /// Least and greatest quantity in lots.
    pub quantity: [u64; 2],
    /// Shortest and longest horizon.
    pub horizon: [Time; 2],
}

/// `[controller]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerTable {
    /// Who decides.
    pub kind: ControllerName,
    /// The limits; they also say which parents count as exposed (NTU).
    pub limits: LimitsTable,
    /// How much later its actions are in force; absent: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<DelayTable>,
}

/// `[controller.delay]`: from a decision to its actions.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DelayTable {
    /// Until the tactic's gates follow.
    pub execution: Time,
    /// Until the host does: its knobs, its threads and how often its counters are read.
    pub host: Time,
}

/// The controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControllerName {
    /// Nobody intervenes.
    DoNothing,
    /// The four-state regime controller.
    FourState,
    /// The dispatch thread is pinned and balancing off for its process, once and for all.
    StaticPinning,
    /// One threshold and no memory, to show flip-flop.
    ThresholdWithoutHysteresis,
}

/// `[controller.limits]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// Remote hint-fault ratio: `[watch enter, watch exit, shock enter, shock exit]`.
    pub rhf: [Share; 4],
    /// Migration-copy rate in KiB/s: the same four.
    pub mcr_kib_per_s: [u64; 4],
    /// Dispatch-cadence jitter: the same four.
    pub dcj: [Share; 4],
    /// Queue-decay loss: `[enter, exit]`.
    pub qdl: [Share; 2],
    /// Deadline misses: `[enter, exit]`.
    pub deadline_miss: [Share; 2],
    /// Calm seconds before a state is left downwards.
    pub dwell: u32,
    /// Seconds of SHOCK before SAFE.
    pub shock_limit: u32,
    /// Calm seconds before SAFE is left.
    pub release: u32,
    /// Seconds without counters before SAFE.
    pub stale_limit: u32,
    /// WATCH: spacing of children relative to the tactic's.
    pub child_spacing: Share,
    /// WATCH: a child is moved at most once in this time.
    pub min_reprice_interval: Time,
    /// SHOCK: ceiling of the share of the market's volume.
    pub participation_cap: Share,
    /// SHOCK: scan delay asked of the host.
    pub scan_delay: Time,
    /// SHOCK: scan size asked of the host.
    pub scan_size: Size,
    /// SAFE: whether balancing may be switched off for the process.
    pub balancing_off_permitted: bool,
}

/// One entry of `[[choice]]`: a named overlay on the scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceTable {
    /// A name for tables and pictures.
    pub name: String,
    /// Which rung of the mitigation ladder it is, in words.
    pub rung: String,
    /// What differs from the scenario: tables merge, anything else replaces.
    pub set: toml::Table,
}
