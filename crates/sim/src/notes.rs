//! Notes beside the semantic events, decoded: what a chain from a scan pass to a fill needs and the hash does not hold.
//!
//! ```text
//!   Simulation::keep(Keep::EventsAndNotes) ──► take_kept ──► Decoder::next ──► Happened { at, source, what }
//! ```
//!
//! Invariant: no note enters the hash, and no rule asks whether notes are kept.

use numashock_book::{HalfTicks, Lots, Ticks};
use numashock_engine::{EventHash, NOTE_GOES_ON, NOTES, Nanos, Recorded, Span};
use numashock_execution::{ChildId, Message, ParentId, Request, SymbolId};
pub use numashock_machine::notes::Met;
use numashock_machine::notes::{COPY_LATENCY, PASS_BEGIN, PASS_END, TOUCH};
use numashock_machine::{Cause, Owner, ThreadId};

use crate::event::kind;

const READY: u16 = NOTES + 0x200;
const UNIT: u16 = NOTES + 0x201;
const UNIT_END: u16 = NOTES + 0x202;
const STALL: u16 = NOTES + 0x203;
const RELEASED: u16 = NOTES + 0x204;
const QUEUED: u16 = NOTES + 0x205;
const OWN_FILL: u16 = NOTES + 0x206;
const GONE: u16 = NOTES + 0x207;
const MID: u16 = NOTES + 0x208;

/// Words of the longest note.
const WORDS: usize = 8;

/// Something that happened, with whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Nanos,
    /// The number of the host, where it is about one.
    pub source: u16,
    /// What.
    pub what: What,
}

/// What notes and the events around them say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A parent's decision fell, at this mid.
    Decision(ParentId, HalfTicks),
    /// A parent's deadline.
    Expiry(ParentId),
    /// A host's regime is another one: its number, and that before it.
    Regime(u64, u64),
    /// A pass began; its length as it is known now.
    PassBegan(PassName, Span),
    /// A pass ended.
    PassEnded(PassEnd),
    /// A touch of the dispatch thread took longer for balancing.
    Touched(Touch),
    /// What copies of others added to the cache misses of the unit that begins.
    CopyLatency(Span),
    /// A message is ready for the dispatch thread.
    Ready(MessageName),
    /// The dispatch thread began a unit of work.
    Unit(Unit),
    /// It ended it.
    UnitEnd {
        /// When its message became ready.
        ready: Nanos,
        /// When it would have ended had nothing ever stalled.
        clean: Nanos,
    },
    /// The dispatch thread is held up beside the faults and migrations of its units.
    Stall(Stalled),
    /// A request left the dispatch thread.
    Released(Released),
    /// A child took a place in a queue.
    Queued(Queued),
    /// An own order was filled.
    Filled(OwnFill),
    /// What was left of a child is no longer in the book.
    Gone(ChildId),
    /// A symbol's mid moved.
    Mid(SymbolId, HalfTicks),
    /// Anything else.
    Other,
}

/// A pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PassName {
    /// The number of its process.
    pub process: u16,
    /// The how many-th pass of the address space it is.
    pub number: u64,
    /// Who scanned.
    pub thread: u16,
    /// `numa_scan_seq` then.
    pub sequence: u32,
}

/// A pass that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassEnd {
    /// Which.
    pub pass: PassName,
    /// When it began.
    pub begun: Nanos,
    /// When it ended.
    pub ended: Nanos,
    /// 4 KiB pages marked.
    pub marked: u64,
    /// Threads that its shootdowns interrupted.
    pub interrupts: u64,
}

/// A touch that balancing made longer, at nominal cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Whose.
    pub thread: u16,
    /// Of which region.
    pub region: u16,
    /// Of which page of it.
    pub page: u64,
    /// What it met.
    pub met: Met,
    /// The process and number of the pass that marked the page.
    pub marked_by: Option<(u16, u64)>,
    /// How long after the record it began.
    pub elapsed: Span,
    /// Hinting fault.
    pub hint_fault: Span,
    /// Migration, and waiting for one.
    pub migration_copy: Span,
    /// Waiting for the mmap lock.
    pub lock_wait: Span,
    /// Waiting for the stopper.
    pub stopper: Span,
}

