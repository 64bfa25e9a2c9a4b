"""Where all samples of a process pass on their way out: to the sinks that are configured, and to exporters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from collectors.config.sinks import SinkConfig
from collectors.contract.sink import BaseSink, ExportedSample, SinkStatus
from collectors.errors import UnknownName
from collectors.runtime.fanout import FanOut

Listener = Callable[[tuple[ExportedSample, ...]], None]
MakeSink = Callable[[SinkConfig], BaseSink[Any]]
MakeFanOut = Callable[[], FanOut]


class Exports:
    """An ``ExportHost``: publishes each tenant's samples to who subscribed, and runs sinks."""

    def __init__(self, make_fan_out: MakeFanOut, make_sink: MakeSink, tenants: Callable[[], Iterable[str]]) -> None:
        self._make_fan_out = make_fan_out
        self._make_sink = make_sink
        self._tenants = tenants
        self._listeners: dict[str, list[Listener]] = {}
        self._sinks = make_fan_out()

    def configure(self, sinks: Mapping[str, SinkConfig]) -> None:
        """Run the sinks that are configured for all tenants."""
        self._sinks.start({name: self._make_sink(given) for name, given in sinks.items()})

    @property
    def wanted(self) -> bool:
        """Whether anybody listens, so that samples are made ready for export."""
        return bool(self._listeners or self._sinks.statuses())

    def publish(self, tenant: str, samples: tuple[ExportedSample, ...]) -> None:
        """Hand a tenant's samples to all who want them; never waits."""
        self._sinks.offer(samples)
        for listener in self._listeners.get(tenant, ()):
            listener(samples)

    def statuses(self) -> tuple[SinkStatus, ...]:
        """Report how the configured sinks do."""
        return self._sinks.statuses()

    async def stop(self) -> None:
        """Stop the configured sinks; what they did not take is kept."""
        await self._sinks.stop()

    def subscribe(self, tenant: str, listener: Listener) -> Callable[[], None]:
        """Show ``listener`` the tenant's samples until the returned function is called."""
        if tenant not in set(self._tenants()):
            raise UnknownName("the tenant is not monitored in this process; await initialize_tenant_monitoring() first")
        self._listeners[tenant] = [*self._listeners.get(tenant, ()), listener]

        def end() -> None:
            left = [one for one in self._listeners.get(tenant, ()) if one is not listener]
            if left:
                self._listeners[tenant] = left
            else:
                self._listeners.pop(tenant, None)

        return end

    async def start_sinks(self, sinks: Mapping[str, SinkConfig]) -> FanOut:
        """Run sinks of an exporter's own."""
        running = self._make_fan_out()
        running.start({name: self._make_sink(given) for name, given in sinks.items()})
        return running
