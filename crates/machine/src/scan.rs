//! The scan pass: gatekeeping, the walk over mappings, and what its end makes visible (spec: 1.4 to 1.8).

use std::collections::BTreeMap;

use numashock_engine::{EventHash, Nanos, Span};

use crate::cost::Draw;
use crate::effects::Wake;
use crate::machine::{HUGE, Machine, Thread, kinds};
use crate::pages::{Region, Spared, VmaState};
use crate::slot::of_batch_entry;
use crate::task::pid_bit;
use crate::{Cause, CowSkip, Effects, Event, MapKind, NodeMask, Pass, Policy, ThreadId};

/// VMAs forget which threads used them after two windows of this many scan delays (spec: 1.5 test 6).
const PID_WINDOW_DELAYS: u64 = 4;
const MEGABYTE_PAGES: u64 = 256;
/// The address range budget is this many times the page budget (spec: 1.4 step 8).
const RANGE_FACTOR: i64 = 8;

/// `tlb_single_page_flush_ceiling`: longer ranges flush everything (spec: 1.8).
const SINGLE_PAGE_FLUSH_CEILING: u64 = 33;

/// A pass on its way. Its marks become visible as it goes, offset and sequence at its end (spec: 8 F5).
#[derive(Clone, Debug)]
pub(crate) struct PassPlan {
    /// Which pass of its address space it is.
    number: u64,
    steps: Vec<Step>,
    done: usize,
    /// Where it stopped; `None`: it ran off the list of mappings.
    offset: Option<u64>,
    begins: Nanos,
    ends: Nanos,
    /// Pages marked in the range under way and before it.
    in_range: InRange,
    marked: u64,
    /// The same in 4 KiB pages, and threads interrupted so far: what a reader of the pass sees.
    marked_pages: u64,
    interrupts: u32,
    /// Whom the flush at the end of a range interrupts, as its initiator knew when it began: by number of the range.
    receivers: BTreeMap<u64, Vec<usize>>,
}

impl PassPlan {
    /// Which pass of its address space it is.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// When it began, 4 KiB pages marked and threads interrupted so far.
    pub(crate) fn seen(&self) -> (Nanos, u64, u32) {
        (self.begins, self.marked_pages, self.interrupts)
    }

    /// When it ends, as far as is known.
    pub(crate) fn ends(&self) -> Nanos {
        self.ends
    }

    pub(crate) fn left(&self, now: Nanos) -> Span {
        if self.ends > now { self.ends - now } else { Span::ZERO }
    }

    pub(crate) fn put_off(&mut self, extra: Span) {
        self.ends += extra;
    }
}

/// What is marked of a range under way: it is counted when the range ends.
#[derive(Clone, Copy, Debug, Default)]
struct InRange {
    marked: u64,
    /// In 4 KiB pages.
    pages: u64,
    huge: u64,
}

/// Part of a range: the pages of one page table, which the kernel marks under one lock. Threads that run meanwhile fault on
/// what is already marked, so a range goes step by step where another thread touches the region.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Which range of the pass it belongs to.
    range: u64,
    region: usize,
    from: u64,
    to: u64,
    /// Its range is flushed page by page.
    few_pages: bool,
    /// The range ends here: its pages are counted, and other CPUs interrupted.
    last: bool,
}

/// A range of the pass, or the part of it that lies in one region.
#[derive(Clone, Copy, Debug)]
struct Range {
    /// Which range of the pass.
    number: u64,
    region: usize,
    from: u64,
    to: u64,
    /// Pages of the whole range.
    length: u64,
    /// The last part of the range.
    flushes: bool,
}

/// The walk in progress.
struct Walk {
    ranges: Vec<Range>,
    /// Ranges so far, parts counted once.
    count: u64,
    pages_left: i64,
    range_left: i64,
    start: u64,
    forced: bool,
    skipped_for_pid: bool,
    /// Names the pass in draws.
    pass: u64,
    mark_ps: u64,
    mark_huge_ps: u64,
    cost_ps: u64,
    shootdowns: Span,
    receivers: BTreeMap<u64, Vec<usize>>,
}

