//! The machine: threads, address spaces and regions by dense id, and the events that drive them.

use numashock_engine::{EventHash, Nanos, Seed, Span};

use crate::bandwidth::{Traffic, quotient};
use crate::build::{new_space, nodes_with_cpus};
use crate::config::msecs_to_jiffies;
use crate::cost::{Draw, Draws};
use crate::effects::Wake;
use crate::fault::{StillMapped, TouchCost};
use crate::follow::mesh_reach;
use crate::mmap::Writer;
use crate::pages::Region;
use crate::scan::PassPlan;
use crate::sleep::Sleeper;
use crate::slot::CpuSlot;
use crate::storm::Storm;
use crate::task::{Bounds, Faults, Group, bounds};
use crate::tiering::Promotion;
use crate::touch::{Resting, Toucher, hot_pages};
use crate::validate::check;
use crate::{
    Cause, Counters, CpuId, Disturbance, Effects, Event, Knobs, MachineConfig, MachineError, NodeId,
    NodeMask, Owner, Pattern, ProcessId, RegionId, SpaceView, Stall, TaskMoves, ThreadId, ThreadView,
    UnitCost, WorkId,
};

/// Kinds of semantic events in the hash.
pub mod kinds {
    /// A pass ended: thread and sequence, pages marked.
    pub const PASS: u16 = 0x100;
    /// A hinting fault without migration: thread, region and flags; page.
    pub const FAULT: u16 = 0x101;
    /// A hinting fault that migrated its page: the same.
    pub const MIGRATION: u16 = 0x102;
    /// A thread was moved: thread, CPU.
    pub const MOVE: u16 = 0x103;
    /// A scan period changed: thread, milliseconds.
    pub const PERIOD: u16 = 0x104;
    /// The knobs changed.
    pub const KNOBS: u16 = 0x105;
    /// A pass was skipped for its cpuset, as `sched_skip_cpuset_numa` tells: thread, allowed nodes.
    pub const SKIP_CPUSET: u16 = 0x106;
    /// A call that changes an address space: thread, nanoseconds that it waits for passes.
    pub const CALL: u16 = 0x107;
    /// The knobs of tiering as they are with the mode on: threshold, rate limit.
    pub const TIERING: u16 = 0x108;
    /// A thread followed its memory: thread, CPU.
    pub const NUMA_MOVE: u16 = 0x110;
    /// It changed places with another: both threads, CPU.
    pub const NUMA_SWAP: u16 = 0x111;
    /// It looked for a place and found none, though it may run on more than one CPU: thread, node.
    pub const NUMA_STICK: u16 = 0x112;
}

pub(crate) const PPM: u64 = 1_000_000;
/// 2 MiB in pages: where regions start, and how ranges are rounded (spec: 1.5).
pub(crate) const HUGE: u64 = 512;

/// A thread and its balancing state (spec: 1.1).
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) process: ProcessId,
    pub(crate) pid: u32,
    pub(crate) slot: u8,
    pub(crate) affinity: Vec<CpuId>,
    /// What it would use of a CPU of its own.
    pub(crate) duty: u64,
    /// Its loop, if it sleeps between its touches: then that has its CPU time.
    pub(crate) sleeper: Option<Sleeper>,
    /// Start, period and length of its bursts, if it runs in such.
    pub(crate) bursts: Option<(Nanos, Span, Span)>,
    /// What it gets of its CPU, and the sum of what the threads before it get.
    pub(crate) share: u64,
    pub(crate) share_before: u64,
    /// CPU time grows by that share from then on.
    pub(crate) share_since: Nanos,
    pub(crate) runtime_at_birth: u64,
    pub(crate) fair: bool,
    pub(crate) reported: bool,
    /// CPU time at `share_since`.
    pub(crate) runtime_at_start: u64,
    pub(crate) node_stamp: u64,
    pub(crate) scan_period: u32,
    pub(crate) scan_period_max: u32,
    pub(crate) scan_seq: u32,
    pub(crate) preferred: Option<NodeId>,
    pub(crate) migrate_retry: i64,
    pub(crate) faults: Option<Faults>,
    pub(crate) total_faults: i64,
    pub(crate) locality: [u64; 3],
    pub(crate) pages_migrated: u64,
    pub(crate) group: Option<usize>,
    pub(crate) last_placement: Option<(u64, u64)>,
    /// Background touches wait until then.
    pub(crate) free_at: Nanos,
    pub(crate) pass: Option<PassPlan>,
    pub(crate) work_queued: bool,
    /// Its calls that change the address space.
    pub(crate) writer: Option<Writer>,
    /// Its background touchers.
    pub(crate) background: Vec<usize>,
    /// The period changed since the next trigger was found.
    pub(crate) tick_stale: bool,
    pub(crate) tick_generation: u32,
    pub(crate) tick_at: Nanos,
}

