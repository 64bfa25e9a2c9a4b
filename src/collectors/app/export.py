"""Hands the worker's samples on to sinks, and tells how those do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from collectors.clock import Clock
from collectors.config.sinks import SinkConfig
from collectors.config.tenant import PLATFORM_TENANT
from collectors.contract.sink import ExportedSample, SinkContext
from collectors.contract.sink_registry import make_sink
from collectors.drivers.sample_store import LabelledSample
from collectors.drivers.sink_spool import SinkSpool
from collectors.model.metric import MetricSpec
from collectors.monitoring.exporter import use_export_host
from collectors.runtime.exports import Exports
from collectors.runtime.fanout import FanOut
from collectors.runtime.sink_metrics import SINK_METRICS, sink_samples

_KEYS = {spec.name: spec.labels for spec in SINK_METRICS}


class WorkerExports:
    """The configured sinks of a worker, with their queues in ``folder``; exporters of this process ask it too."""

    def __init__(self, folder: Path, clock: Clock, tenants: Callable[[], Iterable[str]]) -> None:
        self._folder = folder
        self._exports = Exports(
            lambda: FanOut(self._spool, clock), lambda given: make_sink(given, SinkContext(clock)), tenants
        )

    def start(self, sinks: Mapping[str, SinkConfig]) -> None:
        """Run the configured sinks."""
        self._exports.configure(sinks)
        use_export_host(self._exports)

    async def stop(self) -> None:
        """Deliver what can be delivered soon, and keep the rest."""
        use_export_host(None)
        await self._exports.stop()

    def publish(self, tenant: str, labelled: Sequence[LabelledSample], specs: Iterable[MetricSpec]) -> None:
        """Hand a tenant's samples on, if anybody wants them."""
        if self._exports.wanted:
            by_name = {spec.name: spec for spec in specs}
            self._exports.publish(tenant, tuple(_exported(tenant, one, by_name) for one in labelled))

    def samples(self, now_us: int) -> list[LabelledSample]:
        """Return how the sinks do; it concerns the operator only."""
        return [
            LabelledSample(PLATFORM_TENANT, s, tuple(zip(_KEYS[s.metric], s.labels, strict=True)))
            for status in self._exports.statuses()
            for s in sink_samples(status, now_us)
        ]

    def _spool(self, name: str, given: SinkConfig) -> SinkSpool:
        return SinkSpool(self._folder / f"{name}.db", given.disk_bytes, drop_oldest=given.when_full == "drop_oldest")


def _exported(tenant: str, one: LabelledSample, specs: Mapping[str, MetricSpec]) -> ExportedSample:
    s = one.sample
    return ExportedSample(tenant, specs[s.metric], one.labels, s.time_us, s.value, s.reason)
