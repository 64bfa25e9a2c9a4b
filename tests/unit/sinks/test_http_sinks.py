from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from pydantic import ValidationError
from tests.support.sink_targets import read_write_request
from tests.support.sinks import COUNTER, START_US, inline, sample, span

from collectors.config import sinks as config
from collectors.contract.sink import Receipt, SinkBatch, SinkContext
from collectors.errors import ConfigError, Overloaded, RetryableError
from collectors.sinks.otlp import OtlpSink
from collectors.sinks.prometheus_remote_write import PrometheusRemoteWriteSink
from collectors.sinks.webhook import WebhookSink
from collectors.testing import ManualClock

URL = "http://target.test/in"


class Target:
    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else httpx.Response(200)

    @property
    def context(self) -> SinkContext:
        return SinkContext(ManualClock(START_US), {"transport": httpx.MockTransport(self)}, inline)


async def test_otlp_says_what_the_samples_and_spans_are() -> None:
    target = Target()
    sink = OtlpSink(config.OtlpSink(url=URL, compression="none"), target.context)
    await sink.open()
    spans = (span(2, error="it broke", parent=f"{1:016x}"), span(5, tenant="zeta"))
    receipt = await sink.write(
        SinkBatch("b", (sample(1), sample(2, spec=COUNTER, value=9), sample(3, value=None)), spans)
    )
    await sink.close()
    assert receipt == Receipt(5)
    metrics, traces = target.requests
    assert [r.url.path for r in target.requests] == ["/in/v1/metrics", "/in/v1/traces"]
    assert metrics.headers["idempotency-key"] == "b"
    (resource,) = ExportMetricsServiceRequest.FromString(metrics.content).resource_metrics
    level, water = resource.scope_metrics[0].metrics
    assert (level.name, level.unit, level.description) == ("zoo.level", "1", "How full a tank is.")
    assert [(p.as_double, p.flags, p.time_unix_nano) for p in level.gauge.data_points] == [
        (0.5, 0, (START_US + 1000) * 1000),
        (0.0, 1, (START_US + 3000) * 1000),
    ]
    assert water.sum.is_monotonic
    assert water.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    acme, _ = ExportTraceServiceRequest.FromString(traces.content).resource_spans
    (one,) = acme.scope_spans[0].spans
    assert (one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex()) == (f"{2:032x}", f"{2:016x}", f"{1:016x}")
    assert (one.name, one.status.code, one.status.message) == ("load", 2, "it broke")
    assert one.end_time_unix_nano - one.start_time_unix_nano == 5_000_000


async def test_otlp_counts_what_a_receiver_rejects_and_survives_its_nonsense() -> None:
    points, spans = ExportMetricsServiceResponse(), ExportTraceServiceResponse()
    points.partial_success.rejected_data_points = 1
    points.partial_success.error_message = "too old"
    spans.partial_success.rejected_spans = 99
    target = Target(
        httpx.Response(200, content=points.SerializeToString()),
        httpx.Response(200, content=spans.SerializeToString()),
        httpx.Response(200, content=b"<html>" * 50_000),
    )
    sink = OtlpSink(config.OtlpSink(url=URL), target.context)
    await sink.open()
    assert await sink.write(SinkBatch("b", (sample(1), sample(2)), (span(),))) == Receipt(1, 2, "too old")
    assert await sink.write(SinkBatch("c", (sample(1),))) == Receipt(1)
    assert gzip.decompress(target.requests[0].content)
    await sink.close()


