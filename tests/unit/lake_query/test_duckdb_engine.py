"""The embedded engine: one tenant's rows and no other's, typed errors, and queries that stop when told."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from pathlib import Path

import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibis import _
from tests.support.lake_files import instant, rows, write_lake

from collectors.clock import SYSTEM_CLOCK
from collectors.contract.tables import events, rollup
from collectors.errors import BadInput, LifecycleError, Overloaded, PermanentError, StorageUnavailable
from collectors.lake.duckdb_engine import DuckDBEngine, EngineLimits, _Job
from collectors.lake.engine import Days, LakeFile, Snapshot, TenantView
from collectors.model.event_types import EVENT_TYPES, PLAYBACK
from collectors.model.rollups import ROLLUPS, USER_DAY


def play(tenant: str, user: bytes | None, when: dt.datetime, ms: int = 60_000, **more: object) -> dict[str, object]:
    return {"tenant_id": tenant, "user_id": user, "event_time": when, "track_id": "t", "ms_played": ms, **more}


PLAYS = rows(
    "playback",
    [
        play("a", b"u1", instant(2026, 3, 1, 10), country="SE"),
        play("a", b"u2", instant(2026, 3, 2, 10), 5_000, skipped=True),
        play("a", b"u1", instant(2026, 3, 2, 11), 90_000),
        play("b", b"u9", instant(2026, 3, 2, 12), 7),
        play("o'hara\"; DROP TABLE playback --", b"u7", instant(2026, 3, 2, 13), 11),
    ],
)


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return write_lake(tmp_path, [{"playback": PLAYS}])


@pytest.fixture
async def engine():
    engine = DuckDBEngine()
    yield engine
    await engine.close()


def view(engine: DuckDBEngine, tenant: str, snapshot: Snapshot) -> TenantView:
    async def provide() -> Snapshot:
        return snapshot

    return TenantView(engine, tenant, provide)


def remove(file: LakeFile) -> None:
    Path(file.path).unlink()


async def total_ms(engine: DuckDBEngine, tenant: str, snapshot: Snapshot) -> int | None:
    result = await view(engine, tenant, snapshot).query(events("playback").agg(ms=_.ms_played.sum()))
    return result.column("ms")[0].as_py()


async def test_a_query_sees_the_rows_of_its_own_tenant_only(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    assert await total_ms(engine, "a", snapshot) == 155_000
    assert await total_ms(engine, "b", snapshot) == 7
    assert await total_ms(engine, "nobody", snapshot) is None


async def test_quotes_in_a_tenant_id_are_data(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    assert await total_ms(engine, "o'hara\"; DROP TABLE playback --", snapshot) == 11
    assert await total_ms(engine, "a' OR '1'='1", snapshot) is None


async def test_the_tenant_is_not_a_column(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    result = await view(engine, "a", snapshot).query(events("playback").limit(1))
    assert result.schema == pa.schema([f.with_type(ibis_type(f.type)) for f in PLAYBACK.stored_schema])
    with pytest.raises(AttributeError):
        _ = events("playback").tenant_id


def ibis_type(kind: pa.DataType) -> pa.DataType:
    return pa.binary() if pa.types.is_fixed_size_binary(kind) else kind


def foreign_expressions() -> dict[str, ibis.Table]:
    playback = events("playback")
    own_schema = ibis.table({"tenant_id": "string", "ms_played": "int32"}, name="playback")

    @ibis.udf.scalar.builtin
    def getvariable(name: str) -> str: ...

    def raw(query: str, **schema: str) -> ibis.Table:
        return ops.SQLStringView(parent=playback.op(), query=query, schema=ibis.schema(schema)).to_expr()

    connection = ibis.duckdb.connect()
    return {
        "raw sql": raw("SELECT ms_played FROM read_parquet('/**/*.parquet')", ms_played="int32"),
        "sql of a connection": ops.SQLQueryResult("SELECT 1 AS x", ibis.schema({"x": "int64"}), connection).to_expr(),
        "sql inside a join": playback.join(raw("SELECT 'x' AS track_id", track_id="string"), "track_id"),
        "table of a connection": ops.DatabaseTable("playback", playback.schema(), connection).to_expr(),
        "own schema with the tenant": own_schema,
        "unknown table": ibis.table({"x": "int64"}, name="read_parquet('/etc/passwd')"),
        "other database": ibis.table(playback.schema(), name="playback", database="main"),
        "memory table": ibis.memtable(pa.table({"x": [1]})),
        "subquery": playback.filter(playback.ms_played == own_schema.ms_played.max().as_scalar()),
        "function of the engine": playback.select(x=getvariable("tenant")),
    }


@pytest.mark.parametrize("name", foreign_expressions())
async def test_an_expression_that_reads_anything_else_is_refused(
    name: str, engine: DuckDBEngine, snapshot: Snapshot
) -> None:
    with pytest.raises(BadInput):
        await view(engine, "a", snapshot).query(foreign_expressions()[name])


async def test_every_table_of_the_lake_can_be_queried_while_it_is_empty(engine: DuckDBEngine) -> None:
    for table in [*(events(name) for name in EVENT_TYPES), *(rollup(name) for name in ROLLUPS)]:
        result = await view(engine, "a", Snapshot()).query(table)
        assert result.num_rows == 0
        assert result.schema.names == list(table.columns)


async def test_lists_maps_and_nulls_come_back_as_they_were_stored(tmp_path: Path, engine: DuckDBEngine) -> None:
    when = instant(2026, 3, 1)
    batch = {
        "prediction": rows(
            "prediction",
            [{"tenant_id": "a", "event_time": when, "model": "m", "prediction_id": "p", "features": [("x", 1.5)]}],
        ),
        "recommendation": rows(
            "recommendation", [{"tenant_id": "a", "event_time": when, "slate_id": "s", "items": ["i", None]}]
        ),
    }
    tenant = view(engine, "a", write_lake(tmp_path, [batch]))
    for name, table in batch.items():
        result = await tenant.query(events(name))
        wanted = table.select(EVENT_TYPES[name].stored_schema.names).to_pylist()
        assert result.to_pylist() == wanted


async def test_columns_that_older_files_lack_are_null(tmp_path: Path, engine: DuckDBEngine) -> None:
    old = PLAYS.drop_columns(["day", "country", "device", "received_time"]).slice(0, 1)
    pq.write_table(old, tmp_path / "old.parquet")
    pq.write_table(PLAYS.drop_columns(["day"]).slice(1, 2), tmp_path / "new.parquet")
    expression = events("playback").select("event_time", "country", "device").order_by("event_time")
    for names, count in ((["old"], 1), (["old", "new"], 3), (["new", "old"], 3)):
        files = tuple(LakeFile(str(tmp_path / f"{name}.parquet")) for name in names)
        result = await view(engine, "a", Snapshot({"playback": files})).query(expression)
        assert result.num_rows == count
        assert result.column("device").null_count == count


async def test_a_union_or_join_of_two_uses_of_a_table_is_bound_in_both(
    engine: DuckDBEngine, snapshot: Snapshot
) -> None:
    playback = events("playback")
    firsts = playback.group_by("user_id").agg(first=_.event_time.min())
    joined = playback.join(firsts, "user_id").agg(n=_.count())
    assert (await view(engine, "a", snapshot).query(joined)).to_pylist() == [{"n": 3}]


@settings(max_examples=15)
@given(
    plays=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]), st.sampled_from([b"u", b"v", None]), st.integers(0, 72), st.integers(0, 9)
        ),
        max_size=25,
    ),
    cut=st.integers(0, 25),
    summed=st.booleans(),
)
def test_a_rollup_is_the_sum_of_its_partial_rows(tmp_path_factory, plays, cut: int, summed: bool) -> None:
    """Oracle: a dictionary of sums in plain Python."""
    records = [play(t, u, instant(2026, 3, 1) + dt.timedelta(hours=h), ms * 10_000) for t, u, h, ms in plays]
    parts = [records[:cut], records[cut:]]
    snapshot = write_lake(tmp_path_factory.mktemp("lake"), [{"playback": rows("playback", part)} for part in parts])
    if summed:  # each batch is summed in itself, so saying so must not change the answer
        marked = tuple(LakeFile(f.path, f.days, f.tenants, summed=True) for f in snapshot.files.get("user_day", ()))
        snapshot = Snapshot({**snapshot.files, "user_day": marked})
    expected: dict[tuple[dt.date, bytes | None], list[int]] = {}
    for tenant, user, hour, ms in plays:
        if tenant == "a":
            sums = expected.setdefault((dt.date(2026, 3, 1) + dt.timedelta(days=hour // 24), user), [0, 0])
            sums[0] += 1
            sums[1] += ms * 10_000

    async def ask() -> pa.Table:
        engine = DuckDBEngine()
        try:
            return await view(engine, "a", snapshot).query(rollup("user_day"))
        finally:
            await engine.close()

    result = asyncio.run(ask())
    assert {(r["day"], r["user_id"]): [r["plays"], r["ms_played"]] for r in result.to_pylist()} == expected
    assert result.num_rows == len(expected)


async def test_summed_files_whose_days_nobody_else_holds_are_read_as_they_are(
    tmp_path: Path, engine: DuckDBEngine
) -> None:
    day = dt.date(2026, 3, 1)
    record = {"tenant_id": "a", "day": day, "user_id": b"u", "plays": 1, "streams": 1, "skips": 0, "ms_played": 5}
    pq.write_table(pa.Table.from_pylist([record, record], USER_DAY.lake_schema), tmp_path / "f.parquet")
    counts = []
    for summed in (True, False):
        file = LakeFile(str(tmp_path / "f.parquet"), Days(day, day), summed=summed)
        result = await view(engine, "a", Snapshot({"user_day": (file,)})).query(rollup("user_day"))
        counts.append(result.num_rows)
    assert counts == [2, 1], "the promise of distinct keys was believed, which saves the group-by"


async def test_sums_come_back_in_the_type_of_the_expression(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    playback = events("playback")
    expression = playback.agg(total=_.ms_played.cast("int64").sum(), mean=_.ms_played.cast("float64").mean())
    result = await view(engine, "a", snapshot).query(expression)
    assert result.schema == pa.schema({"total": pa.int64(), "mean": pa.float64()})


def endless() -> ibis.Table:
    """A join of a table with itself eight times over: more rows than can be counted in a lifetime."""
    table = events("playback").select("track_id")
    for _number in range(8):
        table = table.join(table.view(), "track_id").select("track_id")
    return table.agg(n=table.count())


@pytest.fixture
def many(tmp_path: Path) -> Snapshot:
    return write_lake(tmp_path, [{"playback": rows("playback", [play("a", b"u", instant(2026, 3, 1))] * 1000)}])


async def test_a_query_over_its_time_is_stopped_and_may_be_retried(many: Snapshot) -> None:
    engine = DuckDBEngine(EngineLimits(timeout_seconds=0.3))
    for _again in range(2):  # the first time most of it goes by compiling
        with pytest.raises(Overloaded, match="stopped after"):
            await view(engine, "a", many).query(endless())
    await engine.close()


async def test_cancelling_the_caller_interrupts_the_query_and_frees_its_slot(many: Snapshot) -> None:
    engine = DuckDBEngine(EngineLimits(concurrency=1))
    tenant = view(engine, "a", many)
    running = asyncio.ensure_future(tenant.query(endless()))
    while engine._database is None and not running.done():
        await SYSTEM_CLOCK.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await total_ms(engine, "a", many) == 60_000_000
    await engine.close()


async def test_a_query_is_stopped_even_before_it_began(many: Snapshot) -> None:
    class Impatient:
        async def sleep(self, seconds: float) -> None:
            return None

    engine = DuckDBEngine(clock=Impatient())
    with pytest.raises(Overloaded):
        await view(engine, "a", many).query(endless())
    await engine.close()


async def test_lack_of_memory_is_an_overload(many: Snapshot) -> None:
    engine = DuckDBEngine(EngineLimits(memory_bytes=2_000_000))
    table = events("playback").select("event_id", "track_id")
    wide = table.join(table.view(), "track_id").order_by("event_id")
    with pytest.raises(Overloaded, match="memory"):
        await view(engine, "a", many).query(wide)
    await engine.close()


async def test_what_does_not_fit_is_spilt_where_a_folder_is_given(many: Snapshot, tmp_path: Path) -> None:
    engine = DuckDBEngine(EngineLimits(memory_bytes=40_000_000, spill=tmp_path / "spill"))
    table = events("playback").select("event_id", "track_id")
    wide = table.join(table.view(), "track_id").order_by("event_id")
    assert (await view(engine, "a", many).query(wide.agg(n=_.count()))).to_pylist() == [{"n": 1_000_000}]
    await engine.close()


async def test_a_file_that_vanished_can_be_retried_with_a_newer_snapshot(engine: DuckDBEngine, snapshot) -> None:
    remove(snapshot.files["playback"][0])
    with pytest.raises(StorageUnavailable, match="try again"):
        await total_ms(engine, "a", snapshot)


async def test_an_impossible_value_is_permanent_and_not_quoted(tmp_path: Path, engine: DuckDBEngine) -> None:
    secret = play("a", b"u", instant(2026, 3, 1), country="ada")
    snapshot = write_lake(tmp_path, [{"playback": rows("playback", [secret])}])
    with pytest.raises(PermanentError) as caught:
        await view(engine, "a", snapshot).query(events("playback").select(x=_.country.cast("int64")))
    assert "ada" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_sum_beyond_int64_is_permanent(tmp_path: Path, engine: DuckDBEngine) -> None:
    money = {"payment_id": "p", "customer_id": b"c", "kind": "charge", "currency": "EUR", "amount_minor": 2**62}
    records = [{"tenant_id": "a", "event_time": instant(2026, 3, 1), **money}] * 2
    snapshot = write_lake(tmp_path, [])
    pq.write_table(rows("payment", records).drop_columns("day"), tmp_path / "p.parquet")
    snapshot = Snapshot({"payment": (LakeFile(str(tmp_path / "p.parquet")),)})
    with pytest.raises(PermanentError):
        await view(engine, "a", snapshot).query(events("payment").agg(total=_.amount_minor.sum()))


async def test_a_database_that_failed_is_replaced_for_the_next_query(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    await total_ms(engine, "a", snapshot)
    engine._database.close()
    with pytest.raises(StorageUnavailable):
        await total_ms(engine, "a", snapshot)
    assert await total_ms(engine, "a", snapshot) == 155_000


async def test_close_is_safe_unopened_and_twice_and_ends_service(snapshot: Snapshot) -> None:
    engine = DuckDBEngine()
    await engine.close()
    await engine.close()
    with pytest.raises(LifecycleError):
        await total_ms(engine, "a", snapshot)


async def test_a_tenant_runs_one_query_at_a_time(snapshot: Snapshot) -> None:
    class Watching:
        running = most = 0

        async def run(self, expression, tenant_id, files):
            self.running += 1
            self.most = max(self.most, self.running)
            for _turn in range(5):
                await SYSTEM_CLOCK.sleep(0)
            self.running -= 1
            return pa.table({})

        async def close(self) -> None: ...

    watching = Watching()
    tenants = [view(watching, name, snapshot) for name in ("a", "b")]
    await asyncio.gather(*(tenant.query(events("playback")) for tenant in tenants for _again in range(3)))
    assert watching.most == len(tenants)


async def test_only_files_that_may_hold_the_tenant_and_days_are_opened(engine: DuckDBEngine, snapshot) -> None:
    """The files of other days and tenants are gone, and nobody notices."""
    for file in snapshot.files["playback"]:
        if file.days.first != dt.date(2026, 3, 1):
            remove(file)
    day = events("playback").filter(_.event_time >= instant(2026, 3, 1), _.event_time < instant(2026, 3, 2))
    result = await view(engine, "a", snapshot).query(day)
    assert pc.sum(result.column("ms_played")).as_py() == 60_000
    assert await total_ms(engine, "0", snapshot) is None


async def test_the_order_an_author_asks_for_is_kept(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    result = await view(engine, "a", snapshot).query(
        events("playback").select("ms_played").order_by(_.ms_played.desc())
    )
    assert result.column("ms_played").to_pylist() == [90_000, 60_000, 5_000]


async def test_a_query_of_literals_alone_runs_too(engine: DuckDBEngine) -> None:
    numbers = ibis.literal([1, 2]).unnest().name("x").as_table()
    result = await view(engine, "a", Snapshot()).query(numbers)
    assert sorted(result.column("x").to_pylist()) == [1, 2]


async def test_a_table_used_twice_is_written_once(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    """Ibis then begins the statement with its own WITH, which the tables must precede."""
    counts = events("playback").group_by("user_id").agg(n=_.count())
    both = counts.join(counts.view().rename(m="n"), "user_id").agg(total=(_.n + _.m).sum())
    assert ibis.to_sql(both, dialect="duckdb").startswith("WITH")
    assert (await view(engine, "a", snapshot).query(both)).to_pylist() == [{"total": 6}]


async def test_the_machines_time_zone_does_not_matter(engine: DuckDBEngine, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    evening = play("a", b"u", instant(2026, 3, 1, 23))
    snapshot = write_lake(tmp_path, [{"playback": rows("playback", [evening])}])
    result = await view(engine, "a", snapshot).query(events("playback").select(day=_.event_time.date()))
    assert result.to_pylist() == [{"day": dt.date(2026, 3, 1)}]


async def test_an_operation_that_duckdb_lacks_is_permanent(engine: DuckDBEngine, snapshot: Snapshot) -> None:
    playback = events("playback")
    sample = playback.agg(x=playback.ms_played.corr(playback.track_ms, how="sample"))
    with pytest.raises(PermanentError, match="no such operation"):
        await view(engine, "a", snapshot).query(sample)


def test_a_running_query_is_interrupted_and_one_that_has_not_begun_never_does() -> None:
    job, begun, ended = _Job(), threading.Event(), []

    def work() -> None:
        with duckdb.connect() as connection, job.running(connection):
            begun.set()
            try:
                connection.execute("SELECT count(*) FROM range(10000000) a, range(10000000) b").fetchall()
            except duckdb.InterruptException:
                ended.append("interrupted")

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    while thread.is_alive():
        job.interrupt()
        thread.join(0.01)
    assert ended == ["interrupted"]
    with pytest.raises(duckdb.InterruptException), job.running(duckdb.connect()):
        pytest.fail("it began")
