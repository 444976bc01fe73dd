//! Runs told piece by piece, written as traces, read again and repeated.

use std::collections::BTreeSet;

use numashock_accounting::Mechanisms;
use numashock_engine::NOTES;
use numashock_experiment::sweep::run_once;
use numashock_experiment::tape::{self, INTERVAL, Piece};
use numashock_sim::{Own, semantic};

use crate::golden;

fn told(config: &numashock_sim::scenario::config::RunConfig) -> (Vec<Piece>, numashock_sim::RunResult) {
    let mut pieces = Vec::new();
    let listen = |piece| -> Result<(), std::convert::Infallible> {
        pieces.push(piece);
        Ok(())
    };
    let result = tape::follow(config, 0, INTERVAL, &mut Own, listen).unwrap();
    (pieces, result)
}

#[test]
fn every_event_of_the_golden_scenarios_has_a_name() {
    let mut kinds = BTreeSet::new();
    for name in golden::SCENARIOS {
        let start = std::time::Instant::now();
        let (pieces, result) = told(&golden::config(name));
        let events: Vec<_> = pieces
            .iter()
            .filter_map(|piece| if let Piece::Event(event) = piece { Some(event) } else { None })
            .collect();
        eprintln!(
            "{name} {} events of {} pieces {} in {:?}",
            events.len(),
            result.hash.events,
            pieces.len(),
            start.elapsed()
        );
        kinds.extend(events.iter().map(|event| event.kind));
    }
    eprintln!("{kinds:x?}");
}
