//! The dispatch path: from a ready message over the server and the gateway to the exchange.

use numashock_engine::{Nanos, Seed, Span, Stream, sample};
use numashock_execution::{ChildId, Command, Departure, Dispatcher, Request};

use crate::desk_log::{DeskWhat, RequestKind};
use crate::event::{Event, kind};
use crate::injector::{Gate, Injected, Line};
use crate::notes::{Way, note_released, note_unit, note_unit_end};
use crate::scenario::config::{Gateway, HostId, TradingHost};
use crate::simulation::Simulation;
use crate::trail::{Journey, Step};

/// Messages of one child that have latencies of their own; further ones use them again.
const DRAWS_PER_CHILD: u64 = 1 << 16;

/// The server, what it holds and the session to the exchange.
#[derive(Debug)]
pub(crate) struct DispatchPath {
    pub(crate) server: Dispatcher,
    gateway: Gateway,
    gate: Gate,
    /// The requests before the gate, really and on the clean clock.
    lines: [Line; 2],
    lateness: Lateness,
    draws: Stream,
    children: Vec<ChildRecord>,
    wake_at: Nanos,
    serving: Vec<Outgoing>,
    commands: Vec<Command>,
    departing: Slab<(Departure, Vec<Outgoing>)>,
    in_flight: Slab<InFlight>,
    /// The session delivers in order, on either clock.
    last_arrival: Nanos,
    last_on_time: Nanos,
}

/// What the path remembers of a child.
#[derive(Clone, Copy, Debug, Default)]
struct ChildRecord {
    requests: u64,
    last_departure: Nanos,
    /// When it took the place it rests in, and when it would have.
    placed: Option<(Nanos, Nanos)>,
}

/// How late the passive children of a run came to the exchange when they first took a place in its queues (market: 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Passive children.
    pub children: u64,
    /// Those that were late.
    pub late_children: u64,
    /// The sum of their arrivals less their on-time arrivals.
    pub late: Span,
    /// Lots ahead of them on arrival, less those ahead had they been on time.
    pub lost_lots: i128,
}

/// A request that a unit of work has decided on.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    request: Request,
    latency: Span,
    /// When the message that led to it became ready.
    decided: Step,
    /// When it would arrive had nothing stalled; in the order of the clean clock.
    on_time: Nanos,
}

/// A request on its way to the exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) request: Request,
    pub(crate) journey: Journey,
}

impl DispatchPath {
    pub(crate) fn new(
        server: Dispatcher,
        (number, host): (HostId, &TradingHost),
        seed: Seed,
        disturbances: &[Injected],
    ) -> DispatchPath {
        DispatchPath {
            server,
            gateway: host.gateway,
            gate: Gate::new(disturbances.iter().filter(|injected| injected.host == number)),
            lines: [0; 2].map(|_| Line::new(host.gateway.rate_limit)),
            lateness: Lateness::default(),
            draws: seed.stream("gateway", 0),
            children: Vec::new(),
            wake_at: Nanos::NEVER,
            serving: Vec::new(),
            commands: Vec::new(),
            departing: Slab::default(),
            in_flight: Slab::default(),
            last_arrival: Nanos::ZERO,
            last_on_time: Nanos::ZERO,
        }
    }

