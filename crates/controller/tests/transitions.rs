//! The controller's transition graph, found by taking every step there is and not written by hand.
//!
//! `UPDATE_GOLDEN=1 cargo test -p numashock-controller --test transitions` writes `golden/regimes.dot` and `.svg`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;

use numashock_controller::{
    ActionLimits, Band, Cause, Level, Limits, Observation, Regime, ScannerRequest, Telemetry, Thresholds,
    decide,
};

const DWELL: u32 = 2;
const LONGEST: u32 = 4;

fn limits() -> Limits {
    let band = |enter, exit| Band { enter, exit };
    let watch = Thresholds { rhf_ppm: band(20, 10), mcr_kib_per_s: band(20, 10), dcj_ppm: band(20, 10) };
    let shock = Thresholds { rhf_ppm: band(60, 40), mcr_kib_per_s: band(60, 40), dcj_ppm: band(60, 40) };
    let limits = Limits {
        watch,
        shock,
        qdl_ppm: band(60, 40),
        deadline_miss_ppm: band(60, 40),
        dwell: DWELL,
        shock_limit: 3,
        release: 3,
        stale_limit: 2,
        actions: ActionLimits {
            child_spacing_ppm: 1_000_000,
            min_reprice_interval_ns: 0,
            participation_cap_ppm: 1,
            scanner: ScannerRequest { scan_delay_ms: 0, scan_size_mb: 1 },
            balancing_off_permitted: true,
        },
    };
    assert_eq!(limits.validate(), Ok(()));
    limits
}

/// One value of each stretch between thresholds, and none: whatever is seen, a step takes it for one of these.
fn observations() -> Vec<Observation> {
    let pressures = [None, Some(0), Some(15), Some(30), Some(50), Some(70)];
    let shares = [None, Some(0), Some(50), Some(70)];
    let small = |value: Option<u64>| value.map(|value| value as u32);
    let mut all = Vec::new();
    for telemetry in [Telemetry::Fresh, Telemetry::Stale] {
        for rhf in pressures {
            for mcr_kib_per_s in pressures {
                for dcj_ppm in pressures {
                    for qdl_ppm in shares {
                        for misses in shares {
                            all.push(Observation {
                                telemetry,
                                rhf_ppm: small(rhf),
                                mcr_kib_per_s,
                                dcj_ppm,
                                qdl_ppm,
                                deadline_miss_ppm: small(misses),
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

type Graph = BTreeMap<(Level, Level), BTreeSet<&'static str>>;

/// Every change of level from every regime that can be reached, with its causes. Counters beyond every limit are alike.
fn graph() -> Graph {
    let (limits, observations) = (limits(), observations());
    let kind = |regime: Regime| {
        let counts = [regime.held(), regime.calm(), regime.blind()];
        (regime.level(), counts.map(|count| count.min(LONGEST)))
    };
    let mut graph = Graph::new();
    let mut known = BTreeSet::from([kind(Regime::STABLE)]);
    let mut open = VecDeque::from([Regime::STABLE]);
    while let Some(regime) = open.pop_front() {
        for seen in &observations {
            let decision = decide(&limits, regime, seen);
            let next = decision.regime;
            assert_eq!(decision.cause.is_some(), next.level() != regime.level());
            if let Some(cause) = decision.cause {
                graph.entry((regime.level(), next.level())).or_default().insert(cause.name());
            }
            if known.insert(kind(next)) {
                open.push_back(next);
            }
        }
    }
    graph
}

fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph regimes {\n  rankdir = LR;\n  node [shape = box];\n");
    for level in Level::ALL {
        writeln!(text, "  {};", level.name()).expect("a text grows");
    }
    for ((from, to), causes) in graph {
        let label = causes.iter().copied().collect::<Vec<_>>().join("\\n");
        let (from, to) = (from.name(), to.name());
        writeln!(text, "  {from} -> {to} [label = \"{label}\"];").expect("a text grows");
    }
    text.push_str("}\n");
    text
}

/// Boxes in a row; ways up are arcs above them, as high as they are long, and ways down lie below.
fn svg(graph: &Graph) -> String {
    const PITCH: i64 = 300;
    const BOX: [i64; 2] = [210, 40];
    const TOP: i64 = 350;
    let centre = |level: Level| 140 + PITCH * level as i64;
    let (width, height) = (centre(Level::Safe) + 140, TOP + BOX[1] + 150);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" \
         refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 \
         8z\"/></marker></defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let mut put = |line: String| text.push_str(&(line + "\n"));
    for level in Level::ALL {
        let (x, [w, h]) = (centre(level), BOX);
        put(format!(
            "<rect x=\"{}\" y=\"{TOP}\" width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"black\"/>",
            x - w / 2
        ));
        put(format!("<text x=\"{x}\" y=\"{}\">{}</text>", TOP + h / 2 + 4, level.name()));
    }
    // Words lie over the lines of other ways, on a ground of their own.
    let mut words = Vec::new();
    for ((from, to), causes) in graph {
        let steps = *to as i64 - *from as i64;
        let up = steps > 0;
        let (edge, away) = if up { (TOP, -1) } else { (TOP + BOX[1], 1) };
        let port = 24 * steps;
        let (start, end) = (centre(*from) + port, centre(*to) - port);
        // A cubic curve whose control points are 4/3 of its height away.
        let apex = edge + away * 90 * steps.abs();
        let control = edge + away * 120 * steps.abs();
        put(format!(
            "<path d=\"M{start} {edge}C{start} {control} {end} {control} {end} {edge}\" fill=\"none\" stroke=\"black\" \
             marker-end=\"url(#head)\"/>"
        ));
        let lines = causes.len() as i64;
        for (line, cause) in (0..).zip(causes) {
            let y = if up { apex - 6 - 14 * (lines - 1 - line) } else { apex + 16 + 14 * line };
            let x = (start + end) / 2;
            words.push(format!(
                "<text x=\"{x}\" y=\"{y}\" stroke=\"white\" stroke-width=\"5\" paint-order=\"stroke\">{cause}</text>"
            ));
        }
    }
    words.into_iter().for_each(&mut put);
    put("</svg>".to_owned());
    text
}

#[test]
fn the_transition_graph_matches_the_golden_files() {
    let graph = graph();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    for (name, now) in [("regimes.dot", dot(&graph)), ("regimes.svg", svg(&graph))] {
        let file = folder.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::write(&file, &now).unwrap();
        }
        let kept = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}; write it with UPDATE_GOLDEN=1", file.display()));
        assert!(
            kept == now,
            "golden/{name} is another graph; if that is meant, write it with UPDATE_GOLDEN=1"
        );
    }
}

#[test]
fn the_graph_has_the_arrows_of_the_playbook() {
    let graph = graph();
    for ((from, to), causes) in &graph {
        assert!(from.may_precede(*to), "{from:?} to {to:?}");
        let released = causes.contains(Cause::Released.name());
        assert_eq!(released, *from == Level::Safe, "the release rule is the only way out of SAFE");
        assert_eq!(causes.contains(Cause::ShockTooLong.name()), (*from, *to) == (Level::Shock, Level::Safe));
    }
    let ways = |from: Level| graph.keys().filter(|(one, _)| *one == from).count();
    assert_eq!(Level::ALL.map(ways), [3, 3, 2, 1]);
}
