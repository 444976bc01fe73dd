//! Events as columns of small numbers.
//!
//! A block first lists its tags, the pairs of kind and source that occur, in the order in which they first do. Then come
//! columns: tag, time and the two words of each event. A time is the difference from the event before, a word that from the same
//! word of the last event with this tag; both as variable-length integers, seven bits a byte.
//! Nothing refers to another block, so each can be read alone.

use std::collections::BTreeMap;

use numashock_engine::{Nanos, Recorded};

/// Bytes of 64 bits, seven a byte.
const VARINT_BYTES_MAX: usize = 10;

pub(crate) fn encode(events: &[Recorded]) -> Vec<u8> {
    let mut places: BTreeMap<(u16, u16), usize> = BTreeMap::new();
    let mut names = Vec::new();
    let tags: Vec<usize> = events
        .iter()
        .map(|event| {
            *places.entry((event.kind, event.source)).or_insert_with(|| {
                names.push((event.kind, event.source));
                names.len() - 1
            })
        })
        .collect();
    let mut bytes = Vec::with_capacity(events.len() * 8);
    put(&mut bytes, names.len() as u64);
    for (kind, source) in &names {
        put(&mut bytes, u64::from(*kind));
        put(&mut bytes, u64::from(*source));
    }
    for tag in &tags {
        put(&mut bytes, *tag as u64);
    }
    let mut before = 0;
    for event in events {
        put(&mut bytes, zigzag(event.at.0.wrapping_sub(before)));
        before = event.at.0;
    }
    for word in 0..2 {
        let mut last = vec![0; names.len()];
        for (event, tag) in events.iter().zip(&tags) {
            put(&mut bytes, zigzag(event.payload[word].wrapping_sub(last[*tag])));
            last[*tag] = event.payload[word];
        }
    }
    bytes
}

/// Adds `count` events to `into`, or says what is wrong with the bytes.
pub(crate) fn decode(mut bytes: &[u8], count: usize, into: &mut Vec<Recorded>) -> Result<(), String> {
    let bytes = &mut bytes;
    let names = tag_names(bytes)?;
    // An event takes a byte in each column.
    if count > bytes.len() / 4 {
        return Err(format!("{} bytes for {count} events", bytes.len()));
    }
    let start = into.len();
    into.reserve_exact(count);
    let mut tags = Vec::with_capacity(count);
    for _ in 0..count {
        let tag = take(bytes)?;
        let name = usize::try_from(tag).ok().and_then(|tag| names.get(tag));
        let (kind, source) = *name.ok_or_else(|| format!("tag {tag} of {}", names.len()))?;
        tags.push(tag as u32);
        into.push(Recorded { at: Nanos::ZERO, kind, source, payload: [0; 2] });
    }
    let events = &mut into[start..];
    let mut before = 0;
    for event in events.iter_mut() {
        before = unzigzag(take(bytes)?).wrapping_add(before);
        event.at = Nanos(before);
    }
    for word in 0..2 {
        let mut last = vec![0; names.len()];
        for (event, tag) in events.iter_mut().zip(&tags) {
            let last = &mut last[*tag as usize];
            *last = unzigzag(take(bytes)?).wrapping_add(*last);
            event.payload[word] = *last;
        }
    }
    if bytes.is_empty() { Ok(()) } else { Err(format!("{} bytes behind the last column", bytes.len())) }
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
fn zigzag(difference: u64) -> u64 {
    let sign = ((difference as i64) >> 63) as u64;
    (difference << 1) ^ sign
}

fn unzigzag(number: u64) -> u64 {
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
