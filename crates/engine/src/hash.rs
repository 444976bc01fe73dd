//! The running hash of semantic events, with checkpoints that say where two runs part.

use crate::Nanos;

/// The state of the hash after a number of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Events hashed so far.
    pub events: u64,
    /// Time of the last one.
    pub at: Nanos,
    /// The hash.
    pub hash: u64,
}

/// How many sources the hash can tell apart.
pub const SOURCES: u16 = 64;
/// Kinds from here on are notes: kept beside the semantic events if asked for, and never hashed.
pub const NOTES: u16 = 0x8000;

/// The kind of a record that carries on the note before it: see [`EventHash::note_words`].
pub const NOTE_GOES_ON: u16 = u16::MAX;

/// A semantic event as it was hashed, or a note beside one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When.
    pub at: Nanos,
    /// What kind of event; from [`NOTES`] on, a note.
    pub kind: u16,
    /// Whose: the number of a host or symbol.
    pub source: u16,
    /// What the kind says it is.
    pub payload: [u64; 2],
}

impl Recorded {
    /// Whether it is a note, which no hash knows.
    #[must_use]
    pub fn is_note(&self) -> bool {
        self.kind >= NOTES
    }
}

/// What is kept of the events beside their hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// The semantic events.
    Events,
    /// Notes too.
    EventsAndNotes,
}

/// A running hash over (time, kind, payload) of each semantic event.
///
/// Queue numbers, stale wake-ups and unmarked touches never enter it, so that a faster engine keeps the same hash.
#[derive(Clone, Debug)]
pub struct EventHash {
    state: u64,
    source: u64,
    events: u64,
    at: Nanos,
    interval: u64,
    checkpoints: Vec<Checkpoint>,
    keep: Keep,
    kept: Vec<Recorded>,
}

impl EventHash {
    /// An empty hash that keeps a checkpoint each `interval` events; 0 keeps none.
    #[must_use]
    pub fn new(interval: u64) -> EventHash {
        EventHash {
            state: 0x243F_6A88_85A3_08D3,
            source: 0,
            events: 0,
            at: Nanos::ZERO,
            interval,
            checkpoints: Vec::new(),
            keep: Keep::Nothing,
            kept: Vec::new(),
        }
    }

    /// Keeps what follows, until it is taken by [`take_kept`](Self::take_kept). The hash does not depend on it.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Whether notes are kept: what only a note says need not be computed otherwise.
    #[must_use]
    pub fn keeps_notes(&self) -> bool {
        self.keep == Keep::EventsAndNotes
    }

    /// Adds a note, which does not enter the hash; lost unless notes are kept.
    ///
    /// # Panics
    /// If its kind is one of the semantic events'.
    pub fn note(&mut self, now: Nanos, kind: u16, payload: [u64; 2]) {
        assert!(kind >= NOTES, "kind {kind:#x} is hashed, and no note");
        if self.keeps_notes() {
            self.kept.push(Recorded { at: now, kind, source: (self.source >> 58) as u16, payload });
        }
    }

    /// A note of more than two words: a record of its kind, and as many that [go on](NOTE_GOES_ON) as it takes. An odd number of
    /// words is filled up with 0.
    ///
    /// # Panics
    /// If its kind is one of the semantic events'.
    pub fn note_words(&mut self, now: Nanos, kind: u16, words: &[u64]) {
        let mut kind = kind;
        for pair in words.chunks(2) {
            self.note(now, kind, [pair[0], pair.get(1).copied().unwrap_or(0)]);
            kind = NOTE_GOES_ON;
        }
    }

    /// Moves what was kept since the last call to the end of `into`.
    pub fn take_kept(&mut self, into: &mut Vec<Recorded>) {
        into.append(&mut self.kept);
    }

