"""One tenant's collectors: what should run, what does, and how each of them is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from collectors.clock import Clock
from collectors.config.collector import CollectorConfig
from collectors.config.tenant import TenantConfig
from collectors.contract.collector import BaseCollector, CollectorContext, Host, Streaming
from collectors.errors import LifecycleError, UnknownName
from collectors.model.metric import Collection
from collectors.model.status import CollectorStatus
from collectors.resilience.cardinality import SeriesLimiter
from collectors.resilience.quota import TenantLimits
from collectors.runtime.runner import Emit, Runner
from collectors.runtime.scheduler import Scheduler

log = structlog.get_logger()

AlertFunction = Callable[[dict[str, Any]], Any]
"""Any async callable that takes one alert as a dict."""


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """What a tenant's configuration comes to: its collectors by name, and how much they may use."""

    collectors: Mapping[str, CollectorConfig] = field(default_factory=dict)
    limits: TenantLimits = field(default_factory=TenantLimits)
    max_series: int = 10_000


@dataclass(frozen=True)
class Services:
    """What managers work with; whoever composes the product brings it, so that they know no collector and no store."""

    clock: Clock
    scheduler: Scheduler
    plan: Callable[[str, TenantConfig], TenantPlan]
    """What a tenant of this configuration runs."""
    lookup: Callable[[str], type[BaseCollector[Any]]]
    """The collector of a name; raises UnknownName."""
    context: Callable[[str, TenantConfig, Host], CollectorContext]
    """What a tenant's collectors reach of the world."""
    emit: Emit
    """Where their samples go."""
    declare: Callable[[BaseCollector[Any], TenantConfig], None]
    """Make metrics and thresholds known before the first sample; raises ConfigError if they are wrong."""
    handle: Callable[[str, str, AlertFunction], None]
    """Have an async callable told of a tenant's alerts, under a name."""
    check: Callable[[BaseCollector[Any]], None] = lambda _: None
    """Refuse a collector that can't run here, by ConfigError."""


