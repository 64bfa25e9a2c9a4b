"""Batches as bytes on the wire and in files: Arrow IPC, NDJSON, Parquet, CSV."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from collectors.simulate.sampling import fixed_text, hex_digits

_DASHES = np.array([8, 13, 18, 23])
_DIGITS = np.setdiff1d(np.arange(36), _DASHES)
_SPECIAL = np.zeros(256, dtype=np.bool_)
_SPECIAL[[*range(0x20), ord('"'), ord("\\")]] = True
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


class TimeStyle(StrEnum):
    """How JSON tells times."""

    RFC3339 = "rfc3339"
    EPOCH_US = "epoch_us"


class FileFormat(StrEnum):
    """Formats of files; the value is the ending of their names."""

    PARQUET = "parquet"
    NDJSON = "ndjson"
    CSV = "csv"


def to_ipc(batch: pa.RecordBatch, compression: str | None = "lz4") -> bytes:
    """Write a batch as an Arrow IPC stream; ``compression`` is 'lz4', 'zstd' or None."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def to_ndjson(batch: pa.RecordBatch, times: TimeStyle = TimeStyle.RFC3339, type_name: str | None = None) -> bytes:
    """Write a batch as one JSON object a line, without the members that are null; every event has its id.

    Event ids are UUID text, ``properties`` is the object itself, lists are arrays and maps objects. ``type_name``
    becomes a member ``type``, for receivers that take several types at once. Numbers that JSON lacks are left out.
    """
    if batch.num_rows == 0:
        return b""
    if batch.column("event_id").null_count:
        raise ValueError("every event needs an id")
    # One join over the whole line: texts that all lines have in common alternate with the columns' values.
    parts: list[str | pa.StringArray] = []
    fixed = "{" if type_name is None else f'{{"type":"{type_name}",'
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count == len(column):
            continue
        text, quote = (column, "") if name == "properties" else _json_body(column, times)
        head = f'"{name}":{quote}' if name == "event_id" else f',"{name}":{quote}'
        if text.null_count:
            parts += [fixed, pc.fill_null(pc.binary_join_element_wise(head, text, quote, ""), "")]
            fixed = ""
        else:
            parts += [fixed + head, text]
            fixed = quote
    lines = pc.binary_join_element_wise(*parts, fixed + "}\n", "")
    end = int(np.frombuffer(lines.buffers()[1], dtype=np.int32)[len(lines)])
    data: bytes = lines.buffers()[2].slice(0, end).to_pybytes()
    return data


def json_text(column: pa.Array, times: TimeStyle = TimeStyle.RFC3339) -> pa.StringArray:
    """Write each value as JSON; null where it is null or a number that JSON lacks."""
    text, quote = _json_body(column, times)
    return pc.binary_join_element_wise(quote, text, quote, "") if quote else text


def _json_body(column: pa.Array, times: TimeStyle) -> tuple[pa.StringArray, str]:
    """Return each value's JSON without its quotes, and the quote that belongs on either side."""
    kind = column.type
    quote = '"'
    if pa.types.is_string(kind):
        text = _escaped(column)
    elif pa.types.is_fixed_size_binary(kind):
        text = uuid_text(column)
    elif pa.types.is_timestamp(kind) and times is TimeStyle.RFC3339:
        text = rfc3339_text(column)
    else:
        quote = ""
        text = _bare_text(column, times)
    return text, quote


def _bare_text(column: pa.Array, times: TimeStyle) -> pa.StringArray:
    """Write what JSON does not quote: numbers, flags, times as numbers, lists and maps."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        text = column.cast(pa.int64()).cast(pa.string())
    elif pa.types.is_floating(kind):
        text = pc.if_else(pc.is_finite(column), column.cast(pa.string()), pa.scalar(None, pa.string()))
    elif pa.types.is_map(kind):
        pairs = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        flat = pc.list_flatten(pairs)
        key, value = json_text(pc.struct_field(flat, 0)), json_text(pc.struct_field(flat, 1), times)
        both = pc.binary_join_element_wise(key, pc.fill_null(value, "null"), ":")
        text = pc.binary_join_element_wise("{", _joined(pairs, both), "}", "")
    elif pa.types.is_list(kind):
        inner = pc.fill_null(json_text(pc.list_flatten(column), times), "null")
        text = pc.binary_join_element_wise("[", _joined(column, inner), "]", "")
    else:
        text = column.cast(pa.string())
    return text


def _joined(lists: pa.ListArray, elements: pa.StringArray) -> pa.StringArray:
    """Join the texts of each list's elements with commas; null for a null list."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    text = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), elements), ",")
    return pc.if_else(lists.is_valid(), text, pa.scalar(None, pa.string()))


