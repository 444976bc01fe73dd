//! The naive twin: one struct a page, the rules of the specification literally, a tick at a time and a touch at a time.
//! Random small workloads must agree in every page, counter and statistic.

#![allow(clippy::needless_range_loop, reason = "the twin is literal: node and kind are indices")]

mod common;
mod twin_setup;

use common::Host;
use numashock_engine::Nanos;
use numashock_machine::{
    CpuId, Disturbance, KernelModel, MapKind, NodeId, NodeMask, Policy, ProcessId, RegionId, ThreadId, WorkId,
};
use proptest::prelude::*;
use twin_setup::tier::Tier;
use twin_setup::{KINDS, POLICIES, Setup, host_of, setups};

const TICK: u64 = 4_000_000;
/// A shared file mapping as the random machines have it.
const CLEAN: MapKind = MapKind::FileShared { dirty: false };

#[derive(Clone)]
struct Page {
    node: usize,
    marked: bool,
    last: Option<(u16, u32)>,
    /// When it was marked, in ms, on a slow node in tiering mode.
    stamp: i64,
    read_only: bool,
    /// A file page that nobody has written through this mapping.
    of_file: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    next_scan: i64,
    reset_at: i64,
    before: u64,
    now: u64,
    first_seq: i64,
    done_seq: i64,
}

struct Mapping {
    base: u64,
    kind: MapKind,
    policy: Policy,
    pages: Vec<Page>,
    seen: Option<Seen>,
}

struct Task {
    pid: u32,
    cpu: u16,
    fair: bool,
    stamp: u64,
    period: u32,
    period_max: u32,
    seq: i64,
    preferred: Option<usize>,
    retry: i64,
    stats: bool,
    memory: [[i64; 2]; 2],
    on_cpu: [[i64; 2]; 2],
    memory_window: [[i64; 2]; 2],
    cpu_window: [[i64; 2]; 2],
    total: i64,
    locality: [u64; 3],
    moved: u64,
    placed_at: Option<u64>,
    group: Option<usize>,
    generator: Vec<u64>,
}

#[derive(Clone, Default)]
struct Crowd {
    members: u64,
    memory: [[i64; 2]; 2],
    on_cpu: [[i64; 2]; 2],
    active: usize,
    most: i64,
}

struct Twin {
    kernel: KernelModel,
    setup: Setup,
    jiffies: i64,
    maps: Vec<Mapping>,
    tasks: Vec<Task>,
    crowds: Vec<Crowd>,
    batches: Vec<Vec<(usize, usize)>>,
    balancing: bool,
    full: bool,
    short: bool,
    tier: Tier,
    promoted: u64,
    next_scan: Option<i64>,
    seq: i64,
    offset: u64,
    updates: u64,
    faults: u64,
    local: u64,
    migrated: u64,
    failures: u64,
    skips: u64,
    tie: bool,
}

fn batch_of(kernel: KernelModel) -> usize {
    if kernel <= KernelModel::V6_8 { 15 } else { 31 }
}

fn completes_or_later(kernel: KernelModel) -> bool {
    kernel >= KernelModel::V6_6
}

fn millis_to_jiffies(millis: u32) -> i64 {
    i64::from(millis.div_ceil(4))
}

impl Twin {
    fn node_of(&self, cpu: u16) -> usize {
        if self.setup.slow.is_some() { 0 } else { usize::from(cpu / 2) }
    }

    fn keeps_time(&self, node: usize) -> bool {
        node == 1 && self.setup.slow.is_some_and(|(_, tiering)| tiering)
    }

    fn resident(&self) -> u64 {
        self.maps.iter().map(|map| map.pages.len() as u64).sum()
    }

    fn bounds(&self, task: usize) -> (u32, u32, u32) {
        let size = u64::from(self.setup.size_mb) * 256;
        let rules = self.setup.rules;
        let windows = if rules.resident_set_windows { self.resident().div_ceil(size) as u32 } else { 1 };
        let floor = if rules.period_floor { 1000 / (2560 / self.setup.size_mb) } else { 1 };
        let min = floor.max(self.setup.min_ms / windows);
        let ceiling = self.setup.max_ms / windows;
        let scale = |period: u32| match self.tasks[task].group {
            None => period,
            Some(group) => {
                let crowd = &self.crowds[group];
                let shared = (crowd.memory[0][0] + crowd.memory[1][0]) as u64;
                let private = (crowd.memory[0][1] + crowd.memory[1][1]) as u64;
                (u64::from(period) * crowd.members * (shared + 1) / (private + shared + 1)) as u32
            }
        };
        (min, min.max(scale(min)), min.max(ceiling.max(scale(ceiling))))
    }

