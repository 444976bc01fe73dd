//! A character an event, so that the first event that differs can be named without keeping any.

use numashock_engine::Checkpoint;

use super::GoldenError;

/// One in so many events that differ has the mark of the one it replaces; the event behind it is then named instead.
pub const MARK_CHANCE: u32 = 64;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LINE: usize = 100;

/// Six bits of the hash after each event. The hash depends on all events before it, so from the first that differs on,
/// nearly every mark does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    marks: Vec<u8>,
}

impl Marks {
    /// Adds the state after the next event.
    pub fn add(&mut self, state: Checkpoint) {
        self.marks.push(mark(state));
    }

    /// Whether there is a mark for this state's event, and it is another; `None` if there is none.
    #[must_use]
    pub fn differs(&self, state: Checkpoint) -> Option<bool> {
        let place = usize::try_from(state.events.checked_sub(1)?).ok()?;
        self.marks.get(place).map(|kept| *kept != mark(state))
    }

    /// The companion's text. It names the end of the run it belongs to.
    #[must_use]
    pub fn render(&self, end: Checkpoint) -> String {
        let mut text = head(end);
        for line in self.marks.chunks(LINE) {
            text.extend(line.iter().map(|mark| char::from(*mark)));
            text.push('\n');
        }
        text
    }

    /// Reads the companion of the run that ended so.
    ///
    /// # Errors
    /// If the text is not one, or belongs to another run.
    pub fn parse(text: &str, end: Checkpoint) -> Result<Marks, GoldenError> {
        let wrong = |line, problem: &str| GoldenError { line, problem: problem.to_owned() };
        let body = text.strip_prefix(&head(end)).ok_or_else(|| {
            wrong(1, "these marks belong to another run: `numashock golden bless` makes them again")
        })?;
        let marks: Vec<u8> = body.bytes().filter(|byte| *byte != b'\n').collect();
        if marks.iter().any(|mark| !ALPHABET.contains(mark)) {
            return Err(wrong(2, "expected letters, digits, - and _ alone"));
        }
        if marks.len() as u64 != end.events {
            return Err(wrong(2, &format!("expected {} marks, found {}", end.events, marks.len())));
        }
        Ok(Marks { marks })
    }
}

fn head(end: Checkpoint) -> String {
    format!("marks, one an event, {} a line, of the run that ends {}\n", LINE, super::text::checkpoint(&end))
}

fn mark(state: Checkpoint) -> u8 {
    ALPHABET[(state.hash >> 58) as usize]
}
