"""Active health checks: one TCP connection or one HTTP request, timed, with the reason if it fails."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from collectors.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    import httpx

_MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """What to check: ``tcp://host:port`` or ``http(s)://…`` with the statuses and the text that mean health."""

    url: str
    min_status: int = 200
    max_status: int = 399
    contains: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the check passed, seconds it took, and why it failed."""

    passed: bool
    seconds: float
    reason: str = ""


class HealthChecker:
    """Checks targets, at most ``parallel`` at a time, each for at most ``timeout_s`` seconds."""

    def __init__(self, *, timeout_s: float = 1.0, parallel: int = 64, clock: Clock = SYSTEM_CLOCK) -> None:
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(parallel)
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    async def check(self, probe: Probe) -> Outcome:
        """Check once; a target that fails is an outcome, not an error."""
        async with self._slots:
            start = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._timeout_s):
                    reason = await (self._tcp(probe) if probe.url.startswith("tcp:") else self._http(probe))
            except TimeoutError:
                reason = "timeout"
            except OSError:
                reason = "connection_failed"
            except (ValueError, OverflowError):
                reason = "bad_address"
            return Outcome(not reason, self._clock.monotonic() - start, reason)

    async def close(self) -> None:
        """Close connections; safe twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _tcp(self, probe: Probe) -> str:
        at = urlsplit(probe.url)
        _, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.transport.abort()
        return ""

    async def _http(self, probe: Probe) -> str:
        import httpx

        if self._client is None:
            # A kept connection would hide a server that accepts no new ones, so each check makes its own.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.AsyncClient(limits=limits, timeout=self._timeout_s, trust_env=False)
        try:
            async with self._client.stream("GET", probe.url) as response:
                if not probe.min_status <= response.status_code <= probe.max_status:
                    return f"status_{response.status_code}"
                if not probe.contains:
                    return ""
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MAX_BODY:
                        break
                return "" if probe.contains.encode() in body else "text_missing"
        except httpx.TimeoutException:
            return "timeout"
        except httpx.InvalidURL:
            return "bad_address"
        except httpx.HTTPError:
            return "connection_failed"
