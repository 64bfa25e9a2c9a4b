"""How often people come back, computed from bit masks of their active days.

A mask is an int64 with 63 usable bits: bit ``k`` says that a person was active ``k`` days before the reference day,
bit 0 being that day itself. People with the same mask are counted together: every function takes ``masks``, ``older``
(whether they were active even before the days of the mask) and ``users`` (how many such people there are), all of the
same length. One mask holds all that activity, retention and growth need, so the history is read once.

Definitions
    * Active users of a trailing window that includes its end, and L_n = distinct active days of the last n:
      https://www.philihp.com/2021/user-retention-with-lness-using-postgresql-and-superset.html
    * N-day retention: active exactly N days after the first active day; unbounded retention: on that day or later.
      Calendar days, as in https://amplitude.com/docs/analytics/charts/retention-analysis/retention-analysis-time
    * Growth accounting: the active are new, retained or resurrected; those of the period before who are not active
      now went dormant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

MASK_DAYS = 63


@dataclass(frozen=True, slots=True)
class Activity:
    """People by the days they were active on; see the module for the arrays."""

    masks: Ints
    older: Bools
    users: Ints

    def active(self, since: int, days: int) -> int:
        """Count people active on any of ``days`` days, the latest being ``since`` days before the reference day."""
        return self._count(self._any(since, days))

    def new(self, since: int, days: int) -> int:
        """Count people whose first active day is one of ``days`` days, the latest being ``since`` days before."""
        first = self._first()
        return self._count((first >= since) & (first < since + days))

    def active_days(self, since: int, days: int) -> Ints:
        """Count people by L_n: element ``l`` is how many were active on ``l`` of the ``days`` days from ``since``."""
        per_person = np.bitwise_count(self.masks & _bits(since, days)).astype(np.int64)
        return np.bincount(per_person, weights=self.users, minlength=days + 1).astype(np.int64)

    def growth(self, since: int, days: int) -> Growth:
        """Compare the ``days`` days from ``since`` with the ``days`` before them."""
        now, then = self._any(since, days), self._any(since + days, days)
        before = self.older | ((self.masks >> np.int64(since + 2 * days)) != 0)
        return Growth(
            new=self._count(now & ~then & ~before),
            retained=self._count(now & then),
            resurrected=self._count(now & ~then & before),
            dormant=self._count(~now & then),
        )

    def retention(self, after: int, since: int, cohorts: int) -> Retention:
        """Pool the ``cohorts`` latest daily cohorts that are at least ``after`` days old on day ``since``."""
        first = self._first()
        members = (first >= since + after) & (first < since + after + cohorts)
        on_day = members & ((self.masks >> np.maximum(first - after, 0)) & 1 != 0)
        # Days from `since` up to that day, both included.
        span = (np.int64(1) << np.maximum(first - after + 1, 0)) - (np.int64(1) << np.int64(since))
        later = members & ((self.masks & span) != 0)
        return Retention(self._count(members), self._count(on_day), self._count(later))

    def triangle(self, since: int, blocks: int, width: int) -> Triangle:
        """Follow people by the block of ``width`` days in which they were first active.

        Block 0 ends on day ``since``, block ``k`` is ``k`` blocks earlier.
        """
        first = self._first()
        in_block = [self._any(since + k * width, width) for k in range(blocks)]
        since_block = [self._any(since, (k + 1) * width) for k in range(blocks)]
        sizes = np.zeros(blocks, dtype=np.int64)
        active, later = (np.full((blocks, blocks), -1, dtype=np.int64) for _ in range(2))
        for k in range(blocks):
            members = (first >= since + k * width) & (first < since + (k + 1) * width)
            sizes[k] = self._count(members)
            active[k, : k + 1] = [self._count(members & in_block[k - j]) for j in range(k + 1)]
            later[k, : k + 1] = [self._count(members & since_block[k - j]) for j in range(k + 1)]
        return Triangle(sizes, active, later)

    def _any(self, since: int, days: int) -> Bools:
        return np.asarray((self.masks & _bits(since, days)) != 0)

    def _count(self, chosen: Bools) -> int:
        return int(self.users[chosen].sum())

    def _first(self) -> Ints:
        """Return how many days before the reference day each was first active; -1 if before the mask's days."""
        filled = self.masks.copy()
        for shift in (1, 2, 4, 8, 16, 32):  # set every bit below the highest
            filled |= filled >> np.int64(shift)
        highest = np.bitwise_count(filled).astype(np.int64) - 1
        return np.where(self.older, np.int64(-1), highest)


@dataclass(frozen=True, slots=True)
class Growth:
    """People by what they did in a period and in the one before."""

    new: int
    retained: int
    resurrected: int
    dormant: int


@dataclass(frozen=True, slots=True)
class Retention:
    """Size of the pooled cohorts, and how many of them came back on the day, or on it or later."""

    cohort: int
    on_day: int
    on_day_or_later: int


@dataclass(frozen=True, slots=True)
class Triangle:
    """How many of each cohort came back in a block, or in it or a later one.

    ``sizes`` has shape (blocks,). ``active`` and ``active_or_later`` have shape (blocks, blocks): row ``k`` is the
    cohort of ``k`` blocks ago, column ``j`` the block ``j`` after it. Cells with ``j > k`` have yet to come and are -1.
    """

    sizes: Ints
    active: Ints
    active_or_later: Ints


def _bits(since: int, days: int) -> np.int64:
    """Return a mask of ``days`` days, the latest being ``since`` days before the reference day."""
    if since < 0 or days < 0 or since + days > MASK_DAYS:
        raise ValueError(f"a mask has {MASK_DAYS} days; days {since} to {since + days - 1} are not all in it")
    return np.int64(((1 << days) - 1) << since)
