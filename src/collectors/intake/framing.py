"""A look at the messages of an Arrow IPC stream before any of their buffers is believed.

A compressed buffer declares its decompressed size, and Arrow allocates what is declared; a record batch declares its
rows, and columns that need no buffers make them for free. So both are added up first, out of the messages' metadata
(Flatbuffers tables by ``Message.fbs`` of the Arrow columnar format, already verified by Arrow when a message is read).
"""

from __future__ import annotations

import struct

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
    return body.slice(len(FILE_MAGIC)) if memoryview(body)[: len(FILE_MAGIC)] == FILE_MAGIC else body


def check_stream(body: pa.Buffer, limits: Limits) -> None:
    """Raise MalformedBody if ``body`` is no whole IPC stream or file, TooLarge if it claims more than ``limits``."""
    stream = stream_of(body)
    source = pa.BufferReader(stream)
    start = position = len(body) - len(stream)
    rows = size = batches = 0
    try:
        for message in pa.ipc.MessageReader.open_stream(source):
            if message.type != "schema":
                batch_rows, batch_size = _claims(message)
                rows = max(batch_rows, rows + batch_rows * (message.type == "record batch"))
                size += batch_size
                batches += 1
                _check_claims(rows, size, batches, limits)
            position = start + source.tell()
    except (pa.ArrowException, OSError, struct.error, ValueError) as error:
        raise malformed(position) from error
    if stream is body and source.tell() < len(body):
        raise MalformedBody("more bytes follow the end of the Arrow stream", position=f"byte {source.tell()}")


def _check_claims(rows: int, size: int, batches: int, limits: Limits) -> None:
    if rows > limits.max_rows:
        raise TooLarge(f"the body has more than {limits.max_rows} rows; send it in parts")
    if size > limits.max_decoded_bytes:
        raise TooLarge(f"the body takes more than {limits.max_decoded_bytes} bytes of memory; send it in parts")
    if batches > limits.max_batches:
        raise TooLarge(f"the body has more than {limits.max_batches} batches; send fewer, larger ones")


def malformed(position: int) -> MalformedBody:
    """Return the error of a stream that breaks in the message at byte ``position``."""
    return MalformedBody("the body is not an Arrow IPC stream", position=f"byte {position}")


def _claims(message: pa.ipc.Message) -> tuple[int, int]:
    """Return the rows and the decompressed bytes that a record batch or dictionary batch claims to have."""
    meta, body = message.metadata, message.body
    (root,) = struct.unpack_from("<I", meta)
    batch = _table(meta, root, _HEADER)
    if message.type == "dictionary":
        batch = _table(meta, batch, _DICTIONARY_DATA)
    at = _field(meta, batch, _ROWS)
    (rows,) = struct.unpack_from("<q", meta, at) if at else (0,)
    at = _table(meta, batch, _BUFFERS)
    (count,) = struct.unpack_from("<I", meta, at)
    places = struct.unpack_from(f"<{2 * count}q", meta, at + 4)
    compressed = _field(meta, batch, _COMPRESSION)
    size = 0
    for begin, length in zip(places[::2], places[1::2], strict=True):
        declared = length
        if compressed and length > 0:
            (declared,) = struct.unpack_from("<q", body, begin)
            declared = length if declared == _NOT_COMPRESSED else declared
        size += max(0, declared)
    return max(0, rows), size


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
    """Return where the table or vector is that a required field of a table refers to."""
    at = _field(meta, table, index)
    offset: int = struct.unpack_from("<I", meta, at)[0]
    return at + offset
