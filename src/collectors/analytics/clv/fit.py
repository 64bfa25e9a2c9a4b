"""Maximum likelihood by Newton's method with exact derivatives, and what is known of the estimates.

All parameters of the family are positive, so the search runs over their logarithms. There Wald intervals are
asymmetric around the estimate, stay positive, and keep their level better than on the parameters themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from collectors.analytics.refusal import Reason, Refusal

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Derivatives: TypeAlias = tuple[float, Floats, Floats]
"""Log-likelihood, its gradient (p,) and its Hessian (p, p), by the parameters themselves."""

_STEPS = 100
_LONGEST_STEP = 2.0  # of a logarithm: no parameter grows or shrinks by more than exp(2) at once
_CONVERGED = 1e-13  # expected gain of another step, in units of log-likelihood
_FLAT = 1e-7  # below this gain the likelihood's own rounding decides, not the gain: full steps only
_VAGUEST = 3.0  # standard error of a logarithm: an interval over five orders of magnitude says nothing
_FARTHEST = 25.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Estimate:
    """Maximum-likelihood estimates of positive parameters.

    ``log_covariance`` is the inverse of the observed information of the parameters' logarithms, shape (p, p).
    ``observations`` counts customers, not unique rows.
    """

    names: tuple[str, ...]
    values: Floats
    log_covariance: Floats
    log_likelihood: float
    observations: int

    @property
    def covariance(self) -> Floats:
        """Covariance of the parameters, shape (p, p)."""
        return np.asarray(np.outer(self.values, self.values) * self.log_covariance)

    @property
    def standard_errors(self) -> Floats:
        """Standard errors of the parameters, shape (p,)."""
        return np.asarray(self.values * np.sqrt(np.diag(self.log_covariance)))

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Return the Wald interval of a parameter, made on the scale of its logarithm."""
        at = self.names.index(name)
        return log_interval(float(self.values[at]), float(self.log_covariance[at, at]), level)

    def total_interval(self, total: Callable[[Floats], Floats], level: float = 0.95) -> list[Interval]:
        """Return intervals of positive functions of the parameters by the delta method.

        ``total`` maps parameters to the values of all functions at once. The interval is that of the *expected*
        value: it covers not knowing the parameters, not the chance in what each customer does.
        """
        value = total(self.values)
        gradient = self.log_gradient(total)
        variance = np.einsum("ig,ij,jg->g", gradient, self.log_covariance, gradient)
        return [
            log_interval(float(v), float(s) / float(v) ** 2 if v > 0 else 0.0, level)
            for v, s in zip(value, variance, strict=True)
        ]

    def log_gradient(self, total: Callable[[Floats], Floats]) -> Floats:
        """Differentiate ``total`` by the logarithms of the parameters; shape (p, number of functions)."""
        h = 1e-5  # central differences: error of order h squared, 1e-10 of the value
        shifts = np.eye(len(self.values)) * h
        return np.array([(total(self.values * np.exp(s)) - total(self.values * np.exp(-s))) / (2 * h) for s in shifts])


def log_interval(estimate: float, log_variance: float, level: float = 0.95) -> Interval:
    """Return an interval of a positive quantity from the variance of its logarithm."""
    factor = float(np.exp(min(700.0, -float(ndtri((1 - level) / 2)) * max(0.0, log_variance) ** 0.5)))
    return Interval(estimate, estimate / factor, estimate * factor)


def maximise(
    names: tuple[str, ...],
    starts: list[Floats],
    derivatives: Callable[[Floats], Derivatives],
    observations: int,
) -> Estimate | Refusal:
    """Return the best of the maxima found from ``starts``, or why there is none.

    The next start is only tried if the one before led nowhere.
    """
    refusal = Refusal(Reason.NOT_CONVERGED, "no starting point was given")
    for start in starts:
        found = _climb(names, start, derivatives, observations)
        if isinstance(found, Estimate):
            return found
        refusal = found
    return refusal


def _climb(
    names: tuple[str, ...],
    start: Floats,
    derivatives: Callable[[Floats], Derivatives],
    observations: int,
) -> Estimate | Refusal:
    at = np.log(start)
    value, gradient, information = _by_logarithms(derivatives, at)
    for _step in range(_STEPS):
        if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(information).all()):
            return Refusal(Reason.NOT_CONVERGED, "the likelihood cannot be computed in this range of the data")
        step, concave = _newton_step(gradient, information)
        gain = float(gradient @ step) / 2
        if gain <= _CONVERGED * max(1.0, abs(value)) ** 0.5:
            return _judge(names, at, value, information, observations, concave=concave)
        length = min(1.0, _LONGEST_STEP / float(np.abs(step).max()))
        for _halving in range(40):
            candidate = at + length * step
            reached = _by_logarithms(derivatives, candidate)
            flat = gain < _FLAT * max(1.0, abs(value)) ** 0.5
            if np.isfinite(reached[0]) and (flat or reached[0] >= value + 1e-4 * length * gain):
                break
            length /= 2
        else:
            return _judge(names, at, value, information, observations, concave=False)
        at = candidate
        value, gradient, information = reached
        if np.abs(at - np.log(start)).max() > _FARTHEST:
            break
    return _runaway(names, at - np.log(start))


def _newton_step(gradient: Floats, information: Floats) -> tuple[Floats, bool]:
    """Solve for the step; where the likelihood is not concave, go uphill by the size of its curvature instead."""
    curvature, axes = np.linalg.eigh(information)
    largest = float(np.abs(curvature).max())
    sizes = np.maximum(np.abs(curvature), 1e-12 * largest + 1e-150)
    return axes @ ((axes.T @ gradient) / sizes), bool(curvature.min() > 1e-13 * largest)


def _by_logarithms(derivatives: Callable[[Floats], Derivatives], at: Floats) -> Derivatives:
    """Return log-likelihood, gradient and *information* (the negative Hessian) by the parameters' logarithms."""
    theta = np.exp(at)
    with np.errstate(all="ignore"):  # a trial point too far out is refused by its value
        value, gradient, hessian = derivatives(theta)
        slope = theta * gradient
        information = -(np.outer(theta, theta) * hessian) - np.diag(slope)
    return value, slope, information


def _judge(
    names: tuple[str, ...], at: Floats, value: float, information: Floats, observations: int, *, concave: bool
) -> Estimate | Refusal:
    """Accept a stationary point if the data determine every parameter there."""
    if not concave:
        return Refusal(Reason.NOT_IDENTIFIED, "the likelihood is flat: these data don't tell the parameters apart")
    covariance = np.linalg.inv(information)
    spread = np.sqrt(np.diag(covariance))
    if not np.isfinite(spread).all() or spread.max() > _VAGUEST:
        worst = names[int(np.nanargmax(spread))] if np.isfinite(spread).any() else names[0]
        return Refusal(
            Reason.NOT_IDENTIFIED,
            f"the data don't determine {worst}: customers are too few, too alike or too short observed",
            worst,
        )
    return Estimate(names, np.exp(at), (covariance + covariance.T) / 2, value, observations)


def _runaway(names: tuple[str, ...], moved: Floats) -> Refusal:
    worst = int(np.abs(moved).argmax())
    where = "infinity" if moved[worst] > 0 else "zero"
    return Refusal(
        Reason.NOT_IDENTIFIED,
        f"the likelihood grows as {names[worst]} goes to {where}: customers don't differ as the model needs",
        names[worst],
    )
