//! What is scanned, faults and moves, by mapping, policy, build and class (spec: 0.3, 1.5, 1.7, 2.2, 2.4, 6.1).

mod common;

use common::{Host, background, machine, region, thread};
use numashock_engine::{Nanos, Seed};
use numashock_machine::{
    Counters, KernelModel, Machine, MachineConfig, MachineError, MapKind, NodeId, NodeMask, Pattern, Policy,
    ProcessId, RegionId, Rules, SchedulerClass, ThreadId,
};

const SECOND: u64 = 1_000_000_000;
const BALANCED: Policy = Policy::BindBalancing(NodeMask(3));
const PAGES: u64 = 1_024;

/// A mapping on node 0, and a thread on node 1 that reads or writes it in turn.
fn mapped(kernel: KernelModel, kind: MapKind, policy: Policy, writes: bool) -> MachineConfig {
    let mut touches = background(50_000, Pattern::Sequential { start: 0 });
    touches.touch.write_ppm = u32::from(writes) * 1_000_000;
    let mut config = machine(kernel, vec![region(PAGES, 0)], vec![thread(2, vec![touches])]);
    config.regions[0].kind = kind;
    config.regions[0].policy = policy;
    config
}

fn after(config: MachineConfig, seconds: u64) -> (Host, Counters) {
    let mut host = Host::new(config, 1);
    host.run(Nanos(seconds * SECOND));
    let counters = host.machine.counters();
    (host, counters)
}

#[test]
fn what_is_never_scanned_takes_no_fault() {
    let kinds = [MapKind::FileReadOnly, MapKind::HugeTlb, MapKind::Special];
    for kernel in KernelModel::ALL {
        for kind in kinds {
            for policy in [Policy::Default, BALANCED] {
                let counters = after(mapped(kernel, kind, policy, false), 5).1;
                assert_eq!((counters.numa_pte_updates, counters.numa_hint_faults), (0, 0), "{kind:?}");
            }
        }
        let mut untouched = mapped(kernel, MapKind::NoAccess, BALANCED, false);
        untouched.threads[0].background.clear();
        assert_eq!(after(untouched, 5).1, Counters::default());
    }
}

#[test]
fn shared_memory_file_systems_answer_for_the_policy() {
    // spec: 8 F4: none set there is not balanced, whatever the process has.
    for kind in [MapKind::TmpfsPrivate, MapKind::TmpfsShared, MapKind::SharedAnonymous] {
        for process in [Policy::Default, BALANCED] {
            let mut config = mapped(KernelModel::V6_12_95, kind, Policy::Default, false);
            config.processes[0].policy = process;
            assert_eq!(after(config, 5).1.numa_pte_updates, 0, "{kind:?}");
        }
        let counters = after(mapped(KernelModel::V6_12_95, kind, BALANCED, false), 5).1;
        assert_eq!(counters.numa_pages_migrated, PAGES, "{kind:?}");
    }
}

#[test]
fn only_balancing_policies_are_scanned() {
    let mask = NodeMask(3);
    for (policy, scanned) in [
        (Policy::Default, true),
        (BALANCED, true),
        (Policy::PreferredManyBalancing(mask), true),
        (Policy::Bind(mask), false),
        (Policy::Preferred(NodeId(1)), false),
        (Policy::PreferredMany(mask), false),
        (Policy::Interleave(mask), false),
        (Policy::WeightedInterleave(mask), false),
        (Policy::Local, false),
    ] {
        let config = mapped(KernelModel::V6_12_95, MapKind::Anonymous, policy, false);
        assert_eq!(after(config, 5).1.numa_pte_updates > 0, scanned, "{policy:?}");
    }
}

#[test]
fn a_balanced_mask_keeps_pages_inside() {
    for policy in [Policy::BindBalancing(NodeMask(1)), Policy::PreferredManyBalancing(NodeMask(1))] {
        let (host, counters) = after(mapped(KernelModel::V6_14, MapKind::Anonymous, policy, false), 5);
        assert!(counters.numa_hint_faults >= PAGES, "{policy:?}");
        assert_eq!(host.machine.pages_on(RegionId(0), NodeId(0)), PAGES, "{policy:?}");
        assert_eq!(host.machine.thread(ThreadId(0)).locality[2], 0, "nothing was tried");
    }
}

#[test]
fn old_kernels_refuse_a_balanced_preference() {
    let policy = Policy::PreferredManyBalancing(NodeMask(3));
    for kernel in KernelModel::ALL {
        let config = mapped(kernel, MapKind::Anonymous, policy, false);
        let refused = Machine::new(config, Seed(1), &mut Default::default()).err();
        let old = matches!(refused, Some(MachineError::KernelRefuses { .. }));
        assert_eq!(old, kernel < KernelModel::V6_12_95, "{kernel:?}");
    }
}

