//! The event queue in the hold model, with ten thousand and with a million events waiting.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use numashock_benches::{Delays, Hold, Holding, Reference, compare, timed};
use numashock_engine::{EventQueue, Nanos};

/// Events waiting, and the steps of a round.
const SIZES: [(usize, usize); 2] = [(10_000, 5_000_000), (1_000_000, 3_000_000)];

struct Ours(EventQueue<u64>);

impl Hold for Ours {
    #[inline]
    fn push(&mut self, at: u64, id: u64) {
        self.0.push(Nanos(at), id);
    }

    #[inline]
    fn pop(&mut self) -> (u64, u64) {
        let (at, id) = self.0.pop().expect("as many are pushed as popped");
        (at.0, id)
    }
}

fn main() {
    let delays = Delays::new();
    let mut reference = Reference::new(&delays);
    for (events, steps) in SIZES {
        let mut heap = Holding::new(BinaryHeap::<Reverse<(u64, u64)>>::new(), events, &delays);
        let mut ours = Holding::new(Ours(EventQueue::default()), events, &delays);
        let (mut heap_saw, mut ours_saw) = (Vec::new(), Vec::new());
        compare(&format!("EventQueue, {events} events"), "steps/s", &mut reference, || {
            timed(|| {
                ours_saw.push(ours.steps(steps));
                steps as u64
            })
        });
        compare(&format!("BinaryHeap, {events} events"), "steps/s", &mut reference, || {
            timed(|| {
                heap_saw.push(heap.steps(steps));
                steps as u64
            })
        });
        assert_eq!(ours_saw, heap_saw, "both pop the same times in the same order");
    }
}
