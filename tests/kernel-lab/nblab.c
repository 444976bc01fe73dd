/* nblab: one recorded run of Linux automatic NUMA balancing.
 *
 *   nblab key=value ...            the sampler: starts the worker, reads counters every period_ms, prints the rows at the end
 *   nblab --worker key=value ...   the worker: maps the region and touches it (worker.c)
 *
 * Static and without libnuma, run as root in the guest. Each line of output begins with a tag; lab.py makes CSV and
 * JSON of them. The keys are documented in README.md.
 */
#include "nblab.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

struct shared *sh;
static int argument_count;
static char **arguments;

static const char *vmstat_names[] = {
    "numa_pte_updates",  "numa_huge_pte_updates", "numa_hint_faults", "numa_hint_faults_local", "numa_pages_migrated",
    "pgmigrate_success", "pgmigrate_fail",        "thp_migration_success", "pgpromote_success",
    "pgpromote_candidate", "numa_hit",            "numa_miss",        "numa_foreign",           "numa_interleave",
    "numa_local",        "numa_other",            "numa_task_migrated", "pgfault",              "nr_isolated_anon",
};
#define COUNTERS ((int)(sizeof vmstat_names / sizeof *vmstat_names))
/* The only one that is a level and not a count. */
#define LEVEL (COUNTERS - 1)

struct row {
    u64 t_ns;
    s64 vmstat[COUNTERS];
    s64 pages_on[MAX_NODES];
    int has_pages;
    struct mm_fields mm;
    struct {
        u64 touches, max_touch, max_gap, max_lag;
        struct task_fields task;
        int cpu;
    } w[MAX_THREADS];
};

void die(const char *what) {
    printf("E %s: %s\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

const char *par(const char *key, const char *otherwise) {
    size_t n = strlen(key);
    for (int i = 1; i < argument_count; i++)
        if (!strncmp(arguments[i], key, n) && arguments[i][n] == '=')
            return arguments[i] + n + 1;
    return otherwise;
}

long parl(const char *key, long otherwise) {
    const char *text = par(key, NULL);
    return text ? strtol(text, NULL, 0) : otherwise;
}

int par_list(const char *key, const char *otherwise, int *list, int max) {
    char text[64], *rest = text, *part;
    int n = 0;
    snprintf(text, sizeof text, "%s", par(key, otherwise));
    while (n < max && (part = strsep(&rest, ",")))
        list[n++] = atoi(part);
    return n;
}

void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        die("sched_setaffinity");
}

u64 mono(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int node_count(void) {
    char name[64];
    for (int n = 0;; n++) {
        sprintf(name, "/sys/devices/system/node/node%d", n);
        if (access(name, F_OK))
            return n;
    }
}

static void sleep_ns(u64 ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    nanosleep(&t, 0);
}

/* A counter that the kernel does not have stays -1 and is printed as nothing. */
static void read_vmstat(int fd, s64 *out) {
    static char text[32768];
    ssize_t n = 0, got;
    for (int i = 0; i < COUNTERS; i++)
        out[i] = -1;
    lseek(fd, 0, SEEK_SET);
    while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += got;
    text[n] = 0;
    for (char *line = text; *line;) {
        char *space = strchr(line, ' '), *end = strchr(line, '\n');
        if (!space || !end)
            break;
        for (int i = 0; i < COUNTERS && strchr("npt", *line); i++)
            if (!strncmp(line, vmstat_names[i], space - line) && !vmstat_names[i][space - line]) {
                out[i] = strtoll(space, 0, 10);
                break;
            }
        line = end + 1;
    }
}

static void count_pages(int pid, s64 *on) {
    static char line[4096];
    char name[64];
    memset(on, 0, MAX_NODES * sizeof *on);
    sprintf(name, "/proc/%d/numa_maps", pid);
    FILE *f = fopen(name, "r");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        u64 address = strtoull(line, 0, 16);
        if (address < sh->region || address >= sh->region + sh->len)
            continue;
        for (char *p = line; (p = strstr(p, " N")); p++) {
            int node;
            long pages;
            if (sscanf(p, " N%d=%ld", &node, &pages) == 2 && node < MAX_NODES)
                on[node] += pages;
        }
    }
    fclose(f);
}

static void print_pages(const char *when, int pid) {
    s64 on[MAX_NODES];
    count_pages(pid, on);
    printf("P %s", when);
    for (int n = 0; n < node_count(); n++)
        printf(" N%d=%ld", n, on[n]);
    printf("\n");
}

static void print_sched(const char *tag, int pid) {
    char name[64], line[512];
    for (int t = 0; t < sh->nthreads; t++) {
        sprintf(name, "/proc/%d/task/%d/sched", pid, sh->w[t].tid);
        FILE *f = fopen(name, "r");
        if (!f)
            continue;
        while (fgets(line, sizeof line, f))
            if (strstr(line, "numa") || strstr(line, "sum_exec") || strstr(line, "nr_migrations") ||
                strstr(line, "node") || strstr(line, "mm->"))
                printf("%s %s", tag, line);
        fclose(f);
    }
}

/* The worker's mappings, as /proc shows them: where the scanner may stop. */
static void print_mappings(int pid) {
    static const char *files[] = {"maps", "numa_maps"};
    char name[64], line[512];
    for (int i = 0; i < 2; i++) {
        sprintf(name, "/proc/%d/%s", pid, files[i]);
        FILE *f = fopen(name, "r");
        if (!f)
            continue;
        while (fgets(line, sizeof line, f))
            printf("V %s %s", files[i], line);
        fclose(f);
    }
}

/* The zones of the filled node: how much of it balancing may still take. */
static void print_zones(void) {
    static char line[512];
    char zone[32] = "";
    long wanted = parl("ballast_node", 1), node = -1, free = 0, low = 0, high = 0, managed = 0, value;
    FILE *f = fopen("/proc/zoneinfo", "r");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *list = strstr(line, "protection: (");
        if (sscanf(line, "Node %ld, zone %31s", &value, zone) == 2)
            node = value;
        else if (sscanf(line, " pages free %ld", &value) == 1)
            free = value;
        else if (sscanf(line, " low %ld", &value) == 1)
            low = value;
        else if (sscanf(line, " high %ld", &value) == 1)
            high = value;
        else if (sscanf(line, " managed %ld", &value) == 1)
            managed = value;
        else if (list && node == wanted && managed)
            /* The last number protects a zone against allocations that may use every zone, as those of user pages may. */
            printf("I zone node=%ld name=%s free=%ld low=%ld high=%ld protection=%ld\n", node, zone, free, low, high,
                   atol(strrchr(list, ' ') + 1));
    }
    fclose(f);
}

