#!/usr/bin/env python3
"""Records runs of the workload nblab on real Linux kernels in an emulated NUMA machine.

run.sh checks the tools, compiles nblab and calls this program; README.md documents the options and the output.
"""
import argparse
import csv
import glob
import gzip
import io
import json
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
import time

import mkruns

HERE = os.path.dirname(os.path.abspath(__file__))
BUSYBOX = "/bin/busybox"
THREADS_MAX = 4
# A boot is given up after this long: seconds, and seconds for each second of the guest.
BOOT_LIMIT, SECOND_LIMIT = 300, 60

TOPOLOGIES = {
    "2n": dict(smp="4,sockets=2,cores=2", memory=[1536] * 2, cpus=["0-1", "2-3"], distance={(0, 1): 20}),
    "2n31": dict(smp="4,sockets=2,cores=2", memory=[1536] * 2, cpus=["0-1", "2-3"], distance={(0, 1): 31}),
    "4n": dict(
        smp="8,sockets=4,cores=2",
        memory=[1024] * 4,
        cpus=["0-1", "2-3", "4-5", "6-7"],
        distance={(0, 1): 16, (0, 2): 22, (0, 3): 28, (1, 2): 28, (1, 3): 22, (2, 3): 16},
    ),
}


class LabError(Exception):
    """What the user can put right; printed without a trace."""


# --- kernels ---------------------------------------------------------------------------------------------------


def unpack_deb(package, into):
    """Unpacks /boot of a Debian package; nothing is installed."""
    os.makedirs(into, exist_ok=True)
    reader = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
    subprocess.run(["tar", "x", "-C", into, "--wildcards", "./boot/*"], stdin=reader.stdout, check=True)
    if reader.wait():
        raise LabError(f"{package}: dpkg-deb cannot read it")


def image_in(folder):
    """The kernel image in an unpacked package."""
    found = sorted(glob.glob(os.path.join(glob.escape(folder), "boot", "vmlinuz-*")))
    if not found:
        raise LabError(f"{folder}: no boot/vmlinuz-*. Remove the folder, or give a package with a kernel in it")
    return found[0]


def is_version(name, version):
    """6.1 means 6.1.0-50-amd64 but neither 6.12.95 nor 6.10."""
    return name.startswith(version) and not name[len(version) : len(version) + 1].isdigit()


def version_order(name):
    return [int(part) for part in re.findall(r"\d+", name)]


def download_kernel(version, folder):
    """Fetches the newest matching unsigned image of the configured package sources."""
    pattern = "^linux-image-" + re.escape(version) + "[^0-9].*-unsigned$"
    found = subprocess.run(
        ["apt-cache", "search", "--names-only", pattern], capture_output=True, text=True, check=False
    )
    names = [line.split()[0] for line in found.stdout.splitlines() if line]
    names = [name for name in names if not re.search(r"cloud|-rt-", name)]
    if not names:
        raise LabError(
            f"no package linux-image-{version}*-unsigned in the configured sources. Run apt-get update, choose another "
            "version with --kernel, or give --kernel the path of a .deb or of a vmlinuz"
        )
    package = max(names, key=version_order)
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
    files = [name for name in os.listdir(folder) if name.startswith(package + "_") and name.endswith(".deb")]
    if not files:
        raise LabError(f"{folder}: apt-get download left no {package}_*.deb")
    into = os.path.join(folder, package[len("linux-image-") : -len("-unsigned")])
    unpack_deb(os.path.join(folder, max(files, key=version_order)), into)
    return into


def find_kernel(wanted, work):
    """The image for a version such as 6.12 or 6.12.117, for a .deb, or the image itself."""
    folder = os.path.join(work, "kernels")
    if wanted.endswith(".deb"):
        if not os.path.isfile(wanted):
            raise LabError(f"{wanted}: no such package")
        into = os.path.join(folder, os.path.basename(wanted)[: -len(".deb")])
        unpack_deb(wanted, into)
        return image_in(into)
    if os.path.isfile(wanted):
        return os.path.abspath(wanted)
    if "/" in wanted:
        raise LabError(f"{wanted}: no such file. Give a kernel version, a .deb, or a vmlinuz")
    have = [d for d in os.listdir(folder) if is_version(d, wanted)] if os.path.isdir(folder) else []
    have = [d for d in have if os.path.isdir(os.path.join(folder, d))]
    if have:
        return image_in(os.path.join(folder, max(have, key=version_order)))
    return image_in(download_kernel(wanted, folder))


