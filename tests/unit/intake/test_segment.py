"""Calls of the Segment HTTP Tracking API as events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment.analytics.client import Client

from collectors.intake.decoded import DecodedMany
from collectors.intake.segment import decode_segment, translate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RECEIVED = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)
RECEIVED_US = (RECEIVED - EPOCH) // timedelta(microseconds=1)


def send(path: str, value: Any, **options: Any) -> DecodedMany:
    return decode_segment(path, json.dumps(value).encode(), RECEIVED_US, **options)


def row(path: str, value: Any, event_type: str = "app_event") -> dict[str, Any]:
    """Return the one row, without nulls, properties parsed."""
    decoded = send(path, value)
    assert decoded.bad == ()
    assert list(decoded.by_type) == [event_type]
    assert decoded.by_type[event_type].bad == ()
    (values,) = decoded.by_type[event_type].table.to_pylist()
    given = {name: v for name, v in values.items() if v is not None}
    given["properties"] = json.loads(given.get("properties", "{}"))
    return given


def code(path: str, value: Any) -> str:
    decoded = send(path, value)
    (bad,) = [*decoded.bad, *(b for d in decoded.by_type.values() for b in d.bad)]
    return bad.code


CONTEXT = {
    "ip": "203.0.113.7",
    "userAgent": "Player/1.0",
    "app": {"name": "player", "version": "1"},
    "library": {"name": "analytics-x", "version": "2"},
    "device": {"type": "phone", "id": "d-1"},
    "os": {"name": "iOS", "version": "19"},
    "location": {"country": "SE"},
}


# ---- the kinds of calls


def test_a_track_call_is_an_app_event_named_after_its_event() -> None:
    call = {
        "userId": "u-42",
        "anonymousId": "anon-1",
        "messageId": "m-1",
        "event": "Playlist Created",
        "properties": {"tracks": 12, "title": "Mine"},
        "context": CONTEXT,
        "integrations": {"All": True},
        "timestamp": "2026-03-01T12:00:00Z",
        "writeKey": "secret",
        "version": 2,
    }
    assert row("/v1/track", call) == {
        "event_id": "m-1",
        "event_time": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "user_id": "u-42",
        "source": "player",
        "name": "Playlist Created",
        "device": "phone",
        "country": "SE",
        "properties": {
            "tracks": 12,
            "title": "Mine",
            "anonymousId": "anon-1",
            "context": CONTEXT,
            "integrations": {"All": True},
            "timestamp": "2026-03-01T12:00:00Z",
            "version": 2,
        },
    }


def test_pages_and_screens_are_named_by_kind_and_keep_their_name_as_the_screen() -> None:
    for kind in ("page", "screen"):
        got = row(f"/v1/{kind}", {"anonymousId": "a", "name": "Home", "category": "Main", "properties": {"path": "/"}})
        assert got == {
            "user_id": "a",
            "name": f"${kind}",
            "screen": "Home",
            "properties": {"path": "/", "category": "Main"},
        }
        assert "screen" not in row(f"/v1/{kind}", {"userId": "u", "name": 7})


def test_traits_and_relations_are_kept() -> None:
    identify = row("/v1/identify", {"userId": "u", "traits": {"plan": "premium", "age": 30}})
    assert identify == {"user_id": "u", "name": "$identify", "properties": {"traits": {"plan": "premium", "age": 30}}}
    group = row("/v1/group", {"userId": "u", "groupId": "g-1", "traits": {"name": "Label"}})
    assert group == {"user_id": "u", "name": "$group", "target": "g-1", "properties": {"traits": {"name": "Label"}}}
    alias = row("/v1/alias", {"userId": "u", "previousId": "old"})
    assert alias == {"user_id": "u", "name": "$alias", "properties": {"previousId": "old"}}


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/p", "page"), ("/v1/s", "screen"), ("/v1/i", "identify"), ("/v1/g", "group"), ("/v1/a/", "alias")],
)
def test_the_browser_librarys_short_paths_are_understood(path: str, kind: str) -> None:
    assert row(path, {"userId": "u"})["name"] == f"${kind}"
    assert row("/v1/t", {"userId": "u", "event": "E"})["name"] == "E"


def test_the_write_key_is_kept_nowhere() -> None:
    bodies: list[tuple[str, Any]] = [
        ("/v1/track", {"userId": "u", "event": "E", "writeKey": "s3cr3t"}),
        ("/v1/track", {"event": "E", "writeKey": "s3cr3t"}),
        (
            "/v1/batch",
            {
                "writeKey": "s3cr3t",
                "batch": [{"type": "page", "userId": "u", "writeKey": "s3cr3t"}, {"writeKey": "s3cr3t"}],
            },
        ),
    ]
    for path, value in bodies:
        decoded = send(path, value)
        assert "s3cr3t" not in repr([d.table.to_pylist() for d in decoded.by_type.values()])
        assert all(b"s3cr3t" not in b.raw for b in decoded.bad)


# ---- identity and time


def test_who_it_is_about_is_the_user_or_else_the_anonymous_one() -> None:
    assert row("/v1/page", {"userId": "u", "anonymousId": "a"})["user_id"] == "u"
    for missing in ({}, {"userId": None}, {"userId": ""}, {"userId": {}}):
        assert row("/v1/page", {**missing, "anonymousId": "a"})["user_id"] == "a"
        assert code("/v1/page", missing) == "missing:userId"
    assert row("/v1/page", {"userId": 42})["user_id"] == "42"


def test_a_message_without_usable_id_goes_without_one() -> None:
    for given_id in ({}, {"messageId": ""}, {"messageId": 7}):
        assert "event_id" not in row("/v1/page", {"userId": "u", **given_id})


@pytest.mark.parametrize("name", ["timestamp", "originalTimestamp"])
def test_the_senders_clock_is_corrected_by_when_it_says_it_sent(name: str) -> None:
    fast = timedelta(hours=3)  # the sender's clock
    happened, sent = RECEIVED - timedelta(seconds=95), RECEIVED - timedelta(seconds=1)
    call = {"userId": "u", name: (happened + fast).isoformat(), "sentAt": (sent + fast).isoformat()}
    got = row("/v1/page", call)
    assert got["event_time"] == happened + timedelta(seconds=1)
    assert got["properties"] == {name: call[name], "sentAt": call["sentAt"]}


def test_without_a_usable_time_of_sending_the_call_is_taken_at_its_word() -> None:
    for sent in ({}, {"sentAt": None}, {"sentAt": "soon"}, {"sentAt": {}}):
        got = row("/v1/page", {"userId": "u", "timestamp": "2026-03-01T11:00:00+01:00", **sent})
        assert got["event_time"] == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_a_call_that_says_no_time_has_none() -> None:
    assert "event_time" not in row("/v1/page", {"userId": "u", "sentAt": "2026-03-01T00:00:00Z"})


def test_a_time_that_cannot_be_read_is_a_bad_row() -> None:
    assert code("/v1/page", {"userId": "u", "timestamp": "yesterday"}) == "wrong_type:event_time"
    assert code("/v1/page", {"userId": "u", "timestamp": {}}) == "wrong_type:event_time"


def test_a_correction_beyond_the_calendar_is_not_made() -> None:
    call = {"userId": "u", "timestamp": "9999-12-31T00:00:00Z", "sentAt": "0001-01-01T00:00:00Z"}
    assert row("/v1/page", call)["event_time"].year == 9999


@given(
    st.integers(946_684_800_000_000, 2_524_608_000_000_000).map(lambda us: EPOCH + timedelta(microseconds=us)),
    st.timedeltas(timedelta(days=-30), timedelta(days=30)),
    st.timedeltas(timedelta(0), timedelta(days=2)),
)
def test_the_correction_does_not_depend_on_the_senders_clock(
    happened: datetime, skew: timedelta, delay: timedelta
) -> None:
    sent = happened + delay
    received_us = (sent - EPOCH) // timedelta(microseconds=1)
    call = {"userId": "u", "timestamp": (happened + skew).isoformat(), "sentAt": (sent + skew).isoformat()}
    (got,) = translate("/v1/page", call, received_us).by_type["app_event"].table.to_pylist()
    assert got["event_time"] == happened


# ---- playback


def test_a_song_that_was_played_is_a_playback() -> None:
    properties = {
        "track_id": "t-1",
        "artistId": "a-1",
        "ms_played": 183000,
        "durationMs": 201000,
        "context": "playlist",
        "bitrate": 320,
        "session_id": "s-1",
        "skipped": False,
        "title": "Song",
        "country": "Sweden",
    }
    call = {"userId": "u", "event": "Song Played", "properties": properties, "context": CONTEXT}
    assert row("/v1/track", call, "playback") == {
        "user_id": "u",
        "source": "player",
        "session_id": "s-1",
        "track_id": "t-1",
        "artist_id": "a-1",
        "context": "playlist",
        "ms_played": 183000,
        "track_ms": 201000,
        "skipped": False,
        "country": "SE",
        "device": "phone",
        "platform": "ios",
        "bitrate_kbps": 320,
        "properties": {"title": "Song", "country": "Sweden", "event": "Song Played", "context": CONTEXT},
    }


def test_where_playing_ended_says_how_much_was_heard() -> None:
    properties = {"asset_id": "t-1", "position": 12.5, "total_length": 200}
    for event, reason, skipped in [
        ("Video Content Completed", "trackdone", None),
        ("playback_ended", "endplay", None),
        ("trackSkipped", "fwdbtn", True),
        ("Track Played", None, None),
    ]:
        got = row("/v1/track", {"userId": "u", "event": event, "properties": properties}, "playback")
        assert got["ms_played"] == 12_500
        assert got["track_ms"] == 200_000
        assert got.get("reason_end") == reason
        assert got.get("skipped") is skipped
        assert got["properties"] == {"position": 12.5, "event": event}


def test_an_explicit_duration_and_reason_win() -> None:
    properties = {"song_id": "t", "position": 100, "seconds_played": 42.5, "reason_end": "logout", "skipped": True}
    got = row("/v1/track", {"userId": "u", "event": "Song Completed", "properties": properties}, "playback")
    assert (got["ms_played"], got["reason_end"], got["skipped"]) == (42_500, "logout", True)


@pytest.mark.parametrize(
    ("event", "properties"),
    [
        ("Playback Started", {"track_id": "t", "position": 0}),
        ("Song Played", {"track_id": "t"}),
        ("Song Played", {"ms_played": 5}),
        ("Song Played", {"track_id": "t", "ms_played": "5"}),
        ("Song Played", {"track_id": "t", "ms_played": -1}),
        ("Song Played", {"track_id": "t", "ms_played": True}),
        ("Song Played", {"track_id": "t", "ms_played": 1e12}),
        ("Song Played", {"track_id": 7, "ms_played": 5}),
        ("Song Played", {"track_id": "x" * 300, "ms_played": 5}),
        ("Song Liked", {"track_id": "t", "ms_played": 5}),
        ("Song Played", None),
    ],
)
def test_without_track_and_duration_it_is_an_app_event_that_keeps_its_properties(event: str, properties: Any) -> None:
    got = row("/v1/track", {"userId": "u", "event": event, "properties": properties})
    assert got["name"] == event
    assert got["properties"] == (properties or {})


def test_a_started_playback_counts_if_it_says_how_long_it_was_heard() -> None:
    call = {"userId": "u", "event": "Playback Paused", "properties": {"trackId": "t", "msPlayed": 10}}
    got = row("/v1/track", call, "playback")
    assert got["ms_played"] == 10
    assert "reason_end" not in got


# ---- the real client


def test_what_segments_own_library_sends_is_understood() -> None:
    received: list[tuple[str, bytes]] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class calls it so
            pass

    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            client = Client("write-key", host=f"http://127.0.0.1:{server.server_port}", sync_mode=True)
            client.track("u-1", "Song Played", {"track_id": "t-1", "ms_played": 5}, timestamp=RECEIVED)
            client.identify("u-1", {"plan": "free"})
            client.screen("u-1", "Main", "Home")
        finally:
            server.shutdown()
            thread.join()
    rows = []
    for path, body in received:
        assert b"write-key" in body
        decoded = decode_segment(path, body, RECEIVED_US)
        assert decoded.bad == ()
        rows += [r for d in decoded.by_type.values() for r in d.table.to_pylist()]
    assert [(r["user_id"], r.get("name")) for r in rows] == [("u-1", None), ("u-1", "$identify"), ("u-1", "$screen")]
    assert (rows[0]["track_id"], rows[0]["ms_played"]) == ("t-1", 5)
    assert all(r["event_id"] and r["source"] == "analytics-python" for r in rows)
