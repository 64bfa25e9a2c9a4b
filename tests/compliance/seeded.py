"""A seeded lake with every event type: several tenants, nulls, late events, days on which clocks change.

Values are drawn from small pools by field name, so that fields of the same name join across event types.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from tests.support.lake_files import instant, rows, write_lake

from collectors.lake.engine import Snapshot
from collectors.model.event_type import ENVELOPE, EventType, Field
from collectors.model.event_types import EVENT_TYPES

ZONES = {"alpha": "Europe/Berlin", "o'hara": "America/New_York", "quiet": "UTC"}
SPRING, AUTUMN = instant(2026, 3, 29, 12), instant(2026, 11, 1, 17, 30)
RUNS = (("alpha", SPRING), ("o'hara", AUTUMN))
"""Which tenant is looked at when: each on a day of its own that is an hour shorter or longer."""

POOLS: Mapping[str, tuple[Any, ...]] = {
    "country": ("SE", "DE", "US", "JP"),
    "currency": ("EUR", "USD", "JPY"),
    "device": ("phone", "tv", "toaster"),
    "interval": ("month", "year"),
    "ms_played": (0, 1, 29_999, 30_000, 61_000, 200_000, 1_900_000),
    "track_ms": (0, 61_000, 180_000, 240_000),
    "amount_minor": (0, 1, 999, 999, 12_345, 2**53 + 1),
    "discount_minor": (0, 100, 999),
    "value": (0.0, 1.0, 0.25, 3.5),
    "status_code": (200, 404, 500),
    "period": ("2026-02", "2026-03", "2026-10"),
}
"""What is drawn for a field of this name; other fields have a pool made from their type."""

PEOPLE = tuple(f"person-{number}".encode() for number in range(25))
COUNT_OF_A_TYPE = 350


@dataclass(frozen=True)
class Case:
    """How a collector is run in the suite.

    ``config`` is its configuration, as keywords. ``may_be_empty`` names queries that need not return rows of the
    seeded data; give its fields better POOLS before adding one.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    may_be_empty: frozenset[str] = frozenset()


def seeded_lake(folder: Path) -> Snapshot:
    """Write the lake in three batches, the last of events that came days after they happened."""
    rng = random.Random(20260329)
    batches: list[dict[str, pa.Table]] = [{}, {}, {}]
    for name, event_type in EVENT_TYPES.items():
        records = list(_records(event_type, rng))
        late = [{**r, "received_time": r["event_time"] + timedelta(days=9)} for r in records[::7]]
        on_time = [r for number, r in enumerate(records) if number % 7]
        for batch, part in zip(batches, (on_time[::2], on_time[1::2], late), strict=True):
            batch[name] = rows(name, part)
    return write_lake(folder, batches, ZONES.__getitem__, by_day=False)


def _records(event_type: EventType, rng: random.Random) -> Iterator[dict[str, Any]]:
    envelope = {f.name for f in ENVELOPE}
    for number in range(COUNT_OF_A_TYPE):
        tenant, end = RUNS[number % 2] if number % 10 else ("quiet", SPRING)
        age = 100 * rng.random() ** 3 if rng.random() < 0.8 else rng.random()  # days; many on the day of the change
        when = end - timedelta(days=age) + timedelta(minutes=4)
        when = when.replace(microsecond=rng.choice((0, 1, 999, 123_456, 999_999)))
        record = {"tenant_id": tenant, "event_time": when}
        if rng.random() > 0.05:
            record["user_id"] = rng.choice(PEOPLE)
        for f in event_type.columns:
            if f.name not in envelope and (f.required or rng.random() > 0.15):
                record[f.name] = _value(f, when, rng)
        yield record


def _value(f: Field, when: datetime, rng: random.Random) -> Any:
    if f.name in POOLS:
        return rng.choice(POOLS[f.name])
    kind = f.stored_type
    if pa.types.is_binary(kind):
        return rng.choice(PEOPLE)
    if pa.types.is_string(kind):
        return rng.choice(f.choices or tuple(f"{f.name}-{number}" for number in range(12)))
    if pa.types.is_boolean(kind):
        return rng.random() < 0.4
    if pa.types.is_integer(kind):
        low, high = int(f.minimum or 0), int(f.maximum or 100_000)
        return rng.choice((low, min(200, high), rng.randint(low, high)))
    if pa.types.is_floating(kind):
        return rng.uniform(f.minimum if f.minimum is not None else 0, f.maximum if f.maximum is not None else 1)
    if pa.types.is_timestamp(kind):
        return when + timedelta(days=rng.choice((-30, -1, 0, 0, 2, 30)))
    if pa.types.is_map(kind):
        return [(f"feature-{number}", rng.gauss(0, 1)) for number in range(rng.randint(0, 3))]
    if pa.types.is_list(kind):
        texts = pa.types.is_string(kind.value_type)
        return [f"item-{rng.randrange(12)}" if texts else rng.random() for _item in range(rng.randint(0, 5))]
    raise TypeError(f"give a pool to {f.name}: nothing is known of {kind}")
