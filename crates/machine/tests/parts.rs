//! A mapping in parts is the same mapping: what a region of one piece does, its parts together do, event by event.

mod common;

use common::{Host, background, machine, region, thread};
use numashock_engine::{Nanos, Seed, Span};
use numashock_machine::{
    Activity, BackgroundConfig, Effects, KernelModel, Machine, MachineConfig, MachineError, MapKind, NodeId,
    Part, Pattern, Placement, Policy, ProcessId, RegionId, ThreadId,
};
use proptest::prelude::*;

const PAGES: u64 = 4_096;
const STATE: u64 = 88_172_645_463_325_252;

/// The touches of a pattern over `from..to` of a mapping whose parts end at `cuts`: one toucher a part.
fn in_parts(whole: BackgroundConfig, cuts: &[u64], (from, to): (u64, u64)) -> Vec<BackgroundConfig> {
    let mut begin = 0;
    let mut all = Vec::new();
    for (index, end) in cuts.iter().enumerate() {
        let mut one = whole;
        one.touch.region = RegionId(index as u16);
        one.part = Some(Part { pages: to - from, offset: from as i64 - begin as i64 });
        all.push(one);
        begin = *end;
    }
    all
}

/// Two threads on two nodes, the first over the whole mapping, the second over a part of it.
fn mapped(
    kernel: KernelModel,
    patterns: [Pattern; 2],
    rate: u64,
    slice: (u64, u64),
    cuts: &[u64],
) -> MachineConfig {
    let mut begin = 0;
    let mut regions = Vec::new();
    for end in cuts {
        let mut part = region(end - begin, 0);
        part.continues = begin > 0;
        part.first_touch = Some(numashock_machine::CpuId(0));
        regions.push(part);
        begin = *end;
    }
    let sweep = in_parts(background(rate, patterns[0]), cuts, (0, PAGES));
    // At other times than the first, so that never both come to one page at once.
    let apart = BackgroundConfig { start: Nanos(12_345), ..background(rate, patterns[1]) };
    let other = in_parts(apart, cuts, slice);
    let mut config = machine(kernel, regions, vec![thread(2, sweep), thread(0, other)]);
    config.knobs.scan_size_mb = 6;
    config
}

/// What can be seen of a machine.
fn seen(host: &Host, now: Nanos, parts: usize) -> String {
    let machine = &host.machine;
    let threads: Vec<String> =
        (0..2).map(|id| format!("{:?}", machine.thread_at(now, ThreadId(id)))).collect();
    let on: Vec<u64> = (0..2)
        .map(|node| (0..parts).map(|part| machine.pages_on(RegionId(part as u16), NodeId(node))).sum())
        .collect();
    format!("{:?} {threads:?} {:?} {on:?}", machine.counters(), machine.address_space(ProcessId(0)))
}

fn patterns() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        (0..PAGES).prop_map(|start| Pattern::Sequential { start }),
        (0..1000u64).prop_map(|seed| Pattern::Xorshift { state: STATE ^ seed << 20 }),
        (0..1000u64, 1..1000u64, 0..=100u32).prop_map(|(seed, hot_pages, hot_percent)| {
            Pattern::XorshiftHotCold { state: STATE ^ seed << 20, hot_pages, hot_percent }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parts_together_are_the_whole(
        kernel in prop::sample::select(KernelModel::ALL.to_vec()),
        first in patterns(),
        second in patterns(),
        rate in prop::sample::select(vec![3_000u64, 40_000, 400_000]),
        slice in (0u64..3_000, 1_000u64..1_096),
        cuts in prop::collection::btree_set(1u64..8, 1..4),
    ) {
        let slice = (slice.0, slice.0 + slice.1);
        let mut ends: Vec<u64> = cuts.into_iter().map(|cut| cut * 512).collect();
        ends.push(PAGES);
        let make = |ends: &[u64]| Host::new(mapped(kernel, [first, second], rate, slice, ends), 1);
        let (mut whole, mut split) = (make(&[PAGES]), make(&ends));
        for tenth in 1..=60u64 {
            let now = Nanos(tenth * 100_000_000);
            whole.run(now);
            split.run(now);
            prop_assert_eq!(seen(&whole, now, 1), seen(&split, now, ends.len()), "after {} ms", tenth * 100);
        }
        prop_assert!(whole.machine.counters().numa_hint_faults > 0);
    }
}

#[test]
fn huge_pages_may_end_in_base_pages() {
    let mut huge = region(3 * 512, 0);
    huge.kind = MapKind::AnonymousHuge;
    let mut tail = region(100, 0);
    tail.continues = true;
    let cuts = [3 * 512, 3 * 512 + 100];
    let touches = in_parts(background(50_000, Pattern::Sequential { start: 0 }), &cuts, (0, 3 * 512 + 100));
    let config = machine(KernelModel::V6_12_95, vec![huge, tail], vec![thread(2, touches)]);
    let mut host = Host::new(config, 1);
    // A pass begins only when the one before is forgotten: one mapping, one sequence.
    host.run(Nanos(2_500_000_000));
    let counters = host.machine.counters();
    assert_eq!(host.machine.address_space(ProcessId(0)).scan_seq, 1);
    assert_eq!((counters.numa_pte_updates, counters.numa_huge_pte_updates), (3 * 512 + 100, 3));
    assert_eq!((counters.numa_hint_faults, counters.numa_pages_migrated), (103, 3 * 512 + 100));
}

#[test]
fn parts_that_make_no_mapping_are_refused() {
    let refused = |change: &dyn Fn(&mut MachineConfig), why: &str| {
        let sweep = Pattern::Sequential { start: 0 };
        let mut config = mapped(KernelModel::V6_12_95, [sweep, sweep], 1_000, (0, PAGES), &[1024, PAGES]);
        change(&mut config);
        match Machine::new(config, Seed(1), &mut Effects::default()).map(|_| ()) {
            Err(error @ MachineError::NotModelled { .. }) => {
                assert!(error.to_string().contains(why), "{error}")
            }
            other => panic!("{why}: {other:?}"),
        }
    };
    refused(&|config| config.regions[0].continues = true, "a first region");
    refused(&|config| config.regions[1].policy = Policy::Local, "two policies");
    refused(&|config| config.regions[1].kind = MapKind::HugeTlb, "two kinds");
    refused(&|config| config.regions[0].pages = 1000, "inside 2 MiB");
    refused(&|config| config.threads[0].background[0].touch.pattern = Pattern::Uniform, "by law");
    let sleeps = Activity::Sleeps { sleep: Span(1_000_000), slack: Span(50_000), wake: Span(5_000) };
    refused(&|config| config.threads[0].activity = sleeps, "a sleeping thread");
    // Parts may begin on different nodes.
    let sweep = Pattern::Sequential { start: 0 };
    let mut config = mapped(KernelModel::V6_12_95, [sweep, sweep], 1_000, (0, PAGES), &[1024, PAGES]);
    config.regions[1].placement = Placement::Node(NodeId(1));
    assert!(Machine::new(config, Seed(1), &mut Effects::default()).is_ok());
}
