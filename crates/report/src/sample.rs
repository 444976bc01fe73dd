//! Made-up results for the tests of this crate.

use numashock_accounting::{Mechanisms, WorldValues};
use numashock_engine::{Seed, Span, Stream, sample};
use numashock_experiment::attribution::{AttributionRow, ChildRow, Diverged, PathCosts};
use numashock_experiment::results::{
    AssumedCost, BucketRow, ChoiceHeader, Counters, LatencyNs, MetricRow, ParentRow, Regime, ReleaseGap,
    Segment, Side, SweepHeader, SweepResults, Timeline, Window, summarise, uplifts,
};
use numashock_experiment::worlds::ParentValues;

const SECOND: u64 = 1_000_000_000;

const NAMES: [&str; 9] = [
    "baseline",
    "pinned, balancing off",
    "scan delay 10 s",
    "scan size 64 MB",
    "batch on node 1",
    "controller",
    "controller + slow scan",
    "hugetlb & mlock",
    "a name that is longer than any column <would> like",
];

/// Results of `choices` choices, `seeds` seeds and `parents` parents a seed: later choices have lighter tails.
pub(crate) fn results(choices: u32, seeds: u64, parents: usize) -> SweepResults {
    let mut rows = Vec::new();
    let (mut buckets, mut children) = (Vec::new(), Vec::new());
    for choice in 0..choices {
        for seed in 0..seeds {
            let mut stream = Seed(1).stream("sample", seed);
            rows.extend((0..parents as u32).map(|index| parent(choice, seed, index, &mut stream)));
            children.extend((0..8).map(|index| child(choice, seed, index)));
            buckets.extend((0..60).map(|second| bucket(choice, seed, second, &mut stream)));
        }
    }
    let timelines = (0..if seeds == 0 { 0 } else { choices }).map(|choice| Timeline {
        choice,
        seed: 0,
        buckets: buckets.iter().filter(|row| (row.choice, row.seed) == (choice, 0)).cloned().collect(),
        gaps: gaps(choice),
    });
    let timelines = timelines.collect();
    let metrics: Vec<MetricRow> = buckets.iter().map(metric_row).collect();
    SweepResults {
        summary: summarise(header(choices), &rows, &buckets, &metrics),
        segments: ["open", "mid", "close"].map(segment).to_vec(),
        hosts: vec!["h1".to_owned()],
        uplifts: uplifts(&rows),
        metrics,
        parents: rows,
        children,
        buckets,
        timelines,
        disturbances: Vec::new(),
        decisions: Vec::new(),
    }
}

fn header(choices: u32) -> SweepHeader {
    SweepHeader {
        model_version: "0.1.0".to_owned(),
        seed: 42,
        event_hash: 0x1234_5678_9ABC_DEF0,
        scenario: "two-node-host".to_owned(),
        assumed_costs: vec![
            AssumedCost {
                name: "machine.cost.stopper_wait".to_owned(),
                value: "25us".to_owned(),
                source: "no public figure; half of one context switch round trip".to_owned(),
            },
            AssumedCost {
                name: "machine.cost.ipi".to_owned(),
                value: "1200ns".to_owned(),
                source: "guess".to_owned(),
            },
        ],
        recorded_flow: None,
        choices: (0..choices)
            .map(|choice| ChoiceHeader {
                name: NAMES[choice as usize].to_owned(),
                micro_clusters: numashock_experiment::results::MicroClusters::default(),
                decision_latency_ns: LatencyNs {
                    q50: Some(4_210 + 13 * u64::from(choice)),
                    q99: Some(190_000 - 17_000 * u64::from(choice)),
                },
            })
            .collect(),
        resamples: 200,
        segments: ["open", "mid", "close"].map(segment).to_vec(),
    }
}

fn segment(phase: &str) -> Segment {
    Segment {
        host: "h1".to_owned(),
        strategy: "twap".to_owned(),
        symbol_liquidity: "thin".to_owned(),
        session_phase: phase.to_owned(),
    }
}

