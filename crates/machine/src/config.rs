//! What a machine is made of: plain data that the caller fills in completely.

use numashock_engine::{Nanos, Span};

use crate::{Cost, CpuId, KernelModel, NodeId, NodeMask, ProcessId, RegionId, Rules, ThreadId};

/// The kernel's settings of NUMA balancing (spec: 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// `kernel.numa_balancing`, bit 1: the normal mode. Both bits off from the start (`numa_balancing=disable`, or one node only):
    /// nothing is ever marked. Switched off later: what is marked still faults once and may migrate (spec: 2.1).
    pub balancing: bool,
    /// `kernel.numa_balancing`, bit 2: memory tiering, which promotes hot pages of slow nodes (spec: 2.6). Without the normal
    /// mode, pages of top-tier nodes are not marked (spec: 1.7 rule 6).
    pub tiering: bool,
    /// `scan_delay_ms`.
    pub scan_delay_ms: u32,
    /// `scan_period_min_ms`: the least time of a sweep of the resident set.
    pub scan_period_min_ms: u32,
    /// `scan_period_max_ms`.
    pub scan_period_max_ms: u32,
    /// `scan_size_mb`: MiB marked by a pass. 0: no pass walks; the period bounds, which the kernel would divide by it, take 1.
    pub scan_size_mb: u32,
    /// `hot_threshold_ms`: a page touched sooner than that after its marking is hot (spec: 2.6).
    pub hot_threshold_ms: u32,
    /// `kernel.numa_balancing_promote_rate_limit_MBps`: to each node (spec: 2.6).
    pub promote_rate_limit_mbps: u32,
}

impl Knobs {
    /// What the kernel boots with on a machine of more than one node (spec: 4.1).
    pub const KERNEL_DEFAULTS: Knobs = Knobs {
        balancing: true,
        tiering: false,
        scan_delay_ms: 1000,
        scan_period_min_ms: 1000,
        scan_period_max_ms: 60_000,
        scan_size_mb: 256,
        hot_threshold_ms: 1000,
        promote_rate_limit_mbps: 65_536,
    };

    /// Whether either mode is on: then threads scan, and faults enter statistics (spec: 0.3, 1.3, 3.1).
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.balancing || self.tiering
    }
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its CPUs; may be empty.
    pub cpus: Vec<CpuId>,
    /// 4 KiB pages of memory that processes can use: what lies below the high watermark of free pages is none of it. The promotion
    /// watermark is taken to be as high as that one (spec: 2.5, 2.6): in a kernel it lies above it by a thousandth of the node,
    /// next to the sixteenth that is asked for beyond it.
    pub memory_pages: u64,
    /// Whether it lies below the top tier, as memory behind CXL or persistent memory does; such a node has no CPUs. Nothing is
    /// ever demoted to it: which pages reclaim would choose depends on the kernel's LRU lists, which are not modelled.
    pub slow: bool,
}

/// Nodes, CPUs and distances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The nodes, by id.
    pub nodes: Vec<Node>,
    /// SLIT distances, 10 on the diagonal.
    pub distance: Vec<Vec<u8>>,
    /// CPUs outside the scheduling domains (`isolcpus`): no thread on them is ever moved by the kernel (spec: 3.8).
    pub isolated: Vec<CpuId>,
    /// CPUs that tick once a second while they run a single thread (spec: 1.3).
    pub nohz_full: Vec<CpuId>,
    /// Last-level caches of a node; they decide how many running tasks may be out of balance between nodes (spec: 3.8).
    pub caches_per_node: u32,
}

/// Which moves of threads the kernel makes on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// The load balancer takes threads off crowded CPUs.
    pub load_balancing: bool,
    /// A thread follows its memory to another CPU (spec: 3.8).
    pub numa_task_migration: bool,
    /// It may change places with the thread that runs there; without migration nothing is swapped either.
    pub numa_task_swap: bool,
}

impl SchedulerConfig {
    /// What every kernel with NUMA balancing does.
    pub const KERNEL_DEFAULTS: SchedulerConfig =
        SchedulerConfig { load_balancing: true, numa_task_migration: true, numa_task_swap: true };
}

