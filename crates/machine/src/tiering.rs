//! Memory tiering: which pages of slow nodes are promoted, and how many (spec: 2.6).
//!
//! ```text
//!   marked at t0 ─► touched at t1 ─► plenty free on the fast node? ── yes ─► promote, threshold := default
//!                                         └─ no ─► t1 − t0 < threshold? ─► below the rate limit? ─► promote
//! ```
//!
//! Invariant: a node remembers pages that were found hot, promoted or not; the mode touches nothing where no node is slow, but
//! for what is marked. Demotion is not modelled.

use numashock_engine::Nanos;

use crate::machine::Machine;
use crate::pages::LastAccess;
use crate::{Knobs, NodeId, NodeMask};

/// The kernel keeps access times in the field of the last CPU and thread id (spec: 2.3, 2.6): 8 bits of the id and those of a CPU
/// number, taken to be the 13 of a kernel for 8,192 CPUs, as distributions build it. They wrap after 35 minutes.
pub(crate) const ACCESS_TIME_MASK: u64 = (1 << 21) - 1;
/// Pages of 4 KiB in a megabyte.
const MEGABYTE_PAGES: u64 = 256;
/// The promotion rate is limited in windows longer than this, in ms.
const RATE_WINDOW_MS: u64 = 1000;
/// The threshold moves in steps of the default × 2 ÷ this.
const STEPS: u64 = 16;
/// Free memory of a node beyond which everything is promoted: at least 1 GiB in pages.
const FREE_ENOUGH: u64 = 1 << 18;

/// What marking writes into pages of slow nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The slow nodes.
    pub(crate) nodes: NodeMask,
    /// The time in ms.
    pub(crate) millis: u64,
}

/// The tiering knobs in the units of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `hot_threshold_ms`.
    hot_threshold_ms: u64,
    /// Pages of `numa_balancing_promote_rate_limit_MBps`.
    pages_per_s: u64,
    /// `scan_period_max_ms`: how often the threshold adapts.
    adapt_every_ms: u64,
}

impl Limits {
    fn of(knobs: &Knobs) -> Limits {
        Limits {
            hot_threshold_ms: u64::from(knobs.hot_threshold_ms),
            pages_per_s: u64::from(knobs.promote_rate_limit_mbps) * MEGABYTE_PAGES,
            adapt_every_ms: u64::from(knobs.scan_period_max_ms),
        }
    }
}

/// What a fast node remembers of promotions to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promotion {
    /// Hot threshold in ms; 0 stands for the default.
    threshold_ms: u64,
    /// `pgpromote_candidate` of this node.
    candidates: u64,
    /// The window of the rate limit: since when, and the candidates at its start. The first begins with the first candidate.
    window: Option<(u64, u64)>,
    adapted_ms: u64,
    adapted_candidates: u64,
}

impl Promotion {
    /// The mode is switched on: the threshold begins anew.
    fn restart(&mut self, now_ms: u64) {
        self.threshold_ms = 0;
        self.adapted_ms = now_ms;
        self.adapted_candidates = self.candidates;
    }

    fn threshold(&self, limits: &Limits) -> u64 {
        if self.threshold_ms == 0 { limits.hot_threshold_ms } else { self.threshold_ms }
    }

    /// Once a period the threshold moves towards the candidates that the rate limit allows.
    fn adapt(&mut self, now_ms: u64, limits: &Limits) {
        if now_ms - self.adapted_ms <= limits.adapt_every_ms {
            return;
        }
        self.adapted_ms = now_ms;
        let expected = u128::from(limits.pages_per_s) * u128::from(limits.adapt_every_ms) / 1000;
        let seen = u128::from(self.candidates - self.adapted_candidates);
        let unit = limits.hot_threshold_ms * 2 / STEPS;
        let threshold = self.threshold(limits);
        self.threshold_ms = if seen > expected * 11 / 10 {
            threshold.saturating_sub(unit).max(unit)
        } else if seen < expected * 9 / 10 {
            (threshold + unit).min(2 * limits.hot_threshold_ms)
        } else {
            threshold
        };
        self.adapted_candidates = self.candidates;
    }

