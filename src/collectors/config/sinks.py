"""What users write about sinks: where samples and spans are handed on to, and what is kept for a target that is down.

Secrets are never written here, only where they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from collectors.config.alert_rule import NAME
from collectors.config.alerting import SecretRef
from collectors.config.collector import Model
from collectors.config.tenant import TENANT_ID

KIB, MIB = 2**10, 2**20

_PATTERN = re.compile(r"[a-z0-9_.*]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _check_pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError("write a metric's name, in which * stands for anything, such as system.cpu.*")
    return text


def _check_header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError("this is no name of an HTTP header")
    return text


HttpUrl = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+([/?][^@\s]*)?$")]
"""An address without credentials: those go where secrets go."""
HeaderName = Annotated[str, AfterValidator(_check_header)]
SinkName = Annotated[str, Field(pattern=NAME)]


class SinkConfig(Model):
    """What is the same for every sink: what it gets, and what is kept for it while it can't take it."""

    tenants: tuple[Annotated[str, Field(pattern=TENANT_ID)], ...] = ()
    """Only these tenants; all if empty."""

    metrics: tuple[Annotated[str, AfterValidator(_check_pattern)], ...] = ()
    """Only metrics whose names match one of these, such as system.cpu.*; all if empty."""

    timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    """Longest one attempt to write may take."""

    linger_seconds: float = Field(default=1.0, ge=0, le=60)
    """How long a sample waits for others, to be written with them."""

    batch_items: int = Field(default=2_000, ge=1, le=100_000)
    """Most samples or spans of one write, give or take one collection's."""

    memory_bytes: int = Field(default=8 * MIB, ge=64 * KIB)
    """Samples that may wait in memory until they are on disk; what is beyond is dropped and counted."""

    disk_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Samples that may wait on disk for a target that is down."""

    when_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest"
    """What gives way when the disk budget is used up; it is counted."""

    breaker_failures: int = Field(default=5, ge=1)
    """Failures in a row after which the target is left alone for a while."""

    breaker_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How long it is left alone the first time; each failed probe doubles that, up to ten times."""

    @property
    def kind(self) -> str:
        """Name of the sink that this configures."""
        return str(getattr(self, "type", ""))


class _HttpSink(SinkConfig):
    token: SecretRef | None = None
    """Where a bearer token stands, if the target wants one."""

    headers: Mapping[HeaderName, SecretRef] = Field(default_factory=dict)
    """Headers to send, each by where its value stands."""

    ca_file: Path | None = None
    """Certificate authorities to trust, PEM; the system's if not set."""


class PrometheusSink(SinkConfig):
    """Last values for Prometheus to scrape, on a port of its own; the server's /metrics has them too, behind keys."""

    type: Literal["prometheus"] = "prometheus"
    """Which kind of sink this is."""
    host: str = "127.0.0.1"
    """Address to listen on. There is no authentication: keep it private."""
    port: int = Field(default=9464, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    max_series: int = Field(default=100_000, ge=1)
    """Series to keep; new ones beyond are refused and counted."""


class RemoteWriteSink(_HttpSink):
    """Samples to whatever takes Prometheus remote write 1.0: Prometheus, Mimir, Thanos, VictoriaMetrics."""

    type: Literal["prometheus_remote_write"] = "prometheus_remote_write"
    """Which kind of sink this is."""
    url: HttpUrl
    """Where to post, such as http://prometheus:9090/api/v1/write."""


class OtlpSink(_HttpSink):
    """Samples and spans to anything that speaks OTLP over HTTP: an OpenTelemetry Collector, Jaeger, a vendor."""

    type: Literal["otlp"] = "otlp"
    """Which kind of sink this is."""
    url: HttpUrl = "http://127.0.0.1:4318"
    """Base address; /v1/metrics and /v1/traces are added."""
    compression: Literal["gzip", "none"] = "gzip"
    """How bodies are compressed."""


class JsonLinesSink(SinkConfig):
    """Samples as lines of JSON in files that are closed when they are large or the day ends."""

    type: Literal["json_lines"] = "json_lines"
    """Which kind of sink this is."""
    folder: Path
    """Where the files go; it is made if it is missing."""
    file_bytes: int = Field(default=64 * MIB, ge=KIB)
    """Size at which a file is closed and a new one begun."""
    files: int = Field(default=100, ge=1)
    """Files to keep; the oldest is deleted when there are more."""


class WebhookSink(_HttpSink):
    """Batches of JSON to any address, signed as Standard Webhooks does."""

    type: Literal["webhook"] = "webhook"
    """Which kind of sink this is."""
    url: HttpUrl
    """Where to post."""
    secret: SecretRef
    """Where the signing key stands: ``whsec_`` and base64, or any text."""


class PluginSink(SinkConfig):
    """A sink that another installed package brings."""

    type: Literal["plugin"] = "plugin"
    """Which kind of sink this is."""
    sink: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the sink: that of its entry point."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """What the sink itself may be told; secrets as references."""


AnySink = Annotated[
    PrometheusSink | RemoteWriteSink | OtlpSink | JsonLinesSink | WebhookSink | PluginSink, Field(discriminator="type")
]
Sinks = Mapping[SinkName, AnySink]
"""Sinks by a name of the user's choice, under which their queue is kept."""
