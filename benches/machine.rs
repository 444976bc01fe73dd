//! The machine alone: a large process under default balancing, in touches and simulated seconds, with bytes per page.

use std::path::Path;

use numashock_benches::{Delays, ROUNDS, Reference, compare, timed};
use numashock_engine::{Nanos, Span};
use numashock_sim::HostRun;
use numashock_sim::scenario::hosts::{HostConfig, HostScenario};

fn main() {
    let delays = Delays::new();
    let mut reference = Reference::new(&delays);
    let small = ["region.heap.size=\"8GiB\"", "thread.worker.count=4", "thread.worker.cpu=\"0-1,16-17\""];
    let cached = ["thread.worker.touches.heap.write=\"100%\""];
    for (name, settings) in
        [("64 GiB, 32 threads", &[][..]), ("64 GiB, writes only", &cached), ("8 GiB, 4 threads", &small)]
    {
        measure(name, &host(settings), &mut reference);
    }
}

fn measure(name: &str, config: &HostConfig, reference: &mut Reference<'_>) {
    let machine = &config.machine;
    let touches: u64 = machine.threads.iter().flat_map(|t| &t.background).map(|b| b.rate_per_s).sum();
    let pages: u64 = machine.regions.iter().map(|region| region.pages).sum();
    let before = resident_bytes();
    let mut run = HostRun::new(config);
    let mut now = Nanos::ZERO + config.warmup;
    run.until(now, |_| {});
    let seconds = config.duration.0 / Span::from_millis(1000).0;
    let earlier = run.machine().counters();
    let rate = compare(name, "touches/s", reference, || {
        timed(|| {
            now += config.duration;
            run.until(now, |_| {});
            seconds * touches
        })
    });
    let faults = run.machine().counters().since(&earlier).numa_hint_faults / (seconds * ROUNDS as u64);
    let real_time = rate / touches as f64;
    println!(
        "  {real_time:.1} x real time; {faults} hinting faults a simulated second, {:.0} ns each; {:.2} bytes a page",
        1e9 / real_time / faults.max(1) as f64,
        resident_bytes().saturating_sub(before) as f64 / pages as f64,
    );
}

fn host(settings: &[&str]) -> HostConfig {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("machine.toml");
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let scenario = HostScenario::read(&file, &settings).unwrap_or_else(|error| panic!("{error}"));
    let variants = scenario.variants().unwrap_or_else(|error| panic!("{error}"));
    variants.into_iter().next().expect("the base is a variant").config
}

/// Resident memory of this program as the kernel accounts for it; 0 where it does not.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
