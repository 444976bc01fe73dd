//! A machine alone, measured as the operator of a host would: passes, faults, stalls by length, counters.
//!
//! ```text
//!   HostConfig ──► Machine ──► passes, stalls ──► Tally ──► HostReport with a verdict for each target
//! ```
//!
//! Invariant: a report holds nothing that depends on the computer it was made on.

mod measure;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

use numashock_engine::Nanos;
use numashock_machine::{Counters, CpuId, Machine, NodeId, Owner, Pass, RegionId, Stall, ThreadId};
use numashock_sim::scenario::expect::{Measure, Target};
use numashock_sim::scenario::hosts::{HostConfig, HostVariant};
use numashock_sim::{HostRun, Seen};
use serde::Serialize;

use measure::{Classes, Lengths};
pub use text::{csv, table};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const PPM: u64 = 1_000_000;
/// Edges of the classes that a report lists: passes from 0 on, stalls from half a millisecond on.
const PASS_EDGES_MS: [u64; 7] = [0, 1, 2, 4, 8, 16, 32];

/// What a host showed in the measured time.
#[derive(Clone, Debug, Serialize)]
pub struct HostReport {
    /// The variant.
    pub name: String,
    /// Seconds measured.
    pub seconds: u64,
    /// Hash of everything that happened, warm-up included.
    pub event_hash: String,
    /// Scan passes of the process.
    pub passes: PassReport,
    /// Stalls of any thread by length, from half a millisecond on.
    pub outliers: Vec<Class>,
    /// Hinting faults and their like.
    pub counters: CounterReport,
    /// Threads; those that one `count` made are one entry.
    pub threads: Vec<ThreadReport>,
    /// Regions at the end.
    pub regions: Vec<RegionReport>,
    /// What was expected and what was found.
    pub verdicts: Vec<Verdict>,
    /// A row a second.
    pub rows: Vec<SecondRow>,
}

impl HostReport {
    /// Whether every target was met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.met)
    }
}

/// Scan passes.
#[derive(Clone, Debug, Serialize)]
pub struct PassReport {
    /// How many.
    pub count: u64,
    /// How many a second.
    pub per_second: f64,
    /// How many a second on the CPU that had the most.
    pub per_second_on_a_cpu: f64,
    /// Shortest, mean and longest time between beginnings, in ms.
    pub interval_ms: Option<[f64; 3]>,
    /// Mean, median, 99th percentile and maximum of their lengths, in ms.
    pub length_ms: [f64; 4],
    /// Their lengths by class.
    pub lengths: Vec<Class>,
    /// Share of the wall clock in which some thread is in a pass.
    pub time_share: f64,
    /// 4 KiB pages marked: mean and most.
    pub pages: [u64; 2],
    /// Threads on other CPUs interrupted, a second.
    pub interrupts_per_second: f64,
}

/// How many lengths lay in a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Shortest length in ns.
    pub from_ns: u64,
    /// First length that is too long; none for the last class.
    pub to_ns: Option<u64>,
    /// How many.
    pub count: u64,
}

/// The counters of `/proc/vmstat`, a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CounterReport {
    /// 4 KiB pages marked.
    pub numa_pte_updates: f64,
    /// Huge pages marked.
    pub numa_huge_pte_updates: f64,
    /// Hinting faults.
    pub numa_hint_faults: f64,
    /// Those on local pages.
    pub numa_hint_faults_local: f64,
    /// 4 KiB pages migrated.
    pub numa_pages_migrated: f64,
}

/// A thread, or the threads of one `count`.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadReport {
    /// Its name.
    pub name: String,
    /// How many threads these are.
    pub threads: u32,
    /// Passes that they paid for.
    pub passes: u64,
    /// Stalls by owner: hinting faults, migrations, passes and shootdowns.
    pub stalls: [StallReport; 3],
    /// Scan period when the measured time began, in ms: least and most.
    pub scan_period_start_ms: [u32; 2],
    /// Scan period at the end.
    pub scan_period_ms: [u32; 2],
    /// What the kernel would let it become: least and most.
    pub scan_period_bounds_ms: [u32; 2],
    /// Preferred node at the end, of those that have one.
    pub preferred: Vec<u8>,
}

/// Stalls of one owner.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StallReport {
    /// How many a second.
    pub per_second: f64,
    /// Their sum, in ms.
    pub total_ms: f64,
    /// Median, in µs; known to a 64th.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Longest.
    pub max_us: f64,
}

