#!/usr/bin/env python3
"""The runs that the lab knows, in groups. Run alone, it prints them as JSON."""
import json

GROUPS = {
    "reference": "the base workload, its variants and repeats",
    "patch": "which patch level of 6.12 clears the locality counters when a task backs off",
    "moves": "unpinned threads: the kernel moves the task, or the load balancer does",
    "sleep": "threads that sleep between their touches",
    "threads": "several busy threads: on one CPU, on three, moved together",
    "huge": "transparent huge pages: shared, single-threaded, a region that ends in base pages",
    "mappings": "policies and files",
    "knobs": "scan settings at their ends, tiering mode",
    "topology": "four nodes, and two far ones",
    "pressure": "a node without room for the region that it pulls",
}
BOTH = ("6.12", "6.1")
# With scan settings this fast, a thread that mostly sleeps is scanned within seconds.
FAST = dict(scan_period_min_ms=100, scan_delay_ms=100)
PAIR = dict(idle_threads=0, pause=1, pattern="rand")
FREE = dict(setup_cpu=2, pattern="rand", cpu_sample=1)


def groups():
    return GROUPS


class List:
    """Collects runs; args not given are those of the base workload."""

    def __init__(self):
        self.runs = []

    def add(self, group, name, note, kernel="6.12", topo="2n", accel="icount", seed=1, env=None, **args):
        base = dict(pattern="seq", size_mb=128, alloc_node=0, cpus="2", rate=20000, secs=30, idle_threads=1)
        self.runs.append(
            dict(
                name=name,
                group=group,
                note=note,
                kernel=kernel,
                topo=topo,
                accel=accel,
                shift=0,
                seed=seed,
                env=env or {},
                args={**base, **args},
            )
        )

    def on(self, kernels, group, name, note, **args):
        """The same run on several kernels: k612_NAME, k61_NAME."""
        for kernel in kernels:
            self.add(group, f"k{kernel.replace('.', '')}_{name}", note, kernel=kernel, **{"secs": 12, **args})


def reference(r):
    def add(name, note, **more):
        r.add("reference", name, note, **more)

    two = dict(cpus="0,2", idle_threads=0, pause=1)
    add("a_seq_mt", "base: sequential sweep, memory on node 0, thread on node 1, one idle thread (mm_users 2)")
    add("a_seq_st", "base, truly single-threaded process", idle_threads=0)
    add("b_rand_mt", "uniform random touches", pattern="rand")
    add("e_local_mt", "all memory already local; back-off", alloc_node=1, secs=90)
    add("e_local_st", "local, single-threaded", alloc_node=1, idle_threads=0, secs=40)
    add("s_size16", "scan_size 16, 512 MiB", env=dict(scan_size_mb=16), size_mb=512, rate=50000, secs=60)
    add("s_size256", "scan_size 256 (default), 512 MiB", size_mb=512, rate=50000, secs=40)
    add("s_pmin100", "scan_period_min 100", env=dict(scan_period_min_ms=100))
    add("s_delay5000", "scan_delay 5000", env=dict(scan_delay_ms=5000), secs=40)
    add("f_move5", "thread moved between the nodes every 5 s", move_ms=5000, move_cpus="2,0", secs=40)
    add("nb0", "numa_balancing 0", env=dict(NB=0), secs=15)
    add("k61_seq_mt", "base on 6.1", kernel="6.1")
    add("k61_local_mt", "local on 6.1", kernel="6.1", alloc_node=1, secs=90)
    add("k61_shared_rand", "shared random on 6.1", kernel="6.1", pattern="rand", secs=40, **two)
    add("k61_thp_seq", "huge pages on 6.1", kernel="6.1", thp=1, size_mb=256)
    for seed, offset in ((2, 137000), (3, 411000)):
        again = dict(seed=seed, start_jitter_us=offset)
        note = f", other boot seed, start {offset} us later"
        add(f"v_seq_mt_r{seed}", "a_seq_mt again" + note, **again)
        add(f"v_shared_rand_r{seed}", "shared random" + note, pattern="rand", secs=40, **two, **again)
        add(f"v_unpinned_r{seed}", "unpinned, memory on node 0, starts on node 1" + note, cpus="-1", **FREE, **again)
    add("m_seq_mt_r1", "a_seq_mt on the host's clock", accel="mttcg", secs=20, rate=5000, size_mb=64)
    m_shared = dict(cpus="0,2", idle_threads=0, rate=5000, size_mb=64, cpupids=1)
    add("m_shared", "two threads on two nodes on the host's clock", accel="mttcg", pattern="rand", **m_shared)
    add("d_shared_same_node", "two threads on node 1, random", cpus="2,3", **PAIR)
    add("d_shared_phase", "two threads on two nodes, sweeps half a region apart", phase_pages=16384, secs=40, **two)
    add("g_bind0", "region MPOL_BIND to node 0", policy="bind", secs=20)
    add("g_bind_nb", "task policy MPOL_BIND with the balancing flag, all nodes", policy="task_bind_nb")
    add("h_file_ro", "read-only private mapping of a tmpfs file", map="file_ro", write=0, secs=20)
    cow = dict(map="file_rw_private", file="/ram/region.bin", write=1)
    add("h_ramfs_cow", "private mapping of a ramfs file, copied in the first sweep", secs=20, **cow)
    add("t_thp_seq", "huge pages, base", thp=1, size_mb=256)
    add("w_sparse", "1000 touches a second: faults are limited by touches", rate=1000, secs=60)
    add("w_notouch", "spins, touches nothing", pattern="none", secs=40)
    add("n4_seq_mt", "4 nodes: memory on node 0, thread on node 3", topo="4n", cpus="6")


