"""Subscriptions as the contractual models see them: how many renewals came due, and at which a customer left.

A contract renews on the same day of every period; in a month without that day, on its last day. Leaving within a
period is leaving at its end. Only renewals that have come due count, whoever has already announced to leave at a later
one: counting those early would compare them with customers who have not had to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.clv.fit import Ints
from collectors.analytics.clv.sbg import Renewals

MONTHS = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}
DAYS = {"day": 1, "week": 7}
DAYS_A_YEAR = 365.2425
NEVER = np.int64(2**62)


def period_days(interval: str) -> float:
    """Return the mean length of a billing period in days."""
    return float(DAYS[interval]) if interval in DAYS else MONTHS[interval] * DAYS_A_YEAR / 12


@dataclass(frozen=True)
class Contracts:
    """Contracts of one billing interval; arrays of shape (contracts,), days since 1970.

    ``end`` is the day each ended or will end, ``NEVER`` if nothing is known of an end.
    """

    interval: str
    start: Ints
    end: Ints

    def choose(self, which: Ints | np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Contracts:
        """Return some of the contracts."""
        return Contracts(self.interval, self.start[which], self.end[which])

    def due(self, day: int) -> Ints:
        """Count the renewals of each contract that came due up to and including ``day``, had it gone on."""
        return _periods(self.interval, self.start, np.full(len(self.start), day, dtype=np.int64))

    def left_at(self) -> Ints:
        """Return the renewal at which each contract ended, ``NEVER`` if none."""
        ends = np.flatnonzero(self.end < NEVER)
        start, end = self.start[ends], self.end[ends]
        whole = _periods(self.interval, start, end)
        on_the_day = (whole > 0) & (_due_day(self.interval, start, whole) == end)
        result = np.full(len(self.start), NEVER)
        result[ends] = np.where(on_the_day, whole, whole + 1)
        return result

    def renewals(self, day: int) -> Renewals:
        """Count who came to each renewal, and left at it, as known after ``day``."""
        due, left_at = self.due(day), self.left_at()
        reached = np.minimum(due, left_at)
        came = np.bincount(reached, minlength=1)[::-1].cumsum()[::-1][1:]
        left = np.bincount(left_at[left_at <= due], minlength=len(came) + 1)[1:]
        return Renewals(came.astype(np.int64), left.astype(np.int64))


def _periods(interval: str, start: Ints, until: Ints) -> Ints:
    """Return the whole periods from the start up to a day, 0 if it is before the start."""
    if interval in DAYS:
        return np.asarray(np.maximum(until - start, 0) // DAYS[interval])
    months = _month(until) - _month(start)
    months -= add_months(start, months) > until
    return np.asarray(np.maximum(months, 0) // MONTHS[interval])


def _due_day(interval: str, start: Ints, number: Ints) -> Ints:
    if interval in DAYS:
        return np.asarray(start + number * DAYS[interval])
    return add_months(start, number * MONTHS[interval])


def add_months(day: Ints, months: Ints) -> Ints:
    """Return the same day of the month some months later, or the last of a month that is too short."""
    target = _month(day) + months
    first = _month_start(target)
    return np.asarray(first + np.minimum(day - _month_start(_month(day)), _month_start(target + 1) - first - 1))


def _month(day: Ints) -> Ints:
    return day.astype("M8[D]").astype("M8[M]").astype(np.int64)


def _month_start(month: Ints) -> Ints:
    return month.astype("M8[M]").astype("M8[D]").astype(np.int64)
