//! Files that no writer wrote, made from real ones by seeded mutations that know where heads and lengths are. Most get
//! right checksums afterwards, so that what lies behind them is reached.
//!
//! ```text
//!   cargo test -p numashock-trace --test fuzz -- --include-ignored          300,000 rounds more
//!   TRACE_FUZZ_ROUNDS=1000000 TRACE_FUZZ_FROM=301000 cargo test ...          as many as wanted, from any round on
//! ```
//!
//! A round is found by its number alone, so a failure names all that is needed to see it again.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Cursor;

use common::{HEAD, corpus, events, heads, read, repair, write};
use numashock_engine::{Nanos, Seed, Stream};
use numashock_trace::{Limits, Options, Reader, Trace};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const LIMITS: Limits =
    Limits { header_bytes: 4096, block_bytes: 65_536, block_items: 2000, inputs: 16, whole_items: 10_000 };

/// A place in `0..length`, more often near one that means something.
fn place(stream: &mut Stream, bytes: &[u8]) -> usize {
    let heads = heads(bytes);
    if stream.chance_ppm(600_000) && !heads.is_empty() {
        let head = heads[stream.below(heads.len() as u64) as usize];
        return (head + stream.below(2 * HEAD as u64) as usize).min(bytes.len() - 1);
    }
    stream.below(bytes.len() as u64) as usize
}

/// A number that is likely to be wrong in an interesting way.
fn number(stream: &mut Stream, old: u32) -> u32 {
    match stream.below(6) {
        0 => 0,
        1 => u32::MAX,
        2 => old.wrapping_add(1),
        3 => old.wrapping_sub(1),
        4 => 1 << stream.below(32),
        _ => stream.next_u64() as u32,
    }
}

/// Where a block begins and ends.
fn block(stream: &mut Stream, bytes: &[u8]) -> (usize, usize) {
    let heads = heads(bytes);
    if heads.is_empty() {
        return (0, bytes.len());
    }
    let number = stream.below(heads.len() as u64) as usize;
    (heads[number], heads.get(number + 1).copied().unwrap_or(bytes.len()))
}

fn mutate(stream: &mut Stream, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let at = place(stream, bytes);
    match stream.below(10) {
        0 => bytes[at] ^= 1 << stream.below(8),
        1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][stream.below(5) as usize],
        2 => bytes.truncate(at),
        3 => {
            bytes.remove(at);
        }
        4 => bytes.insert(at, stream.next_u64() as u8),
        5 => {
            // A length, a count or a time of a head.
            let field = block(stream, bytes).0 + 4 * stream.below(8) as usize;
            if let Some(old) = bytes.get(field..field + 4) {
                let new = number(stream, u32::from_le_bytes(old.try_into().unwrap()));
                bytes[field..field + 4].copy_from_slice(&new.to_le_bytes());
            }
        }
        6 => {
            // A block leaves its place, or is doubled.
            let (start, end) = block(stream, bytes);
            let moved: Vec<u8> = bytes[start..end].to_vec();
            if stream.chance_ppm(500_000) {
                bytes.drain(start..end);
            }
            let to = block(stream, bytes).0;
            bytes.splice(to..to, moved);
        }
        7 => {
            // A block of another trace comes in.
            let ((start, end), to) = (block(stream, other), block(stream, bytes).0);
            bytes.splice(to..to, other[start..end].iter().copied());
        }
        8 => {
            // A head's kind.
            let start = block(stream, bytes).0;
            bytes[start.min(at)] = stream.below(8) as u8;
        }
        _ => {
            // A payload grows or shrinks and its lengths follow.
            let (start, end) = block(stream, bytes);
            if end < start + HEAD + 8 || end > bytes.len() {
                return;
            }
            let inside = start + HEAD + stream.below((end - start - HEAD) as u64) as usize;
            let length = if stream.chance_ppm(500_000) {
                bytes.insert(inside, stream.next_u64() as u8);
                end + 1 - start - HEAD
            } else {
                bytes.remove(inside);
                end - 1 - start - HEAD
            };
            for field in [8, 12] {
                bytes[start + field..start + field + 4].copy_from_slice(&(length as u32).to_le_bytes());
            }
        }
    }
}

