"""The frames the worker publishes on the bus, in the shape clients of the live streams see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collectors.drivers.sample_store import LabelledSample
from collectors.model.alert import Alert
from collectors.model.batch import LedgerCounts
from collectors.model.status import CollectorStatus

Frame = dict[str, object]


def samples_frame(tenant: str, now_us: int, samples: Sequence[LabelledSample]) -> Frame:
    """New values of a tenant."""
    data = {
        "time": now_us,
        "samples": [
            {
                "metric": s.sample.metric,
                "labels": dict(s.labels),
                "time": s.sample.time_us,
                "value": s.sample.value,
                "reason": s.sample.reason,
            }
            for s in samples
        ],
    }
    return {"event": "samples", "tenant": tenant, "data": data}


def alert_dict(alert: Alert) -> Frame:
    """An alert as the API shows it."""
    return {
        "id": alert.id,
        "rule": alert.rule,
        "key": alert.key,
        "severity": alert.severity,
        "state": alert.state,
        "summary": alert.summary,
        "labels": dict(alert.labels),
        "started": alert.started_us,
        "ended": alert.ended_us,
        "value": alert.value,
    }


def alert_frame(alert: Alert) -> Frame:
    """An alert that fired or was resolved."""
    return {"event": "alert", "tenant": alert.tenant, "data": alert_dict(alert)}


def counts_dict(counts: LedgerCounts) -> dict[str, int]:
    """Ledger counts as the API shows them."""
    return {
        "offered": counts.offered,
        "stored": counts.stored,
        "duplicate": counts.duplicate,
        "rejected": counts.rejected,
        "dropped": counts.dropped,
        "in_flight": counts.in_flight,
        "balance": counts.balance,
    }


def ledger_dict(by_type: Mapping[str, LedgerCounts]) -> Frame:
    """A tenant's ledger as the API shows it."""
    total = LedgerCounts()
    for counts in by_type.values():
        total += counts
    return {"total": counts_dict(total), "types": {name: counts_dict(c) for name, c in sorted(by_type.items())}}


def ledger_frame(tenant: str, by_type: Mapping[str, LedgerCounts]) -> Frame:
    """A tenant's ledger."""
    return {"event": "ledger", "tenant": tenant, "data": ledger_dict(by_type)}


def status_dict(status: CollectorStatus) -> Frame:
    """A collector's status as the API shows it."""
    return {
        "name": status.name,
        "state": status.state,
        "runs": status.runs,
        "failures": status.failures,
        "issues": status.issues,
        "samples": status.samples,
        "last_success": status.last_success_us,
        "last_duration_s": status.last_duration_s,
        "lateness_s": status.lateness_s,
        "last_error": status.last_error,
        "breaker": status.breaker,
        "retries": status.retries,
        "skipped": status.skipped,
        "stuck": status.stuck,
        "cpu_seconds": status.cpu_seconds,
        "queries": status.queries,
        "bytes_read": status.bytes_read,
    }


def status_frame(tenant: str, statuses: Sequence[CollectorStatus], freshness: float | None, rate: float) -> Frame:
    """How a tenant's collectors do, how fresh its lake is, how fast its events come."""
    data = {
        "collectors": [status_dict(s) for s in statuses],
        "freshness_seconds": freshness,
        "events_per_second": rate,
    }
    return {"event": "status", "tenant": tenant, "data": data}


def worker_frame(now_us: int, position: int, behind: int, blocked_by: str) -> Frame:
    """A sign of the worker's life and progress."""
    data = {"time": now_us, "loaded_position": position, "behind_records": behind, "blocked_by": blocked_by}
    return {"event": "worker", "tenant": None, "data": data}
