//! Each mechanism has a switch, and each switch changes the run that the mechanism is about: one test each, named as the switch.

mod common;

use common::{Host, background, machine, region, thread, touch};
use numashock_engine::{Nanos, Span};
use numashock_machine::{
    CpuId, Disturbance, KernelModel, MachineConfig, MapKind, NodeId, NodeMask, Owner, Pattern, Placement,
    Policy, ProcessId, RegionId, Rules, SchedulerClass, SpaceStart, ThreadId, WorkConfig, WorkId,
};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The machine as the kernel is, and with one mechanism off, at the same time.
fn with_and_without(rule: &str, config: &MachineConfig, until: Nanos) -> [Host; 2] {
    [true, false].map(|on| {
        let mut config = config.clone();
        config.rules = config.rules.with(rule, on).expect("the rule exists");
        let mut host = Host::new(config, 1);
        host.run(until);
        host
    })
}

fn marked(hosts: &[Host; 2]) -> [u64; 2] {
    [0, 1].map(|host| hosts[host].machine.counters().numa_pte_updates)
}

fn migrated(hosts: &[Host; 2]) -> [u64; 2] {
    [0, 1].map(|host| hosts[host].machine.counters().numa_pages_migrated)
}

fn period(host: &Host) -> u32 {
    host.machine.thread(ThreadId(0)).scan_period_ms
}

/// A region on node 0, and a thread on node 1 that touches it in turn.
fn remote(kernel: KernelModel, pages: u64) -> MachineConfig {
    let touches = vec![background(50_000, Pattern::Sequential { start: 0 })];
    machine(kernel, vec![region(pages, 0)], vec![thread(2, touches)])
}

/// The same, local.
fn local(kernel: KernelModel, pages: u64) -> MachineConfig {
    let touches = vec![background(50_000, Pattern::Sequential { start: 0 })];
    machine(kernel, vec![region(pages, 0)], vec![thread(0, touches)])
}

/// A fair thread that touches nothing, and a real-time thread that touches everything.
fn scanned_by_a_stranger(kernel: KernelModel, regions: usize) -> MachineConfig {
    let mut touches = Vec::new();
    for number in 0..regions {
        let mut toucher = background(50_000, Pattern::Sequential { start: 0 });
        toucher.touch.region = RegionId(number as u16);
        touches.push(toucher);
    }
    let mut user = thread(0, touches);
    user.class = SchedulerClass::Fifo;
    let regions = (0..regions).map(|_| region(1_000, 0)).collect();
    let mut config = machine(kernel, regions, vec![thread(1, Vec::new()), user]);
    config.knobs.scan_delay_ms = 100;
    config.knobs.scan_period_min_ms = 100;
    config
}

/// Two threads on two nodes that touch the same region at random.
fn shared(kernel: KernelModel) -> MachineConfig {
    let reads = || {
        let mut reads = background(40_000, Pattern::Uniform);
        // A write after a migration would forget the last user (spec: 8 F9).
        reads.touch.write_ppm = 0;
        vec![reads]
    };
    machine(kernel, vec![region(20_000, 0)], vec![thread(0, reads()), thread(2, reads())])
}

fn unit(config: &mut MachineConfig, thread: u16, count: u32) {
    let mut touches = touch(Pattern::Sequential { start: 0 });
    touches.count = count;
    config.works.push(WorkConfig {
        name: "unit".to_owned(),
        thread: ThreadId(thread),
        compute: Span::ZERO,
        touches: vec![touches],
    });
}

#[test]
fn every_switch_has_its_test() {
    let source = include_str!("rules.rs");
    for name in Rules::NAMES {
        assert!(source.contains(&format!("\nfn {name}()")), "no test for {name}");
    }
    assert_eq!(machine(KernelModel::V6_1, Vec::new(), Vec::new()).rules, Rules::KERNEL);
}

#[test]
fn vma_scan_delay() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.processes[0].start = Some(SpaceStart { next_scan_ms: Some(0), scan_seq: 3, scan_offset_pages: 0 });
    // The first pass finds a mapping it has not seen.
    let hosts = with_and_without("vma_scan_delay", &config, Nanos(1_500 * MILLI));
    assert_eq!(marked(&hosts), [0, 1_000]);
}

