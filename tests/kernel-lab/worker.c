/* The workload: one region, mapped and first touched as the parameters say, then touched at a steady rate. */
#include "nblab.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define STACK_SIZE (256 << 10)
#define IDLE_STACK_SIZE (64 << 10)
/* Gaps and touches longer than this are kept one by one, the worst WORST of them. */
#define GAP_KEPT_NS 20000
#define TOUCH_KEPT_NS 5000

/* 500 one-byte no-operations: nearly free under emulation, an ordinary busy poll for the guest's scheduler. */
#define NOP10 "nop;nop;nop;nop;nop;nop;nop;nop;nop;nop;"
#define NOP100 NOP10 NOP10 NOP10 NOP10 NOP10 NOP10 NOP10 NOP10 NOP10 NOP10
static inline void spin_for(int rounds) {
    for (int i = 0; i < rounds; i++)
        __asm__ volatile(NOP100 NOP100 NOP100 NOP100 NOP100 ::: "memory");
}

enum pattern { SEQUENTIAL, UNIFORM, HOT_COLD, NONE };

struct touching {
    enum pattern pattern;
    u64 first, pages; /* the thread's part of the region */
    u64 phase, hot;
    long hot_percent, write;
    u64 random;
};

struct thread {
    int index, cpu;
};

static volatile char *region;
static u64 region_pages;

static int log2_bucket(u64 x) { return x ? 63 - __builtin_clzll(x) : 0; }

static void keep_worst(struct stall *kept, u64 t_us, u64 ns) {
    int least = 0;
    for (int i = 1; i < WORST; i++)
        if (kept[i].ns < kept[least].ns)
            least = i;
    if (ns > kept[least].ns)
        kept[least] = (struct stall){t_us, ns};
}

static u64 xorshift(u64 *state) {
    u64 x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 2685821657736338717ull;
}

static enum pattern pattern_of(const char *name) {
    static const char *names[] = {"seq", "rand", "hotcold", "none"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i]))
            return (enum pattern)i;
    errno = EINVAL;
    die("pattern");
}

static struct touching touching_of(int index) {
    struct touching t = {
        .pattern = pattern_of(par("pattern", "seq")),
        .pages = region_pages,
        .phase = (u64)parl("phase_pages", 0) * index,
        .hot_percent = parl("hot_touch_pct", 90),
        .write = parl("write", 1),
        .random = 88172645463325252ull ^ (parl("seed", 1) * 0x9E3779B97F4A7C15ull) ^ ((u64)index << 32),
    };
    if (parl("slice", 0)) {
        t.pages = region_pages / sh->nthreads;
        t.first = t.pages * index;
    }
    t.hot = t.pages * parl("hot_pages_pct", 10) / 100;
    if (!t.hot)
        t.hot = 1;
    return t;
}

static inline u64 next_page(struct touching *t, u64 count) {
    if (t->pattern == SEQUENTIAL)
        return t->first + (count + t->phase) % t->pages;
    u64 r = xorshift(&t->random);
    if (t->pattern == UNIFORM)
        return t->first + r % t->pages;
    if ((long)(r % 100) < t->hot_percent)
        return t->first + (r >> 20) % t->hot;
    return t->first + t->hot + (r >> 20) % (t->pages - t->hot);
}

/* Touches one page that was due at `due`; returns the time after it. */
static inline u64 touch(struct touching *t, struct worker_stats *w, u64 count, u64 due, u64 now, u64 t0) {
    u64 lag = now - due;
    volatile u64 *word = (volatile u64 *)(region + next_page(t, count) * PAGE);
    u64 before = rdtsc();
    if (t->write)
        *word += 1;
    else
        (void)*word;
    u64 after = rdtsc(), took = tsc_to_ns(after - before);
    w->hist_touch[log2_bucket(took)]++;
    w->sum_touch_ns += took;
    if (took > w->max_touch_ns)
        w->max_touch_ns = took;
    if (took > TOUCH_KEPT_NS)
        keep_worst(w->worst_touch, tsc_to_ns(before - t0) / 1000, took);
    lag = tsc_to_ns(lag);
    if (lag > w->max_lag_ns)
        w->max_lag_ns = lag;
    return after;
}

