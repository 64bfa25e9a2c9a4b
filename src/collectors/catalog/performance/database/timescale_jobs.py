"""TimescaleDB's background jobs: their state, their history, and how they failed.

Sources: ``timescaledb_information.jobs``, ``job_stats``, ``job_errors`` and ``job_history``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collectors.catalog.performance.database.probe import Probe, Row, Table, gauge, label
from collectors.model.metric import Finding, Severity, Unit

_EXTENSION = "timescaledb"
_NEVER_RUN = "the job has not run yet"


def _failing(rows: Sequence[Row]) -> Iterable[Finding]:
    for row in rows:
        if row["failed"]:
            job = label(row["job_id"])
            yield Finding(
                "timescaledb.job_failed",
                job,
                Severity.WARNING,
                f"TimescaleDB's job {job} ({label(row['proc_name'])}) failed when it last ran.",
                (("job", job), ("procedure", label(row["proc_name"]))),
            )


_JOBS = Table(
    "timescaledb_jobs",
    {
        13: """
        SELECT j.job_id, j.proc_name, coalesce(j.hypertable_name, '') AS hypertable_name, j.scheduled::int AS scheduled,
               extract(epoch FROM j.schedule_interval) AS every, s.total_runs, s.total_successes, s.total_failures,
               (s.last_run_status = 'Failed')::int AS failed, (s.job_status = 'Running')::int AS running,
               (s.job_status = 'Paused')::int AS paused, (s.job_status = 'Scheduled')::int AS waiting,
               extract(epoch FROM s.last_run_duration) AS duration,
               extract(epoch FROM clock_timestamp() - nullif(s.last_run_started_at, '-infinity')) AS started,
               extract(epoch FROM clock_timestamp() - nullif(s.last_successful_finish, '-infinity')) AS succeeded,
               extract(epoch FROM nullif(nullif(coalesce(s.next_start, j.next_start), '-infinity'), 'infinity')
                       - clock_timestamp()) AS next
        FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s USING (job_id)
        ORDER BY s.total_failures DESC NULLS LAST, j.job_id LIMIT 5 * {top}"""
    },
    (
        gauge("scheduled", "timescaledb.job.enabled", Unit.COUNT, "1 if the job is to be run."),
        gauge("every", "timescaledb.job.interval", Unit.SECONDS, "How often it is to be run."),
        gauge("total_runs", "timescaledb.job.runs", Unit.OPERATIONS, "Runs so far.", outcome="all"),
        gauge("total_successes", "timescaledb.job.runs", Unit.OPERATIONS, "Runs so far.", outcome="succeeded"),
        gauge("total_failures", "timescaledb.job.runs", Unit.OPERATIONS, "Runs so far.", outcome="failed"),
        gauge("failed", "timescaledb.job.failed", Unit.COUNT, "1 if the last run failed.", unless=_NEVER_RUN),
        gauge("running", "timescaledb.job.state", Unit.COUNT, "1 for its state.", state="running", unless=_NEVER_RUN),
        gauge("paused", "timescaledb.job.state", Unit.COUNT, "1 for its state.", state="paused", unless=_NEVER_RUN),
        gauge("waiting", "timescaledb.job.state", Unit.COUNT, "1 for its state.", state="scheduled", unless=_NEVER_RUN),
        gauge("duration", "timescaledb.job.duration", Unit.SECONDS, "How long the last run took.", unless=_NEVER_RUN),
        gauge("started", "timescaledb.job.started_age", Unit.SECONDS, "Time since it was run.", unless=_NEVER_RUN),
        gauge(
            "succeeded",
            "timescaledb.job.success_age",
            Unit.SECONDS,
            "Time since a run ended well.",
            unless="no run has ended well yet",
        ),
        gauge(
            "next",
            "timescaledb.job.next_in",
            Unit.SECONDS,
            "Time until the next run, negative if it is late.",
            unless="no run is planned",
        ),
    ),
    by={"job": "job_id", "procedure": "proc_name", "hypertable": "hypertable_name"},
    extension=_EXTENSION,
    findings=_failing,
)

_ERRORS = Table(
    "timescaledb_job_errors",
    {
        13: """
        SELECT coalesce(proc_name, '') AS proc_name, coalesce(sqlerrcode, '') AS sqlerrcode, count(*) AS errors,
               count(*) FILTER (WHERE err_message LIKE '%crash detected%') AS crashes,
               min(extract(epoch FROM clock_timestamp() - coalesce(finish_time, start_time))) AS age
        FROM timescaledb_information.job_errors GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {top}"""
    },
    (
        gauge("errors", "timescaledb.job.errors", Unit.ERRORS, "Failed runs that the history holds, by SQLSTATE."),
        gauge("crashes", "timescaledb.job.crashes", Unit.ERRORS, "Of them, those whose process crashed."),
        gauge(
            "age", "timescaledb.job.error_age", Unit.SECONDS, "Time since the latest of them.", unless="it is unknown"
        ),
    ),
    by={"procedure": "proc_name", "sqlstate": "sqlerrcode"},
    extension=_EXTENSION,
    extension_versions=("2.9", "9999"),
)

_HISTORY = Table(
    "timescaledb_job_history",
    {
        13: """
        SELECT coalesce(proc_name, '') AS proc_name, count(*) FILTER (WHERE succeeded) AS good,
               count(*) FILTER (WHERE NOT succeeded) AS bad,
               max(extract(epoch FROM finish_time - start_time)) AS longest
        FROM timescaledb_information.job_history GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {top}"""
    },
    (
        gauge("good", "timescaledb.job.history", Unit.OPERATIONS, "Runs in the history.", outcome="succeeded"),
        gauge("bad", "timescaledb.job.history", Unit.OPERATIONS, "Runs in the history.", outcome="failed"),
        gauge("longest", "timescaledb.job.longest", Unit.SECONDS, "The longest of them.", unless="none has ended"),
    ),
    by={"procedure": "proc_name"},
    extension=_EXTENSION,
    extension_versions=("2.15", "9999"),
)

PROBES: tuple[Probe, ...] = (_JOBS, _ERRORS, _HISTORY)
