"""NDJSON and JSON bodies: what each line is worth, in both lanes."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pyarrow as pa
import pytest

from collectors.intake.decoded import Decoded, Limits
from collectors.intake.ndjson import decode_ndjson
from collectors.intake.rows import decode_rows
from collectors.model.event_type import EventType
from collectors.model.event_types import (
    EVENT_TYPES,
    LABEL,
    LOG,
    PAYMENT,
    PLAYBACK,
    PREDICTION,
    RECOMMENDATION,
)

PLAY = b'{"track_id":"t-1","ms_played":5}'


def one(line: bytes, event_type: EventType = PLAYBACK) -> Decoded:
    decoded = decode_ndjson(line, event_type)
    assert decoded.rows_offered == 1
    return decoded


def value(line: bytes, name: str, event_type: EventType = PLAYBACK) -> object:
    decoded = one(line, event_type)
    assert decoded.bad == ()
    return decoded.table.column(name)[0].as_py()


def code(line: bytes, event_type: EventType = PLAYBACK) -> str:
    (bad,) = one(line, event_type).bad
    assert bad.row == 0
    assert bad.raw == line
    return bad.code


# ---- the shape of the result


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_every_event_types_example_is_decoded_to_its_wire_schema(event_type: EventType) -> None:
    line = orjson.dumps(event_type.example)
    for body in (line, line * 1 + b"\n", b"\n".join([line] * 300)):
        decoded = decode_ndjson(body, event_type)
        assert decoded.bad == ()
        assert decoded.row_numbers is None
        assert decoded.table.schema.names == event_type.wire_schema.names
        assert decoded.table.schema.types[1:] == event_type.wire_schema.types[1:]
        assert decoded.table.schema.types[0] == pa.string()
        decoded.table.validate(full=True)
        row = decoded.table.slice(0, 1).to_pylist()[0]
        given = {k: v for k, v in row.items() if v is not None}
        expected = dict(event_type.example)
        if "features" in expected:
            expected["features"] = list(expected["features"].items())
        assert given == expected


def test_an_empty_body_has_no_rows() -> None:
    for body in (b"", b"\n", b"\n \r\n\t\n"):
        decoded = decode_ndjson(body, PLAYBACK)
        assert (decoded.table.num_rows, decoded.bad, decoded.rows_offered) == (0, (), 0)
        assert decoded.table.schema.names == PLAYBACK.wire_schema.names


def test_a_bad_line_costs_only_itself_and_rows_keep_their_line_numbers() -> None:
    body = b"\n".join([PLAY, b"", b"{broken", PLAY, b"[]", b'{"track_id":7}', PLAY, b"  "])
    decoded = decode_ndjson(body, PLAYBACK)
    assert [(b.row, b.code, b.raw) for b in decoded.bad] == [
        (2, "not_json", b"{broken"),
        (4, "not_object", b"[]"),
        (5, "wrong_type:track_id", b'{"track_id":7}'),
    ]
    assert decoded.row_numbers is not None
    assert decoded.row_numbers.tolist() == [0, 3, 6]
    assert decoded.rows_offered == 6
    assert decoded.table.column("ms_played").to_pylist() == [5, 5, 5]


def test_messages_name_the_field_and_what_it_wants_but_no_value() -> None:
    for name, wrong, wants in [
        ("user_id", 42424242, "text"),
        ("ms_played", "42424242", "a whole number of 32 bits"),
        ("skipped", "42424242", "true or false"),
        ("event_time", "42424242", "a time"),
        ("properties", ["42424242"], "a JSON object"),
    ]:
        (bad,) = one(orjson.dumps({name: wrong})).bad
        assert name in bad.message
        assert wants in bad.message
        assert "42424242" not in bad.message
    (bad,) = one(b'{"user_id":"42424242', PLAYBACK).bad
    assert "42424242" not in bad.message
    for line, wants in [(b'{"items":[1]}', "an array"), (b'{"propensities":["x"]}', "a number")]:
        (bad,) = one(line, RECOMMENDATION).bad
        assert wants in bad.message
    (bad,) = one(b'{"features":{"a":"x"}}', PREDICTION).bad
    assert "an object of which each member is a number" in bad.message
    (bad,) = one(b'{"attributes":1}', LOG).bad
    assert "text, or a JSON object" in bad.message
    assert one(b'{"latency_us":1.5}', PREDICTION).bad[0].message.endswith("a whole number of 64 bits")


# ---- what is JSON


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"track_id":"t"}}',
        b'{"track_id":"t"}{"track_id":"t"}',
        b'{"track_id":"t",}',
        b"{'track_id':'t'}",
        b'{"track_id":"t" /* no */}',
        b'{"score":NaN}',
        b'{"score":Infinity}',
        b'{"score":-Infinity}',
        b'{"score":1e400}',
        b'{"score":01}',
        b'{"score":+1}',
        b'{"score":.5}',
        b'{"track_id":"\xff"}',
        b'{"track_id":"\xed\xa0\x80"}',
        b'{"track_id":"\\ud800"}',
        b'{"track_id":"\\udc00"}',
        b'{"track_id":"\\x41"}',
        b'{"track_id":"a\x00b"}',
        b'{"track_id":"a\tb"}',
        b"\x00",
        b"nothing",
        b'"',
        b"\x0c" + PLAY,
    ],
)
def test_what_is_not_strict_json_is_refused(line: bytes) -> None:
    assert code(line) == "not_json"


@pytest.mark.parametrize("line", [b"null", b"1", b'"text"', b"[]", b"true", b"[{}]"])
def test_json_that_is_no_object_is_refused(line: bytes) -> None:
    assert code(line) == "not_object"


def test_the_last_of_equal_members_wins() -> None:
    assert value(b'{"track_id":"a","track_id":"b"}', "track_id") == "b"
    assert value(b'{"track_id":1,"track_id":"b"}', "track_id") == "b"
    assert value(b'{"x":1,"x":2}', "properties") == '{"x":2}'


def test_escapes_in_members_and_names_are_undone() -> None:
    assert value(b'{"track_id":"\\ud83d\\ude00\\u0000\\n\\/"}', "track_id") == "😀\0\n/"
    assert value(b'{"track\\u005fid":"t"}', "track_id") == "t"


def test_line_ends_of_windows_and_byte_order_marks_are_skipped() -> None:
    body = b"\xef\xbb\xbf" + PLAY + b"\r\n" + PLAY + b"\r\n\r\n"
    decoded = decode_ndjson(body, PLAYBACK)
    assert (decoded.table.num_rows, decoded.bad, decoded.rows_offered) == (2, (), 2)


def test_carriage_returns_between_members_are_whitespace() -> None:
    assert value(b'{"track_id":"t",\r"ms_played":1}', "ms_played") == 1


def test_an_empty_object_is_a_row_of_nulls() -> None:
    assert set(one(b"{}").table.to_pylist()[0].values()) == {None}


# ---- values by type


@pytest.mark.parametrize(("text", "number"), [(b"12", 12), (b"12.0", 12), (b"1.2e1", 12), (b"-0", 0), (b"null", None)])
def test_a_whole_number_may_be_written_with_a_fraction_of_zero(text: bytes, number: int | None) -> None:
    assert value(b'{"ms_played":' + text + b"}", "ms_played") == number


@pytest.mark.parametrize(
    "text", [b"1.5", b'"12"', b"true", b"2147483648", b"-2147483649", b"1e10", b"[]", b"{}", b"123456789012345678901"]
)
def test_what_is_no_whole_number_of_32_bits_is_refused(text: bytes) -> None:
    assert code(b'{"ms_played":' + text + b"}") == "wrong_type:ms_played"


@pytest.mark.parametrize("text", [b"9223372036854775808", b"1e19", b"-9223372036854775809", b"1" * 300])
def test_numbers_beyond_64_bits_are_refused_where_whole_numbers_are_wanted(text: bytes) -> None:
    assert code(b'{"amount_minor":' + text + b"}", PAYMENT) == "wrong_type:amount_minor"


def test_the_extremes_of_64_bits_are_kept() -> None:
    for number in (2**63 - 1, -(2**63)):
        assert value(b'{"amount_minor":%d}' % number, "amount_minor", PAYMENT) == number


@pytest.mark.parametrize(
    "text", [b"0.1", b"1", b"-0.0", b"1e-400", b"9007199254740993", b"123456789012345678901234567890", b"1e308"]
)
def test_a_number_is_the_nearest_float(text: bytes) -> None:
    got = value(b'{"value":' + text + b"}", "value", LABEL)
    assert np.float64(got).tobytes() == np.float64(text.decode()).tobytes()


@pytest.mark.parametrize("text", [b'"1"', b"true", b"[1]", b"{}"])
def test_what_is_no_number_is_refused(text: bytes) -> None:
    assert code(b'{"value":' + text + b"}", LABEL) == "wrong_type:value"


def test_an_integer_beyond_floats_is_refused() -> None:
    assert value(b'{"value":1' + b"0" * 308 + b"}", "value", LABEL) == 1e308
    assert code(b'{"value":1' + b"0" * 309 + b"}", LABEL) == "not_json"


@pytest.mark.parametrize("text", [b"1", b'"true"', b"[]"])
def test_truth_values_are_true_and_false_only(text: bytes) -> None:
    assert code(b'{"skipped":' + text + b"}") == "wrong_type:skipped"
    assert value(b'{"skipped":true}', "skipped") is True


@pytest.mark.parametrize("text", [b"1", b"true", b"[]", b"{}", b"1.5"])
def test_text_is_strings_only(text: bytes) -> None:
    assert code(b'{"track_id":' + text + b"}") == "wrong_type:track_id"
    assert code(b'{"event_id":' + text + b"}") == "wrong_type:event_id"


def test_lists_and_maps_keep_nulls_among_their_elements() -> None:
    assert value(b'{"items":["a",null,""]}', "items", RECOMMENDATION) == ["a", None, ""]
    assert value(b'{"propensities":[1,0.5,null]}', "propensities", RECOMMENDATION) == [1.0, 0.5, None]
    assert value(b'{"items":[]}', "items", RECOMMENDATION) == []
    assert value(b'{"features":{"a":1,"b":null,"c":-0.5}}', "features", PREDICTION) == [
        ("a", 1.0),
        ("b", None),
        ("c", -0.5),
    ]


@pytest.mark.parametrize("text", [b'"ab"', b"[1]", b'["a",[]]', b'{"a":"b"}', b"[true]"])
def test_lists_of_something_else_are_refused(text: bytes) -> None:
    assert code(b'{"items":' + text + b"}", RECOMMENDATION) == "wrong_type:items"


@pytest.mark.parametrize("text", [b"[]", b'{"a":"1"}', b'{"a":true}', b'{"a":{}}', b"1"])
def test_maps_of_something_else_are_refused(text: bytes) -> None:
    assert code(b'{"features":' + text + b"}", PREDICTION) == "wrong_type:features"


@pytest.mark.parametrize(
    "text",
    [
        b'"2026-01-01T00:00:00Z"',
        b'"2026-01-01T01:00:00.000000000+01:00"',
        b"1767225600",
        b"1767225600000",
        b"1767225600000000",
        b"1767225600000000000",
        b"1767225600.0",
    ],
)
def test_times_come_as_text_or_numbers(text: bytes) -> None:
    decoded = one(b'{"event_time":' + text + b"}")
    assert decoded.table.column("event_time").cast(pa.int64()).to_pylist() == [1_767_225_600_000_000]


def test_many_numbers_are_read_as_times_like_a_few() -> None:
    numbers = [1767225600 + i for i in range(50)] + [1767225600000 + i for i in range(50)]
    body = b"\n".join(b'{"event_time":%d}' % n for n in numbers)
    times = decode_ndjson(body, PLAYBACK).table.column("event_time").cast(pa.int64()).to_pylist()
    assert times == [n * 10**6 if n < 10**11 else n * 10**3 for n in numbers]
    late = decode_ndjson(body + b'\n{"event_time":99999999999999999999}', PLAYBACK)
    assert late.table.column("event_time").cast(pa.int64()).to_pylist() == times
    assert [(b.row, b.code) for b in late.bad] == [(100, "wrong_type:event_time")]


@pytest.mark.parametrize("text", [b'"yesterday"', b"true", b"[]", b"1e300", b"99999999999999999999"])
def test_what_is_no_time_is_refused(text: bytes) -> None:
    assert code(b'{"event_time":' + text + b"}") == "wrong_type:event_time"


def test_one_number_that_does_not_fit_leaves_the_other_columns_as_they_are() -> None:
    body = (
        b'{"ms_played":2147483648}\n{"ms_played":5,"event_time":"2026-01-01T00:00:00Z","track_id":"t","skipped":true}'
    )
    decoded = decode_ndjson(body, PLAYBACK)
    assert [b.code for b in decoded.bad] == ["wrong_type:ms_played"]
    (row,) = decoded.table.select(["ms_played", "track_id", "skipped"]).to_pylist()
    assert row == {"ms_played": 5, "track_id": "t", "skipped": True}
    assert decoded.table.column("event_time").cast(pa.int64()).to_pylist() == [1_767_225_600_000_000]


def test_objects_that_are_no_json_are_held_to_the_same_rules() -> None:
    decoded = decode_rows(LABEL, [{"value": 10**400}, {"value": 10**20}], Limits())
    assert [b.code for b in decoded.bad] == ["wrong_type:value"]
    assert decoded.bad[0].raw == b'{"value":1' + b"0" * 400 + b"}"
    assert decoded.table.column("value").to_pylist() == [1e20]


# ---- properties


def test_unknown_members_are_added_to_properties_and_overwrite_nothing() -> None:
    line = b'{"a":1,"properties":{"a":2,"_a":3,"b":null},"c":[1.5,{"d":"\xc3\xa9"}],"e":null}'
    got = value(line, "properties")
    assert got == '{"a":2,"_a":3,"b":null,"__a":1,"c":[1.5,{"d":"é"}],"e":null}'


def test_properties_are_kept_as_compact_text() -> None:
    assert value(b'{"properties": { "a" : [ 1 , 2.50 ] } }', "properties") == '{"a":[1,2.5]}'
    assert value(b'{"properties":{}}', "properties") == "{}"
    assert value(b'{"properties":null}', "properties") is None
    assert value(b'{"properties":"{\\"a\\": 1}","b":2}', "properties") == '{"a":1,"b":2}'


@pytest.mark.parametrize("text", [b"1", b"[]", b'"text"', b'"[]"', b'"null"', b"true"])
def test_properties_that_are_no_object_are_refused(text: bytes) -> None:
    assert code(b'{"properties":' + text + b"}") == "wrong_type:properties"
    assert code(b'{"x":1,"properties":' + text + b"}") == "wrong_type:properties"


def test_integers_of_any_length_keep_every_digit_in_properties() -> None:
    number = 123456789012345678901234567890123456789
    got = value(b'{"n":%d,"properties":{"m":[%d]},"f":0.1}' % (number, -number), "properties")
    assert json.loads(got) == {"m": [-number], "n": number, "f": 0.1}
    body = b'{"n":%d}\n{"a":"b"}\n{}' % number
    assert decode_ndjson(body, PLAYBACK).table.column("properties").to_pylist() == [
        f'{{"n":{number}}}',
        '{"a":"b"}',
        None,
    ]


def test_attributes_of_logs_may_be_an_object_or_text() -> None:
    assert value(b'{"attributes":{"a": 1}}', "attributes", LOG) == '{"a":1}'
    assert value(b'{"attributes":"a"}', "attributes", LOG) == "a"
    both = decode_ndjson(b'{"attributes":{"a":1}}\n{"attributes":"a"}\n{}', LOG)
    assert both.table.column("attributes").to_pylist() == ['{"a":1}', "a", None]
    assert code(b'{"attributes":[1]}', LOG) == "wrong_type:attributes"
    assert code(b'{"attributes":' + b'{"a":' * 33 + b"1" + b"}" * 33 + b"}", LOG) == "wrong_type:attributes"


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_properties_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    assert value(b'{"properties":' + nested(32) + b"}", "properties") == nested(32).decode()
    assert code(b'{"properties":' + nested(33) + b"}") == "too_deep"
    assert code(b'{"x":' + b"[" * 32 + b"]" * 32 + b"}") == "too_deep"
    wide = b'{"properties":{"a":[' + b",".join([b"{}"] * 100) + b"]}}"
    assert value(wide, "properties") == '{"a":[' + ",".join(["{}"] * 100) + "]}"
    limits = Limits(max_depth=2)
    assert decode_ndjson(b'{"a":{"b":{}}}', PLAYBACK, limits).bad[0].code == "too_deep"
    assert decode_ndjson(b'{"a":{"b":1}}', PLAYBACK, limits).bad == ()


@pytest.mark.parametrize("levels", [254, 255, 999, 1025, 100_000])
def test_deep_nesting_is_refused_however_deep(levels: int) -> None:
    for line in (nested(levels), b"[" * levels, b'{"a":' + b"[" * levels + b"]" * levels + b"}"):
        assert code(line) in ({"too_deep", "not_json"} if line.startswith(b"[") else {"too_deep"})
    assert code(b"[" * levels) == "too_deep"
    long_integer = b'{"n":12345678901234567890,"a":' + b"[" * levels + b"]" * levels + b"}"
    assert code(long_integer) == "too_deep"


def test_brackets_inside_strings_do_not_nest() -> None:
    assert code(b'{"a":"' + b"[" * 100) == "not_json"
    assert code(b'{"a":"\\"' + b"[" * 100 + b'"') == "not_json"


def test_a_very_long_line_is_just_a_line() -> None:
    text = "x" * 10_000_000
    assert value(b'{"track_id":"%s"}' % text.encode(), "track_id") == text
    assert code(b'{"track_id":"%s' % text.encode()) == "not_json"
