"""CloudEvents 1.0 over HTTP: structured, batched and binary content mode.

By the CloudEvents specification 1.0.2, its JSON event format and its HTTP protocol binding
(https://github.com/cloudevents/spec). What becomes of an event:

- ``type``, or what follows its last dot, names the event type.
- ``data``, if it is a JSON object, gives the fields; anything else is kept in ``properties`` as ``data``, or as
  ``data_base64`` if it is neither JSON nor text.
- ``id``, ``source``, ``time`` and ``subject`` become ``event_id``, ``source``, ``event_time`` and ``user_id``, unless
  ``data`` has such a field; then the attribute is kept in ``properties``.
- All other attributes are kept in ``properties``.

An event is identified by ``source`` and ``id`` together, so an ``id`` that is no UUID is put behind its source.
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
from collectors.intake.decoded import DEFAULT_LIMITS, NOT_JSON, NOT_OBJECT, DecodedMany, Fault, Limits
from collectors.intake.mixed import RowSorter
from collectors.intake.ndjson import check_count, parse_json
from collectors.intake.rows import PROPERTIES, Row, loads, merge_properties, parse_properties
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES

MEDIA_TYPE = "application/cloudevents"
BATCH_MEDIA_TYPE = "application/cloudevents-batch"

WRONG_SPECVERSION = "wrong_specversion"
BAD_HEADER = "bad_header"
BAD_DATA = "bad_data"

_HEADER_PREFIX = "ce-"
_REQUIRED = ("specversion", "id", "source", "type")
_FIELD_OF = {"id": "event_id", "source": "source", "time": "event_time", "subject": "user_id"}
_JSON_MEDIA_TYPE = re.compile(r"[^/]+/(?:.+\+)?json")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_BACKSLASHED = re.compile(r"\\(.)", re.DOTALL)


class _Violation(Exception):
    """An event is not what the specification demands."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(code, message)


def missing(attribute: str) -> str:
    """Return the reason code of an event without a required attribute."""
    return f"missing:{attribute}"


