"""The embedded event log: SQLite segments in one folder, written by one process and tailed by another.

A segment is a SQLite database in WAL mode that is never checkpointed while it is written: a commit is one sequential
write and one fsync. The writer starts a new segment when one is full; the reader deletes a segment once nothing needs
it any more, so neither deletes nor checkpoints ever stand in the way of a commit. A segment's name is the first
position in it. Positions grow by one for each record, over all segments and restarts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.errors import StorageUnavailable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
  position INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  type TEXT NOT NULL,
  acked_us INTEGER NOT NULL,
  covered_since_us INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  offered INTEGER NOT NULL,
  duplicate INTEGER NOT NULL,
  rejected INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  replays INTEGER NOT NULL,
  body BLOB,
  dead BLOB
);
"""
_COLUMNS = (
    "tenant, type, acked_us, covered_since_us,"
    " rows, offered, duplicate, rejected, dropped, replays, body, dead, position"
)
_READ_COLUMNS = _COLUMNS.replace(
    "body, dead", "CASE WHEN ? IS NULL OR type IN (SELECT value FROM json_each(?)) THEN body END, dead"
)
_SUFFIX = ".segment"
_PAGE_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Record:
    """What one group commit says of one tenant and type.

    ``body`` is an Arrow IPC stream of ``rows`` stored events, None if there are none; ``dead`` is the sealed Arrow IPC
    stream of the rejected ones. offered = rows + duplicate + rejected + dropped; a record that ``replays`` the dead
    letters of an earlier position counts those back with negative numbers. ``covered_since_us`` is since when the
    gateway had every event id in memory as it looked for duplicates; older repeats are found when loading.
    """

    tenant: str
    type: str
    acked_us: int
    covered_since_us: int
    rows: int
    offered: int
    duplicate: int
    rejected: int
    dropped: int
    replays: int = 0
    body: bytes | memoryview | None = None
    dead: bytes | None = None
    position: int = 0


def segment_paths(folder: Path) -> list[Path]:
    """Return the log's segment files, oldest first."""
    return sorted(p for p in folder.iterdir() if p.suffix == _SUFFIX) if folder.exists() else []


def _first_position(path: Path) -> int:
    return int(path.stem)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-4096")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a segment to read: such a connection does not write the WAL back when it is the last to close."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=5.0)
    connection.isolation_level = None
    connection.execute("PRAGMA cache_size=-4096")
    return connection


def _is_begun(connection: sqlite3.Connection) -> bool:
    """Tell whether the writer has got as far as making the table; a segment is visible before that."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'record'").fetchone() is not None


class LogWriter:
    """Append records durably. One instance per log folder; its methods are called from one thread."""

    def __init__(self, folder: Path, *, segment_bytes: int = 64 * 2**20) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._connection: sqlite3.Connection | None = None
        self._written = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        segments = segment_paths(folder)
        self.next_position = 1
        if segments:
            self._connection = _connect(segments[-1])
            self._connection.executescript(_SCHEMA)
            (last,) = self._connection.execute("SELECT max(position) FROM record").fetchone()
            self.next_position = _first_position(segments[-1]) if last is None else last + 1
            self._written = self._segment_bytes  # start a fresh segment at the next append

    def append(self, records: Sequence[Record]) -> int:
        """Commit ``records`` in one transaction with one fsync and return the position of the first.

        Raises StorageUnavailable, with nothing written, if the disk refuses.
        """
        first = self.next_position
        try:
            connection = self._segment()
            connection.execute("BEGIN IMMEDIATE")
            try:
                size = self._insert(connection, records)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            # The next append starts another segment. This one stays open until then: to open it anew, a reader of this
            # process would have to write its shared-memory file, which the same full disk refuses.
            self._written = self._segment_bytes
            raise StorageUnavailable(f"the event log can't be written: {error}; free or repair the disk") from error
        self._written += size
        self.next_position = first + len(records)
        return first

    def close(self) -> None:
        """Release the segment; everything appended is already durable."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing writes the WAL back, which a full disk may refuse; the file recovers when it is next opened.
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _segment(self) -> sqlite3.Connection:
        if self._connection is not None and self._written < self._segment_bytes:
            return self._connection
        previous = self._connection
        if previous is not None and self._written == 0:
            return previous
        connection = _connect(self._folder / f"{self.next_position:020d}{_SUFFIX}")
        connection.executescript(_SCHEMA)
        self._connection, self._written = connection, 0
        if previous is not None:
            # Closing the last connection to a segment copies its WAL back: not on the way of a commit.
            threading.Thread(target=previous.close, name="log-seal", daemon=True).start()
        return connection

    def _insert(self, connection: sqlite3.Connection, records: Sequence[Record]) -> int:
        marks = ",".join("?" * 13)
        connection.executemany(
            f"INSERT INTO record ({_COLUMNS}) VALUES ({marks})",  # noqa: S608 - constant columns
            (
                (
                    r.tenant,
                    r.type,
                    r.acked_us,
                    r.covered_since_us,
                    r.rows,
                    r.offered,
                    r.duplicate,
                    r.rejected,
                    r.dropped,
                    r.replays,
                    r.body,
                    r.dead,
                    position,
                )
                for position, r in enumerate(records, start=self.next_position)
            ),
        )
        return sum(200 + len(r.body or b"") + len(r.dead or b"") for r in records)


