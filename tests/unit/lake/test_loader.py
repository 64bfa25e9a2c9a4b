"""Loading is exactly once, finds the repeats the gateway could not see, and keeps the ledger balanced."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.records import T0, event_id, playback, record

from collectors.drivers.event_log import LogWriter, Record
from collectors.drivers.ledger_store import LedgerStore
from collectors.errors import StorageUnavailable
from collectors.lake.loader import Lake
from collectors.model.batch import LedgerCounts
from collectors.model.rollups import ROLLUPS

HOUR = 3_600_000_000
DAY = 24 * HOUR


def open_lake(folder: Path) -> Lake:
    return Lake(folder / "lake", LedgerStore(folder / "ledger.db", folder / "log"), lambda _: "Europe/Stockholm")


def stored_ids(lake: Lake, name: str = "playback") -> list[tuple[str, bytes]]:
    table = lake.tables.get(name)
    if table is None or not table.files:
        return []
    paths = [str(table.folder / p) for p in table.files]
    return duckdb.sql(
        "SELECT tenant_id, event_id FROM read_parquet($paths) ORDER BY ALL", params={"paths": paths}
    ).fetchall()


def counts(lake: Lake) -> dict[tuple[str, str], LedgerCounts]:
    return lake._ledger.counts()


def test_records_of_several_tenants_and_days_are_stored_once_sorted_by_tenant(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    lake.load(
        [
            record(1, [playback(1), playback(2, time_us=T0 - DAY)], tenant="zeta"),
            record(2, [playback(1)], tenant="acme"),
            record(3, [], duplicate=2),
        ]
    )
    table = lake.tables["playback"]
    assert stored_ids(lake) == [("acme", event_id(1)), ("zeta", event_id(1)), ("zeta", event_id(2))]
    assert sorted((str(f.day), f.rows, f.tenants) for f in table.files.values()) == [
        ("2026-03-27", 1, ("zeta", "zeta")),
        ("2026-03-28", 2, ("acme", "zeta")),
    ]
    assert counts(lake)["acme", "playback"] == LedgerCounts(offered=3, stored=1, duplicate=2)
    assert all(c.balance == 0 for c in counts(lake).values())


def test_other_readers_of_delta_see_the_same_rows(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    for position in range(1, 6):
        lake.load([record(position, [playback(position, time_us=T0 + position)])])
    table = DeltaTable(str(lake.tables["playback"].folder))
    assert table.transaction_version("log") == 5
    actions = pa.table(table.get_add_actions(flatten=True))
    assert sum(actions.column("num_records").to_pylist()) == 5
    assert {Path(uri).name for uri in table.file_uris()} == {Path(p).name for p in lake.tables["playback"].files}


def test_a_load_of_the_same_records_again_changes_nothing(tmp_path: Path) -> None:
    records = [record(1, [playback(1), playback(2)]), record(2, [playback(3)], rejected=1)]
    lake = open_lake(tmp_path)
    lake.load(records)
    before = counts(lake)
    again = open_lake(tmp_path)
    assert again.position == 2
    again.load(records)
    assert stored_ids(again) == [("acme", event_id(n)) for n in (1, 2, 3)]
    assert counts(again) == before


@pytest.mark.parametrize("covered", [T0 + 1, T0 + HOUR])
def test_a_late_repeat_is_found_in_the_lake(tmp_path: Path, covered: int) -> None:
    lake = open_lake(tmp_path)
    lake.load([record(1, [playback(1), playback(2)])])
    lake.load([record(2, [playback(2), playback(3)], covered_since_us=covered, acked_us=T0 + HOUR)])
    assert stored_ids(lake) == [("acme", event_id(n)) for n in (1, 2, 3)]
    assert counts(lake)["acme", "playback"] == LedgerCounts(offered=4, stored=3, duplicate=1)


def test_late_repeats_within_one_load_are_stored_once(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    late = {"covered_since_us": T0 + HOUR, "acked_us": T0 + HOUR}
    lake.load(
        [
            record(1, [playback(1)], acked_us=T0),
            record(2, [playback(1), playback(2)], **late),
            record(3, [playback(2)], **late),
            record(4, [playback(1)], tenant="other", **late),
        ]
    )
    assert stored_ids(lake) == [("acme", event_id(1)), ("acme", event_id(2)), ("other", event_id(1))]
    assert counts(lake)["acme", "playback"] == LedgerCounts(offered=4, stored=2, duplicate=2)


def test_a_repeat_of_an_event_that_came_ahead_of_its_time_is_found(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    ahead = T0 + 200 * 10**6  # the producer's clock is 200 s fast
    lake.load([record(1, [playback(1, time_us=ahead, received_us=T0)], acked_us=T0)])
    # The window reaches back past the event's time, not past its arrival.
    repeat = record(
        2,
        [playback(1, time_us=ahead, received_us=ahead)],
        acked_us=ahead + 10**6,
        covered_since_us=T0 + 100 * 10**6,
    )
    reopened = open_lake(tmp_path)
    reopened.load([repeat])
    assert stored_ids(reopened) == [("acme", event_id(1))]


def test_punctual_rows_are_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = open_lake(tmp_path)
    lake.load([record(1, [playback(1)])])
    monkeypatch.setattr("collectors.lake.loader._ids_in_lake", lambda *_: pytest.fail("looked up"))
    lake.load([record(2, [playback(2, time_us=T0 + HOUR)], covered_since_us=T0 + 1)])


class _Crash(BaseException):
    pass


def test_a_crash_between_table_and_ledger_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        record(1, [playback(1)]),
        record(2, [playback(2), playback(1)], covered_since_us=T0 + HOUR),
        record(3, [{**playback(9), "customer_id": b"c"}], type_name="payment"),
    ]
    records[2] = record(
        3,
        [
            {
                "event_id": event_id(9),
                "event_time": T0,
                "received_time": T0,
                "payment_id": "p",
                "customer_id": b"c",
                "kind": "charge",
                "amount_minor": 500,
                "currency": "EUR",
            }
        ],
        type_name="payment",
    )
    lake = open_lake(tmp_path)
    monkeypatch.setattr(lake._ledger, "fold", _crash)
    with pytest.raises(_Crash):
        lake.load(records)

    again = open_lake(tmp_path)
    assert again.position == 0
    again.load(records)

    assert stored_ids(again) == [("acme", event_id(1)), ("acme", event_id(2))]
    assert counts(again)["acme", "playback"] == LedgerCounts(offered=3, stored=2, duplicate=1)
    assert counts(again)["acme", "payment"] == LedgerCounts(offered=1, stored=1)
    again.flush_rollups()
    assert rollup_rows(again, "user_day") == rebuilt(again, "user_day")


def _crash(*_: object) -> None:
    raise _Crash


def test_a_crash_before_the_commit_leaves_only_an_orphan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = open_lake(tmp_path)
    lake.load([record(1, [playback(1)])])
    monkeypatch.setattr(lake.tables["playback"], "commit", _crash)
    with pytest.raises(_Crash):
        lake.load([record(2, [playback(2)])])
    again = open_lake(tmp_path)
    again.load([record(2, [playback(2)])])
    assert stored_ids(again) == [("acme", event_id(1)), ("acme", event_id(2))]


def test_a_disk_that_refuses_blocks_the_lake_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = open_lake(tmp_path)
    lake.load([record(1, [playback(1)])])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("collectors.lake.delta.pq.write_table", refuse)
        with pytest.raises(StorageUnavailable, match="free or repair"):
            lake.load([record(2, [playback(2)])])
    with monkeypatch.context() as patch:
        patch.setattr("collectors.lake.delta.os.link", refuse)
        with pytest.raises(StorageUnavailable, match="free or repair"):
            lake.load([record(2, [playback(2)])])
    lake.load([record(2, [playback(2)])])
    assert stored_ids(lake) == [("acme", event_id(1)), ("acme", event_id(2))]


def test_dead_letters_are_kept_until_they_are_replayed(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    lake.load([record(1, [playback(1)], rejected=2)])
    (letter,) = lake._ledger.dead_letters("acme")
    assert (letter.position, letter.rows, letter.body) == (1, 2, b"sealed")
    assert lake._ledger.dead_letters("other") == []
    credit = Record("acme", "playback", T0, 0, 0, -2, 0, -2, 0, replays=1, position=3)
    lake.load([record(2, [playback(2), playback(3)]), credit])
    assert lake._ledger.dead_letters("acme") == []
    assert counts(lake)["acme", "playback"] == LedgerCounts(offered=3, stored=3)


def test_the_ledger_counts_what_is_still_in_the_log_as_in_flight(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    writer.append([record(0, [playback(1), playback(2)], duplicate=1)])
    lake = open_lake(tmp_path)
    assert counts(lake)["acme", "playback"] == LedgerCounts(offered=3, duplicate=1, in_flight=2)
    lake.load([record(1, [playback(1), playback(2)], duplicate=1)])
    assert counts(lake)["acme", "playback"] == LedgerCounts(offered=3, duplicate=1, stored=2)
    writer.close()


def rollup_rows(lake: Lake, name: str) -> list[tuple[object, ...]]:
    table = lake.rollup_table(name)
    if not table.files:
        return []
    rollup = ROLLUPS[name]
    keys = ", ".join(["tenant_id", rollup.period, *(k for k, _ in rollup.keys)])
    sums = ", ".join(f"sum({m.name})" for m in rollup.measures)
    paths = [str(table.folder / p) for p in table.files]
    return duckdb.sql(
        f"SELECT {keys}, {sums} FROM read_parquet($paths) GROUP BY ALL ORDER BY ALL", params={"paths": paths}
    ).fetchall()


def rebuilt(lake: Lake, name: str) -> list[tuple[object, ...]]:
    lake.rebuild_rollup(name)
    return rollup_rows(lake, name)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "zeta"]),
        st.sampled_from([b"u1", b"u2", None]),
        st.integers(-3 * 24, 3 * 24),
        st.sampled_from([0, 29_999, 30_000, 200_000]),
        st.sampled_from([True, False, None]),
    ),
    max_size=30,
)


@settings(max_examples=15)
@given(batches=st.lists(EVENTS, min_size=1, max_size=4), flush=st.lists(st.booleans(), min_size=4, max_size=4))
def test_the_user_day_rollup_equals_a_query_over_the_events_and_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[str, bytes | None, int, int, bool | None]]],
    flush: list[bool],
) -> None:
    folder = tmp_path_factory.mktemp("rollup")
    lake = open_lake(folder)
    number = 0
    for position, batch in enumerate(batches):
        by_tenant: dict[str, list[dict[str, object]]] = {}
        for tenant, user, hours, ms, skipped in batch:
            number += 1
            event = playback(number, time_us=T0 + hours * HOUR, user_id=user, ms_played=ms, skipped=skipped)
            by_tenant.setdefault(tenant, []).append(event)
        records = [record(position * 10 + i + 1, rows, tenant=t) for i, (t, rows) in enumerate(by_tenant.items())]
        if records:
            lake.load(records)
        if flush[position]:
            lake.flush_rollups()
        elif position % 2:
            lake = open_lake(folder)  # what was not flushed is caught up with from the lake
    lake.flush_rollups()

    kept = rollup_rows(lake, "user_day")
    expected = []
    if "playback" in lake.tables and lake.tables["playback"].files:
        paths = [str(lake.tables["playback"].folder / p) for p in lake.tables["playback"].files]
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'Europe/Stockholm'")
        expected = connection.execute(
            "SELECT tenant_id, CAST(event_time AS DATE) AS day, user_id, count(*),"
            " count(*) FILTER (ms_played >= 30000), count(*) FILTER (skipped), sum(ms_played)"
            " FROM read_parquet($paths) GROUP BY ALL ORDER BY ALL",
            {"paths": paths},
        ).fetchall()
    assert kept == expected
    assert rebuilt(lake, "user_day") == kept


def test_customer_months_count_succeeded_payments_by_kind_and_currency(tmp_path: Path) -> None:
    def payment(number: int, **fields: object) -> dict[str, object]:
        base = playback(number) | {"payment_id": "p", "customer_id": b"c", "kind": "charge", "amount_minor": 100}
        return {k: v for k, v in (base | {"currency": "EUR"} | fields).items() if k not in ("track_id", "ms_played")}

    lake = open_lake(tmp_path)
    lake.load(
        [
            record(
                1,
                [
                    payment(1),
                    payment(2, status="succeeded"),
                    payment(3, status="failed"),
                    payment(4, status="pending"),
                    payment(5, kind="refund"),
                    payment(6, currency="SEK", event_time=T0 + 4 * DAY),
                ],
                type_name="payment",
            )
        ]
    )
    lake.flush_rollups()
    rows = [(str(r[1]), *r[3:]) for r in rollup_rows(lake, "customer_month")]
    assert rows == [
        ("2026-03-01", "EUR", "charge", 2, 200),
        ("2026-03-01", "EUR", "refund", 1, 100),
        ("2026-04-01", "SEK", "charge", 1, 100),
    ]
