"""What changed between two readings: servers and backends that went down or came back, even if only in between."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalog.performance.balancer.model import SERVING, Backend, Reading, Server, ServerState
from collectors.model.metric import Finding, Severity, Window

MAX_FINDINGS = 100


def findings(now: Reading, before: Reading | None, window: Window) -> tuple[Finding, ...]:
    """Return what a person should know of, the gravest first; what is down at the first reading is told too.

    Maintenance and draining are what someone wanted, and no finding. A server that went down and came back between
    two readings is told by the balancer's own count of that, if it keeps one.
    """
    restarted = before is not None and _restarted(now, before)
    earlier = before if not restarted else None
    found: list[Finding] = []
    if restarted:
        found.append(Finding("balancer_restarted", now.product, Severity.INFO, f"{now.product} was restarted"))
    backends = {backend.name: backend for backend in before.backends} if before else {}
    for backend in now.backends:
        found += _backend(backend, backends.get(backend.name), counted=earlier is not None)
    servers = {(server.backend, server.name): server for server in before.servers} if before else {}
    for server in now.servers:
        was = servers.get((server.backend, server.name))
        found += _server(server, was, window, counted=earlier is not None)
    order = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}
    found.sort(key=lambda finding: order[finding.severity])
    if len(found) <= MAX_FINDINGS:
        return tuple(found)
    left_out = len(found) - MAX_FINDINGS
    more = Finding("more_changes", now.product, Severity.CRITICAL, f"{left_out} more servers or backends changed")
    return (*found[:MAX_FINDINGS], more)


def _restarted(now: Reading, before: Reading) -> bool:
    if now.uptime_s is None or before.uptime_s is None:
        return False
    return now.uptime_s < before.uptime_s


def _backend(now: Backend, before: Backend | None, *, counted: bool) -> Iterator[Finding]:
    labels = (("backend", now.name),)
    if not now.up and (before is None or before.up):
        summary = f"backend {now.name} has no server that serves"
        yield Finding("backend_down", now.name, Severity.CRITICAL, summary, labels)
    elif now.up and before is not None and not before.up:
        summary = f"backend {now.name} has a server that serves again"
        yield Finding("backend_up", now.name, Severity.INFO, summary, labels)
    elif counted and before is not None and _grew(now.downs, before.downs):
        summary = f"servers of backend {now.name} were taken out since the last look"
        yield Finding("servers_ejected", now.name, Severity.WARNING, summary, labels)


def _server(now: Server, before: Server | None, window: Window, *, counted: bool) -> Iterator[Finding]:
    key = f"{now.backend}/{now.name}"
    labels = (("backend", now.backend), ("server", now.name))
    if now.state is ServerState.DOWN and (before is None or before.state is not ServerState.DOWN):
        summary = f"server {key} is down"
        yield Finding("server_down", key, Severity.WARNING, summary, labels, _when(now, window))
    elif before is None:
        return
    elif now.state in SERVING and before.state is ServerState.DOWN:
        yield Finding("server_up", key, Severity.INFO, f"server {key} is up again", labels, _when(now, window))
    elif counted and now.state is before.state and _grew(now.downs, before.downs):
        times = round((now.downs or 0) - (before.downs or 0))
        summary = f"server {key} went down {times} times since the last look, and is {now.state.value} now"
        yield Finding("server_flapped", key, Severity.WARNING, summary, labels, _when(now, window))


def _grew(now: float | None, before: float | None) -> bool:
    return now is not None and before is not None and now > before


def _when(server: Server, window: Window) -> int:
    """Return when the balancer says it changed, if that is in the window; else 0, which is when it was seen."""
    if server.changed_s_ago is None:
        return 0
    at = window.end_us - round(server.changed_s_ago * 1e6)
    return at if window.start_us <= at else 0
