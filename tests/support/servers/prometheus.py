"""A real Prometheus on a free port."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from collectors.clock import SystemClock

T = TypeVar("T")

CLOCK = SystemClock()

BINARY = shutil.which("prometheus")
MISSING = "NOT TESTED: samples in a real Prometheus; install it by: apt-get install --no-install-recommends prometheus"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(look: Callable[[], T], seconds: float = 15.0) -> T:
    """Return the first answer that is something."""
    end = CLOCK.monotonic() + seconds
    while True:
        found = look()
        if found or CLOCK.monotonic() > end:
            return found
        CLOCK.block(0.1)


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=5) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def metadata(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/metadata", timeout=5) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
            return data


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def prometheus(folder: Path, scrape: int = 0, port: int = 0) -> Iterator[Prometheus]:
    """Run it with remote write; it scrapes a port of this machine if one is given."""
    assert BINARY is not None
    target = f"[{{targets: ['127.0.0.1:{scrape}']}}]" if scrape else "[]"
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: collectors, honor_labels: true, static_configs: {target}}}]\n"
    )
    port = port or free_port()
    command = [
        BINARY,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        assert until(lambda: _ready(server.url)), "Prometheus did not start"
        yield server
    finally:
        process.terminate()
        process.wait(10)
