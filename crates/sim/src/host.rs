//! The host of a run: the simulated machine, or stalls from a recording.

use std::collections::BTreeMap;

use numashock_accounting::Mechanisms;
use numashock_controller::Actions;
use numashock_engine::{EventHash, EventQueue, Nanos, Seed, Span};
use numashock_execution::WorkKind;
use numashock_machine::{
    self as machine, Cause, Charges, Counters, CpuId, Effects, Knobs, Machine, MachineConfig, NodeId, Owner,
    RegionId, Stall, ThreadId, UnitCost, WorkId,
};

use crate::desk::StallTotals;
use crate::event::Event;
use crate::injector::{Disturbance, Injected, KnobChange};
use crate::notes;
use crate::recorded_host::{RecordedHost, RecordedOwner, RecordedStall, Row};
use crate::scenario::config::{Host, HostId, ModelHost, RecordedSource};

/// A host that is running.
#[derive(Debug)]
pub(crate) struct RunningHost {
    number: HostId,
    kind: Kind,
    effects: Effects,
    stalls: Vec<(Owner, Span, Option<Cause>)>,
    totals: StallTotals,
    mechanisms: Mechanisms,
}

#[derive(Debug)]
enum Kind {
    Model { machine: Box<Machine>, host: Box<ModelHost>, standing: Box<Standing> },
    Recorded(Box<Replayed>),
}

/// What the machine has been set to from outside, by whom, so that the end of one thing leaves the others in force.
#[derive(Debug)]
struct Standing {
    /// False in a world without balancing: nothing switches it on.
    balancing: bool,
    /// What the controller asks for.
    actions: Actions,
    /// Changes of the knobs in force, oldest first, by disturbance.
    changes: Vec<(u32, KnobChange)>,
    /// Neighbours' traffic by nodes of CPU and memory: what stays, and what is added for a while.
    loads: BTreeMap<(u8, u8), [u64; 2]>,
    /// Pages that others occupy, by node.
    pressure: BTreeMap<u8, u64>,
    /// Where threads were that have been moved for a while, by disturbance.
    moved_from: BTreeMap<u32, CpuId>,
}

impl Standing {
    fn new(balancing: bool) -> Standing {
        Standing {
            balancing,
            actions: Actions::NORMAL,
            changes: Vec::new(),
            loads: BTreeMap::new(),
            pressure: BTreeMap::new(),
            moved_from: BTreeMap::new(),
        }
    }

    /// The knobs in force: the host's own, changed by disturbances, slowed by the controller.
    fn knobs(&self, own: Knobs) -> Knobs {
        let own = self.changes.iter().fold(own, |knobs, (_, change)| change.applied_to(knobs));
        let asked = self.actions.scanner;
        Knobs {
            balancing: self.balancing && own.balancing && !self.actions.balancing_off,
            tiering: self.balancing && own.tiering && !self.actions.balancing_off,
            scan_delay_ms: asked.map_or(own.scan_delay_ms, |ask| ask.scan_delay_ms.max(own.scan_delay_ms)),
            scan_size_mb: asked.map_or(own.scan_size_mb, |ask| ask.scan_size_mb.min(own.scan_size_mb)),
            ..own
        }
    }

    fn load(&self, (from, to): (u8, u8)) -> machine::Disturbance {
        let [stays, added] = self.loads.get(&(from, to)).copied().unwrap_or_default();
        let mbps = stays.saturating_add(added).min(u64::from(u32::MAX));
        machine::Disturbance::BatchLoad { from: NodeId(from), to: NodeId(to), mbps }
    }

    /// Occupies or frees memory of a node.
    fn occupy(&mut self, node: u8, pages: u64, ends: bool) -> machine::Disturbance {
        let occupied = self.pressure.entry(node).or_default();
        *occupied = if ends { *occupied - pages } else { *occupied + pages };
        machine::Disturbance::MemoryPressure { node: NodeId(node), pages: *occupied }
    }

    /// Begins or ends traffic that has a length.
    fn add_load(&mut self, nodes: (u8, u8), mbps: u64, ends: bool) -> machine::Disturbance {
        let [_, added] = self.loads.entry(nodes).or_default();
        *added = if ends { *added - mbps } else { *added + mbps };
        self.load(nodes)
    }
}