fn parent(choice: u32, seed: u64, index: u32, stream: &mut Stream) -> ParentRow {
    let body = sample::log_normal(stream, Span(6_000_000), 400_000).0 as i64 - 3_000_000;
    let tail = sample::exponential(stream, 9_000_000.0).0 as i64;
    let hit = stream.below(10) == 0;
    let numa = if hit { tail / i64::from(choice + 1) } else { 0 };
    let micro = body + numa;
    ParentRow {
        choice,
        seed,
        parent: index,
        segment: index % 3,
        window: if index < 3 { Window::Transient } else { Window::Steady },
        exposed: (index != 7).then_some(hit),
        arrival_ns: u64::from(index) * SECOND,
        side: if index.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        quantity_lots: 100,
        horizon_ns: 60 * SECOND,
        filled_lots: if hit { 97 } else { 100 },
        completed: !hit,
        deadline_missed: hit,
        decision_mid_half_ticks: 20_000,
        decision_spread_ticks: Some(1 + u64::from(index % 2)),
        decision_variation: (index > 0).then_some(u64::from(index)),
        is: micro / 5_000,
        is_mid_mark: micro / 5_000,
        c_delay: 0,
        c_impact: body / 5_000,
        c_miss: 0,
        fees: 0,
        c_numa: micro / 5_000 - body / 5_000,
        c_placement: -40,
        c_net: micro / 5_000 - body / 5_000 - 40,
        c_numa_mid_mark: micro / 5_000 - body / 5_000,
        c_placement_mid_mark: -40,
        observed_delay: numa / 5_000,
        observed_impact: body / 5_000,
        observed_miss: 0,
        observed_fees: 0,
        path: PathCosts { host: numa / 5_000, spread_and_impact: body / 5_000, ..PathCosts::default() },
        attribution: Some(attribution(body / 5_000, micro / 5_000)),
        is_micro_bp: micro,
        c_numa_micro_bp: numa,
        c_placement_micro_bp: -200_000,
        stall_hint_fault_ns: u64::from(hit) * 80_000,
        stall_migration_copy_ns: u64::from(hit) * 40_000,
        stall_dispatch_jitter_ns: 9_000,
        queue_wait_ns: 12_000,
        children: 12,
        releases: 14,
        reprices: 2,
        qdl_ppm: hit.then_some(120_000),
        diverged: Diverged { market_ppm: 250_000, flow_ppm: 0, host_ppm: u32::from(hit) * 1_000_000 },
    }
}

/// Half of what a parent pays for balancing is queue decay; the rest is head-of-line blocking by faults.
fn attribution(free: i64, real: i64) -> AttributionRow {
    let numa = i128::from(real - free);
    let value = |world: Mechanisms| {
        let delayed = world.hint_fault && world.dispatch_jitter;
        let paid = if delayed { numa - if world.queue_decay { 0 } else { numa / 2 } } else { 0 };
        i128::from(free) + paid
    };
    let values = WorldValues::from_fn(value);
    AttributionRow::of(&ParentValues { swept: values, marked: values })
}

fn child(choice: u32, seed: u64, index: u32) -> ChildRow {
    let arrived_ns = u64::from(index) * SECOND + 20_000;
    ChildRow {
        choice,
        seed,
        parent: index / 4,
        child: index,
        side: Side::Sell,
        placements: 1,
        decided_ns: arrived_ns - 20_000,
        dispatched_ns: arrived_ns - 12_000,
        arrived_ns,
        on_time_ns: arrived_ns - 1_000,
        decided_mid_half_ticks: 20_000,
        dispatched_mid_half_ticks: 20_001,
        arrived_mid_half_ticks: 20_001,
        limit_ticks: 10_001,
        lots: 10,
        filled_lots: 9,
        ahead_lots: (!index.is_multiple_of(3)).then_some(40),
        ahead_on_time_lots: (!index.is_multiple_of(3)).then_some(30),
        path: PathCosts { host: -9, ..PathCosts::default() },
    }
}