def patch(r):
    move = dict(move_cpus="2,0")
    slow = "thread moved every 5 s: migrations fail, the task backs off"
    r.add("patch", "p107_move5", slow, kernel="6.12.107", move_ms=5000, secs=25, **move)
    r.add("patch", "p117_move5", slow, kernel="6.12.117", move_ms=5000, secs=22, **move)
    r.add("patch", "p113_move", "thread moved every 2.5 s", kernel="6.12.113", move_ms=2500, secs=12, **move)
    # Short: at 3 s the base workload backs off, and the remote count is cleared or not.
    r.add("patch", "p115_seq", "the base's first 4 s", kernel="6.12.115", secs=4)
    phase = dict(cpus="0,2", idle_threads=0, pause=1, phase_pages=16384)
    r.add("patch", "p117_shared_phase", "d_shared_phase on 6.12.117", kernel="6.12.117", secs=15, **phase)


def moves(r):
    def add(name, note, **more):
        r.on(BOTH, "moves", name, note, **{**FREE, **more})

    home = dict(policy="bind_nb_home")
    slices = dict(alloc_half=1, slice=1)
    add("up_home", "starts on node 1, memory bound with the balancing flag to node 0: it cannot follow", cpus="-1", **home)
    add("up_home_two", "two such threads", cpus="-1,-1", **PAIR, **home)
    add("up_home_busy", "as up_home, node 0 busy with two pinned threads", cpus="-1,0,1", **PAIR, **home)
    add("up_swap", "two threads, the slice of each bound to another node", cpus="-1,-1", **PAIR, **home, **slices)
    add("up_swap4", "four threads on all CPUs, slices bound to two nodes", cpus="-1,-1,-1,-1", rate=10000, **PAIR, **home, **slices)
    add("up_two", "two threads, memory on node 0, default policy", cpus="-1,-1", **PAIR)
    add("up_comp", "an unpinned and a pinned thread start on one CPU", cpus="-1,2", **PAIR)
    add("up_half", "memory in halves on both nodes", cpus="-1", alloc_half=1)
    add("up_slices", "two threads, the slice of each on another node, default policy", cpus="-1,-1", **PAIR, **slices)


def sleep(r):
    def add(name, note, **more):
        r.on(BOTH, "sleep", name, note, mode="sleep", env=FAST, **more)

    add("sl_1ms", "sleeps 1 ms between batches", sleep_us=1000, rate=500000)
    add("sl_5ms", "sleeps 5 ms between batches", sleep_us=5000, rate=200000)
    add("sl_slow", "few touches: hardly any CPU time", sleep_us=1000, rate=20000, secs=20)
    add("sl_st", "single-threaded", sleep_us=1000, rate=500000, idle_threads=0)
    two = dict(cpus="0,2", pattern="rand", idle_threads=0)
    add("sl_two", "two threads on two nodes", sleep_us=1000, rate=300000, **two)


