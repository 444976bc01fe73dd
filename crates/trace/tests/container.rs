//! The file as a whole: what was written is read, block by block, from any time on, up to where it is cut.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{self, Cursor, Write};

use common::{PLAIN, SMALL, decided, end, events, header, read, write};
use numashock_engine::{Nanos, Recorded};
use numashock_trace::{Header, Limits, Options, Reader, TraceError, Writer};

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

#[test]
fn a_header_may_have_a_mebibyte_and_no_more() {
    let of = |length: usize| {
        let header = Header { scenario: "s".repeat(length), ..header() };
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, &header, SMALL)?.finish(&end(0))?;
        Ok::<_, TraceError>((read(&bytes)?.header == header, header))
    };
    let rest = of(0).map(|(_, header)| header).unwrap();
    // Fixed numbers take 40 bytes, and each text or list eight before it.
    let texts = rest.name.len() + rest.choice.len() + 4 + "messages".len() + "data/messages.csv".len();
    let free = (1 << 20) - 16 - 16 - texts - 8 * 8;
    assert!(of(free).unwrap().0);
    let error = of(free + 1).unwrap_err();
    assert!(matches!(error, TraceError::Limit { found: 1_048_577, limit: 1_048_576, .. }), "{error}");
}

#[test]
fn an_index_that_is_full_is_thinned_and_still_finds_every_time() {
    let options = Options { zstd: false, block_events: 1 };
    let events: Vec<Recorded> =
        (0..5000).map(|at| Recorded { at: Nanos(at * 10), kind: 1, source: 0, payload: [at, 0] }).collect();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header(), options).unwrap();
    events.iter().for_each(|event| writer.event(event).unwrap());
    writer.finish(&end(5000)).unwrap();
    assert_eq!(read(&bytes).unwrap().events, events);
    for cut in [0, 30] {
        let mut reader = Reader::open(Cursor::new(&bytes[..bytes.len() - cut]), Limits::USUAL).unwrap();
        for at in [0, 1, 9_999, 10_000, 49_980, 49_990, 49_991] {
            let first = reader.events(Nanos(at)).next().transpose().unwrap();
            assert_eq!(first, events.iter().find(|event| event.at.0 >= at).copied());
        }
    }
}

/// Remembers how much had been written after each write, as a disk would see it.
#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    room: Option<usize>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room.is_some_and(|room| self.bytes.len() + bytes.len() > room) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_write_leaves_a_file_of_whole_blocks() {
    let mut disk = Disk::default();
    let mut writer = Writer::new(&mut disk, &header(), SMALL).unwrap();
    events(30).iter().for_each(|event| writer.event(event).unwrap());
    writer.finish(&end(30)).unwrap();
    // Preamble, header, five blocks of events, end, index, tail.
    assert_eq!(disk.ends.len(), 10);
    for (number, length) in disk.ends.iter().enumerate().skip(1) {
        let trace = read(&disk.bytes[..*length]).unwrap();
        assert_eq!(trace.events, events(30)[..30.min(7 * (number - 1))]);
        assert_eq!(trace.cut.is_none(), number == 9);
        assert!(trace.cut.is_none_or(|cut| cut.offset == *length as u64));
    }
}

#[test]
fn a_full_disk_is_an_error_and_what_was_written_stays_readable() {
    let mut disk = Disk { room: Some(700), ..Disk::default() };
    let mut writer = Writer::new(&mut disk, &header(), PLAIN).unwrap();
    let written = events(100).iter().try_for_each(|event| writer.event(event));
    assert!(matches!(written, Err(TraceError::Io(_))), "{written:?}");
    drop(writer);
    let trace = read(&disk.bytes).unwrap();
    assert!(trace.events.len() >= 7 && events(100).starts_with(&trace.events), "{}", trace.events.len());
}
