"""A generic webhook: JSON that its receiver can check by the Standard Webhooks scheme (HMAC-SHA256)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import httpx
import orjson
from pydantic import SecretStr

from collectors.alerting.handlers.http import Secret, post
from collectors.alerting.notification import Notification, alert_data, iso
from collectors.clock import Clock
from collectors.errors import ConfigError

_PREFIX = "whsec_"


class WebhookHandler:
    """Posts notifications; the signature covers id, time and body, so that none can be forged or replayed later."""

    def __init__(
        self,
        url: str,
        secret: Secret,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        self._transport = transport
        self._timeout = timeout

    async def send(self, notification: Notification) -> None:
        """Post one signed body for all alerts of the notification."""
        body = payload(notification)
        seconds = self._clock.now_us() // 10**6
        headers = {
            "webhook-id": notification.id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": signature(self._secret(), notification.id, seconds, body),
        }
        await post(self._transport, self._url, body, headers, timeout_seconds=self._timeout)


def payload(notification: Notification) -> bytes:
    """Return the body: ``type``, ``timestamp`` and ``data``, as Standard Webhooks recommends."""
    return orjson.dumps(
        {
            "type": f"alert.{notification.kind}",
            "timestamp": iso(notification.created_us),
            "data": {
                "id": notification.id,
                "tenant": notification.tenant,
                "title": notification.title(),
                "group": dict(notification.labels),
                "alerts": [alert_data(a) for a in notification.alerts],
                "changed": notification.changed,
            },
        }
    )


def signature(secret: SecretStr, id_: str, seconds: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: ``v1,`` and the base64 of HMAC-SHA256 over ``id.seconds.body``."""
    signed = b".".join((id_.encode(), str(seconds).encode(), body))
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value()
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError("what follows whsec_ in the webhook's secret is not base64", fix="copy it anew.") from None