def _escaped(column: pa.StringArray) -> pa.StringArray:
    """Escape what a JSON string can't hold as it is."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[[column.offset, column.offset + len(column)]]
    signs = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[1]]
    special = np.flatnonzero(np.bincount(signs[_SPECIAL.take(signs)], minlength=256)).tolist()
    # The backslash comes first, so that those which the other escapes bring are not escaped again.
    for sign in sorted(map(chr, special), key=lambda s: s != "\\"):
        escape = f"\\{sign}" if sign in '"\\' else _SHORT.get(sign, f"\\u{ord(sign):04x}")
        column = pc.replace_substring(column, sign, escape)
    return column


def uuid_text(ids: pa.FixedSizeBinaryArray) -> pa.StringArray:
    """Write 16-byte ids as UUID text (RFC 9562)."""
    raw = np.frombuffer(ids.buffers()[1], dtype="<u8")[2 * ids.offset : 2 * (ids.offset + len(ids))]
    signs = np.full((len(ids), 36), ord("-"), dtype=np.uint8)
    signs[:, _DIGITS] = hex_digits(raw).reshape(-1, 32)
    text = fixed_text(signs)
    return text if ids.null_count == 0 else pc.if_else(ids.is_valid(), text, pa.scalar(None, pa.string()))


def rfc3339_text(times: pa.TimestampArray) -> pa.StringArray:
    """Write UTC times as RFC 3339 text with microseconds and ``Z``."""
    # Arrow writes times without a zone forty times faster than those with one, and these are UTC.
    naive = times.cast(pa.timestamp("us")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(naive, " ", "T"), "Z", "")


def to_flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rewrite what a CSV file can't hold: ids as UUID text, times as RFC 3339 text, lists and maps as JSON text."""
    return pa.RecordBatch.from_arrays([_flat(column) for column in batch.columns], names=batch.schema.names)


def _flat(column: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_binary(column.type):
        return uuid_text(column)
    if pa.types.is_timestamp(column.type):
        return rfc3339_text(column)
    if pa.types.is_nested(column.type):
        return json_text(column)
    return column


class _Ndjson:
    """Writes NDJSON as Arrow's writers write their formats."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._file.write(to_ndjson(batch))

    def close(self) -> None:
        self._file.close()


class FileWriter:
    """Writes batches to ``folder``/tenant/type.format, one file for each; close it, or leave its ``with`` block.

    Files that exist are written anew. Parquet files are compressed with zstd.
    """

    def __init__(self, folder: Path, file_format: FileFormat) -> None:
        self._folder = folder
        self._format = file_format
        self._open: dict[Path, pq.ParquetWriter | pa.csv.CSVWriter | _Ndjson] = {}

    @property
    def paths(self) -> list[Path]:
        """The files written so far."""
        return sorted(self._open)

    def write(self, tenant: str, kind: str, batch: pa.RecordBatch) -> None:
        """Append a batch to its file."""
        rows = to_flat(batch) if self._format is FileFormat.CSV else batch
        path = self._folder / tenant / f"{kind}.{self._format}"
        if path not in self._open:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[path] = self._new(path, rows.schema)
        self._open[path].write_batch(rows)

    def _new(self, path: Path, schema: pa.Schema) -> pq.ParquetWriter | pa.csv.CSVWriter | _Ndjson:
        if self._format is FileFormat.PARQUET:
            return pq.ParquetWriter(path, schema, compression="zstd")
        return pa.csv.CSVWriter(path, schema) if self._format is FileFormat.CSV else _Ndjson(path)

    def close(self) -> None:
        """Finish all files; closing twice does nothing more."""
        for writer in self._open.values():
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
