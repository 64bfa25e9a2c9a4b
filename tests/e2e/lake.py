"""The lake as a stranger reads it: through the Delta log, with DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable


def lake_rows(table: Path) -> list[dict[str, Any]]:
    """Return the rows of a Delta table by event id, none if there is no table."""
    if not (table / "_delta_log").exists():
        return []
    paths = [uri.removeprefix("file://") for uri in DeltaTable(str(table)).file_uris()]
    if not paths:
        return []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(
            "SELECT * REPLACE (epoch_us(event_time) AS event_time, epoch_us(received_time) AS received_time)"
            " FROM read_parquet($paths, union_by_name := true) ORDER BY event_id",
            {"paths": paths},
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
