/* The scanner's own fields, read from /proc/kcore at the offsets that the kernel's type information gives. */
#include "nblab.h"
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Kinds of the kernel's type format (BTF). */
#define BTF_MAGIC 0xeb9f
#define BTF_STRUCT 4
#define BTF_UNION 5
#define BTF_KINDS 20
#define BTF_TYPES_MAX (1u << 20)
#define BTF_SIZE_MAX (64ul << 20)
/* Tasks and threads walked before giving up. */
#define TASKS_MAX 5000
#define THREADS_MAX 64
/* The traced kernels run at 250 ticks a second. */
#define MS_PER_JIFFY 4

struct type {
    u32 name, info, size;
};

static int kcore = -1, ready;
static Elf64_Phdr *segments;
static int nsegments;
static unsigned char *types;
static const char *strings;
static u32 *type_at, ntypes;

static struct {
    long tasks, pid, mm, signal, thread_head, thread_node;
    long period, period_max, stamp, preferred, total, migrated, locality, faults, entity, runtime;
    long next_scan, seq, offset;
} at;
static u64 jiffies;
static int possible_nodes;

static int read_kernel(u64 address, void *into, size_t length) {
    for (int i = 0; i < nsegments; i++) {
        Elf64_Phdr *s = &segments[i];
        if (s->p_type == PT_LOAD && address >= s->p_vaddr && address + length <= s->p_vaddr + s->p_memsz)
            return pread(kcore, into, length, address - s->p_vaddr + s->p_offset) == (ssize_t)length ? 0 : -1;
    }
    return -1;
}

static u64 kernel64(u64 address) {
    u64 value = 0;
    return read_kernel(address, &value, sizeof value) ? 0 : value;
}

static u32 kernel32(u64 address) {
    u32 value = 0;
    return read_kernel(address, &value, sizeof value) ? 0 : value;
}

static u32 kind(const struct type *t) { return t->info >> 24 & 31; }
static u32 members(const struct type *t) { return t->info & 0xffff; }
static struct type *type(u32 id) { return (struct type *)(types + type_at[id]); }