/// What each mechanism costs on this hardware (spec: 5). A [`Cost`] is in nanoseconds unless its name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs {
    /// A scan pass before its first page.
    pub pass_base: Cost,
    /// Marking one page, in picoseconds; one draw a pass, as cold page tables make a whole pass slow (spec: 5.1).
    pub mark_per_pte_ps: Cost,
    /// Marking one huge page, in picoseconds; one draw a pass.
    pub mark_huge_ps: Cost,
    /// Passing over a page already marked, in picoseconds.
    pub skip_per_pte_ps: u64,
    /// Looking at a page and leaving it, because it is local to a single-threaded process or dirty, in picoseconds.
    pub local_skip_per_pte_ps: u64,
    /// A shootdown round for its initiator, without targets.
    pub shootdown_base: Cost,
    /// The same, per CPU interrupted; one draw a round.
    pub shootdown_per_cpu: Cost,
    /// A full flush for its receiver, with the refill of its TLB.
    pub interrupt: Cost,
    /// A flush of at most 33 pages, one by one, for its receiver: nothing else has to be refilled (spec: 1.8).
    pub interrupt_few_pages: Cost,
    /// A hinting fault: entry, bookkeeping and return.
    pub hint_fault: Cost,
    /// What is added to the fault that consumes a new scan sequence.
    pub placement: Cost,
    /// Migrating one page.
    pub migrate_page: Cost,
    /// Migrating one huge page.
    pub migrate_huge: Cost,
    /// Part of migrating a page that is over before the page is unmapped, in parts per million: taking it off the LRU and
    /// allocating, with zeroing where the kernel does that, the new one (spec: 2.2 step 11).
    pub page_allocation_ppm: u32,
    /// The same of a huge page.
    pub huge_allocation_ppm: u32,
    /// A migration refused at admission.
    pub refused_migration: Cost,
    /// The write-protect fault that follows a migration from 6.4 on; also the fault that copies a page on write.
    pub write_fault: Cost,
    /// Waking up after having slept on a page under migration.
    pub migration_wake: Cost,
    /// Looking through the CPUs of one node for a place to move a task to.
    pub task_migrate_scan: Cost,
    /// Waiting for the stopper thread that moves a task.
    pub stopper: Cost,
    /// Idle memory latency in picoseconds, `[node of the CPU][node of the memory]`.
    pub latency_ps: Vec<Vec<u64>>,
    /// Interconnect capacity between two nodes, per direction.
    pub interconnect_mbps: u64,
    /// Memory bandwidth of a node.
    pub memory_mbps: u64,
    /// Latency multiplier by utilisation, both in parts per million: rising in both, linear between points, flat outside.
    pub loaded_latency: Vec<(u32, u32)>,
}

/// A memory policy (spec: 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// None set: local allocation, balanced.
    Default,
    /// `MPOL_BIND`: never scanned.
    Bind(NodeMask),
    /// `MPOL_BIND` with `MPOL_F_NUMA_BALANCING`: balanced inside the mask.
    BindBalancing(NodeMask),
    /// `MPOL_PREFERRED`: never scanned.
    Preferred(NodeId),
    /// `MPOL_PREFERRED_MANY`: never scanned.
    PreferredMany(NodeMask),
    /// `MPOL_PREFERRED_MANY` with `MPOL_F_NUMA_BALANCING`: balanced inside the mask; kernels before 6.12 refuse it.
    PreferredManyBalancing(NodeMask),
    /// `MPOL_INTERLEAVE`: never scanned.
    Interleave(NodeMask),
    /// `MPOL_WEIGHTED_INTERLEAVE`: never scanned.
    WeightedInterleave(NodeMask),
    /// `MPOL_LOCAL` set explicitly: never scanned, other than no policy at all.
    Local,
}

impl Policy {
    /// Whether it lets pages migrate on fault, so that a pass marks them (spec: 1.5 test 1, 2.4).
    #[must_use]
    pub fn migrates_on_fault(self) -> bool {
        matches!(self, Policy::Default | Policy::BindBalancing(_) | Policy::PreferredManyBalancing(_))
    }
}

