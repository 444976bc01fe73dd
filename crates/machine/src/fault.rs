//! A touch of a page that needs attention: hinting fault, migration, accounting, placement (spec: 2 and 3).

use numashock_engine::{EventHash, Nanos, Span};

use crate::cost::Draw;
use crate::machine::{Machine, kinds};
use crate::notes::Met;
use crate::pages::LastAccess;
use crate::slot::{UNMAPPED, batch_entry, of_batch_entry};
use crate::task::{ACTIVE_NODE_FRACTION, Adaptation, Faults, Group, LOAD_AVG_MAX, adapt, decay, pid_bit};
use crate::touch::TouchedBy;
use crate::{Cost, KernelModel, Law, MapKind, NodeId, NodeMask, Policy};

/// What a touch took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TouchCost {
    pub(crate) hint_fault: Span,
    pub(crate) migration_copy: Span,
    /// A first write to a file page: a fault that happens with balancing or without it, and so costs in every world
    /// (attribution: A4).
    pub(crate) first_write: Span,
    /// Waiting for the mmap lock: for a scan, or for who waits for one.
    pub(crate) lock_wait: Span,
    /// Waiting for the stopper that moves the thread after its memory (attribution: A5).
    pub(crate) stopper: Span,
    /// What it met.
    pub(crate) met: Met,
}

/// What entering a fault into the statistics led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Accounted {
    /// A new scan sequence was consumed.
    placed: bool,
    /// The search for a CPU nearer to the memory, and the move there.
    search: Span,
    stopper: Span,
}

/// What one fault tells the statistics (spec: 3.1).
struct Fault {
    /// Base pages of the page.
    pages: u64,
    last: LastAccess,
    /// Whether that names a CPU.
    known: bool,
    /// Where the page is now.
    node: NodeId,
    /// Whether it was on the CPU's node before.
    local: bool,
    no_group: bool,
    shared_mapping: bool,
    /// Its name in draws.
    event: [u64; 2],
    migrated: bool,
    failed: bool,
}

/// A page that a thread is about to migrate: until it is unmapped, other threads find it as it was (spec: 2.2 step 11).
#[derive(Clone, Copy, Debug)]
pub(crate) struct StillMapped {
    until: Nanos,
    region: u16,
    page: u64,
    /// Where it still is, and who noted its access last.
    source: NodeId,
    last: LastAccess,
    /// Another thread's fault has taken the mark away: further touches go through.
    cured: bool,
}

/// Whether the target decision ends in a migration, and how it went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stays,
    /// At admission.
    Refused,
    /// After admission, so that `pgmigrate_fail` counts it.
    Failed,
    Migrated,
}

impl Outcome {
    fn met(self) -> Met {
        match self {
            Outcome::Stays => Met::Fault,
            Outcome::Refused | Outcome::Failed => Met::Refused,
            Outcome::Migrated => Met::Migration,
        }
    }
}

impl Machine {
    /// Touches a page at `now + elapsed`; only pages in the attention set cost anything.
    #[allow(clippy::too_many_arguments, reason = "a touch is who, where, when and how")]
    pub(crate) fn touch_page(
        &mut self,
        now: Nanos,
        elapsed: Span,
        thread: usize,
        region: usize,
        page: u64,
        write: bool,
        hash: &mut EventHash,
    ) -> TouchCost {
        if !self.regions[region].attention.contains(page) {
            return TouchCost::default();
        }
        if self.regions[region].is_marked(page) {
            let large = matches!(self.regions[region].kind, MapKind::AnonymousLarge { .. });
            assert!(
                !large || self.config.kernel.handles_large_folios(),
                "no pass marked what no fault handles"
            );
            return self.hinting_fault(now, elapsed, thread, region, page, write, hash);
        }
        let mut cost = TouchCost::default();
        let at = now + elapsed;
        if let Some(place) = self.before_unmapping(at, region, page) {
            if core::mem::replace(&mut self.still_mapped[place].cured, true) {
                return cost;
            }
            return self.hinting_fault(now, elapsed, thread, region, page, write, hash);
        }
        if let Some(until) = self.lands_at(region, page).filter(|until| *until > at) {
            let event = self.thread_event(thread, region, page);
            let wake = Span(self.draws.cost(self.config.costs.migration_wake, Draw::Wake, event));
            cost.migration_copy += (until - at) + wake;
        }
        if write && self.regions[region].is_write_protected(page) {
            cost.migration_copy += self.second_fault(at, region, page);
            self.reuse_after_write(region, page);
        } else if write && self.regions[region].unwritten.get(page) {
            cost.lock_wait = self.lock_wait(at, region, false);
            cost.first_write = self.first_write(at, thread, region, page);
        }
        self.settle(region, page);
        cost
    }

