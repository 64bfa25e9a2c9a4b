"""What the balancers of the tests have in common: free ports, processes, and small web servers behind them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from collectors.clock import SYSTEM_CLOCK

PATIENCE_S = 10.0


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def fetch(url: str) -> tuple[int, str]:
    """Return status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Return once ``holds`` is true; ``AssertionError`` if that does not happen in time."""
    deadline = SYSTEM_CLOCK.monotonic() + PATIENCE_S
    while SYSTEM_CLOCK.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if holds():
                return
        SYSTEM_CLOCK.block(0.02)
    raise AssertionError(f"waited {PATIENCE_S:g} s in vain: {what}")


class Process:
    """A server process that can be stopped and started again."""

    def __init__(self, command: list[str], log: Path, ready: Callable[[], object]) -> None:
        self._command, self._log, self._ready = command, log, ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._log.parent
            )
        try:
            wait_until(self._ready, f"{self._command[0]} is ready; it said {self._log.read_text()[-800:]}")
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class Site:
    """A web server on a port of its own that can go away and come back; ``status`` is what it answers."""

    def __init__(self, port: int) -> None:
        self.port, self.status = port, 200
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(OSError):  # whoever checks health may hang up as soon as it knows
                    self.send_response(site.status)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def sites(count: int) -> Iterator[list[Site]]:
    """Run that many web servers."""
    made = [Site(port) for port in free_ports(count)]
    try:
        for site in made:
            site.start()
        yield made
    finally:
        for site in made:
            site.stop()
