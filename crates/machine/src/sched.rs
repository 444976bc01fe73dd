//! Who gets how much of which CPU: fair shares of crowded CPUs, and the load balancer.
//!
//! A thread is a rate: its CPU time grows by its share, which changes only when threads come to or leave its CPU. A tick hits one
//! of the threads of a CPU, each as often as its share says; that thread is the one that ran since the tick before.
//!
//! Known limits. Slices are one tick long, those of CFS are longer (12 ms in a recorded 6.1 with two threads on one of four
//! CPUs); a trigger can come that much earlier or later. A sleeper wakes up on the CPU it was on; where that is crowded it
//! leaves with the balancer, not at its wake-up. All threads have the same weight.

use numashock_engine::{EventHash, Nanos, Span};

use crate::effects::Wake;
use crate::machine::{Machine, PPM, Thread, kinds};
use crate::{Cause, CpuId, Effects, Event, NodeId, ThreadId};

/// What real-time threads leave to the others of their CPU: `sched_rt_runtime_us` is 950 ms of each second.
const REAL_TIME_PPM: u64 = 950_000;
/// Attempts that fail for locality before the balancer moves a thread between nodes all the same: `cache_nice_tries` of a
/// NUMA scheduling domain, from memory of the kernel (spec: 3.9 gives the rule without the number).
const NICE_TRIES: u32 = 2;

/// Splits what is left of a CPU evenly, but gives nobody more than it wants.
fn fair_shares(wanted: &[u64], mut left: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|index| wanted[*index]);
    let mut shares = vec![0; wanted.len()];
    for (done, index) in order.iter().enumerate() {
        shares[*index] = wanted[*index].min(left / (wanted.len() - done) as u64);
        left -= shares[*index];
    }
    shares
}

/// The real-time threads first, then the others, each kind fairly; `wanted` holds demand and whether the thread is fair.
fn shares(wanted: &[(u64, bool)]) -> Vec<u64> {
    let of = |fair: bool| {
        wanted.iter().map(|(demand, own)| if *own == fair { *demand } else { 0 }).collect::<Vec<_>>()
    };
    let others_wait = wanted.iter().any(|(demand, fair)| *fair && *demand > 0);
    let first = fair_shares(&of(false), if others_wait { REAL_TIME_PPM } else { PPM });
    let second = fair_shares(&of(true), PPM - first.iter().sum::<u64>());
    first.iter().zip(second).map(|(a, b)| a + b).collect()
}

impl Machine {
    /// Divides a CPU among its threads, from now on.
    pub(crate) fn share_out(&mut self, now: Nanos, slot: usize) {
        let members = self.slots[slot].threads.clone();
        let wanted: Vec<(u64, bool)> =
            members.iter().map(|thread| (self.threads[*thread].duty, self.threads[*thread].fair)).collect();
        let mut before = 0;
        for (thread, share) in members.iter().zip(shares(&wanted)) {
            self.set_share(now, *thread, share, before);
            before += share;
        }
    }

    fn set_share(&mut self, now: Nanos, thread: usize, share: u64, before: u64) {
        // Also a thread whose share stays may now be hit by other ticks.
        self.shared_anew.push(thread);
        self.threads[thread].share_before = before;
        if self.threads[thread].share == share {
            return;
        }
        self.count_touches(now, thread);
        let left = self.threads[thread].pass.as_ref().map(|plan| plan.left(now));
        let work = left.map(|left| self.cpu_part(thread, left));
        self.threads[thread].runtime_at_start = self.runtime(thread, now);
        self.threads[thread].share_since = now;
        self.threads[thread].share = share;
        if let (Some(left), Some(work)) = (left, work) {
            // A pass under way keeps its end where its thread gets more of a CPU than before.
            let extra = self.slowed(thread, work).saturating_sub(left);
            if let Some(plan) = &mut self.threads[thread].pass {
                plan.put_off(extra);
            }
            self.owed.push((thread, extra));
        }
        self.share_of_sleeper(now, thread);
        let state = &self.threads[thread];
        let speed = (state.share * PPM).checked_div(state.duty).unwrap_or(PPM).max(1);
        for place in 0..self.threads[thread].background.len() {
            let toucher = self.threads[thread].background[place];
            self.touchers[toucher].set_speed(speed);
        }
    }

