"""The contract of a collector. Read this before writing one.

The law
-------
1. **Declaration.** A class states ``name``, ``Config``, ``emits``, ``stability`` and a one-sentence docstring, and
   is ``Sampling``, ``Analytical`` or ``Streaming``. A malformed class fails when it is defined.
2. **Construction does nothing.** ``__init__`` stores its arguments; no I/O, no task, no clock.
3. **open** acquires what ``collect`` needs. It is called once, or again after a retryable failure.
4. **collect(window)** returns a ``Collection``, never None. It does not block the event loop and lets itself be
   cancelled at every await. A source that does not answer raises ``SourceUnavailable``, one that says no
   ``SourceRefused``; one bad item becomes an ``Issue`` and the rest is returned. The window is half-open, UTC.
5. **close** is safe unopened, after failure and twice; it leaves no task, socket, file or thread behind.
6. **Not a collector's business:** schedule, deadline, retry, breaker, rate limit, tenant and tags on samples, sinks,
   thresholds, self-metrics, logging per item. The runner does these.
7. **Purity.** The same inputs and clock give the same collection; inputs are never changed.
8. **Undefined is None.** A nullable metric that can't be computed is a sample without value and with a reason.

``collectors.testing.check_collector`` tells whether a class keeps the law, on the situations of its ``examples``.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.config.collector import CollectorConfig
from collectors.contract.example import Example
from collectors.errors import LifecycleError
from collectors.model.batch import Batch
from collectors.model.metric import Collection, MetricSpec, Window
from collectors.model.status import CollectorStatus, Stability, TenantInfo

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

C = TypeVar("C", bound=CollectorConfig)


class Host(Protocol):
    """Who runs collectors: a manager, or the small host a lone collector brings along."""

    async def start(self, collector: BaseCollector[Any]) -> None:
        """Open ``collector`` and run it on its interval until it is stopped."""

    async def stop(self, collector: BaseCollector[Any]) -> None:
        """Stop and close ``collector``; nothing happens if it does not run."""

    def status(self, collector: BaseCollector[Any]) -> CollectorStatus:
        """Report how ``collector`` is doing."""


class TenantLake(Protocol):
    """The lake as one tenant may see it: every table is already filtered to that tenant."""

    async def query(self, expression: ir.Table) -> pa.Table:
        """Run an Ibis expression over ``contract.tables`` and return its rows."""


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """All a collector gets from outside: nothing else is reachable."""

    tenant: TenantInfo = field(default_factory=lambda: TenantInfo("local"))
    clock: Clock = SYSTEM_CLOCK
    lake: TenantLake | None = None
    host: Host | None = None
    drivers: Mapping[str, Any] = field(default_factory=dict)


class BaseCollector(ABC, Generic[C]):
    """Turn one source into declared metrics."""

    name: ClassVar[str]
    Config: ClassVar[type[CollectorConfig]] = CollectorConfig
    emits: ClassVar[tuple[MetricSpec, ...]]
    stability: ClassVar[Stability] = Stability.BETA

    def __init__(self, config: C | CollectorConfig | None = None, context: CollectorContext | None = None) -> None:
        given = config if config is not None else self.Config()
        self.config: C = self._own_config(given)
        self.context = context or CollectorContext()

    @classmethod
    def _own_config(cls, given: CollectorConfig) -> Any:
        """Accept a plain ``CollectorConfig`` where the collector's own has only defaults to add."""
        if isinstance(given, cls.Config):
            return given
        return cls.Config.model_validate(given.model_dump(exclude_unset=True))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.isabstract(cls) or cls.__dict__.get("abstract", False):
            return
        problems = _declaration_problems(cls)
        if problems:
            raise TypeError(f"{cls.__module__}.{cls.__name__} is not a collector: {'; '.join(problems)}")

    @classmethod
    def examples(cls) -> Iterable[Example]:
        """Return what the contract's checks try the collector on; name here at least one situation with input."""
        return (Example(),)

    @classmethod
    def recorded(cls, folder: Path) -> Mapping[str, Any]:  # noqa: ARG003  # for those that override it
        """Return drivers that answer from the files of an example, which lie in ``folder``."""
        return {}

    @property
    def instance_name(self) -> str:
        """Name of this instance: the configured one, else the collector's own."""
        return self.config.name or self.name

    async def open(self) -> None:
        """Acquire what ``collect`` needs."""

    @abstractmethod
    async def collect(self, window: Window) -> Collection:
        """Return what is true of ``window``."""

    async def close(self) -> None:
        """Release everything; safe unopened and twice."""

    async def start_collection(self) -> None:
        """Ask the host to run this collector on its interval."""
        await self._host().start(self)

    async def stop_collection(self) -> None:
        """Ask the host to stop this collector and close it."""
        await self._host().stop(self)

    def get_status(self) -> CollectorStatus:
        """Report how this collector is doing."""
        return self._host().status(self)

    def _host(self) -> Host:
        if self.context.host is None:
            # It stands alone and brings a small host of its own. Only the front door knows where that lives.
            host: Host = import_module("collectors").lone_host(self)
            self.context = replace(self.context, host=host)
            return host
        return self.context.host


