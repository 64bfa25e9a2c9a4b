"""Hand a tenant's metrics on to other systems, from Python.

    exporter = MetricsExporter()
    await exporter.start_export("tenant_123")

Where to, if nothing else is said: an OTLP receiver if ``OTEL_EXPORTER_OTLP_ENDPOINT`` names one, as for every program
instrumented with OpenTelemetry; else Prometheus, which may scrape ``http://127.0.0.1:9464/metrics``, OpenTelemetry's
own default, at ``OTEL_EXPORTER_PROMETHEUS_HOST`` and ``OTEL_EXPORTER_PROMETHEUS_PORT`` if those are set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from collectors.config.sinks import OtlpSink, PrometheusSink, SinkConfig
from collectors.contract.sink import ExportedSample, ExportHost, RunningSinks, SinkStatus
from collectors.errors import ConfigError, LifecycleError


class _Default:
    """The host of exporters that name none."""

    host: ExportHost | None = None


def use_export_host(host: ExportHost | None) -> None:
    """Let exporters that name no host ask ``host``: called by who monitors tenants in this process, None at its end."""
    _Default.host = host


@dataclass(frozen=True, slots=True)
class ExportStatus:
    """Which tenants are exported, how many samples each has handed over since, and how each sink does."""

    tenants: Mapping[str, int]
    sinks: tuple[SinkStatus, ...]


class MetricsExporter:
    """Export tenants of this process to sinks of its own, beside those that are configured for the server.

    ``sinks`` are configurations by a name of your choice, under which a queue is kept; the module tells the default.
    ``host`` knows the tenants' samples: the process's own if not given.
    """

    def __init__(self, sinks: Mapping[str, SinkConfig] | None = None, host: ExportHost | None = None) -> None:
        self._sinks = sinks
        self._host = host
        self._running: RunningSinks | None = None
        self._ends: dict[str, Callable[[], None]] = {}
        self._counts: dict[str, int] = {}

    async def start_export(self, tenant: str) -> None:
        """Export the tenant's samples from now on; nothing happens if they are already.

        Raises UnknownName if the tenant is not monitored in this process, LifecycleError if none is, and ConfigError.
        """
        if tenant in self._ends:
            return
        host = self._host or _Default.host
        if host is None:
            raise LifecycleError(
                "no tenant is monitored in this process; await initialize_tenant_monitoring() before the export"
            )
        self._counts[tenant] = 0
        self._ends[tenant] = host.subscribe(tenant, partial(self._take, tenant))
        try:
            if self._running is None:
                self._running = await host.start_sinks(
                    default_sinks(os.environ) if self._sinks is None else self._sinks
                )
        except BaseException:
            self._end(tenant)
            raise

    async def stop_export(self, tenant: str | None = None) -> None:
        """Stop exporting a tenant, or all; after the last the sinks deliver what waits, and end."""
        for one in [tenant] if tenant is not None else list(self._ends):
            if one in self._ends:
                self._end(one)
        if not self._ends and self._running is not None:
            running, self._running = self._running, None
            await running.stop()

    def status(self) -> ExportStatus:
        """Report what is exported."""
        return ExportStatus(dict(self._counts), self._running.statuses() if self._running else ())

    def _end(self, tenant: str) -> None:
        del self._counts[tenant]
        self._ends.pop(tenant)()

    def _take(self, tenant: str, samples: tuple[ExportedSample, ...]) -> None:
        if self._running is not None:
            self._counts[tenant] += len(samples)
            self._running.offer(samples)


def default_sinks(environ: Mapping[str, str]) -> dict[str, SinkConfig]:
    """Return where to export to if nothing is said, from OpenTelemetry's variables."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    try:
        if endpoint:
            return {"otlp": OtlpSink(url=endpoint)}
        host = environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        port = environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")
        return {"prometheus": PrometheusSink.model_validate({"host": host, "port": port})}
    except ValidationError:
        raise ConfigError(
            "a variable that begins with OTEL_EXPORTER_ is wrong",
            fix="write an address such as http://collector:4318, or a port from 0 to 65535.",
        ) from None