    /// Forgets migrations that have ended.
    pub(crate) fn forget_landed(&mut self, now: Nanos) {
        while let Some((until, region, page)) = self.in_flight.front().copied() {
            if until > now {
                break;
            }
            self.in_flight.pop_front();
            self.regions[usize::from(region)].set_flying(page, false);
            self.settle(usize::from(region), page);
        }
    }

    /// The same for those that end before one begun earlier, too: a pass must find every page that has landed.
    pub(crate) fn forget_all_landed(&mut self, now: Nanos) {
        let landed = |(until, ..): &(Nanos, u16, u64)| *until <= now;
        while let Some(place) = self.in_flight.iter().position(landed) {
            let (_, region, page) = self.in_flight.remove(place).expect("the place was found");
            self.regions[usize::from(region)].set_flying(page, false);
            self.settle(usize::from(region), page);
        }
    }

    /// The migration of the page whose copy has not begun at `at`, if others still find the page mapped.
    fn before_unmapping(&self, at: Nanos, region: usize, page: u64) -> Option<usize> {
        self.still_mapped
            .iter()
            .position(|entry| usize::from(entry.region) == region && entry.page == page && at < entry.until)
    }

    fn lands_at(&self, region: usize, page: u64) -> Option<Nanos> {
        if !self.regions[region].is_flying(page) {
            return None;
        }
        self.in_flight
            .iter()
            .rev()
            .find(|(_, other, at)| usize::from(*other) == region && *at == page)
            .map(|entry| entry.0)
    }

    /// Takes a page out of the attention set unless something still waits for its next touch.
    fn settle(&mut self, region: usize, page: u64) {
        let region = &mut self.regions[region];
        if !region.is_flying(page)
            && region.is_unmarked(page)
            && !region.is_write_protected(page)
            && !region.unwritten.get(page)
        {
            region.forget(page);
        }
    }

    /// The write-protect fault after a migration: writable again, and nobody's page (spec: 2.2).
    fn reuse_after_write(&mut self, region: usize, page: u64) {
        self.regions[region].set_write_protected(page, false);
        // A huge page keeps its last access (spec: 8 F9).
        if !self.regions[region].is_huge() {
            self.regions[region].set_last(page, LastAccess::UNSET);
        }
    }

    /// A cost of a touch, drawn for the page and the pass that marked it: whichever thread comes first, and whenever.
    fn fault_cost(&mut self, cost: Cost, draw: Draw, region: usize, page: u64) -> Span {
        if let Cost::One(Law::Constant(value)) = cost {
            return Span(value);
        }
        let pass = self.regions[region].marked_in(page);
        Span(self.draws.cost(cost, draw, [(region as u64) << 48 | page, pass]))
    }

    /// What happens to a thread at a page since the last pass marked it, as draws know it.
    fn thread_event(&self, thread: usize, region: usize, page: u64) -> [u64; 2] {
        let pass = self.regions[region].marked_in(page);
        [(region as u64) << 48 | page, (thread as u64) << 32 | pass]
    }

    /// A write-protect fault.
    fn second_fault(&mut self, at: Nanos, region: usize, page: u64) -> Span {
        let cost = self.fault_cost(self.config.costs.write_fault, Draw::WriteFault, region, page);
        self.stretched(at, cost)
    }