    /// Counts pages found hot; true if the node has had its share of this window.
    fn is_over_rate(&mut self, now_ms: u64, pages: u64, limits: &Limits) -> bool {
        self.candidates += pages;
        let (_, before) = match self.window {
            Some(window) if now_ms - window.0 <= RATE_WINDOW_MS => window,
            // What opens a window is not counted in it.
            _ => *self.window.insert((now_ms, self.candidates)),
        };
        self.candidates - before >= limits.pages_per_s
    }
}

/// Whether a node of `pages` with `free` of them free takes every page.
fn free_is_enough(free: u64, pages: u64) -> bool {
    free > FREE_ENOUGH.max(pages / 16)
}

impl Machine {
    /// The hot threshold for promotions to the node, in ms: a page touched sooner after its marking is hot (spec: 2.6).
    #[must_use]
    pub fn hot_threshold_ms(&self, node: NodeId) -> u64 {
        self.promotions[node.index()].threshold(&Limits::of(&self.knobs))
    }

    pub(crate) fn is_slow(&self, node: NodeId) -> bool {
        self.config.topology.nodes[node.index()].slow
    }

    fn nodes_where(&self, slow: bool) -> NodeMask {
        let nodes = self.config.topology.nodes.iter().enumerate();
        NodeMask(nodes.filter(|(_, node)| node.slow == slow).fold(0, |mask, (at, _)| mask | 1 << at))
    }

    pub(crate) fn top_tier(&self) -> NodeMask {
        self.nodes_where(false)
    }

    /// Whether pages of the node keep the time of their marking in the place of their last user.
    pub(crate) fn keeps_access_times(&self, node: NodeId) -> bool {
        self.knobs.tiering && self.is_slow(node)
    }

    /// The last user of a page on `source` as a fault sees it, and whether that names a CPU (spec: 2.2 step 6, 2.4 S2).
    pub(crate) fn last_user(&self, region: usize, page: u64, source: NodeId) -> (LastAccess, bool) {
        if self.keeps_access_times(source) {
            return (LastAccess::UNSET, false);
        }
        let at = &self.regions[region];
        (at.last(page), at.last_cpu(page) < self.slots.len())
    }

    /// The kernel's clock of access times: jiffies in ms.
    fn millis(&self, at: Nanos) -> u64 {
        self.jiffies(at).unsigned_abs() * 1000 / u64::from(self.config.hz)
    }

    /// What a marking at `now` writes into pages of slow nodes (spec: 1.7).
    pub(crate) fn stamp(&self, now: Nanos) -> Option<Stamp> {
        let nodes = self.nodes_where(true);
        (self.knobs.tiering && !nodes.is_empty()).then(|| Stamp { nodes, millis: self.millis(now) })
    }

    /// The mode is switched on: every node's threshold begins anew.
    pub(crate) fn restart_promotion(&mut self, now: Nanos) {
        let millis = self.millis(now);
        self.promotions.iter_mut().for_each(|promotion| promotion.restart(millis));
    }

    /// Whether a page of a slow node moves to a node of the top tier (spec: 2.6).
    pub(crate) fn promotes(&mut self, at: Nanos, region: usize, page: u64, target: NodeId) -> bool {
        let now = self.millis(at);
        let rules = self.config.rules;
        let limits = Limits::of(&self.knobs);
        let pages = self.config.topology.nodes[target.index()].memory_pages;
        let used = self.used_pages[target.index()] + self.pressure[target.index()];
        let promotion = &mut self.promotions[target.index()];
        if rules.free_promotion && free_is_enough(pages.saturating_sub(used), pages) {
            promotion.threshold_ms = 0;
            return true;
        }
        if rules.threshold_adaptation {
            promotion.adapt(now, &limits);
        }
        let region = &mut self.regions[region];
        let latency = now.wrapping_sub(region.access_time(page)) & ACCESS_TIME_MASK;
        region.set_access_time(page, now);
        if rules.promotion_threshold && latency >= promotion.threshold(&limits) {
            return false;
        }
        self.counters.pgpromote_candidate += region.unit;
        !promotion.is_over_rate(now, region.unit, &limits) || !rules.promotion_rate_limit
    }

