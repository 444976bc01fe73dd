//! Summaries of made-up rows.

use super::*;

fn parent(choice: u32, seed: u64, parent: u32, is_bp: i64) -> ParentRow {
    ParentRow {
        choice,
        seed,
        parent,
        segment: 0,
        window: if parent < 5 { Window::Transient } else { Window::Steady },
        exposed: Some(false),
        arrival_ns: u64::from(parent) * 1_000,
        side: Side::Buy,
        quantity_lots: 10,
        horizon_ns: 1_000_000,
        filled_lots: 10,
        completed: true,
        deadline_missed: false,
        decision_mid_half_ticks: 20_000,
        is: is_bp * 20,
        is_mid_mark: is_bp * 20,
        c_delay: 0,
        c_impact: is_bp * 20,
        c_miss: 0,
        fees: 0,
        c_numa: 0,
        c_placement: 0,
        c_net: 0,
        c_numa_mid_mark: 0,
        c_placement_mid_mark: 0,
        observed_delay: 0,
        observed_impact: is_bp * 20,
        observed_miss: 0,
        observed_fees: 0,
        path: PathCosts::default(),
        attribution: None,
        is_micro_bp: is_bp * 1_000_000,
        c_numa_micro_bp: 0,
        c_placement_micro_bp: 0,
        stall_hint_fault_ns: 0,
        stall_migration_copy_ns: 0,
        stall_dispatch_jitter_ns: 0,
        queue_wait_ns: 0,
        children: 4,
        releases: 4,
        reprices: 0,
        qdl_ppm: None,
        diverged: Diverged::default(),
    }
}

fn bucket(choice: u32, length: u64, faults: u64, local: u64) -> BucketRow {
    BucketRow {
        choice,
        seed: 0,
        host: 0,
        bucket_start_ns: 0,
        bucket_length_ns: length,
        counters: Counters { numa_hint_faults: faults, numa_hint_faults_local: local, ..Counters::default() },
        rhf_ppm: None,
        mcr_kib_per_s: Some(2_048),
        dcj_ppm: None,
        fano_ppm: None,
        qdl_ppm: None,
        decisions: 0,
        releases: 0,
        fills: 0,
        latency_q50_ns: None,
        latency_q99_ns: None,
        regime: Regime::NumaStable,
        participation_cap_ppm: 1_000_000,
    }
}

fn header(choices: &[&str]) -> SweepHeader {
    SweepHeader {
        model_version: "1".to_owned(),
        seed: 7,
        event_hash: 0xAB,
        scenario: "test".to_owned(),
        assumed_costs: Vec::new(),
        recorded_flow: None,
        choices: choices
            .iter()
            .map(|name| ChoiceHeader {
                name: (*name).to_owned(),
                micro_clusters: MicroClusters::default(),
                decision_latency_ns: LatencyNs::default(),
            })
            .collect(),
        resamples: 200,
        segments: Vec::new(),
    }
}

/// 25 seeds × 20 parents whose shortfall is a fixed scramble, plus `shift` basis points.
fn arm(choice: u32, shift: i64) -> Vec<ParentRow> {
    (0..500u64)
        .map(|index| parent(choice, index / 20, (index % 20) as u32, (index * 7_919 % 101) as i64 + shift))
        .collect()
}

#[test]
fn identical_arms_differ_by_exactly_zero() {
    let rows = [arm(0, 0), arm(1, 0)].concat();
    let summary = summarise(header(&["baseline", "null"]), &rows, &[]);
    assert_eq!(summary.choices[0].paired, None);
    let paired = summary.choices[1].paired.as_ref().unwrap();
    for difference in [&paired.q50, &paired.q95, &paired.q99] {
        assert_eq!((difference.diff, difference.lo, difference.hi), (Some(0.0), Some(0.0), Some(0.0)));
        assert!(!difference.excludes_zero());
    }
}

#[test]
fn a_shift_of_every_parent_is_found_exactly() {
    let rows = [arm(0, 0), arm(1, -3)].concat();
    let summary = summarise(header(&["baseline", "better"]), &rows, &[]);
    let paired = summary.choices[1].paired.as_ref().unwrap();
    assert_eq!((paired.q95.diff, paired.q95.lo, paired.q95.hi), (Some(-3.0), Some(-3.0), Some(-3.0)));
    assert!(paired.q95.excludes_zero());
    let level = &summary.choices[0].is_bp.q50;
    assert!(level.lo <= level.value && level.value <= level.hi);
    assert_eq!(summary.choices[0].windows.len(), 2);
    assert_eq!(summary.choices[0].windows[0].parents, 125);
}

#[test]
fn unsupported_intervals_are_null_with_a_note() {
    let rows: Vec<ParentRow> = arm(0, 0).into_iter().filter(|row| row.seed < 10).collect();
    let summary = summarise(header(&["baseline"]), &rows, &[]);
    let q95 = &summary.choices[0].is_bp.q95;
    assert!(q95.value.is_some() && q95.lo.is_none() && q95.hi.is_none());
    assert_eq!(q95.note.as_deref(), Some("no interval: 10 seeds, at least 20 are needed"));
}

#[test]
fn metrics_are_missing_without_data_and_zero_without_faults() {
    let rows = arm(0, 0);
    let missing = &summarise(header(&["baseline"]), &rows, &[]).choices[0].metrics;
    assert_eq!(missing, &Metrics::default());
    let calm = [bucket(0, 1_000_000_000, 0, 0)];
    assert_eq!(summarise(header(&["baseline"]), &rows, &calm).choices[0].metrics.rhf, Some(0.0));
    let buckets = [bucket(0, 1_000_000_000, 40, 30), bucket(0, 5_000_000_000, 900, 0)];
    let metrics = &summarise(header(&["baseline"]), &rows, &buckets).choices[0].metrics;
    assert_eq!((metrics.rhf, metrics.mcr), (Some(0.25), Some(2.0)));
}

#[test]
fn tail_uplift_compares_within_segments_only() {
    let mut rows = Vec::new();
    for index in 0..400u32 {
        let mut row = parent(0, u64::from(index), 0, i64::from(index % 10));
        row.segment = index / 200;
        let exposed = index % 200 < 100;
        row.exposed = Some(exposed);
        // The segments differ by far more than exposure does.
        row.is_micro_bp += i64::from(row.segment) * 1_000_000_000 + i64::from(exposed) * 2_000_000;
        rows.push(row.clone());
        // Whose exposure cannot be told is on neither side.
        (row.exposed, row.is_micro_bp) = (None, i64::MAX / 4);
        rows.push(row);
    }
    let summary = summarise(header(&["baseline"]), &rows, &[]);
    assert_eq!(summary.choices[0].metrics.ntu, Some(2.0));
}

#[test]
fn the_summary_survives_json() {
    let summary = summarise(header(&["baseline", "other"]), &[arm(0, 0), arm(1, 2)].concat(), &[]);
    let text = serde_json::to_string(&summary).unwrap();
    assert!(text.contains(r#""event_hash":"00000000000000ab""#));
    assert!(text.contains(r#""metrics":{"RHF":null,"MCR":null,"DCJ":null,"QDL":null,"NTU":null}"#));
    assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
}
