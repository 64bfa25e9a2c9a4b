"""One lake and one server of each engine for the whole session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from tests.compliance.seeded import seeded_lake
from tests.compliance.spark_engine import SailEngine

from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import Snapshot, TenantView

Ask = Callable[[str, Any], tuple[pa.Table, pa.Table]]


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return seeded_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="session")
def ask_both(lake: Snapshot) -> Iterator[Ask]:
    """Run an expression for a tenant on DuckDB and on Sail."""

    async def provide() -> Snapshot:
        return lake

    engines = (DuckDBEngine(), SailEngine())

    def ask(tenant: str, expression: Any) -> tuple[pa.Table, pa.Table]:
        async def results() -> list[pa.Table]:
            return [await TenantView(engine, tenant, provide).query(expression) for engine in engines]

        duckdb, sail = asyncio.run(results())
        return duckdb, sail

    yield ask

    async def close() -> None:
        closing: list[Awaitable[None]] = [engine.close() for engine in engines]
        await asyncio.gather(*closing)

    asyncio.run(close())
