"""The two clients: ``EventClient`` for threads and ``AsyncEventClient`` for an event loop, over one engine."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import pyarrow as pa

from collectors.client.delivery import Engine, Target
from collectors.client.loop_thread import LoopThread
from collectors.client.outbox import Outbox
from collectors.client.report import Delivery, OnError, Stats
from collectors.client.spool import Spool
from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.errors import ConfigError, LifecycleError, Overloaded, StorageUnavailable, TooLarge

CLOSE_SECONDS = 10.0
EXIT_SECONDS = 5.0
"""How long the exit of the interpreter may wait for clients that were not closed, all together."""

_PUT_AWAY_SECONDS = 5.0
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_log = logging.getLogger("collectors.client")


class _Client(ABC):
    """What both clients are made of: settings, an outbox, and once it has started an engine."""

    def __init__(
        self,
        url: str,
        tenant: str,
        key: str,
        *,
        source: str | None = None,
        batch_rows: int = 10_000,
        linger_seconds: float = 0.2,
        max_buffer_bytes: int = 64 * 2**20,
        when_full: Literal["raise", "block"] = "raise",
        spool: Path | str | None = None,
        spool_max_bytes: int = 2**30,
        timeout: float = 10.0,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_error: OnError | None = None,
    ) -> None:
        """Send events of ``tenant`` to the server at ``url``, authenticated by ``key``.

        ``source`` names this application in events that don't say. A request holds up to ``batch_rows`` events that
        came within ``linger_seconds``. Events wait in ``max_buffer_bytes`` of memory, and in the folder ``spool``, if
        one is given, while the server is away or memory is more than half full; its files take up to
        ``spool_max_bytes`` and are sent by the next client that opens it, if not by this one; what the server refuses
        for good is kept in its folder ``rejected``. If both are full the oldest events stay and sending new ones raises
        Overloaded, or waits with ``when_full="block"``.

        ``timeout`` bounds each attempt, in seconds. ``transport`` makes the httpx transport, for tests or client
        certificates; it is a factory because a forked process needs connections of its own. ``on_error`` is told of
        every batch that failed for good, from any thread; it should be quick. Without it failures are logged.
        """
        _require(_is_address(url), "url", "an http or https address without user name or query")
        _require(_TENANT.fullmatch(tenant) is not None, "tenant", "1 to 128 letters, digits, dots, dashes, underscores")
        _require(bool(key) and key.isascii() and key.isprintable() and " " not in key, "key", "the text of an API key")
        _require(batch_rows >= 1, "batch_rows", "at least 1")
        _require(linger_seconds >= 0, "linger_seconds", "at least 0")
        _require(max_buffer_bytes >= 1, "max_buffer_bytes", "at least 1")
        _require(spool_max_bytes >= 1, "spool_max_bytes", "at least 1")
        _require(timeout > 0, "timeout", "more than 0")
        _require(when_full in {"raise", "block"}, "when_full", "'raise' or 'block'")
        self._target = Target(url, tenant, key, source, timeout, transport)
        self._batch_rows = batch_rows
        self._linger_seconds = linger_seconds
        self._max_buffer_bytes = max_buffer_bytes
        self._blocks = when_full == "block"
        self._spool_folder = None if spool is None else Path(spool)
        self._spool_max_bytes = spool_max_bytes
        self._clock = clock
        self._on_error = on_error
        self._final: Delivery | None = None
        self._begin()
        self._opened()
        _live.add(self)

    @property
    def stats(self) -> Stats:
        """Where every event is at this moment."""
        return self._outbox.stats()

    def _begin(self) -> None:
        """Hold nothing, run nothing."""
        self._outbox = Outbox(
            batch_rows=self._batch_rows,
            linger_seconds=self._linger_seconds,
            max_bytes=self._max_buffer_bytes,
            clock=self._clock,
            wake=self._wake,
        )
        self._engine: Engine | None = None

    def _inherited(self) -> None:
        """Begin again in a forked child, so that nothing of the parent's is sent twice."""
        if self._engine is not None:
            self._engine.disown()
            _of_the_parent.append(vars(self).copy())
        self._begin()

    @abstractmethod
    def _opened(self) -> None:
        """Do what a new client of this kind does at once."""

    @abstractmethod
    def _start(self) -> Engine:
        """Return the engine, running."""

    @abstractmethod
    def _at_exit(self, seconds: float) -> None:
        """Deliver, spool or fail what is left as the interpreter exits."""

    def _new_engine(self) -> Engine:
        spool = None
        if self._spool_folder is not None:
            spool = Spool(self._spool_folder, self._target.tenant, self._spool_max_bytes, self._clock)
        return Engine(self._outbox, spool, self._target, self._clock, self._on_error)

    def _wake(self) -> None:
        (self._engine or self._start()).wake()

    def _room(self, size: int) -> Callable[[], bool]:
        """Return the condition to wait for if ``size`` bytes found no room; raise if there is nothing to wait for."""
        outbox = self._outbox
        if outbox.closed:
            raise LifecycleError("the client is closed; make a new one")
        if size > self._max_buffer_bytes:
            raise TooLarge(f"an event is larger than max_buffer_bytes ({self._max_buffer_bytes})")
        if not self._blocks:
            raise Overloaded(
                "the buffer is full, as the server takes events too slowly or not at all; nothing was taken"
            )
        return lambda: outbox.closed or outbox.has_room(size)

    def _finish(self, final: Delivery) -> Delivery:
        self._final = final
        _live.discard(self)
        return final