/// A unit of work as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What is served.
    pub message: MessageName,
    /// When that became ready.
    pub ready: Nanos,
    /// Service without stalls.
    pub base: Span,
    /// Its hinting faults.
    pub hint_fault: Span,
    /// Its migrations.
    pub migration_copy: Span,
}

/// A stall outside units, or in one beside its faults and migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Who owns it.
    pub owner: Owner,
    /// By what; `None`: a recording says so.
    pub cause: Option<Cause>,
    /// How long.
    pub span: Span,
}

/// The kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// A quote of a symbol.
    Quote,
    /// A child was accepted.
    Accepted,
    /// A child is no longer in the book.
    Cancelled,
    /// A child was filled.
    Filled,
    /// A child's lifetime is over.
    Patience,
    /// A parent's slice is due.
    Slice,
    /// A parent's deadline window has begun.
    CatchUp,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageName {
    /// Of which kind.
    pub kind: MessageKind,
    /// The number of the symbol, child or parent that it is about.
    pub id: u32,
    /// Which slice.
    pub index: u32,
}

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// A new order.
    New,
    /// A cancellation.
    Cancel,
    /// A cancel/replace.
    Replace,
}

/// A request as it leaves the dispatch thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Of which kind.
    pub kind: RequestKind,
    /// The child.
    pub child: ChildId,
    /// Its parent.
    pub parent: ParentId,
    /// When the message that led to it became ready.
    pub decided: Nanos,
    /// When it would have left had nothing ever stalled.
    pub clean: Nanos,
    /// When it would have arrived then.
    pub on_time: Nanos,
    /// When it arrives.
    pub arrives: Nanos,
    /// Its limit; a cancellation has none.
    pub price: Option<Ticks>,
    /// Its size; only a new order has one.
    pub lots: Option<Lots>,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Whose.
    pub child: ChildId,
    /// At which price.
    pub price: Ticks,
    /// With how many lots.
    pub lots: Lots,
    /// Lots ahead.
    pub ahead: Lots,
    /// Lots ahead had it been on time.
    pub ahead_on_time: Lots,
}

/// A fill of an own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnFill {
    /// Whose.
    pub child: ChildId,
    /// Its parent.
    pub parent: ParentId,
    /// At which price.
    pub price: HalfTicks,
    /// Of which size.
    pub lots: Lots,
    /// Whether it rested.
    pub makes: bool,
}

/// Puts records together to what happened.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    note: Option<(Recorded, Vec<u64>)>,
}

impl Decoder {
    /// Takes the next record; gives what is complete now, at most a note and an event behind it.
    pub fn next(&mut self, record: &Recorded) -> impl Iterator<Item = Happened> + use<> {
        let mut done = [None, None];
        if let (NOTE_GOES_ON, Some((_, words))) = (record.kind, &mut self.note) {
            words.extend(record.payload);
        } else {
            done[0] = self.last();
            if record.is_note() {
                self.note = Some((*record, record.payload.to_vec()));
            } else {
                done[1] = Some(Happened { at: record.at, source: record.source, what: event(record) });
            }
        }
        done.into_iter().flatten()
    }

    /// The note under way, when no record follows.
    pub fn last(&mut self) -> Option<Happened> {
        let (head, mut words) = self.note.take()?;
        words.resize(WORDS, 0);
        Some(Happened { at: head.at, source: head.source, what: note(head.kind, &words) })
    }
}

fn event(record: &Recorded) -> What {
    let parent = || ParentId(low(record.payload[0]));
    match record.kind {
        kind::DECISION => What::Decision(parent(), HalfTicks(signed(record.payload[1]))),
        kind::EXPIRY => What::Expiry(parent()),
        kind::REGIME => What::Regime(record.payload[0], record.payload[1]),
        _ => What::Other,
    }
}