    fn users(&self) -> u32 {
        self.setup.threads + self.setup.idle
    }

    fn tick(&mut self) {
        self.jiffies += 1;
        let runtime = 1_000_000 + (self.jiffies as u64 - 1) * TICK;
        let ready = |task: &Task| task.fair && runtime > task.stamp + u64::from(task.period) * 1_000_000;
        self.tie |= self.balancing && self.tasks.iter().filter(|task| ready(task)).count() > 1;
        for task in 0..self.tasks.len() {
            if !self.balancing || !ready(&self.tasks[task]) {
                continue;
            }
            let period = u64::from(self.tasks[task].period) * 1_000_000;
            if self.tasks[task].stamp == 0 {
                self.tasks[task].period = self.bounds(task).1;
            }
            self.tasks[task].stamp += period;
            if self.next_scan.is_none_or(|next| self.jiffies >= next) {
                self.pass(task);
            }
        }
    }

    fn pass(&mut self, task: usize) {
        let rules = self.setup.rules;
        let one_node = self.setup.mems.is_some_and(|mems| mems.0.count_ones() == 1);
        if self.kernel == KernelModel::V6_19 && rules.cpuset_skip && one_node {
            self.skips += 1;
            return;
        }
        let next = *self.next_scan.get_or_insert(self.jiffies + millis_to_jiffies(self.setup.delay_ms));
        if self.jiffies < next {
            return;
        }
        self.next_scan = Some(self.jiffies + millis_to_jiffies(self.tasks[task].period));
        self.tasks[task].stamp += 2 * TICK;
        let mut pages = i64::from(self.setup.size_mb) * 256;
        let mut range = pages * 8;
        let end_of = |map: &Mapping| map.base + map.pages.len() as u64;
        let mut forced = false;
        let mut skipped = false;
        loop {
            // At the restart too, which begins where the completed mappings have moved the offset.
            if !self.setup.after && self.maps.last().is_none_or(|map| end_of(map) <= self.offset) {
                self.seq += 1;
                self.offset = 0;
            }
            let mut start = self.offset;
            for map in 0..self.maps.len() {
                let end = end_of(&self.maps[map]);
                if end <= start || !self.may_scan(task, map, forced, &mut skipped) {
                    continue;
                }
                loop {
                    start = start.max(self.maps[map].base);
                    let to = ((start + pages.max(0) as u64).div_ceil(512) * 512).min(end);
                    let marked = self.mark(task, map, start, to) as i64;
                    if marked > 0 {
                        pages -= if rules.whole_range_charge { (to - start) as i64 } else { marked };
                    }
                    range -= if rules.range_budget { (to - start) as i64 } else { 0 };
                    start = to;
                    if pages <= 0 || range <= 0 {
                        self.offset = start;
                        return;
                    }
                    if to == end {
                        break;
                    }
                }
                let seq = self.seq;
                if let Some(seen) = &mut self.maps[map].seen {
                    seen.done_seq = seq;
                }
                if forced {
                    self.offset = start;
                    return;
                }
            }
            if forced || !skipped || self.kernel < KernelModel::V6_6 || !rules.scan_completion {
                break;
            }
            forced = true;
        }
        self.seq += 1;
        self.offset = 0;
    }

