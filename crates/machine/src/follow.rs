//! A task follows its memory: the search for a CPU near it, and the move or swap (spec: 3.8).
//!
//! Known limits. A move is done at once, so no CPU is ever taken by another move under way. Load, use and capacity are what
//! the threads of the machine ask for and get: 1024 a CPU, without the kernel's averaging over tens of milliseconds.
//! As in these kernels, a task may be moved to an isolated CPU that its affinity names; it is not swapped with a task there.
//! Where nodes are more than one hop apart without others between them (backplanes), weights leave out the neighbours.

use numashock_engine::{EventHash, Nanos, Span};

use crate::cost::Draw;
use crate::machine::{Machine, PPM, kinds};
use crate::validate::LOCAL_DISTANCE;
use crate::{Cost, CpuId, NodeId, Topology};

/// Capacity of a CPU, and load of a thread that always wants to run.
const CAPACITY: i64 = 1024;
/// How much of a node's capacity may be in use before it counts as busy, in percent: half of a NUMA domain's 117 (spec: 3.8
/// step 1).
const IMBALANCE_PERCENT: i64 = 108;
/// Swaps that improve less are not worth it (spec: 3.8 step 5).
const SMALL_IMPROVEMENT: i64 = 30;
/// So many running tasks more may stand on the destination of a lightly loaded node (spec: 3.8 step 4).
const TOLERATED_IMBALANCE: i64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeClass {
    Spare,
    FullyBusy,
    Overloaded,
}

/// What runs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeStats {
    cpus: i64,
    capacity: i64,
    load: i64,
    runnable: i64,
    used: i64,
    running: i64,
    /// The first idle CPU that the task may run on.
    idle: Option<CpuId>,
}

impl NodeStats {
    fn class(&self) -> NodeClass {
        let full = self.capacity * 100 < self.used * IMBALANCE_PERCENT;
        let queued = self.capacity * IMBALANCE_PERCENT < self.runnable * 100;
        let has_room = self.capacity * 100 > self.used * IMBALANCE_PERCENT
            && self.capacity * IMBALANCE_PERCENT > self.runnable * 100;
        if self.running > self.cpus && (full || queued) {
            NodeClass::Overloaded
        } else if self.running < self.cpus || has_room {
            NodeClass::Spare
        } else {
            NodeClass::FullyBusy
        }
    }
}

/// How many running tasks the balance between nodes ignores (spec: 3.8 step 4).
fn tolerated_running(cpus: i64, caches: u32) -> i64 {
    if caches == 1 { (cpus / 8).max(1) } else { i64::from(caches) }
}

/// Whether one task more on the destination leaves the nodes in balance.
fn keeps_balance(source: &NodeStats, destination: &NodeStats, tolerated: i64) -> bool {
    let running = destination.running + 1;
    let imbalance = (running - (source.running - 1)).max(0);
    imbalance == 0 || (running <= tolerated && imbalance <= TOLERATED_IMBALANCE)
}

/// Whether moving `load` from one node to the other makes their loads differ more than before.
fn worsens_load(source: &NodeStats, destination: &NodeStats, load: i64) -> bool {
    let gap = |from: i64, to: i64| (to * source.capacity - from * destination.capacity).abs();
    gap(source.load - load, destination.load + load) > gap(source.load, destination.load)
}

/// What is known of a task that runs where the faulting one wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    same_group: bool,
    in_group: bool,
    /// Its weight of the source less that of the destination; by task within a group, else by group where both have one.
    gain: i64,
    /// Where it would rather be.
    prefers_source: bool,
    prefers_destination: bool,
}

/// What a swap improves, in thousandths of both tasks' faults (spec: 3.8 step 5); `None`: not within a group while the
/// destination has spare capacity.
fn swap_score(task: i64, own: i64, class: NodeClass, other: &Candidate) -> Option<i64> {
    let mut score = if other.same_group {
        if class == NodeClass::Spare {
            return None;
        }
        let within = task + other.gain;
        if other.in_group { within - within / 16 } else { within }
    } else {
        own + other.gain
    };
    if other.prefers_destination {
        score -= score / 16;
    }
    if other.prefers_source {
        score += score / 8;
    }
    Some(score)
}

