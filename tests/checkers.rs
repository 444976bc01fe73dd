//! Invariants after every event, in small scenarios that a seed chooses.
//!
//! `SWARM=7` runs seed 7 alone, `SWARM=0..500` these; a failure prints its seed.

use std::collections::BTreeMap;
use std::ops::Range;

use numashock_accounting::Mechanisms;
use numashock_book::{Book, Lots, OrderId, Side};
use numashock_engine::{Nanos, Seed, Stream};
use numashock_experiment::sweep::{run_once, simulation};
use numashock_machine::{Counters, Machine, NodeId, RegionId};
use numashock_sim::Simulation;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{Host, RunConfig};

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
    /// Lots of each own order when last seen resting.
    own: BTreeMap<u64, Lots>,
    /// Pages of each region on each node at the start.
    placed: Vec<Vec<u64>>,
    events: u64,
}

impl<'a> Checker<'a> {
    fn new(config: &'a RunConfig, simulation: &Simulation<'_>) -> Checker<'a> {
        let placed = simulation.machine().map_or_else(Vec::new, |machine| pages(config, machine));
        Checker {
            config,
            last: Nanos::ZERO,
            counters: Counters::default(),
            own: BTreeMap::new(),
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
        simulation.book().check();
        self.check_own_orders(simulation.book());
        if let Some(machine) = simulation.machine() {
            self.check_counters(machine.counters());
            if self.events.is_multiple_of(13) {
                self.check_nodes(machine);
            }
            if self.events.is_multiple_of(PAGES_EVERY) {
                self.check_pages(machine);
            }
        }
    }

