"""What is checked, and converted, the moment an event is sent."""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_double import START_US, QuickClock

from collectors.client.fields import TEXT_ID, RowSchema
from collectors.errors import BadInput
from collectors.model.event_types import EVENT_TYPES, event_type


def schema_of(name: str) -> RowSchema:
    return RowSchema(event_type(name), QuickClock())


def checked(name: str, /, **fields):
    schema_of(name).check(fields)
    return fields


def play(**fields):
    return checked("playback", **{"track_id": "t", "ms_played": 1, **fields})


def refusal(name: str, /, **fields) -> str:
    with pytest.raises(BadInput) as caught:
        schema_of(name).check(fields)
    return str(caught.value)


def play_refusal(**fields) -> str:
    return refusal("playback", **{"track_id": "t", "ms_played": 1, **fields})


class Shade(enum.StrEnum):
    DARK = "dark"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("track_id", 5, "playback.track_id must be text (str), not int"),
        ("track_id", b"t", "playback.track_id must be text (str), not bytes"),
        ("ms_played", "5", "playback.ms_played must be a whole number (int), not str"),
        ("ms_played", 5.0, "playback.ms_played must be a whole number (int), not float"),
        ("ms_played", True, "playback.ms_played must be a whole number (int), not bool"),
        ("ms_played", 2**31, "playback.ms_played must be a whole number of 32 bits"),
        ("ms_played", -(2**31) - 1, "playback.ms_played must be a whole number of 32 bits"),
        ("skipped", 1, "playback.skipped must be true or false (bool), not int"),
        (
            "event_time",
            "2026-01-01",
            "playback.event_time must be an aware datetime or microseconds since 1970 (int), not str",
        ),
        (
            "event_time",
            1.5,
            "playback.event_time must be an aware datetime or microseconds since 1970 (int), not float",
        ),
        ("event_time", 2**63, "playback.event_time must be a whole number of 64 bits"),
        ("event_id", 7, "playback.event_id must be a UUID, its 16 bytes or text (str), not int"),
        ("event_id", b"short", "playback.event_id must be a UUID, its 16 bytes or text (str), not bytes"),
        ("properties", [1], "playback.properties must be a mapping (dict), or a JSON object as text"),
        ("properties", "[1]", "playback.properties must be a mapping (dict), or a JSON object as text"),
        ("properties", "{", "playback.properties must be a JSON object; convert what JSON cannot hold"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(field, value, expected):
    assert play_refusal(**{field: value}) == expected


def test_refusals_of_lists_and_maps_name_the_element():
    assert refusal("recommendation", slate_id="s", items="abc") == "recommendation.items must be a list, not str"
    assert "each element of which must be text (str), not int" in refusal(
        "recommendation", slate_id="s", items=["a", 1]
    )
    bad = {"model": "m", "prediction_id": "p"}
    assert refusal("prediction", **bad, features=[1]) == "prediction.features must be a mapping (dict), not list"
    assert "each key or value of which must be a number (float), not str" in refusal(
        "prediction", **bad, features={"a": "1"}
    )
    assert "must be text (str), not int" in refusal("prediction", **bad, features={1: 1.0})


def test_numbers_must_fit_in_a_float():
    assert refusal("label", prediction_id="p", value="1") == "label.value must be a number (float), not str"
    assert refusal("label", prediction_id="p", value=10**400).endswith("must be a number that fits in 64 bits (float)")


def test_a_naive_datetime_is_refused_with_the_remedy():
    said = play_refusal(event_time=datetime(2026, 1, 1))  # noqa: DTZ001  naive is what is tested
    assert said.startswith("playback.event_time has no time zone; pass an aware datetime (tzinfo=UTC)")


def test_a_missing_required_field_is_refused_and_a_typo_pointed_out():
    assert refusal("playback", track_id="t") == "playback.ms_played is required"
    assert refusal("playback", trak_id="t", ms_played=1) == "playback.track_id is required; 'trak_id' is no field of it"
    assert play_refusal(track_id=None) == "playback.track_id is required"


def test_text_that_utf8_cannot_hold_is_refused_without_showing_it():
    for fields in ({"context": "a\ud800"}, {"event_id": "a\ud800"}):
        said = play_refusal(**fields)
        assert said.endswith("must be text that UTF-8 can hold; it has a lone surrogate")
        assert "ud800" not in said


def test_no_refusal_shows_a_value():
    assert "s3cret" not in play_refusal(ms_played="s3cret")
    assert "s3cret" not in play_refusal(properties="{s3cret")
    assert "s3cret" not in play_refusal(mood={"s3cret"})


def test_an_absent_event_time_is_now():
    assert play()["event_time"] == START_US
    assert play(event_time=None)["event_time"] == START_US


@pytest.mark.parametrize(
    "given_time",
    [
        datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC),
        datetime(2026, 3, 1, 14, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2))),
        1772368215123456,
        np.int64(1772368215123456),
    ],
)
def test_times_become_exact_microseconds(given_time):
    assert play(event_time=given_time)["event_time"] == 1772368215123456


@given(st.datetimes(timezones=st.timezones()))
def test_every_aware_datetime_becomes_its_microseconds(moment):
    reference = pa.scalar(moment.astimezone(UTC), pa.timestamp("us", tz="UTC")).value
    assert play(event_time=moment)["event_time"] == reference


