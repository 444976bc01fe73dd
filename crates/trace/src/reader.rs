//! Reads a trace as a stream, or a small one as a whole.

use std::io::{Read, Seek};
use std::vec;

use numashock_engine::{Checkpoint, Nanos, Recorded};

use crate::blocks::{Blocks, Next};
use crate::codec;
use crate::columns;
use crate::error::{Cut, Limits, TraceError};
use crate::format::{Head, Kind};
use crate::frame::{Decided, End, Header};
use crate::index::Index;
use crate::writer::BUCKET;

/// One block's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Events and notes, in the order in which they were written.
    Events(Vec<Recorded>),
    /// States of the event hash.
    Checkpoints(Vec<Checkpoint>),
    /// What the controllers saw and decided.
    Decided(Vec<Decided>),
    /// The end of the run.
    End(End),
}

/// Reads a trace block by block.
#[derive(Debug)]
pub struct Reader<R> {
    blocks: Blocks<R>,
    header: Header,
    index: Index,
    end: Option<End>,
    cut: Option<Cut>,
}

impl<R: Read + Seek> Reader<R> {
    /// Opens a trace: reads its header and its index. Without an index it looks at every head, and holds nothing but an index
    /// made from them.
    ///
    /// # Errors
    /// If it is no trace, was written by another version, or its header is damaged or too large.
    pub fn open(input: R, limits: Limits) -> Result<Reader<R>, TraceError> {
        let mut blocks = Blocks::open(input, limits)?;
        let head = match blocks.next()? {
            Next::Block(head) => head,
            Next::Cut(cut) => return Err(TraceError::CutHeader(cut)),
            Next::Whole => unreachable!("no trace is whole before its first block"),
        };
        let payload = blocks.payload(&head)?;
        let header: Header =
            codec::decode_whole(&payload).map_err(|found| blocks.damaged("a header", found))?;
        blocks.limit("input files", header.inputs.len() as u64, u64::from(limits.inputs))?;
        blocks.pass(&head);
        blocks.mark_start();
        let index = Index { stride: 1, places: Vec::new() };
        let mut reader = Reader { blocks, header, index, end: None, cut: None };
        if !reader.read_index()? {
            reader.scan();
        }
        reader.blocks.rewind();
        Ok(reader)
    }

    /// What the run was.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the run ended, if the trace has its end.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Where the trace ends too early or is damaged, if it does not end as a whole one. Known from the start; a
    /// damaged payload is found when its block is read.
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// The next block behind the present place; `None` at the end of the trace, or where it is cut.
    ///
    /// # Errors
    /// If the block is damaged or larger than the limits. No block behind it is given.
    pub fn next_block(&mut self) -> Result<Option<Block>, TraceError> {
        loop {
            let Some(head) = self.head()? else { return Ok(None) };
            let payload = self.blocks.payload(&head)?;
            let block = self.understand(&head, &payload)?;
            self.blocks.pass(&head);
            if block.is_some() {
                return Ok(block);
            }
        }
    }

    /// The head of the block at the present place; `None` at the end, and where a file is cut.
    fn head(&mut self) -> Result<Option<Head>, TraceError> {
        match self.blocks.next()? {
            Next::Block(head) => Ok(Some(head)),
            Next::Cut(_) if self.cut.is_none() => {
                Err(self.blocks.damaged("a block that ends before the index", "a longer one".to_owned()))
            }
            Next::Whole | Next::Cut(_) => Ok(None),
        }
    }

    /// Goes to the first block that may hold something at or behind `at`; what it gives first may lie before.
    ///
    /// # Errors
    /// If the index leads to a block that is not there.
    pub fn seek(&mut self, at: Nanos) -> Result<(), TraceError> {
        match self.index.seek(at.0).cloned() {
            Some(place) => self.blocks.go_to(&place),
            None => {
                self.blocks.rewind();
                Ok(())
            }
        }
    }

