//! From `[tactic]` to a strategy: a schedule and a tactic.

use numashock_engine::Span;
use numashock_execution::schedule::{Schedule, Shape};
use numashock_execution::{LeftBehind, OnExpiry, Placement, Strategy, Tactic};

use super::document::ScenarioError;
use super::file::{ScheduleName, TacticTable};
use super::lower::Origin;

/// Lowers a tactic table for parents of horizons up to `longest`.
pub(super) fn lower(
    table: &TacticTable,
    longest: Span,
    origin: Origin<'_>,
) -> Result<Strategy, ScenarioError> {
    check(table, origin)?;
    let shape = match table.schedule {
        ScheduleName::Twap => Shape::Twap,
    };
    let schedule = Schedule { slices: table.slices, shape };
    schedule.validate(longest).map_err(|error| origin.error("tactic.schedule", error.to_string()))?;
    let tactic = Tactic {
        placement: Placement::Join,
        post_only: false,
        immediate_or_cancel: false,
        on_left_behind: LeftBehind::Follow,
        reprice_ticks: table.reprice_ticks,
        patience: table.patience.span(),
        on_expiry: OnExpiry::Cross,
        catch_up: table.catch_up.span(),
        cross_through: table.cross_through,
        child_spacing: table.child_spacing.span(),
        participation_cap_ppm: None,
    };
    Ok(Strategy { schedule, tactic })
}

fn check(table: &TacticTable, origin: Origin<'_>) -> Result<(), ScenarioError> {
    if table.slices == 0 || table.slices > 100_000 {
        return Err(origin.error("tactic.slices", "expected 1 to 100000"));
    }
    for (key, ticks) in
        [("tactic.reprice_ticks", table.reprice_ticks), ("tactic.cross_through", table.cross_through)]
    {
        if ticks > 1_000_000 {
            return Err(origin.error(key, "expected at most 1000000 ticks"));
        }
    }
    if table.reprice_ticks == 0 {
        return Err(origin
            .error("tactic.reprice_ticks", "must be at least 1: a child at the best price is not moved"));
    }
    for (key, fee) in [("tactic.take_fee", table.take_fee), ("tactic.make_fee", table.make_fee)] {
        if fee.unsigned_abs() > 1_000_000 {
            return Err(origin.error(key, "expected at most 1000000 half-ticks a lot"));
        }
    }
    Ok(())
}
