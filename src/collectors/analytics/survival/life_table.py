"""How many were at risk and how many left, at every time someone left: what the estimators below are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from collectors.errors import BadInput

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[Any]

_GRID_PER_SUBJECT = 4  # a grid of whole numbers is worth it while it is not much longer than the data


@dataclass(frozen=True, slots=True)
class LifeTable:
    """Deaths and risk sets at the distinct times of death, ascending; arrays of shape (times,).

    A subject is at risk in ``(entry, duration]``: who enters at a time is not yet at risk then, who is censored at a
    time still is.
    """

    times: Floats
    at_risk: Ints
    deaths: Ints
    subjects: int
    followed_to: float
    """Up to this time somebody was at risk all the time from 0 on; what comes later can't be estimated from 0."""
    gap: bool
    """Whether others came under observation after ``followed_to``."""


def life_table(
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
) -> LifeTable:
    """Tabulate right-censored, perhaps left-truncated lifetimes.

    ``durations`` (n,) are times of death or censoring; ``events`` (n,) say which; ``entry`` (n,) are the times from
    which each was observed (0 if absent); ``counts`` (n,) say how many subjects a row stands for. Whole numbers
    (an integer dtype, such as days) are counted without sorting. Raises ``BadInput`` for lengths that differ, times
    that are negative or not finite, and entries that are not before the end.
    """
    time, died, start, count = checked(durations, events, entry, counts)
    if count is not None and not count.all():
        some = count > 0
        time, died, start, count = time[some], died[some], None if start is None else start[some], count[some]
    whole = time.dtype.kind in "iu" and (start is None or start.dtype.kind in "iu")
    if whole and len(time) and int(time.max()) <= _GRID_PER_SUBJECT * len(time) + 100_000:
        return _on_grid(time.astype(np.int64, copy=False), died, start, count)
    return _by_sorting(time.astype(np.float64), died, start, count)


def checked(
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None,
    counts: npt.ArrayLike | None = None,
) -> tuple[Numbers, Bools, Numbers | None, Ints | None]:
    """Return the arrays of one set of lifetimes, or raise ``BadInput`` if they are none."""
    time, died = np.asarray(durations), np.asarray(events)
    start = None if entry is None else np.asarray(entry)
    count = None if counts is None else np.asarray(counts)
    if any(a is not None and a.shape != (len(time),) for a in (time, died, start, count)):
        raise BadInput("durations, events, entries and counts must be vectors of one length")
    if died.dtype != np.bool_:
        if not np.all((died == 0) | (died == 1)):
            raise BadInput("events must be true or false, 1 or 0")
        died = died.astype(np.bool_)
    if count is not None:
        if count.dtype.kind not in "iu" or (len(count) and count.min() < 0):
            raise BadInput("counts must be whole numbers of at least 0")
        count = count.astype(np.int64)
    for times in (time, start):
        if times is not None and len(times) and not (times.min() >= 0 and times.max() < np.inf):
            raise BadInput("times must be finite and not negative")
    if start is not None and not np.all(start < time):
        raise BadInput("leave out who was observed for no time: entry must be before the end")
    return time, died, start, count


def _on_grid(time: Numbers, died: Bools, start: Numbers | None, count: Ints | None) -> LifeTable:
    """Count per whole number; one pass over the data each."""
    size = int(time.max()) + 1
    # Deaths go to the second half of one grid, so that one pass counts them and the censored.
    both = np.bincount(np.where(died, time + size, time), weights=count, minlength=2 * size).astype(np.int64)
    deaths = both[size:]
    left = both[:size] + deaths
    entered = np.zeros(size, dtype=np.int64)
    if start is None:
        entered[0] = left.sum()
    else:
        entered = np.bincount(start, weights=count, minlength=size).astype(np.int64)
    # At risk at t: who entered before t and did not leave before t. Entries at 0 are before every time, 0 included.
    before = np.cumsum(entered) - np.where(np.arange(size) > 0, entered, 0)
    at_risk = before - (np.cumsum(left) - left)
    followed_to = int(np.argmax(at_risk == left))  # the first time at which all at risk left
    chosen = np.flatnonzero(deaths)
    return LifeTable(
        times=chosen.astype(np.float64),
        at_risk=at_risk[chosen],
        deaths=deaths[chosen],
        subjects=int(left.sum()),
        followed_to=float(followed_to),
        gap=followed_to < size - 1,
    )


def _by_sorting(time: Floats, died: Bools, start: Numbers | None, count: Ints | None) -> LifeTable:
    order = np.argsort(time)
    ended, dead = time[order], died[order]
    each = np.ones(len(time), dtype=np.int64) if count is None else count[order]
    times, first = np.unique(ended[dead], return_index=True)
    deaths = np.add.reduceat(each[dead], first) if len(first) else np.zeros(0, dtype=np.int64)
    left_before = _total(each)[np.searchsorted(ended, times, side="left")]
    subjects = int(each.sum())
    if start is None:
        followed_to, gap = float(ended[-1]) if len(ended) else 0.0, False
        return LifeTable(times, subjects - left_before, deaths, subjects, followed_to, gap)
    by_entry = np.argsort(start, kind="stable")
    begun = start[by_entry].astype(np.float64)
    entered = _total(np.ones(len(begun), dtype=np.int64) if count is None else count[by_entry])
    at_risk = entered[np.searchsorted(begun, times, side="left")] - left_before
    followed_to, gap = _followed(begun, time[by_entry])
    return LifeTable(times, at_risk, deaths, subjects, followed_to, gap)


def _total(each: Ints) -> Ints:
    """Return sums of the first 0, 1, … n elements."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(each)])


def _followed(begun: Floats, ended: Floats) -> tuple[float, bool]:
    """Return how far from 0 the intervals, sorted by beginning, leave no gap, and whether one follows."""
    if not len(begun):
        return 0.0, False
    reach = np.concatenate([[0.0], np.maximum.accumulate(ended)])
    late = np.flatnonzero((begun > 0) & (begun >= reach[:-1]))
    return (float(reach[late[0]]), True) if len(late) else (float(reach[-1]), False)
