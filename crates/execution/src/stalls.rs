//! How long the dispatch thread was away from its work, and how often (market: 2, 5).

use numashock_engine::{Nanos, Span};

/// Moments of the stalls of a dispatch thread, as its server saw them: disjoint intervals away from work. What falls into
/// a unit counts as one interval with the unit's own stalls, what meets while the thread polls as one as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallMoments {
    /// Intervals.
    pub count: u64,
    /// The sum of their lengths D.
    pub sum: Span,
    /// The sum of D², in ns².
    pub squares: u128,
    /// The time in which they fell.
    pub time: Span,
}

impl StallMoments {
    fn record(&mut self, length: Span) {
        if length > Span::ZERO {
            self.count += 1;
            self.sum += length;
            self.squares += u128::from(length.0) * u128::from(length.0);
        }
    }
}

/// Joins stalls into intervals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StallMeter {
    from: Nanos,
    moments: StallMoments,
    /// The interval that may still grow: when it began, its length, and when it ends if it fell while polling.
    open: Option<(Nanos, Span, Nanos)>,
}

impl StallMeter {
    /// Counts intervals that begin at `from` or later.
    pub(crate) fn new(from: Nanos) -> StallMeter {
        StallMeter { from, ..StallMeter::default() }
    }

    /// The thread polls and is taken away.
    pub(crate) fn while_polling(&mut self, now: Nanos, span: Span) {
        match &mut self.open {
            Some((_, length, until)) if now <= *until => {
                *length += span;
                *until += span;
            }
            _ => {
                self.close();
                self.open = Some((now, span, now + span));
            }
        }
    }

    /// A unit begins with its own stalls.
    pub(crate) fn unit(&mut self, now: Nanos, span: Span) {
        self.close();
        self.open = Some((now, span, now));
    }

    /// The unit in service is stalled.
    pub(crate) fn within_unit(&mut self, span: Span) {
        let (_, length, _) = self.open.as_mut().expect("a unit is in service");
        *length += span;
    }

    /// The unit has ended.
    pub(crate) fn close(&mut self) {
        if let Some((_, length, _)) = self.open.take().filter(|(began, ..)| *began >= self.from) {
            self.moments.record(length);
        }
    }

    /// What has been seen up to `now`.
    pub(crate) fn moments(mut self, now: Nanos) -> StallMoments {
        self.close();
        StallMoments { time: now.saturating_since(self.from), ..self.moments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_stalls_are_one_interval_and_end_with_it() {
        let mut meter = StallMeter::new(Nanos(10));
        meter.while_polling(Nanos(5), Span(3));
        meter.unit(Nanos(20), Span(4));
        meter.within_unit(Span(6));
        meter.close();
        meter.unit(Nanos(40), Span::ZERO);
        meter.close();
        meter.while_polling(Nanos(50), Span(2));
        let seen = meter.moments(Nanos(60));
        // The first began too early, the unit without stalls is none.
        assert_eq!(seen, StallMoments { count: 2, sum: Span(12), squares: 104, time: Span(50) });
    }

    /// Stalls while polling, nanosecond by nanosecond: one that falls into another waits for it.
    #[test]
    fn intervals_are_those_of_a_drawn_time_line() {
        let mut draws = numashock_engine::Seed(4).stream("stalls", 0);
        for _ in 0..200 {
            let mut stalls: Vec<(u64, u64)> =
                (0..12).map(|_| (draws.below(150), 1 + draws.below(9))).collect();
            stalls.sort_unstable();
            let mut meter = StallMeter::new(Nanos::ZERO);
            let mut away = [false; 400];
            for (at, span) in stalls {
                meter.while_polling(Nanos(at), Span(span));
                let free = (at as usize..).filter(|now| !away[*now]).take(span as usize);
                free.collect::<Vec<_>>().into_iter().for_each(|now| away[now] = true);
            }
            let runs = away.split(|away| !away).map(<[bool]>::len).filter(|length| *length > 0);
            let lengths: Vec<u64> = runs.map(|length| length as u64).collect();
            let seen = meter.moments(Nanos(400));
            assert_eq!(seen.count, lengths.len() as u64);
            assert_eq!(seen.sum.0, lengths.iter().sum::<u64>());
            assert_eq!(seen.squares, lengths.iter().map(|length| u128::from(length * length)).sum());
        }
    }
}