/// The largest distance of a machine that has more than two kinds of distance and, for some pair of nodes so far apart, a
/// third one that is nearer to both: there memory of near nodes counts too (spec: 3.4).
pub(crate) fn mesh_reach(topology: &Topology) -> Option<i64> {
    let distance = |a: usize, b: usize| i64::from(topology.distance[a][b]);
    let with_cpus = |node: &usize| !topology.nodes[*node].cpus.is_empty();
    let nodes: Vec<usize> = (0..topology.nodes.len()).filter(with_cpus).collect();
    let pairs = || nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b)));
    let mut kinds: Vec<i64> = pairs().map(|(a, b)| distance(a, b)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let furthest = *kinds.last()?;
    let (a, b) = pairs().find(|(a, b)| distance(*a, *b) == furthest)?;
    let between = nodes.iter().any(|c| distance(a, *c) < furthest && distance(b, *c) < furthest);
    (kinds.len() > 2 && between).then_some(furthest)
}

/// A place found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    cpu: CpuId,
    /// Who changes places; `None`: a plain move.
    partner: Option<usize>,
    improvement: i64,
    partner_prefers_source: bool,
}

/// A search under way.
struct Search {
    now: Nanos,
    thread: usize,
    source: NodeId,
    from: NodeStats,
    best: Option<Place>,
}

impl Search {
    fn best_improvement(&self) -> i64 {
        self.best.map_or(0, |place| place.improvement)
    }
}

/// A node to look at: what runs there, and what the faulting task gains.
struct Destination {
    node: NodeId,
    stats: NodeStats,
    task: i64,
    /// By group where it has one.
    own: i64,
    may_move: bool,
}

impl Machine {
    /// The retry clock, which also delays placement (spec: 8 F8), and the move after the preferred node; gives what the
    /// search and the stopper take.
    pub(crate) fn follow_memory(
        &mut self,
        done: Nanos,
        now: Nanos,
        thread: usize,
        cpu_node: NodeId,
        hash: &mut EventHash,
    ) -> (Span, Span) {
        let none = (Span::ZERO, Span::ZERO);
        let Some(preferred) = self.threads[thread].preferred else { return none };
        let period = self.to_jiffies(u64::from(self.threads[thread].scan_period));
        let wait = i64::from(self.config.hz).min(period / 16);
        self.threads[thread].migrate_retry = self.jiffies(done) + wait;
        if preferred == cpu_node {
            return none;
        }
        if !self.has_numa_domain(thread) {
            self.threads[thread].preferred = Some(cpu_node);
            return none;
        }
        if !self.config.scheduler.numa_task_migration {
            if self.threads[thread].group.is_some() {
                self.threads[thread].preferred = Some(cpu_node);
            }
            return none;
        }
        let (place, examined) = self.search(now, thread, cpu_node, preferred);
        if self.threads[thread].group.is_some() {
            let node = place.map_or(cpu_node, |place| self.node_of_cpu(place.cpu));
            self.threads[thread].preferred = Some(node);
        }
        let search = self.move_cost(self.config.costs.task_migrate_scan, Draw::Search, thread) * examined;
        match place {
            Some(place) => (search, self.take(now, thread, &place, hash)),
            None => {
                self.moves.numa_task_stuck += 1;
                // A pinned task has nowhere to go, whatever it wants.
                if self.threads[thread].affinity.len() > 1 {
                    hash.record(now, kinds::NUMA_STICK, [thread as u64, u64::from(preferred.0)]);
                }
                (search, Span::ZERO)
            }
        }
    }

    /// Whether a scheduling domain above the thread's CPU spans nodes: it is not isolated, and others are not either.
    fn has_numa_domain(&self, thread: usize) -> bool {
        let topology = &self.config.topology;
        let slot = &self.slots[usize::from(self.threads[thread].slot)];
        let in_domains = |cpu: &CpuId| !topology.isolated.contains(cpu);
        !slot.isolated && topology.nodes.iter().filter(|node| node.cpus.iter().any(in_domains)).count() > 1
    }

