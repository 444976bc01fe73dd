//! Invariants after every event, in small scenarios that a seed chooses.
//!
//! `SWARM=7` runs seed 7 alone, `SWARM=0..500` these; a failure prints its seed.

use std::collections::BTreeMap;
use std::ops::Range;

use numashock_accounting::Mechanisms;
use numashock_book::{Book, Lots, OrderId, Side};
use numashock_engine::Nanos;
use numashock_experiment::swarm;
use numashock_experiment::sweep::{run_once, simulation};
use numashock_machine::{Counters, Machine, NodeId, RegionId};
use numashock_sim::Simulation;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{Host, HostId, RunConfig};

use crate::scenario_file;

/// Seeds that every test run tries.
const SEEDS: Range<u64> = 0..60;
/// Events after which a run is left, so that a busy one does not take forever.
const EVENTS_MAX: u64 = 60_000;
/// Events between two looks at every page.
const PAGES_EVERY: u64 = 4_999;

/// Watches one simulation from outside.
struct Checker<'a> {
    config: &'a RunConfig,
    last: Nanos,
    counters: Counters,
    /// Lots of each own order when last seen resting, by symbol.
    own: Vec<BTreeMap<u64, Lots>>,
    /// Pages of each region on each node at the start.
    placed: Vec<Vec<u64>>,
    events: u64,
}

impl<'a> Checker<'a> {
    fn new(config: &'a RunConfig, simulation: &Simulation<'_>) -> Checker<'a> {
        let placed = simulation.machine(HostId(0)).map_or_else(Vec::new, |machine| pages(config, machine));
        Checker {
            config,
            last: Nanos::ZERO,
            counters: Counters::default(),
            own: vec![BTreeMap::new(); config.symbols.len()],
            placed,
            events: 0,
        }
    }

    /// Everything that must hold after an event at `now`.
    fn check(&mut self, now: Nanos, simulation: &Simulation<'_>) {
        assert!(self.last <= now, "time never runs back: {} to {now}", self.last);
        assert!(now <= Nanos::ZERO + self.config.end(), "nothing happens after the end");
        self.last = now;
        self.events += 1;
        for (book, own) in simulation.books().zip(&mut self.own) {
            book.check();
            check_own_orders(book, own);
        }
        if let Some(machine) = simulation.machine(HostId(0)) {
            self.check_counters(machine.counters());
            if self.events.is_multiple_of(13) {
                self.check_nodes(machine);
            }
            if self.events.is_multiple_of(PAGES_EVERY) {
                self.check_pages(machine);
            }
        }
    }

    fn check_counters(&mut self, now: Counters) {
        // Panics where a counter fell.
        let grown = now.since(&self.counters);
        assert!(now.numa_hint_faults_local <= now.numa_hint_faults, "{now:?}");
        assert!(now.numa_pages_migrated <= now.pgmigrate_success, "{now:?}");
        assert!(now.numa_pages_migrated <= now.numa_hint_faults, "a page moves in its fault: {now:?}");
        let uncounted: u64 = self.placed.iter().flatten().sum();
        assert!(now.numa_hint_faults <= now.numa_pte_updates + uncounted, "what faults was marked: {now:?}");
        assert!(grown.numa_hint_faults <= 1_000, "one event touches a bounded number of pages: {grown:?}");
        self.counters = now;
    }

    /// Nodes hold every page, and what moved was counted.
    fn check_nodes(&self, machine: &Machine) {
        let Host::Model(host) = &self.config.hosts[0].host else { return };
        let mut moved = 0;
        for (region, on) in pages(self.config, machine).iter().enumerate() {
            let config = &host.machine.regions[region];
            assert_eq!(
                on.iter().sum::<u64>(),
                config.pages,
                "every page of {} lies on one node",
                config.name
            );
            let gained: u64 =
                on.iter().zip(&self.placed[region]).map(|(now, before)| now.saturating_sub(*before)).sum();
            let may_move = config.policy.migrates_on_fault();
            assert!(may_move || gained == 0, "{} has a policy that keeps it in place", config.name);
            // A copy on write moves a page uncounted.
            moved += if config.kind.copies_on_write() { 0 } else { gained };
        }
        let counted = machine.counters().numa_pages_migrated;
        assert!(moved <= counted, "{moved} pages moved, {counted} were counted");
    }

    /// Page by page: each is where the totals say, and a mark either has faulted or still stands.
    fn check_pages(&self, machine: &Machine) {
        let Host::Model(host) = &self.config.hosts[0].host else { return };
        let mut marked = 0;
        for (index, config) in host.machine.regions.iter().enumerate() {
            let region = RegionId(u16::try_from(index).unwrap());
            let mut on = vec![0; host.machine.topology.nodes.len()];
            for page in 0..config.pages {
                on[usize::from(machine.node_of(region, page).0)] += 1;
                marked += u64::from(machine.is_marked(region, page));
            }
            for (node, counted) in on.iter().enumerate() {
                let node = NodeId(u8::try_from(node).unwrap());
                assert_eq!(*counted, machine.pages_on(region, node), "{} on {node:?}", config.name);
            }
        }
        let counters = machine.counters();
        // A pass counts a range when it ends, so that marks of the present one are not counted yet (spec: 4.2).
        let made = counters.numa_hint_faults + marked;
        let uncounted: u64 = self.placed.iter().flatten().sum();
        let counted = counters.numa_pte_updates;
        assert!(counted <= made, "{counted} marks were counted, {made} were made: {counters:?}");
        assert!(made <= counted + uncounted, "{made} marks were made, {counted} were counted: {counters:?}");
    }
}

