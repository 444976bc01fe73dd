//! Which kernel is modelled, as questions about its behaviour (spec: 0.2).

/// A kernel version whose rules the machine can follow: the columns of the specification's table of switches (spec: 0.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelModel {
    /// Debian's 6.1 series.
    V6_1,
    /// 6.4 and 6.5: state per mapping, and a PID filter that can starve a mapping for ever.
    V6_4,
    /// 6.6.139. Only its scheduler part was read; its `mm/` is taken to stand between those of 6.5 and 6.8, as the specification
    /// brackets it (spec: 0.1), but for what its stable series is known to have taken over.
    V6_6,
    /// 6.8.
    V6_8,
    /// 6.12.95, the version of the recorded traces.
    V6_12_95,
    /// 6.12.117, which clears the locality counters on the back-off path.
    V6_12_117,
    /// 6.14.
    V6_14,
    /// 6.19.
    V6_19,
}

/// Which pages of a private writable mapping a pass leaves alone (spec: 1.7 rule 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CowSkip {
    /// Those with any reference but the mapping's: in the page cache, in an LRU batch, pinned, part of a large folio that is
    /// mapped page by page, or mapped by another process too.
    AnyOtherReference,
    /// Those that may be pinned for DMA or are mapped by another process too.
    PinnedOrMappedShared,
}

impl KernelModel {
    /// Every model, oldest first.
    pub const ALL: [KernelModel; 8] = [
        KernelModel::V6_1,
        KernelModel::V6_4,
        KernelModel::V6_6,
        KernelModel::V6_8,
        KernelModel::V6_12_95,
        KernelModel::V6_12_117,
        KernelModel::V6_14,
        KernelModel::V6_19,
    ];

