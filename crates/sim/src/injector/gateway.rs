//! The gateway's gate: when a request that has left the dispatch thread is let through to the exchange.

use std::collections::BTreeMap;

use numashock_engine::{Nanos, Span};

use super::{Disturbance, Injected};

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
        let mut last = None;
        let pass = |at: &u64| {
            let passed = gate.pass(Nanos(*at), last);
            last = Some(passed);
            passed.0
        };
        requests.iter().map(pass).collect()
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

    /// The gate as literally as possible: each nanosecond, does the first in the queue pass?
    fn naive(list: &[Injected], requests: &[u64]) -> Vec<u64> {
        let mut last: Option<u64> = None;
        let mut out = Vec::new();
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
                if !shut && last.is_none_or(|last| now >= last + wait) {
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
            let seen = passed(&Gate::new(&list), &requests);
            assert_eq!(seen, naive(&list, &requests), "{list:?} {requests:?}");
        }
    }
}
