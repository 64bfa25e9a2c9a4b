"""Gamma-Gamma: what a customer's purchases are worth on average, shrunk towards the mean of all.

Purchases of a customer are Gamma(p, nu) distributed around their own mean, nu is Gamma(q, gamma) among customers, and
spend is independent of how often a customer buys: check ``correlation`` first.

Sources
    * Colombo & Jiang 1999, Journal of Interactive Marketing 13:2-12.
    * Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value" (note 025).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from collectors.analytics.clv.fit import Derivatives, Estimate, Floats, Ints, maximise
from collectors.analytics.clv.history import MIN_REPEATERS
from collectors.analytics.refusal import Reason, Refusal

NAMES = ("p", "q", "gamma")


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma model; spend is in the unit of the data."""

    estimate: Estimate

    def population_mean(self) -> float | Refusal:
        """Return the mean spend per purchase of all customers, p gamma / (q - 1)."""
        p, q, gamma = self.estimate.values.tolist()
        if q <= 1:
            return Refusal(Reason.UNDEFINED, f"q = {q:.3g} is not above 1, so spend has no finite mean among customers")
        return float(p * gamma / (q - 1))

    def expected(self, x: Ints, mean_spend: Floats) -> Floats:
        """Return the expected spend per purchase of customers with ``x`` purchases of ``mean_spend`` on average.

        Both of shape (customers,); with x = 0 it is the mean of all. Needs ``population_mean`` to be defined.
        """
        return expected(self.estimate.values, x, mean_spend)


def expected(theta: Floats, x: Ints, mean_spend: Floats) -> Floats:
    """Return p (gamma + x m) / (p x + q - 1), shape (customers,)."""
    p, q, gamma = theta.tolist()
    bought = np.where(x > 0, x * mean_spend, 0.0)
    return np.asarray(p * (gamma + bought) / (p * x + q - 1))


def correlation(x: Ints, mean_spend: Floats) -> float | None:
    """Return Pearson's correlation of purchases and mean spend among customers with x > 0; None if one is constant."""
    chosen = (x > 0) & (mean_spend > 0)
    one, other = x[chosen].astype(np.float64), mean_spend[chosen]
    if len(one) < 2:
        return None
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / scale if scale > 0 else None


def fit(x: Ints, mean_spend: Floats) -> GammaGamma | Refusal:
    """Estimate (p, q, gamma) from customers with x > 0 and positive spend; shape (customers,) each."""
    chosen = (np.asarray(x) > 0) & (np.asarray(mean_spend) > 0)
    bought, spend = np.asarray(x)[chosen].astype(np.float64), np.asarray(mean_spend, dtype=np.float64)[chosen]
    if len(bought) < MIN_REPEATERS:
        return Refusal(
            Reason.TOO_FEW, f"only {len(bought)} customers have known repeat spend; {MIN_REPEATERS} are needed"
        )
    if float(spend.max()) - float(spend.min()) <= 1e-9 * float(spend.max()):
        return Refusal(Reason.CONSTANT, "all customers spend the same, so nothing tells how spend differs")
    unit = float(spend.mean())  # the search is in units of the mean, whatever the currency
    data = _Spend(bought, spend / unit)
    starts = [np.array([p, q, (q - 1) / p]) for p, q in ((3.0, 3.0), (1.0, 2.0), (20.0, 3.0), (5.0, 20.0))]
    found = maximise(NAMES, starts, data.log_likelihood, len(bought))
    if isinstance(found, Refusal):
        return found
    values = found.values * np.array([1.0, 1.0, unit])
    value = found.log_likelihood - len(bought) * float(np.log(unit))  # the density is per unit of money
    return GammaGamma(Estimate(NAMES, values, found.log_covariance, value, found.observations))


class _Spend:
    """Spend data with what does not depend on the parameters computed once."""

    def __init__(self, x: Floats, spend: Floats) -> None:
        self._x, self._total = x, x * spend
        self._log_total = np.log(self._total)
        self._constant = float(np.log(spend).sum())
        self._values, index = np.unique(x, return_inverse=True)
        self._count = np.bincount(index).astype(np.float64)

    def log_likelihood(self, theta: Floats) -> Derivatives:
        """Return value, gradient (3,) and Hessian (3, 3) by (p, q, gamma)."""
        p, q, gamma = theta.tolist()
        x, v, count = self._x, self._values, self._count
        n = float(count.sum())
        inverse = 1 / (gamma + self._total)
        log_inverse = np.log(inverse)
        shape = p * x + q
        value = float(count @ (gammaln(p * v + q) - gammaln(p * v))) + n * float(q * np.log(gamma) - gammaln(q))
        value += float(p * (x @ self._log_total) + shape @ log_inverse) - self._constant
        both, own = digamma(p * v + q), digamma(p * v)
        gradient = np.array(
            [
                (count * v) @ (both - own) + x @ (self._log_total + log_inverse),
                count @ both + n * (np.log(gamma) - digamma(q)) + log_inverse.sum(),
                n * q / gamma - shape @ inverse,
            ]
        )
        both2, own2 = polygamma(1, p * v + q), polygamma(1, p * v)
        hessian = np.zeros((3, 3))
        hessian[0, 0] = (count * v**2) @ (both2 - own2)
        hessian[0, 1] = (count * v) @ both2
        hessian[1, 1] = count @ both2 - n * polygamma(1, q)
        hessian[0, 2] = -(x @ inverse)
        hessian[1, 2] = n / gamma - inverse.sum()
        hessian[2, 2] = -n * q / gamma**2 + shape @ inverse**2
        return value, gradient, np.triu(hessian) + np.triu(hessian, 1).T
