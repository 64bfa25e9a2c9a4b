"""HAProxy's statistics as rows, whichever way they were told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.catalog.performance.balancer import haproxy_fields as known

NUMBERS = frozenset(
    {column for _, column in known.SPECS}
    | {f"hrsp_{c}" for c in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")}
    | {"sess_other", "h1sess", "h2sess", "h3sess", "req_other", "h1req", "h2req", "h3req"}
)
"""Columns that are numbers."""


@dataclass(slots=True)
class Row:
    """One frontend, backend, server or listener, by HAProxy's column names; what is empty is left out."""

    what: str
    proxy: str
    name: str
    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    modules: dict[str, float] = field(default_factory=dict)
    """Counters of the modules that are not zero."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels: the proxy, and the name of a server or listener."""
        return (self.proxy, self.name) if self.what in {"server", "listener"} else (self.proxy,)

    def put(self, column: str, text: str) -> None:
        """Take in a cell; ``ValueError`` if it must be a number and is none. Less than zero is HAProxy's never."""
        if column not in NUMBERS:
            self.texts[column] = text
            return
        value = to_number(text)
        if value >= 0:
            self.numbers[column] = value


@dataclass(slots=True)
class Table:
    """All rows, and what came along with them."""

    rows: list[Row] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    malformed: int = 0
    """Lines that can't be read."""
    sticktables: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    resolvers: dict[tuple[str, str, str], float] = field(default_factory=dict)


def row_of(what: str, cells: Mapping[str, str], modules: tuple[str, ...]) -> Row:
    """Make a row of a line of CSV; ``ValueError`` if a cell is no number and must be one."""
    row = Row(what, cells["pxname"], cells["svname"])
    for column, text in cells.items():
        row.put(column, text)
    row.modules = {name: to_number(row.texts[name]) for name in modules if row.texts.get(name, "0") != "0"}
    return row


def to_number(text: str) -> float:
    """Return a number, written in tens or as ``0x…``; ``ValueError`` if it is none, or not finite."""
    try:
        return int(text)
    except ValueError:
        value = int(text, 16) if text.startswith("0x") else float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
