"""The collectors of all tenants: who is monitored, and how many workers that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from collectors.config.tenant import TenantConfig
from collectors.contract.collector import Streaming
from collectors.errors import UnknownName
from collectors.model.metric import Collection
from collectors.model.status import CollectorStatus
from collectors.runtime.manager import CollectorManager, Services
from collectors.runtime.scaling import Decision, Load, Scaler, ScalingPolicy

Observers = Mapping[tuple[str, str], list[Streaming[Any]]]


class CollectorOrchestrator:
    """Starts, changes and stops tenants' managers, and decides how many workers they need. Used on one event loop.

    ``states`` are what streaming collectors knew when the process ended, by tenant and collector.
    """

    def __init__(
        self,
        services: Services,
        *,
        states: Mapping[tuple[str, str], bytes] | None = None,
        scaling: ScalingPolicy | None = None,
    ) -> None:
        self._services = services
        self._states: dict[str, dict[str, bytes]] = {}
        for (tenant, collector), state in (states or {}).items():
            self._states.setdefault(tenant, {})[collector] = state
        self._managers: dict[str, CollectorManager] = {}
        self._observers: Observers = {}
        self._indexing = False
        self._turn = asyncio.Lock()
        self._scaler = Scaler(scaling or ScalingPolicy())

    # Tenants.

    async def register_tenant_collectors(self, tenant_id: str, config: TenantConfig) -> CollectorManager:
        """Monitor a tenant, or give one that is monitored a new configuration; return its manager."""
        async with self._turn:
            return await self._register(tenant_id, config)

    async def unregister_tenant_collectors(self, tenant_id: str) -> None:
        """Stop a tenant's collectors; what they stored stays. Raises UnknownName if it is not monitored."""
        async with self._turn:
            await self._unregister(tenant_id)

    async def match(self, wanted: Mapping[str, TenantConfig]) -> None:
        """Monitor exactly the tenants of ``wanted``, and touch nothing that runs as it should."""
        async with self._turn:
            for tenant in [t for t in self._managers if t not in wanted]:
                await self._unregister(tenant)
            for tenant, config in wanted.items():
                known = self._managers.get(tenant)
                if known is None or known.config != config:
                    await self._register(tenant, config)

    async def stop(self) -> None:
        """Stop monitoring all tenants."""
        await self.match({})

    async def _register(self, tenant: str, config: TenantConfig) -> CollectorManager:
        manager = self._managers.get(tenant)
        if manager is None:
            states = self._states.setdefault(tenant, {})
            manager = CollectorManager(tenant, self._services, states=states, changed=self._reindex_soon)
            self._managers[tenant] = manager
        await manager.apply(config)
        return manager

    async def _unregister(self, tenant: str) -> None:
        await self.manager(tenant).stop_all()
        del self._managers[tenant]
        self._reindex_soon()

    def manager(self, tenant_id: str) -> CollectorManager:
        """Return a tenant's manager; raises UnknownName if it is not monitored."""
        manager = self._managers.get(tenant_id)
        if manager is None:
            raise UnknownName(f"the tenant {tenant_id[:64]!r} is not monitored; register it first")
        return manager

    @property
    def tenants(self) -> list[str]:
        """Tenants that are monitored."""
        return list(self._managers)

    def statuses(self, tenant: str) -> list[CollectorStatus]:
        """Report how a tenant's collectors are doing; nothing if it is not monitored."""
        manager = self._managers.get(tenant)
        return [] if manager is None else manager.statuses()

    async def get_status(self) -> dict[str, dict[str, CollectorStatus]]:
        """Report how all collectors are doing, by tenant and name."""
        return {tenant: await manager.get_collector_status() for tenant, manager in sorted(self._managers.items())}

    # Streaming collectors.

    @property
    def observers(self) -> Observers:
        """(tenant, event type) to the streaming collectors that want it; replaced as a whole when it changes."""
        return self._observers

    def deliver(self, tenant: str, collector: str, collection: Collection) -> None:
        """Pass on what a streaming collector observed between two runs."""
        manager = self._managers.get(tenant)
        if manager is not None:
            manager.deliver(collector, collection)

    def snapshots(self) -> dict[tuple[str, str], bytes]:
        """Return the states of all streaming collectors; the caller keeps them from observing meanwhile."""
        return {(t, c): state for t, manager in self._managers.items() for c, state in manager.snapshots().items()}

    def _reindex_soon(self) -> None:
        """Make the index once for all the changes of this turn of the event loop."""
        if not self._indexing:
            self._indexing = True
            asyncio.get_running_loop().call_soon(self._reindex)

    def _reindex(self) -> None:
        self._indexing = False
        index: dict[tuple[str, str], list[Streaming[Any]]] = {}
        for tenant, manager in self._managers.items():
            for collector in manager.streaming():
                for name in collector.event_types:
                    index.setdefault((tenant, name), []).append(collector)
        self._observers = index

    # Size.

    def scale(self, load: Load) -> Decision:
        """Say how many workers the load needs; the caller has them started or stopped."""
        return self._scaler.observe(load)
