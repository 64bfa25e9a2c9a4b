"""The statements that cost most, by ``pg_stat_statements``.

Two questions, because a server that has seen 10,000 statements keeps megabytes of texts in a file: the numbers come
without texts, and a text is asked for once, when a statement first is among the top ones. Texts are normalised again:
the extension leaves constants in utility statements (a password in ``ALTER ROLE``), and counts ``IN`` lists of
different lengths as different statements. What has the same normal form is added up. Which statements are told of by
name changes with time, so their counters come and go; the sums are of all statements that the extension holds.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from collectors.catalog.performance.database.probe import Database, Facts, Outcome, Probe, Row, Table, gauge, label
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_TOKENS = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<value>[eE]'(?:[^'\\]|''|\\.|\\\Z)*(?:'|\Z)
      | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*(?:'|\Z)
      | \$(?P<tag>[A-Za-z_]*)\$.*?(?:\$(?P=tag)\$|\Z)
      | \$\d+ | (?<![\w$"])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<name>"(?:[^"]|"")*"|[\w$]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")
_ROWS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")
_SECRET_BEARING = re.compile(
    r"^\s*(create|alter)\s+(role|user|group|server|subscription)\b.*|^\s*(create|alter)\s+user\s+mapping\b.*",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST = 200
_TEXTS = 2_000


def normalise(text: str) -> str:
    """Return a statement without constants, comments and line ends, its lists shortened, at most 200 characters."""
    bearer = _SECRET_BEARING.match(text)
    if bearer:
        # A text cut in the middle of a literal can't be told from one that is whole, so nothing but the command stays.
        return " ".join(text.split()[:2]).lower() + " …"
    parts = (
        " " if token.lastgroup == "space" else "?" if _is_value(token) else token[0] for token in _TOKENS.finditer(text)
    )
    flat = " ".join("".join(parts).split())
    flat = _ROWS.sub("(?)", _LIST.sub("(?)", flat))
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"


def _is_value(token: re.Match[str]) -> bool:
    return token["value"] is not None


def query_id(text: str) -> str:
    """Return a short name of a normalised statement, the same on every server."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_LABELS = ("db.namespace", "postgresql.query_id", "db.query.text")
_MEASURES: Mapping[str, tuple[MetricSpec, tuple[str, ...]]] = {
    column: (MetricSpec(f"postgresql.query.{name}", Kind.GAUGE, unit, text, labels=(*_LABELS, *keys)), values)
    for column, name, unit, text, keys, values in (
        ("calls", "calls", Unit.OPERATIONS, "Times the statement was run.", (), ()),
        ("seconds", "execution.time", Unit.SECONDS, "Time its execution took.", (), ()),
        ("plan_seconds", "planning.time", Unit.SECONDS, "Time planning took; needs track_planning.", (), ()),
        ("rows", "rows", Unit.COUNT, "Rows it returned or changed.", (), ()),
        ("hit", "blocks", Unit.COUNT, "Blocks it used, by how.", ("use",), ("hit",)),
        ("read", "blocks", Unit.COUNT, "Blocks it used, by how.", ("use",), ("read",)),
        ("dirtied", "blocks", Unit.COUNT, "Blocks it used, by how.", ("use",), ("dirtied",)),
        ("written", "blocks", Unit.COUNT, "Blocks it used, by how.", ("use",), ("written",)),
        ("temporary", "blocks", Unit.COUNT, "Blocks it used, by how.", ("use",), ("temporary",)),
        ("read_seconds", "io.time", Unit.SECONDS, "Time of its I/O.", ("operation",), ("read",)),
        ("write_seconds", "io.time", Unit.SECONDS, "Time of its I/O.", ("operation",), ("write",)),
        ("wal_bytes", "wal", Unit.BYTES, "WAL it wrote.", (), ()),
    )
}
_SUMS: Mapping[str, MetricSpec] = {
    column: MetricSpec(f"postgresql.queries.{name}", Kind.GAUGE, unit, text)
    for column, name, unit, text in (
        ("all_statements", "known", Unit.COUNT, "Statements that the extension holds."),
        ("all_calls", "calls", Unit.OPERATIONS, "Runs of all statements it holds."),
        ("all_seconds", "execution.time", Unit.SECONDS, "Time of all statements it holds."),
        ("all_rows", "rows", Unit.COUNT, "Rows of all statements it holds."),
    )
}
_SHARE = MetricSpec(
    "postgresql.queries.named_share",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of the time of all statements that those told of by name have.",
    nullable=True,
)

