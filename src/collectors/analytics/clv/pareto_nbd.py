"""Pareto/NBD: customers who buy whenever they like, and may leave at any time.

While a customer stays, purchases are a Poisson process whose rate is Gamma(r, alpha) among customers; the rate of
leaving is Gamma(s, beta).

Sources
    * Schmittlein, Morrison & Colombo 1987, Management Science 33:1-24.
    * Discounted expected residual transactions (DERT): Fader, Hardie & Lee 2005, Journal of Marketing Research
      42:415-430, equation 2.

The likelihood of a history is the sum of "still a customer at the end" and the integral over the time of leaving. The
integral is taken by Gauss-Legendre over the logarithm of time, where its terms are smooth, with a range that ends
where they have died away. Differentiating under the integral gives exact gradients and Hessians, which the closed
form with a hypergeometric function of its parameters does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from collectors.analytics.clv.fit import Derivatives, Estimate, Floats, maximise
from collectors.analytics.clv.history import Histories, enough
from collectors.analytics.clv.quadrature import first_share, legendre, scaled_expint, shrinking_power
from collectors.analytics.refusal import Refusal

NAMES = ("r", "alpha", "s", "beta")
_POINTS, _WEIGHTS = legendre(48)
_TAIL = 45.0
_CHUNK = 2048


@dataclass(frozen=True)
class ParetoNbd:
    """A fitted Pareto/NBD model; times are in the unit of the histories."""

    estimate: Estimate

    def alive(self, rows: Histories) -> Floats:
        """Return for each row the probability of still being a customer at the end of observation."""
        return alive(self.estimate.values, rows)

    def expected(self, rows: Histories, time: float) -> Floats:
        """Return for each row the expected purchases in the next ``time``."""
        return expected(self.estimate.values, rows, time)

    def expected_new(self, times: Floats) -> Floats:
        """Return the expected repeat purchases of a new customer within each of ``times``."""
        return expected_new(self.estimate.values, times)

    def predict(self, theta: Floats, rows: Histories, time: float) -> Floats:
        """Return what ``expected`` would with parameters ``theta``."""
        return expected(theta, rows, time)

    def dert(self, rows: Histories, rate: float) -> Floats:
        """Return for each row all future purchases, discounted continuously at ``rate`` per unit of time."""
        return dert(self.estimate.values, rows, rate)


def fit(rows: Histories) -> ParetoNbd | Refusal:
    """Estimate (r, alpha, s, beta); a refusal says why the data don't determine them."""
    refusal = enough(rows)
    if refusal:
        return refusal
    rate = float((rows.count * rows.x).sum() / (rows.count * rows.age).sum())
    age = float(rows.count @ rows.age / rows.customers)
    starts = [np.array([r, r / rate, s, s * age]) for r, s in ((0.5, 0.5), (2.0, 1.0), (0.2, 0.1))]
    found = maximise(NAMES, starts, lambda theta: log_likelihood(theta, rows), rows.customers)
    return found if isinstance(found, Refusal) else ParetoNbd(found)


def _leaving_times(theta: Floats, x: Floats, recency: Floats, age: Floats) -> tuple[Floats, Floats]:
    """Return for each row the nodes of the integral over the time of leaving, and the logarithms of their weights.

    With m = min(alpha, beta), M the greater one, and time = (m + t_x) exp(v) - m, the integrand falls in v at a rate
    that only grows, from ``rate`` on.
    """
    r, alpha, s, beta = theta.tolist()
    low, high = min(alpha, beta), max(alpha, beta)
    share = (low + recency) / (high + recency)
    rate = s + (r + x) * share if beta <= alpha else (r + x - 1) + (s + 1) * share
    span = np.log1p((age - recency) / (low + recency))
    span = np.minimum(span, _TAIL / np.maximum(rate, 1e-300))
    v = span[:, None] * _POINTS
    times = recency[:, None] + (low + recency)[:, None] * np.expm1(v)
    return times, np.log(np.maximum(span, 1e-300)[:, None] * _WEIGHTS) + v + np.log(low + recency)[:, None]


def _terms(theta: Floats, x: Floats, recency: Floats, age: Floats) -> tuple[Floats, Floats]:
    """Return the logarithms of the terms of each row, the first being "still a customer", and their times."""
    r, alpha, s, beta = theta.tolist()
    nodes, log_weights = _leaving_times(theta, x, recency, age)
    times = np.concatenate([age[:, None], nodes], axis=1)
    logs = -(r + x)[:, None] * np.log(alpha + times) - s * np.log(beta + times)
    logs[:, 1:] += log_weights + np.log(s) - np.log(beta + nodes)
    return logs, times


