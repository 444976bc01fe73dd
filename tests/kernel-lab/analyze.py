#!/usr/bin/env python3
"""analyze.py FOLDER: writes FOLDER/summary.csv (a line a run) and FOLDER/periods.txt (scan periods and passes, in words)."""
import csv
import json
import os
import sys

# The sampler's own work falls on multiples of 100 ms; stalls nearer than this to one are left out.
SAMPLER_US = 3000


def number(row, column):
    return float(row[column]) if row.get(column) not in (None, "") else 0.0


def first_time(rows, column, least):
    """When a counter first reaches a value."""
    return next((number(row, "time_ms") for row in rows if number(row, column) >= least), None)


def changes(rows, column):
    """(time, value) at each change of a column."""
    found = []
    for row in rows:
        value = int(number(row, column))
        if not found or found[-1][1] != value:
            found.append((round(number(row, "time_ms")), value))
    return found


def increments(rows, column):
    """(time, increase) of each row in which a counter grew."""
    steps = ((b, number(b, column) - number(a, column)) for a, b in zip(rows, rows[1:]))
    return [(round(number(row, "time_ms")), int(step)) for row, step in steps if step > 0]


def worst_ms(entry, kind):
    stalls = entry.get("worst", {}).get(kind, {}).get("0", [])
    far = [ns for at, ns in stalls if min(at % 100_000, 100_000 - at % 100_000) > SAMPLER_US]
    return round(max(far) / 1e6, 3) if far else ""


def summary(entry, rows, threads):
    args, last = entry["spec"]["args"], rows[-1]
    pages = int(args["size_mb"]) * 256
    marked, faults, local, migrated = (
        int(number(last, "numa_" + name)) for name in ("pte_updates", "hint_faults", "hint_faults_local", "pages_migrated")
    )
    periods = changes(rows, "t0_scan_period_ms")
    return dict(
        name=entry["name"],
        kernel=(entry["kernel"] or "? ?").split()[1],
        accel=entry["spec"]["accel"],
        secs=args["secs"],
        pages=pages,
        threads=threads,
        first_mark_ms=first_time(rows, "numa_pte_updates", 1),
        first_fault_ms=first_time(rows, "numa_hint_faults", 1),
        pte_updates=marked,
        hint_faults=faults,
        local=local,
        migrated=migrated,
        faults_per_mark=round(faults / marked, 4) if marked else "",
        migrated_per_remote=round(migrated / (faults - local), 4) if faults > local else "",
        half_migrated_ms=first_time(rows, "numa_pages_migrated", 0.5 * pages),
        scan_seq=last["mm_numa_scan_seq"],
        period_first=periods[0][1],
        period_last=periods[-1][1],
        passes=len(increments(rows, "numa_pte_updates")),
        placement="/".join(str(count) for count in entry.get("placement_after", {}).values()),
        worst_gap_ms=worst_ms(entry, "gap"),
        worst_touch_ms=worst_ms(entry, "touch"),
    )


def in_words(entry, rows, threads):
    lines = [entry["name"], f"  scan_period_max_ms at the end: {rows[-1]['t0_scan_period_max_ms']}"]
    for t in range(threads):
        series = " ".join(f"{value}@{at}" for at, value in changes(rows, f"t{t}_scan_period_ms"))
        lines.append(f"  t{t} scan_period [ms@t]: {series}")
    passes = increments(rows, "numa_pte_updates")[:60]
    lines.append("  pte_updates in a row [n@t]: " + " ".join(f"{value}@{at}" for at, value in passes))
    sequences = changes(rows, "mm_numa_scan_seq")[1:41]
    lines.append("  numa_scan_seq [n@t]: " + " ".join(f"{value}@{at}" for at, value in sequences))
    return "\n".join(lines) + "\n"


def main(folder):
    with open(os.path.join(folder, "manifest.json")) as file:
        entries = [entry for entry in json.load(file) if entry.get("complete", True)]
    lines, words = [], []
    for entry in entries:
        with open(os.path.join(folder, entry["csv"]), newline="") as file:
            rows = list(csv.DictReader(file))
        threads = sum(column.endswith("_touches") for column in rows[0])
        lines.append(summary(entry, rows, threads))
        words.append(in_words(entry, rows, threads))
    if not lines:
        sys.exit(f"{folder}/manifest.json: no complete run")
    with open(os.path.join(folder, "summary.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    with open(os.path.join(folder, "periods.txt"), "w") as file:
        file.writelines(words)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
