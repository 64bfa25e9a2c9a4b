"""The client for event loops; what it shares with the other one is tested there."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pyarrow as pa
import pytest
from intake_double import RETRYABLE, ManualClock, QuickClock

from collectors.client import AsyncEventClient
from collectors.errors import LifecycleError, Overloaded


async def test_all_ways_of_sending_arrive(connect, intake, play):
    async with connect(AsyncEventClient, source="player") as client:
        await client.send("playback", **play())
        await client.send_many("playback", [play(), play()])
        await client.send_table("playback", pa.table({"track_id": ["t"], "ms_played": [1]}))
        report = await client.flush()
        assert report.complete
        assert report.stats.accepted == 4
    assert {row["source"] for row in intake.rows()} == {"player"}


async def test_it_starts_with_the_first_event_and_close_delivers(connect, intake, play):
    client = connect(AsyncEventClient, clock=ManualClock())
    await client.send("playback", **play())
    report = await client.close()
    assert (report.complete, report.stats.accepted) == (True, 1)
    assert await client.close() is report
    assert await client.flush() is report
    with pytest.raises(LifecycleError, match="the client is closed"):
        await client.send("playback", **play())


async def test_a_client_that_never_started_closes_too(connect, intake):
    client = connect(AsyncEventClient)
    assert (await client.close()).complete


async def test_no_task_is_left_behind(connect, intake, play):
    before = asyncio.all_tasks()
    async with connect(AsyncEventClient) as client:
        await client.send("playback", **play())
    assert asyncio.all_tasks() == before


async def test_faults_cost_retries_only(connect, intake, play, tmp_path):
    intake.faults.extend(f for f in RETRYABLE if f != "hang_after")
    async with connect(AsyncEventClient, spool=tmp_path, batch_rows=2) as client:
        await client.send_many("playback", [play() for _ in range(6)])
        report = await client.flush()
    assert report.complete
    assert len(intake.rows()) == 6
    assert report.stats.accepted + report.stats.duplicate == 6
    assert len({(r.key, r.body) for r in intake.requests}) == 3


async def test_a_full_buffer_refuses_or_waits(connect, intake, play):
    intake.always = "busy"
    clock = ManualClock()
    options = {"batch_rows": 1, "max_buffer_bytes": 10_000, "clock": clock}
    async with connect(AsyncEventClient, when_full="block", **options) as patient:

        async def send():
            for _ in range(20):
                await patient.send("playback", **play())
            await patient.send_many("playback", [play() for _ in range(5)])
            await patient.send_table("playback", pa.table({"track_id": ["t"], "ms_played": [1]}))

        task = asyncio.create_task(send())
        await asyncio.to_thread(intake.wait_for, lambda: intake.requests)
        while patient._outbox.has_room(700):
            await patient.flush(0.01)
        assert not task.done()
        intake.always = None
        while not task.done():
            clock.advance(30)
            await patient.flush(0.02)
        await task
        await patient.flush()
    assert len(intake.rows()) == 26


async def test_overload_is_raised_by_default(connect, intake, play):
    intake.always = "hang_after"
    client = connect(AsyncEventClient, batch_rows=1, max_buffer_bytes=5000, timeout=60.0, on_error=lambda failed: None)

    async def send_without_end():
        while True:
            await client.send("playback", **play())

    with pytest.raises(Overloaded):
        await send_without_end()
    report = await client.close(0.0)
    assert report.stats.failed == report.stats.offered


async def test_a_task_that_never_waits_does_not_starve_the_deliveries(connect, intake):
    async with connect(AsyncEventClient, max_buffer_bytes=12 * 2**20, batch_rows=2000) as client:
        for i in range(40_000):  # twice the buffer
            await client.send("label", prediction_id="p", value=i)
        report = await client.flush(60)
    assert report.stats.accepted == 40_000


async def test_other_tasks_run_while_a_request_hangs(connect, intake, play):
    intake.faults.append("hang_after")
    async with connect(AsyncEventClient, timeout=0.3, clock=QuickClock()) as client:
        await client.send("playback", **play())
        turns = 0
        flushing = asyncio.create_task(client.flush())
        while not flushing.done():
            await asyncio.to_thread(lambda: None)
            turns += 1
        assert (await flushing).complete
    assert turns > 3


def test_a_client_belongs_to_one_loop(connect, intake, play):
    client = connect(AsyncEventClient)

    async def send():
        await client.send("playback", **play())
        await client.flush()
        await client._engine._http.aclose()

    asyncio.run(send())
    with pytest.raises(LifecycleError, match="make one client in each loop"):
        asyncio.run(send())


UNCLOSED = """
import asyncio, sys
from collectors.client import AsyncEventClient

async def main():
    client = AsyncEventClient(sys.argv[1], "acme", "k", spool=sys.argv[2], linger_seconds=3600)
    await client.send("label", event_id="1", prediction_id="p", value=1)

asyncio.run(main())
"""

IN_A_DAEMON_THREAD = """
import asyncio, sys, threading
from collectors.client import AsyncEventClient

ready = threading.Event()

async def main():
    client = AsyncEventClient(sys.argv[1], "acme", "k", linger_seconds=3600)
    await client.send("label", event_id="1", prediction_id="p", value=1)
    ready.set()
    await asyncio.Event().wait()

threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
ready.wait()
"""


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_what_an_unclosed_client_held_is_in_the_spool_after_the_exit(server, connect, intake, tmp_path):
    run(UNCLOSED, server.url, str(tmp_path))
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    assert connect(spool=tmp_path).flush().complete
    assert set(intake.stored) == {"1"}


def test_a_client_on_a_loop_in_a_daemon_thread_is_flushed_at_exit(server, intake):
    assert run(IN_A_DAEMON_THREAD, server.url) == ""
    assert set(intake.stored) == {"1"}