    /// Whether a wake-up at `now` is the one that was last asked for.
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        self.wake_at == now
    }

    pub(crate) fn take_in_flight(&mut self, slot: u32) -> InFlight {
        self.in_flight.take(slot)
    }

    /// Notes when a child took its place, when it would have, had it been on time, and what that cost in queue position.
    pub(crate) fn placed(&mut self, child: ChildId, arrived: Nanos, on_time: Nanos, lost: i64) {
        if self.child(child).placed.replace((arrived, on_time)).is_none() {
            let late = arrived - on_time;
            self.lateness.children += 1;
            self.lateness.late_children += u64::from(late > Span::ZERO);
            self.lateness.late += late;
            self.lateness.lost_lots += i128::from(lost);
        }
    }

    /// How late passive children came to the exchange.
    pub(crate) fn lateness(&self) -> Lateness {
        self.lateness
    }

    /// When a child took its place and when it would have.
    pub(crate) fn placed_at(&self, child: ChildId) -> Option<(Nanos, Nanos)> {
        self.children.get(child.0 as usize).and_then(|record| record.placed)
    }

    fn child(&mut self, child: ChildId) -> &mut ChildRecord {
        let index = child.0 as usize;
        if self.children.len() <= index {
            self.children.resize(index + 1, ChildRecord::default());
        }
        &mut self.children[index]
    }

    /// When the session delivers a report that the exchange sends at `now`.
    pub(crate) fn report_arrives(&self, now: Nanos) -> Nanos {
        self.gate.up_at(now) + self.gateway.report_latency
    }

    /// Lets a request through the gate that leaves the thread at `at`, on the clean clock or really.
    fn pass_gate(&mut self, at: Nanos, clean: bool) -> Nanos {
        self.lines[usize::from(clean)].pass(&self.gate, at)
    }

    /// The latency of a child's next request, keyed by child and number so that all worlds draw the same.
    fn latency(&mut self, child: ChildId) -> Span {
        let number = self.child(child).requests;
        self.child(child).requests += 1;
        self.draws.seek(u64::from(child.0) * DRAWS_PER_CHILD + number % DRAWS_PER_CHILD);
        sample::log_normal(&mut self.draws, self.gateway.latency, self.gateway.sigma_ppm)
    }
}

