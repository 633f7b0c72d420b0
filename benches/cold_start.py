#!/usr/bin/env python3
"""Cold start and size of the functions beside a hello-world of lambda_runtime, turn about in the same run.

    cargo build --release --workspace --bins --example hello
    python benches/cold_start.py [--folder target/release] [--rounds 40] [--json FILE]

This process is the Lambda Runtime API: it starts an executable with what its template gives it, and takes the time until the first poll
(GET /2018-06-01/runtime/invocation/next) has arrived. The size is that of the zip file that would be uploaded. Plain Python 3.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

FUNCTIONS = ("configure", "plan", "deliver")
# deliver's limits, and where it is to go: times of hello-world, MB zipped.
LIMIT, GOAL = (3.0, 8.0), (1.5, 5.0)


def first_poll(executable, scratch):
    """Milliseconds from the start of the process until its first poll has arrived."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        environment = {
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % server.getsockname()[1], "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "https://127.0.0.1:9",
            "PENSTOCK_TABLE": "table", "PENSTOCK_BUCKET": "bucket", "PENSTOCK_KEY": "key", "TMPDIR": scratch,
            "PENSTOCK_PLAN_QUEUE": "https://127.0.0.1:9/1/plan", "PENSTOCK_DELIVER_QUEUE": "https://127.0.0.1:9/1/deliver",
        }
        start = time.perf_counter()
        process = subprocess.Popen([executable], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            connection, _ = server.accept()
            asked = connection.recv(100)
            took = time.perf_counter() - start
        except TimeoutError:
            process.kill()
            sys.exit(f"{executable} did not poll: {process.stderr.read().decode()}")
        # Killed before the connection ends, so that it has nothing to say of that.
        process.kill()
        process.communicate()
        connection.close()
        if not asked.startswith(b"GET /2018-06-01/runtime/invocation/next "):
            sys.exit(f"{executable} asked {asked!r}")
        return took * 1000


def zipped(executable, folder):
    """MB of the zip file with this executable alone."""
    path = os.path.join(folder, "function.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(executable, "bootstrap")
    return os.path.getsize(path) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="target/release")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json")
    options = parser.parse_args()
    executables = {name: os.path.join(options.folder, name) for name in FUNCTIONS}
    executables["hello"] = os.path.join(options.folder, "examples", "hello")
    missing = [path for path in executables.values() if not os.path.exists(path)]
    if missing:
        sys.exit(f"{', '.join(missing)}: not there; `cargo build --release --workspace --bins --example hello` builds them")
    with tempfile.TemporaryDirectory() as scratch:
        for path in executables.values():
            first_poll(path, scratch)
        rounds = [{name: first_poll(path, scratch) for name, path in executables.items()} for _ in range(options.rounds)]
        sizes = {name: zipped(path, scratch) for name, path in executables.items()}
    results = []
    for name in executables:
        ratio = statistics.median(each[name] / each["hello"] for each in rounds)
        results.append({"name": name, "ms": statistics.median(each[name] for each in rounds), "ratio": ratio, "zipped_mb": sizes[name]})
        print("{name:10} {ms:6.2f} ms to the first poll, {ratio:5.2f} of hello; {zipped_mb:5.2f} MB zipped".format(**results[-1]))
    deliver = next(result for result in results if result["name"] == "deliver")
    verdict = lambda bound: deliver["ratio"] <= bound[0] and deliver["zipped_mb"] <= bound[1]
    print(f"deliver: limit {LIMIT} {'kept' if verdict(LIMIT) else 'MISSED'}, goal {GOAL} {'reached' if verdict(GOAL) else 'not reached'}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    if not verdict(LIMIT):
        sys.exit(1)


if __name__ == "__main__":
    main()
