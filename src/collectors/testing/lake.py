"""A lake that holds an example: real files and the embedded engine, each query run once."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from collectors.clock import SYSTEM_CLOCK
from collectors.contract.example import Rows
from collectors.model.rollups import ROLLUPS
from collectors.testing.events import lake_table, stored_rows

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from collectors.lake.duckdb_engine import DuckDBEngine
    from collectors.lake.engine import Snapshot, TenantView

Content = Mapping[str, Mapping[str, Rows]]
"""Rows by tenant and event type."""


class Answers:
    """Results by content, tenant and query, shared by all lakes of one example: checks repeat the same queries."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, str, Any], pa.Table] = {}


class ExampleLake:
    """The events of one or more tenants as Parquet files, which are written when the first query needs them.

    ``batches`` is the number of loads a table came in, which makes as many files and partial sums. ``zone`` holds
    for all tenants, as in ``rollup``.
    """

    def __init__(
        self, content: Content, end: datetime, zone: str = "UTC", *, answers: Answers | None = None, batches: int = 1
    ) -> None:
        self._content = content
        self._end = end
        self._zone = zone
        self._batches = batches
        self._answers = answers or Answers()
        self._key = hash(repr((content, end, zone, batches)))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._engine: DuckDBEngine | None = None
        self._snapshot: Snapshot | None = None
        self._lock = asyncio.Lock()

    def view(self, tenant: str) -> ExampleView:
        """Return the lake as ``tenant`` may see it."""
        return ExampleView(self, tenant)

    async def query(self, tenant: str, expression: ir.Table) -> pa.Table:
        """Return the rows of ``expression`` for ``tenant``."""
        key = (self._key, tenant, expression.op())
        async with self._lock:
            if key not in self._answers.known:
                self._answers.known[key] = await self._tenant_view(tenant).query(expression)
        await SYSTEM_CLOCK.sleep(0)  # a query always lets others run, known or not
        return self._answers.known[key]

    async def close(self) -> None:
        """Stop the engine and delete the files; safe unopened and twice."""
        engine, self._engine = self._engine, None
        folder, self._folder = self._folder, None
        if engine is not None:
            await engine.close()
        if folder is not None:
            folder.cleanup()

    def _tenant_view(self, tenant: str) -> TenantView:
        from collectors.lake.duckdb_engine import DuckDBEngine, EngineLimits
        from collectors.lake.engine import TenantView

        if self._engine is None:
            self._folder = tempfile.TemporaryDirectory(prefix="example-lake-")
            self._snapshot = self._write(Path(self._folder.name))
            self._engine = DuckDBEngine(EngineLimits(threads=1, concurrency=1))
        return TenantView(self._engine, tenant, self._provide)

    async def _provide(self) -> Snapshot:
        assert self._snapshot is not None
        return self._snapshot

    def _write(self, folder: Path) -> Snapshot:
        import pyarrow.parquet as pq

        from collectors.lake.engine import LakeFile, Snapshot
        from collectors.lake.rollup import partial_rows

        files: dict[str, list[LakeFile]] = {}

        def write(name: str, table: pa.Table) -> None:
            path = folder / f"{name}-{len(files.get(name, ()))}.parquet"
            pq.write_table(table, path)
            files.setdefault(name, []).append(LakeFile(str(path)))

        for name, whole in self._tables().items():
            size = -(-whole.num_rows // self._batches)
            for start in range(0, whole.num_rows, size):
                part = whole.slice(start, size).sort_by("tenant_id")
                write(name, part.drop_columns("day"))
                for rollup in ROLLUPS.values():
                    if rollup.source == name:
                        write(rollup.name, partial_rows(rollup, part, lambda _: self._zone))
        return Snapshot({name: tuple(of_table) for name, of_table in files.items()})

    def _tables(self) -> dict[str, pa.Table]:
        tables: dict[str, list[pa.Table]] = {}
        for number, (tenant, events) in enumerate(sorted(self._content.items())):
            for name, rows in events.items():
                if rows:
                    stored = stored_rows(name, rows, self._end, first_id=1 + number * 1_000_000)
                    tables.setdefault(name, []).append(lake_table(name, stored, tenant))
        return {name: pa.concat_tables(parts) for name, parts in tables.items()}


class ExampleView:
    """What ``CollectorContext.lake`` asks for, on an ``ExampleLake``."""

    def __init__(self, lake: ExampleLake, tenant: str) -> None:
        self._lake = lake
        self._tenant = tenant

    async def query(self, expression: ir.Table) -> pa.Table:
        """Run an Ibis expression over ``contract.tables`` and return its rows."""
        return await self._lake.query(self._tenant, expression)
