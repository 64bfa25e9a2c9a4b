"""The only caller of psycopg: one connection that reads, waits for nobody and is not waited for.

A monitor must not become the outage it reports. So there is one connection, made anew only after it was lost; each
statement is read-only, has a deadline on the server, gives up at once where it would wait for a lock, and has a second
deadline here, because a server behind a dead network does not keep its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable

if TYPE_CHECKING:
    import psycopg

Row = dict[str, Any]
"""Values of a row by column name."""

_SESSION = """
SELECT set_config(s.name, w.setting, false) FROM pg_catalog.pg_settings s JOIN (VALUES
  ('default_transaction_read_only', 'on'), ('statement_timeout', %(statement_ms)s), ('lock_timeout', %(lock_ms)s),
  ('search_path', 'pg_catalog'), ('jit', 'off'), ('client_connection_check_interval', '1s'),
  ('idle_in_transaction_session_timeout', '10s'), ('max_parallel_workers_per_gather', '0'), ('lc_messages', 'C')
) AS w (name, setting) ON w.name = s.name
WHERE s.context = 'user' OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
"""
_GRACE_S = 2.0
_NOT_NOW = (
    "starting up", "shutting down", "in recovery mode", "not yet accepting", "too many clients",
    "too many connections", "connection slots", "terminating connection",
)  # fmt: skip
_CALL_AGAIN = frozenset({"08", "53", "57", "58", "XX"})
"""Classes of SQLSTATE that pass: connection, resources, operator intervention, the system's and internal errors."""


class TooSlow(SourceUnavailable):
    """A statement ran into its deadline or a lock; the connection lives and others may be asked."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, in seconds, anything may take: to connect, a statement, its wait for a lock."""

    connect_s: float = 5.0
    statement_s: float = 2.0
    lock_s: float = 0.1


class Postgres:
    """One connection to one database.

    ``conninfo`` is called before each connection and returns libpq's connection string or URI, so that a password can
    be rotated. No error tells of it: neither host, user nor password. ``SourceUnavailable`` if nobody answers or the
    server takes no more connections, ``SourceRefused`` if it says no, ``TooSlow`` for a single statement.
    """

    def __init__(
        self,
        conninfo: Callable[[], str],
        limits: Limits | None = None,
        *,
        application_name: str = "collectors",
    ) -> None:
        self._conninfo = conninfo
        self._limits = limits or Limits()
        self._application = application_name
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._one_at_a_time = asyncio.Lock()
        self.connects = 0
        """Connections made so far."""

    async def fetch(self, name: str, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement and return its rows; ``name`` stands in it as a comment, for who reads the server's log."""
        async with self._one_at_a_time:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            return await self._statement(self._connection, f"/* collectors: {name} */ {sql}", parameters)

    async def close(self) -> None:
        """Close the connection; safe unopened and twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # what is closed can't be closed any better
                await connection.close()

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        try:
            import psycopg
            from psycopg.rows import dict_row
        except ImportError:
            raise SourceRefused("psycopg is not installed; install collectors[postgres]") from None
        try:
            async with asyncio.timeout(self._limits.connect_s):
                connection = await psycopg.AsyncConnection.connect(
                    self._conninfo(),
                    autocommit=True,
                    prepare_threshold=None,  # poolers that share sessions know no prepared statements
                    row_factory=dict_row,
                    application_name=self._application,
                    connect_timeout=max(2, round(self._limits.connect_s)),
                    keepalives_idle=10,
                    keepalives_interval=5,
                    keepalives_count=3,
                    tcp_user_timeout=round(1000 * (self._limits.statement_s + _GRACE_S)),
                )
        except TimeoutError:
            raise SourceUnavailable("PostgreSQL took too long to accept a connection; look at its load") from None
        except psycopg.Error as error:
            malformed = isinstance(error, psycopg.ProgrammingError)
            raise _of_connecting(error, malformed=malformed) from None  # psycopg's text names host and user
        self.connects += 1
        try:
            await self._statement(
                connection,
                _SESSION,
                {
                    "statement_ms": str(round(1000 * self._limits.statement_s)),
                    "lock_ms": str(max(1, round(1000 * self._limits.lock_s))),
                },
            )
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _statement(
        self, connection: psycopg.AsyncConnection[Row], sql: str, parameters: Mapping[str, Any] | None
    ) -> list[Row]:
        """Run a statement; one that the network swallows ends here, with the connection.

        Cancelled while it waits, psycopg asks the server to cancel and waits on, which never ends if the server is
        gone. Shutting the socket down ends it at once, and the server notices a client that has left.
        """
        task = asyncio.ensure_future(_rows(connection, sql, parameters))
        try:
            await asyncio.wait({task}, timeout=self._limits.statement_s + _GRACE_S)
        finally:
            if not task.done():
                _hang_up(connection)
                await asyncio.wait({task}, timeout=_GRACE_S)
                task.cancel()
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await task
                await self._drop(connection)
        try:
            return task.result()
        except asyncio.CancelledError:
            raise SourceUnavailable("PostgreSQL did not answer in time; the connection was given up") from None
        except Exception as error:  # noqa: BLE001  # psycopg's classes are not to be imported with this module
            gone = connection.broken or connection.closed
            if gone:
                await self._drop(connection)
            raise _of_statement(error, gone=gone) from None  # psycopg's text may quote values

    async def _drop(self, connection: psycopg.AsyncConnection[Row]) -> None:
        with contextlib.suppress(Exception):  # it is lost already
            await connection.close()
        if self._connection is connection:
            self._connection = None


async def _rows(connection: psycopg.AsyncConnection[Row], sql: str, parameters: Mapping[str, Any] | None) -> list[Row]:
    # The texts are this package's own; what differs from call to call is bound.
    cursor = await connection.execute(sql, parameters)
    return await cursor.fetchall()


def _hang_up(connection: psycopg.AsyncConnection[Row]) -> None:
    # It may be closed by now.
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def _of_connecting(error: Exception, *, malformed: bool) -> CollectorsError:
    """Tell a server that says no from one that does not answer; libpq gives a text, and rarely a code."""
    if malformed:
        return SourceRefused("the connection string is not one that libpq understands; write it as postgresql://…")
    text, state = str(error).lower(), getattr(error, "sqlstate", None) or ""
    if state[:2] in _CALL_AGAIN or any(sign in text for sign in _NOT_NOW):
        return SourceUnavailable("PostgreSQL takes no connection now: it starts, stops or has too many; try later")
    if state[:2] in ("28", "3D", "42") or "fatal:" in text or "no password supplied" in text:
        return SourceRefused("PostgreSQL refused the connection; check user, password, database and pg_hba.conf")
    return SourceUnavailable("PostgreSQL does not answer; look whether it runs and can be reached")


def _of_statement(error: Exception, *, gone: bool) -> CollectorsError:
    state = getattr(error, "sqlstate", None) or ""
    if gone:
        return SourceUnavailable("the connection to PostgreSQL was lost; it is made anew with the next run")
    if state in ("57014", "55P03"):
        return TooSlow("it took longer than statement_timeout, or would have waited for a lock; it is asked less often")
    if state == "42501":
        return SourceRefused("the right is missing; GRANT pg_monitor to the monitoring user")
    if state[:2] in _CALL_AGAIN:
        return TooSlow(f"the server could not answer now (SQLSTATE {state})")
    if state:
        return SourceRefused(f"this server does not have what is asked for (SQLSTATE {state})")
    return SourceRefused("psycopg could not make sense of the answer")
