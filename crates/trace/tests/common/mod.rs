//! A small run, and its trace.

use std::io::Cursor;

use numashock_controller::{Actions, Level, Observation, Regime, Telemetry};
use numashock_engine::{Checkpoint, Nanos, Recorded};
use numashock_trace::{Decided, End, Header, InputFile, Limits, Options, Trace, TraceError, Writer};

pub(crate) fn header() -> Header {
    Header {
        model_version: 1,
        name: "ladder".to_owned(),
        scenario: "name = \"ladder\"\n".to_owned(),
        inputs: vec![InputFile {
            name: "messages".to_owned(),
            path: "data/messages.csv".to_owned(),
            bytes: 17,
            hash: 99,
        }],
        choice: "baseline".to_owned(),
        replication: 3,
        hosts: vec!["host".to_owned()],
        interval: 4,
    }
}

pub(crate) fn decided(bucket: u32) -> Decided {
    let level = Level::ALL[bucket as usize % 4];
    Decided {
        host: 0,
        bucket,
        seen: Observation {
            telemetry: Telemetry::Fresh,
            rhf_ppm: Some(bucket),
            qdl_ppm: Some(7),
            ..Observation::default()
        },
        regime: Regime::at(level),
        actions: Actions { min_reprice_interval_ns: Some(5), ..Actions::NORMAL },
    }
}

pub(crate) fn end(events: u64) -> End {
    End { events, at: 9_000_000_000, hash: 11 }
}

/// Five events each second, and a decision at its end.
pub(crate) fn events(number: u64) -> Vec<Recorded> {
    let event = |index: u64| Recorded {
        at: Nanos(index * 200_000_000 + index % 3),
        kind: [0x200, 0x203, 0x206, 0x101, 0x8001][index as usize % 5],
        source: (index % 2) as u16,
        payload: [index * 17 % 40, (index * index) << (index % 60)],
    };
    (0..number).map(event).collect()
}

pub(crate) fn write(events: &[Recorded], options: Options) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header(), options).unwrap();
    for (index, event) in events.iter().enumerate() {
        writer.event(event).unwrap();
        if index % 4 == 3 {
            let point = Checkpoint { events: index as u64 + 1, at: event.at, hash: index as u64 * 77 };
            writer.checkpoint(&point).unwrap();
        }
        if index % 5 == 4 {
            writer.decided(&decided(index as u32 / 5)).unwrap();
        }
    }
    let stats = writer.finish(&end(events.len() as u64)).unwrap();
    assert_eq!(stats.file_bytes, bytes.len() as u64);
    bytes
}

pub(crate) fn read(bytes: &[u8]) -> Result<Trace, TraceError> {
    Trace::read(Cursor::new(bytes), Limits::USUAL)
}
