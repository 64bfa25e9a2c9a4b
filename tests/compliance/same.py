"""Compare two results cell by cell: exact, but for floats, and whatever the order of the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

TOLERANCE = 1e-9


def differences(one: pa.Table, other: pa.Table) -> list[str]:
    """Return in words what differs between two tables; empty if nothing does."""
    if one.schema != other.schema:
        return [f"the columns are {one.schema} and {other.schema}"]
    if one.num_rows != other.num_rows:
        return [f"there are {one.num_rows} and {other.num_rows} rows"]
    return [
        f"row {number}, {column}: {a[column]!r} and {b[column]!r}"
        for number, (a, b) in enumerate(zip(_ordered(one), _ordered(other), strict=True))
        for column in one.column_names
        if not _same(a[column], b[column])
    ]


def _ordered(table: pa.Table) -> list[Mapping[str, Any]]:
    """Sort rows by their exact cells first, so that a tiny difference of floats doesn't pair the wrong ones."""
    exact = [f.name for f in table.schema if not pa.types.is_floating(f.type)]
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]

    def key(row: Mapping[str, Any]) -> tuple[object, ...]:
        return tuple(repr(row[name]) for name in exact), tuple((row[n] is not None, row[n] or 0.0) for n in floats)

    return sorted(table.to_pylist(), key=key)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)
