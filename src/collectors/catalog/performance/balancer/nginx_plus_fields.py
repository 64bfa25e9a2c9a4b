"""What NGINX Plus' API tells, as declared metrics: sections of an answer, and in each the paths to its numbers.

A metric is ``collectors.nginx.<section>.<field>``. Source: the OpenAPI description of the API, version 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.model.metric import Kind, MetricSpec, Unit

_COUNT, _EVENTS, _BYTES, _SECONDS = Unit.COUNT, Unit.EVENTS, Unit.BYTES, Unit.SECONDS


@dataclass(frozen=True, slots=True)
class Fact:
    """A number at a path of keys in an answer; ``scale`` turns it into the unit."""

    path: tuple[str, ...]
    kind: Kind
    unit: Unit
    meaning: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Section:
    """Facts of one kind of thing, in the answer of ``endpoint``, with the labels that tell one thing from another."""

    name: str
    endpoint: str
    labels: tuple[str, ...]
    facts: Mapping[str, Fact]
    by_code: tuple[str, ...] = ()
    """The object with responses by class, in which ``codes`` holds them by status."""
    specs: Mapping[str, MetricSpec] = field(init=False)

    def __post_init__(self) -> None:
        prefix = f"collectors.nginx.{self.name}"
        specs = {
            key: MetricSpec(f"{prefix}.{key}", fact.kind, fact.unit, fact.meaning, self.labels)
            for key, fact in self.facts.items()
        }
        if self.by_code:
            name, *_ = self.by_code
            specs[name] = MetricSpec(
                f"{prefix}.{name}", Kind.COUNTER, _EVENTS, f"{name.capitalize()} by class.",
                (*self.labels, "status_class"),
            )  # fmt: skip
            if name == "responses":
                specs["responses_codes"] = MetricSpec(
                    f"{prefix}.responses_codes", Kind.COUNTER, _EVENTS, "Responses by status.",
                    (*self.labels, "status"),
                )  # fmt: skip
        object.__setattr__(self, "specs", specs)


def _c(path: str, meaning: str, unit: Unit = _EVENTS) -> Fact:
    return Fact(tuple(path.split(".")), Kind.COUNTER, unit, meaning)


def _g(path: str, meaning: str, unit: Unit = _COUNT, scale: float = 1.0) -> Fact:
    return Fact(tuple(path.split(".")), Kind.GAUGE, unit, meaning, scale)


_TLS = {
    "handshakes": _c("handshakes", "TLS handshakes."),
    "handshakes_failed": _c("handshakes_failed", "TLS handshakes that failed."),
    "session_reuses": _c("session_reuses", "TLS sessions used again."),
}


def _tls(prefix: str) -> dict[str, Fact]:
    return {f"{prefix}{key}": Fact(("ssl", *f.path), f.kind, f.unit, f.meaning) for key, f in _TLS.items()}


_CONNECTIONS = {
    "accepted": _c("accepted", "Connections accepted."),
    "dropped": _c("dropped", "Connections dropped."),
    "active": _g("active", "Connections that are active."),
    "idle": _g("idle", "Connections that are idle."),
}
_VOLUME = {
    "discarded": _c("discarded", "Requests or sessions that ended without an answer."),
    "received": _c("received", "Bytes received.", _BYTES),
    "sent": _c("sent", "Bytes sent.", _BYTES),
}
_LIMITED = {
    "passed": _c("passed", "Neither delayed nor rejected."),
    "rejected": _c("rejected", "Rejected."),
    "rejected_dry_run": _c("rejected_dry_run", "Would have been rejected."),
}
_PEER = {
    "active": _g("active", "Connections at present."),
    "limit": _g("max_conns", "Most connections that are allowed."),
    "weight": _g("weight", "Weight in balancing."),
    "sent": _c("sent", "Bytes sent to it.", _BYTES),
    "received": _c("received", "Bytes received from it.", _BYTES),
    "fails": _c("fails", "Attempts to use it that failed."),
    "unavail": _c("unavail", "Times it became unavailable for too many fails."),
    "downtime": _c("downtime", "Time it was not available.", _SECONDS),
    "response_time": _g("response_time", "Average time to the whole response.", _SECONDS, 0.001),
    "health_checks_checks": _c("health_checks.checks", "Health checks made."),
    "health_checks_fails": _c("health_checks.fails", "Health checks that failed."),
    "health_checks_unhealthy": _c("health_checks.unhealthy", "Times health checks found it unhealthy."),
    **_tls("ssl_"),
}
_ANSWERED = {
    "hit": "from the cache", "stale": "from the cache though expired", "updating": "from the cache while renewed",
    "revalidated": "from the cache after asking whether it is valid",
}  # fmt: skip
_FETCHED = {"miss": "not in the cache", "expired": "expired", "bypass": "that went past the cache"}
_CACHE = {
    "size": _g("size", "Bytes it holds.", _BYTES),
    "max_size": _g("max_size", "Most bytes it may hold.", _BYTES),
    "cold": _g("cold", "1 while its loader still reads it from disk."),
    **{
        f"{kind}_{what}": _c(f"{kind}.{what}", f"{what.capitalize()} {how}.", _BYTES if what == "bytes" else _EVENTS)
        for kind, how in _ANSWERED.items()
        for what in ("responses", "bytes")
    },
    **{
        f"{kind}_{what}": _c(
            f"{kind}.{what}",
            f"{what.partition('_')[0].capitalize()} {how}{', then kept' if 'written' in what else ''}.",
            _BYTES if what.startswith("bytes") else _EVENTS,
        )
        for kind, how in _FETCHED.items()
        for what in ("responses", "bytes", "responses_written", "bytes_written")
    },
}
_RESOLVED = {
    "name": _c("requests.name", "Requests to resolve names."),
    "srv": _c("requests.srv", "Requests to resolve services."),
    "addr": _c("requests.addr", "Requests to resolve addresses."),
    **{
        code: _c(f"responses.{code}", f"Answers that say {code}.")
        for code in (
            "noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "timedout", "unknown",
        )
    },
}  # fmt: skip

SECTIONS: tuple[Section, ...] = (
    Section("connections", "connections", (), _CONNECTIONS),
    Section("ssl", "ssl", (), _TLS),
    Section("processes", "processes", (), {"respawned": _c("respawned", "Worker processes that had to be replaced.")}),
    Section(
        "http_requests",
        "http/requests",
        (),
        {"total": _c("total", "Requests so far."), "current": _g("current", "Requests at present.")},
    ),
    Section(
        "server_zone",
        "http/server_zones",
        ("zone",),
        {
            "processing": _g("processing", "Requests at present."),
            "requests": _c("requests", "Requests so far."),
            **_VOLUME,
        },
        by_code=("responses",),
    ),
    Section("server_ssl", "http/server_zones", ("zone",), _tls("")),
    Section(
        "location_zone",
        "http/location_zones",
        ("zone",),
        {"requests": _c("requests", "Requests so far."), **_VOLUME},
        by_code=("responses",),
    ),
    Section("cache", "http/caches", ("zone",), _CACHE),
    Section(
        "limit_request",
        "http/limit_reqs",
        ("zone",),
        {
            **_LIMITED,
            "delayed": _c("delayed", "Delayed."),
            "delayed_dry_run": _c("delayed_dry_run", "Would have been delayed."),
        },
    ),
    Section("limit_connection", "http/limit_conns", ("zone",), _LIMITED),
    Section("stream_limit_connection", "stream/limit_conns", ("zone",), _LIMITED),
    Section(
        "stream_server_zone",
        "stream/server_zones",
        ("zone",),
        {
            "processing": _g("processing", "Sessions at present."),
            "connections": _c("connections", "Connections so far."),
            **_VOLUME,
        },
        by_code=("sessions",),
    ),
    Section("stream_server_ssl", "stream/server_zones", ("zone",), _tls("")),
    Section("resolver", "resolvers", ("resolver",), _RESOLVED),
    Section(
        "slab",
        "slabs",
        ("zone",),
        {
            "pages_used": _g("pages.used", "Pages of shared memory in use.", Unit.PAGES),
            "pages_free": _g("pages.free", "Pages of shared memory that are free.", Unit.PAGES),
        },
    ),
)
"""Sections whose answer is one object, or one object by name."""

PEERS: tuple[Section, ...] = (
    Section(
        "upstream_server",
        "http/upstreams",
        ("upstream", "server"),
        {
            "requests": _c("requests", "Requests given to it."),
            "header_time": _g("header_time", "Average time to the response's header.", _SECONDS, 0.001),
            **_PEER,
        },
        by_code=("responses",),
    ),
    Section(
        "stream_upstream_server",
        "stream/upstreams",
        ("upstream", "server"),
        {
            "connections": _c("connections", "Connections given to it."),
            "connect_time": _g("connect_time", "Average time to connect.", _SECONDS, 0.001),
            "first_byte_time": _g("first_byte_time", "Average time to the first byte.", _SECONDS, 0.001),
            **_PEER,
        },
    ),
)
UPSTREAMS: tuple[Section, ...] = (
    Section(
        "upstream",
        "http/upstreams",
        ("upstream",),
        {
            "keepalive": _g("keepalive", "Idle connections kept."),
            "zombies": _g("zombies", "Servers that were removed and still answer requests."),
            "queue_size": _g("queue.size", "Requests that wait."),
            "queue_max_size": _g("queue.max_size", "Most requests that may wait."),
            "queue_overflows": _c("queue.overflows", "Requests rejected because the queue was full."),
        },
    ),
    Section(
        "stream_upstream",
        "stream/upstreams",
        ("upstream",),
        {"zombies": _g("zombies", "Servers that were removed and still serve sessions.")},
    ),
)
WORKER = Section(
    "worker",
    "workers",
    ("worker",),
    {
        **{
            f"connection_{key}": Fact(("connections", *f.path), f.kind, f.unit, f.meaning)
            for key, f in _CONNECTIONS.items()
        },
        "http_requests_total": _c("http.requests.total", "Requests so far."),
        "http_requests_current": _g("http.requests.current", "Requests at present."),
    },
)
ZONE_SYNC = Section(
    "stream_zone_sync_zone",
    "stream/zone_sync",
    ("zone",),
    {
        "records_pending": _g("records_pending", "Records to be sent to the cluster."),
        "records_total": _g("records_total", "Records in the zone."),
    },
)
ZONE_SYNC_STATUS = Section(
    "stream_zone_sync_zone",
    "stream/zone_sync",
    (),
    {
        "bytes_in": _c("bytes_in", "Bytes received.", _BYTES),
        "bytes_out": _c("bytes_out", "Bytes sent.", _BYTES),
        "msgs_in": _c("msgs_in", "Messages received."),
        "msgs_out": _c("msgs_out", "Messages sent."),
        "nodes_online": _g("nodes_online", "Nodes it is connected to."),
    },
)
ALL: tuple[Section, ...] = (*SECTIONS, *PEERS, *UPSTREAMS, WORKER, ZONE_SYNC, ZONE_SYNC_STATUS)