/// A resting child loses lots or leaves, and never comes back larger.
fn check_own_orders(book: &Book, seen: &mut BTreeMap<u64, Lots>) {
    let mut resting = BTreeMap::new();
    for side in Side::BOTH {
        for quote in book.levels(side) {
            let own = book.queue(side, quote.price).filter(|(id, _)| id.is_own());
            for (OrderId(id), lots) in own {
                assert!(resting.insert(id, lots).is_none(), "an order rests once");
                let before = seen.get(&id).copied().unwrap_or(lots);
                assert!(lots <= before, "own order {id} grew from {before:?} to {lots:?}");
            }
        }
    }
    seen.append(&mut resting.clone());
    if resting.is_empty() {
        seen.clear();
    }
}

fn pages(config: &RunConfig, machine: &Machine) -> Vec<Vec<u64>> {
    let Host::Model(host) = &config.hosts[0].host else { return Vec::new() };
    let nodes = u8::try_from(host.machine.topology.nodes.len()).unwrap();
    let regions = u16::try_from(host.machine.regions.len()).unwrap();
    let of = |region| (0..nodes).map(|node| machine.pages_on(RegionId(region), NodeId(node))).collect();
    (0..regions).map(of).collect()
}

/// Runs under the checker and, if the run ends within the limit, closes its accounts. Gives the events seen.
fn watch(config: &RunConfig, replication: u32, mechanisms: Mechanisms, balancing: bool) -> u64 {
    let mut simulation = simulation(config, replication, mechanisms, balancing);
    let mut checker = Checker::new(config, &simulation);
    while let Some(now) = simulation.step() {
        checker.check(now, &simulation);
        if checker.events == EVENTS_MAX {
            return checker.events;
        }
    }
    for book in simulation.books() {
        let quotes =
            Side::BOTH.into_iter().flat_map(|side| book.levels(side).map(move |quote| (side, quote)));
        let resting = quotes.flat_map(|(side, quote)| book.queue(side, quote.price));
        assert_eq!(resting.filter(|(id, _)| id.is_own()).count(), 0, "no child outlives its parent");
    }
    close_accounts(&simulation.finish());
    checker.events
}

fn close_accounts(result: &numashock_sim::RunResult) {
    for parent in &result.parents {
        assert!(parent.filled <= parent.order.quantity, "no parent trades more than its size: {parent:?}");
        for shortfall in [&parent.shortfalls.swept, &parent.shortfalls.marked] {
            let parts = shortfall.delay + shortfall.impact + shortfall.miss + shortfall.fees;
            assert_eq!(shortfall.is, parts, "{parent:?}");
        }
        if parent.filled == parent.order.quantity {
            assert_eq!(parent.shortfalls.swept.miss, 0, "nothing was missed: {parent:?}");
            assert_eq!(parent.shortfalls.swept.is, parent.shortfalls.marked.is);
        }
    }
    let bucketed = |of: fn(&Counters) -> u64| -> u64 {
        result.hosts[0].seconds.iter().map(|bucket| of(&bucket.counters)).sum()
    };
    let kinds: [fn(&Counters) -> u64; 5] = [
        |counters| counters.numa_pte_updates,
        |counters| counters.numa_hint_faults,
        |counters| counters.numa_hint_faults_local,
        |counters| counters.numa_pages_migrated,
        |counters| counters.pgmigrate_success,
    ];
    for of in kinds {
        // The last second ends with the run and closes before the run's last event.
        assert!(bucketed(of) <= of(&result.hosts[0].counters), "buckets hold no more than the counters");
    }
    let releases: u64 = result.parents.iter().map(|parent| u64::from(parent.releases)).sum();
    // What leaves after its parent's deadline is in no parent's account.
    let left = result.hosts[0].gaps.len() as u64 + u64::from(!result.hosts[0].latencies_ns.is_empty());
    assert!(releases <= left, "{releases} releases in accounts, {left} left the thread");
}