#[test]
fn private_file_pages_are_marked_from_6_12_on_and_copied_pages_always() {
    for kernel in KernelModel::ALL {
        let new = kernel >= KernelModel::V6_12_95;
        let read = after(mapped(kernel, MapKind::FilePrivate, Policy::Default, false), 5).1;
        assert_eq!(read.numa_pte_updates > 0, new, "{kernel:?}");
        assert_eq!(read.numa_pages_migrated, if new { PAGES } else { 0 });
        // Dirty ones are spared until they are copied, by which they come to the writer.
        let dirty = after(mapped(kernel, MapKind::FileCopyOnWrite, Policy::Default, false), 5).1;
        assert_eq!(dirty.numa_pte_updates, 0, "{kernel:?}");
        for kind in [MapKind::FilePrivate, MapKind::FileCopyOnWrite] {
            let (host, written) = after(mapped(kernel, kind, Policy::Default, true), 5);
            assert_eq!(host.machine.pages_on(RegionId(0), NodeId(1)), PAGES, "{kind:?}");
            assert!(written.numa_hint_faults_local > 0 && written.numa_pages_migrated == 0, "{kernel:?}");
        }
    }
}

#[test]
fn a_copy_on_write_follows_the_policy() {
    for (policy, on_1) in [
        (Policy::Local, PAGES),
        (Policy::Bind(NodeMask(1)), 0),
        (Policy::Preferred(NodeId(0)), 0),
        (Policy::PreferredMany(NodeMask(2)), PAGES),
        (Policy::Interleave(NodeMask(3)), PAGES / 2),
    ] {
        let (host, _) = after(mapped(KernelModel::V6_12_95, MapKind::FilePrivate, policy, true), 1);
        assert_eq!(host.machine.pages_on(RegionId(0), NodeId(1)), on_1, "{policy:?}");
    }
    let mut config = mapped(KernelModel::V6_12_95, MapKind::FilePrivate, Policy::Default, true);
    config.processes[0].mems_allowed = Some(NodeMask(1));
    assert_eq!(after(config, 1).0.machine.pages_on(RegionId(0), NodeId(1)), 0);
}

#[test]
fn shared_file_pages_are_marked_while_clean() {
    let kind = |dirty| MapKind::FileShared { dirty };
    let clean = after(mapped(KernelModel::V6_12_95, kind(false), Policy::Default, false), 5).1;
    assert_eq!(clean.numa_pages_migrated, PAGES);
    for (kind, writes) in [(kind(true), false), (kind(false), true)] {
        let dirty = after(mapped(KernelModel::V6_12_95, kind, Policy::Default, writes), 5).1;
        assert_eq!((dirty.numa_pte_updates, dirty.numa_pages_migrated), (0, 0), "{kind:?}");
    }
}

#[test]
fn the_single_thread_rule_leaves_shared_mappings_out() {
    for (kind, marked) in [(MapKind::Anonymous, false), (MapKind::SharedAnonymous, true)] {
        let mut config = mapped(KernelModel::V6_12_95, kind, BALANCED, false);
        config.processes[0].idle_threads = 0;
        config.threads[0] = thread(0, config.threads[0].background.clone());
        assert_eq!(after(config, 5).1.numa_pte_updates > 0, marked, "{kind:?}");
    }
}

#[test]
fn large_folios_are_marked_by_the_page_and_cured_by_the_folio() {
    for kernel in KernelModel::ALL {
        let config = mapped(kernel, MapKind::AnonymousLarge { order: 4 }, Policy::Default, false);
        let counters = after(config, 2).1;
        if !kernel.handles_large_folios() {
            assert_eq!(counters, Counters::default(), "{kernel:?}");
            continue;
        }
        assert_eq!((counters.numa_pte_updates, counters.numa_huge_pte_updates), (PAGES, 0));
        assert_eq!((counters.numa_hint_faults, counters.numa_pages_migrated), (PAGES / 16, PAGES));
    }
}

#[test]
fn pinned_pages_are_spared_as_the_kernel_spares_them() {
    let huge = MapKind::AnonymousHuge;
    for kernel in KernelModel::ALL {
        for (kind, spared) in [
            (MapKind::Anonymous, true),
            (MapKind::SharedAnonymous, kernel == KernelModel::V6_19),
            (huge, kernel == KernelModel::V6_19),
        ] {
            let mut config = mapped(kernel, kind, BALANCED, false);
            config.regions[0].dma_pinned = true;
            let (host, counters) = after(config, 20);
            assert_eq!(counters.numa_pte_updates == 0, spared, "{kernel:?} {kind:?}");
            assert_eq!(host.machine.pages_on(RegionId(0), NodeId(0)), PAGES);
            assert_eq!(counters.pgmigrate_fail > 0, !spared);
            let view = host.machine.thread(ThreadId(0));
            // Each failure is a back-off; only 6.12.117 forgets it.
            assert!(spared || view.scan_period_ms >= 8_000, "{view:?}");
        }
    }
}

