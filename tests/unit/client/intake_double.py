"""A real HTTP server that keeps the intake's contract, with a ledger and faults to inject; and clocks."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import uvicorn

from collectors.clock import SYSTEM_CLOCK
from collectors.model.event_types import EVENT_TYPES

START_US = 1_800_000_000_000_000

# Faults that a client must survive; "after" means that the server took the events all the same.
RETRYABLE = ("busy", "limited", "error", "drop_before", "drop_after", "nonsense_after", "short_after", "hang_after")


@dataclass(frozen=True)
class Request:
    path: str
    key: str
    authorization: str
    content_type: str
    body: bytes
    fault: str | None

    @property
    def event_type(self) -> str:
        return self.path.rsplit("/", 1)[1]

    @property
    def table(self) -> pa.Table:
        return pa.ipc.open_stream(self.body).read_all()


class Intake:
    """Stores each event id once. ``faults`` are used up one a request; ``max_rows`` answers 413 to larger ones."""

    def __init__(self) -> None:
        self.faults: deque[str] = deque()
        self.always: str | None = None
        self.max_rows: int | None = None
        self.retry_after = "1"
        self.rejects: Callable[[dict], str | None] = lambda row: None
        self.requests: list[Request] = []
        self.stored: dict[object, dict] = {}
        self.rejected = 0
        self.changed = threading.Condition()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout=20), "the server waited in vain"

    def rows(self) -> list[dict]:
        return list(self.stored.values())

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message.get("more_body"):
                break
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        transport = receive.__self__.transport
        with self.changed:
            fault = self.faults.popleft() if self.faults else self.always
            request = Request(
                scope["path"],
                headers["idempotency-key"],
                headers["authorization"],
                headers["content-type"],
                body,
                fault,
            )
            self.requests.append(request)
            status, answer = self._answer(request)
            self.changed.notify_all()
        if fault in {"drop_before", "drop_after"}:
            transport.abort()
            return
        if fault == "hang_after":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        out = [(b"content-type", b"application/json")]
        if fault in {"busy", "limited"}:
            out += [(b"retry-after", self.retry_after.encode())] if fault == "busy" else []
        content = b"<html>welcome</html>" if fault == "nonsense_after" else json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": status, "headers": out})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, request: Request) -> tuple[int, dict]:
        fault = request.fault
        refusals = {"busy": 503, "limited": 429, "error": 500}
        if fault in refusals or fault == "drop_before" or (fault or "").isdigit():
            status = refusals.get(fault) or int(fault if fault.isdigit() else 500)
            return status, {"error": {"code": "injected", "message": "as the test wants"}}
        table = request.table
        if self.max_rows is not None and table.num_rows > self.max_rows:
            return 413, {"error": {"code": "too_large", "message": "too many rows"}}
        answer = self._take(request.event_type, table)
        if fault == "short_after":
            answer["accepted"] -= 1
        return (200 if fault == "nonsense_after" else 202), answer

    def _take(self, event_type: str, table: pa.Table) -> dict:
        expected = EVENT_TYPES[event_type].wire_schema
        assert table.schema.remove(0) == expected.remove(0), "not the wire schema"
        assert table.schema.field(0).type in {pa.binary(16), pa.string()}
        accepted = duplicate = 0
        reasons = []
        for place, row in enumerate(table.to_pylist()):
            if reason := self.rejects(row):
                reasons.append({"row": place, "reason": "not_allowed", "detail": reason})
            elif row["event_id"] in self.stored:
                duplicate += 1
            else:
                accepted += 1
                self.stored[row["event_id"]] = row
        self.rejected += len(reasons)
        counts = {"accepted": accepted, "duplicate": duplicate, "rejected": len(reasons), "dropped": 0}
        return {**counts, "position": 1, "dead_letter": None, "reasons": reasons[:10]}


class Server:
    """Runs whichever ``intake`` it has at the moment on a port of 127.0.0.1, in a thread."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.port = 0
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]

        async def app(scope, receive, send):
            await self.intake(scope, receive, send)

        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
        self._server = server = uvicorn.Server(config)
        listener.listen(64)  # from here on clients can connect, and wait until the thread serves them
        self._listener = listener
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


class QuickClock:
    """Time passes only, and at once, when somebody sleeps."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.slept: list[float] = []

    def now_us(self) -> int:
        return START_US + int(self.elapsed * 1e6)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += max(0.0, seconds)
        await SYSTEM_CLOCK.sleep(0)


class ManualClock:
    """Time stands still until a test advances it."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._changed = threading.Condition()

    def now_us(self) -> int:
        return START_US + int(self._elapsed * 1e6)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await SYSTEM_CLOCK.sleep(0)
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._changed:
            self._sleepers.append((self._elapsed + seconds, loop, future))
            self._changed.notify_all()
        await future

    def wait_for_sleeper(self) -> None:
        """Return once somebody sleeps."""
        with self._changed:
            awake = self._changed.wait_for(lambda: any(not f.done() for _, _, f in self._sleepers), timeout=20)
            assert awake, "nobody went to sleep"

    def advance(self, seconds: float) -> None:
        with self._changed:
            self._elapsed += seconds
            due = [s for s in self._sleepers if s[0] <= self._elapsed]
            self._sleepers = [s for s in self._sleepers if s[0] > self._elapsed]
        for _, loop, future in due:
            loop.call_soon_threadsafe(lambda f=future: f.done() or f.set_result(None))
