"""Samples and spans by OTLP/HTTP with protobuf (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from collectors.config import sinks as config
from collectors.contract.sink import (
    BaseSink,
    ExportedSample,
    ExportedSpan,
    Receipt,
    Repeats,
    Signal,
    SinkBatch,
    SinkContext,
)
from collectors.model.metric import Kind
from collectors.sinks.http import HttpPoster

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_SCOPE = "collectors"
_NO_RECORDED_VALUE = 1


class OtlpSink(BaseSink[config.OtlpSink]):
    """Send samples as OTLP metrics and spans as OTLP traces, one resource a tenant."""

    name = "otlp"
    Config = config.OtlpSink
    accepts = frozenset({Signal.SAMPLES, Signal.SPANS})
    repeats = Repeats.HARMLESS

    def __init__(self, given: config.OtlpSink, context: SinkContext | None = None) -> None:
        super().__init__(given, context)
        self._http = HttpPoster(given, self.context)

    async def open(self) -> None:
        await self._http.open()

    async def write(self, batch: SinkBatch) -> Receipt:
        refused, reasons = 0, []
        for path, items, encode, count in (
            ("/v1/metrics", batch.samples, _metrics_body, _rejected_points),
            ("/v1/traces", batch.spans, _traces_body, _rejected_spans),
        ):
            if items or not len(batch):
                body = await self.context.offload(encode, items, self.config.compression)
                headers = {"Content-Type": "application/x-protobuf", "Idempotency-Key": batch.id}
                if self.config.compression == "gzip":
                    headers["Content-Encoding"] = "gzip"
                answer = await self._http.post(self.config.url.rstrip("/") + path, body, headers)
                rejected, reason = count(answer)
                refused += min(max(0, rejected), len(items))
                reasons += [reason] if reason else []
        return Receipt(len(batch) - refused, refused, "; ".join(reasons))

    async def close(self) -> None:
        await self._http.close()


def _metrics_body(samples: Iterable[ExportedSample], compression: str) -> bytes:
    return _packed(metrics_request(samples), compression)


def _traces_body(spans: Iterable[ExportedSpan], compression: str) -> bytes:
    return _packed(traces_request(spans), compression)


def _packed(message: Any, compression: str) -> bytes:
    body: bytes = message.SerializeToString()
    return gzip.compress(body, compresslevel=1, mtime=0) if compression == "gzip" else body


def metrics_request(samples: Iterable[ExportedSample]) -> ExportMetricsServiceRequest:
    """Return gauges and cumulative sums; an undefined value is a point flagged as having none."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

    request = ExportMetricsServiceRequest()
    scopes: dict[str, Any] = {}
    series: dict[tuple[str, str], Any] = {}
    for s in samples:
        if s.tenant not in scopes:
            scopes[s.tenant] = _scope(request.resource_metrics.add(), s.tenant, "scope_metrics")
        points = series.get((s.tenant, s.spec.name))
        if points is None:
            metric = scopes[s.tenant].metrics.add()
            metric.name, metric.unit, metric.description = s.spec.name, s.spec.unit, s.spec.description
            if s.spec.kind is Kind.COUNTER:
                metric.sum.is_monotonic = True
                metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            points = metric.sum.data_points if s.spec.kind is Kind.COUNTER else metric.gauge.data_points
            series[s.tenant, s.spec.name] = points
        point = points.add()
        point.time_unix_nano = max(0, s.time_us * 1000)
        if s.value is None:
            point.flags = _NO_RECORDED_VALUE
        else:
            point.as_double = s.value
        _attributes(point.attributes, s.labels)
    return request


def traces_request(spans: Iterable[ExportedSpan]) -> ExportTraceServiceRequest:
    """Return internal spans with their ids as bytes; one that failed has the status ERROR and says why."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    request = ExportTraceServiceRequest()
    scopes: dict[str, Any] = {}
    for s in spans:
        if s.tenant not in scopes:
            scopes[s.tenant] = _scope(request.resource_spans.add(), s.tenant, "scope_spans")
        span = scopes[s.tenant].spans.add()
        span.trace_id, span.span_id = bytes.fromhex(s.trace_id), bytes.fromhex(s.span_id)
        span.parent_span_id = bytes.fromhex(s.parent_id)
        span.name, span.kind = s.name, Span.SpanKind.SPAN_KIND_INTERNAL
        span.start_time_unix_nano, span.end_time_unix_nano = max(0, s.start_us * 1000), max(0, s.end_us * 1000)
        _attributes(span.attributes, s.attributes)
        if s.error:
            span.status.code, span.status.message = Status.StatusCode.STATUS_CODE_ERROR, s.error
    return request


def _scope(resource: Any, tenant: str, field: str) -> Any:
    _attributes(resource.resource.attributes, (("service.name", _SCOPE), ("tenant.id", tenant)))
    scope = getattr(resource, field).add()
    scope.scope.name = _SCOPE
    return scope


def _attributes(attributes: Any, pairs: Iterable[tuple[str, str]]) -> None:
    for key, value in pairs:
        one = attributes.add()
        one.key, one.value.string_value = key, value


def _rejected_points(answer: bytes) -> tuple[int, str]:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    partial = _parsed(ExportMetricsServiceResponse(), answer).partial_success
    return partial.rejected_data_points, partial.error_message


def _rejected_spans(answer: bytes) -> tuple[int, str]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    partial = _parsed(ExportTraceServiceResponse(), answer).partial_success
    return partial.rejected_spans, partial.error_message


def _parsed(message: Any, answer: bytes) -> Any:
    """Read an answer; one that is no protobuf comes with a status of success all the same and rejects nothing."""
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(answer)
    except DecodeError:
        message.Clear()
    return message
