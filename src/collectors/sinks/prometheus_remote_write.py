"""Samples by Prometheus remote write 1.0 (https://prometheus.io/docs/specs/prw/remote_write_spec/)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any

from collectors.config import sinks as config
from collectors.contract.sink import BaseSink, ExportedSample, Receipt, Repeats, SinkBatch, SinkContext
from collectors.model.metric import Kind, MetricSpec
from collectors.sinks.http import HttpPoster
from collectors.sinks.openmetrics import prometheus_labels, prometheus_name

_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""The NaN that ends a series until it has a value again."""


class PrometheusRemoteWriteSink(BaseSink[config.RemoteWriteSink]):
    """Push samples to Prometheus or whatever takes its remote write."""

    name = "prometheus_remote_write"
    Config = config.RemoteWriteSink
    repeats = Repeats.HARMLESS

    def __init__(self, given: config.RemoteWriteSink, context: SinkContext | None = None) -> None:
        super().__init__(given, context)
        self._http = HttpPoster(given, self.context)

    async def open(self) -> None:
        await self._http.open()

    async def write(self, batch: SinkBatch) -> Receipt:
        body, refused = await self.context.offload(write_request, batch.samples)
        await self._http.post(self.config.url, body, _HEADERS)
        return Receipt(len(batch) - refused, refused, "a counter is below zero" if refused else "")

    async def close(self) -> None:
        await self._http.close()


def write_request(samples: Iterable[ExportedSample]) -> tuple[bytes, int]:
    """Return the compressed body, and how many samples have no place in it: counters below zero."""
    import pyarrow as pa

    series: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    names: dict[str, tuple[str, float]] = {}
    refused = 0
    for s in samples:
        if s.spec.name not in names:
            names[s.spec.name] = _name(s.spec)
        name, scale = names[s.spec.name]
        value = _STALE if s.value is None else s.value * scale
        if not math.isnan(value) and s.spec.kind is Kind.COUNTER and value < 0:
            refused += 1
            continue
        labels = {"__name__": name, **prometheus_labels(s.tenant, dict(s.labels))}
        key = tuple(sorted((k, v) for k, v in labels.items() if v))
        series.setdefault(key, {})[s.time_us // 1000] = value
    request = _message("WriteRequest")()
    for labels_, points in series.items():
        one = request.timeseries.add()
        for key_, value_ in labels_:
            one.labels.add(name=key_, value=value_)
        for time_ms in sorted(points):
            one.samples.add(value=points[time_ms], timestamp=time_ms)
    return pa.compress(request.SerializeToString(), codec="snappy", asbytes=True), refused


def _name(spec: MetricSpec) -> tuple[str, float]:
    name = prometheus_name(spec)
    return f"{name.base}_total" if spec.kind is Kind.COUNTER else name.base, name.scale


@cache
def _message(name: str) -> Any:
    """Return a class of the specification's messages, which are few and no package brings."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="collectors/remote_write.proto", package="collectors.prw")
    file.syntax = "proto3"
    for message, fields in {
        "Label": (("name", 1, field.TYPE_STRING, ""), ("value", 2, field.TYPE_STRING, "")),
        "Sample": (("value", 1, field.TYPE_DOUBLE, ""), ("timestamp", 2, field.TYPE_INT64, "")),
        "TimeSeries": (("labels", 1, field.TYPE_MESSAGE, "Label"), ("samples", 2, field.TYPE_MESSAGE, "Sample")),
        "WriteRequest": (("timeseries", 1, field.TYPE_MESSAGE, "TimeSeries"),),
    }.items():
        made = file.message_type.add(name=message)
        for key, number, kind, of in fields:
            label = field.LABEL_REPEATED if of else field.LABEL_OPTIONAL
            one = made.field.add(name=key, number=number, type=kind, label=label)
            if of:
                one.type_name = f".collectors.prw.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"collectors.prw.{name}"))
