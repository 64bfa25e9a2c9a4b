"""CloudEvents in the three content modes of the HTTP binding."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import BadInput, MalformedBody, TooLarge
from collectors.intake.cloudevents import decode_cloudevents, is_cloudevents
from collectors.intake.decoded import DecodedMany, Limits

STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
EVENT = {
    "specversion": "1.0",
    "type": "com.example.playback",
    "source": "/players/7",
    "id": "A234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "data": {"track_id": "t-1", "ms_played": 1000},
}


def row(decoded: DecodedMany, event_type: str = "playback") -> dict[str, Any]:
    """Return the one row, without nulls, properties parsed."""
    assert decoded.bad == ()
    assert decoded.rows_offered == 1
    assert list(decoded.by_type) == [event_type]
    assert decoded.by_type[event_type].bad == ()
    (values,) = decoded.by_type[event_type].table.to_pylist()
    given = {name: value for name, value in values.items() if value is not None}
    if "properties" in given:
        given["properties"] = json.loads(given["properties"])
    return given


def structured(**changes: Any) -> DecodedMany:
    event = {name: value for name, value in {**EVENT, **changes}.items() if value is not ...}
    return decode_cloudevents(STRUCTURED, json.dumps(event).encode())


def binary(headers: dict[str, str], body: bytes = b"") -> DecodedMany:
    base = {"ce-specversion": "1.0", "ce-type": "playback", "ce-source": "/s", "ce-id": "1"}
    return decode_cloudevents({**base, **headers}, body)


# ---- structured mode


def test_attributes_become_envelope_fields_and_data_the_others() -> None:
    got = row(structured(subject="u-42"))
    assert got.pop("event_time").isoformat() == "2018-04-05T17:31:00+00:00"
    assert got == {
        "event_id": "/players/7#A234-1234-1234",
        "source": "/players/7",
        "user_id": "u-42",
        "track_id": "t-1",
        "ms_played": 1000,
        "properties": {"type": "com.example.playback"},
    }


def test_an_id_that_is_a_uuid_identifies_the_event_by_itself() -> None:
    for text in ("123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"):
        assert row(structured(id=text))["event_id"] == text


def test_equal_ids_of_different_sources_are_different_events() -> None:
    ids = {row(structured(source=source, id="1"))["event_id"] for source in ("/a", "/b")}
    assert len(ids) == 2


def test_a_type_may_be_the_name_itself() -> None:
    assert "properties" not in row(structured(type="playback"))


def test_fields_of_the_data_win_over_attributes_which_are_kept() -> None:
    data = {"user_id": "u-1", "event_time": "2020-01-01T00:00:00Z", "source": "app", "event_id": "e-1", "track_id": "t"}
    got = row(structured(type="playback", subject="u-42", data=data))
    assert got["user_id"] == "u-1"
    assert got["event_time"].year == 2020
    assert (got["source"], got["event_id"]) == ("app", "e-1")
    assert got["properties"] == {
        "subject": "u-42",
        "time": EVENT["time"],
        "source": "/players/7",
        "id": "/players/7#A234-1234-1234",
    }


def test_extensions_are_kept_in_properties_and_overwrite_nothing() -> None:
    data = {"track_id": "t", "unknown": 1, "properties": {"comexampleextension1": "mine"}}
    got = row(
        structured(type="playback", comexampleextension1="value", comexampleothervalue=5, country="SE", data=data)
    )
    assert "country" not in got
    assert got["properties"] == {
        "comexampleextension1": "mine",
        "_comexampleextension1": "value",
        "comexampleothervalue": 5,
        "country": "SE",
        "unknown": 1,
    }


def test_null_attributes_are_unset() -> None:
    got = row(structured(type="playback", subject=None, unsetextension=None, data=None))
    assert "user_id" not in got
    assert "properties" not in got


@pytest.mark.parametrize("media_type", ["application/json", "text/json; charset=utf-8", "application/vnd.x+json"])
def test_the_content_type_of_json_data_goes_without_saying(media_type: str) -> None:
    assert "properties" not in row(structured(type="playback", datacontenttype=media_type))


def test_data_that_is_no_object_is_kept_as_it_is() -> None:
    assert row(structured(type="playback", data="I'm just a string"))["properties"] == {"data": "I'm just a string"}
    assert row(structured(type="playback", data=[1, 2]))["properties"] == {"data": [1, 2]}
    xml = row(structured(type="playback", datacontenttype="application/xml", data='<much wow="xml"/>'))
    assert xml["properties"] == {"datacontenttype": "application/xml", "data": '<much wow="xml"/>'}
    odd = row(structured(type="playback", datacontenttype="application/xml", data={"track_id": "t"}))
    assert odd["properties"] == {"datacontenttype": "application/xml", "data": {"track_id": "t"}}


def test_binary_data_is_decoded_if_it_is_json_or_text_and_else_kept() -> None:
    def encoded(data: bytes, **changes: Any) -> dict[str, Any]:
        return row(structured(type="playback", data=..., data_base64=base64.b64encode(data).decode(), **changes))

    assert encoded(b'{"track_id":"t-9"}')["track_id"] == "t-9"
    assert encoded(b"plain", datacontenttype="text/plain")["properties"] == {
        "datacontenttype": "text/plain",
        "data": "plain",
    }
    thrift = "application/vnd.apache.thrift.binary"
    assert encoded(b"\xff\x00", datacontenttype=thrift)["properties"] == {
        "datacontenttype": thrift,
        "data_base64": "/wA=",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"specversion": ...}, "missing:specversion"),
        ({"specversion": "0.3"}, "wrong_specversion"),
        ({"specversion": 1.0}, "missing:specversion"),
        ({"id": ...}, "missing:id"),
        ({"id": ""}, "missing:id"),
        ({"id": None}, "missing:id"),
        ({"id": 7}, "missing:id"),
        ({"source": ...}, "missing:source"),
        ({"type": ...}, "missing:type"),
        ({"data_base64": "e30="}, "bad_data"),
        ({"data": ..., "data_base64": "!"}, "bad_data"),
        ({"data": ..., "data_base64": 7}, "bad_data"),
        ({"data": ..., "data_base64": "ew=="}, "not_json"),
        ({"type": "com.example.nothing"}, "unknown_type"),
    ],
)
def test_an_event_that_breaks_the_specification_is_a_bad_row(changes: dict[str, Any], code: str) -> None:
    decoded = structured(**changes)
    (bad,) = decoded.bad
    assert (bad.row, bad.code) == (0, code)
    assert decoded.by_type == {}
    assert decoded.rows_offered == 1
    sent = {name: value for name, value in {**EVENT, **changes}.items() if value is not ...}
    assert json.loads(bad.raw) == sent


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"time": "yesterday"}, "wrong_type:event_time"),
        ({"subject": 7}, "wrong_type:user_id"),
        ({"data": {"ms_played": "x"}}, "wrong_type:ms_played"),
        ({"data": {"properties": 7}}, "wrong_type:properties"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_bad_row_kept_as_the_event(changes: dict[str, Any], code: str) -> None:
    (bad,) = structured(**changes).by_type["playback"].bad
    assert bad.code == code
    assert json.loads(bad.raw) == {**EVENT, **changes}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff"])
def test_a_structured_body_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        decode_cloudevents(STRUCTURED, body)


def test_an_event_format_other_than_json_is_refused() -> None:
    with pytest.raises(BadInput, match="JSON"):
        decode_cloudevents({"content-type": "application/cloudevents+avro"}, b"")


# ---- batched mode


def test_a_batch_is_sorted_by_type_and_a_bad_event_costs_only_itself() -> None:
    events = [
        EVENT,
        {**EVENT, "type": "label", "data": {"prediction_id": "p", "value": 1}},
        7,
        {**EVENT, "id": ""},
        EVENT,
    ]
    decoded = decode_cloudevents(BATCHED, json.dumps(events).encode())
    assert decoded.rows_offered == 5
    assert [(b.row, b.code) for b in decoded.bad] == [(2, "not_object"), (3, "missing:id")]
    assert decoded.bad[0].raw == b"7"
    playback = decoded.by_type["playback"]
    assert playback.row_numbers is not None
    assert playback.row_numbers.tolist() == [0, 4]
    assert decoded.by_type["label"].table.column("value").to_pylist() == [1.0]


def test_a_batch_may_be_empty() -> None:
    assert decode_cloudevents(BATCHED, b"[]") == DecodedMany({}, (), 0)


def test_a_batch_that_is_no_array_is_malformed() -> None:
    with pytest.raises(MalformedBody, match="array"):
        decode_cloudevents(BATCHED, json.dumps(EVENT).encode())


def test_a_batch_beyond_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        decode_cloudevents(BATCHED, json.dumps([EVENT] * 3).encode(), Limits(max_rows=2))


# ---- binary mode


def test_binary_mode_takes_attributes_from_headers_and_data_from_the_body() -> None:
    headers = {
        "ce-specversion": "1.0",
        "CE-Type": "com.example.playback",
        "ce-time": "2018-04-05T03:56:24Z",
        "ce-id": "1234-1234-1234",
        "ce-source": "/mycontext/subcontext",
        "ce-comexampleothervalue": "5",
        "Content-Type": "application/json; charset=utf-8",
        "X-Other": "ignored",
    }
    got = row(decode_cloudevents(headers, b'{"track_id":"t-1"}'))
    assert got.pop("event_time").isoformat() == "2018-04-05T03:56:24+00:00"
    assert got == {
        "event_id": "/mycontext/subcontext#1234-1234-1234",
        "source": "/mycontext/subcontext",
        "track_id": "t-1",
        "properties": {"type": "com.example.playback", "comexampleothervalue": "5"},
    }


def test_header_values_are_unquoted_and_percent_decoded_once() -> None:
    for value, expected in [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("100%2525", "100%25"),
        ('"a b"', "a b"),
        (r'"say \"hi\" \\ %20"', 'say "hi" \\  '),
        ("  plain ", "plain"),
        ("caf\u00c3\u00a9", "café"),  # raw UTF-8, as a server decodes it
        ("50%", "50%"),
    ]:
        assert row(binary({"ce-subject": value}))["user_id"] == expected


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_any_text_encoded_by_the_rules_is_read_back(text: str) -> None:
    printable = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
    assert row(binary({"ce-subject": quote(text, safe=printable)}))["user_id"] == text


@pytest.mark.parametrize("value", ["%C0%A0", "%ff", "\u00ff", "\u20ac"])
def test_header_values_that_are_not_utf8_are_refused(value: str) -> None:
    decoded = binary({"ce-subject": value, "content-type": "application/json"}, b'{"track_id":"t"}')
    (bad,) = decoded.bad
    assert bad.code == "bad_header"
    kept = json.loads(bad.raw)
    assert kept["subject"] == value
    assert base64.b64decode(kept["data_base64"]) == b'{"track_id":"t"}'


def test_a_binary_event_without_a_body_has_no_data() -> None:
    assert row(binary({})).keys() == {"event_id", "source"}


def test_a_body_that_is_not_the_json_it_claims_to_be_is_a_bad_row_that_can_be_sent_again_structured() -> None:
    decoded = binary({"content-type": "application/json"}, b"{")
    (bad,) = decoded.bad
    assert bad.code == "not_json"
    (again,) = decode_cloudevents(STRUCTURED, bad.raw).bad
    assert again.code == "not_json"


def test_a_binary_event_without_its_attributes_is_a_bad_row() -> None:
    (bad,) = decode_cloudevents({"ce-specversion": "1.0", "ce-id": "1"}, b"{}").bad
    assert bad.code == "missing:source"


def test_requests_with_cloudevents_are_told_from_others() -> None:
    assert is_cloudevents(STRUCTURED)
    assert is_cloudevents(BATCHED)
    assert is_cloudevents({"CE-SpecVersion": "1.0"})
    assert not is_cloudevents({"content-type": "application/json"})
    assert not is_cloudevents({})
