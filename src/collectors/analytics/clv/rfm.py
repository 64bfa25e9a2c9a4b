"""From purchases to recency, frequency and monetary value, per customer.

What one customer buys on one day is one purchase occasion. The first occasion makes somebody a customer; repeat
occasions are what the models count, and the spend on these alone is what the spend model learns from, as its source
does (Fader & Hardie 2013, note 025). Amounts are integers in minor units of one currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collectors.analytics.clv.fit import Floats, Ints
from collectors.analytics.clv.history import Histories, histories


@dataclass(frozen=True)
class Summary:
    """Customers as of the end of day ``end``; all arrays of shape (customers,).

    ``first`` and ``last`` are the days of the first and the last occasion, ``repeats`` counts the occasions after the
    first, ``repeat_minor`` is the spend on these.
    """

    end: int
    first: Ints
    last: Ints
    repeats: Ints
    repeat_minor: Ints

    @cached_property
    def rows(self) -> Histories:
        """The unique histories, in days; see ``histories``."""
        return histories(self.repeats, self.last - self.first, self.end - self.first)

    @cached_property
    def mean_spend(self) -> Floats:
        """Mean spend per repeat occasion in minor units, 0 where there was none."""
        return np.asarray(self.repeat_minor / np.maximum(self.repeats, 1))

    def row_values(self, by_customer: Ints) -> Ints:
        """Return for each unique row a value that its customers share."""
        values = np.zeros(len(self.rows.x), dtype=np.int64)
        values[self.rows.row] = by_customer
        return values


@dataclass(frozen=True)
class Occasions:
    """Purchase occasions, ordered by customer and day; ``customer`` are codes from 0, all of shape (occasions,)."""

    customer: Ints
    day: Ints
    minor: Ints

    def before(self, day: int) -> Occasions:
        """Return the occasions before ``day``."""
        chosen = self.day < day
        return Occasions(self.customer[chosen], self.day[chosen], self.minor[chosen])


def occasions(customer: Ints, day: Ints, minor: Ints) -> Occasions:
    """Merge purchases, in any order, into occasions; shape (purchases,) each."""
    order = np.lexsort((day, customer))
    customer, day, minor = customer[order], day[order], minor[order]
    same = np.empty(len(order), dtype=np.bool_)
    same[:1] = False
    same[1:] = (np.diff(customer) == 0) & (np.diff(day) == 0)
    starts = np.flatnonzero(~same)
    total = np.add.reduceat(minor, starts) if len(starts) else minor
    return Occasions(customer[starts], day[starts], total)


def summarise(bought: Occasions, end: int) -> Summary:
    """Summarise the occasions up to and including day ``end``."""
    seen = bought.before(end + 1)
    starts = _starts(seen.customer)
    stops = np.append(starts[1:], len(seen.customer))[: len(starts)]
    total = np.add.reduceat(seen.minor, starts) if len(starts) else seen.minor
    return Summary(
        end=end,
        first=seen.day[starts],
        last=seen.day[stops - 1],
        repeats=stops - starts - 1,
        repeat_minor=total - seen.minor[starts],
    )


def _starts(customer: Ints) -> Ints:
    """Return where each customer's occasions begin."""
    changes = np.empty(len(customer), dtype=np.bool_)
    changes[:1] = True
    changes[1:] = np.diff(customer) != 0
    return np.flatnonzero(changes)