    fn may_scan(&mut self, task: usize, map: usize, forced: bool, skipped: &mut bool) -> bool {
        let (seq, jiffies, offset) = (self.seq, self.jiffies, self.offset);
        let users = i64::from(self.users());
        let bit = (self.tasks[task].pid as u64 * 0x61C8_8647 % (1 << 32)) >> 26;
        let delay = millis_to_jiffies(self.setup.delay_ms);
        let window = millis_to_jiffies(4 * self.setup.delay_ms);
        let rules = self.setup.rules;
        let mapping = &mut self.maps[map];
        let balanced = matches!(mapping.policy, Policy::Default | Policy::BindBalancing(_));
        let tmpfs =
            matches!(mapping.kind, MapKind::TmpfsShared | MapKind::TmpfsPrivate | MapKind::SharedAnonymous);
        let never = matches!(mapping.kind, MapKind::FileReadOnly | MapKind::Special);
        if !balanced || never || (tmpfs && mapping.policy == Policy::Default) {
            return false;
        }
        if self.kernel == KernelModel::V6_1 {
            return true;
        }
        let completes = self.kernel >= KernelModel::V6_6 && rules.scan_completion;
        let rescues = completes_or_later(self.kernel) && self.kernel != KernelModel::V6_8;
        let end = mapping.base + mapping.pages.len() as u64;
        let base = mapping.base;
        let seen = mapping.seen.get_or_insert(Seen {
            next_scan: jiffies + delay,
            reset_at: jiffies + delay + window,
            before: 0,
            now: 0,
            first_seq: seq,
            done_seq: seq - 1,
        });
        if rules.vma_scan_delay && seq != 0 && jiffies < seen.next_scan {
            return false;
        }
        let rotate = |seen: &mut Seen| {
            if rules.pid_windows && seq != 0 && jiffies > seen.reset_at {
                seen.reset_at += window;
                seen.before = seen.now;
                seen.now = 0;
            }
        };
        if self.kernel != KernelModel::V6_4 {
            rotate(seen);
        }
        if completes && seen.done_seq == seq {
            self.offset = end;
            return false;
        }
        let first = if self.kernel == KernelModel::V6_4 { 0 } else { seen.first_seq };
        let used = (seen.before | seen.now) >> bit & 1 == 1;
        if forced
            || !rules.pid_filter
            || seq - first < 2
            || used
            || (completes && offset > base)
            || (rescues && rules.starvation_rescue && seq > seen.done_seq + users)
        {
            if self.kernel == KernelModel::V6_4 {
                rotate(seen);
            }
            return true;
        }
        *skipped = true;
        false
    }

    fn mark(&mut self, task: usize, map: usize, from: u64, to: u64) -> u64 {
        let rules = self.setup.rules;
        let kind = self.maps[map].kind;
        let shared =
            matches!(kind, MapKind::TmpfsShared | MapKind::SharedAnonymous | MapKind::FileShared { .. });
        let alone = self.users() == 1 && !shared && rules.single_thread_rule;
        let old = self.kernel <= KernelModel::V6_8;
        let pinned = map == 0 && self.setup.pinned && rules.pinned_page_skip;
        let elsewhere = map == 0 && self.setup.elsewhere;
        let here = self.node_of(self.tasks[task].cpu);
        let spares_fast = self.setup.slow == Some((false, true)) && rules.top_tier_skip;
        let stamps = self.keeps_time(1);
        let mut count = 0;
        for number in from..to {
            let index = (number - self.maps[map].base) as usize;
            let waits = self.batches.iter().any(|batch| batch.contains(&(map, index)));
            let page = &mut self.maps[map].pages[index];
            let cow = if old {
                pinned || elsewhere || waits || (page.of_file && kind != CLEAN)
            } else {
                pinned || elsewhere
            };
            let dirty =
                (kind == MapKind::FileCopyOnWrite && page.of_file) || (kind == CLEAN && !page.of_file);
            let skip = page.marked
                || (!shared && cow)
                || (pinned && self.kernel == KernelModel::V6_19)
                || (dirty && rules.dirty_page_skip)
                || (alone && page.node == here)
                || (spares_fast && page.node == 0);
            if !skip {
                page.marked = true;
                if stamps && page.node == 1 {
                    page.stamp = self.jiffies * 4;
                }
                count += 1;
            }
        }
        self.updates += count;
        count
    }