impl KnobChange {
    /// The knobs after the change.
    pub(crate) fn applied_to(&self, knobs: Knobs) -> Knobs {
        Knobs {
            balancing: self.balancing.unwrap_or(knobs.balancing),
            tiering: knobs.tiering && self.balancing != Some(false),
            scan_delay_ms: self.scan_delay_ms.unwrap_or(knobs.scan_delay_ms),
            scan_period_min_ms: self.scan_period_min_ms.unwrap_or(knobs.scan_period_min_ms),
            scan_period_max_ms: self.scan_period_max_ms.unwrap_or(knobs.scan_period_max_ms),
            scan_size_mb: self.scan_size_mb.unwrap_or(knobs.scan_size_mb),
            ..knobs
        }
    }
}

/// A recording that is being replayed: the stalls of the dispatch thread and the counters of the whole host.
#[derive(Debug)]
struct Replayed {
    base: [Span; 3],
    stalls: Vec<RecordedStall>,
    rows: Vec<Row>,
    next_row: usize,
    counters: Counters,
}

impl Replayed {
    /// Without balancing the host has no stalls and its counters stand still.
    fn new(source: &RecordedSource, seed: Seed, balancing: bool) -> Replayed {
        let host = RecordedHost::new(source.recording.clone(), source.costs, source.dispatch_share_ppm, seed)
            .expect("the recording was checked when the scenario was lowered");
        Replayed {
            base: source.base,
            stalls: if balancing { host.stalls().collect() } else { Vec::new() },
            rows: if balancing { host.recording().rows().to_vec() } else { Vec::new() },
            next_row: 0,
            counters: Counters::default(),
        }
    }

    fn read_counters(&mut self, now: Nanos) {
        while let Some(row) = self.rows.get(self.next_row).filter(|row| row.until <= now) {
            self.counters.numa_pte_updates += row.pte_updates;
            self.counters.numa_hint_faults += row.hint_faults;
            self.counters.numa_hint_faults_local += row.hint_faults_local;
            self.counters.numa_pages_migrated += row.pages_migrated;
            self.next_row += 1;
        }
    }
}

impl RunningHost {
    pub(crate) fn new(
        (number, host): (HostId, &Host),
        seed: Seed,
        mechanisms: Mechanisms,
        balancing: bool,
        queue: &mut EventQueue<Event>,
    ) -> RunningHost {
        let mut effects = Effects::default();
        let kind = match host {
            Host::Model(host) => {
                let mut machine = host.machine.clone();
                machine.knobs.balancing &= balancing;
                machine.knobs.tiering &= balancing;
                machine.charges = Charges {
                    hint_fault: mechanisms.hint_fault,
                    migration_copy: mechanisms.migration_copy,
                    dispatch_jitter: mechanisms.dispatch_jitter,
                };
                let machine =
                    Machine::new(machine, seed, &mut effects).expect("the scenario was checked when lowered");
                let standing = Box::new(Standing::new(balancing));
                Kind::Model { machine: Box::new(machine), host: host.clone(), standing }
            }
            Host::Recorded(source) => {
                let replayed = Replayed::new(source, seed, balancing);
                if let Some(first) = replayed.stalls.first() {
                    queue.push(first.at, Event::Stall(number, 0));
                }
                Kind::Recorded(Box::new(replayed))
            }
        };
        let (stalls, totals) = (Vec::new(), StallTotals::default());
        let mut host = RunningHost { number, kind, effects, stalls, totals, mechanisms };
        // No parent lives yet, so nobody reads notes of it.
        host.drain(Nanos::ZERO, queue, &mut EventHash::new(0));
        host
    }

    /// A machine without a desk: no work is done but the threads' own, and everything costs its time.
    pub(crate) fn alone(config: &MachineConfig, seed: Seed) -> RunningHost {
        let mut effects = Effects::default();
        let machine = Machine::new(config.clone(), seed, &mut effects)
            .expect("the scenario was checked when it was lowered");
        let host = ModelHost { machine: config.clone(), dispatch: ThreadId(0), works: [WorkId(0); 3] };
        RunningHost {
            number: HostId(0),
            kind: Kind::Model {
                machine: Box::new(machine),
                host: Box::new(host),
                standing: Box::new(Standing::new(config.knobs.balancing)),
            },
            effects,
            stalls: Vec::new(),
            totals: StallTotals::default(),
            mechanisms: Mechanisms::REAL,
        }
    }

