"""Arrow IPC bodies of one event type: the fast lane, in which nothing is done row by row unless a row is odd.

A body may have any of the type's columns, in any order, of any type that ``cast`` accepts. Columns the type does not
know become members of ``properties``, row by row, under the same rule as in JSON (see ``rows``).

Nothing in the body is trusted: ``framing`` checks what it claims, and each column's offsets, codes and text are checked
before they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.cast import Budget, to_field
from collectors.intake.decoded import DEFAULT_LIMITS, Decoded, Fault, Limits, assemble
from collectors.intake.framing import check_stream, malformed, stream_of
from collectors.intake.rows import PROPERTIES, Row, dumps, dumps_each, merge_properties, parse_properties, type_fault
from collectors.intake.spell import json_values
from collectors.model.event_type import EventType

_FIRST_NON_ASCII = 128
_READ = pa.ipc.IpcReadOptions(use_threads=False, ensure_alignment=pa.ipc.Alignment.DataTypeSpecific)


def decode_arrow(body: bytes | pa.Buffer, event_type: EventType, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode an Arrow IPC stream or file of events of ``event_type``.

    Raises MalformedBody if the body is broken, repeats a column, or has one of a type that cannot be kept; TooLarge if
    it is beyond ``limits``.
    """
    buffer = pa.py_buffer(body)
    check_stream(buffer, limits)
    sent, rows = _read(buffer, limits)
    try:
        return _conform(sent, rows, event_type, limits)
    except (pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        raise MalformedBody("the body has a column of a type, or with a name, that cannot be kept") from error


def _conform(sent: Mapping[str, pa.Array], rows: int, event_type: EventType, limits: Limits) -> Decoded:
    budget = Budget(limits.max_decoded_bytes)
    columns: dict[str, pa.Array] = {}
    faults: dict[int, Fault] = {}
    for field in event_type.columns:
        if field.name in sent:
            columns[field.name], failed = to_field(sent[field.name], field, budget)
            for i in failed:
                faults.setdefault(i, type_fault(field))
    unknown = {n: c for n, c in sent.items() if n not in event_type.by_name and c.null_count < rows}
    if unknown:
        if rows * len(unknown) > limits.max_unknown_values:
            raise TooLarge(f"the body has more than {limits.max_unknown_values} values in unknown columns")
        columns[PROPERTIES], failed = _with_unknown(columns.get(PROPERTIES), unknown, rows, budget)
        for i in failed:
            faults.setdefault(i, type_fault(event_type.by_name[PROPERTIES]))
    raws = _raw_rows(sent, list(faults), budget)
    return assemble(event_type, columns, rows, faults, raws.__getitem__)


def _read(body: pa.Buffer, limits: Limits) -> tuple[dict[str, pa.Array], int]:
    """Return the columns of all batches, checked, and their length."""
    stream = stream_of(body)
    source = pa.BufferReader(stream)
    try:
        with pa.ipc.open_stream(source, options=_READ) as reader:
            names = _column_names(reader.schema, limits)
            batches = list(reader)
        chunks = [batch.columns for batch in batches] or [[pa.nulls(0, kind) for kind in reader.schema.types]]
        for batch in chunks:
            for column in batch:
                _check_values(column)
        columns = [parts[0] if len(parts) == 1 else pa.concat_arrays(parts) for parts in zip(*chunks, strict=True)]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: a type pyarrow has no class for
        raise malformed(len(body) - len(stream) + source.tell()) from error
    return dict(zip(names, columns, strict=True)), sum(batch.num_rows for batch in batches)


def _column_names(schema: pa.Schema, limits: Limits) -> list[str]:
    if len(schema) > limits.max_columns:
        raise TooLarge(f"the body has more than {limits.max_columns} columns")
    names: list[str] = schema.names
    if len(set(names)) < len(names):
        raise MalformedBody("the body has several columns of the same name")
    return names


def _check_values(column: pa.Array) -> None:
    """Raise ArrowInvalid if offsets, codes or text of ``column`` are not what its type promises.

    Text that is all ASCII is valid wherever it is cut. Looking for that first takes a fifth of the time.
    """
    if pa.types.is_string(column.type):
        text = column.buffers()[2]
        if text is None or len(text) == 0 or np.frombuffer(text, np.uint8).max() < _FIRST_NON_ASCII:
            column = column.view(pa.binary())
    column.validate(full=True)


def _with_unknown(
    given: pa.StringArray | None, unknown: Mapping[str, pa.Array], rows: int, budget: Budget
) -> tuple[pa.StringArray, list[int]]:
    """Return ``properties`` with the values of ``unknown`` columns, and the rows where they are no object."""
    texts: list[str | None] = [None] * rows if given is None else given.to_pylist()
    values = {name: json_values(column, budget) for name, column in unknown.items()}
    objects: list[Row | None] = []
    failed = []
    for i, (text, members) in enumerate(zip(texts, zip(*values.values(), strict=True), strict=True)):
        extras = [(name, value) for name, value in zip(values, members, strict=True) if value is not None]
        properties = parse_properties(text) if extras else None
        if extras and properties is None:
            failed.append(i)
        objects.append(None if properties is None else merge_properties(properties, extras))
    merged = [text if new is None else new for text, new in zip(texts, dumps_each(objects), strict=True)]
    return pa.array(merged, pa.string()), failed


def _raw_rows(sent: Mapping[str, pa.Array], places: Sequence[int], budget: Budget) -> dict[int, bytes]:
    """Return the rows at ``places`` as JSON objects."""
    if not places:
        return {}
    values = {name: json_values(_pick(column, places), budget) for name, column in sent.items()}
    rows = zip(*values.values(), strict=True)
    return {
        place: dumps({name: value for name, value in zip(values, row, strict=True) if value is not None})
        for place, row in zip(places, rows, strict=True)
    }


def _pick(column: pa.Array, places: Sequence[int]) -> pa.Array:
    try:
        return column.take(pa.array(places))
    except pa.ArrowNotImplementedError:  # views and what holds them
        return pa.concat_arrays([column[place : place + 1] for place in places])
