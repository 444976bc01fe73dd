//! What a call to the machine gives back.

use numashock_engine::{Nanos, Span};

use crate::ThreadId;

/// A wake-up of the machine. Opaque: the caller queues it and hands it back at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub(crate) Wake);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The scheduler tick at which the scan trigger of a thread can fire.
    Tick { thread: u16, generation: u32 },
    /// A step of a pass is done.
    PassStep { thread: u16 },
    /// The next touch of a background toucher that matters.
    Touch { toucher: u16, generation: u32 },
    /// A thread calls mmap, munmap, brk or mprotect.
    Call { thread: u16 },
    /// A call of it that unmaps has the lock.
    Unmap { thread: u16 },
    /// An entry of the configuration's list of disturbances.
    Disturb { index: u32 },
    /// The tick at which the load balancer looks at crowded CPUs.
    Balance,
    /// Nobody steals from the CPUs any more: only threads that sleep between touches have to know.
    StealEnd,
}

/// Which part of the cost of balancing a stall belongs to (attribution: A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Hinting faults with their accounting.
    HintFault,
    /// Migrations, and waiting for them.
    MigrationCopy,
    /// Scan passes and TLB shootdowns.
    DispatchJitter,
}

/// What holds a thread up outside its units of work, or in one beside its faults and migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A touch of a page of its own.
    Touch,
    /// A pass of its own, by its number in the address space.
    Pass(u64),
    /// A pass of its own under way takes longer than it was to.
    LongerPass,
    /// The shootdown of another thread's pass interrupts it.
    Shootdown {
        /// Who scans.
        thread: ThreadId,
        /// The number of the pass in the address space.
        pass: u64,
    },
    /// The tick that runs on another CPU interrupts it, so that it scans.
    Tick,
    /// A call of its own waits for passes that hold the mmap lock.
    MmapLock,
    /// The stopper moves it because a thread follows its memory.
    Stopper,
}

/// A reported thread is held up, from the time of the call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Who.
    pub thread: ThreadId,
    /// Why.
    pub owner: Owner,
    /// How long, at nominal cost.
    pub span: Span,
    /// By what.
    pub cause: Cause,
}

/// A scan pass of a reported thread, as it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whose pass: the thread that paid for it.
    pub thread: ThreadId,
    /// When it began.
    pub begun: Nanos,
    /// How long it took.
    pub length: Span,
    /// 4 KiB pages marked.
    pub marked: u64,
    /// Threads on other CPUs that its shootdowns interrupted, once a round.
    pub interrupts: u32,
}

/// What a call asks of its caller. The caller drains the lists after each call.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Wake-ups to queue.
    pub schedule: Vec<(Nanos, Event)>,
    /// Stalls of reported threads outside their units of work.
    pub stalls: Vec<Stall>,
    /// Passes of reported threads that ended.
    pub passes: Vec<Pass>,
}

/// The time of one unit of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCost {
    /// Compute, and cache misses at the present placement under the neighbours' load.
    pub base: Span,
    /// Hinting faults with their accounting.
    pub hint_fault: Span,
    /// Migrations, sleeping on a page under migration, second write faults, and the latency that copies add.
    pub migration_copy: Span,
}

/// The counters of `/proc/vmstat` that balancing moves (spec: 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pages marked.
    pub numa_pte_updates: u64,
    /// Huge pages marked.
    pub numa_huge_pte_updates: u64,
    /// Hinting faults.
    pub numa_hint_faults: u64,
    /// Those on pages of the faulting CPU's node.
    pub numa_hint_faults_local: u64,
    /// Pages migrated by such faults.
    pub numa_pages_migrated: u64,
    /// Pages migrated for any reason.
    pub pgmigrate_success: u64,
    /// Migrations that failed after admission.
    pub pgmigrate_fail: u64,
    /// Pages that such faults moved from slow nodes to the top tier (spec: 2.6).
    pub pgpromote_success: u64,
    /// Pages of slow nodes found hot while their new node was short of free memory (spec: 2.6).
    pub pgpromote_candidate: u64,
}

impl Counters {
    /// The growth since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Counters) -> Counters {
        Counters {
            numa_pte_updates: self.numa_pte_updates - earlier.numa_pte_updates,
            numa_huge_pte_updates: self.numa_huge_pte_updates - earlier.numa_huge_pte_updates,
            numa_hint_faults: self.numa_hint_faults - earlier.numa_hint_faults,
            numa_hint_faults_local: self.numa_hint_faults_local - earlier.numa_hint_faults_local,
            numa_pages_migrated: self.numa_pages_migrated - earlier.numa_pages_migrated,
            pgmigrate_success: self.pgmigrate_success - earlier.pgmigrate_success,
            pgmigrate_fail: self.pgmigrate_fail - earlier.pgmigrate_fail,
            pgpromote_success: self.pgpromote_success - earlier.pgpromote_success,
            pgpromote_candidate: self.pgpromote_candidate - earlier.pgpromote_candidate,
        }
    }
}

/// A thread's balancing state, as a reader of kernel memory would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadView {
    /// CPU time.
    pub runtime: Span,
    /// `node_stamp`.
    pub node_stamp: Span,
    /// `numa_scan_period`.
    pub scan_period_ms: u32,
    /// `numa_scan_period_max`.
    pub scan_period_max_ms: u32,
    /// `numa_preferred_nid`.
    pub preferred: Option<crate::NodeId>,
    /// `numa_faults_locality`: remote, local, failed.
    pub locality: [u64; 3],
    /// Decayed memory faults per node: shared, private.
    pub faults: Vec<[i64; 2]>,
    /// `total_numa_faults`.
    pub total_faults: i64,
    /// `numa_pages_migrated` of the task.
    pub pages_migrated: u64,
    /// Where it runs.
    pub cpu: crate::CpuId,
}

/// How often the kernel moved threads on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskMoves {
    /// Threads that followed their memory alone (`numa_task_migrated` of kernels that count it).
    pub numa_task_migrated: u64,
    /// Threads that changed places for it: two a swap (`numa_task_swapped`).
    pub numa_task_swapped: u64,
    /// Searches that found no place (`sched_stick_numa`).
    pub numa_task_stuck: u64,
    /// Threads that the load balancer moved.
    pub load_balanced: u64,
}

/// An address space's scanning state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceView {
    /// `numa_scan_seq`.
    pub scan_seq: u32,
    /// `numa_scan_offset`, in pages into the first region.
    pub scan_offset_pages: u64,
    /// `numa_next_scan`: the earliest time of the next pass; `None` if never armed or in the past of time 0.
    pub next_scan: Option<Nanos>,
    /// Passes skipped because its cpuset allows memory on one node only.
    pub cpuset_skips: u64,
}