/// Where a region lies.
#[derive(Clone, Debug, Serialize)]
pub struct RegionReport {
    /// Its name.
    pub name: String,
    /// 4 KiB pages on each node.
    pub pages: Vec<u64>,
}

/// A target and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The key below `expect`.
    pub target: String,
    /// What was expected, in words.
    pub expected: String,
    /// What was found.
    pub measured: String,
    /// Whether it was met.
    pub met: bool,
}

/// One second of a host: what a sampler of `/proc/vmstat` would write, and passes beside it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SecondRow {
    /// Its end, in seconds since the beginning of the measured time.
    pub second: u64,
    /// Growth of the counter.
    pub numa_pte_updates: u64,
    /// Growth of the counter.
    pub numa_huge_pte_updates: u64,
    /// Growth of the counter.
    pub numa_hint_faults: u64,
    /// Growth of the counter.
    pub numa_hint_faults_local: u64,
    /// Growth of the counter.
    pub numa_pages_migrated: u64,
    /// Growth of the counter.
    pub pgmigrate_success: u64,
    /// Growth of the counter.
    pub pgmigrate_fail: u64,
    /// Passes that ended.
    pub passes: u64,
    /// Threads interrupted by them.
    pub interrupts: u64,
    /// Stalls of all threads, ns: hinting faults, migrations, passes and shootdowns.
    pub stalled_ns: [u64; 3],
}

/// Simulates a host for its warm-up and its measured time; `done` counts simulated seconds.
///
/// # Panics
/// Never: the configuration was checked when it was lowered.
#[must_use]
pub fn measure(variant: &HostVariant, done: &AtomicU64) -> HostReport {
    let config = &variant.config;
    let mut run = Measured { run: HostRun::new(config), tally: Tally::new(config) };
    run.until(Nanos::ZERO + config.warmup);
    run.tally.begin(run.run.machine());
    done.fetch_add(config.warmup.0 / SECOND, Ordering::Relaxed);
    for second in 1..=config.duration.0 / SECOND {
        run.until(Nanos(config.warmup.0 + second * SECOND));
        run.tally.end_second(second, run.run.machine().counters());
        done.fetch_add(1, Ordering::Relaxed);
    }
    report(variant, &run)
}

/// How many simulated seconds [`measure`] counts for a variant.
#[must_use]
pub fn seconds(variant: &HostVariant) -> u64 {
    variant.config.warmup.0 / SECOND + variant.config.duration.0 / SECOND
}

/// A host and what is counted of it.
struct Measured {
    run: HostRun,
    tally: Tally,
}

impl Measured {
    fn until(&mut self, end: Nanos) {
        let tally = &mut self.tally;
        self.run.until(end, |seen| match seen {
            Seen::Stall(stall) => tally.stall(stall),
            Seen::Pass(pass, cpu) => tally.pass(&pass, cpu),
        });
    }

    fn machine(&self) -> &Machine {
        self.run.machine()
    }
}

/// What is counted while the machine runs.
struct Tally {
    /// Nothing counts before.
    measuring: bool,
    /// The group of each thread.
    group_of: Vec<usize>,
    groups: Vec<Group>,
    passes: Lengths,
    pass_classes: Classes,
    stall_classes: Classes,
    on_cpu: Vec<(CpuId, u64)>,
    last_begun: Option<Nanos>,
    intervals: Lengths,
    shortest_interval: u64,
    marked: u64,
    most_marked: u64,
    interrupts: u64,
    /// Fewest and most interrupted by a pass that marked something.
    interrupted: Option<(u64, u64)>,
    first: Counters,
    before: Counters,
    this_second: SecondTally,
    rows: Vec<SecondRow>,
}

#[derive(Clone, Copy, Default)]
struct SecondTally {
    passes: u64,
    interrupts: u64,
    stalled: [u64; 3],
}

/// Threads that are reported together.
struct Group {
    name: String,
    threads: Vec<usize>,
    passes: u64,
    stalls: [Lengths; 3],
    period_at_start: [u32; 2],
}