    /// What the machine asked for since it was last asked.
    pub(crate) fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    pub(crate) fn machine(&self) -> Option<&Machine> {
        match &self.kind {
            Kind::Model { machine, .. } => Some(machine),
            Kind::Recorded(_) => None,
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        match &self.kind {
            Kind::Model { machine, .. } => machine.counters(),
            Kind::Recorded(replayed) => replayed.counters,
        }
    }

    pub(crate) fn totals(&self) -> StallTotals {
        self.totals
    }

    pub(crate) fn handle(&mut self, now: Nanos, event: numashock_machine::Event, hash: &mut EventHash) {
        match &mut self.kind {
            Kind::Model { machine, .. } => machine.handle(now, event, hash, &mut self.effects),
            Kind::Recorded(_) => unreachable!("a recording schedules no machine events"),
        }
    }

    /// Runs a unit of work on the dispatch thread. Gives its base service and the faults and migrations charged to it.
    pub(crate) fn unit(&mut self, now: Nanos, work: WorkKind, hash: &mut EventHash) -> (Span, [Span; 2]) {
        let index = match work {
            WorkKind::Quote => 0,
            WorkKind::Report => 1,
            WorkKind::Timer => 2,
        };
        match &mut self.kind {
            Kind::Model { machine, host, .. } => {
                let UnitCost { base, hint_fault, migration_copy } =
                    machine.run_unit(now, host.dispatch, host.works[index], hash, &mut self.effects);
                let charged = [
                    self.charge(Owner::HintFault, hint_fault),
                    self.charge(Owner::MigrationCopy, migration_copy),
                ];
                (base, charged)
            }
            Kind::Recorded(replayed) => (replayed.base[index], [Span::ZERO; 2]),
        }
    }

    /// The stall of that number begins; the next one is queued.
    pub(crate) fn recorded_stall(&mut self, number: u32, queue: &mut EventQueue<Event>) {
        let Kind::Recorded(replayed) = &self.kind else {
            unreachable!("only a recording has numbered stalls")
        };
        let stall = replayed.stalls[number as usize];
        if let Some(next) = replayed.stalls.get(number as usize + 1) {
            queue.push(next.at, Event::Stall(self.number, number + 1));
        }
        self.stalls.push((owner(stall.owner), stall.span, None));
    }

    /// Lets the controller's actions reach the machine: its knobs and its dispatch thread. A recording is what it is.
    ///
    /// No kernel has a switch of balancing for one process (spec: 4.1). A host has one process here, the trading process, so
    /// the host's switch is that process's.
    pub(crate) fn apply_actions(&mut self, now: Nanos, actions: &Actions, hash: &mut EventHash) {
        let Kind::Model { machine, host, standing } = &mut self.kind else { return };
        let before = std::mem::replace(&mut standing.actions, *actions);
        match (before.pin_dispatch, actions.pin_dispatch) {
            (false, true) => {
                let pin = machine::Disturbance::MoveThread {
                    thread: host.dispatch,
                    cpu: machine.thread(host.dispatch).cpu,
                };
                machine.disturb(now, pin, hash, &mut self.effects);
            }
            (true, false) => {
                let own = &host.machine.threads[host.dispatch.index()].affinity;
                machine.allow_cpus(host.dispatch, own);
            }
            _ => {}
        }
        self.settle_knobs(now, hash);
    }

    fn settle_knobs(&mut self, now: Nanos, hash: &mut EventHash) {
        let Kind::Model { machine, host, standing } = &mut self.kind else { return };
        let knobs = standing.knobs(host.machine.knobs);
        if knobs != machine.knobs() {
            machine.set_knobs(now, knobs, hash, &mut self.effects);
        }
    }

    /// A disturbance of the machine begins.
    pub(crate) fn inject(&mut self, now: Nanos, number: u32, injected: &Injected, hash: &mut EventHash) {
        use machine::Disturbance as Done;
        let Kind::Model { machine, standing, .. } = &mut self.kind else { return };
        let length = injected.length;
        let mut done = Vec::new();
        match &injected.disturbance {
            Disturbance::MoveThread { thread, cpu } => {
                let thread = thread_id(machine, thread);
                if length.is_some() {
                    standing.moved_from.insert(number, machine.thread(thread).cpu);
                }
                done.push(Done::MoveThread { thread, cpu: CpuId(*cpu) });
            }
            Disturbance::SetKnobs(change) => standing.changes.push((number, *change)),
            Disturbance::BatchLoad { cpu_node, memory_node, mbps } => {
                let nodes = (*cpu_node, *memory_node);
                if length.is_some() {
                    done.push(standing.add_load(nodes, *mbps, false));
                } else {
                    standing.loads.entry(nodes).or_default()[0] = *mbps;
                    done.push(standing.load(nodes));
                }
            }
            Disturbance::BatchJob { cpu_node, memory_node, mbps, pages } => {
                done.push(standing.occupy(*memory_node, *pages, false));
                done.push(standing.add_load((*cpu_node, *memory_node), *mbps, false));
            }
            Disturbance::MemoryPressure { node, pages } => done.push(standing.occupy(*node, *pages, false)),
            Disturbance::Steal { share_ppm } => {
                let length = length.expect("checked when lowered");
                done.push(Done::Steal { length, share_ppm: *share_ppm });
            }
            Disturbance::IrqStorm { cpu, period_ns, busy_ns } => done.push(Done::InterruptStorm {
                cpu: CpuId(*cpu),
                length: length.expect("checked when lowered"),
                period: Span(*period_ns),
                busy: Span(*busy_ns),
            }),
            _ => unreachable!("the other parts of a run have their own disturbances"),
        }
        done.into_iter().for_each(|one| machine.disturb(now, one, hash, &mut self.effects));
        self.settle_knobs(now, hash);
    }

    /// A disturbance of the machine ends.
    pub(crate) fn relieve(&mut self, now: Nanos, number: u32, injected: &Injected, hash: &mut EventHash) {
        let Kind::Model { machine, standing, .. } = &mut self.kind else { return };
        let mut done = Vec::new();
        match &injected.disturbance {
            Disturbance::MoveThread { thread, .. } => {
                let cpu = standing.moved_from.remove(&number).expect("a thread goes back once");
                done.push(machine::Disturbance::MoveThread { thread: thread_id(machine, thread), cpu });
            }
            Disturbance::SetKnobs(_) => standing.changes.retain(|(other, _)| *other != number),
            Disturbance::BatchLoad { cpu_node, memory_node, mbps } => {
                done.push(standing.add_load((*cpu_node, *memory_node), *mbps, true));
            }
            Disturbance::BatchJob { cpu_node, memory_node, mbps, pages } => {
                done.push(standing.occupy(*memory_node, *pages, true));
                done.push(standing.add_load((*cpu_node, *memory_node), *mbps, true));
            }
            Disturbance::MemoryPressure { node, pages } => done.push(standing.occupy(*node, *pages, true)),
            // The machine knows their end.
            Disturbance::Steal { .. } | Disturbance::IrqStorm { .. } => {}
            _ => unreachable!("the other parts of a run have their own disturbances"),
        }
        done.into_iter().for_each(|one| machine.disturb(now, one, hash, &mut self.effects));
        self.settle_knobs(now, hash);
    }

    /// Queues what the machine asked for; gives the stalls of the dispatch thread that count in this world.
    pub(crate) fn drain(&mut self, now: Nanos, queue: &mut EventQueue<Event>, hash: &mut EventHash) -> Span {
        for (at, event) in self.effects.schedule.drain(..) {
            queue.push(at, Event::Machine(self.number, event));
        }
        self.effects.passes.clear();
        let mut stalls = std::mem::take(&mut self.stalls);
        if let Kind::Model { host, .. } = &self.kind {
            let own = self.effects.stalls.drain(..).filter(|Stall { thread, .. }| *thread == host.dispatch);
            stalls.extend(own.map(|stall| (stall.owner, stall.span, Some(stall.cause))));
        }
        let mut charged = Span::ZERO;
        for (owner, span, cause) in stalls.drain(..) {
            let span = self.charge(owner, span);
            if span > Span::ZERO {
                notes::note_stall(hash, now, owner, cause, span);
            }
            charged += span;
        }
        self.stalls = stalls;
        charged
    }

    /// Brings the counters up to `now`; a simulated machine's always are.
    pub(crate) fn read_counters(&mut self, now: Nanos) -> Counters {
        if let Kind::Recorded(replayed) = &mut self.kind {
            replayed.read_counters(now);
        }
        self.counters()
    }

    /// Where memory and threads are, as one number; a recording has neither.
    pub(crate) fn placement(&self) -> u64 {
        let Kind::Model { machine, host, .. } = &self.kind else { return 0 };
        let mut hash = EventHash::new(0);
        for region in 0..host.machine.regions.len() {
            let region = RegionId(u16::try_from(region).expect("regions are numbered in 16 bits"));
            for node in 0..host.machine.topology.nodes.len() {
                let node = NodeId(u8::try_from(node).expect("nodes are numbered in 8 bits"));
                hash.record(Nanos::ZERO, 0, [u64::from(region.0), machine.pages_on(region, node)]);
            }
        }
        for thread in 0..machine.threads() {
            let thread = ThreadId(u16::try_from(thread).expect("threads are numbered in 16 bits"));
            hash.record(Nanos::ZERO, 1, [u64::from(thread.0), u64::from(machine.thread(thread).cpu.0)]);
        }
        hash.checkpoint().hash
    }

    pub(crate) fn add_queue_wait(&mut self, wait: Span) {
        self.totals.queue_wait += wait;
    }

    /// The owner keeps its nanoseconds; a mechanism that is off charges none (attribution: A3, A5).
    fn charge(&mut self, owner: Owner, span: Span) -> Span {
        let (on, total) = match owner {
            Owner::HintFault => (self.mechanisms.hint_fault, &mut self.totals.hint_fault),
            Owner::MigrationCopy => (self.mechanisms.migration_copy, &mut self.totals.migration_copy),
            Owner::DispatchJitter => (self.mechanisms.dispatch_jitter, &mut self.totals.dispatch_jitter),
        };
        if !on {
            return Span::ZERO;
        }
        *total += span;
        span
    }
}

fn thread_id(machine: &Machine, name: &str) -> ThreadId {
    machine.thread_named(name).expect("checked when lowered")
}

fn owner(recorded: RecordedOwner) -> Owner {
    match recorded {
        RecordedOwner::HintFault => Owner::HintFault,
        RecordedOwner::MigrationCopy => Owner::MigrationCopy,
        RecordedOwner::DispatchJitter => Owner::DispatchJitter,
    }
}

#[cfg(test)]
mod tests {
    use numashock_controller::ScannerRequest;

