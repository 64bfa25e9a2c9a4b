"""Housekeeping changes files, never rows, except those that are past their time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
from tests.support.records import T0, playback, record

from collectors.drivers.ledger_store import LedgerStore
from collectors.lake.loader import Lake
from collectors.lake.maintenance import MERGE_FROM_FILES, READERS_GONE_US, Maintenance

DAY = 86_400_000_000


def open_lake(folder: Path) -> Lake:
    return Lake(folder / "lake", LedgerStore(folder / "ledger.db", folder / "log"), lambda _: "UTC")


def rows(lake: Lake, columns: str = "tenant_id, event_id, event_time, log_position") -> list[tuple[object, ...]]:
    table = lake.tables["playback"]
    paths = [str(table.folder / p) for p in table.files]
    query = f"SELECT {columns} FROM read_parquet($paths) ORDER BY ALL"
    return duckdb.sql(query, params={"paths": paths}).fetchall() if paths else []


def filled(folder: Path, loads: int = 2 * MERGE_FROM_FILES) -> Lake:
    lake = open_lake(folder)
    number = 0
    for load in range(loads):
        records = []
        for i, tenant in enumerate(("acme", "beta", "zeta")):
            number += 2
            day = T0 - (load % 2) * DAY
            events = [playback(number + k, time_us=day + number, user_id=b"u%d" % (number % 5)) for k in range(2)]
            records.append(record(load * 3 + i + 1, events, tenant=tenant))
        lake.load(records)
        lake.flush_rollups()
    return lake


def test_small_files_of_a_day_become_one_sorted_by_tenant(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    before = rows(lake)
    care = Maintenance(lake, dict)

    care.run(T0)

    table = lake.tables["playback"]
    assert len(table.files) == 2
    assert rows(lake) == before
    for file in table.files.values():
        tenants = duckdb.sql(f"SELECT tenant_id FROM '{table.folder / file.path}'").fetchall()
        assert tenants == sorted(tenants)
    again = open_lake(tmp_path)
    assert again.tables["playback"].files == table.files
    assert again.tables["playback"].position == table.position


def test_files_that_left_the_table_are_deleted_once_no_reader_can_hold_them(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    folder = lake.tables["playback"].folder
    old = list(folder.glob("day=*/*.parquet"))
    care = Maintenance(lake, dict)
    care.run(T0)
    assert all(p.exists() for p in old)
    care.run(T0 + READERS_GONE_US)
    assert not any(p.exists() for p in old)
    assert len(list(folder.glob("day=*/*.parquet"))) == 2


def test_rollups_are_settled_into_months_and_stay_equal_to_a_rebuild(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    table = lake.rollup_table("user_day")

    def sums() -> list[tuple[object, ...]]:
        paths = [str(table.folder / p) for p in table.files]
        sums = "sum(plays), sum(ms_played)"
        query = f"SELECT tenant_id, day, user_id, {sums} FROM read_parquet($p) GROUP BY ALL ORDER BY ALL"
        return duckdb.sql(query, params={"p": paths}).fetchall()

    before = sums()
    care = Maintenance(lake, dict)
    care.run(T0)
    assert len(table.files) == 1
    assert all(f.is_summed for f in table.files.values())
    assert sums() == before
    assert [f.summed for f in care.snapshot().files["user_day"]] == [True]
    lake.rebuild_rollup("user_day")
    assert sums() == before


def test_days_past_the_types_retention_go_for_everyone(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    Maintenance(lake, dict).run(T0 + 401 * DAY)
    assert rows(lake) == []
    assert open_lake(tmp_path).tables["playback"].files == {}


def test_a_tenants_shorter_retention_takes_only_its_rows(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    before = rows(lake)
    kept: Mapping[str, Mapping[str, int]] = {"beta": {"playback": 1}, "bogus": {"auth": 1}, "c": {"playback": 1}}
    care = Maintenance(lake, lambda: kept)
    care.run(T0 + 2 * DAY)
    assert rows(lake) == [r for r in before if r[0] != "beta"]
    version = lake.tables["playback"].version
    care.run(T0 + 2 * DAY)
    assert lake.tables["playback"].version == version, "what has nothing to go is not written again"


def test_a_checkpoint_comes_now_and_then_and_the_table_opens_from_it(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    for position in range(1, 103):
        lake.load([record(position, [playback(position)])])
    lake.tables["playback"].checkpoint_if_due()
    assert list((lake.tables["playback"].folder / "_delta_log").glob("*.checkpoint.parquet"))
    again = open_lake(tmp_path)
    assert again.tables["playback"].files == lake.tables["playback"].files
    assert again.tables["playback"].position == 102
