//! What a trace of a whole scenario takes.

use std::io::Cursor;

use numashock_experiment::tape;
use numashock_sim::Own;
use numashock_sim::scenario::Scenario;
use numashock_trace::{Limits, Options, Trace};

use crate::root;

#[test]
fn the_ladders_baseline_takes_at_most_eight_bytes_an_event() {
    let scenario = Scenario::read(&root().join("scenarios/ladder.toml"), &[]).unwrap();
    let header = tape::header(&scenario, "baseline", 0).unwrap();
    let choices = scenario.choices(1_000_000).unwrap();
    let config = &choices.iter().find(|choice| choice.name == "baseline").unwrap().config;
    let write = |zstd| {
        let mut bytes = Vec::new();
        let options = Options { zstd, ..Options::default() };
        let (_, stats) = tape::record((config, &header), &mut Own, &mut bytes, options).unwrap();
        (bytes, stats)
    };
    let ((plain, stats), (packed, smaller)) = (write(false), write(true));
    println!("{stats}\n{smaller}");
    // All of the file is counted: header, states of the hash, decisions and index too.
    assert!(plain.len() as u64 <= stats.events * 8 && stats.events > 100_000, "{stats}");
    assert!(packed.len() as u64 <= stats.events * 4, "{smaller}");
    let read = |bytes| Trace::read(Cursor::new(bytes), Limits::USUAL).unwrap();
    let trace = read(plain);
    assert_eq!(trace, read(packed));
    assert_eq!((trace.events.len() as u64, trace.header), (stats.events, header));
}
