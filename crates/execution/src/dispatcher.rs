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

/// When a stall from a source that knows nothing of the thread takes place: see [`Dispatcher::offer_stall`].
///
/// With messages at Poisson rate λ and service S, stalls offered at Poisson rate r and of length D, and a unit's
/// completion time C = S + its stalls (E C = E S (1 + r E D), E C² = E S² (1 + r E D)² + r E S E D²), the mean wait to the
/// begin of service is what stands at each (market: 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StallSemantics {
    /// Only within a unit, and none during a stall: E W = λ E C² / 2 (1 − λ E C).
    ServiceOnly,
    /// Within a unit and while the thread polls, and none during a stall. The product's rule:
    /// E W = λ E C² / 2 (1 − λ E C) + r E D² / 2 (1 + r E D).
    #[default]
    Alternating,
    /// Always: one that comes during a stall follows it. With A = 1 − r E D,
    /// E W = (λ E S² + r E D²) / 2 A (A − λ E S), and from its begin a unit takes E S / A.
    Priority,
}

/// One server over a queue of messages.
///
/// With head-of-line blocking (world D on) a stall delays the unit in service and all behind it, whether it falls
/// within a unit or while the thread polls. Without it (world D off) units are served on the clean clock and only
/// a unit's own stalls delay its own departure.
///
/// The thread is away or it is not: there is one stall at a time, and it always runs to its end before work goes on.
/// [`stall`](Self::stall) takes what has happened on the host, and nothing of it is lost;
/// [`offer_stall`](Self::offer_stall) takes what may happen, and the [`StallSemantics`] decides.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    head_of_line: bool,
    semantics: StallSemantics,
    queue: VecDeque<(Nanos, Message)>,
    clean: Nanos,
    /// The end of the present or last stall; without a unit in service, also of the last unit.
    away_until: Nanos,
    serving: Option<Departure>,
    meter: StallMeter,
}

impl Dispatcher {
    /// An idle server.
    #[must_use]
    pub fn new(head_of_line: bool) -> Dispatcher {
        Dispatcher {
            head_of_line,
            semantics: StallSemantics::default(),
            queue: VecDeque::new(),
            clean: Nanos::ZERO,
            away_until: Nanos::ZERO,
            serving: None,
            meter: StallMeter::default(),
        }
    }

    /// An idle server with head-of-line blocking that takes offered stalls by another rule than the product's.
    #[must_use]
    pub fn with_semantics(semantics: StallSemantics) -> Dispatcher {
        Dispatcher { semantics, ..Dispatcher::new(true) }
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

    /// When the message became ready that waits longest.
    #[must_use]
    pub fn oldest_ready(&self) -> Option<Nanos> {
        self.queue.front().map(|(ready, _)| *ready)
    }

    /// When the server next has something to do: end a unit or begin one. A wake-up at any other time is stale.
    #[must_use]
    pub fn wake_at(&self) -> Nanos {
        match (&self.serving, self.queue.front()) {
            (Some(unit), _) => unit.at,
            (None, Some((ready, _))) if self.head_of_line => self.away_until.max(*ready),
            (None, Some((ready, _))) => self.clean.max(*ready),
            (None, None) => Nanos::NEVER,
        }
    }

    /// Ends the unit in service if it is due.
    pub fn finish(&mut self, now: Nanos) -> Option<Departure> {
        let unit = self.serving.filter(|unit| unit.at <= now)?;
        self.serving = None;
        self.meter.close();
        self.away_until = self.away_until.max(unit.at);
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
            self.away_until = self.away_until.max(now) + stalls;
            self.serving = Some(unit);
        }
        unit
    }

    /// The thread is taken away from its work for `span` from now on: a fault, a copy, a pass, an interrupt.
    ///
    /// What the host asks for during a stall is part of the same stall, which lasts that much longer: an interrupt during
    /// a copy costs its own time, but the thread is away once. No nanosecond of the host is dropped.
    pub fn stall(&mut self, now: Nanos, span: Span) {
        if !self.head_of_line {
            return;
        }
        match &mut self.serving {
            Some(unit) => {
                unit.at += span;
                self.meter.within_unit(span);
            }
            None => self.meter.while_polling(now, span),
        }
        self.away_until = self.away_until.max(now) + span;
    }

    /// A stall of `span` from a source that does not know whether the thread works, polls or is away, such as a Poisson
    /// process; tells whether it takes place under the server's [`StallSemantics`].
    pub fn offer_stall(&mut self, now: Nanos, span: Span) -> bool {
        let happens = match self.semantics {
            StallSemantics::ServiceOnly => self.serving.is_some() && !self.is_away(now),
            StallSemantics::Alternating => !self.is_away(now),
            StallSemantics::Priority => true,
        };
        if happens {
            self.stall(now, span);
        }
        happens
    }

