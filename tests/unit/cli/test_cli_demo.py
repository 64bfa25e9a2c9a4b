"""The demo's tenants, and the process that feeds them and never outlives its server."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from cli_server import Answer, Request, receipt, refusal, serving

from collectors.app.folder import DataFolder
from collectors.cli import demo
from collectors.cli.demo import Feed, Feeder, create_tenants
from collectors.drivers.control_store import Scope
from collectors.simulate.vocabulary import DEMO_TENANTS


def test_demo_tenants_are_created_with_their_zone_currency_and_a_write_key(folder: DataFolder) -> None:
    keys = create_tenants(folder)
    assert set(keys) == {t.id for t in DEMO_TENANTS}
    for profile in DEMO_TENANTS:
        config = folder.control.tenant(profile.id).config
        assert (config.time_zone, config.currency) == (profile.time_zone, profile.currency)
        key = folder.control.authenticate(keys[profile.id])
        assert key is not None
        assert (key.tenant, key.scopes) == (profile.id, {Scope.WRITE})
        assert folder.keys.keyset(profile.id)


def test_a_second_demo_keeps_what_was_changed_and_replaces_its_keys(folder: DataFolder) -> None:
    old = create_tenants(folder)
    other = folder.control.create_key("tokyo", [Scope.READ], label="mine")
    changed = folder.control.tenant("tokyo").config.model_copy(update={"currency": "USD"})
    folder.control.put_tenant("tokyo", changed)
    new = create_tenants(folder)
    assert folder.control.tenant("tokyo").config.currency == "USD"
    assert all(folder.control.authenticate(key) is None for key in old.values())
    assert all(folder.control.authenticate(key) is not None for key in (*new.values(), other))


def _feed(monkeypatch: pytest.MonkeyPatch, url: str, rate: float = 5000.0) -> None:
    text = json.dumps({"url": url, "keys": {t.id: f"key-{t.id}" for t in DEMO_TENANTS}, "rate": rate})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    monkeypatch.setattr(demo, "end_with_parent", lambda: None)  # this process must survive
    monkeypatch.setattr(os, "nice", lambda _: 0)
    demo.main()


@pytest.fixture
def _signals() -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_the_feed_sends_each_tenant_s_events_with_its_key_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Request] = []

    def respond(request: Request) -> Answer:
        served.append(request)
        if len(served) == 25:
            os.kill(os.getpid(), signal.SIGTERM)
        return receipt(pa.ipc.open_stream(request.body).read_all().num_rows)

    with serving(respond) as server:
        _feed(monkeypatch, server.url)
    assert {r.path.split("/")[3] for r in served} >= {"nordic", "americas"}
    for request in served:
        assert request.headers["authorization"] == f"Bearer key-{request.path.split('/')[3]}"


@pytest.mark.usefixtures("_signals")
def test_a_feed_that_is_refused_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "demo's events end: not with this key"
    with serving(lambda _: refusal(401, "not with this key")) as server, pytest.raises(SystemExit, match=words):
        _feed(monkeypatch, server.url)


@pytest.mark.usefixtures("_signals")
def test_a_feed_that_is_interrupted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collectors.cli.sending.send_all", interrupt)
    with pytest.raises(SystemExit) as caught:
        _feed(monkeypatch, "http://127.0.0.1:9")
    assert caught.value.code == 130


def test_the_feeder_starts_and_stops_its_process() -> None:
    arrived = threading.Event()

    def respond(request: Request) -> Answer:
        arrived.set()
        return receipt(pa.ipc.open_stream(request.body).read_all().num_rows)

    with serving(respond) as server:
        feeder = Feeder(Feed(server.url, {t.id: "k" for t in DEMO_TENANTS}, 5000.0))
        try:
            assert arrived.wait(60)
            words = psutil.Process(feeder.pid).cmdline()
            assert words[-1] == "collectors.cli.demo"  # and no keys for others to read
        finally:
            feeder.stop()
    assert not psutil.pid_exists(feeder.pid)


def test_a_feeder_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf.py"
    deaf.write_text(
        "#!" + sys.executable + "\nimport signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stdin.read()\nopen(" + repr(str(tmp_path / "up")) + ", 'w').close()\ntime.sleep(600)\n"
    )
    deaf.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(deaf))
    monkeypatch.setattr(demo, "_STOP_SECONDS", 0.1)
    feeder = Feeder(Feed("http://127.0.0.1:9", {}, 1.0))
    for _ in range(3000):
        if (tmp_path / "up").exists():
            break
        threading.Event().wait(0.01)
    feeder.stop()
    assert not psutil.pid_exists(feeder.pid)


_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""
_CHILD = """
import time
from collectors.cli.orphans import end_with_parent
end_with_parent()
print("ready", flush=True)
time.sleep(600)
"""


def test_processes_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


def test_processes_whose_parent_is_gone_already_end_at_once() -> None:
    script = (
        "import os\nfrom collectors.cli import orphans\norphans._INIT = os.getppid()\n"
        "orphans.end_with_parent()\nprint('still here')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
