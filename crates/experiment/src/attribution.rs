//! C_numa taken apart: what the rows and the summary say of the fifteen worlds, of children and of divergence.
//!
//! ```text
//!   values in 15 worlds ──► sixths of the four parts, order range      a parent's row, Σ parts = 6 · C_numa exactly
//!   rows ──► means by seed with intervals, order range of the means    the summary
//! ```

use std::collections::BTreeMap;

use numashock_accounting::{ChildPath, Mechanisms, Parts, Shapley, WorldValues, micro_basis_points};
use numashock_book::{HalfTicks, Lots};
use numashock_engine::Seed;
use numashock_sim::{BUCKET, ChildResult, ParentResult, RunResult, SecondPaths};
use serde::{Deserialize, Serialize};

use crate::results::{Estimate, ParentRow, Side};
use crate::stats;
use crate::worlds::ParentValues;

/// A parent's C_numa by cause and channel. Signs are shown; nothing is clipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributionRow {
    /// The parts, in sixths of a half-tick-lot; their sum is six times `c_numa`.
    pub parts: PartsSixths,
    /// The same with the unfinished lots at the mid of the deadline; their sum is six times `c_numa_mid_mark`.
    pub parts_mid_mark: PartsSixths,
    /// The least each part is over the 24 orders of adding the mechanisms, in half-tick-lots.
    pub least: PartsWhole,
    /// The most.
    pub most: PartsWhole,
    /// The shortfall in each world, ∅ first and the real one last, in half-tick-lots.
    pub values: [i64; Mechanisms::WORLDS],
}

/// The parts of C_numa, in sixths of a half-tick-lot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartsSixths {
    /// C_hint_fault.
    pub hint_fault: i64,
    /// C_migration_copy.
    pub migration_copy: i64,
    /// C_dispatch_jitter.
    pub dispatch_jitter: i64,
    /// C_queue_decay: the sum of the three below.
    pub queue_decay: i64,
    /// What of the queue decay hinting faults cause.
    pub queue_decay_hint_fault: i64,
    /// What of it migration copies cause.
    pub queue_decay_migration_copy: i64,
    /// What of it dispatch jitter causes.
    pub queue_decay_dispatch_jitter: i64,
}

/// A figure for each of the four mechanisms, in half-tick-lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartsWhole {
    /// H.
    pub hint_fault: i64,
    /// M.
    pub migration_copy: i64,
    /// D.
    pub dispatch_jitter: i64,
    /// Q.
    pub queue_decay: i64,
}

/// What a parent's fills cost in the real run, by the steps of its children, in half-tick-lots (market: 4.1). The sum is
/// Σ s·(price − decision mid)·lots over its fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathCosts {
    /// The move of the mid before the reason to send a child arose.
    pub schedule: i64,
    /// While the host held it: waiting for the dispatch thread, work and stalls.
    pub host: i64,
    /// On the wire.
    pub wire: i64,
    /// The fill against the mid on arrival.
    pub spread_and_impact: i64,
}

/// Share of a parent's life in which the free world was another one than the real one, in parts per million, resolved to whole
/// seconds of the run (attribution: A9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverged {
    /// Seconds in which the best prices or sizes changed otherwise or at another time. Own orders are part of them.
    pub market_ppm: u32,
    /// Seconds in which another participant did something else, or what was done could have another effect.
    pub flow_ppm: u32,
    /// Seconds in which the host's counters grew otherwise, or at whose end memory or threads were elsewhere.
    pub host_ppm: u32,
}