def threads(r):
    def add(name, note, **more):
        r.on(BOTH, "threads", name, note, **more)

    add("one_cpu", "two busy threads on one CPU", cpus="2,2", **PAIR)
    add("three", "three threads on three CPUs", cpus="0,2,3", **PAIR)
    pair = dict(cpus="0,2", idle_threads=0, pause=1)
    add("move_two", "two threads moved together", move_ms=4000, move_cpus="2,0", **pair)
    add("move_three", "one thread moved round three CPUs", move_ms=3000, move_cpus="2,0,3")
    add("hotcold", "90 % of the touches on 10 % of the pages", pattern="hotcold")
    add("read", "only reads", write=0, secs=10)
    add("idle3", "three idle threads", idle_threads=3, secs=6)


def huge(r):
    def add(name, note, **more):
        r.on(BOTH, "huge", name, note, thp=1, **more)

    add("thp_two", "shared by two threads", cpus="0,2", **PAIR)
    add("thp_odd", "63 MiB: ends in base pages", size_mb=63)
    add("thp_st", "single-threaded, remote", idle_threads=0)
    add("thp_st_local", "single-threaded, local", idle_threads=0, alloc_node=1)


def mappings(r):
    def add(name, note, **more):
        r.on(BOTH, "mappings", name, note, **more)

    add("bind_all", "MPOL_BIND to all nodes", policy="bind_all", secs=5)
    add("bind_nb", "MPOL_BIND with the balancing flag to all nodes", policy="bind_nb")
    add("preferred", "MPOL_PREFERRED", policy="preferred", secs=5)
    add("tmpfs_shared", "shared mapping of a tmpfs file", map="file_rw_shared", secs=6)
    add("tmpfs_private", "private mapping of a tmpfs file, written", map="file_rw_private", secs=8)
    ramfs = dict(file="/ram/region.bin")
    add("ramfs_shared", "shared mapping of a ramfs file", map="file_rw_shared", **ramfs)
    add("ramfs_cow", "private mapping of a ramfs file, written", map="file_rw_private", **ramfs)
    add("ramfs_cow_read", "private mapping of a ramfs file, only read", map="file_rw_private", write=0, **ramfs)
    add("auxfree", "the process's other mappings can be scanned too", aux_bind=0, maps=1, secs=30)


def knobs(r):
    def add(name, note, env, **more):
        r.on(BOTH, "knobs", name, note, env=env, **more)

    add("size1", "scan_size 1", dict(scan_size_mb=1), size_mb=32)
    add("size4", "scan_size 4", dict(scan_size_mb=4), size_mb=64)
    add("size1000", "scan_size 1000", dict(scan_size_mb=1000), size_mb=300, rate=50000)
    bounds = dict(scan_period_min_ms=5000, scan_period_max_ms=2000)
    add("min_gt_max", "scan_period_min above the maximum", bounds, secs=20)
    add("max3000", "scan_period_max 3000", dict(scan_period_max_ms=3000), secs=16)
    add("delay0", "scan_delay 0", dict(scan_delay_ms=0), secs=8)
    add("nb2", "tiering mode alone, on memory of one kind", dict(NB=2), secs=5)
    add("nb3", "both modes", dict(NB=3))


def topology(r):
    def add(name, note, **more):
        r.on(BOTH, "topology", name, note, **more)

    add("n4_two", "4 nodes, memory on node 1, threads on nodes 0 and 2", topo="4n", cpus="0,4", alloc_node=1, **PAIR)
    free = {**FREE, "setup_cpu": 6}
    add("n4_home", "4 nodes, unpinned on node 3, memory bound to node 0", topo="4n", cpus="-1", policy="bind_nb_home", **free)
    add("n31", "2 nodes at distance 31", topo="2n31", secs=10)


def pressure(r):
    # Large, so that the pages that wait on per-CPU lists, which nobody sees, are less than a hundredth.
    full = "node 1 has room for about half of the region that its thread pulls"
    r.on(BOTH, "pressure", "full", full, ballast_mb=1000, size_mb=768, rate=50000, secs=8, place_every_ms=8000)


def runs():
    """Every run, with the name of its group."""
    r = List()
    for part in (reference, patch, moves, sleep, threads, huge, mappings, knobs, topology, pressure):
        part(r)
    return r.runs


if __name__ == "__main__":
    print(json.dumps(runs(), indent=1))
