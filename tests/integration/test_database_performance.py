"""The PostgreSQL collector on real servers: what it tells, what it costs them, and what happens when they fail."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import traceback
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="NOT TESTED: psycopg is missing; uv pip install 'psycopg[binary]'")

from collectors.catalog.performance.database.probe import Facts  # noqa: E402
from collectors.catalog.performance.database.timescale_activity import ACTIVITY  # noqa: E402
from collectors.catalog.performance.database_performance import (  # noqa: E402  # only with psycopg
    DatabasePerformanceCollector,
    DatabasePerformanceConfig,
)
from collectors.clock import SYSTEM_CLOCK, Clock, SystemClock  # noqa: E402
from collectors.contract.collector import CollectorContext  # noqa: E402
from collectors.drivers.postgres import Limits, Postgres, TooSlow  # noqa: E402
from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable  # noqa: E402
from collectors.model.metric import Collection  # noqa: E402
from tests.support.database_coverage import covered  # noqa: E402
from tests.support.servers.postgres import Server, find_binaries, free_port, missing, postgres, standby_of  # noqa: E402
from tests.support.servers.postgres_workload import (  # noqa: E402
    MONITOR_PASSWORD,
    WINDOW,
    at_work,
    collect_from,
    prepare,
    prepare_timescale,
    wait_for,
)
from tests.support.servers.proxy import proxy_to  # noqa: E402

EXPORTER = shutil.which("prometheus-postgres-exporter")


@contextmanager
def _server(major: int, **settings: str) -> Iterator[Server]:
    if find_binaries(major) is None:
        pytest.skip(missing(major))
    with postgres(major, **settings) as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module")
def fifteen() -> Iterator[Server]:
    with _server(15) as server:
        yield server


@pytest.fixture(scope="module")
def eighteen() -> Iterator[Server]:
    with _server(18) as server:
        yield server


@pytest.fixture(params=["fifteen", "eighteen"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


class Ahead(SystemClock):
    """Real time, and the waits that nobody waits for."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@asynccontextmanager
async def opened(dsn: str, clock: Clock = SYSTEM_CLOCK, **config: Any) -> AsyncIterator[DatabasePerformanceCollector]:
    collector = DatabasePerformanceCollector(
        DatabasePerformanceConfig.model_validate({"dsn": dsn, **config}), CollectorContext(clock=clock)
    )
    try:
        await collector.open()
        yield collector
    finally:
        await collector.close()


def values(collection: Collection, metric: str) -> dict[tuple[str, ...], float | None]:
    return {sample.labels: sample.value for sample in collection.samples if sample.metric == metric}


def value(collection: Collection, metric: str, *labels: str) -> float:
    found = values(collection, metric)[labels]
    assert found is not None
    return found


async def test_a_superuser_gets_every_answer(server: Server) -> None:
    collection, _ = await collect_from(server.dsn())
    assert collection.issues == ()
    assert len({sample.metric for sample in collection.samples}) > 150


async def test_pg_monitor_is_right_enough_for_everything(server: Server) -> None:
    collection, _ = await collect_from(server.dsn("monitor", MONITOR_PASSWORD))
    assert collection.issues == ()
    reasons = {s.reason for s in collection.samples if s.metric == "postgresql.table.bloat"}
    assert reasons == {"there are no statistics of its columns: it was not analyzed, or they may not be read"}
    assert value(collection, "postgresql.wal.segments") >= 1


async def test_bloat_needs_the_right_to_read_the_tables_and_then_finds_the_deleted_third(fifteen: Server) -> None:
    with psycopg.connect(fifteen.dsn(), autocommit=True) as connection:
        connection.execute("GRANT pg_read_all_data TO monitor")
    collection, _ = await collect_from(fifteen.dsn("monitor", MONITOR_PASSWORD))
    with psycopg.connect(fifteen.dsn(), autocommit=True) as connection:
        connection.execute("REVOKE pg_read_all_data FROM monitor")
        measured = connection.execute(
            "SELECT (free_space + dead_tuple_len)::float8 / table_len FROM pgstattuple('track')"
        ).fetchone()
    assert measured is not None
    assert value(collection, "postgresql.table.bloat_ratio", "public", "track") == pytest.approx(measured[0], abs=0.08)


