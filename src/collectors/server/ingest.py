"""The hot routes: events in by HTTP, receipts out. Plain ASGI, because a framework's share of a request is measurable.

Everything that is not an event route is passed on to the control API.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from collectors.clock import Clock
from collectors.config.server import ServerConfig
from collectors.drivers.control_store import Scope
from collectors.errors import (
    BadInput,
    CollectorsError,
    MalformedBody,
    Overloaded,
    StorageUnavailable,
    TooLarge,
)
from collectors.intake.body import decompress
from collectors.intake.cloudevents import decode_cloudevents
from collectors.intake.decoded import Limits
from collectors.intake.mixed import decode_mixed
from collectors.intake.pipeline import IntakePipeline
from collectors.intake.prepare import Lane, Receipt, Submission
from collectors.intake.segment import BATCH, CALLS, decode_segment
from collectors.model.event_types import event_type
from collectors.server.answers import SECURITY_HEADERS
from collectors.server.auth import Authenticator
from collectors.server.receipts import parts, receipt_dict

Scope_ = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope_, Receive, Send], Awaitable[None]]

_ARROW = frozenset({"application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"})
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
_SEGMENT_PATHS = frozenset(f"/v1/{call}" for call in (*CALLS, BATCH))
_SEGMENT = ("", "")
_NOT_POST = {"error": {"code": "method_not_allowed", "message": "events are sent to this address by POST alone"}}
_THREAD_FROM_BYTES = 16_384
_SECURITY = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
T = TypeVar("T")
_DISK_CHECK_SECONDS = 1.0


class IngestApp:
    """Answer the event routes, and hand everything else to ``api``."""

    def __init__(
        self, api: App, pipeline: IntakePipeline, authenticator: Authenticator, config: ServerConfig, clock: Clock
    ) -> None:
        self._api = api
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._config = config.intake
        self._limits = Limits(max_rows=config.intake.max_rows, max_depth=config.intake.max_depth)
        self._clock = clock
        self._disk = _DiskGuard(config.data, config.intake.min_free_bytes, clock)

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        """Serve one connection event stream as ASGI 3 defines it."""
        route = _event_route(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._api(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                self._authenticator.authenticate(scope["headers"])
                await _respond(send, 405, _NOT_POST, [(b"allow", b"POST")])
            elif route == _SEGMENT:
                await self._segment(scope, receive, scope["path"])
                await _respond(send, 200, {"success": True})
            else:
                await _respond(send, 202, await self._events(scope, receive, *route))
        except CollectorsError as error:
            await _respond_error(send, error)

    async def submit(self, submissions: Sequence[Submission]) -> dict[str, object]:
        """Send parts of one request through the pipeline and return the answer once all are durable."""
        self._disk.check()
        loop = asyncio.get_running_loop()
        waiters: list[asyncio.Future[Receipt]] = []
        for submission in submissions:
            waiter: asyncio.Future[Receipt] = loop.create_future()
            self._pipeline.submit(submission, waiter)
            waiters.append(waiter)
        return receipt_dict(await asyncio.gather(*waiters) if len(waiters) != 1 else [await waiters[0]])

    async def _events(self, scope: Scope_, receive: Receive, tenant: str, type_name: str) -> dict[str, object]:
        headers = dict(scope["headers"])
        key = self._authenticator.authenticate(scope["headers"])
        self._authenticator.require(key, Scope.WRITE, tenant)
        media = headers.get(b"content-type", b"application/json").decode("latin-1").partition(";")[0].strip().lower()
        known = event_type(type_name) if type_name else None
        body = await self._body(headers, receive)
        received = self._clock.now_us()
        idempotency = _idempotency(headers, tenant)
        if b"ce-specversion" in headers or media.startswith("application/cloudevents"):
            texts = {k.decode("latin-1"): v.decode("latin-1") for k, v in headers.items()}
            many = await _off_loop(len(body), decode_cloudevents, texts, body, self._limits)
            return await self.submit(parts(tenant, many, received, idempotency))
        if known is not None:
            lane = _lane(media)
            return await self.submit([Submission(tenant, known, lane, body, received, idempotency)])
        if media not in _NDJSON and media != "application/json":
            raise BadInput("events of mixed types are sent as application/x-ndjson, each line with a type")
        many = await _off_loop(len(body), decode_mixed, body, self._limits)
        return await self.submit(parts(tenant, many, received, idempotency))

    async def _segment(self, scope: Scope_, receive: Receive, path: str) -> None:
        headers = dict(scope["headers"])
        key = self._authenticator.authenticate(scope["headers"])
        if key.tenant is None:
            raise BadInput("a Segment write key belongs to one tenant; this key holds for all")
        self._authenticator.require(key, Scope.WRITE, key.tenant)
        body = await self._body(headers, receive)
        received = self._clock.now_us()
        many = await _off_loop(len(body), decode_segment, path, body, received)
        await self.submit(parts(key.tenant, many, received, b""))

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit = self._config.max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes; send fewer events at once")
        chunks = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MalformedBody("the body ended early")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the body is larger than {limit} bytes; send fewer events at once")
            chunks.append(chunk)
            if not message.get("more_body"):
                break
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if encoding in ("", "identity"):
            return body
        return await _off_loop(len(body), decompress, body, encoding, limit)


class _DiskGuard:
    """Refuse events while the disk is nearly full, so that what was accepted can still be loaded."""

    def __init__(self, folder: Path, min_free_bytes: int, clock: Clock) -> None:
        self._folder = folder
        self._min_free = min_free_bytes
        self._clock = clock
        self._next = 0.0
        self._full = False

    def check(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + _DISK_CHECK_SECONDS
            self._full = shutil.disk_usage(self._folder).free < self._min_free
        if self._full:
            raise StorageUnavailable("the disk is nearly full; free space on the data folder", retry_after=5.0)


async def _off_loop(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Call ``function`` in a thread if the body is large enough for others to notice."""
    if size < _THREAD_FROM_BYTES:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _event_route(path: str) -> tuple[str, str] | None:
    """Return tenant and event type of an event route, both empty for Segment's; None for any other address."""
    if path in _SEGMENT_PATHS:
        return _SEGMENT
    parts = path.split("/")
    if len(parts) in (5, 6) and parts[:3] == ["", "v1", "tenants"] and parts[3] and parts[4] == "events":
        return parts[3], parts[5] if len(parts) == 6 else ""
    return None