/* The CPU on which a thread ran last: field 39 of its stat file. */
static int cpu_of(int pid, int tid) {
    char name[64], text[1024];
    sprintf(name, "/proc/%d/task/%d/stat", pid, tid);
    int fd = open(name, O_RDONLY), field = 2;
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    for (char *p = strrchr(text, ')'); p && *p; p++)
        if (*p == ' ' && ++field == 39)
            return atoi(p + 1);
    return -1;
}

static pid_t start_worker(int fd) {
    char *own[64], shared_fd[16];
    int n = 0;
    pid_t pid = fork();
    if (pid)
        return pid;
    sprintf(shared_fd, "fd=%d", fd);
    own[n++] = arguments[0];
    own[n++] = "--worker";
    for (int i = 1; i < argument_count && n < 60; i++)
        own[n++] = arguments[i];
    own[n++] = shared_fd;
    own[n] = 0;
    set_mempolicy(MPOL_DEFAULT, 0);
    execv("/proc/self/exe", own);
    die("exec");
}

static void must_live(pid_t pid) {
    if (waitpid(pid, 0, WNOHANG) == pid) {
        errno = ECHILD;
        die("worker died");
    }
}

static u64 measure_tsc_khz(void) {
    u64 ns = mono(), tsc = rdtsc();
    sleep_ns(200000000);
    u64 ns_after = mono(), tsc_after = rdtsc();
    return (u64)((double)(tsc_after - tsc) * 1e6 / (ns_after - ns) + 0.5);
}