impl Machine {
    /// The work queued by the tick, on return to user mode of `thread` (spec: 1.4).
    pub(crate) fn start_pass(
        &mut self,
        now: Nanos,
        thread: usize,
        hash: &mut EventHash,
        effects: &mut Effects,
    ) {
        let process = self.threads[thread].process.index();
        if self.skips_for_cpuset(now, thread, hash) {
            return;
        }
        let jiffies = self.jiffies(now);
        let delay = self.to_jiffies(u64::from(self.knobs.scan_delay_ms));
        let armed = *self.spaces[process].next_scan.get_or_insert(jiffies + delay);
        if jiffies < armed {
            return;
        }
        if self.threads[thread].scan_period == 0 {
            let bounds = self.bounds_of(thread);
            self.threads[thread].scan_period_max = bounds.max;
            self.threads[thread].scan_period = bounds.start;
        }
        let period = self.to_jiffies(u64::from(self.threads[thread].scan_period));
        self.spaces[process].next_scan = Some(jiffies + period);
        self.threads[thread].node_stamp += 2 * self.tick;
        // The slot is lost to a writer: the next chance comes one full period later (spec: 1.4 step 9).
        if self.knobs.scan_size_mb == 0 || now < self.spaces[process].mmap_locked_until {
            return;
        }
        self.forget_all_landed(now);
        let plan = self.walk(now, thread);
        let (length, number) = (plan.ends - now, plan.number);
        self.note_pass_begin(now, thread, &plan, hash);
        self.threads[thread].pass = Some(plan);
        self.queue_step(now, thread, effects);
        self.stall(now, thread, Cause::Pass(number), length, effects);
    }

    /// Where the cpuset allows one node only, a pass has nothing to win (spec: 1.4 step 2).
    fn skips_for_cpuset(&mut self, now: Nanos, thread: usize, hash: &mut EventHash) -> bool {
        if !self.config.kernel.skips_single_node_cpusets() || !self.config.rules.cpuset_skip {
            return false;
        }
        let space = &mut self.spaces[self.threads[thread].process.index()];
        let Some(allowed) = space.mems_allowed.filter(|allowed| allowed.len() == 1) else { return false };
        space.cpuset_skips += 1;
        hash.record(now, kinds::SKIP_CPUSET, [thread as u64, allowed.0]);
        true
    }

    /// The next step of a pass is due after an equal share of the time that is left.
    fn queue_step(&mut self, now: Nanos, thread: usize, effects: &mut Effects) {
        let plan = self.threads[thread].pass.as_ref().expect("a pass is under way");
        let left = (plan.steps.len() - plan.done).max(1) as u64;
        let at = now + (plan.ends - now) / left;
        effects.schedule.push((at, Event(Wake::PassStep { thread: thread as u16 })));
    }

    /// What others take from the CPUs from now on lengthens the passes under way.
    pub(crate) fn lengthen_passes(&mut self, now: Nanos, effects: &mut Effects) {
        let read_until: Vec<_> = (0..self.spaces.len()).map(|process| self.read_until(process)).collect();
        for thread in 0..self.threads.len() {
            let Some(ends) = self.threads[thread].pass.as_ref().map(|plan| plan.ends) else { continue };
            let left = ends - now;
            let longer = self.stretched(now, left);
            if let Some(plan) = &mut self.threads[thread].pass {
                plan.ends = now + longer;
            }
            self.stall(now, thread, Cause::LongerPass, longer - left, effects);
        }
        for (process, before) in read_until.into_iter().enumerate() {
            if let (Some(before), Some(after)) = (before, self.read_until(process)) {
                self.delay_writers(now, process, after - before, effects);
            }
        }
    }

