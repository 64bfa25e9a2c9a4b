"""The real server for tests: gateway and worker as two processes on one data folder, driven over HTTP and signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, TypeVar

import httpx

from collectors.app.folder import DataFolder
from collectors.app.supervisor import prepare_folder
from collectors.clock import SYSTEM_CLOCK
from collectors.config.server import ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Scope
from collectors.privacy.aead import associated_data, open_sealed
from tests.e2e.lake import lake_rows

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long anything may take before a test gives up; nothing is expected to take nearly as long."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "collectors.server.gateway",
        "collectors.app.worker",
        "collectors.catalog.security.security_events",
        "collectors.catalog.business.churn_analytics",
        "collectors.catalog.business.customer_lifetime_value",
        "collectors.catalog.business.revenue_metrics",
        "collectors.catalog.business.tenant_business_metrics",
        "collectors.catalog.business.user_engagement",
        "collectors.catalog.ml.experiment_tracking",
        "collectors.catalog.performance.system_performance",
        "ibis.backends.duckdb",
        "uvloop",
    ]
)

DEFAULTS: Mapping[str, Any] = {
    "intake": {"min_free_bytes": 0, "dedupe_bytes": 2**20, "max_body_bytes": 2**20},
    "lake": {"load_seconds": 0.05, "rollup_seconds": 1.0},
}


def eventually(what: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first true thing ``what`` returns; a refused connection counts as false."""
    deadline = SYSTEM_CLOCK.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if found := what():
                return found
        if SYSTEM_CLOCK.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} seconds")
        threading.Event().wait(0.02)


def _enter(role: str, log: Path) -> None:
    """Do in a fresh process what ``collectors serve`` does for its children, with stderr in a file."""
    from collectors.monitoring.logs import configure_logs

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    configure_logs("json", role=role)


def _gateway(text: str, listener: socket.socket, log: Path) -> None:
    import uvloop

    from collectors.server.gateway import serve_gateway

    _enter("gateway", log)
    uvloop.run(serve_gateway(ServerConfig.model_validate_json(text), listener))


def _worker(text: str, log: Path) -> None:
    from collectors.app.worker import work

    _enter("worker", log)
    asyncio.run(work(ServerConfig.model_validate_json(text)))


@dataclass(frozen=True)
class TenantHandle:
    """A tenant of a running server, with a client for each kind of key."""

    server: LiveServer
    id: str
    write_key: str
    read_key: str
    admin_key: str

    @property
    def events(self) -> str:
        return f"/v1/tenants/{self.id}/events"

    def post(
        self, body: bytes | str, type_: str = "playback", media: str = "application/x-ndjson", **headers: str
    ) -> httpx.Response:
        path = f"{self.events}/{type_}" if type_ else self.events
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.server.client.post(
            path, content=body, headers={"content-type": media, "authorization": f"Bearer {self.write_key}", **named}
        )

    def send(self, *events: Mapping[str, Any], type_: str = "playback", **headers: str) -> dict[str, Any]:
        """Send events as NDJSON, insist on 202 and return the receipt."""
        response = self.post("\n".join(map(json.dumps, events)), type_, **headers)
        assert response.status_code == 202, response.text
        return dict(response.json())

    def get(self, path: str, **query: Any) -> Any:
        response = self.server.client.get(
            f"/v1/tenants/{self.id}/{path}", params=query, headers={"authorization": f"Bearer {self.read_key}"}
        )
        assert response.status_code == 200, response.text
        return response.json()

    def ledger(self) -> dict[str, int]:
        return dict(self.get("ledger")["total"])

    def settled(self) -> dict[str, int]:
        """Wait until everything accepted is in the lake, and return the ledger."""

        def done() -> dict[str, int] | None:
            found = self.ledger()
            return found if found["in_flight"] == 0 else None

        found = eventually(done)
        assert found["balance"] == 0
        return {k: v for k, v in found.items() if v and k not in {"balance", "in_flight"}}

    def lake(self, type_: str = "playback") -> list[dict[str, Any]]:
        """Return the tenant's rows of a table once everything accepted is there, by event id."""
        self.settled()
        return [r for r in lake_rows(self.server.folder.lake / type_) if r["tenant_id"] == self.id]

    @contextlib.contextmanager
    def listen(self) -> Iterator[Iterator[tuple[str, str]]]:
        """Open the tenant's event stream; what comes out are pairs of event and data."""
        headers = {"authorization": f"Bearer {self.read_key}"}
        with self.server.client.stream("GET", f"/v1/tenants/{self.id}/stream", headers=headers) as response:
            assert response.status_code == 200

            def frames() -> Iterator[tuple[str, str]]:
                event = ""
                for line in response.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data":
                        yield event, value

            yield frames()

    def properties(self, row: Mapping[str, Any], type_: str = "playback") -> dict[str, Any]:
        """Open the properties of a row of the lake, which only the tenant's keys can."""
        sealed = row["properties"]
        if sealed is None:
            return {}
        place = associated_data(self.id, type_, "properties")
        return dict(json.loads(open_sealed(self.server.folder.keys.keyset(self.id), place, sealed)))

    def pseudonym(self, value: str) -> bytes:
        """Return what becomes of an identifier of this tenant."""
        import pyarrow as pa

        keyset = self.server.folder.keys.keyset(self.id)
        return bytes(keyset.pseudonym.cmac.column(pa.array([value]))[0].as_py())