def log_likelihood(theta: Floats, rows: Histories) -> Derivatives:
    """Return the log-likelihood of all customers with gradient (4,) and Hessian (4, 4) by (r, alpha, s, beta)."""
    r, alpha, s, beta = theta.tolist()
    values, customers, _ = rows.by_x
    n = float(rows.count.sum())
    value = float(customers @ gammaln(r + values)) + n * float(r * np.log(alpha) + s * np.log(beta) - gammaln(r))
    gradient = np.array(
        [
            customers @ digamma(r + values) + n * (np.log(alpha) - digamma(r)),
            n * r / alpha,
            n * np.log(beta),
            n * s / beta,
        ]
    )
    hessian = np.zeros((4, 4))
    hessian[0, 0] = customers @ polygamma(1, r + values) - n * polygamma(1, r)
    hessian[0, 1] = hessian[1, 0] = n / alpha
    hessian[1, 1] = -n * r / alpha**2
    hessian[2, 3] = hessian[3, 2] = n / beta
    hessian[3, 3] = -n * s / beta**2
    for at in range(0, len(rows.x), _CHUNK):
        part = slice(at, at + _CHUNK)
        x, count = rows.x[part].astype(np.float64), rows.count[part].astype(np.float64)
        one = _mixture(theta, x, count, rows.recency[part], rows.age[part])
        value, gradient, hessian = value + one[0], gradient + one[1], hessian + one[2]
    return value, gradient, hessian


def _mixture(theta: Floats, x: Floats, count: Floats, recency: Floats, age: Floats) -> Derivatives:
    """Return the derivatives of the logarithm of the sum of each row's terms, added up over customers."""
    r, alpha, s, beta = theta.tolist()
    logs, times = _terms(theta, x, recency, age)
    top = logs.max(axis=1, keepdims=True)
    share = np.exp(logs - top)
    total = share.sum(axis=1, keepdims=True)
    value = float(count @ (top + np.log(total))[:, 0])
    share /= total
    shape = (r + x)[:, None]
    left = np.ones(times.shape[1])
    left[0] = 0.0  # the first term is that of a customer who has not left
    to_purchase, to_leave = 1 / (alpha + times), 1 / (beta + times)
    slopes = (np.log(to_purchase), -shape * to_purchase, left / s + np.log(to_leave), -(s + left) * to_leave)
    weighted = [share * slope for slope in slopes]
    means = np.array([w.sum(axis=1) for w in weighted])
    hessian = np.empty((4, 4))
    for i in range(4):
        for j in range(i, 4):
            second = np.einsum("rk,rk->r", weighted[i], slopes[j]) - means[i] * means[j]
            hessian[i, j] = hessian[j, i] = count @ second
    own_purchase = np.einsum("rk,rk->r", share, to_purchase)
    own_leave = np.einsum("rk,rk->r", share, to_leave)
    hessian[0, 1] -= count @ own_purchase
    hessian[1, 0] = hessian[0, 1]
    hessian[1, 1] += (count * shape[:, 0]) @ np.einsum("rk,rk->r", share, to_purchase**2)
    hessian[2, 2] -= count @ (share @ left) / s**2
    hessian[2, 3] -= count @ own_leave
    hessian[3, 2] = hessian[2, 3]
    hessian[3, 3] += count @ np.einsum("rk,rk->r", share * (s + left), to_leave**2)
    return value, means @ count, hessian


def alive(theta: Floats, rows: Histories) -> Floats:
    """Return the probability of still being a customer, shape (rows,)."""
    result = np.empty(len(rows.x))
    for at in range(0, len(result), _CHUNK):
        part = slice(at, at + _CHUNK)
        logs, _ = _terms(theta, rows.x[part].astype(np.float64), rows.recency[part], rows.age[part])
        result[part] = first_share(logs)
    return result


def expected(theta: Floats, rows: Histories, time: float) -> Floats:
    """Return the expected purchases in the next ``time``, shape (rows,)."""
    r, alpha, s, beta = theta.tolist()
    end = beta + rows.age
    stay = shrinking_power(-np.log1p(time / end), s - 1)
    return np.asarray(alive(theta, rows) * (r + rows.x) / (alpha + rows.age) * end * stay)


def expected_new(theta: Floats, times: Floats) -> Floats:
    """Return the expected repeat purchases of a new customer within each of ``times``, shape of ``times``."""
    r, alpha, s, beta = theta.tolist()
    return np.asarray(r / alpha * beta * shrinking_power(-np.log1p(np.asarray(times) / beta), s - 1))


def dert(theta: Floats, rows: Histories, rate: float) -> Floats:
    """Return discounted expected residual transactions, shape (rows,), for a continuous ``rate`` above 0.

    Equation 2 of the source with U(s, s, z) = z^(1-s) exp(z) E_s(z) is P(alive) (r + x)/(alpha + T) (beta + T)
    exp(z) E_s(z), z = rate (beta + T).
    """
    if rate <= 0:
        raise ValueError("the discount rate must be above 0")
    r, alpha, s, beta = theta.tolist()
    ages, index = np.unique(rows.age, return_inverse=True)
    rest = (beta + ages) * scaled_expint(s, rate * (beta + ages))
    return np.asarray(alive(theta, rows) * (r + rows.x) / (alpha + rows.age) * rest[index])
