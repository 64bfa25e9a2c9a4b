"""What was sent, and who sent it, never stands in the server's own log."""

from __future__ import annotations

import json

from tests.e2e.conftest import StartServer
from tests.e2e.forms import FORMS, playback
from tests.e2e.live_server import eventually

USER = "user-7f3a9c"
EMAIL = "grace.hopper@example.org"
KEY = "ck_0123456789ab_" + "Zz9" * 14


def test_logs_of_a_busy_and_troubled_server_name_nobody(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant(real_time_enabled=True)
    eventually(lambda: "security_events" in {c["name"] for c in tenant.get("collectors")})
    client = server.client
    event = playback(user_id=USER, email=EMAIL, track_id=EMAIL)
    for make in FORMS.values():
        type_, media, body, headers = make([event])
        tenant.post(body, type_, media, **headers)
        tenant.post(body[: len(body) // 2], type_, media, **headers)
    tenant.send(event | {"ms_played": -1}, {"user_id": USER}, {"event_time": EMAIL})
    tenant.send(*({"principal": EMAIL, "outcome": "failure"} for _ in range(12)), type_="auth")
    eventually(lambda: tenant.get("alerts"))
    tenant.post(json.dumps(event), EMAIL)
    client.post("/v1/identify", json={"userId": USER, "traits": {"email": EMAIL}}, auth=(tenant.write_key, ""))
    client.get(f"/v1/tenants/{EMAIL}/ledger", headers={"authorization": f"Bearer {KEY}"})
    client.get(
        f"/v1/tenants/{tenant.id}/samples?metric={EMAIL}", headers={"authorization": f"Bearer {tenant.read_key}"}
    )
    client.get(f"/{EMAIL}?key={KEY}", auth=(KEY, EMAIL))
    client.post(f"/v1/tenants/{tenant.id}/events", content=b"{", headers={"authorization": KEY, "x-user": USER})
    with server.full_disk(server.gateway):
        tenant.post(json.dumps(playback(user_id=USER, track_id=EMAIL)))
    with server.full_disk(server.worker):
        eventually(lambda: tenant.post(json.dumps(playback(user_id=USER, track_id=EMAIL))).status_code == 202)
    server.kill(server.gateway)
    server.start_gateway()
    server.wait_ready()
    tenant.settled()
    server.stop()
    text = server.log_text()
    assert "worker.started" in text
    assert '"event": "alert"' in text
    for secret in (
        USER,
        EMAIL,
        EMAIL.split("@", maxsplit=1)[0],
        KEY.split("_")[2],
        *(k.split("_", 2)[2] for k in server.secrets),
    ):
        assert secret not in text