class Sampling(BaseCollector[C]):
    """A collector that asks a live system at every interval."""

    abstract = True


class Analytical(BaseCollector[C]):
    """A collector that queries the lake and puts a numeric kernel on top.

    The queries are declared apart from ``collect``, so that one suite can run each of them on every engine.
    """

    abstract = True

    @abstractmethod
    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        """Return the Ibis expressions, by name, over the unbound tables of ``contract.tables``."""

    @abstractmethod
    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        """Compute the metrics from the queries' results; pure."""

    async def collect(self, window: Window) -> Collection:
        if self.context.lake is None:
            raise LifecycleError(f"{self.name} needs a lake to query; run it for a tenant of a server")
        results = {key: await self.context.lake.query(expr) for key, expr in self.queries(window).items()}
        # A kernel over a million customers takes a second, which the other collectors must not wait for.
        return await asyncio.to_thread(self.derive, results, window)


class Streaming(BaseCollector[C]):
    """A collector that sees every batch of ``event_types`` once it is acknowledged, within 100 ms.

    ``observe`` gets batches of its own tenant only, in log order, and returns findings to raise at once;
    ``collect`` reports the state so far. ``snapshot`` and ``restore`` carry the state over a restart:
    after ``restore(snapshot())`` in a new instance the results are those of an uninterrupted run.
    """

    abstract = True
    event_types: ClassVar[tuple[str, ...]]

    @abstractmethod
    def observe(self, batch: Batch) -> Collection:
        """Take in a batch; vectorised, without I/O."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """Return the state as bytes."""

    @abstractmethod
    def restore(self, state: bytes) -> None:
        """Replace the state by an earlier ``snapshot``."""


def _declaration_problems(cls: type[BaseCollector[Any]]) -> list[str]:
    """Say what is missing or malformed in a concrete collector class."""
    problems: list[str] = []
    name = getattr(cls, "name", "")
    if not name or not name.replace("_", "").isalnum() or not name.islower():
        problems.append("set name to a lower_snake word")
    emits = getattr(cls, "emits", ())
    if not emits:
        problems.append("declare in emits the metrics it may emit")
    names = [spec.name for spec in emits]
    problems += [f"declare {n} once" for n in sorted({n for n in names if names.count(n) > 1})]
    if not (cls.__doc__ or "").strip():
        problems.append("give it a one-sentence docstring")
    if not issubclass(cls, Sampling | Analytical | Streaming):
        problems.append("derive it from Sampling, Analytical or Streaming")
    if issubclass(cls, Streaming) and not getattr(cls, "event_types", ()):
        problems.append("name in event_types what it observes")
    return problems