#[test]
fn pid_filter() {
    // In 6.4, who does not touch does not scan after two sequences.
    let config = scanned_by_a_stranger(KernelModel::V6_4, 1);
    let [with, without] = marked(&with_and_without("pid_filter", &config, Nanos(20 * SECOND)));
    assert!(with <= 2_000 && without > 10 * with, "{with} {without}");
}

#[test]
fn pid_windows() {
    let mut config = scanned_by_a_stranger(KernelModel::V6_4, 1);
    config.threads[1].background[0].touch.write_ppm = 0;
    unit(&mut config, 0, 1_000);
    let mut counts = Vec::new();
    for mut host in with_and_without("pid_windows", &config, Nanos(210 * MILLI)) {
        // The scanner uses the mapping once, and is never seen again.
        let (hash, effects) = (&mut host.hash, &mut host.effects);
        host.machine.run_unit(Nanos(210 * MILLI), ThreadId(0), WorkId(0), hash, effects);
        host.run(Nanos(30 * SECOND));
        counts.push(host.machine.counters().numa_pte_updates);
    }
    assert!(counts[0] * 2 < counts[1], "{counts:?}");
}

#[test]
fn scan_completion() {
    // 6.8 has no rescue: only a forced pass lets a stranger scan.
    let config = scanned_by_a_stranger(KernelModel::V6_8, 1);
    let [with, without] = marked(&with_and_without("scan_completion", &config, Nanos(20 * SECOND)));
    assert!(without <= 3_000 && with > 5 * without, "{with} {without}");
}

#[test]
fn starvation_rescue() {
    // Without forced passes, it alone lets a stranger scan.
    let mut config = scanned_by_a_stranger(KernelModel::V6_12_95, 1);
    config.rules.scan_completion = false;
    let [with, without] = marked(&with_and_without("starvation_rescue", &config, Nanos(20 * SECOND)));
    assert!(without <= 3_000 && with > 5 * without, "{with} {without}");
    config.kernel = KernelModel::V6_8;
    let [with, without] = marked(&with_and_without("starvation_rescue", &config, Nanos(20 * SECOND)));
    assert_eq!(with, without, "6.8 does not have it");
}

#[test]
fn single_thread_rule() {
    let mut config = local(KernelModel::V6_12_95, 1_000);
    config.processes[0].idle_threads = 0;
    let [with, without] = marked(&with_and_without("single_thread_rule", &config, Nanos(5 * SECOND)));
    assert!(with == 0 && without > 1_000, "{with} {without}");
}

#[test]
fn dirty_page_skip() {
    for kind in [MapKind::FileShared { dirty: false }, MapKind::FileCopyOnWrite] {
        let mut config = remote(KernelModel::V6_12_95, 1_000);
        config.regions[0].kind = kind;
        // Writes dirty a shared page, and would copy a private one.
        let writes = kind != MapKind::FileCopyOnWrite;
        config.threads[0].background[0].touch.write_ppm = u32::from(writes) * 1_000_000;
        let hosts = with_and_without("dirty_page_skip", &config, Nanos(5 * SECOND));
        let [with, without] = marked(&hosts);
        assert!(with == 0 && without > 0, "{kind:?} {with} {without}");
        // What is dirty does not move even so.
        assert_eq!(migrated(&hosts), [0, 0], "{kind:?}");
        assert!(hosts[1].machine.thread(ThreadId(0)).locality[2] > 0);
    }
}

#[test]
fn pinned_page_skip() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.regions[0].dma_pinned = true;
    let hosts = with_and_without("pinned_page_skip", &config, Nanos(5 * SECOND));
    assert_eq!(marked(&hosts)[0], 0);
    let counters = hosts[1].machine.counters();
    assert!(counters.numa_hint_faults > 0 && counters.pgmigrate_fail == counters.numa_hint_faults);
}

