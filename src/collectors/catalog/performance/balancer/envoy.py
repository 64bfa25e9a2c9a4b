"""Envoy's administration pages, read into the shared model and its own metrics; an Istio sidecar is one.

``/stats`` names a statistic by words joined by dots, and so are clusters; where a cluster's name ends is learnt from
the statistics that are known. Envoy is asked to leave out what never happened, so what is missing is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from collectors.catalog.performance.balancer import envoy_fields as known
from collectors.catalog.performance.balancer.envoy_cluster_fields import BREAKER, BREAKER_LIMIT
from collectors.catalog.performance.balancer.model import (
    Backend,
    Frontend,
    Reading,
    Server,
    ServerState,
    Texts,
    Traffic,
    by_backend,
    required,
    serves,
)
from collectors.errors import CollectorsError, SourceUnavailable
from collectors.model.metric import Issue, Sample

EMITS = known.EMITS
_UNLIMITED = 2**64 - 1
_NO_RATE = -1.0
_DOWN_FLAGS = frozenset({"failed_active_health_check", "failed_outlier_check", "pending_active_hc"})
_LISTENER_MARKS = (".downstream_", ".ssl.", ".no_filter_", ".extension_", ".network_")
_PRIVATE = frozenset({"admin", "async-client"})
"""HTTP connection managers of Envoy itself: those who ask for statistics are no traffic."""


@dataclass(slots=True)
class _Stats:
    """Statistics by scope, thing and name; quantiles by scope, thing and histogram."""

    values: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    quantiles: dict[tuple[str, str], dict[str, dict[str, float]]] = field(default_factory=dict)

    def of(self, first: str) -> dict[str, dict[str, float]]:
        """Return the statistics of a scope by thing."""
        return self.values.setdefault(first, {})


def read(texts: Texts, *, native: bool = True) -> Reading:
    """Make a reading of the pages."""
    pages: dict[str, Any] = {"stats": _parsed("stats", required(texts, "stats"))}
    issues: list[Issue] = []
    for part, text in texts.items():
        if part != "stats":
            try:
                if isinstance(text, CollectorsError):
                    raise text
                pages[part] = _parsed(part, text)
            except CollectorsError as error:
                issues.append(Issue(error.code, str(error), part))
    clusters = [c for c in _list(_object(pages.get("clusters")).get("cluster_statuses")) if c.get("name")]
    stats = _stats(pages["stats"], {_stat_name(c) for c in clusters}, _listeners(pages.get("listeners")))
    if "server" not in stats.values:
        raise SourceUnavailable("this is not Envoy's page of statistics; look at the address")
    server = stats.of("server").get("", {})
    servers = tuple(s for c in clusters for s in _servers(c))
    samples: tuple[Sample, ...] = ()
    if native:
        samples = (*_native(stats), *_hosts(clusters), *_breakers(clusters), *_certificates(pages.get("certs"), issues))
    return Reading(
        product="envoy",
        version=_version(pages.get("server_info")),
        uptime_s=server.get("uptime", 0),
        frontends=tuple(_frontends(stats)),
        backends=tuple(_backends(clusters, servers, stats)),
        servers=servers,
        samples=samples,
        issues=tuple(issues),
    )


def _stats(page: Any, clusters: set[str], listeners: Mapping[str, str]) -> _Stats:
    stats = _Stats()
    for entry in _list(_object(page).get("stats")):
        name, value = entry.get("name"), entry.get("value")
        if isinstance(name, str) and isinstance(value, int | float):
            first, thing, rest = _split(name, clusters, listeners)
            if rest:
                stats.of(first).setdefault(thing, {})[rest] = value
        elif "histograms" in entry:
            _take_histograms(stats, _object(entry["histograms"]), clusters, listeners)
    return stats


def _take_histograms(stats: _Stats, page: Mapping[str, Any], clusters: set[str], listeners: Mapping[str, str]) -> None:
    """Take in the quantiles over all time; ``null`` is a histogram in which nothing has been recorded."""
    quantiles = [f"{q / 100:g}" for q in page.get("supported_quantiles", ()) if isinstance(q, int | float)]
    for histogram in _list(page.get("computed_quantiles")):
        first, thing, rest = _split(str(histogram.get("name", "")), clusters, listeners)
        values = [_object(v).get("cumulative") for v in _list(histogram.get("values"))]
        if (first, rest) in known.HISTOGRAMS and len(values) == len(quantiles):
            found = {q: float(v) for q, v in zip(quantiles, values, strict=True) if isinstance(v, int | float)}
            stats.quantiles.setdefault((first, rest), {})[thing] = found


def _split(name: str, clusters: set[str], listeners: Mapping[str, str]) -> tuple[str, str, str]:
    """Return scope, thing and statistic; the statistic is empty if it is of no scope that is known."""
    first, _, rest = name.partition(".")
    scope = known.SCOPES.get(first)
    if scope is None or not rest:
        return first, "", ""
    if not scope.labels:
        return first, "", rest
    if first == "cluster":
        return first, *_split_cluster(rest, clusters)
    if first == "listener":
        return first, *_split_listener(rest, listeners)
    thing, _, last = rest.partition(".")
    return (first, thing, last) if thing not in _PRIVATE else (first, "", "")


def _split_cluster(rest: str, clusters: set[str]) -> tuple[str, str]:
    at = rest.find(".")
    while at > 0:
        if rest[:at] in clusters:
            return rest[:at], rest[at + 1 :]
        at = rest.find(".", at + 1)
    thing, _, last = rest.rpartition(".")  # the page of clusters is not there: all but the last word is the name
    return thing, last


def _split_listener(rest: str, listeners: Mapping[str, str]) -> tuple[str, str]:
    """Split where a listener's statistics begin, for an address has dots too."""
    for mark in _LISTENER_MARKS:
        at = rest.find(mark)
        if at > 0:
            thing = rest[:at]
            return (listeners.get(thing, thing), rest[at + 1 :]) if _plain(thing) else ("", "")
    return "", ""