/// An address space (spec: 1.1).
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub(crate) regions: Vec<usize>,
    pub(crate) threads: Vec<usize>,
    pub(crate) policy: crate::Policy,
    pub(crate) mems_allowed: Option<NodeMask>,
    /// Until when a writer holds the mmap lock: a pass that would begin before loses its slot (spec: 1.4 step 9).
    pub(crate) mmap_locked_until: Nanos,
    /// The same had writers never waited for a pass.
    pub(crate) mmap_clean_until: Nanos,
    pub(crate) cpuset_skips: u64,
    pub(crate) mappings_after: bool,
    pub(crate) mm_users: u32,
    pub(crate) resident_pages: u64,
    /// In jiffies; `None` is the kernel's zero: never armed.
    pub(crate) next_scan: Option<i64>,
    pub(crate) scan_seq: u32,
    /// As a virtual page number.
    pub(crate) scan_offset: u64,
    /// Passes begun: the name of a pass in draws.
    pub(crate) passes: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) thread: ThreadId,
    pub(crate) compute: Span,
    pub(crate) touchers: Vec<usize>,
}

/// A simulated host with automatic NUMA balancing.
///
/// It never sees a queue: each call pushes wake-ups into [`Effects`], and the caller hands each back at its time.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) knobs: Knobs,
    pub(crate) threads: Vec<Thread>,
    pub(crate) spaces: Vec<Space>,
    pub(crate) regions: Vec<Region>,
    pub(crate) groups: Vec<Group>,
    pub(crate) slots: Vec<CpuSlot>,
    pub(crate) nodes_with_cpus: Vec<NodeId>,
    /// The largest distance, where nodes so far apart have others between them (spec: 3.4).
    pub(crate) mesh_reach: Option<i64>,
    pub(crate) works: Vec<Work>,
    pub(crate) touchers: Vec<Toucher>,
    pub(crate) traffic: Traffic,
    pub(crate) counters: Counters,
    pub(crate) moves: TaskMoves,
    /// Threads whose share of a CPU has changed: their wake-ups are still those of the old one.
    pub(crate) shared_anew: Vec<usize>,
    /// Stalls that moves of threads have caused and nobody has paid yet.
    pub(crate) owed: Vec<(usize, Span)>,
    pub(crate) balance_at: Nanos,
    /// Pages that regions occupy, and others, per node.
    pub(crate) used_pages: Vec<u64>,
    pub(crate) pressure: Vec<u64>,
    /// What each node remembers of promotions to it.
    pub(crate) promotions: Vec<Promotion>,
    /// Pages under migration: until when, region, page, by whom.
    pub(crate) in_flight: std::collections::VecDeque<(Nanos, u16, u64)>,
    /// Pages under migration that were not unmapped yet when last looked at.
    pub(crate) still_mapped: Vec<StillMapped>,
    pub(crate) steal_until: Nanos,
    steal_ppm: u64,
    /// The last interrupt storm of each CPU that had one.
    storms: Vec<(CpuId, Storm)>,
    /// Time of the last call, for readers only.
    now: Nanos,
    pub(crate) tick: u64,
    pub(crate) draws: Draws,
}

impl Machine {
    /// A machine at time 0; its first wake-ups go to `effects`.
    ///
    /// # Errors
    /// If the configuration names what does not exist, or holds a value outside its range.
    pub fn new(config: MachineConfig, seed: Seed, effects: &mut Effects) -> Result<Machine, MachineError> {
        check(&config)?;
        let nodes = config.topology.nodes.len();
        let mut machine = Machine {
            knobs: available(config.knobs, &config),
            threads: Vec::new(),
            spaces: config.processes.iter().map(new_space).collect(),
            regions: Vec::new(),
            groups: Vec::new(),
            slots: Vec::new(),
            nodes_with_cpus: nodes_with_cpus(&config),
            mesh_reach: mesh_reach(&config.topology),
            works: Vec::new(),
            touchers: Vec::new(),
            traffic: Traffic::new(nodes),
            counters: Counters::default(),
            moves: TaskMoves::default(),
            shared_anew: Vec::new(),
            owed: Vec::new(),
            balance_at: Nanos::NEVER,
            used_pages: vec![0; nodes],
            pressure: vec![0; nodes],
            promotions: vec![Promotion::default(); nodes],
            in_flight: std::collections::VecDeque::new(),
            still_mapped: Vec::new(),
            steal_until: Nanos::ZERO,
            now: Nanos::ZERO,
            steal_ppm: 0,
            storms: Vec::new(),
            tick: config.tick().0,
            draws: Draws::new(seed),
            config,
        };
        machine.lay_out_regions()?;
        machine.add_threads()?;
        machine.add_work(seed);
        machine.add_writers(seed);
        (0..machine.slots.len()).for_each(|slot| machine.share_out(Nanos::ZERO, slot));
        for (index, (at, _)) in machine.config.disturbances.iter().enumerate() {
            effects.schedule.push((*at, Event(Wake::Disturb { index: index as u32 })));
        }
        machine.schedule_all(Nanos::ZERO, effects);
        Ok(machine)
    }

