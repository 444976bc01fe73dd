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
