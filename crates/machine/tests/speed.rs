//! Measurements on the host, run by hand: `cargo test --release -p numashock-machine --test speed -- --ignored --nocapture`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this measures the host")]

mod common;

use std::time::Instant;

use common::{Host, background, machine, region, thread, touch};
use numashock_engine::{Nanos, Span};
use numashock_machine::{KernelModel, Pattern, ThreadId, WorkConfig, WorkId};

const GIB: u64 = 1 << 18;

fn measure(name: &str, pages: u64, rate: u64, pattern: Pattern, seconds: u64) {
    let config = machine(
        KernelModel::V6_12_95,
        vec![region(pages, 0)],
        vec![thread(2, vec![background(rate, pattern)])],
    );
    let begin = Instant::now();
    let mut host = Host::new(config, 1);
    let created = begin.elapsed();
    let begin = Instant::now();
    host.run(Nanos(seconds * 1_000_000_000));
    let ran = begin.elapsed();
    let counters = host.machine.counters();
    println!(
        "{name}: created {created:?}, {seconds} s in {ran:?}, {} marked, {} faults, {} migrated, {} events: {} ns a fault",
        counters.numa_pte_updates,
        counters.numa_hint_faults,
        counters.numa_pages_migrated,
        host.handled,
        ran.as_nanos() as u64 / counters.numa_hint_faults.max(1)
    );
}

#[test]
#[ignore = "a measurement"]
fn faults_and_passes() {
    measure("16 GiB uniform", 16 * GIB, 300_000, Pattern::Uniform, 60);
    measure("16 GiB sequential", 16 * GIB, 300_000, Pattern::Sequential { start: 0 }, 60);
    let hot = Pattern::HotCold { hot_pages_ppm: 100_000, hot_touches_ppm: 900_000 };
    measure("16 GiB hot and cold", 16 * GIB, 300_000, hot, 60);
    measure("64 GiB uniform", 64 * GIB, 300_000, Pattern::Uniform, 60);
    measure("256 MiB uniform", GIB / 4, 300_000, Pattern::Uniform, 600);
}

#[test]
#[ignore = "a measurement"]
fn passes_without_touches() {
    let config = machine(KernelModel::V6_12_95, vec![region(64 * GIB, 0)], vec![thread(2, Vec::new())]);
    let mut host = Host::new(config, 1);
    let begin = Instant::now();
    host.run(Nanos(60_000_000_000));
    let ran = begin.elapsed();
    let passes = host.machine.counters().numa_pte_updates / 65_536;
    println!("{passes} full passes in {ran:?}: {} ns each", ran.as_nanos() as u64 / passes.max(1));
}

#[test]
#[ignore = "a measurement"]
fn creation() {
    let begin = Instant::now();
    for seed in 0..1000 {
        let config = machine(KernelModel::V6_12_95, vec![region(16 * GIB, 0)], vec![thread(2, Vec::new())]);
        std::hint::black_box(Host::new(config, seed));
    }
    println!("16 GiB machine created in {:?}", begin.elapsed() / 1000);
}

#[test]
#[ignore = "a measurement"]
fn units_of_work() {
    for (name, balancing, miss_ppm) in
        [("cached", false, 0), ("missing", false, 50_000), ("balanced", true, 50_000)]
    {
        let mut config = machine(KernelModel::V6_12_95, vec![region(GIB, 0)], vec![thread(2, Vec::new())]);
        config.knobs.balancing = balancing;
        let hot = Pattern::HotCold { hot_pages_ppm: 100_000, hot_touches_ppm: 900_000 };
        let touches = [Pattern::Uniform, hot].map(|pattern| {
            let mut touch = touch(pattern);
            touch.count = 20;
            touch.miss_ppm = miss_ppm;
            touch
        });
        config.works.push(WorkConfig {
            name: "message".to_owned(),
            thread: ThreadId(0),
            compute: Span(700),
            touches: touches.to_vec(),
        });
        let mut host = Host::new(config, 1);
        let begin = Instant::now();
        let units = 5_000_000u64;
        for unit in 0..units {
            let now = Nanos(unit * 20_000);
            host.run(now);
            std::hint::black_box(host.machine.run_unit(
                now,
                ThreadId(0),
                WorkId(0),
                &mut host.hash,
                &mut host.effects,
            ));
        }
        let ran = begin.elapsed();
        let faults = host.machine.counters().numa_hint_faults;
        println!("{name}: {} ns a unit of 2 × 20 touches, {faults} faults", ran.as_nanos() as u64 / units);
    }
}
