//! The mmap lock: a pass holds it for reading, and calls that change the address space wait for it (spec: 1.4).
//!
//! ```text
//!   pass    ├──────── reads ────────┤                      pass? the lock is taken: the slot is lost
//!   call          ├─ waits ─────────┼── holds ──┤
//!   a fault that needs the lock   ├── waits ────┤          a reader queues behind a writer
//! ```
//!
//! Invariant: when the lock is taken does not depend on what is charged.

use numashock_engine::{EventHash, Nanos, Seed, Span, Stream, sample};

use crate::cost::Draw;
use crate::effects::Wake;
use crate::machine::{Machine, kinds};
use crate::{Cause, Effects, Event, MmapConfig};

/// Calls of a thread that change its address space.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    config: MmapConfig,
    gaps: Stream,
    calls: u64,
    /// The last call waits until then for the lock.
    waits_until: Nanos,
}

impl Writer {
    pub(crate) fn new(config: MmapConfig, thread: usize, seed: Seed) -> Writer {
        let gaps = seed.stream("machine.mmap", thread as u64);
        Writer { config, gaps, calls: 0, waits_until: Nanos::ZERO }
    }

    /// Time to the next call: a Poisson process.
    fn gap(&mut self) -> Span {
        let exponential = u128::from(sample::unit_exponential(&mut self.gaps));
        Span(((exponential * u128::from(self.config.mean_gap.0)) >> 40) as u64)
    }
}

impl Machine {
    /// Queues the next call of a thread that makes any.
    pub(crate) fn queue_call(&mut self, now: Nanos, thread: usize, effects: &mut Effects) {
        if let Some(writer) = &mut self.threads[thread].writer {
            let at = now + writer.gap();
            effects.schedule.push((at, Event(Wake::Call { thread: thread as u16 })));
        }
    }

    /// A thread calls mmap, munmap, brk or mprotect.
    pub(crate) fn on_call(&mut self, now: Nanos, thread: usize, hash: &mut EventHash, effects: &mut Effects) {
        let process = self.threads[thread].process.index();
        let read_until = self.read_until(process).unwrap_or(now);
        // A thread that scans comes to its call when the pass is over.
        let comes = self.threads[thread].pass.as_ref().map_or(now, |pass| pass.ends());
        let writer = self.threads[thread].writer.as_mut().expect("only writers call");
        writer.calls += 1;
        let (config, event) = (writer.config, [thread as u64, writer.calls]);
        let hold = Span(self.draws.cost(config.hold, Draw::Hold, event));
        let space = &mut self.spaces[process];
        let begins = now.max(read_until).max(space.mmap_locked_until);
        // What it would have waited for other calls had no pass held any of them up.
        let clean = now.max(space.mmap_clean_until);
        space.mmap_locked_until = begins + hold;
        space.mmap_clean_until = clean + hold;
        let wait = begins.saturating_since(clean.max(comes));
        hash.record(now, kinds::CALL, [thread as u64, wait.0]);
        if let Some(writer) = &mut self.threads[thread].writer {
            writer.waits_until = begins;
        }
        self.stall(now, thread, Cause::MmapLock, wait, effects);
        if config.unmaps {
            effects.schedule.push((begins, Event(Wake::Unmap { thread: thread as u16 })));
        }
        self.queue_call(now, thread, effects);
    }

    /// When the passes of a process under way let go of the lock.
    pub(crate) fn read_until(&self, process: usize) -> Option<Nanos> {
        let passes = self.spaces[process].threads.iter().filter_map(|at| self.threads[*at].pass.as_ref());
        passes.map(|pass| pass.ends()).max()
    }

    /// Unmapping releases the LRU batch of the CPU it runs on (spec: 8 F3).
    pub(crate) fn on_unmap(&mut self, thread: usize) {
        let slot = self.threads[thread].slot;
        self.release_batch(usize::from(slot));
    }

    /// A pass of the process lasts longer than its writers have been told.
    pub(crate) fn delay_writers(&mut self, now: Nanos, process: usize, longer: Span, effects: &mut Effects) {
        let mut waiting = false;
        for place in 0..self.spaces[process].threads.len() {
            let thread = self.spaces[process].threads[place];
            let Some(writer) = &mut self.threads[thread].writer else { continue };
            if writer.waits_until > now {
                writer.waits_until += longer;
                waiting = true;
                self.stall(now, thread, Cause::MmapLock, longer, effects);
            }
        }
        if waiting {
            self.spaces[process].mmap_locked_until += longer;
        }
    }

    /// How long a fault waits for the lock because of balancing: all of it where there would be no fault without, else what
    /// passes have added to it.
    pub(crate) fn lock_wait(&self, at: Nanos, region: usize, hinting: bool) -> Span {
        if !self.config.kernel.faults_take_mmap_lock() {
            return Span::ZERO;
        }
        let space = &self.spaces[self.regions[region].process.index()];
        let from = if hinting { at } else { at.max(space.mmap_clean_until) };
        space.mmap_locked_until.saturating_since(from)
    }
}
