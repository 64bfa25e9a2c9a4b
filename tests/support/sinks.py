"""Samples to hand on, and sinks that behave in all the ways that others may."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from collectors.config.sinks import SinkConfig
from collectors.contract.sink import BaseSink, ExportedSample, ExportedSpan, Receipt, Repeats, Signal, SinkBatch
from collectors.drivers.sink_spool import SinkSpool
from collectors.errors import BadInput, Overloaded, RetryableError
from collectors.model.metric import Kind, MetricSpec, Unit
from collectors.runtime.fanout import FanOut
from collectors.testing import ManualClock, settle

GAUGE = MetricSpec("zoo.level", Kind.GAUGE, Unit.RATIO, "How full a tank is.", ("tank",), nullable=True)
COUNTER = MetricSpec("zoo.water", Kind.COUNTER, Unit.BYTES, "What ran through.", ("tank",))
START_US = 1_700_000_000_000_000


def sample(
    number: int = 0, *, tenant: str = "acme", spec: MetricSpec = GAUGE, value: float | None = 0.5, tank: str = "north"
) -> ExportedSample:
    """The ``number``-th sample of a series: its time tells which."""
    reason = "" if value is not None else "the tank is gone"
    return ExportedSample(tenant, spec, (("tank", tank),), START_US + number * 1000, value, reason)


def samples(start: int, count: int, **given: Any) -> tuple[ExportedSample, ...]:
    return tuple(sample(n, **given) for n in range(start, start + count))


def span(number: int = 1, *, tenant: str = "acme", error: str = "", parent: str = "") -> ExportedSpan:
    trace = f"{number:032x}"
    return ExportedSpan(
        tenant, trace, f"{number:016x}", parent, "load", START_US, START_US + 5000, (("rows", "3"),), error
    )


class TestConfig(SinkConfig):
    """A sink without settings of its own."""

    __test__ = False
    type: Literal["test"] = "test"


Behaviour = Callable[[SinkBatch], Awaitable[Receipt]]


class ScriptedSink(BaseSink[TestConfig]):
    """Keep what comes, if the behaviour lets it."""

    name = "scripted"
    Config = TestConfig
    accepts = frozenset({Signal.SAMPLES, Signal.SPANS})
    repeats = Repeats.RECOGNISABLE

    def __init__(self, behaviour: Behaviour | None = None, **config: Any) -> None:
        super().__init__(TestConfig(**config))
        self.behaviour = behaviour or well
        self.batches: list[SinkBatch] = []
        self.tried: list[SinkBatch] = []
        self.opened = self.closed = 0

    @property
    def times(self) -> list[int]:
        """Which samples came, by their numbers, in order."""
        return [(s.time_us - START_US) // 1000 for batch in self.batches for s in batch.samples]

    async def open(self) -> None:
        self.opened += 1

    async def write(self, batch: SinkBatch) -> Receipt:
        self.tried.append(batch)
        receipt = await self.behaviour(batch)
        self.batches.append(batch)
        return receipt

    async def close(self) -> None:
        self.closed += 1


async def well(batch: SinkBatch) -> Receipt:
    return Receipt(len(batch))


async def dead(batch: SinkBatch) -> Receipt:
    raise RetryableError("nobody is there")


async def hanging(batch: SinkBatch) -> Receipt:
    await asyncio.Event().wait()
    raise AssertionError


async def undying(batch: SinkBatch) -> Receipt:
    """Ignores that it is cancelled, for longer than any test waits."""
    for _ in range(1000):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if undying_may_end:
                raise
    raise AssertionError


undying_may_end: list[bool] = []


async def refusing(batch: SinkBatch) -> Receipt:
    raise BadInput("this will never do")


async def busy(batch: SinkBatch) -> Receipt:
    raise Overloaded("later", retry_after=7.0)


async def exploding(batch: SinkBatch) -> Receipt:
    raise ZeroDivisionError("secret-of-the-sink")


async def boasting(batch: SinkBatch) -> Receipt:
    return Receipt(len(batch) + 1)


async def vague(batch: SinkBatch) -> Receipt:
    return None  # type: ignore[return-value]


async def giving_up(batch: SinkBatch) -> Receipt:
    raise asyncio.CancelledError


def flapping(seed: int, share: float = 0.5) -> Behaviour:
    draw = random.Random(seed)

    async def write(batch: SinkBatch) -> Receipt:
        if draw.random() < share:
            raise RetryableError("not now")
        return Receipt(len(batch))

    return write


async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do on the loop what else a thread does: a test's clock knows of no threads."""
    await settle(1)
    return work(*arguments)


class PatientClock(ManualClock):
    """Lets more happen at one time than the kit's clock: a batch passes through many hands."""

    async def advance(self, seconds: float) -> None:
        end = self._monotonic + seconds
        while True:
            await settle(60)
            due = min((s for s in self._sleepers if s[0] <= end), key=lambda s: s[0], default=None)
            if due is None:
                break
            await super().advance(due[0] - self._monotonic)
        await super().advance(end - self._monotonic)
        await settle(60)


@dataclass
class World:
    """A fan-out on a manual clock, with its queues in a folder."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: PatientClock(START_US))
    seed: int = 1

    def __post_init__(self) -> None:
        self.fanout = self.make()

    def make(self) -> FanOut:
        return FanOut(self.spool, self.clock, jitter=random.Random(self.seed), offload=inline)

    def spool(self, name: str, config: SinkConfig) -> SinkSpool:
        drop_oldest = config.when_full == "drop_oldest"
        return SinkSpool(self.folder / f"{name}.db", config.disk_bytes, drop_oldest=drop_oldest)

    async def offer_each(self, count: int, seconds: float = 1.0, *, start: int = 0, size: int = 1) -> None:
        """Offer ``size`` samples every ``seconds``, ``count`` times."""
        for n in range(count):
            self.fanout.offer(samples(start + n * size, size))
            await self.clock.advance(seconds)

    async def rest(self, seconds: float) -> None:
        """Let time pass in steps, so that much can happen in it."""
        for _ in range(50):
            await self.clock.advance(seconds / 50)

    def status(self, name: str) -> Any:
        return next(s for s in self.fanout.statuses() if s.name == name)

    async def stop(self) -> None:
        stopping = asyncio.create_task(self.fanout.stop())
        for _ in range(200):
            if stopping.done():
                break
            await self.clock.advance(0.1)
        await stopping

    async def restart(self) -> None:
        await self.stop()
        self.fanout = self.make()


def accounted(statuses: Sequence[Any]) -> bool:
    return all(s.balance == 0 for s in statuses)