# --- the guest -------------------------------------------------------------------------------------------------


def cpio(entries):
    """An archive in the format of an initial file system: (name, mode, data) each."""
    out = io.BytesIO()

    def put(number, name, mode, data):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(("070701" + "".join("%08X" % field for field in fields)).encode())
        out.write(name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4))
        out.write(data)
        out.write(b"\0" * (-out.tell() % 4))

    for number, (name, mode, data) in enumerate(entries, 1):
        put(number, name, mode, data)
    put(0, "TRAILER!!!", 0, b"")
    return out.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def base_archive(work):
    """What every guest has: a shell, the first process and the workload."""
    entries = [(folder, 0o40755, b"") for folder in ("bin", "proc", "sys", "dev", "tmp")]
    entries.append(("bin/busybox", 0o100755, read(BUSYBOX)))
    entries.append(("init", 0o100755, read(os.path.join(HERE, "init"))))
    entries.append(("nblab", 0o100755, read(os.path.join(work, "nblab"))))
    return gzip.compress(cpio(entries), 1, mtime=0)


def group_archive(group):
    """The settings and arguments of the runs of one boot."""
    entries = [("lab.count", 0o100644, b"%d" % len(group))]
    for i, run in enumerate(group):
        settings = "".join(f"{key}={value}\n" for key, value in run["env"].items()) + "\n"
        arguments = " ".join(f"{key}={value}" for key, value in run["args"].items())
        entries.append((f"lab.env.{i}", 0o100644, settings.encode()))
        entries.append((f"lab.args.{i}", 0o100644, arguments.encode()))
    return cpio(entries)


def machine(run, image, folder):
    """The command line of the emulator for a run (the same for all runs of a boot)."""
    t = TOPOLOGIES[run["topo"]]
    command = ["qemu-system-x86_64", "-machine", "q35", "-nodefaults", "-no-reboot", "-display", "none"]
    command += ["-m", f"{sum(t['memory'])}M", "-smp", t["smp"], "-seed", str(run["seed"])]
    command += ["-rtc", "base=2026-01-01T00:00:00,clock=vm", "-cpu", "max,-rdrand,-rdseed,-la57"]
    for i, size in enumerate(t["memory"]):
        command += ["-object", f"memory-backend-ram,size={size}M,id=m{i}"]
        command += ["-numa", f"node,nodeid={i},cpus={t['cpus'][i]},memdev=m{i}"]
    for (a, b), value in t["distance"].items():
        command += ["-numa", f"dist,src={a},dst={b},val={value}"]
    if run["accel"] == "icount":
        command += ["-accel", "tcg,thread=single", "-icount", f"shift={run['shift']},sleep=off"]
    else:
        command += ["-accel", "tcg,thread=multi"]
    thp = "always" if run["args"].get("thp") else "never"
    options = "console=ttyS0 panic=-1 nokaslr quiet tsc=reliable clocksource=tsc transparent_hugepage=" + thp
    command += ["-kernel", image, "-initrd", f"{folder}/initrd", "-append", options]
    return command + ["-serial", f"file:{folder}/console.log", "-serial", f"file:{folder}/data.log"]


# --- what the guest printed ------------------------------------------------------------------------------------


def parse_lines(lines):
    """The tagged lines of one run: what is known of it, the columns and the rows."""
    m = dict(kernel=None, info=[], sysctls={}, nodes={}, sched_start=[], sched_end=[], hist={}, worst={}, threads=[])
    columns, rows = [], []
    for line in lines:
        tag, _, text = line.partition(" ")
        words = text.split()
        if tag == "K" and text.startswith("Linux"):
            m["kernel"] = text
        elif tag == "K" and text.startswith("node"):
            m["nodes"][words[0]] = dict(word.split("=") for word in words[1:])
        elif tag in ("K", "I"):
            m["info"].append(text)
        elif tag == "E":
            m["info"].append(line)
        elif tag == "Y":
            name, _, value = text.partition(" ")
            m["sysctls"][name] = value
        elif tag == "P":
            m["placement_" + words[0]] = {w.split("=")[0]: int(w.split("=")[1]) for w in words[1:]}
        elif tag in ("S0", "S1"):
            m["sched_start" if tag == "S0" else "sched_end"].append(" ".join(words))
        elif tag == "C":
            columns = text.split(",")
        elif tag == "R":
            rows.append(text.split(","))
        elif tag == "H":
            counts = {str(1 << i): int(v) for i, v in enumerate(words[2:]) if v != "0"}
            m["hist"].setdefault(words[0], {})[words[1]] = counts
        elif tag == "W":
            stalls = [[int(v) for v in word.split(":")] for word in words[2:]]
            stalls = sorted((s for s in stalls if s[1]), key=lambda s: -s[1])
            m["worst"].setdefault(words[0], {})[words[1]] = stalls
        elif tag == "T":
            m["threads"].append(dict([w.split("=") for w in words[1:]], thread=words[0]))
        elif tag == "L":
            m["last_cpupids"] = words
        elif tag == "D":
            m["complete"] = True
    return m, columns, [row for row in rows if len(row) == len(columns)]