async def test_without_any_right_the_rest_is_told_and_what_is_missing_named(server: Server) -> None:
    collection, _ = await collect_from(server.dsn("stranger", MONITOR_PASSWORD))
    items = {issue.item for issue in collection.issues}
    assert any(issue.code == "rights" and "pg_monitor" in issue.message for issue in collection.issues)
    assert {"wal_files", "archive_files"} <= items
    assert {issue.code for issue in collection.issues} <= {"rights", "source_refused"}
    assert value(collection, "postgresql.commits", "postgres") > 0


async def test_a_right_that_is_revoked_and_granted_again_goes_and_comes(fifteen: Server) -> None:
    clock = Ahead()
    async with opened(fifteen.dsn("monitor", MONITOR_PASSWORD), clock, budget_seconds=30) as collector:
        assert (await collector.collect(WINDOW)).issues == ()
        with psycopg.connect(fifteen.dsn(), autocommit=True) as connection:
            connection.execute("REVOKE pg_monitor FROM monitor")
            clock.ahead += 3_600
            without = await collector.collect(WINDOW)
            connection.execute("GRANT pg_monitor TO monitor")
        clock.ahead += 3_600
        again = await collector.collect(WINDOW)
    assert "wal_files" in {issue.item for issue in without.issues}
    assert not values(without, "postgresql.wal.segments")
    assert again.issues == ()
    assert values(again, "postgresql.wal.segments")


async def test_values_are_those_of_the_server(fifteen: Server) -> None:
    collection, _ = await collect_from(fifteen.dsn())
    with psycopg.connect(fifteen.dsn(), autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_table_size('track'), pg_indexes_size('track'), pg_database_size('postgres'), "
            "current_setting('max_connections')::int, (SELECT count(*) FROM pg_database)"
        ).fetchone()
    assert rows is not None
    parts = values(collection, "postgresql.table.size")
    assert parts["public", "track", "heap"] + parts["public", "track", "toast_and_maps"] == rows[0]
    assert parts["public", "track", "indexes"] == rows[1]
    assert value(collection, "postgresql.db_size", "postgres") == pytest.approx(rows[2], rel=0.01)
    assert value(collection, "postgresql.connection.max") == rows[3]
    assert value(collection, "postgresql.database.count") == rows[4]
    assert value(collection, "postgresql.sequence.used", "public", "ticket") == pytest.approx(0.95)
    assert value(collection, "postgresql.setting", "shared_buffers", "By") == 16 * 2**20
    assert value(collection, "postgresql.indexes.flawed", "duplicate") == 1
    assert value(collection, "postgresql.indexes.flawed", "redundant") == 2
    assert value(collection, "postgresql.function.calls", "public", "now_and_then") == 1
    assert values(collection, "postgresql.table.vacuum.age")["public", "track", "autovacuum"] is None
    assert value(collection, "postgresql.table.vacuum.age", "public", "track", "analyze") > 0
    assert value(collection, "postgresql.advice", "definer_functions_without_search_path") == 1


async def test_sessions_that_block_each_other_are_a_tree_with_a_finding(server: Server) -> None:
    names = ("holder", "first", "second")
    async with await psycopg.AsyncConnection.connect(server.dsn(), application_name=names[0]) as holder:
        await holder.execute("LOCK TABLE play")
        waiting = []
        for name in names[1:]:
            other = await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True, application_name=name)
            waiting.append((other, asyncio.ensure_future(other.execute("SELECT count(*) FROM play"))))
        await asyncio.to_thread(
            wait_for, server, "(SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
        )
        collection, _ = await collect_from(server.dsn())
        pid = str(holder.info.backend_pid)
        await holder.rollback()
        for other, task in waiting:
            await task
            await other.close()
    assert value(collection, "postgresql.blocking.blocked") == 2
    assert value(collection, "postgresql.blocking.roots") == 1
    assert value(collection, "postgresql.blocking.depth") == 1
    (finding,) = collection.findings
    assert (finding.key, dict(finding.labels)["application"]) == (pid, "holder")
    assert "idle in transaction" in finding.summary
    assert collection.issues == ()  # sizes of the locked table are left out, so nobody waited


