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
        decision_spread_ticks: Some(1),
        decision_variation: Some(4),
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
        measured: true,
        counters: Counters { numa_hint_faults: faults, numa_hint_faults_local: local, ..Counters::default() },
        rhf_ppm: Some(0),
        hint_fault_rate_milli_hz: None,
        mcr_kib_per_s: Some(2_048),
        interconnect_share_ppm: Some(3_000),
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
    let summary = summarise(header(&["baseline", "null"]), &rows, &[], &[]);
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
    let summary = summarise(header(&["baseline", "better"]), &rows, &[], &[]);
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
    let summary = summarise(header(&["baseline"]), &rows, &[], &[]);
    let q95 = &summary.choices[0].is_bp.q95;
    assert!(q95.value.is_some() && q95.lo.is_none() && q95.hi.is_none());
    assert_eq!(q95.note.as_deref(), Some("no interval: 10 seeds, at least 20 are needed"));
}

#[test]
fn metrics_are_missing_without_data_and_zero_without_faults() {
    let rows = arm(0, 0);
    let missing = &summarise(header(&["baseline"]), &rows, &[], &[]).choices[0].metrics;
    assert_eq!(missing, &Metrics::default());
    let calm = [bucket(0, 1_000_000_000, 0, 0)];
    assert_eq!(summarise(header(&["baseline"]), &rows, &calm, &[]).choices[0].metrics.rhf, Some(0.0));
    let mut buckets = vec![bucket(0, 1_000_000_000, 40, 30), bucket(0, 5_000_000_000, 900, 0)];
    (buckets[0].counters.numa_pages_migrated, buckets[1].fano_ppm) = (512, Some(1_500_000));
    let mut other = bucket(0, 1_000_000_000, 700, 0);
    // In the warm-up, or not seen by the desk.
    other.measured = false;
    buckets.push(other.clone());
    (other.measured, other.rhf_ppm) = (true, None);
    buckets.push(other);
    // Finer telemetry of a second that is there already.
    buckets.push(bucket(0, 100_000_000, 90, 0));
    let metrics = &summarise(header(&["baseline"]), &rows, &buckets, &[]).choices[0].metrics;
    assert_eq!((metrics.rhf, metrics.mcr), (Some(0.25), Some(2.0)));
    assert_eq!((metrics.rhf_rate, metrics.mcr_share, metrics.fano), (Some(40.0), Some(0.003), Some(1.5)));
}

fn metric_row(segment: u32, length: u64, (sum, children): (i64, u64)) -> MetricRow {
    MetricRow {
        choice: 0,
        seed: 0,
        segment,
        bucket_start_ns: 0,
        bucket_length_ns: length,
        measured: true,
        numa_pte_updates: Some(0),
        numa_hint_faults: Some(10),
        numa_hint_faults_local: Some(10 - u64::from(segment)),
        numa_pages_migrated: Some(256),
        rhf_ppm: Some(0),
        hint_fault_rate_milli_hz: Some(0),
        mcr_kib_per_s: Some(0),
        interconnect_share_ppm: None,
        releases: 30,
        release_squares: 30,
        fano_ppm: None,
        gaps: 29,
        gap_q50_ns: None,
        gap_q95_ns: None,
        dcj_ppm: (length == 5_000_000_000).then(|| u64::from(segment) * 1_000_000),
        passive_children: children,
        passive_unqueued: 0,
        qdl_sum_ppm: sum,
        qdl_ppm: None,
        parents_ended: 0,
        deadlines_missed: 0,
    }
}