    /// A page has moved: between tiers it forgets its user, as the field held a time (spec: 2.6).
    pub(crate) fn note_promotion(&mut self, region: usize, page: u64, source: NodeId, target: NodeId) {
        if self.is_slow(source) == self.is_slow(target) {
            return;
        }
        if self.knobs.tiering {
            self.regions[region].set_last(page, LastAccess::UNSET);
        }
        if self.knobs.tiering || self.config.kernel.counts_promotions_in_every_mode() {
            self.counters.pgpromote_success += self.regions[region].unit;
        }
    }

    /// Whether a fault on a page that now lies on `node` tells the statistics nothing: the page is on a slow node, and its last
    /// user is not known, as never in tiering mode (spec: 2.6).
    pub(crate) fn leaves_out_of_statistics(&self, node: NodeId, user_known: bool) -> bool {
        let rules = &self.config.rules;
        let left_out =
            if self.knobs.tiering { rules.slow_node_statistics_skip } else { rules.unknown_user_check };
        left_out && self.is_slow(node) && !user_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { hot_threshold_ms: 1000, pages_per_s: 256, adapt_every_ms: 60_000 };

    #[test]
    fn plenty_is_a_sixteenth_and_at_least_a_gibibyte() {
        assert!(free_is_enough((1 << 18) + 1, 1 << 20) && !free_is_enough(1 << 18, 1 << 20));
        assert!(free_is_enough((1 << 20) + 1, 1 << 24) && !free_is_enough(1 << 20, 1 << 24));
    }

    #[test]
    fn a_window_lets_only_the_rate_through() {
        let mut node = Promotion::default();
        let mut admitted = |now_ms| (0..400).filter(|_| !node.is_over_rate(now_ms, 1, &LIMITS)).count();
        // 1 MB/s is 256 pages a window.
        assert_eq!(admitted(500), 256);
        assert_eq!(admitted(1500), 0, "a window is longer than a second");
        assert_eq!(admitted(1501), 256);
        assert_eq!(node.candidates, 1200);
        // What does not fit whole still goes while the window has room.
        let mut node = Promotion::default();
        let admitted = (0..4).map(|_| !node.is_over_rate(0, 200, &LIMITS));
        assert_eq!(admitted.collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn the_threshold_follows_the_rate_by_sixteenths() {
        let mut node = Promotion::default();
        // Nothing is hot: the threshold rises by 125 ms a period, up to twice the default.
        for (period, expected) in (1..=10).map(|n| (n, (1000 + 125 * n).min(2000))) {
            node.adapt(period * 60_001, &LIMITS);
            assert_eq!(node.threshold(&LIMITS), expected);
        }
        node.adapt(10 * 60_001 + 60_000, &LIMITS);
        assert_eq!(node.adapted_ms, 10 * 60_001, "a period is longer than its length");
        // Far too much is: it falls to one step and stays there.
        for period in 11..=40 {
            node.candidates += 1_000_000;
            node.adapt(period * 60_001, &LIMITS);
        }
        assert_eq!(node.threshold(&LIMITS), 125);
        // The right number keeps it.
        node.candidates += 256 * 60;
        node.adapt(41 * 60_001, &LIMITS);
        assert_eq!(node.threshold(&LIMITS), 125);
        node.restart(42 * 60_001);
        assert_eq!((node.threshold(&LIMITS), node.adapted_candidates), (1000, node.candidates));
    }

    #[test]
    fn the_largest_knobs_fit() {
        let limits = Limits::of(&Knobs {
            hot_threshold_ms: 1_000_000_000,
            promote_rate_limit_mbps: i32::MAX.unsigned_abs(),
            scan_period_max_ms: 1_000_000_000,
            ..Knobs::KERNEL_DEFAULTS
        });
        let mut node = Promotion::default();
        node.adapt(1_000_000_001, &limits);
        assert_eq!(node.threshold(&limits), 1_125_000_000);
    }
}