async def test_statements_are_told_of_without_constants_and_within_the_bound(server: Server) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for number in range(1, 60):
            connection.execute(f"SELECT id FROM track WHERE id IN ({', '.join(map(str, range(number)))})")
        connection.execute("CREATE ROLE passing PASSWORD 'hunter2-hunter2'; DROP ROLE passing")
    collection, _ = await collect_from(server.dsn(), top=3)
    calls = values(collection, "postgresql.query.calls")
    assert 3 <= len(calls) <= 9
    assert value(collection, "postgresql.queries.known") > 9
    shown = json.dumps([sample.labels for sample in collection.samples])
    assert "hunter2" not in shown
    assert MONITOR_PASSWORD not in shown


async def test_a_standby_tells_how_far_behind_it_is(fifteen: Server) -> None:
    with standby_of(fifteen) as standby:
        try:
            wait_for(fifteen, "EXISTS (SELECT FROM pg_replication_slots WHERE xmin IS NOT NULL)")
            here, _ = await collect_from(fifteen.dsn())
            there, _ = await collect_from(standby.dsn())
            assert here.issues == there.issues == ()
            assert value(there, "postgresql.is_standby") == 1
            assert value(there, "postgresql.wal.delay") >= 0
            assert list(values(there, "postgresql.wal_receiver.streaming").values()) == [1]
            assert values(there, "postgresql.recovery.prefetch")
            assert value(here, "postgresql.slot.active", "replica", "physical", "") == 1
            assert {labels[3] for labels in values(here, "postgresql.replication.connected")} == {"async"}
        finally:
            standby.stop()
            with psycopg.connect(fifteen.dsn(), autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
                wait_for(
                    fifteen, "NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'replica' AND active)"
                )
                connection.execute("SELECT pg_drop_replication_slot('replica')")


async def test_the_age_of_the_last_base_backup_is_found_where_wal_is_archived() -> None:
    with _server(15, archive_mode="on", archive_command="true") as server:
        before, _ = await collect_from(server.dsn("monitor", MONITOR_PASSWORD))
        backup = server.folder / "backup"
        server.run("pg_basebackup", "-D", str(backup), "-d", server.dsn(), "-X", "none", "-c", "fast", "--no-sync")
        after, _ = await collect_from(server.dsn("monitor", MONITOR_PASSWORD))
    assert values(before, "postgresql.backup.age") == {(): None}
    assert 0 <= value(after, "postgresql.backup.age") < 60
    assert value(after, "postgresql.archiver.enabled") == 1


async def test_running_maintenance_is_seen(server: Server) -> None:
    with at_work(server):
        collection, _ = await collect_from(server.dsn())
    assert {labels[2] for labels in values(collection, "postgresql.vacuum.progress")} == {"track"}
    assert {labels[0] for labels in values(collection, "postgresql.operation.progress")} == {"analyze"}


async def test_it_holds_one_connection_that_can_only_read(server: Server) -> None:
    async with opened(server.dsn()) as collector:
        for _ in range(3):
            await collector.collect(WINDOW)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            mine = "FROM pg_stat_activity WHERE application_name = 'collectors'"
            assert connection.execute(f"SELECT count(*) {mine}").fetchone() == (1,)
    database = Postgres(server.dsn)
    try:
        with pytest.raises(SourceRefused):
            await database.fetch("write", "CREATE TABLE public.never (a int)")
        assert await database.fetch("read", "SELECT 1 AS one") == [{"one": 1}]
        assert database.connects == 1
    finally:
        await database.close()


async def test_a_statement_that_takes_too_long_ends_on_the_server_and_the_connection_lives(server: Server) -> None:
    database = Postgres(server.dsn, Limits(statement_s=0.1))
    try:
        with pytest.raises(TooSlow):
            await database.fetch("slow", "SELECT pg_sleep(30)")
        rows = await database.fetch(
            "look",
            "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()",
        )
        assert rows == [{"n": 0}]
        assert database.connects == 1
    finally:
        await database.close()


async def test_cancelled_while_the_server_is_silent_it_lets_go_at_once(fifteen: Server) -> None:
    async with proxy_to(fifteen.port) as proxy:
        database = Postgres(lambda: fifteen.dsn().replace(str(fifteen.port), str(proxy.port)), Limits(statement_s=30))
        await database.fetch("first", "SELECT 1 AS one")
        proxy.silent = True
        task = asyncio.ensure_future(database.fetch("lost", "SELECT 1 AS one"))
        await asyncio.wait({task}, timeout=0.05)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done
        assert task.cancelled()
        await database.close()


async def test_a_half_open_connection_is_given_up_and_made_anew(fifteen: Server) -> None:
    async with proxy_to(fifteen.port) as proxy:
        dsn = fifteen.dsn().replace(str(fifteen.port), str(proxy.port))
        async with opened(dsn, statement_timeout_seconds=0.2, connect_timeout_seconds=1) as collector:
            await collector.collect(WINDOW)
            proxy.silent = True
            with pytest.raises(SourceUnavailable) as caught:
                await collector.collect(WINDOW)
            _tells_nothing(caught.value, fifteen)
            with pytest.raises(SourceUnavailable):  # now it can't even connect
                await collector.collect(WINDOW)
            proxy.silent = False
            assert (await collector.collect(WINDOW)).samples


async def test_a_server_that_answers_after_ten_seconds_is_not_waited_for(fifteen: Server) -> None:
    async with proxy_to(fifteen.port) as proxy:
        dsn = fifteen.dsn().replace(str(fifteen.port), str(proxy.port))
        async with opened(dsn, statement_timeout_seconds=0.2, connect_timeout_seconds=1) as collector:
            proxy.delay_s = 10
            with pytest.raises(SourceUnavailable):
                await collector.collect(WINDOW)


async def test_it_outlives_a_restart_of_the_server() -> None:
    with _server(15) as server:
        async with opened(server.dsn(), budget_seconds=30) as collector:
            before = await collector.collect(WINDOW)
            server.stop()
            with pytest.raises(SourceUnavailable) as caught:
                await collector.collect(WINDOW)
            _tells_nothing(caught.value, server)
            server.start()
            after = await collector.collect(WINDOW)
        assert {s.metric for s in after.samples} >= {s.metric for s in before.samples} - {
            "postgresql.function.calls"
        } - {s.metric for s in before.samples if s.metric.startswith(("postgresql.function", "postgresql.table.free"))}
        assert value(after, "postgresql.start_time") > value(before, "postgresql.start_time")


async def test_it_understands_a_server_that_is_another_version_since_last_time(
    fifteen: Server, eighteen: Server
) -> None:
    async with proxy_to(fifteen.port) as proxy:
        dsn = fifteen.dsn().replace(str(fifteen.port), str(proxy.port))
        async with opened(dsn, budget_seconds=30) as collector:
            old = await collector.collect(WINDOW)
            proxy.target = eighteen.port
            proxy.hang_up()
            with pytest.raises(SourceUnavailable):
                await collector.collect(WINDOW)
            new = await collector.collect(WINDOW)
    assert not values(old, "postgresql.io.operations")
    assert values(new, "postgresql.io.operations")
    assert new.issues == ()


def _tells_nothing(error: CollectorsError, server: Server, *secrets: str) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error)
    for secret in ("corr3ct", MONITOR_PASSWORD, str(server.port), "postgresql://", *secrets):
        assert secret not in told


