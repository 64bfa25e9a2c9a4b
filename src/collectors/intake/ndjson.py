r"""JSON bodies of one event type: newline-delimited, single objects and lists.

Two lanes give the same result. The strict one (see ``strict``) reads bodies that are long enough to be worth its set-up
and plain enough for it; the tolerant one (see ``rows``) parses line by line.

Blank lines are no rows, but count as lines: the row numbers reported are line numbers from 0. A byte order mark at the
start of a line and ``\r`` at its end are skipped over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.decoded import (
    DEFAULT_LIMITS,
    NOT_JSON,
    NOT_OBJECT,
    TOO_DEEP,
    BadRow,
    Decoded,
    Limits,
)
from collectors.intake.rows import Row, decode_rows, dumps, loads, parser_for
from collectors.intake.strict import Lines, decode_strict
from collectors.model.event_type import EventType

STRICT_FROM_BYTES = 32 * 1024
"""Shorter bodies are read line by line before Arrow's reader is set up."""

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def decode_ndjson(body: bytes, event_type: EventType, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode lines that are each one event of ``event_type``.

    Raises TooLarge if there are more lines than ``limits.max_rows``. What is wrong with single lines is in the result.
    """
    if len(body) >= STRICT_FROM_BYTES:
        lines = Lines.of(body)
        check_count(len(lines), limits)
        decoded = decode_strict(lines, event_type)
        if decoded is not None:
            return decoded
    texts = split_lines(body, limits)
    rows, places, bad = parse_lines(texts, parser_for(body), limits)
    if len(rows) == len(texts):
        return decode_rows(event_type, rows, limits, raw=texts.__getitem__)
    return decode_rows(event_type, rows, limits, raw=lambda i: texts[places[i]], numbers=places, unread=bad)


def decode_json(body: bytes, event_type: EventType, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode one JSON object, or a list of them, as events of ``event_type``.

    Raises MalformedBody if the body is something else, TooLarge if the list is longer than ``limits.max_rows`` or nests
    too deep to be handled. A bad element costs only itself.
    """
    value = parse_json(body)
    elements = [value] if type(value) is dict else value
    if type(elements) is not list:
        raise MalformedBody("the body is neither a JSON object nor a list of objects")
    check_count(len(elements), limits)
    places = [i for i, element in enumerate(elements) if type(element) is dict]
    if len(places) == len(elements):
        return decode_rows(event_type, elements, limits)
    bad = [not_object(i, dumps(e)) for i, e in enumerate(elements) if type(e) is not dict]
    return decode_rows(event_type, [elements[i] for i in places], limits, numbers=places, unread=bad)


def join_bodies(bodies: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Join NDJSON bodies to be decoded in one go; also return the number of the first line of each."""
    trimmed = [body.rstrip(b"\r\n") for body in bodies]
    firsts, line = [], 0
    for body in trimmed:
        firsts.append(line)
        line += body.count(b"\n") + 1
    return b"\n".join(trimmed), firsts


def parse_json(body: bytes) -> Any:
    """Parse a body that is JSON as a whole; raises MalformedBody if it is not."""
    try:
        return loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedBody("the body is not JSON in UTF-8", position=place) from None


def split_lines(body: bytes, limits: Limits) -> list[bytes]:
    """Split at newlines; raises TooLarge before there are too many lines to hold."""
    check_count(body.count(b"\n"), limits)
    texts = body.split(b"\n")
    if not texts[-1]:
        texts.pop()
    check_count(len(texts), limits)
    return texts


def parse_lines(
    texts: Sequence[bytes], parse: Callable[[bytes], Any], limits: Limits
) -> tuple[list[Row], list[int], list[BadRow]]:
    """Parse each text by itself; return the objects, where in ``texts`` they are, and what is no object."""
    try:
        rows = list(map(parse, texts))
    except orjson.JSONDecodeError:
        rows = []
    if len(rows) == len(texts) and set(map(type, rows)) <= {dict}:
        return rows, list(range(len(rows))), []
    rows, places, bad = [], [], []
    for place, line in enumerate(texts):
        text = line.removeprefix(_BOM).strip(_BLANK)
        if not text:
            continue
        try:
            row = parse(text)
        except orjson.JSONDecodeError as error:
            bad.append(_not_json(place, text, error.pos, limits))
            continue
        if type(row) is dict:
            rows.append(row)
            places.append(place)
        else:
            bad.append(not_object(place, text))
    return rows, places, bad


def not_object(place: int, raw: bytes) -> BadRow:
    """Return the bad row of JSON that is something else than an object."""
    return BadRow(place, NOT_OBJECT, "an event must be a JSON object", raw)


def check_count(rows: int, limits: Limits) -> None:
    """Raise TooLarge if there are more rows than one body may have."""
    if rows > limits.max_rows:
        raise TooLarge(f"the body has more than {limits.max_rows} rows; send it in parts")


def _not_json(place: int, text: bytes, character: int, limits: Limits) -> BadRow:
    if _depth(text) > limits.max_depth:
        return BadRow(place, TOO_DEEP, f"an event must not nest deeper than {limits.max_depth} levels", text)
    return BadRow(place, NOT_JSON, f"the line is not JSON in UTF-8, from character {character} on", text)


def _depth(text: bytes) -> int:
    """Return how deep brackets nest in ``text``, which need not be JSON."""
    octets = np.frombuffer(_STRING.sub(b"", text), np.uint8)
    opening = (octets == ord("{")) | (octets == ord("["))
    closing = (octets == ord("}")) | (octets == ord("]"))
    return int(np.max(np.cumsum(opening.astype(np.int64) - closing), initial=0))
