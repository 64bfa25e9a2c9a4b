"""P4: how long after its acknowledgement an event is in a live counter and in an alert, at half of P1's load.

A tenant of its own sends ten failed sign-ins of a new person at a time, which is a brute-force attack, and listens to
its Server-Sent Events: the ledger's frame that counts them, and the alert's. Both are timed from the acknowledgement.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from benchmarks.event_path import drive
from benchmarks.server import running

RATE = 500_000
_FAILURES = 10
_PAUSE_SECONDS = 0.25


class _Stream:
    """When which frames of a tenant's stream came."""

    def __init__(self, client: httpx.Client, tenant: str) -> None:
        self._client = client
        self._tenant = tenant
        self.offered: list[tuple[float, int]] = []
        self.alerts: dict[str, float] = {}
        self.opened = threading.Event()
        self.stopping = False

    def listen(self) -> None:
        with self._client.stream("GET", f"/v1/tenants/{self._tenant}/stream", timeout=60.0) as answer:
            event = ""
            for line in answer.iter_lines():
                now = time.perf_counter()
                self.opened.set()
                if self.stopping:
                    return
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: "):
                    data = json.loads(line[6:])
                    if event == "ledger":
                        self.offered.append((now, data["total"]["offered"]))
                    elif event == "alert" and data["state"] == "firing":
                        self.alerts[dict(data["labels"]).get("principal", data["key"])] = now


def measure(seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    options = {"format": "arrow", "batch_rows": 10_000, "connections": 4, "rate": RATE} | overrides
    with running() as server, ThreadPoolExecutor(2) as threads:
        admin = {"Authorization": f"Bearer {server.admin}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=admin, timeout=60.0) as client:
            client.post("/v1/tenants", json={"id": "probe"}).raise_for_status()
            stream = _Stream(client, "probe")
            listening = threads.submit(stream.listen)
            load = threads.submit(drive, server, options | {"seconds": seconds})
            stream.opened.wait(10)
            acknowledged: list[tuple[float, int]] = []
            while not load.done():
                person, now = uuid.uuid4().hex, time.time_ns() // 1000
                events = [
                    {"principal": person, "outcome": "failure", "method": "password", "event_time": now + i}
                    for i in range(_FAILURES)
                ]
                client.post("/v1/tenants/probe/events/auth", json=events).raise_for_status()
                acknowledged.append((time.perf_counter(), (len(acknowledged) + 1) * _FAILURES))
                time.sleep(_PAUSE_SECONDS)
            time.sleep(2)
            stream.stopping = True
            client.post("/v1/tenants/probe/events/auth", json=[{"principal": "x", "outcome": "failure"}])
            listening.result(60)
            result = load.result()
    counted = [_first(stream.offered, n) - at for at, n in acknowledged]
    alerted = sorted(stream.alerts.values())
    alarms = [min((t - at for t in alerted if t >= at), default=float("inf")) for at, _ in acknowledged]
    return {
        **options,
        "load": result,
        "probes": len(acknowledged),
        "alerts": len(alerted),
        "counter": _quantiles(counted),
        "alert": _quantiles(alarms),
    }


def _first(frames: list[tuple[float, int]], offered: int) -> float:
    return next((t for t, n in frames if n >= offered), float("inf"))


def _quantiles(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.quantile(np.array(seconds) * 1e3, [0.5, 0.95, 0.99])
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(seconds) * 1e3}
