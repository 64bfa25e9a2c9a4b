"""Send events from an application: python examples/send_events.py http://127.0.0.1:8080 TENANT KEY."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import pyarrow as pa

from collectors.client import AsyncEventClient, EventClient, FailedBatch


def report(failed: FailedBatch) -> None:
    """Say which events will never arrive; ``failed.table()`` has them."""
    print(f"{failed.rows} events of type {failed.event_type} failed: {failed.error}", file=sys.stderr)


def send_from_threads(url: str, tenant: str, key: str, spool: Path) -> None:
    """The spool keeps what the server cannot take at the moment, even if this process is killed."""
    with EventClient(url, tenant, key, source="example", spool=spool, on_error=report) as client:
        client.send("playback", user_id="u-42", track_id="t-1001", ms_played=183_000, mood="calm")
        client.send_many("label", [{"prediction_id": f"p-{i}", "value": i % 2} for i in range(1000)])
        client.send_table("playback", pa.table({"track_id": ["t-1", "t-2"], "ms_played": [31_000, 4_000]}))
        print(client.flush(timeout=5.0))


async def send_from_a_loop(url: str, tenant: str, key: str) -> None:
    """The same, awaited; without a spool, what is not delivered on closing is reported as failed."""
    async with AsyncEventClient(url, tenant, key, on_error=report) as client:
        await client.send("app_event", user_id="u-42", name="Playlist Created", screen="library")
        print((await client.flush(timeout=5.0)).stats)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:  # in earnest, a folder that stays, such as /var/spool/collectors
        send_from_threads(sys.argv[1], sys.argv[2], sys.argv[3], Path(folder))
    asyncio.run(send_from_a_loop(sys.argv[1], sys.argv[2], sys.argv[3]))
