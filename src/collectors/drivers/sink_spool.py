"""What waits for one sink, on disk, with its account; one SQLite file a sink, so that no sink waits for another's disk.

SQLite rather than a format of our own: a batch and the account it changes are written in one transaction, so the
account balances after any crash, its pages find their own way back from a torn write, and only the batch at hand is in
memory, however long the backlog. A file that is damaged all the same is set aside, never deleted, and a new one begun.
A commit survives the death of the process; the last ones may not survive that of the machine.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from collectors.errors import StorageUnavailable

T = TypeVar("T")

_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS batch (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, created_us INTEGER NOT NULL, items INTEGER NOT NULL,
  bytes INTEGER NOT NULL, content BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS account (key TEXT PRIMARY KEY, items INTEGER NOT NULL) WITHOUT ROWID;
"""
_FREED_PAGES = 1024
"""Pages given back to the file system each time that nothing waits any more: 4 MiB, so that nobody waits long."""
_DROPPED = "dropped:"


@dataclass(frozen=True, slots=True)
class Account:
    """Items, as far as they reached the disk: ``offered = delivered + queued + sum(dropped)``."""

    offered: int = 0
    delivered: int = 0
    queued: int = 0
    queued_bytes: int = 0
    oldest_us: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch that waits."""

    number: int
    id: str
    created_us: int
    items: int
    content: bytes


class SinkSpool:
    """First in, first out within a budget of bytes. Methods block and may be called from any thread.

    All but ``account`` raise StorageUnavailable if the disk refuses; nothing has changed then.
    """

    def __init__(self, path: Path, max_bytes: int, *, drop_oldest: bool = True) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._drop_oldest = drop_oldest
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._account = Account()

    @property
    def account(self) -> Account:
        """The account after the last change."""
        return self._account

    def open(self) -> None:
        """Find what waits from before, so that ``account`` is right."""
        self._change(lambda _: None)

    def append(self, id_: str, content: bytes, items: int, now_us: int, *, keep: int = 0) -> bool:
        """Store a batch, False if it was dropped for lack of room; the batch numbered ``keep`` never gives way."""

        def work(connection: sqlite3.Connection) -> bool:
            self._count(connection, "offered", items)
            fits = self._make_room(connection, len(content), keep)
            if fits:
                row = (id_, now_us, items, len(content), content)
                connection.execute("INSERT INTO batch (id, created_us, items, bytes, content) VALUES (?,?,?,?,?)", row)
            else:
                self._count(connection, f"{_DROPPED}disk_budget", items)
            return fits

        return self._change(work)

    def head(self) -> StoredBatch | None:
        """Return the oldest batch without removing it."""

        def work(connection: sqlite3.Connection) -> StoredBatch | None:
            row = connection.execute(
                "SELECT number, id, created_us, items, content FROM batch ORDER BY number LIMIT 1"
            ).fetchone()
            return None if row is None else StoredBatch(*row)

        return self._change(work)

    def settle(self, number: int, dropped: Mapping[str, int]) -> None:
        """Remove a batch that was written; ``dropped`` of its items were refused, by reason, the rest delivered."""

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("DELETE FROM batch WHERE number = ? RETURNING items", (number,)).fetchone()
            if row is not None:  # else a damaged file was set aside meanwhile, and its batches counted
                self._count(connection, "delivered", row[0] - sum(dropped.values()))
                for reason, items in dropped.items():
                    self._count(connection, f"{_DROPPED}{reason}", items)

        self._change(work)

    def note(self, delivered: int, dropped: Mapping[str, int]) -> None:
        """Count items that never came here: delivered from memory, or dropped there."""

        def work(connection: sqlite3.Connection) -> None:
            self._count(connection, "offered", delivered + sum(dropped.values()))
            self._count(connection, "delivered", delivered)
            for reason, items in dropped.items():
                self._count(connection, f"{_DROPPED}{reason}", items)

        self._change(work)

    def close(self) -> None:
        """Release the file; what waits stays in it."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _make_room(self, connection: sqlite3.Connection, needed: int, keep: int) -> bool:
        room = self._max_bytes - self._account.queued_bytes
        if needed <= room:
            return True
        if not self._drop_oldest or needed > self._max_bytes:
            return False
        going: list[int] = []
        rows = connection.execute("SELECT number, bytes, items FROM batch WHERE number != ? ORDER BY number", (keep,))
        items = 0
        for number, size, count in rows:
            going.append(number)
            room += size
            items += count
            if needed <= room:
                break
        if needed > room:
            return False
        connection.executemany("DELETE FROM batch WHERE number = ?", ((number,) for number in going))
        self._count(connection, f"{_DROPPED}disk_budget", items)
        return True

    def _count(self, connection: sqlite3.Connection, key: str, items: int) -> None:
        if items:
            connection.execute(
                "INSERT INTO account VALUES (?,?) ON CONFLICT (key) DO UPDATE SET items = items + excluded.items",
                (key, items),
            )

    def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a transaction; afterwards ``account`` is what is on disk."""
        with self._lock, self._translated():
            connection = self._connection or self._open_file()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                account = self._read(connection)
                connection.execute("COMMIT")
            except BaseException:  # no transaction is left open, whatever ended it
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            drained = not account.queued and self._account.queued
            self._account = account
            if drained:
                with contextlib.suppress(sqlite3.OperationalError):
                    # As a script, because it frees a page a step, and execute takes but one step where no rows come.
                    connection.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})")
            return result

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # full, locked, read-only, gone
            self._release()
            raise StorageUnavailable(f"the queue {self._path.name} can't be written: {error}") from error
        except sqlite3.DatabaseError as error:
            self._set_aside()
            raise StorageUnavailable(f"the queue {self._path.name} was damaged and is begun anew") from error
        except OSError as error:
            self._release()
            raise StorageUnavailable(f"the queue {self._path.name} can't be opened: {error.strerror}") from error

    def _open_file(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=1.0, check_same_thread=False)
        try:
            connection.executescript(_SCHEMA)
        except BaseException:  # nobody else knows of this connection
            connection.close()
            raise
        self._connection = connection
        return connection

    def _set_aside(self) -> None:
        """Keep a damaged file for those who want to look into it; what waited in it counts as lost."""
        self._release()
        broken = self._path.with_name(f"{self._path.name}.damaged-{secrets.token_hex(4)}")
        lost, self._account = self._account, Account()
        with contextlib.suppress(OSError, sqlite3.Error):
            self._path.rename(broken)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            connection = self._open_file()
            self._count(connection, "offered", lost.offered)
            self._count(connection, "delivered", lost.delivered)
            dropped = dict(lost.dropped)
            dropped["damaged"] = dropped.get("damaged", 0) + lost.queued
            for reason, items in dropped.items():
                self._count(connection, f"{_DROPPED}{reason}", items)
            self._account = replace(lost, queued=0, queued_bytes=0, oldest_us=0, dropped=dropped)

    def _read(self, connection: sqlite3.Connection) -> Account:
        counts: dict[str, Any] = dict(connection.execute("SELECT key, items FROM account"))
        items, size, oldest = connection.execute(
            "SELECT coalesce(sum(items), 0), coalesce(sum(bytes), 0), coalesce(min(created_us), 0) FROM batch"
        ).fetchone()
        dropped = {k.removeprefix(_DROPPED): v for k, v in counts.items() if k.startswith(_DROPPED)}
        return Account(counts.get("offered", 0), counts.get("delivered", 0), items, size, oldest, dropped)
