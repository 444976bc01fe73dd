//! A machine without a market: the loop that drives it, and what it lets a reader see.

use numashock_engine::{Checkpoint, EventHash, EventQueue, Nanos};
use numashock_machine::{CpuId, Machine, Pass, Stall};

use crate::event::Event;
use crate::host::RunningHost;
use crate::injector::Injected;
use crate::scenario::config::HostId;
use crate::scenario::hosts::HostConfig;

/// The host itself: there is no other.
const ONLY: HostId = HostId(0);

/// What happened to a thread.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// It was held up.
    Stall(Stall),
    /// It ended a scan pass, on this CPU.
    Pass(Pass, CpuId),
}

/// A host that is simulated without a desk.
#[derive(Debug)]
pub struct HostRun {
    host: RunningHost,
    queue: EventQueue<Event>,
    hash: EventHash,
    injected: Vec<Injected>,
}

impl HostRun {
    /// A host at time zero.
    #[must_use]
    pub fn new(config: &HostConfig) -> HostRun {
        let end = Nanos::ZERO + config.warmup + config.duration;
        let injected = config.injector.schedule(0, config.seed, end);
        let mut queue = EventQueue::default();
        for (one, number) in injected.iter().zip(0..) {
            queue.push(one.at, Event::Inject(number));
        }
        let host = RunningHost::alone(&config.machine, config.seed);
        HostRun { host, queue, hash: EventHash::new(0), injected }
    }

    /// Lets everything happen that is due before `end`; what is due then belongs to what comes after.
    pub fn until(&mut self, end: Nanos, mut see: impl FnMut(Seen)) {
        loop {
            let effects = self.host.effects();
            for (at, event) in effects.schedule.drain(..) {
                self.queue.push(at, Event::Machine(ONLY, event));
            }
            effects.stalls.drain(..).for_each(|stall| see(Seen::Stall(stall)));
            if !effects.passes.is_empty() {
                let passes = std::mem::take(&mut effects.passes);
                passes
                    .into_iter()
                    .for_each(|pass| see(Seen::Pass(pass, self.machine().thread(pass.thread).cpu)));
            }
            if self.queue.next_at() >= end {
                return;
            }
            let (now, event) = self.queue.pop().expect("an event is due");
            self.handle(now, event);
        }
    }

    fn handle(&mut self, now: Nanos, event: Event) {
        match event {
            Event::Machine(_, event) => self.host.handle(now, event, &mut self.hash),
            Event::Inject(number) => {
                let injected = &self.injected[number as usize];
                if let Some(until) = injected.until() {
                    self.queue.push(until, Event::Relieve(number));
                }
                self.host.inject(now, number, injected, &mut self.hash);
            }
            Event::Relieve(number) => {
                self.host.relieve(now, number, &self.injected[number as usize], &mut self.hash);
            }
            _ => unreachable!("a host without a desk has no other events"),
        }
    }

    /// The machine as it stands.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.host.machine().expect("a host that is simulated")
    }

    /// The state of the event hash.
    #[must_use]
    pub fn hash(&self) -> Checkpoint {
        self.hash.checkpoint()
    }
}
