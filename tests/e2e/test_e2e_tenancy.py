"""Two tenants send, read and listen; nothing of one can be seen by the other."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from collectors.contract import tables
from collectors.lake.duckdb_engine import DuckDBEngine, EngineLimits
from collectors.lake.engine import LakeFile, Snapshot, TenantView
from tests.e2e.forms import playback
from tests.e2e.live_server import LiveServer, TenantHandle, eventually

MARK = "belongs-to-birch"


@dataclass(frozen=True)
class Pair:
    """``acorn`` looks, ``birch`` has something to hide."""

    acorn: TenantHandle
    birch: TenantHandle
    letter: int
    """Position of a dead letter of birch."""

    def betrays(self, text: str) -> bool:
        return self.birch.id in text or MARK in text or self.birch.pseudonym(MARK).hex() in text


@pytest.fixture(scope="module")
def pair(server: LiveServer) -> Pair:
    acorn, birch = server.tenant("acorn"), server.tenant("birch")
    acorn.send(playback(track_id="a"), playback(track_id="a2"))
    birch.send(*(playback(track_id=MARK, user_id=MARK) for _ in range(3)))
    letter = birch.send(playback(track_id=MARK, ms_played=-1))["dead_letter"]
    acorn.settled()
    birch.settled()
    eventually(lambda: birch.get("dead-letters"))
    # What each tenant's intake counted is stored, and its metrics are declared, within a second or so.
    for tenant in (acorn, birch):
        headers = {"authorization": f"Bearer {tenant.read_key}"}
        eventually(lambda t=tenant, h=headers: t.id in server.client.get("/metrics", headers=h).text)
    return Pair(acorn, birch, letter)


def _paths(server: LiveServer) -> list[str]:
    paths = server.client.get("/openapi.json").json()["paths"]
    return sorted(p for p, operations in paths.items() if "get" in operations and not p.endswith("/stream"))


def test_no_get_route_shows_anything_of_another_tenant(pair: Pair) -> None:
    client = pair.acorn.server.client
    paths = _paths(pair.acorn.server)
    assert len(paths) > 12
    for path in paths:
        own = path.replace("{tenant}", pair.acorn.id).replace("{type}", "playback")
        query = {"metric": "collectors.intake.events", "since": 0}
        for key in (pair.acorn.read_key, pair.acorn.admin_key, pair.acorn.write_key):
            headers = {"authorization": f"Bearer {key}"}
            seen = client.get(own, params=query if own.endswith("/samples") else {}, headers=headers)
            assert not pair.betrays(seen.text), own
            if "{tenant}" in path:
                refused = client.get(path.replace("{tenant}", pair.birch.id), headers=headers)
                assert refused.status_code == 404, path
                assert not pair.betrays(refused.text)


def test_what_is_hidden_is_there_for_its_owner(pair: Pair) -> None:
    ledger = pair.birch.get("ledger")["total"]
    assert (ledger["stored"], ledger["rejected"]) == (3, 1)
    assert [x["position"] for x in pair.birch.get("dead-letters")] == [pair.letter]
    assert pair.acorn.get("dead-letters") == []
    assert pair.acorn.get("ledger")["total"]["offered"] == 2
    headers = {"authorization": f"Bearer {pair.birch.read_key}"}
    assert pair.birch.id in pair.birch.server.client.get("/metrics", headers=headers).text
    assert [t["id"] for t in pair.birch.server.client.get("/v1/tenants", headers=headers).json()] == [pair.birch.id]


def test_the_operator_sees_both(pair: Pair) -> None:
    server = pair.acorn.server
    headers = {"authorization": f"Bearer {server.admin_key}"}
    assert {pair.acorn.id, pair.birch.id} <= {t["id"] for t in server.client.get("/v1/tenants", headers=headers).json()}
    text = server.client.get("/metrics", headers=headers).text
    assert pair.acorn.id in text
    assert pair.birch.id in text


def test_live_streams_carry_only_what_is_the_tenants_own(pair: Pair) -> None:
    server = pair.acorn.server
    address = f"ws://127.0.0.1:{server.port}/v1/tenants/{pair.acorn.id}/ws"
    with pair.acorn.listen() as frames, connect(address, proxy=None) as socket:
        socket.send(json.dumps({"key": pair.acorn.read_key}))
        pair.birch.send(playback(track_id=MARK, user_id=MARK))
        pair.acorn.send(playback())
        seen = []
        for event, data in frames:
            assert not pair.betrays(data)
            seen.append(event)
            if {"samples", "ledger", "status"} <= set(seen):
                break
        kinds = set()
        while not {"samples", "ledger", "status"} <= kinds:
            message = socket.recv(timeout=30)
            assert isinstance(message, str)
            assert not pair.betrays(message)
            frame = json.loads(message)
            assert set(frame) == {"event", "data"}
            kinds.add(frame["event"])


def test_nobody_listens_to_another_tenant(pair: Pair) -> None:
    server = pair.acorn.server
    headers = {"authorization": f"Bearer {pair.acorn.read_key}"}
    assert server.client.get(f"/v1/tenants/{pair.birch.id}/stream", headers=headers).status_code == 404
    address = f"ws://127.0.0.1:{server.port}/v1/tenants/{pair.birch.id}/ws"
    with connect(address, proxy=None) as socket:
        socket.send(json.dumps({"key": pair.acorn.read_key}))
        with pytest.raises(ConnectionClosedError, match="1008"):
            socket.recv(timeout=30)


async def test_the_lake_view_of_one_tenant_never_returns_rows_of_another(pair: Pair) -> None:
    from deltalake import DeltaTable

    folder = pair.acorn.server.folder.lake
    uris = DeltaTable(str(folder / "playback")).file_uris()
    files = tuple(LakeFile(uri.removeprefix("file://")) for uri in uris)

    async def snapshot() -> Snapshot:
        return Snapshot({"playback": files})

    engine = DuckDBEngine(EngineLimits())
    try:
        seen = {}
        for tenant in (pair.acorn, pair.birch):
            view = TenantView(engine, tenant.id, snapshot)
            found = await view.query(tables.events("playback").select("track_id", "user_id"))
            seen[tenant.id] = set(found.column("track_id").to_pylist())
    finally:
        await engine.close()
    assert MARK in seen[pair.birch.id]
    assert MARK not in seen[pair.acorn.id]
    assert {"a", "a2"} <= seen[pair.acorn.id] <= {"a", "a2", "t-1"}


def test_one_persons_pseudonym_differs_between_tenants(pair: Pair) -> None:
    assert pair.acorn.pseudonym(MARK) != pair.birch.pseudonym(MARK)
