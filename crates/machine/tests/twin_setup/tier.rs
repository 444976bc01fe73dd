//! Promotion, literally (spec: 2.6).

use numashock_machine::Rules;

/// The naive twin's fast node.
#[derive(Clone, Default)]
pub(crate) struct Tier {
    threshold: i64,
    adapted_at: i64,
    adapted_with: u64,
    window_at: Option<i64>,
    window_with: u64,
    pub(crate) candidates: u64,
}

/// Knobs of tiering that matter on a small machine.
pub(crate) const HOT_MS: u32 = 60;
pub(crate) const LIMIT_MBPS: u32 = 1;

impl Tier {
    /// Whether a page marked at `marked`, in ms, moves at `now`.
    pub(crate) fn promotes(
        &mut self,
        now: i64,
        marked: i64,
        plenty: bool,
        period_max: u32,
        rules: &Rules,
    ) -> bool {
        if plenty && rules.free_promotion {
            self.threshold = 0;
            return true;
        }
        let default = i64::from(HOT_MS);
        let per_s = u64::from(LIMIT_MBPS) * 256;
        if rules.threshold_adaptation && now - self.adapted_at > i64::from(period_max) {
            let expected = per_s * u64::from(period_max) / 1000;
            let seen = self.candidates - self.adapted_with;
            let unit = default * 2 / 16;
            let old = if self.threshold > 0 { self.threshold } else { default };
            self.threshold = old;
            if seen > expected * 11 / 10 {
                self.threshold = unit.max(old - unit);
            } else if seen < expected * 9 / 10 {
                self.threshold = (old + unit).min(2 * default);
            }
            (self.adapted_at, self.adapted_with) = (now, self.candidates);
        }
        let threshold = if self.threshold > 0 { self.threshold } else { default };
        if now - marked >= threshold && rules.promotion_threshold {
            return false;
        }
        self.candidates += 1;
        if self.window_at.is_none_or(|at| now - at > 1000) {
            (self.window_at, self.window_with) = (Some(now), self.candidates);
        }
        self.candidates - self.window_with < per_s || !rules.promotion_rate_limit
    }
}
