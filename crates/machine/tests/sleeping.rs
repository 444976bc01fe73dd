//! Threads that sleep between batches of touches: their CPU time, and the ticks that find them awake.

mod common;

use common::{Host, background, machine, region, thread};
use numashock_engine::{Nanos, Span};
use numashock_machine::{
    Activity, Charges, Cost, Disturbance, KernelModel, MachineConfig, MachineError, Owner, Pattern,
    SchedulerClass, ThreadConfig, ThreadId,
};

const SECOND: u64 = 1_000_000_000;
const REST: u64 = 1_050_000;
const WAKE: u64 = 4_000;
const RATE: u64 = 400_000;
const TOUCH: u64 = 100;

/// One sleeper on node 1 that sweeps 128 MiB of node 0, scanned as often as the kernel allows.
fn sleeper() -> MachineConfig {
    let pattern = Pattern::Sequential { start: 0 };
    let mut config = machine(
        KernelModel::V6_12_95,
        vec![region(32_768, 0)],
        vec![thread(2, vec![background(RATE, pattern)])],
    );
    config.threads[0].activity =
        Activity::Sleeps { sleep: Span(1_000_000), slack: Span(50_000), wake: Span(WAKE) };
    config.knobs.scan_delay_ms = 100;
    config.knobs.scan_period_min_ms = 100;
    config
}

fn runtime(host: &Host, at: u64) -> u64 {
    host.machine.thread_at(Nanos(at), ThreadId(0)).runtime.0
}

#[test]
fn cpu_time_is_wake_ups_touches_and_stalls() {
    let mut host = Host::new(sleeper(), 1);
    let mut before = 0;
    for tenth in 1..=300 {
        let now = tenth * SECOND / 10;
        host.run(Nanos(now));
        let used = runtime(&host, now);
        assert!(
            before <= used && used - before <= SECOND / 10,
            "never more than the clock: {before}, {used}"
        );
        before = used;
        let stalls: u64 = host.stalls.iter().map(|(_, stall)| stall.span.0).sum();
        let behind = host.stalls.last().is_some_and(|(at, _)| now - at.0 < SECOND / 2);
        if !behind {
            // It has slept whenever it was not awake, and made every touch.
            let loops = (now - used) / REST * WAKE + now / 1_000 * RATE / 1_000_000 * TOUCH;
            assert!(used.abs_diff(stalls + loops) < 100_000, "at {now}: {used}, {stalls} + {loops}");
        }
    }
    assert!(host.machine.counters().numa_pages_migrated == 32_768, "{:?}", host.machine.counters());
    assert!(host.machine.counters().numa_pte_updates > 2 * 32_768);
}

#[test]
fn while_it_catches_up_it_does_not_sleep() {
    let mut config = sleeper();
    config.costs.migrate_page = numashock_machine::Cost::constant(15_000);
    let mut host = Host::new(config, 1);
    let mut full = 0;
    for step in 1..=3_000 {
        let now = step * SECOND / 100;
        let before = runtime(&host, now - SECOND / 100);
        host.run(Nanos(now));
        full += u64::from(runtime(&host, now) - before == SECOND / 100);
    }
    // 32,768 pages of 17.8 us, and the touches that wait meanwhile.
    assert!((58..90).contains(&full), "{full} hundredths awake all through");
}

