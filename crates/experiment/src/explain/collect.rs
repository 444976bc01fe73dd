//! Watches a run with notes and writes down what concerns some of its parents.

use std::collections::BTreeMap;

use numashock_engine::{Nanos, Span};
use numashock_execution::ParentOrder;
use numashock_machine as machine;
use numashock_sim::metrics::quantile;
use numashock_sim::notes::{
    Happened, MessageKind, MessageName, Met, OwnFill, PassName, Queued, Released, RequestKind,
    Stalled as Held, Touch, Unit, What,
};
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::{CLUSTER_GAP, RunResult};

use super::{
    Cause, Chain, Child, ChildRequest, Costs, Dispatch, Fill, Names, Order, Owner, Pass, Release, Service,
    Stall, Stalled,
};
use crate::results::Side;

/// A mark-out looks so far ahead.
const MARKOUT: Span = Span::SECOND;

/// A pass by its process and number.
type PassKey = (u16, u64);

/// A stall with its pass by name.
#[derive(Clone, Copy, Debug)]
struct Raw {
    at: Nanos,
    /// Begin of the unit that met it.
    unit: Option<Nanos>,
    span: Span,
    owner: Owner,
    cause: Cause,
    page: Option<(u16, u64)>,
    pass: Option<PassKey>,
}

/// What is known of a host.
#[derive(Debug, Default)]
struct HostState {
    names: Names,
    passes: BTreeMap<PassKey, Pass>,
    /// The last pass of the dispatch thread.
    own_pass: Option<PassKey>,
    /// The process of the dispatch thread.
    process: u16,
    /// Parts of touches that have not been charged yet, by owner.
    pending: [Vec<Raw>; 3],
    copy_latency: Span,
    queued: u64,
    /// Units begun so far.
    units: u64,
    /// Begin of the unit in service, and whether it was held up.
    serving: Option<(Nanos, bool)>,
}

/// A parent that is watched.
#[derive(Debug)]
struct Life {
    number: u32,
    host: usize,
    symbol: usize,
    alive: bool,
    stalls: Vec<Raw>,
    /// Units begun when it came and when it went.
    units: (u64, Option<u64>),
    /// Service times with whether they were held up.
    service: Vec<(u64, bool)>,
    dispatch: Dispatch,
    last_release: Option<Nanos>,
    /// Requests in each micro-cluster, and the cluster of each own request.
    clusters: Vec<u64>,
    own_clusters: Vec<usize>,
    children: BTreeMap<u32, Child>,
}

impl Life {
    fn new(number: u32, host: usize, symbol: usize) -> Life {
        Life {
            number,
            host,
            symbol,
            alive: false,
            stalls: Vec::new(),
            units: (0, None),
            service: Vec::new(),
            dispatch: Dispatch::default(),
            last_release: None,
            clusters: Vec::new(),
            own_clusters: Vec::new(),
            children: BTreeMap::new(),
        }
    }

    /// Whether a unit began in it.
    fn holds(&self, unit: u64) -> bool {
        unit > self.units.0 && self.units.1.is_none_or(|until| unit <= until)
    }

    fn begins(&mut self, host: &HostState) {
        self.alive = true;
        self.units.0 = host.units;
        self.dispatch.queue_max = host.queued;
    }

    fn ends(&mut self, host: &HostState) {
        self.alive = false;
        self.units.1 = Some(host.units);
    }

    fn serves(&mut self, now: Nanos, unit: &Unit, own: bool) {
        let wait = (now - unit.ready).0;
        self.dispatch.queue_wait_ns += wait;
        if own {
            self.dispatch.own_messages += 1;
            self.dispatch.own_wait_ns += wait;
            self.dispatch.own_wait_max_ns = self.dispatch.own_wait_max_ns.max(wait);
        }
    }

