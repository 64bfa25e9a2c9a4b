"""Make scores mean what they say: of those given 20 %, one in five.

Platt (1999), Probabilistic outputs for support vector machines, with his smoothed targets; isotonic regression by
pool-adjacent-violators, Zadrozny & Elkan (2002), KDD. With fewer than about a thousand cases Platt's two parameters
are the better choice: Niculescu-Mizil & Caruana (2005), ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import expit

from collectors.analytics.classification.logistic import yes_or_no
from collectors.analytics.refusal import Reason, Refusal
from collectors.errors import BadInput

Floats: TypeAlias = npt.NDArray[np.float64]

_STEPS = 100


@dataclass(frozen=True, slots=True)
class Platt:
    """A sigmoid of the score: ``1 / (1 + exp(-(slope * score + intercept)))``."""

    slope: float
    intercept: float

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Return calibrated probabilities of ``scores`` (n,)."""
        return np.asarray(expit(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A rising function of the score: ``values`` at ``scores``, both (k,), straight lines between, flat outside."""

    scores: Floats
    values: Floats

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Return calibrated probabilities of ``scores`` (n,)."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.values)


def platt(scores: npt.ArrayLike, outcomes: npt.ArrayLike) -> Platt | Refusal:
    """Fit a sigmoid to ``outcomes`` (n,) of cases that the scores were not learnt from.

    The targets are Platt's: (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), which keep the slope finite where the scores
    separate the outcomes. Refuses if there is only one outcome or one score.
    """
    s, y = _pairs(scores, outcomes)
    refusal = _one_class(y)
    if refusal is not None:
        return refusal
    scale = float(s.std())
    if scale <= 1e-12 * float(np.abs(s).max()):
        return Refusal(Reason.CONSTANT, "the score is the same for everybody")
    yes = int(y.sum())
    target = np.where(y, (yes + 1) / (yes + 2), 1 / (len(y) - yes + 2))
    centre = float(s.mean())
    design = np.column_stack([(s - centre) / scale, np.ones(len(s))])
    beta = np.zeros(2)
    for _ in range(_STEPS):
        # Newton on a strictly concave function of two parameters, damped where a step would lead down.
        p = expit(design @ beta)
        gradient = design.T @ (target - p)
        information = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(information, gradient)
        value = _likelihood(design, target, beta)
        while _likelihood(design, target, beta + step) < value - 1e-12 * abs(value):
            step = step / 2
        beta = beta + step
        if np.abs(step).max() <= 1e-10 * max(1.0, float(np.abs(beta).max())):
            break
    slope = float(beta[0]) / scale
    return Platt(slope, float(beta[1]) - slope * centre)


def isotonic(scores: npt.ArrayLike, outcomes: npt.ArrayLike) -> Isotonic | Refusal:
    """Fit the rising function of the score nearest, in squares, to ``outcomes`` (n,); cases as in ``platt``.

    No case is made certain: values are kept 1 / (n + 2) away from 0 and 1. Refuses if there is only one outcome.
    """
    s, y = _pairs(scores, outcomes)
    refusal = _one_class(y)
    if refusal is not None:
        return refusal
    distinct, place, counts = np.unique(s, return_inverse=True, return_counts=True)
    share = np.bincount(place, weights=y) / counts
    fitted = isotonic_regression(share, weights=counts.astype(np.float64))
    # Two points hold a block: where it begins and where it ends.
    inner = np.diff(fitted.x) != 0
    kept = np.concatenate([[True], inner]) | np.concatenate([inner, [True]])
    least = 1 / (len(y) + 2)
    return Isotonic(distinct[kept], np.clip(fitted.x[kept], least, 1 - least))


def _pairs(scores: npt.ArrayLike, outcomes: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    s, y = np.asarray(scores, dtype=np.float64), yes_or_no(outcomes)
    if s.shape != y.shape or not np.isfinite(s).all():
        raise BadInput("there must be one finite score for each outcome")
    return s, y


def _one_class(y: npt.NDArray[np.bool_]) -> Refusal | None:
    if not len(y):
        return Refusal(Reason.NO_SUBJECTS, "there is nobody to calibrate on")
    if y.all() or not y.any():
        return Refusal(Reason.ONE_CLASS, "everybody had the same outcome")
    return None


def _likelihood(design: Floats, target: Floats, beta: Floats) -> float:
    eta = design @ beta
    return float(target @ eta - np.logaddexp(0.0, eta).sum())
