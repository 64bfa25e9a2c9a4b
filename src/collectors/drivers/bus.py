"""A local broadcast: the worker publishes frames of JSON lines on a Unix socket, gateways and tools listen.

It carries only what may be missed: whoever was away reads the state from the stores.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

_MAX_WAITING_BYTES = 4 * 2**20
_MAX_FRAME_BYTES = 16 * 2**20


class BusPublisher:
    """The worker's end. A listener that does not keep up is cut off; it may connect again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listeners: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, path=str(self._path))
        self._path.chmod(0o600)

    def publish(self, frame: dict[str, object]) -> None:
        """Send ``frame`` to every listener; never waits."""
        if not self._listeners:
            return
        line = orjson.dumps(frame) + b"\n"
        for writer in list(self._listeners):
            if writer.transport.get_write_buffer_size() > _MAX_WAITING_BYTES:
                self._listeners.discard(writer)
                writer.transport.abort()
            else:
                writer.write(line)

    async def close(self) -> None:
        """Cut all listeners off."""
        for writer in list(self._listeners):
            writer.transport.abort()
        self._listeners.clear()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._listeners.add(writer)
        try:
            await reader.read()  # a listener never writes: this returns when it goes away
        except (asyncio.CancelledError, OSError):
            pass  # the worker stops, or the listener was cut off; asyncio would log either as an error
        finally:
            self._listeners.discard(writer)
            writer.close()


async def listen(path: Path) -> AsyncIterator[dict[str, object]]:
    """Yield frames until the publisher goes away; raises OSError if there is none."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=_MAX_FRAME_BYTES)
    try:
        while line := await reader.readline():
            yield orjson.loads(line)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
