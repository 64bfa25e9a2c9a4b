"""A real OTLP receiver: rotel, which prints what it gets."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.prometheus import free_port, until


def binary() -> str | None:
    """Where it is: named by COLLECTORS_TEST_ROTEL, in this environment, or on the path."""
    given = os.environ.get("COLLECTORS_TEST_ROTEL")
    if given:
        return given
    spec = importlib.util.find_spec("rotel")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "rotel-agent"
        if path.exists():
            return str(path)
    return shutil.which("rotel-agent")


MISSING = "NOT TESTED: metrics and traces at a real OTLP receiver; install it by: pip install rotel==0.0.1a15"


@dataclass(frozen=True)
class Rotel:
    url: str
    output: Path

    @property
    def printed(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def rotel(folder: Path) -> Iterator[Rotel]:
    """Run it on free ports."""
    path = binary()
    assert path is not None
    http, grpc = free_port(), free_port()
    output = folder / "rotel.txt"
    command = [path, "start", f"--otlp-grpc-endpoint=127.0.0.1:{grpc}", f"--otlp-http-endpoint=127.0.0.1:{http}"]
    command += ["--debug-log=metrics", "--debug-log=traces", "--debug-log-verbosity=detailed", "--exporter=blackhole"]
    with output.open("wb") as file:
        environment = {**os.environ, "NO_COLOR": "1"}
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=environment)
    try:

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", http)) == 0

        assert until(listens), "rotel did not start"
        yield Rotel(f"http://127.0.0.1:{http}", output)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
