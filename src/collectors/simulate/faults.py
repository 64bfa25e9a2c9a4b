"""Impurities of real traffic, added in known numbers, so that an intake's accounts can be checked to the event.

Every impure event is an extra one (a copy of a clean event with its own fault), except that late and shuffled events
are clean ones moved. So what ``Truth`` says of the clean stream stays true of what an intake should store.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.errors import ConfigError
from collectors.model.batch import LedgerCounts
from collectors.model.event_type import EventType, Field
from collectors.model.event_types import event_type
from collectors.simulate.sampling import DAY_US, SECOND_US, Flags, Ints, Tagged, event_ids, generator, time_array

FUTURE_SKEW_US = 300 * SECOND_US
_LONGEST_TEXT = 1024  # texts that may be longer are not made too long: they would be most of the bytes
_ID, _TIME = 0, 1  # columns of every event type

Breaker = tuple[str, Callable[[pa.RecordBatch, Flags], pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How many impure events there are for each clean one, 0 to 1; ``late`` is the share of clean ones that is late."""

    duplicate: float = 0.0
    """Sent twice in the same batch."""
    duplicate_later: float = 0.0
    """Sent again ``delay_s`` later."""
    late: float = 0.0
    """Held back for ``delay_s``."""
    future: float = 0.0
    """More than five minutes ahead of the clock."""
    too_old: float = 0.0
    """Older than the type's horizon."""
    invalid: float = 0.0
    """Breaking one rule of the type's fields."""
    shuffle: bool = False
    """Rows of each batch in random order."""
    delay_s: float = 30.0
    """Seconds of event time that a held event waits; what still waits at the end comes last."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in {"shuffle", "delay_s"} and not 0.0 <= value <= 1.0:
                raise ConfigError(f"fault rate {f.name} is {value}", fix="give a share from 0 to 1")


@dataclass(slots=True)
class FaultCounts:
    """What was really offered of one tenant and type."""

    clean: int = 0
    late: int = 0
    """Of the clean ones."""
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By the reason code that validation gives."""

    @property
    def ledger(self) -> LedgerCounts:
        """The account an intake must give of these events once all are in."""
        rejected = self.rejected.total()
        return LedgerCounts(
            offered=self.clean + self.duplicates + rejected,
            stored=self.clean,
            duplicate=self.duplicates,
            rejected=rejected,
        )


@dataclass(slots=True)
class _Held:
    release_us: int
    batch: pa.RecordBatch


