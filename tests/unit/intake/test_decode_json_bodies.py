"""Limits of line formats, joined bodies, and bodies that are JSON as a whole."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.decoded import Limits
from collectors.intake.ndjson import decode_json, decode_ndjson, join_bodies
from collectors.model.event_type import EventType, Field
from collectors.model.event_types import PLAYBACK

PLAY = b'{"track_id":"t-1","ms_played":5}'


def test_more_lines_than_the_limit_are_refused() -> None:
    limits = Limits(max_rows=3)
    assert decode_ndjson(b"\n".join([PLAY] * 3), PLAYBACK, limits).rows_offered == 3
    assert decode_ndjson(b"\n".join([PLAY] * 3) + b"\n", PLAYBACK, limits).rows_offered == 3
    for body in (b"\n".join([PLAY] * 4), b"\n" * 5, b"\n".join([PLAY] * 2000)):
        with pytest.raises(TooLarge, match="3 rows"):
            decode_ndjson(body, PLAYBACK, limits)


def test_joined_bodies_are_told_apart_by_the_numbers_of_their_first_lines() -> None:
    bodies = [PLAY, PLAY + b"\n" + PLAY + b"\r\n", b"", b'{"track_id"', b"\n" + PLAY]
    joined, firsts = join_bodies(bodies)
    decoded = decode_ndjson(joined, PLAYBACK)
    assert firsts == [0, 1, 3, 4, 5]
    assert decoded.row_numbers is not None
    assert decoded.row_numbers.tolist() == [0, 1, 2, 6]
    assert [b.row for b in decoded.bad] == [4]
    assert decoded.rows_offered == 5


def test_an_unfinished_body_does_not_swallow_the_next_one() -> None:
    joined, _ = join_bodies([b'{"track_id":"a', b'b"}', PLAY])
    decoded = decode_ndjson(joined, PLAYBACK)
    assert [b.code for b in decoded.bad] == ["not_json", "not_json"]
    assert decoded.table.num_rows == 1


# ---- JSON


def test_a_json_body_is_an_object_or_a_list_however_it_is_printed() -> None:
    for body in (PLAY, b"[" + PLAY + b"]", json.dumps([json.loads(PLAY)], indent=4).encode(), b"\xef\xbb\xbf" + PLAY):
        decoded = decode_json(body, PLAYBACK)
        assert (decoded.table.num_rows, decoded.bad, decoded.rows_offered) == (1, (), 1)
        assert decoded.table.column("ms_played").to_pylist() == [5]
    assert decode_json(b"[]", PLAYBACK).rows_offered == 0


def test_a_bad_element_of_a_list_costs_only_itself() -> None:
    decoded = decode_json(b'[1,{"track_id":"a"},{"track_id":1,"x":2},"s",{"track_id":"b"}]', PLAYBACK)
    assert [(b.row, b.code, b.raw) for b in decoded.bad] == [
        (0, "not_object", b"1"),
        (2, "wrong_type:track_id", b'{"track_id":1,"x":2}'),
        (3, "not_object", b'"s"'),
    ]
    assert decoded.row_numbers is not None
    assert decoded.row_numbers.tolist() == [1, 4]
    assert decoded.rows_offered == 5


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"1", b'"text"', b"null", b"\xff"])
def test_a_body_that_is_neither_object_nor_list_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        decode_json(body, PLAYBACK)


def test_a_malformed_body_says_where_it_breaks() -> None:
    with pytest.raises(MalformedBody) as caught:
        decode_json(b'[\n{"a":1},\n{"a":}\n]', PLAYBACK)
    assert caught.value.position.startswith("line 3, column")


def test_a_list_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge, match="2 rows"):
        decode_json(b"[{},{},{}]", PLAYBACK, Limits(max_rows=2))


def test_an_element_that_nests_too_deep_to_be_written_again_refuses_the_list() -> None:
    deep = b"[" * 1000 + b"]" * 1000
    with pytest.raises(TooLarge, match="flatter"):
        decode_json(b"[" + deep + b"]", PLAYBACK)
    assert decode_json(b"[" + b"[" * 300 + b"]" * 300 + b"]", PLAYBACK).bad[0].code == "not_object"


def test_integers_of_any_length_keep_every_digit_in_lists() -> None:
    decoded = decode_json(b'[{"n":123456789012345678901234567890},{"track_id":12345678901234567890123}]', PLAYBACK)
    assert decoded.table.column("properties").to_pylist() == ['{"n":123456789012345678901234567890}']
    assert decoded.bad[0].raw == b'{"track_id":12345678901234567890123}'


def test_two_event_types_of_one_name_do_not_share_their_columns() -> None:
    first = EventType("made_up", "One.", (Field("a", pa.string(), "A."),))
    second = EventType("made_up", "Another.", (Field("b", pa.int64(), "B."),))
    for event_type in (first, second, first):
        assert decode_ndjson(b"{}", event_type).table.schema.names == event_type.wire_schema.names
