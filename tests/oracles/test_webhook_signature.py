# requirements: standardwebhooks==1.1.0
"""The reference library of Standard Webhooks accepts what the webhook handler signs, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from collectors.alerting.handlers.webhook import signature
from collectors.clock import SYSTEM_CLOCK

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


def test_the_reference_library_accepts_our_signature_and_no_other_body() -> None:
    body, now = json.dumps({"type": "alert.firing"}).encode(), SYSTEM_CLOCK.now_us() // 10**6
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(SecretStr(SECRET), "msg_1", now, body),
    }
    assert Webhook(SECRET).verify(body, headers) == {"type": "alert.firing"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, {**headers, "webhook-id": "msg_2"})
