//! Two queues at the best prices as Markov chains, for references: nothing here is run by the simulator.
//!
//! Limit orders join each queue at λ; market orders hit it at μ, each order cancels at θ; orders inside the spread arrive at Λ
//! a side and move the mid (market: 1.1, 1.2). Queues are cut where a further order would not change the answer.

/// Rates of a pair of best queues, in events per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// λ at the distance of the spread.
    pub(super) join: f64,
    /// μ.
    pub(super) market: f64,
    /// θ at the distance of the spread.
    pub(super) cancel: f64,
    /// Λ of one side: the sum of λ at smaller distances.
    pub(super) inside: f64,
}

/// What an own bid's race is worth: the value of each of its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The own bid fills.
    pub(super) fills: f64,
    /// The ask empties, or a bid arrives inside the spread.
    pub(super) up: f64,
    /// An ask arrives inside the spread.
    pub(super) down: f64,
}

/// Solves a tridiagonal system in place: `upper[i] v[i+1] + diagonal[i] v[i] + lower[i] v[i−1] = right[i]`.
fn tridiagonal(lower: &[f64], diagonal: &mut [f64], upper: &[f64], right: &mut [f64]) {
    for i in 1..right.len() {
        let factor = lower[i] / diagonal[i - 1];
        diagonal[i] -= factor * upper[i - 1];
        right[i] -= factor * right[i - 1];
    }
    let last = right.len() - 1;
    right[last] /= diagonal[last];
    for i in (0..last).rev() {
        right[i] = (right[i] - upper[i] * right[i + 1]) / diagonal[i];
    }
}

impl Pair {
    /// Where a queue that begins with at most `orders` may be cut: it is longer with a chance below 10⁻¹⁴. None where that is
    /// beyond what can be solved.
    pub(super) fn cut(&self, orders: usize) -> Option<usize> {
        let (mut cut, mut weight) = (orders, 1.0);
        while weight > 1e-14 {
            cut += 1;
            weight *= self.join / self.leave(cut);
            if cut > orders + 600 {
                return None;
            }
        }
        Some(cut + 10)
    }

    /// Seconds until the mid moves, on average, from two queues of at most `orders`: at most those until one queue of the two
    /// has emptied, or an order has arrived inside the spread.
    pub(super) fn seconds(&self, orders: usize) -> f64 {
        // From n to n − 1: T(n) = (1 + λ T(n + 1)) / (μ + n θ), from far beyond where the queue is ever seen.
        let last = self.cut(orders).unwrap_or(orders) + 1_000;
        let (mut step, mut all) = (1.0 / self.leave(last), 0.0);
        for queue in (1..last).rev() {
            step = (1.0 + self.join * step) / self.leave(queue);
            if queue <= orders {
                all += step;
            }
        }
        if self.inside > 0.0 { f64::min(all, 0.5 / self.inside) } else { all }
    }

    /// Events of a path that ends when the mid moves, on average.
    pub(super) fn events(&self, orders: usize) -> f64 {
        2.0 * orders as f64 + self.seconds(orders) * 2.0 * (2.0 * self.join + self.market + self.inside)
    }

    /// The greatest rate of events of a queue up to the cut.
    pub(super) fn pace(&self, cut: usize) -> f64 {
        self.join + self.leave(cut)
    }

    /// A queue that surely has `orders`.
    pub(super) fn certain(orders: usize, cut: usize) -> Vec<f64> {
        (0..=cut).map(|index| if index == orders { 1.0 } else { 0.0 }).collect()
    }

    /// How fast a queue of `orders` shrinks.
    fn leave(&self, orders: usize) -> f64 {
        self.market + orders as f64 * self.cancel
    }

    /// P(mid moves up first), proposition 3: `[bid − 1][ask − 1]` for all queues up to the cut.
    pub(super) fn mid_up(&self, cut: usize) -> Vec<Vec<f64>> {
        let mut up = vec![vec![0.5; cut]; cut];
        let join = |orders: usize| if orders == cut { 0.0 } else { self.join };
        let upper: Vec<f64> = (1..=cut).map(|ask| -join(ask)).collect();
        let lower: Vec<f64> = (1..=cut).map(|ask| -self.leave(ask)).collect();
        // Each sweep solves one bid queue's row exactly, given its neighbours.
        for _ in 0..100_000 {
            let mut change: f64 = 0.0;
            for bid in 1..=cut {
                let side = join(bid) + self.leave(bid) + 2.0 * self.inside;
                let mut diagonal: Vec<f64> =
                    (1..=cut).map(|ask| side + join(ask) + self.leave(ask)).collect();
                let mut right: Vec<f64> = (1..=cut)
                    .map(|ask| {
                        let more = if bid == cut { 0.0 } else { self.join * up[bid][ask - 1] };
                        let fewer = if bid == 1 { 0.0 } else { self.leave(bid) * up[bid - 2][ask - 1] };
                        let empties = if ask == 1 { self.leave(1) } else { 0.0 };
                        more + fewer + empties + self.inside
                    })
                    .collect();
                tridiagonal(&lower, &mut diagonal, &upper, &mut right);
                change =
                    right.iter().zip(&up[bid - 1]).map(|(new, old)| (new - old).abs()).fold(change, f64::max);
                up[bid - 1] = right;
            }
            if change < 1e-13 {
                break;
            }
        }
        up
    }

