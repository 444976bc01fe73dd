//! Each action of a controller reaches what it names, after its delay, and changes nothing where it is not asked for.

use std::path::PathBuf;
use std::sync::Arc;

use numashock_accounting::Mechanisms;
use numashock_controller::{
    Actions, CancelReplace, CatchUp, Level, Limits, Observation, Regime, ScannerRequest, do_nothing, step,
    threshold_without_hysteresis,
};
use numashock_engine::{Nanos, Span};
use numashock_machine::{CpuId, Knobs, ThreadId};
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{ActionDelay, HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::{Asked, Bucket, ChildResult, RunResult, SAMPLE, Simulation, Steering, SteeringError};

const HOST: HostId = HostId(0);
const SECOND: u64 = 1_000_000_000;
/// `tactic.catch_up` of the scenario.
const WINDOW: u64 = 200_000_000;

fn lowered(settings: &[&str]) -> Result<RunConfig, String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/controller.toml");
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let scenario = Scenario::read(&file, &settings).map_err(|error| error.to_string())?;
    let choices = scenario.choices(1_000_000).map_err(|error| error.to_string())?;
    Ok(choices.into_iter().next().expect("a scenario has a choice").config)
}

/// Asks for the same in every bucket, or by the bucket's number.
struct Asks<F: Fn(u32) -> Actions>(F);

impl<F: Fn(u32) -> Actions> Steering for Asks<F> {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        Ok((Regime::STABLE, (self.0)(asked.bucket)))
    }
}

fn simulation(config: &RunConfig) -> Simulation<'_> {
    Simulation::new(config, config.replication(0).input(Mechanisms::REAL, true, None, 0))
}

fn run(settings: &[&str], asks: impl Fn(u32) -> Actions) -> RunResult {
    let config = lowered(settings).expect("the scenario is sound");
    simulation(&config).run_with(&mut Asks(asks)).expect("it always answers")
}

fn always(settings: &[&str], actions: Actions) -> RunResult {
    run(settings, |_| actions)
}

/// Children whose latest place was asked for before their parent's deadline window.
fn outside_the_window(result: &RunResult) -> impl Iterator<Item = &ChildResult> {
    result.children.iter().filter(|child| {
        let deadline = result.parents[child.parent.0 as usize].order.deadline();
        child.decided.at.0 + WINDOW < deadline.0
    })
}

#[test]
fn what_is_not_asked_for_changes_nothing() {
    let own = simulation(&lowered(&["controller.kind=\"do-nothing\""]).unwrap()).run();
    assert_eq!(always(&[], Actions::NORMAL).hash, own.hash);
    let at_once = ["controller.delay={ execution = \"0s\", host = \"0s\" }"];
    let [without, with] = [&[][..], &at_once].map(|settings| simulation(&lowered(settings).unwrap()).run());
    assert_eq!(with.hash, without.hash, "no delay is no delay");
    assert_ne!(without.hash, own.hash, "the scenario's controller acts");
}

#[test]
fn a_cap_on_participation_keeps_children_for_the_deadline() {
    let free = always(&[], Actions::NORMAL);
    let capped = always(&[], Actions { participation_cap_ppm: Some(1), ..Actions::NORMAL });
    let from =
        |result: &RunResult| outside_the_window(result).filter(|child| child.decided.at.0 > SECOND).count();
    assert!(from(&free) > 50, "{}", from(&free));
    assert_eq!(from(&capped), 0);
}

#[test]
fn wider_spacing_keeps_children_apart() {
    let settings =
        ["tactic.child_spacing=\"30ms\"", "tactic.patience=\"5s\"", "tactic.on_left_behind=\"stay\""];
    let closest = |child_spacing_ppm| {
        let result = always(&settings, Actions { child_spacing_ppm, ..Actions::NORMAL });
        let mut sent: Vec<u64> = outside_the_window(&result).map(|child| child.decided.at.0).collect();
        sent.sort_unstable();
        sent.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
    };
    let (own, wide) = (closest(1_000_000), closest(3_000_000));
    assert!((30_000_000..90_000_000).contains(&own), "{own}");
    assert!(wide >= 90_000_000, "{wide}");
}

