"""Run an analytical collector over events in a lake of files, on the embedded engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from collectors.contract.collector import Analytical, CollectorContext
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import Snapshot, TenantView
from collectors.lake.portable import violations
from collectors.model.metric import Collection, Window
from collectors.model.status import TenantInfo
from tests.support.lake_files import Record, micros, rows, write_lake

Values = dict[tuple[str, ...], float | None]


def collect(
    collector: type[Analytical[Any]],
    folder: Path,
    batches: Sequence[Mapping[str, Sequence[Record]]],
    end: datetime,
    *,
    zone: str = "UTC",
    tenant: str = "a",
    **config: Any,
) -> Collection:
    """Return what ``collector`` tells of the records of ``batches``, each batch loaded on its own."""
    tables: list[dict[str, pa.Table]] = [{name: rows(name, r) for name, r in batch.items()} for batch in batches]
    snapshot = write_lake(folder, tables, lambda _tenant: zone)

    async def provide() -> Snapshot:
        return snapshot

    async def run() -> Collection:
        engine = DuckDBEngine()
        context = CollectorContext(tenant=TenantInfo(tenant, zone), lake=TenantView(engine, tenant, provide))
        try:
            return await collector(collector.Config(**config), context).collect(window_to(end))
        finally:
            await engine.close()

    return asyncio.run(run())


def window_to(end: datetime) -> Window:
    return Window(micros(end) - 60_000_000, micros(end))


def values(collection: Collection) -> Values:
    """Return the samples by metric and labels; each may be there once, and undefined ones have a reason."""
    found: Values = {}
    for sample in collection.samples:
        key = (sample.metric.rsplit(".", 1)[1], *sample.labels)
        assert key not in found, f"{key} was emitted twice"
        found[key] = sample.value
    return found


def check_declaration(collector: type[Analytical[Any]], collection: Collection) -> None:
    """Assert that what is emitted was declared: the metric, its label keys, and where it may be undefined."""
    specs = {spec.name: spec for spec in collector.emits}
    for sample in collection.samples:
        spec = specs[sample.metric]
        assert len(sample.labels) == len(spec.labels), sample
        assert spec.nullable or sample.value is not None, sample
    assert {s.metric for s in collection.samples} == set(specs)


def portable(collector: Analytical[Any], end: datetime) -> bool:
    return not any(violations(expression) for expression in collector.queries(window_to(end)).values())