impl Tally {
    fn new(config: &HostConfig) -> Tally {
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = Vec::new();
        for (index, thread) in config.machine.threads.iter().enumerate() {
            let name = thread.name.split('.').next().unwrap_or_default();
            let place = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
                groups.push(Group {
                    name: name.to_owned(),
                    threads: Vec::new(),
                    passes: 0,
                    stalls: Default::default(),
                    period_at_start: [0; 2],
                });
                groups.len() - 1
            });
            groups[place].threads.push(index);
            group_of.push(place);
        }
        let mut edges = [pass_edges(), outlier_edges()].concat();
        for target in &config.targets {
            if let Measure::PassLengths { from, to } | Measure::Outliers { from, to } = target.measure {
                edges.extend([from, to]);
            }
        }
        Tally {
            measuring: false,
            group_of,
            groups,
            passes: Lengths::default(),
            pass_classes: Classes::new(edges.clone()),
            stall_classes: Classes::new(edges),
            on_cpu: Vec::new(),
            last_begun: None,
            intervals: Lengths::default(),
            shortest_interval: u64::MAX,
            marked: 0,
            most_marked: 0,
            interrupts: 0,
            interrupted: None,
            first: Counters::default(),
            before: Counters::default(),
            this_second: SecondTally::default(),
            rows: Vec::new(),
        }
    }

    /// The measured time begins.
    fn begin(&mut self, machine: &Machine) {
        self.measuring = true;
        self.first = machine.counters();
        self.before = self.first;
        for group in &mut self.groups {
            group.period_at_start =
                spread(group.threads.iter().map(|thread| view(machine, *thread).scan_period_ms));
        }
    }

    fn stall(&mut self, stall: Stall) {
        if !self.measuring {
            return;
        }
        let owner = match stall.owner {
            Owner::HintFault => 0,
            Owner::MigrationCopy => 1,
            Owner::DispatchJitter => 2,
        };
        self.stall_classes.add(stall.span.0);
        self.this_second.stalled[owner] += stall.span.0;
        self.groups[self.group_of[stall.thread.index()]].stalls[owner].add(stall.span.0);
    }

    fn pass(&mut self, pass: &Pass, cpu: CpuId) {
        let previous = self.last_begun.replace(pass.begun);
        if !self.measuring {
            return;
        }
        if let Some(previous) = previous {
            let interval = (pass.begun - previous).0;
            self.intervals.add(interval);
            self.shortest_interval = self.shortest_interval.min(interval);
        }
        self.passes.add(pass.length.0);
        self.pass_classes.add(pass.length.0);
        self.groups[self.group_of[pass.thread.index()]].passes += 1;
        match self.on_cpu.iter_mut().find(|(other, _)| *other == cpu) {
            Some((_, count)) => *count += 1,
            None => self.on_cpu.push((cpu, 1)),
        }
        self.marked += pass.marked;
        self.most_marked = self.most_marked.max(pass.marked);
        let interrupts = u64::from(pass.interrupts);
        self.interrupts += interrupts;
        self.this_second.passes += 1;
        self.this_second.interrupts += interrupts;
        if pass.marked > 0 {
            let (least, most) = self.interrupted.unwrap_or((interrupts, interrupts));
            self.interrupted = Some((least.min(interrupts), most.max(interrupts)));
        }
    }

    fn end_second(&mut self, second: u64, counters: Counters) {
        let grown = counters.since(&self.before);
        self.before = counters;
        let SecondTally { passes, interrupts, stalled } = std::mem::take(&mut self.this_second);
        self.rows.push(SecondRow {
            second,
            numa_pte_updates: grown.numa_pte_updates,
            numa_huge_pte_updates: grown.numa_huge_pte_updates,
            numa_hint_faults: grown.numa_hint_faults,
            numa_hint_faults_local: grown.numa_hint_faults_local,
            numa_pages_migrated: grown.numa_pages_migrated,
            pgmigrate_success: grown.pgmigrate_success,
            pgmigrate_fail: grown.pgmigrate_fail,
            passes,
            interrupts,
            stalled_ns: stalled,
        });
    }
}

/// Edges of the classes of passes, in ns.
fn pass_edges() -> Vec<u64> {
    PASS_EDGES_MS.map(|edge| edge * MILLISECOND).to_vec()
}

/// Edges of the classes of stalls, in ns.
fn outlier_edges() -> Vec<u64> {
    let mut edges = pass_edges();
    edges[0] = MILLISECOND / 2;
    edges
}

fn view(machine: &Machine, thread: usize) -> numashock_machine::ThreadView {
    machine.thread(ThreadId(u16::try_from(thread).expect("thread ids have 16 bits")))
}