/// What a region maps (spec: 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Private anonymous memory of base pages.
    Anonymous,
    /// Text, shared libraries, read-only file maps: never scanned.
    FileReadOnly,
    /// `VM_IO`, `VM_PFNMAP` or `VM_MIXEDMAP`, such as the registers or rings of a device: never scanned.
    Special,
    /// `PROT_NONE`, such as a guard or a reserve: never scanned. Nothing may touch it.
    NoAccess,
    /// A writable private tmpfs mapping: not scanned unless it has a policy of its own (spec: 8 F4). Each page becomes anonymous
    /// when first written.
    TmpfsPrivate,
    /// A writable shared tmpfs mapping: not scanned unless it has a policy of its own (spec: 8 F4).
    TmpfsShared,
    /// Shared anonymous memory, a memfd or a SysV segment: taken to be like shared tmpfs, whose file system backs it (spec: 8 F4;
    /// not traced).
    SharedAnonymous,
    /// A writable shared mapping of a file: its pages are marked while clean (spec: 1.7 rule 4). One that is written stays dirty:
    /// writeback is not modelled.
    FileShared {
        /// Whether all are dirty at the start, as those of a file just made; else none is.
        dirty: bool,
    },
    /// A writable private mapping of clean file pages: each page becomes anonymous when first written.
    FilePrivate,
    /// A writable private mapping of dirty file pages: each page becomes anonymous when first written.
    FileCopyOnWrite,
    /// hugetlbfs: never scanned.
    HugeTlb,
    /// Private anonymous memory of transparent huge pages, all mapped as 2 MiB (spec: 1.7, 2.2).
    AnonymousHuge,
    /// Private anonymous memory of large folios that are mapped page by page: marked page by page from 6.12 on, and one fault
    /// cures and may move a whole folio (spec: 2.2 step 12). Its costs are those of its base pages.
    AnonymousLarge {
        /// A folio has 2^order pages: 1 to 9.
        order: u8,
    },
}

impl MapKind {
    /// 4 KiB pages in the unit that is marked, faults and moves.
    #[must_use]
    pub fn unit(self) -> u64 {
        match self {
            MapKind::AnonymousHuge => 512,
            MapKind::AnonymousLarge { order } => 1 << order,
            _ => 1,
        }
    }

    /// Whether the mapping is `VM_SHARED`.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, MapKind::TmpfsShared | MapKind::SharedAnonymous | MapKind::FileShared { .. })
    }

    /// Whether a shared-memory file system backs it, which then answers for its policy (spec: 8 F4).
    #[must_use]
    pub fn is_shmem(self) -> bool {
        matches!(self, MapKind::TmpfsPrivate | MapKind::TmpfsShared | MapKind::SharedAnonymous)
    }

    /// Whether its pages belong to a file until they are first written.
    #[must_use]
    pub fn copies_on_write(self) -> bool {
        matches!(self, MapKind::TmpfsPrivate | MapKind::FilePrivate | MapKind::FileCopyOnWrite)
    }

    /// Whether it is of a kind that no pass ever marks (spec: 1.5 tests 1 to 3).
    #[must_use]
    pub fn is_never_scanned(self) -> bool {
        matches!(self, MapKind::FileReadOnly | MapKind::HugeTlb | MapKind::Special | MapKind::NoAccess)
    }
}

/// Where the pages of a region lie at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All on one node.
    Node(NodeId),
    /// Round robin over these, page by page.
    Interleave(Vec<NodeId>),
}

/// A mapping of a process, or part of one. Regions of a process lie in the address space in the order of their list, each
/// mapping on a 2 MiB boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionConfig {
    /// Its name in messages.
    pub name: String,
    /// Whose it is.
    pub process: ProcessId,
    /// 4 KiB pages, all resident from the start.
    pub pages: u64,
    /// Where they lie.
    pub placement: Placement,
    /// The policy of the mapping; `Default` leaves it to the process.
    pub policy: Policy,
    /// What it maps.
    pub kind: MapKind,
    /// Whether it continues the mapping that the region before it in the list is (part of): the same VMA with other pages, as
    /// where huge pages end in base pages, or where parts were first touched on different nodes.
    pub continues: bool,
    /// Whether the pages are pinned for DMA (RDMA, VFIO, io_uring fixed buffers): migrating them fails (spec: 1.7 rule 3, 2.5).
    pub dma_pinned: bool,
    /// `mlock`: no rule of balancing asks for it (spec: 1.5). From 6.6 on, migrating such a page releases the LRU batch.
    pub locked: bool,
    /// Whether another process maps the same pages (spec: 1.7 rule 3, 2.2 step 5).
    pub mapped_elsewhere: bool,
    /// The CPU that touched the pages first, in order: its LRU batch holds the last of them (spec: 8 F3). `None`: all released.
    pub first_touch: Option<CpuId>,
}

