"""Connections, locks, statements, storage, replication and upkeep of a PostgreSQL server, with TimescaleDB's part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, SecretStr

from collectors.catalog.performance.database import (
    activity,
    bloat,
    configuration,
    indexes,
    locks,
    maintenance,
    replication,
    server,
    statements,
    storage,
    tables,
    timescale,
)
from collectors.catalog.performance.database.probe import Database, Facts, Outcome, Probe, Row
from collectors.config.alerting import read_secret
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.contract.example import Example
from collectors.drivers.postgres import Limits, Postgres, TooSlow
from collectors.errors import CollectorsError, LifecycleError, SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Issue, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import Stability

_OLDEST, _NEWEST_TESTED = 13, 18

_FACTS = """
SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,
       current_database() AS database, extract(epoch FROM pg_postmaster_start_time())::float8 AS started,
       (SELECT json_object_agg(e.extname, json_build_array(e.extversion, n.nspname)) FROM pg_extension e
        JOIN pg_namespace n ON n.oid = e.extnamespace) AS extensions,
       (SELECT json_agg(r.name) FROM (VALUES ('timescaledb_information.stat_chunk_activity')) AS r (name)
        WHERE to_regclass(r.name) IS NOT NULL) AS relations,
       pg_has_role(current_user, 'pg_monitor', 'USAGE') AS monitor
