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

use super::limits::{self, Demand};
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
/// The fewest events of a sample.
const SAMPLES_LEAST: u64 = 64_000;
const QUEUES_MAX: usize = 50;
const RATES_MAX: usize = 1_000;
/// Orders of a queue, on average.
const MEAN_MAX: f64 = 10_000.0;
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

    /// What the flow itself does not refuse: a queue that stays as it is, and one too long to be held.
    fn check(&self) -> Result<(), Wrong> {
        for (key, list) in [("limit", &self.limit), ("cancel", &self.cancel), ("market", &self.market)] {
            if list.is_empty() || list.len() > RATES_MAX {
                return Err(Wrong::new(key, format!("expected 1 to {RATES_MAX} rates")));
            }
        }
        if self.limit[0].0 == 0 {
            return Err(Wrong::new(
                "limit[0]",
                "expected a rate above zero: an empty queue would stay empty",
            ));
        }
        let longest = self.longest();
        if let Some(size) =
            (1..=longest).find(|size| self.at(&self.cancel, *size) + self.at(&self.market, *size) == 0.0)
        {
            let problem = format!(
                "expected a rate above zero at {size} orders, or of market orders: the queue would never shrink"
            );
            return Err(Wrong::new("cancel", problem));
        }
        let tail =
            self.at(&self.limit, longest) / (self.at(&self.cancel, longest) + self.at(&self.market, longest));
        let mean = if tail < 0.999 { self.mean() } else { f64::INFINITY };
        // Also where it is not a number.
        if mean.is_nan() || mean > MEAN_MAX {
            let problem = format!(
                "expected rates at which the queue has at most {MEAN_MAX} orders on average, and at its last rates shrinks"
            );
            return Err(Wrong::new("limit", problem));
        }
        Ok(())
    }

    fn at(&self, list: &[Rate], size: usize) -> f64 {
        list[size.min(list.len() - 1)].0 as f64
    }

    fn longest(&self) -> usize {
        self.limit.len().max(self.cancel.len()).max(self.market.len())
    }

    /// All that happens at a size, per second.
    fn rate(&self, size: usize) -> f64 {
        let leaves = if size == 0 { 0.0 } else { self.at(&self.cancel, size) + self.at(&self.market, size) };
        (self.at(&self.limit, size) + leaves) / 1e9
    }

    fn slowest(&self) -> f64 {
        (0..=self.longest()).map(|size| self.rate(size)).fold(f64::INFINITY, f64::min)
    }

    fn greatest(&self) -> f64 {
        let most = |list: &[Rate]| list.iter().map(|rate| rate.0).max().unwrap_or(0) as f64 / 1e9;
        most(&self.limit) + most(&self.cancel) + most(&self.market)
    }

    fn mean_rate(&self) -> f64 {
        self.invariant().iter().enumerate().map(|(size, share)| share * self.rate(size)).sum()
    }

    fn mean(&self) -> f64 {
        self.invariant().iter().enumerate().map(|(size, share)| size as f64 * share).sum()
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
        limits::entries("sizes", &self.sizes, "numbers, each at most 1000000", |size| *size <= 1_000_000)?;
        if self.queue.is_empty() || self.queue.len() > QUEUES_MAX {
            return Err(Wrong::new("queue", format!("expected 1 to {QUEUES_MAX} queues")));
        }
        for (index, queue) in self.queue.iter().enumerate() {
            queue.check().map_err(|wrong| Wrong { key: format!("queue[{index}].{}", wrong.key), ..wrong })?;
        }
        self.exogenous(Seed(0)).map(|_| ())
    }

    fn demand(&self) -> Demand {
        let events = 1.25 * self.samples as f64;
        // The flow takes at least as long to find out that nothing happens.
        let busy: f64 = self.queue.iter().map(Queue::greatest).fold(0.0, f64::max);
        let slowest: f64 = self.queue.iter().map(Queue::slowest).sum();
        let mean: f64 = self.queue.iter().map(Queue::mean_rate).sum();
        let seconds = events / RUNS as f64 / (2.0 * slowest);
        let idle = (busy * self.queue.len() as f64 / mean).max(1.0);
        let events = events * idle * self.queue.len() as f64;
        Demand { samples: Some(self.samples), least: SAMPLES_LEAST, events, each: 0.0, seconds, key: "queue" }
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let batch = (effort.samples(self.samples, SAMPLES_LEAST) / RUNS / BATCHES).max(1);
        let runs: Vec<Vec<Vec<f64>>> = (0..RUNS)
            .into_par_iter()
            .map(|run| self.shares(batch, seed.replication(run)))
            .collect::<Result<_, Wrong>>()?;
        let runs = Replications::new(runs.into_iter().flatten().collect(), Vec::new());
        let samples = batch * RUNS * BATCHES;
        let mut quantities = Vec::new();
        for (index, queue) in self.queue.iter().enumerate() {
            let law = queue.invariant();
            let mean = queue.mean();
            let first = index * (1 + self.sizes.len());
            let about = |what: &str| format!("{what}, queue {}", index + 1);
            quantities.push(runs.quantity(about("mean size"), |means| means[first], Some(mean), samples));
            for (place, size) in (1..).zip(&self.sizes) {
                let reference = law.get(*size as usize).copied().unwrap_or(0.0);
                let name = about(&format!("P(size = {size})"));
                let figure = runs.quantity(name, |means| means[first + place], Some(reference), samples);
                // A stay near a size lasts about as many events as the queue has orders.
                let stays = samples as f64 / (1.0 + mean);
                let rarer = reference.min(1.0 - reference).max(0.0);
                quantities.push(figure.rarely(stays * rarer, rarer / stays, 1.0 / stays));
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
