//! The gateway's gate: when a request that has left the dispatch thread is let through to the exchange.

use std::collections::{BTreeMap, VecDeque};

use numashock_engine::{Nanos, Span};

use super::{Disturbance, Injected};
use crate::scenario::config::RateLimit;

/// Nothing passes.
const SHUT: Span = Span(u64::MAX);

/// The least distance of requests over time, known before the run: zero where the gate is open, endless where it is shut.
///
/// Both clocks of a request (attribution: A6, A7) pass the same gate, so waiting here is never lateness.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// From when on which spacing holds, in order of time; open before the first.
    steps: Vec<(Nanos, Span)>,
}

impl Gate {
    /// Of overlapping disturbances the narrowest counts.
    pub(crate) fn new<'a>(injected: impl IntoIterator<Item = &'a Injected>) -> Gate {
        let mut changes: Vec<(Nanos, Span, bool)> = Vec::new();
        for one in injected {
            let spacing = match one.disturbance {
                Disturbance::GatewayDisconnect {} => SHUT,
                Disturbance::GatewayThrottle { spacing_ns } => Span(spacing_ns),
                _ => continue,
            };
            let until = one.until().expect("a gateway's disturbance has a length");
            changes.extend([(one.at, spacing, true), (until, spacing, false)]);
        }
        changes.sort_by_key(|(at, ..)| *at);
        let mut active: BTreeMap<Span, u32> = BTreeMap::new();
        let mut steps: Vec<(Nanos, Span)> = Vec::new();
        for (at, spacing, begins) in changes {
            if begins {
                *active.entry(spacing).or_default() += 1;
            } else if let Some(count) = active.get_mut(&spacing) {
                *count -= 1;
                if *count == 0 {
                    active.remove(&spacing);
                }
            }
            let now = active.last_key_value().map_or(Span::ZERO, |(spacing, _)| *spacing);
            match steps.last_mut().filter(|(last, _)| *last == at) {
                Some(step) => step.1 = now,
                None => steps.push((at, now)),
            }
        }
        Gate { steps }
    }

    /// When a request that comes at `at` passes, if the one before it passed at `last`.
    ///
    /// It rises with both arguments: who comes later does not pass earlier.
    pub(crate) fn pass(&self, at: Nanos, last: Option<Nanos>) -> Nanos {
        let mut at = at;
        let mut step = self.steps.partition_point(|(from, _)| *from <= at);
        loop {
            let Some((_, spacing)) = step.checked_sub(1).map(|before| self.steps[before]) else { return at };
            let until = self.steps.get(step).map_or(Nanos::NEVER, |(from, _)| *from);
            let allowed = match (spacing, last) {
                (SHUT, _) => until,
                (spacing, Some(last)) if spacing > Span::ZERO => at.max(last + spacing),
                _ => at,
            };
            if allowed < until {
                return allowed;
            }
            at = until;
            step += 1;
        }
    }

    /// When the session is up for what comes at `at`.
    pub(crate) fn up_at(&self, at: Nanos) -> Nanos {
        let from = self.steps.partition_point(|(from, _)| *from <= at);
        match from.checked_sub(1).map(|before| self.steps[before].1) {
            Some(SHUT) => {
                let later = self.steps[from..].iter().find(|(_, spacing)| *spacing != SHUT);
                later.expect("every outage ends").0
            }
            _ => at,
        }
    }
}

/// The requests of one clock before the gate, which let it through one after the other.
///
/// Both clocks have a line of their own under the same rules, and the k-th request of the real one comes no earlier than
/// the k-th of the clean one: what a request waits here on both is no lateness.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    limit: Option<RateLimit>,
    /// When the last requests passed, as many as the limit looks back on.
    passed: VecDeque<Nanos>,
}

impl Line {
    pub(crate) fn new(limit: Option<RateLimit>) -> Line {
        Line { limit, passed: VecDeque::new() }
    }

