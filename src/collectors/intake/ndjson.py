"""JSON bodies: newline-delimited, single objects and lists.

Two lanes give the same result. The strict one (see ``strict``) reads bodies that are long enough to be worth its set-up
and plain enough for it; the tolerant one (see ``rows``) parses line by line.

Blank lines are no rows, but count as lines: the row numbers reported are line numbers from 0. A byte order mark at the
start of a line and ``\\r`` at its end are skipped over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.decoded import (
    DEFAULT_LIMITS,
    NO_TYPE,
    NOT_JSON,
    NOT_OBJECT,
    TOO_DEEP,
    UNKNOWN_TYPE,
    BadRow,
    Decoded,
    DecodedMany,
    Limits,
    RowNumbers,
    concatenate,
)
from collectors.intake.rows import Row, decode_rows, dumps, loads
from collectors.intake.strict import Lines, decode_strict
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES

STRICT_FROM_BYTES = 8192
"""Shorter bodies are read faster line by line than Arrow's reader is set up."""

TYPE_MEMBER = "type"

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_TYPE = r'"type"\s*:\s*"(?P<name>[a-z_]+)"'


def join_bodies(bodies: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Join NDJSON bodies to be decoded in one go; also return the number of the first line of each."""
    trimmed = [body.rstrip(b"\r\n") for body in bodies]
    firsts, line = [], 0
    for body in trimmed:
        firsts.append(line)
        line += body.count(b"\n") + 1
    return b"\n".join(trimmed), firsts


def decode_ndjson(body: bytes, event_type: EventType, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode lines that are each one event of ``event_type``.

    Raises TooLarge if there are more lines than ``limits.max_rows``. What is wrong with single lines is in the result.
    """
    if len(body) >= STRICT_FROM_BYTES:
        lines = Lines.of(body)
        _check_count(len(lines), limits)
        decoded = decode_strict(lines, event_type)
        if decoded is not None:
            return decoded
    texts = _split(body, limits)
    rows, numbers, bad = _parse(texts, limits)
    raw = texts.__getitem__ if numbers is None else lambda i: texts[numbers[i]]
    return decode_rows(event_type, rows, limits, raw=raw, numbers=numbers, unread=bad)


def decode_json(body: bytes, event_type: EventType, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode one JSON object, or a list of them, as events of ``event_type``.

    Raises MalformedBody if the body as a whole is something else, TooLarge if the list is longer than
    ``limits.max_rows``. A bad element costs only itself.
    """
    elements = parse_json(body, limits)
    rows = [element for element in elements if type(element) is dict]
    if len(rows) == len(elements):
        return decode_rows(event_type, rows, limits)
    numbers = [i for i, element in enumerate(elements) if type(element) is dict]
    bad = [not_object(i, dumps(e).encode()) for i, e in enumerate(elements) if type(e) is not dict]
    return decode_rows(event_type, rows, limits, numbers=numbers, unread=bad)


def parse_json(body: bytes, limits: Limits) -> list[Any]:
    """Parse a body that is one JSON object or a list; return the list, or one of the object."""
    try:
        value = loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedBody("the body is not JSON in UTF-8; send an object or a list of objects", position=place) from None
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise MalformedBody("the body is neither a JSON object nor a list of objects")
    _check_count(len(value), limits)
    return value


def decode_mixed(
    body: bytes, limits: Limits = DEFAULT_LIMITS, types: Mapping[str, EventType] = EVENT_TYPES
) -> DecodedMany:
    """Decode lines whose member ``type`` names the event type of each.

    Raises TooLarge if there are more lines than ``limits.max_rows``.
    """
    parts: dict[str, list[Decoded]] = defaultdict(list)
    if len(body) < STRICT_FROM_BYTES:
        texts = _split(body, limits)
        bad = _decode_each(texts, range(len(texts)), limits, types, parts)
    else:
        lines = Lines.of(body)
        _check_count(len(lines), limits)
        rest = _decode_groups(lines, types, parts)
        bad = _decode_each([lines[i] for i in rest], rest, limits, types, parts)
    by_type = {name: concatenate(decoded) for name, decoded in parts.items()}
    return DecodedMany(by_type, bad, sum(d.rows_offered for d in by_type.values()) + len(bad))


def _decode_groups(lines: Lines, types: Mapping[str, EventType], parts: dict[str, list[Decoded]]) -> list[int]:
    """Decode what the strict lane can; return the numbers of the other lines.

    The type is looked for in the bare text, where it may be deceiving; the strict lane confirms it.
    """
    if len(lines.body) > MAX_BYTES:
        return list(range(len(lines)))
    offsets = np.append(lines.starts, len(lines.body)).astype(np.int32)
    column = pa.BinaryArray.from_buffers(pa.binary(), len(lines), [None, pa.py_buffer(offsets), pa.py_buffer(lines.body)])
    names = pc.extract_regex(column, _TYPE).field("name").dictionary_encode()
    codes = names.indices.fill_null(-1).to_numpy()
    declined = [np.flatnonzero(codes == -1)]
    for code, name in enumerate(names.dictionary.to_pylist()):
        numbers = np.flatnonzero(codes == code)
        event_type = types.get(name.decode())
        decoded = None
        if event_type is not None:
            group = column.take(pa.array(numbers))
            decoded = decode_strict(Lines.of(_joined(group)), event_type, type_member=TYPE_MEMBER, numbers=numbers)
        if decoded is None:
            declined.append(numbers)
        else:
            parts[event_type.name].append(decoded)
    return np.sort(np.concatenate(declined)).tolist()


def _decode_each(
    texts: Sequence[bytes],
    numbers: Sequence[int],
    limits: Limits,
    types: Mapping[str, EventType],
    parts: dict[str, list[Decoded]],
) -> tuple[BadRow, ...]:
    """Decode line by line; return the rows that belong to no event type."""
    rows, places, bad = _parse(texts, limits)
    ...
