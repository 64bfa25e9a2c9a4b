"""What an application imports to send events: fast, without losing any, and without waiting for the server.

with EventClient("http://127.0.0.1:8080", "acme", key, spool=Path("/var/spool/acme")) as client:
    client.send("playback", user_id="u-42", track_id="t-1001", ms_played=183_000)
"""

from collectors.client.client import AsyncEventClient, EventClient
from collectors.client.report import Delivery, FailedBatch, OnError, Stats

__all__ = ["AsyncEventClient", "Delivery", "EventClient", "FailedBatch", "OnError", "Stats"]