    /// Whether the thread is in a stall. The stalls that a unit was served with stand at its begin.
    fn is_away(&self, now: Nanos) -> bool {
        now < self.away_until
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

    /// What a test does to a server: messages with base service and own stalls, stalls of the host, stalls offered.
    struct Load {
        messages: Vec<(u64, u64, u64)>,
        host: Vec<(u64, u64)>,
        offered: Vec<(u64, u64)>,
    }

    impl Load {
        fn random(entity: u64) -> Load {
            let mut stream = numashock_engine::Seed(4).stream("dispatcher", entity);
            let mut at = [0; 3];
            let mut next = |stream: &mut numashock_engine::Stream, which: usize, gap: u64, length: u64| {
                at[which] += 1 + stream.below(gap);
                (at[which], 1 + stream.below(length))
            };
            let messages = (0..40).map(|_| {
                let (ready, base) = next(&mut stream, 0, 30, 12);
                (ready, base, stream.below(4).saturating_sub(1))
            });
            let messages = messages.collect();
            let host = (0..10).map(|_| next(&mut stream, 1, 120, 25)).collect();
            let offered = (0..25).map(|_| next(&mut stream, 2, 50, 30)).collect();
            Load { messages, host, offered }
        }
    }

    /// Departures, and which offered stalls took place.
    type Outcome = (Vec<u64>, Vec<bool>);

    fn served(semantics: StallSemantics, load: &Load) -> Outcome {
        let mut server = Dispatcher::with_semantics(semantics);
        let (mut departures, mut happened, mut next) = (Vec::new(), Vec::new(), 0);
        for now in (0..4_000).map(Nanos) {
            departures.extend(server.finish(now).map(|unit| unit.at.0));
            let due = |list: &[(u64, u64)]| -> Vec<Span> {
                list.iter().filter(|(at, _)| *at == now.0).map(|(_, span)| Span(*span)).collect()
            };
            load.messages
                .iter()
                .filter(|(ready, ..)| *ready == now.0)
                .for_each(|_| server.enqueue(now, MESSAGE));
            due(&load.host).into_iter().for_each(|span| server.stall(now, span));
            happened.extend(due(&load.offered).into_iter().map(|span| server.offer_stall(now, span)));
            if let Some((ready, _)) = server.begin(now) {
                let (_, base, own) = load.messages[next];
                next += 1;
                server.serve(now, ready, Span(base), Span(own));
            }
        }
        (departures, happened)
    }

    /// The naive twin lives through every nanosecond and knows what is left, not when anything ends.
    fn lived(semantics: StallSemantics, load: &Load) -> Outcome {
        let (mut departures, mut happened) = (Vec::new(), Vec::new());
        let (mut waiting, mut next, mut work, mut away) = (0, 0, None, 0);
        for now in 0..4_000 {
            if away == 0 && work == Some(0) {
                departures.push(now);
                work = None;
            }
            waiting += load.messages.iter().filter(|(ready, ..)| *ready == now).count();
            away += load.host.iter().filter(|(at, _)| *at == now).map(|(_, span)| span).sum::<u64>();
            for (_, span) in load.offered.iter().filter(|(at, _)| *at == now) {
                let takes_place = match semantics {
                    StallSemantics::ServiceOnly => away == 0 && work.is_some(),
                    StallSemantics::Alternating => away == 0,
                    StallSemantics::Priority => true,
                };
                happened.push(takes_place);
                away += if takes_place { *span } else { 0 };
            }
            if work.is_none() && away == 0 && waiting > 0 {
                let (_, base, own) = load.messages[next];
                (waiting, next, work, away) = (waiting - 1, next + 1, Some(base), own);
            }
            if away > 0 {
                away -= 1;
            } else if let Some(left) = &mut work {
                *left -= 1;
            }
        }
        (departures, happened)
    }

    #[test]
    fn every_semantics_agrees_with_a_server_that_lives_through_every_nanosecond() {
        use StallSemantics::{Alternating, Priority, ServiceOnly};
        let mut refused = [0; 3];
        for entity in 0..60 {
            let load = Load::random(entity);
            for (semantics, refused) in [ServiceOnly, Alternating, Priority].into_iter().zip(&mut refused) {
                let outcome = served(semantics, &load);
                assert_eq!(outcome, lived(semantics, &load), "{semantics:?} {entity}");
                assert_eq!(outcome.0.len(), load.messages.len(), "all messages are served");
                *refused += outcome.1.iter().filter(|happened| !**happened).count();
            }
        }
        assert!(refused[0] > refused[1] && refused[1] > 0 && refused[2] == 0, "{refused:?}");
    }

    #[test]
    fn what_the_host_asks_for_during_a_stall_lengthens_it_and_what_is_offered_does_not_happen() {
        let mut server = Dispatcher::new(true);
        server.stall(Nanos(100), Span(50));
        assert!(!server.offer_stall(Nanos(120), Span(1_000)));
        server.stall(Nanos(130), Span(7));
        server.enqueue(Nanos(140), MESSAGE);
        assert_eq!(server.wake_at(), Nanos(157));
        assert!(!server.offer_stall(Nanos(156), Span(1)));
        assert!(server.offer_stall(Nanos(157), Span(3)));
        assert_eq!(server.wake_at(), Nanos(160));
    }
}