    /// Says whose events follow: the number of a host or symbol. Those of number 0 leave every word as it is.
    ///
    /// # Panics
    /// If the number does not fit the six bits that times and kinds leave free.
    pub fn set_source(&mut self, source: u16) {
        assert!(source < SOURCES, "source {source} of {SOURCES}");
        self.source = u64::from(source) << 58;
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If `now` lies before the last event.
    pub fn record(&mut self, now: Nanos, kind: u16, payload: [u64; 2]) {
        assert!(self.at <= now, "semantic events come in order of time");
        self.at = now;
        self.events += 1;
        for word in [now.0 ^ (u64::from(kind) << 48) ^ self.source, payload[0], payload[1]] {
            let wide = u128::from(self.state ^ word) * 0xF39C_C060_5CED_C835;
            self.state = (wide as u64) ^ ((wide >> 64) as u64).rotate_left(29) ^ word.rotate_left(17);
        }
        if self.keep != Keep::Nothing {
            self.kept.push(Recorded { at: now, kind, source: (self.source >> 58) as u16, payload });
        }
        if self.interval > 0 && self.events % self.interval == 0 {
            self.checkpoints.push(self.checkpoint());
        }
    }

    /// The state now.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { events: self.events, at: self.at, hash: self.state }
    }

    /// The checkpoints kept so far, oldest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(events: &[(u64, u16, u64)]) -> u64 {
        let mut hash = EventHash::new(0);
        for (at, kind, payload) in events {
            hash.record(Nanos(*at), *kind, [*payload, 0]);
        }
        hash.checkpoint().hash
    }

    #[test]
    fn any_change_of_time_kind_payload_or_order_shows() {
        let whole = hash_of(&[(1, 1, 1), (2, 2, 2), (2, 3, 3)]);
        for changed in [
            &[(1, 1, 1), (2, 2, 2), (3, 3, 3)][..],
            &[(1, 1, 1), (2, 2, 2), (2, 4, 3)],
            &[(1, 1, 1), (2, 2, 2), (2, 3, 4)],
            &[(1, 1, 1), (2, 3, 3), (2, 2, 2)],
            &[(1, 1, 1), (2, 2, 2)],
        ] {
            assert_ne!(hash_of(changed), whole);
        }
    }

    #[test]
    fn the_source_shows_unless_it_is_number_zero() {
        let of = |source| {
            let mut hash = EventHash::new(0);
            hash.set_source(source);
            hash.record(Nanos(1), 1, [1, 0]);
            hash.checkpoint().hash
        };
        assert_eq!(of(0), hash_of(&[(1, 1, 1)]));
        assert!(of(0) != of(1) && of(1) != of(63));
    }

    #[test]
    fn zero_words_still_advance_the_state() {
        assert_ne!(hash_of(&[(0, 0, 0)]), hash_of(&[(0, 0, 0), (0, 0, 0)]));
    }

    #[test]
    fn what_is_kept_beside_the_hash_leaves_it_as_it_is() {
        let run = |keep| {
            let (mut hash, mut kept) = (EventHash::new(0), Vec::new());
            hash.keep(keep);
            hash.set_source(3);
            hash.record(Nanos(1), 7, [1, 2]);
            hash.note(Nanos(1), NOTES, [3, 4]);
            hash.take_kept(&mut kept);
            hash.record(Nanos(2), 8, [5, 6]);
            hash.take_kept(&mut kept);
            (hash.checkpoint(), kept)
        };
        let at = |at, kind, payload| Recorded { at: Nanos(at), kind, source: 3, payload };
        let (event, note, last) = (at(1, 7, [1, 2]), at(1, NOTES, [3, 4]), at(2, 8, [5, 6]));
        let (plain, nothing) = run(Keep::Nothing);
        assert_eq!(nothing, []);
        assert_eq!(run(Keep::Events), (plain, vec![event, last]));
        assert_eq!(run(Keep::EventsAndNotes), (plain, vec![event, note, last]));
        assert!(note.is_note() && !event.is_note());
    }

    #[test]
    fn checkpoints_come_at_the_interval() {
        let mut hash = EventHash::new(2);
        for at in 0..5 {
            hash.record(Nanos(at), 0, [at, 0]);
        }
        let at: Vec<_> = hash.checkpoints().iter().map(|point| (point.events, point.at.0)).collect();
        assert_eq!(at, [(2, 1), (4, 3)]);
    }
}
