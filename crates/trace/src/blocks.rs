//! Blocks one after the other, checked but not yet understood.

use std::io::{Read, Seek, SeekFrom};

use crate::error::{Cut, Limits, TraceError};
use crate::format::{self, HEAD_BYTES, Head, Kind, PREAMBLE_BYTES, Preamble, TAIL_BYTES, checksum};
use crate::index::{Indexing, Place};

/// What stands at the present place.
#[derive(Debug)]
pub(crate) enum Next {
    /// A block with a good head, whose bytes are all there.
    Block(Head),
    /// The end of a whole trace.
    Whole,
    /// The end of one that is not.
    Cut(Cut),
}

/// A place in a file between two blocks.
#[derive(Clone, Debug)]
struct Position {
    offset: u64,
    block: u64,
    previous: u32,
    before: Option<Kind>,
    /// Of all blocks behind the header, unless the way here had a gap.
    indexing: Option<Indexing>,
}

/// A file as a sequence of blocks.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    input: R,
    limits: Limits,
    zstd: bool,
    bytes: u64,
    position: Position,
    start: Position,
}

impl<R: Read + Seek> Blocks<R> {
    pub(crate) fn open(mut input: R, limits: Limits) -> Result<Blocks<R>, TraceError> {
        let bytes = input.seek(SeekFrom::End(0))?;
        input.rewind()?;
        let mut preamble = [0; PREAMBLE_BYTES];
        let there = bytes.min(PREAMBLE_BYTES as u64) as usize;
        input.read_exact(&mut preamble[..there])?;
        let zstd = Preamble::from_bytes(&preamble[..there])?.zstd;
        let position = Position {
            offset: PREAMBLE_BYTES as u64,
            block: 0,
            previous: checksum(&preamble[..24]),
            before: None,
            indexing: Some(Indexing::new()),
        };
        Ok(Blocks { input, limits, zstd, bytes, start: position.clone(), position })
    }

    /// The index of the blocks passed, if all behind the header were.
    pub(crate) fn indexing(&self) -> Option<&Indexing> {
        self.position.indexing.as_ref()
    }

    pub(crate) fn damaged(&self, expected: &'static str, found: String) -> TraceError {
        let Position { offset, block, .. } = self.position;
        TraceError::Damaged { offset, block, expected, found }
    }

    pub(crate) fn cut(&self) -> Cut {
        Cut { offset: self.position.offset, block: self.position.block }
    }

    /// Refuses what is more than a limit.
    pub(crate) fn limit(&self, what: &'static str, found: u64, limit: u64) -> Result<(), TraceError> {
        let Position { offset, block, .. } = self.position;
        if found <= limit { Ok(()) } else { Err(TraceError::Limit { offset, block, what, found, limit }) }
    }

    /// From now on the present place is where `rewind` goes.
    pub(crate) fn mark_start(&mut self) {
        self.start = self.position.clone();
    }

    pub(crate) fn rewind(&mut self) {
        self.position = self.start.clone();
    }

    /// Goes to a place of an index; the head there must be the one that the index names.
    pub(crate) fn go_to(&mut self, place: &Place) -> Result<(), TraceError> {
        self.position = Position {
            offset: place.offset,
            block: place.block,
            previous: place.previous,
            before: Some(Kind::Header),
            indexing: None,
        };
        let named = |head: &Head| {
            head.kind as u8 == place.kind && head.count == place.count && head.first == place.first
        };
        match self.next()? {
            Next::Block(head) if named(&head) => Ok(()),
            _ => Err(self.damaged("the block that the index names", "another".to_owned())),
        }
    }

    /// Where the index block begins, if the file ends as a whole trace does. Goes there.
    pub(crate) fn go_to_index(&mut self) -> Result<bool, TraceError> {
        let least = (PREAMBLE_BYTES + HEAD_BYTES + TAIL_BYTES) as u64;
        if self.bytes < least {
            return Ok(false);
        }
        let mut tail = [0; TAIL_BYTES];
        self.read_at(self.bytes - TAIL_BYTES as u64, &mut tail)?;
        let Some(offset) = format::index_of(&tail) else { return Ok(false) };
        if offset < PREAMBLE_BYTES as u64 || offset > self.bytes - (HEAD_BYTES + TAIL_BYTES) as u64 {
            return Ok(false);
        }
        let mut bytes = [0; HEAD_BYTES];
        self.read_at(offset, &mut bytes)?;
        let Ok((head, _)) = Head::from_bytes(&bytes) else { return Ok(false) };
        let end = offset + (HEAD_BYTES + TAIL_BYTES) as u64 + u64::from(head.stored);
        self.position =
            Position { offset, block: 0, previous: head.previous, before: Some(Kind::End), indexing: None };
        Ok(head.kind == Kind::Index && end == self.bytes)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), TraceError> {
        self.input.seek(SeekFrom::Start(offset))?;
        Ok(self.input.read_exact(into)?)
    }