impl Simulation<'_> {
    /// Queues what a host asked for and delays its dispatch thread by the stalls that fell on it.
    pub(crate) fn apply_host_effects(&mut self, now: Nanos, host: HostId) {
        let hosted = &mut self.hosts[host.index()];
        let stalled = hosted.host.drain(now, &mut self.queue, &mut self.hash);
        if stalled > Span::ZERO {
            self.hash.record(now, kind::STALL, [stalled.0, 0]);
            hosted.dispatch.server.stall(now, stalled);
            self.schedule_wake(now, host);
        }
    }

    /// Lets a host's server end and begin whatever is due.
    pub(crate) fn wake(&mut self, now: Nanos, host: HostId) {
        loop {
            let dispatch = &mut self.hosts[host.index()].dispatch;
            if let Some(unit) = dispatch.server.finish(now) {
                let mut requests = std::mem::take(&mut dispatch.serving);
                note_unit_end(&mut self.hash, now, unit.ready, unit.clean);
                self.leave(now, host, unit, &requests);
                requests.clear();
                self.hosts[host.index()].dispatch.serving = requests;
            } else if let Some((ready, message)) = dispatch.server.begin(now) {
                self.serve(now, host, ready, message);
            } else {
                break;
            }
        }
        self.schedule_wake(now, host);
    }

    /// A departure without head-of-line blocking.
    pub(crate) fn depart(&mut self, now: Nanos, host: HostId, slot: u32) {
        let (unit, requests) = self.hosts[host.index()].dispatch.departing.take(slot);
        self.leave(now, host, unit, &requests);
    }

    fn schedule_wake(&mut self, now: Nanos, host: HostId) {
        let dispatch = &mut self.hosts[host.index()].dispatch;
        let wake_at = dispatch.server.wake_at();
        if wake_at == Nanos::NEVER {
            dispatch.wake_at = Nanos::NEVER;
        } else if wake_at != dispatch.wake_at || wake_at <= now {
            dispatch.wake_at = wake_at.max(now);
            self.queue.push(dispatch.wake_at, Event::Wake(host));
        }
    }

    fn serve(&mut self, now: Nanos, host: HostId, ready: Nanos, message: numashock_execution::Message) {
        let hosted = &mut self.hosts[host.index()];
        let dispatch = &mut hosted.dispatch;
        hosted.host.add_queue_wait(now - ready);
        let (base, own_stalls) = hosted.host.unit(now, message.work(), &mut self.hash);
        note_unit(&mut self.hash, now, (ready, message), (base, own_stalls));
        let mut commands = std::mem::take(&mut dispatch.commands);
        hosted.execution.decide(now, message, &mut commands);
        let unit = dispatch.server.serve(now, ready, base, own_stalls.into_iter().sum());
        let mut requests = std::mem::take(&mut dispatch.serving);
        for command in commands.drain(..) {
            match command {
                Command::Send(request) => {
                    let latency = dispatch.latency(request.child());
                    let passed = dispatch.pass_gate(unit.clean, true);
                    let on_time = (passed + latency).max(dispatch.last_on_time);
                    dispatch.last_on_time = on_time;
                    let parent = hosted.execution.parent_of(request.child()).0 as usize;
                    let symbol = usize::from(self.parents[parent].order().symbol.0);
                    let decided = self.venues[symbol].mids.then(ready);
                    requests.push(Outgoing { request, latency, decided, on_time });
                }
                Command::Timer(at, message) => self.queue.push(at, Event::Ready(host, message)),
            }
        }
        dispatch.commands = commands;
        if dispatch.server.head_of_line() {
            dispatch.serving = requests;
        } else if !requests.is_empty() {
            // Messages of one child never overtake each other (attribution: A6).
            let last = requests.iter().map(|out| dispatch.child(out.request.child()).last_departure).max();
            let unit = Departure { at: unit.at.max(last.unwrap_or(unit.at)), ..unit };
            for out in &requests {
                dispatch.child(out.request.child()).last_departure = unit.at;
            }
            let slot = dispatch.departing.put((unit, requests));
            self.queue.push(unit.at, Event::Depart(host, slot));
        } else {
            dispatch.serving = requests;
        }
        // What the unit itself set off on this thread counts within the unit.
        self.apply_host_effects(now, host);
    }

    fn leave(&mut self, now: Nanos, host: HostId, unit: Departure, requests: &[Outgoing]) {
        if requests.is_empty() {
            return;
        }
        let hosted = &mut self.hosts[host.index()];
        hosted.telemetry.decision(unit.ready, now);
        for Outgoing { request, latency, decided, on_time } in requests {
            let child = request.child();
            let id = hosted.execution.parent_of(child);
            let parent = &mut self.parents[id.0 as usize];
            let segment = parent.segment;
            let stamp = hosted.telemetry.release(segment, now);
            let sent = DeskWhat::Send { segment, parent: id, child, request: RequestKind::of(request) };
            hosted.telemetry.log.add(stamp, sent);
            parent.releases += 1;
            parent.reprices += u32::from(matches!(request, Request::Replace { .. }));
            let dispatch = &mut hosted.dispatch;
            let passed = dispatch.pass_gate(now, false);
            let arrival = (passed + *latency).max(dispatch.last_arrival);
            dispatch.last_arrival = arrival;
            // Without head-of-line blocking a later unit may leave first; it is then on time when it arrives.
            let on_time = (*on_time).min(arrival);
            let mid = self.venues[usize::from(parent.order().symbol.0)].last_mid;
            let id = hosted.execution.parent_of(request.child());
            let way = Way { parent: id, decided: decided.at, clean: unit.clean, on_time, arrives: arrival };
            note_released(&mut self.hash, now, *request, &way);
            let journey = Journey { decided: *decided, dispatched: Step { at: now, mid }, on_time };
            let slot = dispatch.in_flight.put(InFlight { request: *request, journey });
            self.queue.push(arrival, Event::Arrive(host, slot));
        }
    }
}

/// Values that wait for an event, found by a small number.
#[derive(Debug)]
struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    fn put(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(value);
                slot
            }
            None => {
                self.entries.push(Some(value));
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 values wait")
            }
        }
    }

    fn take(&mut self, slot: u32) -> T {
        self.free.push(slot);
        self.entries[slot as usize].take().expect("a slot is taken once")
    }
}