#[test]
fn cpuset_skip() {
    let mut config = remote(KernelModel::V6_19, 1_000);
    config.processes[0].mems_allowed = Some(NodeMask(1));
    let hosts = with_and_without("cpuset_skip", &config, Nanos(5 * SECOND));
    let skips = [0, 1].map(|host| hosts[host].machine.address_space(ProcessId(0)).cpuset_skips);
    assert!(marked(&hosts)[0] == 0 && skips[0] > 0, "{skips:?}");
    assert!(marked(&hosts)[1] > 0 && skips[1] == 0, "{skips:?}");
}

#[test]
fn range_budget() {
    // Everything is marked in 16 passes; then 2,048 pages are walked in a pass, or all 8,192.
    let mut config = machine(KernelModel::V6_1, vec![region(8_192, 0)], vec![thread(2, Vec::new())]);
    config.knobs.scan_size_mb = 1;
    let hosts = with_and_without("range_budget", &config, Nanos(60 * SECOND));
    assert_eq!(marked(&hosts), [8_192; 2]);
    let [with, without] = [0, 1].map(|host| hosts[host].machine.address_space(ProcessId(0)).scan_seq);
    assert!(without >= 3 * with, "{with} {without}");
}

#[test]
fn whole_range_charge() {
    let mut config = machine(KernelModel::V6_12_95, vec![region(8_192, 0)], vec![thread(2, Vec::new())]);
    config.regions[0].placement = Placement::Interleave(vec![NodeId(0), NodeId(1)]);
    config.processes[0].idle_threads = 0;
    config.knobs.scan_size_mb = 2;
    let mut first = Vec::new();
    for rule in [true, false] {
        config.rules.whole_range_charge = rule;
        let mut host = Host::new(config.clone(), 1);
        host.run(Nanos::ZERO);
        while host.machine.address_space(ProcessId(0)).scan_offset_pages == 0 {
            host.run(host.queue.next_at());
        }
        first.push(host.machine.address_space(ProcessId(0)).scan_offset_pages);
    }
    // Half of the pages can be marked: a pass covers its size, or twice that.
    assert_eq!(first, [512, 1_024]);
}

#[test]
fn pass_charge() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.costs.pass_base = Span(10 * MILLI).into();
    let hosts = with_and_without("pass_charge", &config, Nanos(1_100 * MILLI));
    let stamps = [0, 1].map(|host| hosts[host].machine.thread(ThreadId(0)).node_stamp.0);
    // Two ticks and a bit: 64 ticks.
    assert_eq!(stamps[0] - stamps[1], 64 * 4 * MILLI);
}

#[test]
fn resident_set_windows() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.threads[0].background.clear();
    config.processes[0].other_resident_pages = 7 * 65_536;
    let hosts = with_and_without("resident_set_windows", &config, Nanos(1_010 * MILLI));
    assert_eq!([period(&hosts[0]), period(&hosts[1])], [125, 1_000]);
}

#[test]
fn period_floor() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.threads[0].background.clear();
    config.knobs.scan_period_min_ms = 50;
    let hosts = with_and_without("period_floor", &config, Nanos(1_010 * MILLI));
    assert_eq!([period(&hosts[0]), period(&hosts[1])], [100, 50]);
}

#[test]
fn early_migration() {
    // A balanced mask notes local accesses too; then the thread moves, and the pages' last user is itself on the other node.
    let mut config = local(KernelModel::V6_12_95, 1_000);
    config.regions[0].policy = Policy::BindBalancing(NodeMask(3));
    let move_away = Disturbance::MoveThread { thread: ThreadId(0), cpu: CpuId(2) };
    config.disturbances = vec![(Nanos(1_500 * MILLI), move_away)];
    let [with, without] = migrated(&with_and_without("early_migration", &config, Nanos(4 * SECOND)));
    assert!(with == 1_000 && without == 0, "{with} {without}");
}

#[test]
fn two_stage_filter() {
    let config = shared(KernelModel::V6_12_95);
    let [with, without] = migrated(&with_and_without("two_stage_filter", &config, Nanos(10 * SECOND)));
    assert!(with < without, "{with} {without}");
}

#[test]
fn group_migration() {
    // What the group's faults speak against stays.
    let config = shared(KernelModel::V6_12_95);
    let [with, without] = migrated(&with_and_without("group_migration", &config, Nanos(60 * SECOND)));
    assert!(with < without, "{with} {without}");
}

