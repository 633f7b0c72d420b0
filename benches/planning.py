#!/usr/bin/env python3
"""Planning beside DuckDB: both find the changes between two snapshots and write them as NDJSON, turn about.

    cargo build --release -p rows --example planning
    python benches/planning.py DATA_DIR DUCKDB_DIFF.py [--formats csv,ndjson,parquet] [--pairs 5]
                               [--planning target/release/examples/planning] [--python PYTHON] [--json FILE]

DATA_DIR holds prev.* and curr.* in each format and expect.json with the true counts. DUCKDB_DIFF.py is called as
`PYTHON DUCKDB_DIFF.py DATA_DIR FORMAT OUT`; PYTHON must have duckdb. Our snapshot of prev.* is written once beforehand, as the run
before would have left it. Wall time and peak memory are those of the whole process, for both. Plain Python 3.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time

GOALS = {"csv": 1 / 2, "ndjson": 1 / 2, "parquet": 2 / 3}


def run(command, out):
    """Wall seconds and peak MiB of one process."""
    start = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)])
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return wall, usage.ru_maxrss / 1024


def count(path, expect):
    """Refuses a result that is not the right one."""
    got = {"added": 0, "changed": 0, "removed": 0}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            got[json.loads(line)["op"]] += 1
    if any(got[kind] != expect[kind] for kind in got):
        sys.exit(f"{path}: {got} instead of {expect}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("duckdb_diff")
    parser.add_argument("--formats", default="csv,ndjson,parquet")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--planning", default="target/release/examples/planning")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json")
    options = parser.parse_args()
    with open(os.path.join(options.data, "expect.json"), encoding="utf-8") as file:
        expect = json.load(file)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        said = os.path.join(folder, "said")
        for name in options.formats.split(","):
            rows = {which: os.path.join(options.data, f"{which}.{name}") for which in ("prev", "curr")}
            snapshot, ours, theirs = (os.path.join(folder, f"{name}.{end}") for end in ("snapshot", "ours", "theirs"))
            written, _ = run([options.planning, "snapshot", rows["prev"], snapshot], said)
            sides = {
                "penstock": ([options.planning, "diff", rows["curr"], snapshot, ours], ours),
                "duckdb": ([options.python, options.duckdb_diff, options.data, name, theirs], theirs),
            }
            measured = {side: [] for side in sides}
            for pair in range(options.pairs + 1):
                # The first pair warms the cache and is checked, the others count; who goes first alternates.
                for side in sorted(sides, reverse=pair % 2 == 0):
                    command, out = sides[side]
                    if os.path.exists(out):
                        os.remove(out)
                    taken = run(command, said)
                    if pair:
                        measured[side].append(taken)
                    else:
                        count(out, expect)
            median = {side: [statistics.median(column) for column in zip(*taken)] for side, taken in measured.items()}
            ratios = [ours[0] / theirs[0] for ours, theirs in zip(measured["penstock"], measured["duckdb"])]
            results.append({
                "format": name, "rows": expect["curr"], "pairs": options.pairs,
                "penstock_s": median["penstock"][0], "duckdb_s": median["duckdb"][0],
                "wall_ratio": statistics.median(ratios), "wall_ratios": ratios, "goal": GOALS[name],
                "penstock_mib": median["penstock"][1], "duckdb_mib": median["duckdb"][1],
                "memory_ratio": median["penstock"][1] / median["duckdb"][1], "snapshot_s": written,
            })
    print(f"{'format':8} {'rows':>10} {'ours s':>8} {'duckdb s':>8} {'ratio':>6} {'goal':>6} {'ours MiB':>9} {'duckdb MiB':>10} {'ratio':>6}")
    for r in results:
        print(f"{r['format']:8} {r['rows']:>10} {r['penstock_s']:>8.3f} {r['duckdb_s']:>8.3f} {r['wall_ratio']:>6.3f} {r['goal']:>6.3f} "
              f"{r['penstock_mib']:>9.1f} {r['duckdb_mib']:>10.1f} {r['memory_ratio']:>6.3f}")
    print(json.dumps(results))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


main()