class EventClient(_Client):
    """Send events from any number of threads; a background thread delivers them.

    Use it as a context manager, or call ``close``; what was forgotten is flushed when the interpreter exits, but not
    when a process is killed or ends by ``os._exit``, as workers of ``multiprocessing`` do. A forked child begins with
    an empty client of its own.
    """

    def send(self, event_type: str, /, **fields: Any) -> None:
        """Send one event; returns at once.

        Fields that the type does not name become ``properties``. ``event_id`` (UUID, 16 bytes or any text) and
        ``event_time`` (aware datetime or microseconds since 1970) are filled in if absent. Raises BadInput if a field
        is missing or of the wrong type, UnknownName for an unknown type, Overloaded if all buffers are full.
        """
        outbox = self._outbox
        stream = outbox.streams.get(event_type) or outbox.stream(event_type)
        size = stream.schema.check(fields)
        while not outbox.add(stream, fields, size):
            self._wait_for(self._room(size))

    def send_many(self, event_type: str, events: Iterable[Mapping[str, Any]], /) -> None:
        """Send events, each a mapping of fields as in ``send``: all of them, or none and raise."""
        checked = self._outbox.check_rows(event_type, events)
        while not self._outbox.add_all(checked):
            self._wait_for(self._room(checked.size))

    def send_table(self, event_type: str, table: pa.Table | pa.RecordBatch, /) -> None:
        """Send the rows of a table whose columns are the type's fields: all of them, or none and raise."""
        checked = self._outbox.check_table(event_type, table)
        while not self._outbox.add_all(checked):
            self._wait_for(self._room(checked.size))

    def flush(self, timeout: float | None = CLOSE_SECONDS) -> Delivery:
        """Deliver what was sent so far; wait at most ``timeout`` seconds, None for as long as it takes."""
        if self._final is not None:
            return self._final
        engine = self._start()
        assert self._thread is not None
        return self._thread.run(engine.flush(timeout))

    def close(self, timeout: float = CLOSE_SECONDS) -> Delivery:
        """Flush, then stop; what the server did not take within ``timeout`` seconds goes to the spool or fails.

        With a spool and an unavailable server it does not wait.
        """
        with self._lock:
            if self._final is not None:
                return self._final
            self._outbox.close()
            if self._engine is None or self._thread is None:  # a forked child that sent nothing
                return self._finish(Delivery(complete=True, stats=self.stats))
            try:
                final = self._thread.run(self._engine.close(timeout), timeout + _PUT_AWAY_SECONDS)
            except TimeoutError:
                raise StorageUnavailable("the disk did not take what is left in time; events may be lost") from None
            self._thread.stop()
            return self._finish(final)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        super()._begin()
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None

    def _opened(self) -> None:
        self._start()

    def _start(self) -> Engine:
        if self._engine is None:
            with self._lock:
                if self._engine is None:
                    engine = self._new_engine()
                    thread = LoopThread("collectors-client")
                    try:
                        thread.run(_started(engine))
                    except BaseException:
                        thread.stop()
                        raise
                    self._engine, self._thread = engine, thread
        return self._engine

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        engine = self._start()
        assert self._thread is not None
        self._thread.run(engine.until(condition))

    def _at_exit(self, seconds: float) -> None:
        self.close(seconds)


