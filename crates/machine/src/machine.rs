//! The machine: threads, address spaces and regions by dense id, and the events that drive them.

use numashock_engine::{EventHash, Nanos, Seed, Span};

use crate::bandwidth::{Traffic, span_of};
use crate::effects::Wake;
use crate::pages::{CpuSlot, Region};
use crate::scan::PassPlan;
use crate::task::{Bounds, Faults, Group, bounds};
use crate::touch::{Toucher, hot_pages};
use crate::validate::check;
use crate::{
    Activity, CpuId, Counters, Disturbance, Effects, Event, Knobs, MachineConfig, MachineError, NodeId, Owner, Pattern,
    ProcessConfig, ProcessId, RegionConfig, RegionId, SpaceView, Stall, ThreadConfig, ThreadId, ThreadView,
    TouchConfig, UnitCost, WorkId,
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
}

const PPM: u64 = 1_000_000;
/// 2 MiB in pages: where regions start, and how ranges are rounded (spec: 1.5).
pub(crate) const HUGE: u64 = 512;

/// A thread and its balancing state (spec: 1.1).
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) process: ProcessId,
    pub(crate) pid: u32,
    pub(crate) slot: u8,
    pub(crate) pinned: bool,
    pub(crate) duty: u64,
    pub(crate) fair: bool,
    tick_stride: u64,
    pub(crate) reported: bool,
    runtime_at_start: u64,
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
    pub(crate) moves_wanted: u64,
    /// Background touches wait until then.
    pub(crate) free_at: Nanos,
    pub(crate) pass: Option<PassPlan>,
    pub(crate) work_queued: bool,
    tick_generation: u32,
    tick_at: Nanos,
}

/// An address space (spec: 1.1).
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub(crate) regions: Vec<usize>,
    pub(crate) threads: Vec<usize>,
    pub(crate) policy: crate::Policy,
    pub(crate) mappings_after: bool,
    pub(crate) mm_users: u32,
    pub(crate) resident_pages: u64,
    /// In jiffies; `None` is the kernel's zero: never armed.
    pub(crate) next_scan: Option<i64>,
    pub(crate) scan_seq: u32,
    /// As a virtual page number.
    pub(crate) scan_offset: u64,
}

