"""The portable subset of Ibis: what gives the same result on DuckDB, Spark and Sail, checked before anything runs.

Ibis compiles more than the engines agree on. The rules below name what silently differs between them, or is missing
from one, and what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ibis.expr.operations as ops
import ibis.expr.types as ir

from collectors.errors import BadInput
from collectors.lake.expression import days_read


@dataclass(frozen=True, slots=True)
class Violation:
    """One use of something outside the portable subset: what it is, and what to write instead."""

    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.found}: {self.instead}"


def violations(expression: ir.Table) -> tuple[Violation, ...]:
    """Return what in ``expression`` is outside the portable subset, each kind once; empty if nothing is."""
    root = expression.op()
    found = [v for node in root.find(ops.Node) for rule in _RULES for v in rule(node)]
    try:
        days_read(expression)
    except BadInput as error:
        found.append(Violation("a foreign source", str(error)))
    return tuple(dict.fromkeys(found))


_BANNED: dict[type[Any] | tuple[type[Any], ...], str] = {
    (ops.First, ops.Last): "engines order ties differently; use argmin or argmax by the column of the order",
    ops.Arbitrary: "engines pick different rows; use min, max, argmin or argmax (for pivot_wider: conditional counts)",
    ops.Mode: "not on every engine; count by value, then keep row_number() == 0",
    ops.TimestampBucket: "not on every engine; group by ts.truncate('s').epoch_seconds() // width * width",
    (ops.TimestampDelta, ops.TimeDelta): "engines count boundaries or elapsed units; subtract epoch_seconds()",
    ops.Correlation: "engines have the sample or the population kind; write it from means and std(how='pop')",
    (ops.Hash, ops.HashBytes, ops.HexDigest): "each engine hashes in its own way; hash when the event is taken in",
    (ops.ApproxCountDistinct, ops.ApproxMedian, ops.ApproxQuantile, ops.ApproxMultiQuantile): (
        "approximations differ between engines; use nunique() or quantile()"
    ),
    (ops.BitAnd, ops.BitOr, ops.BitXor): "not on Spark; make the values distinct and use sum()",
    ops.ExtractMicrosecond: "not on Spark; use millisecond()",
    ops.WindowAggregate: "only stream engines have it; group by epoch_seconds() // width * width",
    (ops.TimestampNow, ops.DateNow): "two runs would differ; use a literal made from the window",
    (ops.RandomScalar, ops.RandomUUID, ops.Sample): "two runs would differ; select by a column's value",
    ops.ScalarParameter: "nothing binds it; write the value as a literal",
}


def _banned(node: ops.Node) -> Iterator[Violation]:
    for kinds, instead in _BANNED.items():
        if isinstance(node, kinds):
            yield Violation(type(node).__name__, instead)


def _mean_of_float(node: ops.Node) -> Iterator[Violation]:
    if isinstance(node, ops.Mean) and not node.arg.dtype.is_float64():
        yield Violation(f"mean of {node.arg.dtype}", "engines return other types; cast('float64') before mean()")


def _arithmetic_in_float(node: ops.Node) -> Iterator[Violation]:
    """Literals with a fraction are decimals to some engines, and so is any quotient with a literal."""
    if not isinstance(node, _ARITHMETIC):
        return
    for one, other in ((node.left, node.right), (node.right, node.left)):
        if not isinstance(one, ops.Literal) or other.dtype.is_float64() or other.dtype.is_interval():
            continue
        quotient = isinstance(node, ops.Divide) and not isinstance(node, ops.FloorDivide)
        if quotient or one.dtype.is_floating() or one.dtype.is_decimal():
            yield Violation(
                f"{type(node).__name__} of {other.dtype} and a literal",
                "some engines compute in decimals; cast('float64') before arithmetic with a literal",
            )


def _days_between_dates(node: ops.Node) -> Iterator[Violation]:
    """Between dates only whole days are the same to all; epoch_days() is such a difference."""
    if isinstance(node, ops.DateDelta) and not (isinstance(node.part, ops.Literal) and node.part.value == "day"):
        yield Violation("DateDelta", "engines count boundaries or elapsed units; subtract epoch_days()")


def _boolean_by_integer(node: ops.Node) -> Iterator[Violation]:
    to_number = isinstance(node, ops.Cast) and (node.to.is_floating() or node.to.is_decimal())
    if to_number and node.arg.dtype.is_boolean():
        yield Violation("cast of a boolean to a fraction", "write cast('int32').cast('float64')")


def _whole_seconds(node: ops.Node) -> Iterator[Violation]:
    if isinstance(node, ops.ExtractEpochSeconds):
        cut = node.arg
        if not (isinstance(cut, ops.TimestampTruncate) and cut.unit.short in _WHOLE_SECONDS):
            yield Violation("epoch_seconds", "DuckDB keeps the fraction; write truncate('s').epoch_seconds()")


def _range_over_integers(node: ops.Node) -> Iterator[Violation]:
    in_range = isinstance(node, ops.WindowFunction) and node.how == "range"
    if in_range and not all(key.arg.dtype.is_integer() for key in node.order_by):
        yield Violation("a range window over no integer", "order it by epoch_seconds() or another integer")


def _plain_join(node: ops.Node) -> Iterator[Violation]:
    if isinstance(node, ops.JoinLink) and node.how == "asof":
        yield Violation("asof join", "not on every engine; join on equality and keep row_number() == 0 by time")


_ARITHMETIC = (ops.Add, ops.Subtract, ops.Multiply, ops.Divide, ops.FloorDivide, ops.Modulus, ops.Power)
_WHOLE_SECONDS = frozenset({"s", "m", "h", "D", "W", "M", "Q", "Y"})
_RULES: tuple[Callable[[ops.Node], Iterator[Violation]], ...] = (
    _banned,
    _mean_of_float,
    _arithmetic_in_float,
    _days_between_dates,
    _boolean_by_integer,
    _whole_seconds,
    _range_over_integers,
    _plain_join,
)
