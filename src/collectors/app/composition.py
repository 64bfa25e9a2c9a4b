"""Bring managers together with what exists: the catalogue, the profiles, the lake, the alerts."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collectors.alerting.handlers.function import FunctionHandler
from collectors.app import profiles
from collectors.clock import Clock
from collectors.config.tenant import TenantConfig
from collectors.contract.collector import Analytical, BaseCollector, CollectorContext, Host, TenantLake
from collectors.contract.registry import collector_class
from collectors.errors import ConfigError
from collectors.model.metric import Window
from collectors.model.status import TenantInfo
from collectors.runtime.cost import MeteredLake
from collectors.runtime.manager import AlertFunction, Services
from collectors.runtime.runner import Emit
from collectors.runtime.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Reach:
    """What collectors reach of the world: time, and their tenant's part of the lake if there is one."""

    clock: Clock
    lake: Callable[[str], TenantLake] | None = None

    def __call__(self, tenant: str, config: TenantConfig, host: Host) -> CollectorContext:
        """Return the context of a tenant's collectors."""
        return CollectorContext(
            tenant=TenantInfo(tenant, config.time_zone, config.currency),
            clock=self.clock,
            lake=None if self.lake is None else MeteredLake(self.lake(tenant), self.clock),
            host=host,
        )


def services(
    reach: Reach,
    scheduler: Scheduler,
    emit: Emit,
    declare: Callable[[BaseCollector[Any], TenantConfig], None],
    register: Callable[[str, AlertFunction], None],
) -> Services:
    """Return what managers need; ``register`` has an async callable told of everybody's alerts, under a name."""

    def handle(tenant: str, name: str, function: AlertFunction) -> None:
        FunctionHandler(function)  # refuses what is not asynchronous

        async def of_tenant(alert: dict[str, Any]) -> None:
            if alert["tenant"] == tenant:
                await function(alert)

        register(_handler_name(tenant, name), of_tenant)

    return Services(
        clock=reach.clock,
        scheduler=scheduler,
        plan=profiles.plan,
        lookup=collector_class,
        context=reach,
        emit=emit,
        declare=declare,
        handle=handle,
        check=check_portable,
    )


def _handler_name(tenant: str, name: str) -> str:
    """Return what the desk calls a tenant's handler: the same in every process, and no other tenant's."""
    word = re.sub(r"[^a-z0-9_-]", "_", name.lower())[:48]
    return f"on-{word}-{zlib.crc32(f'{tenant}/{name}'.encode()):08x}"


def check_portable(collector: BaseCollector[Any]) -> None:
    """Refuse an analytical collector whose queries would give other numbers on another engine."""
    if not isinstance(collector, Analytical):
        return
    from collectors.lake.portable import violations  # loads Ibis

    now = collector.context.clock.now_us()
    for query, expression in collector.queries(Window(now - 1, now)).items():
        for found in violations(expression):
            raise ConfigError(f"the query {query} of {collector.name} is not portable: {found}")
