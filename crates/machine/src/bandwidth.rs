//! Interconnect and memory controllers: utilisation turns into a latency multiplier (spec: 5.5).

use numashock_engine::Nanos;

use crate::{Costs, NodeId};

const ONE: u64 = 1_000_000;
const PAGE_BYTES: u64 = 4096;
/// Copies are averaged over windows of this length.
const WINDOW: u64 = 1_000_000;

/// Traffic of the neighbours and of page copies.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    nodes: usize,
    /// Neighbours' MB/s, `[from][to]` flattened.
    batch_mbps: Vec<u64>,
    /// Bytes copied in the current and in the previous window, `[source][destination]`.
    copied: Vec<u64>,
    copied_before: Vec<u64>,
    window: u64,
    /// Whether anything loads the machine.
    busy: bool,
}

impl Traffic {
    pub(crate) fn new(nodes: usize) -> Traffic {
        let pairs = nodes * nodes;
        Traffic {
            nodes,
            batch_mbps: vec![0; pairs],
            copied: vec![0; pairs],
            copied_before: vec![0; pairs],
            window: 0,
            busy: false,
        }
    }

    pub(crate) fn set_batch(&mut self, from: NodeId, to: NodeId, mbps: u64) {
        self.batch_mbps[from.index() * self.nodes + to.index()] = mbps;
        self.busy |= mbps > 0;
    }

    pub(crate) fn note_copy(&mut self, now: Nanos, from: NodeId, to: NodeId, pages: u64) {
        self.advance(now);
        self.busy = true;
        self.copied[from.index() * self.nodes + to.index()] += PAGE_BYTES * pages;
    }

    /// Whether neighbours or copies load anything.
    pub(crate) fn is_busy(&mut self, now: Nanos) -> bool {
        self.advance(now);
        self.busy
    }

    fn advance(&mut self, now: Nanos) {
        let window = now.0 / WINDOW;
        if window == self.window {
            return;
        }
        if window == self.window + 1 {
            core::mem::swap(&mut self.copied, &mut self.copied_before);
        } else {
            self.copied_before.fill(0);
        }
        self.copied.fill(0);
        self.window = window;
        self.busy = self.batch_mbps.iter().chain(&self.copied_before).any(|load| *load > 0);
    }

    /// Latency multipliers in parts per million for an access from `cpu` to `memory`: under the neighbours alone, and with the copies too.
    pub(crate) fn multipliers(
        &mut self,
        now: Nanos,
        costs: &Costs,
        cpu: NodeId,
        memory: NodeId,
    ) -> (u64, u64) {
        self.advance(now);
        if !self.busy {
            let idle = loaded(&costs.loaded_latency, 0);
            return (idle, idle);
        }
        let mut alone = 0;
        let mut with = 0;
        for other in 0..self.nodes {
            let into = other * self.nodes + memory.index();
            let out = memory.index() * self.nodes + other;
            alone += self.batch_mbps[into];
            // A copy reads its source and writes its destination.
            with += to_mbps(self.copied_before[into])
                + if into == out { 0 } else { to_mbps(self.copied_before[out]) };
        }
        let controller = (alone, alone + with, costs.memory_mbps);
        let link = if cpu == memory {
            (0, 0, 1)
        } else {
            let batch = self.batch_mbps[cpu.index() * self.nodes + memory.index()];
            // The data of a read travels from the memory to the CPU, as does a copy from there to here.
            let copies = to_mbps(self.copied_before[memory.index() * self.nodes + cpu.index()]);
            (batch, batch + copies, costs.interconnect_mbps)
        };
        let worst = |a: (u64, u64), b: (u64, u64)| utilisation(a.0, a.1).max(utilisation(b.0, b.1));
        let alone = worst((controller.0, controller.2), (link.0, link.2));
        let with = worst((controller.1, controller.2), (link.1, link.2));
        (loaded(&costs.loaded_latency, alone), loaded(&costs.loaded_latency, with))
    }
}

fn to_mbps(bytes: u64) -> u64 {
    // Bytes a millisecond to megabytes a second.
    bytes / 1000
}

fn utilisation(mbps: u64, capacity: u64) -> u64 {
    (mbps * ONE).checked_div(capacity).unwrap_or(0)
}

/// The multiplier at a utilisation, linear between the points of the curve.
fn loaded(curve: &[(u32, u32)], utilisation: u64) -> u64 {
    let after = curve.partition_point(|point| u64::from(point.0) <= utilisation);
    let value = |index: usize| u64::from(curve[index].1);
    if curve.is_empty() {
        ONE
    } else if after == 0 {
        value(0)
    } else if after == curve.len() {
        value(after - 1)
    } else {
        let (from, to) = (u64::from(curve[after - 1].0), u64::from(curve[after].0));
        value(after - 1) + (value(after) - value(after - 1)) * (utilisation - from) / (to - from)
    }
}

/// A quotient that fits 64 bits; the division is cheap where the dividend does too.
pub(crate) fn quotient(dividend: u128, divisor: u64) -> u64 {
    match u64::try_from(dividend) {
        Ok(small) => small / divisor,
        Err(_) => u64::try_from(dividend / u128::from(divisor)).expect("latencies are bounded when checked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_linear_between_points_and_flat_outside() {
        let curve = [(500_000, 1_000_000), (750_000, 1_500_000), (1_000_000, 3_000_000)];
        for (at, expected) in [
            (0, 1_000_000),
            (500_000, 1_000_000),
            (625_000, 1_250_000),
            (750_000, 1_500_000),
            (2_000_000, 3_000_000),
        ] {
            assert_eq!(loaded(&curve, at), expected);
        }
        assert_eq!(loaded(&[], 700_000), ONE);
    }

    #[test]
    fn copies_count_for_one_window_and_then_fade() {
        let mut traffic = Traffic::new(2);
        (0..10).for_each(|_| traffic.note_copy(Nanos(10), NodeId(0), NodeId(1), 1));
        assert_eq!(traffic.copied_before[1], 0);
        traffic.advance(Nanos(WINDOW));
        assert_eq!(traffic.copied_before[1], 10 * PAGE_BYTES);
        traffic.advance(Nanos(3 * WINDOW));
        assert_eq!(traffic.copied_before[1], 0);
    }
}
