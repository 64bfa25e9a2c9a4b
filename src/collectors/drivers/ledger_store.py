"""The durable ledger: what became of every offered event, and the dead letters that wait for a fix.

The worker folds log records into it, in one transaction with the log position up to which they are folded; the rest is
read from the log's tail. So ledger and log together are exact at any moment, also after a crash in between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from collectors.drivers.event_log import tail_counts
from collectors.errors import StorageUnavailable, UnknownName
from collectors.model.batch import LedgerCounts

_SCHEMA = """
CREATE TABLE IF NOT EXISTS folded (
  tenant TEXT NOT NULL, type TEXT NOT NULL,
  offered INTEGER NOT NULL, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL,
  rejected INTEGER NOT NULL, dropped INTEGER NOT NULL,
  PRIMARY KEY (tenant, type)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letter (
  position INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL, type TEXT NOT NULL, time_us INTEGER NOT NULL,
  rows INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_letter_by_tenant ON dead_letter (tenant, position);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The rejected rows of one log record, sealed under the tenant's key."""

    position: int
    tenant: str
    type: str
    time_us: int
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Fold:
    """What one load adds to the ledger."""

    counts: Mapping[tuple[str, str], LedgerCounts]
    dead_letters: tuple[DeadLetter, ...]
    replayed: tuple[int, ...]
    position: int
    notes: Mapping[str, object]
    """Small facts the loader must find again after a restart."""


class LedgerStore:
    """The ledger's database in a data folder; one process folds, any may read."""

    def __init__(self, path: Path, log_folder: Path) -> None:
        self._path = path
        self._log_folder = log_folder
        path.parent.mkdir(parents=True, exist_ok=True)
        # Kept open: closing the last connection of a process would write the WAL back each time.
        self._anchor = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._anchor.execute("PRAGMA journal_mode=WAL")
        self._anchor.executescript(_SCHEMA)

    def fold(self, fold: Fold) -> None:
        """Add ``fold`` once: a fold up to a position that was reached before changes nothing."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if fold.position <= _position(connection):
                connection.execute("ROLLBACK")
                return
            connection.executemany(
                "INSERT INTO folded VALUES (?,?,?,?,?,?,?) ON CONFLICT (tenant, type) DO UPDATE SET"
                " offered = offered + excluded.offered, stored = stored + excluded.stored,"
                " duplicate = duplicate + excluded.duplicate, rejected = rejected + excluded.rejected,"
                " dropped = dropped + excluded.dropped",
                (
                    (tenant, type_, c.offered, c.stored, c.duplicate, c.rejected, c.dropped)
                    for (tenant, type_), c in fold.counts.items()
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO dead_letter VALUES (?,?,?,?,?,?)",
                ((d.position, d.tenant, d.type, d.time_us, d.rows, d.body) for d in fold.dead_letters),
            )
            connection.executemany("DELETE FROM dead_letter WHERE position = ?", ((p,) for p in fold.replayed))
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?,?)",
                [("position", str(fold.position)), ("notes", json.dumps(dict(fold.notes)))],
            )
            connection.execute("COMMIT")

    def position(self) -> int:
        """Log position up to which records are folded."""
        with self._connect() as connection:
            return _position(connection)

    def notes(self) -> dict[str, object]:
        """Return the notes of the last fold."""
        with self._connect() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'notes'").fetchone()
        return json.loads(row[0]) if row else {}

    def counts(self, tenant: str | None = None) -> dict[tuple[str, str], LedgerCounts]:
        """Return exact counts by (tenant, type), of one tenant or all: folded ones plus the log's tail."""
        while True:
            with self._connect() as connection:
                connection.execute("BEGIN")
                position = _position(connection)
                rows = connection.execute(
                    "SELECT * FROM folded WHERE ? IS NULL OR tenant = ?", (tenant, tenant)
                ).fetchall()
                connection.execute("COMMIT")
            tail = tail_counts(self._log_folder, after=position)
            # Records folded in the meantime may have left the log: then the tail is short, and both are read again.
            if self.position() == position:
                break
        counts = {
            (t, type_): LedgerCounts(offered, stored, duplicate, rejected, dropped)
            for t, type_, offered, stored, duplicate, rejected, dropped in rows
        }
        for c in tail:
            if tenant is None or c.tenant == tenant:
                more = LedgerCounts(c.offered, 0, c.duplicate, c.rejected, c.dropped, c.rows)
                counts[c.tenant, c.type] = counts.get((c.tenant, c.type), LedgerCounts()) + more
        return counts

    def dead_letters(self, tenant: str, *, after: int = 0, limit: int = 50) -> list[DeadLetter]:
        """Return a tenant's dead letters in log order."""
        with self._connect() as connection:
            rows: Iterable[tuple[int, str, str, int, int, bytes]] = connection.execute(
                "SELECT position, tenant, type, time_us, rows, body FROM dead_letter"
                " WHERE tenant = ? AND position > ? ORDER BY position LIMIT ?",
                (tenant, after, limit),
            ).fetchall()
        return [DeadLetter(*row) for row in rows]

    def dead_letter(self, tenant: str, position: int) -> DeadLetter:
        """Return one of a tenant's dead letters, or raise UnknownName."""
        letters = self.dead_letters(tenant, after=position - 1, limit=1)
        if not letters or letters[0].position != position:
            raise UnknownName(f"there is no dead letter at position {position}; it may have been replayed")
        return letters[0]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=10.0)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the ledger can't be used: {error}; free or repair the disk") from error


def _position(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM meta WHERE key = 'position'").fetchone()
    return int(row[0]) if row else 0