fn bucket(choice: u32, seed: u64, second: u64, stream: &mut Stream) -> BucketRow {
    let storm = second % 20 >= 12 && second % 20 < 16;
    let scale = if storm { 30_000 } else { 300 } / u64::from(choice + 1);
    let faults = if second.is_multiple_of(7) { 0 } else { scale + stream.below(scale) };
    BucketRow {
        choice,
        seed,
        host: 0,
        bucket_start_ns: second * SECOND,
        bucket_length_ns: SECOND,
        measured: true,
        counters: Counters {
            numa_pte_updates: faults * 2,
            numa_huge_pte_updates: 0,
            numa_hint_faults: faults,
            numa_hint_faults_local: faults / 2,
            numa_pages_migrated: faults / 3,
            pgmigrate_success: faults / 3,
            pgmigrate_fail: 0,
        },
        rhf_ppm: Some(500_000),
        hint_fault_rate_milli_hz: Some(faults as i64 * 1_000),
        mcr_kib_per_s: Some((faults / 3 * 4) as i64),
        interconnect_share_ppm: Some((faults / 3) as i64),
        dcj_ppm: (second.is_multiple_of(5)).then_some(300_000),
        fano_ppm: Some(1_000_000),
        qdl_ppm: None,
        decisions: 100,
        releases: 50,
        fills: 20,
        latency_q50_ns: (second > 0).then_some(4_200),
        latency_q99_ns: Some(120_000),
        regime: match second % 20 {
            12 => Regime::NumaWatch,
            13..16 => Regime::NumaShock,
            16..18 => Regime::SafeNumaConservative,
            18 => Regime::NumaWatch,
            _ => Regime::NumaStable,
        },
        participation_cap_ppm: 1_000_000,
    }
}

/// A bucket as one segment's, the phases in turn; not every one was seen.
fn metric_row(bucket: &BucketRow) -> MetricRow {
    let second = bucket.bucket_start_ns / SECOND;
    let seen = (!second.is_multiple_of(11)).then_some(bucket.counters);
    let unsigned = |value: Option<i64>| value.filter(|_| seen.is_some()).map(i64::unsigned_abs);
    MetricRow {
        choice: bucket.choice,
        seed: bucket.seed,
        segment: (second / 20) as u32,
        bucket_start_ns: bucket.bucket_start_ns,
        bucket_length_ns: bucket.bucket_length_ns,
        measured: true,
        numa_pte_updates: seen.map(|seen| seen.numa_pte_updates),
        numa_hint_faults: seen.map(|seen| seen.numa_hint_faults),
        numa_hint_faults_local: seen.map(|seen| seen.numa_hint_faults_local),
        numa_pages_migrated: seen.map(|seen| seen.numa_pages_migrated),
        rhf_ppm: unsigned(bucket.rhf_ppm),
        hint_fault_rate_milli_hz: unsigned(bucket.hint_fault_rate_milli_hz),
        mcr_kib_per_s: unsigned(bucket.mcr_kib_per_s),
        interconnect_share_ppm: unsigned(bucket.interconnect_share_ppm),
        releases: 50,
        release_squares: 60,
        fano_ppm: Some(700_000),
        gaps: 50,
        gap_q50_ns: None,
        gap_q95_ns: None,
        dcj_ppm: None,
        passive_children: 40,
        passive_unqueued: 1,
        qdl_sum_ppm: 40_000 - 1_000 * second as i64,
        qdl_ppm: Some(1_000 - 25 * second as i64),
        parents_ended: 1,
        deadlines_missed: second % 2,
    }
}

fn gaps(choice: u32) -> Vec<ReleaseGap> {
    let mut stream = Seed(3).stream("gaps", u64::from(choice));
    let mut at = 0;
    let mut gaps = Vec::new();
    while at < 59 * SECOND {
        let storm = at / SECOND % 20 >= 12 && at / SECOND % 20 < 16;
        let stalled = storm && stream.below(u64::from(choice) + 3) == 0;
        let gap = match (stalled, gaps.len() % 4) {
            (true, 0) => sample::exponential(&mut stream, 8e7).0 + 1,
            (true, _) => 400 + stream.below(800),
            (false, _) => sample::log_normal(&mut stream, Span(18_000_000), 500_000).0,
        };
        at += gap;
        gaps.push(ReleaseGap { at_ns: at, gap_ns: gap });
    }
    gaps
}
