"""The last value of every series for Prometheus to scrape, from a port of this process.

The text is that of the server's ``/metrics``. This is for processes without a server: a library's user, a worker alone.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress

from collectors.config import sinks as config
from collectors.contract.sink import BaseSink, ExportedSample, Receipt, Repeats, SinkBatch, SinkContext
from collectors.drivers.sample_store import DeclaredMetric, Series
from collectors.errors import ConfigError, LifecycleError, RetryableError
from collectors.sinks.openmetrics import OPENMETRICS, PLAIN, STALE_US, Exposition, prefers_openmetrics

_REQUEST_SECONDS = 5.0
_MAX_HEAD_BYTES = 16 * 2**10
_MAX_CLIENTS = 16

_Key = tuple[str, str, tuple[tuple[str, str], ...]]


class PrometheusSink(BaseSink[config.PrometheusSink]):
    """Keep the last values and serve them to Prometheus at /metrics on a port of its own."""

    name = "prometheus"
    Config = config.PrometheusSink
    repeats = Repeats.HARMLESS

    def __init__(self, given: config.PrometheusSink, context: SinkContext | None = None) -> None:
        super().__init__(given, context)
        self._last: dict[_Key, ExportedSample] = {}
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port it listens on, 0 if it does not."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def open(self) -> None:
        await self.close()
        host, port = self.config.host, self.config.port
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=_MAX_HEAD_BYTES)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(f"port {port} of {host} is taken", fix="set another port for this sink.") from None
            raise RetryableError(f"port {port} of {host} can't be opened: {error.strerror}") from None

    async def write(self, batch: SinkBatch) -> Receipt:
        if self._server is None:
            raise LifecycleError("the sink is not open; open it before writing")
        refused = 0
        for s in batch.samples:
            key = (s.tenant, s.spec.name, s.labels)
            known = self._last.get(key)
            if known is None and len(self._last) >= self.config.max_series:
                self._forget_stale()
            if known is None and len(self._last) >= self.config.max_series:
                refused += 1
            elif known is None or s.time_us >= known.time_us:
                self._last[key] = s
        return Receipt(len(batch) - refused, refused, "there are more series than max_series" if refused else "")

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await server.wait_closed()

    def _forget_stale(self) -> None:
        oldest = self.context.clock.now_us() - STALE_US
        for key in [key for key, s in self._last.items() if s.time_us < oldest]:
            del self._last[key]

    def _render(self, samples: list[ExportedSample], *, openmetrics: bool) -> bytes:
        exposition = Exposition(self.context.clock.now_us())
        tenants: dict[str, list[ExportedSample]] = {}
        for s in samples:
            tenants.setdefault(s.tenant, []).append(s)
        for tenant, own in sorted(tenants.items()):
            declared = {s.spec.name: DeclaredMetric(s.spec, "", 0) for s in own}
            series = [Series(s.spec.name, dict(s.labels), s.time_us, s.value, s.reason) for s in own]
            exposition.add_tenant(tenant, declared.values(), series)
        return exposition.render(openmetrics=openmetrics)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= _MAX_CLIENTS:
            writer.transport.abort()
            return
        client = asyncio.create_task(self._serve(reader, writer), name="prometheus client")
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and hang up; a client that is slow or talks nonsense is hung up on."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: list[str]) -> bytes:
        method, _, target = head[0].partition(" ")
        path = target.partition(" ")[0].partition("?")[0]
        if path != "/metrics" or method not in {"GET", "HEAD"}:
            return _response("404 Not Found" if path != "/metrics" else "405 Method Not Allowed", PLAIN, b"")
        fields = (line.partition(":") for line in head[1:])
        accept = next((value for name, _, value in fields if name.lower() == "accept"), "")
        openmetrics = prefers_openmetrics(accept)
        samples = list(self._last.values())
        body = await self.context.offload(lambda: self._render(samples, openmetrics=openmetrics))
        answer = _response("200 OK", OPENMETRICS if openmetrics else PLAIN, body)
        return answer[: -len(body)] if method == "HEAD" and body else answer


def _response(status: str, media: str, body: bytes) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {media}", f"Content-Length: {len(body)}", "Connection: close")
    return "\r\n".join((*lines, "", "")).encode() + body