    /// The events at or behind `at`, from any place. Times of notes may lie before those of events written earlier.
    pub fn events(&mut self, at: Nanos) -> Items<'_, R, Recorded> {
        Items::new(self, at, Kind::Events, take_events, |event| event.at)
    }

    /// The decisions on buckets that end at or behind `at`.
    pub fn decided(&mut self, at: Nanos) -> Items<'_, R, Decided> {
        Items::new(self, at, Kind::Decided, take_decided, ends)
    }

    /// The states of the event hash at or behind `at`.
    pub fn checkpoints(&mut self, at: Nanos) -> Items<'_, R, Checkpoint> {
        Items::new(self, at, Kind::Checkpoints, take_checkpoints, |point| point.at)
    }

    /// Reads the index behind the blocks, if the file ends as a whole one; else says no.
    fn read_index(&mut self) -> Result<bool, TraceError> {
        if !self.blocks.go_to_index()? {
            return Ok(false);
        }
        let end = self.blocks.cut().offset;
        let Ok(Next::Block(head)) = self.blocks.next() else { return Ok(false) };
        let Ok(payload) = self.blocks.payload(&head) else { return Ok(false) };
        let Ok(index) = codec::decode_whole::<Index>(&payload) else { return Ok(false) };
        let last = index.places.last();
        let Some(last) = last.filter(|_| index.check(end).is_ok()) else { return Ok(false) };
        // The end is the last block that an index can name, or lies a stride behind it at most.
        if self.blocks.go_to(last).is_err() {
            return Ok(false);
        }
        let found = self.find_end();
        if found {
            self.index = index;
        } else {
            self.end = None;
        }
        Ok(found)
    }

    /// Goes through the heads from here to the end of the file, or to what is not whole. Says whether the run's end was there.
    fn find_end(&mut self) -> bool {
        while let Ok(Next::Block(head)) = self.blocks.next() {
            if head.kind == Kind::End {
                let payload = self.blocks.payload(&head);
                self.end = payload.ok().and_then(|payload| codec::decode_whole(&payload).ok());
                if self.end.is_none() {
                    return false;
                }
            }
            self.blocks.pass(&head);
        }
        self.end.is_some() && matches!(self.blocks.next(), Ok(Next::Whole))
    }

    /// Makes an index from the heads, and finds out where the file is cut.
    fn scan(&mut self) {
        self.blocks.rewind();
        if !self.find_end() {
            self.cut = Some(self.blocks.cut());
        }
        let indexing = self.blocks.indexing().expect("no head was left out");
        self.index = indexing.index.clone();
    }

    /// A block's values; nothing for the index, which is compared with what was read.
    fn understand(&self, head: &Head, payload: &[u8]) -> Result<Option<Block>, TraceError> {
        let damaged = |expected, found| self.blocks.damaged(expected, found);
        let count = head.count as usize;
        let block = match head.kind {
            Kind::Events => {
                let events =
                    columns::decode(payload, count).map_err(|found| damaged("columns of events", found))?;
                self.within(head, events.iter().map(|event| event.at))?;
                Block::Events(events)
            }
            Kind::Checkpoints => {
                let frame = |bytes: &mut &[u8]| {
                    let (events, at, hash) = codec::decode(bytes)?;
                    Ok(Checkpoint { events, at: Nanos(at), hash })
                };
                let points = frames(payload, count, frame).map_err(|found| damaged("checkpoints", found))?;
                self.within(head, points.iter().map(|point| point.at))?;
                Block::Checkpoints(points)
            }
            Kind::Decided => {
                let decided =
                    frames(payload, count, codec::decode).map_err(|found| damaged("decisions", found))?;
                self.within(head, decided.iter().map(ends))?;
                Block::Decided(decided)
            }
            Kind::End => Block::End(codec::decode_whole(payload).map_err(|found| damaged("an end", found))?),
            Kind::Index => {
                let index: Index =
                    codec::decode_whole(payload).map_err(|found| damaged("an index", found))?;
                let same = self.blocks.indexing().is_none_or(|seen| seen.index == index);
                return if same {
                    Ok(None)
                } else {
                    Err(damaged("an index of the blocks that are there", "another".to_owned()))
                };
            }
            Kind::Header => unreachable!("a header follows nothing"),
        };
        Ok(Some(block))
    }

    /// Whether the head names the times that are there.
    fn within(&self, head: &Head, times: impl Iterator<Item = Nanos> + Clone) -> Result<(), TraceError> {
        let [first, last] = [times.clone().min(), times.max()].map(|time| time.unwrap_or(Nanos::ZERO).0);
        if (first, last) == (head.first, head.last) {
            return Ok(());
        }
        Err(self.blocks.damaged("times as the head names them", format!("{first} to {last}")))
    }
}

/// Bytes of the shortest frame of which a block holds many: a checkpoint.
const FRAME_BYTES_MIN: usize = 24;

