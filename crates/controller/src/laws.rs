//! The laws of the step, over arbitrary valid limits and arbitrary streams, and a naive twin that reads the whole history.

use proptest::prelude::*;

use crate::*;

/// Two bands, the second no easier to reach or to leave than the first, in steps of `scale`.
fn any_bands(scales: &'static [u64]) -> impl Strategy<Value = [Band; 2]> {
    (1u64..40, 0u64..40, 1u64..40, 1u64..40, 0u64..40, prop::sample::select(scales)).prop_map(
        |(exit, further, width, shock_width, higher, scale)| {
            let watch = Band { enter: (exit + width) * scale, exit: exit * scale };
            let shock_exit = (exit + further) * scale;
            let enter = watch.enter.max(shock_exit + shock_width * scale) + higher * scale;
            [watch, Band { enter, exit: shock_exit }]
        },
    )
}

fn any_limits() -> impl Strategy<Value = Limits> {
    const SHARES: &[u64] = &[1, 100, 5_000];
    const WIDE: &[u64] = &[1, 1_000, u64::MAX / 200];
    let bands = (any_bands(SHARES), any_bands(WIDE), any_bands(WIDE), any_bands(WIDE), any_bands(SHARES));
    let times = (1u32..6, 0u32..6, 0u32..6, 1u32..4);
    (bands, times).prop_map(|((rhf, mcr, dcj, qdl, misses), (dwell, shock, release, stale_limit))| Limits {
        watch: Thresholds { rhf_ppm: rhf[0], mcr_kib_per_s: mcr[0], dcj_ppm: dcj[0] },
        shock: Thresholds { rhf_ppm: rhf[1], mcr_kib_per_s: mcr[1], dcj_ppm: dcj[1] },
        qdl_ppm: qdl[0],
        deadline_miss_ppm: misses[0],
        dwell,
        shock_limit: dwell + shock,
        release: dwell + release,
        stale_limit,
        actions: ActionLimits {
            child_spacing_ppm: 1_000_000,
            min_reprice_interval_ns: 0,
            participation_cap_ppm: 1,
            scanner: ScannerRequest { scan_delay_ms: 0, scan_size_mb: 1 },
            balancing_off_permitted: false,
        },
    })
}

/// An observation by where its metrics stand among limits that are yet to be chosen.
#[derive(Clone, Copy, Debug)]
struct Placed {
    stale: bool,
    /// RHF, MCR, DCJ, QDL and deadline misses.
    places: [Option<usize>; 5],
}

/// Where a metric may stand: nothing, at and beside each threshold, and as much as there can be.
const PLACES: usize = 14;

fn at(bands: [Band; 2], place: usize) -> u64 {
    let [watch, shock] = bands;
    let beside = |value: u64| [value - 1, value, value.saturating_add(1)];
    let around = [beside(watch.exit), beside(watch.enter), beside(shock.exit), beside(shock.enter)];
    match place {
        0 => 0,
        13 => u64::MAX,
        place => around.as_flattened()[place - 1],
    }
}

impl Placed {
    fn among(self, limits: &Limits) -> Observation {
        let Limits { watch, shock, qdl_ppm, deadline_miss_ppm, .. } = *limits;
        let bands = [
            [watch.rhf_ppm, shock.rhf_ppm],
            [watch.mcr_kib_per_s, shock.mcr_kib_per_s],
            [watch.dcj_ppm, shock.dcj_ppm],
            [qdl_ppm; 2],
            [deadline_miss_ppm; 2],
        ];
        let value = |metric: usize| self.places[metric].map(|place| at(bands[metric], place));
        let share =
            |metric| value(metric).map(|value: u64| u32::try_from(value.min(1_000_000)).expect("a share"));
        Observation {
            telemetry: if self.stale { Telemetry::Stale } else { Telemetry::Fresh },
            rhf_ppm: share(0),
            mcr_kib_per_s: value(1),
            dcj_ppm: value(2),
            qdl_ppm: value(3),
            deadline_miss_ppm: share(4),
        }
    }
}

const CALM: Placed = Placed { stale: false, places: [Some(0); 5] };

fn any_placed() -> impl Strategy<Value = Placed> {
    let metric = || prop_oneof![1 => Just(None), 4 => Just(Some(0)), 5 => (0..PLACES).prop_map(Some)];
    let places = [metric(), metric(), metric(), metric(), metric()];
    (prop::bool::weighted(0.1), places).prop_map(|(stale, places)| Placed { stale, places })
}

