"""Content encodings, and what compressed bodies may not do."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import BadInput, MalformedBody, TooLarge
from collectors.intake.body import decompress

TEXT = b'{"track_id":"t-1"}\n' * 10_000


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_an_unencoded_body_is_returned_as_it_is(encoding: str) -> None:
    assert decompress(TEXT, encoding) is TEXT


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("zstd", zstd)])
def test_a_compressed_body_is_decompressed(encoding: str, encode) -> None:
    assert decompress(encode(TEXT), encoding) == TEXT


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_compressed_members_may_follow_one_another(encoding: str, encode) -> None:
    assert decompress(encode(TEXT) + encode(b"") + encode(b"more"), encoding) == TEXT + b"more"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_an_empty_body_is_empty_whatever_its_encoding(encoding: str) -> None:
    assert decompress(b"", encoding) == b""


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(BadInput, match="gzip, zstd or identity"):
        decompress(TEXT, "br")


@pytest.mark.parametrize("encode", [bytes, gzip.compress, zstd])
def test_a_body_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not(encode) -> None:
    encoding = {bytes: "", gzip.compress: "gzip", zstd: "zstd"}[encode]
    assert decompress(encode(TEXT), encoding, len(TEXT)) == TEXT
    with pytest.raises(TooLarge, match=str(len(TEXT) - 1)):
        decompress(encode(TEXT), encoding, len(TEXT) - 1)


def test_a_gzip_bomb_is_not_decompressed_beyond_the_limit() -> None:
    deflate = zlib.compressobj(9, wbits=31)
    bomb = b"".join(deflate.compress(b"\0" * 2**20) for _ in range(200)) + deflate.flush()
    assert len(bomb) < 2**18
    before = pa.total_allocated_bytes()
    with pytest.raises(TooLarge):
        decompress(bomb, "gzip", 2**16)
    assert pa.total_allocated_bytes() == before


def test_a_zstd_bomb_is_not_decompressed_beyond_the_limit() -> None:
    bomb = zstd(b"\0" * 2**26)
    assert len(bomb) < 2**13
    with pytest.raises(TooLarge):
        decompress(bomb, "zstd", 2**16)


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_stream_cut_short_is_malformed_and_says_where(encoding: str, encode) -> None:
    body = encode(TEXT)
    for length in (1, len(body) // 2, len(body) - 1):
        with pytest.raises(MalformedBody) as caught:
            decompress(body[:length], encoding)
        assert str(length) in caught.value.position


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_garbage_is_malformed_and_says_where(encoding: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        decompress(b"this is not compressed", encoding)
    assert caught.value.position


def test_garbage_after_a_gzip_member_is_malformed() -> None:
    body = gzip.compress(TEXT)
    with pytest.raises(MalformedBody, match=f"bytes {len(body)} to"):
        decompress(body + b"garbage", "gzip")


def test_a_body_of_many_pieces_is_decompressed() -> None:
    noise = b"".join(i.to_bytes(4, "big") + zlib.crc32(i.to_bytes(4, "big")).to_bytes(4, "big") for i in range(50_000))
    assert decompress(gzip.compress(noise), "gzip") == noise


@given(st.binary(max_size=4000), st.integers(1, 9))
def test_gzip_round_trips(data: bytes, level: int) -> None:
    assert decompress(gzip.compress(data, level), "gzip") == data


@given(st.data())
def test_a_damaged_stream_is_decoded_or_refused_but_never_anything_else(data) -> None:
    encode, encoding = data.draw(st.sampled_from([(gzip.compress, "gzip"), (zstd, "zstd")]))
    body = bytearray(encode(TEXT[:2000]))
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedBody, TooLarge):
        decompress(bytes(body), encoding, 10_000)