    /// Lets a wake-up happen.
    ///
    /// # Panics
    /// If the event comes from another machine.
    pub fn handle(&mut self, now: Nanos, event: Event, hash: &mut EventHash, effects: &mut Effects) {
        self.now = now;
        match event.0 {
            Wake::Tick { thread, generation } => {
                if self.threads[usize::from(thread)].tick_generation == generation {
                    self.tick_lower_cpus(now, usize::from(thread), hash, effects);
                    self.on_tick(now, usize::from(thread), hash, effects);
                }
            }
            Wake::PassStep { thread } => self.step_pass(now, usize::from(thread), hash, effects),
            Wake::Touch { toucher, generation } => {
                if self.touchers[usize::from(toucher)].generation == generation {
                    self.on_background_touch(now, usize::from(toucher), hash, effects);
                }
            }
            Wake::Call { thread } => self.on_call(now, usize::from(thread), hash, effects),
            Wake::Unmap { thread } => self.on_unmap(usize::from(thread)),
            Wake::Disturb { index } => {
                let (_, disturbance) = self.config.disturbances[index as usize];
                self.disturb(now, disturbance, hash, effects);
            }
            Wake::Balance => self.balance(now, hash, effects),
            Wake::StealEnd => self.end_steal(now, effects),
        }
    }

    /// Executes the touches of one unit of work, now; returns what it takes.
    ///
    /// # Panics
    /// If the work is not this thread's.
    pub fn run_unit(
        &mut self,
        now: Nanos,
        thread: ThreadId,
        work: WorkId,
        hash: &mut EventHash,
        effects: &mut Effects,
    ) -> UnitCost {
        self.now = now;
        let work = work.index();
        assert!(self.works[work].thread == thread, "a unit runs on its own thread");
        self.forget_landed(now);
        let mut cost = UnitCost { base: self.works[work].compute, ..UnitCost::default() };
        let (mut jitter, mut first_writes) = (Span::ZERO, Span::ZERO);
        for place in 0..self.works[work].touchers.len() {
            let toucher = self.works[work].touchers[place];
            let (base, copies) = self.miss_latency(now, thread.index(), toucher);
            cost.base += base;
            cost.migration_copy += copies;
            self.note_copy_latency(now, thread.index(), copies, hash);
            let limit = self.touchers[toucher].done() + u64::from(self.touchers[toucher].config().count);
            let region = usize::from(self.touchers[toucher].region);
            while let Some(page) = self.touchers[toucher].next_in_unit(&self.regions[region], limit) {
                let write = self.touchers[toucher].draw_write();
                let elapsed = cost.base + first_writes + cost.hint_fault + cost.migration_copy + jitter;
                let touched = self.touch_page(now, elapsed, thread.index(), region, page, write, hash);
                self.note_touch((now, elapsed), thread.index(), (region, page), &touched, hash);
                cost.hint_fault += touched.hint_fault;
                cost.migration_copy += touched.migration_copy;
                first_writes += touched.first_write;
                jitter += touched.lock_wait + touched.stopper;
            }
        }
        // A fault has been stretched where it began.
        cost.base = self.with_interrupts(now, thread.index(), self.stretched(now, cost.base)) + first_writes;
        let faults = first_writes + cost.hint_fault + cost.migration_copy;
        self.work_of_sleeper(now, thread.index(), faults);
        for part in [&mut cost.base, &mut cost.hint_fault, &mut cost.migration_copy] {
            *part = self.slowed(thread.index(), *part);
        }
        if self.threads[thread.index()].tick_stale {
            self.ensure_tick(now, thread.index(), effects);
        }
        let charged = self.charged(cost.base, cost.hint_fault, cost.migration_copy);
        self.hold(now, thread.index(), charged);
        let uncharged = (cost.base + cost.hint_fault + cost.migration_copy).saturating_sub(charged);
        self.after_stall(now, thread.index(), uncharged, effects);
        self.stall(now, thread.index(), Cause::Touch, jitter, effects);
        self.follow_shares(now, effects);
        cost
    }

