//! The dispatch thread as a server: first in, first out, with the two clocks of attribution A6.

use std::collections::VecDeque;

use numashock_engine::{Nanos, Span};

use crate::Message;
use crate::stalls::{StallMeter, StallMoments};

/// The end of a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// When the message became ready.
    pub ready: Nanos,
    /// When the unit would have ended had nothing ever stalled (attribution: A6, cₖ).
    pub clean: Nanos,
    /// When it ends.
    pub at: Nanos,
}

/// One server over a queue of messages.
///
/// With head-of-line blocking (world D on) a stall delays the unit in service and all behind it, whether it falls
/// within a unit or while the thread polls. Without it (world D off) units are served on the clean clock and only
/// a unit's own stalls delay its own departure.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    head_of_line: bool,
    queue: VecDeque<(Nanos, Message)>,
    clean: Nanos,
    blocked_until: Nanos,
    serving: Option<Departure>,
    meter: StallMeter,
}

impl Dispatcher {
    /// An idle server.
    #[must_use]
    pub fn new(head_of_line: bool) -> Dispatcher {
        Dispatcher {
            head_of_line,
            queue: VecDeque::new(),
            clean: Nanos::ZERO,
            blocked_until: Nanos::ZERO,
            serving: None,
            meter: StallMeter::default(),
        }
    }

    /// Counts stalls from `from` on only.
    #[must_use]
    pub fn measuring_from(mut self, from: Nanos) -> Dispatcher {
        self.meter = StallMeter::new(from);
        self
    }

    /// The stalls up to `now`; an interval that lasts beyond it counts whole.
    #[must_use]
    pub fn stalls(&self, now: Nanos) -> StallMoments {
        self.meter.moments(now)
    }

    /// Whether stalls delay what stands behind them.
    #[must_use]
    pub fn head_of_line(&self) -> bool {
        self.head_of_line
    }

    /// Adds a message that is ready now.
    pub fn enqueue(&mut self, now: Nanos, message: Message) {
        self.queue.push_back((now, message));
    }

    /// When the server next has something to do: end a unit or begin one. A wake-up at any other time is stale.
    #[must_use]
    pub fn wake_at(&self) -> Nanos {
        match (&self.serving, self.queue.front()) {
            (Some(unit), _) => unit.at,
            (None, Some((ready, _))) if self.head_of_line => self.blocked_until.max(*ready),
            (None, Some((ready, _))) => self.clean.max(*ready),
            (None, None) => Nanos::NEVER,
        }
    }

    /// Ends the unit in service if it is due.
    pub fn finish(&mut self, now: Nanos) -> Option<Departure> {
        let unit = self.serving.filter(|unit| unit.at <= now)?;
        self.serving = None;
        self.meter.close();
        self.blocked_until = self.blocked_until.max(unit.at);
        Some(unit)
    }

    /// Takes the next message if the server is free for it.
    pub fn begin(&mut self, now: Nanos) -> Option<(Nanos, Message)> {
        if self.serving.is_some() || self.queue.is_empty() || now < self.wake_at() {
            return None;
        }
        self.queue.pop_front()
    }

    /// Serves a message that [`begin`](Self::begin) gave: its base service and the stalls that are charged to it.
    ///
    /// With head-of-line blocking the unit stays in service until [`finish`](Self::finish); without it, it is
    /// over for the server at once and departs at the returned time.
    ///
    /// # Panics
    /// If a unit is in service.
    pub fn serve(&mut self, now: Nanos, ready: Nanos, base: Span, stalls: Span) -> Departure {
        assert!(self.serving.is_none(), "one unit at a time");
        self.clean = self.clean.max(ready) + base;
        let at = if self.head_of_line { now + base + stalls } else { self.clean + stalls };
        let unit = Departure { ready, clean: self.clean, at };
        self.meter.unit(now, stalls);
        if self.head_of_line {
            assert!(self.clean <= at, "stalls never make a unit early");
            self.serving = Some(unit);
        }
        unit
    }

    /// The thread is taken away from its work for `span` from now on.
    ///
    /// A stall that falls into another one waits for it: none starts during a stall.
    pub fn stall(&mut self, now: Nanos, span: Span) {
        if !self.head_of_line {
            return;
        }
        match &mut self.serving {
            Some(unit) => {
                unit.at += span;
                self.meter.within_unit(span);
            }
            None => {
                self.blocked_until = self.blocked_until.max(now) + span;
                self.meter.while_polling(now, span);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParentId;

    const MESSAGE: Message = Message::CatchUp { parent: ParentId(0) };

    /// Serves messages ready at `ready` with 10 ns base each; a stall of 100 ns falls at `stall_at`; unit `own`
    /// carries 7 ns of its own.
    fn departures(head_of_line: bool, ready: &[u64], stall_at: Option<u64>, own: usize) -> Vec<(u64, u64)> {
        let mut server = Dispatcher::new(head_of_line);
        let (mut out, mut served, mut stalled) = (Vec::new(), 0, false);
        for now in 0..2_000 {
            let now = Nanos(now);
            if ready.contains(&now.0) {
                server.enqueue(now, MESSAGE);
            }
            if stall_at == Some(now.0) && !stalled {
                server.stall(now, Span(100));
                stalled = true;
            }
            if let Some(unit) = server.finish(now) {
                out.push((unit.clean.0, unit.at.0));
            }
            while let Some((ready, _)) = server.begin(now) {
                let unit = server.serve(now, ready, Span(10), Span(if served == own { 7 } else { 0 }));
                served += 1;
                if !head_of_line {
                    out.push((unit.clean.0, unit.at.0));
                }
            }
        }
        out
    }

    #[test]
    fn without_stalls_both_clocks_agree() {
        for head_of_line in [true, false] {
            let units = departures(head_of_line, &[5, 6, 100], None, usize::MAX);
            assert_eq!(units, [(15, 15), (25, 25), (110, 110)]);
        }
    }

    #[test]
    fn with_head_of_line_blocking_everything_behind_a_stall_waits() {
        assert_eq!(departures(true, &[5, 6, 300], Some(8), usize::MAX), [(15, 115), (25, 125), (310, 310)]);
        // A stall while the thread polls delays what becomes ready during it.
        assert_eq!(departures(true, &[50], Some(8), usize::MAX), [(60, 118)]);
        // A unit's own stall delays the next one too.
        assert_eq!(departures(true, &[5, 6], None, 0), [(15, 22), (25, 32)]);
    }

    #[test]
    fn without_it_only_a_units_own_stalls_count() {
        assert_eq!(departures(false, &[5, 6, 300], Some(8), 0), [(15, 22), (25, 25), (310, 310)]);
    }
}