    /// Unmapping, copying and mapping again.
    fn copy_cost(&mut self, region: usize, page: u64) -> Span {
        let costs = &self.config.costs;
        let huge = self.regions[region].is_huge();
        let (cost, times) =
            if huge { (costs.migrate_huge, 1) } else { (costs.migrate_page, self.regions[region].unit) };
        self.fault_cost(cost, Draw::Migration, region, page) * times
    }

    /// The first write to a file page: it dirties a shared one, and makes of a private one a fresh anonymous page.
    fn first_write(&mut self, at: Nanos, thread: usize, region: usize, page: u64) -> Span {
        self.regions[region].unwritten.clear(page);
        if self.regions[region].kind.copies_on_write() {
            let target = self.allocation_node(thread, region, page);
            let source = self.regions[region].node_of(page);
            self.regions[region].set_node(page, target);
            self.regions[region].set_last(page, LastAccess::UNSET);
            self.used_pages[source.index()] -= 1;
            self.used_pages[target.index()] += 1;
            self.leave_batch(region, page);
            self.add_to_batch(thread, region, page);
        }
        self.second_fault(at, region, page)
    }

    /// Where the policy and the cpuset put a new page: the nearest node with room that both allow.
    fn allocation_node(&self, thread: usize, region: usize, page: u64) -> NodeId {
        let here = self.node_of_thread(thread);
        let nodes = &self.config.topology.nodes;
        let distance = &self.config.topology.distance;
        let all = NodeMask(u64::MAX >> (64 - nodes.len()));
        let sorted = |from: NodeId, among: NodeMask| {
            let mut list: Vec<NodeId> = (0..nodes.len() as u8).map(NodeId).collect();
            list.retain(|node| among.contains(*node));
            list.sort_by_key(|node| distance[from.index()][node.index()]);
            list
        };
        let nearest = |among: NodeMask| sorted(here, among).first().copied().unwrap_or(here);
        let (start, mask) = match self.effective_policy(thread, region) {
            Policy::Default | Policy::Local => (here, all),
            Policy::Bind(mask) | Policy::BindBalancing(mask) => (here, mask),
            Policy::Preferred(node) => (node, all),
            Policy::PreferredMany(mask) | Policy::PreferredManyBalancing(mask) => (nearest(mask), all),
            Policy::Interleave(mask) | Policy::WeightedInterleave(mask) => {
                let turn = page % u64::from(mask.len().max(1));
                let mut nodes = (0..64).map(NodeId).filter(|node| mask.contains(*node));
                (nodes.nth(turn as usize).unwrap_or(here), all)
            }
        };
        let cpuset = self.spaces[self.threads[thread].process.index()].mems_allowed.unwrap_or(all);
        let both = NodeMask(mask.0 & cpuset.0);
        let candidates = sorted(start, if both.is_empty() { mask } else { both });
        let room = |node: &&NodeId| {
            let index = node.index();
            self.used_pages[index] + self.pressure[index] < nodes[index].memory_pages
        };
        candidates.iter().find(room).or(candidates.first()).copied().unwrap_or(start)
    }