fn note(kind: u16, words: &[u64]) -> What {
    let span = |at: usize| Span(words[at]);
    match kind {
        PASS_BEGIN => What::PassBegan(pass_name(words), span(2)),
        PASS_END => What::PassEnded(PassEnd {
            pass: pass_name(words),
            begun: Nanos(words[2]),
            ended: Nanos(words[3]),
            marked: words[4],
            interrupts: words[5],
        }),
        TOUCH => What::Touched(touch(words)),
        COPY_LATENCY => What::CopyLatency(span(1)),
        READY => What::Ready(message(words)),
        UNIT => What::Unit(Unit {
            message: message(words),
            ready: Nanos(words[2]),
            base: span(3),
            hint_fault: span(4),
            migration_copy: span(5),
        }),
        UNIT_END => What::UnitEnd { ready: Nanos(words[0]), clean: Nanos(words[1]) },
        STALL => What::Stall(Stalled { owner: owner(words[0]), cause: cause(words), span: span(4) }),
        RELEASED => What::Released(released(words)),
        QUEUED => What::Queued(Queued {
            child: ChildId(low(words[0])),
            price: Ticks(signed(words[1])),
            lots: Lots(words[2]),
            ahead: Lots(words[3]),
            ahead_on_time: Lots(words[4]),
        }),
        OWN_FILL => What::Filled(OwnFill {
            child: ChildId(low(words[0])),
            parent: ParentId(low(words[1])),
            price: HalfTicks(signed(words[2])),
            lots: Lots(words[3]),
            makes: words[4] != 0,
        }),
        GONE => What::Gone(ChildId(low(words[0]))),
        MID => What::Mid(SymbolId(words[0] as u16), HalfTicks(signed(words[1]))),
        _ => What::Other,
    }
}

fn pass_name(words: &[u64]) -> PassName {
    PassName {
        process: (words[0] >> 48) as u16,
        number: words[1],
        thread: (words[0] >> 32) as u16,
        sequence: low(words[0]),
    }
}

fn touch(words: &[u64]) -> Touch {
    let number = words[2] & ((1 << 48) - 1);
    Touch {
        thread: (words[0] >> 48) as u16,
        region: (words[0] >> 32) as u16,
        page: words[1],
        met: Met::numbered(words[0] & 0xFFFF).expect("the machine notes what it knows"),
        marked_by: (number > 0).then(|| ((words[2] >> 48) as u16, number - 1)),
        elapsed: Span(words[3]),
        hint_fault: Span(words[4]),
        migration_copy: Span(words[5]),
        lock_wait: Span(words[6]),
        stopper: Span(words[7]),
    }
}

const MESSAGES: [MessageKind; 7] = [
    MessageKind::Quote,
    MessageKind::Accepted,
    MessageKind::Cancelled,
    MessageKind::Filled,
    MessageKind::Patience,
    MessageKind::Slice,
    MessageKind::CatchUp,
];

fn message(words: &[u64]) -> MessageName {
    MessageName { kind: MESSAGES[words[0] as usize], id: low(words[1]), index: (words[1] >> 32) as u32 }
}

impl From<Message> for MessageName {
    fn from(message: Message) -> MessageName {
        let (kind, id, index) = match message {
            Message::Quote { symbol, .. } => (MessageKind::Quote, u32::from(symbol.0), 0),
            Message::Accepted { child, .. } => (MessageKind::Accepted, child.0, 0),
            Message::Cancelled { child } => (MessageKind::Cancelled, child.0, 0),
            Message::Filled { child, .. } => (MessageKind::Filled, child.0, 0),
            Message::Patience { child } => (MessageKind::Patience, child.0, 0),
            Message::Slice { parent, index } => (MessageKind::Slice, parent.0, index),
            Message::CatchUp { parent } => (MessageKind::CatchUp, parent.0, 0),
        };
        MessageName { kind, id, index }
    }
}

impl MessageName {
    fn words(self) -> [u64; 2] {
        [self.kind as u64, u64::from(self.index) << 32 | u64::from(self.id)]
    }
}

const OWNERS: [Owner; 3] = [Owner::HintFault, Owner::MigrationCopy, Owner::DispatchJitter];

fn owner(word: u64) -> Owner {
    OWNERS[word as usize]
}

fn cause(words: &[u64]) -> Option<Cause> {
    Some(match words[1] {
        0 => return None,
        1 => Cause::Touch,
        2 => Cause::Pass(words[2]),
        3 => Cause::LongerPass,
        4 => Cause::Shootdown { thread: ThreadId(words[3] as u16), pass: words[2] },
        5 => Cause::Tick,
        6 => Cause::MmapLock,
        _ => Cause::Stopper,
    })
}

fn cause_words(cause: Option<Cause>) -> [u64; 3] {
    match cause {
        None => [0; 3],
        Some(Cause::Touch) => [1, 0, 0],
        Some(Cause::Pass(pass)) => [2, pass, 0],
        Some(Cause::LongerPass) => [3, 0, 0],
        Some(Cause::Shootdown { thread, pass }) => [4, pass, u64::from(thread.0)],
        Some(Cause::Tick) => [5, 0, 0],
        Some(Cause::MmapLock) => [6, 0, 0],
        Some(Cause::Stopper) => [7, 0, 0],
    }
}