    /// A request of the host leaves.
    fn releases(&mut self, now: Nanos, released: &Released) {
        self.dispatch.releases += 1;
        match (self.last_release.replace(now), self.clusters.last_mut()) {
            (Some(last), Some(size)) if now - last <= CLUSTER_GAP => *size += 1,
            _ => self.clusters.push(1),
        }
        if released.parent.0 != self.number {
            return;
        }
        self.own_clusters.push(self.clusters.len() - 1);
        let kind = request_name(released.kind);
        self.dispatch.own_releases.push(Release {
            at_ns: now.0,
            child: released.child.0,
            kind,
            late_ns: (now - released.clean).0,
            cluster: 0,
        });
        let number = released.child.0;
        let child = self.children.entry(number).or_insert_with(|| Child { number, ..Child::default() });
        child.requests.push(ChildRequest {
            kind,
            decided_ns: released.decided.0,
            dispatched_ns: now.0,
            on_time_ns: released.on_time.0,
            arrived_ns: released.arrives.0,
            limit_ticks: released.price.map(|price| price.0),
            ahead_lots: None,
            ahead_on_time_lots: None,
        });
    }

    fn joins(&mut self, now: Nanos, queued: &Queued) {
        let Some(child) = self.children.get_mut(&queued.child.0) else { return };
        let places = |request: &&mut ChildRequest| {
            request.arrived_ns == now.0 && request.limit_ticks.is_some() && request.ahead_lots.is_none()
        };
        if let Some(request) = child.requests.iter_mut().find(places) {
            request.ahead_lots = Some(queued.ahead.0);
            request.ahead_on_time_lots = Some(queued.ahead_on_time.0);
        }
    }

    fn fills(&mut self, now: Nanos, fill: &OwnFill) {
        if let Some(child) = self.children.get_mut(&fill.child.0) {
            child.fills.push(Fill {
                at_ns: now.0,
                price_half_ticks: fill.price.0,
                lots: fill.lots.0,
                passive: fill.makes,
                markout_half_ticks: 0,
            });
        }
    }

    fn service(&self) -> Service {
        let sorted = |all: bool| {
            let mut times: Vec<u64> =
                self.service.iter().filter(|(_, held)| all || !held).map(|(time, _)| *time).collect();
            times.sort_unstable();
            times
        };
        let (all, undisturbed) = (sorted(true), sorted(false));
        Service {
            units: all.len() as u64,
            stalled_units: (all.len() - undisturbed.len()) as u64,
            undisturbed_q50_ns: quantile(&undisturbed, 500_000),
            q50_ns: quantile(&all, 500_000),
            q95_ns: quantile(&all, 950_000),
            q99_ns: quantile(&all, 990_000),
            max_ns: all.last().copied(),
        }
    }
}

/// Collects the chains of some parents.
#[derive(Debug)]
pub(super) struct Collector {
    hosts: Vec<HostState>,
    /// By symbol.
    mids: Vec<Vec<(Nanos, i64)>>,
    lives: Vec<Life>,
    /// The watched parent of a child.
    owners: BTreeMap<u32, usize>,
}

impl Collector {
    /// Watches some of the orders of a run.
    pub(super) fn new(config: &RunConfig, orders: &[ParentOrder], watched: &[u32]) -> Collector {
        let hosts = (0..config.hosts.len()).map(|number| {
            let number = HostId(u16::try_from(number).expect("hosts are numbered in 16 bits"));
            HostState {
                names: Names::of(config, number),
                process: Names::process(config, number),
                ..HostState::default()
            }
        });
        let life = |number: &u32| {
            let order = &orders[*number as usize];
            Life::new(*number, config.host_of(order).index(), usize::from(order.symbol.0))
        };
        Collector {
            hosts: hosts.collect(),
            mids: vec![Vec::new(); config.symbols.len()],
            lives: watched.iter().map(life).collect(),
            owners: BTreeMap::new(),
        }
    }

