//! The host of a run: the simulated machine, or stalls from a recording.

use numashock_accounting::Mechanisms;
use numashock_controller::Actions;
use numashock_engine::{EventHash, EventQueue, Nanos, Seed, Span};
use numashock_execution::WorkKind;
use numashock_machine::{Charges, Counters, Effects, Knobs, Machine, Owner, Stall, UnitCost};

use crate::desk::StallTotals;
use crate::event::Event;
use crate::recorded_host::{RecordedHost, RecordedOwner, RecordedStall, Row};
use crate::scenario::config::{Host, ModelHost, RecordedSource, RunConfig};

/// A host that is running.
#[derive(Debug)]
pub(crate) struct RunningHost {
    kind: Kind,
    effects: Effects,
    stalls: Vec<(Owner, Span)>,
    totals: StallTotals,
    mechanisms: Mechanisms,
}

#[derive(Debug)]
enum Kind {
    Model { machine: Box<Machine>, host: Box<ModelHost>, balancing: bool },
    Recorded(Box<Replayed>),
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
        config: &RunConfig,
        seed: Seed,
        mechanisms: Mechanisms,
        balancing: bool,
        queue: &mut EventQueue<Event>,
    ) -> RunningHost {
        let mut effects = Effects::default();
        let kind = match &config.host {
            Host::Model(host) => {
                let mut machine = host.machine.clone();
                machine.knobs.balancing &= balancing;
                let balancing = machine.knobs.balancing;
                machine.charges = Charges {
                    hint_fault: mechanisms.hint_fault,
                    migration_copy: mechanisms.migration_copy,
                    dispatch_jitter: mechanisms.dispatch_jitter,
                };
                let machine =
                    Machine::new(machine, seed, &mut effects).expect("the scenario was checked when lowered");
                Kind::Model { machine: Box::new(machine), host: host.clone(), balancing }
            }
            Host::Recorded(source) => {
                let replayed = Replayed::new(source, seed, balancing);
                if let Some(first) = replayed.stalls.first() {
                    queue.push(first.at, Event::Stall(0));
                }
                Kind::Recorded(Box::new(replayed))
            }
        };
        let mut host =
            RunningHost { kind, effects, stalls: Vec::new(), totals: StallTotals::default(), mechanisms };
        host.drain(queue);
        host
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

    /// Runs a unit of work on the dispatch thread. Gives its base service and the stalls charged to it.
    pub(crate) fn unit(&mut self, now: Nanos, work: WorkKind, hash: &mut EventHash) -> (Span, Span) {
        let index = match work {
            WorkKind::Quote => 0,
            WorkKind::Report => 1,
            WorkKind::Timer => 2,
        };
        match &mut self.kind {
            Kind::Model { machine, host, .. } => {
                let UnitCost { base, hint_fault, migration_copy } =
                    machine.run_unit(now, host.dispatch, host.works[index], hash, &mut self.effects);
                let charged = self.charge(Owner::HintFault, hint_fault)
                    + self.charge(Owner::MigrationCopy, migration_copy);
                (base, charged)
            }
            Kind::Recorded(replayed) => (replayed.base[index], Span::ZERO),
        }
    }

    /// The stall of that number begins; the next one is queued.
    pub(crate) fn recorded_stall(&mut self, number: u32, queue: &mut EventQueue<Event>) {
        let Kind::Recorded(replayed) = &self.kind else {
            unreachable!("only a recording has numbered stalls")
        };
        let stall = replayed.stalls[number as usize];
        if let Some(next) = replayed.stalls.get(number as usize + 1) {
            queue.push(next.at, Event::Stall(number + 1));
        }
        self.stalls.push((owner(stall.owner), stall.span));
    }

    /// Lets the controller's actions reach the machine's knobs.
    pub(crate) fn apply_actions(&mut self, now: Nanos, actions: &Actions, hash: &mut EventHash) {
        let Kind::Model { machine, host, balancing } = &mut self.kind else { return };
        let own = host.machine.knobs;
        let asked = actions.scanner;
        let knobs = Knobs {
            balancing: *balancing && !actions.balancing_off,
            scan_delay_ms: asked.map_or(own.scan_delay_ms, |ask| ask.scan_delay_ms.max(own.scan_delay_ms)),
            scan_size_mb: asked.map_or(own.scan_size_mb, |ask| ask.scan_size_mb.min(own.scan_size_mb)),
            ..own
        };
        if knobs != machine.knobs() {
            machine.set_knobs(now, knobs, hash, &mut self.effects);
        }
    }

    /// Queues what the machine asked for; gives the stalls of the dispatch thread that count in this world.
    pub(crate) fn drain(&mut self, queue: &mut EventQueue<Event>) -> Span {
        for (at, event) in self.effects.schedule.drain(..) {
            queue.push(at, Event::Machine(event));
        }
        let mut stalls = std::mem::take(&mut self.stalls);
        if let Kind::Model { host, .. } = &self.kind {
            let own = self.effects.stalls.drain(..).filter(|Stall { thread, .. }| *thread == host.dispatch);
            stalls.extend(own.map(|stall| (stall.owner, stall.span)));
        }
        let charged = stalls.drain(..).map(|(owner, span)| self.charge(owner, span)).sum();
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

fn owner(recorded: RecordedOwner) -> Owner {
    match recorded {
        RecordedOwner::HintFault => Owner::HintFault,
        RecordedOwner::MigrationCopy => Owner::MigrationCopy,
        RecordedOwner::DispatchJitter => Owner::DispatchJitter,
    }
}