async def test_remote_write_sorts_labels_and_times_and_marks_what_is_undefined() -> None:
    target = Target()
    sink = PrometheusRemoteWriteSink(config.RemoteWriteSink(url=URL), target.context)
    await sink.open()
    batch = (
        sample(2),
        sample(1, value=0.1),
        sample(3, value=None),
        sample(1, spec=COUNTER, value=-1.0),
        sample(9, tank=""),
    )
    assert await sink.write(SinkBatch("b", batch)) == Receipt(4, 1, "a counter is below zero")
    await sink.close()
    (request,) = target.requests
    assert request.headers["content-encoding"] == "snappy"
    assert request.headers["x-prometheus-remote-write-version"] == "0.1.0"
    (labels, points), (bare, _) = read_write_request(request.content)
    assert labels == {"__name__": "zoo_level_ratio", "tank": "north", "tenant": "acme"}
    first = START_US // 1000
    assert [(v, t) for v, t in points[:2]] == [(0.1, first + 1), (0.5, first + 2)]
    assert points[2][0] != points[2][0]
    assert bare == {"__name__": "zoo_level_ratio", "tenant": "acme"}


async def test_secrets_are_read_anew_for_each_request(tmp_path: Path) -> None:
    key = tmp_path / "key"
    target = Target()
    given = config.OtlpSink(url=URL, token=f"file:{key}", headers={"X-Scope": f"file:{key}"})
    sink = OtlpSink(given, target.context)
    await sink.open()
    for secret in ("one", "two"):
        key.write_text(secret + "\n")
        await sink.write(SinkBatch(secret, (sample(1),)))
    assert [(r.headers["authorization"], r.headers["x-scope"]) for r in target.requests] == [
        ("Bearer one", "one"),
        ("Bearer two", "two"),
    ]
    key.write_text("on\ne")
    with pytest.raises(ConfigError, match="printable"):
        await sink.write(SinkBatch("three", (sample(1),)))
    key.unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        await sink.write(SinkBatch("four", (sample(1),)))
    await sink.close()


@pytest.mark.parametrize(("header", "wait"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("9" * 30, 3600.0)])
async def test_a_busy_target_is_believed_within_reason(header: str, wait: float) -> None:
    sink = OtlpSink(config.OtlpSink(url=URL), Target(httpx.Response(503, headers={"Retry-After": header})).context)
    await sink.open()
    with pytest.raises(Overloaded) as told:
        await sink.write(SinkBatch("b", (sample(1),)))
    assert told.value.retry_after == wait
    await sink.close()


async def test_authorities_are_read_when_it_is_opened(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("nothing")
    with pytest.raises(ConfigError, match="PEM"):
        await OtlpSink(config.OtlpSink(url=URL, ca_file=bad), Target().context).open()
    from tests.support.receivers import self_signed

    sink = OtlpSink(config.OtlpSink(url=URL, ca_file=self_signed(tmp_path / "good.pem")), Target().context)
    await sink.open()
    await sink.close()


async def test_a_webhook_key_in_base64_must_be_that(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("whsec_c2VjcmV0")
    target = Target()
    sink = WebhookSink(config.WebhookSink(url=URL, secret=f"file:{key}"), target.context)
    await sink.open()
    assert await sink.write(SinkBatch("b", (sample(1),), (span(),))) == Receipt(2)
    assert target.requests[0].headers["webhook-id"] == "b"
    key.write_text("whsec_!")
    with pytest.raises(ConfigError, match="base64"):
        await sink.write(SinkBatch("b", (sample(1),)))
    await sink.close()


async def test_an_address_that_answers_nothing_is_told_without_it() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no route to {request.url}")

    context = SinkContext(ManualClock(START_US), {"transport": httpx.MockTransport(refuse)}, inline)
    sink = OtlpSink(config.OtlpSink(url="http://private.test/?key=secret"), context)
    await sink.open()
    with pytest.raises(RetryableError) as told:
        await sink.write(SinkBatch("b", (sample(1),)))
    assert "private" not in str(told.value)
    await sink.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x"},
        {"url": "http://user:password@host/"},
        {"url": URL, "token": "in-the-clear"},
        {"url": URL, "headers": {"X Key": "env:KEY"}},
        {"url": URL, "headers": {"X-Key": "in-the-clear"}},
        {"url": URL, "metrics": ["system.[a-z]"]},
        {"url": URL, "tenants": ["Not An Id"]},
        {"url": URL, "tokn": "env:KEY"},
    ],
)
def test_what_can_not_be_right_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        config.OtlpSink(**wrong)
