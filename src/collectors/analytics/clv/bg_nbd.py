"""BG/NBD and MBG/NBD: customers who buy whenever they like, and may leave after any purchase.

While a customer stays, purchases are a Poisson process whose rate is Gamma(r, alpha) among customers; after each
purchase the customer leaves with a probability that is Beta(a, b) among customers.

Sources
    * BG/NBD: Fader, Hardie & Lee 2005, Marketing Science 24:275-284.
    * MBG/NBD, where a customer may leave after the first purchase too: Batislam, Denizel & Filiztekin 2007,
      International Journal of Research in Marketing 24:201-209.

The likelihood of a history is a sum of two terms: still a customer at the end, or left at the last purchase. Its
derivatives follow from how likely each is, so one pass gives value, gradient and Hessian. Expectations are taken over
the leaving probability p, as the integral of [1 - (1 + p t/(alpha + T))^(-(r + x))] / p; the published formula with a
hypergeometric function has a removable singularity at a = 1, this has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, expit, gammaln, polygamma

from collectors.analytics.clv.fit import Derivatives, Estimate, Floats, maximise
from collectors.analytics.clv.history import Histories, enough
from collectors.analytics.clv.quadrature import beta_rule
from collectors.analytics.refusal import Refusal

NAMES = ("r", "alpha", "a", "b")
_CHUNK = 8192  # rows at a time: the points of the integral stay in the cache


@dataclass(frozen=True)
class BgNbd:
    """A fitted BG/NBD or, with ``may_leave_at_once``, MBG/NBD model; times are in the unit of the histories."""

    estimate: Estimate
    may_leave_at_once: bool = False

    def alive(self, rows: Histories) -> Floats:
        """Return for each row the probability of still being a customer at the end of observation."""
        return alive(self.estimate.values, rows, leave_at_once=self.may_leave_at_once)

    def expected(self, rows: Histories, time: float) -> Floats:
        """Return for each row the expected purchases in the next ``time``."""
        return expected(self.estimate.values, rows, time, leave_at_once=self.may_leave_at_once)

    def expected_new(self, times: Floats) -> Floats:
        """Return the expected repeat purchases of a new customer within each of ``times``."""
        return expected_new(self.estimate.values, times, leave_at_once=self.may_leave_at_once)

    def predict(self, theta: Floats, rows: Histories, time: float) -> Floats:
        """Return what ``expected`` would with parameters ``theta``."""
        return expected(theta, rows, time, leave_at_once=self.may_leave_at_once)


def fit(rows: Histories, *, may_leave_at_once: bool = False) -> BgNbd | Refusal:
    """Estimate (r, alpha, a, b); a refusal says why the data don't determine them."""
    refusal = enough(rows)
    if refusal:
        return refusal

    def derivatives(theta: Floats) -> Derivatives:
        return log_likelihood(theta, rows, leave_at_once=may_leave_at_once)

    found = maximise(NAMES, _starts(rows), derivatives, rows.customers)
    return found if isinstance(found, Refusal) else BgNbd(found, may_leave_at_once)


def _starts(rows: Histories) -> list[Floats]:
    """Start where the mean rate is that of the data, for several spreads."""
    rate = float((rows.count * rows.x).sum() / (rows.count * rows.age).sum())
    return [np.array([r, r / rate, a, b]) for r, a, b in ((0.5, 1.0, 2.5), (2.0, 0.5, 5.0), (0.1, 2.0, 2.0))]


