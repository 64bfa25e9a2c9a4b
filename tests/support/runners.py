"""Collectors that behave as a test says, and a scheduler over a manual clock to run them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Sampling
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import TenantInfo
from collectors.runtime.runner import Runner
from collectors.runtime.scheduler import Scheduler, SchedulerPolicy
from tests.support.clock import ManualClock

VALUE = MetricSpec("test.value", Kind.COUNTER, Unit.COUNT, "A value.", labels=("which",))
GOOD = Collection((Sample("test.value", 1.0, ("a",)),))

Behaviour = Callable[["Actor"], Awaitable[Any]]


async def fine(_: Actor) -> Collection:
    return GOOD


def takes(seconds: float) -> Behaviour:
    async def behave(actor: Actor) -> Collection:
        await actor.context.clock.sleep(seconds)
        return GOOD

    return behave


def raises(error: BaseException) -> Behaviour:
    async def behave(_: Actor) -> Collection:
        raise error

    return behave


async def hangs(_: Actor) -> Collection:
    await asyncio.Event().wait()
    raise AssertionError


class Actor(Sampling[CollectorConfig]):
    """Does what ``behave`` does, and remembers when."""

    name = "actor"
    emits = (VALUE,)

    def __init__(self, config: CollectorConfig, context: CollectorContext, behave: Behaviour) -> None:
        super().__init__(config, context)
        self.behave = behave
        self.began: list[float] = []
        self.under_way = 0
        self.most_under_way = 0
        self.closed = 0

    async def collect(self, window: Window) -> Collection:
        self.began.append(self.context.clock.monotonic())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self.behave(self)  # type: ignore[no-any-return]
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        self.closed += 1


class Stage:
    """A scheduler, and the runners of any tenants on it."""

    def __init__(self, **policy: Any) -> None:
        self.clock = ManualClock()
        self.cpu = 0.0
        self.scheduler = Scheduler(self.clock, SchedulerPolicy(**policy), seed=1, cpu=lambda: self.cpu)
        self.emitted: list[tuple[str, Collection]] = []
        self.runners: list[Runner] = []

    def add(
        self,
        name: str,
        behave: Behaviour = fine,
        *,
        tenant: str = "acme",
        options: dict[str, Any] | None = None,
        **config: Any,
    ) -> tuple[Actor, Runner]:
        context = CollectorContext(tenant=TenantInfo(tenant), clock=self.clock)
        settings = CollectorConfig.model_validate({"name": name, "interval_seconds": 10, **config})
        actor = Actor(settings, context, behave)
        runner = Runner(actor, self.emit, self.clock, scheduler=self.scheduler, **(options or {}))
        runner.start()
        self.runners.append(runner)
        return actor, runner

    def emit(self, runner: Runner, collection: Collection) -> None:
        self.emitted.append((runner.collector.instance_name, collection))

    async def stop(self) -> None:
        for runner in self.runners:
            await runner.stop()
