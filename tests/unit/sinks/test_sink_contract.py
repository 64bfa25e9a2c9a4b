"""Our sinks keep the contract."""

from __future__ import annotations

import pytest
from tests.support.sink_targets import FileTarget, OtlpTarget, RemoteWriteTarget, WebhookTarget

from collectors.sinks.json_lines import JsonLinesSink
from collectors.sinks.otlp import OtlpSink
from collectors.sinks.prometheus_remote_write import PrometheusRemoteWriteSink
from collectors.sinks.webhook import WebhookSink
from collectors.testing.sink_contract import BoundSinkCheck, check_sink, sink_checks

SINKS = {
    OtlpSink: OtlpTarget,
    PrometheusRemoteWriteSink: RemoteWriteTarget,
    WebhookSink: WebhookTarget,
    JsonLinesSink: FileTarget,
}
CHECKS = [bound for cls, target in SINKS.items() for bound in sink_checks(cls, target)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda bound: bound.id)
def test_sink(check: BoundSinkCheck) -> None:
    check()


def test_one_call_checks_everything() -> None:
    check_sink(JsonLinesSink, FileTarget)
