"""Small tables that keep the cost of analytics from growing with history, declared once.

A rollup is a sum: each loaded batch adds partial rows, and rows with the same keys add up. So it can be kept
incrementally, merged in any order, and rebuilt from the lake to the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import pyarrow as pa


@dataclass(frozen=True)
class Measure:
    """A column of a rollup: a sum over the rows it is about."""

    name: str
    of: str | None = None
    """Column to add up; None, or ``count``, counts rows instead."""
    count: bool = False
    at_least: int | None = None
    """Only rows whose ``of`` reaches this."""
    only: tuple[str, tuple[object, ...]] | None = None
    """Only rows where this column has one of these values; None among them stands for null."""


@dataclass(frozen=True)
class Rollup:
    """Sums of an event type by tenant, local calendar period of ``event_time`` and other columns.

    ``period`` is 'day' or 'month' in the tenant's time zone; a month is written as its first day.
    """

    name: str
    source: str
    period: str
    keys: tuple[tuple[str, pa.DataType], ...]
    measures: tuple[Measure, ...]
    description: str

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema as a query sees it: period, keys, then measures as int64."""
        return pa.schema(
            [
                pa.field(self.period, pa.date32()),
                *(pa.field(n, t) for n, t in self.keys),
                *(pa.field(m.name, pa.int64()) for m in self.measures),
            ]
        )

    @cached_property
    def lake_schema(self) -> pa.Schema:
        """Arrow schema of the Delta table: the tenant, then ``schema``."""
        return pa.schema([pa.field("tenant_id", pa.string()), *self.schema])


STREAM_MS = 30_000
"""A play counts as a stream from 30 seconds on: https://support.spotify.com/us/artists/article/how-we-count-streams/"""

_PAID = ("status", ("succeeded", None))

USER_DAY = Rollup(
    name="user_day",
    source="playback",
    period="day",
    keys=(("user_id", pa.binary()),),
    measures=(
        Measure("plays", count=True),
        Measure("streams", of="ms_played", count=True, at_least=STREAM_MS),
        Measure("skips", count=True, only=("skipped", (True,))),
        Measure("ms_played", of="ms_played"),
    ),
    description="What each user listened to on each day.",
)

CUSTOMER_MONTH = Rollup(
    name="customer_month",
    source="payment",
    period="month",
    keys=(("customer_id", pa.binary()), ("currency", pa.string()), ("kind", pa.string())),
    measures=(
        Measure("payments", count=True, only=_PAID),
        Measure("amount_minor", of="amount_minor", only=_PAID),
    ),
    description="Succeeded payments of each customer in each month, by currency and kind.",
)

ROLLUPS: Mapping[str, Rollup] = MappingProxyType({r.name: r for r in (USER_DAY, CUSTOMER_MONTH)})
