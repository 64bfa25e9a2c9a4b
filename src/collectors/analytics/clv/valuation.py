"""What customers are worth over a horizon: purchases times spend, discounted, with intervals for every total.

The horizon is finite and bounded by the length of the data. An infinite one would be mostly extrapolation: how a
cohort dwindles after years is decided by the tail of a distribution that nobody observed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from collectors.analytics.clv import gamma_gamma
from collectors.analytics.clv.fit import Estimate, Floats, Interval, Ints, log_interval
from collectors.analytics.clv.gamma_gamma import GammaGamma
from collectors.analytics.clv.history import Histories
from collectors.analytics.clv.quadrature import legendre
from collectors.analytics.clv.rfm import Summary
from collectors.analytics.refusal import Reason, Refusal

_POINTS, _WEIGHTS = legendre(4)


class PurchaseModel(Protocol):
    """BG/NBD, MBG/NBD or Pareto/NBD."""

    @property
    def estimate(self) -> Estimate:
        """Parameters and what is known of them."""

    def alive(self, rows: Histories) -> Floats:
        """Return the probability of still being a customer."""

    def expected_new(self, times: Floats) -> Floats:
        """Return the expected repeat purchases of a new customer within ``times``."""

    def predict(self, theta: Floats, rows: Histories, time: float) -> Floats:
        """Return the expected purchases in the next ``time`` with parameters ``theta``."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far ahead is looked, and what a purchase then is worth now.

    ``length`` is in the unit of the histories, ``rate`` continuous per unit of it. ``reach`` is how far ahead may be
    looked, as a multiple of how long the customers were observed.
    """

    length: float
    rate: float = 0.0
    reach: float = 1.0

    def refusal(self, observed: float) -> Refusal | None:
        """Say why data over ``observed`` units of time don't carry that far, if so."""
        if self.length <= self.reach * observed:
            return None
        return Refusal(
            Reason.EXTRAPOLATION,
            f"a horizon of {self.length:g} is more than {self.reach:g} times the {observed:g} that were observed; "
            "it would be extrapolation",
        )


def discounted(model: PurchaseModel, theta: Floats, rows: Histories, horizon: Horizon) -> Floats:
    """Return the expected purchases within the horizon, each discounted from when it happens; shape (rows,).

    By parts, the integral of exp(-d t) dE[Y(t)] is exp(-d H) E[Y(H)] + d times that of exp(-d t) E[Y(t)] dt, so the
    purchases' rate is not needed.
    """
    length, rate = horizon.length, horizon.rate
    total = np.exp(-rate * length) * model.predict(theta, rows, length)
    if rate > 0:
        for point, weight in zip(_POINTS * length, _WEIGHTS * length, strict=True):
            total += rate * weight * np.exp(-rate * point) * model.predict(theta, rows, float(point))
    return np.asarray(total)


@dataclass(frozen=True)
class Valuation:
    """What a purchase model and a spend model say of customers over a horizon.

    ``alive`` and ``purchases`` are by unique row of ``summary.rows``; ``spend``, per purchase in minor units and of
    shape (customers,), is the refusal of the spend model if there is none.
    """

    summary: Summary
    model: PurchaseModel
    horizon: Horizon
    alive: Floats
    purchases: Floats
    spend_model: GammaGamma | Refusal

    @property
    def spend(self) -> Floats | Refusal:
        """Expected spend per purchase of each customer in minor units, shape (customers,)."""
        if isinstance(self.spend_model, Refusal):
            return self.spend_model
        return self.spend_model.expected(self.summary.repeats, self.summary.mean_spend)

    @property
    def value(self) -> Floats | Refusal:
        """Expected discounted spend of each customer in minor units, shape (customers,)."""
        spend = self.spend
        return spend if isinstance(spend, Refusal) else self.summary.rows.spread(self.purchases) * spend

    def purchase_totals(self, group: Ints, groups: int, level: float = 0.95) -> list[Interval]:
        """Return the expected purchases of all customers and then of each group, with their intervals.

        ``group`` has a number for each row of ``summary.rows``, shape (rows,).
        """
        rows = self.summary.rows

        def total(theta: Floats) -> Floats:
            each = rows.count * discounted(self.model, theta, rows, self.horizon)
            return _and_total(group, each, groups)

        return self.model.estimate.total_interval(total, level)

    def value_totals(self, group: Ints, groups: int, level: float = 0.95) -> list[Interval] | Refusal:
        """Return the expected value of all customers and then of each group with its interval, in minor units.

        The two models are fitted apart, so the variances of the logarithms that each brings add up.
        """
        spend_model, rows, summary = self.spend_model, self.summary.rows, self.summary
        if isinstance(spend_model, Refusal):
            return spend_model
        spend = spend_model.expected(summary.repeats, summary.mean_spend)

        def by_spend(theta: Floats) -> Floats:
            each = gamma_gamma.expected(theta, summary.repeats, summary.mean_spend)
            by_row = _sums(rows.row, each, len(rows.x))
            return _and_total(group, self.purchases * by_row, groups)

        spend_by_row = _sums(rows.row, spend, len(rows.x))

        def by_purchases(theta: Floats) -> Floats:
            each = discounted(self.model, theta, rows, self.horizon) * spend_by_row
            return _and_total(group, each, groups)

        value = by_spend(spend_model.estimate.values)
        variance = _log_variance(spend_model.estimate, by_spend, value)
        variance += _log_variance(self.model.estimate, by_purchases, value)
        return [log_interval(float(v), float(s), level) for v, s in zip(value, variance, strict=True)]


def value(
    summary: Summary, model: PurchaseModel, spend_model: GammaGamma | Refusal, horizon: Horizon
) -> Valuation | Refusal:
    """Value customers over ``horizon``, or say why the data don't carry that far."""
    rows = summary.rows
    refusal = horizon.refusal(float(rows.age.max(initial=0.0)))
    if refusal:
        return refusal
    purchases = discounted(model, model.estimate.values, rows, horizon)
    return Valuation(summary, model, horizon, model.alive(rows), purchases, spend_model)


def fit_spend(summary: Summary, strongest_correlation: float) -> GammaGamma | Refusal:
    """Fit the spend model after checking what it assumes: that spend does not depend on frequency."""
    related = gamma_gamma.correlation(summary.repeats, summary.mean_spend)
    if related is not None and abs(related) > strongest_correlation:
        return Refusal(
            Reason.ASSUMPTION,
            f"spend and frequency correlate by {related:.2f}, more than {strongest_correlation:g}: "
            "spend is not independent of how often customers buy",
        )
    found = gamma_gamma.fit(summary.repeats, summary.mean_spend)
    if isinstance(found, Refusal):
        return found
    mean = found.population_mean()
    return mean if isinstance(mean, Refusal) else found


def _log_variance(estimate: Estimate, total: Callable[[Floats], Floats], at: Floats) -> Floats:
    gradient = estimate.log_gradient(total) / np.where(at > 0, at, 1.0)
    return np.asarray(np.einsum("ig,ij,jg->g", gradient, estimate.log_covariance, gradient))


def _sums(group: Ints, values: Floats, groups: int) -> Floats:
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)


def _and_total(group: Ints, values: Floats, groups: int) -> Floats:
    return np.concatenate([[values.sum()], _sums(group, values, groups)])