    fn node_of_cpu(&self, cpu: CpuId) -> NodeId {
        let node = self.config.topology.nodes.iter().position(|node| node.cpus.contains(&cpu));
        NodeId(node.expect("the CPU was checked to exist") as u8)
    }

    /// Decayed memory faults on the node in thousandths of all (spec: 3.4).
    pub(crate) fn task_weight(&self, thread: usize, node: NodeId) -> i64 {
        let state = &self.threads[thread];
        let Some(faults) = &state.faults else { return 0 };
        let around = self.around(node, |node| faults.memory(node).iter().sum());
        (1000 * around).checked_div(state.total_faults).unwrap_or(0)
    }

    /// Memory faults of a node, with those of nodes around it, which count the more the nearer they are.
    pub(crate) fn around(&self, node: NodeId, memory: impl Fn(NodeId) -> i64) -> i64 {
        let Some(reach) = self.mesh_reach else { return memory(node) };
        let near = self.nodes_with_cpus.iter().filter(|other| **other != node);
        let share = |other: &NodeId| {
            let distance = i64::from(self.config.topology.distance[node.index()][other.index()]);
            if distance < reach {
                memory(*other) * (reach - distance) / (reach - i64::from(LOCAL_DISTANCE))
            } else {
                0
            }
        };
        memory(node) + near.map(share).sum::<i64>()
    }

    /// The same of the task's group.
    pub(crate) fn group_weight(&self, thread: usize, node: NodeId) -> i64 {
        let group = self.threads[thread].group.map(|group| &self.groups[group]);
        group.map_or(0, |group| {
            let around = self.around(node, |node| group.memory(node));
            (1000 * around).checked_div(group.total).unwrap_or(0)
        })
    }

    /// Steps 2 to 6: the place, and how many nodes were looked at.
    fn search(&self, now: Nanos, thread: usize, source: NodeId, preferred: NodeId) -> (Option<Place>, u64) {
        let from = self.stats(now, thread, source);
        let mut search = Search { now, thread, source, from, best: None };
        self.look_at(&mut search, preferred);
        let mut examined = 1;
        let spread = self.threads[thread].group.is_some_and(|group| self.groups[group].active_nodes > 1);
        if search.best.is_none() || spread {
            for node in self.nodes_with_cpus.iter().filter(|node| **node != source && **node != preferred) {
                let (task, group) = self.gains(&search, *node);
                if task >= 0 || group >= 0 {
                    self.look_at(&mut search, *node);
                    examined += 1;
                }
            }
        }
        (search.best, examined)
    }

    /// By how much a node outweighs the present one, for the task and for its group.
    fn gains(&self, search: &Search, node: NodeId) -> (i64, i64) {
        let (thread, source) = (search.thread, search.source);
        (
            self.task_weight(thread, node) - self.task_weight(thread, source),
            self.group_weight(thread, node) - self.group_weight(thread, source),
        )
    }

    fn may_run_on(&self, thread: usize, cpu: CpuId) -> bool {
        self.threads[thread].affinity.contains(&cpu)
    }

    /// Looks for a place on one node.
    fn look_at(&self, search: &mut Search, node: NodeId) {
        let cpus = &self.config.topology.nodes[node.index()].cpus;
        if !cpus.iter().any(|cpu| self.may_run_on(search.thread, *cpu)) {
            return;
        }
        let stats = self.stats(search.now, search.thread, node);
        let (task, group) = self.gains(search, node);
        let own = if self.threads[search.thread].group.is_some() { group } else { task };
        let may_move = if stats.class() == NodeClass::Spare {
            let tolerated = tolerated_running(stats.cpus, self.config.topology.caches_per_node);
            keeps_balance(&search.from, &stats, tolerated)
        } else {
            !worsens_load(&search.from, &stats, self.load(search.thread))
        };
        if let (NodeClass::Spare, true, Some(cpu)) = (stats.class(), may_move, stats.idle) {
            search.best = Some(Place { cpu, partner: None, improvement: 0, partner_prefers_source: false });
            return;
        }
        let destination = Destination { node, stats, task, own, may_move };
        let thread = search.thread;
        for cpu in cpus.iter().filter(|cpu| self.may_run_on(thread, **cpu)) {
            if self.compare(search, &destination, *cpu) {
                break;
            }
        }
    }

