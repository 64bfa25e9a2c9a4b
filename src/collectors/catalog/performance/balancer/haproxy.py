"""HAProxy: its statistics as CSV or as Prometheus' text become one table, from which everything else is read.

Source: the management guide of HAProxy, chapters 9.1 (CSV) and 9.3 (runtime API).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from collectors.catalog.performance.balancer import haproxy_fields as known
from collectors.catalog.performance.balancer.haproxy_page import rows_of_page
from collectors.catalog.performance.balancer.haproxy_table import Row, Table, row_of, to_number
from collectors.catalog.performance.balancer.model import (
    Backend,
    Frontend,
    Reading,
    Server,
    ServerState,
    Texts,
    Traffic,
    by_backend,
    counters,
    required,
    serves,
    unknown_names,
)
from collectors.errors import CollectorsError, SourceUnavailable
from collectors.model.metric import Issue, Kind, MetricSpec, Sample, Unit

_P = "collectors.haproxy"
_RESPONSES = {
    what: MetricSpec(
        f"{_P}.{what}.http_responses", Kind.COUNTER, Unit.EVENTS, "HTTP responses by class.", (*labels, "status_class")
    )
    for what, labels in known.LABELS.items()
    if what != "listener"
}
_STATUS = {
    what: MetricSpec(f"{_P}.{what}.status", Kind.GAUGE, Unit.COUNT, "1 for the state it is in.", (*labels, "state"))
    for what, labels in known.LABELS.items()
}
_CHECK_STATUS = MetricSpec(
    f"{_P}.server.check_status",
    Kind.GAUGE,
    Unit.COUNT,
    "1 for how the last health check ended, such as L7OK.",
    (*known.LABELS["server"], "state"),
)
_AGENT_STATUS = MetricSpec(
    f"{_P}.server.agent_status",
    Kind.GAUGE,
    Unit.COUNT,
    "1 for how the agent's last check ended.",
    (*known.LABELS["server"], "state"),
)
_AGG_STATUS = MetricSpec(
    f"{_P}.backend.agg_server_status", Kind.GAUGE, Unit.COUNT, "Servers by state.", ("proxy", "state")
)
_AGG_CHECK = MetricSpec(
    f"{_P}.backend.agg_check_status", Kind.GAUGE, Unit.COUNT, "Servers by how their check ended.", ("proxy", "state")
)
_BY_PROTOCOL = {
    (what, of): MetricSpec(
        f"{_P}.{what}.{of}_by_protocol", Kind.COUNTER, Unit.EVENTS, f"{of.capitalize()} by HTTP version.",
        ("proxy", "protocol"),
    )
    for what in ("frontend",)
    for of in ("sessions", "requests")
}  # fmt: skip
_PROTOCOL_COLUMNS = {
    "sess_other": ("sessions", "other"), "h1sess": ("sessions", "h1"), "h2sess": ("sessions", "h2"),
    "h3sess": ("sessions", "h3"), "req_other": ("requests", "other"), "h1req": ("requests", "h1"),
    "h2req": ("requests", "h2"), "h3req": ("requests", "h3"),
}  # fmt: skip
_PROXY_INFO = MetricSpec(
    f"{_P}.proxy.info", Kind.GAUGE, Unit.COUNT, "1 with what a proxy is.", ("proxy", "type", "mode", "algorithm")
)
_MODULE = MetricSpec(
    f"{_P}.module.events",
    Kind.COUNTER,
    Unit.EVENTS,
    "Events of the modules h1, h2, h3, quic and ssl, by HAProxy's name; those that never happened are left out.",
    ("proxy", "type", "event"),
)
_MODULE_OPEN = MetricSpec(
    f"{_P}.module.open",
    Kind.GAUGE,
    Unit.COUNT,
    "Connections and streams that the modules have open, by HAProxy's name.",
    ("proxy", "type", "event"),
)
_BUILD = MetricSpec(f"{_P}.process.build_info", Kind.GAUGE, Unit.COUNT, "1 with its version.", ("version",))
_NODE = MetricSpec(f"{_P}.process.node", Kind.GAUGE, Unit.COUNT, "1 with the node's name.", ("node",))
_DESCRIPTION = MetricSpec(
    f"{_P}.process.description", Kind.GAUGE, Unit.COUNT, "1 with its description.", ("description",)
)
_RESOLVER = counters(f"{_P}.resolver", ("resolver", "nameserver"), known.RESOLVER, Unit.EVENTS)
_TABLE_SIZE = MetricSpec(f"{_P}.sticktable.size", Kind.GAUGE, Unit.COUNT, "Room of a stick table.", ("name", "type"))
_TABLE_USED = MetricSpec(f"{_P}.sticktable.used", Kind.GAUGE, Unit.COUNT, "Entries in it.", ("name", "type"))
_TABLE_LOCAL = MetricSpec(
    f"{_P}.sticktable.local_updates", Kind.COUNTER, Unit.EVENTS, "Changes made here, to be told to peers.",
    ("name", "type"),
)  # fmt: skip

EMITS: tuple[MetricSpec, ...] = (
    *(spec for spec, _ in known.SPECS.values()),
    *(spec for spec, _ in known.INFO_SPECS.values()),
    *_RESPONSES.values(), *_STATUS.values(), _CHECK_STATUS, _AGENT_STATUS, _AGG_STATUS, _AGG_CHECK,
    *_BY_PROTOCOL.values(), _PROXY_INFO, _MODULE, _MODULE_OPEN, _BUILD, _NODE, _DESCRIPTION, *_RESOLVER.values(),
    _TABLE_SIZE, _TABLE_USED, _TABLE_LOCAL,
)  # fmt: skip

_OBJECT_BY_TYPE = {"0": "frontend", "1": "backend", "2": "server", "3": "listener"}
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_STATES = ("UP", "DOWN", "MAINT", "DRAIN", "NOLB")
_STATE = {
    "UP": ServerState.UP, "NOLB": ServerState.DRAINING, "DRAIN": ServerState.DRAINING,
    "MAINT": ServerState.MAINTENANCE, "NO": ServerState.UNCHECKED,
}  # fmt: skip
_TABLE_LINE = re.compile(r"# table: (\S+), type: (\S+), size:(\d+), used:(\d+)")
_TYPO = {"TotalSplicdedBytesOut": "TotalSplicedBytesOut"}


def read(texts: Texts, *, native: bool = True) -> Reading:
    """Make a reading of HAProxy's texts; ``native`` adds its own metrics to the shared model."""
    issues = [Issue(e.code, str(e), part) for part, e in texts.items() if isinstance(e, CollectorsError)]
    table = rows_of_page(required(texts, "page")) if "page" in texts else _table(required(texts, "stat"))
    info = texts.get("info")
    if isinstance(info, str):
        table.info.update(_lines(info))
    unknown = table.unknown | (table.info.keys() - known.INFO_SPECS.keys() - known.INFO_TEXTS)
    samples: list[Sample] = []
    if native:
        for rows in (
            _native(table),
            _process(table.info, issues),
            _resolvers(texts, issues),
            _tables(texts, table, issues),
        ):
            samples += rows
    by_object: dict[str, list[Row]] = {what: [] for what in known.LABELS}
    for row in table.rows:
        by_object[row.what].append(row)
    servers = tuple(_server(row) for row in by_object["server"])
    members = by_backend(servers)
    return Reading(
        product="haproxy",
        version=table.info.get("Version", ""),
        uptime_s=_uptime(table.info.get("Uptime_sec", "")),
        frontends=tuple(
            Frontend(row.proxy, row.texts.get("status") != "STOP", _traffic(row)) for row in by_object["frontend"]
        ),
        backends=tuple(
            Backend(row.proxy, row.texts.get("status") != "DOWN" or serves(members.get(row.proxy, ())), _traffic(row))
            for row in by_object["backend"]
        ),
        servers=servers,
        samples=tuple(samples),
        issues=(*issues, *unknown_names("HAProxy", unknown)),
    )


