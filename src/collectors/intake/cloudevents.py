"""CloudEvents 1.0 over HTTP: structured, batched and binary content mode.

By the CloudEvents specification 1.0.2, its JSON event format and its HTTP protocol binding. What becomes of an event:

- ``type``, or what follows its last dot, names the event type.
- ``data``, if it is a JSON object, gives the fields; anything else is kept in ``properties`` under ``data`` or, if it
  is neither JSON nor text, ``data_base64``.
- ``id``, ``source``, ``time`` and ``subject`` become ``event_id``, ``source``, ``event_time`` and ``user_id``, unless
  ``data`` has such a field; then the attribute goes to ``properties`` under its own name.
- All other attributes go to ``properties``.

Only ``source`` and ``id`` together identify an event, so an ``id`` that is no UUID is put behind its source.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from collectors.errors import BadInput, MalformedBody
from collectors.intake.decoded import (
    DEFAULT_LIMITS,
    NOT_JSON,
    NOT_OBJECT,
    DecodedMany,
    Fault,
    Limits,
)
from collectors.intake.mixed import RowSorter
from collectors.intake.ndjson import parse_json
from collectors.intake.rows import PROPERTIES, Row, loads, merge_properties, parse_properties
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES

MEDIA_TYPE = "application/cloudevents"
BATCH_MEDIA_TYPE = "application/cloudevents-batch"
WRONG_SPECVERSION = "wrong_specversion"
BAD_HEADER = "bad_header"
BAD_DATA = "bad_data"

_PREFIX = "ce-"
_REQUIRED = ("specversion", "id", "source", "type")
_FIELD_OF = {"id": "event_id", "source": "source", "time": "event_time", "subject": "user_id"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class _Violation(Exception):
    """An event is not what the specification says; carries the fault of its row."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(code, message)


def missing(attribute: str) -> str:
    """Return the reason code of an event without a required attribute."""
    return f"missing:{attribute}"


def is_cloudevent(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers carries CloudEvents, in any content mode."""
    names = {name.lower() for name in headers}
    return _content_type(headers).startswith(MEDIA_TYPE) or f"{_PREFIX}specversion" in names


def decode_cloudevents(
    headers: Mapping[str, str],
    body: bytes,
    limits: Limits = DEFAULT_LIMITS,
    types: Mapping[str, EventType] = EVENT_TYPES,
) -> DecodedMany:
    """Decode a request that carries CloudEvents; the content type says in which mode.

    Raises MalformedBody if the body is not JSON where it has to be, BadInput if it is in an event format other than
    JSON. Events that break the specification are bad rows.
    """
    media_type = _content_type(headers)
    sorter = RowSorter(limits, types)
    if not media_type.startswith(MEDIA_TYPE):
        _take_binary(headers, body, sorter, types)
        return sorter.decode()
    if not media_type.endswith("+json"):
        raise BadInput("the event format is not supported; send CloudEvents as JSON")
    batched = media_type.startswith(BATCH_MEDIA_TYPE)
    events = parse_json(body, limits)
    ...
