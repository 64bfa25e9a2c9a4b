"""JSON answers, and the headers that every answer carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent unless an answer has its own; right for data that is one tenant's and never a document."""


def to_json(value: object) -> bytes:
    """Encode ``value`` as JSON. Half a surrogate pair, as a command line may hold, is escaped."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


class Answer(Response):
    """A JSON answer that is encoded where it is made, which for large ones is a thread."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)
