"""CPU time of each step of the event path in ns an event: ``python -m benchmarks.steps [--rows 10000] [--ndjson]``.

The real classes are driven in this process, one thread, on the standard mix; each step's function is wrapped by a clock
of thread CPU time. What HTTP, thread switches and the other process cost shows only in P1 to P3.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.load import ArrowPool, NdjsonPool
from collectors.app.folder import DataFolder
from collectors.clock import SystemClock
from collectors.config.tenant import TenantConfig
from collectors.drivers import event_log
from collectors.drivers.event_log import LogReader, LogWriter
from collectors.intake import prepare
from collectors.intake.decoded import DEFAULT_LIMITS
from collectors.intake.dedupe import DedupeWindow
from collectors.intake.prepare import IntakePolicy, Lane, Preparer, Receipt, Submission
from collectors.lake import delta, loader
from collectors.lake.loader import Lake
from collectors.model.event_types import event_type
from collectors.privacy.policy import FieldPolicies


class Steps:
    """Thread CPU time by step, without that of the steps it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def wrap(self, owner: Any, name: str, label: str = "") -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            began = time.thread_time()
            try:
                return inner(*args, **kwargs)
            finally:
                took = time.thread_time() - began
                self.spent[label or name] += took - self._inner.pop()
                self._inner[-1] += took

        setattr(owner, name, timed)

    def report(self, title: str, total: float, events: int) -> dict[str, float]:
        steps = {name: spent / events * 1e9 for name, spent in self.spent.items()}
        steps["(the rest)"] = total / events * 1e9 - sum(steps.values())
        print(f"\n{title}: {total / events * 1e9:.0f} ns an event, {events} events")
        for name, ns in sorted(steps.items(), key=lambda item: -item[1]):
            print(f"  {name:24} {ns:7.1f}")
        self.spent.clear()
        return {name: round(ns, 1) for name, ns in steps.items()}


def _timed(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--group", type=int, default=4, help="requests that are prepared together")
    parser.add_argument("--ndjson", action="store_true")
    given = parser.parse_args()
    pa.set_cpu_count(1)
    options = {"batch_rows": given.rows, "pool": given.requests}
    pool = NdjsonPool(options) if given.ndjson else ArrowPool(options)
    lane = Lane.NDJSON if given.ndjson else Lane.ARROW
    steps = Steps()
    for name in ("decode_arrow", "decode_ndjson", "_joined", "validate", "protect", "_encode"):
        steps.wrap(prepare, name)
    steps.wrap(DedupeWindow, "add", "dedupe")
    steps.wrap(LogWriter, "append", "log append + fsync")
    steps.wrap(loader, "_join", "decode log bodies")
    steps.wrap(loader, "partial_rows", "rollup partials")
    steps.wrap(Lake, "_without_repeats", "late repeats")
    steps.wrap(Lake, "flush_rollups", "rollup flush")
    steps.wrap(delta.LakeTable, "write", "parquet write")
    steps.wrap(delta.LakeTable, "commit", "delta commit")
    steps.wrap(event_log.LogReader, "read", "log read")
    with tempfile.TemporaryDirectory() as text:
        clock = SystemClock()
        folder = DataFolder(Path(text), clock)
        policies: dict[str, IntakePolicy] = {}
        requests = [pool.take() for _ in range(given.requests)]
        for tenant in {r[0] for r in requests}:
            folder.keys.create(tenant)
            folder.control.put_tenant(tenant, TenantConfig())
            policies[tenant] = IntakePolicy(folder.keys.keyset(tenant), FieldPolicies())
        preparer = Preparer(policies.__getitem__, DedupeWindow(secret=b"x" * 32), DEFAULT_LIMITS)
        log = LogWriter(folder.log)

        def take_in(some: list[tuple[str, str, int, bytes]]) -> None:
            now = clock.now_us()
            waiting = [(Submission(t, event_type(n), lane, body, now), Future[Receipt]()) for t, n, _, body in some]
            prepared = preparer.prepare(waiting, now)
            log.append([p.record for p in prepared if p.record is not None])

        groups = [requests[i : i + given.group] for i in range(0, len(requests), given.group)]
        take_in([pool.take() for _ in range(given.group)])  # warm
        steps.spent.clear()
        spent = sum(_timed(lambda group=group: take_in(group)) for group in groups)
        events = sum(n for *_, n, _ in requests)
        gateway = steps.report("gateway", spent, events)
        lake = Lake(folder.lake, folder.ledger, lambda _: "Europe/Stockholm")
        reader = LogReader(folder.log)

        def load() -> None:
            while records := reader.read(max_records=4096, max_bytes=48 * 2**20):
                lake.load(records)
            lake.flush_rollups()

        worker = steps.report("worker", _timed(load), events)
        print(json.dumps({"options": vars(given), "gateway": gateway, "worker": worker}))


if __name__ == "__main__":
    main()
