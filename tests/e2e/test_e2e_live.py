"""What is accepted is seen at once, attacks raise alerts, and what was seen survives a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from collectors.clock import SYSTEM_CLOCK
from tests.e2e.conftest import StartServer
from tests.e2e.forms import playback
from tests.e2e.live_server import LiveServer, TenantHandle, eventually

_EVENTS = "collectors.intake.events"


def _until(frames: Iterator[tuple[str, str]], event: str) -> Iterator[dict[str, Any]]:
    """Yield the frames called ``event``; gives up after some hundred others."""
    for number, (name, data) in enumerate(frames):
        if name == event:
            yield json.loads(data)
        assert number < 500


def _accepted(samples: list[dict[str, Any]]) -> float:
    wanted = {"type": "playback", "outcome": "accepted"}
    return max((s["value"] for s in samples if s["metric"] == _EVENTS and s["labels"] == wanted), default=0.0)


def _points(tenant: TenantHandle, **query: Any) -> list[list[float]]:
    series = tenant.get("samples", metric=_EVENTS, **query)["series"]
    return [p for s in series if s["labels"] == {"type": "playback", "outcome": "accepted"} for p in s["points"]]


def test_an_accepted_event_shows_in_the_stream_and_later_in_the_charts(tenant: TenantHandle) -> None:
    before = SYSTEM_CLOCK.now_us()
    with tenant.listen() as frames:
        tenant.send(playback(), playback(), playback(ms_played=-1))
        frame = next(f for f in _until(frames, "samples") if _accepted(f["samples"]))
    assert _accepted(frame["samples"]) == 2
    assert before <= frame["time"] <= SYSTEM_CLOCK.now_us()
    known = eventually(lambda: any(m["name"] == _EVENTS for m in tenant.get("metrics")))
    assert known
    points = eventually(lambda: _points(tenant))
    assert points[-1][1] == 2
    assert before <= points[0][0] <= SYSTEM_CLOCK.now_us() + 60_000_000
    latest = {(x["labels"]["outcome"]): x["value"] for x in tenant.get("latest") if x["metric"] == _EVENTS}
    assert latest == {"accepted": 2, "duplicate": 0, "rejected": 1, "dropped": 0}


def test_the_stream_tells_the_ledger_and_the_collectors(tenant: TenantHandle) -> None:
    tenant.send(playback())
    settled = tenant.settled()
    with tenant.listen() as frames:
        ledger = next(f for f in _until(frames, "ledger") if f["total"]["stored"])
        assert {k: v for k, v in ledger["total"].items() if v} == settled
        status = next(f for f in _until(frames, "status") if f["collectors"])
    assert {"tenant_business_metrics", "user_engagement"} <= {c["name"] for c in status["collectors"]}
    assert {c["name"] for c in tenant.get("collectors")} == {c["name"] for c in status["collectors"]}


def test_whoever_comes_back_gets_what_was_missed(tenant: TenantHandle) -> None:
    tenant.send(playback())
    headers = {"authorization": f"Bearer {tenant.read_key}"}
    path = f"/v1/tenants/{tenant.id}/stream"
    ids: list[int] = []
    with tenant.server.client.stream("GET", path, headers=headers) as response:
        for line in response.iter_lines():
            if line.startswith("id: "):
                ids.append(int(line[4:]))
            if len(ids) == 4:
                break
    assert ids == sorted(set(ids))
    with tenant.server.client.stream("GET", path, headers={**headers, "last-event-id": str(ids[1])}) as response:
        again = next(int(line[4:]) for line in response.iter_lines() if line.startswith("id: "))
    assert again == ids[2]


def test_a_brute_force_attack_raises_an_alert_without_naming_the_victim(server: LiveServer) -> None:
    tenant = server.tenant("guarded", real_time_enabled=True)
    eventually(lambda: "security_events" in {c["name"] for c in tenant.get("collectors")})
    victim = "ada@example.org"
    now = SYSTEM_CLOCK.now_us()
    attempts = [
        {"principal": victim, "outcome": "failure", "ip": "203.0.113.7", "event_time": now - 1000 * n}
        for n in range(12)
    ]
    with tenant.listen() as frames:
        assert tenant.send(*attempts, type_="auth")["accepted"] == 12
        alert = next(_until(frames, "alert"))
    assert (alert["rule"], alert["state"]) == ("brute_force", "firing")
    assert alert["severity"] in ("warning", "critical")
    assert now - 60_000_000 < alert["started"] <= SYSTEM_CLOCK.now_us()
    assert victim not in json.dumps(alert)
    assert tenant.pseudonym(victim).hex() in json.dumps(alert)
    listed = eventually(lambda: tenant.get("alerts", state="firing"))
    assert listed[0]["id"] == alert["id"]
    assert tenant.get("alerts", state="resolved") == []
    (overview,) = server.client.get("/v1/overview", headers={"authorization": f"Bearer {tenant.read_key}"}).json()[
        "tenants"
    ]
    assert overview["alerts"]["firing"] == len(listed)


def test_charts_alerts_and_counts_survive_a_restart_of_both_processes(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant(real_time_enabled=True)
    eventually(lambda: "security_events" in {c["name"] for c in tenant.get("collectors")})
    event = playback()
    tenant.send(event)
    tenant.send(*({"principal": "eve", "outcome": "failure"} for _ in range(10)), type_="auth")
    alert = eventually(lambda: tenant.get("alerts", state="firing"))[0]
    since = SYSTEM_CLOCK.now_us() - 10 * 10**6
    charted = {"since": since, "until": since + 60 * 10**6, "points": 5000}
    before = eventually(lambda: _points(tenant, **charted))
    counts = tenant.settled()
    server.stop()
    server.start()
    assert _points(tenant, **charted)[0] == before[0]
    assert tenant.get("alerts", state="firing")[0]["id"] == alert["id"]
    assert tenant.settled() == counts
    assert tenant.send(event)["duplicate"] == 1
    assert tenant.send(playback())["accepted"] == 1
    assert tenant.settled() == counts | {"offered": 13, "stored": 12, "duplicate": 1}
    eventually(lambda: len(_points(tenant, **charted)) > len(before))


def test_nothing_counts_as_waiting_that_was_loaded_before_a_restart(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant()
    tenant.send(playback())
    tenant.settled()
    server.kill(server.worker)  # before it saved how far its tail had come
    server.start_worker()
    with tenant.listen() as frames:
        states = _until(frames, "status")
        assert [next(states)["freshness_seconds"] for _ in range(3)][1:] == [0.0, 0.0]


def test_the_gateway_answers_while_the_worker_is_away(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant()
    server.kill(server.worker)
    assert tenant.send(playback())["accepted"] == 1
    assert tenant.ledger()["in_flight"] == 1
    assert server.client.get("/health/live").status_code == 200
    server.start_worker()
    assert tenant.settled() == {"offered": 1, "stored": 1}
