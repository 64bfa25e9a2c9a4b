from __future__ import annotations

from pathlib import Path

import pytest
from server_world import NOW_US, WORKER_FRAME, Gateway, build

from collectors.server.state import GatewayProgress

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("progress", "alive"),
    [
        (GatewayProgress(0, 0, 0), True),
        (GatewayProgress(0, NOW_US - 3600 * SECOND, 0), True),
        (GatewayProgress(10, NOW_US - 3600 * SECOND, NOW_US - 10 * SECOND), True),
        (GatewayProgress(10, NOW_US - 3600 * SECOND, NOW_US - 10 * SECOND - 1), False),
        (GatewayProgress(10, 0, NOW_US - 11 * SECOND), False),
        (GatewayProgress(10, NOW_US - SECOND, NOW_US - 60 * SECOND), True),
    ],
    ids=["idle", "long idle", "waits a little", "waits too long", "never committed", "slow but moving"],
)
async def test_the_gateway_is_alive_while_what_waits_gets_through(
    gateway: Gateway, progress: GatewayProgress, alive: bool
) -> None:
    gateway.progress[0] = progress
    async with gateway.client() as client:
        answer = await client.get("/health/live")
    assert answer.status_code == (200 if alive else 503)
    assert answer.json() == {"ok": alive, "reasons": [] if alive else ["intake_stalled"]}


async def test_it_is_ready_with_a_log_a_disk_and_a_worker(gateway: Gateway) -> None:
    async with gateway.client() as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["worker_silent"])
        gateway.hub.take(WORKER_FRAME)
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "reasons": []})
        gateway.clock.advance(10.0)
        assert (await client.get("/health/ready")).json()["reasons"] == ["worker_silent"]
    assert list(gateway.folder.log.iterdir()) == []


async def test_a_log_that_can_not_be_written_is_noticed_within_a_second(gateway: Gateway) -> None:
    gateway.hub.take(WORKER_FRAME)
    async with gateway.client() as client:
        assert (await client.get("/health/ready")).status_code == 200
        gateway.folder.log.rmdir()
        assert (await client.get("/health/ready")).status_code == 200  # what was found holds for a second
        gateway.clock.advance(1.0)
        assert (await client.get("/health/ready")).json()["reasons"] == ["log_not_writable"]


async def test_a_full_disk_and_a_stalled_intake_are_named(tmp_path: Path) -> None:
    gateway = build(tmp_path / "data", min_free_bytes=2**62)
    gateway.hub.take(WORKER_FRAME)
    gateway.progress[0] = GatewayProgress(1, 0, NOW_US - 11 * SECOND)
    async with gateway.client() as client:
        answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["disk_full", "intake_stalled"])


async def test_a_data_folder_that_is_gone_counts_as_full(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    async with gateway.client() as client:
        reasons = (await client.get("/health/ready")).json()["reasons"]
    assert reasons == ["log_not_writable", "worker_silent"]
