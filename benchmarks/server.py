"""A real server for a benchmark: started as users start it, in a fresh data folder, with three tenants."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from collectors.app.folder import DataFolder
from collectors.config.server import ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Scope
from collectors.simulate.vocabulary import DEMO_TENANTS


@dataclass
class Server:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    keys: dict[str, str]
    admin: str
    rss_peak: int = 0
    _cpu_start: float = field(default=0.0)

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def rss(self) -> int:
        total = 0
        for p in self.family():
            with contextlib.suppress(psutil.Error):
                total += p.memory_info().rss
        self.rss_peak = max(self.rss_peak, total)
        return total

    def cpu(self) -> dict[str, float]:
        found = {}
        for p in self.family():
            with contextlib.suppress(psutil.Error):
                times = p.cpu_times()
                words = p.cmdline()
                role = words[3] if len(words) > 3 and words[2] == "collectors.cli.process" else "supervisor"
                found[role] = times.user + times.system
        return found

    def get(self, path: str, timeout: float = 30.0) -> object:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {self.admin}"}
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def ledger(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for tenant in self.keys:
            for name, value in self.get(f"/v1/tenants/{tenant}/ledger")["total"].items():
                total[name] = total.get(name, 0) + value
        return total

    def wait_loaded(self, seconds: float = 600.0) -> float:
        """Wait until nothing is in flight; return how long that took."""
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            self.rss()
            if self.ledger()["in_flight"] == 0:
                return time.perf_counter() - began
            time.sleep(0.1)
        raise TimeoutError("events stayed in flight")

    def pid(self, role: str) -> int:
        for p in self.family():
            words = p.cmdline()
            if len(words) > 3 and words[3] == role:
                return p.pid
        raise LookupError(role)


@contextlib.contextmanager
def running(port: int = 0, folder: Path | None = None, **overrides: object) -> Iterator[Server]:
    """Start a server; its data goes with it unless a folder is given."""
    from collectors.clock import SYSTEM_CLOCK

    root = folder or Path(tempfile.mkdtemp(prefix="collectors-bench-"))
    config = ServerConfig.model_validate({"data": root, **overrides})
    data = DataFolder(root, SYSTEM_CLOCK)
    keys = {}
    for profile in DEMO_TENANTS:
        settings = TenantConfig(profile="enterprise", time_zone=profile.time_zone, currency=profile.currency)
        data.control.put_tenant(profile.id, settings)
        data.keys.create(profile.id)
        keys[profile.id] = data.control.create_key(profile.id, [Scope.WRITE, Scope.READ])
    port = port or free_port()
    config_file = root / "bench.json"
    config_file.write_text(config.model_dump_json())
    log = (root / "server.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serve", str(config_file), str(port)],
        stdout=log,
        stderr=log,
        env=os.environ | {"COLLECTORS_BENCH": "1"},
    )
    server = Server(root, port, process, keys, "")
    try:
        _until_ready(server)
        server.admin = data.admin_key_file.read_text().strip()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        if folder is None:
            shutil.rmtree(root, ignore_errors=True)


def _until_ready(server: Server, seconds: float = 60.0) -> None:
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        url = f"http://127.0.0.1:{server.port}/health/ready"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        if server.process.poll() is not None:
            raise RuntimeError((server.folder / "server.log").read_text()[-3000:])
        time.sleep(0.05)
    raise TimeoutError((server.folder / "server.log").read_text()[-3000:])


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
