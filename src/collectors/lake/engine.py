"""The query side of the lake: what a snapshot is, and the only handle through which a tenant's data is read.

An author writes an Ibis expression over the unbound tables of ``contract.tables``. ``TenantView`` admits it only
if those tables are all it reads, picks the files it needs, and an ``Engine`` binds each table to *one* tenant's
rows of these files. The filter lies below the author's expression, whose tables do not even have a tenant column,
so no expression can reach past it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    import ibis.expr.types as ir


@dataclass(frozen=True, slots=True)
class Days:
    """The calendar days ``first`` to ``last``, both included."""

    first: date = date.min
    last: date = date.max

    def meets(self, other: Days) -> bool:
        return self.first <= other.last and other.first <= self.last

    def both(self, other: Days) -> Days:
        """Return the days in both; ``first`` is after ``last`` if there are none."""
        return Days(max(self.first, other.first), min(self.last, other.last))

    def hull(self, other: Days) -> Days:
        """Return the shortest run of days that holds both."""
        return Days(min(self.first, other.first), max(self.last, other.last))


ALWAYS = Days()


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One Parquet file of a table, with columns as in the ``lake_schema``; columns added later may be missing.

    ``days`` holds the UTC date of every event in it, or every period of a rollup; ``ALWAYS`` if not known.
    ``tenants`` are the first and the last tenant with rows in it, None if not known. ``summed`` says that no two
    rows of a rollup's file have the same tenant, period and keys.
    """

    path: str
    days: Days = ALWAYS
    tenants: tuple[str, str] | None = None
    summed: bool = False

    def may_hold(self, tenant_id: str, days: Days) -> bool:
        """Tell whether a row of ``tenant_id`` in ``days`` can be in the file."""
        return self.days.meets(days) and (self.tenants is None or self.tenants[0] <= tenant_id <= self.tenants[1])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files that make up each table at one version of the lake; a table without files is empty."""

    files: Mapping[str, tuple[LakeFile, ...]] = field(default_factory=dict)

    def holding(self, table: str, tenant_id: str, days: Days) -> tuple[LakeFile, ...]:
        """Return the files of ``table`` that may hold rows of ``tenant_id`` in ``days``."""
        return tuple(f for f in self.files.get(table, ()) if f.may_hold(tenant_id, days))


SnapshotProvider = Callable[[], Awaitable[Snapshot]]


class Engine(Protocol):
    """Runs expressions; each is for one tenant."""

    async def run(self, expression: ir.Table, tenant_id: str, files: Mapping[str, tuple[LakeFile, ...]]) -> pa.Table:
        """Return the rows of ``expression``, its tables bound to the rows of ``tenant_id`` in ``files``.

        The result has the expression's own schema. A table of events is bound to its stored columns, a rollup to
        the sums of its partial rows. Raises a ``RetryableError`` for lack of time, memory or a file, and
        ``PermanentError`` for an expression that can't be run.
        """

    async def close(self) -> None:
        """Release everything; safe unopened and twice."""


class TenantView:
    """The lake as one tenant may see it.

    Make one for each tenant: it runs one query at a time, so that the engine serves busy and quiet tenants in turn.
    """

    def __init__(self, engine: Engine, tenant_id: str, snapshot_provider: SnapshotProvider) -> None:
        self._engine = engine
        self._tenant_id = tenant_id
        self._snapshot = snapshot_provider
        self._turn = asyncio.Lock()

    async def query(self, expression: ir.Table) -> pa.Table:
        """Run an Ibis expression over ``contract.tables`` and return its rows.

        Raises ``BadInput`` if it reads anything else, and whatever ``Engine.run`` raises.
        """
        from collectors.lake.expression import days_read  # loads Ibis

        reads = days_read(expression)
        async with self._turn:
            snapshot = await self._snapshot()
            files = {table: snapshot.holding(table, self._tenant_id, days) for table, days in reads.items()}
            return await self._engine.run(expression, self._tenant_id, files)


def settled(files: Iterable[LakeFile]) -> tuple[list[LakeFile], list[LakeFile]]:
    """Split a rollup's files in those whose rows are final sums and those with rows that may need adding up.

    A summed file is final if no other file holds any of its days.
    """
    ordered = sorted(files, key=lambda f: f.days.first)
    final: list[LakeFile] = []
    partial: list[LakeFile] = []
    reach: date | None = None  # last day of the files so far
    for number, file in enumerate(ordered, start=1):
        after_all_before = reach is None or file.days.first > reach
        before_all_after = number == len(ordered) or ordered[number].days.first > file.days.last
        (final if file.summed and after_all_before and before_all_after else partial).append(file)
        reach = file.days.last if reach is None else max(reach, file.days.last)
    return final, partial
