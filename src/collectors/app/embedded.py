"""Monitoring in your own process: what a server's worker does, without a server.

It works on a data folder, the one of ``COLLECTORS_DATA`` or ``data`` below the working directory, and holds it as a
server does, so that there is never more than one of them. What it stores a server can show later. It belongs to the
event loop on which it was started, and ends with it; ``shutdown`` ends it before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.clock import SystemClock
from collectors.config.collector import CollectorConfig
from collectors.config.server import ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.contract.collector import BaseCollector
from collectors.errors import ConfigError, LifecycleError, UnknownName
from collectors.model.alert import Alert
from collectors.model.status import CollectorStatus, State
from collectors.monitoring.health import ComponentHealth, HealthChecker, aged
from collectors.runtime.manager import CollectorManager

if TYPE_CHECKING:
    from collectors.app.worker import Subscriber, Worker
    from collectors.drivers.sample_store import LabelledSample

DATA_VARIABLE = "COLLECTORS_DATA"
DEFAULT_DATA = Path("data")
_LATE_INTERVALS = 3.0
"""A collector that brought nothing for so many intervals is unhealthy."""


@dataclass(frozen=True, slots=True)
class TenantMonitoringStatus:
    """How a tenant is monitored: its settings, its collectors by name, and the alerts that are firing."""

    tenant: str
    config: TenantConfig
    collectors: Mapping[str, CollectorStatus]
    alerts: tuple[Alert, ...]

    @property
    def healthy(self) -> bool:
        """Whether no collector fails; alerts tell of what is monitored, not of the monitoring."""
        return all(status.state is not State.FAILING for status in self.collectors.values())


class EmbeddedOrchestrator:
    """The collectors of all tenants of a data folder, in this process; starts by itself when first needed.

    Tenants are put on record in the folder: those that were registered before are monitored again from the next start.
    """

    def __init__(self, config: ServerConfig | None = None, clock: SystemClock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Lock | None = None

    # Tenants.

    async def register_tenant_collectors(self, tenant_id: str, config: TenantConfig) -> CollectorManager:
        """Put a tenant on record, or change its settings, and monitor it; return its manager.

        Raises BadInput for an impossible id, and ConfigError for impossible settings or if a server has the folder.
        """
        worker = await self._running()
        await asyncio.to_thread(_record, worker, tenant_id, config)
        worker.paused.discard(tenant_id)
        await worker.refresh()
        return worker.orchestrator.manager(tenant_id)

    async def unregister_tenant_collectors(self, tenant_id: str) -> None:
        """Stop monitoring a tenant until it is registered again; its record and its data stay."""
        worker = await self._running()
        worker.orchestrator.manager(tenant_id)
        worker.paused.add(tenant_id)
        await worker.refresh()

    async def manager(self, tenant_id: str) -> CollectorManager:
        """Return a tenant's manager; raises UnknownName if it is not monitored."""
        return (await self._running()).orchestrator.manager(tenant_id)

    async def get_status(self) -> dict[str, dict[str, CollectorStatus]]:
        """Report how all collectors are doing, by tenant and name."""
        return await (await self._running()).orchestrator.get_status()

    async def get_tenant_status(self, tenant_id: str) -> TenantMonitoringStatus:
        """Report how a tenant is monitored; raises UnknownName if it is not."""
        worker = await self._running()
        manager = worker.orchestrator.manager(tenant_id)
        firing = tuple(worker.alerts.firing(tenant_id))
        return TenantMonitoringStatus(tenant_id, manager.config, await manager.get_collector_status(), firing)

    def subscribe(self, tenant_id: str, take: Subscriber) -> Callable[[], None]:
        """Have a tenant's samples handed to ``take`` as they come in, on the event loop; call what comes back to end.

        ``take`` must not block. Raises UnknownName if the tenant is not monitored.
        """
        worker = self._worker
        if worker is None:
            raise UnknownName("no tenant is monitored in this process; await initialize_tenant_monitoring() first")
        worker.orchestrator.manager(tenant_id)

        def pass_on(samples: Sequence[LabelledSample]) -> None:
            mine = [s for s in samples if s.tenant == tenant_id]
            if mine:
                take(mine)

        worker.subscribers.append(pass_on)

        def end() -> None:
            with contextlib.suppress(ValueError):
                worker.subscribers.remove(pass_on)

        return end

    # Its life.

    async def shutdown(self) -> None:
        """Stop all collectors, store what is left, and let go of the data folder; safe if it never started."""
        worker, task = self._worker, self._task
        if worker is not None and task is not None:
            worker.stop()
            await asyncio.wait((task,))

    def check(self) -> Iterable[tuple[str, ComponentHealth]]:
        """Look at each part of the process, and at each collector."""
        worker = self._worker
        if worker is None:
            detail = "nothing is monitored yet; call initialize_tenant_monitoring"
            yield "monitoring", ComponentHealth(healthy=False, detail=detail)
            return
        for name, (age, normal) in worker.pulse().items():
            yield name, aged(age, normal)
        now = self._clock.now_us()
        for tenant in worker.orchestrator.tenants:
            for runner_status, interval in worker.orchestrator.manager(tenant).intervals():
                yield f"{tenant}/{runner_status.name}", _collector_health(runner_status, interval, now)

    async def _running(self) -> Worker:
        """Return the worker, which is started if it is not running yet."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed() and self._worker is not None:
                raise LifecycleError("monitoring runs on another event loop; await shutdown() there first")
            self._loop, self._starting, self._worker = loop, asyncio.Lock(), None
        assert self._starting is not None, "it was made together with the loop"
        async with self._starting:
            if self._worker is None:
                await self._start()
        worker = self._worker
        assert worker is not None, "it was started"
        return worker

    async def _start(self) -> None:
        ready: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(ready), name="collectors")
        self._worker = await ready

    async def _run(self, ready: asyncio.Future[Worker]) -> None:
        """Hold the folder and work on it until asked to stop, or the loop ends."""
        await asyncio.to_thread(import_module, "collectors.app.worker")  # it takes a second
        from collectors.app.supervisor import owned, prepare_folder
        from collectors.app.worker import Worker

        config = self._config or ServerConfig(data=Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA))
        try:
            with _held(owned(config.data), config.data):
                worker = Worker(config, self._clock, die=lambda: worker.stop())  # noqa: PLW0108 - it is made just now
                await asyncio.to_thread(prepare_folder, worker.folder)
                running = asyncio.create_task(worker.run(), name="collectors:worker")
                started = asyncio.create_task(worker.started.wait())
                try:
                    await asyncio.wait((running, started), return_when=asyncio.FIRST_COMPLETED)
                    if not running.done():
                        ready.set_result(worker)
                    await running
                finally:
                    started.cancel()
                    if not running.done():
                        worker.stop()
                        await asyncio.wait((running,))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            self._worker = None


@contextlib.contextmanager
def _held(lock: contextlib.AbstractContextManager[None], folder: Path) -> Iterator[None]:
    """Hold the folder as a server does, and say what to do in a program if a server has it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except ConfigError:
            raise ConfigError(
                f"a server, or another program that monitors, has the data folder {folder.absolute()}",
                where=DATA_VARIABLE,
                fix="set it to another folder, stop the other, or talk to the server through its API instead.",
            ) from None
        yield


