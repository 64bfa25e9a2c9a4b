"""What a check works on: a collector class in one situation, and a bench with everything it needs around it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretBytes, SecretStr

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Analytical, BaseCollector, CollectorContext, Streaming
from collectors.contract.example import Example, Rows
from collectors.contract.registry import collector_class
from collectors.model.metric import Collection, Window
from collectors.model.status import TenantInfo
from collectors.runtime.runner import Runner
from collectors.testing.clock import JumpingClock
from collectors.testing.events import Feed, feed, micros
from collectors.testing.faults import FaultyDriver, FaultyLake, Plan
from collectors.testing.lake import Answers, Content, ExampleLake

TENANT = "acme"
NEIGHBOUR = "zeta"

Cls = type[BaseCollector[Any]]


class CheckFailed(AssertionError):
    """A class broke the contract; the message says how to keep it."""


def expect(holds: object, message: str) -> None:
    """Raise ``CheckFailed`` unless ``holds``."""
    if not holds:
        raise CheckFailed(message)


@dataclass(frozen=True)
class Subject:
    """A collector class, one of its examples, and all of them for what is asked of the class as a whole."""

    cls: Cls
    example: Example
    examples: tuple[Example, ...]
    lookup: Callable[[str], type] = collector_class
    """Finds a class by the name of its entry point."""
    answers: Answers = field(default_factory=Answers)
    _kept: list[Collection] = field(default_factory=list, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Name of the collector and the example."""
        return f"{self.cls.name}[{self.example.name}]"

    @property
    def config(self) -> CollectorConfig:
        """The example's configuration."""
        return self.cls.Config.model_validate(dict(self.example.config))

    @property
    def reads_events(self) -> bool:
        """Whether events are what it collects from."""
        return issubclass(self.cls, Analytical | Streaming)

    @property
    def has_source(self) -> bool:
        """Whether there is a source that can fail: recorded drivers, or the lake."""
        return issubclass(self.cls, Analytical) or bool(self.cls.recorded(Path("absent")))

    @property
    def secrets(self) -> dict[str, str]:
        """Secret settings of the example's configuration, by key, as they must never be shown."""
        values = ((key, getattr(self.config, key)) for key in type(self.config).model_fields)
        secrets = ((key, value) for key, value in values if isinstance(value, SecretStr | SecretBytes))
        return {key: _text(value.get_secret_value()) for key, value in secrets if value.get_secret_value()}

    async def collected(self) -> Collection:
        """Return what a plain run of the example leads to; it is run once for all checks that only look at it."""
        if not self._kept:
            async with self.bench() as bench:
                self._kept.append(await bench.run(bench.make()))
        return self._kept[0]

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[Bench]:
        """Yield surroundings for one check, and clear them away after it."""
        async with AsyncExitStack() as stack:
            yield Bench(self, stack)