/// In what order pages are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One after the other from page `start`, round and round.
    Sequential {
        /// The first page touched.
        start: u64,
    },
    /// Each touch uniform over the region.
    Uniform,
    /// The first `hot_pages_ppm` of the pages get `hot_touches_ppm` of the touches; uniform inside both parts.
    HotCold {
        /// Share of the pages, in parts per million; at least one page is hot and one is not.
        hot_pages_ppm: u32,
        /// Share of the touches.
        hot_touches_ppm: u32,
    },
    /// Page = xorshift64* output modulo the pages, walked touch by touch: the generator of the recorded workload.
    Xorshift {
        /// The generator's state before the first touch; not zero.
        state: u64,
    },
    /// Two parts by xorshift64*: output r is hot if `r % 100 < hot_percent`, the page is `r >> 20` modulo the part.
    XorshiftHotCold {
        /// The generator's state before the first touch; not zero.
        state: u64,
        /// How many pages are hot.
        hot_pages: u64,
        /// How many touches of a hundred go there.
        hot_percent: u32,
    },
}

/// How a thread touches a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchConfig {
    /// Which region.
    pub region: RegionId,
    /// Touches in a unit of work; background activity ignores it.
    pub count: u32,
    /// In what order.
    pub pattern: Pattern,
    /// Share of writes, in parts per million.
    pub write_ppm: u32,
    /// Share that misses the caches and pays memory latency, in parts per million.
    pub miss_ppm: u32,
}

/// A kind of unit of work (attribution: A10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkConfig {
    /// Its name in messages.
    pub name: String,
    /// Which thread does it.
    pub thread: ThreadId,
    /// Time on the CPU without the touches.
    pub compute: Span,
    /// The touches, in order.
    pub touches: Vec<TouchConfig>,
}

/// Of what a pattern touches, the part that one region holds: the other touches go elsewhere.
///
/// Touchers of one thread with the same clock, pattern and `pages` but other offsets are one sequence of touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// 4 KiB pages that the pattern goes over.
    pub pages: u64,
    /// Page p of the pattern is page p + offset of the region, where it has such a page.
    pub offset: i64,
}

/// Touches a thread makes by the clock: touch k is due at `start + k/rate`; after a stall the missed ones are caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackgroundConfig {
    /// Touches a second.
    pub rate_per_s: u64,
    /// When touch 0 is due.
    pub start: Nanos,
    /// Time of one touch without stalls; it limits how fast missed touches are caught up.
    pub touch_cost: Span,
    /// What is touched.
    pub touch: TouchConfig,
    /// Which part of the touches goes to the region; `None`: all, and the pattern goes over the whole region.
    pub part: Option<Part>,
}

/// Calls of a thread that change its address space: mmap, munmap, brk, mprotect. Each takes the mmap lock for writing, and
/// waits for a scan pass that is under way; what the call itself takes belongs to the thread's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapConfig {
    /// Mean time between calls, which come at random (a Poisson process).
    pub mean_gap: Span,
    /// How long a call holds the lock, in nanoseconds.
    pub hold: Cost,
    /// Whether the calls are munmap, which releases the CPU's batch of new pages (spec: 8 F3).
    pub unmaps: bool,
}

/// How a thread uses its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It polls: its CPU time runs with the wall clock.
    Spins,
    /// It sleeps and wakes: this share of the wall clock is CPU time, in parts per million.
    Duty(u32),
    /// It runs for a while at each wake-up, as a monitor does. Its CPU time grows evenly, by the share that comes of it.
    Bursts {
        /// When it first wakes up.
        start: Nanos,
        /// From one wake-up to the next.
        every: Span,
        /// How long it runs each time.
        length: Span,
    },
    /// It wakes up, makes all background touches that are due, and sleeps again. Its CPU time is that of wake-ups, touches and
    /// stalls, and only ticks that find it awake hit it. It first wakes up when its first touch is due; a unit of work, or a
    /// call, wakes it too. Others who share its CPU see its share without stalls.
    Sleeps {
        /// How long it means to sleep each time.
        sleep: Span,
        /// How much longer its timer lets it sleep (`timerslack_ns`).
        slack: Span,
        /// CPU time of going to sleep and waking up.
        wake: Span,
    },
}

/// A task's balancing state at the start (spec: 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStart {
    /// CPU time so far.
    pub runtime: Span,
    /// `node_stamp`.
    pub node_stamp: Span,
    /// `numa_scan_period` in ms.
    pub scan_period_ms: u32,
    /// `numa_scan_period_max` in ms; 0 until placement has run.
    pub scan_period_max_ms: u32,
    /// `numa_preferred_nid`.
    pub preferred: Option<NodeId>,
    /// `numa_scan_seq` of the task.
    pub scan_seq: u32,
}