    use super::*;

    const OWN: Knobs = Knobs::KERNEL_DEFAULTS;

    fn size(scan_size_mb: u32) -> KnobChange {
        KnobChange { scan_size_mb: Some(scan_size_mb), ..KnobChange::default() }
    }

    #[test]
    fn knob_changes_are_layers_and_the_controller_slows_what_they_leave() {
        let mut standing = Standing::new(true);
        assert_eq!(standing.knobs(OWN), OWN);
        standing.changes.push((0, KnobChange { scan_delay_ms: Some(100), ..size(1024) }));
        standing.changes.push((1, size(16)));
        let both = standing.knobs(OWN);
        assert_eq!((both.scan_size_mb, both.scan_delay_ms, both.scan_period_max_ms), (16, 100, 60_000));
        standing.actions.scanner = Some(ScannerRequest { scan_delay_ms: 5_000, scan_size_mb: 64 });
        let slowed = standing.knobs(OWN);
        assert_eq!((slowed.scan_size_mb, slowed.scan_delay_ms), (16, 5_000), "never faster than asked");
        standing.changes.remove(1);
        assert_eq!(standing.knobs(OWN).scan_size_mb, 64, "the first layer is in force, slowed");
        standing.changes.clear();
        standing.actions = Actions::NORMAL;
        assert_eq!(standing.knobs(OWN), OWN);
    }

