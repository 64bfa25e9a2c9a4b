"""Rejected events wait as dead letters, and come back after a fix, each exactly once."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.forms import arrow, cloud_batched, micros, playback
from tests.e2e.live_server import TenantHandle, eventually
from tests.e2e.test_e2e_errors import the_problem


def _replay(tenant: TenantHandle, position: int, key: str = "", **edit: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or tenant.admin_key}"}
    return tenant.server.client.post(
        f"/v1/tenants/{tenant.id}/dead-letters/{position}/replay", json=edit, headers=headers
    )


def _letters(tenant: TenantHandle, count: int) -> list[dict[str, Any]]:
    """Wait until there are ``count`` dead letters, and return them."""

    def enough() -> list[dict[str, Any]] | None:
        letters: list[dict[str, Any]] = tenant.get("dead-letters")
        return letters if len(letters) == count else None

    return eventually(enough) if count else eventually(lambda: not tenant.get("dead-letters")) and []


def _misnamed(**fields: Any) -> dict[str, Any]:
    event = playback(**fields)
    event["song"] = event.pop("track_id")
    return event


def test_dead_letters_are_listed_with_their_reasons(tenant: TenantHandle) -> None:
    first = tenant.send(playback(ms_played=-1), playback(track_id=None), playback(track_id=None), playback())
    second = tenant.send(playback(event_time="2999-01-01T00:00:00Z"))
    one, other = _letters(tenant, 2)
    assert one["position"] == first["dead_letter"]
    assert (one["type"], one["rows"], one["reasons"]) == ("playback", 3, {"missing": 2, "too_small": 1})
    assert (other["position"], other["reasons"]) == (second["dead_letter"], {"in_future": 1})
    assert tenant.get("dead-letters", after=one["position"]) == [other]
    assert tenant.get("dead-letters", limit=1) == [one]


def test_a_renamed_field_lets_rejected_events_in(tenant: TenantHandle) -> None:
    events = [_misnamed(track_id=f"t-{i}", user_id=f"u-{i}") for i in range(5)]
    letter = tenant.send(*events, playback(track_id="fine"))["dead_letter"]
    assert _letters(tenant, 1)[0]["rows"] == 5
    assert tenant.settled() == {"offered": 6, "stored": 1, "rejected": 5}
    receipt = _replay(tenant, letter, rename={"song": "track_id"}).json()
    assert (receipt["accepted"], receipt["duplicate"], receipt["rejected"]) == (5, 0, 0)
    assert tenant.settled() == {"offered": 6, "stored": 6}
    assert _letters(tenant, 0) == []
    by_track = {r["track_id"]: r for r in tenant.lake()}
    for event in events:
        row = by_track[event["song"]]
        assert row["user_id"] == tenant.pseudonym(event["user_id"])
        assert row["event_time"] == micros(event["event_time"])
        assert tenant.properties(row) == {}


def test_values_can_be_set_and_fields_removed(tenant: TenantHandle) -> None:
    letter = tenant.send(playback(ms_played=-5, mood="calm", colour="red"))["dead_letter"]
    _letters(tenant, 1)
    receipt = _replay(tenant, letter, set={"ms_played": 5, "country": "SE"}, remove=["mood"]).json()
    assert receipt["accepted"] == 1
    (row,) = tenant.lake()
    assert (row["ms_played"], row["country"]) == (5, "SE")
    assert tenant.properties(row) == {"colour": "red"}


def test_rejected_arrow_rows_and_cloud_events_are_replayed(tenant: TenantHandle) -> None:
    for make in (arrow, cloud_batched):
        type_, media, body, headers = make([playback(ms_played=-1), playback()])
        letter = tenant.post(body, type_, media, **headers).json()["dead_letter"]
        _letters(tenant, 1)
        assert _replay(tenant, letter, set={"ms_played": 9}).json()["accepted"] == 1
        _letters(tenant, 0)
    assert tenant.settled() == {"offered": 4, "stored": 4}
    assert sorted(r["ms_played"] for r in tenant.lake()) == [9, 9, 1000, 1000]


def test_a_replay_that_mends_nothing_leaves_a_new_dead_letter(tenant: TenantHandle) -> None:
    letter = tenant.send(playback(ms_played=-1), playback(ms_played=-2))["dead_letter"]
    _letters(tenant, 1)
    receipt = _replay(tenant, letter).json()
    assert (receipt["accepted"], receipt["rejected"]) == (0, 2)
    eventually(lambda: [x["position"] for x in tenant.get("dead-letters")] == [receipt["dead_letter"]])
    assert tenant.settled() == {"offered": 2, "rejected": 2}


def test_a_dead_letter_is_replayed_once(tenant: TenantHandle) -> None:
    letter = tenant.send(playback(ms_played=-1))["dead_letter"]
    _letters(tenant, 1)
    assert _replay(tenant, letter, set={"ms_played": 1}).status_code == 200
    the_problem(_replay(tenant, letter, set={"ms_played": 1}), 404, "unknown_name")
    assert tenant.settled() == {"offered": 1, "stored": 1}
    the_problem(_replay(tenant, letter, set={"ms_played": 1}), 404, "unknown_name")


def test_lines_of_unknown_types_are_replayed_under_the_right_one(tenant: TenantHandle) -> None:
    lines = [{"type": "playbakc", **playback(track_id=f"t-{i}")} for i in range(3)]
    receipt = tenant.send(*lines, {"type": "playback", **playback()}, type_="")
    assert (receipt["accepted"], receipt["rejected"]) == (1, 3)
    (letter,) = _letters(tenant, 1)
    assert letter["rows"] == 3
    assert _replay(tenant, letter["position"], set={"type": "playback"}).json()["accepted"] == 3
    assert tenant.settled() == {"offered": 4, "stored": 4}
    assert sorted(r["track_id"] for r in tenant.lake()) == ["t-0", "t-1", "t-1", "t-2"]
    _letters(tenant, 0)


def test_an_event_that_came_again_in_the_meantime_is_a_duplicate(tenant: TenantHandle) -> None:
    event = playback()
    letter = tenant.send(event | {"ms_played": -1})["dead_letter"]
    _letters(tenant, 1)
    assert tenant.send(event)["accepted"] == 1
    assert _replay(tenant, letter, set={"ms_played": 1}).json()["duplicate"] == 1
    assert tenant.settled() == {"offered": 2, "stored": 1, "duplicate": 1}


def test_replaying_needs_a_key_that_administrates_the_tenant(tenant: TenantHandle) -> None:
    letter = tenant.send(playback(ms_played=-1))["dead_letter"]
    _letters(tenant, 1)
    the_problem(_replay(tenant, letter, tenant.write_key), 403, "forbidden")
    other = tenant.server.tenant()
    the_problem(_replay(tenant, letter, other.admin_key), 404, "unknown_name")
    the_problem(_replay(other, letter), 404, "unknown_name")
    the_problem(_replay(tenant, letter, set=1), 400, "bad_input")
    assert tenant.settled() == {"offered": 1, "rejected": 1}
