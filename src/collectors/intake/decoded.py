"""What decoding a request body yields: the readable rows as one Arrow batch, the unreadable ones each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors.model.event_type import EVENT_ID, EventType

RowNumbers = NDArray[np.int64]

NOT_JSON = "not_json"
NOT_OBJECT = "not_object"
TOO_DEEP = "too_deep"
TOO_LARGE = "too_large"
NO_TYPE = "no_type"
UNKNOWN_TYPE = "unknown_type"


def wrong_type(name: str) -> str:
    """Return the reason code of a row whose member ``name`` has a value the field cannot hold."""
    return f"wrong_type:{name}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one body may claim before it is refused; generous for honest producers."""

    max_rows: int = 100_000
    """Rows of one body; for line formats, lines."""
    max_columns: int = 512
    """Columns of an Arrow body."""
    max_batches: int = 4096
    """Record and dictionary batches of an Arrow body."""
    max_unknown_values: int = 2_000_000
    """Rows times unknown columns of an Arrow body, since these are handled value by value."""
    max_depth: int = 32
    """Nesting of ``properties`` and other JSON that is kept as text; the object itself is 1. At most 200."""
    max_decoded_bytes: int = 128 * 1024 * 1024
    """Memory an Arrow body may take once its buffers are decompressed and its dictionaries spelled out."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be read: a stable ``code``, and a ``message`` that never repeats a value."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read, kept whole so that it can be replayed.

    ``row`` counts from 0: the line of a line format, else the place in the list or batch. ``raw`` is what was
    sent; rows that did not arrive as text of their own are spelled as JSON.
    """

    row: int
    code: str
    message: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """The rows of one event type in a body: ``rows_offered`` = rows of ``table`` + ``bad``.

    ``table`` has the columns of the type's wire schema, in order, with nulls where nothing was sent; only
    ``event_id`` keeps the form it came in, ``string`` or ``fixed_size_binary(16)``. ``row_numbers`` maps its rows
    to those of the body; None stands for the identity.
    """

    table: pa.RecordBatch
    bad: tuple[BadRow, ...]
    rows_offered: int
    row_numbers: RowNumbers | None = None


@dataclass(frozen=True, slots=True)
class DecodedMany:
    """The rows of a body that mixes event types; ``bad`` are those that belong to no type we know."""

    by_type: Mapping[str, Decoded] = field(default_factory=lambda: MappingProxyType({}))
    bad: tuple[BadRow, ...] = ()
    rows_offered: int = 0


def assemble(
    event_type: EventType,
    columns: Mapping[str, pa.Array],
    rows: int,
    faults: Mapping[int, Fault],
    raw: Callable[[int], bytes],
    *,
    numbers: Sequence[int] | RowNumbers | None = None,
    unread: Sequence[BadRow] = (),
) -> Decoded:
    """Put ``columns`` of ``rows`` values into wire order, leaving out the rows with faults.

    ``numbers`` are the rows' places in the body, the identity if None; ``unread`` are rows of the body that never
    got this far; ``raw`` returns what was sent as the given row.
    """
    arrays = [columns[f.name] if f.name in columns else pa.nulls(rows, f.type) for f in event_type.columns]
    schema = event_type.wire_schema
    if arrays[0].type != EVENT_ID:
        schema = schema.set(0, pa.field("event_id", arrays[0].type))
    table = pa.RecordBatch.from_arrays(arrays, schema=schema)
    if not faults and not unread and numbers is None:
        return Decoded(table, (), rows)
    places = np.arange(rows, dtype=np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
    bad = list(unread)
    if faults:
        bad += [BadRow(int(places[i]), f.code, f.message, raw(i)) for i, f in faults.items()]
        keep = np.ones(rows, dtype=np.bool_)
        keep[list(faults)] = False
        table, places = table.filter(pa.array(keep)), places[keep]
    bad.sort(key=lambda b: b.row)
    is_identity = len(places) == 0 or (places[-1] == len(places) - 1 and places[0] == 0)
    return Decoded(table, tuple(bad), len(places) + len(bad), None if is_identity else places)


def concatenate(parts: Sequence[Decoded]) -> Decoded:
    """Join decoded parts of one body and event type into one, in row order."""
    if len(parts) == 1:
        return parts[0]
    places = np.concatenate(
        [np.arange(p.table.num_rows, dtype=np.int64) if p.row_numbers is None else p.row_numbers for p in parts]
    )
    table = pa.concat_batches([p.table for p in parts])
    order = np.argsort(places, kind="stable")
    bad = sorted((b for p in parts for b in p.bad), key=lambda b: b.row)
    return Decoded(table.take(pa.array(order)), tuple(bad), sum(p.rows_offered for p in parts), places[order])
