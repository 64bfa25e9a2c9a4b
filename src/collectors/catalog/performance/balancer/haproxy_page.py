"""HAProxy's Prometheus page, turned back into the columns of its CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping

from collectors.catalog.performance.balancer import haproxy_fields as known
from collectors.catalog.performance.balancer.haproxy_table import Row, Table, to_number
from collectors.errors import SourceUnavailable

_LINE = re.compile(r"haproxy_([a-z]+)_(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_STATES = {"status": "status", "check_status": "check_status", "agent_status": "agent_status"}
_TEXT_INFO = {"build_info": ("version", "Version"), "node": ("node", "node"), "description": ("desc", "description")}
_RESOLVER = {"send_error": "snd_error"}
_NAMES = {"frontend": "FRONTEND", "backend": "BACKEND"}
_COUNTED_HERE = frozenset({"agg_server_status", "agg_server_check_status", "agg_check_status"})


def rows_of_page(text: str) -> Table:
    """Parse the page; ``SourceUnavailable`` if it holds nothing of HAProxy."""
    table = Table()
    rows: dict[tuple[str, str, str], Row] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            table.malformed += line.startswith("haproxy_")
        elif match[4] != "NaN":  # the page's word for an empty column
            try:
                _take(table, rows, match[1], match[2], dict(_LABEL.findall(match[3] or "")), match[4])
            except ValueError:
                table.malformed += 1
    table.rows = list(rows.values())
    if not table.rows:
        raise SourceUnavailable("this is not HAProxy's Prometheus page; look at the address")
    return table


def _take(
    table: Table, rows: dict[tuple[str, str, str], Row], what: str, name: str, labels: Mapping[str, str], value: str
) -> None:
    """Take in one line."""
    if what in known.LABELS and "proxy" in labels:
        key = (what, labels["proxy"], labels.get("server") or labels.get("listener") or _NAMES.get(what, ""))
        row = rows.get(key)
        if row is None:
            row = rows[key] = Row(*key)
        if not _put(row, name, labels, value):
            table.unknown.add(f"{what}_{name}")
    elif what == "process":
        _put_info(table, name, labels, value)
    elif what == "sticktable":
        table.sticktables.setdefault(name, {})[labels.get("name", ""), labels.get("type", "")] = to_number(value)
    elif what == "resolver" and _RESOLVER.get(name, name) in known.RESOLVER:
        at = (_RESOLVER.get(name, name), labels.get("resolver", ""), labels.get("nameserver", ""))
        table.resolvers[at] = to_number(value)
    else:
        table.unknown.add(f"{what}_{name}")


def _put(row: Row, name: str, labels: Mapping[str, str], value: str) -> bool:
    """Take in one value; False if its name is not known."""
    if name in _STATES:
        if to_number(value) == 1:
            row.put(_STATES[name], labels.get("state", ""))
        return True
    if name == "http_responses_total":
        row.put(f"hrsp_{labels.get('code', 'other')}", value)
        return True
    if name in _COUNTED_HERE:
        return True
    found = known.COLUMNS.get((row.what, name))
    if found is None:
        return False
    column, divisor = found
    row.put(column, value if divisor == 1.0 else repr(round(to_number(value) / divisor, 6)))
    return True


def _put_info(table: Table, name: str, labels: Mapping[str, str], value: str) -> None:
    if name in _TEXT_INFO:
        label, key = _TEXT_INFO[name]
        if labels.get(label):
            table.info[key] = labels[label]
    elif name in known.INFO_KEYS:
        table.info[known.INFO_KEYS[name]] = str(round(to_number(value)))
    else:
        table.unknown.add(f"process_{name}")