/// Says how to run a seed again if the thread panics.
struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("swarm seed {}: SWARM={} cargo test -p numashock-tests swarm", self.0, self.0);
        }
    }
}

fn seeds() -> Range<u64> {
    let Ok(wanted) = std::env::var("SWARM") else { return SEEDS };
    let number = |text: &str| text.parse::<u64>().expect("SWARM=7 or SWARM=0..500");
    match wanted.split_once("..") {
        Some((from, until)) => number(from)..number(until),
        None => number(&wanted)..number(&wanted) + 1,
    }
}

#[test]
fn invariants_hold_after_every_event_of_a_swarm() {
    let mut events = 0;
    for seed in seeds() {
        let _on_panic = OnPanic(seed);
        let scenario = Scenario::parse(&scenario_file("swarm.toml"), &swarm::scenario(seed), &[])
            .unwrap_or_else(|error| panic!("{error}"));
        let choices = scenario.choices(1_000_000).unwrap_or_else(|error| panic!("{error}"));
        // The world is chosen too; the real one most often.
        let world = if seed % 2 == 0 { 14 } else { usize::try_from(seed / 2 % 15).unwrap() };
        events += watch(&choices[0].config, 0, Mechanisms::from_index(world), seed % 7 != 3);
    }
    assert!(events > 1_000, "the swarm is not empty");
}

/// Whatever is done from outside is no lateness (attribution: A7).
#[test]
fn queue_decay_alone_is_the_free_world_of_a_swarm() {
    let alone = Mechanisms { queue_decay: true, ..Mechanisms::FREE };
    for seed in seeds() {
        let _on_panic = OnPanic(seed);
        let scenario = Scenario::parse(&scenario_file("swarm.toml"), &swarm::scenario(seed), &[]).unwrap();
        let config = scenario.choices(1_000_000).unwrap().remove(0).config;
        let [free, decay] = [Mechanisms::FREE, alone].map(|world| run_once(&config, 0, world, true, 0).hash);
        assert_eq!(free, decay, "{seed}");
    }
}

#[test]
fn invariants_hold_after_every_event_of_the_test_scenarios() {
    for name in
        ["migrations.toml", "thread-move.toml", "controller.toml", "recorded-host.toml", "recorded-flow.toml"]
    {
        let scenario = Scenario::read(&scenario_file(name), &[]).unwrap();
        let config = scenario.choices(1_000_000).unwrap().remove(0).config;
        assert!(watch(&config, 1, Mechanisms::REAL, true) > 1_000, "{name}");
    }
}

/// The swarm is worth its time only if it reaches what it checks.
#[test]
fn the_swarm_reaches_every_part() {
    let texts: Vec<String> = SEEDS.map(swarm::scenario).collect();
    for part in [
        "four-state",
        "threshold-without-hysteresis",
        "do-nothing",
        "disturbance.move",
        "disturbance.batch",
        "warm",
        "hot-cold",
        "bind-balancing",
        "preferred",
        "6.1\"",
        "6.12.117",
        "best-price",
        "24MiB",
        "set_knobs",
        "batch_job",
        "memory_pressure",
        "steal",
        "irq_storm",
        "backward",
        "telemetry_gap",
        "gateway_disconnect",
        "gateway_throttle",
        "market_data_burst",
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "no seed has {part}");
    }
    assert_eq!(swarm::scenario(5), swarm::scenario(5));
    assert_ne!(swarm::scenario(5), swarm::scenario(6));
}
