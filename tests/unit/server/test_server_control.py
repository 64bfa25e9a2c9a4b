"""Errors, keys and scopes, tenants."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable

import orjson
import pytest
from server_world import NOW_US, Gateway
from structlog.testing import capture_logs

from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Scope
from collectors.server.api import MAX_BODY_BYTES
from collectors.server.schemas import TenantChange, TenantSettings

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
        ("POST", "/v1/tenants", b'{"id": "gamma\\n"}', 400, "bad_input"),
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
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(type(gateway.state.samples), "latest", broken)
    with capture_logs() as logs:
        async with gateway.client("acorn-read", raise_bugs=False) as client:
            answer = await client.get("/v1/tenants/acorn/latest")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "error")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "hunter2" not in answer.text
    (line,) = [line for line in logs if line["event"] == "api.bug"]
    assert line == {
        "event": "api.bug",
        "log_level": "error",
        "path": "/v1/tenants/acorn/latest",
        "error": "RuntimeError",
    }


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


def test_scopes_are_the_ones_documented() -> None:
    assert {s.value for s in Scope} == {"read", "write", "admin"}