class CollectorManager:
    """Starts, stops, adds and removes the collectors of one tenant, and is the ``Host`` they ask. On one event loop.

    ``apply`` brings what runs in line with a configuration and touches only what changes; collectors that were added
    by hand stay. ``states`` are what the tenant's streaming collectors knew when they were last stopped, by name.
    """

    def __init__(
        self,
        tenant: str,
        services: Services,
        *,
        states: MutableMapping[str, bytes] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.tenant = tenant
        self.states: MutableMapping[str, bytes] = {} if states is None else states
        self._services = services
        self._changed = changed
        self._config = TenantConfig()
        self._context: CollectorContext | None = None
        self._series: SeriesLimiter | None = None
        self._runners: dict[str, Runner] = {}
        self._planned: dict[str, CollectorConfig] = {}
        self._turn = asyncio.Lock()

    @property
    def config(self) -> TenantConfig:
        """The configuration last applied."""
        return self._config

    # What should run.

    async def apply(self, config: TenantConfig) -> None:
        """Run what ``config`` says, and touch nothing that runs as it should."""
        async with self._turn:
            plan = self._services.plan(self.tenant, config)
            before, self._config = self._config, config
            self._limit(plan)
            wanted = {name: given for name, given in plan.collectors.items() if given.enabled}
            if self._context is not None and _concerns(before) != _concerns(config):
                # Days and money mean something else now: every collector begins anew.
                self._context = None
                keep: set[str] = set()
            else:
                keep = {name for name, given in wanted.items() if self._planned.get(name) == given}
            for name in [n for n in self._planned if n not in keep]:
                await self._discard(name)
            if self._context is None:
                await self._rehost()
            for name, given in wanted.items():
                if name not in keep:
                    self._start_planned(name, given)
            if before.alert_rules != config.alert_rules:
                for runner in self._runners.values():
                    self._services.declare(runner.collector, config)
            self._changed()

    def _limit(self, plan: TenantPlan) -> None:
        self._services.scheduler.limit_tenant(self.tenant, plan.limits)
        if self._series is None:
            self._series = SeriesLimiter(plan.max_series)
        else:
            self._series.reconfigure(plan.max_series)

    async def _rehost(self) -> None:
        """Make a new context, also for collectors that were added by hand."""
        self._context = self._services.context(self.tenant, self._config, self)
        for name, runner in list(self._runners.items()):
            collector, ran = runner.collector, runner.is_started
            await self._discard(name)
            anew = self._add(type(collector), collector.config)
            if ran:
                self._runners[anew.instance_name].start()

    def _start_planned(self, name: str, given: CollectorConfig) -> None:
        if name in self._runners:
            return  # one of that name was added by hand, and goes first
        self._planned[name] = given
        try:
            self._add(self._services.lookup(name), given)
        except Exception:
            # A plug-in that can't be loaded is missing by itself; the tenant's others run.
            log.exception("collector.not_loaded", collector=name, tenant=self.tenant)
            return
        self._runners[name].start()

    # One collector.

    def create(
        self, collector: str | type[BaseCollector[Any]], config: CollectorConfig | None = None
    ) -> BaseCollector[Any]:
        """Return a new collector of this tenant that does not run yet; ``start_collection`` starts it.

        Raises UnknownName if there is none of that name, LifecycleError if the tenant has one of that name, and
        ConfigError if its configuration is wrong.
        """
        cls = self._services.lookup(collector) if isinstance(collector, str) else collector
        name = (config.name if config is not None else "") or cls.name
        if name in self._runners:
            raise LifecycleError(f"{self.tenant} has a collector {name} already; remove it, or set another name")
        if self._context is None:
            raise LifecycleError("the tenant has no configuration yet; apply one first")
        made = self._add(cls, config)
        self._changed()
        return made

    async def add(
        self, collector: str | type[BaseCollector[Any]], config: CollectorConfig | None = None
    ) -> BaseCollector[Any]:
        """Create a collector and start it."""
        made = self.create(collector, config)
        await self.start(made)
        return made

    async def remove(self, name: str) -> None:
        """Stop a collector and forget it; the next change of the configuration may bring it back."""
        self._runner(name)
        await self._discard(name)
        self._changed()

    def _add(self, cls: type[BaseCollector[Any]], config: CollectorConfig | None) -> BaseCollector[Any]:
        assert self._context is not None, "a configuration was applied"
        made = cls(config, self._context)
        self._services.check(made)
        self._services.declare(made, self._config)
        state = self.states.pop(made.instance_name, None)
        if state is not None and isinstance(made, Streaming):
            made.restore(state)
        services = self._services
        self._runners[made.instance_name] = Runner(
            made, services.emit, services.clock, scheduler=services.scheduler, series=self._series
        )
        return made

    async def _discard(self, name: str) -> None:
        self._planned.pop(name, None)
        runner = self._runners.pop(name, None)
        if runner is None:
            return  # it could not be loaded
        if isinstance(runner.collector, Streaming):
            self.states[name] = runner.collector.snapshot()
        await runner.stop()

    # The host's side: what collectors ask, and what people do by name.

    async def start(self, collector: BaseCollector[Any] | str) -> None:
        """Run a collector of this tenant on its interval until it is stopped."""
        self._runner(collector).start()
        self._changed()

    async def stop(self, collector: BaseCollector[Any] | str) -> None:
        """Stop and close a collector; it stays known and can be started again."""
        await self._runner(collector).stop()
        self._changed()

    def status(self, collector: BaseCollector[Any] | str) -> CollectorStatus:
        """Report how a collector is doing."""
        return self._runner(collector).status()

    async def stop_all(self) -> None:
        """Stop all collectors and forget them."""
        async with self._turn:
            self._planned.clear()
            for name in list(self._runners):
                await self._discard(name)
            self._changed()

    async def get_collector_status(self) -> dict[str, CollectorStatus]:
        """Report how every collector of the tenant is doing, by name."""
        return {name: runner.status() for name, runner in sorted(self._runners.items())}

    def statuses(self) -> list[CollectorStatus]:
        """Report how the collectors are doing, in the order they were started."""
        return [runner.status() for runner in self._runners.values()]

    def intervals(self) -> list[tuple[CollectorStatus, float]]:
        """Return each collector's status with the seconds between its runs."""
        return [(r.status(), r.collector.config.interval_seconds) for r in self._runners.values()]

    # What belongs to collectors.

    def add_alert_handler(self, handler: AlertFunction, *, name: str = "") -> None:
        """Have ``handler``, any async callable that takes one alert as a dict, told of this tenant's alerts.

        ``name`` tells it from others, also after a restart; its own if not given. Whatever it raises, it is called
        again later, and nobody else waits for it. Raises ConfigError if it is not asynchronous or the name is taken.
        """
        called = getattr(handler, "__name__", type(handler).__name__)
        self._services.handle(self.tenant, name or called, handler)

    def streaming(self) -> list[Streaming[Any]]:
        """Return the streaming collectors that run."""
        return [r.collector for r in self._runners.values() if r.is_started and isinstance(r.collector, Streaming)]

    def snapshots(self) -> dict[str, bytes]:
        """Return the states of all streaming collectors; the caller keeps them from observing meanwhile."""
        return {
            name: runner.collector.snapshot()
            for name, runner in self._runners.items()
            if isinstance(runner.collector, Streaming)
        }

    def deliver(self, name: str, collection: Collection) -> None:
        """Pass on what a streaming collector observed between two runs; what one says that is gone is lost."""
        runner = self._runners.get(name)
        if runner is not None:
            runner.emit_now(collection)

    def _runner(self, collector: BaseCollector[Any] | str) -> Runner:
        name = collector if isinstance(collector, str) else collector.instance_name
        runner = self._runners.get(name)
        if runner is None or (not isinstance(collector, str) and runner.collector is not collector):
            there = ", ".join(sorted(self._runners)) or "none"
            raise UnknownName(f"{self.tenant} has no such collector {name[:64]!r}; it has: {there}")
        return runner


def _concerns(config: TenantConfig) -> tuple[str, str]:
    """Return what every collector of a tenant depends on."""
    return config.time_zone, config.currency
