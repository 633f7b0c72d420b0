#!/usr/bin/env bash
# Everything that docs/performance.md quotes, in one command:
#
#   bash benches/run.sh PEERS [ROWS...]        for example: bash benches/run.sh ../peers 1000000 10000000
#
# PEERS is a folder with the peers' side of each benchmark: gen_snapshots.py, duckdb_diff.py, node_send.mjs. Needs Rust, Python 3,
# Node with npm, taskset and wrk; fetches numpy, polars, duckdb and undici by name into benches/.work. Ten million rows need some
# 10 GB of disk. Quote ratios from a machine that does nothing else.
set -euo pipefail
peers=$(cd "${1:?the folder of the peers scripts}" && pwd)
shift
[ $# -gt 0 ] || set -- 1000000
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=benches/.work
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$work"

cargo build --release --workspace --bins --examples
if [ ! -x "$work/venv/bin/python" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet numpy polars duckdb
fi
for rows in "$@"; do
    data="$work/rows-$rows"
    [ -f "$data/expect.json" ] || "$work/venv/bin/python" "$peers/gen_snapshots.py" "$data" "$rows"
    printf '\n== planning, %s rows\n' "$rows"
    python3 benches/planning.py "$data" "$peers/duckdb_diff.py" --planning "$target/release/examples/planning" --python "$work/venv/bin/python"
done
printf '\n== looking back at ten million attempts\n'
[ -d "$work/history" ] || "$target/release/examples/lookback" build "$work/history"
"$target/release/examples/lookback" measure "$work/history"
"$target/release/examples/lookback" cold "$work/history"
printf '\n== cold start and size of the functions\n'
python3 benches/cold_start.py --folder "$target/release"
if [ -n "${PENSTOCK_MOTO:-}" ]; then
    printf '\n== a model in parts\n'
    for keys in 20000000 1000000; do "$target/release/examples/parts" "$target/release" 5000000 $keys; done
fi
printf '\n== delivery of single requests\n'
python3 benches/delivery.py --penstock "$target/release/penstock" --node-script "$peers/node_send.mjs"
