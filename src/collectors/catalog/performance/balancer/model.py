"""What every load balancer has: frontends that take requests, backends that share them out, servers that answer.

A count is None where the product does not tell it, so that nothing is reported as zero that is only unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from collectors.errors import CollectorsError, SourceUnavailable
from collectors.model.metric import Issue, Kind, MetricSpec, Sample, Unit

MAX_UNKNOWN_NAMES = 20


class ServerState(StrEnum):
    """How the balancer sees a server."""

    UP = "up"
    UNCHECKED = "unchecked"
    """It gets requests, and nobody looks whether it is well."""
    DOWN = "down"
    DRAINING = "draining"
    """It keeps its sessions and gets no new ones, because someone said so."""
    MAINTENANCE = "maintenance"
    """Someone took it out."""


SERVING = frozenset({ServerState.UP, ServerState.UNCHECKED})


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through a frontend, backend or server; counters since the balancer started."""

    sessions: float | None = None
    session_limit: float | None = None
    connections: float | None = None
    requests: float | None = None
    responses: Mapping[str, float] = field(default_factory=dict)
    """By class: ``2xx``, ``5xx``."""
    bytes_in: float | None = None
    bytes_out: float | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    """By type: ``connect``, ``response``, ``request``, ``denied``."""
    retries: float | None = None
    queue: float | None = None
    latency: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase: ``queue``, ``connect``, ``response``, ``total``."""
    quantiles: Mapping[str, float] = field(default_factory=dict)
    """Seconds a request took, by quantile such as ``0.99``, where the product keeps a histogram."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """Where requests come in."""

    name: str
    up: bool
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a backend."""

    backend: str
    name: str
    state: ServerState
    traffic: Traffic
    address: str = ""
    """``host:port`` for health checks of our own; empty if the balancer does not tell."""
    weight: float | None = None
    downs: float | None = None
    """How often it went down, as the balancer counts."""
    changed_s_ago: float | None = None
    check_failures: float | None = None
    backup: bool = False


def serves(servers: Iterable[Server]) -> bool:
    """Tell whether requests for these servers are answered: one serves, or none is meant to.

    A backend that is empty, or from which someone took all servers, is as it was wanted.
    """
    states = {server.state for server in servers}
    return bool(states & SERVING) or ServerState.DOWN not in states


def by_backend(servers: Iterable[Server]) -> dict[str, list[Server]]:
    """Return servers by the name of their backend."""
    groups: dict[str, list[Server]] = {}
    for server in servers:
        groups.setdefault(server.backend, []).append(server)
    return groups


@dataclass(frozen=True, slots=True)
class Backend:
    """Servers that share requests."""

    name: str
    up: bool
    traffic: Traffic
    downs: float | None = None
    """How often it, or one of its servers, was taken out, where that is not counted by server."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A balancer at a moment: the shared model, and samples of the product's own metrics."""

    product: str
    version: str = ""
    uptime_s: float | None = None
    frontends: tuple[Frontend, ...] = ()
    backends: tuple[Backend, ...] = ()
    servers: tuple[Server, ...] = ()
    samples: tuple[Sample, ...] = ()
    issues: tuple[Issue, ...] = ()


Texts = Mapping[str, "str | CollectorsError"]
"""A source's answers by part."""


def required(texts: Texts, part: str) -> str:
    """Return the part without which there is nothing to tell; its error is raised."""
    found = texts.get(part)
    if isinstance(found, CollectorsError):
        raise found
    if not found:
        raise SourceUnavailable(f"the balancer did not tell its {part}; look whether the address is right")
    return found


def counters(prefix: str, labels: tuple[str, ...], meanings: Mapping[str, str], unit: Unit) -> dict[str, MetricSpec]:
    """Declare counters by the product's own name for each."""
    return _declared(Kind.COUNTER, prefix, labels, meanings, unit)


def gauges(prefix: str, labels: tuple[str, ...], meanings: Mapping[str, str], unit: Unit) -> dict[str, MetricSpec]:
    """Declare gauges by the product's own name for each."""
    return _declared(Kind.GAUGE, prefix, labels, meanings, unit)


def unknown_names(product: str, names: Iterable[str]) -> tuple[Issue, ...]:
    """Say which facts of a newer version are not reported; none if all are known."""
    found = sorted(set(names))
    if not found:
        return ()
    shown = ", ".join(found[:MAX_UNKNOWN_NAMES])
    return (Issue("unknown_field", f"{product} tells {len(found)} facts that are not known here: {shown}"[:400]),)


def _declared(
    kind: Kind, prefix: str, labels: tuple[str, ...], meanings: Mapping[str, str], unit: Unit
) -> dict[str, MetricSpec]:
    return {
        name: MetricSpec(f"{prefix}.{name.replace('.', '_').lower()}", kind, unit, meaning, labels=labels)
        for name, meaning in meanings.items()
    }