#[test]
fn each_segment_has_its_metrics_and_decay_is_a_mean_over_children() {
    let second = 1_000_000_000;
    let rows = [
        metric_row(0, second, (300_000, 1)),
        metric_row(1, second, (0, 2)),
        metric_row(0, 5 * second, (900_000, 3)),
        metric_row(1, 5 * second, (0, 0)),
    ];
    let segment = |phase: &str| Segment {
        host: "h".to_owned(),
        strategy: "twap".to_owned(),
        symbol_liquidity: "thin".to_owned(),
        session_phase: phase.to_owned(),
    };
    let header = SweepHeader { segments: ["a", "b"].map(segment).to_vec(), ..header(&["baseline"]) };
    let choice = &summarise(header, &arm(0, 0), &[], &rows).choices[0];
    assert_eq!(
        choice.metrics.qdl,
        Some(0.1),
        "three children lost 0.3 between them, the longer buckets repeat it"
    );
    assert_eq!(choice.metrics.rhf, None, "the hosts' own buckets are missing");
    let [first, second] = &choice.segments[..] else { panic!("two segments") };
    assert_eq!((first.parents, second.parents), (500, 0));
    let figures = |of: &SegmentSummary| (of.metrics.rhf, of.metrics.mcr, of.metrics.dcj, of.metrics.qdl);
    assert_eq!(figures(first), (Some(0.0), Some(1.0), Some(0.0), Some(0.3)));
    assert_eq!(figures(second), (Some(0.1), Some(1.0), Some(1.0), Some(0.0)));
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
    let summary = summarise(header(&["baseline"]), &rows, &[], &[]);
    assert_eq!(summary.choices[0].metrics.ntu, Some(2.0));
}

/// Nearly all large parents are exposed, and they cost more whether exposed or not. Exposure itself costs 3 bp.
#[test]
fn tail_uplift_compares_what_is_alike() {
    let mut rows = Vec::new();
    for index in 0..2_000u32 {
        let large = index % 2 == 0;
        let exposed = if large { index % 100 > 0 } else { index % 20 == 1 };
        let mut row = parent(0, u64::from(index / 500), index, i64::from(index / 100 % 10));
        (row.exposed, row.quantity_lots) = (Some(exposed), if large { 100 } else { 10 });
        row.is_micro_bp += i64::from(large) * 50_000_000 + i64::from(exposed) * 3_000_000;
        rows.push(row);
    }
    let tail = |exposed| {
        let of = |row: &ParentRow| (row.exposed == Some(exposed)).then_some(row.is_micro_bp);
        stats::quantile(&mut rows.iter().filter_map(of).collect::<Vec<i64>>(), Quantile::Q95).unwrap()
    };
    assert_eq!(tail(true) - tail(false), 53_000_000, "unmatched, size passes for exposure");
    let all = uplifts(&rows);
    assert_eq!(all.len(), 1 + 4, "all runs and each of the four");
    let whole = &all[0];
    assert_eq!((whole.seed, whole.exposed, whole.calm, whole.unknown), (None, 1_080, 920, 0));
    assert_eq!((whole.matched_exposed, whole.matched_calm), (1_080, 920));
    assert!(all.iter().all(|row| row.ntu_micro_bp == Some(3_000_000)), "{all:?}");

    rows.iter_mut().step_by(100).for_each(|row| row.exposed = None);
    let whole = &uplifts(&rows)[0];
    assert_eq!(
        (whole.unknown, whole.matched_exposed, whole.matched_calm),
        (20, 100, 900),
        "no large one is calm"
    );
    assert_eq!(whole.ntu_micro_bp, Some(3_000_000));
}

#[test]
fn an_uplift_of_a_few_parents_is_missing() {
    let mut rows: Vec<ParentRow> = (0..39).map(|index| parent(0, 0, index, 1)).collect();
    let exposes = |rows: &mut Vec<ParentRow>| {
        rows.iter_mut().for_each(|row| row.exposed = Some(row.parent % 2 == 0));
    };
    exposes(&mut rows);
    assert_eq!((uplifts(&rows)[0].matched_calm, uplifts(&rows)[0].ntu_micro_bp), (19, None));
    rows.push(parent(0, 0, 39, 1));
    exposes(&mut rows);
    assert_eq!(uplifts(&rows)[0].ntu_micro_bp, Some(0));
    // Opposite sides are never compared.
    rows.iter_mut().filter(|row| row.parent % 2 == 0).for_each(|row| row.side = Side::Sell);
    assert_eq!((uplifts(&rows)[0].matched_exposed, uplifts(&rows)[0].exposed_q95_micro_bp), (0, None));
}

#[test]
fn the_summary_survives_json() {
    let summary = summarise(header(&["baseline", "other"]), &[arm(0, 0), arm(1, 2)].concat(), &[], &[]);
    let text = serde_json::to_string(&summary).unwrap();
    assert!(text.contains(r#""event_hash":"00000000000000ab""#));
    assert!(text.contains(r#""metrics":{"RHF":null,"RHF_RATE":null,"MCR":null,"MCR_SHARE":null,"DCJ":null,"FANO":null,"QDL":null,"NTU":null}"#));
    assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
}
