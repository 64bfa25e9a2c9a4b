"""Every form of events arrives in the lake with the same values, and is recognised across forms."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.e2e.forms import FORMS, MANY, micros, ndjson, playback
from tests.e2e.live_server import TenantHandle


def _send(tenant: TenantHandle, request: tuple[str, str, bytes, dict[str, str]]) -> dict[str, Any]:
    type_, media, body, headers = request
    response = tenant.post(body, type_, media, **headers)
    assert response.status_code == 202, response.text
    return dict(response.json())


@pytest.mark.parametrize("form", FORMS)
def test_events_in_every_form_land_in_the_lake_with_their_values(tenant: TenantHandle, form: str) -> None:
    events = [
        playback(user_id=f"u-{i}", track_id=f"spår-{i}", ms_played=1000 + i) for i in range(3 if form in MANY else 1)
    ]
    receipt = _send(tenant, FORMS[form](events))
    assert receipt["accepted"] == len(events)
    assert receipt["position"] > 0
    assert receipt["dead_letter"] is None
    rows = tenant.lake()
    expected = {uuid.UUID(e["event_id"]).bytes: e for e in events}
    assert [r["event_id"] for r in rows] == sorted(expected)
    for row in rows:
        event = expected[row["event_id"]]
        assert row["event_time"] == micros(event["event_time"])
        assert row["received_time"] >= row["event_time"] - 1_000_000
        assert row["track_id"] == event["track_id"]
        assert row["ms_played"] == event["ms_played"]
        assert row["user_id"] == tenant.pseudonym(event["user_id"])
        assert row["country"] is None
    assert tenant.settled() == {"offered": len(events), "stored": len(events)}


def test_the_same_event_in_another_form_is_a_duplicate(tenant: TenantHandle) -> None:
    event = playback()
    for number, make in enumerate(FORMS.values()):
        receipt = _send(tenant, make([event]))
        assert (receipt["accepted"], receipt["duplicate"]) == (int(number == 0), int(number > 0))
    assert tenant.settled() == {"offered": len(FORMS), "stored": 1, "duplicate": len(FORMS) - 1}
    assert len(tenant.lake()) == 1


def test_mixed_lines_are_sorted_by_type(tenant: TenantHandle) -> None:
    lines = [
        {"type": "playback", **playback(track_id="a")},
        {"type": "app_event", "event_id": "ev-1", "user_id": "u", "name": "Playlist Created", "mood": "calm"},
        {"type": "playback", **playback(track_id="b")},
    ]
    response = tenant.post("\n".join(map(json.dumps, lines)), "")
    assert response.status_code == 202
    assert response.json()["accepted"] == 3
    assert sorted(r["track_id"] for r in tenant.lake("playback")) == ["a", "b"]
    (row,) = tenant.lake("app_event")
    assert row["name"] == "Playlist Created"
    assert tenant.properties(row, "app_event") == {"mood": "calm"}
    assert b"calm" not in row["properties"]
    assert set(tenant.get("ledger")["types"]) == {"playback", "app_event"}


def test_an_idempotency_key_makes_events_without_ids_repeatable(tenant: TenantHandle) -> None:
    events = [{k: v for k, v in playback(ms_played=i).items() if k != "event_id"} for i in range(4)]
    first = tenant.send(*events, idempotency_key="k-1")
    again = tenant.send(*events, idempotency_key="k-1")
    other = tenant.send(*events, idempotency_key="k-2")
    assert (first["accepted"], again["accepted"], again["duplicate"], other["accepted"]) == (4, 0, 4, 4)
    assert len(tenant.lake()) == 8


def test_the_same_id_of_another_tenant_or_type_is_another_event(tenant: TenantHandle) -> None:
    other = tenant.server.tenant()
    event = playback()
    assert tenant.send(event)["accepted"] == 1
    assert other.send(event)["accepted"] == 1
    named = {"event_id": event["event_id"], "user_id": "u", "name": "n"}
    assert tenant.send(named, type_="app_event")["accepted"] == 1


def test_bad_rows_cost_only_themselves(tenant: TenantHandle) -> None:
    good = playback()
    bad = [playback(ms_played=-1), playback(track_id=None), playback(event_time="yesterday"), [1]]
    request = ndjson([good, *bad])  # type: ignore[list-item]
    receipt = _send(tenant, (request[0], request[1], request[2] + b"\n{broken", {}))
    assert (receipt["accepted"], receipt["rejected"]) == (1, 5)
    assert sorted(r["row"] for r in receipt["reasons"]) == [1, 2, 3, 4, 5]
    assert receipt["dead_letter"] == receipt["position"]
    assert tenant.settled() == {"offered": 6, "stored": 1, "rejected": 5}


def test_types_that_a_tenant_does_not_want_are_dropped_and_counted(tenant: TenantHandle) -> None:
    picky = tenant.server.tenant("picky", dropped_types=["playback"])
    assert picky.send(playback(), playback(ms_played=-1))["dropped"] == 2
    assert picky.settled() == {"offered": 2, "dropped": 2}


def test_an_empty_body_is_no_events(tenant: TenantHandle) -> None:
    receipt = _send(tenant, ("playback", "application/x-ndjson", b"", {}))
    assert receipt["accepted"] == receipt["rejected"] == 0
    assert tenant.settled() == {}
