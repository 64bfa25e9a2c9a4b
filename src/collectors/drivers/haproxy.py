"""HAProxy's statistics: from its stats socket, or from a page it serves as CSV or in Prometheus' format."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from collectors.drivers.http_source import Answers, Page
from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable

_COMMANDS = {"info": "show info", "resolvers": "show resolvers", "tables": "show table"}
_REFUSALS = ("Permission denied", "Unknown command")


class HaproxySocket:
    """The stats socket, ``unix:/path`` or ``tcp://host:port``; rights of level ``user`` are enough.

    One connection a command, which HAProxy closes after its answer: nothing is held open between readings.
    """

    def __init__(self, address: str, *, timeout_s: float = 5.0, max_bytes: int = 64 << 20) -> None:
        self._address = urlsplit(address)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    async def read(self) -> Answers:
        """Return the texts ``stat`` (CSV), ``info``, ``resolvers`` and ``tables``; only the first must be there."""
        answers: Answers = {"stat": await self.ask("show stat")}
        for part, command in _COMMANDS.items():
            try:
                answers[part] = await self.ask(command)
            except CollectorsError as error:
                answers[part] = error
        return answers

    async def ask(self, command: str) -> str:
        """Return the answer to a command of HAProxy's runtime API."""
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await self._exchange(command)
        except TimeoutError:
            raise SourceUnavailable(f"the stats socket did not answer within {self._timeout_s:g} s") from None
        except PermissionError:
            raise SourceRefused("the stats socket may not be opened; give this user's group its mode") from None
        except OSError:
            raise SourceUnavailable("the stats socket does not answer; look whether HAProxy runs there") from None
        if not text.strip():
            raise SourceUnavailable(f"the stats socket closed without an answer to {command!r}")
        if text.lstrip().startswith(_REFUSALS):
            raise SourceRefused(f"HAProxy refuses {command!r}; give the stats socket a level that may")
        return text

    async def close(self) -> None:
        """Do nothing: no connection outlives its command."""

    async def _exchange(self, command: str) -> str:
        at = self._address
        if at.scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(at.path)
        else:
            reader, writer = await asyncio.open_connection(at.hostname, at.port)
        try:
            writer.write(f"{command}\n".encode())
            await writer.drain()
            text = bytearray()
            while chunk := await reader.read(1 << 18):
                text += chunk
                if len(text) > self._max_bytes:
                    raise SourceRefused(f"HAProxy answers {command!r} with more than {self._max_bytes:,} bytes")
            return text.decode("utf-8", "replace")
        finally:
            writer.transport.abort()  # HAProxy has said all it will, and a peer that hangs must not be waited for


class HaproxyPage:
    """The statistics page: as CSV if its address ends with ``;csv``, else the page of HAProxy's Prometheus service."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def read(self) -> Answers:
        """Return the text ``stat`` if the page is CSV, ``page`` if it is in Prometheus' format."""
        text = await self._page.get()
        return {"page" if text.startswith("# HELP") else "stat": text}

    async def close(self) -> None:
        """Close the connection."""
        await self._page.close()
