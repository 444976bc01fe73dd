//! Touches that are drawn in jumps, from one that matters to the next, follow the law of touches made one by one: how many pages
//! fault, which ones, and after how many touches. The laws are computed exactly, touch by touch; seeds are fixed, and each
//! comparison would fail with a chance of 1e-4 if the law held and the seeds were drawn anew.

mod common;

use common::{Host, background, machine, region, thread, touch};
use numashock_engine::{Nanos, Span};
use numashock_machine::{
    KernelModel, MachineConfig, NodeId, Pattern, Placement, RegionId, SchedulerClass, ThreadId, WorkConfig,
    WorkId,
};

const RUNS: u64 = 4_000;
const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

/// A part of the region: its share of the touches, its pages, and how many of them are marked.
#[derive(Clone, Copy)]
struct Part {
    share: f64,
    pages: f64,
    marked: usize,
}

/// The chances of 0, 1, 2, ... faults after that many touches, one by one: each hits a marked page of a part with the part's
/// share × its marked pages / its pages, and the page is marked no more.
fn faults_by_touch(hot: Part, cold: Part, touches: u32) -> Vec<f64> {
    let mut chance = vec![vec![0.0; cold.marked + 1]; hot.marked + 1];
    chance[0][0] = 1.0;
    for _ in 0..touches {
        let mut next = vec![vec![0.0; cold.marked + 1]; hot.marked + 1];
        for i in 0..=hot.marked {
            for j in 0..=cold.marked {
                let to_hot = hot.share * (hot.marked - i) as f64 / hot.pages;
                let to_cold = cold.share * (cold.marked - j) as f64 / cold.pages;
                if i < hot.marked {
                    next[i + 1][j] += chance[i][j] * to_hot;
                }
                if j < cold.marked {
                    next[i][j + 1] += chance[i][j] * to_cold;
                }
                next[i][j] += chance[i][j] * (1.0 - to_hot - to_cold);
            }
        }
        chance = next;
    }
    let mut total = vec![0.0; hot.marked + cold.marked + 1];
    for (i, row) in chance.iter().enumerate() {
        for (j, chance) in row.iter().enumerate() {
            total[i + j] += chance;
        }
    }
    total
}

/// Pearson's statistic of counts against chances, with neighbours merged until at least 8 are expected; asserts that it is below the
/// point that it exceeds with a chance of 1e-4 (Wilson and Hilferty's approximation).
fn assert_fits(what: &str, counts: &[u64], chances: &[f64]) {
    let total: u64 = counts.iter().sum();
    let mut bins: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (place, chance) in chances.iter().enumerate() {
        open.0 += counts.get(place).copied().unwrap_or(0) as f64;
        open.1 += chance * total as f64;
        if open.1 >= 8.0 {
            bins.push(open);
            open = (0.0, 0.0);
        }
    }
    let last = bins.last_mut().expect("something is expected");
    *last = (last.0 + open.0, last.1 + open.1);
    let beyond: u64 = counts.iter().skip(chances.len()).sum();
    assert_eq!(beyond, 0, "{what}: outside of what is possible");
    let statistic: f64 = bins.iter().map(|(seen, expected)| (seen - expected).powi(2) / expected).sum();
    let freedom = (bins.len() - 1) as f64;
    assert!(freedom > 2.0, "{what}: too few bins");
    let part = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - part + 3.719 * part.sqrt()).powi(3);
    assert!(statistic < limit, "{what}: {statistic} of at most {limit} with {freedom} degrees of freedom");
}

/// A single-threaded process on node 1 whose pages lie on node 0 every `apart`-th, else with it: only those are marked.
fn sparse(pages: u64, apart: usize, pattern: Pattern, count: u32) -> MachineConfig {
    let mut config = machine(KernelModel::V6_12_95, vec![region(pages, 0)], vec![thread(2, Vec::new())]);
    let mut nodes = vec![NodeId(1); apart];
    nodes[0] = NodeId(0);
    config.regions[0].placement = Placement::Interleave(nodes);
    config.processes[0].idle_threads = 0;
    let mut touches = touch(pattern);
    touches.count = count;
    touches.write_ppm = 0;
    config.works.push(WorkConfig {
        name: "unit".to_owned(),
        thread: ThreadId(0),
        compute: Span::ZERO,
        touches: vec![touches],
    });
    config
}

fn unit(host: &mut Host) {
    let (hash, effects) = (&mut host.hash, &mut host.effects);
    host.machine.run_unit(Nanos(3 * SECOND), ThreadId(0), WorkId(0), hash, effects);
}

/// How often there were 0, 1, 2, ... faults.
fn fault_counts(config: &MachineConfig, marked: usize, measure: impl Fn(&mut Host)) -> Vec<u64> {
    let mut counts = vec![0; marked + 1];
    for seed in 0..RUNS {
        let mut host = Host::new(config.clone(), seed);
        host.run(Nanos(3 * SECOND));
        assert_eq!(host.machine.counters().numa_pte_updates, marked as u64);
        measure(&mut host);
        counts[host.machine.counters().numa_hint_faults as usize] += 1;
    }
    counts
}

