//! Everything that can be due, in one closed list.

use numashock_execution::{Message, ParentId};

use crate::scenario::config::HostId;

/// An event of a run. Order flow and the ends of telemetry buckets are not here: the loop asks for them by time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// What a host's controller decided at the end of a bucket reaches whom it was meant for.
    Act {
        /// Whose controller.
        host: HostId,
        /// The bucket's number.
        bucket: u32,
        /// Whom it was meant for.
        reach: Reach,
    },
    /// A host's request reaches the exchange; the number is its slot in flight.
    Arrive(HostId, u32),
    /// A parent's decision falls.
    Begin(ParentId),
    /// A message of a market-data burst.
    Burst {
        /// The disturbance's place in the list.
        number: u32,
        /// The message's place in the burst.
        message: u32,
    },
    /// A departure without head-of-line blocking; the number is its slot.
    Depart(HostId, u32),
    /// A parent's deadline.
    Expire(ParentId),
    /// A disturbance begins; the number is its place in the list.
    Inject(u32),
    /// The machine's own.
    Machine(HostId, numashock_machine::Event),
    /// A message is ready for a host's dispatch thread.
    Ready(HostId, Message),
    /// A disturbance ends; the number is its place in the list.
    Relieve(u32),
    /// A bucket of finer telemetry of a host is over.
    Sample(HostId),
    /// A stall of a recorded host; the number is its place in the list.
    Stall(HostId, u32),
    /// A host's dispatch thread ends a unit or begins one.
    Wake(HostId),
}

/// Whom a controller's actions are meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The tactic's gates.
    Execution,
    /// The host: its knobs, its dispatch thread, its counters.
    Host,
}

/// Kinds of semantic events in the hash. The machine's own kinds begin at 0x100.
pub mod kind {
    /// An own request reached the exchange: child; stamp, with the lowest bit flipped for a replacement.
    pub const ARRIVAL: u16 = 0x200;
    /// A parent's decision fell: parent; mid in half-ticks.
    pub const DECISION: u16 = 0x201;
    /// A parent's deadline: parent; lots filled.
    pub const EXPIRY: u16 = 0x202;
    /// A fill: maker, with taker turned by 32 bits; lots.
    pub const FILL: u16 = 0x203;
    /// An event of order flow: id; kind, side, lots and price folded.
    pub const FLOW: u16 = 0x204;
    /// A host's regime changed: level now; level before.
    pub const REGIME: u16 = 0x205;
    /// A host's dispatch thread was held up: nanoseconds.
    pub const STALL: u16 = 0x206;
    /// A disturbance began or ended: digest of its log line; length and which.
    pub const DISTURBANCE: u16 = 0x207;
}