    fn touch(&mut self, task: usize, map: usize, write: bool) {
        let mut x = self.tasks[task].generator[map];
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.tasks[task].generator[map] = x;
        let index = (x.wrapping_mul(2_685_821_657_736_338_717) % self.maps[map].pages.len() as u64) as usize;
        if self.maps[map].pages[index].marked {
            self.fault(task, map, index);
        }
        let page = &mut self.maps[map].pages[index];
        if write && page.read_only {
            page.read_only = false;
            page.last = None;
        }
        if write && page.of_file {
            page.of_file = false;
            if self.maps[map].kind != CLEAN {
                let wanted = match self.maps[map].policy {
                    Policy::BindBalancing(_) => 1,
                    _ => self.node_of(self.tasks[task].cpu),
                };
                // The cpuset of node 0 alone decides, unless the policy has node 1 only.
                let forced = self.setup.mems == Some(NodeMask(1))
                    && !matches!(self.maps[map].policy, Policy::BindBalancing(_));
                self.maps[map].pages[index].node = if forced { 0 } else { wanted };
                self.maps[map].pages[index].last = None;
                // The page of the file stays in its batch; the new one is another page.
                let old = self.batches.iter_mut().flatten().find(|page| **page == (map, index));
                if let Some(old) = old {
                    *old = (usize::MAX, index);
                }
                self.wait_in_batch(task, map, index);
            }
        }
    }

    fn wait_in_batch(&mut self, task: usize, map: usize, index: usize) {
        if !self.setup.rules.lru_batches {
            return;
        }
        let cpu = usize::from(self.tasks[task].cpu);
        self.batches[cpu].push((map, index));
        if self.batches[cpu].len() == batch_of(self.kernel) {
            self.batches[cpu].clear();
        }
    }

    fn fault(&mut self, task: usize, map: usize, index: usize) {
        let here = self.node_of(self.tasks[task].cpu);
        let pid = self.tasks[task].pid;
        self.maps[map].pages[index].marked = false;
        self.maps[map].pages[index].read_only = false;
        let source = self.maps[map].pages[index].node;
        let last = self.maps[map].pages[index].last.filter(|_| !self.keeps_time(source));
        if let Some(seen) = &mut self.maps[map].seen {
            seen.now |= 1 << ((pid as u64 * 0x61C8_8647 % (1 << 32)) >> 26);
        }
        let was_local = source == here;
        self.faults += 1;
        self.local += u64::from(was_local);
        let (mut moved, mut failed) = (false, false);
        let wanted = match self.maps[map].policy {
            Policy::Default => !was_local && self.wants(task, map, index, source, here),
            Policy::BindBalancing(mask) => {
                mask.contains(NodeId(here as u8)) && self.wants(task, map, index, source, here)
            }
            _ => false,
        };
        if wanted && !was_local && self.setup.rules.page_migration {
            let waits = self.batches.iter().any(|batch| batch.contains(&(map, index)));
            let page = &self.maps[map].pages[index];
            let dirty = match self.maps[map].kind {
                MapKind::FileShared { .. } => !page.of_file,
                MapKind::FileCopyOnWrite => page.of_file,
                _ => false,
            };
            let pinned = map == 0 && self.setup.pinned;
            let outside = self.setup.mems.is_some_and(|mems| mems.0 >> here & 1 == 0);
            if self.full || waits || dirty {
                failed = true;
            } else if pinned || outside {
                failed = true;
                self.failures += 1;
            } else {
                moved = true;
                self.migrated += 1;
                self.maps[map].pages[index].node = here;
                if self.keeps_time(source) {
                    self.maps[map].pages[index].last = None;
                }
                let counts = self.keeps_time(source) || self.kernel <= KernelModel::V6_8;
                self.promoted += u64::from(self.setup.slow.is_some() && counts);
                let private = match self.maps[map].kind {
                    MapKind::Anonymous => true,
                    MapKind::TmpfsPrivate | MapKind::FilePrivate | MapKind::FileCopyOnWrite => {
                        !self.maps[map].pages[index].of_file
                    }
                    _ => false,
                };
                let second = self.kernel != KernelModel::V6_1 && self.setup.rules.second_write_fault;
                self.maps[map].pages[index].read_only = private && second;
                self.wait_in_batch(task, map, index);
                let locked = map == 0 && self.setup.locked;
                if self.kernel <= KernelModel::V6_4 || locked {
                    self.batches[usize::from(self.tasks[task].cpu)].clear();
                }
            }
        }
        if self.balancing {
            let node = if moved { here } else { source };
            self.account(task, (map, index), last, node, [was_local, moved, failed]);
        }
    }

