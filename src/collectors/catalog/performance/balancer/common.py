"""The model that all balancers share, as metrics: frontends, backends and servers, whatever product they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collectors.catalog.performance.balancer.model import SERVING, Reading, ServerState, Traffic
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

NO_BASELINE = "there is no earlier reading to compare with"
NO_RESPONSES = "there was no response since the reading before"
NO_SERVERS = "it has no server that should serve"

_P = "collectors.load_balancer"
_C, _G = Kind.COUNTER, Kind.GAUGE
_LEVELS: Mapping[str, tuple[str, ...]] = {
    "frontend": ("frontend",),
    "backend": ("backend",),
    "server": ("backend", "server"),
}
_PLAIN: Mapping[str, tuple[Kind, Unit, str]] = {
    "sessions": (_G, Unit.COUNT, "Sessions or requests under way."),
    "session_limit": (_G, Unit.COUNT, "Most sessions that are allowed."),
    "connections": (_C, Unit.EVENTS, "Connections so far."),
    "requests": (_C, Unit.EVENTS, "Requests so far; sessions where the protocol has no requests."),
    "retries": (_C, Unit.EVENTS, "Attempts that were made again."),
    "queue": (_G, Unit.COUNT, "Requests that wait."),
}
_GROUPED: Mapping[str, tuple[str, Kind, Unit, str]] = {
    "responses": ("status_class", _C, Unit.EVENTS, "Responses by class of status."),
    "errors": ("error.type", _C, Unit.ERRORS, "Errors by type, such as connect, response or timeout."),
    "latency": ("phase", _G, Unit.SECONDS, "Average time of late requests, by phase, where the product tells it."),
    "quantiles": ("quantile", _G, Unit.SECONDS, "Time requests took, by quantile, where the product keeps it."),
}
_NAMES = {"quantiles": "latency_quantile"}
_IO = {
    level: MetricSpec(
        f"{_P}.{level}.io", _C, Unit.BYTES, "Bytes from clients (receive) and to clients (transmit).",
        (*labels, "network.io.direction"),
    )
    for level, labels in _LEVELS.items()
}  # fmt: skip
_SPECS = {
    (level, key): MetricSpec(f"{_P}.{level}.{key}", kind, unit, meaning, labels)
    for level, labels in _LEVELS.items()
    for key, (kind, unit, meaning) in _PLAIN.items()
    if (level, key) not in {("frontend", "retries"), ("frontend", "queue"), ("backend", "session_limit")}
} | {
    (level, key): MetricSpec(f"{_P}.{level}.{_NAMES.get(key, key)}", kind, unit, meaning, (*labels, label))
    for level, labels in _LEVELS.items()
    for key, (label, kind, unit, meaning) in _GROUPED.items()
    if (level, key) not in {("frontend", "latency"), ("server", "quantiles")}
}
_UP = MetricSpec(f"{_P}.up", _G, Unit.COUNT, "1: the balancer answers. If it does not, the run fails and says why.")
_INFO = MetricSpec(f"{_P}.info", _G, Unit.COUNT, "1 with the product and its version.", ("product", "version"))
_UPTIME = MetricSpec(f"{_P}.uptime", _G, Unit.SECONDS, "Time since the balancer started.")
_BACKENDS_DOWN = MetricSpec(
    f"{_P}.backends_down",
    _G,
    Unit.COUNT,
    "Backends with servers that should serve, of which none does.",
    aliases=("backends_down",),
)
_SERVERS_DOWN = MetricSpec(
    f"{_P}.servers_down", _G, Unit.COUNT, "Servers that should serve and are down.", aliases=("servers_down",)
)
_FRONTEND_UP = MetricSpec(f"{_P}.frontend.up", _G, Unit.COUNT, "1 if it takes requests.", ("frontend",))
_BACKEND_UP = MetricSpec(
    f"{_P}.backend.up", _G, Unit.COUNT, "0 if it has servers that should serve, and none does.", ("backend",)
)
_SERVERS = MetricSpec(f"{_P}.backend.servers", _G, Unit.COUNT, "Servers by state.", ("backend", "state"))
_AVAILABLE = MetricSpec(
    f"{_P}.backend.available_ratio", _G, Unit.RATIO,
    "Servers that serve, of those that nobody took out.", ("backend",), nullable=True,
)  # fmt: skip
_ERROR_RATIO = MetricSpec(
    f"{_P}.backend.error_ratio", _G, Unit.RATIO,
    "Responses 5xx of all responses since the reading before.", ("backend",),
    aliases=("backend_error_rate",), nullable=True, scale=100.0,
)  # fmt: skip
_SERVER_UP = MetricSpec(f"{_P}.server.up", _G, Unit.COUNT, "1 if it serves.", ("backend", "server"))
_STATE = MetricSpec(f"{_P}.server.state", _G, Unit.COUNT, "1 for the state it is in.", ("backend", "server", "state"))
_WEIGHT = MetricSpec(f"{_P}.server.weight", _G, Unit.COUNT, "Weight in balancing.", ("backend", "server"))
_DOWNS = MetricSpec(
    f"{_P}.server.downs", _C, Unit.EVENTS, "Times it went down, as the balancer counts.", ("backend", "server")
)
_CHECK_FAILURES = MetricSpec(
    f"{_P}.server.check_failures", _C, Unit.EVENTS, "Health checks of the balancer that failed.", ("backend", "server")
)
EMITS: tuple[MetricSpec, ...] = (
    _UP, _INFO, _UPTIME, _BACKENDS_DOWN, _SERVERS_DOWN, _FRONTEND_UP, _BACKEND_UP, _SERVERS, _AVAILABLE, _ERROR_RATIO,
    _SERVER_UP, _STATE, _WEIGHT, _DOWNS, _CHECK_FAILURES, *_IO.values(), *_SPECS.values(),
)  # fmt: skip


def derive(now: Reading, before: Reading | None, whole: Reading) -> Iterator[Sample]:
    """Yield the samples of a reading; ratios over time compare with the reading before, servers are counted in all."""
    yield Sample(_UP.name, 1)
    yield Sample(_INFO.name, 1, (now.product, now.version or "unknown"))
    if now.uptime_s is not None:
        yield Sample(_UPTIME.name, now.uptime_s)
    for frontend in now.frontends:
        yield Sample(_FRONTEND_UP.name, int(frontend.up), (frontend.name,))
        yield from _traffic("frontend", frontend.traffic, (frontend.name,))
    yield from _backends(now, before, whole)
    for server in now.servers:
        labels = (server.backend, server.name)
        yield Sample(_SERVER_UP.name, int(server.state in SERVING), labels)
        yield Sample(_STATE.name, 1, (*labels, server.state.value))
        for spec, value in (
            (_WEIGHT, server.weight), (_DOWNS, server.downs), (_CHECK_FAILURES, server.check_failures),
        ):  # fmt: skip
            if value is not None:
                yield Sample(spec.name, value, labels)
        yield from _traffic("server", server.traffic, labels)
    if now.backends:
        yield Sample(_BACKENDS_DOWN.name, sum(not backend.up for backend in whole.backends))
        yield Sample(_SERVERS_DOWN.name, sum(server.state is ServerState.DOWN for server in whole.servers))


def _backends(now: Reading, before: Reading | None, whole: Reading) -> Iterator[Sample]:
    counts = {backend.name: dict.fromkeys(ServerState, 0) for backend in now.backends}
    for server in whole.servers:
        if server.backend in counts:
            counts[server.backend][server.state] += 1
    earlier = {backend.name: backend.traffic.responses for backend in before.backends} if before else {}
    for backend in now.backends:
        labels, states = (backend.name,), counts[backend.name]
        yield Sample(_BACKEND_UP.name, int(backend.up), labels)
        for state, servers in states.items():
            yield Sample(_SERVERS.name, servers, (*labels, state.value))
        serving = states[ServerState.UP] + states[ServerState.UNCHECKED]
        wanted = serving + states[ServerState.DOWN]
        if wanted:
            yield Sample(_AVAILABLE.name, serving / wanted, labels)
        else:
            yield Sample(_AVAILABLE.name, None, labels, reason=NO_SERVERS)
        if backend.traffic.responses:
            yield _error_ratio(labels, backend.traffic.responses, earlier.get(backend.name))
        yield from _traffic("backend", backend.traffic, labels)


def _error_ratio(labels: tuple[str, ...], now: Mapping[str, float], before: Mapping[str, float] | None) -> Sample:
    if before is None:
        return Sample(_ERROR_RATIO.name, None, labels, reason=NO_BASELINE)
    total = sum(now.values())
    if total < sum(before.values()):
        before = {}  # the balancer was restarted, and counts from zero
    grown = {status_class: count - before.get(status_class, 0) for status_class, count in now.items()}
    responses = sum(grown.values())
    if responses <= 0:
        return Sample(_ERROR_RATIO.name, None, labels, reason=NO_RESPONSES)
    return Sample(_ERROR_RATIO.name, max(0.0, grown.get("5xx", 0)) / responses, labels)


def _traffic(level: str, traffic: Traffic, labels: tuple[str, ...]) -> Iterator[Sample]:
    for key in _PLAIN:
        value = getattr(traffic, key)
        if value is not None and (level, key) in _SPECS:
            yield Sample(_SPECS[level, key].name, value, labels)
    for direction, count in (("receive", traffic.bytes_in), ("transmit", traffic.bytes_out)):
        if count is not None:
            yield Sample(_IO[level].name, count, (*labels, direction))
    for key in _GROUPED:
        group = getattr(traffic, key)
        if group and (level, key) in _SPECS:
            name = _SPECS[level, key].name
            for member, value in group.items():
                yield Sample(name, value, (*labels, member))
