"""A TCP proxy before a real server that can fall silent, be slow, or lead to another server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Forwards to ``target``; while ``silent`` nothing passes and nothing is closed: a half-open connection."""

    target: int
    port: int = 0
    silent: bool = False
    delay_s: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self._writers.add(sink)
            task = asyncio.ensure_future(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if self.delay_s:
                    wait = asyncio.Event()
                    asyncio.get_running_loop().call_later(self.delay_s, wait.set)
                    await wait.wait()
                if self.silent:
                    continue
                sink.write(data)
                await sink.drain()
        if not self.silent:
            sink.close()

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()
        for task in tuple(self._tasks):
            task.cancel()


@contextlib.asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Run a proxy before the server on ``port``."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.hang_up()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)