def _plain(listener: str) -> bool:
    """Tell a listener's own statistics from those of a worker or an HTTP manager in it, and of Envoy's own."""
    return listener != "admin" and ".worker_" not in listener and ".http." not in listener and "admin." not in listener


def _native(stats: _Stats) -> Iterator[Sample]:
    for first, things in stats.values.items():
        specs = known.SCOPES[first].specs
        for thing, values in things.items():
            labels = (thing,) if thing else ()
            for name, value in values.items():
                spec = specs.get(name)
                if spec is not None:
                    yield Sample(spec.name, value, labels)
                else:
                    yield from _by_name(first, thing, name, value)
    for key, things_ in stats.quantiles.items():
        spec, scale = known.HISTOGRAMS[key]
        for thing, values in things_.items():
            for quantile, value in values.items():
                yield Sample(spec.name, value * scale, (thing, quantile))


def _by_name(first: str, thing: str, name: str, value: float) -> Iterator[Sample]:
    """Yield a sample of a statistic with a variable part in its name."""
    if first == "cluster" and name.startswith("circuit_breakers."):
        _, priority, what = name.split(".", 2)
        if what in BREAKER and value < _UNLIMITED:
            yield Sample(BREAKER[what].name, value, (thing, priority))
    elif first == "cluster" and name.startswith("upstream_rq_"):
        status = name.removeprefix("upstream_rq_")
        if status.isdigit():
            yield Sample(known.CLUSTER_CODES.name, value, (thing, status))
        elif status.endswith("xx"):
            yield Sample(known.CLUSTER_RESPONSES.name, value, (thing, status))
    elif first == "http" and name.startswith("downstream_rq_") and name.endswith("xx"):
        yield Sample(known.HTTP_RESPONSES.name, value, (thing, name.removeprefix("downstream_rq_")))
    elif first == "listener" and name.startswith("ssl.versions."):
        yield Sample(known.TLS_VERSIONS.name, value, (thing, name.removeprefix("ssl.versions.")))
    elif first == "listener" and name.startswith("ssl.ciphers."):
        yield Sample(known.TLS_CIPHERS.name, value, (thing, name.removeprefix("ssl.ciphers.")))