def _uptime(text: str) -> float | None:
    return int(text) if text.isdigit() else None


def _table(text: str) -> Table:
    """Parse ``show stat`` and the CSV of the statistics page."""
    lines = text.lstrip().splitlines()
    if not lines or not lines[0].startswith("# pxname,svname,"):
        raise SourceUnavailable("this is not HAProxy's statistics as CSV; look at the address")
    header = lines[0][2:].split(",")
    table = Table()
    standard = header.index("-") if "-" in header else len(header)
    columns = {column for _, column in known.SPECS}
    table.unknown |= set(header[:standard]) - columns - known.TEXT_COLUMNS
    modules = tuple(name for name in header[standard + 1 :] if name)
    for cells in csv.reader(lines[1:]):
        values = {name: cell for name, cell in zip(header, cells, strict=False) if cell}
        what = _OBJECT_BY_TYPE.get(values.get("type", ""))
        if not cells:
            continue
        if what is None or len(cells) != len(header):
            table.malformed += 1
            continue
        try:
            table.rows.append(row_of(what, values, modules))
        except (ValueError, LookupError):
            table.malformed += 1
    if not table.rows:
        raise SourceUnavailable("HAProxy's statistics have no line; look whether its answer was cut")
    return table


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, separator, value = line.partition(": ")
        if separator:
            yield _TYPO.get(key, key), value.strip()


