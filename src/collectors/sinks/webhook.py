"""Batches of JSON to any address, signed as Standard Webhooks has it (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import orjson

from collectors.config import sinks as config
from collectors.config.alerting import read_secret
from collectors.contract.sink import BaseSink, Receipt, Repeats, Signal, SinkBatch, SinkContext
from collectors.errors import ConfigError
from collectors.sinks.http import HttpPoster

_PREFIX = "whsec_"


class WebhookSink(BaseSink[config.WebhookSink]):
    """Post batches as JSON; the signature covers id, time and body, and the id stays the same when one is repeated."""

    name = "webhook"
    Config = config.WebhookSink
    accepts = frozenset({Signal.SAMPLES, Signal.SPANS})
    repeats = Repeats.RECOGNISABLE

    def __init__(self, given: config.WebhookSink, context: SinkContext | None = None) -> None:
        super().__init__(given, context)
        self._http = HttpPoster(given, self.context)

    async def open(self) -> None:
        await self._http.open()

    async def write(self, batch: SinkBatch) -> Receipt:
        seconds = self.context.clock.now_us() // 10**6
        body, signature = await self.context.offload(self._signed, batch, seconds)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": batch.id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": signature,
        }
        await self._http.post(self.config.url, body, headers)
        return Receipt(len(batch))

    async def close(self) -> None:
        await self._http.close()

    def _signed(self, batch: SinkBatch, seconds: int) -> tuple[bytes, str]:
        body = payload(batch)
        signed = b".".join((batch.id.encode(), str(seconds).encode(), body))
        digest = hmac.new(_key(read_secret(self.config.secret).get_secret_value()), signed, hashlib.sha256).digest()
        return body, f"v1,{base64.b64encode(digest).decode()}"


def payload(batch: SinkBatch) -> bytes:
    """Return the body: ``type`` and ``data`` with the batch's id, its samples and its spans; times are in µs, UTC."""
    samples: list[dict[str, Any]] = [
        {
            "tenant": s.tenant,
            "metric": s.spec.name,
            "kind": s.spec.kind,
            "unit": s.spec.unit,
            "labels": dict(s.labels),
            "time": s.time_us,
            "value": s.value,
            "reason": s.reason,
        }
        for s in batch.samples
    ]
    spans = [
        {
            "tenant": s.tenant,
            "trace": s.trace_id,
            "span": s.span_id,
            "parent": s.parent_id,
            "name": s.name,
            "start": s.start_us,
            "end": s.end_us,
            "attributes": dict(s.attributes),
            "error": s.error,
        }
        for s in batch.spans
    ]
    return orjson.dumps({"type": "telemetry.batch", "data": {"id": batch.id, "samples": samples, "spans": spans}})


def _key(text: str) -> bytes:
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError("what follows whsec_ in the webhook's secret is not base64", fix="copy it anew.") from None
