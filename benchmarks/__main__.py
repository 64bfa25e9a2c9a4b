"""Measure the event path: ``python -m benchmarks P1 P3 --seconds 60``.

Each result is one JSON line, printed and added to benchmarks/out/results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from benchmarks.floors import FLOORS
from benchmarks.server import Server, running

WORKLOADS: dict[str, dict[str, object]] = {
    "P1": {"format": "arrow", "batch_rows": 10_000, "connections": 4},
    "P2": {"format": "ndjson", "batch_rows": 5_000, "connections": 4},
    "P3": {"format": "arrow", "batch_rows": 1_000, "connections": 8, "rate": 500_000, "pool": 600},
}


def measure(name: str, seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    options = WORKLOADS[name] | overrides | {"seconds": seconds}
    with running() as server:
        result = drive(server, options)
        drained = server.wait_loaded()
        ledger = server.ledger()
        cpu = server.cpu()
    accepted = result["accepted"]
    assert isinstance(accepted, int)
    total = float(result["seconds"]) + drained
    return {
        "name": name,
        **options,
        **result,
        "events_per_second_acknowledged": accepted / float(result["seconds"]),
        "events_per_second_queryable": accepted / total,
        "drain_seconds": drained,
        "bytes_per_event": float(result["bytes"]) / max(1, accepted),
        "cpu_seconds_per_million": {role: used / max(1, accepted) * 1e6 for role, used in cpu.items()},
        "rss_peak_bytes": server.rss_peak,
        "ledger": ledger,
        "ledger_ok": ledger["balance"] == 0 and ledger["stored"] == accepted == result["sent"],
    }


def drive(server: Server, options: dict[str, object]) -> dict[str, object]:
    """Run the generator against ``server`` and return what it counted; memory is watched meanwhile."""
    text = json.dumps(options | {"port": server.port, "keys": server.keys})
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("the generator did not start")
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            server.rss()

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.stdin.write("go\n")
    process.stdin.flush()
    output = process.stdout.read()
    stop.set()
    watcher.join()
    if process.wait():
        raise RuntimeError((server.folder / "server.log").read_text()[-3000:])
    return dict(json.loads(output))


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("pyarrow", "duckdb", "deltalake", "numpy", "uvicorn")},
        "durability": "fsync before acknowledgement (SQLite WAL, synchronous=FULL)",
        "arrow_threads": pa.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help="P1 P2 P3 …; all if none is named")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="change the workload")
    options = parser.parse_args()
    overrides = {k: json.loads(v) for k, v in (item.split("=", 1) for item in options.set)}
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    for name in options.names or WORKLOADS:
        result = machine() | measure(name, options.seconds, overrides)
        floor = FLOORS.get(name)
        if floor is not None:
            result["floor"] = floor(result)
        line = json.dumps(result)
        print(line, flush=True)
        with (out / "results.jsonl").open("a") as file:
            file.write(line + "\n")
        time.sleep(1)


if __name__ == "__main__":
    main()
