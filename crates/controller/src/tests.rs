//! Tables of buckets against regimes.

use crate::*;

fn limits() -> Limits {
    let band = |enter, exit| Band { enter, exit };
    Limits {
        watch: Thresholds {
            rhf_ppm: band(200, 100),
            mcr_kib_per_s: band(20, 10),
            dcj_ppm: band(2_000, 1_000),
        },
        shock: Thresholds {
            rhf_ppm: band(600, 300),
            mcr_kib_per_s: band(60, 30),
            dcj_ppm: band(6_000, 3_000),
        },
        qdl_ppm: band(500, 250),
        deadline_miss_ppm: band(50, 25),
        dwell: 3,
        shock_limit: 6,
        release: 5,
        stale_limit: 2,
        actions: ActionLimits {
            child_spacing_ppm: 1_500_000,
            min_reprice_interval_ns: 5_000_000,
            participation_cap_ppm: 100_000,
            scanner: ScannerRequest { scan_delay_ms: 10_000, scan_size_mb: 16 },
            balancing_off_permitted: true,
        },
    }
}

/// One letter a bucket; every metric not named is present and calm.
fn bucket(letter: char) -> Observation {
    let calm = Observation {
        telemetry: Telemetry::Fresh,
        rhf_ppm: Some(0),
        mcr_kib_per_s: Some(0),
        dcj_ppm: Some(0),
        qdl_ppm: Some(0),
        deadline_miss_ppm: Some(0),
    };
    match letter {
        '.' => calm,
        // Only what counters alone give: too few events for the rest.
        'n' => Observation { dcj_ppm: None, qdl_ppm: None, deadline_miss_ppm: None, ..calm },
        // Between exit and enter of watch; at enter exactly; at exit exactly.
        'b' => Observation { rhf_ppm: Some(150), ..calm },
        'e' => Observation { mcr_kib_per_s: Some(20), ..calm },
        'x' => Observation { dcj_ppm: Some(1_000), ..calm },
        'w' => Observation { mcr_kib_per_s: Some(21), ..calm },
        // One metric over shock is not two.
        '1' => Observation { rhf_ppm: Some(601), ..calm },
        // Over the watch exit, under the shock exit.
        'm' => Observation { rhf_ppm: Some(250), ..calm },
        '2' => Observation { rhf_ppm: Some(601), dcj_ppm: Some(6_001), ..calm },
        'q' => Observation { qdl_ppm: Some(501), ..calm },
        'd' => Observation { deadline_miss_ppm: Some(51), ..calm },
        '?' => Observation { telemetry: Telemetry::Stale, rhf_ppm: None, mcr_kib_per_s: None, ..calm },
        'r' => Observation { rhf_ppm: None, ..calm },
        '!' => Observation {
            telemetry: Telemetry::Stale,
            rhf_ppm: None,
            mcr_kib_per_s: None,
            dcj_ppm: Some(2_001),
            ..calm
        },
        other => panic!("no bucket is called {other}"),
    }
}

fn letter(level: Level) -> char {
    match level {
        Level::Stable => '.',
        Level::Watch => 'W',
        Level::Shock => 'S',
        Level::Safe => 'C',
    }
}

#[track_caller]
fn check(policy: Policy, buckets: &str, expected: &str) {
    let limits = limits();
    let mut regime = Regime::STABLE;
    let seen: String = buckets
        .chars()
        .map(|name| {
            regime = policy(&limits, regime, &bucket(name)).0;
            letter(regime.level())
        })
        .collect();
    assert_eq!(seen, expected, "regimes after the buckets {buckets}");
}

#[test]
fn one_bucket_over_a_watch_threshold_leads_to_watch_and_the_dwell_back() {
    check(step, "..w...", "..WWW.");
    check(step, "1....", "WWW..");
    check(step, "ex..", "....");
}

#[test]
fn hysteresis_holds_a_level_between_exit_and_enter() {
    check(step, "wbbbbb...", "WWWWWWWW.");
    check(step, "w..b...", "WWWWWW.");
    check(step, "w..x...", "WWWWWW.");
}

#[test]
fn two_metrics_or_queue_decay_lead_to_shock_and_levels_may_be_jumped() {
    check(step, "2......", "SSSWWW.");
    check(step, "q......", "SSSWWW.");
    check(step, "w2", "WS");
    check(step, "11", "WW");
}

#[test]
fn shock_is_left_under_its_own_exits_and_watch_under_lower_ones() {
    check(step, "2mmmmmm...", "SSSWWWWWW.");
}