    /// How long `work` on the CPU takes a thread that shares it.
    pub(crate) fn slowed(&self, thread: usize, work: Span) -> Span {
        let state = &self.threads[thread];
        if state.share == state.duty { work } else { work.scaled(state.duty, state.share) }
    }

    /// How much of a time in which it wanted to run a thread was on its CPU.
    pub(crate) fn cpu_part(&self, thread: usize, wall: Span) -> Span {
        let state = &self.threads[thread];
        if state.share == state.duty { wall } else { wall.scaled(state.share, state.duty) }
    }

    /// Share of the time in which a thread runs or waits to run.
    pub(crate) fn runnable(&self, thread: usize) -> u64 {
        let state = &self.threads[thread];
        if state.share < state.duty { PPM } else { state.duty }
    }

    /// Ticks from one that can hit a thread to the next.
    pub(crate) fn tick_stride(&self, thread: usize) -> u64 {
        let slot = &self.slots[usize::from(self.threads[thread].slot)];
        if slot.nohz_full && slot.threads.len() == 1 { u64::from(self.config.hz) } else { 1 }
    }

    /// Whether the tick of that number hits the thread.
    fn is_hit(&self, thread: usize, tick: u64) -> bool {
        let state = &self.threads[thread];
        let hits = |ticks: u64| {
            (u128::from(ticks) * u128::from(state.share) + u128::from(state.share_before)) / u128::from(PPM)
        };
        state.share == PPM || hits(tick + 1) > hits(tick)
    }

    /// The thread that runs on a CPU between the last tick and the next.
    pub(crate) fn runs_on(&self, now: Nanos, slot: usize) -> Option<usize> {
        let tick = self.jiffies(now) as u64;
        let threads = &self.slots[slot].threads;
        let runs = |thread: usize| match self.threads[thread].bursts {
            Some((start, every, length)) => now >= start && Span((now - start).0 % every.0) < length,
            None => self.is_awake(now, thread).unwrap_or_else(|| self.is_hit(thread, tick)),
        };
        // Who runs in bursts has slept, and takes over the CPU when it wakes up.
        let sleeps = |thread: &Thread| thread.bursts.is_some() || thread.sleeper.is_some();
        let bursts = |thread: &usize| sleeps(&self.threads[*thread]) && runs(*thread);
        let woken = threads.iter().copied().find(bursts);
        let hit = woken.or_else(|| threads.iter().copied().find(|thread| runs(*thread)));
        // Shares are rounded, so that rarely a tick hits nobody.
        hit.or_else(|| threads.iter().copied().find(|thread| self.runnable(*thread) == PPM))
    }

    /// Whether the thread wants to run on a CPU that another one has.
    pub(crate) fn waits_for_cpu(&self, now: Nanos, thread: usize) -> bool {
        let state = &self.threads[thread];
        state.share < state.duty && self.runs_on(now, usize::from(state.slot)) != Some(thread)
    }

    /// Lets a thread run on these CPUs, as `sched_setaffinity` does. One that is on none of them stays where it was put.
    pub fn allow_cpus(&mut self, thread: ThreadId, cpus: &[CpuId]) {
        let cpu = self.thread(thread).cpu;
        if cpus.contains(&cpu) {
            self.threads[thread.index()].affinity = cpus.to_vec();
        }
    }

    /// Moves a thread. A move between nodes may restart fast scanning (spec: 3.9).
    pub(crate) fn relocate(&mut self, now: Nanos, thread: usize, cpu: CpuId, hash: &mut EventHash) {
        assert!(self.threads[thread].affinity.contains(&cpu), "a thread stays within its affinity");
        let slot = self.slot_of(cpu).expect("the CPUs in use were counted when checked");
        let source = usize::from(self.threads[thread].slot);
        if source != usize::from(slot) {
            self.threads[thread].slot = slot;
            self.slots[source].threads.retain(|other| *other != thread);
            let members = &mut self.slots[usize::from(slot)].threads;
            members.insert(members.partition_point(|other| *other < thread), thread);
            self.share_out(now, source);
            self.share_out(now, usize::from(slot));
        }
        let (from, to) = (self.slots[source].node, self.slots[usize::from(slot)].node);
        let state = &self.threads[thread];
        let restarts = self.config.rules.restart_on_move;
        if !self.knobs.is_on() || !restarts || state.faults.is_none() || from == to {
            return;
        }
        let keeps = state.preferred == Some(to) || state.preferred.is_some_and(|node| node != from);
        if state.scan_seq == 0 || !keeps {
            let start = self.bounds_of(thread).start;
            self.set_period(now, thread, start, hash);
            self.shared_anew.push(thread);
        }
    }