class Bench:
    """The surroundings of a check: a clock, folders with the recorded files, lakes with events."""

    def __init__(self, subject: Subject, stack: AsyncExitStack) -> None:
        self.subject = subject
        self.clock = JumpingClock(micros(subject.example.end))
        self._stack = stack
        self._recorded: Path | None = None

    def context(
        self,
        *,
        tenant: str = TENANT,
        plan: Plan | None = None,
        content: Content | None = None,
        folder: Path | None = None,
        batches: int = 1,
    ) -> CollectorContext:
        """Return a context: by default the example's own input, of which the tenant has all.

        ``content`` are other events in the lake, ``folder`` has other recorded files, ``plan`` says how the source
        fails.
        """
        example = self.subject.example
        info = TenantInfo(tenant, example.time_zone, example.currency)
        if folder is None:
            folder = self._recorded = self._recorded or self.folder()
        drivers = self.subject.cls.recorded(folder)
        lake = None
        if issubclass(self.subject.cls, Analytical):
            events = {tenant: example.events} if content is None else content
            whole = ExampleLake(events, example.end, example.time_zone, answers=self.subject.answers, batches=batches)
            self._stack.push_async_callback(whole.close)
            lake = whole.view(tenant)
        if plan is not None:
            drivers = {name: FaultyDriver(driver, plan) for name, driver in drivers.items()}
            faulty = FaultyLake(lake, plan) if lake else None
            return CollectorContext(tenant=info, clock=self.clock, lake=faulty, drivers=drivers)
        return CollectorContext(tenant=info, clock=self.clock, lake=lake, drivers=drivers)

    def make(self, *, config: CollectorConfig | None = None, **context: Any) -> BaseCollector[Any]:
        """Return a new collector; ``context`` goes to the method of that name."""
        made = self.subject.cls(config or self.subject.config, self.context(**context))
        self._stack.push_async_callback(quietly, made.close)  # checks of their own judge what close does
        return made

    def feed(self, events: Mapping[str, Rows] | None = None, *, tenant: str = TENANT, first_id: int = 1) -> Feed:
        """Return the batches a streaming collector is shown; none for other kinds."""
        cls, example = self.subject.cls, self.subject.example
        if not issubclass(cls, Streaming):
            return ()
        chosen = example.events if events is None else events
        seen = {name: rows for name, rows in chosen.items() if name in cls.event_types}
        return feed(seen, example.end, tenant=tenant, first_id=first_id)

    @property
    def window(self) -> Window:
        """The window that ends with the example."""
        end = micros(self.subject.example.end)
        return Window(end - round(self.subject.config.interval_seconds * 1e6), end)

    async def run(
        self, collector: BaseCollector[Any], batches: Feed | None = None, window: Window | None = None
    ) -> Collection:
        """Open, show the example's batches or these, let an interval pass, and return what was found and collected."""
        await collector.open()
        findings = observe(collector, self.feed() if batches is None else batches)
        collection = await self.again(collector, window)
        return Collection(collection.samples, (*findings, *collection.findings), collection.issues)

    async def run_without_events(self) -> Collection | None:
        """Run a new collector on a source without events, which one that reads no events knows nothing of.

        None if that raises: whether it may is a check of its own.
        """
        nothing: dict[str, Any] = {"content": {}} if self.subject.reads_events else {}
        got: list[Collection] = []

        async def run() -> None:
            got.append(await self.run(self.make(**nothing), ()))

        await quietly(run)
        return got[0] if got else None

    async def again(self, collector: BaseCollector[Any], window: Window | None = None) -> Collection:
        """Let an interval pass and collect; ``CheckFailed`` if that is no collection."""
        self.clock.jump(collector.config.interval_seconds)
        collection = await collector.collect(window or self.window)
        expect(
            isinstance(collection, Collection),
            f"collect returned {type(collection).__name__}; return a Collection, an empty one if there is nothing",
        )
        return collection

    def runner(self, collector: BaseCollector[Any], emit: RecordingEmit) -> Runner:
        """Return the runner that would run it in a server."""
        return Runner(collector, emit, self.clock)

    def folder(self) -> Path:
        """Return a new folder with the example's files, which goes when the check ends."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="example-files-")))
        for name, text in self.subject.example.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder


class RecordingEmit:
    """Where a runner puts collections in a test."""

    def __init__(self) -> None:
        self.collections: list[Collection] = []

    def __call__(self, runner: Runner, collection: Collection) -> None:  # noqa: ARG002  # as runners call it
        self.collections.append(collection)


def observe(collector: BaseCollector[Any], batches: Sequence[Any]) -> tuple[Any, ...]:
    """Show batches to a streaming collector and return its findings; ``CheckFailed`` if it returns something else."""
    findings: list[Any] = []
    for batch in batches:
        assert isinstance(collector, Streaming)
        collection = collector.observe(batch)
        expect(
            isinstance(collection, Collection),
            f"observe returned {type(collection).__name__}; return a Collection, an empty one if there is nothing",
        )
        findings += collection.findings
    return tuple(findings)


async def quietly(work: Callable[[], Any]) -> BaseException | None:
    """Await what ``work`` returns, and return what it raised, if anything; cancellation is passed on."""
    try:
        await work()
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001  # the check judges it
        return error
    return None


def _text(secret: str | bytes) -> str:
    return secret if isinstance(secret, str) else secret.decode("latin-1")