@given(st.uuids())
def test_a_uuid_in_any_form_is_the_same_identity(identity):
    for form in (identity, identity.bytes, str(identity), identity.hex, str(identity).upper()):
        assert play(event_id=form)["event_id"] == identity.bytes


@pytest.mark.parametrize("text", ["order-7", "", "0" * 31, "{" + str(uuid.UUID(int=1)) + "}", "0" * 8 + "-" + "0" * 27])
def test_any_other_identity_stays_text(text):
    fields = play(event_id=text)
    assert fields[TEXT_ID] == text
    assert "event_id" not in fields


def test_unknown_fields_become_properties():
    fields = play(mood="happy", score=[1, {"a": None}])
    assert json.loads(fields["properties"]) == {"mood": "happy", "score": [1, {"a": None}]}
    assert "mood" not in fields


def test_unknown_fields_join_given_properties_and_take_nobodys_name():
    for given_properties in ({"mood": "sad", "_mood": "odd"}, '{"mood": "sad", "_mood": "odd"}'):
        fields = play(mood="happy", properties=given_properties)
        assert json.loads(fields["properties"]) == {"mood": "sad", "_mood": "odd", "__mood": "happy"}


def test_a_field_named_like_our_own_column_is_a_property():
    fields = play(event_id="order-7", **{TEXT_ID: "x"})
    assert fields[TEXT_ID] == "order-7"
    assert json.loads(fields["properties"]) == {TEXT_ID: "x"}


@pytest.mark.parametrize("value", [{1}, b"x", float("nan"), datetime(2026, 1, 1, tzinfo=UTC)])
def test_properties_must_be_json(value):
    said = play_refusal(mood=value)
    assert said == "playback: mood would go to properties, which must be a JSON object; convert what JSON cannot hold"


def test_properties_that_contain_themselves_are_refused():
    loop: dict = {}
    loop["loop"] = loop
    assert "must be a JSON object" in play_refusal(properties=loop)


def test_names_of_fields_must_be_text():
    with pytest.raises(BadInput, match="a field's name must be text, not int"):
        schema_of("playback").check({"track_id": "t", "ms_played": 1, 5: 6})


def test_attributes_of_a_log_record_may_be_a_mapping():
    fields = checked("log", message="m", attributes=MappingProxyType({"host": "a"}))
    assert fields["attributes"] == '{"host":"a"}'


def test_numbers_of_other_libraries_and_subclasses_become_plain():
    fields = play(ms_played=np.int32(7), context=Shade.DARK)
    assert (fields["ms_played"], type(fields["ms_played"])) == (7, int)
    assert (fields["context"], type(fields["context"])) == ("dark", str)
    for number in (1, np.float32(1), np.int8(1)):
        value = checked("label", prediction_id="p", value=number)["value"]
        assert (value, type(value)) == (1.0, float)


def test_lists_and_maps_are_copied_so_that_later_changes_do_not_matter():
    items, features = ["a", None], {"x": 1}
    slate = checked("recommendation", slate_id="s", items=items)
    scored = checked("prediction", model="m", prediction_id="p", features=features)
    items.append("b")
    features["y"] = 2
    assert slate["items"] == ["a", None]
    assert scored["features"] == [("x", 1.0)]


def test_the_size_grows_with_the_texts():
    schema = schema_of("playback")
    sizes = [schema.check({"track_id": text, "ms_played": 1}) for text in ("", "a" * 1000, "é" * 1000)]
    assert [size - sizes[0] for size in sizes] == [0, 1000, 2000]
    with_properties = schema.check({"track_id": "", "ms_played": 1, "note": "n" * 5000})
    assert with_properties - sizes[0] > 5000


def values_for(arrow: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_list(arrow):
        return st.lists(st.none() | values_for(arrow.value_type), max_size=3)
    if pa.types.is_map(arrow):
        return st.dictionaries(values_for(arrow.key_type), st.none() | values_for(arrow.item_type), max_size=3)
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    return {
        pa.string(): text,
        pa.bool_(): st.booleans(),
        pa.int32(): st.integers(-(2**31), 2**31 - 1),
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.float64(): st.floats(),
        pa.binary(16): st.binary(min_size=16, max_size=16) | st.uuids() | text,
        pa.timestamp("us", tz="UTC"): st.integers(-(2**63), 2**63 - 1) | st.datetimes(timezones=st.just(UTC)),
    }[arrow]


@given(st.data())
def test_whatever_passes_the_check_converts_to_arrow_without_loss(data):
    kind = data.draw(st.sampled_from(list(EVENT_TYPES.values())))
    row = {}
    for field in kind.columns:
        if field.name in {"properties", "attributes"}:
            continue
        values = values_for(field.type)
        value = data.draw(values if field.required else st.none() | values)
        if value is not None or data.draw(st.booleans()):
            row[field.name] = value
    schema = RowSchema(kind, QuickClock())
    fields = dict(row)
    assert schema.check(fields) >= 600
    [scalar] = pa.array([fields], schema.struct)
    for name, value in row.items():
        column = TEXT_ID if TEXT_ID in fields and name == "event_id" else name
        stored = scalar[column]
        if name == "event_time" or isinstance(value, datetime):
            continue
        if isinstance(value, uuid.UUID):
            assert stored.as_py() == value.bytes
        elif isinstance(value, Mapping):
            assert repr(dict(stored.as_py())) == repr(value)
        elif pa.types.is_timestamp(stored.type):
            assert stored.value == value
        else:
            assert repr(stored.as_py()) == repr(value)
