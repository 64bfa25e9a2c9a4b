"""Events into the bytes that are sent: Arrow IPC streams of a type's wire schema, LZ4-compressed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from collectors.client.fields import TEXT_ID, Row, RowSchema
from collectors.errors import BadInput
from collectors.model.event_type import EVENT_ID, TIMESTAMP, EventType, Field

SLICE_BYTES = 8 * 2**20
"""About how many bytes of memory the events of one request take at most."""

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_VERSION_7 = bytes(b & 0x0F | 0x70 for b in range(256))
_VARIANT = bytes(b & 0x3F | 0x80 for b in range(256))


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """One request: ``rows`` events of one type as ``size`` bytes, in memory (``body``) or on disk (``path``).

    ``key`` is its idempotency key. ``ticket`` and ``part`` give its place in line; the parts of a ticket sort as text.
    """

    ticket: int
    part: str
    event_type: str
    rows: int
    key: str
    size: int
    body: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    def halves(self, body: bytes) -> tuple[Parcel, Parcel]:
        """Return the events of ``body``, this parcel's, as two parcels; the same two whenever it is asked."""
        table = pa.ipc.open_stream(body).read_all().combine_chunks()
        batch = table.to_batches()[0]
        middle = batch.num_rows // 2
        first, second = batch.slice(0, middle), batch.slice(middle)
        return self._half("a", first), self._half("b", second)

    def _half(self, part: str, batch: pa.RecordBatch) -> Parcel:
        key = uuid.uuid5(uuid.UUID(self.key), part)
        return parcel_of(self.ticket, self.part + part, self.event_type, batch, key)


def parcel_of(ticket: int, part: str, event_type: str, batch: pa.RecordBatch, key: uuid.UUID) -> Parcel:
    """Encode ``batch`` into a parcel in memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_OPTIONS) as writer:
        writer.write_batch(batch)
    body = sink.getvalue().to_pybytes()
    return Parcel(ticket, part, event_type, batch.num_rows, key.hex, len(body), body)


@dataclass(slots=True, eq=False)
class Chunk:
    """Events that were sealed together: checked rows, or a batch as ``conform`` returns it.

    Until they are encoded they take ``size`` bytes of memory. ``time_us`` stands in for absent event times.
    """

    ticket: int
    schema: RowSchema
    rows: int
    size: int
    time_us: int
    content: list[Row] | pa.RecordBatch
    _parcels: list[Parcel] | None = None

    def pack(self, source: str | None) -> list[Parcel]:
        """Return the events as parcels, always the same ones; ``source`` stands in where none was given."""
        if self._parcels is None:
            batch = self.content
            if isinstance(batch, list):
                batch = pa.RecordBatch.from_struct_array(pa.array(batch, self.schema.struct))
            batches = _complete(batch, self.schema.event_type, self.time_us, source)
            self._parcels = [
                parcel_of(self.ticket, part, self.schema.event_type.name, each, uuid.uuid4())
                for part, each in zip("ab", batches, strict=False)
            ]
        return self._parcels


def _complete(
    batch: pa.RecordBatch, event_type: EventType, time_us: int, source: str | None
) -> Iterator[pa.RecordBatch]:
    """Fill in identities, times and sources; events that are identified by text come in a batch of their own.

    The identities are UUIDs of version 7: their common prefix compresses, here and in the lake, and identities of
    one time lie together, while 74 random bits keep them apart.
    """
    columns = {name: batch.column(name) for name in batch.schema.names}
    texts = columns.pop(TEXT_ID, None)
    if texts is None and columns["event_id"].type != EVENT_ID:
        texts, columns["event_id"] = columns["event_id"], pa.nulls(batch.num_rows, EVENT_ID)
    columns["event_time"] = pc.coalesce(columns["event_time"], pa.scalar(time_us, TIMESTAMP))
    if source is not None:
        columns["source"] = pc.coalesce(columns["source"], pa.scalar(source))
    if columns["event_id"].null_count:
        columns["event_id"] = pc.coalesce(columns["event_id"], event_ids(batch.num_rows, time_us // 1000))
    whole = pa.RecordBatch.from_arrays(list(columns.values()), schema=event_type.wire_schema)
    if texts is None or texts.null_count == batch.num_rows:
        yield whole
        return
    if texts.null_count:
        yield whole.filter(texts.is_null())
    named = whole.set_column(0, pa.field("event_id", pa.string()), texts)
    yield named.filter(texts.is_valid())


def event_ids(count: int, time_ms: int) -> pa.FixedSizeBinaryArray:
    """Return ``count`` UUIDs of version 7 (RFC 9562, section 5.7) of the Unix time ``time_ms``."""
    ids = bytearray(os.urandom(16 * count))
    for place, byte in enumerate(time_ms.to_bytes(6, "big")):
        ids[place::16] = bytes((byte,)) * count
    ids[6::16] = ids[6::16].translate(_VERSION_7)
    ids[8::16] = ids[8::16].translate(_VARIANT)
    return pa.FixedSizeBinaryArray.from_buffers(EVENT_ID, count, [None, pa.py_buffer(ids)])


def conform(event_type: EventType, table: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return ``table`` in the columns and types of the wire schema; ``event_id`` may also be text.

    Only conversions that lose nothing but the fractions of a microsecond are made. Raises BadInput that names the
    column and what is expected there.
    """
    table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
    names = table.column_names
    if len(set(names)) < len(names):
        raise BadInput(f"{event_type.name}: each column may appear only once")
    unknown = [name for name in names if name not in event_type.by_name]
    if unknown:
        raise BadInput(f"{event_type.name} has no columns {', '.join(unknown)}; put them into properties as JSON")
    columns = []
    for each in event_type.columns:
        column = table.column(each.name) if each.name in names else pa.nulls(table.num_rows, each.type)
        if each.required and column.null_count:
            raise BadInput(f"{event_type.name}.{each.name} is required; it is null in {column.null_count} rows")
        columns.append(_column(event_type, each, column))
    return pa.table(columns, names=event_type.wire_schema.names)


