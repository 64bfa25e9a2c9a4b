"""Bodies that mix event types: each row says what it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.intake.decoded import (
    DEFAULT_LIMITS,
    NO_TYPE,
    UNKNOWN_TYPE,
    BadRow,
    Decoded,
    DecodedMany,
    Fault,
    Limits,
    concatenate,
)
from collectors.intake.ndjson import STRICT_FROM_BYTES, check_count, parse_lines, split_lines
from collectors.intake.rows import Row, decode_rows, dumps, parser_for
from collectors.intake.strict import MAX_BYTES, Lines, decode_strict
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES

TYPE_MEMBER = "type"

_TYPE = r'"type"\s*:\s*"(?P<name>[a-z_]+)"'

Parts = defaultdict[str, list[Decoded]]


@dataclass(slots=True)
class _Group:
    rows: list[Row] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    sent: list[bytes | Row] = field(default_factory=list)

    def raw(self, row: int) -> bytes:
        return _spelled(self.sent[row])


class RowSorter:
    """Sorts the parsed rows of a body by event type and decodes each type's rows together."""

    def __init__(self, limits: Limits, types: Mapping[str, EventType] = EVENT_TYPES) -> None:
        self._limits = limits
        self._types = types
        self._groups: dict[str, _Group] = {}
        self._bad: list[BadRow] = []

    def add(self, type_name: object, row: Row, number: int, sent: bytes | Row) -> None:
        """Take ``row`` as an event of the type called ``type_name``; it was ``sent`` as row ``number`` of the body."""
        if type(type_name) is not str:
            self.reject(number, Fault(NO_TYPE, "the row names no event type"), sent)
        elif type_name not in self._types:
            self.reject(number, Fault(UNKNOWN_TYPE, "the row names an event type that there is not"), sent)
        else:
            group = self._groups.setdefault(type_name, _Group())
            group.rows.append(row)
            group.numbers.append(number)
            group.sent.append(sent)

    def reject(self, number: int, fault: Fault, sent: bytes | Row) -> None:
        """Refuse the row, of whatever type it is."""
        self._bad.append(BadRow(number, fault.code, fault.message, _spelled(sent)))

    def decode(self, others: Parts | None = None) -> DecodedMany:
        """Decode the rows taken so far, and put them together with ``others`` of the same body."""
        parts: Parts = defaultdict(list) if others is None else others
        for name, group in self._groups.items():
            decoded = decode_rows(self._types[name], group.rows, self._limits, raw=group.raw, numbers=group.numbers)
            parts[name].append(decoded)
        by_type = {name: concatenate(decoded) for name, decoded in parts.items()}
        bad = sorted(self._bad, key=lambda row: row.row)
        return DecodedMany(by_type, tuple(bad), sum(d.rows_offered for d in by_type.values()) + len(bad))


def _spelled(sent: bytes | Row) -> bytes:
    return sent if isinstance(sent, bytes) else dumps(sent)


def decode_mixed(
    body: bytes, limits: Limits = DEFAULT_LIMITS, types: Mapping[str, EventType] = EVENT_TYPES
) -> DecodedMany:
    """Decode NDJSON whose member ``type`` names the event type of each line.

    Raises TooLarge if there are more lines than ``limits.max_rows``.
    """
    parts: Parts = defaultdict(list)
    if len(body) < STRICT_FROM_BYTES:
        texts = split_lines(body, limits)
        numbers = list(range(len(texts)))
    else:
        lines = Lines.of(body)
        check_count(len(lines), limits)
        numbers = _decode_groups(lines, types, parts)
        texts = [lines[i] for i in numbers]
    rows, places, bad = parse_lines(texts, parser_for(body), limits)
    sorter = RowSorter(limits, types)
    for row, place in zip(rows, places, strict=True):
        sorter.add(row.pop(TYPE_MEMBER, None), row, numbers[place], texts[place])
    for unread in bad:
        sorter.reject(numbers[unread.row], Fault(unread.code, unread.message), unread.raw)
    return sorter.decode(parts)


def _decode_groups(lines: Lines, types: Mapping[str, EventType], parts: Parts) -> list[int]:
    """Decode what the strict lane can, and return the numbers of the other lines.

    The type is looked for in the bare text, where something else may look like it; the strict lane confirms it.
    """
    if len(lines.body) > MAX_BYTES:
        return list(range(len(lines)))
    offsets = np.append(lines.starts, len(lines.body)).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(lines.body)]
    column = pa.BinaryArray.from_buffers(pa.binary(), len(lines), buffers)
    names = pc.extract_regex(column, _TYPE).field("name").dictionary_encode()
    codes = names.indices.fill_null(-1).to_numpy()
    others = [np.flatnonzero(codes == -1)]
    for code, name in enumerate(names.dictionary.to_pylist()):
        numbers = np.flatnonzero(codes == code)
        event_type = types.get(name.decode())
        decoded = None
        if event_type is not None:
            group = Lines.of(_text(column.take(pa.array(numbers))))
            decoded = decode_strict(group, event_type, type_member=TYPE_MEMBER, numbers=numbers)
        if event_type is None or decoded is None:
            others.append(numbers)
        else:
            parts[event_type.name].append(decoded)
    rest: list[int] = np.sort(np.concatenate(others)).tolist()
    return rest


def _text(values: pa.BinaryArray) -> bytes:
    """Return the values one after the other."""
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    return memoryview(values.buffers()[2])[offsets[0] : offsets[-1]].tobytes()