    fn wants(&mut self, task: usize, map: usize, index: usize, source: usize, here: usize) -> bool {
        let rules = self.setup.rules;
        if self.keeps_time(source) {
            let plenty = !self.full && !self.short;
            let (now, marked) = (self.jiffies * 4, self.maps[map].pages[index].stamp);
            return self.tier.promotes(now, marked, plenty, self.setup.max_ms, &rules);
        }
        let me = &self.tasks[task];
        let page = &mut self.maps[map].pages[index];
        let last = page.last.replace((me.cpu, me.pid & 0xFF));
        // All ones is "no thread", and so is a thread id that ends so.
        let last_pid = last.map_or(0xFF, |(_, pid)| pid);
        let mine = last_pid == me.pid & 0xFF;
        if self.setup.slow.is_some() && source == 1 && last.is_none() && rules.unknown_user_check {
            return false;
        }
        let early = rules.early_migration && (me.preferred.is_none() || me.seq <= 4);
        if early && (last_pid == 0xFF || mine) {
            return true;
        }
        let elsewhere = last_pid != 0xFF && last.is_some_and(|l| self.node_of(l.0) != here);
        if rules.two_stage_filter && elsewhere {
            return false;
        }
        if mine {
            return true;
        }
        let Some(group) = me.group.filter(|_| rules.group_migration) else { return true };
        let crowd = &self.crowds[group];
        let cpu = |node: usize| crowd.on_cpu[node][0] + crowd.on_cpu[node][1];
        let memory = |node: usize| crowd.memory[node][0] + crowd.memory[node][1];
        cpu(here) > 3 * cpu(source) || cpu(here) * memory(source) * 3 > cpu(source) * memory(here) * 4
    }

    fn account(
        &mut self,
        task: usize,
        (map, index): (usize, usize),
        last: Option<(u16, u32)>,
        node: usize,
        [was_local, moved, failed]: [bool; 3],
    ) {
        let rules = self.setup.rules;
        let skips = match self.keeps_time(1) {
            true => rules.slow_node_statistics_skip,
            false => last.is_none() && rules.unknown_user_check,
        };
        if self.setup.slow.is_some() && node == 1 && skips {
            return;
        }
        // A page that was never written is mapped read-only.
        let no_group = self.maps[map].pages[index].of_file || !rules.groups;
        let here = self.node_of(self.tasks[task].cpu);
        if !self.tasks[task].stats {
            self.tasks[task].stats = true;
            self.tasks[task].locality = [0; 3];
        }
        let mut private = last.is_none_or(|l| l.1 == self.tasks[task].pid & 0xFF);
        if let (false, false, Some((cpu, pid))) = (private, no_group, last) {
            private = self.gather(task, cpu, pid);
        }
        let mut local = was_local;
        let group = self.tasks[task].group.filter(|_| rules.active_nodes);
        if let (false, false, Some(group)) = (private, local, group) {
            let crowd = &self.crowds[group];
            let active = |node: usize| (crowd.on_cpu[node][0] + crowd.on_cpu[node][1]) * 3 > crowd.most;
            local = crowd.active > 1 && active(here) && active(node);
        }
        if self.jiffies > self.tasks[task].retry {
            self.place(task);
            if let Some(preferred) = self.tasks[task].preferred {
                let wait = 250.min(millis_to_jiffies(self.tasks[task].period) / 16);
                self.tasks[task].retry = self.jiffies + wait;
                if preferred != here && self.tasks[task].group.is_some() {
                    self.tasks[task].preferred = Some(here);
                }
            }
        } else if !rules.placement_delay {
            self.place(task);
        }
        let me = &mut self.tasks[task];
        me.moved += u64::from(moved);
        me.locality[2] += u64::from(failed);
        me.locality[usize::from(local)] += 1;
        me.memory_window[node][usize::from(private)] += 1;
        me.cpu_window[here][usize::from(private)] += 1;
    }

