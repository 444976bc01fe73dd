//! Writes a trace block by block, in constant memory.

use std::fmt;
use std::io::Write;

use numashock_engine::{Checkpoint, Recorded};

use crate::codec;
use crate::columns;
use crate::error::{Limits, TraceError};
use crate::format::{HEAD_BYTES, Head, Kind, Preamble, checksum, tail};
use crate::frame::{Decided, End, Header};
use crate::index::Indexing;

/// Nanoseconds of a bucket of decisions.
pub(crate) const BUCKET: u64 = 1_000_000_000;
/// Decisions in a block.
const DECIDED_ITEMS: u32 = 1024;
/// Checkpoints in a block.
const CHECKPOINT_ITEMS: u32 = 16_384;

/// How a trace is written. The same events and options give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pack blocks by zstd where that makes them smaller.
    pub zstd: bool,
    /// Events in a block: what is not yet in a whole block is lost by a crash.
    pub block_events: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { zstd: true, block_events: 16_384 }
    }
}

/// What a finished trace takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events and notes in the trace.
    pub events: u64,
    /// Bytes of their blocks before zstd, heads included.
    pub event_bytes: u64,
    /// Bytes of their blocks in the file, heads included.
    pub event_bytes_stored: u64,
    /// Bytes of all blocks before zstd, heads and index included.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Blocks, with header and index.
    pub blocks: u64,
}

impl Stats {
    /// Hundredths of `bytes` for each event.
    fn each(self, bytes: u64) -> u64 {
        (bytes * 100).checked_div(self.events).unwrap_or(0)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [plain, stored] = [self.event_bytes, self.event_bytes_stored].map(|bytes| self.each(bytes));
        write!(
            f,
            "{} events, {}.{:02} bytes an event, {}.{:02} as stored; {} bytes in {} blocks",
            self.events,
            plain / 100,
            plain % 100,
            stored / 100,
            stored % 100,
            self.file_bytes,
            self.blocks
        )
    }
}

/// Frames that wait for their block.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    count: u32,
    first: u64,
    last: u64,
}

impl Frames {
    fn add(&mut self, bytes: &[u8], at: u64) {
        self.first = if self.count == 0 { at } else { self.first.min(at) };
        self.last = self.last.max(at);
        self.bytes.extend_from_slice(bytes);
        self.count += 1;
    }
}

/// Writes a trace as a stream. Each block goes out in one piece and is flushed, so that a crash leaves whole blocks and at
/// most one that is cut.
pub struct Writer<W: Write> {
    out: W,
    options: Options,
    events: Vec<Recorded>,
    checkpoints: Frames,
    decided: Frames,
    /// Bytes written.
    at: u64,
    previous: u32,
    indexing: Indexing,
    stats: Stats,
}

