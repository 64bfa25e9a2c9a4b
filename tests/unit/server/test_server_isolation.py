"""Nothing of one tenant is visible to another, on any route there is: new routes are covered as they come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import websockets
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from server_world import NOW_US, WORKER_FRAME, Gateway, served, status_frame
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect

from collectors.config.tenant import TenantConfig
from collectors.drivers.ledger_store import DeadLetter, Fold
from collectors.drivers.sample_store import LabelledSample
from collectors.model.alert import Alert, AlertState
from collectors.model.batch import LedgerCounts
from collectors.model.metric import Kind, MetricSpec, Sample, Severity, Unit

PUBLIC = {"/", "/assets", "/openapi.json", "/health/live", "/health/ready"}
VALUES = {"position": "7", "key_id": "abcdef012345", "type": "playback", "metric": "m.acorn_only"}
BODIES = {
    ("POST", "/v1/tenants"): {"id": "gamma"},
    ("POST", "/v1/tenants/{tenant}/keys"): {"scopes": ["read"]},
    ("POST", "/v1/tenants/{tenant}/dead-letters/{position}/replay"): {"set": {"a": 1}},
}


def routes(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """Method and path of every route that takes requests."""
    for context in iter_route_contexts(gateway.app.routes):
        route = context.original_route
        if isinstance(route, APIWebSocketRoute):
            continue
        assert isinstance(route, Route | APIRoute | Mount), f"this test does not know {type(route)}"
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, context.path


def websocket_routes(gateway: Gateway) -> Iterator[str]:
    for context in iter_route_contexts(gateway.app.routes):
        if isinstance(context.original_route, APIWebSocketRoute):
            yield context.path


def filled(path: str, tenant: str) -> str:
    for name, value in {"tenant": tenant, **VALUES}.items():
        path = path.replace(f"{{{name}}}", value)
    return path + ("?metric=m.acorn_only" if path.endswith("/samples") else "")


def fill(gateway: Gateway) -> None:
    """Give each tenant something in every store, named after it."""
    folder = gateway.folder
    counts, letters = {}, []
    for position, tenant in enumerate(("acorn", "birch"), start=7):
        spec = MetricSpec(f"m.{tenant}_only", Kind.GAUGE, Unit.COUNT, f"About {tenant}.", ("who",))
        folder.samples.declare(tenant, f"{tenant}_collector", [spec])
        sample = Sample(spec.name, 1.0, (tenant,), NOW_US)
        folder.samples.add([LabelledSample(tenant, sample, (("who", tenant),))])
        folder.samples.put_alerts(
            [Alert(tenant, tenant, tenant, tenant, Severity.INFO, AlertState.FIRING, tenant, (), NOW_US)]
        )
        counts[tenant, "playback"] = LedgerCounts(offered=1, stored=1)
        letters.append(DeadLetter(position, tenant, "playback", NOW_US, 1, tenant.encode()))
        folder.control.put_tenant(tenant, TenantConfig())
        gateway.hub.take(status_frame(tenant))
    gateway.hub.take(WORKER_FRAME)
    folder.ledger.fold(Fold(counts, tuple(letters), (), 10, {}))


def test_there_are_routes_to_look_at(gateway: Gateway) -> None:
    found = list(routes(gateway))
    assert len(found) > 20
    assert ("GET", "/v1/tenants/{tenant}/stream") in found
    assert list(websocket_routes(gateway)) == ["/v1/tenants/{tenant}/ws"]


async def test_every_route_but_page_and_health_needs_a_key(gateway: Gateway) -> None:
    async with gateway.client() as client:
        for method, path in routes(gateway):
            answer = await client.request(method, filled(path, "acorn"), json=BODIES.get((method, path)))
            assert (answer.status_code == 401) == (path not in PUBLIC), (method, path)


async def test_what_needs_no_key_tells_of_no_tenant(gateway: Gateway) -> None:
    fill(gateway)
    async with gateway.client() as client:
        for path in PUBLIC - {"/assets", "/openapi.json", "/"}:
            assert "acorn" not in (await client.get(path)).text
        assert "birch" not in (await client.get("/openapi.json")).text


@pytest.mark.parametrize("key", ["birch-admin", "birch-read", "birch-write"])
async def test_another_tenants_routes_look_like_those_of_no_tenant(gateway: Gateway, key: str) -> None:
    fill(gateway)
    tried = 0
    async with gateway.client(key) as client:
        for method, path in routes(gateway):
            if "{tenant}" not in path:
                continue
            body = BODIES.get((method, path))
            theirs = await client.request(method, filled(path, "acorn"), json=body)
            nobodys = await client.request(method, filled(path, "no-such-tenant"), json=body)
            assert (theirs.status_code, theirs.content) == (404, nobodys.content), (method, path)
            assert nobodys.status_code == 404
            tried += 1
    assert tried >= 15
    assert gateway.replays.asked == []


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text"])
async def test_routes_about_everything_show_only_the_keys_own_tenant(gateway: Gateway, accept: str) -> None:
    fill(gateway)
    seen = 0
    async with gateway.client("birch-admin") as client:
        for method, path in routes(gateway):
            if method != "GET" or "{tenant}" in path or path in PUBLIC:
                continue
            answer = await client.get(filled(path, ""), headers={"accept": accept})
            assert (answer.status_code, "acorn" in answer.text) == (200, False), path
            seen += "birch" in answer.text
    assert seen == 3  # overview, tenants, metrics


async def test_a_tenants_own_routes_show_nothing_of_another(gateway: Gateway) -> None:
    fill(gateway)
    async with gateway.client("birch-admin") as client:
        for method, path in routes(gateway):
            if method != "GET" or "{tenant}" not in path or path.endswith("/stream"):
                continue
            answer = await client.get(filled(path, "birch").replace("acorn", "birch"))
            assert (answer.status_code, "acorn" in answer.text) == (200, False), path
        other = await client.get("/v1/tenants/birch/samples?metric=m.acorn_only")
        assert other.status_code == 404


async def test_a_tenants_admin_can_not_act_for_the_whole_server(gateway: Gateway) -> None:
    async with gateway.client("birch-admin") as client:
        assert (await client.post("/v1/tenants", json={"id": "gamma"})).status_code == 403


async def test_websockets_of_another_tenant_are_refused(gateway: Gateway) -> None:
    with served(gateway) as (address, _):
        for path in websocket_routes(gateway):
            url = f"ws://{address}" + filled(path, "acorn")
            for key, status in (("birch-admin", 404), ("acorn-write", 403)):
                header = {"Authorization": f"Bearer {gateway.keys[key]}"}
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await connect(url, additional_headers=header)
                assert refused.value.response.status_code == status