    /// Returns whether the fault counts as private after all: never, within one process.
    fn gather(&mut self, task: usize, cpu: u16, pid: u32) -> bool {
        if self.tasks[task].group.is_none() {
            let me = &self.tasks[task];
            self.crowds.push(Crowd { members: 1, memory: me.memory, on_cpu: me.on_cpu, active: 1, most: 0 });
            self.tasks[task].group = Some(self.crowds.len() - 1);
        }
        let mine = self.tasks[task].group.expect("made above");
        let Some(other) = self.tasks.iter().position(|other| other.cpu == cpu) else { return false };
        if self.tasks[other].pid & 0xFF != pid {
            return false;
        }
        let Some(theirs) = self.tasks[other].group else { return false };
        let (a, b) = (self.crowds[mine].members, self.crowds[theirs].members);
        if theirs == mine || a > b || (a == b && mine > theirs) {
            return false;
        }
        for node in 0..2 {
            for private in 0..2 {
                let (memory, on_cpu) =
                    (self.tasks[task].memory[node][private], self.tasks[task].on_cpu[node][private]);
                self.crowds[mine].memory[node][private] -= memory;
                self.crowds[theirs].memory[node][private] += memory;
                self.crowds[mine].on_cpu[node][private] -= on_cpu;
                self.crowds[theirs].on_cpu[node][private] += on_cpu;
            }
        }
        self.crowds[mine].members -= 1;
        self.crowds[theirs].members += 1;
        self.tasks[task].group = Some(theirs);
        false
    }

    fn place(&mut self, task: usize) {
        if self.tasks[task].seq == self.seq {
            return;
        }
        self.tasks[task].seq = self.seq;
        self.tasks[task].period_max = self.bounds(task).2;
        let now = 1_000_000 + (self.jiffies as u64 - 1) * TICK;
        let (used, wall) = match self.tasks[task].placed_at {
            Some(at) => (now - at, now - at),
            None => (47_742, 47_742),
        };
        self.tasks[task].placed_at = Some(now);
        let weight = (used * 65_536 / (wall + 1)) as i64;
        let faults = (self.tasks[task].locality[0] + self.tasks[task].locality[1]) as i64;
        let mut kinds = [0u64; 2];
        for node in 0..2 {
            for private in 0..2 {
                let me = &mut self.tasks[task];
                let delta = me.memory_window[node][private] - me.memory[node][private] / 2;
                kinds[private] += me.memory_window[node][private] as u64;
                me.memory[node][private] += delta;
                me.total += delta;
                let weighted = weight * me.cpu_window[node][private] / (faults + 1);
                let cpu_delta = weighted - me.on_cpu[node][private] / 2;
                me.on_cpu[node][private] += cpu_delta;
                me.memory_window[node][private] = 0;
                me.cpu_window[node][private] = 0;
                if let Some(group) = me.group {
                    self.crowds[group].memory[node][private] += delta;
                    self.crowds[group].on_cpu[node][private] += cpu_delta;
                }
            }
        }
        self.prefer(task);
        self.adapt(task, kinds);
    }

    fn prefer(&mut self, task: usize) {
        let memory = match self.tasks[task].group {
            Some(group) => self.crowds[group].memory,
            None => self.tasks[task].memory,
        };
        let sums = memory.map(|kinds| kinds[0] + kinds[1]);
        if sums[0] > 0 && sums[0] >= sums[1] {
            self.tasks[task].preferred = Some(0);
        } else if sums[1] > 0 {
            // A node without CPUs leaves it to the nearest that has some.
            self.tasks[task].preferred = Some(self.node_of(2));
        }
        if let Some(group) = self.tasks[task].group {
            let crowd = &mut self.crowds[group];
            let on_cpu = crowd.on_cpu.map(|kinds| kinds[0] + kinds[1]);
            crowd.most = on_cpu[0].max(on_cpu[1]);
            crowd.active = on_cpu.iter().filter(|count| **count * 3 > crowd.most).count();
        }
    }

    fn adapt(&mut self, task: usize, [shared, private]: [u64; 2]) {
        let (min, _, max) = self.bounds(task);
        let rules = self.setup.rules;
        let me = &mut self.tasks[task];
        let [remote, local, failed] = me.locality;
        if !rules.period_adaptation {
            me.locality = [0; 3];
            return;
        }
        if rules.back_off && (local + shared == 0 || failed > 0) {
            me.period = me.period_max.min(2 * me.period);
            self.next_scan = Some(self.jiffies + millis_to_jiffies(me.period));
            if self.kernel == KernelModel::V6_12_117 || !rules.sticky_failure {
                me.locality = [0; 3];
            }
            return;
        }
        let slot = i64::from(me.period.div_ceil(10));
        let ratio = |part: u64, rest: u64| (10 * part).checked_div(part + rest).unwrap_or(0) as i64;
        let (lr, ps) = (ratio(local, remote), ratio(private, shared));
        let change = if ps >= 7 {
            (ps - 7).max(1) * slot
        } else if lr >= 7 {
            (lr - 7).max(1) * slot
        } else {
            -(7 - lr.max(ps)) * slot
        };
        let wrapped = (i64::from(me.period) + change).rem_euclid(1 << 32) as u32;
        me.period = wrapped.min(max).max(min);
        me.locality = [0; 3];
    }
}