static void let_run_anywhere(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < 64; i++)
        CPU_SET(i, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void wait_for_start(void) {
    __sync_fetch_and_add(&sh->ready, 1);
    while (!sh->go) {
        struct timespec t = {0, 1000000};
        nanosleep(&t, 0);
    }
    while (rdtsc() < sh->t0_tsc)
        spin_for(1);
}

static void note_gap(struct worker_stats *w, u64 gap, u64 now, int sleeps) {
    w->hist_gap[log2_bucket(gap)]++;
    if (gap > w->max_gap_ns)
        w->max_gap_ns = gap;
    if (gap > GAP_KEPT_NS && !sleeps)
        keep_worst(w->worst_gap, tsc_to_ns(now - sh->t0_tsc) / 1000, gap);
}

static void *thread_main(void *argument) {
    struct thread *self = argument;
    struct worker_stats *w = &sh->w[self->index];
    struct touching t = touching_of(self->index);
    long rate = parl("rate", 10000), spin = parl("spin", 20), sleep_us = parl("sleep_us", 1000);
    int sleeps = !strcmp(par("mode", "spin"), "sleep"), pauses = parl("pause", 0);
    int cpus[16], ncpu = par_list("move_cpus", "2,0", cpus, 16), turn = 0;
    u64 move_ms = parl("move_ms", 0), secs = parl("secs", 30);
    w->tid = syscall(SYS_gettid);
    if (self->cpu >= 0)
        pin(self->cpu);
    else
        let_run_anywhere();
    wait_for_start();
    u64 t0 = sh->t0_tsc, end = t0 + ns_to_tsc(secs * 1000000000ull);
    u64 move = move_ms ? t0 + ns_to_tsc(move_ms * 1000000ull) : ~0ull;
    u64 count = 0, due = t0, now, last = rdtsc();
    for (;;) {
        now = rdtsc();
        note_gap(w, tsc_to_ns(now - last), now, sleeps);
        if (now >= end)
            break;
        if (now >= move) {
            turn = (turn + 1) % ncpu;
            pin(cpus[turn]);
            w->moves++;
            move += ns_to_tsc(move_ms * 1000000ull);
            now = rdtsc();
        }
        while (now >= due && now < end && t.pattern != NONE) {
            now = touch(&t, w, count, due, now, t0);
            w->touches = ++count;
            due = t0 + ns_to_tsc((u64)((unsigned __int128)count * 1000000000ull / rate));
        }
        if (sleeps) {
            struct timespec pause = {sleep_us / 1000000, sleep_us % 1000000 * 1000};
            nanosleep(&pause, 0);
            now = rdtsc();
        }
        last = now;
        if (!sleeps)
            spin_for(spin);
        if (pauses)
            __asm__ volatile("pause");
    }
    return 0;
}

/* Keeps everything mapped so far out of the scanner's reach: a mapping with a bind policy is not migrate-on-fault. */
static void bind_mappings(void) {
    struct {
        u64 from, to;
    } found[128];
    unsigned long all = all_nodes();
    char line[512], access[8];
    int n = 0, refused = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps)
        die("/proc/self/maps");
    while (n < 128 && fgets(line, sizeof line, maps)) {
        u64 from, to;
        if (sscanf(line, "%lx-%lx %7s", &from, &to, access) == 3 && from <= 0x7fffffffffff) {
            found[n].from = from;
            found[n++].to = to;
        }
    }
    fclose(maps);
    for (int i = 0; i < n; i++)
        refused += mbind((void *)found[i].from, found[i].to - found[i].from, MPOL_BIND, &all) != 0;
    printf("I aux_bind ok=%d refused=%d\n", n - refused, refused);
}

static void *sleep_for_ever(void *unused) {
    (void)unused;
    for (;;) {
        struct timespec t = {3600, 0};
        nanosleep(&t, 0);
    }
    return 0;
}

/* Idle threads only make mm_users greater than one. */
static void start_idle_threads(void) {
    long idle = parl("idle_threads", 0);
    for (long i = 0; i < idle; i++) {
        pthread_attr_t attributes;
        pthread_t id;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, IDLE_STACK_SIZE);
        if ((errno = pthread_create(&id, &attributes, sleep_for_ever, 0)))
            die("idle thread");
    }
    if (idle && parl("aux_bind", 1))
        bind_mappings();
}