class Faults:
    """Adds impurities to a stream and counts them in ``counts``, by tenant and type.

    ``now_us`` is the clock of whoever judges the events' times; without it, their own event times are now.
    """

    def __init__(self, rates: FaultRates, seed: int = 1, now_us: Callable[[], int] | None = None) -> None:
        self.rates = rates
        self.counts: defaultdict[tuple[str, str], FaultCounts] = defaultdict(FaultCounts)
        self._rng = generator(seed, "faults")
        self._now_us = now_us
        self._held: defaultdict[tuple[str, str], list[_Held]] = defaultdict(list)
        self._mark_us: defaultdict[tuple[str, str], int] = defaultdict(int)

    @property
    def total(self) -> LedgerCounts:
        """The account of all tenants and types together."""
        return sum((c.ledger for c in self.counts.values()), LedgerCounts())

    def apply(self, batches: Iterable[Tagged]) -> Iterator[Tagged]:
        """Yield the batches with their impurities; use to the end, where held events come."""
        for tenant, kind, batch in batches:
            impure = self._one((tenant, kind), batch)
            if impure.num_rows:
                yield tenant, kind, impure
        for (tenant, kind), held in self._held.items():
            for left in held:
                yield tenant, kind, left.batch
        self._held.clear()

    def _one(self, lane: tuple[str, str], batch: pa.RecordBatch) -> pa.RecordBatch:
        counts, kind = self.counts[lane], event_type(lane[1])
        counts.clean += batch.num_rows
        self._mark_us[lane] = max(self._mark_us[lane], int(_times(batch).max(initial=0)))
        late = self._chosen(batch, self.rates.late)
        counts.late += int(np.count_nonzero(late))
        kept = batch.filter(pa.array(~late))
        again, later = self._chosen(kept, self.rates.duplicate), self._chosen(kept, self.rates.duplicate_later)
        counts.duplicates += int(np.count_nonzero(again)) + int(np.count_nonzero(later))
        parts = [
            kept,
            kept.filter(pa.array(again)),
            *self._off_time(batch, kind, counts),
            *self._broken(batch, kind, counts),
            *self._released(lane),
        ]
        self._hold(lane, batch.filter(pa.array(late)))
        self._hold(lane, kept.filter(pa.array(later)))
        impure = pa.concat_batches(parts)
        if self.rates.shuffle:
            impure = impure.take(pa.array(self._rng.permutation(impure.num_rows)))
        return impure

    def _chosen(self, batch: pa.RecordBatch, rate: float) -> Flags:
        n: int = batch.num_rows
        return self._rng.random(n) < rate

    def _hold(self, lane: tuple[str, str], batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            release_us = int(_times(batch).max()) + round(self.rates.delay_s * SECOND_US)
            self._held[lane].append(_Held(release_us, batch))

    def _released(self, lane: tuple[str, str]) -> list[pa.RecordBatch]:
        due = [h.batch for h in self._held[lane] if h.release_us <= self._mark_us[lane]]
        self._held[lane] = [h for h in self._held[lane] if h.release_us > self._mark_us[lane]]
        return due

    def _off_time(self, batch: pa.RecordBatch, kind: EventType, counts: FaultCounts) -> Iterator[pa.RecordBatch]:
        """Yield copies of some rows whose times no rule can accept."""
        horizon_us = kind.horizon // timedelta(microseconds=1)
        for reason, rate, sign, beyond in (
            ("in_future", self.rates.future, 1, FUTURE_SKEW_US),
            ("too_old", self.rates.too_old, -1, horizon_us),
        ):
            copy = self._copy(batch, self._chosen(batch, rate))
            if copy.num_rows == 0:
                continue
            times = _times(copy)
            if self._now_us is not None:
                times = np.maximum(times, self._now_us()) if sign > 0 else np.minimum(times, self._now_us())
            # A minute is room for the clocks of sender and judge, and for the way between them.
            times = times + sign * (beyond + self._rng.integers(60 * SECOND_US, DAY_US, len(times)))
            counts.rejected[reason] += copy.num_rows
            yield copy.set_column(_TIME, copy.schema.field(_TIME), time_array(times))

    def _broken(self, batch: pa.RecordBatch, kind: EventType, counts: FaultCounts) -> Iterator[pa.RecordBatch]:
        """Yield copies of some rows that each break one rule of the type."""
        copy = self._copy(batch, self._chosen(batch, self.rates.invalid))
        if copy.num_rows == 0:
            return
        breakers = breakers_of(kind.name)
        choice = self._rng.integers(0, len(breakers), copy.num_rows)
        for i, (reason, break_rows) in enumerate(breakers):
            rows = choice == i
            if rows.any():
                counts.rejected[reason] += int(np.count_nonzero(rows))
                copy = break_rows(copy, rows)
        yield copy

    def _copy(self, batch: pa.RecordBatch, chosen: Flags) -> pa.RecordBatch:
        rows = batch.filter(pa.array(chosen))
        return rows.set_column(_ID, rows.schema.field(_ID), event_ids(self._rng, rows.num_rows))


@cache
def breakers_of(kind: str) -> tuple[Breaker, ...]:
    """Return the ways to break a rule of an event type: reason codes, and what breaks the chosen rows of a batch."""
    found: list[Breaker] = []
    for number, f in enumerate(event_type(kind).columns):
        if f.required:
            found.append(("missing", _remover(number)))
        if f.minimum is not None:
            found.append(("too_small", _setter(number, f, f.minimum - 1)))
        if f.maximum is not None:
            found.append(("too_large", _setter(number, f, f.maximum + 1)))
        if f.choices:
            found.append(("not_allowed", _setter(number, f, "none of these")))
        elif pa.types.is_string(f.type) and f.max_bytes <= _LONGEST_TEXT:
            found.append(("too_long", _setter(number, f, "x" * (f.max_bytes + 1))))
    return tuple(found)


def _setter(number: int, f: Field, value: object) -> Callable[[pa.RecordBatch, Flags], pa.RecordBatch]:
    scalar = pa.scalar(int(value) if isinstance(value, float) and pa.types.is_integer(f.type) else value, f.type)

    def set_rows(batch: pa.RecordBatch, rows: Flags) -> pa.RecordBatch:
        return batch.set_column(number, batch.schema.field(number), pc.if_else(pa.array(rows), scalar, batch[number]))

    return set_rows


def _remover(number: int) -> Callable[[pa.RecordBatch, Flags], pa.RecordBatch]:
    def remove_rows(batch: pa.RecordBatch, rows: Flags) -> pa.RecordBatch:
        # Taking with a null index makes a null of any type, lists and maps included.
        column = batch[number].take(pa.array(np.arange(batch.num_rows), mask=rows))
        return batch.set_column(number, batch.schema.field(number), column)

    return remove_rows


def _times(batch: pa.RecordBatch) -> Ints:
    return np.asarray(batch.column(_TIME).cast(pa.int64()).to_numpy(), dtype=np.int64)
