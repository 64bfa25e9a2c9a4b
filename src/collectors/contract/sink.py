"""The contract of a sink. Read this before writing one.

The law
-------
1. **Declaration.** A class states ``name``, ``Config``, ``accepts``, ``repeats``, ``stability`` and a one-sentence
   docstring. A malformed class fails when it is defined.
2. **Construction does nothing.** ``__init__`` stores its arguments; no I/O, no task, no clock.
3. **open** acquires what ``write`` needs. It is called once, and again after a failure and ``close``.
4. **write(batch)** returns a ``Receipt`` that accounts for every item, only once the target has taken the batch. It
   does not block the event loop (what is long to encode is encoded by ``context.offload``) and lets itself be cancelled
   at every await. One ``write`` is under way at a time.
5. **Failure.** A target that does not answer raises ``RetryableError``, one that is busy ``Overloaded``: the same batch
   comes again, with the same id. One that will never take this batch raises ``PermanentError``: it is counted and not
   sent again. A wrong address or key is retryable, because people mend them without a restart.
6. **Repeats.** Delivery is at least once. A sink writes so that a repeated batch changes nothing (``HARMLESS``) or
   carries the batch's id for the receiver to recognise it by (``RECOGNISABLE``).
7. **close** is safe unopened, after failure and twice; it leaves no task, socket, file or thread behind.
8. **Not a sink's business:** queue, batching, retry, breaker, deadline, filter, self-metrics. Who runs it does these.

``collectors.testing.check_sink`` tells whether a class keeps the law.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.config.sinks import SinkConfig
from collectors.model.metric import MetricSpec
from collectors.model.status import BreakerState, Stability

S = TypeVar("S", bound=SinkConfig)
T = TypeVar("T")


class Signal(StrEnum):
    """What a sink can take."""

    SAMPLES = "samples"
    SPANS = "spans"


class Repeats(StrEnum):
    """What becomes of a batch that is written twice."""

    HARMLESS = "harmless"
    """The target keeps one of two equal samples."""
    RECOGNISABLE = "recognisable"
    """The batch's id is with every item, or with the request."""


@dataclass(frozen=True, slots=True)
class ExportedSample:
    """A sample with all a stranger needs to read it. ``labels`` are pairs of name and value, without the tenant.

    ``value`` is None if undefined, and then ``reason`` says why. ``time_us`` are UTC microseconds.
    """

    tenant: str
    spec: MetricSpec
    labels: tuple[tuple[str, str], ...]
    time_us: int
    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ExportedSpan:
    """One timed step of a trace: ids in lower-case hex as W3C Trace Context has them (32 and 16 digits).

    ``parent_id`` is empty for a root. ``error`` is empty if the step went well.
    """

    tenant: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_us: int
    end_us: int
    attributes: tuple[tuple[str, str], ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class SinkBatch:
    """What is written at once: samples or spans. The same ``id`` always means the same items, also after a restart."""

    id: str
    samples: tuple[ExportedSample, ...] = ()
    spans: tuple[ExportedSpan, ...] = ()

    def __len__(self) -> int:
        return len(self.samples) + len(self.spans)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the target did with the items of a batch; ``delivered + refused`` is their number, ``reason`` says why."""

    delivered: int
    refused: int = 0
    reason: str = ""


Offload = Callable[..., Awaitable[Any]]
"""Runs a blocking function with its arguments off the event loop, as ``asyncio.to_thread`` does."""


@dataclass(frozen=True, slots=True)
class SinkContext:
    """All a sink gets from outside; ``drivers`` may hold ``transport``, through which HTTP goes instead of sockets."""

    clock: Clock = SYSTEM_CLOCK
    drivers: Mapping[str, Any] = field(default_factory=dict)
    offload: Offload = asyncio.to_thread


class BaseSink(ABC, Generic[S]):
    """Hand samples or spans on to another system."""

    name: ClassVar[str]
    Config: ClassVar[type[SinkConfig]]
    accepts: ClassVar[frozenset[Signal]] = frozenset({Signal.SAMPLES})
    repeats: ClassVar[Repeats]
    stability: ClassVar[Stability] = Stability.BETA

    def __init__(self, config: S, context: SinkContext | None = None) -> None:
        self.config = config
        self.context = context or SinkContext()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.isabstract(cls) or cls.__dict__.get("abstract", False):
            return
        problems = _declaration_problems(cls)
        if problems:
            raise TypeError(f"{cls.__module__}.{cls.__name__} is not a sink: {'; '.join(problems)}")

    async def open(self) -> None:
        """Acquire what ``write`` needs."""

    @abstractmethod
    async def write(self, batch: SinkBatch) -> Receipt:
        """Hand over ``batch`` and return once the target has it."""

    async def close(self) -> None:
        """Release everything; safe unopened and twice."""


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """A snapshot of one sink: its account in items, and how it does.

    ``offered = delivered + queued + sum(dropped)``, always; ``dropped`` is by reason. ``queued_bytes`` are those on
    disk and in memory. The account survives a restart; the attempts are those since. ``oldest_us`` is when the oldest
    item that waits was offered, 0 if none waits.
    """

    name: str
    sink: str
    offered: int = 0
    delivered: int = 0
    queued: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    queued_bytes: int = 0
    oldest_us: int = 0
    attempts: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    last_success_us: int = 0
    last_error: str = ""
    breaker: BreakerState = BreakerState.CLOSED
    stuck: bool = False
    saving: bool = True
    """Whether what waits is on disk; False while that refuses writes, and it waits in memory."""

    @property
    def balance(self) -> int:
        """Zero, or the number of items that nobody can account for."""
        return self.offered - self.delivered - self.queued - sum(self.dropped.values())


class ExportHost(Protocol):
    """Who knows the samples of this process and can run sinks: an app, which ``MetricsExporter`` asks."""

    def subscribe(self, tenant: str, listener: Callable[[tuple[ExportedSample, ...]], None]) -> Callable[[], None]:
        """Show ``listener`` the tenant's samples as they come; UnknownName if it is not monitored here.

        Returns the function that ends it.
        """

    async def start_sinks(self, sinks: Mapping[str, SinkConfig]) -> RunningSinks:
        """Run sinks by their names until they are stopped."""


class RunningSinks(Protocol):
    """Sinks that run."""

    def offer(self, samples: tuple[ExportedSample, ...]) -> None:
        """Take samples for all sinks that want them; never waits, never raises because of a sink."""

    def statuses(self) -> tuple[SinkStatus, ...]:
        """Report how each sink does."""

    async def stop(self) -> None:
        """Deliver what can be delivered soon, keep the rest for the next start, and release everything."""


def _declaration_problems(cls: type[BaseSink[Any]]) -> list[str]:
    """Say what is missing or malformed in a concrete sink class."""
    problems: list[str] = []
    name = getattr(cls, "name", "")
    if not name or not name.replace("_", "").isalnum() or not name.islower():
        problems.append("set name to a lower_snake word")
    config = getattr(cls, "Config", None)
    if not (isinstance(config, type) and issubclass(config, SinkConfig)):
        problems.append("set Config to a class derived from SinkConfig")
    if not getattr(cls, "accepts", ()):
        problems.append("name in accepts what it takes")
    if not isinstance(getattr(cls, "repeats", None), Repeats):
        problems.append("state in repeats what becomes of a batch that is written twice")
    if not (cls.__doc__ or "").strip():
        problems.append("give it a one-sentence docstring")
    return problems
