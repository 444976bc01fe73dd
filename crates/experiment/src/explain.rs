//! The chain of one parent order, from the scan pass to the fill (playbook: 2), and what balancing cost it.
//!
//! ```text
//!   real run with notes ──► Collector ──► five steps and every stall of its life, by cause and owner
//!   fifteen worlds      ──► ParentRow ──► its four costs
//! ```
//!
//! Nanoseconds and money stand beside each other: a cost is a difference of worlds, and no event in one world has a price.

mod collect;

use numashock_accounting::Mechanisms;
use numashock_engine::Keep;
use numashock_machine as machine;
pub use numashock_sim::notes;
use numashock_sim::notes::{Decoder, Happened};
use numashock_sim::scenario::Choice;
use numashock_sim::scenario::config::{Host, HostId, RunConfig};
use numashock_sim::{RunResult, Simulation, SteeringError};
use serde::Serialize;

use crate::attribution::PartsSixths;
use crate::results::{ParentRow, Side};
pub use crate::segments::host_name;
use crate::sweep::{OwnControllers, Steers, attributed_with};
use collect::Collector;

/// The chain of a parent order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The order.
    pub order: Order,
    /// 1: the scan passes that marked what then faulted in its life, or held its host's dispatch thread up.
    pub passes: Vec<Pass>,
    /// 2 to 4: every stall of its host's dispatch thread in its life, in order of their booking.
    pub stalls: Vec<Stall>,
    /// Their sums.
    pub stalled: Stalled,
    /// 2: what became of the thread's service time.
    pub service: Service,
    /// 4: how its messages and requests went through the dispatch thread.
    pub dispatch: Dispatch,
    /// 5: its children on their way to the market.
    pub children: Vec<Child>,
    /// What the fifteen worlds say that balancing cost it.
    pub costs: Costs,
}

/// A parent order and where it was worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Tuning choice.
    pub choice: String,
    /// Replication.
    pub seed: u32,
    /// Its number in the run.
    pub number: u32,
    /// The host's name.
    pub host: String,
    /// The number of the host.
    pub host_number: u16,
    /// Name of the symbol; empty if there is one.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Lots.
    pub quantity_lots: u64,
    /// Lots filled by the deadline.
    pub filled_lots: u64,
    /// The decision.
    pub arrival_ns: u64,
    /// The deadline.
    pub deadline_ns: u64,
    /// Mid at the decision.
    pub decision_mid_half_ticks: i64,
}

/// A scan pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// Its how many-th pass of the address space it is.
    pub number: u64,
    /// Name of the thread that scanned.
    pub thread: String,
    /// `numa_scan_seq` of the address space at its begin.
    pub sequence: u32,
    /// When it began.
    pub begun_ns: u64,
    /// When it ended; none if the run ended first.
    pub ended_ns: Option<u64>,
    /// 4 KiB pages that it marked.
    pub marked_pages: Option<u64>,
    /// Threads that its shootdowns interrupted.
    pub interrupts: Option<u64>,
    /// Faults of the dispatch thread in the order's life on pages that it had marked.
    pub faults: u64,
    /// What these took, migrations included.
    pub fault_ns: u64,
    /// How long it held the dispatch thread up by itself: as its own pass, or by interrupts.
    pub stalled_ns: u64,
}

/// Who owns a stall (attribution: A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// H.
    HintFault,
    /// M.
    MigrationCopy,
    /// D.
    DispatchJitter,
}

/// Why the dispatch thread was held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// H: a hinting fault, and the page stayed.
    HintingFault,
    /// H: a hinting fault whose page was not let go.
    HintingFaultRefused,
    /// H: a hinting fault that moved its page.
    HintingFaultMoved,
    /// M: the copy of the page that faulted.
    Copy,
    /// M: a migration that was refused or failed.
    RefusedMigration,
    /// M: a page under migration, or the write fault that a migration leaves behind.
    AfterMigration,
    /// M: memory that copies of others made slower.
    SlowMemory,
    /// H or M: others run on the CPU meanwhile.
    SharedCpu,
    /// D: a pass of its own.
    OwnPass,
    /// D: a pass of its own takes longer than it was to.
    LongerPass,
    /// D: the shootdown of another thread's pass.
    Shootdown,
    /// D: a tick on another CPU asks for a pass.
    Tick,
    /// D: a call or a fault waits for the mmap lock.
    MmapLock,
    /// D: the stopper moves the thread.
    Stopper,
    /// A recording of counters says so.
    Recorded,
}