#[test]
fn memoryless_check() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.topology.nodes[1].memory_pages = 0;
    let hosts = with_and_without("memoryless_check", &config, Nanos(5 * SECOND));
    let failed = [0, 1].map(|host| hosts[host].machine.thread(ThreadId(0)).locality[2]);
    assert!(failed[0] == 0 && failed[1] > 0, "{failed:?}");
    assert_eq!(migrated(&hosts), [0, 0]);
}

#[test]
fn page_migration() {
    let config = remote(KernelModel::V6_12_95, 1_000);
    let hosts = with_and_without("page_migration", &config, Nanos(5 * SECOND));
    assert_eq!(migrated(&hosts), [1_000, 0]);
    let stays = hosts[1].machine.thread(ThreadId(0));
    assert!(hosts[1].machine.counters().numa_hint_faults > 1_000 && stays.locality[2] == 0);
}

#[test]
fn lru_batches() {
    for (kernel, waiting) in [(KernelModel::V6_1, 8), (KernelModel::V6_12_95, 0)] {
        let mut config = remote(kernel, 32_768);
        config.threads[0].background.clear();
        config.regions[0].first_touch = Some(CpuId(0));
        // spec: 8 F3: 32,768 modulo 15.
        let hosts = with_and_without("lru_batches", &config, Nanos(3 * SECOND));
        assert_eq!(marked(&hosts), [32_768 - waiting, 32_768]);
    }
    // From 6.12 on they are marked, and one that waits is refused.
    let mut config = remote(KernelModel::V6_12_95, 32_768);
    config.regions[0].first_touch = Some(CpuId(0));
    let hosts = with_and_without("lru_batches", &config, Nanos(2 * SECOND));
    let failed = [0, 1].map(|host| hosts[host].machine.thread(ThreadId(0)).locality[2]);
    assert!(failed[0] > 0 && failed[1] == 0, "{failed:?}");
}

#[test]
fn second_write_fault() {
    let mut config = remote(KernelModel::V6_12_95, 1_000);
    config.threads[0].background.clear();
    unit(&mut config, 0, 10);
    let [with, without] =
        with_and_without("second_write_fault", &config, Nanos(2 * SECOND)).map(|mut host| {
            let (hash, effects) = (&mut host.hash, &mut host.effects);
            host.machine.run_unit(Nanos(2 * SECOND), ThreadId(0), WorkId(0), hash, effects).migration_copy
        });
    assert_eq!([with, without], [Span(10 * 3_500), Span(10 * 2_500)]);
}

#[test]
fn migration_sleep() {
    let fast = || vec![background(1_000_000, Pattern::Sequential { start: 0 })];
    let config = machine(KernelModel::V6_1, vec![region(1, 0)], vec![thread(2, fast()), thread(3, fast())]);
    let slept = |host: &Host| {
        let copies = host.stalls.iter().filter(|(_, stall)| stall.owner == Owner::MigrationCopy);
        copies.filter(|(_, stall)| stall.span > Span(5_000)).count()
    };
    let hosts = with_and_without("migration_sleep", &config, Nanos(1_200 * MILLI));
    assert_eq!([slept(&hosts[0]), slept(&hosts[1])], [1, 0]);
}

#[test]
fn groups() {
    // In a group, faults across its nodes count as local, and the period grows.
    let config = shared(KernelModel::V6_12_95);
    let [with, without] = marked(&with_and_without("groups", &config, Nanos(60 * SECOND)));
    assert!(2 * with < without, "{with} {without}");
}

#[test]
fn active_nodes() {
    let config = shared(KernelModel::V6_12_95);
    let [with, without] = marked(&with_and_without("active_nodes", &config, Nanos(60 * SECOND)));
    assert!(2 * with < without, "{with} {without}");
}

