"""How much of a large balancer is reported: no more series than was agreed, and word of what was left out."""

from __future__ import annotations

from dataclasses import replace

from collectors.catalog.performance.balancer.model import SERVING, Reading
from collectors.model.metric import Issue


def bounded(reading: Reading, max_backends: int, max_servers: int) -> tuple[Reading, tuple[Issue, ...]]:
    """Return a reading with at most so many backends and servers, those in trouble first, and issues for the rest.

    A sample of the product's own metrics goes with the backend or server its first labels name.
    """
    if len(reading.backends) <= max_backends and len(reading.servers) <= max_servers:
        return reading, ()
    backends = sorted(reading.backends, key=lambda backend: backend.up)[:max_backends]
    kept = {backend.name for backend in backends}
    mine = [server for server in reading.servers if server.backend in kept]
    servers = sorted(mine, key=lambda server: server.state in SERVING)[:max_servers]
    gone = {backend.name for backend in reading.backends} - kept
    named = {(server.backend, server.name) for server in servers}
    unnamed = {(server.backend, server.name) for server in reading.servers} - named
    samples = tuple(
        sample
        for sample in reading.samples
        if not sample.labels or (sample.labels[0] not in gone and sample.labels[:2] not in unnamed)
    )
    issues = []
    if gone:
        issues.append(
            Issue("too_many", f"{len(gone)} backends are left out; raise max_backends to see them", "backends")
        )
    if unnamed:
        text = f"{len(unnamed)} servers are left out; raise max_servers to see them"
        issues.append(Issue("too_many", text, "servers"))
    return replace(reading, backends=tuple(backends), servers=tuple(servers), samples=samples), tuple(issues)