def log_likelihood(theta: Floats, rows: Histories, *, leave_at_once: bool = False) -> Derivatives:
    """Return the log-likelihood of all customers with gradient (4,) and Hessian (4, 4) by (r, alpha, a, b)."""
    r, alpha, a, b = theta.tolist()
    m = int(leave_at_once)
    values, customers, _ = rows.by_x
    n = float(rows.count.sum())
    # Terms that depend on a row through x alone.
    rx, bx, abx = r + values, b + values + m, a + b + values + m
    value = float(customers @ (gammaln(rx) + gammaln(bx) - gammaln(abx)))
    value += n * float(r * np.log(alpha) - gammaln(r) + gammaln(a + b) - gammaln(b))
    d_abx = n * digamma(a + b) - customers @ digamma(abx)
    d2_abx = n * polygamma(1, a + b) - customers @ polygamma(1, abx)
    gradient = np.array(
        [
            customers @ digamma(rx) + n * (np.log(alpha) - digamma(r)),
            n * r / alpha,
            d_abx,
            d_abx + customers @ digamma(bx) - n * digamma(b),
        ]
    )
    hessian = np.zeros((4, 4))
    hessian[0, 0] = customers @ polygamma(1, rx) - n * polygamma(1, r)
    hessian[0, 1] = n / alpha
    hessian[1, 1] = -n * r / alpha**2
    hessian[2, 2] = hessian[2, 3] = d2_abx
    hessian[3, 3] = d2_abx + customers @ polygamma(1, bx) - n * polygamma(1, b)

    # The sum of "still a customer" and "left at the last purchase".
    count, shape = rows.count.astype(np.float64), r + rows.x
    inverse_end, inverse_last = 1 / (alpha + rows.age), 1 / (alpha + rows.recency)
    log_end = -np.log(inverse_end)
    odds, log_gap = _log_odds_left(theta, rows, log_end, m)
    left = expit(odds)
    value += float(count @ (np.logaddexp(0, odds) - shape * log_end))
    survived = count - count * left
    weight = count * left
    gone = np.where(np.isneginf(odds), 0.0, 1 / np.where(np.isneginf(odds), 1.0, b + rows.x - 1 + m))
    slope = np.stack([log_gap, shape * (inverse_end - inverse_last), np.full_like(odds, 1 / a), -gone])
    gradient[0] -= count @ log_end
    gradient[1] -= (count * shape) @ inverse_end
    gradient += slope @ weight
    hessian[0, 1] -= survived @ inverse_end + weight @ inverse_last
    hessian[1, 1] += (survived * shape) @ inverse_end**2 + (weight * shape) @ inverse_last**2
    hessian[2, 2] -= weight.sum() / a**2
    hessian[3, 3] += weight @ gone**2
    hessian = np.triu(hessian) + np.triu(hessian, 1).T
    return value, gradient, hessian + (slope * (weight * (1 - left))) @ slope.T


def _log_odds_left(theta: Floats, rows: Histories, log_end: Floats, m: int) -> tuple[Floats, Floats]:
    """Return the log odds of having left at the last purchase, and log((alpha + T) / (alpha + t_x))."""
    r, alpha, a, b = theta.tolist()
    log_gap = log_end - np.log(alpha + rows.recency)
    position = b + rows.x - 1 + m
    could = position > 0 if m else rows.x > 0
    odds = np.full(len(rows.x), -np.inf)
    odds[could] = np.log(a / position[could]) + (r + rows.x[could]) * log_gap[could]
    return odds, log_gap


def alive(theta: Floats, rows: Histories, *, leave_at_once: bool = False) -> Floats:
    """Return the probability of still being a customer, shape (rows,)."""
    odds, _ = _log_odds_left(theta, rows, np.log(theta[1] + rows.age), int(leave_at_once))
    return np.asarray(expit(-odds))


def expected(theta: Floats, rows: Histories, time: float, *, leave_at_once: bool = False) -> Floats:
    """Return the expected purchases in the next ``time``, shape (rows,)."""
    return alive(theta, rows, leave_at_once=leave_at_once) * _expected_if_alive(theta, rows, time, int(leave_at_once))


def _expected_if_alive(theta: Floats, rows: Histories, time: float, m: int) -> Floats:
    """Return the expected purchases of who is still a customer; they depend on (x, T) only."""
    r, alpha, a, b = theta.tolist()
    values, _, index = rows.by_x
    ages, age_index = np.unique(rows.age, return_inverse=True)
    pairs, pair_of_row = np.unique(index * len(ages) + age_index, return_inverse=True)
    which, age = pairs // len(ages), ages[pairs % len(ages)]
    result = np.empty(len(pairs))
    points, weights = beta_rule(np.full(len(values), a), b + values + m)
    for at in range(0, len(pairs), _CHUNK):
        part = slice(at, at + _CHUNK)
        x, p = which[part], points[which[part]]
        scaled = time / (alpha + age[part])
        result[part] = _mean_over_leaving(p, weights[x], scaled, r + values[x])
    return result[pair_of_row]


def _mean_over_leaving(p: Floats, weights: Floats, scaled_time: Floats, shape: Floats) -> Floats:
    """Integrate [1 - (1 + p t)^(-shape)] / p over the rule (p, weights), for each row."""
    bought = -np.expm1(-shape[:, None] * np.log1p(p * scaled_time[:, None])) / p
    return np.asarray(np.einsum("ij,ij->i", weights, bought))


def expected_new(theta: Floats, times: Floats, *, leave_at_once: bool = False) -> Floats:
    """Return the expected repeat purchases of a new customer within each of ``times``, shape of ``times``."""
    r, alpha, a, b = theta.tolist()
    m = int(leave_at_once)
    times = np.asarray(times, dtype=np.float64)
    p, weights = beta_rule(np.array([a]), np.array([b + m]))
    n = len(times)
    bought = _mean_over_leaving(
        np.broadcast_to(p, (n, p.shape[1])),
        np.broadcast_to(weights, (n, p.shape[1])),
        times / alpha,
        np.full(n, r),
    )
    return bought * (b / (a + b) if leave_at_once else 1.0)
