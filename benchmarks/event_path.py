"""P1 to P3: the standard mix through the whole durable path, as fast as it goes or at a given pace."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from benchmarks.floors import FLOORS
from benchmarks.server import Server, running

WORKLOADS: dict[str, dict[str, object]] = {
    "P1": {"format": "arrow", "batch_rows": 10_000, "connections": 4},
    "P1-plain": {"format": "arrow-plain", "batch_rows": 10_000, "connections": 4},
    "P2": {"format": "ndjson", "batch_rows": 5_000, "connections": 4},
    "P3": {"format": "arrow-plain", "batch_rows": 1_000, "connections": 8, "rate": 500_000, "pool": 600},
}


WARM_UP_SECONDS = 5.0
"""Before the measurement: libraries are loaded, collectors have run once, memory has its size."""


def measure(name: str, seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    options = WORKLOADS[name] | overrides
    with running() as server:
        warm = drive(server, options | {"seconds": WARM_UP_SECONDS})
        server.wait_loaded()
        before = server.cpu()
        result = drive(server, options | {"seconds": seconds})
        drained = server.wait_loaded()
        ledger = server.ledger()
        cpu = {role: used - before.get(role, 0.0) for role, used in server.cpu().items()}
    accepted = result["accepted"]
    assert isinstance(accepted, int)
    total = float(result["seconds"]) + drained
    all_accepted = int(warm["accepted"]) + accepted
    measured = {
        **options,
        **result,
        "events_per_second_acknowledged": accepted / float(result["seconds"]),
        "events_per_second_queryable": accepted / total,
        "drain_seconds": drained,
        "bytes_per_event": float(result["bytes"]) / max(1, accepted),
        "cpu_seconds_per_million": {role: used / max(1, accepted) * 1e6 for role, used in cpu.items()},
        "rss_peak_bytes": server.rss_peak,
        "ledger": ledger,
        "ledger_ok": ledger["balance"] == 0
        and ledger["stored"] == all_accepted == int(warm["sent"]) + int(result["sent"]),
    }
    floor = FLOORS.get(name)
    return measured | ({"floor": floor(measured)} if floor else {})


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
