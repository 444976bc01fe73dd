//! Every bit flipped and every truncation: detected, or read up to the last whole block; never another value.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Cursor;

use common::{HEAD, PLAIN, PREAMBLE, SMALL, end, events, heads, read, repair, write};
use numashock_engine::Nanos;
use numashock_trace::{Block, Limits, Reader, Trace, TraceError};

fn is_prefix(trace: &Trace, whole: &Trace) -> bool {
    trace.header == whole.header
        && whole.events.starts_with(&trace.events)
        && whole.decided.starts_with(&trace.decided)
        && whole.checkpoints.starts_with(&trace.checkpoints)
        && trace.end.is_none_or(|end| whole.end == Some(end))
}

/// All that a stream gives before it ends or fails; whether it failed.
fn streamed(bytes: &[u8]) -> Result<(Trace, bool), TraceError> {
    let mut reader = Reader::open(Cursor::new(bytes), Limits::USUAL)?;
    let header = reader.header().clone();
    let mut trace = Trace {
        header,
        events: vec![],
        decided: vec![],
        checkpoints: vec![],
        end: None,
        cut: reader.cut().copied(),
    };
    loop {
        match reader.next_block() {
            Ok(Some(Block::Events(events))) => trace.events.extend(events),
            Ok(Some(Block::Decided(decided))) => trace.decided.extend(decided),
            Ok(Some(Block::Checkpoints(points))) => trace.checkpoints.extend(points),
            Ok(Some(Block::End(end))) => trace.end = Some(end),
            Ok(None) => return Ok((trace, false)),
            Err(_) => return Ok((trace, true)),
        }
    }
}

#[test]
fn every_flipped_bit_is_detected_and_gives_no_other_value() {
    for options in [SMALL, PLAIN] {
        let bytes = write(&events(12), options);
        let whole = read(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = read(&changed);
            assert!(error.is_err(), "bit {bit} of {}: {error:?}", bytes.len() * 8);
            let Ok((trace, failed)) = streamed(&changed) else { continue };
            assert!(failed && is_prefix(&trace, &whole), "bit {bit}: {trace:?}");
        }
    }
}

#[test]
fn a_seek_in_a_file_with_a_flipped_bit_gives_no_other_value() {
    let bytes = write(&events(12), PLAIN);
    let at = Nanos(2_000_000_000);
    let due: Vec<_> = read(&bytes).unwrap().events.into_iter().filter(|event| event.at >= at).collect();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(mut reader) = Reader::open(Cursor::new(changed), Limits::USUAL) else { continue };
        let seen: Vec<_> = reader.events(at).map_while(Result::ok).collect();
        assert!(due.starts_with(&seen), "bit {bit}: {seen:?}");
    }
}

#[test]
fn every_truncation_gives_exactly_the_whole_blocks_before_it() {
    for options in [SMALL, PLAIN] {
        let bytes = write(&events(12), options);
        let whole = read(&bytes).unwrap();
        let places = heads(&bytes[..bytes.len() - 20]);
        let ends: Vec<usize> = places[1..].iter().copied().chain([bytes.len() - 20]).collect();
        for length in 0..bytes.len() {
            let cut = read(&bytes[..length]);
            if length < 8 {
                assert!(matches!(cut, Err(TraceError::NotATrace { .. })), "{length}: {cut:?}");
            } else if length < PREAMBLE {
                assert!(matches!(cut, Err(TraceError::Damaged { .. })), "{length}: {cut:?}");
            } else if length < ends[0] {
                let due = matches!(&cut, Err(TraceError::CutHeader(cut)) if cut.offset == PREAMBLE as u64 && cut.block == 0);
                assert!(due, "{length}: {cut:?}");
            } else {
                let trace = cut.unwrap();
                let blocks = ends.iter().filter(|end| **end <= length).count();
                let cut = trace.cut.unwrap();
                assert_eq!((cut.offset as usize, cut.block as usize), (ends[blocks - 1], blocks));
                let of = |kind: u8| {
                    let counted = places[..blocks].iter().filter(|place| bytes[**place] == kind);
                    counted.map(|place| bytes[place + 4] as usize).sum::<usize>()
                };
                assert_eq!(
                    (trace.events.len(), trace.checkpoints.len(), trace.decided.len()),
                    (of(1), of(2), of(3))
                );
                assert_eq!(trace.end, (of(4) == 1).then_some(end(12)));
                assert!(is_prefix(&trace, &whole), "{length}");
            }
        }
    }
}

#[test]
fn blocks_that_moved_are_found_and_named() {
    let bytes = write(&events(12), PLAIN);
    let places = heads(&bytes[..bytes.len() - 20]);
    let block = |number: usize| &bytes[places[number]..places[number + 1]];
    let first = &bytes[..places[1]];
    let rest = |number: usize| &bytes[places[number]..];
    for (changed, number) in [
        ([first, block(2), block(1), rest(3)].concat(), 1),
        ([first, block(1), block(1), rest(2)].concat(), 2),
        ([first, block(1), rest(3)].concat(), 2),
    ] {
        let error = read(&changed).unwrap_err();
        let named = matches!(&error, TraceError::Damaged { block, expected, .. }
            if *block == number && *expected == "the block that follows the one before");
        assert!(named, "{error}");
    }
    let error = read(&[&bytes[..], b"more"].concat()).unwrap_err();
    assert!(error.to_string().contains("expected the end of the file, found 4 more bytes"), "{error}");
    let mut payload = bytes.clone();
    payload[places[1] + HEAD] ^= 1;
    let error = read(&payload).unwrap_err().to_string();
    let due = format!(
        "trace damaged at byte {}, block 1: expected the checksum of the block's payload, found ",
        places[1]
    );
    assert!(error.starts_with(&due), "{error}");
}

#[test]
fn a_block_that_runs_over_the_index_is_no_cut() {
    let mut bytes = write(&events(12), PLAIN);
    let second = heads(&bytes)[2];
    for field in [8, 12] {
        bytes[second + field..second + field + 4].copy_from_slice(&60_000_u32.to_le_bytes());
    }
    repair(&mut bytes);
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("block 2: expected a block that ends before the index"), "{error}");
}

#[test]
fn an_index_of_other_blocks_is_refused() {
    let bytes = write(&events(12), PLAIN);
    let places = heads(&bytes[..bytes.len() - 20]);
    // Behind stride and number: offset, block, checksum, kind, count, first time and time reached of each place.
    let (index, length) = (places.last().unwrap() + HEAD + 16, 41);
    assert_eq!(
        bytes.len() - 20 - index,
        (places.len() - 2) * length,
        "a place for each block but header and index"
    );
    let at = Nanos(2_000_000_000);
    let due: Vec<_> = read(&bytes).unwrap().events.into_iter().filter(|event| event.at >= at).collect();
    let mut refused = 0;
    for place in 0..places.len() - 2 {
        for field in [0, 8, 16, 20, 21, 25, 33] {
            let mut changed = bytes.clone();
            changed[index + place * length + field] ^= 1;
            repair(&mut changed);
            assert!(read(&changed).is_err(), "field {field} of place {place}");
            if field < 33 {
                let mut reader = Reader::open(Cursor::new(changed), Limits::USUAL).unwrap();
                let seen = reader.events(at).collect::<Result<Vec<_>, _>>();
                refused += usize::from(seen.is_err());
                assert!(seen.is_err() || seen.unwrap() == due, "field {field} of place {place}");
            }
        }
    }
    assert!(refused >= 5, "a place that a seek goes to is compared with its block: {refused}");
}
