//! What a file says about its lengths is never believed: nothing larger than the stated limit is ever allocated.
//!
//! One test, because it counts what the whole process has allocated.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Cursor;

use common::{HEAD, PLAIN, PREAMBLE, SMALL, corpus, events, heads, read, repair, write};
use numashock_trace::{Limits, Reader, Trace, TraceError};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const TIGHT: Limits =
    Limits { header_bytes: 4096, block_bytes: 32_768, block_items: 1000, inputs: 4, whole_items: 5000 };

/// Reads everything as a stream; the most that was allocated meanwhile, and the first error.
fn peak(bytes: &[u8], limits: Limits) -> (u64, Option<TraceError>) {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let mut error = None;
    match Reader::open(Cursor::new(bytes), limits) {
        Err(refused) => error = Some(refused),
        Ok(mut reader) => loop {
            match reader.next_block() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(refused) => {
                    error = Some(refused);
                    break;
                }
            }
        },
    }
    ((ALLOCATED.peak_usage() - before) as u64, error)
}

fn within(bytes: &[u8], limits: Limits, what: &str) -> Option<TraceError> {
    let (peak, error) = peak(bytes, limits);
    assert!(peak <= limits.bytes_at_once(), "{what}: {peak} bytes of {}", limits.bytes_at_once());
    error
}

/// A block of `kind` as the last of a file, with a payload of its own and right checksums.
fn with_block(kind: u8, count: u32, payload: &[u8], packed: bool, unpacked: u32) -> Vec<u8> {
    let mut bytes = write(&events(1), SMALL);
    let start = if kind == 0 { PREAMBLE } else { heads(&bytes)[1] };
    bytes.truncate(start);
    let mut head = [0; HEAD];
    head[0] = kind;
    head[1] = u8::from(packed);
    head[4..8].copy_from_slice(&count.to_le_bytes());
    head[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[12..16].copy_from_slice(&unpacked.to_le_bytes());
    head[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    repair(&mut bytes);
    bytes
}

fn lengths_in_heads() {
    let whole = write(&corpus()[0][..20], SMALL);
    for place in heads(&whole[..whole.len() - 20]) {
        for (field, limit) in [(4, TIGHT.block_items), (8, TIGHT.block_bytes), (12, TIGHT.block_bytes)] {
            for huge in [u32::MAX, 1 << 31, Limits::USUAL.block_bytes + 1, 1 << 22, limit + 1] {
                let mut bytes = whole.clone();
                bytes[place + field..place + field + 4].copy_from_slice(&huge.to_le_bytes());
                let what = format!("{huge} at {field} of the head at {place}");
                assert!(within(&bytes, TIGHT, &what).is_some(), "{what}, checksum wrong");
                repair(&mut bytes);
                for limits in [TIGHT, Limits::USUAL] {
                    within(&bytes, limits, &what);
                }
                let error = within(&bytes, TIGHT, &what).unwrap();
                assert!(
                    matches!(error, TraceError::Limit { .. } | TraceError::Damaged { .. }),
                    "{what}: {error}"
                );
            }
        }
    }
}

fn lengths_inside() {
    // A header whose first text, list or number of tags claims more than is there.
    for claimed in [u64::MAX, 1 << 40, 1 << 20, 4_000_000] {
        for skipped in [0, 4] {
            let payload = [&vec![0; skipped][..], &claimed.to_le_bytes(), &[b'x'; 100]].concat();
            for (kind, count) in [(0, 1), (4, 1), (5, 1), (1, 1000), (2, 1000), (3, 1000)] {
                let bytes = with_block(kind, count, &payload, false, payload.len() as u32);
                let what = format!("{claimed} in a block of kind {kind}");
                assert!(kind == 5 || within(&bytes, TIGHT, &what).is_some(), "{what}");
                within(&bytes, Limits::USUAL, &what);
            }
        }
    }
    // A million lists of no bytes would be a million allocations of nothing: header, inputs and hosts cannot be empty of bytes.
    let hosts = [&[0; 4][..], &[0; 8 * 4], &[0; 4], &(1_u64 << 60).to_le_bytes()].concat();
    let bytes = with_block(0, 1, &hosts, false, hosts.len() as u32);
    assert!(within(&bytes, Limits::USUAL, "hosts").is_some());
}

fn bombs() {
    let zeros = vec![0; 64 << 20];
    let packed = zstd::bulk::compress(&zeros, 3).unwrap();
    assert!(packed.len() < 10_000);
    drop(zeros);
    for unpacked in [64 << 20, Limits::USUAL.block_bytes, 100] {
        for kind in 1..5 {
            let bytes = with_block(kind, 1, &packed, true, unpacked);
            for limits in [TIGHT, Limits::USUAL] {
                assert!(within(&bytes, limits, "a bomb").is_some(), "kind {kind}, {unpacked} bytes");
            }
        }
        let bytes = with_block(0, 1, &packed, true, unpacked);
        assert!(within(&bytes, Limits::USUAL, "a bomb for a header").is_some());
    }
}

fn packed_bytes_of_another_length() {
    let mut whole = write(&events(4), SMALL);
    let places = heads(&whole[..whole.len() - 20]);
    let place = places.into_iter().find(|place| whole[place + 1] == 1).unwrap();
    whole[place + 12] += 1;
    repair(&mut whole);
    let error = within(&whole, TIGHT, "one byte too many").unwrap().to_string();
    assert!(error.contains("expected as many unpacked bytes as the head names"), "{error}");
}

fn many_items() {
    // As many events as a block may have, and as many as may be read as a whole.
    let many = events(4000);
    let options = numashock_trace::Options { zstd: true, block_events: 1000 };
    let bytes = write(&many, options);
    assert!(within(&bytes, TIGHT, "many events").is_none());
    let error = Trace::read(Cursor::new(&bytes), Limits { whole_items: 3999, ..TIGHT }).unwrap_err();
    assert!(matches!(error, TraceError::Limit { limit: 3999, .. }), "{error}");
    let error = within(&bytes, Limits { block_items: 999, ..TIGHT }, "a block too large").unwrap();
    assert!(matches!(error, TraceError::Limit { found: 1000, limit: 999, .. }), "{error}");
    let error = within(&bytes, Limits { inputs: 0, ..TIGHT }, "inputs").unwrap();
    assert!(error.to_string().contains("1 input files, at most 0 are accepted"), "{error}");
}

#[test]
fn nothing_is_allocated_beyond_the_stated_limit() {
    let small = write(&events(8), PLAIN);
    assert!(read(&small).is_ok());
    for bit in 0..small.len() * 8 {
        let mut bytes = small.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        within(&bytes, TIGHT, "a flipped bit");
        repair(&mut bytes);
        within(&bytes, TIGHT, "a flipped bit under right checksums");
    }
    lengths_in_heads();
    lengths_inside();
    bombs();
    packed_bytes_of_another_length();
    many_items();
    assert_eq!(Limits::USUAL.bytes_at_once() >> 20, 22);
}