    /// Brings the wake-ups of threads up to date after moves.
    pub(crate) fn follow_shares(&mut self, now: Nanos, effects: &mut Effects) {
        while let Some((thread, span)) = self.owed.pop() {
            self.stall(now, thread, Cause::Stopper, span, effects);
        }
        if self.shared_anew.is_empty() {
            return;
        }
        let mut threads = core::mem::take(&mut self.shared_anew);
        threads.sort_unstable();
        threads.dedup();
        for thread in threads {
            self.threads[thread].tick_at = Nanos::NEVER;
            self.ensure_tick(now, thread, effects);
            for place in 0..self.threads[thread].background.len() {
                let toucher = self.threads[thread].background[place];
                let at = self.touch_time(toucher);
                if at < Nanos::NEVER {
                    self.queue_touch(at.max(now), toucher, effects);
                }
            }
        }
        self.arm_balancer(now, effects);
    }

    /// What the threads of a CPU would use of CPUs of their own.
    fn demand(&self, cpu: CpuId) -> u64 {
        let slot = self.slots.iter().find(|slot| slot.cpu == cpu);
        slot.map_or(0, |slot| slot.threads.iter().map(|thread| self.threads[*thread].duty).sum())
    }

    /// Queues the next look of the load balancer, if some thread could run elsewhere.
    pub(crate) fn arm_balancer(&mut self, now: Nanos, effects: &mut Effects) {
        if !self.config.scheduler.load_balancing || self.balance_at < Nanos::NEVER {
            return;
        }
        let movable = |thread: usize| {
            (0..self.config.topology.nodes.len())
                .any(|node| self.less_crowded(thread, NodeId(node as u8)).is_some())
        };
        if (0..self.threads.len()).any(movable) {
            let last = self.last_tick(now).0;
            let first = now.0 < self.config.tick_phase.0;
            let at = Nanos(if first { self.config.tick_phase.0 } else { last + self.tick });
            self.balance_at = at;
            effects.schedule.push((at, Event(Wake::Balance)));
        }
    }

    /// The least crowded CPU of a node that the thread may move to and that ends less crowded than its own is now; the
    /// lowest number among equals. An idle CPU always is.
    fn less_crowded(&self, thread: usize, node: NodeId) -> Option<CpuId> {
        let state = &self.threads[thread];
        let own = &self.slots[usize::from(state.slot)];
        let crowd = self.demand(own.cpu);
        if own.isolated || state.duty == 0 || crowd <= PPM {
            return None;
        }
        let cpus = self.config.topology.nodes[node.index()].cpus.iter().copied();
        let allowed = cpus.filter(|cpu| {
            *cpu != own.cpu && state.affinity.contains(cpu) && !self.config.topology.isolated.contains(cpu)
        });
        let least = allowed.min_by_key(|cpu| (self.demand(*cpu), cpu.0))?;
        (self.demand(least) + state.duty < crowd).then_some(least)
    }

    /// The periodic load balancer.
    ///
    /// The CPUs of a node are balanced once in as many milliseconds as the node has CPUs, those of the machine likewise: the
    /// kernel's shortest interval of a scheduling domain (`min_interval` = `sd_weight`, from memory of the kernel), which
    /// holds while the CPU that pulls is idle. Where no CPU is idle it waits longer, which is not modelled.
    pub(crate) fn balance(&mut self, now: Nanos, hash: &mut EventHash, effects: &mut Effects) {
        self.balance_at = Nanos::NEVER;
        let due = |cpus: usize| {
            let ticks = (self.to_jiffies(cpus as u64) as u64).max(1);
            (self.jiffies(now) as u64) % ticks == 0
        };
        let in_domains = |cpu: &&CpuId| !self.config.topology.isolated.contains(cpu);
        let nodes = &self.config.topology.nodes;
        let sizes: Vec<usize> =
            nodes.iter().map(|node| node.cpus.iter().filter(in_domains).count()).collect();
        let within: Vec<bool> = sizes.iter().map(|cpus| due(*cpus)).collect();
        let between = due(sizes.iter().sum());
        for slot in 0..self.slots.len() {
            if within[self.slots[slot].node.index()] && self.balance_within(now, slot, hash) {
                continue;
            }
            if between {
                self.balance_between(now, slot, hash);
            }
        }
        self.follow_shares(now, effects);
        self.arm_balancer(now, effects);
    }