/// Streams with long calm stretches, so that the ways down are taken too.
fn any_places() -> impl Strategy<Value = Vec<Placed>> {
    let stretch = (any_placed(), 1usize..9).prop_map(|(seen, times)| vec![seen; times]);
    let calm = (1usize..12).prop_map(|times| vec![CALM; times]);
    let wild = any_placed().prop_map(|seen| vec![seen]);
    prop::collection::vec(prop_oneof![stretch, calm, wild], 0..40).prop_map(|parts| parts.concat())
}

/// Limits and a stream about their thresholds.
fn any_run() -> impl Strategy<Value = (Limits, Vec<Observation>)> {
    (any_limits(), any_places())
        .prop_map(|(limits, places)| (limits, places.into_iter().map(|seen| seen.among(&limits)).collect()))
}

fn levels(limits: &Limits, stream: &[Observation]) -> Vec<Level> {
    let mut regime = Regime::STABLE;
    let step = |seen| {
        regime = step(limits, regime, seen).0;
        regime.level()
    };
    stream.iter().map(step).collect()
}

fn after(limits: &Limits, stream: &[Observation]) -> Regime {
    stream.iter().fold(Regime::STABLE, |regime, seen| step(limits, regime, seen).0)
}

/// What presses at least as much as both, as far as there is such a thing: the larger of each metric, and blind if one is.
fn join(a: Observation, b: Observation) -> Observation {
    Observation {
        telemetry: a.telemetry.max(b.telemetry),
        // A missing RHF or MCR beside a value there makes a bucket blind all the same.
        rhf_ppm: a.rhf_ppm.max(b.rhf_ppm),
        mcr_kib_per_s: a.mcr_kib_per_s.max(b.mcr_kib_per_s),
        dcj_ppm: a.dcj_ppm.max(b.dcj_ppm),
        qdl_ppm: a.qdl_ppm.max(b.qdl_ppm),
        deadline_miss_ppm: a.deadline_miss_ppm.max(b.deadline_miss_ppm),
    }
}

