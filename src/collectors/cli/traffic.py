"""Simulated traffic as the command line asks for it: which tenants, how much, how fast."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from collectors.cli.sending import Media, Parcel
from collectors.clock import SYSTEM_CLOCK, SystemClock
from collectors.simulate.encode import to_ipc, to_ndjson
from collectors.simulate.pace import Pacer
from collectors.simulate.stream import EventStream
from collectors.simulate.vocabulary import DEMO_TENANTS, TenantProfile
from collectors.simulate.world import World

if TYPE_CHECKING:
    from collectors.simulate.truth import Truth

Tagged = tuple[str, str, pa.RecordBatch]

FLUSH_SECONDS = 1.0
"""How long events of a rare kind wait for their batch to fill, in a stream with a rate."""

_PACED_BATCH_SECONDS = 0.2
_MOST_ROWS = 10_000
_UNENDING = float("inf")


def random_seed() -> int:
    """Return a seed nobody used: events of the same seed have the same ids, and would be duplicates."""
    return int.from_bytes(os.urandom(4))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    ``rate`` is events a second over all tenants, None as fast as possible. The live stream ends after ``events`` or
    ``seconds``, whichever comes first; with neither it goes on until it is stopped, unless there is a past of
    ``history_days``, which then is all.
    """

    tenants: Sequence[str] = ()
    rate: float | None = None
    events: int | None = None
    seconds: float | None = None
    seed: int = field(default_factory=random_seed)
    users: int = 50_000
    batch_rows: int | None = None
    history_days: int = 0

    @property
    def rows(self) -> int:
        """Rows of a live batch: as asked, else a fifth of a second's events but at most 10,000."""
        if self.batch_rows is not None:
            return self.batch_rows
        return _MOST_ROWS if self.rate is None else max(1, min(_MOST_ROWS, round(self.rate * _PACED_BATCH_SECONDS)))

    @property
    def live(self) -> bool:
        """Whether there is a live stream at all."""
        return not self.history_days or self.events is not None or self.seconds is not None


def profiles(names: Sequence[str]) -> tuple[TenantProfile, ...]:
    """Return the demo tenants of these names, all if there are none; other names get the traits of the demo tenants."""
    known = {t.id: t for t in DEMO_TENANTS}
    likenesses = itertools.cycle(DEMO_TENANTS)
    return tuple(known.get(name) or replace(next(likenesses), id=name, name=name) for name in names) or DEMO_TENANTS


class Traffic:
    """The batches of a plan; ``truth`` is what is exactly true of those that were taken."""

    def __init__(self, plan: Plan, clock: SystemClock = SYSTEM_CLOCK) -> None:
        self._plan = plan
        self._clock = clock
        world = World(plan.seed, tenants=profiles(plan.tenants), users=plan.users, start_us=clock.now_us())
        self._stream = EventStream(world)
        self._pacer = Pacer(plan.rate, clock)
        self._is_live = False

    @property
    def truth(self) -> Truth:
        """The oracle."""
        return self._stream.truth

    def batches(self) -> Iterator[Tagged]:
        """Yield the past, as fast as it is taken, and then the live stream."""
        if self._plan.history_days:
            yield from self.past()
        if self._plan.live:
            self._is_live = True
            yield from self.live()

    def pace(self, rows: int) -> float:
        """Return in how many seconds the ``rows`` just taken are due; the past is always due."""
        return self._pacer.reserve(rows) if self._is_live else 0.0

    def past(self) -> Iterator[Tagged]:
        """Yield what happened before now."""
        plan = self._plan
        rows = plan.batch_rows or _MOST_ROWS  # what is past has no rate
        return self._stream.history(plan.history_days, end_us=self._clock.now_us(), batch_rows=rows)

    def live(self) -> Iterator[Tagged]:
        """Yield what happens now, until the plan's end."""
        plan = self._plan
        end = self._clock.monotonic() + plan.seconds if plan.seconds is not None else _UNENDING
        batches = self._stream.batches(
            plan.events,
            plan.rows,
            now_us=self._clock.now_us,
            flush_s=None if plan.rate is None else FLUSH_SECONDS,
        )
        while self._clock.monotonic() < end and (batch := next(batches, None)) is not None:
            yield batch


def parcels(batches: Iterator[Tagged], media: Media) -> Iterator[Parcel]:
    """Encode batches as requests; their keys are different in every run."""
    run = os.urandom(8).hex()
    for number, (tenant, kind, batch) in enumerate(batches):
        body = to_ipc(batch) if media is Media.ARROW else to_ndjson(batch)
        yield Parcel(tenant, kind, batch.num_rows, body, media, f"{run}-{number}")
