"""What looking at Redis costs, beside redis_exporter: ``python -m benchmarks.collectors_redis [keys] [scrapes]``.

Needs Debian's redis-server and prometheus-redis-exporter. CPU seconds a scrape, each of the process that scrapes and of
the server that is scraped, on a server with many keys, 60 commands in its statistics and some traffic's history.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support.servers.redis import Server, free_port, redis_binary, servers, until

from collectors.catalog.performance.redis_performance import RedisPerformanceCollector, RedisPerformanceConfig
from collectors.contract.collector import CollectorContext
from collectors.model.metric import Window

_TICK = os.sysconf("SC_CLK_TCK")
_WINDOW = Window(0, 1)


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def server_cpu(server: Server) -> float:
    text = server.ask("INFO", "cpu")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return float(fields["used_cpu_user"]) + float(fields["used_cpu_sys"])


async def ours(server: Server, scrapes: int, **config: object) -> dict[str, float]:
    settings = RedisPerformanceConfig.model_validate({"port": server.port, **config})
    collector = RedisPerformanceCollector(settings, CollectorContext())
    await collector.open()
    await collector.collect(_WINDOW)
    server_before, before, start = server_cpu(server), time.process_time(), time.perf_counter()
    count = 0
    for _ in range(scrapes):
        collection = await collector.collect(_WINDOW)
        count = len(collection.samples)
        assert not collection.issues, collection.issues
    took, cpu, served = time.perf_counter() - start, time.process_time() - before, server_cpu(server) - server_before
    await collector.close()
    return {
        "samples": count,
        "metrics": len({sample.metric for sample in collection.samples}),
        "cpu_ms": cpu / scrapes * 1e3,
        "server_cpu_ms": served / scrapes * 1e3,
        "wall_ms": took / scrapes * 1e3,
    }


def theirs(server: Server, scrapes: int) -> dict[str, float]:
    program, port = shutil.which("prometheus-redis-exporter"), free_port()
    if program is None:
        return {}
    command = [program, "--redis.addr", f"redis://{server.address}", "--web.listen-address", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            return str(page.read().decode())

    try:
        until(scrape, "the start of redis_exporter")
        server_before, before, start = server_cpu(server), cpu_of(process.pid), time.perf_counter()
        for _ in range(scrapes):
            text = scrape()
        took, cpu = time.perf_counter() - start, cpu_of(process.pid) - before
        served = server_cpu(server) - server_before
    finally:
        process.kill()
        process.wait()
    lines = [line for line in text.splitlines() if line.startswith("redis_")]
    return {
        "samples": len(lines),
        "metrics": len({line.partition("{")[0].partition(" ")[0] for line in lines}),
        "cpu_ms": cpu / scrapes * 1e3,
        "server_cpu_ms": served / scrapes * 1e3,
        "wall_ms": took / scrapes * 1e3,
    }


def main() -> None:
    keys, scrapes = (int(given) for given in (*sys.argv[1:], *("1000000", "200")[len(sys.argv) - 1 :]))
    binary = redis_binary()
    if binary is None:
        sys.exit("install redis-server")
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as made:
        server = made.standalone(binary, "--enable-debug-command", "yes")
        server.ask("DEBUG", "POPULATE", keys * 9 // 10, "session", 20)
        server.ask("DEBUG", "POPULATE", keys // 10, "cart", 20)
        for command in (
            "GET session:1",
            "TTL x",
            "HSET h a 1",
            "LPUSH l 1",
            "SADD s 1",
            "ZADD z 1 a",
            "INCR n",
            "EXISTS n",
        ):
            server.ask(*command.split())
        run: Callable[[Awaitable[dict[str, float]]], dict[str, float]] = asyncio.run  # type: ignore[assignment]  # it takes coroutines alone, which these are
        plain = run(ours(server, scrapes))
        other = theirs(server, scrapes)
        groups = run(ours(server, 20, key_groups=["(session):", "(cart):"], sample_seconds=5.0))
        ten = run(ours(server, 3, key_groups=["(session):", "(cart):"], sample_keys=10_000, sample_seconds=10.0))
    result = {"keys": keys, "ours": plain, "redis_exporter": other, "with 1,000 keys": groups, "with 10,000 keys": ten}
    if other:
        result["ratio"] = {key: plain[key] / other[key] for key in ("cpu_ms", "server_cpu_ms", "wall_ms") if other[key]}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