    /// Threads of a CPU that wait while another runs.
    fn waiting(&self, now: Nanos, slot: usize) -> Vec<usize> {
        // The thread that this very tick hits is on the CPU.
        let tick = (self.jiffies(now) as u64).saturating_sub(1);
        let threads = &self.slots[slot].threads;
        let running = threads.iter().position(|thread| self.is_hit(*thread, tick));
        let waiting = threads.iter().enumerate().filter(|(place, _)| Some(*place) != running);
        waiting.map(|(_, thread)| *thread).collect()
    }

    fn balance_within(&mut self, now: Nanos, slot: usize, hash: &mut EventHash) -> bool {
        let node = self.slots[slot].node;
        let found = self.waiting(now, slot).into_iter().find_map(|thread| {
            let cpu = self.less_crowded(thread, node)?;
            Some((thread, cpu))
        });
        let Some((thread, cpu)) = found else { return false };
        self.pull(now, thread, cpu, hash);
        true
    }

    fn balance_between(&mut self, now: Nanos, slot: usize, hash: &mut EventHash) {
        let here = self.slots[slot].node;
        let mut vetoed = false;
        for thread in self.waiting(now, slot) {
            if self.less_crowded(thread, here).is_some() {
                continue;
            }
            let places = (0..self.config.topology.nodes.len())
                .map(|node| NodeId(node as u8))
                .filter_map(|node| Some((node, self.less_crowded(thread, node)?)));
            let Some((node, cpu)) = places.min_by_key(|(_, cpu)| (self.demand(*cpu), cpu.0)) else {
                continue;
            };
            if self.slots[slot].balance_failed <= NICE_TRIES
                && self.degrades_locality(thread, here, node, cpu)
            {
                vetoed = true;
                continue;
            }
            self.slots[slot].balance_failed = 0;
            self.pull(now, thread, cpu, hash);
            return;
        }
        self.slots[slot].balance_failed += u32::from(vetoed);
    }

    fn pull(&mut self, now: Nanos, thread: usize, cpu: CpuId, hash: &mut EventHash) {
        self.moves.load_balanced += 1;
        hash.record(now, kinds::MOVE, [thread as u64, u64::from(cpu.0)]);
        self.relocate(now, thread, cpu, hash);
    }

    /// The load balancer's veto (spec: 3.9). An idle CPU is worth a remote thread, so only CPUs in use compare weights.
    fn degrades_locality(&self, thread: usize, from: NodeId, to: NodeId, cpu: CpuId) -> bool {
        let state = &self.threads[thread];
        if state.faults.is_none() || !self.knobs.is_on() {
            return false;
        }
        if state.preferred == Some(from) {
            // Some other thread of the CPU would rather go.
            let members = &self.slots[usize::from(state.slot)].threads;
            return members.iter().any(|other| self.threads[*other].preferred != Some(from));
        }
        if state.preferred == Some(to) || self.demand(cpu) == 0 {
            return false;
        }
        let weight = |node| match state.group {
            Some(_) => self.group_weight(thread, node),
            None => self.task_weight(thread, node),
        };
        weight(to) < weight(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_shared_fairly_and_sleepers_get_their_duty() {
        let fair = |wanted: &[u64]| shares(&wanted.iter().map(|demand| (*demand, true)).collect::<Vec<_>>());
        assert_eq!(fair(&[PPM]), [PPM]);
        assert_eq!(fair(&[PPM, PPM]), [500_000, 500_000]);
        assert_eq!(fair(&[PPM, PPM, PPM]), [333_333, 333_333, 333_334]);
        // A sleeper below the fair share gets what it wants, one above it the fair share.
        assert_eq!(fair(&[PPM, 200_000, PPM]), [400_000, 200_000, 400_000]);
        assert_eq!(fair(&[700_000, PPM]), [500_000, 500_000]);
        assert_eq!(fair(&[300_000, 400_000]), [300_000, 400_000]);
    }

    #[test]
    fn real_time_threads_come_first_and_leave_a_twentieth() {
        assert_eq!(shares(&[(PPM, true), (PPM, false)]), [50_000, 950_000]);
        assert_eq!(shares(&[(PPM, true), (300_000, false)]), [700_000, 300_000]);
        assert_eq!(shares(&[(PPM, false), (PPM, false)]), [500_000, 500_000]);
    }
}
