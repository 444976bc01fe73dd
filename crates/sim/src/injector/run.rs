//! The injector at work: what each disturbance does to the parts of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use numashock_engine::{Nanos, Seed, Span, Stream};

use super::{Disturbance, Injected};
use crate::event::{Event, kind};
use crate::scenario::config::HostId;
use crate::simulation::Simulation;

/// The disturbances of a run and how far they have come.
#[derive(Debug)]
pub(crate) struct Injecting {
    list: Arc<Vec<Injected>>,
    /// By host.
    seeds: Vec<Seed>,
    done: usize,
    /// Where the messages of bursts under way fall.
    bursts: BTreeMap<u32, Stream>,
}

impl Injecting {
    pub(crate) fn new(list: Arc<Vec<Injected>>, seeds: Vec<Seed>) -> Injecting {
        Injecting { list, seeds, done: 0, bursts: BTreeMap::new() }
    }

    /// Whom a disturbance befalls.
    pub(crate) fn host(&self, number: u32) -> HostId {
        self.list[number as usize].host
    }

    /// When each begins.
    pub(crate) fn begins(&self) -> impl Iterator<Item = (Nanos, Event)> + '_ {
        self.list.iter().zip(0..).map(|(injected, number)| (injected.at, Event::Inject(number)))
    }

    /// What has happened.
    pub(crate) fn happened(&self) -> &[Injected] {
        &self.list[..self.done]
    }

    /// The time of message `message` of a burst: anywhere in its own equal share of the length.
    fn burst_at(&mut self, number: u32, message: u32) -> Option<Nanos> {
        let injected = &self.list[number as usize];
        let Disturbance::MarketDataBurst { messages } = injected.disturbance else {
            unreachable!("only a burst has messages")
        };
        if message == messages {
            self.bursts.remove(&number);
            return None;
        }
        let length = injected.length.expect("a burst has a length");
        let from = length.scaled(u64::from(message), u64::from(messages));
        let until = length.scaled(u64::from(message) + 1, u64::from(messages));
        // Keyed by its time, so that other disturbances change nothing.
        let seed = self.seeds[injected.host.index()];
        let stream =
            self.bursts.entry(number).or_insert_with(|| seed.stream("injector.burst", injected.at.0));
        Some(injected.at + from + Span(stream.below((until - from).0)))
    }
}

impl Simulation<'_> {
    /// A disturbance begins.
    pub(crate) fn inject(&mut self, now: Nanos, number: u32) {
        assert!(self.injecting.done == number as usize, "disturbances begin in the order of their list");
        self.injecting.done += 1;
        let list = Arc::clone(&self.injecting.list);
        let injected = &list[number as usize];
        self.record_disturbance(now, injected, false);
        if let Some(until) = injected.until() {
            self.queue.push(until, Event::Relieve(number));
        }
        let hosted = &mut self.hosts[injected.host.index()];
        match injected.disturbance {
            Disturbance::ClockStep { step_ns } => hosted.telemetry.clock.step(now, step_ns),
            Disturbance::TelemetryGap {} => hosted.telemetry.gaps_open += 1,
            // The gate knows them from the start.
            Disturbance::GatewayDisconnect {} | Disturbance::GatewayThrottle { .. } => {}
            Disturbance::MarketDataBurst { .. } => self.queue_burst(number, 0),
            _ => {
                hosted.host.inject(now, number, injected, &mut self.hash);
                self.apply_host_effects(now, injected.host);
            }
        }
    }

    /// A disturbance with a length ends.
    pub(crate) fn relieve(&mut self, now: Nanos, number: u32) {
        let list = Arc::clone(&self.injecting.list);
        let injected = &list[number as usize];
        self.record_disturbance(now, injected, true);
        let hosted = &mut self.hosts[injected.host.index()];
        match injected.disturbance {
            Disturbance::ClockStep { step_ns } => hosted.telemetry.clock.step(now, -step_ns),
            Disturbance::TelemetryGap {} => hosted.telemetry.gaps_open -= 1,
            Disturbance::GatewayDisconnect {}
            | Disturbance::GatewayThrottle { .. }
            | Disturbance::MarketDataBurst { .. } => {}
            _ => {
                hosted.host.relieve(now, number, injected, &mut self.hash);
                self.apply_host_effects(now, injected.host);
            }
        }
    }

    /// A message of a burst leaves the exchange: the quote as it stands, once more, of the host's symbols in turn.
    pub(crate) fn burst(&mut self, now: Nanos, number: u32, message: u32) {
        let host = self.injecting.host(number);
        let symbols = &self.hosts[host.index()].symbols;
        let symbol = symbols[message as usize % symbols.len()];
        let venue = &self.venues[usize::from(symbol.0)];
        self.queue.push(now + venue.feed_latency, Event::Ready(host, venue.quote_message()));
        self.queue_burst(number, message + 1);
    }

    fn queue_burst(&mut self, number: u32, message: u32) {
        if let Some(at) = self.injecting.burst_at(number, message) {
            self.queue.push(at, Event::Burst { number, message });
        }
    }

    /// A move says itself in the hash; a load that stays is a setting of the machine, which its units show.
    fn record_disturbance(&mut self, now: Nanos, injected: &Injected, ends: bool) {
        let stays = injected.length.is_none();
        let told = match injected.disturbance {
            Disturbance::MoveThread { .. } | Disturbance::BatchLoad { .. } => !stays,
            _ => true,
        };
        if told {
            let text = serde_json::to_string(&injected.disturbance).expect("a disturbance is plain data");
            let length = injected.length.map_or(u64::MAX, |length| length.0);
            self.hash.record(now, kind::DISTURBANCE, [digest(&text), length << 1 | u64::from(ends)]);
        }
    }
}

/// FNV-1a: what was done and with which parameters, in a word.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
