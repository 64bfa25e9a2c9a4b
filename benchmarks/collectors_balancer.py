"""What reading a balancer with many backends costs: ``python -m benchmarks.collectors_balancer [--backends 500]``.

A real HAProxy with one server in each backend, read over its stats socket and over its Prometheus page; and, where it
is installed, Debian's exporter on the same HAProxy. CPU is the reader's alone, by a reading. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from tests.support.servers.balancing import Process, fetch, free_ports, sites
from tests.support.servers.haproxy import PASSWORD, USER, Haproxy, haproxy

from collectors.catalog.performance.load_balancer import LoadBalancerCollector, LoadBalancerConfig
from collectors.model.metric import Window


async def cost(readings: int, **settings: Any) -> dict[str, Any]:
    """Return milliseconds of CPU and of waiting by reading, and the number of samples."""
    collector = LoadBalancerCollector(LoadBalancerConfig(**settings))
    await collector.open()
    try:
        collection = await collector.collect(Window(0, 1))
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(readings):
            collection = await collector.collect(Window(0, 1))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        await collector.close()
    return {
        "cpu_ms": round(1000 * cpu / readings, 1),
        "wall_ms": round(1000 * wall / readings, 1),
        "samples": len(collection.samples),
        "issues": len(collection.issues),
    }


def exporter_cost(readings: int, running: Haproxy, folder: Path) -> dict[str, Any]:
    """Return the same of Debian's exporter; empty if it is not installed."""
    program = shutil.which("prometheus-haproxy-exporter")
    if program is None:
        return {}
    (port,) = free_ports(1)
    scrape = f"--haproxy.scrape-uri=http://{USER}:{PASSWORD}@127.0.0.1:{running.stats_port}/stats;csv"
    command = [program, scrape, f"--web.listen-address=127.0.0.1:{port}"]
    exporter = Process(command, folder / "exporter.log", lambda: fetch(f"http://127.0.0.1:{port}/")[0] == 200)
    exporter.start()
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        fetch(url)
        process = next(p for p in psutil.Process().children() if p.name().startswith("prometheus-hapr"))
        before, wall = process.cpu_times(), time.perf_counter()
        for _ in range(readings):
            text = fetch(url)[1]
        after, wall = process.cpu_times(), time.perf_counter() - wall
    finally:
        exporter.stop()
    cpu = after.user + after.system - before.user - before.system
    samples = sum(line.startswith("haproxy_") for line in text.splitlines())
    return {
        "cpu_ms": round(1000 * cpu / readings, 1),
        "wall_ms": round(1000 * wall / readings, 1),
        "samples": samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backends", type=int, default=500)
    parser.add_argument("--readings", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sites(1) as servers:
        folder = Path(name)
        with haproxy(folder, servers, backends=options.backends, check_ms=60_000) as running:
            address = f"unix:{running.socket}"
            for what, settings in {
                "socket, all metrics": {"address": address},
                "socket, shared model only": {"address": address, "native": False},
                "prometheus page, all metrics": {"address": running.prometheus_url},
            }.items():
                print(json.dumps({"what": what, **asyncio.run(cost(options.readings, **settings))}))
            print(json.dumps({"what": "debian's exporter", **exporter_cost(options.readings, running, folder)}))


if __name__ == "__main__":
    main()
