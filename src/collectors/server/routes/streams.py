"""Live streams of a tenant: Server-Sent Events and WebSocket, with the same frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Header, WebSocket
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from collectors.drivers.control_store import Scope
from collectors.errors import CollectorsError, Unauthenticated
from collectors.server.auth import Authenticator, Headers
from collectors.server.live import LiveHub, Subscription
from collectors.server.routes.context import READERS, TENANT, Given, TenantId, errors, resource

router = resource("live", READERS, prefix=TENANT)
sockets = resource("live", prefix=TENANT)  # a WebSocket may bring its key later, so its route checks it itself

_OPENING = b"retry: 1000\n: live\n\n"
_HEARTBEAT = b": still here\n\n"
_LAST_WORD_SECONDS = 1.0
_FIRST_MESSAGE_SECONDS = 10.0
_FIRST_MESSAGE_CHARACTERS = 1024
_POLICY_VIOLATION, _SERVICE_RESTART, _TRY_AGAIN_LATER = 1008, 1012, 1013  # RFC 6455 and its registry of codes

LastEventId = Annotated[str, Header(max_length=200, description="Id of the last event seen; what came after is sent.")]


@dataclass(frozen=True)
class _Guard:
    """Whether the listener may still listen: asked for every frame, so that revoking a key ends its streams."""

    authenticator: Authenticator
    headers: Headers
    tenant: str

    async def check(self) -> None:
        key = await self.authenticator.identify(self.headers)
        await self.authenticator.permit(key, Scope.READ, self.tenant)


class EventStream(Response):
    """Frames as Server-Sent Events, until either side ends it."""

    media_type = "text/event-stream"

    def __init__(self, hub: LiveHub, guard: _Guard, last_id: int | None) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub = hub
        self._guard = guard
        self._last_id = last_id

    async def __call__(self, _: AsgiScope, receive: Receive, send: Send) -> None:
        with self._hub.subscribe(self._guard.tenant, self._last_id) as subscription:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _first_of(self._send(subscription, send), _hung_up(receive), _cut_off(subscription))
        # Whoever is too slow even for this sees the connection break, and comes back as well.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, subscription: Subscription, send: Send) -> None:
        await send({"type": "http.response.body", "body": _OPENING, "more_body": True})
        async for frame in subscription:
            try:
                await self._guard.check()
            except CollectorsError:
                return
            await send({"type": "http.response.body", "body": frame.sse if frame else _HEARTBEAT, "more_body": True})


@router.get(
    "/stream",
    response_class=Response,
    responses={
        **errors(404),
        200: {
            "description": "Events named samples, alert, ledger and status, each with JSON data; a comment every 15 s.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def stream_events(
    request: Request, context: Given, tenant: TenantId, last_event_id: LastEventId = ""
) -> Response:
    """Stream what happens to a tenant, as Server-Sent Events.

    Whoever sends the id of the last event it saw gets what came after, as far as it is still in memory.
    """
    gateway = context.gateway
    guard = _Guard(gateway.authenticator, request.scope["headers"], tenant)
    last_id = int(last_event_id) if last_event_id.isdecimal() else None
    return EventStream(gateway.hub, guard, last_id)


@sockets.websocket("/ws")
async def stream_messages(socket: WebSocket, context: Given, tenant: str) -> None:
    """Stream the same by WebSocket; a browser, which can't send headers, sends ``{"key": KEY}`` first."""
    gateway = context.gateway
    headers: Headers = socket.scope["headers"]
    if any(name == b"authorization" for name, _ in headers):
        guard = _Guard(gateway.authenticator, headers, tenant)
        await guard.check()  # what is raised before the connection is accepted becomes an HTTP answer
        with gateway.hub.subscribe(tenant) as subscription:
            await socket.accept()
            await _converse(socket, subscription, guard)
        return
    await socket.accept()
    try:
        guard = _Guard(gateway.authenticator, await _key_from_message(socket), tenant)
        await guard.check()
        subscription = gateway.hub.subscribe(tenant)
    except CollectorsError as error:
        await _close(socket, _POLICY_VIOLATION, str(error))
        return
    with subscription:
        await _converse(socket, subscription, guard)


async def _converse(socket: WebSocket, subscription: Subscription, guard: _Guard) -> None:
    """Send frames until the client leaves, is too slow, or may no longer listen; or the server stops."""
    code = _SERVICE_RESTART

    async def send() -> None:
        nonlocal code
        async for frame in subscription:
            try:
                await guard.check()
            except CollectorsError:
                code = _POLICY_VIOLATION
                return
            if frame is not None:  # the server's own pings are the signs of life here
                await socket.send_text(frame.text)

    await _first_of(send(), _left(socket), _cut_off(subscription))
    await _close(socket, _TRY_AGAIN_LATER if subscription.cut_off.is_set() else code, "")


async def _key_from_message(socket: WebSocket) -> Headers:
    """Return the headers that the first message stands for."""
    wanted = 'the first message must be {"key": "…"}'
    try:
        async with asyncio.timeout(_FIRST_MESSAGE_SECONDS):
            message = await socket.receive()
        text = message.get("text") or ""
        key = orjson.loads(text)["key"] if len(text) <= _FIRST_MESSAGE_CHARACTERS else ""
        return [(b"authorization", b"Bearer " + key.encode("ascii"))]
    except (TimeoutError, ValueError, KeyError, TypeError, AttributeError):
        raise Unauthenticated(wanted) from None


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close, unless the client has; a client that does not even take this is left to the server's time limits."""
    with contextlib.suppress(RuntimeError, TimeoutError):
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            await socket.close(code, reason)


async def _first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until the first has ended, then end the others; raise what it raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _left(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _cut_off(subscription: Subscription) -> None:
    await subscription.cut_off.wait()
