"""A full disk refuses events before it loses any."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.forms import playback
from tests.e2e.live_server import TenantHandle, eventually
from tests.e2e.test_e2e_errors import the_problem


def _freshness(tenant: TenantHandle) -> float:
    """Return the age in seconds of what waits to be loaded."""
    headers = {"authorization": f"Bearer {tenant.read_key}"}
    (mine,) = tenant.server.client.get("/v1/overview", headers=headers).json()["tenants"]
    return float(mine["freshness_seconds"] or 0.0)


def test_too_little_free_space_refuses_events_until_there_is_more(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant()
    first, second = playback(), playback()
    tenant.send(first)
    tenant.settled()
    enough = server.config
    server.stop()
    server.config = enough.model_copy(update={"intake": enough.intake.model_copy(update={"min_free_bytes": 2**62})})
    server.start_gateway()
    server.start_worker()
    body = "{}"
    eventually(lambda: server.client.get("/health/live").status_code == 200)
    the_problem(tenant.post(body), 503, "storage_unavailable")
    the_problem(tenant.post('{"type": "playback"}', ""), 503, "storage_unavailable")
    segment = {"authorization": f"Bearer {tenant.write_key}"}
    the_problem(
        server.client.post("/v1/track", json={"userId": "u", "event": "x"}, headers=segment), 503, "storage_unavailable"
    )
    health = server.client.get("/health/ready")
    assert health.status_code == 503
    assert "disk_full" in health.json()["reasons"]
    assert tenant.ledger()["offered"] == 1
    server.stop()
    server.config = enough
    server.start()
    assert (tenant.send(first)["duplicate"], tenant.send(second)["accepted"]) == (1, 1)
    assert tenant.settled() == {"offered": 3, "stored": 2, "duplicate": 1}


def test_a_log_that_cannot_grow_refuses_events_and_takes_them_later(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant()
    kept = [playback() for _ in range(3)]
    refused = [playback() for _ in range(30)]
    tenant.send(*kept)
    lines = "\n".join(json.dumps(e) for e in refused)
    with server.full_disk(server.gateway):
        for _ in range(3):
            the_problem(tenant.post(lines), 503, "storage_unavailable")
        eventually(lambda: "log_not_writable" in server.client.get("/health/ready").json()["reasons"])
        assert tenant.ledger()["offered"] == 3
    receipt = eventually(lambda: r if (r := tenant.post(lines)).status_code == 202 else None).json()
    # What was refused is no duplicate of itself.
    assert (receipt["accepted"], receipt["duplicate"]) == (30, 0)
    assert tenant.send(*kept)["duplicate"] == 3
    assert tenant.settled() == {"offered": 36, "stored": 33, "duplicate": 3}
    assert len(tenant.lake()) == 33
    eventually(lambda: server.client.get("/health/ready").status_code == 200)


@pytest.mark.parametrize("restart", [False, True])
def test_a_lake_that_cannot_be_written_is_loaded_later(start_server: StartServer, restart: bool) -> None:
    server = start_server()
    tenant = server.tenant()
    tenant.send(playback())
    tenant.settled()
    eventually(lambda: tenant.get("collectors"))
    with server.full_disk(server.worker):
        for _ in range(5):
            assert tenant.send(playback(), playback())["accepted"] == 2
        eventually(lambda: _freshness(tenant) > 0.5)
        ledger = tenant.ledger()
        assert (ledger["stored"], ledger["in_flight"], ledger["balance"]) == (1, 10, 0)
        if restart:
            server.kill(server.worker)
    if restart:
        server.start_worker()
    assert tenant.settled() == {"offered": 11, "stored": 11}
    assert len(tenant.lake()) == 11
