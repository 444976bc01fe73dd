//! What a controller may change in the tactic. The names are the desk's; the thresholds live with the controller.

use numashock_engine::Span;

/// When a resting child may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReplace {
    /// Whenever the best price leaves it behind by the tactic's own rule.
    Normal,
    /// Only if the price has moved by one tick more than the tactic's own rule asks for.
    OnlyIfPriceMoved,
    /// Never; the child waits for its patience or the deadline.
    Suppressed,
}

/// How the deadline window releases what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// All children cross at once.
    Burst,
    /// One child crosses at a time; all are through by the middle of the window, however many wait.
    Paced,
}

/// The tactic gates in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// New children may take at most this share of the lots the market traded in the last bucket.
    pub participation_cap_ppm: Option<u32>,
    /// How far apart two new children leave, relative to the tactic's own spacing.
    pub child_spacing_ppm: u32,
    /// A child is moved at most once in this time.
    pub min_reprice_interval: Span,
    /// Whether children are moved at all.
    pub cancel_replace: CancelReplace,
    /// How the deadline window works.
    pub catch_up: CatchUp,
    /// Only the deadline makes a child cross.
    pub cross_only_at_deadline: bool,
    /// A slice that falls due leaves its strategy's schedule: what has not left is spread evenly over the slices to come, as
    /// a TWAP would, and stays so until the parent ends.
    pub simplest_schedule: bool,
}

impl Policy {
    /// No gate is closed.
    pub const OPEN: Policy = Policy {
        participation_cap_ppm: None,
        child_spacing_ppm: 1_000_000,
        min_reprice_interval: Span::ZERO,
        cancel_replace: CancelReplace::Normal,
        catch_up: CatchUp::Burst,
        cross_only_at_deadline: false,
        simplest_schedule: false,
    };
}
