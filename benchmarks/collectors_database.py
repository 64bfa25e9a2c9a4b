"""P8: what database_performance costs a server with 5,000 tables and 10,000 statements.

``python -m benchmarks.collectors_database``

Tells, per run over ten minutes of simulated intervals of 10 s: the longest run, the server's time as a share, samples,
the dearest questions, CPU of the collector, memory; beside it a scrape by prometheus-postgres-exporter if there is one.
Prints one JSON line and adds it to benchmarks/out/results.jsonl.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import psycopg
from tests.support.servers.postgres import free_port, postgres

from collectors.catalog.performance.database_performance import DatabasePerformanceCollector, DatabasePerformanceConfig
from collectors.clock import SystemClock
from collectors.contract.collector import CollectorContext
from collectors.model.metric import Window

TABLES, STATEMENTS, INTERVAL_S, RUNS = 5_000, 10_000, 10.0, 60


class Ahead(SystemClock):
    """Real time, plus the waits between runs that nobody waits for."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def fill(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        for first in range(0, TABLES, 500):
            connection.execute(
                f"DO $$ BEGIN FOR n IN {first}..{first + 499} LOOP "
                "EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, a int, b text); CREATE INDEX ON t%s (a);"
                " INSERT INTO t%s (a) VALUES (1)', n, n, n); END LOOP; END $$"
            )
        connection.execute("ANALYZE")
        for first in range(0, STATEMENTS, 500):
            connection.execute("; ".join(f"SELECT {n} AS c{n}" for n in range(first, first + 500)))


async def measure(dsn: str) -> dict[str, Any]:
    clock = Ahead()
    collector = DatabasePerformanceCollector(
        DatabasePerformanceConfig.model_validate({"dsn": dsn}), CollectorContext(clock=clock)
    )
    await collector.open()
    durations, samples, postponed, slow = [], 0, 0, set()
    spent = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(RUNS):
        begun = time.monotonic()
        collection = await collector.collect(Window(0, 1))
        durations.append(time.monotonic() - begun)
        clock.ahead += INTERVAL_S - durations[-1]
        samples = max(samples, len(collection.samples))
        postponed += sum(issue.code == "postponed" for issue in collection.issues)
        slow |= {issue.item for issue in collection.issues if issue.code == "too_slow"}
    after = resource.getrusage(resource.RUSAGE_SELF)
    took = sorted(
        ((s.value or 0.0, s.labels[0]) for s in collection.samples if s.metric.endswith("probe.duration")), reverse=True
    )
    await collector.close()
    durations.sort()
    return {
        "first_or_longest_run_s": round(durations[-1], 3),
        "median_run_s": round(durations[len(durations) // 2], 4),
        "share_of_time": round(sum(durations) / (RUNS * INTERVAL_S), 4),
        "cpu_s_per_run": round((after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime) / RUNS, 4),
        "samples": samples,
        "runs_that_postponed": postponed,
        "too_slow": sorted(slow),
        "dearest_ms": {name: round(1000 * value, 1) for value, name in took[:6]},
        "max_rss_mb": round(after.ru_maxrss / 1024),
    }


def exporter(dsn: str) -> dict[str, Any]:
    program = shutil.which("prometheus-postgres-exporter")
    if program is None:
        return {"exporter": "not installed"}
    port = free_port()
    process = subprocess.Popen(
        [program, f"--web.listen-address=127.0.0.1:{port}"],
        env={"DATA_SOURCE_NAME": dsn}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        durations, lines = [], 0
        watch = psutil.Process(process.pid)
        for _ in range(400):
            before, begun = sum(watch.cpu_times()[:2]), time.monotonic()
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
            except urllib.error.URLError:
                time.sleep(0.05)
                continue
            durations.append((time.monotonic() - begun, sum(watch.cpu_times()[:2]) - before))
            lines = sum(not line.startswith("#") for line in page.splitlines())
            if len(durations) == 20:
                break
        seconds = sorted(seconds for seconds, _ in durations)[len(durations) // 2]
        cpu = sum(cpu for _, cpu in durations) / len(durations)  # a tick is 10 ms, so that one scrape tells nothing
        return {"exporter_scrape_s": round(seconds, 3), "exporter_cpu_s": round(cpu, 4), "exporter_series": lines}
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    with postgres(15) as server:
        fill(server.dsn())
        result = {"benchmark": "collectors_database", "tables": TABLES, "statements": STATEMENTS}
        result |= asyncio.run(measure(server.dsn())) | exporter(server.dsn())
    line = json.dumps(result)
    print(line)
    out = Path(__file__).parent / "out" / "results.jsonl"
    with out.open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