@pytest.mark.parametrize(
    ("user", "password", "database"),
    [("postgres", "wr0ng-s3cret", "postgres"), ("nobody-here", "wr0ng-s3cret", "postgres"), ("postgres", None, "away")],
    ids=["password", "role", "database"],
)
async def test_a_refused_connection_is_typed_and_tells_no_credential(
    server: Server, user: str, password: str | None, database: str
) -> None:
    dsn = server.dsn(user, database=database) if password is None else server.dsn(user, password, database)
    collector = DatabasePerformanceCollector(DatabasePerformanceConfig.model_validate({"dsn": dsn}))
    with pytest.raises(SourceRefused) as caught:
        await collector.open()
    await collector.close()
    _tells_nothing(caught.value, server, "wr0ng")
    assert "corr3ct" not in repr(collector.config)


async def test_a_full_server_is_one_that_is_asked_again_later(fifteen: Server) -> None:
    with (
        postgres(
            15, max_connections="5", superuser_reserved_connections="3", max_wal_senders="0", wal_level="replica"
        ) as full,
        psycopg.connect(full.dsn(), autocommit=True) as connection,
    ):
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'pl4in-s3cret'")
        with psycopg.connect(full.dsn("plain", "pl4in-s3cret")):
            database = Postgres(lambda: full.dsn("plain", "pl4in-s3cret"))
            with pytest.raises(SourceUnavailable):
                await database.fetch("no room", "SELECT 1")
            await database.close()