#[test]
fn a_shootdown_takes_its_initiator_what_it_takes_for_those_it_interrupts() {
    // Free but for the flush, and long enough for sleepers to wake up and go to sleep meanwhile.
    let nothing = || Vec::new();
    let sleeper = |cpu: u16| ThreadConfig {
        activity: Activity::Sleeps { sleep: Span(1_000_000), slack: Span(50_000), wake: Span(400_000) },
        class: SchedulerClass::Fifo,
        ..thread(cpu, nothing())
    };
    let threads = vec![thread(0, nothing()), sleeper(1), sleeper(2), sleeper(3)];
    let mut config = machine(KernelModel::V6_1, vec![region(256, 0)], threads);
    config.costs.pass_base = Cost::constant(2_700_000);
    config.costs.mark_per_pte_ps = Cost::constant(0);
    (config.costs.skip_per_pte_ps, config.costs.local_skip_per_pte_ps) = (0, 0);
    config.knobs.scan_period_min_ms = 100;
    config.knobs.scan_delay_ms = 100;
    let mut seen = Vec::new();
    for phase in 0..20 {
        config.tick_phase = Span(1 + phase * 170_000);
        let mut host = Host::new(config.clone(), 1);
        host.run(Nanos(2_000_000_000));
        for pass in host.effects.passes.iter().filter(|pass| pass.marked > 0) {
            assert_eq!(pass.length, Span(2_701_000 + 200 * u64::from(pass.interrupts)));
            seen.push(pass.interrupts);
        }
    }
    assert!(seen.contains(&0) && seen.iter().any(|interrupts| *interrupts > 0), "{seen:?}");
}

#[test]
fn passes_begin_at_ticks_that_find_it_awake() {
    let mut host = Host::new(sleeper(), 1);
    host.run(Nanos(30 * SECOND));
    let passes: Vec<u64> = host
        .stalls
        .iter()
        .filter(|(_, stall)| stall.owner == Owner::DispatchJitter && stall.span.0 > 100_000)
        .map(|(at, _)| at.0)
        .collect();
    assert!(passes.len() >= 3, "{passes:?}");
    let mut again = Host::new(sleeper(), 1);
    for pass in passes {
        assert_eq!(pass % 4_000_000, 1_000_000, "at a tick");
        again.run(Nanos(pass - 1));
        // It is awake for about 46 us of each 1.1 ms.
        assert_eq!(runtime(&again, pass) - runtime(&again, pass - 1), 1, "awake at {pass}");
    }
}

#[test]
fn how_often_it_is_looked_at_changes_nothing() {
    let outcome = |step: u64| {
        let mut config = sleeper();
        config.threads.push(thread(0, vec![background(7_000, Pattern::Uniform)]));
        let steal = |at: u64| (Nanos(at), Disturbance::Steal { length: Span(300_000), share_ppm: 500_000 });
        config.disturbances = (0..100).map(|index| steal(index * 77_000_000)).collect();
        let mut host = Host::new(config, 3);
        for turn in 1..=8 * SECOND / step {
            host.run(Nanos(turn * step));
            assert!(runtime(&host, turn * step) <= turn * step);
        }
        (host.hash.checkpoint(), host.machine.thread_at(Nanos(8 * SECOND), ThreadId(0)))
    };
    assert_eq!(outcome(8 * SECOND), outcome(SECOND / 125));
}

#[test]
fn what_is_not_charged_is_cpu_time_all_the_same() {
    let mut config = sleeper();
    config.charges = Charges::NONE;
    let mut host = Host::new(config, 1);
    host.run(Nanos(30 * SECOND));
    let used = runtime(&host, 30 * SECOND);
    let stalls: u64 = host.stalls.iter().map(|(_, stall)| stall.span.0).sum();
    let loops = 30 * RATE * TOUCH + 30 * SECOND / 1_100_000 * WAKE;
    assert!(used.abs_diff(stalls + loops) < 3_000_000, "{used}, {stalls} + {loops}");
}

#[test]
fn a_thread_that_hardly_sleeps_is_refused() {
    let refused = |change: fn(&mut MachineConfig)| {
        let mut config = sleeper();
        change(&mut config);
        let made =
            numashock_machine::Machine::new(config, numashock_engine::Seed(0), &mut Default::default());
        matches!(made, Err(MachineError::OutOfRange { .. }))
    };
    assert!(!refused(|_| {}));
    assert!(refused(|config| config.threads[0].background[0].touch_cost = Span(2_400)));
    assert!(refused(|config| {
        config.threads[0].activity = Activity::Sleeps { sleep: Span(999), slack: Span(0), wake: Span(0) };
    }));
}
