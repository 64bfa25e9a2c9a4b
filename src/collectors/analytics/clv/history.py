"""Purchase histories as the models see them: how many repeat purchases, when the last one, how long observed.

Unique rows: a likelihood depends on a customer only through (x, t_x, T), and with times in whole days a million
customers share a tenth as many of them. Everything is computed once per unique row and weighted by its count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from collectors.analytics.clv.fit import Floats, Ints
from collectors.analytics.refusal import Reason, Refusal

MIN_REPEATERS = 10
"""Customers who came back, below which a model with four parameters is not even tried."""

_MAX_KEY = 2**62


@dataclass(frozen=True)
class Histories:
    """Unique purchase histories.

    ``x`` counts repeat purchases (the first is not one), ``recency`` is the time from the first purchase to the last,
    ``age`` that from the first purchase to the end of observation, in the same unit; ``count`` is how many customers
    have the history, all of shape (rows,). ``row`` maps each customer to a row, shape (customers,).
    """

    x: Ints
    recency: Floats
    age: Floats
    count: Ints
    row: Ints

    @property
    def customers(self) -> int:
        """Number of customers."""
        return int(self.count.sum())

    @cached_property
    def by_x(self) -> tuple[Ints, Ints, Ints]:
        """Distinct numbers of purchases, the customers who have each, and for each row which number it has."""
        values, index = np.unique(self.x, return_inverse=True)
        customers = np.bincount(index, weights=self.count, minlength=len(values))
        return values, customers.astype(np.int64), index

    def spread(self, by_row: Floats) -> Floats:
        """Return a value for each customer from one for each row."""
        return by_row[self.row]


def histories(x: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> Histories:
    """Find the unique rows among customers, shape (customers,) each.

    Raises ValueError where a history is impossible: negative, last purchase after the end, or repeat purchases in no
    time (times are those of purchase *occasions*: merge what falls on one day).
    """
    columns = [np.asarray(column) for column in (x, recency, age)]
    bought, latest, old = columns
    if not (len(bought) == len(latest) == len(old)):
        raise ValueError("x, recency and age must be of the same length")
    possible = (bought >= 0) & (latest >= 0) & (latest <= old) & np.isfinite(old) & ((bought > 0) == (latest > 0))
    if not possible.all():  # also where something is NaN, to which no comparison applies
        raise ValueError("a history needs 0 <= recency <= age < infinity, and recency > 0 exactly where x > 0")
    key = np.zeros(len(bought), dtype=np.int64)
    for column in columns:
        code = _codes(column)
        if _size(key) * _size(code) >= _MAX_KEY:
            key, code = (np.unique(part, return_inverse=True)[1] for part in (key, code))
        key = key * _size(code) + code
    _, first, row, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    return Histories(
        x=bought[first].astype(np.int64),
        recency=latest[first].astype(np.float64),
        age=old[first].astype(np.float64),
        count=count.astype(np.int64),
        row=row.astype(np.int64),
    )


def enough(rows: Histories) -> Refusal | None:
    """Say why a model of four parameters cannot be fitted, if so."""
    if rows.customers == 0:
        return Refusal(Reason.NO_SUBJECTS, "there are no customers")
    repeaters = int(rows.count[rows.x > 0].sum())
    if repeaters == 0:
        return Refusal(
            Reason.NO_EVENTS, "no customer came back, so nothing tells how often they buy or when they leave"
        )
    if repeaters < MIN_REPEATERS:
        return Refusal(Reason.TOO_FEW, f"only {repeaters} customers came back; {MIN_REPEATERS} are needed")
    if len(rows.x) == 1:
        return Refusal(Reason.CONSTANT, "all customers have the same history, so nothing tells how they differ")
    return None


def _codes(column: Floats | Ints) -> Ints:
    """Return non-negative integers that tell the values of ``column`` apart."""
    if np.issubdtype(column.dtype, np.integer):
        return column.astype(np.int64)
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def _size(code: Ints) -> int:
    return int(code.max(initial=0)) + 1