static void read_row(struct row *r, int pid, int vmstat, u64 mm, const u64 *tasks) {
    int with_cpu = parl("cpu_sample", 0);
    read_vmstat(vmstat, r->vmstat);
    if (mm)
        kcore_read_mm(mm, &r->mm);
    for (int t = 0; t < sh->nthreads; t++) {
        struct worker_stats *w = &sh->w[t];
        r->w[t].touches = w->touches;
        r->w[t].max_touch = __sync_lock_test_and_set(&w->max_touch_ns, 0);
        r->w[t].max_gap = __sync_lock_test_and_set(&w->max_gap_ns, 0);
        r->w[t].max_lag = __sync_lock_test_and_set(&w->max_lag_ns, 0);
        if (tasks[t])
            kcore_read_task(tasks[t], &r->w[t].task);
        if (with_cpu)
            r->w[t].cpu = cpu_of(pid, w->tid);
    }
}

/* Row 0 is read just before the start, the others at their times. */
static void sample(struct row *rows, long count, int pid, int vmstat, u64 mm, const u64 *tasks) {
    long period = parl("period_ms", 100), maps_every = parl("place_every_ms", 1000) / period;
    u64 t0 = sh->t0_mono_ns;
    for (long i = 0; i <= count; i++) {
        u64 at = t0 + (u64)i * period * 1000000;
        struct timespec t = {at / 1000000000, at % 1000000000};
        if (i)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0);
        rows[i].t_ns = mono() - t0;
        read_row(&rows[i], pid, vmstat, mm, tasks);
        if (i % maps_every == 0) {
            count_pages(pid, rows[i].pages_on);
            rows[i].has_pages = 1;
        }
    }
}

static void print_header(void) {
    static const char *thread_columns[] = {
        "touches",        "max_touch_ns",    "max_gap_ns",         "max_lag_ns",    "runtime_ms",
        "node_stamp_ms",  "scan_period_ms",  "scan_period_max_ms", "preferred_nid", "total_numa_faults",
        "pages_migrated", "locality_remote", "locality_local",     "locality_failed"};
    int nodes = node_count();
    printf("C time_ms");
    for (int i = 0; i < COUNTERS; i++)
        printf(",%s", vmstat_names[i]);
    printf(",mm_numa_scan_seq,mm_numa_scan_offset_mb,mm_next_scan_in_ms");
    for (int n = 0; n < nodes; n++)
        printf(",place_n%d", n);
    for (int t = 0; t < sh->nthreads; t++) {
        for (unsigned i = 0; i < sizeof thread_columns / sizeof *thread_columns; i++)
            printf(",t%d_%s", t, thread_columns[i]);
        for (int n = 0; n < nodes; n++)
            printf(",t%d_faults_n%d_shared,t%d_faults_n%d_priv", t, n, t, n);
        if (parl("cpu_sample", 0))
            printf(",t%d_cpu", t);
    }
    printf("\n");
}

static void print_row(const struct row *r, const struct row *first, int nodes, int with_cpu) {
    printf("R %.1f", (s64)r->t_ns / 1e6);
    for (int i = 0; i < COUNTERS; i++)
        if (r->vmstat[i] < 0)
            printf(",");
        else
            printf(",%ld", r->vmstat[i] - (i == LEVEL ? 0 : first->vmstat[i]));
    double offset_mb = r->mm.offset ? ((s64)r->mm.offset - (s64)sh->region) / 1048576.0 : 0.0;
    printf(",%lu,%.3f,%ld", r->mm.seq, offset_mb, r->mm.next_scan_in_ms);
    for (int n = 0; n < nodes; n++)
        if (r->has_pages)
            printf(",%ld", r->pages_on[n]);
        else
            printf(",");
    for (int t = 0; t < sh->nthreads; t++) {
        const struct task_fields *k = &r->w[t].task;
        printf(",%lu,%lu,%lu,%lu", r->w[t].touches, r->w[t].max_touch, r->w[t].max_gap, r->w[t].max_lag);
        printf(",%.3f,%.3f,%u,%u,%d,%lu,%lu,%lu,%lu,%lu", k->runtime / 1e6, k->stamp / 1e6, k->scan_period,
               k->scan_period_max, k->preferred, k->total_faults, k->pages_migrated, k->locality[0], k->locality[1],
               k->locality[2]);
        for (int n = 0; n < nodes; n++)
            printf(",%lu,%lu", k->faults[n][0], k->faults[n][1]);
        if (with_cpu)
            printf(",%d", r->w[t].cpu);
    }
    printf("\n");
}