    /// The value of an own bid that never cancels, proposition 5: `[rank − 1][ask − 1]` for ranks up to `ranks`, where the
    /// first in the queue has rank 1.
    pub(super) fn bid(&self, ends: Ends, ranks: usize, cut: usize) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(ranks);
        let join = |orders: usize| if orders == cut { 0.0 } else { self.join };
        let upper: Vec<f64> = (1..=cut).map(|ask| -join(ask)).collect();
        let lower: Vec<f64> = (1..=cut).map(|ask| -self.leave(ask)).collect();
        for ahead in 0..ranks {
            let leave = self.leave(ahead);
            let mut diagonal: Vec<f64> =
                (1..=cut).map(|ask| join(ask) + self.leave(ask) + leave + 2.0 * self.inside).collect();
            let mut right: Vec<f64> = (1..=cut)
                .map(|ask| {
                    let next = if ahead == 0 { ends.fills } else { values[ahead - 1][ask - 1] };
                    let empties = if ask == 1 { self.leave(1) * ends.up } else { 0.0 };
                    leave * next + empties + self.inside * (ends.up + ends.down)
                })
                .collect();
            tridiagonal(&lower, &mut diagonal, &upper, &mut right);
            values.push(right);
        }
        values
    }

    /// P(an own bid and an own ask, each last in its queue, both fill before the mid moves), proposition 6:
    /// `[bid rank − 1][ask rank − 1]`.
    pub(super) fn both(&self, ranks: usize, cut: usize) -> Vec<Vec<f64>> {
        let fills = self.bid(Ends { fills: 1.0, up: 0.0, down: 0.0 }, ranks, cut);
        let first = self.bid_first(&fills, ranks, cut);
        (0..ranks).map(|bid| (0..ranks).map(|ask| first[bid][ask] + first[ask][bid]).collect()).collect()
    }

    /// P(both fill, the bid first). While the bid waits, `behind` orders gather behind it at λ and cancel at θ; after its fill
    /// they are the queue that must outlast the own ask.
    fn bid_first(&self, fills: &[Vec<f64>], ranks: usize, cut: usize) -> Vec<Vec<f64>> {
        let join = |behind: usize| if behind == cut { 0.0 } else { self.join };
        let upper: Vec<f64> = (0..=cut).map(|behind| -join(behind)).collect();
        let lower: Vec<f64> = (0..=cut).map(|behind| -(behind as f64) * self.cancel).collect();
        let mut values: Vec<Vec<Vec<f64>>> = Vec::with_capacity(ranks);
        for bid in 0..ranks {
            let mut row: Vec<Vec<f64>> = Vec::with_capacity(ranks);
            for ask in 0..ranks {
                let (leave_bid, leave_ask) = (self.leave(bid), self.leave(ask));
                let pace = leave_bid + leave_ask + 2.0 * self.inside;
                let mut diagonal: Vec<f64> =
                    (0..=cut).map(|behind| pace + join(behind) + behind as f64 * self.cancel).collect();
                let mut right: Vec<f64> = (0..=cut)
                    .map(|behind| {
                        let after_bid = match (bid, behind) {
                            (0, 0) => 0.0,
                            (0, _) => fills[ask][behind - 1],
                            _ => values[bid - 1][ask][behind],
                        };
                        let after_ask = if ask == 0 { 0.0 } else { row[ask - 1][behind] };
                        leave_bid * after_bid + leave_ask * after_ask
                    })
                    .collect();
                tridiagonal(&lower, &mut diagonal, &upper, &mut right);
                row.push(right);
            }
            values.push(row);
        }
        values.into_iter().map(|row| row.into_iter().map(|behind| behind[0]).collect()).collect()
    }
}

/// Most events in a time for which [`evolve`] is asked.
pub(super) const EVENTS_MAX: f64 = 20_000.0;