    /// One step of a pass: marks, and at the end of a range the count and the shootdown (spec: 1.7, 1.8).
    pub(crate) fn step_pass(
        &mut self,
        now: Nanos,
        thread: usize,
        hash: &mut EventHash,
        effects: &mut Effects,
    ) {
        let plan = self.threads[thread].pass.as_ref().expect("a pass is under way");
        if let Some(step) = plan.steps.get(plan.done).copied() {
            if plan.done + 1 == plan.steps.len() && now < plan.ends {
                self.queue_step(now, thread, effects);
                return;
            }
            let pass = plan.number;
            let unmarked = self.before_marking(step.region, (step.from, step.to), hash);
            self.mark_step(now, thread, step, effects);
            self.after_marking(step.region, &unmarked, pass);
        }
        let plan = self.threads[thread].pass.as_ref().expect("a pass is under way");
        if plan.done >= plan.steps.len() {
            if now < plan.ends {
                self.queue_step(now, thread, effects)
            } else {
                self.end_pass(now, thread, hash, effects)
            }
        } else {
            self.queue_step(now, thread, effects);
        }
    }

    fn mark_step(&mut self, now: Nanos, thread: usize, step: Step, effects: &mut Effects) {
        self.forget_all_landed(now);
        let spared = self.spared(thread, step.region);
        let stamp = self.stamp(now);
        let count = self.regions[step.region].mark(step.from, step.to, &spared, stamp);
        if count > 0 {
            self.replan_region(now, step.region, effects);
        }
        let plan = self.threads[thread].pass.as_mut().expect("a pass is under way");
        if count > 0 {
            self.regions[step.region].note_pass(step.from, step.to, plan.number);
        }
        plan.done += 1;
        let region = &self.regions[step.region];
        plan.in_range.marked += count;
        plan.in_range.pages += count * region.unit;
        plan.in_range.huge += if region.is_huge() { count } else { 0 };
        if !step.last {
            return;
        }
        let InRange { marked, pages, huge } = core::mem::take(&mut plan.in_range);
        plan.marked += marked;
        plan.marked_pages += pages;
        self.counters.numa_pte_updates += pages;
        self.counters.numa_huge_pte_updates += huge;
        let number = plan.number;
        self.interrupt_others(now, thread, number, step, effects);
    }

    fn interrupt_others(&mut self, now: Nanos, thread: usize, pass: u64, step: Step, effects: &mut Effects) {
        let plan = self.threads[thread].pass.as_mut().expect("a pass is under way");
        let receivers = plan.receivers.remove(&step.range).unwrap_or_default();
        plan.interrupts += receivers.len() as u32;
        for other in receivers {
            let event = self.pass_event(thread, pass, step.range << 16 | other as u64);
            let costs = &self.config.costs;
            let cost = if step.few_pages { costs.interrupt_few_pages } else { costs.interrupt };
            let cost = self.draws.cost(cost, Draw::Interrupt, event);
            let cause = Cause::Shootdown { thread: ThreadId(thread as u16), pass };
            self.stall(now, other, cause, Span(cost), effects);
        }
    }

    /// The threads that the shootdown of a range is to find running, one on each other CPU: idle CPUs drop their entries when
    /// they wake, without an interrupt (spec: 1.8).
    fn interrupted(&mut self, now: Nanos, thread: usize, pass: u64, range: u64) -> Vec<usize> {
        let process = self.threads[thread].process.index();
        let own = self.threads[thread].slot;
        let mut found: Vec<usize> = Vec::new();
        for place in 0..self.spaces[process].threads.len() {
            let other = self.spaces[process].threads[place];
            let Thread { slot, duty, .. } = self.threads[other];
            let known = slot == own || found.iter().any(|running| self.threads[*running].slot == slot);
            let event = self.pass_event(thread, pass, range << 16 | other as u64);
            let runs = match self.is_awake(now, other) {
                Some(awake) => awake,
                None => self.draws.chance(duty, Draw::Running, event),
            };
            if !known && !self.waits_for_cpu(now, other) && runs {
                found.push(other);
            }
        }
        found
    }

