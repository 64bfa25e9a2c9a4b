"""What a test server holds and does, so that every probe has something to tell; and a recorder of its answers.

``python -m tests.support.servers.postgres_workload`` records the golden cases of the collector anew; the one of
TimescaleDB if ``COLLECTORS_TEST_TIMESCALEDB`` is the connection string of an empty database that has the extension.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from collectors.catalog.performance.database.probe import Row
from collectors.catalog.performance.database.timescale_activity import ACTIVITY
from collectors.catalog.performance.database_performance import DatabasePerformanceCollector, DatabasePerformanceConfig
from collectors.contract.collector import CollectorContext
from collectors.drivers.postgres import Postgres
from collectors.model.metric import Collection, Window
from tests.support.servers.postgres import Server, find_binaries, postgres, standby_of

MONITOR_PASSWORD = "m0nit0r-s3cret"
GOLDEN = Path(__file__).parents[2] / "golden" / "database_performance"
WINDOW = Window(0, 10_000_000)

SETUP = f"""
CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_buffercache; CREATE EXTENSION pgstattuple;
CREATE ROLE monitor LOGIN PASSWORD '{MONITOR_PASSWORD}' IN ROLE pg_monitor CONNECTION LIMIT 5;
CREATE ROLE stranger LOGIN PASSWORD '{MONITOR_PASSWORD}';
CREATE TABLE track (id serial PRIMARY KEY, length int, title text, unused text);
INSERT INTO track (length, title) SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
CREATE INDEX track_length ON track (length); CREATE INDEX track_length_again ON track (length);
CREATE INDEX track_length_title ON track (length, title);
DELETE FROM track WHERE id % 3 = 0; ANALYZE;
CREATE TABLE play AS SELECT g AS id FROM generate_series(1, 5000) g; ANALYZE play; DELETE FROM play WHERE id % 2 = 0;
CREATE SEQUENCE ticket MAXVALUE 101; SELECT setval('ticket', 96);
CREATE FUNCTION now_and_then() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN 1; END';
SELECT now_and_then();
SELECT pg_create_logical_replication_slot('changes', 'pgoutput');
CREATE SUBSCRIPTION elsewhere CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE);
"""


@contextmanager
def at_work(server: Server) -> Iterator[None]:
    """Keep a vacuum and an analyze running, slowly."""
    with ExitStack() as stack:
        threads = []
        for command in ("VACUUM track", "ANALYZE play"):
            connection = stack.enter_context(psycopg.connect(server.dsn(), autocommit=True))
            connection.execute("SET vacuum_cost_delay = 50; SET vacuum_cost_limit = 1")
            thread = threading.Thread(target=_until_cancelled, args=(connection, command))
            thread.start()
            threads.append(thread)
            stack.callback(thread.join)
            stack.callback(connection.cancel)
        wait_for(
            server, "EXISTS (SELECT FROM pg_stat_progress_vacuum) AND EXISTS (SELECT FROM pg_stat_progress_analyze)"
        )
        yield


def wait_for(server: Server, condition: str) -> None:
    """Ask until ``condition`` holds."""
    with psycopg.connect(server.dsn(), autocommit=True) as watch:
        for _ in range(20_000):
            if watch.execute(f"SELECT {condition}").fetchone() == (True,):
                return
    raise AssertionError(f"it never came to be that {condition}")


def _until_cancelled(connection: psycopg.Connection[Any], command: str) -> None:
    try:
        connection.execute(command)
    except psycopg.errors.QueryCanceled:
        return


def prepare(server: Server) -> None:
    """Fill the database, once."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for statement in SETUP.split(";\n"):
            connection.execute(statement)


TIMESCALE_SETUP = """
CREATE TABLE m (time timestamptz NOT NULL, device int, v float);
SELECT create_hypertable('m', 'time', chunk_time_interval => interval '1 day');
INSERT INTO m SELECT now() - (g || ' hours')::interval, g % 5, g FROM generate_series(0, 240) g;
ALTER TABLE m SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
SELECT add_compression_policy('m', interval '3 days'); SELECT add_retention_policy('m', interval '1 year');
SELECT compress_chunk(c) FROM show_chunks('m', older_than => interval '6 days') c;
ALTER TABLE m SET (timescaledb.compress, timescaledb.compress_segmentby = '');
CREATE MATERIALIZED VIEW daily WITH (timescaledb.continuous) AS
  SELECT time_bucket('1 day', time) AS day, device, avg(v) FROM m GROUP BY 1, 2 WITH NO DATA;
SELECT add_continuous_aggregate_policy('daily', interval '30 days', interval '1 day', interval '1 day');
CALL refresh_continuous_aggregate('daily', NULL, NULL); ANALYZE
"""