/// Least and most; zeros of nothing.
fn spread(values: impl Iterator<Item = u32>) -> [u32; 2] {
    values
        .fold(None, |range: Option<[u32; 2]>, value| {
            Some(range.map_or([value; 2], |[least, most]| [least.min(value), most.max(value)]))
        })
        .unwrap_or_default()
}

fn per_second(count: u64, seconds: u64) -> f64 {
    count as f64 / seconds as f64
}

fn report(variant: &HostVariant, run: &Measured) -> HostReport {
    let (config, tally) = (&variant.config, &run.tally);
    let seconds = config.duration.0 / SECOND;
    let grown = tally.before.since(&tally.first);
    let rate = |count: u64| per_second(count, seconds);
    HostReport {
        name: variant.name.clone(),
        seconds,
        event_hash: format!("{:016x}", run.run.hash().hash),
        passes: pass_report(tally, seconds),
        outliers: classes(&tally.stall_classes, &outlier_edges()),
        counters: CounterReport {
            numa_pte_updates: rate(grown.numa_pte_updates),
            numa_huge_pte_updates: rate(grown.numa_huge_pte_updates),
            numa_hint_faults: rate(grown.numa_hint_faults),
            numa_hint_faults_local: rate(grown.numa_hint_faults_local),
            numa_pages_migrated: rate(grown.numa_pages_migrated),
        },
        threads: tally.groups.iter().map(|group| thread_report(group, run.machine(), seconds)).collect(),
        regions: (0..config.machine.regions.len()).map(|region| region_report(config, run, region)).collect(),
        verdicts: config.targets.iter().map(|target| judge(target, run, seconds)).collect(),
        rows: tally.rows.clone(),
    }
}

/// The classes between neighbouring edges, and the one beyond the last.
fn classes(counted: &Classes, edges: &[u64]) -> Vec<Class> {
    let class = |index: usize| {
        let to_ns = edges.get(index + 1).copied();
        let count = counted.between(edges[index], to_ns.unwrap_or(u64::MAX));
        Class { from_ns: edges[index], to_ns, count }
    };
    (0..edges.len()).map(class).collect()
}

fn pass_report(tally: &Tally, seconds: u64) -> PassReport {
    let millis = |nanos: u64| nanos as f64 / 1e6;
    let passes = &tally.passes;
    PassReport {
        count: passes.count,
        per_second: per_second(passes.count, seconds),
        per_second_on_a_cpu: per_second(busiest(tally), seconds),
        interval_ms: (tally.intervals.count > 0).then(|| {
            [millis(tally.shortest_interval), millis(tally.intervals.mean()), millis(tally.intervals.max)]
        }),
        length_ms: [passes.mean(), passes.quantile(50), passes.quantile(99), passes.max].map(millis),
        lengths: classes(&tally.pass_classes, &pass_edges()),
        time_share: passes.total as f64 / (seconds * SECOND) as f64,
        pages: [tally.marked.checked_div(passes.count).unwrap_or(0), tally.most_marked],
        interrupts_per_second: per_second(tally.interrupts, seconds),
    }
}

fn busiest(tally: &Tally) -> u64 {
    tally.on_cpu.iter().map(|(_, count)| *count).max().unwrap_or(0)
}

fn thread_report(group: &Group, machine: &Machine, seconds: u64) -> ThreadReport {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let views: Vec<_> = group.threads.iter().map(|thread| view(machine, *thread)).collect();
    let bounds = group.threads.iter().map(|thread| {
        machine.scan_period_bounds(ThreadId(u16::try_from(*thread).expect("thread ids have 16 bits")))
    });
    let (least, most): (Vec<u32>, Vec<u32>) = bounds.unzip();
    let mut preferred: Vec<u8> =
        views.iter().filter_map(|view| view.preferred.map(|NodeId(node)| node)).collect();
    preferred.sort_unstable();
    preferred.dedup();
    ThreadReport {
        name: group.name.clone(),
        threads: u32::try_from(group.threads.len()).expect("thread ids have 16 bits"),
        passes: group.passes,
        stalls: [0, 1, 2].map(|owner: usize| {
            let lengths = &group.stalls[owner];
            StallReport {
                per_second: per_second(lengths.count, seconds),
                total_ms: lengths.total as f64 / 1e6,
                p50_us: micros(lengths.quantile(50)),
                p99_us: micros(lengths.quantile(99)),
                max_us: micros(lengths.max),
            }
        }),
        scan_period_start_ms: group.period_at_start,
        scan_period_ms: spread(views.iter().map(|view| view.scan_period_ms)),
        scan_period_bounds_ms: [least.into_iter().min().unwrap_or(0), most.into_iter().max().unwrap_or(0)],
        preferred,
    }
}