class LogReader:
    """Read records in order from a position on, also while another process writes."""

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        self._folder = folder
        self._after = after
        self._path: Path | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def position(self) -> int:
        """Position of the last record that was read."""
        return self._after

    def read(
        self, *, max_records: int = 1024, max_bytes: int = 64 * 2**20, bodies: frozenset[str] | None = None
    ) -> list[Record]:
        """Return the next records, none if there are none yet; it ends with the one that reaches ``max_bytes``.

        ``bodies`` names the event types whose bodies are wanted; those of others are left in the file.
        """
        wanted = json.dumps(sorted(bodies)) if bodies is not None else None
        while True:
            connection = self._segment()
            if connection is None:
                return []
            newer = self._newer()
            records = self._fetch(connection, max_records, max_bytes, wanted) if _is_begun(connection) else []
            if records or newer is None:
                return records
            self._open(newer)

    def close(self) -> None:
        """Release the open segment."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._path = None

    def _segment(self) -> sqlite3.Connection | None:
        if self._connection is None:
            paths = segment_paths(self._folder)
            holding = [p for p in paths if _first_position(p) <= self._after + 1] or paths[:1]
            if not holding:
                return None
            self._open(holding[-1])
        return self._connection

    def _open(self, path: Path) -> None:
        self.close()
        self._connection, self._path = _connect_to_read(path), path

    def _newer(self) -> Path | None:
        """Return the segment after the open one; once it exists, the open one grows no more."""
        assert self._path is not None
        mine = _first_position(self._path)
        return next((p for p in segment_paths(self._folder) if _first_position(p) > mine), None)

    def _fetch(
        self, connection: sqlite3.Connection, max_records: int, max_bytes: int, bodies: str | None
    ) -> list[Record]:
        records: list[Record] = []
        size = 0
        cursor = connection.execute(
            f"SELECT {_READ_COLUMNS} FROM record WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608 - constants
            (bodies, bodies, self._after, max_records),
        )
        for row in cursor:
            record = Record(*row)
            records.append(record)
            self._after = record.position
            size += len(record.body or b"")
            if size >= max_bytes:
                break
        cursor.close()
        return records


def delete_segments(folder: Path, *, through: int) -> int:
    """Delete the segments whose records all stand at or before ``through``; return how many.

    The newest segment stays. A writer or reader that still has a deleted segment open keeps its view of it.
    """
    paths = segment_paths(folder)
    deleted = 0
    for path, following in itertools.pairwise(paths):
        if _first_position(following) > through + 1:
            break
        for suffix in ("-wal", "-shm", ""):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        deleted += 1
    return deleted


def recent_records(folder: Path, *, max_bytes: int) -> Iterator[Record]:
    """Yield the newest records first, until about ``max_bytes`` of bodies were read."""
    size = 0
    for path in reversed(segment_paths(folder)):
        with contextlib.closing(_connect_to_read(path)) as connection:
            if not _is_begun(connection):
                continue
            for row in connection.execute(f"SELECT {_COLUMNS} FROM record ORDER BY position DESC"):  # noqa: S608
                record = Record(*row)
                yield record
                size += len(record.body or b"")
                if size >= max_bytes:
                    return


@dataclass(frozen=True, slots=True)
class Tail:
    """Sums over the records after a position, by tenant and type."""

    tenant: str
    type: str
    rows: int
    offered: int
    duplicate: int
    rejected: int
    dropped: int


def tail_counts(folder: Path, *, after: int) -> list[Tail]:
    """Add up the counts of every record after ``after``, without reading bodies."""
    totals: dict[tuple[str, str], list[int]] = {}
    for path in _segments_after(folder, after):
        with contextlib.closing(_connect_to_read(path)) as connection:
            if not _is_begun(connection):
                continue
            for tenant, type_, *sums in connection.execute(
                "SELECT tenant, type, sum(rows), sum(offered), sum(duplicate), sum(rejected), sum(dropped)"
                " FROM record WHERE position > ? GROUP BY tenant, type",
                (after,),
            ):
                total = totals.setdefault((tenant, type_), [0] * 5)
                total[:] = [a + b for a, b in zip(total, sums, strict=True)]
    return [Tail(tenant, type_, *sums) for (tenant, type_), sums in totals.items()]


def pending_replays(folder: Path, *, after: int) -> set[int]:
    """Return the positions whose dead letters were replayed by a record after ``after``."""
    found: set[int] = set()
    for path in _segments_after(folder, after):
        with contextlib.closing(_connect_to_read(path)) as connection:
            if not _is_begun(connection):
                continue
            rows = connection.execute("SELECT replays FROM record WHERE position > ? AND replays > 0", (after,))
            found.update(position for (position,) in rows)
    return found


def _segments_after(folder: Path, after: int) -> list[Path]:
    """Return the segments that may hold records after the position ``after``."""
    paths = segment_paths(folder)
    done = {path for path, following in itertools.pairwise(paths) if _first_position(following) <= after + 1}
    return [path for path in paths if path not in done]