impl Cause {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::HintingFault => "hinting fault, page stays",
            Cause::HintingFaultRefused => "hinting fault, page not let go",
            Cause::HintingFaultMoved => "hinting fault, page moves",
            Cause::Copy => "page copied",
            Cause::RefusedMigration => "migration refused",
            Cause::AfterMigration => "page under migration or write fault after it",
            Cause::SlowMemory => "memory slower by copies",
            Cause::SharedCpu => "others on its CPU",
            Cause::OwnPass => "own scan pass",
            Cause::LongerPass => "own scan pass made longer",
            Cause::Shootdown => "interrupt of a scan pass",
            Cause::Tick => "interrupt for a scan pass",
            Cause::MmapLock => "wait for the mmap lock",
            Cause::Stopper => "moved to another CPU",
            Cause::Recorded => "recorded",
        }
    }
}

impl Owner {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Owner::HintFault => "hinting fault",
            Owner::MigrationCopy => "migration copy",
            Owner::DispatchJitter => "dispatch jitter",
        }
    }
}

impl From<machine::Owner> for Owner {
    fn from(owner: machine::Owner) -> Owner {
        match owner {
            machine::Owner::HintFault => Owner::HintFault,
            machine::Owner::MigrationCopy => Owner::MigrationCopy,
            machine::Owner::DispatchJitter => Owner::DispatchJitter,
        }
    }
}

/// A stall, or the part of one that has a cause of its own.
///
/// Sums are exact, and the parts of one touch follow each other. A fault stands where its unit comes to its page without what
/// else strikes the unit, so a pass or an interrupt, which stands where it strikes, may overlap it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stall {
    /// When it began. What a unit meets is the order's if the unit began in its life: it may begin after the deadline.
    pub at_ns: u64,
    /// Begin of the unit that met it, for faults, copies and what they wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_ns: Option<u64>,
    /// How long it was.
    pub ns: u64,
    /// Who owns it.
    pub owner: Owner,
    /// Why.
    pub cause: Cause,
    /// Name of the region that was touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The page of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// The pass that marked the page, or that was the stall: a place in [`Chain::passes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<usize>,
}

/// Nanoseconds by owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stalled {
    /// H.
    pub hint_fault_ns: u64,
    /// M.
    pub migration_copy_ns: u64,
    /// D.
    pub dispatch_jitter_ns: u64,
}

impl Stalled {
    /// The sums of a list of stalls.
    #[must_use]
    pub fn of(stalls: &[Stall]) -> Stalled {
        let sum = |owner| stalls.iter().filter(|stall| stall.owner == owner).map(|stall| stall.ns).sum();
        Stalled {
            hint_fault_ns: sum(Owner::HintFault),
            migration_copy_ns: sum(Owner::MigrationCopy),
            dispatch_jitter_ns: sum(Owner::DispatchJitter),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hint_fault_ns + self.migration_copy_ns + self.dispatch_jitter_ns
    }
}

/// The units of work that the dispatch thread began in the order's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Service {
    /// How many.
    pub units: u64,
    /// Those with a stall of any owner.
    pub stalled_units: u64,
    /// Median time from begin to end of those without.
    pub undisturbed_q50_ns: Option<u64>,
    /// Median over all.
    pub q50_ns: Option<u64>,
    /// 95 % of all took at most this.
    pub q95_ns: Option<u64>,
    /// 99 %.
    pub q99_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
}

/// The dispatch thread in the order's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dispatch {
    /// Time that all messages of the host waited for the thread.
    pub queue_wait_ns: u64,
    /// The longest queue.
    pub queue_max: u64,
    /// Messages about the order or its children.
    pub own_messages: u64,
    /// Time that these waited.
    pub own_wait_ns: u64,
    /// The longest wait among them.
    pub own_wait_max_ns: u64,
    /// Requests of all orders of the host that left the thread.
    pub releases: u64,
    /// Micro-clusters of two or more among them: releases less than 100 µs apart.
    pub clusters: u64,
    /// The largest.
    pub cluster_max: u64,
    /// The order's own requests, in order of leaving.
    pub own_releases: Vec<Release>,
}

/// A request that left the thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Release {
    /// When.
    pub at_ns: u64,
    /// The child.
    pub child: u32,
    /// "new", "cancel" or "replace".
    pub kind: &'static str,
    /// How much later than had nothing ever stalled.
    pub late_ns: u64,
    /// Requests in its micro-cluster.
    pub cluster: u64,
}

