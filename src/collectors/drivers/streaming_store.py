"""What streaming collectors know, kept over restarts together with the log position they had seen."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path


class StreamingStore:
    """States by (tenant, collector), all as of one log position."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(
                "CREATE TABLE IF NOT EXISTS state (tenant TEXT, collector TEXT, state BLOB NOT NULL,"
                " PRIMARY KEY (tenant, collector)) WITHOUT ROWID;"
                "CREATE TABLE IF NOT EXISTS seen (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL);"
            )

    def save(self, position: int, states: Mapping[tuple[str, str], bytes]) -> None:
        """Replace everything by ``states`` as of ``position``."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM state")
            connection.executemany("INSERT INTO state VALUES (?,?,?)", ((*key, state) for key, state in states.items()))
            connection.execute("INSERT OR REPLACE INTO seen VALUES (1, ?)", (position,))
            connection.execute("COMMIT")

    def load(self) -> tuple[int | None, dict[tuple[str, str], bytes]]:
        """Return the position, None if nothing was ever saved, and the states."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN")
            row = connection.execute("SELECT position FROM seen").fetchone()
            states = {(t, c): state for t, c, state in connection.execute("SELECT tenant, collector, state FROM state")}
        return (row[0] if row else None), states

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, timeout=10.0)
