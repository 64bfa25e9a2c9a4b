"""Keep the lake tidy: merge small files, let old events go, delete files nobody reads any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import structlog

from collectors.lake.delta import DataFile, LakeTable
from collectors.lake.engine import Days, LakeFile, Snapshot
from collectors.lake.loader import Lake
from collectors.lake.rollup import add_up
from collectors.model.event_types import EVENT_TYPES
from collectors.model.rollups import ROLLUPS, Rollup

log = structlog.get_logger()

SMALL_BYTES = 8 * 2**20
MERGE_FROM_FILES = 8
MERGE_BYTES = 128 * 2**20
READERS_GONE_US = 120 * 10**6
"""A file that left the table is deleted after two minutes: no query runs that long."""

Retention = Callable[[], Mapping[str, Mapping[str, int]]]
"""Tenant to event type to days its events are kept, where shorter than the type's own retention."""


class Maintenance:
    """Housekeeping of one lake, called by the thread that owns it."""

    def __init__(self, lake: Lake, retention: Retention) -> None:
        self._lake = lake
        self._retention = retention
        self._leaving: deque[tuple[int, Path]] = deque()
        self._without: set[tuple[str, str]] = set()
        """(tenant, file) where the tenant's range of ids covers the file, but it has no rows of the tenant."""

    def snapshot(self) -> Snapshot:
        """Return the files of every table, as queries see them."""
        files = {name: tuple(_lake_files(table)) for name, table in self._lake.tables.items()}
        for name in self._lake.rollup_names:
            files[name] = tuple(_lake_files(self._lake.rollup_table(name)))
        return Snapshot(files)

    def run(self, now_us: int) -> None:
        """Do what is due; each step is one commit, and leaves the table whole if it fails."""
        for name, table in self._lake.tables.items():
            self._expire(name, table, now_us)
            self._merge_small(table, now_us)
            table.checkpoint_if_due()
        for name in self._lake.rollup_names:
            table = self._lake.rollup_table(name)
            self._settle(ROLLUPS[name], table, now_us)
            table.checkpoint_if_due()
        while self._leaving and self._leaving[0][0] <= now_us:
            self._leaving.popleft()[1].unlink(missing_ok=True)

    def _merge_small(self, table: LakeTable, now_us: int) -> None:
        """Merge the small files of a day into one, sorted by tenant, when there are many."""
        by_day: dict[date | None, list[DataFile]] = {}
        for file in table.files.values():
            if file.bytes < SMALL_BYTES:
                by_day.setdefault(file.day, []).append(file)
        for files in by_day.values():
            files.sort(key=lambda f: f.path)
            if len(files) >= MERGE_FROM_FILES:
                self._rewrite(table, _up_to(files, MERGE_BYTES), now_us, changes_data=False)

    def _expire(self, name: str, table: LakeTable, now_us: int) -> None:
        """Drop whole days past the type's retention, and rows past a tenant's own."""
        today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
        oldest = today - EVENT_TYPES[name].retention
        old = [f for f in table.files.values() if f.day is not None and f.day < oldest]
        if old:
            self._replace(table, [], old, now_us)
        for tenant, kept in self._retention().items():
            if name not in kept:
                continue
            oldest = today - timedelta(days=kept[name])
            concerned = [
                f
                for f in table.files.values()
                if f.day is not None
                and f.day < oldest
                and f.tenants[0] <= tenant <= f.tenants[1]
                and (tenant, f.path) not in self._without
            ]
            for file in concerned:
                self._rewrite(table, [file], now_us, changes_data=True, without=tenant)

    def _settle(self, rollup: Rollup, table: LakeTable, now_us: int) -> None:
        """Add partial sums up, into one file for each month."""
        partial = [f for f in table.files.values() if not f.is_summed]
        if len(partial) < MERGE_FROM_FILES:
            return
        months = {month for f in partial for month in _months(f.days)}
        files = [f for f in table.files.values() if not f.is_summed or months.intersection(_months(f.days))]
        rows = add_up(rollup, _read(table, files))
        month = pc.floor_temporal(rows.column(rollup.period), unit="month")
        parts = [rows.filter(pc.equal(month, value)) for value in pc.unique(month)]
        added = [file for part in parts for file in table.write(part, table.position, summed=True)]
        self._replace(table, added, files, now_us)

    def _rewrite(
        self, table: LakeTable, files: list[DataFile], now_us: int, *, changes_data: bool, without: str | None = None
    ) -> None:
        rows = _read(table, files)
        if without is not None:
            kept = rows.filter(pc.not_equal(rows.column("tenant_id"), without))
            if kept.num_rows == rows.num_rows:
                self._without.update((without, f.path) for f in files)
                return
            rows = kept
        order = [("tenant_id", "ascending"), ("log_position", "ascending")]
        day = pa.array([files[0].day] * rows.num_rows, pa.date32())
        rows = rows.sort_by(order).append_column("day", day)
        added = table.write(rows, max(f.max_position for f in files), small=True) if rows.num_rows else []
        self._replace(table, added, files, now_us, changes_data=changes_data)

    def _replace(
        self,
        table: LakeTable,
        added: list[DataFile],
        removed: Iterable[DataFile],
        now_us: int,
        *,
        changes_data: bool = True,
    ) -> None:
        paths = [f.path for f in removed]
        table.commit(added, table.position, remove=paths, changes_data=changes_data)
        self._leaving.extend((now_us + READERS_GONE_US, table.folder / path) for path in paths)
        log.debug("lake.files_replaced", table=table.folder.name, removed=len(paths), added=len(added))


def _lake_files(table: LakeTable) -> Iterable[LakeFile]:
    for f in table.files.values():
        yield LakeFile(str(table.folder / f.path), Days(*f.days), f.tenants, f.is_summed)


def _read(table: LakeTable, files: Iterable[DataFile]) -> pa.Table:
    schema = table.file_schema  # the files may hold the tenant as a dictionary, which can't be sorted
    return ds.dataset([table.folder / f.path for f in files], schema=schema, format="parquet").to_table()


def _up_to(files: list[DataFile], size: int) -> list[DataFile]:
    chosen: list[DataFile] = []
    total = 0
    for file in files:
        total += file.bytes
        if total > size and chosen:
            break
        chosen.append(file)
    return chosen


def _months(days: tuple[date, date]) -> set[tuple[int, int]]:
    first, last = days
    start, end = first.year * 12 + first.month - 1, last.year * 12 + last.month - 1
    return {divmod(m, 12) for m in range(start, end + 1)}