/// A child order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Child {
    /// Its number.
    pub number: u32,
    /// Its requests.
    pub requests: Vec<ChildRequest>,
    /// Its fills within the order's life.
    pub fills: Vec<Fill>,
    /// When what was left of it went out of the book.
    pub gone_ns: Option<u64>,
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChildRequest {
    /// "new", "cancel" or "replace".
    pub kind: &'static str,
    /// When the message that led to it became ready.
    pub decided_ns: u64,
    /// When it left the dispatch thread.
    pub dispatched_ns: u64,
    /// When it would have arrived had nothing stalled.
    pub on_time_ns: u64,
    /// When it arrived.
    pub arrived_ns: u64,
    /// Its limit.
    pub limit_ticks: Option<i64>,
    /// Lots ahead of it in the queue that it joined.
    pub ahead_lots: Option<u64>,
    /// Lots that would have been, had it been on time.
    pub ahead_on_time_lots: Option<u64>,
}

/// A fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fill {
    /// When.
    pub at_ns: u64,
    /// At which price.
    pub price_half_ticks: i64,
    /// How much.
    pub lots: u64,
    /// Whether it rested before.
    pub passive: bool,
    /// The mid a second later, or at the end of the run, less the price, in the order's favour.
    pub markout_half_ticks: i64,
}

/// What balancing cost a parent, in half-tick-lots and sixths of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Costs {
    /// Implementation shortfall of the real run.
    pub is: i64,
    /// What it would have been with balancing made free: delay, impact, missed lots and fees.
    pub reference: i64,
    /// `is` less `reference`.
    pub c_numa: i64,
    /// Its parts in sixths: their sum is six times `c_numa`.
    pub parts_sixths: PartsSixths,
    /// What balancing does to placement.
    pub c_placement: i64,
    /// `c_numa` in millionths of a basis point.
    pub c_numa_micro_bp: i64,
    /// `is` in the same unit.
    pub is_micro_bp: i64,
}

impl Costs {
    /// The costs of a row with an attribution.
    ///
    /// # Panics
    /// If the row has none, or its parts do not sum.
    #[must_use]
    pub fn of(row: &ParentRow) -> Costs {
        let parts = row.attribution.as_ref().expect("all worlds were run").parts;
        assert!(parts.four().iter().sum::<i64>() == 6 * row.c_numa, "the four parts sum to C_numa");
        let reference = row.c_delay + row.c_impact + row.c_miss + row.fees;
        assert!(reference + row.c_numa == row.is, "the shortfall is its parts");
        Costs {
            is: row.is,
            reference,
            c_numa: row.c_numa,
            parts_sixths: parts,
            c_placement: row.c_placement,
            c_numa_micro_bp: row.c_numa_micro_bp,
            is_micro_bp: row.is_micro_bp,
        }
    }
}

/// Sees what happens in the real run, with names where it needs them.
pub trait Watcher {
    /// Something happened.
    fn happened(&mut self, happened: &Happened);
}

/// Watches nothing.
impl Watcher for () {
    fn happened(&mut self, _: &Happened) {}
}

/// What a replication says of some of its parents.
#[derive(Debug)]
pub struct Explained {
    /// Their chains, in the order in which they were asked for.
    pub chains: Vec<Chain>,
    /// Their rows as a sweep writes them, with the attribution.
    pub rows: Vec<ParentRow>,
    /// The real run.
    pub run: RunResult,
}

/// Does some work on its own threads; 0 takes one per processor.
///
/// # Panics
/// If the threads cannot be started.
pub fn on_threads<T: Send>(jobs: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().expect("threads can be started");
    pool.install(work)
}

/// Runs one replication of a choice in all worlds, and the real one with notes, and gives the chains of some parents. The
/// worlds are computed on the threads of the pool that this is called in.
///
/// # Panics
/// If there is no such parent, the run is not the same as the one without notes, or a sum does not come out.
#[must_use]
pub fn explain(
    scenario: &str,
    choice: &Choice,
    seed: u32,
    parents: &[u32],
    watcher: &mut (dyn Watcher + Send),
) -> Explained {
    explain_with(scenario, (choice, seed), parents, watcher, &OwnControllers)
        .expect("a scenario's own controllers always decide")
}