def _record(worker: Worker, tenant: str, config: TenantConfig) -> None:
    from collectors.privacy.policy import preset

    preset(config.compliance_mode).override(config.policies, where="policies")
    worker.folder.control.put_tenant(tenant, config)
    worker.folder.keys.create(tenant)


def _collector_health(status: CollectorStatus, interval: float, now_us: int) -> ComponentHealth:
    age = (now_us - status.last_success_us) / 1e6 if status.last_success_us else None
    if status.state is State.FAILING:
        return ComponentHealth(healthy=False, age_seconds=age, detail=status.last_error)
    if status.state is State.RUNNING and age is not None:
        return aged(age, _LATE_INTERVALS * interval + 10.0)
    return ComponentHealth(healthy=True, age_seconds=age, detail=str(status.state))


# The process's own, made when first asked for.

_default: EmbeddedOrchestrator | None = None
_health: HealthChecker | None = None


def default_orchestrator() -> EmbeddedOrchestrator:
    """Return the process's orchestrator; it touches nothing before a tenant is registered."""
    global _default  # noqa: PLW0603 - the one default that a process has
    if _default is None:
        _default = EmbeddedOrchestrator()
    return _default


def default_health_checker() -> HealthChecker:
    """Return the health checker of the process's orchestrator."""
    global _health  # noqa: PLW0603 - the one default that a process has
    if _health is None:
        _health = HealthChecker()
        _health.register("monitoring", lambda: default_orchestrator().check())
    return _health


async def shutdown() -> None:
    """End the process's monitoring, if there is any, and forget it: the next call begins anew."""
    global _default
    before, _default = _default, None
    if before is not None:
        await before.shutdown()


async def initialize_tenant_monitoring(tenant_id: str, config: TenantConfig | None = None) -> CollectorManager:
    """Monitor a tenant in this process, and return its manager; again, with another ``config``, to change it."""
    return await default_orchestrator().register_tenant_collectors(tenant_id, config or TenantConfig())


async def get_tenant_monitoring_status(tenant_id: str) -> TenantMonitoringStatus:
    """Report how a tenant is monitored in this process; raises UnknownName if it is not."""
    return await default_orchestrator().get_tenant_status(tenant_id)


async def create_collector_for_tenant(
    tenant_id: str, collector: str | type[BaseCollector[Any]], config: CollectorConfig | None = None
) -> BaseCollector[Any]:
    """Return a new collector, by name or class, of a tenant that is monitored; ``start_collection`` starts it."""
    return (await default_orchestrator().manager(tenant_id)).create(collector, config)
