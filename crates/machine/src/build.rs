//! How a machine is put together: address spaces, CPUs, threads and the touchers of their work.

use numashock_engine::{Nanos, Seed, Span};

use crate::machine::{HUGE, Machine, PPM, Space, Thread, Work};
use crate::mmap::Writer;
use crate::pages::Region;
use crate::sleep::Sleeper;
use crate::slot::{CpuSlot, batch_entry};
use crate::touch::{Clock, Toucher, hot_pages};
use crate::{
    Activity, CpuId, Knobs, MachineConfig, MachineError, NodeId, Pattern, ProcessConfig, RegionConfig,
    TaskStart, ThreadConfig, TouchConfig,
};

impl Machine {
    /// The dense slot of a CPU, made on its first use.
    pub(crate) fn slot_of(&mut self, cpu: CpuId) -> Result<u8, MachineError> {
        if let Some(slot) = self.slots.iter().position(|slot| slot.cpu == cpu) {
            return Ok(slot as u8);
        }
        if self.slots.len() == 255 {
            return Err(MachineError::NotModelled {
                holder: "threads".to_owned(),
                what: "more than 255 CPUs in use",
            });
        }
        let node = self.config.topology.nodes.iter().position(|node| node.cpus.contains(&cpu));
        let node = NodeId(node.expect("the CPU was checked to exist") as u8);
        self.slots.push(CpuSlot {
            cpu,
            node,
            isolated: self.config.topology.isolated.contains(&cpu),
            nohz_full: self.config.topology.nohz_full.contains(&cpu),
            threads: Vec::new(),
            balance_failed: 0,
            batch: Vec::new(),
        });
        Ok((self.slots.len() - 1) as u8)
    }

    pub(crate) fn lay_out_regions(&mut self) -> Result<(), MachineError> {
        let nodes = self.config.topology.nodes.len();
        let configs = core::mem::take(&mut self.config.regions);
        for (index, config) in configs.iter().enumerate() {
            let space = &mut self.spaces[config.process.index()];
            let before = space.regions.last().copied();
            let end = before.map_or(HUGE, |region| self.regions[region].end());
            let base = if config.continues { end } else { (end / HUGE + 2) * HUGE };
            let mut region = Region::new(config, base, nodes, hot_boundaries(&self.config, config, index));
            region.head = before.filter(|_| config.continues).map_or(index, |part| self.regions[part].head);
            for node in 0..nodes {
                self.used_pages[node] += region.pages_on(NodeId(node as u8)) * region.unit;
            }
            space.resident_pages += config.pages;
            if space.regions.is_empty() {
                let offset = self.config.processes[config.process.index()]
                    .start
                    .map_or(0, |start| start.scan_offset_pages);
                space.scan_offset = if offset == 0 { 0 } else { base + offset };
            }
            space.regions.push(index);
            self.regions.push(region);
            // Huge pages and large folios never wait in a batch (spec: 8 F3).
            let waits = self.config.rules.lru_batches && config.kind.unit() == 1;
            if let Some(cpu) = config.first_touch.filter(|_| waits) {
                self.fill_batch(cpu, index, config.pages)?;
            }
        }
        self.config.regions = configs;
        Ok(())
    }

    /// The pages that first touching a region leaves in the CPU's LRU batch (spec: 8 F3).
    fn fill_batch(&mut self, cpu: CpuId, region: usize, pages: u64) -> Result<(), MachineError> {
        let capacity = self.config.kernel.lru_batch() as u64;
        let slot = usize::from(self.slot_of(cpu)?);
        let total = self.slots[slot].batch.len() as u64 + pages;
        let waiting = if total >= capacity {
            self.release_batch(slot);
            total % capacity
        } else {
            pages
        };
        for page in pages - waiting..pages {
            self.slots[slot].batch.push(batch_entry(region, page));
            self.regions[region].set_batched(page, true);
        }
        Ok(())
    }

    pub(crate) fn add_threads(&mut self) -> Result<(), MachineError> {
        let configs = core::mem::take(&mut self.config.threads);
        for (index, config) in configs.iter().enumerate() {
            let slot = self.slot_of(config.cpu)?;
            let nth = self.spaces[config.process.index()].threads.len();
            let thread = new_thread(config, slot, nth, &self.knobs, self.tick);
            self.threads.push(thread);
            self.slots[usize::from(slot)].threads.push(index);
            let space = &mut self.spaces[config.process.index()];
            space.threads.push(index);
            space.mm_users += 1;
        }
        self.config.threads = configs;
        let delay = self.to_jiffies(u64::from(self.knobs.scan_delay_ms));
        for (space, config) in self.spaces.iter_mut().zip(&self.config.processes) {
            match config.start {
                Some(start) => {
                    let tick_ms = i64::from(self.config.hz);
                    space.next_scan = start.next_scan_ms.map(|millis| (millis * tick_ms).div_euclid(1000));
                    space.scan_seq = start.scan_seq;
                }
                // The first extra thread arms the address space, spec: 8 F1.
                None => space.next_scan = (space.mm_users > 1).then_some(delay),
            }
        }
        Ok(())
    }