/// Which scheduler class runs a thread (spec: 0.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerClass {
    /// CFS or EEVDF. Only such threads scan.
    Fair,
    /// `SCHED_FIFO`.
    Fifo,
    /// `SCHED_RR`.
    RoundRobin,
    /// `SCHED_DEADLINE`.
    Deadline,
    /// A BPF scheduler (sched_ext).
    Ext,
}

impl SchedulerClass {
    /// Whether its tick looks at the scan trigger. Threads of every class take hinting faults.
    #[must_use]
    pub fn scans(self) -> bool {
        self == SchedulerClass::Fair
    }
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadConfig {
    /// Its name in messages.
    pub name: String,
    /// Whose it is.
    pub process: ProcessId,
    /// Thread id; its low 8 bits and a 6-bit hash matter (spec: 1.6, 2.3).
    pub pid: u32,
    /// Where it runs at the start.
    pub cpu: CpuId,
    /// The CPUs it may run on (`sched_setaffinity`, or the CPUs of its cpuset), `cpu` among them; that one alone pins it.
    pub affinity: Vec<CpuId>,
    /// How it uses its CPU.
    pub activity: Activity,
    /// Its scheduler class.
    pub class: SchedulerClass,
    /// What it touches by the clock.
    pub background: Vec<BackgroundConfig>,
    /// Calls that change the address space; `None`: it makes none.
    pub mmap: Option<MmapConfig>,
    /// Whether its stalls are reported as [`crate::Effects::stalls`].
    pub reported: bool,
    /// Balancing state at the start; `None`: as created at time 0, in the order of the list (spec: 1.2).
    pub start: Option<TaskStart>,
}

impl ThreadConfig {
    /// CPU time of a second's background touches, in ns.
    pub(crate) fn touch_load(&self) -> u128 {
        let of =
            |touches: &BackgroundConfig| u128::from(touches.rate_per_s) * u128::from(touches.touch_cost.0);
        self.background.iter().map(of).sum()
    }

    /// The share of a CPU of its own that the thread would use without stalls, in parts per million.
    #[must_use]
    pub fn duty_ppm(&self) -> u64 {
        match self.activity {
            Activity::Spins => 1_000_000,
            Activity::Duty(ppm) => u64::from(ppm),
            Activity::Bursts { every, length, .. } => length.scaled(1_000_000, every.0).0,
            Activity::Sleeps { sleep, slack, wake } => {
                // A cycle of s asleep, w for the wake-up and a load of ρ by touches is awake for (w + ρs) of (w + s).
                let load = self.touch_load().min(1_000_000_000);
                let (rest, wake) = (u128::from((sleep + slack).0), u128::from(wake.0));
                let awake = wake * 1_000_000_000 + rest * load;
                u64::try_from(awake / ((wake + rest).max(1) * 1_000)).expect("a share is below one million")
            }
        }
    }
}

/// An address space's scanning state at the start (spec: 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceStart {
    /// `numa_next_scan` in ms from time 0 (the jiffy of time 0; may lie in the past); `None`: never armed.
    pub next_scan_ms: Option<i64>,
    /// `numa_scan_seq`.
    pub scan_seq: u32,
    /// `numa_scan_offset`, in pages into the first region of the process.
    pub scan_offset_pages: u64,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Its name in messages.
    pub name: String,
    /// Threads that only sleep: they count in `mm_users` (spec: 1.7).
    pub idle_threads: u32,
    /// Resident pages outside the regions (spec: 8 F13).
    pub other_resident_pages: u64,
    /// Whether unscannable mappings (stack, vdso) lie after the last region, as in every real process.
    pub mappings_after: bool,
    /// The policy of its threads.
    pub policy: Policy,
    /// `cpuset.mems`: the nodes its memory may lie on; `None`: no cpuset restricts it (spec: 1.4 step 2).
    pub mems_allowed: Option<NodeMask>,
    /// Scanning state at the start; `None`: as created at time 0 (spec: 1.2, 8 F1).
    pub start: Option<SpaceStart>,
}

