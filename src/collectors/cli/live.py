"""Listen to a server's live streams (Server-Sent Events)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from collectors.cli.connect import Target, refusal, unreachable
from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.errors import CollectorsError, RetryableError

if TYPE_CHECKING:
    import httpx

_SILENCE_SECONDS = 45.0
_ATTEMPTS = 30
_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)

Take = Callable[[str, str, Any], bool]
"""Gets tenant, event and data; tells whether to go on."""


async def parse_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, Any]]:
    """Yield (event, data) from a stream of Server-Sent Events whose data is JSON; comments are passed over."""
    # Lines are cut here and not by the HTTP library, which also takes U+2028 in a text for the end of a line.
    rest, event, data = b"", "message", b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                event = value.decode()
            elif name == b"data":
                data += value
            elif not name and not value and not line.startswith(b":"):
                if data:
                    yield event, json.loads(data)
                event, data = "message", b""


class Listener:
    """Listens to the streams of tenants until ``take`` has enough; a stream that breaks off is opened again."""

    def __init__(
        self,
        target: Target,
        *,
        clock: Clock = SYSTEM_CLOCK,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self._target = target
        self._clock = clock
        self._transport = transport

    async def run(self, tenants: Sequence[str], take: Take) -> None:
        """Listen to all ``tenants`` at once; raises our errors if a server refuses or stays away."""
        import httpx

        transport = self._transport() if self._transport else None
        async with httpx.AsyncClient(
            base_url=self._target.url,
            headers=self._target.headers,
            timeout=httpx.Timeout(10.0, read=_SILENCE_SECONDS),
            limits=httpx.Limits(max_connections=None),
            transport=transport,
            trust_env=not self._target.local,
        ) as client:
            waiting = {asyncio.create_task(self._follow(client, tenant, take)) for tenant in tenants}
            try:
                if waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)

    async def _follow(self, client: httpx.AsyncClient, tenant: str, take: Take) -> None:
        failures = 0
        while True:
            try:
                async for event, data in self._frames(client, tenant):
                    failures = 0
                    if not take(tenant, event, data):
                        return
            except RetryableError:
                if failures >= _ATTEMPTS:
                    raise
            # Streams also end when the server restarts, so an end is met like a failure.
            await self._clock.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
            failures += 1

    async def _frames(self, client: httpx.AsyncClient, tenant: str) -> AsyncIterator[tuple[str, Any]]:
        import httpx

        try:
            async with client.stream("GET", f"/v1/tenants/{tenant}/stream") as answer:
                if answer.is_error:
                    raise _refusal(answer, await answer.aread())
                async for frame in parse_events(answer.aiter_bytes()):
                    yield frame
        except httpx.TransportError as error:
            raise unreachable(self._target, error) from error


def _refusal(answer: httpx.Response, body: bytes) -> CollectorsError:
    return refusal(answer.status_code, body, answer.headers)
