"""How good predicted probabilities are. Every figure is the same in whatever order the cases come, ties included.

Brier (1950), Monthly Weather Review 78:1-3; expected calibration error: Naeini, Cooper & Hauskrecht (2015), AAAI;
Brier score of censored lifetimes: Graf et al. (1999), Statistics in Medicine 18:2529-2545.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from scipy.stats import rankdata

from collectors.analytics.classification.logistic import yes_or_no
from collectors.analytics.survival.kaplan_meier import kaplan_meier
from collectors.analytics.survival.life_table import checked
from collectors.errors import BadInput

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bins: TypeAlias = Literal["mass", "width"]


def brier(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike) -> float | None:
    """Return the mean squared distance of ``probabilities`` (n,) from ``outcomes`` (n,); None without cases."""
    p, y = _cases(probabilities, outcomes)
    return float(np.mean((p - y) ** 2)) if len(p) else None


def brier_skill(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike) -> float | None:
    """Return the part of the Brier score of the cases' own base rate that the predictions take away; at most 1.

    0 is no better than giving everybody the base rate. None if there is only one outcome.
    """
    p, y = _cases(probabilities, outcomes)
    rate = float(y.mean()) if len(y) else 0.0
    reference = rate * (1 - rate)
    return 1 - float(np.mean((p - y) ** 2)) / reference if reference else None


def log_loss(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike) -> float | None:
    """Return the mean negative log-likelihood, in nats.

    None without cases, or if something happened that had been called impossible.
    """
    p, y = _cases(probabilities, outcomes)
    if not len(p) or np.any(np.where(y, p, 1 - p) == 0):
        return None
    return -float(np.mean(xlogy(y, p) + xlogy(~y, 1 - p)))


def auc(scores: npt.ArrayLike, outcomes: npt.ArrayLike) -> float | None:
    """Return the chance that a case with the outcome scores higher than one without, ties counting one half.

    The area under the ROC curve, by the ranks of Mann & Whitney; None if there is only one outcome.
    """
    s, y = np.asarray(scores, dtype=np.float64), yes_or_no(outcomes)
    yes, no = int(y.sum()), int((~y).sum())
    if not yes or not no:
        return None
    return (float(rankdata(s)[y].sum()) - yes * (yes + 1) / 2) / (yes * no)


def lift(scores: npt.ArrayLike, outcomes: npt.ArrayLike, share: float = 0.1) -> float | None:
    """Return how many times the base rate the outcome is met among the ``share`` of cases with the highest scores.

    Of cases tied at the limit an equal part each counts, the mean over all ways to choose among them. None if the
    outcome never happened.
    """
    s, y = np.asarray(scores, dtype=np.float64), yes_or_no(outcomes)
    if not y.any():
        return None
    distinct, place, counts = np.unique(-s, return_inverse=True, return_counts=True)
    wanted = share * len(s)
    before = np.cumsum(counts) - counts
    part = np.clip((wanted - before) / counts, 0.0, 1.0)
    found = float(np.bincount(place, weights=y, minlength=len(distinct)) @ part)
    return found / wanted / float(y.mean())


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted probability and observed share by bin, arrays (bins,): the points of a reliability diagram."""

    predicted: Floats
    observed: Floats
    cases: Ints

    @property
    def error(self) -> float | None:
        """Expected calibration error: the mean distance of the two, weighted by cases."""
        if not len(self.cases):
            return None
        return float(self.cases @ np.abs(self.predicted - self.observed) / self.cases.sum())


def reliability(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, bins: int = 10, by: Bins = "mass"
) -> Reliability:
    """Compare predicted and observed in ``bins`` bins of the probability.

    ``by`` mass: bins end at the quantiles of the probabilities, equal ones always in one bin, so there may be fewer;
    ``by`` width: bins of equal width from 0 to 1. Empty bins are left out.
    """
    p, y = _cases(probabilities, outcomes)
    if not len(p):
        return Reliability(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    inner = np.arange(1, bins) / bins
    edges = inner if by == "width" else np.unique(np.quantile(p, inner, method="inverted_cdf"))
    place = np.searchsorted(edges, p, side="left")
    cases = np.bincount(place, minlength=len(edges) + 1)
    some = cases > 0
    # Sums over sorted values do not depend on the order in which cases come.
    order = np.lexsort((p, place))
    predicted = np.bincount(place[order], weights=p[order], minlength=len(cases))
    observed = np.bincount(place, weights=y, minlength=len(cases))
    return Reliability(predicted[some] / cases[some], observed[some] / cases[some], cases[some])


def censored_brier(
    survival: npt.ArrayLike,
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    horizon: float,
) -> float | None:
    """Return the Brier score at ``horizon`` of predicted ``survival`` (n,) where some lifetimes are censored.

    Cases that were censored before count for nothing; the others count for those like them that were, by the inverse
    of the chance not to be censored (Kaplan-Meier of the censoring). None if nobody could have been followed as far.
    """
    time, died, _, _ = checked(durations, events, None)
    predicted = np.asarray(survival, dtype=np.float64)
    if predicted.shape != time.shape:
        raise BadInput("there must be one prediction for each duration")
    if not len(time):
        return None
    distinct, rank = np.unique(time, return_inverse=True)
    # Two moments for each time, as those who leave at a time do so before those who are censored then.
    curve = kaplan_meier(2 * rank + 1 + ~died, ~died)
    uncensored = np.concatenate([[1.0], curve.survival])

    def chance(moment: npt.NDArray[np.intp]) -> Floats:
        return uncensored[np.searchsorted(curve.times, moment, side="right")]

    left, stayed = died & (time <= horizon), time > horizon
    if not stayed.any() and not died[time == time.max()].all():
        return None
    score = float((predicted[left] ** 2 / chance(2 * rank[left])).sum())
    if stayed.any():
        reached = np.searchsorted(distinct, [horizon], side="right")
        score += float(((1 - predicted[stayed]) ** 2).sum() / chance(2 * reached)[0])
    return score / len(time)


def _cases(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    p, y = np.asarray(probabilities, dtype=np.float64), yes_or_no(outcomes)
    if p.shape != y.shape or not np.all((p >= 0) & (p <= 1)):
        raise BadInput("there must be one probability, from 0 to 1, for each outcome")
    return p, y