#[derive(Clone, Debug)]
struct Work {
    thread: ThreadId,
    compute: Span,
    touchers: Vec<usize>,
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
    works: Vec<Work>,
    pub(crate) touchers: Vec<Toucher>,
    pub(crate) traffic: Traffic,
    pub(crate) counters: Counters,
    /// Pages that regions occupy, and others, per node.
    pub(crate) used_pages: Vec<u64>,
    pub(crate) pressure: Vec<u64>,
    /// Pages under migration: until when, region, page, by whom.
    pub(crate) in_flight: std::collections::VecDeque<(Nanos, u16, u64)>,
    steal_until: Nanos,
    steal_ppm: u64,
    /// Time of the last call, for readers only.
    now: Nanos,
    pub(crate) tick: u64,
    pub(crate) current: numashock_engine::Stream,
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
            knobs: config.knobs,
            threads: Vec::new(),
            spaces: config.processes.iter().map(new_space).collect(),
            regions: Vec::new(),
            groups: Vec::new(),
            slots: Vec::new(),
            nodes_with_cpus: nodes_with_cpus(&config),
            works: Vec::new(),
            touchers: Vec::new(),
            traffic: Traffic::new(nodes),
            counters: Counters::default(),
            used_pages: vec![0; nodes],
            pressure: vec![0; nodes],
            in_flight: std::collections::VecDeque::new(),
            steal_until: Nanos::ZERO,
            now: Nanos::ZERO,
            steal_ppm: 0,
            tick: u64::from(1_000_000_000 / config.hz),
            current: seed.stream("machine.current", 0),
            config,
        };
        machine.lay_out_regions()?;
        machine.add_threads()?;
        machine.add_work(seed);
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
                    self.on_tick(now, usize::from(thread), hash, effects);
                }
            }
            Wake::PassStep { thread } => self.step_pass(now, usize::from(thread), hash, effects),
            Wake::Touch { toucher, generation } => {
                if self.touchers[usize::from(toucher)].generation == generation {
                    self.on_background_touch(now, usize::from(toucher), hash, effects);
                }
            }
            Wake::Disturb { index } => {
                let (_, disturbance) = self.config.disturbances[index as usize];
                self.disturb(now, disturbance, hash, effects);
            }
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
        for place in 0..self.works[work].touchers.len() {
            let toucher = self.works[work].touchers[place];
            let (base, copies) = self.miss_latency(now, thread.index(), toucher);
            cost.base += base;
            cost.migration_copy += copies;
            let limit = self.touchers[toucher].done() + u64::from(self.touchers[toucher].config().count);
            let region = usize::from(self.touchers[toucher].region);
            while let Some(page) = self.touchers[toucher].next_in_unit(&self.regions[region], limit) {
                let write = self.touchers[toucher].draw_write();
                let elapsed = cost.base + cost.hint_fault + cost.migration_copy;
                let touched = self.touch_page(now, elapsed, thread.index(), region, page, write, hash);
                cost.hint_fault += touched.hint_fault;
                cost.migration_copy += touched.migration_copy;
            }
        }
        self.ensure_tick(now, thread.index(), effects);
        self.hold(now, thread.index(), self.charged(cost.base, cost.hint_fault, cost.migration_copy));
        cost
    }

    /// Does something to the machine from outside, now.
    pub fn disturb(&mut self, now: Nanos, disturbance: Disturbance, hash: &mut EventHash, effects: &mut Effects) {
        match disturbance {
            Disturbance::MoveThread { thread, cpu } => self.move_thread(now, thread.index(), cpu, hash, effects),
            Disturbance::SetKnobs(knobs) => self.set_knobs(now, knobs, hash, effects),
            Disturbance::BatchLoad { from, to, mbps } => self.traffic.set_batch(from, to, mbps),
            Disturbance::MemoryPressure { node, pages } => self.pressure[node.index()] = pages,
            Disturbance::Steal { length, share_ppm } => {
                self.steal_until = now + length;
                self.steal_ppm = u64::from(share_ppm);
                self.lengthen_passes(now, effects);
            }
        }
    }

    /// Changes the knobs, now. Pages marked before balancing is switched off still fault once each (spec: 2.1).
    pub fn set_knobs(&mut self, now: Nanos, knobs: Knobs, hash: &mut EventHash, effects: &mut Effects) {
        let periods = u64::from(knobs.scan_period_min_ms) << 32 | u64::from(knobs.scan_period_max_ms);
        let rest = u64::from(knobs.scan_size_mb) << 32 | u64::from(knobs.scan_delay_ms) << 1 | u64::from(knobs.balancing);
        hash.record(now, kinds::KNOBS, [periods, rest]);
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

    /// The knobs in force.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.knobs
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
            faults: nodes.map(|node| state.faults.as_ref().map_or([0; 2], |faults| faults.memory(node))).collect(),
            total_faults: state.total_faults,
            pages_migrated: state.pages_migrated,
            cpu: self.slots[usize::from(state.slot)].cpu,
            moves_wanted: state.moves_wanted,
        }
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
        }
    }

    /// How many pages of the region lie on the node.
    #[must_use]
    pub fn pages_on(&self, region: RegionId, node: NodeId) -> u64 {
        self.regions[region.index()].pages_on(node)
    }

    /// Where the page lies.
    #[must_use]
    pub fn node_of(&self, region: RegionId, page: u64) -> NodeId {
        self.regions[region.index()].node_of(page)
    }

    /// Whether the next touch of the page takes a hinting fault.
    #[must_use]
    pub fn is_marked(&self, region: RegionId, page: u64) -> bool {
        self.regions[region.index()].is_marked(page)
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
        (millis * 1_000_000).div_ceil(self.tick) as i64
    }

    /// The last tick at or before `now`: where the scheduler's clocks stand.
    pub(crate) fn last_tick(&self, now: Nanos) -> Nanos {
        let phase = self.config.tick_phase.0;
        if now.0 < phase { Nanos::ZERO } else { Nanos(now.0 - (now.0 - phase) % self.tick) }
    }

    /// CPU time of a thread at `now`.
    pub(crate) fn runtime(&self, thread: usize, now: Nanos) -> u64 {
        let state = &self.threads[thread];
        let grown = if state.duty == PPM { now.0 } else { (u128::from(now.0) * u128::from(state.duty) / 1_000_000) as u64 };
        state.runtime_at_start + grown
    }

    pub(crate) fn node_of_thread(&self, thread: usize) -> NodeId {
        self.slots[usize::from(self.threads[thread].slot)].node
    }

    pub(crate) fn bounds_of(&self, thread: usize) -> Bounds {
        let state = &self.threads[thread];
        let group = state.group.map(|group| self.groups[group].scale());
        bounds(&self.knobs, self.spaces[state.process.index()].resident_pages, group)
    }

    /// How long `work` takes when begun now, with what others steal.
    pub(crate) fn stretched(&self, now: Nanos, work: Span) -> Span {
        if now >= self.steal_until || self.steal_ppm == 0 {
            return work;
        }
        let window = self.steal_until - now;
        let done_inside = window.scaled(PPM - self.steal_ppm, PPM);
        if work <= done_inside { work.scaled(PPM, PPM - self.steal_ppm) } else { window + (work - done_inside) }
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

    /// Keeps a thread's background touches waiting from now on.
    pub(crate) fn hold(&mut self, now: Nanos, thread: usize, span: Span) {
        if span == Span::ZERO {
            return;
        }
        let free_at = self.threads[thread].free_at;
        for toucher in &mut self.touchers {
            if usize::from(toucher.thread) == thread && toucher.is_background() {
                toucher.commit(now, free_at, self.regions[usize::from(toucher.region)].pages);
            }
        }
        self.threads[thread].free_at = free_at.max(now) + span;
    }

    pub(crate) fn stall(&mut self, now: Nanos, thread: usize, owner: Owner, span: Span, effects: &mut Effects) {
        if self.threads[thread].reported && span > Span::ZERO {
            effects.stalls.push(Stall { thread: ThreadId(thread as u16), owner, span });
        }
        let charged = match owner {
            Owner::HintFault => self.config.charges.hint_fault,
            Owner::MigrationCopy => self.config.charges.migration_copy,
            Owner::DispatchJitter => self.config.charges.dispatch_jitter,
        };
        if charged {
            self.hold(now, thread, span);
        }
    }

    fn on_background_touch(&mut self, now: Nanos, toucher: usize, hash: &mut EventHash, effects: &mut Effects) {
        let thread = usize::from(self.touchers[toucher].thread);
        let region = usize::from(self.touchers[toucher].region);
        let due = self.touchers[toucher].planned_at(self.threads[thread].free_at);
        let scanning = self.threads[thread].pass.is_some() && self.config.charges.dispatch_jitter;
        if due > now || scanning {
            // A pass that ends right now ends before its thread touches anything.
            self.queue_touch(due.max(now), toucher, effects);
            return;
        }
        self.forget_landed(now);
        let page = self.touchers[toucher].make_planned();
        let write = self.touchers[toucher].draw_write();
        let cost = self.touch_page(now, Span::ZERO, thread, region, page, write, hash);
        // The touch itself is made; what follows it waits.
        self.threads[thread].free_at = self.threads[thread].free_at.max(now);
        self.stall(now, thread, Owner::HintFault, cost.hint_fault, effects);
        self.stall(now, thread, Owner::MigrationCopy, cost.migration_copy, effects);
        self.ensure_tick(now, thread, effects);
        self.plan_touch(toucher, effects);
    }

    /// Finds and queues the next touch that matters of a background toucher.
    pub(crate) fn plan_touch(&mut self, toucher: usize, effects: &mut Effects) {
        let region = usize::from(self.touchers[toucher].region);
        self.touchers[toucher].plan(&self.regions[region]);
        let thread = usize::from(self.touchers[toucher].thread);
        let at = self.touchers[toucher].planned_at(self.threads[thread].free_at);
        if at < Nanos::NEVER {
            self.queue_touch(at, toucher, effects);
        }
    }

    fn queue_touch(&mut self, at: Nanos, toucher: usize, effects: &mut Effects) {
        let state = &mut self.touchers[toucher];
        state.generation = state.generation.wrapping_add(1);
        let wake = Wake::Touch { toucher: toucher as u16, generation: state.generation };
        effects.schedule.push((at, Event(wake)));
    }

    /// Draws the next touches of a region anew after pages were marked.
    pub(crate) fn replan_region(&mut self, now: Nanos, region: usize, effects: &mut Effects) {
        for toucher in 0..self.touchers.len() {
            if usize::from(self.touchers[toucher].region) == region && self.touchers[toucher].is_background() {
                let free_at = self.threads[usize::from(self.touchers[toucher].thread)].free_at;
                let pages = self.regions[region].pages;
                self.touchers[toucher].commit(now, free_at, pages);
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
        let region = &self.regions[config.region.index()];
        let (hot, hot_share) = match config.pattern {
            Pattern::HotCold { hot_pages_ppm, hot_touches_ppm } => {
                (hot_pages(region.pages, hot_pages_ppm), u64::from(hot_touches_ppm))
            }
            Pattern::XorshiftHotCold { hot_pages, hot_percent, .. } => (hot_pages, u64::from(hot_percent) * 10_000),
            _ => (region.pages, PPM),
        };
        let (mut alone, mut with) = (0u128, 0u128);
        for (from, to, share) in [(0, hot, hot_share), (hot, region.pages, PPM - hot_share)] {
            if share == 0 || from == to {
                continue;
            }
            for node in 0..self.config.topology.nodes.len() {
                let pages = region.pages_on_between(NodeId(node as u8), from, to);
                if pages > 0 {
                    let idle = u128::from(self.config.costs.latency_ps[cpu.index()][node]) * u128::from(pages);
                    let times = self.traffic.multipliers(now, &self.config.costs, cpu, NodeId(node as u8));
                    let weigh = |times: u64| idle * u128::from(times) / u128::from(to - from) * u128::from(share) / 1_000_000;
                    alone += weigh(times.0);
                    with += weigh(times.1);
                }
            }
        }
        // Picoseconds a miss × ppm (of the multiplier) × misses × ppm (of the miss share).
        let total = |weighted: u128| span_of(weighted * u128::from(misses) / 1_000_000_000_000);
        (total(alone), total(with).saturating_sub(total(alone)))
    }

    fn move_thread(&mut self, now: Nanos, thread: usize, cpu: CpuId, hash: &mut EventHash, effects: &mut Effects) {
        hash.record(now, kinds::MOVE, [thread as u64, u64::from(cpu.0)]);
        let slot = self.slot_of(cpu).expect("fewer than 255 CPUs run threads");
        let source = self.node_of_thread(thread);
        let destination = self.slots[usize::from(slot)].node;
        self.threads[thread].slot = slot;
        let state = &self.threads[thread];
        if !self.knobs.balancing || state.faults.is_none() || source == destination {
            return;
        }
        // spec: 3.9: only a move away from where the memory is restarts fast scanning.
        let keeps = state.preferred == Some(destination) || state.preferred.is_some_and(|node| node != source);
        if state.scan_seq != 0 && keeps {
            return;
        }
        let start = self.bounds_of(thread).start;
        self.set_period(now, thread, start, hash);
        self.ensure_tick(now, thread, effects);
    }

    pub(crate) fn set_period(&mut self, now: Nanos, thread: usize, period: u32, hash: &mut EventHash) {
        if self.threads[thread].scan_period != period {
            self.threads[thread].scan_period = period;
            hash.record(now, kinds::PERIOD, [thread as u64, u64::from(period)]);
        }
    }

    /// Queues the next tick at which the thread's trigger can fire, if none as early is queued (spec: 1.3).
    pub(crate) fn ensure_tick(&mut self, now: Nanos, thread: usize, effects: &mut Effects) {
        if !self.knobs.balancing || !self.threads[thread].fair {
            return;
        }
        let Some(at) = self.next_trigger(now, thread) else { return };
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
        if state.duty == 0 {
            return None;
        }
        let threshold = state.node_stamp + u64::from(state.scan_period) * 1_000_000;
        // Wall time by which the CPU time exceeds the threshold.
        let needed = threshold.saturating_add(1).saturating_sub(state.runtime_at_start);
        let earliest = u64::try_from((u128::from(needed) * u128::from(PPM)).div_ceil(u128::from(state.duty))).ok()?;
        let phase = self.config.tick_phase.0;
        let after = if now.0 < phase { 0 } else { (now.0 - phase) / self.tick + 1 };
        let mut index = after.max(earliest.saturating_sub(phase).div_ceil(self.tick));
        if state.duty < PPM {
            // A sleeper is hit by its share of the ticks: those at which the count of hits grows.
            let hits = u128::from(index) * u128::from(state.duty) / u128::from(PPM) + 1;
            index = u64::try_from((hits * u128::from(PPM)).div_ceil(u128::from(state.duty))).ok()? - 1;
        }
        let index = index.div_ceil(state.tick_stride) * state.tick_stride;
        Some(Nanos(phase + index * self.tick))
    }

    fn on_tick(&mut self, now: Nanos, thread: usize, hash: &mut EventHash, effects: &mut Effects) {
        self.threads[thread].tick_at = Nanos::NEVER;
        if !self.knobs.balancing {
            return;
        }
        let runtime = self.runtime(thread, now);
        let state = &self.threads[thread];
        let period = u64::from(state.scan_period) * 1_000_000;
        if !state.work_queued && runtime > state.node_stamp + period {
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
                    self.start_pass(now, thread, effects);
                }
            }
        }
        self.ensure_tick(now, thread, effects);
    }

    fn schedule_all(&mut self, now: Nanos, effects: &mut Effects) {
        for thread in 0..self.threads.len() {
            self.ensure_tick(now, thread, effects);
        }
        for toucher in 0..self.touchers.len() {
            if self.touchers[toucher].is_background() {
                self.plan_touch(toucher, effects);
            }
        }
    }

    /// The dense slot of a CPU, made on its first use.
    fn slot_of(&mut self, cpu: CpuId) -> Result<u8, MachineError> {
        if let Some(slot) = self.slots.iter().position(|slot| slot.cpu == cpu) {
            return Ok(slot as u8);
        }
        if self.slots.len() == 255 {
            return Err(MachineError::NotModelled { holder: "threads".to_owned(), what: "more than 255 CPUs in use" });
        }
        let node = self.config.topology.nodes.iter().position(|node| node.cpus.contains(&cpu));
        let node = NodeId(node.expect("the CPU was checked to exist") as u8);
        self.slots.push(CpuSlot { cpu, node, batch: Vec::new() });
        Ok((self.slots.len() - 1) as u8)
    }

    fn lay_out_regions(&mut self) -> Result<(), MachineError> {
        let nodes = self.config.topology.nodes.len();
        let configs = core::mem::take(&mut self.config.regions);
        for (index, config) in configs.iter().enumerate() {
            let space = &mut self.spaces[config.process.index()];
            let end = space.regions.last().map_or(HUGE, |region| self.regions[*region].end());
            let base = (end / HUGE + 2) * HUGE;
            let region = Region::new(config, base, nodes, hot_boundaries(&self.config, config, index));
            for node in 0..nodes {
                self.used_pages[node] += region.pages_on(NodeId(node as u8));
            }
            space.resident_pages += config.pages;
            if space.regions.is_empty() {
                let offset = self.config.processes[config.process.index()].start.map_or(0, |start| start.scan_offset_pages);
                space.scan_offset = if offset == 0 { 0 } else { base + offset };
            }
            space.regions.push(index);
            self.regions.push(region);
            if let Some(cpu) = config.first_touch {
                self.fill_batch(cpu, index, config.pages)?;
            }
        }
        self.config.regions = configs;
        Ok(())
    }

    /// The pages that first touching a region leaves in the CPU's LRU batch (spec: 8 F3).
    fn fill_batch(&mut self, cpu: CpuId, region: usize, pages: u64) -> Result<(), MachineError> {
        let capacity = self.config.kernel.lru_batch();
        let slot = usize::from(self.slot_of(cpu)?);
        let batch = &mut self.slots[slot].batch;
        let total = batch.len() as u64 + pages;
        if total >= capacity as u64 {
            batch.clear();
            let left = total % capacity as u64;
            batch.extend((pages - left..pages).map(|page| (region as u16, page)));
        } else {
            batch.extend((0..pages).map(|page| (region as u16, page)));
        }
        Ok(())
    }

    fn add_threads(&mut self) -> Result<(), MachineError> {
        let configs = core::mem::take(&mut self.config.threads);
        for (index, config) in configs.iter().enumerate() {
            let slot = self.slot_of(config.cpu)?;
            let nth = self.spaces[config.process.index()].threads.len();
            let thread = new_thread(config, slot, nth, &self.knobs, self.config.hz, self.tick);
            self.threads.push(thread);
            let space = &mut self.spaces[config.process.index()];
            space.threads.push(index);
            space.mm_users += 1;
        }
        self.config.threads = configs;
        let delay = self.to_jiffies(u64::from(self.knobs.scan_delay_ms));
        for (space, config) in self.spaces.iter_mut().zip(&self.config.processes) {
            match config.start {
                Some(start) => {
                    let tick_ms = i64::from(self.config.hz);
                    space.next_scan = start.next_scan_ms.map(|millis| (millis * tick_ms).div_euclid(1000));
                    space.scan_seq = start.scan_seq;
                }
                // The first extra thread arms the address space, spec: 8 F1.
                None => space.next_scan = (space.mm_users > 1).then_some(delay),
            }
        }
        Ok(())
    }

    fn add_work(&mut self, seed: Seed) {
        for (index, thread) in self.config.threads.iter().enumerate() {
            for (place, background) in thread.background.iter().enumerate() {
                let entity = (index as u64) << 32 | place as u64;
                self.touchers.push(Toucher::by_clock(index as u16, background, seed, entity));
            }
        }
        for (index, work) in self.config.works.iter().enumerate() {
            let first = self.touchers.len();
            for (place, touch) in work.touches.iter().enumerate() {
                let entity = (index as u64) << 32 | place as u64;
                self.touchers.push(Toucher::of_unit(work.thread.0, touch, seed, entity));
            }
            let touchers = (first..self.touchers.len()).collect();
            self.works.push(Work { thread: work.thread, compute: work.compute, touchers });
        }
        for toucher in &self.touchers {
            let config = toucher.config();
            let region = &mut self.regions[config.region.index()];
            region.toucher_threads |= 1 << (toucher.thread % 64);
            region.any_reads |= u64::from(config.write_ppm) < PPM;
            region.any_writes |= config.write_ppm > 0;
        }
    }
}

