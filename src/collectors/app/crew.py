"""The collectors of all tenants: which run, with what configuration, and where their samples go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from collectors.app.tail import Observation
from collectors.clock import Clock
from collectors.config.collector import CollectorConfig
from collectors.config.tenant import PLATFORM_TENANT, TenantConfig
from collectors.contract.collector import Analytical, BaseCollector, CollectorContext, Streaming, TenantLake
from collectors.contract.registry import collector_class
from collectors.drivers.control_store import Tenant
from collectors.errors import ConfigError
from collectors.model.metric import Window
from collectors.model.status import CollectorStatus, TenantInfo
from collectors.resilience.cardinality import SeriesLimiter
from collectors.runtime.cost import MeteredLake
from collectors.runtime.runner import Emit, Runner
from collectors.runtime.scheduler import Scheduler

log = structlog.get_logger()

BUSINESS = {
    "tenant_business_metrics": 30.0,
    "user_engagement": 60.0,
    "revenue_metrics": 60.0,
    "experiment_tracking": 300.0,
    "churn_analytics": 900.0,
    "customer_lifetime_value": 900.0,
}
REAL_TIME = {"security_events": 5.0}
PLATFORM = {"system_performance": 5.0}
"""Collectors by whom they are for, with the seconds between two runs at the standard monitoring level."""

MAX_SERIES = 10_000
"""Series of one tenant; what is beyond is folded into one with the label value ``overflow``."""

_INTERVAL_FACTOR = {"basic": 2.0, "standard": 1.0, "comprehensive": 0.5}


def collectors_for(tenant: str, config: TenantConfig) -> Mapping[str, CollectorConfig]:
    """Return the collectors a tenant runs by name, with the interval its monitoring level gives them."""
    factor = _INTERVAL_FACTOR[config.monitoring_level]
    for_customers = BUSINESS | (REAL_TIME if config.real_time_enabled else {})
    chosen = PLATFORM if tenant == PLATFORM_TENANT else for_customers
    return {name: CollectorConfig(interval_seconds=seconds * factor) for name, seconds in chosen.items()}


def _check_portable(collector: Analytical[Any]) -> None:
    """Refuse a collector whose queries would give other numbers on another engine."""
    from collectors.lake.portable import violations

    now = collector.context.clock.now_us()
    for query, expression in collector.queries(Window(now - 1, now)).items():
        for found in violations(expression):
            raise ConfigError(f"the query {query} of {collector.name} is not portable: {found}")


class Crew:
    """Starts and stops runners as tenants come, change and go. Used on the event loop."""

    def __init__(
        self,
        clock: Clock,
        emit: Emit,
        lake: Callable[[str], TenantLake],
        states: Mapping[tuple[str, str], bytes],
        declare: Callable[[BaseCollector[Any]], None],
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._lake = lake
        self._states = dict(states)
        self._declare = declare
        self.scheduler = Scheduler(clock)
        self._series: dict[str, SeriesLimiter] = {}
        self._runners: dict[tuple[str, str], Runner] = {}
        self._configs: dict[str, TenantConfig] = {}
        self._observers: dict[tuple[str, str], list[Streaming[Any]]] = {}

    @property
    def observers(self) -> Mapping[tuple[str, str], list[Streaming[Any]]]:
        """(tenant, event type) to streaming collectors; replaced as a whole when it changes."""
        return self._observers

    async def match(self, tenants: Iterable[Tenant]) -> None:
        """Run what ``tenants`` should run, and touch nothing that runs as it should."""
        wanted = {t.id: t.config for t in tenants}
        for tenant in [t for t in self._configs if wanted.get(t) != self._configs[t]]:
            await self._stop_tenant(tenant)
        for tenant, config in wanted.items():
            if tenant not in self._configs:
                self._start_tenant(tenant, config)
        self._observers = self._index()

    async def stop(self) -> None:
        """Stop all runners."""
        for tenant in list(self._configs):
            await self._stop_tenant(tenant)
        self._observers = {}

    def statuses(self, tenant: str) -> list[CollectorStatus]:
        """Report how a tenant's collectors are doing."""
        return [runner.status() for (owner, _), runner in self._runners.items() if owner == tenant]

    @property
    def tenants(self) -> list[str]:
        """Tenants that are being monitored."""
        return list(self._configs)

    def deliver(self, observation: Observation) -> None:
        """Pass on what a streaming collector observed."""
        runner = self._runners.get((observation.tenant, observation.collector))
        if runner is not None:
            runner.emit_now(observation.collection)

    def snapshots(self) -> dict[tuple[str, str], bytes]:
        """Return the states of all streaming collectors; the caller keeps them from observing meanwhile."""
        return {
            key: runner.collector.snapshot()
            for key, runner in self._runners.items()
            if isinstance(runner.collector, Streaming)
        }

    def _start_tenant(self, tenant: str, config: TenantConfig) -> None:
        info = TenantInfo(tenant, config.time_zone, config.currency)
        lake = MeteredLake(self._lake(tenant), self._clock)
        context = CollectorContext(tenant=info, clock=self._clock, lake=lake)
        series = self._series.setdefault(tenant, SeriesLimiter(MAX_SERIES))
        for name, settings in collectors_for(tenant, config).items():
            try:
                collector = collector_class(name)(settings, context)
                if isinstance(collector, Analytical):
                    _check_portable(collector)
            except Exception:
                # A plug-in that can't be loaded is missing by itself; the tenant's others run.
                log.exception("collector.not_loaded", collector=name, tenant=tenant)
                continue
            state = self._states.pop((tenant, collector.instance_name), None)
            if state is not None and isinstance(collector, Streaming):
                collector.restore(state)
            self._declare(collector)
            runner = Runner(collector, self._emit, self._clock, scheduler=self.scheduler, series=series)
            self._runners[tenant, collector.instance_name] = runner
            runner.start()
        self._configs[tenant] = config

    async def _stop_tenant(self, tenant: str) -> None:
        del self._configs[tenant]
        for key in [k for k in self._runners if k[0] == tenant]:
            runner = self._runners.pop(key)
            if isinstance(runner.collector, Streaming):
                self._states[key] = runner.collector.snapshot()
            await runner.stop()

    def _index(self) -> dict[tuple[str, str], list[Streaming[Any]]]:
        index: dict[tuple[str, str], list[Streaming[Any]]] = {}
        for (tenant, _), runner in self._runners.items():
            if isinstance(runner.collector, Streaming):
                for name in runner.collector.event_types:
                    index.setdefault((tenant, name), []).append(runner.collector)
        return index
