"""See what code does besides computing: files, sockets and processes it opens, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from collectors.testing.clock import settle

_TOUCHING = frozenset({
    "open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.putenv",
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo",
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "sqlite3.connect",
})  # fmt: skip
_CODE = (".py", ".pyc", ".so", ".pth")
_THREAD_SECONDS = 1.0

_watchers: list[tuple[int, list[str]]] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _watchers or event not in _TOUCHING:
        return
    if event == "open" and isinstance(args[0], str) and args[0].endswith(_CODE):
        return  # a library that is imported where it is first needed
    what = f"{event} {args[0]}" if args else event
    for thread, seen in _watchers:
        if thread == threading.get_ident():
            seen.append(what)


class _Hook:
    """Audit hooks can't be taken back, so there is at most one; it costs a look-up where nobody watches."""

    added = False


@contextmanager
def touched() -> Iterator[list[str]]:
    """Collect what this thread opens, lists, connects to or starts."""
    if not _Hook.added:
        sys.addaudithook(_hook)
        _Hook.added = True
    watcher: tuple[int, list[str]] = (threading.get_ident(), [])
    _watchers.append(watcher)
    try:
        yield watcher[1]
    finally:
        _watchers.remove(watcher)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this process holds: tasks of the running loop, threads, and open files with what they lead to."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    files: frozenset[tuple[str, str]]

    @classmethod
    def now(cls) -> Holdings:
        """Take stock."""
        return cls(
            frozenset(t for t in asyncio.all_tasks() if not t.done()),
            frozenset(t for t in threading.enumerate() if not t.name.startswith("asyncio_")),
            frozenset(_open_files()),
        )

    async def left(self) -> list[str]:
        """Say what there is now that was not there before; threads get a moment to end."""
        await settle()
        for thread in Holdings.now().threads - self.threads:
            await asyncio.to_thread(thread.join, _THREAD_SECONDS)
        now = Holdings.now()
        return [
            *(f"task {task.get_name()}" for task in now.tasks - self.tasks),
            *(f"thread {thread.name}" for thread in now.threads - self.threads),
            *(f"file {target}" for _, target in now.files - self.files),
        ]


def _open_files() -> Iterator[tuple[str, str]]:
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):  # noqa: PTH112  # a Path object for each of many files is dear
        return
    for number in os.listdir(folder):  # noqa: PTH208  # as above
        try:
            yield number, os.readlink(f"{folder}/{number}")  # noqa: PTH115  # as above
        except OSError:
            continue  # the listing's own
