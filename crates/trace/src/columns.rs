//! Events as columns of small numbers.
//!
//! ```text
//!   tags    number, then kind and source of each, in the order in which they first occur
//!   runs    number, then tag and length of each: whose events follow each other
//!   times   of each event the difference from the event before it
//!   words   first of all events, then the second: the difference from the last event with the same tag
//! ```
//!
//! All are variable-length integers, seven bits a byte, the low ones first; differences are folded so that small ones of either
//! sign are short. Nothing refers to another block, so each can be read alone.

use std::collections::BTreeMap;

use numashock_engine::{Nanos, Recorded};

/// Bytes of 64 bits, seven a byte.
const VARINT_BYTES_MAX: usize = 10;

pub(crate) fn encode(events: &[Recorded]) -> Vec<u8> {
    let mut places: BTreeMap<(u16, u16), usize> = BTreeMap::new();
    let mut names = Vec::new();
    let mut tags = Vec::with_capacity(events.len());
    for event in events {
        let name = (event.kind, event.source);
        let tag = *places.entry(name).or_insert(names.len());
        if tag == names.len() {
            names.push(name);
        }
        tags.push(tag);
    }
    let mut bytes = Vec::with_capacity(events.len() * 8);
    put(&mut bytes, names.len() as u64);
    for (kind, source) in &names {
        put(&mut bytes, u64::from(*kind));
        put(&mut bytes, u64::from(*source));
    }
    let runs = || tags.chunk_by(|one, next| one == next);
    put(&mut bytes, runs().count() as u64);
    for run in runs() {
        put(&mut bytes, run[0] as u64);
        put(&mut bytes, run.len() as u64);
    }
    let mut before = 0;
    for event in events {
        put(&mut bytes, folded(event.at.0.wrapping_sub(before)));
        before = event.at.0;
    }
    for word in 0..2 {
        let mut last = vec![0; names.len()];
        for (event, tag) in events.iter().zip(&tags) {
            put(&mut bytes, folded(event.payload[word].wrapping_sub(last[*tag])));
            last[*tag] = event.payload[word];
        }
    }
    bytes
}

/// The `count` events of a block, or what is wrong with its bytes.
pub(crate) fn decode(mut bytes: &[u8], count: usize) -> Result<Vec<Recorded>, String> {
    let bytes = &mut bytes;
    let names = tag_names(bytes)?;
    // Times and words take a byte each.
    if count > bytes.len() / 3 {
        return Err(format!("{} bytes for {count} events", bytes.len()));
    }
    let mut events = Vec::with_capacity(count);
    let mut tags = Vec::with_capacity(count);
    for _ in 0..take(bytes)? {
        let (tag, length) = (take(bytes)?, take(bytes)?);
        let name = usize::try_from(tag).ok().and_then(|tag| names.get(tag));
        let (kind, source) = *name.ok_or_else(|| format!("tag {tag} of {}", names.len()))?;
        if length == 0 || length > (count - tags.len()) as u64 {
            return Err(format!("a run of {length} events behind {} of {count}", tags.len()));
        }
        let due = tags.len() + length as usize;
        tags.resize(due, tag as u32);
        events.resize(due, Recorded { at: Nanos::ZERO, kind, source, payload: [0; 2] });
    }
    if tags.len() < count {
        return Err(format!("runs of {} events where {count} are due", tags.len()));
    }
    let mut before = 0;
    for event in &mut events {
        before = unfolded(take(bytes)?).wrapping_add(before);
        event.at = Nanos(before);
    }
    for word in 0..2 {
        let mut last = vec![0; names.len()];
        for (event, tag) in events.iter_mut().zip(&tags) {
            let last = &mut last[*tag as usize];
            *last = unfolded(take(bytes)?).wrapping_add(*last);
            event.payload[word] = *last;
        }
    }
    if bytes.is_empty() { Ok(events) } else { Err(format!("{} bytes behind the last column", bytes.len())) }
}

fn tag_names(bytes: &mut &[u8]) -> Result<Vec<(u16, u16)>, String> {
    let count = take(bytes)?;
    if count > bytes.len() as u64 / 2 {
        return Err(format!("{} bytes for {count} tags", bytes.len()));
    }
    let mut names = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (kind, source) = (take(bytes)?, take(bytes)?);
        let short = |number: u64| u16::try_from(number).map_err(|_| format!("kind or source {number}"));
        names.push((short(kind)?, short(source)?));
    }
    Ok(names)
}

/// Small differences of either sign as small numbers.
fn folded(difference: u64) -> u64 {
    let sign = ((difference as i64) >> 63) as u64;
    (difference << 1) ^ sign
}

