"""Logistic regression with a ridge penalty, fitted by Newton's method (iteratively reweighted least squares).

Hoerl & Kennard's ridge in the logistic model: le Cessie & van Houwelingen (1992), Applied Statistics 41:191-201.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, ndtri

from collectors.analytics.refusal import Reason, Refusal
from collectors.errors import BadInput

Floats: TypeAlias = npt.NDArray[np.float64]

_STEPS = 60
_HALVINGS = 30
_TOLERANCE = 1e-8
_LARGEST = 30.0  # log odds per standard deviation beyond which no finite maximum is to be expected


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted model; vectors of shape (p,) are in the order of ``names`` and per standard deviation of the feature.

    ``covariance`` is that of ``(intercept, *coefficients)``: the inverse of the penalised information, which is the
    normal approximation of the posterior under the prior that the penalty stands for (of the sampling distribution
    if there is no penalty).
    """

    names: tuple[str, ...]
    intercept: float
    coefficients: Floats
    covariance: Floats
    means: Floats
    scales: Floats
    log_likelihood: float

    @property
    def standard_errors(self) -> Floats:
        """Standard errors of the coefficients."""
        return np.sqrt(np.diag(self.covariance)[1:])

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of the coefficients."""
        reach = -float(ndtri((1 - level) / 2)) * self.standard_errors
        return self.coefficients - reach, self.coefficients + reach

    def log_odds(self, features: npt.ArrayLike) -> Floats:
        """Return the log odds, shape (n,), of ``features`` (n, p)."""
        x = (np.asarray(features, dtype=np.float64) - self.means) / self.scales
        return np.asarray(self.intercept + x @ self.coefficients)

    def probability(self, features: npt.ArrayLike) -> Floats:
        """Return the probability, shape (n,), of ``features`` (n, p)."""
        return np.asarray(expit(self.log_odds(features)))


def logistic(
    features: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    penalty: float = 1.0,
) -> Logistic | Refusal:
    """Fit the log odds of ``outcomes`` (n,) as a linear function of ``features`` (n, p).

    Features are standardised first; ``penalty`` is half of it times their squared coefficients taken from the
    log-likelihood (the intercept is free), so 1 is a standard normal prior on each. Refuses, with the reason, if
    there is only one outcome, a feature is constant, or, without a penalty, the features are collinear or separate
    the outcomes, so that no finite maximum exists.
    """
    x, y = np.asarray(features, dtype=np.float64), yes_or_no(outcomes)
    if x.ndim != 2 or len(x) != len(y) or not np.isfinite(x).all() or penalty < 0:
        raise BadInput("features must be finite numbers, a row for each outcome, and the penalty at least 0")
    labels = tuple(names) if names is not None else tuple(f"x{number}" for number in range(x.shape[1]))
    if len(labels) != x.shape[1]:
        raise BadInput("there must be one name for each feature")
    if not len(y):
        return Refusal(Reason.NO_SUBJECTS, "there is nobody to learn from")
    if y.all() or not y.any():
        return Refusal(Reason.ONE_CLASS, "everybody had the same outcome")
    means, scales = x.mean(axis=0), x.std(axis=0)
    same = constant_columns(x)
    if same.any():
        worst = labels[int(np.argmax(same))]
        return Refusal(Reason.CONSTANT, f"{worst} is the same for everybody", worst)
    design = np.column_stack([np.ones(len(x)), (x - means) / scales])
    found = _maximise(design, y.astype(np.float64), penalty, labels)
    if isinstance(found, Refusal):
        return found
    beta, information, value = found
    covariance = cho_solve(cho_factor(information), np.eye(len(beta)))
    likelihood = value + penalty / 2 * float(beta[1:] @ beta[1:])
    return Logistic(labels, float(beta[0]), beta[1:], covariance, means, scales, likelihood)


def yes_or_no(outcomes: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return outcomes as booleans, or raise ``BadInput`` if they are not 0 and 1."""
    y: npt.NDArray[Any] = np.asarray(outcomes)
    if y.ndim != 1 or (y.dtype != np.bool_ and not np.all((y == 0) | (y == 1))):
        raise BadInput("outcomes must be a vector of true and false, 1 and 0")
    return y.astype(np.bool_)


def constant_columns(features: Floats) -> npt.NDArray[np.bool_]:
    """Return which columns vary no more than rounding does."""
    return np.asarray(features.std(axis=0) <= 1e-12 * np.maximum(np.abs(features).max(axis=0), 1e-300))


def _maximise(
    design: Floats, y: Floats, penalty: float, labels: Sequence[str]
) -> tuple[Floats, Floats, float] | Refusal:
    """Climb to the maximum of the penalised log-likelihood; return it, the information there, and its value."""
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 0.0
    share = float(y.mean())
    beta = np.zeros(design.shape[1])
    beta[0] = np.log(share / (1 - share))
    value, gradient, information = _at(design, y, ridge, beta)
    eigenvalues, vectors = np.linalg.eigh(information)
    if eigenvalues[0] <= 1e-10 * eigenvalues[-1]:
        worst = labels[int(np.argmax(np.abs(vectors[1:, 0])))]
        return Refusal(Reason.COLLINEAR, f"{worst} is a combination of other features", worst)
    for _ in range(_STEPS):
        try:
            step = cho_solve(cho_factor(information), gradient)
        except np.linalg.LinAlgError:
            return _separated(beta, labels)
        if np.abs(step).max() <= _TOLERANCE * max(1.0, float(np.abs(beta).max())):
            # This step squares the distance once more.
            value, _, information = _at(design, y, ridge, beta + step)
            return beta + step, information, value
        for _half in range(_HALVINGS):
            ahead = _at(design, y, ridge, beta + step)
            if ahead[0] >= value - 1e-13 * abs(value):
                break
            step = step / 2
        else:
            return Refusal(Reason.NOT_CONVERGED, "the likelihood could not be maximised; transform the features")
        beta = beta + step
        value, gradient, information = ahead
        if not penalty and np.abs(beta[1:]).max(initial=0.0) > _LARGEST:
            break
    return _separated(beta, labels)


def _at(design: Floats, y: Floats, ridge: Floats, beta: Floats) -> tuple[float, Floats, Floats]:
    """Return value, gradient and negative second derivatives of the penalised log-likelihood."""
    eta = design @ beta
    p = expit(eta)
    value = float(y @ eta - np.logaddexp(0.0, eta).sum() - ridge @ (beta * beta) / 2)
    weight = p * (1 - p)
    return value, design.T @ (y - p) - ridge * beta, (design * weight[:, None]).T @ design + np.diag(ridge)


def _separated(beta: Floats, labels: Sequence[str]) -> Refusal:
    worst = labels[int(np.argmax(np.abs(beta[1:])))]
    detail = f"{worst} separates the outcomes, so no finite value fits; use a penalty"
    return Refusal(Reason.SEPARATION, detail, worst)
