"""What the runners tell of themselves, as metrics like any other: to be stored, exported, charted and alerted on."""

from __future__ import annotations

from collectors.model.metric import Kind, MetricSpec, Sample, Unit
from collectors.model.status import BreakerState, CollectorStatus

_OF = ("collector",)

RUNS = MetricSpec("collectors.runner.runs", Kind.COUNTER, Unit.OPERATIONS, "Runs of a collector.", _OF)
FAILURES = MetricSpec(
    "collectors.runner.failures", Kind.COUNTER, Unit.ERRORS, "Runs that brought nothing, after all retries.", _OF
)
RETRIES = MetricSpec("collectors.runner.retries", Kind.COUNTER, Unit.OPERATIONS, "Attempts after the first.", _OF)
SKIPPED = MetricSpec(
    "collectors.runner.skipped",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Due times without a run: the one before still went on, or the breaker was open.",
    _OF,
)
LATENESS = MetricSpec(
    "collectors.runner.lateness",
    Kind.GAUGE,
    Unit.SECONDS,
    "Time from when the last run was due to when it started.",
    _OF,
    aliases=("collector_lateness",),
)
DURATION = MetricSpec("collectors.runner.duration", Kind.GAUGE, Unit.SECONDS, "How long the last run took.", _OF)
BREAKER = MetricSpec(
    "collectors.runner.breaker_state",
    Kind.GAUGE,
    Unit.COUNT,
    "Circuit breaker of the collector's source: 0 closed, 1 half-open, 2 open.",
    _OF,
    aliases=("breaker_state",),
)
STUCK = MetricSpec(
    "collectors.runner.stuck", Kind.GAUGE, Unit.COUNT, "1 while a run goes on long after it was told to end.", _OF
)
CPU = MetricSpec(
    "collectors.cost.cpu_time",
    Kind.COUNTER,
    Unit.SECONDS,
    "CPU time that a collector's code took on the event loop.",
    _OF,
)
QUERIES = MetricSpec("collectors.cost.queries", Kind.COUNTER, Unit.OPERATIONS, "Queries of the lake.", _OF)
QUERY_TIME = MetricSpec(
    "collectors.cost.query_time", Kind.COUNTER, Unit.SECONDS, "Time that queries of the lake took.", _OF
)
BYTES_READ = MetricSpec(
    "collectors.cost.bytes_read", Kind.COUNTER, Unit.BYTES, "Size of the results of queries of the lake.", _OF
)

SELF_METRICS = (
    RUNS,
    FAILURES,
    RETRIES,
    SKIPPED,
    LATENESS,
    DURATION,
    BREAKER,
    STUCK,
    CPU,
    QUERIES,
    QUERY_TIME,
    BYTES_READ,
)

_BREAKER_VALUE = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 1.0, BreakerState.OPEN: 2.0}


def self_samples(status: CollectorStatus, now_us: int) -> tuple[Sample, ...]:
    """Return the values of all ``SELF_METRICS`` for one collector."""
    of = (status.name,)
    values = {
        RUNS: status.runs,
        FAILURES: status.failures,
        RETRIES: status.retries,
        SKIPPED: status.skipped,
        LATENESS: status.lateness_s,
        DURATION: status.last_duration_s,
        BREAKER: _BREAKER_VALUE[status.breaker],
        STUCK: float(status.stuck),
        CPU: status.cpu_seconds,
        QUERIES: status.queries,
        QUERY_TIME: status.query_seconds,
        BYTES_READ: status.bytes_read,
    }
    return tuple(Sample(spec.name, float(value), of, now_us) for spec, value in values.items())