def _native(table: Table) -> Iterator[Sample]:
    for row in table.rows:
        labels = row.labels
        for column, value in row.numbers.items():
            declared = known.SPECS.get((row.what, column))
            if declared is not None:
                spec, scale = declared
                yield Sample(spec.name, value * scale, labels)
        yield from _states(row)
        if row.what != "listener":
            yield from _classes(row)
        if row.what in {"frontend", "backend"}:
            yield from _proxy(row)
    yield from _aggregates(table)


def _states(row: Row) -> Iterator[Sample]:
    status = _status(row)
    if status:
        yield Sample(_STATUS[row.what].name, 1, (*row.labels, status))
    for spec in (_CHECK_STATUS, _AGENT_STATUS):
        state = row.texts.get(spec.name.rpartition(".")[2], "").lstrip("* ")  # a star: the check is under way
        if row.what == "server" and state:
            yield Sample(spec.name, 1, (*row.labels, state))


def _classes(row: Row) -> Iterator[Sample]:
    for status_class in _CLASSES:
        column = f"hrsp_{status_class}"
        if column in row.numbers:
            yield Sample(_RESPONSES[row.what].name, row.numbers[column], (*row.labels, status_class))


def _proxy(row: Row) -> Iterator[Sample]:
    mode = row.texts.get("mode", "")
    if mode:
        yield Sample(_PROXY_INFO.name, 1, (row.proxy, row.what, mode, row.texts.get("algo", "")))
    if row.what == "frontend":
        for column, (of, protocol) in _PROTOCOL_COLUMNS.items():
            if column in row.numbers:
                yield Sample(_BY_PROTOCOL[row.what, of].name, row.numbers[column], (row.proxy, protocol))
    for event, count in row.modules.items():
        spec = _MODULE_OPEN if "_open_" in event else _MODULE
        yield Sample(spec.name, count, (row.proxy, row.what, event))


def _aggregates(table: Table) -> Iterator[Sample]:
    """Count a backend's servers by state and by check: the CSV's own columns for these hold one number at most."""
    states: dict[str, Counter[str]] = {}
    checks: dict[str, Counter[str]] = {}
    for row in table.rows:
        if row.what == "server":
            states.setdefault(row.proxy, Counter())[_status(row)] += 1
            if "check_status" in row.texts:
                checks.setdefault(row.proxy, Counter())[row.texts["check_status"].lstrip("* ")] += 1
    for proxy, count in states.items():
        for state in _STATES:
            yield Sample(_AGG_STATUS.name, count[state], (proxy, state))
    for proxy, count in checks.items():
        for state, servers in sorted(count.items()):
            yield Sample(_AGG_CHECK.name, servers, (proxy, state))