def _hosts(clusters: list[Mapping[str, Any]]) -> Iterator[Sample]:
    for cluster in clusters:
        threshold = _object(cluster.get("success_rate_ejection_threshold")).get("value")
        if isinstance(threshold, int | float) and threshold >= 0:
            yield Sample(known.SUCCESS_THRESHOLD.name, threshold / 100, (cluster["name"],))
        for name, host in _named_hosts(cluster):
            labels = (cluster["name"], name)
            for key, value in _host_stats(host).items():
                if key in known.HOST:
                    yield Sample(known.HOST[key].name, value, labels)
            for flag, raised in _object(host.get("health_status")).items():
                if raised is True:
                    yield Sample(known.HOST_FLAG.name, 1, (*labels, flag))
            rate = _object(host.get("success_rate")).get("value", _NO_RATE)
            if isinstance(rate, int | float) and rate >= 0:
                yield Sample(known.HOST_SUCCESS.name, rate / 100, labels)


def _breakers(clusters: list[Mapping[str, Any]]) -> Iterator[Sample]:
    for cluster in clusters:
        for threshold in _list(_object(cluster.get("circuit_breakers")).get("thresholds")):
            labels = (cluster["name"], str(threshold.get("priority", "DEFAULT")).lower())
            for key, spec in BREAKER_LIMIT.items():
                if isinstance(threshold.get(key), int):
                    yield Sample(spec.name, threshold[key], labels)


def _certificates(page: Any, issues: list[Issue]) -> Iterator[Sample]:
    seen: set[tuple[str, str, str]] = set()
    for certificate in _list(_object(page).get("certificates")):
        for use in ("ca_cert", "cert_chain"):
            for one in _list(certificate.get(use)):
                labels = (str(one.get("path", "")), str(one.get("serial_number", "")), use)
                if labels in seen:
                    continue  # each listener that uses it tells of it
                seen.add(labels)
                try:
                    expires = datetime.fromisoformat(str(one.get("expiration_time"))).timestamp()
                except ValueError:
                    issues.append(Issue("malformed", "a certificate's time of expiry can't be read", labels[0]))
                else:
                    yield Sample(known.CERTIFICATE.name, expires, labels)


def _frontends(stats: _Stats) -> Iterator[Frontend]:
    for name, values in stats.of("http").items():
        yield Frontend(
            name,
            up=True,
            traffic=Traffic(
                sessions=values.get("downstream_rq_active", 0),
                connections=values.get("downstream_cx_total", 0),
                requests=values.get("downstream_rq_total", 0),
                responses={c: values.get(f"downstream_rq_{c}", 0) for c in ("1xx", "2xx", "3xx", "4xx", "5xx")},
                bytes_in=values.get("downstream_cx_rx_bytes_total", 0),
                bytes_out=values.get("downstream_cx_tx_bytes_total", 0),
                errors={
                    "request": values.get("downstream_cx_protocol_error", 0) + values.get("downstream_rq_rx_reset", 0),
                    "denied": values.get("downstream_rq_overload_close", 0),
                },
                quantiles=_seconds(stats, "http", "downstream_rq_time", name),
            ),
        )


def _backends(clusters: list[Mapping[str, Any]], servers: tuple[Server, ...], stats: _Stats) -> Iterator[Backend]:
    members = by_backend(servers)
    for cluster in clusters:
        stat_name = _stat_name(cluster)
        values = stats.of("cluster").get(stat_name, {})
        yield Backend(
            cluster["name"],
            up=serves(members.get(cluster["name"], ())),
            traffic=Traffic(
                sessions=values.get("upstream_rq_active", 0),
                connections=values.get("upstream_cx_total", 0),
                requests=values.get("upstream_rq_total", 0),
                responses={c: values.get(f"upstream_rq_{c}", 0) for c in ("1xx", "2xx", "3xx", "4xx", "5xx")},
                bytes_in=values.get("upstream_cx_tx_bytes_total", 0),
                bytes_out=values.get("upstream_cx_rx_bytes_total", 0),
                errors={
                    "connect": values.get("upstream_cx_connect_fail", 0),
                    "timeout": values.get("upstream_rq_timeout", 0),
                    "response": values.get("upstream_rq_rx_reset", 0),
                    "overflow": values.get("upstream_cx_overflow", 0) + values.get("upstream_rq_pending_overflow", 0),
                },
                retries=values.get("upstream_rq_retry", 0),
                queue=values.get("upstream_rq_pending_active", 0),
                quantiles=_seconds(stats, "cluster", "upstream_rq_time", stat_name),
            ),
            downs=values.get("outlier_detection.ejections_enforced_total", 0),
        )


