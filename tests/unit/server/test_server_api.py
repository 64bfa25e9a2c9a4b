from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable

import orjson
import pyarrow as pa
import pytest
from server_world import NOW_US, WORKER_FRAME, Gateway, status_frame

from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Scope
from collectors.drivers.event_log import LogWriter, Record
from collectors.drivers.ledger_store import DeadLetter, Fold
from collectors.drivers.sample_store import LabelledSample
from collectors.intake.prepare import DEAD_LETTER_FIELD
from collectors.model.alert import Alert, AlertState
from collectors.model.batch import LedgerCounts
from collectors.model.metric import Kind, MetricSpec, Sample, Severity, Unit
from collectors.privacy.aead import associated_data, seal
from collectors.server.api import MAX_BODY_BYTES
from collectors.server.schemas import TenantChange, TenantSettings

CPU = MetricSpec("system.cpu.utilization", Kind.GAUGE, Unit.RATIO, "Share of time.", ("cpu.mode",), nullable=True)


# Errors


async def test_every_error_has_the_one_shape_and_no_answer_is_without_security_headers(gateway: Gateway) -> None:
    json = {"content-type": "application/json"}
    cases = [
        ("GET", "/nothing", None, 404, "not_found"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("DELETE", "/v1/overview", None, 405, "method_not_allowed"),
        ("GET", "/v1/tenants/gamma", None, 404, "unknown_name"),
        ("GET", "/v1/tenants/acorn/samples", None, 400, "bad_input"),
        ("POST", "/v1/tenants", b"{", 400, "malformed_body"),
        ("POST", "/v1/tenants", b'{"id": "\xff"}', 400, "malformed_body"),
        ("POST", "/v1/tenants", b'{"id": "\\ud800"}', 400, "malformed_body"),
        ("POST", "/v1/tenants", b'{"id": NaN}', 400, "malformed_body"),
        ("POST", "/v1/tenants", b"[" * 5000, 400, "malformed_body"),
        ("POST", "/v1/tenants", b"[]", 400, "bad_input"),
        ("POST", "/v1/tenants", b'{"id": "UPPER"}', 400, "bad_input"),
        ("POST", "/v1/tenants", b'{"id": "a\\u0000b"}', 400, "bad_input"),
        ("POST", "/v1/tenants", b'{"id": "acorn"}', 409, "lifecycle"),
        ("POST", "/v1/tenants", b" " * (MAX_BODY_BYTES + 1), 413, "too_large"),
        ("GET", "/v1/event-types/nonsense", None, 404, "unknown_name"),
        ("GET", "/assets/../api.py", None, 404, "not_found"),
    ]
    async with gateway.client("all-admin") as client:
        for method, path, body, status, code in cases:
            answer = await client.request(method, path, content=body, headers=json if body is not None else None)
            assert (path, answer.status_code, answer.json()["error"]["code"]) == (path, status, code)
            assert set(answer.json()) == {"error"}
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
        allowed = {path: (await client.delete(path)).headers["allow"] for path in ("/v1/overview", "/v1/tenants/acorn")}
        assert allowed == {"/v1/overview": "GET", "/v1/tenants/acorn": "GET, PATCH, PUT"}


async def test_a_body_is_measured_also_when_its_length_is_not_announced(gateway: Gateway) -> None:
    async def chunks() -> Iterable[bytes]:
        for _ in range(MAX_BODY_BYTES // 1000 + 1):
            yield b" " * 1000

    async with gateway.client("all-admin") as client:
        answer = await client.post("/v1/tenants", content=chunks(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"id": "gamma", "time_zone": "hunter2"}, "body.time_zone"),
        ({"id": "gamma", "currency": "hunter2"}, "body.currency"),
        ({"id": "hunter2!"}, "body.id"),
        ({"id": "gamma", "policies": {"playback": {"user_id": "hunter2"}}}, "body.policies.playback.user_id"),
        ({"id": "gamma", "dropped_types": ["hunter2"]}, "body.dropped_types.0"),
        ({"id": "gamma", "retention_days": {"playback": 0}}, "body.retention_days.playback"),
        ({"id": "gamma", "retention_days": {"playback": "30"}}, "body.retention_days.playback"),
        ({"id": "gamma", "retention_days": {"nonsense": 30}}, "body.retention_days.nonsense"),
        ({"id": "gamma", "policies": {"playback": {"track_id": "drop"}}}, "policies.playback.track_id"),
        ({"id": "gamma", "policies": {"auth": {"principal": "drop"}}}, "policies.auth.principal"),
        ({"id": "gamma", "z" * 200: 1}, "body." + "z" * 64 + ":"),
        ({"id": "gamma", "a\nb": 1}, "body.a?b"),
    ],
)
async def test_a_refused_value_is_located_and_never_repeated(gateway: Gateway, body: object, place: str) -> None:
    async with gateway.client("all-admin") as client:
        answer = await client.post("/v1/tenants", json=body)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, place in message, "hunter2" in message) == (400, True, False)