class AsyncEventClient(_Client):
    """Send events from one event loop; tasks on the same loop deliver them.

    Use it as an asynchronous context manager, or call ``close``; it starts there or with the first event. What an
    unclosed client still holds when the interpreter exits goes to the spool or fails.
    """

    async def send(self, event_type: str, /, **fields: Any) -> None:
        """Send one event; see ``EventClient.send``.

        It gives way to other tasks if memory is more than half full, and waits if it is full and
        ``when_full="block"``.
        """
        outbox = self._outbox
        stream = outbox.streams.get(event_type) or outbox.stream(event_type)
        size = stream.schema.check(fields)
        while not outbox.add(stream, fields, size):
            await self._start().until(self._room(size))
        if outbox.is_crowded:
            await self._clock.sleep(0)

    async def send_many(self, event_type: str, events: Iterable[Mapping[str, Any]], /) -> None:
        """Send events, each a mapping of fields as in ``send``: all of them, or none and raise."""
        checked = self._outbox.check_rows(event_type, events)
        while not self._outbox.add_all(checked):
            await self._start().until(self._room(checked.size))

    async def send_table(self, event_type: str, table: pa.Table | pa.RecordBatch, /) -> None:
        """Send the rows of a table whose columns are the type's fields: all of them, or none and raise."""
        checked = self._outbox.check_table(event_type, table)
        while not self._outbox.add_all(checked):
            await self._start().until(self._room(checked.size))

    async def flush(self, timeout: float | None = CLOSE_SECONDS) -> Delivery:  # noqa: ASYNC109  returns a report
        """Deliver what was sent so far; wait at most ``timeout`` seconds, None for as long as it takes."""
        return self._final or await self._start().flush(timeout)

    async def close(self, timeout: float = CLOSE_SECONDS) -> Delivery:  # noqa: ASYNC109  returns a report
        """Flush, then stop; see ``EventClient.close``."""
        async with self._closing:
            if self._final is not None:
                return self._final
            self._outbox.close()
            if self._engine is None:
                return self._finish(Delivery(complete=True, stats=self.stats))
            return self._finish(await self._engine.close(timeout))

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _begin(self) -> None:
        super()._begin()
        self._closing = asyncio.Lock()

    def _opened(self) -> None:
        """Nothing: it starts on the loop that first uses it."""

    def _start(self) -> Engine:
        if self._engine is None:
            self._engine = self._new_engine()
            self._engine.start()
        return self._engine

    def _at_exit(self, seconds: float) -> None:
        if self._engine is None:
            return
        if self._engine.loop.is_running():  # in a daemon thread
            asyncio.run_coroutine_threadsafe(self.close(seconds), self._engine.loop).result(seconds + _PUT_AWAY_SECONDS)
        else:
            self._finish(self._engine.abandon())


async def _started(engine: Engine) -> None:
    engine.start()


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host) and not (parsed.userinfo or parsed.query)


def _require(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"must be {wanted}", where=f"{name} of the event client")


_live: set[_Client] = set()
"""Clients that were not closed; held, so that a client nobody refers to any more still delivers."""

_of_the_parent: list[object] = []
"""In a forked child: engines and threads it inherited. They must not be finalised, as they share sockets and the
selector with the parent."""


@atexit.register
def _close_all() -> None:
    deadline = SYSTEM_CLOCK.monotonic() + EXIT_SECONDS
    for client in list(_live):
        try:
            client._at_exit(max(0.0, deadline - SYSTEM_CLOCK.monotonic()))  # noqa: SLF001  same module
        except Exception:  # noqa: BLE001  the other clients have events, too
            _log.exception("a client could not be closed")


def _begin_again() -> None:
    for client in _live:
        client._inherited()  # noqa: SLF001  same module


os.register_at_fork(after_in_child=_begin_again)