/// A child order that reached the exchange in the real run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRow {
    /// Tuning choice.
    pub choice: u32,
    /// Replication index.
    pub seed: u64,
    /// Parent within the run.
    pub parent: u32,
    /// Child within the run.
    pub child: u32,
    /// Side.
    pub side: Side,
    /// Requests that set its place; the steps and the queue are those of the latest.
    pub placements: u32,
    /// When the message that led to the request became ready for the dispatch thread.
    pub decided_ns: u64,
    /// When the request left the thread.
    pub dispatched_ns: u64,
    /// When it reached the exchange.
    pub arrived_ns: u64,
    /// When it would have, had nothing stalled.
    pub on_time_ns: u64,
    /// The mid when it was decided.
    pub decided_mid_half_ticks: i64,
    /// The mid when it left the thread.
    pub dispatched_mid_half_ticks: i64,
    /// The mid when it reached the exchange.
    pub arrived_mid_half_ticks: i64,
    /// The latest limit.
    pub limit_ticks: i64,
    /// The size it was sent with.
    pub lots: u64,
    /// Lots filled.
    pub filled_lots: u64,
    /// Lots ahead of it when it took its place; none if it took liquidity there or was refused.
    pub ahead_lots: Option<u64>,
    /// Lots that would have been ahead of it, had it been on time.
    pub ahead_on_time_lots: Option<u64>,
    /// What its fills cost, by step.
    pub path: PathCosts,
}

/// Where C_numa comes from over all parents of a choice, in basis points of quantity × decision mid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttributionSummary {
    /// Hash over the semantic events of all its worlds, in hexadecimal.
    pub event_hash: String,
    /// Mean of C_numa and of each part over the parents, with an interval by seed.
    pub mean_bp: MeansBp,
    /// The least and the most that the mean of each part is over the 24 orders of adding the mechanisms.
    pub order_range_bp: OrderRangeBp,
    /// Sum of each part over the parents, in sixths of a half-tick-lot.
    pub total_sixths: PartsSixths,
}

/// Means over the parents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeansBp {
    /// C_numa.
    pub c_numa: Estimate,
    /// C_hint_fault.
    pub hint_fault: Estimate,
    /// C_migration_copy.
    pub migration_copy: Estimate,
    /// C_dispatch_jitter.
    pub dispatch_jitter: Estimate,
    /// C_queue_decay.
    pub queue_decay: Estimate,
    /// What of it hinting faults cause.
    pub queue_decay_hint_fault: Estimate,
    /// What of it migration copies cause.
    pub queue_decay_migration_copy: Estimate,
    /// What of it dispatch jitter causes.
    pub queue_decay_dispatch_jitter: Estimate,
}

/// Least and most, in basis points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrderRangeBp {
    /// H.
    pub hint_fault: [f64; 2],
    /// M.
    pub migration_copy: [f64; 2],
    /// D.
    pub dispatch_jitter: [f64; 2],
    /// Q.
    pub queue_decay: [f64; 2],
}

impl AttributionRow {
    /// Takes a parent's C_numa apart.
    ///
    /// # Panics
    /// If the parts do not sum to six times C_numa, or a figure leaves 64 bits.
    #[must_use]
    pub fn of(values: &ParentValues) -> AttributionRow {
        let range = values.swept.order_range();
        let mut worlds = Mechanisms::worlds();
        AttributionRow {
            parts: PartsSixths::from(values.swept.shapley_sixths()),
            parts_mid_mark: PartsSixths::from(values.marked.shapley_sixths()),
            least: PartsWhole::from(range.least),
            most: PartsWhole::from(range.most),
            values: std::array::from_fn(|_| {
                money(values.swept.get(worlds.next().expect("as many worlds as values")))
            }),
        }
    }

    /// The shortfall in each world as a function of the world, in millionths of a basis point of the row.
    fn micro_bp(&self, row: &ParentRow) -> WorldValues {
        let (quantity, mid) = (Lots(row.quantity_lots), HalfTicks(row.decision_mid_half_ticks));
        WorldValues::from_fn(|world| {
            let cost = i128::from(self.values[world.index()]);
            micro_basis_points(cost, quantity, mid).unwrap_or(0)
        })
    }
}

impl PartsSixths {
    /// The four parts in order: H, M, D, Q.
    #[must_use]
    pub fn four(&self) -> [i64; 4] {
        [self.hint_fault, self.migration_copy, self.dispatch_jitter, self.queue_decay]
    }

    /// What H, M and D cause of the queue decay.
    #[must_use]
    pub fn of_queue_decay(&self) -> [i64; 3] {
        [self.queue_decay_hint_fault, self.queue_decay_migration_copy, self.queue_decay_dispatch_jitter]
    }

