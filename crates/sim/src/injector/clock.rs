//! The desk's clock: the clock that stamps execution telemetry, which a clock step moves.

use numashock_engine::{Nanos, Span};

/// Simulation time plus the steps so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeskClock {
    /// From when on which offset holds, in order of time; none before the first.
    steps: Vec<(Nanos, i64)>,
}

impl DeskClock {
    /// The clock jumps, now.
    pub(crate) fn step(&mut self, now: Nanos, by: i64) {
        let before = self.steps.last().map_or(0, |(_, offset)| *offset);
        self.steps.push((now, before.saturating_add(by)));
    }

    /// What it read at `at`; a clock that would have read less than zero read zero.
    pub(crate) fn read(&self, at: Nanos) -> Nanos {
        let steps = self.steps.partition_point(|(from, _)| *from <= at);
        let offset = steps.checked_sub(1).map_or(0, |last| self.steps[last].1);
        Nanos(at.0.saturating_add_signed(offset))
    }

    /// The time from `from` to `to` as it read it; zero where it had been set back between.
    pub(crate) fn between(&self, from: Nanos, to: Nanos) -> Span {
        self.read(to).saturating_since(self.read(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_and_leave_earlier_readings() {
        let mut clock = DeskClock::default();
        assert_eq!(clock.read(Nanos(7)), Nanos(7));
        clock.step(Nanos(10), 100);
        clock.step(Nanos(20), -300);
        assert_eq!([9, 10, 19, 20, 250].map(|at| clock.read(Nanos(at)).0), [9, 110, 119, 0, 50]);
        assert_eq!(clock.between(Nanos(9), Nanos(10)), Span(101));
        assert_eq!(clock.between(Nanos(19), Nanos(20)), Span::ZERO);
    }
}