#[test]
fn placement_delay() {
    // When the period changes: later by up to a sixteenth of it, while faults go on all the time.
    let changes = |on: bool| {
        let mut config = remote(KernelModel::V6_12_95, 1_000);
        config.threads[0].background[0].rate_per_s = 100;
        config.rules.placement_delay = on;
        let mut host = Host::new(config, 1);
        let (mut last, mut changes) = (0, Vec::new());
        for millis in 0..40_000 {
            host.run(Nanos(millis * MILLI));
            if period(&host) != last {
                last = period(&host);
                changes.push(millis);
            }
        }
        changes
    };
    let (with, without) = (changes(true), changes(false));
    let later = with.iter().zip(&without).find(|(with, without)| with != without);
    assert!(later.is_some_and(|(with, without)| with > without), "{with:?} {without:?}");
}

#[test]
fn period_adaptation() {
    let hosts =
        with_and_without("period_adaptation", &remote(KernelModel::V6_12_95, 1_000), Nanos(20 * SECOND));
    assert!(period(&hosts[0]) > 1_000);
    assert_eq!(period(&hosts[1]), 1_000);
}

#[test]
fn back_off() {
    // All remote and private: the 500 ms of two windows double, or grow by three slots for the private share.
    let hosts = with_and_without("back_off", &remote(KernelModel::V6_12_95, 100_000), Nanos(2_300 * MILLI));
    assert_eq!([period(&hosts[0]), period(&hosts[1])], [1_000, 650]);
}

#[test]
fn sticky_failure() {
    let mut config = remote(KernelModel::V6_12_95, 4_000);
    let pressure = |pages| Disturbance::MemoryPressure { node: NodeId(1), pages };
    config.disturbances = vec![(Nanos::ZERO, pressure(1 << 30)), (Nanos(1_050 * MILLI), pressure(0))];
    let hosts = with_and_without("sticky_failure", &config, Nanos(60 * SECOND));
    assert_eq!(period(&hosts[0]), 32_000);
    assert!(period(&hosts[1]) % 1_000 != 0, "{}", period(&hosts[1]));
}

#[test]
fn restart_on_move() {
    let mut config = local(KernelModel::V6_12_95, 1_000);
    let away = Disturbance::MoveThread { thread: ThreadId(0), cpu: CpuId(2) };
    config.disturbances = vec![(Nanos(20 * SECOND), away)];
    let hosts = with_and_without("restart_on_move", &config, Nanos(20 * SECOND));
    assert_eq!(period(&hosts[0]), 1_000);
    assert!(period(&hosts[1]) > 1_000);
}

/// A machine whose second node is slow and has no CPUs, in tiering mode, and a thread that touches the region there. Of the first
/// node's 16 GiB so much is free that hot pages are told from cold ones.
fn tiered(pages: u64, rate: u64) -> MachineConfig {
    let touches = vec![background(rate, Pattern::Sequential { start: 0 })];
    let mut config = machine(KernelModel::V6_12_95, vec![region(pages, 1)], vec![thread(0, touches)]);
    config.topology.nodes[0].memory_pages = 1 << 22;
    config.topology.nodes[1].cpus.clear();
    config.topology.nodes[1].slow = true;
    config.knobs.balancing = false;
    config.knobs.tiering = true;
    leave_free(&mut config, 200_000);
    config
}

fn leave_free(config: &mut MachineConfig, free: u64) {
    let taken = config.topology.nodes[0].memory_pages - free;
    let pressure = Disturbance::MemoryPressure { node: NodeId(0), pages: taken };
    config.disturbances = vec![(Nanos::ZERO, pressure)];
}

#[test]
fn top_tier_skip() {
    let mut config = tiered(1_000, 50_000);
    config.regions[0].placement = Placement::Interleave(vec![NodeId(0), NodeId(1)]);
    let hosts = with_and_without("top_tier_skip", &config, Nanos(1_500 * MILLI));
    assert_eq!(marked(&hosts), [500, 1_000]);
}

#[test]
fn unknown_user_check() {
    let mut config = tiered(1_000, 50_000);
    (config.knobs.balancing, config.knobs.tiering) = (true, false);
    let hosts = with_and_without("unknown_user_check", &config, Nanos(1_500 * MILLI));
    assert_eq!(migrated(&hosts), [0, 1_000]);
    assert_eq!([0, 1].map(|host| hosts[host].machine.thread(ThreadId(0)).locality[0]), [0, 1_000]);
}

