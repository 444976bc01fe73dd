//! Everything that can be due, in one closed list.

use numashock_execution::{Message, ParentId};

use crate::scenario::config::HostId;

/// An event of a run. Order flow and the ends of telemetry buckets are not here: the loop asks for them by time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
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
    /// A stall of a recorded host; the number is its place in the list.
    Stall(HostId, u32),
    /// A host's dispatch thread ends a unit or begins one.
    Wake(HostId),
}

/// Kinds of semantic events in the hash. The machine's own kinds begin at 0x100.
pub(crate) mod kind {
    pub(crate) const ARRIVAL: u16 = 0x200;
    pub(crate) const DECISION: u16 = 0x201;
    pub(crate) const EXPIRY: u16 = 0x202;
    pub(crate) const FILL: u16 = 0x203;
    pub(crate) const FLOW: u16 = 0x204;
    pub(crate) const REGIME: u16 = 0x205;
    pub(crate) const STALL: u16 = 0x206;
    pub(crate) const DISTURBANCE: u16 = 0x207;
}