def _column(event_type: EventType, target: Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    source = column.type
    if source == target.type:
        return column
    text = target.type == EVENT_ID and _family(source) == "text"
    wanted = pa.string() if text else target.type
    expected = f"{event_type.name}.{target.name} must be {wanted}, not {source}"
    if pa.types.is_timestamp(source) and wanted == TIMESTAMP and source.tz is None:
        raise BadInput(f"{expected}: it has no time zone")
    if not (pa.types.is_null(source) or _accepts(wanted, source)):
        raise BadInput(expected)
    try:
        return pc.cast(column, options=pc.CastOptions(target_type=wanted, allow_time_truncate=True))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise BadInput(f"{expected}: some value does not fit") from None


def _accepts(wanted: pa.DataType, source: pa.DataType) -> bool:
    """Return whether a column of type ``source`` means the same as one of type ``wanted``."""
    family = _family(wanted)
    if family == "list":
        return _family(source) == "list" and _accepts(wanted.value_type, source.value_type)
    if family == "map":
        return (
            _family(source) == "map"
            and _accepts(wanted.key_type, source.key_type)
            and _accepts(wanted.item_type, source.item_type)
        )
    return _family(source) == family or (_family(source) == "integer" and family in {"number", "time"})


def _family(arrow: pa.DataType) -> str:  # noqa: PLR0911  a table of predicates, one a line
    types = pa.types
    if types.is_dictionary(arrow):
        return _family(arrow.value_type)
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return "text"
    if types.is_boolean(arrow):
        return "flag"
    if types.is_integer(arrow):
        return "integer"
    if types.is_floating(arrow):
        return "number"
    if types.is_timestamp(arrow):
        return "time"
    if types.is_map(arrow):
        return "map"
    if types.is_list(arrow) or types.is_large_list(arrow):
        return "list"
    if types.is_binary(arrow) or types.is_fixed_size_binary(arrow) or arrow == pa.uuid():
        return "bytes"
    return str(arrow)