def prepare_timescale(dsn: str) -> None:
    """Make a hypertable of 11 days, 4 of them compressed under another setting, with policies and an aggregate."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        for statement in TIMESCALE_SETUP.split(";"):
            connection.execute(statement)


async def _record_timescale(dsn: str) -> None:
    prepare_timescale(dsn)
    _, answers = await collect_from(dsn)
    kept = {name: rows for name, rows in answers.items() if name == "facts" or name.startswith("timescaledb")}
    # A server without background workers has no runs, and this version no view of chunks' activity: written by hand.
    facts = {**kept["facts"][0], "relations": ["timescaledb_information.stat_chunk_activity"]}
    jobs = [dict(row) for row in kept["timescaledb_jobs"]]
    ran = {"total_runs": 9, "total_successes": 7, "total_failures": 2, "failed": 1, "duration": 1.5, "started": 30,
           "succeeded": 3_630, "next": -12}  # fmt: skip
    activity = {value.column: number for number, value in enumerate(ACTIVITY.values, 1)}
    by_hand = {
        "facts": [facts],
        "timescaledb_jobs": [jobs[0] | ran, *jobs[1:]],
        "timescaledb_job_errors": [
            {"proc_name": "policy_retention", "sqlerrcode": "55P03", "errors": 2, "crashes": 0, "age": 30},
            {"proc_name": "policy_compression", "sqlerrcode": "", "errors": 1, "crashes": 1, "age": 90},
        ],
        "timescaledb_job_history": [{"proc_name": "policy_retention", "good": 7, "bad": 2, "longest": 4.5}],
        "timescaledb_activity": [{"name": "m", **activity}],
    }
    write_case("timescale", {**kept, **by_hand})


class Recorder:
    """A connection that writes down what it answers."""

    def __init__(self, database: Postgres) -> None:
        self._database = database
        self.answers: dict[str, Sequence[Row]] = {}

    async def fetch(self, name: str, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        rows = await self._database.fetch(name, sql, parameters)
        self.answers[name] = rows
        return rows

    async def close(self) -> None:
        await self._database.close()


async def collect_from(dsn: str, *, runs: int = 1, **config: Any) -> tuple[Collection, dict[str, Sequence[Row]]]:
    """Collect ``runs`` times and return what came last, with the server's answers."""
    recorder = Recorder(Postgres(lambda: dsn))
    collector = DatabasePerformanceCollector(
        DatabasePerformanceConfig.model_validate({"budget_seconds": 30, **config}),
        CollectorContext(drivers={"postgres": recorder}),
    )
    await collector.open()
    try:
        collection = Collection()
        for _ in range(runs):
            collection = await collector.collect(WINDOW)
    finally:
        await collector.close()
    return collection, recorder.answers


def write_case(name: str, answers: Mapping[str, Sequence[Row]], config: str = "") -> None:
    """Write a golden case; of hundreds of settings a few are enough."""
    answers = {key: rows[:20] if key in ("settings", "slru") else rows for key, rows in answers.items()}
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(rows, default=_plain)}" for key, rows in answers.items())
    (folder / "answers.json").write_text("{\n" + lines + "\n}\n")
    (folder / "config.toml").write_text(f"end = 2026-03-02T12:00:00Z\n{config}")


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


async def _record() -> None:
    expected = '[config]\nexpected_settings = { fsync = "on", max_connections = "100" }\n'
    for major in (15, 18):
        if find_binaries(major) is None:
            continue
        with postgres(major) as primary:
            prepare(primary)
            with standby_of(primary) as standby, at_work(primary):
                wait_for(primary, "EXISTS (SELECT FROM pg_replication_slots WHERE xmin IS NOT NULL)")
                settings = {"fsync": "on", "max_connections": "100"}
                _, answers = await collect_from(primary.dsn(), expected_settings=settings)
                write_case(f"primary_{major}", answers, expected)
                _, answers = await collect_from(standby.dsn())
                if major == 18:
                    write_case("standby_18", answers)


if __name__ == "__main__":
    asyncio.run(_record())
    if address := os.environ.get("COLLECTORS_TEST_TIMESCALEDB"):
        asyncio.run(_record_timescale(address))
