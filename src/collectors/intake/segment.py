"""The Segment HTTP Tracking API (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/).

Each call becomes one event, and nothing of it is lost but the write key:

- ``track`` is a ``playback`` if its event tells of playing (see ``PLAYBACK_EVENTS``) and its properties say which track
  was heard and for how long; else an ``app_event`` that has the name of the event.
- ``page``, ``screen``, ``identify``, ``group`` and ``alias`` are an ``app_event`` called ``$page`` and so on.
- ``messageId`` becomes ``event_id``; ``userId``, or else ``anonymousId``, becomes ``user_id``.
- What the event type has a field for is taken out of the properties or copied from the context.
- All else goes to ``properties``: the call's properties as they are; ``context``, ``traits`` and the others by name.

What happened at ``timestamp`` and was sent at ``sentAt``, both by the sender's clock, happened at
``receivedAt - (sentAt - timestamp)``, as Segment corrects it. A call without ``sentAt`` is taken at its word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from collectors.errors import MalformedBody, TooLarge, UnknownName
from collectors.intake.decoded import (
    DEFAULT_LIMITS,
    NOT_OBJECT,
    TOO_LARGE,
    UNKNOWN_TYPE,
    DecodedMany,
    Fault,
    wrong_type,
)
from collectors.intake.mixed import RowSorter
from collectors.intake.ndjson import parse_json
from collectors.intake.rows import PROPERTIES, Row, dumps, merge_properties
from collectors.intake.times import parse_epoch, parse_time
from collectors.model.event_type import EventType
from collectors.model.event_types import APP_EVENT, DAY_MS, PLAYBACK

MISSING_USER = "missing:userId"
MISSING_EVENT = "missing:event"

CALLS = ("track", "page", "screen", "identify", "group", "alias")
BATCH = "batch"
_SHORT = {"t": "track", "p": "page", "s": "screen", "i": "identify", "g": "group", "a": "alias", "b": BATCH}
"""Paths of Segment's browser library."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OBJECT_OR_NULL = (dict, type(None))
_WORD = re.compile(r"[A-Z]*[a-z0-9]+|[A-Z]+")

_SUBJECTS = ("playback", "song", "track", "audio", "episode", "stream", "video playback", "video content")
_REASONS = {
    "played": None,
    "completed": "trackdone",
    "finished": "trackdone",
    "ended": "endplay",
    "stopped": "endplay",
    "exited": "endplay",
    "skipped": "fwdbtn",
}
"""How playing ended, by the last word of the event; its position then says how much was heard."""
_ONGOING = ("started", "playing", "paused", "resumed", "interrupted")
PLAYBACK_EVENTS = frozenset(f"{subject} {verb}" for subject in _SUBJECTS for verb in (*_REASONS, *_ONGOING))
"""Events that may be a ``playback``, in words of lower case; ``songPlayed`` and ``Song Played`` are the same."""

_TEXT_SOURCES = {
    "track_id": ("track_id", "trackId", "song_id", "songId", "asset_id", "assetId", "content_asset_id"),
    "artist_id": ("artist_id", "artistId"),
    "context": ("context", "playback_context"),
    "reason_end": ("reason_end", "reasonEnd"),
    "country": ("country",),
    "device": ("device",),
    "platform": ("platform",),
    "session_id": ("session_id", "sessionId"),
}
_NUMBER_SOURCES = {
    "ms_played": {"ms_played": 1, "msPlayed": 1, "played_ms": 1, "seconds_played": 1000, "secondsPlayed": 1000},
    "track_ms": {"track_ms": 1, "trackMs": 1, "duration_ms": 1, "durationMs": 1, "total_length": 1000},
    "bitrate_kbps": {"bitrate_kbps": 1, "bitrate": 1},
    "buffering_ms": {"buffering_ms": 1, "bufferingMs": 1},
}
"""Properties that give a field, and what to multiply them by; Segment's video events count in seconds and kbit/s."""


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """How large calls may be; by default as large as Segment accepts them."""

    max_event_bytes: int = 32 * 1024
    max_batch_bytes: int = 500 * 1024
    max_batch_events: int = 2500


SEGMENT_LIMITS = SegmentLimits()


