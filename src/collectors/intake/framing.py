"""A look at the messages of an Arrow IPC stream before any of their buffers is believed.

A compressed buffer declares its decompressed size, and Arrow allocates what is declared; a record batch declares its
rows, and columns that need no buffers make them for free. So both are added up first, out of the messages' metadata
(Flatbuffers tables by ``Message.fbs`` of the Arrow columnar format, already verified by Arrow when a message is read).
"""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.decoded import Limits

FILE_MAGIC = b"ARROW1\0\0"

_HEADER = 2  # of Message
_DICTIONARY_DATA = 1  # of DictionaryBatch
_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3  # of RecordBatch
_NOT_COMPRESSED = -1


def stream_of(body: pa.Buffer) -> pa.Buffer:
    """Return the IPC stream in ``body``: a file is a stream between its magic bytes and its footer."""
    return body.slice(len(FILE_MAGIC)) if body.slice(0, len(FILE_MAGIC)) == pa.py_buffer(FILE_MAGIC) else body


def check_stream(body: pa.Buffer, limits: Limits) -> None:
    """Raise MalformedBody if ``body`` is no whole IPC stream or file, TooLarge if it claims more than ``limits``."""
    stream = stream_of(body)
    source = pa.BufferReader(stream)
    start = len(body) - len(stream)
    rows = decoded_bytes = batches = position = 0
    try:
        reader = pa.ipc.MessageReader.open_stream(source)
        while True:
            position = start + source.tell()
            try:
                message = reader.read_next_message()
            except StopIteration:
                break
            if message.type == "schema":
                continue
            batch_rows, batch_bytes = _claims(message)
            rows += batch_rows if message.type == "record batch" else 0
            decoded_bytes += batch_bytes
            batches += 1
            if max(rows, batch_rows) > limits.max_rows:
                raise TooLarge(f"the body has more than {limits.max_rows} rows; send it in parts")
            if decoded_bytes > limits.max_decoded_bytes:
                raise TooLarge(f"the body takes more than {limits.max_decoded_bytes} bytes of memory; send it in parts")
            if batches > limits.max_batches:
                raise TooLarge(f"the body has more than {limits.max_batches} batches; send fewer, larger ones")
    except (pa.ArrowException, OSError, struct.error, ValueError) as error:
        raise malformed(position) from error
    if stream is body and source.tell() < len(body):
        raise MalformedBody("more bytes follow the end of the Arrow stream", position=f"byte {source.tell()}")


def malformed(position: int) -> MalformedBody:
    """Return the error of a stream that breaks in the message at byte ``position``."""
    return MalformedBody("the body is not an Arrow IPC stream", position=f"byte {position}")


def _claims(message: pa.ipc.Message) -> tuple[int, int]:
    """Return the rows and the decompressed bytes that a record batch or dictionary batch claims to have."""
    meta = message.metadata
    data = memoryview(message.body) if message.body is not None else memoryview(b"")
    (root,) = struct.unpack_from("<I", meta)
    batch = _table(meta, root, _HEADER)
    if message.type == "dictionary":
        batch = _table(meta, batch, _DICTIONARY_DATA)
    at = _field(meta, batch, _ROWS)
    (rows,) = struct.unpack_from("<q", meta, at) if at else (0,)
    at = _field(meta, batch, _BUFFERS)
    if not at:
        return rows, 0
    (offset,) = struct.unpack_from("<I", meta, at)
    (count,) = struct.unpack_from("<I", meta, at + offset)
    buffers = np.frombuffer(meta, "<i8", 2 * count, at + offset + 4).reshape(-1, 2)
    if not _field(meta, batch, _COMPRESSION):
        return rows, int(buffers[:, 1].sum())
    total = 0
    for begin, length in buffers.tolist():
        if length > 0:
            (size,) = struct.unpack_from("<q", data, begin)
            total += length if size == _NOT_COMPRESSED else size
            if size < _NOT_COMPRESSED ...
    return rows, total


def _field(meta: pa.Buffer, table: int, index: int) -> int:
    """Return where the field of a Flatbuffers table is, 0 if it is absent."""
    (back,) = struct.unpack_from("<i", meta, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", meta, vtable)
    slot = 4 + 2 * index
    if slot >= size:
        return 0
    (offset,) = struct.unpack_from("<H", meta, vtable + slot)
    return table + offset if offset else 0


def _table(meta: pa.Buffer, table: int, index: int) -> int:
    """Return where the table is that a field of a table refers to."""
    at = _field(meta, table, index)
    if not at: raise 
    (offset,) = struct.unpack_from("<I", meta, at)
    return at + offset