    /// Does something to the machine from outside, now.
    pub fn disturb(
        &mut self,
        now: Nanos,
        disturbance: Disturbance,
        hash: &mut EventHash,
        effects: &mut Effects,
    ) {
        match disturbance {
            Disturbance::MoveThread { thread, cpu } => {
                self.threads[thread.index()].affinity = vec![cpu];
                hash.record(now, kinds::MOVE, [u64::from(thread.0), u64::from(cpu.0)]);
                self.relocate(now, thread.index(), cpu, hash);
                self.follow_shares(now, effects);
            }
            Disturbance::SetKnobs(knobs) => self.set_knobs(now, knobs, hash, effects),
            Disturbance::BatchLoad { from, to, mbps } => self.traffic.set_batch(from, to, mbps),
            Disturbance::MemoryPressure { node, pages } => self.pressure[node.index()] = pages,
            Disturbance::Steal { length, share_ppm } => {
                self.steal_until = now + length;
                self.steal_ppm = u64::from(share_ppm);
                self.lengthen_passes(now, effects);
                self.steal_from_sleepers(now, self.steal_ppm, effects);
            }
            Disturbance::InterruptStorm { cpu, length, period, busy } => {
                self.storms.retain(|(other, _)| *other != cpu);
                self.storms.push((cpu, Storm::new(now, length, period, busy)));
            }
        }
    }

    /// Changes the knobs, now. Pages marked before balancing is switched off still fault once each (spec: 2.1).
    pub fn set_knobs(&mut self, now: Nanos, knobs: Knobs, hash: &mut EventHash, effects: &mut Effects) {
        let periods = u64::from(knobs.scan_period_min_ms) << 32 | u64::from(knobs.scan_period_max_ms);
        let rest = u64::from(knobs.scan_size_mb) << 32
            | u64::from(knobs.scan_delay_ms) << 1
            | u64::from(knobs.balancing);
        hash.record(now, kinds::KNOBS, [periods, rest]);
        if knobs.tiering {
            let [threshold, limit] = [knobs.hot_threshold_ms, knobs.promote_rate_limit_mbps].map(u64::from);
            hash.record(now, kinds::TIERING, [threshold, limit]);
        }
        let knobs = available(knobs, &self.config);
        if knobs.tiering && !self.knobs.tiering {
            self.restart_promotion(now);
        }
        self.knobs = knobs;
        for thread in 0..self.threads.len() {
            self.threads[thread].tick_at = Nanos::NEVER;
            self.ensure_tick(now, thread, effects);
        }
    }

    /// The counters so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How often the kernel moved threads so far.
    #[must_use]
    pub fn task_moves(&self) -> TaskMoves {
        self.moves
    }