fn unfolded(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for index in 0..VARINT_BYTES_MAX {
        let Some(byte) = bytes.get(index) else {
            return Err("a column that ends within a number".to_owned());
        };
        let bits = u64::from(byte & 0x7F);
        if index == VARINT_BYTES_MAX - 1 && *byte > 1 {
            break;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Ok(number);
        }
    }
    Err("a number of more than 64 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Times and words near each other, far from each other, and at the ends of their range.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..300_u64, any::<u64>(), (0..64_u32).prop_map(|bits| 1 << bits), u64::MAX - 3..=u64::MAX]
    }

    fn event() -> impl Strategy<Value = Recorded> {
        let kind = prop_oneof![0x200..0x208_u16, any::<u16>()];
        let source = prop_oneof![Just(0), 0..64_u16, any::<u16>()];
        (number(), kind, source, number(), number()).prop_map(|(at, kind, source, one, other)| Recorded {
            at: Nanos(at),
            kind,
            source,
            payload: [one, other],
        })
    }

    /// The columns as they are described, each number on its own and looked up from the beginning.
    fn naive(events: &[Recorded]) -> Vec<u8> {
        let tag = |event: &Recorded| (event.kind, event.source);
        let first = |event: &Recorded| events.iter().position(|other| tag(other) == tag(event)).unwrap();
        let mut firsts: Vec<usize> = events.iter().map(first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let mut numbers = vec![firsts.len() as u128];
        for place in &firsts {
            numbers.extend([u128::from(events[*place].kind), u128::from(events[*place].source)]);
        }
        let begins: Vec<usize> = (0..events.len())
            .filter(|place| *place == 0 || tag(&events[*place]) != tag(&events[place - 1]))
            .collect();
        numbers.push(begins.len() as u128);
        for (number, begin) in begins.iter().enumerate() {
            let end = begins.get(number + 1).copied().unwrap_or(events.len());
            let name = firsts.iter().position(|place| *place == first(&events[*begin])).unwrap();
            numbers.extend([name as u128, (end - begin) as u128]);
        }
        // The shorter way round a circle of 2^64 numbers.
        let difference = |new: u64, old: u64| {
            let up = (u128::from(new) + (1 << 64) - u128::from(old)) % (1 << 64);
            if up < 1 << 63 { up * 2 } else { ((1 << 64) - up) * 2 - 1 }
        };
        for place in 0..events.len() {
            numbers.push(difference(events[place].at.0, if place == 0 { 0 } else { events[place - 1].at.0 }));
        }
        for word in 0..2 {
            for (place, event) in events.iter().enumerate() {
                let before = events[..place].iter().rev().find(|other| tag(other) == tag(event));
                numbers.push(difference(event.payload[word], before.map_or(0, |other| other.payload[word])));
            }
        }
        let digits = |mut number: u128| {
            let mut digits = Vec::new();
            while number > 127 {
                digits.push((number % 128 + 128) as u8);
                number /= 128;
            }
            digits.push(number as u8);
            digits
        };
        numbers.into_iter().flat_map(digits).collect()
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_and_the_bytes_are_those_of_the_naive_twin(
            events in proptest::collection::vec(event(), 0..40)
        ) {
            let bytes = encode(&events);
            prop_assert_eq!(&bytes, &naive(&events));
            prop_assert_eq!(decode(&bytes, events.len()).unwrap(), events);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_are_as_many_events_as_named(
            bytes in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
            count in 0..12_usize,
        ) {
            if let Ok(events) = decode(&bytes, count) {
                prop_assert_eq!(events.len(), count);
                // Numbers that are padded with zeros, and runs in pieces, decode but are not written.
                prop_assert_eq!(decode(&encode(&events), count).unwrap(), events);
            }
        }
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_in_words() {
        let event = Recorded { at: Nanos(5), kind: 1, source: 0, payload: [1, 2] };
        let bytes = encode(&[event, event]);
        assert_eq!(bytes, [1, 1, 0, 1, 0, 2, 10, 0, 2, 0, 4, 0]);
        let changed = |place: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[place] = byte;
            decode(&bytes, 2).unwrap_err()
        };
        assert_eq!(changed(0, 9), "11 bytes for 9 tags");
        assert_eq!(changed(4, 1), "tag 1 of 1");
        assert_eq!(changed(5, 3), "a run of 3 events behind 0 of 2");
        assert_eq!(changed(5, 0), "a run of 0 events behind 0 of 2");
        assert_eq!(changed(5, 1), "runs of 1 events where 2 are due");
        assert_eq!(changed(11, 0x80), "a column that ends within a number");
        assert_eq!(decode(&bytes, 4).unwrap_err(), "9 bytes for 4 events");
        assert_eq!(decode(&[&bytes[..], &[0]].concat(), 2).unwrap_err(), "1 bytes behind the last column");
        assert_eq!(take(&mut &[0xFF; 11][..]).unwrap_err(), "a number of more than 64 bits");
        assert_eq!(take(&mut &[&[0xFF; 9][..], &[1]].concat()[..]).unwrap(), u64::MAX);
    }
}