def decode_segment(path: str, body: bytes, received_us: int, limits: SegmentLimits = SEGMENT_LIMITS) -> DecodedMany:
    """Decode the body of a request to ``path``, such as ``/v1/track`` or ``/v1/batch``.

    ``received_us`` is when it arrived. Bad calls of a batch cost only themselves. Raises UnknownName for another path,
    MalformedBody if the body is not what the path asks for, TooLarge if it is over the limits.
    """
    call = _call(path)
    if len(body) > (limits.max_batch_bytes if call == BATCH else limits.max_event_bytes):
        raise TooLarge("the body is larger than Segment accepts; send fewer or smaller events")
    return translate(path, parse_json(body), received_us, limits)


def translate(path: str, value: Any, received_us: int, limits: SegmentLimits = SEGMENT_LIMITS) -> DecodedMany:
    """Translate the parsed body of a request to ``path``; raises as ``decode_segment`` does."""
    call = _call(path)
    if type(value) is not dict:
        raise MalformedBody("the body must be a JSON object")
    sorter = RowSorter(DEFAULT_LIMITS)
    for number, message in enumerate(_batch(value, limits) if call == BATCH else [_keyless(value) | {"type": call}]):
        if type(message) is not dict:
            sorter.reject(number, Fault(NOT_OBJECT, "a call must be a JSON object"), message)
        elif (fault := next(_faults(message, limits), None)) is not None:
            sorter.reject(number, fault, message)
        else:
            type_name, row = _row(message, received_us)
            sorter.add(type_name, row, number, message)
    return sorter.decode()


def _call(path: str) -> str:
    last = path.rstrip("/").rpartition("/")[2]
    call = _SHORT.get(last, last)
    if call not in CALLS and call != BATCH:
        raise UnknownName(f"there is no such call; there are: {', '.join((*CALLS, BATCH))}")
    return call


def _keyless(message: Row) -> Row:
    """Return ``message`` without the write key, which is a credential."""
    return {name: value for name, value in message.items() if name != "writeKey"}


def _batch(value: Row, limits: SegmentLimits) -> list[Any]:
    """Return the calls of a batch, each with the members that the batch has for all of them."""
    messages = value.get("batch")
    if type(messages) is not list:
        raise MalformedBody("a batch needs the member batch, an array of calls")
    if len(messages) > limits.max_batch_events:
        raise TooLarge(f"a batch must not have more than {limits.max_batch_events} calls; send several")
    shared = {name: v for name, v in _keyless(value).items() if name not in {"batch", "messageId", "type", "context"}}
    shared_context = value.get("context")
    calls: list[Any] = []
    for message in messages:
        if type(message) is not dict:
            calls.append(message)
            continue
        call = shared | _keyless(message)
        own_context = call.get("context")
        if type(shared_context) is dict and type(own_context) in _OBJECT_OR_NULL:
            call["context"] = shared_context | (own_context or {})
        calls.append(call)
    return calls


def _faults(message: Row, limits: SegmentLimits) -> Iterator[Fault]:
    """Yield what is wrong with a call."""
    call = message.get("type")
    if len(dumps(message)) > limits.max_event_bytes:
        yield Fault(TOO_LARGE, f"a call must not have more than {limits.max_event_bytes} bytes")
    if call not in CALLS:
        yield Fault(UNKNOWN_TYPE, f"the type of a call must be one of: {', '.join(CALLS)}")
    if _user(message) is None:
        yield Fault(MISSING_USER, "a call needs userId or anonymousId")
    if call == "track" and not _text(message.get("event")):
        yield Fault(MISSING_EVENT, "a track call needs the name of an event")
    if type(message.get("properties", {})) not in _OBJECT_OR_NULL:
        yield Fault(wrong_type(PROPERTIES), "properties must be a JSON object")


def _row(message: Row, received_us: int) -> tuple[str, Row]:
    """Return the name of the event type of a call, and its row."""
    rest = dict(message)
    call = rest.pop("type")
    properties = dict(rest.pop("properties", None) or {})
    user = _user(rest)
    assert user is not None
    row: Row = {"user_id": str(rest.pop(user))}
    if _text(rest.get("messageId")):
        row["event_id"] = rest.pop("messageId")
    event_time = _event_time(rest, received_us)
    if event_time is not None:
        row["event_time"] = event_time
    event_type = APP_EVENT
    if call != "track":
        row["name"] = f"${call}"
        place = {"page": ("name", "screen"), "screen": ("name", "screen"), "group": ("groupId", "target")}.get(call)
        if place is not None and _text(rest.get(place[0])):
            row[place[1]] = rest.pop(place[0])
    elif _is_playback(rest["event"], properties):
        event_type = PLAYBACK
        _fill_playback(row, rest["event"], properties)
    else:
        row["name"] = rest.pop("event")
    _fill_texts(row, properties, event_type)
    _fill_from_context(row, rest.get("context"), event_type)
    row[PROPERTIES] = merge_properties(properties, rest.items())
    return event_type.name, row