/// As [`explain`], with decisions from elsewhere.
///
/// # Errors
/// If a decision cannot be had.
///
/// # Panics
/// As [`explain`].
pub fn explain_with(
    scenario: &str,
    (choice, seed): (&Choice, u32),
    parents: &[u32],
    watcher: &mut (dyn Watcher + Send),
    steers: &dyn Steers,
) -> Result<Explained, SteeringError> {
    let config = &choice.config;
    let (worlds, watched) = rayon::join(
        || attributed_with(config, seed, steers),
        || watch(config, seed, parents, watcher, steers),
    );
    let (worlds, (run, collected)) = (worlds?, watched?);
    let real = worlds.worlds.outcomes().last().expect("there are fifteen worlds").hash;
    assert!(real == (run.hash.hash, run.hash.events), "notes change nothing");
    let rows: Vec<ParentRow> =
        parents.iter().map(|number| worlds.parents[*number as usize].clone()).collect();
    let chains = collected.finish(&run, |number| {
        let parent = &run.parents[number as usize];
        let order = Order {
            choice: choice.name.clone(),
            seed,
            number,
            host: host_name(scenario, config, parent.host),
            host_number: parent.host.0,
            symbol: config.symbols[usize::from(parent.order.symbol.0)].name.clone(),
            side: worlds.parents[number as usize].side,
            quantity_lots: parent.order.quantity.0,
            filled_lots: parent.filled.0,
            arrival_ns: parent.order.arrival.0,
            deadline_ns: parent.order.deadline().0,
            decision_mid_half_ticks: parent.decision_mid.0,
        };
        (order, Costs::of(&worlds.parents[number as usize]))
    });
    Ok(Explained { chains, rows, run })
}

/// The real run with notes.
fn watch(
    config: &RunConfig,
    seed: u32,
    parents: &[u32],
    watcher: &mut (dyn Watcher + Send),
    steers: &dyn Steers,
) -> Result<(RunResult, Collector), SteeringError> {
    let mut steering = steers.begin(config, seed)?;
    let replication = config.replication(seed);
    let input = replication.input(Mechanisms::REAL, true, None, 0);
    let mut collector = Collector::new(config, &input.parents, parents);
    let mut simulation = Simulation::new(config, input);
    simulation.keep(Keep::EventsAndNotes);
    let (mut decoder, mut kept) = (Decoder::default(), Vec::new());
    loop {
        let goes_on = simulation.step_with(&mut *steering)?.is_some();
        simulation.take_kept(&mut kept);
        for record in kept.drain(..) {
            for happened in decoder.next(&record) {
                collector.happened(&happened);
                watcher.happened(&happened);
            }
        }
        if !goes_on {
            break;
        }
    }
    if let Some(happened) = decoder.last() {
        collector.happened(&happened);
        watcher.happened(&happened);
    }
    steering.end()?;
    Ok((simulation.finish(), collector))
}

/// Names of a host's threads and regions.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Threads, by number.
    pub threads: Vec<String>,
    /// Regions, by number.
    pub regions: Vec<String>,
    /// The number of the dispatch thread.
    pub dispatch: u16,
}

impl Names {
    /// Those of a host; a recorded one has none.
    #[must_use]
    pub fn of(config: &RunConfig, host: HostId) -> Names {
        let Host::Model(model) = &config.hosts[host.index()].host else { return Names::default() };
        Names {
            threads: model.machine.threads.iter().map(|thread| thread.name.clone()).collect(),
            regions: model.machine.regions.iter().map(|region| region.name.clone()).collect(),
            dispatch: model.dispatch.0,
        }
    }

    /// The number of the dispatch thread's process.
    fn process(config: &RunConfig, host: HostId) -> u16 {
        match &config.hosts[host.index()].host {
            Host::Model(model) => {
                let thread = &model.machine.threads[usize::from(model.dispatch.0)];
                u16::try_from(thread.process.index()).expect("processes are numbered in 16 bits")
            }
            Host::Recorded(_) => 0,
        }
    }

    /// What a thread is called.
    #[must_use]
    pub fn thread(&self, number: u16) -> String {
        self.threads.get(usize::from(number)).cloned().unwrap_or_else(|| number.to_string())
    }

    /// What a region is called.
    #[must_use]
    pub fn region(&self, number: u16) -> String {
        self.regions.get(usize::from(number)).cloned().unwrap_or_else(|| number.to_string())
    }
}