    pub(crate) fn add_writers(&mut self, seed: Seed) {
        for (index, config) in self.config.threads.iter().enumerate() {
            self.threads[index].writer = config.mmap.map(|mmap| Writer::new(mmap, index, seed));
        }
    }

    pub(crate) fn add_work(&mut self, seed: Seed) {
        for (index, thread) in self.config.threads.iter().enumerate() {
            for (place, background) in thread.background.iter().enumerate() {
                let entity = (index as u64) << 32 | place as u64;
                self.threads[index].background.push(self.touchers.len());
                self.touchers.push(Toucher::by_clock(index as u16, background, seed, entity));
                if let Some(sleeper) = &mut self.threads[index].sleeper {
                    sleeper.add_clock(Clock::of(background));
                }
            }
        }
        for (index, work) in self.config.works.iter().enumerate() {
            let first = self.touchers.len();
            for (place, touch) in work.touches.iter().enumerate() {
                let entity = (index as u64) << 32 | place as u64;
                self.touchers.push(Toucher::of_unit(work.thread.0, touch, seed, entity));
            }
            let touchers = (first..self.touchers.len()).collect();
            self.works.push(Work { thread: work.thread, compute: work.compute, touchers });
        }
        for toucher in &self.touchers {
            let config = toucher.config();
            let region = &mut self.regions[config.region.index()];
            region.touched_by = region.touched_by.with(toucher.thread);
            region.any_reads |= u64::from(config.write_ppm) < PPM;
            region.any_writes |= config.write_ppm > 0;
        }
    }
}

pub(crate) fn nodes_with_cpus(config: &MachineConfig) -> Vec<NodeId> {
    let nodes = config.topology.nodes.iter().enumerate();
    nodes.filter(|(_, node)| !node.cpus.is_empty()).map(|(index, _)| NodeId(index as u8)).collect()
}

pub(crate) fn new_space(config: &ProcessConfig) -> Space {
    Space {
        regions: Vec::new(),
        threads: Vec::new(),
        policy: config.policy,
        mems_allowed: config.mems_allowed,
        mmap_locked_until: Nanos::ZERO,
        mmap_clean_until: Nanos::ZERO,
        cpuset_skips: 0,
        mappings_after: config.mappings_after,
        mm_users: config.idle_threads,
        resident_pages: config.other_resident_pages,
        next_scan: None,
        scan_seq: 0,
        scan_offset: 0,
        passes: 0,
    }
}

/// Where the parts of a region end that patterns treat apart.
fn hot_boundaries(config: &MachineConfig, region: &RegionConfig, index: usize) -> Vec<u64> {
    let here = |touch: &TouchConfig| (touch.region.index() == index).then_some(touch.pattern);
    let units = config.works.iter().flat_map(|work| &work.touches);
    units
        .filter_map(here)
        .filter_map(|pattern| match pattern {
            Pattern::HotCold { hot_pages_ppm, .. } => {
                Some(hot_pages(region.pages / region.kind.unit(), hot_pages_ppm))
            }
            Pattern::XorshiftHotCold { hot_pages, .. } => Some(hot_pages.div_ceil(region.kind.unit())),
            _ => None,
        })
        .collect()
}

/// A thread at the start; the `nth` of its process.
fn new_thread(config: &ThreadConfig, slot: u8, nth: usize, knobs: &Knobs, tick: u64) -> Thread {
    // spec: 1.2: threads are staggered by at most 60 µs and two ticks.
    let stagger = if nth == 0 { 0 } else { 60_000 + 2 * tick };
    let start = config.start.unwrap_or(TaskStart {
        runtime: Span::ZERO,
        node_stamp: Span(stagger),
        scan_period_ms: knobs.scan_delay_ms,
        scan_period_max_ms: 0,
        preferred: None,
        scan_seq: 0,
    });
    let duty = config.duty_ppm();
    Thread {
        process: config.process,
        pid: config.pid,
        slot,
        affinity: config.affinity.clone(),
        duty,
        bursts: match config.activity {
            Activity::Bursts { start, every, length } => Some((start, every, length)),
            Activity::Spins | Activity::Duty(_) | Activity::Sleeps { .. } => None,
        },
        sleeper: match config.activity {
            Activity::Sleeps { sleep, slack, wake } => {
                Some(Sleeper::new(sleep + slack, wake, start.runtime.0))
            }
            Activity::Spins | Activity::Duty(_) | Activity::Bursts { .. } => None,
        },
        share: duty,
        share_before: 0,
        share_since: Nanos::ZERO,
        runtime_at_birth: start.runtime.0,
        fair: config.class.scans(),
        reported: config.reported,
        runtime_at_start: start.runtime.0,
        node_stamp: start.node_stamp.0,
        scan_period: start.scan_period_ms,
        scan_period_max: start.scan_period_max_ms,
        scan_seq: start.scan_seq,
        preferred: start.preferred,
        migrate_retry: i64::MIN,
        faults: None,
        total_faults: 0,
        locality: [0; 3],
        pages_migrated: 0,
        group: None,
        last_placement: None,
        free_at: Nanos::ZERO,
        pass: None,
        work_queued: false,
        writer: None,
        background: Vec::new(),
        tick_stale: false,
        tick_generation: 0,
        tick_at: Nanos::NEVER,
    }
}
