//! The file as a whole: what was written is read, block by block, from any time on, up to where it is cut.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Cursor;

use common::{decided, end, events, header, read, write};
use numashock_engine::Nanos;
use numashock_trace::{Limits, Options, Reader, TraceError};

const SMALL: Options = Options { zstd: true, block_events: 7 };
const PLAIN: Options = Options { zstd: false, block_events: 7 };

#[test]
fn what_was_written_is_read() {
    for options in [SMALL, PLAIN, Options::default()] {
        let events = events(45);
        let bytes = write(&events, options);
        assert_eq!(bytes, write(&events, options), "the same bytes each time");
        let trace = read(&bytes).unwrap();
        assert_eq!(trace.header, header());
        assert_eq!(trace.events, events);
        assert_eq!(trace.decided, (0..9).map(decided).collect::<Vec<_>>());
        assert_eq!(trace.checkpoints.len(), 11);
        assert_eq!((trace.end, trace.cut), (Some(end(45)), None));
    }
}

#[test]
fn a_run_without_events_is_a_trace() {
    let trace = read(&write(&[], SMALL)).unwrap();
    assert_eq!((trace.events.len(), trace.decided.len(), trace.end), (0, 0, Some(end(0))));
}

#[test]
fn a_seek_gives_what_a_filter_gives_with_and_without_the_index() {
    let events = events(60);
    let whole = write(&events, SMALL);
    for bytes in [&whole[..], &whole[..whole.len() - 1]] {
        let mut reader = Reader::open(Cursor::new(bytes), Limits::USUAL).unwrap();
        for at in (0..13).map(|second| Nanos(second * 1_000_000_000 + 1)) {
            let seen: Vec<_> = reader.events(at).map(Result::unwrap).collect();
            assert_eq!(seen, events.iter().filter(|event| event.at >= at).copied().collect::<Vec<_>>());
            let seen: Vec<_> = reader.decided(at).map(|one| one.unwrap().bucket).collect();
            let due = (0..12)
                .filter(|bucket| Nanos((bucket + 1) * 1_000_000_000) >= at)
                .map(|bucket| bucket as u32);
            assert_eq!(seen, due.collect::<Vec<_>>());
            assert_eq!(
                reader.checkpoints(at).count(),
                events.iter().skip(3).step_by(4).filter(|event| event.at >= at).count()
            );
        }
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = write(&events(3), SMALL);
    bytes[8] = 2;
    let sum = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&sum.to_le_bytes());
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error, TraceError::Version { found: 2, expected: 1, .. }), "{error}");
    assert!(error.to_string().starts_with("trace of format 2, schema "), "{error}");
    let error = read(b"PAR1 is something else").unwrap_err();
    assert!(matches!(error, TraceError::NotATrace { .. }), "{error}");
}
