//! Which kernel is modelled, as questions about its behaviour (spec: 0.2).

/// A kernel version whose rules the machine can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelModel {
    /// Debian's 6.1 series.
    V6_1,
    /// 6.12.95, the version of the recorded traces.
    V6_12_95,
    /// 6.12.117, which clears the locality counters on the back-off path.
    V6_12_117,
}

impl KernelModel {
    /// Every model, oldest first.
    pub const ALL: [KernelModel; 3] = [KernelModel::V6_1, KernelModel::V6_12_95, KernelModel::V6_12_117];

    /// The name used in scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KernelModel::V6_1 => "6.1",
            KernelModel::V6_12_95 => "6.12.95",
            KernelModel::V6_12_117 => "6.12.117",
        }
    }

    /// The model of that name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<KernelModel> {
        KernelModel::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Per-VMA scan delay and PID filter, from 6.4 on (spec: 0.2).
    #[must_use]
    pub fn keeps_vma_state(self) -> bool {
        self != KernelModel::V6_1
    }

    /// A VMA already begun is finished, none is scanned twice in a sequence, and one is forced when all were skipped (spec: 0.2).
    #[must_use]
    pub fn completes_scans(self) -> bool {
        self != KernelModel::V6_1
    }

    /// The rule that rescues a VMA nobody has scanned for as many sequences as the process has threads (spec: 1.6).
    #[must_use]
    pub fn rescues_starved_vmas(self) -> bool {
        self != KernelModel::V6_1
    }

    /// A migrated private page comes back write-protected, and its next write forgets who used it (spec: 2.2).
    #[must_use]
    pub fn write_protects_migrated_pages(self) -> bool {
        self != KernelModel::V6_1
    }

    /// How many new pages wait in a CPU's LRU batch before they are released together (spec: 8 F3).
    #[must_use]
    pub fn lru_batch(self) -> usize {
        if self == KernelModel::V6_1 { 15 } else { 31 }
    }

    /// Whether a page in an LRU batch can be marked (spec: 8 F3).
    #[must_use]
    pub fn marks_batched_pages(self) -> bool {
        self != KernelModel::V6_1
    }

    /// Whether each successful migration releases the CPU's LRU batch (spec: 8 F3).
    #[must_use]
    pub fn migration_releases_batch(self) -> bool {
        self == KernelModel::V6_1
    }

    /// Whether a fault takes the mmap lock; from 6.4 on the lock of its own mapping is enough. That it queues behind a
    /// waiting writer is the lock's fairness (spec: 1.4, inferred).
    #[must_use]
    pub fn faults_take_mmap_lock(self) -> bool {
        self == KernelModel::V6_1
    }

    /// Whether the back-off path forgets the locality counters; where it does not, one failed migration keeps
    /// the period doubling (spec: 3.5, 8 F2).
    #[must_use]
    pub fn back_off_clears_locality(self) -> bool {
        self == KernelModel::V6_12_117
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_model() {
        for model in KernelModel::ALL {
            assert_eq!(KernelModel::parse(model.name()), Some(model));
        }
        assert_eq!(KernelModel::parse("6.12"), None);
    }
}
