//! Phases of a session: all intensities of a flow rise and fall together.
//!
//! Scaling every intensity by the same factor is an exact change of time: the flow lives in operational time, which
//! passes faster or slower than the run's. One integer map, monotone and the same for all worlds, goes both ways.

use numashock_engine::{Nanos, Span};

use super::FlowError;

/// A part of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What it is called in results.
    pub name: String,
    /// How long it lasts; the last phase lasts for ever.
    pub length: Span,
    /// All intensities are multiplied by this, in parts per million.
    pub intensity_ppm: u32,
}

/// The phases of a session in their order, from time zero on; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases {
    phases: Vec<Phase>,
}

const ONE: u32 = 1_000_000;

impl Default for Phases {
    /// One phase without end, called continuous, that changes nothing.
    fn default() -> Phases {
        Phases {
            phases: vec![Phase { name: "continuous".to_owned(), length: Span::ZERO, intensity_ppm: ONE }],
        }
    }
}

impl Phases {
    /// These phases, one after another.
    ///
    /// # Errors
    /// If there is none, if one that is not the last has no length, or if nothing ever happens in any.
    pub fn new(phases: Vec<Phase>) -> Result<Phases, FlowError> {
        let Some((_, before)) = phases.split_last() else { return Err(FlowError::NoPhase) };
        if before.iter().any(|phase| phase.length == Span::ZERO) {
            return Err(FlowError::EmptyPhase);
        }
        if phases.iter().all(|phase| phase.intensity_ppm == 0) {
            return Err(FlowError::Silent);
        }
        Ok(Phases { phases })
    }

    /// The place of the phase that holds at `now`, counted from zero. A phase begins with its first nanosecond.
    #[must_use]
    pub fn at(&self, now: Nanos) -> usize {
        let mut end = 0u64;
        let before = self.phases.iter().take(self.phases.len() - 1);
        before
            .take_while(|phase| {
                end = end.saturating_add(phase.length.0);
                end <= now.0
            })
            .count()
    }

    /// The phases in their order.
    #[must_use]
    pub fn list(&self) -> &[Phase] {
        &self.phases
    }

    /// Whether no phase changes an intensity: then they only give names to times.
    #[must_use]
    pub fn are_even(&self) -> bool {
        self.phases.iter().all(|phase| phase.intensity_ppm == ONE)
    }
}

/// The map between operational time and the run's. In the run's time an event falls on the first nanosecond at which
/// operational time has reached it, so what is in order stays in order, and an event is due by `t` exactly if it is due
/// by `t`'s operational time.
#[derive(Clone, Debug)]
pub(super) struct TimeChange {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Its beginning in the run's time.
    run: u64,
    /// Its beginning in operational time.
    operational: u64,
    ppm: u64,
}

impl Piece {
    fn operational_at(&self, run: u64) -> u64 {
        let passed = u128::from(run - self.run) * u128::from(self.ppm) / u128::from(ONE);
        u64::try_from(u128::from(self.operational) + passed).unwrap_or(u64::MAX)
    }
}

impl TimeChange {
    pub(super) fn new(phases: &Phases) -> TimeChange {
        let mut pieces: Vec<Piece> = Vec::with_capacity(phases.phases.len());
        let mut run = 0u64;
        for phase in &phases.phases {
            let operational = pieces.last().map_or(0, |last| last.operational_at(run));
            pieces.push(Piece { run, operational, ppm: u64::from(phase.intensity_ppm) });
            run = run.saturating_add(phase.length.0);
        }
        TimeChange { pieces }
    }

    /// The operational time at a time of the run.
    pub(super) fn to_operational(&self, run: Nanos) -> Nanos {
        let after = self.pieces.partition_point(|piece| piece.run <= run.0);
        Nanos(self.pieces[after - 1].operational_at(run.0))
    }

