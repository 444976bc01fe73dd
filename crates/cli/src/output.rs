//! Standard output, whose reader may leave early.

use std::io::{self, Write};

/// Writes a text to standard output. That nobody reads on is no error: `| head` is a fair use.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
