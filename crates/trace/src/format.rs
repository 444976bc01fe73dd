//! The bytes around the frames: preamble, heads of blocks, tail.
//!
//! ```text
//!   preamble  magic 8 │ format 4 │ flags 4 │ schema 8 │ checksum 4
//!   block 0   head, header frame
//!   block ..  head, events │ checkpoints │ decisions, in any order
//!   block     head, end frame
//!   block     head, index
//!   tail      offset of the index 8 │ checksum 4 │ magic 8
//!
//!   head      kind 1 │ coding 1 │ zero 2 │ items 4 │ stored 4 │ unpacked 4 │ first 8 │ last 8
//!             │ checksum of the head before 4 │ checksum of the payload 4 │ checksum of this head 4
//! ```
//!
//! All numbers are little-endian. The checksum is CRC-32, which finds every error of up to 32 neighbouring bits. A head has its
//! own, so that lengths are known to be right before they are used, and names that of the head before, so that blocks that
//! were moved, doubled or left out show.

use crate::error::TraceError;
use crate::schema;

pub(crate) const MAGIC: [u8; 8] = *b"\x89NTRACE\n";
const TAIL_MAGIC: [u8; 8] = *b"ENDNTR\x89\n";
pub(crate) const FORMAT: u32 = 1;
pub(crate) const PREAMBLE_BYTES: usize = 28;
pub(crate) const HEAD_BYTES: usize = 44;
pub(crate) const TAIL_BYTES: usize = 20;
/// Some block may be packed by zstd.
const FLAG_ZSTD: u32 = 1;

pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What stands before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub zstd: bool,
}

impl Preamble {
    pub(crate) fn to_bytes(self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(if self.zstd { FLAG_ZSTD } else { 0 }).to_le_bytes());
        bytes[16..24].copy_from_slice(&schema::hash().to_le_bytes());
        let sum = checksum(&bytes[..24]);
        bytes[24..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Of the first bytes of a file, which may be fewer than a preamble has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Preamble, TraceError> {
        let damaged = |expected, found: String| TraceError::Damaged { offset: 0, block: 0, expected, found };
        if bytes.len() < 8 || bytes[..8] != MAGIC {
            return Err(TraceError::NotATrace {
                found: bytes[..bytes.len().min(8)].to_vec(),
                expected: MAGIC,
            });
        }
        if bytes.len() < PREAMBLE_BYTES {
            return Err(damaged("28 bytes before the first block", bytes.len().to_string()));
        }
        let (sum, flags) = (u32_at(bytes, 24), u32_at(bytes, 12));
        if checksum(&bytes[..24]) != sum {
            return Err(damaged("the checksum of the file's first bytes", format!("{sum:08x}")));
        }
        let (found, found_schema) = (u32_at(bytes, 8), u64_at(bytes, 16));
        if found != FORMAT || found_schema != schema::hash() {
            let expected_schema = schema::hash();
            return Err(TraceError::Version { found, found_schema, expected: FORMAT, expected_schema });
        }
        if flags & !FLAG_ZSTD != 0 {
            return Err(damaged("flags of this format", format!("{flags:#x}")));
        }
        Ok(Preamble { zstd: flags & FLAG_ZSTD != 0 })
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Header,
    Events,
    Checkpoints,
    Decided,
    End,
    Index,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Header, Kind::Events, Kind::Checkpoints, Kind::Decided, Kind::End, Kind::Index];

    fn of(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether a block of this kind may follow `before`; the first follows nothing.
    pub(crate) fn may_follow(self, before: Option<Kind>) -> bool {
        match self {
            Kind::Header => before.is_none(),
            Kind::Events | Kind::Checkpoints | Kind::Decided | Kind::End => {
                !matches!(before, None | Some(Kind::End | Kind::Index))
            }
            Kind::Index => before == Some(Kind::End),
        }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub kind: Kind,
    pub zstd: bool,
    /// Items in the block.
    pub count: u32,
    /// Bytes of the payload in the file.
    pub stored: u32,
    /// Its bytes without zstd.
    pub unpacked: u32,
    /// Least and greatest time of its items, nanoseconds.
    pub first: u64,
    pub last: u64,
    /// Checksum of the head before; of the preamble for block 0.
    pub previous: u32,
    /// Checksum of the payload as stored.
    pub payload: u32,
}

impl Head {
    /// The bytes, and the head's own checksum.
    pub(crate) fn to_bytes(self) -> ([u8; HEAD_BYTES], u32) {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = u8::from(self.zstd);
        for (place, number) in
            [(4, self.count), (8, self.stored), (12, self.unpacked), (32, self.previous), (36, self.payload)]
        {
            bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last.to_le_bytes());
        let sum = checksum(&bytes[..40]);
        bytes[40..].copy_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// The head and its checksum, or what was expected and what was found.
    pub(crate) fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Result<(Head, u32), (&'static str, String)> {
        let sum = u32_at(bytes, 40);
        let counted = checksum(&bytes[..40]);
        if counted != sum {
            return Err((
                "the checksum of the block's head",
                format!("{sum:08x} where {counted:08x} is due"),
            ));
        }
        let kind = Kind::of(bytes[0]).ok_or(("a known kind of block", format!("{}", bytes[0])))?;
        if bytes[1] > 1 || bytes[2..4] != [0, 0] {
            return Err(("coding 0 or 1, then two zeros", format!("{:?}", &bytes[1..4])));
        }
        let head = Head {
            kind,
            zstd: bytes[1] == 1,
            count: u32_at(bytes, 4),
            stored: u32_at(bytes, 8),
            unpacked: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            last: u64_at(bytes, 24),
            previous: u32_at(bytes, 32),
            payload: u32_at(bytes, 36),
        };
        if head.first > head.last {
            return Err(("a first time not after the last", format!("{} and {}", head.first, head.last)));
        }
        if !head.zstd && head.stored != head.unpacked {
            let found = format!("{} and {}", head.stored, head.unpacked);
            return Err(("equal lengths, as nothing is packed", found));
        }
        Ok((head, sum))
    }
}

pub(crate) fn tail(index: u64) -> [u8; TAIL_BYTES] {
    let mut bytes = [0; TAIL_BYTES];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    let sum = checksum(&bytes[..8]);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes[12..].copy_from_slice(&TAIL_MAGIC);
    bytes
}

/// Where the index begins, if these are the last bytes of a whole trace.
pub(crate) fn index_of(bytes: &[u8; TAIL_BYTES]) -> Option<u64> {
    let index = u64_at(bytes, 0);
    (*bytes == tail(index)).then_some(index)
}