class LiveServer:
    """Both processes of a server, which may be killed, stopped, and started again on the same folder and port."""

    def __init__(self, path: Path, **overrides: Any) -> None:
        merged = {k: {**DEFAULTS.get(k, {}), **v} if isinstance(v, dict) else v for k, v in overrides.items()}
        self.config = ServerConfig.model_validate({"data": path / "data", **DEFAULTS, **merged})
        self.folder = DataFolder(self.config.data, SYSTEM_CLOCK)
        self.admin_key = prepare_folder(self.folder)
        self.logs = (path / "gateway.log", path / "worker.log")
        self.secrets = [self.admin_key]
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False)
        self.gateway: ForkServerProcess
        self.worker: ForkServerProcess

    def start(self) -> None:
        self.start_gateway()
        self.start_worker()
        self.wait_ready()

    def start_gateway(self) -> None:
        arguments = (self.config.model_dump_json(), self._listener, self.logs[0])
        self.gateway = _CONTEXT.Process(target=_gateway, args=arguments, daemon=True)
        self.gateway.start()

    def start_worker(self) -> None:
        arguments = (self.config.model_dump_json(), self.logs[1])
        self.worker = _CONTEXT.Process(target=_worker, args=arguments, daemon=True)
        self.worker.start()

    def wait_ready(self) -> None:
        def ready() -> bool:
            for process, log in zip((self.gateway, self.worker), self.logs, strict=True):
                if not process.is_alive():
                    raise RuntimeError(f"ended with {process.exitcode}: {log.read_text()[-3000:]}")
            return self.client.get("/health/ready").status_code == 200

        eventually(ready)

    def kill(self, process: ForkServerProcess) -> None:
        process.kill()
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == -signal.SIGKILL

    def stop(self) -> None:
        """Stop both as the supervisor does: the gateway first; each must end by itself."""
        for process in (self.gateway, self.worker):
            if process.is_alive():
                process.terminate()
                process.join(PATIENCE_SECONDS)
                ended = process.exitcode
                process.kill()
                assert ended in (0, -signal.SIGTERM)  # uvicorn ends by the signal it was stopped with

    def close(self) -> None:
        self.client.close()
        self.gateway.kill()
        self.worker.kill()
        self.gateway.join(PATIENCE_SECONDS)
        self.worker.join(PATIENCE_SECONDS)
        self._listener.close()

    @contextlib.contextmanager
    def full_disk(self, process: ForkServerProcess) -> Iterator[None]:
        """Make the kernel refuse ``process`` any growth of its files, as a full disk does."""
        assert process.pid is not None
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def tenant(self, name: str = "t", **settings: Any) -> TenantHandle:
        """Create a tenant that nobody else uses."""
        tenant = f"{name}-{uuid.uuid4().hex[:8]}"
        control = self.folder.control
        self.folder.keys.create(tenant)
        control.put_tenant(tenant, TenantConfig.model_validate({"real_time_enabled": False, **settings}))
        keys = [control.create_key(tenant, [scope]) for scope in (Scope.WRITE, Scope.READ, Scope.ADMIN)]
        self.secrets += keys
        return TenantHandle(self, tenant, *keys)

    def log_text(self) -> str:
        return "".join(log.read_text() for log in self.logs if log.exists())


@contextlib.contextmanager
def running(path: Path, **overrides: Any) -> Iterator[LiveServer]:
    """Run a server; at the end its logs must hold no secret, and nothing that calls itself a bug."""
    server = LiveServer(path, **overrides)
    try:
        server.start()
        yield server
    finally:
        server.close()
    text = server.log_text()
    assert not [secret for secret in server.secrets if secret.split("_", 2)[2] in text]
    assert "Traceback" not in text, text[-3000:]
    assert "api.bug" not in text, text[-3000:]
    assert "intake.prepare_failed" not in text, text[-3000:]