    /// Weighs a move to the CPU, or a swap with who runs there; true if the search of the node is over.
    fn compare(&self, search: &mut Search, to: &Destination, cpu: CpuId) -> bool {
        let running = self.slot_number(cpu).and_then(|slot| self.runs_on(search.now, slot));
        let to_idle = to.stats.idle.unwrap_or(cpu);
        let plain = Place { cpu: to_idle, partner: None, improvement: to.own, partner_prefers_source: false };
        let Some(other) = running else {
            if !to.may_move || to.own < search.best_improvement() {
                return false;
            }
            search.best = Some(plain);
            return self.is_over(search, to);
        };
        let Some((score, candidate)) = self.candidate(search, to, other) else { return false };
        if to.may_move && to.own > score && to.own > search.best_improvement() {
            search.best = Some(plain);
            return self.is_over(search, to);
        }
        let partner = search.best.filter(|best| best.partner.is_some());
        let better = candidate.prefers_source && partner.is_some_and(|best| !best.partner_prefers_source);
        let worth = score >= SMALL_IMPROVEMENT && score > search.best_improvement() + SMALL_IMPROVEMENT / 2;
        let load = self.load(search.thread) - self.load(other);
        let balanced = load == 0 || !worsens_load(&search.from, &to.stats, load);
        if self.config.scheduler.numa_task_swap && (better || (worth && balanced)) {
            search.best = Some(Place {
                cpu,
                partner: Some(other),
                improvement: score,
                partner_prefers_source: candidate.prefers_source,
            });
            return self.is_over(search, to);
        }
        false
    }

    /// An idle CPU ends the search where a move is allowed, a partner who is glad to go ends it where none is.
    fn is_over(&self, search: &Search, to: &Destination) -> bool {
        match search.best {
            Some(Place { partner: None, cpu, .. }) => to.may_move && self.is_idle(search.now, cpu),
            Some(best) => !to.may_move && best.partner_prefers_source,
            None => false,
        }
    }

    /// The score of a swap with `other`, if one is possible at all.
    fn candidate(&self, search: &Search, to: &Destination, other: usize) -> Option<(i64, Candidate)> {
        let (me, them) = (&self.threads[search.thread], &self.threads[other]);
        let here = self.slots[usize::from(me.slot)].cpu;
        let prefers_source = them.preferred == Some(search.source);
        let settled = search.best.is_some_and(|best| best.partner.is_some() && best.partner_prefers_source);
        let isolated = self.slots[usize::from(them.slot)].isolated;
        if isolated || !self.may_run_on(other, here) || (settled && !prefers_source) {
            return None;
        }
        let by_group = me.group != them.group && me.group.is_some() && them.group.is_some();
        let weight = |node| {
            if by_group { self.group_weight(other, node) } else { self.task_weight(other, node) }
        };
        let candidate = Candidate {
            same_group: me.group == them.group,
            in_group: them.group.is_some(),
            gain: weight(search.source) - weight(to.node),
            prefers_source,
            prefers_destination: them.preferred == Some(to.node),
        };
        swap_score(to.task, to.own, to.stats.class(), &candidate).map(|score| (score, candidate))
    }

