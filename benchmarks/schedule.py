"""P9: 10,000 tenants with 20 collectors each, every 10 s, in one process: ``python -m benchmarks.schedule``.

Each run brings one sample, so that opening, metering, stamping, breaker, budget and accounting are all paid for. The
floor, measured in the same run, is as many bare asyncio timers at the same moments. Lateness is from when a run is due
to when it starts. Prints one JSON line and adds it to benchmarks/out/results.jsonl.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import time
from pathlib import Path

import psutil
import uvloop

from collectors.clock import SystemClock
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Sampling
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import TenantInfo
from collectors.runtime.histogram import Histogram
from collectors.runtime.runner import Runner
from collectors.runtime.schedule import Grid, spread
from collectors.runtime.scheduler import Scheduler

COLLECTION = Collection((Sample("bench.value", 1.0),))


class Instant(Sampling[CollectorConfig]):
    """Answers at once."""

    name = "instant"
    emits = (MetricSpec("bench.value", Kind.GAUGE, Unit.COUNT, "A value."),)

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # the contract's signature
        return COLLECTION


class Waiting(Sampling[CollectorConfig]):
    """Answers after 20 ms, as one that asks a server."""

    name = "waiting"
    emits = Instant.emits

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # the contract's signature
        await self.context.clock.sleep(0.02)
        return COLLECTION


def rss() -> int:
    return int(psutil.Process().memory_info().rss)


def milliseconds(histogram: Histogram) -> dict[str, float | None]:
    quantiles = {f"p{round(q * 100)}_ms": histogram.quantile(q) for q in (0.5, 0.95, 0.99, 1.0)}
    return {name: None if value is None else round(value * 1e3, 2) for name, value in quantiles.items()}


async def timers(count: int, interval: float, seconds: float) -> dict[str, object]:
    """The floor: empty callbacks on the same grids, by the event loop's own timers."""
    loop = asyncio.get_running_loop()
    lateness = Histogram()
    first = time.monotonic() + interval  # by then all are set
    end = first + seconds

    def fire(grid: Grid, due: float) -> None:
        now = time.monotonic()
        lateness.add(max(0.0, now - due))
        following = grid.after(max(now, due))  # the event loop's clock is coarse: it may fire a little early
        if following < end:
            loop.call_at(following, fire, grid, following)

    before = rss()
    for i in range(count):
        grid = Grid(interval, spread(f"{i}") * interval)
        due = grid.after(first)
        loop.call_at(due, fire, grid, due)
    held = rss() - before
    settle()
    await asyncio.sleep(first - time.monotonic())
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    used = (time.process_time() - cpu) / (time.monotonic() - began)
    return {**milliseconds(lateness), "fired": lateness.total, "cores": round(used, 3), "bytes_each": held // count}


def settle() -> None:
    """Do as the worker does once it has started: what lives for ever is kept from the garbage collector."""
    gc.collect()
    gc.freeze()


async def collectors(options: argparse.Namespace) -> dict[str, object]:
    clock = SystemClock()
    scheduler = Scheduler(clock)
    emitted = 0

    def emit(_: Runner, collection: Collection) -> None:
        nonlocal emitted
        emitted += len(collection.samples)

    gc.collect()
    before = rss()
    kind = Waiting if options.waiting else Instant
    runners: list[Runner] = []
    began = time.monotonic()
    for t in range(options.tenants):
        context = CollectorContext(tenant=TenantInfo(f"tenant-{t}"), clock=clock)
        for c in range(options.collectors):
            config = CollectorConfig(name=f"collector_{c}", interval_seconds=options.interval)
            runner = Runner(kind(config, context), emit, clock, scheduler=scheduler)
            runner.start()
            runners.append(runner)
        await asyncio.sleep(0)
    built = time.monotonic() - began
    settle()
    # A whole interval and a half passes before measuring: first runs open, and the grid begins.
    await asyncio.sleep(options.interval * 1.5)
    held = rss() - before
    scheduler.lateness = Histogram()
    emitted = 0
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.sleep(options.seconds)
    elapsed = time.monotonic() - began
    used = (time.process_time() - cpu) / elapsed
    runs = scheduler.lateness.total
    lateness = milliseconds(scheduler.lateness)
    expected = len(runners) * elapsed / options.interval
    statuses = [runner.status() for runner in runners]
    return {
        **lateness,
        "runs": runs,
        "runs_expected": round(expected),
        "samples": emitted,
        "skipped": sum(s.skipped for s in statuses),
        "failures": sum(s.failures for s in statuses),
        "cores": round(used, 3),
        "cpu_us_per_run": round(used * elapsed / max(1, runs) * 1e6, 2),
        "collector_cpu_us_per_run": round(
            sum(s.cpu_seconds for s in statuses) / sum(s.runs for s in statuses) * 1e6, 2
        ),
        "bytes_each": held // len(runners),
        "build_seconds": round(built, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--collectors", type=int, default=20)
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--waiting", action="store_true", help="collectors wait 20 ms for their source")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    count = options.tenants * options.collectors
    ours = uvloop.run(collectors(options))
    floor = uvloop.run(timers(count, options.interval, min(options.seconds, 2 * options.interval)))
    result = {
        "name": "P9",
        "cores": os.cpu_count(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "python": platform.python_version(),
        **vars(options),
        "ours": ours,
        "floor": {"what": "empty asyncio timers at the same moments", **floor},
    }
    line = json.dumps(result)
    print(line)
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    with (out / "results.jsonl").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