_NUMBERS = """
WITH held AS MATERIALIZED (
  SELECT dbid, queryid, sum(calls) AS calls, sum(total_exec_time) / 1000 AS seconds,
         sum(total_plan_time) / 1000 AS plan_seconds, sum(rows) AS rows, sum(shared_blks_hit) AS hit,
         sum(shared_blks_read) AS read, sum(shared_blks_dirtied) AS dirtied, sum(shared_blks_written) AS written,
         sum(temp_blks_read + temp_blks_written) AS temporary, sum({io}read_time) / 1000 AS read_seconds,
         sum({io}write_time) / 1000 AS write_seconds, sum(wal_bytes) AS wal_bytes
  FROM {schema}.pg_stat_statements(false) WHERE queryid IS NOT NULL GROUP BY dbid, queryid),
ranked AS (
  SELECT held.*, row_number() OVER (ORDER BY seconds DESC, queryid) AS by_time,
         row_number() OVER (ORDER BY calls DESC, queryid) AS by_calls,
         row_number() OVER (ORDER BY hit + read + written + temporary DESC, queryid) AS by_io,
         count(*) OVER () AS all_statements, sum(calls) OVER () AS all_calls, sum(seconds) OVER () AS all_seconds,
         sum(rows) OVER () AS all_rows
  FROM held)
SELECT d.datname, ranked.* FROM ranked LEFT JOIN pg_database d ON d.oid = dbid
WHERE least(by_time, by_calls, by_io) <= {top} ORDER BY by_time"""


class Statements:
    """Asks for the top statements; remembers the texts of those it has met."""

    name = "statements"
    emits: tuple[MetricSpec, ...] = (
        *{spec.name: spec for spec, _ in _MEASURES.values()}.values(),
        *_SUMS.values(),
        _SHARE,
    )

    def __init__(self) -> None:
        self._texts: OrderedDict[int, str] = OrderedDict()

    def applies(self, facts: Facts) -> bool:
        return facts.major >= 13 and "pg_stat_statements" in facts.extensions

    async def read(self, database: Database, facts: Facts) -> Outcome:
        schema = facts.schema("pg_stat_statements")
        io = "shared_blk_" if facts.major >= 17 else "blk_"
        text = _NUMBERS.replace("{schema}", schema).replace("{top}", str(facts.top)).replace("{io}", io)
        rows = await database.fetch(self.name, text)
        unknown = sorted({int(row["queryid"]) for row in rows} - self._texts.keys())
        if unknown:
            found = await database.fetch(
                "statement_texts",
                f"""SELECT DISTINCT ON (queryid) queryid, left(query, 4000) AS query
                FROM {schema}.pg_stat_statements(true) WHERE queryid = ANY (%(ids)s::bigint[])""",  # noqa: S608  # quoted
                {"ids": unknown},
            )
            for row in found:
                self._texts[int(row["queryid"])] = normalise(label_text(row["query"]))
        for row in rows:
            if int(row["queryid"]) in self._texts:
                self._texts.move_to_end(int(row["queryid"]))
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return Outcome(tuple(self._samples(rows)))

    def _samples(self, rows: Sequence[Row]) -> Iterator[Sample]:
        sums: dict[tuple[str, str], dict[str, float]] = {}
        for row in rows:
            text = self._texts.get(int(row["queryid"]), "<hidden>")
            mine = sums.setdefault((label(row["datname"]), text), dict.fromkeys(_MEASURES, 0.0))
            for column in _MEASURES:
                mine[column] += float(row[column] or 0)
        for (database, text), values in sums.items():
            for column, (spec, extra) in _MEASURES.items():
                yield Sample(spec.name, values[column], (database, query_id(text), text, *extra))
        for column, spec in _SUMS.items():
            yield Sample(spec.name, float(rows[0][column] or 0) if rows else 0.0)
        whole = float(rows[0]["all_seconds"] or 0) if rows else 0.0
        if whole > 0:
            yield Sample(_SHARE.name, sum(values["seconds"] for values in sums.values()) / whole)
        else:
            yield Sample(_SHARE.name, None, reason="no statement was run yet")


def label_text(value: object) -> str:
    """Return a statement's text; what may not be read comes as NULL or as a remark in its place."""
    return "<hidden>" if value is None or value == "<insufficient privilege>" else str(value)


_HOLDS = Table(
    "statements_held",
    {
        14: """
        SELECT dealloc, extract(epoch FROM stats_reset) AS reset, current_setting('pg_stat_statements.max')::int AS most
        FROM {schema}.pg_stat_statements_info"""
    },
    (
        gauge("dealloc", "postgresql.queries.forgotten", Unit.OPERATIONS, "Times rare statements were thrown out."),
        gauge("reset", "postgresql.queries.stats_reset", Unit.SECONDS, "When it was reset, as Unix time."),
        gauge("most", "postgresql.queries.limit", Unit.COUNT, "Statements it can hold."),
    ),
    extension="pg_stat_statements",
)


def probes() -> tuple[Probe, ...]:
    """Return the probes; they remember texts, so each collector has its own."""
    return (Statements(), _HOLDS)