    /// Moves to the place; gives how long the stopper takes.
    fn take(&mut self, now: Nanos, thread: usize, place: &Place, hash: &mut EventHash) -> Span {
        let stopper = self.move_cost(self.config.costs.stopper, Draw::Stopper, thread);
        let cpu = u64::from(place.cpu.0);
        match place.partner {
            None => {
                self.moves.numa_task_migrated += 1;
                hash.record(now, kinds::NUMA_MOVE, [thread as u64, cpu]);
                self.relocate(now, thread, place.cpu, hash);
            }
            Some(other) => {
                self.moves.numa_task_swapped += 2;
                hash.record(now, kinds::NUMA_SWAP, [(thread as u64) << 32 | other as u64, cpu]);
                let here = self.slots[usize::from(self.threads[thread].slot)].cpu;
                self.relocate(now, thread, place.cpu, hash);
                self.relocate(now, other, here, hash);
                self.owed.push((other, stopper));
            }
        }
        stopper
    }

    /// A cost of a task's move, drawn for the number of the attempt.
    fn move_cost(&mut self, cost: Cost, draw: Draw, thread: usize) -> Span {
        let attempts =
            self.moves.numa_task_migrated + self.moves.numa_task_swapped + self.moves.numa_task_stuck;
        Span(self.draws.cost(cost, draw, [thread as u64, attempts]))
    }

