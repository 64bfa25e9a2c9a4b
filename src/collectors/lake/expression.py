"""What an author's expression reads: only the lake's tables, and of these only the days it can need."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import ibis.expr.operations as ops
import ibis.expr.types as ir

from collectors.contract.tables import events, rollup
from collectors.errors import BadInput
from collectors.lake.engine import ALWAYS, Days
from collectors.model.event_types import EVENT_TYPES
from collectors.model.rollups import ROLLUPS

_PLAIN = (
    ops.UnboundTable, ops.DummyTable, ops.Project, ops.Filter, ops.Sort, ops.Limit, ops.Distinct, ops.Aggregate,
    ops.DropColumns, ops.DropNull, ops.FillNull, ops.JoinChain, ops.JoinReference, ops.SelfReference, ops.Union,
    ops.Intersection, ops.Difference, ops.TableUnnest,
)  # fmt: skip
"""Relations that take their rows from other relations or from literals."""

_MIRRORED = {
    ops.Less: ops.Greater,
    ops.LessEqual: ops.GreaterEqual,
    ops.Greater: ops.Less,
    ops.GreaterEqual: ops.LessEqual,
}


def known_table(name: str) -> ir.Table | None:
    """Return the unbound table called ``name`` if the lake has one."""
    if name in EVENT_TYPES:
        return events(name)
    return rollup(name) if name in ROLLUPS else None


def days_read(expression: ir.Table) -> Mapping[str, Days]:
    """Return the tables ``expression`` reads and the days it can need of each.

    Days follow from comparisons of ``event_time``, or of a rollup's period, with a literal, in filters that stand
    on the table itself or on a selection of its columns; a use without such a filter needs every day. Raises
    ``BadInput`` if the expression reads anything but the tables of ``contract.tables``.
    """
    return _days_read(expression.op())


@lru_cache(maxsize=16)
def _days_read(root: ops.Relation) -> Mapping[str, Days]:
    _refuse_foreign(root)
    users: dict[Any, list[Any]] = {}
    for node in root.find(ops.Node):
        if isinstance(node, ops.Field):
            continue  # a value taken from a relation, whose user is already counted
        for child in node.__children__:
            if isinstance(child, ops.Relation):
                users.setdefault(child, []).append(node)
    return {t.name: _days_needed(t, _layout_column(t.name), users) for t in root.find(ops.UnboundTable)}


def _refuse_foreign(root: ops.Relation) -> None:
    """Raise ``BadInput`` unless every row comes from the lake's tables and every operation is Ibis' own."""
    for node in root.find((ops.Relation, ops.ScalarUDF, ops.AggUDF)):
        if not isinstance(node, _PLAIN):
            raise BadInput(
                f"{type(node).__name__} can't be used on the lake; write the query with Ibis over contract.tables"
            )
        if isinstance(node, ops.UnboundTable):
            known = known_table(node.name)
            if known is None or known.op() != node:
                raise BadInput(f"{node.name[:64]!r} is not a table of the lake; get tables from contract.tables")


def _layout_column(table: str) -> str:
    """Return the column whose days the files of ``table`` are known by."""
    return ROLLUPS[table].period if table in ROLLUPS else "event_time"


def _days_needed(relation: Any, column: str, users: Mapping[Any, list[Any]]) -> Days:
    """Return the days that the users of ``relation`` can see, ``column`` being its event time or period."""
    needed: Days | None = None
    for user in users.get(relation, []):
        days = ALWAYS
        if isinstance(user, ops.Filter):
            days = _days_needed(user, column, users)
            for predicate in user.predicates:
                days = days.both(_days_admitted(predicate, relation, column))
        elif isinstance(user, ops.Project):
            for name, value in user.values.items():
                if _is_column(value, relation, column):
                    days = days.both(_days_needed(user, name, users))
        needed = days if needed is None else needed.hull(days)
    return ALWAYS if needed is None else needed


def _days_admitted(predicate: Any, relation: Any, column: str) -> Days:
    """Return the days of ``column`` on which ``predicate`` may hold; ``ALWAYS`` if it doesn't say.

    Ibis keeps the parts of a conjunction as predicates of their own.
    """
    if isinstance(predicate, ops.Between) and _is_column(predicate.arg, relation, column):
        return _bounded(ops.GreaterEqual, predicate.lower_bound).both(_bounded(ops.LessEqual, predicate.upper_bound))
    if isinstance(predicate, ops.Comparison):
        kind = type(predicate)
        if _is_column(predicate.left, relation, column):
            return _bounded(kind, predicate.right)
        if _is_column(predicate.right, relation, column):
            return _bounded(_MIRRORED.get(kind, kind), predicate.left)
    return ALWAYS


def _is_column(value: Any, relation: Any, column: str) -> bool:
    return isinstance(value, ops.Field) and value.rel == relation and value.name == column


def _bounded(kind: type[Any], bound: Any) -> Days:
    """Return the days on which a column may stand in the relation ``kind`` to ``bound``."""
    day = _literal_day(bound, just_before=kind is ops.Less)
    if day is None or kind not in (ops.Equals, *_MIRRORED):
        return ALWAYS
    return Days(
        first=date.min if kind in (ops.Less, ops.LessEqual) else day,
        last=date.max if kind in (ops.Greater, ops.GreaterEqual) else day,
    )


def _literal_day(bound: Any, *, just_before: bool) -> date | None:
    """Return the UTC day of a literal, or of the instant or day just before it; None if it is no such literal."""
    value = bound.value if isinstance(bound, ops.Literal) else None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return None  # in which zone it is meant depends on the engine
        value = value.astimezone(UTC)
        return (value - timedelta(microseconds=1)).date() if just_before else value.date()
    if isinstance(value, date):
        return value - timedelta(days=1) if just_before else value
    return None
