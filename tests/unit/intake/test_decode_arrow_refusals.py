"""Arrow IPC bodies that are broken, or claim more than they may."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from arrow_bodies import body, stream, wire_batch

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.decode import decode_arrow
from collectors.intake.decoded import Limits
from collectors.model.event_types import PLAYBACK


def malformed(data: bytes, limits: Limits | None = None) -> MalformedBody:
    with pytest.raises(MalformedBody) as caught:
        decode_arrow(data, PLAYBACK, limits or Limits())
    return caught.value


def test_a_body_cut_short_is_malformed_and_says_where() -> None:
    data = stream(wire_batch(PLAYBACK), "lz4")
    for length in (3, 10, 300, len(data) - 20):
        assert malformed(data[:length]).position.startswith("byte ")
    assert int(malformed(data[:10]).position.removeprefix("byte ")) == 0
    assert int(malformed(data[:-20]).position.removeprefix("byte ")) > 200


def test_a_stream_without_its_end_mark_is_accepted_as_the_format_says() -> None:
    assert decode_arrow(stream(wire_batch(PLAYBACK))[:-8], PLAYBACK).rows_offered == 5


@pytest.mark.parametrize(
    "data", [b"", b"ARROW1", b"ARROW1\0\0", b"\0" * 100, b"{}", b"\xff" * 64, PLAYBACK.name.encode()]
)
def test_what_is_no_arrow_is_malformed(data: bytes) -> None:
    malformed(data)


def test_bytes_after_the_end_of_a_stream_are_not_ignored() -> None:
    data = stream(wire_batch(PLAYBACK))
    assert malformed(data + data).position == f"byte {len(data)}"


def test_a_repeated_column_is_malformed() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["user_id", "user_id"])
    assert "same name" in str(malformed(stream(batch)))


def test_a_column_of_a_type_json_has_no_word_for_is_malformed() -> None:
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]]))
    malformed(body({"x": dictionary}))
    malformed(body({"user_id": dictionary}))
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    malformed(body({"x": union}))


def test_a_column_of_a_type_nobody_has_a_class_for_is_malformed() -> None:
    interval = body({"x": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    malformed(interval)
    malformed(body({"x": pa.array([None], pa.month_day_nano_interval()), "user_id": pa.array([1])}))


def test_names_that_are_not_utf8_are_malformed() -> None:
    plain = body({"abcdef": pa.array([1])})
    malformed(plain.replace(b"abcdef", b"abc\xffef"))
    inner = body({"x": pa.array([{"abcdef": 1}])})
    malformed(inner.replace(b"abcdef", b"abc\xffef"))


def test_text_that_is_not_utf8_is_malformed() -> None:
    for values in (["abcdef"], ["é", "abcdef"]):
        data = body({"track_id": pa.array(values)})
        assert decode_arrow(data, PLAYBACK).table.column("track_id").to_pylist() == values
        malformed(data.replace(b"abcdef", b"abc\xffef"))


def test_offsets_and_codes_out_of_range_are_malformed() -> None:
    for column, good, wrong in [
        (pa.array(["abcd", "efgh"]), struct.pack("<3i", 0, 4, 8), struct.pack("<3i", 0, 2**30, 8)),
        (pa.array(["abcd", "efgh"]), struct.pack("<3i", 0, 4, 8), struct.pack("<3i", 0, -4, 8)),
        (pa.array(["a", "b", "a"]).dictionary_encode(), struct.pack("<3i", 0, 1, 0), struct.pack("<3i", 0, 9, 0)),
    ]:
        data = body({"track_id": column})
        assert data.count(good) == 1
        malformed(data.replace(good, wrong))


def test_more_rows_than_the_limit_are_refused() -> None:
    batch = wire_batch(PLAYBACK)
    assert decode_arrow(stream(batch, times=2), PLAYBACK, Limits(max_rows=10)).rows_offered == 10
    with pytest.raises(TooLarge, match="9 rows"):
        decode_arrow(stream(batch, times=2), PLAYBACK, Limits(max_rows=9))


def test_rows_that_cost_no_bytes_count_as_well() -> None:
    with pytest.raises(TooLarge, match="rows"):
        decode_arrow(body({"user_id": pa.nulls(10**9)}), PLAYBACK)


def test_more_columns_than_the_limit_are_refused() -> None:
    with pytest.raises(TooLarge, match="3 columns"):
        decode_arrow(body({c: pa.array([1]) for c in "abcd"}), PLAYBACK, Limits(max_columns=3))


def test_more_batches_than_the_limit_are_refused() -> None:
    with pytest.raises(TooLarge, match="2 batches"):
        decode_arrow(stream(wire_batch(PLAYBACK), times=3), PLAYBACK, Limits(max_batches=2))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_decompression_bomb_is_refused_before_it_is_decompressed(compression: str) -> None:
    data = body({"track_id": pa.array(["x" * 50_000_000])}, compression=compression)
    assert len(data) < 250_000
    pool = pa.default_memory_pool()
    allowed = max(pool.max_memory(), pool.bytes_allocated() + 1_000_000)
    with pytest.raises(TooLarge, match="bytes of memory"):
        decode_arrow(data, PLAYBACK, Limits(max_decoded_bytes=10_000_000))
    assert pool.max_memory() <= allowed


def repeated_view(text: bytes, times: int) -> pa.Array:
    """Return a column of which every view refers to the same bytes."""
    view = struct.pack("<i4sii", len(text), text[:4], 0, 0)
    return pa.Array.from_buffers(pa.string_view(), times, [None, pa.py_buffer(view * times), pa.py_buffer(text)])


@pytest.mark.parametrize(
    "column",
    [
        pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 1000])),
        repeated_view(b"x" * 1000, 1000),
    ],
    ids=["dictionary", "views"],
)
@pytest.mark.parametrize("name", ["track_id", "x"])
def test_repeated_text_is_not_spelled_out_beyond_the_limit(column: pa.Array, name: str) -> None:
    assert decode_arrow(body({name: column}), PLAYBACK, Limits(max_decoded_bytes=2_000_000)).rows_offered == 1000
    with pytest.raises(TooLarge, match="bytes of memory"):
        decode_arrow(body({name: column}), PLAYBACK, Limits(max_decoded_bytes=500_000))


def test_too_many_values_in_unknown_columns_are_refused() -> None:
    columns = {c: pa.array([1] * 10) for c in "abc"}
    assert decode_arrow(body(columns), PLAYBACK, Limits(max_unknown_values=30)).rows_offered == 10
    with pytest.raises(TooLarge, match="29 values"):
        decode_arrow(body(columns), PLAYBACK, Limits(max_unknown_values=29))