#[test]
fn what_others_map_too_is_spared_where_private() {
    for (kind, spared) in [(MapKind::Anonymous, true), (MapKind::SharedAnonymous, false)] {
        let mut config = mapped(KernelModel::V6_12_95, kind, BALANCED, false);
        config.regions[0].mapped_elsewhere = true;
        assert_eq!(after(config, 5).1.numa_pte_updates == 0, spared, "{kind:?}");
    }
    // A huge page is marked all the same before 6.19; 6.1 refuses to move it.
    for (kernel, marked, moved) in [
        (KernelModel::V6_1, true, false),
        (KernelModel::V6_12_95, true, true),
        (KernelModel::V6_19, false, false),
    ] {
        let huge = MapKind::AnonymousHuge;
        let mut config = mapped(kernel, huge, Policy::Default, false);
        config.regions[0].mapped_elsewhere = true;
        let counters = after(config, 5).1;
        assert_eq!((counters.numa_pte_updates > 0, counters.numa_pages_migrated > 0), (marked, moved));
    }
}

#[test]
fn locking_memory_changes_nothing_but_the_batch() {
    for kernel in KernelModel::ALL {
        for batches in [true, false] {
            let outcome = |locked: bool| {
                let mut config = mapped(kernel, MapKind::Anonymous, Policy::Default, true);
                config.rules.lru_batches = batches;
                config.regions[0].locked = locked;
                let (host, counters) = after(config, 20);
                (host.hash.checkpoint(), counters)
            };
            // A page left in a batch is not marked up to 6.8; 6.6 releases it only where memory is locked.
            let differs = batches && [KernelModel::V6_6, KernelModel::V6_8].contains(&kernel);
            assert_eq!(outcome(true) != outcome(false), differs, "{kernel:?}");
        }
    }
}

#[test]
fn a_migration_outside_the_cpuset_fails() {
    for kernel in [KernelModel::V6_12_95, KernelModel::V6_19] {
        let mut config = mapped(kernel, MapKind::Anonymous, Policy::Default, false);
        config.processes[0].mems_allowed = Some(NodeMask(1));
        let (host, counters) = after(config, 5);
        let scanned = kernel != KernelModel::V6_19;
        assert_eq!((counters.numa_pte_updates > 0, counters.pgmigrate_fail > 0), (scanned, scanned));
        assert_eq!(counters.numa_pages_migrated, 0);
        assert_eq!(host.machine.address_space(ProcessId(0)).cpuset_skips > 0, !scanned);
    }
}

#[test]
fn a_real_time_kernel_has_no_balancing() {
    let mut config = mapped(KernelModel::V6_12_95, MapKind::Anonymous, Policy::Default, true);
    config.preempt_rt = true;
    let knobs = config.knobs;
    let mut host = Host::new(config, 1);
    host.machine.set_knobs(Nanos(1), knobs, &mut host.hash, &mut host.effects);
    host.run(Nanos(20 * SECOND));
    assert_eq!(host.machine.counters(), Counters::default());
    assert!(!host.machine.knobs().balancing && host.stalls.is_empty());
}

#[test]
fn only_fair_threads_scan_and_all_fault() {
    use SchedulerClass::{Deadline, Ext, Fair, Fifo, RoundRobin};
    for class in [Fair, Fifo, RoundRobin, Deadline, Ext] {
        let mut config = mapped(KernelModel::V6_12_95, MapKind::Anonymous, Policy::Default, false);
        config.threads[0].class = class;
        assert_eq!(after(config.clone(), 5).1.numa_pte_updates > 0, class == Fair, "{class:?}");
        // A fair sibling marks; the thread faults whatever its class.
        config.threads.push(thread(0, Vec::new()));
        assert!(after(config, 5).1.numa_hint_faults >= PAGES, "{class:?}");
    }
}

#[test]
fn a_scan_size_of_zero_walks_nothing() {
    let mut config = mapped(KernelModel::V6_12_95, MapKind::Anonymous, Policy::Default, false);
    config.knobs.scan_size_mb = 0;
    let (host, counters) = after(config, 5);
    assert_eq!((counters, host.machine.address_space(ProcessId(0)).scan_seq), (Counters::default(), 0));
}

#[test]
fn a_mapping_can_starve_for_ever_in_6_4_and_not_later() {
    // spec: 1.6: what was used once may be scanned again for some seconds, and then by nobody.
    let marked = |kernel| {
        let mut config = mapped(kernel, MapKind::Anonymous, Policy::Default, false);
        config.threads[0].class = SchedulerClass::Fifo;
        config.threads.push(thread(0, Vec::new()));
        config.rules = Rules::KERNEL;
        let early = after(config.clone(), 30).1.numa_pte_updates;
        after(config, 90).1.numa_pte_updates - early
    };
    for kernel in KernelModel::ALL {
        assert_eq!(marked(kernel) == 0, kernel == KernelModel::V6_4, "{kernel:?}");
    }
}
