"""Stand-ins for what our sinks write to; each decodes with a reader that is not ours where there is one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collectors.testing.sink_target import Arrival, HttpTarget, SinkTarget, Trouble

SECRET = "very-secret-indeed"


def _secret(folder: Path) -> str:
    path = folder / "secret"
    path.write_text(SECRET)
    return f"file:{path}"


class OtlpTarget(HttpTarget):
    secrets = (SECRET,)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"url": "http://otlp.test:4318/", "token": _secret(self.folder)}

    def decode(self, request: httpx.Request) -> Iterable[Arrival]:
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        if request.url.path != "/v1/metrics":
            return
        body = gzip.decompress(request.content) if "content-encoding" in request.headers else request.content
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            tenant = {a.key: a.value.string_value for a in resource.resource.attributes}["tenant.id"]
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in (*metric.gauge.data_points, *metric.sum.data_points):
                        labels = tuple((a.key, a.value.string_value) for a in point.attributes)
                        value = None if point.flags else point.as_double
                        yield Arrival((tenant, metric.name, labels, point.time_unix_nano), tenant, value)


def read_write_request(body: bytes) -> list[tuple[dict[str, str], list[tuple[float, int]]]]:
    """Read a remote write request by the wire format itself."""
    raw = pa.decompress(body, decompressed_size=_length(body), codec="snappy", asbytes=True)
    found = []
    for _, series in _fields(raw):
        labels: dict[str, str] = {}
        points = []
        for number, inner in _fields(series):
            values = dict(_fields(inner))
            if number == 1:
                labels[values.get(1, b"").decode()] = values.get(2, b"").decode()
            else:
                points.append((values.get(1, 0.0), values.get(2, 0)))
        found.append((labels, points))
    return found


def _length(body: bytes) -> int:
    return _varint(body, 0)[0]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(raw: bytes) -> Iterable[tuple[int, Any]]:
    import struct

    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        if tag & 7 == 2:
            size, at = _varint(raw, at)
            yield tag >> 3, raw[at : at + size]
            at += size
        elif tag & 7 == 1:
            yield tag >> 3, struct.unpack_from("<d", raw, at)[0]
            at += 8
        else:
            value, at = _varint(raw, at)
            yield tag >> 3, value


class RemoteWriteTarget(HttpTarget):
    secrets = (SECRET,)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"url": "http://prometheus.test/api/v1/write", "headers": {"X-Key": _secret(self.folder)}}

    def decode(self, request: httpx.Request) -> Iterable[Arrival]:
        assert request.headers["x-key"] == SECRET
        for labels, points in read_write_request(request.content):
            assert list(labels) == sorted(labels)
            for value, time_ms in points:
                yield Arrival((tuple(labels.items()), time_ms), labels["tenant"], value if value == value else None)


class WebhookTarget(HttpTarget):
    secrets = (SECRET,)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"url": "https://receiver.test/in", "secret": _secret(self.folder)}

    def decode(self, request: httpx.Request) -> Iterable[Arrival]:
        headers = request.headers
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.content
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        data = json.loads(request.content)["data"]
        for number, s in enumerate(data["samples"]):
            yield Arrival((data["id"], number), s["tenant"], s["value"])


class FileTarget(SinkTarget):
    troubles = frozenset({Trouble.UNAVAILABLE})

    def __init__(self, folder: Path) -> None:
        self._trouble: Trouble | None = None
        super().__init__(folder)

    @property
    def trouble(self) -> Trouble | None:
        return self._trouble

    @trouble.setter
    def trouble(self, trouble: Trouble | None) -> None:
        self._trouble = trouble
        if trouble:
            (self.folder / "out").write_text("in the way")
        elif (self.folder / "out").is_file():
            (self.folder / "out").unlink()

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"folder": str(self.folder / "out")}

    def arrived(self) -> list[Arrival]:
        found = []
        for file in sorted((self.folder / "out").glob("*.jsonl")):
            for line in file.read_text().splitlines():
                row = json.loads(line)
                found.append(Arrival((row["batch"], row["item"]), row["tenant"], row["value"]))
        return found