const NOTHING: Part = Part { share: 0.0, pages: 1.0, marked: 0 };
const HOT_COLD: Pattern = Pattern::HotCold { hot_pages_ppm: 100_000, hot_touches_ppm: 800_000 };

#[test]
fn uniform_touches_fault_on_as_many_pages() {
    // Dense: guessed page by page. Sparse: a geometric jump to a member.
    for (pages, apart, marked, touches) in [(40u64, 1usize, 40usize, 45u32), (2_000, 50, 40, 1_500)] {
        let config = sparse(pages, apart, Pattern::Uniform, touches);
        let counts = fault_counts(&config, marked, unit);
        let all = Part { share: 1.0, pages: pages as f64, marked };
        assert_fits("uniform", &counts, &faults_by_touch(all, NOTHING, touches));
    }
}

#[test]
fn hot_and_cold_touches_fault_on_as_many_pages() {
    for (pages, apart, hot, cold, touches) in
        [(100u64, 1usize, 10usize, 90usize, 60u32), (2_000, 50, 4, 36, 900)]
    {
        let config = sparse(pages, apart, HOT_COLD, touches);
        let counts = fault_counts(&config, hot + cold, unit);
        let hot = Part { share: 0.8, pages: pages as f64 / 10.0, marked: hot };
        let cold = Part { share: 0.2, pages: pages as f64 * 0.9, marked: cold };
        assert_fits("hot and cold", &counts, &faults_by_touch(hot, cold, touches));
    }
}

#[test]
fn the_first_fault_comes_as_late_and_on_the_same_page() {
    for (pattern, hot_share) in [(Pattern::Uniform, 0.1), (HOT_COLD, 0.8)] {
        let (pages, apart, marked) = (600u64, 15u64, 40usize);
        let config = sparse(pages, apart as usize, pattern, 1);
        let (mut after, mut on) = (vec![0u64; 2_000], vec![0u64; marked]);
        for seed in 0..RUNS {
            let mut host = Host::new(config.clone(), seed);
            host.run(Nanos(3 * SECOND));
            let mut touches = 0;
            while host.machine.counters().numa_hint_faults == 0 {
                unit(&mut host);
                touches += 1;
            }
            after[touches - 1] += 1;
            let page =
                (0..pages).step_by(apart as usize).find(|page| !host.machine.is_marked(RegionId(0), *page));
            on[(page.expect("one faulted") / apart) as usize] += 1;
        }
        // Four of the sixty hot pages are marked, 36 of the 540 cold ones: a fifteenth of either, so the wait is the same.
        let hit = 1.0 / 15.0;
        let geometric = (0..2_000).map(|touch| hit * (1.0f64 - hit).powi(touch)).collect::<Vec<_>>();
        assert_fits("touches before the first fault", &after, &geometric);
        let place = |page: usize| if page < 4 { hot_share / 4.0 } else { (1.0 - hot_share) / 36.0 };
        assert_fits("page of the first fault", &on, &(0..marked).map(place).collect::<Vec<_>>());
    }
}

#[test]
fn touches_by_the_clock_fault_on_as_many_pages() {
    // A real-time thread touches at 10, 20, 30 ms and so on; a fair one on the same node marks everything just after a second. From
    // then to 1,305 ms there are 30 touches.
    let mut touches = background(100, Pattern::Uniform);
    touches.touch.write_ppm = 0;
    let mut user = thread(3, vec![touches]);
    user.class = SchedulerClass::Fifo;
    let config = machine(KernelModel::V6_12_95, vec![region(40, 0)], vec![thread(2, Vec::new()), user]);
    let mut counts = vec![0; 41];
    for seed in 0..RUNS {
        let mut host = Host::new(config.clone(), seed);
        host.run(Nanos(1_005 * MILLI));
        assert_eq!(
            (host.machine.counters().numa_pte_updates, host.machine.counters().numa_hint_faults),
            (40, 0)
        );
        host.run(Nanos(1_305 * MILLI));
        counts[host.machine.counters().numa_hint_faults as usize] += 1;
    }
    let all = Part { share: 1.0, pages: 40.0, marked: 40 };
    assert_fits("by the clock", &counts, &faults_by_touch(all, NOTHING, 30));
}

#[test]
fn a_wrong_law_is_told_from_the_right_one() {
    // 45 touches do not pass for 43.
    let config = sparse(40, 1, Pattern::Uniform, 45);
    let counts = fault_counts(&config, 40, unit);
    let all = Part { share: 1.0, pages: 40.0, marked: 40 };
    let wrong = faults_by_touch(all, NOTHING, 43);
    assert!(std::panic::catch_unwind(|| assert_fits("wrong", &counts, &wrong)).is_err());
}