#[test]
fn shock_over_its_limit_leads_to_safe_and_safe_needs_its_release() {
    check(step, "22222222", "SSSSSSSC");
    check(step, "d....", "CCCCC");
    check(step, "d.....", "CCCCCS");
    check(step, "d....b.....", "CCCCCCCCCCS");
    check(step, "d...........", "CCCCCSSSWWW.");
}

#[test]
fn blind_buckets_block_the_way_down_and_lead_to_safe() {
    check(step, "?.?.", "....");
    check(step, "??", ".C");
    check(step, "rr", ".C");
    check(step, "?r", ".C");
    check(step, "w..?..", "WWWWWW");
    check(step, "w..r...", "WWWWWW.");
    check(step, "d....?.....", "CCCCCCCCCCS");
}

#[test]
fn a_metric_missing_for_lack_of_events_does_not_block_the_way_down() {
    check(step, "wnnn", "WWW.");
    check(step, "2nnnnnn", "SSSWWW.");
}

#[test]
fn a_metric_that_is_there_presses_even_in_a_stale_bucket() {
    check(step, "!", "W");
}

#[test]
fn baselines_neither_hold_nor_act_or_flip_at_once() {
    check(do_nothing, "w2qd??", "......");
    check(threshold_without_hysteresis, "w.2.d.?.q", "W.S.C.C.S");
    let (_, actions) = do_nothing(&limits(), Regime::at(Level::Safe), &bucket('2'));
    assert_eq!(actions, Actions::NORMAL);
}

#[test]
fn names_are_the_playbooks() {
    let names: Vec<_> = Level::ALL.into_iter().map(Level::name).collect();
    assert_eq!(names, ["NUMA_STABLE", "NUMA_WATCH", "NUMA_SHOCK", "SAFE_NUMA_CONSERVATIVE"]);
}

#[test]
fn each_level_asks_for_what_the_table_says() {
    let limits = limits();
    let of = |level| Actions::of(&limits, level);
    assert_eq!(of(Level::Stable), Actions::NORMAL);
    let watch = Actions {
        finer_telemetry: true,
        child_spacing_ppm: 1_500_000,
        min_reprice_interval_ns: Some(5_000_000),
        ..Actions::NORMAL
    };
    assert_eq!(of(Level::Watch), watch);
    let shock = Actions {
        participation_cap_ppm: Some(100_000),
        cancel_replace: CancelReplace::OnlyIfPriceMoved,
        catch_up: CatchUp::Paced,
        scanner: Some(limits.actions.scanner),
        ..watch
    };
    assert_eq!(of(Level::Shock), shock);
    let safe = Actions {
        cancel_replace: CancelReplace::Suppressed,
        cross_only_at_deadline: true,
        simplest_schedule: true,
        balancing_off: true,
        ..shock
    };
    assert_eq!(of(Level::Safe), safe);
}

#[test]
fn balancing_stays_on_where_the_host_does_not_permit_it_off() {
    let mut limits = limits();
    limits.actions.balancing_off_permitted = false;
    assert!(!Actions::of(&limits, Level::Safe).balancing_off);
}

#[test]
#[should_panic(expected = "SAFE_NUMA_CONSERVATIVE never leads to NUMA_WATCH")]
fn the_one_place_that_changes_the_level_refuses_a_jump_down() {
    let _ = Regime::at(Level::Safe).transition_to(Level::Watch);
}

#[test]
fn a_change_names_its_cause() {
    let limits = limits();
    let cause = |names: &str| {
        let mut regime = Regime::STABLE;
        let mut last = None;
        for name in names.chars() {
            let decision = decide(&limits, regime, &bucket(name));
            (regime, last) = (decision.regime, decision.cause);
        }
        last
    };
    assert_eq!(cause("w"), Some(Cause::MetricOverWatch));
    assert_eq!(cause("ww"), None);
    assert_eq!(cause("2"), Some(Cause::TwoMetricsOverShock));
    assert_eq!(cause("q"), Some(Cause::QueueDecay));
    assert_eq!(cause("d"), Some(Cause::DeadlineMisses));
    assert_eq!(cause("??"), Some(Cause::Blind));
    assert_eq!(cause("22222222"), Some(Cause::ShockTooLong));
    assert_eq!(cause("w..."), Some(Cause::Calm));
    assert_eq!(cause("d....."), Some(Cause::Released));
}

type Spoil = fn(&mut Limits);

