"""The content of a request body: undo its content encoding, within a limit on what comes out.

A few compressed kilobytes can stand for gigabytes, so nothing is decompressed beyond the limit, whatever sizes the
stream declares.
"""

from __future__ import annotations

import zlib

import pyarrow as pa

from collectors.errors import BadInput, MalformedBody, TooLarge

MAX_BODY_BYTES = 64 * 1024 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_PIECE_IN = 64 * 1024
_PIECE_OUT = 1024 * 1024


def decompress(body: bytes, encoding: str = "", max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return ``body`` without its content encoding: ``gzip``, ``zstd``, ``identity`` or none.

    Raises TooLarge if that has more than ``max_bytes``, MalformedBody if the compressed stream is broken or cut short,
    BadInput for another encoding.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"} or not body:
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    if name in {"gzip", "x-gzip"}:
        return _gunzip(body, max_bytes)
    if name == "zstd":
        return _unzstd(body, max_bytes)
    raise BadInput("the content encoding is not supported; send the body as gzip, zstd or identity")


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """Decompress gzip members, of which there may be several (RFC 1952, section 2.2)."""
    parts: list[bytes] = []
    size = 0
    rest = memoryview(body)
    while rest:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = rest[:_PIECE_IN]
            if not piece:
                raise MalformedBody("the gzip stream is cut short", position=f"byte {len(body)}")
            try:
                parts.append(member.decompress(piece, max_bytes + 1 - size))
            except zlib.error:
                place = f"bytes {len(body) - len(rest)} to {len(body) - len(rest) + len(piece)}"
                raise MalformedBody("the gzip stream is broken", position=place) from None
            rest = rest[len(piece) - len(member.unconsumed_tail) - len(member.unused_data) :]
            size += len(parts[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
    return b"".join(parts)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    """Decompress zstd frames, of which there may be several (RFC 8878, section 3)."""
    parts: list[bytes] = []
    size = 0
    source = pa.BufferReader(body)
    stream = pa.CompressedInputStream(source, "zstd")
    try:
        while part := stream.read(min(_PIECE_OUT, max_bytes + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
    except OSError:
        place = f"byte {source.tell()} or before"
        raise MalformedBody("the zstd stream is broken or cut short", position=place) from None
    return b"".join(parts)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body has more than {max_bytes} bytes; send it in parts")