static void print_stalls(const char *what, int thread, const u64 *histogram, const struct stall *kept) {
    printf("H %s %d", what, thread);
    for (int i = 0; i < BUCKETS; i++)
        printf(" %lu", histogram[i]);
    printf("\nW %s %d", what, thread);
    for (int i = 0; i < WORST; i++)
        printf(" %lu:%lu", kept[i].t_us, kept[i].ns);
    printf("\n");
}

static void print_result(const struct row *rows, long count) {
    int nodes = node_count(), with_cpu = parl("cpu_sample", 0);
    print_header();
    for (long i = 0; i <= count; i++)
        print_row(&rows[i], &rows[0], nodes, with_cpu);
    for (int t = 0; t < sh->nthreads; t++) {
        struct worker_stats *w = &sh->w[t];
        print_stalls("touch", t, w->hist_touch, w->worst_touch);
        print_stalls("gap", t, w->hist_gap, w->worst_gap);
        printf("T %d touches=%lu sum_touch_ns=%lu moves=%lu\n", t, w->touches, w->sum_touch_ns, w->moves);
    }
}

/* Fills a node with memory that nothing moves, so that it has no room for the region. */
static void fill_node(void) {
    unsigned long on = 1ul << parl("ballast_node", 1);
    u64 len = (u64)parl("ballast_mb", 0) << 20;
    if (!len)
        return;
    char *at = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mbind(at, len, MPOL_BIND, &on))
        die("ballast");
    for (u64 i = 0; i < len; i += PAGE)
        at[i] = 1;
}

static void record(int fd) {
    u64 tasks[MAX_THREADS] = {0};
    long count = parl("secs", 30) * 1000 / parl("period_ms", 100);
    struct row *rows = mmap(0, (count + 2) * sizeof *rows, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    fill_node();
    kcore_open();
    int vmstat = open("/proc/vmstat", O_RDONLY);
    sleep_ns((u64)parl("start_jitter_us", 0) * 1000);
    fflush(stdout);
    u64 fork_ns = mono();
    pid_t pid = start_worker(fd);
    while (!sh->nthreads || sh->ready < sh->nthreads) {
        sleep_ns(1000000);
        must_live(pid);
    }
    for (int t = 0; t < sh->nthreads; t++)
        tasks[t] = kcore_task(pid, sh->w[t].tid);
    print_pages("before", pid);
    print_sched("S0", pid);
    if (parl("maps", 0))
        print_mappings(pid);
    if (parl("ballast_mb", 0))
        print_zones();
    fflush(stdout);
    u64 t0 = mono() + 5000000; /* the start lies 5 ms ahead, so that row 0 is read before it */
    sh->t0_mono_ns = t0;
    sh->t0_tsc = rdtsc() + ns_to_tsc(t0 - mono());
    printf("I t0_after_fork_ms=%.3f t0_after_exec_ms=%.3f tsc_khz=%lu\n", (t0 - fork_ns) / 1e6,
           (t0 - sh->exec_mono_ns) / 1e6, sh->tsc_khz);
    sh->go = 1;
    sample(rows, count, pid, vmstat, kcore_mm(tasks[0]), tasks);
    while (!sh->done) {
        sleep_ns(2000000);
        must_live(pid);
    }
    if (parl("sched_text", 1))
        print_sched("S1", pid);
    if (parl("cpupids", 0))
        kcore_cpupids(pid);
    print_pages("after", pid);
    print_result(rows, count);
    sh->done = 2;
    waitpid(pid, 0, 0);
}

int main(int count, char **values) {
    setvbuf(stdout, 0, _IOLBF, 0);
    argument_count = count;
    arguments = values;
    if (count > 1 && !strcmp(values[1], "--worker"))
        return worker(parl("fd", 3));
    unsigned long all = all_nodes();
    pin(parl("sampler_cpu", 1));
    if (set_mempolicy(MPOL_BIND, &all)) /* the sampler itself is never scanned */
        die("policy of the sampler");
    int fd = memfd_create("nblab", 0);
    if (fd < 0 || ftruncate(fd, sizeof *sh))
        die("memfd");
    sh = mmap(0, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (sh == MAP_FAILED)
        die("shared block");
    sh->tsc_khz = measure_tsc_khz();
    record(fd);
    printf("D done\n");
    fflush(stdout);
    return 0;
}