    /// The knobs in force.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.knobs
    }

    /// The thread of that name.
    #[must_use]
    pub fn thread_named(&self, name: &str) -> Option<ThreadId> {
        let at = self.config.threads.iter().position(|thread| thread.name == name)?;
        Some(ThreadId(at as u16))
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// What the thread gets of its CPU at present, in parts per million of the wall clock.
    #[must_use]
    pub fn cpu_share(&self, thread: ThreadId) -> u64 {
        self.threads[thread.index()].share
    }

    /// A thread's balancing state at the time of the last call.
    #[must_use]
    pub fn thread(&self, thread: ThreadId) -> ThreadView {
        self.thread_at(self.now, thread)
    }

    /// A thread's balancing state at `now`.
    #[must_use]
    pub fn thread_at(&self, now: Nanos, thread: ThreadId) -> ThreadView {
        let state = &self.threads[thread.index()];
        let nodes = (0..self.config.topology.nodes.len()).map(|node| NodeId(node as u8));
        ThreadView {
            runtime: Span(self.runtime(thread.index(), now)),
            node_stamp: Span(state.node_stamp),
            scan_period_ms: state.scan_period,
            scan_period_max_ms: state.scan_period_max,
            preferred: state.preferred,
            locality: state.locality,
            faults: nodes
                .map(|node| state.faults.as_ref().map_or([0; 2], |faults| faults.memory(node)))
                .collect(),
            total_faults: state.total_faults,
            pages_migrated: state.pages_migrated,
            cpu: self.slots[usize::from(state.slot)].cpu,
        }
    }

    /// Between which values, in ms, the kernel lets a thread's scan period adapt now (spec: 1.9).
    #[must_use]
    pub fn scan_period_bounds(&self, thread: ThreadId) -> (u32, u32) {
        let bounds = self.bounds_of(thread.index());
        (bounds.min, bounds.max)
    }

    /// An address space's scanning state.
    #[must_use]
    pub fn address_space(&self, process: ProcessId) -> SpaceView {
        let space = &self.spaces[process.index()];
        let first = space.regions.first().map_or(0, |region| self.regions[*region].base);
        SpaceView {
            scan_seq: space.scan_seq,
            scan_offset_pages: space.scan_offset.saturating_sub(first),
            next_scan: space.next_scan.and_then(|jiffy| self.time_of_jiffy(jiffy)),
            cpuset_skips: space.cpuset_skips,
        }
    }

    /// How many pages of the region lie on the node.
    #[must_use]
    pub fn pages_on(&self, region: RegionId, node: NodeId) -> u64 {
        let region = &self.regions[region.index()];
        region.pages_on(node) * region.unit
    }

    /// How many pages of the node the regions occupy.
    #[must_use]
    pub fn used_pages(&self, node: NodeId) -> u64 {
        self.used_pages[node.index()]
    }

    /// Where the page lies.
    #[must_use]
    pub fn node_of(&self, region: RegionId, page: u64) -> NodeId {
        let region = &self.regions[region.index()];
        region.node_of(page / region.unit)
    }

    /// Whether the next touch of the page takes a hinting fault.
    #[must_use]
    pub fn is_marked(&self, region: RegionId, page: u64) -> bool {
        let region = &self.regions[region.index()];
        region.is_marked(page / region.unit)
    }

    /// Jiffies at `now`, counted from time 0.
    pub(crate) fn jiffies(&self, now: Nanos) -> i64 {
        let phase = self.config.tick_phase.0;
        if now.0 < phase { 0 } else { ((now.0 - phase) / self.tick + 1) as i64 }
    }

    fn time_of_jiffy(&self, jiffy: i64) -> Option<Nanos> {
        u64::try_from(jiffy - 1).ok().map(|ticks| Nanos(self.config.tick_phase.0 + ticks * self.tick))
    }

    /// `msecs_to_jiffies`: rounds up.
    pub(crate) fn to_jiffies(&self, millis: u64) -> i64 {
        msecs_to_jiffies(millis, self.config.hz)
    }

    /// The last tick at or before `now`: where the scheduler's clocks stand.
    pub(crate) fn last_tick(&self, now: Nanos) -> Nanos {
        let phase = self.config.tick_phase.0;
        if now.0 < phase { Nanos::ZERO } else { Nanos(now.0 - (now.0 - phase) % self.tick) }
    }

    /// CPU time of a thread at `now`.
    pub(crate) fn runtime(&self, thread: usize, now: Nanos) -> u64 {
        let state = &self.threads[thread];
        if let Some(sleeper) = &state.sleeper {
            return sleeper.runtime(now);
        }
        // The scheduler's clocks stand at the last tick, which may lie before the share changed.
        let wall = now.0.saturating_sub(state.share_since.0);
        let grown = if state.share == PPM {
            wall
        } else {
            (u128::from(wall) * u128::from(state.share) / 1_000_000) as u64
        };
        state.runtime_at_start + grown
    }

    pub(crate) fn node_of_thread(&self, thread: usize) -> NodeId {
        self.slots[usize::from(self.threads[thread].slot)].node
    }

    pub(crate) fn bounds_of(&self, thread: usize) -> Bounds {
        let state = &self.threads[thread];
        let group = state.group.map(|group| self.groups[group].scale());
        bounds(&self.knobs, &self.config.rules, self.spaces[state.process.index()].resident_pages, group)
    }

    /// How long `work` takes when begun now, with what others steal.
    pub(crate) fn stretched(&self, now: Nanos, work: Span) -> Span {
        if now >= self.steal_until || self.steal_ppm == 0 {
            return work;
        }
        let window = self.steal_until - now;
        let done_inside = window.scaled(PPM - self.steal_ppm, PPM);
        if work <= done_inside {
            work.scaled(PPM, PPM - self.steal_ppm)
        } else {
            window + (work - done_inside)
        }
    }

    /// How long `work` takes on the thread's CPU when begun now, with the interrupts that hit it.
    fn with_interrupts(&self, now: Nanos, thread: usize, work: Span) -> Span {
        let cpu = self.slots[usize::from(self.threads[thread].slot)].cpu;
        let storm = self.storms.iter().find(|(other, _)| *other == cpu);
        storm.map_or(work, |(_, storm)| storm.length_of(now, work))
    }

    /// What the machine's own threads wait under the charges in force.
    pub(crate) fn charged(&self, base: Span, hint_fault: Span, migration_copy: Span) -> Span {
        let charges = self.config.charges;
        let mut wait = base;
        if charges.hint_fault {
            wait += hint_fault;
        }
        if charges.migration_copy {
            wait += migration_copy;
        }
        wait
    }

    /// What the kernel does for a sleeper is CPU time beyond its duty, as far as it has slept; a thread that spins or has to
    /// wait for its CPU has spent it anyway.
    pub(crate) fn work_of_sleeper(&mut self, now: Nanos, thread: usize, span: Span) {
        let state = &self.threads[thread];
        if state.sleeper.is_none() && state.share < PPM && state.share == state.duty && span > Span::ZERO {
            let slept = (state.runtime_at_birth + now.0).saturating_sub(self.runtime(thread, now));
            let state = &mut self.threads[thread];
            state.runtime_at_start += span.0.min(slept);
            state.tick_stale = true;
        }
    }

    /// Keeps a thread's background touches waiting from now on.
    pub(crate) fn hold(&mut self, now: Nanos, thread: usize, span: Span) {
        if span == Span::ZERO {
            return;
        }
        self.count_touches(now, thread);
        if let Some(sleeper) = &mut self.threads[thread].sleeper {
            sleeper.hold(now, span);
            self.threads[thread].tick_stale = true;
            return;
        }
        self.threads[thread].free_at = self.threads[thread].free_at.max(now) + span;
    }

    /// Counts the background touches that a thread has made by now.
    pub(crate) fn count_touches(&mut self, now: Nanos, thread: usize) {
        if self.threads[thread].sleeper.is_some() {
            return self.settle_sleeper(now, thread);
        }
        let free_at = self.threads[thread].free_at;
        for place in 0..self.threads[thread].background.len() {
            let toucher = &mut self.touchers[self.threads[thread].background[place]];
            toucher.commit(now, free_at, self.regions[usize::from(toucher.region)].base_pages());
        }
    }

    fn report(&self, thread: usize, owner: Owner, cause: Cause, span: Span, effects: &mut Effects) {
        if span > Span::ZERO {
            effects.stalls.push(Stall { thread: ThreadId(thread as u16), owner, span, cause });
        }
    }

    /// A stall that is dispatch jitter.
    pub(crate) fn stall(
        &mut self,
        now: Nanos,
        thread: usize,
        cause: Cause,
        span: Span,
        effects: &mut Effects,
    ) {
        if self.threads[thread].reported {
            self.report(thread, Owner::DispatchJitter, cause, span, effects);
        }
        let charged = self.config.charges.dispatch_jitter;
        if charged {
            self.hold(now, thread, span);
        }
        self.after_stall(now, thread, if charged { Span::ZERO } else { span }, effects);
    }

    fn on_background_touch(
        &mut self,
        now: Nanos,
        toucher: usize,
        hash: &mut EventHash,
        effects: &mut Effects,
    ) {
        let thread = usize::from(self.touchers[toucher].thread);
        let region = usize::from(self.touchers[toucher].region);
        let due = self.touch_time(toucher);
        let scanning = self.threads[thread].pass.is_some() && self.config.charges.dispatch_jitter;
        if due > now || scanning {
            // A pass that ends right now ends before its thread touches anything.
            self.queue_touch(due.max(now), toucher, effects);
            return;
        }
        self.forget_landed(now);
        let page = self.make_touch(now, thread, toucher);
        self.keep_up(thread, toucher);
        let write = self.touchers[toucher].draw_write();
        let nominal = self.touch_page(now, Span::ZERO, thread, region, page, write, hash);
        self.note_touch((now, Span::ZERO), thread, (region, page), &nominal, hash);
        let faults = nominal.first_write + nominal.hint_fault + nominal.migration_copy;
        self.work_of_sleeper(now, thread, faults);
        let cost = TouchCost {
            first_write: self.slowed(thread, nominal.first_write),
            hint_fault: self.slowed(thread, nominal.hint_fault),
            migration_copy: self.slowed(thread, nominal.migration_copy),
            ..nominal
        };
        if self.threads[thread].reported {
            self.report(thread, Owner::HintFault, Cause::Touch, cost.hint_fault, effects);
            self.report(thread, Owner::MigrationCopy, Cause::Touch, cost.migration_copy, effects);
        }
        let wait = self.charged(cost.first_write, cost.hint_fault, cost.migration_copy);
        if self.threads[thread].sleeper.is_some() {
            let all = cost.first_write + cost.hint_fault + cost.migration_copy;
            let uncharged = all.saturating_sub(wait);
            self.hold(now, thread, wait);
            self.uncharged_work(thread, uncharged);
        } else if self.threads[thread].background.len() == 1 {
            // The touch is made, so nothing is left to count.
            self.threads[thread].free_at = self.threads[thread].free_at.max(now) + wait;
        } else {
            self.hold(now, thread, wait);
        }
        if self.threads[thread].tick_stale {
            self.ensure_tick(now, thread, effects);
        }
        self.stall(now, thread, Cause::Touch, cost.lock_wait + cost.stopper, effects);
        self.plan_touch(toucher, effects);
        self.follow_shares(now, effects);
    }

    /// Finds and queues the next touch that matters of a background toucher.
    pub(crate) fn plan_touch(&mut self, toucher: usize, effects: &mut Effects) {
        let region = usize::from(self.touchers[toucher].region);
        self.touchers[toucher].plan(&self.regions[region]);
        let at = self.touch_time(toucher);
        if at < Nanos::NEVER {
            self.queue_touch(at, toucher, effects);
        }
    }

    pub(crate) fn queue_touch(&mut self, at: Nanos, toucher: usize, effects: &mut Effects) {
        let state = &mut self.touchers[toucher];
        state.generation = state.generation.wrapping_add(1);
        let wake = Wake::Touch { toucher: toucher as u16, generation: state.generation };
        effects.schedule.push((at, Event(wake)));
    }

    /// Draws the next touches of a region anew after pages were marked.
    pub(crate) fn replan_region(&mut self, now: Nanos, region: usize, effects: &mut Effects) {
        for toucher in 0..self.touchers.len() {
            if usize::from(self.touchers[toucher].region) == region && self.touchers[toucher].is_background()
            {
                self.count_one(now, toucher);
                self.plan_touch(toucher, effects);
            }
        }
    }

    /// Expected time of the cache misses of one unit's touches: under the neighbours alone, and what copies add.
    fn miss_latency(&mut self, now: Nanos, thread: usize, toucher: usize) -> (Span, Span) {
        let config = *self.touchers[toucher].config();
        let misses = u64::from(config.count) * u64::from(config.miss_ppm);
        if misses == 0 {
            return (Span::ZERO, Span::ZERO);
        }
        let cpu = self.node_of_thread(thread);
        let resting = Resting { moves: self.regions[config.region.index()].moves, node: cpu };
        let busy = self.traffic.is_busy(now);
        if let (false, Some((held, misses))) = (busy, self.touchers[toucher].idle_misses) {
            if held == resting {
                return (misses, Span::ZERO);
            }
        }
        let region = &self.regions[config.region.index()];
        let (hot, hot_share) = match config.pattern {
            Pattern::HotCold { hot_pages_ppm, hot_touches_ppm } => {
                (hot_pages(region.pages, hot_pages_ppm), u64::from(hot_touches_ppm))
            }
            Pattern::XorshiftHotCold { hot_pages, hot_percent, .. } => {
                (hot_pages.div_ceil(region.unit), u64::from(hot_percent) * 10_000)
            }
            _ => (region.pages, PPM),
        };
        let (mut alone, mut with) = (0, 0);
        for (from, to, share) in [(0, hot, hot_share), (hot, region.pages, PPM - hot_share)] {
            if share == 0 || from == to {
                continue;
            }
            let mut sums = (0u128, 0u128);
            for node in 0..self.config.topology.nodes.len() {
                let pages = region.pages_on_between(NodeId(node as u8), from, to);
                if pages > 0 {
                    let idle = self.config.costs.latency_ps[cpu.index()][node];
                    let times = self.traffic.multipliers(now, &self.config.costs, cpu, NodeId(node as u8));
                    let loaded = |times: u64| u128::from(idle * times / PPM) * u128::from(pages);
                    sums.0 += loaded(times.0);
                    sums.1 += loaded(times.1);
                }
            }
            let mean = quotient(sums.0, to - from);
            let mean_with_copies = if sums.1 == sums.0 { mean } else { quotient(sums.1, to - from) };
            alone += mean * share;
            with += mean_with_copies * share;
        }
        // Picoseconds a miss × misses × ppm of the miss share, to nanoseconds.
        let total = |weighted: u64| {
            let product = u128::from(weighted / PPM) * u128::from(misses);
            Span(quotient(product, 1000 * PPM))
        };
        let alone = total(alone);
        if !busy {
            self.touchers[toucher].idle_misses = Some((resting, alone));
        }
        (alone, total(with).saturating_sub(alone))
    }

    pub(crate) fn set_period(&mut self, now: Nanos, thread: usize, period: u32, hash: &mut EventHash) {
        if self.threads[thread].scan_period != period {
            self.threads[thread].scan_period = period;
            self.threads[thread].tick_stale = true;
            hash.record(now, kinds::PERIOD, [thread as u64, u64::from(period)]);
        }
    }

    /// Queues the next tick at which the thread's trigger can fire, if none as early is queued (spec: 1.3).
    pub(crate) fn ensure_tick(&mut self, now: Nanos, thread: usize, effects: &mut Effects) {
        if !self.knobs.is_on() || !self.threads[thread].fair {
            return;
        }
        self.threads[thread].tick_stale = false;
        let Some(at) = self.next_trigger(now, thread) else { return };
        self.queue_tick(at, thread, effects);
    }

    /// Queues a look at the thread's trigger, if none as early is queued.
    pub(crate) fn queue_tick(&mut self, at: Nanos, thread: usize, effects: &mut Effects) {
        let state = &mut self.threads[thread];
        if at < state.tick_at {
            state.tick_at = at;
            state.tick_generation = state.tick_generation.wrapping_add(1);
            let wake = Wake::Tick { thread: thread as u16, generation: state.tick_generation };
            effects.schedule.push((at, Event(wake)));
        }
    }

    /// The first tick after `now` that hits the thread with its CPU time beyond `node_stamp` + period.
    fn next_trigger(&self, now: Nanos, thread: usize) -> Option<Nanos> {
        let state = &self.threads[thread];
        if state.share == 0 {
            return None;
        }
        let threshold = state.node_stamp + u64::from(state.scan_period) * 1_000_000;
        if state.sleeper.is_some() {
            return Some(self.earliest_tick(now, thread, threshold));
        }
        // Wall time by which the CPU time exceeds the threshold.
        let needed = threshold.saturating_add(1).saturating_sub(state.runtime_at_start);
        let wall =
            u64::try_from((u128::from(needed) * u128::from(PPM)).div_ceil(u128::from(state.share))).ok()?;
        let earliest = state.share_since.0.saturating_add(wall);
        let phase = self.config.tick_phase.0;
        let after = if now.0 < phase { 0 } else { (now.0 - phase) / self.tick + 1 };
        let mut index = after.max(earliest.saturating_sub(phase).div_ceil(self.tick));
        if state.share < PPM {
            // It is hit by its share of the ticks: those at which the count of hits grows.
            let before = u128::from(state.share_before);
            let hits = (u128::from(index) * u128::from(state.share) + before) / u128::from(PPM) + 1;
            let reached = (hits * u128::from(PPM) - before).div_ceil(u128::from(state.share));
            index = u64::try_from(reached).ok()? - 1;
        }
        let stride = self.tick_stride(thread);
        let index = index.div_ceil(stride) * stride;
        Some(Nanos(phase + index * self.tick))
    }

    /// The CPUs tick at the same instants, and one after the other: who runs on a CPU of a lower number comes first.
    fn tick_lower_cpus(&mut self, now: Nanos, thread: usize, hash: &mut EventHash, effects: &mut Effects) {
        let cpu = |thread: &Thread| self.slots[usize::from(thread.slot)].cpu;
        let own = cpu(&self.threads[thread]);
        let due = |other: &Thread| other.tick_at == now && cpu(other) < own;
        let mut lower: Vec<usize> =
            (0..self.threads.len()).filter(|other| due(&self.threads[*other])).collect();
        lower.sort_by_key(|other| cpu(&self.threads[*other]));
        for other in lower {
            let state = &mut self.threads[other];
            state.tick_generation = state.tick_generation.wrapping_add(1);
            self.on_tick(now, other, hash, effects);
        }
    }

    fn on_tick(&mut self, now: Nanos, thread: usize, hash: &mut EventHash, effects: &mut Effects) {
        self.threads[thread].tick_at = Nanos::NEVER;
        if !self.knobs.is_on() {
            return;
        }
        let runtime = self.runtime(thread, now);
        let state = &self.threads[thread];
        let period = u64::from(state.scan_period) * 1_000_000;
        if !state.work_queued && runtime > state.node_stamp + period && self.tick_finds(now, thread) {
            if state.node_stamp == 0 {
                let start = self.bounds_of(thread).start;
                self.set_period(now, thread, start, hash);
            }
            self.threads[thread].node_stamp += period;
            let space = &self.spaces[self.threads[thread].process.index()];
            if space.next_scan.is_none_or(|next| self.jiffies(now) >= next) {
                if self.threads[thread].pass.is_some() {
                    self.threads[thread].work_queued = true;
                } else {
                    if self.tick_stride(thread) > 1 {
                        // The tick ran elsewhere, so the CPU has to be interrupted to do the work (spec: 1.3).
                        let event = [u64::MAX, (thread as u64) << 48 | self.jiffies(now) as u64];
                        let kick = self.draws.cost(self.config.costs.interrupt, Draw::Interrupt, event);
                        self.stall(now, thread, Cause::Tick, Span(kick), effects);
                    }
                    self.start_pass(now, thread, hash, effects);
                }
            }
        }
        match self.next_tick_of_sleeper(now, thread) {
            Some(at) => self.queue_tick(at, thread, effects),
            None => self.ensure_tick(now, thread, effects),
        }
    }

    fn schedule_all(&mut self, now: Nanos, effects: &mut Effects) {
        for thread in 0..self.threads.len() {
            self.ensure_tick(now, thread, effects);
            self.queue_call(now, thread, effects);
        }
        for toucher in 0..self.touchers.len() {
            if self.touchers[toucher].is_background() {
                self.plan_touch(toucher, effects);
            }
        }
        self.shared_anew.clear();
        self.arm_balancer(now, effects);
    }
}

/// The knobs as a kernel of this build has them: PREEMPT_RT leaves balancing out (spec: 0.3).
fn available(knobs: Knobs, config: &MachineConfig) -> Knobs {
    let there = !config.preempt_rt;
    Knobs { balancing: knobs.balancing && there, tiering: knobs.tiering && there, ..knobs }
}
