"""Write small lakes of Parquet files for tests: as many files as batches, days and rollups make."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.lake.engine import Days, LakeFile, Snapshot
from collectors.lake.rollup import partial_rows
from collectors.model.event_types import EVENT_TYPES
from collectors.model.rollups import ROLLUPS

Record = Mapping[str, Any]


def instant(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)


def micros(when: datetime) -> int:
    return int((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000 + when.microsecond


def rows(event_type: str, records: Iterable[Record]) -> pa.Table:
    """Return events in the lake schema; each record names its tenant_id and event_time, the rest may be missing."""
    schema = EVENT_TYPES[event_type].lake_schema
    full = [
        {
            "event_id": uuid.UUID(int=number + 1).bytes,
            "received_time": record["event_time"],
            "log_position": number,
            "day": record["event_time"].astimezone(UTC).date(),
            **record,
        }
        for number, record in enumerate(records)
    ]
    return pa.Table.from_pylist(full, schema=schema)


def write_lake(
    folder: Path,
    batches: Sequence[Mapping[str, pa.Table]],
    zone: Callable[[str], str] = lambda _: "UTC",
    *,
    by_day: bool = True,
) -> Snapshot:
    """Write each batch as files of its own: of events one a day, or one in all; of rollups one of partial sums."""
    files: dict[str, list[LakeFile]] = {}
    for number, batch in enumerate(batches):
        for name, unsorted in batch.items():
            if not unsorted.num_rows:
                continue
            table = unsorted.sort_by("tenant_id")
            for part in _days(table) if by_day else [table]:
                file = _write(folder / name, number, part.drop_columns("day"), _extent(part, "day"))
                files.setdefault(name, []).append(file)
            for rollup in ROLLUPS.values():
                if rollup.source == name:
                    partial = partial_rows(rollup, table, zone)
                    file = _write(folder / rollup.name, number, partial, _extent(partial, rollup.period))
                    files.setdefault(rollup.name, []).append(file)
    return Snapshot({name: tuple(of_table) for name, of_table in files.items()})


def _days(table: pa.Table) -> Iterable[pa.Table]:
    for day in pc.unique(table.column("day")):
        yield table.filter(pc.equal(table.column("day"), day))


def _extent(table: pa.Table, column: str) -> Days:
    extent = pc.min_max(table.column(column)).as_py()
    return Days(extent["min"], extent["max"])


def _write(folder: Path, batch: int, table: pa.Table, days: Days) -> LakeFile:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{days.first}-{batch}.parquet"
    pq.write_table(table, path)
    tenants = table.column("tenant_id")
    return LakeFile(str(path), days, (tenants[0].as_py(), tenants[-1].as_py()))
