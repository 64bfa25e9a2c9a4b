"""The double behind a real socket, and a watch over what a page does."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator

import uvicorn
from page_double import Double
from playwright.async_api import Page

START_US = 1_767_225_600_000_000
"""The server's clock when a test begins; the browser's own shows another year."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals are pytest's


class Site:
    """The double behind a real socket, which can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.time_us = START_US
        self.double = Double(lambda: self.time_us)
        self._port = 0
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    async def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._server = _Server(uvicorn.Config(self.double.app, log_level="error", lifespan="off"))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        if self._server is None or self._task is None:
            return
        self.double.ready.set()
        self.double.close_streams()
        self._server.should_exit = True
        await self._task
        self._server = self._task = None

    async def streaming(self, tenant: str) -> None:
        """Wait until somebody listens to ``tenant``."""
        async with asyncio.timeout(20), self.double.changed:
            await self.double.changed.wait_for(lambda: bool(self.double.streams.get(tenant)))


class Watch:
    """What a page does that it should not."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self.allowed: list[str] = []
        page.on("console", lambda said: self._note(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(origin) else self._note(f"asked {asked.url}"))

    def allow(self, pattern: str) -> None:
        """Expect messages that match ``pattern``, such as the browser's own about a refused connection."""
        self.allowed.append(pattern)

    def unexpected(self) -> list[str]:
        return [said for said in self.problems if not any(re.search(pattern, said) for pattern in self.allowed)]

    def _note(self, what: str) -> None:
        self.problems.append(what)
