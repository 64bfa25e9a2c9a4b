"""What a probe is: one question to the server, and the metrics that its answer's columns are."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from collectors.errors import SourceRefused
from collectors.model.metric import Finding, Kind, MetricSpec, Sample, Unit

Row = Mapping[str, Any]


class Role(StrEnum):
    """On which servers a probe makes sense."""

    ANY = "any"
    PRIMARY = "primary"
    STANDBY = "standby"


class Database(Protocol):
    """Who answers: a connection, or a recording."""

    async def fetch(self, name: str, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        """Return the rows that the statement of the probe ``name`` leads to."""

    async def close(self) -> None:
        """Let go of the connection."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides which questions can be asked: asked anew each time, since servers are promoted and upgraded."""

    major: int
    standby: bool
    started: float
    """When the server was started, as Unix time."""
    database: str
    extensions: Mapping[str, tuple[str, str]]
    """Version and schema by name, of the extensions in the connected database."""
    relations: frozenset[str] = frozenset()
    """Which of the relations that some version of an extension brings, and probes need, there are."""
    top: int = 20
    """Most objects of a kind, such as tables, that are told of by name."""

    def schema(self, extension: str) -> str:
        """Return the quoted schema in which ``extension`` lives."""
        return '"' + self.extensions[extension][1].replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one answer means."""

    samples: tuple[Sample, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A column that is a metric.

    ``extra`` are labels that are the same for the whole column, after those of the probe. NULL is left out, unless
    ``unless`` says why the metric can be undefined.
    """

    column: str
    metric: str
    kind: Kind
    unit: Unit
    description: str
    extra: Mapping[str, str] = field(default_factory=dict)
    unless: str = ""
    aliases: tuple[str, ...] = ()
    scale: float = 1.0
    """Value of the alias per value of the metric."""


def gauge(
    column: str,
    metric: str,
    unit: Unit,
    description: str,
    *,
    unless: str = "",
    aliases: tuple[str, ...] = (),
    scale: float = 1.0,
    **extra: str,
) -> Value:
    """Declare a column that goes up and down; keywords are labels."""
    return Value(column, metric, Kind.GAUGE, unit, description, extra, unless, aliases, scale)


def counter(column: str, metric: str, unit: Unit, description: str, **extra: str) -> Value:
    """Declare a column that counts since statistics were reset; keywords are labels."""
    return Value(column, metric, Kind.COUNTER, unit, description, extra)


class Probe(Protocol):
    """One question, asked as often as it is cheap."""

    @property
    def name(self) -> str:
        """Name in issues, in the server's log and of the recording."""

    @property
    def emits(self) -> tuple[MetricSpec, ...]:
        """Metrics that may come of it."""

    def applies(self, facts: Facts) -> bool:
        """Tell whether this server can be asked."""

    async def read(self, database: Database, facts: Facts) -> Outcome:
        """Ask and tell what the answer means."""


@dataclass(frozen=True)
class Table:
    """A probe whose rows are label values and metrics.

    ``sql`` is the text by the first major version of PostgreSQL it is for: the highest one that is not above the
    server's counts, so that a probe that begins at 16 is not asked on 15. ``by`` maps label keys to columns.
    ``{schema}`` in the text stands for the schema of ``extension``, ``{top}`` for how many objects are named.
    """

    name: str
    sql: Mapping[int, str]
    values: tuple[Value, ...]
    by: Mapping[str, str] = field(default_factory=dict)
    role: Role = Role.ANY
    extension: str = ""
    extension_versions: tuple[str, str] = ("0", "9999")
    """First version of the extension that can be asked, and the first one that no longer can."""
    needs: str = ""
    """A relation without which there is nothing to ask, where no version says so."""
    findings: Callable[[Sequence[Row]], Iterable[Finding]] | None = None

    @property
    def emits(self) -> tuple[MetricSpec, ...]:
        specs = {v.metric: self._spec(v) for v in self.values}
        return tuple(specs.values())

    def applies(self, facts: Facts) -> bool:
        on_role = self.role is Role.ANY or facts.standby == (self.role is Role.STANDBY)
        present = not self.needs or self.needs in facts.relations
        return on_role and present and self._known(facts) and bool(self.text(facts.major))

    def _known(self, facts: Facts) -> bool:
        if not self.extension or self.extension not in facts.extensions:
            return not self.extension
        first, end = (version_key(text) for text in self.extension_versions)
        return first <= version_key(facts.extensions[self.extension][0]) < end

    def text(self, major: int) -> str:
        """Return the variant for servers of version ``major``, empty if there is none."""
        first = max((since for since in self.sql if since <= major), default=0)
        return self.sql.get(first, "")

    async def read(self, database: Database, facts: Facts) -> Outcome:
        text = self.text(facts.major).replace("{top}", str(facts.top))
        if self.extension:
            text = text.replace("{schema}", facts.schema(self.extension))
        rows = await database.fetch(self.name, text)
        found = tuple(self.findings(rows)) if self.findings else ()
        return Outcome(tuple(self._samples(rows)), found)

    def _samples(self, rows: Sequence[Row]) -> Iterator[Sample]:
        for row in rows:
            labels = tuple(label(row[column]) for column in self.by.values())
            for value in self.values:
                if value.column not in row:  # another version's column
                    continue
                number = to_number(row[value.column])
                if number is not None:
                    yield Sample(value.metric, number, (*labels, *value.extra.values()))
                elif value.unless:
                    yield Sample(value.metric, None, (*labels, *value.extra.values()), reason=value.unless)

    def _spec(self, value: Value) -> MetricSpec:
        return MetricSpec(
            value.metric,
            value.kind,
            value.unit,
            value.description,
            labels=(*self.by, *(key.replace("__", ".") for key in value.extra)),
            aliases=value.aliases,
            scale=value.scale,
            nullable=bool(value.unless),
        )


def version_key(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``2.23.0-dev``, to compare it with another."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def to_number(value: object) -> float | None:
    """Return a column's value as a number; None for NULL, infinity and not-a-number, which PostgreSQL has too."""
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SourceRefused("the answer has a text where a number belongs") from None
    return number if math.isfinite(number) else None


def label(value: object) -> str:
    """Return a column's value as a label; NULL is an empty text, as for shared objects that are in no database."""
    return "" if value is None else str(value)[:200]


def since(column: str) -> str:
    """Return SQL for the seconds since a time, never negative; NULL if it never was, which ``greatest`` alone drops."""
    return f"CASE WHEN {column} IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - {column})) END"