def _process(info: Mapping[str, str], issues: list[Issue]) -> Iterator[Sample]:
    for key, text in info.items():
        declared = known.INFO_SPECS.get(key)
        if declared is not None:
            spec, scale = declared
            try:
                yield Sample(spec.name, to_number(text) * scale)
            except ValueError:
                issues.append(Issue("malformed", "this line of the process's facts is no number", key))
    for spec, key in ((_BUILD, "Version"), (_NODE, "node"), (_DESCRIPTION, "description")):
        if info.get(key):
            yield Sample(spec.name, 1, (info[key],))


def _resolvers(texts: Texts, issues: list[Issue]) -> Iterator[Sample]:
    """Parse ``show resolvers``: sections, name servers in them, counters in these."""
    text = texts.get("resolvers")
    section = server = ""
    for line in text.splitlines() if isinstance(text, str) else ():
        name, _, value = line.strip().partition(":")
        if line.startswith("Resolvers section "):
            section = line.removeprefix("Resolvers section ").strip()
        elif name.startswith("nameserver "):
            server = name.removeprefix("nameserver ")
        elif name in _RESOLVER:
            if value.strip().isdigit():
                yield Sample(_RESOLVER[name].name, int(value), (section, server))
            else:
                issues.append(Issue("malformed", "a resolver's counter is no number", name))


def _tables(texts: Texts, table: Table, issues: list[Issue]) -> Iterator[Sample]:
    """Parse the first line of each stick table; entries, which may be people's addresses, are never asked for."""
    text = texts.get("tables")
    for line in text.splitlines() if isinstance(text, str) else ():
        match = _TABLE_LINE.match(line)
        if match:
            yield Sample(_TABLE_SIZE.name, int(match[3]), (match[1], match[2]))
            yield Sample(_TABLE_USED.name, int(match[4]), (match[1], match[2]))
        elif line.startswith("# table"):
            issues.append(Issue("malformed", "a stick table's line is not what its manual says", "tables"))
    for spec, part in ((_TABLE_SIZE, "size"), (_TABLE_USED, "used"), (_TABLE_LOCAL, "local_updates")):
        for labels, value in table.sticktables.get(part, {}).items():
            yield Sample(spec.name, value, labels)
    for (name, section, server), value in table.resolvers.items():
        yield Sample(_RESOLVER[name].name, value, (section, server))
    if table.malformed:
        issues.append(Issue("malformed", f"{table.malformed} lines of the statistics can't be read", "stat"))


def _server(row: Row) -> Server:
    status = row.texts.get("status", "")
    address = row.texts.get("addr", "")
    return Server(
        backend=row.proxy,
        name=row.name,
        state=_STATE.get(_word(status), ServerState.DOWN),
        traffic=_traffic(row),
        address=address if address.rpartition(":")[2].isdigit() else "",
        weight=row.numbers.get("weight"),
        downs=row.numbers.get("chkdown"),
        changed_s_ago=row.numbers.get("lastchg"),
        check_failures=row.numbers.get("chkfail"),
        backup=row.numbers.get("bck") == 1,
    )


def _traffic(row: Row) -> Traffic:
    numbers = row.numbers
    maybe = numbers.get
    errors = {"connect": "econ", "response": "eresp", "request": "ereq", "denied": "dreq", "internal": "eint"}
    phases = {"queue": "qtime", "connect": "ctime", "response": "rtime", "total": "ttime"}
    return Traffic(
        sessions=maybe("scur"),
        session_limit=maybe("slim"),
        connections=maybe("conn_tot" if row.what == "frontend" else "connect"),
        requests=maybe("req_tot", maybe("stot")),
        responses={c: numbers[f"hrsp_{c}"] for c in _CLASSES if f"hrsp_{c}" in numbers},
        bytes_in=maybe("bin"),
        bytes_out=maybe("bout"),
        errors={kind: numbers[column] for kind, column in errors.items() if column in numbers},
        retries=maybe("wretr"),
        queue=maybe("qcur"),
        latency={phase: numbers[column] / 1000 for phase, column in phases.items() if column in numbers},
    )


def _status(row: Row) -> str:
    """Return the state in one word; HAProxy's page calls a server that is not checked UP, and so do we."""
    word = _word(row.texts.get("status", ""))
    return "UP" if word == "NO" else word


def _word(status: str) -> str:
    return status.partition(" ")[0].upper()
