//! The law of the queues after a long time without a move of the reference price (market: 3.1).

use numashock_engine::{Seed, Stream};

use super::super::FlowError;
use super::law::{KINDS, Queue, QueueModel, STATES_MAX, Table};

/// Draws states from the invariant law.
///
/// Independent queues have a product law, which is tabulated. For the others no closed form is known: states are taken
/// from a long run of the same queues.
#[derive(Clone, Debug)]
pub(super) enum Invariant {
    /// For each queue the cumulative law, in parts of 2⁶⁴.
    Product(Vec<Vec<u64>>),
    /// States, by queue and side.
    Run(Vec<Vec<[u32; 2]>>),
}

const STATES: usize = 1_024;
/// Steps for each queue of a side between two states.
const SPACING: usize = 64;
/// What the table leaves out beyond its end.
const TAIL: f64 = 1e-18;

impl Invariant {
    pub(super) fn new(queues: &[Queue], model: QueueModel, seed: Seed) -> Result<Invariant, FlowError> {
        let laws = (1..)
            .zip(queues)
            .map(|(number, queue)| cumulative(number, queue.table(1, u64::MAX)))
            .collect::<Result<Vec<_>, _>>()?;
        let product = Invariant::Product(laws);
        if model == QueueModel::Independent {
            return Ok(product);
        }
        let mut stream = seed.stream("flow-invariant", 0);
        let mut state = product.draw(|| stream.next_u64());
        let bound = queues.iter().map(Queue::bound).sum::<u128>() * 2;
        let between = SPACING * 2 * queues.len();
        (0..50 * between).for_each(|_| advance(&mut state, queues, bound, &mut stream));
        let mut states = Vec::with_capacity(STATES);
        while states.len() < STATES {
            (0..between).for_each(|_| advance(&mut state, queues, bound, &mut stream));
            states.push(state.clone());
        }
        Ok(Invariant::Run(states))
    }

    /// A state by queue and side, from one word for each of them at most.
    pub(super) fn draw(&self, mut word: impl FnMut() -> u64) -> Vec<[u32; 2]> {
        match self {
            Invariant::Product(laws) => {
                let mut size = |law: &Vec<u64>| {
                    let word = word();
                    law.partition_point(|below| *below <= word) as u32
                };
                laws.iter().map(|law| [size(law), size(law)]).collect()
            }
            Invariant::Run(states) => {
                states[((u128::from(word()) * states.len() as u128) >> 64) as usize].clone()
            }
        }
    }
}

/// π(n) = π(0) ∏ λL(j−1) / (λC(j) + λM(j)), summed: entry n is the chance of at most n.
fn cumulative(number: usize, table: &Table) -> Result<Vec<u64>, FlowError> {
    let mut weights = vec![1.0f64];
    let mut total = 1.0;
    loop {
        let size = weights.len() as u64;
        let leave = table.rate(1, size) as f64 + table.rate(2, size) as f64;
        let weight = weights[weights.len() - 1] * (table.rate(0, size - 1) as f64 / leave);
        if weights.len() >= table.reach() {
            // From here on the ratio stays: the rest is a geometric series.
            let ratio = table.rate(0, size) as f64 / leave;
            if weight / (1.0 - ratio) <= TAIL * total {
                break;
            }
        }
        if weights.len() > STATES_MAX {
            let problem =
                "its invariant law reaches beyond 10000 units: raise cancel or market, or lower limit";
            return Err(FlowError::Queue { queue: number, problem });
        }
        weights.push(weight);
        total += weight;
    }
    let mut sum = 0.0;
    let cumulative = weights.iter().map(|weight| {
        sum += weight;
        // A float of 2⁶⁴ becomes the largest integer.
        libm::floor(sum / total * 18_446_744_073_709_551_616.0) as u64
    });
    let mut cumulative: Vec<u64> = cumulative.collect();
    // What is left by roundings belongs to the last size.
    if let Some(last) = cumulative.last_mut() {
        *last = u64::MAX;
    }
    Ok(cumulative)
}

/// One step of the queues by themselves. The chain is uniformised: it stands still when `bound`, the greatest rate of
/// all, is not used up, so that a state is met as often as it lasts.
fn advance(state: &mut [[u32; 2]], queues: &[Queue], bound: u128, stream: &mut Stream) {
    let first = state[0];
    let mut level = (u128::from(stream.next_u64()) * bound) >> 64;
    for (queue, sizes) in queues.iter().zip(state) {
        for side in 0..2 {
            let table = queue.table(u64::from(first[side]), u64::from(first[1 - side]));
            for kind in 0..KINDS {
                let Some(rest) = level.checked_sub(u128::from(table.rate(kind, u64::from(sizes[side]))))
                else {
                    sizes[side] = if kind == 0 { sizes[side] + 1 } else { sizes[side] - 1 };
                    return;
                };
                level = rest;
            }
        }
    }
}