/* Finds where each type begins; a kind that is not known cannot be skipped. */
static int index_types(u32 length) {
    static const unsigned char extra[BTF_KINDS] = {0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0};
    static const unsigned char each[BTF_KINDS] = {0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12};
    type_at = mmap(0, BTF_TYPES_MAX * sizeof(u32), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ntypes = 1; /* type 0 is void */
    for (u32 offset = 0; offset < length && ntypes < BTF_TYPES_MAX;) {
        struct type *t = (struct type *)(types + offset);
        if (kind(t) >= BTF_KINDS)
            return -1;
        type_at[ntypes++] = offset;
        offset += sizeof *t + extra[kind(t)] + each[kind(t)] * members(t);
    }
    return 0;
}

static int load_types(void) {
    int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY);
    if (fd < 0)
        return -1;
    unsigned char *all = mmap(0, BTF_SIZE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t n = 0;
    ssize_t got;
    while ((got = read(fd, all + n, BTF_SIZE_MAX - n)) > 0)
        n += got;
    close(fd);
    if (n < 24 || *(uint16_t *)all != BTF_MAGIC)
        return -1;
    u32 header = *(u32 *)(all + 4), type_offset = *(u32 *)(all + 8), type_length = *(u32 *)(all + 12);
    types = all + header + type_offset;
    strings = (char *)all + header + *(u32 *)(all + 16);
    return index_types(type_length);
}

/* Offset of a member in bytes, through unnamed structs and unions; -1 when there is none. */
static long member_in(u32 id, const char *member) {
    struct type *t = type(id);
    u32 *m = (u32 *)(t + 1); /* name, type, offset in bits */
    int bitfields = t->info >> 31;
    for (u32 i = 0; i < members(t); i++, m += 3) {
        u32 bits = bitfields ? m[2] & 0xffffff : m[2];
        if (m[0] && !strcmp(strings + m[0], member))
            return bits / 8;
        if (m[0] && strings[m[0]])
            continue;
        u32 inner = kind(type(m[1]));
        if (inner == BTF_STRUCT || inner == BTF_UNION) {
            long found = member_in(m[1], member);
            if (found >= 0)
                return found + bits / 8;
        }
    }
    return -1;
}

static long offset_of(const char *structure, const char *member) {
    for (u32 id = 1; id < ntypes; id++) {
        struct type *t = type(id);
        if (kind(t) == BTF_STRUCT && t->name && members(t) && !strcmp(strings + t->name, structure)) {
            long found = member_in(id, member);
            if (found >= 0)
                return found;
        }
    }
    printf("I btf_missing %s.%s\n", structure, member);
    return -1;
}

static u64 symbol(const char *name) {
    FILE *f = fopen("/proc/kallsyms", "r");
    char line[512], found[256], class;
    u64 address, result = 0;
    if (!f)
        return 0;
    while (!result && fgets(line, sizeof line, f))
        if (sscanf(line, "%lx %c %255s", &address, &class, found) == 3 && !strcmp(found, name))
            result = address;
    fclose(f);
    return result;
}

static int load_segments(void) {
    Elf64_Ehdr header;
    kcore = open("/proc/kcore", O_RDONLY);
    if (kcore < 0 || pread(kcore, &header, sizeof header, 0) != sizeof header)
        return -1;
    size_t length = header.e_phnum * sizeof *segments;
    segments = malloc(length);
    nsegments = header.e_phnum;
    return pread(kcore, segments, length, header.e_phoff) == (ssize_t)length ? 0 : -1;
}

void kcore_open(void) {
    if (load_segments() || load_types()) {
        printf("I kcore_or_btf_unavailable\n");
        return;
    }
    at.tasks = offset_of("task_struct", "tasks");
    at.pid = offset_of("task_struct", "pid");
    at.mm = offset_of("task_struct", "mm");
    at.signal = offset_of("task_struct", "signal");
    at.thread_head = offset_of("signal_struct", "thread_head");
    at.thread_node = offset_of("task_struct", "thread_node");
    at.period = offset_of("task_struct", "numa_scan_period");
    at.period_max = offset_of("task_struct", "numa_scan_period_max");
    at.stamp = offset_of("task_struct", "node_stamp");
    at.preferred = offset_of("task_struct", "numa_preferred_nid");
    at.total = offset_of("task_struct", "total_numa_faults");
    at.migrated = offset_of("task_struct", "numa_pages_migrated");
    at.locality = offset_of("task_struct", "numa_faults_locality");
    at.faults = offset_of("task_struct", "numa_faults");
    at.entity = offset_of("task_struct", "se");
    at.runtime = offset_of("sched_entity", "sum_exec_runtime");
    at.next_scan = offset_of("mm_struct", "numa_next_scan");
    at.seq = offset_of("mm_struct", "numa_scan_seq");
    at.offset = offset_of("mm_struct", "numa_scan_offset");
    jiffies = symbol("jiffies");
    u64 nodes = symbol("nr_node_ids");
    possible_nodes = nodes ? (int)kernel32(nodes) : node_count();
    ready = 1;
    printf("I kcore ok nr_node_ids=%d\n", possible_nodes);
}

static u64 thread_of(u64 leader, int tid) {
    u64 head = kernel64(leader + at.signal) + at.thread_head, link = head;
    for (int i = 0; i < THREADS_MAX; i++) {
        link = kernel64(link);
        if (link == head || !link)
            return 0;
        if ((int)kernel32(link - at.thread_node + at.pid) == tid)
            return link - at.thread_node;
    }
    return 0;
}

u64 kcore_task(int tgid, int tid) {
    u64 first = symbol("init_task"), task = first;
    if (!ready || !first)
        return 0;
    for (int i = 0; i < TASKS_MAX; i++) {
        task = kernel64(task + at.tasks) - at.tasks;
        if (task == first || !task)
            return 0;
        if ((int)kernel32(task + at.pid) == tgid)
            return thread_of(task, tid);
    }
    return 0;
}

u64 kcore_mm(u64 task) { return task ? kernel64(task + at.mm) : 0; }

void kcore_read_task(u64 task, struct task_fields *out) {
    out->scan_period = kernel32(task + at.period);
    out->scan_period_max = kernel32(task + at.period_max);
    out->preferred = (int)kernel32(task + at.preferred);
    out->stamp = kernel64(task + at.stamp);
    out->runtime = kernel64(task + at.entity + at.runtime);
    out->total_faults = kernel64(task + at.total);
    out->pages_migrated = kernel64(task + at.migrated);
    read_kernel(task + at.locality, out->locality, sizeof out->locality);
    u64 faults = kernel64(task + at.faults);
    for (int n = 0; faults && n < possible_nodes && n < MAX_NODES; n++)
        for (int private = 0; private < 2; private++)
            out->faults[n][private] = kernel64(faults + 8 * (2 * n + private));
}

void kcore_read_mm(u64 mm, struct mm_fields *out) {
    out->seq = kernel32(mm + at.seq);
    out->offset = kernel64(mm + at.offset);
    out->next_scan_in_ms = ((s64)kernel64(mm + at.next_scan) - (s64)kernel64(jiffies)) * MS_PER_JIFFY;
}

void kcore_cpupids(int pid) {
    const int shown = 48;
    if (!ready)
        return;
    long offset = offset_of("page", "_last_cpupid");
    u64 memmap = kernel64(symbol("vmemmap_base"));
    char name[64];
    sprintf(name, "/proc/%d/pagemap", pid);
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return;
    printf("I last_cpupid_offset=%ld vmemmap_base=%lx\nL", offset, memmap);
    for (int i = 0; i < shown; i++) {
        u64 page = i * (sh->len / PAGE / shown), entry = 0;
        if (pread(fd, &entry, 8, (sh->region / PAGE + page) * 8) != 8 || !(entry >> 63))
            continue;
        u64 descriptor = memmap + (entry & ((1ull << 55) - 1)) * 64;
        if (offset < 0) { /* it stands in the flags of the page: raw */
            printf(" %lu:flags=%016lx", page, kernel64(descriptor));
            continue;
        }
        u32 cpupid = kernel32(descriptor + offset);
        printf(" %lu:cpu%u,pid%u", page, cpupid >> 8 & 0x1fff, cpupid & 255);
    }
    printf("\n");
    close(fd);
}
