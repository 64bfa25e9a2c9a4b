"""A gateway's control API over a real data folder, with two tenants that must not see each other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

from collectors.app.folder import DataFolder
from collectors.clock import SystemClock
from collectors.config.server import IntakeConfig, ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.drivers.bus import BusPublisher
from collectors.drivers.control_store import Scope
from collectors.errors import StorageUnavailable, UnknownName
from collectors.server.api import create_api
from collectors.server.auth import Authenticator
from collectors.server.live import HEARTBEAT_SECONDS, LiveHub, LiveLimits
from collectors.server.state import GatewayProgress, GatewayState, ReplayEdit

NOW_US = 1_790_000_000_000_000


class SteppedClock(SystemClock):
    """Time that stands still until a test moves it; sleeping is real."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now_us(self) -> int:
        return NOW_US + round(self.elapsed * 1e6)

    def monotonic(self) -> float:
        return 1000.0 + self.elapsed

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds


class BeatingClock(SteppedClock):
    """Sleeps as long as heartbeats are apart end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.due = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds == HEARTBEAT_SECONDS:
            await self.due.wait()
            self.due.clear()
        else:
            await super().sleep(seconds)


class Worker(BusPublisher):
    """The worker's end of the bus, which can be waited for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.heard = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.set()
        await super()._accept(reader, writer)


@dataclass
class Replays:
    """Stands where the gateway puts its event path: notes what it is asked and answers as a receipt does."""

    asked: list[tuple[str, int, ReplayEdit]] = field(default_factory=list)

    async def __call__(self, tenant: str, position: int, edit: ReplayEdit) -> dict[str, object]:
        if position == 9:
            raise StorageUnavailable("the log can't be written", retry_after=3.0)
        if position != 7:
            raise UnknownName(f"there is no dead letter at position {position}; it may have been replayed")
        self.asked.append((tenant, position, edit))
        return {
            "accepted": 1,
            "duplicate": 0,
            "rejected": 0,
            "dropped": 0,
            "position": 8,
            "dead_letter": None,
            "reasons": [],
        }


@dataclass
class Gateway:
    """What a test holds: the API, its state, and a key of each kind."""

    folder: DataFolder
    state: GatewayState
    clock: SteppedClock
    hub: LiveHub
    app: FastAPI
    replays: Replays
    progress: list[GatewayProgress]
    keys: dict[str, str]

    def client(self, key: str | None = None, *, raise_bugs: bool = True) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=raise_bugs)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)


def build(
    path: Path, *, limits: LiveLimits | None = None, min_free_bytes: int = 0, clock: SteppedClock | None = None
) -> Gateway:
    clock = clock or SteppedClock()
    folder = DataFolder(path, clock)
    folder.log.mkdir(parents=True)
    keys = {}
    for tenant in ("acorn", "birch"):
        folder.control.put_tenant(tenant, TenantConfig())
        folder.keys.create(tenant)
        for scope in Scope:
            keys[f"{tenant}-{scope}"] = folder.control.create_key(tenant, [scope])
    for scope in Scope:
        keys[f"all-{scope}"] = folder.control.create_key(None, [scope])
    hub = LiveHub(folder.bus, clock, limits)
    replays = Replays()
    progress = [GatewayProgress(0, 0, 0)]
    state = GatewayState(
        control=folder.control,
        keys=folder.keys,
        ledger=folder.ledger,
        samples=folder.samples,
        alerting=folder.alerting,
        hub=hub,
        clock=clock,
        config=ServerConfig(data=path, intake=IntakeConfig(min_free_bytes=min_free_bytes)),
        authenticator=Authenticator(folder.control, clock),
        replay=replays,
        progress=lambda: progress[0],
    )
    return Gateway(folder, state, clock, hub, create_api(state), replays, progress, keys)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, hub: LiveHub) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._hub = hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.close()
        await super().shutdown(sockets)


@contextlib.contextmanager
def served(gateway: Gateway) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """Serve the API for real on a free port; gives its address and the event loop it runs on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            gateway.app, http="httptools", ws="websockets-sansio", log_config=None, access_log=False, lifespan="on"
        )
        server = _Server(config, gateway.hub)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        assert server.up.wait(20)
        assert server.loop is not None
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", server.loop
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextlib.asynccontextmanager
async def working(gateway: Gateway) -> AsyncIterator[Worker]:
    """A worker on the bus, once the hub has found it."""
    worker = Worker(gateway.folder.bus)
    await worker.open()
    try:
        async with asyncio.timeout(20):
            await worker.heard.wait()
        yield worker
    finally:
        await worker.close()


class Events:
    """Reads an event stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any]:
        """Return the next event as its fields, the data decoded; comments and retry hints have none."""
        event: dict[str, Any] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                if not line:
                    return event
                name, _, value = line.partition(": ")
                event[name] = orjson.loads(value) if name == "data" else value
        raise EOFError

    async def rest(self) -> Sequence[dict[str, Any]]:
        found = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(await self.next())
        return found


@contextlib.asynccontextmanager
async def listening(address: str, key: str, tenant: str, **headers: str) -> AsyncIterator[Events]:
    """An open event stream; the subscription stands by the time this is entered."""
    sent = {"authorization": f"Bearer {key}", **headers}
    async with (
        httpx.AsyncClient(headers=sent, timeout=30) as client,
        client.stream("GET", f"http://{address}/v1/tenants/{tenant}/stream") as response,
    ):
        yield Events(response)


def samples_frame(tenant: str, value: float, metric: str = "test.value") -> dict[str, object]:
    sample = {"metric": metric, "labels": {}, "time": NOW_US, "value": value}
    return {"event": "samples", "tenant": tenant, "data": {"time": NOW_US, "samples": [sample]}}


def alert_frame(tenant: str, alert_id: str) -> dict[str, object]:
    return {"event": "alert", "tenant": tenant, "data": {"id": alert_id, "state": "firing"}}


def status_frame(tenant: str, **changes: object) -> dict[str, object]:
    collector = {
        "name": f"{tenant}_collector",
        "state": "running",
        "runs": 3,
        "failures": 1,
        "issues": 0,
        "samples": 12,
        "last_success": NOW_US,
        "last_duration_s": 0.25,
        "lateness_s": 0.0,
        "last_error": "",
        "breaker": "closed",
        "retries": 0,
        "skipped": 0,
        "stuck": False,
        "cpu_seconds": 0.5,
        "queries": 3,
        "bytes_read": 4096,
    }
    data = {"collectors": [collector], "freshness_seconds": 0.5, "events_per_second": 120.0, **changes}
    return {"event": "status", "tenant": tenant, "data": data}


WORKER_FRAME: dict[str, object] = {
    "event": "worker",
    "tenant": None,
    "data": {"behind_records": 4, "loaded_position": 9, "time": NOW_US},
}