#[test]
fn moves_get_rarer_by_interval_by_price_and_cease() {
    // A thin market, whose prices move.
    let settings = [
        "tactic.patience=\"9s\"",
        "market.poisson.book=[3, 3, 3, 3, 3]",
        "market.poisson.limit=[\"12/s\", \"9/s\", \"7/s\", \"6/s\", \"5/s\"]",
    ];
    let moved = |actions| -> u32 {
        outside_the_window(&always(&settings, actions))
            .filter(|c| c.decided.at.0 > SECOND)
            .map(|c| c.placements - 1)
            .sum()
    };
    let own = moved(Actions::NORMAL);
    let seldom = moved(Actions { min_reprice_interval_ns: Some(300_000_000), ..Actions::NORMAL });
    let by_price = moved(Actions { cancel_replace: CancelReplace::OnlyIfPriceMoved, ..Actions::NORMAL });
    let suppressed = moved(Actions { cancel_replace: CancelReplace::Suppressed, ..Actions::NORMAL });
    assert!(seldom < own && by_price < own, "{own}: {seldom} by interval, {by_price} by price");
    assert!(seldom > 0 && by_price > 0, "{own}: {seldom} by interval, {by_price} by price");
    assert_eq!(suppressed, 0);
}

#[test]
fn catch_up_is_paced_where_it_was_a_burst() {
    let held = Actions { participation_cap_ppm: Some(1), ..Actions::NORMAL };
    let largest = |catch_up| {
        let result = always(&[], Actions { catch_up, ..held });
        let gaps: Vec<Span> = result.hosts[0].gaps.iter().map(|(_, gap)| *gap).collect();
        // Ten children in half a window are 10 ms apart; other parents' children may fall between.
        gaps.split(|gap| *gap > Span(1_000_000)).map(<[Span]>::len).max().unwrap()
    };
    let (burst, paced) = (largest(CatchUp::Burst), largest(CatchUp::Paced));
    assert!(burst >= 9 && paced <= 3, "{burst} at once in a burst, {paced} paced");
}

#[test]
fn crossing_waits_for_the_deadline() {
    let settings = ["tactic.patience=\"50ms\""];
    let crossed = |cross_only_at_deadline| {
        let result = always(&settings, Actions { cross_only_at_deadline, ..Actions::NORMAL });
        outside_the_window(&result).filter(|c| c.decided.at.0 > SECOND && c.queue.is_none()).count()
    };
    let (own, gated) = (crossed(false), crossed(true));
    assert!(own > 30, "{own}");
    // A child that was to rest may find that the market has come to it.
    assert!(gated <= 3, "{gated} of {own}");
}

#[test]
fn the_simplest_schedule_is_the_twap() {
    let simple = Actions { simplest_schedule: true, ..Actions::NORMAL };
    let twap = always(&[], simple);
    let urgent = ["tactic.schedule=\"implementation-shortfall\"", "tactic.half_life=\"300ms\""];
    assert_eq!(always(&urgent, simple).hash, twap.hash);
    assert_ne!(always(&urgent, Actions::NORMAL).hash, always(&[], Actions::NORMAL).hash);
}

/// Time and knobs after each event at which they changed.
fn knobs_over_time(settings: &[&str], asks: impl Fn(u32) -> Actions) -> Vec<(Nanos, Knobs)> {
    let config = lowered(settings).expect("the scenario is sound");
    let mut simulation = simulation(&config);
    let mut steering = Asks(asks);
    let mut seen: Vec<(Nanos, Knobs)> = Vec::new();
    while let Some(now) = simulation.step_with(&mut steering).expect("it always answers") {
        let knobs = simulation.machine(HOST).expect("this scenario has a machine").knobs();
        if seen.last().is_none_or(|(_, last)| *last != knobs) {
            seen.push((now, knobs));
        }
    }
    seen
}

const SLOW: Actions =
    Actions { scanner: Some(ScannerRequest { scan_delay_ms: 5_000, scan_size_mb: 16 }), ..Actions::NORMAL };

