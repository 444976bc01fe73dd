//! The event queue: earliest time first, ties in order of arrival.

use crate::Nanos;

const ARITY: usize = 4;

/// A queue of events ordered by (time, arrival number).
///
/// A four-ary heap over small keys; the events lie in a slab beside it, so that sifting moves 24 bytes whatever
/// the event's size. There is no removal: an event that no longer applies is recognised when it is popped, by the
/// deadline or generation that its owner holds.
#[derive(Clone, Debug)]
pub struct EventQueue<E> {
    heap: Vec<Key>,
    slab: Vec<Option<E>>,
    free: Vec<u32>,
    arrivals: u64,
    now: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Nanos,
    arrival: u64,
    slot: u32,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue { heap: Vec::new(), slab: Vec::new(), free: Vec::new(), arrivals: 0, now: Nanos::ZERO }
    }
}

impl<E> EventQueue<E> {
    /// Adds an event that is due at `at`.
    ///
    /// # Panics
    /// If `at` lies before the time of the last event popped.
    pub fn push(&mut self, at: Nanos, event: E) {
        assert!(self.now <= at, "an event is never due in the past: {at} at {}", self.now);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slab.push(Some(event));
                u32::try_from(self.slab.len() - 1).expect("fewer than 2^32 events wait at once")
            }
        };
        self.heap.push(Key { at, arrival: self.arrivals, slot });
        self.arrivals += 1;
        self.sift_up(self.heap.len() - 1);
    }

    /// Takes the earliest event; among equals, the one that was pushed first.
    pub fn pop(&mut self) -> Option<(Nanos, E)> {
        let first = *self.heap.first()?;
        let last = self.heap.pop()?;
        if !self.heap.is_empty() {
            self.heap[0] = last;
            self.sift_down();
        }
        self.now = first.at;
        let event = self.slab[first.slot as usize].take().expect("a queued key has its event");
        self.free.push(first.slot);
        Some((first.at, event))
    }

    /// The time of the earliest event, or [`Nanos::NEVER`].
    #[must_use]
    pub fn next_at(&self) -> Nanos {
        self.heap.first().map_or(Nanos::NEVER, |key| key.at)
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn sift_up(&mut self, mut child: usize) {
        let key = self.heap[child];
        while child > 0 {
            let parent = (child - 1) / ARITY;
            if self.heap[parent] < key {
                break;
            }
            self.heap[child] = self.heap[parent];
            child = parent;
        }
        self.heap[child] = key;
    }

    fn sift_down(&mut self) {
        let key = self.heap[0];
        let len = self.heap.len();
        let mut hole = 0;
        loop {
            let first = hole * ARITY + 1;
            if first >= len {
                break;
            }
            let mut least = first;
            for child in first + 1..(first + ARITY).min(len) {
                if self.heap[child] < self.heap[least] {
                    least = child;
                }
            }
            if key < self.heap[least] {
                break;
            }
            self.heap[hole] = self.heap[least];
            hole = least;
        }
        self.heap[hole] = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_times_leave_in_order_of_arrival() {
        let mut queue = EventQueue::default();
        for (at, name) in [(5, "b"), (5, "c"), (1, "a"), (5, "d")] {
            queue.push(Nanos(at), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }

    #[test]
    #[should_panic(expected = "never due in the past")]
    fn the_past_is_refused() {
        let mut queue = EventQueue::default();
        queue.push(Nanos(2), ());
        queue.pop();
        queue.push(Nanos(1), ());
    }

    proptest! {
        /// The naive twin: a vector searched for the least (time, arrival) each time.
        #[test]
        fn agrees_with_a_searched_vector(steps in prop::collection::vec(prop::option::of(0u64..50), 0..300)) {
            let mut queue = EventQueue::default();
            let mut naive: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Some(delay) => {
                        queue.push(Nanos(now + delay), number);
                        naive.push((now + delay, number));
                    }
                    None => {
                        let least = naive.iter().copied().min();
                        naive.retain(|entry| Some(*entry) != least);
                        let popped = queue.pop().map(|(at, number)| (at.0, number));
                        prop_assert_eq!(popped, least);
                        now = least.map_or(now, |(at, _)| at);
                    }
                }
                prop_assert_eq!(queue.len(), naive.len());
            }
        }
    }
}
