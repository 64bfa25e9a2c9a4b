"""The two lanes of NDJSON against each other and against the standard library."""

from __future__ import annotations

import json

import orjson
import pyarrow as pa
import pytest
from decode_oracle import Bad, read_line, rows_of
from hypothesis import given
from hypothesis import strategies as st

from collectors.intake import ndjson
from collectors.intake.decoded import Decoded
from collectors.intake.ndjson import decode_ndjson
from collectors.intake.strict import Lines, decode_strict
from collectors.model.event_type import EVENT_ID, EventType
from collectors.model.event_types import APP_EVENT, AUTH, LABEL, LOG, PAYMENT, PLAYBACK, PREDICTION, RECOMMENDATION

PLAY = b'{"track_id":"t-1","ms_played":5}'
TYPES = [PLAYBACK, RECOMMENDATION, PREDICTION, AUTH, LOG, LABEL, PAYMENT, APP_EVENT]
TEXT = st.text(max_size=6) | st.sampled_from(["", "é", "😀", '"', "\\", "\0", "{}", "}\n{", "a,b"])
NUMBERS = (
    st.integers() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**80), 2**80)
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-06-01T12:00:00.25+02:00",
        "2026-06-01T12:00:00",
        "2026-01-01",
        "2026-02-30T00:00:00Z",
        1767225600,
        1767225600123,
        1767225600123456,
        -1,
    ]
)


def fitting(kind: pa.DataType):
    if pa.types.is_map(kind):
        return st.dictionaries(TEXT, st.none() | fitting(kind.item_type), max_size=3)
    if pa.types.is_list(kind):
        return st.lists(st.none() | fitting(kind.value_type), max_size=3)
    if pa.types.is_timestamp(kind):
        return TIMES
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_integer(kind):
        return st.integers(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    if pa.types.is_floating(kind):
        return st.floats(allow_nan=False, allow_infinity=False)
    return TEXT


@st.composite
def rows(draw, event_type: EventType, *, plain: bool):
    """Draw objects of an event type; those that are not plain have all sorts of flaws."""
    row = {}
    for field in draw(st.lists(st.sampled_from(event_type.columns), unique=True, max_size=6)):
        if field.name != "properties":
            row[field.name] = draw(fitting(field.type))
        elif not plain:
            row[field.name] = draw(st.dictionaries(TEXT, JSON_VALUES, max_size=2))
    if not plain:
        row |= draw(
            st.dictionaries(st.sampled_from(["extra", "_a", "a", *event_type.by_name]), JSON_VALUES, max_size=1)
        )
    return row


@st.composite
def bodies(draw, *, plain: bool):
    event_type = draw(st.sampled_from(TYPES))
    made = draw(st.lists(rows(event_type, plain=plain), min_size=1, max_size=6))
    ascii_only = draw(st.booleans())
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    lines = [json.dumps(row, ensure_ascii=ascii_only, separators=separators).encode() for row in made]
    if not plain:
        odd = [b"", b" ", b"null", b"1", b"{", PLAY + b"\r", b"\xef\xbb\xbf{}", b'{"a":NaN}', b"{}{}", b'{"a":"\xff"}']
        for line in draw(st.lists(st.sampled_from(odd), max_size=2)):
            lines.insert(draw(st.integers(0, len(lines))), line)
    return event_type, b"\n".join(lines) + draw(st.sampled_from([b"", b"\n"]))


def assert_as_the_oracle_says(decoded: Decoded, body: bytes, event_type: EventType) -> None:
    expected, bad = {}, {}
    for number, line in enumerate(body.split(b"\n")):
        try:
            row = read_line(line, event_type)
        except Bad as fault:
            bad[number] = str(fault)
        else:
            if row is not None:
                expected[number] = row
    assert {b.row: b.code for b in decoded.bad} == bad
    assert rows_of(decoded) == expected
    assert decoded.rows_offered == len(expected) + len(bad)
    decoded.table.validate(full=True)


@given(bodies(plain=False))
def test_each_line_becomes_what_the_standard_library_makes_of_it(drawn) -> None:
    event_type, body = drawn
    assert_as_the_oracle_says(decode_ndjson(body, event_type), body, event_type)


@given(bodies(plain=True))
def test_plain_bodies_become_the_same_in_both_lanes(drawn) -> None:
    event_type, body = drawn
    tolerant = decode_ndjson(body, event_type)
    assert_as_the_oracle_says(tolerant, body, event_type)
    strict = decode_strict(Lines.of(body), event_type)
    if strict is not None:
        assert_same(strict, tolerant)


@given(bodies(plain=False) | bodies(plain=True), st.data())
def test_the_strict_lane_declines_or_agrees_whatever_was_done_to_the_body(drawn, data) -> None:
    event_type, body = drawn
    mutated = bytearray(body)
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=3)) if body else []:
        mutated[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"{", b"}", b"\n", b'"', b",", b"}{", b"}\n{", b"null", b"\xff", b"0", b"\\", b" "])
        )
    body = bytes(mutated)
    strict = decode_strict(Lines.of(body), event_type) if body else None
    if strict is not None:
        assert_same(strict, decode_ndjson(body, event_type))