/// One queue that no own order stands in: `law[n]` is the chance of n orders, now and, in the answer, `seconds` later, up to the
/// cut at the law's end. An emptied queue stays empty if it is `absorbed`.
pub(super) fn evolve(pair: &Pair, mut law: Vec<f64>, seconds: f64, absorbed: bool) -> Vec<f64> {
    let cut = law.len() - 1;
    let grow = |orders: usize| if orders == cut || (orders == 0 && absorbed) { 0.0 } else { pair.join };
    let shrink = |orders: usize| if orders == 0 { 0.0 } else { pair.leave(orders) };
    // By uniformisation: a chain that moves, or stays, at the same rate everywhere.
    let rate = pair.pace(cut);
    let parts = libm::ceil(rate * seconds / 50.0).max(1.0);
    let pace = rate * seconds / parts;
    for _ in 0..parts as u64 {
        let mut step = law;
        let mut weight = libm::exp(-pace);
        law = step.iter().map(|chance| weight * chance).collect();
        for count in 1..1_000 {
            step = (0..=cut)
                .map(|orders| {
                    let stay = step[orders] * (rate - grow(orders) - shrink(orders));
                    let from_below = if orders == 0 { 0.0 } else { step[orders - 1] * grow(orders - 1) };
                    let from_above = if orders == cut { 0.0 } else { step[orders + 1] * shrink(orders + 1) };
                    (stay + from_below + from_above) / rate
                })
                .collect();
            weight *= pace / f64::from(count);
            for (sum, chance) in law.iter_mut().zip(&step) {
                *sum += weight * chance;
            }
            if f64::from(count) > pace && weight < 1e-18 {
                break;
            }
        }
    }
    law
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published rates by the minute, at a spread of one tick.
    const ONE: Pair = Pair { join: 1.85, market: 0.94, cancel: 0.71, inside: 0.0 };

    fn agrees(found: &[Vec<f64>], table: [[f64; 5]; 5]) {
        for (found, row) in found.iter().zip(table) {
            for (found, printed) in found.iter().zip(row) {
                assert!((found - printed).abs() < 0.5001e-4, "{found} for {printed}");
            }
        }
    }

    /// market: 1.3, P(mid up).
    #[test]
    fn the_mid_moves_up_as_the_table_says() {
        let table = [
            [0.5000, 0.3352, 0.2590, 0.2158, 0.1878],
            [0.6648, 0.5000, 0.4069, 0.3479, 0.3072],
            [0.7410, 0.5931, 0.5000, 0.4366, 0.3906],
            [0.7842, 0.6521, 0.5634, 0.5000, 0.4523],
            [0.8122, 0.6928, 0.6094, 0.5477, 0.5000],
        ];
        agrees(&ONE.mid_up(ONE.cut(5).unwrap()), table);
    }

    /// market: 1.3, P(bid order of rank b fills before the mid moves).
    #[test]
    fn an_own_bid_fills_as_the_table_says() {
        let table = [
            [0.5025, 0.6980, 0.7939, 0.8483, 0.8824],
            [0.3589, 0.5508, 0.6643, 0.7372, 0.7869],
            [0.2915, 0.4654, 0.5784, 0.6564, 0.7128],
            [0.2514, 0.4093, 0.5174, 0.5956, 0.6543],
            [0.2243, 0.3691, 0.4716, 0.5480, 0.6071],
        ];
        agrees(&ONE.bid(Ends { fills: 1.0, up: 0.0, down: 0.0 }, 5, ONE.cut(5).unwrap()), table);
    }

    /// market: 1.3, making the spread.
    #[test]
    fn both_own_orders_fill_as_the_table_says() {
        let table = [
            [0.2658, 0.3080, 0.3089, 0.2996, 0.2880],
            [0.3080, 0.3856, 0.4056, 0.4063, 0.3997],
            [0.3089, 0.4056, 0.4407, 0.4518, 0.4524],
            [0.2996, 0.4063, 0.4518, 0.4715, 0.4785],
            [0.2880, 0.3997, 0.4524, 0.4785, 0.4909],
        ];
        agrees(&ONE.both(5, ONE.cut(5).unwrap()), table);
    }

    /// A wider spread: the three ends of a bid's race are all there are, a symmetric pair is even, and a cut further out
    /// changes nothing.
    #[test]
    fn the_chains_close() {
        let pair = Pair { join: 1.51, market: 0.94, cancel: 0.81, inside: 1.85 };
        let cut = pair.cut(5).unwrap();
        let all = pair.bid(Ends { fills: 1.0, up: 1.0, down: 1.0 }, 5, cut);
        assert!(all.iter().flatten().all(|sum| (sum - 1.0).abs() < 1e-12));
        let (near, far) = (pair.mid_up(cut), pair.mid_up(2 * cut));
        assert!((near[3][3] - 0.5).abs() < 1e-12);
        assert!((near[4][0] - far[4][0]).abs() < 1e-12 && (near[4][0] + near[0][4] - 1.0).abs() < 1e-12);
    }
}
