"""Shifted beta-geometric and beta-discrete-Weibull: subscriptions that are renewed, or not, at the end of a period.

At each renewal a customer leaves with a probability that is Beta(alpha, beta) among customers. Retention rises with
age because those who leave easily are gone first, not because anybody changes. In the beta-discrete-Weibull a
customer's own chance to leave changes with age too: S(t) = B(alpha, beta + t^c) / B(alpha, beta), c = 1 being the sBG.

Sources
    * sBG: Fader & Hardie 2007, Journal of Interactive Marketing 21:76-90.
    * Residual lifetimes: Fader & Hardie 2010, Marketing Science 29:85-93.
    * BdW: Fader, Hardie, Liu, Davin & Steenburgh 2018, Journal of Interactive Marketing 43:1-16.

Data are how many customers came to each renewal and how many left there. So cohorts of different age add up, and
customers whose first periods were not recorded come in late at their age.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma

from collectors.analytics.clv.fit import Derivatives, Estimate, Floats, Ints, maximise
from collectors.analytics.clv.quadrature import beta_rule
from collectors.analytics.refusal import Reason, Refusal

NAMES = ("alpha", "beta")
WEIBULL_NAMES = ("alpha", "beta", "c")


@dataclass(frozen=True)
class Renewals:
    """Element ``t - 1`` of both, shape (ages,), is about renewal ``t``: customers who came to it, and left at it."""

    due: Ints
    left: Ints

    def __post_init__(self) -> None:
        if len(self.due) != len(self.left) or (self.left < 0).any() or (self.left > self.due).any():
            raise ValueError("left must be between 0 and due at every renewal")

    def __add__(self, other: Renewals) -> Renewals:
        length = max(len(self.due), len(other.due))
        return Renewals(*(_padded(a, length) + _padded(b, length) for a, b in self._pairs(other)))

    def _pairs(self, other: Renewals) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        return (self.due, other.due), (self.left, other.left)


def from_survivors(survivors: Ints) -> Renewals:
    """Make the renewals of one cohort from its size and how many were left after each renewal."""
    survivors = np.asarray(survivors, dtype=np.int64)
    return Renewals(survivors[:-1], survivors[:-1] - survivors[1:])


@dataclass(frozen=True)
class Sbg:
    """A fitted shifted beta-geometric model; times are periods between renewals."""

    estimate: Estimate
    ages: int
    """Renewals the data reach to."""

    def survival(self, periods: int) -> Floats:
        """Return the share of a cohort left after 0 ... ``periods`` renewals, shape (periods + 1,)."""
        return survival(self.estimate.values, periods)

    def retention(self, age: Ints | int) -> Floats:
        """Return the share that renews at renewal ``age`` (1 is the first) of those who come to it."""
        alpha, beta = self.estimate.values.tolist()
        return np.asarray((beta + age - 1) / (alpha + beta + age - 1))

    def lifetime(self, rate: float) -> float:
        """Return DEL, the discounted periods a new customer pays for in advance, the first included."""
        return lifetime(self.estimate.values, rate)

    def residual(self, age: Ints, rate: float, periods: int | None = None) -> Floats:
        """Return the discounted periods to come of customers just before renewal ``age``, shape of ``age``.

        DERL without ``periods``; else only the next ``periods`` renewals count.
        """
        return residual(self.estimate.values, age, rate, periods)


@dataclass(frozen=True)
class Weibull:
    """A fitted beta-discrete-Weibull model; times are periods between renewals."""

    estimate: Estimate
    ages: int

    def survival(self, periods: int) -> Floats:
        """Return the share of a cohort left after 0 ... ``periods`` renewals, shape (periods + 1,)."""
        alpha, beta, c = self.estimate.values.tolist()
        return np.asarray(np.exp(betaln(alpha, beta + np.arange(periods + 1.0) ** c) - betaln(alpha, beta)))


def refusal(renewals: Renewals, parameters: int) -> Refusal | None:
    """Say why ``renewals`` cannot determine so many parameters, if so."""
    observed = int((renewals.due > 0).sum())
    if observed == 0:
        return Refusal(Reason.NO_SUBJECTS, "no renewal has come due yet")
    if observed < parameters:
        return Refusal(Reason.TOO_FEW, f"only {observed} renewals have come due; {parameters} are needed")
    if renewals.left.sum() == 0:
        return Refusal(Reason.NO_EVENTS, "nobody has left yet, so nothing tells how soon they will")
    if renewals.left.sum() == renewals.due.sum():
        return Refusal(Reason.ONE_CLASS, "nobody renewed, so nothing tells who would")
    return None


def fit(renewals: Renewals) -> Sbg | Refusal:
    """Estimate (alpha, beta); a refusal says why the data don't determine them."""
    reason = refusal(renewals, 2)
    if reason:
        return reason
    churn = float(renewals.left.sum() / renewals.due.sum())
    starts = [np.array([k * churn, k * (1 - churn)]) for k in (2.0, 10.0, 0.5)]
    customers = int(renewals.due.max())
    found = maximise(NAMES, starts, lambda theta: log_likelihood(theta, renewals), customers)
    return found if isinstance(found, Refusal) else Sbg(found, len(renewals.due))