#[test]
fn the_scanner_slows_down_and_balancing_goes_off() {
    // The first second is not steered. A pass marks at most the scan size.
    let largest = |actions| {
        let result = always(&[], Actions { finer_telemetry: true, ..actions });
        result.hosts[0].fine.iter().map(|sample| sample.counters.numa_pte_updates).max().unwrap()
    };
    let (own, slowed) = (largest(Actions::NORMAL), largest(SLOW));
    assert!(slowed > 0 && slowed <= 2 * 4_096 && own > 2 * slowed, "{slowed} and {own} pages marked at once");
    assert_eq!(largest(Actions { balancing_off: true, ..Actions::NORMAL }), 0);
    let seen = knobs_over_time(&[], |bucket| if bucket < 4 { SLOW } else { Actions::NORMAL });
    let shown: Vec<_> = seen.iter().map(|(at, k)| (at.0, k.scan_delay_ms, k.scan_size_mb)).collect();
    assert_eq!(shown[0].1, 1_000);
    assert_eq!(&shown[1..], [(SECOND, 5_000, 16), (5 * SECOND, 1_000, 256)]);
}

#[test]
fn a_pinned_dispatch_thread_stays_until_it_is_let_go() {
    let free = [
        "thread.dispatch.affinity=[0, 1, 2, 3]",
        "region.state.policy=\"bind-balancing\"",
        "region.state.nodes=[0]",
        "region.history.policy=\"bind-balancing\"",
        "region.history.nodes=[0]",
        "machine.caches_per_node=2",
        "thread.feed.cpu=1",
        "run.duration=\"22s\"",
    ];
    let end = |asks: &dyn Fn(u32) -> Actions| {
        let config = lowered(&free).unwrap();
        let mut simulation = simulation(&config);
        let mut steering = Asks(asks);
        while simulation.step_with(&mut steering).unwrap().is_some() {}
        simulation.machine(HOST).unwrap().thread(ThreadId(0)).cpu
    };
    let pinned = Actions { pin_dispatch: true, ..Actions::NORMAL };
    let moved = end(&|_| Actions::NORMAL);
    assert_eq!(moved, CpuId(0), "it follows its memory");
    assert_eq!(end(&|_| pinned), CpuId(2));
    assert_eq!(end(&|bucket| if bucket < 2 { pinned } else { Actions::NORMAL }), CpuId(0));
}

#[test]
fn finer_telemetry_cuts_seconds_into_samples_that_sum_to_them() {
    let finer = Actions { finer_telemetry: true, ..Actions::NORMAL };
    let asks = |bucket: u32| if (3..6).contains(&bucket) { finer } else { Actions::NORMAL };
    let plain = always(&[], Actions::NORMAL);
    let result = run(&[], asks);
    assert_eq!(result.hash, plain.hash, "to look closer changes nothing");
    assert!(plain.hosts[0].fine.is_empty());
    let (host, fine) = (&result.hosts[0], &result.hosts[0].fine);
    let ends = |buckets: &[Bucket]| -> Vec<u64> {
        buckets.iter().map(|bucket| (bucket.metrics.start + bucket.metrics.length).0).collect()
    };
    let times = ends(fine);
    let expected: Vec<u64> = (1..=30).map(|k| 4 * SECOND + k * SAMPLE.0).collect();
    assert_eq!(times, expected);
    for (second, samples) in (4..).zip(fine.chunks(10)) {
        let sum = |count: fn(&Bucket) -> u64| samples.iter().map(count).sum::<u64>();
        for count in [
            (|b| b.counters.numa_pte_updates) as fn(&Bucket) -> u64,
            |b| b.metrics.releases,
            |b| b.fills.into(),
            |b| b.decisions.into(),
            |b| b.arrivals.into(),
        ] {
            assert_eq!(sum(count), count(&host.seconds[second]));
        }
    }
    assert!(fine.iter().all(|bucket| bucket.actions.finer_telemetry), "each bears what was decided for it");
    let late = run(&["controller.delay={ execution = \"0s\", host = \"130ms\" }"], asks);
    let times = ends(&late.hosts[0].fine);
    // The first whole sample after 4.13 s ends at 4.3 s, the last before 7.13 s at 7.1 s.
    assert_eq!(times, expected[2..].iter().copied().chain([7 * SECOND + SAMPLE.0]).collect::<Vec<_>>());
}