/// Nanoseconds at which the bucket of a decision ends.
fn ends(decided: &Decided) -> Nanos {
    Nanos((u64::from(decided.bucket) + 1) * BUCKET)
}

/// `count` frames and nothing behind them.
fn frames<T>(
    mut bytes: &[u8],
    count: usize,
    frame: impl Fn(&mut &[u8]) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    if count > bytes.len() / FRAME_BYTES_MIN {
        return Err(format!("{} bytes for {count} of them", bytes.len()));
    }
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(frame(&mut bytes)?);
    }
    if bytes.is_empty() { Ok(all) } else { Err(format!("{} bytes behind them", bytes.len())) }
}

fn take_events(block: Block) -> Vec<Recorded> {
    if let Block::Events(events) = block { events } else { Vec::new() }
}

fn take_decided(block: Block) -> Vec<Decided> {
    if let Block::Decided(decided) = block { decided } else { Vec::new() }
}

fn take_checkpoints(block: Block) -> Vec<Checkpoint> {
    if let Block::Checkpoints(points) = block { points } else { Vec::new() }
}

/// Items of one kind, read as they are asked for. After an error there are none.
#[derive(Debug)]
pub struct Items<'a, R, T> {
    reader: &'a mut Reader<R>,
    from: Nanos,
    kind: Kind,
    take: fn(Block) -> Vec<T>,
    time: fn(&T) -> Nanos,
    ready: vec::IntoIter<T>,
    /// The error of the seek, and then whether there is nothing more.
    failed: Option<TraceError>,
    over: bool,
}

impl<'a, R: Read + Seek, T> Items<'a, R, T> {
    fn new(
        reader: &'a mut Reader<R>,
        from: Nanos,
        kind: Kind,
        take: fn(Block) -> Vec<T>,
        time: fn(&T) -> Nanos,
    ) -> Items<'a, R, T> {
        let failed = reader.seek(from).err();
        Items { reader, from, kind, take, time, ready: Vec::new().into_iter(), failed, over: false }
    }

    /// Reads the next block of the kind; blocks of other kinds are passed by their heads.
    fn fill(&mut self) -> Result<bool, TraceError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        while let Some(head) = self.reader.head()? {
            if head.kind != self.kind && head.kind != Kind::Index
                || head.last < self.from.0 && head.kind == self.kind
            {
                self.reader.blocks.pass(&head);
                continue;
            }
            let Some(block) = self.reader.next_block()? else { return Ok(false) };
            self.ready = (self.take)(block).into_iter();
            return Ok(true);
        }
        Ok(false)
    }
}

impl<R: Read + Seek, T> Iterator for Items<'_, R, T> {
    type Item = Result<T, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (from, time) = (self.from, self.time);
            if let Some(item) = self.ready.find(|item| time(item) >= from) {
                return Some(Ok(item));
            }
            if self.over {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => self.over = true,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A small trace in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What the run was.
    pub header: Header,
    /// Its events and notes.
    pub events: Vec<Recorded>,
    /// What the controllers saw and decided.
    pub decided: Vec<Decided>,
    /// States of the event hash.
    pub checkpoints: Vec<Checkpoint>,
    /// How it ended; `None` if the trace was cut before.
    pub end: Option<End>,
    /// Where the trace is cut, if it is.
    pub cut: Option<Cut>,
}

impl Trace {
    /// Reads all blocks up to the end, or to the last whole one of a trace that was cut.
    ///
    /// # Errors
    /// If any block is damaged, or the items are more than `whole_items`.
    pub fn read(input: impl Read + Seek, limits: Limits) -> Result<Trace, TraceError> {
        let mut reader = Reader::open(input, limits)?;
        let mut trace = Trace {
            header: reader.header.clone(),
            events: Vec::new(),
            decided: Vec::new(),
            checkpoints: Vec::new(),
            end: None,
            cut: reader.cut,
        };
        while let Some(block) = reader.next_block()? {
            match block {
                Block::Events(events) => trace.events.extend(events),
                Block::Checkpoints(points) => trace.checkpoints.extend(points),
                Block::Decided(decided) => trace.decided.extend(decided),
                Block::End(end) => trace.end = Some(end),
            }
            let items = trace.events.len() + trace.decided.len() + trace.checkpoints.len();
            reader.blocks.limit(
                "items in a trace that is read as a whole",
                items as u64,
                limits.whole_items,
            )?;
        }
        Ok(trace)
    }
}