    /// Looks at what stands here, without going on.
    pub(crate) fn next(&mut self) -> Result<Next, TraceError> {
        let left = self.bytes - self.position.offset;
        if self.position.before == Some(Kind::Index) {
            return self.ending(left);
        }
        if left < HEAD_BYTES as u64 {
            return Ok(Next::Cut(self.cut()));
        }
        let mut bytes = [0; HEAD_BYTES];
        self.read_at(self.position.offset, &mut bytes)?;
        let (head, _) =
            Head::from_bytes(&bytes).map_err(|(expected, found)| self.damaged(expected, found))?;
        self.accept(&head)?;
        if left - (HEAD_BYTES as u64) < u64::from(head.stored) {
            return Ok(Next::Cut(self.cut()));
        }
        Ok(Next::Block(head))
    }

    fn accept(&self, head: &Head) -> Result<(), TraceError> {
        let Position { previous, before, .. } = self.position;
        if head.previous != previous {
            let found = format!("one that follows {:08x}", head.previous);
            return Err(self.damaged("the block that follows the one before", found));
        }
        if !head.kind.may_follow(before) {
            return Err(self.damaged("a block that may stand here", format!("{:?}", head.kind)));
        }
        if head.zstd && !self.zstd {
            return Err(self.damaged("a block as it is, in a file without zstd", "a packed one".to_owned()));
        }
        let limits = &self.limits;
        let bytes = if head.kind == Kind::Header { limits.header_bytes } else { limits.block_bytes };
        self.limit("bytes in a block", u64::from(head.stored.max(head.unpacked)), u64::from(bytes))?;
        self.limit("items in a block", u64::from(head.count), u64::from(limits.block_items))?;
        let single = matches!(head.kind, Kind::Header | Kind::End);
        if head.count == 0 && head.kind != Kind::Index || single && head.count != 1 {
            return Err(self.damaged("at least one item, and one header or end", head.count.to_string()));
        }
        Ok(())
    }

    fn ending(&mut self, left: u64) -> Result<Next, TraceError> {
        if left < TAIL_BYTES as u64 {
            return Ok(Next::Cut(self.cut()));
        }
        let mut tail = [0; TAIL_BYTES];
        self.read_at(self.position.offset, &mut tail)?;
        match format::index_of(&tail) {
            None => Err(self.damaged("the last bytes of a trace", format!("{tail:02x?}"))),
            Some(_) if left > TAIL_BYTES as u64 => {
                Err(self.damaged("the end of the file", format!("{} more bytes", left - TAIL_BYTES as u64)))
            }
            Some(_) => Ok(Next::Whole),
        }
    }

    /// The payload of the block here, unpacked.
    pub(crate) fn payload(&mut self, head: &Head) -> Result<Vec<u8>, TraceError> {
        let mut stored = vec![0; head.stored as usize];
        self.read_at(self.position.offset + HEAD_BYTES as u64, &mut stored)?;
        let counted = checksum(&stored);
        if counted != head.payload {
            let found = format!("{counted:08x} where {:08x} is due", head.payload);
            return Err(self.damaged("the checksum of the block's payload", found));
        }
        if !head.zstd {
            return Ok(stored);
        }
        let unpacked = head.unpacked as usize;
        let bytes = zstd::bulk::decompress(&stored, unpacked)
            .map_err(|error| self.damaged("bytes packed by zstd", error.to_string()))?;
        if bytes.len() != unpacked {
            return Err(self.damaged("as many unpacked bytes as the head names", bytes.len().to_string()));
        }
        Ok(bytes)
    }

    /// Goes behind the block here.
    pub(crate) fn pass(&mut self, head: &Head) {
        let (_, sum) = head.to_bytes();
        let position = &mut self.position;
        if !matches!(head.kind, Kind::Header | Kind::Index) {
            if let Some(indexing) = &mut position.indexing {
                indexing.add(position.offset, position.block, head);
            }
        }
        position.offset += HEAD_BYTES as u64 + u64::from(head.stored);
        position.block += 1;
        position.previous = sum;
        position.before = Some(head.kind);
    }
}
