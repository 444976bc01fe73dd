//! What can be wrong with a trace, and what it is read within.

use std::io;

/// Bounds of what a reader accepts. Nothing is allocated before a length was held against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the header frame, stored and unpacked; more than 1 MiB is never accepted.
    pub header_bytes: u32,
    /// Bytes of any other block, stored and unpacked.
    pub block_bytes: u32,
    /// Events, decisions or checkpoints in one block.
    pub block_items: u32,
    /// Input files that the header names.
    pub inputs: u32,
    /// Events, decisions and checkpoints that [`Trace::read`](crate::Trace::read) takes into memory. A reader that streams does
    /// not need it.
    pub whole_items: u64,
}

impl Limits {
    /// What the writer keeps to.
    pub const USUAL: Limits = Limits {
        header_bytes: 1 << 20,
        block_bytes: 4 << 20,
        block_items: 1 << 16,
        inputs: 4096,
        whole_items: 1 << 24,
    };

    /// Bytes that a [`Reader`](crate::Reader) has allocated at any time, at most, whatever is in the file: a header as
    /// stored, unpacked and as values, or the same of one block, and three indexes of at most 4096 places. With the usual limits
    /// 22 MiB. What zstd takes for itself, some hundred KiB, comes on top.
    #[must_use]
    pub const fn bytes_at_once(&self) -> u64 {
        let header = 9 * self.header_bytes as u64 + (3 << 20);
        let block = 2 * self.block_bytes as u64 + 160 * self.block_items as u64;
        (if header > block { header } else { block }) + (4 << 20)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::USUAL
    }
}

/// Where a trace ends too early: all blocks before it are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cut at byte {offset}, in block {block}; everything before it is whole")]
pub struct Cut {
    /// Byte of the file at which the block that is not whole begins.
    pub offset: u64,
    /// Its number, from 0.
    pub block: u64,
}

/// Why a trace cannot be read, or written.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file itself.
    #[error("trace: {0}")]
    Io(#[from] io::Error),
    /// Another kind of file.
    #[error(
        "not a trace: the file begins with {found:02x?}, a trace with {expected:02x?}; name a file that was written as one"
    )]
    NotATrace {
        /// Its first bytes.
        found: Vec<u8>,
        /// Those of a trace.
        expected: [u8; 8],
    },
    /// Written by another version.
    #[error(
        "trace of format {found}, schema {found_schema:016x}; this program reads format {expected}, schema \
         {expected_schema:016x}: read it with the version that wrote it, or write it anew with this one"
    )]
    Version {
        /// The file's format.
        found: u32,
        /// The hash of its frames and columns.
        found_schema: u64,
        /// The format that is known here.
        expected: u32,
        /// The hash of the frames and columns that are known here.
        expected_schema: u64,
    },
    /// Bytes that no writer wrote there.
    #[error(
        "trace damaged at byte {offset}, block {block}: expected {expected}, found {found}; what stands before it is whole, the \
         rest needs a good copy or a new run"
    )]
    Damaged {
        /// Byte of the file at which the block begins.
        offset: u64,
        /// Number of the block, from 0.
        block: u64,
        /// What a whole trace has there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The header is not all there, so nothing can be read.
    #[error("trace {0}, which is its header: no run can be told from it, write it anew")]
    CutHeader(Cut),
    /// More than a reader accepts.
    #[error(
        "trace, byte {offset}, block {block}: {found} {what}, at most {limit} are accepted; raise the limit if the file is trusted"
    )]
    Limit {
        /// Byte of the file at which the block begins.
        offset: u64,
        /// Number of the block, from 0.
        block: u64,
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many may be.
        limit: u64,
    },
}
