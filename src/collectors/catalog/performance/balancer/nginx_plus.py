"""The API of NGINX Plus: each answer is walked along the facts that are declared for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from collectors.catalog.performance.balancer import nginx, nginx_plus_fields
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
from collectors.catalog.performance.balancer.nginx_plus_fields import Section
from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable
from collectors.model.metric import Issue, Kind, MetricSpec, Sample, Unit

_STATES = {
    "up": ServerState.UP, "draining": ServerState.DRAINING, "down": ServerState.MAINTENANCE,
    "unavail": ServerState.DOWN, "unhealthy": ServerState.DOWN, "checking": ServerState.DOWN,
}  # fmt: skip
_STATE = {
    section.name: MetricSpec(
        f"collectors.nginx.{section.name}.state",
        Kind.GAUGE,
        Unit.COUNT,
        "1 for the state it is in: up, draining, down, unavail, checking or unhealthy.",
        (*section.labels, "state"),
    )
    for section in nginx_plus_fields.PEERS
}
_INFO = MetricSpec(
    "collectors.nginx.info", Kind.GAUGE, Unit.COUNT, "1 with its version and build.", ("version", "build")
)
_GENERATION = MetricSpec(
    "collectors.nginx.generation", Kind.COUNTER, Unit.EVENTS, "Times its configuration was loaded."
)
_SHARED = {spec.name for spec in nginx.EMITS}
EMITS: tuple[MetricSpec, ...] = (
    *(s for section in nginx_plus_fields.ALL for s in section.specs.values() if s.name not in _SHARED),
    *_STATE.values(),
    _INFO,
    _GENERATION,
)


def read(texts: Texts, *, native: bool = True) -> Reading:
    """Make a reading of the answers; what is not configured is not told, and that is no fault."""
    issues: list[Issue] = []
    build = _parsed("nginx", required(texts, "nginx"))
    if not isinstance(build, dict) or "version" not in build:
        raise SourceUnavailable("this is not the API of NGINX Plus; give an address such as http://host/api/9")
    answers: dict[str, Any] = {}
    for part, text in texts.items():
        if isinstance(text, SourceRefused) and "(404)" in str(text):
            continue  # this version or configuration has no such endpoint
        try:
            if isinstance(text, CollectorsError):
                raise text
            answers[part] = _parsed(part, text)
        except CollectorsError as error:
            issues.append(Issue(error.code, str(error), part))
    samples: list[Sample] = []
    if native:
        samples += [Sample(_INFO.name, 1, (str(build["version"]), str(build.get("build", ""))))]
        if isinstance(build.get("generation"), int):
            samples += [Sample(_GENERATION.name, build["generation"])]
        samples += _native(answers)
    peers = tuple(_servers(answers))
    return Reading(
        product="nginx_plus",
        version=str(build["version"]),
        frontends=tuple(_frontends(answers)),
        backends=tuple(_backends(answers, peers)),
        servers=peers,
        samples=tuple(samples),
        issues=tuple(issues),
    )


def _native(answers: Mapping[str, Any]) -> Iterator[Sample]:
    for section in nginx_plus_fields.SECTIONS:
        answer = _object(answers.get(section.endpoint))
        if not section.labels:
            yield from _facts(section, answer, ())
            continue
        for name, thing in answer.items():
            yield from _facts(section, _object(thing), (name,))
    for section, upstreams in zip(nginx_plus_fields.PEERS, nginx_plus_fields.UPSTREAMS, strict=True):
        for name, upstream in _object(answers.get(section.endpoint)).items():
            yield from _facts(upstreams, _object(upstream), (name,))
            for labels, peer in _peers(name, upstream):
                yield from _facts(section, peer, labels)
                yield Sample(_STATE[section.name].name, 1, (*labels, str(peer.get("state", "unknown"))))
    for worker in _list(answers.get("workers")):
        yield from _facts(nginx_plus_fields.WORKER, worker, (str(worker.get("id", "")),))
    sync = _object(answers.get("stream/zone_sync"))
    yield from _facts(nginx_plus_fields.ZONE_SYNC_STATUS, _object(sync.get("status")), ())
    for name, zone in _object(sync.get("zones")).items():
        yield from _facts(nginx_plus_fields.ZONE_SYNC, _object(zone), (name,))


def _facts(section: Section, thing: Mapping[str, Any], labels: tuple[str, ...]) -> Iterator[Sample]:
    for key, fact in section.facts.items():
        value = _number(thing, *fact.path)
        if value is not None:
            yield Sample(section.specs[key].name, value * fact.scale, labels)
    for name in section.by_code:
        counts = _object(thing.get(name))
        for status_class, count in counts.items():
            if status_class not in {"total", "codes"} and _is_number(count):
                yield Sample(section.specs[name].name, count, (*labels, status_class))
        for status, count in _object(counts.get("codes")).items():
            if _is_number(count):
                yield Sample(section.specs["responses_codes"].name, count, (*labels, status))


def _frontends(answers: Mapping[str, Any]) -> Iterator[Frontend]:
    for kind in ("http", "stream"):
        for name, thing in _object(answers.get(f"{kind}/server_zones")).items():
            zone = _object(thing)
            discarded = _number(zone, "discarded")
            yield Frontend(
                name,
                up=True,
                traffic=Traffic(
                    sessions=_number(zone, "processing"),
                    connections=_number(zone, "connections"),
                    requests=_number(zone, "requests"),
                    responses=_classes(zone, "responses" if kind == "http" else "sessions"),
                    bytes_in=_number(zone, "received"),
                    bytes_out=_number(zone, "sent"),
                    errors={} if discarded is None else {"discarded": discarded},
                ),
            )


def _servers(answers: Mapping[str, Any]) -> Iterator[Server]:
    for kind in ("http", "stream"):
        for name, upstream in _object(answers.get(f"{kind}/upstreams")).items():
            for (_, server), peer in _peers(name, upstream):
                fails, response_s = _number(peer, "fails"), _number(peer, "response_time")
                unavailable, unhealthy = _number(peer, "unavail"), _number(peer, "health_checks", "unhealthy")
                yield Server(
                    backend=name,
                    name=server,
                    state=_STATES.get(str(peer.get("state")), ServerState.DOWN),
                    traffic=Traffic(
                        sessions=_number(peer, "active"),
                        session_limit=_number(peer, "max_conns"),
                        requests=_number(peer, "requests") if kind == "http" else _number(peer, "connections"),
                        responses=_classes(peer, "responses"),
                        bytes_in=_number(peer, "sent"),
                        bytes_out=_number(peer, "received"),
                        errors={} if fails is None else {"connect": fails},
                        latency={} if response_s is None else {"response": response_s / 1000},
                    ),
                    address=server if server.rpartition(":")[2].isdigit() else "",
                    weight=_number(peer, "weight"),
                    downs=None if unavailable is None and unhealthy is None else (unavailable or 0) + (unhealthy or 0),
                    check_failures=_number(peer, "health_checks", "fails"),
                    backup=peer.get("backup") is True,
                )


def _backends(answers: Mapping[str, Any], peers: tuple[Server, ...]) -> Iterator[Backend]:
    members = by_backend(peers)
    for kind in ("http", "stream"):
        for name, upstream in _object(answers.get(f"{kind}/upstreams")).items():
            mine = members.get(name, [])
            classes: dict[str, float] = {}
            for peer in mine:
                for status_class, count in peer.traffic.responses.items():
                    classes[status_class] = classes.get(status_class, 0) + count
            yield Backend(
                name,
                up=serves(mine),
                traffic=Traffic(
                    sessions=sum(peer.traffic.sessions or 0 for peer in mine),
                    requests=sum(peer.traffic.requests or 0 for peer in mine),
                    responses=classes,
                    bytes_in=sum(peer.traffic.bytes_in or 0 for peer in mine),
                    bytes_out=sum(peer.traffic.bytes_out or 0 for peer in mine),
                    errors={"connect": sum(peer.traffic.errors.get("connect", 0) for peer in mine)},
                    queue=_number(_object(upstream), "queue", "size"),
                ),
            )


def _peers(name: str, upstream: Any) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """Yield the servers of an upstream with their labels; two of the same address are told apart by their number."""
    seen: set[str] = set()
    for peer in _list(_object(upstream).get("peers")):
        server = str(peer.get("server", peer.get("id", "")))
        if server in seen:
            server = f"{server}#{peer.get('id', len(seen))}"
        seen.add(server)
        yield (name, server), peer


def _classes(thing: Mapping[str, Any], key: str) -> dict[str, float]:
    counts = _object(thing.get(key))
    return {k: v for k, v in counts.items() if k not in {"total", "codes"} and _is_number(v)}


def _parsed(part: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise SourceUnavailable(f"the answer for {part} is no JSON; look at the address") from None


def _number(thing: Any, *path: str) -> float | None:
    for key in path:
        thing = thing.get(key) if isinstance(thing, dict) else None
    if isinstance(thing, bool):
        return int(thing)
    return thing if _is_number(thing) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(thing: Any) -> Mapping[str, Any]:
    return thing if isinstance(thing, dict) else {}


def _list(thing: Any) -> list[Mapping[str, Any]]:
    return [item for item in thing if isinstance(item, dict)] if isinstance(thing, list) else []
