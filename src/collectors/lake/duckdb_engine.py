"""The embedded engine: DuckDB over the lake's Parquet files."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.errors import CollectorsError, LifecycleError, Overloaded, PermanentError, StorageUnavailable
from collectors.lake.engine import LakeFile, settled
from collectors.model.rollups import ROLLUPS

if TYPE_CHECKING:
    import ibis.expr.types as ir

QUERY_NICENESS = 19
_POLL_S = 0.01  # an interrupt that comes between two steps of a query is lost, so it is repeated


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What all queries together may use, and how long one may take.

    ``spill`` is a folder for what does not fit in ``memory_bytes``; without one such a query fails.
    """

    memory_bytes: int = 512 * 1024**2
    threads: int = 2
    concurrency: int = 2
    timeout_seconds: float = 30.0
    spill: Path | None = None
    spill_bytes: int = 4 * 1024**3


class DuckDBEngine:
    """Runs expressions in worker threads of one in-memory DuckDB, which reads the files in place."""

    def __init__(self, limits: EngineLimits | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._limits = limits or EngineLimits()
        self._clock = clock
        self._slots = asyncio.Semaphore(self._limits.concurrency)
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, expression: ir.Table, tenant_id: str, files: Mapping[str, tuple[LakeFile, ...]]) -> pa.Table:
        """Return the rows of ``expression``; see ``lake.engine.Engine``.

        Time counts from when the query starts, not while it waits for others. Cancelling the caller, or running
        out of time, interrupts DuckDB and waits until it has let go.
        """
        async with self._slots:
            if self._closed:
                raise LifecycleError("the query engine is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._limits.concurrency, thread_name_prefix="lake-query", initializer=_yield_to_others
                )
            job = _Job()
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._pool, self._execute, job, expression, tenant_id, files)
            timer = asyncio.ensure_future(self._clock.sleep(self._limits.timeout_seconds))
            try:
                await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
                while not work.done():
                    job.interrupt()
                    await asyncio.wait({work}, timeout=_POLL_S)
                work.exception()  # seen, even where the caller was cancelled and will not ask
            return work.result()

    async def close(self) -> None:
        """Let running queries end, then release threads and memory; safe unopened and twice."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)
        self._discard()

    def _execute(
        self, job: _Job, expression: ir.Table, tenant_id: str, files: Mapping[str, tuple[LakeFile, ...]]
    ) -> pa.Table:
        """Run in a worker thread; raise only our own errors."""
        sql, schema = _compiled(expression.op())
        views, parameters = _views(files, tenant_id)
        try:
            with self._open().cursor() as cursor, job.running(cursor):
                return cursor.execute(_joined(views, sql), parameters).to_arrow_table().cast(schema)
        except (duckdb.ConnectionException, duckdb.FatalException, duckdb.InternalException):
            self._discard()
            raise StorageUnavailable("the query engine failed and was restarted; try again") from None
        except (duckdb.Error, pa.ArrowInvalid) as error:
            raise self._translated(error, job, files) from None  # an engine's message may quote the data

    def _translated(self, error: Exception, job: _Job, files: Mapping[str, Any]) -> CollectorsError:
        about = f"the query over {', '.join(sorted(files)) or 'no table'}"
        if job.interrupted or isinstance(error, duckdb.InterruptException):
            return Overloaded(
                f"{about} was stopped after {self._limits.timeout_seconds:g} s; read fewer days or raise the limit"
            )
        if isinstance(error, duckdb.OutOfMemoryException):
            return Overloaded(f"{about} needs more memory than the engine has; read fewer days or raise the limit")
        if isinstance(error, duckdb.IOException | duckdb.HTTPException):
            return StorageUnavailable(f"{about} could not read a file, which may just have been replaced; try again")
        return PermanentError(f"{about} can't be run ({type(error).__name__}); check its types and value ranges")

    def _open(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._database is None:
                limits = self._limits
                self._database = duckdb.connect(
                    ":memory:",
                    config={
                        "threads": limits.threads,
                        "memory_limit": f"{limits.memory_bytes}B",
                        "temp_directory": str(limits.spill) if limits.spill else "",
                        "max_temp_directory_size": f"{limits.spill_bytes}B",
                        "enable_external_file_cache": False,  # the operating system caches files already
                        "autoinstall_known_extensions": False,
                        "autoload_known_extensions": False,
                        "allow_community_extensions": False,
                    },
                )
                self._database.execute("SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")
            return self._database

    def _discard(self) -> None:
        with self._lock:
            database, self._database = self._database, None
        if database is not None:
            database.close()


def _yield_to_others() -> None:
    """Let this thread run when others leave time: on Linux niceness is a thread's own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), QUERY_NICENESS)