/// Something done to the machine from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The thread is moved, as by `sched_setaffinity` to that CPU, which stays its only one.
    MoveThread {
        /// Which thread.
        thread: ThreadId,
        /// Where to.
        cpu: CpuId,
    },
    /// The knobs change.
    SetKnobs(Knobs),
    /// A neighbour's steady traffic from CPUs of `from` to memory of `to`; it replaces the earlier value of the pair.
    BatchLoad {
        /// Node of the CPUs.
        from: NodeId,
        /// Node of the memory.
        to: NodeId,
        /// Megabytes a second; 0 ends it.
        mbps: u64,
    },
    /// Pages that others occupy on a node; migrations to a full node are refused. It replaces the earlier value.
    MemoryPressure {
        /// The node.
        node: NodeId,
        /// Pages occupied.
        pages: u64,
    },
    /// For a while, others take a share of every CPU: units, kernel work and stalls begun meanwhile last longer.
    Steal {
        /// How long.
        length: Span,
        /// Share that is taken, in parts per million, below one million.
        share_ppm: u32,
    },
    /// For a while, interrupts that have nothing to do with balancing hit a CPU: the base time of units that begin there
    /// meanwhile grows by them (attribution: A4). It replaces the CPU's earlier storm.
    InterruptStorm {
        /// Which CPU.
        cpu: CpuId,
        /// How long; the first interrupt comes at once.
        length: Span,
        /// From one interrupt to the next.
        period: Span,
        /// How long each takes, shorter than the period.
        busy: Span,
    },
}

/// Which mechanisms take time from the machine's own background threads (attribution: A3).
///
/// The kernel's bookkeeping always uses the nominal costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charges {
    /// Hinting faults.
    pub hint_fault: bool,
    /// Migrations.
    pub migration_copy: bool,
    /// Passes and shootdowns.
    pub dispatch_jitter: bool,
}

impl Charges {
    /// Everything costs time.
    pub const ALL: Charges = Charges { hint_fault: true, migration_copy: true, dispatch_jitter: true };
    /// Balancing is free.
    pub const NONE: Charges = Charges { hint_fault: false, migration_copy: false, dispatch_jitter: false };
}

/// A whole machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Nodes and CPUs.
    pub topology: Topology,
    /// Whose rules.
    pub kernel: KernelModel,
    /// Which of them are in force.
    pub rules: Rules,
    /// A PREEMPT_RT kernel is built without balancing: no pass, no fault, whatever the knobs say (spec: 0.3).
    pub preempt_rt: bool,
    /// Scheduler ticks a second, 100 to 1000.
    pub hz: u32,
    /// When the first tick comes, below 1/HZ. Every CPU ticks together.
    pub tick_phase: Span,
    /// Settings at the start.
    pub knobs: Knobs,
    /// What things cost.
    pub costs: Costs,
    /// Which threads move by themselves.
    pub scheduler: SchedulerConfig,
    /// Address spaces.
    pub processes: Vec<ProcessConfig>,
    /// Mappings.
    pub regions: Vec<RegionConfig>,
    /// Threads.
    pub threads: Vec<ThreadConfig>,
    /// Kinds of work.
    pub works: Vec<WorkConfig>,
    /// What happens from outside, and when.
    pub disturbances: Vec<(Nanos, Disturbance)>,
    /// What costs time.
    pub charges: Charges,
}

impl MachineConfig {
    /// `TICK_NSEC`, the time from one tick to the next: whole nanoseconds, so that 300 ticks a second take 100 ns less.
    pub(crate) fn tick(&self) -> Span {
        let hz = u64::from(self.hz);
        Span((1_000_000_000 + hz / 2) / hz)
    }
}

/// `msecs_to_jiffies`, rounded up: by the nominal rate, not by the tick's whole nanoseconds.
pub(crate) fn msecs_to_jiffies(millis: u64, hz: u32) -> i64 {
    (millis * u64::from(hz)).div_ceil(1000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_as_many_jiffies_as_the_rate_says() {
        let own = |hz| msecs_to_jiffies(1000, hz);
        assert_eq!([100, 250, 300, 1000].map(own), [100, 250, 300, 1000]);
        for hz in [100, 250, 300, 1000] {
            for millis in 0..2_500 {
                let jiffies = msecs_to_jiffies(millis, hz) as u64;
                assert!(jiffies * 1000 >= millis * u64::from(hz));
                assert!(jiffies == 0 || (jiffies - 1) * 1000 < millis * u64::from(hz));
            }
        }
    }
}
