#!/usr/bin/env bash
# Builds Penstock, starts a receiver on loopback, sends it the newsletter's subscribers, and checks what arrived.
#
# Run it again: nothing is sent. Then add, change and delete a line of rows/newsletter.csv: exactly those three are sent.
# `rm -r examples/newsletter/.penstock examples/newsletter/.receiver` starts over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

echo "== building"
cargo build --release --workspace --bin penstock
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
penstock=$target/release/penstock

# Penstock remembers what it delivered in .penstock, beside penstock.yaml. The receiver's side lies in a folder of its own.
record=.receiver/record.ndjson      # every request it ever got
log=.receiver/log
mkdir -p .receiver

# The receiver prints its address first. It is asked for the port of last time, so that a run that was killed can be finished.
listen() {
    : > "$log"
    "$penstock" receive --listen "$1" --record "$record" 2> "$log" &
    receiver=$!
    trap 'kill "$receiver" 2> /dev/null || true' EXIT
    until grep -q '^listening on ' "$log"; do
        kill -0 "$receiver" 2> /dev/null || return 1
        sleep 0.05
    done
}
address=$(cat .receiver/address 2> /dev/null || echo 127.0.0.1:0)
listen "$address" || listen 127.0.0.1:0 || { cat "$log" >&2; exit 1; }
NEWSLETTER_URL=$(sed -n 's/^listening on //p' "$log")
export NEWSLETTER_URL
echo "${NEWSLETTER_URL#http://}" > .receiver/address
echo "== a receiver listens on $NEWSLETTER_URL and records to examples/newsletter/$record"

echo "== penstock validate"
"$penstock" validate
echo "== penstock plan newsletter"
"$penstock" plan newsletter
echo "== penstock run newsletter"
"$penstock" run newsletter --allow-range 127.0.0.1/32
echo
python3 check_record.py "$record" rows/newsletter.csv