class _Job:
    """A query in a worker thread, which may be told to stop at any time."""

    def __init__(self) -> None:
        self.interrupted = False
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def running(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with self._lock:
            if self.interrupted:
                raise duckdb.InterruptException("stopped before it began")
            self._cursor = cursor
        try:
            yield
        finally:
            with self._lock:  # a closed cursor must not be interrupted
                self._cursor = None

    def interrupt(self) -> None:
        with self._lock:
            self.interrupted = True
            if self._cursor is not None:
                self._cursor.interrupt()


@lru_cache(maxsize=16)
def _compiled(op: Any) -> tuple[str, pa.Schema]:
    """Return the SQL of an expression and the schema its result must have."""
    import ibis

    expression = op.to_expr()
    fields = expression.schema().to_pyarrow()
    try:
        sql = str(ibis.to_sql(expression, dialect="duckdb"))
    except ibis.common.exceptions.IbisError as error:
        raise PermanentError(f"DuckDB has no such operation: {error}; see lake.portable for what to write") from error
    return sql, pa.schema([f.with_nullable(True) for f in fields])


def _joined(views: str, sql: str) -> str:
    """Put the views before a statement that may begin with its own WITH."""
    if not views:
        return sql
    return f"WITH {views}, {sql.removeprefix('WITH ')}" if sql.startswith("WITH ") else f"WITH {views} {sql}"


def _views(files: Mapping[str, tuple[LakeFile, ...]], tenant_id: str) -> tuple[str, dict[str, object]]:
    """Return a comma-separated WITH list that defines each table as one tenant's rows, and its parameters."""
    parameters: dict[str, object] = {}
    views = []
    for name, all_files in files.items():
        if name in ROLLUPS:
            final, partial = settled(all_files)
            body = _rows(name, final, f"{name}_final", parameters)
            if partial:
                body += f" UNION ALL {_summed(name, _rows(name, partial, f'{name}_partial', parameters))}"
        else:
            body = _rows(name, all_files, name, parameters)
        views.append(f'"{name}" AS NOT MATERIALIZED ({body})')  # so that filters reach the files
    if parameters:
        parameters["tenant"] = tenant_id
    return ", ".join(views), parameters


def _rows(table: str, files: Sequence[LakeFile], key: str, parameters: dict[str, object]) -> str:
    """Return a SELECT of one tenant's rows of ``files`` with exactly the columns of ``table``.

    The empty row set gives columns that none of the files has yet.
    """
    columns = _columns(table)
    empty = ", ".join(f'CAST(NULL AS {kind}) AS "{column}"' for column, kind in columns)
    if not files:
        return f"SELECT {empty} WHERE false"
    parameters[key] = [file.path for file in files]
    chosen = ", ".join(f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in columns)
    # Only declared names stand in the text; paths and the tenant are bound as parameters.
    return f"""
        SELECT {chosen} FROM (
            SELECT * FROM read_parquet(${key}, union_by_name => true, hive_partitioning => false)
            UNION ALL BY NAME SELECT {empty}, CAST(NULL AS TEXT) AS tenant_id WHERE false
        ) WHERE tenant_id = $tenant
    """  # noqa: S608 - see the comment above


def _summed(rollup: str, rows: str) -> str:
    """Return a SELECT that adds up the rows of a rollup that have the same period and keys."""
    declared = ROLLUPS[rollup]
    keys = ", ".join(f'"{name}"' for name in (declared.period, *(key for key, _ in declared.keys)))
    sums = ", ".join(f'CAST(coalesce(sum("{m.name}"), 0) AS BIGINT) AS "{m.name}"' for m in declared.measures)
    return f"SELECT {keys}, {sums} FROM ({rows}) GROUP BY {keys}"  # noqa: S608 - declared names only


@lru_cache(maxsize=64)
def _columns(table: str) -> tuple[tuple[str, str], ...]:
    """Return name and DuckDB type of each column of ``table``."""
    from ibis.backends.sql.datatypes import DuckDBType

    from collectors.lake.expression import known_table

    known = known_table(table)
    assert known is not None, "TenantView admits known tables only"
    return tuple((name, DuckDBType.from_ibis(kind).sql("duckdb")) for name, kind in known.schema().items())