def write_rows(m, columns, rows, run, out):
    """Writes the CSV and adds to the manifest's entry what is worth knowing without it."""
    m["csv"], m["rows"] = run["name"] + ".csv", len(rows)
    with open(os.path.join(out, m["csv"]), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    at = {name: i for i, name in enumerate(columns)}

    def number(row, name):
        return float(row[at[name]]) if row[at[name]] != "" else None

    last = rows[-1]
    seconds = number(last, "time_ms") / 1000
    threads = [t for t in range(THREADS_MAX) if f"t{t}_touches" in at]
    places = [name for name in columns if name.startswith("place_n")]
    m["duration_s"] = seconds
    m["achieved_touch_rate_hz"] = [round(number(last, f"t{t}_touches") / seconds, 2) for t in threads]
    m["final"] = {name: number(last, name) for name in columns}
    m["placement_per_s"] = [
        [round(number(row, "time_ms"))] + [int(number(row, name)) for name in places]
        for row in rows
        if row[at["place_n0"]] != ""
    ]


def harvest(text, run, out):
    """One run's part of the guest's output, as an entry of the manifest."""
    m, columns, rows = parse_lines(text.split("\n")[1:])
    m.update(name=run["name"], spec=run)
    if columns and rows:
        write_rows(m, columns, rows, run, out)
    return m


def finished_parts(folder):
    """The output of the runs of a boot so far, one text a run."""
    try:
        text = read(f"{folder}/data.log").decode(errors="replace").replace("\r", "")
    except FileNotFoundError:
        return []
    return ("\n" + text).split("\n= ")[1:]


def run_group(group, image, base, options, sink):
    """Boots one guest; the runs of the group follow one another in it, each a process of its own."""
    folder = os.path.join(options.work, "boots", group[0]["name"])
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/initrd", "wb") as file:
        file.write(base + b"\0" * (-len(base) % 4) + group_archive(group))
    for name in ("console.log", "data.log"):
        if os.path.exists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")
    command = machine(group[0], image, folder)
    began, done = time.time(), 0
    limit = BOOT_LIMIT + SECOND_LIMIT * sum(run["args"]["secs"] for run in group)
    with open(f"{folder}/qemu.log", "w") as log:
        guest = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    last = began
    while True:
        ended = guest.poll() is not None
        parts = finished_parts(folder)
        while done < len(group) and done < len(parts) and ("\nK exit" in parts[done] or ended):
            m = harvest(parts[done], group[done], options.out)
            now = time.time()
            m["host_wall_s"], last = round(now - last, 1), now
            m["qemu"] = " ".join(shlex.quote(word) for word in command).replace(options.work, "WORK")
            m["boot_group"], m["boot_group_index"] = group[0]["name"], done
            done += 1
            sink(m)
        if ended:
            break
        if time.time() - began > limit:
            guest.kill()
            guest.wait()
            print(f"{group[0]['name']}: no end after {limit} s, given up; see {folder}/console.log", file=sys.stderr)
        time.sleep(1)
    if done < len(group):
        missing = ", ".join(run["name"] for run in group[done:])
        print(f"no output of {missing}; see {folder}/qemu.log and console.log", file=sys.stderr)


# --- the whole -------------------------------------------------------------------------------------------------


class Manifest:
    """manifest.json of the output folder: rewritten after each run, by whichever boot finished it."""

    def __init__(self, out):
        self.path, self.lock = os.path.join(out, "manifest.json"), threading.Lock()
        self.runs = {}
        if os.path.exists(self.path):
            with open(self.path) as file:
                self.runs = {entry["name"]: entry for entry in json.load(file)}

    def has(self, run):
        entry = self.runs.get(run["name"], {})
        return entry.get("complete", False) and entry["spec"] == run

    def add(self, entry):
        with self.lock:
            self.runs[entry["name"]] = entry
            with open(self.path + ".tmp", "w") as file:
                json.dump([self.runs[name] for name in sorted(self.runs)], file, indent=1)
            os.replace(self.path + ".tmp", self.path)
            final = entry.get("final") or {}
            counts = " ".join(
                f"{label}={final.get(name, 0):.0f}"
                for label, name in (
                    ("marked", "numa_pte_updates"),
                    ("faults", "numa_hint_faults"),
                    ("local", "numa_hint_faults_local"),
                    ("migrated", "numa_pages_migrated"),
                )
            )
            errors = [line for line in entry["info"] if line.startswith("E ")]
            state = "" if entry.get("complete") else " INCOMPLETE"
            print(f"{entry['name']:<22} {entry['host_wall_s']:6.0f} s  {counts}{state}", *errors, flush=True)


def boots(runs, per_boot):
    """Runs that can share a boot, in the order of the list."""
    groups = {}
    for run in runs:
        key = (run["kernel"], run["topo"], run["accel"], run["shift"], run["seed"], bool(run["args"].get("thp")))
        groups.setdefault(key, []).append(run)
    chunks = [g[i : i + per_boot] for g in groups.values() for i in range(0, len(g), per_boot)]
    order = {run["name"]: i for i, run in enumerate(runs)}
    return sorted(chunks, key=lambda chunk: order[chunk[0]["name"]])


def record(runs, options):
    """Records the runs; True when all are complete."""
    os.makedirs(options.out, exist_ok=True)
    manifest = Manifest(options.out)
    todo = [run for run in runs if options.again or not manifest.has(run)]
    images = {kernel: find_kernel(kernel, options.work) for kernel in dict.fromkeys(run["kernel"] for run in todo)}
    base, waiting = base_archive(options.work), queue.Queue()
    for chunk in boots(todo, options.per_boot):
        waiting.put(chunk)

    def work():
        while True:
            try:
                group = waiting.get_nowait()
            except queue.Empty:
                return
            run_group(group, images[group[0]["kernel"]], base, options, manifest.add)

    threads = [threading.Thread(target=work) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all(manifest.has(run) for run in runs)


def choose(selection, kernel):
    """The runs that the words name: groups, or beginnings of names."""
    runs, known = mkruns.runs(), mkruns.groups()
    chosen = [
        run
        for run in runs
        if any(word == "all" or run["group"] == word or (word not in known and run["name"].startswith(word))
               for word in selection)
    ]
    for word in selection:
        if word != "all" and word not in known and not any(run["name"].startswith(word) for run in runs):
            raise LabError(f"no group or run begins with {word}. --list shows all")
    if kernel:
        if os.path.exists(kernel):
            kernel = os.path.abspath(kernel)
        chosen = [dict(run, kernel=kernel) for run in chosen]
    return [{key: value for key, value in run.items() if key != "group"} for run in chosen]


def show_list():
    for group, what in mkruns.groups().items():
        print(f"{group}: {what}")
        for run in mkruns.runs():
            if run["group"] == group:
                print(f"  {run['name']:<22} {run['kernel']:<9} {run['args']['secs']:3} s  {run['note']}")


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a number above zero")
    return value


def main():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="groups or beginnings of names of runs (--list), or all")
    parser.add_argument("--kernel", help="record on this kernel: a version (6.12.117), a .deb or a vmlinuz")
    parser.add_argument("--out", default="kernel-lab-out", help="folder of manifest.json and the CSV files")
    parser.add_argument("--work", default="kernel-lab-work", help="folder of kernels and logs")
    parser.add_argument("--jobs", type=positive, default=1, help="guests at once")
    parser.add_argument("--per-boot", type=positive, default=8, help="runs in one boot")
    parser.add_argument("--again", action="store_true", help="record also what is complete already")
    parser.add_argument("--list", action="store_true", help="show all runs and stop")
    options = parser.parse_args()
    options.work, options.out = os.path.abspath(options.work), os.path.abspath(options.out)
    if options.list:
        show_list()
        return 0
    if not options.runs:
        parser.error("which runs? --list shows them; all records every one")
    return 0 if record(choose(options.runs, options.kernel), options) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"lab.py: {error}")
    except BrokenPipeError:
        sys.exit(1)
    except subprocess.CalledProcessError as error:
        sys.exit(f"lab.py: {shlex.join(error.cmd)} failed with {error.returncode}")