    /// The first time of the run whose operational time is not before `operational`.
    pub(super) fn to_run(&self, operational: Nanos) -> Nanos {
        if operational == Nanos::NEVER {
            return Nanos::NEVER;
        }
        let after = self.pieces.partition_point(|piece| piece.operational < operational.0);
        let Some(piece) = self.pieces[..after].last() else { return Nanos::ZERO };
        if piece.ppm == 0 {
            return Nanos::NEVER;
        }
        let left = u128::from(operational.0 - piece.operational) * u128::from(ONE);
        let run = u128::from(piece.run) + left.div_ceil(u128::from(piece.ppm));
        u64::try_from(run).map_or(Nanos::NEVER, Nanos)
    }

    /// The end in operational time of what happens before `until`.
    pub(super) fn end(&self, until: Nanos) -> Nanos {
        match until.0 {
            0 => Nanos::ZERO,
            u64::MAX => Nanos::NEVER,
            end => Nanos(self.to_operational(Nanos(end - 1)).0.saturating_add(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn phases(list: &[(u64, u32)]) -> Phases {
        let phase = |(length, ppm): &(u64, u32)| Phase {
            name: String::new(),
            length: Span(*length),
            intensity_ppm: *ppm,
        };
        Phases { phases: list.iter().map(phase).collect() }
    }

    proptest! {
        /// The naive twin adds up nanosecond by nanosecond and searches.
        #[test]
        fn the_map_agrees_with_a_sum_over_nanoseconds(
            list in prop::collection::vec((1u64..40, prop::sample::select(vec![0, 1, 333_333, 500_000, ONE, 2_500_000])), 1..5),
            at in 0u64..150,
        ) {
            let change = TimeChange::new(&phases(&list));
            let mut sums = vec![0u64];
            let mut base = 0u64;
            for (index, (length, ppm)) in list.iter().enumerate() {
                let length = if index + 1 == list.len() { 10_000 } else { *length };
                for passed in 1..=length {
                    sums.push(base + passed * u64::from(*ppm) / u64::from(ONE));
                }
                base = *sums.last().unwrap();
            }
            prop_assert_eq!(change.to_operational(Nanos(at)), Nanos(sums[at as usize]));
            let first = sums.iter().position(|sum| *sum >= at);
            let found = change.to_run(Nanos(at));
            match first {
                Some(first) => prop_assert_eq!(found, Nanos(first as u64)),
                None => prop_assert!(found.0 >= sums.len() as u64),
            }
            // Due in the run's time by `t` exactly if due in operational time by its image.
            for run in 0..150u64 {
                prop_assert_eq!(found.0 <= run, at <= change.to_operational(Nanos(run)).0);
                prop_assert_eq!(at < change.end(Nanos(run)).0, found.0 < run);
            }
        }
    }

    #[test]
    fn one_even_phase_is_the_identity() {
        let change = TimeChange::new(&Phases::default());
        for at in [0, 1, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(change.to_operational(Nanos(at)), Nanos(at));
            assert_eq!(change.to_run(Nanos(at)), Nanos(at));
            assert_eq!(change.end(Nanos(at)), Nanos(at));
        }
    }

    #[test]
    fn a_phase_begins_with_its_first_nanosecond_and_the_last_one_never_ends() {
        let phases = phases(&[(10, ONE), (5, ONE), (1, ONE)]);
        let found = [0, 9, 10, 14, 15, 16, u64::MAX].map(|at| phases.at(Nanos(at)));
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(Phases::default().at(Nanos(7)), 0);
    }

    #[test]
    fn phases_that_make_no_sense_are_refused() {
        let phase =
            |length, intensity_ppm| Phase { name: String::new(), length: Span(length), intensity_ppm };
        assert_eq!(Phases::new(Vec::new()), Err(FlowError::NoPhase));
        assert_eq!(Phases::new(vec![phase(0, ONE), phase(1, ONE)]), Err(FlowError::EmptyPhase));
        assert_eq!(Phases::new(vec![phase(1, 0), phase(0, 0)]), Err(FlowError::Silent));
        assert!(Phases::new(vec![phase(1, 0), phase(0, ONE)]).is_ok_and(|phases| !phases.are_even()));
    }
}