    fn add(&mut self, other: &PartsSixths) {
        self.hint_fault += other.hint_fault;
        self.migration_copy += other.migration_copy;
        self.dispatch_jitter += other.dispatch_jitter;
        self.queue_decay += other.queue_decay;
        self.queue_decay_hint_fault += other.queue_decay_hint_fault;
        self.queue_decay_migration_copy += other.queue_decay_migration_copy;
        self.queue_decay_dispatch_jitter += other.queue_decay_dispatch_jitter;
    }
}

impl From<Shapley> for PartsSixths {
    fn from(shapley: Shapley) -> PartsSixths {
        PartsSixths {
            hint_fault: money(shapley.direct.hint_fault),
            migration_copy: money(shapley.direct.migration_copy),
            dispatch_jitter: money(shapley.direct.dispatch_jitter),
            queue_decay: money(shapley.c_queue_decay()),
            queue_decay_hint_fault: money(shapley.queue_decay.hint_fault),
            queue_decay_migration_copy: money(shapley.queue_decay.migration_copy),
            queue_decay_dispatch_jitter: money(shapley.queue_decay.dispatch_jitter),
        }
    }
}

impl PartsWhole {
    /// The four in order: H, M, D, Q.
    #[must_use]
    pub fn four(&self) -> [i64; 4] {
        [self.hint_fault, self.migration_copy, self.dispatch_jitter, self.queue_decay]
    }
}

impl From<Parts> for PartsWhole {
    fn from(parts: Parts) -> PartsWhole {
        PartsWhole {
            hint_fault: money(parts.hint_fault),
            migration_copy: money(parts.migration_copy),
            dispatch_jitter: money(parts.dispatch_jitter),
            queue_decay: money(parts.queue_decay),
        }
    }
}

impl From<ChildPath> for PathCosts {
    fn from(path: ChildPath) -> PathCosts {
        PathCosts {
            schedule: money(path.schedule),
            host: money(path.host),
            wire: money(path.wire),
            spread_and_impact: money(path.spread_and_impact),
        }
    }
}

/// A second of a parent's symbol and host.
struct Second<'a> {
    paths: &'a SecondPaths,
    /// Where memory and threads are at its end, and what the counters grew by.
    host: (u64, &'a numashock_machine::Counters),
}

fn seconds_of<'a>(parent: &ParentResult, run: &'a RunResult) -> impl Iterator<Item = Second<'a>> {
    let (host, symbol) = (&run.hosts[parent.host.index()], &run.symbols[usize::from(parent.order.symbol.0)]);
    let counters = host.seconds.iter().map(|bucket| &bucket.counters);
    let host = host.placements.iter().copied().zip(counters);
    symbol.paths.iter().zip(host).map(|(paths, host)| Second { paths, host })
}

impl Diverged {
    /// Compares the seconds of a parent's life in two worlds.
    #[must_use]
    pub fn between(parent: &ParentResult, real: &RunResult, free: &RunResult) -> Diverged {
        let (from, until) = (parent.order.arrival.0, parent.order.deadline().0);
        let [real, free] = [real, free].map(|run| seconds_of(parent, run));
        let (mut seconds, mut market, mut flow, mut host) = (0u64, 0u64, 0u64, 0u64);
        for (number, (real, free)) in (0u64..).zip(real.zip(free)) {
            if number * BUCKET.0 >= until || (number + 1) * BUCKET.0 <= from {
                continue;
            }
            seconds += 1;
            market += u64::from(real.paths.market != free.paths.market);
            flow += u64::from(real.paths.flow != free.paths.flow);
            host += u64::from(real.host != free.host);
        }
        let ppm = |apart: u64| {
            u32::try_from(apart * 1_000_000 / seconds.max(1)).expect("a share is at most a million")
        };
        Diverged { market_ppm: ppm(market), flow_ppm: ppm(flow), host_ppm: ppm(host) }
    }
}