/// Reads a mutated file in every way. Says whether it was read to an end.
fn judge(bytes: &[u8], stream: &mut Stream) -> bool {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let streamed = Reader::open(Cursor::new(bytes), LIMITS).and_then(|mut reader| {
        while reader.next_block()?.is_some() {}
        Ok(())
    });
    let peak = (ALLOCATED.peak_usage() - before) as u64;
    assert!(peak <= LIMITS.bytes_at_once(), "{peak} bytes of {}", LIMITS.bytes_at_once());
    let whole = Trace::read(Cursor::new(bytes), LIMITS);
    assert_eq!(whole.is_ok(), streamed.is_ok());
    let at = Nanos(stream.next_u64() >> stream.below(64));
    let mut reader = match Reader::open(Cursor::new(bytes), LIMITS) {
        Ok(reader) => reader,
        Err(_) => return false,
    };
    let seen = reader.events(at).collect::<Result<Vec<_>, _>>();
    let decided = reader.decided(at).collect::<Result<Vec<_>, _>>();
    let points = reader.checkpoints(at).collect::<Result<Vec<_>, _>>();
    let Ok(trace) = whole else { return false };
    // What reads well as a whole reads the same from any time on.
    let due: Vec<_> = trace.events.iter().filter(|event| event.at >= at).copied().collect();
    assert_eq!(seen.unwrap(), due);
    let due = trace.decided.iter().filter(|one| (u64::from(one.bucket) + 1) * 1_000_000_000 >= at.0);
    assert_eq!(decided.unwrap(), due.copied().collect::<Vec<_>>());
    assert_eq!(points.unwrap().len(), trace.checkpoints.iter().filter(|point| point.at >= at).count());
    // And written again it is the same.
    let again = read(&write(&trace.events, Options::default())).unwrap();
    assert_eq!(again.events, trace.events);
    true
}

fn traces() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for events in corpus().iter().chain([&events(12), &Vec::new()]) {
        for (zstd, block_events) in [(false, 50), (true, 200), (false, 3)] {
            all.push(write(
                &events[..events.len().min(2 * block_events as usize)],
                Options { zstd, block_events },
            ));
        }
    }
    all
}

fn fuzz(rounds: std::ops::Range<u64>) {
    let traces = traces();
    let pick = |stream: &mut Stream| &traces[stream.below(traces.len() as u64) as usize];
    let (mut read, mut count) = (0_u64, 0_u64);
    for round in rounds {
        let stream = &mut Seed(1).stream("fuzz", round);
        let mut bytes = pick(stream).clone();
        let other = pick(stream);
        for _ in 0..=stream.below(4) {
            mutate(stream, &mut bytes, other);
        }
        if stream.chance_ppm(400_000) {
            // Without its index a file must be scanned, and no index can disagree with it.
            let last = heads(&bytes).last().copied();
            bytes.truncate(last.unwrap_or(0));
        }
        if stream.chance_ppm(850_000) {
            repair(&mut bytes);
        }
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&bytes, stream)));
        let Ok(well) = judged else { panic!("round {round}: {} bytes", bytes.len()) };
        read += u64::from(well);
        count += 1;
    }
    // Some are refused and some come through, or the mutations miss what they are for.
    assert!(read * 20 > count && read * 20 < count * 19, "{read} of {count} were read");
    println!("{read} of {count} mutated traces read well, the others were refused");
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a whole number")))
}

#[test]
fn the_first_thousand_mutated_traces_are_read_or_refused() {
    fuzz(0..1000);
}

#[test]
#[ignore = "takes its time; every change runs it by name"]
fn many_mutated_traces_are_read_or_refused() {
    let from = setting("TRACE_FUZZ_FROM", 1000);
    fuzz(from..from + setting("TRACE_FUZZ_ROUNDS", 300_000));
}