    /// An event of a pass, as draws know it.
    fn pass_event(&self, thread: usize, pass: u64, event: u64) -> [u64; 2] {
        [(self.threads[thread].process.index() as u64) << 48 | pass, event]
    }

    /// The end of a pass: offset, sequence and charge (spec: 1.5, 8 F5, 8 F7).
    fn end_pass(&mut self, now: Nanos, thread: usize, hash: &mut EventHash, effects: &mut Effects) {
        let plan = self.threads[thread].pass.take().expect("a pass ends once");
        let process = self.threads[thread].process.index();
        let space = &mut self.spaces[process];
        match plan.offset {
            Some(offset) => space.scan_offset = offset,
            None => {
                space.scan_offset = 0;
                space.scan_seq += 1;
            }
        }
        hash.record(now, kinds::PASS, [(thread as u64) << 32 | u64::from(space.scan_seq), plan.marked]);
        self.note_pass_end(now, thread, &plan, hash);
        if self.threads[thread].reported {
            let (marked, interrupts) = (plan.marked_pages, plan.interrupts);
            let (begun, length) = (plan.begins, plan.ends - plan.begins);
            let thread = ThreadId(thread as u16);
            effects.passes.push(Pass { thread, begun, length, marked, interrupts });
        }
        let length = self.cpu_part(thread, plan.ends - plan.begins);
        self.work_of_sleeper(now, thread, length);
        let ticks = if self.config.rules.pass_charge { length.0 / self.tick } else { 0 };
        self.threads[thread].node_stamp += 32 * ticks * self.tick;
        if self.threads[thread].work_queued {
            self.threads[thread].work_queued = false;
            self.start_pass(now, thread, hash, effects);
        }
        self.ensure_tick(now, thread, effects);
    }

    /// What a marking of the region by this thread leaves alone (spec: 1.7 rules 3 to 6).
    fn spared(&self, thread: usize, region: usize) -> Spared {
        let (kernel, rules) = (self.config.kernel, &self.config.rules);
        let at = &self.regions[region];
        let covered = !at.is_huge() || kernel.rules_cover_huge_pages();
        let private = covered && !at.kind.is_shared();
        let any_reference = kernel.cow_skip() == CowSkip::AnyOtherReference;
        let pinned =
            at.dma_pinned && rules.pinned_page_skip && (private || kernel.skips_pinned_pages_everywhere());
        let large = matches!(at.kind, MapKind::AnonymousLarge { .. }) && any_reference;
        // A page of the file has the file's reference too.
        let of_file = at.kind.copies_on_write() && any_reference;
        let dirty = at.kind == MapKind::FileCopyOnWrite && rules.dirty_page_skip;
        let alone = self.spaces[self.threads[thread].process.index()].mm_users == 1;
        Spared {
            all: pinned || large || (private && at.mapped_elsewhere),
            nodes: if !self.knobs.balancing && self.knobs.tiering && rules.top_tier_skip {
                self.top_tier()
            } else {
                NodeMask(0)
            },
            local: (alone && private && rules.single_thread_rule).then(|| self.node_of_thread(thread)),
            unwritten: of_file || dirty,
            written: matches!(at.kind, MapKind::FileShared { .. }) && rules.dirty_page_skip,
            pages: self.spared_pages(region, private),
        }
    }

    /// Pages that cannot be marked because a migration entry stands there, or because they wait in an LRU batch (spec: 1.7,
    /// 8 F3).
    fn spared_pages(&self, region: usize, private: bool) -> Vec<u64> {
        let here = |(other, page): (usize, u64)| (other == region).then_some(page);
        let flying = self.in_flight.iter().map(|(_, other, page)| (usize::from(*other), *page));
        let mut pages: Vec<u64> = flying.filter_map(here).collect();
        if private && !self.config.kernel.marks_batched_pages() {
            let batches = self.slots.iter().flat_map(|slot| &slot.batch);
            pages.extend(batches.map(|entry| of_batch_entry(*entry)).filter_map(here));
        }
        pages
    }

