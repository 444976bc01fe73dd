#!/usr/bin/env python3
"""pack.py FROM TO [RUN...]: copies complete runs into TO as NAME.csv.gz, with what a reader of manifest.json needs.

Runs that TO already lists stay. The same input gives the same bytes.
"""
import gzip
import json
import os
import sys

KEPT = ("name", "csv", "kernel", "info", "sysctls", "nodes", "spec", "placement_before", "placement_after")


def main(source, target, names):
    with open(os.path.join(source, "manifest.json")) as file:
        entries = [entry for entry in json.load(file) if entry.get("complete", True)]
    missing = set(names) - {entry["name"] for entry in entries}
    if missing:
        sys.exit(f"{source}/manifest.json has no complete run {', '.join(sorted(missing))}")
    os.makedirs(target, exist_ok=True)
    path, packed = os.path.join(target, "manifest.json"), {}
    if os.path.exists(path):
        with open(path) as file:
            packed = {entry["name"]: entry for entry in json.load(file)}
    for entry in entries:
        if names and entry["name"] not in names:
            continue
        with open(os.path.join(source, entry["csv"]), "rb") as file:
            rows = file.read()
        entry = {key: entry[key] for key in KEPT if key in entry}
        entry["csv"] = entry["name"] + ".csv.gz"
        # As gzip -9n: neither time nor name in the file.
        with open(os.path.join(target, entry["csv"]), "wb") as file:
            file.write(gzip.compress(rows, 9, mtime=0))
        packed[entry["name"]] = entry
    with open(path, "w") as file:
        lines = (json.dumps(packed[name], separators=(",", ":")) for name in sorted(packed))
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
