/* What the two halves of nblab share: the parameters, the clock and the block of memory between them. */
#ifndef NBLAB_H
#define NBLAB_H

#define _GNU_SOURCE
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ul
#define HUGE_PAGE (2ul << 20)
#define MAX_THREADS 4
#define MAX_NODES 8
#define BUCKETS 48
#define WORST 16

/* Policies as the system calls number them; no libnuma in the guest. */
#define MPOL_DEFAULT 0
#define MPOL_PREFERRED 1
#define MPOL_BIND 2
#define MPOL_F_NUMA_BALANCING (1 << 13)

typedef uint64_t u64;
typedef int64_t s64;
typedef uint32_t u32;

struct stall {
    u64 t_us, ns;
};

/* One worker thread. The sampler resets the max_ fields at each row; everything else only grows. */
struct worker_stats {
    volatile u64 touches, max_touch_ns, max_gap_ns, max_lag_ns;
    volatile int tid;
    u64 hist_touch[BUCKETS], hist_gap[BUCKETS]; /* by log2 of ns */
    u64 sum_touch_ns;
    struct stall worst_touch[WORST], worst_gap[WORST];
    u64 moves;
};

struct shared {
    volatile int ready, go, done, nthreads;
    volatile u64 t0_tsc, t0_mono_ns, tsc_khz;
    volatile u64 region, len;
    u64 exec_mono_ns;
    struct worker_stats w[MAX_THREADS];
};

extern struct shared *sh;

/* A parameter given as key=value, or the default. */
const char *par(const char *key, const char *otherwise);
long parl(const char *key, long otherwise);
/* A list of numbers given as key=1,2,3: how many were read. */
int par_list(const char *key, const char *otherwise, int *list, int max);

void die(const char *what) __attribute__((noreturn));
void pin(int cpu);
int node_count(void);
u64 mono(void);

static inline unsigned long all_nodes(void) { return (1ul << node_count()) - 1; }

static inline long set_mempolicy(int mode, const unsigned long *mask) {
    return syscall(SYS_set_mempolicy, mode, mask, mask ? 64ul : 0ul);
}

static inline long mbind(void *at, unsigned long len, int mode, const unsigned long *mask) {
    return syscall(SYS_mbind, at, len, mode, mask, 64ul, 0);
}

static inline u64 rdtsc(void) {
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static inline u64 tsc_to_ns(u64 t) { return (u64)((unsigned __int128)t * 1000000u / sh->tsc_khz); }
static inline u64 ns_to_tsc(u64 n) { return (u64)((unsigned __int128)n * sh->tsc_khz / 1000000u); }

/* worker.c */
int worker(int fd);

/* kcore.c: the scanner's own fields, read from kernel memory. */
struct task_fields {
    u64 runtime, stamp, total_faults, pages_migrated;
    u64 locality[3]; /* remote, local, failed */
    u64 faults[MAX_NODES][2];
    u32 scan_period, scan_period_max;
    int preferred;
};

struct mm_fields {
    u64 seq, offset;
    s64 next_scan_in_ms;
};

/* Says in the output what is missing when kernel memory cannot be read; all fields are 0 then. */
void kcore_open(void);
u64 kcore_task(int tgid, int tid);
u64 kcore_mm(u64 task);
void kcore_read_task(u64 task, struct task_fields *out);
void kcore_read_mm(u64 mm, struct mm_fields *out);
/* Prints the last cpupid of 48 pages of the region. */
void kcore_cpupids(int pid);

#endif
