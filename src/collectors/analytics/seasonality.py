"""Whether an hour is unusual for its hour of the week.

An hour is compared with the same hour on the same weekday of earlier weeks, by the tenant's clock: what is usual on
Friday evening is not on Monday morning. The comparison is robust, so that one odd week neither hides the next nor
makes it one: the distance from the median in scaled median absolute deviations (MAD), called the modified z-score.

Sources: Iglewicz & Hoaglin (1993), How to Detect and Handle Outliers, who call scores beyond 3.5 potential outliers;
https://www.itl.nist.gov/div898/handbook/eda/section3/eda35h.htm. Where the MAD is smaller than what a count of that
size varies by chance alone (the square root of its mean, if events are independent), that takes its place: half of the
weeks being equal does not make any other value an anomaly.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

OUTLIER = 3.5
"""Scores beyond this are potential outliers (Iglewicz & Hoaglin)."""

LEAST_WEEKS = 4
_TO_SIGMA = 1.0 / 0.6745  # MADs in a standard deviation of the normal distribution, as in the source

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was usual (median), by how much it varies (in standard deviations), and how far a value is from it."""

    usual: float
    scale: float
    score: float


def judge(count: float, earlier: Floats) -> Judgement | None:
    """Return how unusual ``count`` is after ``earlier`` counts, oldest first, shape (weeks,).

    Weeks before the first one with any count are left out, for the platform was not there yet. None if fewer than
    ``LEAST_WEEKS`` are left.
    """
    begun = np.flatnonzero(earlier > 0)
    known = earlier[begun[0] :] if len(begun) else earlier[:0]
    if len(known) < LEAST_WEEKS:
        return None
    usual = float(np.median(known))
    mad = float(np.median(np.abs(known - usual)))
    scale = max(_TO_SIGMA * mad, max(usual, 1.0) ** 0.5)
    return Judgement(usual, scale, (count - usual) / scale)


def same_hours(end: datetime, time_zone: str, weeks: int) -> list[datetime | None]:
    """Return when the last whole hour before ``end`` began, then when that hour did in each of ``weeks`` weeks before.

    Hours are those of a clock in ``time_zone``, instants in UTC. Where the clock skipped the hour there is None; of an
    hour that came twice the first is meant.
    """
    zone = ZoneInfo(time_zone)
    local = end.astimezone(zone)
    # Whole hours are subtracted in UTC, in which none is skipped and none comes twice.
    into_hour = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    last = (end - into_hour - _HOUR).astimezone(UTC)
    wall = last.astimezone(zone).replace(tzinfo=None)
    return [last, *(_instant(wall - timedelta(weeks=k), zone) for k in range(1, weeks + 1))]


def _instant(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the instant at which a clock shows ``wall``; None if it never does."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == wall else None
