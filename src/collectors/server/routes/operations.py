"""For those who operate the server: metrics for Prometheus, and health for whoever restarts and routes."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from collectors.config.tenant import PLATFORM_TENANT
from collectors.server.answers import Answer
from collectors.server.health import stalled
from collectors.server.routes.context import Context, Given, Reader, errors, resource
from collectors.server.schemas import Health
from collectors.sinks.openmetrics import OPENMETRICS, PLAIN, Exposition, prefers_openmetrics

router = resource("operations")

_process = ProcessCollector(registry=None)
_TEXT = {"schema": {"type": "string"}}


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **errors(),
        200: {
            "description": "OpenMetrics, or Prometheus text 0.0.4 if that is preferred.",
            "content": {"application/openmetrics-text": _TEXT, "text/plain": _TEXT},
        },
    },
)
def get_metrics(request: Request, context: Given, key: Reader) -> Response:
    """Return the last value of every series of the tenants that the key may see, for Prometheus.

    A scrape sends a key like any other request (``authorization: {credentials: KEY}`` in Prometheus's configuration).
    Keys of the whole server and of the platform tenant also get the metrics of this process.
    """
    gateway = context.gateway
    exposition = Exposition(gateway.clock.now_us())
    operator = key.tenant in (None, PLATFORM_TENANT)
    if operator:
        exposition.add_own(_process.collect())
    tenants = [key.tenant] if key.tenant is not None else [t.id for t in gateway.control.tenants()]
    for tenant in tenants:
        exposition.add_tenant(tenant, gateway.samples.metrics(tenant), gateway.samples.latest(tenant))
    if operator:
        exposition.add_own(_gateway_metrics(context, exposition.left_out))
    openmetrics = prefers_openmetrics(request.headers.get("accept", ""))
    return Response(exposition.render(openmetrics=openmetrics), media_type=OPENMETRICS if openmetrics else PLAIN)


@router.get("/health/live", response_model=Health, responses={503: {"model": Health, "description": "Stalled."}})
async def get_liveness(context: Given) -> Answer:
    """Tell whether events get through. Whoever sees 503 here should restart the gateway."""
    stuck = stalled(context.gateway.progress(), context.gateway.clock.now_us())
    return _health(["intake_stalled"] if stuck else [])


@router.get("/health/ready", response_model=Health, responses={503: {"model": Health, "description": "Not ready."}})
def get_readiness(context: Given) -> Answer:
    """Tell whether new events would be kept and loaded. Whoever sees 503 here should send them elsewhere or later."""
    return _health(context.readiness.reasons())


def _health(reasons: list[str]) -> Answer:
    return Answer({"ok": not reasons, "reasons": reasons}, 503 if reasons else 200)


def _gateway_metrics(context: Context, left_out: int) -> list[Metric]:
    hub, progress = context.gateway.hub, context.gateway.progress()
    prefix = "collectors_gateway_"
    return [
        GaugeMetricFamily(f"{prefix}live_streams", "Live streams that are open.", hub.subscribers),
        CounterMetricFamily(f"{prefix}live_dropped_frames", "Frames slow streams have lost.", hub.dropped_frames),
        GaugeMetricFamily(f"{prefix}queued_bytes", "Request bodies that wait.", progress.queued_bytes, unit="bytes"),
        GaugeMetricFamily(f"{prefix}unexposed_series", "Series whose name or labels another one has.", left_out),
        GaugeMetricFamily(f"{prefix}worker_up", "Whether the worker has been heard of lately.", int(hub.worker_up)),
    ]
