"""What collectors report: their state, their metrics, samples and alerts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query

from collectors.errors import UnknownName
from collectors.model.alert import AlertState
from collectors.model.status import State
from collectors.monitoring.frames import alert_dict
from collectors.server.answers import Answer
from collectors.server.live import LiveHub
from collectors.server.routes.context import READERS, TENANT, Given, TenantId, errors, resource
from collectors.server.schemas import (
    LATEST_US,
    AlertAnswer,
    CollectorAnswer,
    LatestAnswer,
    MetricAnswer,
    SamplesAnswer,
)

router = resource("samples", READERS, prefix=TENANT)

_HOUR_US = 3_600_000_000
_MAX_POINTS = 500_000
"""Most points of one answer, over all its series."""

MetricName = Annotated[
    str, Query(min_length=1, max_length=200, description="Name of the metric.", examples=["system.cpu.utilization"])
]
Since = Annotated[int | None, Query(ge=0, le=LATEST_US, description="First µs of the range; an hour before its end.")]
Until = Annotated[int | None, Query(ge=0, le=LATEST_US, description="End of the range in µs, exclusive; now.")]
Points = Annotated[int, Query(ge=1, le=5000, description="Most points of a series; more are averaged.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items to return.")]


@router.get("/collectors", response_model=list[CollectorAnswer], responses=errors(404))
def list_collectors(context: Given, tenant: TenantId) -> Answer:
    """Tell how the tenant's collectors do; as they were last heard of, and stopped, while no worker is there."""
    return Answer(collectors_of(context.gateway.hub, tenant))


@router.get("/metrics", response_model=list[MetricAnswer], responses=errors(404))
def list_metrics(context: Given, tenant: TenantId) -> Answer:
    """List the metrics that the tenant's collectors declare."""
    return Answer(
        [
            {
                "name": m.spec.name,
                "kind": m.spec.kind,
                "unit": m.spec.unit,
                "description": m.spec.description,
                "labels": m.spec.labels,
                "collector": m.collector,
                "series": m.series,
            }
            for m in context.gateway.samples.metrics(tenant)
        ]
    )


@router.get("/samples", response_model=SamplesAnswer, responses=errors(404))
def get_samples(
    context: Given,
    tenant: TenantId,
    metric: MetricName,
    since: Since = None,
    until: Until = None,
    points: Points = 500,
) -> Answer:
    """Return a metric's history, averaged into at most ``points`` buckets a series."""
    end = context.gateway.clock.now_us() if until is None else until
    start = max(0, end - _HOUR_US) if since is None else since
    samples = context.gateway.samples
    declared = next((m for m in samples.metrics(tenant) if m.spec.name == metric), None)
    if declared is None:
        raise UnknownName("the tenant has no such metric; GET …/metrics lists what there is")
    points = max(1, min(points, _MAX_POINTS // max(1, declared.series)))
    series = samples.range(tenant, metric, start, end, points)
    return Answer(
        {
            "metric": metric,
            "unit": declared.spec.unit,
            "series": [{"labels": s.labels, "points": s.points} for s in series],
        }
    )


@router.get("/latest", response_model=list[LatestAnswer], responses=errors(404))
def list_latest(context: Given, tenant: TenantId) -> Answer:
    """Return the last value of every series."""
    return Answer(
        [
            {"metric": s.metric, "labels": s.labels, "time": s.time_us, "value": s.value, "reason": s.reason}
            for s in context.gateway.samples.latest(tenant)
        ]
    )


@router.get("/alerts", response_model=list[AlertAnswer], responses=errors(404))
def list_alerts(
    context: Given,
    tenant: TenantId,
    state: Literal["firing", "resolved", "all"] = "all",
    limit: Limit = 100,
) -> Answer:
    """List alerts: those that still fire first, then the newest."""
    wanted = None if state == "all" else AlertState(state)
    return Answer([alert_dict(a) for a in context.gateway.samples.alerts(tenant, wanted, limit)])


def collectors_of(hub: LiveHub, tenant: str) -> list[dict[str, Any]]:
    """Return the collectors of ``tenant`` as last heard of; without a worker, none of them runs."""
    status = hub.status(tenant)
    collectors = status.get("collectors", []) if status else []
    if hub.worker_up:
        return list(collectors)
    return [{**c, "state": State.STOPPED} for c in collectors]