impl ChildRow {
    /// The row of a child of the parent `side`.
    #[must_use]
    pub fn of((choice, seed): (u32, u64), side: Side, child: &ChildResult) -> ChildRow {
        ChildRow {
            choice,
            seed,
            parent: child.parent.0,
            child: child.child.0,
            side,
            placements: child.placements,
            decided_ns: child.decided.at.0,
            dispatched_ns: child.dispatched.at.0,
            arrived_ns: child.arrived.at.0,
            on_time_ns: child.on_time.0,
            decided_mid_half_ticks: child.decided.mid.0,
            dispatched_mid_half_ticks: child.dispatched.mid.0,
            arrived_mid_half_ticks: child.arrived.mid.0,
            limit_ticks: child.price.0,
            lots: child.lots.0,
            filled_lots: child.filled.0,
            ahead_lots: child.queue.map(|queue| queue.lots.0),
            ahead_on_time_lots: child.queue.map(|queue| queue.on_time.0),
            path: PathCosts::from(child.path),
        }
    }
}

/// The figures of a choice; `None` where its rows were not attributed.
#[must_use]
pub fn summarise(parents: &[&ParentRow], seed: Seed, resamples: u32) -> Option<AttributionSummary> {
    let rows: Vec<(&ParentRow, &AttributionRow)> =
        parents.iter().filter_map(|row| Some((*row, row.attribution.as_ref()?))).collect();
    if rows.is_empty() {
        return None;
    }
    let mut total_sixths = PartsSixths::default();
    let mut sums = vec![0i128; Mechanisms::WORLDS];
    // By seed: how many parents, and the sums of C_numa and its parts in sixths of millionths of a basis point.
    let mut by_seed: BTreeMap<u64, (u64, [i128; 8])> = BTreeMap::new();
    for (row, attribution) in &rows {
        total_sixths.add(&attribution.parts);
        let values = attribution.micro_bp(row);
        let Shapley { direct, queue_decay } = values.shapley_sixths();
        let figures = [
            6 * values.c_numa(),
            direct.hint_fault,
            direct.migration_copy,
            direct.dispatch_jitter,
            queue_decay.sum(),
            queue_decay.hint_fault,
            queue_decay.migration_copy,
            queue_decay.dispatch_jitter,
        ];
        let (count, of_seed) = by_seed.entry(row.seed).or_default();
        *count += 1;
        of_seed.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        Mechanisms::worlds().for_each(|world| sums[world.index()] += values.get(world));
    }
    let mean = |figure: usize| {
        let clusters: Vec<(i128, u64)> =
            by_seed.values().map(|(count, sums)| (sums[figure], *count)).collect();
        estimate(&clusters, seed, resamples)
    };
    let range = WorldValues::from_fn(|world| sums[world.index()]).order_range();
    let bp = |of: fn(&Parts) -> i128| {
        [&range.least, &range.most].map(|end| of(end) as f64 / rows.len() as f64 / 1e6)
    };
    Some(AttributionSummary {
        event_hash: String::new(),
        mean_bp: MeansBp {
            c_numa: mean(0),
            hint_fault: mean(1),
            migration_copy: mean(2),
            dispatch_jitter: mean(3),
            queue_decay: mean(4),
            queue_decay_hint_fault: mean(5),
            queue_decay_migration_copy: mean(6),
            queue_decay_dispatch_jitter: mean(7),
        },
        order_range_bp: OrderRangeBp {
            hint_fault: bp(|parts| parts.hint_fault),
            migration_copy: bp(|parts| parts.migration_copy),
            dispatch_jitter: bp(|parts| parts.dispatch_jitter),
            queue_decay: bp(|parts| parts.queue_decay),
        },
        total_sixths,
    })
}

/// A mean of sixths of millionths, in basis points.
fn estimate(clusters: &[(i128, u64)], seed: Seed, resamples: u32) -> Estimate {
    const UNIT: f64 = 6e6;
    let (sum, count) =
        clusters.iter().fold((0, 0), |(sum, count), (more, parents)| (sum + more, count + parents));
    let value = Some(sum as f64 / count as f64 / UNIT);
    match stats::mean_interval(clusters, seed, resamples) {
        Ok((lo, hi)) => Estimate { value, lo: Some(lo / UNIT), hi: Some(hi / UNIT), note: None },
        Err(unsupported) => Estimate { value, lo: None, hi: None, note: Some(unsupported.to_string()) },
    }
}

fn money(value: i128) -> i64 {
    i64::try_from(value).expect("costs stay within 64 bits")
}
