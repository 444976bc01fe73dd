//! A run against its trace: every stored event, decision and state of the hash, up to the first that is another one.
//!
//! ```text
//!   trace: events, decisions, states of the hash ─┐
//!                                                 ├─► the same, one by one ─► Checked, with the first Mismatch
//!   follow(): the run again, from nought ─────────┘
//! ```
//!
//! Invariant: a trace that was cut is held against the run as far as it goes, and no further.

use std::collections::VecDeque;

use numashock_engine::{Checkpoint, Nanos, Recorded};
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::{Steering, SteeringError};
use numashock_trace::{Decided, End, Header, TraceError};

use crate::tape::{self, Piece, Stopped};

/// Items of a trace, read as they are asked for.
pub type Items<'a, T> = Box<dyn Iterator<Item = Result<T, TraceError>> + 'a>;

/// What a trace holds, from a time on.
pub struct Stored<'a> {
    /// Its events.
    pub events: Items<'a, Recorded>,
    /// What the controllers saw and decided.
    pub decided: Items<'a, Decided>,
    /// States of the hash.
    pub checkpoints: Items<'a, Checkpoint>,
    /// How the run ended; `None` if the trace was cut before.
    pub end: Option<End>,
}

/// What is compared: times from `from`, before `until`. The stored items begin at `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first time.
    pub from: Nanos,
    /// The time at which it ends.
    pub until: Nanos,
}

impl Window {
    /// All of a run.
    pub const WHOLE: Window = Window { from: Nanos::ZERO, until: Nanos(u64::MAX) };
}

/// What was found the same, and the first thing that was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Stored events that came again.
    pub events: u64,
    /// Decisions that came again.
    pub decisions: u64,
    /// States of the hash that came again.
    pub checkpoints: u64,
    /// Time of the last of these.
    pub reached: Nanos,
    /// Whether the end of the run was compared, too.
    pub ended: bool,
    /// The first difference.
    pub mismatch: Option<Mismatch>,
}

/// Where a run and its trace part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The last events that were the same, oldest first.
    pub before: Vec<Recorded>,
    /// What the trace has; `None`: nothing more.
    pub stored: Option<Piece>,
    /// What the run has.
    pub now: Option<Piece>,
    /// The ends of the trace and of the run, if all else is the same.
    pub ends: Option<[End; 2]>,
    /// Events that follow in the trace.
    pub stored_after: Vec<Recorded>,
    /// Events that follow in the run.
    pub now_after: Vec<Recorded>,
}

/// Why a run could not be held against its trace.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A part of the trace cannot be read.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// No decision could be had.
    #[error("{0}")]
    Steering(#[from] SteeringError),
}

/// Runs what a header says again, from nought, and compares.
///
/// # Errors
/// If the trace cannot be read, or no decision can be had.
///
/// # Panics
/// If an invariant of the run breaks.
pub fn check(
    (config, header): (&RunConfig, &Header),
    steering: &mut dyn Steering,
    stored: Stored<'_>,
    window: Window,
    around: usize,
) -> Result<Checked, ReplayError> {
    let mut checker = Checker::new(stored, window, around)?;
    let (replication, interval) = (header.replication, header.interval);
    match tape::follow(config, replication, interval, steering, |piece| checker.hear(piece)) {
        Ok(result) => checker.close(tape::end(&result))?,
        Err(Stopped::Listener(Halt::Enough)) => {}
        Err(Stopped::Listener(Halt::Trace(error))) => return Err(error.into()),
        Err(Stopped::Steering(error)) => return Err(error.into()),
    }
    Ok(checker.checked)
}

/// Why the run need not go on.
enum Halt {
    Enough,
    Trace(TraceError),
}

impl From<TraceError> for Halt {
    fn from(error: TraceError) -> Halt {
        Halt::Trace(error)
    }
}

/// One kind of stored item, and the next of it.
struct Ahead<'a, T> {
    items: Items<'a, T>,
    next: Option<T>,
}