    pub(super) fn happened(&mut self, happened: &Happened) {
        let (now, host) = (happened.at, usize::from(happened.source));
        match happened.what {
            What::Decision(parent, mid) => {
                for life in self.lives.iter_mut().filter(|life| life.number == parent.0) {
                    life.begins(&self.hosts[life.host]);
                    self.mids[life.symbol].push((now, mid.0));
                }
            }
            What::Expiry(parent) => {
                for life in self.lives.iter_mut().filter(|life| life.number == parent.0) {
                    life.ends(&self.hosts[life.host]);
                }
            }
            What::PassBegan(pass, _) => self.hosts[host].pass_begins(now, pass),
            What::PassEnded(end) => {
                if let Some(pass) = self.hosts[host].passes.get_mut(&(end.pass.process, end.pass.number)) {
                    pass.ended_ns = Some(end.ended.0);
                    (pass.marked_pages, pass.interrupts) = (Some(end.marked), Some(end.interrupts));
                }
            }
            What::Touched(touch) => self.hosts[host].touched(now, &touch),
            What::CopyLatency(span) => self.hosts[host].copy_latency += span,
            What::Ready(_) => {
                self.hosts[host].queued += 1;
                let queued = self.hosts[host].queued;
                for life in alive(&mut self.lives, host) {
                    life.dispatch.queue_max = life.dispatch.queue_max.max(queued);
                }
            }
            What::Unit(unit) => self.unit_begins(now, host, &unit),
            What::UnitEnd { .. } => self.unit_ends(now, host),
            What::Stall(stall) => {
                let parts = self.hosts[host].stalled(now, &stall);
                self.charge(host, &parts);
            }
            What::Released(released) => self.released(now, host, &released),
            What::Queued(queued) => self.of_child(queued.child.0, |life| life.joins(now, &queued)),
            What::Filled(fill) => self.of_child(fill.child.0, |life| life.fills(now, &fill)),
            What::Gone(child) => self.of_child(child.0, |life| {
                if let Some(child) = life.children.get_mut(&child.0) {
                    child.gone_ns = Some(now.0);
                }
            }),
            What::Mid(symbol, mid) => self.mids[usize::from(symbol.0)].push((now, mid.0)),
            What::Regime(..) | What::Other => {}
        }
    }

    fn of_child(&mut self, child: u32, act: impl FnOnce(&mut Life)) {
        if let Some(place) = self.owners.get(&child) {
            let life = &mut self.lives[*place];
            if life.alive {
                act(life);
            }
        }
    }

    fn unit_begins(&mut self, now: Nanos, host: usize, unit: &Unit) {
        let state = &mut self.hosts[host];
        state.units += 1;
        state.queued -= 1;
        let parts = state.charged_to_unit(now, unit);
        state.serving = Some((now, !parts.is_empty()));
        let owner = self.owner_of(unit.message);
        for (place, life) in self.lives.iter_mut().enumerate() {
            if life.alive && life.host == host {
                life.serves(now, unit, owner == Some(place));
            }
        }
        self.charge(host, &parts);
    }

    /// The place of the life that a message is about.
    fn owner_of(&self, message: MessageName) -> Option<usize> {
        match message.kind {
            MessageKind::Quote => None,
            MessageKind::Slice | MessageKind::CatchUp => {
                self.lives.iter().position(|life| life.number == message.id)
            }
            _ => self.owners.get(&message.id).copied(),
        }
    }

    fn unit_ends(&mut self, now: Nanos, host: usize) {
        let state = &mut self.hosts[host];
        let (begun, held) = state.serving.take().expect("a unit begins before it ends");
        let unit = state.units;
        for life in self.lives.iter_mut().filter(|life| life.host == host && life.holds(unit)) {
            life.service.push(((now - begun).0, held));
        }
    }

    fn released(&mut self, now: Nanos, host: usize, released: &Released) {
        for (place, life) in self.lives.iter_mut().enumerate() {
            if life.alive && life.host == host {
                life.releases(now, released);
                if life.number == released.parent.0 {
                    self.owners.insert(released.child.0, place);
                }
            }
        }
    }

    fn charge(&mut self, host: usize, parts: &[Raw]) {
        alive(&mut self.lives, host).for_each(|life| life.stalls.extend(parts));
    }

