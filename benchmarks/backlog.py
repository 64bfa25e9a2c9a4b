"""P5 and P13: memory while the lake takes nothing and a backlog grows, a restart in the middle of it, and the way back.

The kernel refuses the worker any growth of its files, as a full disk does, while events come in at full speed. With the
backlog on disk both processes are killed and started again; the first acknowledgement is timed from the start.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import threading
import time
import urllib.request
import uuid
from pathlib import Path

from benchmarks.event_path import drive
from benchmarks.server import Server, running

BACKLOG_BYTES = 10 * 10**9


def measure(seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    backlog = int(str(overrides.get("backlog_bytes", BACKLOG_BYTES)))
    options = {"format": "arrow-plain", "batch_rows": 10_000, "connections": 4} | overrides
    with running() as server:
        _let_grow(server.pid("worker"), allowed=False)
        sent = accepted = 0
        began = time.perf_counter()
        peak_before = 0
        while _size(server.folder / "log") < backlog:
            result = drive(server, options | {"seconds": min(10.0, seconds)})
            sent, accepted = sent + int(result["sent"]), accepted + int(result["accepted"])
        growing = time.perf_counter() - began
        peak_before, server.rss_peak = server.rss_peak, 0
        held = _size(server.folder / "log")
        first_ack = _restart(server)
        peak_restart, server.rss_peak = _watched(server, 5.0), 0
        began = time.perf_counter()
        server.wait_loaded(1800)
        draining = time.perf_counter() - began + 5.0
        ledger = server.ledger()
        return {
            **options,
            "backlog_bytes": held,
            "events": accepted,
            "growing_seconds": growing,
            "rss_peak_growing": peak_before,
            "restart_to_first_ack_seconds": first_ack,
            "rss_peak_after_restart": peak_restart,
            "draining_seconds": draining,
            "rss_peak_draining": server.rss_peak,
            "log_bytes_after": _size(server.folder / "log"),
            "ledger": ledger,
            "ledger_ok": ledger["balance"] == 0 and ledger["stored"] == accepted + 1 == sent + 1,
        }


def _let_grow(pid: int, *, allowed: bool) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if allowed else 0, hard))


def _size(folder: Path) -> int:
    total = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _restart(server: Server) -> float:
    """Kill gateway and worker; return the seconds until an event is acknowledged by what the supervisor starts."""
    for role in ("gateway", "worker"):
        os.kill(server.pid(role), signal.SIGKILL)
    began = time.perf_counter()
    tenant, key = next(iter(server.keys.items()))
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/tenants/{tenant}/events/playback",
        data=json.dumps({"event_id": str(uuid.uuid4()), "track_id": "t", "ms_played": 1}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            if answer.status == 202:
                return time.perf_counter() - began
        time.sleep(0.01)


def _watched(server: Server, seconds: float) -> int:
    stop = threading.Event()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        server.rss()
        stop.wait(0.1)
    return server.rss_peak