    /// Walks the mappings from the offset on (spec: 1.5).
    fn walk(&mut self, now: Nanos, thread: usize) -> PassPlan {
        let process = self.threads[thread].process.index();
        let pages = i64::from(self.knobs.scan_size_mb) * MEGABYTE_PAGES as i64;
        let pass = self.spaces[process].passes;
        self.spaces[process].passes += 1;
        let event = self.pass_event(thread, pass, 0);
        let mut walk = Walk {
            pass,
            mark_ps: self.draws.cost(self.config.costs.mark_per_pte_ps, Draw::Mark, event),
            mark_huge_ps: self.draws.cost(self.config.costs.mark_huge_ps, Draw::MarkHuge, event),
            ranges: Vec::new(),
            count: 0,
            pages_left: pages,
            range_left: pages * RANGE_FACTOR,
            start: self.spaces[process].scan_offset,
            forced: false,
            skipped_for_pid: false,
            cost_ps: 0,
            shootdowns: Span::ZERO,
            receivers: BTreeMap::new(),
        };
        self.begin_anew_at_the_end(process, &mut walk);
        let mut stopped = self.walk_regions(now, thread, &mut walk);
        if !stopped && walk.skipped_for_pid && self.completes_scans() {
            walk.forced = true;
            walk.start = self.spaces[process].scan_offset;
            self.begin_anew_at_the_end(process, &mut walk);
            stopped = self.walk_regions(now, thread, &mut walk);
        }
        assert!(walk.pages_left > -(HUGE as i64), "only the rounding to 2 MiB exceeds the budget of pages");
        assert!(walk.range_left > -pages - HUGE as i64, "only the last range exceeds the budget of ranges");
        let base = self.draws.cost(self.config.costs.pass_base, Draw::PassBase, event);
        let nominal = Span(base + walk.cost_ps / 1000) + walk.shootdowns;
        let offset = stopped.then_some(walk.start);
        let ends = now + self.stretched(now, self.slowed(thread, nominal));
        let steps = walk.ranges.iter().flat_map(|range| self.steps(thread, *range)).collect();
        PassPlan {
            number: pass,
            steps,
            done: 0,
            offset,
            begins: now,
            ends,
            in_range: InRange::default(),
            marked: 0,
            marked_pages: 0,
            interrupts: 0,
            receivers: walk.receivers,
        }
    }

    /// What the flush at the end of the range about to be noted takes its initiator.
    fn shootdown(&mut self, now: Nanos, thread: usize, walk: &mut Walk) -> Span {
        let range = walk.count;
        let receivers = self.interrupted(now, thread, walk.pass, range);
        let targets = receivers.len() as u64;
        walk.receivers.insert(range, receivers);
        let event = self.pass_event(thread, walk.pass, range << 16);
        let costs = &self.config.costs;
        let base = self.draws.cost(costs.shootdown_base, Draw::ShootdownBase, event);
        Span(base + self.draws.cost(costs.shootdown_per_cpu, Draw::ShootdownPerCpu, event) * targets)
    }

    fn steps(&self, thread: usize, range: Range) -> Vec<Step> {
        let Range { region, from, to, .. } = range;
        let others = self.regions[region].touched_by.has_others_than(thread);
        let size = if others { HUGE } else { to - from };
        let few_pages = range.length <= SINGLE_PAGE_FLUSH_CEILING;
        let starts = (from..to).step_by(size.max(1) as usize);
        starts
            .map(|start| Step {
                range: range.number,
                region,
                from: start,
                to: to.min(start + size),
                few_pages,
                last: range.flushes && start + size >= to,
            })
            .collect()
    }

    /// Where the list ends before the offset, a new sequence begins within the pass.
    fn begin_anew_at_the_end(&mut self, process: usize, walk: &mut Walk) {
        if self.nothing_after(process, walk.start) {
            self.spaces[process].scan_seq += 1;
            self.spaces[process].scan_offset = 0;
            walk.start = 0;
        }
    }

