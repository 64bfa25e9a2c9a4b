"""A small server that answers like the gateway, for the tests of the page: its state is plain data that a test sets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import collectors

PAGE = Path(collectors.__file__).parent / "server" / "page"

# Stricter than `default-src 'self'`, so that the page also works under the strictest policy a server may set.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

Curve = Callable[[float], float | None]
"""The value of a series at a time in seconds since the epoch."""


@dataclass
class Metric:
    """A metric with its series, each a curve over time."""

    name: str
    kind: str = "gauge"
    unit: str = "1"
    description: str = "A metric."
    collector: str = "system_performance"
    labels: tuple[str, ...] = ()
    series: list[tuple[dict[str, str], Curve]] = field(default_factory=list)
    interval: float = 5.0
    reason: str = ""

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "unit": self.unit,
            "description": self.description,
            "labels": list(self.labels),
            "collector": self.collector,
            "series": len(self.series),
        }

    def history(self, since_us: int, until_us: int, points: int) -> dict[str, Any]:
        since, until = since_us / 1e6, until_us / 1e6
        step = max(self.interval, (until - since) / points)
        times = [since + step * (i + 0.5) for i in range(int((until - since) / step))]
        series = [
            {"labels": labels, "points": [[int(t * 1e6), curve(t)] for t in times]} for labels, curve in self.series
        ]
        return {"metric": self.name, "unit": self.unit, "series": series}

    def at(self, time_us: int) -> list[dict[str, Any]]:
        return [
            {"metric": self.name, "labels": labels, "time": time_us, "value": curve(time_us / 1e6)}
            for labels, curve in self.series
        ]


@dataclass
class Tenant:
    """What the API tells of one tenant."""

    id: str
    time_zone: str = "Europe/Berlin"
    currency: str = "EUR"
    events_per_second: float = 0.0
    freshness_seconds: float | None = 0.8
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    collectors: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def total(self) -> dict[str, int]:
        names = ("offered", "stored", "duplicate", "rejected", "dropped", "in_flight", "balance")
        return {name: sum(counts[name] for counts in self.ledger.values()) for name in names}

    def summary(self) -> dict[str, Any]:
        states = [one["state"] for one in self.collectors]
        return {
            "id": self.id,
            "events_per_second": self.events_per_second,
            "ledger": self.total(),
            "freshness_seconds": self.freshness_seconds,
            "collectors": {"running": states.count("running"), "failing": states.count("failing")},
            "alerts": {"firing": sum(alert["state"] == "firing" for alert in self.alerts)},
        }

    def status(self) -> dict[str, Any]:
        return {
            "collectors": self.collectors,
            "freshness_seconds": self.freshness_seconds,
            "events_per_second": self.events_per_second,
        }


def counts(offered: int, *, duplicate: int = 0, rejected: int = 0, in_flight: int = 0, lost: int = 0) -> dict[str, int]:
    """A ledger line that balances unless events are ``lost``."""
    return {
        "offered": offered,
        "stored": offered - duplicate - rejected - in_flight - lost,
        "duplicate": duplicate,
        "rejected": rejected,
        "dropped": 0,
        "in_flight": in_flight,
        "balance": lost,
    }


def collector(name: str, state: str = "running", **facts: Any) -> dict[str, Any]:
    """The state of a collector."""
    usual = {
        "runs": 1200,
        "failures": 0,
        "issues": 0,
        "samples": 48_000,
        "last_success": 0,
        "last_duration_s": 0.0123,
        "lateness_s": 0.0004,
        "last_error": "",
        "breaker": "closed",
        "retries": 0,
        "skipped": 0,
        "stuck": False,
        "cpu_seconds": 0.01,
        "queries": 0,
        "bytes_read": 0,
    }
    return {"name": name, "state": state, **usual, **facts}


def alert(ident: str, **facts: Any) -> dict[str, Any]:
    """A firing alert."""
    usual = {
        "rule": "cpu_usage",
        "key": ident,
        "severity": "warning",
        "state": "firing",
        "summary": "CPU usage is above 80 %",
        "labels": {"host": "node-1"},
        "started": 0,
        "ended": None,
        "value": 0.93,
    }
    return {"id": ident, **usual, **facts}


class Double:
    """The server: an ASGI application over a few tenants."""

    def __init__(self, now_us: Callable[[], int], key: str | None = None) -> None:
        self.now_us = now_us
        self.key = key
        self.tenants: dict[str, Tenant] = {}
        self.uptime = 12_345.0
        self.behind = 0
        self.requests: list[str] = []
        self.queries: list[dict[str, str]] = []
        """What samples were asked for."""
        self.ready = asyncio.Event()
        """While it is not set, samples are not answered: a slow network, held in the tester's hand."""
        self.ready.set()
        self.streams: dict[str, set[asyncio.Queue[str | None]]] = {}
        self.changed = asyncio.Condition()
        """Notified when a stream opens."""
        self.sent = 0
        tenant = "/v1/tenants/{tenant}"
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/v1/overview", self._guard(self._overview)),
                Route("/v1/tenants", self._guard(self._tenants)),
                Route(f"{tenant}/ledger", self._guard(self._ledger)),
                Route(f"{tenant}/collectors", self._guard(self._collectors)),
                Route(f"{tenant}/metrics", self._guard(self._metrics)),
                Route(f"{tenant}/samples", self._guard(self._samples)),
                Route(f"{tenant}/latest", self._guard(self._latest)),
                Route(f"{tenant}/alerts", self._guard(self._alerts)),
                Route(f"{tenant}/stream", self._guard(self._stream)),
                Mount("/assets", StaticFiles(directory=PAGE)),
            ]
        )

    def add(self, tenant: Tenant) -> Tenant:
        self.tenants[tenant.id] = tenant
        return tenant

    def publish(self, tenant: str, event: str, body: Mapping[str, Any]) -> None:
        """Send a frame to every open stream of ``tenant``."""
        self.sent += 1
        frame = f"id: {self.sent}\nevent: {event}\ndata: {json.dumps(body)}\n\n"
        for queue in self.streams.get(tenant, ()):
            queue.put_nowait(frame)

    def close_streams(self) -> None:
        """End every open stream, as a server that stops does."""
        for queues in self.streams.values():
            for queue in queues:
                queue.put_nowait(None)

    def _guard(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            self.requests.append(request.url.path)
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                return refusal(401, "unauthorized", "Send an access key.")
            name = request.path_params.get("tenant")
            if name is not None and name not in self.tenants:
                return refusal(404, "unknown_tenant", f"There is no tenant {name!r}.")
            answer = await handler(request)
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        return guarded

    def _of(self, request: Request) -> Tenant:
        return self.tenants[request.path_params["tenant"]]

    async def _page(self, _request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    async def _overview(self, _request: Request) -> Any:
        return {
            "time": self.now_us(),
            "tenants": [tenant.summary() for tenant in self.tenants.values()],
            "server": {
                "gateway": {"up": True, "uptime_seconds": self.uptime},
                "worker": {"up": True, "behind_records": self.behind},
            },
        }

    async def _tenants(self, _request: Request) -> Any:
        return [
            {"id": one.id, "time_zone": one.time_zone, "currency": one.currency, "created": 0}
            for one in self.tenants.values()
        ]

    async def _ledger(self, request: Request) -> Any:
        tenant = self._of(request)
        return {"total": tenant.total(), "types": tenant.ledger}

    async def _collectors(self, request: Request) -> Any:
        return self._of(request).collectors

    async def _metrics(self, request: Request) -> Any:
        return [metric.describe() for metric in self._of(request).metrics]

    async def _samples(self, request: Request) -> Any:
        query = request.query_params
        self.queries.append(dict(query))
        await self.ready.wait()
        for metric in self._of(request).metrics:
            if metric.name == query["metric"]:
                return metric.history(int(query["since"]), int(query["until"]), int(query["points"]))
        return refusal(404, "unknown_metric", f"There is no metric {query['metric']!r}.")

    async def _latest(self, request: Request) -> Any:
        now = self.now_us()
        return [
            {**sample, "reason": metric.reason if sample["value"] is None else ""}
            for metric in self._of(request).metrics
            for sample in metric.at(now)
        ]

    async def _alerts(self, request: Request) -> Any:
        state = request.query_params.get("state", "all")
        return [one for one in self._of(request).alerts if state in ("all", one["state"])]

    async def _stream(self, request: Request) -> Response:
        queues = self.streams.setdefault(self._of(request).id, set())

        async def frames() -> AsyncIterator[str]:
            queue: asyncio.Queue[str | None] = asyncio.Queue()
            queues.add(queue)
            async with self.changed:
                self.changed.notify_all()
            try:
                yield ": open\n\n"
                while (frame := await queue.get()) is not None:
                    yield frame
            finally:
                queues.discard(queue)

        return StreamingResponse(frames(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def refusal(status: int, code: str, message: str) -> Response:
    """An error as the gateway words it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
