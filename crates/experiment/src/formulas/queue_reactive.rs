//! The sizes of the queues of the queue-reactive flow while its reference price stands still (market: 3.1).

use std::sync::Arc;

use numashock_book::flow::{
    Exogenous, Flow, Intensities, QueueLaw, QueueModel, QueueReactiveConfig, StartBook,
};
use numashock_book::{Book, Lots, Side, Ticks};
use numashock_engine::{Nanos, Seed};
use numashock_sim::scenario::units::Rate;
use rayon::prelude::*;
use serde::Deserialize;

use super::replications::Replications;
use super::{Case, Effort, Quantity, Wrong};

pub(super) const ABOUT: &str = "the share of time at each size of the queues of the queue-reactive flow, model I, with a reference price \
    that stands still: pi(n) = pi(0) prod limit(j-1) / (cancel(j) + market(j))";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("samples", "events, over 16 runs"),
    (
        "queue",
        "list of { limit = [..], cancel = [..], market = [..] }, nearest first: rates at 0, 1, 2, ... orders, the last \
        one holds beyond; only the first queue has market orders, cancel and market begin with \"0/s\"",
    ),
    ("sizes", "list of sizes whose share is compared"),
];

const RUNS: u64 = 16;
/// Batches of a run, each counted as an independent value.
const BATCHES: u64 = 4;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queue {
    limit: Vec<Rate>,
    cancel: Vec<Rate>,
    market: Vec<Rate>,
}

impl Queue {
    fn law(&self) -> QueueLaw {
        let rates = |list: &[Rate]| {
            list.iter().map(|rate| numashock_book::flow::Rate { per_gigasecond: rate.0 }).collect()
        };
        let intensities = Intensities {
            limit: rates(&self.limit),
            cancel: rates(&self.cancel),
            market: rates(&self.market),
        };
        QueueLaw { lots: Lots(1), intensities, when_empty: None, opposite: Vec::new() }
    }

    /// π(0), π(1), … until what follows is nothing.
    fn invariant(&self) -> Vec<f64> {
        let rate = |list: &[Rate], size: usize| list[size.min(list.len() - 1)].0 as f64;
        let (mut law, mut total) = (vec![1.0], 1.0);
        while law.len() < 1_000_000 {
            let size = law.len();
            let leaves = rate(&self.cancel, size) + rate(&self.market, size);
            let next = law[size - 1] * rate(&self.limit, size - 1) / leaves;
            if next < 1e-18 * total && size > self.limit.len().max(self.cancel.len()).max(self.market.len()) {
                break;
            }
            total += next;
            law.push(next);
        }
        law.into_iter().map(|weight| weight / total).collect()
    }
}

/// The sizes of queues.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueReactive {
    samples: u64,
    queue: Vec<Queue>,
    sizes: Vec<u64>,
}

impl Case for QueueReactive {
    fn check(&self) -> Result<(), Wrong> {
        if self.sizes.iter().any(|size| *size > 1_000_000) {
            return Err(Wrong::new("sizes", "expected at most 1000000"));
        }
        self.exogenous(Seed(0)).map(|_| ())
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let batch = (effort.samples(self.samples, 64_000) / RUNS / BATCHES).max(1);
        let runs: Vec<Vec<Vec<f64>>> = (0..RUNS)
            .into_par_iter()
            .map(|run| self.shares(batch, seed.replication(run)))
            .collect::<Result<_, Wrong>>()?;
        let runs = Replications::new(runs.into_iter().flatten().collect(), Vec::new());
        let samples = batch * RUNS * BATCHES;
        let mut quantities = Vec::new();
        for (index, queue) in self.queue.iter().enumerate() {
            let law = queue.invariant();
            let mean: f64 = law.iter().enumerate().map(|(size, share)| size as f64 * share).sum();
            let first = index * (1 + self.sizes.len());
            let about = |what: &str| format!("{what}, queue {}", index + 1);
            quantities.push(runs.quantity(about("mean size"), |means| means[first], Some(mean), samples));
            for (place, size) in (1..).zip(&self.sizes) {
                let reference = law.get(*size as usize).copied().unwrap_or(0.0);
                let name = about(&format!("P(size = {size})"));
                quantities.push(runs.quantity(name, |means| means[first + place], Some(reference), samples));
            }
        }
        Ok(quantities)
    }
}

impl QueueReactive {
    fn exogenous(&self, seed: Seed) -> Result<Exogenous, Wrong> {
        let config = QueueReactiveConfig {
            model: QueueModel::Independent,
            queues: self.queue.iter().map(Queue::law).collect(),
            theta_ppm: 0,
            theta_reinit_ppm: 0,
            bid: Ticks(0),
            start: StartBook::Invariant,
        };
        Exogenous::queue_reactive(&config, seed, Nanos::NEVER)
            .map_err(|error| Wrong::new("queue", error.to_string()))
    }

    /// For each batch and queue the mean size and the share of time at each size asked for, both sides together.
    fn shares(&self, batch: u64, seed: Seed) -> Result<Vec<Vec<f64>>, Wrong> {
        let (mut book, mut fills) = (Book::new(), Vec::new());
        let mut flow = Flow::new(Arc::new(self.exogenous(seed)?), &mut book);
        let width = 1 + self.sizes.len();
        let mut rows = Vec::new();
        let mut last = Nanos::ZERO;
        // A side that the invariant law leaves empty begins with one order: the first batch lets it go.
        for _ in 0..=BATCHES {
            let (mut row, mut time) = (vec![0.0; width * self.queue.len()], 0.0);
            for _ in 0..batch {
                let at = flow.next_at();
                let passed = (at - last).0 as f64;
                (last, time) = (at, time + passed);
                for (index, row) in row.chunks_exact_mut(width).enumerate() {
                    for (side, price) in [(Side::Buy, -(index as i64)), (Side::Sell, 1 + index as i64)] {
                        let size = book.orders_at(side, Ticks(price));
                        row[0] += size as f64 * passed;
                        let place = self.sizes.iter().position(|asked| *asked == size);
                        place.into_iter().for_each(|place| row[1 + place] += passed);
                    }
                }
                flow.step(&mut book, &mut fills);
                fills.clear();
            }
            rows.push(row.into_iter().map(|area| area / (2.0 * time)).collect());
        }
        rows.remove(0);
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_has_the_invariant_law_and_another_queue_does_not() {
        let rates = |values: &[u64]| values.iter().map(|value| Rate(value * 1_000_000_000)).collect();
        let queue = |limit: u64| Queue {
            limit: rates(&[12, limit, limit]),
            cancel: rates(&[0, 1, 3, 4, 5]),
            market: rates(&[0, 6, 5, 4]),
        };
        let case = |limit| QueueReactive { samples: 64_000, queue: vec![queue(limit)], sizes: vec![0, 1, 3] };
        let effort = Effort { sample_ppm: 1_000_000, seed: 0 };
        let figures = case(8).run(effort, Seed(1)).unwrap();
        assert_eq!(figures.len(), 4);
        assert!(figures.iter().all(|figure| figure.z().unwrap().abs() < 4.0), "{figures:#?}");
        let wrong = case(7).run(effort, Seed(1)).unwrap();
        let distance = wrong[0].simulated - figures[0].reference.unwrap();
        assert!(distance.abs() > 5.0 * wrong[0].standard_error);
    }
}