    fn nothing_after(&self, process: usize, offset: u64) -> bool {
        let space = &self.spaces[process];
        !space.mappings_after && space.regions.last().is_none_or(|last| self.regions[*last].end() <= offset)
    }

    /// One walk over the list; true if it stopped at a mapping, false if it ran off the end.
    fn walk_regions(&mut self, now: Nanos, thread: usize, walk: &mut Walk) -> bool {
        let process = self.threads[thread].process.index();
        let mut place = 0;
        while place < self.spaces[process].regions.len() {
            let parts = self.parts_of(process, place);
            place += parts.len();
            let head = parts[0];
            if self.mapping_end(head) <= walk.start || !self.admits(now, thread, head, walk) {
                continue;
            }
            if !self.walk_mapping(now, thread, &parts, walk) {
                return true;
            }
            let seq = self.spaces[process].scan_seq;
            if let Some(vma) = &mut self.regions[head].vma {
                vma.prev_scan_seq = seq;
            }
            if walk.forced {
                return true;
            }
        }
        false
    }

    /// The regions of the mapping that begins with the region at `place` of the process's list.
    fn parts_of(&self, process: usize, place: usize) -> Vec<usize> {
        let rest = &self.spaces[process].regions[place..];
        rest.iter().copied().take_while(|region| self.regions[*region].head == rest[0]).collect()
    }

    /// Where the mapping ends that begins with a region.
    fn mapping_end(&self, head: usize) -> u64 {
        let regions = &self.spaces[self.regions[head].process.index()].regions;
        let parts = regions.iter().map(|region| &self.regions[*region]).filter(|region| region.head == head);
        parts.map(Region::end).max().expect("it has a part at least")
    }

    /// Tests 1 to 8 of the table in spec 1.5.
    fn admits(&mut self, now: Nanos, thread: usize, region: usize, walk: &mut Walk) -> bool {
        if !self.is_scannable(region) {
            return false;
        }
        if !self.config.kernel.keeps_vma_state() {
            return true;
        }
        let process = self.threads[thread].process.index();
        let jiffies = self.jiffies(now);
        let seq = self.spaces[process].scan_seq;
        let delay = u64::from(self.knobs.scan_delay_ms);
        let (delay_jiffies, window) = (self.to_jiffies(delay), self.to_jiffies(PID_WINDOW_DELAYS * delay));
        let end = self.mapping_end(region);
        let vma = *self.regions[region].vma.get_or_insert(VmaState {
            next_scan: jiffies + delay_jiffies,
            pids_active_reset: jiffies + delay_jiffies + window,
            pids_previous: 0,
            pids_current: 0,
            start_scan_seq: seq,
            prev_scan_seq: seq.wrapping_sub(1),
        });
        if seq != 0 && jiffies < vma.next_scan && self.config.rules.vma_scan_delay {
            return false;
        }
        if !self.config.kernel.rotates_windows_after_filter() {
            self.rotate_pid_windows(jiffies, region, window);
        }
        let vma = self.regions[region].vma.expect("made above");
        if vma.prev_scan_seq == seq && self.completes_scans() {
            self.spaces[process].scan_offset = end;
            return false;
        }
        if !walk.forced && !self.has_accessed(thread, region, &vma) {
            walk.skipped_for_pid = true;
            return false;
        }
        if self.config.kernel.rotates_windows_after_filter() {
            self.rotate_pid_windows(jiffies, region, window);
        }
        true
    }

    fn completes_scans(&self) -> bool {
        self.config.kernel.completes_scans() && self.config.rules.scan_completion
    }

    /// Test 6: the current window becomes the previous one (spec: 1.5).
    fn rotate_pid_windows(&mut self, jiffies: i64, region: usize, window: i64) {
        let seq = self.spaces[self.regions[region].process.index()].scan_seq;
        let vma = self.regions[region].vma.as_mut().expect("made before");
        if seq != 0 && jiffies > vma.pids_active_reset && self.config.rules.pid_windows {
            vma.pids_active_reset += window;
            vma.pids_previous = vma.pids_current;
            vma.pids_current = 0;
        }
    }