fn nodes_with_cpus(config: &MachineConfig) -> Vec<NodeId> {
    let nodes = config.topology.nodes.iter().enumerate();
    nodes.filter(|(_, node)| !node.cpus.is_empty()).map(|(index, _)| NodeId(index as u8)).collect()
}

fn new_space(config: &ProcessConfig) -> Space {
    Space {
        regions: Vec::new(),
        threads: Vec::new(),
        policy: config.policy,
        mappings_after: config.mappings_after,
        mm_users: config.idle_threads,
        resident_pages: config.other_resident_pages,
        next_scan: None,
        scan_seq: 0,
        scan_offset: 0,
    }
}

/// Where the parts of a region end that patterns treat apart.
fn hot_boundaries(config: &MachineConfig, region: &RegionConfig, index: usize) -> Vec<u64> {
    let here = |touch: &TouchConfig| (touch.region.index() == index).then_some(touch.pattern);
    let units = config.works.iter().flat_map(|work| &work.touches);
    units
        .filter_map(here)
        .filter_map(|pattern| match pattern {
            Pattern::HotCold { hot_pages_ppm, .. } => Some(hot_pages(region.pages, hot_pages_ppm)),
            Pattern::XorshiftHotCold { hot_pages, .. } => Some(hot_pages),
            _ => None,
        })
        .collect()
}