#[test]
fn decisions_reach_the_host_in_order_after_its_delay() {
    let asks = |bucket: u32| if bucket % 3 == 1 { SLOW } else { Actions::NORMAL };
    let times = |settings: &[&str]| -> Vec<u64> {
        knobs_over_time(settings, asks).iter().skip(1).map(|(at, _)| at.0).collect()
    };
    let at_once = times(&[]);
    assert_eq!(at_once[..4], [2 * SECOND, 3 * SECOND, 5 * SECOND, 6 * SECOND]);
    // Longer than a bucket: two decisions are on their way at a time.
    let delay = 1_700_000_000;
    let late = times(&["controller.delay={ execution = \"0s\", host = \"1700ms\" }"]);
    let expected: Vec<u64> = at_once.iter().map(|at| at + delay).filter(|at| *at <= 12 * SECOND).collect();
    assert_eq!(late, expected);
}

#[test]
fn decisions_reach_the_execution_after_its_delay() {
    let capped = Actions { participation_cap_ppm: Some(1), ..Actions::NORMAL };
    let asks = |bucket: u32| if bucket < 4 { Actions::NORMAL } else { capped };
    let last = |settings: &[&str]| {
        let result = run(settings, asks);
        let sent = outside_the_window(&result).filter(|child| child.placements == 1);
        sent.map(|child| child.decided.at.0).max().unwrap()
    };
    let passive = ["tactic.patience=\"5s\"", "tactic.on_left_behind=\"stay\"", "parents.count=60"];
    let at_once = last(&passive);
    assert!(at_once <= 5 * SECOND, "{at_once}");
    let delay = "controller.delay={ execution = \"1400ms\", host = \"0s\" }";
    let late = last(&[&passive[..], &[delay]].concat());
    assert!((6 * SECOND..=6_400_000_000).contains(&late), "{late}");
}

#[test]
fn imposed_actions_have_the_same_delays() {
    let config = lowered(&["controller.delay={ execution = \"250ms\", host = \"1300ms\" }"]).unwrap();
    let real = simulation(&config).run();
    let replication = config.replication(0);
    let imposed = Some(Arc::new(real.steered.clone()));
    let again = Simulation::new(&config, replication.input(Mechanisms::REAL, true, imposed, 0)).run();
    assert_eq!(again.hash, real.hash);
    assert_ne!(real.hash, simulation(&lowered(&[]).unwrap()).run().hash);
}

#[test]
fn static_pinning_asks_once_and_for_all() {
    let result = simulation(&lowered(&["controller.kind=\"static-pinning\""]).unwrap()).run();
    let pinned = Actions { pin_dispatch: true, balancing_off: true, ..Actions::NORMAL };
    assert!(result.steered[0].iter().all(|decided| *decided == (Regime::STABLE, pinned)));
    let kept = ["controller.kind=\"static-pinning\"", "controller.limits.balancing_off_permitted=false"];
    let kept = simulation(&lowered(&kept).unwrap()).run();
    assert!(kept.steered[0].iter().all(|(_, actions)| actions.pin_dispatch && !actions.balancing_off));
}

