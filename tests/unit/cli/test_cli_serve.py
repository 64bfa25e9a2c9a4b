"""Serving in this process: the greeting, the file that tells other commands, and the end."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from cli_runner import Run

from collectors.app.folder import DataFolder
from collectors.cli import serve
from collectors.clock import SystemClock
from collectors.config.server import ServerConfig


@pytest.fixture(autouse=True)
def _process_wide() -> Iterator[None]:
    """Give back what a server sets for its whole process."""
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logging.getLogger("collectors").level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("collectors").setLevel(ours)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("host", "family", "url"),
    [
        ("127.0.0.1", socket.AF_INET, "http://127.0.0.1:"),
        ("0.0.0.0", socket.AF_INET, "http://127.0.0.1:"),
        ("::", socket.AF_INET6, "http://[::1]:"),
        ("::1", socket.AF_INET6, "http://[::1]:"),
        ("localhost", socket.AF_INET, "http://localhost:"),
    ],
)
def test_the_address_is_one_that_this_machine_reaches(host: str, family: int, url: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        assert serve.address(host, listener) == f"{url}{listener.getsockname()[1]}"


def _greet(data: Path, url: str, key: str, *, demo: bool = False) -> None:
    with serve._greeting(ServerConfig(data=data), url, key, SystemClock(), demo=demo):
        for _ in range(1000):
            if threading.active_count() == 1 or not any(t.name == "greeting" for t in threading.enumerate()):
                break
            threading.Event().wait(0.01)


def test_a_server_that_does_not_get_ready_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "READY_SECONDS", 0.0)
    _greet(tmp_path, "http://127.0.0.1:9", "k")
    assert "not ready after 0 s" in capsys.readouterr().err
    assert not (tmp_path / "server.json").exists()


def test_stopping_early_ends_the_wait_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve._greeting(ServerConfig(data=tmp_path), "http://127.0.0.1:9", "k", SystemClock(), demo=False):
        pass
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "")


def test_the_greeting_says_what_to_try_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve._print_greeting("http://127.0.0.1:8080", "k" * 60, ServerConfig(), demo=False)
    shown = capsys.readouterr().out
    assert "collectors tenants create acme " in shown
    assert "--data" not in shown
    assert shown.endswith(f"Open http://127.0.0.1:8080/#key={'k' * 60}\n")
    serve._print_greeting("http://127.0.0.1:8080", "", ServerConfig(data=tmp_path), demo=True)
    shown = capsys.readouterr().out
    assert "collectors tenants create" not in shown
    assert "admin.key is gone" in shown
    assert shown.endswith("Open http://127.0.0.1:8080/\n")


@pytest.mark.slow
@pytest.mark.parametrize("demo", [False, True])
def test_a_server_runs_until_it_is_told_to_stop(run: Run, tmp_path: Path, demo: bool) -> None:
    told: list[dict[str, object]] = []
    file = tmp_path / "here" / "server.json"

    def stop() -> None:
        for _ in range(12_000):
            if file.exists() and file.read_text():
                told.append(json.loads(file.read_text()))
                break
            threading.Event().wait(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    found = run("serve", "--port", 0, "--data", tmp_path / "here", *(["--demo"] if demo else []))
    thread.join()
    assert found.code == 0
    assert "The server is ready." in found.out
    assert [t["pid"] for t in told] == [os.getpid()]
    assert not file.exists()
    tenants = {t.id for t in DataFolder(tmp_path / "here").control.tenants()}
    assert tenants == ({"platform", "nordic", "americas", "tokyo"} if demo else {"platform"})
