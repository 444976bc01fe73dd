//! How the children of a parent are placed, moved and given up.

use numashock_engine::Span;

use crate::TimeInForce;
use crate::schedule::Schedule;

/// How a parent is worked: when its lots leave, and how each child is placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// When how much leaves.
    pub schedule: Schedule,
    /// How it is placed.
    pub tactic: Tactic,
}

/// Where a new child is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At the best price of its own side.
    Join,
    /// A tick better than that while the spread leaves room and no own child stands there; else as `Join`.
    Improve,
    /// At the opposite best price, taking what is there.
    Cross,
}

/// What happens to a child that the best price has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBehind {
    /// It is moved to where a new child would be placed.
    Follow,
    /// It crosses the spread.
    Cross,
    /// It stays where it is.
    Stay,
}

/// What happens to a child at the end of its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpiry {
    /// It crosses the spread.
    Cross,
    /// It is cancelled; its lots leave with the parent's next slice, or in the deadline window.
    Return,
}

/// How children are placed and what becomes of them until they are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tactic {
    /// Where a new child is placed.
    pub placement: Placement,
    /// Children that are to rest are refused by the exchange if they would take; they enter again.
    pub post_only: bool,
    /// What is left of a child that crosses is cancelled at once and sent again with the next quote.
    pub immediate_or_cancel: bool,
    /// What happens to a child that is left behind.
    pub on_left_behind: LeftBehind,
    /// How far behind the best a child may fall before that happens.
    pub reprice_ticks: u64,
    /// How long a child rests, counted from its slice.
    pub patience: Span,
    /// What happens then.
    pub on_expiry: OnExpiry,
    /// Length of the deadline window, in which everything crosses.
    pub catch_up: Span,
    /// How far beyond the opposite best a crossing child's limit lies.
    pub cross_through: u64,
    /// Two new children leave at least this far apart.
    pub child_spacing: Span,
    /// Outside the deadline window a parent's lots, filled and working, are at most this share of what the market has
    /// traded since its arrival.
    pub participation_cap_ppm: Option<u32>,
}

impl Tactic {
    /// What a child that is to rest may do.
    pub(crate) fn resting(&self) -> TimeInForce {
        if self.post_only { TimeInForce::PostOnly } else { TimeInForce::Day }
    }

    /// What a child that crosses may do.
    pub(crate) fn taking(&self) -> TimeInForce {
        if self.immediate_or_cancel { TimeInForce::ImmediateOrCancel } else { TimeInForce::Day }
    }
}
