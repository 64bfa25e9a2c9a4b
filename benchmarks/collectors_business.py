"""Measure a cycle of the collectors of engagement and of a tenant's business as a tenant's history grows.

``python -m benchmarks.collectors_business [MILLION PLAYS ...]`` makes, for each number, 90 days of one tenant's plays,
app events and payments, with rollups, and tells wall and CPU seconds of a cycle and of each query (least of three).
The listeners stay the same, so that only what they do becomes more.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collectors.catalog.business.tenant_business_metrics import TenantBusinessMetricsCollector
from collectors.catalog.business.user_engagement import UserEngagementCollector
from collectors.contract.collector import CollectorContext
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import Days, LakeFile, Snapshot, TenantView
from collectors.lake.rollup import add_up, partial_rows
from collectors.model.event_types import EVENT_TYPES
from collectors.model.metric import Window
from collectors.model.rollups import ROLLUPS
from collectors.model.status import TenantInfo

DAYS, USERS, TRACKS, ARTISTS = 90, 100_000, 200_000, 20_000
TENANT, ZONE = "tenant", "Europe/Berlin"
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
NAMES = np.array(["Search Performed", "Track Liked", "Screen Viewed", "Lyrics Opened", "Playlist Created"])
FUNNEL = {
    "steps": [{"event": "app_event", "where": {"name": "Search Performed"}}, {"event": "playback"}],
    "window_hours": 1,
    "days": 7,
}


def ids(rng: np.random.Generator, n: int, size: int, skew: float, prefix: str) -> pa.Array:
    """Draw names, the first ones more often the greater ``skew`` is."""
    numbers = (size * rng.random(n) ** skew).astype(np.int64)
    return _names(size, prefix).take(pa.array(numbers))


@cache
def _names(size: int, prefix: str) -> pa.Array:
    return pa.array([f"{prefix}{number:012d}" for number in range(size)])


def of_day(rng: np.random.Generator, day: int, plays: int) -> Iterator[tuple[str, pa.Table]]:
    """Make the events of a day: of ten plays come two application events and a fiftieth of a payment."""
    begin = int(START.timestamp()) * 1_000_000 + day * DAY_US
    for name, n in (("playback", plays), ("app_event", plays // 5), ("payment", max(plays // 500, 1))):
        schema = EVENT_TYPES[name].lake_schema
        when = pa.array(np.sort(rng.integers(begin, begin + DAY_US, n)), pa.timestamp("us", "UTC"))
        who = ids(rng, n, USERS, 2.0, "user").cast(pa.binary())
        columns: dict[str, pa.Array] = {
            "tenant_id": pa.repeat(TENANT, n), "event_time": when, "received_time": when, "user_id": who,
            "event_id": pa.repeat(pa.scalar(b"0123456789abcdef", pa.binary(16)), n),
            "day": pa.repeat((START + timedelta(days=day)).date(), n),
        }  # fmt: skip
        if name == "playback":
            columns |= {
                "track_id": ids(rng, n, TRACKS, 3.0, "track"),
                "artist_id": ids(rng, n, ARTISTS, 3.0, "artist"),
                "ms_played": pa.array(rng.integers(0, 300_000, n), pa.int32()),
                "track_ms": pa.array(rng.integers(120_000, 300_000, n), pa.int32()),
                "skipped": pa.array(rng.random(n) < 0.2),
                "country": pa.array(np.array(["SE", "DE", "US"])[rng.integers(0, 3, n)]),
                "device": pa.array(np.array(["phone", "tv", "car"])[rng.integers(0, 3, n)]),
            }
        elif name == "app_event":
            columns["name"] = pa.array(NAMES[rng.integers(0, len(NAMES), n)])
        else:
            columns |= {
                "customer_id": who, "payment_id": pa.repeat("p", n), "kind": pa.repeat("charge", n),
                "amount_minor": pa.repeat(999, n), "currency": pa.repeat("EUR", n),
            }  # fmt: skip
        yield name, pa.table([columns.get(f.name, pa.nulls(n, f.type)) for f in schema], schema=schema)


def lake(folder: Path, plays: int) -> Snapshot:
    """Write the events of ``DAYS`` days, a file a day, and their rollups as compacted files."""
    rng = np.random.default_rng(7)
    files: dict[str, list[LakeFile]] = {}
    partial: dict[str, list[pa.Table]] = {}
    for day in range(DAYS):
        for name, table in of_day(rng, day, plays // DAYS):
            the_day = (START + timedelta(days=day)).date()
            files.setdefault(name, []).append(write(folder, f"{name}-{day}", table, Days(the_day, the_day)))
            for rollup in ROLLUPS.values():
                if rollup.source == name:
                    rows = partial_rows(rollup, table, lambda _: ZONE)
                    partial.setdefault(rollup.name, []).append(rows)
    for name, parts in partial.items():
        table = add_up(ROLLUPS[name], pa.concat_tables(parts))
        periods = table.column(ROLLUPS[name].period)
        days = Days(periods[0].as_py(), periods[-1].as_py())
        files[name] = [write(folder, name, table, days, summed=True)]
        print(f"  {name}: {table.num_rows:,} rows", flush=True)
    return Snapshot({name: tuple(of_table) for name, of_table in files.items()})


def write(folder: Path, name: str, table: pa.Table, days: Days, *, summed: bool = False) -> LakeFile:
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, compression="zstd", row_group_size=122_880)
    return LakeFile(str(path), days, (TENANT, TENANT), summed)


@contextmanager
def measured(least: dict[str, list[float]], name: str) -> Iterator[None]:
    """Keep the least wall and CPU seconds that the block has taken so far."""
    started, used = time.perf_counter(), time.process_time()
    yield
    took = (time.perf_counter() - started, time.process_time() - used)
    least[name] = [min(pair) for pair in zip(least.get(name, took), took, strict=True)]


async def cycle(snapshot: Snapshot) -> None:
    engine = DuckDBEngine()

    async def provide() -> Snapshot:
        return snapshot

    view = TenantView(engine, TENANT, provide)
    context = CollectorContext(tenant=TenantInfo(TENANT, ZONE), lake=view)
    collectors = (
        UserEngagementCollector(UserEngagementCollector.Config.model_validate({"funnels": {"found": FUNNEL}}), context),
        TenantBusinessMetricsCollector(context=context),
    )
    end = int((START + timedelta(days=DAYS - 1, hours=20)).timestamp()) * 1_000_000
    total_wall = total_cpu = 0.0
    for collector in collectors:
        await collector.collect(Window(end - 120_000_000, end - 60_000_000))  # loads what is loaded once
        results: dict[str, pa.Table] = {}
        least: dict[str, list[float]] = {}
        for repeat in range(1, 4):
            window = Window(end - 60_000_000, end - repeat)  # nothing is compiled already, as in service
            with measured(least, "build"):
                queries = collector.queries(window)
            for name, query in queries.items():
                with measured(least, name):
                    results[name] = await view.query(query)
            with measured(least, "derive"):
                collector.derive(results, window)
        for name, (wall, cpu) in least.items():
            print(f"  {collector.name:24} {name:18} wall {wall:7.3f} s   CPU {cpu:7.3f} s", flush=True)
        total_wall += sum(wall for wall, _ in least.values())
        total_cpu += sum(cpu for _, cpu in least.values())
    print(f"  cycle of both: wall {total_wall:.2f} s, CPU {total_cpu:.2f} s", flush=True)
    await engine.close()


def main() -> None:
    for millions in [float(n) for n in sys.argv[1:]] or [2.5, 10.0]:
        print(f"{millions:g} M plays in {DAYS} days, {USERS:,} listeners")
        with tempfile.TemporaryDirectory() as folder:
            snapshot = lake(Path(folder), int(millions * 1e6))
            gc.collect()
            asyncio.run(cycle(snapshot))


if __name__ == "__main__":
    main()