fn region_report(config: &HostConfig, run: &Measured, region: usize) -> RegionReport {
    let id = RegionId(u16::try_from(region).expect("region ids have 16 bits"));
    let nodes = config.machine.topology.nodes.len();
    let pages = (0..nodes).map(|node| run.machine().pages_on(id, NodeId(node as u8)));
    RegionReport { name: config.machine.regions[region].name.clone(), pages: pages.collect() }
}

/// Least and most of what a target looks at; nothing if there was nothing to look at.
fn found(measure: Measure, run: &Measured, seconds: u64) -> Option<(u64, u64)> {
    let tally = &run.tally;
    let grown = tally.before.since(&tally.first);
    let passes = &tally.passes;
    let rate = |count: u64| Some(ratio(count, seconds, SECOND));
    let of_passes = |value: u64| (passes.count > 0).then_some(value);
    let one = match measure {
        Measure::Passes => rate(passes.count),
        Measure::PassesOnACpu => rate(busiest(tally)),
        Measure::PassInterval => {
            return (tally.intervals.count > 0).then_some((tally.shortest_interval, tally.intervals.max));
        }
        Measure::PassIntervalMean => (tally.intervals.count > 0).then(|| tally.intervals.mean()),
        Measure::FullPassPages => of_passes(tally.most_marked),
        Measure::MeanPassPages => of_passes(tally.marked.checked_div(passes.count).unwrap_or(0)),
        Measure::PassMean => of_passes(passes.mean()),
        Measure::PassTime => Some(ratio(passes.total, seconds * SECOND, PPM)),
        Measure::PassLengths { from, to } => {
            of_passes(ratio(tally.pass_classes.between(from, to), passes.count, PPM))
        }
        Measure::Outliers { from, to } => rate(tally.stall_classes.between(from, to)),
        Measure::Interrupts => return tally.interrupted,
        Measure::PteUpdates => rate(grown.numa_pte_updates),
        Measure::HintFaults => rate(grown.numa_hint_faults),
        Measure::HintFaultsLocal => (grown.numa_hint_faults > 0)
            .then(|| ratio(grown.numa_hint_faults_local, grown.numa_hint_faults, PPM)),
        Measure::PagesMigrated => rate(grown.numa_pages_migrated),
        Measure::ScanPeriod => {
            let views = (0..tally.group_of.len()).map(|thread| view(run.machine(), thread));
            let faulted = views.filter(|view| view.total_faults != 0 || view.locality != [0; 3]);
            let periods: Vec<u32> = faulted.map(|view| view.scan_period_ms).collect();
            let [least, most] = spread(periods.iter().copied());
            let nanos = |millis: u32| u64::from(millis) * MILLISECOND;
            return (!periods.is_empty()).then(|| (nanos(least), nanos(most)));
        }
        Measure::Placement { region, node } => {
            // A view has the fault sums of every node.
            let nodes = view(run.machine(), 0).faults.len();
            let all = (0..nodes).map(|node| run.machine().pages_on(region, NodeId(node as u8))).sum();
            Some(ratio(run.machine().pages_on(region, node), all, PPM))
        }
    };
    one.map(|value| (value, value))
}

/// `count × scale ÷ total`, to the nearest; 0 of nothing.
fn ratio(count: u64, total: u64, scale: u64) -> u64 {
    let product = u128::from(count) * u128::from(scale) + u128::from(total / 2);
    product.checked_div(u128::from(total)).and_then(|ratio| u64::try_from(ratio).ok()).unwrap_or(0)
}

fn judge(target: &Target, run: &Measured, seconds: u64) -> Verdict {
    let found = found(target.measure, run, seconds);
    let unit = target.measure.unit();
    Verdict {
        target: target.key.clone(),
        expected: text::range(target.least, target.most, unit),
        measured: found.map_or_else(|| "none".to_owned(), |(least, most)| text::range(least, most, unit)),
        met: found.is_some_and(|(least, most)| target.least <= least && most <= target.most),
    }
}
