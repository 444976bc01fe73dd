//! What each state asks of the execution and of the host (playbook: 6, column "what it does").

use crate::limits::Limits;
use crate::regime::Level;

/// What may happen to a resting child order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum CancelReplace {
    /// The tactic's own rule.
    Normal,
    /// Only if the price it would move to has changed since it was placed.
    OnlyIfPriceMoved,
    /// Not at all, short of the deadline.
    Suppressed,
}

/// How a backlog of children is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum CatchUp {
    /// Back to back.
    Burst,
    /// Spread out, never bunched.
    Paced,
}

/// A request to the host to slow its page scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct ScannerRequest {
    /// `numa_balancing_scan_delay_ms`, milliseconds.
    pub scan_delay_ms: u32,
    /// `numa_balancing_scan_size_mb`, MiB.
    pub scan_size_mb: u32,
}

/// The actions in force until the next step. Each level keeps the actions of the level below and adds its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Actions {
    /// Ceiling of the share of the market's volume, parts per million; yields to a deadline that is about to be missed.
    pub participation_cap_ppm: Option<u32>,
    /// Tolerance of the spacing between children, parts per million of the normal one (1 000 000 = unchanged).
    pub child_spacing_ppm: u32,
    /// Shortest time between two reprices of a passive child, nanoseconds.
    pub min_reprice_interval_ns: Option<u64>,
    /// What may happen to resting children.
    pub cancel_replace: CancelReplace,
    /// How a backlog leaves.
    pub catch_up: CatchUp,
    /// Take liquidity only to meet the deadline.
    pub cross_only_at_deadline: bool,
    /// Leave the parent's strategy for the simplest schedule.
    pub simplest_schedule: bool,
    /// Ask the host to slow the scanner.
    pub scanner: Option<ScannerRequest>,
    /// Ask the host to switch balancing off for the dispatch process.
    pub balancing_off: bool,
    /// Ask the host to keep the dispatch thread on the CPU where it runs. No state asks for it; static pinning does.
    pub pin_dispatch: bool,
    /// Sample telemetry more finely.
    pub finer_telemetry: bool,
}

impl Actions {
    /// Normal tactics: nothing is asked of anyone.
    pub const NORMAL: Actions = Actions {
        participation_cap_ppm: None,
        child_spacing_ppm: 1_000_000,
        min_reprice_interval_ns: None,
        cancel_replace: CancelReplace::Normal,
        catch_up: CatchUp::Burst,
        cross_only_at_deadline: false,
        simplest_schedule: false,
        scanner: None,
        balancing_off: false,
        pin_dispatch: false,
        finer_telemetry: false,
    };

    /// The actions of a level, with the parameters of `limits`.
    #[must_use]
    pub fn of(limits: &Limits, level: Level) -> Actions {
        let parameters = &limits.actions;
        let mut actions = Actions::NORMAL;
        if level >= Level::Watch {
            actions.finer_telemetry = true;
            actions.child_spacing_ppm = parameters.child_spacing_ppm;
            actions.min_reprice_interval_ns = Some(parameters.min_reprice_interval_ns);
        }
        if level >= Level::Shock {
            actions.participation_cap_ppm = Some(parameters.participation_cap_ppm);
            actions.cancel_replace = CancelReplace::OnlyIfPriceMoved;
            actions.catch_up = CatchUp::Paced;
            actions.scanner = Some(parameters.scanner);
        }
        if level >= Level::Safe {
            actions.cancel_replace = CancelReplace::Suppressed;
            actions.cross_only_at_deadline = true;
            actions.simplest_schedule = true;
            actions.balancing_off = parameters.balancing_off_permitted;
        }
        actions
    }
}