    /// Tests 1 to 3: what is never scanned whatever its state.
    fn is_scannable(&self, region: usize) -> bool {
        let region = &self.regions[region];
        if region.kind.is_never_scanned() {
            return false;
        }
        let policy = match region.policy {
            // Where the backing store answers for the policy, none set means not balanced, spec: 8 F4.
            Policy::Default if region.kind.is_shmem() => return false,
            Policy::Default => self.spaces[region.process.index()].policy,
            own => own,
        };
        policy.migrates_on_fault()
    }

    /// Whether the thread may scan this mapping (spec: 1.6).
    fn has_accessed(&self, thread: usize, region: usize, vma: &VmaState) -> bool {
        let (kernel, rules) = (self.config.kernel, &self.config.rules);
        let space = &self.spaces[self.threads[thread].process.index()];
        let since = if kernel.opens_filter_by_address_space() { 0 } else { vma.start_scan_seq };
        if !rules.pid_filter || space.scan_seq.wrapping_sub(since) < 2 {
            return true;
        }
        if (vma.pids_previous | vma.pids_current) >> pid_bit(self.threads[thread].pid) & 1 == 1 {
            return true;
        }
        if self.completes_scans() && space.scan_offset > self.regions[region].base {
            return true;
        }
        kernel.rescues_starved_vmas()
            && rules.starvation_rescue
            && space.scan_seq > vma.prev_scan_seq.wrapping_add(space.mm_users)
    }

    /// Marks inside one mapping; false when a budget is used up.
    fn walk_mapping(&mut self, now: Nanos, thread: usize, parts: &[usize], walk: &mut Walk) -> bool {
        let spared: Vec<Spared> = parts.iter().map(|region| self.spared(thread, *region)).collect();
        let (base, end) = (self.regions[parts[0]].base, self.mapping_end(parts[0]));
        loop {
            walk.start = walk.start.max(base);
            let to = (walk.start + walk.pages_left.max(0) as u64).next_multiple_of(HUGE).min(end);
            let length = (to - walk.start) as i64;
            let first = walk.ranges.len();
            let marked = parts
                .iter()
                .zip(&spared)
                .map(|(region, spared)| self.survey_range(*region, (walk.start, to), spared, walk))
                .sum::<u64>() as i64;
            let rules = self.config.rules;
            if marked > 0 {
                walk.pages_left -= if rules.whole_range_charge { length } else { marked };
                let taken = self.shootdown(now, thread, walk);
                walk.shootdowns += taken;
            }
            if walk.ranges.len() > first {
                walk.ranges.last_mut().expect("a part was added").flushes = true;
            }
            walk.count += 1;
            walk.range_left -= if rules.range_budget { length } else { 0 };
            walk.start = to;
            if walk.pages_left <= 0 || walk.range_left <= 0 {
                return false;
            }
            if to == end {
                return true;
            }
        }
    }

    /// Notes what of a range lies in a region, and what it costs; returns the base pages that will be marked there.
    fn survey_range(&self, region: usize, range: (u64, u64), spared: &Spared, walk: &mut Walk) -> u64 {
        let at = &self.regions[region];
        let (from, to) = (range.0.max(at.base), range.1.min(at.end()));
        if from >= to {
            return 0;
        }
        let (from, to) = (from - at.base, to - at.base);
        let found = at.survey(from, to, spared);
        let costs = &self.config.costs;
        let (mark_ps, entries) = if at.is_huge() { (walk.mark_huge_ps, 1) } else { (walk.mark_ps, at.unit) };
        walk.cost_ps += entries
            * (found.marked * mark_ps
                + found.already * costs.skip_per_pte_ps
                + found.left * costs.local_skip_per_pte_ps);
        let length = range.1 - range.0;
        walk.ranges.push(Range { number: walk.count, region, from, to, length, flushes: false });
        found.marked * at.unit
    }
}