fn new_task(setup: &Setup, index: usize) -> Task {
    Task {
        pid: setup.pids[index],
        cpu: setup.cpus[index],
        fair: index == 0 || setup.fair,
        stamp: if index == 0 { 0 } else { 60_000 + 2 * TICK },
        period: setup.delay_ms,
        period_max: 0,
        seq: 0,
        preferred: None,
        retry: i64::MIN,
        stats: false,
        memory: [[0; 2]; 2],
        on_cpu: [[0; 2]; 2],
        memory_window: [[0; 2]; 2],
        cpu_window: [[0; 2]; 2],
        total: 0,
        locality: [0; 3],
        moved: 0,
        placed_at: None,
        group: None,
        generator: setup.regions.iter().map(|_| 1 + index as u64).collect(),
    }
}

fn twin_of(setup: &Setup) -> Twin {
    let mut base = 1024;
    let mut maps = Vec::new();
    let mut batches = vec![Vec::new(); 4];
    for (index, (pages, node, kind, policy)) in setup.regions.iter().enumerate() {
        let of_file = matches!(
            KINDS[*kind],
            MapKind::TmpfsPrivate
                | MapKind::FileShared { .. }
                | MapKind::FilePrivate
                | MapKind::FileCopyOnWrite
        );
        let page = Page { node: *node, marked: false, last: None, stamp: 0, read_only: false, of_file };
        let mapping = Mapping {
            base,
            kind: KINDS[*kind],
            policy: POLICIES[*policy],
            pages: vec![page; *pages as usize],
            seen: None,
        };
        base = ((base + pages) / 512 + 2) * 512;
        maps.push(mapping);
        for page in 0..*pages as usize {
            if setup.rules.lru_batches {
                batches[0].push((index, page));
            }
            if batches[0].len() == batch_of(setup.kernel) {
                batches[0].clear();
            }
        }
    }
    Twin {
        kernel: setup.kernel,
        setup: setup.clone(),
        jiffies: 0,
        maps,
        tasks: (0..setup.threads as usize).map(|index| new_task(setup, index)).collect(),
        crowds: Vec::new(),
        batches,
        balancing: true,
        full: false,
        short: false,
        tier: Tier::default(),
        promoted: 0,
        next_scan: (setup.threads + setup.idle > 1).then_some(millis_to_jiffies(setup.delay_ms)),
        seq: 0,
        offset: 0,
        updates: 0,
        faults: 0,
        local: 0,
        migrated: 0,
        failures: 0,
        skips: 0,
        tie: false,
    }
}