impl<W: Write> Writer<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// If it cannot be written, or the header or the options ask for more than a reader accepts.
    pub fn new(out: W, header: &Header, options: Options) -> Result<Writer<W>, TraceError> {
        let limits = Limits::USUAL;
        check("events in a block", u64::from(options.block_events.max(1)), u64::from(limits.block_items))?;
        check("input files", header.inputs.len() as u64, u64::from(limits.inputs))?;
        let bytes = codec::encode(header);
        check("bytes of header", bytes.len() as u64, u64::from(limits.header_bytes))?;
        let mut writer = Writer {
            out,
            options: Options { block_events: options.block_events.max(1), ..options },
            events: Vec::new(),
            checkpoints: Frames::default(),
            decided: Frames::default(),
            at: 0,
            previous: 0,
            indexing: Indexing::new(),
            stats: Stats::default(),
        };
        let preamble = Preamble { zstd: options.zstd }.to_bytes();
        writer.previous = checksum(&preamble[..24]);
        writer.put(&preamble)?;
        writer.block(Kind::Header, &Frames { bytes, count: 1, first: 0, last: 0 })?;
        Ok(writer)
    }

    /// Adds an event or a note.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn event(&mut self, event: &Recorded) -> Result<(), TraceError> {
        self.events.push(*event);
        self.stats.events += 1;
        if self.events.len() as u64 >= u64::from(self.options.block_events) { self.flush() } else { Ok(()) }
    }

    /// Adds a decision.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn decided(&mut self, decided: &Decided) -> Result<(), TraceError> {
        let at = (u64::from(decided.bucket) + 1) * BUCKET;
        self.decided.add(&codec::encode(decided), at);
        if self.decided.count >= DECIDED_ITEMS { self.flush() } else { Ok(()) }
    }

    /// Adds a state of the event hash.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn checkpoint(&mut self, point: &Checkpoint) -> Result<(), TraceError> {
        let Checkpoint { events, at, hash } = *point;
        self.checkpoints.add(&codec::encode(&(events, at.0, hash)), at.0);
        if self.checkpoints.count >= CHECKPOINT_ITEMS { self.flush() } else { Ok(()) }
    }

    /// Writes out all that was given, so that nothing of it is lost by a crash.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), TraceError> {
        let events = std::mem::take(&mut self.events);
        if !events.is_empty() {
            let times = || events.iter().map(|event| event.at.0);
            let frames = Frames {
                bytes: columns::encode(&events),
                count: events.len() as u32,
                first: times().min().expect("there are events"),
                last: times().max().expect("there are events"),
            };
            let before = (self.stats.bytes, self.at);
            self.block(Kind::Events, &frames)?;
            self.stats.event_bytes += self.stats.bytes - before.0;
            self.stats.event_bytes_stored += self.at - before.1;
        }
        self.events = events;
        self.events.clear();
        let checkpoints = std::mem::take(&mut self.checkpoints);
        self.some(Kind::Checkpoints, &checkpoints)?;
        let decided = std::mem::take(&mut self.decided);
        self.some(Kind::Decided, &decided)
    }

    /// Ends the trace with how the run ended, and the index.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self, end: &End) -> Result<Stats, TraceError> {
        self.flush()?;
        let bytes = codec::encode(end);
        self.block(Kind::End, &Frames { bytes, count: 1, first: end.at, last: end.at })?;
        let start = self.at;
        let bytes = codec::encode(&self.indexing.index);
        let count = self.indexing.index.places.len() as u32;
        self.block(Kind::Index, &Frames { bytes, count, first: 0, last: 0 })?;
        self.put(&tail(start))?;
        self.stats.file_bytes = self.at;
        Ok(self.stats)
    }

    fn some(&mut self, kind: Kind, frames: &Frames) -> Result<(), TraceError> {
        if frames.count > 0 { self.block(kind, frames) } else { Ok(()) }
    }

    fn block(&mut self, kind: Kind, frames: &Frames) -> Result<(), TraceError> {
        let packed = if self.options.zstd { zstd::bulk::compress(&frames.bytes, 3)? } else { Vec::new() };
        let zstd = self.options.zstd && packed.len() < frames.bytes.len();
        let payload = if zstd { &packed } else { &frames.bytes };
        let head = Head {
            kind,
            zstd,
            count: frames.count,
            stored: payload.len() as u32,
            unpacked: frames.bytes.len() as u32,
            first: frames.first,
            last: frames.last,
            previous: self.previous,
            payload: checksum(payload),
        };
        let (bytes, sum) = head.to_bytes();
        if !matches!(kind, Kind::Header | Kind::Index) {
            self.indexing.add(self.at, self.stats.blocks, &head);
        }
        let mut whole = Vec::with_capacity(HEAD_BYTES + payload.len());
        whole.extend_from_slice(&bytes);
        whole.extend_from_slice(payload);
        self.put(&whole)?;
        self.previous = sum;
        self.stats.blocks += 1;
        self.stats.bytes += (HEAD_BYTES + frames.bytes.len()) as u64;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TraceError> {
        self.out.write_all(bytes)?;
        self.out.flush()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn check(what: &'static str, found: u64, limit: u64) -> Result<(), TraceError> {
    if found <= limit { Ok(()) } else { Err(TraceError::Limit { offset: 0, block: 0, what, found, limit }) }
}