    /// When a request that comes at `at` passes. Requests come in order of time.
    ///
    /// With a limit of n the n-th request before it must have passed a whole window earlier. It rises with `at` and with
    /// all earlier times of passing: who comes later does not pass earlier.
    pub(crate) fn pass(&mut self, gate: &Gate, at: Nanos) -> Nanos {
        let kept = self.limit.map_or(1, |limit| limit.requests as usize);
        let mut from = at;
        if let Some(limit) = self.limit.filter(|_| self.passed.len() == kept) {
            from = from.max(self.passed[0] + limit.per);
        }
        let passed = gate.pass(from, self.passed.back().copied());
        if self.passed.len() == kept {
            self.passed.pop_front();
        }
        self.passed.push_back(passed);
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected(at: u64, length: u64, spacing: Option<u64>) -> Injected {
        Injected {
            at: Nanos(at),
            name: String::new(),
            length: Some(Span(length)),
            disturbance: match spacing {
                Some(spacing_ns) => Disturbance::GatewayThrottle { spacing_ns },
                None => Disturbance::GatewayDisconnect {},
            },
            host: crate::scenario::config::HostId(0),
        }
    }

    /// Requests one after the other.
    fn passed(gate: &Gate, requests: &[u64]) -> Vec<u64> {
        limited(gate, None, requests)
    }

    fn limited(gate: &Gate, limit: Option<RateLimit>, requests: &[u64]) -> Vec<u64> {
        let mut line = Line::new(limit);
        requests.iter().map(|at| line.pass(gate, Nanos(*at)).0).collect()
    }

    fn at_most(requests: u32, per: u64) -> Option<RateLimit> {
        Some(RateLimit { requests, per: Span(per) })
    }

    #[test]
    fn requests_wait_for_the_session_and_then_leave_back_to_back() {
        let gate = Gate::new(&[injected(10, 20, None)]);
        assert_eq!(passed(&gate, &[9, 10, 15, 29, 30, 31]), [9, 30, 30, 30, 30, 31]);
        assert_eq!([9, 10, 29, 30].map(|at| gate.up_at(Nanos(at)).0), [9, 30, 30, 30]);
        assert_eq!(passed(&Gate::new(&[]), &[1, 2, 2]), [1, 2, 2]);
    }

    #[test]
    fn a_throttle_keeps_a_distance_until_it_ends() {
        let gate = Gate::new(&[injected(10, 30, Some(10))]);
        assert_eq!(passed(&gate, &[9, 11, 12, 13, 14, 50, 50]), [9, 19, 29, 39, 40, 50, 50]);
    }

    #[test]
    fn the_narrowest_of_overlapping_disturbances_counts() {
        let gate =
            Gate::new(&[injected(0, 100, Some(5)), injected(20, 20, None), injected(30, 50, Some(20))]);
        assert_eq!(passed(&gate, &[10, 11, 25, 41, 41, 90]), [10, 15, 40, 60, 80, 90]);
        assert_eq!(gate.up_at(Nanos(35)), Nanos(40));
    }

    #[test]
    fn a_limit_lets_so_many_through_in_any_window() {
        let open = Gate::new(&[]);
        assert_eq!(limited(&open, at_most(2, 10), &[0, 1, 2, 3, 4, 30]), [0, 1, 10, 11, 20, 30]);
        assert_eq!(limited(&open, at_most(1, 10), &[5, 5, 40]), [5, 15, 40]);
        // What the outage held leaves at its end, as far as the limit lets it.
        let gate = Gate::new(&[injected(10, 20, None)]);
        assert_eq!(limited(&gate, at_most(2, 10), &[9, 10, 11, 12]), [9, 30, 30, 40]);
    }

    /// A request that comes later, with all others as they are, makes no request pass earlier.
    #[test]
    fn who_comes_later_does_not_pass_earlier() {
        let mut stream = numashock_engine::Seed(7).stream("gate", 0);
        for _ in 0..300 {
            let gate = Gate::new(&[injected(stream.below(40), 1 + stream.below(20), None)]);
            let limit = at_most(1 + stream.below(4) as u32, 1 + stream.below(30));
            let mut early: Vec<u64> = (0..12).map(|_| stream.below(80)).collect();
            let mut late: Vec<u64> = early.iter().map(|at| at + stream.below(3) * stream.below(20)).collect();
            early.sort_unstable();
            late.sort_unstable();
            let [early, late] = [early, late].map(|requests| limited(&gate, limit, &requests));
            assert!(early.iter().zip(&late).all(|(early, late)| early <= late), "{early:?} {late:?}");
        }
    }

    /// The gate as literally as possible: each nanosecond, does the first in the queue pass?
    fn naive(list: &[Injected], limit: Option<RateLimit>, requests: &[u64]) -> Vec<u64> {
        let mut last: Option<u64> = None;
        let mut out: Vec<u64> = Vec::new();
        for request in requests {
            let mut now = *request;
            loop {
                let active = list.iter().filter(|one| one.at.0 <= now && now < one.until().unwrap().0);
                let spacings: Vec<Option<u64>> = active
                    .map(|one| match one.disturbance {
                        Disturbance::GatewayThrottle { spacing_ns } => Some(spacing_ns),
                        _ => None,
                    })
                    .collect();
                let shut = spacings.contains(&None);
                let wait = spacings.iter().flatten().max().copied().unwrap_or(0);
                let free = limit.is_none_or(|limit| {
                    let begins = (now + 1).saturating_sub(limit.per.0);
                    out.iter().filter(|passed| **passed >= begins).count() < limit.requests as usize
                });
                if free && !shut && last.is_none_or(|last| now >= last + wait) {
                    break;
                }
                now += 1;
            }
            last = Some(now);
            out.push(now);
        }
        out
    }

    #[test]
    fn it_agrees_with_the_naive_gate() {
        let mut stream = numashock_engine::Seed(5).stream("gate", 0);
        for _ in 0..300 {
            let mut list: Vec<Injected> = (0..stream.below(5))
                .map(|_| {
                    let spacing = stream.below(4);
                    injected(stream.below(60), 1 + stream.below(40), (spacing > 0).then_some(spacing * 4))
                })
                .collect();
            list.sort_by_key(|one| one.at);
            let mut requests: Vec<u64> = (0..12).map(|_| stream.below(120)).collect();
            requests.sort_unstable();
            let limit = at_most(1 + stream.below(4) as u32, 1 + stream.below(30));
            let limit = limit.filter(|_| stream.below(3) > 0);
            let seen = limited(&Gate::new(&list), limit, &requests);
            assert_eq!(seen, naive(&list, limit, &requests), "{list:?} {limit:?} {requests:?}");
        }
    }
}