def is_cloudevents(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers carries CloudEvents, in whatever content mode."""
    lowered = _lowered(headers)
    return f"{_HEADER_PREFIX}specversion" in lowered or _media_type(lowered).startswith(MEDIA_TYPE)


def decode_cloudevents(
    headers: Mapping[str, str],
    body: bytes,
    limits: Limits = DEFAULT_LIMITS,
    types: Mapping[str, EventType] = EVENT_TYPES,
) -> DecodedMany:
    """Decode a request that carries CloudEvents; its content type says in which mode.

    Events that break the specification are bad rows. Raises MalformedBody if the body as a whole is not what the mode
    asks for, BadInput if it is in an event format other than JSON, TooLarge if a batch has more than
    ``limits.max_rows`` events.
    """
    sorter = RowSorter(limits, types)
    lowered = _lowered(headers)
    if _media_type(lowered).startswith(MEDIA_TYPE):
        events = _structured_events(lowered, body, limits)
    else:
        event, fault = _binary_event(lowered, body)
        if fault is not None:
            sorter.reject(0, fault, event)
            return sorter.decode()
        events = [event]
    for number, event in enumerate(events):
        try:
            type_name, row = _translate(event, types)
        except _Violation as violation:
            sorter.reject(number, violation.fault, event)
        else:
            sorter.add(type_name, row, number, event)
    return sorter.decode()


def _structured_events(headers: Mapping[str, str], body: bytes, limits: Limits) -> list[Any]:
    media_type = _media_type(headers)
    if not media_type.endswith("+json"):
        raise BadInput("the event format is not supported; send CloudEvents as JSON")
    value = parse_json(body)
    if not media_type.startswith(BATCH_MEDIA_TYPE):
        if type(value) is not dict:
            raise MalformedBody("a CloudEvent must be a JSON object")
        return [value]
    if type(value) is not list:
        raise MalformedBody("a batch of CloudEvents must be a JSON array")
    check_count(len(value), limits)
    return value


def _binary_event(headers: Mapping[str, str], body: bytes) -> tuple[Row, Fault | None]:
    """Return the event of a request in binary mode as it would be in structured mode, and what is wrong with it."""
    event: Row = {}
    fault = None
    for name, value in headers.items():
        if name.startswith(_HEADER_PREFIX):
            attribute = name.removeprefix(_HEADER_PREFIX)
            try:
                event[attribute] = _unescaped(value)
            except UnicodeError:
                event[attribute] = value
                fault = Fault(BAD_HEADER, "a ce- header is not percent-encoded UTF-8")
    if "content-type" in headers:
        event["datacontenttype"] = headers["content-type"]
    if body:
        event["data_base64"] = base64.b64encode(body).decode()
    return event, fault


def _unescaped(value: str) -> str:
    """Undo the quoting and percent-encoding of a header value; raises UnicodeError if it is not UTF-8 then."""
    unquoted = _QUOTED.sub(lambda quoted: _BACKSLASHED.sub(r"\1", quoted[1]), value.strip())
    return unquote_to_bytes(unquoted.encode("latin-1")).decode()  # Latin-1 is what servers decode headers by


def _translate(event: Any, types: Mapping[str, EventType]) -> tuple[str, Row]:
    """Return the name of the event type and the row of an event in structured form."""
    if type(event) is not dict:
        raise _Violation(NOT_OBJECT, "a CloudEvent must be a JSON object")
    attributes = {name: value for name, value in event.items() if value is not None}
    for name in _REQUIRED:
        if type(attributes.get(name)) is not str or not attributes[name]:
            raise _Violation(missing(name), f"a CloudEvent needs the attribute {name}, text that is not empty")
    if attributes.pop("specversion") != "1.0":
        raise _Violation(WRONG_SPECVERSION, "the specversion of a CloudEvent must be 1.0")
    row, kept = _data(attributes)
    full_name = attributes.pop("type")
    type_name = full_name if full_name in types else full_name.rpartition(".")[2]
    if type_name != full_name:
        kept["type"] = full_name
    if not _UUID.fullmatch(attributes["id"]):
        attributes["id"] = f"{attributes['source']}#{attributes['id']}"
    for name, value in attributes.items():
        field = _FIELD_OF.get(name)
        if field is None or row.get(field) is not None:
            kept[name] = value
        else:
            row[field] = value
    properties = parse_properties(row.get(PROPERTIES))
    if kept and properties is not None:
        row[PROPERTIES] = merge_properties(properties, kept.items())
    return type_name, row


def _data(attributes: Row) -> tuple[Row, Row]:
    """Take the data out of ``attributes``; return its fields, and what of it has to be kept as it is."""
    content_type = attributes.get("datacontenttype", "application/json")
    is_json = type(content_type) is str and _JSON_MEDIA_TYPE.fullmatch(_bare(content_type)) is not None
    kept = {}
    if is_json:
        attributes.pop("datacontenttype", None)
    encoded = attributes.pop("data_base64", None)
    data = attributes.pop("data", None)
    if encoded is not None:
        if data is not None:
            raise _Violation(BAD_DATA, "a CloudEvent must not have both data and data_base64")
        try:
            octets = base64.b64decode(encoded, validate=True)
            data = loads(octets) if is_json else octets.decode()
        except orjson.JSONDecodeError:
            raise _Violation(NOT_JSON, "the data is not JSON in UTF-8, as its content type says") from None
        except UnicodeDecodeError:
            kept["data_base64"] = encoded
        except (binascii.Error, TypeError, ValueError):
            raise _Violation(BAD_DATA, "data_base64 is not base64") from None
    if type(data) is dict and is_json:
        return dict(data), kept
    if data is not None:
        kept["data"] = data
    return {}, kept


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _media_type(headers: Mapping[str, str]) -> str:
    return _bare(headers.get("content-type", ""))


def _bare(content_type: str) -> str:
    """Return a media type without its parameters."""
    return content_type.partition(";")[0].strip().lower()