def _lane(media: str) -> Lane:
    if media in _ARROW:
        return Lane.ARROW
    if media in _NDJSON:
        return Lane.NDJSON
    if media == "application/json":
        return Lane.JSON
    raise BadInput(
        "this content type is not understood; send application/vnd.apache.arrow.stream, application/x-ndjson,"
        " application/json or CloudEvents"
    )


def _idempotency(headers: dict[bytes, bytes], tenant: str) -> bytes:
    key = headers.get(b"idempotency-key", b"")
    if len(key) > 256:
        raise BadInput("the Idempotency-Key is longer than 256 bytes")
    return b"%s\0%s" % (tenant.encode(), key) if key else b""


async def _respond(send: Send, status: int, body: object, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
    payload = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload)), *_SECURITY, *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})


async def _respond_error(send: Send, error: CollectorsError) -> None:
    body: dict[str, object] = {"code": error.code, "message": str(error)}
    extra: list[tuple[bytes, bytes]] = []
    if isinstance(error, MalformedBody) and error.position:
        body["position"] = error.position
    if isinstance(error, Overloaded | StorageUnavailable):
        extra.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if error.http_status == 401:
        extra.append((b"www-authenticate", b'Bearer realm="collectors"'))
    await _respond(send, error.http_status, {"error": body}, extra)
