from __future__ import annotations

import asyncio
import base64
import contextlib
import socket

import httpx
import orjson
import pytest
import websockets
from server_world import (
    BeatingClock,
    Gateway,
    alert_frame,
    build,
    listening,
    samples_frame,
    served,
    status_frame,
    working,
)
from websockets.asyncio.client import ClientConnection, connect

from collectors.server.live import LiveLimits


async def test_what_the_worker_publishes_arrives_as_events_of_its_tenant(gateway: Gateway) -> None:
    with served(gateway) as (address, _):
        async with (
            working(gateway) as worker,
            listening(address, gateway.keys["acorn-read"], "acorn") as acorn,
            listening(address, gateway.keys["all-read"], "birch") as birch,
        ):
            assert acorn.response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert acorn.response.headers["cache-control"] == "no-store"
            assert (await acorn.next())["retry"] == "1000"
            frames = [samples_frame("acorn", 1.5), alert_frame("acorn", "a"), status_frame("acorn")]
            for frame in frames:
                worker.publish(frame)
            worker.publish(alert_frame("birch", "b"))
            got = [await acorn.next() for _ in frames]
            assert [(e["event"], e["data"]) for e in got] == [(f["event"], f["data"]) for f in frames]
            ids = [int(e["id"]) for e in got]
            assert ids == sorted(set(ids))
            await birch.next()
            assert (await birch.next())["data"]["id"] == "b"


async def test_a_reader_who_comes_back_gets_what_it_missed(gateway: Gateway) -> None:
    key = gateway.keys["acorn-read"]
    with served(gateway) as (address, _):
        async with working(gateway) as worker:
            async with listening(address, key, "acorn") as events:
                await events.next()
                worker.publish(alert_frame("acorn", "seen"))
                last = (await events.next())["id"]
            async with listening(address, key, "birch-is-not-mine") as refused:
                assert refused.response.status_code == 404
            async with listening(address, gateway.keys["all-read"], "acorn") as witness:
                await witness.next()
                worker.publish(alert_frame("acorn", "missed"))
                assert (await witness.next())["data"]["id"] == "missed"
            async with listening(address, key, "acorn", **{"last-event-id": last}) as events:
                await events.next()
                assert (await events.next())["data"]["id"] == "missed"


@pytest.mark.parametrize("last", ["nonsense", "-1", "9" * 200])
async def test_an_id_that_is_none_of_ours_does_no_harm(gateway: Gateway, last: str) -> None:
    with served(gateway) as (address, _):
        async with (
            working(gateway) as worker,
            listening(address, gateway.keys["acorn-read"], "acorn", **{"last-event-id": last}) as events,
        ):
            assert events.response.status_code == 200
            await events.next()
            worker.publish(alert_frame("acorn", "a"))
            assert (await events.next())["data"]["id"] == "a"


async def test_streams_outlive_the_workers_absence(gateway: Gateway) -> None:
    with served(gateway) as (address, _):
        async with listening(address, gateway.keys["acorn-read"], "acorn") as events:
            await events.next()
            for round_ in range(2):
                async with working(gateway) as worker:
                    worker.publish(alert_frame("acorn", f"a-{round_}"))
                    assert (await events.next())["data"]["id"] == f"a-{round_}"


async def test_revoking_a_key_ends_its_streams_before_another_frame(gateway: Gateway) -> None:
    key = gateway.keys["acorn-read"]
    with served(gateway) as (address, _):
        async with (
            working(gateway) as worker,
            listening(address, key, "acorn") as events,
            connect(f"ws://{address}/v1/tenants/acorn/ws", additional_headers=bearer(key)) as messages,
            listening(address, gateway.keys["acorn-admin"], "acorn") as witness,
        ):
            await events.next()
            await witness.next()
            gateway.folder.control.revoke_key(key.split("_")[1])
            gateway.clock.advance(1.0)
            worker.publish(alert_frame("acorn", "secret"))
            assert (await witness.next())["data"]["id"] == "secret"
            assert await events.rest() == []
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(messages.recv(), 20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008


async def test_a_client_that_reads_nothing_is_cut_off_and_forgotten(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = build(
        tmp_path_factory.mktemp("slow") / "data", limits=LiveLimits(frame_bytes=200_000, dropped_in_a_row=50)
    )
    with served(gateway) as (address, loop):
        host, _, port = address.partition(":")
        key = gateway.keys["acorn-read"]
        request = f"GET /v1/tenants/acorn/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        async with working(gateway) as worker, listening(address, gateway.keys["all-read"], "acorn") as quick:
            await quick.next()
            with socket.create_connection((host, int(port))) as slow:
                slow.sendall(request.encode())
                assert slow.recv(15) == b"HTTP/1.1 200 OK"
                big = "x" * 100_000
                async with asyncio.timeout(60):
                    while await on(loop, gateway) == 2:
                        worker.publish(samples_frame("acorn", 1.0, metric=big))
                        assert (await quick.next())["event"] == "samples"
            assert gateway.hub.dropped_frames >= 50


async def on(loop: asyncio.AbstractEventLoop, gateway: Gateway) -> int:
    """How many subscribers the hub has, as its own event loop sees it."""

    async def count() -> int:
        return gateway.hub.subscribers

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(), loop))


