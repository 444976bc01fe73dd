//! From the controller's words to the tactic's gates.

use numashock_controller::{self as controller, Actions};
use numashock_engine::Span;
use numashock_execution::{CancelReplace, CatchUp, Policy};

use crate::scenario::file::ControllerName;

/// The step function that a scenario names.
pub(crate) fn policy(name: ControllerName) -> controller::Policy {
    match name {
        ControllerName::DoNothing => controller::do_nothing,
        ControllerName::FourState => controller::step,
        ControllerName::StaticPinning => controller::static_pinning,
        ControllerName::ThresholdWithoutHysteresis => controller::threshold_without_hysteresis,
    }
}

/// The gates that a set of actions closes.
///
/// The simplest schedule is the TWAP without moves: it suppresses cancel/replace, which SAFE asks for by that name as well.
pub(crate) fn gates(actions: &Actions) -> Policy {
    Policy {
        participation_cap_ppm: actions.participation_cap_ppm,
        child_spacing_ppm: actions.child_spacing_ppm,
        min_reprice_interval: Span(actions.min_reprice_interval_ns.unwrap_or(0)),
        cancel_replace: if actions.simplest_schedule {
            CancelReplace::Suppressed
        } else {
            match actions.cancel_replace {
                controller::CancelReplace::Normal => CancelReplace::Normal,
                controller::CancelReplace::OnlyIfPriceMoved => CancelReplace::OnlyIfPriceMoved,
                controller::CancelReplace::Suppressed => CancelReplace::Suppressed,
            }
        },
        catch_up: match actions.catch_up {
            controller::CatchUp::Burst => CatchUp::Burst,
            controller::CatchUp::Paced => CatchUp::Paced,
        },
        cross_only_at_deadline: actions.cross_only_at_deadline,
        simplest_schedule: actions.simplest_schedule,
    }
}