def assert_same(left: Decoded, right: Decoded) -> None:
    assert left.table.schema == right.table.schema
    assert left.table.to_pylist() == right.table.to_pylist()
    assert left.bad == right.bad
    assert left.rows_offered == right.rows_offered
    numbers = [None if d.row_numbers is None else d.row_numbers.tolist() for d in (left, right)]
    assert numbers[0] == numbers[1]


def plays(count: int, **members: object) -> list[bytes]:
    return [orjson.dumps({"track_id": f"t-{i}", "ms_played": i, **members}) for i in range(count)]


def test_long_plain_bodies_are_read_by_the_strict_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "parse_lines", lambda *_: pytest.fail("the tolerant lane was used"))
    lines = plays(2000, event_time="2026-01-01T00:00:00Z", country="SE", skipped=False)
    decoded = decode_ndjson(b"\n".join(lines), PLAYBACK)
    assert decoded.table.column("ms_played").to_pylist() == list(range(2000))
    assert decoded.row_numbers is None
    lines[700] = orjson.dumps({"track_id": "t", "event_time": "not a time"})
    lines[1234] = orjson.dumps({"track_id": "t", "platform": "ios"})  # a member the sample has not seen
    decoded = decode_ndjson(b"\n".join(lines) + b"\n", PLAYBACK)
    assert [(b.row, b.code, b.raw) for b in decoded.bad] == [(700, "wrong_type:event_time", lines[700])]
    assert decoded.row_numbers is not None
    assert decoded.row_numbers.tolist() == [i for i in range(2000) if i != 700]
    assert decoded.table.column("platform")[1233].as_py() == "ios"
    numbers = decode_ndjson(b"\n".join(plays(2000, event_time=1767225600)), PLAYBACK)
    assert numbers.table.column("event_time").cast(pa.int64())[5].as_py() == 1_767_225_600_000_000


@pytest.mark.parametrize(
    "line",
    [
        b'{"track_id":"t","unknown":1}',
        b'{"track_id":"t","properties":{}}',
        b'{"track_id":1}',
        b'{"track_id":"t"}{"track_id":"t"}',
        b'{"track_id":"t"} ',
        b" {}",
        b"",
        b"null",
        b'{"track_id":"\xff"}',
        b'{"ms_played":1.0}',
        b"{",
    ],
)
@pytest.mark.parametrize("at", [0, 1001, 1998])
def test_a_line_that_is_not_plain_sends_a_long_body_to_the_tolerant_lane(line: bytes, at: int) -> None:
    lines = plays(2000)
    lines[at] = line
    body = b"\n".join(lines)
    assert decode_strict(Lines.of(body), PLAYBACK) is None
    assert_as_the_oracle_says(decode_ndjson(body, PLAYBACK), body, PLAYBACK)


@pytest.mark.parametrize(
    ("name", "event_type"), [("value", LABEL), ("latitude", AUTH), ("propensities", RECOMMENDATION)]
)
@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_the_strict_lane_does_not_take_what_arrow_calls_a_number(
    name: str, event_type: EventType, literal: bytes
) -> None:
    value = b"[%s]" % literal if name == "propensities" else literal
    fine = b"[0.5]" if name == "propensities" else b"0.5"
    lines = [b'{"%s":%s}' % (name.encode(), fine)] * 3000
    assert decode_strict(Lines.of(b"\n".join(lines)), event_type) is not None
    lines[7] = b'{"%s":%s}' % (name.encode(), value)
    body = b"\n".join(lines)
    assert decode_strict(Lines.of(body), event_type) is None
    assert decode_ndjson(body, event_type).bad[0].code == "not_json"


def test_maps_are_left_to_the_tolerant_lane() -> None:
    body = b"\n".join([b'{"model":"m","features":{"a":1}}'] * 2000)
    assert decode_strict(Lines.of(body), PREDICTION) is None
    assert decode_ndjson(body, PREDICTION).table.column("features")[1999].as_py() == [("a", 1.0)]


def test_a_body_beyond_what_arrow_can_count_is_left_to_the_tolerant_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.intake.strict.MAX_BYTES", 10)
    assert decode_strict(Lines.of(PLAY), PLAYBACK) is None


def test_event_ids_are_text_even_where_none_was_sent() -> None:
    for body in (PLAY, b"\n".join(plays(2000))):
        assert decode_ndjson(body, PLAYBACK).table.schema.field("event_id").type == pa.string()
    assert PLAYBACK.wire_schema.field("event_id").type == EVENT_ID


def test_lines_that_name_another_type_are_not_read_as_this_one() -> None:
    lines = [b'{"type":"label","value":1}'] * 3
    assert decode_strict(Lines.of(b"\n".join(lines)), LABEL, type_member="type") is not None
    for other in (b'{"type":"payment","value":1}', b'{"value":1}', b'{"type":null,"value":1}'):
        assert decode_strict(Lines.of(b"\n".join([*lines, other])), LABEL, type_member="type") is None