fn released(words: &[u64]) -> Released {
    let kind = match words[0] >> 32 {
        0 => RequestKind::New,
        1 => RequestKind::Cancel,
        _ => RequestKind::Replace,
    };
    Released {
        kind,
        child: ChildId(low(words[0])),
        parent: ParentId(low(words[1])),
        decided: Nanos(words[2]),
        clean: Nanos(words[3]),
        on_time: Nanos(words[4]),
        arrives: Nanos(words[5]),
        price: (kind != RequestKind::Cancel).then(|| Ticks(signed(words[6]))),
        lots: (kind == RequestKind::New).then_some(Lots(words[7])),
    }
}

pub(crate) fn note_ready(hash: &mut EventHash, now: Nanos, message: Message) {
    if hash.keeps_notes() {
        hash.note(now, READY, MessageName::from(message).words());
    }
}

pub(crate) fn note_unit(
    hash: &mut EventHash,
    now: Nanos,
    (ready, message): (Nanos, Message),
    (base, [hint_fault, migration_copy]): (Span, [Span; 2]),
) {
    if hash.keeps_notes() {
        let [kind, id] = MessageName::from(message).words();
        hash.note_words(now, UNIT, &[kind, id, ready.0, base.0, hint_fault.0, migration_copy.0]);
    }
}

pub(crate) fn note_unit_end(hash: &mut EventHash, now: Nanos, ready: Nanos, clean: Nanos) {
    hash.note(now, UNIT_END, [ready.0, clean.0]);
}

pub(crate) fn note_stall(hash: &mut EventHash, now: Nanos, owner: Owner, cause: Option<Cause>, span: Span) {
    if hash.keeps_notes() {
        let [kind, first, second] = cause_words(cause);
        hash.note_words(now, STALL, &[owner as u64, kind, first, second, span.0]);
    }
}

/// What a request is noted with beside itself.
pub(crate) struct Way {
    pub(crate) parent: ParentId,
    pub(crate) decided: Nanos,
    pub(crate) clean: Nanos,
    pub(crate) on_time: Nanos,
    pub(crate) arrives: Nanos,
}

pub(crate) fn note_released(hash: &mut EventHash, now: Nanos, request: Request, way: &Way) {
    if !hash.keeps_notes() {
        return;
    }
    let (kind, price, lots) = match request {
        Request::New { price, lots, .. } => (0, price.0, lots.0),
        Request::Cancel { .. } => (1, 0, 0),
        Request::Replace { price, .. } => (2, price.0, 0),
    };
    let words = [
        kind << 32 | u64::from(request.child().0),
        u64::from(way.parent.0),
        way.decided.0,
        way.clean.0,
        way.on_time.0,
        way.arrives.0,
        word(price),
        lots,
    ];
    hash.note_words(now, RELEASED, &words);
}

pub(crate) fn note_queued(hash: &mut EventHash, now: Nanos, queued: &Queued) {
    let Queued { child, price, lots, ahead, ahead_on_time } = *queued;
    hash.note_words(now, QUEUED, &[u64::from(child.0), word(price.0), lots.0, ahead.0, ahead_on_time.0]);
}

pub(crate) fn note_fill(hash: &mut EventHash, now: Nanos, fill: &OwnFill) {
    let OwnFill { child, parent, price, lots, makes } = *fill;
    let words = [u64::from(child.0), u64::from(parent.0), word(price.0), lots.0, u64::from(makes)];
    hash.note_words(now, OWN_FILL, &words);
}

pub(crate) fn note_gone(hash: &mut EventHash, now: Nanos, child: ChildId) {
    hash.note(now, GONE, [u64::from(child.0), 0]);
}

/// The mid of a symbol as it is now.
pub(crate) fn note_mid(hash: &mut EventHash, now: Nanos, symbol: SymbolId, mid: HalfTicks) {
    hash.note(now, MID, [u64::from(symbol.0), word(mid.0)]);
}

fn low(word: u64) -> u32 {
    word as u32
}

fn signed(word: u64) -> i64 {
    i64::from_ne_bytes(word.to_ne_bytes())
}

fn word(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}
