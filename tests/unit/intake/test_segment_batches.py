"""Batches of Segment calls, limits, and bodies that are no calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import MalformedBody, TooLarge, UnknownName
from collectors.intake.decoded import DecodedMany
from collectors.intake.segment import SegmentLimits, decode_segment
from collectors.model.event_types import EVENT_TYPES

RECEIVED_US = 1_772_366_410_000_000  # 2026-03-01T12:00:10Z


def send(path: str, value: Any, **options: Any) -> DecodedMany:
    return decode_segment(path, json.dumps(value).encode(), RECEIVED_US, **options)


def test_a_batch_is_taken_apart_and_shares_context_and_time_of_sending() -> None:
    value = {
        "batch": [
            {"type": "track", "userId": "u", "event": "E", "timestamp": "2026-03-01T12:00:00Z", "context": None},
            {"type": "track", "userId": "u", "event": "Song Played", "properties": {"track_id": "t", "ms_played": 1}},
            {"type": "page", "userId": "u", "context": {"app": {"name": "mine"}}, "messageId": "m-3"},
            {"type": "page", "userId": "u", "context": "odd", "sentAt": "2026-03-01T12:00:10Z"},
        ],
        "context": {"app": {"name": "shared"}, "ip": "203.0.113.7"},
        "sentAt": "2026-03-01T12:00:05Z",
        "messageId": "of the batch",
    }
    decoded = send("/v1/batch", value)
    assert decoded.rows_offered == 4
    assert decoded.bad == ()
    events = decoded.by_type["app_event"]
    assert events.row_numbers is not None
    assert events.row_numbers.tolist() == [0, 2, 3]
    first, second, third = events.table.to_pylist()
    assert first["event_time"] == datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert (first["source"], second["source"], third["source"]) == ("shared", "mine", None)
    assert (first["event_id"], second["event_id"]) == (None, "m-3")
    assert json.loads(second["properties"])["context"] == {"app": {"name": "mine"}, "ip": "203.0.113.7"}
    assert json.loads(third["properties"])["context"] == "odd"
    playback = decoded.by_type["playback"]
    assert playback.row_numbers is not None
    assert playback.row_numbers.tolist() == [1]


def test_a_bad_call_of_a_batch_costs_only_itself() -> None:
    big = {"type": "page", "userId": "u", "properties": {"x": "y" * 40_000}}
    calls: list[Any] = [
        {"type": "page", "userId": "u"},
        7,
        {"type": "page"},
        {"type": "dance", "userId": "u"},
        {"userId": "u"},
        {"type": "track", "userId": "u"},
        {"type": "track", "userId": "u", "event": 7},
        {"type": "page", "userId": "u", "properties": [1]},
        big,
        {"type": "page", "userId": "u", "timestamp": "never"},
        {"type": "page", "userId": "u"},
    ]
    decoded = send("/v1/b", {"batch": calls, "sentAt": "2026-03-01T12:00:00Z"})
    assert [(b.row, b.code) for b in decoded.bad] == [
        (1, "not_object"),
        (2, "missing:userId"),
        (3, "unknown_type"),
        (4, "unknown_type"),
        (5, "missing:event"),
        (6, "missing:event"),
        (7, "wrong_type:properties"),
        (8, "too_large"),
    ]
    assert json.loads(decoded.bad[1].raw) == {"type": "page", "sentAt": "2026-03-01T12:00:00Z"}
    events = decoded.by_type["app_event"]
    assert [(b.row, b.code) for b in events.bad] == [(9, "wrong_type:event_time")]
    assert json.loads(events.bad[0].raw)["timestamp"] == "never"
    assert decoded.rows_offered == 11


def test_limits_are_those_of_segment_and_can_be_changed() -> None:
    call = {"userId": "u", "properties": {"x": "y" * 40_000}}
    with pytest.raises(TooLarge):
        send("/v1/page", call)
    assert send("/v1/page", call, limits=SegmentLimits(max_event_bytes=50_000)).bad == ()
    batch = {"batch": [{"type": "page", "userId": "u", "properties": {"x": "y" * 30_000}}] * 18}
    with pytest.raises(TooLarge):
        send("/v1/batch", batch)
    assert send("/v1/batch", batch, limits=SegmentLimits(max_batch_bytes=2**20)).rows_offered == 18
    many = {"batch": [{"type": "page", "userId": "u"}] * 2501}
    with pytest.raises(TooLarge, match="2500"):
        send("/v1/batch", many)
    assert send("/v1/batch", {"batch": many["batch"][1:]}).rows_offered == 2500


@pytest.mark.parametrize("value", [[], "text", 1, None])
def test_a_body_that_is_no_object_is_malformed(value: Any) -> None:
    for path in ("/v1/track", "/v1/batch"):
        with pytest.raises(MalformedBody):
            send(path, value)


@pytest.mark.parametrize("value", [{}, {"batch": {}}, {"batch": None}])
def test_a_batch_without_calls_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedBody, match="batch"):
        send("/v1/batch", value)


def test_another_path_is_unknown() -> None:
    with pytest.raises(UnknownName, match="track, page"):
        send("/v1/projects", {})


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
MEMBERS = [
    "type",
    "userId",
    "anonymousId",
    "messageId",
    "event",
    "properties",
    "context",
    "timestamp",
    "sentAt",
    "name",
]


@given(
    st.lists(
        st.dictionaries(st.sampled_from(MEMBERS), st.sampled_from(["track", "page", "u"]) | JSON_VALUES) | JSON_VALUES
    )
)
def test_every_call_is_accounted_for_once_whatever_it_holds(calls: list[Any]) -> None:
    decoded = send("/v1/batch", {"batch": calls})
    numbers = [b.row for b in decoded.bad]
    for name, mine in decoded.by_type.items():
        mine.table.validate(full=True)
        assert mine.table.schema.names == EVENT_TYPES[name].wire_schema.names
        numbers += [b.row for b in mine.bad]
        numbers += range(mine.table.num_rows) if mine.row_numbers is None else mine.row_numbers.tolist()
    assert sorted(numbers) == list(range(len(calls)))
    assert decoded.rows_offered == len(calls)