static char *map_anonymous(u64 len) {
    char *around = mmap(0, len + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (around == MAP_FAILED)
        die("mmap");
    char *at = (char *)(((u64)around + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    munmap(around, len + HUGE_PAGE);
    at = mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED)
        die("mmap at a huge page's boundary");
    if (parl("thp", 0))
        madvise(at, len, MADV_HUGEPAGE);
    return at;
}

static char *map_file(const char *map, u64 len) {
    static char block[1 << 16];
    int read_only = !strcmp(map, "file_ro"), shared = !strcmp(map, "file_rw_shared");
    int fd = open(par("file", "/tmp/region.bin"), O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, len))
        die("region file");
    memset(block, 7, sizeof block);
    for (u64 at = 0; at < len; at += sizeof block)
        if (write(fd, block, sizeof block) < 0)
            die("write");
    char *at = mmap(0, len, PROT_READ | (read_only ? 0 : PROT_WRITE), shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED)
        die("mmap file");
    return at;
}

/* Gives the region its policy; the first `cut` bytes were first touched on `home`, the rest on `home_rest`. */
static void set_policy(char *at, u64 len, u64 cut, unsigned long home, unsigned long home_rest) {
    const char *policy = par("policy", "default");
    unsigned long all = all_nodes();
    long failed = 0;
    if (!strcmp(policy, "bind"))
        failed = mbind(at, len, MPOL_BIND, &home);
    else if (!strcmp(policy, "bind_all"))
        failed = mbind(at, len, MPOL_BIND, &all);
    else if (!strcmp(policy, "bind_nb"))
        failed = mbind(at, len, MPOL_BIND | MPOL_F_NUMA_BALANCING, &all);
    else if (!strcmp(policy, "bind_nb_home")) {
        failed = mbind(at, cut, MPOL_BIND | MPOL_F_NUMA_BALANCING, &home);
        if (!failed && cut < len)
            failed = mbind(at + cut, len - cut, MPOL_BIND | MPOL_F_NUMA_BALANCING, &home_rest);
    } else if (!strcmp(policy, "preferred"))
        failed = mbind(at, len, MPOL_PREFERRED, &home);
    else if (strcmp(policy, "task_bind_nb") && strcmp(policy, "default")) {
        errno = EINVAL;
        failed = 1;
    }
    if (failed)
        die("policy");
    if (!strcmp(policy, "task_bind_nb"))
        failed = set_mempolicy(MPOL_BIND | MPOL_F_NUMA_BALANCING, &all);
    else
        failed = set_mempolicy(MPOL_DEFAULT, 0);
    if (failed)
        die("policy of the task");
}

static void make_region(void) {
    const char *map = par("map", "anon");
    int anonymous = !strcmp(map, "anon");
    u64 len = (u64)parl("size_mb", 128) << 20, cut = len;
    long node = parl("alloc_node", 0), half = parl("alloc_half", -1);
    unsigned long home = 1ul << node, home_rest = home;
    if (half >= 0) {
        cut = (len / 2) & ~(HUGE_PAGE - 1);
        home_rest = 1ul << half;
    }
    if (set_mempolicy(MPOL_BIND, &home))
        die("set_mempolicy");
    char *at = anonymous ? map_anonymous(len) : map_file(map, len);
    u64 begin = mono();
    for (u64 i = 0; i < len; i += PAGE) {
        if (i == cut && set_mempolicy(MPOL_BIND, &home_rest))
            die("set_mempolicy");
        if (anonymous)
            *(volatile char *)(at + i) = 1;
        else
            (void)*(volatile char *)(at + i);
    }
    u64 end = mono();
    set_policy(at, len, cut, home, home_rest);
    region = at;
    region_pages = len / PAGE;
    sh->region = (u64)at;
    sh->len = len;
    printf("I first_touch_ms=%.3f pages=%lu setup_done_after_exec_ms=%.3f\n", (end - begin) / 1e6, region_pages,
           (mono() - sh->exec_mono_ns) / 1e6);
    fflush(stdout);
}

int worker(int fd) {
    static struct thread threads[MAX_THREADS];
    pthread_attr_t attributes[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    int cpus[MAX_THREADS], n = par_list("cpus", "2", cpus, MAX_THREADS);
    sh = mmap(0, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (sh == MAP_FAILED)
        die("shared block");
    sh->exec_mono_ns = mono();
    if (!parl("thp", 0))
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    /* The stacks exist before the mappings are bound; the threads come when the region is ready. */
    for (int i = 1; i < n; i++) {
        void *stack = mmap(0, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(stack, 1, STACK_SIZE);
        pthread_attr_init(&attributes[i]);
        pthread_attr_setstack(&attributes[i], stack, STACK_SIZE);
    }
    pin(parl("setup_cpu", cpus[0] >= 0 ? cpus[0] : 2));
    free(malloc(100000)); /* so that the heap is there to be bound */
    printf("I worker pid=%d\n", getpid());
    if (parl("aux_bind", 1))
        bind_mappings();
    start_idle_threads();
    make_region();
    sh->nthreads = n;
    for (int i = 0; i < n; i++)
        threads[i] = (struct thread){i, cpus[i]};
    for (int i = 1; i < n; i++)
        if ((errno = pthread_create(&ids[i], &attributes[i], thread_main, &threads[i])))
            die("thread");
    thread_main(&threads[0]);
    for (int i = 1; i < n; i++)
        pthread_join(ids[i], 0);
    sh->done = 1;
    while (sh->done != 2) {
        struct timespec t = {0, 1000000};
        nanosleep(&t, 0);
    }
    _exit(0);
}