def fit_weibull(renewals: Renewals) -> Weibull | Refusal:
    """Estimate (alpha, beta, c) of the beta-discrete-Weibull; a refusal says why the data don't determine them."""
    reason = refusal(renewals, 3)
    if reason:
        return reason
    simple = fit(renewals)
    starts = [np.array([1.0, 1.0 / max(1e-3, float(renewals.left.sum() / renewals.due.sum())), 1.0])]
    if isinstance(simple, Sbg):
        starts.insert(0, np.append(simple.estimate.values, 1.0))
    customers = int(renewals.due.max())
    found = maximise(WEIBULL_NAMES, starts, lambda theta: weibull_log_likelihood(theta, renewals), customers)
    return found if isinstance(found, Refusal) else Weibull(found, len(renewals.due))


def log_likelihood(theta: Floats, renewals: Renewals) -> Derivatives:
    """Return the log-likelihood with gradient (2,) and Hessian (2, 2) by (alpha, beta).

    Of those who come to renewal t the share (beta + t - 1) / (alpha + beta + t - 1) stays.
    """
    alpha, beta = theta.tolist()
    due, left = renewals.due.astype(np.float64), renewals.left.astype(np.float64)
    stayed = due - left
    position = beta + np.arange(len(due))
    every = alpha + position
    gone = float(left.sum())
    value = gone * float(np.log(alpha)) + float(stayed @ np.log(position) - due @ np.log(every))
    from_every, twice = float((due / every).sum()), float((due / every**2).sum())
    gradient = np.array([gone / alpha - from_every, float((stayed / position).sum()) - from_every])
    hessian = np.full((2, 2), twice)
    hessian[0, 0] -= gone / alpha**2
    hessian[1, 1] -= float((stayed / position**2).sum())
    return value, gradient, hessian


def weibull_log_likelihood(theta: Floats, renewals: Renewals) -> Derivatives:
    """Return the log-likelihood with gradient (3,) and Hessian (3, 3) by (alpha, beta, c).

    The Hessian differentiates the exact gradient once more by central differences.
    """
    value, gradient = _weibull_gradient(theta, renewals)
    steps = np.diag(theta * 1e-5)
    columns = [
        (_weibull_gradient(theta + step, renewals)[1] - _weibull_gradient(theta - step, renewals)[1]) / (2 * step.sum())
        for step in steps
    ]
    hessian = np.array(columns)
    return value, gradient, (hessian + hessian.T) / 2


def _weibull_gradient(theta: Floats, renewals: Renewals) -> tuple[float, Floats]:
    alpha, beta, c = theta.tolist()
    ages = np.arange(1.0, len(renewals.due) + 1)
    powers = np.concatenate([[0.0], ages**c])
    by_c = np.concatenate([[0.0], ages**c * np.log(ages)])
    every = digamma(alpha + beta + powers)
    own = digamma(beta + powers) - every
    log_survival = betaln(alpha, beta + powers) - betaln(alpha, beta)
    slope = np.stack([-every, own, own * by_c])  # of log S(t), but for constants that cancel below
    log_stay = np.diff(log_survival)
    to_leave = -np.expm1(log_stay)
    due, left = renewals.due.astype(np.float64), renewals.left.astype(np.float64)
    chosen = left > 0
    value = float((due - left) @ log_stay + left[chosen] @ np.log(to_leave[chosen]))
    weight = (due - left) - np.where(chosen, left * (1 - to_leave) / to_leave, 0.0)
    return value, np.asarray(np.diff(slope, axis=1) @ weight)


def survival(theta: Floats, periods: int) -> Floats:
    """Return S(0) ... S(periods), as products of retention, which stay exact for any parameters."""
    alpha, beta = theta.tolist()
    position = beta + np.arange(periods)
    return np.concatenate([[1.0], np.exp(np.cumsum(-np.log1p(alpha / position)))])


def lifetime(theta: Floats, rate: float) -> float:
    """Return DEL = 2F1(1, beta; alpha + beta; 1/(1 + rate)) for a ``rate`` > 0 per period."""
    # A new customer pays the first period for sure and is then before renewal 1.
    return 1.0 + float(residual(theta, np.array([1]), rate)[0]) / (1 + rate)


def residual(theta: Floats, age: Ints, rate: float, periods: int | None = None) -> Floats:
    """Return the discounted renewals to come of customers just before renewal ``age``, shape of ``age``.

    Renewal ``age`` itself is not discounted. Without ``periods`` it is DERL, (beta + n - 1)/(alpha + beta + n - 1)
    2F1(1, beta + n; alpha + beta + n; 1/(1 + rate)), computed as the mean of (1 - p)(1 + rate)/(rate + p) over
    p ~ Beta(alpha, beta + n - 1), the chances to leave of those who are still there.
    """
    alpha, beta = theta.tolist()
    age = np.asarray(age)
    ages, index = np.unique(age, return_inverse=True)
    if periods is not None:
        position = beta + ages[:, None] - 1 + np.arange(periods)
        stays = np.exp(np.cumsum(-np.log1p(alpha / position), axis=1))
        return np.asarray((stays @ (1 + rate) ** -np.arange(float(periods)))[index].reshape(age.shape))
    if rate <= 0:
        raise ValueError("without an end, the discount rate must be above 0")
    p, weights = beta_rule(np.full(len(ages), alpha), beta + ages - 1)
    return np.asarray(((1 - p) * (1 + rate) / (rate + p) * weights).sum(axis=1)[index].reshape(age.shape))


def _padded(values: Ints, length: int) -> Ints:
    return np.concatenate([values, np.zeros(length - len(values), dtype=np.int64)])
