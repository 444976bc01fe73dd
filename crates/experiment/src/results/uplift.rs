//! NTU: the tail of exposed parents against the tail of matched calm ones (playbook: 5).
//!
//! Two parents match if they are of one segment and side, and alike in four more ways: the size of the order, its horizon, the
//! spread at the decision and how much the mid had moved in the second before it. Alike means on the same side of the median
//! that the segment has in this choice. Each exposed parent stands against all calm parents of its cell, which share its
//! weight equally; one whose cell has no calm parent is left out and counted. Everything is an integer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ParentRow, Side, ratio};
use crate::stats::{self, Quantile};

/// Fewest matched parents on either side for which a q95 is not simply the maximum.
pub const UPLIFT_MINIMUM: u32 = 20;

/// The NUMA tail uplift of one segment, over all runs of a choice or in one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpliftRow {
    /// Tuning choice.
    pub choice: u32,
    /// Replication index; all of them together if there is none.
    pub seed: Option<u64>,
    /// Index into [`SweepResults::segments`](super::SweepResults::segments).
    pub segment: u32,
    /// Exposed parents.
    pub exposed: u32,
    /// Calm parents.
    pub calm: u32,
    /// Parents of whom missing counters do not tell which they are.
    pub unknown: u32,
    /// Exposed parents that have a calm one to stand against.
    pub matched_exposed: u32,
    /// Calm parents that an exposed one stands against.
    pub matched_calm: u32,
    /// q95 of the shortfall of the matched exposed parents, millionths of a basis point.
    pub exposed_q95_micro_bp: Option<i64>,
    /// The same of the matched calm ones, each with its weight.
    pub calm_q95_micro_bp: Option<i64>,
    /// Their difference, with at least [`UPLIFT_MINIMUM`] matched parents on either side.
    pub ntu_micro_bp: Option<i64>,
}

/// The uplift of every segment of each choice: over all runs, then run by run.
#[must_use]
pub fn uplifts(parents: &[ParentRow]) -> Vec<UpliftRow> {
    let mut groups: BTreeMap<(u32, u32), Vec<&ParentRow>> = BTreeMap::new();
    for row in parents {
        groups.entry((row.choice, row.segment)).or_default().push(row);
    }
    let mut rows = Vec::new();
    for ((choice, segment), inside) in groups {
        let medians = Medians::of(&inside);
        rows.push(uplift((choice, None, segment), &inside, &medians));
        let mut runs: BTreeMap<u64, Vec<&ParentRow>> = BTreeMap::new();
        for row in inside {
            runs.entry(row.seed).or_default().push(row);
        }
        let by_run =
            |(seed, run): (&u64, &Vec<&ParentRow>)| uplift((choice, Some(*seed), segment), run, &medians);
        rows.extend(runs.iter().map(by_run));
    }
    rows
}

/// The uplift over all segments in basis points: their mean, weighted by matched exposed parents.
pub(crate) fn over_segments<'a>(rows: impl Iterator<Item = &'a UpliftRow>) -> Option<f64> {
    let (mut weighted, mut weight) = (0i128, 0i128);
    for row in rows.filter(|row| row.seed.is_none()) {
        if let Some(uplift) = row.ntu_micro_bp {
            weighted += i128::from(uplift) * i128::from(row.matched_exposed);
            weight += i128::from(row.matched_exposed);
        }
    }
    ratio(weighted, weight).map(|micro| micro / 1e6)
}

/// A parent as the uplift sees it, simulated or imported.
pub(crate) trait Matchable {
    /// Whether it was exposed; `None` where missing counters leave that open.
    fn exposed(&self) -> Option<bool>;
    /// Its shortfall, millionths of a basis point.
    fn is_micro_bp(&self) -> i64;
    /// Its side, where it is known.
    fn side(&self) -> Option<Side>;
    /// What is compared of it, with `None` for what is not known: size, horizon, spread, variation of the mid.
    fn features(&self) -> [Option<i64>; 4];
}

impl Matchable for ParentRow {
    fn exposed(&self) -> Option<bool> {
        self.exposed
    }

    fn is_micro_bp(&self) -> i64 {
        self.is_micro_bp
    }

