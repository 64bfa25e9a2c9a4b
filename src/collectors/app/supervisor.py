"""Keep gateway and worker alive: start both, start again what dies, stop both together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from collectors.app.folder import DataFolder
from collectors.clock import SystemClock
from collectors.config.server import ServerConfig
from collectors.config.tenant import PLATFORM_TENANT, TenantConfig
from collectors.drivers.control_store import Scope
from collectors.errors import ConfigError, UnknownName

log = structlog.get_logger()

_CHECK_SECONDS = 0.1
_BACKOFF_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_STABLE_SECONDS = 30.0
_STOP_SECONDS = 20.0


@dataclass(slots=True)
class _Child:
    role: str
    arguments: list[str]
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started: float = 0.0
    due: float = 0.0


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the data folder: a second server on it is refused."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another server already uses the data folder {folder}",
                fix="stop it, or give this one a folder of its own with --data.",
            ) from None
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def bind(config: ServerConfig) -> socket.socket:
    """Return the listening socket, which outlives gateways: requests wait in it while one is started again."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"can't listen on {config.host}:{config.port}: {error.strerror}",
            where="port",
            fix="choose another with --port, or stop what uses it.",
        ) from None
    listener.listen(2048)
    return listener


def prepare_folder(folder: DataFolder) -> str:
    """Create the databases, the operator's tenant and, at the first start, an admin key; return the admin key."""
    # Both processes open these. SQLite does not wait for another process that is changing to WAL at the same moment.
    for store in (folder.ledger, folder.samples, folder.alerting):
        assert store is not None
    with contextlib.suppress(UnknownName):
        folder.control.tenant(PLATFORM_TENANT)
        folder.keys.keyset(PLATFORM_TENANT)
        return folder.admin_key_file.read_text().strip() if folder.admin_key_file.exists() else ""
    folder.control.put_tenant(PLATFORM_TENANT, TenantConfig())
    folder.keys.create(PLATFORM_TENANT)
    key = folder.control.create_key(None, [Scope.ADMIN], label="first start")
    descriptor = os.open(folder.admin_key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key


class Supervisor:
    """Run both processes until asked to stop."""

    def __init__(self, config: ServerConfig, listener: socket.socket, clock: SystemClock) -> None:
        text = config.model_dump_json()
        run = [sys.executable, "-m", "collectors.cli.process"]
        self._listener = listener
        descriptor = listener.fileno()
        self._clock = clock
        self._children: Sequence[_Child] = (
            _Child("gateway", [*run, "gateway", text, str(descriptor)], (descriptor,)),  # first: somebody waits for it
            _Child("worker", [*run, "worker", text]),
        )
        self._stopping = threading.Event()

    def run(self) -> None:
        """Supervise until ``stop``; returns when both processes have ended."""
        try:
            while not self._stopping.is_set():
                for child in self._children:
                    self._tend(child)
                self._stopping.wait(_CHECK_SECONDS)
        finally:
            self._end()

    def stop(self, *_: object) -> None:
        """Ask ``run`` to end; also a signal handler."""
        self._stopping.set()

    def pids(self) -> dict[str, int]:
        """Return the process ids by role."""
        return {c.role: c.process.pid for c in self._children if c.process is not None}

    def _tend(self, child: _Child) -> None:
        now = self._clock.monotonic()
        if child.process is None:
            if now >= child.due:
                environment = os.environ | {"MALLOC_ARENA_MAX": "2"}  # many threads must not mean many heaps
                child.process = subprocess.Popen(  # noqa: S603 - our own module
                    child.arguments, pass_fds=child.pass_fds, env=environment
                )
                child.started = now
            return
        code = child.process.poll()
        if code is None:
            return
        child.deaths = 0 if now - child.started > _STABLE_SECONDS else child.deaths
        wait = _BACKOFF_SECONDS[min(child.deaths, len(_BACKOFF_SECONDS) - 1)]
        child.deaths += 1
        child.due = now + wait
        child.process = None
        log.error("process.died", role=child.role, code=code, restart_in_seconds=wait)

    def _end(self) -> None:
        """Stop the gateway first, so that the worker can load what it accepted last."""
        for child in self._children:
            if child.process is None:
                continue
            child.process.send_signal(signal.SIGTERM)
            try:
                child.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("process.killed", role=child.role)
                child.process.kill()
                child.process.wait()