impl<'a, T: Copy + PartialEq> Ahead<'a, T> {
    fn new(items: Items<'a, T>) -> Result<Ahead<'a, T>, TraceError> {
        let mut ahead = Ahead { items, next: None };
        ahead.take()?;
        Ok(ahead)
    }

    fn take(&mut self) -> Result<Option<T>, TraceError> {
        let next = self.items.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes the next if it is this one.
    fn take_same(&mut self, now: &T) -> Result<bool, TraceError> {
        let same = self.next.as_ref() == Some(now);
        if same {
            self.take()?;
        }
        Ok(same)
    }
}

struct Checker<'a> {
    events: Ahead<'a, Recorded>,
    decided: Ahead<'a, Decided>,
    checkpoints: Ahead<'a, Checkpoint>,
    end: Option<End>,
    window: Window,
    around: usize,
    before: VecDeque<Recorded>,
    checked: Checked,
}

impl<'a> Checker<'a> {
    fn new(stored: Stored<'a>, window: Window, around: usize) -> Result<Checker<'a>, TraceError> {
        // Notes say more of a run than its hash knows; they are not compared.
        let events = stored.events.filter(|event| !event.as_ref().is_ok_and(Recorded::is_note));
        Ok(Checker {
            events: Ahead::new(Box::new(events))?,
            decided: Ahead::new(stored.decided)?,
            checkpoints: Ahead::new(stored.checkpoints)?,
            end: stored.end,
            window,
            around,
            before: VecDeque::new(),
            checked: Checked::default(),
        })
    }

    fn hear(&mut self, piece: Piece) -> Result<(), Halt> {
        if self.checked.mismatch.is_some() {
            return self.follow_up(piece);
        }
        let at = piece.at();
        if at < self.window.from {
            return Ok(());
        }
        if at >= self.window.until || self.is_used_up() {
            return Err(Halt::Enough);
        }
        let missing = self.events.next.filter(|event| event.at < at && !matches!(piece, Piece::Event(_)));
        if let Some(event) = missing {
            // The run has passed it by.
            return self.part(Some(Piece::Event(event)), None);
        }
        let (same, stored) = match &piece {
            Piece::Event(now) => (self.events.take_same(now)?, self.events.next.map(Piece::Event)),
            Piece::Decided(now) => (self.decided.take_same(now)?, self.decided.next.map(Piece::Decided)),
            Piece::Checkpoint(now) => {
                (self.checkpoints.take_same(now)?, self.checkpoints.next.map(Piece::Checkpoint))
            }
        };
        if same {
            self.agreed(piece);
            return Ok(());
        }
        if stored.is_none() && self.end.is_none() {
            // This kind of item was cut off here.
            return Ok(());
        }
        self.part(stored, Some(piece))
    }

    fn agreed(&mut self, piece: Piece) {
        let checked = &mut self.checked;
        checked.reached = checked.reached.max(piece.at());
        match piece {
            Piece::Checkpoint(_) => checked.checkpoints += 1,
            Piece::Decided(_) => checked.decisions += 1,
            Piece::Event(event) => {
                checked.events += 1;
                self.before.push_back(event);
                if self.before.len() > self.around {
                    self.before.pop_front();
                }
            }
        }
    }

    /// Whether a cut trace has nothing more to compare.
    fn is_used_up(&self) -> bool {
        let left =
            self.events.next.is_some() || self.decided.next.is_some() || self.checkpoints.next.is_some();
        self.end.is_none() && !left
    }

    fn part(&mut self, stored: Option<Piece>, now: Option<Piece>) -> Result<(), Halt> {
        if let Some(Piece::Event(_)) = stored {
            self.events.take()?;
        }
        let mut stored_after = Vec::new();
        while stored_after.len() < self.around {
            match self.events.take()? {
                Some(event) => stored_after.push(event),
                None => break,
            }
        }
        let before = std::mem::take(&mut self.before).into();
        let mismatch = Mismatch { before, stored, now, ends: None, stored_after, now_after: Vec::new() };
        self.checked.mismatch = Some(mismatch);
        Ok(())
    }

    /// What follows the first difference in the run.
    fn follow_up(&mut self, piece: Piece) -> Result<(), Halt> {
        let mismatch = self.checked.mismatch.as_mut().expect("there is one");
        if mismatch.now_after.len() == self.around {
            return Err(Halt::Enough);
        }
        if let Piece::Event(event) = piece {
            mismatch.now_after.push(event);
        }
        Ok(())
    }

    /// The run is over: nothing may be left in the trace, and both must end alike.
    fn close(&mut self, now: End) -> Result<(), TraceError> {
        if self.checked.mismatch.is_some() {
            return Ok(());
        }
        let left = [
            self.events.next.map(Piece::Event),
            self.decided.next.map(Piece::Decided),
            self.checkpoints.next.map(Piece::Checkpoint),
        ];
        let left = left.into_iter().flatten().filter(|piece| piece.at() < self.window.until);
        if let Some(stored) = left.min_by_key(Piece::at) {
            return match self.part(Some(stored), None) {
                Err(Halt::Trace(error)) => Err(error),
                _ => Ok(()),
            };
        }
        if self.window.until < Nanos(u64::MAX) {
            return Ok(());
        }
        self.checked.ended = self.end.is_some();
        if let Some(stored) = self.end.filter(|stored| *stored != now) {
            self.checked.mismatch = Some(Mismatch {
                before: std::mem::take(&mut self.before).into(),
                stored: None,
                now: None,
                ends: Some([stored, now]),
                stored_after: Vec::new(),
                now_after: Vec::new(),
            });
        }
        Ok(())
    }
}