    fn side(&self) -> Option<Side> {
        Some(self.side)
    }

    fn features(&self) -> [Option<i64>; 4] {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        [
            Some(signed(self.quantity_lots)),
            Some(signed(self.horizon_ns)),
            self.decision_spread_ticks.map(signed),
            self.decision_variation.map(signed),
        ]
    }
}

/// The uplift of parents of one segment among themselves.
pub(crate) fn uplift_among<P: Matchable>(parents: &[&P]) -> UpliftRow {
    uplift((0, None, 0), parents, &Medians::of(parents))
}

/// The medians of a segment's features.
struct Medians([Option<i64>; 4]);

/// Side, and per feature whether it is over its median.
type Cell = (Option<Side>, [Option<bool>; 4]);

impl Medians {
    fn of<P: Matchable>(parents: &[&P]) -> Medians {
        let known = || parents.iter().filter(|row| row.exposed().is_some());
        Medians([0, 1, 2, 3].map(|feature| {
            let mut values: Vec<i64> = known().filter_map(|row| row.features()[feature]).collect();
            stats::quantile(&mut values, Quantile::Q50)
        }))
    }

    fn cell<P: Matchable>(&self, row: &P) -> Cell {
        let values = row.features();
        (
            row.side(),
            [0, 1, 2, 3]
                .map(|feature| values[feature].zip(self.0[feature]).map(|(value, half)| value > half)),
        )
    }
}

fn uplift<P: Matchable>(
    (choice, seed, segment): (u32, Option<u64>, u32),
    parents: &[&P],
    medians: &Medians,
) -> UpliftRow {
    // A missing metric is missing, never calm (playbook: 5).
    let unknown = parents.iter().filter(|row| row.exposed().is_none()).count();
    let mut cells: BTreeMap<Cell, [Vec<i64>; 2]> = BTreeMap::new();
    for (row, exposed) in parents.iter().filter_map(|row| Some((*row, row.exposed()?))) {
        cells.entry(medians.cell(row)).or_default()[usize::from(exposed)].push(row.is_micro_bp());
    }
    let counted = |which: usize| cells.values().map(|cell| cell[which].len()).sum::<usize>();
    let matched: Vec<&[Vec<i64>; 2]> =
        cells.values().filter(|[calm, exposed]| !calm.is_empty() && !exposed.is_empty()).collect();
    let mut exposed: Vec<i64> = matched.iter().flat_map(|[_, exposed]| exposed.iter().copied()).collect();
    let mut calm: Vec<(i64, u128)> = matched
        .iter()
        .flat_map(|[calm, exposed]| {
            let weight = ((exposed.len() as u128) << 32) / calm.len() as u128;
            calm.iter().map(move |value| (*value, weight))
        })
        .collect();
    let (matched_exposed, matched_calm) = (count(exposed.len()), count(calm.len()));
    let exposed_q95 = stats::quantile(&mut exposed, Quantile::Q95);
    let calm_q95 = weighted_q95(&mut calm);
    let enough = matched_exposed.min(matched_calm) >= UPLIFT_MINIMUM;
    UpliftRow {
        choice,
        seed,
        segment,
        exposed: count(counted(1)),
        calm: count(counted(0)),
        unknown: count(unknown),
        matched_exposed,
        matched_calm,
        exposed_q95_micro_bp: exposed_q95,
        calm_q95_micro_bp: calm_q95,
        ntu_micro_bp: exposed_q95.zip(calm_q95).filter(|_| enough).map(|(tail, base)| tail - base),
    }
}

/// The least value that, with all below it, has 95 % of the weight; with equal weights the order statistic of rank ⌈0.95 n⌉.
fn weighted_q95(values: &mut [(i64, u128)]) -> Option<i64> {
    values.sort_unstable();
    let whole: u128 = values.iter().map(|(_, weight)| weight).sum();
    let mut below = 0;
    let reached = values.iter().find(|(_, weight)| {
        below += weight;
        below * 1_000_000 >= whole * u128::from(Quantile::Q95.ppm())
    });
    reached.map(|(value, _)| *value)
}

fn count(parents: usize) -> u32 {
    u32::try_from(parents).expect("fewer than 2^32 parents")
}