/// The rules read from the whole history at every bucket, with no counter carried along.
fn naive_levels(limits: &Limits, stream: &[Observation]) -> Vec<Level> {
    let over = |value: Option<u64>, band: Band| value.is_some_and(|value| value > band.enter);
    let under = |value: Option<u64>, band: Band| value.is_none() || value.unwrap() < band.exit;
    let blind =
        |o: &Observation| o.telemetry == Telemetry::Stale || o.rhf_ppm.is_none() || o.mcr_kib_per_s.is_none();
    let metrics = |o: &Observation| [o.rhf_ppm.map(u64::from), o.mcr_kib_per_s, o.dcj_ppm];
    let bands = |t: &Thresholds| [t.rhf_ppm, t.mcr_kib_per_s, t.dcj_ppm];
    let calm = |level: Level, o: &Observation| {
        let bands = bands(if level == Level::Shock { &limits.shock } else { &limits.watch });
        !blind(o)
            && (0..3).all(|k| under(metrics(o)[k], bands[k]))
            && under(o.qdl_ppm, limits.qdl_ppm)
            && under(o.deadline_miss_ppm.map(u64::from), limits.deadline_miss_ppm)
    };
    let (mut level, mut entered) = (Level::Stable, 0);
    let mut levels = Vec::new();
    for now in 0..stream.len() {
        let count = |t: &Thresholds| (0..3).filter(|&k| over(metrics(&stream[now])[k], bands(t)[k])).count();
        let lately = |length: u32| stream[..=now].iter().rev().take(length as usize);
        let blind_for_long = now + 1 >= limits.stale_limit as usize && lately(limits.stale_limit).all(blind);
        let misses = over(stream[now].deadline_miss_ppm.map(u64::from), limits.deadline_miss_ppm);
        let held = now + 1 - entered;
        let wanted =
            if blind_for_long || misses || level == Level::Shock && held > limits.shock_limit as usize {
                Level::Safe
            } else if count(&limits.shock) >= 2 || over(stream[now].qdl_ppm, limits.qdl_ppm) {
                Level::Shock
            } else if count(&limits.watch) >= 1 {
                Level::Watch
            } else {
                Level::Stable
            };
        let needed = if level == Level::Safe { limits.release } else { limits.dwell };
        let down = held >= needed as usize && lately(needed).all(|o| calm(level, o));
        let next = if wanted > level {
            wanted
        } else if down {
            level.below().unwrap_or(level)
        } else {
            level
        };
        if next != level {
            (level, entered) = (next, now + 1);
        }
        levels.push(level);
    }
    levels
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changes_are_bounded_by_the_dwell((limits, stream) in any_run()) {
        prop_assert_eq!(limits.validate(), Ok(()));
        let mut changes = 0;
        let mut last = Level::Stable;
        for (index, level) in levels(&limits, &stream).into_iter().enumerate() {
            changes += usize::from(level != last);
            last = level;
            let buckets = index + 1;
            prop_assert!(changes <= 3 + 2 * (buckets / limits.dwell as usize), "{changes} changes in {buckets} buckets");
        }
    }

    #[test]
    fn the_way_down_is_one_level_at_a_time_and_never_blind((limits, stream) in any_run()) {
        let mut last = Level::Stable;
        for (level, seen) in levels(&limits, &stream).into_iter().zip(&stream) {
            prop_assert!(level >= last || Some(level) == last.below());
            prop_assert!(level >= last || !seen.is_blind(), "a missing metric is never calm");
            last = level;
        }
    }

    /// SHOCK is entered with the first bucket, lasts its limit and one more, and SAFE lasts as long as the shock does.
    #[test]
    fn a_lasting_shock_leads_to_safe_within_its_limit(
        (limits, history) in any_run(),
        shocks in prop::collection::vec((any_placed(), 0usize..4), 8..24),
    ) {
        let mut regime = after(&limits, &history);
        let most = 13;
        for (count, (placed, which)) in (1..).zip(shocks) {
            let mut places = placed.places;
            let over = match which { 0 => &[0, 1][..], 1 => &[1, 2], 2 => &[2, 0], _ => &[3] };
            over.iter().for_each(|metric| places[*metric] = Some(most));
            let seen = Placed { places, ..placed }.among(&limits);
            regime = step(&limits, regime, &seen).0;
            prop_assert!(regime.level() >= Level::Shock);
            prop_assert!(count < limits.shock_limit + 2 || regime.level() == Level::Safe, "{regime:?} after {count}");
        }
    }

    #[test]
    fn stale_telemetry_leads_to_safe_within_its_limit(
        (limits, history) in any_run(),
        blind in prop::collection::vec((any_placed(), 0usize..3), 4..12),
    ) {
        let mut regime = after(&limits, &history);
        for (count, (mut placed, which)) in (1..).zip(blind) {
            match which {
                0 => placed.stale = true,
                missing => placed.places[missing - 1] = None,
            }
            regime = step(&limits, regime, &placed.among(&limits)).0;
            prop_assert!(count < limits.stale_limit || regime.level() == Level::Safe, "{regime:?} after {count}");
        }
    }

    #[test]
    fn more_pressure_never_gives_a_calmer_level(
        (limits, history) in any_run(),
        one in any_placed(),
        other in any_placed(),
        shared in prop::array::uniform5(prop::bool::weighted(0.7)),
    ) {
        let regime = after(&limits, &history);
        let level = |seen: &Observation| step(&limits, regime, seen).0.level();
        let mut near = other;
        for (metric, _) in shared.iter().enumerate().filter(|(_, shared)| **shared) {
            near.places[metric] = one.places[metric];
        }
        let [one, other, near] = [one, other, near].map(|placed| placed.among(&limits));
        let joined = join(one, other);
        prop_assert!(joined.presses_at_least_as(&one) || one.is_blind());
        for (more, less) in [(joined, one), (joined, other), (near, one), (one, near), (one, other)] {
            if more.presses_at_least_as(&less) {
                prop_assert!(level(&more) >= level(&less), "{more:?} is calmer than {less:?} in {regime:?}");
            }
        }
        let stale = Observation { telemetry: Telemetry::Stale, ..one };
        prop_assert!(level(&stale) >= level(&one), "stale is calmer than fresh");
        if one.rhf_ppm.is_none_or(|value| u64::from(value) <= limits.watch.rhf_ppm.enter) {
            let missing = Observation { rhf_ppm: None, ..one };
            prop_assert!(level(&missing) >= level(&one), "missing is calmer than not high");
        }
    }

    /// Two hosts served in any order are two hosts served alone.
    #[test]
    fn a_step_depends_on_its_arguments_alone(
        (limits, streams) in (any_limits(), [any_places(), any_places()]),
        turns in prop::collection::vec(0usize..2, 0..400),
    ) {
        let streams = streams.map(|places| places.into_iter().map(|one| one.among(&limits)).collect::<Vec<_>>());
        let mut regimes = [Regime::STABLE; 2];
        let mut mixed = [Vec::new(), Vec::new()];
        for turn in turns {
            if let Some(seen) = streams[turn].get(mixed[turn].len()) {
                regimes[turn] = step(&limits, regimes[turn], seen).0;
                mixed[turn].push(regimes[turn].level());
            }
        }
        for (mixed, stream) in mixed.iter().zip(&streams) {
            prop_assert_eq!(mixed, &levels(&limits, &stream[..mixed.len()]));
        }
    }

    #[test]
    fn the_evidence_alone_gives_the_decision((limits, stream) in any_run()) {
        let mut regime = Regime::STABLE;
        for seen in &stream {
            let met: Vec<Evidence> = evidence(&limits, regime, seen).filter(Evidence::is_met).collect();
            let alone = |one: &&Evidence| {
                matches!(one.subject, Subject::Blind | Subject::Held | Subject::DeadlineMisses | Subject::Qdl)
                    || (one.level == Level::Watch && one.subject != Subject::Calm)
            };
            let two = met.iter().filter(|one| one.level == Level::Shock && one.subject != Subject::Calm);
            let two = two.filter(|one| one.subject != Subject::Qdl).count() >= 2;
            let up = met.iter().filter(alone).map(|one| one.level).max().unwrap_or(Level::Stable);
            let up = if two { up.max(Level::Shock) } else { up };
            let down = met.iter().find(|one| one.subject == Subject::Calm).map(|one| one.level);
            let before = regime.level();
            let expected = if up > before { up } else { down.unwrap_or(before) };
            let decided = decide(&limits, regime, seen);
            prop_assert_eq!(decided.regime.level(), expected);
            let some = reasons(&limits, regime, seen).next().is_some();
            prop_assert!(some || decided.cause.is_none(), "a change without a reason");
            regime = decided.regime;
        }
    }

    #[test]
    fn the_counters_say_what_the_whole_history_says((limits, stream) in any_run()) {
        prop_assert_eq!(levels(&limits, &stream), naive_levels(&limits, &stream));
    }
}

