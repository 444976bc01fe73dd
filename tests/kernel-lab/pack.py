#!/usr/bin/env python3
"""pack.py FROM TO [RUN...]: copies complete runs into TO as NAME.csv.gz, with what a reader of manifest.json needs.

Runs that TO already lists stay. The same input gives the same bytes.
"""
import json
import os
import struct
import sys
import zlib

KEPT = ("name", "csv", "kernel", "info", "sysctls", "nodes", "spec", "placement_before", "placement_after")


def compress(data):
    """The bytes of gzip -9n: neither time nor name, whatever version of Python writes them."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"
    return header + deflate.compress(data) + deflate.flush() + struct.pack("<II", zlib.crc32(data), len(data) % 2**32)


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
        with open(os.path.join(target, entry["csv"]), "wb") as file:
            file.write(compress(rows))
        packed[entry["name"]] = entry
    with open(path, "w") as file:
        lines = (json.dumps(packed[name], separators=(",", ":")) for name in sorted(packed))
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
