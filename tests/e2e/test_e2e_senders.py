"""Clients that we did not write, and the one that we did, against the real server."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client

from collectors.client import EventClient
from collectors.clock import SYSTEM_CLOCK
from tests.e2e.conftest import StartServer
from tests.e2e.live_server import TenantHandle, eventually

_SONG = {"track_id": "t-77", "ms_played": 61_000, "mood": "calm"}


def _say_everything(client: Client) -> None:
    """Make one call of each kind, under ids that are the same each time."""
    when = datetime.fromtimestamp(SYSTEM_CLOCK.now_us() / 1e6, tz=UTC)
    client.track("u-1", "Song Played", _SONG, message_id="m-song", timestamp=when)
    client.track("u-1", "Playlist Created", {"size": 3}, message_id="m-track", timestamp=when)
    client.page("u-1", "Music", "Home", {"path": "/"}, message_id="m-page", timestamp=when)
    client.identify("u-1", {"email": "ada@example.org"}, message_id="m-identify", timestamp=when)
    client.group("u-1", "g-1", {"size": 9}, message_id="m-group", timestamp=when)
    client.alias("anon-1", "u-1", message_id="m-alias", timestamp=when)
    client.flush()
    client.join()


@pytest.mark.parametrize("gzip", [False, True])
def test_the_segment_library_delivers_every_call_once(tenant: TenantHandle, gzip: bool) -> None:
    failures: list[Any] = []
    for _ in range(2):
        _say_everything(
            Client(
                tenant.write_key,
                host=tenant.server.url,
                gzip=gzip,
                max_retries=0,
                upload_interval=0.01,
                on_error=lambda error, _: failures.append(error),
            )
        )
    assert not failures
    assert tenant.settled() == {"offered": 12, "stored": 6, "duplicate": 6}
    (song,) = tenant.lake("playback")
    assert (song["track_id"], song["ms_played"]) == ("t-77", 61_000)
    assert song["user_id"] == tenant.pseudonym("u-1")
    assert tenant.properties(song)["mood"] == "calm"
    assert abs(song["event_time"] - song["received_time"]) < 60_000_000
    rows = {r["name"]: r for r in tenant.lake("app_event")}
    assert set(rows) == {"Playlist Created", "$page", "$identify", "$group", "$alias"}
    assert rows["$page"]["screen"] == "Home"
    assert rows["$group"]["target"] == "g-1"
    assert tenant.properties(rows["Playlist Created"], "app_event")["size"] == 3
    assert tenant.properties(rows["$alias"], "app_event")["previousId"] == "anon-1"
    assert not [r for r in (song, *rows.values()) if tenant.write_key in json.dumps(r, default=str)]


def test_a_segment_key_that_may_not_write_is_refused(tenant: TenantHandle) -> None:
    failures: list[Any] = []
    client = Client(
        tenant.read_key,
        host=tenant.server.url,
        max_retries=0,
        upload_interval=0.01,
        on_error=lambda e, _: failures.append(e),
    )
    client.track("u-1", "Song Played")
    client.flush()
    client.join()
    assert [e.status for e in failures] == [403]
    assert tenant.settled() == {}


def test_the_event_client_delivers_rows_of_every_form(tenant: TenantHandle) -> None:
    with EventClient(tenant.server.url, tenant.id, tenant.write_key, source="player") as client:
        client.send("playback", event_id="e-1", user_id="u-1", track_id="t-1", ms_played=5)
        client.send("playback", event_id="e-1", user_id="u-1", track_id="t-1", ms_played=5)
        client.send_many("app_event", [{"name": f"n-{i}", "user_id": "u-1"} for i in range(10)])
        delivery = client.flush()
    assert delivery.complete
    assert (delivery.stats.accepted, delivery.stats.duplicate) == (11, 1)
    (row,) = tenant.lake("playback")
    assert (row["source"], row["ms_played"], row["user_id"]) == ("player", 5, tenant.pseudonym("u-1"))
    assert sorted(r["name"] for r in tenant.lake("app_event")) == sorted(f"n-{i}" for i in range(10))


def test_the_event_client_delivers_once_through_a_killed_gateway(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    tenant = server.tenant()
    ids = [uuid.UUID(int=n + 1) for n in range(600)]
    with EventClient(
        server.url, tenant.id, tenant.write_key, batch_rows=50, linger_seconds=0.005, spool=tmp_path / "spool"
    ) as client:
        for number, event_id in enumerate(ids):
            client.send("playback", event_id=event_id, user_id="u", track_id="t", ms_played=number)
            if number in (200, 400):
                eventually(lambda least=number - 150: client.stats.accepted >= least)
                server.kill(server.gateway)
            if number in (300, 500):
                server.start_gateway()
        delivery = client.flush(30.0)
    assert delivery.complete, delivery
    assert delivery.stats.accepted + delivery.stats.duplicate == len(ids)
    assert delivery.stats.failed == delivery.stats.rejected == 0
    rows = tenant.lake()
    assert [r["event_id"] for r in rows] == [i.bytes for i in ids]
    assert [r["ms_played"] for r in rows] == list(range(len(ids)))
    assert tenant.settled()["stored"] == len(ids)
