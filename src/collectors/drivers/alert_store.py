"""What alerting must not forget: its state, silences, acknowledgements, and each notification with its attempts.

One small SQLite database of a data folder. The worker writes states and notifications in one transaction, so that a
crash neither loses a notification nor decides it twice; gateway and command line write silences and acknowledgements.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from collectors.config.alerting import Silence
from collectors.errors import StorageUnavailable, UnknownName

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS silence (
  id TEXT PRIMARY KEY, tenant TEXT, starts_us INTEGER NOT NULL, ends_us INTEGER NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acknowledgement (
  alert TEXT PRIMARY KEY, at_us INTEGER NOT NULL, author TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, handler TEXT NOT NULL, "group" TEXT NOT NULL,
  tenant TEXT NOT NULL, content TEXT NOT NULL, created_us INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
  attempts INTEGER NOT NULL DEFAULT 0, next_us INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS delivery_waiting ON delivery (handler, "group", number) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS attempt (
  delivery INTEGER NOT NULL, number INTEGER NOT NULL, at_us INTEGER NOT NULL, outcome TEXT NOT NULL,
  error TEXT NOT NULL, PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
"""
_COLUMNS = 'number, id, handler, "group", tenant, content, created_us, state, attempts, next_us'
MAX_SILENCES = 10_000


@dataclass(frozen=True, slots=True)
class StoredSilence:
    """A silence and its id."""

    id: str
    silence: Silence