    /// The name used in scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KernelModel::V6_1 => "6.1",
            KernelModel::V6_4 => "6.4",
            KernelModel::V6_6 => "6.6",
            KernelModel::V6_8 => "6.8",
            KernelModel::V6_12_95 => "6.12.95",
            KernelModel::V6_12_117 => "6.12.117",
            KernelModel::V6_14 => "6.14",
            KernelModel::V6_19 => "6.19",
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
        self >= KernelModel::V6_4
    }

    /// The PID filter lets everybody in during the first two sequences of the address space, not of the mapping: 6.4 and 6.5
    /// (spec: 0.2, 1.6).
    #[must_use]
    pub fn opens_filter_by_address_space(self) -> bool {
        self == KernelModel::V6_4
    }

    /// The windows of the PID filter turn only for a mapping that passed it: 6.4 and 6.5 (spec: 1.5 test 6).
    #[must_use]
    pub fn rotates_windows_after_filter(self) -> bool {
        self == KernelModel::V6_4
    }

    /// A VMA already begun is finished, none is scanned twice in a sequence, and one is forced when all were skipped (spec: 0.2).
    #[must_use]
    pub fn completes_scans(self) -> bool {
        self >= KernelModel::V6_6
    }

    /// The rule that rescues a VMA nobody has scanned for as many sequences as the process has threads; 6.8 lacks it (spec: 1.6).
    #[must_use]
    pub fn rescues_starved_vmas(self) -> bool {
        self.completes_scans() && self != KernelModel::V6_8
    }

    /// A process whose cpuset allows memory on one node only is not scanned (spec: 0.2, 1.4 step 2).
    #[must_use]
    pub fn skips_single_node_cpusets(self) -> bool {
        self >= KernelModel::V6_19
    }

    /// Hinting faults on large folios that are mapped page by page are counted and may migrate; before, the fault only repairs
    /// the mapping (spec: 0.2, 2.2 step 4). 6.6: assumed to be as before.
    #[must_use]
    pub fn handles_large_folios(self) -> bool {
        self >= KernelModel::V6_12_95
    }

    /// A migrated private page comes back write-protected, and its next write forgets who used it: from 6.4 on, where the write
    /// bit is no longer saved in the hinting PTE (spec: 0.2, 2.2).
    #[must_use]
    pub fn write_protects_migrated_pages(self) -> bool {
        self >= KernelModel::V6_4
    }

    /// Which pages of private writable mappings are not marked (spec: 0.2, 1.7 rule 3). 6.6: assumed to be as in 6.5 and 6.8, which
    /// agree.
    #[must_use]
    pub fn cow_skip(self) -> CowSkip {
        if self >= KernelModel::V6_12_95 { CowSkip::PinnedOrMappedShared } else { CowSkip::AnyOtherReference }
    }

    /// Pages pinned for DMA are not marked in any mapping, shared ones and huge pages included (spec: 0.2, 1.7 rule 3).
    #[must_use]
    pub fn skips_pinned_pages_everywhere(self) -> bool {
        self >= KernelModel::V6_19
    }

    /// Huge pages are subject to the rules of base pages: local ones of a single-threaded process are left alone, and so are dirty,
    /// pinned and shared ones (spec: 0.2, 1.7). 6.6: assumed not.
    #[must_use]
    pub fn rules_cover_huge_pages(self) -> bool {
        self >= KernelModel::V6_19
    }

    /// A destination node without memory is rejected (spec: 0.2, 2.4 S0). 6.6: assumed not.
    #[must_use]
    pub fn rejects_memoryless_nodes(self) -> bool {
        self >= KernelModel::V6_12_95
    }

    /// `MPOL_PREFERRED_MANY` can be balanced, as `MPOL_BIND` can; before, the kernel refuses such a policy (spec: 2.4).
    #[must_use]
    pub fn balances_preferred_many(self) -> bool {
        self >= KernelModel::V6_12_95
    }

    /// A huge page that several processes map is refused at admission (spec: 2.5). Read for 6.1 only; 6.12 has no such test, and
    /// those between are taken to be like 6.12.
    #[must_use]
    pub fn refuses_shared_huge_pages(self) -> bool {
        self == KernelModel::V6_1
    }

    /// How many new pages wait in a CPU's LRU batch before they are released together: 15 traced on 6.1, 31 on 6.12 (spec: 8 F3).
    /// The others are inferred from the size of the kernel's per-CPU vector of pages, which grew in 6.9.
    #[must_use]
    pub fn lru_batch(self) -> usize {
        if self >= KernelModel::V6_12_95 { 31 } else { 15 }
    }

    /// Whether a page in an LRU batch can be marked (spec: 8 F3). The batch holds a reference, so it follows from
    /// [`cow_skip`](Self::cow_skip); traced on 6.1 and 6.12.
    #[must_use]
    pub fn marks_batched_pages(self) -> bool {
        self.cow_skip() == CowSkip::PinnedOrMappedShared
    }

    /// Whether each successful migration releases the CPU's LRU batch (spec: 8 F3, traced on 6.1 and 6.12). Inferred for the others:
    /// 6.7 made it depend on the page being locked in memory, and 6.6.15 took that over.
    #[must_use]
    pub fn migration_releases_batch(self) -> bool {
        self <= KernelModel::V6_4
    }

    /// Whether a page that leaves a slow node counts as promoted in the normal mode too (spec: 4.2). Read for 6.1 and 6.12; those
    /// between are taken to be like 6.1, as the test of the mode is younger than 6.8.
    #[must_use]
    pub fn counts_promotions_in_every_mode(self) -> bool {
        self <= KernelModel::V6_8
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
        assert!(KernelModel::ALL.windows(2).all(|pair| pair[0] < pair[1]), "the order is by age");
    }

    #[test]
    fn switches_are_those_of_the_table() {
        // spec: 0.2: one row each, columns in the order of `ALL`; 6.12 has two.
        type Query = fn(KernelModel) -> bool;
        let rows: [(&str, Query, [u8; 8]); 13] = [
            ("per-VMA state", KernelModel::keeps_vma_state, [0, 1, 1, 1, 1, 1, 1, 1]),
            ("first two of the mm", KernelModel::opens_filter_by_address_space, [0, 1, 0, 0, 0, 0, 0, 0]),
            ("completion", KernelModel::completes_scans, [0, 0, 1, 1, 1, 1, 1, 1]),
            ("starvation", KernelModel::rescues_starved_vmas, [0, 0, 1, 0, 1, 1, 1, 1]),
            ("cpuset", KernelModel::skips_single_node_cpusets, [0, 0, 0, 0, 0, 0, 0, 1]),
            ("locality reset", KernelModel::back_off_clears_locality, [0, 0, 0, 0, 0, 1, 0, 0]),
            ("large folios", KernelModel::handles_large_folios, [0, 0, 0, 0, 1, 1, 1, 1]),
            ("no saved write bit", KernelModel::write_protects_migrated_pages, [0, 1, 1, 1, 1, 1, 1, 1]),
            ("batched pages marked", KernelModel::marks_batched_pages, [0, 0, 0, 0, 1, 1, 1, 1]),
            ("single-thread huge", KernelModel::rules_cover_huge_pages, [0, 0, 0, 0, 0, 0, 0, 1]),
            ("memory-less", KernelModel::rejects_memoryless_nodes, [0, 0, 0, 0, 1, 1, 1, 1]),
            ("promotions counted", KernelModel::counts_promotions_in_every_mode, [1, 1, 1, 1, 0, 0, 0, 0]),
            ("pinned everywhere", KernelModel::skips_pinned_pages_everywhere, [0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        for (name, query, expected) in rows {
            assert_eq!(KernelModel::ALL.map(|model| u8::from(query(model))), expected, "{name}");
        }
    }
}