async def test_a_password_can_be_rotated_in_its_file(server: Server, tmp_path: Any) -> None:
    file = tmp_path / "dsn"
    file.write_text(server.dsn("postgres", "old-wrong-one"))
    collector = DatabasePerformanceCollector(DatabasePerformanceConfig.model_validate({"dsn": f"file:{file}"}))
    with pytest.raises(SourceRefused):
        await collector.open()
    file.write_text(server.dsn())
    await collector.open()
    assert (await collector.collect(WINDOW)).samples
    await collector.close()


async def test_nobody_listening_is_unavailable_and_nonsense_refused() -> None:
    for dsn, error in (
        (f"host=127.0.0.1 port={free_port()} user=u", SourceUnavailable),
        ("this is none", SourceRefused),
    ):
        database = Postgres(lambda dsn=dsn: dsn)
        with pytest.raises(error):
            await database.fetch("any", "SELECT 1")
        await database.close()
        await database.close()


PAIRS = {
    "pg_stat_database_xact_commit": ("postgresql.commits", 60),
    "pg_stat_database_xact_rollback": ("postgresql.rollbacks", 5),
    "pg_stat_database_tup_inserted": ("postgresql.tup_inserted", 0),
    "pg_stat_database_tup_updated": ("postgresql.tup_updated", 0),
    "pg_stat_database_tup_deleted": ("postgresql.tup_deleted", 0),
    "pg_stat_database_deadlocks": ("postgresql.deadlocks", 0),
    "pg_stat_database_conflicts": ("postgresql.conflicts", 0),
    "pg_stat_database_temp_files": ("postgresql.temp_files", 0),
    "pg_stat_database_temp_bytes": ("postgresql.temp.io", 0),
    "pg_database_size_bytes": ("postgresql.db_size", 1_000_000),
}
SINGLE = {
    "pg_stat_bgwriter_checkpoints_timed_total": ("postgresql.bgwriter.checkpoint.count", ("scheduled",)),
    "pg_stat_bgwriter_checkpoints_req_total": ("postgresql.bgwriter.checkpoint.count", ("requested",)),
    "pg_stat_bgwriter_buffers_checkpoint_total": ("postgresql.bgwriter.buffers.writes", ("checkpoints",)),
    "pg_stat_bgwriter_buffers_clean_total": ("postgresql.bgwriter.buffers.writes", ("bgwriter",)),
    "pg_stat_bgwriter_maxwritten_clean_total": ("postgresql.bgwriter.maxwritten", ()),
    "pg_stat_archiver_archived_count": ("postgresql.archiver.files", ("archived",)),
    "pg_stat_archiver_failed_count": ("postgresql.archiver.files", ("failed",)),
    "pg_settings_max_connections": ("postgresql.setting", ("max_connections", "1")),
    "pg_settings_shared_buffers_bytes": ("postgresql.setting", ("shared_buffers", "By")),
    "pg_settings_checkpoint_timeout_seconds": ("postgresql.setting", ("checkpoint_timeout", "s")),
    "pg_settings_wal_segment_size_bytes": ("postgresql.setting", ("wal_segment_size", "By")),
    "pg_postmaster_start_time_seconds": ("postgresql.start_time", ()),
    "pg_replication_is_replica": ("postgresql.is_standby", ()),
}