    fn slot_number(&self, cpu: CpuId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.cpu == cpu)
    }

    fn is_idle(&self, now: Nanos, cpu: CpuId) -> bool {
        self.slot_number(cpu).is_none_or(|slot| self.runs_on(now, slot).is_none())
    }

    fn load(&self, thread: usize) -> i64 {
        CAPACITY * self.runnable(thread) as i64 / PPM as i64
    }

    fn stats(&self, now: Nanos, thread: usize, node: NodeId) -> NodeStats {
        let cpus = &self.config.topology.nodes[node.index()].cpus;
        let count = cpus.len() as i64;
        let mut stats = NodeStats {
            cpus: count,
            capacity: CAPACITY * count,
            load: 0,
            runnable: 0,
            used: 0,
            running: 0,
            idle: None,
        };
        for cpu in cpus {
            let slot = self.slot_number(*cpu);
            let running = slot.and_then(|slot| self.runs_on(now, slot));
            for other in slot.map_or(&[][..], |slot| &self.slots[slot].threads) {
                let asks = self.runnable(*other);
                stats.load += self.load(*other);
                stats.runnable += self.load(*other);
                stats.used += CAPACITY * self.threads[*other].share as i64 / PPM as i64;
                stats.running += i64::from(asks == PPM || running == Some(*other) || *other == thread);
            }
            if stats.idle.is_none() && running.is_none() && self.may_run_on(thread, *cpu) {
                stats.idle = Some(*cpu);
            }
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(cpus: i64, running: i64, used: i64, runnable: i64) -> NodeStats {
        NodeStats { cpus, capacity: CAPACITY * cpus, load: runnable, runnable, used, running, idle: None }
    }

    #[test]
    fn nodes_are_classed_by_what_runs_there() {
        // Fewer running tasks than CPUs: spare, however full.
        assert_eq!(stats(2, 1, 2048, 4096).class(), NodeClass::Spare);
        // As many: 2048 × 100 = 204,800 against the use × 108 and 2048 × 108 = 221,184 against the queue × 100.
        assert_eq!(stats(2, 2, 1896, 2048).class(), NodeClass::Spare);
        assert_eq!(stats(2, 2, 1897, 2048).class(), NodeClass::FullyBusy);
        assert_eq!(stats(2, 2, 1024, 2212).class(), NodeClass::FullyBusy);
        // More: overloaded only with use or queue beyond the threshold.
        assert_eq!(stats(2, 3, 2048, 3072).class(), NodeClass::Overloaded);
        assert_eq!(stats(2, 3, 1024, 2212).class(), NodeClass::Overloaded);
        assert_eq!(stats(2, 3, 1024, 2000).class(), NodeClass::Spare);
    }

    #[test]
    fn an_imbalance_of_two_is_tolerated_while_few_tasks_run() {
        let tolerated = |running: (i64, i64), limit| {
            keeps_balance(&stats(2, running.0, 0, 0), &stats(2, running.1, 0, 0), limit)
        };
        // A lone task: 1 there, 0 here.
        assert!(tolerated((1, 0), 1));
        // Two here: the first leaves one behind and finds none; the second would leave 0 and make 2.
        assert!(tolerated((2, 0), 1));
        assert!(!tolerated((1, 1), 1));
        assert!(tolerated((1, 1), 2));
        // 3 there and none here are too many whatever the limit.
        assert!(!tolerated((1, 2), 8));
        assert_eq!(
            [(2, 1), (16, 1), (48, 1), (64, 4)].map(|(cpus, caches)| tolerated_running(cpus, caches)),
            [1, 2, 6, 4]
        );
    }

    #[test]
    fn load_may_move_to_where_it_evens_out() {
        let loaded = |load| NodeStats { load, ..stats(2, 0, 0, 0) };
        // 3 tasks here, 1 there: moving one evens out.
        assert!(!worsens_load(&loaded(3072), &loaded(1024), 1024));
        // 2 and 2: moving one makes 1 and 3.
        assert!(worsens_load(&loaded(2048), &loaded(2048), 1024));
        // 2 and 1: the difference turns round, and does not grow.
        assert!(!worsens_load(&loaded(2048), &loaded(1024), 1024));
        // Twice the capacity there: 2 × 2 CPUs hold 2048 as 2 CPUs hold 1024.
        let wide = NodeStats { load: 2048, ..stats(4, 0, 0, 0) };
        assert!(worsens_load(&loaded(1024), &wide, 512));
    }

    #[test]
    fn only_a_mesh_counts_its_neighbours() {
        let topology = |distance: &[&[u8]]| Topology {
            nodes: (0..distance.len() as u16)
                .map(|cpu| crate::Node { cpus: vec![CpuId(cpu)], memory_pages: 1, slow: false })
                .collect(),
            distance: distance.iter().map(|row| row.to_vec()).collect(),
            isolated: Vec::new(),
            nohz_full: Vec::new(),
            caches_per_node: 1,
        };
        assert_eq!(mesh_reach(&topology(&[&[10, 20], &[20, 10]])), None);
        // A ring of four: the opposite corner is two hops away, over either neighbour.
        let ring: [&[u8]; 4] = [&[10, 16, 16, 22], &[16, 10, 22, 16], &[16, 22, 10, 16], &[22, 16, 16, 10]];
        assert_eq!(mesh_reach(&topology(&ring)), Some(22));
        // Two boards: every path to the other one is as long as the direct one.
        let boards: [&[u8]; 4] = [&[10, 16, 22, 22], &[16, 10, 22, 22], &[22, 22, 10, 16], &[22, 22, 16, 10]];
        assert_eq!(mesh_reach(&topology(&boards)), None);
    }

    #[test]
    fn swaps_are_scored_as_worked_by_hand() {
        let other = Candidate {
            same_group: false,
            in_group: false,
            gain: 0,
            prefers_source: false,
            prefers_destination: false,
        };
        let alone = Candidate { same_group: true, gain: 700, ..other };
        let busy = NodeClass::FullyBusy;
        // Neither has a group: 800 + 700.
        assert_eq!(swap_score(800, 800, busy, &alone), Some(1500));
        assert_eq!(swap_score(800, 800, NodeClass::Spare, &alone), None);
        // Within one group: 1500 less a sixteenth, 93.
        let member = Candidate { in_group: true, ..alone };
        assert_eq!(swap_score(800, 300, busy, &member), Some(1407));
        // Different groups: the group's 300 counts, and spare capacity does not matter.
        let stranger = Candidate { gain: -100, in_group: true, ..other };
        assert_eq!(swap_score(800, 300, NodeClass::Spare, &stranger), Some(200));
        // Content where it is: 200 less 12. Glad to go: 1500 and an eighth, 187.
        assert_eq!(
            swap_score(800, 300, busy, &Candidate { prefers_destination: true, ..stranger }),
            Some(188)
        );
        assert_eq!(swap_score(800, 800, busy, &Candidate { prefers_source: true, ..alone }), Some(1687));
    }
}
