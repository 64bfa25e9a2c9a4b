"""The embedded store of samples and alerts: what charts show, also after a restart.

The worker writes in batches; any process may read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Kind, MetricSpec, Sample, Severity, Unit

_SCHEMA = """
CREATE TABLE IF NOT EXISTS metric (
  tenant TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, unit TEXT NOT NULL,
  description TEXT NOT NULL, labels TEXT NOT NULL, collector TEXT NOT NULL,
  PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL,
  last_us INTEGER NOT NULL, last_value REAL, last_reason TEXT NOT NULL,
  UNIQUE (tenant, metric, labels)
);
CREATE TABLE IF NOT EXISTS point (
  series INTEGER NOT NULL, time_us INTEGER NOT NULL, value REAL,
  PRIMARY KEY (series, time_us)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, rule TEXT NOT NULL, key TEXT NOT NULL, severity TEXT NOT NULL,
  state TEXT NOT NULL, summary TEXT NOT NULL, labels TEXT NOT NULL,
  started_us INTEGER NOT NULL, ended_us INTEGER, value REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alert_by_tenant ON alert (tenant, started_us);
"""


@dataclass(frozen=True, slots=True)
class Series:
    """One labelled series of a metric with its last value."""

    metric: str
    labels: Mapping[str, str]
    time_us: int
    value: float | None
    reason: str
    points: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class DeclaredMetric:
    """A metric a tenant's collector declared, and how many series it has."""

    spec: MetricSpec
    collector: str
    series: int


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """A sample as it leaves the runner: stamped with tenant, time and the names of its labels."""

    tenant: str
    sample: Sample
    labels: tuple[tuple[str, str], ...]


class SampleStore:
    """The samples database of a data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[tuple[str, str, tuple[tuple[str, str], ...]], int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        # Kept open: closing the last connection of a process would write the WAL back each time.
        self._anchor = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._anchor.execute("PRAGMA journal_mode=WAL")
        self._anchor.executescript(_SCHEMA)

    def declare(self, tenant: str, collector: str, specs: Iterable[MetricSpec]) -> None:
        """Record what ``collector`` may emit for ``tenant``."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO metric VALUES (?,?,?,?,?,?,?)",
                ((tenant, s.name, s.kind, s.unit, s.description, json.dumps(s.labels), collector) for s in specs),
            )
            connection.execute("COMMIT")

    def add(self, samples: Sequence[LabelledSample]) -> None:
        """Store ``samples`` in one transaction."""
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            points = []
            for item in samples:
                series = self._series(connection, item)
                points.append((series, item.sample.time_us, item.sample.value))
            connection.executemany("INSERT OR REPLACE INTO point VALUES (?,?,?)", points)
            connection.executemany(
                "UPDATE series SET last_us = ?, last_value = ?, last_reason = ? WHERE id = ? AND last_us <= ?",
                (
                    (s.sample.time_us, s.sample.value, s.sample.reason, point[0], s.sample.time_us)
                    for s, point in zip(samples, points, strict=True)
                ),
            )
            connection.execute("COMMIT")

    def put_alerts(self, alerts: Iterable[Alert]) -> None:
        """Store the newest state of each alert, in one transaction."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO alert VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    (
                        a.id,
                        a.tenant,
                        a.rule,
                        a.key,
                        a.severity,
                        a.state,
                        a.summary,
                        json.dumps(a.labels),
                        a.started_us,
                        a.ended_us,
                        a.value,
                    )
                    for a in alerts
                ),
            )
            connection.execute("COMMIT")

    def alerts(self, tenant: str | None = None, state: AlertState | None = None, limit: int = 100) -> list[Alert]:
        """Return alerts, newest first; of all tenants if none is named."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT * FROM alert WHERE (? IS NULL OR tenant = ?) AND (? IS NULL OR state = ?)"
                " ORDER BY state, started_us DESC LIMIT ?",
                (tenant, tenant, state, state, limit),
            ).fetchall()
        return [
            Alert(
                id_,
                owner,
                rule,
                key,
                Severity(severity),
                AlertState(current),
                summary,
                tuple((k, v) for k, v in json.loads(labels)),
                started,
                ended,
                value,
            )
            for id_, owner, rule, key, severity, current, summary, labels, started, ended, value in rows
        ]

    def metrics(self, tenant: str) -> list[DeclaredMetric]:
        """Return the metrics declared for ``tenant`` by name."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT name, kind, unit, description, labels, collector, (SELECT count(*) FROM series s"
                " WHERE s.tenant = m.tenant AND s.metric = m.name) FROM metric m WHERE tenant = ? ORDER BY name",
                (tenant,),
            ).fetchall()
        return [
            DeclaredMetric(
                MetricSpec(name, Kind(kind), Unit(unit), description, tuple(json.loads(labels))), collector, count
            )
            for name, kind, unit, description, labels, collector, count in rows
        ]

    def latest(self, tenant: str) -> list[Series]:
        """Return every series of ``tenant`` with its last value."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT metric, labels, last_us, last_value, last_reason FROM series WHERE tenant = ?"
                " ORDER BY metric, labels",
                (tenant,),
            ).fetchall()
        return [Series(metric, json.loads(labels), t, v, reason) for metric, labels, t, v, reason in rows]

    def range(self, tenant: str, metric: str, since_us: int, until_us: int, points: int = 500) -> list[Series]:
        """Return the series of ``metric`` over ``[since, until)`` in at most ``points`` buckets each.

        A bucket of a counter is its last value, of any other metric the average; its time is that of the last sample.
        """
        step = max(1, -(-(until_us - since_us) // max(1, points)))
        with closing(self._connect()) as connection:
            kinds = connection.execute(
                "SELECT kind FROM metric WHERE tenant = ? AND name = ?", (tenant, metric)
            ).fetchone()
            # With max(), SQLite takes a bare column from the row that has the maximum: the bucket's last value.
            value_of = "value" if kinds is not None and kinds[0] == Kind.COUNTER else "avg(value)"
            found = connection.execute(
                "SELECT id, labels, last_us, last_value, last_reason FROM series WHERE tenant = ? AND metric = ?"
                " ORDER BY labels",
                (tenant, metric),
            ).fetchall()
            return [
                Series(
                    metric,
                    json.loads(labels),
                    last,
                    value,
                    reason,
                    tuple(
                        connection.execute(
                            f"SELECT max(time_us), {value_of} FROM point WHERE series = ?"  # noqa: S608 - constants
                            " AND time_us >= ? AND time_us < ? GROUP BY (time_us - ?) / ? ORDER BY 1",
                            (series, since_us, until_us, since_us, step),
                        ).fetchall()
                    ),
                )
                for series, labels, last, value, reason in found
            ]

    def expire(self, before_us: int) -> None:
        """Delete points, idle series and ended alerts from before ``before_us``."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM point WHERE time_us < ?", (before_us,))
            connection.execute("DELETE FROM series WHERE last_us < ?", (before_us,))
            connection.execute("DELETE FROM alert WHERE ended_us < ?", (before_us,))
            connection.execute("COMMIT")
        self._ids.clear()

    def _series(self, connection: sqlite3.Connection, item: LabelledSample) -> int:
        key = (item.tenant, item.sample.metric, item.labels)
        series = self._ids.get(key)
        if series is None:
            row = (item.tenant, item.sample.metric, json.dumps(dict(item.labels), separators=(",", ":")))
            connection.execute(
                "INSERT OR IGNORE INTO series (tenant, metric, labels, last_us, last_value, last_reason)"
                " VALUES (?,?,?,0,NULL,'')",
                row,
            )
            (series,) = connection.execute(
                "SELECT id FROM series WHERE tenant = ? AND metric = ? AND labels = ?", row
            ).fetchone()
            self._ids[key] = series
        return int(series)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, timeout=10.0)
