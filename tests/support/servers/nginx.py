"""A real nginx with the page of ``stub_status``, one of its places behind a password."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.balancing import Process, fetch, free_ports

MISSING = "NOT TESTED: there is no nginx with stub_status; install it by apt-get install nginx-light"
USER, PASSWORD = "stats", "s3cret-s3cret"


def find_nginx() -> str | None:
    """Return the program, if it has the module."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        return None
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    return program if "http_stub_status_module" in said else None


@dataclass
class Nginx:
    """One that runs."""

    process: Process
    port: int

    @property
    def status_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/status"


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    """Run it."""
    program = find_nginx()
    assert program is not None
    (port,) = free_ports(1)
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{place}_temp_path {folder}/{place};" for place in places)
    folder.chmod(0o755)
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    (folder / "nginx.conf").write_text(
        f"""{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{ access_log off; {temporary}
  server {{
    listen 127.0.0.1:{port};
    location = /status {{ stub_status; }}
    location = /private {{ auth_basic all; auth_basic_user_file {folder}/users; stub_status; }}
    location / {{ return 200 ok; }}
  }}
}}
"""
    )
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "master_process off;"]
    process = Process(command, folder / "nginx.log", lambda: fetch(f"http://127.0.0.1:{port}/status")[0] == 200)
    process.start()
    try:
        yield Nginx(process, port)
    finally:
        process.stop()