#[test]
fn free_promotion() {
    // The last page is touched two seconds after its marking.
    let mut config = tiered(2_000, 1_000);
    config.knobs.scan_period_min_ms = 60_000;
    leave_free(&mut config, 1 << 20);
    let [with, without] = migrated(&with_and_without("free_promotion", &config, Nanos(20 * SECOND)));
    assert!(with == 2_000 && (900..1_100).contains(&without), "{with} {without}");
}

#[test]
fn promotion_threshold() {
    let mut config = tiered(2_000, 1_000);
    config.knobs.scan_period_min_ms = 60_000;
    let [with, without] = migrated(&with_and_without("promotion_threshold", &config, Nanos(20 * SECOND)));
    assert!((900..1_100).contains(&with) && without == 2_000, "{with} {without}");
}

#[test]
fn threshold_adaptation() {
    let mut config = tiered(20_000, 40_000);
    config.knobs.promote_rate_limit_mbps = 1;
    config.knobs.scan_period_max_ms = 1_000;
    let hosts = with_and_without("threshold_adaptation", &config, Nanos(20 * SECOND));
    let [with, without] = [0, 1].map(|host| hosts[host].machine.hot_threshold_ms(NodeId(0)));
    assert!(with < 1_000 && without == 1_000, "{with} {without}");
}

#[test]
fn promotion_rate_limit() {
    let mut config = tiered(20_000, 40_000);
    config.knobs.promote_rate_limit_mbps = 4;
    let hosts = with_and_without("promotion_rate_limit", &config, Nanos(1_900 * MILLI));
    assert_eq!(migrated(&hosts), [1_024, 20_000]);
}

#[test]
fn slow_node_statistics_skip() {
    // Nothing is hot.
    let mut config = tiered(1_000, 50_000);
    config.knobs.hot_threshold_ms = 0;
    let hosts = with_and_without("slow_node_statistics_skip", &config, Nanos(1_500 * MILLI));
    assert_eq!([0, 1].map(|host| hosts[host].machine.thread(ThreadId(0)).locality[0]), [0, 1_000]);
    assert_eq!(migrated(&hosts), [0, 0]);
}

/// Two threads that touch one huge page in turn, the one that migrates it first.
fn crowded(allocation_ppm: u32, cpus: [u16; 2]) -> MachineConfig {
    let touches = |start: u64| {
        let mut toucher = background(100_000, Pattern::Sequential { start: 0 });
        toucher.start = Nanos(start);
        vec![toucher]
    };
    let threads = vec![thread(cpus[0], touches(0)), thread(cpus[1], touches(5_000))];
    let mut config = machine(KernelModel::V6_12_95, vec![region(512, 0)], threads);
    config.regions[0].kind = MapKind::AnonymousHuge;
    config.costs.huge_allocation_ppm = allocation_ppm;
    config
}

#[test]
fn double_faults() {
    let faults = |hosts: &[Host; 2]| [0, 1].map(|host| hosts[host].machine.counters().numa_hint_faults);
    let until = Nanos(1_200 * MILLI);
    // The second thread is local: it lets the page be, and its fault is a shared one, as the first has noted its access.
    let hosts = with_and_without("double_faults", &crowded(500_000, [2, 0]), until);
    assert_eq!(faults(&hosts), [2, 1]);
    assert_eq!(migrated(&hosts), [512, 512]);
    assert_eq!(hosts[0].machine.counters().numa_hint_faults_local, 1);
    // Both remote: the second one's migration is refused, as the page is off the LRU.
    let hosts = with_and_without("double_faults", &crowded(500_000, [2, 3]), until);
    assert_eq!(faults(&hosts), [2, 1]);
    let refused = [0, 1].map(|host| hosts[host].machine.thread(ThreadId(1)).locality[2]);
    assert_eq!(refused, [512, 0]);
    // Unmapped at once, the page is found gone.
    let hosts = with_and_without("double_faults", &crowded(0, [2, 0]), until);
    assert_eq!(faults(&hosts), [1, 1]);
}
