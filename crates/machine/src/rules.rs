//! Each mechanism of balancing as a switch, for counterfactuals: what would happen without it, all else unchanged.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which mechanisms are in force. A kernel has all those of its version ([`crate::KernelModel`]); a mechanism that the version
        /// lacks stays off whatever its switch says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Rules {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Rules {
            /// As the kernel is.
            pub const KERNEL: Rules = Rules { $($name: true,)* };
            /// The names of the switches, in the order of the fields.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Turns a mechanism on or off by its name; `None` if no mechanism has that name.
            #[must_use]
            pub fn with(mut self, name: &str, on: bool) -> Option<Rules> {
                match name {
                    $(stringify!($name) => self.$name = on,)*
                    _ => return None,
                }
                Some(self)
            }
        }
    };
}

rules! {
    /// A new mapping is left alone for `scan_delay_ms` (spec: 1.5 test 5). Off: it is scanned from its first pass on.
    vma_scan_delay,
    /// Only threads that used a mapping scan it (spec: 1.6). Off: every thread scans every mapping, as before 6.4.
    pid_filter,
    /// What threads used is forgotten after two windows (spec: 1.5 test 6). Off: who used a mapping once may scan it for ever.
    pid_windows,
    /// A mapping once begun is finished whoever scans, none is scanned twice in a sequence, and one is forced when all were skipped
    /// (spec: 1.5 test 7, 1.6). Off: none of the three, as in 6.4.
    scan_completion,
    /// A mapping that the filter kept out for as many sequences as there are threads is scanned all the same (spec: 1.6). Off: not.
    starvation_rescue,
    /// Without the normal mode, pages of top-tier nodes are not marked (spec: 1.7 rule 6). Off: they are.
    top_tier_skip,
    /// Local pages of a single-threaded process are not marked (spec: 1.7 rule 5). Off: they are.
    single_thread_rule,
    /// Dirty pages of a file are not marked (spec: 1.7 rule 4). Off: they are; admission still refuses to move them (spec: 2.5).
    dirty_page_skip,
    /// Pages pinned for DMA are not marked where the kernel spares them (spec: 1.7 rule 3). Off: they are; their migration still fails.
    pinned_page_skip,
    /// A pass is skipped when the cpuset allows one node only (spec: 1.4 step 2). Off: it is made, as before 6.19.
    cpuset_skip,
    /// A pass ends when it has walked eight times its size of pages (spec: 1.4 step 8). Off: only marked ranges are charged.
    range_budget,
    /// A range with one marked page is charged whole (spec: 1.5). Off: a pass is charged for the pages it marks.
    whole_range_charge,
    /// After a pass its thread waits for 32 times the CPU time it took (spec: 1.5, 8 F7). Off: for none.
    pass_charge,
    /// The bounds of the period are those of a sweep of the resident set, divided by its windows (spec: 1.9). Off: of a pass.
    resident_set_windows,
    /// No period is so short that more than 2,560 MB a second are scanned (spec: 1.9). Off: `scan_period_min_ms` alone binds.
    period_floor,
    /// A thread without a preferred node, or in its first sequences, takes what is its own or nobody's at once (spec: 2.4 S3).
    /// Off: such a page goes through the filter of S4.
    early_migration,
    /// In the normal mode, a page of a slow node stays while its last user is unknown, and its fault is not entered into the
    /// statistics (spec: 2.4 S2). Off: it is treated as a page of any node.
    unknown_user_check,
    /// In tiering mode, a page of a slow node moves at its first fault while the new node has plenty of free memory, and the hot
    /// threshold starts anew (spec: 2.6). Off: threshold and rate limit always decide.
    free_promotion,
    /// Otherwise it moves only if it is touched soon after its marking (spec: 2.6). Off: however late.
    promotion_threshold,
    /// The hot threshold follows the number of hot pages (spec: 2.6). Off: it stays at `hot_threshold_ms`.
    threshold_adaptation,
    /// No more pages are promoted to a node in a second than its rate limit allows (spec: 2.6). Off: all that are hot.
    promotion_rate_limit,
    /// In tiering mode, faults that leave a page on a slow node are not entered into the statistics (spec: 2.6). Off: they are.
    slow_node_statistics_skip,
    /// A page moves only if its last two users were on the same node (spec: 2.4 S4). Off: the last user alone decides.
    two_stage_filter,
    /// In a group, faults of its CPUs and memory decide over shared pages (spec: 2.4 S7, S8). Off: as for a thread without one (S6).
    group_migration,
    /// A node without memory is no destination (spec: 2.4 S0). Off: it is tried, and its admission refuses for want of free pages.
    memoryless_check,
    /// Misplaced pages move (spec: 2.5). Off: they are decided upon as ever, and stay without counting as failures.
    page_migration,
    /// New pages wait in a CPU's LRU batch, cannot move and, up to 6.8, cannot be marked (spec: 8 F3). Off: none waits.
    lru_batches,
    /// The first write to a migrated private page faults again and forgets its last user (spec: 2.2). Off: neither.
    second_write_fault,
    /// Others who touch a page under migration sleep until it is done (spec: 2.5). Off: they go on.
    migration_sleep,
    /// Who touches a page that another thread is about to migrate, before it is unmapped, takes a fault of its own on the same
    /// marking (spec: 8 F10). Off: such a thread sleeps from the first fault on.
    double_faults,
    /// Threads that share pages form groups (spec: 3.6). Off: no group is ever made.
    groups,
    /// A fault between two active nodes of a group counts as local (spec: 3.1 step 3). Off: it counts as remote.
    active_nodes,
    /// Placement waits for the retry clock of task moves (spec: 3.8, 8 F8). Off: it is made at the first fault of a sequence.
    placement_delay,
    /// The scan period follows the faults (spec: 3.5). Off: each thread keeps the period it has.
    period_adaptation,
    /// Without local or shared faults, or with a failed migration, the period doubles and the next pass waits (spec: 3.5). Off: the
    /// ratios alone decide.
    back_off,
    /// What the back-off saw is remembered, so that one failed migration keeps the period doubling (spec: 3.5, 8 F2). Off: it is
    /// cleared, as in 6.12.117.
    sticky_failure,
    /// A thread moved away from its memory's node scans fast again (spec: 3.9). Off: it keeps its period.
    restart_on_move,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_turns_one_switch() {
        for name in Rules::NAMES {
            let off = Rules::KERNEL.with(name, false).expect("the name is known");
            assert_ne!(off, Rules::KERNEL, "{name}");
            assert_eq!(off.with(name, true), Some(Rules::KERNEL), "{name} alone was off");
        }
        assert_eq!(Rules::KERNEL.with("scan", false), None);
    }
}
