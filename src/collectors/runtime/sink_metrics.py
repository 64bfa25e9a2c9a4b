"""What sinks tell of themselves, as metrics like any other: to be stored, charted and alerted on."""

from __future__ import annotations

from collectors.contract.sink import SinkStatus
from collectors.model.metric import Kind, MetricSpec, Sample, Unit
from collectors.model.status import BreakerState

_OF = ("sink",)

OFFERED = MetricSpec("collectors.sink.offered", Kind.COUNTER, Unit.COUNT, "Items that were to go to a sink.", _OF)
DELIVERED = MetricSpec("collectors.sink.delivered", Kind.COUNTER, Unit.COUNT, "Items that a sink has taken.", _OF)
DROPPED = MetricSpec(
    "collectors.sink.dropped",
    Kind.COUNTER,
    Unit.COUNT,
    "Items that never got to a sink, by reason: refused, disk_budget, memory_full, damaged, unreadable or stopped.",
    ("sink", "reason"),
)
QUEUED = MetricSpec("collectors.sink.queued", Kind.GAUGE, Unit.COUNT, "Items that wait for a sink.", _OF)
QUEUED_BYTES = MetricSpec(
    "collectors.sink.queue_size", Kind.GAUGE, Unit.BYTES, "Size of what waits, on disk and in memory.", _OF
)
LAG = MetricSpec(
    "collectors.sink.lag", Kind.GAUGE, Unit.SECONDS, "Age of the oldest item that waits.", _OF, aliases=("sink_lag",)
)
FAILURES = MetricSpec("collectors.sink.failures", Kind.COUNTER, Unit.ERRORS, "Writes that failed.", _OF)
BREAKER = MetricSpec(
    "collectors.sink.breaker_state",
    Kind.GAUGE,
    Unit.COUNT,
    "Circuit breaker of the sink: 0 closed, 1 half-open, 2 open.",
    _OF,
)
SINK_METRICS = (OFFERED, DELIVERED, DROPPED, QUEUED, QUEUED_BYTES, LAG, FAILURES, BREAKER)

_BREAKER_VALUE = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 1.0, BreakerState.OPEN: 2.0}


def sink_samples(status: SinkStatus, now_us: int) -> tuple[Sample, ...]:
    """Return the values of ``SINK_METRICS`` for one sink."""
    of = (status.name,)
    lag = max(0.0, (now_us - status.oldest_us) / 1e6) if status.oldest_us else 0.0
    values = {
        OFFERED: status.offered,
        DELIVERED: status.delivered,
        QUEUED: status.queued,
        QUEUED_BYTES: status.queued_bytes,
        LAG: lag,
        FAILURES: status.failures,
        BREAKER: _BREAKER_VALUE[status.breaker],
    }
    return (
        *(Sample(spec.name, float(value), of, now_us) for spec, value in values.items()),
        *(Sample(DROPPED.name, float(n), (status.name, reason), now_us) for reason, n in status.dropped.items()),
    )
