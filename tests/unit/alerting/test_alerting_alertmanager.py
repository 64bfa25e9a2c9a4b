"""Alerts reach a real Prometheus Alertmanager, which tells its own receivers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alert_cases import alert, notification
from tests.support.receivers import HttpReceiver, http_receiver

from collectors.alerting.handlers.alertmanager import AlertmanagerHandler
from collectors.alerting.notification import Kind
from collectors.clock import SystemClock
from collectors.model.alert import AlertState

PROGRAM = shutil.which("prometheus-alertmanager")

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="NOT TESTED: no Alertmanager here; on Debian: apt-get install prometheus-alertmanager"
)


@pytest.fixture
def hook() -> Iterator[HttpReceiver]:
    with http_receiver() as made:
        yield made


@pytest.fixture
def alertmanager(hook: HttpReceiver, tmp_path: Path) -> Iterator[str]:
    """The address of an Alertmanager that tells ``hook`` at once."""
    assert PROGRAM is not None
    config = tmp_path / "am.yml"
    config.write_text(
        json.dumps(  # which is YAML too
            {
                "route": {
                    "receiver": "hook",
                    "group_by": ["alertname"],
                    "group_wait": "0s",
                    "group_interval": "1s",
                    "repeat_interval": "1h",
                },
                "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url, "send_resolved": True}]}],
            }
        )
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            PROGRAM,
            f"--config.file={config}",
            f"--storage.path={tmp_path / 'am'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _get(f"{url}/-/ready") is not None)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    return json.loads(text) if text[:1] in "[{" else text


def _wait(condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)  # noqa: TID251 - another program's time passes
    pytest.fail("Alertmanager did not come this far within 30 s")


async def test_it_takes_shows_tells_and_ends_our_alerts(alertmanager: str, hook: HttpReceiver) -> None:
    clock = SystemClock()
    now = clock.now_us()
    fired = alert(at=now - 60_000_000, host="web1", empty="", **{"cpu.mode": "user"})
    handler = AlertmanagerHandler(alertmanager, clock)
    await handler.send(notification(fired))
    await handler.send(notification(fired))  # at least once
    (shown,) = _get(f"{alertmanager}/api/v2/alerts")
    assert shown["labels"] == {
        "alertname": "cpu",
        "cpu_mode": "user",
        "host": "web1",
        "item": "host=web1,empty=,cpu.mode=user",
        "severity": "warning",
        "tenant": "acme",
    }
    assert shown["annotations"] == {"id": fired.id, "summary": "cpu_usage is 95, above 80"}
    assert shown["status"]["state"] == "active"
    _wait(lambda: hook.received)
    assert hook.received[0].json["alerts"][0]["labels"]["host"] == "web1"
    over = replace(fired, state=AlertState.RESOLVED, ended_us=clock.now_us())
    await handler.send(notification(over, kind=Kind.RESOLVED))
    _wait(lambda: any(r.json["status"] == "resolved" for r in hook.received))
    assert _get(f"{alertmanager}/api/v2/alerts") == []


async def test_it_takes_labels_whose_names_prometheus_does_not_know(alertmanager: str) -> None:
    odd = alert(at=SystemClock().now_us(), **{"1st": "x", "a-b": "y", "ü": "z"})
    await AlertmanagerHandler(alertmanager, SystemClock()).send(notification(odd))
    (shown,) = _get(f"{alertmanager}/api/v2/alerts")
    assert {"_1st": "x", "a_b": "y", "_": "z"}.items() <= shown["labels"].items()
