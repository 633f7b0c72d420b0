#!/usr/bin/env python3
"""Delivery of single requests: Penstock beside a Node script (undici, records nothing) and wrk, in the same run.

    python benches/delivery.py --penstock target/release/penstock --node-script node_send.mjs [--requests 200000] [--pairs 5]

Bodies of 500 bytes, 64 in flight; the sender is pinned to core 0, the receiver (`penstock receive --no-record`) to core 1.
Penstock renders, checks, redacts and records every attempt, synced to disk. Each rate is the receiver's, from the first to the
last request. The senders take turns; the ratios are medians of the pairs. Needs taskset, wrk, node and npm (undici 7.30.2).
"""
import argparse, json, os, shutil, signal, statistics, subprocess, tempfile, time

BODY = '{"id":"%08d","email":"user%08d@example.com","name":"O\'Brien & Sons","note":"'
WRK = """wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; wrk.body = '%s'"""
PROJECT = """
destinations:
  sink:
    base_url: %s
    credential: token
    rate_limit: unlimited
    concurrency: 64
    actions:
      add:
        method: POST
        url: /x
        body: '{"id":"{{id}}","email":"{{email}}","name":"{{name}}","note":"{{note}}"}'
credentials:
  token: {type: bearer, token: a-bearer-token-of-some-length}
models:
  rows: {primary_key: [id], source: {type: file, path: rows.ndjson}}
exports:
  rows: {model: rows, destination: sink}
"""


def line(number):
    head = BODY % (number, number)
    return head + "x" * (498 - len(head)) + '"}'


class Receiver:
    """The receiver on core 1; its rate is read when it stops."""

    def __init__(self, penstock):
        command = ["taskset", "-c", "1", penstock, "receive", "--listen", "127.0.0.1:0", "--no-record", "--quiet"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.url = self.process.stderr.readline().split()[-1]

    def rate(self):
        self.process.send_signal(signal.SIGINT)
        last = self.process.stderr.read().strip().splitlines()[-1]
        self.process.wait()
        words = last.split()
        return int(words[1]), float(words[-3])


def on_core_0(command, **options):
    return subprocess.run(["taskset", "-c", "0", *command], check=True, capture_output=True, text=True, **options)


def send_with_penstock(args, folder, requests):
    receiver = Receiver(args.penstock)
    data = os.path.join(folder, "data")
    shutil.rmtree(data, ignore_errors=True)
    with open(os.path.join(folder, "penstock.yaml"), "w") as f:
        f.write(PROJECT % receiver.url)
    command = [args.penstock, "run", "rows", "--json", "--allow-private", "--data-dir", data]
    result = json.loads(on_core_0(command, cwd=folder).stdout)
    assert result["rows"]["delivered"] == requests, result
    return receiver.rate()


def send_with_node(args, folder, requests):
    receiver = Receiver(args.penstock)
    port = receiver.url.rsplit(":", 1)[1]
    on_core_0(["node", os.path.join(folder, "node_send.mjs"), port, os.path.join(folder, "rows.ndjson"), "64"])
    return receiver.rate()


def send_with_wrk(args, folder, requests):
    receiver = Receiver(args.penstock)
    script = os.path.join(folder, "post.lua")
    with open(script, "w") as f:
        f.write(WRK % line(1).replace("'", "\\'"))
    on_core_0(["wrk", "-t1", "-c64", "-d4s", "-s", script, receiver.url + "/x"])
    return receiver.rate()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", required=True)
    parser.add_argument("--node-script", required=True, help="the peer's script: node_send.mjs PORT LINES IN_FLIGHT")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    args.penstock = os.path.abspath(args.penstock)
    with tempfile.TemporaryDirectory(prefix="delivery", dir=".") as folder:
        folder = os.path.abspath(folder)
        shutil.copy(args.node_script, os.path.join(folder, "node_send.mjs"))
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "undici@7.30.2"], cwd=folder, check=True)
        with open(os.path.join(folder, "rows.ndjson"), "w") as f:
            f.writelines(line(number) + "\n" for number in range(args.requests))
        rates = {"penstock": [], "node": [], "wrk": []}
        for pair in range(args.pairs):
            for name, send in (("penstock", send_with_penstock), ("node", send_with_node), ("wrk", send_with_wrk)):
                count, rate = send(args, folder, args.requests)
                rates[name].append(rate)
                print(f"pair {pair + 1}  {name:<9} {count:>8} requests  {rate:>9,.0f} a second", flush=True)
        ratio = lambda other: statistics.median(a / b for a, b in zip(rates["penstock"], rates[other]))
        result = {name: statistics.median(values) for name, values in rates.items()}
        result |= {"penstock/node": round(ratio("node"), 3), "penstock/wrk": round(ratio("wrk"), 3), "load": os.getloadavg()[0]}
        print(json.dumps(result))


main()