#[test]
fn limits_that_could_not_work_are_refused_with_their_key() {
    assert_eq!(limits().validate(), Ok(()));
    let cases: [(Spoil, &str); 13] = [
        (|l| l.watch.rhf_ppm.exit = 200, "rhf[1]"),
        (|l| l.shock.dcj_ppm.exit = 6_000, "dcj[3]"),
        (|l| l.qdl_ppm.exit = 501, "qdl[1]"),
        (|l| l.deadline_miss_ppm.exit = 0, "deadline_miss[1]"),
        (|l| l.shock.rhf_ppm.enter = 1_000_000, "rhf[2]"),
        (|l| l.watch.mcr_kib_per_s.enter = 61, "mcr_kib_per_s[0]"),
        (|l| l.shock.mcr_kib_per_s.exit = 9, "mcr_kib_per_s[1]"),
        (|l| l.dwell = 0, "dwell"),
        (|l| l.shock_limit = 2, "shock_limit"),
        (|l| l.release = 2, "release"),
        (|l| l.stale_limit = 0, "stale_limit"),
        (|l| l.actions.participation_cap_ppm = 0, "participation_cap"),
        (|l| l.actions.child_spacing_ppm = 999_999, "child_spacing"),
    ];
    for (spoil, key) in cases {
        let mut spoiled = limits();
        spoil(&mut spoiled);
        assert_eq!(spoiled.validate().unwrap_err().key, key);
    }
}

#[test]
fn an_error_says_what_was_found_what_would_be_right_and_why() {
    let mut spoiled = limits();
    spoiled.watch.dcj_ppm.exit = 2_500;
    assert_eq!(
        spoiled.validate().unwrap_err().to_string(),
        "dcj[1] = 0.25% (watch exit) cannot work: expected a value below dcj[0] = 0.2%, because without hysteresis the \
         regime flips at every bucket"
    );
}

#[test]
fn the_evidence_names_values_keys_and_bounds() {
    let limits = limits();
    let shown = |regime: Regime, name: char| -> Vec<String> {
        evidence(&limits, regime, &bucket(name)).map(|one| one.to_string()).collect()
    };
    let of_two = [
        "blind buckets 0 short of stale_limit = 2",
        "deadline misses 0% under deadline_miss[1] = 0.0025%",
        "QDL 0% under qdl[1] = 0.025%",
        "RHF 0.0601% over rhf[2] = 0.06%",
        "MCR 0 KiB/s under mcr_kib_per_s[3] = 30 KiB/s",
        "DCJ 0.6001% over dcj[2] = 0.6%",
        "RHF 0.0601% over rhf[0] = 0.02%",
        "MCR 0 KiB/s under mcr_kib_per_s[1] = 10 KiB/s",
        "DCJ 0.6001% over dcj[0] = 0.2%",
    ];
    assert_eq!(shown(Regime::STABLE, '2'), of_two);
    let of_missing = shown(Regime::at(Level::Shock), 'r');
    assert_eq!(of_missing[0], "blind buckets 1 short of stale_limit = 2");
    assert_eq!(of_missing[1], "buckets of shock 1 short of shock_limit = 6");
    assert_eq!(of_missing[4], "RHF missing, rhf[2] = 0.06%");
    assert_eq!(of_missing[10], "calm buckets 0 short of dwell = 3");
    assert_eq!(shown(Regime::at(Level::Safe), 'b')[6], "RHF 0.015% not under rhf[1] = 0.01%");
    assert_eq!(shown(Regime::at(Level::Safe), '.')[9], "calm buckets 1 short of release = 5");
}

#[test]
fn the_reasons_are_what_the_decision_rests_on() {
    let limits = limits();
    let reasons = |buckets: &str| -> Vec<String> {
        let (last, before) = buckets.as_bytes().split_last().unwrap();
        let before = before
            .iter()
            .fold(Regime::STABLE, |regime, name| step(&limits, regime, &bucket(char::from(*name))).0);
        reasons(&limits, before, &bucket(char::from(*last))).map(|one| one.to_string()).collect()
    };
    assert_eq!(reasons("2"), ["RHF 0.0601% over rhf[2] = 0.06%", "DCJ 0.6001% over dcj[2] = 0.6%"]);
    assert_eq!(reasons("w"), ["MCR 21 KiB/s over mcr_kib_per_s[0] = 20 KiB/s"]);
    assert_eq!(reasons("??"), ["blind buckets 2 reached stale_limit = 2"]);
    assert_eq!(reasons("22222222"), ["buckets of shock 7 over shock_limit = 6"]);
    assert_eq!(reasons("w..."), ["calm buckets 3 reached dwell = 3"]);
    assert_eq!(reasons("wb"), ["RHF 0.015% not under rhf[1] = 0.01%", "calm buckets 0 short of dwell = 3"]);
    assert_eq!(reasons("2m"), ["calm buckets 1 short of dwell = 3"]);
    assert_eq!(reasons("."), [] as [&str; 0]);
}