/// A thread at the start; the `nth` of its process.
fn new_thread(config: &ThreadConfig, slot: u8, nth: usize, knobs: &Knobs, hz: u32, tick: u64) -> Thread {
    // spec: 1.2: threads are staggered by at most 60 µs and two ticks.
    let stagger = if nth == 0 { 0 } else { 60_000 + 2 * tick };
    let start = config.start.unwrap_or(crate::TaskStart {
        runtime: Span::ZERO,
        node_stamp: Span(stagger),
        scan_period_ms: knobs.scan_delay_ms,
        scan_period_max_ms: 0,
        preferred: None,
        scan_seq: 0,
    });
    Thread {
        process: config.process,
        pid: config.pid,
        slot,
        pinned: config.pinned,
        duty: match config.activity {
            Activity::Spins => PPM,
            Activity::Duty(ppm) => u64::from(ppm),
        },
        fair: config.fair,
        tick_stride: if config.nohz_full { u64::from(hz) } else { 1 },
        reported: config.reported,
        runtime_at_start: start.runtime.0,
        node_stamp: start.node_stamp.0,
        scan_period: start.scan_period_ms,
        scan_period_max: start.scan_period_max_ms,
        scan_seq: start.scan_seq,
        preferred: start.preferred,
        migrate_retry: i64::MIN,
        faults: None,
        total_faults: 0,
        locality: [0; 3],
        pages_migrated: 0,
        group: None,
        last_placement: None,
        moves_wanted: 0,
        free_at: Nanos::ZERO,
        pass: None,
        work_queued: false,
        tick_generation: 0,
        tick_at: Nanos::NEVER,
    }
}