async def test_of_many_mistakes_the_first_are_told(gateway: Gateway) -> None:
    async with gateway.client("all-admin") as client:
        answer = await client.post("/v1/tenants", json={"id": "gamma"} | {f"x{n}": 1 for n in range(20)})
    assert answer.json()["error"]["message"].endswith("and 15 more")


async def test_a_bug_is_answered_and_logged_and_tells_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(type(gateway.state.samples), "latest", broken)
    async with gateway.client("acorn-read", raise_bugs=False) as client:
        answer = await client.get("/v1/tenants/acorn/latest")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "error")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "hunter2" not in answer.text
    assert "api.bug" in capsys.readouterr().out


async def test_a_broken_database_is_a_reason_to_come_back(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(type(gateway.state.samples), "latest", locked)
    async with gateway.client("acorn-read") as client:
        answer = await client.get("/v1/tenants/acorn/latest")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


# Keys and scopes


@pytest.mark.parametrize(
    "path", ["/v1/overview", "/v1/nothing", "/v1/tenants/acorn/stream", "/v1/event-types", "/metrics"]
)
async def test_without_a_key_nothing_is_told_not_even_what_there_is(gateway: Gateway, path: str) -> None:
    async with gateway.client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="collectors"'


async def test_a_write_key_can_look_at_the_vocabulary_and_nothing_else(gateway: Gateway) -> None:
    async with gateway.client("acorn-write") as client:
        assert (await client.get("/v1/event-types")).status_code == 200
        for path in ("/v1/overview", "/v1/tenants", "/v1/tenants/acorn", "/v1/tenants/acorn/ledger", "/metrics"):
            assert (await client.get(path)).status_code == 403


async def test_a_key_made_by_an_admin_works_and_is_shown_once(gateway: Gateway) -> None:
    async with gateway.client("acorn-admin") as client:
        made = await client.post("/v1/tenants/acorn/keys", json={"scopes": ["write", "read"], "label": "player"})
        created = made.json()
        assert (made.status_code, created["scopes"], created["label"]) == (201, ["read", "write"], "player")
        assert (created["created"], created["revoked"]) == (NOW_US, None)
        listed = (await client.get("/v1/tenants/acorn/keys")).json()
        assert {k: v for k, v in created.items() if k != "key"} in listed
        assert created["key"] not in orjson.dumps(listed).decode()
    async with gateway.client(created["key"]) as client:
        assert (await client.get("/v1/tenants/acorn/ledger")).status_code == 200
        assert (await client.get("/v1/tenants/birch/ledger")).status_code == 404


async def test_a_revoked_key_is_refused_within_a_second(gateway: Gateway) -> None:
    key = gateway.keys["acorn-read"]
    key_id = key.split("_")[1]
    async with gateway.client("acorn-admin") as admin, gateway.client(key) as reader:
        assert (await reader.get("/v1/overview")).status_code == 200
        assert (await admin.delete(f"/v1/tenants/acorn/keys/{key_id}")).status_code == 204
        gateway.clock.advance(1.0)
        assert (await reader.get("/v1/overview")).status_code == 401
        assert (await admin.delete(f"/v1/tenants/acorn/keys/{key_id}")).status_code == 404
        (revoked,) = [k for k in (await admin.get("/v1/tenants/acorn/keys")).json() if k["id"] == key_id]
        assert revoked["revoked"] == NOW_US


async def test_an_admin_revokes_only_keys_of_its_own_tenant(gateway: Gateway) -> None:
    async with gateway.client("acorn-admin") as client:
        for name in ("birch-read", "all-read"):
            key_id = gateway.keys[name].split("_")[1]
            assert (await client.delete(f"/v1/tenants/acorn/keys/{key_id}")).status_code == 404
    async with gateway.client("birch-read") as client:
        assert (await client.get("/v1/overview")).status_code == 200


@pytest.mark.parametrize("body", [{}, {"scopes": []}, {"scopes": ["root"]}, {"scopes": ["read"], "tenant": "birch"}])
async def test_a_key_without_proper_scopes_is_not_made(gateway: Gateway, body: object) -> None:
    async with gateway.client("acorn-admin") as client:
        assert (await client.post("/v1/tenants/acorn/keys", json=body)).status_code == 400


# Tenants


async def test_a_new_tenant_has_its_configuration_and_keys_to_protect_its_events(gateway: Gateway) -> None:
    fields = {"time_zone": "Asia/Tokyo", "currency": "JPY", "policies": {"playback": {"user_id": "encrypt"}}}
    async with gateway.client("all-admin") as client:
        made = await client.post("/v1/tenants", json={"id": "gamma", **fields})
        assert made.status_code == 201
        assert made.json() == {"id": "gamma", "created": NOW_US} | TenantConfig(**fields).model_dump(mode="json")
        assert (await client.get("/v1/tenants/gamma")).json() == made.json()
        listed = (await client.get("/v1/tenants")).json()
    assert {"id": "gamma", "time_zone": "Asia/Tokyo", "currency": "JPY", "created": NOW_US} in listed
    assert gateway.folder.keys.keyset("gamma").tenant == "gamma"
    assert gateway.folder.control.tenant("gamma").config == TenantConfig(**fields)


async def test_of_two_who_create_a_tenant_at_once_one_is_told_it_exists(gateway: Gateway) -> None:
    async with gateway.client("all-admin") as client:
        answers = await asyncio.gather(*(client.post("/v1/tenants", json={"id": "gamma"}) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409]


async def test_only_operators_create_tenants_and_only_admins_change_them(gateway: Gateway) -> None:
    for key in ("acorn-admin", "all-read", "all-write"):
        async with gateway.client(key) as client:
            assert (await client.post("/v1/tenants", json={"id": "gamma"})).status_code == 403
    for key in ("acorn-read", "all-read"):
        async with gateway.client(key) as client:
            assert (await client.put("/v1/tenants/acorn", json={})).status_code == 403
            assert (await client.patch("/v1/tenants/acorn", json={})).status_code == 403


async def test_put_replaces_a_configuration_and_patch_changes_it(gateway: Gateway) -> None:
    async with gateway.client("acorn-admin") as client:
        put = await client.put("/v1/tenants/acorn", json={"currency": "SEK", "dropped_types": ["log"]})
        assert put.json()["currency"] == "SEK"
        patched = await client.patch("/v1/tenants/acorn", json={"time_zone": "Europe/Oslo", "dropped_types": None})
        assert [patched.json()[k] for k in ("currency", "time_zone", "dropped_types")] == ["SEK", "Europe/Oslo", []]
        bad = await client.patch("/v1/tenants/acorn", json={"policies": {"auth": {"principal": "drop"}}})
        assert bad.status_code == 400
        bad = await client.put("/v1/tenants/acorn", json={"id": "acorn"})
        assert bad.status_code == 400
        assert (await client.get("/v1/tenants/acorn")).json() == patched.json()
    assert gateway.folder.control.tenant("acorn").config.model_fields_set == {"currency", "time_zone"}


async def test_no_two_changes_of_a_tenant_undo_each_other(gateway: Gateway) -> None:
    changes = [{"currency": "SEK"}, {"time_zone": "Europe/Oslo"}, {"profile": "enterprise"}]
    async with gateway.client("acorn-admin") as client:
        await asyncio.gather(*(client.patch("/v1/tenants/acorn", json=change) for change in changes))
        found = (await client.get("/v1/tenants/acorn")).json()
    assert [found[k] for k in ("currency", "time_zone", "profile")] == ["SEK", "Europe/Oslo", "enterprise"]


def test_every_setting_of_a_tenant_can_be_changed() -> None:
    assert set(TenantChange.model_fields) == set(TenantConfig.model_fields) == set(TenantSettings.model_fields)


# Ledger and dead letters


def sealed(gateway: Gateway, tenant: str, type_: str, reasons: list[str]) -> bytes:
    table = pa.table({"reason": pa.array(reasons, pa.string()), "raw": pa.nulls(len(reasons), pa.binary())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    place = associated_data(tenant, type_, DEAD_LETTER_FIELD)
    return seal(gateway.folder.keys.keyset(tenant), place, sink.getvalue().to_pybytes())


def fold(gateway: Gateway, letters: int = 0) -> None:
    """Put some history into the ledger, and some events into the log's tail."""
    writer = LogWriter(gateway.folder.log)
    gateway.folder.ledger.fold(
        Fold(
            counts={
                ("acorn", "playback"): LedgerCounts(10, 6, 1, 3, 0),
                ("birch", "auth"): LedgerCounts(1000, 1000, 0, 0, 0),
            },
            dead_letters=tuple(
                DeadLetter(n, "acorn", "playback", NOW_US, 3, sealed(gateway, "acorn", "playback", ["missing"] * 3))
                for n in range(1, letters + 1)
            ),
            replayed=(),
            position=letters,
            notes={},
        )
    )
    writer.append(
        [
            Record("acorn", "playback", NOW_US, 0, rows=4, offered=5, duplicate=0, rejected=0, dropped=1)
            for _ in range(letters + 1)
        ]
    )
    writer.close()


async def test_the_ledger_adds_history_and_what_is_in_flight(gateway: Gateway) -> None:
    fold(gateway, letters=1)
    async with gateway.client("acorn-read") as client:
        ledger = (await client.get("/v1/tenants/acorn/ledger")).json()
    expected = {
        "offered": 15,
        "stored": 6,
        "duplicate": 1,
        "rejected": 3,
        "dropped": 1,
        "in_flight": 4,
        "balance": 0,
    }
    assert ledger == {"total": expected, "types": {"playback": expected}}


async def test_dead_letters_are_listed_in_pages_with_their_reasons(gateway: Gateway) -> None:
    fold(gateway, letters=20)
    async with gateway.client("acorn-read") as client:
        seen: list[int] = []
        while page := (
            await client.get("/v1/tenants/acorn/dead-letters", params={"after": seen[-1] if seen else 0, "limit": 9})
        ).json():
            assert len(page) <= 9
            seen += [letter["position"] for letter in page]
            assert page[0] == {
                "position": seen[-len(page)],
                "type": "playback",
                "time": NOW_US,
                "rows": 3,
                "reasons": {"missing": 3},
            }
        assert seen == list(range(1, 21))
        gateway.folder.keys.shred("acorn")
        (letter,) = (await client.get("/v1/tenants/acorn/dead-letters?limit=1")).json()
    assert letter["reasons"] is None


async def test_a_dead_letter_is_replayed_with_an_edit(gateway: Gateway) -> None:
    edit = {"set": {"country": "SE", "n": [1, None, {"x": 2.5}]}, "rename": {"song": "track_id"}, "remove": ["debug"]}
    async with gateway.client("acorn-admin") as client:
        answer = await client.post("/v1/tenants/acorn/dead-letters/7/replay", json=edit)
        assert answer.json() == {
            "accepted": 1,
            "duplicate": 0,
            "rejected": 0,
            "dropped": 0,
            "position": 8,
            "dead_letter": None,
            "reasons": [],
        }
        assert (await client.post("/v1/tenants/acorn/dead-letters/8/replay", json={})).status_code == 404
        later = await client.post("/v1/tenants/acorn/dead-letters/9/replay", json={})
        assert (later.status_code, later.headers["retry-after"]) == (503, "3")
        for bad in ({"set": 1}, {"remove": [""]}, {"drop": []}):
            assert (await client.post("/v1/tenants/acorn/dead-letters/7/replay", json=bad)).status_code == 400
    async with gateway.client("acorn-write") as client:
        assert (await client.post("/v1/tenants/acorn/dead-letters/7/replay", json=edit)).status_code == 403
    ((tenant, position, asked),) = gateway.replays.asked
    assert (tenant, position, dict(asked.set), dict(asked.rename), asked.remove) == (
        "acorn",
        7,
        edit["set"],
        edit["rename"],
        ("debug",),
    )


# Samples, alerts, collectors


def store(gateway: Gateway, tenant: str, points: Iterable[tuple[int, float | None]], mode: str = "user") -> None:
    gateway.folder.samples.declare(tenant, "system_performance", [CPU])
    gateway.folder.samples.add(
        [
            LabelledSample(
                tenant,
                Sample(CPU.name, value, (mode,), time, "" if value is not None else "no reading"),
                (("cpu.mode", mode),),
            )
            for time, value in points
        ]
    )


async def test_metrics_samples_and_last_values_are_those_of_the_store(gateway: Gateway) -> None:
    store(gateway, "acorn", [(NOW_US - 2_000_000, 0.25), (NOW_US - 1_000_000, 0.75), (NOW_US - 500_000, None)])
    async with gateway.client("acorn-read") as client:
        (metric,) = (await client.get("/v1/tenants/acorn/metrics")).json()
        assert metric == {
            "name": CPU.name,
            "kind": "gauge",
            "unit": "1",
            "description": "Share of time.",
            "labels": ["cpu.mode"],
            "collector": "system_performance",
            "series": 1,
        }
        (latest,) = (await client.get("/v1/tenants/acorn/latest")).json()
        assert latest == {
            "metric": CPU.name,
            "labels": {"cpu.mode": "user"},
            "time": NOW_US - 500_000,
            "value": None,
            "reason": "no reading",
        }
        whole = (await client.get("/v1/tenants/acorn/samples", params={"metric": CPU.name, "points": 5000})).json()
        assert whole["unit"] == "1"
        assert whole["series"][0]["labels"] == {"cpu.mode": "user"}
        assert whole["series"][0]["points"][-1] == [NOW_US - 500_000, None]
        one = await client.get(
            "/v1/tenants/acorn/samples",
            params={"metric": CPU.name, "since": NOW_US - 3_000_000, "until": NOW_US - 600_000, "points": 1},
        )
        assert one.json()["series"][0]["points"] == [[NOW_US - 1_000_000, 0.5]]


async def test_many_series_share_the_points_of_an_answer(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        store(gateway, "acorn", [(NOW_US - n * 1000, 1.0) for n in range(1, 50)], mode=f"m{number}")
    monkeypatch.setattr("collectors.server.routes.samples._MAX_POINTS", 40)
    async with gateway.client("acorn-read") as client:
        params = {"metric": CPU.name, "since": NOW_US - 50_000, "points": 5000}
        answer = (await client.get("/v1/tenants/acorn/samples", params=params)).json()
    assert [len(s["points"]) for s in answer["series"]] == [10] * 4


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("metric=no.such", 404),
        ("metric=system.cpu.utilization&since=5&until=5", 200),
        ("metric=system.cpu.utilization&since=-1", 400),
        ("metric=system.cpu.utilization&until=99999999999999999999", 400),
        ("metric=system.cpu.utilization&points=0", 400),
        ("metric=system.cpu.utilization&points=5001", 400),
        ("metric=" + "x" * 201, 400),
        ("metric=%00%ed%a0%80", 404),
        ("", 400),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused(gateway: Gateway, query: str, status: int) -> None:
    store(gateway, "acorn", [(NOW_US, 1.0)])
    async with gateway.client("acorn-read") as client:
        assert (await client.get(f"/v1/tenants/acorn/samples?{query}")).status_code == status


def alert(tenant: str, number: int, state: AlertState) -> Alert:
    ended = NOW_US if state is AlertState.RESOLVED else None
    return Alert(
        f"{tenant}-{number}",
        tenant,
        "cpu_usage",
        "host",
        Severity.WARNING,
        state,
        "It is hot.",
        (("host", "a"),),
        NOW_US + number,
        ended,
        0.9,
    )


async def test_alerts_are_listed_by_state_the_newest_first(gateway: Gateway) -> None:
    for number, state in enumerate([AlertState.FIRING, AlertState.RESOLVED, AlertState.FIRING]):
        gateway.folder.samples.put_alerts([alert("acorn", number, state)])
    async with gateway.client("acorn-read") as client:
        every = (await client.get("/v1/tenants/acorn/alerts")).json()
        firing = (await client.get("/v1/tenants/acorn/alerts?state=firing")).json()
        one = (await client.get("/v1/tenants/acorn/alerts?state=all&limit=1")).json()
        assert (await client.get("/v1/tenants/acorn/alerts?state=loud")).status_code == 400
    assert [a["id"] for a in every] == ["acorn-2", "acorn-0", "acorn-1"]
    assert (firing, one) == (every[:2], every[:1])
    assert every[0] == {
        "id": "acorn-2",
        "rule": "cpu_usage",
        "key": "host",
        "severity": "warning",
        "state": "firing",
        "summary": "It is hot.",
        "labels": {"host": "a"},
        "started": NOW_US + 2,
        "ended": None,
        "value": 0.9,
    }


async def test_collectors_are_as_the_worker_tells_and_stopped_without_one(gateway: Gateway) -> None:
    async with gateway.client("acorn-read") as client:
        assert (await client.get("/v1/tenants/acorn/collectors")).json() == []
        gateway.hub.take(status_frame("acorn"))
        (collector,) = (await client.get("/v1/tenants/acorn/collectors")).json()
        assert (collector["name"], collector["state"], collector["runs"]) == ("acorn_collector", "running", 3)
        gateway.clock.advance(10.0)
        (collector,) = (await client.get("/v1/tenants/acorn/collectors")).json()
        assert (collector["state"], collector["runs"]) == ("stopped", 3)


async def test_half_a_surrogate_in_a_label_does_not_break_the_answer(gateway: Gateway) -> None:
    store(gateway, "acorn", [(NOW_US, 1.0)], mode="caf\udce9")
    async with gateway.client("acorn-read") as client:
        answer = await client.get("/v1/tenants/acorn/latest")
    assert answer.status_code == 200
    assert answer.content.count(rb"caf\udce9") == 1


# Overview


async def test_the_overview_sums_up_what_each_part_tells(gateway: Gateway) -> None:
    fold(gateway, letters=1)
    gateway.folder.samples.put_alerts([alert("acorn", 1, AlertState.FIRING)])
    gateway.folder.samples.put_alerts([alert("birch", 1, AlertState.RESOLVED)])
    gateway.hub.take(WORKER_FRAME)
    gateway.hub.take(status_frame("acorn"))
    gateway.clock.advance(5.0)
    async with gateway.client("all-read") as client:
        seen = (await client.get("/v1/overview")).json()
        gateway.clock.advance(5.0)
        without_worker = (await client.get("/v1/overview")).json()
    acorn, birch = seen["tenants"]
    assert seen["time"] == NOW_US + 5_000_000
    assert seen["server"] == {
        "gateway": {"up": True, "uptime_seconds": 5.0},
        "worker": {"up": True, "behind_records": 4},
    }
    assert (acorn["id"], acorn["events_per_second"], acorn["freshness_seconds"]) == ("acorn", 120.0, 0.5)
    assert (acorn["collectors"], acorn["alerts"]) == ({"running": 1, "failing": 0}, {"firing": 1})
    assert (acorn["ledger"]["offered"], acorn["ledger"]["balance"]) == (15, 0)
    assert (birch["events_per_second"], birch["ledger"]["stored"], birch["alerts"]) == (None, 1000, {"firing": 0})
    assert without_worker["server"]["worker"] == {"up": False, "behind_records": None}
    acorn = without_worker["tenants"][0]
    assert (acorn["events_per_second"], acorn["freshness_seconds"]) == (None, None)
    assert (acorn["collectors"], acorn["ledger"]["offered"]) == ({"running": 0, "failing": 0}, 15)


def test_scopes_are_the_ones_documented() -> None:
    assert {s.value for s in Scope} == {"read", "write", "admin"}