class NewDelivery(Protocol):
    """A notification that is to be delivered."""

    @property
    def id(self) -> str:
        """What tells it from others."""

    @property
    def handler(self) -> str:
        """Who gets it."""

    @property
    def group(self) -> str:
        """Within which the order is kept."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def created_us(self) -> int:
        """When it was decided, and is due."""

    def dump(self) -> str:
        """Return the content."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification for one handler. ``state`` is ``waiting``, ``delivered`` or ``given_up``."""

    number: int
    id: str
    handler: str
    group: str
    tenant: str
    content: str
    created_us: int
    state: str = "waiting"
    attempts: int = 0
    next_us: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver. ``outcome`` is ``delivered``, ``failed`` or ``given_up``; ``error`` says why not."""

    number: int
    at_us: int
    outcome: str
    error: str


class AlertStore:
    """The alerting database of a data folder; safe for several processes and threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Kept open: closing the last connection of a process would write the WAL back each time.
        self._anchor = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._anchor.execute("PRAGMA journal_mode=WAL")
        self._anchor.executescript(_SCHEMA)
        path.chmod(0o600)

    def close(self) -> None:
        """Close the database."""
        self._anchor.close()

    # States and notifications.

    def commit(self, states: Mapping[str, bytes], deliveries: Iterable[NewDelivery], seen: Iterable[str] = ()) -> None:
        """Save states and new notifications together; one whose id is known is not added again.

        ``seen`` are alerts whose acknowledgement is in the states now.
        """
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?,?)", states.items())
            connection.executemany(
                'INSERT OR IGNORE INTO delivery (id, handler, "group", tenant, content, created_us, next_us)'
                " VALUES (?,?,?,?,?,?,?)",
                ((d.id, d.handler, d.group, d.tenant, d.dump(), d.created_us, d.created_us) for d in deliveries),
            )
            connection.executemany("UPDATE acknowledgement SET seen = 1 WHERE alert = ?", ((id_,) for id_ in seen))

    def states(self) -> dict[str, bytes]:
        """Return the states last saved, by name."""
        with self._connection() as connection:
            return dict(connection.execute("SELECT name, content FROM state").fetchall())

    def heads(self, handler: str, limit: int) -> list[Delivery]:
        """Return the oldest waiting notification of each of a handler's groups, those due first before others."""
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM delivery WHERE number IN (SELECT min(number) FROM delivery"  # noqa: S608 - constants
                " WHERE handler = ? AND state = 'waiting' GROUP BY \"group\") ORDER BY next_us, number LIMIT ?",
                (handler, limit),
            ).fetchall()
        return [Delivery(*row) for row in rows]

    def record(self, delivery: int, at_us: int, outcome: str, error: str = "", next_us: int = 0) -> None:
        """Record an attempt: ``delivered`` and ``given_up`` end the delivery, ``failed`` repeats at ``next_us``."""
        state = "waiting" if outcome == "failed" else outcome
        with self._transaction() as connection:
            connection.execute(
                "UPDATE delivery SET state = ?, attempts = attempts + 1, next_us = ? WHERE number = ?",
                (state, next_us, delivery),
            )
            connection.execute(
                "INSERT INTO attempt SELECT number, attempts, ?, ?, ? FROM delivery WHERE number = ?",
                (at_us, outcome, error, delivery),
            )

    def deliveries(self, *, tenant: str | None = None, state: str | None = None, limit: int = 100) -> list[Delivery]:
        """Return the newest notifications, newest first."""
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM delivery WHERE (?1 IS NULL OR tenant = ?1)"  # noqa: S608 - constants
                " AND (?2 IS NULL OR state = ?2) ORDER BY number DESC LIMIT ?3",
                (tenant, state, limit),
            ).fetchall()
        return [Delivery(*row) for row in rows]

    def attempts(self, delivery: int) -> list[Attempt]:
        """Return the attempts of a delivery, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT number, at_us, outcome, error FROM attempt WHERE delivery = ? ORDER BY number", (delivery,)
            ).fetchall()
        return [Attempt(*row) for row in rows]

    def expire(self, before_us: int) -> None:
        """Delete what is from before ``before_us``: notifications with their attempts, silences, acknowledgements."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM delivery WHERE created_us < ?", (before_us,))
            connection.execute("DELETE FROM attempt WHERE delivery NOT IN (SELECT number FROM delivery)")
            connection.execute("DELETE FROM silence WHERE ends_us < ?", (before_us,))
            connection.execute("DELETE FROM acknowledgement WHERE seen AND at_us < ?", (before_us,))

    # What people say.

    def add_silence(self, silence: Silence) -> str:
        """Record a silence and return its id."""
        id_ = secrets.token_hex(6)
        with self._transaction() as connection:
            (count,) = connection.execute("SELECT count(*) FROM silence").fetchone()
            if count >= MAX_SILENCES:
                raise StorageUnavailable(f"there are {count} silences already; end those that are not needed")
            connection.execute(
                "INSERT INTO silence VALUES (?,?,?,?,?)",
                (id_, silence.tenant, silence.starts_us, silence.ends_us, silence.model_dump_json()),
            )
        return id_

    def end_silence(self, id_: str, now_us: int, tenant: str | None = None) -> None:
        """End a silence now, or raise UnknownName; ``tenant`` may only end its own."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT content FROM silence WHERE id = ?1 AND ends_us > ?2 AND (?3 IS NULL OR tenant = ?3)",
                (id_, now_us, tenant),
            ).fetchone()
            if row is None:
                raise UnknownName("there is no such silence in force; list them with: collectors alerts silences")
            silence = Silence.model_validate_json(row[0])
            if now_us <= silence.starts_us:  # it has not begun, so nothing of it remains
                connection.execute("DELETE FROM silence WHERE id = ?", (id_,))
                return
            ended = silence.model_copy(update={"ends_us": now_us})
            connection.execute(
                "UPDATE silence SET ends_us = ?, content = ? WHERE id = ?", (now_us, ended.model_dump_json(), id_)
            )

    def silences(self, now_us: int, tenant: str | None = None) -> list[StoredSilence]:
        """Return the silences that are not over, also those that are yet to begin.

        For a ``tenant`` these are its own and those that hold for all.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, content FROM silence WHERE ends_us > ?1 AND (?2 IS NULL OR tenant IS NULL OR tenant = ?2)"
                " ORDER BY starts_us, id",
                (now_us, tenant),
            ).fetchall()
        return [StoredSilence(id_, Silence.model_validate_json(content)) for id_, content in rows]

    def acknowledge(self, alert_id: str, now_us: int, author: str = "") -> None:
        """Record that somebody takes care of an alert; the first one counts."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO acknowledgement (alert, at_us, author) VALUES (?,?,?)",
                (alert_id, now_us, author),
            )

    def acknowledgements(self, *, unseen: bool = False) -> dict[str, tuple[int, str]]:
        """Return by alert when and by whom it was acknowledged; only what no ``commit`` has seen if ``unseen``."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT alert, at_us, author FROM acknowledgement WHERE NOT (seen AND ?) ORDER BY at_us, alert",
                (unseen,),
            ).fetchall()
        return {alert: (at, author) for alert, at, author in rows}

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=10.0)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the alerts' database can't be used: {error}; free or repair the disk") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