def _text(value: Any) -> bool:
    return type(value) is str and value != ""


def _user(message: Row) -> str | None:
    """Return the member that says whom the call is about; identifiers that are whole numbers count as text."""
    for name in ("userId", "anonymousId"):
        if _text(message.get(name)) or type(message.get(name)) is int:
            return name
    return None


def _event_time(message: Row, received_us: int) -> Any:
    """Return when the call happened, as text, or what cannot be read as a time, or None."""
    stated = message.get("originalTimestamp") or message.get("timestamp")
    happened, sent = _micros(stated), _micros(message.get("sentAt"))
    if happened is None:
        return stated
    if sent is not None:
        happened = received_us - (sent - happened)
    try:
        return (_EPOCH + timedelta(microseconds=happened)).isoformat()
    except OverflowError:
        return stated


def _micros(value: Any) -> int | None:
    if type(value) is str:
        return parse_time(value)
    return parse_epoch(value) if type(value) in (int, float) else None


def _words(event: str) -> str:
    """Return a name in words of lower case, whichever way they were joined."""
    return " ".join(_WORD.findall(event)).lower()


def _is_playback(event: str, properties: Row) -> bool:
    words = _words(event)
    heard = _number(properties, "ms_played") is not None or (
        words.rpartition(" ")[2] in _REASONS and _position(properties) is not None
    )
    return words in PLAYBACK_EVENTS and heard and _first_text(properties, "track_id", PLAYBACK) is not None


def _fill_playback(row: Row, event: str, properties: Row) -> None:
    verb = _words(event).rpartition(" ")[2]
    if verb in _REASONS:
        row["ms_played"] = _position(properties)
        row["reason_end"] = _REASONS[verb]
        row["skipped"] = True if verb == "skipped" else None
    for field in _NUMBER_SOURCES:
        found = _number(properties, field)
        if found is not None:
            name, row[field] = found
            del properties[name]
    if type(properties.get("skipped")) is bool:
        row["skipped"] = properties.pop("skipped")


def _fill_texts(row: Row, properties: Row, event_type: EventType) -> None:
    for field in _TEXT_SOURCES:
        name = _first_text(properties, field, event_type)
        if name is not None:
            row[field] = properties.pop(name)


def _first_text(properties: Row, field: str, event_type: EventType) -> str | None:
    """Return the property that gives a field of text, if there is one that fits."""
    column = event_type.by_name.get(field)
    for name in _TEXT_SOURCES[field]:
        value = properties.get(name)
        if column is not None and type(value) is str and value and len(value.encode()) <= column.max_bytes:
            return name
    return None


def _number(properties: Row, field: str) -> tuple[str, int] | None:
    """Return the property that gives a count, and the count, if there is one that fits."""
    for name, factor in _NUMBER_SOURCES[field].items():
        value = _count(properties.get(name), factor)
        if value is not None:
            return name, value
    return None


def _position(properties: Row) -> int | None:
    return _count(properties.get("position"), 1000)


def _count(value: Any, factor: int) -> int | None:
    if type(value) not in (int, float) or not 0 <= value * factor <= DAY_MS:
        return None
    count: int = round(value * factor)
    return count


def _fill_from_context(row: Row, context: Any, event_type: EventType) -> None:
    found = {
        "source": _member(context, "app", "name") or _member(context, "library", "name"),
        "country": _member(context, "location", "country"),
        "device": _member(context, "device", "type"),
        "platform": _member(context, "os", "name").lower(),
    }
    for name, value in found.items():
        field = event_type.by_name.get(name)
        if field is not None and value and len(value.encode()) <= field.max_bytes:
            row.setdefault(name, value)


def _member(context: Any, *names: str) -> str:
    """Return the text at a path of members, empty if there is none."""
    value = context
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value if type(value) is str else ""