fn check(step: usize, host: &Host, twin: &Twin) -> Result<(), TestCaseError> {
    let counters = host.machine.counters();
    prop_assert_eq!(
        (counters.numa_pte_updates, counters.numa_hint_faults, counters.numa_hint_faults_local),
        (twin.updates, twin.faults, twin.local),
        "step {}",
        step
    );
    prop_assert_eq!((counters.numa_pages_migrated, counters.pgmigrate_fail), (twin.migrated, twin.failures));
    let promotions = (counters.pgpromote_success, counters.pgpromote_candidate);
    prop_assert_eq!(promotions, (twin.promoted, twin.tier.candidates));
    let space = host.machine.address_space(ProcessId(0));
    prop_assert_eq!((i64::from(space.scan_seq), space.cpuset_skips), (twin.seq, twin.skips));
    for (index, task) in twin.tasks.iter().enumerate() {
        let view = host.machine.thread(ThreadId(index as u16));
        prop_assert_eq!(
            (view.node_stamp.0, view.scan_period_ms),
            (task.stamp, task.period),
            "step {} t{}",
            step,
            index
        );
        prop_assert_eq!(view.preferred.map(|node| node.index()), task.preferred);
        prop_assert_eq!((view.locality, view.total_faults), (task.locality, task.total));
        prop_assert_eq!((view.faults, view.pages_migrated), (task.memory.to_vec(), task.moved));
    }
    for (number, map) in twin.maps.iter().enumerate() {
        let region = RegionId(number as u16);
        for (index, page) in map.pages.iter().enumerate() {
            prop_assert_eq!(
                host.machine.is_marked(region, index as u64),
                page.marked,
                "step {} page {}",
                step,
                index
            );
            prop_assert_eq!(host.machine.node_of(region, index as u64).index(), page.node);
        }
        let on_1 = map.pages.iter().filter(|page| page.node == 1).count() as u64;
        prop_assert_eq!(host.machine.pages_on(region, NodeId(1)), on_1);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn the_machine_agrees_with_its_naive_twin(
        setup in setups(),
        steps in prop::collection::vec((0u8..12, 0u64..12, 0u16..2, 0u16..3, 1u64..8), 1..120),
    ) {
        let mut host = host_of(&setup);
        let mut twin = twin_of(&setup);
        let mut now = Nanos(0);
        for (step, (what, ticks, thread, region, times)) in steps.into_iter().enumerate() {
            // Between two ticks, when every pass has ended.
            now = Nanos((now.0 / TICK + ticks) * TICK + 3_500_000).max(now);
            while twin.jiffies < (now.0 as i64 - 1_000_000) / TICK as i64 + 1 {
                twin.tick();
                if twin.tie {
                    return Ok(());
                }
            }
            host.run(now);
            let thread = thread % setup.threads as u16;
            let region = region % setup.regions.len() as u16;
            match what {
                0 | 3 if what == 0 || setup.slow.is_some() => {
                    let state = if what == 0 { &mut twin.full } else { &mut twin.short };
                    *state = !*state;
                    let short = if twin.short { (1 << 30) - 100_000 } else { 0 };
                    let pages = if twin.full { 1 << 30 } else { short };
                    for node in 0..2 {
                        let pressure = Disturbance::MemoryPressure { node: NodeId(node), pages };
                        host.machine.disturb(now, pressure, &mut host.hash, &mut host.effects);
                    }
                }
                // Times that tiering left behind name other CPUs in the machine than in the kernel.
                1 if step % 3 == 0 && !twin.keeps_time(1) => {
                    twin.balancing = !twin.balancing;
                    let mut knobs = host.machine.knobs();
                    knobs.balancing = twin.balancing;
                    host.machine.set_knobs(now, knobs, &mut host.hash, &mut host.effects);
                }
                2 => move_both(&mut host, &mut twin, now, usize::from(thread)),
                _ => {
                    for _ in 0..times {
                        let work = WorkId(thread * setup.regions.len() as u16 + region);
                        let (hash, effects) = (&mut host.hash, &mut host.effects);
                        host.machine.run_unit(now, ThreadId(thread), work, hash, effects);
                        (0..40).for_each(|_| twin.touch(usize::from(thread), usize::from(region), setup.writes));
                    }
                }
            }
            check(step, &host, &twin)?;
        }
    }
}

/// Moves a thread to the CPU of the same place on the other node, if the other thread is not there.
fn move_both(host: &mut Host, twin: &mut Twin, now: Nanos, thread: usize) {
    let cpu = (twin.tasks[thread].cpu + 2) % 4;
    if twin.tasks.iter().any(|task| task.cpu == cpu) {
        return;
    }
    let (source, target) = (twin.node_of(twin.tasks[thread].cpu), twin.node_of(cpu));
    twin.tasks[thread].cpu = cpu;
    let task = &twin.tasks[thread];
    let restarts =
        task.seq == 0 || (task.preferred != Some(target) && task.preferred.is_none_or(|node| node == source));
    if twin.balancing && source != target && task.stats && restarts && twin.setup.rules.restart_on_move {
        twin.tasks[thread].period = twin.bounds(thread).1;
    }
    let moving = Disturbance::MoveThread { thread: ThreadId(thread as u16), cpu: CpuId(cpu) };
    host.machine.disturb(now, moving, &mut host.hash, &mut host.effects);
}