    /// The chains, each with what is known of its order beside.
    ///
    /// # Panics
    /// If the stalls do not sum to what the run says.
    pub(super) fn finish(self, run: &RunResult, known: impl Fn(u32) -> (Order, Costs)) -> Vec<Chain> {
        let Collector { hosts, mids, lives, .. } = self;
        lives
            .into_iter()
            .map(|life| {
                let stalls = run.parents[life.number as usize].stalls;
                let (order, costs) = known(life.number);
                let chain = finished(life, &hosts, &mids, order, costs);
                let expected = Stalled {
                    hint_fault_ns: stalls.hint_fault.0,
                    migration_copy_ns: stalls.migration_copy.0,
                    dispatch_jitter_ns: stalls.dispatch_jitter.0,
                };
                assert!(
                    chain.stalled == expected,
                    "every stall has a cause: {:?}, {expected:?}",
                    chain.stalled
                );
                assert!(chain.dispatch.queue_wait_ns == stalls.queue_wait.0, "every unit is known");
                chain
            })
            .collect()
    }
}

fn alive(lives: &mut [Life], host: usize) -> impl Iterator<Item = &mut Life> {
    lives.iter_mut().filter(move |life| life.alive && life.host == host)
}

impl HostState {
    fn pass_begins(&mut self, now: Nanos, name: PassName) {
        let key = (name.process, name.number);
        if name.thread == self.names.dispatch {
            self.own_pass = Some(key);
        }
        let pass = Pass {
            number: name.number,
            thread: self.names.thread(name.thread),
            sequence: name.sequence,
            begun_ns: now.0,
            ..Pass::default()
        };
        self.passes.insert(key, pass);
    }

    /// Keeps the parts of a touch until they are charged.
    fn touched(&mut self, now: Nanos, touch: &Touch) {
        if touch.thread != self.names.dispatch {
            return;
        }
        let (mut at, page, pass) = (now + touch.elapsed, Some((touch.region, touch.page)), touch.marked_by);
        let (fault, migration) = match touch.met {
            Met::NoMark => (Cause::HintingFault, Cause::AfterMigration),
            Met::Fault => (Cause::HintingFault, Cause::AfterMigration),
            Met::Refused => (Cause::HintingFaultRefused, Cause::RefusedMigration),
            Met::Migration => (Cause::HintingFaultMoved, Cause::Copy),
        };
        // The fault waits for the lock before it does its work, and its migration follows.
        let parts = [
            (Owner::DispatchJitter, Cause::MmapLock, touch.lock_wait),
            (Owner::HintFault, fault, touch.hint_fault),
            (Owner::MigrationCopy, migration, touch.migration_copy),
            (Owner::DispatchJitter, Cause::Stopper, touch.stopper),
        ];
        for (owner, cause, span) in parts {
            if span > Span::ZERO {
                let raw = Raw { at, unit: Some(now), span, owner, cause, page, pass };
                self.pending[owner as usize].push(raw);
                at += span;
            }
        }
    }

    /// What a unit is charged, by cause.
    fn charged_to_unit(&mut self, now: Nanos, unit: &Unit) -> Vec<Raw> {
        let copies = std::mem::take(&mut self.copy_latency);
        if copies > Span::ZERO {
            let (owner, cause) = (Owner::MigrationCopy, Cause::SlowMemory);
            let (unit, page, pass) = (Some(now), None, None);
            let raw = Raw { at: now, unit, span: copies, owner, cause, page, pass };
            self.pending[owner as usize].insert(0, raw);
        }
        let mut parts = self.settle(now, Owner::HintFault, unit.hint_fault);
        parts.extend(self.settle(now, Owner::MigrationCopy, unit.migration_copy));
        parts
    }

    /// The touches that a charge is for; what it has beyond them is the CPU's other threads'.
    fn settle(&mut self, now: Nanos, owner: Owner, charged: Span) -> Vec<Raw> {
        let mut parts = std::mem::take(&mut self.pending[owner as usize]);
        let known: Span = parts.iter().map(|part| part.span).sum();
        assert!(known <= charged, "what a touch took is charged: {known:?} of {charged:?}");
        if charged > known {
            let (span, cause) = (charged - known, Cause::SharedCpu);
            parts.push(Raw { at: now, unit: Some(now), span, owner, cause, page: None, pass: None });
        }
        parts
    }

