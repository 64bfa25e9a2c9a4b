"""Do groups leave at the same rate? The log-rank test: Mantel (1966), Peto & Peto (1972), for any number of groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from collectors.analytics.refusal import Reason, Refusal
from collectors.analytics.survival.life_table import Floats, Ints, checked
from collectors.errors import BadInput


@dataclass(frozen=True, slots=True)
class LogRank:
    """The test's result; ``observed`` and ``expected`` deaths by group, in the order of ``np.unique(groups)``."""

    statistic: float
    degrees: int
    p_value: float
    observed: Ints
    expected: Floats


def log_rank(
    durations: npt.ArrayLike, events: npt.ArrayLike, groups: npt.ArrayLike, entry: npt.ArrayLike | None = None
) -> LogRank | Refusal:
    """Test that all ``groups`` (n,) have one hazard; other arguments as in ``life_table``.

    Refuses if there are fewer than two groups, or none could be told from the others when someone left.
    """
    time, died, start, _ = checked(durations, events, entry)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if group.shape != time.shape:
        raise BadInput("there must be one group for each duration")
    size = len(names)
    if size < 2:
        return Refusal(Reason.ONE_CLASS, "there are fewer than two groups to compare")
    times, at = np.unique(time[died], return_inverse=True)
    if not len(times):
        return Refusal(Reason.NO_EVENTS, "nobody left")
    deaths = np.bincount(at * size + group[died], minlength=len(times) * size).reshape(-1, size)
    at_risk = np.empty((len(times), size), dtype=np.int64)
    for g in range(size):
        mine = group == g
        ended = np.searchsorted(np.sort(time[mine]), times, side="left")
        began = mine.sum() if start is None else np.searchsorted(np.sort(start[mine]), times, side="left")
        at_risk[:, g] = began - ended
    n, d = at_risk.sum(axis=1), deaths.sum(axis=1)
    share = at_risk / n[:, None]
    expected = (d[:, None] * share).sum(axis=0)
    # Hypergeometric variance of the deaths in each group, given the margins of each time.
    factor = np.where(n > 1, d * (n - d) / np.maximum(n - 1, 1), 0.0)
    variance = np.diag(factor @ share) - (share * factor[:, None]).T @ share
    gap = (deaths.sum(axis=0) - expected)[1:]
    inner = variance[1:, 1:]
    # A group never at risk together with others adds no information; the rank says how many comparisons remain.
    degrees = int(np.linalg.matrix_rank(inner, hermitian=True))
    if not degrees:
        return Refusal(Reason.NO_EVENTS, "nobody left while members of two groups were at risk")
    statistic = float(gap @ np.linalg.pinv(inner, hermitian=True) @ gap)
    return LogRank(statistic, degrees, float(chdtrc(degrees, statistic)), deaths.sum(axis=0), expected)