def _servers(cluster: Mapping[str, Any]) -> Iterator[Server]:
    for name, host in _named_hosts(cluster):
        values = _host_stats(host)
        weight = host.get("weight")
        yield Server(
            backend=cluster["name"],
            name=name,
            state=_state(_object(host.get("health_status"))),
            traffic=Traffic(
                sessions=values.get("rq_active", 0),
                connections=values.get("cx_total", 0),
                requests=values.get("rq_total", 0),
                errors={
                    "connect": values.get("cx_connect_fail", 0),
                    "timeout": values.get("rq_timeout", 0),
                    "response": values.get("rq_error", 0),
                },
                queue=values.get("rq_pending_active", 0),
            ),
            address=_address(host),
            weight=weight if isinstance(weight, int) else None,
        )


def _state(health: Mapping[str, Any]) -> ServerState:
    said = health.get("eds_health_status", "HEALTHY")
    if any(health.get(flag) is True for flag in _DOWN_FLAGS) or said in {"UNHEALTHY", "TIMEOUT"}:
        return ServerState.DOWN
    return ServerState.DRAINING if said == "DRAINING" else ServerState.UP


def _named_hosts(cluster: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    seen: set[str] = set()
    for host in _list(cluster.get("host_statuses")):
        name = _address(host) or str(_object(_object(host.get("address")).get("pipe")).get("path", "unnamed"))
        if name not in seen:  # the same address at another priority is the same server
            seen.add(name)
            yield name, host


def _address(host: Mapping[str, Any]) -> str:
    at = _object(_object(host.get("address")).get("socket_address"))
    return f"{at['address']}:{at['port_value']}" if "address" in at and "port_value" in at else ""


def _host_stats(host: Mapping[str, Any]) -> dict[str, float]:
    """Return its statistics; protobuf's JSON writes 64-bit numbers as texts and leaves zero out."""
    values: dict[str, float] = {}
    for entry in _list(host.get("stats")):
        text = str(entry.get("value", "0"))
        if text.isdigit():
            values[str(entry.get("name", ""))] = int(text)
    return values


def _listeners(page: Any) -> dict[str, str]:
    """Return listeners' names by the address that statistics call them by."""
    names: dict[str, str] = {}
    for listener in _list(_object(page).get("listener_statuses")):
        at = _object(_object(listener.get("local_address")).get("socket_address"))
        if "address" in at and listener.get("name"):
            names[f"{at['address']}_{at.get('port_value', 0)}".replace(":", "_")] = str(listener["name"])
    return names


def _stat_name(cluster: Mapping[str, Any]) -> str:
    return str(cluster.get("observability_name") or cluster["name"]).replace(":", "_")


def _seconds(stats: _Stats, first: str, name: str, thing: str) -> dict[str, float]:
    return {q: v / 1000 for q, v in stats.quantiles.get((first, name), {}).get(thing, {}).items()}


def _version(page: Any) -> str:
    """Return the number in ``commit/1.40.0/Clean/RELEASE/BoringSSL``."""
    parts = str(_object(page).get("version", "")).split("/")
    return parts[1] if len(parts) > 1 else ""


def _parsed(part: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise SourceUnavailable(f"Envoy's page {part} is no JSON; look at the address") from None


def _object(thing: Any) -> Mapping[str, Any]:
    return thing if isinstance(thing, dict) else {}


def _list(thing: Any) -> list[Mapping[str, Any]]:
    return [item for item in thing if isinstance(item, dict)] if isinstance(thing, list) else []