    #[test]
    fn nothing_switches_balancing_on_in_a_world_without_it() {
        let on = KnobChange { balancing: Some(true), ..KnobChange::default() };
        for (world, expected) in [(true, true), (false, false)] {
            let mut standing = Standing::new(world);
            standing.changes.push((0, on));
            assert_eq!(standing.knobs(Knobs { balancing: false, ..OWN }).balancing, expected);
        }
    }

    #[test]
    fn what_switches_balancing_off_switches_tiering_off() {
        let own = Knobs { tiering: true, ..OWN };
        assert_eq!(Standing::new(true).knobs(own), own);
        assert!(!Standing::new(false).knobs(own).tiering);
        for (balancing, expected) in [(true, true), (false, false)] {
            let change = KnobChange { balancing: Some(balancing), ..KnobChange::default() };
            assert_eq!(change.applied_to(own), Knobs { balancing, tiering: expected, ..OWN });
        }
        let mut standing = Standing::new(true);
        standing.actions.balancing_off = true;
        assert!(!standing.knobs(own).is_on());
    }

    #[test]
    fn what_overlaps_adds_up_and_ends_one_by_one() {
        let mut standing = Standing::new(true);
        let load = |mbps| machine::Disturbance::BatchLoad { from: NodeId(0), to: NodeId(1), mbps };
        standing.loads.insert((0, 1), [10, 0]);
        assert_eq!(standing.add_load((0, 1), 5, false), load(15));
        assert_eq!(standing.add_load((0, 1), 7, false), load(22));
        assert_eq!(standing.add_load((0, 1), 5, true), load(17));
        let pressure = |pages| machine::Disturbance::MemoryPressure { node: NodeId(1), pages };
        assert_eq!(standing.occupy(1, 8, false), pressure(8));
        assert_eq!(standing.occupy(1, 3, false), pressure(11));
        assert_eq!(standing.occupy(1, 8, true), pressure(3));
    }
}