"""

_FIXED: tuple[Probe, ...] = (
    *activity.PROBES,
    *locks.PROBES,
    *server.PROBES,
    *storage.PROBES,
    *replication.PROBES,
    *maintenance.PROBES,
    *configuration.PROBES,
    *tables.PROBES,
    *indexes.PROBES,
    *bloat.PROBES,
    *timescale.PROBES,
)

_TOOK = MetricSpec(
    "collectors.postgresql.probe.duration",
    Kind.GAUGE,
    Unit.SECONDS,
    "How long the question took when it was last asked.",
    labels=("probe",),
)
_AGE = MetricSpec(
    "collectors.postgresql.probe.age",
    Kind.GAUGE,
    Unit.SECONDS,
    "How old the answer is: dear questions are asked less often.",
    labels=("probe",),
)


class DatabasePerformanceConfig(CollectorConfig):
    """Which server is asked, and how much of its time that may take."""

    dsn: SecretStr = SecretStr("")
    """Connection string or URI of libpq, or where it stands: ``env:VARIABLE`` or ``file:/path``; libpq's own
    environment variables if empty."""

    top: int = Field(default=20, ge=1, le=100)
    """Most tables, indexes, statements and the like told of by name, of each kind."""

    connect_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """Longest it may take to connect."""

    statement_timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    """Longest a single question may take; the server ends it then."""

    budget_seconds: float = Field(default=2.0, gt=0, le=60)
    """Time after which a run asks no further question; the rest is asked by the next runs."""

    share: float = Field(default=0.05, gt=0, le=1)
    """Share of time that all questions together may take; dear ones are asked less often, to keep within it."""

    expected_settings: Mapping[str, str] = Field(default_factory=dict)
    """What settings should be, as ``SHOW`` writes them; those that are not are told of."""


@dataclass(slots=True)
class _Answer:
    """What a probe last led to, and when it is asked again; times are of the monotonic clock."""

    outcome: Outcome = field(default_factory=Outcome)
    issue: Issue | None = None
    at: float = 0.0
    took: float = 0.0
    next: float = 0.0


class DatabasePerformanceCollector(Sampling[DatabasePerformanceConfig]):
    """Report connections, locks, statements, storage, replication and upkeep of PostgreSQL 13 to 18 and TimescaleDB.

    Metrics are named by OpenTelemetry's PostgreSQL receiver where it has a name, and ``postgresql.*`` or
    ``timescaledb.*`` otherwise. What is told by table, index, statement and hypertable is bounded by ``top``, and is of
    the connected database; everything else is of the whole server.

    It asks one question at a time over one connection. Each of N questions may take ``share`` / N of the time, so one
    that takes long is asked less often and its last answer stands meanwhile, with its age, unless the server was
    restarted, promoted or replaced since. What this server does not
    have is not asked; what may not be seen, or took too long, becomes an issue and the rest is returned.
    """

    name: ClassVar[str] = "database_performance"
    Config = DatabasePerformanceConfig
    stability = Stability.BETA
    emits = (
        *{s.name: s for p in (*_FIXED, *statements.probes(), configuration.Drift()) for s in p.emits}.values(),
        _TOOK,
        _AGE,
    )

    _database: Database | None = None
    _probes: tuple[Probe, ...] = ()
    _answers: dict[str, _Answer]
    _server: tuple[object, ...] | None = None

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example("small_server", {"dsn": "postgresql://monitor:s3cret-s3cret@db/app"}, files=_SMALL_SERVER)
        yield Example("not_postgres", fails=SourceUnavailable)

    @classmethod
    def recorded(cls, folder: Path) -> Mapping[str, Any]:
        """Return a server that answers what ``answers.json`` in ``folder`` holds: rows by name of the probe."""
        return {"postgres": _Recorded(folder / "answers.json")}

    async def open(self) -> None:
        self._probes = (*_FIXED, *statements.probes(), configuration.Drift(self.config.expected_settings))
        self._answers = {}
        self._server = None
        self._database = self.context.drivers.get("postgres") or Postgres(
            self._conninfo,
            Limits(self.config.connect_timeout_seconds, self.config.statement_timeout_seconds),
        )
        await self._facts(self._database)

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # a server only knows the present
        if self._database is None:
            raise LifecycleError("open database_performance before collecting from it")
        facts, issues = await self._facts(self._database)
        server = (facts.major, facts.standby, facts.started, facts.database)
        if server != self._server:  # what the other one answered is not true of this one
            self._server, self._answers = server, {}
        asked = [probe for probe in self._probes if probe.applies(facts)]
        self._answers = {probe.name: self._answers.get(probe.name, _Answer()) for probe in asked}
        begun = self.context.clock.monotonic()
        due = [probe for probe in asked if self._answers[probe.name].next <= begun]
        due.sort(key=lambda probe: self._answers[probe.name].at)  # what waited longest first; else as declared
        for number, probe in enumerate(due):
            if self.context.clock.monotonic() - begun > self.config.budget_seconds:
                left = len(due) - number
                issues.append(
                    Issue("postponed", f"{left} questions wait: this run's {self.config.budget_seconds:g} s are spent")
                )
                break
            await self._ask(probe, self._database, facts)
        return self._told(issues)

    async def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    def _conninfo(self) -> str:
        text = self.config.dsn.get_secret_value()
        return read_secret(text).get_secret_value() if text.startswith(("env:", "file:")) else text

    async def _facts(self, database: Database) -> tuple[Facts, list[Issue]]:
        rows = await database.fetch("facts", _FACTS)
        try:
            row = rows[0]
            facts = Facts(
                major=int(row["version"]) // 10_000,
                started=float(row["started"]),
                standby=bool(row["standby"]),
                database=str(row["database"]),
                extensions={name: (str(v), str(schema)) for name, (v, schema) in (row["extensions"] or {}).items()},
                relations=frozenset(row["relations"] or ()),
                top=self.config.top,
            )
            monitor = bool(row["monitor"])
        except (LookupError, TypeError, ValueError, AttributeError):
            raise SourceUnavailable("what answers is not a PostgreSQL server") from None
        if facts.major < _OLDEST:
            raise SourceRefused(f"PostgreSQL {facts.major} is too old; the oldest that is understood is {_OLDEST}")
        issues = []
        if not monitor:
            issues.append(Issue("rights", "other users' activity is hidden; GRANT pg_monitor to the monitoring user"))
        if facts.major > _NEWEST_TESTED:
            issues.append(
                Issue("version", f"PostgreSQL {facts.major} is newer than the newest tested, {_NEWEST_TESTED}")
            )
        return facts, issues

    async def _ask(self, probe: Probe, database: Database, facts: Facts) -> None:
        begun = self.context.clock.monotonic()
        outcome, issue = Outcome(), None
        try:
            outcome = await probe.read(database, facts)
        except SourceUnavailable as error:
            if not isinstance(error, TooSlow):
                raise  # nobody answers any more
            issue = Issue("too_slow", str(error), probe.name)
        except CollectorsError as error:
            issue = Issue(error.code, str(error), probe.name)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            issue = Issue("malformed", "the answer does not have the columns that were asked for", probe.name)
        at = self.context.clock.monotonic()
        took = at - begun
        rest = took * (len(self._answers) / self.config.share - 1)
        self._answers[probe.name] = _Answer(outcome, issue, at, took, at + rest)

    def _told(self, issues: Sequence[Issue]) -> Collection:
        """Put together what is known: answers of this run and those that still stand."""
        now = self.context.clock.monotonic()
        samples: dict[tuple[str, tuple[str, ...]], Sample] = {}
        for name, answer in self._answers.items():
            if answer.at:
                told = (
                    *answer.outcome.samples,
                    Sample(_TOOK.name, answer.took, (name,)),
                    Sample(_AGE.name, now - answer.at, (name,)),
                )
                samples.update(((sample.metric, sample.labels), sample) for sample in told)
        return Collection(
            tuple(samples.values()),
            tuple(finding for answer in self._answers.values() for finding in answer.outcome.findings),
            (*issues, *(answer.issue for answer in self._answers.values() if answer.issue)),
        )


class _Recorded:
    """Answers from a recording; nobody is there if there is none."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def fetch(self, name: str, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:  # noqa: ARG002  # as a connection is asked
        try:
            answers = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SourceUnavailable("there is no recording that can be read") from None
        if not isinstance(answers, dict):
            raise SourceUnavailable("this is no recording of a server's answers")
        rows = answers.get(name, [])
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise SourceRefused("the recorded answer is not rows")
        return rows

    async def close(self) -> None:
        """There is nothing to let go of."""


_SMALL_SERVER = {
    "answers.json": json.dumps({
        "facts": [{"version": 150_018, "started": 1.77e9, "standby": False, "database": "app",
                   "extensions": {}, "relations": None, "monitor": True}],
        "connections": [{"datname": "app", "state": "active", "connections": 3, "longest": 0.5}],
        "connection_limits": [{"most": 100, "reserved": 3, "used": 3, "share": 3 / 97}],
    })
}  # fmt: skip


if __name__ == "__main__":
    from collectors.catalog.show import show

    show(DatabasePerformanceCollector())