    /// A resting child loses lots or leaves, and never comes back larger.
    fn check_own_orders(&mut self, book: &Book) {
        let mut resting = BTreeMap::new();
        for side in Side::BOTH {
            for quote in book.levels(side) {
                let own = book.queue(side, quote.price).filter(|(id, _)| id.is_own());
                for (OrderId(id), lots) in own {
                    assert!(resting.insert(id, lots).is_none(), "an order rests once");
                    let before = self.own.get(&id).copied().unwrap_or(lots);
                    assert!(lots <= before, "own order {id} grew from {before:?} to {lots:?}");
                }
            }
        }
        self.own.append(&mut resting.clone());
        if resting.is_empty() {
            self.own.clear();
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
        let Host::Model(host) = &self.config.host else { return };
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
        let Host::Model(host) = &self.config.host else { return };
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

fn pages(config: &RunConfig, machine: &Machine) -> Vec<Vec<u64>> {
    let Host::Model(host) = &config.host else { return Vec::new() };
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
    let own =
        Side::BOTH.iter().flat_map(|side| simulation.book().levels(*side).map(move |quote| (*side, quote)));
    let left = own
        .flat_map(|(side, quote)| simulation.book().queue(side, quote.price))
        .filter(|(id, _)| id.is_own())
        .count();
    assert_eq!(left, 0, "no child outlives its parent");
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
    let bucketed =
        |of: fn(&Counters) -> u64| -> u64 { result.seconds.iter().map(|bucket| of(&bucket.counters)).sum() };
    let kinds: [fn(&Counters) -> u64; 5] = [
        |counters| counters.numa_pte_updates,
        |counters| counters.numa_hint_faults,
        |counters| counters.numa_hint_faults_local,
        |counters| counters.numa_pages_migrated,
        |counters| counters.pgmigrate_success,
    ];
    for of in kinds {
        // The last second ends with the run and closes before the run's last event.
        assert!(bucketed(of) <= of(&result.counters), "buckets hold no more than the counters");
    }
    let releases: u64 = result.parents.iter().map(|parent| u64::from(parent.releases)).sum();
    // What leaves after its parent's deadline is in no parent's account.
    let left = result.gaps.len() as u64 + u64::from(!result.latencies_ns.is_empty());
    assert!(releases <= left, "{releases} releases in accounts, {left} left the thread");
}

/// A random small scenario: some kinds of thing are switched off altogether.
pub(crate) fn swarm_scenario(seed: u64) -> String {
    let mut draw = Draw(Seed(seed).stream("swarm", 0));
    let warmup = draw.between(0, 2);
    let duration = draw.between(3, 6);
    let longest = draw.between(1, duration.min(3));
    let (dispatch, feed) = (draw.below(4), draw.below(4));
    let start = draw.one_of(&["cold", "warm"]);
    let mut text = format!(
        "name = \"swarm\"\ndescription = \"seed {seed}\"\n\n[run]\nseed = {seed}\nseeds = 1\nwarmup = \"{warmup}s\"\n\
         duration = \"{duration}s\"\ntransient = \"1s\"\nstart = \"{start}\"\n"
    );
    text += &swarm_machine(&mut draw);
    text += &swarm_threads(&mut draw, dispatch, feed);
    text += &swarm_market(&mut draw);
    text += &format!(
        "\n[parents]\ncount = {}\nquantity = [1, {}]\nhorizon = [\"{}ms\", \"{longest}s\"]\n",
        draw.between(1, 10),
        draw.one_of(&["5", "100", "3000"]),
        draw.one_of(&["1", "500", "1000"]),
    );
    text += &swarm_desk(&mut draw);
    text + &swarm_disturbances(&mut draw)
}

fn swarm_machine(draw: &mut Draw) -> String {
    let preset = draw.one_of(&["cascade-lake", "skylake-sp", "ice-lake"]);
    let kernel = draw.one_of(&["6.1", "6.4", "6.6", "6.8", "6.12.95", "6.12.117", "6.14", "6.19"]);
    let (enabled, hz) = (draw.below(8) > 0, draw.one_of(&["100", "250", "1000"]));
    let delay = draw.one_of(&["1ms", "100ms", "1s"]);
    let (least, most) = (draw.one_of(&["100ms", "1s"]), draw.one_of(&["1s", "60s"]));
    let scan = draw.one_of(&["4MiB", "16MiB", "256MiB"]);
    // The second node is sometimes too small to take what would move there.
    let memory = draw.one_of(&["24MiB", "1GiB"]);
    let mut text = format!(
        "\n[machine]\npreset = \"../../scenarios/presets/{preset}.toml\"\nkernel = \"{kernel}\"\nhz = {hz}\n\
         \n[machine.balancing]\nenabled = {enabled}\nscan_delay = \"{delay}\"\nscan_period_min = \"{least}\"\n\
         scan_period_max = \"{most}\"\nscan_size = \"{scan}\"\n\
         \n[[machine.node]]\ncpus = [0, 1]\nmemory = \"1GiB\"\ndistance = [10, 21]\n\
         \n[[machine.node]]\ncpus = [2, 3]\nmemory = \"{memory}\"\ndistance = [21, 10]\n"
    );
    for region in ["state", "history"] {
        let size = draw.one_of(&["8KiB", "2MiB", "10MiB", "16MiB"]);
        let policy = draw.one_of(&["default", "default", "default", "bind", "bind-balancing", "preferred"]);
        text += &format!("\n[region.{region}]\nsize = \"{size}\"\nnode = 0\npolicy = \"{policy}\"\n");
        let map = draw.one_of(&["anonymous", "anonymous", "private-file", "shared-file", "tmpfs-private"]);
        text += &format!("map = \"{map}\"\npinned = {}\n", draw.below(8) == 0);
    }
    if draw.below(3) == 0 {
        let rule = draw.one_of(numashock_machine::Rules::NAMES);
        text += &format!("\n[machine.rules]\n{rule} = false\n");
    }
    if draw.below(3) == 0 {
        let (at, cpu) = (draw.between(0, 3_000), draw.below(4));
        text += &format!(
            "\n[disturbance.move]\nat = \"{at}ms\"\nmove_thread = {{ thread = \"dispatch\", cpu = {cpu} }}\n"
        );
    }
    if draw.below(3) == 0 {
        let (at, rate) = (draw.between(0, 3_000), draw.one_of(&["0", "15", "34", "200"]));
        text += &format!(
            "\n[disturbance.batch]\nat = \"{at}ms\"\nbatch_load = {{ cpu_node = 1, memory_node = 0, bandwidth = \"{rate}GB/s\" }}\n"
        );
    }
    text
}

fn swarm_threads(draw: &mut Draw, dispatch: u64, feed: u64) -> String {
    let mut text = String::new();
    let main = draw.one_of(&["dispatch", "feed"]);
    for (name, cpu) in [("dispatch", dispatch), ("feed", feed)] {
        let main = name == main;
        let (spins, duty) = (draw.below(2) == 0, draw.one_of(&["5%", "50%", "100%"]));
        text += &format!(
            "\n[thread.{name}]\nmain = {main}\ncpu = {cpu}\nbusy_poll = {spins}\nduty = \"{duty}\"\n"
        );
        text += &format!("\n[thread.{name}.touches]\n");
        for region in ["state", "history"] {
            let rate = draw.one_of(&["0", "1", "300", "3000"]);
            if rate != "0" {
                let (pattern, write) = (draw.pattern(), draw.one_of(&["0%", "50%", "100%"]));
                text += &format!(
                    "\n[thread.{name}.touches.{region}]\nrate = \"{rate}/s\"\npattern = {pattern}\nwrite = \"{write}\"\n"
                );
            }
        }
    }
    for kind in ["quote", "report", "timer"] {
        let touches: Vec<String> = (0..draw.below(3))
            .map(|_| {
                let (region, count) = (draw.one_of(&["state", "history"]), draw.one_of(&["0", "1", "30", "300"]));
                let (pattern, write) = (draw.pattern(), draw.one_of(&["0%", "20%", "100%"]));
                format!(
                    "{{ region = \"{region}\", count = {count}, pattern = {pattern}, write = \"{write}\", miss = \"30%\" }}"
                )
            })
            .collect();
        let compute = draw.one_of(&["0ns", "1us", "200us"]);
        text += &format!("\n[work.{kind}]\ncompute = \"{compute}\"\ntouches = [{}]\n", touches.join(", "));
    }
    text
}

fn swarm_market(draw: &mut Draw) -> String {
    let (feed_latency, feed) =
        (draw.one_of(&["0ns", "5us", "1ms"]), draw.one_of(&["best-price", "best-quote"]));
    let market = draw.one_of(&["0", "5", "80"]);
    let cancel = draw.one_of(&["0.2", "1", "5"]);
    let lots = draw.one_of(&["1", "10"]);
    let (latency, sigma) = (draw.one_of(&["0ns", "20us", "3ms"]), draw.one_of(&["0%", "20%", "100%"]));
    format!(
        "\n[market]\nfeed_latency = \"{feed_latency}\"\nfeed = \"{feed}\"\n\n[market.poisson]\n\
         limit = [\"60/s\", \"40/s\", \"30/s\"]\ncancel = [\"{cancel}/s\"]\nmarket = \"{market}/s\"\nlots = {lots}\n\
         bid_ticks = 10000\nbook = [{}, 5, 9]\n\n[gateway]\nlatency = \"{latency}\"\nsigma = \"{sigma}\"\n\
         report_latency = \"{latency}\"\n",
        draw.between(1, 20)
    )
}

fn swarm_desk(draw: &mut Draw) -> String {
    let (slices, reprice) = (draw.one_of(&["1", "7", "40"]), draw.between(1, 3));
    let (patience, catch_up) = (draw.one_of(&["1ms", "200ms", "10s"]), draw.one_of(&["0ns", "100ms", "10s"]));
    let (through, spacing) = (draw.between(0, 3), draw.one_of(&["0s", "5ms"]));
    let kind = draw.one_of(&["do-nothing", "four-state", "threshold-without-hysteresis"]);
    let off = draw.below(2) == 0;
    format!(
        "\n[tactic]\nschedule = \"twap\"\nslices = {slices}\nreprice_ticks = {reprice}\npatience = \"{patience}\"\n\
         catch_up = \"{catch_up}\"\ncross_through = {through}\nchild_spacing = \"{spacing}\"\ntake_fee = 1\nmake_fee = -1\n\
         \n[controller]\nkind = \"{kind}\"\n\n[controller.limits]\nrhf = [\"20%\", \"10%\", \"60%\", \"40%\"]\n\
         mcr_kib_per_s = [64, 32, 1024, 512]\ndcj = [\"200%\", \"150%\", \"600%\", \"400%\"]\nqdl = [\"20%\", \"10%\"]\n\
         deadline_miss = [\"50%\", \"25%\"]\ndwell = 1\nshock_limit = 2\nrelease = 1\nstale_limit = 3\n\
         child_spacing = \"200%\"\nmin_reprice_interval = \"50ms\"\nparticipation_cap = \"20%\"\nscan_delay = \"5s\"\n\
         scan_size = \"4MiB\"\nbalancing_off_permitted = {off}\n"
    )
}

/// Each kind is there now and then, once, again and again or at random.
fn swarm_disturbances(draw: &mut Draw) -> String {
    let kinds = [
        "move_thread = { thread = \"feed\", cpu = 2 }",
        "set_knobs = { enabled = true, scan_period_min = \"50ms\", scan_size = \"64MiB\" }",
        "batch_load = { cpu_node = 0, memory_node = 1, bandwidth = \"40GB/s\" }",
        "batch_job = { cpu_node = 1, memory_node = 1, size = \"20MiB\", bandwidth = \"90GB/s\" }",
        "memory_pressure = { node = 1, size = \"24MiB\" }",
        "steal = { share = \"70%\" }",
        "irq_storm = { cpu = 0, rate = \"3000/s\", busy = \"200us\" }",
        "clock_step = { forward = \"700ms\" }",
        "clock_step = { backward = \"1300ms\" }",
        "telemetry_gap = {}",
        "gateway_disconnect = {}",
        "gateway_throttle = { rate = \"15/s\" }",
        "market_data_burst = { messages = 300 }",
    ];
    let mut text = String::new();
    for (number, kind) in kinds.iter().enumerate() {
        if draw.below(5) == 0 {
            let when = draw.one_of(&["at = \"900ms\"", "every = \"1s\"", "rate = \"2/s\"\nfrom = \"500ms\""]);
            let length = draw.one_of(&["1ms", "400ms", "3s"]);
            text += &format!("\n[disturbance.swarm{number}]\n{when}\nlength = \"{length}\"\n{kind}\n");
        }
    }
    text
}

struct Draw(Stream);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most - least + 1)
    }

    fn one_of<'s>(&mut self, values: &[&'s str]) -> &'s str {
        values[usize::try_from(self.0.below(values.len() as u64)).unwrap()]
    }

    fn pattern(&mut self) -> &'static str {
        self.one_of(&[
            "\"sequential\"",
            "\"uniform\"",
            "{ hot-cold = { pages = \"10%\", touches = \"90%\" } }",
        ])
    }
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
        let scenario = Scenario::parse(&scenario_file("swarm.toml"), &swarm_scenario(seed), &[])
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
        let scenario = Scenario::parse(&scenario_file("swarm.toml"), &swarm_scenario(seed), &[]).unwrap();
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
    let texts: Vec<String> = SEEDS.map(swarm_scenario).collect();
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
    assert_eq!(swarm_scenario(5), swarm_scenario(5));
    assert_ne!(swarm_scenario(5), swarm_scenario(6));
}
