//! An interrupt storm: interrupts of one length at a fixed rate on one CPU.

use numashock_engine::{Nanos, Span};

/// Interrupt k keeps the CPU busy from `from + k × period` for `busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Storm {
    from: Nanos,
    count: u64,
    period: u64,
    busy: u64,
}

impl Storm {
    /// As many interrupts as begin within `length`.
    pub(crate) fn new(from: Nanos, length: Span, period: Span, busy: Span) -> Storm {
        assert!(busy < period, "an interrupt ends before the next");
        Storm { from, count: length.0.div_ceil(period.0), period: period.0, busy: busy.0 }
    }

    /// From `now` to the end of work that is interrupted and goes on afterwards.
    pub(crate) fn length_of(&self, now: Nanos, work: Span) -> Span {
        if work == Span::ZERO {
            return work;
        }
        let since = (now - self.from).0;
        let free = self.period - self.busy;
        // What the CPU had left for others by now, and when it will have had so much and the work.
        let (whole, part) = (since / self.period, since % self.period);
        let had = if whole < self.count {
            whole * free + part.saturating_sub(self.busy)
        } else {
            since - self.count * self.busy
        };
        let target = had + work.0;
        let interrupts = ((target - 1) / free + 1).min(self.count);
        Span(target + interrupts * self.busy - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nanosecond by nanosecond.
    fn naive(from: u64, length: u64, period: u64, busy: u64, now: u64, work: u64) -> u64 {
        let (mut at, mut left) = (now, work);
        while left > 0 {
            let (which, part) = ((at - from) / period, (at - from) % period);
            let taken = which * period < length && part < busy;
            left -= u64::from(!taken);
            at += 1;
        }
        at - now
    }

    #[test]
    fn work_waits_for_each_interrupt() {
        for (length, period, busy) in [(100, 10, 3), (95, 10, 9), (1, 10, 1), (40, 7, 6)] {
            let storm = Storm::new(Nanos(50), Span(length), Span(period), Span(busy));
            for now in 50..220 {
                for work in [0, 1, 2, 6, 7, 8, 30, 200] {
                    let expected = naive(50, length, period, busy, now, work);
                    assert_eq!(
                        storm.length_of(Nanos(now), Span(work)),
                        Span(expected),
                        "{storm:?} {now} {work}"
                    );
                }
            }
        }
    }
}
