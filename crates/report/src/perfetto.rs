//! What happened in a run as a trace for the Perfetto viewer: JSON trace events, written as they come.
//!
//! ```text
//!   a process a host    threads: units of work, stalls by owner, hinting faults, passes of each thread, regime
//!                       counters: dispatch queue, /proc/vmstat by second, regime
//!   the process orders  parents and children as asynchronous slices, fills as instants
//! ```
//!
//! Times are microseconds with the nanoseconds as decimals, so they are exact.

use std::collections::BTreeMap;
use std::io::{self, Write};

use numashock_experiment::explain::notes::{
    Happened, MessageKind, MessageName, Met, PassName, Released, RequestKind, Touch, Unit, What,
};
use numashock_experiment::explain::{Names, Owner, Watcher};
use numashock_experiment::results::Regime;
use serde_json::{Value, json};

/// What part of the run is written: whatever overlaps it, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From here on.
    pub from_ns: u64,
    /// Up to here.
    pub until_ns: u64,
}

/// A second of a host's counters.
#[derive(Clone, Copy, Debug)]
pub struct CounterSecond {
    /// When it begins.
    pub start_ns: u64,
    /// The counters' growth, by name.
    pub growth: [(&'static str, u64); 4],
}

const UNITS: u64 = 1;
const STALLS: u64 = 2;
const FAULTS: u64 = 3;
const REGIME: u64 = 4;
/// Tracks of passes follow, by number of the thread.
const PASSES: u64 = 10;
/// Slices that would overlap in part go to lanes of their track.
const LANES: u64 = 64;

/// Writes a trace while a run goes on.
#[derive(Debug)]
pub struct Perfetto<W> {
    out: W,
    window: Window,
    refused: Option<io::Error>,
    events: u64,
    hosts: Vec<HostTracks>,
    /// The end of the last slice of each lane, by process and track.
    lanes: BTreeMap<(u64, u64), Vec<u64>>,
    /// Parents and children that are alive: begin, lots, and whether the begin was written.
    orders: BTreeMap<OrderName, Alive>,
    parent_of: BTreeMap<u32, u32>,
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OrderName {
    Parent(u32),
    Child(u32),
}

#[derive(Clone, Copy, Debug)]
struct Alive {
    since: u64,
    lots: u64,
    written: bool,
}

#[derive(Debug)]
struct HostTracks {
    names: Names,
    queued: u64,
    serving: Option<(u64, Unit)>,
    away_until: u64,
    regime: (u64, u64),
    passes: BTreeMap<(u16, u64), (PassName, u64, u64)>,
}

impl<W: Write> Perfetto<W> {
    /// A trace of hosts with these names, and names of their threads and regions.
    pub fn new(out: W, window: Window, hosts: Vec<(String, Names)>) -> Perfetto<W> {
        let mut trace = Perfetto {
            out,
            window,
            refused: None,
            events: 0,
            hosts: Vec::new(),
            lanes: BTreeMap::new(),
            orders: BTreeMap::new(),
            parent_of: BTreeMap::new(),
            started: false,
        };
        trace.raw("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
        for (number, (name, names)) in hosts.into_iter().enumerate() {
            trace.metadata("process_name", (number as u64 + 1, 0), &format!("host {name}"));
            let (serving, passes) = (None, BTreeMap::new());
            trace.hosts.push(HostTracks { names, queued: 0, serving, away_until: 0, regime: (0, 0), passes });
        }
        let orders = trace.orders_process();
        trace.metadata("process_name", (orders, 0), "orders");
        trace
    }

    /// Adds the hosts' counters by second, closes what is open at the end of the run, and the file.
    ///
    /// # Errors
    /// If anything could not be written.
    pub fn finish(mut self, end_ns: u64, counters: &[Vec<CounterSecond>]) -> io::Result<W> {
        self.begin_window(end_ns);
        for (number, seconds) in counters.iter().enumerate() {
            for second in seconds {
                for (name, growth) in second.growth {
                    self.counter(number, second.start_ns, name, growth);
                }
            }
        }
        for number in 0..self.hosts.len() {
            self.regime_slice(number, end_ns);
            for (_, (pass, begun, length)) in std::mem::take(&mut self.hosts[number].passes) {
                self.pass(number, pass, (begun, begun + length), json!({"over": false}));
            }
        }
        for name in self.orders.keys().copied().collect::<Vec<_>>() {
            self.order_ends(name, end_ns);
        }
        self.raw("\n]}\n");
        match self.refused {
            Some(error) => Err(error),
            None => self.out.flush().map(|()| self.out),
        }
    }

    fn orders_process(&self) -> u64 {
        self.hosts.len() as u64 + 1
    }

    fn raw(&mut self, text: &str) {
        if self.refused.is_none() {
            self.refused = self.out.write_all(text.as_bytes()).err();
        }
    }

    /// Writes an event: `fields` is the inside of its object.
    fn event(&mut self, fields: &str) {
        let before = if self.events == 0 { "\n{" } else { ",\n{" };
        self.events += 1;
        self.raw(before);
        self.raw(fields);
        self.raw("}");
    }

    fn metadata(&mut self, what: &str, (process, thread): (u64, u64), name: &str) {
        let name = quoted(name);
        self.event(&format!(
            "\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{process},\"tid\":{thread},\"args\":{{\"name\":{name}}}"
        ));
    }

    fn overlaps(&self, begin: u64, end: u64) -> bool {
        begin < self.window.until_ns && end >= self.window.from_ns
    }

    /// A slice on a track of a host; on another lane if it would overlap the last one.
    fn slice(
        &mut self,
        (host, track, label): (usize, u64, &str),
        (category, name): (&str, &str),
        (begin, end): (u64, u64),
        args: &Value,
    ) {
        if !self.overlaps(begin, end) {
            return;
        }
        let process = host as u64 + 1;
        let lanes = self.lanes.entry((process, track)).or_default();
        let free = lanes.iter().position(|last| *last <= begin);
        let lane = free.unwrap_or(lanes.len());
        if free.is_none() {
            lanes.push(0);
        }
        lanes[lane] = end;
        let thread = track * LANES + lane as u64;
        if free.is_none() {
            let label = if lane == 0 { label.to_owned() } else { format!("{label} ({})", lane + 1) };
            self.metadata("thread_name", (process, thread), &label);
        }
        let (name, begin, length) = (quoted(name), micros(begin), micros(end - begin));
        self.event(&format!(
            "\"ph\":\"X\",\"cat\":\"{category}\",\"name\":{name},\"pid\":{process},\"tid\":{thread},\"ts\":{begin},\
             \"dur\":{length},\"args\":{args}"
        ));
    }

    fn counter(&mut self, host: usize, at: u64, name: &str, value: u64) {
        if self.overlaps(at, at) {
            let (process, at) = (host as u64 + 1, micros(at));
            self.event(&format!(
                "\"ph\":\"C\",\"name\":\"{name}\",\"pid\":{process},\"tid\":0,\"ts\":{at},\"args\":{{\"value\":{value}}}"
            ));
        }
    }

    /// Says what stood when the window began.
    fn begin_window(&mut self, now: u64) {
        if self.started || now < self.window.from_ns {
            return;
        }
        self.started = true;
        for number in 0..self.hosts.len() {
            let (from, queued) = (self.window.from_ns, self.hosts[number].queued);
            self.counter(number, from, "dispatch queue", queued);
            self.counter(number, from, "regime", self.hosts[number].regime.0);
        }
        for name in self.orders.keys().copied().collect::<Vec<_>>() {
            self.order_begins(name);
        }
    }

    fn regime_slice(&mut self, host: usize, until: u64) {
        let (level, since) = self.hosts[host].regime;
        let name = Regime::ALL.get(level as usize).map_or("", |regime| regime.name());
        self.slice((host, REGIME, "regime"), ("regime", name), (since, until), &json!({"level": level}));
    }

    fn regime_changes(&mut self, host: usize, now: u64, level: u64) {
        self.regime_slice(host, now);
        self.hosts[host].regime = (level, now);
        self.counter(host, now, "regime", level);
    }

    fn pass(&mut self, host: usize, pass: PassName, times: (u64, u64), mut args: Value) {
        let thread = self.hosts[host].names.thread(pass.thread);
        args["number"] = json!(pass.number);
        args["sequence"] = json!(pass.sequence);
        let (track, label) = (PASSES + u64::from(pass.thread), format!("scan passes: {thread}"));
        self.slice((host, track, &label), ("scan", &format!("pass {}", pass.number)), times, &args);
    }

    fn stalled(&mut self, host: usize, now: u64, owner: Owner, span: u64) {
        if span > 0 {
            let begin = self.hosts[host].away_until.max(now);
            self.hosts[host].away_until = begin + span;
            let track = (host, STALLS, "dispatch thread: stalls");
            self.slice(track, ("stall", owner.name()), (begin, begin + span), &json!({"ns": span}));
        }
    }

    fn touched(&mut self, host: usize, now: u64, touch: &Touch) {
        let names = &self.hosts[host].names;
        if touch.thread != names.dispatch {
            return;
        }
        let begin = now + touch.elapsed.0;
        let span = touch.hint_fault.0 + touch.migration_copy.0 + touch.lock_wait.0 + touch.stopper.0;
        let name = match touch.met {
            Met::NoMark => "wait for a page",
            Met::Fault => "hinting fault",
            Met::Refused => "hinting fault, page not let go",
            Met::Migration => "hinting fault, page moves",
        };
        let args = json!({
            "region": names.region(touch.region),
            "page": touch.page,
            "pass": touch.marked_by.map(|(_, number)| number),
            "hint_fault_ns": touch.hint_fault.0,
            "migration_copy_ns": touch.migration_copy.0,
            "lock_wait_ns": touch.lock_wait.0,
            "stopper_ns": touch.stopper.0,
        });
        let track = (host, FAULTS, "dispatch thread: hinting faults");
        self.slice(track, ("fault", name), (begin, begin + span), &args);
    }

    fn unit_begins(&mut self, host: usize, now: u64, unit: Unit) {
        self.queue(host, now, -1);
        self.stalled(host, now, Owner::HintFault, unit.hint_fault.0);
        self.stalled(host, now, Owner::MigrationCopy, unit.migration_copy.0);
        self.hosts[host].serving = Some((now, unit));
    }

    fn unit_ends(&mut self, host: usize, now: u64) {
        let Some((begin, unit)) = self.hosts[host].serving.take() else { return };
        let args = json!({
            "ready_us": micros(unit.ready.0),
            "wait_ns": begin - unit.ready.0,
            "base_ns": unit.base.0,
            "hint_fault_ns": unit.hint_fault.0,
            "migration_copy_ns": unit.migration_copy.0,
        });
        let track = (host, UNITS, "dispatch thread: units");
        self.slice(track, ("unit", &message(unit.message)), (begin, now), &args);
    }

    fn queue(&mut self, host: usize, now: u64, change: i64) {
        let queued = &mut self.hosts[host].queued;
        *queued = queued.checked_add_signed(change).expect("a message is ready before it is served");
        let queued = *queued;
        self.counter(host, now, "dispatch queue", queued);
    }

    fn order_comes(&mut self, name: OrderName, now: u64, lots: u64) {
        let alive = Alive { since: now, lots, written: false };
        self.orders.entry(name).or_insert(alive);
        if self.started && now < self.window.until_ns {
            self.order_begins(name);
        }
    }

    fn order_begins(&mut self, name: OrderName) {
        let Some(alive) = self.orders.get_mut(&name).filter(|alive| !alive.written) else { return };
        alive.written = true;
        let since = alive.since;
        self.order_event('b', name, since, None);
    }

    fn order_ends(&mut self, name: OrderName, now: u64) {
        if self.orders.remove(&name).is_some_and(|alive| alive.written) {
            self.order_event('e', name, now, None);
        }
    }

    /// A step of an order that is alive and shown.
    fn order_step(&mut self, child: u32, now: u64, what: &str, args: Value) {
        let name = OrderName::Child(child);
        if self.orders.get(&name).is_some_and(|alive| alive.written) && self.overlaps(now, now) {
            self.order_event('n', name, now, Some((what, args)));
        }
    }

    fn order_event(&mut self, phase: char, order: OrderName, now: u64, step: Option<(&str, Value)>) {
        let (process, at) = (self.orders_process(), micros(now));
        let (category, id, parent) = match order {
            OrderName::Parent(number) => ("parent", number, number),
            OrderName::Child(number) => ("child", number, self.parent_of.get(&number).copied().unwrap_or(0)),
        };
        let name = step.as_ref().map_or_else(|| format!("{category} {id}"), |(what, _)| (*what).to_owned());
        let args = step.map_or(json!({"parent": parent}), |(_, args)| args);
        self.event(&format!(
            "\"ph\":\"{phase}\",\"cat\":\"{category}\",\"id\":\"{category}-{id}\",\"name\":{},\"pid\":{process},\
             \"tid\":{parent},\"ts\":{at},\"args\":{args}",
            quoted(&name)
        ));
    }

    fn released(&mut self, now: u64, released: &Released) {
        let child = released.child.0;
        self.parent_of.insert(child, released.parent.0);
        if let Some(lots) = released.lots {
            self.order_comes(OrderName::Child(child), now, lots.0);
        }
        let kind = match released.kind {
            RequestKind::New => "new leaves",
            RequestKind::Cancel => "cancel leaves",
            RequestKind::Replace => "replace leaves",
        };
        let args = json!({
            "late_ns": now - released.clean.0,
            "limit_ticks": released.price.map(|price| price.0),
            "decided_us": micros(released.decided.0),
            "on_time_us": micros(released.on_time.0),
            "arrives_us": micros(released.arrives.0),
        });
        self.order_step(child, now, kind, args);
    }

    fn filled(&mut self, now: u64, child: u32, parent: u32, args: &Value, lots: u64) {
        if self.overlaps(now, now) {
            let (process, at) = (self.orders_process(), micros(now));
            self.event(&format!(
                "\"ph\":\"i\",\"s\":\"t\",\"cat\":\"fill\",\"name\":\"fill of child {child}\",\"pid\":{process},\
                 \"tid\":{parent},\"ts\":{at},\"args\":{args}"
            ));
        }
        let name = OrderName::Child(child);
        if let Some(alive) = self.orders.get_mut(&name) {
            alive.lots = alive.lots.saturating_sub(lots);
            if alive.lots == 0 {
                self.order_ends(name, now);
            }
        }
    }
}

impl<W: Write> Watcher for Perfetto<W> {
    fn happened(&mut self, happened: &Happened) {
        let (now, host) = (happened.at.0, usize::from(happened.source));
        self.begin_window(now);
        match happened.what {
            What::Decision(parent, _) => self.order_comes(OrderName::Parent(parent.0), now, 0),
            What::Expiry(parent) => self.order_ends(OrderName::Parent(parent.0), now),
            What::Regime(level, _) => self.regime_changes(host, now, level),
            What::PassBegan(pass, length) => {
                let key = (pass.process, pass.number);
                self.hosts[host].passes.insert(key, (pass, now, length.0));
            }
            What::PassEnded(end) => {
                self.hosts[host].passes.remove(&(end.pass.process, end.pass.number));
                let args = json!({"marked_pages": end.marked, "interrupts": end.interrupts});
                self.pass(host, end.pass, (end.begun.0, end.ended.0), args);
            }
            What::Touched(touch) => self.touched(host, now, &touch),
            What::Ready(_) => self.queue(host, now, 1),
            What::Unit(unit) => self.unit_begins(host, now, unit),
            What::UnitEnd { .. } => self.unit_ends(host, now),
            What::Stall(stall) => self.stalled(host, now, Owner::from(stall.owner), stall.span.0),
            What::Released(released) => self.released(now, &released),
            What::Queued(queued) => {
                let args =
                    json!({"ahead_lots": queued.ahead.0, "ahead_on_time_lots": queued.ahead_on_time.0});
                self.order_step(queued.child.0, now, "joins the queue", args);
            }
            What::Filled(fill) => {
                let args = json!({
                    "child": fill.child.0,
                    "lots": fill.lots.0,
                    "price_half_ticks": fill.price.0,
                    "passive": fill.makes,
                });
                self.filled(now, fill.child.0, fill.parent.0, &args, fill.lots.0);
            }
            What::Gone(child) => self.order_ends(OrderName::Child(child.0), now),
            What::CopyLatency(_) | What::Mid(..) | What::Other => {}
        }
    }
}

fn message(name: MessageName) -> String {
    match name.kind {
        MessageKind::Quote => format!("quote of symbol {}", name.id),
        MessageKind::Accepted => format!("child {} accepted", name.id),
        MessageKind::Cancelled => format!("child {} gone", name.id),
        MessageKind::Filled => format!("child {} filled", name.id),
        MessageKind::Patience => format!("child {}: patience is over", name.id),
        MessageKind::Slice => format!("parent {}: slice {}", name.id, name.index),
        MessageKind::CatchUp => format!("parent {}: catch up", name.id),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Nanoseconds as microseconds, all digits kept.
fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000, ns % 1_000)
}