#[test]
fn the_order_of_pressure_is_what_it_says() {
    let calm = CALM.among(&least_limits());
    let no_rhf = Observation { rhf_ppm: None, ..calm };
    let high = Observation { rhf_ppm: Some(1), ..calm };
    let no_dcj = Observation { dcj_ppm: None, ..calm };
    let stale = Observation { telemetry: Telemetry::Stale, ..calm };
    let presses = |more: Observation, less: Observation| more.presses_at_least_as(&less);
    assert!(presses(calm, calm) && presses(high, calm) && !presses(calm, high));
    assert!(presses(no_rhf, calm) && !presses(calm, no_rhf), "missing is more than calm");
    assert!(!presses(no_rhf, high) && !presses(high, no_rhf), "missing and high cannot be compared");
    assert!(presses(no_dcj, calm) && presses(calm, no_dcj), "few events are as good as none");
    assert!(presses(stale, calm) && !presses(calm, stale));
    assert!(presses(Observation { rhf_ppm: Some(1), ..stale }, Observation { rhf_ppm: None, ..stale }));
}

/// The least limits that are valid.
fn least_limits() -> Limits {
    let band = Band { enter: 2, exit: 1 };
    let thresholds = Thresholds { rhf_ppm: band, mcr_kib_per_s: band, dcj_ppm: band };
    let scanner = ScannerRequest { scan_delay_ms: 0, scan_size_mb: 1 };
    let limits = Limits {
        watch: thresholds,
        shock: thresholds,
        qdl_ppm: band,
        deadline_miss_ppm: band,
        dwell: 1,
        shock_limit: 1,
        release: 1,
        stale_limit: 1,
        actions: ActionLimits {
            child_spacing_ppm: 1_000_000,
            min_reprice_interval_ns: 0,
            participation_cap_ppm: 1,
            scanner,
            balancing_off_permitted: false,
        },
    };
    assert_eq!(limits.validate(), Ok(()));
    limits
}