    /// The policy of a mapping for this thread: its own, else the process's (spec: 2.4).
    fn effective_policy(&self, thread: usize, region: usize) -> Policy {
        match self.regions[region].policy {
            Policy::Default => self.spaces[self.threads[thread].process.index()].policy,
            own => own,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a touch is who, where, when and how")]
    fn hinting_fault(
        &mut self,
        now: Nanos,
        elapsed: Span,
        thread: usize,
        region: usize,
        page: u64,
        write: bool,
        hash: &mut EventHash,
    ) -> TouchCost {
        let lock_wait = self.lock_wait(now + elapsed, region, true);
        let at = now + elapsed + lock_wait;
        let cpu_node = self.node_of_thread(thread);
        let (source, doubled) = self.found_on(now + elapsed, region, page);
        let local = source == cpu_node;
        let (last, known) = self.last_user(region, page, source);
        let head = self.regions[region].head;
        if let Some(vma) = &mut self.regions[head].vma {
            vma.pids_current |= 1 << pid_bit(self.threads[thread].pid);
        }
        self.counters.numa_hint_faults += 1;
        self.counters.numa_hint_faults_local += u64::from(local);
        self.regions[region].set_write_protected(page, false);
        let entry = self.fault_cost(self.config.costs.hint_fault, Draw::HintFault, region, page);
        let mut cost = TouchCost { hint_fault: self.stretched(at, entry), lock_wait, ..TouchCost::default() };
        let outcome = match self.target(at, thread, region, page, source, cpu_node) {
            // Who came first has taken it off the LRU already.
            Some(_) if doubled => Outcome::Refused,
            Some(target) => self.migrate(now, thread, region, page, target),
            None => Outcome::Stays,
        };
        let noted = self.regions[region].last(page);
        let begun = at + cost.hint_fault;
        cost.migration_copy += self.outcome_cost(at, outcome, region, page);
        let mapped_until = begun + self.before_copy(cost.migration_copy, region);
        let migrated = outcome == Outcome::Migrated;
        let fault = Fault {
            pages: self.regions[region].unit,
            last,
            known,
            node: if migrated { cpu_node } else { source },
            local,
            // What was never written is mapped read-only.
            no_group: self.regions[region].unwritten.get(page),
            shared_mapping: self.regions[region].mapped_elsewhere && self.regions[region].kind.is_shared(),
            migrated,
            failed: matches!(outcome, Outcome::Refused | Outcome::Failed),
            event: self.thread_event(thread, region, page),
        };
        // The copy is accounted when it is done, spec: 8 F6.
        let done = at + cost.hint_fault + cost.migration_copy;
        let accounted = self.account(done, now, thread, cpu_node, &fault, hash);
        if accounted.placed {
            let event = [thread as u64, u64::from(self.threads[thread].scan_seq)];
            cost.hint_fault += Span(self.draws.cost(self.config.costs.placement, Draw::Placement, event));
        }
        cost.hint_fault += accounted.search;
        (cost.stopper, cost.met) = (accounted.stopper, outcome.met());
        if migrated {
            cost.migration_copy += self.write_protect(at, region, page, write);
        }
        if write && self.regions[region].unwritten.get(page) {
            cost.first_write = self.first_write(at, thread, region, page);
        }
        // The page can be touched again when it is mapped; what follows is the faulting thread's affair.
        if migrated && self.fly(done, region, page) && mapped_until > begun {
            self.still_mapped.retain(|entry| entry.until > now);
            let region = region as u16;
            self.still_mapped.push(StillMapped {
                until: mapped_until,
                region,
                page,
                source,
                last: noted,
                cured: false,
            });
        }
        let at = &self.regions[region];
        let keeps = at.is_flying(page) || at.is_write_protected(page) || at.unwritten.get(page);
        self.regions[region].unmark(page, keeps);
        let kind = if migrated { kinds::MIGRATION } else { kinds::FAULT };
        let flags = u64::from(local) | u64::from(fault.failed) << 1 | u64::from(write) << 2;
        hash.record(now, kind, [(thread as u64) << 32 | (region as u64) << 8 | flags, page]);
        cost
    }

    /// Where a fault finds the page, and whether another thread's fault on the same marking came before.
    fn found_on(&mut self, at: Nanos, region: usize, page: u64) -> (NodeId, bool) {
        let Some(place) = self.before_unmapping(at, region, page) else {
            return (self.regions[region].node_of(page), false);
        };
        // This fault makes the page writable, so that it comes to no write-protect fault that forgets the last access.
        let entry = self.still_mapped[place];
        self.regions[region].set_last(page, entry.last);
        (entry.source, true)
    }

    /// What a migration leaves read-only faults again on its first write: at once if that is what led to it.
    fn write_protect(&mut self, at: Nanos, region: usize, page: u64, write: bool) -> Span {
        if !self.leaves_read_only(region, page) {
            return Span::ZERO;
        }
        if write {
            let cost = self.second_fault(at, region, page);
            self.reuse_after_write(region, page);
            return cost;
        }
        if self.regions[region].any_writes {
            self.regions[region].set_write_protected(page, true);
        }
        Span::ZERO
    }

    fn outcome_cost(&mut self, at: Nanos, outcome: Outcome, region: usize, page: u64) -> Span {
        let cost = match outcome {
            Outcome::Stays => return Span::ZERO,
            Outcome::Refused | Outcome::Failed => {
                self.fault_cost(self.config.costs.refused_migration, Draw::Refusal, region, page)
            }
            Outcome::Migrated => self.copy_cost(region, page),
        };
        self.stretched(at, cost)
    }

    /// How much of a migration passes before the page is unmapped and copied.
    fn before_copy(&self, migration: Span, region: usize) -> Span {
        let costs = &self.config.costs;
        let huge = self.regions[region].is_huge();
        let share = if huge { costs.huge_allocation_ppm } else { costs.page_allocation_ppm };
        let share = if self.config.rules.double_faults { share } else { 0 };
        migration.scaled(u64::from(share), 1_000_000)
    }

    /// The new mapping of a migrated private page is read-only from 6.4 on (spec: 2.2).
    fn leaves_read_only(&self, region: usize, page: u64) -> bool {
        self.config.kernel.write_protects_migrated_pages()
            && self.config.rules.second_write_fault
            && self.regions[region].is_anonymous_private(page)
    }

    /// Others who touch the page before `until` sleep; without others nobody can.
    fn fly(&mut self, until: Nanos, region: usize, page: u64) -> bool {
        let others = self.regions[region].touched_by == TouchedBy::Several;
        let seen = others && self.config.rules.migration_sleep;
        if seen {
            self.in_flight.push_back((until, region as u16, page));
            self.regions[region].set_flying(page, true);
        }
        seen
    }

    /// Where the page should go, if anywhere (spec: 2.4).
    fn target(
        &mut self,
        at: Nanos,
        thread: usize,
        region: usize,
        page: u64,
        source: NodeId,
        here: NodeId,
    ) -> Option<NodeId> {
        let candidate = match self.effective_policy(thread, region) {
            // A page that is local already leaves before its last access is noted (spec: 2.3).
            Policy::Default => source != here,
            // A local one is tested all the same, which notes the access.
            Policy::BindBalancing(mask) | Policy::PreferredManyBalancing(mask) => mask.contains(here),
            _ => false,
        };
        if !candidate || !self.should_migrate(at, thread, region, page, source, here) || source == here {
            return None;
        }
        self.config.rules.page_migration.then_some(here)
    }

    /// Tests S0 to S8 (spec: 2.4).
    fn should_migrate(
        &mut self,
        at: Nanos,
        thread: usize,
        region: usize,
        page: u64,
        source: NodeId,
        here: NodeId,
    ) -> bool {
        let rules = self.config.rules;
        let checked = self.config.kernel.rejects_memoryless_nodes() && rules.memoryless_check;
        if checked && self.config.topology.nodes[here.index()].memory_pages == 0 {
            return false;
        }
        if self.keeps_access_times(source) {
            return self.promotes(at, region, page, here);
        }
        let (last, known) = self.last_user(region, page, source);
        let state = &self.threads[thread];
        self.regions[region].set_last(page, LastAccess::new(state.slot, state.pid));
        if self.is_slow(source) && !known && rules.unknown_user_check {
            return false;
        }
        let early = state.preferred.is_none() || state.scan_seq <= 4;
        if early && rules.early_migration && (last.pid_is_unset() || last.pid_matches(state.pid)) {
            return true;
        }
        // Where tiering was on, a time may stand for the user, and name a CPU that does not exist.
        let from = self.slots.get(usize::from(last.cpu_slot())).map(|slot| slot.node);
        let from_here = last.pid_is_unset() || from == Some(here);
        if !from_here && rules.two_stage_filter {
            return false;
        }
        if last.pid_matches(state.pid) {
            return true;
        }
        let group = state.group.filter(|_| rules.group_migration);
        let Some(group) = group.map(|group| &self.groups[group]) else { return true };
        if group.cpu(here) > group.cpu(source) * ACTIVE_NODE_FRACTION {
            return true;
        }
        group.cpu(here) * group.memory(source) * 3 > group.cpu(source) * group.memory(here) * 4
    }

    /// Admission and copy (spec: 2.5).
    fn migrate(&mut self, now: Nanos, thread: usize, region: usize, page: u64, target: NodeId) -> Outcome {
        let source = self.regions[region].node_of(page);
        let at = &self.regions[region];
        let unit = at.unit;
        if self.refuses(region, page, target) {
            return Outcome::Refused;
        }
        // The allocation stays inside the cpuset, and a pinned page keeps its references.
        let allowed = self.spaces[at.process.index()].mems_allowed.is_none_or(|nodes| nodes.contains(target));
        if at.dma_pinned || !allowed {
            self.counters.pgmigrate_fail += unit;
            return Outcome::Failed;
        }
        let releases = self.config.kernel.migration_releases_batch()
            || (at.locked && self.config.kernel >= KernelModel::V6_6);
        self.regions[region].set_node(page, target);
        self.used_pages[source.index()] -= unit;
        self.used_pages[target.index()] += unit;
        self.note_promotion(region, page, source, target);
        self.traffic.note_copy(now, source, target, unit);
        if unit == 1 {
            self.add_to_batch(thread, region, page);
        }
        if releases {
            let slot = self.threads[thread].slot;
            self.release_batch(usize::from(slot));
        }
        self.counters.numa_pages_migrated += unit;
        self.counters.pgmigrate_success += unit;
        Outcome::Migrated
    }

    /// Whether the page is not even tried (spec: 2.5).
    fn refuses(&self, region: usize, page: u64, target: NodeId) -> bool {
        let at = &self.regions[region];
        let node = &self.config.topology.nodes[target.index()];
        let full =
            self.used_pages[target.index()] + self.pressure[target.index()] + at.unit > node.memory_pages;
        let shared_huge =
            at.is_huge() && at.mapped_elsewhere && self.config.kernel.refuses_shared_huge_pages();
        full || at.is_batched(page) || at.is_dirty_file(page) || shared_huge
    }

    /// The pages of a CPU's LRU batch can be taken off the LRU again.
    pub(crate) fn release_batch(&mut self, slot: usize) {
        while let Some(entry) = self.slots[slot].batch.pop() {
            if entry != UNMAPPED {
                let (region, page) = of_batch_entry(entry);
                self.regions[region].set_batched(page, false);
            }
        }
    }

    /// The page of the file stays in its batch, but the mapping holds another one now.
    fn leave_batch(&mut self, region: usize, page: u64) {
        if self.regions[region].is_batched(page) {
            let entry = batch_entry(region, page);
            let mut entries = self.slots.iter_mut().flat_map(|slot| &mut slot.batch);
            *entries.find(|other| **other == entry).expect("the page is in some batch") = UNMAPPED;
            self.regions[region].set_batched(page, false);
        }
    }

    /// A new page waits in the executing CPU's LRU batch until that is full (spec: 8 F3).
    fn add_to_batch(&mut self, thread: usize, region: usize, page: u64) {
        if !self.config.rules.lru_batches {
            return;
        }
        let slot = usize::from(self.threads[thread].slot);
        self.slots[slot].batch.push(batch_entry(region, page));
        self.regions[region].set_batched(page, true);
        if self.slots[slot].batch.len() == self.config.kernel.lru_batch() {
            self.release_batch(slot);
        }
    }

    /// Enters a fault into the statistics (spec: 3.1).
    fn account(
        &mut self,
        done: Nanos,
        now: Nanos,
        thread: usize,
        cpu_node: NodeId,
        fault: &Fault,
        hash: &mut EventHash,
    ) -> Accounted {
        let mut accounted = Accounted::default();
        if !self.knobs.is_on() || self.leaves_out_of_statistics(fault.node, fault.known) {
            return accounted;
        }
        if self.threads[thread].faults.is_none() {
            self.threads[thread].faults = Some(Faults::new(self.config.topology.nodes.len()));
            self.threads[thread].total_faults = 0;
            self.threads[thread].locality = [0; 3];
        }
        let mut private = fault.last.is_unset() || fault.last.pid_matches(self.threads[thread].pid);
        let rules = self.config.rules;
        if !private && !fault.no_group && rules.groups {
            private = self.meet_group(done, thread, fault);
        }
        let mut local = fault.local;
        if !private && !local && rules.active_nodes {
            let group = self.threads[thread].group.map(|group| &self.groups[group]);
            local =
                group.is_some_and(|g| g.active_nodes > 1 && g.is_active(cpu_node) && g.is_active(fault.node));
        }
        if self.jiffies(done) > self.threads[thread].migrate_retry {
            accounted.placed = self.place(done, now, thread, hash);
            (accounted.search, accounted.stopper) = self.follow_memory(done, now, thread, cpu_node, hash);
        } else if !rules.placement_delay {
            accounted.placed = self.place(done, now, thread, hash);
        }
        let state = &mut self.threads[thread];
        state.pages_migrated += fault.pages * u64::from(fault.migrated);
        state.locality[2] += fault.pages * u64::from(fault.failed);
        state.locality[usize::from(local)] += fault.pages;
        state.faults.as_mut().expect("made above").note(fault.node, cpu_node, private, fault.pages);
        accounted
    }

    /// A shared fault: makes or joins a group (spec: 3.6); returns whether the fault counts as private after all.
    fn meet_group(&mut self, done: Nanos, thread: usize, fault: &Fault) -> bool {
        let mine = match self.threads[thread].group {
            Some(group) => group,
            None => {
                let state = &self.threads[thread];
                let faults = state.faults.as_ref().expect("the arrays exist");
                self.groups.push(Group::of(faults, state.total_faults));
                self.threads[thread].group = Some(self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let Some(other) = self.running_on(done, thread, fault) else { return false };
        if !fault.last.pid_matches(self.threads[other].pid) {
            return false;
        }
        let Some(theirs) = self.threads[other].group.filter(|group| *group != mine) else { return false };
        let (my_tasks, their_tasks) = (self.groups[mine].tasks, self.groups[theirs].tasks);
        // The kernel breaks ties by address; here the group made later is the higher.
        if my_tasks > their_tasks || (my_tasks == their_tasks && mine > theirs) {
            return false;
        }
        let join = self.threads[other].process == self.threads[thread].process || fault.shared_mapping;
        if join {
            self.join_group(thread, mine, theirs);
        }
        !join
    }

    fn join_group(&mut self, thread: usize, mine: usize, theirs: usize) {
        let state = &self.threads[thread];
        let faults = state.faults.as_ref().expect("the arrays exist").decayed().to_vec();
        let total = state.total_faults;
        self.groups[mine].subtract(&faults, total);
        self.groups[mine].tasks -= 1;
        self.groups[mine].refs -= 1;
        self.groups[theirs].add(&faults, total);
        self.groups[theirs].tasks += 1;
        self.groups[theirs].refs += 1;
        self.threads[thread].group = Some(theirs);
    }

    /// The thread that runs on a CPU while `thread` takes a fault; a sleeper alone on its CPU does with the chance of its duty.
    fn running_on(&mut self, now: Nanos, thread: usize, fault: &Fault) -> Option<usize> {
        let slot = fault.last.cpu_slot();
        match self.slots.get(usize::from(slot))?.threads[..] {
            [] => None,
            [only] if self.threads[only].sleeper.is_some() => {
                self.is_awake(now, only).unwrap_or(false).then_some(only)
            }
            [only] => {
                let duty = self.threads[only].duty;
                self.draws.chance(duty, Draw::Current, fault.event).then_some(only)
            }
            _ if self.threads[thread].slot == slot => Some(thread),
            _ => self.runs_on(now, usize::from(slot)),
        }
    }

    /// Placement on a new sequence (spec: 3.3); false if the sequence was consumed before.
    fn place(&mut self, done: Nanos, now: Nanos, thread: usize, hash: &mut EventHash) -> bool {
        let seq = self.spaces[self.threads[thread].process.index()].scan_seq;
        if self.threads[thread].scan_seq == seq {
            return false;
        }
        self.threads[thread].scan_seq = seq;
        self.threads[thread].scan_period_max = self.bounds_of(thread).max;
        let total = self.threads[thread].locality[0] + self.threads[thread].locality[1];
        let weight = self.cpu_weight(done, thread);
        let state = &mut self.threads[thread];
        let decay = decay(state.faults.as_mut().expect("a fault made them"), weight, total);
        state.total_faults += decay.total;
        if let Some(group) = state.group {
            self.groups[group].add(&decay.deltas, decay.total);
        }
        self.choose_preferred(thread);
        self.adapt_period(done, now, thread, decay.window, hash);
        true
    }

    /// CPU use since the last placement, in 1/65536 (spec: 3.3 step 3).
    fn cpu_weight(&mut self, done: Nanos, thread: usize) -> u64 {
        let clock = self.last_tick(done);
        let runtime = self.runtime(thread, clock);
        let (used, wall) = match self.threads[thread].last_placement {
            Some((at, then)) => (runtime - then, clock.0.saturating_sub(at)),
            None => (LOAD_AVG_MAX * self.threads[thread].duty / 1_000_000, LOAD_AVG_MAX),
        };
        self.threads[thread].last_placement = Some((clock.0, runtime));
        (used << 16) / (wall + 1)
    }

    /// Steps 5 to 7 of spec 3.3.
    fn choose_preferred(&mut self, thread: usize) {
        let state = &self.threads[thread];
        let mut best = (0i64, None);
        for node in 0..self.config.topology.nodes.len() {
            let node = NodeId(node as u8);
            let faults = match state.group {
                Some(group) => self.groups[group].memory(node),
                None => state.faults.as_ref().map_or(0, |faults| faults.memory(node).iter().sum()),
            };
            if faults > best.0 {
                best = (faults, Some(node));
            }
        }
        let mut nearest = best.1.map(|node| self.nearest_with_cpus(node));
        if let Some(group) = state.group {
            self.groups[group].count_active(&self.nodes_with_cpus);
            nearest = nearest.map(|node| self.best_for_group(group, node));
        }
        if nearest.is_some() {
            self.threads[thread].preferred = nearest;
        }
    }

    /// In a mesh a group prefers the node with the most faults around it, those of nearer nodes counting more. Elsewhere,
    /// also where backplanes join groups of nodes (not modelled), it keeps `node`.
    fn best_for_group(&self, group: usize, node: NodeId) -> NodeId {
        if self.mesh_reach.is_none() {
            return node;
        }
        let group = &self.groups[group];
        let mut best = (0, node);
        for at in &self.nodes_with_cpus {
            let score = 1000 * self.around(*at, |node| group.memory(node)) / group.total.max(1);
            if score > best.0 {
                best = (score, *at);
            }
        }
        best.1
    }

    fn nearest_with_cpus(&self, node: NodeId) -> NodeId {
        let distance = &self.config.topology.distance[node.index()];
        let nearest = self.nodes_with_cpus.iter().min_by_key(|other| distance[other.index()]);
        *nearest.expect("some node has CPUs")
    }

    fn adapt_period(
        &mut self,
        done: Nanos,
        now: Nanos,
        thread: usize,
        window: [u64; 2],
        hash: &mut EventHash,
    ) {
        let bounds = self.bounds_of(thread);
        let rules = self.config.rules;
        let sticky = rules.sticky_failure && !self.config.kernel.back_off_clears_locality();
        let state = &mut self.threads[thread];
        if !rules.period_adaptation {
            state.locality = [0; 3];
            return;
        }
        let [shared, private] = window;
        let period_max = state.scan_period_max;
        let seen = Adaptation { private, shared, period_max, bounds, back_off: rules.back_off, sticky };
        let new = adapt(state.scan_period, &mut state.locality, &seen);
        let process = state.process.index();
        self.set_period(now, thread, new.period, hash);
        if new.backed_off {
            let next = self.jiffies(done) + self.to_jiffies(u64::from(new.period));
            self.spaces[process].next_scan = Some(next);
        }
    }
}