    /// A stall outside of units, or beside a unit's faults, by cause.
    fn stalled(&mut self, now: Nanos, stall: &Held) -> Vec<Raw> {
        if let Some((_, held)) = &mut self.serving {
            *held = true;
        }
        let owner = Owner::from(stall.owner);
        let (cause, pass) = match stall.cause {
            Some(machine::Cause::Touch) => return self.settle(now, owner, stall.span),
            None => (Cause::Recorded, None),
            Some(machine::Cause::Pass(number)) => (Cause::OwnPass, Some((self.process, number))),
            Some(machine::Cause::LongerPass) => (Cause::LongerPass, self.own_pass),
            Some(machine::Cause::Shootdown { pass, .. }) => (Cause::Shootdown, Some((self.process, pass))),
            Some(machine::Cause::Tick) => (Cause::Tick, None),
            Some(machine::Cause::MmapLock) => (Cause::MmapLock, None),
            Some(machine::Cause::Stopper) => (Cause::Stopper, None),
        };
        vec![Raw { at: now, unit: None, span: stall.span, owner, cause, page: None, pass }]
    }
}

fn finished(
    mut life: Life,
    hosts: &[HostState],
    mids: &[Vec<(Nanos, i64)>],
    order: Order,
    costs: Costs,
) -> Chain {
    let (passes, stalls) = named(&life.stalls, &hosts[life.host]);
    let service = life.service();
    let mut dispatch = life.dispatch;
    dispatch.clusters = life.clusters.iter().filter(|size| **size > 1).count() as u64;
    dispatch.cluster_max = life.clusters.iter().copied().max().unwrap_or(0);
    for (release, cluster) in dispatch.own_releases.iter_mut().zip(&life.own_clusters) {
        release.cluster = life.clusters[*cluster];
    }
    let mids = &mids[life.symbol];
    for fill in life.children.values_mut().flat_map(|child| &mut child.fills) {
        let until = Nanos(fill.at_ns) + MARKOUT;
        let later = mids.partition_point(|(at, _)| *at <= until);
        let mid = mids[later.checked_sub(1).expect("a mid stands at the decision")].1;
        fill.markout_half_ticks = match order.side {
            Side::Buy => mid - fill.price_half_ticks,
            Side::Sell => fill.price_half_ticks - mid,
        };
    }
    let stalled = Stalled::of(&stalls);
    let children = life.children.into_values().collect();
    Chain { order, passes, stalls, stalled, service, dispatch, children, costs }
}

/// The stalls with their passes by place, and those passes in order of their begin.
fn named(stalls: &[Raw], host: &HostState) -> (Vec<Pass>, Vec<Stall>) {
    let mut passes: BTreeMap<PassKey, Pass> = BTreeMap::new();
    for raw in stalls {
        let Some((key, pass)) = raw.pass.and_then(|key| Some((key, host.passes.get(&key)?))) else {
            continue;
        };
        let pass = passes.entry(key).or_insert_with(|| pass.clone());
        if raw.page.is_some() {
            pass.faults += u64::from(raw.owner == Owner::HintFault);
            pass.fault_ns += raw.span.0;
        } else {
            pass.stalled_ns += raw.span.0;
        }
    }
    let mut sorted: Vec<(PassKey, Pass)> = passes.into_iter().collect();
    sorted.sort_by_key(|(key, pass)| (pass.begun_ns, *key));
    let place = |key: PassKey| sorted.iter().position(|(other, _)| *other == key);
    let stall = |raw: &Raw| Stall {
        at_ns: raw.at.0,
        unit_ns: raw.unit.map(|unit| unit.0),
        ns: raw.span.0,
        owner: raw.owner,
        cause: raw.cause,
        region: raw.page.map(|(region, _)| host.names.region(region)),
        page: raw.page.map(|(_, page)| page),
        pass: raw.pass.and_then(place),
    };
    let stalls = stalls.iter().map(stall).collect();
    (sorted.into_iter().map(|(_, pass)| pass).collect(), stalls)
}

fn request_name(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::New => "new",
        RequestKind::Cancel => "cancel",
        RequestKind::Replace => "replace",
    }
}