fn changes(limits: &Limits, stream: &[Observation], policy: numashock_controller::Policy) -> usize {
    let mut regime = Regime::STABLE;
    let levels: Vec<Level> = stream
        .iter()
        .map(|seen| {
            regime = policy(limits, regime, seen).0;
            regime.level()
        })
        .collect();
    levels.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn without_hysteresis_the_regime_flips_on_the_stream_that_the_four_states_ride_out() {
    let settings = [
        "controller.kind=\"do-nothing\"",
        "run.duration=\"58s\"",
        "parents.count=60",
        "controller.limits.dcj=[\"300%\", \"200%\", \"9000%\", \"4000%\"]",
        "controller.limits.dwell=5",
        "controller.limits.shock_limit=10",
        "controller.limits.release=5",
    ];
    let config = lowered(&settings).unwrap();
    let stream = simulation(&config).run().hosts.remove(0).observations;
    let of = |policy| changes(&config.hosts[0].limits, &stream, policy);
    let (flips, rides) = (of(threshold_without_hysteresis), of(step));
    assert_eq!(of(do_nothing), 0);
    assert!(flips >= 2 * rides.max(2), "{flips} changes without hysteresis, {rides} with it");
}

#[test]
fn limits_that_cannot_work_are_refused_at_their_own_line() {
    for (setting, expected) in [
        (
            "controller.limits.rhf=[\"20%\", \"30%\", \"60%\", \"40%\"]",
            "controller.limits.rhf[1]: 30% (watch exit) cannot work: expected a value below rhf[0] = 20%",
        ),
        (
            "controller.limits.mcr_kib_per_s=[90, 10, 80, 20]",
            "controller.limits.mcr_kib_per_s[0]: 90 KiB/s (watch enter) cannot work: expected at most \
             mcr_kib_per_s[2] = 80 KiB/s",
        ),
        ("controller.limits.dwell=0", "controller.limits.dwell: 0 cannot work: expected at least 1"),
        (
            "controller.limits.participation_cap=\"0%\"",
            "controller.limits.participation_cap: 0% cannot work: expected at least 0.0001%",
        ),
        (
            "controller.delay={ execution = \"2h\", host = \"0s\" }",
            "controller.delay.execution: is too large",
        ),
        ("controller.delay={ execution = \"1s\" }", "missing field `host`"),
    ] {
        let error = lowered(&[setting]).err().unwrap_or_default();
        assert!(error.contains(expected), "{setting}: {error}");
    }
}

#[test]
fn a_controller_in_a_file_of_its_own_is_refused_with_its_line() {
    let file = std::path::Path::new("c.toml");
    let scenario = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/controller.toml"),
    )
    .unwrap();
    let (_, table) = scenario.split_once("[controller]\n").unwrap();
    let text = table.replace("[controller.limits]", "[limits]");
    let sound = ControllerConfig::parse(file, &text).unwrap();
    assert_eq!((sound.limits.dwell, sound.delay), (1, None));
    let delayed = format!("{text}\n[delay]\nexecution = \"1ms\"\nhost = \"2s\"\n");
    let delay = ActionDelay { execution: Span(1_000_000), host: Span(2 * SECOND) };
    assert_eq!(ControllerConfig::parse(file, &delayed).unwrap().delay, Some(delay));
    for (from, to, expected) in [
        (
            "rhf = [\"98%\", \"97%\", \"99%\", \"98%\"]",
            "rhf = [\"98%\", \"97%\", \"96%\", \"95%\"]",
            "c.toml:4: limits.rhf[0]: 98% (watch enter) cannot work: expected at most rhf[2] = 96%, because a level may \
             not be harder to reach, or to hold, than the level above it",
        ),
        (
            "release = 2",
            "release = 0",
            "c.toml:11: limits.release: 0 cannot work: expected at least dwell = 1, because the dwell binds every way \
             down, the release included",
        ),
        (
            "qdl = [\"20%\", \"10%\"]",
            "qdl = [\"20%\", \"20%\"]",
            "c.toml:7: limits.qdl[1]: 20% (exit) cannot work: expected a value below qdl[0] = 20%, because without \
             hysteresis the regime flips at every bucket",
        ),
    ] {
        let spoiled = text.replace(from, to);
        assert_ne!(spoiled, text);
        assert_eq!(ControllerConfig::parse(file, &spoiled).unwrap_err().to_string(), expected);
    }
    let delay = ControllerConfig::parse(file, &delayed.replace("\"2s\"", "\"61min\"")).unwrap_err();
    assert!(delay.to_string().contains("delay.host: is too large"), "{delay}");
}