@pytest.mark.skipif(EXPORTER is None, reason="NOT TESTED: apt-get install prometheus-postgres-exporter")
async def test_values_are_those_of_the_prometheus_exporter(fifteen: Server) -> None:
    assert EXPORTER is not None
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
        [EXPORTER, f"--web.listen-address=127.0.0.1:{port}"],
        env={"DATA_SOURCE_NAME": fifteen.dsn()}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        page = await asyncio.to_thread(_page, f"http://127.0.0.1:{port}/metrics")
        collection, _ = await collect_from(fifteen.dsn())
    finally:
        process.terminate()
        process.wait(10)
    theirs = {
        (name, re.search(r'datname="([^"]*)"', labels)[1] if "datname=" in labels else ""): float(number)
        for name, labels, number in re.findall(r"^(pg_\w+)(\{[^}]*\})? (\S+)$", page, re.MULTILINE)
    }
    compared = 0
    for name, (metric, slack) in PAIRS.items():
        for (database,), mine in values(collection, metric).items():
            if (name, database) in theirs and mine is not None:
                assert mine == pytest.approx(theirs[name, database], abs=slack), (name, database)
                compared += 1
    for name, (metric, labels) in SINGLE.items():
        if (name, "") in theirs:
            assert value(collection, metric, *labels) == pytest.approx(theirs[name, ""]), name
            compared += 1
    assert compared >= 35


def _page(url: str) -> str:
    for _ in range(20_000):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                page = answer.read().decode()
        except urllib.error.URLError:
            continue
        if "pg_stat_database_xact_commit" in page and "pg_settings_max_connections" in page:
            return page
    raise AssertionError("the exporter tells nothing")


async def test_the_question_for_chunk_activity_fits_the_columns_of_the_view(server: Server) -> None:
    columns = [name.name for name in covered() if name.source == "timescaledb_activity"]
    texts = {"chunk": "regclass", "compressed_chunk": "regclass", "hypertable": "regclass"}
    times = dict.fromkeys(("first_update", "last_update"), "timestamptz")
    types = {c: (texts | times).get(c, "float8" if c.endswith(("_avg", "_stddev")) else "bigint") for c in columns}
    numbers = {c: "'pg_class'" if c in texts else "now()" if c in times else "%s" for c in columns}
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA timescaledb_information")
        definition = ", ".join(f"{column} {type_}" for column, type_ in types.items())
        connection.execute(f"CREATE TABLE timescaledb_information.stat_chunk_activity ({definition})")
        for number in (2, 4):
            row = ", ".join(text.replace("%s", str(number)) for text in numbers.values())
            connection.execute(f"INSERT INTO timescaledb_information.stat_chunk_activity VALUES ({row})")
    database = Postgres(server.dsn)
    try:
        facts = Facts(15, standby=False, started=0, database="postgres", extensions={"timescaledb": ("2.29", "public")})
        outcome = await ACTIVITY.read(database, facts)
    finally:
        await database.close()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("DROP SCHEMA timescaledb_information CASCADE")
    told = {(s.metric, s.labels[1:]): s.value for s in outcome.samples}
    assert told["timescaledb.activity.chunks", ()] == 2
    assert told["timescaledb.activity.batch_rows", ("min",)] == 2
    assert told["timescaledb.activity.batch_rows", ("max",)] == 4
    assert told["timescaledb.activity.batch_rows", ("avg",)] == pytest.approx((2 * 2 + 4 * 4) / 6)
    assert told["timescaledb.activity.batches_pruned_by_bloom", ("total",)] == 6
    assert {s.metric for s in outcome.samples} == {spec.name for spec in ACTIVITY.emits}


@pytest.mark.skipif(
    "COLLECTORS_TEST_TIMESCALEDB" not in os.environ,
    reason="NOT TESTED: set COLLECTORS_TEST_TIMESCALEDB to the connection string of an empty TimescaleDB",
)
async def test_a_real_timescaledb_answers_every_question() -> None:
    dsn = os.environ["COLLECTORS_TEST_TIMESCALEDB"]
    prepare_timescale(dsn)
    collection, _ = await collect_from(dsn, statement_timeout_seconds=10)
    assert not [issue for issue in collection.issues if issue.item.startswith("timescaledb")]
    assert value(collection, "timescaledb.chunks", "public", "m") == 11
    assert value(collection, "timescaledb.columnstore.chunks", "public", "m", "compressed") == 4
    assert value(collection, "timescaledb.chunks.backlog", "public", "m") >= 2
    assert value(collection, "timescaledb.columnstore.drift", "public", "m", "segmentby") == 4
    assert value(collection, "timescaledb.hypertable.policy", "public", "m", "retention") == 1
    assert value(collection, "timescaledb.aggregate.policies", "public", "daily") == 1
    assert -86_400 < value(collection, "timescaledb.aggregate.lag", "public", "daily") < 86_400
