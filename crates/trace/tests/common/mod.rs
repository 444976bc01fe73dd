//! A small run, recorded runs, and their traces.

#![allow(dead_code)]

use std::io::Cursor;

use numashock_controller::{Actions, Level, Observation, Regime, Telemetry};
use numashock_engine::{Checkpoint, Nanos, Recorded};
use numashock_trace::{Decided, End, Header, InputFile, Limits, Options, Trace, TraceError, Writer};

pub(crate) const SMALL: Options = Options { zstd: true, block_events: 7 };
pub(crate) const PLAIN: Options = Options { zstd: false, block_events: 7 };

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

/// Five events each second, of five kinds and two sources.
pub(crate) fn events(number: u64) -> Vec<Recorded> {
    let event = |index: u64| Recorded {
        at: Nanos(index * 200_000_000 + index % 3),
        kind: [0x200, 0x203, 0x206, 0x101, 0x8001][index as usize % 5],
        source: (index % 2) as u16,
        payload: [index * 17 % 40, (index * index) << (index % 60)],
    };
    (0..number).map(event).collect()
}

/// Events of real runs: 200 neighbours from each of three scenarios. Their rows outlive any change of the format.
pub(crate) fn corpus() -> Vec<Vec<Recorded>> {
    let texts = [
        include_str!("../corpus/ladder.csv"),
        include_str!("../corpus/controller.csv"),
        include_str!("../corpus/recorded-host.csv"),
    ];
    let row = |line: &str| {
        let numbers: Vec<u64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        let [at, kind, source, first, second] = numbers[..] else { panic!("five numbers in {line}") };
        Recorded { at: Nanos(at), kind: kind as u16, source: source as u16, payload: [first, second] }
    };
    texts.iter().map(|text| text.lines().skip(1).map(row).collect()).collect()
}

/// A trace with a checkpoint each four events and a decision each five.
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

/// Where the heads of blocks are, as the lengths in them say; those of a changed file may lead nowhere.
pub(crate) fn heads(bytes: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut place = PREAMBLE;
    while place + HEAD <= bytes.len() {
        places.push(place);
        let stored = u32::from_le_bytes(bytes[place + 8..place + 12].try_into().unwrap());
        place = place.saturating_add(HEAD).saturating_add(stored as usize);
    }
    places
}

pub(crate) const PREAMBLE: usize = 28;
pub(crate) const HEAD: usize = 44;

/// Makes all checksums right, so that what is wrong inside is reached.
pub(crate) fn repair(bytes: &mut [u8]) {
    if bytes.len() < PREAMBLE {
        return;
    }
    let set = |bytes: &mut [u8], place: usize, sum: u32| {
        bytes[place..place + 4].copy_from_slice(&sum.to_le_bytes())
    };
    let mut previous = crc32fast::hash(&bytes[..24]);
    set(bytes, 24, previous);
    let places = heads(bytes);
    for (number, place) in places.iter().enumerate() {
        let end = places.get(number + 1).copied();
        let stored = u32::from_le_bytes(bytes[place + 8..place + 12].try_into().unwrap()) as usize;
        let end = end.unwrap_or(bytes.len().min((place + HEAD).saturating_add(stored)));
        let payload = crc32fast::hash(&bytes[place + HEAD..end]);
        set(bytes, place + 32, previous);
        set(bytes, place + 36, payload);
        previous = crc32fast::hash(&bytes[*place..place + 40]);
        set(bytes, place + 40, previous);
    }
}