async def test_an_idle_stream_shows_a_sign_of_life_and_a_socket_nothing_but_frames(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    clock = BeatingClock()
    gateway = build(tmp_path_factory.mktemp("idle") / "data", clock=clock)
    key = gateway.keys["acorn-read"]
    with served(gateway) as (address, loop):
        async with (
            connect(f"ws://{address}/v1/tenants/acorn/ws", additional_headers=bearer(key)) as messages,
            listening(address, key, "acorn") as events,
            working(gateway) as worker,
        ):
            await events.next()
            loop.call_soon_threadsafe(clock.due.set)
            assert await events.next() == {"": "still here"}
            worker.publish(alert_frame("acorn", "a"))
            assert (await events.next())["event"] == "alert"
            frame = orjson.loads(await asyncio.wait_for(messages.recv(), 20))
            assert frame["event"] == "alert"


async def test_a_client_that_leaves_is_forgotten(gateway: Gateway) -> None:
    with served(gateway) as (address, loop):
        async with listening(address, gateway.keys["acorn-read"], "acorn") as events:
            await events.next()
            assert await on(loop, gateway) == 1
        async with connect(f"ws://{address}/v1/tenants/acorn/ws", additional_headers=bearer(gateway.keys["all-read"])):
            pass
        async with asyncio.timeout(20):
            while await on(loop, gateway):
                pass


async def test_a_server_that_stops_ends_its_streams(gateway: Gateway) -> None:
    with contextlib.ExitStack() as server:
        address, _ = server.enter_context(served(gateway))
        async with (
            listening(address, gateway.keys["acorn-read"], "acorn") as events,
            connect(
                f"ws://{address}/v1/tenants/acorn/ws", additional_headers=bearer(gateway.keys["acorn-read"])
            ) as messages,
        ):
            await events.next()
            stopped = asyncio.to_thread(server.close)
            rest, closed, _ = await asyncio.gather(events.rest(), ended(messages), stopped)
            assert rest == []
            assert closed == 1012


async def ended(messages: ClientConnection) -> int:
    """Wait until the other side has closed, and return its code."""
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await asyncio.wait_for(messages.recv(), 20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_websocket_gets_the_same_frames(gateway: Gateway) -> None:
    key = gateway.keys["acorn-read"]
    basic = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
    with served(gateway) as (address, _):
        url = f"ws://{address}/v1/tenants/acorn/ws"
        async with (
            working(gateway) as worker,
            connect(url, additional_headers=bearer(key)) as by_header,
            connect(url, additional_headers=basic) as by_basic,
            connect(url) as by_message,
        ):
            await by_message.send(orjson.dumps({"key": key}).decode())
            await by_header.send("whatever a client says is not listened to")
            await by_header.send(b"neither as bytes")
            async with asyncio.timeout(20):
                while gateway.hub.subscribers < 3:
                    await by_message.ping()
            worker.publish(alert_frame("birch", "b"))
            worker.publish(alert_frame("acorn", "a"))
            for messages in (by_header, by_basic, by_message):
                frame = orjson.loads(await asyncio.wait_for(messages.recv(), 20))
                assert frame == {"event": "alert", "data": {"id": "a", "state": "firing"}}


@pytest.mark.parametrize(
    ("key", "tenant", "status"), [("nobody", "acorn", 401), ("birch-read", "acorn", 404), ("acorn-write", "acorn", 403)]
)
async def test_a_websocket_is_refused_as_a_request_would_be(
    gateway: Gateway, key: str, tenant: str, status: int
) -> None:
    with served(gateway) as (address, _):
        url = f"ws://{address}/v1/tenants/acorn/ws"
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connect(url, additional_headers=bearer(gateway.keys.get(key, key))):
                pass
        assert refused.value.response.status_code == status
        async with gateway.client(key) as client:
            same = await client.get("/v1/tenants/acorn/stream")
        assert (refused.value.response.body, same.status_code) == (same.content, status)
        assert refused.value.response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"key":17}',
        '{"key":"å"}',
        '{"key":"ck_0123456789ab_wrong"}',
        '{"key":"%s"}' % ("x" * 2000),
        b'{"key":"as bytes"}',
    ],
)
async def test_a_first_message_without_a_good_key_closes_the_websocket(gateway: Gateway, message: str) -> None:
    with served(gateway) as (address, _):
        async with connect(f"ws://{address}/v1/tenants/acorn/ws") as messages:
            await messages.send(message)
            assert await ended(messages) == 1008


async def test_a_first_message_opens_only_the_keys_own_tenant(gateway: Gateway) -> None:
    with served(gateway) as (address, _):
        async with connect(f"ws://{address}/v1/tenants/birch/ws") as messages:
            await messages.send(orjson.dumps({"key": gateway.keys["acorn-admin"]}).decode())
            assert await ended(messages) == 1008


async def test_a_client_that_leaves_without_a_first_message_harms_nobody(gateway: Gateway) -> None:
    with served(gateway) as (address, _):
        async with connect(f"ws://{address}/v1/tenants/acorn/ws"):
            pass
        async with httpx.AsyncClient(headers=bearer(gateway.keys["all-read"])) as client:
            assert (await client.get(f"http://{address}/v1/overview")).status_code == 200


async def test_too_many_streams_are_told_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = build(tmp_path_factory.mktemp("full") / "data", limits=LiveLimits(per_tenant=1))
    key = gateway.keys["acorn-read"]
    with served(gateway) as (address, _):
        async with listening(address, key, "acorn"):
            async with listening(address, key, "acorn") as refused:
                body = orjson.loads(await refused.response.aread())
            assert (refused.response.status_code, refused.response.headers["retry-after"]) == (429, "5")
            assert body["error"]["code"] == "overloaded"
            with pytest.raises(websockets.InvalidStatus):
                await connect(f"ws://{address}/v1/tenants/acorn/ws", additional_headers=bearer(key))
            async with connect(f"ws://{address}/v1/tenants/acorn/ws") as messages:
                await messages.send(orjson.dumps({"key": key}).decode())
                assert await ended(messages) == 1008
